/**
 * `CircuitBreaker` in SQL: processes that share the database share their
 * circuits, and circuits outlive them.
 *
 * - A call under a closed circuit asks the database nothing. Each process knows
 *   all circuits, and looks every `poll` for what others have changed.
 * - What opens, half opens, closes or forces a circuit is written at once; so is
 *   every probe that is handed out or reported, so that all processes together
 *   have no more than `probes` of them.
 * - What a closed circuit only counts is written with the next poll, and when the
 *   layer closes: it is added to what others have counted since. A process that is
 *   killed takes up to `poll` of its counts with it. Failures are "in a row" where
 *   no success is known to lie between them; of one by another process that is
 *   known up to `poll` later.
 * - Where the database does not answer, nothing is refused for that, and nothing
 *   let through: each process goes on by itself with the circuits that it knows,
 *   counts, opens and probes. That is reported once. When the database answers
 *   again, what others wrote meanwhile counts, and what was counted here is added.
 * - `forceOpen`, `forceClosed` and `reset` die with the database's error where it
 *   does not answer, and have changed nothing: nobody else would hear of them.
 * - A probe whose process died gives its place back after `probeFor`.
 * - Times are compared with the clock of each process. Circuits that were left
 *   alone for 30 days are forgotten, but for forced ones.
 * - Give it a client that no transaction of yours is open on: a write joins the
 *   transaction of the fiber that makes it, and would be rolled back with it.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { MigrationError } from "effect/sql/Migrator"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Circuit from "../Circuit.ts"
import * as CircuitBreaker from "../CircuitBreaker.ts"
import { toText } from "../internal/circuits/kept.ts"
import type { CircuitStore, Row } from "../internal/circuits/shared.ts"
import * as Shared from "../internal/circuits/shared.ts"
import * as Glob from "../internal/glob.ts"
import { millis, whole } from "../internal/options.ts"
import { migrate, type Numeric } from "../internal/sqlStore.ts"

export interface Options extends CircuitBreaker.Options {
  /** How often a process asks what others have changed, and writes what it has counted; 1 second, at least 10 ms. */
  readonly poll?: Duration.Input
  /** How long a probe that nobody reports keeps its place; 2 minutes. Give more where an attempt may take longer. */
  readonly probeFor?: Duration.Input
  /** How long a call waits for one write before its process goes on by itself; 1 second. */
  readonly writeTimeout?: Duration.Input
}

/** Throws a `RangeError` for an option that makes no sense. Creates its tables where there are none. */
export const make = (
  options: Options = {},
  overrides: CircuitBreaker.Overrides = {}
): Effect.Effect<
  CircuitBreaker.CircuitBreaker["Service"],
  SqlError | MigrationError,
  SqlClient | Scope.Scope
> => {
  const maxKeys = whole("SqlCircuitBreaker: maxKeys", options.maxKeys ?? 10_000)
  const poll = Duration.millis(millis("SqlCircuitBreaker: poll", options.poll ?? "1 second", 10))
  const probeFor = millis("SqlCircuitBreaker: probeFor", options.probeFor ?? "2 minutes")
  const writeTimeout = Duration.millis(
    millis("SqlCircuitBreaker: writeTimeout", options.writeTimeout ?? "1 second")
  )
  const common = Circuit.rules(options)
  const special = Object.entries(overrides).map(
    ([glob, override]) => [glob, Circuit.rules({ ...options, ...override })] as const
  )
  const rulesOf = (key: string) => special.find(([glob]) => Glob.matches(glob, key))?.[1] ?? common
  return Effect.gen(function* () {
    yield* migrate("interlock_circuits_migrations", { "1_create": createTables })
    const store = storeOf(yield* SqlClient)
    return yield* Shared.make({ store, rulesOf, maxKeys, poll, writeTimeout, probeFor })
  })
}

/** Circuits in the database of the `SqlClient`. */
export const layer = (
  options?: Options,
  overrides?: CircuitBreaker.Overrides
): Layer.Layer<CircuitBreaker.CircuitBreaker, SqlError | MigrationError, SqlClient> =>
  Layer.effect(CircuitBreaker.CircuitBreaker, make(options, overrides))

const storeOf = (sql: SqlClient): CircuitStore<SqlError> => ({
  revision: Effect.map(
    sql<{ readonly revision: Numeric }>`SELECT revision FROM interlock_circuit_revision`,
    ([row]) => Number(row?.revision)
  ),
  since: (revision: number) =>
    Effect.map(
      sql<SqlRow>`SELECT id, state, revision FROM interlock_circuits WHERE revision > ${revision}`,
      (rows) => rows.map(rowOf)
    ),
  change: (key, now, decide) =>
    sql.withTransaction(
      Effect.gen(function* () {
        const id = idOf(key)
        // First in every transaction: revisions then appear in their order, and none late.
        const [latest] = yield* sql<{
          readonly revision: Numeric
        }>`UPDATE interlock_circuit_revision SET revision = revision + 1 RETURNING revision`
        const revision = Number(latest?.revision)
        const [row] = yield* sql<SqlRow>`SELECT id, state, revision FROM interlock_circuits WHERE id = ${id}`
        const { answer, next } = decide(row === undefined ? undefined : rowOf(row))
        if (next !== undefined) {
          yield* sql`INSERT INTO interlock_circuits ${sql.insert({ id, tag: next.state._tag, state: toText(next), changed_at: now, revision })}
            ON CONFLICT (id) DO UPDATE SET tag = excluded.tag, state = excluded.state,
              changed_at = excluded.changed_at, revision = excluded.revision`
          if (row === undefined) {
            yield* sql`DELETE FROM interlock_circuits
              WHERE changed_at < ${now - keptFor} AND tag NOT IN ('ForcedOpen', 'ForcedClosed')`
          }
        }
        return { answer, next, revision }
      })
    )
})

interface SqlRow {
  readonly id: string
  readonly state: string
  readonly revision: Numeric
}

// As JSON, which has a word for every text: some databases have none for NUL.
const idOf = (key: string): string => JSON.stringify(key)

const rowOf = ({ id, revision, state }: SqlRow): Row => ({
  key: JSON.parse(id),
  state,
  revision: Number(revision)
})

const keptFor = Duration.toMillis("30 days")

const createTables = Effect.gen(function* () {
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE interlock_circuit_revision (revision BIGINT NOT NULL)`
  yield* sql`INSERT INTO interlock_circuit_revision (revision) VALUES (1)`
  yield* sql`CREATE TABLE interlock_circuits (
    id TEXT NOT NULL PRIMARY KEY,
    tag TEXT NOT NULL,
    state TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    revision BIGINT NOT NULL
  )`
  yield* sql`CREATE INDEX interlock_circuits_revision ON interlock_circuits (revision)`
})
