/**
 * What became of each line of a batch, in SQLite: at most one outcome for a line,
 * whatever is killed when.
 *
 * - One process at a time works on a batch. It says that it lives at least every
 *   `lease`; the next one waits for as long after it was killed. Whoever was taken
 *   over, for it was stopped for longer, cannot write any more.
 * - A line that must not run twice is recorded as begun before it runs. An outcome
 *   never takes the place of another; a line that is run again is begun again.
 * - Lines are told apart by a keyed hash, and results are sealed: line numbers and
 *   statuses can be read without the keyring. A batch keeps to the key it began with.
 * - What was not worked on for 30 days is forgotten when a new batch begins.
 * - Give it a client that no transaction of yours is open on.
 */
import { hash } from "node:crypto"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { MigrationError } from "effect/sql/Migrator"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { millis } from "../../internal/options.ts"
import { open as openSealed, randomId, seal, toBase64Url } from "../../internal/sealing.ts"
import type { Numeric } from "../../internal/sqlStore.ts"
import { Keyring } from "../../Keyring.ts"
import type { Status } from "../../ToolError.ts"
import { type BatchRow, forgetOld, JournalError, prepared } from "./Batches.ts"
import type { Recorded } from "./standing.ts"

// --- Models ----------------------------------------------------------------

export interface Options {
  /** The batch's name: 1 to 100 letters, digits, and `.`, `_`, `-`. */
  readonly id: string
  /** `new` refuses a batch that is known, `resume` one that is not; `either` by default. */
  readonly start?: "new" | "resume" | "either"
  /** How long a process is waited for that may have died; 5 seconds, at least 100 ms. */
  readonly lease?: Duration.Input
}

/** What is recorded of a line, and where its result is. */
export interface Row extends Recorded {
  readonly line: number
  readonly page: number | undefined
  readonly position: number
}

/** A line that begins, or ends with a status and its result as a line of JSON. */
export interface Begun {
  readonly line: number
  readonly digest: string
}
export interface Ended extends Begun {
  readonly status: Status
  readonly text: string
}

/** What is written together. */
export interface Change {
  readonly begun: ReadonlyArray<Begun>
  readonly ended: ReadonlyArray<Ended>
  /** Lines that were begun and then did not run. */
  readonly dropped: ReadonlyArray<number>
}

// --- Journal ---------------------------------------------------------------

export interface Journal {
  readonly id: string
  /** How often something must be written, if only to say that this process lives: milliseconds. */
  readonly beat: number
  /** How many lines had ended how when it was opened. */
  readonly before: ReadonlyMap<Status, number>
  /** Tells lines apart. */
  readonly digest: (text: string) => string
  /** What is recorded of the lines after this one, 1,000 at most, in their order. */
  readonly rows: (after: number) => Effect.Effect<ReadonlyArray<Row>, SqlError>
  /** The results of a page, by position; none of one that cannot be opened. */
  readonly page: (page: number) => Effect.Effect<ReadonlyArray<string>, SqlError>
  /** All or nothing. */
  readonly write: (change: Change) => Effect.Effect<void, SqlError | JournalError>
  /** The input came to its end, and every line has an outcome. */
  readonly finish: Effect.Effect<void, SqlError | JournalError>
}

/** Takes a batch, and lets go of it with the scope. */
export const open = (
  options: Options
): Effect.Effect<Journal, SqlError | MigrationError | JournalError, SqlClient | Keyring | Scope.Scope> => {
  const { id, start = "either" } = options
  const lease = millis("Journal: lease", options.lease ?? "5 seconds", 100)
  const beat = lease / 4
  return Effect.gen(function* () {
    if (!/^[\w.-]{1,100}$/.test(id)) return yield* new JournalError({ reason: "invalid_id", batch: "" })
    const keyring = yield* Keyring
    const sql = yield* prepared
    const owner = randomId()
    const refuse = (reason: JournalError["reason"]) => new JournalError({ reason, batch: id })

    /** Takes the batch; or until when somebody else has it. */
    const take = sql.withTransaction(
      Effect.gen(function* () {
        const now = yield* Clock.currentTimeMillis
        const [known] = yield* sql<BatchRow>`SELECT * FROM interlock_batches WHERE id = ${id}`
        if (known !== undefined) {
          if (start === "new") return yield* refuse("exists")
          if (known.owner !== null && Number(known.owned_until) > now) return Number(known.owned_until)
          yield* sql`UPDATE interlock_batches
            SET owner = ${owner}, owned_until = ${now + lease}, touched_at = ${now}, finished = 0 WHERE id = ${id}`
          return { number: known.number, keyId: known.key_id, isNew: false }
        }
        if (start === "resume") return yield* refuse("not_found")
        const row = { id, key_id: keyring.active, created_at: now, touched_at: now, finished: 0 }
        const [made] = yield* sql<BatchRow>`INSERT INTO interlock_batches
          ${sql.insert({ ...row, owner, owned_until: now + lease })} RETURNING *`
        return { number: (made as BatchRow).number, keyId: keyring.active, isNew: true }
      })
    )
    yield* Effect.addFinalizer(() =>
      Effect.ignore(sql`UPDATE interlock_batches SET owner = NULL WHERE id = ${id} AND owner = ${owner}`)
    )
    let taken = yield* take
    const until = taken
    while (typeof taken === "number") {
      // Whoever lives has said so again before that time is over.
      if (taken !== until) return yield* refuse("running")
      yield* Effect.sleep(Duration.millis(50))
      taken = yield* take
    }
    const { isNew, keyId } = taken
    const number = Number(taken.number)
    const key = keyring.key("arguments", keyId)
    if (key === undefined) return yield* refuse("key_unknown")
    // Of a text of one length a hash that begins with the key is as good as an HMAC, and costs a quarter of it.
    const hashKey = `batch ${toBase64Url(key)}`
    if (isNew) yield* forgetOld

    // Forgetting may have taken long.
    let saidAt = Number.NEGATIVE_INFINITY
    /** In a transaction, so that it holds until what comes with it is written. Says now and then that this process lives. */
    const own = Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      const isTime = now - saidAt >= beat
      const rows = yield* isTime
        ? sql`UPDATE interlock_batches SET owned_until = ${now + lease}, touched_at = ${now}
            WHERE number = ${number} AND owner = ${owner} RETURNING number`
        : sql`SELECT number FROM interlock_batches WHERE number = ${number} AND owner = ${owner}`
      if (rows.length === 0) return yield* refuse("taken_over")
      if (isTime) saidAt = now
    })
    const counts = yield* sql<{ readonly status: Status; readonly lines: Numeric }>`
      SELECT status, count(*) AS lines FROM interlock_batch_lines
      WHERE batch = ${number} AND status IS NOT NULL GROUP BY status`
    const [last] = yield* sql<{ readonly page: Numeric | null }>`
      SELECT max(page) AS page FROM interlock_batch_results WHERE batch = ${number}`
    let pages = Number(last?.page ?? 0)
    const contextOf = (page: number) => `batch/${id}/${page}`

    return {
      id,
      beat,
      before: new Map(counts.map(({ lines, status }) => [status, Number(lines)])),
      digest: (text) => hash("sha256", `${hashKey} ${hash("sha256", text)}`, "base64url").slice(0, 22),
      rows: (after) =>
        Effect.map(
          sql<LineRow>`SELECT line, digest, status, page, position FROM interlock_batch_lines
            WHERE batch = ${number} AND line > ${after} ORDER BY line LIMIT 1000`,
          (rows) => rows.map(rowOf)
        ),
      page: (page) =>
        Effect.map(
          sql<{ readonly sealed: string }>`SELECT sealed FROM interlock_batch_results
            WHERE batch = ${number} AND page = ${page}`,
          ([row]) =>
            (row === undefined
              ? undefined
              : openSealed(keyring, "sealing", row.sealed, contextOf(page))
            )?.split("\n") ?? []
        ),
      write: ({ begun, dropped, ended }) =>
        sql.withTransaction(
          Effect.gen(function* () {
            yield* own
            const rows: Array<unknown> = begun.map(({ digest, line }) => [line, digest])
            for (const page of pagesOf(ended)) {
              pages++
              const text = page.map((one) => one.text).join("\n")
              const sealed = seal(keyring, "sealing", text, contextOf(pages))
              yield* sql`INSERT INTO interlock_batch_results (batch, page, sealed) VALUES (${number}, ${pages}, ${sealed})`
              page.forEach(({ digest, line, status }, position) => {
                rows.push([line, digest, status, pages, position])
              })
            }
            if (rows.length > 0) {
              yield* sql`INSERT INTO interlock_batch_lines AS known (batch, line, digest, status, page, position)
                SELECT ${number}, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
                FROM json_each(${JSON.stringify(rows)}) WHERE true
                ON CONFLICT (batch, line) DO UPDATE
                  SET status = excluded.status, page = excluded.page, position = excluded.position
                  WHERE known.status IS NULL OR excluded.status IS NULL`
            }
            if (dropped.length > 0) {
              yield* sql`DELETE FROM interlock_batch_lines WHERE batch = ${number} AND status IS NULL
                AND line IN (SELECT value FROM json_each(${JSON.stringify(dropped)}))`
            }
          })
        ),
      finish: sql.withTransaction(
        Effect.andThen(own, sql`UPDATE interlock_batches SET finished = 1 WHERE number = ${number}`)
      )
    }
  })
}

interface LineRow {
  readonly line: Numeric
  readonly digest: string
  readonly status: Status | null
  readonly page: Numeric | null
  readonly position: Numeric | null
}

const rowOf = ({ digest, line, page, position, status }: LineRow): Row => ({
  line: Number(line),
  digest,
  status: status ?? undefined,
  page: page === null ? undefined : Number(page),
  position: Number(position)
})

/** Results are sealed together, at most a mebibyte of them, since sealing each would cost more than the rest. */
const pagesOf = (ended: ReadonlyArray<Ended>): ReadonlyArray<ReadonlyArray<Ended>> => {
  const pages: Array<Array<Ended>> = []
  let room = 0
  for (const one of ended) {
    if (one.text.length > room) {
      pages.push([])
      room = pageSize
    }
    pages.at(-1)?.push(one)
    room -= one.text.length
  }
  return pages
}

const pageSize = 1_048_576
