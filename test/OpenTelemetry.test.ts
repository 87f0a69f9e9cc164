import { createServer, type IncomingMessage } from "node:http"
import type { AddressInfo } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Otlp from "effect/observability/Otlp"
import * as CallRecord from "../src/CallRecord.ts"
import { ArgumentsView } from "../src/internal/argumentsView.ts"
import * as Telemetry from "../src/Telemetry.ts"
import { change, end, start } from "./support/records.ts"

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
interface OtlpMetric {
  readonly name: string
  readonly unit: string
  readonly histogram?: { readonly dataPoints: ReadonlyArray<{ readonly count: number }> }
}

/** What one OTLP collector on a free port of the loopback has received. */
const collector = Effect.acquireRelease(
  Effect.callback<{
    readonly url: string
    readonly received: Map<string, string>
    readonly close: () => void
  }>((resume) => {
    const received = new Map<string, string>()
    const server = createServer((request: IncomingMessage, response) => {
      const parts: Array<Buffer> = []
      request.on("data", (part: Buffer) => parts.push(part))
      request.on("end", () => {
        const path = request.url ?? ""
        received.set(path, (received.get(path) ?? "") + Buffer.concat(parts).toString("latin1"))
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

const secrets = Array.from({ length: 20 }, (_, n) => `s3cret-${n}-${"abcdefghijklmnopqrst"[n]}`)

/** A call with secrets wherever a record has room for one, that is tried twice and fails. */
const failingCall = Effect.withFiber((fiber) =>
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
      arguments: new ArgumentsView(new Uint8Array(32), new Set(["card"]), params, 100),
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
)

const exported = (otlp: typeof Otlp.layerJson, baseUrl: string) =>
  failingCall.pipe(
    Effect.withSpan("agent"),
    Effect.provide(Telemetry.layer.pipe(Layer.provideMerge(CallRecord.layer))),
    // The exporters send what they have when their layer closes.
    Effect.provide(
      otlp({ baseUrl, resource: { serviceName: "test" } }).pipe(Layer.provide(FetchHttpClient.layer))
    ),
    Effect.provideService(Metric.MetricRegistry, new Map())
  )

const values = (attributes: ReadonlyArray<KeyValue>): Record<string, unknown> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? Number(value.intValue)]))

describe("OpenTelemetry", () => {
  it.live("delivers the call's span to a collector: names, parentage, retries and the code", () =>
    Effect.gen(function* () {
      const { received, url } = yield* collector
      yield* exported(Otlp.layerJson, url)
      const body = JSON.parse(received.get("/v1/traces")!) as {
        readonly resourceSpans: ReadonlyArray<{
          readonly scopeSpans: ReadonlyArray<{ readonly spans: ReadonlyArray<OtlpSpan> }>
        }>
      }
      const spans = new Map(body.resourceSpans[0]!.scopeSpans[0]!.spans.map((span) => [span.name, span]))
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

  it.live("delivers the metrics with their unit", () =>
    Effect.gen(function* () {
      const { received, url } = yield* collector
      yield* exported(Otlp.layerJson, url)
      const body = JSON.parse(received.get("/v1/metrics")!) as {
        readonly resourceMetrics: ReadonlyArray<{
          readonly scopeMetrics: ReadonlyArray<{ readonly metrics: ReadonlyArray<OtlpMetric> }>
        }>
      }
      const metrics = new Map(
        body.resourceMetrics[0]!.scopeMetrics[0]!.metrics.map((metric) => [metric.name, metric])
      )
      const duration = metrics.get("gen_ai.execute_tool.duration")
      assert.strictEqual(duration?.unit, "s")
      assert.strictEqual(Number(duration?.histogram?.dataPoints[0]?.count), 1)
      for (const name of ["interlock.tool.calls", "interlock.tool.attempts", "interlock.tool.in_flight"]) {
        assert.isTrue(metrics.has(name), name)
      }
    })
  )

  it.live("sends none of twenty secrets, as JSON or as protobuf", () =>
    Effect.gen(function* () {
      for (const otlp of [Otlp.layerJson, Otlp.layerProtobuf]) {
        const { received, url } = yield* collector
        yield* exported(otlp, url)
        const bytes = Array.from(received.values()).join("\n")
        assert.include(bytes, "call-42")
        assert.include(bytes, "interlock.tool.calls")
        for (const secret of secrets) assert.notInclude(bytes, secret)
      }
    })
  )
})
