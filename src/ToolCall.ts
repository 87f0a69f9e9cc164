/**
 * The request: which tool, with what, and what this one call asks for itself.
 * Overrides can shorten, strengthen or name; none of them loosens a policy.
 */
import type * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"

// What a record keeps of a call is bounded, so that no caller can fill the memory of a history.
/** Characters of a tool's name. */
export const maxName = 256
const Name = Schema.String.check(Schema.isMaxLength(maxName))
const Id = Schema.NonEmptyString.check(Schema.isMaxLength(256))
const Metadata = Schema.Record(
  Schema.String.check(Schema.isMaxLength(256)),
  Schema.String.check(Schema.isMaxLength(1024))
).check(Schema.isMaxProperties(64))

/** A call as it comes from outside: decoded JSON. Names and ids have at most 256 characters. */
export const ToolCall = Schema.Struct({
  /** The caller's id for the call; made when absent. */
  id: Schema.optionalKey(Id),
  tool: Name,
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
  /**
   * Names the effect: a repetition with the same key and arguments gets the first outcome and does not run. Handlers
   * read it from `CurrentCall`.
   */
  idempotencyKey: Schema.optionalKey(Id),
  /** The token of the approval that lets the call run. */
  approval: Schema.optionalKey(Schema.NonEmptyString.check(Schema.isMaxLength(8192))),
  /** Which call of its run this is: with a run, the key of a call that was given none. */
  step: Schema.optionalKey(Id),
  /** The caller's own labels, at most 64 of at most 1,024 characters; recorded as they are, so no place for secrets. */
  metadata: Schema.optionalKey(Metadata)
})
export type ToolCall = typeof ToolCall.Type

/** Overrides for one call of a typed door. */
export interface Overrides {
  readonly id?: string
  readonly timeout?: Duration.Input
  readonly retries?: number
  /** From now; `ToolCall`, which may have travelled, says a point in time instead. */
  readonly deadline?: Duration.Input
  readonly requireConfirmation?: boolean
  readonly idempotencyKey?: string
  readonly approval?: string
  readonly step?: string
  readonly metadata?: Readonly<Record<string, string>>
}
