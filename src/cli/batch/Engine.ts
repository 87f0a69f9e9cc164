/**
 * Runs the calls of a batch, some at a time, and lets out their results once they
 * are in the journal.
 *
 * Three go on side by side: a reader takes lines for as long as there is room, a
 * writer puts down what begins and what has ended, and whoever takes the results.
 * Each waits for the others where they are slower, so that nothing piles up.
 */
import { isReadonlyArrayNonEmpty, type NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import type { BatchRequest } from "../../internal/request.ts"
import { startsPerTurn } from "../../internal/startCall.ts"
import type { Pipeline } from "../../Pipeline.ts"
import { type Status, table } from "../../ToolError.ts"
import type { ToolResult } from "../../ToolResult.ts"
import type { JournalError } from "./Batches.ts"
import { Calls } from "./Calls.ts"
import type { LineChanged } from "./Cursor.ts"
import { Intake, type ToRun } from "./Intake.ts"
import type { Change, Journal, Row } from "./Journal.ts"
import type { Line } from "./Line.ts"
import { Outlet } from "./Outlet.ts"
import { Tally } from "./Progress.ts"
import { fromResult, type ResultLine, toText } from "./ResultLine.ts"

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

/** A line that is to be run, or runs. */
interface Item {
  readonly line: number
  readonly digest: string
  readonly call: BatchRequest
  /** Of its result, among those that are let out. */
  readonly place: number
  /** This run has written it down as begun. */
  begun: boolean
}

interface Ended {
  readonly item: Item
  readonly result: ResultLine
  readonly text: string
  /** It has no outcome, or nobody knows it. */
  readonly undone: boolean
}

type Lines<E, R> = Pull.Pull<NonEmptyReadonlyArray<Line>, E, void, R>

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
  readonly #intake: Intake
  readonly #outlet: Outlet
  /** The reader goes through lines, and so may have more that begins. */
  #reading = false
  #seen = 0
  /** To be written down as begun, and then begun; and how many are being written down. */
  #waiting: Array<Item> = []
  #beginning = 0
  /** To be written down. */
  #ended: Array<Ended> = []
  #dropped: Array<number> = []
  #reader: Fiber.Fiber<void, E | Failure> | undefined
  #read: Exit.Exit<void, E | Failure> | undefined
  #written: Exit.Exit<void, Failure> | undefined
  #onRoom: (() => void) | undefined
  #onWork: (() => void) | undefined
  #onResult: (() => void) | undefined

  constructor(pipeline: Pipeline, journal: Journal, settings: Settings, clock: Clock.Clock) {
    this.#pipeline = pipeline
    this.#journal = journal
    this.#settings = settings
    this.#clock = clock
    this.#calls = new Calls(pipeline, settings.concurrency, {
      ended: (item, result) => this.#end(item, result),
      left: () => {
        this.#onRoom?.()
        this.#onWork?.()
      }
    })
    this.#intake = new Intake(pipeline.tools, journal, settings.retry)
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
      const writer = yield* Effect.forkIn(this.#writeAll, scope)
      this.#reader = yield* Effect.forkIn(this.#readAll(lines), scope)
      this.#reader.addObserver((exit) => {
        this.#read = exit
        if (Exit.isFailure(exit)) this.endedBy ??= "error"
        this.#onWork?.()
      })
      // It may have been stopped before it was begun.
      if (this.#calls.stopped) this.#reader.interruptUnsafe()
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
    if (!this.#calls.stopped && !this.#isDone) this.endedBy = by
    this.#reader?.interruptUnsafe()
    this.#calls.stop()
    this.#onWork?.()
  }

  // --- Reading ---------------------------------------------------------------

  #readAll<R>(lines: Lines<E, R>): Effect.Effect<void, E | Failure, R> {
    const all = Effect.flatMap(lines, (chunk) => Effect.ensuring(this.#readSome(chunk), this.#rest)).pipe(
      Effect.forever({ disableYield: true }),
      Pull.catchDone(() => this.#atEnd)
    )
    const { deadline } = this.#settings
    return deadline === undefined
      ? all
      : Effect.timeoutOrElse(all, {
          duration: Duration.millis(Math.max(0, deadline - this.#now)),
          orElse: () =>
            Effect.sync(() => {
              this.endedBy ??= "deadline"
            })
        })
  }

  /** Whatever is recorded must have been there. */
  readonly #atEnd = Effect.gen({ self: this }, function* (this: Engine<E>) {
    const { load } = this.#intake
    if (load !== undefined) yield* this.#retrying(load)
    const { beyond } = this.#intake
    if (beyond !== undefined) return yield* beyond
    this.endedBy ??= "input"
  })

  readonly #readSome = Effect.fnUntraced(
    { self: this },
    function* (this: Engine<E>, chunk: ReadonlyArray<Line>) {
      this.#reading = true
      for (const line of chunk) {
        if (this.#calls.stopped) return yield* Effect.never
        // Lines that are done already, and handlers that never suspend, must not keep everyone else from running.
        if (++this.#seen % startsPerTurn === 0) yield* Effect.yieldNow
        while (!this.#hasRoom) {
          yield* this.#rest
          yield* this.#room
          this.#reading = true
        }
        const load = this.#intake.load
        if (load !== undefined) yield* this.#retrying(load)
        const decided = this.#intake.decide(line)
        if (decided._tag === "LineChanged") return yield* decided
        this.tally.read(line)
        if (decided._tag === "ToRun") this.#take(line.number, decided)
        else if (this.#settings.replay) yield* this.#replay(decided.row)
      }
    }
  )

  readonly #rest = Effect.sync(() => {
    this.#reading = false
    this.#onWork?.()
  })

  readonly #room = Effect.callback<void>((resume) => {
    this.#onRoom = () => {
      if (this.#hasRoom) resume(Exit.void)
    }
    this.#onRoom()
  })

  get #hasRoom(): boolean {
    const { count, size } = this.#outlet
    const begins = this.#waiting.length + this.#beginning
    return this.#calls.room > begins && count < mostHeld && size < mostHeldSize
  }

  #take(line: number, { begins, call, digest }: ToRun): void {
    const item: Item = { line, digest, call, place: this.#outlet.place(), begun: false }
    if (begins) this.#waiting.push(item)
    else this.#start(item)
  }

  #replay(row: Row): Effect.Effect<void, SqlError> {
    return Effect.map(this.#intake.cursor.result(row), (result) => {
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
    this.#ended.push({ item, result: line, text, undone })
    if (this.#settings.failFast && this.#isCritical(item.call) && stops(result)) {
      this.stoppedBy ??= item.line
      this.stop("fail_fast")
    }
    this.#onWork?.()
  }

  /** It was stopped with the batch, or did not begin before the batch's deadline. */
  #isUndone({ attempts, completedAt, status }: ToolResult): boolean {
    const { deadline } = this.#settings
    return status === "cancelled"
      ? this.#calls.stopped
      : status === "timeout" && attempts === 0 && deadline !== undefined && completedAt >= deadline
  }

  #isCritical({ critical, request }: BatchRequest): boolean {
    return critical ?? this.#pipeline.tools.get(request.tool)?.facts.importance !== "optional"
  }

  // --- Writing ---------------------------------------------------------------

  /** Until nothing is to come; says at least every beat that this process lives. */
  readonly #writeAll = Effect.gen({ self: this }, function* (this: Engine<E>) {
    while (true) {
      if (!this.#hasWork) yield* this.#when(() => this.#hasWork || this.#isOver, this.#journal.beat)
      if (this.#isDone) break
      // What ends within a moment is written together.
      if (!this.#isUrgent) yield* this.#when(() => this.#isUrgent, gathering)
      yield* this.#write
    }
    if (this.endedBy === "input" && this.undone === 0) yield* this.#retrying(this.#journal.finish)
  }).pipe(
    Effect.onError(() =>
      Effect.suspend(() => {
        this.stop("error")
        return this.#when(() => this.#calls.count === 0)
      })
    ),
    Effect.onExit((exit) =>
      Effect.sync(() => {
        this.#written = exit
        this.#onResult?.()
      })
    )
  )

  get #hasWork(): boolean {
    return this.#waiting.length + this.#ended.length + this.#dropped.length > 0
  }

  get #isOver(): boolean {
    return this.#read !== undefined && this.#calls.count === 0
  }

  get #isDone(): boolean {
    return this.#isOver && !this.#hasWork
  }

  get #isUrgent(): boolean {
    if (this.#waiting.length > 0 && !this.#reading) return true
    return this.#ended.length >= manyEnded || this.#calls.stopped || this.#isOver
  }

  #when(condition: () => boolean, within = Number.POSITIVE_INFINITY): Effect.Effect<void> {
    const comes = Effect.callback<void>((resume) => {
      this.#onWork = () => {
        if (condition()) resume(Exit.void)
      }
      this.#onWork()
    })
    return within === Number.POSITIVE_INFINITY
      ? comes
      : Effect.asVoid(Effect.timeoutOption(comes, Duration.millis(within)))
  }

  readonly #write = Effect.gen({ self: this }, function* (this: Engine<E>) {
    const begun = this.#waiting.splice(0)
    const ended = this.#ended.splice(0)
    const change: Change = {
      begun,
      ended: ended.flatMap(({ item: { digest, line }, result: { status }, text, undone }) =>
        undone ? [] : [{ line, digest, status, text }]
      ),
      dropped: this.#dropped.splice(0)
    }
    this.#beginning = begun.length
    yield* this.#retrying(this.#journal.write(change))
    this.#beginning = 0
    for (const { item, result, text, undone } of ended) {
      // It was stopped before its handler began.
      if (undone && item.begun && result.attempts === 0) this.#dropped.push(item.line)
      this.#outlet.give(item.place, { result, size: text.length })
    }
    for (const item of begun) {
      item.begun = true
      if (!this.#calls.stopped && this.#now < (this.#settings.deadline ?? Number.POSITIVE_INFINITY)) {
        this.#start(item)
      } else {
        this.#dropped.push(item.line)
        this.#outlet.give(item.place, undefined)
      }
    }
    this.#onResult?.()
    this.#onRoom?.()
  })

  /** A database that is busy or gone for a while must not end a long batch, nor keep one from being stopped. */
  #retrying<A, F extends SqlError | JournalError>(asked: Effect.Effect<A, F>): Effect.Effect<A, F> {
    return Effect.retry(asked, {
      while: (error) => error._tag === "SqlError" && !this.#calls.stopped,
      schedule: Schedule.spaced("500 millis").pipe(Schedule.upTo({ duration: "30 seconds" }))
    })
  }

  // --- Letting out -----------------------------------------------------------

  readonly #results: Pull.Pull<NonEmptyReadonlyArray<ResultLine>, E | Failure> = Effect.suspend(() => {
    const results = this.#outlet.take()
    if (isReadonlyArrayNonEmpty(results)) {
      this.#onRoom?.()
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

/** So many are written at once, however soon after the last. */
const manyEnded = 256

/** Milliseconds. */
const gathering = 10
