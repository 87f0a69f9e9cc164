import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { CircuitBreaker, Health, Interlock, SecurityPolicy, ToolExecutor } from "effect-interlock"
import * as Testing from "effect-interlock/testing"

const Kit = Toolkit.make(Tool.make("ping", { success: Schema.String }))
const dead = Testing.scripted(Kit, { ping: Testing.die("bug") })
const ping = Effect.flatMap(ToolExecutor.make(Kit), (executor) =>
  executor.execute({ tool: "ping", params: {} })
)

describe("the complete set", () => {
  it.effect("is read by health where the breaker is given as a layer", () =>
    Effect.gen(function* () {
      yield* ping
      const health = yield* Health.Health
      assert.strictEqual((yield* health.get("ping")).breaker.tag, "Open")
    }).pipe(
      Effect.provide(
        Layer.merge(
          dead.layer,
          Interlock.layer({ breaker: CircuitBreaker.layerMemory({ trip: CircuitBreaker.consecutive(1) }) })
        )
      )
    )
  )

  it.effect("lets a layer that is merged after it replace a concern", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* ping).status, "policy_denied")
    }).pipe(
      Effect.provide(Layer.mergeAll(dead.layer, Interlock.layer(), SecurityPolicy.layer({ deny: ["ping"] })))
    )
  )
})
