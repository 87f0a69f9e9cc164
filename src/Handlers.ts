/**
 * Handlers without ceremony: plain functions, promises and Effects.
 *
 * A promise gets an `AbortSignal` that aborts when the call is interrupted or
 * timed out. Nothing can stop a promise that ignores it: the call ends at once,
 * marked `abandoned`, and keeps its bulkhead slot until the promise settles.
 */
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { CurrentCall } from "./CurrentCall.ts"
import { Attempt } from "./internal/attempt.ts"
import { type Going, type PlainHandler, plainHandler, startPlain } from "./internal/handling.ts"

/**
 * What a handler is given beside its parameters; where it runs ungoverned, its call has no name and no deadline. Its
 * functions and its signal are made when they are taken, by name: a copy of it (`{ ...context }`) has none.
 */
export interface HandlerContext<T extends Tool.Any> extends Toolkit.HandlerContext<T>, CurrentCall {}

/** A handler: decoded parameters in; a value, a promise of one, or an Effect out. */
export type Handler<T extends Tool.Any> = (
  params: Tool.Parameters<T>,
  context: HandlerContext<T>
) =>
  | Tool.Success<T>
  | PromiseLike<Tool.Success<T>>
  | Effect.Effect<Tool.Success<T>, Tool.Failure<T>, Tool.HandlerServices<T>>

/** One handler per tool. */
export type Handlers<Tools extends Record<string, Tool.Any>> = {
  readonly [Name in keyof Tools]: Handler<Tools[Name]>
}

/**
 * The toolkit's handlers as a layer, as `toolkit.toLayer` makes it. What a
 * function throws or a promise rejects with becomes the handler's failure: the
 * tool's own where its schema declares it, `HandlerFailed` otherwise.
 */
export const toLayer = <Tools extends Record<string, Tool.Any>, E = never, R = never>(
  toolkit: Toolkit.Toolkit<Tools>,
  /** The handlers, or an Effect that builds them from services. */
  build: Handlers<Tools> | Effect.Effect<Handlers<Tools>, E, R>
): Layer.Layer<Tool.HandlersFor<Tools>, E, Exclude<R, Scope.Scope>> => {
  const liftAll = (handlers: Handlers<Tools>) =>
    Object.fromEntries(
      Object.entries(handlers).map(([name, handler]) => [name, lift(handler as PlainHandler)])
    )
  const lifted = Effect.isEffect(build)
    ? Effect.map(build as Effect.Effect<Handlers<Tools>, E, R>, liftAll)
    : liftAll(build)
  // The mapped type above has checked every handler against its tool; a record built by key loses that.
  return toolkit.toLayer(lifted as never) as Layer.Layer<Tool.HandlersFor<Tools>, E, Exclude<R, Scope.Scope>>
}

// Who is not the pipeline runs it as Effect runs handlers.
const lift = (handler: PlainHandler) => {
  const lifted = (params: unknown, context: Toolkit.HandlerContext<Tool.Any>) =>
    Effect.suspend(() => {
      const attempt = Attempt.ungoverned(context)
      const started = startPlain(handler, params, attempt)
      return Effect.isEffect(started) ? started : settle(started, attempt)
    })
  return Object.assign(lifted, { [plainHandler]: handler })
}

const settle = (going: Going, attempt: Attempt): Effect.Effect<unknown, unknown> =>
  Effect.callback((resume) => {
    going.whenEnded({ ended: resume })
    return Effect.callback((done) => {
      attempt.abort()
      going.stop()
      going.whenEnded({ ended: () => done(Effect.void) })
    })
  })
