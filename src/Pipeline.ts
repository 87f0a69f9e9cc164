/**
 * The pipeline: what happens to one call, in one order, whatever the door.
 *
 *     deadline(
 *       find → kill switch → deny by principal and name → rate limit → size limits
 *       → deny by raw arguments → decode → deny by decoded arguments → screen
 *       → idempotency and cache → loops and taint → confirmation → bulkhead → audit intent
 *       → retry( attempt limits → breaker( budget reserve → timeout( handler ) → settle ) )
 *       → encode → fallback
 *     ) → one CallRecord → audit outcome, health, history, telemetry
 *
 * The list itself is `internal/stages.ts`; `evaluate` walks the same one and
 * only looks.
 *
 * Precedence, said once: denial outranks validation, validation outranks
 * pending confirmation. The quota is looked at before decoding and charged
 * after confirmation; in one step where nobody can be asked. Invalid calls are
 * charged, pending ones are not.
 *
 * A call runs uninterruptibly except where it waits: for a slot, for its turn
 * under a limit, for a human, for the handler, between attempts. So whatever
 * was taken is known when an interruption is seen, and is given back in one
 * place, `finish`.
 */
import type * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import type { Stage as StageName } from "./CallRecord.ts"
import type { Defaults } from "./Defaults.ts"
import type { Evaluation, StageResult } from "./Evaluation.ts"
import { keep, lastGood, settleKey } from "./internal/answers.ts"
import * as ArgumentLimits from "./internal/argumentLimits.ts"
import { copyOf } from "./internal/argumentsCopy.ts"
import { ArgumentsView } from "./internal/argumentsView.ts"
import { reportAttempt, settleAttempt } from "./internal/attempts.ts"
import { Call, closing, type Ended, limitedOf, type Outcome, type Request, waiting } from "./internal/call.ts"
import { reportCause, shownPlaces } from "./internal/callText.ts"
import { askInConversation } from "./internal/confirmation.ts"
import { encodeParams } from "./internal/encodeParams.ts"
import { type CompiledTool, type Governance, Kernel } from "./internal/kernel.ts"
import * as Raw from "./internal/raw.ts"
import { firstWithFallback, lastCharged, stages } from "./internal/stages.ts"
import { refuse, type Step, toEffect } from "./internal/step.ts"
import { classOf, messageOf, type Reason, table } from "./ToolError.ts"
import * as Verdict from "./Verdict.ts"

/** One executor's pipeline. */
export interface Pipeline {
  readonly defaults: Defaults
  readonly nextId: () => string
  readonly tools: ReadonlyMap<string, CompiledTool>
  /** Runs a call. `onEnd` sees how it ended even when the caller was interrupted. */
  readonly run: (request: Request, onEnd?: (ended: Ended) => void) => Effect.Effect<Ended>
  /** What every stage would say of a call. Runs nothing, charges nothing, creates nothing. */
  readonly evaluate: (request: Request) => Effect.Effect<Evaluation>
  /** Whether a conversation is to ask its human about this call, whose arguments are decoded; if so, that is noted. */
  readonly asks: (
    tool: CompiledTool,
    params: unknown,
    context: Tool.NeedsApprovalContext
  ) => Effect.Effect<boolean>
  /** For what an executor does beside its calls. */
  readonly kernel: Kernel
}

export const make = (
  tools: ReadonlyArray<readonly [Tool.Any, Tool.Handler<string>]>,
  services: Context.Context<Governance>,
  idPrefix: string
): Pipeline => {
  const kernel = new Kernel(services, idPrefix)
  for (const [tool, handler] of tools) kernel.add(tool, handler)
  return {
    defaults: kernel.defaults,
    nextId: () => kernel.nextId(),
    tools: kernel.tools,
    run: (request, onEnd) => govern(kernel, request, onEnd),
    evaluate: (request) => Effect.map(look(kernel, request), ({ evaluation }) => evaluation),
    asks: (tool, params, context) => asks(kernel, tool, params, context),
    kernel
  }
}

// --- One call --------------------------------------------------------------

const govern = (
  kernel: Kernel,
  request: Request,
  onEnd: ((ended: Ended) => void) | undefined
): Effect.Effect<Ended> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiber((fiber) => {
      const tool = kernel.tools.get(request.tool)
      const call = new Call(kernel, request, tool, fiber, restore)
      openSpan(call)
      kernel.recorder.sink.onStart(call)
      const end = (outcome: Outcome): Effect.Effect<Ended> =>
        Effect.map(finish(call, outcome), () => {
          const ended: Ended = { ...outcome, record: call }
          onEnd?.(ended)
          return ended
        })
      return Effect.matchCauseEffect(
        Effect.suspend(() => drive(call, tool, 0)),
        {
          onSuccess: end,
          onFailure: (cause) =>
            // Interruption stays interruption; a bug of a rule or of a port has still ended the call, once.
            Cause.hasInterrupts(cause)
              ? Effect.andThen(
                  end({ reason: { _tag: "Cancelled" }, outcomeUnknown: call.attempts > 0 }),
                  Effect.failCause(cause)
                )
              : Effect.andThen(
                  reportCause(call, tool, cause),
                  Effect.suspend(() =>
                    end({ reason: { _tag: "HandlerDefect" }, outcomeUnknown: call.attempts > 0 })
                  )
                )
        }
      )
    })
  )

const openSpan = (call: Call): void => {
  const { fiber, kernel, tool } = call.running
  const span = kernel.telemetry.open(fiber, {
    callId: call.callId,
    tool: call.tool,
    description: tool?.facts.description,
    door: call.door
  })
  call.running.span = span
  call.traceId = span?.traceId
  call.spanId = span?.spanId
}

/** What can be refused before any stage. */
const findTool = (call: Call, tool: CompiledTool | undefined): Reason | undefined => {
  const { request } = call.running
  if (request.refused !== undefined) return request.refused
  if (tool === undefined) return { _tag: "ToolNotFound", tool: request.tool }
  return call.left() <= 0 ? call.pastDeadline() : undefined
}

/** Runs the stages from one on: in a loop while they answer at once, as an effect where one waits. */
const drive = (call: Call, tool: CompiledTool | undefined, from: number): Effect.Effect<Outcome> => {
  const notFound = from === 0 ? findTool(call, tool) : undefined
  if (tool === undefined || notFound !== undefined) {
    call.stage = "find"
    return Exit.succeed(refuse(notFound as Reason))
  }
  for (let index = from; index < stages.length; index++) {
    const stage = stages[index] as (typeof stages)[number]
    const steps = stage.enter(call, tool)
    if (Effect.isEffect(steps)) {
      return Effect.flatMap(steps as Effect.Effect<Step>, (step) => go(call, tool, index, step))
    }
    if (steps !== undefined) return go(call, tool, index, steps as Step)
    if (call.running.killed !== undefined) return stop(call, tool, index, refuse(call.running.killed))
  }
  throw new Error("The last stage ends every call")
}

const go = (call: Call, tool: CompiledTool, index: number, step: Step): Effect.Effect<Outcome> => {
  if (step === undefined) {
    const { killed } = call.running
    return killed === undefined
      ? Effect.suspend(() => drive(call, tool, index + 1))
      : stop(call, tool, index, refuse(killed))
  }
  if (step !== "again") return stop(call, tool, index, step)
  startOver(call)
  return Effect.suspend(() => drive(call, tool, 0))
}

/** The call ends here; its fallback may still answer for the tool. */
const stop = (call: Call, tool: CompiledTool, index: number, outcome: Outcome): Effect.Effect<Outcome> => {
  const { reason } = outcome
  if (reason === undefined) return Exit.succeed(outcome)
  // Some stages have stages of their own, and have said which.
  call.stage ??= (stages[index] as (typeof stages)[number]).name
  const { callLimits } = tool
  const { quota } = call.running
  const charge =
    quota === "looked" && index <= lastCharged && callLimits !== undefined
      ? callLimits.charge(limitedOf(call, tool), call.now())
      : Exit.void
  if (tool.fallback === undefined || index < firstWithFallback || !table[reason._tag].fallback) {
    return Effect.as(charge, outcome)
  }
  return Effect.catchCause(orFallback(call, tool, outcome), (cause) =>
    Cause.hasInterrupts(cause)
      ? Effect.failCause(cause)
      : // A bug on the way to the fallback leaves the failure as it was.
        Effect.as(reportCause(call, tool, cause), outcome)
  )
}

/** A human has decided meanwhile: everything is decided again, and nothing that was said before counts. */
const startOver = (call: Call): void => {
  const { running } = call
  running.verdict = Verdict.allow
  running.findings = []
  running.copied = []
  running.quota = running.quota === "looked" ? "none" : running.quota
  call.verdicts = []
  call.stage = undefined
}

// --- The end of a call -----------------------------------------------------

/** Gives back whatever the call holds, and records it. */
const finish = (call: Call, outcome: Outcome): Effect.Effect<void> => {
  const { reason } = outcome
  const { running } = call
  const { kernel } = running
  const row = reason === undefined ? undefined : table[reason._tag]
  call.status = row === undefined ? "success" : "encoded" in outcome ? "degraded" : row.status
  call.reason = reason?._tag
  call.code = row?.code
  call.class = reason === undefined ? undefined : classOf(reason)
  call.completedAt = call.now()
  // A retry that was announced and never began was none.
  if (call.attempts > 0 && call.retried.length >= call.attempts) {
    call.retried = call.retried.slice(0, call.attempts - 1)
  }
  releaseSlot(call)
  running.leave?.()
  // What somebody tried to do is of interest above all where it was refused before anyone looked.
  if (call.arguments === ArgumentsView.unseen && running.tool !== undefined) view(call, running.tool)

  // Only an interruption and a bug leave an admission unreported and an attempt unsettled.
  const last: Array<Effect.Effect<void>> = []
  const then = (effect: Effect.Effect<void> | undefined): void => {
    if (effect !== undefined && !(Exit.isExit(effect) && Exit.isSuccess(effect))) last.push(effect)
  }
  // What never came to its handler (a cost that could not be worked out) says nothing of the tool.
  const began = running.attempt !== undefined
  if (running.admission !== undefined) then(reportAttempt(call, began ? reason : { _tag: "Cancelled" }))
  if (running.attempt !== undefined || running.reservation !== undefined) then(settleAttempt(call, false))
  const settled = settleKey(call, outcome)
  if (settled !== undefined) then(closing(call, settled))
  for (const put of keep(call, outcome)) then(closing(call, put))
  mark(call, outcome)
  remember(call, outcome)
  const encoded = "encoded" in outcome ? outcome.encoded : undefined
  then(closing(call, kernel.audit.outcome(call, encoded, call.now(), running.tool?.redaction.result)))
  const record = (): void => {
    closeSpan(call)
    call.release()
    kernel.recorder.sink.onEnd(call)
  }
  if (last.length === 0) {
    record()
    return Exit.void
  }
  return Effect.andThen(
    Effect.forEach(last, (effect) => Effect.catchCause(effect, ErrorReporter.report), { discard: true }),
    Effect.sync(record)
  )
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
      ? ArgumentsView.of(tool.viewer, copyOf(params))
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
const releaseSlot = (call: Call): void => {
  const { abandoned, ticket } = call.running
  if (ticket === undefined) return
  call.running.ticket = undefined
  if (abandoned.length === 0) ticket.release()
  else Promise.allSettled(abandoned).then(ticket.release)
}

// --- Fallback --------------------------------------------------------------

/** The tool's fallback where its own answer is missing; the failure as it was when that fails too. */
const orFallback = Effect.fnUntraced(function* (
  call: Call,
  tool: CompiledTool,
  failed: Outcome
): Effect.fn.Return<Outcome> {
  const { fallback } = tool
  if (fallback === undefined) return failed
  releaseSlot(call)
  const { kernel, params, request, restore } = call.running
  let value: unknown
  if ("value" in fallback) {
    value = fallback.value
  } else if ("lastGood" in fallback) {
    const kept = yield* Effect.orElseSucceed(lastGood(call, tool), () => undefined)
    if (kept === undefined) return failed
    value = kept.value
  } else {
    const tools = new Set([...(request.parent?.tools ?? []), tool.facts.name])
    if (tools.has(fallback.tool) || call.left() <= 0) return failed
    const instead = yield* restore(
      govern(
        kernel,
        {
          door: call.door,
          tool: fallback.tool,
          params:
            fallback.params === undefined ? call.running.raw : Raw.of(fallback.params(Raw.read(params))),
          deadline: call.deadline,
          metadata: request.metadata,
          parent: { callId: call.callId, tools }
        },
        undefined
      )
    )
    if (!("encoded" in instead)) return failed
    value = instead.value
  }
  // A fallback answers in the tool's name: what the tool's schema refuses is no answer.
  const encoded = yield* Effect.option(waiting(call, tool.codec.encodeSuccess(value)))
  return encoded._tag === "None" ? failed : { ...failed, value, encoded: encoded.value }
})

// --- Looking ---------------------------------------------------------------

interface Looked {
  readonly call: Call
  readonly evaluation: Evaluation
}

/** What every stage would say, each for itself: those that have what they need are asked, whatever others said. */
const look = (kernel: Kernel, request: Request): Effect.Effect<Looked> =>
  Effect.withFiber((fiber) => {
    const tool = kernel.tools.get(request.tool)
    const call = new Call(kernel, { id: "evaluation", ...request }, tool, fiber, (effect) => effect)
    const results: Array<StageResult> = []
    const refusedAt = new Set<StageName>()
    const said = (stage: StageName, outcome: Outcome | undefined): void => {
      const result = resultOf(call, stage, outcome)
      if (result.verdict !== "allow" && result.verdict !== "flag") refusedAt.add(stage)
      results.push(result)
    }
    const notFound = findTool(call, tool)
    said("find", notFound === undefined ? undefined : refuse(notFound))
    const ended = (): Looked => ({ call, evaluation: evaluationOf(call, results) })
    if (tool === undefined || request.refused !== undefined) return Exit.succeed(ended())
    return Effect.as(
      Effect.forEach(
        stages,
        (stage) => {
          if (stage.needs !== undefined && (refusedAt.has("size") || refusedAt.has(stage.needs))) {
            results.push({ stage: stage.name, verdict: "not reached", reasons: [] })
            return Exit.void
          }
          call.stage = undefined
          const step = Effect.suspend(() => toEffect((stage.look ?? stage.enter)(call, tool)))
          return step.pipe(
            // What would end the call as a bug is an answer, too.
            Effect.catchCause((cause) =>
              Cause.hasInterrupts(cause)
                ? Effect.failCause(cause)
                : Effect.as(reportCause(call, tool, cause), refuse({ _tag: "HandlerDefect" }))
            ),
            Effect.map((step) => said(call.stage ?? stage.name, step === "again" ? undefined : step))
          )
        },
        { discard: true }
      ),
      undefined
    ).pipe(Effect.map(ended))
  })

const resultOf = (call: Call, stage: StageName, outcome: Outcome | undefined): StageResult => {
  if (outcome === undefined) {
    const flags = call.verdicts.filter((verdict) => verdict.stage === stage && verdict.shadow !== true)
    return flags.some((flag) => flag.verdict === "flag")
      ? { stage, verdict: "flag", reasons: flags.flatMap((flag) => flag.reasons) }
      : { stage, verdict: "allow", reasons: [] }
  }
  const { reason } = outcome
  if (reason === undefined) return { stage, verdict: "answered", reasons: [] }
  const { code } = table[reason._tag]
  if (reason._tag === "PendingConfirmation") {
    return { stage, verdict: reason.by, code, reasons: Verdict.reasonsOf(call.running.verdict) }
  }
  const rule = reason._tag === "PolicyDenied" ? reason.rule : code
  return { stage, verdict: "deny", code, reasons: [{ rule, message: messageOf(reason) }] }
}

const evaluationOf = (call: Call, results: ReadonlyArray<StageResult>): Evaluation => {
  const stopping = results.find(({ verdict }) => verdict !== "allow" && verdict !== "flag")
  return {
    tool: call.running.request.tool,
    stages: results,
    stopsAt: stopping?.stage,
    outcome: stopping?.verdict ?? "allow",
    code: stopping?.code,
    toolDigest: call.toolDigest,
    policyDigest: call.policyDigest,
    shadow: call.verdicts.filter((verdict) => verdict.shadow === true)
  }
}

/**
 * Whether a conversation is to ask its human about a call that a model makes:
 * what the pipeline would say of it. A call that would be refused anyway is not
 * worth a question, and one that is granted already needs none.
 */
const asks = Effect.fnUntraced(function* (
  kernel: Kernel,
  tool: CompiledTool,
  decoded: unknown,
  context: Tool.NeedsApprovalContext
): Effect.fn.Return<boolean> {
  const raw = yield* encodeParams(tool, decoded)
  const { call, evaluation } = yield* look(kernel, {
    door: "toolkit",
    tool: tool.facts.name,
    id: context.toolCallId,
    // Effect decodes less strictly, and does not look into arguments that only a raw JSON Schema describes.
    ...(raw === undefined ? { params: Raw.of(decoded), decoded: true } : { params: Raw.of(raw) }),
    messages: context.messages
  })
  return evaluation.stopsAt === "confirmation" &&
    (evaluation.outcome === "confirm" || evaluation.outcome === "approve")
    ? yield* askInConversation(call, tool)
    : false
})
