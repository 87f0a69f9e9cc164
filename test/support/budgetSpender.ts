/** A process that spends until it is refused 20 times: `node budgetSpender.ts <file> <name>`; prints what it has spent. */
import * as Tool from "effect/ai/Tool"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Budget } from "../../src/Budget.ts"
import * as Principal from "../../src/Principal.ts"
import * as SqlBudget from "../../src/sql/SqlBudget.ts"
import * as Sqlite from "../../src/sql/Sqlite.ts"
import * as ToolAnnotations from "../../src/ToolAnnotations.ts"
import { sharedLimits } from "./budgetShared.ts"

const [filename = "", name = ""] = process.argv.slice(2)

const program = Effect.gen(function* () {
  const budget = yield* Budget
  const tool = ToolAnnotations.read(Tool.make("search"))
  const spent = { granted: 0, settled: 0, refused: 0, alerts: 0 }
  for (let i = 0; spent.refused < 20; i++) {
    const now = yield* Clock.currentTimeMillis
    const principal = Principal.make({ id: `${name}${i % 3}`, tenant: "shared" })
    const amounts = { usd: 7 }
    const answer = yield* budget.reserve(
      { callId: `${i}`, tool, principal, run: undefined, amounts, expiresAt: now + 60_000 },
      now
    )
    if ("_tag" in answer) {
      spent.refused += 1
      continue
    }
    spent.granted += 1
    if (i % 5 === 0) yield* budget.refund(answer, now)
    else {
      const actual = 1 + (i % 7)
      spent.settled += actual
      yield* budget.settle(answer, { usd: actual }, now)
    }
  }
  return spent
})

const layer = SqlBudget.layer(sharedLimits).pipe(
  Layer.provide(Sqlite.layer({ filename, synchronous: "NORMAL", busyTimeout: "30 seconds" }))
)
console.log(JSON.stringify(await Effect.runPromise(Effect.provide(program, layer))))
