/**
 * What a run remembers of untrusted output, and whether a value was copied from
 * it.
 *
 * A value counts as copied where, folded, it stands in the output (8 characters or more), where one of its
 * lines or sentences does (24 or more), or where it holds a host, an e-mail address, a number of 6 digits or
 * more, or an identifier with letters and digits (8 or more) that the output holds; both in every reading.
 */
import type { Copied, Source } from "../Taint.ts"
import * as ArgumentPath from "./argumentPath.ts"
import * as Text from "./readings.ts"

/** Characters of output that are kept of one run, newest first. */
const maxCharacters = 262_144
/** Sources that are kept one by one. */
const maxSources = 1_000
/** Copies that one call lists. */
const maxCopied = 100
/** Values of one output, or of one call's arguments, that are looked at. */
const maxValues = 100_000
/** Characters that one call may be compared with, so that its time is bounded. */
const maxCompared = 67_108_864

/** Places where a value may be looked for. */
const maxLooks = 1_000

const shortestValue = 8
const shortestPiece = 24

/** One untrusted output. */
interface Kept {
  readonly source: Source
  /** Everything it says. */
  text: string
  /** Characters that it takes of `maxCharacters`. */
  size: number
  /** Part of it is not kept. */
  cut: boolean
  prints: { readonly texts: ReadonlyArray<string>; readonly marks: ReadonlySet<string> } | undefined
}

export class Memory {
  #kept: Array<Kept> = []
  /** Characters of all that is kept. */
  #size = 0
  /** The newest source that is no longer kept, and how many there are. */
  #forgotten: Source | undefined
  #forgottenCount = 0

  get tainted(): boolean {
    return this.#kept.length > 0 || this.#forgotten !== undefined
  }

  /** How many sources there are beyond those that are listed. */
  get forgotten(): number {
    return this.#forgottenCount
  }

  /** Oldest first. */
  get sources(): ReadonlyArray<Source> {
    return this.#kept.map(({ source }) => source)
  }

  /** `output` is `undefined` where nobody knows what was read. */
  add(source: Source, output: { readonly encoded: unknown } | undefined): void {
    const { cut, text } = output === undefined ? { cut: true, text: "" } : textOf(output.encoded)
    this.#kept.push({ source, text, size: text.length, cut, prints: undefined })
    this.#size += text.length
    if (this.#kept.length > maxSources) {
      const oldest = this.#kept.shift()!
      this.#size -= oldest.size
      this.#forgotten = oldest.source
      this.#forgottenCount++
    }
    if (this.#size <= maxCharacters) return
    let room = maxCharacters
    for (let i = this.#kept.length - 1; i >= 0; i--) {
      const kept = this.#kept[i]!
      room -= kept.size
      if (room >= 0) continue
      room += kept.size
      this.#size -= kept.size
      this.#kept[i] = { source: kept.source, text: "", size: 0, cut: true, prints: undefined }
    }
  }

  /** Takes the sources off; those that are no longer listed go when all do. */
  remove(sources: ReadonlyArray<Source>, all: boolean): void {
    const gone = new Set(sources)
    this.#kept = this.#kept.filter(({ source }) => !gone.has(source))
    this.#size = this.#kept.reduce((sum, { size }) => sum + size, 0)
    if (all) {
      this.#forgotten = undefined
      this.#forgottenCount = 0
    }
  }

  /**
   * Whether every value of arguments stands in the output as it is, from end to end: then nothing is in them
   * that the run knows from elsewhere. Never where part of the output is not kept and might be needed.
   */
  verbatim(raw: unknown): boolean {
    let left = maxCompared
    return walk(raw, (leaf, _, isKey) => {
      if (isKey) return true
      const value = String(leaf)
      return this.#kept.some(({ text }) => {
        left -= text.length
        return left >= 0 && standsIn(value, text)
      })
    })
  }

  /** The values of arguments that were copied, or where that can no longer be told, may have been. */
  copied(raw: unknown): ReadonlyArray<Copied> {
    const found: Array<Copied> = []
    const lost = this.#kept.findLast(({ cut }) => cut)?.source ?? this.#forgotten
    let left = maxCompared
    const isIn = (kept: Kept, value: Value): boolean => {
      const { marks, texts } = printsOf(kept)
      for (const mark of value.marks) if (marks.has(mark)) return true
      for (const text of texts) {
        for (const piece of value.pieces) {
          left -= text.length
          if (left < 0) return false
          if (text.includes(piece)) return true
        }
      }
      return false
    }
    walk(raw, (leaf, place, isKey) => {
      const value = valueOf(leaf, isKey)
      if (value.pieces.length === 0 && value.marks.size === 0) return true
      const from = this.#kept.findLast((kept) => isIn(kept, value))?.source
      const maybe = from ?? (left < 0 ? this.#kept.at(-1)?.source : undefined) ?? lost
      if (maybe === undefined) return true
      const { callId, tool } = maybe
      const path = ArgumentPath.format(pathOf(isKey ? place?.above : place))
      found.push(from === undefined ? { path, tool, callId, possibly: true } : { path, tool, callId })
      return found.length < maxCopied
    })
    return found
  }
}

/** Whether a value stands in a text with nothing around it that could belong to it. */
const standsIn = (value: string, text: string): boolean => {
  if (value === "") return false
  let looks = 0
  for (let at = text.indexOf(value); at !== -1 && looks++ < maxLooks; at = text.indexOf(value, at + 1)) {
    const before = text.slice(Math.max(0, at - 1), at)
    const after = text.slice(at + value.length, at + value.length + 2)
    if (/^[\s"'<>()[\]`]?$/.test(before) && /^(?:[\s"'<>()[\]`]|[.,;:!?](?:\s|$)|$)/.test(after)) return true
  }
  return false
}

/** Worked out when a sink is first asked about: most runs never come to one. */
const printsOf = (kept: Kept): NonNullable<Kept["prints"]> => {
  if (kept.prints === undefined) {
    const readings = Text.readings(kept.text)
    const marks = new Set<string>()
    for (const reading of readings) for (const mark of Text.marks(reading)) marks.add(mark)
    kept.prints = { texts: [...new Set(readings.map(Text.fold))], marks }
  }
  return kept.prints
}

/** A value of the arguments, as it is looked for. */
interface Value {
  readonly pieces: ReadonlyArray<string>
  readonly marks: ReadonlySet<string>
}

const valueOf = (leaf: string | number, isKey: boolean): Value => {
  if (typeof leaf === "number") return { pieces: [], marks: Text.marks(String(leaf)) }
  const pieces = new Set<string>()
  const marks = new Set<string>()
  for (const reading of Text.readings(leaf)) {
    for (const mark of Text.marks(reading)) marks.add(mark)
    // Names are mostly the schema's, and stand in many a text.
    if (isKey) continue
    const whole = Text.fold(reading)
    if (whole.length >= shortestValue) pieces.add(whole)
    for (const part of reading.split(/[\n\r.!?;]+/)) {
      const piece = Text.fold(part)
      if (piece.length >= shortestPiece) pieces.add(piece)
    }
  }
  return { pieces: [...pieces], marks }
}

/** Everything that an output says, names included. */
const textOf = (encoded: unknown): { readonly text: string; readonly cut: boolean } => {
  const parts: Array<string> = []
  let room = maxCharacters
  const whole = walk(encoded, (leaf) => {
    const part = String(leaf)
    parts.push(part.length > room ? part.slice(0, room) : part)
    room -= part.length + 1
    return room >= 0
  })
  return { text: parts.join("\n"), cut: !whole }
}

/** Shows every string, name and number until `visit` has seen enough; tells whether it has seen all. */
const walk = (
  root: unknown,
  visit: (leaf: string | number, place: Place | undefined, isKey: boolean) => boolean
): boolean => {
  let values = 0
  const stack: Array<{ readonly value: unknown; readonly place: Place | undefined }> = [
    { value: root, place: undefined }
  ]
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const { place, value } = top
    if (++values > maxValues) return false
    if (typeof value === "string" || typeof value === "number") {
      if (!visit(value, place, false)) return false
    } else if (typeof value === "object" && value !== null) {
      const keys: ReadonlyArray<string | number> = Array.isArray(value)
        ? [...value.keys()]
        : Object.keys(value)
      for (const key of keys) {
        if (typeof key === "string" && !visit(key, { key, above: place }, true)) return false
      }
      // Backwards, because the last one pushed is the next one seen.
      for (let i = keys.length - 1; i >= 0; i--) {
        const key = keys[i]!
        stack.push({ value: (value as Record<string | number, unknown>)[key], place: { key, above: place } })
      }
    }
  }
  return true
}

/** A place in a value, from the inside out. */
interface Place {
  readonly key: string | number
  readonly above: Place | undefined
}

const pathOf = (place: Place | undefined): ReadonlyArray<string | number> => {
  const path: Array<string | number> = []
  for (let at = place; at !== undefined; at = at.above) path.push(at.key)
  return path.reverse()
}
