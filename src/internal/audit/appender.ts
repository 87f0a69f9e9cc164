/**
 * Writes records to the end of the chain: seals, chains, appends, and finds its
 * place again where another process has appended or nobody knows what became of
 * the last write.
 *
 * The chain goes on from the furthest place that is known: the store's last line,
 * the signed head, or what this process wrote itself. So where somebody cut off
 * the end, the hole stays to be found; it is never written over.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { CallRecord } from "../../CallRecord.ts"
import type { Keyring } from "../../Keyring.ts"
import type { Redaction } from "../../Redaction.ts"
import { mac, randomId } from "../sealing.ts"
import { type Head, openHead, openLine, type Position, signGap, signHead, signLine } from "./chain.ts"
import { type Keys, type PersonalKey, sealPersonal } from "./keys.ts"
import { type Draft, fieldsOf } from "./record.ts"
import type { AuditStore, AuditStoreError, StoredLine } from "./store.ts"

interface Sealed {
  readonly alias: string
  readonly sealed: string
}

interface Attempt {
  readonly lines: ReadonlyArray<StoredLine>
  readonly drafts: ReadonlyArray<Draft>
}

export class Appender {
  /** One writer at a time; whatever destroys keys takes it too. */
  readonly lock = Semaphore.makeUnsafe(1)
  readonly #store: AuditStore
  readonly #keyring: Keyring["Service"]
  readonly #redaction: Redaction["Service"]
  readonly #keys: Keys
  readonly #checkpointEvery: number
  /** The log's random name, which its first record is chained to. */
  #log = ""
  #position: Position | undefined
  #storeHead: string | undefined
  #known: Position | undefined
  #sinceCheckpoint = 0
  /** Whether anything was appended by this one: who only reads signs no end that it did not write. */
  hasWritten = false
  /** What was handed to the store and never answered. */
  #unanswered: Attempt | undefined
  /** What is in the store, also where whoever asked for it no longer waited for the answer. */
  readonly #written = new WeakSet<Draft>()
  readonly #intents = new WeakMap<CallRecord, number>()
  #reportedHole = 0

  constructor(
    store: AuditStore,
    keyring: Keyring["Service"],
    redaction: Redaction["Service"],
    keys: Keys,
    checkpointEvery: number
  ) {
    this.#store = store
    this.#keyring = keyring
    this.#redaction = redaction
    this.#keys = keys
    this.#checkpointEvery = checkpointEvery
  }

  /** The furthest record that this process wrote. */
  get known(): Position | undefined {
    return this.#known
  }

  /** Appends all or none; what is interrupted or fails may be tried again with the same drafts, and is written once. */
  append(drafts: ReadonlyArray<Draft>): Effect.Effect<void, AuditStoreError> {
    return this.lock.withPermit(this.#append(drafts))
  }

  /** A gap for records that were never written down. */
  skip(count: number, time: number): Effect.Effect<void, AuditStoreError> {
    return this.lock.withPermit(
      this.#extend((position) => {
        // Nothing was hashed, so whatever comes next is chained to the gap's own name for its end.
        const sequence = position.sequence + count
        const tip = {
          sequence,
          hash: mac(this.#keyring.key("audit"), `skip ${position.sequence} ${sequence} ${position.hash}`)
        }
        const { hash: previous } = position
        const gap = {
          from: position.sequence + 1,
          previous,
          tip,
          time,
          dropped: count,
          why: "capacity" as const
        }
        return Effect.succeed({ lines: [signGap(this.#keyring, gap)], end: tip })
      })
    )
  }

  /** A signed head that is durable when this returns. */
  get checkpoint(): Effect.Effect<Head, AuditStoreError> {
    return this.lock.withPermit(this.#extend())
  }

  readonly #append = Effect.fnUntraced(
    { self: this },
    function* (this: Appender, drafts: ReadonlyArray<Draft>) {
      yield* this.#settle()
      const rest = drafts.filter((draft) => !this.#written.has(draft))
      if (rest.length === 0) return
      const sealed = new Map<Draft, Sealed>()
      yield* this.#extend(
        (position) => this.#chain(rest, sealed, position),
        // Another process may have destroyed a key that something was sealed with.
        Effect.map(this.#keys.refresh, (destroyed) => {
          if (destroyed) sealed.clear()
        })
      )
      this.hasWritten = true
      this.#sinceCheckpoint += rest.length
      if (this.#sinceCheckpoint < this.#checkpointEvery) return
      this.#sinceCheckpoint = 0
      // The records are written: a checkpoint that fails is told of, and made up for by the next.
      yield* Effect.catch(this.#extend(), report)
    }
  )

  /** Appends lines made for the end of the chain, or a head alone; made again wherever that has moved. */
  readonly #extend = Effect.fnUntraced(
    { self: this },
    function* (
      this: Appender,
      make?: (position: Position) => Effect.Effect<
        {
          readonly lines: ReadonlyArray<StoredLine>
          readonly end: Position
          readonly drafts?: ReadonlyArray<Draft>
        },
        AuditStoreError
      >,
      moved: Effect.Effect<void, AuditStoreError> = Effect.void
    ) {
      while (true) {
        const position = this.#position ?? (yield* this.#find())
        const {
          lines,
          end,
          drafts = []
        } = make === undefined ? { lines: [], end: position } : yield* make(position)
        const head = yield* this.#sign(end)
        const text = JSON.stringify(head)
        // Until the store has answered, nobody knows where the chain ends.
        this.#position = undefined
        if (drafts.length > 0) this.#unanswered = { lines, drafts }
        const answer = yield* this.#store.append(lines, this.#storeHead, text)
        if (drafts.length > 0) this.#unanswered = undefined
        if (answer === "appended") {
          this.#position = end
          this.#known = { ...end, log: this.#log }
          this.#storeHead = text
          return head
        }
        yield* moved
      }
    }
  )

  readonly #chain = Effect.fnUntraced(
    { self: this },
    function* (this: Appender, drafts: ReadonlyArray<Draft>, sealed: Map<Draft, Sealed>, position: Position) {
      const lines: Array<StoredLine> = []
      let { sequence, hash } = position
      for (const draft of drafts) {
        let personal = sealed.get(draft)
        if (personal === undefined) {
          const key = yield* this.#keys.sealing(draft.who, draft.time)
          personal = { alias: key.alias, sealed: yield* this.#seal(key, draft) }
          sealed.set(draft, personal)
        }
        sequence += 1
        if (draft.call !== undefined && draft.open.phase === "intent") this.#intents.set(draft.call, sequence)
        const intent =
          draft.call !== undefined && draft.open.phase === "outcome"
            ? this.#intents.get(draft.call)
            : undefined
        const line = signLine(this.#keyring, sequence, draft.time, fieldsOf(draft, personal, intent), hash)
        hash = line.hash
        lines.push(line.stored)
      }
      return { lines, end: { sequence, hash }, drafts }
    }
  )

  /** A record whose personal part breaks is written without it: one that is never written would hold up all others. */
  #seal(key: PersonalKey, draft: Draft): Effect.Effect<string> {
    try {
      return Effect.succeed(sealPersonal(key, draft.personal(this.#redaction)))
    } catch (cause) {
      const { principal, tenant } = draft.who
      return Effect.as(
        report({ message: "the arguments and result of an audit record could not be viewed", cause }),
        sealPersonal(key, { principal, tenant })
      )
    }
  }

  /** What became of a write that was never answered. */
  readonly #settle = Effect.fnUntraced({ self: this }, function* (this: Appender) {
    const attempt = this.#unanswered
    if (attempt === undefined) return
    // All or none, and no two lines are alike: the first one stands for them.
    const first = attempt.lines[0]!
    const range = { from: first.sequence, to: first.sequence }
    const there = yield* Stream.runCollect(this.#store.read(range))
    this.#unanswered = undefined
    if (there.some(({ line }) => line === first.line)) {
      for (const draft of attempt.drafts) this.#written.add(draft)
    }
  })

  /** Where the chain ends, as far as anything says. */
  readonly #find = Effect.fnUntraced({ self: this }, function* (this: Appender) {
    // The head first: what is appended between the two reads is seen, and the head has moved by then.
    const text = yield* this.#store.head
    const last = yield* this.#store.last
    const head = text === undefined ? undefined : openHead(this.#keyring, text)
    if (typeof head === "string") yield* report(`the audit log's signed head is ${head}`)
    this.#storeHead = text
    this.#log = typeof head === "object" ? head.log : yield* this.#nameOf(last)
    const start = { sequence: 0, hash: this.#log }
    if (text === undefined && last === undefined && this.#known === undefined) {
      // Records without a head are suspicious, so it is there before them. Another process may be first.
      const first = JSON.stringify(yield* this.#sign(start))
      const answer = yield* this.#store.append([], undefined, first)
      if (answer === "appended") this.#storeHead = first
      return start
    }
    let position: Position = typeof head === "object" ? head : start
    if (last !== undefined && last.sequence > position.sequence) {
      const opened = openLine(this.#keyring, last.line)
      position = { sequence: last.sequence, hash: typeof opened === "string" ? position.hash : opened.tip }
    }
    if (this.#known !== undefined && this.#known.sequence > position.sequence) position = this.#known
    if ((last?.sequence ?? 0) < position.sequence && this.#reportedHole !== position.sequence) {
      this.#reportedHole = position.sequence
      yield* report(
        `audit records ${(last?.sequence ?? 0) + 1} to ${position.sequence} are missing at the end of the log`
      )
    }
    return { sequence: position.sequence, hash: position.hash }
  })

  /** The name of a log whose head is gone: what its first record is chained to, or a new one for a new log. */
  readonly #nameOf = Effect.fnUntraced(
    { self: this },
    function* (this: Appender, last: StoredLine | undefined) {
      if (this.#known?.log !== undefined) return this.#known.log
      const [first] = last === undefined ? [] : yield* Stream.runCollect(Stream.take(this.#store.read({}), 1))
      const opened = first === undefined ? undefined : openLine(this.#keyring, first.line)
      return typeof opened === "object" ? opened.previous : randomId()
    }
  )

  #sign(position: Position): Effect.Effect<Head> {
    return Effect.map(Clock.currentTimeMillis, (now) => signHead(this.#keyring, this.#log, position, now))
  }
}

/** Loud, for operators. */
export const report = (what: Pick<AuditStoreError, "message" | "cause"> | string): Effect.Effect<void> =>
  ErrorReporter.report(
    Cause.fail(typeof what === "string" ? new Error(what) : new Error(what.message, { cause: what.cause }))
  )
