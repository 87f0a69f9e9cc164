/**
 * Past calls, decided again by a candidate: what a change of policy would have
 * done, before it is made.
 *
 * Each recorded call is put before the candidate at its recorded time, in
 * order: who it was for, its arguments as the audit log kept them, what it
 * cost. Only what the candidate speaks of is decided anew; where it says nothing
 * of permissions, limits, budgets or loops, what was decided then stands.
 *
 * The log keeps arguments redacted. A rule that looks at a field that was masked
 * cannot be answered: the call is *undecidable*, and the field is named. So is a
 * call whose principal was forgotten, unless the name of its tool decides.
 */
import type * as Tool from "effect/ai/Tool"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { AuditRecord } from "./AuditLog.ts"
import * as Budget from "./Budget.ts"
import * as ArgumentPath from "./internal/argumentPath.ts"
import { toolDigest } from "./internal/digest.ts"
import * as LoopDetector from "./LoopDetector.ts"
import * as Permissions from "./Permissions.ts"
import * as Principal from "./Principal.ts"
import * as RateLimits from "./RateLimits.ts"
import * as Run from "./Run.ts"
import * as SecurityPolicy from "./SecurityPolicy.ts"
import * as ToolAnnotations from "./ToolAnnotations.ts"
import type { Status } from "./ToolError.ts"
import * as Verdict from "./Verdict.ts"

// --- Models ----------------------------------------------------------------

/** What is tried out; whatever is absent stays as it was decided then. */
export interface Candidate extends SecurityPolicy.Ruleset {
  readonly permissions?: Permissions.Options
  readonly rateLimits?: ReadonlyArray<RateLimits.Limit>
  readonly budget?: ReadonlyArray<Budget.Limit>
  readonly loops?: LoopDetector.Options
}

export interface Options {
  /** The tools as they are now. */
  readonly tools: ReadonlyArray<Tool.Any>
  /** Roles and capabilities, which the log does not keep; without it, calls that permissions decide on are undecidable. */
  readonly principal?: (id: string, tenant: string | undefined) => Principal.Principal | undefined
}

export type Decision = "allow" | "confirm" | "approve" | "deny"

export interface ReplayedCall {
  readonly sequence: number
  /** Milliseconds since the epoch. */
  readonly time: number
  readonly callId: string | undefined
  readonly tool: string
  readonly principal: string | undefined
  readonly before: Decision
  readonly result: "same" | "changed" | "undecidable"
  /** What the candidate says; `undefined` where it cannot be told. */
  readonly after: Decision | undefined
  /** Why the candidate says so, or what could not be looked at. */
  readonly why: ReadonlyArray<string>
}

export interface Replayed {
  readonly calls: ReadonlyArray<ReplayedCall>
  readonly same: number
  readonly changed: number
  readonly undecidable: number
}

// --- Before ----------------------------------------------------------------

const denied: ReadonlySet<string | undefined> = new Set<Status>([
  "permission_denied",
  "policy_denied",
  "rate_limited",
  "budget_exceeded",
  "killed"
])

const severity = { allow: 0, confirm: 1, approve: 2, deny: 3 } as const

/** What was decided then: the strongest that a stage said, and a refusal by governance. */
const before = (record: AuditRecord): Decision => {
  if (denied.has(record.status)) return "deny"
  let decision: Decision = "allow"
  for (const { shadow, verdict } of record.verdicts ?? []) {
    if (shadow === true || verdict === "flag") continue
    if (severity[verdict] > severity[decision]) decision = verdict
  }
  return decision === "allow" && record.status === "pending_confirmation" ? "confirm" : decision
}

// --- After -----------------------------------------------------------------

type After =
  | { readonly decision: Decision; readonly why: ReadonlyArray<string> }
  | { readonly unknown: ReadonlyArray<string> }

const decided = (decision: Decision, ...why: ReadonlyArray<string>): After => ({ decision, why })

/** What of the candidate counts and remembers, fed in the order of time. */
interface World {
  readonly tools: ReadonlyMap<string, Known>
  readonly permissions: Permissions.Permissions["Service"] | undefined
  readonly limits: RateLimits.RateLimits["Service"] | undefined
  readonly budget: Budget.Budget["Service"] | undefined
  readonly loops: LoopDetector.LoopDetector["Service"] | undefined
  readonly runs: Map<string, Run.Run>
  readonly principal: Options["principal"]
}

interface Known {
  readonly facts: ToolAnnotations.ToolFacts
  readonly rules: Omit<SecurityPolicy.ToolRules, "shadow">
}

const after = Effect.fnUntraced(function* (
  world: World,
  record: AuditRecord
): Effect.fn.Return<After, unknown, never> {
  const tool = world.tools.get(record.tool ?? "")
  if (tool === undefined) return { unknown: ["the tool, which there is no more"] }
  const { facts, rules } = tool
  const personal = record.personal === "forgotten" ? undefined : record.personal
  const caller = personal?.principal === undefined ? undefined : principalOf(world, personal)

  if (world.permissions === undefined) {
    if (record.status === "permission_denied") return decided("deny", "permissions: as then")
  } else {
    const needsNothing = facts.capabilities !== undefined && facts.capabilities.length === 0
    if (caller === undefined && !needsNothing) return { unknown: ["the principal's capabilities"] }
    const access = yield* world.permissions.check(caller ?? Principal.anonymous, facts)
    if (access._tag === "Refused") return decided("deny", `permissions: ${access.message}`)
  }

  if (rules.byName._tag === "Deny") return decided("deny", ...messages(rules.byName))
  const masked = new Set<string>()
  if (rules.byArguments !== undefined && personal === undefined) return { unknown: ["the arguments"] }
  const raw = tracked(personal?.arguments, personal?.masked ?? [], masked)
  const byArguments = rules.byArguments?.(raw, caller ?? Principal.anonymous) ?? Verdict.allow
  if (masked.size > 0) return { unknown: [...masked] }
  const verdict = Verdict.combine(rules.byName, byArguments)
  if (verdict._tag === "Deny") return decided("deny", ...messages(verdict))

  const counted = yield* count(world, record, tool, caller)
  return counted ?? decided(words[verdict._tag], ...messages(verdict))
})

const words = { Allow: "allow", Confirm: "confirm", Approve: "approve", Deny: "deny" } as const

const messages = (verdict: Verdict.Verdict): ReadonlyArray<string> =>
  Verdict.reasonsOf(verdict).map(({ message, rule }) => `${rule}: ${message}`)

/** Limits, loops and budgets on recorded time: a call that they refuse counts for none of the later ones. */
const count = Effect.fnUntraced(function* (
  world: World,
  record: AuditRecord,
  { facts }: Known,
  caller: Principal.Principal | undefined
): Effect.fn.Return<After | undefined, unknown, never> {
  const ran = (record.attempts ?? 0) > 0
  const principal = caller ?? Principal.make({ id: record.alias })
  if (world.limits === undefined) {
    if (record.status === "rate_limited") return decided("deny", "rate limit: as then")
  } else {
    const limits = world.limits.forTool(facts, "call")
    const call = { tool: facts, principal, params: undefined, metadata: undefined }
    const refusal = yield* limits?.peek(call, record.time) ?? Effect.succeed(undefined)
    if (refusal !== undefined) return decided("deny", `rate limit: "${refusal.limit}"`)
    yield* limits?.charge(call, record.time) ?? Effect.void
  }
  if (world.loops === undefined) {
    if (record.code === "LOOP_DETECTED") return decided("deny", "loops: as then")
  } else if (record.run !== undefined && isModels(record)) {
    const run = world.runs.get(record.run) ?? Run.make({ id: record.run, driver: "model" })
    world.runs.set(record.run, run)
    // Equal arguments have equal hashes, and that is all a loop is made of.
    const call = { tool: facts.name, params: record.argumentsHash }
    const loop = world.loops.check(run, call)
    if (loop !== undefined) {
      world.loops.refused(run, call)
      return decided("deny", `loops: ${loop.message}`)
    }
    const encoded = record.personal === "forgotten" ? undefined : record.personal.result
    if (ran) {
      world.loops.ended(run, call, record.code === undefined ? { encoded } : { code: record.code, encoded })
    }
  }
  if (world.budget === undefined) {
    if (record.status === "budget_exceeded") return decided("deny", "budget: as then")
  } else if (record.cost !== undefined) {
    const reserved = yield* world.budget.reserve(
      {
        callId: record.callId ?? "",
        tool: facts,
        principal,
        run: record.run === undefined ? undefined : Run.make({ id: record.run }),
        amounts: record.cost,
        expiresAt: Number.MAX_SAFE_INTEGER
      },
      record.time
    )
    if ("_tag" in reserved) return decided("deny", `budget: "${reserved.limit}"`)
    yield* world.budget.settle(reserved, record.cost, record.time)
  }
  return undefined
})

const isModels = ({ personal }: AuditRecord): boolean =>
  personal !== "forgotten" && personal.actor?.kind === "model"

const principalOf = (
  { principal }: World,
  personal: { readonly principal?: string | undefined; readonly tenant?: string | undefined }
): Principal.Principal | undefined => principal?.(personal.principal ?? "", personal.tenant)

/** The arguments, in which whoever reads a masked field leaves a note. */
const tracked = (
  value: unknown,
  masked: ReadonlyArray<{ readonly path: string }>,
  seen: Set<string>
): unknown => {
  if (masked.length === 0) return value
  const paths = new Set(masked.map(({ path }) => path))
  const copy = (part: unknown, path: ReadonlyArray<string | number>): unknown => {
    if (part === null || typeof part !== "object") return part
    const target: Record<string, unknown> | Array<unknown> = Array.isArray(part) ? [] : {}
    for (const [key, item] of Object.entries(part)) {
      const here = [...path, Array.isArray(part) ? Number(key) : key]
      const name = ArgumentPath.format(here)
      Object.defineProperty(target, key, {
        enumerable: true,
        ...(paths.has(name)
          ? {
              get: () => {
                seen.add(name)
                return item
              }
            }
          : { value: copy(item, here) })
      })
    }
    return target
  }
  return copy(value, [])
}

// --- Operations ------------------------------------------------------------

/** Decides past calls again; records of other kinds are passed over. Dies with a `PolicyError` where the candidate's policy is not valid. */
export const run = (
  records: Iterable<AuditRecord>,
  candidate: Candidate,
  options: Options
): Effect.Effect<Replayed> =>
  Effect.scoped(
    Effect.gen(function* () {
      const world = yield* open(candidate, options)
      const calls: Array<ReplayedCall> = []
      const outcomes = [...records].filter(({ phase }) => phase === "outcome")
      for (const record of outcomes.sort((a, b) => a.sequence - b.sequence)) {
        // In memory nothing is ever unavailable.
        const then = yield* Effect.orDie(after(world, record))
        calls.push(compare(record, then))
      }
      const of = (result: ReplayedCall["result"]) => calls.filter((call) => call.result === result).length
      return { calls, same: of("same"), changed: of("changed"), undecidable: of("undecidable") }
    })
  )

const compare = (record: AuditRecord, then: After): ReplayedCall => {
  const known = {
    sequence: record.sequence,
    time: record.time,
    callId: record.callId,
    tool: record.tool ?? "",
    principal: record.personal === "forgotten" ? undefined : record.personal.principal,
    before: before(record)
  }
  if ("unknown" in then) return { ...known, result: "undecidable", after: undefined, why: then.unknown }
  const result = then.decision === known.before ? "same" : "changed"
  return { ...known, result, after: then.decision, why: then.why }
}

const open = Effect.fnUntraced(function* (
  candidate: Candidate,
  options: Options
): Effect.fn.Return<World, never, Scope.Scope> {
  const rulesOf = yield* SecurityPolicy.rulesOf(candidate)
  const tools = new Map<string, Known>()
  for (const tool of options.tools) {
    const facts = ToolAnnotations.read(tool)
    tools.set(facts.name, { facts, rules: rulesOf(facts, toolDigest(facts)) })
  }
  return {
    tools,
    permissions: candidate.permissions === undefined ? undefined : Permissions.make(candidate.permissions),
    limits: candidate.rateLimits === undefined ? undefined : RateLimits.make(candidate.rateLimits),
    budget: candidate.budget === undefined ? undefined : yield* Budget.make(candidate.budget),
    loops: candidate.loops === undefined ? undefined : LoopDetector.make(candidate.loops),
    runs: new Map(),
    principal: options.principal
  }
})

/** The calls that would have come out otherwise, or cannot be told, as a table for a terminal. */
export const format = ({ calls, changed, same, undecidable }: Replayed): string => {
  const rows = calls
    .filter(({ result }) => result !== "same")
    .map(({ after, before, principal, sequence, tool, why }) => [
      `${sequence}`,
      tool,
      principal ?? "(forgotten)",
      `${before} → ${after ?? "?"}`,
      why.join("; ")
    ])
  const heads = ["record", "tool", "principal", "decision", "why"]
  const widths = heads.map((head, column) =>
    Math.max(head.length, ...rows.map((row) => (row[column] as string).length))
  )
  const line = (cells: ReadonlyArray<string>) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] as number))
      .join("  ")
      .trimEnd()
  const total = `${same} same, ${changed} changed, ${undecidable} undecidable`
  return rows.length === 0 ? total : [line(heads), ...rows.map(line), total].join("\n")
}
