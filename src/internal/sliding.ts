/** Publishing from synchronous code to a sliding `PubSub`, which of itself drops the newest when it is full. */
import * as PubSub from "effect/PubSub"

/** Publishes, and drops the oldest where there is no room. Nothing is kept while nobody has subscribed. */
export const publish = <A>(pubsub: PubSub.PubSub<A>, value: A): void => {
  if (PubSub.publishUnsafe(pubsub, value) || PubSub.isShutdownUnsafe(pubsub)) return
  pubsub.pubsub.slide()
  PubSub.publishUnsafe(pubsub, value)
}
