/** The deadlines of calls that all have the same time. */

/** A place in the line. */
export interface Dated<A> {
  expiresAt: number
  before: A | undefined
  after: A | undefined
}

/** Whose deadline comes first: a line, and one timer for all of it. */
export class Deadlines<A extends Dated<A>> {
  readonly #timeout: number
  readonly #expired: (call: A) => void
  #first: A | undefined = undefined
  #last: A | undefined = undefined
  #timer: NodeJS.Timeout | undefined = undefined

  constructor(timeout: number, expired: (call: A) => void) {
    this.#timeout = timeout
    this.#expired = expired
  }

  add(call: A, now: number): void {
    call.expiresAt = now + this.#timeout
    call.before = this.#last
    if (this.#last === undefined) this.#first = call
    else this.#last.after = call
    this.#last = call
    // Kept armed when the line is empty again: setting a timer costs more than one that finds nothing.
    if (this.#timer === undefined) this.#arm(this.#timeout)
  }

  remove(call: A): void {
    const { after, before } = call
    if (before === undefined) this.#first = after
    else before.after = after
    if (after === undefined) this.#last = before
    else after.before = before
    call.before = call.after = undefined
  }

  #arm(delay: number): void {
    // What a handler waits for keeps the process alive, not its deadline.
    this.#timer = setTimeout(() => this.#fire(), delay).unref()
  }

  #fire(): void {
    this.#timer = undefined
    const now = Date.now()
    for (let call = this.#first; call !== undefined; call = this.#first) {
      if (call.expiresAt > now) {
        this.#arm(call.expiresAt - now)
        return
      }
      this.#expired(call)
    }
  }
}
