import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as SqlClient from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { KillSwitch } from "../src/KillSwitch.ts"
import * as Sqlite from "../src/sql/Sqlite.ts"
import * as SqlKillSwitch from "../src/sql/SqlKillSwitch.ts"
import { ada, enter, everything, operator, search, suite, targets, watching } from "./KillSwitchSuite.ts"

const file = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "interlock-kill-switch-"))),
    (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
  ),
  (path) => Path.join(path, "test.db")
)

const sqlite = (filename: string) => Sqlite.layer({ filename, busyTimeout: 0, synchronous: "NORMAL" })

suite(
  "in SQLite",
  () =>
    Layer.unwrap(
      Effect.map(file, (filename) => Layer.fresh(SqlKillSwitch.layer().pipe(Layer.provide(sqlite(filename)))))
    ),
  { model: 30, concurrent: 20 }
)

/** A process of its own, as far as the database can tell. */
const process = (filename: string, options?: SqlKillSwitch.Options) =>
  Effect.map(
    Layer.build(Layer.fresh(SqlKillSwitch.layer(options).pipe(Layer.provide(Layer.fresh(sqlite(filename)))))),
    Context.get(KillSwitch)
  )

const client = (filename: string) =>
  Effect.map(Layer.build(Layer.fresh(sqlite(filename))), Context.get(SqlClient.SqlClient))

const inProcess = (killSwitch: KillSwitch["Service"]) => Effect.provideService(KillSwitch, killSwitch)

const collecting = (reported: Array<string>) =>
  ErrorReporter.layer([ErrorReporter.make(({ error }) => reported.push(error.message))])

describe("SqlKillSwitch", () => {
  it.effect("remembers after a restart who stopped what, why and until when, and what was lifted", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const made = yield* Effect.scoped(
        Effect.gen(function* () {
          const { lift, stop } = yield* process(filename)
          const lifted = yield* stop(everything, operator)
          yield* lift(lifted.id, operator)
          yield* stop({ scope: "tag", tag: "web" }, { ...operator, until: 500 })
          return [
            yield* stop({ scope: "tenant", tenant: "acme" }, { ...operator, until: 2_000 }),
            yield* stop({ scope: "tag", tag: "'; --" }, operator),
            yield* stop({ scope: "tool", tool: "delete_*" }, { ...operator, inFlight: "drain" }),
            yield* stop({ scope: "principal", principal: "ada", tenant: "acme" }, operator),
            yield* stop({ scope: "principal", principal: "bob" }, operator)
          ]
        })
      )
      yield* TestClock.adjust(600)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const killSwitch = yield* process(filename)
          const byId = <A extends { readonly id: string }>(stops: ReadonlyArray<A>) =>
            [...stops].sort((a, b) => (a.id < b.id ? -1 : 1))
          assert.deepStrictEqual(byId(yield* killSwitch.stops), byId(made))
          assert.deepStrictEqual(killSwitch.check(search, ada, 600), {
            _tag: "Killed",
            scope: "tenant",
            why: "an incident",
            until: 2_000
          })
        })
      )
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* (yield* process(filename)).stops).length, 4)
    })
  )

  it.effect("is obeyed by other processes within the interval, their running calls included", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const [here, there] = [yield* process(filename), yield* process(filename, { poll: "200 millis" })]
      const running = yield* enter(search).pipe(inProcess(there))
      const drained = yield* enter(search).pipe(inProcess(here))
      const changes = yield* watching.pipe(inProcess(there))
      const first = yield* here.stop({ scope: "tag", tag: "web" }, { ...operator, inFlight: "drain" })
      yield* TestClock.adjust(200)
      assert.strictEqual(there.check(search, ada, 200)?.scope, "tag")
      assert.deepStrictEqual([running.interruptions.length, drained.interruptions.length], [0, 0])
      const second = yield* here.stop(everything, { ...operator, until: 10_000 })
      assert.strictEqual(there.check(search, ada, 399)?.scope, "tag")
      yield* TestClock.adjust(200)
      assert.deepEqual(running.interruptions, [
        { _tag: "Killed", scope: "all", why: "an incident", until: 10_000 }
      ])
      assert.isTrue(yield* there.lift(first.id, { by: "alan", why: "it is over" }))
      assert.isFalse(yield* here.lift(first.id, { by: "ken", why: "too late" }))
      assert.deepStrictEqual(yield* here.stops, [second])
      yield* here.lift(second.id, { by: "alan", why: "it is over" })
      yield* TestClock.adjust(200)
      assert.deepStrictEqual(
        (yield* changes).map(({ _tag, by, stop }) => [_tag, stop.id, by]),
        [
          ["Stopped", first.id, "grace"],
          ["Stopped", second.id, "grace"],
          ["Lifted", first.id, "alan"],
          ["Lifted", second.id, "alan"]
        ]
      )
      assert.isUndefined(there.check(search, ada, 600))
    })
  )

  it.effect("tells who lifted a stop, also to the process that made it and had not asked since", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const [here, there] = [yield* process(filename, { poll: "1 hour" }), yield* process(filename)]
      const changes = yield* watching.pipe(inProcess(here))
      const stop = yield* here.stop(everything, operator)
      assert.isTrue(yield* there.lift(stop.id, { by: "alan", why: "it is over" }))
      assert.strictEqual(here.check(search, ada, 0)?.scope, "all")
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(here.check(search, ada, 0))
      assert.deepStrictEqual(
        (yield* changes).map(({ _tag, by }) => [_tag, by]),
        [
          ["Stopped", "grace"],
          ["Lifted", "alan"]
        ]
      )
    })
  )

  it.effect("keeps a stop in force that cannot be written, says so, and writes it later", () => {
    const reported: Array<string> = []
    return Effect.gen(function* () {
      const filename = yield* file
      const [here, there] = [yield* process(filename), yield* process(filename)]
      const holder = yield* client(filename)
      const { interruptions } = yield* enter(search).pipe(inProcess(here))
      yield* holder.withTransaction(
        Effect.gen(function* () {
          const failure = yield* Effect.flip(here.stop(everything, operator))
          assert.deepStrictEqual(failure, { _tag: "Unavailable", concern: "kill_switch" })
          assert.strictEqual(interruptions.length, 1)
          assert.include(reported[0], "database is locked")
          const [stop] = yield* here.stops
          // Nor can it be lifted: that, others would not know of.
          assert.deepStrictEqual(yield* Effect.flip(here.lift(stop?.id ?? "", operator)), failure)
          yield* TestClock.adjust("5 seconds")
          assert.strictEqual(here.check(search, ada, 5_000)?.scope, "all")
          assert.isUndefined(there.check(search, ada, 5_000))
        })
      )
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* there.stops, yield* here.stops)
      assert.strictEqual((yield* there.stops).length, 1)
      // The two that were asked for, and the polls that failed as one.
      assert.strictEqual(reported.length, 3)
    }).pipe(Effect.provide(collecting(reported)))
  })

  it.effect("forgets a stop that was lifted before it could be written", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const [here, there] = [yield* process(filename), yield* process(filename)]
      const holder = yield* client(filename)
      yield* holder.withTransaction(Effect.flip(here.stop(everything, operator)))
      const [stop] = yield* here.stops
      assert.isTrue(yield* here.lift(stop?.id ?? "", operator))
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual([yield* here.stops, yield* there.stops], [[], []])
    })
  )

  it.effect("writes a stop once, also where it was written and the answer was lost", () => {
    const reported: Array<string> = []
    return Effect.gen(function* () {
      const filename = yield* file
      const here = yield* process(filename)
      const sql = yield* client(filename)
      yield* sql.withTransaction(Effect.flip(here.stop({ scope: "tag", tag: "web" }, operator)))
      const [stop] = yield* here.stops
      yield* sql`INSERT INTO interlock_stops ${sql.insert({
        id: stop?.id ?? "",
        scope: "tag",
        name: "web",
        stopped_by: "grace",
        why: "an incident",
        stopped_at: 0,
        in_flight: "interrupt",
        revision: 2
      })}`
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(reported.length, 1)
      assert.deepStrictEqual(yield* (yield* process(filename)).stops, yield* here.stops)
    }).pipe(Effect.provide(collecting(reported)))
  })

  it.effect(
    "goes on obeying what it knows while the database cannot be read, reports that once, and recovers",
    () => {
      const reported: Array<string> = []
      return Effect.gen(function* () {
        const filename = yield* file
        const [here, there] = [yield* process(filename), yield* process(filename)]
        const sql = yield* client(filename)
        yield* here.stop({ scope: "tool", tool: "search" }, operator)
        yield* TestClock.adjust("1 second")
        yield* sql`ALTER TABLE interlock_kill_switch RENAME TO away`
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(reported.length, 2)
        assert.strictEqual(there.check(search, ada, 11_000)?.scope, "tool")
        yield* Effect.flip(here.stop(everything, operator))
        yield* sql`ALTER TABLE away RENAME TO interlock_kill_switch`
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual(there.check(search, ada, 13_000)?.scope, "all")
      }).pipe(Effect.provide(collecting(reported)))
    }
  )

  it.effect("fails to start where the database cannot be read", () =>
    Effect.gen(function* () {
      const filename = yield* file
      Fs.writeFileSync(filename, "no database at all ".repeat(100))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(Effect.scoped(process(filename)))))
    })
  )

  it.effect("lifts a stop that the database has lost", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const killSwitch = yield* process(filename)
      const stop = yield* killSwitch.stop(everything, operator)
      yield* (yield* client(filename))`DELETE FROM interlock_stops`
      assert.isTrue(yield* killSwitch.lift(stop.id, operator))
      assert.isUndefined(killSwitch.check(search, ada, 0))
    })
  )

  it.effect("learns of what is stopped after the database was put back", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const [here, there] = [yield* process(filename), yield* process(filename)]
      for (let index = 0; index < 5; index++) yield* here.stop({ scope: "tag", tag: "git" }, operator)
      yield* TestClock.adjust("1 second")
      const sql = yield* client(filename)
      yield* sql`DELETE FROM interlock_stops`
      yield* sql`UPDATE interlock_kill_switch SET revision = 1`
      yield* here.stop(everything, operator)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(there.check(search, ada, 0)?.scope, "all")
    })
  )

  it.effect("keeps for 30 days what is over", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const killSwitch = yield* process(filename, { poll: "1 day" })
      const sql = yield* client(filename)
      const kept = Effect.map(
        sql<{ readonly n: number }>`SELECT count(*) AS n FROM interlock_stops`,
        ([row]) => row?.n
      )
      const lifted = yield* killSwitch.stop(everything, operator)
      yield* killSwitch.lift(lifted.id, operator)
      yield* killSwitch.stop(everything, { ...operator, until: 1_000 })
      yield* killSwitch.stop({ scope: "tag", tag: "git" }, operator)
      yield* TestClock.adjust("30 days")
      yield* killSwitch.stop({ scope: "tag", tag: "web" }, operator)
      assert.strictEqual(yield* kept, 4)
      yield* TestClock.adjust("1 day")
      yield* killSwitch.stop({ scope: "tag", tag: "web" }, operator)
      assert.strictEqual(yield* kept, 3)
    })
  )

  it("refuses intervals that make no sense", () => {
    for (const poll of [0, 9, -1, Number.POSITIVE_INFINITY])
      assert.throws(() => SqlKillSwitch.layer({ poll }), RangeError)
  })

  it("comes to the same stops in every process, whatever is stopped, lifted, locked and interrupted where", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.record({
              do: fc.constant("stop" as const),
              where: fc.nat(2),
              target: targets,
              lasts: fc.option(fc.integer({ min: 1, max: 3_000 })),
              interrupted: fc.boolean()
            }),
            fc.record({
              do: fc.constant("lift" as const),
              where: fc.nat(2),
              which: fc.nat(5),
              interrupted: fc.boolean()
            }),
            fc.record({ do: fc.constant("lock" as const), ms: fc.integer({ min: 1, max: 1_500 }) }),
            fc.record({ do: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 1_500 }) })
          ),
          { maxLength: 20 }
        ),
        (commands) =>
          Effect.gen(function* () {
            const filename = yield* file
            const processes = [yield* process(filename), yield* process(filename), yield* process(filename)]
            const at = (where: number) => processes[where] as KillSwitch["Service"]
            const holder = yield* client(filename)
            const seen: Array<string> = []
            const lifted = new Set<string>()
            const running = <A, E>(effect: Effect.Effect<A, E>, interrupted: boolean) =>
              Effect.gen(function* () {
                const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
                if (interrupted) yield* Fiber.interrupt(fiber)
                return yield* Fiber.await(fiber)
              })
            for (const command of commands) {
              switch (command.do) {
                case "stop": {
                  const before = yield* at(command.where).stops
                  const until =
                    command.lasts === null ? undefined : (yield* Clock.currentTimeMillis) + command.lasts
                  yield* running(
                    at(command.where).stop(command.target, {
                      ...operator,
                      ...(until === undefined ? undefined : { until })
                    }),
                    command.interrupted
                  )
                  // In force here, whatever became of it.
                  const after = yield* at(command.where).stops
                  assert.strictEqual(after.length, before.length + 1)
                  for (const { id } of after) if (!seen.includes(id)) seen.push(id)
                  break
                }
                case "lift": {
                  const id = seen[command.which]
                  if (id === undefined) break
                  const exit = yield* running(at(command.where).lift(id, operator), command.interrupted)
                  if (!Exit.isSuccess(exit)) break
                  // Whoever is told that there is none may ask a process that has not heard of it yet.
                  if (exit.value) lifted.add(id)
                  assert.isFalse((yield* at(command.where).stops).some((stop) => stop.id === id))
                  break
                }
                case "lock":
                  yield* holder.withTransaction(TestClock.adjust(command.ms))
                  break
                case "wait":
                  yield* TestClock.adjust(command.ms)
              }
            }
            for (let round = 0; round < 4; round++) yield* TestClock.adjust("1 second")
            const [first, ...others] = yield* Effect.forEach(processes, ({ stops }) => stops)
            for (const other of others) assert.deepStrictEqual(other, first)
            for (const { id } of first ?? []) assert.isFalse(lifted.has(id))
            const restarted = yield* process(filename)
            assert.deepStrictEqual(yield* restarted.stops, first)
          }).pipe(Effect.scoped, Effect.provide(TestClock.layer()), Effect.runPromise)
      ),
      { numRuns: 40 }
    ))
})
