/** What the memory layer knows, within its bounds. */
import { forgetLeaseAt, type Known, type Phase } from "./idempotencyRecord.ts"
import { Signal } from "./idempotencySignal.ts"
import type { Json } from "./jsonText.ts"
import { Line, type Place } from "./line.ts"

/** What is known of one key. One object per lease, so that a waiter of an old lease never meets a new one. */
export class Entry implements Known {
  readonly id: string
  readonly callId: string
  readonly argumentsHash: string
  readonly abandoned: string | undefined
  /** `undefined` once the lease has ended. */
  token: string | undefined
  phase: Phase = "claimed"
  expiresAt: number
  forgetAt: number
  outcome: Json | undefined = undefined
  /** Among what is done, and among outcomes that are kept. */
  done: Place<Entry> | undefined = undefined
  kept: Place<Entry> | undefined = undefined
  #signal: Signal | undefined = undefined

  constructor(
    id: string,
    callId: string,
    argumentsHash: string,
    token: string,
    expiresAt: number,
    abandoned: string | undefined,
    keepFor: number
  ) {
    this.id = id
    this.callId = callId
    this.argumentsHash = argumentsHash
    this.token = token
    this.expiresAt = expiresAt
    this.abandoned = abandoned
    this.forgetAt = forgetLeaseAt(this, keepFor)
  }

  signal(): Signal {
    this.#signal ??= new Signal()
    return this.#signal
  }

  /** The lease is over, whoever ended it. */
  end(): void {
    this.token = undefined
    this.#signal?.come()
  }
}

/** All that is known. */
export class Entries {
  readonly #entries = new Map<string, Entry>()
  /** Oldest first. */
  readonly #done = new Line<Entry>()
  readonly #kept = new Line<Entry>()
  readonly #maxKeys: number
  readonly #maxBytes: number
  #bytes = 0
  /** No lease can be forgotten before. */
  #leasesUntil = Number.POSITIVE_INFINITY

  constructor(maxKeys: number, maxBytes: number) {
    this.#maxKeys = maxKeys
    this.#maxBytes = maxBytes
  }

  get(id: string): Entry | undefined {
    return this.#entries.get(id)
  }

  add(entry: Entry): void {
    this.#entries.set(entry.id, entry)
    if (entry.forgetAt < this.#leasesUntil) this.#leasesUntil = entry.forgetAt
  }

  remove(entry: Entry): void {
    this.#entries.delete(entry.id)
    if (entry.done !== undefined) this.#done.leave(entry.done)
    this.#drop(entry)
    entry.end()
  }

  /** Keeps an outcome, if there is one to be kept, at the cost of the oldest. */
  keep(entry: Entry, outcome: Json | undefined): void {
    entry.done = this.#done.join(entry)
    if (outcome === undefined) return
    entry.outcome = outcome
    entry.kept = this.#kept.join(entry)
    this.#bytes += outcome.bytes
    while (this.#bytes > this.#maxBytes) this.#drop(this.#kept.first!.value)
  }

  /** Whether one more key can be known, once what is over was forgotten. */
  hasRoom(now: number): boolean {
    // Two for each that comes: what is over does not pile up, and nobody pays for all of it.
    for (let i = 0; i < 2; i++) {
      const oldest = this.#done.first?.value
      if (oldest !== undefined && oldest.forgetAt <= now) this.remove(oldest)
    }
    if (this.#entries.size < this.#maxKeys) return true
    if (this.#leasesUntil <= now) this.#forgetLeases(now)
    if (this.#entries.size < this.#maxKeys) return true
    if (this.#done.first === undefined) return false
    this.remove(this.#done.first.value)
    return true
  }

  /** Leases that ended before their handler began. A walk over all keys, at most one per length of a lease. */
  #forgetLeases(now: number): void {
    this.#leasesUntil = Number.POSITIVE_INFINITY
    for (const entry of this.#entries.values()) {
      if (entry.phase === "done") continue
      if (entry.forgetAt <= now) this.remove(entry)
      else if (entry.forgetAt < this.#leasesUntil) this.#leasesUntil = entry.forgetAt
    }
  }

  #drop(entry: Entry): void {
    if (entry.kept === undefined) return
    this.#kept.leave(entry.kept)
    this.#bytes -= entry.outcome!.bytes
    entry.kept = entry.outcome = undefined
  }
}
