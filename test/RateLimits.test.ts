import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as Principal from "../src/Principal.ts"
import { type Limit, type LimitedCall, layerMemory, RateLimits } from "../src/RateLimits.ts"
import { callOf, charge, limitsFor, peek, search, suite, take } from "./RateLimitsSuite.ts"

suite("memory", (limits) => layerMemory(limits))

const by = (id: string): LimitedCall => callOf({ principal: Principal.make({ id }) })

/** A clock that the test moves by hand, so that what falls into one tick is the test's choice. */
const makeHandClock = () => {
  let sleeps: Array<{ readonly due: number; readonly wake: () => void }> = []
  const state = { now: 0, started: 0 }
  const clock: Clock.Clock = {
    ...Context.get(Context.empty(), Clock.Clock),
    currentTimeMillisUnsafe: () => state.now,
    currentTimeMillis: Effect.sync(() => state.now),
    sleep: (duration) =>
      Effect.callback((resume) => {
        state.started++
        const sleep = { due: state.now + Duration.toMillis(duration), wake: () => resume(Effect.void) }
        sleeps.push(sleep)
        return Effect.sync(() => {
          sleeps = sleeps.filter((other) => other !== sleep)
        })
      })
  }
  const to = (now: number) => {
    state.now = now
    const due = sleeps.filter((sleep) => sleep.due <= now)
    sleeps = sleeps.filter((sleep) => sleep.due > now)
    for (const { wake } of due) wake()
  }
  return { clock, state, to }
}

const macrotask = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

describe("RateLimits in process", () => {
  it.effect("answers with an Exit whenever it need not wait", () =>
    Effect.gen(function* () {
      const limits = yield* limitsFor()
      assert.isTrue(Exit.isExit(limits.peek(callOf(), 0)))
      assert.isTrue(Exit.isExit(limits.take(callOf(), 0)))
      assert.isTrue(Exit.isExit(limits.charge(callOf(), 0)))
      const waits = limits.take(callOf(), 0)
      assert.isFalse(Exit.isExit(waits))
      // One that was never started is not in the line.
      assert.isUndefined(yield* limits.take(callOf(), 2000))
    }).pipe(Effect.provide(layerMemory([{ limit: 2, window: "1 second", onExceeded: "wait" }])))
  )

  it.effect("reports a key function that throws as a defect, and counts nothing", () =>
    Effect.gen(function* () {
      const limits = yield* limitsFor()
      assert.isTrue(Exit.isExit(limits.take(callOf({ params: "bad" }), 0)))
      for (const method of ["peek", "take", "charge"] as const) {
        const exit = yield* Effect.exit(limits[method](callOf({ params: "bad" }), 0))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause), method)
      }
      assert.isUndefined(yield* limits.take(callOf(), 0))
    }).pipe(
      Effect.provide(
        layerMemory([
          { limit: 1, window: "1 second" },
          {
            limit: 1,
            window: "1 second",
            by: ({ params }) => {
              if (params === "bad") throw new Error("bad key")
              return undefined
            }
          }
        ])
      )
    )
  )

  it.effect("forgets the least recently used key when there are too many", () =>
    Effect.gen(function* () {
      const limits = yield* limitsFor()
      for (const id of ["a", "b", "c"]) yield* take(limits, by(id))
      // Looking is using: whoever goes on asking is not let through for it.
      assert.isDefined(yield* peek(limits, by("a")))
      yield* take(limits, by("d"))
      assert.isDefined(yield* peek(limits, by("a")))
      assert.isUndefined(yield* peek(limits, by("b")))
      assert.isDefined(yield* peek(limits, by("c")))
      assert.isDefined(yield* peek(limits, by("d")))
    }).pipe(Effect.provide(layerMemory([{ limit: 1, window: "1 hour", by: "principal" }], { maxKeys: 3 })))
  )

  it.effect("forgets what has expired before anything that still counts", () =>
    Effect.gen(function* () {
      const limits = yield* limitsFor()
      const slow = callOf({ metadata: { slow: "s" } })
      const fast = (key: string) => callOf({ metadata: { fast: key } })
      yield* take(limits, slow)
      for (let i = 0; i < 9; i++) yield* take(limits, fast(`${i}`))
      yield* TestClock.adjust("2 seconds")
      // "slow" is the one used longest ago, but nine others have expired.
      for (let i = 0; i < 9; i++) yield* take(limits, fast(`new ${i}`))
      assert.isDefined(yield* peek(limits, slow))
      assert.isDefined(yield* peek(limits, fast("new 0")))
    }).pipe(
      Effect.provide(
        layerMemory(
          [
            { limit: 1, window: "1 hour", by: (call) => call.metadata?.["slow"] },
            { limit: 1, window: "1 second", by: (call) => call.metadata?.["fast"] }
          ],
          { maxKeys: 10 }
        )
      )
    )
  )

  it.effect("stays bounded under a flood of keys, and does not forget one at which someone waits", () =>
    Effect.gen(function* () {
      const limits = yield* limitsFor()
      const order: Array<string> = []
      const start = (name: string) =>
        take(limits, by("waited for")).pipe(
          Effect.andThen(Effect.sync(() => order.push(name))),
          Effect.forkChild({ startImmediately: true })
        )
      yield* start("first")
      yield* start("second")
      for (let i = 0; i < 20_000; i++) yield* charge(limits, by(`${i}`))
      const flooded = yield* Clock.currentTimeMillis
      assert.isFalse(Exit.isExit(limits.take(by("19950"), flooded)), "remembered")
      assert.isTrue(Exit.isExit(limits.take(by("19800"), flooded)), "forgotten, so let through")
      const started = yield* start("third")
      assert.deepStrictEqual(order, ["first"])
      yield* TestClock.adjust("2 hours")
      yield* Fiber.await(started)
      assert.deepStrictEqual(order, ["first", "second", "third"])
    }).pipe(
      Effect.provide(
        layerMemory(
          [{ limit: 1, window: "1 hour", by: "principal", algorithm: "token-bucket", onExceeded: "wait" }],
          { maxKeys: 100 }
        )
      )
    )
  )

  it.effect("wakes each of many waiters once, and sleeps once per window", () => {
    let looks = 0
    const limit: Limit = {
      limit: 100,
      window: "1 second",
      onExceeded: "wait",
      by: () => {
        looks++
        return "key"
      }
    }
    return Effect.gen(function* () {
      const limits = yield* limitsFor()
      const { clock, state, to } = makeHandClock()
      const done: Array<number> = []
      yield* Effect.forEach(
        Array.from({ length: 5000 }, (_, index) => index),
        (index) =>
          take(limits).pipe(
            Effect.andThen(Effect.sync(() => done.push(index))),
            Effect.provideService(Clock.Clock, clock),
            Effect.forkChild({ startImmediately: true })
          )
      )
      for (let second = 1; second <= 49; second++) {
        to(second * 1000)
        yield* macrotask
        assert.strictEqual(done.length, (second + 1) * 100)
      }
      assert.deepStrictEqual(
        done,
        done.map((_, index) => index)
      )
      assert.strictEqual(state.started, 49)
      // Two looks on arrival, one when its turn comes, one more per window for whoever is first.
      assert.isAtMost(looks, 3 * 5000 + 49)
    }).pipe(Effect.provide(layerMemory([limit])))
  })

  it.effect("gives back what a waiter was given that is interrupted in the same tick", () =>
    Effect.gen(function* () {
      const limits = yield* limitsFor()
      const { clock, to } = makeHandClock()
      const passed: Array<string> = []
      const start = (name: string) =>
        take(limits).pipe(
          Effect.andThen(Effect.sync(() => passed.push(name))),
          Effect.provideService(Clock.Clock, clock),
          Effect.forkChild({ startImmediately: true })
        )
      yield* start("a")
      const b = yield* start("b")
      yield* start("c")
      yield* start("d")
      to(1000)
      b.interruptUnsafe()
      // The place of "b" is ready at once: its sleeper is armed for no time at all.
      to(1000)
      yield* macrotask
      assert.deepStrictEqual(passed, ["a", "c"])
      to(2000)
      yield* macrotask
      assert.deepStrictEqual(passed, ["a", "c", "d"])
    }).pipe(Effect.provide(layerMemory([{ limit: 1, window: "1 second", onExceeded: "wait" }])))
  )

  it.effect("does not lock a key out for as long as a clock was set back", () =>
    Effect.gen(function* () {
      const limits = yield* limitsFor()
      const day = 86_400_000
      assert.isUndefined(yield* limits.take(callOf(), day))
      assert.isDefined(yield* limits.take(callOf(), day - 5))
      assert.isUndefined(yield* limits.take(callOf(), 0))
      assert.isDefined(yield* limits.take(callOf(), 0))
    }).pipe(
      Effect.provide(
        layerMemory([
          { limit: 1, window: "1 second" },
          { limit: 1, window: "1 second", algorithm: "token-bucket" }
        ])
      )
    )
  )

  it.effect("counts a time that was read earlier as the latest, so that order does not matter", () =>
    Effect.gen(function* () {
      const limits = yield* limitsFor()
      assert.isUndefined(yield* limits.take(callOf(), 1000))
      assert.isUndefined(yield* limits.take(callOf(), 600))
      assert.isDefined(yield* limits.take(callOf(), 1499))
      assert.isUndefined(yield* limits.take(callOf(), 1500))
    }).pipe(Effect.provide(layerMemory([{ limit: 2, window: "1 second", algorithm: "token-bucket" }])))
  )

  it.effect("rounds a window up to whole milliseconds", () =>
    Effect.gen(function* () {
      const limits = yield* limitsFor()
      yield* limits.take(callOf(), 0)
      assert.deepStrictEqual(yield* limits.take(callOf(), 0), {
        _tag: "RateLimited",
        limit: "1 per 2ms",
        retryAfter: Duration.millis(2)
      })
    }).pipe(Effect.provide(layerMemory([{ limit: 1, window: 1.5 }])))
  )

  it("dies of an invalid option when the layer is built, and names the limit and the field", () => {
    const ok: Limit = { limit: 1, window: "1 second" }
    const message = (limit: Limit) => {
      const exit = Effect.runSyncExit(
        Effect.scoped(Layer.build(layerMemory([ok, { ...limit, name: "mine" }])))
      )
      return Exit.isFailure(exit) ? `${Cause.squash(exit.cause)}` : "built"
    }
    for (const limit of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.match(message({ ...ok, limit }), /limits\[1\] \(mine\): limit must be/)
    }
    for (const window of [0, -5, Number.NaN, "Infinity", "soon" as "1 second"] as const) {
      assert.match(message({ ...ok, window }), /limits\[1\] \(mine\): window must be/)
    }
    assert.match(message({ ...ok, limit: 0.5, algorithm: "token-bucket" }), /limit must be/)
    assert.strictEqual(message({ ...ok, limit: 1.5, algorithm: "token-bucket" }), "built")
    for (const maxKeys of [0, Number.NaN]) {
      const exit = Effect.runSyncExit(Effect.scoped(Layer.build(layerMemory([], { maxKeys }))))
      assert.isTrue(Exit.isFailure(exit))
    }
  })

  it.effect("limits nothing without limits", () =>
    Effect.gen(function* () {
      assert.isUndefined((yield* RateLimits).forTool(search, "call"))
    }).pipe(Effect.provide(layerMemory()))
  )
})
