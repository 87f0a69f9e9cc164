/** What was spent by whom, on what, on which day: sums that are bounded in number, the oldest forgotten first. */
import type { Credit, Spending, Spent, SpentQuery } from "../../Budget.ts"
import type { Amounts } from "../../ToolAnnotations.ts"
import { amountOf, plus } from "../amounts.ts"

/** By whom and on what; `undefined` where there is none or it was not said. */
export interface Account {
  /** Days since the epoch, in UTC. */
  readonly day: number
  readonly tenant: string | undefined
  readonly principal: string
  readonly tool: string | undefined
  readonly run: string | undefined
}

export interface Entry extends Account {
  readonly unit: string
  amount: number
  attempts: number
}

const dayMillis = 86_400_000

export const dayOf = (time: number): number => Math.floor(time / dayMillis)

export const accountOf = ({ principal, run, tool }: Spending, at: number): Account => ({
  day: dayOf(at),
  tenant: principal.tenant,
  principal: principal.id,
  tool: tool.name,
  run: run?.id
})

/** In which an attempt counts: what was reserved in vain has cost nothing, and is one attempt all the same. */
export const units = (reserved: Amounts, actual: Amounts): ReadonlyArray<string> => [
  ...Object.keys(reserved),
  ...Object.keys(actual).filter((unit) => !Object.hasOwn(reserved, unit))
]

/** The days that overlap what is asked for; both ends are part of it. */
export const days = ({ since, until }: SpentQuery): { readonly first: number; readonly last: number } => ({
  first: since === undefined ? -100_000_000 : dayOf(since),
  last: until === undefined ? 100_000_000 : Math.ceil(until / dayMillis) - 1
})

export class Ledger {
  readonly #max: number
  readonly #entries = new Map<string, Entry>()
  readonly #latest = new Latest()
  readonly #credits: Array<Credit> = []

  constructor(max: number) {
    this.#max = max
  }

  settled(spending: Spending, actual: Amounts, at: number): void {
    if (actual !== spending.amounts) {
      for (const unit of units(spending.amounts, actual)) this.#count(spending, unit, actual, at)
      return
    }
    // What costs what it was said to cost needs no list of its units.
    for (const unit in actual) if (Object.hasOwn(actual, unit)) this.#count(spending, unit, actual, at)
  }

  #count(spending: Spending, unit: string, actual: Amounts, at: number): void {
    let entry = this.#latest.find(spending, unit, dayOf(at))
    if (entry === undefined) {
      entry = this.#entry(accountOf(spending, at), unit)
      this.#latest.set(entry)
    }
    entry.amount = plus(entry.amount, amountOf(actual, unit))
    entry.attempts += 1
  }

  credited(credit: Credit): void {
    const account = { ...credit, day: dayOf(credit.time) }
    for (const unit of Object.keys(credit.amounts)) {
      const entry = this.#entry(account, unit)
      entry.amount = plus(entry.amount, 0 - amountOf(credit.amounts, unit))
    }
    if (this.#credits.length >= keptCredits) this.#credits.shift()
    this.#credits.push(credit)
  }

  #entry({ day, principal, run, tenant, tool }: Account, unit: string): Entry {
    // Ids come from outside: their lengths keep one from passing for two others.
    const id = `${day} ${part(tenant)}${part(principal)}${part(tool)}${part(run)}${unit}`
    const known = this.#entries.get(id)
    if (known !== undefined) return known
    if (this.#entries.size >= this.#max) this.#forget()
    const entry = { day, tenant, principal, tool, run, unit, amount: 0, attempts: 0 }
    this.#entries.set(id, entry)
    return entry
  }

  spent(query: SpentQuery): ReadonlyArray<Spent> {
    const { first, last } = days(query)
    return group(
      [...this.#entries.values()].filter(
        (entry) =>
          entry.day >= first &&
          entry.day <= last &&
          (query.principal === undefined || query.principal === entry.principal) &&
          (query.tenant === undefined || query.tenant === entry.tenant) &&
          (query.tool === undefined || query.tool === entry.tool) &&
          (query.run === undefined || query.run === entry.run)
      ),
      query.by ?? []
    )
  }

  get credits(): ReadonlyArray<Credit> {
    return this.#credits.toReversed()
  }

  // Entries stand in the order of their first amount, which is that of days. A tenth at a time, so that a flood of new
  // accounts does not pay for it each time.
  #forget(): void {
    let left = Math.ceil(this.#max / 10)
    for (const [id, entry] of this.#entries) {
      if (left-- === 0) return
      this.#entries.delete(id)
      this.#latest.delete(entry)
    }
  }
}

/**
 * The entry that was last counted in, by unit, by run or principal, and by tool. The text that all entries are found by
 * is dearer to make than all else that settling does, and the next attempt mostly counts where the last one did.
 */
class Latest {
  readonly #units = new Map<string, Map<string, Map<string | undefined, Entry>>>()

  find({ principal, run, tool }: Spending, unit: string, day: number): Entry | undefined {
    const entry = this.#units
      .get(unit)
      ?.get(run?.id ?? principal.id)
      ?.get(tool.name)
    return entry !== undefined &&
      entry.day === day &&
      entry.run === run?.id &&
      entry.principal === principal.id &&
      entry.tenant === principal.tenant
      ? entry
      : undefined
  }

  set(entry: Entry): void {
    const owners = inserted(this.#units, entry.unit)
    inserted(owners, ownerOf(entry)).set(entry.tool, entry)
  }

  delete(entry: Entry): void {
    const owners = this.#units.get(entry.unit)
    const tools = owners?.get(ownerOf(entry))
    if (tools?.get(entry.tool) !== entry) return
    tools.delete(entry.tool)
    if (tools.size === 0) owners?.delete(ownerOf(entry))
    if (owners?.size === 0) this.#units.delete(entry.unit)
  }
}

const ownerOf = ({ principal, run }: Account): string => run ?? principal

const inserted = <K, L, V>(maps: Map<K, Map<L, V>>, key: K): Map<L, V> => {
  const known = maps.get(key)
  if (known !== undefined) return known
  const made = new Map<L, V>()
  maps.set(key, made)
  return made
}

/** How many credits are remembered one by one. */
export const keptCredits = 1000

const part = (text: string | undefined): string => (text === undefined ? "-" : `${text.length}:${text}`)

/** Adds up what has the same key and unit, in the order of unit and key. */
export const group = (
  entries: ReadonlyArray<Entry>,
  by: NonNullable<SpentQuery["by"]>
): ReadonlyArray<Spent> => {
  const sums = new Map<
    string,
    { key: Record<string, string>; unit: string; amount: number; attempts: number }
  >()
  for (const entry of entries) {
    const key: Record<string, string> = {}
    for (const name of by) {
      const value = name === "day" ? isoDay(entry.day) : entry[name]
      if (value !== undefined) key[name] = value
    }
    const id = JSON.stringify([entry.unit, by.map((name) => key[name] ?? null)])
    const sum = sums.get(id)
    if (sum === undefined)
      sums.set(id, { key, unit: entry.unit, amount: entry.amount, attempts: entry.attempts })
    else {
      sum.amount = plus(sum.amount, entry.amount)
      sum.attempts += entry.attempts
    }
  }
  return [...sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, sum]) => sum)
}

const isoDay = (day: number): string => new Date(day * dayMillis).toISOString().slice(0, 10)
