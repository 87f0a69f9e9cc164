/** What every backend of `RateLimits` does. Time comes from `TestClock` or is passed in. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import * as Principal from "../src/Principal.ts"
import { type Limit, type LimitedCall, RateLimits, type Refusal, type ToolLimits } from "../src/RateLimits.ts"
import * as ToolAnnotations from "../src/ToolAnnotations.ts"

export const factsOf = (name: string, tags: ReadonlyArray<string> = []): ToolAnnotations.ToolFacts =>
  ToolAnnotations.read(Tool.make(name).annotate(ToolAnnotations.Tags, tags))

export const search = factsOf("search", ["web", "read"])

export const callOf = (
  options: {
    readonly tool?: ToolAnnotations.ToolFacts
    readonly principal?: Principal.Principal
    readonly params?: unknown
    readonly metadata?: Record<string, string>
  } = {}
): LimitedCall => ({
  tool: options.tool ?? search,
  principal: options.principal ?? Principal.anonymous,
  params: options.params,
  metadata: options.metadata
})

const by = (id: string, more: { tenant?: string; roles?: Array<string> } = {}): LimitedCall =>
  callOf({ principal: Principal.make({ id, ...more }) })

/** The limits of the tool that the call names; the test says that there are some. */
export const limitsFor = Effect.fnUntraced(function* (
  tool: ToolAnnotations.ToolFacts = search,
  per: "call" | "attempt" = "call"
) {
  const limits = (yield* RateLimits).forTool(tool, per)
  if (limits === undefined) return yield* Effect.die("no limit applies")
  return limits
})

export const take = (limits: ToolLimits, call: LimitedCall = callOf()) =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => limits.take(call, now))
export const peek = (limits: ToolLimits, call: LimitedCall = callOf()) =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => limits.peek(call, now))
export const charge = (limits: ToolLimits, call: LimitedCall = callOf()) =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => limits.charge(call, now))

const retryAfter = (refusal: Refusal | undefined): number | undefined =>
  refusal === undefined ? undefined : Duration.toMillis(refusal.retryAfter)

/** Takes `times` in a row: how often it was let through. */
const passes = (limits: ToolLimits, call: LimitedCall, times: number) =>
  Effect.map(
    Effect.forEach(Array.from({ length: times }), () => take(limits, call)),
    (results) => results.filter((result) => result === undefined).length
  )

// --- The model: it keeps every take and counts from the beginning each time ----

interface Counted {
  readonly limit: Limit & { readonly window: number }
  readonly takes: Array<number>
}

/** When one more can be taken, by the definition of the limit. */
const modelReadyAt = ({ limit, takes }: Counted, now: number): number => {
  if (limit.algorithm === "token-bucket") {
    const { limit: capacity, window } = limit
    let level = capacity * window
    let at = Number.NEGATIVE_INFINITY
    for (const time of takes) {
      level = Math.max(
        Math.min(capacity * window, level + (time - at) * capacity) - window,
        -capacity * window
      )
      at = time
    }
    for (let time = now; ; time++) {
      if (takes.length === 0 || level + (time - at) * capacity >= window) return time
    }
  }
  let start = Number.NEGATIVE_INFINITY
  let count = 0
  for (const time of takes) {
    if (time >= start + limit.window) {
      start = time
      count = 0
    }
    count++
  }
  return now >= start + limit.window || count < limit.limit ? now : start + limit.window
}

const modelKey = (limit: Limit, call: LimitedCall): string | undefined => {
  switch (limit.by) {
    case "tool":
      return call.tool.name
    case "principal":
      return call.principal.id
    case "tenant":
      return call.principal.tenant
    default:
      return "all"
  }
}

const tools = [factsOf("search", ["web"]), factsOf("delete", ["write"])]
const principals = [
  Principal.make({ id: "__proto__", tenant: "a", roles: ["free"] }),
  Principal.make({ id: "constructor", roles: ["paid"] }),
  Principal.make({ id: "c", tenant: "b", roles: ["free", "paid"] })
]

const arbitraryLimit: fc.Arbitrary<Counted["limit"]> = fc.record(
  {
    limit: fc.integer({ min: 1, max: 4 }),
    window: fc.integer({ min: 1, max: 40 }),
    algorithm: fc.constantFrom("window" as const, "token-bucket" as const),
    by: fc.constantFrom("all" as const, "tool" as const, "principal" as const, "tenant" as const),
    roles: fc.constantFrom(["free"], ["paid"])
  },
  { requiredKeys: ["limit", "window"] }
)

const arbitraryStep = fc.record({
  after: fc.integer({ min: 0, max: 15 }),
  what: fc.constantFrom(
    "take" as const,
    "take" as const,
    "take" as const,
    "peek" as const,
    "charge" as const
  ),
  tool: fc.nat({ max: tools.length - 1 }),
  principal: fc.nat({ max: principals.length - 1 })
})

// --- The suite -------------------------------------------------------------

export const suite = (
  name: string,
  layerOf: (limits: ReadonlyArray<Limit>) => Layer.Layer<RateLimits, unknown>
): void => {
  const runs = 300

  describe(`RateLimits (${name})`, () => {
    it.effect("lets as many through as the limit says, and tells the next when to come back", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        assert.strictEqual(yield* passes(limits, callOf(), 3), 3)
        yield* TestClock.adjust("10 minutes")
        assert.deepStrictEqual(yield* take(limits), {
          _tag: "RateLimited",
          limit: "3 per 1h",
          retryAfter: Duration.minutes(50)
        })
        yield* TestClock.adjust("50 minutes")
        assert.strictEqual(yield* passes(limits, callOf(), 5), 3)
      }).pipe(Effect.provide(layerOf([{ limit: 3, window: "1 hour" }])))
    )

    it.effect("begins a window with the first take, not on the hour", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        yield* TestClock.adjust("59 minutes")
        assert.strictEqual(yield* passes(limits, callOf(), 2), 2)
        yield* TestClock.adjust("59 minutes")
        assert.strictEqual(retryAfter(yield* take(limits)), 60_000)
        // Long after the end nothing has begun: the next window starts now.
        yield* TestClock.adjust("10 hours")
        yield* take(limits)
        yield* TestClock.adjust("59 minutes")
        assert.strictEqual(yield* passes(limits, callOf(), 2), 1)
      }).pipe(Effect.provide(layerOf([{ limit: 2, window: "1 hour" }])))
    )

    it.effect("refills a bucket continuously, never above its capacity", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        assert.strictEqual(yield* passes(limits, callOf(), 12), 10)
        yield* TestClock.adjust("99 millis")
        assert.strictEqual(retryAfter(yield* take(limits)), 1)
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(yield* passes(limits, callOf(), 2), 1)
        yield* TestClock.adjust("1 hour")
        assert.strictEqual(yield* passes(limits, callOf(), 20), 10)
      }).pipe(Effect.provide(layerOf([{ limit: 10, window: "1 second", algorithm: "token-bucket" }])))
    )

    it.effect("says nothing for a tool to which no limit can apply", () =>
      Effect.gen(function* () {
        const limits = yield* RateLimits
        assert.isUndefined(limits.forTool(search, "call"))
        assert.isUndefined(limits.forTool(factsOf("delete_all"), "attempt"))
        assert.isDefined(limits.forTool(factsOf("delete_all"), "call"))
        assert.isDefined(limits.forTool(factsOf("github__delete_repo"), "call"))
        assert.isDefined(limits.forTool(factsOf("other", ["costly"]), "attempt"))
      }).pipe(
        Effect.provide(
          layerOf([
            { limit: 1, window: "1 second", tools: ["delete_*"] },
            { limit: 1, window: "1 second", tags: ["costly"], per: "attempt" }
          ])
        )
      )
    )

    it.effect("counts apart by tool, and shares what is counted over all", () =>
      Effect.gen(function* () {
        const one = yield* limitsFor(factsOf("one"))
        const two = yield* limitsFor(factsOf("two"))
        assert.strictEqual(yield* passes(one, callOf({ tool: factsOf("one") }), 3), 2)
        assert.strictEqual(yield* passes(two, callOf({ tool: factsOf("two") }), 3), 1)
        assert.strictEqual((yield* take(two, callOf({ tool: factsOf("two") })))?.limit, "all tools")
      }).pipe(
        Effect.provide(
          layerOf([
            { limit: 2, window: "1 second", by: "tool" },
            { name: "all tools", limit: 3, window: "1 minute" }
          ])
        )
      )
    )

    it.effect("counts every tag of a tool once, of those that the limit names", () =>
      Effect.gen(function* () {
        const passesOf = (tags: ReadonlyArray<string>, times: number) =>
          Effect.gen(function* () {
            const tool = factsOf("any", tags)
            return yield* passes(yield* limitsFor(tool), callOf({ tool }), times)
          })
        assert.strictEqual(yield* passesOf(["mail", "other", "mail"], 2), 2)
        // "other" is used as often, but the limit does not name it.
        assert.strictEqual(yield* passesOf(["sms", "other"], 2), 2)
        assert.strictEqual(yield* passesOf(["sms", "mail"], 2), 1)
        assert.strictEqual(yield* passesOf(["mail"], 1), 0)
        assert.strictEqual(yield* passesOf(["sms"], 1), 0)
        assert.isUndefined((yield* RateLimits).forTool(factsOf("third", ["other"]), "call"))
      }).pipe(Effect.provide(layerOf([{ limit: 3, window: "1 second", by: "tag", tags: ["mail", "sms"] }])))
    )

    it.effect("takes a principal's id within its tenant", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        // Ids and tenants that would meet if they were only put together.
        const calls = [
          by("alice"),
          by("alice", { tenant: "a" }),
          by("alice", { tenant: "b" }),
          by("b:x", { tenant: "a" }),
          by("x", { tenant: "a:b" }),
          by("bc", { tenant: "a" }),
          by("c", { tenant: "ab" }),
          by("\u00001:aalice"),
          by("__proto__"),
          by("constructor")
        ]
        for (const call of calls) assert.isUndefined(yield* take(limits, call), call.principal.id)
        for (const call of calls) {
          assert.strictEqual((yield* take(limits, call))?.limit, "1 per 1s by principal", call.principal.id)
        }
      }).pipe(Effect.provide(layerOf([{ limit: 1, window: "1 second", by: "principal" }])))
    )

    it.effect("does not limit a call for which it has no key", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        assert.strictEqual(yield* passes(limits, by("a"), 5), 5)
        assert.strictEqual(yield* passes(limits, by("a", { tenant: "t" }), 5), 2)
        assert.strictEqual(yield* passes(limits, by("b", { tenant: "t" }), 5), 0)
      }).pipe(Effect.provide(layerOf([{ limit: 2, window: "1 second", by: "tenant" }])))
    )

    it.effect("counts by any function of the call", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        const to = (region: string) => callOf({ metadata: { region } })
        assert.strictEqual(yield* passes(limits, to("eu"), 2), 1)
        assert.strictEqual(yield* passes(limits, to("us"), 2), 1)
        assert.strictEqual(yield* passes(limits, callOf(), 2), 2)
        assert.strictEqual((yield* take(limits, to("eu")))?.limit, "1 per 1s by key")
      }).pipe(
        Effect.provide(layerOf([{ limit: 1, window: "1 second", by: (call) => call.metadata?.["region"] }]))
      )
    )

    it.effect("gives each tier its own line", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        assert.strictEqual(yield* passes(limits, by("f", { roles: ["free"] }), 9), 2)
        assert.strictEqual(yield* passes(limits, by("p", { roles: ["paid", "x"] }), 9), 4)
        assert.strictEqual(yield* passes(limits, by("n"), 9), 9)
      }).pipe(
        Effect.provide(
          layerOf([
            { limit: 2, window: "1 hour", by: "principal", roles: ["free"] },
            { limit: 4, window: "1 hour", by: "principal", roles: ["paid"] }
          ])
        )
      )
    )

    it.effect("refuses with the limit that has room last, and takes from none", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        yield* take(limits)
        assert.deepStrictEqual(yield* take(limits), {
          _tag: "RateLimited",
          limit: "long",
          retryAfter: Duration.seconds(9)
        })
        // Had the refused one taken from "wide", the second of these would fail.
        yield* TestClock.adjust("9 seconds")
        assert.isUndefined(yield* take(limits))
        yield* TestClock.adjust("9 seconds")
        assert.isUndefined(yield* take(limits))
      }).pipe(
        Effect.provide(
          layerOf([
            { name: "short", limit: 1, window: "1 second" },
            { name: "long", limit: 1, window: "9 seconds" },
            { name: "wide", limit: 3, window: "1 hour" }
          ])
        )
      )
    )

    it.effect("looks without taking", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        for (let i = 0; i < 5; i++) assert.isUndefined(yield* peek(limits))
        yield* take(limits)
        assert.strictEqual(retryAfter(yield* peek(limits)), 1000)
        yield* TestClock.adjust("1 second")
        assert.isUndefined(yield* peek(limits))
      }).pipe(Effect.provide(layerOf([{ limit: 1, window: "1 second" }])))
    )

    it.effect("charges past the end, and a bucket then owes at most its capacity", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        for (let i = 0; i < 100; i++) yield* charge(limits)
        assert.strictEqual(retryAfter(yield* take(limits)), 1500)
        yield* TestClock.adjust("1500 millis")
        assert.strictEqual(yield* passes(limits, callOf(), 2), 1)
      }).pipe(Effect.provide(layerOf([{ limit: 2, window: "1 second", algorithm: "token-bucket" }])))
    )

    it("is ready after retryAfter exactly, and not a millisecond earlier", () =>
      fc.assert(
        fc.asyncProperty(
          fc.array(arbitraryLimit, { minLength: 1, maxLength: 3 }),
          fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 25 }),
          (limitList, gaps) =>
            Effect.gen(function* () {
              const limits = yield* limitsFor(tools[0])
              const call = callOf({ tool: tools[0]!, principal: principals[2]! })
              let now = 1_000
              for (const gap of gaps) {
                now += gap
                const refusal = yield* limits.take(call, now)
                const wait = retryAfter(refusal)
                if (wait === undefined) continue
                assert.isAbove(wait, 0)
                assert.isDefined(yield* limits.peek(call, now + wait - 1))
                assert.isDefined(yield* limits.take(call, now + wait - 1))
                assert.isUndefined(yield* limits.peek(call, now + wait))
                assert.isUndefined(yield* limits.take(call, now + wait))
                now += wait
              }
            }).pipe(Effect.provide(layerOf(limitList)), Effect.runPromise)
        ),
        { numRuns: runs }
      ))

    it("takes all or none, as a model that counts every take from the beginning", () =>
      fc.assert(
        fc.asyncProperty(
          fc.array(arbitraryLimit, { minLength: 1, maxLength: 4 }),
          fc.array(arbitraryStep, { minLength: 1, maxLength: 60 }),
          (limitList, steps) =>
            Effect.gen(function* () {
              const all = new Map<string, Counted>()
              const service = yield* RateLimits
              let now = 5_000
              for (const step of steps) {
                now += step.after
                const call = callOf({ tool: tools[step.tool]!, principal: principals[step.principal]! })
                const limits = service.forTool(call.tool, "call")!
                const counted = limitList.flatMap((limit, index): Array<Counted> => {
                  const key = modelKey(limit, call)
                  if (key === undefined) return []
                  if (limit.roles?.some((role) => call.principal.roles.includes(role)) === false) return []
                  const name = `${index}/${key}`
                  if (!all.has(name)) all.set(name, { limit, takes: [] })
                  return [all.get(name)!]
                })
                const readyAt = Math.max(now, ...counted.map((each) => modelReadyAt(each, now)))
                if (step.what === "charge") yield* limits.charge(call, now)
                else {
                  const refusal = yield* limits[step.what](call, now)
                  assert.strictEqual(retryAfter(refusal) ?? 0, readyAt - now)
                }
                if (step.what === "charge" || (step.what === "take" && readyAt === now)) {
                  for (const each of counted) each.takes.push(now)
                }
              }
            }).pipe(Effect.provide(layerOf(limitList)), Effect.runPromise)
        ),
        { numRuns: runs }
      ))

    it("never lets more through than the limit in a window, or than capacity and refill in any span", () =>
      fc.assert(
        fc.asyncProperty(
          arbitraryLimit,
          fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 80 }),
          ({ roles, ...limit }, gaps) =>
            Effect.gen(function* () {
              const limits = yield* limitsFor()
              const taken: Array<number> = []
              const call = callOf({ principal: principals[0]! })
              let now = 0
              for (const gap of gaps) {
                now += gap
                if ((yield* limits.take(call, now)) === undefined) taken.push(now)
              }
              for (let from = 0; from < taken.length; from++) {
                for (let to = from; to < taken.length; to++) {
                  const span = taken[to]! - taken[from]!
                  // Two windows may touch: within less than one window's length lie at most two halves.
                  const most =
                    limit.algorithm === "token-bucket"
                      ? limit.limit + (span * limit.limit) / limit.window
                      : limit.limit * (Math.floor(span / limit.window) + 2)
                  assert.isAtMost(to - from + 1, most)
                }
              }
              if (limit.algorithm === "token-bucket") return
              for (let start = 0; start < taken.length; ) {
                const next = taken.findIndex((time) => time >= taken[start]! + limit.window)
                const end = next === -1 ? taken.length : next
                assert.isAtMost(end - start, limit.limit)
                start = end
              }
            }).pipe(Effect.provide(layerOf([limit])), Effect.runPromise)
        ),
        { numRuns: runs }
      ))

    // --- Waiting -----------------------------------------------------------

    /** Starts takes one after the other; says who has passed and when, in order. */
    const starter = (limits: ToolLimits) => {
      const passed: Array<readonly [id: string, at: number]> = []
      const start = (id: string, call: LimitedCall = callOf()) =>
        take(limits, call).pipe(
          Effect.flatMap((refusal) =>
            Effect.map(Clock.currentTimeMillis, (now) => {
              passed.push([refusal === undefined ? id : `${id}: ${refusal.limit}`, now])
            })
          ),
          Effect.forkChild({ startImmediately: true })
        )
      return { passed, start }
    }

    it.effect("waits in order of arrival where the limit says so, and a newcomer joins behind", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        const { passed, start } = starter(limits)
        for (const id of ["a", "b", "c", "d", "e"]) yield* start(id)
        assert.deepStrictEqual(passed, [
          ["a", 0],
          ["b", 0]
        ])
        assert.isUndefined(yield* peek(limits))
        yield* TestClock.adjust("999 millis")
        yield* start("f")
        assert.strictEqual(passed.length, 2)
        yield* TestClock.adjust("2001 millis")
        assert.deepStrictEqual(passed.slice(2), [
          ["c", 1000],
          ["d", 1000],
          ["e", 2000],
          ["f", 2000]
        ])
      }).pipe(Effect.provide(layerOf([{ limit: 2, window: "1 second", onExceeded: "wait" }])))
    )

    it.effect("takes nothing for a waiter that is interrupted, and leaves the order of the others", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        const { passed, start } = starter(limits)
        yield* start("a")
        const b = yield* start("b")
        yield* start("c")
        const d = yield* start("d")
        yield* start("e")
        yield* TestClock.adjust("500 millis")
        yield* Fiber.interrupt(b)
        yield* Fiber.interrupt(d)
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(passed, [
          ["a", 0],
          ["c", 1000],
          ["e", 2000]
        ])
        assert.isUndefined(yield* take(limits))
      }).pipe(
        Effect.provide(
          layerOf([{ limit: 1, window: "1 second", algorithm: "token-bucket", onExceeded: "wait" }])
        )
      )
    )

    it.effect("lets a key go on while another waits", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        const { passed, start } = starter(limits)
        for (const id of ["a", "a", "a", "b"]) yield* start(id, by(id))
        yield* TestClock.adjust("3 seconds")
        // The one for everybody is free while "a" waits for its own, so "b" passes at once.
        assert.deepStrictEqual(passed, [
          ["a", 0],
          ["b", 0],
          ["a", 1000],
          ["a", 2000]
        ])
      }).pipe(
        Effect.provide(
          layerOf([
            { limit: 5, window: "1 minute", onExceeded: "wait" },
            { limit: 1, window: "1 second", by: "principal", onExceeded: "wait" }
          ])
        )
      )
    )

    it.effect("waits until all that it waits for have room at once", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        const { passed, start } = starter(limits)
        yield* start("a")
        yield* start("b")
        yield* start("c")
        yield* TestClock.adjust("20 seconds")
        assert.deepStrictEqual(passed, [
          ["a", 0],
          ["b", 3000],
          ["c", 10_000]
        ])
      }).pipe(
        Effect.provide(
          layerOf([
            { limit: 1, window: "3 seconds", onExceeded: "wait" },
            { limit: 2, window: "10 seconds", onExceeded: "wait" }
          ])
        )
      )
    )

    it.effect("keeps the order of arrival when what a waiter waits for changes", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        const { passed, start } = starter(limits)
        yield* start("p1", by("p"))
        yield* start("p2", by("p"))
        for (const id of ["x", "y", "z"]) yield* start(id, by(id))
        yield* TestClock.adjust("1 minute")
        // At 10 s "p2" has room of its own, waits for everybody's, and was there before "z".
        assert.deepStrictEqual(passed, [
          ["p1", 0],
          ["x", 4000],
          ["y", 8000],
          ["p2", 12_000],
          ["z", 16_000]
        ])
      }).pipe(
        Effect.provide(
          layerOf([
            { limit: 1, window: "4 seconds", onExceeded: "wait" },
            { limit: 1, window: "10 seconds", by: "principal", onExceeded: "wait" }
          ])
        )
      )
    )

    it.effect("refuses where one that is used up does not wait, also after waiting", () =>
      Effect.gen(function* () {
        const limits = yield* limitsFor()
        const { passed, start } = starter(limits)
        yield* start("a", by("x"))
        yield* start("b", by("x"))
        yield* start("c", by("y"))
        yield* start("d", by("y"))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(passed, [
          ["a", 0],
          ["c", 0],
          // "everybody" is used up: no waiting for its own.
          ["d: everybody", 0],
          ["b: everybody", 1000]
        ])
      }).pipe(
        Effect.provide(
          layerOf([
            { name: "everybody", limit: 2, window: "1 hour" },
            { name: "own", limit: 1, window: "1 second", by: "principal", onExceeded: "wait" }
          ])
        )
      )
    )

    it("passes waiters at the earliest time and in order, however arrivals and interruptions fall", () =>
      fc.assert(
        fc.asyncProperty(
          fc.record({
            limit: fc.integer({ min: 1, max: 4 }),
            pace: fc.integer({ min: 1, max: 5 }),
            algorithm: fc.constantFrom("window" as const, "token-bucket" as const)
          }),
          fc.array(
            fc.record({
              arrives: fc.integer({ min: 0, max: 20 }),
              gone: fc.option(fc.integer({ min: 0, max: 20 }))
            }),
            { maxLength: 40 }
          ),
          ({ limit, pace, algorithm }, callers) => {
            // Everything happens at multiples of 4, interruptions between them.
            const options = { limit, window: 4 * pace * limit, algorithm }
            const all = callers
              .map(({ arrives, gone }) => ({
                arrives: 4 * arrives,
                gone: gone === null ? Number.POSITIVE_INFINITY : 4 * (arrives + gone) + 2
              }))
              .sort((a, b) => a.arrives - b.arrives)
            const expected: Array<readonly [string, number]> = []
            const model: Counted = { limit: options, takes: [] }
            let now = 0
            for (const [index, caller] of all.entries()) {
              const readyAt = modelReadyAt(model, Math.max(now, caller.arrives))
              if (readyAt > caller.gone) continue
              now = readyAt
              model.takes.push(now)
              expected.push([`${index}`, now])
            }
            return Effect.gen(function* () {
              const { passed, start } = starter(yield* limitsFor())
              for (const [index, caller] of all.entries()) {
                yield* Effect.sleep(caller.arrives).pipe(
                  Effect.andThen(start(`${index}`)),
                  Effect.flatMap((fiber) =>
                    Number.isFinite(caller.gone)
                      ? Effect.andThen(Effect.sleep(caller.gone - caller.arrives), Fiber.interrupt(fiber))
                      : Fiber.await(fiber)
                  ),
                  Effect.forkChild({ startImmediately: true })
                )
              }
              yield* TestClock.adjust("10 seconds")
              assert.deepStrictEqual(passed, expected)
            }).pipe(
              Effect.provide(layerOf([{ ...options, onExceeded: "wait" }])),
              Effect.provide(TestClock.layer()),
              Effect.runPromise
            )
          }
        ),
        { numRuns: 200 }
      ))
  })
}
