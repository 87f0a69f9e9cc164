/** What arrives at a real collector: from `effect/observability` and from OpenTelemetry's own SDK for Node. */
import { createServer, type IncomingMessage } from "node:http"
import type { AddressInfo } from "node:net"
import * as NodeSdk from "@effect/opentelemetry/NodeSdk"
import { assert, describe, it } from "@effect/vitest"
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-http"
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http"
import { PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics"
import { BatchSpanProcessor } from "@opentelemetry/sdk-trace-base"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Otlp from "effect/observability/Otlp"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import {
  ToolAnnotations as Annotate,
  Batch,
  Handlers,
  Interlock,
  Principal,
  Retry,
  ToolExecutor
} from "effect-interlock"
import * as CallRecord from "../src/CallRecord.ts"
import { ArgumentsView } from "../src/internal/argumentsView.ts"
import * as Telemetry from "../src/Telemetry.ts"
import { change, end, start } from "./support/records.ts"

// --- The collector ---------------------------------------------------------

interface KeyValue {
  readonly key: string
  readonly value: { readonly stringValue?: string; readonly intValue?: number | string }
}
interface OtlpSpan {
  readonly name: string
  readonly kind: number
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly attributes: ReadonlyArray<KeyValue>
  readonly events: ReadonlyArray<{ readonly name: string; readonly attributes: ReadonlyArray<KeyValue> }>
  readonly status: { readonly code: number; readonly message?: string }
}
interface OtlpPoint {
  readonly attributes: ReadonlyArray<KeyValue>
  readonly count?: number
  readonly asInt?: number | string
  readonly asDouble?: number
}
interface OtlpMetric {
  readonly name: string
  readonly unit: string
  readonly histogram?: { readonly dataPoints: ReadonlyArray<OtlpPoint> }
  readonly sum?: { readonly dataPoints: ReadonlyArray<OtlpPoint> }
  readonly gauge?: { readonly dataPoints: ReadonlyArray<OtlpPoint> }
}
interface OtlpTraces {
  readonly resourceSpans: ReadonlyArray<{
    readonly scopeSpans: ReadonlyArray<{ readonly spans: ReadonlyArray<OtlpSpan> }>
  }>
}
interface OtlpMetrics {
  readonly resourceMetrics: ReadonlyArray<{
    readonly scopeMetrics: ReadonlyArray<{ readonly metrics: ReadonlyArray<OtlpMetric> }>
  }>
}

/** What was posted, by path. */
type Received = Map<string, Array<string>>

/** What one OTLP collector on a free port of the loopback has received. */
const collector = Effect.acquireRelease(
  Effect.callback<{
    readonly url: string
    readonly received: Received
    readonly close: () => void
  }>((resume) => {
    const received: Received = new Map()
    const server = createServer((request: IncomingMessage, response) => {
      const parts: Array<Buffer> = []
      request.on("data", (part: Buffer) => parts.push(part))
      request.on("end", () => {
        const path = request.url ?? ""
        received.set(path, [...(received.get(path) ?? []), Buffer.concat(parts).toString("latin1")])
        response.writeHead(200, { "content-type": "application/json" }).end("{}")
      })
    })
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo
      resume(
        Effect.succeed({
          url: `http://127.0.0.1:${port}`,
          received,
          close: () => void server.close().closeAllConnections()
        })
      )
    })
  }),
  ({ close }) => Effect.sync(close)
)

const bodies = (received: Received, path: string): ReadonlyArray<unknown> =>
  (received.get(path) ?? []).map((body) => JSON.parse(body))

const spansOf = (received: Received): ReadonlyArray<OtlpSpan> =>
  (bodies(received, "/v1/traces") as ReadonlyArray<OtlpTraces>).flatMap(({ resourceSpans }) =>
    resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))
  )

const metricsOf = (received: Received): ReadonlyMap<string, OtlpMetric> =>
  new Map(
    (bodies(received, "/v1/metrics") as ReadonlyArray<OtlpMetrics>)
      .flatMap(({ resourceMetrics }) => resourceMetrics.flatMap(({ scopeMetrics }) => scopeMetrics))
      .flatMap(({ metrics }) => metrics.map((metric) => [metric.name, metric] as const))
  )

const values = (attributes: ReadonlyArray<KeyValue>): Record<string, unknown> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? Number(value.intValue)]))

// --- The exporters ---------------------------------------------------------

/** Sends everything to a collector; what is left goes out when the layer closes. */
type Exporter = (url: string) => Layer.Layer<never>

const otlp =
  (layer: typeof Otlp.layerJson): Exporter =>
  (baseUrl) =>
    layer({ baseUrl, resource: { serviceName: "test" } }).pipe(Layer.provide(FetchHttpClient.layer))

const sdk: Exporter = (url) =>
  NodeSdk.layer(() => ({
    resource: { serviceName: "test" },
    spanProcessor: new BatchSpanProcessor(new OTLPTraceExporter({ url: `${url}/v1/traces` })),
    metricReader: new PeriodicExportingMetricReader({
      exporter: new OTLPMetricExporter({ url: `${url}/v1/metrics` })
    })
  }))

const exporters: Readonly<Record<string, Exporter>> = {
  "effect/observability": otlp(Otlp.layerJson),
  "@effect/opentelemetry": sdk
}

/** Runs an effect below a span of its own, and gives what the collector has received when the exporter is closed. */
const exported = <A>(
  exporter: Exporter,
  effect: Effect.Effect<A>
): Effect.Effect<Received, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { received, url } = yield* collector
    yield* effect.pipe(
      Effect.withSpan("agent"),
      Effect.provide(exporter(url)),
      Effect.provideService(Metric.MetricRegistry, new Map())
    )
    return received
  })

const secrets = Array.from({ length: 20 }, (_, n) => `s3cret-${n}-${"abcdefghijklmnopqrst"[n]}`)

// --- What is exported ------------------------------------------------------

/** A call with secrets wherever a record has room for one, that is tried twice and fails. */
const failingCall: Effect.Effect<void> = Effect.withFiber((fiber) =>
  Effect.gen(function* () {
    const { sink } = yield* CallRecord.CallRecorder
    const telemetry = yield* Telemetry.Telemetry
    const span = telemetry.open(fiber, {
      callId: "call-42",
      tool: "pay",
      description: "Pays a bill",
      door: "execute"
    })
    if (span === undefined) return assert.fail("nobody traces")
    const params = { [secrets[0]!]: secrets[1], card: { number: secrets[2], codes: secrets.slice(3, 8) } }
    const record = start(sink, {
      callId: "call-42",
      tool: "pay",
      principal: secrets[8]!,
      tenant: secrets[9],
      actor: { kind: "model", id: secrets[10]! },
      metadata: { [secrets[11]!]: secrets[12]!, note: secrets.slice(13).join(" ") },
      arguments: ArgumentsView.of(
        {
          hashKey: new Uint8Array(32),
          sharesInput: false,
          names: new Set(["card"]),
          redact: () => ({ value: "masked", masked: [] })
        },
        { _tag: "Ok", bytes: 100, copy: params }
      ),
      traceId: span.traceId,
      spanId: span.spanId
    })
    change(sink, record, "running")
    record.retried = [{ attempt: 1, code: "TIMED_OUT", delay: 100 }]
    change(sink, record, "retrying")
    change(sink, record, "running")
    // The handler's own work, as the pipeline runs it: below the call's span.
    yield* Effect.void.pipe(Effect.withSpan("handler"), Effect.withParentSpan(span))
    end(sink, record, "HandlerFailed")
    telemetry.close(span, record)
  })
).pipe(Effect.provide(Telemetry.layer.pipe(Layer.provideMerge(CallRecord.layer))))

const Order = Schema.Struct({ card: Schema.String, map: Schema.Record(Schema.String, Schema.String) })
const order = { card: secrets[0]!, map: { [secrets[1]!]: secrets.slice(2).join(" ") } }

class Refused extends Schema.TaggedError<Refused>()("Refused", { why: Schema.String }) {}

const Tools = Toolkit.make(
  Tool.make("pay", { description: "Pays a bill", parameters: Order, success: Schema.String }),
  Tool.make("flaky", { parameters: Order, success: Schema.String }).annotate(Tool.Idempotent, true),
  Tool.make("refund", { parameters: Order, success: Schema.String }).annotate(Annotate.Capabilities, [
    "financial"
  ]),
  Tool.make("refuse", { parameters: Order, failure: Refused }),
  Tool.make("break", { parameters: Order, success: Schema.String })
)

const PaidHandlers = Effect.sync(() => {
  let runs = 0
  return Handlers.toLayer(Tools, {
    pay: () => Effect.succeed("paid").pipe(Effect.withSpan("bank.transfer"), Effect.withSpan("bank.open")),
    flaky: ({ card }) => {
      if (++runs % 2 === 1) throw new Error(`declined ${card}`)
      return "paid"
    },
    refund: () => "refunded",
    refuse: ({ card }) => Effect.fail(new Refused({ why: card })),
    break: ({ card, map }) => Effect.die(new Error(card, { cause: map }))
  })
}).pipe(Layer.unwrap)

const Services = Interlock.layer({
  defaults: { retry: Retry.make({ schedule: Schedule.spaced("1 millis") }) }
})

/** One call of each kind, and a batch. */
const calls: Effect.Effect<void> = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(Tools)
  yield* executor.execute({ id: "paid", tool: "pay", params: order })
  yield* executor.execute({ id: "retried", tool: "flaky", params: order })
  yield* executor.execute({ id: "denied", tool: "refund", params: order })
  yield* executor.execute({ id: "refused", tool: "refuse", params: order })
  yield* executor.execute({ id: "broken", tool: "break", params: order })
  yield* executor.execute({ id: "invalid", tool: "pay", params: { ...order, card: [secrets[0]] } })
  yield* executor.search(`pay ${secrets[3]}`)
  yield* Batch.parallel(
    executor,
    Array.from({ length: 3 }, (_, n) => ({ id: `batch-${n}`, tool: "pay", params: order }))
  ).pipe(Effect.withSpan("batch"))
}).pipe(
  Principal.provide(Principal.make({ id: "ada" })),
  Effect.provide(PaidHandlers.pipe(Layer.provideMerge(Services)))
)

// --- The tests -------------------------------------------------------------

for (const [name, exporter] of Object.entries(exporters)) {
  describe(`through ${name}`, () => {
    it.live("a call's span arrives: names, parentage, retries and the code", () =>
      Effect.gen(function* () {
        const spans = new Map(
          spansOf(yield* exported(exporter, failingCall)).map((span) => [span.name, span])
        )
        const agent = spans.get("agent")!
        const tool = spans.get("execute_tool pay")!
        const handler = spans.get("handler")!
        assert.strictEqual(tool.parentSpanId, agent.spanId)
        assert.strictEqual(handler.parentSpanId, tool.spanId)
        assert.deepStrictEqual([tool.traceId, handler.traceId], [agent.traceId, agent.traceId])
        assert.strictEqual(tool.kind, 1)
        assert.deepStrictEqual(values(tool.attributes), {
          "gen_ai.operation.name": "execute_tool",
          "gen_ai.tool.name": "pay",
          "gen_ai.tool.call.id": "call-42",
          "gen_ai.tool.type": "function",
          "gen_ai.tool.description": "Pays a bill",
          "interlock.door": "execute",
          "error.type": "HANDLER_FAILED",
          "interlock.status": "failure",
          "interlock.attempts": 2
        })
        assert.deepStrictEqual(tool.status, { code: 2, message: "HANDLER_FAILED" })
        const [retry, exception] = tool.events
        assert.strictEqual(retry?.name, "interlock.retry")
        assert.deepStrictEqual(values(retry!.attributes), {
          "interlock.attempt": 1,
          "error.type": "TIMED_OUT",
          "interlock.delay": 100
        })
        assert.strictEqual(
          values(exception!.attributes)["exception.stacktrace"],
          "HANDLER_FAILED: HANDLER_FAILED"
        )
      })
    )

    it.live(
      "every call of an executor is a child of its caller, and the parent of what its handler does",
      () =>
        Effect.gen(function* () {
          const spans = spansOf(yield* exported(exporter, calls))
          const byId = new Map(spans.map((span) => [values(span.attributes)["gen_ai.tool.call.id"], span]))
          const named = (wanted: string) => spans.filter((span) => span.name === wanted)
          const [agent] = named("agent")
          const [batch] = named("batch")
          assert.deepStrictEqual(new Set(spans.map(({ traceId }) => traceId)), new Set([agent!.traceId]))

          const seen = (id: string) => {
            const span = byId.get(id)!
            const {
              "interlock.attempts": attempts,
              "interlock.status": status,
              "error.type": error
            } = values(span.attributes)
            assert.strictEqual(span.parentSpanId, id.startsWith("batch") ? batch!.spanId : agent!.spanId)
            return [span.name, status, attempts, error, span.status.code]
          }
          const fine = ["execute_tool pay", "success", 1, undefined, 1]
          assert.deepStrictEqual(seen("paid"), fine)
          for (const n of [0, 1, 2]) assert.deepStrictEqual(seen(`batch-${n}`), fine)
          assert.deepStrictEqual(seen("retried"), ["execute_tool flaky", "success", 2, undefined, 1])
          assert.deepStrictEqual(seen("denied"), [
            "execute_tool refund",
            "permission_denied",
            0,
            "PERMISSION_DENIED",
            2
          ])
          assert.deepStrictEqual(seen("refused"), ["execute_tool refuse", "failure", 1, "TOOL_FAILED", 2])
          assert.deepStrictEqual(seen("broken"), ["execute_tool break", "failure", 1, "HANDLER_DEFECT", 2])
          assert.deepStrictEqual(seen("invalid"), [
            "execute_tool pay",
            "invalid_params",
            0,
            "INVALID_PARAMS",
            2
          ])
          assert.deepStrictEqual(
            byId.get("retried")!.events.map((event) => [event.name, values(event.attributes)["error.type"]]),
            [["interlock.retry", "HANDLER_FAILED"]]
          )

          // What the handler does is below its own call: the paid one and each of the batch.
          const paying = ["paid", "batch-0", "batch-1", "batch-2"].map((id) => byId.get(id)!.spanId)
          const opens = named("bank.open")
          assert.deepStrictEqual(new Set(opens.map(({ parentSpanId }) => parentSpanId)), new Set(paying))
          assert.deepStrictEqual(
            new Set(named("bank.transfer").map(({ parentSpanId }) => parentSpanId)),
            new Set(opens.map(({ spanId }) => spanId))
          )
          assert.deepStrictEqual(
            named("interlock.search").map(({ attributes }) => values(attributes)),
            [{ "interlock.found": 1 }]
          )
        })
    )

    it.live("the metrics arrive with their unit, and count every call", () =>
      Effect.gen(function* () {
        const metrics = metricsOf(yield* exported(exporter, calls))
        const duration = metrics.get("gen_ai.execute_tool.duration")
        assert.strictEqual(duration?.unit, "s")
        const reached = (duration?.histogram?.dataPoints ?? []).map(({ attributes, count }) => {
          const { "gen_ai.tool.name": tool, "error.type": error } = values(attributes)
          return `${tool} ${error ?? "-"} ${count}`
        })
        assert.deepStrictEqual(reached.sort(), [
          "break HANDLER_DEFECT 1",
          "flaky - 1",
          "pay - 4",
          "refuse TOOL_FAILED 1"
        ])
        const ended = (metrics.get("interlock.tool.calls")?.sum?.dataPoints ?? []).map((point) => {
          const { status, tool } = values(point.attributes)
          return `${tool} ${status} ${point.asInt ?? point.asDouble}`
        })
        assert.deepStrictEqual(ended.sort(), [
          "break failure 1",
          "flaky success 1",
          "pay invalid_params 1",
          "pay success 4",
          "refund permission_denied 1",
          "refuse failure 1"
        ])
        for (const known of ["interlock.tool.attempts", "interlock.tool.in_flight"]) {
          assert.isTrue(metrics.has(known), known)
        }
      })
    )
  })
}

describe("none of twenty secrets", () => {
  for (const [name, exporter] of Object.entries({ ...exporters, protobuf: otlp(Otlp.layerProtobuf) })) {
    it.live(`is in a byte that leaves through ${name}`, () =>
      Effect.gen(function* () {
        for (const [what, mark] of [
          [failingCall, "call-42"],
          [calls, "batch-2"]
        ] as const) {
          const bytes = Array.from((yield* exported(exporter, what)).values())
            .flat()
            .join("\n")
          assert.include(bytes, mark)
          assert.include(bytes, "interlock.tool.calls")
          for (const secret of secrets) assert.notInclude(bytes, secret)
        }
      })
    )
  }
})
