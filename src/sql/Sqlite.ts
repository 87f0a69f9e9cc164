/**
 * An `SqlClient` over `node:sqlite`: one file, one connection, no native
 * dependency.
 *
 * Statements of one client run one after another, a transaction as a whole.
 * Several clients, in one process or in several, may share a file: a
 * transaction takes the write lock when it begins (`BEGIN IMMEDIATE`), so that
 * two that read and then write wait for each other instead of failing half way.
 *
 * `node:sqlite` is synchronous: a statement holds the event loop while it runs.
 * Waiting for another client's lock does not; the statement is tried again, with
 * pauses of up to 25 ms in which other fibers run. The pauses are real time,
 * whatever `Clock` says, since the other process keeps to that. A transaction that
 * waits for the lock is interrupted when its wait has ended.
 *
 * - A statement is one statement: what follows a `;` is not run.
 * - Values are `null`, numbers, bigints, strings and bytes. Booleans are stored as
 *   0 and 1, dates as ISO 8601, `undefined` as `NULL`. Integers beyond 2^53 are
 *   read only under `SqlClient.SafeIntegers`, as bigints.
 * - Node 22 prints an `ExperimentalWarning` when `node:sqlite` is loaded; Node 26 does not.
 */

import * as Fs from "node:fs"
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection, Row } from "effect/sql/SqlConnection"
import { classifySqliteError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { millis } from "../internal/options.ts"

export interface Options {
  /** A path, or `:memory:`; its folder must exist. A file that is created is readable by its owner only (0600). */
  readonly filename: string
  /** How long a statement waits for other clients of the file; default 5 seconds, finite. With 0 it fails at once. */
  readonly busyTimeout?: Duration.Input
  /** Write-ahead log, by default: readers do not wait for writers. Not on network file systems. */
  readonly wal?: boolean
  /**
   * `FULL` (default): what is committed survives a loss of power, at the cost of one `fsync` per commit. `NORMAL`:
   * it survives a crash of the process, and a loss of power may undo the last commits; the file stays sound.
   */
  readonly synchronous?: "FULL" | "NORMAL"
  /** Further pragmas, such as `cache_size = -8000`, in order, after the ones above. */
  readonly pragmas?: ReadonlyArray<string>
}

/** What is wrong with the file rather than with a statement. */
export type Fault = "busy" | "full" | "corrupt" | "readonly" | "io"

/**
 * What an error says of the file: `busy` after waiting for other clients, `full` where disk or quota is used up,
 * `corrupt` where it is damaged or no database, `readonly`, `io`. `undefined` for errors of a statement.
 */
export const fault = (error: SqlError): Fault | undefined => {
  const code = errorCode(error.reason.cause)
  return code === undefined ? undefined : faults.get(code & 0xff)
}

/** Opens the file, and closes it with the scope. A nonsense option throws a `RangeError`. */
export const make = (
  options: Options
): Effect.Effect<SqlClient.SqlClient, SqlError, Scope.Scope | Reactivity.Reactivity> => {
  const waiting = waitOptions(options)
  return Effect.gen(function* () {
    const db = yield* Effect.acquireRelease(
      attempt("connect", () => open(options.filename)),
      (db) => Effect.sync(() => db.close())
    )
    const pragmas = [
      ...(options.wal === false ? [] : ["journal_mode = WAL"]),
      `synchronous = ${options.synchronous ?? "FULL"}`,
      ...(options.pragmas ?? [])
    ]
    for (const pragma of pragmas) yield* waiting(attempt("connect", () => db.exec(`PRAGMA ${pragma}`)))
    return yield* SqlClient.make({
      ...SqlClient.makeSqliteAcquirers({
        connection: Effect.succeed(connect(db, waiting)),
        semaphore: yield* Semaphore.make(1),
        isTransaction: (connection: SqliteConnection) => connection.db.isTransaction
      }),
      compiler: Statement.makeCompilerSqlite(),
      driver: "node:sqlite",
      beginTransaction: "BEGIN IMMEDIATE",
      prepareTransactionControls: true,
      releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
      spanAttributes: [["db.system.name", "sqlite"]]
    })
  })
}

/** An `SqlClient` on a file that is opened with the layer and closed with it. */
export const layer = (options: Options): Layer.Layer<SqlClient.SqlClient, SqlError> =>
  Layer.effect(SqlClient.SqlClient, make(options)).pipe(Layer.provide(Reactivity.layer))

type Waiting = <A>(effect: Effect.Effect<A, SqlError>) => Effect.Effect<A, SqlError>

interface SqliteConnection extends Connection {
  readonly db: DatabaseSync
}

const open = (filename: string): DatabaseSync => {
  if (filename !== ":memory:") createPrivate(filename)
  return new DatabaseSync(filename)
}

/**
 * `-wal` and `-shm` take the mode of the file. A file that exists is not opened here: closing any descriptor of it
 * would drop the locks that other clients in this process hold on it.
 */
const createPrivate = (filename: string): void => {
  try {
    Fs.closeSync(Fs.openSync(filename, "wx", 0o600))
  } catch {
    // It exists, or SQLite says better why it cannot be opened.
  }
}

const connect = (db: DatabaseSync, waiting: Waiting): SqliteConnection => {
  const prepared = new Map<string, StatementSync>()

  const fresh: Prepare = (sql, arrays) => {
    const statement = db.prepare(sql)
    if (arrays) statement.setReturnArrays(true)
    return statement
  }

  // The least recently used of the statements leaves first.
  const cached: Prepare = (sql, arrays) => {
    const key = (arrays ? "A" : "O") + sql
    let statement = prepared.get(key)
    if (statement !== undefined) prepared.delete(key)
    else {
      statement = fresh(sql, arrays)
      if (prepared.size >= statementCacheSize)
        for (const oldest of prepared.keys()) {
          prepared.delete(oldest)
          break
        }
    }
    prepared.set(key, statement)
    return statement
  }

  const run =
    <A>(prepare: Prepare, shape: "rows" | "arrays" | "raw") =>
    (sql: string, params: ReadonlyArray<unknown>): Effect.Effect<ReadonlyArray<A>, SqlError> =>
      Effect.withFiber((fiber) =>
        waiting(
          attempt("execute", () => {
            const statement = prepare(sql, shape === "arrays")
            const values = params.map(bind)
            if (shape === "raw" && statement.columns().length === 0) {
              // `run` also reports the last row id, which throws above 2^53 unless it is read as a bigint.
              statement.setReadBigInts(true)
              return statement.run(...values) as unknown as ReadonlyArray<A>
            }
            statement.setReadBigInts(Context.get(fiber.context, SqlClient.SafeIntegers))
            return statement.all(...values) as unknown as ReadonlyArray<A>
          })
        )
      )

  const rows = run<Row>(cached, "rows")
  const rowsUnprepared = run<Row>(fresh, "rows")
  return {
    db,
    execute: (sql, params, transform) =>
      transform === undefined ? rows(sql, params) : Effect.map(rows(sql, params), transform),
    executeRaw: run(cached, "raw"),
    executeValues: run<ReadonlyArray<unknown>>(cached, "arrays"),
    executeValuesUnprepared: run<ReadonlyArray<unknown>>(fresh, "arrays"),
    executeUnprepared: (sql, params, transform) =>
      transform === undefined
        ? rowsUnprepared(sql, params)
        : Effect.map(rowsUnprepared(sql, params), transform),
    // A statement of its own: a cached one would be reset under the iterator.
    executeStream: (sql, params, transform) =>
      Stream.unwrap(
        Effect.withFiber((fiber) =>
          Effect.map(
            Effect.acquireRelease(
              waiting(
                attempt("stream", () => {
                  const statement = fresh(sql, false)
                  statement.setReadBigInts(Context.get(fiber.context, SqlClient.SafeIntegers))
                  const iterator = statement.iterate(...params.map(bind))
                  return { iterator, next: iterator.next() }
                })
              ),
              ({ iterator }) => Effect.sync(() => iterator.return?.())
            ),
            ({ iterator, next }) =>
              Stream.paginate(next, (next) =>
                attempt("stream", () => {
                  const chunk: Array<Row> = []
                  while (!next.done && chunk.length < streamChunkSize) {
                    chunk.push(next.value)
                    next = iterator.next()
                  }
                  const page = transform === undefined ? chunk : transform(chunk)
                  return [page, next.done ? Option.none<typeof next>() : Option.some(next)] as const
                })
              )
          )
        )
      )
  }
}

const statementCacheSize = 200
const streamChunkSize = 256

type Prepare = (sql: string, arrays: boolean) => StatementSync

const bind = (value: unknown): SQLInputValue => {
  if (value === undefined) return null
  if (typeof value === "boolean") return value ? 1 : 0
  if (value instanceof Date) return value.toISOString()
  if (value instanceof ArrayBuffer) return new Uint8Array(value)
  return value as SQLInputValue
}

const attempt = <A>(operation: string, body: () => A): Effect.Effect<A, SqlError> =>
  Effect.try({
    try: body,
    catch: (cause) => {
      // Node names the extended result code `errcode`; Effect's classifier reads `errno`, and knows of the codes for
      // keys only the one of UNIQUE.
      const code = errorCode(cause)
      if (code !== undefined)
        Object.assign(cause as Error, { errno: primaryKeyCodes.has(code) ? uniqueCode : code })
      const message = `SQLite: ${cause instanceof Error ? cause.message : "unknown error"}`
      return new SqlError({ reason: classifySqliteError(cause, { message, operation }) })
    }
  })

const uniqueCode = 2067
const primaryKeyCodes: ReadonlySet<number> = new Set([1555, 2579])

const errorCode = (cause: unknown): number | undefined =>
  cause instanceof Error && "errcode" in cause && typeof cause.errcode === "number"
    ? cause.errcode
    : undefined

const faults: ReadonlyMap<number, Fault> = new Map([
  [5, "busy"],
  [6, "busy"],
  [8, "readonly"],
  [10, "io"],
  [11, "corrupt"],
  [13, "full"],
  [26, "corrupt"]
])

const busySnapshot = 517

/** A snapshot that was overtaken stays overtaken: only its transaction can be tried again. */
const isWaitable = (error: SqlError): boolean =>
  fault(error) === "busy" && errorCode(error.reason.cause) !== busySnapshot

const waitOptions = (options: Options): Waiting => {
  if (options.filename === "" || options.filename.startsWith("file:")) {
    throw new RangeError("Sqlite: filename must be a path or :memory:")
  }
  const timeout = millis("Sqlite: busyTimeout", options.busyTimeout ?? "5 seconds", 0)
  if (timeout === 0) return identity
  const schedule = Schedule.min([Schedule.exponential("1 millis", 1.5), Schedule.spaced("25 millis")]).pipe(
    Schedule.jittered,
    Schedule.upTo({ duration: timeout })
  )
  // The other process does not wait for a test's clock to be adjusted.
  const realTime = Clock.Clock.defaultValue()
  return <A>(effect: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
    Effect.catch(effect, (error) =>
      isWaitable(error)
        ? Effect.provideService(Effect.retry(effect, { schedule, while: isWaitable }), Clock.Clock, realTime)
        : Effect.fail(error)
    )
}
