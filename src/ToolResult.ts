/**
 * The answer to an untyped caller. It never carries a cause or a stack, and it
 * survives JSON: `Schema.toCodecJson(ToolResult)` both ways.
 */
import * as Schema from "effect/Schema"
import { Status, ToolError } from "./ToolError.ts"

export const ToolResult = Schema.Struct({
  callId: Schema.String,
  tool: Schema.String,
  status: Status,
  /** The tool's success, encoded by its schema; for `degraded` the fallback's. */
  value: Schema.optionalKey(Schema.Unknown),
  /** The value, or the tool's own failure, was larger than the cap or deeper than 500 levels: there is then the beginning of its JSON text. */
  truncated: Schema.optionalKey(Schema.Literal(true)),
  /** Why the call did not succeed, or why it is degraded. */
  error: Schema.optionalKey(ToolError),
  /** How often the handler was started. */
  attempts: Schema.Int,
  /** Times in milliseconds since the epoch; `startedAt` is when the handler first began. */
  queuedAt: Schema.Finite,
  startedAt: Schema.optionalKey(Schema.Finite),
  completedAt: Schema.Finite,
  /** Milliseconds from `queuedAt` to `completedAt`. */
  latency: Schema.Finite,
  /** What every attempt together has cost, by unit, or may have at the most; `usd` in millionths. */
  cost: Schema.optionalKey(Schema.Record(Schema.String, Schema.Finite)),
  /** The value was kept from an earlier call: this one did not run. */
  answeredFrom: Schema.optionalKey(Schema.Literals(["cache", "idempotency"])),
  /** The approval that let the call run. */
  approval: Schema.optionalKey(Schema.String),
  /** The handler went on after its interruption; what it did is unknown. */
  abandoned: Schema.optionalKey(Schema.Literal(true)),
  traceId: Schema.optionalKey(Schema.String),
  spanId: Schema.optionalKey(Schema.String)
})
export type ToolResult = typeof ToolResult.Type

/** Whether the call produced a value: `success` or `degraded`. */
export const isUsable = (result: ToolResult): boolean =>
  result.status === "success" || result.status === "degraded"
