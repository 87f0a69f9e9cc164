/**
 * Quantiles of durations in fixed memory, whatever arrives: a histogram whose
 * buckets grow by a constant factor, so that the error is relative. An answer
 * is within `relativeError` of the exact one between a microsecond and eleven
 * days; what is smaller counts as at most a microsecond, what is larger as the
 * largest that was seen.
 */

/** How far an answer may be from the exact quantile, as a share of it. */
export const relativeError = 0.02

const smallest = 0.001
const largest = 1e9
const growth = (1 + relativeError) / (1 - relativeError)
const perLog = 1 / Math.log(growth)
const size = Math.ceil(Math.log(largest / smallest) * perLog) + 2

/** Durations in milliseconds, counted. 5.5 kB, changed in place. */
export class Quantiles {
  // Doubles, because a 32-bit count of one busy bucket wraps within days.
  readonly #buckets = new Float64Array(size)
  #count = 0
  #sum = 0
  #min = Number.POSITIVE_INFINITY
  #max = 0

  get count(): number {
    return this.#count
  }

  /** 0 when nothing was recorded. */
  get mean(): number {
    return this.#count === 0 ? 0 : this.#sum / this.#count
  }

  /** Counts a duration; a negative one, of a clock set back, counts as 0. */
  record(duration: number): void {
    const value = duration > 0 ? duration : 0
    this.#buckets[bucketOf(value)]! += 1
    this.#count += 1
    this.#sum += value
    if (value < this.#min) this.#min = value
    if (value > this.#max) this.#max = value
  }

  /** The value of the `⌈share × count⌉`th smallest, give or take the relative error; 0 when nothing was recorded. */
  quantile(share: number): number {
    if (this.#count === 0) return 0
    const rank = Math.max(1, Math.ceil(share * this.#count))
    let seen = 0
    let bucket = 0
    while (bucket < size - 1) {
      seen += this.#buckets[bucket]!
      if (seen >= rank) break
      bucket++
    }
    if (bucket === size - 1) return this.#max
    return Math.min(this.#max, Math.max(this.#min, valueOf(bucket)))
  }
}

const computed = (value: number): number =>
  value <= smallest ? 0 : Math.min(size - 1, Math.ceil(Math.log(value / smallest) * perLog))

// Clocks tell whole milliseconds, and most calls take few: a look into a table takes a third of what a logarithm takes.
const ofWhole = Uint16Array.from({ length: 1024 }, (_, value) => computed(value))
const bucketOf = (value: number): number =>
  value < ofWhole.length && Number.isInteger(value) ? ofWhole[value]! : computed(value)

// The point between a bucket's bounds whose relative distance to both is the same.
const valueOf = (bucket: number): number =>
  bucket === 0 ? 0 : (2 * smallest * growth ** bucket) / (growth + 1)
