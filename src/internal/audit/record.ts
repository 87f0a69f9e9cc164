/**
 * What a record says: an open part, which names nobody, and a personal part,
 * which is sealed with a key of the principal's.
 */
import type { Event, Kind } from "../../AuditLog.ts"
import { type CallRecord, type Door, latency, type Stage, type StageVerdict } from "../../CallRecord.ts"
import type { Actor } from "../../Principal.ts"
import type { Redaction } from "../../Redaction.ts"
import type { Amounts } from "../../ToolAnnotations.ts"
import type { ErrorClass, ReasonTag } from "../../ToolError.ts"
import type { ArgumentsView } from "../argumentsView.ts"
import { none, type Snapshot, summarise } from "./snapshot.ts"

/** `intent`: what is about to happen; `outcome`: how a call has ended; `event`: what is no call of a tool. */
export type Phase = "intent" | "outcome" | "event"

/** What is open to whoever can read the store. Names and ids of tools, runs and calls must not name people. */
export interface OpenPart {
  readonly kind: Kind
  readonly phase: Phase
  readonly action?: string | undefined
  readonly callId?: string | undefined
  readonly parent?: string | undefined
  readonly run?: string | undefined
  readonly step?: string | undefined
  readonly traceId?: string | undefined
  readonly spanId?: string | undefined
  readonly door?: Door | undefined
  readonly tool?: string | undefined
  readonly toolDigest?: string | undefined
  readonly policyDigest?: string | undefined
  /** What stages said other than yes; why is in the personal part. */
  readonly verdicts?: ReadonlyArray<Omit<StageVerdict, "reasons">> | undefined
  readonly stage?: Stage | undefined
  readonly status?: CallRecord["status"] | undefined
  readonly reason?: ReasonTag | undefined
  readonly code?: string | undefined
  readonly class?: ErrorClass | undefined
  readonly approval?: string | undefined
  readonly answeredFrom?: CallRecord["answeredFrom"]
  readonly attempts?: number | undefined
  readonly cost?: Amounts | undefined
  /** Milliseconds. */
  readonly latency?: number | undefined
  readonly breaker?: CallRecord["breaker"]
  readonly abandoned?: true | undefined
}

/** What is sealed. Everything in it is redacted. */
export interface PersonalPart {
  readonly principal?: string | undefined
  readonly tenant?: string | undefined
  readonly actor?: Actor | undefined
  readonly session?: string | undefined
  readonly metadata?: unknown
  readonly arguments?: unknown
  /** Where something in the arguments was masked, and by which rule. */
  readonly masked?: ReadonlyArray<{ readonly path: string; readonly rule: string }> | undefined
  /** Why stages said what they said, in the order of `verdicts`. */
  readonly reasons?: ReadonlyArray<StageVerdict["reasons"]> | undefined
  /** The first 1,024 characters of the result, as JSON unless it is a text. */
  readonly result?: string | undefined
  /** The result is longer than that. */
  readonly truncated?: true | undefined
  readonly detail?: unknown
}

/** Whose key seals a record; records of nobody share one. */
export interface Who {
  readonly principal: string | undefined
  readonly tenant: string | undefined
}

/** A record that is to be written. Its open part is of the moment; the rest is worked out when it is written. */
export interface Draft {
  readonly time: number
  readonly who: Who
  readonly open: OpenPart
  readonly arguments: ArgumentsView | undefined
  readonly personal: (redaction: Redaction["Service"]) => PersonalPart
  /** The call that intent and outcome share. */
  readonly call: CallRecord | undefined
  /** It could not be written when it happened. */
  late: boolean
}

export const intentDraft = (record: CallRecord, time: number): Draft =>
  callDraft("intent", record, none, time)

export const outcomeDraft = (record: CallRecord, result: Snapshot, time: number): Draft =>
  callDraft("outcome", record, result, time)

const callDraft = (phase: Phase, record: CallRecord, result: Snapshot, time: number): Draft => {
  // A record of a call that runs is live: what stages said so far is taken now, as the open part is.
  const reasons = record.verdicts.length === 0 ? undefined : record.verdicts.map((verdict) => verdict.reasons)
  return {
    time,
    who: record,
    open: openPart(phase, record),
    arguments: record.arguments,
    personal: (redaction) => personalPart(redaction, record, reasons, result),
    call: record,
    late: false
  }
}

const openPart = (phase: Phase, record: CallRecord): OpenPart => ({
  kind: "tool_call",
  phase,
  callId: record.callId,
  parent: record.parentId,
  run: record.run,
  step: record.step,
  traceId: record.traceId,
  spanId: record.spanId,
  door: record.door,
  tool: record.tool,
  toolDigest: record.toolDigest,
  policyDigest: record.policyDigest,
  verdicts:
    record.verdicts.length === 0
      ? undefined
      : record.verdicts.map(({ stage, verdict, shadow }) => ({
          stage,
          verdict,
          ...(shadow === undefined ? {} : { shadow })
        })),
  stage: record.stage,
  status: record.status,
  reason: record.reason,
  code: record.code,
  class: record.class,
  approval: record.approval,
  answeredFrom: record.answeredFrom,
  attempts: record.attempts,
  cost: record.cost,
  latency: latency(record),
  breaker: record.breaker,
  abandoned: record.abandoned ? true : undefined
})

const personalPart = (
  redaction: Redaction["Service"],
  record: CallRecord,
  reasons: PersonalPart["reasons"],
  result: Snapshot
): PersonalPart => {
  const { value, masked } = record.arguments.view
  return {
    principal: record.principal,
    tenant: record.tenant,
    actor: record.actor,
    session: record.session,
    metadata: record.metadata === undefined ? undefined : redaction.value(record.metadata).value,
    arguments: value,
    masked: masked.length === 0 ? undefined : masked,
    reasons,
    ...summarise(redaction, result)
  }
}

export const eventDraft = (event: Event, time: number): Draft => {
  // The detail is whoever's: it is copied before it can change.
  const detail = event.detail === undefined ? undefined : JSON.stringify(event.detail)
  return {
    time,
    who: { principal: event.principal, tenant: event.tenant },
    open: {
      kind: event.kind,
      phase: "event",
      action: event.action,
      callId: event.callId,
      run: event.run,
      tool: event.tool,
      status: event.status,
      code: event.code,
      cost: event.cost,
      latency: event.latency
    },
    arguments: undefined,
    personal: (redaction) => ({
      principal: event.principal,
      tenant: event.tenant,
      session: event.session,
      detail: detail === undefined ? undefined : redaction.value(JSON.parse(detail)).value
    }),
    call: undefined,
    late: false
  }
}

// --- Read ------------------------------------------------------------------

/** A record as it is read. */
export interface AuditRecord extends OpenPart {
  readonly sequence: number
  /** Milliseconds since the epoch. */
  readonly time: number
  /** The sequence of the outcome's intent. */
  readonly intent?: number | undefined
  /** It could not be written when it happened; an `admin` event before it says why. */
  readonly late?: true | undefined
  /** Keyed, of the canonical arguments. */
  readonly argumentsHash?: string | undefined
  /** A random pseudonym of the principal, of one day. */
  readonly alias: string
  /** Opened, or `forgotten` where its key was destroyed. */
  readonly personal: PersonalPart | "forgotten"
  readonly previous: string
  readonly hash: string
}

/** The fields of a record's line between its time and its previous hash. */
export const fieldsOf = (
  draft: Draft,
  sealed: { readonly alias: string; readonly sealed: string },
  intent: number | undefined
): object => ({
  ...draft.open,
  intent,
  late: draft.late ? true : undefined,
  argumentsHash: draft.arguments?.hash,
  ...sealed
})

/** A record from the body of its line. */
export const readRecord = (
  body: Readonly<Record<string, unknown>>,
  personal: PersonalPart | "forgotten"
): AuditRecord => {
  const { v: _v, keyId: _keyId, sealed: _sealed, ...open } = body
  // The body was signed as `fieldsOf` made it.
  return { ...open, personal } as unknown as AuditRecord
}
