/**
 * What is kept of calls, written by hand and shared by the peers that need it: health and metrics of each tool, the last
 * calls, and an audit trail with a copy of each result.
 */

export type Status =
  | "success"
  | "failure"
  | "timeout"
  | "circuit_open"
  | "permission_denied"
  | "policy_denied"
  | "rate_limited"
  | "budget_exceeded"
  | "overloaded"
  | "invalid_params"
  | "not_found"
  | "cancelled"
  | "killed"

/** What is known of a call; the same object from its beginning to its end. */
export interface CallRecord {
  readonly id: string
  readonly tool: string
  readonly principal: string
  readonly tenant: string
  status: Status | "pending" | "running" | "retrying"
  /** Why it did not succeed. */
  message: string | undefined
  /** What screening recorded. */
  flags: ReadonlyArray<string>
  /** The private copy. */
  arguments: unknown
  attempts: number
  retried: ReadonlyArray<number>
  cost: number
  readonly queuedAt: number
  startedAt: number
  completedAt: number
}

export const none: ReadonlyArray<never> = []

/** Durations in milliseconds, counted in buckets that grow by 4 %, so that quantiles are within 2 %. */
class Histogram {
  readonly #buckets = new Float64Array(692)
  count = 0
  sum = 0
  max = 0

  add(millis: number): void {
    this.#buckets[millis <= 0.001 ? 0 : Math.min(691, Math.ceil(Math.log(millis * 1000) * 25))]! += 1
    this.count++
    this.sum += millis
    if (millis > this.max) this.max = millis
  }

  quantile(part: number): number {
    const rank = Math.ceil(part * this.count)
    let seen = 0
    for (let bucket = 0; bucket < 691; bucket++) {
      seen += this.#buckets[bucket]!
      if (seen >= rank) return Math.min(this.max, Math.exp((bucket - 0.5) / 25) / 1000)
    }
    return this.max
  }
}

/** Milliseconds; OpenTelemetry's conventions advise them. */
const boundaries = Array.from({ length: 14 }, (_, power) => 10 * 2 ** power)

const bucketOf = (millis: number): number => {
  let bucket = 0
  while (bucket < boundaries.length && millis > boundaries[bucket]!) bucket++
  return bucket
}

/** The outcomes that a tool's health is judged by. */
const window = 100

/** One tool's health and metrics. */
export class ToolStats {
  readonly statuses: Record<Status, number> = {
    success: 0,
    failure: 0,
    timeout: 0,
    circuit_open: 0,
    permission_denied: 0,
    policy_denied: 0,
    rate_limited: 0,
    budget_exceeded: 0,
    overloaded: 0,
    invalid_params: 0,
    not_found: 0,
    cancelled: 0,
    killed: 0
  }
  readonly latencies = new Histogram()
  readonly durations = new Float64Array(boundaries.length + 1)
  readonly #recent = new Uint8Array(window)
  #outcomes = 0
  #recentFailures = 0
  inFlight = 0
  total = 0
  attempts = 0
  consecutiveFailures = 0
  lastSuccess = 0
  lastFailure = 0

  end(record: CallRecord): void {
    const { completedAt, queuedAt, status } = record
    this.inFlight--
    this.total++
    this.statuses[status as Status]++
    if (record.attempts === 0) return
    const latency = Math.max(0, completedAt - queuedAt)
    this.attempts += record.attempts
    this.latencies.add(latency)
    this.durations[bucketOf(latency)]! += 1
    if (status === "success") {
      this.consecutiveFailures = 0
      this.lastSuccess = completedAt
      this.#outcome(0)
    } else if (status === "failure" || status === "timeout") {
      this.consecutiveFailures++
      this.lastFailure = completedAt
      this.#outcome(1)
    }
  }

  #outcome(failed: 0 | 1): void {
    const at = this.#outcomes++ % window
    this.#recentFailures += failed - this.#recent[at]!
    this.#recent[at] = failed
  }

  get isHealthy(): boolean {
    return this.#recentFailures <= 0.1 * Math.min(window, this.#outcomes)
  }
}

/** The last of what was pushed. */
export class Ring<A> {
  readonly #items: Array<A | undefined>
  #next = 0

  constructor(size: number) {
    this.#items = new Array<A | undefined>(size).fill(undefined)
  }

  push(item: A): void {
    this.#items[this.#next] = item
    if (++this.#next === this.#items.length) this.#next = 0
  }

  /** The oldest first. */
  get all(): ReadonlyArray<A> {
    return [...this.#items.slice(this.#next), ...this.#items.slice(0, this.#next)].filter(
      (item) => item !== undefined
    )
  }
}

/** How many calls are kept in the history, and in the audit trail. */
export const kept = 1000
