/** (the module doc is written with the module) */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { CallRecord } from "./CallRecord.ts"
import type { AuditStore, StoredLine } from "./internal/auditStore.ts"
import type { Keyring } from "./Keyring.ts"
import type { Redaction } from "./Redaction.ts"
import type { Reason } from "./ToolError.ts"

export {
  type AuditStore,
  type AuditStoreError,
  type ReadRange,
  type StoredLine,
  storeError
} from "./internal/auditStore.ts"

export type Unavailable = Extract<Reason, { readonly _tag: "Unavailable" }>

export type Kind = "tool_call" | "model_call" | "approval" | "policy" | "admin"

/** What is not a call of a tool: a decision, a change of policy, a kill switch, a model that was called. */
export interface Event {
  readonly kind: Exclude<Kind, "tool_call">
  /** What happened, in one word: `granted`, `rejected`, `stopped`, `declassified`. */
  readonly action: string
  readonly principal?: string | undefined
  readonly tenant?: string | undefined
  readonly callId?: string | undefined
  readonly run?: string | undefined
  readonly session?: string | undefined
  readonly tool?: string | undefined
  /** JSON; redacted before it is sealed. */
  readonly detail?: unknown
}

export class AuditLog extends Context.Service<
  AuditLog,
  {
    /** Whether an intent can be written now. Changes nothing. */
    readonly ready: Effect.Effect<void, Unavailable>
    /** What is about to happen: durable when this returns, to the degree the log promises. */
    readonly intent: (record: CallRecord, now: number) => Effect.Effect<void, Unavailable>
    /** How a call has ended, with an intent or without; durable when this returns, to the degree the log promises. */
    readonly outcome: (record: CallRecord, encoded: unknown, now: number) => Effect.Effect<void, Unavailable>
    readonly append: (event: Event) => Effect.Effect<void, Unavailable>
  }
>()("interlock/AuditLog") {}

/** Where records go when they leave the log. */
export interface Archive {
  /** Keeps lines; they leave the log when this has succeeded. After a crash the same lines may come again. */
  readonly add: (lines: ReadonlyArray<StoredLine>) => Effect.Effect<void, unknown>
  /** Deletes what is older than a time, in milliseconds since the epoch. */
  readonly removeBefore: (time: number) => Effect.Effect<void, unknown>
}

export interface Options {
  /**
   * What becomes of a call whose intent cannot be written. Default: tools annotated destructive are refused, the
   * others run.
   */
  readonly whenUnavailable?: "refuse" | "run" | undefined
  /** Records kept in memory while the store does not answer; 10,000. */
  readonly maxWaiting?: number | undefined
  /** How long the store is left alone after a failure; 1 second. */
  readonly retryAfter?: Duration.Input | undefined
  /** How long one write may take; 5 seconds. */
  readonly writeTimeout?: Duration.Input | undefined
  /** Records between two signed heads that are made durable; 1,000. */
  readonly checkpointEvery?: number | undefined
  /** When the keys of identities and arguments are destroyed; 30 days. */
  readonly anonymiseAfter?: Duration.Input | undefined
  /** When records go to the archive, where there is one; 90 days. */
  readonly archiveAfter?: Duration.Input | undefined
  /** When records are deleted; 365 days. */
  readonly deleteAfter?: Duration.Input | undefined
  readonly archive?: Archive | undefined
}

/** An audit log over a store. */
export const make = (
  _store: AuditStore,
  _options: Options = {}
): Effect.Effect<AuditLog["Service"], never, Keyring | Redaction | Scope.Scope> => Effect.die("not built yet")
