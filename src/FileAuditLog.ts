/**
 * The audit log in a directory of JSON Lines files, one record per line, each
 * file named by the sequence that it begins with: `audit-0000000000000001.jsonl`.
 *
 * A directory has one process at a time. It is locked by a file that names the
 * process; one that was killed does not lock out the next, and a second one that
 * lives is refused. In another container or on another machine that is decided by
 * whether the lock is touched, which takes five seconds. The files are made for
 * POSIX: some are renamed and removed while they are open.
 *
 * Whatever waits while a write is under way is written next, in one write and
 * one `fsync`. What each `fsync` may lose of what was acknowledged:
 *
 * | `fsync` | the process is killed | the machine loses power |
 * |---|---|---|
 * | `"every"` (default) | nothing | nothing, if the disk keeps what it says that it has |
 * | `{ interval }` | nothing | what was written since the last sync: the interval and one write |
 * | `"never"` | nothing | what the system had not written yet: some 30 seconds on Linux, in any order |
 *
 * A batch that fails (a full disk, a short write) is cut off before anything else
 * is written, so that what was refused is not there. What a crash leaves of a line
 * in the middle of a write was never acknowledged: opening saves it as
 * `audit-….torn`, cuts it off and warns. With `interval` and `never` a loss of
 * power may also leave holes before the last line; opening does not mend those,
 * `verify` names them. The signed head is written once a second, at checkpoints and
 * at the end: records of the last second that someone cut off after killing the
 * process are not missed.
 *
 * A file goes on until it would exceed `maxBytes` or its first record is of an
 * earlier day; a batch is never split, so it may hold records from both sides of
 * midnight, and a single batch may be larger. Files have mode 0600, and a
 * directory that is made here 0700.
 *
 * Removing a principal's key overwrites its file, syncs and unlinks it. That puts
 * it beyond every program that reads the disk through its file system. It cannot
 * promise that no copy is left where the file system journals data, writes
 * elsewhere (btrfs, ZFS, snapshots) or is backed up, nor in an SSD's spare blocks:
 * there only a keyring whose own key is destroyed erases.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type * as Path from "effect/Path"
import type * as Scope from "effect/Scope"
import * as AuditLog from "./AuditLog.ts"
import type * as FileStore from "./internal/auditFiles/store.ts"
import { millis, whole } from "./internal/options.ts"
import type { Keyring } from "./Keyring.ts"
import type { Redaction } from "./Redaction.ts"

/** How the files are kept. */
export interface StoreOptions {
  /** Made where it is not there yet; an existing one keeps its mode. */
  readonly directory: string
  /** Bytes after which a new file begins; 64 MiB. */
  readonly maxBytes?: number | undefined
  /** Whether a new day (UTC, by the time of the records) begins a new file; `true`. */
  readonly rotateDaily?: boolean | undefined
  /** When what is written is forced to the disk; `every` batch. */
  readonly fsync?: "every" | "never" | { readonly interval: Duration.Input } | undefined
}

export interface Options extends AuditLog.Options, StoreOptions {}

/** Opens the directory, alone, until the scope closes. An option that makes no sense is a `RangeError`. */
export const makeStore = (
  options: StoreOptions
): Effect.Effect<
  AuditLog.AuditStore,
  AuditLog.AuditStoreError,
  FileSystem.FileSystem | Path.Path | Scope.Scope
> =>
  Effect.suspend(() => {
    const settings = settingsOf(options)
    // Loaded here: the core is imported by many who keep no files.
    return Effect.flatMap(
      Effect.promise(() => import("./internal/auditFiles/store.ts")),
      (store) => store.make(settings)
    )
  })

/** An audit log in a directory. It fails where another process has the directory, or it cannot be read or written. */
export const layer = (
  options: Options
): Layer.Layer<
  AuditLog.AuditLog,
  AuditLog.AuditStoreError,
  FileSystem.FileSystem | Path.Path | Keyring | Redaction
> =>
  Layer.effect(
    AuditLog.AuditLog,
    Effect.flatMap(makeStore(options), (store) => AuditLog.make(store, options))
  )

const settingsOf = (options: StoreOptions): FileStore.Settings => {
  const { directory, fsync = "every", maxBytes = 64 * 1024 * 1024, rotateDaily = true } = options
  if (directory === "") throw new RangeError("FileAuditLog: directory must be the path of a directory")
  whole("FileAuditLog: maxBytes", maxBytes)
  if (typeof fsync === "string") {
    return { directory, maxBytes, rotateDaily, fsync, flushEvery: Duration.seconds(1) }
  }
  const flushEvery = Duration.millis(millis("FileAuditLog: fsync.interval", fsync.interval))
  return { directory, maxBytes, rotateDaily, fsync: "interval", flushEvery }
}
