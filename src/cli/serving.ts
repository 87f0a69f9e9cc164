/** The registered tools over the Model Context Protocol, on stdio or HTTP. */
import { createServer } from "node:http"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as McpServer from "effect/ai/McpServer"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { version } from "../internal/version.ts"
import * as Mcp from "../mcp/index.ts"
import { complain } from "./ExitCode.ts"
import { Project } from "./Project.ts"
import * as Secrets from "./Secrets.ts"

const server = { name: "interlock", version, protocols: Mcp.protocols } as const

/** Every registered tool, for whom the middleware says that it is; and what else upstream servers have, where there are any. */
const registrations = Layer.unwrap(
  Effect.map(Effect.serviceOption(Mcp.Gateway.Gateway), (gateway) =>
    Option.isNone(gateway)
      ? Mcp.layerRegistry
      : Layer.merge(
          Mcp.layerRegistry,
          Layer.provide(Mcp.Gateway.layerMcp, Layer.succeed(Mcp.Gateway.Gateway, gateway.value))
        )
  )
)

// --- stdio -----------------------------------------------------------------

/** One client, which is whoever started this: it acts for one principal. */
const stdio = Effect.gen(function* () {
  const { principal } = yield* Project
  const middleware = Mcp.visibilityRegistry.combine(Mcp.principal(principal))
  const serving = yield* Effect.forkChild(
    Layer.launch(
      McpServer.layerStdio({ ...server, registrations: registrations.pipe(Layer.provide(middleware.layer)) })
    )
  )
  // It interrupts itself when its client has closed stdin, which is how a session ends; a signal interrupts who waits here.
  const exit = yield* Fiber.await(serving)
  return yield* Exit.hasInterrupts(exit) ? Effect.void : exit
})

// --- HTTP ------------------------------------------------------------------

const loopback = new Set(["127.0.0.1", "::1", "localhost"])

/** Who shows which token. Without any, this machine may act for the command line's principal, and nobody else may. */
const whoAsks = Effect.fnUntraced(function* (host: string) {
  const { loaded, principal, principals, resolve } = yield* Project
  const named = Object.entries(loaded.config.principals ?? {})
  const holders = yield* Effect.forEach(named, ([id, { token }]) => {
    const holder = principals.get(id)
    return token === undefined || holder === undefined
      ? Effect.succeed([])
      : Effect.map(Secrets.read(token, resolve), (secret) => [{ token: secret, principal: holder }])
  })
  const tokens = holders.flat()
  if (tokens.length > 0) return Mcp.principals({ tokens })
  if (loopback.has(host)) return Mcp.principals({ tokens, withoutToken: principal })
  return yield* complain(
    "usage",
    `Anybody who reaches ${host} could call these tools: give principals a "token", or listen on 127.0.0.1.`
  )
})

const http = Effect.fnUntraced(function* (host: string, port: number) {
  const served = McpServer.layerHttp({
    ...server,
    path: "/mcp",
    allowSessionTermination: true,
    registrations: registrations.pipe(Layer.provide(Mcp.visibilityRegistry.layer))
  }).pipe(Layer.provide((yield* whoAsks(host)).layer))
  const ready = Layer.effectDiscard(
    HttpServer.addressFormattedWith((address) => Console.error(`Serving MCP on ${address}/mcp`))
  )
  return yield* Layer.launch(
    HttpRouter.serve(served, { disableLogger: true, disableListenLog: true }).pipe(
      Layer.merge(ready),
      Layer.provide(NodeHttpServer.layer(createServer, { host, port }))
    )
  )
})

/** Serves until it is interrupted. */
export const serve = (host: string, port: number | undefined) =>
  Effect.gen(function* () {
    return yield* port === undefined ? stdio : http(host, port)
  })
