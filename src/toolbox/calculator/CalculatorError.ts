/** Why there is no result. */
import * as Schema from "effect/Schema"

export const Reason = Schema.Literals([
  /** The expression, or a number, is not well formed. */
  "syntax",
  /** A function or constant that does not exist. */
  "unknown_name",
  /** An operation or function with too few or too many arguments, or one that must be something else. */
  "arguments",
  "division_by_zero",
  /** An even or fractional root of a negative number, which is not a real number. */
  "negative_root",
  /** A function where it has no value, such as the logarithm of 0. */
  "domain",
  /** Larger than 10^1000000. */
  "overflow",
  /** Closer to 0 than 10^-1000000. */
  "underflow",
  /** The result cannot be known to so many digits. */
  "precision",
  /** More than may be computed in one call. */
  "too_complex"
])
export type Reason = typeof Reason.Type

/** Why there is no result. `at` is the place in the expression, from 1, where there is one. */
export class CalculatorError extends Schema.TaggedError<CalculatorError>("interlock/toolbox/CalculatorError")(
  "CalculatorError",
  { reason: Reason, message: Schema.String, at: Schema.optionalKey(Schema.Int) }
) {}

export const fail = (reason: Reason, message: string, at?: number): never => {
  throw new CalculatorError({ reason, message, ...(at === undefined ? {} : { at }) })
}
