/** A circuit as a store keeps it, and steps from one to the next: pure. */
import * as Duration from "effect/Duration"
import * as Circuit from "../../Circuit.ts"
import type { CircuitBreaker } from "../../CircuitBreaker.ts"

export interface Kept {
  readonly state: Circuit.State
  /** When the last probe was handed out. */
  readonly probedAt: number
}

/** What a call came to, with its admission: the arguments of the port's `report`. */
export type Report = Parameters<CircuitBreaker["Service"]["report"]>

/** A step: the next state, the same object where nothing changes, and what to answer. */
export type Step<A> = (kept: Kept) => readonly [Kept, A]

interface Asked {
  readonly answer: Circuit.Answer
  readonly generation: number
}

/** Asks for leave. Whoever holds a probe and reports nothing for `probeFor` has died: the places are free again. */
export const admitStep =
  (now: number, rules: Circuit.Rules, probeFor: number): Step<Asked> =>
  (kept) => {
    const { state } = kept
    const lapsed =
      state._tag === "HalfOpen" &&
      state.probes >= rules.probes &&
      // Also where a clock was set back by as much.
      Math.abs(now - kept.probedAt) >= probeFor
    const [next, answer] = Circuit.admit(lapsed ? { ...state, probes: 0 } : state, now, rules)
    const asked = { answer, generation: next.generation }
    if (next === state) return [kept, asked]
    return [{ state: next, probedAt: answer === "probe" ? now : kept.probedAt }, asked]
  }

/** An answer, as whoever asked is told. */
export const told = (key: string, { answer, generation }: Asked): Circuit.Admission | Circuit.Refusal =>
  typeof answer === "string"
    ? { key, generation, probe: answer === "probe" }
    : { _tag: "CircuitOpen", key, why: answer.why, retryAfter: Duration.millis(answer.retryAfter) }

/** The same object where the report counts for nothing. */
export const reported = (
  kept: Kept,
  [admission, outcome, now, detail]: Report,
  rules: Circuit.Rules
): Kept => {
  const state = Circuit.report(kept.state, admission, outcome, now, rules, detail)
  return state === kept.state ? kept : { ...kept, state }
}

/** The step that takes none. */
export const unchanged: Step<void> = (kept) => [kept, undefined]

/** Rates count by bits, for which JSON has no word. */
export const toText = (kept: Kept): string =>
  JSON.stringify(kept, (_, value) => (typeof value === "bigint" ? `0x${value.toString(16)}` : value))

/** `undefined` for what cannot be read. */
export const fromText = (text: string, { trip }: Circuit.Rules): Kept | undefined => {
  try {
    const kept: Kept = JSON.parse(text, (name, value) => (name === "bits" ? BigInt(value) : value))
    const { window } = kept.state.tally
    // What was counted by a rule that looked back further says nothing under this one.
    const tooLong = window?._tag === "Last" && trip._tag === "Rate" && window.total > trip.size
    if (!tooLong) return kept
    return { ...kept, state: { ...kept.state, tally: { ...kept.state.tally, window: undefined } } }
  } catch {
    return undefined
  }
}
