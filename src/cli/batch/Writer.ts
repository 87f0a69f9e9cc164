/** Puts down in the journal what begins and what has ended, a moment's worth at a time. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import type { SqlError } from "effect/sql/SqlError"
import type { BatchRequest } from "../../internal/request.ts"
import type { JournalError } from "./Batches.ts"
import type { Journal } from "./Journal.ts"
import type { ResultLine } from "./ResultLine.ts"

/** A line that is to be run, or runs. */
export interface Item {
  readonly line: number
  readonly digest: string
  readonly call: BatchRequest
  /** Of its result, among those that are let out. */
  readonly place: number
  /** This run has written it down as begun. */
  begun: boolean
}

export interface Ended {
  readonly item: Item
  readonly result: ResultLine
  /** The result as a line of JSON. */
  readonly text: string
  /** It has no outcome, or nobody knows it. */
  readonly undone: boolean
}

/** What goes on around it. */
export interface Surroundings {
  /** Nothing runs, and nothing more will. */
  readonly isOver: () => boolean
  /** Nothing more is to begin. */
  readonly isStopped: () => boolean
  /** More may be about to begin, so that it is worth waiting for. */
  readonly isReading: () => boolean
  /** It is written down that it begins; or nothing is, and it must not. */
  readonly begin: (item: Item) => void
  readonly leave: (item: Item) => void
  /** It is written down how it ended. */
  readonly letOut: (ended: Ended) => void
  readonly wrote: () => void
}

export class Writer {
  readonly #journal: Journal
  readonly #around: Surroundings
  /** To be written down as begun; and how many are being. */
  #waiting: Array<Item> = []
  #beginning = 0
  #ended: Array<Ended> = []
  /** Lines that were written down as begun, and did not begin. */
  #dropped: Array<number> = []
  #onChange: (() => void) | undefined

  constructor(journal: Journal, around: Surroundings) {
    this.#journal = journal
    this.#around = around
  }

  /** How many are to begin once that is written down. */
  get beginning(): number {
    return this.#waiting.length + this.#beginning
  }

  get isIdle(): boolean {
    return this.#waiting.length + this.#ended.length + this.#dropped.length === 0
  }

  begin(item: Item): void {
    this.#waiting.push(item)
  }

  /** A line was written down as begun, and did not begin. */
  drop(item: Item): void {
    this.#dropped.push(item.line)
  }

  end(ended: Ended): void {
    this.#ended.push(ended)
    this.changed()
  }

  /** Something around it is not as it was. */
  changed(): void {
    this.#onChange?.()
  }

  /** Writes until nothing is to come, and says at least every beat that this process lives. */
  readonly run: Effect.Effect<void, SqlError | JournalError> = Effect.gen(
    { self: this },
    function* (this: Writer) {
      const { isOver } = this.#around
      while (true) {
        if (this.isIdle) yield* this.#when(() => !this.isIdle || isOver(), this.#journal.beat)
        if (this.isIdle && isOver()) return
        // What ends within a moment is written together.
        if (!this.#isUrgent) yield* this.#when(() => this.#isUrgent, gathering)
        yield* this.#write
      }
    }
  )

  /** Waits for a condition: one at a time, and nobody while it runs. */
  readonly until = (condition: () => boolean): Effect.Effect<void> =>
    Effect.callback((resume) => {
      this.#onChange = () => {
        if (condition()) resume(Exit.void)
      }
      this.#onChange()
    })

  #when(condition: () => boolean, within: number): Effect.Effect<void> {
    return Effect.asVoid(Effect.timeoutOption(this.until(condition), Duration.millis(within)))
  }

  get #isUrgent(): boolean {
    const { isOver, isReading, isStopped } = this.#around
    if (this.#waiting.length > 0 && !isReading()) return true
    return this.#ended.length >= manyEnded || isStopped() || isOver()
  }

  readonly #write = Effect.gen({ self: this }, function* (this: Writer) {
    const { begin, isStopped, leave, letOut, wrote } = this.#around
    if (isStopped()) this.#waiting.splice(0).forEach(leave)
    const begun = this.#waiting.splice(0)
    const ended = this.#ended.splice(0)
    this.#beginning = begun.length
    const change = {
      begun,
      ended: ended.flatMap(({ item: { digest, line }, result: { status }, text, undone }) =>
        undone ? [] : [{ line, digest, status, text }]
      ),
      dropped: this.#dropped.splice(0)
    }
    yield* retrying(this.#journal.write(change), isStopped)
    this.#beginning = 0
    ended.forEach(letOut)
    for (const item of begun) {
      item.begun = true
      begin(item)
    }
    wrote()
  })
}

/** A database that is busy or gone for a while must not end a long batch, nor keep one from being stopped. */
export const retrying = <A, E extends SqlError | JournalError>(
  asked: Effect.Effect<A, E>,
  isStopped: () => boolean
): Effect.Effect<A, E> =>
  Effect.retry(asked, {
    while: (error) => error._tag === "SqlError" && !isStopped(),
    schedule: Schedule.spaced("500 millis").pipe(Schedule.upTo({ duration: "30 seconds" }))
  })

/** So many are written at once, however soon after the last. */
const manyEnded = 256

/** Milliseconds. */
const gathering = 10
