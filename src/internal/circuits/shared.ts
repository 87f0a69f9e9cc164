/**
 * Circuits that processes share through a store: what each knows of them, what it
 * has counted and not written, and how the two come together.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Circuit from "../../Circuit.ts"
import type { CircuitBreaker } from "../../CircuitBreaker.ts"
import * as Sliding from "../sliding.ts"
import { admitStep, fromText, type Kept, type Report, reported, type Step, told, unchanged } from "./kept.ts"

/** A circuit in a store. */
export interface Row {
  readonly key: string
  /** As `toText` makes it. */
  readonly state: string
  /** Higher than that of whatever was written before, of whichever circuit. */
  readonly revision: number
}

export interface CircuitStore<E> {
  /** The last revision. */
  readonly revision: Effect.Effect<number, E>
  /** What was written after a revision. */
  readonly since: (revision: number) => Effect.Effect<ReadonlyArray<Row>, E>
  /** Shows `decide` the row as it is, and puts `next` in its place where there is one. Nobody else changes it meanwhile. */
  readonly change: <A>(
    key: string,
    now: number,
    decide: (row: Row | undefined) => { readonly answer: A; readonly next: Kept | undefined }
  ) => Effect.Effect<{ readonly answer: A; readonly next: Kept | undefined; readonly revision: number }, E>
}

export interface SharedOptions<E> {
  readonly store: CircuitStore<E>
  readonly rulesOf: (key: string) => Circuit.Rules
  readonly maxKeys: number
  readonly poll: Duration.Duration
  readonly writeTimeout: Duration.Duration
  /** Milliseconds. */
  readonly probeFor: number
}

/** What this process knows of a circuit. */
interface Entry {
  readonly key: string
  readonly rules: Circuit.Rules
  kept: Kept
  /** Of the row that `kept` began with; `undefined` while there is none. */
  revision: number | undefined
  /** What `kept` counts beyond that row. */
  pending: Array<Report>
  /** `kept` is not what the row says. */
  dirty: boolean
  /** The answer of a state that lets every call run, shared by all its calls. */
  run: { readonly generation: number; readonly answer: Exit.Exit<Circuit.Admission> } | undefined
}

/** Loads the circuits, and goes on to write what is counted and to ask what has changed, every `poll`. */
export const make = <E>(
  options: SharedOptions<E>
): Effect.Effect<CircuitBreaker["Service"], E, Scope.Scope> =>
  Effect.gen(function* () {
    const { maxKeys, poll, probeFor, rulesOf, store, writeTimeout } = options
    const changes = yield* Sliding.make<Circuit.Transition>(1024)
    const entries = new Map<string, Entry>()
    // One at a time, so that of many fibers that ask for a probe all but one find it taken without asking the store.
    const access = yield* Semaphore.make(1)
    let revision = 0
    let failing = false

    const entryOf = (key: string, now: number): Entry => {
      const known = entries.get(key)
      if (known !== undefined) return known
      if (entries.size >= maxKeys) forget()
      const entry: Entry = {
        key,
        rules: rulesOf(key),
        kept: { state: Circuit.closed(0, now), probedAt: now },
        revision: undefined,
        pending: [],
        dirty: false,
        run: undefined
      }
      entries.set(key, entry)
      return entry
    }

    /** Those of which nobody has written anything, a tenth at a time. */
    const forget = (): void => {
      let left = Math.ceil(maxKeys / 10)
      for (const { dirty, key, revision } of entries.values()) {
        if (dirty || revision !== undefined) continue
        entries.delete(key)
        if (--left === 0) return
      }
    }

    const set = (entry: Entry, kept: Kept): void => {
      const { state } = kept
      const transition = Circuit.transition(entry.key, entry.kept.state, state, state.since)
      entry.kept = kept
      if (transition !== undefined) Sliding.publish(changes, transition)
    }

    /** Begins anew with what the store says, and counts again what was counted here and not written. */
    const rebase = (entry: Entry, base: Kept, revision: number | undefined): void => {
      const next = entry.pending.reduce((kept, report) => reported(kept, report, entry.rules), base)
      entry.revision = revision
      entry.dirty = next !== base
      // Reports that meet a state that is no longer theirs count for nothing, and are not worth a write.
      if (!entry.dirty) entry.pending = []
      set(entry, next)
    }

    const learn = (entry: Entry, row: Row | undefined, now: number): void => {
      const revision = row?.revision
      if (revision === entry.revision) return
      const kept = row === undefined ? undefined : fromText(row.state, entry.rules)
      // A row that is gone, or that nobody can read, is a circuit that is known anew.
      const { generation } = entry.kept.state
      rebase(entry, kept ?? { state: Circuit.closed(generation, now), probedAt: now }, revision)
    }

    /** Takes a step on the circuit as it is in the store, with what was counted here; writes what comes of it. */
    const exchange = <A>(entry: Entry, step: Step<A>, now: number): Effect.Effect<A, E> =>
      Effect.suspend(() => {
        const [next, answer] = step(entry.kept)
        if (next === entry.kept && !entry.dirty) return Effect.succeed(answer)
        let counted = 0
        return Effect.map(
          store.change(entry.key, now, (row) => {
            learn(entry, row, now)
            counted = entry.pending.length
            const [next, answer] = step(entry.kept)
            return { answer, next: next === entry.kept && !entry.dirty ? undefined : next }
          }),
          ({ answer, next, revision }) => {
            // What was counted while this was written is still to be.
            entry.pending = entry.pending.slice(counted)
            if (next !== undefined) rebase(entry, next, revision)
            return answer
          }
        )
      }).pipe(access.withPermit)

    const failed = (cause: Cause.Cause<unknown>): Effect.Effect<void> => {
      const known = failing
      failing = true
      return known ? Effect.void : Effect.ignoreCause(ErrorReporter.report(cause))
    }

    /** The same for a call: it never fails, waits for no longer than it may, and acts alone where the store does not. */
    const act = <A>(entry: Entry, step: Step<A>, now: number): Effect.Effect<A> => {
      const alone = Effect.sync(() => {
        const [next, answer] = step(entry.kept)
        entry.dirty ||= next !== entry.kept
        set(entry, next)
        return answer
      })
      return Effect.suspend(() =>
        failing
          ? alone
          : Effect.catchCause(within(writeTimeout, exchange(entry, step, now)), (cause) =>
              Effect.andThen(failed(cause), alone)
            )
      )
    }

    const pull = Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      const latest = yield* store.revision
      if (latest === revision) return
      // A store that was put back to an earlier state is read anew.
      if (latest < revision) {
        for (const entry of entries.values()) entry.revision = undefined
        revision = 0
      }
      for (const row of yield* store.since(revision)) learn(entryOf(row.key, now), row, now)
      // What was written since is read again with the next poll.
      revision = latest
    }).pipe(access.withPermit)

    const writeAll = Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      for (const entry of [...entries.values()]) if (entry.dirty) yield* exchange(entry, unchanged, now)
    })

    const round = Effect.matchCauseEffect(Effect.andThen(pull, writeAll), {
      onFailure: failed,
      onSuccess: () => {
        failing = false
        return Effect.void
      }
    })

    const command = (
      key: string,
      next: (generation: number, now: number) => Circuit.State
    ): Effect.Effect<void> =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const step: Step<void> = (kept) => [
          { ...kept, state: next(kept.state.generation + 1, now) },
          undefined
        ]
        return Effect.orDie(exchange(entryOf(key, now), step, now))
      })

    yield* pull
    yield* Effect.addFinalizer(() => Effect.catchCause(within(writeTimeout, writeAll), failed))
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(poll), round)))

    return {
      admit: (key, now) => {
        const entry = entryOf(key, now)
        const { kept, rules } = entry
        if (Circuit.letsRun(kept.state)) {
          const { generation } = kept.state
          if (entry.run?.generation !== generation) {
            entry.run = { generation, answer: Exit.succeed({ key, generation, probe: false }) }
          }
          return entry.run.answer
        }
        const step = admitStep(now, rules, probeFor)
        const [next, asked] = step(kept)
        if (next === kept) return Exit.succeed(told(key, asked))
        return Effect.uninterruptible(Effect.map(act(entry, step, now), (asked) => told(key, asked)))
      },
      peek: (key, now) => {
        const entry = entries.get(key)
        if (entry === undefined) return none
        const answer = told(key, admitStep(now, entry.rules, probeFor)(entry.kept)[1])
        return "_tag" in answer ? Exit.succeed(answer) : none
      },
      report: (...report) => {
        const [{ key }, , now] = report
        const entry = entries.get(key)
        if (entry === undefined) return Exit.void
        const { kept } = entry
        const next = reported(kept, report, entry.rules)
        if (next === kept) return Exit.void
        entry.pending.push(report)
        entry.dirty = true
        set(entry, next)
        if (failing && entry.pending.length > mostPending) entry.pending.shift()
        const onlyCounts = kept.state._tag === "Closed" && next.state._tag === "Closed"
        return onlyCounts && entry.pending.length < mostPending ? Exit.void : act(entry, unchanged, now)
      },
      state: (key) =>
        Effect.sync(() => {
          const entry = entries.get(key)
          return entry === undefined ? Circuit.unused : Circuit.snapshot(entry.kept.state)
        }),
      states: Effect.sync(
        () => new Map([...entries].map(([key, { kept }]) => [key, Circuit.snapshot(kept.state)]))
      ),
      forceOpen: (key, why) => command(key, (generation, now) => Circuit.forcedOpen(generation, now, why)),
      forceClosed: (key) => command(key, Circuit.forcedClosed),
      reset: (key) => command(key, Circuit.closed),
      transitions: Sliding.stream(changes)
    }
  })

/** Reports of one circuit that wait to be written. */
const mostPending = 1_000

const none: Effect.Effect<undefined> = Exit.succeed(undefined)

/**
 * Waits for no longer than that, and not for what is done to end. In a fiber of its own, because whoever waits may be
 * uninterruptible, or interrupted already.
 */
const within = <A, E>(wait: Duration.Duration, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.withFiber((fiber) => {
    const fork = Effect.runForkWith(fiber.context as Context.Context<never>)
    return Effect.callback<A, E>((resume) => {
      const doing = fork(effect)
      const timer = fork(
        Effect.map(Effect.sleep(wait), () =>
          resume(Exit.die(new Error("the store of the circuits did not answer in time")))
        )
      )
      doing.addObserver((exit) => {
        timer.interruptUnsafe()
        resume(exit)
      })
    })
  })
