/** Goes through what a journal has recorded, line by line beside the input, a thousand lines in memory. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { SqlError } from "effect/sql/SqlError"
import type { Journal, Row } from "./Journal.ts"
import type { ResultLine } from "./ResultLine.ts"

/** The input is not the one that the batch began with. */
export class LineChanged extends Schema.TaggedError<LineChanged>("interlock/cli/batch/LineChanged")(
  "LineChanged",
  { batch: Schema.String, line: Schema.Int, how: Schema.Literals(["changed", "missing"]) }
) {
  override get message(): string {
    return this.how === "changed"
      ? `Line ${this.line} is not the one that the batch "${this.batch}" has recorded: resume it with its own input, or choose another name`
      : `The input has no line ${this.line}, and the batch "${this.batch}" has recorded one: resume it with its own input, or choose another name`
  }
}

export class Cursor {
  readonly #journal: Journal
  #rows: ReadonlyArray<Row> = []
  #next = 0
  #after = 0
  #atEnd = false
  /** Pages of results, the latest used last. */
  readonly #pages = new Map<number, ReadonlyArray<string>>()

  constructor(journal: Journal) {
    this.#journal = journal
  }

  /** Whether `load` must come before `at`. What this run records is behind, so the end stays the end. */
  get isDry(): boolean {
    return this.#next === this.#rows.length && !this.#atEnd
  }

  readonly load: Effect.Effect<void, SqlError> = Effect.suspend(() =>
    Effect.map(this.#journal.rows(this.#after), (rows) => {
      this.#rows = rows
      this.#next = 0
      this.#after = rows.at(-1)?.line ?? this.#after
      this.#atEnd = rows.length === 0
    })
  )

  /** What is recorded of a line; lines come in their order. */
  at(line: number): Row | LineChanged | undefined {
    const row = this.#rows[this.#next]
    if (row === undefined || row.line > line) return undefined
    if (row.line < line) return this.changed(row.line, "missing")
    this.#next++
    return row
  }

  changed(line: number, how: LineChanged["how"]): LineChanged {
    return new LineChanged({ batch: this.#journal.id, line, how })
  }

  /** The result that is recorded; without its value where what was sealed cannot be opened. */
  result({ line, page = 0, position, status = "unknown" }: Row): Effect.Effect<ResultLine, SqlError> {
    return Effect.map(this.#page(page), (texts) => {
      const text = texts[position]
      if (text !== undefined) return { ...(JSON.parse(text) as ResultLine), replayed: true }
      const times = { attempts: 0, queuedAt: 0, completedAt: 0, latency: 0 }
      const callId = `${this.#journal.id}:${line}`
      return { line, callId, tool: "", status, ...times, truncated: true, replayed: true }
    })
  }

  #page(page: number): Effect.Effect<ReadonlyArray<string>, SqlError> {
    const known = this.#pages.get(page)
    if (known !== undefined) return Effect.succeed(known)
    return Effect.tap(this.#journal.page(page), (texts) =>
      Effect.sync(() => {
        // Lines that ended at about the same time are near each other in the input.
        for (const oldest of this.#pages.keys()) {
          if (this.#pages.size < mostPages) break
          this.#pages.delete(oldest)
        }
        this.#pages.set(page, texts)
      })
    )
  }
}

const mostPages = 16
