/** What a line of a batch came to, as one value of JSON. */
import * as Schema from "effect/Schema"
import { lazily } from "../../internal/lazily.ts"
import { messageOf, Reason, type Status, table } from "../../ToolError.ts"
import type { ToolResult } from "../../ToolResult.ts"

/** A `ToolResult` as JSON, with its line. Times in milliseconds, points in time since the epoch. */
export interface ResultLine {
  /** Of the input, from 1 on. */
  readonly line: number
  readonly callId: string
  readonly tool: string
  readonly status: Status
  readonly value?: unknown
  readonly truncated?: true
  readonly error?: {
    readonly code: string
    readonly message: string
    /** As `Schema.toCodecJson(Reason)` writes it. */
    readonly reason: unknown
  }
  readonly attempts: number
  readonly queuedAt: number
  readonly startedAt?: number
  readonly completedAt: number
  readonly latency: number
  readonly cost?: Readonly<Record<string, number>>
  readonly answeredFrom?: "cache" | "idempotency"
  readonly approval?: string
  readonly abandoned?: true
  readonly traceId?: string
  readonly spanId?: string
  /** Recorded by an earlier run of the batch: this one did not run the call. */
  readonly replayed?: true
}

// Every reason there is makes a large codec.
const encodeReason = lazily(() => Schema.encodeSync(Schema.toCodecJson(Reason)))

export const fromResult = (line: number, { error, ...result }: ToolResult): ResultLine => {
  if (error === undefined) return { line, ...result }
  const { reason } = error
  const { code } = table[reason._tag]
  return { line, ...result, error: { code, message: messageOf(reason), reason: encodeReason()(reason) } }
}

/** One line of JSON. A value that is none is left out and marked as cut. */
export const toText = (result: ResultLine): string => {
  try {
    return JSON.stringify(result)
  } catch {
    const { value: _, ...rest } = result
    return JSON.stringify({ ...rest, truncated: true })
  }
}
