/**
 * What is let go of with time, and what is kept although its time has come.
 *
 * In one pass: keys of days that are over for long enough are destroyed, then
 * records go to the archive or are deleted, and signed gaps take their place. A
 * hold exempts whatever it means from all of it, for as long as it stands.
 */
import { bytesToHex } from "@noble/hashes/utils.js"
import { randomBytesUnsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Archive } from "../../AuditLog.ts"
import type { Keyring } from "../../Keyring.ts"
import { open, seal } from "../sealing.ts"
import { type GapReason, type Opened, openLine, signGap } from "./chain.ts"
import { endOf, type Keys } from "./keys.ts"
import { matches, type Reader, type Selection } from "./query.ts"
import type { Who } from "./record.ts"
import { type AuditStore, type AuditStoreError, type StoredLine, storeError } from "./store.ts"

/** Records that must stay as they are until they are released. */
export interface Hold {
  readonly id: string
  readonly selection: Selection
  readonly by: string
  readonly why: string
  /** Milliseconds since the epoch. */
  readonly at: number
}

/** Milliseconds; infinite for never. */
export interface RetentionOptions {
  readonly anonymiseAfter: number
  readonly archiveAfter: number
  readonly deleteAfter: number
  readonly archive: Archive | undefined
}

export interface Retained {
  /** Keys that were destroyed, each of a principal and a day. */
  readonly keys: number
  readonly archived: number
  readonly deleted: number
  /** Records whose time has come and that a hold keeps. */
  readonly held: number
}

export interface Forgotten {
  /** Keys that were destroyed. */
  readonly keys: number
  /** Keys that a hold keeps; they are destroyed by the first pass of retention after its release. */
  readonly held: number
}

/** Lines read, handed to the archive and replaced at once. */
const chunk = 1000

/** A run of records that go, with the gaps between them. */
interface Run {
  readonly why: GapReason
  readonly from: number
  to: number
  lines: number
}

export class Retention {
  readonly #store: AuditStore
  readonly #keyring: Keyring["Service"]
  readonly #keys: Keys
  readonly #reader: Reader
  readonly #options: RetentionOptions

  constructor(
    store: AuditStore,
    keyring: Keyring["Service"],
    keys: Keys,
    reader: Reader,
    options: RetentionOptions
  ) {
    this.#store = store
    this.#keyring = keyring
    this.#keys = keys
    this.#reader = reader
    this.#options = options
  }

  // --- Holds ---------------------------------------------------------------

  readonly hold = Effect.fnUntraced({ self: this }, function* (this: Retention, hold: Omit<Hold, "id">) {
    const id = bytesToHex(randomBytesUnsafe(8))
    const sealed = seal(this.#keyring, "audit-keys", JSON.stringify(hold), `hold/${id}`)
    yield* this.#store.put(`hold/${id}`, sealed)
    return { ...hold, id }
  })

  readonly release = Effect.fnUntraced({ self: this }, function* (this: Retention, id: string) {
    if (!/^[0-9a-f]{16}$/.test(id) || (yield* this.#store.get(`hold/${id}`)) === undefined) return false
    yield* this.#store.remove([`hold/${id}`])
    return true
  })

  get holds(): Effect.Effect<ReadonlyArray<Hold>, AuditStoreError> {
    return Effect.gen({ self: this }, function* () {
      const holds: Array<Hold> = []
      for (const name of yield* this.#store.names("hold/")) {
        const sealed = yield* this.#store.get(name)
        if (sealed === undefined) continue
        const text = open(this.#keyring, "audit-keys", sealed, name)
        // Whatever it means must not be lost because nobody can read it.
        if (text === undefined) {
          return yield* Effect.fail(
            storeError("a hold of the audit log cannot be opened with this keyring", name)
          )
        }
        holds.push({ ...(JSON.parse(text) as Omit<Hold, "id">), id: name.slice("hold/".length) })
      }
      return holds.sort((a, b) => a.at - b.at)
    })
  }

  /** The pseudonyms under which records are held. */
  readonly #heldAliases = Effect.fnUntraced({ self: this }, function* (this: Retention) {
    const holds = yield* this.holds
    const aliases = new Set<string>()
    if (holds.length === 0) return aliases
    yield* Stream.runForEach(this.#reader.oldestFirst({}), (record) =>
      Effect.sync(() => {
        if (isHeld(holds, record)) aliases.add(record.alias)
      })
    )
    return aliases
  })

  // --- Forgetting ----------------------------------------------------------

  /** Destroys a principal's keys. From now on it has another pseudonym. */
  readonly forget = Effect.fnUntraced({ self: this }, function* (this: Retention, who: Who) {
    const found = yield* this.#keys.aliasesOf(who)
    const held = yield* this.#heldAliases()
    const kept = found.filter(({ alias }) => held.has(alias))
    for (const { alias } of kept) yield* this.#store.put(`condemned/${alias}`, "")
    const gone = found.filter(({ alias }) => !held.has(alias))
    yield* this.#keys.destroy(
      gone.map(({ alias }) => alias),
      found.map(({ name }) => name)
    )
    return { keys: gone.length, held: kept.length }
  })

  /** Destroys the keys of days that are over for long enough, and those that only a hold had kept. */
  readonly anonymise = Effect.fnUntraced({ self: this }, function* (this: Retention, now: number) {
    const condemned = yield* this.#store.names("condemned/")
    const due = new Set(condemned.map((name) => name.slice("condemned/".length)))
    for (const alias of yield* this.#keys.aliases) {
      if (endOf(alias) + this.#options.anonymiseAfter <= now) due.add(alias)
    }
    if (due.size === 0) return 0
    for (const alias of yield* this.#heldAliases()) due.delete(alias)
    if (due.size === 0) return 0
    const owners = yield* this.#keys.owners(due)
    const markers = condemned.filter((name) => due.has(name.slice("condemned/".length)))
    yield* this.#keys.destroy(due, [...owners, ...markers])
    return due.size
  })

  // --- Dropping ------------------------------------------------------------

  /** Moves or deletes what is old enough. The chain's end must be a durable checkpoint. */
  readonly drop = Effect.fnUntraced({ self: this }, function* (this: Retention, now: number) {
    const { archive, deleteAfter } = this.#options
    const { runs, held } = yield* this.#plan(now)
    let archived = 0
    let deleted = 0
    for (const run of runs) {
      const count = yield* this.#dropRun(run, now)
      if (run.why === "archived") archived += count
      else deleted += count
    }
    if (archive !== undefined && Number.isFinite(deleteAfter)) {
      yield* asked(archive.removeBefore(now - deleteAfter))
    }
    return { archived, deleted, held }
  })

  /** What goes, as runs of sequences: planned first, because a store need not let itself be read and changed at once. */
  readonly #plan = Effect.fnUntraced({ self: this }, function* (this: Retention, now: number) {
    const { archive, archiveAfter, deleteAfter } = this.#options
    const why: GapReason = archive === undefined ? "deleted" : "archived"
    const before = now - (archive === undefined ? deleteAfter : archiveAfter)
    yield* this.#keys.refresh
    const holds = yield* this.holds
    const runs: Array<Run> = []
    let run: Run | undefined
    let records = 0
    let held = 0
    const close = () => {
      // A gap alone is what it was.
      if (run !== undefined && records > 0) runs.push(run)
      run = undefined
      records = 0
    }
    yield* Stream.runForEach(
      this.#store.read({}),
      Effect.fnUntraced({ self: this }, function* (this: Retention, stored: StoredLine) {
        const opened = openLine(this.#keyring, stored.line)
        // What is broken stays: it is evidence.
        if (typeof opened === "string") return close()
        if (!opened.gap) {
          if (opened.time > before) return close()
          const record = holds.length === 0 ? undefined : yield* this.#reader.open(stored)
          if (record !== undefined && isHeld(holds, record)) {
            held += 1
            return close()
          }
          records += 1
        }
        run ??= { why, from: stored.sequence, to: stored.sequence, lines: 0 }
        run.to = stored.sequence
        run.lines += 1
        if (run.lines >= chunk) close()
      })
    )
    close()
    return { runs, held }
  })

  /** Hands a run to the archive, and puts a gap in its place; how many records that were. */
  readonly #dropRun = Effect.fnUntraced({ self: this }, function* (this: Retention, run: Run, now: number) {
    const { archive } = this.#options
    const from = yield* this.#withGapBefore(run.from)
    const lines = yield* Stream.runCollect(this.#store.read({ from, to: run.to }))
    const opened = lines.map(({ line }) => openLine(this.#keyring, line))
    const intact = opened.filter((line): line is Opened => typeof line === "object")
    const [first, last] = [intact[0], intact.at(-1)]
    if (first === undefined || last === undefined || intact.length !== lines.length) return 0
    const records = lines.filter((_, i) => !intact[i]!.gap)
    if (archive !== undefined) yield* asked(archive.add(records))
    const gap = signGap(this.#keyring, {
      from: first.from,
      previous: first.previous,
      tip: { sequence: last.sequence, hash: last.tip },
      time: now,
      why: run.why
    })
    const answer = yield* this.#store.replace({ from, to: run.to, lines: lines.length }, gap)
    return answer === "replaced" ? records.length : 0
  })

  /** Where a run begins, with the gap that ends there: the one takes in the other. */
  readonly #withGapBefore = Effect.fnUntraced({ self: this }, function* (this: Retention, from: number) {
    const range = { from: from - 1, to: from - 1 }
    const [stored] = from === 1 ? [] : yield* Stream.runCollect(this.#store.read(range))
    const opened = stored === undefined ? undefined : openLine(this.#keyring, stored.line)
    return typeof opened === "object" && opened.gap ? from - 1 : from
  })
}

const isHeld = (holds: ReadonlyArray<Hold>, record: Parameters<typeof matches>[1]): boolean =>
  holds.some(({ selection }) => matches(selection, record))

const asked = (effect: Effect.Effect<void, unknown>): Effect.Effect<void, AuditStoreError> =>
  Effect.mapError(effect, (cause) => storeError("the audit log's archive does not answer", cause))
