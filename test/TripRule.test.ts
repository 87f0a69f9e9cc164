import { assert, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as TripRule from "../src/TripRule.ts"

const tallyOf = (rule: TripRule.TripRule, outcomes: ReadonlyArray<{ failed: boolean; at: number }>) =>
  outcomes.reduce((tally, { at, failed }) => TripRule.count(rule, tally, failed, at), TripRule.empty)

const outcomes = fc.array(fc.record({ failed: fc.boolean(), at: fc.nat(20_000) }), { maxLength: 200 })
const inOrder = outcomes.map((list) => [...list].sort((a, b) => a.at - b.at))

it("counts failures in a row, under every rule", () => {
  const rules = [
    TripRule.consecutive(3),
    TripRule.rate({ threshold: 0.5, minimum: 1, size: 7 }),
    TripRule.rateWithin({ threshold: 0.5, minimum: 1, window: 6000 })
  ]
  fc.assert(
    fc.property(inOrder, fc.constantFrom(...rules), (list, rule) => {
      const last = list.findLastIndex(({ failed }) => !failed)
      assert.strictEqual(tallyOf(rule, list).consecutive, list.length - 1 - last)
    })
  )
})

it("the rate looks at exactly the last outcomes", () => {
  fc.assert(
    fc.property(inOrder, fc.integer({ min: 1, max: 90 }), (list, size) => {
      const rule = TripRule.rate({ threshold: 0.5, minimum: 1, size })
      const last = list.slice(-size)
      assert.strictEqual(
        TripRule.failureRate(tallyOf(rule, list)),
        list.length === 0 ? undefined : last.filter(({ failed }) => failed).length / last.length
      )
    }),
    { numRuns: 500 }
  )
})

it("a time window counts all that is younger than 59/60 of it and nothing that is older than it", () => {
  fc.assert(
    fc.property(inOrder, fc.integer({ min: 1, max: 10_000 }), (list, window) => {
      const rule = TripRule.rateWithin({ threshold: 0.5, minimum: 1, window })
      const { window: counted } = tallyOf(rule, list)
      if (list.length === 0) return assert.isUndefined(counted)
      if (counted?._tag !== "Within") return assert.fail("no window")
      const now = list.at(-1)!.at
      const total = counted.buckets.reduce((sum, bucket) => sum + bucket.total, 0)
      const step = Math.max(1, window / 60)
      assert.isAtLeast(total, list.filter(({ at }) => at > now - window + step).length)
      assert.isAtMost(total, list.filter(({ at }) => at > now - window).length)
      assert.isAtMost(counted.buckets.length, 60)
      return undefined
    }),
    { numRuns: 500 }
  )
})

it("a clock in disorder neither breaks a time window nor makes it grow", () => {
  fc.assert(
    fc.property(outcomes, (list) => {
      const rule = TripRule.rateWithin({ threshold: 1, minimum: 1, window: 600 })
      const tally = tallyOf(rule, list)
      const rate = TripRule.failureRate(tally) ?? 0
      assert.isTrue(rate >= 0 && rate <= 1)
      if (tally.window?._tag !== "Within") return
      assert.isAtMost(tally.window.buckets.length, 60)
    })
  )
  const rule = TripRule.rateWithin({ threshold: 1, minimum: 2, window: 600 })
  const back = TripRule.count(rule, TripRule.count(rule, TripRule.empty, false, 1_000_000), true, 5)
  assert.strictEqual(TripRule.failureRate(back), 1)
  const aLittle = TripRule.count(rule, TripRule.count(rule, TripRule.empty, false, 1_000_000), true, 999_950)
  assert.strictEqual(TripRule.failureRate(aLittle), 0.5)
})

it("trips at the threshold, not before the minimum", () => {
  const rule = TripRule.rate({ threshold: 0.5, minimum: 4, size: 10 })
  const after = (...outcomes: ReadonlyArray<boolean>) =>
    TripRule.whyTripped(
      rule,
      tallyOf(
        rule,
        outcomes.map((failed) => ({ failed, at: 0 }))
      )
    )
  assert.isUndefined(after(true, true, true))
  assert.strictEqual(after(false, false, true, true), "2 of the last 4 attempts failed")
  assert.isUndefined(after(false, false, false, true, true))
})

it("a success under the consecutive rule changes nothing and costs nothing", () => {
  assert.strictEqual(TripRule.count(TripRule.consecutive(3), TripRule.empty, false, 1), TripRule.empty)
})

it("refuses numbers that make no sense, and names the field", () => {
  const rate = { threshold: 0.5, minimum: 5, size: 10 }
  const within = { threshold: 0.5, minimum: 5, window: 1000 }
  assert.throws(() => TripRule.consecutive(0), RangeError, "failures")
  assert.throws(() => TripRule.consecutive(Number.NaN), RangeError, "failures")
  assert.throws(() => TripRule.rate({ ...rate, threshold: 0 }), RangeError, "threshold")
  assert.throws(() => TripRule.rate({ ...rate, threshold: 1.1 }), RangeError, "threshold")
  assert.throws(() => TripRule.rate({ ...rate, minimum: 11 }), RangeError, "minimum")
  assert.throws(() => TripRule.rate({ ...rate, size: 1e9 }), RangeError, "size")
  assert.throws(() => TripRule.rateWithin({ ...within, threshold: Number.NaN }), RangeError, "threshold")
  assert.throws(() => TripRule.rateWithin({ ...within, minimum: 0 }), RangeError, "minimum")
  assert.throws(() => TripRule.rateWithin({ ...within, window: "Infinity" }), RangeError, "window")
})
