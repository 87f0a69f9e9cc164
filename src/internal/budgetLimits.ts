/** Limits as they are worked with: which apply to a spending, under which key, and whether it fits. */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { BudgetExceeded, Dimension, Limit, Standing } from "../Budget.ts"
import type { Principal } from "../Principal.ts"
import type { Run } from "../Run.ts"
import type { Amounts, ToolFacts } from "../ToolAnnotations.ts"
import { checkAmount, checkAmounts } from "./amounts.ts"
import * as Windows from "./budgetWindows.ts"
import * as Glob from "./glob.ts"

/** Who spends, or is given back; what is missing has no key. */
export interface Spender {
  readonly principal: Principal
  readonly run: Run | undefined
  readonly tool: ToolFacts | undefined
  readonly callId: string | undefined
  /** After it nothing more is reserved for the call. */
  readonly expiresAt: number
}

export interface CompiledLimit {
  readonly name: string
  /** Its place among all limits. */
  readonly index: number
  /** Absent for the budgets that runs bring themselves, which are one limit with a unit and a most per run. */
  readonly bound: { readonly unit: string; readonly max: number } | undefined
  readonly hard: boolean
  readonly windows: Windows.Windows
  /** Whether its keys are calls or runs, which callers make as they like. */
  readonly minted: boolean
  /** Whether it counts everything together. */
  readonly overAll: boolean
  /** `undefined` where it does not apply. */
  readonly keyOf: (spender: Spender) => string | undefined
  /** When a key is used for the last time, as far as that can be known. */
  readonly lastUse: (spender: Spender) => number
  readonly selects: (tool: ToolFacts | undefined) => boolean
}

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
  const { limit, unit } = last.claim
  const refused = { _tag: "BudgetExceeded", limit: limit.name, unit } as const
  return until === Windows.never
    ? refused
    : { ...refused, retryAfter: Duration.millis(Math.max(0, until - now)) }
}

type Level = 80 | 100

/** The levels that have been reached and not been told before; nothing is one while nothing is used. */
export const crossed = (used: number, max: number, alerted: number): ReadonlyArray<Level> => {
  if (used === 0 || alerted === 100 || used < max - Math.floor(max / 5)) return []
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
    .sort((a, b) => (a.key === b.key ? compare(a.unit, b.unit) : compare(a.key, b.key)))
}

const unused = ({ bound, windows }: CompiledLimit, now: number) => ({
  ...windows(now),
  ...bound!,
  key: "",
  settled: 0,
  reserved: 0,
  overrun: 0
})

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

// --- All limits of a budget ------------------------------------------------

const runBudget = "run budget"

export class Limits {
  readonly all: ReadonlyArray<CompiledLimit>
  readonly #configured: ReadonlyArray<CompiledLimit>
  readonly #ofRuns: CompiledLimit
  readonly #byTool = new WeakMap<ToolFacts, ReadonlyArray<CompiledLimit>>()

  /** Throws a `RangeError` for a limit that makes no sense. */
  constructor(limits: ReadonlyArray<Limit>) {
    this.#configured = limits.map(compile)
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
    const claims: Array<Claim> = []
    for (const limit of this.of(spender.tool)) {
      const { max, unit } = limit.bound!
      if (Object.hasOwn(amounts, unit)) add(claims, limit, spender, unit, max, amounts[unit] as number)
    }
    const budget = spender.run?.budget
    if (budget === undefined) return claims
    for (const unit of Object.keys(budget)) {
      checkAmount(budget[unit] as number, unit)
      if (!Object.hasOwn(amounts, unit)) continue
      add(claims, this.#ofRuns, spender, unit, budget[unit] as number, amounts[unit] as number)
    }
    return claims
  }
}

const add = (
  claims: Array<Claim>,
  limit: CompiledLimit,
  spender: Spender,
  unit: string,
  max: number,
  amount: number
): void => {
  const key = limit.keyOf(spender)
  if (key !== undefined) claims.push({ limit, unit, max, key, amount, lastUse: limit.lastUse(spender) })
}

// --- Keys ------------------------------------------------------------------

const escape = (id: string): string =>
  /[%/]/.test(id) ? id.replaceAll("%", "%25").replaceAll("/", "%2F") : id

/**
 * Ids are unique within a tenant, and calls within a principal. One limit always names the same things, so the number
 * of parts says whether there is a tenant: no id meets another's key, whatever is in it.
 */
const keyFor = (per: ReadonlySet<Dimension>): CompiledLimit["keyOf"] => {
  if (per.size === 0) return () => ""
  const byCall = per.has("call")
  const byPrincipal = byCall || per.has("principal")
  const byRun = per.has("run")
  const byTenant = per.has("tenant")
  return ({ callId, principal, run }) => {
    const { tenant } = principal
    if (byTenant && tenant === undefined) return undefined
    let key = tenant === undefined ? "" : `${escape(tenant)}/`
    if (byPrincipal) key += `${escape(principal.id)}/`
    if (byRun) {
      if (run === undefined) return undefined
      key += `${escape(run.id)}/`
    }
    if (byCall) {
      if (callId === undefined) return undefined
      key += `${escape(callId)}/`
    }
    return key.slice(0, -1)
  }
}

// --- Compiling -------------------------------------------------------------

const dimensions: ReadonlySet<Dimension> = new Set(["call", "run", "principal", "tenant"])

const lastUseFor = (per: ReadonlySet<Dimension>): CompiledLimit["lastUse"] => {
  if (per.has("call")) return ({ expiresAt }) => expiresAt
  return per.has("run") ? ({ run }) => run?.deadline ?? Windows.never : () => Windows.never
}

const ofRuns = (index: number): CompiledLimit => ({
  name: runBudget,
  index,
  bound: undefined,
  hard: true,
  windows: Windows.forEver,
  minted: true,
  overAll: false,
  keyOf: keyFor(new Set(["run"])),
  lastUse: lastUseFor(new Set(["run"])),
  selects: () => true
})

const compile = (limit: Limit, index: number): CompiledLimit => {
  const { max, mode = "hard", roles, tools, unit = "usd", window } = limit
  const invalid = (field: string, expected: string): never => {
    const name = limit.name === undefined ? "" : ` (${limit.name})`
    throw new RangeError(`Budget: limits[${index}]${name}: ${field} must be ${expected}`)
  }
  if (limit.name === "") invalid("name", "a name")
  if (unit === "") invalid("unit", "a name")
  if (!(Number.isSafeInteger(max) && max >= 0))
    invalid("max", "a whole number of at least 0, below 2^53 (usd in millionths)")
  if (roles?.length === 0) invalid("roles", "absent or one or more")
  if (tools?.length === 0) invalid("tools", "absent or one or more")
  if (mode !== "hard" && mode !== "soft") invalid("mode", `"hard" or "soft"`)
  const calendar = window === "day" || window === "month"
  if (limit.timeZone !== undefined && !calendar) invalid("timeZone", "absent without a day or a month")
  const per = new Set<Dimension>(typeof limit.per === "string" ? [limit.per] : limit.per)

  for (const one of per) if (!dimensions.has(one)) invalid("per", [...dimensions].join(", "))

  const windowsOf = (): Windows.Windows => {
    if (window === undefined) return Windows.forEver
    if (calendar) {
      const zone = Option.getOrUndefined(DateTime.zoneFromString(limit.timeZone ?? "UTC"))
      return Windows.calendar(window, zone ?? invalid("timeZone", "a time zone such as Europe/Berlin"))
    }
    const duration = Option.getOrElse(Duration.fromInput(window), () => Duration.zero)
    const millis = Math.ceil(Duration.toMillis(duration))
    if (!(millis > 0 && millis <= 8.64e15)) {
      invalid("window", "day, month, or a finite duration longer than 0")
    }
    return Windows.fixed(millis)
  }
  const windows = windowsOf()
  const keyOf = keyFor(per)
  return {
    name: limit.name ?? describe(limit, unit, per),
    index,
    bound: { unit, max },
    hard: mode === "hard",
    windows,
    minted: per.has("call") || per.has("run"),
    overAll: per.size === 0,
    keyOf:
      roles === undefined
        ? keyOf
        : (spender) =>
            spender.principal.roles.some((role) => roles.includes(role)) ? keyOf(spender) : undefined,
    lastUse: window === undefined ? lastUseFor(per) : () => Windows.never,
    selects: (tool) =>
      tools === undefined || (tool !== undefined && Glob.find(tools, tool.names) !== undefined)
  }
}

/** `usd per day by principal for gold on search_*`: without how much, which is the operator's business. */
const describe = ({ roles, tools, window }: Limit, unit: string, per: ReadonlySet<Dimension>): string => {
  const parts = [unit]
  if (window !== undefined) {
    parts.push(
      "per",
      window === "day" || window === "month" ? window : Duration.format(Duration.fromInputUnsafe(window))
    )
  }
  if (per.size > 0) parts.push("by", [...per].join(" and "))
  if (roles !== undefined) parts.push("for", roles.join(", "))
  if (tools !== undefined) parts.push("on", tools.join(", "))
  return parts.join(" ")
}
