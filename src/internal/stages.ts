/**
 * The stages of a call, in their order: the one list that every door runs and
 * that `evaluate` only looks at.
 *
 * `enter` decides, and takes what the call needs; what it takes is known to the
 * call at once and given back when the call ends. `look` says what `enter` would
 * come to and changes nothing; where it is absent, `enter` itself changes
 * nothing but the call.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Stage as StageName } from "../CallRecord.ts"
import type { Access } from "../Permissions.ts"
import type { ToolRules } from "../SecurityPolicy.ts"
import type { Reason } from "../ToolError.ts"
import * as Validation from "../Validation.ts"
import * as Verdict from "../Verdict.ts"
import { cached, claimKey, peekKey } from "./answers.ts"
import * as ArgumentLimits from "./argumentLimits.ts"
import { ArgumentsView } from "./argumentsView.ts"
import { attempts, lookAtAttempt } from "./attempts.ts"
import { type Call, limitedOf } from "./call.ts"
import { shownIssues, shownPlaces, shownVerdict } from "./callText.ts"
import { confirm, confirmed, lookAtConfirmation, toolsOwn } from "./confirmation.ts"
import { encodeParams } from "./encodeParams.ts"
import { isExit } from "./exits.ts"
import type { CompiledTool } from "./kernel.ts"
import * as Raw from "./raw.ts"
import { after, onToNext, onward, refuse, refuseIf, type Step, type Steps } from "./step.ts"
import { waiting } from "./waiting.ts"

export interface Stage {
  readonly name: StageName
  readonly enter: Enter
  readonly look: Enter
  /** What must have let the call through for this one to have anything to look at. */
  readonly needs: StageName | undefined
  /** Whether calls of a tool ever have anything to do here; asked when the tool is compiled. */
  readonly applies: (tool: Omit<CompiledTool, "stages">) => boolean
  /** A call that ends here was worth the quota that was only looked at. */
  readonly charges: boolean
  /** A call that the tool could not serve from here on may be answered by its fallback. */
  readonly fallsBack: boolean
}

type Enter = (call: Call, tool: CompiledTool) => Steps

// All of one shape, so that the walk of a call finds the function of each in the same place.
const stage = (
  name: StageName,
  {
    applies = always,
    charges = false,
    enter,
    fallsBack = false,
    look = enter,
    needs
  }: Partial<Stage> & {
    readonly enter: Enter
  }
): Stage => ({ name, enter, look, needs, applies, charges, fallsBack })

const always = (): boolean => true

// --- Before any stage -------------------------------------------------------

/** What can be refused before any stage. */
export const findTool = (call: Call, tool: CompiledTool | undefined): Reason | undefined => {
  const { request } = call.running
  if (request.refused !== undefined) return request.refused
  if (tool === undefined) return { _tag: "ToolNotFound", tool: request.tool }
  return call.left() <= 0 ? call.pastDeadline() : undefined
}

// --- Who and what, before any look at the arguments ------------------------

const killSwitch = stage("kill_switch", {
  charges: true,
  enter: (call, tool) => {
    const { running } = call
    const { caller, kernel } = running
    const killed = kernel.killSwitch.check(tool.facts, caller, call.now())
    if (killed !== undefined) return refuse(killed)
    running.entered ??= kernel.killSwitch.enter(tool.facts, caller, call)
    return undefined
  },
  look: (call, tool) => {
    const killed = call.running.kernel.killSwitch.check(tool.facts, call.running.caller, call.now())
    return killed === undefined ? undefined : refuse(killed)
  }
})

const permissions = stage("permissions", {
  charges: true,
  enter: (call, tool) =>
    after(
      call,
      waiting(call, call.running.kernel.permissions.check(call.running.caller, tool.facts)),
      unlessDenied
    )
})

const unlessDenied = (access: Access): Step => {
  if (access._tag === "Granted") return undefined
  const { message, missing } = access
  return refuse({ _tag: "PermissionDenied", message, missing })
}

const policy = stage("policy", {
  charges: true,
  enter: (call, tool) => {
    const rules = call.running.kernel.rulesOf(tool)
    call.running.rules = rules
    call.policyDigest = rules.digest
    if (rules.flags.length > 0) call.note({ stage: "policy", verdict: "flag", reasons: rules.flags })
    return ruled(call, "policy", rules.byName, rules.shadow?.byName)
  }
})

/** A denial ends the call; what else was said is kept, and what a policy in shadow says is only noted. */
const ruled = (
  call: Call,
  stage: StageName,
  verdict: Verdict.Verdict,
  shadow: Verdict.Verdict | undefined
): Step => {
  if (shadow !== undefined && shadow._tag !== verdict._tag) {
    call.note({ stage, verdict: wordOf[shadow._tag], reasons: Verdict.reasonsOf(shadow), shadow: true })
  }
  if (verdict._tag === "Allow") return undefined
  call.note({ stage, verdict: wordOf[verdict._tag], reasons: verdict.reasons })
  if (verdict._tag !== "Deny") {
    call.running.verdict = Verdict.combine(call.running.verdict, verdict)
    return undefined
  }
  return refuse({
    _tag: "PolicyDenied",
    rule: verdict.reasons.map((reason) => reason.rule).join(", "),
    message: verdict.reasons.map((reason) => reason.message).join(" ")
  })
}

const wordOf = { Allow: "allow", Confirm: "confirm", Approve: "approve", Deny: "deny" } as const

// --- How many --------------------------------------------------------------

/** Whether a human may be asked about the call: then the quota is only looked at, and charged after the answer. */
const mayAsk = ({ running }: Call, tool: CompiledTool, rules: ToolRules): boolean =>
  running.request.requireConfirmation === true ||
  running.request.approval !== undefined ||
  running.run !== undefined ||
  rules.byName._tag !== "Allow" ||
  rules.byArguments !== undefined ||
  tool.facts.tool.needsApproval !== undefined ||
  tool.afterCrash === "ask"

const rateLimit = stage("rate_limit", {
  charges: true,
  applies: (tool) => tool.callLimits !== undefined,
  enter: (call, tool) => {
    const { callLimits } = tool
    const { running } = call
    if (callLimits === undefined || running.quota === "taken") return undefined
    running.limited = limitedOf(call, tool)
    if (!mayAsk(call, tool, running.rules as ToolRules)) return takeQuota.enter(call, tool)
    running.quota = "looked"
    return after(call, callLimits.peek(running.limited, call.now()), lookedAt)
  },
  look: (call, tool) =>
    tool.callLimits === undefined
      ? undefined
      : after(call, tool.callLimits.peek(limitedOf(call, tool), call.now()), refuseIf)
})

const lookedAt = (refusal: Reason | undefined, { running }: Call): Step => {
  if (refusal !== undefined) running.quota = "none"
  return refuseIf(refusal)
}

const takeQuota = stage("rate_limit", {
  applies: (tool) => tool.callLimits !== undefined,
  enter: (call, { callLimits }) => {
    const { running } = call
    if (callLimits === undefined || running.limited === undefined || running.quota === "taken") {
      return undefined
    }
    return after(call, waiting(call, callLimits.take(running.limited, call.now())), taken)
  },
  look: rateLimit.look
})

const taken = (refusal: Reason | undefined, { running }: Call): Step => {
  running.quota = refusal === undefined ? "taken" : "none"
  return refuseIf(refusal)
}

// --- The arguments ---------------------------------------------------------

const size = stage("size", {
  charges: true,
  enter: (call, tool) => {
    const { request } = call.running
    return request.decoded === true
      ? measuredAsEncoded(call, tool, request.params)
      : measured(call, tool, request.params)
  }
})

/** Where Effect has decoded before, the arguments are encoded again; some schemas cannot. */
const measuredAsEncoded = (call: Call, tool: CompiledTool, params: Raw.Raw): Steps =>
  after(call, encodeParams(tool, Raw.read(params)), (encoded) => {
    call.running.params = params
    return measured(call, tool, encoded === undefined ? params : Raw.of(encoded))
  })

const measured = (call: Call, tool: CompiledTool, params: Raw.Raw): Step => {
  const inspection = ArgumentLimits.inspect(Raw.read(params), (call.running.rules as ToolRules).limits)
  if (inspection._tag === "Ok") {
    // From here on everything that looks at the arguments looks at the same ones, and nobody else has them.
    call.running.raw = Raw.of(inspection.copy === undefined ? {} : inspection.copy)
    call.arguments = ArgumentsView.of(tool.viewer, inspection)
    return undefined
  }
  call.running.raw = params
  // What was decoded and cannot be encoded again is no fault of the caller.
  if (call.running.request.decoded === true && inspection.limit === "json") return undefined
  call.arguments = ArgumentsView.refused(inspection.limit)
  return refuse(inspection)
}

const policyRaw = stage("policy_raw", {
  charges: true,
  needs: "size",
  enter: (call, tool) => byArguments(call, tool, "policy_raw", Raw.read(call.running.raw))
})

const byArguments = (call: Call, tool: CompiledTool, stage: StageName, params: unknown): Step => {
  const { byArguments, shadow } = call.running.rules as ToolRules
  if (byArguments === undefined && shadow?.byArguments === undefined) return undefined
  const said = says(call, tool, byArguments, params)
  const inShadow = shadow === undefined ? undefined : says(call, tool, shadow.byArguments, params)
  call.running.allowedRaw = said._tag === "Allow" && (inShadow === undefined || inShadow._tag === "Allow")
  return ruled(call, stage, said, inShadow)
}

const says = (
  call: Call,
  tool: CompiledTool,
  rule: ToolRules["byArguments"],
  params: unknown
): Verdict.Verdict =>
  rule === undefined ? Verdict.allow : shownVerdict(call, tool, rule(params, call.running.caller))

const decode = stage("decode", {
  charges: true,
  needs: "size",
  enter: (call, tool) => {
    const { running } = call
    if (running.request.decoded === true) return undefined
    const decoding = tool.codec.decode(Raw.read(running.raw))
    return isExit(decoding) && Exit.isSuccess(decoding)
      ? decoded(decoding.value, call)
      : after(call, waiting(call, withShownIssues(call, tool, decoding)), decoded)
  }
})

const decoded = (params: unknown, { running }: Call): Step => {
  running.params = Raw.of(params)
  return undefined
}

const withShownIssues = (
  call: Call,
  tool: CompiledTool,
  decoding: Validation.Outcome<unknown>
): Effect.Effect<unknown, Reason> =>
  Effect.mapErrorEager(decoding, (issues) => Validation.invalidParams(shownIssues(call, tool, issues)))

/** Also what the caller and the tool itself wish, which only a decoded call can be asked about. */
const policyDecoded = stage("policy_decoded", {
  charges: true,
  needs: "decode",
  enter: (call, tool) => {
    const { running } = call
    const params = Raw.read(running.params)
    // What rules allow they allow again where decoding has changed nothing.
    if (!(running.allowedRaw && tool.codec.decodesAsIs)) {
      const denied = byArguments(call, tool, "policy_decoded", params)
      if (denied !== undefined) return denied
    }
    if (running.request.requireConfirmation === true) {
      running.verdict = Verdict.combine(running.verdict, callersWish)
    }
    const own = toolsOwn(call, tool, params)
    return own === undefined ? undefined : after(call, waiting(call, own), wished)
  }
})

const wished = (wish: Verdict.Verdict, { running }: Call): Step => {
  running.verdict = Verdict.combine(running.verdict, wish)
  return undefined
}

const callersWish = Verdict.confirm("requireConfirmation", "The caller asked for a confirmation.")

const screening = stage("screening", {
  charges: true,
  needs: "decode",
  applies: (tool) => tool.screening !== undefined,
  enter: (call, tool) => {
    const found = tool.screening?.params(Raw.read(call.running.raw))
    if (found === undefined || found.length === 0) return undefined
    const findings = shownPlaces(call, tool, found)
    call.running.findings = findings
    const refused = findings.filter((finding) => finding.severity === "refuse")
    const reasons = findings.map(({ message, rule }) => ({ rule, message }))
    call.note({ stage: "screening", verdict: refused.length > 0 ? "deny" : "flag", reasons })
    return refused.length === 0
      ? undefined
      : refuse({
          _tag: "ArgumentsScreened",
          findings: refused.map(({ message, path, rule }) => ({ rule, path, message }))
        })
  }
})

// --- Was it done before, and does it make sense to go on -------------------

const idempotency = stage("idempotency", { charges: true, needs: "decode", enter: claimKey, look: peekKey })

const cache = stage("cache", {
  charges: true,
  needs: "decode",
  applies: (tool) => tool.cache !== undefined,
  enter: cached
})

const loops = stage("loops", {
  charges: true,
  needs: "decode",
  enter: (call, tool) => {
    const { kernel, raw, run } = call.running
    if (run === undefined || run.driver !== "model") return undefined
    const looped = { tool: tool.facts.name, facts: tool.facts, params: Raw.read(raw) }
    const loop = kernel.loops.check(run, looped)
    if (loop === undefined) return undefined
    kernel.loops.refused(run, looped)
    return refuse(loop)
  },
  look: (call, tool) => {
    const { kernel, raw, run } = call.running
    if (run === undefined || run.driver !== "model") return undefined
    const loop = kernel.loops.check(run, { tool: tool.facts.name, facts: tool.facts, params: Raw.read(raw) })
    return loop === undefined ? undefined : refuse(loop)
  }
})

const taint = stage("taint", {
  charges: true,
  needs: "decode",
  enter: (call, tool) => {
    const { kernel, raw, run } = call.running
    const tainted = run === undefined ? undefined : kernel.taint.check(run, tool.facts, Raw.read(raw))
    if (tainted === undefined) return undefined
    call.running.copied = shownPlaces(call, tool, tainted.copied)
    return ruled(call, "taint", shownVerdict(call, tool, tainted.verdict), undefined)
  }
})

// --- A human, a slot, a record, and the handler ----------------------------

const confirmation = stage("confirmation", {
  needs: "decode",
  enter: confirm,
  look: lookAtConfirmation
})

/** The grant is used up only when nothing but the record stands before the handler. */
const useGrant = stage("confirmation", {
  fallsBack: true,
  needs: "decode",
  enter: confirmed,
  look: () => undefined
})

const bulkhead = stage("bulkhead", {
  fallsBack: true,
  applies: (tool) => tool.bulkhead !== undefined,
  enter: (call, tool) => {
    if (tool.bulkhead === undefined) return undefined
    const ticket = tool.bulkhead.enter()
    if ("_tag" in ticket) return refuse(ticket)
    call.running.ticket = ticket
    return ticket.wait === undefined ? undefined : after(call, waiting(call, ticket.wait), onToNext)
  },
  look: (_, tool) => {
    const refusal = tool.bulkhead?.peek()
    return refusal === undefined ? undefined : refuse(refusal)
  }
})

const audit = stage("audit", {
  fallsBack: true,
  enter: (call, tool) =>
    unlessRefused(call, tool, waiting(call, call.running.kernel.audit.intent(call, call.now()))),
  look: (call, tool) => unlessRefused(call, tool, call.running.kernel.audit.ready)
})

/** What cannot be recorded runs all the same where the log's own rule says so; the log tells of it loudly. */
const unlessRefused = (call: Call, tool: CompiledTool, written: Effect.Effect<void, Reason>): Steps => {
  const step = after(call, written, onToNext)
  return step === undefined ? undefined : onward(call, tool, step, overruled)
}

const overruled = (call: Call, tool: CompiledTool, step: Step): Step =>
  typeof step === "object" &&
  step.reason?._tag === "Unavailable" &&
  call.running.kernel.audit.whenUnavailable(tool.facts.destructive) === "run"
    ? undefined
    : step

const handler = stage("handler", { fallsBack: true, needs: "decode", enter: attempts, look: lookAtAttempt })

/** Every stage after the tool was found. */
export const stages: ReadonlyArray<Stage> = [
  killSwitch,
  permissions,
  policy,
  rateLimit,
  size,
  policyRaw,
  decode,
  policyDecoded,
  screening,
  idempotency,
  cache,
  loops,
  taint,
  confirmation,
  takeQuota,
  bulkhead,
  useGrant,
  audit,
  handler
]
