/**
 * Twenty secrets in the arguments of calls that end in every way, over every
 * door that is the whole pipeline: none of them is in what anyone but the
 * caller can see later, and none of the values in what the caller is told.
 */
import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Tracer from "effect/Tracer"
import * as TestClock from "effect/testing/TestClock"
import {
  ToolAnnotations as Annotate,
  CallRecord,
  Handlers,
  Health,
  History,
  Interlock,
  Retry,
  Telemetry,
  type ToolCall,
  ToolExecutor
} from "effect-interlock"
import { type DoorUnderTest, doors } from "./support/doors.ts"

// --- The secrets, and where they are put -----------------------------------

/** Two that are names, which the caller's own message may repeat; the rest are values, which nothing may. */
const secrets = Array.from({ length: 20 }, (_, n) => `hunter${n}x${"abcdefghijklmnopqrst"[n]}`)
const names = secrets.slice(0, 2)
const values = secrets.slice(2)
const [key, unknownName] = names as [string, string]
const [v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15, v16, v17, v18, v19] = values

const Payload = Schema.Struct({
  card: Schema.String,
  url: Schema.String,
  nested: Schema.Struct({ list: Schema.Array(Schema.Struct({ deep: Schema.String })) }),
  map: Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Struct({ pin: Schema.String })])),
  hidden: Schema.RedactedFromValue(Schema.String),
  long: Schema.String
})

const url = `https://${v3}:${v4}@evil.example/${v5}?token=${v6}#${v7}`

const params = {
  card: v2,
  url,
  nested: { list: [{ deep: v8 }, { deep: v9 }] },
  map: { [key]: v10, other: { pin: v11 } },
  hidden: v12,
  long: `${v13} ${"-".repeat(4096)} ${v14}`
}

/** What fits nowhere: every value is of a wrong kind, too long, or out of its place. */
const misfits = {
  card: [v2],
  url: { [key]: url },
  nested: { list: [{ deep: { [key]: v8 } }, v9] },
  map: { [key]: [v10], other: { pin: { [key]: v11 } } },
  hidden: [v12],
  [unknownName]: { [key]: v15 }
}

const Picky = Schema.Struct({
  unit: Schema.Literals(["C", "F"]),
  when: Schema.DateTimeUtcFromString,
  code: Schema.String.check(Schema.isPattern(/^[A-Z]{3}$/)),
  count: Schema.FiniteFromString.check(Schema.isBetween({ minimum: 1, maximum: 3 })),
  link: Schema.URLFromString
})
const unfit = { unit: v16, when: v17, code: v18, count: v19, link: `not ${v15}` }

/** What a handler was given, as a careless one would quote it. */
const quote = (given: { readonly hidden?: Redacted.Redacted<string> }): string =>
  JSON.stringify({ ...given, hidden: given.hidden === undefined ? "" : Redacted.value(given.hidden) })

// --- The tools -------------------------------------------------------------

class Declared extends Schema.TaggedError<Declared>()("Declared", { why: Schema.String }) {}

const tool = <const Name extends string>(name: Name) =>
  Tool.make(name, { parameters: Payload, success: Schema.String, failureMode: "return" })

const Tools = Toolkit.make(
  tool("works"),
  tool("throws").annotate(Tool.Readonly, true),
  tool("rejects").annotate(Tool.Readonly, true).annotate(Annotate.Retries, 1),
  tool("dies"),
  tool("lies"),
  tool("hangs").annotate(Annotate.Timeout, "1 second").annotate(Annotate.Retries, 0),
  tool("falls").annotate(Annotate.Fallback, { tool: "throws" }),
  tool("degrades").annotate(Annotate.Fallback, { tool: "works" }),
  tool("secretive").annotate(Annotate.Classify, (error) => {
    throw new Error(String(error))
  }),
  tool("denied"),
  tool("asks").setNeedsApproval(true),
  Tool.make("declares", { parameters: Payload, failure: Declared, failureMode: "return" }),
  Tool.make("picky", { parameters: Picky, failureMode: "return" }),
  Tool.dynamic("raw", {
    parameters: {
      type: "object",
      properties: {
        card: { type: "integer" },
        url: { enum: ["a"] },
        map: { additionalProperties: { type: "number" } }
      },
      required: ["absent"],
      additionalProperties: false
    }
  })
)

const fails = (given: Parameters<typeof quote>[0]) => {
  const said = quote(given)
  return new Error(`refused ${said}`, { cause: { request: said, headers: new Map([[said, said]]) } })
}

const RawHandlers = Handlers.toLayer(Tools, {
  works: () => "done",
  throws: (given) => {
    throw fails(given)
  },
  rejects: (given) => Promise.reject(fails(given)),
  dies: (given) => Effect.die(fails(given)),
  lies: (given) => ({ [quote(given)]: quote(given) }) as never,
  hangs: () => Effect.never,
  falls: (given) => Effect.die(fails(given)),
  degrades: (given) => Effect.die(fails(given)),
  secretive: (given) => Effect.fail(fails(given)) as never,
  denied: () => "never",
  asks: () => "never",
  declares: (given) => Effect.fail(new Declared({ why: quote(given) })),
  picky: () => undefined,
  raw: () => undefined
})

/** Every way for a call to end, and what its caller is told. */
const scenarios: ReadonlyArray<{
  readonly tool: string
  readonly params: unknown
  /** What the door may say. */
  readonly codes: ReadonlyArray<string | undefined>
}> = [
  { tool: "works", params, codes: [undefined] },
  { tool: "degrades", params, codes: [undefined, "HANDLER_DEFECT"] },
  { tool: "throws", params, codes: ["HANDLER_FAILED"] },
  { tool: "rejects", params, codes: ["HANDLER_FAILED"] },
  { tool: "dies", params, codes: ["HANDLER_DEFECT"] },
  { tool: "lies", params, codes: ["INVALID_RESULT"] },
  { tool: "hangs", params, codes: ["TIMED_OUT"] },
  { tool: "falls", params, codes: ["HANDLER_DEFECT"] },
  { tool: "secretive", params, codes: ["HANDLER_DEFECT"] },
  { tool: "denied", params, codes: ["POLICY_DENIED"] },
  { tool: "asks", params, codes: ["PENDING_CONFIRMATION"] },
  { tool: "declares", params, codes: [undefined, "TOOL_FAILED"] },
  { tool: "works", params: misfits, codes: ["INVALID_PARAMS"] },
  { tool: "works", params: { ...params, [unknownName]: v15 }, codes: ["INVALID_PARAMS"] },
  {
    tool: "works",
    params: { ...params, long: v13!.repeat(100_000) },
    codes: ["ARGUMENTS_REFUSED", "INVALID_PARAMS"]
  },
  { tool: "picky", params: unfit, codes: ["INVALID_PARAMS"] },
  { tool: "raw", params, codes: ["INVALID_PARAMS"] },
  { tool: "no_such_tool", params, codes: ["TOOL_NOT_FOUND"] }
]

// --- Everything that anyone can see ----------------------------------------

/** All that is left behind, as text, in the words of every printer there is. */
class Traces {
  readonly texts: Array<string> = []
  readonly spans: Array<Tracer.Span> = []

  note(...seen: ReadonlyArray<unknown>): void {
    for (const thing of seen) this.texts.push(inspect(thing, { depth: 10, showHidden: true }), json(thing))
  }

  readonly tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      this.spans.push(span)
      return span
    }
  })

  readonly logger = Logger.make((entry) => {
    this.note(entry.message, entry.fiber.getRef(References.CurrentLogAnnotations))
    this.texts.push(Cause.pretty(entry.cause), inspect(entry.cause, { depth: 10 }))
  })

  readonly sink: CallRecord.Sink = {
    onStart: (record) => this.record(record),
    onChange: (record) => this.record(record),
    onEnd: (record) => this.record(record)
  }

  record(record: CallRecord.CallRecord): void {
    this.note(record, { ...record }, CallRecord.toJson(record))
    // As it is printed before and after somebody has read what it says of the arguments.
    this.note(record.arguments.shape, record.arguments.hash, record)
  }

  /** The texts that say one of these. */
  saying(secret: string): ReadonlyArray<string> {
    for (const span of this.spans.splice(0)) {
      const native = span as Tracer.NativeSpan
      this.note(span.name, [...span.attributes], native.events, span.links)
      // An exporter looks at an exit only where it is a failure.
      if (span.status._tag === "Ended" && Exit.isFailure(span.status.exit)) {
        this.note(span.status.exit)
        this.texts.push(Cause.pretty(span.status.exit.cause))
      }
    }
    return this.texts.filter((text) => text.includes(secret)).map((text) => text.slice(0, 2000))
  }
}

const json = (thing: unknown): string =>
  JSON.stringify(thing, (_, value) => (typeof value === "bigint" ? `${value}` : value)) ?? ""

const options: Interlock.Options = {
  policy: { deny: ["denied"], deniedDomains: ["blocked.example"] },
  // A model drives what comes over MCP, and many of these calls fail.
  loops: { errors: 1000 },
  defaults: { retry: Retry.make({ schedule: Schedule.exponential("100 millis") }) }
}

const Services = Layer.provideMerge(Telemetry.layer, Interlock.layer(options))

/** Runs calls with everything in view, and looks for the secrets. */
const watched = <A>(body: (traces: Traces) => Effect.Effect<A, never, Interlock.Services | Handled>) =>
  Effect.gen(function* () {
    const traces = new Traces()
    const registry = new Map()
    yield* Effect.gen(function* () {
      yield* Effect.flatMap(CallRecord.CallRecorder, (recorder) => recorder.add(traces.sink))
      yield* body(traces)
      const history = yield* History.History
      const health = yield* Health.Health
      traces.note(yield* history.recent(), yield* history.statistics, yield* health.all)
      for (const record of yield* history.recent()) traces.record(record)
      const metrics = yield* Metric.snapshot
      assert.isNotEmpty(metrics)
      traces.note(metrics, yield* Metric.dump)
    }).pipe(
      Effect.scoped,
      Effect.provide(RawHandlers.pipe(Layer.provideMerge(Services))),
      Effect.provideService(Metric.MetricRegistry, registry),
      Effect.provideService(References.MinimumLogLevel, "All"),
      Effect.provide(Logger.layer([traces.logger])),
      Effect.withTracer(traces.tracer)
    )
    assert.isNotEmpty(traces.spans)
    for (const secret of secrets) assert.deepStrictEqual(traces.saying(secret), [], secret)
  })

type Handled = Tool.HandlersFor<Toolkit.Tools<typeof Tools>>

/** Lets a call run while virtual time passes. */
const inTime = <A, R>(effect: Effect.Effect<A, never, R>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect)
    for (let second = 0; second < 10 && fiber.pollUnsafe() === undefined; second++) {
      for (let i = 0; i < 20; i++) yield* Effect.yieldNow
      yield* TestClock.adjust("1 second")
    }
    return yield* Fiber.join(fiber)
  })

const open = (door: DoorUnderTest) => door.open(Tools as never) as Effect.Effect<CallTool, never, never>
type CallTool = Effect.Success<ReturnType<DoorUnderTest["open"]>>

// --- The tests -------------------------------------------------------------

describe("twenty secrets in the arguments", () => {
  // Effect's own toolkit, which a guard stands behind, writes the parameters on the current span.
  for (const door of doors.filter(({ name }) => name !== "guard")) {
    it.effect(`leave nothing behind through ${door.name}, however the call ends`, () =>
      watched(() =>
        Effect.gen(function* () {
          const call = yield* open(door)
          for (const scenario of scenarios) {
            const seen = yield* inTime(Effect.scoped(call(scenario.tool, scenario.params)))
            assert.include(scenario.codes, seen.code, scenario.tool)
            // The tool's own failure goes back to whoever called.
            if (scenario.tool === "declares") continue
            for (const secret of values) assert.notInclude(seen.text, secret, scenario.tool)
          }
        })
      )
    )
  }

  it.effect("are in no URL that the policy refuses to visit", () =>
    watched((traces) =>
      Effect.gen(function* () {
        const executor = yield* ToolExecutor.make(Tools)
        const blocked = url.replace("evil.example", "blocked.example")
        const refused = yield* executor.execute({ tool: "works", params: { ...params, url: blocked } })
        assert.strictEqual(refused.status, "policy_denied")
        traces.note(refused, refused.error)
      })
    )
  )

  it.effect("are let go of by a call that is interrupted, and by one that waits", () =>
    watched((traces) =>
      Effect.gen(function* () {
        const executor = yield* ToolExecutor.make(Tools)
        const fiber = yield* Effect.forkChild(executor.execute({ tool: "hangs", params }), {
          startImmediately: true
        })
        const [running] = yield* Effect.flatMap(History.History, (history) => history.recent())
        assert.strictEqual(running?.status, "running")
        traces.record(running!)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(running?.status, "cancelled")
      })
    )
  )

  it.effect("stay out of everything when the call itself is malformed, idempotency key included", () =>
    watched((traces) =>
      Effect.gen(function* () {
        const executor = yield* ToolExecutor.make(Tools)
        const calls: ReadonlyArray<unknown> = [
          { tool: "works", params, idempotencyKey: v15 },
          { tool: "works", params, timeout: v16, retries: [v17], deadline: { [key]: v18 }, id: { a: v19 } },
          { tool: v15, params },
          { tool: [v16], params },
          v17,
          [v18, params],
          new Error(v19)
        ]
        for (const call of calls) {
          const result = yield* executor.execute(call as ToolCall)
          traces.note(result.error?.message, Cause.pretty(Cause.fail(result.error)))
        }
      })
    )
  )
})
