import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { promisify } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as SqlClient from "effect/sql/SqlClient"
import * as TestClock from "effect/testing/TestClock"
import { type ApprovalError, Approvals } from "../src/Approvals.ts"
import * as Keyring from "../src/Keyring.ts"
import * as Principal from "../src/Principal.ts"
import * as SqlApprovals from "../src/sql/SqlApprovals.ts"
import * as Sqlite from "../src/sql/Sqlite.ts"
import { suite } from "./ApprovalsSuite.ts"
import {
  ada,
  ask,
  type Backend,
  type Details,
  granted,
  type Kept,
  keys,
  outcome,
  pending,
  question,
  redeem,
  subject
} from "./support/approvals.ts"

const turns = Effect.repeat(Effect.yieldNow, { times: 50 })

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "interlock-approvals-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
)

const client = (filename: string) =>
  Layer.build(Layer.fresh(Sqlite.layer({ filename, synchronous: "NORMAL" }))).pipe(
    Effect.map(Context.get(SqlClient.SqlClient)),
    Effect.orDie
  )

const on = (
  sql: SqlClient.SqlClient,
  options: SqlApprovals.Options = {},
  keyring: Keyring.Keyring["Service"] = keys
) =>
  Layer.build(Layer.fresh(SqlApprovals.layer(options))).pipe(
    Effect.map(Context.get(Approvals)),
    Effect.provideService(SqlClient.SqlClient, sql),
    Effect.provideService(Keyring.Keyring, keyring),
    Effect.orDie
  )

interface KeptRow {
  readonly state: Kept["state"]
  readonly sealed: string | null
  readonly token: string | null
}

const kept = (sql: SqlClient.SqlClient) =>
  sql<KeptRow>`SELECT state, sealed, token FROM interlock_approvals`.pipe(
    Effect.map((rows) =>
      rows.map(({ sealed, state, token }) => ({
        state,
        sealed: sealed ?? undefined,
        token: token ?? undefined
      }))
    ),
    Effect.orDie
  )

const oneClient: Backend = Effect.gen(function* () {
  const sql = yield* client(Path.join(yield* folder, "test.db"))
  return { open: (options, keyring) => on(sql, options, keyring), kept: kept(sql) }
})

/** Each service has a client of its own, as in another process. */
const manyClients: Backend = Effect.gen(function* () {
  const filename = Path.join(yield* folder, "test.db")
  return {
    open: (options, keyring) => Effect.flatMap(client(filename), (sql) => on(sql, options, keyring)),
    kept: Effect.scoped(Effect.flatMap(client(filename), kept))
  }
})

suite("SQLite", oneClient, 25)
suite("SQLite, a client each", manyClients, 25)

const file = Effect.map(folder, (path) => Path.join(path, "test.db"))

describe("SqlApprovals", () => {
  it.effect("keeps requests and grants when the process ends", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const first = Effect.gen(function* () {
        const approvals = yield* on(yield* client(filename))
        yield* pending(approvals, { callId: "call-2" })
        return yield* granted(approvals)
      })
      const { token } = yield* Effect.scoped(first)
      const approvals = yield* on(yield* client(filename))
      const [request] = yield* approvals.list({ callId: "call-2" })
      assert.strictEqual((yield* approvals.open(request!.id)).callJson, question().callJson)
      assert.strictEqual(yield* outcome(approvals, {}, token), "Granted")
      assert.strictEqual(yield* outcome(approvals, {}, token), "used")
    })
  )

  it.live("lets each grant be used once by four processes at once", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const approvals = yield* on(yield* client(filename), { maxUndecided: 100 })
      const calls = 40
      const ids: Array<string> = []
      for (let call = 0; call < calls; call++) {
        ids.push((yield* granted(approvals, { callId: `call-${call}` })).request.id)
      }
      const redeemer = new URL("./support/approvalsRedeemer.ts", import.meta.url).pathname
      const outputs = yield* Effect.all(
        Array.from({ length: 4 }, () =>
          Effect.promise(() =>
            promisify(execFile)(process.execPath, ["--no-warnings", redeemer, filename, `${calls}`])
          )
        ),
        { concurrency: "unbounded" }
      )
      const got = outputs.flatMap(({ stdout }) => JSON.parse(stdout) as Array<string>)
      assert.deepStrictEqual(got.toSorted(), ids.toSorted())
    })
  )

  it.effect("tells each process what the others decide", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const here = yield* on(yield* client(filename))
      const there = yield* on(yield* client(filename), { pollInterval: "2 seconds" })
      const seen: Array<string> = []
      const watching = yield* Effect.forkChild(
        Stream.runForEach(there.changes, ({ callId, state }) =>
          Effect.sync(() => seen.push(`${callId} ${state}`))
        ),
        { startImmediately: true }
      )
      yield* turns
      const request = yield* pending(here)
      const waiting = yield* Effect.forkChild(there.decided(request.id), { startImmediately: true })
      yield* TestClock.adjust("2 seconds")
      yield* pending(there, { callId: "call-2" })
      yield* Principal.provide(here.grant(request.id), ada)
      yield* turns
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(waiting)
      assert.strictEqual(yield* outcome(there), "Granted")
      yield* TestClock.adjust("10 seconds")
      yield* turns
      assert.deepStrictEqual(seen, ["call-1 pending", "call-2 pending", "call-1 granted", "call-1 used"])
      yield* Fiber.interrupt(watching)
    })
  )

  it.effect("gives no grant to a transaction, which may be undone after the call ran", () =>
    Effect.gen(function* () {
      const sql = yield* client(yield* file)
      const approvals = yield* on(sql)
      yield* granted(approvals)
      const other = yield* pending(approvals, { callId: "call-2" })
      const reported: Array<unknown> = []
      const reporter = ErrorReporter.make(({ error }) => void reported.push(error))
      const inside = yield* sql
        .withTransaction(
          Effect.gen(function* () {
            const failures: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
              redeem(approvals),
              ask(approvals, { callId: "call-3" }),
              Principal.provide(approvals.grant(other.id), ada)
            ]
            return [
              yield* approvals.peek(subject(), undefined, 0),
              yield* Effect.forEach(failures, Effect.flip)
            ] as const
          })
        )
        .pipe(Effect.provide(ErrorReporter.layer([reporter])))
      assert.strictEqual(inside[0]._tag, "Granted")
      for (const failure of inside[1]) {
        assert.deepStrictEqual(failure, { _tag: "Unavailable", concern: "approvals" })
      }
      assert.strictEqual(reported.length, 3)
      assert.strictEqual(yield* outcome(approvals), "Granted")
    })
  )

  it.effect("says that it is unavailable when the database does not answer, and grants nothing", () =>
    Effect.gen(function* () {
      const sql = yield* client(yield* file)
      const approvals = yield* on(sql)
      const { token } = yield* granted(approvals)
      yield* sql`ALTER TABLE interlock_approvals RENAME TO elsewhere`
      const unavailable = { _tag: "Unavailable", concern: "approvals" } as const
      const failures: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        redeem(approvals),
        redeem(approvals, {}, token),
        ask(approvals),
        Principal.provide(approvals.grant("any"), ada),
        approvals.decided("any"),
        approvals.list()
      ]
      for (const failure of failures) assert.deepStrictEqual(yield* Effect.flip(failure), unavailable)
      yield* sql`ALTER TABLE elsewhere RENAME TO interlock_approvals`
      assert.strictEqual(yield* outcome(approvals, {}, token), "Granted")
    })
  )

  it.effect("forgets what expired 30 days ago", () =>
    Effect.gen(function* () {
      const sql = yield* client(yield* file)
      const approvals = yield* on(sql)
      yield* granted(approvals)
      yield* redeem(approvals)
      yield* pending(approvals, { callId: "call-2" })
      yield* TestClock.adjust("29 days")
      yield* pending(approvals, { callId: "call-3" })
      assert.strictEqual((yield* approvals.list()).length, 3)
      yield* TestClock.adjust("2 days")
      assert.strictEqual(yield* approvals.expire, 1)
      assert.deepStrictEqual(
        (yield* approvals.list()).map(({ callId }) => callId),
        ["call-3"]
      )
    })
  )

  it("refuses options that make no sense", () => {
    assert.throws(() => SqlApprovals.layer({ pollInterval: 0 }), /^SqlApprovals: pollInterval must/)
    assert.throws(() => SqlApprovals.layer({ keepFor: Infinity }), /^SqlApprovals: keepFor must/)
    assert.throws(() => SqlApprovals.layer({ maxUndecided: 1.5 }), /^Approvals: maxUndecided must/)
  })
})

// Somebody who can write to the database, and has no key.
describe("SqlApprovals, tampered with", () => {
  const opened = Effect.gen(function* () {
    const sql = yield* client(yield* file)
    return { sql, approvals: yield* on(sql) }
  })

  it.effect("holds no grant that nobody gave", () =>
    Effect.gen(function* () {
      const { approvals, sql } = yield* opened
      const other = yield* granted(approvals, { callId: "call-2" })
      const { id } = yield* pending(approvals)
      const tokens = [null, "", "yes", other.token, `${other.token.slice(0, -2)}AA`]
      for (const token of tokens) {
        yield* sql`UPDATE interlock_approvals
          SET state = 'granted', token = ${token}, decided_by = 'ada', decided_at = 0 WHERE id = ${id}`
        assert.strictEqual(yield* outcome(approvals), "forged")
      }
      assert.strictEqual(yield* outcome(approvals, {}, other.token), "another_call")
    })
  )

  it.effect("lets a grant say nothing else than what was granted", () =>
    Effect.gen(function* () {
      const { approvals, sql } = yield* opened
      const { request, token } = yield* granted(approvals)
      const [row] = yield* sql<{ document: string }>`SELECT document FROM interlock_approvals`
      const document = JSON.parse(row!.document)
      const thief = { callJson: `{"to":"thief"}` }
      const changes: ReadonlyArray<readonly [object, Details]> = [
        [{ argumentsHash: subject(thief).argumentsHash("a") }, thief],
        [{ toolDigest: "tool-2" }, { toolDigest: "tool-2" }],
        [{ expiresAt: document.expiresAt + 1 }, {}],
        [{ by: "approve" }, { by: "approve" }],
        [{ view: { value: {}, masked: [] } }, {}]
      ]
      for (const [change, details] of changes) {
        yield* sql`UPDATE interlock_approvals SET document = ${JSON.stringify({ ...document, ...change })}`
        assert.strictEqual(yield* outcome(approvals, details), "forged")
      }
      yield* sql`UPDATE interlock_approvals SET document = ${row!.document}, decided_by = 'boss'`
      assert.strictEqual(yield* outcome(approvals), "forged")
      assert.strictEqual(yield* outcome(approvals, {}, token), "forged")
      yield* sql`UPDATE interlock_approvals SET decided_by = 'ada'`
      assert.strictEqual(yield* outcome(approvals, {}, token), "Granted")
      // A used grant has no token left that could be used again.
      yield* sql`UPDATE interlock_approvals SET state = 'granted' WHERE id = ${request.id}`
      assert.strictEqual(yield* outcome(approvals), "forged")
      assert.strictEqual(yield* outcome(approvals, {}, token), "forged")
    })
  )

  it.effect("brings no other principal, call or tool to a grant by its columns", () =>
    Effect.gen(function* () {
      const { approvals, sql } = yield* opened
      yield* granted(approvals)
      yield* pending(approvals, { principal: "bob" })
      yield* sql`UPDATE interlock_approvals SET owner = (SELECT owner FROM interlock_approvals WHERE principal = 'bob'),
        subject = (SELECT subject FROM interlock_approvals WHERE principal = 'bob')`
      assert.strictEqual(yield* outcome(approvals, { principal: "bob" }), "Pending")
      assert.strictEqual(yield* outcome(approvals), "Nothing")
    })
  )

  it.effect("shows no human something else than what will run", () =>
    Effect.gen(function* () {
      const { approvals, sql } = yield* opened
      const { id } = yield* pending(approvals)
      const other = yield* pending(approvals, { callId: "call-2" })
      const change = { view: { value: { to: "charity" }, masked: [] } }
      const [row] = yield* sql<{
        document: string
      }>`SELECT document FROM interlock_approvals WHERE id = ${id}`
      yield* sql`UPDATE interlock_approvals
        SET document = ${JSON.stringify({ ...JSON.parse(row!.document), ...change })} WHERE id = ${id}`
      for (const refused of [approvals.grant(id), approvals.open(id)]) {
        const error = yield* Effect.flip(Principal.provide<unknown, unknown, never>(refused, ada))
        assert.strictEqual((error as ApprovalError).reason, "not_allowed")
      }
      // The question is put again, as it is.
      const again = yield* pending(approvals)
      assert.notStrictEqual(again.id, id)
      // Neither can two requests change places, nor their arguments.
      yield* sql`UPDATE interlock_approvals SET sealed =
        (SELECT sealed FROM interlock_approvals WHERE id = ${other.id}) WHERE id = ${again.id}`
      assert.strictEqual((yield* Effect.flip(approvals.open(again.id)))._tag, "ApprovalError")
      yield* sql`DELETE FROM interlock_approvals WHERE id = ${again.id}`
      yield* sql`UPDATE interlock_approvals SET id = ${again.id} WHERE id = ${other.id}`
      const error = yield* Effect.flip(Principal.provide(approvals.grant(again.id), ada))
      assert.strictEqual((error as ApprovalError).reason, "not_allowed")
      // What is no request at all is none.
      yield* sql`UPDATE interlock_approvals SET document = 'nonsense'`
      assert.deepStrictEqual(yield* approvals.list(), [])
    })
  )

  it.effect("finds no arguments in the file", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const approvals = yield* on(yield* client(filename))
      yield* pending(approvals, { callJson: `{"card":"4111-very-secret"}` })
      yield* granted(approvals, { callId: "call-2", callJson: `{"card":"4111-very-secret"}` })
      const bytes = ["", "-wal"].map((suffix) => Fs.readFileSync(filename + suffix, "latin1")).join("")
      assert.include(bytes, "call-2")
      assert.notInclude(bytes, "very-secret")
    })
  )
})
