/** Durations as people write them in options: `"5 seconds"`, milliseconds, or a `Duration`. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

export const DurationInput = Schema.declare((input): input is Duration.Input =>
  Option.isSome(Duration.fromInput(input as Duration.Input))
)
