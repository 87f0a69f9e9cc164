/**
 * The arithmetic of the two algorithms that limit a rate.
 *
 * Times are milliseconds, and a bucket's content is counted in parts: a token
 * has as many as the window has milliseconds, so `limit` parts flow back per
 * millisecond. With whole limits everything is whole numbers, and the time at
 * which a key is ready is exact.
 */

/** How much of one key is used, as of a time. One with nothing used is as good as none. */
export interface Amount {
  at: number
  used: number
}

export interface Algorithm {
  /** The earliest time at which one can be taken; `now` or earlier: at once. Changes nothing. */
  readonly readyAt: (amount: Amount, now: number) => number
  /** Takes one, past the end if need be. */
  readonly take: (amount: Amount, now: number) => void
  /** Gives back one that was taken at `takenAt`. */
  readonly giveBack: (amount: Amount, takenAt: number) => void
  /** Whether time has made good all that was used. */
  readonly isFresh: (amount: Amount, now: number) => boolean
}

/** At most `limit` per window; a key's window starts at the first take after the last one ended. */
export const fixedWindow = (limit: number, window: number): Algorithm => {
  const isFresh = (amount: Amount, now: number): boolean =>
    amount.used === 0 || now >= amount.at + window || isFromAfar(amount, now, window)
  return {
    isFresh,
    readyAt: (amount, now) => (amount.used < limit || isFresh(amount, now) ? now : amount.at + window),
    take: (amount, now) => {
      if (isFresh(amount, now)) {
        amount.at = now
        amount.used = 0
      }
      amount.used++
    },
    giveBack: (amount, takenAt) => {
      // A window that began after the take does not hold it.
      if (amount.at <= takenAt && amount.used > 0) amount.used--
    }
  }
}

/** A bucket of `limit` tokens that refills by `limit` per window, continuously; its debt is at most its capacity. */
export const tokenBucket = (limit: number, window: number): Algorithm => {
  const capacity = limit * window
  const room = capacity - window
  const usedAt = (amount: Amount, now: number): number =>
    isFromAfar(amount, now, window) ? 0 : Math.max(0, amount.used - Math.max(0, now - amount.at) * limit)
  return {
    isFresh: (amount, now) => usedAt(amount, now) === 0,
    readyAt: (amount, now) => {
      if (usedAt(amount, now) <= room) return now
      // A division may round, so the answer is checked with the comparison that a take will make.
      let delay = Math.ceil((amount.used - room) / limit)
      while (amount.used - delay * limit > room) delay++
      while (amount.used - (delay - 1) * limit <= room) delay--
      return amount.at + delay
    },
    take: (amount, now) => {
      amount.used = Math.min(usedAt(amount, now) + window, 2 * capacity)
      amount.at = isFromAfar(amount, now, window) ? now : Math.max(amount.at, now)
    },
    giveBack: (amount) => {
      amount.used = Math.max(0, amount.used - window)
    }
  }
}

/**
 * A clock that is set back must not lock a key out for as long as that: an
 * amount from more than a window ahead counts as none. A little ahead is a
 * caller that read its clock earlier: it counts as the later time.
 */
const isFromAfar = (amount: Amount, now: number, window: number): boolean => amount.at - now > window
