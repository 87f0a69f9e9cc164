/**
 * `AuditLog` in SQL: one chain for every process that shares the database.
 *
 * - A batch is one transaction, whose first statement compares and sets the head:
 *   of two processes that append at once, one chains anew. What is written is as
 *   durable as a commit of the database. With `Sqlite.layer` that is a synced
 *   write; with `synchronous: "NORMAL"` a loss of power may undo the last commits,
 *   records and head together, so that `verify` cannot tell.
 * - The signed head is written with every batch: a cut at the end is found at once.
 * - In SQLite, what is deleted is overwritten (`secure_delete`), and the write-ahead
 *   log is truncated after keys were destroyed, unless somebody reads just then.
 *   Other databases keep deleted rows until their `VACUUM`, and backups keep
 *   everything; keys are sealed with the keyring there, too.
 * - Give it a client of its own. Records are never part of a caller's transaction;
 *   on a client of one connection a call that is made inside a transaction would
 *   wait for itself, until `writeTimeout`.
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { MigrationError } from "effect/sql/Migrator"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"
import * as AuditLog from "../AuditLog.ts"
import { migrate, type Numeric } from "../internal/sqlStore.ts"
import type { Keyring } from "../Keyring.ts"
import type { Redaction } from "../Redaction.ts"

/** An audit log in the database of the `SqlClient`. Creates its tables where there are none. */
export const make = (
  options: AuditLog.Options = {}
): Effect.Effect<
  AuditLog.AuditLog["Service"],
  SqlError | MigrationError,
  SqlClient | Keyring | Redaction | Scope.Scope
> => {
  const log = (store: AuditLog.AuditStore) => AuditLog.make(store, options)
  return Effect.flatMap(makeStore, log)
}

/** An audit log in the database of the `SqlClient`; throws a `RangeError` for an option that makes no sense. */
export const layer = (
  options: AuditLog.Options = {}
): Layer.Layer<AuditLog.AuditLog, SqlError | MigrationError, SqlClient | Keyring | Redaction> =>
  Layer.effect(AuditLog.AuditLog, make(options))

/** What the log is kept in. */
export const makeStore: Effect.Effect<AuditLog.AuditStore, SqlError | MigrationError, SqlClient> = Effect.gen(
  function* () {
    yield* migrate("interlock_audit_migrations", { "1_create": createTables })
    const sql = yield* SqlClient
    yield* sql.onDialectOrElse({ sqlite: () => sql`PRAGMA secure_delete = ON`, orElse: () => Effect.void })
    return storeOf(sql)
  }
)

const storeOf = (sql: SqlClient): AuditLog.AuditStore => {
  const truncateLog = sql.onDialectOrElse({
    sqlite: (): Effect.Effect<unknown, SqlError> => sql`PRAGMA wal_checkpoint(TRUNCATE)`,
    orElse: () => Effect.void
  })
  return {
    append: (batch, expected, head) =>
      answered(
        sql.withTransaction(
          Effect.gen(function* () {
            const set =
              expected === undefined
                ? yield* sql`INSERT INTO interlock_audit_head (id, head) VALUES (1, ${head})
                  ON CONFLICT (id) DO NOTHING RETURNING id`
                : yield* sql`UPDATE interlock_audit_head SET head = ${head}
                  WHERE id = 1 AND head = ${expected} RETURNING id`
            if (set.length === 0) return "moved" as const
            const rows = batch.map(rowOf)
            if (Arr.isArrayNonEmpty(rows)) yield* sql`INSERT INTO interlock_audit_lines ${sql.insert(rows)}`
            return "appended" as const
          })
        )
      ),
    head: answered(
      Effect.map(
        sql<{ readonly head: string }>`SELECT head FROM interlock_audit_head WHERE id = 1`,
        ([row]) => row?.head
      )
    ),
    last: answered(
      Effect.map(sql<Row>`SELECT * FROM interlock_audit_lines ORDER BY sequence DESC LIMIT 1`, ([row]) =>
        row === undefined ? undefined : lineOf(row)
      )
    ),
    read: ({ from = 0, to, since, until }) => {
      const page = (
        from: number
      ): Effect.Effect<ReadonlyArray<AuditLog.StoredLine>, AuditLog.AuditStoreError> => {
        const conditions: Array<Fragment> = [sql`sequence >= ${from}`]
        if (to !== undefined) conditions.push(sql`sequence <= ${to}`)
        if (since !== undefined) conditions.push(sql`time >= ${since}`)
        if (until !== undefined) conditions.push(sql`time <= ${until}`)
        const rows = sql<Row>`SELECT * FROM interlock_audit_lines WHERE ${sql.and(conditions)}
        ORDER BY sequence LIMIT ${pageSize}`
        return Effect.map(answered(rows), (found) => found.map(lineOf))
      }
      // Page by page, because a reader that takes its time must not keep the connection from those who write.
      return Stream.paginate(from, (from) =>
        Effect.map(page(from), (lines) => {
          const next = lines.length < pageSize ? undefined : lines.at(-1)
          return [lines, next === undefined ? Option.none() : Option.some(next.sequence + 1)] as const
        })
      )
    },
    replace: ({ from, to, lines }, line) =>
      answered(
        sql
          .withTransaction(
            Effect.gen(function* () {
              const gone = yield* sql`DELETE FROM interlock_audit_lines
            WHERE sequence >= ${from} AND sequence <= ${to} RETURNING sequence`
              if (gone.length !== lines) return yield* Effect.fail(moved)
              yield* sql`INSERT INTO interlock_audit_lines ${sql.insert(rowOf(line))}`
              return "replaced" as const
            })
          )
          .pipe(Effect.catchTag("moved", ({ _tag }) => Effect.succeed(_tag)))
      ),
    get: (name) =>
      answered(
        Effect.map(
          sql<{ readonly value: string }>`SELECT value FROM interlock_audit_values WHERE name = ${name}`,
          ([row]) => row?.value
        )
      ),
    put: (name, value) =>
      answered(
        sql`INSERT INTO interlock_audit_values (name, value) VALUES (${name}, ${value})
        ON CONFLICT (name) DO UPDATE SET value = excluded.value`
      ),
    remove: (names) =>
      answered(
        Effect.gen(function* () {
          yield* sql.withTransaction(
            Effect.forEach(
              chunksOf(names),
              (some) => sql`DELETE FROM interlock_audit_values WHERE name IN ${sql.in(some)}`
            )
          )
          yield* truncateLog
        })
      ),
    names: (prefix) =>
      answered(
        Effect.map(
          sql<{
            readonly name: string
          }>`SELECT name FROM interlock_audit_values WHERE ${startsWith(sql, prefix)}`,
          (rows) => rows.map(({ name }) => name)
        )
      )
  }
}

const moved = { _tag: "moved" } as const

const pageSize = 500

interface Row {
  readonly sequence: Numeric
  readonly time: Numeric
  readonly line: string
}

const lineOf = ({ sequence, time, line }: Row): AuditLog.StoredLine => ({
  sequence: Number(sequence),
  time: Number(time),
  line
})

const rowOf = ({ sequence, time, line }: AuditLog.StoredLine) => ({ sequence, time, line })

const answered = <A>(effect: Effect.Effect<A, SqlError>): Effect.Effect<A, AuditLog.AuditStoreError> =>
  Effect.mapError(effect, (cause) => AuditLog.storeError("the audit log's database does not answer", cause))

const chunksOf = (names: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<string>> =>
  Array.from({ length: Math.ceil(names.length / pageSize) }, (_, i) =>
    names.slice(i * pageSize, (i + 1) * pageSize)
  )

/** SQLite finds a range of names by its index; elsewhere their order is that of a language. No name holds a wildcard. */
const startsWith = (sql: SqlClient, prefix: string): Fragment =>
  sql.onDialectOrElse({
    sqlite: () => sql`name >= ${prefix} AND name < ${`${prefix}~`}`,
    orElse: () => sql`name LIKE ${`${prefix}%`}`
  })

// --- Tables ----------------------------------------------------------------

const createTables = Effect.gen(function* () {
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE interlock_audit_lines (
    sequence BIGINT NOT NULL PRIMARY KEY,
    time BIGINT NOT NULL,
    line TEXT NOT NULL
  )`
  yield* sql`CREATE INDEX interlock_audit_lines_time ON interlock_audit_lines (time)`
  yield* sql`CREATE TABLE interlock_audit_head (id INTEGER NOT NULL PRIMARY KEY, head TEXT NOT NULL)`
  yield* sql`CREATE TABLE interlock_audit_values (name VARCHAR(150) NOT NULL PRIMARY KEY, value TEXT NOT NULL)`
})
