/** How many calls run at once, in the plainest way: a number of free slots, and a line of those who wait for one. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import type { Bulkhead } from "effect-interlock"
import { type Refused, refuse } from "./plainNouns.ts"

export interface Slots {
  /** Runs what needs a slot: refused where none is free and the line is full, unless the call has waited in another. */
  readonly enter: <A>(
    body: (waited: boolean) => Effect.Effect<A, Refused>,
    call: {
      readonly waited: boolean
      /** Bounds the wait. */
      readonly inTime: (wait: Effect.Effect<unknown>) => Effect.Effect<unknown, Refused>
      /** What the call left running: its slot stays taken until that has ended. */
      readonly lingering: Effect.Effect<ReadonlyArray<Promise<unknown>>>
    }
  ) => Effect.Effect<A, Refused>
  readonly counts: Effect.Effect<{ readonly running: number; readonly queued: number }>
}

interface State {
  readonly running: number
  /** First come, first served. */
  readonly line: ReadonlyArray<Deferred.Deferred<void>>
}

export const make = Effect.fnUntraced(function* (
  scope: "tool" | "executor",
  { maxConcurrent = Number.POSITIVE_INFINITY, maxQueue = 0 }: Bulkhead.Options
): Effect.fn.Return<Slots> {
  const state = yield* Ref.make<State>({ running: 0, line: [] })

  /** A slot, a place in the line, or nothing. */
  const ask = (waited: boolean, place: Deferred.Deferred<void>) =>
    Ref.modify(state, (before) => {
      const { line, running } = before
      if (running < maxConcurrent) return ["slot" as const, { line, running: running + 1 }]
      if (!waited && line.length >= maxQueue) return ["nothing" as const, before]
      return ["place" as const, { line: [...line, place], running }]
    })
  /** A slot that comes free goes to the first in the line. */
  const release = Effect.flatMap(
    Ref.modify(state, ({ line: [first, ...line], running }) =>
      first === undefined ? [undefined, { line, running: running - 1 }] : [first, { line, running }]
    ),
    (first) => (first === undefined ? Effect.void : Deferred.succeed(first, undefined))
  )
  /** Who no longer waits leaves the line, or gives the slot back that has just come. */
  const leave = (place: Deferred.Deferred<void>) =>
    Effect.flatMap(
      Ref.modify(state, (before) => {
        const line = before.line.filter((other) => other !== place)
        return [line.length < before.line.length, { ...before, line }]
      }),
      (wasWaiting) => (wasWaiting ? Effect.void : release)
    )
  const releaseAfter = (promises: ReadonlyArray<Promise<unknown>>): Effect.Effect<unknown> =>
    promises.length === 0
      ? release
      : Effect.promise(() => Promise.allSettled(promises)).pipe(Effect.andThen(release), Effect.forkDetach)

  return {
    enter: (body, { inTime, lingering, waited }) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const place = yield* Deferred.make<void>()
          const given = yield* ask(waited, place)
          if (given === "nothing") return yield* refuse("bulkhead", { _tag: "Overloaded", scope })
          if (given === "place") {
            // Whoever gave the slot comes to its end first.
            const wait = Effect.andThen(Deferred.await(place), Effect.yieldNow)
            yield* Effect.onError(restore(inTime(wait)), () => leave(place))
          }
          return yield* Effect.ensuring(
            restore(body(waited || given === "place")),
            Effect.flatMap(lingering, releaseAfter)
          )
        })
      ),
    counts: Effect.map(Ref.get(state), ({ line, running }) => ({ running, queued: line.length }))
  }
})
