/** What expires, the earliest first; whoever is done before leaves at once, so that only what is open takes room. */

export interface Expiring {
  readonly expiresAt: number
  /** Where it stands; set by the queue, -1 outside of it. */
  position: number
}

/** A binary heap whose members know where they stand. */
export class ExpiryQueue<A extends Expiring> {
  readonly #heap: Array<A> = []

  add(item: A): void {
    item.position = this.#heap.length
    this.#heap.push(item)
    this.#rise(item)
  }

  remove(item: A): void {
    const { position } = item
    if (position < 0) return
    const last = this.#heap.pop() as A
    item.position = -1
    if (last === item) return
    this.#place(last, position)
    this.#rise(last)
    this.#sink(last)
  }

  /** Takes out one whose time was before `now`. */
  takeExpired(now: number): A | undefined {
    const first = this.#heap[0]
    if (first === undefined || first.expiresAt >= now) return undefined
    this.remove(first)
    return first
  }

  #place(item: A, position: number): void {
    this.#heap[position] = item
    item.position = position
  }

  #rise(item: A): void {
    while (item.position > 0) {
      const parent = this.#heap[(item.position - 1) >> 1] as A
      if (parent.expiresAt <= item.expiresAt) return
      const { position } = item
      this.#place(item, parent.position)
      this.#place(parent, position)
    }
  }

  #sink(item: A): void {
    for (;;) {
      const left = this.#heap[2 * item.position + 1]
      const right = this.#heap[2 * item.position + 2]
      const earlier = right !== undefined && right.expiresAt < (left as A).expiresAt ? right : left
      if (earlier === undefined || earlier.expiresAt >= item.expiresAt) return
      const { position } = item
      this.#place(item, earlier.position)
      this.#place(earlier, position)
    }
  }
}
