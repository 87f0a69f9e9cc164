/** Records as a person reads them. */
import type { AuditRecord } from "../../../AuditLog.ts"
import * as Output from "../../Output.ts"

/** What a record tells of: how a call ended, that it was about to begin, or what else was done. */
const what = ({ action, phase, status }: AuditRecord, paint: Output.Paint): string => {
  if (phase === "intent") return paint.dim("intent")
  if (phase === "event") return paint.cyan(Output.cell(action ?? "event", 30))
  const word = status ?? "unknown"
  if (word === "success" || word === "degraded") return paint.green(word)
  return word === "pending_confirmation" ? paint.yellow(word) : paint.red(word)
}

const who = ({ personal }: AuditRecord): string =>
  personal === "forgotten"
    ? "(forgotten)"
    : personal.tenant === undefined
      ? (personal.principal ?? "")
      : `${personal.tenant}/${personal.principal ?? ""}`

/** The arguments of a call, the detail of anything else. */
const told = ({ personal }: AuditRecord): string => {
  if (personal === "forgotten") return ""
  const value = personal.arguments ?? personal.detail
  return value === undefined ? "" : JSON.stringify(value)
}

const cells = (record: AuditRecord, paint: Output.Paint): ReadonlyArray<string> => [
  String(record.sequence),
  Output.time(record.time),
  what(record, paint),
  Output.cell(record.tool ?? "", 40),
  Output.cell(who(record), 30),
  record.latency === undefined ? "" : `${Math.round(record.latency)} ms`,
  Output.cell(told(record), 60)
]

export const table = (records: ReadonlyArray<AuditRecord>, paint: Output.Paint): string =>
  records.length === 0
    ? "No records."
    : Output.table(
        ["RECORD", "TIME (UTC)", "WHAT", "TOOL", "FOR", "TOOK", ""],
        records.map((record) => cells(record, paint)),
        paint
      )

/** One of an endless number, whose widths nobody knows. */
export const line = (record: AuditRecord, paint: Output.Paint): string =>
  cells(record, paint)
    .filter((cell) => cell !== "")
    .join("  ")
