import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import * as Batches from "../src/cli/batch/Batches.ts"
import * as Journal from "../src/cli/batch/Journal.ts"
import { standing } from "../src/cli/batch/standing.ts"
import * as Keyring from "../src/Keyring.ts"
import * as Sqlite from "../src/sql/Sqlite.ts"
import { Status } from "../src/ToolError.ts"

const secret = (id: string) => Redacted.make(`${id} with as many characters as a key needs`)
const keyring = Keyring.layer({ active: "first", keys: { first: secret("first") } })
const rotated = Keyring.layer({
  active: "second",
  keys: { first: secret("first"), second: secret("second") }
})
const another = Keyring.layer({ active: "second", keys: { second: secret("second") } })
const sqlite = Sqlite.layer({ filename: ":memory:", busyTimeout: 0 })
const stores = Layer.merge(keyring, sqlite)

type Open = Journal.Journal

const nothing: Journal.Change = { begun: [], ended: [], dropped: [] }
const begin = (...lines: ReadonlyArray<number>): Journal.Change => ({
  ...nothing,
  begun: lines.map((line) => ({ line, digest: `d${line}` }))
})
const end = (status: Status, ...lines: ReadonlyArray<number>): Journal.Change => ({
  ...nothing,
  ended: lines.map((line) => ({ line, digest: `d${line}`, status, text: `${status} of ${line}` }))
})

/** Takes a batch for a process that is killed when its scope is never closed. */
const opened = (options: Partial<Journal.Options> = {}) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const journal = yield* Journal.open({ id: "b", lease: "1 second", ...options }).pipe(
      Scope.provide(scope),
      Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
    )
    return { journal, close: Scope.close(scope, Exit.void) }
  })

/** What waits for time to pass, with time passing. */
const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    while (fiber.pollUnsafe() === undefined) yield* TestClock.adjust(50)
    return yield* Fiber.join(fiber)
  })

const allRows = Effect.fnUntraced(function* (journal: Open) {
  const all: Array<Journal.Row> = []
  while (true) {
    const rows = yield* journal.rows(all.at(-1)?.line ?? 0)
    if (rows.length === 0) return all
    all.push(...rows)
  }
})

const resultOf = (journal: Open, { page, position }: Journal.Row) =>
  page === undefined ? Effect.succeed(undefined) : Effect.map(journal.page(page), (texts) => texts[position])

const recorded = Effect.fnUntraced(function* (journal: Open) {
  const rows = yield* allRows(journal)
  return yield* Effect.forEach(rows, (row) =>
    Effect.map(resultOf(journal, row), (text) => [row.line, row.status, text] as const)
  )
})

const refusal = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) =>
    error instanceof Batches.JournalError ? error.reason : assert.fail(String(error))
  )

describe("the journal of a batch", () => {
  it.effect("knows after a restart what began and how it ended, with its result", () =>
    Effect.gen(function* () {
      const first = yield* opened()
      yield* first.journal.write(begin(1, 2, 4))
      yield* first.journal.write({ ...end("success", 2, 3), dropped: [4] })
      yield* first.journal.write({ ...end("failure", 5), begun: begin(6).begun })
      yield* first.close
      const { journal } = yield* opened()
      assert.deepStrictEqual(yield* recorded(journal), [
        [1, undefined, undefined],
        [2, "success", "success of 2"],
        [3, "success", "success of 3"],
        [5, "failure", "failure of 5"],
        [6, undefined, undefined]
      ])
      assert.deepStrictEqual([...journal.before].sort(), [
        ["failure", 1],
        ["success", 2]
      ])
      assert.deepStrictEqual(
        (yield* allRows(journal)).map(({ digest }) => digest),
        ["d1", "d2", "d3", "d5", "d6"]
      )
    }).pipe(Effect.provide(stores))
  )

  it.effect(
    "never puts an outcome in the place of another, nor takes one away with a line that did not run",
    () =>
      Effect.gen(function* () {
        const { journal } = yield* opened()
        yield* journal.write(end("success", 1))
        yield* journal.write(end("failure", 1))
        yield* journal.write({ ...nothing, dropped: [1] })
        assert.deepStrictEqual(yield* recorded(journal), [[1, "success", "success of 1"]])
        yield* journal.write(begin(1))
        assert.deepStrictEqual(yield* recorded(journal), [[1, undefined, undefined]])
        yield* journal.write(end("failure", 1))
        assert.deepStrictEqual(yield* recorded(journal), [[1, "failure", "failure of 1"]])
      }).pipe(Effect.provide(stores))
  )

  it.effect("keeps a million lines apart in pages of a thousand, and results in pages of a mebibyte", () =>
    Effect.gen(function* () {
      const { journal } = yield* opened()
      const text = "x".repeat(300_000)
      const ended = Array.from({ length: 8 }, (_, i) => ({
        line: 1_000_000 + i,
        digest: "d",
        status: "success" as const,
        text: `${i}${text}`
      }))
      yield* journal.write({ ...nothing, ended })
      yield* journal.write(end("success", ...Array.from({ length: 2500 }, (_, i) => i + 1)))
      const rows = yield* allRows(journal)
      assert.strictEqual(rows.length, 2508)
      for (const row of rows.slice(2500)) {
        assert.strictEqual((yield* resultOf(journal, row))?.[0], String(row.line - 1_000_000))
      }
      assert.deepStrictEqual(
        rows.slice(2500).map(({ position }) => position),
        [0, 1, 2, 0, 1, 2, 0, 1]
      )
    }).pipe(Effect.provide(stores))
  )

  it.effect("writes all of a change or nothing", () =>
    Effect.gen(function* () {
      const { journal } = yield* opened()
      const sql = yield* SqlClient.SqlClient
      yield* journal.write(begin(1))
      yield* sql`CREATE TRIGGER full BEFORE DELETE ON interlock_batch_lines BEGIN SELECT RAISE(ABORT, 'full'); END`
      yield* Effect.flip(journal.write({ ...end("success", 2), dropped: [1] }))
      assert.deepStrictEqual(yield* recorded(journal), [[1, undefined, undefined]])
      assert.deepStrictEqual((yield* sql`SELECT page FROM interlock_batch_results`).length, 0)
      yield* sql`DROP TRIGGER full`
      yield* journal.write({ ...end("success", 2), dropped: [1] })
      assert.deepStrictEqual(yield* recorded(journal), [[2, "success", "success of 2"]])
    }).pipe(Effect.provide(stores))
  )

  it.effect(
    "is for one process at a time: the next one waits for as long as the last said that it lives",
    () =>
      Effect.gen(function* () {
        const dead = yield* opened()
        yield* dead.journal.write(begin(1))
        const next = yield* Effect.forkChild(opened(), { startImmediately: true })
        yield* TestClock.adjust(950)
        assert.isUndefined(next.pollUnsafe())
        yield* TestClock.adjust(50)
        const { journal } = yield* Fiber.join(next)
        // It was not dead, but had stood still. What it comes with now is too late.
        assert.strictEqual(yield* refusal(dead.journal.write(end("success", 1))), "taken_over")
        assert.strictEqual(yield* refusal(dead.journal.finish), "taken_over")
        yield* dead.close
        yield* journal.write(end("unknown", 1))
        assert.deepStrictEqual(yield* recorded(journal), [[1, "unknown", "unknown of 1"]])
      }).pipe(Effect.provide(stores))
  )

  it.effect(
    "refuses a second process while the first one lives, and lets it in at once when that has ended",
    () =>
      Effect.gen(function* () {
        const first = yield* opened()
        const beating = yield* Effect.forkChild(
          Effect.forever(Effect.andThen(Effect.sleep(first.journal.beat), first.journal.write(nothing)))
        )
        assert.strictEqual(yield* refusal(inTime(opened())), "running")
        const [known] = yield* Batches.list
        assert.deepStrictEqual([known?.id, known?.running, known?.finished], ["b", true, false])
        assert.strictEqual(yield* refusal(Batches.remove("b")), "running")
        yield* Fiber.interrupt(beating)
        yield* first.close
        yield* opened()
      }).pipe(Effect.provide(stores))
  )

  it.effect("tells a batch that is known from one that is not, where that is asked for", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* refusal(opened({ start: "resume" })), "not_found")
      yield* (yield* opened({ start: "new" })).close
      assert.strictEqual(yield* refusal(opened({ start: "new" })), "exists")
      yield* (yield* opened({ start: "resume" })).close
      for (const id of ["", "a b", "x".repeat(101), "a/b", "forgotten 1", "é"]) {
        assert.strictEqual(yield* refusal(opened({ id })), "invalid_id")
      }
    }).pipe(Effect.provide(stores))
  )

  it.effect(
    "keeps to the key that a batch began with, and shows nothing of lines and results without it",
    () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const first = yield* opened().pipe(Effect.provide(keyring))
        const digest = first.journal.digest("a secret")
        yield* first.journal.write({
          ...nothing,
          ended: [{ line: 1, digest, status: "success", text: "a secret" }]
        })
        yield* first.close
        const second = yield* opened().pipe(Effect.provide(rotated))
        assert.strictEqual(second.journal.digest("a secret"), digest)
        assert.notStrictEqual(second.journal.digest("a secret "), digest)
        yield* second.journal.write(end("success", 2))
        assert.deepStrictEqual(
          (yield* recorded(second.journal)).map(([, , text]) => text),
          ["a secret", "success of 2"]
        )
        yield* second.close
        assert.strictEqual(yield* refusal(opened().pipe(Effect.provide(another))), "key_unknown")
        yield* (yield* opened({ id: "c" }).pipe(Effect.provide(another))).close
        yield* (yield* opened({ id: "c" }).pipe(Effect.provide(another))).close
        const all = yield* Effect.forEach(["batches", "batch_lines", "batch_results"], (name) =>
          sql.unsafe(`SELECT * FROM interlock_${name}`)
        )
        assert.notInclude(JSON.stringify(all), "secret")
        // What was sealed for one place opens in no other.
        yield* sql`UPDATE interlock_batch_results SET page = page + 10`
        const third = yield* opened().pipe(Effect.provide(rotated))
        assert.deepStrictEqual(yield* third.journal.page(11), [])
      }).pipe(Effect.provide(sqlite))
  )

  it.effect("forgets a batch when told to, and when nobody has worked on it for 30 days", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const left = Effect.map(
        sql`SELECT (SELECT count(*) FROM interlock_batch_lines) AS lines,
          (SELECT count(*) FROM interlock_batch_results) AS pages`,
        ([row]) => ({ ...row })
      )
      const fill = Effect.fnUntraced(function* (id: string) {
        const { close, journal } = yield* opened({ id })
        yield* journal.write(end("success", ...Array.from({ length: 10_500 }, (_, i) => i + 1)))
        yield* journal.finish
        yield* close
      })
      yield* fill("a")
      yield* fill("b")
      assert.deepStrictEqual(
        (yield* Batches.list).map(({ finished, id }) => [id, finished]),
        [
          ["b", true],
          ["a", true]
        ]
      )
      assert.isTrue(yield* Batches.remove("a"))
      assert.isFalse(yield* Batches.remove("a"))
      assert.deepStrictEqual(
        (yield* Batches.list).map(({ id }) => id),
        ["b"]
      )
      assert.strictEqual((yield* left).lines, 10_500)
      yield* TestClock.adjust("30 days")
      yield* (yield* opened({ id: "c" })).close
      assert.strictEqual((yield* left).lines, 10_500)
      yield* TestClock.adjust("1 day")
      yield* (yield* opened({ id: "d" })).close
      assert.deepStrictEqual(yield* left, { lines: 0, pages: 0 })
      assert.deepStrictEqual(
        (yield* Batches.list).map(({ id }) => id),
        ["d", "c"]
      )
    }).pipe(Effect.provide(stores))
  )

  it.effect("goes on forgetting what a process that died has begun to forget, and never resumes it", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const first = yield* opened()
      yield* first.journal.write(end("success", 1, 2, 3))
      yield* first.close
      yield* sql`CREATE TRIGGER dies BEFORE DELETE ON interlock_batch_lines
        WHEN OLD.line = 2 BEGIN SELECT RAISE(ABORT, 'dies'); END`
      yield* Effect.flip(Batches.remove("b"))
      yield* sql`DROP TRIGGER dies`
      assert.deepStrictEqual(yield* Batches.list, [])
      const anew = yield* opened({ start: "new" })
      assert.deepStrictEqual(yield* recorded(anew.journal), [])
      assert.deepStrictEqual(yield* sql`SELECT * FROM interlock_batch_lines`, [])
    }).pipe(Effect.provide(stores))
  )

  it("refuses leases that make no sense", () => {
    for (const lease of [99, 0, -1, Number.POSITIVE_INFINITY]) {
      assert.throws(() => Journal.open({ id: "b", lease }), /Journal: lease/)
    }
  })
})

// --- The machine -----------------------------------------------------------

const lines = [1, 2, 3, 4, 5, 6]
const statuses = Status.literals

/** What a line is, by the model: never looked at, begun, or ended. */
type Known = { readonly status: Status | undefined; readonly text: string | undefined }

const someLines = fc.subarray(lines)
const command = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("begin" as const), lines: someLines }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("end" as const),
      lines: someLines,
      status: fc.constantFrom(...statuses),
      with: someLines
    })
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("drop" as const), lines: someLines }) },
  { weight: 2, arbitrary: fc.constant({ do: "kill" } as const) },
  { weight: 1, arbitrary: fc.constant({ do: "close" } as const) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("late" as const), lines: someLines }) }
)

describe("the journal as a machine", () => {
  it("comes to the same as a map of lines, whatever begins, ends, is dropped, killed, resumed or comes too late", () =>
    fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 40 }), (commands) =>
        Effect.gen(function* () {
          const model = new Map<number, Known>()
          let now = yield* opened()
          const dead: Array<Open> = []
          let texts = 0
          for (const step of commands) {
            if (step.do === "begin") {
              yield* now.journal.write(begin(...step.lines))
              for (const line of step.lines) model.set(line, { status: undefined, text: undefined })
            } else if (step.do === "end") {
              // What ends in a change does not begin in it.
              const begun = step.with.filter((line) => !step.lines.includes(line))
              const text = `result ${++texts}`
              yield* now.journal.write({
                ...begin(...begun),
                ended: step.lines.map((line) => ({ line, digest: `d${line}`, status: step.status, text }))
              })
              for (const line of begun) model.set(line, { status: undefined, text: undefined })
              for (const line of step.lines) {
                if (model.get(line)?.status === undefined) model.set(line, { status: step.status, text })
              }
            } else if (step.do === "drop") {
              yield* now.journal.write({ ...nothing, dropped: step.lines })
              for (const line of step.lines) {
                if (model.has(line) && model.get(line)?.status === undefined) model.delete(line)
              }
            } else if (step.do === "kill") {
              dead.push(now.journal)
              now = yield* inTime(opened({ start: "resume" }))
            } else if (step.do === "close") {
              yield* now.close
              now = yield* opened({ start: "resume" })
            } else {
              for (const journal of dead) {
                assert.strictEqual(yield* refusal(journal.write(end("success", ...step.lines))), "taken_over")
                assert.strictEqual(yield* refusal(journal.write(begin(...step.lines))), "taken_over")
              }
            }
            const expected = [...model]
              .sort(([a], [b]) => a - b)
              .map(([line, { status, text }]) => [line, status, text] as const)
            assert.deepStrictEqual(yield* recorded(now.journal), expected)
          }
          const again = yield* inTime(opened({ start: "resume" }))
          const counts = new Map<Status, number>()
          for (const { status } of model.values()) {
            if (status !== undefined) counts.set(status, (counts.get(status) ?? 0) + 1)
          }
          assert.deepStrictEqual([...again.journal.before].sort(), [...counts].sort())
        }).pipe(
          Effect.provide(Layer.fresh(stores)),
          Effect.provide(TestClock.layer()),
          Effect.scoped,
          Effect.runPromise
        )
      ),
      { numRuns: 100 }
    ))

  it("decides by what is recorded: another line is refused, an outcome stands unless it is to be tried again", () => {
    const retry = new Set<Status>(["failure"])
    const withUnknown = new Set<Status>(["unknown"])
    const of = (status: Status | undefined) => ({ digest: "d", status })
    assert.strictEqual(standing(undefined, "d", retry), "Run")
    assert.strictEqual(standing(of("success"), "d", retry), "Done")
    assert.strictEqual(standing(of("success"), "other", retry), "Changed")
    assert.strictEqual(standing(of("failure"), "other", retry), "Changed")
    assert.strictEqual(standing(of(undefined), "other", retry), "Changed")
    assert.strictEqual(standing(of("failure"), "d", retry), "Run")
    assert.strictEqual(standing(of(undefined), "d", retry), undefined)
    assert.strictEqual(standing(of(undefined), "d", withUnknown), "Run")
    assert.strictEqual(standing(of("unknown"), "d", withUnknown), "Run")
    assert.strictEqual(standing(of("unknown"), "d", retry), "Done")
  })

  it.effect("keeps time by the clock of whoever asks", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1_000_000)
      const { close } = yield* opened()
      yield* close
      const [batch] = yield* Batches.list
      assert.deepStrictEqual(
        [batch?.createdAt, batch?.touchedAt],
        [1_000_000, yield* Clock.currentTimeMillis]
      )
    }).pipe(Effect.provide(stores))
  )
})
