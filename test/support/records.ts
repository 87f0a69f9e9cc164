/** Call records as the pipeline makes them, for tests of what follows them. */
import type { CallRecord, CallRecorder, LiveStatus } from "../../src/CallRecord.ts"
import { ArgumentsView } from "../../src/internal/argumentsView.ts"
import { type ReasonTag, type Status, table } from "../../src/ToolError.ts"

export type LiveRecord = { -readonly [Key in keyof CallRecord]: CallRecord[Key] }

type Sink = CallRecorder["Service"]["sink"]

let made = 0

/** A call that has just come in. */
export const pending = (fields: Partial<CallRecord> = {}): LiveRecord => ({
  callId: `call-${++made}`,
  parentId: undefined,
  run: undefined,
  session: undefined,
  step: undefined,
  tool: "add",
  circuit: fields.tool ?? "add",
  door: "execute",
  principal: "ann",
  tenant: undefined,
  actor: undefined,
  status: "pending",
  reason: undefined,
  code: undefined,
  class: undefined,
  stage: undefined,
  verdicts: [],
  toolDigest: undefined,
  policyDigest: undefined,
  approval: undefined,
  answeredFrom: undefined,
  attempts: 0,
  retried: [],
  queuedAt: 0,
  startedAt: undefined,
  completedAt: undefined,
  abandoned: false,
  cost: undefined,
  breaker: undefined,
  arguments: ArgumentsView.refused("none"),
  traceId: undefined,
  spanId: undefined,
  metadata: undefined,
  ...fields
})

/** Lets a call come in. */
export const start = (sink: Sink, fields: Partial<CallRecord> = {}): LiveRecord => {
  const record = pending(fields)
  sink.onStart(record)
  return record
}

/** Lets a call go on. */
export const change = (sink: Sink, record: LiveRecord, status: LiveStatus): void => {
  record.status = status
  if (status === "running") record.attempts += 1
  sink.onChange(record)
}

/** Lets a call end: `"success"`, or the reason why it did not. */
export const end = (
  sink: Sink,
  record: LiveRecord,
  outcome: "success" | ReasonTag,
  options: { readonly at?: number; readonly status?: Status } = {}
): void => {
  if (outcome !== "success") {
    record.reason = outcome
    record.code = table[outcome].code
  }
  record.status = options.status ?? (outcome === "success" ? "success" : table[outcome].status)
  record.completedAt = options.at ?? record.queuedAt
  sink.onEnd(record)
}

/** A whole call that reached its handler, unless `attempts` says 0, and took `took` milliseconds. */
export const call = (
  sink: Sink,
  outcome: "success" | ReasonTag,
  options: {
    readonly tool?: string
    readonly circuit?: string
    readonly took?: number
    readonly attempts?: number
    readonly status?: Status
    readonly queuedAt?: number
    readonly principal?: string
    readonly callId?: string
  } = {}
): LiveRecord => {
  const { attempts = 1, took = 0, status, ...fields } = options
  const record = start(sink, fields)
  if (attempts > 0) change(sink, record, "running")
  record.attempts = attempts
  end(sink, record, outcome, { at: record.queuedAt + took, ...(status === undefined ? {} : { status }) })
  return record
}
