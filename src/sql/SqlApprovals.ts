/**
 * Approvals in SQL: asked in one process, decided in another, used in a third,
 * and still there after a restart. Made for SQLite and Postgres.
 *
 * Every change takes the next revision first, a single row that one transaction
 * at a time can have. So changes happen one after another, in whatever process,
 * and a grant is used once. Reading waits for nobody.
 *
 * What was decided must stay decided: in a transaction of the caller on the same
 * client, which might be rolled back after the call ran, nothing is asked,
 * decided or used, and the answer is `Unavailable`.
 *
 * Give all processes the same keyring, or they cannot prove each other's grants.
 * Decisions made elsewhere are seen within `pollInterval`.
 */
import { sha256 } from "@noble/hashes/sha2.js"
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Layer from "effect/Layer"
import type { MigrationError } from "effect/sql/Migrator"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import {
  type About,
  type ApprovalStore,
  Approvals,
  type Options as CommonOptions,
  type Held,
  make,
  type Put,
  type Selection,
  type State,
  type Unavailable
} from "../Approvals.ts"
import { checked } from "../internal/approvals/desk.ts"
import { read } from "../internal/approvals/document.ts"
import { changed } from "../internal/approvals/store.ts"
import { millis } from "../internal/options.ts"
import { migrate, type Numeric, unavailable } from "../internal/sqlStore.ts"
import type { Keyring } from "../Keyring.ts"

export interface Options extends CommonOptions {
  /** How often decisions of other processes are looked for, while somebody waits or watches; 500 ms. */
  readonly pollInterval?: Duration.Input
  /** How long requests are kept after they expired; 30 days. */
  readonly keepFor?: Duration.Input
}

/** Approvals in the database of the `SqlClient`. Throws a `RangeError` for an option that makes no sense. */
export const layer = (
  options: Options = {}
): Layer.Layer<Approvals, SqlError | MigrationError, SqlClient | Keyring> => {
  const interval = millis("SqlApprovals: pollInterval", options.pollInterval ?? "500 millis")
  const keepFor = millis("SqlApprovals: keepFor", options.keepFor ?? "30 days")
  checked(options)
  return Layer.effect(
    Approvals,
    Effect.flatMap(makeStore(interval, keepFor), (store) => make(store, options))
  )
}

// --- Store -----------------------------------------------------------------

interface Row {
  readonly document: string
  readonly signature: string
  readonly state: State
  readonly decided_by: string | null
  readonly decided_at: Numeric | null
  readonly reason: string | null
  readonly token: string | null
  readonly sealed: string | null
  readonly revision: Numeric
}

const makeStore = Effect.fnUntraced(function* (
  interval: number,
  keepFor: number
): Effect.fn.Return<ApprovalStore, SqlError | MigrationError, SqlClient> {
  yield* migrate("interlock_approvals_migrations", migrations)
  const sql = (yield* SqlClient).withoutTransforms()
  const answer = unavailable("approvals")

  /** Runs alone, with the revision that its changes get. */
  const alone = <A>(body: (revision: number) => Effect.Effect<A, SqlError>): Effect.Effect<A, Unavailable> =>
    Effect.withFiber((fiber) => {
      if (Context.getOrUndefined(fiber.context, sql.transactionService) !== undefined) {
        return Effect.andThen(ErrorReporter.report(Cause.fail(new Error(inTransaction))), Effect.fail(notNow))
      }
      const next = sql<{ revision: Numeric }>`
        UPDATE interlock_approvals_revision SET revision = revision + 1 WHERE id = 1 RETURNING revision`
      return answer(sql.withTransaction(Effect.flatMap(next, (rows) => body(Number(rows[0]!.revision)))))
    })

  const select = sql.literal(
    "SELECT document, signature, state, decided_by, decided_at, reason, token, sealed, revision FROM interlock_approvals"
  )
  const isOverdue = (now: number) => sql`(state IN ('pending', 'granted') AND expires_at <= ${now})`

  const byId = (id: string) => Effect.map(sql<Row>`${select} WHERE id = ${id}`, (rows) => heldOf(rows)[0])
  const about = (call: About) =>
    Effect.map(
      sql<Row>`${select} WHERE subject = ${callKey(call)} AND state IN ('pending', 'granted', 'rejected')
        ORDER BY created_at DESC, revision DESC`,
      heldOf
    )

  const update = (
    { document, state, decidedBy, decidedAt, reason, token, sealed, revision }: Held,
    from: State
  ) =>
    sql`UPDATE interlock_approvals SET ${sql.update({
      state,
      decided_by: decidedBy ?? null,
      decided_at: decidedAt ?? null,
      reason: reason ?? null,
      token: token ?? null,
      sealed: sealed ?? null,
      revision
    })} WHERE id = ${document.id} AND state = ${from}`

  const expireAll = (rows: ReadonlyArray<Row>, revision: number) =>
    Effect.forEach(heldOf(rows), (before) => {
      const held = changed(before, { to: "expired" }, revision)
      return Effect.as(update(held, before.state), held)
    })

  return {
    put: (call, { now, maxUndecided, find, make }) =>
      alone(
        Effect.fnUntraced(function* (revision) {
          const owner = ownerKey(call)
          const overdue = yield* sql<Row>`${select} WHERE owner = ${owner} AND ${isOverdue(now)}`
          const expired = yield* expireAll(overdue, revision)
          const found = find(yield* about(call))
          if (found !== undefined) return { put: { _tag: "Found", held: found } as Put, expired }
          const [undecided] = yield* sql<{ count: Numeric; until: Numeric | null }>`
            SELECT COUNT(*) AS count, MIN(expires_at) AS until FROM interlock_approvals
            WHERE owner = ${owner} AND state = 'pending'`
          if (Number(undecided!.count) >= maxUndecided) {
            const until = undecided!.until === null ? undefined : Number(undecided!.until)
            return { put: { _tag: "Full", until } as Put, expired }
          }
          const held = { ...make(), revision }
          yield* sql`INSERT INTO interlock_approvals ${sql.insert(rowOf(held))}`
          return { put: { _tag: "Inserted", held } as Put, expired }
        })
      ),
    find: (id) => answer(byId(id)),
    live: (call) => answer(about(call)),
    transition: (id, from, change) =>
      alone(
        Effect.fnUntraced(function* (revision) {
          const before = yield* byId(id)
          if (before?.state !== from || before.document.id !== id) return undefined
          const held = changed(before, change, revision)
          yield* update(held, from)
          return held
        })
      ),
    list: (selection, now) => {
      const state =
        selection.state === undefined
          ? []
          : selection.state === "expired"
            ? [sql`(state = 'expired' OR ${isOverdue(now)})`]
            : [sql`state = ${selection.state}`, sql`NOT ${isOverdue(now)}`]
      const fields = Object.entries(columns).flatMap(([field, column]) => {
        const value = selection[field as keyof typeof columns]
        return value === undefined ? [] : [sql`${sql(column)} = ${value}`]
      })
      return answer(
        Effect.map(
          sql<Row>`${select} WHERE ${sql.and([...state, ...fields, sql`1 = 1`])}
            ORDER BY created_at DESC, revision DESC LIMIT ${selection.limit ?? maxRows}`,
          heldOf
        )
      )
    },
    expire: (now) =>
      Effect.flatMap(
        // Most of the time there is nothing to do, and nobody has to wait for it.
        answer(
          sql`SELECT id FROM interlock_approvals WHERE ${isOverdue(now)} OR expires_at <= ${now - keepFor} LIMIT 1`
        ),
        (some) =>
          some.length === 0
            ? Effect.succeed([])
            : alone(
                Effect.fnUntraced(function* (revision) {
                  const overdue = yield* sql<Row>`${select} WHERE ${isOverdue(now)}`
                  const expired = yield* expireAll(overdue, revision)
                  yield* sql`DELETE FROM interlock_approvals WHERE expires_at <= ${now - keepFor}`
                  return expired
                })
              )
      ),
    others: {
      interval,
      revision: answer(
        Effect.map(
          sql<{ revision: Numeric }>`SELECT revision FROM interlock_approvals_revision WHERE id = 1`,
          (rows) => Number(rows[0]!.revision)
        )
      ),
      since: (revision) =>
        answer(Effect.map(sql<Row>`${select} WHERE revision > ${revision} ORDER BY revision`, heldOf))
    }
  }
})

const notNow: Unavailable = { _tag: "Unavailable", concern: "approvals" }
const inTransaction = "SqlApprovals: approvals cannot be asked, decided or used inside a transaction"

const maxRows = 1000

// --- Rows ------------------------------------------------------------------

/** Only what the document says counts: the other columns are for finding it. */
const heldOf = (rows: ReadonlyArray<Row>): ReadonlyArray<Held> =>
  rows.flatMap((row) => {
    const document = read(row.document)
    if (document === undefined) return []
    return {
      document,
      text: row.document,
      signature: row.signature,
      state: row.state,
      decidedBy: row.decided_by ?? undefined,
      decidedAt: row.decided_at === null ? undefined : Number(row.decided_at),
      reason: row.reason ?? undefined,
      token: row.token ?? undefined,
      sealed: row.sealed ?? undefined,
      revision: Number(row.revision)
    }
  })

const rowOf = ({ document, revision, sealed, signature, state, text }: Held) => ({
  id: document.id,
  owner: ownerKey(document),
  subject: callKey(document),
  principal: document.principal,
  tenant: document.tenant ?? null,
  tool: document.tool,
  run: document.run ?? null,
  call_id: document.callId,
  created_at: document.createdAt,
  expires_at: document.expiresAt,
  document: text,
  signature,
  state,
  sealed: sealed ?? null,
  revision
})

const columns: { readonly [Field in Exclude<keyof Selection, "state" | "limit">]: string } = {
  principal: "principal",
  tenant: "tenant",
  tool: "tool",
  run: "run",
  callId: "call_id"
}

// Hashed, so that ids of any length and a missing tenant make keys that can be indexed and compared.
const keyOf = (parts: ReadonlyArray<string | undefined>): string =>
  bytesToHex(sha256(utf8ToBytes(JSON.stringify(parts.map((part) => part ?? null)))))
const ownerKey = ({ principal, tenant }: Omit<About, "callId" | "tool">): string => keyOf([tenant, principal])
const callKey = ({ callId, principal, tenant, tool }: About): string =>
  keyOf([tenant, principal, callId, tool])

// --- Tables ----------------------------------------------------------------

const migrations: Parameters<typeof migrate>[1] = {
  "1_create_approvals": Effect.gen(function* () {
    const sql = yield* SqlClient
    yield* sql`CREATE TABLE interlock_approvals (
      id VARCHAR(64) PRIMARY KEY,
      owner VARCHAR(64) NOT NULL,
      subject VARCHAR(64) NOT NULL,
      principal TEXT NOT NULL,
      tenant TEXT,
      tool TEXT NOT NULL,
      run TEXT,
      call_id TEXT NOT NULL,
      created_at BIGINT NOT NULL,
      expires_at BIGINT NOT NULL,
      document TEXT NOT NULL,
      signature TEXT NOT NULL,
      state VARCHAR(16) NOT NULL,
      decided_by TEXT,
      decided_at BIGINT,
      reason TEXT,
      token TEXT,
      sealed TEXT,
      revision BIGINT NOT NULL
    )`
    yield* sql`CREATE INDEX interlock_approvals_subject ON interlock_approvals (subject, state)`
    yield* sql`CREATE INDEX interlock_approvals_owner ON interlock_approvals (owner, state)`
    yield* sql`CREATE INDEX interlock_approvals_expiry ON interlock_approvals (state, expires_at)`
    yield* sql`CREATE INDEX interlock_approvals_changes ON interlock_approvals (revision)`
    yield* sql`CREATE TABLE interlock_approvals_revision (id INTEGER PRIMARY KEY, revision BIGINT NOT NULL)`
    yield* sql`INSERT INTO interlock_approvals_revision (id, revision) VALUES (1, 0)`
  })
}
