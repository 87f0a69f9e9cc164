/** What every SQL adapter shares: its tables, its numbers, and what it says when the database does not answer. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Migrator from "effect/sql/Migrator"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Unavailable } from "../ToolError.ts"

/** A number as it comes from a database: of a `BIGINT` some make a `bigint`, others a text. */
export type Numeric = number | bigint | string

/** The last time that a `Date` knows, for what has no end. */
export const endOfTime = 8.64e15

/**
 * Creates and alters an adapter's tables: `migrations` are named `1_create_x`, `2_add_y`, each an effect that runs its
 * statements one by one. What ran is remembered in `table`, `interlock_<port>_migrations`, so that adapters know
 * nothing of each other and several processes may start at once.
 */
export const migrate = (
  table: string,
  migrations: Readonly<Record<string, Effect.Effect<unknown, SqlError, SqlClient.SqlClient>>>
): Effect.Effect<void, SqlError | Migrator.MigrationError, SqlClient.SqlClient> =>
  Migrator.make({})({ loader: Migrator.fromRecord(migrations), table }).pipe(Effect.asVoid)

/** A failing database as the plain reason that the pipeline knows; the cause goes to the error reporters. */
export const unavailable =
  (concern: Unavailable["concern"]) =>
  <A, R>(effect: Effect.Effect<A, SqlError, R>): Effect.Effect<A, Unavailable, R> =>
    Effect.catch(effect, (error) =>
      Effect.andThen(
        ErrorReporter.report(Cause.fail(error)),
        Effect.fail<Unavailable>({ _tag: "Unavailable", concern })
      )
    )
