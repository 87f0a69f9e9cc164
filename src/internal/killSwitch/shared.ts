/** Keeps the stops of this process and those in a store the same. */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Because, Stop, StopStore } from "../../KillSwitch.ts"
import type { Local } from "./local.ts"

export interface Shared<E> {
  /**
   * Writes a stop that is in force here. It is noted when it is called, and tried again with every poll for as long as
   * it fails or is interrupted.
   */
  readonly write: (stop: Stop) => Effect.Effect<void, E>
  readonly lift: (id: string, lifted: Because) => Effect.Effect<boolean, E>
}

/** Loads the stops in force, and goes on to ask every `poll` for what has changed. */
export const make = <E>(
  local: Local,
  store: StopStore<E>,
  poll: Duration.Duration
): Effect.Effect<Shared<E>, E, Scope.Scope> =>
  Effect.gen(function* () {
    const unwritten = new Map<string, Stop>()
    let revision = 0
    let failing = false
    // One at a time, so that what was read before a stop was lifted is not obeyed after it.
    const access = yield* Semaphore.make(1)

    const lift = (id: string, lifted: Because): boolean => {
      unwritten.delete(id)
      return local.lift(id, lifted)
    }

    const insert = (stop: Stop) =>
      Effect.suspend(() =>
        // It may have been lifted, or written with a poll, while this waited for its turn.
        unwritten.has(stop.id)
          ? Effect.tap(store.insert(stop), () => Effect.sync(() => unwritten.delete(stop.id)))
          : Effect.void
      )

    const pull = Effect.flatMap(
      Effect.suspend(() => store.pull(revision)),
      ({ entries, revision: latest }) =>
        Effect.uninterruptible(
          Effect.clockWith((clock) => {
            const now = clock.currentTimeMillisUnsafe()
            const rest: Array<Effect.Effect<void>> = []
            for (const { lifted, stop } of entries) {
              if (lifted !== undefined) lift(stop.id, lifted)
              else rest.push(local.begin(stop, now))
            }
            revision = latest
            return Effect.all(rest, { discard: true })
          })
        )
    )

    // Reading comes first: a store that takes no more stops may still tell of those of others.
    const exchange = Effect.andThen(
      pull,
      Effect.suspend(() => Effect.forEach([...unwritten.values()], insert, { discard: true }))
    )

    // What is known stays in force while the store does not answer; it is reported once, not with every poll.
    const round = Effect.matchCauseEffect(access.withPermit(exchange), {
      onFailure: (cause) => {
        const known = failing
        failing = true
        return known ? Effect.void : Effect.ignoreCause(ErrorReporter.report(cause))
      },
      onSuccess: () => {
        failing = false
        return Effect.void
      }
    })

    yield* pull
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(poll), round)))
    return {
      write: (stop) => {
        unwritten.set(stop.id, stop)
        return access.withPermit(insert(stop))
      },
      lift: (id, lifted) =>
        access.withPermit(
          Effect.gen(function* () {
            const liftThere = Effect.flatMap(Clock.currentTimeMillis, (at) =>
              store.lift(id, { at, ...lifted })
            )
            let there = yield* liftThere
            if (!there) {
              // Lifted by another, which is learned now; written by another just now, and still to be lifted there; or
              // never heard of by the store: then it ends here.
              yield* pull
              if (local.stops.get(id) !== undefined) there = yield* liftThere
            }
            return lift(id, lifted) || there
          })
        )
    }
  })
