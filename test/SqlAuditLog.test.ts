import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as SqlClient from "effect/sql/SqlClient"
import * as TestClock from "effect/testing/TestClock"
import * as AuditLog from "../src/AuditLog.ts"
import * as SqlAuditLog from "../src/sql/SqlAuditLog.ts"
import * as Sqlite from "../src/sql/Sqlite.ts"
import { suite } from "./AuditLogSuite.ts"
import {
  type Backend,
  called,
  keyring,
  type Log,
  refused,
  reports,
  requirements,
  running
} from "./support/audit.ts"

const file = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "interlock-audit-"))),
    (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
  ),
  (folder) => Path.join(folder, "audit.db")
)

const client = (filename: string) =>
  Layer.build(Layer.fresh(Sqlite.layer({ filename, busyTimeout: "20 seconds", synchronous: "NORMAL" }))).pipe(
    Effect.map(Context.get(SqlClient.SqlClient)),
    Effect.orDie
  )

const over = (sql: SqlClient.SqlClient, options?: AuditLog.Options) =>
  SqlAuditLog.make(options).pipe(
    Effect.provideService(SqlClient.SqlClient, sql),
    Effect.provide(requirements),
    Effect.orDie
  )

const open = (filename: string, options?: AuditLog.Options) =>
  Effect.flatMap(client(filename), (sql) => over(sql, options))

const fileBackend: Backend = Effect.map(file, (filename) => ({ open: (options) => open(filename, options) }))

/** Every opening is a process of its own, and what one writes the next may read. */
const sharedBackend: Backend = Effect.map(file, (filename) => ({
  open: Effect.fnUntraced(function* (options) {
    const logs = [yield* open(filename, options), yield* open(filename, options)] as const
    let turn = 0
    const next = () => logs[turn++ % 2]!
    // A call lives in one process.
    const homes = new WeakMap<object, Log>()
    const home = (record: object) => {
      const log = homes.get(record) ?? next()
      homes.set(record, log)
      return log
    }
    return {
      ...logs[0],
      intent: (record, now) => home(record).intent(record, now),
      outcome: (record, encoded, now) => home(record).outcome(record, encoded, now),
      query: (selection) => next().query(selection),
      report: (range) => next().report(range),
      unfinished: (options) => next().unfinished(options),
      verify: (options) => next().verify(options),
      forget: (...args) => next().forget(...args),
      hold: (...args) => next().hold(...args),
      release: (...args) => next().release(...args),
      holds: Effect.suspend(() => next().holds),
      retain: Effect.suspend(() => next().retain)
    }
  })
}))

suite("SQLite", fileBackend)

describe("SqlAuditLog", () => {
  it.effect("goes on where it was, and remembers holds and whom to forget", () =>
    Effect.gen(function* () {
      const filename = yield* file
      yield* Effect.scoped(
        Effect.gen(function* () {
          const log = yield* open(filename)
          yield* called(log, 0)
          yield* log.intent(running({ callId: "crashed" }), 1)
          yield* log.hold({ tool: "add" }, { by: "olga", why: "the tests" })
        })
      )
      const log = yield* open(filename)
      assert.strictEqual((yield* log.holds).length, 1)
      yield* called(log, 2)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(
        (yield* log.unfinished()).map(({ callId }) => callId),
        ["crashed"]
      )
      const aliases = (yield* log.query({ principal: "ann" })).map(({ alias }) => alias)
      assert.strictEqual(new Set(aliases).size, 1)
      assert.deepInclude(yield* log.verify(), { ok: true, records: 6 })
    })
  )

  it.effect("is one chain for clients that write at once, and each finds what the others wrote", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const logs = yield* Effect.forEach([1, 2, 3], () => open(filename))
      yield* Effect.forEach(
        Array.from({ length: 120 }, (_, i) => i),
        (i) => called(logs[i % 3]!, i, { callId: `c-${i}`, principal: `p-${i % 5}` }),
        { concurrency: 24 }
      )
      for (const log of logs) {
        assert.deepInclude(yield* log.verify(), { ok: true, records: 240 })
        assert.strictEqual((yield* log.query({ phase: "outcome" })).length, 120)
        assert.deepStrictEqual(yield* log.unfinished({ olderThan: 1 }), [])
      }
    })
  )

  it.effect("lets no client seal with a key that another has destroyed", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const [one, other] = [yield* open(filename), yield* open(filename)]
      yield* called(one, 0, { callId: "before" })
      yield* called(other, 0, { callId: "before" })
      yield* one.forget({ principal: "ann" }, { by: "olga", why: "the tests" })
      yield* called(other, 0, { callId: "after" })
      for (const log of [one, other]) {
        const records = yield* log.query({ kind: "tool_call", order: "oldest" })
        assert.deepStrictEqual(
          records.map(({ callId, personal }) => [callId, personal === "forgotten"]),
          [...Array(4).fill(["before", true]), ...Array(2).fill(["after", false])]
        )
      }
    })
  )

  it.effect("makes one pass of retention out of two at once", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const logs = [yield* open(filename), yield* open(filename)]
      for (let i = 0; i < 50; i++) yield* refused(logs[0]!, i)
      yield* TestClock.setTime(400 * 86_400_000)
      yield* Effect.forEach(logs, (log) => log.retain, { concurrency: 2 })
      assert.deepInclude(yield* logs[0]!.verify(), { ok: true, dropped: 50 })
    })
  )

  it.effect("leaves nothing of a destroyed key in the file or in its log", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const sql = yield* client(filename)
      const log = yield* over(sql)
      yield* called(log, 0)
      const [row] = yield* sql<{ value: string }>`
        SELECT value FROM interlock_audit_values WHERE name LIKE 'key/%'`
      const bytes = () =>
        Buffer.concat(
          ["", "-wal"]
            .map((suffix) => filename + suffix)
            .map((path) => (Fs.existsSync(path) ? Fs.readFileSync(path) : Buffer.alloc(0)))
        )
      assert.isTrue(bytes().includes(row!.value))
      yield* log.forget({ principal: "ann" }, { by: "olga", why: "the tests" })
      assert.isFalse(bytes().includes(row!.value))
    })
  )

  it.effect("finds an end that was cut off, also after it went on, and reports it when it opens", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const sql = yield* client(filename)
      const cut = sql`DELETE FROM interlock_audit_lines WHERE sequence > 7`
      const problem = { ok: false, problem: "truncated", sequence: 8 } as const
      yield* Effect.scoped(
        Effect.gen(function* () {
          const log = yield* over(sql)
          for (let i = 0; i < 10; i++) yield* refused(log, i)
          yield* cut
          assert.deepInclude(yield* log.verify(), problem)
        })
      )
      const { messages, layer } = reports()
      yield* Effect.gen(function* () {
        const log = yield* over(sql)
        assert.deepInclude(yield* log.verify(), problem)
        yield* refused(log, 20)
        assert.deepInclude(yield* log.verify(), { ...problem, problem: "missing" })
      }).pipe(Effect.scoped, Effect.provide(layer))
      assert.deepStrictEqual(messages, ["audit records 8 to 10 are missing at the end of the log"])
    })
  )

  it.effect("finds its records put back with their head, as long as it remembers more, or is told", () =>
    Effect.gen(function* () {
      const sql = yield* client(yield* file)
      const log = yield* over(sql)
      for (let i = 0; i < 5; i++) yield* refused(log, i)
      const [{ head } = { head: "" }] = yield* sql<{ head: string }>`SELECT head FROM interlock_audit_head`
      yield* refused(log, 6)
      const later = yield* log.checkpoint
      yield* sql`DELETE FROM interlock_audit_lines WHERE sequence > 5`
      yield* sql`UPDATE interlock_audit_head SET head = ${head}`
      assert.deepInclude(yield* log.verify(), { ok: false, problem: "truncated", sequence: 6 })
      const another = yield* over(sql)
      assert.deepInclude(yield* another.verify(), { ok: true })
      const told = yield* another.verify({ expectedHead: later })
      assert.deepInclude(told, { ok: false, problem: "truncated", sequence: 6 })
      // Whoever remembers more goes on behind the hole, and from then on everybody finds it.
      yield* Effect.provide(refused(log, 7), reports().layer)
      assert.deepInclude(yield* another.verify(), { ok: false, problem: "missing", sequence: 6 })
    })
  )

  it.effect("says so where the head is gone or forged", () =>
    Effect.gen(function* () {
      const sql = yield* client(yield* file)
      const log = yield* over(sql)
      yield* refused(log, 1)
      yield* sql`UPDATE interlock_audit_head SET head = replace(head, '"sequence":1', '"sequence":0')`
      assert.deepInclude(yield* log.verify(), { ok: false, problem: "changed" })
      yield* sql`DELETE FROM interlock_audit_head`
      assert.deepInclude(yield* log.verify(), { ok: false, problem: "truncated" })
    })
  )

  it.effect("goes on after a record that somebody put behind its end, and tells of it", () =>
    Effect.gen(function* () {
      const sql = yield* client(yield* file)
      const { layer } = reports()
      yield* Effect.gen(function* () {
        const log = yield* over(sql, { retryAfter: "1 second" })
        yield* refused(log, 1)
        yield* sql`INSERT INTO interlock_audit_lines (sequence, time, line) VALUES (2, 0, 'forged')`
        assert.deepStrictEqual(yield* Effect.flip(refused(log, 2)), { _tag: "Unavailable", concern: "audit" })
        yield* TestClock.adjust("1 second")
        yield* refused(log, 3)
        assert.deepInclude(yield* log.verify(), { ok: false, problem: "unreadable", sequence: 2 })
        assert.strictEqual((yield* log.query({ kind: "tool_call" })).length, 3)
      }).pipe(Effect.scoped, Effect.provide(layer))
    })
  )

  it.effect("refuses while the database is locked, and writes what is late when it is not", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const blocker = yield* client(filename)
      const { messages, layer } = reports()
      yield* Effect.gen(function* () {
        const sql = yield* Layer.build(Layer.fresh(Sqlite.layer({ filename, busyTimeout: 50 }))).pipe(
          Effect.map(Context.get(SqlClient.SqlClient)),
          Effect.orDie
        )
        const log = yield* over(sql)
        yield* called(log, 0, { callId: "first" })
        yield* blocker.withTransaction(
          Effect.gen(function* () {
            yield* blocker`UPDATE interlock_audit_values SET value = value`
            const refusal = yield* Effect.flip(refused(log, 1, { callId: "locked out" }))
            assert.deepStrictEqual(refusal, { _tag: "Unavailable", concern: "audit" })
          })
        )
        yield* TestClock.adjust("1 second")
        yield* called(log, 2000, { callId: "last" })
        const records = yield* log.query({ order: "oldest" })
        assert.deepStrictEqual(
          records.map(({ callId, action, late }) => [action ?? callId, late]),
          [
            ["first", undefined],
            ["first", undefined],
            ["store_recovered", undefined],
            ["locked out", true],
            ["last", undefined],
            ["last", undefined]
          ]
        )
        assert.deepInclude(yield* log.verify(), { ok: true })
      }).pipe(Effect.scoped, Effect.provide(layer))
      assert.deepStrictEqual(messages, ["the audit log's database does not answer"])
    })
  )

  it.effect("gives out lines that prove themselves elsewhere", () =>
    Effect.gen(function* () {
      const log = yield* open(yield* file)
      yield* Effect.forEach(
        Array.from({ length: 1100 }),
        () => log.append({ kind: "policy", action: "changed" }),
        { concurrency: "unbounded" }
      )
      const lines = yield* Stream.runCollect(log.lines())
      assert.strictEqual(lines.length, 1100)
      assert.strictEqual((yield* Stream.runCollect(log.lines({ from: 5, to: 7 }))).length, 3)
      assert.deepInclude(AuditLog.verifyLines(lines, keyring), { ok: true, records: 1100 })
    })
  )
})

suite("SQLite, two clients in turn", sharedBackend)
