/**
 * What governed calls share, in the plainest way: quotas, slots, circuits,
 * money, human answers and health, each a small state behind a `Ref` or a
 * `Semaphore`. Part of the executable specification in `plain.ts`.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Ref from "effect/Ref"
import * as Semaphore from "effect/Semaphore"
import {
  type Approvals,
  type Budget,
  type Bulkhead,
  type CircuitBreaker,
  type Principal,
  type RateLimits,
  ToolError
} from "effect-interlock"

type Reason = ToolError.Reason

/** Why a call goes no further, and at which stage. */
export interface Refused {
  readonly stage: string
  readonly reason: Reason
  /** The handler began, and this is what came of it. */
  readonly attempted?: { readonly failure: unknown; readonly outcomeUnknown: boolean }
}

export const refuse = (stage: string, reason: Reason): Effect.Effect<never, Refused> =>
  Effect.fail({ stage, reason })

export const millis = (duration: Duration.Input): number =>
  Duration.toMillis(Duration.fromInputUnsafe(duration))

/** `*` is any run of characters, `?` is one, case is ignored. */
export const globMatches = (glob: string, names: ReadonlyArray<string>): boolean => {
  const pattern = glob
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".")
  const expression = new RegExp(`^${pattern}$`, "is")
  return names.some((name) => expression.test(name))
}

/** Which tool a shared rule is asked about, and on whose behalf. */
export interface Asker {
  readonly callId: string
  readonly names: ReadonlyArray<string>
  readonly tool: string
  readonly principal: Principal.Principal
}

// --- How many calls may pass in a window -----------------------------------

export interface Quota {
  /** Whether the call would be refused now. */
  readonly look: (asker: Asker) => Effect.Effect<void, Refused>
  /** Takes one from every limit that applies, or from none. */
  readonly take: (asker: Asker) => Effect.Effect<void, Refused>
  /** Takes one from every limit that applies, past its end if need be. */
  readonly charge: (asker: Asker) => Effect.Effect<void>
}

/** Limits that refuse, each counting by window: a key's window begins with its first take. */
export const makeQuota = Effect.fnUntraced(function* (
  limits: ReadonlyArray<RateLimits.Limit>
): Effect.fn.Return<Quota> {
  const windows = yield* Ref.make<ReadonlyMap<string, { readonly since: number; readonly used: number }>>(
    new Map()
  )
  const applying = (asker: Asker) =>
    limits
      .map((limit, index) => ({ limit, index, window: millis(limit.window) }))
      .filter(
        ({ limit }) => limit.tools === undefined || limit.tools.some((g) => globMatches(g, asker.names))
      )
      .map((entry) => ({ ...entry, key: `${entry.index} ${keyOf(entry.limit, asker)}` }))

  const look = Effect.fnUntraced(function* (asker: Asker): Effect.fn.Return<void, Refused> {
    const now = yield* Clock.currentTimeMillis
    const counted = yield* Ref.get(windows)
    let refusal: Reason | undefined
    let latest = now
    for (const { key, limit, window } of applying(asker)) {
      const { since, used } = counted.get(key) ?? { since: now, used: 0 }
      const endsAt = since + window
      // Of the limits that are used up, the one is named that stays so longest.
      if (used < limit.limit || endsAt <= latest) continue
      latest = endsAt
      refusal = { _tag: "RateLimited", limit: limit.name ?? "", retryAfter: Duration.millis(endsAt - now) }
    }
    if (refusal !== undefined) return yield* refuse("rate_limit", refusal)
  })

  const charge = Effect.fnUntraced(function* (asker: Asker) {
    const now = yield* Clock.currentTimeMillis
    yield* Ref.update(windows, (counted) => {
      const next = new Map(counted)
      for (const { key, window } of applying(asker)) {
        const { since, used } = next.get(key) ?? { since: now, used: 0 }
        next.set(key, now < since + window ? { since, used: used + 1 } : { since: now, used: 1 })
      }
      return next
    })
  })

  return { look, charge, take: (asker) => Effect.andThen(look(asker), charge(asker)) }
})

const keyOf = ({ by = "all" }: RateLimits.Limit, { principal, tool }: Asker): string => {
  if (by === "tool") return tool
  if (by === "principal") return `${principal.tenant ?? ""}/${principal.id}`
  return ""
}

// --- How many calls run at once --------------------------------------------

export interface Slots {
  /**
   * Runs what needs a slot. Waits for one in line, by `inTime`; is refused where the line is full, unless the call has
   * waited elsewhere already.
   */
  readonly enter: <A, E, R>(
    body: (waited: boolean) => Effect.Effect<A, E, R>,
    options: {
      readonly waited: boolean
      readonly inTime: (wait: Effect.Effect<unknown>) => Effect.Effect<unknown, Refused>
      /** What the call left running: its slot stays taken until that has ended. */
      readonly lingering: Effect.Effect<ReadonlyArray<Promise<unknown>>>
    }
  ) => Effect.Effect<A, E | Refused, R>
  readonly counts: Effect.Effect<{ readonly running: number; readonly queued: number }>
}

export const makeSlots = Effect.fnUntraced(function* (
  scope: "tool" | "executor",
  { maxConcurrent = Number.POSITIVE_INFINITY, maxQueue = 0 }: Bulkhead.Options
): Effect.fn.Return<Slots> {
  const slots = yield* Semaphore.make(maxConcurrent)
  const running = yield* Ref.make(0)
  const queued = yield* Ref.make(0)
  const full: Reason = { _tag: "Overloaded", scope }
  const add = (count: Ref.Ref<number>, n: number): Effect.Effect<void> =>
    Ref.update(count, (before) => before + n)
  const leave: Effect.Effect<unknown> = Effect.andThen(add(running, -1), slots.release(1))
  return {
    enter: (body, { inTime, lingering, waited }) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const atOnce = yield* slots.takeIfAvailable(1)
          if (!atOnce) {
            if (!waited && (yield* Ref.get(queued)) >= maxQueue) return yield* refuse("bulkhead", full)
            yield* add(queued, 1)
            yield* Effect.ensuring(restore(inTime(slots.take(1))), add(queued, -1))
          }
          yield* add(running, 1)
          const left = Effect.flatMap(
            lingering,
            (promises): Effect.Effect<unknown> =>
              promises.length === 0
                ? leave
                : Effect.forkDetach(
                    Effect.andThen(
                      Effect.promise(() => Promise.allSettled(promises)),
                      leave
                    )
                  )
          )
          return yield* Effect.ensuring(restore(body(waited || !atOnce)), left)
        })
      ),
    counts: Effect.all({ running: Ref.get(running), queued: Ref.get(queued) })
  }
})

// --- Circuits ----------------------------------------------------------------

type State =
  | { readonly tag: "Closed"; readonly failures: number }
  | { readonly tag: "Open"; readonly failures: number; readonly openings: number; readonly until: number }
  | {
      readonly tag: "HalfOpen"
      readonly failures: number
      readonly openings: number
      readonly probes: number
      readonly successes: number
    }

/** A state, the time since which it is so, and its number: what was admitted under another number counts for nothing. */
interface Circuit {
  readonly number: number
  readonly since: number
  readonly state: State
}

/** What an attempt that was let in came to; `ignored` says nothing of the tool. */
export type Verdict =
  | { readonly outcome: "success" | "ignored" }
  | { readonly outcome: "failure"; readonly retryAfter: Duration.Duration | undefined }

export interface Circuits {
  /** Whether the circuit would refuse now. */
  readonly look: (key: string) => Effect.Effect<void, Refused>
  /** Runs an attempt where the circuit lets it in, and tells the circuit what it came to. */
  readonly enter: <A, E, R>(
    key: string,
    attempt: (how: "closed" | "half_open") => Effect.Effect<A, E, R>,
    verdict: (exit: Exit.Exit<A, E>) => Verdict
  ) => Effect.Effect<A, E | Refused, R>
  readonly snapshot: (key: string) => Effect.Effect<{
    readonly tag: State["tag"]
    readonly since: number | undefined
    readonly nextProbeAt: number | undefined
    readonly consecutiveFailures: number
    readonly openings: number
    readonly probesInFlight: number
  }>
}

/** Circuits that open after some failures in a row. */
export const makeCircuits = Effect.fnUntraced(function* (
  options: CircuitBreaker.Options
): Effect.fn.Return<Circuits> {
  const { growth = 1, probes = 1, successThreshold = 1, trip } = options
  const failuresToOpen = trip?._tag === "Consecutive" ? trip.failures : 5
  const openFor = millis(options.openFor ?? "60 seconds")
  const longest = Math.max(openFor, millis(options.maxOpenFor ?? "1 hour"))
  const circuits = yield* Ref.make<ReadonlyMap<string, Circuit>>(new Map())
  const find = (key: string, now: number) =>
    Effect.map(
      Ref.get(circuits),
      (all) => all.get(key) ?? { number: 0, since: now, state: { tag: "Closed", failures: 0 } as State }
    )
  const set = (key: string, circuit: Circuit) => Ref.update(circuits, (all) => new Map(all).set(key, circuit))
  const become = (before: Circuit, since: number, state: State): Circuit =>
    state.tag === before.state.tag ? { ...before, state } : { number: before.number + 1, since, state }

  const look = Effect.fnUntraced(function* (key: string): Effect.fn.Return<void, Refused> {
    const now = yield* Clock.currentTimeMillis
    const { state } = yield* find(key, now)
    const open = (after: number) =>
      refuse("circuit", { _tag: "CircuitOpen", key, why: "", retryAfter: Duration.millis(after) })
    if (state.tag === "Open" && now < state.until) return yield* open(state.until - now)
    if (state.tag === "HalfOpen" && state.probes >= probes) return yield* open(Math.min(1000, openFor))
  })

  const admit = Effect.fnUntraced(function* (key: string) {
    yield* look(key)
    const now = yield* Clock.currentTimeMillis
    const circuit = yield* find(key, now)
    const { state } = circuit
    const next: State =
      state.tag === "Closed"
        ? state
        : state.tag === "Open"
          ? { tag: "HalfOpen", failures: state.failures, openings: state.openings, probes: 1, successes: 0 }
          : { ...state, probes: state.probes + 1 }
    const entered = become(circuit, now, next)
    yield* set(key, entered)
    return entered
  })

  const report = Effect.fnUntraced(function* (key: string, admitted: Circuit, verdict: Verdict) {
    const now = yield* Clock.currentTimeMillis
    const circuit = yield* find(key, now)
    const { state } = circuit
    if (circuit.number !== admitted.number || state.tag === "Open") return
    const failures = state.failures + 1
    if (verdict.outcome === "failure" && (state.tag === "HalfOpen" || failures >= failuresToOpen)) {
      const openings = state.tag === "HalfOpen" ? state.openings + 1 : 1
      const asked = verdict.retryAfter === undefined ? 0 : Duration.toMillis(verdict.retryAfter)
      const until = now + Math.min(longest, Math.max(openFor * growth ** (openings - 1), asked))
      return yield* set(key, become(circuit, now, { tag: "Open", failures, openings, until }))
    }
    if (state.tag === "Closed") {
      if (verdict.outcome === "ignored") return
      const failures = verdict.outcome === "failure" ? state.failures + 1 : 0
      return yield* set(key, become(circuit, now, { tag: "Closed", failures }))
    }
    const successes = verdict.outcome === "success" ? state.successes + 1 : state.successes
    yield* set(
      key,
      become(
        circuit,
        now,
        successes >= successThreshold
          ? { tag: "Closed", failures: 0 }
          : { ...state, successes, probes: state.probes - 1 }
      )
    )
  })

  return {
    look,
    enter: (key, attempt, verdict) =>
      Effect.acquireUseRelease(
        admit(key),
        ({ state }) => attempt(state.tag === "Closed" ? "closed" : "half_open"),
        (admitted, exit) => report(key, admitted, verdict(exit))
      ),
    snapshot: (key) =>
      Effect.map(Ref.get(circuits), (all) => {
        const circuit = all.get(key)
        const state = circuit?.state ?? { tag: "Closed", failures: 0 }
        return {
          tag: state.tag,
          since: circuit?.since,
          nextProbeAt: state.tag === "Open" ? state.until : undefined,
          consecutiveFailures: state.failures,
          openings: state.tag === "Closed" ? 0 : state.openings,
          probesInFlight: state.tag === "HalfOpen" ? state.probes : 0
        }
      })
  }
})

// --- Money -------------------------------------------------------------------

/** What is counted against one limit under one key, in one window. */
interface Account {
  readonly limit: Budget.Limit
  readonly since: number
  readonly settled: number
  /** What was settled above what was reserved for it. */
  readonly overrun: number
}

export interface Money {
  /** Whether a limit can ever apply to the tool. */
  readonly applies: (names: ReadonlyArray<string>) => boolean
  /** Whether the attempt's bound would be refused now. */
  readonly look: (asker: Asker, bound: number) => Effect.Effect<void, Refused>
  /** Puts a bound aside on every limit or on none, runs the attempt, and settles what it has really cost. */
  readonly spend: <A, E, R>(
    asker: Asker,
    spending: { readonly bound: number; readonly expiresAt: number },
    attempt: Effect.Effect<A, E, R>,
    cost: (exit: Exit.Exit<A, E>) => number
  ) => Effect.Effect<A, E | Refused, R>
  /** What is counted now, under the names of limits and those who pay. */
  readonly standing: Effect.Effect<ReadonlyMap<string, Standing>>
}

interface Standing {
  readonly settled: number
  readonly reserved: number
  readonly overrun: number
}

interface Reservation {
  readonly account: string
  readonly since: number
  readonly amount: number
  readonly expiresAt: number
}

/** Hard limits on what attempts may cost. A reservation that outlives its call is given back, and counts in full when it is settled after all. */
export const makeMoney = Effect.fnUntraced(function* (
  limits: ReadonlyArray<Budget.Limit>
): Effect.fn.Return<Money> {
  const accounts = yield* Ref.make<ReadonlyMap<string, Account>>(new Map())
  const reservations = yield* Ref.make<ReadonlyArray<Reservation>>([])

  const selects = ({ tools }: Budget.Limit, names: ReadonlyArray<string>) =>
    tools === undefined || tools.some((glob) => globMatches(glob, names))
  const endOf = ({ window }: Budget.Limit, since: number) =>
    window === undefined ? Number.POSITIVE_INFINITY : since + millis(window as Duration.Input)

  const isCurrent =
    (now: number) =>
    ({ limit, since }: Account) =>
      now < endOf(limit, since)
  const reservedIn = (name: string, since: number, now: number) =>
    Effect.map(Ref.get(reservations), (open) =>
      open
        .filter((one) => one.account === name && one.since === since && one.expiresAt >= now)
        .reduce((sum, { amount }) => sum + amount, 0)
    )

  /** The accounts that a spending falls on, each in its current window. */
  const accountsOf = Effect.fnUntraced(function* (asker: Asker) {
    const now = yield* Clock.currentTimeMillis
    const all = yield* Ref.get(accounts)
    return limits
      .filter((limit) => selects(limit, asker.names))
      .map((limit) => {
        const name = `${limit.name} ${payerOf(limit, asker)}`
        const known = all.get(name)
        const account: Account =
          known !== undefined && isCurrent(now)(known) ? known : { limit, since: now, settled: 0, overrun: 0 }
        return { name, account }
      })
  })

  const look = Effect.fnUntraced(function* (asker: Asker, bound: number): Effect.fn.Return<void, Refused> {
    const now = yield* Clock.currentTimeMillis
    let refusal: Reason | undefined
    let latest = 0
    for (const { account, name } of yield* accountsOf(asker)) {
      const { limit, settled, since } = account
      if (settled + (yield* reservedIn(name, since, now)) + bound <= limit.max) continue
      // Waiting is in vain for what no window has room for. The limit that is exceeded longest is named.
      const until = bound > limit.max ? Number.POSITIVE_INFINITY : endOf(limit, since)
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

  const reserve = Effect.fnUntraced(function* (asker: Asker, bound: number, expiresAt: number) {
    yield* look(asker, bound)
    const paying = yield* accountsOf(asker)
    const held = paying.map(
      ({ account: { since }, name }): Reservation => ({
        account: name,
        since,
        amount: bound,
        expiresAt
      })
    )
    yield* Ref.update(
      accounts,
      (all) => new Map([...all, ...paying.map(({ account, name }) => [name, account] as const)])
    )
    yield* Ref.update(reservations, (open) => [...open, ...held])
    return held
  })

  const settle = Effect.fnUntraced(function* (held: ReadonlyArray<Reservation>, cost: number) {
    const now = yield* Clock.currentTimeMillis
    yield* Ref.update(reservations, (open) => open.filter((one) => !held.includes(one)))
    yield* Ref.update(accounts, (all) => {
      const next = new Map(all)
      for (const { account, amount, expiresAt, since } of held) {
        const known = next.get(account)
        // What was reserved in a window that is over counts there.
        if (known?.since !== since) continue
        const above = Math.max(0, expiresAt < now ? cost : cost - amount)
        next.set(account, { ...known, settled: known.settled + cost, overrun: known.overrun + above })
      }
      return next
    })
  })

  return {
    applies: (names) => limits.some((limit) => selects(limit, names)),
    look,
    spend: (asker, { bound, expiresAt }, attempt, cost) =>
      Effect.acquireUseRelease(
        reserve(asker, bound, expiresAt),
        () => attempt,
        (held, exit) => settle(held, cost(exit))
      ),
    standing: Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      const current = [...(yield* Ref.get(accounts))].filter(([, account]) => isCurrent(now)(account))
      const standing = new Map<string, Standing>()
      for (const [name, { overrun, settled, since }] of current) {
        standing.set(name, { settled, reserved: yield* reservedIn(name, since, now), overrun })
      }
      return standing
    })
  }
})

const payerOf = ({ per }: Budget.Limit, { callId, principal }: Asker): string =>
  per === "principal" ? principal.id : per === "call" ? `${principal.id}/${callId}` : ""

// --- What humans have said -----------------------------------------------------

interface Question {
  readonly about: string
  readonly by: "confirm" | "approve"
  readonly expiresAt: number
  readonly state: "pending" | "granted" | "rejected" | "used"
}

export interface Answers {
  /** Lets a granted call through; `true` where its grant is to be used up. */
  readonly ask: (
    about: string,
    by: "confirm" | "approve",
    pending: (expiresAt: number) => Reason
  ) => Effect.Effect<void, Refused>
  /** Uses the grant up, once. */
  readonly use: (about: string, by: "confirm" | "approve") => Effect.Effect<void, Refused>
  /** What a human says of what is asked about a call; nothing where nothing is. */
  readonly decide: (about: string, state: "granted" | "rejected") => Effect.Effect<void>
}

const rejected: Reason = { _tag: "ApprovalRejected", request: "", message: "" }

export const makeAnswers = Effect.fnUntraced(function* ({
  expiresAfter = "15 minutes"
}: Approvals.Options): Effect.fn.Return<Answers> {
  const questions = yield* Ref.make<ReadonlyArray<Question>>([])
  const live = Effect.fnUntraced(function* (about: string) {
    const now = yield* Clock.currentTimeMillis
    return (yield* Ref.get(questions)).filter((one) => one.about === about && one.expiresAt > now)
  })
  const replace = (before: Question, state: Question["state"]) =>
    Ref.update(questions, (all) => all.map((one) => (one === before ? { ...one, state } : one)))
  const grantIn = (found: ReadonlyArray<Question>, by: Question["by"]) =>
    found.find((one) => one.state === "granted" && (one.by === "approve" || by === "confirm"))
  return {
    ask: Effect.fnUntraced(function* (about, by, pending) {
      const found = yield* live(about)
      if (found.some(({ state }) => state === "rejected")) return yield* refuse("confirmation", rejected)
      if (grantIn(found, by) !== undefined) return
      const asked = found.find((one) => one.state === "pending" && one.by === by)
      if (asked !== undefined) return yield* refuse("confirmation", pending(asked.expiresAt))
      const expiresAt = (yield* Clock.currentTimeMillis) + millis(expiresAfter)
      yield* Ref.update(questions, (all) => [...all, { about, by, expiresAt, state: "pending" as const }])
      return yield* refuse("confirmation", pending(expiresAt))
    }),
    use: Effect.fnUntraced(function* (about, by) {
      const found = yield* live(about)
      if (found.some(({ state }) => state === "rejected")) return yield* refuse("confirmation", rejected)
      const grant = grantIn(found, by)
      if (grant === undefined) return yield* refuse("confirmation", { _tag: "ApprovalInvalid", why: "used" })
      yield* replace(grant, "used")
    }),
    decide: Effect.fnUntraced(function* (about, state) {
      const asked = (yield* live(about)).find((one) => one.state === "pending")
      if (asked !== undefined) yield* replace(asked, state)
    })
  }
})

// --- How each tool is doing ------------------------------------------------

interface Ended {
  readonly tool: string
  readonly status: ToolError.Status
  readonly reason: Reason["_tag"] | undefined
  readonly attempts: number
  readonly queuedAt: number
  readonly completedAt: number
}

/** Every status is counted; rates are of calls that reached the handler and say something of the tool. */
export const healthOf = (tool: string, records: ReadonlyArray<Ended>) => {
  const ended = records.filter((record) => record.tool === tool)
  const counts: Partial<Record<ToolError.Status, number>> = {}
  for (const { status } of ended) counts[status] = (counts[status] ?? 0) + 1
  const reached = ended.filter(({ attempts }) => attempts > 0)
  const successes = reached.filter(({ status }) => status === "success")
  const isFailure = ({ reason }: Ended) => reason !== undefined && ToolError.table[reason].health === "yes"
  const failures = reached.filter(isFailure)
  const telling = reached.filter((record) => record.status === "success" || isFailure(record))
  const lastGood = telling.findLastIndex(({ status }) => status === "success")
  const recent = telling.slice(-100)
  return {
    total: ended.length,
    counts,
    reached: reached.length,
    successRate: telling.length === 0 ? 1 : successes.length / telling.length,
    recentSuccessRate:
      recent.length === 0 ? 1 : recent.filter(({ status }) => status === "success").length / recent.length,
    mean:
      reached.length === 0
        ? 0
        : reached.reduce((sum, { completedAt, queuedAt }) => sum + completedAt - queuedAt, 0) /
          reached.length,
    consecutiveFailures: telling.length - 1 - lastGood,
    lastSuccess: successes.at(-1)?.completedAt,
    lastFailure: failures.at(-1)?.completedAt
  }
}
