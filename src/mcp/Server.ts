/**
 * A governed toolkit on Effect's `McpServer`. Its `handle` sees the raw
 * arguments, so that the whole pipeline holds.
 *
 * The principal of a call is the request's. Say who that is with MCP
 * middleware; a request that none names is anonymous:
 *
 *     const Auth = McpServer.middleware((request, { headers }) =>
 *       Principal.provide(request, principalOf(headers)))
 *
 *     Mcp.layer(Tools).pipe(
 *       Layer.provide(Mcp.visibility(Tools).combine(Auth).layer),
 *       Layer.provide(ToolHandlers),
 *       Layer.provide(Interlock.layer()))
 *
 * A model drives these calls, so loops and taint are looked for. Calls of one
 * principal and session are one run until none came for 15 minutes, through
 * whichever of a server's toolkits; a run that middleware provides comes first.
 *
 * Refusals and a tool's own failures are results with `isError` and the reason
 * as text. So are arguments that do not fit, from protocol 2025-11-25 on; before
 * they are its error `InvalidParams`.
 */
import * as McpServer from "effect/ai/McpServer"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import { CurrentCall } from "../CurrentCall.ts"
import type { Health } from "../Health.ts"
import { governedToolkit, type InRun } from "../internal/governedToolkit.ts"
import { runPerPrincipal } from "../internal/runPerPrincipal.ts"
import { Permissions } from "../Permissions.ts"
import { CurrentPrincipal } from "../Principal.ts"
import * as Run from "../Run.ts"
import * as ToolExecutor from "../ToolExecutor.ts"

/**
 * Registers a toolkit's tools, governed, with the MCP server. Every tool is
 * listed unless a visibility hides it; who may run it is decided at every call.
 */
export const layer = <T extends ToolExecutor.Tools>(
  toolkit: Toolkit.Toolkit<T>
): Layer.Layer<never, never, ToolExecutor.Governance | Health | McpServer.ToolkitRequirements<T>> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const { pipeline } = yield* ToolExecutor.make(toolkit)
      const all = Effect.succeed(new Set(pipeline.tools.keys()))
      const governed = governedToolkit(pipeline, "mcp", all, yield* runsOfServer)
      const tools = Array.from(pipeline.tools.values(), ({ facts }) => facts.tool)
      // `McpServer` evaluates the toolkit to get its handlers: this one evaluates to governed ones.
      const registered = Object.assign(
        Toolkit.make(...tools),
        Effectable.Prototype({ label: "interlock/mcp", evaluate: () => governed as never })
      ) as unknown as Toolkit.Toolkit<T>
      // `McpServer` lends requests whatever is ambient here, and who registers a tool is not who calls it.
      yield* Effect.updateContext(
        McpServer.registerToolkit(registered),
        withoutCaller<McpServer.ToolkitRequirements<T>>
      )
    })
  )

/** What is read by one toolkit taints what is sent by another. */
const runsOfServer = Effect.gen(function* () {
  const server = yield* McpServer.McpServer
  const known = servers.get(server)
  if (known !== undefined) return known
  const prefix = `mcp_${(yield* Random.nextIntBetween(36 ** 5, 36 ** 6)).toString(36)}_`
  const runs = runPerPrincipal(prefix)
  servers.set(server, runs)
  return runs
})
const servers = new WeakMap<object, InRun>()

const withoutCaller = <R>(context: Context.Context<R>): Context.Context<R> =>
  Context.omit(CurrentPrincipal, CurrentCall, Run.CurrentRun)(context) as Context.Context<R>

/**
 * Leaves out of every list what the request's principal may not use. A call of
 * such a tool still comes in, is denied and leaves its record.
 */
export const visibility = <T extends ToolExecutor.Tools>(
  toolkit: Toolkit.Toolkit<T>
): McpServer.Middleware<{
  provides: never
  error: never
  requires: never
  layerError: never
  layerRequires: Permissions
}> =>
  McpServer.visibility(
    Effect.map(Effect.service(Permissions), (permissions) => ({ method, target }) => {
      if (method !== "tools/list" || !Object.hasOwn(toolkit.tools, target)) return Effect.succeed(true)
      const access = permissions.canUse(toolkit.tools[target] as T[keyof T])
      return Effect.map(access, ({ _tag }) => _tag === "Granted")
    })
  )
