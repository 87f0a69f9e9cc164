/**
 * Every default by a name in `Config`: from the environment, a `.env` file or
 * JSON, whichever `ConfigProvider` is in place. The names are the same
 * everywhere. What is not set keeps its default.
 */
import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TripRule from "./CircuitBreaker.ts"
import type { Options } from "./Interlock.ts"
import * as Retry from "./Retry.ts"

/** One name: what it means, what holds without it, and what it sets. */
export interface Setting {
  readonly name: string
  readonly default: string
  readonly meaning: string
  readonly options: Config.Config<Options>
}

const setting = <A>(
  name: string,
  config: (name: string) => Config.Config<A>,
  standard: string,
  meaning: string,
  set: (value: A) => Options
): Setting => ({
  name: `INTERLOCK_${name}`,
  default: standard,
  meaning,
  options: Config.map(
    Config.option(config(`INTERLOCK_${name}`)),
    Option.match({ onNone: () => ({}), onSome: set })
  )
})

const positive = (name: string) => Config.schema(Schema.Int.check(Schema.isGreaterThan(0)), name)
const natural = (name: string) => Config.schema(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)), name)
const share = (name: string) =>
  Config.schema(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })), name)
const duration = (name: string): Config.Config<Duration.Duration> => Config.Duration(name)
const list = (name: string): Config.Config<ReadonlyArray<string>> =>
  Config.map(Config.String(name), (text) =>
    text
      .split(",")
      .map((item) => item.trim())
      .filter((item) => item !== "")
  )

/** The one documented table. */
export const settings: ReadonlyArray<Setting> = [
  setting("TIMEOUT", duration, "30 seconds", "per attempt", (timeout) => ({ defaults: { timeout } })),
  setting("DEADLINE", duration, "none", "per call, retries and waiting included", (deadline) => ({
    defaults: { deadline }
  })),
  setting("RETRIES", natural, "3", "after the first attempt", (retries) => ({
    defaults: { retry: Retry.make({ retries }) }
  })),
  setting("RESULT_BYTES", positive, "1048576", "larger results are cut by `execute`", (resultBytes) => ({
    defaults: { resultBytes }
  })),
  setting("CONCURRENCY", positive, "10", "calls of a batch at once", (concurrency) => ({
    defaults: { concurrency }
  })),
  setting(
    "POLICY_DEFAULT",
    (name) => Config.Literals(["allow", "deny"], name),
    "allow",
    "for tools no glob names",
    (value) => ({
      policy: { default: value }
    })
  ),
  setting("ALLOW", list, "none", "globs, separated by commas", (allow) => ({ policy: { allow } })),
  setting("DENY", list, "none", "globs, separated by commas", (deny) => ({ policy: { deny } })),
  setting("REQUIRE_CONFIRMATION", list, "none", "globs, separated by commas", (requireConfirmation) => ({
    policy: { requireConfirmation }
  })),
  setting("REQUIRE_APPROVAL", list, "none", "globs, separated by commas", (requireApproval) => ({
    policy: { requireApproval }
  })),
  setting(
    "ALLOWED_DOMAINS",
    list,
    "any",
    "hosts, `*.host` for subdomains, CIDR ranges",
    (allowedDomains) => ({
      policy: { allowedDomains }
    })
  ),
  setting("DENIED_DOMAINS", list, "none", "hosts, `*.host` for subdomains, CIDR ranges", (deniedDomains) => ({
    policy: { deniedDomains }
  })),
  setting("ARGUMENT_BYTES", positive, "1048576", "of JSON", (bytes) => ({
    policy: { argumentLimits: { bytes } }
  })),
  setting("ARGUMENT_DEPTH", positive, "32", "levels of nesting", (depth) => ({
    policy: { argumentLimits: { depth } }
  })),
  setting("ARGUMENT_STRING_LENGTH", positive, "262144", "of one string", (stringLength) => ({
    policy: { argumentLimits: { stringLength } }
  })),
  setting("ARGUMENT_ITEMS", positive, "10000", "elements and properties in all", (items) => ({
    policy: { argumentLimits: { items } }
  })),
  setting(
    "UNDECLARED",
    (name) => Config.Literals(["allow", "deny"], name),
    "allow",
    "tools that do not say what they need",
    (undeclared) => ({ permissions: { undeclared } })
  ),
  setting("BREAKER_FAILURES", positive, "5", "in a row that open a circuit", (failures) => ({
    breaker: { trip: TripRule.consecutive(failures) }
  })),
  setting("BREAKER_OPEN_FOR", duration, "60 seconds", "until the first probe", (openFor) => ({
    breaker: { openFor }
  })),
  setting("BREAKER_PROBES", positive, "1", "at once while half open", (probes) => ({ breaker: { probes } })),
  setting("BREAKER_SUCCESSES", positive, "1", "in a row that close it", (successThreshold) => ({
    breaker: { successThreshold }
  })),
  setting("MAX_CONCURRENT", positive, "unlimited", "calls over all tools", (maxConcurrent) => ({
    bulkhead: { maxConcurrent }
  })),
  setting("MAX_QUEUE", natural, "0", "calls that wait beyond that", (maxQueue) => ({
    bulkhead: { maxQueue }
  })),
  setting("MAX_UNDECIDED", positive, "20", "open questions to humans per principal", (maxUndecided) => ({
    approvals: { maxUndecided }
  })),
  setting("QUESTIONS_EXPIRE_AFTER", duration, "15 minutes", "open questions to humans", (expiresAfter) => ({
    approvals: { expiresAfter }
  })),
  setting(
    "HEALTH_THRESHOLD",
    share,
    "0.9",
    "share of successes below which a tool is unhealthy",
    (threshold) => ({
      health: { threshold }
    })
  ),
  setting("HISTORY_KEEP", positive, "1000", "calls that are kept", (keep) => ({ history: { keep } }))
]

/** `b` over `a`, concern by concern and field by field. */
export const merge = (a: Options, b: Options): Options => mergeRecords(a, b) as Options

const mergeRecords = (a: object, b: object): object => {
  const merged: Record<string, unknown> = { ...a }
  for (const [key, value] of Object.entries(b)) {
    const before = merged[key]
    merged[key] = isPlain(before) && isPlain(value) ? mergeRecords(before, value) : value
  }
  return merged
}

const isPlain = (value: unknown): value is object =>
  value !== null && typeof value === "object" && Object.getPrototypeOf(value) === Object.prototype

/** All settings as the options of `Interlock.layer`. */
export const config: Config.Config<Options> = Config.map(
  Config.all(settings.map(({ options }) => options)),
  (given) => given.reduce(merge, {})
)
