/** The batches that a journal knows: their tables, a list of them, and how they are forgotten. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { MigrationError } from "effect/sql/Migrator"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { migrate, type Numeric } from "../../internal/sqlStore.ts"

/** A batch, for lists. Times in milliseconds since the epoch. */
export interface Batch {
  readonly id: string
  readonly createdAt: number
  readonly touchedAt: number
  /** Its input came to its end, and every line has an outcome. */
  readonly finished: boolean
  /** Some process works on it. */
  readonly running: boolean
}

export class JournalError extends Schema.TaggedError<JournalError>("interlock/cli/batch/JournalError")(
  "JournalError",
  {
    reason: Schema.Literals(["invalid_id", "exists", "not_found", "running", "taken_over", "key_unknown"]),
    batch: Schema.String
  }
) {
  override get message(): string {
    return messages[this.reason](this.batch)
  }
}

const messages: { readonly [R in JournalError["reason"]]: (batch: string) => string } = {
  invalid_id: () => "The name of a batch has 1 to 100 letters, digits, dots, hyphens and underscores",
  exists: (batch) => `There is a batch "${batch}" already: resume it, or choose another name`,
  not_found: (batch) => `There is no batch "${batch}"`,
  running: (batch) => `Another process works on the batch "${batch}"`,
  taken_over: (batch) => `Another process has taken over the batch "${batch}", since this one stood still`,
  key_unknown: (batch) => `The key that the batch "${batch}" was begun with is not in the keyring`
}

/** As it is stored. */
export interface BatchRow {
  readonly number: Numeric
  readonly id: string
  readonly key_id: string
  readonly created_at: Numeric
  readonly touched_at: Numeric
  readonly finished: Numeric
  readonly owner: string | null
  readonly owned_until: Numeric
}

/** Every batch, the one worked on last first. */
export const list: Effect.Effect<ReadonlyArray<Batch>, SqlError | MigrationError, SqlClient> = Effect.gen(
  function* () {
    const sql = yield* prepared
    const now = yield* Clock.currentTimeMillis
    const rows = yield* sql<BatchRow>`SELECT * FROM interlock_batches
      WHERE id NOT LIKE ${`${gone}%`} ORDER BY touched_at DESC, number DESC`
    return rows.map((row) => ({
      id: row.id,
      createdAt: Number(row.created_at),
      touchedAt: Number(row.touched_at),
      finished: Number(row.finished) === 1,
      running: row.owner !== null && Number(row.owned_until) > now
    }))
  }
)

/** Forgets a batch, with all its results; whether there was one. */
export const remove = (
  id: string
): Effect.Effect<boolean, SqlError | MigrationError | JournalError, SqlClient> =>
  Effect.gen(function* () {
    const sql = yield* prepared
    const now = yield* Clock.currentTimeMillis
    const [row] = yield* sql<BatchRow>`SELECT * FROM interlock_batches WHERE id = ${id}`
    if (row === undefined) return false
    if (row.owner !== null && Number(row.owned_until) > now) {
      return yield* new JournalError({ reason: "running", batch: id })
    }
    yield* forget(Number(row.number))
    return true
  })

/** The client, once the tables are there. */
export const prepared = Effect.tap(SqlClient, () =>
  migrate("interlock_batches_migrations", { "1_create": createTables })
)

/** What nobody worked on for 30 days, and what a process that died has not forgotten to the end. */
export const forgetOld: Effect.Effect<void, SqlError, SqlClient> = Effect.gen(function* () {
  const sql = yield* SqlClient
  const now = yield* Clock.currentTimeMillis
  const old = yield* sql<BatchRow>`SELECT * FROM interlock_batches WHERE id LIKE ${`${gone}%`}
    OR (touched_at < ${now - keptFor} AND (owner IS NULL OR owned_until < ${now}))`
  for (const { number } of old) yield* forget(Number(number))
})

/**
 * Piece by piece: a million lines at once would keep everybody else from the file. Its name goes first, so that nobody
 * resumes what is left of it.
 */
const forget = Effect.fnUntraced(function* (number: number) {
  const sql = yield* SqlClient
  yield* sql`UPDATE interlock_batches SET id = ${gone + number} WHERE number = ${number}`
  for (const [table, column] of [
    ["interlock_batch_lines", "line"],
    ["interlock_batch_results", "page"]
  ] as const) {
    const piece = sql`DELETE FROM ${sql(table)} WHERE batch = ${number} AND ${sql(column)} IN
      (SELECT ${sql(column)} FROM ${sql(table)} WHERE batch = ${number} LIMIT 10000) RETURNING 1 AS gone`
    while ((yield* piece).length > 0) yield* Effect.yieldNow
  }
  yield* sql`DELETE FROM interlock_batches WHERE number = ${number}`
})

/** No batch can be named so. */
const gone = "forgotten "

const keptFor = Duration.toMillis("30 days")

const createTables = Effect.gen(function* () {
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE interlock_batches (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    key_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    touched_at BIGINT NOT NULL,
    finished INTEGER NOT NULL,
    owner TEXT,
    owned_until BIGINT NOT NULL
  )`
  yield* sql`CREATE TABLE interlock_batch_lines (
    batch INTEGER NOT NULL,
    line INTEGER NOT NULL,
    digest TEXT NOT NULL,
    status TEXT,
    page INTEGER,
    position INTEGER,
    PRIMARY KEY (batch, line)
  ) WITHOUT ROWID`
  yield* sql`CREATE TABLE interlock_batch_results (
    batch INTEGER NOT NULL,
    page INTEGER NOT NULL,
    sealed TEXT NOT NULL,
    PRIMARY KEY (batch, page)
  )`
})
