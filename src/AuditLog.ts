/** (the module doc is written with the module) */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { CallRecord } from "./CallRecord.ts"
import type { Reason } from "./ToolError.ts"

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
