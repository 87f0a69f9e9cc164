/**
 * Notices that a model goes round in circles, tells it so, and stops it when it
 * goes on.
 *
 * Only runs whose `driver` is `model` are looked at. Three things are circles:
 *
 * - `repeat`: a call, that is a tool with certain arguments, ended with the same
 *   outcome `repeats` times in a row; what else was called in between does not
 *   matter. The next such call is refused. Another outcome starts the
 *   count anew, so polling that gets on is none.
 * - `ping_pong`: the last `pingPong` pairs of calls were the same two, with the
 *   same two outcomes. The call that would go on with it is refused.
 * - `error_storm`: `errors` calls in a row failed, whichever they were.
 *
 * Precedence, said once: stopped, then ping-pong, then repeat, then error storm.
 *
 * The first refusal carries a message for the model. Where the model does the
 * same again the run is stopped: every further call is refused, whatever it is. After an
 * error storm one more call is let through; if it fails as well, the run is stopped.
 *
 * What was seen may look different after something was changed: the first success of a call whose tool is
 * declared to change things (`Tool.Readonly` is false, or `Tool.Destructive` true) starts the counts of
 * `repeat` anew. So a run may read a file, write it and read it again.
 *
 * Arguments and outcomes are kept as numbers that only tell whether they are equal, never as values. Memory is
 * bounded: the last `window` calls of a run, about 150 bytes each, for as long as the run lives.
 *
 * Gotchas: equal calls of one parallel batch are counted as they end, and a second refusal in the same batch
 * stops the run before the model has read the first. What never ran and is not reported through `ended` is
 * not seen; report invalid calls too, for they are what error storms are made of.
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import { shorten } from "./internal/argumentPath.ts"
import * as Fingerprint from "./internal/fingerprint.ts"
import * as Glob from "./internal/glob.ts"
import * as Machine from "./internal/loopMachine.ts"
import { whole } from "./internal/options.ts"
import type { Run } from "./Run.ts"
import type { ToolFacts } from "./ToolAnnotations.ts"
import type { Reason } from "./ToolError.ts"

/** A call as a loop is made of: the tool and its raw (encoded) arguments. */
export interface LoopedCall {
  readonly tool: string
  readonly params: unknown
  /** What the tool says about itself; without it, the tool is one that declares nothing. */
  readonly facts?: ToolFacts | undefined
}

export type LoopDetected = Extract<Reason, { readonly _tag: "LoopDetected" }>

export interface Options {
  /** Equal outcomes of a call in a row before the next one is refused; 2, at least 1. */
  readonly repeats?: number
  /** Pairs that alternate before the call that goes on with it is refused; 2, at least 2. */
  readonly pingPong?: number
  /** Failures in a row before a call is refused; 5, at least 1. */
  readonly errors?: number
  /** Calls of a run that are remembered; 50, and no fewer than the rules above need. */
  readonly window?: number
  /** Tools whose calls may be repeated without end, such as one that waits. Their failures still count. */
  readonly mayRepeat?: ReadonlyArray<Glob.Glob>
}

// --- Messages --------------------------------------------------------------

/** What the model is told. Names tools, never arguments or outcomes. */
const messageOf = ({ failed, kind, stopped, times, tools }: Machine.Circle): string => {
  const [first, second] = tools.map((tool) => `"${shorten(tool, 64)}"`)
  if (stopped) {
    return `The run is stopped, because it ${went[kind]} after it was told. No further call is made. Answer with what is known so far, and say what is missing.`
  }
  switch (kind) {
    case "repeat":
      return `${first} was called with exactly these arguments before and ${failed ? "failed in the same way" : "gave the same result"} ${counted(times)}, so it was not called again. Use that result, change the arguments, try another tool, or say what is missing. If this call is repeated, the run is stopped.`
    case "ping_pong":
      return `${first} and ${second} were called in turn ${counted(times)}, with the same arguments and the same results each time, so it was not called again. Use these results, do something else, or say what is missing. If either call is repeated, the run is stopped.`
    case "error_storm":
      return `The last ${times === 1 ? "call" : `${times} calls`} failed, so this one was not made. Read the errors first: check the names and the arguments of the tools, try something simpler, or say what stands in the way. If the next call fails too, the run is stopped.`
  }
}

const went: { readonly [Kind in LoopDetected["kind"]]: string } = {
  repeat: "repeated a call",
  ping_pong: "went on repeating the same two calls",
  error_storm: "went on with calls that failed"
}

const counted = (times: number): string => (times === 1 ? "once" : times === 2 ? "twice" : `${times} times`)

// --- Service ---------------------------------------------------------------

/** Judges the calls of runs that a model drives. */
export class LoopDetector extends Context.Service<
  LoopDetector,
  {
    /** Whether the call would go round in a circle, judged by what the run has done. Remembers nothing. */
    readonly check: (run: Run, call: LoopedCall) => LoopDetected | undefined
    /** Tells that a call was refused as a loop: the next time the run is stopped. */
    readonly refused: (run: Run, call: LoopedCall) => void
    /** Tells how a call that ran has ended: its code, or its encoded value. A code says that it failed. */
    readonly ended: (
      run: Run,
      call: LoopedCall,
      outcome: { readonly code?: string; readonly encoded?: unknown }
    ) => void
  }
>()("interlock/LoopDetector") {}

/** Throws a `RangeError` for an option that makes no sense. */
export const make = (options: Options = {}): LoopDetector["Service"] => {
  const rules: Machine.Rules = {
    repeats: whole("LoopDetector: repeats", options.repeats ?? 2),
    pingPong: whole("LoopDetector: pingPong", options.pingPong ?? 2, 2),
    errors: whole("LoopDetector: errors", options.errors ?? 5),
    window: options.window ?? 50
  }
  whole("LoopDetector: window", rules.window, Math.max(rules.repeats, 2 * rules.pingPong))
  const mayRepeat = options.mayRepeat ?? []
  const printOf = Fingerprint.make()
  let unreadable = 0

  const remembered = (run: Run): { state: Machine.State } =>
    run.remember("loops", () => ({ state: Machine.initial }))
  const callOf = ({ params, tool }: LoopedCall): Machine.Print => printOf([tool, params])
  const outcomeOf = (code: string | undefined, encoded: unknown): Machine.Print => {
    try {
      return printOf([code, encoded])
    } catch {
      // What cannot be written down cannot be the same as anything.
      return `unreadable ${unreadable++}`
    }
  }

  return {
    check: (run, call) => {
      if (run.driver !== "model") return undefined
      const circle = Machine.check(remembered(run).state, callOf(call), rules)
      if (circle === undefined) return undefined
      return {
        _tag: "LoopDetected",
        kind: circle.kind,
        stopped: circle.stopped,
        message: messageOf(circle)
      }
    },
    refused: (run, call) => {
      if (run.driver !== "model") return
      const memory = remembered(run)
      memory.state = Machine.refused(memory.state, callOf(call), rules)
    },
    ended: (run, call, { code, encoded }) => {
      if (run.driver !== "model") return
      const memory = remembered(run)
      const { facts, tool } = call
      const step: Machine.Step = {
        tool,
        call: callOf(call),
        outcome: outcomeOf(code, encoded),
        failed: code !== undefined,
        changes: facts !== undefined && (facts.readonly === false || facts.destructive === true),
        exempt: Glob.find(mayRepeat, facts?.names ?? [tool]) !== undefined
      }
      memory.state = Machine.ended(memory.state, step, rules)
    }
  }
}

// --- Layers ----------------------------------------------------------------

/** Judges by what each run remembers. Dies with a `RangeError` for an option that makes no sense. */
export const layer = (options?: Options): Layer.Layer<LoopDetector> =>
  Layer.sync(LoopDetector, () => make(options))

/** Refuses nothing and remembers nothing. */
export const layerNoop: Layer.Layer<LoopDetector> = Layer.succeed(LoopDetector, {
  check: () => undefined,
  refused: () => {},
  ended: () => {}
})
