/** Results on their way out: as they are given, or in the order in which they took a place. */
import type { ResultLine } from "./ResultLine.ts"

/** A result, and how much memory it holds: the characters of its JSON. */
export interface Held {
  readonly result: ResultLine
  readonly size: number
}

export class Outlet {
  /** What was ended and not taken. */
  count = 0
  size = 0
  readonly #ordered: boolean
  #places = 0
  #next = 0
  /** Those whose turn has not come. */
  readonly #early = new Map<number, Held | undefined>()
  #ready: Array<Held> = []

  constructor(ordered: boolean) {
    this.#ordered = ordered
  }

  place(): number {
    return this.#places++
  }

  /** There is a result, which may not be let out yet. */
  hold({ size }: Held): void {
    this.count++
    this.size += size
  }

  /** Lets out what was held, or says that nothing will come of a place. */
  give(place: number, held: Held | undefined): void {
    if (!this.#ordered) {
      if (held !== undefined) this.#ready.push(held)
      return
    }
    this.#early.set(place, held)
    while (this.#early.has(this.#next)) {
      const next = this.#early.get(this.#next)
      this.#early.delete(this.#next++)
      if (next !== undefined) this.#ready.push(next)
    }
  }

  get isEmpty(): boolean {
    return this.#ready.length === 0
  }

  take(): ReadonlyArray<ResultLine> {
    const taken = this.#ready
    this.#ready = []
    for (const { size } of taken) this.size -= size
    this.count -= taken.length
    return taken.map(({ result }) => result)
  }
}
