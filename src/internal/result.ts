/** How a call ended, as a `ToolResult` for an untyped caller. */
import { ToolError } from "../ToolError.ts"
import type { ToolResult } from "../ToolResult.ts"
import * as ArgumentLimits from "./argumentLimits.ts"
import type { Ended } from "./call.ts"

export const toError = (ended: Ended, reason: ToolError["reason"]): ToolError =>
  new ToolError({ callId: ended.record.callId, tool: ended.record.tool, reason })

/** The result for an untyped caller: the value encoded, and cut where it is larger than `maxBytes`. */
export const toResult = (ended: Ended, maxBytes: number): ToolResult => {
  const { reason, record } = ended
  const completedAt = record.completedAt ?? record.queuedAt
  return {
    callId: record.callId,
    tool: record.tool,
    status: record.status as ToolResult["status"],
    ...("encoded" in ended && ended.encoded !== undefined ? capped(ended.encoded, maxBytes) : {}),
    ...(reason === undefined ? {} : { error: toError(ended, reason) }),
    attempts: record.attempts,
    queuedAt: record.queuedAt,
    ...(record.startedAt === undefined ? {} : { startedAt: record.startedAt }),
    completedAt,
    latency: completedAt - record.queuedAt,
    ...(record.cost === undefined ? {} : { cost: record.cost }),
    ...(record.abandoned ? { abandoned: true as const } : {}),
    ...(record.traceId === undefined ? {} : { traceId: record.traceId }),
    ...(record.spanId === undefined ? {} : { spanId: record.spanId })
  }
}

const capped = (value: unknown, maxBytes: number): Pick<ToolResult, "value" | "truncated"> => {
  const limits = { ...unlimited, bytes: maxBytes }
  const inspection = ArgumentLimits.inspect(value, limits)
  if (inspection._tag === "Ok" || inspection.limit !== "bytes") return { value }
  return { value: (JSON.stringify(value) ?? "").slice(0, maxBytes), truncated: true }
}

const unlimited = {
  depth: Number.POSITIVE_INFINITY,
  stringLength: Number.POSITIVE_INFINITY,
  items: Number.POSITIVE_INFINITY
}
