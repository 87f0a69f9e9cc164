/**
 * Whole amounts by unit, such as what a tool costs. They are below 2^53, so that
 * sums are exact; money is counted in millionths of a dollar.
 */
import * as BigDecimal from "effect/BigDecimal"
import * as Option from "effect/Option"
import type { Amounts } from "../ToolAnnotations.ts"

export type { Amounts } from "../ToolAnnotations.ts"

/** A plain number is millionths of a dollar. Throws as `checkAmounts` does. */
export const from = (given: number | Amounts): Amounts => {
  const amounts = typeof given === "number" ? { usd: given } : given
  checkAmounts(amounts)
  return amounts
}

/** Throws where an amount is not whole, negative, or too large to be added exactly. */
export const checkAmounts = (amounts: Amounts): void => {
  // Not by a list of the keys: every attempt asks this twice.
  for (const unit in amounts) if (Object.hasOwn(amounts, unit)) checkAmount(amounts[unit] as number, unit)
}

// The unit is named and the amount is not: it may have been worked out from arguments.
export const checkAmount = (amount: number, unit: string): void => {
  if (!(Number.isSafeInteger(amount) && amount >= 0)) {
    throw new RangeError(`An amount in "${unit}" must be a whole number of at least 0, below 2^53`)
  }
}

export const add = (a: Amounts, b: Amounts): Amounts => {
  const sum: Record<string, number> = { ...a }
  for (const [unit, amount] of Object.entries(b)) {
    sum[unit] = plus(amountOf(sum, unit), amount)
  }
  return sum
}

/** The larger of two in every unit. */
export const most = (a: Amounts, b: Amounts): Amounts => {
  const larger: Record<string, number> = { ...a }
  for (const [unit, amount] of Object.entries(b)) {
    larger[unit] = Math.max(amountOf(larger, unit), amount)
  }
  return larger
}

/** The amount in a unit; 0 where none is given. */
export const amountOf = (amounts: Amounts, unit: string): number =>
  Object.hasOwn(amounts, unit) ? (amounts[unit] as number) : 0

/** The amounts in units in which nothing was reserved. */
export const unforeseen = (reserved: Amounts, actual: Amounts): Amounts | undefined => {
  if (reserved === actual) return undefined
  let found: Record<string, number> | undefined
  for (const unit of Object.keys(actual)) {
    if (Object.hasOwn(reserved, unit) || actual[unit] === 0) continue
    found ??= Object.create(null) as Record<string, number>
    found[unit] = actual[unit] as number
  }
  return found
}

/** Added up without losing exactness: what would go beyond 2^53 stays below it. */
export const plus = (a: number, b: number): number => Math.min(Number.MAX_SAFE_INTEGER, a + b)

const decimal = /^\d{1,16}(\.\d{1,40})?$/

/** Dollars as millionths, exactly. */
export const usd = (dollars: string | number): number => {
  const parsed =
    typeof dollars === "number"
      ? BigDecimal.fromNumber(dollars)
      : decimal.test(dollars)
        ? BigDecimal.fromString(dollars)
        : Option.none()
  const millionths = Option.map(parsed, (amount) => BigDecimal.multiply(amount, million))
  if (Option.isNone(millionths)) throw new RangeError("Budget: dollars must be a decimal number such as 1.25")
  if (!BigDecimal.isInteger(millionths.value)) {
    throw new RangeError("Budget: dollars must have no fraction smaller than a millionth")
  }
  const amount = Number(BigDecimal.scale(millionths.value, 0).value)
  if (!Number.isSafeInteger(amount) || amount < 0) {
    throw new RangeError("Budget: dollars must be at least 0 and below 2^53 millionths")
  }
  return amount
}

const million = BigDecimal.fromBigInt(1_000_000n)
