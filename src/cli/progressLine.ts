/** How far a batch is, on stderr: a line that changes on a terminal, else a line now and then. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { Stdio } from "effect/Stdio"
import type { Progress } from "./batch/Progress.ts"

export interface ProgressLine {
  /** Writes a line to stdout above it. */
  readonly above: (line: string) => Effect.Effect<void>
  /** Takes it away. */
  readonly end: Effect.Effect<void>
}

// --- What it says ----------------------------------------------------------

const barWidth = 24

/** `[█████      ]  42 %  4,213 done, 12 failed, 10 running  9,800/s  3 s left`. The share is of the input's bytes. */
export const text = (progress: Progress, size: number | undefined): string => {
  const { before, bytes, counts, ended, rate, running } = progress
  const good = (counts.success ?? 0) + (counts.degraded ?? 0)
  const share = size === undefined || size === 0 ? undefined : Math.min(1, bytes / size)
  const filled = Math.round((share ?? 0) * barWidth)
  return [
    ...(share === undefined
      ? []
      : [`[${"█".repeat(filled)}${" ".repeat(barWidth - filled)}] ${Math.floor(share * 100)} %`]),
    [
      `${count(ended + before)} done`,
      ...(ended > good ? [`${count(ended - good)} not well`] : []),
      ...(running > 0 ? [`${running} running`] : [])
    ].join(", "),
    `${count(Math.round(rate))}/s`,
    ...(share === undefined ? [] : left(progress, share))
  ].join("  ")
}

const count = (value: number): string => value.toLocaleString("en-US")

/** What is left at the speed of this run; nothing is said of it at the very beginning. */
const left = ({ elapsed }: Progress, share: number): ReadonlyArray<string> =>
  share < 0.01 || share === 1 || elapsed < 1000
    ? []
    : [`${Math.ceil((elapsed / share - elapsed) / 1000)} s left`]

// --- Acting ----------------------------------------------------------------

const clear = "\r\x1b[2K"

/** Begins to show it; it ends with the scope at the latest. */
export const make = (
  progress: Effect.Effect<Progress>,
  size: number | undefined
): Effect.Effect<ProgressLine, never, Stdio | Scope.Scope> =>
  Effect.gen(function* () {
    const live = yield* (yield* Stdio).stderrIsTerminal
    let shown = false
    const write = (text: string) => process.stderr.write(text)
    const draw = Effect.map(progress, (now) => {
      write(live ? `${clear}${text(now, size)}` : `${text(now, size)}\n`)
      shown = live
    })
    const hide = () => {
      if (shown) write(clear)
      shown = false
    }
    const every = live ? Duration.millis(100) : Duration.seconds(10)
    yield* Effect.forkScoped(Effect.repeat(Effect.delay(draw, every), Schedule.forever))
    return {
      above: (line) =>
        Effect.sync(() => {
          hide()
          process.stdout.write(`${line}\n`)
        }),
      end: Effect.sync(hide)
    }
  })
