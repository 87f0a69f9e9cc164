/** What each stage of the pipeline costs: everything that is on by default, less one thing at a time, and more. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import {
  ToolAnnotations as Annotate,
  Approvals,
  AuditLog,
  Bulkhead,
  CallRecord,
  Run,
  Screening,
  Telemetry
} from "../src/index.ts"
import { check, convert, params } from "./convert.ts"
import { inOneFiber } from "./doors.ts"
import { type Measured, measure } from "./measure.ts"
import { type Outcome, outcome, type Table } from "./report.ts"
import { verify } from "./support.ts"
import { differenceOf } from "./table.ts"
import { makeWorld, usual, type World, type WorldOptions } from "./tools.ts"

/** Another world, or another call in it: the `n`th of all. */
interface Variant extends WorldOptions {
  readonly call?: (world: World, n: number) => Effect.Effect<unknown, unknown>
  readonly context?: Context.Context<never>
  readonly checked?: (value: unknown) => void
}

const without = (name: keyof typeof usual) => ({ ...usual, [name]: undefined })
const recorder = Layer.succeed(CallRecord.CallRecorder, {
  sink: { onStart: () => {}, onChange: () => {}, onEnd: () => {} },
  add: () => Effect.void,
  records: Stream.empty
})
const noBulkhead = Layer.succeed(Bulkhead.Bulkhead, {
  forTool: () => undefined,
  running: () => 0,
  queued: () => 0
})

/** Everything that is on, less one. */
const less: Readonly<Record<string, Variant>> = {
  policy: { governance: without("policy") },
  "rate limit": { governance: without("rateLimits") },
  screening: { replaced: Screening.layerNoop },
  bulkheads: { replaced: noBulkhead },
  budget: { governance: without("budget") },
  "circuit breaker": { annotated: (tool) => tool.annotate(Annotate.Circuit, false) },
  retries: { annotated: (tool) => tool.annotate(Annotate.Retries, 0) },
  timeout: { annotated: (tool) => tool.annotate(Annotate.Timeout, Duration.infinity) },
  audit: { replaced: AuditLog.layerNoop },
  "spans and metrics": { governance: { ...usual, telemetry: Telemetry.layerNoop } },
  "records: health, history, metrics, events": { replaced: recorder },
  "all of these": {
    governance: { telemetry: Telemetry.layerNoop },
    replaced: Layer.mergeAll(Screening.layerNoop, noBulkhead, AuditLog.layerNoop, recorder),
    annotated: (tool) =>
      tool
        .annotate(Annotate.Circuit, false)
        .annotate(Annotate.Retries, 0)
        .annotate(Annotate.Timeout, Duration.infinity)
  }
}

/** Other arguments in each call: a model that asks for the same over and over goes round in circles. */
const another = ({ executor }: World, n: number) => executor.run("convert", { ...params, amount: n })
const isAmount = (value: unknown) =>
  verify(Number.isFinite((value as ReturnType<typeof convert>).amount), JSON.stringify(value))

const more: Readonly<Record<string, Variant>> = {
  "a deadline and a timeout of the call's own": {
    call: ({ executor }) => executor.run("convert", params, { deadline: 60_000, timeout: 10_000 })
  },
  "a tracer": {
    context: Context.make(Tracer.Tracer, Tracer.make({ span: (options) => new Tracer.NativeSpan(options) }))
  },
  "a program's run": { context: Context.make(Run.CurrentRun, Run.make({ id: "run" })) },
  "a model's run: loops": {
    context: Context.make(Run.CurrentRun, Run.make({ id: "run", driver: "model" })),
    call: another,
    checked: isAmount
  },
  "a model's run, an untrusted tool: loops and taint": {
    context: Context.make(Run.CurrentRun, Run.make({ id: "run", driver: "model" })),
    annotated: (tool) => tool.annotate(Annotate.Trust, "untrusted"),
    call: another,
    checked: isAmount
  },
  "an idempotency key": {
    call: ({ executor }, n) => executor.run("convert", params, { idempotencyKey: `key ${n}` })
  },
  "a result that is cached": { annotated: (tool) => tool.annotate(Annotate.Cache, {}) },
  "a confirmation that is granted at once": {
    governance: { ...usual, approvals: Approvals.layerAllowAll },
    annotated: (tool) => tool.annotate(Annotate.Confirmation, "confirm")
  },
  "a handler that answers with a value": { handler: convert }
}

const subjectOf = Effect.fnUntraced(function* (name: string, variant: Variant) {
  const world = yield* makeWorld(variant)
  const context = Context.merge(world.context, variant.context ?? Context.empty())
  const call = variant.call ?? (({ executor }: World) => executor.run("convert", params))
  let n = 0
  return [name, inOneFiber(name, context, () => call(world, ++n), variant.checked ?? check)] as const
})

export const run = (): Promise<Outcome> =>
  Effect.gen(function* () {
    const all = yield* subjectOf("everything that is on by default", {})
    const fewer = yield* Effect.forEach(Object.entries(less), ([name, variant]) =>
      subjectOf(`without ${name}`, variant)
    )
    const further = yield* Effect.forEach(Object.entries(more), ([name, variant]) =>
      subjectOf(`with ${name}`, variant)
    )
    const subjects = Object.fromEntries([all, ...fewer, ...further])
    const { results, wrong } = yield* Effect.promise(() => measure(subjects, { laps: false, rounds: 15 }))
    return outcome({ tables: [tableOf(Array.from(results.values()))], wrong })
  }).pipe(Effect.scoped, Effect.runPromise)

const tableOf = (results: ReadonlyArray<Measured>): Table => {
  const [base] = results
  return {
    title: "One call, run in a fiber, everything that is on by default, less one thing and more",
    columns: [
      { title: "" },
      { title: "CPU µs" },
      { title: "± %", digits: 2 },
      { title: "µs more" },
      { title: "bytes" },
      { title: "bytes more" }
    ],
    rows: results.map((one) => [
      one.name,
      one.micros,
      100 * one.spread,
      differenceOf(one, base),
      one.bytes,
      one.bytes - (base?.bytes ?? Number.NaN)
    ])
  }
}
