/** A call that is refused before anyone looked at its arguments buys no work with their size. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { open } from "./support/world.ts"

const Kit = Toolkit.make(Tool.make("note", { parameters: Schema.Struct({ text: Schema.String }) }))
const handlers = Kit.toLayer({ note: () => Effect.void })

describe("the arguments of a call that is refused unseen", () => {
  for (const [why, options] of [
    ["denied", { policy: { deny: ["note"] } }],
    ["over its quota", { rateLimits: [{ limit: 1, window: "1 hour" }] }]
  ] as const) {
    it.effect(`are on record where they are small, and only their size where they are not: ${why}`, () =>
      Effect.gen(function* () {
        const { execute, records } = yield* open(Kit, handlers, options)
        // Takes the quota, where there is one.
        yield* execute({ tool: "note", params: { text: "first" } })
        yield* execute({ tool: "note", params: { text: "short" } })
        yield* execute({ tool: "note", params: { text: "a".repeat(100_000) } })
        const disguised = Object.defineProperty({ text: "one" }, "toJSON", {
          value: () => ({ text: "another" })
        })
        yield* execute({ tool: "note", params: disguised })
        const [, small, large, odd] = records.map((record) => record.arguments)
        assert.deepStrictEqual(small?.view.value, { text: "short" })
        assert.deepStrictEqual([large?.hash, large?.shape], [undefined, "bytes"])
        assert.deepStrictEqual(odd?.view.value, { text: "one" })
      })
    )
  }
})
