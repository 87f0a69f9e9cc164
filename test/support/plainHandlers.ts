/** Handlers that do what the steps of their scenario say, and write down what happened to them. */
import * as Effect from "effect/Effect"
import type * as Plain from "./plain.ts"
import { Busy, fits, misfits, type Step } from "./scenarios.ts"

/** What a handler did, and when. */
export interface Logged {
  readonly call: string
  readonly attempt: number
  readonly what: "began" | "succeeded" | "failed" | "interrupted"
  readonly at: number
}

/** What is left behind of a call, as far as it must be told from others. */
export interface Left {
  readonly queuedAt: number
  readonly completedAt: number
}

/** The world a handler lives in: the virtual clock, and where it writes down what happened. */
export interface World {
  readonly now: () => number
  /** A promise of the virtual clock; rejects when the signal aborts. */
  readonly sleep: (millis: number, signal: AbortSignal | undefined) => Promise<void>
  readonly log: (entry: Logged) => void
  /** What was left behind of a call that ended. */
  readonly record: (id: string, record: Left) => void
  readonly spend: (amount: number) => Effect.Effect<void>
  /** What the nth attempt of a call does. */
  readonly stepOf: (call: string, attempt: number) => Step
}

export const handlerOf = (world: World): Plain.Handler => {
  const attempts = new Map<string, number>()
  return (params: { readonly n: number }, { signal, toolCallId: call }) => {
    const attempt = (attempts.get(call) ?? 0) + 1
    attempts.set(call, attempt)
    const log = (what: Logged["what"]) => world.log({ call, attempt, what, at: world.now() })
    const step = world.stepOf(call, attempt)
    log("began")
    if (step.way === "plain") return answerOf(step, params.n)
    if (step.way === "async") return promised(step, params.n, world, signal, log)
    return effected(step, params.n, world, log)
  }
}

/** What the step answers or throws, at once. */
const answerOf = (step: Step, n: number): unknown => {
  switch (step.does) {
    case "misfits":
      return misfits
    case "fails":
      throw new Busy(step.retryAfter === undefined ? {} : { retryAfterMs: step.retryAfter })
    case "throws":
      throw new Error("no")
    case "throws http":
      throw Object.assign(new Error("no"), {
        status: step.retryAfter === undefined ? 404 : 429,
        ...(step.retryAfter === undefined ? {} : { retryAfterMs: step.retryAfter })
      })
    case "loses":
      throw Object.assign(new Error("no"), { code: "ECONNRESET" })
    default:
      return fits(n)
  }
}

const promised = async (
  step: Step,
  n: number,
  world: World,
  signal: AbortSignal,
  log: (what: Logged["what"]) => void
): Promise<unknown> => {
  try {
    const heeds = step.stops === "never" ? undefined : signal
    if (step.does === "hangs") await world.sleep(step.stops === "never" ? 5000 : 1_000_000, heeds)
    else if (step.after > 0) await world.sleep(step.after, heeds)
    const answer = answerOf(step, n)
    log("succeeded")
    return answer
  } catch (error) {
    log(signal.aborted ? "interrupted" : "failed")
    throw error
  }
}

const effected = (
  step: Step,
  n: number,
  world: World,
  log: (what: Logged["what"]) => void
): Effect.Effect<unknown, unknown> => {
  const end = Effect.suspend((): Effect.Effect<unknown, unknown> => {
    if (step.does === "dies") return Effect.die(new Error("bug"))
    if (step.does === "interrupts itself") return Effect.interrupt
    return Effect.try({ try: () => answerOf(step, n), catch: (error) => error })
  })
  const waited =
    step.does === "hangs" ? Effect.never : step.after > 0 ? Effect.sleep(step.after) : Effect.void
  const spent = step.spends === undefined ? Effect.void : world.spend(step.spends)
  const body = Effect.andThen(spent, Effect.andThen(waited, end)).pipe(
    Effect.onExit((exit) =>
      Effect.sync(() =>
        log(
          exit._tag === "Success"
            ? "succeeded"
            : exit.cause.reasons.some((r) => r._tag === "Interrupt")
              ? "interrupted"
              : "failed"
        )
      )
    )
  )
  if (step.stops === "never" && step.does !== "hangs") return Effect.uninterruptible(body)
  return step.stops === "slowly" ? Effect.onInterrupt(body, () => Effect.sleep(7)) : body
}
