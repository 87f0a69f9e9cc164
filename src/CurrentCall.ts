/**
 * The call a handler runs for, ambient in its fiber: what it needs to be safe
 * to repeat, to stop in time and to tell its log lines apart.
 */
import * as Context from "effect/Context"
import type { Amounts } from "./ToolAnnotations.ts"

export interface CurrentCall {
  readonly callId: string
  readonly tool: string
  /** 1 for the first. */
  readonly attempt: number
  /** Equal for every attempt of what the caller means as one effect. */
  readonly idempotencyKey: string | undefined
  /** Milliseconds since the epoch by which the call must have ended. */
  readonly deadline: number | undefined
  readonly metadata: Readonly<Record<string, string>> | undefined
  /** Tells what the attempt has really cost so far, by unit; millionths of a dollar for a number. Adds up. */
  readonly spend: (amounts: number | Amounts) => void
  /** Aborts when the attempt is interrupted or timed out. */
  readonly signal: AbortSignal
}

/** The governed call of the calling fiber; `undefined` outside of one. */
export const CurrentCall: Context.Reference<CurrentCall | undefined> = Context.Reference<
  CurrentCall | undefined
>("interlock/CurrentCall", { defaultValue: () => undefined })
