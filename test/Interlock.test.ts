import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Tracer from "effect/Tracer"
import {
  CircuitBreaker,
  Defaults,
  Health,
  History,
  Interlock,
  Retry,
  SecurityPolicy,
  Telemetry,
  ToolExecutor
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"

const Kit = Toolkit.make(Tool.make("ping", { success: Schema.String }))
const dead = Testing.scripted(Kit, { ping: Testing.die("bug") })
const ping = Effect.flatMap(ToolExecutor.make(Kit), (executor) =>
  executor.execute({ tool: "ping", params: {} })
)

describe("the complete set", () => {
  it.effect("is read by health where the breaker is given as a layer", () =>
    Effect.gen(function* () {
      yield* ping
      const health = yield* Health.Health
      assert.strictEqual((yield* health.get("ping")).breaker.tag, "Open")
    }).pipe(
      Effect.provide(
        Layer.merge(
          dead.layer,
          Interlock.layer({ breaker: CircuitBreaker.layerMemory({ trip: CircuitBreaker.consecutive(1) }) })
        )
      )
    )
  )

  it.effect("traces and measures nothing where telemetry is none", () =>
    Effect.gen(function* () {
      yield* ping
      const metrics = yield* Metric.snapshot
      assert.deepStrictEqual(
        metrics.filter(({ id }) => id.startsWith("interlock.") || id.startsWith("gen_ai.")),
        []
      )
    }).pipe(
      Effect.provide(Layer.merge(dead.layer, Interlock.layer({ telemetry: Telemetry.layerNoop }))),
      Effect.provideService(Metric.MetricRegistry, new Map())
    )
  )

  it.effect("leaves a call its record where telemetry breaks", () =>
    Effect.gen(function* () {
      const result = yield* ping
      assert.strictEqual(result.status, "failure")
      const { all } = yield* Effect.flatMap(History.History, (history) => history.statistics)
      assert.deepStrictEqual([all.ended, all.inFlight], [1, 0])
    }).pipe(
      Effect.provide(
        Layer.merge(
          dead.layer,
          Interlock.layer({
            telemetry: Layer.succeed(Telemetry.Telemetry, {
              open: (fiber) =>
                fiber.getRef(Tracer.Tracer).span({
                  name: "call",
                  parent: Option.none(),
                  annotations: Context.empty(),
                  links: [],
                  startTime: 0n,
                  kind: "internal",
                  root: true,
                  sampled: true
                }),
              close: () => {
                throw new Error("a bug of telemetry")
              }
            })
          })
        )
      )
    )
  )

  it.effect("builds delays and retries apart: what configuration counts, code may space", () =>
    Effect.gen(function* () {
      const { retry } = yield* Defaults.CurrentDefaults
      assert.strictEqual(retry.retries, 7)
      const next = yield* Retry.driver(retry)
      assert.strictEqual(yield* next(0, { _tag: "HandlerDefect" }), 5000)
    }).pipe(
      Effect.provide(
        Interlock.layer({
          backoff: { base: "5 seconds", jitter: "none" },
          defaults: { retry: { retries: 7 } }
        })
      )
    )
  )

  it.effect("lets a layer that is merged after it replace a concern", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* ping).status, "policy_denied")
    }).pipe(
      Effect.provide(Layer.mergeAll(dead.layer, Interlock.layer(), SecurityPolicy.layer({ deny: ["ping"] })))
    )
  )
})
