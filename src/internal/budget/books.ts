/**
 * The books of all limits in one process. Everything happens at once when it is
 * called, so that no two attempts see the same room.
 */
import type { Alert, BudgetExceeded, Reservation, Spending, Standing } from "../../Budget.ts"
import type { Amounts } from "../../ToolAnnotations.ts"
import { amountOf, checkAmounts, plus, unforeseen } from "../amounts.ts"
import { type Expiring, ExpiryQueue } from "./expiry.ts"
import type { CompiledLimit, Spender } from "./limit.ts"
import * as Limits from "./limits.ts"
import { type Book, Shelf } from "./shelf.ts"

/** Money put aside, and in which books. */
export class Held implements Reservation, Expiring {
  readonly #number: number
  readonly spending: Spending
  /** When it was reserved. */
  readonly at: number
  readonly parts: ReadonlyArray<{ readonly book: Book; readonly amount: number }>
  state: "open" | "expired" | "done" = "open"
  position = -1

  constructor(number: number, spending: Spending, at: number, parts: Held["parts"]) {
    this.#number = number
    this.spending = spending
    this.at = at
    this.parts = parts
  }

  // Nothing in this process is found by it.
  get id(): string {
    return `${this.#number}`
  }

  get expiresAt(): number {
    return this.spending.expiresAt
  }
}

export class Books {
  readonly #limits: Limits.Limits
  readonly #shelves: ReadonlyArray<Shelf>
  readonly #onAlert: (alert: Alert) => void
  readonly #open = new ExpiryQueue<Held>()
  #reservations = 0

  constructor(limits: Limits.Limits, maxKeys: number, onAlert: (alert: Alert) => void) {
    this.#limits = limits
    this.#shelves = limits.all.map((limit) => new Shelf(limit, maxKeys))
    this.#onAlert = onAlert
  }

  peek(spending: Spending, now: number): BudgetExceeded | undefined {
    return this.#refusal(this.#limits.claims(spending, spending.amounts), now)
  }

  reserve(spending: Spending, now: number): Held | BudgetExceeded {
    if (Number.isNaN(spending.expiresAt)) throw new RangeError("Budget: expiresAt must be a number")
    const claims = this.#limits.claims(spending, spending.amounts)
    const refused = this.#refusal(claims, now)
    if (refused !== undefined) return refused
    const parts = claims.map((claim) => {
      const book = this.#shelf(claim).take(claim, now)
      book.reserved += claim.amount
      book.open += 1
      this.#alert(book, now)
      return { book, amount: claim.amount }
    })
    const held = new Held(++this.#reservations, spending, now, parts)
    this.#open.add(held)
    return held
  }

  /** Whether it was the first word on the reservation. */
  settle(held: Held, actual: Amounts, now: number): boolean {
    checkAmounts(actual)
    if (held.state === "done") return false
    const unreserved = unforeseen(held.spending.amounts, actual)
    const claims = unreserved === undefined ? [] : this.#limits.claims(held.spending, unreserved)
    this.#expire(now)
    const late = held.state === "expired"
    if (!late) this.#release(held)
    held.state = "done"
    for (const { amount, book } of held.parts) {
      const cost = amountOf(actual, book.unit)
      this.#count(this.#shelf(book).keep(book, now), cost, late ? cost : cost - amount, now)
    }
    for (const claim of claims) {
      this.#count(this.#shelf(claim).take(claim, now), claim.amount, claim.amount, now)
    }
    return true
  }

  refund(held: Held): void {
    if (held.state === "open") this.#release(held)
    held.state = "done"
  }

  credit(spender: Spender, amounts: Amounts, now: number): void {
    for (const claim of this.#limits.claims(spender, amounts)) {
      const book = this.#shelf(claim).find(claim, now)
      if (book !== undefined) book.settled -= Math.min(book.settled, claim.amount)
    }
  }

  standing(now: number): ReadonlyArray<Standing> {
    this.#expire(now)
    return this.#shelves.flatMap((shelf) => Limits.standings(shelf.limit, shelf.current(now), now))
  }

  #shelf({ limit }: { readonly limit: CompiledLimit }): Shelf {
    return this.#shelves[limit.index] as Shelf
  }

  #refusal(claims: ReadonlyArray<Limits.Claim>, now: number): BudgetExceeded | undefined {
    this.#expire(now)
    let exceeded: Array<Limits.Exceeded> | undefined
    for (const claim of claims) {
      const shelf = this.#shelf(claim)
      const book = shelf.find(claim, now)
      const used = book === undefined ? 0 : book.settled + book.reserved
      if (Limits.fits(claim, used) && (book !== undefined || !shelf.isFull(now))) continue
      const one = { claim, endsAt: (book ?? claim.limit.windows(now)).endsAt }
      if (exceeded === undefined) exceeded = [one]
      else exceeded.push(one)
    }
    return exceeded === undefined ? undefined : Limits.refusal(exceeded, now)
  }

  #expire(now: number): void {
    for (;;) {
      const held = this.#open.takeExpired(now)
      if (held === undefined) return
      this.#release(held)
      held.state = "expired"
    }
  }

  #release(held: Held): void {
    this.#open.remove(held)
    for (const { amount, book } of held.parts) {
      book.reserved -= amount
      book.open -= 1
    }
  }

  #count(book: Book, cost: number, above: number, now: number): void {
    book.settled = plus(book.settled, cost)
    if (above > 0) book.overrun = plus(book.overrun, above)
    this.#alert(book, now)
  }

  /** Nobody can act on a window that is over. */
  #alert(book: Book, now: number): void {
    if (now >= book.endsAt) return
    const used = book.settled + book.reserved
    for (const at of Limits.crossed(used, book.max, book.alerted)) {
      book.alerted = at
      const { key, limit, max, unit } = book
      this.#onAlert({ limit: limit.name, key, unit, at, max, used, time: now })
    }
  }
}
