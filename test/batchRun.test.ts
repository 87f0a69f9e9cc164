import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SqlClient from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import { Approvals, type Interlock, Principal, ToolExecutor } from "effect-interlock"
import { SqlApprovals, Sqlite } from "effect-interlock/sql"
import * as fc from "fast-check"
import * as BatchRun from "../src/cli/batch/BatchRun.ts"
import * as Line from "../src/cli/batch/Line.ts"
import type { ResultLine } from "../src/cli/batch/ResultLine.ts"
import { governance, handlers, kit, linesOf, textOf } from "./support/batches.ts"
import { check, letOut, random, runWorker, writeInput } from "./support/batchKills.ts"
import type { Order } from "./support/batchWorker.ts"

type Executor = ToolExecutor.ToolExecutor<typeof kit.tools>

interface World {
  readonly executor: Executor
  /** `tool n` of every handler that began, in order. */
  readonly did: Array<string>
}

const database = Sqlite.layer({ filename: ":memory:", busyTimeout: 0 })

/** A program and its database. */
const world = <A, E>(
  test: (world: World) => Effect.Effect<A, E, SqlClient.SqlClient | Interlock.Services | Scope.Scope>,
  options: Interlock.Options = {}
) => {
  const did: Array<string> = []
  return Effect.gen(function* () {
    return yield* Effect.scoped(test({ executor: yield* ToolExecutor.make(kit), did }))
  }).pipe(
    Effect.provide(
      Layer.mergeAll(
        handlers((tool, n) => did.push(`${tool} ${n}`)),
        governance(options)
      ).pipe(Layer.provideMerge(database))
    )
  )
}

const start = (
  executor: Executor,
  calls: ReadonlyArray<unknown> | Stream.Stream<Line.Line>,
  options: Partial<BatchRun.Options> = {}
) =>
  BatchRun.make(
    executor,
    Array.isArray(calls) ? linesOf(textOf(calls)) : (calls as Stream.Stream<Line.Line>),
    {
      id: "b",
      lease: "1 second",
      ...options
    }
  )

/** A run to its end, and what came of it. */
const whole = (...args: Parameters<typeof start>) =>
  Effect.gen(function* () {
    const run = yield* start(...args)
    const results = yield* Stream.runCollect(run.results)
    return { results, summary: yield* run.summary, progress: yield* run.progress }
  }).pipe(Effect.scoped)

/**
 * What a process leaves that is killed once so many handlers have begun: nothing of it is closed, and its time is over.
 * Its fibers go on in this process, as those of one that was taken for dead do.
 */
const killed = (world: World, begun: number, ...args: Parameters<typeof start>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const before = world.did.length
    const run = yield* start(...args).pipe(Scope.provide(scope))
    const running = yield* Effect.forkDetach(Stream.runDrain(run.results), { startImmediately: true })
    yield* until(() => world.did.length >= before + begun)
    yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql`UPDATE interlock_batches SET owned_until = 0`)
    return running
  })

/** Turns go by, and no time. */
const until = (condition: () => boolean) =>
  Effect.gen(function* () {
    for (let turn = 0; turn < 10_000 && !condition(); turn++) yield* Effect.yieldNow
    assert.isTrue(condition())
  })

/** Virtual time goes by until an effect has ended. */
const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>, step = 10) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    while (fiber.pollUnsafe() === undefined) {
      yield* TestClock.adjust(step)
      yield* Effect.yieldNow
    }
    return yield* Fiber.join(fiber)
  })

const call = (tool: string, n: number, more: object = {}) => ({ tool, params: { n, ...more } })
const calls = (tool: string, count: number) => Array.from({ length: count }, (_, i) => call(tool, i + 1))
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const brief = (results: ReadonlyArray<ResultLine>) => results.map(({ line, status }) => `${line} ${status}`)
const byLine = (results: ReadonlyArray<ResultLine>) => [...results].sort((a, b) => a.line - b.line)

const outcomes = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const rows = yield* sql<{
    readonly line: number
    readonly status: string | null
  }>`SELECT line, status FROM interlock_batch_lines ORDER BY line`
  return rows.map(({ line, status }) => `${line} ${status ?? "begun"}`)
})

describe("a batch", () => {
  it.effect(
    "gives each line one result, with its number, and says what is wrong with those that are no calls",
    () =>
      world(({ did, executor }) =>
        Effect.gen(function* () {
          const { results, summary } = yield* whole(executor, [
            call("read", 1),
            "",
            "{ no json }",
            call("write", 2, { fails: "always" }),
            "[1, 2]",
            "null",
            call("nothing", 3),
            { ...call("read", 4), id: "mine" },
            { ...call("read", 5), wrong: true },
            "   ",
            call("read", 6).tool
          ])
          const lines = byLine(results)
          assert.deepStrictEqual(brief(lines), [
            "1 success",
            "3 invalid_params",
            "4 failure",
            "5 invalid_params",
            "6 invalid_params",
            "7 not_found",
            "8 success",
            "9 invalid_params",
            "11 invalid_params"
          ])
          assert.deepStrictEqual(
            lines.map(({ callId }) => callId),
            ["b:1", "b:3", "b:4", "b:5", "b:6", "b:7", "mine", "b:9", "b:11"]
          )
          assert.strictEqual(lines[0]?.value, 1)
          assert.strictEqual(
            lines[1]?.error?.message,
            "Line 3 cannot be read: it is not JSON, at character 3."
          )
          assert.deepStrictEqual(lines[2]?.error, {
            code: "TOOL_FAILED",
            message: "The tool reported a failure.",
            reason: { _tag: "ToolFailed", class: "Caller", failure: "2 failed" }
          })
          assert.deepStrictEqual(JSON.parse(JSON.stringify(results)), results)
          assert.deepStrictEqual([...did].sort(), ["read 1", "read 4", "write 2"])
          const { time: _, ...rest } = summary
          assert.deepStrictEqual(rest, {
            batch: "b",
            endedBy: "input",
            stoppedBy: undefined,
            read: 9,
            ended: 9,
            counts: { success: 2, invalid_params: 5, failure: 1, not_found: 1 },
            undone: 0,
            before: {}
          })
        })
      )
  )

  it.effect("shows nothing of a line that is not JSON", () =>
    world(({ executor }) =>
      Effect.gen(function* () {
        const { results } = yield* whole(executor, [
          "hunter2",
          '{"password":"hunter2"',
          '{"a": hunter2}',
          '"hunter2'
        ])
        assert.deepStrictEqual(
          results.map(({ status }) => status),
          Array(4).fill("invalid_params")
        )
        assert.notInclude(JSON.stringify(results), "hunter2")
      })
    )
  )

  it.effect("runs so many calls at once and no more, and lets results out as they end", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const slow = range(1, 9).map((n) => call("read", n, { ms: (10 - n) * 100 }))
        const run = yield* start(executor, slow, { concurrency: 3 })
        const seen: Array<number> = []
        const reading = yield* Effect.forkScoped(
          Stream.runForEach(run.results, ({ line }) => Effect.sync(() => seen.push(line))),
          { startImmediately: true }
        )
        yield* until(() => did.length === 3)
        assert.strictEqual((yield* run.progress).running, 3)
        yield* TestClock.adjust(699)
        assert.deepStrictEqual(did, ["read 1", "read 2", "read 3"])
        yield* TestClock.adjust(20)
        yield* until(() => did.length === 4)
        assert.deepStrictEqual(seen, [3])
        yield* inTime(Fiber.join(reading))
        // 900, 800 and 700 ms; three that end at 1,300; then 300, 200 and 100 ms.
        assert.deepStrictEqual(seen, [3, 2, 1, 4, 5, 6, 9, 8, 7])
      })
    )
  )

  it.effect("lets results out in the order of the lines where that is asked for, and goes on meanwhile", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const mixed = [call("read", 1, { ms: 1000 }), ...calls("read", 3000).slice(1)]
        const run = yield* start(executor, mixed, { concurrency: 2, ordered: true })
        const seen: Array<number> = []
        const reading = yield* Effect.forkScoped(
          Stream.runForEach(run.results, ({ line }) => Effect.sync(() => seen.push(line))),
          { startImmediately: true }
        )
        // Those that wait for the first one are as many as may be held.
        yield* until(() => did.length === 1 + 1024)
        yield* inTime(Effect.sleep(500))
        assert.deepStrictEqual([seen.length, did.length], [0, 1 + 1024])
        assert.strictEqual((yield* outcomes).length, 1024)
        yield* inTime(Fiber.join(reading))
        assert.deepStrictEqual(seen, range(1, 3000))
      })
    )
  )

  it.effect("waits for whoever reads the results", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const run = yield* start(executor, calls("read", 10_000), { concurrency: 4 })
        const first = yield* Deferred.make<void>()
        const goOn = yield* Deferred.make<void>()
        const reading = yield* Effect.forkScoped(
          Stream.runForEachArray(run.results, () =>
            Effect.andThen(Deferred.succeed(first, undefined), Deferred.await(goOn))
          ),
          { startImmediately: true }
        )
        yield* inTime(Deferred.await(first))
        yield* TestClock.adjust("1 minute")
        const begun = did.length
        assert.isAtMost(begun, 3 * 1024)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(did.length, begun)
        yield* Deferred.succeed(goOn, undefined)
        yield* inTime(Fiber.join(reading))
        assert.strictEqual(did.length, 10_000)
      })
    )
  )

  it.effect("can be read how far it is, at any time", () =>
    world(({ executor }) =>
      Effect.gen(function* () {
        const text = textOf([
          ...range(1, 100).map((n) => call("read", n, { ms: 100 })),
          call("read", 0, { fails: "always" })
        ])
        const run = yield* start(executor, linesOf(text), { concurrency: 10 })
        const none = yield* run.progress
        assert.deepStrictEqual([none.read, none.ended, none.rate, none.bytes], [0, 0, 0, 0])
        const reading = yield* Effect.forkScoped(Stream.runDrain(run.results), { startImmediately: true })
        yield* inTime(Effect.sleep(550), 50)
        const half = yield* run.progress
        assert.deepStrictEqual([half.ended, half.running, half.read], [50, 10, 60])
        assert.isAbove(half.bytes, 0)
        assert.isAtLeast(half.rate, 80)
        assert.isAtMost(half.rate, 110)
        yield* inTime(Fiber.join(reading), 50)
        const done = yield* run.progress
        assert.deepStrictEqual(done.counts, { success: 100, failure: 1 })
        assert.strictEqual(done.bytes, text.length)
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual((yield* run.progress).rate, 0)
      })
    )
  )

  it.effect("fails with what its input fails with, after what runs has ended", () =>
    world(({ executor }) =>
      Effect.gen(function* () {
        const broken = Stream.concat(
          linesOf(textOf([call("read", 1, { ms: 50 }), call("read", 2)])),
          Stream.fail("the disk is gone" as never)
        )
        const run = yield* start(executor, broken)
        const seen: Array<string> = []
        const failure = yield* inTime(
          Effect.flip(
            Stream.runForEach(run.results, (result) => Effect.sync(() => seen.push(...brief([result]))))
          )
        )
        assert.strictEqual(failure as unknown, "the disk is gone")
        assert.deepStrictEqual(seen.sort(), ["1 success", "2 success"])
        assert.strictEqual((yield* run.summary).endedBy, "error")
      })
    )
  )

  it("refuses options that make no sense, and names them", () =>
    world(({ executor }) =>
      Effect.sync(() => {
        assert.throws(() => start(executor, [], { concurrency: 0 }), /BatchRun: concurrency/)
        assert.throws(() => start(executor, [], { deadline: -1 }), /BatchRun: deadline/)
      })
    ).pipe(Effect.scoped, Effect.runPromise))
})

describe("a batch that is resumed", () => {
  it.effect("runs nothing that has an outcome, and tells how much that was", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const all = [...calls("write", 20), "no json", call("read", 21, { fails: "always" })]
        yield* whole(executor, all)
        did.length = 0
        const { results, summary } = yield* whole(executor, [...all, call("write", 22)])
        assert.deepStrictEqual(brief(results), ["23 success"])
        assert.deepStrictEqual(did, ["write 22"])
        assert.deepStrictEqual(summary.before, { success: 20, invalid_params: 1, failure: 1 })
        assert.deepStrictEqual([summary.read, summary.ended], [23, 1])
        assert.strictEqual((yield* outcomes).length, 23)
      })
    )
  )

  it.effect("lets out again what earlier runs have recorded where that is asked for, in order too", () =>
    world(({ executor }) =>
      Effect.gen(function* () {
        const first = yield* whole(executor, [
          ...calls("write", 700),
          "no json",
          call("read", 702, { fails: "always" })
        ])
        const more = [
          ...calls("write", 700),
          "no json",
          call("read", 702, { fails: "always" }),
          call("read", 703)
        ]
        const { results } = yield* whole(executor, more, { replay: true, ordered: true })
        assert.deepStrictEqual(
          results.map(({ line }) => line),
          range(1, 703)
        )
        assert.deepStrictEqual(
          results.slice(0, 702),
          byLine(first.results).map((result) => ({ ...result, replayed: true as const }))
        )
        assert.isUndefined(results.at(-1)?.replayed)
      })
    )
  )

  it.effect("decides by the tool what becomes of calls that ran when their process was killed", () =>
    world((world) =>
      Effect.gen(function* () {
        const { did, executor } = world
        const all = ["read", "write", "ask", "extra", "covered"].map((tool, i) =>
          call(tool, i + 1, { ms: 10_000 })
        )
        yield* killed(world, 5, executor, all)
        assert.deepStrictEqual(yield* outcomes, ["2 begun", "3 begun", "5 begun"])
        did.length = 0
        const { results } = yield* inTime(whole(executor, all), 1000)
        assert.deepStrictEqual(brief(byLine(results)), [
          "1 success",
          "2 unknown",
          "3 pending_confirmation",
          "4 success",
          "5 unknown"
        ])
        assert.deepStrictEqual(did.sort(), ["extra 4", "read 1"])
        const unknown = byLine(results)[1]
        assert.strictEqual(unknown?.error?.code, "OUTCOME_UNKNOWN")
        assert.strictEqual(unknown?.callId, "b:2")
        assert.deepStrictEqual(yield* outcomes, brief(byLine(results)))
        // What is unknown stays so, until somebody says to run it all the same.
        did.length = 0
        assert.deepStrictEqual((yield* whole(executor, all)).results, [])
        const again = yield* inTime(whole(executor, all, { retry: ["unknown"] }), 1000)
        assert.deepStrictEqual(brief(byLine(again.results)), ["2 success", "5 success"])
        assert.deepStrictEqual(did.sort(), ["covered 5", "write 2"])
      })
    )
  )

  it.effect("runs what was begun at once where it is told to run again what is unknown", () =>
    world((world) =>
      Effect.gen(function* () {
        const all = [call("write", 1, { ms: 10_000 })]
        yield* killed(world, 1, world.executor, all)
        const { results } = yield* inTime(whole(world.executor, all, { retry: ["unknown"] }), 1000)
        assert.deepStrictEqual(brief(results), ["1 success"])
      })
    )
  )

  it.effect("does not say of a tool that is no longer there that it was not, where it may have run", () =>
    world((world) =>
      Effect.gen(function* () {
        const all = [call("write", 1, { ms: 10_000 }), call("write", 2)]
        yield* killed(world, 1, world.executor, all, { concurrency: 1 })
        const smaller = yield* ToolExecutor.make(Toolkit.make(kit.tools.read)).pipe(
          Effect.provide(handlers(() => undefined))
        )
        const { results } = yield* whole(smaller as unknown as Executor, all)
        assert.deepStrictEqual(brief(byLine(results)), ["1 unknown", "2 not_found"])
      })
    )
  )

  it.effect("does not let a process that was taken for dead write any more", () =>
    world((world) =>
      Effect.gen(function* () {
        const all = [call("write", 1, { ms: 10_000 }), call("write", 2, { ms: 10_000 })]
        const dead = yield* killed(world, 2, world.executor, all)
        yield* inTime(whole(world.executor, all), 1000)
        const exit = yield* inTime(Fiber.await(dead), 1000)
        assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", "taken over")
        assert.deepStrictEqual(yield* outcomes, ["1 unknown", "2 unknown"])
      })
    )
  )

  it.effect("leaves calls that name their own key to what is known of it", () =>
    world((world) =>
      Effect.gen(function* () {
        const { did, executor } = world
        const all = [
          { ...call("write", 1, { ms: 10_000 }), idempotencyKey: "mine" },
          { ...call("write", 2), idempotencyKey: "yours" }
        ]
        yield* killed(world, 2, executor, all)
        did.length = 0
        // The key of the first one is held for as long as its call may take; then nobody knows.
        const { results } = yield* inTime(whole(executor, all), 60_000)
        assert.deepStrictEqual(brief(byLine(results)), ["1 unknown", "2 success"])
        assert.deepStrictEqual(did, [])
        assert.strictEqual(byLine(results)[1]?.answeredFrom, "idempotency")
      })
    )
  )

  it.effect("runs recorded outcomes again that it is told to, each with one outcome still", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const all = [
          call("write", 1, { fails: "once" }),
          call("read", 2, { fails: "once" }),
          call("write", 3),
          call("nothing", 4),
          call("write", 5, { fails: "always" })
        ]
        yield* whole(executor, all)
        did.length = 0
        const { results } = yield* whole(executor, all, { retry: ["failure", "not_found"] })
        assert.deepStrictEqual(brief(byLine(results)), ["1 success", "2 success", "4 not_found", "5 failure"])
        assert.deepStrictEqual(did.sort(), ["read 2", "write 1", "write 5"])
        const now = ["1 success", "2 success", "3 success", "4 not_found", "5 failure"]
        assert.deepStrictEqual(yield* outcomes, now)
        const replayed = yield* whole(executor, all, { replay: true })
        assert.deepStrictEqual(brief(byLine(replayed.results)), now)
      })
    )
  )

  it.effect("refuses an input that is not the one that it began with, and names the line", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const all = calls("write", 10)
        yield* whole(executor, all)
        did.length = 0
        const messageOf = (changed: ReadonlyArray<unknown>) =>
          Effect.map(Effect.flip(whole(executor, changed)), (error) => (error as Error).message)
        assert.include(yield* messageOf(all.with(4, call("write", 50))), "Line 5 is not the one")
        assert.include(yield* messageOf(["", ...all]), "has no line 1")
        assert.include(yield* messageOf(all.toSpliced(6, 1)), "Line 7 is not the one")
        assert.include(yield* messageOf(all.slice(0, 9)), "has no line 10")
        assert.include(yield* messageOf(all.with(2, "" as never)), "has no line 3")
        assert.deepStrictEqual(did, [])
        // An order of keys or a space is enough; what comes after the last line is not.
        assert.include(yield* messageOf(all.map((one) => ` ${JSON.stringify(one)}` as never)), "Line 1")
        yield* whole(executor, [...all, "", ""])
        assert.strictEqual((yield* outcomes).length, 10)
      })
    )
  )

  it.effect("is refused or demanded where that is asked for", () =>
    world(({ executor }) =>
      Effect.gen(function* () {
        const reasonOf = (options: Partial<BatchRun.Options>) =>
          Effect.map(Effect.flip(whole(executor, calls("read", 1), options)), (error) =>
            "reason" in error ? error.reason : error
          )
        assert.strictEqual(yield* reasonOf({ start: "resume" }), "not_found")
        yield* whole(executor, calls("read", 1), { start: "new" })
        assert.strictEqual(yield* reasonOf({ start: "new" }), "exists")
        yield* whole(executor, calls("read", 1), { start: "resume" })
      })
    )
  )

  it.effect("lets a call run that a human has granted meanwhile", () =>
    world(
      ({ did, executor }) =>
        Effect.gen(function* () {
          const all = [{ ...call("write", 1), requireConfirmation: true }, call("write", 2)]
          const asking = Principal.make({ id: "ada", tenant: "acme" })
          const first = yield* Principal.provide(whole(executor, all), asking)
          assert.deepStrictEqual(brief(byLine(first.results)), ["1 pending_confirmation", "2 success"])
          const approvals = yield* Approvals.Approvals
          const [request] = yield* approvals.list()
          yield* Principal.provide(approvals.grant(request?.id ?? ""), asking)
          const second = yield* Principal.provide(
            whole(executor, all, { retry: ["pending_confirmation"] }),
            asking
          )
          assert.deepStrictEqual(brief(second.results), ["1 success"])
          assert.deepStrictEqual(did, ["write 2", "write 1"])
        }),
      { approvals: SqlApprovals.layer() }
    )
  )
})

describe("a batch that is ended early", () => {
  it.effect("stops at the first critical call that fails where that is asked for, and can be resumed", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const all = [
          call("write", 1),
          call("extra", 2, { fails: "always" }),
          call("write", 3, { ms: 5000 }),
          call("read", 4, { ms: 5000 }),
          call("write", 5, { fails: "always", ms: 100 }),
          ...range(6, 50).map((n) => call("write", n, { ms: 5000 }))
        ]
        const { results, summary } = yield* inTime(whole(executor, all, { failFast: true, concurrency: 4 }))
        assert.deepStrictEqual(brief(byLine(results)), [
          "1 success",
          "2 failure",
          "3 cancelled",
          "4 cancelled",
          "5 failure",
          "6 cancelled"
        ])
        assert.deepStrictEqual([summary.endedBy, summary.stoppedBy, summary.undone], ["fail_fast", 5, 3])
        assert.deepStrictEqual(yield* outcomes, ["1 success", "2 failure", "3 begun", "5 failure", "6 begun"])
        did.length = 0
        const again = yield* inTime(whole(executor, all, { failFast: true, concurrency: 50 }), 1000)
        assert.deepStrictEqual(brief(again.results), ["3 unknown"])
        assert.strictEqual(again.summary.stoppedBy, 3)
        const last = yield* inTime(whole(executor, all), 1000)
        assert.strictEqual(last.summary.endedBy, "input")
        const ended = yield* outcomes
        assert.strictEqual(ended.length, 50)
        assert.isFalse(ended.some((outcome) => outcome.endsWith("begun")))
      })
    )
  )

  it.effect("is not stopped by a line that is no call, but where fail-fast is asked for", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const all = ["no json", ...calls("read", 5)]
        const stopped = yield* whole(executor, all, { failFast: true, id: "a", concurrency: 1 })
        assert.deepStrictEqual(brief(stopped.results), ["1 invalid_params"])
        assert.deepStrictEqual([stopped.summary.stoppedBy, did], [1, []])
        assert.strictEqual((yield* whole(executor, all)).results.length, 6)
      })
    )
  )

  it.effect("begins nothing after its deadline, and times out what runs", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const all = [call("write", 1, { ms: 400 }), ...range(2, 50).map((n) => call("write", n, { ms: 700 }))]
        const { results, summary } = yield* inTime(
          whole(executor, all, { deadline: "1 second", concurrency: 2 })
        )
        assert.deepStrictEqual(brief(byLine(results)), ["1 success", "2 success", "3 timeout", "4 timeout"])
        assert.deepStrictEqual([summary.endedBy, summary.time], ["deadline", 1000])
        assert.strictEqual(did.length, 4)
        assert.deepStrictEqual(yield* outcomes, ["1 success", "2 success", "3 timeout", "4 timeout"])
      })
    )
  )

  it.effect("ends at its deadline though its input goes on for ever", () =>
    world(({ executor }) =>
      Effect.gen(function* () {
        const endless = Stream.concat(linesOf(textOf(calls("read", 3))), Stream.never)
        const { results, summary } = yield* inTime(whole(executor, endless, { deadline: "1 second" }))
        assert.deepStrictEqual([results.length, summary.endedBy], [3, "deadline"])
      })
    )
  )

  it.effect("stopped, cancels what runs, gives what has ended, and says how far it came", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const all = [...calls("write", 5), call("write", 6, { ms: 10_000 }), ...calls("read", 1000).slice(6)]
        const endless = Stream.concat(linesOf(textOf(all.slice(0, 6))), Stream.never)
        const run = yield* start(executor, endless, { concurrency: 2 })
        const reading = yield* Effect.forkScoped(Stream.runCollect(run.results), { startImmediately: true })
        yield* until(() => did.includes("write 6"))
        yield* run.stop
        const results = yield* Fiber.join(reading)
        assert.deepStrictEqual(brief(byLine(results)), [
          ...range(1, 5).map((n) => `${n} success`),
          "6 cancelled"
        ])
        const summary = yield* run.summary
        assert.deepStrictEqual([summary.endedBy, summary.ended, summary.undone], ["interrupt", 6, 1])
      }).pipe(Effect.scoped)
    )
  )

  it.effect("interrupted, has given what had ended before it ends, and lets go of the batch", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const all = [
          ...calls("write", 300),
          call("read", 301, { ms: 10_000 }),
          call("read", 302, { ms: 10_000 })
        ]
        const seen: Array<string> = []
        const running = yield* Effect.forkChild(
          Effect.gen(function* () {
            const run = yield* start(executor, all, { concurrency: 4 })
            yield* BatchRun.forEach(run, (result) => Effect.sync(() => seen.push(...brief([result])))).pipe(
              Effect.ensuring(Effect.map(run.summary, ({ endedBy }) => seen.push(`${endedBy}`)))
            )
          }).pipe(Effect.scoped),
          { startImmediately: true }
        )
        yield* until(() => did.includes("read 302"))
        yield* Fiber.interrupt(running)
        assert.deepStrictEqual(
          seen.sort(),
          [...range(1, 300).map((n) => `${n} success`), "301 cancelled", "302 cancelled", "interrupt"].sort()
        )
        // What can run again has left nothing behind; nobody has to be waited for.
        assert.strictEqual((yield* outcomes).length, 300)
        did.length = 0
        const again = yield* inTime(whole(executor, all), 1000)
        assert.deepStrictEqual(brief(byLine(again.results)), ["301 success", "302 success"])
        assert.deepStrictEqual(did, ["read 301", "read 302"])
      })
    )
  )

  it.effect("stopped before it began, runs nothing", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const run = yield* start(executor, calls("read", 10))
        yield* run.stop
        assert.deepStrictEqual(yield* Stream.runCollect(run.results), [])
        assert.deepStrictEqual(did, [])
      }).pipe(Effect.scoped)
    )
  )

  it.effect("writes what has ended where whoever reads its results stops doing so", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const run = yield* start(executor, calls("write", 2000), { concurrency: 4 })
        yield* inTime(Stream.runDrain(Stream.take(run.results, 10)))
        const written = yield* outcomes
        assert.deepStrictEqual(
          written,
          range(1, did.length).map((line) => `${line} success`)
        )
      }).pipe(Effect.scoped)
    )
  )

  it.effect("takes calls as not begun whose handlers were not, though they were written down as begun", () =>
    world(
      ({ did, executor }) =>
        Effect.gen(function* () {
          const all = [call("write", 1), call("write", 2, { ms: 100 }), call("write", 3), call("write", 4)]
          const run = yield* start(executor, all, { concurrency: 4 })
          const reading = yield* Effect.forkScoped(Stream.runCollect(run.results), { startImmediately: true })
          yield* until(() => did.includes("write 2"))
          assert.strictEqual((yield* outcomes).length, 4)
          yield* run.stop
          const results = yield* Fiber.join(reading)
          assert.deepStrictEqual(brief(byLine(results)), [
            "1 success",
            "2 cancelled",
            "3 cancelled",
            "4 cancelled"
          ])
          assert.deepStrictEqual(yield* outcomes, ["1 success", "2 begun"])
        }).pipe(Effect.scoped),
      { bulkhead: { maxConcurrent: 1, maxQueue: 10 } }
    )
  )

  it.effect("writes nothing down as begun that does not begin, or may begin twice", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* whole(executor, [], { id: "empty" })
        yield* sql`CREATE TRIGGER none BEFORE INSERT ON interlock_batch_lines
          WHEN NEW.status IS NULL BEGIN SELECT RAISE(ABORT, 'begun'); END`
        yield* whole(executor, [call("read", 1), call("nothing", 2), "no json"], { id: "harmless" })
        did.length = 0
        const { results, summary } = yield* whole(
          executor,
          [call("write", 1), call("write", 2), call("read", 3, { fails: "always" }), call("write", 4)],
          { failFast: true, concurrency: 4, ordered: true }
        )
        assert.deepStrictEqual(brief(results), ["3 failure"])
        assert.deepStrictEqual([summary.endedBy, did], ["fail_fast", ["read 3"]])
      })
    )
  )

  it.live(
    "begins nothing after its deadline, though calls that never wait leave nobody the time to say so",
    () =>
      world(({ executor }) =>
        Effect.gen(function* () {
          const real = yield* Clock.Clock
          const from = real.currentTimeMillisUnsafe()
          let ticks = 0
          // Every look at it takes a millisecond.
          const ticking = Object.create(real, {
            currentTimeMillisUnsafe: { value: () => from + ++ticks }
          }) as Clock.Clock
          const { results, summary } = yield* whole(executor, calls("read", 250), { deadline: 200 }).pipe(
            Effect.provideService(Clock.Clock, ticking)
          )
          assert.isAbove(results.length, 0)
          assert.isTrue(results.every(({ status }) => status === "success"))
          assert.strictEqual(summary.endedBy, "deadline")
        })
      )
  )

  it.effect("lets others run while calls wait for a human, and gives them their turn again", () =>
    world(
      ({ did, executor }) =>
        Effect.gen(function* () {
          const asking = Principal.make({ id: "ada", tenant: "acme" })
          const approvals = yield* Approvals.Approvals
          const all = [
            { ...call("write", 1), requireConfirmation: true },
            { ...call("write", 2), requireConfirmation: true },
            ...range(3, 6).map((n) => call("read", n, { ms: 1000 }))
          ]
          const run = yield* start(executor, all, { concurrency: 1, ordered: true })
          const reading = yield* Effect.forkScoped(
            Approvals.wait(Principal.provide(Stream.runCollect(run.results), asking)),
            { startImmediately: true }
          )
          yield* inTime(Effect.sleep(1500), 100)
          assert.deepStrictEqual(did, ["read 3", "read 4"])
          assert.strictEqual((yield* run.progress).running, 3)
          for (const { id } of yield* approvals.list()) yield* Principal.provide(approvals.grant(id), asking)
          yield* inTime(Effect.sleep(400), 100)
          // One runs, and those that were granted come before the next.
          assert.deepStrictEqual(did, ["read 3", "read 4"])
          yield* inTime(Fiber.join(reading), 100)
          assert.deepStrictEqual(did.slice(2, 4).sort(), ["write 1", "write 2"])
          assert.deepStrictEqual(did.slice(4), ["read 5", "read 6"])
          assert.deepStrictEqual(
            yield* outcomes,
            range(1, 6).map((line) => `${line} success`)
          )
        }).pipe(Effect.scoped),
      { approvals: SqlApprovals.layer() }
    )
  )
})

describe("a batch whose journal fails", () => {
  it.effect("waits for a database that does not answer for a while, and begins nothing meanwhile", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const all = range(1, 40).map((n) => call("write", n, { ms: 100 }))
        const run = yield* start(executor, all, { concurrency: 2 })
        const reading = yield* Effect.forkScoped(Stream.runCollect(run.results), { startImmediately: true })
        yield* until(() => did.length === 2)
        yield* sql`ALTER TABLE interlock_batch_lines RENAME TO away`
        yield* inTime(Effect.sleep("20 seconds"), 1000)
        assert.strictEqual(did.length, 2)
        yield* sql`ALTER TABLE away RENAME TO interlock_batch_lines`
        const results = yield* inTime(Fiber.join(reading), 100)
        assert.strictEqual(results.length, 40)
        assert.deepStrictEqual(
          did,
          range(1, 40).map((n) => `write ${n}`)
        )
        assert.deepStrictEqual(
          yield* outcomes,
          range(1, 40).map((line) => `${line} success`)
        )
      }).pipe(Effect.scoped)
    )
  )

  it.effect("ends where the database is gone for longer, with its error, and cancels what runs", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const all = [...calls("write", 4), call("read", 5, { ms: 3_600_000 }), ...calls("write", 40)]
        const run = yield* start(executor, all, { concurrency: 2 })
        const reading = yield* Effect.forkScoped(Effect.exit(Stream.runDrain(run.results)), {
          startImmediately: true
        })
        yield* until(() => did.includes("read 5"))
        yield* sql`ALTER TABLE interlock_batch_lines RENAME TO away`
        const exit = yield* inTime(Fiber.join(reading), 1000)
        assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", "interlock_batch_lines")
        assert.isAtMost(yield* Clock.currentTimeMillis, 60_000)
        assert.strictEqual((yield* run.summary).endedBy, "error")
        assert.strictEqual((yield* run.progress).running, 0)
      }).pipe(Effect.scoped)
    )
  )

  it.effect("can be stopped while its database does not answer, at once", () =>
    world(({ did, executor }) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const run = yield* start(executor, [call("write", 1, { ms: 100 }), call("read", 2, { ms: 10_000 })])
        const reading = yield* Effect.forkScoped(Effect.exit(Stream.runDrain(run.results)), {
          startImmediately: true
        })
        yield* until(() => did.length === 2)
        yield* sql`ALTER TABLE interlock_batch_lines RENAME TO away`
        yield* inTime(Effect.sleep(200))
        yield* run.stop
        // It may have to wait for its turn to try again.
        yield* inTime(Fiber.join(reading), 100)
        assert.isAtMost(yield* Clock.currentTimeMillis, 1000)
      }).pipe(Effect.scoped)
    )
  )
})

// --- Processes that are killed ---------------------------------------------

describe("a batch whose process is killed", () => {
  it.live("comes to exactly one outcome for every line, and runs nothing twice that must not run twice", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "interlock-batch-"))),
        (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
      )
      const lines = 5000
      const order: Order = {
        input: writeInput(folder, lines, ["read", "write"]),
        database: Path.join(folder, "state.db"),
        effects: Path.join(folder, "effects"),
        output: Path.join(folder, "results"),
        audit: false,
        plain: false,
        concurrency: 10,
        ordered: false,
        replay: false,
        synchronous: "NORMAL",
        lease: 100
      }
      const chance = random(1)
      let kills = 0
      for (let round = 0; round < 3; round++) {
        const { killed } = yield* Effect.promise(() => runWorker(order, 20 + 200 * chance()))
        if (killed) kills++
      }
      const all = { ...order, output: Path.join(folder, "all"), replay: true, ordered: true }
      const last = yield* Effect.promise(() => runWorker(all))
      assert.isAtLeast(kills, 2)
      const summary = last.told.at(-1)?.summary
      assert.strictEqual(summary?.endedBy, "input")
      const { counts, wrong } = check(order, lines)
      assert.deepStrictEqual(wrong, [])
      // In flight at a kill were at most as many as ran at once.
      assert.isAtMost(counts["unknown"] ?? 0, 10 * kills)
      assert.isAtMost(letOut(order.output ?? "").most, 1)
      assert.deepStrictEqual(letOut(all.output), { lines, most: 1 })
    })
  )
})

// --- Lines -----------------------------------------------------------------

const split = (bytes: Uint8Array, size: number, maxBytes?: number) =>
  Stream.runCollect(
    Line.fromBytes(
      Stream.fromIterable(
        Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
          bytes.slice(i * size, (i + 1) * size)
        )
      ),
      maxBytes === undefined ? {} : { maxBytes }
    )
  ).pipe(Effect.runSync)

describe("lines", () => {
  it("are what splitting the text would give, wherever its bytes are cut", () => {
    const text = fc
      .array(
        fc.oneof(fc.string({ unit: "grapheme" }), fc.constantFrom("\n", "\r\n", "\n\n", " ", "é", "🙂\n"))
      )
      .map((parts) => parts.join(""))
    const sizeOf = (text: string) => new TextEncoder().encode(text).length
    fc.assert(
      fc.property(text, fc.integer({ min: 1, max: 9 }), (text, size) => {
        let end = 0
        const expected = text
          .split("\n")
          .map((line, i) => {
            end = Math.min(sizeOf(text), end + sizeOf(line) + 1)
            const said = line.replace(/\r$/, "").replace(/^\uFEFF/, "")
            return { number: i + 1, text: said, end, problem: undefined }
          })
          .filter((line) => line.text.trim() !== "")
        assert.deepStrictEqual(split(new TextEncoder().encode(text), size), expected)
      }),
      { numRuns: 500 }
    )
  })

  it("are told of where they are too long or no UTF-8, and nothing of them is kept beyond the bound", () => {
    const bytes = Buffer.concat([
      Buffer.from('"ok"\n'),
      Buffer.from("x".repeat(1000)),
      Buffer.from('\n"fine"\n'),
      Buffer.from([0x22, 0xff, 0x22, 0x0a]),
      Buffer.from("y".repeat(11))
    ])
    for (const size of [1, 7, 5000]) {
      assert.deepStrictEqual(
        split(bytes, size, 10).map(({ number, problem, text }) => [number, text, problem]),
        [
          [1, '"ok"', undefined],
          [2, "xxxxxxxxxx", "it has 1000 bytes, and may have 10"],
          [3, '"fine"', undefined],
          [4, '"\ufffd"', "it is not UTF-8"],
          [5, "yyyyyyyyyy", "it has 11 bytes, and may have 10"]
        ]
      )
    }
    assert.throws(() => Line.fromBytes(Stream.empty, { maxBytes: 0 }), /Line: maxBytes/)
  })
})
