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

export interface Snapshot {
  /** JSON; `undefined` where there was no value. */
  readonly json: string | undefined
  readonly truncated: boolean
  /** A text of it was cut in two. */
  readonly cut: boolean
  /** What the tool declares and what is detected, masked; what is detected alone where nothing is declared. */
  readonly redact: Redact | undefined
}

export type Redact = (encoded: unknown) => View

export const none: Snapshot = { json: undefined, truncated: false, cut: false, redact: undefined }

/**
 * Copies a JSON value: whole where its JSON is about as long as a summary at most, else what its JSON begins with. No
 * value is begun behind the summary's end, and of a text at most 5,120 characters are kept: 6 kB at most.
 */
export const snapshot = (value: unknown, redact?: Redact): Snapshot => {
  if (value === undefined) return none
  return lengthOf(value, 0, 0) <= summaryLength
    ? { json: JSON.stringify(value), truncated: false, cut: false, redact }
    : { ...beginning(value), redact }
}

/** What is kept of a result: `undefined` of none, a copy of a small one, the beginning of any other. */
export type Kept = unknown

class Beginning {
  readonly snapshot: Snapshot

  constructor(value: unknown) {
    this.snapshot = snapshot(value)
  }
}

/** As `snapshot`, for a log that is on by default and seldom read: a copy takes a fifth of the time its JSON takes. */
export const keep = (value: unknown): Kept => {
  left = summaryLength
  const copy = copyOf(value, 0)
  return copy === uncopied ? new Beginning(value) : copy
}

/** The snapshot of the value as it was when it was kept. */
export const snapshotOf = (kept: Kept, redact: Redact | undefined): Snapshot =>
  kept instanceof Beginning ? { ...kept.snapshot, redact } : snapshot(kept, redact)

const uncopied = Symbol()

/** How much longer the JSON of what is being copied may become, about. */
let left = 0

/** V8 makes no slices of texts this short: a longer one may be a few words of a book, and keep the book. */
const shortText = 12

/** A copy whose JSON is what the value's is now; `uncopied` of what is long, or not as plain as JSON. */
const copyOf = (value: unknown, depth: number): unknown => {
  switch (typeof value) {
    case "string":
      left -= value.length + 3
      return left < 0 || value.length > shortText ? uncopied : value
    case "number":
    case "boolean":
    case "undefined":
      left -= 5
      return left < 0 ? uncopied : value
    case "object":
      if (value === null) {
        left -= 5
        return left < 0 ? uncopied : value
      }
      if (depth >= maxDepth) return uncopied
      left -= 2
      return Array.isArray(value)
        ? copyOfItems(value, depth)
        : copyOfFields(value as Record<string, unknown>, depth)
    default:
      return uncopied
  }
}

const copyOfItems = (items: ReadonlyArray<unknown>, depth: number): unknown => {
  if (items.length > left || Object.getPrototypeOf(items) !== Array.prototype || "toJSON" in items) {
    return uncopied
  }
  const copy = items.slice()
  for (let i = 0; i < copy.length; i++) {
    const item = copyOf(copy[i], depth + 1)
    if (item === uncopied) return uncopied
    if (item !== copy[i]) copy[i] = item
  }
  return copy
}

const copyOfFields = (record: Record<string, unknown>, depth: number): unknown => {
  if (Object.getPrototypeOf(record) !== Object.prototype) return uncopied
  for (const key in record) {
    left -= key.length + 3
    if (left < 0) return uncopied
  }
  const copy = { ...record }
  for (const key in copy) {
    if (!Object.hasOwn(copy, key)) continue
    const field = copyOf(copy[key], depth + 1)
    if (field === uncopied) return uncopied
    if (field !== copy[key]) copy[key] = field
  }
  return copy
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

const beginning = (value: unknown): Omit<Snapshot, "redact"> => {
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
  return { json, truncated, cut }
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
