/** (the module doc is written with the module) */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Reason } from "./ToolError.ts"

export type Unavailable = Extract<Reason, { readonly _tag: "Unavailable" }>

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

export class ResultCache extends Context.Service<
  ResultCache,
  {
    /** A result that still stands. Changes nothing that is stored; which entry was used last is not part of that. */
    readonly get: (key: Key, now: number) => Effect.Effect<Entry | undefined, Unavailable>
    /** Keeps a success for `ttl` milliseconds; larger than the cap of one entry it is not kept. */
    readonly put: (
      key: Key,
      entry: { readonly encoded: unknown; readonly ttl: number; readonly tags: ReadonlyArray<string> },
      now: number
    ) => Effect.Effect<void, Unavailable>
    /** Forgets, and says how many. */
    readonly invalidate: (selection: Selection) => Effect.Effect<number, Unavailable>
  }
>()("interlock/ResultCache") {}
