/**
 * What may be spent: money and any other unit, put aside before it is spent,
 * as an upper bound, and settled at what it came to.
 *
 * An attempt reserves its amounts on every limit that applies to it, or on none.
 * It is then settled, at what it has really cost, or refunded, where it never
 * came to its handler; the first of the two counts and the other changes
 * nothing. In hard mode `settled + reserved <= max + overrun` whatever runs at once; the
 * overrun is what was settled above what was reserved for it, and counts at once.
 *
 * Which limits apply, and where what is spent counts:
 *
 * - A limit without a key for a spending does not apply to it (by tenant, and the
 *   principal has none), nor does one in a unit of which nothing is asked.
 * - A run's own budget is one more hard limit, named "run budget", per run and unit.
 * - Of several limits that are spent the one is named that stays so longest.
 * - An attempt counts in the windows in which it was reserved, whenever it is settled;
 *   a window that is over tells no alerts. What was not reserved at all, in a unit that
 *   only the settlement names, counts in the window in which it is settled.
 * - A window given as a duration begins when a key is first used in it. Time does
 *   not run backwards: who read the clock before the window began counts in it.
 * - A reservation that is neither settled nor refunded is given back after its
 *   `expiresAt`. When it is settled after that all the same, all of it counts as overrun.
 *
 * Amounts are whole numbers below 2^53; `usd` is counted in millionths, and
 * `usd("1.25")` writes them. An amount that is none dies with a `RangeError` and
 * changes nothing. Settling counts what it is told, up to 2^53.
 *
 * `spent` adds up what was settled per principal, tenant, tool, run and day, beside
 * the limits and longer than their windows; only tools to which a limit
 * can apply are seen there.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { Books, Held } from "./internal/budget/books.ts"
import { creditOf, spenderOf } from "./internal/budget/credit.ts"
import { Ledger } from "./internal/budget/ledger.ts"
import { Limits } from "./internal/budget/limits.ts"
import type { Glob } from "./internal/glob.ts"
import { whole } from "./internal/options.ts"
import * as Sliding from "./internal/sliding.ts"
import type { Principal } from "./Principal.ts"
import type { Run } from "./Run.ts"
import type { Amounts, ToolFacts } from "./ToolAnnotations.ts"
import type { Reason, Unavailable } from "./ToolError.ts"

export { usd } from "./internal/amounts.ts"
export type { Unavailable } from "./ToolError.ts"

/** The most that may be spent. */
export interface Limit {
  /**
   * Shown to whoever is refused, and what stored sums are found by; one limit, one name. Default: a description
   * such as `usd per day by principal`.
   */
  readonly name?: string
  /** `usd` by default. */
  readonly unit?: string
  /** Whole, in the unit; `usd` in millionths. */
  readonly max: number
  /**
   * What is counted apart, each combination of it; everything together by default. `call`: all attempts of one call.
   * Principals are told apart within their tenant, runs too.
   */
  readonly per?: Dimension | ReadonlyArray<Dimension>
  /** A day or a month of the calendar, or a time from a key's first use on; for ever by default. */
  readonly window?: "day" | "month" | Duration.Input
  /** Where days and months begin, such as `Europe/Berlin`; `UTC` by default. */
  readonly timeZone?: string
  /** Only principals that have one of them; tiers are two limits. */
  readonly roles?: ReadonlyArray<string>
  /** Only tools that one of them names. */
  readonly tools?: ReadonlyArray<Glob>
  /** `hard` (default) refuses what does not fit; `soft` never refuses, and alerts. */
  readonly mode?: "hard" | "soft"
}

export type Dimension = "call" | "run" | "principal" | "tenant"

export type BudgetExceeded = Extract<Reason, { readonly _tag: "BudgetExceeded" }>

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

export interface SpentQuery {
  /** Its id; ids are unique within a tenant. */
  readonly principal?: string
  readonly tenant?: string
  readonly tool?: string
  readonly run?: string
  /** Milliseconds since the epoch. Days count whole, in UTC, where any part of them is asked for. */
  readonly since?: number
  /** Milliseconds since the epoch, itself not included. */
  readonly until?: number
  /** What is added up apart, such as `["principal", "tool"]`; nothing by default. */
  readonly by?: ReadonlyArray<"principal" | "tenant" | "tool" | "run" | "day">
}

/** What was settled, less what was credited. */
export interface Spent {
  /** By the names in `by`, without those that there are none of; days as `2026-01-31`. */
  readonly key: Readonly<Record<string, string>>
  readonly unit: string
  /** Below zero where more was credited than spent in that time. */
  readonly amount: number
  readonly attempts: number
}

/** Something spent before that was given back. */
export interface Credit {
  /** Milliseconds since the epoch. */
  readonly time: number
  readonly principal: string
  readonly tenant: string | undefined
  readonly tool: string | undefined
  readonly run: string | undefined
  readonly amounts: Amounts
  readonly why: string
}

export interface Standing {
  readonly limit: string
  /** What is counted apart: the ids of tenant, principal, run and call, as far as there are, parted by `/`. */
  readonly key: string
  readonly unit: string
  readonly max: number
  readonly settled: number
  readonly reserved: number
  /** What was settled above what was reserved for it. */
  readonly overrun: number
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

// --- Service ---------------------------------------------------------------

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
    /**
     * What the attempt has really cost; a reservation that has expired meanwhile is counted all the same. Idempotent, so
     * that it can be repeated where it was not answered.
     */
    readonly settle: (
      reservation: Reservation,
      actual: Amounts,
      now: number
    ) => Effect.Effect<void, Unavailable>
    /** Gives a reservation back: the attempt never came to its handler. Idempotent. */
    readonly refund: (reservation: Reservation, now: number) => Effect.Effect<void, Unavailable>
    /**
     * Gives back what was spent before (a refund by the provider): in the current window of every limit that applies to
     * the spender, down to nothing. Limits of calls are left alone, as are those of tools and runs that are not named.
     */
    readonly credit: (
      spender: { readonly principal: Principal; readonly tool?: string; readonly run?: Run },
      amounts: Amounts,
      why: string
    ) => Effect.Effect<void, Unavailable>
    /** The last 1,000 credits, newest first. */
    readonly credits: Effect.Effect<ReadonlyArray<Credit>, Unavailable>
    /** What was spent by whom, on what, since when. */
    readonly spent: (query?: SpentQuery) => Effect.Effect<ReadonlyArray<Spent>, Unavailable>
    /** Each limit with what is settled and reserved in its current window, per key in which anything was. */
    readonly standing: Effect.Effect<ReadonlyArray<Standing>, Unavailable>
    /**
     * 80 and 100 per cent of a limit, settled or reserved, once per window and key. A slow reader loses the oldest of
     * 1,024, and never holds up a call.
     */
    readonly alerts: Stream.Stream<Alert>
  }
>()("interlock/Budget") {}

// --- In process ------------------------------------------------------------

export interface MemoryOptions {
  /** Keys per limit; 100,000. */
  readonly maxKeys?: number
  /** Sums for `spent`, one per day, tenant, principal, tool, run and unit; 100,000, of which the oldest are forgotten. */
  readonly maxSums?: number
}

/** Throws a `RangeError` for a limit or an option that makes no sense. */
export const make = (
  limits: ReadonlyArray<Limit> = [],
  { maxKeys = 100_000, maxSums = 100_000 }: MemoryOptions = {}
): Effect.Effect<Budget["Service"], never, Scope.Scope> => {
  const compiled = new Limits(limits)
  whole("Budget: maxKeys", maxKeys)
  whole("Budget: maxSums", maxSums)
  return Effect.gen(function* () {
    const alerts = yield* Sliding.make<Alert>(1024)
    const books = new Books(compiled, maxKeys, (alert) => Sliding.publish(alerts, alert))
    const ledger = new Ledger(maxSums)
    return {
      applies: (tool) => compiled.of(tool).length > 0,
      peek: (spending, now) => {
        try {
          return Exit.succeed(books.peek(spending, now))
        } catch (defect) {
          return Exit.die(defect)
        }
      },
      reserve: (spending, now) => {
        try {
          return Exit.succeed(books.reserve(spending, now))
        } catch (defect) {
          return Exit.die(defect)
        }
      },
      settle: (reservation, actual, now) => {
        try {
          const held = ours(reservation)
          if (books.settle(held, actual, now)) ledger.settled(held.spending, actual, held.at)
          return Exit.void
        } catch (defect) {
          return Exit.die(defect)
        }
      },
      refund: (reservation) => {
        try {
          books.refund(ours(reservation))
          return Exit.void
        } catch (defect) {
          return Exit.die(defect)
        }
      },
      credit: (spender, amounts, why) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          books.credit(spenderOf(spender), amounts, now)
          ledger.credited(creditOf(spender, amounts, why, now))
        }),
      credits: Effect.sync(() => ledger.credits),
      spent: (query = {}) => Effect.sync(() => ledger.spent(query)),
      standing: Effect.map(Clock.currentTimeMillis, (now) => books.standing(now)),
      alerts: Sliding.stream(alerts)
    }
  })
}

/**
 * A budget of this process; without limits only runs have one, those that bring theirs. What is asked is done when
 * called, and answers with an `Exit`.
 *
 * Memory is bounded. Of the keys of a limit those are forgotten first whose window or call is over, then runs and calls
 * by their last use: who can begin another run gains nothing by it. A hard limit of principals or tenants that is full of
 * keys that count refuses new ones instead, and a soft one forgets the oldest. Throws a `RangeError` for a limit or an
 * option that makes no sense.
 */
export const layerMemory = (
  limits: ReadonlyArray<Limit> = [],
  options: MemoryOptions = {}
): Layer.Layer<Budget> => Layer.effect(Budget, make(limits, options))

const ours = (reservation: Reservation): Held => {
  if (reservation instanceof Held) return reservation
  throw new TypeError("Budget: the reservation was not made by this budget")
}
