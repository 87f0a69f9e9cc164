/**
 * What may run, said as data: globs over tool names, domains, limits on
 * arguments; and an application's own pure rules beside them.
 *
 * Precedence, said once:
 *
 * 1. A `deny` glob wins over everything.
 * 2. With `default: "deny"`, a tool is denied unless an `allow`,
 *    `requireConfirmation` or `requireApproval` glob matches it.
 * 3. A domain that is denied, or not among the allowed ones, denies; so does a
 *    rule that says so, or that throws.
 * 4. `requireApproval`, a rule and the tool's own annotation may ask for approval.
 * 5. A tool whose definition is not the pinned one is denied, or as
 *    `changedTools` says.
 * 6. `requireConfirmation`, a rule and the tool's own annotation may ask for
 *    confirmation; the glob asks for approval where the tool has the capability
 *    `financial` or `delete_data`. The annotation is taken as given.
 *
 * `allow` never loosens another list. Globs match the exposed and the upstream
 * name of a tool, without regard to case.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { type ArgumentLimits, defaults } from "./internal/argumentLimits.ts"
import * as ArgumentPath from "./internal/argumentPath.ts"
import { digest } from "./internal/digest.ts"
import * as Domains from "./internal/domains.ts"
import * as Glob from "./internal/glob.ts"
import { hostPaths } from "./internal/hostPaths.ts"
import * as Hosts from "./internal/hosts.ts"
import type { Principal } from "./Principal.ts"
import type { ToolFacts } from "./ToolAnnotations.ts"
import * as Verdict from "./Verdict.ts"

export type { ArgumentLimits }

// --- Policy ----------------------------------------------------------------

const Globs = Schema.Array(
  Schema.String.check(
    Schema.makeFilter((glob: string) => (glob.trim() === "" ? "must not be empty" : undefined))
  )
)

const DomainPatterns = Schema.Array(
  Schema.String.check(Schema.makeFilter((pattern: string) => Domains.problem(pattern)))
)

const atMost = (maximum: number) =>
  Schema.Number.check(
    Schema.makeFilter((n: number) =>
      Number.isInteger(n) && n >= 1 && n <= maximum
        ? undefined
        : `must be a whole number from 1 to ${maximum}`
    )
  )

/** A security policy as data: every field is optional, and an empty policy allows every call within the default limits. */
export const Policy = Schema.Struct({
  /** What becomes of a tool that no glob names; `"allow"` by default. */
  default: Schema.optionalKey(
    Schema.Literals(["allow", "deny"]).annotate({ message: `must be "allow" or "deny"` })
  ),
  /** Globs over tool names. Only with `default: "deny"` do they change anything. */
  allow: Schema.optionalKey(Globs),
  deny: Schema.optionalKey(Globs),
  requireConfirmation: Schema.optionalKey(Globs),
  requireApproval: Schema.optionalKey(Globs),
  /** Hosts that arguments may name: `example.com`, `*.example.com` (not the apex), addresses, ranges. None by default: every host. */
  allowedDomains: Schema.optionalKey(DomainPatterns),
  /** Hosts that arguments must not name; wins over `allowedDomains`. */
  deniedDomains: Schema.optionalKey(DomainPatterns),
  /**
   * The digest each tool had when it was looked at (`ToolFacts` of a changed definition have another): what such a tool
   * says of itself is not believed any more. Names are exact.
   */
  pins: Schema.optionalKey(Schema.Record(Schema.String, Schema.NonEmptyString)),
  /** What becomes of a tool whose definition is not the pinned one; `"deny"` by default, `"flag"` only records it. */
  changedTools: Schema.optionalKey(
    Schema.Literals(["deny", "approve", "confirm", "flag"]).annotate({
      message: `must be "deny", "approve", "confirm" or "flag"`
    })
  ),
  /** Replaces the defaults: 1 MiB, 32 levels, 262,144 characters a string, 10,000 items. */
  argumentLimits: Schema.optionalKey(
    Schema.Struct({
      bytes: Schema.optionalKey(atMost(Number.MAX_SAFE_INTEGER)),
      // What reads arguments later is recursive and would overflow far beyond this.
      depth: Schema.optionalKey(atMost(1000)),
      stringLength: Schema.optionalKey(atMost(Number.MAX_SAFE_INTEGER)),
      items: Schema.optionalKey(atMost(Number.MAX_SAFE_INTEGER))
    })
  )
})
export type Policy = typeof Policy.Type

/** A policy that cannot be used; every problem is listed with its field. */
export class PolicyError extends Schema.TaggedError<PolicyError>("interlock/PolicyError")("PolicyError", {
  problems: Schema.Array(Schema.Struct({ field: Schema.String, message: Schema.String }))
}) {
  override get message(): string {
    return `The security policy is not valid: ${this.problems.map((problem) => problem.message).join("; ")}`
  }
}

/** Decodes a policy from JSON data. Unknown fields and patterns that match nothing are errors. */
export const decode = (json: unknown): Effect.Effect<Policy, PolicyError> =>
  Effect.suspend(() => {
    const result = decodeResult(json)
    return Result.isSuccess(result)
      ? Effect.succeed(result.success)
      : Effect.fail(toPolicyError(result.failure.issue))
  })

const decodeResult = Schema.decodeUnknownResult(Policy, { errors: "all", onExcessProperty: "error" })

const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) => {
    switch (issue._tag) {
      case "UnexpectedKey":
        return "is not a field of a security policy"
      case "InvalidType":
        return `must be ${expectation[issue.ast._tag] ?? "of another type"}`
      default:
        return SchemaIssue.defaultLeafHook(issue)
    }
  }
})

const expectation: Readonly<Record<string, string>> = {
  Objects: "an object",
  Arrays: "a list",
  String: "a text",
  Number: "a number"
}

const toPolicyError = (issue: SchemaIssue.Issue): PolicyError =>
  new PolicyError({
    problems: formatIssue(issue).issues.map(({ message, path = [] }) => {
      const field = ArgumentPath.format(path.map((key) => (typeof key === "number" ? key : String(key))))
      return { field, message: `${field === "" ? "it" : `"${field}"`} ${message}` }
    })
  })

// --- Rules -----------------------------------------------------------------

/** A rule of the application: pure, quick, and over one call. One that throws denies. */
export interface Rule {
  readonly name: string
  /** Only for tools that one of these globs names, for all by default: other tools' calls never ask it. */
  readonly tools?: ReadonlyArray<Glob.Glob>
  readonly decide: (call: {
    readonly tool: ToolFacts
    readonly principal: Principal
    /** As they came; and again decoded, where decoding may have changed them. */
    readonly params: unknown
  }) => Verdict.Verdict
}

/** What a policy says about one tool, worked out once. */
export interface ToolRules {
  /** By name and annotations alone. */
  readonly byName: Verdict.Verdict
  readonly limits: ArgumentLimits
  /** By the arguments, raw or decoded; `undefined` when no rule looks at them. Never throws. */
  readonly byArguments: ((params: unknown, principal: Principal) => Verdict.Verdict) | undefined
  /** What is worth recording and changes nothing. */
  readonly flags: ReadonlyArray<Verdict.Reason>
  /** Digest of everything above: an approval is bound to it. A rule of the application counts by its name and its source. */
  readonly digest: string
  /** What the policy in shadow says: recorded where it says something else, never enforced. */
  readonly shadow: Omit<ToolRules, "shadow"> | undefined
}

/** The verdict on a tool by its names, capabilities and annotation. */
const byName = ({ globs, policy }: Prepared, tool: ToolFacts): Verdict.Verdict => {
  const denied = globs.deny.find(tool.names)
  if (denied !== undefined) return Verdict.deny(`deny "${denied}"`, `The security policy denies this tool.`)
  const confirm = globs.requireConfirmation.find(tool.names)
  const approve = globs.requireApproval.find(tool.names)
  if (
    policy.default === "deny" &&
    confirm === undefined &&
    approve === undefined &&
    globs.allow.find(tool.names) === undefined
  ) {
    return Verdict.deny(`default "deny"`, "The security policy allows only the tools that it names.")
  }
  const verdicts: Array<Verdict.Verdict> = []
  if (confirm !== undefined) {
    const grave = tool.capabilities?.find(
      (capability) => capability === "financial" || capability === "delete_data"
    )
    const rule = `requireConfirmation "${confirm}"`
    verdicts.push(
      grave === undefined
        ? Verdict.confirm(rule, "The security policy asks for a confirmation of every call of this tool.")
        : Verdict.approve(
            rule,
            `The security policy asks for an approval of every call of this tool, because it has the capability ${grave}.`
          )
    )
  }
  if (approve !== undefined) {
    verdicts.push(
      Verdict.approve(
        `requireApproval "${approve}"`,
        "The security policy asks for an approval of every call of this tool."
      )
    )
  }
  if (tool.confirmation === "confirm") {
    verdicts.push(
      Verdict.confirm(`confirmation "confirm"`, "The tool asks for a confirmation of every call.")
    )
  }
  if (tool.confirmation === "approve") {
    verdicts.push(Verdict.approve(`confirmation "approve"`, "The tool asks for an approval of every call."))
  }
  return Verdict.combineAll(verdicts)
}

/** The verdict on a tool whose definition is not the one that was pinned. */
const byPin = (
  { changedTools = "deny", pins }: Policy,
  tool: ToolFacts,
  toolDigest: string
): { readonly verdict: Verdict.Verdict; readonly flags: ReadonlyArray<Verdict.Reason> } => {
  const pin = pins !== undefined && Object.hasOwn(pins, tool.name) ? pins[tool.name] : undefined
  if (pin === undefined || pin === toolDigest) return { verdict: Verdict.allow, flags: [] }
  const message = "The definition of this tool has changed since it was pinned."
  return changedTools === "flag"
    ? { verdict: Verdict.allow, flags: [{ rule: "pins", message }] }
    : { verdict: whenChanged[changedTools]("pins", message), flags: [] }
}

const whenChanged = { deny: Verdict.deny, approve: Verdict.approve, confirm: Verdict.confirm }

const domainVerdict = ({ host, path, rule }: Domains.Violation): Verdict.Verdict => {
  const place = path === "" ? "the arguments" : `"${path}"`
  if (host === Hosts.unreadable) return Verdict.deny(rule, `The host of a URL in ${place} cannot be read.`)
  const problem = rule === "deniedDomains" ? "denied" : "not among the allowed domains"
  return Verdict.deny(rule, `The host ${host} in ${place} is ${problem}.`)
}

/** Rules also come from JavaScript: a promise, or nothing at all, is no verdict. */
const tags: ReadonlySet<string> = new Set<Verdict.Verdict["_tag"]>(["Allow", "Confirm", "Approve", "Deny"])

/** Asks a rule; whatever goes wrong in it denies, and says no more than its name. */
const ask = (rule: Rule, call: Parameters<Rule["decide"]>[0]): Verdict.Verdict => {
  try {
    const verdict = rule.decide(call)
    if (tags.has(verdict._tag)) return verdict
  } catch {
    // Its message may hold an argument's value.
  }
  return undecided(rule.name)
}

const undecided = (rule: string): Verdict.Verdict =>
  Verdict.deny(rule, `The rule "${rule}" could not decide, so the call is refused.`)

// --- Service ---------------------------------------------------------------

/** The security policy in force. */
export class SecurityPolicy extends Context.Service<
  SecurityPolicy,
  {
    readonly policy: Effect.Effect<Policy>
    /** Puts another policy in force, from the next call on; dies with a `PolicyError` when it is not valid. */
    readonly set: (policy: Policy) => Effect.Effect<void>
    /** Puts a policy in shadow: what it would say is recorded, what is in force is enforced. `undefined` takes it out. */
    readonly setShadow: (shadow: Ruleset | undefined) => Effect.Effect<void>
    /** Moves with every change: rules compiled before are stale. */
    readonly version: () => number
    /** What the policy says about a tool of this digest; to be kept until `version` moves. */
    readonly compile: (tool: ToolFacts, toolDigest: string) => ToolRules
  }
>()("interlock/SecurityPolicy") {}

/** A policy and the application's own rules beside it. */
export interface Ruleset {
  readonly policy?: Policy
  readonly rules?: ReadonlyArray<Rule>
}

export interface Options {
  readonly rules?: ReadonlyArray<Rule>
  /** A candidate to learn from before it is enforced. */
  readonly shadow?: Ruleset
}

/** A security policy held in memory; dies with a `PolicyError` when it is not valid. */
export const make = Effect.fnUntraced(function* (
  policy: Policy = {},
  options: Options = {}
): Effect.fn.Return<SecurityPolicy["Service"]> {
  const rules = options.rules ?? []
  let current = prepare(yield* Effect.orDie(decode(policy)), rules)
  let shadow = yield* prepareShadow(options.shadow)
  let version = 0
  return {
    policy: Effect.sync(() => current.policy),
    set: (policy) =>
      Effect.map(Effect.orDie(decode(policy)), (valid) => {
        current = prepare(valid, rules)
        version++
      }),
    setShadow: (candidate) =>
      Effect.map(prepareShadow(candidate), (prepared) => {
        shadow = prepared
        version++
      }),
    version: () => version,
    compile: (tool, toolDigest) => ({
      ...compile(current, tool, toolDigest),
      shadow: shadow === undefined ? undefined : compile(shadow, tool, toolDigest)
    })
  }
})

const prepareShadow = (shadow: Ruleset | undefined): Effect.Effect<Prepared | undefined> =>
  shadow === undefined
    ? Effect.succeed(undefined)
    : Effect.map(Effect.orDie(decode(shadow.policy ?? {})), (policy) => prepare(policy, shadow.rules ?? []))

/** What a ruleset says about a tool, for whoever compares two of them. Dies with a `PolicyError` when it is not valid. */
export const rulesOf = (
  ruleset: Ruleset
): Effect.Effect<(tool: ToolFacts, toolDigest: string) => Omit<ToolRules, "shadow">> =>
  Effect.map(Effect.orDie(decode(ruleset.policy ?? {})), (policy) => {
    const prepared = prepare(policy, ruleset.rules ?? [])
    return (tool, toolDigest) => compile(prepared, tool, toolDigest)
  })

/** Provides a `SecurityPolicy` in memory; by default one that allows every call within the default limits. */
export const layer = (policy?: Policy, options?: Options): Layer.Layer<SecurityPolicy> =>
  Layer.effect(SecurityPolicy, make(policy, options))

/** A policy with what does not depend on the tool, so that ten thousand rules are looked through once and not per tool. */
interface Prepared {
  readonly policy: Policy
  readonly globs: {
    readonly [List in "allow" | "deny" | "requireConfirmation" | "requireApproval"]: Glob.Index
  }
  readonly limits: ArgumentLimits
  readonly domains: ReturnType<typeof Domains.compile> | undefined
  readonly rulesFor: (tool: ToolFacts) => ReadonlyArray<Rule>
  /** Digest of all that is the same for every tool. */
  readonly digest: string
}

const prepare = (policy: Policy, rules: ReadonlyArray<Rule>): Prepared => {
  const limits = { ...defaults, ...policy.argumentLimits }
  const domains =
    policy.allowedDomains === undefined && (policy.deniedDomains ?? []).length === 0
      ? undefined
      : Domains.compile({ allowed: policy.allowedDomains, denied: policy.deniedDomains })
  return {
    policy,
    globs: {
      allow: new Glob.Index(policy.allow ?? []),
      deny: new Glob.Index(policy.deny ?? []),
      requireConfirmation: new Glob.Index(policy.requireConfirmation ?? []),
      requireApproval: new Glob.Index(policy.requireApproval ?? [])
    },
    limits,
    domains,
    rulesFor: selector(rules),
    digest: digest({
      limits,
      allowedDomains: domains === undefined ? undefined : policy.allowedDomains,
      deniedDomains: domains === undefined ? undefined : policy.deniedDomains,
      rules: rules.filter(({ tools }) => tools === undefined).map(sourceOf)
    })
  }
}

const sourceOf = ({ decide, name }: Rule): ReadonlyArray<string> => [name, String(decide)]

/** The rules of a tool, in the order of all of them. */
const selector = (rules: ReadonlyArray<Rule>): Prepared["rulesFor"] => {
  if (rules.every(({ tools }) => tools === undefined)) return () => rules
  const named = rules.flatMap(({ tools = [] }, place) => tools.map((glob) => ({ glob, place })))
  const everywhere = [...rules.keys()].filter((place) => rules[place]!.tools === undefined)
  const index = new Glob.Index(named.map(({ glob }) => glob))
  return ({ names }) => {
    const places = new Set(everywhere)
    for (const found of index.places(names)) places.add(named[found]!.place)
    return [...places].sort((a, b) => a - b).map((place) => rules[place]!)
  }
}

const compile = (prepared: Prepared, tool: ToolFacts, toolDigest: string): Omit<ToolRules, "shadow"> => {
  const { domains, limits, policy } = prepared
  const pinned = byPin(policy, tool, toolDigest)
  const named = Verdict.combine(byName(prepared, tool), pinned.verdict)
  const rules = prepared.rulesFor(tool)
  return {
    byName: named,
    limits,
    flags: pinned.flags,
    digest: digest({
      byName: named,
      common: prepared.digest,
      rules: rules.filter(({ tools }) => tools !== undefined).map(sourceOf)
    }),
    byArguments: byArguments(domains === undefined ? undefined : byDomains(domains, tool), rules, tool)
  }
}

const byArguments = (
  domains: ((params: unknown) => Verdict.Verdict) | undefined,
  rules: ReadonlyArray<Rule>,
  tool: ToolFacts
): ToolRules["byArguments"] => {
  if (rules.length === 0) return domains
  return (params, principal) => {
    let verdict = domains === undefined ? Verdict.allow : domains(params)
    for (const rule of rules) {
      if (verdict._tag === "Deny") break
      verdict = Verdict.combine(verdict, ask(rule, { tool, principal, params }))
    }
    return verdict
  }
}

const byDomains = (
  domains: ReturnType<typeof Domains.compile>,
  { tool: { parametersSchema } }: ToolFacts
): ((params: unknown) => Verdict.Verdict) => {
  const hosts = Schema.isSchema(parametersSchema) ? hostPaths(parametersSchema.ast) : []
  return (params) => {
    try {
      const violation = domains(params, hosts)
      return violation === undefined ? Verdict.allow : domainVerdict(violation)
    } catch {
      return undecided("allowedDomains")
    }
  }
}
