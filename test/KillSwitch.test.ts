import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { KillSwitch, layerMemory, type Stop } from "../src/KillSwitch.ts"
import * as Principal from "../src/Principal.ts"
import {
  ada,
  check,
  deleteRepo,
  enter,
  everything,
  expected,
  operator,
  search,
  suite,
  targets,
  toolOf
} from "./KillSwitchSuite.ts"

suite("in memory", () => layerMemory(), { model: 300, concurrent: 200 })

it.effect("interrupts all others where one interruption throws, and reports it", () => {
  const reported: Array<unknown> = []
  return Effect.gen(function* () {
    const killSwitch = yield* KillSwitch
    const first = yield* enter(search)
    killSwitch.enter(search, ada, () => {
      throw new Error("broken callback")
    })
    const last = yield* enter(search)
    const stop = yield* killSwitch.stop(everything, operator)
    assert.deepStrictEqual([first.interruptions.length, last.interruptions.length], [1, 1])
    assert.deepStrictEqual(reported, ["broken callback"])
    assert.deepStrictEqual(yield* killSwitch.stops, [stop])
  }).pipe(
    Effect.provide(layerMemory()),
    Effect.provide(ErrorReporter.layer([ErrorReporter.make(({ error }) => reported.push(error.message))]))
  )
})

it.effect("bears interruptions that end other calls, begin new ones and stop more", () =>
  Effect.gen(function* () {
    const killSwitch = yield* KillSwitch
    const log: Array<string> = []
    const leave = new Map<string, () => void>()
    const begin = (name: string, interrupted: () => void = () => {}) =>
      leave.set(
        name,
        killSwitch.enter(search, ada, () => {
          log.push(name)
          interrupted()
        })
      )
    begin("a", () => {
      leave.get("a")?.()
      leave.get("b")?.()
      begin("late")
      Effect.runSync(
        killSwitch.stop({ scope: "tool", tool: "search" }, { ...operator, inFlight: "interrupt" })
      )
    })
    begin("b")
    begin("c")
    yield* killSwitch.stop(everything, operator)
    // `b` had left by then; `late` was met by the second stop only; nobody was interrupted twice.
    assert.deepStrictEqual(log, ["a", "late", "c"])
    assert.strictEqual(yield* killSwitch.running(everything), 2)
  }).pipe(Effect.provide(layerMemory()))
)

it.effect("stops synchronously", () =>
  Effect.gen(function* () {
    const killSwitch = yield* KillSwitch
    const { interruptions } = yield* enter(deleteRepo)
    Effect.runSync(killSwitch.stop({ scope: "tool", tool: "delete_*" }, { ...operator, until: 8.64e15 }))
    assert.strictEqual(interruptions.length, 1)
    assert.strictEqual(killSwitch.check(deleteRepo, ada, 0)?.scope, "tool")
  }).pipe(Effect.provide(layerMemory()))
)

it.effect("begins with the stops it is given, those that are over left out", () => {
  const stop = (id: string, until: number | undefined): Stop => ({
    ...operator,
    id,
    target: everything,
    at: -10,
    until,
    inFlight: "drain"
  })
  return Effect.gen(function* () {
    assert.deepStrictEqual(
      (yield* (yield* KillSwitch).stops).map(({ id }) => id),
      ["a", "c"]
    )
    assert.strictEqual((yield* check(search))?.scope, "all")
  }).pipe(Effect.provide(layerMemory({ stops: [stop("a", undefined), stop("b", 0), stop("c", 1)] })))
})

it.effect("holds at most 10,000 stops, of which the last 100 can only stop everything", () =>
  Effect.gen(function* () {
    const killSwitch = yield* KillSwitch
    const refused = (effect: Effect.Effect<unknown, unknown>) =>
      Effect.flip(Effect.catchDefect(effect, (defect) => Effect.fail(defect)))
    for (let index = 0; index < 9_900; index++) {
      yield* killSwitch.stop({ scope: "principal", principal: `p${index}` }, operator)
    }
    const more = killSwitch.stop({ scope: "principal", principal: "ada" }, operator)
    assert.instanceOf(yield* refused(more), RangeError)
    assert.isUndefined(yield* check(search))
    for (let index = 0; index < 100; index++) yield* killSwitch.stop(everything, operator)
    assert.strictEqual((yield* check(search))?.scope, "all")
    assert.instanceOf(yield* refused(killSwitch.stop(everything, operator)), RangeError)
    const [first] = yield* killSwitch.stops
    yield* killSwitch.lift(first?.id ?? "", operator)
    yield* killSwitch.stop(everything, operator)
  }).pipe(Effect.provide(layerMemory()))
)

it("finds among many stops what their definition says", () => {
  const tools = ["search", "Search", "delete_repo", "github__x", "pay"].map((name) =>
    toolOf(name, { tags: ["web", "git", "*"].slice(0, name.length % 4) })
  )
  const principals = ["ada", "bob", ""].flatMap((tenant) =>
    ["ada", "bob"].map((id) => Principal.make({ id, ...(tenant === "" ? undefined : { tenant }) }))
  )
  return fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          target: targets,
          at: fc.nat(3),
          until: fc.option(fc.integer({ min: 4, max: 8 }), { nil: undefined })
        }),
        { maxLength: 60 }
      ),
      fc.integer({ min: 3, max: 9 }),
      (given, now) => {
        const stops = given.map(
          (stop, index): Stop => ({
            ...stop,
            id: `${(index * 7919) % 101}/${index}`,
            by: "grace",
            why: `${index}`,
            inFlight: "drain"
          })
        )
        return Effect.gen(function* () {
          const killSwitch = yield* KillSwitch
          for (const tool of tools) {
            for (const principal of principals) {
              assert.deepEqual(killSwitch.check(tool, principal, now), expected(stops, tool, principal, now))
            }
          }
        }).pipe(Effect.provide(layerMemory({ stops })), Effect.provide(TestClock.layer()), Effect.runPromise)
      }
    ),
    { numRuns: 300 }
  )
})
