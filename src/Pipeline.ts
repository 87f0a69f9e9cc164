/**
 * The pipeline: what happens to one call, in one order, whatever the door.
 *
 *     deadline(
 *       find → deny by name and principal → rate limit → size limits
 *       → deny by raw arguments → decode → deny by decoded arguments
 *       → confirmation → bulkhead
 *       → retry( attempt limits → breaker( timeout( handler ) ) )
 *       → encode → fallback
 *     ) → one CallRecord
 *
 * Precedence, said once: denial outranks validation, validation outranks
 * pending confirmation. The quota is looked at before decoding and charged
 * after confirmation; in one step where nobody can be asked. Invalid calls are
 * charged, pending ones are not.
 *
 * A call runs uninterruptibly except where it waits: for a slot, for its turn
 * under a limit, for the handler, between attempts. So whatever was taken is
 * known when an interruption is seen, and is given back in one place, `finish`.
 */
import type * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { Defaults } from "./Defaults.ts"
import * as ArgumentLimits from "./internal/argumentLimits.ts"
import { ArgumentsView } from "./internal/argumentsView.ts"
import { attempts, reportAttempt } from "./internal/attempts.ts"
import {
  admitted,
  Call,
  type Ended,
  type Outcome,
  type Refused,
  type Request,
  type Restore,
  refuse,
  type Stage,
  withinDeadline
} from "./internal/call.ts"
import { type CompiledTool, type Governance, Kernel } from "./internal/kernel.ts"
import * as Questions from "./internal/questions.ts"
import type { LimitedCall } from "./RateLimits.ts"
import type { ToolRules } from "./SecurityPolicy.ts"
import { classOf, table } from "./ToolError.ts"
import * as Validation from "./Validation.ts"
import * as Verdict from "./Verdict.ts"

/** One executor's pipeline. */
export interface Pipeline {
  readonly defaults: Defaults
  readonly nextId: () => string
  readonly tools: ReadonlyMap<string, CompiledTool>
  /** Runs a call. `onEnd` sees how it ended even when the caller was interrupted. */
  readonly run: (request: Request, onEnd?: (ended: Ended) => void) => Effect.Effect<Ended>
  /** Whether a conversation is to ask its human about this call, whose arguments are decoded; if so, that is noted. */
  readonly asks: (
    tool: CompiledTool,
    params: unknown,
    context: Tool.NeedsApprovalContext
  ) => Effect.Effect<boolean>
}

export const make = Effect.fnUntraced(function* (
  tools: ReadonlyArray<readonly [Tool.Any, Tool.Handler<string>]>,
  options: { readonly hashKey: Uint8Array; readonly idPrefix: string }
): Effect.fn.Return<Pipeline, never, Governance> {
  const kernel = new Kernel(yield* Effect.context<Governance>(), options.hashKey, options.idPrefix)
  for (const [tool, handler] of tools) kernel.add(tool, handler)
  return {
    defaults: kernel.defaults,
    nextId: () => kernel.nextId(),
    tools: kernel.tools,
    run: (request, onEnd) => govern(kernel, request, onEnd),
    asks: (tool, params, context) => Questions.asksInConversation(kernel, tool, params, context)
  }
})

// --- One call --------------------------------------------------------------

const govern = (
  kernel: Kernel,
  request: Request,
  onEnd: ((ended: Ended) => void) | undefined
): Effect.Effect<Ended> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiber((fiber) => {
      const tool = kernel.tools.get(request.tool)
      const call = new Call(kernel, request, tool, fiber)
      kernel.recorder.sink.onStart(call)
      const end = (outcome: Outcome): Effect.Effect<Ended> =>
        Effect.map(finish(kernel, call, outcome), () => {
          const ended: Ended = { record: call, ...outcome }
          onEnd?.(ended)
          return ended
        })
      return Effect.matchCauseEffect(stages(kernel, call, tool, fiber, restore), {
        onSuccess: end,
        onFailure: (cause) => {
          const refusal = Cause.findErrorOption(cause)
          if (Option.isSome(refusal)) return end(refusal.value)
          // Interruption stays interruption.
          if (Cause.hasInterrupts(cause)) {
            return Effect.andThen(
              end({ reason: { _tag: "Cancelled" } }),
              Effect.failCause(cause as Cause.Cause<never>)
            )
          }
          // A bug of a rule or of a port: the call has still ended, once.
          return Effect.andThen(ErrorReporter.report(cause), end({ reason: { _tag: "HandlerDefect" } }))
        }
      })
    })
  )

/** Gives back whatever the call holds, and records it. */
const finish = (kernel: Kernel, call: Call, outcome: Outcome): Effect.Effect<void> => {
  const { reason } = outcome
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
  const { span } = call.running
  const record = Effect.sync(() => {
    call.release()
    kernel.recorder.sink.onEnd(call)
  })
  // Who looks on must not cost the call its record.
  const recorded =
    span === undefined
      ? record
      : Effect.andThen(
          Effect.catchCause(
            Effect.sync(() => kernel.telemetry.close(span, call)),
            ErrorReporter.report
          ),
          record
        )
  // Only an interruption and a bug leave an admission unreported.
  return call.running.admission === undefined
    ? recorded
    : Effect.andThen(reportAttempt(kernel, call, reason), recorded)
}

// A slot whose handler goes on stays taken until the handler has really ended.
const releaseSlot = (call: Call): void => {
  const { ticket } = call.running
  if (ticket === undefined) return
  call.running.ticket = undefined
  const { abandoned } = call.running
  if (abandoned.length === 0) ticket.release()
  else Promise.allSettled(abandoned).then(ticket.release)
}

// --- The stages ------------------------------------------------------------

const stages = Effect.fnUntraced(function* (
  kernel: Kernel,
  call: Call,
  tool: CompiledTool | undefined,
  fiber: Fiber.Fiber<unknown, unknown>,
  restore: Restore
): Effect.fn.Return<Outcome, Refused> {
  const { caller, request } = call.running
  if (request.refused !== undefined) return yield* refuse(request.refused)
  if (tool === undefined) return yield* refuse({ _tag: "ToolNotFound", tool: request.tool })
  if (call.left() <= 0) return yield* refuse(call.pastDeadline())

  // (The kill switch belongs here.)

  const rules = kernel.rulesOf(tool)
  yield* allowedByName(kernel, call, tool, rules)

  const { callLimits } = tool
  const limited: LimitedCall = {
    tool: tool.facts,
    principal: caller,
    params: request.params,
    metadata: request.metadata
  }
  const takeQuota =
    callLimits === undefined
      ? Effect.void
      : Effect.suspend(() => admitted(withinDeadline(call, restore, callLimits.take(limited, call.now()))))
  // Where somebody may be asked the quota is only looked at here, and taken after the answer.
  const mayAsk =
    request.requireConfirmation === true ||
    rules.byName._tag !== "Allow" ||
    rules.byArguments !== undefined ||
    tool.facts.tool.needsApproval !== undefined
  if (!mayAsk) yield* takeQuota
  else if (callLimits !== undefined) yield* admitted(callLimits.peek(limited, call.now()))

  const decision = decide(kernel, call, tool, rules, restore)
  const { params, verdict } = yield* mayAsk && callLimits !== undefined
    ? Effect.tapError(decision, () => callLimits.charge(limited, call.now()))
    : decision

  // (Screening, idempotency, cache, loops and taint belong here.)

  if (verdict._tag === "Confirm" || verdict._tag === "Approve") {
    yield* Questions.askHuman(kernel, call, tool, verdict, params, restore)
  }
  if (mayAsk) yield* takeQuota

  const answer = Effect.andThen(
    enterBulkhead(call, tool, restore),
    // (The audit intent and the budget belong here.)
    attempts(kernel, call, tool, params, limited, fiber, restore)
  )
  return tool.fallback === undefined
    ? yield* answer
    : yield* Effect.catch(answer, (failed) =>
        Effect.catchDefect(orFallback(kernel, call, tool, params, failed, restore), (defect) =>
          // A bug on the way to the fallback leaves the failure as it was.
          Effect.andThen(ErrorReporter.report(Cause.die(defect)), Effect.fail(failed))
        )
      )
})

/** Deny by name and principal: what needs no look at the arguments. */
const allowedByName = (kernel: Kernel, call: Call, tool: CompiledTool, rules: ToolRules): Stage<void> =>
  Effect.flatMap(kernel.permissions.check(call.running.caller, tool.facts), (access) => {
    if (access._tag === "Refused") {
      const { message, missing } = access
      return refuse({ _tag: "PermissionDenied", message, missing })
    }
    return rules.byName._tag === "Deny" ? deny(rules.byName) : Effect.void
  })

const deny = (verdict: Extract<Verdict.Verdict, { _tag: "Deny" }>): Stage<never> =>
  refuse({
    _tag: "PolicyDenied",
    rule: verdict.reasons.map((reason) => reason.rule).join(", "),
    message: verdict.reasons.map((reason) => reason.message).join(" ")
  })

/** The arguments decoded, and what every rule together says of them: never a denial. */
const decide = Effect.fnUntraced(function* (
  kernel: Kernel,
  call: Call,
  tool: CompiledTool,
  rules: ToolRules,
  restore: Restore
): Effect.fn.Return<{ readonly params: unknown; readonly verdict: Verdict.Verdict }, Refused> {
  const { caller, request } = call.running
  const byArguments = (params: unknown) => rules.byArguments?.(params, caller) ?? Verdict.allow
  let byRaw = Verdict.allow
  let { params } = request
  if (request.decoded !== true) {
    const inspection = ArgumentLimits.inspect(params, rules.limits)
    if (inspection._tag !== "Ok") {
      call.arguments = ArgumentsView.refused(inspection.limit)
      return yield* refuse(inspection)
    }
    call.arguments = new ArgumentsView(kernel.hashKey, tool.codec.names, params)
    byRaw = byArguments(params)
    if (byRaw._tag === "Deny") return yield* deny(byRaw)
    params = yield* Effect.mapError(withinDeadline(call, restore, tool.codec.decode(params)), (error) =>
      "reason" in error ? error : { reason: Validation.invalidParams(error) }
    )
  }
  const verdict = Verdict.combineAll([
    rules.byName,
    byRaw,
    byArguments(params),
    request.requireConfirmation === true ? callersWish : Verdict.allow
  ])
  if (verdict._tag === "Deny") return yield* deny(verdict)
  return {
    params,
    verdict: Verdict.combine(
      verdict,
      yield* withinDeadline(
        call,
        restore,
        Questions.toolsOwn(tool, params, { toolCallId: call.callId, messages: [] })
      )
    )
  }
})

const callersWish = Verdict.confirm("requireConfirmation", "The caller asked for a confirmation.")

// --- Bulkhead and fallback -------------------------------------------------

const enterBulkhead = (call: Call, tool: CompiledTool, restore: Restore): Stage<void> =>
  Effect.suspend(() => {
    if (tool.bulkhead === undefined) return Effect.void
    const ticket = tool.bulkhead.enter()
    if ("_tag" in ticket) return refuse(ticket)
    call.running.ticket = ticket
    return ticket.wait === undefined ? Effect.void : withinDeadline(call, restore, ticket.wait)
  })

/** The tool's fallback where its own answer is missing; the failure as it was when that fails too. */
const orFallback = Effect.fnUntraced(function* (
  kernel: Kernel,
  call: Call,
  tool: CompiledTool,
  params: unknown,
  failed: Refused,
  restore: Restore
): Effect.fn.Return<Outcome, Refused> {
  const { fallback } = tool
  if (fallback === undefined || !table[failed.reason._tag].fallback) return yield* Effect.fail(failed)
  releaseSlot(call)
  let value: unknown
  if ("value" in fallback) {
    value = fallback.value
  } else {
    const { metadata, params: raw, parent } = call.running.request
    const tools = new Set([...(parent?.tools ?? []), tool.facts.name])
    if (tools.has(fallback.tool) || call.left() <= 0) return yield* Effect.fail(failed)
    const instead = yield* restore(
      govern(
        kernel,
        {
          door: call.door,
          tool: fallback.tool,
          params: fallback.params === undefined ? raw : fallback.params(params),
          deadline: call.running.deadline,
          metadata,
          parent: { callId: call.callId, tools }
        },
        undefined
      )
    )
    if (!("encoded" in instead)) return yield* Effect.fail(failed)
    value = instead.value
  }
  // A fallback answers in the tool's name: what the tool's schema refuses is no answer.
  const encoded = yield* Effect.mapError(
    withinDeadline(call, restore, tool.codec.encodeSuccess(value)),
    () => failed
  )
  return { ...failed, value, encoded }
})
