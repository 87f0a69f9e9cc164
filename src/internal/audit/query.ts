/** Finding records, and opening what can be opened. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Kind } from "../../AuditLog.ts"
import type { CallRecord } from "../../CallRecord.ts"
import type { Keyring } from "../../Keyring.ts"
import * as Glob from "../glob.ts"
import { openLine } from "./chain.ts"
import { type Keys, openPersonal } from "./keys.ts"
import { type AuditRecord, type Phase, readRecord } from "./record.ts"
import type { AuditStore, AuditStoreError, StoredLine } from "./store.ts"

/** Which records; what is given must hold together. Forgotten records have no principal, tenant or session. */
export interface Selection {
  /** Milliseconds since the epoch, inclusive. */
  readonly since?: number | undefined
  readonly until?: number | undefined
  readonly kind?: Kind | undefined
  readonly phase?: Phase | undefined
  readonly action?: string | undefined
  readonly tool?: Glob.Glob | undefined
  readonly principal?: string | undefined
  readonly tenant?: string | undefined
  readonly session?: string | undefined
  readonly status?: CallRecord["status"] | undefined
  readonly callId?: string | undefined
  readonly run?: string | undefined
  readonly traceId?: string | undefined
  /** A part of anything that the record says, whatever its case. */
  readonly text?: string | undefined
}

/** Whether a record is meant; `since` and `until` included. */
export const matches = (selection: Selection, record: AuditRecord): boolean => {
  const personal = record.personal === "forgotten" ? {} : record.personal
  return (
    (selection.since === undefined || record.time >= selection.since) &&
    (selection.until === undefined || record.time <= selection.until) &&
    same(selection.kind, record.kind) &&
    same(selection.phase, record.phase) &&
    same(selection.action, record.action) &&
    (selection.tool === undefined ||
      (record.tool !== undefined && Glob.matches(selection.tool, record.tool))) &&
    same(selection.principal, personal.principal) &&
    same(selection.tenant, personal.tenant) &&
    same(selection.session, personal.session) &&
    same(selection.status, record.status) &&
    same(selection.callId, record.callId) &&
    same(selection.run, record.run) &&
    same(selection.traceId, record.traceId) &&
    (selection.text === undefined ||
      JSON.stringify(record)
        .toLowerCase()
        .includes(JSON.stringify(selection.text).slice(1, -1).toLowerCase()))
  )
}

const same = <A>(wanted: A | undefined, found: A | undefined): boolean =>
  wanted === undefined || wanted === found

export class Reader {
  readonly #store: AuditStore
  readonly #keyring: Keyring["Service"]
  readonly #keys: Keys

  constructor(store: AuditStore, keyring: Keyring["Service"], keys: Keys) {
    this.#store = store
    this.#keyring = keyring
    this.#keys = keys
  }

  /** The record of a line; `undefined` for gaps, and for what is not as it was signed: `verify` tells of that. */
  readonly open = Effect.fnUntraced({ self: this }, function* (this: Reader, stored: StoredLine) {
    const opened = openLine(this.#keyring, stored.line)
    if (typeof opened === "string" || opened.gap) return undefined
    const { alias, sealed } = opened.body
    const key = yield* this.#keys.opening(String(alias))
    const personal = key === undefined ? undefined : openPersonal(key, String(sealed))
    return readRecord(opened.body, personal ?? "forgotten")
  })

  /** What a selection means, oldest first. */
  oldestFirst(selection: Selection): Stream.Stream<AuditRecord, AuditStoreError> {
    const { since, until } = selection
    return Stream.unwrap(
      Effect.as(this.#keys.refresh, this.#select(selection, this.#store.read({ since, until })))
    )
  }

  /** What a selection means, newest first: in blocks of sequences, so that the first ones come soon. */
  newestFirst(selection: Selection): Stream.Stream<AuditRecord, AuditStoreError> {
    const { since, until } = selection
    const blocks = (last: number) =>
      Stream.paginate(last, (to) => {
        const from = Math.max(1, to - blockSize + 1)
        return Effect.map(Stream.runCollect(this.#store.read({ since, until, from, to })), (lines) => {
          const next = this.#before(lines[0], from)
          return [lines.reverse(), next < 1 ? Option.none() : Option.some(next)] as const
        })
      })
    return Stream.unwrap(
      Effect.gen({ self: this }, function* () {
        yield* this.#keys.refresh
        const last = (yield* this.#store.last)?.sequence ?? 0
        return this.#select(selection, last === 0 ? Stream.empty : blocks(last))
      })
    )
  }

  /** Where to read on before a block; what a gap covers need not be looked for. */
  #before(first: StoredLine | undefined, from: number): number {
    const opened = first === undefined ? undefined : openLine(this.#keyring, first.line)
    return (typeof opened === "object" ? Math.min(from, opened.from) : from) - 1
  }

  #select<E>(
    selection: Selection,
    lines: Stream.Stream<StoredLine, E>
  ): Stream.Stream<AuditRecord, E | AuditStoreError> {
    return lines.pipe(
      Stream.mapEffect((line) => this.open(line)),
      Stream.filter((record): record is AuditRecord => record !== undefined && matches(selection, record))
    )
  }
}

const blockSize = 500

/** Intents from before `before` whose outcome was never written: their call crashed, or it still runs. */
export const unfinished = (
  reader: Reader,
  before: number
): Effect.Effect<ReadonlyArray<AuditRecord>, AuditStoreError> =>
  reader.oldestFirst({ kind: "tool_call" }).pipe(
    Stream.runFold(
      () => new Map<number, AuditRecord>(),
      (open, record) => {
        if (record.phase === "intent") open.set(record.sequence, record)
        else if (record.intent !== undefined) open.delete(record.intent)
        return open
      }
    ),
    Effect.map((open) => Array.from(open.values()).filter(({ time }) => time <= before))
  )
