/** One call of the plain composition: what it asks, and what is noted of it while it runs. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Ref from "effect/Ref"
import type { Verdict } from "effect-interlock"
import type { Circuit } from "./plainCircuit.ts"
import type { Lease } from "./plainKeys.ts"
import type { Money } from "./plainMoney.ts"
import type { Asker, Reason } from "./plainNouns.ts"
import type { Quota } from "./plainQuota.ts"
import type { Slots } from "./plainSlots.ts"
import type { PlainTool } from "./plainTool.ts"

/** What one call asks for itself. Times in milliseconds; the deadline is a point in time. */
export interface Overrides {
  readonly id?: string | undefined
  readonly timeout?: number | undefined
  readonly retries?: number | undefined
  readonly deadline?: number | undefined
  readonly requireConfirmation?: boolean | undefined
  readonly idempotencyKey?: string | undefined
  /** The call brings the grant that a human has given it. */
  readonly isGranted?: boolean | undefined
}

/** A tool, and what its calls share with others. */
export interface Governed extends Omit<PlainTool, "circuit"> {
  /** What is said of all its calls. */
  readonly named: Verdict.Verdict
  readonly quota: Quota
  readonly quotaPerAttempt: Quota
  readonly slots: Slots
  readonly circuit: Circuit | undefined
  readonly money: Money | undefined
}

export interface Call {
  readonly tool: Governed
  readonly params: unknown
  readonly overrides: Overrides
  readonly asker: Asker
  readonly queuedAt: number
  /** When the call must have ended; infinite where nothing says so. */
  readonly deadline: number
  readonly seen: Ref.Ref<Seen>
}

/** What is noted of a call while it runs. */
export interface Seen {
  readonly attempts: number
  readonly retried: ReadonlyArray<{ readonly attempt: number; readonly code: string; readonly delay: number }>
  readonly startedAt: number | undefined
  /** In millionths of a dollar, of all attempts: what they have cost or, where nobody knows, may have at the most. */
  readonly cost: number | undefined
  /** How its circuit took the last attempt. */
  readonly breaker: "closed" | "half_open" | "open" | undefined
  /** Its value is that of an earlier call. */
  readonly answeredFrom: "idempotency" | undefined
  /** Its limits have been charged. */
  readonly charged: boolean
  /** It holds an idempotency key. */
  readonly lease: Lease | undefined
  /** Of an attempt nobody knows what it did. */
  readonly mayHaveRun: boolean
  /** What was left running. */
  readonly abandoned: ReadonlyArray<Promise<unknown>>
}

export const nothingSeen: Seen = {
  attempts: 0,
  retried: [],
  startedAt: undefined,
  cost: undefined,
  breaker: undefined,
  answeredFrom: undefined,
  charged: false,
  lease: undefined,
  mayHaveRun: false,
  abandoned: []
}

/** Milliseconds until the deadline. */
export const left = ({ deadline }: Call): Effect.Effect<number> =>
  Effect.map(Clock.currentTimeMillis, (now) => deadline - now)

export const pastDeadline = ({ deadline, queuedAt }: Call): Reason => ({
  _tag: "TimedOut",
  scope: "deadline",
  after: Duration.millis(Math.max(0, deadline - queuedAt))
})
