/**
 * When a closed circuit opens: pure rules over what the latest attempts came to.
 *
 * A tally is a value: counting an outcome gives the next one. Only a failure
 * can open a circuit, so that the reason can name the failure that did.
 */
import * as Duration from "effect/Duration"
import { millis, whole } from "./internal/options.ts"

// --- Rules -----------------------------------------------------------------

export type TripRule =
  | { readonly _tag: "Consecutive"; readonly failures: number }
  | {
      readonly _tag: "Rate"
      readonly threshold: number
      readonly minimum: number
      readonly size: number
    }
  | {
      readonly _tag: "RateWithin"
      readonly threshold: number
      readonly minimum: number
      /** Milliseconds. */
      readonly window: number
    }

/** Opens after this many failures in a row, in the order in which the attempts ended. Throws a `RangeError` below 1. */
export const consecutive = (failures: number): TripRule => {
  whole("consecutive: failures", failures)
  return { _tag: "Consecutive", failures }
}

/**
 * Opens when among the last `size` outcomes (at most 10,000) the share of failures reaches `threshold` (above 0,
 * at most 1), once there are `minimum` of them. Throws a `RangeError` that names the field.
 */
export const rate = (options: {
  readonly threshold: number
  readonly minimum: number
  readonly size: number
}): TripRule => {
  const { threshold, minimum, size } = options
  requireShare("rate", threshold)
  whole("rate: size", size, 1, 10_000)
  whole("rate: minimum", minimum, 1, size)
  return { _tag: "Rate", threshold, minimum, size }
}

/**
 * Opens when within the last `window` the share of failures reaches `threshold` (above 0, at most 1), once there
 * were `minimum` outcomes. The window moves in sixtieths of itself. Throws a `RangeError` that names the field.
 */
export const rateWithin = (options: {
  readonly threshold: number
  readonly minimum: number
  readonly window: Duration.Input
}): TripRule => {
  const { threshold, minimum } = options
  requireShare("rateWithin", threshold)
  whole("rateWithin: minimum", minimum)
  const window = millis("rateWithin: window", options.window)
  return { _tag: "RateWithin", threshold, minimum, window }
}

const requireShare = (rule: string, threshold: number): void => {
  if (threshold > 0 && threshold <= 1) return
  throw new RangeError(`${rule}: threshold must be above 0 and at most 1, got ${threshold}`)
}

// --- Counting --------------------------------------------------------------

/** What the latest outcomes were, as far as the rule looks back. */
export interface Tally {
  /** Failures in a row up to now. */
  readonly consecutive: number
  readonly window: Window | undefined
}

type Window =
  /** One bit for each outcome, the latest lowest; a failure is 1. */
  | { readonly _tag: "Last"; readonly bits: bigint; readonly total: number; readonly failures: number }
  /** The latest last; empty slots are not kept. */
  | { readonly _tag: "Within"; readonly buckets: ReadonlyArray<Bucket> }

interface Bucket {
  readonly slot: number
  readonly total: number
  readonly failures: number
}

export const empty: Tally = { consecutive: 0, window: undefined }

/** The tally after one more outcome. A tally that does not change stays the same object. */
export const count = (rule: TripRule, tally: Tally, failed: boolean, now: number): Tally => {
  const consecutive = failed ? tally.consecutive + 1 : 0
  switch (rule._tag) {
    case "Consecutive":
      return consecutive === tally.consecutive ? tally : { consecutive, window: undefined }
    case "Rate":
      return { consecutive, window: countLast(rule.size, tally.window, failed) }
    case "RateWithin":
      return { consecutive, window: countWithin(rule.window, tally.window, failed, now) }
  }
}

const countLast = (size: number, window: Window | undefined, failed: boolean): Window => {
  const last = window?._tag === "Last" ? window : { bits: 0n, total: 0, failures: 0 }
  const full = last.total === size
  const leaves = full && (last.bits >> BigInt(size - 1)) & 1n ? 1 : 0
  return {
    _tag: "Last",
    bits: BigInt.asUintN(size, (last.bits << 1n) | (failed ? 1n : 0n)),
    total: full ? size : last.total + 1,
    failures: last.failures + (failed ? 1 : 0) - leaves
  }
}

const countWithin = (millis: number, window: Window | undefined, failed: boolean, now: number): Window => {
  const width = Math.max(1, millis / 60)
  const span = Math.min(60, Math.floor(millis))
  const known = window?._tag === "Within" ? window.buckets : []
  const latest = known.at(-1)
  let slot = Math.floor(now / width)
  let kept = known
  if (latest !== undefined && slot < latest.slot) {
    // A clock that was set back: a little is this moment, more makes what was counted meaningless.
    if (latest.slot - slot < span) slot = latest.slot
    else kept = []
  }
  const current = latest?.slot === slot ? latest : { slot, total: 0, failures: 0 }
  const bucket = { slot, total: current.total + 1, failures: current.failures + (failed ? 1 : 0) }
  return {
    _tag: "Within",
    buckets:
      current === latest
        ? kept.with(-1, bucket)
        : [...kept.filter((other) => other.slot > slot - span), bucket]
  }
}

// --- Judging ---------------------------------------------------------------

const sums = (tally: Tally): { readonly total: number; readonly failures: number } => {
  if (tally.window === undefined) return { total: 0, failures: 0 }
  if (tally.window._tag === "Last") return tally.window
  let total = 0
  let failures = 0
  for (const bucket of tally.window.buckets) {
    total += bucket.total
    failures += bucket.failures
  }
  return { total, failures }
}

/** The share of failures the rule looks at, as of the latest outcome; `undefined` where it looks at none. */
export const failureRate = (tally: Tally): number | undefined => {
  const { failures, total } = sums(tally)
  return total === 0 ? undefined : failures / total
}

/** Why the rule opens the circuit after this failure, for a person; `undefined` when it does not. */
export const whyTripped = (rule: TripRule, tally: Tally): string | undefined => {
  if (rule._tag === "Consecutive") {
    if (tally.consecutive < rule.failures) return undefined
    return rule.failures === 1 ? "1 failure" : `${tally.consecutive} consecutive failures`
  }
  const { failures, total } = sums(tally)
  if (total < rule.minimum || failures / total < rule.threshold) return undefined
  return rule._tag === "Rate"
    ? `${failures} of the last ${total} attempts failed`
    : `${failures} of ${total} attempts within ${Duration.format(Duration.millis(rule.window))} failed`
}
