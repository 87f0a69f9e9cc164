/** Tools that come and go: one executor at a time, governance by name. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Schema, Stream } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { Handlers, Health, ToolRegistry, Toolset } from "effect-interlock"
import * as Testing from "effect-interlock/testing"

const toolsetOf = (answers: Readonly<Record<string, string>>) =>
  Toolset.dynamic(
    Object.entries(answers).map(([name, answer]) => ({
      tool: Tool.make(name, { success: Schema.String }),
      handler: () => answer
    }))
  )

const call = (tool: string) =>
  Effect.gen(function* () {
    const registry = yield* ToolRegistry.ToolRegistry
    const executor = yield* registry.executor
    const { status, value } = yield* executor.execute({ tool, params: {} })
    return value ?? status
  })

const registry = ToolRegistry.layer.pipe(Layer.provideMerge(Testing.layer()))

describe("ToolRegistry", () => {
  it.effect("runs what is registered now: put, replaced, removed", () =>
    Effect.gen(function* () {
      const { put, remove, sources } = yield* ToolRegistry.ToolRegistry
      assert.strictEqual(yield* call("a"), "not_found")
      yield* put("one", toolsetOf({ a: "1", b: "1" }))
      yield* put("two", toolsetOf({ c: "2" }))
      assert.deepStrictEqual(yield* Effect.forEach(["a", "b", "c"], call), ["1", "1", "2"])
      yield* put("one", toolsetOf({ a: "3" }))
      assert.deepStrictEqual(yield* Effect.forEach(["a", "b", "c"], call), ["3", "not_found", "2"])
      assert.deepStrictEqual(
        [...(yield* sources)],
        [
          ["one", ["a"]],
          ["two", ["c"]]
        ]
      )
      assert.isTrue(yield* remove("one"))
      assert.isFalse(yield* remove("one"))
      assert.deepStrictEqual(yield* Effect.forEach(["a", "c"], call), ["not_found", "2"])
    }).pipe(Effect.provide(registry))
  )

  it.effect("refuses a name that another source has, and keeps everything as it was", () =>
    Effect.gen(function* () {
      const { put } = yield* ToolRegistry.ToolRegistry
      yield* put("one", toolsetOf({ a: "1" }))
      const error = yield* Effect.flip(put("two", toolsetOf({ b: "2", a: "2" })))
      assert.include(error.message, 'two offers a tool "a", which one has already')
      assert.deepStrictEqual(yield* Effect.forEach(["a", "b"], call), ["1", "not_found"])
    }).pipe(Effect.provide(registry))
  )

  it.effect("releases what a toolset has acquired when it is replaced, fails, or the registry ends", () => {
    const log: Array<string> = []
    const acquiring = (name: string) => {
      const toolkit = Toolkit.make(Tool.make("a", { success: Schema.String }))
      return Toolset.make(
        toolkit,
        Handlers.toLayer(
          toolkit,
          Effect.as(
            Effect.acquireRelease(
              Effect.sync(() => log.push(`+${name}`)),
              () => Effect.sync(() => log.push(`-${name}`))
            ),
            { a: () => name }
          )
        )
      )
    }
    const failing = Toolset.make(Toolkit.empty, Layer.effectDiscard(Effect.fail("no")))
    return Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const { put } = yield* ToolRegistry.ToolRegistry
        yield* put("one", acquiring("first"))
        yield* put("one", acquiring("second"))
        assert.deepStrictEqual(log, ["+first", "+second", "-first"])
        const both = Toolset.make(
          acquiring("third").toolkit,
          Layer.merge(acquiring("third").layer, failing.layer)
        )
        assert.strictEqual(yield* Effect.flip(put("one", both)), "no")
        assert.deepStrictEqual(log.slice(3), ["+third", "-third"])
        assert.strictEqual(yield* call("a"), "second")
      }).pipe(Effect.provide(registry))
      assert.deepStrictEqual(log.slice(5), ["-second"])
    })
  })

  it.effect("keeps what governance holds of a name when its toolset is replaced", () =>
    Effect.gen(function* () {
      const { put } = yield* ToolRegistry.ToolRegistry
      yield* put("one", toolsetOf({ a: "1" }))
      yield* call("a")
      yield* put("one", toolsetOf({ a: "2" }))
      yield* call("a")
      const health = yield* Health.Health
      assert.strictEqual((yield* health.all).get("a")?.total, 2)
    }).pipe(Effect.provide(registry))
  )

  it.effect("tells of changes", () =>
    Effect.gen(function* () {
      const { changes, put, remove } = yield* ToolRegistry.ToolRegistry
      const seen = yield* Effect.forkChild(Stream.runCount(Stream.take(changes, 2)), {
        startImmediately: true
      })
      yield* put("one", toolsetOf({ a: "1" }))
      yield* Effect.yieldNow
      yield* Effect.yieldNow
      yield* remove("one")
      assert.strictEqual(yield* Fiber.join(seen), 2)
    }).pipe(Effect.provide(registry))
  )
})
