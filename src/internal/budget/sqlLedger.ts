/** What was spent by whom, on what, on which day, in SQL. */
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Credit, Spending, Spent, SpentQuery } from "../../Budget.ts"
import type { Amounts } from "../../ToolAnnotations.ts"
import { amountOf } from "../amounts.ts"
import type { Numeric } from "../sqlStore.ts"
import * as Ledger from "./ledger.ts"

export class SqlLedger {
  readonly #sql: SqlClient

  constructor(sql: SqlClient) {
    this.#sql = sql
  }

  settled(spending: Spending, actual: Amounts, at: number): Effect.Effect<void, SqlError> {
    const account = Ledger.accountOf(spending, at)
    return Effect.forEach(
      Ledger.units(spending.amounts, actual).toSorted(),
      (unit) => this.#add(account, unit, amountOf(actual, unit), 1),
      { discard: true }
    )
  }

  credited(id: string, credit: Credit): Effect.Effect<void, SqlError> {
    const account = { ...credit, day: Ledger.dayOf(credit.time) }
    const add = Effect.forEach(
      Object.keys(credit.amounts).toSorted(),
      (unit) => this.#add(account, unit, 0 - amountOf(credit.amounts, unit), 0),
      { discard: true }
    )
    const { principal, run, tenant, time, tool, why } = credit
    return Effect.andThen(
      add,
      Effect.asVoid(
        this.#sql`INSERT INTO interlock_budget_credits (id, time, tenant, principal, tool, run, amounts, why)
          VALUES (${id}, ${time}, ${tenant ?? null}, ${principal}, ${tool ?? null}, ${run ?? null},
            ${JSON.stringify(credit.amounts)}, ${why})`
      )
    )
  }

  /** What there is none of is an empty text, so that it can be part of a key. */
  #add(
    { day, principal, run, tenant, tool }: Ledger.Account,
    unit: string,
    amount: number,
    attempts: number
  ): Effect.Effect<void, SqlError> {
    const most = Number.MAX_SAFE_INTEGER
    return Effect.asVoid(
      this.#sql`INSERT INTO interlock_budget_spent (day, tenant, principal, tool, run, unit, amount, attempts)
        VALUES (${day}, ${tenant ?? ""}, ${principal}, ${tool ?? ""}, ${run ?? ""}, ${unit}, ${amount}, ${attempts})
        ON CONFLICT (day, tenant, principal, tool, run, unit) DO UPDATE SET
          amount = CASE WHEN interlock_budget_spent.amount > ${most} - excluded.amount THEN ${most}
            ELSE interlock_budget_spent.amount + excluded.amount END,
          attempts = interlock_budget_spent.attempts + excluded.attempts`
    )
  }

  spent(query: SpentQuery): Effect.Effect<ReadonlyArray<Spent>, SqlError> {
    const sql = this.#sql
    const { first, last } = Ledger.days(query)
    const conditions = [sql`day >= ${first}`, sql`day <= ${last}`]
    for (const name of ["principal", "tenant", "tool", "run"] as const) {
      const value = query[name]
      if (value !== undefined) conditions.push(sql`${sql(name)} = ${value}`)
    }
    // Only these are names of columns, whatever a query holds.
    const by = (["day", "tenant", "principal", "tool", "run"] as const).filter((name) =>
      query.by?.includes(name)
    )
    const columns = sql.literal([...by, "unit"].join(", "))
    return Effect.map(
      sql<SpentRow>`SELECT ${columns}, CAST(SUM(amount) AS BIGINT) AS amount, CAST(SUM(attempts) AS BIGINT) AS attempts
        FROM interlock_budget_spent WHERE ${sql.and(conditions)} GROUP BY ${columns}`,
      (rows) =>
        Ledger.group(
          rows.map((row) => ({
            day: Number(row.day ?? 0),
            tenant: row.tenant || undefined,
            principal: row.principal ?? "",
            tool: row.tool || undefined,
            run: row.run || undefined,
            unit: row.unit,
            amount: Number(row.amount),
            attempts: Number(row.attempts)
          })),
          query.by ?? []
        )
    )
  }

  get credits(): Effect.Effect<ReadonlyArray<Credit>, SqlError> {
    return Effect.map(
      this
        .#sql<CreditRow>`SELECT time, tenant, principal, tool, run, amounts, why FROM interlock_budget_credits
        ORDER BY time DESC, id DESC LIMIT ${Ledger.keptCredits}`,
      (rows) =>
        rows.map(({ amounts, principal, run, tenant, time, tool, why }) => ({
          time: Number(time),
          principal,
          tenant: tenant ?? undefined,
          tool: tool ?? undefined,
          run: run ?? undefined,
          amounts: JSON.parse(amounts),
          why
        }))
    )
  }

  purge(before: number): Effect.Effect<void, SqlError> {
    return Effect.andThen(
      this.#sql`DELETE FROM interlock_budget_spent WHERE day < ${Ledger.dayOf(before)}`,
      Effect.asVoid(this.#sql`DELETE FROM interlock_budget_credits WHERE time < ${before}`)
    )
  }
}

interface SpentRow {
  readonly day?: Numeric
  readonly tenant?: string
  readonly principal?: string
  readonly tool?: string
  readonly run?: string
  readonly unit: string
  readonly amount: Numeric
  readonly attempts: Numeric
}

interface CreditRow {
  readonly time: Numeric
  readonly tenant: string | null
  readonly principal: string
  readonly tool: string | null
  readonly run: string | null
  readonly amounts: string
  readonly why: string
}
