/**
 * Results that may be given again without a run: of tools whose result depends
 * on nothing but the arguments and whoever asks.
 *
 * A result is kept for the tenant, the principal (unless the tool shares results
 * within the tenant), the tool, the digest of its definition and the keyed hash of
 * its canonical arguments; where any of them is another, so is the result. What
 * is put are successes: whoever puts decides, and checks rights before it gets.
 *
 * A result stands until its `ttl` has passed on the caller's clock, until it is
 * invalidated, or until its room is needed. It is kept as JSON text, so a change
 * to a value that was put or given changes nothing here. A result larger than
 * `maxEntryBytes` (64 KiB by default), or one that is no JSON, is not kept, and
 * neither is then what it would have replaced.
 *
 * Results that are shared within a tenant name no principal, so a selection by
 * principal leaves them: whose they were is not known.
 *
 * (`effect/Cache` and `PersistedCache` are made around a lookup of theirs, count
 * entries and not bytes, and forget by key; what is selected here is found by a
 * walk, and a hit is an `Exit`.)
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { toJson } from "./internal/jsonText.ts"
import * as KeyText from "./internal/keyText.ts"
import { Line, type Place } from "./internal/line.ts"
import { whole } from "./internal/options.ts"
import type { Unavailable } from "./ToolError.ts"

export type { Unavailable } from "./ToolError.ts"

/** Whose result of what. `principal` is absent where the tool's results are shared within the tenant. */
export interface Key {
  readonly tenant: string | undefined
  readonly principal: string | undefined
  readonly tool: string
  /** Digest of the tool's definition: a changed tool has no old results. */
  readonly toolDigest: string
  /** Keyed hash of the canonical arguments. */
  readonly argumentsHash: string
}

export interface Entry {
  readonly encoded: unknown
  /** Milliseconds since the epoch. */
  readonly storedAt: number
}

/** What is forgotten; everything given must hold, and nothing given is everything. */
export interface Selection {
  readonly tool?: string
  readonly tag?: string
  readonly principal?: string
  readonly tenant?: string
}

// --- Service ---------------------------------------------------------------

export class ResultCache extends Context.Service<
  ResultCache,
  {
    /** A result that still stands. Changes nothing that is stored; which entry was used last is not part of that. */
    readonly get: (key: Key, now: number) => Effect.Effect<Entry | undefined, Unavailable>
    /** Keeps a success for `ttl` milliseconds; larger than the cap of one entry it is not kept. */
    readonly put: (
      key: Key,
      entry: {
        readonly encoded: unknown
        readonly ttl: number
        readonly tags: ReadonlyArray<string>
        /**
         * When the call began, in milliseconds since the epoch. What began before the last invalidation, whatever that
         * selected, is not kept: it may be what was invalidated.
         */
        readonly since?: number
      },
      now: number
    ) => Effect.Effect<void, Unavailable>
    /** Forgets, and says how many. Looks at every entry. */
    readonly invalidate: (selection: Selection) => Effect.Effect<number, Unavailable>
  }
>()("interlock/ResultCache") {}

// --- In process ------------------------------------------------------------

export interface Options {
  /** Results at once; default 1,000. Beyond it those used longest ago go. */
  readonly maxEntries?: number
  /** Of one result's JSON; default 64 KiB. */
  readonly maxEntryBytes?: number
  /** Of all results together; default 64 MiB. Beyond it those used longest ago go. */
  readonly maxTotalBytes?: number
}

/**
 * Results in this process. `get` and `put` are done when called, and answer with an `Exit`. Throws a `RangeError` for an
 * option that makes no sense.
 */
export const layerMemory = (options: Options = {}): Layer.Layer<ResultCache> => {
  const bounds = {
    maxEntries: whole("ResultCache: maxEntries", options.maxEntries ?? 1_000),
    maxEntryBytes: whole("ResultCache: maxEntryBytes", options.maxEntryBytes ?? 65_536),
    maxTotalBytes: whole("ResultCache: maxTotalBytes", options.maxTotalBytes ?? 67_108_864)
  }
  return Layer.sync(ResultCache, () => makeMemory(bounds))
}

interface Kept {
  readonly key: Key
  readonly text: string
  readonly bytes: number
  readonly tags: ReadonlyArray<string>
  readonly storedAt: number
  readonly expiresAt: number
}

const nothing = Exit.succeed(undefined)

const makeMemory = (bounds: Required<Options>): ResultCache["Service"] => {
  const places = new Map<string, Place<Kept>>()
  /** Used longest ago first. */
  const byUse = new Line<Kept>()
  let bytes = 0
  let invalidatedAt = Number.NEGATIVE_INFINITY

  const remove = (id: string, place: Place<Kept>): void => {
    places.delete(id)
    byUse.leave(place)
    bytes -= place.value.bytes
  }

  return {
    get: (key, now) => {
      const place = places.get(KeyText.ofResult(key))
      if (place === undefined || place.value.expiresAt <= now) return nothing
      byUse.moveToEnd(place)
      const { storedAt, text } = place.value
      return Exit.succeed({ encoded: JSON.parse(text), storedAt })
    },
    put: (key, { encoded, since = Number.POSITIVE_INFINITY, tags, ttl }, now) => {
      const id = KeyText.ofResult(key)
      if (since <= invalidatedAt) return Exit.void
      const known = places.get(id)
      if (known !== undefined) remove(id, known)
      const json = ttl > 0 ? toJson(encoded, Math.min(bounds.maxEntryBytes, bounds.maxTotalBytes)) : undefined
      if (json === undefined) return Exit.void
      bytes += json.bytes
      places.set(id, byUse.join({ key, ...json, tags: [...tags], storedAt: now, expiresAt: now + ttl }))
      while (places.size > bounds.maxEntries || bytes > bounds.maxTotalBytes) {
        const oldest = byUse.first!
        remove(KeyText.ofResult(oldest.value.key), oldest)
      }
      return Exit.void
    },
    invalidate: (selection) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        invalidatedAt = Math.max(invalidatedAt, now)
        let count = 0
        for (const [id, place] of places) {
          if (!matches(selection, place.value)) continue
          remove(id, place)
          count++
        }
        return count
      })
  }
}

const matches = (selection: Selection, { key, tags }: Kept): boolean =>
  (selection.tool === undefined || selection.tool === key.tool) &&
  (selection.tag === undefined || tags.includes(selection.tag)) &&
  (selection.principal === undefined || selection.principal === key.principal) &&
  (selection.tenant === undefined || selection.tenant === key.tenant)
