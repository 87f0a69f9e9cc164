import { assert, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import {
  type Entered,
  KillSwitch,
  layerMemory,
  makeShared,
  type Stop,
  type StopStore
} from "../src/KillSwitch.ts"
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
    killSwitch.enter(search, ada, {
      kill: () => {
        throw new Error("broken callback")
      }
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
    const entered = new Map<string, Entered>()
    const begin = (name: string, interrupted: () => void = () => {}) =>
      entered.set(
        name,
        killSwitch.enter(search, ada, {
          kill: () => {
            log.push(name)
            interrupted()
          }
        })
      )
    begin("a", () => {
      entered.get("a")?.leave()
      entered.get("b")?.leave()
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
      fc
        .tuple(
          fc.array(
            fc.record({
              target: targets,
              at: fc.nat(3),
              until: fc.option(fc.integer({ min: 4, max: 8 }), { nil: undefined })
            }),
            { maxLength: 60 }
          ),
          // Otherwise some wide stop hides nearly always what is said of the narrow ones.
          fc.subarray(["all", "tenant", "tag", "tool", "principal"])
        )
        .map(([stops, scopes]) => stops.filter(({ target }) => scopes.includes(target.scope))),
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

/** A database of which the answers are late, or never come: what was asked for may have been done all the same. */
const makeDatabase = (delays: ReadonlyArray<number>, faults: ReadonlyArray<"none" | "before" | "after">) => {
  const rows = new Map<
    string,
    { stop: Stop; lifted: { by: string; why: string } | undefined; revision: number }
  >()
  let revision = 1
  let turn = 0
  const database = { isSound: false }
  const does = <A>(body: () => A) =>
    Effect.gen(function* () {
      const index = turn++
      const delay = delays[index % delays.length] ?? 0
      const fault = database.isSound ? "none" : faults[index % faults.length]
      yield* Effect.sleep(delay)
      if (fault === "before") return yield* Effect.fail("down" as const)
      const answer = body()
      yield* Effect.sleep(delay)
      if (fault === "after") return yield* Effect.fail("lost" as const)
      return answer
    })
  const store: StopStore<"down" | "lost"> = {
    insert: (stop) =>
      does(() => {
        if (!rows.has(stop.id)) rows.set(stop.id, { stop, lifted: undefined, revision: ++revision })
      }),
    lift: (id, { by, why }) =>
      does(() => {
        const row = rows.get(id)
        if (row === undefined || row.lifted !== undefined) return false
        rows.set(id, { ...row, lifted: { by, why }, revision: ++revision })
        return true
      }),
    pull: (known) =>
      does(() => ({
        revision,
        entries: [...rows.values()]
          .filter((row) => row.revision > known && (known > 0 || row.lifted === undefined))
          .sort((a, b) => a.revision - b.revision)
      }))
  }
  return Object.assign(database, { store, rows })
}

it.effect("does not obey again what was read before it was lifted", () =>
  Effect.gen(function* () {
    const { rows, store } = makeDatabase([0], ["none"])
    const slow = {
      ...store,
      pull: (known: number) => store.pull(known).pipe(Effect.tap(Effect.sleep(10)))
    }
    const starting = yield* Effect.forkScoped(makeShared({ store: slow, poll: Duration.millis(5) }))
    yield* TestClock.adjust(10)
    const killSwitch = yield* Fiber.join(starting)
    const stopping = yield* Effect.forkChild(killSwitch.stop(everything, operator))
    yield* TestClock.adjust(0)
    const stop = yield* Fiber.join(stopping)
    assert.isTrue(rows.has(stop.id))
    // The store is being read by now.
    yield* TestClock.adjust(7)
    const lifting = yield* Effect.forkChild(killSwitch.lift(stop.id, operator))
    for (let ms = 0; ms < 40; ms++) {
      yield* TestClock.adjust(1)
      if (lifting.pollUnsafe() !== undefined) assert.deepStrictEqual(yield* killSwitch.stops, [])
    }
    assert.isTrue(yield* Fiber.join(lifting))
  })
)

it("keeps processes at one over a store that is slow, fails and loses answers, whoever is interrupted", () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          does: fc.constantFrom("stop" as const, "lift" as const),
          at: fc.nat(60),
          where: fc.nat(1),
          which: fc.nat(4),
          gone: fc.option(fc.nat(8))
        }),
        { maxLength: 20 }
      ),
      fc.array(fc.nat(4), { minLength: 1, maxLength: 7 }),
      fc.array(fc.constantFrom("none" as const, "before" as const, "after" as const), {
        minLength: 1,
        maxLength: 7
      }),
      (commands, delays, faults) =>
        Effect.gen(function* () {
          const database = makeDatabase(delays, faults)
          database.isSound = true
          const starting = yield* Effect.forkScoped(
            Effect.all([0, 1].map(() => makeShared({ store: database.store, poll: Duration.millis(5) })))
          )
          yield* TestClock.adjust(50)
          const processes = yield* Fiber.join(starting)
          database.isSound = false

          const begun: Array<string> = []
          const asked = new Set<string>()
          const lifted = new Set<string>()
          // What each process was told to be over.
          const over = [new Set<string>(), new Set<string>()]
          const one = Effect.fnUntraced(function* ({
            at,
            does,
            gone,
            where,
            which
          }: (typeof commands)[number]) {
            yield* Effect.sleep(at)
            const killSwitch = processes[where] as KillSwitch["Service"]
            const before = new Set((yield* killSwitch.stops).map(({ id }) => id))
            const id = begun[which]
            if (does === "lift" && id === undefined) return
            if (id !== undefined && does === "lift") asked.add(id)
            const effect: Effect.Effect<unknown, unknown> =
              does === "stop" ? killSwitch.stop(everything, operator) : killSwitch.lift(id ?? "", operator)
            const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
            if (does === "stop") {
              const [stop, ...others] = (yield* killSwitch.stops).filter((stop) => !before.has(stop.id))
              assert.isDefined(stop)
              assert.deepStrictEqual(others, [])
              begun.push(stop?.id ?? "")
            }
            if (gone !== null) {
              yield* Effect.sleep(gone)
              yield* Fiber.interrupt(fiber)
            }
            const exit = yield* Fiber.await(fiber)
            if (does === "lift" && Exit.isSuccess(exit) && exit.value === true) {
              lifted.add(id ?? "")
              over[where]?.add(id ?? "")
            }
          })
          const all = yield* Effect.forEach(commands, (command) =>
            Effect.forkChild(one(command), { startImmediately: true })
          )
          for (let ms = 0; ms < 100; ms++) {
            yield* TestClock.adjust(1)
            for (const [index, ids] of over.entries()) {
              for (const { id } of yield* (processes[index] as KillSwitch["Service"]).stops)
                assert.isFalse(ids.has(id))
            }
          }
          database.isSound = true
          for (let ms = 0; ms < 500; ms++) yield* TestClock.adjust(1)
          yield* Fiber.joinAll(all)
          const [here, there] = yield* Effect.forEach(processes, ({ stops }) => stops)
          assert.deepStrictEqual(here, there)
          const left = [...database.rows.values()]
            .filter((row) => row.lifted === undefined)
            .map(({ stop }) => stop.id)
          const ids = (here ?? []).map(({ id }) => id)
          assert.sameMembers(ids, left)
          for (const id of begun) {
            if (!asked.has(id)) assert.include(ids, id, "forgotten")
            if (lifted.has(id)) assert.notInclude(ids, id, "came back")
          }
        }).pipe(Effect.scoped, Effect.provide(TestClock.layer()), Effect.runPromise)
    ),
    {
      numRuns: 100,
      examples: [
        // A stop that reaches the store after it was looked for there, and before the changes were.
        [
          [
            { does: "lift", at: 27, where: 0, which: 2, gone: null },
            { does: "stop", at: 0, where: 0, which: 0, gone: 0 },
            { does: "stop", at: 0, where: 0, which: 0, gone: 0 },
            { does: "stop", at: 22, where: 1, which: 0, gone: 0 }
          ],
          [2],
          ["none"]
        ]
      ]
    }
  ))
