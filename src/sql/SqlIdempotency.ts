/**
 * `Idempotency` in SQL: one lease per key among all processes that share the
 * database, and outcomes that outlive them.
 *
 * Each step is one statement that names what it expects, so nothing is held
 * between statements. What a key is made of (tenant, principal, tool and the key
 * itself) is stored as a keyed hash, and outcomes are sealed; ids of calls and
 * times can be read.
 *
 * - All processes need the same `Keyring`. Where its active key is changed, name
 *   the one before in `previousKeys` until `keepFor` has passed: without that
 *   what is known of a key is not found, and a repetition runs. With it the
 *   repetition finds its outcome where the caller's hash of the arguments is as it
 *   was, and is a conflict where that too was made with the new key.
 * - A waiter is woken at once by its own process, and looks every `pollInterval`
 *   for what others do: one read for each that waits.
 * - What is over is deleted as new keys are claimed, at most once a minute. There
 *   is no bound but time.
 * - Give it a client that no transaction of yours is open on: a statement joins
 *   the transaction of the fiber that runs it, and would be rolled back with it.
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { MigrationError } from "effect/sql/Migrator"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { type Claim, Idempotency, type Key, type Lease, type Retention } from "../Idempotency.ts"
import {
  type Known,
  outcomeJson,
  outcomeOf,
  type Phase,
  retention,
  standing
} from "../internal/idempotencyRecord.ts"
import { Signal } from "../internal/idempotencySignal.ts"
import * as KeyText from "../internal/keyText.ts"
import { millis } from "../internal/options.ts"
import { mac, open, randomId, seal } from "../internal/sealing.ts"
import { endOfTime, migrate, type Numeric, unavailable } from "../internal/sqlStore.ts"
import { Keyring } from "../Keyring.ts"

export interface Options extends Retention {
  /** How often a waiter looks whether another process has ended the call; default 250 milliseconds. */
  readonly pollInterval?: Duration.Input
  /** Ids of keys of the keyring under which older rows may be known; none by default. */
  readonly previousKeys?: ReadonlyArray<string>
}

/** Throws a `RangeError` for an option that makes no sense. Creates its table where there is none. */
export const make = (
  options: Options = {}
): Effect.Effect<Idempotency["Service"], SqlError | MigrationError, SqlClient | Keyring> => {
  const { keepFor, maxBytes } = retention(options)
  const pollInterval = millis("SqlIdempotency: pollInterval", options.pollInterval ?? 250)
  return Effect.gen(function* () {
    const sql = yield* SqlClient
    const keyring = yield* Keyring
    yield* migrate("interlock_idempotency_migrations", { "1_create_idempotency": createTable })

    const previous = (options.previousKeys ?? []).map((id) => {
      const key = keyring.key("arguments", id)
      if (key === undefined) throw new RangeError(`SqlIdempotency: previousKeys: there is no key "${id}"`)
      return key
    })
    /** Those in this process that wait for the end of a lease, by its token. */
    const waiting = new Map<string, Set<Signal>>()
    let purgeAt = Number.NEGATIVE_INFINITY

    const idsOf = (key: Key): Ids => {
      const text = `idempotency/${KeyText.ofClaim(key)}`
      return [mac(keyring.key("arguments"), text), ...previous.map((key) => mac(key, text))]
    }

    /** The row of a key that is known, under whichever of the keyring's keys. */
    const find = (ids: Ids, now: number): Effect.Effect<Row | undefined, SqlError> =>
      Effect.map(
        sql<Row>`SELECT id, call_id, arguments_hash, token, phase, expires_at, forget_at, abandoned, outcome
          FROM interlock_idempotency WHERE id IN ${sql.in(ids)} AND forget_at > ${now}`,
        (rows) => rows[0]
      )

    /** Takes the key if its row is as the rules ask for; whether it was. */
    const take = (
      id: string,
      token: string,
      claim: Claiming,
      now: number
    ): Effect.Effect<boolean, SqlError> => {
      const expiresAt = Math.min(Math.ceil(claim.expiresAt), endOfTime)
      const orTakeOver =
        claim.takeOver === true
          ? sql`OR (known.phase <> 'done' AND known.expires_at <= ${now} AND known.arguments_hash = excluded.arguments_hash)`
          : sql``
      return Effect.map(
        sql`INSERT INTO interlock_idempotency AS known
            (id, call_id, arguments_hash, token, phase, expires_at, forget_at, abandoned, outcome)
          VALUES (${id}, ${claim.callId}, ${claim.argumentsHash}, ${token}, 'claimed', ${expiresAt}, ${expiresAt}, NULL, NULL)
          ON CONFLICT (id) DO UPDATE SET
            call_id = excluded.call_id, arguments_hash = excluded.arguments_hash, token = excluded.token,
            phase = 'claimed', outcome = NULL, expires_at = excluded.expires_at,
            forget_at = CASE WHEN known.forget_at <= ${now} THEN excluded.forget_at ELSE ${expiresAt + keepFor} END,
            abandoned = CASE WHEN known.forget_at <= ${now} THEN NULL ELSE COALESCE(known.abandoned, known.call_id) END
          WHERE known.forget_at <= ${now} ${orTakeOver}
          RETURNING id`,
        (rows) => rows.length > 0
      )
    }

    const claim = (
      key: Key,
      token: string,
      claiming: Claiming,
      now: number
    ): Effect.Effect<Claim, SqlError> =>
      Effect.gen(function* () {
        const ids = idsOf(key)
        // A row under an older key is where the key is known; without one there is nothing to look for first.
        const older = previous.length === 0 ? undefined : yield* find(ids, now)
        const id = older?.id ?? ids[0]
        // Whoever meets a row that ends between the two statements tries again, so somebody else has gone on.
        while (true) {
          if (yield* take(id, token, claiming, now)) {
            return { _tag: "Run", lease: { key, callId: claiming.callId, token } } as const
          }
          const row = yield* find([id], now)
          if (row === undefined) continue
          const known = knownOf(row)
          switch (standing(known, claiming.argumentsHash, now, claiming.takeOver)) {
            case "Run":
              continue
            case "Conflict":
              return { _tag: "Conflict" } as const
            case "Done": {
              const text =
                row.outcome === null ? undefined : open(keyring, "sealing", row.outcome, contextOf(id))
              return { _tag: "Done", callId: known.callId, outcome: outcomeOf(text, known.callId) } as const
            }
            case "InFlight":
              return {
                _tag: "InFlight",
                callId: known.callId,
                wait: unavailable("idempotency")(endOf(id, row.token!, known.expiresAt))
              } as const
            case "Abandoned":
              return { _tag: "Abandoned", callId: known.abandoned ?? known.callId } as const
          }
        }
      })

    /** Ends with the lease of this token, by its owner or by its time. */
    const endOf = (id: string, token: string, expiresAt: number): Effect.Effect<void, SqlError> =>
      Effect.suspend(() => {
        const signal = new Signal()
        const others = waiting.get(token) ?? new Set()
        waiting.set(token, others.add(signal))
        return Effect.gen(function* () {
          while (true) {
            const now = yield* Clock.currentTimeMillis
            if (now >= expiresAt) return
            const rows =
              yield* sql`SELECT id FROM interlock_idempotency WHERE id = ${id} AND token = ${token}`
            if (rows.length === 0) return
            yield* Effect.timeoutOption(signal.wait, Math.min(pollInterval, expiresAt - now))
          }
        }).pipe(
          Effect.ensuring(
            Effect.sync(() => {
              others.delete(signal)
              if (others.size === 0) waiting.delete(token)
            })
          )
        )
      })

    const ended = ({ token }: Lease): void => {
      for (const signal of waiting.get(token) ?? []) signal.come()
    }

    const purge = (now: number): Effect.Effect<void, SqlError> => {
      if (now < purgeAt) return Effect.void
      purgeAt = now + purgeInterval
      return sql`DELETE FROM interlock_idempotency WHERE forget_at <= ${now} AND id IN
        (SELECT id FROM interlock_idempotency WHERE forget_at <= ${now} LIMIT 10000)`.pipe(Effect.asVoid)
    }

    /** Leaves the key as a dead owner would, to everyone's clock. */
    const abandon = (lease: Lease, now: number, condition = sql``): Effect.Effect<void, SqlError> =>
      Effect.asVoid(sql`UPDATE interlock_idempotency
        SET token = NULL, phase = 'begun', expires_at = 0, forget_at = ${now + keepFor}
        WHERE id IN ${sql.in(idsOf(lease.key))} AND token = ${lease.token} ${condition}`)

    const release = (lease: Lease, now: number): Effect.Effect<void, SqlError> =>
      Effect.gen(function* () {
        const deleted = yield* sql`DELETE FROM interlock_idempotency
          WHERE id IN ${sql.in(idsOf(lease.key))} AND token = ${lease.token} AND abandoned IS NULL RETURNING id`
        if (deleted.length === 0) yield* abandon(lease, now, sql`AND abandoned IS NOT NULL`)
        ended(lease)
      })

    return {
      peek: (key, argumentsHash, now) =>
        find(idsOf(key), now).pipe(
          Effect.map((row) => standing(row === undefined ? undefined : knownOf(row), argumentsHash, now)),
          unavailable("idempotency")
        ),
      claim: (key, claiming, now) => {
        const token = randomId()
        const lease = { key, callId: claiming.callId, token }
        return Effect.andThen(purge(now), claim(key, token, claiming, now)).pipe(
          // A database may have done what its client no longer waits for.
          Effect.onInterrupt(() => Effect.ignore(release(lease, now))),
          unavailable("idempotency")
        )
      },
      begin: (lease) =>
        sql`UPDATE interlock_idempotency SET phase = 'begun', forget_at = expires_at + ${keepFor}
          WHERE id IN ${sql.in(idsOf(lease.key))} AND token = ${lease.token} RETURNING id`.pipe(
          unavailable("idempotency"),
          Effect.flatMap((rows) =>
            rows.length > 0
              ? Effect.void
              : Effect.fail({ _tag: "Unavailable", concern: "idempotency" } as const)
          )
        ),
      complete: (lease, outcome, now) =>
        Effect.gen(function* () {
          const json = outcomeJson(outcome, maxBytes)
          for (const id of idsOf(lease.key)) {
            const sealed = json === undefined ? null : seal(keyring, "sealing", json.text, contextOf(id))
            const done = yield* sql`UPDATE interlock_idempotency
              SET token = NULL, phase = 'done', forget_at = ${now + keepFor}, outcome = ${sealed}
              WHERE id = ${id} AND token = ${lease.token} RETURNING id`
            if (done.length > 0) break
          }
          ended(lease)
        }).pipe(unavailable("idempotency")),
      release: (lease, now) => release(lease, now).pipe(unavailable("idempotency")),
      abandon: (lease, now) =>
        abandon(lease, now).pipe(
          Effect.tap(() => Effect.sync(() => ended(lease))),
          unavailable("idempotency")
        )
    }
  })
}

/** Keys in the database of the `SqlClient`, known by the keyring. */
export const layer = (
  options?: Options
): Layer.Layer<Idempotency, SqlError | MigrationError, SqlClient | Keyring> =>
  Layer.effect(Idempotency, make(options))

type Claiming = Parameters<Idempotency["Service"]["claim"]>[1]
/** Under the active key, then under those before. */
type Ids = readonly [string, ...Array<string>]

interface Row {
  readonly id: string
  readonly call_id: string
  readonly arguments_hash: string
  readonly token: string | null
  readonly phase: Phase
  readonly expires_at: Numeric
  readonly forget_at: Numeric
  readonly abandoned: string | null
  readonly outcome: string | null
}

const knownOf = (row: Row): Known => ({
  callId: row.call_id,
  argumentsHash: row.arguments_hash,
  phase: row.phase,
  expiresAt: Number(row.expires_at),
  forgetAt: Number(row.forget_at),
  abandoned: row.abandoned ?? undefined
})

/** An outcome opens only in the row it was sealed for. */
const contextOf = (id: string): string => `idempotency/${id}`

const purgeInterval = 60_000

const createTable = Effect.gen(function* () {
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE interlock_idempotency (
    id TEXT NOT NULL PRIMARY KEY,
    call_id TEXT NOT NULL,
    arguments_hash TEXT NOT NULL,
    token TEXT,
    phase TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    forget_at BIGINT NOT NULL,
    abandoned TEXT,
    outcome TEXT
  )`
  yield* sql`CREATE INDEX interlock_idempotency_forget_at ON interlock_idempotency (forget_at)`
})
