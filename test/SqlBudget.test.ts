import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Budget, type Limit } from "../src/Budget.ts"
import * as SqlBudget from "../src/sql/SqlBudget.ts"
import * as Sqlite from "../src/sql/Sqlite.ts"
import { suite } from "./BudgetSuite.ts"

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
