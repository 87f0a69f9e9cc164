import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { promisify } from "node:util"
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { SqlClient } from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import { Budget, type Limit, type Reservation, type Spending } from "../src/Budget.ts"
import * as Principal from "../src/Principal.ts"
import * as Run from "../src/Run.ts"
import * as SqlBudget from "../src/sql/SqlBudget.ts"
import * as Sqlite from "../src/sql/Sqlite.ts"
import * as ToolAnnotations from "../src/ToolAnnotations.ts"
import { suite } from "./BudgetSuite.ts"
import { sharedLimits } from "./support/budgetShared.ts"

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "interlock-budget-"))
afterAll(() => Fs.rmSync(folder, { recursive: true, force: true }))

let files = 0
const newFile = (): string => Path.join(folder, `${++files}.sqlite`)

const onFile = (filename: string, limits?: ReadonlyArray<Limit>) =>
  Layer.fresh(SqlBudget.layer(limits)).pipe(
    Layer.provide(Layer.fresh(Sqlite.layer({ filename, synchronous: "NORMAL" })))
  )

suite("SQLite file", (limits) => Layer.suspend(() => onFile(newFile(), limits)), { runs: 25 })

/** Every question goes to the next of two budgets, each with a client of its own. */
const inTurn = (limits?: ReadonlyArray<Limit>): Layer.Layer<Budget, unknown> =>
  Layer.effect(
    Budget,
    Effect.gen(function* () {
      const filename = newFile()
      const build = Effect.map(Layer.build(onFile(filename, limits)), (context) =>
        Context.get(context, Budget)
      )
      const budgets = [yield* build, yield* build] as const
      let turn = 0
      const next = () => budgets[++turn % 2] as Budget["Service"]
      return {
        applies: (tool) => next().applies(tool),
        peek: (...asked) => next().peek(...asked),
        reserve: (...asked) => next().reserve(...asked),
        settle: (...asked) => next().settle(...asked),
        refund: (...asked) => next().refund(...asked),
        credit: (...asked) => next().credit(...asked),
        credits: Effect.suspend(() => next().credits),
        spent: (query) => next().spent(query),
        standing: Effect.suspend(() => next().standing),
        alerts: Stream.merge(budgets[0].alerts, budgets[1].alerts)
      }
    })
  )

suite("two clients on one SQLite file", inTurn, { runs: 25 })

const search = ToolAnnotations.read(Tool.make("search"))
const ann = Principal.make({ id: "ann", tenant: "acme" })

const spending = (more: Partial<Spending> = {}): Spending => ({
  callId: "call",
  tool: search,
  principal: ann,
  run: undefined,
  amounts: { usd: 40 },
  expiresAt: 1000,
  ...more
})

const day = 86_400_000

/** A budget and the client that it uses. */
const open = Effect.fnUntraced(function* (
  filename: string,
  limits?: ReadonlyArray<Limit>,
  options?: SqlBudget.Options
) {
  const client = yield* Layer.build(Layer.fresh(Sqlite.layer({ filename, synchronous: "NORMAL" })))
  const budget = yield* Layer.build(Layer.fresh(SqlBudget.layer(limits, options))).pipe(
    Effect.provide(client)
  )
  return { budget: Context.get(budget, Budget), sql: Context.get(client, SqlClient) }
})

const reserved = <E>(answer: Effect.Effect<Reservation | { readonly _tag: string }, E>) =>
  Effect.map(answer, (answer) => ("_tag" in answer ? assert.fail("refused") : answer))

const tables = ["books", "reservations", "spent", "credits"] as const

const dump = (sql: SqlClient) =>
  Effect.all(tables.map((table) => sql`SELECT * FROM ${sql(`interlock_budget_${table}`)} ORDER BY 1, 2, 3`))

const counts = (sql: SqlClient) =>
  Effect.all(
    tables.map((table) =>
      Effect.map(
        sql<{ n: number }>`SELECT COUNT(*) AS n FROM ${sql(`interlock_budget_${table}`)}`,
        ([row]) => row?.n
      )
    )
  )

describe("SqlBudget", () => {
  it.effect("survives a restart, with what was reserved before it", () =>
    Effect.gen(function* () {
      const filename = newFile()
      const limits: ReadonlyArray<Limit> = [{ name: "all", max: 100 }]
      const held = yield* Effect.scoped(
        Effect.gen(function* () {
          const { budget } = yield* open(filename, limits)
          yield* budget.settle(yield* reserved(budget.reserve(spending(), 0)), { usd: 30 }, 0)
          yield* budget.credit({ principal: ann }, { usd: 5 }, "why not")
          return yield* reserved(budget.reserve(spending(), 0))
        })
      )
      // A reservation is its id and its spending, so it can be settled by whoever knows them.
      const { budget } = yield* open(filename, limits)
      assert.isTrue("_tag" in (yield* budget.reserve(spending(), 0)))
      yield* budget.settle({ id: held.id, spending: spending() }, { usd: 50 }, 0)
      const [row] = yield* budget.standing
      assert.deepStrictEqual([row?.settled, row?.reserved, row?.overrun], [75, 0, 10])
      assert.deepStrictEqual(yield* budget.spent(), [{ key: {}, unit: "usd", amount: 75, attempts: 2 }])
      assert.deepStrictEqual(
        (yield* budget.credits).map(({ why }) => why),
        ["why not"]
      )
    }).pipe(Effect.scoped)
  )

  it.effect("writes nothing when it peeks, and nothing that is left when it refuses", () =>
    Effect.gen(function* () {
      const { budget, sql } = yield* open(newFile(), [
        { name: "all", max: 100, window: "day" },
        { name: "each", max: 1000, per: "call" }
      ])
      yield* reserved(budget.reserve(spending(), 0))
      const before = yield* dump(sql)
      for (const now of [0, 1001, 3 * day]) {
        yield* budget.peek(spending({ run: Run.make({ id: "r", budget: { usd: 1 } }) }), now)
        yield* budget.peek(spending({ amounts: { usd: 101 } }), now)
      }
      assert.isTrue("_tag" in (yield* budget.reserve(spending({ amounts: { usd: 61 }, callId: "new" }), 0)))
      assert.deepStrictEqual(yield* dump(sql), before)
    }).pipe(Effect.scoped)
  )

  it.effect("says that it is unavailable where the database does not answer, and reports why", () =>
    Effect.gen(function* () {
      const { budget, sql } = yield* open(newFile(), [{ max: 100 }])
      const held = yield* reserved(budget.reserve(spending(), 0))
      yield* sql`ALTER TABLE interlock_budget_reservations RENAME TO elsewhere`
      yield* sql`ALTER TABLE interlock_budget_spent RENAME TO elsewhere_too`
      const reported: Array<unknown> = []
      const reporting = ErrorReporter.layer([ErrorReporter.make(({ error }) => reported.push(error))])
      for (const asked of [
        budget.peek(spending(), 0),
        budget.reserve(spending(), 0),
        budget.settle(held, { usd: 1 }, 0),
        budget.refund(held, 0),
        budget.credit({ principal: ann }, { usd: 1 }, "why"),
        budget.spent(),
        budget.standing
      ] as ReadonlyArray<Effect.Effect<unknown, unknown>>) {
        const unavailable = yield* Effect.flip(asked).pipe(Effect.provide(reporting))
        assert.deepStrictEqual(unavailable, { _tag: "Unavailable", concern: "budget" })
      }
      assert.isAtLeast(reported.length, 7)
      yield* sql`ALTER TABLE elsewhere RENAME TO interlock_budget_reservations`
      yield* sql`ALTER TABLE elsewhere_too RENAME TO interlock_budget_spent`
      const [row] = yield* budget.standing
      assert.deepStrictEqual([row?.settled, row?.reserved], [0, 40])
    }).pipe(Effect.scoped)
  )

  it.effect("forgets what can count no more, a while after", () =>
    Effect.gen(function* () {
      const run = Run.make({ id: "r" })
      const { budget, sql } = yield* open(
        newFile(),
        [
          { name: "call", max: 1000, per: "call" },
          { name: "day", max: 1000, per: "tenant", window: "day" },
          { name: "run", max: 1000, per: "run" },
          { name: "ever", max: 1000, per: "principal" }
        ],
        { keepFor: "100 days" }
      )
      yield* budget.settle(yield* reserved(budget.reserve(spending({ run }), 0)), { usd: 30 }, 0)
      const dead = yield* reserved(budget.reserve(spending({ run }), 0))
      yield* budget.credit({ principal: ann }, { usd: 5 }, "why")
      const other = { principal: Principal.anonymous, amounts: { other: 1 } }
      const laterAt = Effect.fnUntraced(function* (now: number) {
        yield* budget.refund(yield* reserved(budget.reserve(spending(other), now)), now)
        return yield* counts(sql)
      })
      assert.deepStrictEqual(yield* laterAt(day), [4, 1, 2, 1])
      assert.deepStrictEqual(yield* laterAt(2 * day + 1), [2, 1, 2, 1])
      assert.deepStrictEqual(yield* laterAt(30 * day), [2, 1, 2, 1])
      assert.deepStrictEqual(yield* laterAt(31 * day), [2, 0, 2, 1])
      yield* budget.settle(dead, { usd: 30 }, 31 * day)
      assert.deepStrictEqual(yield* laterAt(92 * day), [1, 0, 2, 1])
      assert.deepStrictEqual(yield* laterAt(102 * day), [1, 0, 0, 0])
      yield* TestClock.setTime(102 * day)
      assert.deepStrictEqual(
        (yield* budget.standing).map((row) => [row.limit, row.settled]),
        [["ever", 25]]
      )
    }).pipe(Effect.scoped)
  )

  it.effect("gives back what has expired once, whoever notices", () =>
    Effect.gen(function* () {
      const filename = newFile()
      const limits: ReadonlyArray<Limit> = [{ name: "all", max: 10_000 }]
      const one = yield* open(filename, limits)
      const two = yield* open(filename, limits)
      for (let i = 0; i < 200; i++) yield* reserved(one.budget.reserve(spending(), 0))
      yield* TestClock.setTime(1001)
      yield* Effect.all([one.budget.standing, two.budget.standing], { concurrency: 2 })
      const [row] = yield* one.budget.standing
      assert.strictEqual(row?.reserved, 0)
    }).pipe(Effect.scoped)
  )

  it.live("holds nothing of an attempt that is interrupted while it reserves", () =>
    Effect.gen(function* () {
      const filename = newFile()
      const { budget } = yield* open(filename, [{ name: "all", max: 100 }])
      const other = yield* open(filename)
      const waiting = yield* other.sql.withTransaction(
        Effect.gen(function* () {
          yield* other.sql`DELETE FROM interlock_budget_credits`
          const fiber = yield* Effect.forkDetach(budget.reserve(spending(), 0), { startImmediately: true })
          yield* Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow)
          fiber.interruptUnsafe()
          return fiber
        })
      )
      yield* Fiber.await(waiting)
      assert.deepStrictEqual(yield* counts(other.sql), [0, 0, 0, 0])
    }).pipe(Effect.scoped)
  )

  it.live(
    "spends to the limit and not beyond it from four processes at once",
    () =>
      Effect.gen(function* () {
        const filename = newFile()
        const { budget } = yield* open(filename, sharedLimits)
        const script = Path.join(import.meta.dirname, "support", "budgetSpender.ts")
        const outputs = yield* Effect.forEach(
          ["a", "b", "c", "d"],
          (name) => Effect.promise(() => promisify(execFile)(process.execPath, [script, filename, name])),
          { concurrency: 4 }
        )
        const spent = outputs.map(({ stdout }) => JSON.parse(stdout))
        const settled = spent.reduce((sum, { settled }) => sum + settled, 0)
        const rows = yield* budget.standing
        const of = (limit: string) => rows.filter((row) => row.limit === limit)
        assert.strictEqual(of("all")[0]?.settled, settled)
        assert.strictEqual(of("tenant")[0]?.settled, settled)
        assert.strictEqual(
          of("each").reduce((sum, row) => sum + row.settled, 0),
          settled
        )
        for (const row of rows) {
          assert.strictEqual(row.reserved, 0)
          assert.strictEqual(row.overrun, 0)
          assert.isAtMost(row.settled, row.max)
        }
        // Each was refused while no more than the last few attempts of the others were open.
        assert.isAbove(settled, 900 - 5 * 7)
        const [sum] = yield* budget.spent()
        assert.strictEqual(sum?.amount, settled)
      }).pipe(Effect.scoped),
    60_000
  )

  it("throws for an option that makes no sense", () => {
    assert.throws(() => SqlBudget.layer([{ max: -1 }]), RangeError, /limits\[0\]: max/)
    assert.throws(() => SqlBudget.layer([], { keepFor: 0 }), RangeError, /keepFor/)
  })
})
