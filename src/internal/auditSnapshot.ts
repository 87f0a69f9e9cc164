/**
 * What is kept of a result until somebody writes or reads its summary: a copy
 * as JSON, because the result belongs to whoever made the call, of a bounded
 * size, because it may be anything.
 */
import type { Redaction } from "../Redaction.ts"

/** Characters of a summary. */
export const summaryLength = 1024

/**
 * A secret that is cut in two is not recognised as one. So a value that is cut is kept further than its summary goes, and
 * as much of its end is dropped after redaction: secrets of up to this many characters are masked whole or not there.
 */
const margin = 4096
const maxCharacters = summaryLength + margin
const maxNodes = 500
const maxDepth = 32

export interface Snapshot {
  /** JSON; `undefined` where there was no value. */
  readonly json: string | undefined
  readonly truncated: boolean
  /** A string of it was cut in two. */
  readonly cut: boolean
}

export const none: Snapshot = { json: undefined, truncated: false, cut: false }

/** Copies a JSON value, or its beginning where it is larger than 5,120 characters, 500 values or 32 levels. */
export const snapshot = (value: unknown): Snapshot => {
  if (value === undefined) return none
  const room = { characters: maxCharacters, nodes: maxNodes }
  return fits(value, room, 0)
    ? { json: JSON.stringify(value), truncated: false, cut: false }
    : beginning(value)
}

interface Room {
  characters: number
  nodes: number
}

const fits = (value: unknown, room: Room, depth: number): boolean => {
  if (--room.nodes < 0) return false
  if (typeof value === "string") {
    room.characters -= value.length
    return room.characters >= 0
  }
  if (typeof value !== "object" || value === null) return true
  if (depth >= maxDepth) return false
  if (Array.isArray(value)) {
    if (value.length > room.nodes) return false
    for (const item of value) if (!fits(item, room, depth + 1)) return false
    return true
  }
  for (const key of Object.keys(value)) {
    room.characters -= key.length
    if (room.characters < 0 || !fits((value as Record<string, unknown>)[key], room, depth + 1)) return false
  }
  return true
}

const beginning = (value: unknown): Snapshot => {
  const room = { characters: maxCharacters, nodes: maxNodes }
  const spent = () => room.characters <= 0 || room.nodes <= 0
  const copy = (value: unknown, depth: number): unknown => {
    room.nodes -= 1
    if (typeof value === "string") {
      const kept = value.slice(0, Math.max(0, room.characters))
      room.characters -= value.length
      return kept
    }
    if (typeof value !== "object" || value === null) return value
    if (depth >= maxDepth) return "…"
    if (Array.isArray(value)) {
      const items: Array<unknown> = []
      for (const item of value) {
        if (spent()) break
        items.push(copy(item, depth + 1))
      }
      return items
    }
    // Without a prototype, so that no key of a result is one of an object's own.
    const record: Record<string, unknown> = Object.create(null)
    for (const key of Object.keys(value)) {
      if (spent() || key.length >= room.characters) break
      room.characters -= key.length
      record[key] = copy((value as Record<string, unknown>)[key], depth + 1)
    }
    return record
  }
  const json = JSON.stringify(copy(value, 0))
  return { json, truncated: true, cut: room.characters < 0 }
}

/** The summary that records keep: redacted, then cut. */
export const summarise = (
  redaction: Redaction["Service"],
  snapshot: Snapshot
): { readonly result?: string; readonly truncated?: true } => {
  if (snapshot.json === undefined) return {}
  const { value } = redaction.value(JSON.parse(snapshot.json))
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "")
  const safe = snapshot.cut ? Math.max(0, text.length - margin) : text.length
  const result = text.slice(0, Math.min(safe, summaryLength))
  return snapshot.truncated || result.length < text.length ? { result, truncated: true } : { result }
}
