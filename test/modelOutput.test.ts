import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Handlers, Interlock, ToolExecutor } from "effect-interlock"

const Kit = Toolkit.make(
  Tool.make("page", {
    parameters: Schema.Struct({ size: Schema.Int }),
    success: Schema.Struct({ text: Schema.String })
  })
)
const handlers = Handlers.toLayer(Kit, { page: ({ size }) => ({ text: "x".repeat(size) }) })

const resultOf = (size: number) =>
  Effect.gen(function* () {
    const executor = yield* ToolExecutor.make(Kit)
    const governed = yield* executor.toolkit
    const last = yield* Stream.runLast(Stream.unwrap(governed.handle("page", { size })))
    return Option.getOrThrow(last)
  }).pipe(Effect.provide(Layer.merge(handlers, Interlock.layer({ defaults: { resultBytes: 1000 } }))))

describe("a result for a model", () => {
  it.effect("is shown up to the cap, and stays whole for the program", () =>
    Effect.gen(function* () {
      const large = yield* resultOf(5000)
      assert.isFalse(large.isFailure)
      assert.deepStrictEqual(large.encodedResult, { text: "x".repeat(5000) })
      const [part] = large.modelOutput ?? []
      assert.strictEqual(part?.type, "text")
      const text = part?.type === "text" ? part.text : ""
      assert.match(text, /^\{"text":"x+ \[truncated\]$/)
      assert.isBelow(text.length, 1100)
    })
  )

  it.effect("is as its schema says where it is small", () =>
    Effect.gen(function* () {
      const small = yield* resultOf(5)
      assert.isUndefined(small.modelOutput)
      assert.deepStrictEqual(small.encodedResult, { text: "xxxxx" })
    })
  )
})
