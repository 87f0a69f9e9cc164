/**
 * Starting a handler, and what becomes of one that does not end at once: a
 * fiber, or a promise that needs none.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { Attempt } from "./attempt.ts"
import { isExit } from "./exits.ts"

type Ending = Exit.Exit<unknown, unknown>

/** Who is told when a handler has ended. */
export interface Observer {
  readonly ended: (exit: Ending) => void
}

/** A handler that goes on. */
export interface Going {
  /** Tells how it ended, now or later; whoever asks last is told. */
  readonly whenEnded: (observer: Observer) => void
  /** Makes it end soon; doing so twice changes nothing. */
  readonly stop: () => void
}

/** A handler as `Handlers.toLayer` takes it: its value, a promise of it, or an Effect. */
export type PlainHandler = (params: unknown, attempt: Attempt) => unknown

/** Leads from a handler that `Handlers.toLayer` has lifted to the function as it was given. */
export const plainHandler: unique symbol = Symbol.for("interlock/plainHandler")

/** Starts a plain handler: what it throws or rejects with is a failure, and its Effect is not run yet. */
export const startPlain = (
  handler: PlainHandler,
  params: unknown,
  attempt: Attempt
): Effect.Effect<unknown, unknown> | Going => {
  try {
    const result = handler(params, attempt)
    if (Effect.isEffect(result)) return result as Effect.Effect<unknown, unknown>
    // A foreign `then` may throw where it is only looked for.
    return isPromiseLike(result) ? new Settling(result, attempt) : Exit.succeed(result)
  } catch (error) {
    return Exit.fail(error)
  }
}

/** Starts an Effect in a fiber of its own, which is not needed where it has ended already. */
export const startEffect = (
  effect: Effect.Effect<unknown, unknown>,
  context: () => Context.Context<never>
): Ending | Going => {
  if (isExit(effect)) return effect
  const fiber = Effect.runForkWith(context())(effect)
  return fiber.pollUnsafe() ?? new Forked(fiber)
}

class Forked implements Going {
  readonly #fiber: Fiber.Fiber<unknown, unknown>

  constructor(fiber: Fiber.Fiber<unknown, unknown>) {
    this.#fiber = fiber
  }

  whenEnded(observer: Observer): void {
    this.#fiber.addObserver((exit) => observer.ended(exit))
  }

  stop(): void {
    this.#fiber.interruptUnsafe()
  }
}

const isPromiseLike = (value: unknown): value is PromiseLike<unknown> =>
  value !== null && typeof value === "object" && "then" in value && typeof value.then === "function"

/** A promise: nothing can stop one that ignores its signal, so it is left to itself then. */
class Settling implements Going {
  readonly #attempt: Attempt
  readonly #settled: Promise<void>
  #exit: Ending | undefined
  #observer: Observer | undefined
  #stopped = false
  static #leaving: Array<Settling> | undefined

  constructor(promise: PromiseLike<unknown>, attempt: Attempt) {
    this.#attempt = attempt
    // Whatever a foreign `then` does, it settles once and never throws.
    this.#settled = Promise.resolve(promise).then(
      (value) => this.#end(Exit.succeed(value)),
      (error) => this.#end(Exit.fail(error))
    )
  }

  whenEnded(observer: Observer): void {
    this.#observer = observer
    if (this.#exit !== undefined) observer.ended(this.#exit)
  }

  stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    // A promise that honours its signal settles within the turn. All that are stopped in one are looked at together.
    if (Settling.#leaving !== undefined) Settling.#leaving.push(this)
    else {
      Settling.#leaving = [this]
      Effect.runFork(Effect.map(Effect.yieldNow, Settling.#leaveAll))
    }
  }

  static #leaveAll(): void {
    const leaving = Settling.#leaving ?? []
    Settling.#leaving = undefined
    for (const one of leaving) one.#leave()
  }

  #leave(): void {
    if (this.#exit !== undefined) return
    this.#attempt.abandon(this.#settled)
    this.#end(Exit.interrupt())
  }

  #end(exit: Ending): void {
    if (this.#exit !== undefined) return
    this.#exit = exit
    this.#observer?.ended(exit)
  }
}
