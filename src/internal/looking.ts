/**
 * Looking at a call without making it: every stage says what it would come to,
 * by the code that a call goes through.
 */
import type * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Stage as StageName } from "../CallRecord.ts"
import type { Evaluation, StageResult } from "../Evaluation.ts"
import { messageOf, table } from "../ToolError.ts"
import * as Verdict from "../Verdict.ts"
import { Call, type Outcome, type Request } from "./call.ts"
import { reportCause } from "./callText.ts"
import { askInConversation } from "./confirmation.ts"
import { encodeParams } from "./encodeParams.ts"
import type { CompiledTool, Kernel } from "./kernel.ts"
import * as Raw from "./raw.ts"
import { findTool, stages } from "./stages.ts"
import { refuse, toEffect } from "./step.ts"

interface Looked {
  readonly call: Call
  readonly evaluation: Evaluation
}

/** What every stage would say, each for itself: those that have what they need are asked, whatever others said. */
export const look = (kernel: Kernel, request: Request): Effect.Effect<Looked> =>
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
          call.waits()
          const step = Effect.suspend(() => toEffect(stage.look(call, tool)))
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
export const asks = Effect.fnUntraced(function* (
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
