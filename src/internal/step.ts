/**
 * What a stage comes to. A stage answers with a plain value where it can, and
 * with an effect only where something must be waited for, so that a call that
 * waits for nothing runs through its stages in one step of its fiber.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Reason } from "../ToolError.ts"
import type { Call, Outcome } from "./call.ts"
import { isExit } from "./exits.ts"
import type { CompiledTool } from "./kernel.ts"

/** `undefined`: the next stage. `again`: from the first one, since what they said may have changed. */
export type Step = Outcome | "again" | undefined

/** A value that is no effect itself, or the effect that comes to it and never fails. */
export type Soon<A> = A | Effect.Effect<A>

export type Steps = Soon<Step>

/** Whether it must be waited for. */
export const isLater = <A>(soon: Soon<A>): soon is Effect.Effect<A> => Effect.isEffect(soon)

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

/** Goes on with a value, at once where it is there. A `next` that is a function of its module costs no closure then. */
export const onward = <A, B>(
  call: Call,
  tool: CompiledTool,
  soon: Soon<A>,
  next: (call: Call, tool: CompiledTool, value: A) => Soon<B>
): Soon<B> => {
  if (!isLater(soon)) return next(call, tool, soon)
  call.waits()
  return Effect.flatMap(soon, (value) => toEffect(next(call, tool, value)))
}

/** As an effect, for whoever must wait for it. */
export const toEffect = <A>(soon: Soon<A>): Effect.Effect<A> => (isLater(soon) ? soon : Exit.succeed(soon))

const failed = (cause: Cause.Cause<Reason>): Steps => {
  const failure = cause.reasons.find(Cause.isFailReason)
  return failure === undefined || Cause.hasInterrupts(cause)
    ? (Exit.failCause(cause) as Exit.Exit<never>)
    : refuse(failure.error)
}
