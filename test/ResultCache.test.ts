import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import * as Keyring from "../src/Keyring.ts"
import * as ResultCache from "../src/ResultCache.ts"
import * as Sqlite from "../src/sql/Sqlite.ts"
import * as SqlResultCache from "../src/sql/SqlResultCache.ts"
import { built, encodedOf, keyOf, put, suite } from "./ResultCacheSuite.ts"

const memory = (options?: ResultCache.Options) => built(ResultCache.layerMemory(options))

const file = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "interlock-result-cache-"))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
  ),
  (folder) => Path.join(folder, "test.db")
)

const keyring = Keyring.layer({
  active: "test",
  keys: { test: Redacted.make("a key of thirty-two characters at least") }
})

const client = (filename: string) => Sqlite.layer({ filename, synchronous: "NORMAL" })

const on = (filename: string, options?: SqlResultCache.Options) =>
  built(SqlResultCache.layer(options).pipe(Layer.provide([keyring, client(filename)])))

suite("memory", memory, 300)
suite("SQLite", (options) => Effect.flatMap(file, (filename) => on(filename, options)), 40)

const absurd = [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]

describe("ResultCache in memory", () => {
  it.effect("answers with an exit, having done what it was asked", () =>
    Effect.gen(function* () {
      const service = yield* memory()
      assert.isTrue(Exit.isExit(put(service, keyOf(), 1)))
      assert.deepStrictEqual(service.get(keyOf(), 0), Exit.succeed({ encoded: 1, storedAt: 0 }))
    })
  )

  it.effect("forgets what was used longest ago, by number and by size", () =>
    Effect.gen(function* () {
      const kept = Effect.fnUntraced(function* (options: ResultCache.Options) {
        const service = yield* memory(options)
        const nth = (n: number) => keyOf({ argumentsHash: `${n}` })
        for (const n of [1, 2, 3]) yield* put(service, nth(n), "x".repeat(8))
        yield* service.get(nth(1), 0)
        // What no longer stands is not used by being asked for.
        yield* service.get(nth(2), 5_000)
        yield* put(service, nth(4), "x".repeat(8))
        const found = yield* Effect.forEach([1, 2, 3, 4], (n) => service.get(nth(n), 0))
        return found.map((entry) => entry !== undefined)
      })
      assert.deepStrictEqual(yield* kept({ maxEntries: 3 }), [true, false, true, true])
      assert.deepStrictEqual(yield* kept({ maxTotalBytes: 30 }), [true, false, true, true])
      assert.deepStrictEqual(yield* kept({ maxTotalBytes: 39 }), [true, false, true, true])
      assert.deepStrictEqual(yield* kept({ maxTotalBytes: 40 }), [true, true, true, true])
      assert.deepStrictEqual(yield* kept({ maxTotalBytes: 9 }), [false, false, false, false])
    })
  )

  it("refuses options that make no sense, and names them", () => {
    for (const option of ["maxEntries", "maxEntryBytes", "maxTotalBytes"] as const) {
      for (const bad of absurd) {
        assert.throws(() => ResultCache.layerMemory({ [option]: bad }), RangeError, option)
      }
    }
  })
})

describe("SqlResultCache", () => {
  it.effect("shares results and invalidations among clients, and outlives them", () =>
    Effect.gen(function* () {
      const filename = yield* file
      yield* Effect.scoped(
        Effect.gen(function* () {
          const [here, there] = [yield* on(filename), yield* on(filename)]
          yield* put(here, keyOf(), "here", { tags: ["web"] })
          assert.strictEqual(yield* encodedOf(there, keyOf()), "here")
          yield* TestClock.adjust(10)
          assert.strictEqual(yield* there.invalidate({ tag: "web" }), 1)
          yield* put(here, keyOf(), "old", { since: 10 })
          assert.isUndefined(yield* encodedOf(here, keyOf()))
          yield* put(here, keyOf(), "new", { since: 11 })
        })
      )
      assert.strictEqual(yield* encodedOf(yield* on(filename), keyOf()), "new")
    })
  )

  it.effect("keeps nothing that others can read, and gives nobody what was moved", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const service = yield* on(filename)
      const names = {
        tenant: "tenant-x",
        principal: "principal-x",
        tool: "tool-x",
        toolDigest: "digest-x",
        argumentsHash: "hash-x"
      }
      yield* put(service, names, "value-x", { tags: ["tag-x"] })
      yield* put(service, keyOf(), "another")
      const bytes = ["", "-wal"].map((suffix) => Fs.readFileSync(filename + suffix, "latin1")).join("")
      assert.include(bytes, "interlock_result_cache")
      for (const word of [...Object.values(names), "value-x", "tag-x"]) assert.notInclude(bytes, word)
      const sql = Context.get(yield* Layer.build(client(filename)), SqlClient.SqlClient)
      yield* sql`UPDATE interlock_result_cache SET value = (SELECT MIN(value) FROM interlock_result_cache)`
      const found = [yield* encodedOf(service, names), yield* encodedOf(service, keyOf())]
      assert.strictEqual(found.filter((encoded) => encoded !== undefined).length, 1)
    })
  )

  it.effect("changes not a byte when it is asked", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const service = yield* on(filename)
      yield* put(service, keyOf(), 1)
      const bytes = () => ["", "-wal"].map((suffix) => Fs.readFileSync(filename + suffix))
      const before = bytes()
      for (const now of [0, 1e12]) yield* service.get(keyOf(), now)
      for (const [n, part] of bytes().entries()) assert.isTrue(part.equals(before[n]!))
    })
  )

  it.effect("is unavailable where the database is", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const service = yield* on(filename)
      const sql = Context.get(yield* Layer.build(client(filename)), SqlClient.SqlClient)
      yield* sql`DROP TABLE interlock_result_cache`
      const steps = [service.get(keyOf(), 0), put(service, keyOf(), 1), service.invalidate({})]
      for (const step of steps) {
        assert.deepStrictEqual(yield* Effect.flip(step as Effect.Effect<unknown, unknown>), {
          _tag: "Unavailable",
          concern: "cache"
        })
      }
    })
  )

  it("refuses options that make no sense, and names them", () => {
    for (const option of ["maxEntries", "maxEntryBytes"] as const) {
      for (const bad of absurd)
        assert.throws(() => SqlResultCache.layer({ [option]: bad }), RangeError, option)
    }
  })
})
