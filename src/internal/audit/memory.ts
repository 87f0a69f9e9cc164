/** A store of the audit log in memory, and the way of a call's records into it. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import type { Unavailable } from "../../AuditLog.ts"
import { type CallRecord, isEnded } from "../../CallRecord.ts"
import type { Keyring } from "../../Keyring.ts"
import type { Appender } from "./appender.ts"
import { openLine, signGap } from "./chain.ts"
import { type Draft, intentDraft, outcomeDraft } from "./record.ts"
import { type Kept, keep, type Redact, snapshotOf } from "./snapshot.ts"
import type { AuditStore, AuditStoreError, StoredLine } from "./store.ts"

/** Lines and values in memory; whatever is asked is done when called, and answers with an `Exit`. */
export const makeMemoryStore = (): AuditStore & { readonly lines: () => ReadonlyArray<StoredLine> } => {
  let lines: Array<StoredLine> = []
  let head: string | undefined
  const values = new Map<string, string>()
  const indexOf = (sequence: number): number => {
    let low = 0
    let high = lines.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (lines[middle]!.sequence < sequence) low = middle + 1
      else high = middle
    }
    return low
  }
  return {
    lines: () => lines,
    append: (batch, expected, next) =>
      Effect.suspend(() => {
        if (head !== expected) return Exit.succeed("moved" as const)
        for (const line of batch) lines.push(line)
        head = next
        return Exit.succeed("appended" as const)
      }),
    head: Effect.sync(() => head),
    last: Effect.sync(() => lines.at(-1)),
    read: ({ from = 0, to = Number.MAX_SAFE_INTEGER }) =>
      Stream.suspend(() => Stream.fromIterable(lines.slice(indexOf(from), indexOf(to + 1)))),
    replace: ({ from, to, lines: count }, line) =>
      Effect.suspend(() => {
        const [first, end] = [indexOf(from), indexOf(to + 1)]
        if (end - first !== count) return Exit.succeed("moved" as const)
        lines = [...lines.slice(0, first), line, ...lines.slice(end)]
        return Exit.succeed("replaced" as const)
      }),
    get: (name) => Effect.sync(() => values.get(name)),
    put: (name, value) =>
      Effect.sync(() => {
        values.set(name, value)
      }),
    remove: (names) =>
      Effect.sync(() => {
        for (const name of names) values.delete(name)
      }),
    names: (prefix) => Effect.sync(() => Array.from(values.keys()).filter((name) => name.startsWith(prefix)))
  }
}

interface MemorySink {
  readonly intent: (record: CallRecord, now: number) => Effect.Effect<void, Unavailable>
  readonly outcome: (
    record: CallRecord,
    encoded: unknown,
    now: number,
    redact?: Redact
  ) => Effect.Effect<void, Unavailable>
  readonly offer: (draft: Draft) => Effect.Effect<void, Unavailable>
  /** Writes down what has come in. */
  readonly drain: Effect.Effect<void, AuditStoreError>
}

/**
 * What comes in is kept as it is, a reference and a small copy, because this log is on by default and a call takes a
 * few microseconds, of which sealing and hashing would be most. All of that is done, once, when somebody reads. What a
 * reader can see is the same: an intent is written down only for a call that is still running then, because the outcome
 * of any other is there and says more.
 */
export const makeMemorySink = (
  store: ReturnType<typeof makeMemoryStore>,
  appender: Appender,
  keyring: Keyring["Service"],
  maxRecords: number
): MemorySink => {
  // A ring in columns, so that a call makes nothing to stand in it: the oldest makes room for the newest.
  const entries: Array<CallRecord | Draft> = []
  const results: Array<Kept> = []
  const redacts: Array<Redact | undefined> = []
  const times: Array<number> = []
  let oldest = 0
  let dropped = 0
  // Another ring, of calls as they begin: whether one still runs its record says.
  const begun: Array<CallRecord> = []
  const begunAt: Array<number> = []
  let next = 0

  const after = (at: number): number => (at + 1 < maxRecords ? at + 1 : 0)

  const push = (entry: CallRecord | Draft, result: Kept, redact: Redact | undefined, time: number): void => {
    let at = entries.length
    if (at === maxRecords) {
      at = oldest
      oldest = after(oldest)
      dropped += 1
    }
    entries[at] = entry
    results[at] = result
    redacts[at] = redact
    times[at] = time
  }

  const taken = (): Array<Draft> => {
    const drafts: Array<Draft> = []
    for (let i = 0; i < begun.length; i++) {
      if (!isEnded(begun[i]!)) drafts.push(intentDraft(begun[i]!, begunAt[i]!))
    }
    for (let i = 0; i < entries.length; i++) {
      const at = (oldest + i) % entries.length
      const entry = entries[at]!
      drafts.push(
        "open" in entry ? entry : outcomeDraft(entry, snapshotOf(results[at], redacts[at]), times[at]!)
      )
    }
    for (const column of [begun, begunAt, entries, results, redacts, times]) column.length = 0
    next = 0
    oldest = 0
    return drafts.sort((a, b) => a.time - b.time)
  }

  // What was taken is written: an interruption of whoever reads must not lose it.
  const drain = Effect.uninterruptible(
    Effect.gen(function* () {
      const skipped = dropped
      dropped = 0
      if (skipped > 0) yield* appender.skip(skipped, yield* Clock.currentTimeMillis)
      const drafts = taken()
      if (drafts.length > 0) yield* appender.append(drafts)
      yield* makeRoom
    })
  )

  const makeRoom = Effect.suspend(() => {
    const lines = store.lines()
    const last = lines[lines.length - maxRecords - 1]
    if (last === undefined) return Exit.void
    const [begin, end] = [openLine(keyring, lines[0]!.line), openLine(keyring, last.line)]
    // Nobody but this log writes to its memory.
    if (typeof begin === "string" || typeof end === "string")
      return Exit.die("the audit log's memory was changed")
    if (begin.gap && begin.sequence === end.sequence) return Exit.void
    const { from, previous } = begin
    const tip = { sequence: end.sequence, hash: end.tip }
    const gap = signGap(keyring, { from, previous, tip, time: end.time, why: "capacity" })
    const range = { from: lines[0]!.sequence, to: last.sequence, lines: lines.length - maxRecords }
    return store.replace(range, gap)
  })

  return {
    intent: (record, now) => {
      begun[next] = record
      begunAt[next] = now
      next = after(next)
      return Exit.void
    },
    outcome: (record, encoded, now, redact) => {
      push(record, keep(encoded, redact), redact, now)
      return Exit.void
    },
    offer: (draft) => {
      push(draft, undefined, undefined, draft.time)
      return Exit.void
    },
    drain
  }
}
