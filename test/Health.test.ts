import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as fc from "fast-check"
import * as CallRecord from "../src/CallRecord.ts"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as Health from "../src/Health.ts"
import { type ReasonTag, table } from "../src/ToolError.ts"
import { call, end, start } from "./support/records.ts"

type Sink = CallRecord.CallRecorder["Service"]["sink"]

/** Runs a test with the health, what feeds it and the breaker it asks. */
const withHealth = <A, E>(
  use: (services: {
    readonly health: Health.Health["Service"]
    readonly sink: Sink
    readonly breaker: CircuitBreaker.CircuitBreaker["Service"]
  }) => Effect.Effect<A, E>,
  options?: Health.Options
): Effect.Effect<A, E> =>
  Effect.gen(function* () {
    const health = yield* Health.Health
    const { sink } = yield* CallRecord.CallRecorder
    const breaker = yield* CircuitBreaker.CircuitBreaker
    return yield* use({ health, sink, breaker })
  }).pipe(
    Effect.provide(
      Health.layer(options).pipe(
        Layer.provideMerge(Layer.mergeAll(CallRecord.layer, CircuitBreaker.layerMemory()))
      )
    )
  )

const times = (count: number, run: () => void) => {
  for (let n = 0; n < count; n++) run()
}

describe("Health", () => {
  it.effect("counts every status, and takes rates and latencies from calls that reached the handler", () =>
    withHealth(({ health, sink }) =>
      Effect.gen(function* () {
        call(sink, "success", { took: 10 })
        call(sink, "success", { took: 20 })
        call(sink, "HandlerFailed", { took: 60, attempts: 4 })
        call(sink, "PolicyDenied", { attempts: 0, took: 9999 })
        call(sink, "InvalidParams", { attempts: 0, took: 9999 })
        call(sink, "TimedOut", { attempts: 0, took: 9999 })
        const add = yield* health.get("add")
        assert.strictEqual(add.total, 6)
        assert.strictEqual(add.reached, 3)
        assert.strictEqual(add.counts.success, 2)
        assert.strictEqual(add.counts.policy_denied, 1)
        assert.strictEqual(add.counts.invalid_params, 1)
        assert.strictEqual(add.counts.timeout, 1)
        assert.strictEqual(add.counts.cancelled, 0)
        assert.strictEqual(add.successRate, 2 / 3)
        assert.strictEqual(add.mean, 30)
        assert.approximately(add.p50, 20, 0.4)
        assert.approximately(add.p99, 60, 1.2)
      })
    )
  )

  it.effect("takes as failures exactly the reasons that count for health", () =>
    Effect.forEach(Object.keys(table) as Array<ReasonTag>, (reason) =>
      withHealth(({ health, sink }) =>
        Effect.gen(function* () {
          call(sink, "success")
          call(sink, reason)
          const { consecutiveFailures, successRate } = yield* health.get("add")
          const failures = table[reason].health === "yes" ? 1 : 0
          assert.deepStrictEqual([consecutiveFailures, successRate], [failures, 1 / (1 + failures)], reason)
        })
      )
    )
  )

  it.effect("takes a degraded call for the failure that its fallback hid", () =>
    withHealth(({ health, sink }) =>
      Effect.gen(function* () {
        call(sink, "HandlerFailed", { status: "degraded" })
        call(sink, "CircuitOpen", { status: "degraded", attempts: 0 })
        const add = yield* health.get("add")
        assert.strictEqual(add.counts.degraded, 2)
        assert.strictEqual(add.successRate, 0)
        assert.strictEqual(add.consecutiveFailures, 1)
      })
    )
  )

  it.effect("takes a cancelled call for neither success nor failure", () =>
    withHealth(({ health, sink }) =>
      Effect.gen(function* () {
        call(sink, "HandlerFailed", { queuedAt: 5 })
        call(sink, "Cancelled", { took: 40, queuedAt: 7 })
        const add = yield* health.get("add")
        assert.strictEqual(add.counts.cancelled, 1)
        assert.strictEqual(add.reached, 2)
        assert.strictEqual(add.consecutiveFailures, 1)
        assert.strictEqual(add.successRate, 0)
        assert.strictEqual(add.lastFailure, 5)
        assert.isUndefined(add.lastSuccess)
      })
    )
  )

  it.effect("says when the last success and the last failure ended, and counts failures in a row", () =>
    withHealth(({ health, sink }) =>
      Effect.gen(function* () {
        call(sink, "HandlerDefect", { queuedAt: 100, took: 1 })
        call(sink, "success", { queuedAt: 200, took: 2 })
        call(sink, "TimedOut", { queuedAt: 300, took: 3 })
        call(sink, "InvalidResult", { queuedAt: 400, took: 4 })
        const add = yield* health.get("add")
        assert.deepStrictEqual([add.lastSuccess, add.lastFailure, add.consecutiveFailures], [202, 404, 2])
        call(sink, "success", { queuedAt: 500 })
        assert.strictEqual((yield* health.get("add")).consecutiveFailures, 0)
      })
    )
  )

  it.effect("is healthy at the threshold and unhealthy below it", () =>
    withHealth(({ health, sink }) =>
      Effect.gen(function* () {
        times(9, () => call(sink, "success"))
        call(sink, "HandlerFailed")
        assert.isTrue((yield* health.get("add")).isHealthy)
        call(sink, "HandlerFailed")
        assert.isFalse((yield* health.get("add")).isHealthy)
      })
    )
  )

  it.effect("takes another threshold", () =>
    withHealth(
      ({ health, sink }) =>
        Effect.gen(function* () {
          call(sink, "success")
          call(sink, "HandlerFailed")
          assert.isTrue((yield* health.get("add")).isHealthy)
        }),
      { threshold: 0.5 }
    )
  )

  it.effect("lets a tool recover within a hundred outcomes, however long it has failed", () =>
    withHealth(({ health, sink }) =>
      Effect.gen(function* () {
        times(5000, () => call(sink, "HandlerFailed"))
        times(89, () => call(sink, "success"))
        assert.isFalse((yield* health.get("add")).isHealthy)
        call(sink, "success")
        const add = yield* health.get("add")
        assert.isTrue(add.isHealthy)
        assert.strictEqual(add.recentSuccessRate, 0.9)
        assert.strictEqual(add.successRate, 90 / 5090)
      })
    )
  )

  it.effect("agrees with a plain list of the last hundred outcomes", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(fc.constantFrom("success", "HandlerFailed", "Cancelled", "PolicyDenied"), {
            maxLength: 350,
            size: "max"
          }),
          (outcomes) =>
            Effect.runPromise(
              withHealth(({ health, sink }) =>
                Effect.gen(function* () {
                  for (const outcome of outcomes) call(sink, outcome)
                  const decided = outcomes.filter((it) => it === "success" || it === "HandlerFailed")
                  const share = (list: ReadonlyArray<string>) =>
                    list.length === 0 ? 1 : list.filter((it) => it === "success").length / list.length
                  const add = yield* health.get("add")
                  assert.strictEqual(add.recentSuccessRate, share(decided.slice(-100)))
                  assert.strictEqual(add.successRate, share(decided))
                  assert.strictEqual(add.total, outcomes.length)
                })
              )
            )
        ),
        { numRuns: 200 }
      )
    )
  )

  it.effect("shows the tool's circuit as it is when asked, and is unhealthy while that is open", () =>
    withHealth(({ health, sink, breaker }) =>
      Effect.gen(function* () {
        call(sink, "success")
        assert.strictEqual((yield* health.get("add")).breaker.tag, "Closed")
        for (let n = 0; n < 5; n++) {
          const admission = yield* breaker.admit("add", 0)
          if ("generation" in admission) yield* breaker.report(admission, "failure", 0)
        }
        const open = yield* health.get("add")
        assert.strictEqual(open.breaker.tag, "Open")
        assert.strictEqual(open.successRate, 1)
        assert.isFalse(open.isHealthy)
        yield* breaker.forceOpen("add", "maintenance")
        assert.isFalse((yield* health.get("add")).isHealthy)
        yield* breaker.reset("add")
        assert.isTrue((yield* health.get("add")).isHealthy)
      })
    )
  )

  it.effect("keeps tools apart, and finds a tool that was never called healthy without remembering it", () =>
    withHealth(({ health, sink }) =>
      Effect.gen(function* () {
        call(sink, "HandlerFailed", { tool: "pay" })
        call(sink, "ToolNotFound", { tool: CallRecord.unknownTool, attempts: 0 })
        const never = yield* health.get("__proto__")
        assert.deepStrictEqual([never.isHealthy, never.total, never.successRate], [true, 0, 1])
        const all = yield* health.all
        assert.deepStrictEqual(Array.from(all.keys()), ["pay", CallRecord.unknownTool])
        assert.isFalse(all.get("pay")?.isHealthy)
        assert.deepStrictEqual(all.get("pay"), yield* health.get("pay"))
      })
    )
  )

  it.effect("keeps what it said: a health that was read does not change with later calls", () =>
    withHealth(({ health, sink }) =>
      Effect.gen(function* () {
        call(sink, "success", { took: 10 })
        const before = yield* health.get("add")
        const copy = structuredClone(before)
        times(50, () => call(sink, "HandlerFailed", { took: 1000 }))
        assert.deepStrictEqual(before, copy)
      })
    )
  )

  it.effect("streams a tool's health after each of its calls and each change of its circuit", () =>
    withHealth(({ health, sink, breaker }) =>
      Effect.gen(function* () {
        const fiber = yield* health.changes.pipe(
          Stream.map(({ tool, total, breaker }) => [tool, total, breaker.tag]),
          Stream.take(3),
          Stream.runCollect,
          Effect.forkChild({ startImmediately: true })
        )
        yield* settle
        start(sink)
        call(sink, "success", { tool: "add" })
        yield* settle
        yield* breaker.forceOpen("other", "nobody called it")
        yield* breaker.forceOpen("add", "maintenance")
        yield* settle
        const record = start(sink, { tool: "pay" })
        end(sink, record, "Cancelled")
        assert.deepStrictEqual(yield* Fiber.join(fiber), [
          ["add", 1, "Closed"],
          ["add", 1, "ForcedOpen"],
          ["pay", 1, "Closed"]
        ])
      })
    )
  )

  it.effect("streams every tool of a circuit that they share", () =>
    withHealth(({ health, sink, breaker }) =>
      Effect.gen(function* () {
        call(sink, "success", { tool: "read", circuit: "store" })
        call(sink, "success", { tool: "write", circuit: "store" })
        const fiber = yield* health.changes.pipe(
          Stream.map(({ tool, breaker }) => [tool, breaker.tag]),
          Stream.take(2),
          Stream.runCollect,
          Effect.forkChild({ startImmediately: true })
        )
        yield* settle
        yield* breaker.forceOpen("store", "maintenance")
        assert.deepStrictEqual(yield* Fiber.join(fiber), [
          ["read", "ForcedOpen"],
          ["write", "ForcedOpen"]
        ])
      })
    )
  )

  it.effect("drops the oldest changes for a reader that lags", () =>
    withHealth(({ health, sink }) =>
      Effect.gen(function* () {
        const fiber = yield* health.changes.pipe(
          Stream.map(({ tool }) => tool),
          Stream.takeUntil((tool) => tool === "last"),
          Stream.runCollect,
          Effect.forkChild({ startImmediately: true })
        )
        yield* settle
        times(5000, () => call(sink, "success", { tool: "busy" }))
        call(sink, "success", { tool: "last" })
        const seen = yield* Fiber.join(fiber)
        assert.isAtMost(seen.length, 1100)
        assert.strictEqual(seen.at(-1), "last")
      })
    )
  )
})

// Lets the stream's fibers take what there is: two of them stand between the source and the reader.
const settle = Effect.forEach(Array(10), () => Effect.yieldNow, { discard: true })
