/**
 * An MCP server for tests: the tools of `mcpFixtureTools.ts`, governed, and the
 * resources and prompts that the conformance suite asks for by name.
 *
 *     node test/support/mcpFixture.ts --http [port]
 *     node test/support/mcpFixture.ts --stdio
 *
 * Over HTTP it writes `listening <url>` to standard error when it is there.
 */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { NodeHttpServer, NodeRuntime, NodeStdio } from "@effect/platform-node"
import { Context, Effect, Layer, Logger, Schema } from "effect"
import { McpSchema, McpServer } from "effect/ai"
import { HttpRouter, HttpServer } from "effect/http"
import { Interlock, Principal, Run } from "effect-interlock"
import * as Mcp from "effect-interlock/mcp"
import { handlers, pixel, tools } from "./mcpFixtureTools.ts"

// --- Resources and prompts -------------------------------------------------

const bytes = Uint8Array.from(atob(pixel), (character) => character.charCodeAt(0))

const textResource = (uri: string, name: string, text: string) =>
  McpServer.resource({
    uri,
    name,
    mimeType: "text/plain",
    content: Effect.succeed({ contents: [{ uri, mimeType: "text/plain", text }] })
  })

const resources = Layer.mergeAll(
  textResource("test://static-text", "Static text", "This is the content of the static text resource."),
  textResource("test://watched-resource", "Watched", "Watched resource content"),
  McpServer.resource({
    uri: "test://static-binary",
    name: "Static binary",
    mimeType: "image/png",
    content: Effect.succeed({
      contents: [{ uri: "test://static-binary", mimeType: "image/png", blob: bytes }]
    })
  }),
  McpServer.resource`test://template/${McpSchema.param("id", Schema.String)}/data`({
    name: "Template",
    mimeType: "application/json",
    content: (uri, id) =>
      Effect.succeed({
        contents: [
          { uri, mimeType: "application/json", text: JSON.stringify({ id, data: `Data for ID: ${id}` }) }
        ]
      })
  })
)

const user = (content: McpSchema.ContentBlock) => [McpSchema.PromptMessage.make({ role: "user", content })]
const text = (text: string) => McpSchema.TextContent.make({ text })

const prompts = Layer.mergeAll(
  McpServer.prompt({
    name: "test_simple_prompt",
    description: "A prompt without arguments",
    content: () => Effect.succeed("This is a simple prompt for testing.")
  }),
  McpServer.prompt({
    name: "test_prompt_with_arguments",
    description: "A prompt with two arguments",
    parameters: { arg1: Schema.String, arg2: Schema.String },
    completion: { arg1: () => Effect.succeed(["paris", "park", "party"]) },
    content: ({ arg1, arg2 }) => Effect.succeed(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)
  }),
  McpServer.prompt({
    name: "test_prompt_with_embedded_resource",
    description: "A prompt with a resource",
    parameters: { resourceUri: Schema.String },
    content: ({ resourceUri }) =>
      Effect.succeed(
        user(
          McpSchema.EmbeddedResource.make({
            resource: {
              uri: resourceUri,
              mimeType: "text/plain",
              text: "Embedded resource content for testing."
            }
          } as never)
        )
      )
  }),
  McpServer.prompt({
    name: "test_prompt_with_image",
    description: "A prompt with an image",
    content: () => Effect.succeed(user(McpSchema.ImageContent.make({ data: bytes, mimeType: "image/png" })))
  }),
  Layer.effectDiscard(
    Effect.gen(function* () {
      const server = yield* McpServer.McpServer
      yield* server.addPrompt({
        prompt: new McpSchema.Prompt({
          name: "test_input_required_result_prompt",
          description: "A prompt that needs a context"
        }),
        annotations: Context.empty(),
        completions: {},
        handle: () =>
          Effect.map(McpSchema.McpRequestContext, ({ inputResponses }) =>
            inputResponses?.user_context === undefined
              ? new McpSchema.InputRequired({
                  inputRequests: {
                    user_context: {
                      method: "elicitation/create",
                      params: {
                        message: "What context should the prompt use?",
                        requestedSchema: {
                          type: "object",
                          properties: { context: { type: "string" } },
                          required: ["context"]
                        }
                      }
                    }
                  }
                })
              : new McpSchema.GetPromptResult({
                  messages: user(text(JSON.stringify(inputResponses.user_context)))
                })
          )
      })
    })
  )
)

// --- The server ------------------------------------------------------------

export const ada = Principal.make({ id: "ada" })

/** A program calls these tools again and again with the same arguments: nobody is to look for loops in that. */
const driven = McpServer.middleware((request) => Run.provide(request, Run.make({ id: "fixture" })))

export const registrations = Layer.mergeAll(
  Mcp.layer(tools).pipe(
    Layer.provide(driven.combine(Mcp.principal(ada)).layer),
    Layer.provide([handlers, Interlock.layer({ policy: { requireConfirmation: ["test_confirmed"] } })])
  ),
  resources,
  prompts
)

const about = {
  name: "interlock-fixture",
  version: "1.0.0",
  protocols: Mcp.protocols,
  registrations
} as const

/** Serves on a port of the loopback; 0 for any. */
export const layerHttp = (port: number) => {
  // What a browser on this machine may call it by, known when it listens.
  const allowedOrigins: Array<string> = []
  const listening = Layer.effectDiscard(
    Effect.gen(function* () {
      const { address } = yield* HttpServer.HttpServer
      const { port } = address as unknown as AddressInfo
      allowedOrigins.push(`http://127.0.0.1:${port}`, `http://localhost:${port}`)
      yield* Effect.sync(() => process.stderr.write(`listening http://127.0.0.1:${port}/mcp\n`))
    })
  )
  const app = McpServer.layerHttp({ ...about, path: "/mcp", allowedOrigins, allowSessionTermination: true })
  return Layer.merge(listening, HttpRouter.serve(app, { disableLogger: true, disableListenLog: true })).pipe(
    Layer.provideMerge(NodeHttpServer.layer(createServer, { port, host: "127.0.0.1" }))
  )
}

export const layerStdio = McpServer.layerStdio(about).pipe(Layer.provide(NodeStdio.layer))

if (import.meta.main) {
  const [how, port = "0"] = process.argv.slice(2)
  const layer = how === "--stdio" ? layerStdio : layerHttp(Number(port))
  // Standard output is the protocol's.
  const logger = Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])
  NodeRuntime.runMain(Layer.launch(layer).pipe(Effect.provide(logger)))
}
