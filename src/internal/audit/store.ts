/**
 * What an audit log is kept in: lines in the order of their sequences, one
 * signed head, and small named values. A store understands none of them.
 */
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"

export interface StoredLine {
  /** 1 and up. The line of a gap stands at the last sequence that it covers. */
  readonly sequence: number
  /** Milliseconds since the epoch; not always in the order of the sequences. */
  readonly time: number
  /** One JSON text without a newline. */
  readonly line: string
}

/** A store that cannot do what it was asked; nothing of it was done, or it is not known. */
export interface AuditStoreError {
  readonly _tag: "AuditStoreError"
  /** A constant sentence, for operators; no values. */
  readonly message: string
  readonly cause: unknown
}

export const storeError = (message: string, cause: unknown): AuditStoreError => ({
  _tag: "AuditStoreError",
  message,
  cause
})

/** What is read. A store may leave out what is outside the times; it need not. */
export interface ReadRange {
  /** Sequences, inclusive. */
  readonly from?: number | undefined
  readonly to?: number | undefined
  /** Times, inclusive. */
  readonly since?: number | undefined
  readonly until?: number | undefined
}

export interface AuditStore {
  /**
   * Appends in order, all or none, and keeps `head` beside the lines; durable when it returns, as far as this store
   * promises. `moved`: the store's head is not `expected`, because another process has appended since; nothing was
   * done. A store that only one process can open need not compare. `head` may become durable later than the lines,
   * except for a batch of no lines: that is a checkpoint, and its head must be durable when it returns.
   */
  readonly append: (
    batch: ReadonlyArray<StoredLine>,
    expected: string | undefined,
    head: string
  ) => Effect.Effect<"appended" | "moved", AuditStoreError>
  /** The text that the last append gave; after a crash it may be an older one. */
  readonly head: Effect.Effect<string | undefined, AuditStoreError>
  /** The line of the highest sequence. */
  readonly last: Effect.Effect<StoredLine | undefined, AuditStoreError>
  /** Lines in the order of their sequences. */
  readonly read: (range: ReadRange) => Stream.Stream<StoredLine, AuditStoreError>
  /**
   * Replaces the lines of a range of sequences by one, which stands at the range's last sequence, atomically.
   * `moved`: not exactly `lines` lines are in the range any more, because another process was there first; nothing
   * was done. Only for sequences that are not the highest, or whose head is a durable checkpoint.
   */
  readonly replace: (
    range: { readonly from: number; readonly to: number; readonly lines: number },
    line: StoredLine
  ) => Effect.Effect<"replaced" | "moved", AuditStoreError>
  /**
   * Small named values: principals' sealed keys, holds. Atomic per name, durable when `put` returns. Names are 1 to
   * 150 lower-case letters, digits, `.`, `-` and `/`; there may be as many as principals times days.
   */
  readonly get: (name: string) => Effect.Effect<string | undefined, AuditStoreError>
  readonly put: (name: string, value: string) => Effect.Effect<void, AuditStoreError>
  /** Erases the value, not only the way to it. Names that are not there are no error. */
  readonly remove: (names: ReadonlyArray<string>) => Effect.Effect<void, AuditStoreError>
  /** The names that begin with a prefix, in no order. */
  readonly names: (prefix: string) => Effect.Effect<ReadonlyArray<string>, AuditStoreError>
}
