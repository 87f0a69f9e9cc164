/**
 * Small named values, one file each. What is erased is overwritten before it is
 * unlinked: what that is worth is said in `FileAuditLog`.
 */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as Semaphore from "effect/Semaphore"
import { type Disk, type Handle, isNotFound, isTemporary, temporary } from "./disk.ts"

export interface Values {
  readonly get: (name: string) => Effect.Effect<string | undefined, PlatformError>
  readonly put: (name: string, value: string) => Effect.Effect<void, PlatformError>
  readonly remove: (names: ReadonlyArray<string>) => Effect.Effect<void, PlatformError>
  readonly names: (prefix: string) => Effect.Effect<ReadonlyArray<string>, PlatformError>
}

const suffix = ".value"
const encoder = new TextEncoder()

// A name has no underscore, so that one can stand for the slash.
const fileOf = (name: string): string => `${name.replaceAll("/", "_")}${suffix}`
const doomed = (file: string): string => temporary(`${file}.erased`)
const nameOf = (file: string): string => file.slice(0, -suffix.length).replaceAll("_", "/")

/**
 * Values in a directory of their own. What a crash has left half written or half
 * erased is erased.
 */
export const make: (disk: Disk) => Effect.Effect<Values, PlatformError> = Effect.fnUntraced(function* (disk) {
  const oneAtATime = Semaphore.makeUnsafe(1).withPermit

  const openExisting = (file: string): Effect.Effect<Handle | undefined, PlatformError> =>
    Effect.catchIf(disk.open(file, "r+"), isNotFound, () => Effect.undefined)
  const overwrite = ({ file }: Handle) =>
    Effect.flatMap(file.stat, ({ size }) =>
      Effect.andThen(file.writeAll(new Uint8Array(Number(size))), file.sync)
    )
  const erase = (file: string) =>
    Effect.acquireUseRelease(
      openExisting(file),
      (handle) => (handle === undefined ? Effect.void : Effect.andThen(overwrite(handle), disk.remove(file))),
      (handle) => handle?.close ?? Effect.void
    )

  for (const file of yield* disk.names) if (isTemporary(file)) yield* erase(file)

  const remove = Effect.fnUntraced(function* (names: ReadonlyArray<string>) {
    const files = names.map(fileOf)
    // Out of sight first, and durably: a crash must not leave a value that is half overwritten.
    for (const file of files)
      yield* Effect.catchIf(disk.rename(file, doomed(file)), isNotFound, () => Effect.void)
    yield* disk.sync
    for (const file of files) {
      yield* erase(doomed(file))
      yield* erase(temporary(file))
    }
    yield* disk.sync
  })

  return {
    get: (name) => disk.text(fileOf(name)),
    // The old value is overwritten through a handle that outlives its name: a crash finds the old one or the new.
    put: (name, value) =>
      Effect.acquireUseRelease(
        openExisting(fileOf(name)),
        (old) =>
          Effect.andThen(
            disk.write(fileOf(name), encoder.encode(value)),
            old === undefined ? Effect.void : overwrite(old)
          ),
        (old) => old?.close ?? Effect.void
      ).pipe(Effect.uninterruptible, oneAtATime),
    remove: (names) => remove(names).pipe(Effect.uninterruptible, oneAtATime),
    names: (prefix) =>
      Effect.map(disk.names, (files) =>
        files
          .filter((file) => file.endsWith(suffix))
          .map(nameOf)
          .filter((name) => name.startsWith(prefix))
      )
  }
})
