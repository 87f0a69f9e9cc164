/** What a human is told of copied values is what is known of them. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { ToolAnnotations as Annotate, Approvals, Principal, Run, Taint } from "effect-interlock"
import { open } from "./support/world.ts"

const Kit = Toolkit.make(
  Tool.make("send", { parameters: Schema.Struct({ text: Schema.String }) }).annotate(Annotate.SendsData, true)
)
const handlers = Kit.toLayer({ send: () => Effect.void })

describe("a question about a call of a tainted run", () => {
  it.effect("says of a value that may have been copied that nobody knows", () =>
    Effect.gen(function* () {
      const { execute, services } = yield* open(Kit, handlers)
      const run = Run.make({ id: "run", driver: "model" })
      // What was read is not known, so neither is what was copied from it.
      Context.get(services, Taint.Taint).mark(run, { tool: "prompt", callId: "upload", at: 0 })
      const call = execute({ tool: "send", params: { text: "a value of some length" } })
      yield* Run.provide(Principal.provide(call, Principal.make({ id: "ada" })), run)
      const [request] = yield* Context.get(services, Approvals.Approvals).list()
      assert.deepStrictEqual(request?.copied, [
        { path: "text", tool: "prompt", callId: "upload", possibly: true }
      ])
    })
  )
})
