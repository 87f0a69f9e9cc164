/** A gateway as clients meet it: its servers' tools, prompts and resources on an MCP server that listens on the loopback. */
import { spawn } from "node:child_process"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { NodeHttpServer } from "@effect/platform-node"
import { Context, Effect, Layer } from "effect"
import { McpServer } from "effect/ai"
import { HttpRouter, HttpServer } from "effect/http"
import { Interlock, Run, ToolRegistry } from "effect-interlock"
import * as Mcp from "effect-interlock/mcp"
import { ada } from "./gateway.ts"
import type { Era } from "./mcpHarness.ts"

type ServerConfig = Mcp.Gateway.Servers[string]

const script = join(import.meta.dirname, "gatewayFixture.ts")

/** The fixture as a server over its standard input and output. */
export const fixtureServer = (era: Era, more: ServerConfig = {}): ServerConfig => ({
  command: process.execPath,
  args: [script, era, "--stdio"],
  ...more
})

/** The fixture over HTTP, in a process of its own; its URL. */
export const fixtureUrl = (era: Era) =>
  Effect.gen(function* () {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [script, era, "--http"], { stdio: ["ignore", "ignore", "pipe"] })
      ),
      (child) =>
        Effect.callback<void>((resume) => {
          child.once("exit", () => resume(Effect.void))
          child.kill("SIGKILL")
        })
    )
    const lines = createInterface({ input: child.stderr })
    return yield* Effect.callback<string>((resume) => {
      lines.on("line", (line) => {
        if (line.startsWith("listening ")) resume(Effect.succeed(line.slice("listening ".length)))
      })
    })
  })

/** One run for all, that nobody looks for loops and taint in. */
const driven = McpServer.middleware((request) => Run.provide(request, Run.make({ id: "front" })))

/** A gateway's servers, served on the loopback for Ada; the URL, and the gateway itself. */
export const front = (
  options: Mcp.Gateway.Options,
  pins: Layer.Layer<Mcp.Pins.Pins> = Mcp.Pins.layerMemory,
  governance: Interlock.Options = {}
) =>
  Effect.gen(function* () {
    const behind = yield* Layer.build(
      Mcp.Gateway.layer(options).pipe(
        Layer.provideMerge(pins),
        Layer.provideMerge(ToolRegistry.layer),
        Layer.provideMerge(Interlock.layer(governance))
      )
    )
    // What a browser on this machine may call it by, known when it listens.
    const allowedOrigins: Array<string> = []
    const app = McpServer.layerHttp({
      name: "gateway",
      version: "1.0.0",
      path: "/mcp",
      protocols: Mcp.protocols,
      allowSessionTermination: true,
      allowedOrigins,
      registrations: Layer.merge(Mcp.layerRegistry, Mcp.Gateway.layerMcp).pipe(
        Layer.provide(driven.combine(Mcp.principal(ada)).layer),
        Layer.provide(Layer.succeedContext(behind))
      )
    })
    const http = HttpRouter.serve(app, { disableLogger: true, disableListenLog: true }).pipe(
      Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" }))
    )
    const { address } = Context.get(yield* Layer.build(http), HttpServer.HttpServer)
    const { port } = address as unknown as AddressInfo
    allowedOrigins.push(`http://127.0.0.1:${port}`, `http://localhost:${port}`)
    return { url: `http://127.0.0.1:${port}/mcp`, behind }
  })
