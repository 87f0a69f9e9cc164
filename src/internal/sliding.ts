/** Streams of what happens, fed by synchronous code that no reader can hold up: a slow one loses the oldest. */
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/** Open until the scope closes. */
export const make = <A>(capacity: number): Effect.Effect<PubSub.PubSub<A>, never, Scope.Scope> =>
  Effect.acquireRelease(PubSub.sliding<A>(capacity), PubSub.shutdown)

/**
 * Publishes, and drops the oldest where there is no room, where a sliding `PubSub` of itself drops the newest. Nothing is
 * kept while nobody has subscribed.
 */
export const publish = <A>(pubsub: PubSub.PubSub<A>, value: A): void => {
  if (PubSub.publishUnsafe(pubsub, value) || PubSub.isShutdownUnsafe(pubsub)) return
  pubsub.pubsub.slide()
  PubSub.publishUnsafe(pubsub, value)
}

/** Publishing wakes a waiting reader at once: it must not do its work inside the call that published. */
export const stream = <A>(pubsub: PubSub.PubSub<A>): Stream.Stream<A> =>
  Stream.tap(Stream.fromPubSub(pubsub), () => Effect.yieldNow)
