/**
 * A line whose members are served first come, first served, and may leave from
 * anywhere: joining, leaving and moving to the end are a few assignments, however
 * long the line is. (A `Set` has to skip the holes of what left at its front.)
 */

export interface Place<A> {
  readonly value: A
  line: Line<A> | undefined
  before: Place<A> | undefined
  after: Place<A> | undefined
}

export class Line<A> {
  length = 0
  first: Place<A> | undefined = undefined
  last: Place<A> | undefined = undefined

  /** Joins at the end, and from there passes those that it may. */
  join(value: A, mayPass?: (other: A) => boolean): Place<A> {
    const place: Place<A> = { value, line: undefined, before: undefined, after: undefined }
    let before = this.last
    if (mayPass !== undefined) while (before !== undefined && mayPass(before.value)) before = before.before
    this.#link(place, before)
    return place
  }

  /** Leaves the line; leaving twice changes nothing. */
  leave(place: Place<A>): void {
    if (place.line === this) this.#unlink(place)
  }

  moveToEnd(place: Place<A>): void {
    if (place.line !== this || place === this.last) return
    this.#unlink(place)
    this.#link(place, this.last)
  }

  #link(place: Place<A>, before: Place<A> | undefined): void {
    const after = before === undefined ? this.first : before.after
    place.line = this
    place.before = before
    place.after = after
    if (before === undefined) this.first = place
    else before.after = place
    if (after === undefined) this.last = place
    else after.before = place
    this.length++
  }

  #unlink(place: Place<A>): void {
    const { before, after } = place
    if (before === undefined) this.first = after
    else before.after = after
    if (after === undefined) this.last = before
    else after.before = before
    place.line = place.before = place.after = undefined
    this.length--
  }
}
