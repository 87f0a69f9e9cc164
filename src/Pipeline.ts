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
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { Question } from "./Approvals.ts"
import type { Door } from "./CallRecord.ts"
import type { Defaults } from "./Defaults.ts"
import * as ArgumentLimits from "./internal/argumentLimits.ts"
import { ArgumentsView, keyedHash } from "./internal/argumentsView.ts"
import { attempts, reportAttempt } from "./internal/attempts.ts"
import {
  Call,
  type Ended,
  type Outcome,
  type Request,
  type Restore,
  refuse,
  withinDeadline
} from "./internal/call.ts"
import { type CompiledTool, type Governance, Kernel } from "./internal/kernel.ts"
import { CurrentPrincipal, type Principal } from "./Principal.ts"
import type { LimitedCall } from "./RateLimits.ts"
import type { ToolRules } from "./SecurityPolicy.ts"
import { classOf, type Reason, table } from "./ToolError.ts"
import * as Validation from "./Validation.ts"
import * as Verdict from "./Verdict.ts"

/** One executor's pipeline. */
export interface Pipeline {
  readonly defaults: Defaults
  readonly nextId: () => string
  readonly tools: ReadonlyMap<string, CompiledTool>
  /** Runs a call. `onEnd` sees how it ended even when the caller was interrupted. */
  readonly run: (request: Request, onEnd?: (ended: Ended) => void) => Effect.Effect<Ended>
  /** What governance says of a call by name, principal and decoded arguments, without running or noting anything. */
  readonly verdict: (tool: CompiledTool, params: unknown) => Effect.Effect<Verdict.Verdict>
  /** Notes that a human is asked about this call. */
  readonly ask: (tool: CompiledTool, callId: string, params: unknown) => Effect.Effect<void>
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
    verdict: (tool, params) =>
      Effect.flatMap(CurrentPrincipal, (principal) => verdictOf(kernel, tool, principal, params)),
    ask: (tool, callId, params) =>
      Effect.withFiber((fiber) =>
        Effect.asVoid(
          kernel.approvals.ask(
            question(kernel, tool, fiber.getRef(CurrentPrincipal), callId, params, "toolkit"),
            fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
          )
        )
      )
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
      return Effect.matchCauseEffect(stages(kernel, call, tool, fiber, restore), {
        onSuccess: (outcome) => Effect.map(finish(kernel, call, outcome), toEnded(call, outcome, onEnd)),
        onFailure: (cause) => {
          // Interruption stays interruption. Anything else here is a bug of a rule or a port: the call has still ended once.
          const interrupted = Cause.hasInterrupts(cause)
          const outcome = refuse(interrupted ? { _tag: "Cancelled" } : { _tag: "HandlerDefect" })
          const ended = Effect.map(finish(kernel, call, outcome), toEnded(call, outcome, onEnd))
          return interrupted
            ? Effect.flatMap(ended, () => Effect.failCause(cause))
            : Effect.flatMap(ErrorReporter.report(cause), () => ended)
        }
      })
    })
  )

const toEnded = (call: Call, outcome: Outcome, onEnd: ((ended: Ended) => void) | undefined) => (): Ended => {
  const ended: Ended = { record: call, ...outcome }
  onEnd?.(ended)
  return ended
}

/** Gives back whatever the call holds, and records it. */
const finish = (kernel: Kernel, call: Call, outcome: Outcome): Effect.Effect<void> => {
  const { reason } = outcome
  const row = reason === undefined ? undefined : table[reason._tag]
  call.status = row === undefined ? "success" : "encoded" in outcome ? "degraded" : row.status
  call.reason = reason?._tag
  call.code = row?.code
  call.class = reason === undefined ? undefined : classOf(reason)
  call.completedAt = call.now()
  releaseSlot(call)
  const recorded = Effect.sync(() => {
    if (call.running.span !== undefined) kernel.telemetry.close(call.running.span, call)
    call.release()
    kernel.recorder.sink.onEnd(call)
  })
  // Only an interruption leaves an admission unreported: it says nothing about the tool's health.
  return call.running.admission === undefined
    ? recorded
    : Effect.andThen(reportAttempt(kernel, call, "ignored", undefined), recorded)
}

// A slot whose handler goes on stays taken until the handler has really ended.
const releaseSlot = (call: Call): void => {
  const { ticket } = call.running
  if (ticket === undefined) return
  call.running.ticket = undefined
  const abandoned = call.running.lastAttempt?.abandoned
  if (abandoned === undefined) ticket.release()
  else abandoned.then(ticket.release, ticket.release)
}

// --- The stages ------------------------------------------------------------

const stages = Effect.fnUntraced(function* (
  kernel: Kernel,
  call: Call,
  tool: CompiledTool | undefined,
  fiber: Fiber.Fiber<unknown, unknown>,
  restore: Restore
) {
  const { request } = call.running
  if (request.refused !== undefined) return refuse(request.refused)
  if (tool === undefined) return refuse({ _tag: "ToolNotFound", tool: request.tool })
  if (call.left() <= 0) return refuse(call.pastDeadline())

  // (The kill switch belongs here.)

  const byName = yield* allowedByName(kernel, call, tool)
  if (byName._tag === "Refused") return refuse(byName.reason)
  const rules = kernel.rulesOf(tool)

  // Rate limit: taken at once where nobody can be asked, else looked at here and taken after the answer.
  const limited: LimitedCall = {
    tool: tool.facts,
    principal: call.running.caller,
    params: request.params,
    metadata: request.metadata
  }
  const mayAsk =
    request.requireConfirmation === true ||
    byName.verdict._tag !== "Allow" ||
    rules.byArguments !== undefined ||
    tool.facts.tool.needsApproval !== undefined
  if (tool.callLimits !== undefined) {
    const refusal = mayAsk
      ? yield* tool.callLimits.peek(limited, call.now())
      : yield* withinDeadline(call, restore, tool.callLimits.take(limited, call.now()))
    if (refusal !== undefined) return refuse(refusal)
  }
  const charged = Effect.suspend(() =>
    mayAsk && tool.callLimits !== undefined ? tool.callLimits.charge(limited, call.now()) : Effect.void
  )

  const decided = yield* decideArguments(kernel, call, tool, rules, restore)
  if (decided._tag === "Refused") {
    yield* charged
    return refuse(decided.reason)
  }
  const { params } = decided

  // (Screening, idempotency, cache, loops and taint belong here.)

  const verdict = Verdict.combineAll([
    byName.verdict,
    decided.verdict,
    request.requireConfirmation === true
      ? Verdict.confirm("requireConfirmation", "The caller asked for a confirmation.")
      : Verdict.allow,
    yield* restore(toolsOwnApproval(tool, call.callId, params))
  ])
  if (verdict._tag === "Deny") {
    yield* charged
    return refuse(denied(verdict))
  }
  if (verdict._tag !== "Allow") {
    const pending = yield* askHuman(kernel, call, tool, verdict, params)
    if (pending !== undefined) return refuse(pending)
  }
  if (mayAsk && tool.callLimits !== undefined) {
    const refusal = yield* withinDeadline(call, restore, tool.callLimits.take(limited, call.now()))
    if (refusal !== undefined) return refuse(refusal)
  }

  if (tool.bulkhead !== undefined) {
    const ticket = tool.bulkhead.enter()
    if ("_tag" in ticket) return yield* orFallback(kernel, call, tool, params, refuse(ticket), restore)
    call.running.ticket = ticket
    if (ticket.wait !== undefined) {
      const late = yield* withinDeadline(call, restore, ticket.wait)
      if (late !== undefined) return yield* orFallback(kernel, call, tool, params, refuse(late), restore)
    }
  }

  // (The audit intent and the budget belong here.)

  const outcome = yield* attempts(kernel, call, tool, params, limited, fiber, restore)
  return outcome.reason === undefined
    ? outcome
    : yield* orFallback(kernel, call, tool, params, outcome, restore)
})

type Allowed =
  | { readonly _tag: "Allowed"; readonly verdict: Verdict.Verdict }
  | { readonly _tag: "Refused"; readonly reason: Reason }

/** Deny by name and principal: what needs no look at the arguments. */
const allowedByName = (kernel: Kernel, call: Call, tool: CompiledTool): Effect.Effect<Allowed> =>
  Effect.map(kernel.permissions.check(call.running.caller, tool.facts), (access): Allowed => {
    if (access._tag === "Refused") {
      const { message, missing } = access
      return { _tag: "Refused", reason: { _tag: "PermissionDenied", message, missing } }
    }
    const verdict = kernel.rulesOf(tool).byName
    return verdict._tag === "Deny"
      ? { _tag: "Refused", reason: denied(verdict) }
      : { _tag: "Allowed", verdict }
  })

const denied = (verdict: Extract<Verdict.Verdict, { _tag: "Deny" }>): Reason => ({
  _tag: "PolicyDenied",
  rule: verdict.reasons.map((reason) => reason.rule).join(", "),
  message: verdict.reasons.map((reason) => reason.message).join(" ")
})

type Decided =
  | { readonly _tag: "Decided"; readonly params: unknown; readonly verdict: Verdict.Verdict }
  | { readonly _tag: "Refused"; readonly reason: Reason }

/** Size limits, denial by the raw arguments, decoding, denial by the decoded ones. */
const decideArguments = Effect.fnUntraced(function* (
  kernel: Kernel,
  call: Call,
  tool: CompiledTool,
  rules: ToolRules,
  restore: Restore
): Effect.fn.Return<Decided> {
  const { decoded, params: raw } = call.running.request
  if (decoded === true) {
    const verdict = rules.byArguments?.(raw, call.running.caller) ?? Verdict.allow
    return verdict._tag === "Deny"
      ? { _tag: "Refused", reason: denied(verdict) }
      : { _tag: "Decided", params: raw, verdict }
  }
  const inspection = ArgumentLimits.inspect(raw, rules.limits)
  if (inspection._tag !== "Ok") {
    call.arguments = ArgumentsView.refused(inspection.limit)
    return { _tag: "Refused", reason: inspection }
  }
  call.arguments = new ArgumentsView(kernel.hashKey, tool.codec.names, raw, inspection.bytes)
  const byRaw = rules.byArguments?.(raw, call.running.caller) ?? Verdict.allow
  if (byRaw._tag === "Deny") return { _tag: "Refused", reason: denied(byRaw) }
  const decoding = yield* Effect.exit(restore(tool.codec.decode(raw)))
  if (Exit.isFailure(decoding)) {
    const issues = Cause.findErrorOption(decoding.cause)
    if (issues._tag === "None") return yield* Effect.failCause(decoding.cause as Cause.Cause<never>)
    return { _tag: "Refused", reason: Validation.invalidParams(issues.value) }
  }
  const byDecoded = rules.byArguments?.(decoding.value, call.running.caller) ?? Verdict.allow
  if (byDecoded._tag === "Deny") return { _tag: "Refused", reason: denied(byDecoded) }
  return { _tag: "Decided", params: decoding.value, verdict: Verdict.combine(byRaw, byDecoded) }
})

/** Effect's own `needsApproval`. A question that can't be answered counts as yes. */
const toolsOwnApproval = (
  { facts }: CompiledTool,
  toolCallId: string,
  params: unknown
): Effect.Effect<Verdict.Verdict> => {
  const { needsApproval } = facts.tool
  if (needsApproval === undefined || needsApproval === false) return Exit.succeed(Verdict.allow)
  const needed = Verdict.confirm("needsApproval", "The tool asks for a confirmation.")
  if (needsApproval === true) return Exit.succeed(needed)
  return Effect.suspend(() => {
    const answer = needsApproval(params, { toolCallId, messages: [] })
    return Effect.isEffect(answer) ? answer : Effect.succeed(answer)
  }).pipe(
    Effect.catchCause((cause) =>
      Cause.hasInterrupts(cause) ? Effect.failCause(cause) : Effect.succeed(true)
    ),
    Effect.map((asks) => (asks ? needed : Verdict.allow))
  )
}

/** `undefined` when this very call was asked about before and may go on now. */
const askHuman = Effect.fnUntraced(function* (
  kernel: Kernel,
  call: Call,
  tool: CompiledTool,
  verdict: Exclude<Verdict.Verdict, { _tag: "Allow" | "Deny" }>,
  params: unknown
): Effect.fn.Return<Reason | undefined> {
  const by = verdict._tag === "Confirm" ? "confirm" : "approve"
  const asked = question(kernel, tool, call.running.caller, call.callId, params, call.door)
  if (call.running.request.redeems === true) {
    // In Effect's protocol the question is noted when it is put, never when its answer comes in.
    if (by === "confirm" && (yield* kernel.approvals.redeem(asked, call.now()))) return undefined
  } else {
    const full = yield* kernel.approvals.ask(asked, call.now())
    if (full > 0)
      return { _tag: "RateLimited", limit: "undecided questions", retryAfter: Duration.millis(full) }
  }
  return {
    _tag: "PendingConfirmation",
    callId: call.callId,
    by,
    tool: tool.facts.name,
    why: verdict.reasons.map((reason) => reason.message)
  }
})

const question = (
  kernel: Kernel,
  tool: CompiledTool,
  principal: Principal,
  callId: string,
  params: unknown,
  door: Door
): Question => ({
  principal: principal.id,
  tenant: principal.tenant,
  callId,
  tool: tool.facts.name,
  digest: keyedHash(kernel.hashKey, params),
  door
})

const verdictOf = Effect.fnUntraced(function* (
  kernel: Kernel,
  tool: CompiledTool,
  principal: Principal,
  params: unknown
): Effect.fn.Return<Verdict.Verdict> {
  const access = yield* kernel.permissions.check(principal, tool.facts)
  if (access._tag === "Refused") return Verdict.deny("permissions", access.message)
  const rules = kernel.rulesOf(tool)
  return Verdict.combine(rules.byName, rules.byArguments?.(params, principal) ?? Verdict.allow)
})

// --- Fallback --------------------------------------------------------------

/** The tool's fallback where its own answer is missing; the outcome as it was when that fails too. */
const orFallback = Effect.fnUntraced(function* (
  kernel: Kernel,
  call: Call,
  tool: CompiledTool,
  params: unknown,
  outcome: Outcome,
  restore: Restore
) {
  const { fallback } = tool
  if (fallback === undefined || outcome.reason === undefined || !table[outcome.reason._tag].fallback)
    return outcome
  releaseSlot(call)
  let value: unknown
  if ("value" in fallback) {
    value = fallback.value
  } else {
    const tools = new Set([...(call.running.request.parent?.tools ?? []), tool.facts.name])
    if (tools.has(fallback.tool) || call.left() <= 0) return outcome
    const instead = yield* restore(
      govern(
        kernel,
        {
          door: call.door,
          tool: fallback.tool,
          params: fallback.params === undefined ? call.running.request.params : fallback.params(params),
          deadline: call.running.deadline,
          metadata: call.metadata,
          parent: { callId: call.callId, tools }
        },
        undefined
      )
    )
    if (!("encoded" in instead)) return outcome
    value = instead.value
  }
  // A fallback answers in the tool's name: what the tool's schema refuses is no answer.
  const encoding = yield* Effect.exit(restore(tool.codec.encodeSuccess(value)))
  return Exit.isSuccess(encoding) ? { ...outcome, value, encoded: encoding.value } : outcome
})
