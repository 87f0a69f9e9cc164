/**
 * Runs the calls of a batch, some at a time, and lets out their results once they
 * are in the journal.
 *
 * Three go on side by side: a `Reader` takes lines for as long as there is room, a
 * `Writer` puts down what begins and what has ended, and somebody takes the results.
 * Each waits for the others where they are slower, so that nothing piles up.
 */
import { isReadonlyArrayNonEmpty, type NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import type { BatchRequest } from "../../internal/request.ts"
import type { Pipeline } from "../../Pipeline.ts"
import { type Status, table } from "../../ToolError.ts"
import type { ToolResult } from "../../ToolResult.ts"
import type { JournalError } from "./Batches.ts"
import { Calls } from "./Calls.ts"
import type { Cursor, LineChanged } from "./Cursor.ts"
import { Intake, type ToRun } from "./Intake.ts"
import type { Journal, Row } from "./Journal.ts"
import type { Line } from "./Line.ts"
import { Outlet } from "./Outlet.ts"
import { Tally } from "./Progress.ts"
import { type Lines, Reader } from "./Reader.ts"
import { fromResult, type ResultLine, toText } from "./ResultLine.ts"
import { type Ended, type Item, retrying, Writer } from "./Writer.ts"

export interface Settings {
  readonly concurrency: number
  readonly failFast: boolean
  /** Milliseconds since the epoch. */
  readonly deadline: number | undefined
  readonly ordered: boolean
  readonly replay: boolean
  readonly retry: ReadonlySet<Status>
}

/** What ended a batch: its input, a critical call, the deadline, whoever ran it, or an error. */
export type EndedBy = "input" | "fail_fast" | "deadline" | "interrupt" | "error"

export type Failure = SqlError | JournalError | LineChanged

export class Engine<E> {
  readonly tally: Tally
  endedBy: EndedBy | undefined
  /** The line that stopped a fail-fast batch. */
  stoppedBy: number | undefined
  /** Calls that were stopped with the batch, or never began. */
  undone = 0
  readonly #pipeline: Pipeline
  readonly #journal: Journal
  readonly #settings: Settings
  readonly #clock: Clock.Clock
  readonly #calls: Calls<Item>
  readonly #cursor: Cursor
  readonly #reader: Reader
  readonly #writer: Writer
  readonly #outlet: Outlet
  #reading: Fiber.Fiber<unknown, E | Failure> | undefined
  #read: Exit.Exit<unknown, E | Failure> | undefined
  #written: Exit.Exit<void, Failure> | undefined
  #onResult: (() => void) | undefined

  constructor(pipeline: Pipeline, journal: Journal, settings: Settings, clock: Clock.Clock) {
    this.#pipeline = pipeline
    this.#journal = journal
    this.#settings = settings
    this.#clock = clock
    this.#calls = new Calls(pipeline, settings.concurrency, {
      ended: (item, result) => this.#end(item, result),
      left: () => {
        this.#reader.changed()
        this.#writer.changed()
      }
    })
    const isStopped = () => this.#calls.stopped
    const intake = new Intake(pipeline.tools, journal, settings.retry)
    this.#cursor = intake.cursor
    this.#reader = new Reader(intake, {
      hasRoom: () => this.#hasRoom,
      isStopped: () => this.#calls.stopped || this.#isLate,
      toRun: (line, decided) => this.#take(line, decided),
      recorded: (line, row) => this.#recorded(line, row),
      rests: () => this.#writer.changed()
    })
    this.#writer = new Writer(journal, {
      isOver: () => this.#isOver,
      isStopped,
      isReading: () => this.#reader.isReading,
      begin: (item) => this.#begin(item),
      leave: ({ place }) => this.#outlet.give(place, undefined),
      letOut: (ended) => this.#letOut(ended),
      wrote: () => {
        this.#onResult?.()
        this.#reader.changed()
      }
    })
    this.#outlet = new Outlet(settings.ordered)
    this.tally = new Tally(this.#now)
  }

  get running(): number {
    return this.#calls.count
  }

  get #now(): number {
    return this.#clock.currentTimeMillisUnsafe()
  }

  /** Begins, and gives the results as they come. Closing the scope stops the batch, and waits until it is written down. */
  run<R>(
    lines: Lines<E, R>,
    scope: Scope.Scope
  ): Effect.Effect<Pull.Pull<NonEmptyReadonlyArray<ResultLine>, E | Failure>, never, R> {
    return Effect.gen({ self: this }, function* (this: Engine<E>) {
      this.#calls.context = yield* Effect.context<never>()
      const writer = yield* Effect.forkIn(this.#write, scope)
      const { deadline } = this.#settings
      const within = deadline === undefined ? undefined : Math.max(0, deadline - this.#now)
      const reading = yield* Effect.forkIn(this.#reader.run(lines, within), scope)
      this.#reading = reading
      reading.addObserver((exit) => {
        this.#read = exit
        this.endedBy ??= Exit.isSuccess(exit) ? exit.value : "error"
        this.#writer.changed()
      })
      // It may have been stopped before it was begun.
      if (this.#calls.stopped) reading.interruptUnsafe()
      yield* Scope.addFinalizer(
        scope,
        Effect.suspend(() => {
          this.stop("interrupt")
          return Effect.asVoid(Fiber.await(writer))
        })
      )
      return this.#results
    })
  }

  /** Nothing more begins, what runs is cancelled, and what has ended is written down and let out. */
  stop(by: EndedBy): void {
    if (!this.#calls.stopped && !(this.#isOver && this.#writer.isIdle)) this.endedBy = by
    this.#reading?.interruptUnsafe()
    this.#calls.stop()
    this.#writer.changed()
  }

  get #isLate(): boolean {
    const { deadline } = this.#settings
    return deadline !== undefined && this.#now >= deadline
  }

  // --- Reading ---------------------------------------------------------------

  get #hasRoom(): boolean {
    const { count, size } = this.#outlet
    return this.#calls.room > this.#writer.beginning && count < mostHeld && size < mostHeldSize
  }

  #take(line: Line, { begins, call, digest }: ToRun): void {
    this.tally.read(line)
    const item: Item = { line: line.number, digest, call, place: this.#outlet.place(), begun: false }
    if (begins) this.#writer.begin(item)
    else this.#start(item)
  }

  #recorded(line: Line, row: Row): Effect.Effect<void, SqlError> {
    this.tally.read(line)
    if (!this.#settings.replay) return Effect.void
    return Effect.map(this.#cursor.result(row), (result) => {
      const held = { result, size: toText(result).length }
      this.#outlet.hold(held)
      this.#outlet.give(this.#outlet.place(), held)
      this.#onResult?.()
    })
  }

  // --- Running ---------------------------------------------------------------

  #start(item: Item): void {
    const { request } = item.call
    const { deadline = request.deadline } = this.#settings
    this.#calls.start(item, {
      ...request,
      deadline: deadline === undefined ? undefined : Math.min(deadline, request.deadline ?? deadline)
    })
  }

  #end(item: Item, result: ToolResult): void {
    const undone = this.#isUndone(result)
    if (undone) this.undone++
    this.tally.ended(result.status, result.completedAt)
    const line = fromResult(item.line, result)
    const text = toText(line)
    this.#outlet.hold({ result: line, size: text.length })
    this.#writer.end({ item, result: line, text, undone })
    if (this.#settings.failFast && this.#isCritical(item.call) && stops(result)) {
      this.stoppedBy ??= item.line
      this.stop("fail_fast")
    }
  }

  /** It was stopped with the batch, or did not begin before the batch's deadline. */
  #isUndone({ attempts, status }: ToolResult): boolean {
    if (status === "cancelled") return this.#calls.stopped
    return status === "timeout" && attempts === 0 && this.#isLate
  }

  #isCritical({ critical, request }: BatchRequest): boolean {
    return critical ?? this.#pipeline.tools.get(request.tool)?.facts.importance !== "optional"
  }

  /** It is written down that it begins. */
  #begin(item: Item): void {
    if (this.#calls.stopped || this.#isLate) {
      this.#writer.drop(item)
      this.#outlet.give(item.place, undefined)
    } else this.#start(item)
  }

  // --- Writing ---------------------------------------------------------------

  get #isOver(): boolean {
    return this.#read !== undefined && this.#calls.count === 0
  }

  readonly #write = Effect.gen({ self: this }, function* (this: Engine<E>) {
    yield* this.#writer.run
    if (this.endedBy === "input" && this.undone === 0)
      yield* retrying(this.#journal.finish, () => this.#calls.stopped)
  }).pipe(
    Effect.onError(() =>
      Effect.suspend(() => {
        this.stop("error")
        return this.#writer.until(() => this.#calls.count === 0)
      })
    ),
    Effect.onExit((exit) =>
      Effect.sync(() => {
        this.#written = exit
        this.#onResult?.()
      })
    )
  )

  // --- Letting out -----------------------------------------------------------

  #letOut({ item, result, text, undone }: Ended): void {
    // It was stopped before its handler began.
    if (undone && item.begun && result.attempts === 0) this.#writer.drop(item)
    this.#outlet.give(item.place, { result, size: text.length })
  }

  readonly #results: Pull.Pull<NonEmptyReadonlyArray<ResultLine>, E | Failure> = Effect.suspend(() => {
    const results = this.#outlet.take()
    if (isReadonlyArrayNonEmpty(results)) {
      this.#reader.changed()
      return Effect.succeed(results)
    }
    if (this.#written === undefined) return Effect.andThen(this.#result, this.#results)
    for (const exit of [this.#written, this.#read]) {
      if (exit !== undefined && Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) {
        return Effect.failCause(exit.cause)
      }
    }
    return Cause.done()
  })

  readonly #result = Effect.callback<void>((resume) => {
    this.#onResult = () => {
      if (!this.#outlet.isEmpty || this.#written !== undefined) resume(Exit.void)
    }
    this.#onResult()
  })
}

const stops = ({ error, status }: ToolResult): boolean =>
  status !== "degraded" && error !== undefined && table[error.reason._tag].failFast

/** Results that have ended and were not taken; and about how many characters of them. */
const mostHeld = 1_024
const mostHeldSize = 16_777_216
