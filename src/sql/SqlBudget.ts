/**
 * `Budget` in SQL: limits that hold across all processes that share the
 * database, and outlive them.
 *
 * An attempt reserves on all its limits in one transaction, whose rows are
 * written in one order, so that processes wait for each other and do not
 * deadlock. What is read first is also written where it matters: a reservation
 * is one conditional `UPDATE` per limit.
 *
 * - Sums are found by a limit's name, so name the limits whose `max` or window may
 *   change; a window that is open stays as it is until it ends.
 * - All processes need clocks that agree. An alert is told in the process whose
 *   attempt crossed the line, once among all of them.
 * - A reservation that was settled or refunded is deleted, and one that expired is known
 *   for 30 days more: settled later than that, it does not count. Runs without a deadline
 *   are forgotten 90 days after their last attempt. There is no bound but time; what is
 *   over is deleted by those who reserve, once an hour.
 * - `peek` writes nothing. An attempt that is interrupted while it reserves has
 *   reserved nothing.
 * - Give it a client that no transaction of yours is open on: a statement joins the
 *   transaction of the fiber that runs it, and would be rolled back with it.
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { MigrationError } from "effect/sql/Migrator"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { type Alert, Budget, type Limit, type Spending, type Unavailable } from "../Budget.ts"
import { checkAmounts } from "../internal/amounts.ts"
import { creditOf, spenderOf } from "../internal/budget/credit.ts"
import { type Claim, Limits } from "../internal/budget/limits.ts"
import { SqlBooks } from "../internal/budget/sqlBooks.ts"
import { SqlLedger } from "../internal/budget/sqlLedger.ts"
import { period } from "../internal/options.ts"
import { randomId } from "../internal/sealing.ts"
import * as Sliding from "../internal/sliding.ts"
import { migrate, unavailable } from "../internal/sqlStore.ts"

export interface Options {
  /** How long the sums of `spent` and the credits are kept; 400 days. */
  readonly keepFor?: Duration.Input
}

/** Throws a `RangeError` for a limit or an option that makes no sense. Creates its tables where there are none. */
export const make = (
  limits: ReadonlyArray<Limit> = [],
  options: Options = {}
): Effect.Effect<Budget["Service"], SqlError | MigrationError, SqlClient | Scope.Scope> => {
  const compiled = new Limits(limits)
  const keepFor = period("SqlBudget: keepFor", options.keepFor ?? "400 days")
  return Effect.gen(function* () {
    const sql = yield* SqlClient
    yield* migrate("interlock_budget_migrations", { "1_create_budget": createTables })
    const alerts = yield* Sliding.make<Alert>(1024)
    const books = new SqlBooks(sql, compiled, (alert) => Sliding.publish(alerts, alert))
    const ledger = new SqlLedger(sql)

    let purgeAt = Number.NEGATIVE_INFINITY
    /** Forgets what is over; what it cannot forget now it forgets later, and the cause is reported. */
    const purge = (now: number): Effect.Effect<void> => {
      if (now < purgeAt) return Effect.void
      purgeAt = now + 3_600_000
      return Effect.ignore(
        answering(Effect.andThen(books.purge(now), ledger.purge(Math.max(0, now - keepFor))))
      )
    }

    /** The claims of a spending, whose nonsense is a defect before anything is written. */
    const withClaims = <A>(
      spending: Spending,
      use: (claims: ReadonlyArray<Claim>) => Effect.Effect<A, SqlError>
    ): Effect.Effect<A, Unavailable> =>
      attempt(() => {
        if (Number.isNaN(spending.expiresAt)) throw new RangeError("Budget: expiresAt must be a number")
        return use(compiled.claims(spending, spending.amounts))
      })

    return {
      applies: (tool) => compiled.of(tool).length > 0,
      peek: (spending, now) => withClaims(spending, (claims) => books.peek(claims, now)),
      reserve: (spending, now) =>
        withClaims(spending, (claims) => {
          const id = randomId()
          return Effect.onInterrupt(
            Effect.andThen(purge(now), books.reserve(id, spending, claims, now)),
            () => Effect.ignore(answering(books.refund(id)))
          )
        }),
      settle: (reservation, actual, now) =>
        attempt(() => {
          checkAmounts(actual)
          return books.settle(reservation, actual, now, (at) =>
            ledger.settled(reservation.spending, actual, at)
          )
        }),
      refund: (reservation) => answering(books.refund(reservation.id)),
      credit: (spender, amounts, why) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) =>
          attempt(() =>
            books.credit(
              compiled.claims(spenderOf(spender), amounts),
              now,
              ledger.credited(randomId(), creditOf(spender, amounts, why, now))
            )
          )
        ),
      credits: answering(ledger.credits),
      spent: (query = {}) => answering(ledger.spent(query)),
      standing: Effect.flatMap(Clock.currentTimeMillis, (now) => answering(books.standing(now))),
      alerts: Sliding.stream(alerts)
    }
  })
}

/** A budget in the database of the client; throws and creates as `make` does. */
export const layer = (
  limits: ReadonlyArray<Limit> = [],
  options: Options = {}
): Layer.Layer<Budget, SqlError | MigrationError, SqlClient> => Layer.effect(Budget, make(limits, options))

const answering = unavailable("budget")

const attempt = <A>(work: () => Effect.Effect<A, SqlError>): Effect.Effect<A, Unavailable> => {
  try {
    return answering(work())
  } catch (defect) {
    return Exit.die(defect)
  }
}

// --- Tables ----------------------------------------------------------------

// Names are single words, so that clients which rename columns leave them alone.
const createTables = Effect.gen(function* () {
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE interlock_budget_books (
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    id TEXT NOT NULL,
    max BIGINT NOT NULL,
    starts BIGINT NOT NULL,
    ends BIGINT NOT NULL,
    kept BIGINT NOT NULL,
    settled BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    overrun BIGINT NOT NULL,
    alerted INTEGER NOT NULL,
    PRIMARY KEY (name, unit, id)
  )`
  yield* sql`CREATE INDEX interlock_budget_books_kept ON interlock_budget_books (kept)`
  yield* sql`CREATE TABLE interlock_budget_reservations (
    id TEXT NOT NULL PRIMARY KEY,
    reserved BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    expired INTEGER NOT NULL,
    parts TEXT NOT NULL
  )`
  yield* sql`CREATE INDEX interlock_budget_reservations_expires
    ON interlock_budget_reservations (expired, expires)`
  yield* sql`CREATE TABLE interlock_budget_spent (
    day INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    principal TEXT NOT NULL,
    tool TEXT NOT NULL,
    run TEXT NOT NULL,
    unit TEXT NOT NULL,
    amount BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    PRIMARY KEY (day, tenant, principal, tool, run, unit)
  )`
  yield* sql`CREATE TABLE interlock_budget_credits (
    id TEXT NOT NULL PRIMARY KEY,
    time BIGINT NOT NULL,
    tenant TEXT,
    principal TEXT NOT NULL,
    tool TEXT,
    run TEXT,
    amounts TEXT NOT NULL,
    why TEXT NOT NULL
  )`
  yield* sql`CREATE INDEX interlock_budget_credits_time ON interlock_budget_credits (time)`
})
