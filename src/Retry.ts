/**
 * Whether and when a failed attempt is followed by another: a pure decision,
 * and schedules for the delays.
 *
 * An attempt is repeated when its error is worth it (`Retryable`, `Overload`)
 * and when repeating does no harm: an attempt whose outcome is unknown is
 * repeated only where that is safe. Deadlines and breakers have their own say.
 * Jitter is drawn from Effect's `Random`, so a seed makes delays repeatable.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import { whole } from "./internal/options.ts"
import { type ErrorClass, type Reason, table } from "./ToolError.ts"

// --- Policy ----------------------------------------------------------------

export interface Policy {
  /** Retries after the first attempt; 0 means none. */
  readonly retries: number
  /** The delay before each retry; it sees why the attempt failed. Where it ends, retrying ends, whatever `retries` says. */
  readonly schedule: Schedule.Schedule<unknown, Reason>
}

/** A policy; 3 retries with `exponential()`. Throws a `RangeError` when `retries` is not a whole number from 0 on. */
export const make = (options: Partial<Policy> = {}): Policy => {
  const { retries = 3, schedule = exponential() } = options
  return { retries: whole("Retry: retries", retries, 0), schedule }
}

// --- Delays ----------------------------------------------------------------

/**
 * What chance does to a delay `d`.
 *
 * - `none`: `d`.
 * - `full`: anything from 0 to `d`. It keeps callers that failed together from coming back together with the
 *   least work in all, as measured in the AWS Architecture Blog's "Exponential Backoff And Jitter" (2015).
 * - `proportional`: from `d (1 - p)` to `d (1 + p)`, `p` from 0 to 1; LangChain's retries do this with 0.25.
 * - `additive`: from `d` to `d + x`.
 */
export type Jitter =
  | "none"
  | "full"
  | { readonly proportional: number }
  | { readonly additive: Duration.Input }

/** How delays grow. */
export interface Backoff {
  readonly base?: Duration.Input
  readonly factor?: number
  readonly max?: Duration.Input
  readonly jitter?: Jitter
}

/**
 * Delays of `base · factorⁿ` with jitter, without an end: 100 ms, 2, full.
 *
 * `max` (30 seconds) caps a delay before its jitter and, but for what `additive` adds, after it too. Throws a
 * `RangeError` that names the field.
 */
export const exponential = (options: Backoff = {}): Schedule.Schedule<Duration.Duration> => {
  const base = within("base", Duration.toMillis(options.base ?? 100), 0)
  const factor = within("factor", options.factor ?? 2, 1)
  const max = within("max", Duration.toMillis(options.max ?? "30 seconds"), 0)
  const jitter = compileJitter(options.jitter ?? "full", max)
  return Schedule.fromStepWithMetadata(
    Effect.succeed(({ attempt }) => {
      // A power that overflows is infinite, and an infinite delay is the longest one.
      const delay = base === 0 ? 0 : Math.min(max, base * factor ** (attempt - 1))
      return Effect.map(Random.next, (chance) => {
        const duration = Duration.millis(jitter(delay, chance))
        return [duration, duration]
      })
    })
  )
}

/** What jitter makes of a delay, given chance from 0 to 1. */
const compileJitter = (jitter: Jitter, max: number): ((delay: number, chance: number) => number) => {
  if (jitter === "none") return (delay) => delay
  if (jitter === "full") return (delay, chance) => delay * chance
  if ("additive" in jitter) {
    const added = within("jitter.additive", Duration.toMillis(jitter.additive), 0)
    return (delay, chance) => delay + added * chance
  }
  const proportional = within("jitter.proportional", jitter.proportional, 0, 1)
  return (delay, chance) => Math.min(max, delay * (1 + proportional * (2 * chance - 1)))
}

/** Backoffs found in the field, without an end; `retries` ends them. */
export const presets: {
  /** 0.1, 0.2, 0.4, 0.8 … s, up to 30 s, no jitter. */
  readonly tenths: Schedule.Schedule<Duration.Duration>
  /** 1, 2, 4, 8, 8 … s, no jitter. */
  readonly seconds: Schedule.Schedule<Duration.Duration>
  /** As `seconds`, with 0 to 0.5 s added. */
  readonly secondsWithJitter: Schedule.Schedule<Duration.Duration>
} = {
  tenths: exponential({ base: "100 millis", jitter: "none" }),
  seconds: exponential({ base: "1 second", max: "8 seconds", jitter: "none" }),
  secondsWithJitter: exponential({
    base: "1 second",
    max: "8 seconds",
    jitter: { additive: "500 millis" }
  })
}

/** 3 retries, 100 ms doubling to 30 s with full jitter. */
export const standard: Policy = make()

/** No retries. */
export const none: Policy = make({ retries: 0 })

// --- The decision ----------------------------------------------------------

/** What is known when an attempt has failed. */
export interface Failed {
  readonly reason: Reason
  readonly class: ErrorClass
  /** The tool is read-only or idempotent, or the call has an idempotency key. */
  readonly safeToRepeat: boolean
  /** The attempt may have taken effect: it timed out, or its connection was lost. */
  readonly outcomeUnknown: boolean
}

/** Whether another attempt may follow. */
export const retryable = (failed: Failed): boolean => {
  if (failed.outcomeUnknown && !failed.safeToRepeat) return false
  switch (table[failed.reason._tag].retry) {
    case "yes":
      return true
    case "no":
      return false
    case "by class":
      return failed.class === "Retryable" || failed.class === "Overload"
  }
}

/** Milliseconds to wait: the longer of what is scheduled and what the error asks for, in whole ones and never less. */
export const delay = (scheduled: number, retryAfter: Duration.Duration | undefined): number =>
  Math.ceil(Math.max(0, scheduled, retryAfter === undefined ? 0 : Duration.toMillis(retryAfter)))

/** The milliseconds before the next attempt; `undefined` where the schedule has ended. */
export type NextDelay = (now: number, input: Reason) => Effect.Effect<number | undefined>

/**
 * Starts the policy's schedule for one call. It does not count retries, since a tool or a call may have its own number.
 */
export const driver = (policy: Policy): Effect.Effect<NextDelay> =>
  Effect.map(
    Schedule.toStep(policy.schedule),
    (step) => (now, input) =>
      Effect.map(step(now, input), ([, duration]): number | undefined => Duration.toMillis(duration)).pipe(
        Pull.catchDone(() => Effect.succeed(undefined))
      )
  )

// --- Helpers ---------------------------------------------------------------
// A function, so that the policies above can be made when the module loads.

function within(field: string, value: number, min: number, max = Infinity): number {
  if (value >= min && value <= max && Number.isFinite(value)) return value
  const bounds = max === Infinity ? `finite and at least ${min}` : `between ${min} and ${max}`
  throw new RangeError(`Retry: ${field} must be ${bounds}, got ${value}`)
}
