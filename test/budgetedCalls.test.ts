/** Money around calls: what is put aside, settled and given back, however a call ends. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import {
  ToolAnnotations as Annotate,
  Budget,
  CurrentCall,
  Handlers,
  type Interlock,
  Run,
  ToolExecutor,
  type ToolResult
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import { inTime, settled } from "./support/world.ts"

const Kit = Toolkit.make(
  Tool.make("spend", {
    parameters: Schema.Struct({
      says: Schema.optionalKey(Schema.Int),
      how: Schema.optionalKey(Schema.String)
    }),
    success: Schema.String
  })
    .annotate(Annotate.Cost, 100)
    .annotate(Tool.Idempotent, true)
    .annotate(Annotate.Timeout, "1 second")
    .annotate(Annotate.Retries, 1)
)

const handlers = Handlers.toLayer(Kit, {
  spend: ({ how, says }) =>
    Effect.gen(function* () {
      const call = yield* CurrentCall
      if (says !== undefined) call?.spend(says)
      if (how === "hangs") return yield* Effect.never
      if (how === "fails" || (how === "fails once" && call?.attempt === 1)) {
        return yield* Effect.die(new Error("503"))
      }
      if (how === "throws") return yield* Effect.fail(new Error("503")).pipe(Effect.orDie)
      return "done"
    })
})

const limits = [{ name: "all", max: 1000 }]

const open = (options: Interlock.Options = { budget: limits }) =>
  Effect.gen(function* () {
    const services = yield* Layer.build(Layer.merge(handlers, Testing.layer(options)))
    const executor = yield* Effect.provide(ToolExecutor.make(Kit), services)
    const budget = Context.get(services, Budget.Budget)
    const execute = (params: { readonly says?: number; readonly how?: string } = {}) =>
      executor.execute({ tool: "spend", params }) as Effect.Effect<ToolResult>
    const books = Effect.map(budget.standing, (all) =>
      all.map(({ overrun, reserved, settled }) => ({ settled, reserved, overrun }))
    )
    return { budget, books, execute }
  })

describe("a call that costs", () => {
  it.effect("is settled at its bound where its handler says nothing, and at what it says otherwise", () =>
    Effect.gen(function* () {
      const { books, execute } = yield* open()
      assert.deepStrictEqual((yield* execute()).cost, { usd: 100 })
      assert.deepStrictEqual(yield* books, [{ settled: 100, reserved: 0, overrun: 0 }])
      assert.deepStrictEqual((yield* execute({ says: 30 })).cost, { usd: 30 })
      assert.deepStrictEqual(yield* books, [{ settled: 130, reserved: 0, overrun: 0 }])
    })
  )

  it.effect("counts what was above its bound at once", () =>
    Effect.gen(function* () {
      const { books, execute } = yield* open()
      yield* execute({ says: 950 })
      assert.deepStrictEqual(yield* books, [{ settled: 950, reserved: 0, overrun: 850 }])
      const refused = yield* execute()
      assert.strictEqual(refused.status, "budget_exceeded")
      assert.strictEqual(refused.attempts, 0)
    })
  )

  it.effect("pays for every attempt, and for one that was timed out at the bound", () =>
    Effect.gen(function* () {
      const { books, execute } = yield* open()
      const twice = yield* inTime(execute({ how: "hangs", says: 10 }))
      assert.strictEqual(twice.status, "timeout")
      assert.strictEqual(twice.attempts, 2)
      assert.deepStrictEqual(twice.cost, { usd: 200 })
      assert.deepStrictEqual(yield* books, [{ settled: 200, reserved: 0, overrun: 0 }])
    })
  )

  it.effect("has its bound put aside while it runs, and settled when it is interrupted", () =>
    Effect.gen(function* () {
      const { books, execute } = yield* open()
      const fiber = yield* Effect.forkChild(execute({ how: "hangs" }))
      yield* settled
      assert.deepStrictEqual(yield* books, [{ settled: 0, reserved: 100, overrun: 0 }])
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* books, [{ settled: 100, reserved: 0, overrun: 0 }])
    })
  )

  it.effect("is never refused by a budget that another call may give back, once it did", () =>
    Effect.gen(function* () {
      const { execute } = yield* open({ budget: [{ name: "small", max: 150 }] })
      const fiber = yield* Effect.forkChild(execute({ how: "hangs" }))
      yield* settled
      assert.strictEqual((yield* execute()).status, "budget_exceeded")
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* execute()).error?.code, "BUDGET_EXCEEDED")
    })
  )

  it.effect("is held to the budget of its run, whatever else is configured", () =>
    Effect.gen(function* () {
      const { execute } = yield* open({})
      const run = Run.make({ id: "r", budget: { usd: 150 } })
      assert.strictEqual((yield* Run.provide(execute(), run)).status, "success")
      const refused = yield* Run.provide(execute(), run)
      assert.strictEqual(refused.error?.reason._tag, "BudgetExceeded")
      assert.strictEqual((yield* execute()).status, "success")
    })
  )

  it.effect("is settled also where the store did not answer at first", () =>
    Effect.gen(function* () {
      let failures = 3
      const flaky = Layer.effect(
        Budget.Budget,
        Effect.map(Budget.Budget, (budget) => ({
          ...budget,
          settle: (...args: Parameters<typeof budget.settle>) =>
            failures-- > 0
              ? Exit.fail({ _tag: "Unavailable", concern: "budget" } as const)
              : budget.settle(...args)
        }))
      ).pipe(Layer.provide(Budget.layerMemory(limits)))
      const { books, execute } = yield* open({ budget: flaky })
      assert.strictEqual((yield* inTime(execute())).status, "success")
      assert.deepStrictEqual(yield* books, [{ settled: 100, reserved: 0, overrun: 0 }])
    })
  )
})
