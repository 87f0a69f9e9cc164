/**
 * One private directory: files of mode 0600 that are written durably, or not
 * at all. Names are relative to it.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import * as Scope from "effect/Scope"

/** An open file, closed by whoever opened it. */
export interface Handle {
  readonly file: FileSystem.File
  readonly close: Effect.Effect<void>
}

export interface Disk {
  readonly directory: string
  readonly names: Effect.Effect<ReadonlyArray<string>, PlatformError>
  /** Whether the file is there. */
  readonly has: (name: string) => Effect.Effect<boolean, PlatformError>
  /** In bytes. */
  readonly size: (name: string) => Effect.Effect<number, PlatformError>
  /** The whole file as text; `undefined` where there is none. */
  readonly text: (name: string) => Effect.Effect<string | undefined, PlatformError>
  readonly open: (name: string, flag: FileSystem.OpenFlag) => Effect.Effect<Handle, PlatformError>
  /** Opens a file to read for as long as the scope is open. */
  readonly scoped: (name: string) => Effect.Effect<FileSystem.File, PlatformError, Scope.Scope>
  /** Opens a file for as long as the effect runs. */
  readonly using: <A, E>(
    name: string,
    flag: FileSystem.OpenFlag,
    use: (file: FileSystem.File) => Effect.Effect<A, E>
  ) => Effect.Effect<A, E | PlatformError>
  readonly rename: (from: string, to: string) => Effect.Effect<void, PlatformError>
  /** A file that is not there is removed already. */
  readonly remove: (name: string) => Effect.Effect<void, PlatformError>
  /** Sets the time of the last change, in milliseconds since the epoch. */
  readonly touch: (name: string, now: number) => Effect.Effect<void, PlatformError>
  readonly touchedAt: (name: string) => Effect.Effect<number | undefined, PlatformError>
  /** All of the bytes under that name or what was there before; durable when it returns, unless told otherwise. */
  readonly write: (name: string, bytes: Uint8Array, durable?: boolean) => Effect.Effect<void, PlatformError>
  /** Makes what was created, renamed and removed durable, where the platform can. */
  readonly sync: Effect.Effect<void, PlatformError>
}

/** What `write` writes first, and leaves behind where it is cut short. */
export const temporary = (name: string): string => `${name}.tmp`
export const isTemporary = (name: string): boolean => name.endsWith(".tmp")

export const isNotFound = (error: PlatformError): boolean => error.reason._tag === "NotFound"

const mode = 0o600

/** The directory, made with mode 0700 where it is not there yet; an existing one keeps its mode. */
export const make: (
  fs: FileSystem.FileSystem,
  path: Path.Path,
  directory: string
) => Effect.Effect<Disk, PlatformError> = Effect.fnUntraced(function* (fs, path, directory) {
  const at = (name: string) => path.join(directory, name)

  const open = (name: string, flag: FileSystem.OpenFlag) =>
    Effect.uninterruptible(
      Effect.suspend(() => {
        const scope = Scope.makeUnsafe()
        // What closing may report too late was reported by `sync`, where it was asked to be durable.
        const close = Effect.ignoreCause(Scope.close(scope, Exit.void))
        return Effect.map(
          Scope.provide(fs.open(at(name), { flag, mode }), scope),
          (file): Handle => ({ file, close })
        )
      })
    )
  const using: Disk["using"] = (name, flag, use) =>
    Effect.acquireUseRelease(
      open(name, flag),
      ({ file }) => use(file),
      ({ close }) => close
    )
  const orAbsent = <A>(effect: Effect.Effect<A, PlatformError>) =>
    Effect.catchIf(effect, isNotFound, () => Effect.undefined)
  const rename = (from: string, to: string) => fs.rename(at(from), at(to))

  const syncDirectory = (name: string) => using(name, "r", (file) => file.sync)
  if (!(yield* fs.exists(directory))) {
    yield* fs.makeDirectory(directory, { recursive: true, mode: 0o700 })
    yield* Effect.ignore(syncDirectory(".."))
  }
  // Some platforms cannot open a directory. What fails later than here is a fault, and is not passed over.
  const syncs = yield* Effect.isSuccess(syncDirectory("."))
  const sync = syncs ? syncDirectory(".") : Effect.void

  return {
    directory,
    names: fs.readDirectory(directory),
    has: (name) => fs.exists(at(name)),
    size: (name) => Effect.map(fs.stat(at(name)), ({ size }) => Number(size)),
    text: (name) => orAbsent(fs.readFileString(at(name))),
    open,
    scoped: (name) =>
      Effect.map(
        Effect.acquireRelease(open(name, "r"), ({ close }) => close),
        ({ file }) => file
      ),
    using,
    rename,
    remove: (name) => orAbsent(fs.remove(at(name))),
    touch: (name, now) => fs.utimes(at(name), new Date(now), new Date(now)),
    touchedAt: (name) =>
      orAbsent(
        Effect.map(fs.stat(at(name)), ({ mtime }) => (mtime._tag === "Some" ? mtime.value.getTime() : 0))
      ),
    write: (name, bytes, durable = true) =>
      Effect.uninterruptible(
        using(temporary(name), "w", (file) =>
          Effect.andThen(file.writeAll(bytes), durable ? file.sync : Effect.void)
        ).pipe(Effect.andThen(rename(temporary(name), name)), Effect.andThen(durable ? sync : Effect.void))
      ),
    sync
  }
})
