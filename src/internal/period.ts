/** Durations in options that may come as data. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/** A time longer than 0 as people write it, such as `"5 seconds"`, or milliseconds; in code also a `Duration`. */
export const Period = Schema.Union([Schema.String, Schema.Finite, Schema.Duration]).check(
  Schema.makeFilter((input) =>
    Option.exists(Duration.fromInput(input as Duration.Input), Duration.isPositive)
      ? undefined
      : 'must be a time longer than 0, such as "5 seconds", or milliseconds'
  )
) as unknown as Schema.Codec<Duration.Input, string | number>
