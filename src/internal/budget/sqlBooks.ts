/**
 * The books of all limits in SQL: one row per limit, unit and key, with the
 * window that it counts in, and one per reservation that is open or expired.
 */
import * as Effect from "effect/Effect"
import * as Order from "effect/Order"
import type { SqlClient } from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { Alert, BudgetExceeded, Reservation, Spending, Standing } from "../../Budget.ts"
import type { Amounts } from "../../ToolAnnotations.ts"
import { amountOf, unforeseen } from "../amounts.ts"
import type { Numeric } from "../sqlStore.ts"
import * as Limits from "./limits.ts"
import * as Windows from "./windows.ts"

/** What identifies a row. */
interface Place {
  readonly name: string
  readonly unit: string
  readonly key: string
}

/** What a reservation has put aside in one row, and in which of its windows. */
interface Part extends Place {
  readonly startsAt: number
  readonly amount: number
}

interface Book extends Limits.Balance, Place {
  readonly max: number
  readonly alerted: number
}

/** Names of one word, which no client transforms; some databases answer with bigints. */
interface Row {
  readonly name: string
  readonly unit: string
  readonly id: string
  readonly max: Numeric
  readonly starts: Numeric
  readonly ends: Numeric
  readonly settled: Numeric
  readonly reserved: Numeric
  readonly overrun: Numeric
  readonly alerted: Numeric
}

export class SqlBooks {
  readonly #sql: SqlClient
  readonly #limits: Limits.Limits
  readonly #onAlert: (alert: Alert) => void

  constructor(sql: SqlClient, limits: Limits.Limits, onAlert: (alert: Alert) => void) {
    this.#sql = sql
    this.#limits = limits
    this.#onAlert = onAlert
  }

  /** Writes nothing, so what has expired is only taken off. */
  peek(
    claims: ReadonlyArray<Limits.Claim>,
    now: number
  ): Effect.Effect<BudgetExceeded | undefined, SqlError> {
    return Effect.gen({ self: this }, function* () {
      const expired = yield* this.#sql<{ parts: string }>`
        SELECT parts FROM interlock_budget_reservations WHERE expired = 0 AND expires < ${now}`
      const givenBack = expired.flatMap((row) => partsOf(row.parts))
      const exceeded: Array<Limits.Exceeded> = []
      for (const claim of claims) {
        const found = yield* this.#find(placeOf(claim))
        const book = found !== undefined && Windows.isCurrent(found, now) ? found : undefined
        const used = book === undefined ? 0 : book.settled + book.reserved - sumOf(book, givenBack)
        if (!Limits.fits(claim, used)) {
          exceeded.push({ claim, endsAt: (book ?? claim.limit.windows(now)).endsAt })
        }
      }
      return Limits.refusal(exceeded, now)
    })
  }

  reserve(
    id: string,
    spending: Spending,
    claims: ReadonlyArray<Limits.Claim>,
    now: number
  ): Effect.Effect<Reservation | BudgetExceeded, SqlError> {
    const reserving = this.#transaction(
      Effect.gen({ self: this }, function* () {
        const parts: Array<Part> = []
        const exceeded: Array<Limits.Exceeded> = []
        for (const claim of inOrder(claims)) {
          const taken = yield* this.#take(claim, now)
          if ("claim" in taken) exceeded.push(taken)
          else parts.push({ ...placeOf(claim), startsAt: taken.startsAt, amount: claim.amount })
        }
        // Failing takes back what was taken.
        if (exceeded.length > 0) return yield* Effect.fail(exceeded)
        yield* this.#sql`INSERT INTO interlock_budget_reservations (id, reserved, expires, expired, parts)
          VALUES (${id}, ${now}, ${timeOf(spending.expiresAt)}, 0, ${JSON.stringify(parts)})`
        return { id, spending }
      })
    )
    return Effect.catch(Effect.andThen(this.#expire(now), reserving), (error) => {
      if (isSqlError(error)) return Effect.fail(error)
      const exceeded = error.toSorted((a, b) => claims.indexOf(a.claim) - claims.indexOf(b.claim))
      return Effect.succeed(Limits.refusal(exceeded, now) as BudgetExceeded)
    })
  }

  /** `record` is part of the transaction; it is told when the reservation was made. */
  settle(
    { id, spending }: Reservation,
    actual: Amounts,
    now: number,
    record: (reservedAt: number) => Effect.Effect<void, SqlError>
  ): Effect.Effect<void, SqlError> {
    const unreserved = unforeseen(spending.amounts, actual)
    const claims = unreserved === undefined ? [] : this.#limits.claims(spending, unreserved)
    const settling = this.#transaction(
      Effect.gen({ self: this }, function* () {
        const held = yield* this.#delete(id)
        if (held === undefined) return
        const counting = [
          ...held.parts.map((part) => {
            const cost = amountOf(actual, part.unit)
            const bound = held.expired ? 0 : part.amount
            return { place: part, count: this.#count(part, cost, bound, cost - bound, now) }
          }),
          ...claims.map((claim) => ({
            place: placeOf(claim),
            count: Effect.flatMap(this.#open(claim, now), (book) =>
              this.#count(book, claim.amount, 0, claim.amount, now)
            )
          }))
        ]
        for (const { count } of counting.toSorted((a, b) => byPlace(a.place, b.place))) yield* count
        yield* record(held.reservedAt)
      })
    )
    return Effect.andThen(this.#expire(now), settling)
  }

  refund(id: string): Effect.Effect<void, SqlError> {
    return this.#transaction(
      Effect.gen({ self: this }, function* () {
        const held = yield* this.#delete(id)
        if (held !== undefined && !held.expired) yield* this.#release(held.parts)
      })
    )
  }

  credit(
    claims: ReadonlyArray<Limits.Claim>,
    now: number,
    record: Effect.Effect<void, SqlError>
  ): Effect.Effect<void, SqlError> {
    const sql = this.#sql
    return this.#transaction(
      Effect.andThen(
        Effect.forEach(
          inOrder(claims),
          (claim) => sql`UPDATE interlock_budget_books
            SET settled = CASE WHEN settled > ${claim.amount} THEN settled - ${claim.amount} ELSE 0 END
            WHERE ${this.#at(placeOf(claim))} AND ${this.#current(now)}`
        ),
        record
      )
    )
  }

  standing(now: number): Effect.Effect<ReadonlyArray<Standing>, SqlError> {
    const rows = this.#sql<Row>`SELECT * FROM interlock_budget_books WHERE ${this.#current(now)}`
    return Effect.map(Effect.andThen(this.#expire(now), rows), (rows) => {
      const books = Map.groupBy(rows.map(bookOf), ({ name }) => name)
      return this.#limits.all.flatMap((limit) => Limits.standings(limit, books.get(limit.name) ?? [], now))
    })
  }

  /** Forgets what can count no more; a day late, because clocks differ. */
  purge(now: number): Effect.Effect<void, SqlError> {
    const sql = this.#sql
    return Effect.andThen(
      sql`DELETE FROM interlock_budget_books WHERE kept < ${now - day}`,
      Effect.asVoid(
        sql`DELETE FROM interlock_budget_reservations WHERE expired = 1 AND expires < ${now - 30 * day}`
      )
    )
  }

  // --- Rows ----------------------------------------------------------------

  #at({ key, name, unit }: Place) {
    return this.#sql`name = ${name} AND unit = ${unit} AND id = ${key}`
  }

  /** `Windows.isCurrent` in SQL. */
  #current(now: number) {
    return this.#sql`ends > ${now} AND starts - (ends - starts) <= ${now}`
  }

  #find(place: Place): Effect.Effect<Book | undefined, SqlError> {
    return Effect.map(this.#sql<Row>`SELECT * FROM interlock_budget_books WHERE ${this.#at(place)}`, first)
  }

  /** Puts an amount aside if it fits. */
  #take(claim: Limits.Claim, now: number): Effect.Effect<Book | Limits.Exceeded, SqlError> {
    const { amount, limit, max } = claim
    const place = placeOf(claim)
    const kept = keptUntil(claim, now)
    return Effect.gen({ self: this }, function* () {
      // Another process may make or take room between two statements; then what was seen is seen anew.
      for (;;) {
        const taken = first(
          yield* this.#sql<Row>`UPDATE interlock_budget_books
            SET reserved = reserved + ${amount}, max = ${max},
              kept = CASE WHEN kept < ${kept} AND kept < ends THEN ${kept} ELSE kept END
            WHERE ${this.#at(place)} AND ${this.#current(now)}
              AND settled + reserved + ${amount} <= ${limit.hard ? max : Number.MAX_SAFE_INTEGER}
            RETURNING *`
        )
        if (taken !== undefined) {
          yield* this.#alert(taken, now)
          return taken
        }
        const seen = yield* this.#find(place)
        if (seen !== undefined && Windows.isCurrent(seen, now)) {
          if (!Limits.fits(claim, seen.settled + seen.reserved)) return { claim, endsAt: seen.endsAt }
        } else {
          const { endsAt } = limit.windows(now)
          if (!Limits.fits(claim, 0)) return { claim, endsAt }
          yield* this.#begin(claim, seen, now)
        }
      }
    })
  }

  /** The book of the window that is current. */
  #open(claim: Limits.Claim, now: number): Effect.Effect<Book, SqlError> {
    return Effect.gen({ self: this }, function* () {
      for (;;) {
        const seen = yield* this.#find(placeOf(claim))
        if (seen !== undefined && Windows.isCurrent(seen, now)) return seen
        yield* this.#begin(claim, seen, now)
      }
    })
  }

  /** Begins a window with nothing in it, unless someone else has done so since the last one was seen. */
  #begin(claim: Limits.Claim, seen: Book | undefined, now: number): Effect.Effect<unknown, SqlError> {
    const { key, name, unit } = placeOf(claim)
    const { endsAt, startsAt } = claim.limit.windows(now)
    return this.#sql`INSERT INTO interlock_budget_books
        (name, unit, id, max, starts, ends, kept, settled, reserved, overrun, alerted)
      VALUES (${name}, ${unit}, ${key}, ${claim.max}, ${startsAt}, ${endsAt}, ${keptUntil(claim, now)}, 0, 0, 0, 0)
      ON CONFLICT (name, unit, id) DO UPDATE SET
        max = excluded.max, starts = excluded.starts, ends = excluded.ends, kept = excluded.kept,
        settled = 0, reserved = 0, overrun = 0, alerted = 0
      WHERE interlock_budget_books.starts = ${seen?.startsAt ?? -1}`
  }

  /** Counts a cost in the window it belongs to; where that is over, nobody can see it any more. */
  #count(
    part: Place & { readonly startsAt: number },
    cost: number,
    released: number,
    above: number,
    now: number
  ): Effect.Effect<void, SqlError> {
    const over = Math.max(0, above)
    const most = Number.MAX_SAFE_INTEGER
    const rows = this.#sql<Row>`UPDATE interlock_budget_books
      SET settled = CASE WHEN settled > ${most - cost} THEN ${most} ELSE settled + ${cost} END,
        overrun = CASE WHEN overrun > ${most - over} THEN ${most} ELSE overrun + ${over} END,
        reserved = reserved - ${released}
      WHERE ${this.#at(part)} AND starts = ${part.startsAt}
      RETURNING *`
    return Effect.flatMap(rows, (rows) => {
      const book = first(rows)
      return book === undefined ? Effect.void : this.#alert(book, now)
    })
  }

  #alert(book: Book, now: number): Effect.Effect<void, SqlError> {
    const used = book.settled + book.reserved
    const crossed = now < book.endsAt ? Limits.crossed(used, book.max, book.alerted) : []
    if (crossed.length === 0) return Effect.void
    const { key, max, name, unit } = book
    const tell = Effect.sync(() => {
      for (const at of crossed) this.#onAlert({ limit: name, key, unit, at, max, used, time: now })
    })
    return Effect.andThen(
      this.#sql`UPDATE interlock_budget_books SET alerted = ${crossed.at(-1)} WHERE ${this.#at(book)}`,
      this.#sql.afterCommit(tell)
    )
  }

  // --- Reservations --------------------------------------------------------

  #delete(id: string): Effect.Effect<Held | undefined, SqlError> {
    return Effect.map(
      this.#sql<{ reserved: Numeric; expired: Numeric; parts: string }>`
        DELETE FROM interlock_budget_reservations WHERE id = ${id} RETURNING reserved, expired, parts`,
      ([row]) =>
        row && {
          reservedAt: Number(row.reserved),
          expired: Number(row.expired) === 1,
          parts: partsOf(row.parts)
        }
    )
  }

  #release(parts: ReadonlyArray<Part>): Effect.Effect<void, SqlError> {
    return Effect.forEach(
      parts,
      (part) => this.#sql`UPDATE interlock_budget_books SET reserved = reserved - ${part.amount}
        WHERE ${this.#at(part)} AND starts = ${part.startsAt}`,
      { discard: true }
    )
  }

  /** Gives back what has expired, one by one: so no transaction holds the rows of two reservations. */
  #expire(now: number): Effect.Effect<void, SqlError> {
    const sql = this.#sql
    const expired = sql<{ id: string }>`
      SELECT id FROM interlock_budget_reservations WHERE expired = 0 AND expires < ${now}`
    const giveBack = ({ id }: { readonly id: string }) =>
      this.#transaction(
        Effect.flatMap(
          sql<{ parts: string }>`UPDATE interlock_budget_reservations SET expired = 1
            WHERE id = ${id} AND expired = 0 RETURNING parts`,
          (rows) => Effect.forEach(rows, (row) => this.#release(partsOf(row.parts)), { discard: true })
        )
      )
    return Effect.flatMap(expired, (rows) =>
      rows.length === 0 ? Effect.void : Effect.forEach(rows, giveBack, { discard: true })
    )
  }

  #transaction<A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E | SqlError> {
    // A rollback that fails is a defect of the client, and a database that does not answer here.
    return Effect.catchDefect(this.#sql.withTransaction(effect), (defect) =>
      isSqlError(defect) ? Effect.fail(defect) : Effect.die(defect)
    )
  }
}

interface Held {
  readonly reservedAt: number
  readonly expired: boolean
  readonly parts: ReadonlyArray<Part>
}

const day = 86_400_000

/** Until when a row is needed; limits without a window are kept for ever, unless their keys are calls or runs. */
const keptUntil = ({ lastUse, limit }: Limits.Claim, now: number): number => {
  const { endsAt } = limit.windows(now)
  if (endsAt !== Windows.never || !limit.minted) return endsAt
  return lastUse === Windows.never ? now + 90 * day : timeOf(lastUse)
}

const timeOf = (time: number): number => Math.max(0, Math.min(Windows.never, Math.ceil(time)))

const placeOf = ({ key, limit, unit }: Limits.Claim): Place => ({ name: limit.name, unit, key })

/** The order in which rows are written everywhere, whatever limits a process has. */
const byPlace = Order.combine(
  Order.mapInput(Order.String, ({ name }: Place) => name),
  Order.mapInput(Order.String, ({ unit }: Place) => unit)
)

const inOrder = (claims: ReadonlyArray<Limits.Claim>): ReadonlyArray<Limits.Claim> =>
  claims.toSorted((a, b) => byPlace(placeOf(a), placeOf(b)))

const partsOf = (json: string): ReadonlyArray<Part> => JSON.parse(json)

const sumOf = (book: Book, parts: ReadonlyArray<Part>): number =>
  parts.reduce(
    (sum, part) =>
      part.name === book.name &&
      part.unit === book.unit &&
      part.key === book.key &&
      part.startsAt === book.startsAt
        ? sum + part.amount
        : sum,
    0
  )

const first = (rows: ReadonlyArray<Row>): Book | undefined => {
  const row = rows[0]
  return row && bookOf(row)
}

const bookOf = (row: Row): Book => ({
  name: row.name,
  unit: row.unit,
  key: row.id,
  max: Number(row.max),
  startsAt: Number(row.starts),
  endsAt: Number(row.ends),
  settled: Number(row.settled),
  reserved: Number(row.reserved),
  overrun: Number(row.overrun),
  alerted: Number(row.alerted)
})
