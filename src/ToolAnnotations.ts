/**
 * What a tool says about itself, as annotations on `effect/ai`'s `Tool`.
 *
 * Presence is read without defaults: a tool that says nothing about a property
 * is a third state, `undefined`, neither yes nor no. `Tool.Readonly`,
 * `Destructive`, `Idempotent` and `OpenWorld` are Effect's own and are read
 * here, not duplicated.
 */
import * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type { Capability } from "./Capability.ts"
import type { ErrorClass } from "./ToolError.ts"

/** What the tool needs; `[]` says that it needs nothing. */
export class Capabilities extends Context.Service<Capabilities, ReadonlyArray<Capability>>()(
  "interlock/ToolAnnotations/Capabilities"
) {}

/** A human decides before every call: the one on whose behalf it is made, or another. */
export class Confirmation extends Context.Service<Confirmation, "confirm" | "approve">()(
  "interlock/ToolAnnotations/Confirmation"
) {}

/** How long one attempt may take. */
export class Timeout extends Context.Service<Timeout, Duration.Input>()(
  "interlock/ToolAnnotations/Timeout"
) {}

/** Retries after the first attempt; 0 means none. */
export class Retries extends Context.Service<Retries, number>()("interlock/ToolAnnotations/Retries") {}

/** What an error of the tool is, and when to try again where it says so. */
export interface Classification {
  readonly class: ErrorClass
  readonly retryAfter?: Duration.Input | undefined
}

/** Classifies the tool's own failures and what its handler throws; `undefined` leaves it to the defaults. */
export class Classify extends Context.Service<Classify, (error: unknown) => Classification | undefined>()(
  "interlock/ToolAnnotations/Classify"
) {}

/** Whole amounts by unit; `usd` is counted in millionths. */
export type Amounts = Readonly<Record<string, number>>

/** An upper bound of what one attempt costs: a number is millionths of a dollar, and a function sees the decoded parameters. */
export class Cost extends Context.Service<Cost, number | Amounts | ((params: unknown) => number | Amounts)>()(
  "interlock/ToolAnnotations/Cost"
) {}

/** Whether what the tool returns may be believed: the output of an untrusted one taints the run it is part of. */
export class Trust extends Context.Service<Trust, "trusted" | "untrusted">()(
  "interlock/ToolAnnotations/Trust"
) {}

/** Whether a call spends money; without it, the capability `financial` says so. */
export class Spends extends Context.Service<Spends, boolean>()("interlock/ToolAnnotations/Spends") {}

/**
 * Whether data can leave by a call: in a message, a request, even in the address of a page that is only read. Without
 * it, `Tool.OpenWorld` and the capabilities `network_access` and `external_api` say so.
 */
export class SendsData extends Context.Service<SendsData, boolean>()("interlock/ToolAnnotations/SendsData") {}

/** How results may be kept and given again. */
export interface CacheOptions {
  /** How long a result stands; 1 hour. */
  readonly ttl?: Duration.Input
  /** Who shares results: nobody else (`principal`, the default) or everyone of the tenant. */
  readonly within?: "principal" | "tenant"
}

/** The result depends on nothing but the arguments and whoever asks: it may be given again without a run. */
export class Cache extends Context.Service<Cache, CacheOptions>()("interlock/ToolAnnotations/Cache") {}

/**
 * What a repeated call with the same idempotency key comes to when whoever ran it first died before its outcome was
 * recorded: run it again, ask a human, or end as `unknown`. Default: `retry` for tools that are read-only or
 * idempotent, else `unknown`.
 */
export class AfterCrash extends Context.Service<AfterCrash, "retry" | "ask" | "unknown">()(
  "interlock/ToolAnnotations/AfterCrash"
) {}

/** How much harm a wrong call can do, for whoever is asked about it; worked out from the other annotations without it. */
export type RiskLevel = "low" | "medium" | "high" | "critical"
export class Risk extends Context.Service<Risk, RiskLevel>()("interlock/ToolAnnotations/Risk") {}

/** Whether a batch can do without the tool's result; a call may say otherwise. */
export class Importance extends Context.Service<Importance, "critical" | "optional">()(
  "interlock/ToolAnnotations/Importance"
) {}

/** What answers when the tool cannot. */
export type FallbackSource =
  /** A value of the tool's success type. */
  | { readonly value: unknown }
  /** Another tool of the same executor, called anew through the whole pipeline. */
  | { readonly tool: string; readonly params?: (params: unknown) => unknown }
  /** The last success of the same tool for the same tenant, principal and arguments, if it is no older than this. */
  | { readonly lastGood: Duration.Input }

/** What answers, marked `degraded`, when the tool is unavailable or fails. */
export class Fallback extends Context.Service<Fallback, FallbackSource>()(
  "interlock/ToolAnnotations/Fallback"
) {}

/** Labels that limits, lists and switches select by. */
export class Tags extends Context.Service<Tags, ReadonlyArray<string>>()("interlock/ToolAnnotations/Tags") {}

/** The name at the place the tool comes from; without it, what follows the first and the last `__`. Globs match them all. */
export class UpstreamName extends Context.Service<UpstreamName, string>()(
  "interlock/ToolAnnotations/UpstreamName"
) {}

/** Lets parameters through that the schema does not name; they are dropped by decoding. */
export class UnknownParams extends Context.Service<UnknownParams, "allow">()(
  "interlock/ToolAnnotations/UnknownParams"
) {}

/** How many calls of the tool run at once, and how many may wait. */
export interface BulkheadOptions {
  readonly maxConcurrent: number
  /** Beyond it a call is `overloaded`; default 0. */
  readonly maxQueue?: number
}

export class Bulkhead extends Context.Service<Bulkhead, BulkheadOptions>()(
  "interlock/ToolAnnotations/Bulkhead"
) {}

/** The circuit the tool shares with others that fail together; its own name by default. `false`: none. */
export class Circuit extends Context.Service<Circuit, string | false>()(
  "interlock/ToolAnnotations/Circuit"
) {}

/** Marks a string field whose whole value is a host or a URL: `Schema.String.annotate(ToolAnnotations.host)`. */
export const host = { "interlock/host": true } as const

/** Marks a field that no record, log or message may show: `Schema.String.annotate(ToolAnnotations.sensitive)`. */
export const sensitive = { "interlock/sensitive": true } as const

/** What screening refuses in a string field, where elsewhere it only flags it. */
export type Screen = "sql" | "script" | "html" | "path"

/** Marks a string field whose value is screened: `Schema.String.annotate(ToolAnnotations.screened("sql", "html"))`. */
export const screened = (...screens: ReadonlyArray<Screen>) => ({ "interlock/screened": screens }) as const

/** Everything a tool says that governance reads, in one plain value. */
export interface ToolFacts {
  readonly name: string
  /** The exposed and, where there is one, the upstream name. */
  readonly names: ReadonlyArray<string>
  readonly description: string | undefined
  readonly tags: ReadonlyArray<string>
  readonly capabilities: ReadonlyArray<Capability> | undefined
  readonly confirmation: "confirm" | "approve" | undefined
  readonly readonly: boolean | undefined
  readonly destructive: boolean | undefined
  readonly idempotent: boolean | undefined
  readonly openWorld: boolean | undefined
  readonly trust: "trusted" | "untrusted" | undefined
  readonly spends: boolean | undefined
  readonly sendsData: boolean | undefined
  readonly risk: RiskLevel
  readonly importance: "critical" | "optional" | undefined
  readonly bulkhead: BulkheadOptions | undefined
  readonly tool: Tool.Any
}

/** Reads a tool. */
export const read = (tool: Tool.Any): ToolFacts => {
  const get = <I, S>(key: Context.Key<I, S>): S | undefined =>
    Context.getOrUndefined(tool.annotations as Context.Context<never>, key)
  const capabilities = get(Capabilities)
  const declares = (...wanted: ReadonlyArray<Capability>): true | undefined =>
    capabilities?.some((capability) => wanted.includes(capability)) ? true : undefined
  const openWorld = get(Tool.OpenWorld)
  const harm = {
    readonly: get(Tool.Readonly),
    // Whoever runs code of its choice can destroy whatever the code can reach.
    destructive: get(Tool.Destructive) ?? declares("delete_data", "execute_code"),
    spends: get(Spends) ?? declares("financial"),
    sendsData: get(SendsData) ?? (openWorld === true ? true : declares("network_access", "external_api"))
  }
  return {
    ...harm,
    name: tool.name,
    names: namesOf(tool.name, get(UpstreamName)),
    description: Tool.getDescription(tool),
    tags: get(Tags) ?? [],
    capabilities,
    confirmation: get(Confirmation),
    idempotent: get(Tool.Idempotent),
    openWorld,
    trust: get(Trust),
    risk: get(Risk) ?? riskOf(harm, declares),
    importance: get(Importance),
    bulkhead: get(Bulkhead),
    tool
  }
}

// The worst that is declared; a tool that declares nothing is no better than one that writes.
const riskOf = (
  harm: Pick<ToolFacts, "readonly" | "destructive" | "spends" | "sendsData">,
  declares: (...wanted: ReadonlyArray<Capability>) => true | undefined
): RiskLevel => {
  if (harm.spends === true || declares("execute_code")) return "critical"
  if (harm.destructive === true) return "high"
  return harm.readonly === true && harm.sendsData !== true && !declares("pii_access") ? "low" : "medium"
}

const namesOf = (name: string, upstream: string | undefined): ReadonlyArray<string> => {
  if (upstream !== undefined) return [name, upstream]
  // Who put the name together is not known: a prefix may have separators of its own, and so may the name.
  const separators = [name.indexOf("__"), name.lastIndexOf("__")].filter((index) => index > 0)
  return [...new Set([name, ...separators.map((index) => name.slice(index + 2))])]
}
