import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import {
  Approvals,
  Bulkhead,
  CircuitBreaker,
  Defaults,
  Interlock,
  Keyring,
  Permissions,
  Principal,
  SecurityPolicy,
  Settings,
  ToolAnnotations,
  ToolExecutor
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import * as Circuit from "../src/Circuit.ts"
import * as ArgumentLimits from "../src/internal/argumentLimits.ts"

// --- Every setting ---------------------------------------------------------

interface Sample {
  /** As the environment says it. */
  readonly text: string
  /** As JSON may say it, where that is not the same. */
  readonly json?: unknown
  readonly options: Interlock.Options
  /** Texts that are no value of it. */
  readonly invalid: ReadonlyArray<string>
}

const aDuration = ["soon", "0 seconds", "-5 seconds", "Infinity"]
const aCount = ["x", "0", "-1", "1.5"]
const aNatural = ["x", "-1", "1.5"]
const globs = { text: " a_*, b ,", json: ["a_*", "b"], invalid: [] }
const list = ["a_*", "b"]
const hosts = { text: "a.com, *.b.com,", json: ["a.com", "*.b.com"], invalid: ["https://a.com", "a b"] }

const secretOf = (letter: string) => letter.repeat(40)

const samples: Readonly<Record<string, Sample>> = {
  TIMEOUT: {
    text: "5 seconds",
    options: { defaults: { timeout: Duration.seconds(5) } },
    invalid: aDuration
  },
  DEADLINE: {
    text: "2 minutes",
    options: { defaults: { deadline: Duration.minutes(2) } },
    invalid: aDuration
  },
  RETRIES: {
    text: "7",
    json: 7,
    options: { defaults: { retry: { retries: 7 } } },
    invalid: aNatural
  },
  RETRY_BASE: {
    text: "2 seconds",
    options: { backoff: { base: Duration.seconds(2) } },
    invalid: aDuration
  },
  RETRY_FACTOR: { text: "3", json: 3, options: { backoff: { factor: 3 } }, invalid: ["x", "0.5"] },
  RETRY_MAX: { text: "9 seconds", options: { backoff: { max: Duration.seconds(9) } }, invalid: aDuration },
  RETRY_JITTER: { text: "none", options: { backoff: { jitter: "none" } }, invalid: ["some"] },
  BREAKER_GROWTH: { text: "2", json: 2, options: { breaker: { growth: 2 } }, invalid: ["x", "0.5"] },
  BREAKER_MAX_OPEN_FOR: {
    text: "5 minutes",
    options: { breaker: { maxOpenFor: Duration.minutes(5) } },
    invalid: aDuration
  },
  RESULT_BYTES: { text: "10", json: 10, options: { defaults: { resultBytes: 10 } }, invalid: aCount },
  CONCURRENCY: { text: "3", json: 3, options: { defaults: { concurrency: 3 } }, invalid: aCount },
  POLICY_DEFAULT: { text: "deny", options: { policy: { default: "deny" } }, invalid: ["maybe", "DENY"] },
  ALLOW: { ...globs, options: { policy: { allow: list } } },
  DENY: { ...globs, options: { policy: { deny: list } } },
  REQUIRE_CONFIRMATION: { ...globs, options: { policy: { requireConfirmation: list } } },
  REQUIRE_APPROVAL: { ...globs, options: { policy: { requireApproval: list } } },
  ALLOWED_DOMAINS: { ...hosts, options: { policy: { allowedDomains: ["a.com", "*.b.com"] } } },
  DENIED_DOMAINS: { ...hosts, options: { policy: { deniedDomains: ["a.com", "*.b.com"] } } },
  ARGUMENT_BYTES: {
    text: "9",
    json: 9,
    options: { policy: { argumentLimits: { bytes: 9 } } },
    invalid: aCount
  },
  ARGUMENT_DEPTH: {
    text: "9",
    json: 9,
    options: { policy: { argumentLimits: { depth: 9 } } },
    invalid: [...aCount, "1001"]
  },
  ARGUMENT_STRING_LENGTH: {
    text: "9",
    json: 9,
    options: { policy: { argumentLimits: { stringLength: 9 } } },
    invalid: aCount
  },
  ARGUMENT_ITEMS: {
    text: "9",
    json: 9,
    options: { policy: { argumentLimits: { items: 9 } } },
    invalid: aCount
  },
  UNDECLARED: { text: "deny", options: { permissions: { undeclared: "deny" } }, invalid: ["maybe"] },
  BREAKER_FAILURES: {
    text: "2",
    json: 2,
    options: { breaker: { trip: CircuitBreaker.consecutive(2) } },
    invalid: aCount
  },
  BREAKER_OPEN_FOR: {
    text: "5 seconds",
    options: { breaker: { openFor: Duration.seconds(5) } },
    invalid: aDuration
  },
  BREAKER_PROBES: { text: "2", json: 2, options: { breaker: { probes: 2 } }, invalid: aCount },
  BREAKER_SUCCESSES: { text: "2", json: 2, options: { breaker: { successThreshold: 2 } }, invalid: aCount },
  MAX_CONCURRENT: { text: "2", json: 2, options: { bulkhead: { maxConcurrent: 2 } }, invalid: aCount },
  MAX_QUEUE: { text: "0", json: 0, options: { bulkhead: { maxQueue: 0 } }, invalid: aNatural },
  MAX_UNDECIDED: { text: "2", json: 2, options: { approvals: { maxUndecided: 2 } }, invalid: aCount },
  QUESTIONS_EXPIRE_AFTER: {
    text: "1 hour",
    options: { approvals: { expiresAfter: Duration.hours(1) } },
    invalid: aDuration
  },
  HEALTH_THRESHOLD: {
    text: "0.5",
    json: 0.5,
    options: { health: { threshold: 0.5 } },
    invalid: ["x", "-0.1", "1.1"]
  },
  KEYS: {
    text: ` new:${secretOf("n")}, old : ${secretOf("o")} `,
    options: {
      keyring: {
        deployment: "default",
        active: "new",
        keys: { new: Redacted.make(secretOf("n")), old: Redacted.make(secretOf("o")) }
      }
    },
    invalid: [
      "hunter2",
      `${secretOf("h")}`,
      "id:hunter2",
      `:${secretOf("h")}`,
      `an id:${secretOf("h")}`,
      `${"i".repeat(65)}:${secretOf("h")}`,
      `id:${secretOf("h")},`,
      `id:${secretOf("h")},old:hunter2`
    ]
  },
  HISTORY_KEEP: { text: "5", json: 5, options: { history: { keep: 5 } }, invalid: aCount }
}

const named = <A>(pick: (sample: Sample) => A): Record<string, A> =>
  Object.fromEntries(Object.entries(samples).map(([name, sample]) => [`INTERLOCK_${name}`, pick(sample)]))

const sources: Readonly<Record<string, (values: Record<string, unknown>) => ConfigProvider.ConfigProvider>> =
  {
    "the environment": (values) => ConfigProvider.fromEnv({ env: values as Record<string, string> }),
    "a .env file": (values) =>
      ConfigProvider.fromDotEnvContents(
        Object.entries(values)
          .map(([name, value]) => `${name}="${value}"`)
          .join("\n")
      ),
    JSON: (values) => ConfigProvider.fromUnknown(JSON.parse(JSON.stringify(values)))
  }

const read = (source: ConfigProvider.ConfigProvider) => Effect.result(Settings.config.parse(source))

/** Options as plain data: schedules are told apart by what they do, and not here. */
const plain = (options: Interlock.Options): unknown =>
  JSON.parse(JSON.stringify(options, (key, value) => (key === "schedule" ? undefined : value)))

describe("settings", () => {
  it("are in one table, each under a name of its own", () => {
    const names = Settings.settings.map(({ name }) => name)
    assert.deepStrictEqual(new Set(names), new Set(Object.keys(named(() => undefined))))
    assert.strictEqual(new Set(names).size, names.length)
    for (const { meaning, default: standard } of Settings.settings) {
      assert.isNotEmpty(meaning)
      assert.isNotEmpty(standard)
    }
  })

  for (const [name, sample] of Object.entries(samples)) {
    const setting = `INTERLOCK_${name}`
    it.effect(`${setting} means the same in the environment, in a .env file and in JSON`, () =>
      Effect.gen(function* () {
        for (const [kind, source] of Object.entries(sources)) {
          const values = kind === "JSON" ? [sample.text, sample.json ?? sample.text] : [sample.text]
          for (const value of values) {
            const options = yield* read(source({ [setting]: value }))
            assert.deepStrictEqual(
              plain(Result.getOrThrow(options)),
              plain(sample.options),
              `${kind}: ${JSON.stringify(value)}`
            )
          }
        }
      })
    )

    it.effect(`${setting} keeps its default when it is not set, or empty`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* read(ConfigProvider.fromEnv({ env: {} })), Result.succeed({}))
        assert.deepStrictEqual(
          yield* read(ConfigProvider.fromEnv({ env: { [setting]: "" } })),
          Result.succeed({})
        )
      })
    )

    if (sample.invalid.length > 0) {
      it.effect(`${setting} is named by the error of a value that is of no use`, () =>
        Effect.gen(function* () {
          for (const value of sample.invalid) {
            for (const source of Object.values(sources)) {
              const layer = Interlock.layerConfig().pipe(
                Layer.provide(ConfigProvider.layer(source({ [setting]: value })))
              )
              const exit = yield* Effect.exit(Effect.scoped(Layer.build(layer)))
              assert.isTrue(Exit.isFailure(exit), value)
              if (Exit.isSuccess(exit)) return
              const error = Cause.squash(exit.cause)
              assert.include(String(error), "ConfigError", value)
              assert.include(String(error), `"${setting}"`, value)
              // Of a key nobody sees anything, not even in what went wrong.
              if (name === "KEYS") {
                const told = `${String(error)} ${Cause.pretty(exit.cause)} ${JSON.stringify(error)}`
                assert.notMatch(told, /hunter2|hhh|iii/)
              }
            }
          }
        })
      )
    }
  }

  it.effect("together are one set of options, and a program starts with them", () =>
    Effect.gen(function* () {
      const source = ConfigProvider.fromEnv({ env: named(({ text }) => text) })
      const options = Result.getOrThrow(yield* read(source))
      const expected = Object.values(samples).reduce<Interlock.Options>(
        (merged, sample) => Settings.merge(merged, sample.options),
        {}
      )
      assert.deepStrictEqual(plain(options), plain(expected))
      // As data they look all alike.
      const { keys } = options.keyring as Keyring.Options
      assert.deepStrictEqual(
        Object.entries(keys).map(([id, key]) => [id, Redacted.value(key)]),
        [
          ["new", secretOf("n")],
          ["old", secretOf("o")]
        ]
      )
      const policy = yield* Effect.flatMap(SecurityPolicy.SecurityPolicy, ({ policy }) => policy).pipe(
        Effect.provide(Interlock.layerConfig().pipe(Layer.provide(ConfigProvider.layer(source))))
      )
      assert.deepStrictEqual(policy, expected.policy)
    })
  )
})

// --- Defaults --------------------------------------------------------------

describe("the defaults in the table", () => {
  const standard = (name: string): string =>
    Settings.settings.find((setting) => setting.name === `INTERLOCK_${name}`)?.default ?? ""
  const text = (duration: Duration.Input | undefined): string =>
    duration === undefined ? "none" : Duration.format(Duration.fromInputUnsafe(duration))

  const facts = ToolAnnotations.read(Tool.make("some_tool"))
  const question = (callId: string): Approvals.Question => ({
    callId,
    tool: "some_tool",
    principal: "ada",
    tenant: undefined,
    argumentsHash: () => "",
    toolDigest: "",
    policyDigest: "",
    by: "confirm",
    actor: undefined,
    run: undefined,
    session: undefined,
    why: [],
    risk: "low",
    view: { value: {}, masked: [] },
    copied: [],
    findings: [],
    callJson: "{}"
  })

  it.effect("are those that hold", () =>
    Effect.gen(function* () {
      const { concurrency, deadline, resultBytes, retry, timeout } = Defaults.defaults
      const breaker = Circuit.rules()
      const limits = ArgumentLimits.defaults
      const rules = (yield* SecurityPolicy.make()).compile(facts, "")
      const undeclared = yield* Effect.provide(
        Effect.flatMap(Permissions.Permissions, (permissions) =>
          permissions.check(Principal.anonymous, facts)
        ),
        Permissions.layer()
      )
      const bulkhead = yield* Effect.provide(Bulkhead.Bulkhead, Bulkhead.layer())
      const approvals = yield* Effect.provide(
        Approvals.Approvals,
        Approvals.layerMemory().pipe(Layer.provide(Keyring.layerRandom))
      )
      let undecided = 0
      while ((yield* approvals.ask(question(`${undecided}`), 0))._tag === "Pending") undecided++
      const full = yield* approvals.ask(question("one more"), 0)
      const { keyring } = Result.getOrThrow(yield* read(ConfigProvider.fromEnv({ env: {} })))
      const actual: Record<string, string> = {
        TIMEOUT: text(timeout),
        DEADLINE: text(deadline),
        RETRIES: `${retry.retries}`,
        RESULT_BYTES: `${resultBytes}`,
        CONCURRENCY: `${concurrency}`,
        POLICY_DEFAULT: rules.byName._tag.toLowerCase(),
        ARGUMENT_BYTES: `${limits.bytes}`,
        ARGUMENT_DEPTH: `${limits.depth}`,
        ARGUMENT_STRING_LENGTH: `${limits.stringLength}`,
        ARGUMENT_ITEMS: `${limits.items}`,
        UNDECLARED: undeclared._tag === "Granted" ? "allow" : "deny",
        BREAKER_FAILURES:
          breaker.trip._tag === "Consecutive" ? `${breaker.trip.failures}` : breaker.trip._tag,
        BREAKER_OPEN_FOR: text(breaker.openFor),
        BREAKER_PROBES: `${breaker.probes}`,
        BREAKER_SUCCESSES: `${breaker.successThreshold}`,
        MAX_CONCURRENT: bulkhead.forTool(facts) === undefined ? "unlimited" : "limited",
        MAX_UNDECIDED: `${undecided}`,
        QUESTIONS_EXPIRE_AFTER: full._tag === "Full" ? text(full.retryAfter) : full._tag,
        KEYS: keyring === undefined ? "random" : "given"
      }
      const formatted = (name: string) =>
        /\d \w/.test(standard(name)) ? text(standard(name) as Duration.Input) : standard(name)
      assert.deepStrictEqual(
        actual,
        Object.fromEntries(Object.keys(actual).map((name) => [name, formatted(name)]))
      )
      // Lists are empty by default: what holds then is that every tool may run, with any host.
      for (const name of ["ALLOW", "DENY", "REQUIRE_CONFIRMATION", "REQUIRE_APPROVAL", "DENIED_DOMAINS"]) {
        assert.strictEqual(standard(name), "none")
      }
      assert.strictEqual(standard("ALLOWED_DOMAINS"), "any")
      assert.isUndefined(rules.byArguments)
    })
  )
})

// --- What they change ------------------------------------------------------

describe("a program that is configured", () => {
  const toolkit = Toolkit.make(
    Tool.make("read", { success: Schema.String }).annotate(Tool.Readonly, true),
    Tool.make("remove", { success: Schema.String })
  )

  const run = (env: Record<string, string>, options: Interlock.Options, tool: "read" | "remove") => {
    const tools = Testing.scripted(toolkit, {
      read: Testing.fail(new Error("down")),
      remove: Testing.succeed("removed")
    })
    const services = Interlock.layerConfig(options).pipe(
      Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))
    )
    return Effect.gen(function* () {
      const executor = yield* ToolExecutor.make(toolkit)
      const result = yield* executor.execute({ tool, params: {} })
      return { result, ran: tools.runs(tool).length }
    }).pipe(Effect.provide([services, tools.layer]))
  }

  it.effect("does as it is told", () =>
    Effect.gen(function* () {
      const denied = yield* run({ INTERLOCK_DENY: "re*" }, {}, "remove")
      assert.strictEqual(denied.result.status, "policy_denied")
      const once = yield* run({ INTERLOCK_RETRIES: "0" }, {}, "read")
      assert.strictEqual(once.ran, 1)
    })
  )

  it.effect("sets deployments with the same keys apart by their names", () =>
    Effect.gen(function* () {
      const keys = (env: Record<string, string>) =>
        Effect.map(Effect.flatMap(read(ConfigProvider.fromEnv({ env })), Effect.fromResult), ({ keyring }) =>
          Keyring.make(keyring as Keyring.Options)
        )
      const INTERLOCK_KEYS = `a:${secretOf("a")}`
      const one = yield* keys({ INTERLOCK_KEYS })
      const other = yield* keys({ INTERLOCK_KEYS, INTERLOCK_DEPLOYMENT: "shop" })
      assert.strictEqual(one.deployment, "default")
      assert.strictEqual(other.deployment, "shop")
      assert.notDeepEqual(one.key("approvals"), other.key("approvals"))
      assert.deepStrictEqual(one.key("approvals"), (yield* keys({ INTERLOCK_KEYS })).key("approvals"))
    })
  )

  it.effect("lets its own options win, field by field", () =>
    Effect.gen(function* () {
      const env = { INTERLOCK_DENY: "re*", INTERLOCK_RETRIES: "0", INTERLOCK_BREAKER_FAILURES: "9" }
      const { ran, result } = yield* run(env, { policy: { deny: ["other"] } }, "remove")
      assert.strictEqual(result.status, "success")
      assert.strictEqual(ran, 1)
      // What the options do not say is still as configured.
      assert.strictEqual((yield* run(env, { policy: { deny: ["other"] } }, "read")).ran, 1)
      const merged = Settings.merge(Result.getOrThrow(yield* read(ConfigProvider.fromEnv({ env }))), {
        breaker: { trip: CircuitBreaker.rate({ threshold: 0.5, minimum: 1, size: 10 }) }
      })
      assert.deepStrictEqual(
        (merged.breaker as CircuitBreaker.Options).trip,
        CircuitBreaker.rate({ threshold: 0.5, minimum: 1, size: 10 })
      )
      const breaker = Layer.empty as never
      assert.strictEqual(Settings.merge({ breaker: { probes: 2 } }, { breaker }).breaker, breaker)
    })
  )
})
