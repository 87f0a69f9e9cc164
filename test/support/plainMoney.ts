/** What attempts may cost, in the plainest way: hard limits, on which a bound is put aside and a cost is settled. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Ref from "effect/Ref"
import type { Budget } from "effect-interlock"
import { type Asker, millis, type Reason, type Refused, refuse, selects } from "./plainNouns.ts"

/** The limits that apply to one tool. */
export interface Money {
  /** Whether an attempt that may cost so much would be refused now. */
  readonly look: (asker: Asker, bound: number) => Effect.Effect<void, Refused>
  /** Puts a bound aside on every limit or on none, runs the attempt, and settles what it has really cost. */
  readonly spend: <A>(
    asker: Asker,
    bound: number,
    expiresAt: number,
    attempt: Effect.Effect<A, Refused>,
    cost: (exit: Exit.Exit<A, Refused>) => Effect.Effect<number>
  ) => Effect.Effect<A, Refused>
}

export interface Standing {
  readonly limit: string
  readonly key: string
  readonly settled: number
  readonly reserved: number
  readonly overrun: number
}

/** What is counted under one key in one window, which begins when it is first used. */
interface Account {
  readonly since: number
  readonly settled: number
  /** What was settled above what was put aside for it. */
  readonly overrun: number
  readonly open: ReadonlyArray<Reservation>
}

interface Reservation {
  readonly amount: number
  /** After it the money is given back; it counts in full when it is settled all the same. */
  readonly expiresAt: number
}

interface Counted {
  readonly limit: Budget.Limit
  readonly endOf: (account: Account) => number
  readonly accounts: Ref.Ref<ReadonlyMap<string, Account>>
}

export const make = Effect.fnUntraced(function* (limits: ReadonlyArray<Budget.Limit>) {
  const counted = yield* Effect.forEach(limits, (limit) => {
    const window =
      limit.window === undefined ? Number.POSITIVE_INFINITY : millis(limit.window as Duration.Input)
    return Effect.map(
      Ref.make<ReadonlyMap<string, Account>>(new Map()),
      (accounts): Counted => ({ limit, endOf: ({ since }) => since + window, accounts })
    )
  })
  return {
    /** `undefined` where no limit can apply. */
    forTool: (names: ReadonlyArray<string>): Money | undefined => {
      const applying = counted.filter(({ limit }) => selects(limit, names))
      return applying.length === 0 ? undefined : forTool(applying)
    },
    /** How each limit stands now. */
    standing: Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      const all: Array<Standing> = []
      for (const { accounts, endOf, limit } of counted) {
        for (const [key, account] of yield* Ref.get(accounts)) {
          if (now >= endOf(account)) continue
          const { overrun, settled } = account
          all.push({ limit: limit.name ?? "", key, settled, reserved: reservedIn(account, now), overrun })
        }
      }
      return all
    })
  }
})

const forTool = (applying: ReadonlyArray<Counted>): Money => {
  const accountOf = Effect.fnUntraced(function* ({ accounts, endOf, limit }: Counted, asker: Asker) {
    const now = yield* Clock.currentTimeMillis
    const known = (yield* Ref.get(accounts)).get(payerOf(limit, asker))
    const account: Account =
      known !== undefined && now < endOf(known) ? known : { since: now, settled: 0, overrun: 0, open: [] }
    return account
  })
  const put = ({ accounts, limit }: Counted, asker: Asker, account: Account) =>
    Ref.update(accounts, (all) => new Map(all).set(payerOf(limit, asker), account))

  const look = Effect.fnUntraced(function* (asker: Asker, bound: number): Effect.fn.Return<void, Refused> {
    const now = yield* Clock.currentTimeMillis
    let refusal: Reason | undefined
    let latest = 0
    for (const counted of applying) {
      const { endOf, limit } = counted
      const account = yield* accountOf(counted, asker)
      if (account.settled + reservedIn(account, now) + bound <= limit.max) continue
      // What no window has room for is waited for in vain. Of the limits that refuse, the one is named that does so longest.
      const until = bound > limit.max ? Number.POSITIVE_INFINITY : endOf(account)
      if (refusal !== undefined && until <= latest) continue
      latest = until
      refusal = {
        _tag: "BudgetExceeded",
        limit: limit.name ?? "",
        unit: "usd",
        ...(until === Number.POSITIVE_INFINITY ? {} : { retryAfter: Duration.millis(until - now) })
      }
    }
    if (refusal !== undefined) return yield* refuse("budget", refusal)
  })

  const reserve = Effect.fnUntraced(function* (asker: Asker, reservation: Reservation) {
    yield* look(asker, reservation.amount)
    return yield* Effect.forEach(applying, (counted) =>
      Effect.gen(function* () {
        const account = yield* accountOf(counted, asker)
        yield* put(counted, asker, { ...account, open: [...account.open, reservation] })
        return { counted, since: account.since }
      })
    )
  })

  const settle = Effect.fnUntraced(function* (
    asker: Asker,
    held: Effect.Success<ReturnType<typeof reserve>>,
    reservation: Reservation,
    cost: number
  ) {
    const now = yield* Clock.currentTimeMillis
    const { amount, expiresAt } = reservation
    for (const { counted, since } of held) {
      const account = (yield* Ref.get(counted.accounts)).get(payerOf(counted.limit, asker))
      // It counts in the window in which it was put aside, and nobody looks at one that is over.
      if (account?.since !== since) continue
      yield* put(counted, asker, {
        since,
        settled: account.settled + cost,
        overrun: account.overrun + Math.max(0, expiresAt < now ? cost : cost - amount),
        open: account.open.filter((other) => other !== reservation)
      })
    }
  })

  return {
    look,
    spend: (asker, amount, expiresAt, attempt, cost) => {
      const reservation: Reservation = { amount, expiresAt }
      return Effect.acquireUseRelease(
        reserve(asker, reservation),
        () => attempt,
        (held, exit) => Effect.flatMap(cost(exit), (cost) => settle(asker, held, reservation, cost))
      )
    }
  }
}

const reservedIn = ({ open }: Account, now: number): number =>
  open.reduce((sum, { amount, expiresAt }) => (expiresAt < now ? sum : sum + amount), 0)

const payerOf = ({ per }: Budget.Limit, { callId, principal: { id, tenant } }: Asker): string => {
  const payer = tenant === undefined ? id : `${tenant}/${id}`
  return per === "principal" ? payer : per === "call" ? `${payer}/${callId}` : ""
}
