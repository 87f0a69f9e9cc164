import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "fast-check"
import { Budget, type Limit, layerMemory, type Reservation, type Spending, usd } from "../src/Budget.ts"
import { type Expiring, ExpiryQueue } from "../src/internal/budget/expiry.ts"
import { Ledger } from "../src/internal/budget/ledger.ts"
import * as Windows from "../src/internal/budget/windows.ts"
import * as Principal from "../src/Principal.ts"
import * as Run from "../src/Run.ts"
import * as ToolAnnotations from "../src/ToolAnnotations.ts"
import { suite } from "./BudgetSuite.ts"

suite("memory", (limits) => layerMemory(limits), { runs: 300 })

const search = ToolAnnotations.read(Tool.make("search"))

const by = (id: string, more: Partial<Spending> = {}): Spending => ({
  callId: "call",
  tool: search,
  principal: Principal.make({ id }),
  run: undefined,
  amounts: { usd: 5 },
  expiresAt: 1_000_000,
  ...more
})

/** The limit that refuses, or the reservation. */
const ask = Effect.fnUntraced(function* (spending: Spending, now = 0) {
  const answer = yield* (yield* Budget).reserve(spending, now)
  return "_tag" in answer ? answer.limit : answer
})

const spend = Effect.fnUntraced(function* (spending: Spending, now = 0) {
  const answer = yield* ask(spending, now)
  if (typeof answer === "string") return answer
  yield* (yield* Budget).settle(answer, spending.amounts, now)
  return "spent"
})

const keys = Effect.map(
  Effect.flatMap(Budget, (budget) => budget.standing),
  (rows) => rows.map((row) => `${row.key} ${row.settled}`)
)

describe("Budget in process", () => {
  it.effect("answers with an Exit, and acts when called", () =>
    Effect.gen(function* () {
      const budget = yield* Budget
      assert.isTrue(Exit.isExit(budget.peek(by("ann"), 0)))
      const answer = budget.reserve(by("ann"), 0)
      assert.isTrue(Exit.isExit(answer))
      assert.isTrue(Exit.isExit(budget.reserve(by("ann", { amounts: { usd: -1 } }), 0)))
      const reservation = (yield* answer) as Reservation
      assert.isTrue(Exit.isExit(budget.settle(reservation, { usd: 3 }, 0)))
      assert.isTrue(Exit.isExit(budget.refund(reservation, 0)))
      assert.deepStrictEqual(yield* keys, [" 3"])
    }).pipe(Effect.provide(layerMemory([{ max: 10 }])))
  )

  it.effect("dies of a reservation that it did not make", () =>
    Effect.gen(function* () {
      const budget = yield* Budget
      const copy = { ...((yield* budget.reserve(by("ann"), 0)) as Reservation) }
      for (const answer of [budget.settle(copy, { usd: 1 }, 0), budget.refund(copy, 0)]) {
        const exit = yield* Effect.exit(answer)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      }
    }).pipe(Effect.provide(layerMemory([{ max: 10 }])))
  )

  describe("when there are too many keys", () => {
    it.effect("takes no new principal on a hard limit, before a window has ended", () =>
      Effect.gen(function* () {
        for (const id of ["a", "b", "c"]) assert.strictEqual(yield* spend(by(id)), "spent")
        assert.strictEqual(yield* spend(by("d")), "usd per 1s by principal")
        assert.isDefined(yield* (yield* Budget).peek(by("d"), 0))
        assert.strictEqual(yield* spend(by("a")), "spent")
        assert.strictEqual(yield* spend(by("d"), 999), "usd per 1s by principal")
        assert.strictEqual(yield* spend(by("d"), 1000), "spent")
      }).pipe(Effect.provide(layerMemory([{ max: 10, per: "principal", window: 1000 }], { maxKeys: 3 })))
    )

    it.effect("forgets the oldest principal of a soft limit", () =>
      Effect.gen(function* () {
        for (const id of ["a", "b", "c", "a", "d"]) assert.strictEqual(yield* spend(by(id)), "spent")
        assert.deepStrictEqual(yield* keys, ["b 5", "c 5", "d 5"])
      }).pipe(Effect.provide(layerMemory([{ max: 10, per: "principal", mode: "soft" }], { maxKeys: 3 })))
    )

    it.effect("forgets the run that was used longest ago, but none in which something is reserved", () =>
      Effect.gen(function* () {
        const of = (id: string) => by("ann", { run: Run.make({ id, budget: { usd: 10 } }) })
        const held = (yield* ask(of("held"))) as Reservation
        for (const id of ["a", "b", "a", "c", "d"]) assert.strictEqual(yield* spend(of(id)), "spent")
        yield* (yield* Budget).refund((yield* ask(of("held"))) as Reservation, 0)
        assert.strictEqual(yield* ask({ ...of("held"), amounts: { usd: 6 } }), "run budget")
        yield* (yield* Budget).settle(held, { usd: 2 }, 0)
        assert.deepStrictEqual(yield* keys, ["c 5", "d 5", "held 2"])
      }).pipe(Effect.provide(layerMemory([], { maxKeys: 3 })))
    )

    it.effect("counts a late settlement in a run that was forgotten meanwhile", () =>
      Effect.gen(function* () {
        const of = (id: string, expiresAt = 1_000_000) =>
          by("ann", { expiresAt, run: Run.make({ id, budget: { usd: 10 } }) })
        const late = (yield* ask(of("late", 0))) as Reservation
        yield* spend(of("a"), 1)
        yield* spend(of("b"), 1)
        assert.deepStrictEqual(yield* keys, ["a 5", "b 5"])
        yield* (yield* Budget).settle(late, { usd: 9 }, 1)
        assert.deepStrictEqual(yield* keys, ["b 5", "late 9"])
        assert.strictEqual(yield* spend(of("late"), 1), "run budget")
      }).pipe(Effect.provide(layerMemory([], { maxKeys: 2 })))
    )

    it.effect("keeps no more of calls that are over than two for each new one", () =>
      Effect.gen(function* () {
        for (let i = 0; i < 1000; i++) {
          assert.strictEqual(yield* spend(by("ann", { callId: `${i}`, expiresAt: i + 10 }), i), "spent")
        }
        assert.isAtMost((yield* keys).length, 12)
      }).pipe(Effect.provide(layerMemory([{ max: 10, per: "call" }])))
    )

    it.effect("forgets the oldest sums", () =>
      Effect.gen(function* () {
        for (let i = 0; i < 100; i++) yield* spend(by(`p${i}`), i * 86_400_000)
        const days = (yield* (yield* Budget).spent({ by: ["day"] })).map((row) => row.key["day"])
        assert.isAtMost(days.length, 20)
        assert.strictEqual(days.at(-1), "1970-04-10")
      }).pipe(Effect.provide(layerMemory([{ max: 1000 }], { maxSums: 20 })))
    )
  })

  it.effect("counts a run of several principals apart for each, where both are counted apart", () => {
    const run = Run.make({ id: "run" })
    return Effect.gen(function* () {
      assert.strictEqual(yield* spend(by("ann", { run })), "spent")
      assert.strictEqual(yield* spend(by("bob", { run })), "spent")
      assert.deepStrictEqual(yield* keys, ["ann/run 5", "bob/run 5"])
    }).pipe(Effect.provide(layerMemory([{ max: 9, per: ["principal", "run"] }])))
  })

  it.effect("keeps far more principals apart than it remembers the texts of", () =>
    Effect.gen(function* () {
      const principals = Array.from({ length: 10_500 }, (_, i) =>
        Principal.make({ id: `p${i}`, ...(i % 2 === 0 ? {} : { tenant: "acme" }) })
      )
      for (const principal of [...principals, ...principals]) yield* spend(by("", { principal }))
      const standing = yield* (yield* Budget).standing
      assert.strictEqual(standing.length, principals.length)
      for (const { settled } of standing) assert.strictEqual(settled, 10)
    }).pipe(Effect.provide(layerMemory([{ max: 10, per: "principal" }])))
  )

  it.effect("remembers the last 1,000 credits", () =>
    Effect.gen(function* () {
      const budget = yield* Budget
      for (let i = 0; i < 1005; i++)
        yield* budget.credit({ principal: Principal.anonymous }, { usd: 1 }, `${i}`)
      const credits = yield* budget.credits
      assert.deepStrictEqual([credits.length, credits[0]?.why, credits.at(-1)?.why], [1000, "1004", "5"])
    }).pipe(Effect.provide(layerMemory()))
  )
})

describe("limits that make no sense", () => {
  const cases: ReadonlyArray<readonly [object, RegExp]> = [
    [{ max: -1 }, /limits\[0\]: max must be a whole number/],
    [{ max: 0.5, name: "half" }, /limits\[0\] \(half\): max must be a whole number/],
    [{ max: Number.NaN }, /max/],
    [{ max: Number.POSITIVE_INFINITY }, /max/],
    [{ max: 2 ** 53 }, /max/],
    [{ max: 1, name: "" }, /name/],
    [{ max: 1, unit: "" }, /unit/],
    [{ max: 1, window: "day", timeZone: "Mars/Olympus" }, /timeZone must be a time zone/],
    [{ max: 1, timeZone: "UTC" }, /timeZone must be absent/],
    [{ max: 1, window: 0 }, /window/],
    [{ max: 1, window: "Infinity" }, /window/],
    [{ max: 1, window: "fortnight" }, /window/],
    [{ max: 1, roles: [] }, /roles/],
    [{ max: 1, tools: [] }, /tools/],
    [{ max: 1, mode: "harsh" }, /mode/],
    [{ max: 1, per: "planet" }, /per must be/],
    [{ max: 1, name: "run budget" }, /two limits are named "run budget"/]
  ]
  for (const [limit, message] of cases) {
    it(`throws a RangeError that names what is wrong with ${JSON.stringify(limit)}`, () => {
      assert.throws(() => layerMemory([limit as Limit]), RangeError, message)
    })
  }

  it("asks for a name where two limits would have the same", () => {
    assert.throws(() => layerMemory([{ max: 1 }, { max: 2 }]), RangeError, /two limits are named "usd"/)
    layerMemory([{ max: 1 }, { max: 2, unit: "tokens" }, { max: 2, window: "day" }, { max: 2, per: "run" }])
  })

  it("throws for options that make none", () => {
    assert.throws(() => layerMemory([], { maxKeys: 0 }), RangeError, /maxKeys/)
    assert.throws(() => layerMemory([], { maxSums: 1.5 }), RangeError, /maxSums/)
  })
})

describe("usd", () => {
  it("counts dollars in millionths, exactly", () => {
    const cases = [
      ["1.25", 1_250_000],
      ["0", 0],
      ["0.000001", 1],
      ["0.1000000000", 100_000],
      ["9007199254.740991", Number.MAX_SAFE_INTEGER],
      [1.25, 1_250_000],
      [0.1, 100_000],
      [1e-6, 1],
      [0.000003, 3],
      [20, 20_000_000]
    ] as const
    for (const [dollars, millionths] of cases) assert.strictEqual(usd(dollars), millionths, `${dollars}`)
  })

  it("refuses what it cannot count", () => {
    const cases = [
      "",
      " 1",
      "1e3",
      "-1",
      "1,5",
      "0x1",
      "1.",
      ".5",
      "0.0000001",
      "9007199254.740992",
      "99999999999999999"
    ]
    for (const dollars of [...cases, -0.5, 1e-7, 0.1 + 0.2, 1e300, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.throws(() => usd(dollars), RangeError, undefined, `${dollars}`)
    }
  })

  it("reads every amount that it can count as it was written", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (millionths) => {
        const digits = `${millionths}`.padStart(7, "0")
        assert.strictEqual(usd(`${digits.slice(0, -6).slice(-16)}.${digits.slice(-6)}`), millionths)
      })
    )
  })
})

describe("windows", () => {
  const zones = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kiritimati"
  ]
  const dates = new Map(
    zones.map((timeZone) => [
      timeZone,
      new Intl.DateTimeFormat("en-CA", { timeZone, year: "numeric", month: "2-digit", day: "2-digit" })
    ])
  )

  it("are the days and the months of the calendar, one after the other, wherever clocks are changed", () => {
    const times = fc.integer({ min: Date.parse("2005-01-01"), max: Date.parse("2040-01-01") })
    // Days on which clocks were changed at midnight, changed back over midnight, and on which a day was left out.
    const odd = fc
      .tuple(
        fc.constantFrom("2018-11-04T03:00Z", "2018-02-18T02:00Z", "2026-11-01T05:00Z", "2011-12-30T10:00Z"),
        fc.integer({ min: -90_000_000, max: 90_000_000 })
      )
      .map(([near, offset]) => Date.parse(near) + offset)
    fc.assert(
      fc.property(
        fc.constantFrom(...zones),
        fc.constantFrom("day" as const, "month" as const),
        fc.oneof(times, odd),
        (zone, unit, now) => {
          const windows = Windows.calendar(unit, DateTime.zoneMakeNamedUnsafe(zone))
          const { endsAt, startsAt } = windows(now)
          const label = (time: number) =>
            dates
              .get(zone)!
              .format(time)
              .slice(0, unit === "day" ? 10 : 7)
          assert.isTrue(startsAt <= now && now < endsAt)
          for (const time of [startsAt, now, endsAt - 1]) assert.strictEqual(label(time), label(now))
          assert.notStrictEqual(label(startsAt - 1), label(now))
          assert.notStrictEqual(label(endsAt), label(now))
          assert.strictEqual(windows(endsAt).startsAt, endsAt)
          assert.deepStrictEqual(windows(now), { startsAt, endsAt })
        }
      ),
      { numRuns: 500 }
    )
  })
})

describe("sums", () => {
  it("begin anew where they were forgotten", () => {
    const ledger = new Ledger(2)
    for (const id of ["a", "b", "c", "a", "a"]) ledger.settled(by(id), { usd: 1 }, 0)
    assert.deepStrictEqual(
      ledger.spent({ by: ["principal"] }).map(({ amount, key }) => [key["principal"], amount]),
      [
        ["a", 2],
        ["c", 1]
      ]
    )
  })

  it("are those of a table that is looked through, whoever spends what, and whatever is forgotten", () => {
    const id = fc.constantFrom("a", "a1", "1:a", "-")
    const spent = fc.record({
      principal: id,
      tenant: fc.option(id, { nil: undefined }),
      tool: id,
      run: fc.option(id, { nil: undefined }),
      units: fc.subarray(["usd", "a"], { minLength: 1 }),
      amount: fc.nat(9),
      same: fc.boolean(),
      day: fc.nat(2)
    })
    fc.assert(
      fc.property(fc.array(spent, { maxLength: 60 }), fc.constantFrom(2, 10, 1000), (all, max) => {
        const ledger = new Ledger(max)
        const table = new Map<string, { amount: number; attempts: number }>()
        for (const { amount, day, principal, run, same, tenant, tool, units } of all) {
          const amounts = Object.fromEntries(units.map((unit) => [unit, amount]))
          const at = day * 86_400_000
          ledger.settled(
            by(principal, {
              principal: Principal.make({ id: principal, ...(tenant === undefined ? {} : { tenant }) }),
              tool: { ...search, name: tool },
              run: run === undefined ? undefined : Run.make({ id: run }),
              amounts
            }),
            same ? amounts : { ...amounts },
            at
          )
          for (const unit of units) {
            const key = JSON.stringify([
              unit,
              [tenant, principal, tool, run, day].map((part) => part ?? null)
            ])
            const row = table.get(key)
            if (row === undefined && table.size >= max) {
              for (const oldest of [...table.keys()].slice(0, Math.ceil(max / 10))) table.delete(oldest)
            }
            table.set(key, { amount: amount + (row?.amount ?? 0), attempts: 1 + (row?.attempts ?? 0) })
          }
        }
        const seen = ledger
          .spent({ by: ["tenant", "principal", "tool", "run", "day"] })
          .map(({ amount, attempts, key, unit }) => {
            const { day, principal, run, tenant, tool } = key
            const parts = [tenant, principal, tool, run].map((part) => part ?? null)
            const days = Date.parse(day as string) / 86_400_000
            return [JSON.stringify([unit, [...parts, days]]), { amount, attempts }] as const
          })
        assert.deepStrictEqual(new Map(seen), table)
      }),
      { numRuns: 500 }
    )
  })
})

describe("what expires", () => {
  it("is taken out in the order of its time, whatever left before", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ expiresAt: fc.nat(20), leaves: fc.boolean() })),
        fc.nat(20),
        (plan, now) => {
          const queue = new ExpiryQueue<Expiring>()
          const items = plan.map(({ expiresAt, leaves }) => ({ expiresAt, leaves, position: -1 }))
          for (const item of items) queue.add(item)
          for (const item of items) {
            if (!item.leaves) continue
            queue.remove(item)
            queue.remove(item)
          }
          const taken: Array<number> = []
          for (let next = queue.takeExpired(now); next !== undefined; next = queue.takeExpired(now)) {
            taken.push(next.expiresAt)
          }
          const expected = items
            .filter(({ expiresAt, leaves }) => !leaves && expiresAt < now)
            .map(({ expiresAt }) => expiresAt)
            .toSorted((a, b) => a - b)
          assert.deepStrictEqual(taken, expected)
        }
      )
    )
  })
})
