/**
 * The chain of the audit log, as pure functions of lines and keys.
 *
 * Every line ends with the keyed hash of its own text, and its text holds the
 * hash of the line before. A gap is a signed line in the place of records that
 * retention dropped: it says which ones, what stood before them and what the
 * last of them was hashed to, so that the chain goes on. A head is a signed
 * note, kept apart from the lines, of how far the chain went at least.
 */
import type { Keyring } from "../../Keyring.ts"
import { mac, sameMac } from "../sealing.ts"
import type { StoredLine } from "./store.ts"

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
