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
import * as Exit from "effect/Exit"
import type { Defaults } from "./Defaults.ts"
import type { Evaluation } from "./Evaluation.ts"
import { lastGood } from "./internal/answers.ts"
import { Call, type Ended, limitedOf, type Outcome, type Request, waiting } from "./internal/call.ts"
import { reportCause } from "./internal/callText.ts"
import { finish, releaseSlot } from "./internal/finish.ts"
import { type CompiledTool, type Governance, Kernel } from "./internal/kernel.ts"
import { asks, look } from "./internal/looking.ts"
import * as Raw from "./internal/raw.ts"
import { findTool, firstWithFallback, lastCharged, stages } from "./internal/stages.ts"
import { refuse, type Step } from "./internal/step.ts"
import { type Reason, table } from "./ToolError.ts"
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
        Effect.mapEager(finish(call, outcome), () => {
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
    return Effect.mapEager(charge, () => outcome)
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
