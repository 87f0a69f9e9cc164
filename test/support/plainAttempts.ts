/**
 * The attempts of one call in the plain composition: limits, circuit and money
 * around the handler, and whether to try again.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import { CurrentCall, type Retry, ToolError } from "effect-interlock"
import { type Call, left, pastDeadline, type Seen } from "./plainCall.ts"
import type { Verdict } from "./plainCircuit.ts"
import { millis, type Reason, type Refused, refuse } from "./plainNouns.ts"
import { answerOf, attemptFailed, type Value } from "./plainTool.ts"

/** Runs the handler until it succeeds or trying again is of no use. */
export const attempts = Effect.fnUntraced(function* (
  call: Call,
  params: unknown,
  backoff: Retry.Backoff
): Effect.fn.Return<Value, Refused> {
  const { overrides, tool } = call
  const retries = Math.min(tool.retries, overrides.retries ?? tool.retries)
  const isSafe = tool.repeatable || overrides.idempotencyKey !== undefined
  let last: Refused | undefined
  for (let retry = 1; ; retry++) {
    const ended = yield* Effect.result(attempt(call, params))
    if (Result.isSuccess(ended)) return ended.success
    const refused = ended.failure
    if (refused.attempted === undefined) {
      // Where another attempt may not begin, the call ends as the last one did.
      return yield* Effect.fail(last === undefined ? refused : { ...last, stage: refused.stage })
    }
    last = refused
    if (refused.attempted === "unknown") yield* note(call, { mayHaveRun: true })
    if (retry > retries || !mayRepeat(refused, isSafe)) return yield* Effect.fail(refused)
    const delay = yield* delayBefore(retry, refused.reason, backoff)
    if (delay >= (yield* left(call))) return yield* Effect.fail(refused)
    const { code } = ToolError.table[refused.reason._tag]
    yield* Ref.update(call.seen, (seen) => ({
      ...seen,
      retried: [...seen.retried, { attempt: retry, code, delay }]
    }))
    yield* Effect.sleep(delay)
  }
})

const note = ({ seen }: Call, noted: Partial<Seen>): Effect.Effect<void> =>
  Ref.update(seen, (before) => ({ ...before, ...noted }))

/** Trying again must be worth it, and do no harm where nobody knows what was done. */
const mayRepeat = ({ attempted, reason }: Refused, isSafe: boolean): boolean => {
  if (attempted === "unknown" && !isSafe) return false
  const { retry } = ToolError.table[reason._tag]
  const errorClass = ToolError.classOf(reason)
  return (
    retry === "yes" || (retry === "by class" && (errorClass === "Retryable" || errorClass === "Overload"))
  )
}

/** Exponential, with full jitter where nothing else is said, and never sooner than the error asks for. */
const delayBefore = Effect.fnUntraced(function* (
  retry: number,
  reason: Reason,
  { base = 100, factor = 2, jitter = "full", max = "30 seconds" }: Retry.Backoff
) {
  const grown = Math.min(millis(max), millis(base) * factor ** (retry - 1))
  const chance = yield* Random.next
  const asked = ToolError.retryAfterOf(reason)
  return Math.ceil(
    Math.max(jitter === "full" ? grown * chance : grown, asked === undefined ? 0 : millis(asked))
  )
})

// --- One attempt -------------------------------------------------------------

/** What may refuse an attempt, around it. */
const attempt = Effect.fnUntraced(function* (call: Call, params: unknown): Effect.fn.Return<Value, Refused> {
  const { asker, tool } = call
  yield* tool.quotaPerAttempt.take(asker)
  const time = yield* left(call)
  if (time <= 0) return yield* refuse("handler", pastDeadline(call))
  const spent = yield* Ref.make<number | undefined>(undefined)
  const run = Effect.andThen(begun(call), runHandler(call, params, time, spent)).pipe(
    Effect.onExit((exit) => addCost(call, spent, exit))
  )
  const { circuit } = tool
  if (circuit === undefined) return yield* paid(call, spent, run)
  return yield* circuit
    .enter((how) => Effect.andThen(note(call, { breaker: how }), paid(call, spent, run)), verdictOf)
    .pipe(
      Effect.tapError(({ reason }) =>
        reason._tag === "CircuitOpen" ? note(call, { breaker: "open" }) : Effect.void
      )
    )
})

/** The key is told that the handler begins; one that has been lost must not be run for. */
const begun = Effect.fnUntraced(function* ({ seen }: Call): Effect.fn.Return<void, Refused> {
  const { attempts, lease } = yield* Ref.get(seen)
  if (lease === undefined || attempts > 0 || (yield* lease.begin)) return
  return yield* refuse("idempotency", { _tag: "Unavailable", concern: "idempotency" })
})

/** Puts the attempt's bound aside, where the tool has one and a limit applies to it. */
const paid = (
  call: Call,
  spent: Ref.Ref<number | undefined>,
  run: Effect.Effect<Value, Refused>
): Effect.Effect<Value, Refused> => {
  const { asker, deadline, tool } = call
  const { bound, money } = tool
  if (bound === undefined || money === undefined) return run
  return Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const expiresAt = Number.isFinite(deadline) ? deadline : now + tool.timeout + 60_000
    const cost = (exit: Exit.Exit<Value, Refused>) =>
      Effect.map(Ref.get(spent), (spent) => costOf(bound, spent, exit) ?? 0)
    return money.spend(asker, bound, expiresAt, run, cost)
  })
}

/** What an attempt has cost: what its handler says, else its bound; the more of both where nobody knows what it did. */
const costOf = (
  bound: number | undefined,
  spent: number | undefined,
  exit: Exit.Exit<Value, Refused>
): number | undefined => {
  const refused = refusedIn(exit)
  if (refused !== undefined && refused.attempted === undefined) return undefined
  if (spent === undefined) return bound
  return Exit.isSuccess(exit) || refused?.attempted === "known" ? spent : Math.max(spent, bound ?? 0)
}

const addCost = Effect.fnUntraced(function* (
  { seen, tool }: Call,
  spent: Ref.Ref<number | undefined>,
  exit: Exit.Exit<Value, Refused>
) {
  const cost = costOf(tool.bound, yield* Ref.get(spent), exit)
  if (cost !== undefined) yield* Ref.update(seen, (seen) => ({ ...seen, cost: (seen.cost ?? 0) + cost }))
})

const refusedIn = (exit: Exit.Exit<unknown, Refused>): Refused | undefined =>
  Exit.isSuccess(exit) ? undefined : Option.getOrUndefined(Cause.findErrorOption(exit.cause))

/** What the attempt says to its circuit; one that never began, or was interrupted, says nothing. */
const verdictOf = (exit: Exit.Exit<unknown, Refused>): Verdict => {
  if (Exit.isSuccess(exit)) return { outcome: "success" }
  const refused = refusedIn(exit)
  if (refused?.attempted === undefined || refused.reason._tag === "Cancelled") return { outcome: "ignored" }
  // The tool has answered, if only that its caller is wrong.
  if (!ToolError.countsForBreaker(refused.reason)) return { outcome: "success" }
  return { outcome: "failure", retryAfter: ToolError.retryAfterOf(refused.reason) }
}

// --- The handler ---------------------------------------------------------------

/** Runs the handler once, in a fiber of its own: a timeout interrupts that one and nothing else. */
const runHandler = Effect.fnUntraced(function* (
  call: Call,
  params: unknown,
  time: number,
  spent: Ref.Ref<number | undefined>
): Effect.fn.Return<Value, Refused> {
  const { asker, deadline, overrides, seen, tool } = call
  const now = yield* Clock.currentTimeMillis
  const { attempts } = yield* Ref.updateAndGet(seen, (seen) => ({
    ...seen,
    attempts: seen.attempts + 1,
    startedAt: seen.startedAt ?? now
  }))
  const controller = new AbortController()
  const { signal } = controller
  const answer = answerOf(tool.handler, params, { toolCallId: asker.callId, signal }, (promise) =>
    Ref.update(seen, (seen) => ({ ...seen, abandoned: [...seen.abandoned, promise] }))
  )
  const running = yield* answer.pipe(
    Effect.provideService(CurrentCall, {
      callId: asker.callId,
      tool: asker.tool,
      attempt: attempts,
      idempotencyKey: overrides.idempotencyKey,
      deadline: Number.isFinite(deadline) ? deadline : undefined,
      metadata: undefined,
      spend: (amount) => Effect.runSync(Ref.update(spent, (before = 0) => before + (amount as number))),
      signal
    }),
    Effect.forkChild({ startImmediately: true })
  )
  // Whoever stops the handler waits until its finalizers have run.
  const stop = Effect.uninterruptible(
    Effect.suspend(() => {
      controller.abort()
      return Fiber.interrupt(running)
    })
  )
  const timeout = Math.min(tool.timeout, overrides.timeout ?? tool.timeout)
  const inTime = yield* Fiber.await(running).pipe(
    Effect.timeoutOption(Math.min(timeout, time)),
    Effect.onInterrupt(() => stop)
  )
  if (Option.isSome(inTime)) return yield* tool.understand(inTime.value)
  yield* stop
  const exit = yield* Fiber.await(running)
  // What could not be interrupted, and succeeded all the same, has succeeded.
  if (Exit.isSuccess(exit)) return yield* tool.understand(exit)
  return yield* attemptFailed(
    "handler",
    time <= timeout
      ? pastDeadline(call)
      : { _tag: "TimedOut", scope: "attempt", after: Duration.millis(timeout) },
    "unknown"
  )
})
