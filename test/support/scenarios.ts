/**
 * Random scenarios of governed calls: tools, policies, limits, failures and
 * interruptions, as plain data that fast-check can shrink.
 */
import * as Tool from "effect/ai/Tool"
import * as Schema from "effect/Schema"
import {
  ToolAnnotations as Annotate,
  CircuitBreaker,
  Principal,
  type SecurityPolicy,
  type ToolError,
  Verdict
} from "effect-interlock"
import * as fc from "fast-check"
import type * as Plain from "./plain.ts"

// --- What a scenario is ------------------------------------------------------

/** How a handler is written. */
export type Way = "plain" | "async" | "effect"

/** What one attempt does. Delays in milliseconds; in an Effect or a promise they follow the virtual clock. */
export type Step = {
  readonly way: Way
  readonly after: number
  /** Tells what it has cost, before it does anything else; only an Effect can. */
  readonly spends?: number | undefined
  /** How it takes an interruption: `slowly`, after a finalizer of 7 ms; `never`, going on to its own end. */
  readonly stops: "at once" | "slowly" | "never"
  readonly does:
    | "succeeds"
    | "misfits"
    | "fails"
    | "throws"
    | "throws http"
    | "loses"
    | "dies"
    | "hangs"
    | "interrupts itself"
  readonly retryAfter?: number | undefined
}

export interface Call {
  /** Milliseconds from the start of the call before it. */
  readonly gap: number
  readonly tool: number
  readonly principal: number
  readonly door: "run" | "execute"
  readonly params: unknown
  readonly steps: ReadonlyArray<Step>
  readonly timeout?: number | undefined
  readonly retries?: number | undefined
  /** Milliseconds from its arrival. */
  readonly within?: number | undefined
  readonly requireConfirmation?: boolean | undefined
  readonly idempotencyKey?: string | undefined
  /** A human says something of it, if it is pending, and then it is made again; in milliseconds from its arrival. */
  readonly again?:
    | {
        readonly says: "granted" | "rejected" | "nothing"
        readonly decided: number
        readonly made: number
        /** And once more, whatever came of that. */
        readonly once?: number | undefined
      }
    | undefined
  /** When its caller is interrupted, in milliseconds from its arrival. */
  readonly interruptedAfter?: number | undefined
}

export interface ToolSpec {
  readonly name: string
  readonly capabilities?: ReadonlyArray<string> | undefined
  readonly timeout?: number | undefined
  readonly retries?: number | undefined
  readonly circuit?: string | false | undefined
  readonly cost?: number | undefined
  readonly fallback?: "fits" | "misfits" | undefined
  readonly readonly?: boolean | undefined
  readonly idempotent?: boolean | undefined
  readonly confirmation?: "confirm" | "approve" | undefined
  /** What it says its own failure is. */
  readonly busyIs?: ToolError.ErrorClass | undefined
  readonly bulkhead?: { readonly maxConcurrent: number; readonly maxQueue: number } | undefined
}

/** Under what calls are made. */
export interface Setting {
  /** What `Random` draws, every time. */
  readonly chance: number
  readonly options: Plain.Options
  readonly ruled: boolean
  readonly tools: ReadonlyArray<ToolSpec>
}

/** Calls that come one after another, and may run at once. */
export type Scenario = ReadonlyArray<Call>

/** Scenarios in one setting, long after one another: making a setting costs more than a call. */
export interface Series {
  readonly setting: Setting
  readonly scenarios: ReadonlyArray<Scenario>
}

// --- Tools and people --------------------------------------------------------

export class Busy extends Schema.TaggedError<Busy>()("Busy", {
  retryAfterMs: Schema.optionalKey(Schema.Finite)
}) {}

const Parameters = Schema.Struct({ n: Schema.NumberFromString, note: Schema.optionalKey(Schema.String) })
const Success = Schema.Struct({ n: Schema.Number, at: Schema.DateFromString })

export const fits = (n: number) => ({ n, at: new Date(n) })
export const misfits = { n: "none" }

export const toolOf = (spec: ToolSpec): Tool.Any => {
  let tool: Tool.Tool<string, never> = Tool.make(spec.name, {
    parameters: Parameters,
    success: Success,
    failure: Busy
  }) as never
  const annotate = (key: never, value: unknown) => {
    if (value !== undefined) tool = tool.annotate(key, value as never) as never
  }
  annotate(Annotate.Capabilities as never, spec.capabilities)
  annotate(Annotate.Timeout as never, spec.timeout)
  annotate(Annotate.Retries as never, spec.retries)
  annotate(Annotate.Circuit as never, spec.circuit)
  annotate(Annotate.Cost as never, spec.cost)
  annotate(Annotate.Confirmation as never, spec.confirmation)
  annotate(Annotate.Bulkhead as never, spec.bulkhead)
  annotate(Tool.Readonly as never, spec.readonly)
  annotate(Tool.Idempotent as never, spec.idempotent)
  const { busyIs } = spec
  const classify = (error: unknown) =>
    busyIs !== undefined && error instanceof Busy ? { class: busyIs } : undefined
  annotate(Annotate.Classify as never, busyIs === undefined ? undefined : classify)
  annotate(
    Annotate.Fallback as never,
    spec.fallback === undefined ? undefined : { value: spec.fallback === "fits" ? fits(0) : misfits }
  )
  return tool
}

export const principals: ReadonlyArray<Principal.Principal> = [
  Principal.make({ id: "ada", roles: ["admin"] }),
  Principal.make({ id: "bob", tenant: "north", roles: ["write"] }),
  Principal.make({ id: "cyd", capabilities: ["delete_data", "tool:*PAY"] }),
  Principal.anonymous
]

/** Somebody else, who may approve what others ask for. */
export const otherPerson = (than: Principal.Principal): Principal.Principal =>
  Principal.make({ id: "eve", ...(than.tenant === undefined ? {} : { tenant: than.tenant }) })

/** Rules of the application: on raw arguments `n` is a text, on decoded ones a number. */
export const rules: ReadonlyArray<SecurityPolicy.Rule> = [
  {
    name: "odd numbers",
    decide: ({ params }) => {
      const n = (params as { n?: unknown }).n
      if (n === "13") return Verdict.deny("odd numbers", "")
      if (n === 17) return Verdict.deny("odd numbers", "")
      if (n === 19) throw new Error("undecided")
      return n === 23 ? Verdict.confirm("odd numbers", "") : Verdict.allow
    }
  }
]

// --- Generators ----------------------------------------------------------------

/** Absent `absent` times as often as not. */
const maybe = <A>(arbitrary: fc.Arbitrary<A>, absent = 1): fc.Arbitrary<A | undefined> =>
  fc.oneof({ weight: absent, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary })

const time = (max: number) => fc.integer({ min: 1, max })

const step: fc.Arbitrary<Step> = fc.record({
  way: fc.constantFrom<Way>("plain", "async", "effect", "effect"),
  after: fc.oneof(fc.constant(0), time(7200)),
  spends: maybe(fc.integer({ min: 0, max: 60 })),
  stops: fc.constantFrom("at once", "at once", "at once", "slowly", "never"),
  does: fc.constantFrom(
    "succeeds",
    "succeeds",
    "succeeds",
    "misfits",
    "fails",
    "throws",
    "throws",
    "throws http",
    "loses",
    "dies",
    "hangs",
    "interrupts itself"
  ),
  retryAfter: maybe(fc.oneof(fc.constant(0), time(5600)))
})

const params: fc.Arbitrary<unknown> = fc.oneof(
  {
    weight: 24,
    arbitrary: fc.constantFrom("1", "2", "3", "4", "5", "13", "17", "19", "23").map((n) => ({ n }))
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom<unknown>(
      { n: 1 },
      {},
      { n: "1", more: 1 },
      { n: "1", note: "x".repeat(300) },
      { n: "1", note: "\u00e4".repeat(40) },
      { n: "1", more: [[[[[1]]]]] },
      { n: "1", more: [1, 2, 3, 4, 5, 6, 7, 8, 9] },
      undefined,
      [],
      "1"
    )
  }
)

const call: fc.Arbitrary<Call & { readonly repeats: boolean }> = fc
  .record({
    gap: fc.oneof(
      { weight: 1, arbitrary: fc.constant(0) },
      { weight: 3, arbitrary: time(1500) },
      { weight: 2, arbitrary: time(12_000) }
    ),
    // The last is none.
    tool: fc.constantFrom(...Array.from({ length: 30 }, (_, n) => n % 3), 3),
    principal: fc.constantFrom(0, 0, 0, 0, 1, 1, 2, 3),
    door: fc.constantFrom("run" as const, "execute" as const),
    params,
    steps: fc.array(step, { minLength: 1, maxLength: 4 }),
    timeout: maybe(time(6400), 4),
    retries: maybe(fc.nat(4), 4),
    within: maybe(
      fc.oneof({ weight: 1, arbitrary: fc.constant(0) }, { weight: 20, arbitrary: time(24000) }),
      3
    ),
    requireConfirmation: maybe(fc.boolean(), 12),
    key: maybe(fc.constantFrom("one", "one of its own", "one of its own"), 2),
    repeats: fc.constantFrom(false, false, true),
    again: maybe(
      fc.record({
        says: fc.constantFrom(
          "granted" as const,
          "granted" as const,
          "rejected" as const,
          "nothing" as const
        ),
        decided: time(4000),
        made: fc.integer({ min: 4001, max: 24_000 }),
        once: maybe(fc.integer({ min: 24_001, max: 60_000 }), 2)
      }),
      3
    ),
    interruptedAfter: maybe(time(12000), 4)
  })
  .map(({ key, ...call }) => ({
    ...call,
    // The same for most calls with the same arguments, or one that other arguments were used with.
    idempotencyKey:
      key === "one of its own" ? `key of ${(call.params as { readonly n?: unknown } | undefined)?.n}` : key
  }))

/** Some calls do once more what the call before them does. */
const scenario: fc.Arbitrary<Scenario> = fc
  .array(call, { minLength: 1, maxLength: 6, size: "max" })
  .map((calls) =>
    calls.map(({ repeats, ...call }, index) => {
      const before = calls[index - 1]
      if (!repeats || before === undefined) return call
      const { idempotencyKey, params, principal, tool } = before
      return { ...call, idempotencyKey, params, principal, tool }
    })
  )

const names = ["read_file", "delete_record", "srv__pay"]

const toolSpecs: fc.Arbitrary<ReadonlyArray<ToolSpec>> = fc
  .array(
    fc.record({
      capabilities: maybe(
        fc.subarray(["read_data", "delete_data", "network_access", "financial"], { maxLength: 1 }),
        3
      ),
      timeout: maybe(time(9600), 3),
      retries: maybe(fc.nat(3), 2),
      circuit: maybe(fc.constantFrom<string | false>("shared", "shared", false)),
      cost: maybe(fc.integer({ min: 0, max: 50 })),
      fallback: maybe(fc.constantFrom("fits" as const, "fits" as const, "misfits" as const), 3),
      readonly: maybe(fc.boolean(), 2),
      idempotent: maybe(fc.boolean(), 2),
      confirmation: maybe(fc.constantFrom("confirm" as const, "approve" as const), 14),
      busyIs: maybe(
        fc.constantFrom("Retryable" as const, "Caller" as const, "Policy" as const, "Defect" as const),
        5
      ),
      bulkhead: maybe(fc.record({ maxConcurrent: fc.integer({ min: 1, max: 2 }), maxQueue: fc.nat(2) }))
    }),
    { minLength: 3, maxLength: 3 }
  )
  .map((specs) => specs.map((spec, index) => ({ name: names[index] as string, ...spec })))

const globs = (weight: number) =>
  maybe(fc.constantFrom(["delete_*"], ["PAY"], ["*"], ["read_?ile", "nothing"], ["srv__*"]), weight)

const options: fc.Arbitrary<Plain.Options> = fc
  .record({
    permissions: maybe(fc.record({ undeclared: fc.constantFrom("allow" as const, "deny" as const) }), 8),
    policy: fc.record({
      default: maybe(fc.constantFrom("allow" as const, "deny" as const), 8),
      allow: globs(5),
      deny: globs(16),
      requireConfirmation: globs(10),
      requireApproval: globs(16),
      argumentLimits: maybe(
        fc.constantFrom<object>({ stringLength: 100 }, { bytes: 60 }, { depth: 3 }, { items: 5 }),
        3
      )
    }),
    rateLimits: maybe(
      fc.array(
        fc.record({
          limit: fc.integer({ min: 1, max: 6 }),
          window: time(40000),
          by: maybe(fc.constantFrom("all" as const, "tool" as const, "principal" as const)),
          per: maybe(fc.constantFrom("call" as const, "attempt" as const)),
          tools: globs(3)
        }),
        { minLength: 1, maxLength: 2 }
      ),
      2
    ),
    bulkhead: maybe(fc.record({ maxConcurrent: fc.integer({ min: 1, max: 3 }), maxQueue: fc.nat(2) })),
    breaker: fc.record({
      failures: fc.integer({ min: 1, max: 4 }),
      openFor: time(24000),
      growth: fc.constantFrom(1, 1, 2),
      probes: fc.integer({ min: 1, max: 2 }),
      successThreshold: fc.integer({ min: 1, max: 2 })
    }),
    budget: maybe(
      fc.array(
        fc.record({
          max: fc.integer({ min: 0, max: 150 }),
          per: maybe(fc.constantFrom("principal" as const, "call" as const)),
          window: maybe(time(40000)),
          tools: globs(3)
        }),
        { minLength: 1, maxLength: 2 }
      )
    ),
    backoff: fc.record({ base: time(2400), jitter: fc.constantFrom("full" as const, "none" as const) }),
    defaults: fc.record({
      timeout: maybe(time(12000), 2),
      deadline: maybe(time(40000), 2),
      retries: maybe(fc.nat(3), 2)
    })
  })
  .map(
    ({
      breaker: { failures, ...breaker },
      budget,
      defaults: { retries, ...defaults },
      rateLimits,
      ...rest
    }) =>
      // What is absent must be absent: a policy is decoded, and knows no `undefined`.
      present({
        ...rest,
        policy: present(rest.policy),
        breaker: { ...breaker, trip: CircuitBreaker.consecutive(failures) },
        budget: budget?.map((limit, index) => ({ name: `budget ${index}`, ...present(limit) })),
        rateLimits: rateLimits?.map((limit, index) => ({ name: `limit ${index}`, ...present(limit) })),
        defaults: { ...present(defaults), ...(retries === undefined ? {} : { retry: { retries } }) }
      }) as Plain.Options
  )

const present = <A extends object>(given: A): A =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as A

const biased: fc.Arbitrary<Series> = fc
  .record({
    setting: fc.record({
      chance: fc.constantFrom(0, 0.37, 0.999),
      options,
      ruled: fc.constantFrom(false, false, true),
      tools: toolSpecs
    }),
    scenarios: fc.array(scenario, {
      minLength: 1,
      maxLength: 20,
      size: "max"
    })
  })
  .map(({ scenarios, setting }) => {
    const perCall = setting.options.budget?.some(({ per }) => per === "call") === true
    if (!perCall) return { setting, scenarios }
    // What one call may spend is forgotten some time after it, and nobody promises when.
    const once = (call: Call): Call => ({ ...call, again: undefined })
    return { setting, scenarios: scenarios.map((calls) => calls.map(once)) }
  })

/** As random as they can be: small and extreme values are no more likely than others. */
export const series: fc.Arbitrary<Series> = fc.noBias(biased)
