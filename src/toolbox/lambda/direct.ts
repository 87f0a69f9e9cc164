/**
 * What runs here in place of a function that cannot be reached: a tool of its
 * own beside the function's, which the pipeline turns to as its fallback. So it
 * has its own record, limits and permissions, and what it answers is `degraded`.
 *
 * A function that has run, or may have, is not run a second time: where it
 * answered, refused, or failed, that stands. Only what is read-only or
 * idempotent is also run here after an outcome that nobody knows.
 */
import type * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as ToolAnnotations from "../../ToolAnnotations.ts"
import { LambdaError, reasons } from "./LambdaError.ts"

/** The name of the tool that stands in for another one. */
export const nameOf = (tool: string): string => `${tool}_direct`

/** Whether a call may be run here instead, by how its attempts ended. Known by the arguments that the handler was given. */
export class Unreached {
  readonly #repeatable: boolean
  readonly #may = new WeakMap<object, boolean>()

  constructor(tool: Tool.Any) {
    const { idempotent, readonly } = ToolAnnotations.read(tool)
    this.#repeatable = readonly === true || idempotent === true
  }

  /** Takes note of how an attempt ended. One that may have done something is not forgotten for the sake of a later one. */
  watch<A, R>(params: object, attempt: Effect.Effect<A, LambdaError, R>): Effect.Effect<A, LambdaError, R> {
    return Effect.onExit(attempt, (exit) =>
      Effect.sync(() => {
        if (Exit.isFailure(exit)) this.#may.set(params, this.may(params) && this.#allows(exit.cause))
      })
    )
  }

  /** A call that never came to its handler may be run here: its circuit was open, or there was no place for it. */
  may(params: object): boolean {
    return this.#may.get(params) ?? true
  }

  #allows(cause: Cause.Cause<LambdaError>): boolean {
    const error = Option.getOrUndefined(Cause.findErrorOption(cause))
    if (!(error instanceof LambdaError)) return this.#repeatable
    const { class: errorClass, ran } = reasons[error.reason]
    return errorClass !== "Caller" && (ran === "no" || (ran === "unknown" && this.#repeatable))
  }
}

/** Why a fallback is not used; operators hear of it as of any other error of a fallback. */
export class HasRun extends Error {
  override readonly name = "HasRun"
  constructor(tool: string) {
    super(`${tool}: the function has run, or may have; it is not run here as well`)
  }
}
