/**
 * What a stage comes to. A stage answers with a plain value where it can, and
 * with an effect only where something must be waited for, so that a call that
 * waits for nothing runs through its stages in one step of its fiber.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
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
export const isLater = <A>(soon: Soon<A>): soon is Effect.Effect<A> =>
  typeof soon === "object" && soon !== null && Effect.TypeId in soon

export const refuse = (reason: Reason): Outcome => ({ reason })

/**
 * Goes on with what a port answers, at once where the answer is there. A port's failure is the call's reason. A `next`
 * that is a function of its module costs no closure.
 */
export const after = <A>(
  call: Call,
  answer: Effect.Effect<A, Reason>,
  next: (value: A, call: Call) => Steps
): Steps => {
  if (!isExit(answer)) return afterLater(call, answer, next)
  return Exit.isSuccess(answer) ? next(answer.value, call) : failed(answer.cause)
}

// What makes closures is apart from what every call does: their variables are allocated wherever a function begins that
// has any, whether it comes to them or not.
const afterLater = <A>(
  call: Call,
  answer: Effect.Effect<A, Reason>,
  next: (value: A, call: Call) => Steps
): Effect.Effect<Step> =>
  Effect.matchCauseEffect(answer, {
    onSuccess: (value) => toEffect(next(value, call)),
    onFailure: (cause) => toEffect(failed(cause))
  })

export const refuseIf = (reason: Reason | undefined): Outcome | undefined =>
  reason === undefined ? undefined : refuse(reason)

/** What there is to do after an answer that says nothing. */
export const onToNext = (): undefined => undefined

/** What is done next with a value. A function of its module costs no closure. */
export type Next<A, B> = (call: Call, tool: CompiledTool, value: A) => Soon<B>

/** What is waited for, and what follows it without a fiber. */
export abstract class Pending<A> extends Effectable.Class<A> {
  abstract next<B>(next: Next<A, B>): Pending<B>
}

/** Goes on with a value, at once where it is there. */
export const onward = <A, B>(call: Call, tool: CompiledTool, soon: Soon<A>, next: Next<A, B>): Soon<B> => {
  if (!isLater(soon)) return next(call, tool, soon)
  return soon instanceof Pending ? soon.next(next) : onwardLater(call, tool, soon, next)
}

const onwardLater = <A, B>(
  call: Call,
  tool: CompiledTool,
  later: Effect.Effect<A>,
  next: Next<A, B>
): Effect.Effect<B> => {
  call.waits()
  return Effect.flatMap(later, (value) => toEffect(next(call, tool, value)))
}

/** As an effect, for whoever must wait for it. */
export const toEffect = <A>(soon: Soon<A>): Effect.Effect<A> => (isLater(soon) ? soon : Exit.succeed(soon))

const failed = (cause: Cause.Cause<Reason>): Steps => {
  const failure = cause.reasons.find(Cause.isFailReason)
  return failure === undefined || Cause.hasInterrupts(cause)
    ? (Exit.failCause(cause) as Exit.Exit<never>)
    : refuse(failure.error)
}
