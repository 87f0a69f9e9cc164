/** What the log says of a time as a whole: a fold over outcomes and events, and a table of it. */
import type { Kind } from "../../AuditLog.ts"
import { unknownTool } from "../../CallRecord.ts"
import { Quantiles } from "../quantiles.ts"
import type { AuditRecord } from "./record.ts"

/** Whose a row is; a principal of `undefined` is forgotten, or was never known. */
interface Owner {
  readonly principal: string | undefined
  readonly tenant: string | undefined
}

export interface Report {
  readonly since: number | undefined
  readonly until: number | undefined
  /** Calls that ended in this time. */
  readonly calls: number
  /** Calls whose principal was forgotten. */
  readonly forgotten: number
  readonly statuses: ReadonlyArray<{ readonly tool: string; readonly status: string; readonly calls: number }>
  /** By code, of calls that did not succeed. */
  readonly errors: ReadonlyArray<{ readonly code: string; readonly calls: number }>
  /** By tool, principal and unit; `usd` in millionths. Models' costs are under the name of the event's tool. */
  readonly costs: ReadonlyArray<
    Owner & { readonly tool: string; readonly unit: string; readonly amount: number }
  >
  /** Calls that a stage ended before their handler, without a success. */
  readonly refused: ReadonlyArray<Owner & { readonly stage: string; readonly calls: number }>
  /** Milliseconds, of calls that reached their handler; within 2 %. */
  readonly latency: ReadonlyArray<{
    readonly tool: string
    readonly calls: number
    readonly p50: number
    readonly p95: number
    readonly p99: number
  }>
  /** What is no call of a tool. */
  readonly events: ReadonlyArray<{ readonly kind: Kind; readonly action: string; readonly count: number }>
}

/** Counts by several names at once, in the order of their first appearance. */
class Tally<Row extends object> {
  readonly #rows = new Map<string, { readonly row: Row; count: number }>()

  add(row: Row, count: number): void {
    const name = JSON.stringify(Object.values(row).map((value) => value ?? null))
    const known = this.#rows.get(name)
    if (known === undefined) this.#rows.set(name, { row, count })
    else known.count += count
  }

  /** The largest first. */
  rows<Out>(make: (row: Row, count: number) => Out): ReadonlyArray<Out> {
    return Array.from(this.#rows.values())
      .sort((a, b) => b.count - a.count)
      .map(({ row, count }) => make(row, count))
  }
}

/** The fold: records go in one by one, in any order. */
export class Reporting {
  #calls = 0
  #forgotten = 0
  readonly #statuses = new Tally<{ tool: string; status: string }>()
  readonly #errors = new Tally<{ code: string }>()
  readonly #costs = new Tally<Owner & { tool: string; unit: string }>()
  readonly #refused = new Tally<Owner & { stage: string }>()
  readonly #latency = new Map<string, Quantiles>()
  readonly #events = new Tally<{ kind: Kind; action: string }>()

  add(record: AuditRecord): void {
    if (record.phase === "intent") return
    const tool = record.tool ?? unknownTool
    const owner = ownerOf(record)
    for (const [unit, amount] of Object.entries(record.cost ?? {}))
      this.#costs.add({ tool, ...owner, unit }, amount)
    if (record.phase === "event") {
      this.#events.add({ kind: record.kind, action: record.action ?? "" }, 1)
      return
    }
    this.#calls += 1
    if (record.personal === "forgotten") this.#forgotten += 1
    const { status = "unknown", stage, attempts = 0 } = record
    this.#statuses.add({ tool, status }, 1)
    const succeeded = status === "success" || status === "degraded" || status === "pending_confirmation"
    if (!succeeded && record.code !== undefined) this.#errors.add({ code: record.code }, 1)
    if (!succeeded && stage !== undefined && attempts === 0) this.#refused.add({ stage, ...owner }, 1)
    if (attempts > 0 && record.latency !== undefined) {
      const quantiles = this.#latency.get(tool) ?? new Quantiles()
      this.#latency.set(tool, quantiles)
      quantiles.record(record.latency)
    }
  }

  report(since: number | undefined, until: number | undefined): Report {
    return {
      since,
      until,
      calls: this.#calls,
      forgotten: this.#forgotten,
      statuses: this.#statuses.rows((row, calls) => ({ ...row, calls })),
      errors: this.#errors.rows((row, calls) => ({ ...row, calls })),
      costs: this.#costs.rows((row, amount) => ({ ...row, amount })),
      refused: this.#refused.rows((row, calls) => ({ ...row, calls })),
      latency: Array.from(this.#latency, ([tool, quantiles]) => ({
        tool,
        calls: quantiles.count,
        p50: quantiles.quantile(0.5),
        p95: quantiles.quantile(0.95),
        p99: quantiles.quantile(0.99)
      })),
      events: this.#events.rows((row, count) => ({ ...row, count }))
    }
  }
}

const ownerOf = ({ personal }: AuditRecord): Owner =>
  personal === "forgotten"
    ? { principal: undefined, tenant: undefined }
    : { principal: personal.principal, tenant: personal.tenant }

// --- As text ---------------------------------------------------------------

/** The report as a table for people. */
export const formatReport = (report: Report): string => {
  const time = (at: number | undefined) => (at === undefined ? "…" : new Date(at).toISOString())
  const forgotten = report.forgotten === 0 ? "" : `, ${report.forgotten} of principals who are forgotten`
  return [
    `Audit report, ${time(report.since)} to ${time(report.until)}: ${report.calls} calls${forgotten}`,
    ...table(
      ["tool", "status", "calls"],
      report.statuses.map((row) => [row.tool, row.status, row.calls])
    ),
    ...table(
      ["error", "calls"],
      report.errors.map((row) => [row.code, row.calls])
    ),
    ...table(
      ["tool", "principal", "unit", "cost"],
      report.costs.map((row) => [row.tool, nameOf(row), row.unit, row.amount])
    ),
    ...table(
      ["refused at", "principal", "calls"],
      report.refused.map((row) => [row.stage, nameOf(row), row.calls])
    ),
    ...table(
      ["tool", "calls", "p50 ms", "p95 ms", "p99 ms"],
      report.latency.map((row) => [row.tool, row.calls, ...[row.p50, row.p95, row.p99].map(rounded)])
    ),
    ...table(
      ["event", "what", "count"],
      report.events.map((row) => [row.kind, row.action, row.count])
    )
  ].join("\n")
}

const rounded = (millis: number): string => millis.toFixed(millis < 10 ? 2 : 0)

const nameOf = ({ principal, tenant }: Owner): string =>
  principal === undefined ? "(nobody known)" : tenant === undefined ? principal : `${tenant}/${principal}`

type Cell = string | number

/** Ids come from outside: nothing of them may move a terminal's cursor. */
const printable = (cell: Cell): string => String(cell).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "�")

/** Numbers to the right; nothing for a table without rows. */
const table = (
  names: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<Cell>>
): ReadonlyArray<string> => {
  if (rows.length === 0) return []
  const cells = [names, ...rows].map((row) => row.map(printable))
  const widths = names.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)))
  const line = (row: ReadonlyArray<string>) =>
    row
      .map((cell, column) =>
        typeof rows[0]![column] === "number" ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)
      )
      .join("  ")
      .trimEnd()
  return ["", ...cells.map(line)]
}
