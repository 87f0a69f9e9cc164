/**
 * Tools that come and go while a program runs: each source (a toolbox, another
 * server) puts its toolset in, replaces it and takes it out, and whoever calls
 * tools asks for the executor of what is there at that moment.
 *
 * What governance holds of a tool (limits, circuits, health, questions, pins)
 * belongs to its name and lives in the services: a toolset that is replaced
 * loses none of it. Calls that run when their toolset is replaced or removed run
 * on; what its layer has acquired is released at once.
 */
import type * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { Health } from "./Health.ts"
import * as ToolExecutor from "./ToolExecutor.ts"
import * as Toolset from "./Toolset.ts"

// --- Models ----------------------------------------------------------------

/** Tools of which nothing is known but that all they need has been given to them. */
export type Registered = Readonly<
  Record<
    string,
    Tool.Tool<
      string,
      {
        readonly parameters: typeof Schema.Unknown
        readonly success: typeof Schema.Unknown
        readonly failure: typeof Schema.Unknown
        readonly failureMode: "error"
      }
    >
  >
>

/** What handlers need per call; of tools that are known at run time only nothing is known, and they need nothing. */
type PerCall<T extends ToolExecutor.Tools> = 0 extends 1 & Tool.HandlerServices<T[keyof T]>
  ? never
  : Tool.HandlerServices<T[keyof T]>

// --- Errors ----------------------------------------------------------------

/** Two sources offer a tool of the same name: names are what everything is decided by. */
export class DuplicateTool extends Schema.TaggedError<DuplicateTool>("interlock/ToolRegistry/DuplicateTool")(
  "DuplicateTool",
  { tool: Schema.String, source: Schema.String, takenBy: Schema.String }
) {
  override get message(): string {
    return `${this.source} offers a tool "${this.tool}", which ${this.takenBy} has already: give one of them a prefix`
  }
}

// --- Service ---------------------------------------------------------------

export class ToolRegistry extends Context.Service<
  ToolRegistry,
  {
    /** The executor of all that is registered now. */
    readonly executor: Effect.Effect<ToolExecutor.ToolExecutor<Registered>>
    /**
     * Puts a source's toolset in the place of the one it had. Whatever its handlers need, when they are built and per
     * call, is taken from here. When it fails everything stays as it was.
     */
    readonly put: <T extends ToolExecutor.Tools, E, R>(
      source: string,
      toolset: Toolset.Toolset<T, E, R>
    ) => Effect.Effect<void, E | DuplicateTool, R | PerCall<T>>
    /** Takes a source's tools out; whether there were any. */
    readonly remove: (source: string) => Effect.Effect<boolean>
    /** Which tools each source has, by name, in the order in which they were put. */
    readonly sources: Effect.Effect<ReadonlyMap<string, ReadonlyArray<string>>>
    /** One element after every change; a slow reader sees several as one. */
    readonly changes: Stream.Stream<void>
  }
>()("interlock/ToolRegistry") {}

// --- make ------------------------------------------------------------------

interface Source {
  readonly names: ReadonlyArray<string>
  readonly toolset: Toolset.Toolset<ToolExecutor.Tools>
  readonly scope: Scope.Closeable
}

/** An empty registry. What its toolsets have acquired is released with the scope. */
export const make: Effect.Effect<
  ToolRegistry["Service"],
  never,
  ToolExecutor.Governance | Health | Scope.Scope
> = Effect.gen(function* () {
  const governance = yield* Effect.context<ToolExecutor.Governance | Health>()
  const scope = yield* Effect.scope
  const oneAtATime = yield* Semaphore.make(1)
  const changed = yield* PubSub.sliding<void>(1)
  let registered: ReadonlyMap<string, Source> = new Map()

  const executorOf = (sources: ReadonlyMap<string, Source>) => {
    const all = Toolset.merge(...Array.from(sources.values(), ({ toolset }) => toolset))
    return ToolExecutor.make(all.toolkit).pipe(
      Effect.provide(all.layer),
      Effect.provideContext(governance)
    ) as unknown as Effect.Effect<ToolExecutor.ToolExecutor<Registered>>
  }
  let executor = yield* executorOf(registered)

  const change = Effect.fnUntraced(function* (next: ReadonlyMap<string, Source>, source: string) {
    executor = yield* executorOf(next)
    const before = registered.get(source)
    registered = next
    yield* PubSub.publish(changed, undefined)
    if (before !== undefined) yield* Scope.close(before.scope, Exit.void)
  })

  const taken = (source: string, names: ReadonlyArray<string>): DuplicateTool | undefined => {
    const wanted = new Set(names)
    for (const [takenBy, other] of registered) {
      const tool = takenBy === source ? undefined : other.names.find((name) => wanted.has(name))
      if (tool !== undefined) return new DuplicateTool({ tool, source, takenBy })
    }
    return undefined
  }

  return {
    executor: Effect.sync(() => executor),
    put: (source, toolset) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const names = Object.keys(toolset.toolkit.tools)
          const duplicate = taken(source, names)
          if (duplicate !== undefined) return yield* duplicate
          const own = yield* Scope.fork(scope)
          return yield* Effect.gen(function* () {
            const built = Layer.succeedContext(yield* restore(Layer.buildWithScope(toolset.layer, own)))
            const entry = { names, scope: own, toolset: { toolkit: toolset.toolkit, layer: built } }
            // A replaced toolset keeps its place.
            yield* change(new Map(registered).set(source, entry as unknown as Source), source)
          }).pipe(Effect.onError((cause) => Scope.close(own, Exit.failCause(cause))))
        })
      ).pipe(oneAtATime.withPermits(1)),
    remove: (source) =>
      Effect.suspend(() => {
        if (!registered.has(source)) return Effect.succeed(false)
        const next = new Map(registered)
        next.delete(source)
        return Effect.as(change(next, source), true)
      }).pipe(Effect.uninterruptible, oneAtATime.withPermits(1)),
    sources: Effect.sync(() => new Map(Array.from(registered, ([source, { names }]) => [source, names]))),
    changes: Stream.fromPubSub(changed)
  }
})

export const layer: Layer.Layer<ToolRegistry, never, ToolExecutor.Governance | Health> = Layer.effect(
  ToolRegistry,
  make
)
