/** Options, checked where they are given: one that makes no sense is a `RangeError` that names it. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

/** A whole number. The name says of what: `Budget: maxKeys`. */
export const whole = (name: string, value: number, least = 1, most = Number.POSITIVE_INFINITY): number => {
  if (Number.isInteger(value) && value >= least && value <= most) return value
  const bounds = most < Number.POSITIVE_INFINITY ? `from ${least} to ${most}` : `of at least ${least}`
  throw new RangeError(`${name} must be a whole number ${bounds}, got ${value}`)
}

/** A finite duration in milliseconds. */
export const millis = (name: string, input: Duration.Input, least = 1): number => {
  const value = read(input)
  if (value >= least && value < Number.POSITIVE_INFINITY) return value
  throw new RangeError(`${name} must be finite and at least ${least} ms, got ${value}`)
}

/** A duration in milliseconds that may have no end. */
export const period = (name: string, input: Duration.Input): number => {
  const value = read(input)
  if (value > 0) return value
  throw new RangeError(`${name} must be a duration longer than 0, got ${value}`)
}

// What is no duration is as little one as a number that is none.
const read = (input: Duration.Input): number =>
  Option.match(Duration.fromInput(input), { onNone: () => Number.NaN, onSome: Duration.toMillis })
