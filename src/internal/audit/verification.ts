/** Verification of the audit log's chain: which record is the first that is not what was written, and in what way. */
import type { Keyring } from "../../Keyring.ts"
import { openHead, openLine, type Position } from "./chain.ts"
import type { StoredLine } from "./store.ts"

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
