/**
 * One effect per key: a call that is repeated with its idempotency key is given
 * what came of the first one, and runs nothing.
 *
 * Whoever claims a key that is free holds a lease on it and must run the call,
 * then `complete` it with its outcome or `release` it. The lease ends at its
 * `expiresAt`, so that an owner that died does not hold the key for ever. `begin`
 * says that the handler is about to begin: an owner that dies before it has
 * done nothing, one that dies after it leaves an outcome that nobody knows, as
 * does one that ends without knowing and says so with `abandon`.
 *
 * What a claim comes to, the first that holds:
 *
 * 1. `Run`: nothing is known of the key, its outcome is no longer kept, or its
 *    owner's lease ended before `begin`.
 * 2. `Conflict`: the key is known, with other arguments.
 * 3. `Done`: it was completed; this is the outcome.
 * 4. `InFlight`: the lease runs; `wait`, then claim again.
 * 5. `Abandoned`: the lease ended after `begin`; with `takeOver`, `Run`.
 *
 * A lease is lost once another holds the key, or the key is done or forgotten:
 * nothing its owner does changes anything then, and its `begin` fails as
 * unavailable, because its handler must not run. A lease that has ended and that
 * nobody took over is still its owner's, since a late outcome is better than
 * none. A key that was abandoned stays so until it is completed: releasing a
 * lease that was taken over does not make it free.
 *
 * Outcomes, and what is known of abandoned keys, are kept for `keepFor`, 24 hours
 * by default; after that a repetition runs. An outcome of more than `maxBytes` of
 * JSON (1 MiB by default), or one that is no JSON, is not kept, and its key is: a
 * repetition ends as `OutcomeUnknown`, since running it would be worse. Leases
 * and retention compare the times that callers give, so processes that share a
 * store need clocks that agree to within what is left of a lease.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { Entries, Entry } from "./internal/idempotencyEntries.ts"
import {
  forgetLeaseAt,
  type Known,
  outcomeJson,
  outcomeOf,
  retention,
  standing
} from "./internal/idempotencyRecord.ts"
import * as KeyText from "./internal/keyText.ts"
import { whole } from "./internal/options.ts"
import type { Reason, Unavailable } from "./ToolError.ts"

export type { Unavailable } from "./ToolError.ts"

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

/** How long outcomes are kept, and how large they may be. */
export interface Retention {
  /** From completion, or from the end of an abandoned lease; default 24 hours, finite. */
  readonly keepFor?: Duration.Input
  /** Of an outcome's JSON; default 1 MiB. */
  readonly maxBytes?: number
}

// --- Service ---------------------------------------------------------------

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
    /**
     * The handler is about to begin: from here on a dead owner leaves the outcome unknown. Idempotent. Fails for a lease
     * that was lost, whose handler must not begin.
     */
    readonly begin: (lease: Lease, now: number) => Effect.Effect<void, Unavailable>
    /** What came of it, for every repetition; nothing for a lease that was lost. */
    readonly complete: (lease: Lease, outcome: Outcome, now: number) => Effect.Effect<void, Unavailable>
    /** Nothing came of it that a repetition should be given: the key is free again. Idempotent, and never waits in memory. */
    readonly release: (lease: Lease, now: number) => Effect.Effect<void, Unavailable>
    /** The call ended, and nobody knows what came of it: as if its owner had died, but at once. Idempotent. */
    readonly abandon: (lease: Lease, now: number) => Effect.Effect<void, Unavailable>
  }
>()("interlock/Idempotency") {}

// --- In process ------------------------------------------------------------

export interface MemoryOptions extends Retention {
  /**
   * Keys known at once; default 100,000. Beyond it the oldest outcome is forgotten, and its key is free. Keys that run or
   * are abandoned always stay: where there are only those, a claim of a new key fails as unavailable.
   */
  readonly maxKeys?: number
  /** Of all outcomes together; default 64 MiB of JSON. Beyond it the oldest become unknown, and their keys stay. */
  readonly maxTotalBytes?: number
}

/**
 * Keys known to this process, forgotten with it: a crash is then the end of everything that was claimed. All that need
 * not wait is done when called, and answers with an `Exit`. Throws a `RangeError` for an option that makes no sense.
 */
export const layerMemory = (options: MemoryOptions = {}): Layer.Layer<Idempotency> => {
  const bounds = {
    ...retention(options),
    maxKeys: whole("Idempotency: maxKeys", options.maxKeys ?? 100_000),
    maxTotalBytes: whole("Idempotency: maxTotalBytes", options.maxTotalBytes ?? 67_108_864)
  }
  return Layer.sync(Idempotency, () => makeMemory(bounds))
}

const makeMemory = (bounds: {
  readonly keepFor: number
  readonly maxBytes: number
  readonly maxKeys: number
  readonly maxTotalBytes: number
}): Idempotency["Service"] => {
  const { keepFor, maxBytes } = bounds
  const entries = new Entries(bounds.maxKeys, bounds.maxTotalBytes)
  let tokens = 0

  /** The entry that a lease still holds. */
  const heldBy = (lease: Lease): Entry | undefined => {
    const entry = entries.get(KeyText.ofClaim(lease.key))
    return entry?.token === lease.token ? entry : undefined
  }

  const abandon = (entry: Entry, now: number): void => {
    entry.phase = "begun"
    // Over for good, even where the clock is set back.
    entry.expiresAt = 0
    entry.forgetAt = now + keepFor
    entry.end()
  }

  return {
    peek: (key, argumentsHash, now) =>
      Exit.succeed(standing(entries.get(KeyText.ofClaim(key)), argumentsHash, now)),
    claim: (key, { argumentsHash, callId, expiresAt, takeOver }, now) => {
      const id = KeyText.ofClaim(key)
      const known = entries.get(id)
      switch (standing(known, argumentsHash, now, takeOver)) {
        case "Run": {
          if (known === undefined && !entries.hasRoom(now)) return unavailable
          const token = String(++tokens)
          const abandoned = known === undefined || known.forgetAt <= now ? undefined : unknownCallOf(known)
          if (known !== undefined) entries.remove(known)
          entries.add(new Entry(id, callId, argumentsHash, token, expiresAt, abandoned, keepFor))
          return Exit.succeed({ _tag: "Run", lease: { key, callId, token } })
        }
        case "Conflict":
          return conflict
        case "Done":
          return Exit.succeed({
            _tag: "Done",
            callId: known!.callId,
            outcome: outcomeOf(known!.outcome?.text, known!.callId)
          })
        case "InFlight":
          return Exit.succeed({ _tag: "InFlight", callId: known!.callId, wait: endOf(known!) })
        case "Abandoned":
          return Exit.succeed({ _tag: "Abandoned", callId: unknownCallOf(known!) })
      }
    },
    begin: (lease) => {
      const entry = heldBy(lease)
      if (entry === undefined) return unavailable
      entry.phase = "begun"
      entry.forgetAt = forgetLeaseAt(entry, keepFor)
      return Exit.void
    },
    complete: (lease, outcome, now) => {
      const entry = heldBy(lease)
      if (entry === undefined) return Exit.void
      entry.phase = "done"
      entry.forgetAt = now + keepFor
      entries.keep(entry, outcomeJson(outcome, maxBytes))
      entry.end()
      return Exit.void
    },
    release: (lease, now) => {
      const entry = heldBy(lease)
      if (entry === undefined) return Exit.void
      if (entry.abandoned === undefined) entries.remove(entry)
      else abandon(entry, now)
      return Exit.void
    },
    abandon: (lease, now) => {
      const entry = heldBy(lease)
      if (entry !== undefined) abandon(entry, now)
      return Exit.void
    }
  }
}

const unavailable = Exit.fail<Unavailable>({ _tag: "Unavailable", concern: "idempotency" })
const conflict = Exit.succeed<Claim>({ _tag: "Conflict" })

const unknownCallOf = (known: Known): string => known.abandoned ?? known.callId

/** Ends with the lease that runs now, by its owner or by its time. */
const endOf = (entry: Entry): Effect.Effect<void> => {
  const { token } = entry
  return Effect.flatMap(Clock.currentTimeMillis, (now) =>
    // Nothing comes between the look at the entry and joining its waiters.
    entry.token !== token
      ? Effect.void
      : Effect.asVoid(Effect.timeoutOption(entry.signal().wait, Math.max(0, entry.expiresAt - now)))
  )
}
