/** Who may do how much, written by hand and shared by the peers that need it: principals, what is denied, a rate limit, a budget. */

export interface Principal {
  readonly id: string
  readonly tenant: string
  readonly capabilities: ReadonlySet<string>
}

const roles: ReadonlyMap<string, ReadonlyArray<string>> = new Map([
  ["read", ["read_data"]],
  ["write", ["read_data", "write_data", "network_access", "external_api"]]
])

export const principal = (id: string, tenant: string, ...names: ReadonlyArray<string>): Principal => ({
  id,
  tenant,
  capabilities: new Set(names.flatMap((name) => roles.get(name) ?? []))
})

export const caller = principal("alice", "acme", "read")

/** What an application says once. */
export interface Policy {
  /** Globs over names of tools. */
  readonly deny: ReadonlyArray<string>
  readonly allowedDomains: ReadonlyArray<string>
  /** Calls of a principal in an hour. */
  readonly perHour: number
  readonly maxConcurrent: number
  /** Of a principal in a day. */
  readonly perDay: number
}

export const usual: Policy = {
  deny: ["delete_*"],
  allowedDomains: ["*.example.com"],
  perHour: 1_000_000_000,
  maxConcurrent: 10_000,
  perDay: 1e12
}

export const globs = (patterns: ReadonlyArray<string>): ReadonlyArray<RegExp> =>
  patterns.map((glob) => {
    const source = glob
      .replace(/[.+^${}()|[\]\\]/g, "\\$&")
      .replaceAll("*", ".*")
      .replaceAll("?", ".")
    return new RegExp(`^${source}$`, "is")
  })

const hour = 3_600_000
const day = 24 * hour
/** Beyond so many principals the ones used longest ago are forgotten. */
const maxKeys = 100_000

const forgetOldest = (map: Map<string, unknown>): void => {
  if (map.size < maxKeys) return
  for (const key of map.keys()) {
    map.delete(key)
    return
  }
}

/** At most so many per principal in an hour from the first. */
export class Windows {
  readonly #limit: number
  readonly #windows = new Map<string, { endsAt: number; used: number }>()

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Takes one; the milliseconds until there is one again where there is none. */
  take(key: string, now: number): number {
    const window = this.#windows.get(key)
    if (window === undefined || now >= window.endsAt) {
      forgetOldest(this.#windows)
      this.#windows.set(key, { endsAt: now + hour, used: 1 })
      return 0
    }
    if (window.used >= this.#limit) return window.endsAt - now
    window.used++
    return 0
  }
}

/** What a principal has spent in a day. */
export interface Book {
  endsAt: number
  settled: number
  reserved: number
}

export class Budget {
  readonly #limit: number
  readonly #books = new Map<string, Book>()

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Puts an amount aside; `undefined` where there is not so much. */
  reserve(key: string, amount: number, now: number): Book | undefined {
    let book = this.#books.get(key)
    if (book === undefined || now >= book.endsAt) {
      forgetOldest(this.#books)
      book = { endsAt: now - (now % day) + day, settled: 0, reserved: 0 }
      this.#books.set(key, book)
    }
    if (book.settled + book.reserved + amount > this.#limit) return undefined
    book.reserved += amount
    return book
  }

  settle(book: Book, reserved: number, cost: number): void {
    book.reserved -= reserved
    book.settled += cost
  }
}
