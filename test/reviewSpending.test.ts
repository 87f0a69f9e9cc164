/** Whatever a handler says that it has spent is counted. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { ToolAnnotations as Annotate, Budget, CurrentCall } from "effect-interlock"
import { open } from "./support/world.ts"

describe("spending", () => {
  it.effect(
    "beyond what can be added exactly is counted as the most there is, and leaves nothing reserved",
    () =>
      Effect.gen(function* () {
        const Kit = Toolkit.make(Tool.make("buy").annotate(Annotate.Cost, 1).annotate(Annotate.Retries, 0))
        const handlers = Kit.toLayer({
          buy: () =>
            Effect.gen(function* () {
              const call = yield* CurrentCall
              call?.spend(Number.MAX_SAFE_INTEGER)
              call?.spend(Number.MAX_SAFE_INTEGER)
            })
        })
        const { execute, services } = yield* open(Kit, handlers, { budget: [{ max: 100 }] })
        assert.strictEqual((yield* execute({ tool: "buy", params: {} })).status, "success")
        const [standing] = yield* Context.get(services, Budget.Budget).standing
        assert.deepInclude(standing, { settled: Number.MAX_SAFE_INTEGER, reserved: 0 })
        assert.strictEqual((yield* execute({ tool: "buy", params: {} })).status, "budget_exceeded")
      })
  )
})
