/** Flags that several commands have: times as people write them, reasons, bounds. */

import * as Clock from "effect/Clock"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

// --- Times -----------------------------------------------------------------

const units = {
  ms: "millis",
  s: "seconds",
  sec: "seconds",
  m: "minutes",
  min: "minutes",
  h: "hours",
  d: "days",
  w: "weeks"
} as const

/** `7d`, `1.5h`, `30 min`, `2 days`; `undefined` for what is none. */
export const duration = (text: string): Duration.Duration | undefined => {
  const [, amount, unit = ""] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$/i.exec(text) ?? []
  if (amount === undefined) return undefined
  const word = unit.toLowerCase()
  const name = Object.hasOwn(units, word) ? units[word as keyof typeof units] : word
  return Option.getOrUndefined(Duration.fromInput(`${amount} ${name}` as Duration.Input))
}

/** A point in time, or how far it is from now. */
export type Moment = { readonly at: number } | { readonly distance: number }

/** A duration, or a date or time as ISO 8601 writes it; a date begins at midnight in UTC. */
export const moment = (text: string): Moment | undefined => {
  const length = duration(text)
  if (length !== undefined) return { distance: Duration.toMillis(length) }
  const at = /^\s*\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text.trim()) : Number.NaN
  return Number.isNaN(at) ? undefined : { at }
}

const fromNow = (direction: 1 | -1) => (moment: Moment) =>
  Effect.map(Clock.currentTimeMillis, (now) =>
    Math.round("at" in moment ? moment.at : now + direction * moment.distance)
  )

/** In milliseconds since the epoch, where a duration is one that has passed. */
export const ago = fromNow(-1)
/** In milliseconds since the epoch, where a duration is one that is to come. */
export const ahead = fromNow(1)

export const Moment = (name: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar("time"),
    Flag.filterMap(
      (text) => Option.fromUndefinedOr(moment(text)),
      () => "a duration such as 7d, 24h or 30m, or a date such as 2026-11-20"
    )
  )

export const Period = (name: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar("duration"),
    Flag.filterMap(
      (text) => Option.fromUndefinedOr(duration(text)),
      () => "a duration such as 7d, 24h, 30m or 2 days"
    )
  )

/** When it was; `undefined` where the flag was not given. */
export const past = (given: Option.Option<Moment>): Effect.Effect<number | undefined> =>
  Option.match(given, { onNone: () => Effect.succeed(undefined), onSome: ago })

// --- Others ----------------------------------------------------------------

/** Told to others and kept, so it must say something. */
export const Why = Flag.String("why").pipe(
  Flag.withDescription("Why: recorded in the audit log, and shown to whom it concerns"),
  Flag.filter(
    (why) => why.trim() !== "" && why.length <= 2000,
    () => "a reason of 1 to 2,000 characters"
  )
)

export const Limit = (most: number) =>
  Flag.Int("limit").pipe(
    Flag.withAlias("n"),
    Flag.withDescription("At most so many"),
    Flag.filter(
      (limit) => limit > 0,
      () => "a number above 0"
    ),
    Flag.withDefault(most)
  )

export const Yes = Flag.Boolean("yes").pipe(
  Flag.withAlias("y"),
  Flag.withDescription("Do it without asking"),
  Flag.withDefault(false)
)
