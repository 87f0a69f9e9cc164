/**
 * The files of an audit log, each named by the sequence that it begins with,
 * and how a directory is made whole again: after a crash, and after a failure
 * that leaves open what was done.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as Stream from "effect/Stream"
import type { StoredLine } from "../audit/store.ts"
import { type Disk, isTemporary, temporary } from "./disk.ts"
import { decode, lastLine, lines, readAt, wholeEnd } from "./lines.ts"

export interface Segment {
  /** Changes when it is retired while someone reads it. */
  name: string
  /** The sequence that it is named by. */
  readonly first: number
  /** In bytes, of what was acknowledged. */
  length: number
  /** The time of its first line, in milliseconds since the epoch. */
  startedAt: number
  /** How many read it, or will. */
  readers: number
  /** Replaced, and removed when nobody reads it any more. */
  retired: boolean
}

export interface Layout {
  readonly segments: Array<Segment>
  last: StoredLine | undefined
}

/** What a crash in the middle of a write has left at the end of a file, and where it is kept now. */
interface Torn {
  readonly file: string
  readonly offset: number
  readonly bytes: number
  readonly savedAs: string
}

const pattern = /^audit-(\d{16})\.jsonl$/
const encoder = new TextEncoder()

export const make = (first: number, startedAt: number): Segment => ({
  name: `audit-${String(first).padStart(16, "0")}.jsonl`,
  first,
  length: 0,
  startedAt,
  readers: 0,
  retired: false
})

/** The lines of a segment, as far as they are whole at that length. */
export const read = (file: FileSystem.File, segment: Segment, length: number) =>
  Stream.suspend(() => {
    let next = { sequence: segment.first, time: segment.startedAt }
    return Stream.map(lines(file, length), ({ text, start, end }) => {
      // What is no record is handed on as it is, at the number where one should be: whoever verifies names it.
      const { sequence, time } = decode(text) ?? next
      next = { sequence: sequence + 1, time }
      return { sequence, time, line: text, start, end }
    })
  })

/**
 * Reads the directory, after finishing what was begun: a replacement that was decided is carried out, half-written
 * files are removed, a torn last line is saved aside and cut off, an empty last file is removed. `known` are the
 * segments of a log that is open, whose readers must not lose what they read.
 */
export const recover: (
  disk: Disk,
  known: ReadonlyArray<Segment> | undefined
) => Effect.Effect<{ readonly layout: Layout; readonly torn: ReadonlyArray<Torn> }, PlatformError> =
  Effect.fnUntraced(function* (disk, known) {
    yield* finishReplacement(disk, known ?? [])
    const segments: Array<Segment> = []
    for (const name of (yield* disk.names).toSorted()) {
      const first = pattern.exec(name)?.[1]
      if (first !== undefined) {
        const segment = known?.find((one) => one.name === name) ?? make(Number(first), 0)
        segment.length = yield* disk.size(name)
        segments.push(segment)
      } else if (isTemporary(name) || (known === undefined && isRetired(name))) {
        yield* disk.remove(name)
      }
    }
    const torn: Array<Torn> = []
    let last: StoredLine | undefined
    while (last === undefined) {
      const segment = segments.at(-1)
      if (segment === undefined) break
      const end = yield* disk.using(segment.name, "r", (file) => wholeEnd(file, segment.length))
      if (end < segment.length) torn.push(yield* cut(disk, segment, end))
      if (end === 0) {
        yield* disk.remove(segment.name)
        segments.pop()
      } else {
        last = yield* disk.using(segment.name, "r", (file) => ends(file, segment))
      }
    }
    return { layout: { segments, last }, torn }
  })

/** The last line of a segment; looks up when it begins, too. */
const ends = Effect.fnUntraced(function* (file: FileSystem.File, segment: Segment) {
  const all = read(file, segment, segment.length)
  const first = Option.getOrUndefined(yield* Stream.runHead(all))
  if (first !== undefined) segment.startedAt = first.time
  const line = yield* lastLine(file, segment.length)
  const place = decode(line)
  return place === undefined ? Option.getOrUndefined(yield* Stream.runLast(all)) : { ...place, line }
})

/** Saves what follows `end` in a file of its own, then cuts it off. */
const cut = Effect.fnUntraced(function* (disk: Disk, segment: Segment, end: number) {
  const taken = new Set(yield* disk.names)
  const stem = segment.name.replace(".jsonl", `-${end}`)
  let savedAs = `${stem}.torn`
  for (let again = 2; taken.has(savedAs); again++) savedAs = `${stem}-${again}.torn`
  const bytes = yield* disk.using(segment.name, "r", (file) => readAt(file, end, segment.length - end))
  yield* disk.write(savedAs, bytes)
  yield* truncate(disk, segment.name, end)
  segment.length = end
  const torn: Torn = { file: segment.name, offset: end, bytes: bytes.length, savedAs }
  return torn
})

export const truncate = (disk: Disk, name: string, length: number): Effect.Effect<void, PlatformError> =>
  disk.using(name, "r+", (file) => Effect.andThen(file.truncate(length), file.sync))

// --- Replacing -------------------------------------------------------------

/** A replacement that is decided: `written` takes the place of `retire` under the name `as`, whatever happens. */
interface Replacement {
  readonly written: string
  readonly as: string
  readonly retire: ReadonlyArray<string>
}

const journal = "replacing.json"

/** The lines of a segment that are in a range of sequences: how many, and the bytes that they take. */
export interface Range {
  readonly segment: Segment
  readonly lines: number
  readonly start: number
  readonly end: number
}

export const find = (
  disk: Disk,
  segment: Segment,
  from: number,
  to: number
): Effect.Effect<Range, PlatformError> =>
  disk.using(segment.name, "r", (file) =>
    Stream.runFold(
      read(file, segment, segment.length),
      (): Range => ({ segment, lines: 0, start: 0, end: 0 }),
      (range, { sequence, start, end }) => {
        if (sequence < from || sequence > to) return range
        return { segment, lines: range.lines + 1, start: range.lines === 0 ? start : range.start, end }
      }
    )
  )

/** Writes the file in which one line stands for ranges that follow one another. Nothing is replaced by that. */
export const prepare = Effect.fnUntraced(function* (
  disk: Disk,
  ranges: ReadonlyArray<Range>,
  line: StoredLine
) {
  const first = ranges[0]!
  const last = ranges.at(-1)!
  const as = first.start > 0 ? first.segment.name : make(line.sequence, line.time).name
  const replacement: Replacement = {
    written: temporary(as),
    as,
    retire: ranges.map(({ segment }) => segment.name)
  }
  yield* disk.using(replacement.written, "w", (out) =>
    copy(disk, first.segment.name, 0, first.start, out).pipe(
      Effect.andThen(out.writeAll(encoder.encode(`${line.line}\n`))),
      Effect.andThen(copy(disk, last.segment.name, last.end, last.segment.length, out)),
      Effect.andThen(out.sync)
    )
  )
  return replacement
})

/** Decides that a file that was written takes the place of others: `recover` carries it out. */
export const decide = (disk: Disk, replacement: Replacement): Effect.Effect<void, PlatformError> =>
  disk.write(journal, encoder.encode(JSON.stringify(replacement)))

const copy = (disk: Disk, name: string, start: number, end: number, out: FileSystem.File) =>
  disk.using(
    name,
    "r",
    Effect.fnUntraced(function* (file) {
      for (let at = start; at < end; ) {
        const bytes = yield* readAt(file, at, Math.min(1024 * 1024, end - at))
        if (bytes.length === 0) return
        yield* out.writeAll(bytes)
        at += bytes.length
      }
    })
  )

/** Carries out what was decided, from wherever it was left. */
const finishReplacement = Effect.fnUntraced(function* (disk: Disk, known: ReadonlyArray<Segment>) {
  const text = yield* disk.text(journal)
  if (text === undefined) return
  const { written, as, retire }: Replacement = JSON.parse(text)
  const begun = yield* disk.has(written)
  for (const name of retire) {
    // Without the written file, what stands under its final name is the new one.
    if (begun || name !== as) yield* withdraw(disk, name, known)
  }
  if (begun) yield* disk.rename(written, as)
  yield* disk.sync
  yield* disk.remove(journal)
  yield* disk.sync
})

const isRetired = (name: string): boolean => name.endsWith(".retired")

/** Removes a file, or sets it aside while someone reads it. */
const withdraw = Effect.fnUntraced(function* (disk: Disk, name: string, known: ReadonlyArray<Segment>) {
  const segment = known.find((one) => one.name === name)
  if (segment === undefined || segment.readers === 0) return yield* disk.remove(name)
  const names = new Set(yield* disk.names)
  if (!names.has(name)) return
  let aside = `${name}.retired`
  for (let again = 2; names.has(aside); again++) aside = `${name}-${again}.retired`
  yield* disk.rename(name, aside)
  segment.name = aside
  segment.retired = true
})
