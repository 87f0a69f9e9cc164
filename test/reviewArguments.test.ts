/** What a human saw is what runs, whatever kind of object the arguments came in. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Approvals, Principal } from "effect-interlock"
import { open } from "./support/world.ts"

const ada = Principal.make({ id: "ada" })

/** A tool that says what it was run with; `onAsked` runs between the decoding and the human's answer. */
const world = (onAsked: () => void = () => {}) =>
  Effect.gen(function* () {
    const ran: Array<unknown> = []
    const Kit = Toolkit.make(
      Tool.make("pay", {
        parameters: Schema.Struct({ to: Schema.String, note: Schema.optionalKey(Schema.Unknown) }),
        needsApproval: () =>
          Effect.sync(() => {
            onAsked()
            return true
          })
      })
    )
    const handlers = Kit.toLayer({
      pay: (params) => Effect.sync(() => void ran.push(structuredClone(params)))
    })
    const { execute, services } = yield* open(Kit, handlers)
    const approvals = Context.get(services, Approvals.Approvals)
    return {
      ran,
      pay: (params: unknown) => Principal.provide(execute({ id: "call", tool: "pay", params }), ada),
      /** Grants what was asked, and gives the arguments that were shown. */
      grant: Effect.gen(function* () {
        const [request] = yield* approvals.list({ state: "pending" })
        if (request === undefined) return undefined
        yield* Principal.provide(approvals.grant(request.id), ada)
        return request.view.value
      })
    }
  })

const disguises: Readonly<Record<string, () => unknown>> = {
  "an object that is another one as JSON": () =>
    Object.defineProperty({ to: "mallory" }, "toJSON", { value: () => ({ to: "bob" }) }),
  "an object with hidden properties": () =>
    Object.defineProperty({ note: 1 }, "to", { value: "mallory", enumerable: false }),
  "a value deep inside that is another one as JSON": () => ({
    to: "bob",
    note: { account: Object.defineProperty(["mallory"], "toJSON", { value: () => ["bob"] }) }
  }),
  "a negative zero": () => ({ to: "bob", note: -0 })
}

describe("arguments", () => {
  for (const [name, make] of Object.entries(disguises)) {
    it.effect(`run as they were shown: ${name}`, () =>
      Effect.gen(function* () {
        const { grant, pay, ran } = yield* world()
        yield* pay(make())
        const shown = yield* grant
        yield* pay(make())
        assert.deepStrictEqual(ran, shown === undefined ? [] : [shown])
      })
    )
  }

  it.effect("that are changed while a call is decided are not those that a grant is for", () =>
    Effect.gen(function* () {
      const params = { to: "bob" }
      let change = false
      const { grant, pay, ran } = yield* world(() => {
        if (change) params.to = "bob"
      })
      yield* pay(params)
      yield* grant
      change = true
      params.to = "mallory"
      const ended = yield* pay(params)
      assert.strictEqual(ended.status, "pending_confirmation")
      assert.deepStrictEqual(ran, [])
    })
  )

  it.effect("that are changed after they were decided run as they were", () =>
    Effect.gen(function* () {
      const note = { account: "bob" }
      let change = false
      const { grant, pay, ran } = yield* world(() => {
        if (change) note.account = "mallory"
      })
      yield* pay({ to: "x", note })
      yield* grant
      change = true
      assert.strictEqual((yield* pay({ to: "x", note })).status, "success")
      assert.deepStrictEqual(ran, [{ to: "x", note: { account: "bob" } }])
    })
  )
})
