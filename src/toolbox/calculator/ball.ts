/**
 * Decimal arithmetic that knows how wrong it may be.
 *
 * A `Ball` is a value and a bound of its error. What comes out even (sums,
 * products, whole powers, remainders, some quotients and roots) is exact, up to
 * 1,000 digits. Everything else is rounded to a number of working digits, and the
 * bound grows by what that and the errors of the arguments may cost. A step that
 * would be a guess throws `Unsure`: then more working digits are needed.
 */
import { Decimal } from "decimal.js"
import { fail } from "./CalculatorError.ts"

export interface Ball {
  readonly value: Decimal
  /** At least the distance to the true value; 0 where the value is exact. */
  readonly error: Decimal
}

/** More working digits are needed to say anything. */
export class Unsure extends Error {}
export const unsure = (): never => {
  throw new Unsure()
}

/** Results are 0, or between 10^-maxExponent and 10^maxExponent. */
export const maxExponent = 1_000_000
/** What is exact is kept so up to this many digits. */
export const exactDigits = 1_000

export const withDigits = (precision: number) =>
  Decimal.clone({
    defaults: true,
    precision,
    rounding: Decimal.ROUND_HALF_UP,
    minE: -maxExponent,
    maxE: maxExponent
  })
export const Exact = withDigits(exactDigits)
// Bounds need few digits, are rounded up, and may be as small as they like.
export const Bound = Decimal.clone({ defaults: true, precision: 6, rounding: Decimal.ROUND_UP })

export const exactly = (value: Decimal): Ball => ({ value, error: new Bound(0) })
export const isExact = ({ error }: Ball): boolean => error.isZero()

export const tooLarge = () => fail("overflow", `A number is larger than 10^${maxExponent}.`)
export const tooSmall = () => fail("underflow", `A number is closer to 0 than 10^-${maxExponent}.`)
export const byZero = () => fail("division_by_zero", "Nothing can be divided by 0.")

/** A number as it is written: `-1.5`, `2e10`. */
export const read = (text: string): Ball => {
  const value = new Exact(text)
  if (!value.isFinite()) return tooLarge()
  if (value.isZero() && /^[^e]*[1-9]/i.test(text)) return tooSmall()
  return exactly(value)
}

export const zero = read("0")
export const one = read("1")
export const half = read("0.5")
export const hundredth = read("0.01")

export const negate = ({ error, value }: Ball): Ball => ({ value: value.neg(), error })
export const absolute = ({ error, value }: Ball): Ball => ({ value: value.abs(), error })

/** -1, 0 or 1. */
export const signOf = (a: Ball): number => {
  if (!isExact(a) && a.value.abs().lte(a.error)) return unsure()
  return a.value.isZero() ? 0 : a.value.s
}

/** A number that the size of what is not 0 is not below; a little less, for it is rounded up. */
export const least = ({ error, value }: Ball): Decimal => Bound.sub(value.abs(), error).times(0.99)

/** Powers of ten of the first digit, and of the last one that is not 0. */
export const first = (value: Decimal): number => (value.isZero() ? 0 : value.e)
const last = (value: Decimal): number => (value.isZero() ? 0 : value.e - value.precision() + 1)

/** How many digits lie between the first and the last of two numbers. */
export const span = (a: Decimal, b: Decimal): number =>
  Math.max(first(a), first(b)) - Math.min(last(a), last(b)) + 1

export const digitsOf = (a: Ball): number => a.value.precision()

/** Of a whole number. One that ends in 0 is not divided to find out. */
export const isOdd = (n: Decimal): boolean => last(n) === 0 && n.mod(2).abs().eq(1)
