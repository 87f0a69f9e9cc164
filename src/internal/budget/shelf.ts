/**
 * The books of one limit in one process: one per key, bounded in number.
 *
 * What has ended goes first. Keys that callers make as they like (calls, runs)
 * are then forgotten by last use, because who can begin another run gains
 * nothing by having an old one forgotten. Any other key that still counts is
 * not forgotten to make room: a hard limit that is full of them takes no new key.
 */

import { Line, type Place } from "../line.ts"
import type { CompiledLimit } from "./limit.ts"
import type { Claim } from "./limits.ts"
import * as Windows from "./windows.ts"

/** What counts against one key of a limit in one window. */
export class Book implements Windows.Window {
  readonly limit: CompiledLimit
  readonly unit: string
  readonly key: string
  readonly startsAt: number
  readonly endsAt: number
  max: number
  lastUse: number
  settled = 0
  reserved = 0
  overrun = 0
  alerted = 0
  /** Reservations that are open. */
  open = 0
  place: Place<Book> | undefined = undefined

  constructor(claim: Claim, { endsAt, startsAt }: Windows.Window) {
    this.limit = claim.limit
    this.unit = claim.unit
    this.key = claim.key
    this.max = claim.max
    this.lastUse = claim.lastUse
    this.startsAt = startsAt
    this.endsAt = endsAt
  }
}

export class Shelf {
  readonly limit: CompiledLimit
  readonly #maxKeys: number
  /** By unit and key: each run brings its own units. Keys come from outside, so they are looked up in a `Map`. */
  readonly #books = new Map<string, Map<string, Book>>()
  #size = 0
  /** In the order of their beginning or, where keys are minted, of their last use. */
  readonly #order = new Line<Book>()

  constructor(limit: CompiledLimit, maxKeys: number) {
    this.limit = limit
    this.#maxKeys = maxKeys
  }

  /** The book of the window that is current. Changes nothing. */
  find(claim: { readonly unit: string; readonly key: string }, now: number): Book | undefined {
    const book = this.#get(claim)
    return book !== undefined && Windows.isCurrent(book, now) ? book : undefined
  }

  /** Whether there is no room for one more key. */
  isFull(now: number): boolean {
    if (!this.limit.hard || this.limit.minted || this.#size < this.#maxKeys) return false
    const first = this.#order.first
    return first === undefined || !hasEnded(first.value, now)
  }

  /** The book of the window that is current, opened where there is none. */
  take(claim: Claim, now: number): Book {
    const found = this.find(claim, now)
    if (found === undefined) {
      const book = new Book(claim, claim.limit.windows(now))
      this.#store(book, now)
      return book
    }
    found.max = claim.max
    found.lastUse = Math.max(found.lastUse, claim.lastUse)
    if (this.limit.minted) this.#order.moveToEnd(found.place as Place<Book>)
    return found
  }

  /** The book in which a reservation counts that was made in `book`, which may have been forgotten or replaced. */
  keep(book: Book, now: number): Book {
    if (book.place !== undefined || !Windows.isCurrent(book, now)) return book
    const other = this.#get(book)
    if (other === undefined) this.#store(book, now)
    return other?.startsAt === book.startsAt ? other : book
  }

  current(now: number): ReadonlyArray<Book> {
    return [...this.#books.values()].flatMap((books) =>
      [...books.values()].filter((book) => Windows.isCurrent(book, now))
    )
  }

  #get({ key, unit }: { readonly unit: string; readonly key: string }): Book | undefined {
    return this.#books.get(unit)?.get(key)
  }

  #store(book: Book, now: number): void {
    const replaced = this.#get(book)
    if (replaced !== undefined) this.#forget(replaced)
    // Each new key pays for forgetting two, so that what has ended goes as fast as keys come.
    for (let i = 0; i < 2; i++) {
      const first = this.#order.first?.value
      if (first !== undefined && hasEnded(first, now)) this.#forget(first)
    }
    // What is in use is passed over, so the most there can be is what is in use besides.
    for (let i = 0; this.#size >= this.#maxKeys && i < 8; i++) {
      const first = this.#order.first as Place<Book>
      if (first.value.open === 0) this.#forget(first.value)
      else this.#order.moveToEnd(first)
    }
    const ofUnit = this.#books.get(book.unit)
    if (ofUnit === undefined) this.#books.set(book.unit, new Map([[book.key, book]]))
    else ofUnit.set(book.key, book)
    this.#size++
    book.place = this.#order.join(book)
  }

  #forget(book: Book): void {
    const ofUnit = this.#books.get(book.unit) as Map<string, Book>
    ofUnit.delete(book.key)
    // Runs name units as they like.
    if (ofUnit.size === 0) this.#books.delete(book.unit)
    this.#size--
    this.#order.leave(book.place as Place<Book>)
    book.place = undefined
  }
}

/** Whether nothing can count in it any more. */
const hasEnded = (book: Book, now: number): boolean =>
  !Windows.isCurrent(book, now) || (book.open === 0 && now > book.lastUse)
