/**
 * What can be done with balls: the operations and functions of an expression, with
 * a number of working digits. Each says by how much its result may be wrong, given
 * how wrong its arguments may be.
 */
import type { Decimal } from "decimal.js"
import {
  absolute,
  type Ball,
  Bound,
  byZero,
  digitsOf,
  Exact,
  exactDigits,
  exactly,
  first,
  half,
  hundredth,
  isExact,
  isOdd,
  least,
  maxExponent,
  negate,
  one,
  read,
  signOf,
  span,
  tooLarge,
  tooSmall,
  unsure,
  withDigits,
  zero
} from "./ball.ts"
import { CalculatorError, fail } from "./CalculatorError.ts"

/** A power whose exponent has more digits before its point is next to 1, or out of bounds. */
const exponentDigits = 50

/** What functions may be wrong by, in units of the last digit: they are meant to be wrong by one at the most. */
const slack = 100

export type Arithmetic = ReturnType<typeof arithmetic>

/** Arithmetic with so many working digits. */
export const arithmetic = (digits: number) => {
  const Working = withDigits(digits)

  /** A result that is rounded: `error` is what its arguments cost. */
  const rounded = (value: Decimal, error: Decimal, units = 1): Ball => {
    if (!value.isFinite()) return tooLarge()
    const unit = value.isZero() ? 0 : new Bound(10).pow(value.e + 1 - digits).times(units)
    return { value, error: Bound.add(error, unit) }
  }
  /** The same where the true result is not 0. */
  const roundedNotZero = (value: Decimal, error: Decimal, units = 1): Ball =>
    value.isZero() ? tooSmall() : rounded(value, error, units)
  const exactNotZero = (value: Decimal): Ball =>
    value.isZero() ? tooSmall() : value.isFinite() ? exactly(value) : tooLarge()

  /** With as many digits as exact numbers may come out even with. */
  const evenly = (wanted: number, ...balls: ReadonlyArray<Ball>) =>
    balls.every(isExact) && wanted > digits ? withDigits(Math.min(exactDigits, Math.ceil(wanted))) : Working

  const add = (a: Ball, b: Ball): Ball => {
    if (isExact(a) && a.value.isZero()) return b
    if (isExact(b) && b.value.isZero()) return a
    const exact = isExact(a) && isExact(b) && span(a.value, b.value) < exactDigits
    if (!exact) return rounded(Working.add(a.value, b.value), Bound.add(a.error, b.error))
    const sum = Exact.add(a.value, b.value)
    return sum.isFinite() ? exactly(sum) : tooLarge()
  }

  const multiply = (a: Ball, b: Ball): Ball => {
    if (isExact(a) && isExact(b)) {
      if (a.value.isZero() || b.value.isZero()) return zero
      if (digitsOf(a) + digitsOf(b) <= exactDigits) return exactNotZero(Exact.mul(a.value, b.value))
    }
    const product = Working.mul(a.value, b.value)
    const error = Bound.mul(a.value.abs(), b.error)
      .plus(Bound.mul(b.value.abs(), a.error))
      .plus(Bound.mul(a.error, b.error))
    const trulyZero = a.value.isZero() || b.value.isZero()
    return trulyZero ? rounded(product, error) : roundedNotZero(product, error)
  }

  const divide = (a: Ball, b: Ball): Ball => {
    if (signOf(b) === 0) return byZero()
    if (a.value.isZero()) return isExact(a) ? zero : rounded(a.value, Bound.div(a.error, least(b)))
    const quotient = evenly(Math.max(digitsOf(a), digitsOf(b)), a, b).div(a.value, b.value)
    if (isExact(a) && isExact(b) && quotient.precision() + digitsOf(b) <= exactDigits) {
      if (Exact.mul(quotient, b.value).eq(a.value)) return exactNotZero(quotient)
    }
    const error = Bound.mul(quotient.abs(), b.error).plus(a.error).div(least(b))
    return roundedNotZero(quotient, error)
  }

  /** So many hundredths of another number. */
  const percent = (a: Ball, b: Ball): Ball => multiply(multiply(a, b), hundredth)

  /** What a division leaves; it has the sign of what is divided. */
  const remainder = (a: Ball, b: Ball): Ball => {
    if (signOf(b) === 0) return byZero()
    // Every digit of the quotient counts, and a wrong last one of either argument changes all of the result.
    if (!isExact(a) || !isExact(b) || span(a.value, b.value) > exactDigits) return unsure()
    return exactly(Exact.mod(a.value, b.value))
  }

  const power = (a: Ball, b: Ball): Ball => {
    if (isExact(b) && b.value.isInteger()) {
      if (b.value.isZero()) return one
      return b.value.isNegative() ? reciprocal(() => wholePower(a, b.value.neg())) : wholePower(a, b.value)
    }
    const sign = signOf(a)
    if (sign < 0) {
      return fail(
        "negative_root",
        "A fractional power of a negative number is a root of it, which is not real."
      )
    }
    if (sign === 0) return signOf(b) > 0 ? zero : byZero()
    return isExact(b) && b.value.eq(half.value) ? root(a) : realPower(a, b)
  }

  /** One divided by what may itself be too large or too small. */
  const reciprocal = (of: () => Ball): Ball => {
    try {
      return divide(one, of())
    } catch (error) {
      if (error instanceof CalculatorError && error.reason === "overflow") return tooSmall()
      if (error instanceof CalculatorError && error.reason === "underflow") return tooLarge()
      throw error
    }
  }

  const wholePower = (a: Ball, n: Decimal): Ball => {
    if (isExact(a)) {
      if (a.value.isZero() || a.value.eq(1)) return a
      if (a.value.eq(-1)) return isOdd(n) ? a : one
      if (n.times(digitsOf(a)).lte(exactDigits)) return exactNotZero(Exact.pow(a.value, n))
    }
    const size = realPower(absolute(a), exactly(n))
    return signOf(a) < 0 && isOdd(n) ? negate(size) : size
  }

  /** A power of what is above 0. */
  const realPower = (a: Ball, b: Ball): Ball => {
    // How much the exponent of e may be off: by the error of ln a, b times, and by that of b, ln a times.
    const ln = new Bound(a.value.e).abs().plus(1).times(2.31)
    const off = Bound.div(a.error, least(a)).times(b.value.abs().plus(b.error)).plus(Bound.mul(ln, b.error))
    if (off.gt(0.25)) return unsure()
    if (first(b.value) > exponentDigits) return hugePower(a, b)
    // Each digit of the exponent costs one of the result.
    const value = withDigits(digits + Math.max(0, first(b.value)) + 4).pow(a.value, b.value)
    return roundedNotZero(value, Bound.mul(value.abs(), off).times(2), slack)
  }

  const hugePower = (a: Ball, b: Ball): Ball => {
    const above = Working.sub(a.value, 1)
    // Then the exponent of e is a million and more.
    const isOut =
      !above.isZero() &&
      above
        .abs()
        .minus(a.error)
        .gt(new Bound(10).pow(8 - first(b.value)))
    if (!isOut) return unsure()
    return above.s === b.value.s ? tooLarge() : tooSmall()
  }

  const root = (a: Ball): Ball => {
    const sign = signOf(a)
    if (sign < 0) return fail("negative_root", "The square root of a negative number is not real.")
    if (sign === 0) return zero
    const value = evenly(digitsOf(a) / 2 + 1, a).sqrt(a.value)
    if (isExact(a) && 2 * value.precision() <= exactDigits && Exact.mul(value, value).eq(a.value)) {
      return exactly(value)
    }
    return rounded(value, Bound.div(a.error, least({ value, error: new Bound(0) })))
  }

  const cubeRoot = (a: Ball): Ball => {
    const sign = signOf(a)
    if (sign === 0) return zero
    const value = evenly(digitsOf(a) / 3 + 1, a).cbrt(a.value)
    if (isExact(a) && 3 * value.precision() <= exactDigits && Exact.pow(value, 3).eq(a.value)) {
      return exactly(value)
    }
    return rounded(value, Bound.mul(value.abs(), Bound.div(a.error, least(a))), slack)
  }

  const exponential = (a: Ball): Ball => {
    if (isExact(a) && a.value.isZero()) return one
    if (a.value.gt(3 * maxExponent)) return tooLarge()
    if (a.value.lt(-3 * maxExponent)) return tooSmall()
    if (a.error.gt(0.25)) return unsure()
    const value = withDigits(digits + 8).exp(a.value)
    return roundedNotZero(value, Bound.mul(value.abs(), a.error).times(2), slack)
  }

  const logarithm = (a: Ball): Ball => {
    if (signOf(a) <= 0) return fail("domain", "Only numbers above 0 have a logarithm.")
    if (isExact(a) && a.value.eq(1)) return zero
    return rounded(Working.ln(a.value), Bound.div(a.error, least(a)), slack)
  }

  /** To a base; exact where it comes out even. */
  const logarithmTo =
    (base: string) =>
    (a: Ball): Ball => {
      const quotient = divide(logarithm(a), logarithm(read(base)))
      const nearest = exactly(quotient.value.round())
      if (isExact(a) && nearest.value.abs().lte(exactDigits)) {
        const back = power(read(base), nearest)
        if (isExact(back) && back.value.eq(a.value)) return nearest
      }
      return quotient
    }

  /** A sine or cosine never changes faster than its argument. */
  const circular =
    (of: (value: Decimal) => Decimal) =>
    (a: Ball): Ball => {
      // Of a number that is so large nothing is left once all its full turns are taken off.
      if (a.value.e > digits || a.error.gt(1)) return unsure()
      if (isExact(a) && a.value.isZero()) return exactly(of(a.value))
      // Of an argument with more digits than count only those are used.
      const argument = a.value.toSignificantDigits(digits + Math.max(0, a.value.e) + 5)
      return rounded(of(argument), Bound.add(a.error, argument.minus(a.value).abs()), slack)
    }
  const sine = circular((value) => Working.sin(value))
  const cosine = circular((value) => Working.cos(value))

  /** Rounds to decimal places, by default to a whole number; what is beyond doubt is exact. */
  const roundTo =
    (mode: Decimal.Rounding) =>
    (a: Ball, places: Ball = zero): Ball => {
      if (!isExact(places) || !places.value.isInteger() || places.value.abs().gt(exactDigits)) {
        return fail("arguments", `Decimal places are a whole number from -${exactDigits} to ${exactDigits}.`)
      }
      const shift = power(read("10"), places)
      const { error, value } = multiply(a, shift)
      const low = Exact.sub(value, error).toDecimalPlaces(0, mode)
      const high = Exact.add(value, error).toDecimalPlaces(0, mode)
      return low.eq(high) ? divide(exactly(low), shift) : unsure()
    }

  const larger = (a: Ball, b: Ball): Ball => ({
    value: Exact.max(a.value, b.value),
    error: Bound.max(a.error, b.error)
  })

  return {
    add,
    subtract: (a: Ball, b: Ball): Ball => add(a, negate(b)),
    multiply,
    divide,
    percent,
    remainder,
    power,
    root,
    cubeRoot,
    exponential,
    logarithm,
    logarithmTo,
    sine,
    cosine,
    roundTo,
    absolute,
    larger,
    smaller: (a: Ball, b: Ball): Ball => negate(larger(negate(a), negate(b))),
    /** Half a turn. */
    pi: (): Ball => rounded(Working.acos(-1), new Bound(0), slack)
  }
}
