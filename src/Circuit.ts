/**
 * One circuit as a value: what it allows now, and what an outcome makes of it.
 *
 * Total functions from a state to the next; whoever holds the state (memory, a
 * shared store) decides how it is kept. Every change of state starts a
 * generation, and what was admitted in an older one counts for nothing.
 */
import * as Duration from "effect/Duration"
import { whole } from "./internal/options.ts"
import type { Reason } from "./ToolError.ts"
import * as TripRule from "./TripRule.ts"

// --- Options ---------------------------------------------------------------

export interface Options {
  /** When a closed circuit opens; 5 consecutive failures. */
  readonly trip?: TripRule.TripRule
  /** How long it stays open; 60 seconds. */
  readonly openFor?: Duration.Input
  /** Multiplies `openFor` for each opening since the circuit was last closed; 1. */
  readonly growth?: number
  /** Neither growth nor a failure's own `retryAfter` makes an opening longer; 1 hour, never below `openFor`. */
  readonly maxOpenFor?: Duration.Input
  /** How many calls run at once while half open; 1. */
  readonly probes?: number
  /** How many probes in a row must succeed to close it; 1. */
  readonly successThreshold?: number
}

/** Options in milliseconds, checked. */
export interface Rules {
  readonly trip: TripRule.TripRule
  readonly openFor: number
  readonly growth: number
  readonly maxOpenFor: number
  readonly probes: number
  readonly successThreshold: number
}

/** Fills in the defaults. Throws a `RangeError` that names the field. */
export const rules = (options: Options = {}): Rules => {
  const openFor = positive("openFor", Duration.toMillis(options.openFor ?? "60 seconds"))
  return {
    trip: options.trip ?? TripRule.consecutive(5),
    openFor,
    growth: atLeastOne("growth", options.growth ?? 1),
    maxOpenFor: Math.max(openFor, positive("maxOpenFor", Duration.toMillis(options.maxOpenFor ?? "1 hour"))),
    probes: whole("CircuitBreaker: probes", options.probes ?? 1),
    successThreshold: whole("CircuitBreaker: successThreshold", options.successThreshold ?? 1)
  }
}

// --- Models ----------------------------------------------------------------

/** Leave to run, to be reported once. */
export interface Admission {
  readonly key: string
  readonly generation: number
  readonly probe: boolean
}

/** `ignored` counts for nothing and gives a probe's place back: cancelled, refused by someone else. */
export type Outcome = "success" | "failure" | "ignored"

/** What a failure adds to the reason for which it opens the circuit, and to the time it stays open. */
export interface Detail {
  readonly code?: string
  readonly retryAfter?: Duration.Duration
}

/** Why the circuit refuses, and when to ask again. */
export type Refusal = Extract<Reason, { readonly _tag: "CircuitOpen" }>

interface Base {
  readonly generation: number
  /** Milliseconds since the epoch, as every point in time here. */
  readonly since: number
  readonly tally: TripRule.Tally
}

export type State =
  | (Base & { readonly _tag: "Closed" })
  | (Base & {
      readonly _tag: "Open"
      readonly why: string
      readonly until: number
      readonly openings: number
    })
  | (Base & {
      readonly _tag: "HalfOpen"
      readonly why: string
      readonly openings: number
      readonly probes: number
      readonly successes: number
    })
  | (Base & { readonly _tag: "ForcedOpen"; readonly why: string })
  | (Base & { readonly _tag: "ForcedClosed" })

/** One circuit, for people and dashboards. */
export interface Snapshot {
  readonly tag: State["_tag"]
  /** Why it opened; `undefined` while it is closed. */
  readonly why: string | undefined
  /** When it came into this state; `undefined` for a key that was never used. */
  readonly since: number | undefined
  /** From when on the next call is a probe; only while open. */
  readonly nextProbeAt: number | undefined
  readonly consecutiveFailures: number
  /** The share of failures as of the latest outcome; only with a rate rule. */
  readonly failureRate: number | undefined
  /** Openings since it was last closed. */
  readonly openings: number
  readonly probesInFlight: number
}

export interface Transition {
  readonly key: string
  readonly from: State["_tag"]
  readonly to: State["_tag"]
  readonly why: string | undefined
  readonly at: number
}

// --- Pure core -------------------------------------------------------------

/** A circuit in its first state. */
export const closed = (generation: number, now: number): State => ({
  _tag: "Closed",
  generation,
  since: now,
  tally: TripRule.empty
})

/** Refuses every call; the operator says why. */
export const forcedOpen = (generation: number, now: number, why: string): State => ({
  ...closed(generation, now),
  _tag: "ForcedOpen",
  why
})

/** Lets every call run and counts none. */
export const forcedClosed = (generation: number, now: number): State => ({
  ...closed(generation, now),
  _tag: "ForcedClosed"
})

/** What asking comes to: run, run as a probe, or why not and for how many milliseconds. */
export type Answer = "run" | "probe" | { readonly why: string; readonly retryAfter: number }

/** Whether a state lets every call run and stays as it is, so that all its admissions are the same. */
export const letsRun = (state: State): state is Extract<State, { _tag: "Closed" | "ForcedClosed" }> =>
  state._tag === "Closed" || state._tag === "ForcedClosed"

/** Asks for leave: the next state and the answer. */
export const admit = (state: State, now: number, rules: Rules): readonly [State, Answer] => {
  if (letsRun(state)) return [state, "run"]
  switch (state._tag) {
    case "ForcedOpen":
      return [state, { why: state.why, retryAfter: rules.openFor }]
    case "Open": {
      const { generation, openings, since, tally, until, why } = state
      if (now < since) {
        // A clock that was set back must not keep the circuit open for as long as it was set back.
        return [
          { ...state, since: now, until: now + until - since },
          { why, retryAfter: until - since }
        ]
      }
      if (now < until) return [state, { why, retryAfter: until - now }]
      return [
        {
          _tag: "HalfOpen",
          generation: generation + 1,
          since: now,
          tally,
          why,
          openings,
          probes: 1,
          successes: 0
        },
        "probe"
      ]
    }
    case "HalfOpen":
      if (state.probes < rules.probes) return [{ ...state, probes: state.probes + 1 }, "probe"]
      // Nobody knows how long a probe takes: the refused come back soon, but not at once.
      return [
        state,
        { why: `${state.why}; it is being tried again`, retryAfter: Math.min(1000, rules.openFor) }
      ]
  }
}

/** Counts what an admitted call came to. An admission of another generation changes nothing. */
export const report = (
  state: State,
  admission: Pick<Admission, "generation">,
  outcome: Outcome,
  now: number,
  rules: Rules,
  detail: Detail = noDetail
): State => {
  if (admission.generation !== state.generation) return state
  switch (state._tag) {
    case "Open":
    case "ForcedOpen":
    case "ForcedClosed":
      return state
    case "Closed": {
      if (outcome === "ignored") return state
      const tally = TripRule.count(rules.trip, state.tally, outcome === "failure", now)
      const tripped = outcome === "failure" ? TripRule.whyTripped(rules.trip, tally) : undefined
      if (tripped !== undefined) {
        const why = detail.code === undefined ? tripped : `${tripped}, the last ${detail.code}`
        return opened(state, tally, why, 1, now, rules, detail)
      }
      return tally === state.tally ? state : { ...state, tally }
    }
    case "HalfOpen": {
      if (outcome === "failure") {
        const tally = { ...state.tally, consecutive: state.tally.consecutive + 1 }
        const why = detail.code === undefined ? "a probe failed" : `a probe failed: ${detail.code}`
        return opened(state, tally, why, state.openings + 1, now, rules, detail)
      }
      const successes = outcome === "success" ? state.successes + 1 : state.successes
      return successes >= rules.successThreshold
        ? closed(state.generation + 1, now)
        : { ...state, probes: Math.max(0, state.probes - 1), successes }
    }
  }
}

const noDetail: Detail = {}

const opened = (
  state: State,
  tally: TripRule.Tally,
  why: string,
  openings: number,
  now: number,
  rules: Rules,
  detail: Detail
): State => {
  const asked = detail.retryAfter === undefined ? 0 : Duration.toMillis(detail.retryAfter)
  const openFor = Math.min(rules.maxOpenFor, Math.max(rules.openFor * rules.growth ** (openings - 1), asked))
  const generation = state.generation + 1
  return { _tag: "Open", generation, since: now, tally, why, until: now + openFor, openings }
}

/** What there is to see of a state. */
export const snapshot = (state: State): Snapshot => ({
  tag: state._tag,
  why: "why" in state ? state.why : undefined,
  since: state.since,
  nextProbeAt: state._tag === "Open" ? state.until : undefined,
  consecutiveFailures: state.tally.consecutive,
  failureRate: TripRule.failureRate(state.tally),
  openings: "openings" in state ? state.openings : 0,
  probesInFlight: state._tag === "HalfOpen" ? state.probes : 0
})

/** A key that was never used. */
export const unused: Snapshot = { ...snapshot(closed(0, 0)), since: undefined }

/** The change from one state to another, where there is one to tell of. */
export const transition = (key: string, from: State, to: State, at: number): Transition | undefined =>
  from._tag === to._tag
    ? undefined
    : { key, from: from._tag, to: to._tag, why: "why" in to ? to.why : undefined, at }

/** What is lost by forgetting a circuit, by order; `Infinity` is an operator's word. */
export const worth = (state: State): number => {
  switch (state._tag) {
    case "Closed":
      return state.tally.consecutive === 0 ? 0 : 1
    case "Open":
    case "HalfOpen":
      return 2
    case "ForcedOpen":
    case "ForcedClosed":
      return Infinity
  }
}

// --- Helpers ---------------------------------------------------------------

const check =
  (what: string, holds: (value: number) => boolean) =>
  (field: string, value: number): number => {
    if (holds(value)) return value
    throw new RangeError(`CircuitBreaker: ${field} must be ${what}, got ${value}`)
  }

const positive = check("finite and above 0", (value) => value > 0 && Number.isFinite(value))
const atLeastOne = check("at least 1", (value) => value >= 1 && Number.isFinite(value))
