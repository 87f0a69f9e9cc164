import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as fc from "fast-check"
import * as AuditLog from "../src/AuditLog.ts"
import { suite } from "./AuditLogSuite.ts"
import {
  type Backend,
  called,
  end,
  fragileStore,
  keyring,
  type Log,
  linesOf,
  overStore,
  refused,
  reports,
  requirements,
  running
} from "./support/audit.ts"

const memory = (options?: AuditLog.MemoryOptions) =>
  Layer.build(Layer.fresh(AuditLog.layerMemory(options))).pipe(
    Effect.map(Context.get(AuditLog.AuditLog)),
    Effect.provide(requirements)
  )

const memoryBackend: Backend = Effect.succeed({
  // The suite writes more than is kept by default.
  open: (options) => memory({ maxRecords: 10_000, ...options })
})

const writerBackend: Backend = Effect.sync(() => {
  const { store } = fragileStore()
  return { open: (options) => overStore(store, options) }
})

suite("memory", memoryBackend)
suite("a store and its writer", writerBackend)

/** When, what, and what came of it. */
const told = ({ action, callId, personal, time }: AuditLog.AuditRecord): string => {
  const result = personal === "forgotten" || personal.result === undefined ? "" : ` ${personal.result}`
  return `${time} ${action ?? callId}${result}`
}

const unavailable = { _tag: "Unavailable", concern: "audit" } as const
const because = { by: "olga", why: "the tests" }

/** The calls and events of a log, oldest first, late ones marked. */
const story = (log: Log) =>
  Effect.map(log.query({ order: "oldest" }), (records) =>
    records.map(({ action, callId, phase, late }) => {
      const what = action ?? `${phase} ${callId}`
      return late === true ? `${what} (late)` : what
    })
  )

describe("an audit log whose store fails", () => {
  it.effect("refuses, keeps what is late, and says so before it when the store is back", () =>
    Effect.gen(function* () {
      const { store, set } = fragileStore()
      const { messages, layer } = reports()
      const log = yield* Effect.provide(overStore(store), layer)
      yield* called(log, 0, { callId: "a" })
      yield* log.ready
      yield* set("fails")
      const call = running({ callId: "b", queuedAt: 10 })
      assert.deepStrictEqual(yield* Effect.flip(log.intent(call, 10)), unavailable)
      assert.deepStrictEqual(yield* Effect.flip(log.ready), unavailable)
      // The store is left alone: this is refused without asking it.
      assert.deepStrictEqual(yield* Effect.flip(log.outcome(end(call, "success"), 1, 20)), unavailable)
      assert.deepStrictEqual(messages, ["broken on purpose"])
      yield* TestClock.adjust("1 second")
      assert.strictEqual(messages.length, 2)
      yield* set("works")
      yield* TestClock.adjust("1 second")
      yield* log.ready
      yield* called(log, 3000, { callId: "c" })
      assert.deepStrictEqual(yield* story(log), [
        "intent a",
        "outcome a",
        "store_recovered",
        "intent b (late)",
        "outcome b (late)",
        "intent c",
        "outcome c"
      ])
      const [, , recovery, intent, outcome] = yield* log.query({ order: "oldest" })
      assert.deepInclude(recovery?.personal, { detail: { since: 0, late: 2, lost: 0 } })
      assert.strictEqual(outcome?.intent, intent?.sequence)
      assert.deepStrictEqual([intent?.time, outcome?.time], [10, 20])
      assert.deepInclude(yield* log.verify(), { ok: true, records: 7 })
    })
  )

  it.effect("counts what is lost where too much waits", () =>
    Effect.gen(function* () {
      const { store, set } = fragileStore()
      const { messages, layer } = reports()
      yield* Effect.gen(function* () {
        const log = yield* overStore(store, { maxWaiting: 3 })
        yield* set("fails")
        for (let i = 0; i < 8; i++) yield* Effect.flip(refused(log, i, { callId: `c-${i}` }))
        yield* set("works")
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* story(log), [
          "store_recovered",
          "outcome c-0 (late)",
          "outcome c-1 (late)",
          "outcome c-2 (late)"
        ])
        const [recovery] = yield* log.query({ action: "store_recovered" })
        assert.deepInclude(recovery?.personal, { detail: { since: 0, late: 3, lost: 5 } })
        yield* refused(log, 9, { callId: "after" })
      }).pipe(Effect.scoped, Effect.provide(layer))
      assert.deepStrictEqual(messages, [
        "broken on purpose",
        "audit records are lost: too many wait to be written"
      ])
    })
  )

  it.effect("is not waited for longer than the write timeout", () =>
    Effect.gen(function* () {
      const { store, set } = fragileStore()
      const { messages, layer } = reports()
      const log = yield* Effect.provide(overStore(store, { writeTimeout: "2 seconds" }), layer)
      yield* set("hangs")
      const fiber = yield* Effect.forkChild(Effect.flip(refused(log, 0, { callId: "a" })))
      yield* TestClock.adjust("1999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* Fiber.join(fiber), unavailable)
      assert.deepStrictEqual(messages, ["the audit log's store did not answer in time"])
      yield* set("works")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* story(log), ["store_recovered", "outcome a (late)"])
    })
  )

  it.effect("writes nothing twice where the store did what it said that it could not", () =>
    Effect.gen(function* () {
      const { store, set } = fragileStore()
      const log = yield* Effect.provide(overStore(store), reports().layer)
      yield* refused(log, 0, { callId: "a" })
      yield* set("lies")
      assert.deepStrictEqual(yield* Effect.flip(refused(log, 1, { callId: "b" })), unavailable)
      yield* set("works")
      yield* TestClock.adjust("1 second")
      yield* refused(log, 2, { callId: "c" })
      assert.deepStrictEqual(yield* story(log), ["outcome a", "outcome b", "store_recovered", "outcome c"])
      assert.deepInclude(yield* log.verify(), { ok: true, records: 4 })
    })
  )

  it.effect("tells what it loses when it closes", () =>
    Effect.gen(function* () {
      const { store, set } = fragileStore()
      const { messages, layer } = reports()
      const scope = yield* Scope.make()
      const log = yield* overStore(store).pipe(Scope.provide(scope), Effect.provide(layer))
      yield* set("fails")
      yield* Effect.flip(refused(log, 0))
      yield* Effect.flip(refused(log, 0))
      yield* Effect.provide(Scope.close(scope, Exit.void), layer)
      assert.deepStrictEqual(messages, [
        "broken on purpose",
        "broken on purpose",
        "2 audit records are lost: the log was closed while its store did not answer"
      ])
      const late = yield* Effect.provide(Effect.flip(refused(log, 0)), layer)
      assert.deepStrictEqual(late, unavailable)
      assert.strictEqual(messages.at(-1), "audit records are lost: the log is closed")
    })
  )

  it.effect("fails those who read with it, and reports why", () =>
    Effect.gen(function* () {
      const { messages, layer } = reports()
      const { inner } = fragileStore()
      const failing = Effect.fail(AuditLog.storeError("cannot read", undefined))
      const log = yield* overStore({
        ...inner,
        read: () => Stream.fromEffect(failing),
        head: failing,
        last: failing
      })
      const asked = [
        log.query(),
        log.query({ order: "oldest" }),
        log.verify(),
        log.report(),
        log.unfinished(),
        log.retain,
        log.checkpoint,
        Stream.runDrain(log.records()),
        Stream.runDrain(log.lines())
      ]
      for (const effect of asked) {
        assert.deepStrictEqual(yield* Effect.provide(Effect.flip(Effect.asVoid(effect)), layer), unavailable)
      }
      assert.deepStrictEqual(new Set(messages), new Set(["cannot read"]))
    })
  )

  it.effect("says which calls run all the same", () =>
    Effect.gen(function* () {
      const { store } = fragileStore()
      const rule = (options?: AuditLog.Options) =>
        Effect.map(overStore(store, options), ({ whenUnavailable }) =>
          [true, false, undefined].map(whenUnavailable)
        )
      assert.deepStrictEqual(yield* rule(), ["refuse", "run", "run"])
      assert.deepStrictEqual(yield* rule({ whenUnavailable: "refuse" }), ["refuse", "refuse", "refuse"])
      assert.deepStrictEqual(yield* rule({ whenUnavailable: "run" }), ["run", "run", "run"])
    })
  )

  it.effect("writes a record without the part that cannot be viewed, and goes on", () =>
    Effect.gen(function* () {
      const { store } = fragileStore()
      const { messages, layer } = reports()
      const log = yield* Effect.provide(overStore(store), layer)
      const hostile = { amount: 1n } as unknown as Record<string, string>
      yield* called(log, 0, { callId: "a", metadata: hostile })
      yield* called(log, 0, { callId: "b" })
      assert.deepStrictEqual(yield* story(log), ["intent a", "outcome a", "intent b", "outcome b"])
      const [record] = yield* log.query({ callId: "a" })
      assert.deepStrictEqual(record?.personal, { principal: "ann" })
      assert.include(messages[0], "could not be viewed")
    })
  )
})

describe("the writer", () => {
  it.effect("writes whatever waits with one append", () =>
    Effect.gen(function* () {
      const { store, appends } = fragileStore()
      const log = yield* overStore(store)
      yield* refused(log, 0)
      const before = appends()
      yield* Effect.forEach(Array.from({ length: 64 }), () => refused(log, 0), { concurrency: "unbounded" })
      assert.isAtMost(appends() - before, 2)
    })
  )

  it.effect("writes the record of whoever was interrupted while waiting", () =>
    Effect.gen(function* () {
      const { inner } = fragileStore()
      const gate = yield* Deferred.make<void>()
      const log = yield* overStore({
        ...inner,
        append: (...args) => Effect.andThen(Deferred.await(gate), inner.append(...args))
      })
      const fibers = yield* Effect.forEach(["a", "b", "c"], (callId) =>
        Effect.forkChild(refused(log, 0, { callId }), { startImmediately: true })
      )
      yield* Fiber.interrupt(fibers[1]!)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.awaitAll(fibers)
      assert.deepStrictEqual(yield* story(log), ["outcome a", "outcome b", "outcome c"])
    })
  )

  it.effect("has written an intent when it returns, not before", () =>
    Effect.gen(function* () {
      const { inner } = fragileStore()
      const gate = yield* Deferred.make<void>()
      const log = yield* overStore({
        ...inner,
        append: (batch, ...rest) =>
          batch.length === 0
            ? inner.append(batch, ...rest)
            : Effect.andThen(Deferred.await(gate), inner.append(batch, ...rest))
      })
      const fiber = yield* Effect.forkChild(log.intent(running(), 0))
      yield* TestClock.adjust("1 second")
      assert.isUndefined(fiber.pollUnsafe())
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(fiber)
      assert.strictEqual((yield* linesOf(inner)).length, 1)
    })
  )

  it.effect("signs a durable head every so many records, and when the log closes", () =>
    Effect.gen(function* () {
      const { inner } = fragileStore()
      const checkpoints: Array<number> = []
      const store: AuditLog.AuditStore = {
        ...inner,
        append: (batch, expected, head) => {
          if (batch.length === 0) checkpoints.push(JSON.parse(head).sequence)
          return inner.append(batch, expected, head)
        }
      }
      yield* Effect.scoped(
        Effect.gen(function* () {
          const log = yield* overStore(store, { checkpointEvery: 4 })
          for (let i = 0; i < 10; i++) yield* refused(log, 0)
        })
      )
      assert.deepStrictEqual(checkpoints, [0, 4, 8, 10])
    })
  )

  it("loses, doubles and reorders nothing that it acknowledged, whatever the store does", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            { weight: 4, arbitrary: fc.record({ act: fc.constant("write" as const), log: fc.nat(1) }) },
            fc.record({ act: fc.constantFrom("fails", "lies", "works", "works", "works" as const) }),
            fc.record({ act: fc.constantFrom("tick", "interrupt", "forget" as const) })
          ),
          { minLength: 5, maxLength: 60 }
        ),
        (steps) =>
          Effect.gen(function* () {
            const { store, inner, set } = fragileStore()
            const acknowledged: Array<[log: number, callId: string]> = []
            const offered = new Set<string>()
            yield* Effect.scoped(
              Effect.gen(function* () {
                const logs = [yield* overStore(store), yield* overStore(store)]
                const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
                for (const [i, step] of steps.entries()) {
                  switch (step.act) {
                    case "write": {
                      const callId = `c-${i}`
                      offered.add(callId)
                      const write = Effect.tap(refused(logs[step.log]!, i, { callId }), () =>
                        Effect.sync(() => acknowledged.push([step.log, callId]))
                      )
                      fibers.push(yield* Effect.forkChild(write, { startImmediately: true }))
                      break
                    }
                    case "tick":
                      yield* TestClock.adjust("1 second")
                      break
                    case "interrupt": {
                      const fiber = fibers.at(-1)
                      if (fiber !== undefined) yield* Fiber.interrupt(fiber)
                      break
                    }
                    case "forget":
                      yield* Effect.forkChild(logs[i % 2]!.forget({ principal: "ann" }, because))
                      break
                    default:
                      yield* set(step.act)
                  }
                  if (i % 3 === 0) yield* Effect.yieldNow
                }
                yield* set("works")
                yield* TestClock.adjust("10 seconds")
                yield* Fiber.awaitAll(fibers)
              })
            )
            const log = yield* overStore(inner)
            assert.deepInclude(yield* log.verify(), { ok: true })
            const written = (yield* log.query({ kind: "tool_call", order: "oldest" })).map(
              ({ callId }) => callId!
            )
            // Also what was refused or interrupted: nothing was lost, for the store came back.
            assert.deepStrictEqual([...written].sort(), [...offered].sort())
            for (const one of [0, 1]) {
              const mine = acknowledged.filter(([log]) => log === one).map(([, callId]) => callId)
              assert.deepStrictEqual(
                written.filter((callId) => mine.includes(callId)),
                mine
              )
            }
          }).pipe(
            Effect.scoped,
            Effect.provide(TestClock.layer()),
            Effect.provide(reports().layer),
            Effect.runPromise
          )
      ),
      { numRuns: 150 }
    ))
})

describe("the log in memory", () => {
  it.effect("does what it is told at once", () =>
    Effect.gen(function* () {
      const log = yield* memory()
      const record = running()
      assert.isTrue(Exit.isExit(log.intent(record, 0)))
      assert.isTrue(Exit.isExit(log.outcome(end(record, "success"), {}, 0)))
      assert.isTrue(Exit.isExit(log.ready))
      assert.strictEqual((yield* log.query()).length, 1)
    })
  )

  it.effect("keeps the newest records, and a gap says how many are gone", () =>
    Effect.gen(function* () {
      const log = yield* memory({ maxRecords: 10 })
      const ids = Effect.map(log.query({ order: "oldest" }), (records) => records.map(({ callId }) => callId))
      const last = (from: number, to: number) =>
        Array.from({ length: to - from + 1 }, (_, i) => `c-${from + i}`)
      let made = 0
      const write = Effect.fnUntraced(function* (count: number) {
        for (let i = 0; i < count; i++) yield* refused(log, 0, { callId: `c-${++made}` })
      })
      // Before anybody reads, after somebody did, and both at once.
      yield* write(25)
      assert.deepStrictEqual(yield* ids, last(16, 25))
      assert.deepInclude(yield* log.verify(), { ok: true, records: 10, dropped: 15, from: 16, to: 25 })
      yield* write(1)
      assert.deepStrictEqual(yield* ids, last(17, 26))
      yield* write(30)
      assert.deepStrictEqual(yield* ids, last(47, 56))
      assert.deepInclude(yield* log.verify(), { ok: true, records: 10, dropped: 46 })
      const lines = yield* Stream.runCollect(log.lines())
      assert.strictEqual(lines.length, 11)
      assert.deepInclude(AuditLog.verifyLines(lines, keyring), { ok: true })
    })
  )

  it.effect("answers as a list of the newest would, whoever reads in between", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 1, max: 6 }),
          fc.array(fc.constantFrom("call", "refusal", "event", "read"), { maxLength: 40 }),
          (maxRecords, steps) =>
            Effect.gen(function* () {
              const log = yield* memory({ maxRecords })
              const all: Array<string> = []
              for (const [n, step] of steps.entries()) {
                if (step === "call") yield* called(log, n, { callId: `c-${n}` }, { n })
                if (step === "refusal") yield* refused(log, n, { callId: `c-${n}` })
                if (step === "event") yield* log.append({ kind: "admin", action: `e-${n}` })
                if (step === "read") {
                  const seen = yield* log.query({ order: "oldest" })
                  assert.deepStrictEqual(seen.map(told), all.slice(-maxRecords))
                } else {
                  const result = step === "call" ? ` {"n":${n}}` : ""
                  all.push(`${n} ${step === "event" ? "e" : "c"}-${n}${result}`)
                }
                yield* TestClock.adjust(1)
              }
              const seen = yield* log.query({ order: "oldest" })
              assert.deepStrictEqual(seen.map(told), all.slice(-maxRecords))
              assert.deepInclude(yield* log.verify(), { ok: true })
            }).pipe(Effect.scoped, Effect.provide(TestClock.layer()), Effect.runPromise)
        ),
        { numRuns: 100 }
      )
    )
  )

  it.effect("tells of calls that run, each as it began", () =>
    Effect.gen(function* () {
      const log = yield* memory({ maxRecords: 3 })
      const records = ["a", "b", "c", "d", "e"].map((callId) => running({ callId }))
      for (const [n, record] of records.entries()) yield* log.intent(record, n)
      yield* log.outcome(end(records[3]!, "success"), { ok: true }, 5)
      // The oldest made room.
      assert.deepStrictEqual(
        (yield* log.query({ order: "oldest" })).map(({ callId, phase, time }) => [callId, phase, time]),
        [
          ["c", "intent", 2],
          ["e", "intent", 4],
          ["d", "outcome", 5]
        ]
      )
    })
  )

  it.effect("writes down everything although its reader is interrupted", () =>
    Effect.gen(function* () {
      const log = yield* memory({ maxRecords: 2000 })
      for (let i = 0; i < 2000; i++) yield* refused(log, 0)
      const reader = yield* Effect.forkChild(log.verify(), { startImmediately: true })
      yield* Fiber.interrupt(reader)
      assert.deepInclude(yield* log.verify(), { ok: true, records: 2000 })
    })
  )

  it.effect("keeps its own passes of retention", () =>
    Effect.gen(function* () {
      const log = yield* memory({ anonymiseAfter: "1 day", deleteAfter: "2 days" })
      yield* Layer.build(
        Layer.provide(AuditLog.layerRetention({ every: "6 hours" }), Layer.succeed(AuditLog.AuditLog, log))
      )
      yield* called(log, 0)
      yield* TestClock.adjust("47 hours")
      assert.strictEqual((yield* log.query({ kind: "tool_call" })).length, 1)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* log.query({ kind: "tool_call" })).length, 0)
      assert.deepInclude(yield* log.verify(), { ok: true })
    })
  )
})

describe("options", () => {
  it("that make no sense are refused by name", () => {
    const { store } = fragileStore()
    const refusals: ReadonlyArray<[string, AuditLog.Options]> = [
      ["maxWaiting", { maxWaiting: 0 }],
      ["retryAfter", { retryAfter: 0 }],
      ["writeTimeout", { writeTimeout: "Infinity" }],
      ["checkpointEvery", { checkpointEvery: 1.5 }],
      ["anonymiseAfter", { anonymiseAfter: -1 }],
      ["deleteAfter", { deleteAfter: Number.NaN }],
      [
        "archiveAfter",
        {
          archiveAfter: "2 days",
          deleteAfter: "1 day",
          archive: { add: () => Effect.void, removeBefore: () => Effect.void }
        }
      ]
    ]
    for (const [name, options] of refusals) {
      assert.throws(() => AuditLog.make(store, options), RangeError, name)
    }
    assert.throws(() => AuditLog.layerMemory({ maxRecords: 0 }), RangeError, "maxRecords")
    assert.throws(() => AuditLog.layerRetention({ every: 0 }), RangeError, "every")
  })

  it.effect("can be nothing at all", () =>
    Effect.gen(function* () {
      const log = yield* AuditLog.AuditLog
      yield* called(log, 0)
      yield* log.append({ kind: "admin", action: "stopped" })
      assert.deepStrictEqual(yield* log.query(), [])
      assert.deepInclude(yield* log.verify(), { ok: true, records: 0 })
    }).pipe(Effect.provide(AuditLog.layerNoop))
  )
})
