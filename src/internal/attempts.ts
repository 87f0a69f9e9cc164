/**
 * The attempts of one call: limits per attempt, breaker, timeout, handler,
 * what its failure means, and whether to try again.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Tracer from "effect/Tracer"
import type { BudgetExceeded, Reservation, Spending } from "../Budget.ts"
import type { Stage } from "../CallRecord.ts"
import { type Classified, classify } from "../Classification.ts"
import { CurrentCall } from "../CurrentCall.ts"
import * as Retry from "../Retry.ts"
import { classOf, countsForBreaker, type Reason, retryAfterOf, table } from "../ToolError.ts"
import * as Validation from "../Validation.ts"
import * as Amounts from "./amounts.ts"
import { Attempt } from "./attempt.ts"
import { type Call, closing, limitedOf, type Outcome, type Refused, taking, waiting } from "./call.ts"
import { reportCause, shownIssues } from "./callText.ts"
import type { CompiledTool } from "./kernel.ts"
import * as Raw from "./raw.ts"
import { after, refuse, type Step, type Steps, toEffect } from "./step.ts"

/** Runs the handler until it succeeds or trying again is of no use. */
export const attempts = (call: Call, tool: CompiledTool): Effect.Effect<Outcome> =>
  Effect.match(run(call, tool), { onFailure: identity, onSuccess: identity })

const run = Effect.fnUntraced(function* (call: Call, tool: CompiledTool): Effect.fn.Return<Outcome, Refused> {
  const { kernel, request, restore } = call.running
  const retries = Math.min(tool.retries, request.retries ?? tool.retries)
  let nextDelay: Effect.Success<ReturnType<typeof Retry.driver>> | undefined
  let last: Failed | undefined
  for (;;) {
    const refusal = yield* admitAttempt(call, tool)
    // A retry that may not begin leaves the call as its last attempt left it.
    if (refusal !== undefined) return yield* Effect.fail(last ?? refusal)
    call.stage = undefined
    const ended = yield* restore(attempt(call, tool))
    const outcome = yield* understand(call, tool, ended)
    yield* reportAttempt(call, outcome.reason)
    yield* settleAttempt(call, outcome.outcomeUnknown !== true)
    if (outcome.reason === undefined) return outcome

    last = outcome
    const { outcomeUnknown, reason } = outcome
    if (outcomeUnknown) call.running.mayHaveRun = true
    const again = Retry.retryable({
      reason,
      class: classOf(reason),
      safeToRepeat: tool.repeatable || call.running.key !== undefined,
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
    if (delay > 0) {
      const nap = call.running.clock.sleep(Duration.millis(delay))
      const killed = yield* toEffect(after(waiting(call, nap), () => undefined))
      if (killed !== undefined) return yield* Effect.fail(killed as Refused)
    }
  }
})

// --- Before an attempt -----------------------------------------------------

/**
 * Limits per attempt, then the breaker, then the budget: each attempt is one to
 * all of them. Whatever is taken is known to the call before anything else can happen.
 */
const admitAttempt = Effect.fnUntraced(function* (
  call: Call,
  tool: CompiledTool
): Effect.fn.Return<Refused | undefined> {
  const { kernel, limited } = call.running
  const step = (name: Stage, steps: Steps) => {
    call.stage = name
    return toEffect(steps) as Effect.Effect<Refused | undefined>
  }
  if (tool.attemptLimits !== undefined) {
    const taking = tool.attemptLimits.take(limited ?? limitedOf(call, tool), call.now())
    const refused = yield* step("rate_limit", after(waiting(call, taking), refuseIf))
    if (refused !== undefined) return refused
  }
  call.stage = "handler"
  if (call.running.killed !== undefined) return refuse(call.running.killed) as Refused
  if (call.left() <= 0) return refuse(call.pastDeadline()) as Refused
  if (tool.circuit !== undefined) {
    call.stage = "circuit"
    const admission = yield* kernel.breaker.admit(tool.circuit, call.now())
    if ("_tag" in admission) {
      call.breaker = "open"
      return refuse(admission) as Refused
    }
    call.breaker = admission.probe ? "half_open" : "closed"
    call.running.admission = admission
  }
  const spending = spendingOf(call, tool)
  if (spending !== undefined) {
    const reserving = kernel.budget.reserve(spending, call.now())
    const giveBack = (reserved: Reservation | BudgetExceeded, now: number) =>
      "_tag" in reserved ? Exit.void : kernel.budget.refund(reserved, now)
    const refused = yield* step(
      "budget",
      after(taking(call, reserving, giveBack), (reserved) => {
        if ("_tag" in reserved) return refuse(reserved)
        call.running.reservation = reserved
        return undefined
      })
    )
    if (refused !== undefined) return yield* Effect.as(reportAttempt(call, cancelled), refused)
  }
  if (call.running.lease !== undefined && call.attempts === 0) {
    const beginning = kernel.idempotency.begin(call.running.lease, call.now())
    const refused = yield* step(
      "idempotency",
      after(waiting(call, beginning), () => undefined)
    )
    if (refused !== undefined) return yield* Effect.as(reportAttempt(call, cancelled), refused)
  }
  return undefined
})

const cancelled: Reason = { _tag: "Cancelled" }

const refuseIf = (reason: Reason | undefined): Steps => (reason === undefined ? undefined : refuse(reason))

/** What an attempt may cost at the most; `undefined` where no limit can apply. */
const spendingOf = (call: Call, tool: CompiledTool): Spending | undefined => {
  const { caller, kernel, params, run } = call.running
  if (tool.cost === undefined) return undefined
  const bound = tool.cost(Raw.read(params))
  call.running.bound = bound
  if (!kernel.budget.applies(tool.facts) && run?.budget === undefined) return undefined
  return {
    callId: call.callId,
    tool: tool.facts,
    principal: caller,
    run,
    amounts: bound,
    expiresAt: call.deadline ?? call.now() + tool.timeout + grace
  }
}

// For what an attempt does after its timeout: finalizers, and the settling itself.
const grace = 60_000

/** What the first attempt would come to before its handler. */
export const lookAtAttempt = (call: Call, tool: CompiledTool): Effect.Effect<Step> =>
  Effect.gen(function* () {
    const { kernel } = call.running
    const limited = limitedOf(call, tool)
    const look = function* (name: Stage, answer: Effect.Effect<Reason | undefined, Reason>) {
      call.stage = name
      return yield* toEffect(after(answer, refuseIf))
    }
    if (tool.attemptLimits !== undefined) {
      const refused = yield* look("rate_limit", tool.attemptLimits.peek(limited, call.now()))
      if (refused !== undefined) return refused
    }
    if (tool.circuit !== undefined) {
      const refused = yield* look("circuit", kernel.breaker.peek(tool.circuit, call.now()))
      if (refused !== undefined) return refused
    }
    const spending = spendingOf(call, tool)
    if (spending !== undefined) {
      const refused = yield* look("budget", kernel.budget.peek(spending, call.now()))
      if (refused !== undefined) return refused
    }
    call.stage = undefined
    return undefined
  })

/** Tells the breaker how the attempt ended; what was cancelled says nothing of the tool. */
export const reportAttempt = (call: Call, reason: Reason | undefined): Effect.Effect<void> => {
  const { admission, kernel } = call.running
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

/**
 * Settles what an attempt has put aside: at what its handler says it cost, else at the bound, which is all that is
 * known of one that was interrupted or timed out. What never came to its handler costs nothing.
 */
export const settleAttempt = (call: Call, known: boolean): Effect.Effect<void> => {
  const { attempt, bound, kernel, reservation } = call.running
  call.running.attempt = undefined
  call.running.reservation = undefined
  if (attempt === undefined) {
    return reservation === undefined
      ? Exit.void
      : closing(call, kernel.budget.refund(reservation, call.now()))
  }
  const { spent } = attempt
  const actual = spent === undefined ? bound : known ? spent : Amounts.most(spent, bound ?? {})
  if (actual === undefined) return Exit.void
  call.cost = Amounts.add(call.cost ?? {}, actual)
  if (reservation === undefined) return Exit.void
  const now = call.now()
  const settle = () => kernel.budget.settle(reservation, actual, now)
  const settled = settle()
  if (Exit.isExit(settled) && Exit.isSuccess(settled)) return Exit.void
  // What is not settled expires, and was then spent without being counted: it is worth asking again.
  return closing(
    call,
    Effect.catch(settled, () => Effect.retry(Effect.suspend(settle), settlings))
  )
}

const settlings = Schedule.exponential("50 millis").pipe(Schedule.upTo({ times: 4 }))

// --- One attempt -----------------------------------------------------------

type AttemptEnd =
  | { readonly _tag: "Value"; readonly value: unknown }
  | { readonly _tag: "Cause"; readonly cause: Cause.Cause<unknown> }
  | { readonly _tag: "Stopped"; readonly reason: Reason }

/**
 * Runs the handler once, in a fiber of its own, so that a timeout interrupts
 * the handler and nothing else. Starting it and waiting for it are one step: no
 * interruption can land between. A handler that does not suspend costs no timer.
 */
const attempt = (call: Call, tool: CompiledTool): Effect.Effect<AttemptEnd> =>
  Effect.callback((resume) => {
    const { running } = call
    const { clock, kernel, params, request } = running
    call.attempts++
    call.startedAt ??= call.now()
    call.status = "running"
    kernel.recorder.sink.onChange(call)

    const current = new Attempt({
      callId: call.callId,
      tool: tool.facts.name,
      attempt: call.attempts,
      idempotencyKey: running.key,
      deadline: call.deadline,
      metadata: call.metadata
    })
    running.attempt = current
    const fork = Effect.runForkWith(handlerContext(call, tool, current))
    const context = { toolCallId: call.callId, preliminary: progress(call, tool) }
    // A handler that throws before it returns its Effect is a defect like any other.
    const child = fork(Effect.suspend(() => tool.handler(Raw.read(params), context)))
    const done = child.pollUnsafe()
    if (done !== undefined) {
      resume(Exit.succeed(endOf(done)))
      return
    }

    const timeout = Math.min(tool.timeout, request.timeout ?? tool.timeout)
    const left = call.left()
    let stopped: AttemptEnd | undefined
    const stop = (): void => {
      current.abort()
      child.interruptUnsafe()
    }
    const stopFor = (reason: Reason): void => {
      stopped ??= { _tag: "Stopped", reason }
      stop()
    }
    const timer = fork(
      Effect.map(clock.sleep(Duration.millis(Math.max(0, Math.min(timeout, left)))), () =>
        stopFor(
          left <= timeout
            ? call.pastDeadline()
            : { _tag: "TimedOut", scope: "attempt", after: Duration.millis(timeout) }
        )
      )
    )
    running.onKilled = () => {
      if (running.killed !== undefined) stopFor(running.killed)
    }
    running.onKilled()
    child.addObserver((exit) => {
      timer.interruptUnsafe()
      running.onKilled = undefined
      if (current.abandoned !== undefined) {
        call.abandoned = true
        running.abandoned.push(current.abandoned)
      }
      resume(
        stopped !== undefined && Exit.isFailure(exit)
          ? Effect.as(reportDefects(call, tool, exit.cause), stopped)
          : Exit.succeed(endOf(exit))
      )
    })
    return Effect.callback((ended) => {
      stop()
      // The handler's finalizers have run when its fiber has ended.
      child.addObserver((exit) =>
        ended(Exit.isFailure(exit) ? reportDefects(call, tool, exit.cause) : Effect.void)
      )
    })
  })

const endOf = (exit: Exit.Exit<unknown, unknown>): AttemptEnd =>
  Exit.isSuccess(exit) ? { _tag: "Value", value: exit.value } : { _tag: "Cause", cause: exit.cause }

/** A handler that was stopped has no outcome, but what died while it ended is for operators to know. */
const reportDefects = (call: Call, tool: CompiledTool, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Cause.hasDies(cause) ? reportCause(call, tool, cause) : Exit.void

/** Where the handler runs: where it was built, then where it is called, then what this call says. */
const handlerContext = (call: Call, tool: CompiledTool, current: Attempt): Context.Context<never> => {
  const { fiber, span } = call.running
  // A caller's context is the same for many calls, and putting two together costs as much as the rest of an attempt.
  let services = tool.contexts.get(fiber.context)
  if (services === undefined) {
    services = Context.merge(tool.context, fiber.context as Context.Context<never>)
    tool.contexts.set(fiber.context, services)
  }
  const own: Context.Context<never> = Context.add(services, CurrentCall, current)
  return span === undefined ? own : (Context.add(own, Tracer.ParentSpan, span) as Context.Context<never>)
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
          : reportCause(call, tool, cause, value)
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
  ended: AttemptEnd
): Effect.fn.Return<Succeeded | Failed> {
  if (ended._tag !== "Value") return yield* explain(call, tool, ended)
  const { value } = ended
  call.stage = "encode"
  const encoding = Effect.mapErrorEager(tool.codec.encodeSuccess(value), (issues) =>
    Validation.invalidResult(shownIssues(call, tool, issues, value))
  )
  return yield* Effect.matchEager(waiting(call, encoding), {
    onSuccess: (encoded): Succeeded | Failed => {
      call.stage = undefined
      return { reason: undefined, value, encoded }
    },
    // What was done was done, but nobody can be told what came of it.
    onFailure: (reason): Succeeded | Failed => ({ reason, outcomeUnknown: true })
  })
})

/** Why an attempt failed. */
const explain = Effect.fnUntraced(function* (
  call: Call,
  tool: CompiledTool,
  ended: Exclude<AttemptEnd, { _tag: "Value" }>
): Effect.fn.Return<Failed> {
  call.stage = "handler"
  if (ended._tag === "Stopped") return { reason: ended.reason, outcomeUnknown: true }
  const { cause } = ended
  // The handler interrupted itself: this fiber was not.
  if (Cause.hasInterruptsOnly(cause)) return { reason: { _tag: "Cancelled" }, outcomeUnknown: true }
  const error = Cause.findErrorOption(cause)
  if (error._tag === "None" || Cause.hasDies(cause)) {
    yield* reportCause(call, tool, cause)
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
    const encoding = yield* Effect.result(waiting(call, tool.codec.encodeFailure(failure)))
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
    if ("_tag" in encoding.failure) return { reason: encoding.failure, outcomeUnknown: true }
  } else yield* reportCause(call, tool, cause)
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
