/**
 * The attempts of one call: limits per attempt, breaker, timeout, handler,
 * what its failure means, and whether to try again.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Tracer from "effect/Tracer"
import { type Classified, classify } from "../Classification.ts"
import { CurrentCall } from "../CurrentCall.ts"
import { CurrentPrincipal } from "../Principal.ts"
import type { LimitedCall } from "../RateLimits.ts"
import * as Retry from "../Retry.ts"
import { classOf, countsForBreaker, type Reason, retryAfterOf, table } from "../ToolError.ts"
import { Attempt } from "./attempt.ts"
import {
  admitted,
  type Call,
  type Outcome,
  type Refused,
  type Restore,
  refuse,
  withinDeadline
} from "./call.ts"
import type { CompiledTool, Kernel } from "./kernel.ts"

/** Runs the handler until it succeeds or trying again is of no use. */
export const attempts = Effect.fnUntraced(function* (
  kernel: Kernel,
  call: Call,
  tool: CompiledTool,
  params: unknown,
  limited: LimitedCall,
  fiber: Fiber.Fiber<unknown, unknown>,
  restore: Restore
): Effect.fn.Return<Outcome, Refused> {
  const retries = Math.min(tool.retries, call.running.request.retries ?? tool.retries)
  let nextDelay: Effect.Success<ReturnType<typeof Retry.driver>> | undefined
  let last: Failed | undefined
  for (;;) {
    // A retry that may not begin leaves the call as its last attempt left it.
    yield* Effect.mapError(admitAttempt(kernel, call, tool, limited, restore), (refusal) => last ?? refusal)
    const ended = yield* restore(attempt(kernel, call, tool, params, fiber))
    const outcome = yield* understand(call, tool, ended, restore)
    yield* reportAttempt(kernel, call, outcome.reason)
    if (outcome.reason === undefined) return outcome

    last = outcome
    const { outcomeUnknown, reason } = outcome
    const again = Retry.retryable({
      reason,
      class: classOf(reason),
      safeToRepeat: tool.repeatable || call.running.request.idempotencyKey !== undefined,
      outcomeUnknown
    })
    // Negated, so that a number that is none allows nothing.
    if (!again || !(call.attempts <= retries)) return yield* Effect.fail(outcome)
    nextDelay ??= yield* Retry.driver(kernel.defaults.retry)
    const scheduled = yield* nextDelay(call.now(), reason)
    if (scheduled === undefined) return yield* Effect.fail(outcome)
    const delay = Retry.delay(scheduled, retryAfterOf(reason))
    if (delay >= call.left()) return yield* Effect.fail(outcome)
    call.status = "retrying"
    call.retried = [...call.retried, { attempt: call.attempts, code: table[reason._tag].code, delay }]
    kernel.recorder.sink.onChange(call)
    if (delay > 0) yield* restore(call.running.clock.sleep(Duration.millis(delay)))
  }
})

/** Limits per attempt, then the breaker: each attempt is one to both. */
const admitAttempt = Effect.fnUntraced(function* (
  kernel: Kernel,
  call: Call,
  tool: CompiledTool,
  limited: LimitedCall,
  restore: Restore
): Effect.fn.Return<void, Refused> {
  if (tool.attemptLimits !== undefined) {
    yield* admitted(withinDeadline(call, restore, tool.attemptLimits.take(limited, call.now())))
  }
  if (call.left() <= 0) return yield* refuse(call.pastDeadline())
  if (tool.circuit === undefined) return
  const admission = yield* kernel.breaker.admit(tool.circuit, call.now())
  if ("_tag" in admission) return yield* refuse(admission)
  call.running.admission = admission
})

const estimate = (cost: NonNullable<CompiledTool["cost"]>, params: unknown): number =>
  typeof cost === "number" ? cost : cost(params)

/** Tells the breaker how the attempt ended; what was cancelled says nothing of the tool. */
export const reportAttempt = (
  kernel: Kernel,
  call: Call,
  reason: Reason | undefined
): Effect.Effect<void> => {
  const { admission } = call.running
  if (admission === undefined) return Exit.void
  call.running.admission = undefined
  if (reason === undefined) return kernel.breaker.report(admission, "success", call.now())
  const outcome = reason._tag === "Cancelled" ? "ignored" : countsForBreaker(reason) ? "failure" : "success"
  const retryAfter = retryAfterOf(reason)
  return kernel.breaker.report(admission, outcome, call.now(), {
    code: table[reason._tag].code,
    ...(retryAfter === undefined ? {} : { retryAfter })
  })
}

type AttemptEnd =
  | { readonly _tag: "Value"; readonly value: unknown }
  | { readonly _tag: "Cause"; readonly cause: Cause.Cause<unknown> }
  | { readonly _tag: "TimedOut"; readonly scope: "attempt" | "deadline"; readonly after: Duration.Duration }

/**
 * Runs the handler once, in a fiber of its own, so that a timeout interrupts
 * the handler and nothing else. Starting it and waiting for it are one step: no
 * interruption can land between. A handler that does not suspend costs no timer.
 */
const attempt = (
  kernel: Kernel,
  call: Call,
  tool: CompiledTool,
  params: unknown,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<AttemptEnd> =>
  Effect.callback((resume) => {
    if (tool.cost !== undefined) call.cost = (call.cost ?? 0) + estimate(tool.cost, params)
    call.attempts++
    call.startedAt ??= call.now()
    call.status = "running"
    kernel.recorder.sink.onChange(call)

    const { clock, deadline, request } = call.running
    const current = new Attempt({
      callId: call.callId,
      tool: tool.facts.name,
      attempt: call.attempts,
      idempotencyKey: request.idempotencyKey,
      deadline,
      metadata: call.metadata
    })
    const fork = Effect.runForkWith(handlerContext(call, tool, fiber, current))
    const context = { toolCallId: call.callId, preliminary: progress(call, tool) }
    // A handler that throws before it returns its Effect is a defect like any other.
    const child = fork(Effect.suspend(() => tool.handler(params, context)))
    const done = child.pollUnsafe()
    if (done !== undefined) {
      resume(Exit.succeed(endOf(done)))
      return
    }

    const timeout = Math.min(tool.timeout, request.timeout ?? tool.timeout)
    const left = call.left()
    let expired: AttemptEnd | undefined
    const stop = (): void => {
      current.abort()
      child.interruptUnsafe()
    }
    const timer = fork(
      Effect.map(clock.sleep(Duration.millis(Math.max(0, Math.min(timeout, left)))), () => {
        expired =
          left <= timeout
            ? { _tag: "TimedOut", scope: "deadline", after: call.deadlineAfter() }
            : { _tag: "TimedOut", scope: "attempt", after: Duration.millis(timeout) }
        stop()
      })
    )
    child.addObserver((exit) => {
      timer.interruptUnsafe()
      if (current.abandoned !== undefined) {
        call.abandoned = true
        call.running.abandoned.push(current.abandoned)
      }
      resume(
        expired !== undefined && Exit.isFailure(exit)
          ? Effect.as(reportDefects(exit.cause), expired)
          : Exit.succeed(endOf(exit))
      )
    })
    return Effect.callback((ended) => {
      stop()
      // The handler's finalizers have run when its fiber has ended.
      child.addObserver((exit) => ended(Exit.isFailure(exit) ? reportDefects(exit.cause) : Effect.void))
    })
  })

const endOf = (exit: Exit.Exit<unknown, unknown>): AttemptEnd =>
  Exit.isSuccess(exit) ? { _tag: "Value", value: exit.value } : { _tag: "Cause", cause: exit.cause }

/** A handler that was stopped has no outcome, but what died while it ended is for operators to know. */
const reportDefects = (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Cause.hasDies(cause) ? ErrorReporter.report(cause) : Exit.void

/** Where the handler runs: where it was built, then where it is called, then what this call says. */
const handlerContext = (
  call: Call,
  tool: CompiledTool,
  fiber: Fiber.Fiber<unknown, unknown>,
  current: Attempt
): Context.Context<never> => {
  const services = new Map(tool.context)
  for (const [key, service] of fiber.context.mapUnsafe) services.set(key, service)
  services.set(CurrentPrincipal.key, call.running.caller)
  services.set(CurrentCall.key, current)
  if (call.running.span !== undefined) services.set(Tracer.ParentSpan.key, call.running.span)
  return Context.makeUnsafe(services)
}

const progress =
  (call: Call, tool: CompiledTool) =>
  (value: unknown): Effect.Effect<void> => {
    // What a handler left running may still speak when its call has ended.
    if (call.completedAt !== undefined) return Effect.void
    const { onProgress } = call.running.request
    if (onProgress === undefined) return Effect.void
    // What does not fit the schema is not shown; the final result will tell.
    return Effect.matchEffect(tool.codec.encodeSuccess(value), {
      onFailure: () => Effect.void,
      onSuccess: (encoded) => onProgress(encoded, value)
    }).pipe(
      // Who looks on must not change what happens.
      Effect.catchCause((cause) =>
        Cause.hasInterrupts(cause)
          ? Effect.failCause(cause as Cause.Cause<never>)
          : ErrorReporter.report(cause)
      )
    )
  }

interface Failed extends Refused {
  /** Nobody knows whether the tool did what it was asked. */
  readonly outcomeUnknown: boolean
}

interface Succeeded extends Outcome {
  readonly reason: undefined
}

/** What the end of an attempt means: a value that fits the tool's schema, or why not. */
const understand = Effect.fnUntraced(function* (
  call: Call,
  tool: CompiledTool,
  ended: AttemptEnd,
  restore: Restore
): Effect.fn.Return<Succeeded | Failed> {
  if (ended._tag !== "Value") return yield* explain(call, tool, ended, restore)
  const { value } = ended
  return yield* Effect.match(withinDeadline(call, restore, tool.codec.encodeSuccess(value)), {
    onSuccess: (encoded): Succeeded | Failed => ({ reason: undefined, value, encoded }),
    onFailure: (error): Succeeded | Failed =>
      "reason" in error
        ? { ...error, outcomeUnknown: true }
        : { reason: { _tag: "InvalidResult", issues: error }, outcomeUnknown: false }
  })
})

/** Why an attempt failed. */
const explain = Effect.fnUntraced(function* (
  call: Call,
  tool: CompiledTool,
  ended: Exclude<AttemptEnd, { _tag: "Value" }>,
  restore: Restore
): Effect.fn.Return<Failed> {
  if (ended._tag === "TimedOut") {
    const { after, scope } = ended
    return { reason: { _tag: "TimedOut", scope, after }, outcomeUnknown: true }
  }
  const { cause } = ended
  // The handler interrupted itself: this fiber was not.
  if (Cause.hasInterruptsOnly(cause)) return { reason: { _tag: "Cancelled" }, outcomeUnknown: true }
  const error = Cause.findErrorOption(cause)
  if (error._tag === "None" || Cause.hasDies(cause)) {
    yield* ErrorReporter.report(cause)
    return { reason: { _tag: "HandlerDefect" }, outcomeUnknown: true }
  }
  const failure = error.value
  const declared = tool.codec.isDeclaredFailure(failure)
  const classified = classifyWith(tool, failure, declared, call.now())
  const known = {
    class: classified.class,
    ...(classified.retryAfter === undefined ? {} : { retryAfter: classified.retryAfter })
  }
  if (declared) {
    const encoding = yield* Effect.result(withinDeadline(call, restore, tool.codec.encodeFailure(failure)))
    if (Result.isSuccess(encoding)) {
      return {
        reason: {
          _tag: "ToolFailed",
          ...known,
          // Nothing has no word in JSON.
          ...(encoding.success === undefined ? {} : { failure: encoding.success })
        },
        failure,
        outcomeUnknown: classified.outcomeUnknown
      }
    }
    if ("reason" in encoding.failure) return { ...encoding.failure, outcomeUnknown: true }
  } else yield* ErrorReporter.report(cause)
  return {
    reason: { _tag: "HandlerFailed", ...known },
    failure,
    outcomeUnknown: classified.outcomeUnknown
  }
})

const classifyWith = (tool: CompiledTool, failure: unknown, declared: boolean, now: number): Classified => {
  const byDefault = classify(failure, declared ? "declared" : "thrown", now)
  const own = tool.classify?.(failure)
  if (own === undefined) return byDefault
  return {
    class: own.class,
    retryAfter:
      own.retryAfter === undefined ? byDefault.retryAfter : Duration.fromInputUnsafe(own.retryAfter),
    outcomeUnknown: byDefault.outcomeUnknown
  }
}
