/**
 * The end of a log in files: where batches are appended, and what is done when
 * one of them fails. One caller at a time.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import type { StoredLine } from "../audit/store.ts"
import { type Disk, type Handle, isNotFound } from "./disk.ts"
import * as Segments from "./segments.ts"

export interface Rules {
  readonly maxBytes: number
  readonly rotateDaily: boolean
  readonly fsync: "every" | "interval" | "never"
}

export interface Tail {
  /** The files, made whole first where something was left open. */
  readonly ready: Effect.Effect<Segments.Layout, PlatformError>
  /** Appends lines in one write, all or none. */
  readonly append: (batch: ReadonlyArray<StoredLine>) => Effect.Effect<void, PlatformError>
  /** Whether something was appended that is not synced yet. */
  readonly unsynced: () => boolean
  readonly sync: Effect.Effect<void, PlatformError>
  /** Closes the file and forgets what the others are, because they change: `ready` looks again. */
  readonly forget: Effect.Effect<void>
}

const encoder = new TextEncoder()
const dayOf = (time: number): number => Math.floor(time / 86_400_000)

export const make = (disk: Disk, { fsync, maxBytes, rotateDaily }: Rules): Tail => {
  /** `undefined` where only the disk can tell: at the start, and after a failure. */
  let layout: Segments.Layout | undefined
  let known: ReadonlyArray<Segments.Segment> | undefined
  /** The last segment, open to append. */
  let current: Handle | undefined
  /** Where something may follow the acknowledged bytes: a batch that failed. */
  let unclean: Segments.Segment | undefined
  let unsynced = false

  const ready = Effect.gen(function* () {
    if (unclean !== undefined) {
      yield* Effect.catchIf(
        Segments.truncate(disk, unclean.name, unclean.length),
        isNotFound,
        () => Effect.void
      )
      unclean = undefined
    }
    if (layout !== undefined) return layout
    const recovered = yield* Segments.recover(disk, known)
    for (const torn of recovered.torn) {
      yield* Effect.logWarning("The audit log ended in the middle of a line, which was saved aside.", torn)
    }
    layout = recovered.layout
    known = layout.segments
    return layout
  })

  const close = Effect.suspend(() => {
    const closing = current?.close ?? Effect.void
    current = undefined
    return closing
  })

  const sync: Effect.Effect<void, PlatformError> = Effect.gen(function* () {
    const last = known?.at(-1)
    if (!unsynced || last === undefined) return
    yield* current === undefined ? disk.using(last.name, "r+", (file) => file.sync) : current.file.sync
    unsynced = false
  })

  const mustRotate = (segment: Segments.Segment, first: StoredLine, bytes: number): boolean =>
    segment.length > 0 &&
    (segment.length + bytes > maxBytes || (rotateDaily && dayOf(first.time) > dayOf(segment.startedAt)))

  /** The file that a batch goes to: the last one, or a new one. */
  const fileFor = Effect.fnUntraced(function* (
    segments: Array<Segments.Segment>,
    first: StoredLine,
    bytes: number
  ) {
    const last = segments.at(-1)
    if (last !== undefined && !mustRotate(last, first, bytes)) {
      current ??= yield* disk.open(last.name, "a")
      return { segment: last, file: current.file }
    }
    // A file that is left is not synced again.
    if (fsync !== "never") yield* sync
    yield* close
    const segment = Segments.make(first.sequence, first.time)
    layout = undefined
    current = yield* disk.open(segment.name, "ax")
    if (fsync !== "never") yield* disk.sync
    segments.push(segment)
    return { segment, file: current.file }
  })

  const write = Effect.fnUntraced(function* (
    { file, segment }: { readonly file: FileSystem.File; readonly segment: Segments.Segment },
    bytes: Uint8Array
  ) {
    unclean = segment
    yield* file.writeAll(bytes)
    if (fsync === "every") yield* file.sync
    else unsynced = true
    unclean = undefined
    segment.length += bytes.length
  })

  return {
    ready,
    append: Effect.fnUntraced(
      function* (batch) {
        const found = yield* ready
        const first = batch[0]
        if (first === undefined) return
        const bytes = encoder.encode(batch.map(({ line }) => `${line}\n`).join(""))
        const target = yield* fileFor(found.segments, first, bytes.length)
        if (target.segment.length === 0) target.segment.startedAt = first.time
        yield* write(target, bytes)
        found.last = batch.at(-1)
        layout = found
      },
      Effect.onError(() => close)
    ),
    unsynced: () => unsynced,
    sync,
    forget: Effect.suspend(() => {
      layout = undefined
      return close
    })
  }
}
