/**
 * What is kept of a result until somebody writes or reads its summary: a copy
 * as JSON, because the result belongs to whoever made the call, of a bounded
 * size, because it may be anything.
 */
import type { Redaction, View } from "../../Redaction.ts"

/** Characters of a summary. */
const summaryLength = 1024

/**
 * A secret that is cut in two is not recognised as one. So a text that is cut is kept further than a summary goes, and
 * as much of its end is dropped after redaction: secrets of up to this many characters are masked whole or not there.
 */
const margin = 4096
const maxText = summaryLength + margin
const maxDepth = 32

export class Snapshot {
  /** JSON; `undefined` where there was no value. */
  readonly json: string | undefined
  readonly truncated: boolean
  /** A text of it was cut in two. */
  readonly cut: boolean
  /** What the tool declares and what is detected, masked; what is detected alone where nothing is declared. */
  readonly redact: Redact | undefined

  constructor(json: string | undefined, truncated: boolean, cut: boolean, redact: Redact | undefined) {
    this.json = json
    this.truncated = truncated
    this.cut = cut
    this.redact = redact
  }
}

export type Redact = (encoded: unknown) => View

export const none: Snapshot = new Snapshot(undefined, false, false, undefined)

/**
 * Copies a JSON value: whole where its JSON is about as long as a summary at most, else what its JSON begins with. No
 * value is begun behind the summary's end, and of a text at most 5,120 characters are kept: 6 kB at most.
 */
export const snapshot = (value: unknown, redact?: Redact): Snapshot => {
  if (value === undefined) return none
  return lengthOf(value, 0, 0) <= summaryLength
    ? new Snapshot(JSON.stringify(value), false, false, redact)
    : beginning(value, redact)
}

/** A snapshot, or a copy of a value that is small and has no parts. */
export type Kept = unknown

/** As `snapshot`, for a log that is on by default and seldom read: a copy takes a quarter of the time its JSON takes. */
export const keep = (value: unknown, redact?: Redact): Kept => {
  if (isShort(value)) return value
  return isFlat(value) ? { ...value } : snapshot(value, redact)
}

/** The snapshot of the value as it was when it was kept. */
export const snapshotOf = (kept: Kept, redact?: Redact): Snapshot =>
  kept instanceof Snapshot ? kept : snapshot(kept, redact)

/** V8 makes no slices of texts this short: a longer one may be a few words of a book, and keep the book. */
const shortText = 12

const isShort = (value: unknown): boolean => {
  if (typeof value === "string") return value.length <= shortText
  return typeof value === "object" ? value === null : typeof value !== "function" && typeof value !== "bigint"
}

/** Where a copy has the JSON that the value has now, and is no larger. */
const isFlat = (value: unknown): value is object => {
  if (typeof value !== "object" || value === null) return false
  if (Object.getPrototypeOf(value) !== Object.prototype) return false
  let left = summaryLength
  for (const key in value) {
    left -= key.length + shortText
    if (left < 0 || !isShort((value as Record<string, unknown>)[key])) return false
  }
  return true
}

/** The length of the JSON, about; looked at until it is longer than a summary. */
const lengthOf = (value: unknown, length: number, depth: number): number => {
  if (typeof value === "string") return length + value.length + 3
  if (typeof value !== "object" || value === null) return length + 5
  if (depth >= maxDepth) return Number.POSITIVE_INFINITY
  let sum = length + 2
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length && sum <= summaryLength; i++) sum = lengthOf(value[i], sum, depth + 1)
    return sum
  }
  for (const key in value) {
    if (sum > summaryLength) break
    if (Object.hasOwn(value, key)) {
      sum = lengthOf((value as Record<string, unknown>)[key], sum + key.length + 3, depth + 1)
    }
  }
  return sum
}

const beginning = (value: unknown, redact: Redact | undefined): Snapshot => {
  let length = 0
  let truncated = false
  let cut = false
  const full = () => {
    if (length <= summaryLength) return false
    truncated = true
    return true
  }
  const copy = (value: unknown, depth: number): unknown => {
    if (typeof value === "string") {
      length += value.length + 3
      if (value.length <= maxText) return value
      truncated = true
      cut = true
      return value.slice(0, maxText)
    }
    if (typeof value !== "object" || value === null) {
      length += 5
      return value
    }
    length += 2
    if (depth >= maxDepth) {
      truncated = true
      return "…"
    }
    if (Array.isArray(value)) {
      const items: Array<unknown> = []
      for (const item of value) {
        if (full()) break
        items.push(copy(item, depth + 1))
      }
      return items
    }
    // Without a prototype, so that no key of a result is one of an object's own.
    const record: Record<string, unknown> = Object.create(null)
    for (const key in value) {
      if (full()) break
      if (!Object.hasOwn(value, key)) continue
      // A key that long is no name.
      length += key.length + 3
      if (key.length <= summaryLength) record[key] = copy((value as Record<string, unknown>)[key], depth + 1)
      else truncated = true
    }
    return record
  }
  const json = JSON.stringify(copy(value, 0))
  return new Snapshot(json, truncated, cut, redact)
}

/** The summary that records keep: redacted, then cut. */
export const summarise = (
  redaction: Redaction["Service"],
  snapshot: Snapshot
): { readonly result?: string; readonly truncated?: true } => {
  if (snapshot.json === undefined) return {}
  const redact = snapshot.redact ?? redaction.value
  const { value } = redact(JSON.parse(snapshot.json))
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "")
  const safe = snapshot.cut ? Math.max(0, text.length - margin) : text.length
  const result = text.slice(0, Math.min(safe, summaryLength))
  return snapshot.truncated || result.length < text.length ? { result, truncated: true } : { result }
}
