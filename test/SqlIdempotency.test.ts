import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { promisify } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import type * as Idempotency from "../src/Idempotency.ts"
import * as Keyring from "../src/Keyring.ts"
import * as SqlIdempotency from "../src/sql/SqlIdempotency.ts"
import * as Sqlite from "../src/sql/Sqlite.ts"
import { built, claimRun, done, keyOf, suite } from "./IdempotencySuite.ts"
import { exclusion } from "./support/idempotencyLaws.ts"
import { keyring } from "./support/idempotencyWorker.ts"

const file = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "interlock-idempotency-"))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
  ),
  (folder) => Path.join(folder, "test.db")
)

const client = (filename: string) => Sqlite.layer({ filename, synchronous: "NORMAL" })

const on = (filename: string, options?: SqlIdempotency.Options, keys = keyring) =>
  built(SqlIdempotency.layer(options).pipe(Layer.provide([keys, client(filename)])))

const secret = (id: string) => Redacted.make(`${id} with as many characters as a key needs`)

suite("SQLite", (options) => Effect.flatMap(file, (filename) => on(filename, options)), {
  machine: 100,
  exclusion: 40
})

const again = { callId: "again", argumentsHash: "h", expiresAt: 10_000 }
const small: Idempotency.Outcome = { _tag: "Value", encoded: "x" }
const lost = { _tag: "Unavailable", concern: "idempotency" }

describe("SqlIdempotency", () => {
  it.effect("never runs a key twice, whichever client of the file claims it", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const services = [yield* on(filename, { pollInterval: 4 }), yield* on(filename, { pollInterval: 4 })]
      const context = yield* Effect.context<never>()
      yield* Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(exclusion.plans, (plans) =>
            Effect.runPromiseWith(context)(exclusion.check(services, plans))
          ),
          { numRuns: 40 }
        )
      )
    })
  )

  it.effect("looks for what another client has ended, every poll interval", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const [here, there] = [yield* on(filename), yield* on(filename)]
      const lease = yield* claimRun(here, keyOf("k"), 0, { expiresAt: 10_000 })
      const claim = yield* there.claim(keyOf("k"), again, 0)
      if (claim._tag !== "InFlight") return assert.fail(claim._tag)
      const waiter = yield* Effect.forkChild(claim.wait, { startImmediately: true })
      yield* TestClock.adjust(Duration.millis(250))
      yield* here.complete(lease, small, 250)
      yield* TestClock.adjust(Duration.millis(249))
      assert.isUndefined(waiter.pollUnsafe())
      yield* TestClock.adjust(Duration.millis(1))
      yield* Fiber.join(waiter)
      assert.deepStrictEqual(yield* there.claim(keyOf("k"), again, 500), done("first", "x"))
    })
  )

  it("runs each key once among processes, and tells all of them the same", async () => {
    await Effect.runPromise(
      Effect.scoped(
        Effect.gen(function* () {
          const filename = yield* file
          const ledger = `${filename}.ledger`
          const worker = Path.join(import.meta.dirname, "support", "idempotencyWorker.ts")
          const keys = 60
          const outputs = yield* Effect.forEach(
            ["one", "two"],
            (name) =>
              Effect.promise(() =>
                promisify(execFile)(process.execPath, [worker, "work", filename, ledger, name, `${keys}`])
              ),
            { concurrency: "unbounded" }
          )
          const ran = Fs.readFileSync(ledger, "utf8").trim().split("\n")
          assert.strictEqual(ran.length, keys)
          assert.strictEqual(new Set(ran).size, keys)
          assert.strictEqual(outputs[0]?.stdout, outputs[1]?.stdout)
          assert.strictEqual(JSON.parse(outputs[0]?.stdout ?? "[]").length, keys)
        })
      )
    )
  })

  it.effect("finds what a process left that was killed in its handler", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const worker = Path.join(import.meta.dirname, "support", "idempotencyWorker.ts")
      const killed = yield* Effect.promise(() =>
        promisify(execFile)(process.execPath, [worker, "die", filename]).catch((error) => error)
      )
      assert.strictEqual(killed.signal, "SIGKILL")
      const service = yield* on(filename)
      const key = { tenant: undefined, principal: "shared", tool: "effect", key: "dies" }
      assert.strictEqual((yield* service.claim(key, again, 999))._tag, "InFlight")
      assert.deepStrictEqual(yield* service.claim(key, again, 1_000), { _tag: "Abandoned", callId: "died" })
      assert.strictEqual((yield* service.claim(key, { ...again, takeOver: true }, 1_000))._tag, "Run")
    })
  )

  it.effect("outlives its process, and keeps nothing that others can read", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const key = { tenant: "tenant-x", principal: "principal-x", tool: "tool-x", key: "key-x" }
      yield* Effect.scoped(
        Effect.gen(function* () {
          const service = yield* on(filename)
          const lease = yield* claimRun(service, key, 0)
          yield* service.complete(lease, { _tag: "Value", encoded: { secret: "outcome-x" } }, 0)
        })
      )
      const service = yield* on(filename)
      assert.deepStrictEqual(yield* service.claim(key, again, 1), done("first", { secret: "outcome-x" }))
      const bytes = ["", "-wal"].map((suffix) => Fs.readFileSync(filename + suffix, "latin1")).join("")
      assert.include(bytes, "interlock_idempotency")
      for (const word of ["tenant-x", "principal-x", "tool-x", "key-x", "outcome-x", "secret"]) {
        assert.notInclude(bytes, word)
      }
    })
  )

  it.effect("gives an outcome that was moved or changed to nobody", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const service = yield* on(filename)
      for (const key of ["a", "b", "c"]) {
        const lease = yield* claimRun(service, keyOf(key), 0, { callId: key })
        yield* service.complete(lease, { _tag: "Value", encoded: `of ${key}` }, 0)
      }
      const sql = Context.get(yield* Layer.build(client(filename)), SqlClient.SqlClient)
      yield* sql`UPDATE interlock_idempotency SET outcome =
        (SELECT outcome FROM interlock_idempotency WHERE call_id = 'a') WHERE call_id = 'b'`
      yield* sql`UPDATE interlock_idempotency SET outcome = 'test.forged' WHERE call_id = 'c'`
      assert.deepStrictEqual(yield* service.claim(keyOf("a"), again, 1), done("a", "of a"))
      for (const callId of ["b", "c"]) {
        assert.deepStrictEqual(yield* service.claim(keyOf(callId), again, 1), {
          _tag: "Done",
          callId,
          outcome: { _tag: "Reason", reason: { _tag: "OutcomeUnknown", callId } }
        })
      }
    })
  )

  it.effect("finds what was done under a key of the keyring that is no longer the active one", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const keys = { old: secret("old"), new: secret("new") }
      const before = yield* on(filename, {}, Keyring.layer({ active: "old", keys }))
      const completed = yield* claimRun(before, keyOf("done"), 0)
      yield* before.complete(completed, small, 0)
      const dead = yield* claimRun(before, keyOf("dead"), 0)
      yield* before.begin(dead, 0)
      const running = yield* claimRun(before, keyOf("running"), 0, { expiresAt: 10_000 })

      const active = Keyring.layer({ active: "new", keys })
      const rotated = yield* on(filename, { previousKeys: ["old"] }, active)
      assert.strictEqual(yield* rotated.peek(keyOf("done"), "h", 2_000), "Done")
      assert.deepStrictEqual(yield* rotated.claim(keyOf("done"), again, 2_000), done("first", "x"))
      assert.deepStrictEqual(yield* rotated.claim(keyOf("done"), { ...again, argumentsHash: "new" }, 2_000), {
        _tag: "Conflict"
      })
      assert.strictEqual((yield* rotated.claim(keyOf("running"), again, 2_000))._tag, "InFlight")
      yield* before.complete(running, small, 2_000)
      const taken = yield* claimRun(rotated, keyOf("dead"), 2_000, {
        callId: "second",
        expiresAt: 9_000,
        takeOver: true
      })
      assert.deepStrictEqual(yield* Effect.flip(before.begin(dead, 2_001)), lost)
      yield* rotated.begin(taken, 2_001)
      yield* rotated.complete(taken, small, 2_002)
      for (const service of [before, rotated]) {
        assert.deepStrictEqual(yield* service.claim(keyOf("running"), again, 2_003), done("first", "x"))
        assert.strictEqual(yield* service.peek(keyOf("dead"), "h", 2_003), "Done")
      }
      const fresh = yield* claimRun(rotated, keyOf("fresh"), 2_000, { expiresAt: 9_000 })
      yield* rotated.release(fresh, 2_000)
      assert.strictEqual(yield* rotated.peek(keyOf("fresh"), "h", 2_000), "Run")
    })
  )

  it.effect("deletes what is over as new keys are claimed", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const service = yield* on(filename, { keepFor: "1 second" })
      const sql = Context.get(yield* Layer.build(client(filename)), SqlClient.SqlClient)
      const count = Effect.map(sql`SELECT id FROM interlock_idempotency`, (rows) => rows.length)
      for (const key of ["a", "b", "c"]) {
        const lease = yield* claimRun(service, keyOf(key), 0)
        yield* service.complete(lease, small, 0)
      }
      yield* claimRun(service, keyOf("dead"), 0)
      assert.strictEqual(yield* count, 4)
      yield* claimRun(service, keyOf("new"), 60_000, { expiresAt: 70_000 })
      assert.strictEqual(yield* count, 1)
    })
  )

  it.effect("changes not a byte when it peeks", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const service = yield* on(filename)
      const lease = yield* claimRun(service, keyOf("k"), 0)
      yield* service.begin(lease, 0)
      const bytes = () => ["", "-wal"].map((suffix) => Fs.readFileSync(filename + suffix))
      const before = bytes()
      for (const now of [0, 1_000, 1e12]) {
        for (const [key, hash] of [
          ["k", "h"],
          ["k", "other"],
          ["new", "h"]
        ] as const) {
          yield* service.peek(keyOf(key), hash, now)
        }
      }
      for (const [n, part] of bytes().entries()) assert.isTrue(part.equals(before[n]!))
    })
  )

  it.effect("is unavailable where the database is, and reports why", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const service = yield* on(filename)
      const lease = yield* claimRun(service, keyOf("k"), 0)
      const claim = yield* service.claim(keyOf("k"), again, 0)
      if (claim._tag !== "InFlight") return assert.fail(claim._tag)
      const sql = Context.get(yield* Layer.build(client(filename)), SqlClient.SqlClient)
      yield* sql`DROP TABLE interlock_idempotency`
      const reported: Array<string> = []
      const reporter = ErrorReporter.make(({ error }) => reported.push(error.message))
      const steps: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        service.peek(keyOf("k"), "h", 1),
        service.claim(keyOf("k"), again, 1),
        claim.wait,
        service.begin(lease, 1),
        service.complete(lease, small, 1),
        service.release(lease, 1),
        service.abandon(lease, 1)
      ]
      for (const step of steps) {
        const failure = yield* Effect.flip(step).pipe(
          Effect.provideService(ErrorReporter.CurrentErrorReporters, new Set([reporter]))
        )
        assert.deepStrictEqual(failure, lost)
      }
      assert.strictEqual(reported.length, steps.length)
    })
  )

  it.effect("refuses options that make no sense, and names them", () =>
    Effect.gen(function* () {
      for (const pollInterval of [0, -1, Number.POSITIVE_INFINITY]) {
        assert.throws(() => SqlIdempotency.layer({ pollInterval }), RangeError, "pollInterval")
      }
      assert.throws(() => SqlIdempotency.layer({ keepFor: 0 }), RangeError, "keepFor")
      const exit = yield* Effect.exit(on(yield* file, { previousKeys: ["none"] }))
      assert.include(String(exit), "previousKeys")
    })
  )
})
