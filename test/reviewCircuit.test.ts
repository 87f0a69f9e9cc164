/** What opens a circuit is what the tool does, not what nobody could work out before it. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { ToolAnnotations as Annotate } from "effect-interlock"
import { held, nothingHeld, open } from "./support/world.ts"

const Kit = Toolkit.make(
  Tool.make("buy", { parameters: Schema.Struct({ price: Schema.Number }) })
    .annotate(Annotate.Cost, (params: unknown) => (params as { readonly price: number }).price)
    .annotate(Annotate.Retries, 0)
)
const handlers = Kit.toLayer({ buy: () => Effect.void })

describe("a circuit", () => {
  it.effect("is not opened by calls whose cost is nonsense", () =>
    Effect.gen(function* () {
      const { execute, services } = yield* open(Kit, handlers, { budget: [{ max: 100 }] })
      const buy = (price: number) => execute({ tool: "buy", params: { price } })
      for (const price of [-1, 0.5, -2, 1.5, -3, 2.5])
        assert.strictEqual((yield* buy(price)).status, "failure")
      assert.strictEqual((yield* buy(5)).status, "success")
      assert.deepStrictEqual(yield* held(services), nothingHeld)
    })
  )
})
