import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { promisify } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as SqlClient from "effect/sql/SqlClient"
import * as SqlStore from "../src/internal/sqlStore.ts"
import * as Sqlite from "../src/sql/Sqlite.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "interlock-sqlite-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
)
const file = Effect.map(folder, (path) => Path.join(path, "test.db"))

const client = (options: Sqlite.Options) =>
  Effect.map(Layer.build(Layer.fresh(Sqlite.layer(options))), Context.get(SqlClient.SqlClient))

const withCounter = Effect.fnUntraced(function* (options: Sqlite.Options) {
  const sql = yield* client(options)
  yield* sql`CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER NOT NULL UNIQUE)`
  yield* sql`INSERT INTO counter (id, n) VALUES (1, 0)`
  return sql
})

const counted = (sql: SqlClient.SqlClient) =>
  Effect.map(sql<{ readonly n: number }>`SELECT n FROM counter`, (rows) => rows[0]?.n)

const modeOf = (path: string) => Fs.statSync(path).mode & 0o777

describe("Sqlite", () => {
  it.effect("creates its files for their owner only, and leaves the mode of files that exist", () =>
    Effect.gen(function* () {
      const filename = yield* file
      yield* withCounter({ filename })
      for (const suffix of ["", "-wal", "-shm"]) assert.strictEqual(modeOf(filename + suffix), 0o600, suffix)
      const shared = yield* file
      Fs.writeFileSync(shared, "")
      Fs.chmodSync(shared, 0o640)
      yield* withCounter({ filename: shared })
      assert.strictEqual(modeOf(shared), 0o640)
    })
  )

  it.effect("keeps a write-ahead log and syncs each commit, unless told otherwise", () =>
    Effect.gen(function* () {
      const settings = Effect.fnUntraced(function* (options: Omit<Sqlite.Options, "filename">) {
        const sql = yield* client({ filename: yield* file, ...options })
        const [log] = yield* sql<{ readonly journal_mode: string }>`PRAGMA journal_mode`
        const [sync] = yield* sql<{ readonly synchronous: number }>`PRAGMA synchronous`
        const [cache] = yield* sql<{ readonly cache_size: number }>`PRAGMA cache_size`
        return [log?.journal_mode, sync?.synchronous, cache?.cache_size]
      })
      assert.deepStrictEqual((yield* settings({})).slice(0, 2), ["wal", 2])
      const other = { wal: false, synchronous: "NORMAL", pragmas: ["cache_size = -8000"] } as const
      assert.deepStrictEqual(yield* settings(other), ["delete", 1, -8000])
    })
  )

  it.effect("reads back what it was given", () =>
    Effect.gen(function* () {
      const sql = yield* client({ filename: ":memory:" })
      yield* sql`CREATE TABLE things (a, b, c, d, e, f)`
      const [date, bytes] = [new Date(1_000), new Uint8Array([1, 2])]
      yield* sql`INSERT INTO things VALUES (${null}, ${true}, ${date}, ${bytes}, ${2 ** 40}, ${2n ** 60n})`
      const rows = sql`SELECT a, b, c, d, e, CAST(f AS TEXT) AS f FROM things`
      const expected = {
        a: null,
        b: 1,
        c: "1970-01-01T00:00:01.000Z",
        d: bytes,
        e: 2 ** 40,
        f: String(2n ** 60n)
      }
      assert.deepEqual(
        (yield* rows).map((row) => ({ ...row })),
        [expected]
      )
      assert.deepEqual(yield* rows.values, [Object.values(expected)])
      const big = sql<{ readonly f: unknown }>`SELECT f FROM things`
      const safely = Effect.provideService(SqlClient.SafeIntegers, true)
      assert.strictEqual((yield* safely(big))[0]?.f, 2n ** 60n)
      const streamed = yield* big.stream.pipe(Stream.runCollect, safely)
      assert.strictEqual(streamed[0]?.f, 2n ** 60n)
      assert.strictEqual((yield* Effect.exit(big))._tag, "Failure")
    })
  )

  it.effect("says how many rows a raw statement changed, whatever the row ids", () =>
    Effect.gen(function* () {
      const sql = yield* client({ filename: ":memory:" })
      yield* sql`CREATE TABLE wide (id INTEGER PRIMARY KEY, n INTEGER)`
      yield* sql`INSERT INTO wide VALUES (${2n ** 60n}, 1)`
      const raw = (yield* sql`UPDATE wide SET n = 2`.raw) as unknown as { readonly changes: bigint }
      assert.strictEqual(raw.changes, 1n)
      assert.deepEqual((yield* sql`UPDATE wide SET n = 3 RETURNING n`)[0], { n: 3 })
    })
  )

  it.effect("streams a table in pages, and stops early", () =>
    Effect.gen(function* () {
      const sql = yield* client({ filename: yield* file })
      yield* sql`CREATE TABLE n (i INTEGER PRIMARY KEY)`
      yield* sql`INSERT INTO n ${sql.insert(Arr.makeBy(1000, (i) => ({ i })))}`
      const all = sql<{ readonly i: number }>`SELECT i FROM n ORDER BY i`.stream
      assert.strictEqual((yield* Stream.runCollect(all)).length, 1000)
      assert.deepStrictEqual(
        (yield* Stream.runCollect(Stream.take(all, 3))).map((row) => row.i),
        [0, 1, 2]
      )
      const failing = sql`SELECT json_extract('{', '$') AS i FROM n`.stream.pipe(
        Stream.runCollect,
        Effect.flip
      )
      assert.strictEqual((yield* failing)._tag, "SqlError")
      // Nothing is left that holds the connection.
      yield* sql`DROP TABLE n`
    })
  )

  it.effect("rolls back on failure and on interruption, savepoints apart", () =>
    Effect.gen(function* () {
      const sql = yield* withCounter({ filename: yield* file })
      const set = (n: number) => sql`UPDATE counter SET n = ${n}`
      yield* sql.withTransaction(Effect.andThen(set(1), Effect.fail("no"))).pipe(Effect.ignore)
      assert.strictEqual(yield* counted(sql), 0)
      const fiber = yield* Effect.forkChild(sql.withTransaction(Effect.andThen(set(2), Effect.never)))
      yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* counted(sql), 0)
      const inner = sql.withTransaction(Effect.andThen(set(4), Effect.fail("no"))).pipe(Effect.ignore)
      yield* sql.withTransaction(Effect.andThen(set(3), inner))
      assert.strictEqual(yield* counted(sql), 3)
    })
  )

  it.effect("names what is wrong: a key that exists, a full disk, a damaged file, a locked one", () =>
    Effect.gen(function* () {
      const sql = yield* withCounter({ filename: yield* file })
      for (const [statement, constraint] of [
        [sql`INSERT INTO counter (id, n) VALUES (1, 1)`, "counter.id"],
        [sql`INSERT INTO counter (id, n) VALUES (2, 0)`, "counter.n"]
      ] as const) {
        const { reason } = yield* Effect.flip(statement)
        if (reason._tag !== "UniqueViolation") return assert.fail(reason._tag)
        assert.strictEqual(reason.constraint, constraint)
      }
      const nullError = yield* Effect.flip(sql`INSERT INTO counter (n) VALUES (NULL)`)
      assert.strictEqual(nullError.reason._tag, "ConstraintError")
      assert.isUndefined(Sqlite.fault(nullError))

      yield* sql`CREATE TABLE bulk (bytes)`
      yield* sql`PRAGMA max_page_count = 10`
      const full = yield* Effect.flip(sql`INSERT INTO bulk VALUES (zeroblob(1000000))`)
      assert.strictEqual(Sqlite.fault(full), "full")
      assert.isFalse(full.isRetryable)
      yield* sql`PRAGMA query_only = ON`
      assert.strictEqual(Sqlite.fault(yield* Effect.flip(sql`DELETE FROM bulk`)), "readonly")

      const garbage = yield* file
      Fs.writeFileSync(garbage, "no database at all ".repeat(100))
      assert.strictEqual(Sqlite.fault(yield* Effect.flip(client({ filename: garbage }))), "corrupt")

      const filename = yield* file
      const holder = yield* withCounter({ filename })
      const waiter = yield* client({ filename, busyTimeout: "30 millis" })
      const locked = yield* holder.withTransaction(Effect.flip(waiter`UPDATE counter SET n = 9`))
      assert.strictEqual(locked.reason._tag, "LockTimeoutError")
      assert.strictEqual(Sqlite.fault(locked), "busy")

      const nowhere = yield* Effect.flip(client({ filename: Path.join(yield* folder, "no", "such.db") }))
      assert.strictEqual(nowhere.reason._tag, "ConnectionError")
    })
  )

  it.effect("waits for another client's lock without holding up other fibers", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const holder = yield* withCounter({ filename })
      const waiter = yield* client({ filename })
      const held = yield* Deferred.make<void>()
      const release = yield* Deferred.make<void>()
      const holding = yield* Effect.forkChild(
        holder.withTransaction(Effect.andThen(Deferred.succeed(held, undefined), Deferred.await(release)))
      )
      yield* Deferred.await(held)
      const writing = yield* Effect.forkChild(waiter`UPDATE counter SET n = n + 1`)
      const beginning = yield* Effect.forkChild(waiter.withTransaction(waiter`UPDATE counter SET n = n + 1`))
      // The lock is held by this very process: were the wait to block it, it would never be released in time.
      for (let turn = 0; turn < 20; turn++) yield* macrotask
      assert.isUndefined(writing.pollUnsafe())
      assert.isUndefined(beginning.pollUnsafe())
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.joinAll([holding, writing, beginning])
      assert.strictEqual(yield* counted(holder), 2)
    })
  )

  it.effect("keeps the locks of one client while another opens and closes the same file", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const holder = yield* withCounter({ filename, wal: false })
      yield* holder.withTransaction(
        Effect.gen(function* () {
          yield* holder`UPDATE counter SET n = 1`
          yield* Effect.scoped(client({ filename, wal: false, busyTimeout: 0 }))
          const other = yield* run(["-e", otherProcess, filename])
          assert.include(other.stdout, "locked")
        })
      )
    })
  )

  it.live("counts to 200 with two processes that read and then write a hundred times each", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const sql = yield* withCounter({ filename })
      const child = run([Path.join(import.meta.dirname, "support", "sqliteCounter.ts"), filename, "100"])
      yield* Effect.all([child, child], { concurrency: 2, discard: true })
      assert.strictEqual(yield* counted(sql), 200)
    })
  )

  it.effect("counts to 200 with two clients in one process, whose transactions begin together", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const sql = yield* withCounter({ filename })
      const clients = [sql, yield* client({ filename })]
      const increment = (sql: SqlClient.SqlClient) =>
        sql.withTransaction(
          Effect.flatMap(counted(sql), (n) =>
            Effect.andThen(Effect.yieldNow, sql`UPDATE counter SET n = ${(n ?? 0) + 1}`)
          )
        )
      yield* Effect.forEach(
        Array.from({ length: 200 }, (_, index) => clients[index % 2] as SqlClient.SqlClient),
        increment,
        { concurrency: 20, discard: true }
      )
      assert.strictEqual(yield* counted(sql), 200)
    })
  )

  it.effect("migrates once, also where several start at once", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const migrate = Effect.gen(function* () {
        const sql = yield* client({ filename })
        const twice = {
          "1_create": sql`CREATE TABLE kept (n INTEGER)`,
          "2_fill": sql`INSERT INTO kept VALUES (1)`
        }
        yield* SqlStore.migrate("interlock_kept_migrations", twice).pipe(
          Effect.provideService(SqlClient.SqlClient, sql)
        )
        return sql
      })
      const [sql] = yield* Effect.all([migrate, migrate, migrate], { concurrency: 3 })
      yield* migrate
      assert.deepEqual(yield* sql`SELECT count(*) AS n FROM kept`, [{ n: 1 }])
    })
  )

  it("refuses options that make no sense", () => {
    for (const options of [
      { filename: "" },
      { filename: "file:test.db" },
      { filename: ":memory:", busyTimeout: -1 },
      { filename: ":memory:", busyTimeout: Infinity }
    ]) {
      assert.throws(() => Sqlite.layer(options), RangeError)
    }
  })
})

const macrotask = Effect.callback<void>((resume) => {
  setTimeout(() => resume(Exit.void), 1)
})

const run = (args: ReadonlyArray<string>) =>
  Effect.promise(() => promisify(execFile)(process.execPath, ["--no-warnings", ...args]))

/** Whether the file is locked, as another process sees it. */
const otherProcess = `
  const { DatabaseSync } = require("node:sqlite")
  const db = new DatabaseSync(process.argv[1])
  try { db.exec("BEGIN IMMEDIATE"); console.log("free") } catch (error) { console.log(error.message) }`
