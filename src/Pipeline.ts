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
import * as Fiber from "effect/Fiber"
import type { Defaults } from "./Defaults.ts"
import type { Evaluation } from "./Evaluation.ts"
import { lastGood } from "./internal/answers.ts"
import { Call, type Conclude, limitedOf, type Outcome, type Request } from "./internal/call.ts"
import { reportCause } from "./internal/callText.ts"
import { isDone } from "./internal/exits.ts"
import { finish, releaseSlot } from "./internal/finish.ts"
import { type CompiledTool, type Governance, Kernel } from "./internal/kernel.ts"
import { asks, look } from "./internal/looking.ts"
import * as Raw from "./internal/raw.ts"
import { findTool, type Stage } from "./internal/stages.ts"
import { isLater, Pending, refuse, type Soon, type Step, toEffect } from "./internal/step.ts"
import { waiting } from "./internal/waiting.ts"
import { type Reason, table } from "./ToolError.ts"
import * as Verdict from "./Verdict.ts"

/** One executor's pipeline. */
export interface Pipeline {
  readonly defaults: Defaults
  readonly nextId: () => string
  readonly tools: ReadonlyMap<string, CompiledTool>
  /**
   * Runs a call, and tells its door how it ended, once, also when the caller was interrupted: then what the door makes
   * of it is not used.
   */
  readonly run: <A, E>(request: Request, conclude: Conclude<A, E>) => Effect.Effect<A, E>
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
    run: (request, conclude) => govern(kernel, request, conclude),
    evaluate: (request) => Effect.map(look(kernel, request), ({ evaluation }) => evaluation),
    asks: (tool, params, context) => asks(kernel, tool, params, context),
    kernel
  }
}

// --- One call --------------------------------------------------------------

const govern = <A, E>(kernel: Kernel, request: Request, conclude: Conclude<A, E>): Effect.Effect<A, E> =>
  Effect.uninterruptibleMask((restore) => {
    const fiber = Fiber.getCurrent() as Fiber.Fiber<unknown, unknown>
    const call = new Call(kernel, request, kernel.tools.get(request.tool), fiber, restore)
    openSpan(call)
    kernel.recorder.sink.onStart(call)
    let outcome: Soon<Outcome>
    try {
      outcome = begin(call)
    } catch (defect) {
      return broken(call, Cause.die(defect), conclude)
    }
    return isLater(outcome) ? endLater(call, outcome, conclude) : end(call, outcome, conclude)
  })

const endLater = <A, E>(
  call: Call,
  outcome: Effect.Effect<Outcome>,
  conclude: Conclude<A, E>
): Effect.Effect<A, E> => {
  if (outcome instanceof Pending) {
    call.running.conclude = conclude
    const ended = outcome.next(concluded) as Effect.Effect<A, E>
    return Effect.catchCause(ended, (cause) =>
      call.completedAt === undefined
        ? broken(call, cause as Cause.Cause<never>, conclude)
        : Effect.failCause(cause)
    )
  }
  call.waits()
  return Effect.matchCauseEffect(outcome, {
    onSuccess: (outcome) => end(call, outcome, conclude),
    onFailure: (cause) => broken(call, cause, conclude)
  })
}

const concluded = (call: Call, _: CompiledTool, outcome: Outcome): Effect.Effect<unknown> =>
  end(call, outcome, call.running.conclude as Conclude<unknown, never>)

const end = <A, E>(call: Call, outcome: Outcome, conclude: Conclude<A, E>): Effect.Effect<A, E> => {
  const finished = finish(call, outcome)
  return isDone(finished) ? conclude(outcome, call) : Effect.flatMap(finished, () => conclude(outcome, call))
}

/** Interruption stays interruption; a bug of a rule or of a port has still ended the call, once. */
const broken = <A, E>(
  call: Call,
  cause: Cause.Cause<never>,
  conclude: Conclude<A, E>
): Effect.Effect<A, E> => {
  const outcomeUnknown = call.attempts > 0
  return Cause.hasInterrupts(cause)
    ? Effect.andThen(
        // A door whose callers fail with it would put its own failure in the place of the interruption.
        Effect.ignore(end(call, { reason: { _tag: "Cancelled" }, outcomeUnknown }, conclude)),
        Effect.failCause(cause)
      )
    : Effect.andThen(
        reportCause(call, call.running.tool, cause),
        Effect.suspend(() => end(call, { reason: { _tag: "HandlerDefect" }, outcomeUnknown }, conclude))
      )
}

const openSpan = (call: Call): void => {
  const { fiber, kernel } = call.running
  const span = kernel.telemetry.open(fiber, call)
  if (span === undefined) return
  call.running.span = span
  call.traceId = span.traceId
  call.spanId = span.spanId
}

/** From the first stage on. */
const begin = (call: Call): Soon<Outcome> => {
  const { tool } = call.running
  const refused = findTool(call, tool)
  if (refused === undefined && tool !== undefined) return drive(call, tool, 0)
  call.stage = "find"
  return refuse(refused as Reason)
}

/** Runs the stages from one on: in a loop while they answer at once, as an effect where one waits. */
const drive = (call: Call, tool: CompiledTool, from: number): Soon<Outcome> => {
  const { running } = call
  const { stages } = tool
  for (let index = from; index < stages.length; index++) {
    const stage = stages[index] as Stage
    const steps = stage.enter(call, tool)
    if (steps === undefined) {
      if (running.killed !== undefined) return stop(call, tool, stage, refuse(running.killed))
    } else return isLater(steps) ? goLater(call, tool, index, steps) : go(call, tool, index, steps)
  }
  throw new Error("The last stage ends every call")
}

// Apart from the loop, whose every round would have to keep its index for a closure.
const goLater = (
  call: Call,
  tool: CompiledTool,
  index: number,
  steps: Effect.Effect<Step>
): Effect.Effect<Outcome> => {
  if (steps instanceof Pending) return steps.next(handled)
  call.waits()
  return Effect.flatMap(steps, (step) => toEffect(go(call, tool, index, step)))
}

/** Only handlers are waited for without a fiber, and they are the last stage. */
const handled = (call: Call, tool: CompiledTool, step: Step): Soon<Outcome> =>
  go(call, tool, tool.stages.length - 1, step)

const go = (call: Call, tool: CompiledTool, index: number, step: Step): Soon<Outcome> => {
  if (step === "again") {
    startOver(call)
    return begin(call)
  }
  const { killed } = call.running
  if (step === undefined && killed === undefined) return drive(call, tool, index + 1)
  return stop(call, tool, tool.stages[index] as Stage, step ?? refuse(killed as Reason))
}

/** The call ends here; its fallback may still answer for the tool. */
const stop = (call: Call, tool: CompiledTool, stage: Stage, outcome: Outcome): Soon<Outcome> => {
  const { reason } = outcome
  if (reason === undefined) return outcome
  // Some stages have stages of their own, and have said which.
  call.stage ??= stage.name
  if (tool.fallback !== undefined && stage.fallsBack && table[reason._tag].fallback) {
    return Effect.catchCause(orFallback(call, tool, outcome), (cause) =>
      Cause.hasInterrupts(cause)
        ? Effect.failCause(cause)
        : // A bug on the way to the fallback leaves the failure as it was.
          Effect.as(reportCause(call, tool, cause), outcome)
    )
  }
  if (!stage.charges || call.running.quota !== "looked" || tool.callLimits === undefined) return outcome
  const charged = tool.callLimits.charge(limitedOf(call, tool), call.now())
  return isDone(charged) ? outcome : Effect.as(charged, outcome)
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
        Exit.succeed
      )
    )
    if (!("encoded" in instead)) return failed
    value = instead.value
  }
  // A fallback answers in the tool's name: what the tool's schema refuses is no answer.
  const encoded = yield* Effect.option(waiting(call, tool.codec.encodeSuccess(value)))
  return encoded._tag === "None" ? failed : { ...failed, value, encoded: encoded.value }
})
