/**
 * The chain of the audit log, as pure functions of lines and keys.
 *
 * Every line ends with the keyed hash of its own text, and its text holds the
 * hash of the line before. A gap is a signed line in the place of records that
 * retention dropped: it says which ones, what stood before them and what the
 * last of them was hashed to, so that the chain goes on. A head is a signed
 * note, kept apart from the lines, of how far the chain went at least.
 */
import type { Keyring } from "../Keyring.ts"
import type { StoredLine } from "./auditStore.ts"
import { mac, sameMac } from "./sealing.ts"

/** A place in the chain: a record and its hash; before the first record, 0 and the log's own random name. */
export interface Position {
  readonly sequence: number
  readonly hash: string
  /** The name of the log, where it is known: the logs of one keyring cannot stand for each other. */
  readonly log?: string | undefined
}

/** A signed position; whoever keeps one elsewhere can prove that nothing before it was cut off. */
export interface Head extends Position {
  readonly log: string
  /** Milliseconds since the epoch. */
  readonly time: number
  readonly keyId: string
  readonly signature: string
}

// --- Lines -----------------------------------------------------------------

/** A line of the chain that was opened: it is as it was signed. */
export interface Opened {
  /** The first sequence that it stands for; for a record its own. */
  readonly from: number
  readonly sequence: number
  readonly time: number
  readonly previous: string
  /** What the next line must call its previous hash. */
  readonly tip: string
  readonly gap: boolean
  readonly body: Readonly<Record<string, unknown>>
}

const suffix = /,"hash":"([A-Za-z0-9_-]{43})"\}$/
const suffixLength = ',"hash":"'.length + 43 + '"}'.length

/** A signed line of the given fields, whose order is kept, after `previous`. */
export const signLine = (
  keyring: Keyring["Service"],
  sequence: number,
  time: number,
  fields: object,
  previous: string
): { readonly stored: StoredLine; readonly hash: string } => {
  const text = JSON.stringify({ v: 1, sequence, time, ...fields, keyId: keyring.active, previous })
  const hash = mac(keyring.key("audit"), `line ${text}`)
  return { stored: { sequence, time, line: `${text.slice(0, -1)},"hash":"${hash}"}` }, hash }
}

/** Why there is a gap. */
export type GapReason = "deleted" | "archived" | "capacity"

/** The signed line in the place of everything after `previous`, up to and with `tip`. */
export const signGap = (
  keyring: Keyring["Service"],
  gap: {
    readonly from: number
    readonly previous: string
    readonly tip: Position
    readonly time: number
    readonly why: GapReason
  }
): StoredLine =>
  signLine(
    keyring,
    gap.tip.sequence,
    gap.time,
    { kind: "gap", from: gap.from, why: gap.why, tip: gap.tip.hash },
    gap.previous
  ).stored

/** Opens a line, or says what is wrong with it. */
export const openLine = (
  keyring: Keyring["Service"],
  line: string
): Opened | "unreadable" | "unknown_key" | "changed" => {
  const hash = suffix.exec(line.slice(-suffixLength))?.[1]
  if (hash === undefined) return "unreadable"
  const text = `${line.slice(0, -suffixLength)}}`
  const body = parseObject(text)
  if (body === undefined || body["v"] !== 1) return "unreadable"
  const { sequence, time, previous, keyId } = body
  if (typeof sequence !== "number" || typeof time !== "number") return "unreadable"
  if (typeof previous !== "string" || typeof keyId !== "string") return "unreadable"
  const key = keyring.key("audit", keyId)
  if (key === undefined) return "unknown_key"
  if (!sameMac(mac(key, `line ${text}`), hash)) return "changed"
  const gap = body["kind"] === "gap"
  return {
    from: gap ? Number(body["from"]) : sequence,
    sequence,
    time,
    previous,
    tip: gap ? String(body["tip"]) : hash,
    gap,
    body: { ...body, hash }
  }
}

const parseObject = (text: string): Readonly<Record<string, unknown>> | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

// --- Heads -----------------------------------------------------------------

const headText = ({ log, sequence, hash, time, keyId }: Omit<Head, "signature">): string =>
  `head ${JSON.stringify([log, sequence, hash, time, keyId])}`

export const signHead = (
  keyring: Keyring["Service"],
  log: string,
  { sequence, hash }: Position,
  time: number
): Head => {
  const head = { log, sequence, hash, time, keyId: keyring.active }
  return { ...head, signature: mac(keyring.key("audit"), headText(head)) }
}

/** Reads a head, or says what is wrong with it. */
export const openHead = (
  keyring: Keyring["Service"],
  text: string
): Head | "unreadable" | "unknown_key" | "changed" => {
  const body = parseObject(text)
  if (body === undefined) return "unreadable"
  const { log, sequence, hash, time, keyId, signature } = body
  if (typeof sequence !== "number" || typeof hash !== "string" || typeof time !== "number")
    return "unreadable"
  if (typeof log !== "string" || typeof keyId !== "string") return "unreadable"
  if (typeof signature !== "string") return "unreadable"
  const key = keyring.key("audit", keyId)
  if (key === undefined) return "unknown_key"
  const head = { log, sequence, hash, time, keyId, signature }
  return sameMac(mac(key, headText(head)), signature) ? head : "changed"
}

// --- Verification ----------------------------------------------------------

export type Problem =
  | "changed"
  | "missing"
  | "reordered"
  | "inserted"
  | "truncated"
  | "unreadable"
  | "unknown_key"

export type Verification =
  | {
      readonly ok: true
      /** Records that are there, and those that gaps stand for. */
      readonly records: number
      readonly dropped: number
      /** The sequences of the first and the last record that is there; 0 where there is none. */
      readonly from: number
      readonly to: number
      readonly head: Position
    }
  | {
      readonly ok: false
      /** The first sequence at which the log is not what was written. */
      readonly sequence: number
      readonly problem: Problem
      readonly message: string
    }

const messages: Readonly<Record<Problem, string>> = {
  changed: "the record is not the one that was signed",
  missing: "the record is missing",
  reordered: "the record stands in another place",
  inserted: "a record stands here that was not written here",
  truncated: "the log goes further than what is there",
  unreadable: "the record cannot be read",
  unknown_key: "the key that signed the record is not in the keyring"
}

/** Walks lines in the order in which they stand, and keeps the first thing that is wrong. */
export class Walker {
  readonly #keyring: Keyring["Service"]
  readonly #heads: ReadonlyArray<Position>
  #position: Position | undefined
  #first = 0
  #last = 0
  #records = 0
  #dropped = 0
  #found: Extract<Verification, { readonly ok: false }> | undefined
  /** What should have come; it may still stand further on. */
  #absent: number | undefined

  constructor(keyring: Keyring["Service"], heads: ReadonlyArray<Position>, after?: Position) {
    this.#keyring = keyring
    this.#heads = heads
    this.#position = after
  }

  /** Whether what follows matters. */
  step(stored: StoredLine): boolean {
    if (this.#found !== undefined) return false
    const opened = openLine(this.#keyring, stored.line)
    if (this.#absent !== undefined) {
      return typeof opened === "string" || opened.from > this.#absent || opened.sequence < this.#absent
        ? true
        : this.#fail(this.#absent, "reordered")
    }
    const expected = (this.#position?.sequence ?? 0) + 1
    if (typeof opened === "string") return this.#fail(expected, opened)
    if (opened.from > expected) {
      this.#absent = expected
      return true
    }
    // What is signed but not chained to what stands before it was written elsewhere, or what it was chained to was.
    if (opened.from < expected || !this.#follows(opened.previous)) return this.#fail(expected, "inserted")
    if (stored.sequence !== opened.sequence || stored.time !== opened.time)
      return this.#fail(expected, "changed")
    if (this.#heads.some(({ sequence, hash }) => sequence === opened.sequence && hash !== opened.tip)) {
      return this.#fail(opened.sequence, "changed")
    }
    this.#position = { sequence: opened.sequence, hash: opened.tip }
    if (opened.gap) this.#dropped += opened.sequence - opened.from + 1
    else {
      this.#records += 1
      this.#last = opened.sequence
      if (this.#first === 0) this.#first = opened.sequence
    }
    return true
  }

  /** The first record of a log follows its name, which the heads know. */
  #follows(previous: string): boolean {
    return this.#position === undefined
      ? this.#heads.every(({ log = previous }) => log === previous)
      : this.#position.hash === previous
  }

  end(): Verification {
    const { sequence, hash } = this.#position ?? { sequence: 0, hash: "" }
    if (this.#found === undefined) {
      if (this.#absent !== undefined) this.#fail(this.#absent, "missing")
      else if (this.#heads.some((head) => head.sequence > sequence)) this.#fail(sequence + 1, "truncated")
    }
    if (this.#found !== undefined) return this.#found
    return {
      ok: true,
      records: this.#records,
      dropped: this.#dropped,
      from: this.#first,
      to: this.#last,
      head: { sequence, hash }
    }
  }

  #fail(sequence: number, problem: Problem): false {
    this.#found = { ok: false, sequence, problem, message: messages[problem] }
    return false
  }
}

/**
 * Verifies lines in the order in which they stand. `head` is the text that is kept beside them: `undefined` says that
 * there is none, which only an empty log may say; left out, it is not looked at. `expected` are positions known from
 * elsewhere, `after` where the lines begin.
 */
export const verifyLines = (
  lines: Iterable<StoredLine>,
  keyring: Keyring["Service"],
  options: {
    readonly head?: string | undefined
    readonly expected?: ReadonlyArray<Position>
    readonly after?: Position
  } = {}
): Verification => {
  const kept = "head" in options ? readHead(keyring, options.head) : undefined
  const walker = new Walker(
    keyring,
    [...(kept === undefined ? [] : kept.heads), ...(options.expected ?? [])],
    options.after
  )
  for (const line of lines) if (!walker.step(line)) break
  const verified = walker.end()
  return kept === undefined ? verified : kept.judge(verified)
}

/** What the head that is kept beside the lines says of them. */
export const readHead = (
  keyring: Keyring["Service"],
  text: string | undefined
): { readonly heads: ReadonlyArray<Position>; readonly judge: (verified: Verification) => Verification } => {
  const head = text === undefined ? undefined : openHead(keyring, text)
  if (head !== undefined && typeof head !== "string") return { heads: [head], judge: (verified) => verified }
  return {
    heads: [],
    // The lines speak first; then a head that is gone or forged says that their end is not known.
    judge: (verified) => {
      if (!verified.ok || (head === undefined && verified.head.sequence === 0)) return verified
      const problem = head ?? "truncated"
      const what = head === undefined ? "there is no signed head" : `the signed head: ${messages[problem]}`
      return { ok: false, sequence: verified.head.sequence + 1, problem, message: what }
    }
  }
}
