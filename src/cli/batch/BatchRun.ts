/**
 * A batch of calls, one to a line of JSON, that can be killed and resumed: every
 * line has at most one recorded outcome, and none that has one is run again.
 *
 * - A line is a `Batch.Call`: `tool`, `params`, and whatever a call may say for
 *   itself. One that is none is refused as `invalid_params` and stops nothing.
 * - A result is let out once it is recorded. Whoever is killed between the two has
 *   it in the journal: `replay` lets out again what earlier runs have recorded.
 * - What ran when its process died is run again where that does no harm (see
 *   `ToolAnnotations.AfterCrash`), is asked about, or ends as `unknown`. To know of it
 *   costs the tools that need it a write before each call, of up to `concurrency`
 *   calls together.
 * - A call has the id `<batch>:<line>` where it names none: the same in every run, so
 *   that a grant for it holds, and a handler can tell that it sees a call again.
 * - Interrupted, by `stop`, or by fail-fast, calls that run are cancelled. They have no
 *   outcome then, and are as if their process had died; those whose handler had not
 *   begun are as if they had never been looked at.
 * - Memory is constant: what was read and is not yet written, and what has ended and
 *   was not taken, is bounded.
 */
import type * as Tool from "effect/ai/Tool"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { MigrationError } from "effect/sql/Migrator"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Counts } from "../../Batch.ts"
import { period, whole } from "../../internal/options.ts"
import type { Keyring } from "../../Keyring.ts"
import type { Status } from "../../ToolError.ts"
import type { ToolExecutor, Tools } from "../../ToolExecutor.ts"
import type { JournalError } from "./Batches.ts"
import { type EndedBy, Engine, type Failure } from "./Engine.ts"
import * as Journal from "./Journal.ts"
import type { Line } from "./Line.ts"
import type { Progress } from "./Progress.ts"
import type { ResultLine } from "./ResultLine.ts"

export { JournalError } from "./Batches.ts"
export { LineChanged } from "./Cursor.ts"
export type { EndedBy, Failure } from "./Engine.ts"
export type { Progress } from "./Progress.ts"
export type { ResultLine } from "./ResultLine.ts"

export interface Options extends Journal.Options {
  /** Calls at once, at least 1; 10, or what the executor's defaults say. */
  readonly concurrency?: number
  /** Stop everything when a critical call fails; `false`. */
  readonly failFast?: boolean
  /** From now; what has not begun by then does not begin, what runs is timed out. */
  readonly deadline?: Duration.Input
  /** Results in the order of the lines, and not as they end; `false`. Up to 1,024 wait for a slow one. */
  readonly ordered?: boolean
  /** Let out what earlier runs have recorded, too; `false`. */
  readonly replay?: boolean
  /**
   * Recorded outcomes that are run again, none by default. `unknown` is also what was begun by a process that died, and
   * may have had its effect.
   */
  readonly retry?: ReadonlyArray<Status>
}

export interface Summary {
  readonly batch: string
  /** `undefined` while it runs. */
  readonly endedBy: EndedBy | undefined
  /** The line that stopped a fail-fast batch. */
  readonly stoppedBy: number | undefined
  readonly read: number
  /** Calls that ended in this run, and how. */
  readonly ended: number
  readonly counts: Counts
  /** Of these, the ones that were stopped with the batch and have no outcome. */
  readonly undone: number
  /** Lines whose outcome an earlier run has recorded, by how they ended. */
  readonly before: Counts
  /** Milliseconds. */
  readonly time: number
}

export interface BatchRun<E = never, R = never> {
  /** Begins when it is read, which can be once. Whoever stops reading stops the batch. */
  readonly results: Stream.Stream<ResultLine, E | Failure, R>
  readonly progress: Effect.Effect<Progress>
  readonly summary: Effect.Effect<Summary>
  /** Ends it early: the results end by themselves, with all that has ended. */
  readonly stop: Effect.Effect<void>
}

/** Takes the batch for this process, and lets go of it with the scope. Throws a `RangeError` for an option that makes no sense. */
export const make = <T extends Tools, E, R>(
  executor: ToolExecutor<T>,
  lines: Stream.Stream<Line, E, R>,
  options: Options
): Effect.Effect<
  BatchRun<E, R | Tool.HandlerServices<T[keyof T]>>,
  SqlError | MigrationError | JournalError,
  SqlClient | Keyring | Scope.Scope
> => {
  const { pipeline } = executor
  const concurrency = whole("BatchRun: concurrency", options.concurrency ?? pipeline.defaults.concurrency)
  const within = options.deadline === undefined ? undefined : period("BatchRun: deadline", options.deadline)
  return Effect.gen(function* () {
    const journal = yield* Journal.open(options)
    const clock = yield* Clock.Clock
    const engine = new Engine<E>(
      pipeline,
      journal,
      {
        concurrency,
        failFast: options.failFast === true,
        deadline: within === undefined ? undefined : clock.currentTimeMillisUnsafe() + within,
        ordered: options.ordered === true,
        replay: options.replay === true,
        retry: new Set(options.retry)
      },
      clock
    )
    let before = 0
    for (const lines of journal.before.values()) before += lines
    const progress = Effect.map(Clock.currentTimeMillis, (now) =>
      engine.tally.snapshot(engine.running, before, now)
    )
    return {
      results: Stream.transformPullBracket(lines, (pull, _, scope) => engine.run(pull, scope)),
      progress,
      summary: Effect.map(progress, ({ counts, elapsed, ended, read }) => ({
        batch: journal.id,
        endedBy: engine.endedBy,
        stoppedBy: engine.stoppedBy,
        read,
        ended,
        counts,
        undone: engine.undone,
        before: Object.fromEntries(journal.before),
        time: elapsed
      })),
      stop: Effect.sync(() => engine.stop("interrupt"))
    }
  })
}

/**
 * Gives every result to `each`, one after the other. Interrupted, it stops the batch, gives on what has ended, and is
 * interrupted then.
 */
export const forEach = <E, R, E2, R2>(
  run: BatchRun<E, R>,
  each: (result: ResultLine) => Effect.Effect<unknown, E2, R2>
): Effect.Effect<void, E | E2 | Failure, R | R2> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const all = yield* Effect.forkChild(restore(Stream.runForEach(run.results, each)))
      yield* Effect.onInterrupt(restore(Fiber.join(all)), () => Effect.andThen(run.stop, Fiber.await(all)))
    })
  )
