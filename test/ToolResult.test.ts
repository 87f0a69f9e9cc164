import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Handlers, ToolExecutor, ToolResult } from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import * as fc from "fast-check"
import { isUsable } from "../src/ToolResult.ts"

const codec = Schema.toCodecJson(ToolResult)
const encode = Schema.encodeSync(codec)
const decode = Schema.decodeUnknownSync(codec)

const Tools = Toolkit.make(Tool.make("answer", { success: Schema.Unknown }))

/** What `execute` says when the tool answers with this value. */
const answered = (value: unknown, resultBytes?: number) =>
  Effect.gen(function* () {
    const executor = yield* ToolExecutor.make(Tools)
    return yield* executor.execute({ tool: "answer" })
  }).pipe(
    Effect.provide(
      Handlers.toLayer(Tools, { answer: () => Effect.succeed(value) }).pipe(
        Layer.provideMerge(Testing.layer(resultBytes === undefined ? {} : { defaults: { resultBytes } }))
      )
    )
  )

describe("ToolResult", () => {
  it.prop("survives JSON, whatever the status and the reason", [ToolResult], ([result]) => {
    const json = encode(result)
    const back = decode(JSON.parse(JSON.stringify(json)))
    assert.strictEqual(JSON.stringify(encode(back)), JSON.stringify(json))
    assert.strictEqual(JSON.stringify(back.value), JSON.stringify(result.value))
    assert.strictEqual(back.error?.message, result.error?.message)
  })

  it("is usable with a value, and only then", () => {
    const usable = ToolResult.fields.status.literals.filter((status) =>
      isUsable({ callId: "1", tool: "a", status, attempts: 1, queuedAt: 0, completedAt: 0, latency: 0 })
    )
    assert.deepStrictEqual(usable, ["success", "degraded"])
  })
})

describe("the cap of a result", () => {
  it.effect("leaves a value of exactly the size alone, and cuts one byte more", () =>
    Effect.gen(function* () {
      const value = { text: "é😀\n" }
      const size = new TextEncoder().encode(JSON.stringify(value)).length
      const whole = yield* answered(value, size)
      assert.deepStrictEqual([whole.value, whole.truncated], [value, undefined])
      const cut = yield* answered(value, size - 1)
      assert.deepStrictEqual([cut.status, cut.truncated], ["success", true])
      assert.strictEqual(cut.value, JSON.stringify(value).slice(0, -1))
    })
  )

  it.effect("keeps the beginning of the text, within the bytes and without half a character", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.jsonValue({ maxDepth: 3 }),
          fc.integer({ min: 1, max: 40 }),
          async (value, bytes) => {
            const result = await Effect.runPromise(answered(value, bytes))
            const text = JSON.stringify(value)
            if (new TextEncoder().encode(text).length <= bytes) {
              assert.strictEqual(JSON.stringify(result.value), text)
              assert.isUndefined(result.truncated)
              return
            }
            const kept = result.value as string
            assert.isTrue(result.truncated)
            assert.isTrue(text.startsWith(kept))
            assert.isTrue(kept.isWellFormed())
            const size = new TextEncoder().encode(kept).length
            assert.isAtMost(size, bytes)
            // A character has at most four bytes.
            assert.isAbove(size, bytes - 4)
          }
        ),
        { numRuns: 200 }
      )
    )
  )

  it.effect("holds for a value with a key that JSON allows and JavaScript treats specially", () =>
    Effect.gen(function* () {
      const value = JSON.parse(`{"__proto__":"${"x".repeat(1000)}"}`)
      const cut = yield* answered(value, 100)
      assert.isTrue(cut.truncated)
      assert.strictEqual((cut.value as string).length, 100)
      const whole = yield* answered(value, 2000)
      assert.strictEqual(JSON.stringify(whole.value), JSON.stringify(value))
    })
  )

  it.effect("holds for a value too deep to be written as JSON", () =>
    Effect.gen(function* () {
      let value: unknown = "deepest"
      for (let level = 0; level < 100_000; level++) value = level % 2 === 0 ? [value] : { a: value }
      for (const bytes of [50, 1_000_000]) {
        const result = yield* answered(value, bytes)
        assert.strictEqual(result.status, "success")
        assert.isTrue(result.truncated)
        assert.isTrue((result.value as string).startsWith(`{"a":[{"a":[`))
        assert.isAtMost((result.value as string).length, Math.min(bytes, 10_000))
        assert.doesNotThrow(() => JSON.stringify(encode(result)))
      }
    })
  )

  it.effect("holds for a tool's own failure", () => {
    const Failing = Toolkit.make(Tool.make("fail", { failure: Schema.Unknown }))
    let deep: unknown = 1
    for (let level = 0; level < 100_000; level++) deep = [deep]
    return Effect.gen(function* () {
      const executor = yield* ToolExecutor.make(Failing)
      for (const id of ["long", "deep"]) {
        const result = yield* executor.execute({ tool: "fail", id })
        assert.deepStrictEqual([result.status, result.truncated], ["failure", true])
        const reason = result.error?.reason
        assert.strictEqual(reason?._tag === "ToolFailed" && (reason.failure as string).length, 100)
        assert.doesNotThrow(() => JSON.stringify(encode(result)))
      }
    }).pipe(
      Effect.provide(
        Handlers.toLayer(Failing, {
          fail: (_, { toolCallId }) => Effect.fail(toolCallId === "deep" ? deep : "x".repeat(1000))
        }).pipe(Layer.provideMerge(Testing.layer({ defaults: { resultBytes: 100 } })))
      )
    )
  })

  it.effect("leaves out a value that is nothing", () =>
    Effect.gen(function* () {
      const result = yield* answered(undefined)
      assert.strictEqual(result.status, "success")
      assert.isFalse("value" in result)
    })
  )
})
