/** What every backend of `Budget` does. Time comes from `TestClock` or is passed in. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import {
  type Alert,
  Budget,
  type BudgetExceeded,
  type Limit,
  type Reservation,
  type Spending
} from "../src/Budget.ts"
import * as Principal from "../src/Principal.ts"
import * as Run from "../src/Run.ts"
import * as ToolAnnotations from "../src/ToolAnnotations.ts"
import { agreesWithModel, holdsUnderInterruption } from "./support/budgetLaws.ts"

const factsOf = (name: string): ToolAnnotations.ToolFacts => ToolAnnotations.read(Tool.make(name))
const search = factsOf("search")
const ann = Principal.make({ id: "ann" })

const spending = (amounts: ToolAnnotations.Amounts, more: Partial<Spending> = {}): Spending => ({
  callId: "call",
  tool: search,
  principal: ann,
  run: undefined,
  amounts,
  expiresAt: Number.MAX_SAFE_INTEGER,
  ...more
})

const ask = Effect.fnUntraced(function* (amounts: ToolAnnotations.Amounts, more?: Partial<Spending>) {
  const budget = yield* Budget
  return yield* budget.reserve(spending(amounts, more), yield* Clock.currentTimeMillis)
})

const isRefused = (answer: Reservation | BudgetExceeded): answer is BudgetExceeded => "_tag" in answer

const reserve = Effect.fnUntraced(function* (amounts: ToolAnnotations.Amounts, more?: Partial<Spending>) {
  const answer = yield* ask(amounts, more)
  return isRefused(answer) ? assert.fail(`refused by ${answer.limit}`) : answer
})

const refused = Effect.fnUntraced(function* (amounts: ToolAnnotations.Amounts, more?: Partial<Spending>) {
  const answer = yield* ask(amounts, more)
  if (!isRefused(answer)) return assert.fail("not refused")
  const { limit, retryAfter, unit } = answer
  return { limit, unit, retryAfter: retryAfter && Duration.toMillis(retryAfter) }
})

const settle = Effect.fnUntraced(function* (reservation: Reservation, actual: ToolAnnotations.Amounts) {
  yield* (yield* Budget).settle(reservation, actual, yield* Clock.currentTimeMillis)
})

const refund = Effect.fnUntraced(function* (reservation: Reservation) {
  yield* (yield* Budget).refund(reservation, yield* Clock.currentTimeMillis)
})

const spend = Effect.fnUntraced(function* (amounts: ToolAnnotations.Amounts, more?: Partial<Spending>) {
  yield* settle(yield* reserve(amounts, more), amounts)
})

/** `[settled, reserved, overrun]` by limit and key. */
const standing = Effect.map(
  Effect.flatMap(Budget, (budget) => budget.standing),
  (rows) =>
    Object.fromEntries(
      rows.map(({ key, limit, overrun, reserved, settled }) => [
        key === "" ? limit : `${limit} ${key}`,
        [settled, reserved, overrun]
      ])
    )
)

const windowEndsAt = Effect.map(
  Effect.flatMap(Budget, (budget) => budget.standing),
  (rows) => rows.map((row) => row.windowEndsAt)
)

const diesOf = Effect.fnUntraced(function* <A, E, R>(effect: Effect.Effect<A, E, R>) {
  const exit = yield* Effect.exit(effect)
  if (!Exit.isFailure(exit)) return assert.fail("did not die")
  const defect = exit.cause.reasons.find(Cause.isDieReason)?.defect
  assert.instanceOf(defect, RangeError)
  return (defect as RangeError).message
})

const at = (iso: string) => TestClock.setTime(Date.parse(iso))

/** `layerOf` must give a budget of its own each time it is built. */
export const suite = (
  name: string,
  layerOf: (limits?: ReadonlyArray<Limit>) => Layer.Layer<Budget, unknown>,
  options: { readonly runs: number }
) =>
  describe(`Budget, ${name}`, () => {
    it.effect("puts amounts aside and settles them at what they came to", () =>
      Effect.gen(function* () {
        const reservation = yield* reserve({ usd: 60 })
        assert.deepStrictEqual(yield* standing, { all: [0, 60, 0] })
        yield* settle(reservation, { usd: 25 })
        assert.deepStrictEqual(yield* standing, { all: [25, 0, 0] })
        yield* refund(yield* reserve({ usd: 75 }))
        assert.deepStrictEqual(yield* standing, { all: [25, 0, 0] })
        yield* settle(yield* reserve({ usd: 75 }), {})
        assert.deepStrictEqual(yield* standing, { all: [25, 0, 0] })
      }).pipe(Effect.provide(layerOf([{ name: "all", max: 100 }])))
    )

    it.effect("reserves on every limit that applies, or on none", () =>
      Effect.gen(function* () {
        yield* spend({ usd: 10, tokens: 5 })
        assert.deepStrictEqual(yield* refused({ usd: 10, tokens: 6 }), {
          limit: "tokens",
          unit: "tokens",
          retryAfter: undefined
        })
        assert.deepStrictEqual(yield* standing, {
          all: [10, 0, 0],
          "each ann": [10, 0, 0],
          tokens: [5, 0, 0]
        })
        yield* reserve({ usd: 20, tokens: 5 })
        assert.deepStrictEqual(yield* standing, {
          all: [10, 20, 0],
          "each ann": [10, 20, 0],
          tokens: [5, 5, 0]
        })
      }).pipe(
        Effect.provide(
          layerOf([
            { name: "all", max: 100 },
            { name: "each", max: 50, per: "principal" },
            { name: "tokens", unit: "tokens", max: 10 }
          ])
        )
      )
    )

    it.effect("counts everything that is reserved before it refuses, to the last unit", () =>
      Effect.gen(function* () {
        for (let i = 0; i < 10; i++) yield* reserve({ usd: 10 })
        assert.strictEqual((yield* refused({ usd: 1 })).limit, "all")
        yield* reserve({ usd: 0 })
      }).pipe(Effect.provide(layerOf([{ name: "all", max: 100 }])))
    )

    it.effect("names the limit that stays spent longest, and when its window ends", () =>
      Effect.gen(function* () {
        const minute = 60_000
        const hour = 60 * minute
        yield* at("2026-03-30T23:59:00Z")
        yield* spend({ usd: 5 })
        assert.deepStrictEqual(yield* refused({ usd: 1 }), {
          limit: "month",
          unit: "usd",
          retryAfter: 24 * hour + minute
        })
        yield* at("2026-04-01T00:00:00Z")
        yield* spend({ usd: 4 })
        assert.deepStrictEqual(yield* refused({ usd: 4 }), {
          limit: "month",
          unit: "usd",
          retryAfter: 30 * 24 * hour
        })
        // What no window can hold has no time to come back.
        assert.deepStrictEqual(yield* refused({ usd: 6 }), {
          limit: "day",
          unit: "usd",
          retryAfter: undefined
        })
        assert.deepStrictEqual(yield* refused({ usd: 4, tokens: 4 }), {
          limit: "ever",
          unit: "tokens",
          retryAfter: undefined
        })
      }).pipe(
        Effect.provide(
          layerOf([
            { name: "day", max: 5, window: "day" },
            { name: "month", max: 5, window: "month", tools: ["*"] },
            { name: "ever", unit: "tokens", max: 3 }
          ])
        )
      )
    )

    it.effect("counts what is above the reserve at once, and lets nobody in until there is room again", () =>
      Effect.gen(function* () {
        const reservation = yield* reserve({ usd: 10 })
        yield* settle(reservation, { usd: 130 })
        assert.deepStrictEqual(yield* standing, { all: [130, 0, 120] })
        assert.strictEqual((yield* refused({ usd: 0 })).limit, "all")
        yield* (yield* Budget).credit({ principal: ann }, { usd: 30 }, "billed twice")
        yield* reserve({ usd: 0 })
        assert.strictEqual((yield* refused({ usd: 1 })).limit, "all")
      }).pipe(Effect.provide(layerOf([{ name: "all", max: 100 }])))
    )

    it.effect("counts the first word on a reservation, and no other", () =>
      Effect.gen(function* () {
        const settled = yield* reserve({ usd: 10 })
        yield* settle(settled, { usd: 7 })
        yield* settle(settled, { usd: 9 })
        yield* refund(settled)
        const refunded = yield* reserve({ usd: 10 })
        yield* refund(refunded)
        yield* refund(refunded)
        yield* settle(refunded, { usd: 9 })
        assert.deepStrictEqual(yield* standing, { all: [7, 0, 0] })
        assert.deepStrictEqual(yield* (yield* Budget).spent(), [
          { key: {}, unit: "usd", amount: 7, attempts: 1 }
        ])
      }).pipe(Effect.provide(layerOf([{ name: "all", max: 100 }])))
    )

    it.effect("counts what is settled in a unit that was not reserved", () =>
      Effect.gen(function* () {
        const reservation = yield* reserve({ usd: 10 })
        yield* settle(reservation, { usd: 5, tokens: 20 })
        assert.deepStrictEqual(yield* standing, { all: [5, 0, 0], tokens: [20, 0, 20] })
        assert.strictEqual((yield* refused({ tokens: 0 })).limit, "tokens")
      }).pipe(
        Effect.provide(
          layerOf([
            { name: "all", max: 100 },
            { name: "tokens", unit: "tokens", max: 10 }
          ])
        )
      )
    )

    // --- Expiry ------------------------------------------------------------

    it.effect(
      "gives a reservation back after its time, and counts it all the same when it is settled late",
      () =>
        Effect.gen(function* () {
          const dead = yield* reserve({ usd: 60 }, { expiresAt: 1000 })
          yield* reserve({ usd: 30 }, { expiresAt: 5000 })
          yield* TestClock.setTime(1000)
          assert.strictEqual((yield* refused({ usd: 50 })).limit, "all")
          yield* TestClock.setTime(1001)
          const next = yield* reserve({ usd: 50 })
          yield* settle(dead, { usd: 40 })
          assert.deepStrictEqual(yield* standing, { all: [40, 80, 40] })
          yield* settle(dead, { usd: 40 })
          yield* refund(dead)
          yield* refund(next)
          assert.deepStrictEqual(yield* standing, { all: [40, 30, 40] })
        }).pipe(Effect.provide(layerOf([{ name: "all", max: 100 }])))
    )

    it.effect("forgets an expired reservation that is refunded, noticed or not", () =>
      Effect.gen(function* () {
        const noticed = yield* reserve({ usd: 20 }, { expiresAt: 1000 })
        const dead = yield* reserve({ usd: 60 }, { expiresAt: 3000 })
        yield* TestClock.setTime(2000)
        assert.deepStrictEqual(yield* standing, { all: [0, 60, 0] })
        yield* refund(noticed)
        assert.deepStrictEqual(yield* standing, { all: [0, 60, 0] })
        yield* TestClock.setTime(4000)
        yield* refund(dead)
        yield* settle(dead, { usd: 40 })
        yield* settle(noticed, { usd: 40 })
        assert.deepStrictEqual(yield* standing, { all: [0, 0, 0] })
      }).pipe(Effect.provide(layerOf([{ name: "all", max: 100 }])))
    )

    // --- Windows -----------------------------------------------------------

    it.effect("begins anew with each day and each month", () =>
      Effect.gen(function* () {
        yield* at("2026-02-28T23:59:59.999Z")
        yield* spend({ usd: 8 })
        assert.deepStrictEqual(yield* standing, { day: [8, 0, 0], month: [8, 0, 0] })
        yield* at("2026-03-01T00:00:00Z")
        assert.deepStrictEqual(yield* standing, { day: [0, 0, 0], month: [0, 0, 0] })
        yield* spend({ usd: 9 })
        yield* at("2026-03-02T00:00:00Z")
        yield* spend({ usd: 9 })
        assert.deepStrictEqual(yield* standing, { day: [9, 0, 0], month: [18, 0, 0] })
        assert.deepStrictEqual(yield* windowEndsAt, [Date.parse("2026-03-03"), Date.parse("2026-04-01")])
      }).pipe(
        Effect.provide(
          layerOf([
            { name: "day", max: 10, window: "day" },
            { name: "month", max: 20, window: "month" }
          ])
        )
      )
    )

    it.effect("counts an attempt in the window in which it was reserved", () =>
      Effect.gen(function* () {
        yield* at("2026-03-01T23:59:59Z")
        const before = yield* reserve({ usd: 8 })
        yield* at("2026-03-02T00:00:01Z")
        const after = yield* reserve({ usd: 10 })
        yield* settle(before, { usd: 100 })
        assert.deepStrictEqual(yield* standing, { day: [0, 10, 0], ever: [100, 10, 92] })
        yield* refund(after)
        assert.deepStrictEqual(yield* standing, { day: [0, 0, 0], ever: [100, 0, 92] })
        assert.deepStrictEqual(yield* (yield* Budget).spent({ by: ["day"] }), [
          { key: { day: "2026-03-01" }, unit: "usd", amount: 100, attempts: 1 }
        ])
      }).pipe(
        Effect.provide(
          layerOf([
            { name: "day", max: 10, window: "day" },
            { name: "ever", max: 1000 }
          ])
        )
      )
    )

    it.effect("has days of the time zone that is named, of 23 and of 25 hours too", () =>
      Effect.gen(function* () {
        for (const [noon, ends] of [
          ["2026-03-29T12:00:00+02:00", "2026-03-30T00:00:00+02:00"],
          ["2026-10-25T12:00:00+01:00", "2026-10-26T00:00:00+01:00"]
        ] as const) {
          yield* at(noon)
          yield* spend({ usd: 10 })
          const left = Date.parse(ends) - Date.parse(noon)
          assert.strictEqual((yield* refused({ usd: 1 })).retryAfter, left)
          yield* TestClock.adjust(left - 1)
          assert.strictEqual((yield* refused({ usd: 1 })).retryAfter, 1)
          yield* TestClock.adjust(1)
          yield* refund(yield* reserve({ usd: 1 }))
        }
      }).pipe(Effect.provide(layerOf([{ max: 10, window: "day", timeZone: "Europe/Berlin" }])))
    )

    it.effect("begins a window that is given as a duration when a key is first used in it", () =>
      Effect.gen(function* () {
        const bob = { principal: Principal.make({ id: "bob" }) }
        yield* TestClock.setTime(500)
        yield* spend({ usd: 10 })
        yield* TestClock.setTime(900)
        yield* spend({ usd: 10 }, bob)
        yield* TestClock.setTime(1499)
        assert.strictEqual((yield* refused({ usd: 1 })).retryAfter, 1)
        yield* TestClock.setTime(1500)
        assert.strictEqual((yield* refused({ usd: 1 }, bob)).retryAfter, 400)
        yield* spend({ usd: 4 })
        assert.deepStrictEqual(yield* standing, { "second ann": [4, 0, 0], "second bob": [10, 0, 0] })
        assert.deepStrictEqual(yield* windowEndsAt, [2500, 1900])
      }).pipe(Effect.provide(layerOf([{ name: "second", max: 10, window: "1 second", per: "principal" }])))
    )

    it.effect(
      "counts a caller that read its clock before the window began, but not a clock that was set back",
      () =>
        Effect.gen(function* () {
          const budget = yield* Budget
          const day = Date.parse("2026-03-02")
          const reserveAt = (now: number) => Effect.map(budget.reserve(spending({ usd: 10 }), now), isRefused)
          assert.isFalse(yield* reserveAt(day))
          assert.isTrue(yield* reserveAt(day - 5))
          assert.isFalse(yield* reserveAt(Date.parse("2026-02-02")))
        }).pipe(Effect.provide(layerOf([{ max: 10, window: "day" }])))
    )

    // --- Keys --------------------------------------------------------------

    it.effect("counts calls, runs, principals and tenants apart, and only where there is one", () =>
      Effect.gen(function* () {
        const acme = Principal.make({ id: "ann", tenant: "acme" })
        const run = Run.make({ id: "r" })
        yield* spend({ usd: 1 })
        yield* spend({ usd: 2 }, { principal: acme })
        yield* spend({ usd: 4 }, { principal: acme, run, callId: "other" })
        yield* spend({ usd: 8 }, { run })
        assert.deepStrictEqual(yield* standing, {
          "call acme/ann/call": [2, 0, 0],
          "call acme/ann/other": [4, 0, 0],
          "call ann/call": [9, 0, 0],
          "principal acme/ann": [6, 0, 0],
          "principal ann": [9, 0, 0],
          "run acme/r": [4, 0, 0],
          "run r": [8, 0, 0],
          "tenant acme": [6, 0, 0],
          "both acme/ann/r": [4, 0, 0]
        })
      }).pipe(
        Effect.provide(
          layerOf([
            { name: "call", max: 100, per: "call" },
            { name: "principal", max: 100, per: ["principal"] },
            { name: "run", max: 100, per: "run" },
            { name: "tenant", max: 100, per: "tenant" },
            { name: "both", max: 100, per: ["run", "principal", "tenant"] }
          ])
        )
      )
    )

    it.effect("keeps hostile ids apart", () =>
      Effect.gen(function* () {
        const ids = ["a/b", "a%2Fb", "a", "b", "/", "", "__proto__", "constructor", "a/", "/b", "\0", "💰"]
        const who = [undefined, ...ids].flatMap((tenant) =>
          ids.map((id) => Principal.make({ id, ...(tenant === undefined ? {} : { tenant }) }))
        )
        for (const principal of who) yield* spend({ usd: 1 }, { principal })
        for (const principal of who)
          assert.strictEqual((yield* refused({ usd: 1 }, { principal })).limit, "each")
        yield* spend({ __proto__: 1, constructor: 5 } as ToolAnnotations.Amounts)
        assert.strictEqual((yield* refused({ constructor: 1 })).unit, "constructor")
      }).pipe(
        Effect.provide(
          layerOf([
            { name: "each", max: 1, per: "principal" },
            { name: "odd", unit: "constructor", max: 5 },
            { name: "odder", unit: "toString", max: 0 }
          ])
        )
      )
    )

    it.effect("adds up all attempts of a call", () =>
      Effect.gen(function* () {
        yield* spend({ usd: 4 })
        yield* spend({ usd: 4 })
        assert.strictEqual((yield* refused({ usd: 4 })).limit, "usd by call")
        yield* spend({ usd: 4 }, { callId: "another" })
      }).pipe(Effect.provide(layerOf([{ max: 10, per: "call" }])))
    )

    it.effect("has limits for roles and for tools", () =>
      Effect.gen(function* () {
        const gold = { principal: Principal.make({ id: "bob", roles: ["gold"] }) }
        const free = { principal: Principal.make({ id: "ann", roles: ["guest", "free"] }) }
        yield* spend({ usd: 10 }, free)
        assert.strictEqual((yield* refused({ usd: 1 }, free)).limit, "usd by principal for free, none on s*")
        yield* spend({ usd: 100 }, gold)
        assert.strictEqual((yield* refused({ usd: 1 }, gold)).limit, "usd by principal for gold")
        yield* spend({ usd: 1 }, { ...free, tool: factsOf("other") })
        assert.strictEqual((yield* refused({ usd: 1 }, { ...gold, tool: factsOf("other") })).unit, "usd")
        yield* spend({ usd: 1 }, { principal: Principal.make({ id: "nobody" }) })
      }).pipe(
        Effect.provide(
          layerOf([
            { max: 10, per: "principal", roles: ["free", "none"], tools: ["s*"] },
            { max: 100, per: "principal", roles: ["gold"] }
          ])
        )
      )
    )

    it.effect("knows which tools no limit can apply to, by any of their names", () =>
      Effect.gen(function* () {
        const budget = yield* Budget
        assert.isTrue(budget.applies(search))
        assert.isTrue(budget.applies(factsOf("github__Search_code")))
        assert.isFalse(budget.applies(factsOf("research")))
      }).pipe(Effect.provide(layerOf([{ max: 1, tools: ["search*"] }])))
    )

    it.effect("holds a run to the budget that it brings, without any configuration", () =>
      Effect.gen(function* () {
        const run = Run.make({ id: "r", budget: { usd: 10, tokens: 5 } })
        assert.isFalse((yield* Budget).applies(search))
        yield* spend({ usd: 6, tokens: 5, other: 100 }, { run })
        assert.deepStrictEqual(yield* refused({ usd: 5 }, { run }), {
          limit: "run budget",
          unit: "usd",
          retryAfter: undefined
        })
        assert.strictEqual((yield* refused({ tokens: 1 }, { run })).unit, "tokens")
        yield* spend({ usd: 100 }, { run: Run.make({ id: "s" }) })
        yield* spend({ usd: 10 }, { run: Run.make({ id: "t", budget: { usd: 10 } }) })
        const rows = yield* (yield* Budget).standing
        assert.deepStrictEqual(
          rows.map((row) => [row.limit, row.key, row.unit, row.settled]),
          [
            ["run budget", "r", "tokens", 5],
            ["run budget", "r", "usd", 6],
            ["run budget", "t", "usd", 10]
          ]
        )
      }).pipe(Effect.provide(layerOf()))
    )

    // --- Soft limits and alerts --------------------------------------------

    it.effect("never refuses by a soft limit, and alerts of it", () =>
      Effect.gen(function* () {
        const alerts = yield* watch
        yield* spend({ usd: 79 })
        yield* refund(yield* reserve({ usd: 1 }))
        yield* spend({ usd: 1000 })
        assert.deepStrictEqual(yield* standing, { soft: [1079, 0, 0] })
        assert.deepStrictEqual(yield* told(alerts), ["soft 80% at 80", "soft 100% at 1079"])
      }).pipe(Effect.provide(layerOf([{ name: "soft", max: 100, mode: "soft" }])), Effect.scoped)
    )

    it.effect("alerts at 80 and at 100 per cent, once per window and key, of what is reserved too", () =>
      Effect.gen(function* () {
        const alerts = yield* watch
        const bob = { principal: Principal.make({ id: "bob" }) }
        const reservation = yield* reserve({ usd: 79 })
        assert.deepStrictEqual(yield* told(alerts), [])
        yield* settle(yield* reserve({ usd: 0 }), { usd: 1 })
        assert.deepStrictEqual(yield* told(alerts), ["day ann 80% at 80"])
        yield* settle(reservation, { usd: 85 })
        yield* reserve({ usd: 14 })
        assert.deepStrictEqual(yield* told(alerts), ["day ann 80% at 80", "day ann 100% at 100"])
        yield* spend({ usd: 100 }, bob)
        yield* settle(yield* reserve({ usd: 0 }, bob), { usd: 5 })
        yield* TestClock.adjust("1 day")
        yield* spend({ usd: 80 })
        assert.deepStrictEqual(yield* told(alerts), [
          "day ann 80% at 80",
          "day ann 100% at 100",
          "day bob 80% at 100",
          "day bob 100% at 100",
          "day ann 80% at 80"
        ])
      }).pipe(
        Effect.provide(layerOf([{ name: "day", max: 100, window: "day", per: "principal" }])),
        Effect.scoped
      )
    )

    it.effect("tells no alert of what is refused, nor of a window that is over", () =>
      Effect.gen(function* () {
        const alerts = yield* watch
        yield* refused({ usd: 101 })
        const reservation = yield* reserve({ usd: 1 })
        yield* TestClock.adjust("1 day")
        yield* settle(reservation, { usd: 500 })
        assert.deepStrictEqual(yield* told(alerts), [])
      }).pipe(Effect.provide(layerOf([{ max: 100, window: "day" }])), Effect.scoped)
    )

    // --- Credits and what was spent ----------------------------------------

    it.effect("credits what was spent, in the current windows, down to nothing", () =>
      Effect.gen(function* () {
        const budget = yield* Budget
        const run = Run.make({ id: "r", budget: { usd: 1000 } })
        yield* at("2026-03-01")
        yield* spend({ usd: 70 }, { run })
        yield* at("2026-03-02")
        yield* spend({ usd: 20 }, { run })
        yield* spend({ usd: 5 }, { principal: Principal.make({ id: "bob" }) })
        yield* budget.credit({ principal: ann, tool: "search", run }, { usd: 30 }, "outage")
        assert.deepStrictEqual(yield* standing, {
          "day ann": [0, 0, 0],
          "day bob": [5, 0, 0],
          "call ann/call": [90, 0, 0],
          "call bob/call": [5, 0, 0],
          month: [65, 0, 0],
          search: [65, 0, 0],
          "run budget r": [60, 0, 0]
        })
        yield* budget.credit({ principal: ann }, { usd: 5, none: 3 }, "goodwill")
        const stands = yield* standing
        assert.deepStrictEqual(
          [stands["search"], stands["run budget r"], stands["month"]],
          [
            [65, 0, 0],
            [60, 0, 0],
            [60, 0, 0]
          ]
        )
        const time = Date.parse("2026-03-02")
        const of = { principal: "ann", tenant: undefined, time }
        assert.deepStrictEqual(
          (yield* budget.credits).toSorted((a, b) => (a.why < b.why ? -1 : 1)),
          [
            { ...of, tool: undefined, run: undefined, amounts: { usd: 5, none: 3 }, why: "goodwill" },
            { ...of, tool: "search", run: "r", amounts: { usd: 30 }, why: "outage" }
          ]
        )
        assert.deepStrictEqual(yield* budget.spent({ by: ["principal", "day"] }), [
          { key: { principal: "ann", day: "2026-03-02" }, unit: "none", amount: -3, attempts: 0 },
          { key: { principal: "ann", day: "2026-03-01" }, unit: "usd", amount: 70, attempts: 1 },
          { key: { principal: "ann", day: "2026-03-02" }, unit: "usd", amount: -15, attempts: 1 },
          { key: { principal: "bob", day: "2026-03-02" }, unit: "usd", amount: 5, attempts: 1 }
        ])
      }).pipe(
        Effect.provide(
          layerOf([
            { name: "day", max: 1000, window: "day", per: "principal" },
            { name: "call", max: 1000, per: "call" },
            { name: "month", max: 1000, window: "month" },
            { name: "search", max: 1000, tools: ["SEARCH"], window: "month" }
          ])
        )
      )
    )

    it.effect("says what was spent by whom, on what, since when", () =>
      Effect.gen(function* () {
        const budget = yield* Budget
        const acme = Principal.make({ id: "ann", tenant: "acme" })
        const run = Run.make({ id: "r" })
        yield* at("2026-03-01T23:00:00Z")
        yield* spend({ usd: 1 })
        yield* spend({ usd: 2, tokens: 10 }, { principal: acme, run })
        yield* at("2026-03-02T01:00:00Z")
        yield* spend({ usd: 4 }, { principal: acme, tool: factsOf("fetch") })
        yield* settle(yield* reserve({ usd: 8 }, { run }), { tokens: 3 })
        assert.deepStrictEqual(yield* budget.spent(), [
          { key: {}, unit: "tokens", amount: 13, attempts: 2 },
          { key: {}, unit: "usd", amount: 7, attempts: 4 }
        ])
        assert.deepStrictEqual(yield* budget.spent({ by: ["tenant", "tool"], since: 0 }), [
          { key: { tenant: "acme", tool: "search" }, unit: "tokens", amount: 10, attempts: 1 },
          { key: { tool: "search" }, unit: "tokens", amount: 3, attempts: 1 },
          { key: { tenant: "acme", tool: "fetch" }, unit: "usd", amount: 4, attempts: 1 },
          { key: { tenant: "acme", tool: "search" }, unit: "usd", amount: 2, attempts: 1 },
          { key: { tool: "search" }, unit: "usd", amount: 1, attempts: 2 }
        ])
        const usd = (query: object) =>
          Effect.map(budget.spent(query), (rows) => rows.find((row) => row.unit === "usd")?.amount)
        assert.strictEqual(yield* usd({ since: Date.parse("2026-03-02") }), 4)
        assert.strictEqual(yield* usd({ since: Date.parse("2026-03-01T12:00:00Z") }), 7)
        assert.strictEqual(yield* usd({ until: Date.parse("2026-03-02") }), 3)
        assert.strictEqual(yield* usd({ tenant: "acme", principal: "ann" }), 6)
        assert.strictEqual(yield* usd({ run: "r" }), 2)
        assert.strictEqual(yield* usd({ tool: "fetch" }), 4)
        assert.isUndefined(yield* usd({ tool: "fetch' OR 1=1 --" }))
      }).pipe(Effect.provide(layerOf([{ max: 1000 }])))
    )

    // --- Looking, and nonsense ---------------------------------------------

    it.effect("peeks at what reserving would come to, and changes nothing", () =>
      Effect.gen(function* () {
        const budget = yield* Budget
        const peek = (usd: number, now: number) => budget.peek(spending({ usd }), now)
        yield* reserve({ usd: 60 }, { expiresAt: 1000 })
        for (let i = 0; i < 3; i++) assert.isUndefined(yield* peek(40, 1000))
        assert.deepStrictEqual(yield* peek(41, 1000), {
          _tag: "BudgetExceeded",
          limit: "all",
          unit: "usd",
          retryAfter: Duration.millis(86_399_000)
        })
        assert.deepStrictEqual(yield* standing, { all: [0, 60, 0] })
        assert.isUndefined(yield* peek(100, 1001))
      }).pipe(Effect.provide(layerOf([{ name: "all", max: 100, window: "day" }])))
    )

    it.effect("dies of an amount that is none, and changes nothing", () =>
      Effect.gen(function* () {
        const budget = yield* Budget
        const alerts = yield* watch
        const reservation = yield* reserve({ usd: 10 })
        for (const usd of [
          -1,
          0.5,
          Number.NaN,
          Number.POSITIVE_INFINITY,
          2 ** 53,
          "5" as unknown as number
        ]) {
          for (const amounts of [{ usd }, { tokens: 1, usd }, { unknown: usd, usd: 1 }] as const) {
            const message = yield* diesOf(budget.reserve(spending(amounts as ToolAnnotations.Amounts), 0))
            assert.include(message, "must be a whole number")
            yield* diesOf(budget.peek(spending(amounts as ToolAnnotations.Amounts), 0))
            yield* diesOf(budget.settle(reservation, amounts as ToolAnnotations.Amounts, 0))
            yield* diesOf(budget.credit({ principal: ann }, amounts as ToolAnnotations.Amounts, "why"))
          }
          const run = Run.make({ id: "r", budget: { usd } })
          yield* diesOf(budget.reserve(spending({ usd: 1 }, { run }), 0))
        }
        yield* diesOf(budget.reserve(spending({ usd: 1 }, { expiresAt: Number.NaN }), 0))
        assert.deepStrictEqual(yield* standing, { all: [0, 10, 0], soft: [0, 10, 0], tokens: [0, 0, 0] })
        assert.deepStrictEqual(yield* budget.spent(), [])
        assert.deepStrictEqual(yield* budget.credits, [])
        assert.deepStrictEqual(yield* told(alerts), [])
      }).pipe(
        Effect.provide(
          layerOf([
            { name: "all", max: 100 },
            { name: "soft", max: 100, mode: "soft" },
            { name: "tokens", unit: "tokens", max: 100 }
          ])
        ),
        Effect.scoped
      )
    )

    it.effect("does not count beyond what can be counted exactly", () =>
      Effect.gen(function* () {
        const budget = yield* Budget
        const most = Number.MAX_SAFE_INTEGER
        yield* reserve({ usd: most - 5 })
        yield* diesOf(budget.reserve(spending({ usd: 6 }), 0))
        yield* diesOf(budget.peek(spending({ usd: 6 }), 0))
        const last = yield* reserve({ usd: 5 })
        yield* settle(last, { usd: most })
        yield* settle(yield* reserve({ tokens: most }), { tokens: most })
        assert.strictEqual((yield* refused({ tokens: 1 })).limit, "tokens")
        assert.deepStrictEqual(yield* standing, { soft: [most, most - 5, most - 5], tokens: [most, 0, 0] })
      }).pipe(
        Effect.provide(
          layerOf([
            { name: "soft", max: 10, mode: "soft" },
            { name: "tokens", unit: "tokens", max: Number.MAX_SAFE_INTEGER }
          ])
        )
      )
    )

    it.effect("gives way to no more than there is, however many ask at once", () =>
      Effect.gen(function* () {
        const answers = yield* Effect.forEach(
          Array.from({ length: 40 }, (_, i) => i),
          (i) => Effect.andThen(i % 3 === 0 ? Effect.yieldNow : Effect.void, ask({ usd: 7 })),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(answers.filter((answer) => !isRefused(answer)).length, 14)
        assert.deepStrictEqual(yield* standing, { all: [0, 98, 0] })
      }).pipe(Effect.provide(layerOf([{ name: "all", max: 100 }])))
    )

    // --- Laws --------------------------------------------------------------

    it.live(
      "agrees with a model that keeps everything, whatever is done in whatever order",
      () => agreesWithModel(layerOf, options.runs),
      60_000
    )

    it.live(
      "leaks nothing past its time and stays within its limits, however fibers are mixed and interrupted",
      () => holdsUnderInterruption(layerOf, options.runs),
      60_000
    )
  })

const watch = Effect.gen(function* () {
  const alerts: Array<Alert> = []
  const budget = yield* Budget
  yield* Effect.forkScoped(Stream.runForEach(budget.alerts, (alert) => Effect.sync(() => alerts.push(alert))))
  yield* settled
  return alerts
})

/** A reader sees one alert at a time. */
const settled = Effect.promise(async () => {
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve))
})

const told = (alerts: ReadonlyArray<Alert>) =>
  Effect.map(settled, () =>
    alerts.map((alert) => `${alert.limit}${alert.key && ` ${alert.key}`} ${alert.at}% at ${alert.used}`)
  )
