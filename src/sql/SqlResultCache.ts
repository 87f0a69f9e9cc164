/**
 * `ResultCache` in SQL: results that several processes share, and that outlive
 * them.
 *
 * Values are sealed, and keys, tools, tags and identities are keyed hashes, so the
 * table tells nobody who asked for what. All processes need the same `Keyring`
 * with the same active key; results kept under another are not found and not
 * invalidated, and go when they expire.
 *
 * Beyond `maxEntries` the results stored longest ago go, looked at every hundredth
 * put, so there may be a few more. Processes that share it need clocks that agree
 * better than results live.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { MigrationError } from "effect/sql/Migrator"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { toJson } from "../internal/jsonText.ts"
import * as KeyText from "../internal/keyText.ts"
import { whole } from "../internal/options.ts"
import { mac, open, seal } from "../internal/sealing.ts"
import { endOfTime, migrate, type Numeric, unavailable } from "../internal/sqlStore.ts"
import { Keyring } from "../Keyring.ts"
import { type Entry, type Key, ResultCache } from "../ResultCache.ts"

export interface Options {
  /** Results at once; default 10,000. */
  readonly maxEntries?: number
  /** Of one result's JSON; default 64 KiB. */
  readonly maxEntryBytes?: number
}

/** Throws a `RangeError` for an option that makes no sense. Creates its tables where there are none. */
export const make = (
  options: Options = {}
): Effect.Effect<ResultCache["Service"], SqlError | MigrationError, SqlClient | Keyring> => {
  const maxEntries = whole("SqlResultCache: maxEntries", options.maxEntries ?? 10_000)
  const maxEntryBytes = whole("SqlResultCache: maxEntryBytes", options.maxEntryBytes ?? 65_536)
  return Effect.gen(function* () {
    const sql = yield* SqlClient
    const keyring = yield* Keyring
    yield* migrate("interlock_result_cache_migrations", { "1_create_result_cache": createTables })

    const hash = (kind: string, text: string): string =>
      mac(keyring.key("arguments"), `result-cache/${kind}/${text}`)
    const principalOf = (principal: string | undefined): string | null =>
      principal === undefined ? null : hash("principal", principal)
    const tenantOf = (tenant: string | undefined): string | null =>
      tenant === undefined ? null : hash("tenant", tenant)
    const idOf = (key: Key): string => hash("key", KeyText.ofResult(key))

    let puts = 0
    const makeRoom = (now: number): Effect.Effect<void, SqlError> =>
      puts++ % 100 > 0
        ? Effect.void
        : Effect.gen(function* () {
            yield* sql`DELETE FROM interlock_result_cache WHERE expires_at <= ${now}`
            yield* sql`DELETE FROM interlock_result_cache WHERE id IN
              (SELECT id FROM interlock_result_cache ORDER BY stored_at DESC LIMIT 10000 OFFSET ${maxEntries})`
          })

    const put = (
      key: Key,
      { encoded, since = endOfTime, tags, ttl }: Parameters<ResultCache["Service"]["put"]>[1],
      now: number
    ): Effect.Effect<void, SqlError> =>
      Effect.gen(function* () {
        const id = idOf(key)
        const json = ttl > 0 ? toJson(encoded, maxEntryBytes) : undefined
        if (json === undefined) {
          yield* sql`DELETE FROM interlock_result_cache WHERE id = ${id}`
          return
        }
        const value = seal(keyring, "sealing", json.text, contextOf(id))
        const expiresAt = Math.min(Math.ceil(now + ttl), endOfTime)
        const marks = tags.map((tag) => ` ${hash("tag", tag)} `).join("")
        yield* sql`INSERT INTO interlock_result_cache (id, tool, tags, principal, tenant, stored_at, expires_at, value)
          SELECT ${id}, ${hash("tool", key.tool)}, ${marks}, CAST(${principalOf(key.principal)} AS TEXT),
            CAST(${tenantOf(key.tenant)} AS TEXT), CAST(${now} AS BIGINT), CAST(${expiresAt} AS BIGINT), ${value}
          WHERE NOT EXISTS
            (SELECT 1 FROM interlock_result_cache_invalidated WHERE happened_at >= CAST(${since} AS BIGINT))
          ON CONFLICT (id) DO UPDATE SET tags = excluded.tags, stored_at = excluded.stored_at,
            expires_at = excluded.expires_at, value = excluded.value`
        yield* makeRoom(now)
      })

    return {
      get: (key, now) =>
        Effect.gen(function* () {
          const id = idOf(key)
          const [row] = yield* sql<Row>`SELECT value, stored_at FROM interlock_result_cache
            WHERE id = ${id} AND expires_at > ${now}`
          const text = row && open(keyring, "sealing", row.value, contextOf(id))
          if (row === undefined || text === undefined) return undefined
          return { encoded: JSON.parse(text), storedAt: Number(row.stored_at) } satisfies Entry
        }).pipe(unavailable("cache")),
      put: (key, entry, now) => unavailable("cache")(put(key, entry, now)),
      invalidate: ({ principal, tag, tenant, tool }) =>
        Effect.gen(function* () {
          const now = yield* Clock.currentTimeMillis
          // First, so that nothing older is put after the rest was deleted.
          yield* sql`UPDATE interlock_result_cache_invalidated SET happened_at = ${now} WHERE happened_at < ${now}`
          const conditions = [
            ...(tool === undefined ? [] : [sql`tool = ${hash("tool", tool)}`]),
            ...(tag === undefined ? [] : [sql`tags LIKE ${`% ${hash("tag", tag)} %`}`]),
            ...(principal === undefined ? [] : [sql`principal = ${principalOf(principal)}`]),
            ...(tenant === undefined ? [] : [sql`tenant = ${tenantOf(tenant)}`])
          ]
          const deleted =
            yield* sql`DELETE FROM interlock_result_cache WHERE ${sql.and([sql`1 = 1`, ...conditions])} RETURNING id`
          return deleted.length
        }).pipe(unavailable("cache"))
    }
  })
}

/** Results in the database of the `SqlClient`, readable with the keyring. */
export const layer = (
  options?: Options
): Layer.Layer<ResultCache, SqlError | MigrationError, SqlClient | Keyring> =>
  Layer.effect(ResultCache, make(options))

interface Row {
  readonly value: string
  readonly stored_at: Numeric
}

/** A value opens only in the row it was sealed for. */
const contextOf = (id: string): string => `result-cache/${id}`

const createTables = Effect.gen(function* () {
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE interlock_result_cache (
    id TEXT NOT NULL PRIMARY KEY,
    tool TEXT NOT NULL,
    tags TEXT NOT NULL,
    principal TEXT,
    tenant TEXT,
    stored_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    value TEXT NOT NULL
  )`
  yield* sql`CREATE INDEX interlock_result_cache_stored_at ON interlock_result_cache (stored_at)`
  yield* sql`CREATE INDEX interlock_result_cache_expires_at ON interlock_result_cache (expires_at)`
  yield* sql`CREATE TABLE interlock_result_cache_invalidated (happened_at BIGINT NOT NULL)`
  yield* sql`INSERT INTO interlock_result_cache_invalidated (happened_at) VALUES (-1)`
})
