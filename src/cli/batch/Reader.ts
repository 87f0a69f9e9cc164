/** Takes the lines of a batch's input, for as long as there is room for what becomes of them. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Pull from "effect/Pull"
import type { SqlError } from "effect/sql/SqlError"
import { startsPerTurn } from "../../internal/startCall.ts"
import type { LineChanged } from "./Cursor.ts"
import type { Intake, ToRun } from "./Intake.ts"
import type { Row } from "./Journal.ts"
import type { Line } from "./Line.ts"
import { retrying } from "./Writer.ts"

export type Lines<E, R> = Pull.Pull<NonEmptyReadonlyArray<Line>, E, void, R>

/** What goes on around it. */
export interface Surroundings {
  readonly hasRoom: () => boolean
  /** Nothing more is to be taken. */
  readonly isStopped: () => boolean
  readonly toRun: (line: Line, decided: ToRun) => void
  /** The line has an outcome already. */
  readonly recorded: (line: Line, row: Row) => Effect.Effect<void, SqlError>
  /** For now nothing more is taken. */
  readonly rests: () => void
}

export class Reader {
  /** It goes through lines, and may take more at once. */
  isReading = false
  readonly #intake: Intake
  readonly #around: Surroundings
  #seen = 0
  #onRoom: (() => void) | undefined

  constructor(intake: Intake, around: Surroundings) {
    this.#intake = intake
    this.#around = around
  }

  /** There may be room again. */
  changed(): void {
    this.#onRoom?.()
  }

  /** Reads to the end of the input, or for so many milliseconds; says which. */
  run<E, R>(
    lines: Lines<E, R>,
    within: number | undefined
  ): Effect.Effect<"input" | "deadline", E | LineChanged | SqlError, R> {
    const all = Effect.flatMap(lines, (chunk) => Effect.ensuring(this.#readSome(chunk), this.#rest)).pipe(
      Effect.forever({ disableYield: true }),
      Pull.catchDone(() => Effect.as(this.#atEnd, "input" as const))
    )
    if (within === undefined) return all
    return Effect.timeoutOrElse(all, {
      duration: Duration.millis(within),
      orElse: () => Effect.succeed("deadline" as const)
    })
  }

  /** Whatever is recorded must have been there. */
  readonly #atEnd = Effect.gen({ self: this }, function* (this: Reader) {
    yield* this.#load
    const { beyond } = this.#intake
    if (beyond !== undefined) return yield* beyond
  })

  readonly #readSome = Effect.fnUntraced(
    { self: this },
    function* (this: Reader, chunk: ReadonlyArray<Line>) {
      const { hasRoom, isStopped, recorded, toRun } = this.#around
      this.isReading = true
      for (const line of chunk) {
        if (isStopped()) return yield* Effect.never
        // Lines that are done already, and handlers that never suspend, must not keep everyone else from running.
        if (++this.#seen % startsPerTurn === 0) yield* Effect.yieldNow
        while (!hasRoom()) {
          yield* this.#rest
          yield* this.#room
          this.isReading = true
        }
        if (this.#intake.load !== undefined) yield* this.#load
        const decided = this.#intake.decide(line)
        if (decided._tag === "LineChanged") return yield* decided
        if (decided._tag === "ToRun") toRun(line, decided)
        else yield* recorded(line, decided.row)
      }
    }
  )

  readonly #load = Effect.suspend(() =>
    this.#intake.load === undefined ? Effect.void : retrying(this.#intake.load, this.#around.isStopped)
  )

  readonly #rest = Effect.sync(() => {
    this.isReading = false
    this.#around.rests()
  })

  readonly #room = Effect.callback<void>((resume) => {
    this.#onRoom = () => {
      if (this.#around.hasRoom()) resume(Exit.void)
    }
    this.#onRoom()
  })
}
