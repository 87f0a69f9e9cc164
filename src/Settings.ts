/**
 * Every default by a name in `Config`: from the environment, a `.env` file or
 * JSON, whichever `ConfigProvider` is in place. The names are the same
 * everywhere. What is not set, or empty, keeps its default; what is set and of
 * no use is a `ConfigError` that names the setting.
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import type { Options } from "./Interlock.ts"
import * as Keyring from "./Keyring.ts"
import * as SecurityPolicy from "./SecurityPolicy.ts"

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
  // Compiles its schema, which is for those who read it.
  get options() {
    return Config.map(
      Config.option(config(`INTERLOCK_${name}`)),
      Option.match({ onNone: () => ({}), onSome: set })
    )
  }
})

const positive = (name: string) => Config.schema(Schema.Int.check(Schema.isGreaterThan(0)), name)
const natural = (name: string) => Config.schema(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)), name)
const atLeastOne = (name: string) =>
  Config.schema(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(1)), name)
const share = (name: string) =>
  Config.schema(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })), name)
const duration = (name: string): Config.Config<Duration.Duration> =>
  Config.schema(
    Schema.DurationFromString.check(
      Schema.makeFilter((value) =>
        Duration.isPositive(value) && Duration.isFinite(value) ? undefined : "must be finite and above 0"
      )
    ),
    name
  )

// A policy checks its own fields: what it refuses is refused here, where the setting's name is known.
const policy = SecurityPolicy.Policy.fields
const limits = policy.argumentLimits.schema.fields
const limit = (schema: typeof limits.bytes.schema) => (name: string) => Config.schema(schema, name)

/** A text with commas in it, or a list where the source has them. */
const list = (items: typeof policy.deny.schema) => (name: string) => {
  const separated = Schema.String.pipe(
    Schema.decodeTo(
      items,
      SchemaTransformation.transform({
        decode: (text: string): ReadonlyArray<string> =>
          text
            .split(",")
            .map((item) => item.trim())
            .filter((item) => item !== ""),
        encode: (list) => list.join(",")
      })
    )
  )
  return Config.schema(Schema.Union([separated, items]), name)
}
const globs = list(policy.deny.schema)
const domains = list(policy.allowedDomains.schema)

/** The one documented table. */
export const settings: ReadonlyArray<Setting> = [
  setting("TIMEOUT", duration, "30 seconds", "per attempt", (timeout) => ({ defaults: { timeout } })),
  setting("DEADLINE", duration, "none", "per call, retries and waiting included", (deadline) => ({
    defaults: { deadline }
  })),
  setting("RETRIES", natural, "3", "after the first attempt", (retries) => ({
    defaults: { retry: { retries } }
  })),
  setting("RETRY_BASE", duration, "100 millis", "the first delay between attempts", (base) => ({
    backoff: { base }
  })),
  setting("RETRY_FACTOR", atLeastOne, "2", "by which each further delay is longer", (factor) => ({
    backoff: { factor }
  })),
  setting("RETRY_MAX", duration, "30 seconds", "no delay is longer", (max) => ({ backoff: { max } })),
  setting(
    "RETRY_JITTER",
    (name) => Config.Literals(["full", "none"], name),
    "full",
    "what chance does to a delay",
    (jitter) => ({ backoff: { jitter } })
  ),
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
  setting("ALLOW", globs, "none", "globs, separated by commas", (allow) => ({ policy: { allow } })),
  setting("DENY", globs, "none", "globs, separated by commas", (deny) => ({ policy: { deny } })),
  setting("REQUIRE_CONFIRMATION", globs, "none", "globs, separated by commas", (requireConfirmation) => ({
    policy: { requireConfirmation }
  })),
  setting("REQUIRE_APPROVAL", globs, "none", "globs, separated by commas", (requireApproval) => ({
    policy: { requireApproval }
  })),
  setting(
    "ALLOWED_DOMAINS",
    domains,
    "any",
    "hosts, `*.host` for subdomains, CIDR ranges",
    (allowedDomains) => ({
      policy: { allowedDomains }
    })
  ),
  setting(
    "DENIED_DOMAINS",
    domains,
    "none",
    "hosts, `*.host` for subdomains, CIDR ranges",
    (deniedDomains) => ({
      policy: { deniedDomains }
    })
  ),
  setting("ARGUMENT_BYTES", limit(limits.bytes.schema), "1048576", "of JSON", (bytes) => ({
    policy: { argumentLimits: { bytes } }
  })),
  setting("ARGUMENT_DEPTH", limit(limits.depth.schema), "32", "levels of nesting", (depth) => ({
    policy: { argumentLimits: { depth } }
  })),
  setting(
    "ARGUMENT_STRING_LENGTH",
    limit(limits.stringLength.schema),
    "262144",
    "of one string",
    (stringLength) => ({
      policy: { argumentLimits: { stringLength } }
    })
  ),
  setting(
    "ARGUMENT_ITEMS",
    limit(limits.items.schema),
    "10000",
    "elements and properties in all",
    (items) => ({
      policy: { argumentLimits: { items } }
    })
  ),
  setting(
    "UNDECLARED",
    (name) => Config.Literals(["allow", "deny"], name),
    "allow",
    "tools that do not say what they need",
    (undeclared) => ({ permissions: { undeclared } })
  ),
  setting("BREAKER_FAILURES", positive, "5", "in a row that open a circuit", (failures) => ({
    breaker: { trip: CircuitBreaker.consecutive(failures) }
  })),
  setting("BREAKER_OPEN_FOR", duration, "60 seconds", "until the first probe", (openFor) => ({
    breaker: { openFor }
  })),
  setting("BREAKER_GROWTH", atLeastOne, "1", "by which each further opening is longer", (growth) => ({
    breaker: { growth }
  })),
  setting("BREAKER_MAX_OPEN_FOR", duration, "1 hour", "no opening is longer", (maxOpenFor) => ({
    breaker: { maxOpenFor }
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
  setting(
    "KEYS",
    Keyring.config,
    "random",
    "`id:secret,…`: what signs approvals, chains the audit log and seals; the first is the active one, the others still verify. `INTERLOCK_DEPLOYMENT` (`default`) sets deployments with the same keys apart",
    (keyring) => ({ keyring })
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

// What has a tag is one of several kinds: half of one and half of another would be none.
const isPlain = (value: unknown): value is object =>
  value !== null &&
  typeof value === "object" &&
  Object.getPrototypeOf(value) === Object.prototype &&
  !("_tag" in value)

/** All settings as the options of `Interlock.layer`. */
export const config: Config.Config<Options> = Config.flatMap(Config.succeed(settings), (settings) =>
  Config.map(Config.all(settings.map(({ options }) => options)), (given) => given.reduce(merge, {}))
)
