/**
 * What humans are asked, and what may go on because one was.
 *
 * Effect's approval protocol alone is not safe: whoever owns the conversation
 * owns the answers in it. So a question is noted when it is put, and only a
 * call by the same principal, with the same id, tool and arguments, redeems
 * that note, once.
 *
 * A tool's own `needsApproval` is asked again when the call runs, and then
 * without the conversation: no toolkit is told of it.
 */
import type * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type { Question } from "../Approvals.ts"
import { CurrentPrincipal, type Principal } from "../Principal.ts"
import * as Verdict from "../Verdict.ts"
import * as ArgumentLimits from "./argumentLimits.ts"
import { keyedHash } from "./argumentsView.ts"
import { type Call, type Refused, type Restore, refuse } from "./call.ts"
import type { CompiledTool, Kernel } from "./kernel.ts"

/** Effect's own `needsApproval`. A question that can't be answered counts as yes. */
export const toolsOwn = (
  { facts }: CompiledTool,
  params: unknown,
  context: Tool.NeedsApprovalContext
): Effect.Effect<Verdict.Verdict> => {
  const { needsApproval } = facts.tool
  if (needsApproval === undefined || needsApproval === false) return Exit.succeed(Verdict.allow)
  const needed = Verdict.confirm("needsApproval", "The tool asks for a confirmation.")
  if (needsApproval === true) return Exit.succeed(needed)
  return Effect.suspend(() => {
    const answer = needsApproval(params, context)
    return Effect.isEffect(answer) ? answer : Effect.succeed(answer)
  }).pipe(
    Effect.catchCause((cause) =>
      Cause.hasInterrupts(cause) ? Effect.failCause(cause) : Effect.succeed(true)
    ),
    Effect.map((asks) => (asks ? needed : Verdict.allow))
  )
}

/** Lets through only what was asked before, about this very call. */
export const askHuman = Effect.fnUntraced(function* (
  kernel: Kernel,
  call: Call,
  tool: CompiledTool,
  verdict: Extract<Verdict.Verdict, { _tag: "Confirm" | "Approve" }>,
  params: unknown,
  restore: Restore
): Effect.fn.Return<void, Refused> {
  const by = verdict._tag === "Confirm" ? "confirm" : "approve"
  const asked = yield* restore(question(kernel, tool, call.running.caller, call.callId, params))
  // Nobody in a conversation can be another person than the one it belongs to.
  if (by === "confirm" && call.running.request.redeems === true) {
    if (yield* kernel.approvals.redeem({ ...asked, inConversation: true }, call.now())) return
  }
  const full = yield* kernel.approvals.ask(asked, call.now())
  if (full > 0) {
    return yield* refuse({
      _tag: "RateLimited",
      limit: "undecided questions",
      retryAfter: Duration.millis(full)
    })
  }
  return yield* refuse({
    _tag: "PendingConfirmation",
    callId: call.callId,
    by,
    tool: tool.facts.name,
    why: verdict.reasons.map((reason) => reason.message)
  })
})

/**
 * Whether a conversation is to ask its human about a call that a model makes:
 * what the pipeline will say of it, as far as that can be told before. A call
 * that would be refused anyway is not worth a question.
 */
export const asksInConversation = Effect.fnUntraced(function* (
  kernel: Kernel,
  tool: CompiledTool,
  decoded: unknown,
  context: Tool.NeedsApprovalContext
): Effect.fn.Return<boolean> {
  const { callLimits, codec, facts } = tool
  const rules = kernel.rulesOf(tool)
  const mayAsk =
    rules.byName._tag !== "Allow" || rules.byArguments !== undefined || facts.tool.needsApproval !== undefined
  if (!mayAsk) return false
  const principal = yield* CurrentPrincipal
  const now = yield* Clock.currentTimeMillis
  const access = yield* kernel.permissions.check(principal, facts)
  if (access._tag === "Refused" || rules.byName._tag === "Deny") return false
  const encoded = yield* encode(tool, decoded)
  const raw = encoded ?? decoded
  const limited = { tool: facts, principal, params: raw, metadata: undefined }
  if (callLimits !== undefined && (yield* callLimits.peek(limited, now)) !== undefined) return false
  if (ArgumentLimits.inspect(raw, rules.limits)._tag !== "Ok") return false
  // Effect decodes less strictly, and does not look into arguments that only a raw JSON Schema describes.
  const decoding = yield* Effect.result(encoded === undefined ? Exit.succeed(decoded) : codec.decode(encoded))
  if (decoding._tag === "Failure") return false
  const params = decoding.success
  const byArguments = (value: unknown) => rules.byArguments?.(value, principal) ?? Verdict.allow
  const verdict = Verdict.combineAll([
    rules.byName,
    byArguments(raw),
    byArguments(params),
    yield* toolsOwn(tool, params, context)
  ])
  if (verdict._tag !== "Confirm") return false
  const asked = yield* question(kernel, tool, principal, context.toolCallId, params)
  // With too many undecided the call is made, and refused.
  return (yield* kernel.approvals.ask({ ...asked, inConversation: true }, now)) === 0
})

const question = (
  kernel: Kernel,
  tool: CompiledTool,
  principal: Principal,
  callId: string,
  params: unknown
): Effect.Effect<Question> =>
  Effect.map(encode(tool, params), (encoded) => ({
    principal: principal.id,
    tenant: principal.tenant,
    callId,
    tool: tool.facts.name,
    // Decoded arguments (`Redacted`, a `Map`) may look alike when they are not.
    digest: keyedHash(kernel.hashKey, encoded ?? params),
    inConversation: false
  }))

/** Decoded arguments as their schema encodes them; `undefined` where it only decodes. */
const encode = ({ facts }: CompiledTool, params: unknown): Effect.Effect<unknown> => {
  const encoding = Schema.encodeUnknownEffect(facts.tool.parametersSchema)(params)
  // The services of a tool's schemas are its handler's, and with the calling fiber.
  return Effect.orElseSucceed(encoding as Effect.Effect<unknown, unknown>, () => undefined)
}
