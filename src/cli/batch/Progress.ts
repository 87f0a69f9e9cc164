/** How far a batch is: what has been read, how it ended, and how fast. */
import type { Counts } from "../../Batch.ts"
import type { Status } from "../../ToolError.ts"
import type { Line } from "./Line.ts"

export interface Progress {
  /** Lines looked at, and where in the input the last of them ends: of its size that is how much has begun. */
  readonly read: number
  readonly bytes: number
  /** Calls that run now, those included that wait for a human. */
  readonly running: number
  /** Calls that ended in this run, and how. */
  readonly ended: number
  readonly counts: Counts
  /** Lines whose outcome an earlier run has recorded. */
  readonly before: number
  /** Calls that ended each second, over the last 5 seconds. */
  readonly rate: number
  /** Milliseconds. */
  readonly elapsed: number
}

/** Counts as the batch goes on. Times in milliseconds since the epoch. */
export class Tally {
  #read = 0
  #bytes = 0
  #ended = 0
  readonly #counts = new Map<Status, number>()
  readonly #since: number
  /** Calls that ended in each half second of the last five, and which half second that was. */
  readonly #recent = Array.from({ length: slots }, () => ({ slot: -1, ended: 0 }))

  constructor(now: number) {
    this.#since = now
  }

  read(line: Line): void {
    this.#read++
    this.#bytes = line.end
  }

  ended(status: Status, now: number): void {
    this.#ended++
    this.#counts.set(status, (this.#counts.get(status) ?? 0) + 1)
    const slot = Math.floor(now / slotLength)
    const recent = this.#recent[slot % slots] as { slot: number; ended: number }
    if (recent.slot !== slot) {
      recent.slot = slot
      recent.ended = 0
    }
    recent.ended++
  }

  snapshot(running: number, before: number, now: number): Progress {
    const latest = Math.floor(now / slotLength)
    let ended = 0
    for (const recent of this.#recent) if (recent.slot > latest - slots) ended += recent.ended
    const elapsed = Math.max(0, now - this.#since)
    // The slots begin at most a whole one less than their number ago.
    const looked = Math.min(elapsed, (slots - 1) * slotLength + (now % slotLength))
    return {
      read: this.#read,
      bytes: this.#bytes,
      running,
      ended: this.#ended,
      counts: Object.fromEntries(this.#counts),
      before,
      rate: looked === 0 ? 0 : (1000 * ended) / looked,
      elapsed
    }
  }
}

const slots = 10
const slotLength = 500
