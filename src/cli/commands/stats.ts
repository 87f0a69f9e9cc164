/** `interlock stats`: what was called, what became of it, how long it took and what it cost. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import { AuditLog, type Report } from "../../AuditLog.ts"
import { ofStatus } from "../ExitCode.ts"
import { explained } from "../failures.ts"
import * as Flags from "../flags.ts"
import { amount, millis } from "../numbers.ts"
import * as Output from "../Output.ts"

interface ToolStats {
  readonly tool: string
  readonly calls: number
  readonly succeeded: number
  /** Governance said no. */
  readonly refused: number
  /** A human has, or had, to decide first. */
  readonly pending: number
  readonly failed: number
  /** Milliseconds, of calls that reached their handler. */
  readonly latency: { readonly p50: number; readonly p95: number; readonly p99: number } | undefined
  /** By unit; `usd` in millionths. */
  readonly cost: Readonly<Record<string, number>>
}

interface Stats {
  /** Milliseconds since the epoch. */
  readonly since: number | undefined
  readonly calls: number
  readonly statuses: ReadonlyArray<{ readonly status: string; readonly calls: number }>
  readonly refusedBy: ReadonlyArray<{ readonly stage: string; readonly calls: number }>
  readonly tools: ReadonlyArray<ToolStats>
}

// --- Pure ------------------------------------------------------------------

/** Added up by name, the most first. */
const sums = <A>(
  rows: ReadonlyArray<A>,
  name: (row: A) => string,
  count: (row: A) => number
): ReadonlyArray<readonly [string, number]> => {
  const sums = new Map<string, number>()
  for (const row of rows) sums.set(name(row), (sums.get(name(row)) ?? 0) + count(row))
  return [...sums].sort(([, a], [, b]) => b - a)
}

type Kind = "succeeded" | "refused" | "pending"

/** What a status counts as; what is none of these has failed. */
const kinds: ReadonlyMap<string, Kind> = new Map(
  Object.entries(ofStatus).flatMap(([status, code]): ReadonlyArray<readonly [string, Kind]> => {
    if (code === "ok") return [[status, "succeeded"]]
    return code === "refused" || code === "pending" ? [[status, code]] : []
  })
)

const callsOf = ({ calls }: { readonly calls: number }): number => calls

const fold = ({ calls, costs, latency, refused, since, statuses }: Report): Stats => {
  const latencies = new Map(latency.map(({ tool, p50, p95, p99 }) => [tool, { p50, p95, p99 }]))
  const toolOf = (tool: string, calls: number): ToolStats => {
    const counts = { succeeded: 0, refused: 0, pending: 0, failed: 0 }
    for (const row of statuses) {
      if (row.tool === tool) counts[kinds.get(row.status) ?? "failed"] += row.calls
    }
    const own = costs.filter((cost) => cost.tool === tool)
    const cost = sums(
      own,
      ({ unit }) => unit,
      ({ amount }) => amount
    )
    return { tool, calls, ...counts, latency: latencies.get(tool), cost: Object.fromEntries(cost) }
  }
  return {
    since,
    calls,
    statuses: sums(statuses, ({ status }) => status, callsOf).map(([status, calls]) => ({ status, calls })),
    refusedBy: sums(refused, ({ stage }) => stage, callsOf).map(([stage, calls]) => ({ stage, calls })),
    tools: sums(statuses, ({ tool }) => tool, callsOf).map(([tool, calls]) => toolOf(tool, calls))
  }
}

// --- What is shown ---------------------------------------------------------

const money = (cost: ToolStats["cost"]): string =>
  Object.entries(cost)
    .map(([unit, value]) => amount(value, unit))
    .join(", ")

const counts = (rows: ReadonlyArray<readonly [string, number]>): string =>
  rows.map(([name, count]) => `${count} ${Output.cell(name, 40)}`).join(", ")

const format = ({ calls, refusedBy, since, statuses, tools }: Stats, paint: Output.Paint): string => {
  const from = since === undefined ? "" : ` since ${Output.time(since)} UTC`
  if (calls === 0) return `No calls${from}.`
  const lines = [
    `${paint.bold(String(calls))} calls${from}: ${counts(statuses.map(({ calls, status }) => [status, calls]))}`,
    ...(refusedBy.length === 0
      ? []
      : [`refused by ${counts(refusedBy.map(({ calls, stage }) => [stage, calls]))}`]),
    ""
  ]
  const number = (count: number, paint: (text: string) => string) =>
    count === 0 ? "0" : paint(String(count))
  const table = Output.table(
    ["TOOL", "CALLS", "OK", "REFUSED", "PENDING", "FAILED", "P50 MS", "P95 MS", "P99 MS", "COST"],
    tools.map(({ calls, cost, failed, latency, pending, refused, succeeded, tool }) => [
      Output.cell(tool, 40),
      String(calls),
      number(succeeded, paint.green),
      number(refused, paint.yellow),
      number(pending, paint.yellow),
      number(failed, paint.red),
      millis(latency?.p50),
      millis(latency?.p95),
      millis(latency?.p99),
      money(cost)
    ]),
    paint
  )
  return [...lines, table].join("\n")
}

export const stats = Command.make(
  "stats",
  {
    since: Flags.Moment("since").pipe(
      Flag.withDescription("From then on; 7d by default"),
      Flag.withDefault({ distance: 7 * 86_400_000 })
    )
  },
  Effect.fnUntraced(function* ({ since }) {
    const audit = yield* AuditLog
    const report = yield* audit.report({ since: yield* Flags.ago(since) })
    yield* Output.print(fold(report), format)
  }, explained)
).pipe(Command.withDescription("What was called, what became of it, how long it took and what it cost"))
