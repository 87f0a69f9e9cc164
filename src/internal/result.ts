/** How a call ended, as a `ToolResult` for an untyped caller. */
import type { CallRecord } from "../CallRecord.ts"
import { ToolError } from "../ToolError.ts"
import type { ToolResult } from "../ToolResult.ts"
import * as ArgumentLimits from "./argumentLimits.ts"
import type { Outcome } from "./call.ts"

export const toError = ({ callId, tool }: CallRecord, reason: ToolError["reason"]): ToolError =>
  errorOf({ callId, tool, reason })

/**
 * An error without a stack, and without the constructor's check of what is known to be right: a refusal is an answer and
 * no bug, a stack would say nothing of its caller, and either costs more than the rest of the call.
 */
export const errorOf = ({
  callId,
  reason,
  tool
}: Pick<ToolError, "callId" | "tool" | "reason">): ToolError => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  // A real error of this class, made as `Error` makes one.
  const error = Reflect.construct(Error, [], ToolError) as ToolError
  Error.stackTraceLimit = stackTraceLimit
  return Object.assign(error, { _tag: "ToolError" as const, callId, tool, reason })
}

/** The result for an untyped caller: the value encoded, and cut where it is larger than `maxBytes` or too deep to be written. */
export const toResult = (outcome: Outcome, record: CallRecord, maxBytes: number): ToolResult => {
  const { reason } = outcome
  const { abandoned, answeredFrom, approval, cost, queuedAt, spanId, startedAt, traceId } = record
  const completedAt = record.completedAt ?? queuedAt
  // Field by field: an object put together from others costs as much as running a stage for each.
  const result: Building = {
    callId: record.callId,
    tool: record.tool,
    status: record.status as ToolResult["status"],
    attempts: record.attempts,
    queuedAt,
    completedAt,
    latency: completedAt - queuedAt
  }
  if (startedAt !== undefined) result.startedAt = startedAt
  if ("encoded" in outcome && outcome.encoded !== undefined) {
    const { truncated, value } = capped(outcome.encoded, maxBytes)
    result.value = value
    if (truncated === true) result.truncated = true
  }
  if (reason !== undefined) Object.assign(result, failed(record, reason, maxBytes))
  if (cost !== undefined) result.cost = cost
  if (answeredFrom !== undefined) result.answeredFrom = answeredFrom
  if (approval !== undefined) result.approval = approval
  if (abandoned) result.abandoned = true
  if (traceId !== undefined) result.traceId = traceId
  if (spanId !== undefined) result.spanId = spanId
  return result
}

type Building = { -readonly [Field in keyof ToolResult]: ToolResult[Field] }

/** A tool's own failure is cut as a value is. */
const failed = (
  record: CallRecord,
  reason: ToolError["reason"],
  maxBytes: number
): Pick<ToolResult, "error" | "truncated"> => {
  if (reason._tag !== "ToolFailed" || reason.failure === undefined) return { error: toError(record, reason) }
  const { value: failure, ...cut } = capped(reason.failure, maxBytes)
  return { error: toError(record, { ...reason, failure }), ...cut }
}

/** A value, or the beginning of its JSON text where it is larger than `maxBytes` or deeper than can be written. */
export const capped = (value: unknown, maxBytes: number): Pick<ToolResult, "value" | "truncated"> => {
  // The common result is measured without being written.
  if (ArgumentLimits.fits(value, { ...unlimited, bytes: maxBytes })) return { value }
  let whole = true
  const upTo = (part: unknown, levels: number): unknown => {
    if (part === null || typeof part !== "object") return part
    if (levels === 0) {
      whole = false
      return "…"
    }
    return Array.isArray(part)
      ? part.map((item) => upTo(item, levels - 1))
      : Object.fromEntries(Object.entries(part).map(([key, item]) => [key, upTo(item, levels - 1)]))
  }
  const text = JSON.stringify(upTo(value, maxDepth))
  // Whole characters only: `encodeInto` stops before one that has no room.
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(Math.min(maxBytes, 3 * text.length)))
  return whole && read === text.length ? { value } : { value: text.slice(0, read), truncated: true }
}

/** Far deeper, and whoever writes the result as JSON runs out of stack. */
const maxDepth = 500

const unlimited = {
  depth: maxDepth,
  stringLength: Number.POSITIVE_INFINITY,
  items: Number.POSITIVE_INFINITY
}
