/** The audit log that a worker writes and its parent opens again, in files or in SQLite. */
import { join } from "node:path"
import { NodeFileSystem, NodePath } from "@effect/platform-node"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type { PlatformError } from "effect/PlatformError"
import * as Redacted from "effect/Redacted"
import type { MigrationError } from "effect/sql/Migrator"
import type { SqlError } from "effect/sql/SqlError"
import * as FileAuditLog from "../../src/FileAuditLog.ts"
import { AuditLog, type Keyring, type Redaction } from "../../src/index.ts"
import * as SqlAuditLog from "../../src/sql/SqlAuditLog.ts"
import * as Sqlite from "../../src/sql/Sqlite.ts"

export const stores = ["file", "sqlite"] as const
export type Store = (typeof stores)[number]

export const keyring = {
  deployment: "kill",
  active: "k1",
  keys: { k1: Redacted.make("a key of the benchmark that kills processes") }
}

/** Small, so that many kills meet a rotation. */
const maxBytes = 128 * 1024

/** What an append goes through. */
export const steps: Readonly<Record<Store, ReadonlyArray<string>>> = {
  file: ["append", "write", "sync", "rotation", "head or key"],
  sqlite: ["append"]
}

/** Told when a step of an append begins (`+sync`) and when it ends (`-sync`). */
export type Note = (step: string) => void

/** The log in a directory. */
export const layer = (
  store: Store,
  directory: string,
  note: Note = () => {}
): Layer.Layer<
  AuditLog.AuditLog,
  AuditLog.AuditStoreError | SqlError | MigrationError,
  Keyring.Keyring | Redaction.Redaction
> => {
  const noted = <A, E, R>(step: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.suspend(() => {
      note(`+${step}`)
      return Effect.ensuring(
        effect,
        Effect.sync(() => note(`-${step}`))
      )
    })
  const over = (inner: AuditLog.AuditStore) =>
    AuditLog.make({ ...inner, append: (...batch) => noted("append", inner.append(...batch)) })
  switch (store) {
    case "file":
      return Layer.effect(
        AuditLog.AuditLog,
        Effect.flatMap(FileAuditLog.makeStore({ directory: join(directory, "log"), maxBytes }), over)
      ).pipe(
        Layer.provide(Layer.merge(Layer.provide(notedFiles(noted), NodeFileSystem.layer), NodePath.layer))
      )
    case "sqlite":
      return Layer.effect(AuditLog.AuditLog, Effect.flatMap(SqlAuditLog.makeStore, over)).pipe(
        Layer.provide(Sqlite.layer({ filename: join(directory, "log.db") }))
      )
  }
}

type Noted = <A, R>(
  step: string,
  effect: Effect.Effect<A, PlatformError, R>
) => Effect.Effect<A, PlatformError, R>

/** Tells of what is done to the files of records, to their directory and to the head. */
const notedFiles = (noted: Noted): Layer.Layer<FileSystem.FileSystem, never, FileSystem.FileSystem> =>
  Layer.effect(
    FileSystem.FileSystem,
    Effect.map(
      FileSystem.FileSystem,
      (fs): FileSystem.FileSystem => ({
        ...fs,
        open: (path, options) => {
          const opening = fs.open(path, options)
          const records = path.endsWith(".jsonl")
          const named = (step: string) => (records ? step : path.endsWith("log") ? "rotation" : "head or key")
          return Effect.map(
            records && options?.flag === "ax" ? noted("rotation", opening) : opening,
            (file): FileSystem.File => ({
              [FileSystem.FileTypeId]: file[FileSystem.FileTypeId],
              stat: file.stat,
              seek: (offset, from) => file.seek(offset, from),
              sync: noted(named("sync"), file.sync),
              read: (buffer, options) => file.read(buffer, options),
              readAlloc: (size, options) => file.readAlloc(size, options),
              truncate: (length) => file.truncate(length),
              write: (buffer) => file.write(buffer),
              writeAll: (buffer) => noted(named("write"), file.writeAll(buffer))
            })
          )
        }
      })
    )
  )
