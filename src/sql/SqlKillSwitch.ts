/**
 * `KillSwitch` in SQL: stops survive a restart, and every process that shares the
 * database obeys them within `poll`.
 *
 * - A stop is in force in the process that made it before it is written. Where the
 *   database does not answer, `stop` fails with `Unavailable`, the stop stays in force
 *   in this process, and it is written as soon as the database answers.
 * - A process that cannot read the database goes on obeying the stops that it knows,
 *   and learns of no others. That is reported once, until it can read again.
 * - `until` is compared with the clock of each process.
 * - Who stopped and lifted what is kept for 30 days after its end. A process that was
 *   cut off for longer may miss that a stop was lifted, and obeys it until it starts anew.
 * - Give it a client that no transaction of yours is open on: a stop joins the
 *   transaction of the fiber that makes it, and would be rolled back with it elsewhere.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { MigrationError } from "effect/sql/Migrator"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { millis } from "../internal/options.ts"
import { migrate, type Numeric } from "../internal/sqlStore.ts"
import { KillSwitch, makeShared, type Stop, type StopStore, type Target } from "../KillSwitch.ts"

export interface Options {
  /** How often a process asks what others have stopped and lifted; default 1 second, at least 10 milliseconds. */
  readonly poll?: Duration.Input
}

/** Throws a `RangeError` for an option that makes no sense. Creates its tables where there are none. */
export const make = (
  options: Options = {}
): Effect.Effect<KillSwitch["Service"], SqlError | MigrationError, SqlClient | Scope.Scope> => {
  const poll = Duration.millis(millis("SqlKillSwitch: poll", options.poll ?? "1 second", 10))
  return Effect.gen(function* () {
    yield* migrate("interlock_kill_switch_migrations", { "1_create": createTables })
    return yield* makeShared({ store: storeOf(yield* SqlClient), poll })
  })
}

/** Stops in the database of the `SqlClient`. */
export const layer = (options?: Options): Layer.Layer<KillSwitch, SqlError | MigrationError, SqlClient> =>
  Layer.effect(KillSwitch, make(options))

const storeOf = (sql: SqlClient): StopStore<SqlError> => {
  // Taken first in every transaction that writes: their revisions then appear in order, and none late.
  const nextRevision = Effect.map(
    sql<{
      readonly revision: Numeric
    }>`UPDATE interlock_kill_switch SET revision = revision + 1 RETURNING revision`,
    ([row]) => Number(row?.revision)
  )
  return {
    insert: (stop) =>
      sql.withTransaction(
        Effect.gen(function* () {
          const revision = yield* nextRevision
          const known = yield* sql`SELECT id FROM interlock_stops WHERE id = ${stop.id}`
          if (known.length > 0) return
          yield* sql`INSERT INTO interlock_stops ${sql.insert({ ...rowOf(stop), revision })}`
          const longAgo = stop.at - Duration.toMillis("30 days")
          yield* sql`DELETE FROM interlock_stops WHERE ends_at < ${longAgo} OR lifted_at < ${longAgo}`
        })
      ),
    lift: (id, { at, by, why }) =>
      sql.withTransaction(
        Effect.gen(function* () {
          const revision = yield* nextRevision
          const lifted = yield* sql`UPDATE interlock_stops
            SET lifted_at = ${at}, lifted_by = ${by}, lifted_why = ${why}, revision = ${revision}
            WHERE id = ${id} AND lifted_at IS NULL AND (ends_at IS NULL OR ends_at > ${at}) RETURNING id`
          return lifted.length > 0
        })
      ),
    pull: (known) =>
      Effect.gen(function* () {
        const [latest] = yield* sql<{
          readonly revision: Numeric
        }>`SELECT revision FROM interlock_kill_switch`
        const revision = Number(latest?.revision)
        if (revision === known) return { revision, entries: [] }
        // A database that was put back to an earlier state is read anew.
        const since = revision < known ? 0 : known
        const rows = yield* sql<Row>`SELECT * FROM interlock_stops 
          WHERE revision > ${since} AND (lifted_at IS NULL OR ${known} > 0) ORDER BY revision`
        const entries = rows.map((row) => ({
          stop: stopOf(row),
          lifted: row.lifted_at === null ? undefined : { by: row.lifted_by ?? "", why: row.lifted_why ?? "" }
        }))
        return {
          revision: rows.reduce((last, row) => Math.max(last, Number(row.revision)), revision),
          entries
        }
      })
  }
}

interface Row {
  readonly id: string
  readonly scope: Target["scope"]
  readonly name: string | null
  readonly tenant: string | null
  readonly stopped_by: string
  readonly why: string
  readonly stopped_at: Numeric
  readonly ends_at: Numeric | null
  readonly in_flight: Stop["inFlight"]
  readonly lifted_at: Numeric | null
  readonly lifted_by: string | null
  readonly lifted_why: string | null
  readonly revision: Numeric
}

const rowOf = (stop: Stop): Omit<Row, "revision"> => ({
  id: stop.id,
  scope: stop.target.scope,
  name: nameOf(stop.target),
  tenant: (stop.target.scope === "principal" ? stop.target.tenant : undefined) ?? null,
  stopped_by: stop.by,
  why: stop.why,
  stopped_at: stop.at,
  ends_at: stop.until ?? null,
  in_flight: stop.inFlight,
  lifted_at: null,
  lifted_by: null,
  lifted_why: null
})

const nameOf = (target: Target): string | null => {
  switch (target.scope) {
    case "all":
      return null
    case "tool":
      return target.tool
    case "tag":
      return target.tag
    case "tenant":
      return target.tenant
    case "principal":
      return target.principal
  }
}

const stopOf = (row: Row): Stop => ({
  id: row.id,
  target: targetOf(row.scope, row.name ?? "", row.tenant),
  by: row.stopped_by,
  why: row.why,
  at: Number(row.stopped_at),
  until: row.ends_at === null ? undefined : Number(row.ends_at),
  inFlight: row.in_flight
})

const targetOf = (scope: Target["scope"], name: string, tenant: string | null): Target => {
  switch (scope) {
    case "all":
      return { scope }
    case "tool":
      return { scope, tool: name }
    case "tag":
      return { scope, tag: name }
    case "tenant":
      return { scope, tenant: name }
    case "principal":
      return tenant === null ? { scope, principal: name } : { scope, principal: name, tenant }
  }
}

const createTables = Effect.gen(function* () {
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE interlock_kill_switch (revision BIGINT NOT NULL)`
  yield* sql`INSERT INTO interlock_kill_switch (revision) VALUES (1)`
  yield* sql`CREATE TABLE interlock_stops (
    id TEXT NOT NULL PRIMARY KEY,
    scope TEXT NOT NULL,
    name TEXT,
    tenant TEXT,
    stopped_by TEXT NOT NULL,
    why TEXT NOT NULL,
    stopped_at BIGINT NOT NULL,
    ends_at BIGINT,
    in_flight TEXT NOT NULL,
    lifted_at BIGINT,
    lifted_by TEXT,
    lifted_why TEXT,
    revision BIGINT NOT NULL
  )`
  yield* sql`CREATE INDEX interlock_stops_revision ON interlock_stops (revision)`
})
