/**
 * What belongs together: an agent's run, a batch, a session.
 *
 * The run is ambient: `CurrentRun` is read from the fiber that makes a call.
 * It carries what is remembered from one call to the next, each concern under a
 * key of its own (what a loop looks like, what is tainted), and is let go of
 * with the run. A run that is resumed elsewhere starts with an empty memory
 * unless it is given one.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type { Actor } from "./Principal.ts"

/** Who decides what is called next: a model, or a program. Rules about loops apply to the first only. */
export type Driver = "model" | "program"

export class Run {
  readonly id: string
  readonly session: string | undefined
  readonly driver: Driver
  /** Who started it, where that is not the principal's own actor. */
  readonly actor: Actor | undefined
  /** Milliseconds since the epoch; no call of the run goes on after it. */
  readonly deadline: number | undefined
  /** The most that all its calls together may spend, in whole units: `usd` in millionths. */
  readonly budget: Readonly<Record<string, number>> | undefined
  readonly #memory = new Map<string, unknown>()

  constructor(options: Options) {
    this.id = options.id
    this.session = options.session
    this.driver = options.driver ?? "program"
    this.actor = options.actor
    this.deadline = options.deadline
    this.budget = options.budget
  }

  /** What a concern remembers of this run, made when it is first asked for. */
  remember<A>(concern: string, make: () => A): A {
    const known = this.#memory.get(concern)
    if (known !== undefined) return known as A
    const made = make()
    this.#memory.set(concern, made)
    return made
  }
}

export interface Options {
  readonly id: string
  readonly session?: string | undefined
  /** Default `program`. */
  readonly driver?: Driver | undefined
  readonly actor?: Actor | undefined
  /** Milliseconds since the epoch. */
  readonly deadline?: number | undefined
  readonly budget?: Readonly<Record<string, number>> | undefined
}

export const make = (options: Options): Run => new Run(options)

/** The run of the calling fiber; `undefined` for a call that stands alone. */
export const CurrentRun: Context.Reference<Run | undefined> = Context.Reference<Run | undefined>(
  "interlock/Run/CurrentRun",
  { defaultValue: () => undefined }
)

/** Runs an effect as part of a run. */
export const provide: {
  (run: Run): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, run: Run): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, run: Run): Effect.Effect<A, E, R> =>
    Effect.provideService(self, CurrentRun, run)
)
