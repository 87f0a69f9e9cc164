import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scheduler from "effect/Scheduler"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import * as TestClock from "effect/testing/TestClock"
import {
  ToolAnnotations as Annotate,
  Batch,
  CallRecord,
  CircuitBreaker,
  Handlers,
  Principal,
  Telemetry,
  type ToolError,
  ToolExecutor
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import * as fc from "fast-check"
import { settled, whileTimePasses, workers } from "./support/workers.ts"

const range = (length: number) => Array.from({ length }, (_, n) => n)
const work = (n: number, params: object = {}): Batch.Call => ({
  id: `c${n}`,
  tool: "work",
  params: { n, ...params }
})
const statuses = (batch: Batch.BatchResult) => batch.results.map(({ status }) => status)
const values = (batch: Batch.BatchResult) => batch.results.map(({ value }) => value)

describe("Batch.parallel", () => {
  it.effect("runs exactly as many calls at once as it is told, and takes the time that needs", () =>
    Effect.gen(function* () {
      const { executor, log } = yield* workers()
      const calls = range(25).map((n) => work(n, { ms: 100 }))
      const batch = yield* whileTimePasses(Batch.parallel(executor, calls, { concurrency: 4 }), 50)
      assert.strictEqual(log.mostAtOnce, 4)
      assert.strictEqual(batch.time, 700)
      assert.deepStrictEqual(batch.counts, { success: 25 })
      assert.strictEqual(batch.stoppedBy, undefined)
    })
  )

  it.effect("gives results in the order of the calls, whatever the order in which they end", () =>
    Effect.gen(function* () {
      const { executor, log } = yield* workers()
      const calls = range(8).map((n) => work(n, { ms: 80 - n * 10 }))
      const batch = yield* whileTimePasses(Batch.parallel(executor, calls), 10)
      assert.deepStrictEqual(values(batch), range(8))
      assert.deepStrictEqual(
        batch.results.map(({ callId }) => callId),
        calls.map(({ id }) => id)
      )
      assert.deepStrictEqual([...log.ended.keys()], range(8).reverse())
    })
  )

  it.effect(
    "runs as many at once as the defaults say when nobody says otherwise, and no fewer than one",
    () =>
      Effect.gen(function* () {
        const atOnce = (concurrency: number | undefined, defaults = {}) =>
          Effect.gen(function* () {
            const { executor, log } = yield* workers({ defaults })
            const calls = range(30).map((n) => work(n, { ms: 1 }))
            yield* whileTimePasses(
              Batch.parallel(executor, calls, concurrency === undefined ? {} : { concurrency })
            )
            return log.mostAtOnce
          })
        assert.strictEqual(yield* atOnce(undefined), 10)
        assert.strictEqual(yield* atOnce(undefined, { concurrency: 3 }), 3)
        assert.strictEqual(yield* atOnce(2.9), 2)
        assert.strictEqual(yield* atOnce(Number.POSITIVE_INFINITY), 30)
        for (const none of [0, -1, Number.NaN]) assert.strictEqual(yield* atOnce(none), 1)
      })
  )

  it.effect("has no results where there are no calls", () =>
    Effect.gen(function* () {
      const { executor } = yield* workers()
      const batch = yield* Batch.parallel(executor, [], { failFast: true, deadline: 0 })
      assert.deepStrictEqual(batch, { results: [], counts: {}, time: 0, stoppedBy: undefined })
    })
  )

  it.effect("runs every call for the principal of its caller, and each that begins leaves one record", () =>
    Effect.gen(function* () {
      const { ended, executor } = yield* endings
      const call: Batch.Call = { tool: "guarded", params: {} }
      const calls = [call, call, { tool: "no_such_tool", params: {} }]
      const anonymous = yield* Batch.parallel(executor, calls)
      assert.deepStrictEqual(statuses(anonymous), ["permission_denied", "permission_denied", "not_found"])
      const reader = Principal.make({ id: "ada", capabilities: ["read_data"] })
      const granted = yield* Effect.provideService(
        Batch.parallel(executor, calls),
        Principal.CurrentPrincipal,
        reader
      )
      assert.deepStrictEqual(statuses(granted), ["success", "success", "not_found"])
      assert.strictEqual(ended.length, 6)
      assert.isTrue(ended.every(({ door }) => door === "batch"))
      assert.strictEqual(new Set(ended.map(({ callId }) => callId)).size, 6)
    })
  )

  for (const door of ["parallel", "stream"]) {
    it.effect(
      `lets other fibers have their turns while handlers that never suspend run by the thousand (${door})`,
      () =>
        Effect.gen(function* () {
          const { executor, log } = yield* workers()
          let done = false
          let longest = 0
          let turns = 0
          const other = yield* Effect.forkChild(
            Effect.gen(function* () {
              let seen = 0
              while (!done) {
                longest = Math.max(longest, log.began.length - seen)
                seen = log.began.length
                turns++
                yield* Effect.yieldNow
              }
            })
          )
          const calls = range(10_000).map((n) => work(n))
          const results =
            door === "parallel"
              ? (yield* Batch.parallel(executor, calls, { concurrency: 10_000 })).results
              : yield* Stream.runCollect(Batch.stream(executor, Stream.fromIterable(calls)))
          done = true
          yield* Fiber.join(other)
          assert.strictEqual(results.length, 10_000)
          assert.isAtLeast(turns, 30)
          assert.isAtMost(longest, 512)
        })
    )
  }

  it.effect("begins so many calls a turn also where handlers answer before the next one", () =>
    Effect.gen(function* () {
      let began = 0
      const toolkit = Toolkit.make(Tool.make("answer", { success: Schema.Int }))
      const handlers = Handlers.toLayer(toolkit, { answer: async () => ++began })
      const services = yield* Layer.build(Layer.merge(handlers, Testing.layer()))
      const executor = yield* Effect.provide(ToolExecutor.make(toolkit), services)
      const calls = range(2000).map(() => ({ tool: "answer", params: {} }))
      const batch = yield* Effect.forkChild(Batch.parallel(executor, calls, { concurrency: 1000 }))
      let longest = 0
      while (batch.pollUnsafe() === undefined) {
        const seen = began
        yield* Effect.yieldNow
        longest = Math.max(longest, began - seen)
      }
      assert.deepStrictEqual((yield* Fiber.join(batch)).counts, { success: 2000 })
      assert.isAtMost(longest, 512)
    })
  )
})

describe("Batch.sequential", () => {
  it.effect("begins a call when the one before it has ended", () =>
    Effect.gen(function* () {
      const { executor, log } = yield* workers()
      const calls = [work(0, { ms: 30 }), work(1, { ms: 10, fails: true }), work(2)]
      const batch = yield* whileTimePasses(Batch.sequential(executor, calls), 10)
      assert.strictEqual(log.mostAtOnce, 1)
      assert.deepStrictEqual([...log.ended.keys()], [0, 1, 2])
      assert.deepStrictEqual(statuses(batch), ["success", "failure", "success"])
      assert.strictEqual(batch.time, 40)
    })
  )
})

describe("progress", () => {
  it.effect("is told after every call: how many ended, how many still run, and what the last came to", () =>
    Effect.gen(function* () {
      const { executor } = yield* workers()
      const seen: Array<ReadonlyArray<unknown>> = []
      const calls = [work(0, { ms: 10 }), work(1, { ms: 30 }), work(2, { ms: 10, fails: true }), work(3)]
      yield* whileTimePasses(
        Batch.parallel(executor, calls, {
          concurrency: 2,
          onProgress: ({ ended, last, running, total }) =>
            seen.push([ended, running, total, last.callId, last.status])
        }),
        10
      )
      assert.deepStrictEqual(seen, [
        [1, 1, 4, "c0", "success"],
        [2, 1, 4, "c2", "failure"],
        [3, 1, 4, "c3", "success"],
        [4, 0, 4, "c1", "success"]
      ])
    })
  )

  it.effect("counts up by one also while a fail-fast batch comes to its end", () =>
    Effect.gen(function* () {
      const { executor } = yield* workers()
      const seen: Array<ReadonlyArray<unknown>> = []
      const calls = [work(0, { ms: 50 }), work(1, { ms: 10, fails: true }), work(2, { ms: 50 }), work(3)]
      yield* whileTimePasses(
        Batch.parallel(executor, calls, {
          concurrency: 3,
          failFast: true,
          onProgress: ({ ended, last, running }) => seen.push([ended, running, last.callId, last.status])
        }),
        10
      )
      assert.deepStrictEqual(seen[0], [1, 2, "c1", "failure"])
      assert.deepStrictEqual(
        seen.map(([ended]) => ended),
        [1, 2, 3, 4]
      )
      assert.strictEqual(seen.at(-1)?.[1], 0)
      assert.sameMembers(
        seen.slice(1).map(([, , id, status]) => `${id} ${status}`),
        ["c0 cancelled", "c2 cancelled", "c3 skipped"]
      )
    })
  )

  it.effect("goes on, and the batch with it, when its listener throws", () =>
    Effect.gen(function* () {
      const { executor } = yield* workers()
      const reported: Array<unknown> = []
      let told = 0
      const calls = [work(0, { fails: true }), work(1, { ms: 10 }), work(2)]
      const batch = yield* whileTimePasses(
        Batch.parallel(executor, calls, {
          failFast: true,
          concurrency: 2,
          onProgress: () => {
            throw new Error(`boom ${++told}`)
          }
        })
      ).pipe(
        Effect.provideService(
          ErrorReporter.CurrentErrorReporters,
          new Set([ErrorReporter.make(({ error }) => void reported.push(error.message))])
        )
      )
      assert.deepStrictEqual(statuses(batch), ["failure", "skipped", "skipped"])
      assert.deepStrictEqual(reported, ["boom 1", "boom 2", "boom 3"])
    })
  )
})

// --- Every way a call can end ----------------------------------------------

const empty = Schema.Struct({})
const tool = <const Name extends string>(name: Name) =>
  Tool.make(name, { parameters: empty, success: Schema.Int, failure: Schema.String })
    .annotate(Annotate.Retries, 0)
    .annotate(Annotate.Capabilities, [])
const quitting = Toolkit.make(tool("quits"))
const scripted = Toolkit.make(
  tool("fine"),
  tool("fails"),
  tool("dies"),
  tool("lies"),
  tool("hangs").annotate(Annotate.Timeout, "10 millis"),
  tool("broken"),
  tool("asked"),
  tool("denied"),
  tool("guarded").annotate(Annotate.Capabilities, ["read_data"]),
  tool("limited"),
  tool("crowded").annotate(Annotate.Bulkhead, { maxConcurrent: 1 }),
  tool("poor").annotate(Annotate.Fallback, { value: 7 })
)
const everyWay = Toolkit.merge(scripted, quitting)

/** An executor whose tools are named after how their calls end. */
const endings = Effect.gen(function* () {
  const tools = Testing.scripted(scripted, {
    fine: Testing.succeed(1),
    fails: Testing.fail("no"),
    dies: Testing.die("bug"),
    lies: Testing.succeed("not a number"),
    hangs: Testing.hang,
    broken: Testing.succeed(1),
    asked: Testing.succeed(1),
    denied: Testing.succeed(1),
    guarded: Testing.succeed(1),
    limited: Testing.succeed(1),
    crowded: Testing.succeed(1, "1 second"),
    poor: Testing.fail("no")
  })
  const quits = quitting.toLayer({ quits: () => Effect.interrupt })
  const services = yield* Layer.build(
    Layer.merge(
      Layer.merge(tools.layer, quits),
      Testing.layer({
        policy: { deny: ["denied"], requireConfirmation: ["asked"] },
        rateLimits: [{ limit: 1, window: "1 hour", tools: ["limited"] }]
      })
    )
  )
  const ended: Array<CallRecord.CallRecord> = []
  yield* Context.get(services, CallRecord.CallRecorder).add({ onEnd: (record) => ended.push(record) })
  yield* Context.get(services, CircuitBreaker.CircuitBreaker).forceOpen("broken", "maintenance")
  return { executor: yield* Effect.provide(ToolExecutor.make(everyWay), services), ended, tools }
})

const call = (name: string, params: unknown = {}): Batch.Call => ({ id: name, tool: name, params })

/** Never a call's own end, or what a store, a human or an operator must have said first. */
type Governed = "skipped" | "rejected" | "budget_exceeded" | "killed" | "unavailable" | "unknown"

/** For each status the calls that come to it; the last call ends with it. */
const ways: {
  readonly [S in Exclude<ToolError.Status, Governed>]: ReadonlyArray<ReadonlyArray<Batch.Call>>
} = {
  success: [[call("fine")]],
  degraded: [[call("poor")]],
  failure: [[call("fails")], [call("dies")], [call("lies")]],
  timeout: [[call("hangs")], [{ ...call("crowded"), deadline: 10 }]],
  circuit_open: [[call("broken")]],
  pending_confirmation: [[call("asked")], [{ ...call("fine"), requireConfirmation: true }]],
  permission_denied: [[call("guarded")]],
  policy_denied: [[call("denied")]],
  rate_limited: [[call("limited"), call("limited")]],
  overloaded: [[call("crowded"), call("crowded")]],
  invalid_params: [[call("fine", { a: 1 })], [call("fine", 5)]],
  not_found: [[call("nobody")]],
  cancelled: [[call("quits")]]
}

/** A call that takes long, so that what stops the batch is seen to stop it. */
const long: Batch.Call = { id: "long", tool: "hangs", params: {}, timeout: 10 }

describe("one bad call", () => {
  it.effect("destroys nothing: every other call still has its result", () =>
    Effect.gen(function* () {
      const { executor } = yield* endings
      const calls = Object.values(ways).flatMap((alternatives) => alternatives.flat())
      const mixed = calls.flatMap((bad) => [bad, call("fine")])
      const batch = yield* whileTimePasses(Batch.parallel(executor, mixed, { concurrency: mixed.length }), 10)
      assert.deepStrictEqual(
        statuses(batch).filter((_, index) => index % 2 === 1),
        calls.map(() => "success" as const)
      )
      const seen = new Set(statuses(batch))
      for (const status of Object.keys(ways)) assert.isTrue(seen.has(status as ToolError.Status), status)
      assert.strictEqual(
        Object.values(batch.counts).reduce((sum, count) => sum + count, 0),
        mixed.length
      )
    })
  )
})

describe("a bug of governance itself", () => {
  it.effect("at the end of one call is that call's, and the batch has all its results", () =>
    Effect.gen(function* () {
      const bug = Layer.succeed(CallRecord.CallRecorder, {
        sink: {
          onStart: () => {},
          onChange: () => {},
          onEnd: ({ callId }) => {
            if (callId === "c1") throw new Error("no room for the record")
          }
        },
        add: () => Effect.void,
        records: Stream.empty
      })
      const { executor } = yield* workers({}, bug)
      const calls = range(3).map((n) => work(n))
      const batch = yield* Batch.parallel(executor, calls)
      assert.deepStrictEqual(statuses(batch), ["success", "failure", "success"])
      assert.strictEqual(batch.results[1]?.error?.code, "HANDLER_DEFECT")
      const results = yield* Stream.runCollect(Batch.stream(executor, Stream.fromIterable(calls)))
      assert.deepStrictEqual(
        results.map(({ status }) => status),
        ["success", "failure", "success"]
      )
    })
  )

  it.effect("that only looks on changes nothing", () =>
    Effect.gen(function* () {
      const bug = Layer.succeed(Telemetry.Telemetry, {
        open: () => Tracer.externalSpan({ spanId: "s", traceId: "t" }) as never,
        close: () => {
          throw new Error("no collector")
        }
      })
      const { executor } = yield* workers({}, bug)
      const batch = yield* Batch.parallel(
        executor,
        range(3).map((n) => work(n))
      )
      assert.deepStrictEqual(statuses(batch), ["success", "success", "success"])
    })
  )
})

describe("fail-fast", () => {
  const harmless = new Set<string>(["success", "degraded", "pending_confirmation"])
  for (const [status, alternatives] of Object.entries(ways)) {
    alternatives.forEach((calls, index) => {
      const title = `${status}${alternatives.length > 1 ? ` (${index + 1})` : ""}`
      const last = calls.length
      it.effect(
        harmless.has(status)
          ? `is not set off by ${title}`
          : `is set off by ${title}, unless the batch can do without the call`,
        () =>
          Effect.gen(function* () {
            const run = (critical?: boolean) =>
              Effect.gen(function* () {
                const { executor } = yield* endings
                const marked = critical === undefined ? calls : calls.map((each) => ({ ...each, critical }))
                return yield* whileTimePasses(
                  Batch.parallel(executor, [call("fine"), ...marked, { ...long, critical: false }], {
                    failFast: true,
                    concurrency: 10
                  }),
                  5
                )
              })
            const batch = yield* run()
            assert.strictEqual(batch.results[last]?.status, status)
            assert.strictEqual(batch.stoppedBy, harmless.has(status) ? undefined : calls.at(-1)?.id)
            assert.strictEqual(batch.results[0]?.status, "success", "what has ended keeps its result")
            const spared = yield* run(false)
            assert.strictEqual(spared.stoppedBy, undefined)
            assert.strictEqual(spared.results.at(-1)?.status, "timeout")
          })
      )
    })
  }

  it.effect(
    "interrupts what runs, finalizers included, before the batch returns, and skips what never began",
    () =>
      Effect.gen(function* () {
        const { executor, log } = yield* workers()
        const calls = [
          work(0, { ms: 5 }),
          work(1, { ms: 1000, cleanup: 20 }),
          work(2, { ms: 10, fails: true }),
          work(3, { ms: 1000, cleanup: 300 }),
          work(4),
          work(5)
        ]
        const batch = yield* whileTimePasses(
          Batch.parallel(executor, calls, { failFast: true, concurrency: 3 }),
          5
        )
        assert.deepStrictEqual(statuses(batch), [
          "success",
          "cancelled",
          "failure",
          "cancelled",
          "skipped",
          "skipped"
        ])
        assert.strictEqual(batch.stoppedBy, "c2")
        assert.deepStrictEqual(batch.counts, { success: 1, cancelled: 2, failure: 1, skipped: 2 })
        assert.strictEqual(batch.time, 310, "it has waited for the slowest finalizer")
        assert.strictEqual(log.running, 0)
        assert.deepStrictEqual([log.ended.get(1), log.ended.get(3)], ["interrupted", "interrupted"])
        assert.deepStrictEqual(log.began, [0, 1, 2, 3])
        assert.deepInclude(batch.results[4]?.error?.reason, { _tag: "Skipped" })
        assert.strictEqual(batch.results[4]?.attempts, 0)
      })
  )

  it.effect("stops every handler before it ends the first call, and reports what dies meanwhile", () =>
    Effect.gen(function* () {
      const events: Array<string> = []
      const signals: Array<AbortSignal> = []
      const toolkit = Toolkit.make(
        tool("effect"),
        tool("promise"),
        tool("fails").annotate(Annotate.Circuit, false)
      )
      const handlers = Handlers.toLayer(toolkit, {
        effect: () =>
          Effect.onInterrupt(Effect.never, () => {
            events.push("effect")
            return Effect.die(new Error("while it was stopped"))
          }),
        promise: (_, { signal }) =>
          new Promise<number>((_, reject) => {
            signals.push(signal)
            signal.addEventListener("abort", () => {
              events.push("promise")
              reject(signal.reason)
            })
          }),
        fails: () => Effect.fail("no")
      })
      const services = yield* Layer.build(Layer.merge(handlers, Testing.layer()))
      const executor = yield* Effect.provide(ToolExecutor.make(toolkit), services)
      yield* Context.get(services, CallRecord.CallRecorder).add({
        onEnd: ({ status }) => events.push(status)
      })
      const calls = ["effect", "promise", "effect", "promise", "fails"].map((tool) => ({ tool, params: {} }))
      const batch = yield* Batch.parallel(executor, calls, { failFast: true, concurrency: 10 }).pipe(
        Effect.provideService(
          ErrorReporter.CurrentErrorReporters,
          new Set([ErrorReporter.make(() => events.push("reported"))])
        )
      )
      assert.deepStrictEqual(batch.counts, { cancelled: 4, failure: 1 })
      const stopped = ["effect", "promise", "effect", "promise"]
      assert.deepStrictEqual(events.slice(0, 5), ["failure", ...stopped])
      assert.deepStrictEqual(events.slice(5).sort(), [
        "cancelled",
        "cancelled",
        "cancelled",
        "cancelled",
        "reported",
        "reported"
      ])
      for (const { reason } of signals) {
        assert.instanceOf(reason, DOMException)
        assert.strictEqual(reason.name, "AbortError")
        assert.notMatch(String(reason.stack), /^\s+at /m)
      }
    })
  )

  it.effect("makes its errors without stacks, and leaves those of others alone", () =>
    Effect.gen(function* () {
      const { executor } = yield* endings
      const batch = yield* Batch.parallel(executor, [call("denied"), call("fine")], {
        failFast: true,
        concurrency: 1
      })
      for (const { error } of batch.results) assert.notMatch(String(error?.stack), /^\s+at /m)
      assert.match(String(new Error("other").stack), /^\s+at /m)
    })
  )

  it.effect("names the first that stopped the batch, when several fail", () =>
    Effect.gen(function* () {
      const { executor } = yield* workers()
      const calls = [work(0, { ms: 20, fails: true }), work(1, { ms: 10, fails: true })]
      const batch = yield* whileTimePasses(Batch.parallel(executor, calls, { failFast: true }), 5)
      assert.strictEqual(batch.stoppedBy, "c1")
      assert.deepStrictEqual(statuses(batch), ["cancelled", "failure"])
    })
  )

  it.effect(
    "spares a batch whose tool says that its result can be done without, unless the call says otherwise",
    () =>
      Effect.gen(function* () {
        const { executor } = yield* workers()
        const extra = { id: "extra", tool: "extra", params: { n: 0, fails: true } }
        const spared = yield* Batch.parallel(executor, [extra, work(1)], { failFast: true, concurrency: 1 })
        assert.deepStrictEqual(statuses(spared), ["failure", "success"])
        const insisted = yield* Batch.parallel(executor, [{ ...extra, critical: true }, work(1)], {
          failFast: true,
          concurrency: 1
        })
        assert.deepStrictEqual(statuses(insisted), ["failure", "skipped"])
        assert.strictEqual(insisted.stoppedBy, "extra")
      })
  )

  it.effect("skips ten thousand calls that never began", () =>
    Effect.gen(function* () {
      const { executor, log } = yield* workers()
      const calls = [work(0, { fails: true }), ...range(10_000).map((n) => work(n + 1))]
      const batch = yield* Batch.parallel(executor, calls, { failFast: true })
      assert.deepStrictEqual(batch.counts, { failure: 1, skipped: 10_000 })
      assert.deepStrictEqual(log.began, [0])
    })
  )
})

describe("a deadline", () => {
  it.effect("times out what runs and skips what never began", () =>
    Effect.gen(function* () {
      const { executor, log } = yield* workers()
      const calls = [work(0, { ms: 10 }), work(1, { ms: 500 }), work(2, { ms: 500, cleanup: 30 }), work(3)]
      const batch = yield* whileTimePasses(
        Batch.parallel(executor, calls, { concurrency: 2, deadline: "100 millis" }),
        10
      )
      assert.deepStrictEqual(statuses(batch), ["success", "timeout", "timeout", "skipped"])
      assert.strictEqual(batch.time, 130)
      assert.strictEqual(log.running, 0)

      const late = yield* whileTimePasses(
        Batch.parallel(executor, calls.slice(1), { concurrency: 1, deadline: "100 millis" }),
        10
      )
      assert.deepStrictEqual(statuses(late), ["timeout", "skipped", "skipped"])
      assert.deepInclude(late.results[0]?.error?.reason, { _tag: "TimedOut", scope: "deadline" })
      assert.strictEqual(late.time, 100)
    })
  )

  it.effect("of a call stays where it is earlier, and is cut where it is later", () =>
    Effect.gen(function* () {
      const { executor } = yield* workers()
      const calls = [
        { ...work(0, { ms: 500 }), deadline: 40 },
        { ...work(1, { ms: 500 }), deadline: 400 }
      ]
      const batch = yield* whileTimePasses(Batch.parallel(executor, calls, { deadline: 100 }), 10)
      assert.deepStrictEqual(
        batch.results.map(({ latency }) => latency),
        [40, 100]
      )
    })
  )
})

describe("interrupting a batch", () => {
  it.effect(
    "interrupts everything and waits for finalizers; nothing begins and nobody is told after that",
    () =>
      Effect.gen(function* () {
        const { executor, log } = yield* workers()
        const calls = range(20).map((n) => work(n, { ms: 1000, cleanup: 50 }))
        let told = 0
        const fiber = yield* Effect.forkChild(
          Batch.parallel(executor, calls, { concurrency: 5, onProgress: () => told++ })
        )
        yield* TestClock.adjust(10)
        const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber))
        yield* TestClock.adjust(40)
        assert.strictEqual(fiber.pollUnsafe(), undefined, "finalizers still run")
        yield* TestClock.adjust(20)
        yield* Fiber.join(interruption)
        assert.strictEqual(log.running, 0)
        assert.deepStrictEqual(log.began, range(5))
        assert.strictEqual(log.ended.size, 5)
        assert.isTrue([...log.ended.values()].every((how) => how === "interrupted"))
        yield* TestClock.adjust(10_000)
        yield* settled
        assert.deepStrictEqual(log.began, range(5))
        assert.strictEqual(told, 5)
        const exit = yield* Fiber.await(fiber)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      })
  )

  it.effect("between two turns of many quick calls leaves the rest unbegun", () =>
    Effect.gen(function* () {
      const { executor, log } = yield* workers()
      const fiber = yield* Effect.forkChild(
        Batch.parallel(
          executor,
          range(5000).map((n) => work(n))
        )
      )
      while (log.began.length === 0) yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      const began = log.began.length
      assert.isBelow(began, 5000)
      yield* settled
      assert.strictEqual(log.began.length, began)
    })
  )

  it.effect("from within one of its own handlers, before that has suspended, leaves nothing running", () =>
    Effect.gen(function* () {
      const events: Array<string> = []
      const own: { batch?: Fiber.Fiber<unknown> } = {}
      const gate = yield* Deferred.make<void>()
      const toolkit = Toolkit.make(
        Tool.make("wait", { success: Schema.Void }),
        Tool.make("stop", { success: Schema.Void })
      )
      const handlers = toolkit.toLayer({
        wait: () => Deferred.await(gate),
        stop: () =>
          Effect.suspend(() => {
            own.batch?.interruptUnsafe()
            events.push("asked")
            return Effect.onInterrupt(Effect.never, () => Effect.sync(() => events.push("interrupted")))
          })
      })
      const services = yield* Layer.build(Layer.merge(handlers, Testing.layer()))
      const executor = yield* Effect.provide(ToolExecutor.make(toolkit), services)
      own.batch = yield* Effect.forkChild(
        Batch.sequential(executor, [
          { tool: "wait", params: {} },
          { tool: "stop", params: {} }
        ])
      )
      yield* settled
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.await(own.batch)
      assert.deepStrictEqual(events, ["asked", "interrupted"])
    })
  )
})

describe("Batch.stream", () => {
  it.effect("gives every result in the order of the calls, some at once and never more", () =>
    Effect.gen(function* () {
      for (const concurrency of [1, 2, 7]) {
        const { executor, log } = yield* workers()
        const calls = range(40).map((n) => work(n, { ms: 1 + ((n * 7) % 10), fails: n % 9 === 4 }))
        const results = yield* whileTimePasses(
          Stream.runCollect(Batch.stream(executor, Stream.fromIterable(calls), { concurrency }))
        )
        assert.deepStrictEqual(
          results.map(({ callId }) => callId),
          calls.map(({ id }) => id)
        )
        assert.deepStrictEqual(
          results.map(({ status }) => status),
          range(40).map((n) => (n % 9 === 4 ? "failure" : "success"))
        )
        assert.strictEqual(log.mostAtOnce, concurrency)
      }
    })
  )

  it.effect("has no results of an empty stream", () =>
    Effect.gen(function* () {
      const { executor } = yield* workers()
      assert.deepStrictEqual(yield* Stream.runCollect(Batch.stream(executor, Stream.empty)), [])
    })
  )

  it.effect("takes calls only as fast as its results are taken", () =>
    Effect.gen(function* () {
      const { executor } = yield* workers()
      let taken = 0
      let given = 0
      let furthest = 0
      const calls = Stream.fromPull(Effect.succeed(Effect.sync(() => [work(taken++)] as const)))
      yield* Batch.stream(executor, calls, { concurrency: 8 }).pipe(
        Stream.take(2000),
        Stream.runForEach(() => {
          given++
          furthest = Math.max(furthest, taken - given)
          return Effect.yieldNow
        })
      )
      assert.strictEqual(given, 2000)
      assert.isAtMost(furthest, 16)
    })
  )

  it.effect("ends with the result that stops it when it fails fast, and interrupts all others at once", () =>
    Effect.gen(function* () {
      const { executor, log } = yield* workers()
      const calls = [
        work(0),
        work(1, { ms: 60_000, cleanup: 20 }),
        work(2, { ms: 10, fails: true }),
        work(3),
        work(4, { ms: 60_000, cleanup: 50 }),
        work(5)
      ]
      const results = yield* whileTimePasses(
        Stream.runCollect(
          Batch.stream(executor, Stream.fromIterable(calls), { concurrency: 4, failFast: true })
        ),
        5,
        100
      )
      assert.deepStrictEqual(
        results.map(({ status }) => status),
        ["success", "cancelled", "failure"]
      )
      assert.strictEqual(log.running, 0)
      assert.strictEqual(log.ended.get(1), "interrupted")
      assert.strictEqual(log.ended.get(3), "succeeded", "what had ended behind it is not given")
      assert.strictEqual(log.ended.get(4) ?? "interrupted", "interrupted")
      assert.isFalse(log.began.includes(5))
    })
  )

  it.effect("goes on where the call that failed can be done without, or a human is asked", () =>
    Effect.gen(function* () {
      const { executor } = yield* workers({ policy: { requireConfirmation: ["extra"] } })
      const calls = [
        { ...work(0, { fails: true }), critical: false },
        { id: "asked", tool: "extra", params: { n: 1 }, critical: true },
        work(2)
      ]
      const results = yield* Stream.runCollect(
        Batch.stream(executor, Stream.fromIterable(calls), { failFast: true })
      )
      assert.deepStrictEqual(
        results.map(({ status }) => status),
        ["failure", "pending_confirmation", "success"]
      )
    })
  )

  it.effect("fails as the stream of calls does, after the results of the calls before", () =>
    Effect.gen(function* () {
      const { executor, log } = yield* workers()
      const seen: Array<string> = []
      const calls = Stream.concat(
        Stream.fromIterable([work(0, { ms: 10 }), work(1)]),
        Stream.fail("line 3 is not JSON")
      )
      const error = yield* whileTimePasses(
        Batch.stream(executor, calls).pipe(
          Stream.runForEach(({ callId }) => Effect.sync(() => seen.push(callId))),
          Effect.flip
        ),
        5
      )
      assert.strictEqual(error, "line 3 is not JSON")
      assert.deepStrictEqual(seen, ["c0", "c1"])
      assert.strictEqual(log.running, 0)
    })
  )

  it.effect("interrupts its calls when whoever reads it stops", () =>
    Effect.gen(function* () {
      const { executor, log } = yield* workers()
      const calls = range(10).map((n) => work(n, n === 0 ? {} : { ms: 60_000, cleanup: 30 }))
      const results = yield* whileTimePasses(
        Batch.stream(executor, Stream.fromIterable(calls), { concurrency: 4 }).pipe(
          Stream.take(1),
          Stream.runCollect
        ),
        10,
        20
      )
      assert.strictEqual(results.length, 1)
      assert.strictEqual(log.running, 0)
    })
  )

  it.effect("runs its calls through the door of a batch, for the principal of whoever reads", () =>
    Effect.gen(function* () {
      const { ended, executor } = yield* endings
      const results = yield* Batch.stream(executor, Stream.make(call("guarded"))).pipe(
        Stream.runCollect,
        Effect.provideService(
          Principal.CurrentPrincipal,
          Principal.make({ id: "ada", capabilities: ["read_data"] })
        )
      )
      assert.strictEqual(results[0]?.status, "success")
      assert.deepInclude(ended[0], { door: "batch", principal: "ada" })
    })
  )
})

// --- Laws ------------------------------------------------------------------

const anyCall = fc.record({
  ms: fc.integer({ min: 0, max: 20 }),
  fails: fc.boolean(),
  cleanup: fc.integer({ min: 0, max: 5 })
})
const anyBatch = fc.record({
  calls: fc.array(anyCall, { maxLength: 20 }),
  concurrency: fc.integer({ min: 1, max: 8 }),
  streamed: fc.boolean(),
  // How often fibers give way: what is decided in two steps goes wrong in between.
  steps: fc.integer({ min: 3, max: 40 })
})

const inTestTime = <A, E>(steps: number, effect: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.scoped(effect).pipe(
    Effect.provide(TestClock.layer()),
    Effect.provideService(Scheduler.MaxOpsBeforeYield, steps),
    Effect.runPromise
  )

describe("whatever the calls, their durations, their failures and the concurrency", () => {
  it("the results are an order-preserving image of the calls, with never more at once than allowed", () =>
    fc.assert(
      fc.asyncProperty(anyBatch, ({ calls, concurrency, steps, streamed }) =>
        inTestTime(
          steps,
          Effect.gen(function* () {
            const { executor, log } = yield* workers()
            const asked = calls.map((params, n) => work(n, params))
            const results = yield* whileTimePasses(
              streamed
                ? Stream.runCollect(Batch.stream(executor, Stream.fromIterable(asked), { concurrency }))
                : Effect.map(Batch.parallel(executor, asked, { concurrency }), (batch) => batch.results)
            )
            assert.deepStrictEqual(
              results.map(({ callId, status, value }) => [callId, status, value]),
              calls.map(({ fails }, n) => (fails ? [`c${n}`, "failure", undefined] : [`c${n}`, "success", n]))
            )
            assert.isAtMost(log.mostAtOnce, concurrency)
            assert.strictEqual(log.running, 0)
          })
        )
      ),
      { numRuns: 200 }
    ))

  it("a fail-fast batch keeps what had ended, cancels what ran, skips the rest, and leaves nothing running", () =>
    fc.assert(
      fc.asyncProperty(
        anyBatch,
        fc.array(fc.boolean(), { maxLength: 20 }),
        ({ calls, concurrency, steps }, optional) =>
          inTestTime(
            steps,
            Effect.gen(function* () {
              const { executor, log } = yield* workers()
              const asked = calls.map((params, n) => ({ ...work(n, params), critical: optional[n] !== true }))
              const batch = yield* whileTimePasses(
                Batch.parallel(executor, asked, { concurrency, failFast: true })
              )
              assert.strictEqual(log.running, 0)
              assert.isAtMost(log.mostAtOnce, concurrency)
              assert.strictEqual(batch.results.length, calls.length)
              const stopper = asked.findIndex(({ id }) => id === batch.stoppedBy)
              if (calls.some(({ fails }, n) => fails && optional[n] !== true)) assert.isAtLeast(stopper, 0)
              for (const [n, { callId, status }] of batch.results.entries()) {
                assert.strictEqual(callId, `c${n}`)
                const how = log.ended.get(n)
                switch (status) {
                  case "success":
                    assert.strictEqual(how, "succeeded")
                    break
                  case "failure":
                    assert.isTrue(how === "failed" && (stopper >= 0 || optional[n] === true))
                    break
                  case "cancelled":
                    // Whatever its handler came to, if it had begun: it may have been cancelled in its finalizer.
                    assert.isAtLeast(stopper, 0)
                    break
                  case "skipped":
                    assert.isTrue(stopper >= 0 && !log.began.includes(n))
                    break
                  default:
                    assert.fail(status)
                }
              }
            })
          )
      ),
      { numRuns: 200 }
    ))
})

describe("calls from outside", () => {
  const Kit = Toolkit.make(
    Tool.make("keep", { parameters: Schema.Struct({ id: Schema.NumberFromString }), success: Schema.Void })
  )

  it.effect("are read before anything else: what only the pipeline may say is no part of a call", () => {
    const tools = Testing.scripted(Kit, { keep: Testing.succeed(undefined) })
    return Effect.gen(function* () {
      const executor = yield* ToolExecutor.make(Kit)
      const { results } = yield* Batch.parallel(executor, [
        { tool: "keep", params: { id: 7 }, decoded: true },
        { tool: "keep", params: { id: "7" }, redeems: true },
        { tool: "keep", params: { id: "7" }, id: 5 },
        { tool: 5 },
        [],
        null,
        5
      ] as never)
      assert.deepStrictEqual(
        results.map(({ attempts, status }) => [status, attempts]),
        results.map(() => ["invalid_params", 0])
      )
      tools.assertRan("keep", 0)
    }).pipe(Effect.provide(Layer.merge(tools.layer, Testing.layer())))
  })
})
