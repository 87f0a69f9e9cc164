/**
 * The attempts of one call: limits per attempt, breaker, budget, handler, what
 * its end means, and whether to try again.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type { BudgetExceeded, Reservation, Spending } from "../Budget.ts"
import type { Stage } from "../CallRecord.ts"
import type { Admission, Refusal } from "../CircuitBreaker.ts"
import { type Classified, classify } from "../Classification.ts"
import type { LimitedCall } from "../RateLimits.ts"
import * as Retry from "../Retry.ts"
import { classOf, countsForBreaker, type Reason, retryAfterOf, table } from "../ToolError.ts"
import * as Validation from "../Validation.ts"
import * as Amounts from "./amounts.ts"
import { type Call, type Failed, limitedOf, type Outcome, type Refused } from "./call.ts"
import { reportCause, shownIssues } from "./callText.ts"
import { isDone, isExit } from "./exits.ts"
import type { CompiledTool, Kernel } from "./kernel.ts"
import * as Raw from "./raw.ts"
import { type HandlerEnd, reportDefects, runHandler } from "./runHandler.ts"
import {
  after,
  isLater,
  onToNext,
  onward,
  refuse,
  refuseIf,
  type Soon,
  type Steps,
  toEffect
} from "./step.ts"
import { closing, taking, waiting } from "./waiting.ts"

/** Runs the handler until it succeeds or trying again is of no use. */
export const attempts = (call: Call, tool: CompiledTool): Soon<Outcome> =>
  onward(call, tool, admitAttempt(call, tool, 0), admitted)

const admitted = (call: Call, tool: CompiledTool, refusal: Refused | undefined): Soon<Outcome> => {
  // A retry that may not begin leaves the call as its last attempt left it.
  if (refusal !== undefined) return call.running.failed ?? refusal
  call.stage = undefined
  return onward(call, tool, runHandler(call, tool), ended)
}

const ended = (call: Call, tool: CompiledTool, end: HandlerEnd): Soon<Outcome> =>
  onward(call, tool, understand(call, tool, end), understood)

const understood = (call: Call, tool: CompiledTool, outcome: Succeeded | Failed): Soon<Outcome> => {
  const closing = inTurn(
    reportAttempt(call, outcome.reason),
    settleAttempt(call, outcome.reason === undefined || !outcome.outcomeUnknown)
  )
  if (closing !== undefined) call.waits()
  if (outcome.reason === undefined) return closing === undefined ? outcome : Effect.as(closing, outcome)
  call.waits()
  const next = failed(call, tool, outcome)
  return closing === undefined ? next : Effect.andThen(closing, next)
}

/** Another attempt, where it is of use and there is time for it. */
const failed = Effect.fnUntraced(function* (
  call: Call,
  tool: CompiledTool,
  outcome: Failed
): Effect.fn.Return<Outcome> {
  const { running } = call
  const { kernel, request } = running
  const { outcomeUnknown, reason } = outcome
  running.failed = outcome
  if (outcomeUnknown) running.mayHaveRun = true
  const again = Retry.retryable({
    reason,
    class: classOf(reason),
    safeToRepeat: tool.repeatable || running.key !== undefined,
    outcomeUnknown
  })
  // Negated, so that a number that is none allows nothing.
  if (!again || !(call.attempts <= Math.min(tool.retries, request.retries ?? tool.retries))) return outcome
  running.nextDelay ??= yield* Retry.driver(kernel.defaults.retry)
  const scheduled = yield* running.nextDelay(call.now(), reason)
  if (scheduled === undefined) return outcome
  const delay = Retry.delay(scheduled, retryAfterOf(reason))
  if (delay >= call.left()) return outcome
  call.status = "retrying"
  call.retried = [...call.retried, { attempt: call.attempts, code: table[reason._tag].code, delay }]
  kernel.recorder.sink.onChange(call)
  if (delay > 0) {
    const nap = running.clock.sleep(Duration.millis(delay))
    const killed = yield* toEffect(after(call, waiting(call, nap), onToNext))
    if (killed !== undefined) return killed as Refused
  }
  return yield* toEffect(attempts(call, tool))
})

/** Two things to be done one after the other, each already begun or to be waited for; `undefined` where both are done. */
const inTurn = (first: Effect.Effect<void>, second: Effect.Effect<void>): Effect.Effect<void> | undefined => {
  if (isDone(first)) return isDone(second) ? undefined : second
  return isDone(second) ? first : Effect.andThen(first, second)
}

// --- Before an attempt -----------------------------------------------------

/** What stands before an attempt; it is asked before each. */
interface Gate {
  readonly name: Stage
  /** Lets the attempt through with `undefined`. What it takes is known to the call before anything else can happen. */
  readonly enter: (call: Call, tool: CompiledTool) => Steps
  readonly look: (call: Call, tool: CompiledTool) => Steps
}

/** Limits per attempt, then the breaker, then the budget: each attempt is one to all of them. */
const gates: ReadonlyArray<Gate> = [
  {
    name: "rate_limit",
    enter: (call, tool) =>
      tool.attemptLimits === undefined
        ? undefined
        : after(call, waiting(call, tool.attemptLimits.take(limited(call, tool), call.now())), refuseIf),
    look: (call, tool) =>
      tool.attemptLimits === undefined
        ? undefined
        : after(call, tool.attemptLimits.peek(limited(call, tool), call.now()), refuseIf)
  },
  {
    name: "handler",
    enter: (call) => {
      const { killed } = call.running
      if (killed !== undefined) return refuse(killed)
      return call.left() <= 0 ? refuse(call.pastDeadline()) : undefined
    },
    look: () => undefined
  },
  {
    name: "circuit",
    enter: (call, tool) => {
      if (tool.circuit === undefined) return undefined
      return after(call, call.running.kernel.breaker.admit(tool.circuit, call.now()), knowAdmission)
    },
    look: (call, tool) =>
      tool.circuit === undefined
        ? undefined
        : after(call, call.running.kernel.breaker.peek(tool.circuit, call.now()), refuseIf)
  },
  {
    name: "budget",
    enter: (call, tool) => {
      const spending = spendingOf(call, tool)
      if (spending === undefined) return undefined
      const reserving = call.running.kernel.budget.reserve(spending, call.now())
      return after(call, taking(call, reserving, giveBackReserved), knowReservation)
    },
    look: (call, tool) => {
      const spending = spendingOf(call, tool)
      return spending === undefined
        ? undefined
        : after(call, call.running.kernel.budget.peek(spending, call.now()), refuseIf)
    }
  },
  {
    name: "idempotency",
    enter: (call) => {
      const { kernel, lease } = call.running
      if (lease === undefined || call.attempts > 0) return undefined
      return after(call, waiting(call, kernel.idempotency.begin(lease, call.now())), onToNext)
    },
    look: () => undefined
  }
]

const knowAdmission = (admission: Admission | Refusal, call: Call): Steps => {
  if ("_tag" in admission) {
    call.breaker = "open"
    return refuse(admission)
  }
  call.breaker = admission.probe ? "half_open" : "closed"
  call.running.admission = admission
  return undefined
}

const knowReservation = (reserved: Reservation | BudgetExceeded, call: Call): Steps => {
  if ("_tag" in reserved) return refuse(reserved)
  call.running.reservation = reserved
  return undefined
}

const giveBackReserved = (
  reserved: Reservation | BudgetExceeded,
  now: number,
  { budget }: Kernel
): Effect.Effect<void, Reason> => ("_tag" in reserved ? Exit.void : budget.refund(reserved, now))

const admitAttempt = (call: Call, tool: CompiledTool, from: number): Soon<Refused | undefined> => {
  for (let index = from; index < gates.length; index++) {
    const gate = gates[index] as Gate
    call.stage = gate.name
    const step = gate.enter(call, tool) as Soon<Refused | undefined>
    if (step !== undefined) {
      return isLater(step) ? admitLater(call, tool, index, step) : notAdmitted(call, step)
    }
  }
  return undefined
}

// Apart from the loop, whose every round would have to keep its index for a closure.
const admitLater = (
  call: Call,
  tool: CompiledTool,
  index: number,
  step: Effect.Effect<Refused | undefined>
): Effect.Effect<Refused | undefined> => {
  call.waits()
  return Effect.flatMap(step, (refusal) =>
    toEffect(refusal === undefined ? admitAttempt(call, tool, index + 1) : notAdmitted(call, refusal))
  )
}

/** What was admitted by one gate and refused by another says nothing of the tool. */
const notAdmitted = (call: Call, refusal: Refused): Soon<Refused> => {
  const reported = reportAttempt(call, { _tag: "Cancelled" })
  return isDone(reported) ? refusal : Effect.as(reported, refusal)
}

/** What the first attempt would come to before its handler. */
export const lookAtAttempt = (call: Call, tool: CompiledTool, from = 0): Steps => {
  for (let index = from; index < gates.length; index++) {
    const gate = gates[index] as Gate
    call.stage = gate.name
    const step = gate.look(call, tool)
    if (isLater(step)) {
      return Effect.flatMap(step, (refused) =>
        refused === undefined ? toEffect(lookAtAttempt(call, tool, index + 1)) : Exit.succeed(refused)
      )
    }
    if (step !== undefined) return step
  }
  call.stage = undefined
  return undefined
}

const limited = (call: Call, tool: CompiledTool): LimitedCall => call.running.limited ?? limitedOf(call, tool)

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
  call.cost = call.cost === undefined ? actual : Amounts.add(call.cost, actual)
  if (reservation === undefined) return Exit.void
  const settled = kernel.budget.settle(reservation, actual, call.now())
  return isDone(settled) ? Exit.void : settleLater(call, reservation, actual, settled)
}

/** What is not settled expires, and was then spent without being counted: it is worth asking again. */
const settleLater = (
  call: Call,
  reservation: Reservation,
  actual: Amounts.Amounts,
  settled: Effect.Effect<void, Reason>
): Effect.Effect<void> => {
  const { budget } = call.running.kernel
  const now = call.now()
  const again = Effect.suspend(() => budget.settle(reservation, actual, now))
  return closing(
    call,
    Effect.catch(settled, () => Effect.retry(again, settlings))
  )
}

const settlings = Schedule.exponential("50 millis").pipe(Schedule.upTo({ times: 4 }))

// --- What it came to -------------------------------------------------------

interface Succeeded extends Outcome {
  readonly reason: undefined
}

/** What the end of an attempt means: a value that fits the tool's schema, or why not. */
const understand = (call: Call, tool: CompiledTool, ended: HandlerEnd): Soon<Succeeded | Failed> => {
  if (ended._tag !== "Value") return explain(call, tool, ended)
  const { value } = ended
  call.stage = "encode"
  const encoding = tool.codec.encodeSuccess(value)
  if (isExit(encoding) && Exit.isSuccess(encoding)) {
    call.stage = undefined
    return { reason: undefined, value, encoded: encoding.value }
  }
  const shown = Effect.mapErrorEager(encoding, (issues) =>
    Validation.invalidResult(shownIssues(call, tool, issues, value))
  )
  return Effect.match(waiting(call, shown), {
    onSuccess: (encoded): Succeeded | Failed => {
      call.stage = undefined
      return { reason: undefined, value, encoded }
    },
    // What was done was done, but nobody can be told what came of it.
    onFailure: (reason): Succeeded | Failed => ({ reason, outcomeUnknown: true })
  })
}

/** Why an attempt failed. */
const explain = Effect.fnUntraced(function* (
  call: Call,
  tool: CompiledTool,
  ended: Exclude<HandlerEnd, { _tag: "Value" }>
): Effect.fn.Return<Failed> {
  call.stage = "handler"
  if (ended._tag === "Stopped") {
    yield* reportDefects(call, tool, ended.cause)
    return { reason: ended.reason, outcomeUnknown: true }
  }
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
