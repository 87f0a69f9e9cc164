/** A circuit in the plainest way: one state, and what asking and answering make of it. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Ref from "effect/Ref"
import type { CircuitBreaker } from "effect-interlock"
import { millis, type Refused, refuse } from "./plainNouns.ts"

/** What an attempt that was let in came to; `ignored` says nothing of the tool. */
export type Verdict =
  | { readonly outcome: "success" | "ignored" }
  | { readonly outcome: "failure"; readonly retryAfter: Duration.Duration | undefined }

export interface Circuit {
  /** Whether it would refuse now. */
  readonly look: Effect.Effect<void, Refused>
  /** Runs an attempt where it lets it in, and hears what that came to. */
  readonly enter: <A>(
    attempt: (how: "closed" | "half_open") => Effect.Effect<A, Refused>,
    verdict: (exit: Exit.Exit<A, Refused>) => Verdict
  ) => Effect.Effect<A, Refused>
  readonly snapshot: Effect.Effect<Pick<CircuitBreaker.Snapshot, (typeof shown)[number]>>
}

export const shown = [
  "tag",
  "since",
  "nextProbeAt",
  "consecutiveFailures",
  "openings",
  "probesInFlight"
] as const

interface State {
  readonly tag: "Closed" | "Open" | "HalfOpen"
  /** Moves with the tag: what was let in under another number counts for nothing. */
  readonly number: number
  /** When it became so; `undefined` before anyone asked. */
  readonly since: number | undefined
  /** In a row. */
  readonly failures: number
  /** Since it was last closed. */
  readonly openings: number
  /** While open. */
  readonly until: number
  /** While half open. */
  readonly probes: number
  readonly successes: number
}

const closed: State = {
  tag: "Closed",
  number: 0,
  since: undefined,
  failures: 0,
  openings: 0,
  until: 0,
  probes: 0,
  successes: 0
}

/** Opens after some failures in a row, then lets in some probes, and closes after some successes of them. */
export const make = Effect.fnUntraced(function* (
  key: string,
  options: CircuitBreaker.Options
): Effect.fn.Return<Circuit> {
  const { growth = 1, probes = 1, successThreshold = 1, trip } = options
  const failuresToOpen = trip?._tag === "Consecutive" ? trip.failures : 5
  const openFor = millis(options.openFor ?? "60 seconds")
  const longest = Math.max(openFor, millis(options.maxOpenFor ?? "1 hour"))
  const ref = yield* Ref.make(closed)

  const look = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    const state = yield* Ref.get(ref)
    const comeBack = (after: number) =>
      refuse("circuit", { _tag: "CircuitOpen", key, why: "", retryAfter: Duration.millis(after) })
    if (state.tag === "Open" && now < state.until) return yield* comeBack(state.until - now)
    if (state.tag === "HalfOpen" && state.probes >= probes) {
      return yield* comeBack(Math.min(1000, openFor))
    }
  })

  const admit = Effect.gen(function* () {
    yield* look
    const now = yield* Clock.currentTimeMillis
    return yield* Ref.updateAndGet(ref, (state): State => {
      switch (state.tag) {
        case "Closed":
          return { ...state, since: state.since ?? now }
        case "Open":
          return { ...state, tag: "HalfOpen", number: state.number + 1, since: now, probes: 1, successes: 0 }
        case "HalfOpen":
          return { ...state, probes: state.probes + 1 }
      }
    })
  })

  const report = Effect.fnUntraced(function* (number: number, verdict: Verdict) {
    const now = yield* Clock.currentTimeMillis
    yield* Ref.update(ref, (state): State => {
      if (number !== state.number) return state
      const probing = state.tag === "HalfOpen"
      if (verdict.outcome === "failure") {
        const failures = state.failures + 1
        if (!probing && failures < failuresToOpen) return { ...state, failures }
        const openings = probing ? state.openings + 1 : 1
        const asked = verdict.retryAfter === undefined ? 0 : Duration.toMillis(verdict.retryAfter)
        const until = now + Math.min(longest, Math.max(openFor * growth ** (openings - 1), asked))
        return { ...state, tag: "Open", number: number + 1, since: now, failures, openings, until }
      }
      const succeeded = verdict.outcome === "success"
      if (!probing) return succeeded ? { ...state, failures: 0 } : state
      const successes = state.successes + (succeeded ? 1 : 0)
      return successes >= successThreshold
        ? { ...closed, number: number + 1, since: now }
        : { ...state, successes, probes: state.probes - 1 }
    })
  })

  return {
    look,
    enter: (attempt, verdict) =>
      Effect.acquireUseRelease(
        admit,
        ({ tag }) => attempt(tag === "Closed" ? "closed" : "half_open"),
        ({ number }, exit) => report(number, verdict(exit))
      ),
    snapshot: Effect.map(Ref.get(ref), ({ failures, openings, probes, since, tag, until }) => ({
      tag,
      since,
      nextProbeAt: tag === "Open" ? until : undefined,
      consecutiveFailures: failures,
      openings,
      probesInFlight: tag === "HalfOpen" ? probes : 0
    }))
  }
})
