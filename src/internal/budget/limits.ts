/** All limits of a budget: what a spending asks of which of them, and whether it fits. */
import * as Duration from "effect/Duration"
import * as Order from "effect/Order"
import type { BudgetExceeded, Limit, Standing } from "../../Budget.ts"
import type { Amounts, ToolFacts } from "../../ToolAnnotations.ts"
import { checkAmount, checkAmounts } from "../amounts.ts"
import { type CompiledLimit, compile, ofRuns, type Spender } from "./limit.ts"
import * as Windows from "./windows.ts"

/** What a spending asks of one limit. */
export interface Claim {
  readonly limit: CompiledLimit
  readonly unit: string
  readonly max: number
  readonly key: string
  readonly amount: number
  readonly lastUse: number
}

/** What counts against a limit in one window. */
export interface Balance extends Windows.Window {
  readonly settled: number
  readonly reserved: number
  /** What was settled above what was reserved for it. */
  readonly overrun: number
}

// --- Deciding --------------------------------------------------------------

/** Whether an amount still fits. A soft limit takes everything that it can count. */
export const fits = ({ amount, limit, max, unit }: Claim, used: number): boolean => {
  if (used + amount <= (limit.hard ? max : Number.MAX_SAFE_INTEGER)) return true
  if (limit.hard) return false
  throw new RangeError(`Budget: the sum in "${unit}" would not be below 2^53`)
}

/** A claim that does not fit, and until when that may stay so. */
export interface Exceeded {
  readonly claim: Claim
  readonly endsAt: number
}

/** Of the limits that are exceeded the one is named that stays so longest, because waiting for another is in vain. */
export const refusal = (exceeded: ReadonlyArray<Exceeded>, now: number): BudgetExceeded | undefined => {
  let last: Exceeded | undefined
  let until = 0
  for (const one of exceeded) {
    // What is more than the whole limit does not fit in the next window either.
    const endsAt = one.claim.amount > one.claim.max ? Windows.never : one.endsAt
    if (last !== undefined && endsAt <= until) continue
    last = one
    until = endsAt
  }
  if (last === undefined) return undefined
  const _tag = "BudgetExceeded"
  const { limit, unit } = last.claim
  return until === Windows.never
    ? { _tag, limit: limit.name, unit }
    : { _tag, limit: limit.name, unit, retryAfter: Duration.millis(Math.max(0, until - now)) }
}

type Level = 80 | 100

const none: ReadonlyArray<never> = []

/** The levels that have been reached and not been told before; nothing is one while nothing is used. */
export const crossed = (used: number, max: number, alerted: number): ReadonlyArray<Level> => {
  if (used === 0 || alerted === 100 || used < max - Math.floor(max / 5)) return none
  if (used < max) return alerted === 80 ? [] : [80]
  return alerted === 80 ? [100] : [80, 100]
}

/** How a limit stands: its books in the order of their keys, and nothing used where all counts together and nobody came. */
export const standings = (
  limit: CompiledLimit,
  books: ReadonlyArray<Balance & { readonly key: string; readonly unit: string; readonly max: number }>,
  now: number
): ReadonlyArray<Standing> => {
  const stands = limit.overAll && books.length === 0 ? [unused(limit, now)] : books
  return stands
    .map(({ endsAt, key, max, overrun, reserved, settled, unit }) => ({
      limit: limit.name,
      key,
      unit,
      max,
      settled,
      reserved,
      overrun,
      windowEndsAt: endsAt === Windows.never ? undefined : endsAt
    }))
    .sort(byKey)
}

const unused = ({ bound, windows }: CompiledLimit, now: number) => ({
  ...windows(now),
  ...bound!,
  key: "",
  settled: 0,
  reserved: 0,
  overrun: 0
})

const byKey = Order.combine(
  Order.mapInput(Order.String, ({ key }: Standing) => key),
  Order.mapInput(Order.String, ({ unit }: Standing) => unit)
)

// --- All limits of a budget ------------------------------------------------

export class Limits {
  readonly all: ReadonlyArray<CompiledLimit>
  readonly #configured: ReadonlyArray<CompiledLimit>
  readonly #ofRuns: CompiledLimit
  /** Whether no limit names tools, so that none need be looked up. */
  readonly #forAll: boolean
  readonly #byTool = new WeakMap<ToolFacts, ReadonlyArray<CompiledLimit>>()

  /** Throws a `RangeError` for a limit that makes no sense. */
  constructor(limits: ReadonlyArray<Limit>) {
    this.#configured = limits.map(compile)
    this.#forAll = this.#configured.every((limit) => limit.selects(undefined))
    this.#ofRuns = ofRuns(limits.length)
    this.all = [...this.#configured, this.#ofRuns]
    const names = new Set<string>()
    for (const { name } of this.all) {
      if (names.has(name)) throw new RangeError(`Budget: two limits are named "${name}"; give them names`)
      names.add(name)
    }
  }

  /** The configured limits that can apply to a tool. */
  of(tool: ToolFacts | undefined): ReadonlyArray<CompiledLimit> {
    if (this.#forAll) return this.#configured
    if (tool === undefined) return this.#configured.filter((limit) => limit.selects(undefined))
    let found = this.#byTool.get(tool)
    if (found === undefined) {
      found = this.#configured.filter((limit) => limit.selects(tool))
      this.#byTool.set(tool, found)
    }
    return found
  }

  /** What is asked of each limit, in the order of the limits, the run's own last. Throws for nonsense amounts. */
  claims(spender: Spender, amounts: Amounts): ReadonlyArray<Claim> {
    checkAmounts(amounts)
    let claims: ReadonlyArray<Claim> = none
    for (const limit of this.of(spender.tool)) {
      const { max, unit } = limit.bound!
      if (Object.hasOwn(amounts, unit))
        claims = add(claims, limit, spender, unit, max, amounts[unit] as number)
    }
    const budget = spender.run?.budget
    if (budget === undefined) return claims
    for (const unit in budget) {
      if (!Object.hasOwn(budget, unit)) continue
      checkAmount(budget[unit] as number, unit)
      if (!Object.hasOwn(amounts, unit)) continue
      claims = add(claims, this.#ofRuns, spender, unit, budget[unit] as number, amounts[unit] as number)
    }
    return claims
  }
}

const add = (
  claims: ReadonlyArray<Claim>,
  limit: CompiledLimit,
  spender: Spender,
  unit: string,
  max: number,
  amount: number
): ReadonlyArray<Claim> => {
  const key = limit.keyOf(spender)
  if (key === undefined) return claims
  const claim = { limit, unit, max, key, amount, lastUse: limit.lastUse(spender) }
  // A list that is pushed onto makes room for many, and there is mostly one.
  return claims.length === 0 ? [claim] : [...claims, claim]
}
