/** A conversation's human decides about decoded arguments; the model's are decoded again when the call runs. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Approvals, Principal } from "effect-interlock"
import { open } from "./support/world.ts"

const ada = Principal.make({ id: "ada" })

const parameters = Schema.Struct({
  to: Schema.String,
  amount: Schema.NumberFromString,
  limit: Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed("10")))
})
const Kit = Toolkit.make(Tool.make("pay", { parameters, success: Schema.String, needsApproval: true }))

const world = Effect.gen(function* () {
  const ran: Array<unknown> = []
  const handlers = Kit.toLayer({
    pay: (params) =>
      Effect.sync(() => {
        ran.push(params)
        return "paid"
      })
  })
  const { executor, services } = yield* open(Kit, handlers)
  const approvals = Context.get(services, Approvals.Approvals)
  const kit = yield* Principal.provide(executor.toolkit, ada)
  return {
    ran,
    approvals,
    asks: (decoded: typeof parameters.Type) => {
      const { needsApproval } = kit.tools.pay
      assert(typeof needsApproval === "function")
      const asked = needsApproval(decoded, { toolCallId: "call", messages: [] })
      return Principal.provide(Effect.isEffect(asked) ? asked : Effect.succeed(asked), ada)
    },
    grant: Effect.flatMap(approvals.list({ state: "pending" }), ([request]) =>
      Principal.provide(approvals.grant(request?.id ?? ""), ada)
    ),
    handle: (params: unknown) =>
      Stream.unwrap(kit.handle("pay", params as never, "call")).pipe(
        Stream.runLast,
        Effect.map((last) => (last._tag === "Some" ? last.value.isFailure : undefined)),
        Principal.provide(ada)
      )
  }
})

describe("a question in a conversation", () => {
  it.effect("is about the model's call also where its arguments encode otherwise", () =>
    Effect.gen(function* () {
      const { approvals, asks, grant, handle, ran } = yield* world
      assert.isTrue(yield* asks({ to: "bob", amount: 5, limit: "10" }))
      // Undecided, the call that is made all the same puts no second question.
      assert.isTrue(yield* handle({ to: "bob", amount: "5.0" }))
      assert.lengthOf(yield* approvals.list(), 1)
      yield* grant
      assert.isTrue(yield* handle({ to: "bob", amount: "6" }))
      assert.isFalse(yield* handle({ to: "bob", amount: "5.0" }))
      assert.deepStrictEqual(ran, [{ to: "bob", amount: 5, limit: "10" }])
      assert.isTrue(yield* handle({ to: "bob", amount: "5.0" }))
      assert.lengthOf(ran, 1)
    })
  )
})
