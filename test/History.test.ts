import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as fc from "fast-check"
import * as CallRecord from "../src/CallRecord.ts"
import * as History from "../src/History.ts"
import type { ReasonTag } from "../src/ToolError.ts"
import { call, change, end, type LiveRecord, start } from "./support/records.ts"

const layer = (keep?: number) =>
  History.layer(keep === undefined ? {} : { keep }).pipe(Layer.provideMerge(CallRecord.layer))

/** Runs a test with the history and what feeds it. */
const withHistory = <A, E>(
  use: (
    history: History.History["Service"],
    sink: CallRecord.CallRecorder["Service"]["sink"]
  ) => Effect.Effect<A, E>,
  keep?: number
): Effect.Effect<A, E> =>
  Effect.gen(function* () {
    const history = yield* History.History
    const recorder = yield* CallRecord.CallRecorder
    return yield* use(history, recorder.sink)
  }).pipe(Effect.provide(layer(keep)))

const ids = (records: ReadonlyArray<CallRecord.CallRecord>) => records.map((record) => record.callId)

describe("History", () => {
  it.effect("shows a call as it lives: pending, running, retrying and as it ended", () =>
    withHistory((history, sink) =>
      Effect.gen(function* () {
        const record = start(sink, { callId: "a" })
        const seen = [(yield* history.get("a"))?.status]
        for (const status of ["running", "retrying"] as const) {
          change(sink, record, status)
          seen.push((yield* history.get("a"))?.status)
        }
        end(sink, record, "success")
        seen.push((yield* history.get("a"))?.status)
        assert.deepStrictEqual(seen, ["pending", "running", "retrying", "success"])
      })
    )
  )

  it.effect("keeps the last calls, newest first", () =>
    withHistory(
      (history, sink) =>
        Effect.gen(function* () {
          for (const callId of ["a", "b", "c", "d", "e"]) call(sink, "success", { callId })
          assert.deepStrictEqual(ids(yield* history.recent()), ["e", "d", "c"])
          assert.deepStrictEqual(ids(yield* history.recent({ limit: 2 })), ["e", "d"])
          assert.isUndefined(yield* history.get("a"))
        }),
      3
    )
  )

  it.effect("keeps the last 1,000 calls unless told otherwise, and none when told 0", () =>
    Effect.gen(function* () {
      const fill = (
        history: History.History["Service"],
        sink: CallRecord.CallRecorder["Service"]["sink"]
      ) => {
        for (let n = 0; n < 1200; n++) call(sink, "success")
        return Effect.all([history.recent(), history.statistics])
      }
      const [kept, statistics] = yield* withHistory(fill)
      assert.strictEqual(kept.length, 1000)
      assert.strictEqual(statistics.all.ended, 1200)
      const [none, still] = yield* withHistory(fill, 0)
      assert.strictEqual(none.length, 0)
      assert.strictEqual(still.all.ended, 1200)
    })
  )

  it.effect("finds calls by tool, status and principal together", () =>
    withHistory((history, sink) =>
      Effect.gen(function* () {
        call(sink, "success", { callId: "a", tool: "add", principal: "ann" })
        call(sink, "PolicyDenied", { callId: "b", tool: "add", principal: "ann" })
        call(sink, "PolicyDenied", { callId: "c", tool: "pay", principal: "ann" })
        call(sink, "PolicyDenied", { callId: "d", tool: "add", principal: "bob" })
        start(sink, { callId: "e", tool: "add", principal: "ann" })
        assert.deepStrictEqual(ids(yield* history.recent({ tool: "pay" })), ["c"])
        assert.deepStrictEqual(ids(yield* history.recent({ status: "pending" })), ["e"])
        assert.deepStrictEqual(ids(yield* history.recent({ principal: "ann", limit: 2 })), ["e", "c"])
        const query = { tool: "add", status: "policy_denied", principal: "ann" } as const
        assert.deepStrictEqual(ids(yield* history.recent(query)), ["b"])
      })
    )
  )

  it.effect("keeps two calls of one id and gets the newest", () =>
    withHistory((history, sink) =>
      Effect.gen(function* () {
        call(sink, "success", { callId: "same", tool: "old" })
        call(sink, "success", { callId: "same", tool: "new" })
        assert.strictEqual((yield* history.recent()).length, 2)
        assert.strictEqual((yield* history.get("same"))?.tool, "new")
      })
    )
  )

  it.effect("states counts, success rate, mean time and mean attempts over all and per tool", () =>
    withHistory((history, sink) =>
      Effect.gen(function* () {
        call(sink, "success", { tool: "add", took: 10 })
        call(sink, "HandlerFailed", { tool: "add", took: 30, attempts: 4 })
        call(sink, "PermissionDenied", { tool: "pay", attempts: 0, took: 2 })
        call(sink, "ToolFailed", { tool: "add", took: 20, status: "degraded" })
        start(sink, { tool: "pay" })
        const { all, tools } = yield* history.statistics
        const add = tools.get("add")!
        const pay = tools.get("pay")!
        assert.deepStrictEqual([all.started, all.inFlight, all.ended], [5, 1, 4])
        assert.deepStrictEqual([add.started, add.inFlight, add.ended], [3, 0, 3])
        assert.deepStrictEqual([pay.started, pay.inFlight, pay.ended], [2, 1, 1])
        assert.deepStrictEqual(
          [add.counts.success, add.counts.failure, add.counts.degraded, add.counts.timeout],
          [1, 1, 1, 0]
        )
        assert.strictEqual(all.counts.permission_denied, 1)
        assert.strictEqual(all.successRate, 0.25)
        assert.strictEqual(add.successRate, 1 / 3)
        assert.strictEqual(add.meanTime, 20)
        assert.strictEqual(add.meanAttempts, 2)
        assert.strictEqual(all.meanTime, 15.5)
      })
    )
  )

  it.effect("says 1 and 0 rather than no number when nothing has ended", () =>
    withHistory((history) =>
      Effect.gen(function* () {
        const { all, tools } = yield* history.statistics
        assert.deepStrictEqual([all.started, all.successRate, all.meanTime, all.meanAttempts], [0, 1, 0, 0])
        assert.strictEqual(tools.size, 0)
      })
    )
  )

  it.effect("streams every change of status", () =>
    withHistory((history, sink) =>
      Effect.gen(function* () {
        const fiber = yield* history.changes.pipe(
          Stream.map((record) => record.status),
          Stream.take(4),
          Stream.runCollect,
          Effect.forkChild({ startImmediately: true })
        )
        yield* Effect.yieldNow
        const record = start(sink)
        yield* Effect.yieldNow
        for (const status of ["running", "retrying"] as const) {
          change(sink, record, status)
          yield* Effect.yieldNow
        }
        end(sink, record, "success")
        assert.deepStrictEqual(yield* Fiber.join(fiber), ["pending", "running", "retrying", "success"])
      })
    )
  )

  it.effect("forgets what has ended when cleared, and goes on with what runs", () =>
    withHistory((history, sink) =>
      Effect.gen(function* () {
        call(sink, "success", { callId: "a", tool: "add" })
        const running = start(sink, { callId: "b", tool: "pay" })
        call(sink, "success", { callId: "c", tool: "pay" })
        yield* history.clear
        assert.deepStrictEqual(ids(yield* history.recent()), ["b"])
        const cleared = yield* history.statistics
        assert.deepStrictEqual(
          [cleared.all.started, cleared.all.inFlight, cleared.all.ended, cleared.all.counts.success],
          [1, 1, 0, 0]
        )
        assert.deepStrictEqual(Array.from(cleared.tools.keys()), ["pay"])
        end(sink, running, "success")
        call(sink, "success", { callId: "d" })
        assert.deepStrictEqual(ids(yield* history.recent()), ["d", "b"])
        const after = yield* history.statistics
        assert.deepStrictEqual([after.all.inFlight, after.all.counts.success], [0, 2])
      })
    )
  )

  it.effect("ignores the end of a call that came in before it", () =>
    Effect.gen(function* () {
      const recorder = yield* CallRecord.CallRecorder
      const early = start(recorder.sink)
      yield* Effect.gen(function* () {
        const history = yield* History.History
        start(recorder.sink)
        change(recorder.sink, early, "running")
        end(recorder.sink, early, "success")
        const { all } = yield* history.statistics
        assert.deepStrictEqual([all.started, all.inFlight, all.ended], [1, 1, 0])
      }).pipe(Effect.provide(History.layer()))
    }).pipe(Effect.provide(CallRecord.layer))
  )

  it.effect("is exact at every moment while fibers call at once and someone clears", () =>
    withHistory(
      (history, sink) =>
        Effect.gen(function* () {
          let started = 0
          let ended = 0
          const outcomes: ReadonlyArray<"success" | ReasonTag> = ["success", "TimedOut", "PolicyDenied"]
          const one = Effect.fnUntraced(function* (index: number) {
            const record = start(sink, { tool: `tool-${index % 4}` })
            started++
            for (let turn = 0; turn < index % 5; turn++) yield* Effect.yieldNow
            end(sink, record, outcomes[index % 3]!)
            ended++
          })
          const check = Effect.gen(function* () {
            for (let n = 0; n < 50; n++) {
              const { all, tools } = yield* history.statistics
              assert.strictEqual(all.inFlight, started - ended)
              assert.strictEqual(all.started, all.inFlight + all.ended)
              assert.strictEqual(sum(Object.values(all.counts)), all.ended)
              assert.strictEqual(sum(Array.from(tools.values(), (tally) => tally.started)), all.started)
              if (n % 10 === 9) yield* history.clear
              yield* Effect.yieldNow
            }
          })
          yield* Effect.all(
            [check, Effect.forEach(Array(2000).keys(), one, { concurrency: 50, discard: true })],
            { concurrency: 2 }
          )
          assert.strictEqual((yield* history.statistics).all.inFlight, 0)
        }),
      100
    )
  )

  it.effect("answers as a plain list of all calls would, whatever happens", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 0, max: 5 }),
          fc.array(fc.oneof(fc.constantFrom("start", "clear"), fc.nat(8)), { maxLength: 60 }),
          (keep, steps) =>
            Effect.runPromise(
              withHistory(
                (history, sink) =>
                  Effect.gen(function* () {
                    let all: Array<LiveRecord> = []
                    let kept: Array<LiveRecord> = []
                    for (const step of steps) {
                      if (step === "start") {
                        const record = start(sink)
                        all.push(record)
                        kept = keep === 0 ? [] : [...kept, record].slice(-keep)
                      } else if (step === "clear") {
                        yield* history.clear
                        all = all.filter((record) => !CallRecord.isEnded(record))
                        kept = kept.filter((record) => !CallRecord.isEnded(record))
                      } else {
                        const live = all.filter((record) => !CallRecord.isEnded(record))
                        const record = live[step]
                        if (record !== undefined) end(sink, record, "success")
                      }
                      assert.deepStrictEqual(ids(yield* history.recent()), ids(kept.toReversed()))
                      const { all: tally } = yield* history.statistics
                      assert.strictEqual(tally.started, all.length)
                      assert.strictEqual(tally.ended, all.filter(CallRecord.isEnded).length)
                    }
                  }),
                keep
              )
            )
        ),
        { numRuns: 200 }
      )
    )
  )
})

const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((total, n) => total + n, 0)
