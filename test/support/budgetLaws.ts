/**
 * The laws of a budget, on generated limits: against a model that keeps
 * everything that ever happened, and under interruption.
 */
import { assert } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as fc from "fast-check"
import {
  type Alert,
  Budget,
  type Limit,
  type Reservation,
  type Spending,
  type Standing
} from "../../src/Budget.ts"
import * as Principal from "../../src/Principal.ts"
import * as Run from "../../src/Run.ts"
import * as ToolAnnotations from "../../src/ToolAnnotations.ts"

export type LayerOf = (limits: ReadonlyArray<Limit>) => Layer.Layer<Budget, unknown>

// --- What is generated -----------------------------------------------------

const start = Date.parse("2026-02-27T23:59:50Z")

/** Calls and runs with a deadline have it in their id, so that it can be told which need not be known any more. */
const isOver = (key: string, now: number): boolean =>
  [...key.matchAll(/@(\d+)/g)].some(([, end]) => Number(end) < now)

const tools = ["alpha", "beta"].map((name) => ToolAnnotations.read(Tool.make(name)))
const principals = [
  Principal.make({ id: "ann", tenant: "acme", roles: ["gold"] }),
  Principal.make({ id: "ann", tenant: "other" }),
  Principal.make({ id: "bob" })
]
const runs = [
  undefined,
  Run.make({ id: "r", budget: { usd: 40, tokens: 25 } }),
  Run.make({ id: "s", budget: { tokens: 0 } }),
  Run.make({ id: `t@${start + 5000}`, deadline: start + 5000 })
]
const units = ["usd", "tokens", "calls"]

const optionally = <A>(arbitrary: fc.Arbitrary<A>) => fc.option(arbitrary, { nil: undefined })

const limitArbitrary: fc.Arbitrary<Limit> = fc
  .record({
    unit: fc.constantFrom("usd", "usd", "tokens"),
    max: fc.nat(60),
    per: fc.subarray(["call", "run", "principal", "tenant"] as const),
    window: optionally(fc.constantFrom("day", "month", 700, 5000)),
    mode: fc.constantFrom("hard", "hard", "soft"),
    roles: optionally(fc.constant(["gold"])),
    tools: optionally(fc.constant(["al*"]))
  })
  .map(({ per, roles, tools, window, ...limit }) => ({
    ...limit,
    per,
    ...(window === undefined ? {} : { window: window as "day" | number }),
    ...(roles === undefined ? {} : { roles }),
    ...(tools === undefined ? {} : { tools })
  })) as fc.Arbitrary<Limit>

const limitsArbitrary = fc
  .array(limitArbitrary, { maxLength: 5 })
  .map((limits) => limits.map((limit, index) => ({ ...limit, name: `limit ${index}` })))

const amountsArbitrary: fc.Arbitrary<ToolAnnotations.Amounts> = fc
  .subarray(units)
  .chain((chosen) => fc.record(Object.fromEntries(chosen.map((unit) => [unit, fc.nat(20)]))))

const spenderArbitrary = fc.record({
  principal: fc.constantFrom(...principals),
  run: fc.constantFrom(...runs),
  tool: fc.constantFrom(...tools),
  callId: fc.constantFrom("c", "d")
})

// --- The model -------------------------------------------------------------

interface Window {
  readonly limit: string
  readonly unit: string
  readonly key: string
  readonly max: number
  readonly startsAt: number
  readonly endsAt: number
  settled: number
  overrun: number
  alerted: number
}

interface Held {
  readonly reservation: Reservation
  readonly at: number
  readonly parts: ReadonlyArray<{ readonly window: Window; readonly amount: number }>
  state: "open" | "expired" | "done"
}

type Who = Pick<Spending, "principal" | "run"> & Partial<Pick<Spending, "tool" | "callId">>

/** Adds everything up anew each time it is asked. Its clock never goes back. */
class Model {
  now = start
  readonly held: Array<Held> = []
  readonly windows: Array<Window> = []
  readonly alerts: Array<string> = []
  readonly spent = new Map<string, { amount: number; attempts: number }>()
  readonly #limits: ReadonlyArray<Limit>

  constructor(limits: ReadonlyArray<Limit>) {
    this.#limits = limits
  }

  expire(): void {
    for (const held of this.held) {
      if (held.state === "open" && held.reservation.spending.expiresAt < this.now) held.state = "expired"
    }
  }

  reserved(window: Window): number {
    let sum = 0
    for (const { parts, state } of this.held) {
      if (state !== "open") continue
      for (const part of parts) if (part.window === window) sum += part.amount
    }
    return sum
  }

  /** Each limit that applies, with its key. */
  applying(who: Who, amounts: ToolAnnotations.Amounts) {
    const { principal, run } = who
    const of = (limit: Limit, unit: string, max: number) => {
      const parts: Array<string | undefined> = []
      const per = limit.per as ReadonlyArray<string>
      if (per.includes("tenant") && principal.tenant === undefined) return []
      if (per.length > 0 && principal.tenant !== undefined) parts.push(principal.tenant)
      if (per.includes("principal") || per.includes("call")) parts.push(principal.id)
      if (per.includes("run")) parts.push(run?.id)
      if (per.includes("call")) parts.push(who.callId)
      if (parts.includes(undefined)) return []
      return [{ limit, unit, max, key: parts.join("/"), amount: amounts[unit] as number }]
    }
    return [
      ...this.#limits
        .filter(({ roles }) => roles === undefined || principal.roles.some((role) => roles.includes(role)))
        .filter(({ tools }) => tools === undefined || who.tool?.name === "alpha")
        .filter(({ unit }) => Object.hasOwn(amounts, unit as string))
        .flatMap((limit) => of(limit, limit.unit as string, limit.max)),
      ...Object.entries(run?.budget ?? {})
        .filter(([unit]) => Object.hasOwn(amounts, unit))
        .flatMap(([unit, max]) => of({ name: "run budget", max, per: ["run"] }, unit, max))
    ]
  }

  endOf({ window }: Limit): readonly [number, number] {
    const date = new Date(this.now)
    const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()]
    if (window === "day") return [Date.UTC(year, month, day), Date.UTC(year, month, day + 1)]
    if (window === "month") return [Date.UTC(year, month), Date.UTC(year, month + 1)]
    return window === undefined ? [0, Number.POSITIVE_INFINITY] : [this.now, this.now + (window as number)]
  }

  current(claim: { limit: Limit; unit: string; key: string }): Window | undefined {
    return this.windows.find(
      (window) =>
        window.limit === claim.limit.name &&
        window.unit === claim.unit &&
        window.key === claim.key &&
        window.endsAt > this.now
    )
  }

  open(claim: { limit: Limit; unit: string; max: number; key: string }): Window {
    const found = this.current(claim)
    if (found !== undefined) return found
    const [startsAt, endsAt] = this.endOf(claim.limit)
    const { key, limit, max, unit } = claim
    const made = {
      limit: limit.name as string,
      unit,
      key,
      max,
      startsAt,
      endsAt,
      settled: 0,
      overrun: 0,
      alerted: 0
    }
    this.windows.push(made)
    return made
  }

  alert(window: Window): void {
    const used = window.settled + this.reserved(window)
    if (window.endsAt <= this.now || used === 0) return
    for (const at of [80, 100]) {
      if (used * 100 < window.max * at || window.alerted >= at) continue
      window.alerted = at
      if (isOver(window.key, this.now)) continue
      this.alerts.push(`${window.limit} ${window.unit} ${window.key} ${at} ${used}`)
    }
  }

  refusal(spending: Spending) {
    this.expire()
    const exceeded = this.applying(spending, spending.amounts).flatMap((claim) => {
      const window = this.current(claim)
      const used = window === undefined ? 0 : window.settled + this.reserved(window)
      if (claim.limit.mode === "soft" || used + claim.amount <= claim.max) return []
      const endsAt = window?.endsAt ?? this.endOf(claim.limit)[1]
      return [{ claim, endsAt: claim.amount > claim.max ? Number.POSITIVE_INFINITY : endsAt }]
    })
    const latest = Math.max(...exceeded.map(({ endsAt }) => endsAt))
    const named = exceeded.find(({ endsAt }) => endsAt === latest)
    if (named === undefined) return undefined
    const { limit, unit } = named.claim
    return `${limit.name} ${unit} ${latest === Number.POSITIVE_INFINITY ? "never" : latest - this.now}`
  }

  reserve(reservation: Reservation): void {
    const { spending } = reservation
    const parts: Array<{ window: Window; amount: number }> = []
    const held: Held = { reservation, at: this.now, parts, state: "open" }
    this.held.push(held)
    for (const claim of this.applying(spending, spending.amounts)) {
      const window = this.open(claim)
      parts.push({ window, amount: claim.amount })
      this.alert(window)
    }
  }

  settle(held: Held, actual: ToolAnnotations.Amounts): void {
    this.expire()
    if (held.state === "done") return
    const late = held.state === "expired"
    const { spending } = held.reservation
    const counted = held.parts.map(({ amount, window }) => ({
      window,
      cost: actual[window.unit] ?? 0,
      bound: late ? 0 : amount
    }))
    held.state = "done"
    for (const { bound, cost, window } of counted) {
      window.settled += cost
      window.overrun += Math.max(0, cost - bound)
      this.alert(window)
    }
    const unforeseen = Object.fromEntries(
      Object.entries(actual).filter(([unit, amount]) => amount > 0 && !Object.hasOwn(spending.amounts, unit))
    )
    for (const claim of this.applying(spending, unforeseen)) {
      const window = this.open(claim)
      window.settled += claim.amount
      window.overrun += claim.amount
      this.alert(window)
    }
    for (const unit of new Set([...Object.keys(spending.amounts), ...Object.keys(actual)])) {
      this.book(spending, spending.tool.name, held.at, unit, actual[unit] ?? 0, 1)
    }
  }

  book(
    { principal, run }: Who,
    tool: string | undefined,
    at: number,
    unit: string,
    amount: number,
    attempts: number
  ) {
    const key = Object.entries({
      tenant: principal.tenant,
      principal: principal.id,
      tool,
      run: run?.id,
      day: new Date(at).toISOString().slice(0, 10)
    }).filter(([, value]) => value !== undefined)
    const id = JSON.stringify([unit, key])
    const sum = this.spent.get(id) ?? { amount: 0, attempts: 0 }
    this.spent.set(id, { amount: sum.amount + amount, attempts: sum.attempts + attempts })
  }

  credit(who: Who, amounts: ToolAnnotations.Amounts): void {
    for (const claim of this.applying(who, amounts)) {
      const window = this.current(claim)
      if (window !== undefined) window.settled = Math.max(0, window.settled - claim.amount)
    }
    for (const [unit, amount] of Object.entries(amounts)) {
      this.book(who, who.tool?.name, this.now, unit, -amount, 0)
    }
  }

  standing(): ReadonlyArray<string> {
    this.expire()
    const rows = this.windows
      .filter((window) => window.endsAt > this.now && !isOver(window.key, this.now))
      .map(
        (window) =>
          `${window.limit} ${window.unit} ${window.key}: ${window.settled} ${this.reserved(window)} ` +
          `${window.overrun} of ${window.max} until ${window.endsAt}`
      )
    for (const limit of this.#limits) {
      if ((limit.per as ReadonlyArray<string>).length > 0) continue
      if (this.current({ limit, unit: limit.unit as string, key: "" }) !== undefined) continue
      rows.push(`${limit.name} ${limit.unit} : 0 0 0 of ${limit.max} until ${this.endOf(limit)[1]}`)
    }
    return rows.toSorted()
  }
}

const shown = (rows: ReadonlyArray<Standing>, now: number): ReadonlyArray<string> =>
  rows
    .filter((row) => !isOver(row.key, now))
    .map(
      (row) =>
        `${row.limit} ${row.unit} ${row.key}: ${row.settled} ${row.reserved} ${row.overrun} of ${row.max} ` +
        `until ${row.windowEndsAt ?? Number.POSITIVE_INFINITY}`
    )
    .toSorted()

// --- Commands --------------------------------------------------------------

interface Real {
  readonly budget: Budget["Service"]
  readonly run: <A>(effect: Effect.Effect<A, unknown>) => Promise<A>
}

type Command = fc.AsyncCommand<Model, Real>

const command = (
  name: string,
  run: (model: Model, real: Real) => Promise<void>,
  check: (model: Model) => boolean = () => true
): Command => ({ check, run, toString: () => name })

const hasReservations = (model: Model) => model.held.length > 0
const pick = (model: Model, index: number): Held => model.held[index % model.held.length] as Held

const commandArbitraries: ReadonlyArray<fc.Arbitrary<Command>> = [
  ...Array.from({ length: 3 }, () =>
    fc
      .tuple(spenderArbitrary, amountsArbitrary, fc.constantFrom(100, 3000, 100_000_000))
      .map(([spender, amounts, life]) =>
        command(
          `reserve(${JSON.stringify({ ...spender, tool: spender.tool.name, amounts, life })})`,
          async (model, real) => {
            if ((spender.run?.deadline ?? model.now) < model.now) return
            const expiresAt = model.now + life
            const callId = `${spender.callId}@${expiresAt}`
            const spending: Spending = { ...spender, callId, amounts, expiresAt }
            const expected = model.refusal(spending)
            const peeked = await real.run(real.budget.peek(spending, model.now))
            const answer = await real.run(real.budget.reserve(spending, model.now))
            assert.deepStrictEqual("_tag" in answer ? answer : undefined, peeked)
            const refused =
              peeked &&
              `${peeked.limit} ${peeked.unit} ` +
                `${peeked.retryAfter === undefined ? "never" : Duration.toMillis(peeked.retryAfter)}`
            assert.strictEqual(refused, expected)
            if (!("_tag" in answer)) model.reserve(answer)
          }
        )
      )
  ),
  fc.tuple(fc.nat(), optionally(amountsArbitrary)).map(([index, actual]) =>
    command(
      `settle(${index}, ${JSON.stringify(actual)})`,
      async (model, real) => {
        const held = pick(model, index)
        const amounts = actual ?? held.reservation.spending.amounts
        model.settle(held, amounts)
        await real.run(real.budget.settle(held.reservation, amounts, model.now))
      },
      hasReservations
    )
  ),
  fc.nat().map((index) =>
    command(
      `refund(${index})`,
      async (model, real) => {
        const held = pick(model, index)
        held.state = "done"
        await real.run(real.budget.refund(held.reservation, model.now))
      },
      hasReservations
    )
  ),
  fc.constantFrom(1, 99, 650, 4000, 60_000, 86_400_000, 27 * 86_400_000).map((millis) =>
    command(`advance(${millis})`, async (model) => {
      model.now += millis
    })
  ),
  fc
    .tuple(spenderArbitrary, amountsArbitrary, fc.boolean())
    .map(([{ principal, run, tool }, amounts, named]) =>
      command(
        `credit(${principal.id}, ${run?.id}, ${JSON.stringify(amounts)}, ${named})`,
        async (model, real) => {
          model.credit({ principal, run, ...(named ? { tool } : {}) }, amounts)
          const who = {
            principal,
            ...(run === undefined ? {} : { run }),
            ...(named ? { tool: tool.name } : {})
          }
          await real.run(real.budget.credit(who, amounts, "because"))
        }
      )
    ),
  fc.constant(
    command("compare", async (model, real) => {
      assert.deepStrictEqual(shown(await real.run(real.budget.standing), model.now), model.standing())
    })
  )
]

/** Runs a program on a budget of its own, by a clock that stands where it is put. */
const withBudget = (
  layer: Layer.Layer<Budget, unknown>,
  now: () => number,
  use: (real: Real) => Promise<void>
): Promise<void> => {
  const nanos = () => BigInt(now()) * 1_000_000n
  const clock: Clock.Clock = {
    currentTimeMillisUnsafe: now,
    currentTimeMillis: Effect.sync(now),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    sleep: () => Effect.never
  }
  const program = Effect.gen(function* () {
    const budget = Context.get(yield* Layer.build(layer), Budget)
    const context = yield* Effect.context<never>()
    yield* Effect.promise(() => use({ budget, run: Effect.runPromiseWith(context) }))
  })
  return Effect.runPromise(program.pipe(Effect.scoped, Effect.provideService(Clock.Clock, clock)))
}

export const agreesWithModel = (layerOf: LayerOf, numRuns: number) =>
  Effect.promise(() =>
    fc.assert(
      fc.asyncProperty(
        limitsArbitrary,
        fc.commands([...commandArbitraries], { maxCommands: 40 }),
        async (limits, commands) => {
          const model = new Model(limits)
          await withBudget(
            layerOf(limits),
            () => model.now,
            async (real) => {
              const alerts: Array<string> = []
              const told = (alert: Alert) =>
                Effect.sync(() => {
                  if (isOver(alert.key, alert.time)) return
                  alerts.push(`${alert.limit} ${alert.unit} ${alert.key} ${alert.at} ${alert.used}`)
                })
              const watching = real.run(
                Effect.forkDetach(Stream.runForEach(real.budget.alerts, told), { startImmediately: true })
              )
              await macrotask()
              await fc.asyncModelRun(() => ({ model, real }), commands)
              assert.deepStrictEqual(shown(await real.run(real.budget.standing), model.now), model.standing())
              const by = ["tenant", "principal", "tool", "run", "day"] as const
              const spent = await real.run(real.budget.spent({ by }))
              assert.deepStrictEqual(
                new Map(
                  spent.map(({ amount, attempts, key, unit }) => [
                    JSON.stringify([unit, Object.entries(key)]),
                    { amount, attempts }
                  ])
                ),
                new Map([...model.spent].toSorted(([a], [b]) => (a < b ? -1 : 1)))
              )
              for (let i = 0; i < 1000 && alerts.length < model.alerts.length; i++) await macrotask()
              for (let i = 0; i < 10; i++) await macrotask()
              assert.deepStrictEqual(alerts.toSorted(), model.alerts.toSorted())
              await real.run(Fiber.interrupt(await watching))
            }
          )
        }
      ),
      { numRuns }
    )
  )

const macrotask = () => new Promise((resolve) => setImmediate(resolve))

// --- Interruption ----------------------------------------------------------

const attemptArbitrary = fc.record({
  spender: spenderArbitrary,
  amounts: amountsArbitrary,
  actual: optionally(amountsArbitrary),
  before: fc.nat(4),
  during: fc.nat(6),
  interruptAfter: optionally(fc.nat(12)),
  end: fc.constantFrom("settle", "settle", "refund", "die")
})

const yields = (times: number) =>
  Effect.forEach(Array.from({ length: times }), () => Effect.yieldNow, { discard: true })

/** Law 7, and the sum of the parts. */
const checkBooks = (limits: ReadonlyArray<Limit>, rows: ReadonlyArray<Standing>): void => {
  const soft = new Set(limits.filter(({ mode }) => mode === "soft").map(({ name }) => name))
  for (const row of rows) {
    assert.isAtLeast(row.settled, 0)
    assert.isAtLeast(row.reserved, 0)
    if (soft.has(row.limit)) continue
    assert.isAtMost(row.settled + row.reserved, row.max + row.overrun, `${row.limit} ${row.key}`)
  }
}

export const holdsUnderInterruption = (layerOf: LayerOf, numRuns: number) =>
  Effect.promise(() =>
    fc.assert(
      fc.asyncProperty(
        limitsArbitrary,
        fc.array(attemptArbitrary, { minLength: 1, maxLength: 25 }),
        fc.boolean(),
        async (generated, attempts, bounded) => {
          // One that everything counts in, so that what was spent can be added up in two ways.
          const limits: ReadonlyArray<Limit> = [
            ...generated,
            ...units.flatMap(
              (unit): ReadonlyArray<Limit> => [
                { name: `all ${unit}`, unit, max: 100, mode: "soft" },
                { name: `each ${unit}`, unit, max: 100, mode: "soft", per: "principal" }
              ]
            )
          ]
          let now = Date.parse("2026-02-27T12:00:00Z")
          await withBudget(
            layerOf(limits),
            () => now,
            async ({ budget, run }) => {
              const expiresAt = now + 1000
              const attempt = (plan: (typeof attempts)[number]) => {
                const spending: Spending = { ...plan.spender, amounts: plan.amounts, expiresAt }
                const actual = bounded ? plan.amounts : (plan.actual ?? plan.amounts)
                const work = Effect.uninterruptibleMask((restore) =>
                  Effect.gen(function* () {
                    yield* restore(yields(plan.before))
                    const answer = yield* restore(budget.reserve(spending, now))
                    if ("_tag" in answer) return
                    checkBooks(limits, yield* budget.standing)
                    if (plan.end === "die") return
                    yield* Effect.exit(restore(yields(plan.during)))
                    if (plan.end === "settle") yield* budget.settle(answer, actual, now)
                    else yield* budget.refund(answer, now)
                  })
                )
                return Effect.gen(function* () {
                  const fiber = yield* Effect.forkChild(work)
                  if (plan.interruptAfter !== undefined) {
                    yield* yields(plan.interruptAfter)
                    yield* Fiber.interrupt(fiber)
                  }
                  const exit = yield* Fiber.await(fiber)
                  if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) return yield* exit
                })
              }
              await run(Effect.forEach(attempts, attempt, { concurrency: "unbounded", discard: true }))
              const during = await run(budget.standing)
              checkBooks(limits, during)
              if (bounded) for (const row of during) assert.strictEqual(row.overrun, 0)
              now = expiresAt + 1
              const after = await run(budget.standing)
              checkBooks(limits, after)
              for (const row of after) assert.strictEqual(row.reserved, 0, `${row.limit} ${row.key}`)
              const spent = new Map((await run(budget.spent())).map((row) => [row.unit, row.amount]))
              for (const unit of units) {
                const sum = (name: string) =>
                  after.filter((row) => row.limit === name).reduce((sum, row) => sum + row.settled, 0)
                assert.strictEqual(sum(`all ${unit}`), spent.get(unit) ?? 0)
                assert.strictEqual(sum(`each ${unit}`), spent.get(unit) ?? 0)
              }
            }
          )
        }
      ),
      { numRuns }
    )
  )
