/** How a tool is doing, in the plainest way: a fold over its calls that ended. */
import { ToolError } from "effect-interlock"

export interface Ended {
  readonly status: ToolError.Status
  readonly reason: ToolError.ReasonTag | undefined
  readonly attempts: number
  readonly queuedAt: number
  readonly completedAt: number
}

export interface Health {
  readonly total: number
  readonly counts: Readonly<Partial<Record<ToolError.Status, number>>>
  /** Calls that reached the handler, and their milliseconds in all. */
  readonly reached: number
  readonly time: number
  readonly successes: number
  readonly failures: number
  readonly consecutiveFailures: number
  /** The last 100 that say something of the tool, `true` for a success. */
  readonly recent: ReadonlyArray<boolean>
  readonly lastSuccess: number | undefined
  readonly lastFailure: number | undefined
}

export const untouched: Health = {
  total: 0,
  counts: {},
  reached: 0,
  time: 0,
  successes: 0,
  failures: 0,
  consecutiveFailures: 0,
  recent: [],
  lastSuccess: undefined,
  lastFailure: undefined
}

/** Every status is counted. A call says something of its tool where it reached the handler, and succeeded or failed by it. */
export const fold = (health: Health, { attempts, completedAt, queuedAt, reason, status }: Ended): Health => {
  const counted: Health = {
    ...health,
    total: health.total + 1,
    counts: { ...health.counts, [status]: (health.counts[status] ?? 0) + 1 },
    reached: health.reached + (attempts > 0 ? 1 : 0),
    time: health.time + (attempts > 0 ? completedAt - queuedAt : 0)
  }
  if (attempts === 0) return counted
  const recent = (succeeded: boolean) => [...health.recent.slice(-99), succeeded]
  if (status === "success") {
    return {
      ...counted,
      successes: health.successes + 1,
      consecutiveFailures: 0,
      recent: recent(true),
      lastSuccess: completedAt
    }
  }
  if (reason === undefined || ToolError.table[reason].health === "no") return counted
  return {
    ...counted,
    failures: health.failures + 1,
    consecutiveFailures: health.consecutiveFailures + 1,
    recent: recent(false),
    lastFailure: completedAt
  }
}
