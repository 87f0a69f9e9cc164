import { assert, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as fc from "fast-check"
import * as Retry from "../src/Retry.ts"
import { ErrorClass, type Reason, table } from "../src/ToolError.ts"

const reason: Reason = { _tag: "HandlerFailed", class: "Retryable" }

/** The first `count` delays; `undefined` where the schedule has ended. */
const delays = Effect.fnUntraced(function* (
  schedule: Schedule.Schedule<unknown, Reason>,
  count: number,
  input: Reason = reason
) {
  const next = yield* Retry.driver({ retries: 0, schedule })
  const result: Array<number | undefined> = []
  for (let index = 0; index < count; index++) result.push(yield* next(index * 1000, input))
  return result
})

const numbers = (
  options: Parameters<typeof Retry.exponential>[0],
  count: number,
  chance: () => number
): ReadonlyArray<number> =>
  Effect.runSync(
    delays(Retry.exponential(options), count).pipe(
      Effect.provideService(Random.Random, { nextDoubleUnsafe: chance, nextIntUnsafe: () => 0 })
    )
  ) as ReadonlyArray<number>

const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const shape = fc.record({
  base: fc.integer({ min: 0, max: 60_000 }),
  factor: fc.double({ min: 1, max: 10, noNaN: true }),
  max: fc.integer({ min: 0, max: 120_000 })
})
const plain = ({ base, factor, max }: { base: number; factor: number; max: number }, n: number) =>
  base === 0 ? 0 : Math.min(max, base * factor ** n)
// A Duration keeps whole nanoseconds.
const close = (actual: number, expected: number) => assert.closeTo(actual, expected, 1e-5)

it("without jitter, delays grow by the factor up to the cap, and stay there past overflow", () => {
  fc.assert(
    fc.property(shape, (options) => {
      const seen = numbers({ ...options, jitter: "none" }, 8, () => 0.5)
      seen.forEach((delay, n) => {
        close(delay, plain(options, n))
      })
    })
  )
  assert.strictEqual(
    numbers({ base: 1, max: 5000, factor: 10, jitter: "none" }, 2000, () => 0.5).at(-1),
    5000
  )
  assert.strictEqual(numbers({ base: 0, factor: 10, jitter: "none" }, 2000, () => 0.5).at(-1), 0)
})

it("a base of 0 is no delay but its jitter, however often", () => {
  const seen = numbers({ base: 0, factor: 10, jitter: { additive: 100 } }, 1000, () => 0.5)
  assert.isTrue(seen.every((delay) => delay === 50))
})

it("full jitter is uniform from 0 to the capped delay", () => {
  fc.assert(
    fc.property(shape, chance, (options, u) => {
      numbers({ ...options, jitter: "full" }, 8, () => u).forEach((delay, n) => {
        close(delay, plain(options, n) * u)
      })
    })
  )
})

it("proportional jitter is uniform around the capped delay, and never above the cap", () => {
  fc.assert(
    fc.property(shape, chance, fc.double({ min: 0, max: 1, noNaN: true }), (options, u, proportional) => {
      numbers({ ...options, jitter: { proportional } }, 8, () => u).forEach((delay, n) => {
        const d = plain(options, n)
        close(delay, Math.min(options.max, d * (1 - proportional) + 2 * d * proportional * u))
        assert.isAtMost(delay, options.max)
      })
    })
  )
})

it("additive jitter adds up to its own amount to the capped delay", () => {
  fc.assert(
    fc.property(shape, chance, fc.nat(5000), (options, u, additive) => {
      numbers({ ...options, jitter: { additive } }, 8, () => u).forEach((delay, n) => {
        close(delay, plain(options, n) + additive * u)
      })
    })
  )
})

it.effect("draws anew for every delay, and alike from the same seed", () =>
  Effect.gen(function* () {
    const draw = (seed: string) =>
      delays(Retry.exponential({ base: 1000, factor: 1 }), 20).pipe(Random.withSeed(seed))
    const first = yield* draw("a")
    assert.strictEqual(new Set(first).size, 20)
    assert.deepStrictEqual(yield* draw("a"), first)
    assert.notDeepEqual(yield* draw("b"), first)
  })
)

it.effect("by default starts at 100 ms, doubles, ends at 30 s and jitters fully", () =>
  Effect.gen(function* () {
    const seen = yield* delays(Retry.standard.schedule, 12)
    assert.deepStrictEqual(
      seen.map(Number),
      [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000].map((d) => d / 4)
    )
    assert.strictEqual(Retry.standard.retries, 3)
    assert.strictEqual(Retry.none.retries, 0)
  }).pipe(Effect.provideService(Random.Random, { nextDoubleUnsafe: () => 0.25, nextIntUnsafe: () => 0 }))
)

it.effect("has the backoffs of the field", () =>
  Effect.gen(function* () {
    const { seconds, secondsWithJitter, tenths } = Retry.presets
    assert.deepStrictEqual(yield* delays(tenths, 5), [100, 200, 400, 800, 1600])
    assert.deepStrictEqual(yield* delays(seconds, 5), [1000, 2000, 4000, 8000, 8000])
    assert.deepStrictEqual(yield* delays(secondsWithJitter, 5), [1250, 2250, 4250, 8250, 8250])
  }).pipe(Effect.provideService(Random.Random, { nextDoubleUnsafe: () => 0.5, nextIntUnsafe: () => 0 }))
)

it.effect("drives any schedule with the time and the reason, and says when it has ended", () =>
  Effect.gen(function* () {
    const twice = Schedule.fromStepWithMetadata<Reason, number, never, never, never, never>(
      Effect.succeed(({ elapsed, input }) =>
        Effect.succeed([elapsed, Duration.millis(elapsed + input._tag.length)])
      )
    ).pipe(Schedule.upTo({ times: 2 }))
    assert.deepStrictEqual(yield* delays(twice, 4, { _tag: "Cancelled" }), [9, 1009, undefined, undefined])
  })
)

it.effect("starts the schedule anew for each call", () =>
  Effect.gen(function* () {
    const policy = Retry.make({ schedule: Retry.presets.seconds })
    const one = yield* Retry.driver(policy)
    yield* one(0, reason)
    yield* one(0, reason)
    const two = yield* Retry.driver(policy)
    assert.strictEqual(yield* two(0, reason), 1000)
    assert.strictEqual(yield* one(0, reason), 4000)
  })
)

it("retries what the table and the class allow, and what is unknown only where repeating is safe", () => {
  const failed = {
    reason,
    class: "Retryable",
    safeToRepeat: true,
    outcomeUnknown: false
  } as const
  for (const errorClass of ErrorClass.literals) {
    const worthIt = errorClass === "Retryable" || errorClass === "Overload"
    for (const safeToRepeat of [true, false]) {
      for (const outcomeUnknown of [true, false]) {
        assert.strictEqual(
          Retry.retryable({ ...failed, class: errorClass, safeToRepeat, outcomeUnknown }),
          worthIt && (safeToRepeat || !outcomeUnknown)
        )
      }
    }
  }
  const refusals: ReadonlyArray<Reason> = [
    { _tag: "PolicyDenied", rule: "deny", message: "no" },
    { _tag: "RateLimited", limit: "hourly", retryAfter: Duration.seconds(1) },
    { _tag: "CircuitOpen", key: "k", why: "", retryAfter: Duration.seconds(1) },
    { _tag: "Cancelled" },
    { _tag: "HandlerDefect" },
    { _tag: "InvalidResult", issues: [] }
  ]
  for (const refusal of refusals) {
    assert.strictEqual(table[refusal._tag].retry, "no")
    assert.isFalse(Retry.retryable({ ...failed, reason: refusal }))
  }
})

it("waits for the longer of the schedule and the hint, in whole milliseconds and never less", () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 1e6, noNaN: true }),
      fc.option(fc.double({ min: 0, max: 1e6, noNaN: true }), { nil: undefined }),
      (scheduled, hint) => {
        const delay = Retry.delay(scheduled, hint === undefined ? undefined : Duration.millis(hint))
        assert.isTrue(Number.isInteger(delay))
        assert.isAtLeast(delay, scheduled)
        assert.isAtLeast(delay + 1e-6, hint ?? 0)
        assert.isAtMost(delay, Math.max(scheduled, hint ?? 0) + 1)
      }
    )
  )
  assert.strictEqual(Retry.delay(100, Duration.zero), 100)
  assert.strictEqual(Retry.delay(-5, undefined), 0)
})

it("refuses options that make no sense, and names them", () => {
  assert.throws(() => Retry.make({ retries: -1 }), RangeError, "retries")
  assert.throws(() => Retry.make({ retries: 1.5 }), RangeError, "retries")
  assert.throws(() => Retry.exponential({ base: "-1 seconds" }), RangeError, "base")
  assert.throws(() => Retry.exponential({ factor: 0.5 }), RangeError, "factor")
  assert.throws(() => Retry.exponential({ max: "Infinity" }), RangeError, "max")
  assert.throws(() => Retry.exponential({ jitter: { proportional: 1.5 } }), RangeError, "jitter.proportional")
  assert.throws(() => Retry.exponential({ jitter: { additive: -1 } }), RangeError, "jitter.additive")
})
