/**
 * Deadlines that cost no timer each.
 *
 * What is given the same duration expires in the order in which it began, so
 * all of it waits in one line, and one fiber sleeps until the first is due:
 * joining and leaving are a few assignments. There is a line per clock and
 * duration, so tests with their own clock have their own.
 *
 * Invariant: where someone waits, a sleeper is armed that wakes no later than
 * the first is due. It is let sleep when its line empties and ended when the
 * line is still empty a turn later: a caller that makes one call after the
 * other arms it once, and nothing keeps a process alive that waits for nothing.
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { Line, type Place } from "./line.ts"

/** What is told when its time has come, unless it has left before. */
export interface Due {
  /** Milliseconds since the epoch. */
  readonly at: number
  /** Must not throw. */
  readonly expire: () => void
}

export class Deadlines {
  readonly #byClock = new WeakMap<Clock.Clock, Map<number, DeadlineLine>>()
  #last: DeadlineLine | undefined

  /** The line of those who have so many milliseconds by this clock. There are as many lines as durations asked for. */
  line(clock: Clock.Clock, millis: number): DeadlineLine {
    // Most programs have one clock and most tools one timeout.
    if (this.#last?.clock === clock && this.#last.millis === millis) return this.#last
    let lines = this.#byClock.get(clock)
    if (lines === undefined) {
      lines = new Map()
      this.#byClock.set(clock, lines)
    }
    let line = lines.get(millis)
    if (line === undefined) {
      line = new DeadlineLine(clock, millis)
      lines.set(millis, line)
    }
    this.#last = line
    return line
  }
}

export class DeadlineLine {
  readonly clock: Clock.Clock
  readonly millis: number
  readonly #waiting = new Line<Due>()
  #sleeper: Fiber.Fiber<void> | undefined
  #checking = false

  constructor(clock: Clock.Clock, millis: number) {
    this.clock = clock
    this.millis = millis
  }

  /** Joins the line, which whoever is due no earlier must do later. Sleeps in the context of who finds no sleeper. */
  join(due: Due, context: Context.Context<never>, now: number): Place<Due> {
    const place = this.#waiting.join(due)
    if (this.#sleeper === undefined) this.#arm(context, now, due.at)
    return place
  }

  leave(place: Place<Due>, context: Context.Context<never>): void {
    this.#waiting.leave(place)
    if (this.#waiting.first !== undefined || this.#checking || this.#sleeper === undefined) return
    this.#checking = true
    Effect.runForkWith(context)(
      Effect.flatMap(Effect.yieldNow, () => Effect.sync(() => this.#disarmIfIdle()))
    )
  }

  #arm(context: Context.Context<never>, now: number, until: number): void {
    const sleeper = Effect.runForkWith(context)(
      Effect.flatMap(this.clock.sleep(Duration.millis(until - now)), () =>
        Effect.sync(() => this.#expire(context, until))
      )
    )
    // A clock may not sleep at all: then all has been done.
    if (sleeper.pollUnsafe() === undefined) this.#sleeper = sleeper
  }

  #expire(context: Context.Context<never>, until: number): void {
    this.#sleeper = undefined
    const now = this.clock.currentTimeMillisUnsafe()
    // What was slept for is over, though a timer may fire a little early, and a clock be set back; who has joined since
    // it was set back is due by it.
    const isDue = ({ at }: Due) => at === until || at <= now
    let next = this.#waiting.first
    while (next !== undefined && isDue(next.value)) next = next.after
    // Before anyone is told: who is told may join again at once, and must find the one sleeper there is.
    if (next !== undefined) {
      const { at } = next.value
      this.#arm(context, at > until ? Math.max(until, now) : now, at)
    }
    for (let first = this.#waiting.first; first !== undefined; first = this.#waiting.first) {
      if (!isDue(first.value)) return
      this.#waiting.leave(first)
      first.value.expire()
    }
  }

  #disarmIfIdle(): void {
    this.#checking = false
    if (this.#waiting.first !== undefined) return
    this.#sleeper?.interruptUnsafe()
    this.#sleeper = undefined
  }
}
