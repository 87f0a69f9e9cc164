/** A file system that fails on demand, in one of the ways in which real ones do, and counts what it is asked. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import { type PlatformError, systemError } from "effect/PlatformError"

/**
 * `before`: nothing is done. `after`: it is done, and reported as failed. `short`: of what is written a part is
 * there; everything else is not done.
 */
export type Fault = "before" | "after" | "short"

export interface Asked {
  readonly operation: string
  /** The path, of an open file too. */
  readonly path: string
}

export interface Faults {
  /** What was asked since the start, or since whoever reads emptied it. */
  readonly asked: Array<Asked>
  /** Says whether an operation fails; asked before each. */
  decide: (asked: Asked) => Fault | undefined
}

export const make = (): Faults => ({ asked: [], decide: () => undefined })

const full = (method: string, path: string): PlatformError =>
  systemError({
    _tag: "Unknown",
    module: "FileSystem",
    method,
    pathOrDescriptor: path,
    cause: Object.assign(new Error("no space left on device"), { code: "ENOSPC" })
  })

/** The file system that is provided, with faults. */
export const layer = (faults: Faults): Layer.Layer<FileSystem.FileSystem, never, FileSystem.FileSystem> =>
  Layer.effect(
    FileSystem.FileSystem,
    Effect.map(FileSystem.FileSystem, (fs): FileSystem.FileSystem => {
      const guarded = <A, R>(
        operation: string,
        path: string,
        effect: Effect.Effect<A, PlatformError, R>,
        short: Effect.Effect<unknown, PlatformError> = Effect.void
      ): Effect.Effect<A, PlatformError, R> =>
        Effect.suspend(() => {
          const asked: Asked = { operation, path }
          faults.asked.push(asked)
          const fault = faults.decide(asked)
          if (fault === undefined) return effect
          const first: Effect.Effect<unknown, PlatformError, R> =
            fault === "after" ? effect : fault === "short" ? short : Effect.void
          return Effect.andThen(first, Effect.fail(full(operation, path)))
        })
      return {
        ...fs,
        open: (path, options) =>
          Effect.map(guarded(`open ${options?.flag ?? "r"}`, path, fs.open(path, options)), (file) => ({
            [FileSystem.FileTypeId]: file[FileSystem.FileTypeId],
            stat: file.stat,
            seek: (offset, from) => file.seek(offset, from),
            sync: guarded("sync", path, file.sync),
            read: (buffer, options) => guarded("read", path, file.read(buffer, options)),
            readAlloc: (size, options) => file.readAlloc(size, options),
            truncate: (length) => guarded("truncate", path, file.truncate(length)),
            write: (buffer) => guarded("write", path, file.write(buffer)),
            writeAll: (buffer) =>
              guarded(
                "write",
                path,
                file.writeAll(buffer),
                file.writeAll(buffer.subarray(0, Math.floor(buffer.length * 0.6)))
              )
          })),
        rename: (from, to) => guarded("rename", from, fs.rename(from, to)),
        remove: (path, options) => guarded("remove", path, fs.remove(path, options)),
        readDirectory: (path, options) => guarded("readDirectory", path, fs.readDirectory(path, options)),
        stat: (path) => guarded("stat", path, fs.stat(path)),
        exists: (path) => guarded("exists", path, fs.exists(path)),
        readFileString: (path, encoding) => guarded("readFile", path, fs.readFileString(path, encoding))
      }
    })
  )
