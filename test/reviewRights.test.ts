/** Answers of other calls are for those who may make the call when they get it. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { SecurityPolicy } from "effect-interlock"
import { held, nothingHeld, open, settled, started } from "./support/world.ts"

const Kit = Toolkit.make(Tool.make("read", { success: Schema.String }))

describe("a repetition that waits for the call in flight", () => {
  for (const deny of [[], ["read"]]) {
    it.effect(
      `${deny.length === 0 ? "gets" : "does not get"} its answer where the policy denies ${deny}`,
      () =>
        Effect.gen(function* () {
          const gate = yield* Deferred.make<string>()
          let runs = 0
          const handlers = Kit.toLayer({
            read: () =>
              Effect.suspend(() => {
                runs++
                return Deferred.await(gate)
              })
          })
          const { execute, services } = yield* open(Kit, handlers)
          const call = execute({ tool: "read", params: {}, idempotencyKey: "key" })
          const first = yield* started(call)
          const second = yield* started(call)
          yield* Context.get(services, SecurityPolicy.SecurityPolicy).set({ deny })
          yield* Deferred.succeed(gate, "content")
          yield* settled
          assert.strictEqual((yield* Fiber.join(first)).status, "success")
          const { status, value } = yield* Fiber.join(second)
          assert.deepStrictEqual(
            [status, value],
            deny.length === 0 ? ["success", "content"] : ["policy_denied", undefined]
          )
          assert.strictEqual(runs, 1)
          assert.deepStrictEqual(yield* held(services), nothingHeld)
        })
    )
  }
})
