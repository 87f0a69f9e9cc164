/**
 * What a stage comes to. A stage answers with a plain value where it can, and
 * with an effect only where something must be waited for, so that a call that
 * waits for nothing runs through its stages in one step of its fiber.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Reason } from "../ToolError.ts"
import type { Outcome } from "./call.ts"
import { isExit } from "./exits.ts"

/** `undefined`: the next stage. `again`: from the first one, since what they said may have changed. */
export type Step = Outcome | "again" | undefined

/** A step, or the effect that comes to it; that never fails. */
export type Steps = Step | Effect.Effect<Step>

export const refuse = (reason: Reason): Outcome => ({ reason })

/** Goes on with what a port answers, at once where the answer is there. A port's failure is the call's reason. */
export const after = <A>(answer: Effect.Effect<A, Reason>, next: (value: A) => Steps): Steps => {
  if (isExit(answer)) {
    return Exit.isSuccess(answer) ? next(answer.value) : failed(answer.cause)
  }
  return Effect.matchCauseEffect(answer, {
    onSuccess: (value) => toEffect(next(value)),
    onFailure: (cause) => toEffect(failed(cause))
  })
}

/** As an effect, for whoever must wait for it. */
export const toEffect = (steps: Steps): Effect.Effect<Step> =>
  Effect.isEffect(steps) ? (steps as Effect.Effect<Step>) : Exit.succeed(steps)

const failed = (cause: Cause.Cause<Reason>): Steps => {
  const failure = cause.reasons.find(Cause.isFailReason)
  return failure === undefined || Cause.hasInterrupts(cause)
    ? (Exit.failCause(cause) as Exit.Exit<never>)
    : refuse(failure.error)
}
