/**
 * The request: which tool, with what, and what this one call asks for itself.
 * Overrides can shorten, strengthen or name; none of them loosens a policy.
 */
import type * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"

/** A call as it comes from outside: decoded JSON. */
export const ToolCall = Schema.Struct({
  /** The caller's id for the call; made when absent. */
  id: Schema.optionalKey(Schema.NonEmptyString),
  tool: Schema.String,
  /** The arguments as they came: not yet decoded, not trusted. */
  params: Schema.optionalKey(Schema.Unknown),
  /** Per attempt, in milliseconds; can only shorten the tool's. */
  timeout: Schema.optionalKey(Schema.Finite.check(Schema.isGreaterThan(0))),
  /** Retries after the first attempt; 0 means none. Can only lower the tool's. */
  retries: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))),
  /** A point in time, in milliseconds since the epoch, by which the call has ended. */
  deadline: Schema.optionalKey(Schema.Finite),
  /** Ask a human even where the policy would not. `false` changes nothing. */
  requireConfirmation: Schema.optionalKey(Schema.Boolean),
  /** Makes a retry after an unknown outcome safe where the tool honours it; handlers read it from `CurrentCall`. */
  idempotencyKey: Schema.optionalKey(Schema.NonEmptyString),
  /** The caller's own labels; recorded as they are, so no place for secrets. */
  metadata: Schema.optionalKey(Schema.Record(Schema.String, Schema.String))
})
export type ToolCall = typeof ToolCall.Type

/** Overrides for one call of a typed door. */
export interface Overrides {
  readonly id?: string
  readonly timeout?: Duration.Input
  readonly retries?: number
  /** A duration from now, or a point in time as milliseconds since the epoch in `ToolCall`. */
  readonly deadline?: Duration.Input
  readonly requireConfirmation?: boolean
  readonly idempotencyKey?: string
  readonly metadata?: Readonly<Record<string, string>>
}
