/**
 * Governed tools on Effect's `McpServer`: a toolkit (`layer`), or whatever a
 * `ToolRegistry` has at the moment (`layerRegistry`).
 *
 * The principal of a call is the request's. Over HTTP say who that is with
 * `principals`, over stdio with `principal`, or with middleware of your own; a
 * request that none names is anonymous:
 *
 *     Mcp.layer(Tools).pipe(
 *       Layer.provide(Mcp.visibility(Tools).combine(Mcp.principal(ada)).layer),
 *       Layer.provide([ToolHandlers, Interlock.layer()]))
 *
 * A model drives these calls, so loops and taint are looked for. Calls of one
 * principal and session are one run until none came for 15 minutes, through
 * whichever of a server's toolkits; a run that middleware provides comes first.
 *
 * Refusals and a tool's own failures are results with `isError`, the code, the
 * reason and what to do. So are arguments that do not fit, from protocol
 * 2025-11-25 on; before they are its error `InvalidParams`.
 *
 * A call that its principal must confirm is put to the human of a client that
 * can ask one (elicitation). Whatever else needs a human ends as pending, says
 * how to approve it, and runs when the same call is made after that.
 */
import * as McpProtocol from "effect/ai/McpProtocol"
import * as McpServer from "effect/ai/McpServer"
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { Approvals } from "../Approvals.ts"
import { CurrentCall } from "../CurrentCall.ts"
import type { Health } from "../Health.ts"
import type { InRun } from "../internal/governedToolkit.ts"
import { runPerPrincipal } from "../internal/runPerPrincipal.ts"
import { Keyring } from "../Keyring.ts"
import { Permissions } from "../Permissions.ts"
import * as Pipeline from "../Pipeline.ts"
import { CurrentPrincipal } from "../Principal.ts"
import * as Run from "../Run.ts"
import { read, type ToolFacts } from "../ToolAnnotations.ts"
import * as ToolExecutor from "../ToolExecutor.ts"
import { ToolRegistry } from "../ToolRegistry.ts"
import type { Serving } from "./server/calls.ts"
import { byContent } from "./server/questions.ts"
import { follow, register } from "./server/registration.ts"

export { type Level, log, type Progress, progress } from "./server/client.ts"
export { type PrincipalsOptions, principal, principals, type TokenHolder } from "./server/principals.ts"

/** Every version of the protocol that Effect speaks; a client that asks for none of them is offered the first. */
export const protocols = [
  McpProtocol.v2025_11_25,
  McpProtocol.v2025_06_18,
  McpProtocol.v2025_03_26,
  McpProtocol.v2024_11_05,
  McpProtocol.v2026_07_28
] as const

// --- A toolkit -------------------------------------------------------------

/**
 * Registers a toolkit's tools, governed, with the MCP server. Every tool is
 * listed unless a visibility hides it; who may run it is decided at every call.
 * A tool whose parameters are no object is a defect that names it.
 */
export const layer = <T extends ToolExecutor.Tools>(
  toolkit: Toolkit.Toolkit<T>
): Layer.Layer<never, never, ToolExecutor.Governance | Health | McpServer.ToolkitRequirements<T>> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const approvals = byContent(yield* Approvals, yield* Keyring)
      const { pipeline } = yield* Effect.provideService(ToolExecutor.make(toolkit), Approvals, approvals)
      const server = yield* McpServer.McpServer
      const serving = yield* servingOf(Effect.succeed(pipeline))
      const services = yield* withoutCaller
      for (const { facts } of pipeline.tools.values()) yield* register(server, serving, facts, services)
    })
  )

// --- A registry ------------------------------------------------------------

/**
 * Serves the tools of a registry as they come, change and go; clients are told of every change. A tool that was taken
 * out is not found, and one that cannot be listed is left out, with a warning. The governance must be the registry's.
 */
export const layerRegistry: Layer.Layer<
  never,
  never,
  ToolRegistry | ToolExecutor.Governance | McpServer.McpServer
> = Layer.effectDiscard(
  Effect.gen(function* () {
    const registry = yield* ToolRegistry
    const server = yield* McpServer.McpServer
    const governance = Context.add(
      yield* Effect.context<ToolExecutor.Governance>(),
      Approvals,
      byContent(yield* Approvals, yield* Keyring)
    )
    const prefix = yield* idPrefix
    let pipelines = 0
    const known = new WeakMap<Pipeline.Pipeline, Pipeline.Pipeline>()
    /** The registry's tools as its doors see them, but for how a question is known. */
    const current = Effect.map(registry.executor, ({ pipeline }) => {
      let own = known.get(pipeline)
      if (own === undefined) {
        // Each counts its calls from one.
        own = Pipeline.make(handlersIn(pipeline), governance, `${prefix}${++pipelines}_`)
        known.set(pipeline, own)
      }
      return own
    })
    const { announce, step } = follow(server, yield* servingOf(current), yield* withoutCaller)
    const oneAtATime = yield* Semaphore.make(1)
    const keepUp = oneAtATime.withPermit(Effect.flatMap(registry.executor, ({ pipeline }) => step(pipeline)))
    yield* announce
    yield* Effect.forkScoped(
      Stream.runForEach(registry.changes, () => keepUp),
      { startImmediately: true }
    )
    yield* keepUp
  })
)

const handlersIn = ({ tools }: Pipeline.Pipeline): Parameters<typeof Pipeline.make>[0] =>
  Array.from(tools.values(), ({ context, facts, handler }) => {
    const held = { name: facts.name, handler, context } as Tool.Handler<string>
    return [facts.tool, held] as const
  })

// --- What both share -------------------------------------------------------

const idPrefix = Effect.map(
  Random.nextIntBetween(36 ** 5, 36 ** 6),
  (number) => `mcp_${number.toString(36)}_`
)

const servingOf = Effect.fnUntraced(function* (pipeline: Effect.Effect<Pipeline.Pipeline>) {
  const { notifications } = yield* McpServer.McpServer
  const inRun = yield* runsOfServer
  return { pipeline, inRun, notifications } satisfies Serving
})

/** What is read by one toolkit taints what is sent by another. */
const runsOfServer = Effect.gen(function* () {
  const server = yield* McpServer.McpServer
  const known = runs.get(server)
  if (known !== undefined) return known
  const made = runPerPrincipal(yield* idPrefix)
  runs.set(server, made)
  return made
})
const runs = new WeakMap<object, InRun>()

// `McpServer` lends requests whatever is ambient here, and who registers a tool is not who calls it.
const withoutCaller = Effect.map(
  Effect.context<never>(),
  (context) => Context.omit(CurrentPrincipal, CurrentCall, Run.CurrentRun)(context) as Context.Context<never>
)

// --- Who sees what ---------------------------------------------------------

type Visibility<R> = McpServer.Middleware<{
  provides: never
  error: never
  requires: never
  layerError: never
  layerRequires: R
}>

/**
 * Leaves out of every list what the request's principal may not use. A call of
 * such a tool still comes in, is denied and leaves its record.
 */
export const visibility = <T extends ToolExecutor.Tools>(
  toolkit: Toolkit.Toolkit<T>
): Visibility<Permissions> =>
  McpServer.visibility(
    Effect.map(Permissions, (permissions) => {
      const facts = new Map(Object.values(toolkit.tools).map((tool) => [tool.name, read(tool)]))
      return seenBy(permissions, (name) => Effect.succeed(facts.get(name)))
    })
  )

/** The same for the tools of a registry, whichever it has at the time. */
export const visibilityRegistry: Visibility<Permissions | ToolRegistry> = McpServer.visibility(
  Effect.gen(function* () {
    const registry = yield* ToolRegistry
    return seenBy(yield* Permissions, (name) =>
      Effect.map(registry.executor, ({ pipeline }) => pipeline.tools.get(name)?.facts)
    )
  })
)

const seenBy =
  (
    permissions: Permissions["Service"],
    find: (name: string) => Effect.Effect<ToolFacts | undefined>
  ): McpServer.visibility.Check<never, never> =>
  ({ method, target }) =>
    method !== "tools/list"
      ? Effect.succeed(true)
      : Effect.gen(function* () {
          const facts = yield* find(target)
          if (facts === undefined) return true
          const access = yield* permissions.check(yield* CurrentPrincipal, facts)
          return access._tag === "Granted"
        })
