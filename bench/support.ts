/** What the cases of the benchmark and its peers share: what a subject is, how results are verified, the crowd that fails fast. */
import { cpus, totalmem } from "node:os"

/** Something that is done over and over. */
export interface Subject {
  readonly name: string
  /** Does it so many times, one after the other, and checks what came of it. Calls `each`, where given, after each. */
  readonly times: (count: number, each?: () => void) => Promise<void>
  /** The same, so many at once. Calls `took`, where given, with the milliseconds that each took. */
  readonly concurrently?: (count: number, atOnce: number, took?: (millis: number) => void) => Promise<void>
}

/** The ways in which a call is refused. */
export type Refusal = "invalid" | "denied" | "limited" | "open"

export interface Refused {
  readonly kind: Refusal
  readonly subject: Subject
}

/** What became of a crowd of calls of which one failed; milliseconds after the failure. */
export interface FailFast {
  /** When whoever made the calls was told. */
  readonly toldAfter: number
  readonly lastStoppedAfter: number
  /** Handlers that ended because they were told to. */
  readonly interrupted: number
  /** Handlers that still ran when the caller was told. */
  readonly stillRunning: number
}

/** What `bench/peers/<peer>.ts` exports, as far as the peer can do it. */
export interface Peer {
  readonly call?: () => Promise<Subject>
  readonly refused?: () => Promise<ReadonlyArray<Refused>>
  /** Its `times(count)` runs one batch of `count`, 64 at a time. */
  readonly batch?: () => Promise<Subject>
  readonly failFast?: (size: number) => Promise<FailFast>
}

/** Throws unless a result is what it should be. */
export const verify = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(`wrong result: ${what}`)
}

/** Runs promises in a pool, as a program without Effect does it: so many workers that take the next one. */
export const pool =
  (once: () => Promise<void>) =>
  async (count: number, atOnce: number, took?: (millis: number) => void): Promise<void> => {
    let left = count
    const worker = async () => {
      while (left-- > 0) {
        if (took === undefined) await once()
        else {
          const from = performance.now()
          await once()
          took(performance.now() - from)
        }
      }
    }
    await Promise.all(Array.from({ length: Math.min(atOnce, count) }, worker))
  }

/**
 * Handlers that sleep a second and stop when their signal aborts. The last fails after 10 ms. The crowd sees what
 * becomes of the others.
 */
export class Crowd {
  readonly size: number
  private running = 0
  private mostAtOnce = 0
  private interrupted = 0
  private failedAt = Number.NaN
  private lastStoppedAt = Number.NaN

  constructor(size: number) {
    this.size = size
  }

  /** What the handler of the call with this index does. */
  work(index: number, signal: AbortSignal | undefined): Promise<void> {
    const fails = index === this.size - 1
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.running)
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(timer)
        signal?.removeEventListener("abort", abort)
        this.running--
        this.lastStoppedAt = performance.now()
      }
      const abort = () => {
        end()
        this.interrupted++
        reject(signal?.reason)
      }
      const timer = setTimeout(
        () => {
          end()
          if (!fails) return resolve()
          this.failedAt = performance.now()
          reject(new Error("failed"))
        },
        fails ? 10 : 1000
      )
      if (signal?.aborted === true) abort()
      else signal?.addEventListener("abort", abort, { once: true })
    })
  }

  /** To be called when the caller has been told; ends when the last handler has. */
  async told(): Promise<FailFast> {
    const toldAt = performance.now()
    const stillRunning = this.running
    while (this.running > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    verify(this.mostAtOnce === this.size, `only ${this.mostAtOnce} of ${this.size} were in flight`)
    return {
      toldAfter: toldAt - this.failedAt,
      lastStoppedAfter: this.lastStoppedAt - this.failedAt,
      interrupted: this.interrupted,
      stillRunning
    }
  }
}

/** The machine in a line. */
export const machine = (): string => {
  const [cpu] = cpus()
  const memory = Math.round(totalmem() / 2 ** 30)
  return `${cpus().length} × ${cpu?.model.trim() ?? "unknown CPU"}, ${memory} GiB, ${process.platform}, Node ${process.versions.node}`
}

export const median = (values: ReadonlyArray<number>): number => quantile(values, 0.5)

/** The value that so great a part of them does not exceed. */
export const quantile = (values: ReadonlyArray<number>, part: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
}
