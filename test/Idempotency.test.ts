import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Idempotency from "../src/Idempotency.ts"
import { Signal } from "../src/internal/idempotencySignal.ts"
import { built, claimRun, done, keyOf, suite } from "./IdempotencySuite.ts"

const memory = (options?: Idempotency.MemoryOptions) => built(Idempotency.layerMemory(options))

suite("memory", memory, { machine: 1_000, exclusion: 400 })

const again = { callId: "again", argumentsHash: "h", expiresAt: 1e9 }
const small: Idempotency.Outcome = { _tag: "Value", encoded: "x" }

describe("Idempotency in memory", () => {
  it.effect("answers with an exit, having done what it was asked", () =>
    Effect.gen(function* () {
      const service = yield* memory()
      const claim = service.claim(keyOf("k"), again, 0)
      assert.isTrue(Exit.isExit(claim))
      const claimed = yield* claim
      if (claimed._tag !== "Run") return assert.fail(claimed._tag)
      const { lease } = claimed
      assert.isTrue(Exit.isExit(service.peek(keyOf("k"), "h", 0)))
      assert.isTrue(Exit.isExit(service.begin(lease, 0)))
      assert.isTrue(Exit.isExit(service.complete(lease, small, 0)))
      assert.isTrue(Exit.isExit(service.release(lease, 0)))
      assert.isTrue(Exit.isExit(service.abandon(lease, 0)))
      assert.isTrue(Exit.isExit(service.claim(keyOf("k"), again, 0)))
    })
  )

  it.effect("forgets the oldest outcome for a new key, and what is over before that", () =>
    Effect.gen(function* () {
      const service = yield* memory({ maxKeys: 3, keepFor: 1_000 })
      const complete = Effect.fnUntraced(function* (key: string, now: number) {
        const lease = yield* claimRun(service, keyOf(key), now, { expiresAt: now + 10 })
        yield* service.complete(lease, small, now)
      })
      const stand = (now: number) =>
        Effect.forEach(["a", "b", "c", "d", "e"], (key) => service.peek(keyOf(key), "h", now))
      yield* complete("b", 0)
      yield* complete("a", 1)
      yield* claimRun(service, keyOf("c"), 2, { expiresAt: 12 })
      yield* complete("d", 3)
      assert.deepStrictEqual(yield* stand(4), ["Done", "Run", "InFlight", "Done", "Run"])
      // The lease of c has ended, so its room is taken before an outcome's.
      yield* complete("e", 13)
      assert.deepStrictEqual(yield* stand(13), ["Done", "Run", "Run", "Done", "Done"])
    })
  )

  it.effect("keeps what runs and what is abandoned, and refuses new keys where there is nothing else", () =>
    Effect.gen(function* () {
      const service = yield* memory({ maxKeys: 2, keepFor: 1_000 })
      const dead = yield* claimRun(service, keyOf("dead"), 0, { expiresAt: 10 })
      yield* service.begin(dead, 0)
      const alive = yield* claimRun(service, keyOf("alive"), 0, { expiresAt: 10_000 })
      const refused = { _tag: "Unavailable", concern: "idempotency" }
      assert.deepStrictEqual(yield* Effect.flip(service.claim(keyOf("new"), again, 100)), refused)
      assert.strictEqual(yield* service.peek(keyOf("dead"), "h", 100), "Abandoned")
      assert.strictEqual(yield* service.peek(keyOf("alive"), "h", 100), "InFlight")
      yield* claimRun(service, keyOf("dead"), 100, { expiresAt: 200, takeOver: true })
      // Forgotten at last.
      yield* claimRun(service, keyOf("new"), 1_200, { expiresAt: 20_000 })
      assert.deepStrictEqual(yield* Effect.flip(service.claim(keyOf("newer"), again, 1_201)), refused)
      yield* service.complete(alive, small, 1_202)
      yield* claimRun(service, keyOf("newer"), 1_203, { expiresAt: 20_000 })
    })
  )

  it.effect("drops the oldest outcomes where all together are too large, and keeps their keys", () =>
    Effect.gen(function* () {
      const service = yield* memory({ maxTotalBytes: 250 })
      for (const key of ["a", "b", "c"]) {
        const lease = yield* claimRun(service, keyOf(key), 0)
        yield* service.complete(lease, { _tag: "Value", encoded: "x".repeat(80) }, 0)
      }
      const first = yield* service.claim(keyOf("a"), again, 1)
      assert.deepStrictEqual(first, {
        _tag: "Done",
        callId: "first",
        outcome: { _tag: "Reason", reason: { _tag: "OutcomeUnknown", callId: "first" } }
      })
      for (const key of ["b", "c"]) {
        assert.deepStrictEqual(yield* service.claim(keyOf(key), again, 1), done("first", "x".repeat(80)))
      }
    })
  )

  it.effect("does not run a waiter's code inside the call that wakes it", () =>
    Effect.gen(function* () {
      const service = yield* memory()
      const lease = yield* claimRun(service, keyOf("k"), 0)
      const claim = yield* service.claim(keyOf("k"), again, 0)
      if (claim._tag !== "InFlight") return assert.fail(claim._tag)
      let woken = false
      const waiter = yield* Effect.forkChild(
        Effect.andThen(
          claim.wait,
          Effect.sync(() => {
            woken = true
          })
        ),
        { startImmediately: true }
      )
      service.release(lease, 0)
      assert.isFalse(woken)
      yield* Fiber.join(waiter)
      assert.isTrue(woken)
    })
  )

  it.effect("leaves no trace of a waiter that was interrupted", () =>
    Effect.gen(function* () {
      const signal = new Signal()
      const waiters = yield* Effect.forEach([1, 2, 3], () =>
        Effect.forkChild(signal.wait, { startImmediately: true })
      )
      assert.strictEqual(signal.waiters, 3)
      yield* Fiber.interrupt(waiters[0]!)
      assert.strictEqual(signal.waiters, 2)
      signal.come()
      // Woken and interrupted in one step.
      yield* Fiber.interrupt(waiters[1]!)
      yield* Fiber.join(waiters[2]!)
      yield* signal.wait
      assert.strictEqual(signal.waiters, 0)
    })
  )

  it("refuses options that make no sense, and names them", () => {
    for (const keepFor of [0, -1, Number.POSITIVE_INFINITY]) {
      assert.throws(() => Idempotency.layerMemory({ keepFor }), RangeError, "keepFor")
    }
    for (const option of ["maxKeys", "maxBytes", "maxTotalBytes"] as const) {
      for (const bad of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
        assert.throws(() => Idempotency.layerMemory({ [option]: bad }), RangeError, option)
      }
    }
  })
})
