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
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { CurrentCall } from "./CurrentCall.ts"
import { Attempt } from "./internal/attempt.ts"

/** What a handler is given beside its parameters. */
export interface HandlerContext<T extends Tool.Any> extends Toolkit.HandlerContext<T> {
  /** Aborts when the call is interrupted or timed out. */
  readonly signal: AbortSignal
}

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
    Object.fromEntries(Object.entries(handlers).map(([name, handler]) => [name, lift(handler as AnyHandler)]))
  const lifted = Effect.isEffect(build)
    ? Effect.map(build as Effect.Effect<Handlers<Tools>, E, R>, liftAll)
    : liftAll(build)
  // The mapped type above has checked every handler against its tool; a record built by key loses that.
  return toolkit.toLayer(lifted as never) as Layer.Layer<Tool.HandlersFor<Tools>, E, Exclude<R, Scope.Scope>>
}

type AnyHandler = (params: unknown, context: object) => unknown

const lift =
  (handler: AnyHandler) =>
  (params: unknown, context: object): Effect.Effect<unknown, unknown> =>
    Effect.withFiber((fiber) => {
      const call = fiber.getRef(CurrentCall)
      const attempt = call instanceof Attempt ? call : Attempt.ungoverned()
      let result: unknown
      try {
        result = handler(params, { ...context, signal: attempt.signal })
      } catch (error) {
        return Exit.fail(error)
      }
      if (Effect.isEffect(result)) return result as Effect.Effect<unknown, unknown>
      return isPromiseLike(result) ? settle(result, attempt) : Exit.succeed(result)
    })

const isPromiseLike = (value: unknown): value is PromiseLike<unknown> =>
  value !== null && typeof value === "object" && "then" in value && typeof value.then === "function"

const settle = (promise: PromiseLike<unknown>, attempt: Attempt): Effect.Effect<unknown, unknown> =>
  Effect.callback((resume) => {
    let settled = false
    // Whatever a foreign `then` does, it settles once and never throws.
    const done = Promise.resolve(promise).then(
      (value) => {
        settled = true
        resume(Exit.succeed(value))
      },
      (error) => {
        settled = true
        resume(Exit.fail(error))
      }
    )
    return Effect.suspend(() => {
      attempt.abort()
      // A promise that honours its signal settles within the turn.
      return Effect.map(Effect.yieldNow, () => {
        if (!settled) attempt.abandon(done)
      })
    })
  })
