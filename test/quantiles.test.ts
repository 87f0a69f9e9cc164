import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { Quantiles, relativeError } from "../src/internal/quantiles.ts"

const shares = [0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1]

const exact = (values: ReadonlyArray<number>, share: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(1, Math.ceil(share * sorted.length)) - 1]!
}

const recorded = (values: ReadonlyArray<number>): Quantiles => {
  const quantiles = new Quantiles()
  for (const value of values) quantiles.record(value)
  return quantiles
}

// Durations are spread over magnitudes, not evenly: a uniform double is almost never below a second.
const duration = fc.oneof(
  fc.double({ min: -3, max: 9, noNaN: true }).map((exponent) => 10 ** exponent),
  fc.integer({ min: 1, max: 60_000 })
)

describe("quantiles", () => {
  it("differs from the exact quantile by no more than the relative error", () => {
    fc.assert(
      fc.property(fc.array(duration, { minLength: 1, maxLength: 300 }), (values) => {
        const quantiles = recorded(values)
        for (const share of shares) {
          const truth = exact(values, share)
          const answer = quantiles.quantile(share)
          assert.isAtMost(Math.abs(answer - truth), relativeError * truth * (1 + 1e-9), `${share}`)
        }
      }),
      { numRuns: 1000 }
    )
  })

  it("never falls as the share grows, and stays between the least and the greatest value", () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1e12, noNaN: true }), { minLength: 1 }), (values) => {
        const quantiles = recorded(values)
        let previous = Math.min(...values)
        for (const share of shares) {
          const answer = quantiles.quantile(share)
          assert.isAtLeast(answer, previous)
          previous = answer
        }
        assert.isAtMost(previous, Math.max(...values))
      }),
      { numRuns: 500 }
    )
  })

  it("counts and averages exactly", () => {
    const quantiles = recorded([1, 2, 3, 10])
    assert.strictEqual(quantiles.count, 4)
    assert.strictEqual(quantiles.mean, 4)
  })

  it("answers 0 when nothing was recorded", () => {
    assert.strictEqual(new Quantiles().quantile(0.5), 0)
    assert.strictEqual(new Quantiles().mean, 0)
  })

  it("takes a duration that is negative or no number as 0", () => {
    const quantiles = recorded([-5, Number.NaN])
    assert.strictEqual(quantiles.quantile(1), 0)
    assert.strictEqual(quantiles.mean, 0)
  })

  it("takes an endless duration without losing the others", () => {
    const quantiles = recorded([5, 5, 5, Number.POSITIVE_INFINITY])
    assert.strictEqual(quantiles.quantile(0.5), 5)
    assert.strictEqual(quantiles.quantile(1), Number.POSITIVE_INFINITY)
  })
})
