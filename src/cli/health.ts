/** How each tool did, as the audit log tells it: whichever process made the calls. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { AuditLog, type Report } from "../AuditLog.ts"
import { CircuitBreaker } from "../CircuitBreaker.ts"
import { table } from "../ToolError.ts"

export interface ToolHealth {
  readonly tool: string
  /** Calls that ended. */
  readonly calls: number
  /** Successes among successes and failures; 1 where there was neither. */
  readonly successRate: number
  /** Milliseconds, of calls that reached their handler. */
  readonly latency: { readonly p50: number; readonly p95: number; readonly p99: number } | undefined
  readonly circuit: string
  readonly healthy: boolean
}

/** Statuses that health counts as the tool's failure. */
const failures: ReadonlySet<string> = new Set(
  Object.values(table).flatMap(({ health, status }) => (health === "yes" ? [status] : []))
)

/** The recent success rate from which on a tool is healthy. */
const healthyFrom = 0.9

const fold = (report: Report, circuits: ReadonlyMap<string, string>): ReadonlyArray<ToolHealth> => {
  const latencies = new Map(report.latency.map(({ tool, p50, p95, p99 }) => [tool, { p50, p95, p99 }]))
  const tools = new Map<string, { calls: number; succeeded: number; failed: number }>()
  for (const { calls, status, tool } of report.statuses) {
    const known = tools.get(tool) ?? { calls: 0, succeeded: 0, failed: 0 }
    known.calls += calls
    if (status === "success") known.succeeded += calls
    if (failures.has(status)) known.failed += calls
    tools.set(tool, known)
  }
  return Array.from(tools, ([tool, { calls, failed, succeeded }]) => {
    const successRate = succeeded + failed === 0 ? 1 : succeeded / (succeeded + failed)
    const circuit = circuits.get(tool) ?? "Closed"
    const healthy = successRate >= healthyFrom && circuit !== "Open"
    return { tool, calls, successRate, latency: latencies.get(tool), circuit, healthy }
  })
}

/** Every tool that was called in this time. */
export const read = Effect.fnUntraced(function* (since: Duration.Input) {
  const audit = yield* AuditLog
  const breaker = yield* CircuitBreaker
  const now = yield* Clock.currentTimeMillis
  const report = yield* audit.report({ since: now - Duration.toMillis(since) })
  const circuits = new Map(Array.from(yield* breaker.states, ([key, { tag }]) => [key, tag]))
  return fold(report, circuits)
})
