/**
 * Going round in circles, as a pure state machine: what a run has done goes in,
 * and whether the next call may be made comes out. Calls and outcomes are
 * prints, so a state holds nothing that anyone could read.
 */
import type { LoopDetected } from "../LoopDetector.ts"

export interface Rules {
  readonly repeats: number
  readonly pingPong: number
  readonly errors: number
  readonly window: number
}

/** Equal for what is equal. */
export type Print = number | string

/** A call that has ended. */
export interface Step {
  readonly tool: string
  /** Of the tool and the arguments. */
  readonly call: Print
  readonly outcome: Print
  readonly failed: boolean
  /** Whether it is declared to change something: what was seen before may look different after it. */
  readonly changes: boolean
  /** Whether it may be repeated as often as anyone likes. */
  readonly exempt: boolean
}

export interface State {
  /** The last calls that ended, oldest first; at most `window`. */
  readonly steps: ReadonlyArray<Step>
  /** Calls that have ended in all. */
  readonly count: number
  /** Repetition is counted from this call on: something was changed by it. */
  readonly since: number
  /** Calls that failed in a row, the last one included. */
  readonly failures: number
  /** What the run was told: calls that repeat, and how many had ended by then. */
  readonly told: ReadonlyArray<{ readonly calls: ReadonlyArray<Print>; readonly at: number }>
  /** The failures in a row by the time it was told of them; none when it was not. */
  readonly toldOfFailures: number | undefined
  readonly stopped: LoopDetected["kind"] | undefined
}

/** What is wrong with the next call. */
export interface Circle {
  readonly kind: LoopDetected["kind"]
  readonly stopped: boolean
  /** The calls that repeat; none for an error storm. */
  readonly calls: ReadonlyArray<Print>
  /** The tools of these calls. */
  readonly tools: ReadonlyArray<string>
  /** Repetitions, pairs, or failures. */
  readonly times: number
  readonly failed: boolean
}

export const initial: State = {
  steps: [],
  count: 0,
  since: 0,
  failures: 0,
  told: [],
  toldOfFailures: undefined,
  stopped: undefined
}

/** Whether a call goes round in a circle. */
export const check = (state: State, call: Print, rules: Rules): Circle | undefined => {
  if (state.stopped !== undefined) {
    return { kind: state.stopped, stopped: true, calls: [], tools: [], times: 0, failed: false }
  }
  const circle = pingPong(state, call, rules.pingPong) ?? repeat(state, call, rules.repeats)
  if (circle === undefined) return errorStorm(state, rules.errors)
  const stopped = state.told.some(({ calls }) => circle.calls.every((each) => calls.includes(each)))
  return stopped ? { ...circle, stopped } : circle
}

/** The call was refused as `check` says. */
export const refused = (state: State, call: Print, rules: Rules): State => {
  const circle = check(state, call, rules)
  if (circle === undefined) return state
  if (circle.stopped) return { ...state, stopped: circle.kind }
  if (circle.kind === "error_storm") return { ...state, toldOfFailures: state.failures }
  return { ...state, told: [...state.told, { calls: circle.calls, at: state.count }] }
}

/** A call has run and ended. */
export const ended = (state: State, step: Step, rules: Rules): State => {
  // Only what was never done before makes progress: switching something on and off does not.
  const progress = step.changes && !step.failed && !state.steps.some(({ call }) => call === step.call)
  const told =
    state.told.length === 0 ? state.told : state.told.filter(({ at }) => at + rules.window > state.count)
  return {
    steps: state.steps.concat(step).slice(-rules.window),
    count: state.count + 1,
    since: progress ? state.count : state.since,
    failures: step.failed ? state.failures + 1 : 0,
    told: progress ? [] : told,
    toldOfFailures: step.failed ? state.toldOfFailures : undefined,
    stopped: state.stopped
  }
}

/**
 * The last `pairs` pairs of calls were the same two, with the same two outcomes, and this call would go on
 * with it.
 */
const pingPong = ({ steps }: State, call: Print, pairs: number): Circle | undefined => {
  const first = steps.at(-2)
  const second = steps.at(-1)
  if (first === undefined || second === undefined || first.call !== call || second.call === call) {
    return undefined
  }
  if (first.exempt || second.exempt || steps.length < 2 * pairs) return undefined
  for (let back = 3; back <= 2 * pairs; back++) {
    if (!same(steps.at(-back)!, back % 2 === 0 ? first : second)) return undefined
  }
  return {
    kind: "ping_pong",
    stopped: false,
    calls: [call, second.call],
    tools: [first.tool, second.tool],
    times: pairs,
    failed: first.failed && second.failed
  }
}

/** The call ended `times` times in a row with the same outcome, whatever else was called in between. */
const repeat = ({ count, since, steps }: State, call: Print, times: number): Circle | undefined => {
  const offset = count - steps.length
  let last: Step | undefined
  let found = 0
  for (let index = steps.length - 1; index >= 0 && offset + index >= since; index--) {
    const step = steps[index]!
    if (step.call !== call) continue
    if (step.exempt || (last !== undefined && !same(step, last))) return undefined
    last = step
    if (++found === times) {
      return {
        kind: "repeat",
        stopped: false,
        calls: [call],
        tools: [step.tool],
        times,
        failed: step.failed
      }
    }
  }
  return undefined
}

/** After it was told, the run may try once more: one failure on top of those it was told of ends it. */
const errorStorm = ({ failures, toldOfFailures }: State, times: number): Circle | undefined => {
  if (failures < times || toldOfFailures === failures) return undefined
  const stopped = toldOfFailures !== undefined
  return { kind: "error_storm", stopped, calls: [], tools: [], times: failures, failed: true }
}

const same = (self: Step, that: Step): boolean => self.call === that.call && self.outcome === that.outcome
