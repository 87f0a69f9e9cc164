/** One effect per idempotency key, in the plainest way: what is known of each key, and a `Deferred` to wait for. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import type { Reason } from "./plainNouns.ts"

/** How a call ended, for those that repeat it. */
export type Outcome = { readonly encoded: unknown } | { readonly reason: Reason }

export type Claim =
  /** The holder of the lease must run the call. */
  | { readonly _tag: "Run"; readonly lease: Lease }
  | { readonly _tag: "Done"; readonly outcome: Outcome }
  /** Another call runs under the key: wait, then claim again. */
  | { readonly _tag: "InFlight"; readonly wait: Effect.Effect<void> }
  | { readonly _tag: "Conflict" }
  /** Nobody knows what came of the call that ran. */
  | { readonly _tag: "Abandoned"; readonly callId: string }

export interface Lease {
  /** The handler is about to begin; `false` where another holds the key by now. */
  readonly begin: Effect.Effect<boolean>
  readonly complete: (outcome: Outcome) => Effect.Effect<void>
  /** Nothing was done: the key is free, unless nobody knows what an earlier holder did. */
  readonly release: Effect.Effect<void>
  /** Nobody knows what was done. */
  readonly abandon: Effect.Effect<void>
}

interface Known {
  readonly callId: string
  readonly about: string
  readonly phase: "claimed" | "begun" | "over"
  readonly expiresAt: number
  /** The call before it, of which nobody knows what it did. */
  readonly abandoned: string | undefined
  readonly outcome: Outcome | undefined
  readonly ended: Deferred.Deferred<void>
}

export const make = Effect.gen(function* () {
  const keys = yield* Ref.make<ReadonlyMap<string, Known>>(new Map())
  const put = (key: string, known: Known) => Ref.update(keys, (all) => new Map(all).set(key, known))

  const leaseOf = (key: string, { ended }: Known): Lease => {
    /** Changes what is known of the key, where the lease still holds it. */
    const change = (change: (known: Known) => Known | undefined) =>
      Ref.modify(keys, (all) => {
        const known = all.get(key)
        if (known?.ended !== ended || known.phase === "over") return [false, all]
        const changed = change(known)
        const next = new Map(all)
        if (changed === undefined) next.delete(key)
        else next.set(key, changed)
        return [true, next]
      })
    const end = (changed: (known: Known) => Known | undefined) =>
      Effect.asVoid(Effect.andThen(change(changed), Deferred.succeed(ended, undefined)))
    return {
      begin: change((known) => ({ ...known, phase: "begun" })),
      complete: (outcome) => end((known) => ({ ...known, phase: "over", outcome })),
      release: end((known) => (known.abandoned === undefined ? undefined : { ...known, phase: "over" })),
      abandon: end((known) => ({ ...known, phase: "over" }))
    }
  }

  return {
    claim: Effect.fnUntraced(function* (
      key: string,
      call: {
        readonly callId: string
        readonly about: string
        readonly expiresAt: number
        /** Runs again what nobody knows of. */
        readonly takeOver: boolean
      }
    ): Effect.fn.Return<Claim> {
      const now = yield* Clock.currentTimeMillis
      const known = (yield* Ref.get(keys)).get(key)
      const isDead = known !== undefined && known.phase !== "over" && now >= known.expiresAt
      // Who died before its handler began has done nothing.
      const isFree = isDead && known.phase === "claimed" && known.abandoned === undefined
      if (known !== undefined && !isFree) {
        if (known.about !== call.about) return { _tag: "Conflict" }
        if (known.outcome !== undefined) return { _tag: "Done", outcome: known.outcome }
        if (known.phase !== "over" && !isDead) {
          const wait = Effect.timeoutOption(Deferred.await(known.ended), known.expiresAt - now)
          return { _tag: "InFlight", wait: Effect.andThen(wait, Effect.yieldNow) }
        }
        if (!call.takeOver) return { _tag: "Abandoned", callId: known.abandoned ?? known.callId }
      }
      const { about, callId, expiresAt } = call
      const abandoned = known === undefined || isFree ? undefined : (known.abandoned ?? known.callId)
      const ended = yield* Deferred.make<void>()
      const mine: Known = {
        callId,
        about,
        phase: "claimed",
        expiresAt,
        abandoned,
        outcome: undefined,
        ended
      }
      yield* put(key, mine)
      return { _tag: "Run", lease: leaseOf(key, mine) }
    })
  }
})
