/** (the module doc is written with the module) */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Reason } from "./ToolError.ts"

export type Unavailable = Extract<Reason, { readonly _tag: "Unavailable" }>

/** Whose effect a key names: the same key of another principal or tool is another. */
export interface Key {
  readonly tenant: string | undefined
  readonly principal: string
  readonly tool: string
  readonly key: string
}

/** How a call ended, as it is given again: JSON both. */
export type Outcome =
  | { readonly _tag: "Value"; readonly encoded: unknown }
  | { readonly _tag: "Reason"; readonly reason: Reason }

/** The right to run a call, held until it is completed or given back. */
export interface Lease {
  readonly key: Key
  readonly callId: string
  /** Made anew whenever a key is claimed anew: whoever lost it completes nothing. */
  readonly token: string
}

export type Claim =
  /** Nobody has run it: the holder of the lease must. */
  | { readonly _tag: "Run"; readonly lease: Lease }
  /** It has run: this is what came of it. */
  | { readonly _tag: "Done"; readonly callId: string; readonly outcome: Outcome }
  /** It runs now; `wait` ends when that call has ended or is given up, and then the key is claimed anew. */
  | { readonly _tag: "InFlight"; readonly callId: string; readonly wait: Effect.Effect<void, Unavailable> }
  /** The key was used for other arguments. */
  | { readonly _tag: "Conflict" }
  /** Whoever ran it died after its handler may have begun: nobody knows. */
  | { readonly _tag: "Abandoned"; readonly callId: string }

export class Idempotency extends Context.Service<
  Idempotency,
  {
    /** What claiming would come to. Changes nothing. */
    readonly peek: (key: Key, argumentsHash: string, now: number) => Effect.Effect<Claim["_tag"], Unavailable>
    /** `expiresAt`, in milliseconds since the epoch: when the lease of an owner that died may be taken over. */
    readonly claim: (
      key: Key,
      claim: {
        readonly callId: string
        readonly argumentsHash: string
        readonly expiresAt: number
        /** Take over where the last owner died: what `Abandoned` is answered with when the tool may be run again. */
        readonly takeOver?: boolean
      },
      now: number
    ) => Effect.Effect<Claim, Unavailable>
    /** The handler is about to begin: from here on a dead owner leaves the outcome unknown. */
    readonly begin: (lease: Lease, now: number) => Effect.Effect<void, Unavailable>
    /** What came of it, for every repetition. */
    readonly complete: (lease: Lease, outcome: Outcome, now: number) => Effect.Effect<void, Unavailable>
    /** Nothing came of it that a repetition should be given: the key is free again. Idempotent, and never waits in memory. */
    readonly release: (lease: Lease, now: number) => Effect.Effect<void, Unavailable>
  }
>()("interlock/Idempotency") {}
