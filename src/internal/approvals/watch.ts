/** Waiting for a decision, and watching all of them: what changes here at once, what changes elsewhere by looking. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import type { Request, Unavailable } from "../../Approvals.ts"
import * as Sliding from "../sliding.ts"
import type { Desk } from "./desk.ts"
import { requestOf } from "./document.ts"
import type { ApprovalStore, Held } from "./store.ts"

export class Watch {
  readonly changes: Stream.Stream<Request>
  readonly #store: ApprovalStore
  readonly #pubsub: PubSub.PubSub<Held>
  readonly #waiting = new Map<string, Set<Deferred.Deferred<void>>>()

  constructor(store: ApprovalStore, pubsub: PubSub.PubSub<Held>) {
    this.#store = store
    this.#pubsub = pubsub
    const here = Stream.fromPubSub(pubsub)
    const all = store.others === undefined ? here : withOthers(here, store.others)
    // Publishing wakes a waiting reader at once: it must not do its work inside the decision.
    this.changes = all.pipe(
      Stream.tap(() => Effect.yieldNow),
      // As it was then, however late somebody reads it.
      Stream.map((held) => requestOf(held, held.document.createdAt))
    )
  }

  /** Tells that a request was made or has changed. */
  changed(held: Held): void {
    Sliding.publish(this.#pubsub, held)
    if (held.state === "pending") return
    for (const waiter of this.#waiting.get(held.document.id) ?? []) Deferred.doneUnsafe(waiter, Exit.void)
  }

  /** Ends when the request is no longer pending. */
  decided(id: string, desk: Desk): Effect.Effect<void, Unavailable> {
    // Whoever waits is known before it looks, so that it misses nothing in between.
    return Effect.acquireUseRelease(
      Effect.sync(() => {
        const waiter = Deferred.makeUnsafe<void>()
        const waiters = this.#waiting.get(id) ?? new Set()
        this.#waiting.set(id, waiters.add(waiter))
        return waiter
      }),
      (waiter) => this.#wait(id, waiter, desk),
      (waiter) =>
        Effect.sync(() => {
          const waiters = this.#waiting.get(id)
          waiters?.delete(waiter)
          if (waiters?.size === 0) this.#waiting.delete(id)
        })
    )
  }

  readonly #wait = Effect.fnUntraced(
    { self: this },
    function* (id: string, waiter: Deferred.Deferred<void>, desk: Desk): Effect.fn.Return<void, Unavailable> {
      while (true) {
        const found = yield* this.#store.find(id)
        const now = yield* Clock.currentTimeMillis
        const held = found === undefined ? undefined : yield* desk.settle(found, now)
        if (held?.state !== "pending") return
        const longest = this.#store.others?.interval ?? longestWait
        yield* Effect.timeoutOption(Deferred.await(waiter), Math.min(held.document.expiresAt - now, longest))
        // A decision wakes whoever waits at once, see above.
        yield* Effect.yieldNow
      }
    }
  )
}

/** A day: timers of more than 24 days do not wait at all. */
const longestWait = 86_400_000

/**
 * What is changed here, and what others change, each change once. Here every state is seen; of what others do quickly
 * one after another, the last.
 */
const withOthers = (
  here: Stream.Stream<Held>,
  { interval, revision, since }: NonNullable<ApprovalStore["others"]>
): Stream.Stream<Held> =>
  Stream.unwrap(
    Effect.sync(() => {
      let seen: number | undefined
      /** Changes made here after `seen`. */
      const told = new Map<string, number>()
      const isNew = (held: Held): boolean =>
        (seen === undefined || held.revision > seen) && !told.has(changeOf(held))

      const look: Effect.Effect<Look> = Effect.suspend(() =>
        seen === undefined
          ? Effect.map(revision, (upTo) => ({ held: [], upTo }))
          : Effect.map(since(seen), (held) => ({ held, upTo: held.at(-1)?.revision }))
      ).pipe(
        // The next look sees what this one could not.
        Effect.orElseSucceed(() => ({ held: [], upTo: undefined }))
      )
      const looks = Stream.mapEffect(Stream.tick(interval), () => look)
      const own = Stream.map(here, (held): Look => ({ held: [held], upTo: undefined }))
      return Stream.merge(own, looks).pipe(
        Stream.map(({ held, upTo }) => {
          const fresh = held.filter(isNew)
          if (upTo === undefined) for (const held of fresh) told.set(changeOf(held), held.revision)
          else {
            seen = Math.max(seen ?? 0, upTo)
            for (const [change, revision] of told) if (revision <= seen) told.delete(change)
          }
          return fresh
        }),
        Stream.flattenIterable
      )
    })
  )

interface Look {
  readonly held: ReadonlyArray<Held>
  /** What was looked at up to this revision. */
  readonly upTo: number | undefined
}

const changeOf = ({ document, revision }: Held): string => `${revision}/${document.id}`
