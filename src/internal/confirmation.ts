/**
 * The human's part of a call.
 *
 * What lets a call through is a grant that `Approvals` holds for exactly this
 * call, never anything that came with a conversation. The grant is found here
 * and used up only when nothing but the record stands before the handler, so
 * that a call refused for want of room does not cost its human another answer.
 *
 * A tool's own `needsApproval` is asked again whenever the call runs, and then
 * without the conversation: no toolkit is told of it.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Request as ApprovalRequest, Asked, Question, Redeemed, Subject } from "../Approvals.ts"
import type { Reason } from "../ToolError.ts"
import * as Verdict from "../Verdict.ts"
import { claimAfterAsking, releaseKey } from "./answers.ts"
import { canonicalJson, keyedHash } from "./argumentsView.ts"
import { lookAtAttempt } from "./attempts.ts"
import type { Call, Outcome } from "./call.ts"
import { CurrentWaiting } from "./currentWaiting.ts"
import { encodeParams } from "./encodeParams.ts"
import type { CompiledTool } from "./kernel.ts"
import * as Raw from "./raw.ts"
import { after, onward, refuse, type Step, type Steps } from "./step.ts"
import { waiting, waitingUntil } from "./waiting.ts"

/** What Effect's own `needsApproval` says, if the tool has one. A question that can't be answered counts as yes. */
export const toolsOwn = (
  call: Call,
  { facts }: CompiledTool,
  params: unknown
): Effect.Effect<Verdict.Verdict> | undefined => {
  const { needsApproval } = facts.tool
  if (needsApproval === undefined || needsApproval === false) return undefined
  const needed = Verdict.confirm("needsApproval", "The tool asks for a confirmation.")
  if (needsApproval === true) return Exit.succeed(needed)
  return Effect.suspend(() => {
    const { messages = [] } = call.running.request
    const answer = needsApproval(params, { toolCallId: call.callId, messages })
    return Effect.isEffect(answer) ? answer : Effect.succeed(answer)
  }).pipe(
    Effect.catchCause((cause) =>
      Cause.hasInterrupts(cause) ? Effect.failCause(cause) : Effect.succeed(true)
    ),
    Effect.map((asks) => (asks ? needed : Verdict.allow))
  )
}

// --- The stages ------------------------------------------------------------

/** Lets through what nobody need be asked about, and what a human has granted; asks about the rest. */
export const confirm = (call: Call, tool: CompiledTool): Steps => {
  const { request, verdict } = call.running
  if (verdict._tag === "Allow" && request.approval === undefined) return undefined
  return after(call, decisionAbout(call, tool), (redeemed) => {
    const settled = settledBy(call, redeemed)
    if (settled === undefined) return undecided(call, tool, redeemed)
    return settled === through ? undefined : settled
  })
}

/**
 * What humans have said of the call so far. A conversation asks about arguments that Effect has decoded, so what was
 * asked there is what they encode to, which is not always how the model wrote them.
 */
const decisionAbout = (call: Call, tool: CompiledTool): Effect.Effect<Redeemed, Reason> => {
  const { running } = call
  const { kernel, params, raw, request } = running
  const peek = () => waiting(call, kernel.approvals.peek(subjectOf(call, tool), request.approval, call.now()))
  running.asked = undefined
  if (request.door !== "toolkit") return peek()
  return Effect.flatMap(peek(), (redeemed) =>
    redeemed._tag !== "Nothing"
      ? Exit.succeed(redeemed)
      : Effect.flatMap(encodeParams(tool, Raw.read(params)), (encoded) => {
          if (encoded === undefined || canonicalJson(encoded) === canonicalJson(Raw.read(raw))) {
            return Exit.succeed(redeemed)
          }
          running.asked = Raw.of(encoded)
          return Effect.map(peek(), (said) => {
            if (said._tag === "Nothing") running.asked = undefined
            return said
          })
        })
  )
}

/** What `confirm` would come to: it asks nobody. */
export const lookAtConfirmation = (call: Call, tool: CompiledTool): Steps => {
  const { kernel, request, verdict } = call.running
  if (verdict._tag === "Allow" && request.approval === undefined) return undefined
  return after(
    call,
    waiting(call, kernel.approvals.peek(subjectOf(call, tool), request.approval, call.now())),
    (redeemed) => {
      const settled = settledBy(call, redeemed)
      if (settled !== undefined) return settled === through ? undefined : settled
      return verdict._tag === "Allow" ? undefined : refuse(pendingReason(call, undefined))
    }
  )
}

/** A human has granted it. */
const through = "through"

/** What is settled by what humans have said so far; `undefined` where they must be asked, or still think. */
const settledBy = (call: Call, redeemed: Redeemed): Outcome | typeof through | undefined => {
  switch (redeemed._tag) {
    case "Granted":
      // A confirmation is not enough where another person must approve by now.
      if (call.running.verdict._tag === "Approve" && redeemed.request.by === "confirm") return undefined
      call.running.grant = redeemed.request
      return through
    case "Rejected":
      return refuse(rejection(redeemed.request))
    case "Invalid":
      return refuse(redeemed.reason)
    case "Pending":
    case "Nothing":
      return undefined
  }
}

const undecided = (call: Call, tool: CompiledTool, redeemed: Redeemed): Steps => {
  const { kernel, verdict } = call.running
  // With a token for a call that needs none any more.
  if (verdict._tag === "Allow") return undefined
  if (redeemed._tag === "Pending") return pending(call, redeemed.request)
  return after(call, waiting(call, kernel.approvals.ask(questionOf(call, tool), call.now())), (asked) =>
    answer(call, asked)
  )
}

const answer = (call: Call, asked: Asked): Steps => {
  switch (asked._tag) {
    case "Granted":
      call.running.grant = asked.request
      return undefined
    case "Rejected":
      return refuse(rejection(asked.request))
    case "Full":
      return refuse({
        _tag: "RateLimited",
        limit: "undecided approvals",
        retryAfter: Duration.millis(asked.retryAfter)
      })
    case "Pending":
      return pending(call, asked.request)
  }
}

/** Ends the call, to be made again when its human has decided, or waits for that where its caller said so. */
const pending = (call: Call, request: ApprovalRequest): Steps => {
  const { running } = call
  if (!Context.get(running.fiber.context, CurrentWaiting)) return refuse(pendingReason(call, request))
  const since = call.now()
  const { approvals } = running.kernel
  const decision = Effect.andThen(approvals.decided(request.id), approvals.get(request.id))
  // The caller's point in time stands; a default duration does not run while a human decides.
  const wait = Effect.andThen(releaseKey(call, since), waitingUntil(call, decision, running.callersDeadline))
  return after(call, running.request.park === undefined ? wait : running.request.park(wait), (decided) => {
    if (running.defaultDeadline !== undefined) running.defaultDeadline += call.now() - since
    if (decided === undefined || decided.state === "expired") {
      return refuse({ _tag: "ApprovalInvalid", why: "expired" })
    }
    return decided.state === "revoked" || decided.state === "replaced"
      ? refuse({ _tag: "ApprovalInvalid", why: "revoked" })
      : "again"
  })
}

/**
 * Uses the grant, once; and takes over the idempotency key where that is what was asked. A circuit that is open, or a
 * budget that is spent, must not cost a human another answer.
 */
export const confirmed = (call: Call, tool: CompiledTool): Steps =>
  call.running.grant === undefined ? undefined : onward(call, tool, lookAtAttempt(call, tool), redeem)

const redeem = (call: Call, tool: CompiledTool, refused: Step): Steps => {
  if (refused !== undefined) return refused
  const { kernel, mayTakeOver, request } = call.running
  const redeeming = kernel.approvals.redeem(subjectOf(call, tool), request.approval, call.now())
  return after(call, waiting(call, redeeming), (redeemed): Steps => {
    if (redeemed._tag === "Invalid") return refuse(redeemed.reason)
    if (redeemed._tag === "Rejected") return refuse(rejection(redeemed.request))
    // Somebody else has used it since it was found.
    if (redeemed._tag !== "Granted") return refuse({ _tag: "ApprovalInvalid", why: "used" })
    call.approval = redeemed.request.id
    return mayTakeOver ? claimAfterAsking(call, tool) : undefined
  })
}

// --- In a conversation -----------------------------------------------------

/** Notes the question that a conversation puts to its human; whether it was noted. */
export const askInConversation = (call: Call, tool: CompiledTool): Effect.Effect<boolean> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) =>
    Effect.match(call.running.kernel.approvals.ask(questionOf(call, tool), now), {
      // With too many undecided, or nowhere to note it, the call is made, and refused.
      onFailure: () => false,
      onSuccess: (asked) => asked._tag === "Pending"
    })
  )

// --- What humans are told, and what grants must fit ------------------------

const subjectOf = (call: Call, tool: CompiledTool): Subject => {
  const { asked, caller, kernel, raw, verdict } = call.running
  return {
    // A confirmation is no approval; where nobody need be asked any more, either will do.
    ...(verdict._tag === "Allow" ? {} : { by: byOf(call) }),
    callId: call.callId,
    tool: tool.facts.name,
    principal: caller.id,
    tenant: caller.tenant,
    argumentsHash: (keyId) => {
      const key = kernel.keyring.key("arguments", keyId)
      return key === undefined ? undefined : keyedHash(key, Raw.read(asked ?? raw))
    },
    toolDigest: tool.digest,
    policyDigest: call.policyDigest ?? ""
  }
}

const byOf = ({ running }: Call): "confirm" | "approve" =>
  running.verdict._tag === "Approve" ? "approve" : "confirm"

const questionOf = (call: Call, tool: CompiledTool): Question => {
  const { copied, findings, raw, request, run, verdict } = call.running
  return {
    ...subjectOf(call, tool),
    by: byOf(call),
    actor: call.actor,
    run: run?.id,
    session: call.session,
    why: Verdict.reasonsOf(verdict),
    risk: tool.facts.risk,
    view: call.arguments.view,
    copied,
    findings,
    callJson: callJson(request, Raw.read(raw)),
    replaces: request.replaces
  }
}

/** Everything of a call that makes it the same when it is resumed: not only its arguments. */
export interface KeptCall {
  readonly params: unknown
  readonly timeout?: number
  readonly retries?: number
  readonly idempotencyKey?: string
  readonly step?: string
  readonly metadata?: Readonly<Record<string, string>>
}

const callJson = (
  { idempotencyKey, metadata, retries, step, timeout }: Call["running"]["request"],
  params: unknown
): string => JSON.stringify({ params, timeout, retries, idempotencyKey, step, metadata })

const pendingReason = (call: Call, request: ApprovalRequest | undefined): Reason => ({
  _tag: "PendingConfirmation",
  callId: call.callId,
  request: request?.id ?? "",
  expiresAt: request?.expiresAt ?? call.queuedAt,
  by: request?.by ?? byOf(call),
  tool: call.tool,
  why: Verdict.reasonsOf(call.running.verdict).map((reason) => reason.message)
})

const rejection = (request: ApprovalRequest): Reason => ({
  _tag: "ApprovalRejected",
  request: request.id,
  message: (request.reason ?? "").replace(/\.$/, "")
})
