/** The time that a limit counts over. Times are milliseconds since the epoch. */
import * as DateTime from "effect/DateTime"

export interface Window {
  readonly startsAt: number
  /** The first moment that is not in it; `never` for a limit without a window. */
  readonly endsAt: number
}

/** The window that begins or goes on at a time. */
export type Windows = (now: number) => Window

export const never: number = Number.MAX_SAFE_INTEGER

const always: Window = { startsAt: 0, endsAt: never }

export const forEver: Windows = () => always

/** One that begins when it is first used. */
export const fixed =
  (millis: number): Windows =>
  (now) => ({ startsAt: now, endsAt: now + millis })

/** Days or months as they are in a time zone: a day has 23 or 25 hours where clocks are changed. */
export const calendar = (unit: "day" | "month", timeZone: DateTime.TimeZone): Windows => {
  const next = unit === "day" ? { days: 1 } : { months: 1 }
  let last: Window = { startsAt: 0, endsAt: 0 }
  return (now) => {
    if (now >= last.startsAt && now < last.endsAt) return last
    const start = DateTime.startOf(DateTime.makeZonedUnsafe(now, { timeZone }), unit)
    // The same time of the next day may not exist, or not be its beginning.
    const end = DateTime.startOf(DateTime.add(start, next), unit)
    last = { startsAt: DateTime.toEpochMillis(start), endsAt: DateTime.toEpochMillis(end) }
    return last
  }
}

/**
 * Whether what was opened for a window still counts. A caller that read its clock shortly before the window began
 * is late and counts in it; one from more than a window before it is not: then the clock was set back, and a window of the
 * future must not hold up the present.
 */
export const isCurrent = ({ startsAt, endsAt }: Window, now: number): boolean =>
  now < endsAt && now >= startsAt - (endsAt - startsAt)
