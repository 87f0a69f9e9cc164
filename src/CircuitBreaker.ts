/**
 * Keyed circuit breakers: a tool that keeps failing is left alone for a while,
 * then tried with a few probes before it is trusted again.
 *
 * - Closed: calls run; the trip rule decides when the circuit opens.
 * - Open: calls are refused with why it opened and when it will probe.
 * - Half open: at most `probes` calls run at once, however many ask; enough
 *   successes in a row close the entry, one failure opens it again.
 * - Forced open, forced closed: an operator's word, until `reset`.
 *
 * Every change of state starts a generation. What was admitted in an older one
 * still runs to its end and counts for nothing. Each admission is reported once;
 * a probe that is never reported keeps its place.
 *
 * `state` and `transitions` are how it is observed: it writes no log and no
 * metric. Open time passes with the `now` that callers bring, so nothing wakes
 * up when it is over: the next call is the first probe.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as MutableRef from "effect/MutableRef"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Admission, Detail, Outcome, Refusal, Snapshot, State, Transition } from "./Circuit.ts"
import * as Circuit from "./Circuit.ts"
import * as Glob from "./internal/glob.ts"
import { whole } from "./internal/options.ts"
import * as Sliding from "./internal/sliding.ts"

export type { Admission, Detail, Outcome, Refusal, Snapshot, Transition } from "./Circuit.ts"
export { consecutive, rate, rateWithin, type TripRule } from "./TripRule.ts"

// --- Service ---------------------------------------------------------------

/** The circuits of an executor, one per key. */
export class CircuitBreaker extends Context.Service<
  CircuitBreaker,
  {
    /** Leave to run, or why not. Acts when called; `now` is the calling fiber's clock. */
    readonly admit: (key: string, now: number) => Effect.Effect<Admission | Refusal>
    /** Why `admit` would refuse now; `undefined` where it would not. Changes nothing. */
    readonly peek: (key: string, now: number) => Effect.Effect<Refusal | undefined>
    /** What an admitted call came to. Acts when called, once per admission. */
    readonly report: (
      admission: Admission,
      outcome: Outcome,
      now: number,
      detail?: Detail
    ) => Effect.Effect<void>
    readonly state: (key: string) => Effect.Effect<Snapshot>
    /** Every circuit that is known. */
    readonly states: Effect.Effect<ReadonlyMap<string, Snapshot>>
    /** Refuses every call until `reset`. The hint to come back later is `openFor`. */
    readonly forceOpen: (key: string, why: string) => Effect.Effect<void>
    /** Lets every call run until `reset`, and counts none. */
    readonly forceClosed: (key: string) => Effect.Effect<void>
    /** Closes the circuit with nothing counted. */
    readonly reset: (key: string) => Effect.Effect<void>
    /** Changes of state as they happen. A slow reader loses the oldest of 1,024, and never holds up a call. */
    readonly transitions: Stream.Stream<Transition>
  }
>()("interlock/CircuitBreaker") {}

export interface Options extends Circuit.Options {
  /**
   * Circuits kept; 10,000. Beyond it the longest unused go, those that are closed and without failures first.
   * Forced ones always stay.
   */
  readonly maxKeys?: number
}

/** Other options for keys that a glob matches, over the common ones; the first match counts. */
export type Overrides = { readonly [keyGlob: string]: Circuit.Options }

interface Entry {
  readonly state: Ref.Ref<State>
  readonly rules: Circuit.Rules
  usedAt: number
  /** The answer of a state that lets every call run, shared by all its calls; made when one first asks. */
  run: { readonly generation: number; readonly answer: Exit.Exit<Admission> } | undefined
}

export const make = (
  options: Options = {},
  overrides: Overrides = {}
): Effect.Effect<CircuitBreaker["Service"], never, Scope.Scope> => {
  // Options are checked here, so that a mistake shows where it is made and not when a layer is built.
  const maxKeys = whole("CircuitBreaker: maxKeys", options.maxKeys ?? 10_000)
  const common = Circuit.rules(options)
  const special = Object.entries(overrides).map(
    ([glob, override]) => [glob, Circuit.rules({ ...options, ...override })] as const
  )
  return Effect.gen(function* () {
    const changes = yield* Sliding.make<Transition>(1024)
    const entries = new Map<string, Entry>()
    // Above every generation that was forgotten, so that no old admission fits a circuit that is known anew.
    let firstGeneration = 0

    const entryOf = (key: string, now: number): Entry => {
      const known = entries.get(key)
      if (known !== undefined) {
        known.usedAt = now
        return known
      }
      if (entries.size >= maxKeys) forget()
      const entry: Entry = {
        state: Ref.makeUnsafe(Circuit.closed(firstGeneration, now)),
        rules: special.find(([glob]) => Glob.matches(glob, key))?.[1] ?? common,
        usedAt: now,
        run: undefined
      }
      entries.set(key, entry)
      return entry
    }

    // A tenth at a time, so that a flood of new keys does not sort them all for each.
    const forget = (): void => {
      const candidates = [...entries]
        .map(([key, entry]) => ({ key, entry, rank: Circuit.worth(Ref.getUnsafe(entry.state)) }))
        .filter(({ rank }) => rank < Infinity)
        .sort((a, b) => a.rank - b.rank || a.entry.usedAt - b.entry.usedAt)
      for (const { entry, key } of candidates.slice(0, Math.ceil(maxKeys / 10))) {
        firstGeneration = Math.max(firstGeneration, Ref.getUnsafe(entry.state).generation + 1)
        entries.delete(key)
      }
    }

    const change = (key: string, entry: Entry, next: State, at: number): void => {
      const transition = Circuit.transition(key, Ref.getUnsafe(entry.state), next, at)
      MutableRef.set(entry.state.ref, next)
      if (transition !== undefined) Sliding.publish(changes, transition)
    }

    const command = (key: string, next: (generation: number, now: number) => State): Effect.Effect<void> =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const entry = entryOf(key, now)
        change(key, entry, next(Ref.getUnsafe(entry.state).generation + 1, now), now)
      })

    return {
      admit: (key, now) => {
        const entry = entryOf(key, now)
        const before = Ref.getUnsafe(entry.state)
        if (Circuit.letsRun(before)) {
          const { generation } = before
          if (entry.run?.generation !== generation) {
            entry.run = { generation, answer: Exit.succeed({ key, generation, probe: false }) }
          }
          return entry.run.answer
        }
        const [next, answer] = Circuit.admit(before, now, entry.rules)
        if (next !== before) change(key, entry, next, now)
        if (typeof answer === "string") {
          return Exit.succeed({ key, generation: next.generation, probe: answer === "probe" })
        }
        return Exit.succeed(refusal(key, answer))
      },
      peek: (key, now) => {
        const entry = entries.get(key)
        if (entry === undefined) return none
        const [, answer] = Circuit.admit(Ref.getUnsafe(entry.state), now, entry.rules)
        return typeof answer === "string" ? none : Exit.succeed(refusal(key, answer))
      },
      report: (admission, outcome, now, detail) => {
        const entry = entries.get(admission.key)
        if (entry === undefined) return Exit.void
        const before = Ref.getUnsafe(entry.state)
        const next = Circuit.report(before, admission, outcome, now, entry.rules, detail)
        if (next !== before) change(admission.key, entry, next, now)
        return Exit.void
      },
      state: (key) =>
        Effect.sync(() => {
          const entry = entries.get(key)
          return entry === undefined ? Circuit.unused : Circuit.snapshot(Ref.getUnsafe(entry.state))
        }),
      states: Effect.sync(
        () => new Map([...entries].map(([key, { state }]) => [key, Circuit.snapshot(Ref.getUnsafe(state))]))
      ),
      forceOpen: (key, why) => command(key, (generation, now) => Circuit.forcedOpen(generation, now, why)),
      forceClosed: (key) => command(key, Circuit.forcedClosed),
      reset: (key) => command(key, Circuit.closed),
      transitions: Sliding.stream(changes)
    }
  })
}

const none: Effect.Effect<undefined> = Exit.succeed(undefined)

const refusal = (
  key: string,
  { retryAfter, why }: { readonly retryAfter: number; readonly why: string }
): Refusal => ({ _tag: "CircuitOpen", key, why, retryAfter: Duration.millis(retryAfter) })

// --- Layers ----------------------------------------------------------------

/** Circuits in this process. Throws a `RangeError` for an option that makes no sense. */
export const layerMemory = (options?: Options, overrides?: Overrides): Layer.Layer<CircuitBreaker> =>
  Layer.effect(CircuitBreaker, make(options, overrides))

/** Circuits that are always closed and count nothing. */
export const layerNoop: Layer.Layer<CircuitBreaker> = Layer.sync(CircuitBreaker, () => ({
  admit: (key) => Exit.succeed({ key, generation: 0, probe: false }),
  peek: () => none,
  report: () => Exit.void,
  state: () => Exit.succeed(Circuit.unused),
  states: Exit.succeed(new Map()),
  forceOpen: () => Exit.void,
  forceClosed: () => Exit.void,
  reset: () => Exit.void,
  transitions: Stream.never
}))
