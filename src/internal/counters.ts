/**
 * The counters of all limits in one process: bounded in number, expired ones
 * forgotten before live ones, and with a line of those who wait at each.
 *
 * Invariant: where someone waits, a sleeper is armed that serves the line when
 * its counter is ready. Whoever is served leaves the line, so n who wait cost n
 * wake-ups, and nobody else's code runs while a line is served.
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { Line, type Place } from "./line.ts"
import type { Algorithm, Amount } from "./quota.ts"

/** One who waits, with the clock that it waits by. */
export interface Waiting {
  /** The order of arrival. */
  readonly turn: number
  readonly clock: Clock.Clock
  readonly context: Context.Context<never>
  /** Where it waits; set by `Counters`. */
  place: Place<Waiting> | undefined
  counter: Counter | undefined
  /** Tries again: the counter that holds it up, or `undefined` when it need not wait any more. */
  readonly advance: (now: number) => Counter | undefined
}

/** One limit, with a counter for each of its keys. */
export interface CountedLimit {
  readonly name: string
  /** Whether calls wait for it; otherwise it refuses. */
  readonly waits: boolean
  readonly algorithm: Algorithm
  /**
   * By tenant, where keys are counted within one, and by key. Keys come from outside, so they are looked up in a `Map`;
   * in two, because making one text of both would cost every call more than the rest of its limit.
   */
  readonly counters: Map<string | undefined, Map<string, Counter>>
  /** The least recently used first; a counter at which someone waits is not here and is not forgotten. */
  readonly byUse: Line<Counter>
}

export class Counter implements Amount {
  at: number
  used = 0
  readonly limit: CountedLimit
  readonly tenant: string | undefined
  readonly key: string
  readonly waiting: Line<Waiting> = new Line()
  place: Place<Counter> | undefined = undefined
  touched = 0
  stored = false
  sleeper: Fiber.Fiber<void> | undefined = undefined

  constructor(limit: CountedLimit, tenant: string | undefined, key: string, now: number) {
    this.at = now
    this.limit = limit
    this.tenant = tenant
    this.key = key
  }
}

export class Counters {
  readonly #limits: ReadonlyArray<CountedLimit>
  readonly #maxKeys: number
  #size = 0
  #uses = 0
  #arrivals = 0

  constructor(limits: ReadonlyArray<CountedLimit>, maxKeys: number) {
    this.#limits = limits
    this.#maxKeys = maxKeys
  }

  /** The counter of a key, and marks it as used. */
  find(limit: CountedLimit, tenant: string | undefined, key: string): Counter | undefined {
    const counter = limit.counters.get(tenant)?.get(key)
    if (counter?.place !== undefined) {
      counter.touched = ++this.#uses
      limit.byUse.moveToEnd(counter.place)
    }
    return counter
  }

  /** Takes one; a counter that was not stored is stored with it. */
  take(counter: Counter, now: number): void {
    if (!counter.stored) this.#store(counter, now)
    counter.limit.algorithm.take(counter, now)
  }

  takeEach(counters: ReadonlyArray<Counter | undefined>, now: number): void {
    for (const counter of counters) if (counter !== undefined) this.take(counter, now)
  }

  giveBack(counter: Counter, takenAt: number): void {
    counter.limit.algorithm.giveBack(counter, takenAt)
    if (counter.waiting.first === undefined) return
    // The next is ready earlier than its sleeper knows.
    counter.sleeper?.interruptUnsafe()
    this.#arm(counter)
  }

  // --- Waiting -------------------------------------------------------------

  /** The order of arrival of one more. */
  nextTurn(): number {
    return ++this.#arrivals
  }

  /** Joins the line of a counter, before all who came later. */
  join(waiting: Waiting, counter: Counter): void {
    if (counter.place !== undefined) {
      counter.limit.byUse.leave(counter.place)
      counter.place = undefined
    }
    waiting.place = counter.waiting.join(waiting, (other) => other.turn > waiting.turn)
    waiting.counter = counter
    if (counter.sleeper === undefined) this.#arm(counter)
  }

  /** Leaves the line where it waits, if it does; nobody else's turn changes. */
  leave(waiting: Waiting): void {
    const { place, counter } = waiting
    if (place === undefined || counter === undefined) return
    waiting.place = waiting.counter = undefined
    counter.waiting.leave(place)
    if (counter.waiting.first !== undefined) return
    counter.sleeper?.interruptUnsafe()
    counter.sleeper = undefined
    counter.touched = ++this.#uses
    counter.place = counter.limit.byUse.join(counter)
  }

  #serve(counter: Counter): void {
    counter.sleeper = undefined
    for (let next = counter.waiting.first; next !== undefined; next = counter.waiting.first) {
      const heldUpBy = next.value.advance(next.value.clock.currentTimeMillisUnsafe())
      if (heldUpBy === counter) {
        this.#arm(counter)
        return
      }
      this.leave(next.value)
      if (heldUpBy !== undefined) this.join(next.value, heldUpBy)
    }
  }

  /** One sleeper per line, by the clock and in the context of whoever is first. */
  #arm(counter: Counter): void {
    const { clock, context } = counter.waiting.first!.value
    const now = clock.currentTimeMillisUnsafe()
    const delay = Math.max(0, counter.limit.algorithm.readyAt(counter, now) - now)
    const sleeper = Effect.runForkWith(context)(
      Effect.andThen(
        clock.sleep(Duration.millis(delay)),
        Effect.sync(() => this.#serve(counter))
      )
    )
    // A clock may not sleep at all: then the line has been served, and armed again if need be.
    if (sleeper.pollUnsafe() === undefined) counter.sleeper = sleeper
  }

  // --- Memory --------------------------------------------------------------

  #store(counter: Counter, now: number): void {
    // Each new key pays for forgetting two of every limit, so that what has expired goes as fast as keys come.
    for (const limit of this.#limits) {
      for (let i = 0; i < 2; i++) {
        const oldest = limit.byUse.first?.value
        if (oldest !== undefined && limit.algorithm.isFresh(oldest, now)) this.#forget(oldest)
      }
    }
    if (this.#size >= this.#maxKeys) this.#forgetLeastRecentlyUsed()
    const { limit, tenant } = counter
    const ofTenant = limit.counters.get(tenant)
    if (ofTenant === undefined) limit.counters.set(tenant, new Map([[counter.key, counter]]))
    else ofTenant.set(counter.key, counter)
    counter.stored = true
    counter.touched = ++this.#uses
    counter.place = limit.byUse.join(counter)
    this.#size++
  }

  #forgetLeastRecentlyUsed(): void {
    let oldest: Counter | undefined
    for (const limit of this.#limits) {
      const candidate = limit.byUse.first?.value
      if (candidate !== undefined && (oldest === undefined || candidate.touched < oldest.touched)) {
        oldest = candidate
      }
    }
    if (oldest !== undefined) this.#forget(oldest)
  }

  #forget(counter: Counter): void {
    const { limit, tenant } = counter
    const ofTenant = limit.counters.get(tenant)!
    ofTenant.delete(counter.key)
    if (ofTenant.size === 0) limit.counters.delete(tenant)
    limit.byUse.leave(counter.place!)
    counter.place = undefined
    counter.stored = false
    this.#size--
  }
}
