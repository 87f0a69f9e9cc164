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
  const value = Option.match(Duration.fromInput(input), {
    onNone: () => Number.NaN,
    onSome: Duration.toMillis
  })
  if (value >= least && value < Number.POSITIVE_INFINITY) return value
  throw new RangeError(`${name} must be finite and at least ${least} ms, got ${value}`)
}
