/** Testing what is governed: one concern swapped, the rest as it is, and tools that follow a script in virtual time. */
import assert from "node:assert/strict"
import { Console, Effect, Fiber, Layer, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { TestClock } from "effect/testing"
import { Health, type Interlock, ToolExecutor } from "effect-interlock"
import * as Testing from "effect-interlock/testing"

const page = Schema.Struct({ page: Schema.String })
const tools = Toolkit.make(
  Tool.make("read_page", { parameters: page, success: Schema.String }).annotate(Tool.Readonly, true),
  Tool.make("delete_page", { parameters: page, success: Schema.String })
)

// The code under test: it knows nothing of the test.
const move = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(tools)
  yield* executor.run("read_page", { page: "a" })
  yield* executor.run("delete_page", { page: "a" })
})

/** Runs `move` to its end, a minute at most, and says with which code it failed. */
const outcome = (governance: Layer.Layer<Interlock.Services>, reading: Testing.Script) => {
  const scripted = Testing.scripted(tools, { read_page: reading, delete_page: Testing.succeed("gone") })
  return Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(
      Effect.match(move, { onSuccess: () => "moved", onFailure: (error) => error.code })
    )
    yield* TestClock.adjust("1 minute")
    const result = yield* Fiber.join(fiber)
    scripted.assertAllEnded()
    return {
      result,
      reads: scripted.runs("read_page").length,
      deletes: scripted.runs("delete_page").length,
      health: yield* Effect.flatMap(Health.Health, (health) => health.get("read_page"))
    }
  }).pipe(Effect.provide([governance, scripted.layer, TestClock.layer()]))
}

const down = Testing.fail(new Error("connection reset"))
const up = Testing.succeed("text")

const tests = {
  "reads, then deletes": Effect.gen(function* () {
    const { deletes, reads, result } = yield* outcome(Testing.layer(), up)
    assert.deepEqual({ result, reads, deletes }, { result: "moved", reads: 1, deletes: 1 })
  }),
  "tries again while reading fails": Effect.gen(function* () {
    const { health, reads, result } = yield* outcome(Testing.layer(), [down, down, up])
    assert.deepEqual({ result, reads }, { result: "moved", reads: 3 })
    assert.equal(health.mean, 300, "100 and 200 ms between the attempts, without jitter")
  }),
  "deletes nothing when reading hangs": Effect.gen(function* () {
    const hurried = Testing.layer({ defaults: { deadline: "5 seconds" } })
    const { deletes, result } = yield* outcome(hurried, Testing.hang)
    assert.deepEqual({ result, deletes }, { result: "TIMED_OUT", deletes: 0 })
  }),
  "stops where a human must confirm": Effect.gen(function* () {
    // A layer merged later replaces that concern, and only that.
    const asksAlways = Layer.merge(Testing.layer(), Testing.layerConfirmAll)
    const { reads, result } = yield* outcome(asksAlways, up)
    assert.deepEqual({ result, reads }, { result: "PENDING_CONFIRMATION", reads: 0 })
  })
}

for (const [name, test] of Object.entries(tests)) {
  await test.pipe(Effect.andThen(Console.log(`✓ ${name}`)), Effect.runPromise)
}
