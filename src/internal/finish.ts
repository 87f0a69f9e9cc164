/**
 * The end of a call: what it holds is given back, what it came to is kept for
 * those that follow, and it is recorded, once.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import { classOf, table } from "../ToolError.ts"
import { keep, keeps, settleKey } from "./answers.ts"
import * as ArgumentLimits from "./argumentLimits.ts"
import { ArgumentsView } from "./argumentsView.ts"
import { reportAttempt, settleAttempt } from "./attempts.ts"
import type { Call, Outcome } from "./call.ts"
import { shownPlaces } from "./callText.ts"
import { isDone } from "./exits.ts"
import type { CompiledTool } from "./kernel.ts"
import * as Raw from "./raw.ts"
import { closing } from "./waiting.ts"

/** Gives back whatever the call holds, and records it: at once, where nothing must be waited for. */
export const finish = (call: Call, outcome: Outcome): Effect.Effect<void> => {
  const { reason } = outcome
  const { running } = call
  const { kernel, tool } = running
  const row = reason === undefined ? undefined : table[reason._tag]
  call.status = row === undefined ? "success" : "encoded" in outcome ? "degraded" : row.status
  if (reason !== undefined) {
    call.reason = reason._tag
    call.code = row?.code
    call.class = classOf(reason)
  }
  call.completedAt = call.now()
  // A retry that was announced and never began was none.
  if (call.attempts > 0 && call.retried.length >= call.attempts) {
    call.retried = call.retried.slice(0, call.attempts - 1)
  }
  releaseSlot(call)
  running.entered?.leave()
  // What somebody tried to do is of interest above all where it was refused before anyone looked.
  if (call.arguments === ArgumentsView.unseen && tool !== undefined) view(call, tool)

  // Each has been begun by whoever gave it; most are done.
  let last: ReadonlyArray<Effect.Effect<void>> = none
  // Only an interruption and a bug leave an admission unreported and an attempt unsettled. What never came to its
  // handler (a cost that could not be worked out) says nothing of the tool.
  const began = running.attempt !== undefined
  if (running.admission !== undefined) {
    last = unlessDone(last, reportAttempt(call, began ? reason : { _tag: "Cancelled" }))
  }
  if (began || running.reservation !== undefined) last = unlessDone(last, settleAttempt(call, false))
  if (running.lease !== undefined) {
    last = unlessDone(last, closing(call, settleKey(call, running.lease, outcome)))
  }
  if (tool !== undefined && keeps(tool)) {
    for (const put of keep(call, tool, outcome)) last = unlessDone(last, closing(call, put))
  }
  mark(call, outcome)
  remember(call, outcome)
  const encoded = "encoded" in outcome ? outcome.encoded : undefined
  const told = kernel.audit.outcome(call, encoded, call.now(), tool?.redaction.result)
  last = unlessDone(last, closing(call, told))
  if (last.length === 0) {
    record(call)
    return Exit.void
  }
  return recordAfter(call, last)
}

const none: ReadonlyArray<never> = []

const unlessDone = (
  last: ReadonlyArray<Effect.Effect<void>>,
  effect: Effect.Effect<void>
): ReadonlyArray<Effect.Effect<void>> => (isDone(effect) ? last : [...last, effect])

const recordAfter = (call: Call, last: ReadonlyArray<Effect.Effect<void>>): Effect.Effect<void> =>
  Effect.map(
    Effect.forEach(last, (effect) => Effect.catchCause(effect, ErrorReporter.report), { discard: true }),
    () => record(call)
  )

const record = (call: Call): void => {
  const { sink } = call.running.kernel.recorder
  closeSpan(call)
  call.release()
  sink.onEnd(call)
}

const view = (call: Call, tool: CompiledTool): void => {
  const { request, rules } = call.running
  const params = Raw.read(request.params)
  const limits = rules?.limits ?? ArgumentLimits.defaults
  const inspection = ArgumentLimits.inspect(params, {
    ...limits,
    bytes: Math.min(limits.bytes, viewedUnseen)
  })
  call.arguments =
    inspection._tag === "Ok"
      ? ArgumentsView.of(tool.viewer, inspection)
      : ArgumentsView.refused(inspection.limit)
}

/** Bytes of JSON: whoever may not call at all, or not now, is not to have a megabyte searched for secrets. */
const viewedUnseen = 16_384

/** What the tool itself has said: its success, or its own failure. */
const outputOf = (outcome: Outcome): unknown => {
  const { reason } = outcome
  if ("encoded" in outcome) return outcome.encoded
  return reason?._tag === "ToolFailed" ? reason.failure : undefined
}

/** What an untrusted result says that it should not is marked, and never changed. */
const mark = (call: Call, outcome: Outcome): void => {
  const { tool } = call.running
  const output = outputOf(outcome)
  if (tool?.screening === undefined || output === undefined) return
  const findings = shownPlaces(call, tool, tool.screening.result(output), output)
  if (findings.length === 0) return
  call.note({
    stage: "encode",
    verdict: "flag",
    reasons: findings.map(({ message, rule }) => ({ rule, message }))
  })
}

/** What a run remembers of its calls: what came out of them, and how they failed. */
const remember = (call: Call, outcome: Outcome): void => {
  const { kernel, raw, run, tool } = call.running
  if (run === undefined || tool === undefined) return
  const { reason } = outcome
  const output = outputOf(outcome)
  if (output !== undefined) kernel.taint.ended(run, tool.facts, call.callId, output, call.now())
  if (call.attempts === 0 && reason?._tag !== "InvalidParams") return
  kernel.loops.ended(
    run,
    { tool: tool.facts.name, facts: tool.facts, params: Raw.read(raw) },
    { ...(call.code === undefined ? {} : { code: call.code }), encoded: output }
  )
}

const closeSpan = (call: Call): void => {
  const { fiber, kernel, span } = call.running
  if (span === undefined) return
  try {
    kernel.telemetry.close(span, call)
  } catch (defect) {
    // Who looks on must not cost the call its record.
    Effect.runForkWith(fiber.context)(ErrorReporter.report(Cause.die(defect)))
  }
}

// A slot whose handler goes on stays taken until the handler has really ended.
export const releaseSlot = (call: Call): void => {
  const { abandoned, ticket } = call.running
  if (ticket === undefined) return
  call.running.ticket = undefined
  if (abandoned === undefined) ticket.release()
  else Promise.allSettled(abandoned).then(ticket.release)
}
