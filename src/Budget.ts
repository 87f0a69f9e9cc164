/** (the module doc is written with the module) */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { Principal } from "./Principal.ts"
import type { Run } from "./Run.ts"
import type { Amounts, ToolFacts } from "./ToolAnnotations.ts"
import type { Reason } from "./ToolError.ts"

export type BudgetExceeded = Extract<Reason, { readonly _tag: "BudgetExceeded" }>
export type Unavailable = Extract<Reason, { readonly _tag: "Unavailable" }>

/** Who would spend what. */
export interface Spending {
  readonly callId: string
  readonly tool: ToolFacts
  readonly principal: Principal
  readonly run: Run | undefined
  /** An upper bound, in whole units; `usd` in millionths. */
  readonly amounts: Amounts
  /** Milliseconds since the epoch: after it, a reservation whose owner died is given back. */
  readonly expiresAt: number
}

/** Money put aside for one attempt. */
export interface Reservation {
  readonly id: string
  readonly spending: Spending
}

export class Budget extends Context.Service<
  Budget,
  {
    /** Whether any limit can ever apply to the tool: without one a call pays nothing. */
    readonly applies: (tool: ToolFacts) => boolean
    /** What reserving would come to now. Changes nothing. */
    readonly peek: (spending: Spending, now: number) => Effect.Effect<BudgetExceeded | undefined, Unavailable>
    /** Puts the amounts aside on every limit that applies, or on none. */
    readonly reserve: (
      spending: Spending,
      now: number
    ) => Effect.Effect<Reservation | BudgetExceeded, Unavailable>
    /** What the attempt has really cost; a reservation that has expired meanwhile is counted all the same. Idempotent. */
    readonly settle: (
      reservation: Reservation,
      actual: Amounts,
      now: number
    ) => Effect.Effect<void, Unavailable>
    /** Gives a reservation back: the attempt never came to its handler. Idempotent. */
    readonly refund: (reservation: Reservation, now: number) => Effect.Effect<void, Unavailable>
    /** Gives back what was spent before (a refund by the provider), on every limit that applied to the spender. */
    readonly credit: (
      spender: { readonly principal: Principal; readonly tool?: string; readonly run?: Run },
      amounts: Amounts,
      why: string
    ) => Effect.Effect<void, Unavailable>
    /** What was spent by whom, on what, since when. */
    readonly spent: (query?: SpentQuery) => Effect.Effect<ReadonlyArray<Spent>, Unavailable>
    /** Each limit with what is settled and reserved in its current window. */
    readonly standing: Effect.Effect<ReadonlyArray<Standing>, Unavailable>
    /** 80 % and 100 % of a limit, once per window and key. */
    readonly alerts: Stream.Stream<Alert>
  }
>()("interlock/Budget") {}

export interface SpentQuery {
  readonly principal?: string
  readonly tenant?: string
  readonly tool?: string
  readonly run?: string
  /** Milliseconds since the epoch. */
  readonly since?: number
  readonly until?: number
  /** What is added up apart; `["principal", "tool"]`. */
  readonly by?: ReadonlyArray<"principal" | "tenant" | "tool" | "run" | "day">
}

export interface Spent {
  readonly key: Readonly<Record<string, string>>
  readonly unit: string
  readonly amount: number
  readonly attempts: number
}

export interface Standing {
  readonly limit: string
  readonly key: string
  readonly unit: string
  readonly max: number
  readonly settled: number
  readonly reserved: number
  /** Milliseconds since the epoch; `undefined` for a limit without a window. */
  readonly windowEndsAt: number | undefined
}

export interface Alert {
  readonly limit: string
  readonly key: string
  readonly unit: string
  /** Per cent of the limit: 80 or 100. */
  readonly at: 80 | 100
  readonly max: number
  readonly used: number
  /** Milliseconds since the epoch. */
  readonly time: number
}
