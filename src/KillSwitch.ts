/**
 * Stops everything, a tool, a tag, a tenant or a principal, at once.
 *
 * - A new call that meets a stop is refused as `Killed`, with why and until when.
 * - A call that runs when the stop begins is interrupted, or drained: left to its
 *   end. `running` says how many are left.
 * - A stop is in force until it is lifted, or until its time has come: from that
 *   very millisecond it is no longer in force, whoever has noticed.
 * - Where several stops meet a call, the reason given is the one of the widest
 *   scope (all, tenant, tag, tool, principal), then the oldest.
 *
 * `why` is told to whoever calls, models included.
 *
 * A tool is named by a glob over its exposed and its upstream name, without regard
 * to case; tags, tenants and principals by their exact names.
 *
 * `check` and `enter` belong together in one synchronous step: a call that has
 * waited in between checks again. An interruption is asked for by a stop as it
 * begins; a call that enters in spite of it is left alone.
 *
 * At most 10,000 stops are held, of which the last 100 places are kept for stops of
 * everything, so that this one is never refused for the sake of smaller ones.
 * Names and `by` have at most 512 characters, `why` at most 2,000. What exceeds
 * that, is empty or ends before it begins is a defect, a `RangeError`.
 *
 * The stops of `layerMemory` end with the process; those of `SqlKillSwitch` do not.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import { uuidV4Unsafe } from "effect/crypto/SecureRandom"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as Local from "./internal/killSwitch/local.ts"
import * as Shared from "./internal/killSwitch/shared.ts"
import type { Principal } from "./Principal.ts"
import type { ToolFacts } from "./ToolAnnotations.ts"
import type { Reason, Unavailable } from "./ToolError.ts"

export type { Unavailable } from "./ToolError.ts"

// --- Models ----------------------------------------------------------------

/** What is stopped. A tool is named by a glob over its exposed and upstream names. */
export type Target =
  | { readonly scope: "all" }
  | { readonly scope: "tool"; readonly tool: string }
  | { readonly scope: "tag"; readonly tag: string }
  | { readonly scope: "tenant"; readonly tenant: string }
  /** Of this tenant, or of any and of none. */
  | { readonly scope: "principal"; readonly principal: string; readonly tenant?: string }

/** A stop in force: who, when, why, until when. */
export interface Stop {
  readonly id: string
  readonly target: Target
  readonly by: string
  readonly why: string
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly until: number | undefined
  readonly inFlight: "interrupt" | "drain"
}

/** Who lifts a stop, and why; both are told to whoever watches. */
export interface Because {
  readonly by: string
  readonly why: string
}

/** A stop that began or ended: `by` and `why` are of who lifted it where it was lifted, otherwise of who stopped. */
export interface Change {
  readonly _tag: "Stopped" | "Lifted" | "Expired"
  readonly stop: Stop
  readonly by: string
  readonly why: string
}

export type Killed = Extract<Reason, { readonly _tag: "Killed" }>

/** A call, as far as the switch has to do with it. */
export interface Killable {
  readonly kill: (killed: Killed) => void
}

/** A call that was let through. */
export interface Entered {
  readonly leave: () => void
}

// --- Service ---------------------------------------------------------------

export class KillSwitch extends Context.Service<
  KillSwitch,
  {
    /** Whether a call is stopped. Synchronous, from what this process knows. */
    readonly check: (tool: ToolFacts, principal: Principal, now: number) => Killed | undefined
    /**
     * Registers a call that is let through; `kill` is called at most once, synchronously, when a stop that interrupts
     * meets it. `leave` takes it out again, at the first of any number of times.
     */
    readonly enter: (tool: ToolFacts, principal: Principal, call: Killable) => Entered
    /**
     * Stops a target from now on. In force when it begins to run, in this process, and stays so where it then fails
     * or is interrupted: `Unavailable` says that other processes may not know of it yet, and a restart may forget it.
     */
    readonly stop: (
      target: Target,
      options: {
        readonly by: string
        readonly why: string
        /** Milliseconds since the epoch; until it is lifted by default. */
        readonly until?: number
        /** What becomes of calls that run; `interrupt` by default. */
        readonly inFlight?: "interrupt" | "drain"
      }
    ) => Effect.Effect<Stop, Unavailable>
    /** Lifts a stop; `false` where there is none of this id. A stop that cannot be lifted everywhere stays in force. */
    readonly lift: (id: string, options: Because) => Effect.Effect<boolean, Unavailable>
    /** The stops in force, in order of precedence. */
    readonly stops: Effect.Effect<ReadonlyArray<Stop>>
    /** How many calls of this process run that a target is about, whether it is stopped or not. */
    readonly running: (target: Target) => Effect.Effect<number>
    /** Stops as they begin and end. A slow reader loses the oldest of 1,024, and never holds up a stop. */
    readonly changes: Stream.Stream<Change>
  }
>()("interlock/KillSwitch") {}

/** Where stops are kept beyond this process. */
export interface StopStore<E> {
  /** Keeps a stop, once, however often it is asked to. */
  readonly insert: (stop: Stop) => Effect.Effect<void, E>
  /** `false` where there is none of this id in force. */
  readonly lift: (
    id: string,
    lifted: { readonly at: number; readonly by: string; readonly why: string }
  ) => Effect.Effect<boolean, E>
  /** What anybody stopped or lifted after a revision, in order; the stops that were not lifted where it is 0. */
  readonly pull: (revision: number) => Effect.Effect<
    {
      readonly revision: number
      readonly entries: ReadonlyArray<{
        readonly stop: Stop
        readonly lifted: Because | undefined
      }>
    },
    E
  >
}

// --- Make ------------------------------------------------------------------

export interface Options {
  /** In force from the beginning; none by default. */
  readonly stops?: ReadonlyArray<Stop>
}

/** A kill switch whose stops end with the process. */
export const make = (options: Options = {}): Effect.Effect<KillSwitch["Service"], never, Scope.Scope> =>
  Effect.gen(function* () {
    const local = yield* Local.make
    const now = yield* Clock.currentTimeMillis
    for (const stop of options.stops ?? []) yield* local.begin(stop, now)
    return service(
      local,
      () => Effect.void,
      (id, lifted) => Effect.sync(() => local.lift(id, lifted))
    )
  })

/**
 * A kill switch whose stops are kept in a store, which is asked every `poll` for those of others. Fails where the store
 * cannot be read.
 */
export const makeShared = <E>(options: {
  readonly store: StopStore<E>
  readonly poll: Duration.Duration
}): Effect.Effect<KillSwitch["Service"], E, Scope.Scope> =>
  Effect.gen(function* () {
    const local = yield* Local.make
    const shared = yield* Shared.make(local, options.store, options.poll)
    return service(
      local,
      (stop) => unavailable(shared.write(stop)),
      (id, lifted) => unavailable(shared.lift(id, lifted))
    )
  })

const service = (
  local: Local.Local,
  write: (stop: Stop) => Effect.Effect<void, Unavailable>,
  lift: (id: string, lifted: Because) => Effect.Effect<boolean, Unavailable>
): KillSwitch["Service"] => {
  const { calls, stops } = local
  return {
    check: (tool, principal, now) => {
      if (stops.size === 0) return undefined
      const stop = stops.find(tool, principal, now)
      return stop === undefined ? undefined : Local.killed(stop)
    },
    enter: (tool, principal, call) => calls.enter(tool, principal, call),
    stop: (target, { by, inFlight = "interrupt", until, why }) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.clockWith((clock) => {
          const at = clock.currentTimeMillisUnsafe()
          local.expire(at)
          const stop: Stop = { id: uuidV4Unsafe(), target, by, why, at, until, inFlight }
          insist(stop, stops.size)
          const rest = local.begin(stop, at)
          return rest.pipe(Effect.andThen(restore(write(stop))), Effect.as(stop))
        })
      ),
    lift: (id, { by, why }) =>
      Effect.clockWith((clock) => {
        insistOn("by", by, 512)
        insistOn("why", why, 2000)
        local.expire(clock.currentTimeMillisUnsafe())
        return lift(id, { by, why })
      }),
    stops: Effect.clockWith((clock) => {
      local.expire(clock.currentTimeMillisUnsafe())
      return Effect.succeed(stops.all())
    }),
    running: (target) => Effect.sync(() => calls.running(target)),
    changes: local.changes
  }
}

const unavailable = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, Unavailable> =>
  Effect.catch(effect, (error) =>
    Effect.andThen(
      Effect.ignoreCause(ErrorReporter.report(Cause.fail(error))),
      Effect.fail<Unavailable>({ _tag: "Unavailable", concern: "kill_switch" })
    )
  )

const insist = (stop: Stop, held: number): void => {
  const { scope, ...names } = stop.target
  for (const [key, name] of Object.entries(names)) insistOn(key, name, 512)
  insistOn("by", stop.by, 512)
  insistOn("why", stop.why, 2000)
  if (stop.until !== undefined && !(Number.isSafeInteger(stop.until) && stop.until > stop.at)) {
    throw new RangeError("KillSwitch: until must be in the future, in whole milliseconds since the epoch")
  }
  if (held >= (scope === "all" ? 10_000 : 9_900)) {
    throw new RangeError(`KillSwitch: ${held} stops are in force; lift some of them, or stop more with one`)
  }
}

const insistOn = (what: string, text: string, longest: number): void => {
  if (text.trim() === "" || text.length > longest) {
    throw new RangeError(`KillSwitch: ${what} must have 1 to ${longest} characters`)
  }
}

// --- Layers ----------------------------------------------------------------

/** Stops that end with the process. */
export const layerMemory = (options?: Options): Layer.Layer<KillSwitch> =>
  Layer.effect(KillSwitch, make(options))
