/** Whole amounts by unit: how they are read and added up. */
import type { Amounts } from "../ToolAnnotations.ts"

export type { Amounts } from "../ToolAnnotations.ts"

/** A plain number is millionths of a dollar. */
export const from = (amounts: number | Amounts): Amounts =>
  check(typeof amounts === "number" ? { usd: amounts } : amounts)

const check = (amounts: Amounts): Amounts => {
  for (const [unit, amount] of Object.entries(amounts)) {
    if (!(Number.isSafeInteger(amount) && amount >= 0)) {
      throw new RangeError(`A cost in "${unit}" must be a whole number of at least 0, got ${amount}`)
    }
  }
  return amounts
}

export const add = (a: Amounts, b: Amounts): Amounts => {
  const sum: Record<string, number> = { ...a }
  for (const [unit, amount] of Object.entries(b)) {
    sum[unit] = (Object.hasOwn(sum, unit) ? (sum[unit] as number) : 0) + amount
  }
  return sum
}

/** The larger of two in every unit. */
export const most = (a: Amounts, b: Amounts): Amounts => {
  const larger: Record<string, number> = { ...a }
  for (const [unit, amount] of Object.entries(b)) {
    larger[unit] = Object.hasOwn(larger, unit) ? Math.max(larger[unit] as number, amount) : amount
  }
  return larger
}
