/**
 * Answers that need no run: what the same idempotency key came to before, and
 * what is cached. And what is kept of a call for those that come after it.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Claim, Key as IdempotencyKey, Outcome as KeptOutcome, Lease } from "../Idempotency.ts"
import type { Key as CacheKey } from "../ResultCache.ts"
import { classOf, type Reason } from "../ToolError.ts"
import * as Validation from "../Validation.ts"
import * as Verdict from "../Verdict.ts"
import type { Call, Outcome } from "./call.ts"
import type { CompiledTool } from "./kernel.ts"
import { after, refuse, type Steps } from "./step.ts"
import { taking, waiting } from "./waiting.ts"

// --- Idempotency -----------------------------------------------------------

/** The key given, or that of the step in its run. */
const keyOf = ({ running }: Call): string | undefined => {
  const { request, run } = running
  if (request.idempotencyKey !== undefined) return request.idempotencyKey
  return run === undefined || request.step === undefined
    ? undefined
    : `run ${JSON.stringify([run.id, request.step])}`
}

const idempotencyKey = (call: Call, tool: CompiledTool, key: string): IdempotencyKey => ({
  tenant: call.tenant,
  principal: call.principal,
  tool: tool.facts.name,
  key
})

/** Takes the key, gives the outcome it has, or waits for the call that holds it. */
export const claimKey = (call: Call, tool: CompiledTool): Steps => {
  const { running } = call
  const key = keyOf(call)
  if (key === undefined || running.lease !== undefined) return undefined
  running.key = key
  // What was known of the key before a human was asked may not hold any more.
  running.mayTakeOver = false
  return claim(call, tool, key, tool.afterCrash === "retry")
}

/** Gives the key back while a human decides, who may take longer than any lease; it is claimed again then. */
export const releaseKey = ({ running }: Call, now: number): Effect.Effect<void, Reason> => {
  const { kernel, lease } = running
  running.lease = undefined
  return lease === undefined ? Exit.void : kernel.idempotency.release(lease, now)
}

/** A human has agreed that what may have run is run again. */
export const claimAfterAsking = (call: Call, tool: CompiledTool): Steps =>
  claim(call, tool, call.running.key as string, true)

const claim = (call: Call, tool: CompiledTool, key: string, takeOver: boolean): Steps => {
  const { running } = call
  const { idempotency } = running.kernel
  const claimed = idempotency.claim(
    idempotencyKey(call, tool, key),
    {
      callId: call.callId,
      argumentsHash: call.arguments.hash ?? "",
      expiresAt: leaseUntil(call, tool),
      takeOver
    },
    call.now()
  )
  const giveBack = (answer: Claim, now: number) =>
    answer._tag === "Run" ? idempotency.release(answer.lease, now) : Exit.void
  return after(call, taking(call, claimed, giveBack), (answer): Steps => {
    switch (answer._tag) {
      case "Run":
        running.lease = answer.lease
        return undefined
      case "Done":
        call.answeredFrom = "idempotency"
        return given(call, tool, answer.outcome)
      case "InFlight":
        // Rights may have gone meanwhile, and another's answer is for those who have them now.
        return after(call, waiting(call, answer.wait), () => "again")
      case "Conflict":
        return refuse({ _tag: "IdempotencyConflict", key })
      case "Abandoned":
        if (tool.afterCrash !== "ask") return refuse({ _tag: "OutcomeUnknown", callId: answer.callId })
        running.mayTakeOver = true
        running.verdict = Verdict.combine(running.verdict, mayHaveRun)
        return undefined
    }
  })
}

const mayHaveRun = Verdict.confirm(
  "afterCrash",
  "The same call was begun before and nobody knows whether it took effect; it would be run again."
)

/** What claiming the key would come to. */
export const peekKey = (call: Call, tool: CompiledTool): Steps => {
  const key = keyOf(call)
  if (key === undefined) return undefined
  const peeked = call.running.kernel.idempotency.peek(
    idempotencyKey(call, tool, key),
    call.arguments.hash ?? "",
    call.now()
  )
  return after(call, peeked, (tag): Steps => {
    switch (tag) {
      case "Run":
      case "InFlight":
        return undefined
      case "Done":
        return { reason: undefined }
      case "Conflict":
        return refuse({ _tag: "IdempotencyConflict", key })
      case "Abandoned":
        if (tool.afterCrash === "retry") return undefined
        if (tool.afterCrash === "unknown") return refuse({ _tag: "OutcomeUnknown", callId: call.callId })
        call.running.verdict = Verdict.combine(call.running.verdict, mayHaveRun)
        return undefined
    }
  })
}

/** A lease outlives its call: the deadline, or every attempt at its longest and the waits between them. */
const leaseUntil = (call: Call, tool: CompiledTool): number =>
  call.deadline ?? call.now() + tool.timeout * (tool.retries + 1) + Duration.toMillis("10 minutes")

/** An outcome that was kept, as the tool itself would have given it. */
const given = (call: Call, tool: CompiledTool, kept: KeptOutcome): Steps => {
  if (kept._tag === "Value") return givenValue(call, tool, kept.encoded)
  const { reason } = kept
  if (reason._tag !== "ToolFailed") return refuse(reason)
  const failure = Effect.mapErrorEager(tool.codec.decodeFailure(reason.failure), Validation.invalidResult)
  return after(call, waiting(call, failure), (failure) => ({ reason, failure }))
}

const givenValue = (call: Call, tool: CompiledTool, encoded: unknown): Steps => {
  const value = Effect.mapErrorEager(tool.codec.decodeSuccess(encoded), Validation.invalidResult)
  return after(call, waiting(call, value), (value) => ({ reason: undefined, value, encoded }))
}

/**
 * What becomes of the key when its call has ended. What is known to have
 * happened, or never to happen, is every repetition's answer; what failed
 * without an effect may be tried again; and of what nobody knows the key says so.
 */
export const settleKey = (call: Call, lease: Lease, outcome: Outcome): Effect.Effect<void, Reason> => {
  const { kernel, mayHaveRun } = call.running
  call.running.lease = undefined
  const { idempotency } = kernel
  const now = call.now()
  if (call.attempts === 0) return idempotency.release(lease, now)
  if ("encoded" in outcome && outcome.reason === undefined) {
    return idempotency.complete(lease, { _tag: "Value", encoded: outcome.encoded }, now)
  }
  const { reason } = outcome
  if (reason === undefined || outcome.outcomeUnknown === true || mayHaveRun) {
    return idempotency.abandon(lease, now)
  }
  return reason._tag === "ToolFailed" && classOf(reason) === "Caller"
    ? idempotency.complete(lease, { _tag: "Reason", reason }, now)
    : idempotency.release(lease, now)
}

// --- Cache -----------------------------------------------------------------

/** Gives a cached result where nobody need be asked: a human's answer is to one call only. */
export const cached = (call: Call, tool: CompiledTool): Steps => {
  const { kernel, verdict } = call.running
  if (tool.cache === undefined || verdict._tag !== "Allow" || !isHashed(call)) return undefined
  const kept = kernel.cache.get(cacheKey(call, tool, tool.cache.within), call.now())
  return after(call, waiting(call, kept), (entry) => {
    if (entry === undefined) return undefined
    call.answeredFrom = "cache"
    return givenValue(call, tool, entry.encoded)
  })
}

/** Arguments that were decoded elsewhere and cannot be encoded again have no hash: nobody can tell them from others. */
const isHashed = (call: Call): boolean => call.arguments.hash !== undefined

const cacheKey = (call: Call, tool: CompiledTool, within: "principal" | "tenant"): CacheKey => ({
  tenant: call.tenant,
  principal: within === "principal" ? call.principal : undefined,
  tool: tool.facts.name,
  toolDigest: tool.digest,
  argumentsHash: call.arguments.hash ?? ""
})

/** Last good results live beside cached ones, and last as long as their fallback says. */
const lastGoodKey = (call: Call, tool: CompiledTool): CacheKey => {
  const key = cacheKey(call, tool, "principal")
  return { ...key, toolDigest: `last good ${key.toolDigest}` }
}

/** Whether successes of the tool are kept at all. */
export const keeps = (tool: CompiledTool): boolean =>
  tool.cache !== undefined || (tool.fallback !== undefined && "lastGood" in tool.fallback)

/** Keeps a success for the calls that follow. */
export const keep = (
  call: Call,
  tool: CompiledTool,
  outcome: Outcome
): ReadonlyArray<Effect.Effect<void, Reason>> => {
  const { kernel } = call.running
  if (call.answeredFrom !== undefined || call.attempts === 0) return []
  if (!("encoded" in outcome) || outcome.reason !== undefined || !isHashed(call)) return []
  const { encoded } = outcome
  const puts: Array<Effect.Effect<void, Reason>> = []
  const put = (key: CacheKey, ttl: number) => {
    puts.push(
      kernel.cache.put(key, { encoded, ttl, tags: tool.facts.tags, since: call.queuedAt }, call.now())
    )
  }
  if (tool.cache !== undefined) put(cacheKey(call, tool, tool.cache.within), tool.cache.ttl)
  if (tool.fallback !== undefined && "lastGood" in tool.fallback) {
    put(lastGoodKey(call, tool), Duration.toMillis(Duration.fromInputUnsafe(tool.fallback.lastGood)))
  }
  return puts
}

/** The last success of this tool with these arguments, for whoever falls back to it; `undefined` where none is kept. */
export const lastGood = (
  call: Call,
  tool: CompiledTool
): Effect.Effect<{ readonly value: unknown } | undefined, Reason> =>
  !isHashed(call)
    ? Exit.succeed(undefined)
    : Effect.flatMap(
        waiting(call, call.running.kernel.cache.get(lastGoodKey(call, tool), call.now())),
        (entry) => {
          if (entry === undefined) return Effect.succeed(undefined)
          const value = Effect.mapErrorEager(
            tool.codec.decodeSuccess(entry.encoded),
            Validation.invalidResult
          )
          return Effect.map(waiting(call, value), (value) => ({ value }))
        }
      )
