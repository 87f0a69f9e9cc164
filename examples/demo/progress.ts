/** How far the calls are, while they run: a bar on a terminal, a plain line each second elsewhere. */
import { Effect, Schedule } from "effect"
import { CircuitBreaker, History } from "effect-interlock"
import type { Tally } from "./tally.ts"
import { count, time } from "./text.ts"

/** Shows the tally while an effect runs. */
export const withProgress =
  (tally: Tally) =>
  <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const startedAt = performance.now()
      const terminal = process.stdout.isTTY
      const show = Effect.map(look(tally), (seen) => {
        const state = { ...seen, elapsed: performance.now() - startedAt }
        if (terminal) process.stdout.write(`${clearLine}${bar(state)}`)
        else console.log(line(state))
      })
      const showing = Effect.repeat(Effect.delay(show, terminal ? "80 millis" : "1 second"), Schedule.forever)
      const clear = Effect.sync(() => terminal && process.stdout.write(clearLine))
      return yield* Effect.raceFirst(self, showing).pipe(Effect.ensuring(clear))
    })

const clearLine = "\r\x1b[K"

interface State {
  readonly ended: number
  readonly total: number
  readonly running: number
  readonly good: number
  readonly open: ReadonlyArray<string>
  readonly elapsed: number
}

const look = (tally: Tally) =>
  Effect.gen(function* () {
    const { all } = yield* (yield* History.History).statistics
    const circuits = yield* (yield* CircuitBreaker.CircuitBreaker).states
    return {
      ended: tally.ended,
      total: tally.total,
      running: all.inFlight,
      good: tally.count("success") + tally.count("degraded"),
      open: Array.from(circuits).flatMap(([key, { tag }]) => (tag === "Open" ? [key] : []))
    }
  })

const facts = ({ ended, good, running }: State): string =>
  `${running} running, ${good} ok, ${ended - good} not`

const bar = (state: State): string => {
  const width = 22
  const full = Math.round((width * state.ended) / Math.max(1, state.total))
  const open = state.open.length === 0 ? "" : `, ${count(state.open.length, "circuit")} open`
  const done = `${"█".repeat(full)}${"░".repeat(width - full)} ${state.ended}/${state.total}`
  // A line that does not fit would be broken, and then not be overwritten.
  return `  ${done}  ${facts(state)}${open}`.slice(0, (process.stdout.columns || 80) - 1)
}

const line = (state: State): string => {
  const open = state.open.length === 0 ? "" : `; open: ${state.open.join(", ")}`
  return `  ${time(state.elapsed).padStart(6)}  ${state.ended} of ${count(state.total, "call")} ended; ${facts(state)}${open}`
}
