/** MCP servers on the loopback, the official SDK's client, and the fixture as a process: what the tests of MCP share. */
import { spawn } from "node:child_process"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { NodeHttpServer } from "@effect/platform-node"
import {
  Client,
  type ClientOptions,
  StreamableHTTPClientTransport,
  type Transport
} from "@modelcontextprotocol/client"
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio"
import { Context, Effect, Layer } from "effect"
import { McpServer } from "effect/ai"
import { HttpRouter, HttpServer } from "effect/http"
import * as Mcp from "effect-interlock/mcp"

export const fixture = join(import.meta.dirname, "mcpFixture.ts")

/** Serves registrations on a port of the loopback; its URL. */
export const serveHttp = <A, E, R>(
  registrations: Layer.Layer<A, E, R>,
  /** Middleware of its routes. */
  routes: Layer.Layer<never> = Layer.empty
) =>
  Effect.gen(function* () {
    const app = McpServer.layerHttp({
      name: "test",
      version: "1.0.0",
      path: "/mcp",
      protocols: Mcp.protocols,
      allowSessionTermination: true,
      registrations
    })
    const http = HttpRouter.serve(
      Layer.provide(app, routes) as Layer.Layer<never, E, HttpRouter.HttpRouter>,
      {
        disableLogger: true,
        disableListenLog: true
      }
    ).pipe(Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" })))
    const { address } = Context.get(yield* Layer.build(http), HttpServer.HttpServer)
    return `http://127.0.0.1:${(address as unknown as AddressInfo).port}/mcp`
  })

// --- The fixture as a process ----------------------------------------------

/** What a process has said on standard error, as far as it is looked for. */
export interface Said {
  /** The first line that begins so, said already or not yet. */
  readonly line: (start: string) => Effect.Effect<string>
}

/** Reads a stream's lines. */
const listen = (stream: NodeJS.ReadableStream): Said => {
  const lines: Array<string> = []
  const waiting = new Set<() => void>()
  createInterface({ input: stream }).on("line", (line) => {
    lines.push(line)
    for (const look of [...waiting]) look()
  })
  return {
    line: (start) =>
      Effect.callback((resume) => {
        const look = () => {
          const index = lines.findIndex((line) => line.startsWith(start))
          if (index < 0) return
          waiting.delete(look)
          resume(Effect.succeed(lines.splice(index, 1)[0] as string))
        }
        waiting.add(look)
        look()
        return Effect.sync(() => waiting.delete(look))
      })
  }
}

/** The fixture over HTTP, in a process of its own. */
export const fixtureOverHttp = Effect.gen(function* () {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => spawn(process.execPath, [fixture, "--http"], { stdio: ["ignore", "ignore", "pipe"] })),
    (child) =>
      Effect.callback<void>((resume) => {
        child.once("exit", () => resume(Effect.void))
        child.kill("SIGKILL")
      })
  )
  const said = listen(child.stderr)
  const url = (yield* said.line("listening ")).slice("listening ".length)
  return { url, said }
})

// --- The official client ---------------------------------------------------

export type Era = "2025-11-25" | "2026-07-28"
export const eras: ReadonlyArray<Era> = ["2025-11-25", "2026-07-28"]

/** The SDK's client over a transport; closed with the scope. */
export const connect = (era: Era, transport: Transport, options: ClientOptions = {}) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new Client(
        { name: "sdk", version: "1.0.0" },
        {
          ...options,
          ...(era === "2026-07-28" ? { versionNegotiation: { mode: { pin: era } } } : {})
        }
      )
      // What it should do before it is connected, it must be told before.
      for (const prepare of preparations.get(options) ?? []) prepare(client)
      await client.connect(transport)
      return client
    }),
    (client) => Effect.promise(() => client.close())
  )

const preparations = new WeakMap<ClientOptions, ReadonlyArray<(client: Client) => void>>()

/** Client options with what is to be done with the client before it connects. */
export const prepared = (options: ClientOptions, ...prepare: ReadonlyArray<(client: Client) => void>) => {
  preparations.set(options, prepare)
  return options
}

export const overHttp = (url: string, token?: string): Transport =>
  new StreamableHTTPClientTransport(new URL(url), {
    requestInit: { headers: token === undefined ? {} : { authorization: `Bearer ${token}` } }
  })

/** The fixture over stdio, and what it says on standard error. */
export const fixtureOverStdio = () => {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [fixture, "--stdio"],
    stderr: "pipe"
  })
  return { transport, said: listen(transport.stderr as NodeJS.ReadableStream) }
}
