/**
 * The conformance suite's fixture, speaking one version of the protocol, as a
 * server behind a gateway:
 *
 *     node test/support/gatewayFixture.ts 2025-11-25 --stdio
 *     node test/support/gatewayFixture.ts 2026-07-28 --http
 *
 * Over HTTP it writes `listening <url>` to standard error when it is there.
 */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { NodeHttpServer, NodeRuntime, NodeStdio } from "@effect/platform-node"
import { Effect, Layer, Logger } from "effect"
import { McpProtocol, McpServer } from "effect/ai"
import { HttpRouter, HttpServer } from "effect/http"
import { registrations } from "./mcpFixture.ts"

if (import.meta.main) {
  const [version, how] = process.argv.slice(2)
  const protocol = version === "2026-07-28" ? McpProtocol.v2026_07_28 : McpProtocol.v2025_11_25
  const about = { name: "fixture", version: "1.0.0", protocols: [protocol], registrations } as const
  const listening = Layer.effectDiscard(
    Effect.gen(function* () {
      const { address } = yield* HttpServer.HttpServer
      const { port } = address as unknown as AddressInfo
      yield* Effect.sync(() => process.stderr.write(`listening http://127.0.0.1:${port}/mcp\n`))
    })
  )
  const served = HttpRouter.serve(
    McpServer.layerHttp({ ...about, path: "/mcp", allowSessionTermination: true }),
    { disableLogger: true, disableListenLog: true }
  )
  // It listens before it serves, and who comes between is never answered.
  const http = listening.pipe(
    Layer.provideMerge(served),
    Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" }))
  )
  const stdio = McpServer.layerStdio(about).pipe(Layer.provide(NodeStdio.layer))
  // Standard output is the protocol's.
  const logger = Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])
  NodeRuntime.runMain(
    (how === "--stdio" ? Layer.launch(stdio) : Layer.launch(http)).pipe(Effect.provide(logger))
  )
}
