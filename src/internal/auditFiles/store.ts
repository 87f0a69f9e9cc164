/** The store that `FileAuditLog` keeps its records in. */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { type AuditStore, type AuditStoreError, type StoredLine, storeError } from "../audit/store.ts"
import * as Disk from "./disk.ts"
import * as Lock from "./lock.ts"
import * as Segments from "./segments.ts"
import * as Tail from "./tail.ts"
import * as Values from "./values.ts"

export interface Settings extends Tail.Rules {
  readonly directory: string
  /** The head, and the lines where `fsync` is `interval`. */
  readonly flushEvery: Duration.Duration
}

type Failure = PlatformError | AuditStoreError | Lock.Held

const encoder = new TextEncoder()
const headFile = "head"

/** Opens the directory, alone, until the scope closes. */
export const make: (
  settings: Settings
) => Effect.Effect<AuditStore, AuditStoreError, FileSystem.FileSystem | Path.Path | Scope.Scope> =
  Effect.fnUntraced(function* (settings) {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const disk = yield* Disk.make(fs, path, settings.directory)
    const lock = yield* Lock.acquire(fs, disk)
    const values = yield* Values.make(yield* Disk.make(fs, path, path.join(settings.directory, "values")))
    const tail = Tail.make(disk, settings)
    const syncs = settings.fsync !== "never"
    let head = yield* disk.text(headFile)
    let headOnDisk = head
    /** Why something acknowledged may not be on the disk: told once, to the next who appends. */
    let lateFailure: AuditStoreError | undefined

    // --- Taking turns --------------------------------------------------------

    const turn = Semaphore.makeUnsafe(1)
    // What has begun ends, whatever becomes of the caller: a write cannot be taken back half way. But nobody need wait
    // for a disk that hangs.
    const exclusively = <A, R>(effect: Effect.Effect<A, Failure, R>): Effect.Effect<A, AuditStoreError, R> =>
      Effect.uninterruptibleMask((restore) =>
        restore(turn.take(1)).pipe(
          Effect.andThen(
            Effect.forkDetach(Effect.ensuring(answered(effect), turn.release(1)), {
              uninterruptible: true,
              startImmediately: true
            })
          ),
          Effect.flatMap((fiber) => restore(Fiber.join(fiber)))
        )
      )
    const holds: Effect.Effect<void, Failure> = Effect.flatMap(lock.held, (held) =>
      held ? Effect.void : Effect.fail(lockLost)
    )
    const ready = Effect.andThen(holds, tail.ready)

    // --- Appending -----------------------------------------------------------

    const headTurn = Semaphore.makeUnsafe(1).withPermit
    const writeHead: Effect.Effect<void, PlatformError> = Effect.gen(function* () {
      const text = head
      if (text === undefined || text === headOnDisk) return
      yield* disk.write(headFile, encoder.encode(text), syncs)
      headOnDisk = text
    }).pipe(Effect.uninterruptible, headTurn)

    /** A head that is durable, and everything before it. */
    const checkpoint = Effect.fnUntraced(function* (text: string) {
      yield* tail.sync
      yield* headTurn(disk.write(headFile, encoder.encode(text)))
      headOnDisk = text
    })

    const append = Effect.fnUntraced(function* (
      batch: ReadonlyArray<StoredLine>,
      expected: string | undefined,
      next: string
    ) {
      yield* ready
      if (expected !== head) return "moved" as const
      if (lateFailure !== undefined) {
        const failure = lateFailure
        lateFailure = undefined
        return yield* Effect.fail(failure)
      }
      yield* batch.length === 0 ? checkpoint(next) : tail.append(batch)
      head = next
      return "appended" as const
    })

    // --- Flushing ------------------------------------------------------------

    const syncLines = Effect.andThen(ready, syncs ? tail.sync : Effect.void)
    const reported = Effect.catch((failure: AuditStoreError) => ErrorReporter.report(Cause.fail(failure)))
    yield* exclusively(syncLines).pipe(
      Effect.tapError((failure) =>
        Effect.sync(() => {
          if (syncs && tail.unsynced()) lateFailure = failure
        })
      ),
      Effect.andThen(answered(writeHead)),
      reported,
      Effect.schedule(Schedule.spaced(settings.flushEvery)),
      Effect.forkScoped
    )
    yield* Effect.addFinalizer(() =>
      exclusively(syncLines).pipe(Effect.andThen(answered(writeHead)), reported, Effect.andThen(tail.forget))
    )
    yield* ready

    // --- Reading and replacing -----------------------------------------------

    /** The segments that may hold lines of a range, in order. */
    const within = (segments: ReadonlyArray<Segments.Segment>, from: number, to: number) =>
      segments.filter((segment, index) => {
        const next = segments[index + 1]
        return segment.first <= to && (next === undefined || next.first > from)
      })

    /** The segments of a range and what of them is acknowledged now; nothing of it goes before the scope closes. */
    const snapshot = (from: number, to: number) =>
      Effect.acquireRelease(
        exclusively(
          Effect.map(ready, ({ segments }) => {
            const found = within(segments, from, to)
            for (const segment of found) segment.readers += 1
            return found.map((segment) => ({ segment, length: segment.length }))
          })
        ),
        (found) =>
          Effect.forEach(
            found,
            ({ segment }) => {
              segment.readers -= 1
              const gone = segment.retired && segment.readers === 0
              return gone ? Effect.ignore(disk.remove(segment.name)) : Effect.void
            },
            { discard: true }
          )
      )

    const read: AuditStore["read"] = ({ from = 0, to = Number.POSITIVE_INFINITY }) =>
      Stream.unwrap(
        Effect.map(snapshot(from, to), (found) =>
          Stream.fromIterable(found).pipe(
            Stream.flatMap(({ length, segment }) =>
              // The file may be renamed meanwhile, but not while it is being opened.
              Stream.unwrap(
                Effect.map(exclusively(disk.scoped(segment.name)), (file) =>
                  Stream.mapError(Segments.read(file, segment, length), asStoreError)
                )
              )
            ),
            Stream.filter(({ sequence }) => sequence >= from && sequence <= to),
            Stream.map(({ line, sequence, time }) => ({ line, sequence, time }))
          )
        )
      )

    const replaceTurn = Semaphore.makeUnsafe(1).withPermit
    const replace = Effect.fnUntraced(function* (
      { from, lines, to }: Parameters<AuditStore["replace"]>[0],
      line: StoredLine
    ) {
      const { affected, tailSegment } = yield* exclusively(
        Effect.map(ready, ({ segments }) => ({
          affected: within(segments, from, to),
          tailSegment: segments.at(-1)
        }))
      )
      const ranges: Array<Segments.Range> = []
      for (const segment of affected) {
        const range = yield* Segments.find(disk, segment, from, to)
        if (range.lines > 0) ranges.push(range)
      }
      if (ranges.length === 0 || ranges.reduce((sum, range) => sum + range.lines, 0) !== lines) {
        return "moved" as const
      }
      const prepare = Segments.prepare(disk, ranges, line)
      // Only the last file changes meanwhile: others are copied while appends go on.
      const early = ranges.at(-1)?.segment === tailSegment ? undefined : yield* prepare
      yield* exclusively(
        Effect.gen(function* () {
          yield* ready
          const replacement = early ?? (yield* prepare)
          // A failure meanwhile has cleared away what nobody had decided yet.
          if (!(yield* disk.has(replacement.written))) return yield* Effect.fail(disturbed)
          yield* tail.forget
          yield* Segments.decide(disk, replacement)
          yield* tail.ready
        })
      )
      return "replaced" as const
    })

    const store: AuditStore = {
      append: (batch, expected, next) => exclusively(append(batch, expected, next)),
      head: exclusively(Effect.map(ready, () => head)),
      last: exclusively(Effect.map(ready, ({ last }) => last)),
      read,
      replace: (range, line) => answered(replaceTurn(replace(range, line))),
      get: (name) => answered(values.get(name)),
      put: (name, value) => answered(Effect.andThen(holds, values.put(name, value))),
      remove: (names) => answered(Effect.andThen(holds, values.remove(names))),
      names: (prefix) => answered(values.names(prefix))
    }
    return store
  }, answered)

// --- Failures --------------------------------------------------------------

const lockLost = storeError("The lock of the audit log's directory was taken away.", undefined)

const disturbed = storeError("A failure meanwhile has undone what was to be replaced.", undefined)

const asStoreError = (failure: Failure): AuditStoreError => {
  switch (failure._tag) {
    case "AuditStoreError":
      return failure
    case "Held":
      return storeError("Another process has the audit log's directory open.", failure)
    case "PlatformError":
      return storeError("The audit log's files cannot be read or written.", failure)
  }
}

function answered<A, R>(effect: Effect.Effect<A, Failure, R>): Effect.Effect<A, AuditStoreError, R> {
  return Effect.mapError(effect, asStoreError)
}
