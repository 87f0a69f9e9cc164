import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import * as TestClock from "effect/testing/TestClock"
import * as fc from "fast-check"
import * as CallRecord from "../src/CallRecord.ts"
import * as Telemetry from "../src/Telemetry.ts"
import { type ReasonTag, type Status, table } from "../src/ToolError.ts"
import { call, change, end, pending, start } from "./support/records.ts"

/** A tracer that keeps what it made. */
const recording = (): { readonly tracer: Tracer.Tracer; readonly spans: Array<Tracer.NativeSpan> } => {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return { tracer, spans }
}

const opening: Telemetry.Opening = {
  callId: "call-1",
  tool: "add",
  description: "Adds two numbers",
  door: "execute"
}

/** Opens a span in the calling fiber. */
const open = (what: Telemetry.Opening = opening) =>
  Effect.flatMap(Telemetry.Telemetry, (telemetry) =>
    Effect.withFiber((fiber) => Effect.succeed(telemetry.open(fiber, what)))
  )

const layer = Telemetry.layer.pipe(Layer.provideMerge(CallRecord.layer))

/** With metrics of its own, and a tracer of its own where one is given. */
const run = <A, E, R>(
  effect: Effect.Effect<A, E, R | Telemetry.Telemetry | CallRecord.CallRecorder>,
  tracer?: Tracer.Tracer
) =>
  effect.pipe(
    tracer === undefined ? (self) => self : Effect.provideService(Tracer.Tracer, tracer),
    Effect.provide(layer),
    Effect.provideService(Metric.MetricRegistry, new Map())
  )

/** Opens a span and closes it by how the call ended. */
const closed = (outcome: "success" | ReasonTag, status?: Status) =>
  Effect.gen(function* () {
    const { spans, tracer } = recording()
    yield* run(
      Effect.gen(function* () {
        const { sink } = yield* CallRecord.CallRecorder
        const telemetry = yield* Telemetry.Telemetry
        const span = (yield* open())!
        const record = start(sink)
        end(sink, record, outcome, status === undefined ? {} : { status })
        telemetry.close(span, record)
      }),
      tracer
    )
    const span = spans[0]!
    if (span.status._tag !== "Ended") return assert.fail("the span has not ended")
    return { span, exit: span.status.exit }
  })

describe("Telemetry spans", () => {
  it.effect("opens none when nobody traces or tracing is switched off", () =>
    Effect.gen(function* () {
      assert.isUndefined(yield* run(open()))
      const { spans, tracer } = recording()
      const off = Effect.provideService(open(), References.TracerEnabled, false)
      assert.isUndefined(yield* run(off, tracer))
      assert.strictEqual(spans.length, 0)
    })
  )

  it.effect("names the span and says what the conventions ask for", () =>
    Effect.gen(function* () {
      const { tracer } = recording()
      const span = (yield* run(open(), tracer))!
      assert.strictEqual(span.name, "execute_tool add")
      assert.strictEqual(span.kind, "internal")
      assert.deepStrictEqual(Object.fromEntries(span.attributes), {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "gen_ai.tool.call.id": "call-1",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.description": "Adds two numbers",
        "interlock.door": "execute"
      })
      const bare = (yield* run(open({ ...opening, description: undefined }), tracer))!
      assert.isFalse(bare.attributes.has("gen_ai.tool.description"))
    })
  )

  it.effect("is a child of the fiber's span, with a tracer or with that span alone", () =>
    Effect.gen(function* () {
      for (const tracer of [recording().tracer, undefined]) {
        const [parent, span] = yield* run(
          Effect.all([Effect.currentSpan, open()]).pipe(Effect.withSpan("agent")),
          tracer
        )
        assert.strictEqual(Option.getOrUndefined(span!.parent)?.spanId, parent.spanId)
        assert.strictEqual(span!.traceId, parent.traceId)
      }
    })
  )

  it.effect("passes over spans that are not propagated", () =>
    Effect.gen(function* () {
      const { tracer } = recording()
      const hidden = { annotations: Context.make(Tracer.DisablePropagation, true) }
      const [outer, span] = yield* run(
        Effect.gen(function* () {
          const outer = yield* Effect.currentSpan
          return [outer, yield* Effect.withSpan(open(), "hidden", hidden)] as const
        }).pipe(Effect.withSpan("outer")),
        tracer
      )
      assert.strictEqual(Option.getOrUndefined(span!.parent), outer)
    })
  )

  it.effect("takes sampling, annotations and links from the fiber as other spans do", () =>
    Effect.gen(function* () {
      const { tracer } = recording()
      const unsampled = Tracer.externalSpan({ spanId: "1", traceId: "2", sampled: false })
      assert.isFalse((yield* run(Effect.withParentSpan(open(), unsampled), tracer))!.sampled)
      assert.isFalse(
        (yield* run(Effect.provideService(open(), Tracer.MinimumTraceLevel, "Error"), tracer))!.sampled
      )
      const span = (yield* run(
        open().pipe(Effect.annotateSpans("deployment", "blue"), Effect.linkSpans(unsampled)),
        tracer
      ))!
      assert.isTrue(span.sampled)
      assert.strictEqual(span.attributes.get("deployment"), "blue")
      assert.strictEqual(span.links[0]?.span, unsampled)
    })
  )

  it.effect("begins and ends by the calling fiber's clock", () =>
    Effect.gen(function* () {
      const { spans, tracer } = recording()
      yield* run(
        Effect.gen(function* () {
          const telemetry = yield* Telemetry.Telemetry
          yield* TestClock.adjust("5 seconds")
          const span = (yield* open())!
          yield* TestClock.adjust("2 seconds")
          telemetry.close(span, { ...pending(), status: "success" })
        }),
        tracer
      )
      const { status } = spans[0]!
      assert.strictEqual(status.startTime, 5_000_000_000n)
      assert.strictEqual(status._tag === "Ended" && status.endTime, 7_000_000_000n)
    })
  )

  it.effect("ends well, with status and attempts, when the call gave a value or waits for a human", () =>
    Effect.gen(function* () {
      const endings = [
        ["success", "success"],
        ["HandlerFailed", "degraded"],
        ["PendingConfirmation", "pending_confirmation"]
      ] as const
      for (const [outcome, status] of endings) {
        const { exit, span } = yield* closed(outcome, status)
        assert.strictEqual(exit._tag, "Success")
        assert.strictEqual(span.attributes.get("interlock.status"), status)
        assert.strictEqual(span.attributes.get("interlock.attempts"), 0)
        assert.isFalse(span.attributes.has("error.type"))
      }
    })
  )

  it.effect("ends as failed with the code and nothing else, for every reason", () =>
    Effect.gen(function* () {
      const endsOtherwise = ["PendingConfirmation", "Cancelled"]
      for (const reason of Object.keys(table) as Array<ReasonTag>) {
        if (endsOtherwise.includes(reason)) continue
        const { exit, span } = yield* closed(reason)
        const { code, status } = table[reason]
        assert.strictEqual(span.attributes.get("error.type"), code)
        assert.strictEqual(span.attributes.get("interlock.status"), status)
        if (exit._tag !== "Failure") return assert.fail(`${reason} ended well`)
        const [error] = Cause.prettyErrors(exit.cause)
        assert.deepStrictEqual([error?.name, error?.message, error?.stack], [code, code, `${code}: ${code}`])
      }
    })
  )

  it.effect("ends as interrupted when the call was cancelled", () =>
    Effect.gen(function* () {
      const { exit, span } = yield* closed("Cancelled")
      assert.isTrue(exit._tag === "Failure" && Cause.hasInterruptsOnly(exit.cause))
      assert.strictEqual(span.attributes.get("error.type"), "CANCELLED")
    })
  )

  it.effect("tells of each retry once, when it happened", () =>
    Effect.gen(function* () {
      const { spans, tracer } = recording()
      yield* run(
        Effect.gen(function* () {
          const { sink } = yield* CallRecord.CallRecorder
          const telemetry = yield* Telemetry.Telemetry
          const span = (yield* open())!
          const record = start(sink, { spanId: span.spanId })
          for (const attempt of [1, 2]) {
            change(sink, record, "running")
            yield* TestClock.adjust("1 second")
            record.retried = [...record.retried, { attempt, code: "TIMED_OUT", delay: 100 }]
            change(sink, record, "retrying")
          }
          change(sink, record, "running")
          end(sink, record, "success")
          telemetry.close(span, record)
        }),
        tracer
      )
      assert.deepStrictEqual(
        spans[0]!.events,
        [1, 2].map((attempt) => [
          "interlock.retry",
          BigInt(attempt) * 1_000_000_000n,
          { "interlock.attempt": attempt, "error.type": "TIMED_OUT", "interlock.delay": 100 }
        ])
      )
    })
  )

  it.effect("ends every span even where a tracer gives them all one id", () =>
    Effect.gen(function* () {
      const spans: Array<Tracer.NativeSpan> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          span._spanId = "0000000000000000"
          spans.push(span)
          return span
        }
      })
      yield* run(
        Effect.gen(function* () {
          const telemetry = yield* Telemetry.Telemetry
          for (const span of [(yield* open())!, (yield* open())!]) {
            telemetry.close(span, { ...pending(), status: "success" })
          }
        }),
        tracer
      )
      assert.deepStrictEqual(
        spans.map((span) => span.status._tag),
        ["Ended", "Ended"]
      )
    })
  )
})

/** The states of the series, by name and labels. */
const series = Effect.map(Metric.snapshot, (snapshots) =>
  Object.fromEntries(
    snapshots.map(({ id, attributes, state }) => {
      const { unit: _, ...labels } = attributes ?? {}
      return [`${id} ${Object.values(labels).join(" ")}`.trim(), state]
    })
  )
)

describe("Telemetry metrics", () => {
  it.effect("counts calls by tool and status, attempts, and what is in flight", () =>
    run(
      Effect.gen(function* () {
        const { sink } = yield* CallRecord.CallRecorder
        call(sink, "success", { attempts: 3 })
        call(sink, "success")
        call(sink, "PolicyDenied", { attempts: 0 })
        call(sink, "success", { tool: "pay" })
        start(sink)
        const states = yield* series
        assert.deepInclude(states, {
          "interlock.tool.calls add success": { count: 2, incremental: true },
          "interlock.tool.calls add policy_denied": { count: 1, incremental: true },
          "interlock.tool.calls pay success": { count: 1, incremental: true },
          "interlock.tool.attempts add": { count: 4, incremental: true },
          "interlock.tool.in_flight add": { value: 1 },
          "interlock.tool.in_flight pay": { value: 0 }
        })
      })
    )
  )

  it.effect("takes the duration in seconds of calls that reached the handler, failures apart by code", () =>
    run(
      Effect.gen(function* () {
        const { sink } = yield* CallRecord.CallRecorder
        call(sink, "success", { took: 30 })
        call(sink, "success", { took: 1500 })
        call(sink, "TimedOut", { took: 90_000 })
        call(sink, "PolicyDenied", { attempts: 0, took: 7 })
        const states = yield* series
        const good = states["gen_ai.execute_tool.duration add"] as Metric.HistogramState
        const late = states["gen_ai.execute_tool.duration add TIMED_OUT"] as Metric.HistogramState
        assert.deepStrictEqual([good.count, good.sum, good.min, good.max], [2, 1.53, 0.03, 1.5])
        assert.deepStrictEqual(
          good.buckets.map(([boundary]) => boundary),
          [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
        )
        assert.deepStrictEqual([late.count, late.sum], [1, 90])
        assert.isUndefined(states["gen_ai.execute_tool.duration add POLICY_DENIED"])
      })
    )
  )

  it.effect("is at zero in flight after the layer is gone, and never below", () =>
    Effect.gen(function* () {
      const { sink } = yield* CallRecord.CallRecorder
      const early = start(sink)
      yield* Effect.gen(function* () {
        end(sink, early, "success")
        assert.deepInclude(yield* series, {
          "interlock.tool.calls add success": { count: 1, incremental: true }
        })
        start(sink)
        start(sink)
        assert.deepInclude(yield* series, { "interlock.tool.in_flight add": { value: 2 } })
      }).pipe(Effect.provide(Telemetry.layer))
      assert.deepInclude(yield* series, { "interlock.tool.in_flight add": { value: 0 } })
    }).pipe(Effect.provide(CallRecord.layer), Effect.provideService(Metric.MetricRegistry, new Map()))
  )
})

describe("Telemetry metrics in one registry", () => {
  const twice = Effect.gen(function* () {
    const { sink } = yield* CallRecord.CallRecorder
    call(sink, "success", { took: 20 })
    start(sink)
    return yield* series
  })
  const layered = twice.pipe(Effect.provide(layer, { local: true }))

  it.effect("are added up over layers that come after one another, and over those that live at once", () =>
    Effect.gen(function* () {
      yield* layered
      assert.deepInclude(yield* layered, {
        "interlock.tool.calls add success": { count: 2, incremental: true },
        "interlock.tool.attempts add": { count: 2, incremental: true },
        "interlock.tool.in_flight add": { value: 1 }
      })
      const nested = yield* Effect.andThen(twice, layered).pipe(Effect.provide(layer, { local: true }))
      assert.deepInclude(nested, {
        "interlock.tool.calls add success": { count: 4, incremental: true },
        "interlock.tool.in_flight add": { value: 2 }
      })
      const states = yield* series
      assert.deepInclude(states, { "interlock.tool.in_flight add": { value: 0 } })
      assert.strictEqual((states["gen_ai.execute_tool.duration add"] as Metric.HistogramState).count, 4)
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  it.effect("are kept apart by the labels of the layer's context, in whatever order these are given", () =>
    Effect.gen(function* () {
      const labelled = (labels: Readonly<Record<string, string>>) =>
        Effect.provideService(layered, Metric.CurrentMetricAttributes, labels)
      yield* layered
      yield* labelled({ zone: "a", deployment: "blue" })
      yield* labelled({ deployment: "blue", zone: "a" })
      const counts = (yield* Metric.snapshot).flatMap(({ id, attributes, state }) =>
        id === "interlock.tool.calls" ? [[attributes, (state as Metric.CounterState<number>).count]] : []
      )
      const own = { tool: "add", status: "success" }
      assert.deepStrictEqual(counts, [
        [own, 1],
        [{ ...own, deployment: "blue", zone: "a" }, 2]
      ])
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  it.effect("say of durations what Effect's own histogram says", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(fc.oneof(fc.nat(100), fc.nat(200_000), fc.constantFrom(10, 20, 40, 81_920))),
          (durations) =>
            Effect.runPromise(
              Effect.gen(function* () {
                const { sink } = yield* CallRecord.CallRecorder
                const own = Metric.histogram("own", {
                  boundaries: Array.from({ length: 14 }, (_, power) => 0.01 * 2 ** power)
                })
                for (const took of durations) {
                  call(sink, "success", { took })
                  yield* Metric.update(own, took / 1000)
                }
                const states = yield* series
                assert.deepStrictEqual(states["gen_ai.execute_tool.duration add"], states.own)
              }).pipe(Effect.provide(layer), Effect.provideService(Metric.MetricRegistry, new Map()))
            )
        ),
        { numRuns: 100 }
      )
    )
  )
})

describe("Telemetry layers", () => {
  it.effect("layerConsole prints one line for each call that ended", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      // Only `log` is used; the whole interface has twenty methods.
      const console = { log: (line: string) => lines.push(line) } as unknown as Console.Console
      yield* Effect.gen(function* () {
        const { sink } = yield* CallRecord.CallRecorder
        call(sink, "success", { took: 12 })
        call(sink, "HandlerFailed", { took: 3.4, attempts: 4 })
        call(sink, "HandlerFailed", { took: 5, status: "degraded" })
        call(sink, "PendingConfirmation", { attempts: 0 })
        start(sink)
      }).pipe(
        Effect.provide(Telemetry.layerConsole.pipe(Layer.provideMerge(CallRecord.layer))),
        Effect.provideService(Console.Console, console)
      )
      assert.deepStrictEqual(lines, [
        "✓ add 12 ms (1 attempt)",
        "✗ add HANDLER_FAILED 3 ms (4 attempts)",
        "~ add HANDLER_FAILED 5 ms (1 attempt)",
        "? add PENDING_CONFIRMATION 0 ms (0 attempts)"
      ])
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  it.effect("layerNoop opens no span", () =>
    Effect.gen(function* () {
      const { spans, tracer } = recording()
      const span = yield* open().pipe(
        Effect.provide(Telemetry.layerNoop),
        Effect.provideService(Tracer.Tracer, tracer)
      )
      assert.isUndefined(span)
      assert.strictEqual(spans.length, 0)
    })
  )
})
