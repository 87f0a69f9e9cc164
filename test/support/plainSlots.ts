/** How many calls run at once, in the plainest way: a semaphore, and a count of those who wait for it. */
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Semaphore from "effect/Semaphore"
import type { Bulkhead } from "effect-interlock"
import { type Reason, type Refused, refuse } from "./plainNouns.ts"

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

export const make = Effect.fnUntraced(function* (
  scope: "tool" | "executor",
  { maxConcurrent = Number.POSITIVE_INFINITY, maxQueue = 0 }: Bulkhead.Options
): Effect.fn.Return<Slots> {
  const slots = yield* Semaphore.make(maxConcurrent)
  const running = yield* Ref.make(0)
  const queued = yield* Ref.make(0)
  const full: Reason = { _tag: "Overloaded", scope }
  const add = (count: Ref.Ref<number>, n: number): Effect.Effect<void> =>
    Ref.update(count, (before) => before + n)
  const leave = Effect.andThen(add(running, -1), Effect.asVoid(slots.release(1)))
  const afterAll = (promises: ReadonlyArray<Promise<unknown>>): Effect.Effect<void> =>
    promises.length === 0
      ? leave
      : Effect.promise(() => Promise.allSettled(promises)).pipe(
          Effect.andThen(leave),
          Effect.forkDetach,
          Effect.asVoid
        )
  return {
    enter: (body, { inTime, lingering, waited }) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const atOnce = yield* slots.takeIfAvailable(1)
          if (!atOnce) {
            if (!waited && (yield* Ref.get(queued)) >= maxQueue) return yield* refuse("bulkhead", full)
            yield* add(queued, 1)
            yield* Effect.ensuring(restore(inTime(slots.take(1))), add(queued, -1))
          }
          yield* add(running, 1)
          return yield* Effect.ensuring(restore(body(waited || !atOnce)), Effect.flatMap(lingering, afterAll))
        })
      ),
    counts: Effect.all({ running: Ref.get(running), queued: Ref.get(queued) })
  }
})
