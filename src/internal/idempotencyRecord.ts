/** What is known of a key, what a claim of it comes to, and how an outcome is written. */
import * as Schema from "effect/Schema"
import type { Claim, Outcome, Retention } from "../Idempotency.ts"
import { Reason } from "../ToolError.ts"
import { type Json, toJson } from "./jsonText.ts"
import { lazily } from "./lazily.ts"
import { millis, whole } from "./options.ts"

/** Checked: milliseconds, and bytes. */
export const retention = ({ keepFor = "24 hours", maxBytes = 1_048_576 }: Retention) => ({
  keepFor: Math.ceil(millis("Idempotency: keepFor", keepFor)),
  maxBytes: whole("Idempotency: maxBytes", maxBytes)
})

/** `claimed`: the handler has not begun. */
export type Phase = "claimed" | "begun" | "done"

/** What is known of a key. Times in milliseconds since the epoch. */
export interface Known {
  readonly callId: string
  readonly argumentsHash: string
  readonly phase: Phase
  /** When the lease ends; of no meaning once done. */
  readonly expiresAt: number
  /** From here on the key is free. */
  readonly forgetAt: number
  /** The call whose outcome nobody knows, where the lease was taken over from a dead owner. */
  readonly abandoned: string | undefined
}

/** What a claim comes to: the rules at the top of `Idempotency`, in their order. */
export const standing = (
  known: Known | undefined,
  argumentsHash: string,
  now: number,
  takeOver = false
): Claim["_tag"] => {
  if (known === undefined || known.forgetAt <= now) return "Run"
  if (known.argumentsHash !== argumentsHash) return "Conflict"
  if (known.phase === "done") return "Done"
  if (now < known.expiresAt) return "InFlight"
  return takeOver ? "Run" : "Abandoned"
}

/**
 * When a lease that was neither completed nor released is forgotten: at its end while no handler can have begun under
 * the key, and otherwise as late as an outcome would be.
 */
export const forgetLeaseAt = (
  lease: Pick<Known, "phase" | "expiresAt" | "abandoned">,
  keepFor: number
): number =>
  lease.phase === "claimed" && lease.abandoned === undefined ? lease.expiresAt : lease.expiresAt + keepFor

// --- Outcomes --------------------------------------------------------------

// Every reason there is makes a large codec, and few calls have a key.
const codec = lazily(() => {
  const reasons = Schema.toCodecJson(Reason)
  return { encode: Schema.encodeSync(reasons), decode: Schema.decodeUnknownSync(reasons) }
})

/** `undefined` for an outcome that cannot be kept: larger than `maxBytes`, or not JSON. */
export const outcomeJson = (outcome: Outcome, maxBytes: number): Json | undefined => {
  if (outcome._tag === "Value") return toJson(outcome, maxBytes)
  try {
    return toJson({ _tag: "Reason", reason: codec().encode(outcome.reason) }, maxBytes)
  } catch {
    return undefined
  }
}

/** The outcome again. What was not kept, or cannot be read, is one that nobody knows: a repetition must not run. */
export const outcomeOf = (text: string | undefined, callId: string): Outcome => {
  if (text !== undefined) {
    try {
      const written = JSON.parse(text)
      return written._tag === "Value"
        ? { _tag: "Value", encoded: written.encoded }
        : { _tag: "Reason", reason: codec().decode(written.reason) }
    } catch {
      // Falls through.
    }
  }
  return { _tag: "Reason", reason: { _tag: "OutcomeUnknown", callId } }
}
