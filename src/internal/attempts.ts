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
import * as Tracer from "effect/Tracer"
import { type Classified, classify } from "../Classification.ts"
import { CurrentCall } from "../CurrentCall.ts"
import { CurrentPrincipal } from "../Principal.ts"
import type { LimitedCall } from "../RateLimits.ts"
import * as Retry from "../Retry.ts"
import { classOf, countsForBreaker, type Reason, retryAfterOf, table } from "../ToolError.ts"
import { Attempt } from "./attempt.ts"
import { type Call, type Outcome, type Restore, refuse, withinDeadline } from "./call.ts"
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
) {
  const retries = Math.min(tool.retries, call.running.request.retries ?? tool.retries)
  let nextDelay: Effect.Success<ReturnType<typeof Retry.driver>> | undefined
  for (;;) {
    if (tool.attemptLimits !== undefined) {
      const refusal = yield* withinDeadline(call, restore, tool.attemptLimits.take(limited, call.now()))
      if (refusal !== undefined) return refuse(refusal)
    }
    if (tool.circuit !== undefined) {
      const admission = yield* kernel.breaker.admit(tool.circuit, call.now())
      if ("_tag" in admission) return refuse(admission)
      call.running.admission = admission
    }
    call.attempts++
    if (tool.cost !== undefined) call.cost = (call.cost ?? 0) + estimate(tool.cost, params)
    call.startedAt ??= call.now()
    call.status = "running"
    kernel.recorder.sink.onChange(call)

    const ended = yield* attempt(call, tool, params, fiber, restore)
    if (ended._tag === "Value") {
      const encoding = yield* Effect.exit(restore(tool.codec.encodeSuccess(ended.value)))
      if (Exit.isSuccess(encoding)) {
        yield* reportAttempt(kernel, call, "success", undefined)
        return { reason: undefined, value: ended.value, encoded: encoding.value }
      }
      const issues = Cause.findErrorOption(encoding.cause)
      if (issues._tag === "None") return yield* Effect.failCause(encoding.cause as Cause.Cause<never>)
      const reason: Reason = { _tag: "InvalidResult", issues: issues.value }
      yield* reportAttempt(kernel, call, "failure", reason)
      return refuse(reason)
    }

    const failed = yield* explain(call, tool, ended)
    yield* reportAttempt(
      kernel,
      call,
      failed.reason._tag === "Cancelled"
        ? "ignored"
        : countsForBreaker(failed.reason)
          ? "failure"
          : "success",
      failed.reason
    )
    const safeToRepeat = tool.repeatable || call.running.request.idempotencyKey !== undefined
    const { reason, outcomeUnknown } = failed
    if (
      call.attempts > retries ||
      !Retry.retryable({
        reason,
        class: classOf(reason),
        attempt: call.attempts,
        safeToRepeat,
        outcomeUnknown
      })
    ) {
      return failed
    }
    nextDelay ??= yield* Retry.driver(kernel.defaults.retry)
    const scheduled = yield* nextDelay(call.now(), reason)
    if (scheduled === undefined) return failed
    const delay = Retry.delay(scheduled, retryAfterOf(reason))
    if (delay >= call.left()) return failed
    call.status = "retrying"
    call.retried = [...call.retried, { attempt: call.attempts, code: table[reason._tag].code, delay }]
    kernel.recorder.sink.onChange(call)
    if (delay > 0) yield* restore(call.running.clock.sleep(Duration.millis(delay)))
  }
})

const estimate = (cost: NonNullable<CompiledTool["cost"]>, params: unknown): number =>
  typeof cost === "number" ? cost : cost(params)

export const reportAttempt = (
  kernel: Kernel,
  call: Call,
  outcome: "success" | "failure" | "ignored",
  reason: Reason | undefined
): Effect.Effect<void> => {
  const { admission } = call.running
  if (admission === undefined) return Exit.void
  call.running.admission = undefined
  if (reason === undefined) return kernel.breaker.report(admission, outcome, call.now())
  const retryAfter = retryAfterOf(reason)
  const { code } = table[reason._tag]
  return kernel.breaker.report(
    admission,
    outcome,
    call.now(),
    retryAfter === undefined ? { code } : { code, retryAfter }
  )
}

type AttemptEnd =
  | { readonly _tag: "Value"; readonly value: unknown }
  | { readonly _tag: "Cause"; readonly cause: Cause.Cause<unknown> }
  | { readonly _tag: "TimedOut"; readonly scope: "attempt" | "deadline"; readonly after: Duration.Duration }

/**
 * Runs the handler once, in a fiber of its own, so that a timeout interrupts
 * the handler and nothing else. A handler that does not suspend costs no timer.
 */
const attempt = (
  call: Call,
  tool: CompiledTool,
  params: unknown,
  fiber: Fiber.Fiber<unknown, unknown>,
  restore: Restore
): Effect.Effect<AttemptEnd> => {
  const current = new Attempt({
    callId: call.callId,
    tool: tool.facts.name,
    attempt: call.attempts,
    idempotencyKey: call.running.request.idempotencyKey,
    deadline: call.running.deadline,
    metadata: call.metadata
  })
  call.running.lastAttempt = current
  const context = handlerContext(call, tool, fiber, current)
  const child = Effect.runForkWith(context)(
    // A handler that throws before it returns its Effect is a defect like any other.
    Effect.suspend(() => tool.handler(params, { toolCallId: call.callId, preliminary: progress(call, tool) }))
  )
  const done = child.pollUnsafe()
  if (done !== undefined) return Exit.succeed(endOf(done))
  const timeout = Math.min(tool.timeout, call.running.request.timeout ?? tool.timeout)
  const left = call.left()
  return restore(
    Effect.callback<AttemptEnd>((resume) => {
      let expired = false
      const timer = Effect.runForkWith(context)(
        Effect.flatMap(call.running.clock.sleep(Duration.millis(Math.max(0, Math.min(timeout, left)))), () =>
          Effect.sync(() => {
            expired = true
            current.abort()
            child.interruptUnsafe()
          })
        )
      )
      child.addObserver((exit) => {
        timer.interruptUnsafe()
        call.abandoned = current.abandoned !== undefined
        resume(
          Exit.succeed<AttemptEnd>(
            expired && Exit.isFailure(exit)
              ? left <= timeout
                ? { _tag: "TimedOut", scope: "deadline", after: call.deadlineAfter() }
                : { _tag: "TimedOut", scope: "attempt", after: Duration.millis(timeout) }
              : endOf(exit)
          )
        )
      })
      return Effect.suspend(() => {
        timer.interruptUnsafe()
        current.abort()
        child.interruptUnsafe()
        // The handler's finalizers have run when its fiber has ended.
        return Effect.callback<void>((ended) => {
          child.addObserver(() => {
            call.abandoned = current.abandoned !== undefined
            ended(Effect.void)
          })
        })
      })
    })
  )
}

const endOf = (exit: Exit.Exit<unknown, unknown>): AttemptEnd =>
  Exit.isSuccess(exit) ? { _tag: "Value", value: exit.value } : { _tag: "Cause", cause: exit.cause }

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
    const { onProgress } = call.running.request
    if (onProgress === undefined) return Effect.void
    // What does not fit the schema is not shown; the final result will tell.
    return Effect.matchEffect(tool.codec.encodeSuccess(value), {
      onFailure: () => Effect.void,
      onSuccess: (encoded) => onProgress(encoded, value)
    })
  }

interface Failed extends Outcome {
  readonly reason: Reason
  readonly outcomeUnknown: boolean
}

/** Why an attempt failed. */
const explain = Effect.fnUntraced(function* (
  call: Call,
  tool: CompiledTool,
  ended: Exclude<AttemptEnd, { _tag: "Value" }>
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
    const encoding = yield* Effect.exit(tool.codec.encodeFailure(failure))
    if (Exit.isSuccess(encoding)) {
      return {
        reason: { _tag: "ToolFailed", ...known, failure: encoding.value },
        failure,
        outcomeUnknown: classified.outcomeUnknown
      }
    }
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
