/**
 * The audit log: a record that can be trusted of everything that was asked for,
 * refused, done and decided.
 *
 * **Write-ahead.** A call's intent is written before its handler starts, its
 * outcome after it ends. A refused call leaves an outcome alone; an intent alone
 * is a call that still runs, or crashed: `unfinished` lists them.
 *
 * **Proof.** Records are chained: each carries the keyed hash of the one before,
 * and `verify` names the first that is changed, missing, inserted or out of
 * place. A cut at the end is found by a signed head that the store keeps beside
 * the records, by what this process wrote itself, or by an `expectedHead` that
 * was kept elsewhere. A log has a random name that its chain begins with, so that
 * another one of the same keyring cannot stand in its place.
 *
 * What cannot be found: somebody without a key who can write to the store puts
 * records and head back as they once were together, or takes both away, while no
 * process runs that wrote more. Keep what `checkpoint` returns in another place to
 * find that, too. Whoever has the keyring can write any history.
 *
 * **Forgetting.** The open part of a record names nobody, as long as the ids of
 * calls and runs and the names of tools do not. Principal, tenant, session,
 * actor, metadata, arguments and result are redacted and sealed with a key of
 * the principal and the day. `forget`, and for everybody a pass of `retain` after
 * 30 days, destroys keys; the chain stays whole. Then records go to the archive
 * after 90 days, where there is one, and are deleted after a year; signed gaps in
 * their place keep the proof. A hold exempts what it means from all three. An
 * identity is let go of with its day: up to a day later than `anonymiseAfter`.
 *
 * **Nothing is dropped in silence.** A record that cannot be written fails its
 * writer as `unavailable`; `whenUnavailable` says which calls run all the same.
 * It is kept, up to `maxWaiting`, and written when the store is back, marked
 * `late`, after an `admin` record `store_recovered` that counts what was late and
 * what was lost. Every failure goes to the error reporters, and so does what is
 * lost when the log closes.
 *
 * In memory a log holds what waits, up to `maxWaiting`, and the keys of 10,000
 * principals and days for sealing, and as many for opening.
 *
 * Order is the order of writing. `time` is when it happened, by the clock of the
 * process that it happened in, so it need not rise.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CallRecord } from "./CallRecord.ts"
import { Appender } from "./internal/audit/appender.ts"
import type { Head, Position } from "./internal/audit/chain.ts"
import { Keys } from "./internal/audit/keys.ts"
import { makeMemorySink, makeMemoryStore } from "./internal/audit/memory.ts"
import { Reader, type Selection } from "./internal/audit/query.ts"
import { type AuditRecord, intentDraft, outcomeDraft } from "./internal/audit/record.ts"
import { type Report, Reporting } from "./internal/audit/report.ts"
import { type Forgotten, type Hold, type Retained, Retention } from "./internal/audit/retention.ts"
import { assemble, type Parts } from "./internal/audit/service.ts"
import { snapshot } from "./internal/audit/snapshot.ts"
import type { AuditStore, ReadRange, StoredLine } from "./internal/audit/store.ts"
import type { Verification } from "./internal/audit/verification.ts"
import { makeWriter } from "./internal/audit/writer.ts"
import { millis, period, whole } from "./internal/options.ts"
import { Keyring } from "./Keyring.ts"
import { Redaction, type View } from "./Redaction.ts"
import type { Amounts } from "./ToolAnnotations.ts"
import type { Status, Unavailable } from "./ToolError.ts"

export type { Head, Position } from "./internal/audit/chain.ts"
export type { Selection } from "./internal/audit/query.ts"
export type { AuditRecord, PersonalPart, Phase } from "./internal/audit/record.ts"
export { formatReport, type Report } from "./internal/audit/report.ts"
export type { Forgotten, Hold, Retained } from "./internal/audit/retention.ts"
export {
  type AuditStore,
  type AuditStoreError,
  type ReadRange,
  type StoredLine,
  storeError
} from "./internal/audit/store.ts"
export { type Problem, type Verification, verifyLines } from "./internal/audit/verification.ts"
export type { Unavailable } from "./ToolError.ts"

// --- Models ----------------------------------------------------------------

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
  readonly status?: Status | undefined
  readonly code?: string | undefined
  /** By unit; `usd` in millionths. */
  readonly cost?: Amounts | undefined
  /** Milliseconds. */
  readonly latency?: number | undefined
  /** JSON; redacted before it is sealed. */
  readonly detail?: unknown
}

/** Who asked for something to be done to the log, and why; both are recorded. */
export interface Because {
  readonly by: string
  readonly why: string
}

/** Where records go when they leave the log. */
export interface Archive {
  /** Keeps lines; they leave the log when this has succeeded. After a crash the same lines may come again. */
  readonly add: (lines: ReadonlyArray<StoredLine>) => Effect.Effect<void, unknown>
  /** Deletes what is older than a time, in milliseconds since the epoch. */
  readonly removeBefore: (time: number) => Effect.Effect<void, unknown>
}

/** What is kept, and for how long. Durations may be infinite. */
export interface RetentionOptions {
  /** When the keys of identities and arguments are destroyed; 30 days. */
  readonly anonymiseAfter?: Duration.Input | undefined
  /** When records go to the archive, where there is one; 90 days. */
  readonly archiveAfter?: Duration.Input | undefined
  /** When records are deleted, in the archive where there is one; 365 days. */
  readonly deleteAfter?: Duration.Input | undefined
  /** Holds do not reach into it. */
  readonly archive?: Archive | undefined
}

export interface Options extends RetentionOptions {
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
}

export interface MemoryOptions extends RetentionOptions {
  /** Records kept; 1,000, each of up to 6 kB of its result and its arguments. Beyond it the oldest go, and a gap says how many. */
  readonly maxRecords?: number | undefined
}

// --- Service ---------------------------------------------------------------

export class AuditLog extends Context.Service<
  AuditLog,
  {
    /** Whether an intent can be written now. Changes nothing. */
    readonly ready: Effect.Effect<void, Unavailable>
    /** What is about to happen: durable when this returns, to the degree the log promises. */
    readonly intent: (record: CallRecord, now: number) => Effect.Effect<void, Unavailable>
    /** How a call has ended, with an intent or without; durable when this returns, to the degree the log promises. */
    readonly outcome: (
      record: CallRecord,
      encoded: unknown,
      now: number,
      /** How the tool's results are shown; without it, by what is detected alone. */
      redact?: (encoded: unknown) => View
    ) => Effect.Effect<void, Unavailable>
    readonly append: (event: Event) => Effect.Effect<void, Unavailable>
    /** What becomes of a call whose intent cannot be written, by whether its tool says that it is destructive. */
    readonly whenUnavailable: (destructive: boolean | undefined) => "refuse" | "run"

    /** Records, newest first unless told otherwise; at most `limit`, 1,000. */
    readonly query: (
      selection?: Selection & {
        readonly order?: "newest" | "oldest" | undefined
        readonly limit?: number | undefined
      }
    ) => Effect.Effect<ReadonlyArray<AuditRecord>, Unavailable>
    /** Every record that is meant, oldest first. */
    readonly records: (selection?: Selection) => Stream.Stream<AuditRecord, Unavailable>
    /** The same as JSON Lines, one record each, with what can be opened and `forgotten` where nothing can. */
    readonly export: (selection?: Selection) => Stream.Stream<string, Unavailable>
    /** Lines as they are stored, sealed and signed: what `verifyLines` proves anywhere the keyring is. */
    readonly lines: (range?: ReadRange) => Stream.Stream<StoredLine, Unavailable>
    /** Calls, errors, costs, refusals and latencies of a time, in milliseconds since the epoch, inclusive. */
    readonly report: (range?: {
      readonly since?: number | undefined
      readonly until?: number | undefined
    }) => Effect.Effect<Report, Unavailable>
    /** Intents older than 5 minutes, or the given time, whose outcome was never written. */
    readonly unfinished: (options?: {
      readonly olderThan?: Duration.Input | undefined
    }) => Effect.Effect<ReadonlyArray<AuditRecord>, Unavailable>

    /** Walks the whole chain; with `expectedHead`, also up to a place that was known before. */
    readonly verify: (options?: {
      readonly expectedHead?: Position | undefined
    }) => Effect.Effect<Verification, Unavailable>
    /** Signs how far the chain goes, durably. Kept elsewhere, it proves later that nothing before it was cut off. */
    readonly checkpoint: Effect.Effect<Head, Unavailable>

    /** Destroys the keys of a principal's records; those under a hold go when it is released. */
    readonly forget: (
      who: { readonly principal: string; readonly tenant?: string | undefined },
      because: Because
    ) => Effect.Effect<Forgotten, Unavailable>
    /** Keeps what a selection means, now and later, from being anonymised, archived and deleted. */
    readonly hold: (selection: Selection, because: Because) => Effect.Effect<Hold, Unavailable>
    /** Ends a hold; `false` where there is none of this id. */
    readonly release: (id: string, because: Because) => Effect.Effect<boolean, Unavailable>
    readonly holds: Effect.Effect<ReadonlyArray<Hold>, Unavailable>
    /** One pass of retention. Two processes may make it at once. */
    readonly retain: Effect.Effect<Retained, Unavailable>
  }
>()("interlock/AuditLog") {}

// --- Over a store ----------------------------------------------------------

/**
 * An audit log over a store. It does not ask the store until something is written or read. When its scope closes it
 * writes what waits and signs a head.
 */
export const make = (
  store: AuditStore,
  options: Options = {}
): Effect.Effect<AuditLog["Service"], never, Keyring | Redaction | Scope.Scope> => {
  const retention = retentionOptions(options)
  const maxWaiting = whole("AuditLog: maxWaiting", options.maxWaiting ?? 10_000)
  const checkpointEvery = whole("AuditLog: checkpointEvery", options.checkpointEvery ?? 1000)
  const retryAfter = millis("AuditLog: retryAfter", options.retryAfter ?? "1 second")
  const writeTimeout = millis("AuditLog: writeTimeout", options.writeTimeout ?? "5 seconds")
  return Effect.gen(function* () {
    const parts = yield* partsOf(store, retention, checkpointEvery)
    const writer = yield* makeWriter(parts.appender, { maxWaiting, retryAfter, writeTimeout })
    return assemble(parts, {
      ready: writer.ready,
      // A record of a call that runs is live: the draft is of now, whenever it is written.
      intent: (record, now) => writer.offer(intentDraft(record, now)),
      outcome: (record, encoded, now, redact) =>
        writer.offer(outcomeDraft(record, snapshot(encoded, redact), now)),
      offer: writer.offer,
      settled: Effect.void,
      whenUnavailable: (destructive) => options.whenUnavailable ?? (destructive === true ? "refuse" : "run")
    })
  })
}

const partsOf = Effect.fnUntraced(function* (
  store: AuditStore,
  options: ReturnType<typeof retentionOptions>,
  checkpointEvery: number
): Effect.fn.Return<Parts, never, Keyring | Redaction> {
  const keyring = yield* Keyring
  const keys = new Keys(store, keyring)
  const reader = new Reader(store, keyring, keys)
  return {
    store,
    keyring,
    reader,
    appender: new Appender(store, keyring, yield* Redaction, keys, checkpointEvery),
    retention: new Retention(store, keyring, keys, reader, options)
  }
})

/** Retention now and then, for as long as the layer lives: a pass at once, and one every hour. */
export const layerRetention = (
  options: { readonly every?: Duration.Input } = {}
): Layer.Layer<never, never, AuditLog> => {
  const every = millis("AuditLog: every", options.every ?? "1 hour")
  return Layer.effectDiscard(
    Effect.gen(function* () {
      const log = yield* AuditLog
      // A pass that fails has told the error reporters; the next one makes up for it.
      const pass = Effect.ignore(log.retain)
      yield* Effect.forkScoped(Effect.repeat(pass, Schedule.spaced(every)))
    })
  )
}

// --- In memory -------------------------------------------------------------

/**
 * An audit log that lives as long as the process. Writing takes a reference and a small copy; sealing and hashing are
 * done, once, when something is read. So its chain protects what was read once, not what nobody has looked at yet.
 */
export const layerMemory = (
  options: MemoryOptions = {}
): Layer.Layer<AuditLog, never, Keyring | Redaction> => {
  const maxRecords = whole("AuditLog: maxRecords", options.maxRecords ?? 1000)
  const retention = retentionOptions(options)
  return Layer.effect(
    AuditLog,
    Effect.gen(function* () {
      const store = makeMemoryStore()
      const parts = yield* partsOf(store, retention, Number.MAX_SAFE_INTEGER)
      const sink = makeMemorySink(store, parts.appender, parts.keyring, maxRecords)
      return assemble(parts, {
        ready: Effect.void,
        intent: sink.intent,
        outcome: sink.outcome,
        offer: sink.offer,
        settled: sink.drain,
        whenUnavailable: () => "run"
      })
    })
  )
}

/** Writes nothing and knows nothing. */
export const layerNoop: Layer.Layer<AuditLog> = Layer.sync(AuditLog, () => ({
  ready: Effect.void,
  intent: () => Effect.void,
  outcome: () => Effect.void,
  append: () => Effect.void,
  whenUnavailable: () => "run",
  query: () => Effect.succeed([]),
  records: () => Stream.empty,
  export: () => Stream.empty,
  lines: () => Stream.empty,
  report: ({ since, until } = {}) => Effect.succeed(new Reporting().report(since, until)),
  unfinished: () => Effect.succeed([]),
  verify: () =>
    Effect.succeed({ ok: true, records: 0, dropped: 0, from: 0, to: 0, head: { sequence: 0, hash: "" } }),
  checkpoint: Effect.succeed({ log: "", sequence: 0, hash: "", time: 0, keyId: "", signature: "" }),
  forget: () => Effect.succeed({ keys: 0, held: 0 }),
  hold: (selection, { by, why }) => Effect.succeed({ id: "", selection, by, why, at: 0 }),
  release: () => Effect.succeed(false),
  holds: Effect.succeed([]),
  retain: Effect.succeed({ keys: 0, archived: 0, deleted: 0, held: 0 })
}))

// --- Options ---------------------------------------------------------------

const retentionOptions = (options: RetentionOptions) => {
  const anonymiseAfter = period("AuditLog: anonymiseAfter", options.anonymiseAfter ?? "30 days")
  const archiveAfter = period("AuditLog: archiveAfter", options.archiveAfter ?? "90 days")
  const deleteAfter = period("AuditLog: deleteAfter", options.deleteAfter ?? "365 days")
  if (options.archive !== undefined && archiveAfter > deleteAfter) {
    throw new RangeError("AuditLog: archiveAfter must not be longer than deleteAfter")
  }
  return { anonymiseAfter, archiveAfter, deleteAfter, archive: options.archive }
}
