import { execFile, spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Readline from "node:readline"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SqlClient from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as SqlCircuitBreaker from "../src/sql/SqlCircuitBreaker.ts"
import * as Sqlite from "../src/sql/Sqlite.ts"
import { suite } from "./CircuitBreakerSuite.ts"

type Breaker = CircuitBreaker.CircuitBreaker["Service"]

const file = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "interlock-circuits-"))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
  ),
  (folder) => Path.join(folder, "test.db")
)

const sqlite = (filename: string) => Sqlite.layer({ filename, busyTimeout: 0, synchronous: "NORMAL" })

suite("in SQLite", (options, overrides) =>
  Layer.unwrap(
    Effect.map(file, (filename) =>
      Layer.fresh(SqlCircuitBreaker.layer(options, overrides).pipe(Layer.provide(sqlite(filename))))
    )
  ))

/** A process of its own, as far as the database can tell. */
const process = (
  filename: string,
  options?: SqlCircuitBreaker.Options
): Effect.Effect<Breaker, unknown, Scope.Scope> =>
  Effect.map(
    Layer.build(
      Layer.fresh(SqlCircuitBreaker.layer(options).pipe(Layer.provide(Layer.fresh(sqlite(filename)))))
    ),
    Context.get(CircuitBreaker.CircuitBreaker)
  )

/** One whose transactions take their time, as those of a database elsewhere do. */
const processOn = (
  filename: string,
  slowly: <A, E, R>(transaction: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
) =>
  Effect.map(
    Layer.build(
      SqlCircuitBreaker.layer({ openFor: "10 seconds" }).pipe(
        Layer.provide(
          Layer.effect(
            SqlClient.SqlClient,
            Effect.map(SqlClient.SqlClient, (sql) =>
              Object.assign(((...args: Parameters<typeof sql>) => sql(...args)) as typeof sql, sql, {
                withTransaction: <R, E, A>(effect: Effect.Effect<A, E, R>) =>
                  slowly(sql.withTransaction(effect))
              })
            )
          )
        ),
        Layer.provide(sqlite(filename))
      )
    ),
    Context.get(CircuitBreaker.CircuitBreaker)
  )

const client = (filename: string) =>
  Effect.map(Layer.build(Layer.fresh(sqlite(filename))), Context.get(SqlClient.SqlClient))

const ask = (breaker: Breaker, key = "k") =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => breaker.admit(key, now))

const admitted = Effect.fnUntraced(function* (breaker: Breaker, key = "k") {
  const answer = yield* ask(breaker, key)
  return "_tag" in answer ? assert.fail(`refused: ${answer.why}`) : answer
})

const refused = Effect.fnUntraced(function* (breaker: Breaker, key = "k") {
  const answer = yield* ask(breaker, key)
  return "_tag" in answer ? answer.why : assert.fail("admitted")
})

const call = Effect.fnUntraced(function* (breaker: Breaker, outcome: CircuitBreaker.Outcome, key = "k") {
  const admission = yield* admitted(breaker, key)
  yield* breaker.report(admission, outcome, yield* Clock.currentTimeMillis)
})

const fail = (breaker: Breaker, times: number) =>
  Effect.repeat(call(breaker, "failure"), { times: times - 1 })

const tagOf = (breaker: Breaker, key = "k") => Effect.map(breaker.state(key), ({ tag }) => tag)

const collecting = (reported: Array<string>) =>
  ErrorReporter.layer([ErrorReporter.make(({ error }) => reported.push(error.message))])

const poll = TestClock.adjust("1 second")

describe("SqlCircuitBreaker", () => {
  it.effect("asks the database nothing for the calls of a healthy tool, and writes nothing of them", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const sql = yield* client(filename)
      const breaker = yield* process(filename)
      yield* sql`DROP TABLE interlock_circuits`
      for (let i = 0; i < 100; i++) {
        const answer = breaker.admit("k", i)
        assert.isTrue(Exit.isExit(answer))
        const admission = yield* answer
        if ("_tag" in admission) return assert.fail("refused")
        assert.isTrue(Exit.isExit(breaker.report(admission, "success", i)))
      }
    })
  )

  it.effect("writes what it only counts with the next poll, and when it closes", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const here = yield* process(filename)
      yield* fail(here, 2)
      assert.strictEqual((yield* (yield* process(filename)).state("k")).consecutiveFailures, 0)
      yield* poll
      yield* Effect.scoped(
        Effect.gen(function* () {
          const there = yield* process(filename)
          assert.strictEqual((yield* there.state("k")).consecutiveFailures, 2)
          yield* fail(there, 1)
        })
      )
      const third = yield* process(filename)
      assert.strictEqual((yield* third.state("k")).consecutiveFailures, 3)
      yield* fail(third, 2)
      // What opens a circuit is written at once, and seen by the others with their next poll.
      const fourth = yield* process(filename)
      assert.match(yield* refused(fourth), /^5 consecutive failures/)
      yield* poll
      assert.match(yield* refused(here), /^5 consecutive failures/)
    })
  )

  it.effect("adds what processes have counted at the same time, and opens where that is too much", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const all = yield* Effect.forEach([1, 2, 3, 4, 5], () => process(filename))
      yield* Effect.forEach(all, (breaker) => fail(breaker, 1))
      for (const breaker of all) assert.strictEqual(yield* tagOf(breaker), "Closed")
      yield* TestClock.adjust("2 seconds")
      for (const breaker of all) {
        assert.strictEqual(yield* tagOf(breaker), "Open")
        assert.strictEqual((yield* breaker.state("k")).consecutiveFailures, 5)
      }
    })
  )

  it.effect("adds up the shares of outcomes that processes have counted", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const options = { trip: CircuitBreaker.rate({ threshold: 0.5, minimum: 12, size: 100 }) }
      const [here, there] = [yield* process(filename, options), yield* process(filename, options)]
      for (const breaker of [here, there]) {
        for (let i = 0; i < 5; i++) yield* call(breaker, i < 2 ? "failure" : "success")
      }
      yield* TestClock.adjust("2 seconds")
      for (const breaker of [here, there]) {
        assert.strictEqual((yield* breaker.state("k")).failureRate, 4 / 10)
        assert.strictEqual((yield* breaker.state("k")).consecutiveFailures, 0)
      }
      yield* fail(here, 1)
      yield* fail(there, 1)
      yield* TestClock.adjust("2 seconds")
      // 6 of 12, only together.
      for (const breaker of [here, there]) assert.strictEqual(yield* tagOf(breaker), "Open")
      const shorter = yield* process(filename, {
        trip: CircuitBreaker.rate({ threshold: 0.5, minimum: 2, size: 4 })
      })
      yield* shorter.reset("k")
      for (const outcome of ["failure", "success", "success"] as const) yield* call(shorter, outcome)
      assert.strictEqual((yield* shorter.state("k")).failureRate, 1 / 3)
    })
  )

  it.effect("does not take over what a rule counted that looked back further", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const rate = (size: number) => ({ trip: CircuitBreaker.rate({ threshold: 1, minimum: 2, size }) })
      const long = yield* process(filename, rate(50))
      for (let i = 0; i < 20; i++) yield* call(long, "success")
      yield* poll
      const short = yield* process(filename, rate(4))
      yield* fail(short, 1)
      assert.strictEqual((yield* short.state("k")).failureRate, 1)
    })
  )

  it.effect("does what an operator says in every process, within the interval", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const [running, operator] = [yield* process(filename), yield* process(filename)]
      const inFlight = yield* admitted(running)
      yield* operator.forceOpen("k", "the vendor migrates")
      yield* poll
      assert.strictEqual(yield* refused(running), "the vendor migrates")
      yield* running.report(inFlight, "failure", 1000)
      yield* operator.forceClosed("k")
      yield* poll
      yield* fail(running, 20)
      yield* poll
      assert.strictEqual(yield* tagOf(operator), "ForcedClosed")
      yield* operator.reset("k")
      yield* poll
      assert.strictEqual(yield* tagOf(running), "Closed")
      assert.strictEqual((yield* running.state("k")).consecutiveFailures, 0)
      yield* fail(running, 5)
      yield* operator.reset("k")
      yield* poll
      assert.strictEqual(yield* tagOf(running), "Closed")
    })
  )

  it.effect("tells of the changes that others make, once each, and when they were", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const [here, there] = [yield* process(filename), yield* process(filename)]
      const seen: Array<CircuitBreaker.Transition> = []
      yield* here.transitions.pipe(
        Stream.runForEach((transition) => Effect.sync(() => seen.push(transition))),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* TestClock.adjust(500)
      yield* fail(there, 5)
      yield* TestClock.adjust("10 seconds")
      yield* there.forceOpen("k", "maintenance")
      yield* TestClock.adjust("10 seconds")
      yield* here.reset("k")
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(seen, [
        { key: "k", from: "Closed", to: "Open", why: "5 consecutive failures", at: 500 },
        { key: "k", from: "Open", to: "ForcedOpen", why: "maintenance", at: 10_500 },
        { key: "k", from: "ForcedOpen", to: "Closed", why: undefined, at: 20_500 }
      ])
    })
  )

  it.effect("gives a probe of a process that died to another, after the time that a probe has", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const options = { openFor: "10 seconds", probeFor: "30 seconds", probes: 2 } as const
      const scope = yield* Scope.make()
      const dead = yield* process(filename, options).pipe(Scope.provide(scope))
      yield* fail(dead, 5)
      yield* TestClock.adjust("10 seconds")
      yield* admitted(dead)
      yield* Scope.close(scope, Exit.void)
      const here = yield* process(filename, options)
      const slow = yield* admitted(here)
      assert.isTrue(slow.probe)
      assert.match(yield* refused(here), /it is being tried again$/)
      yield* TestClock.adjust(29_999)
      yield* refused(here)
      yield* TestClock.adjust(1)
      for (let i = 0; i < 2; i++) assert.isTrue((yield* admitted(here)).probe)
      yield* refused(here)
      // It was only slow, and what it says is as good as what any other says.
      yield* here.report(slow, "success", 40_000)
      assert.strictEqual(yield* tagOf(here), "Closed")
    })
  )

  it.effect("goes on by itself while the database does not answer, reports that once, and comes back", () => {
    const reported: Array<string> = []
    return Effect.gen(function* () {
      const filename = yield* file
      const [here, there] = [
        yield* process(filename, { openFor: "10 seconds" }),
        yield* process(filename, { openFor: "10 seconds" })
      ]
      yield* there.forceOpen("forced", "maintenance")
      yield* poll
      const sql = yield* client(filename)
      yield* sql`ALTER TABLE interlock_circuits RENAME TO away`
      // Nothing is refused because of it, nothing let through: a tool that fails is left alone, then probed.
      yield* fail(here, 5)
      assert.match(yield* refused(here), /^5 consecutive failures/)
      assert.strictEqual(yield* refused(here, "forced"), "maintenance")
      assert.strictEqual(yield* tagOf(there), "Closed")
      yield* TestClock.adjust("10 seconds")
      const probe = yield* admitted(here)
      assert.isTrue(probe.probe)
      yield* refused(here)
      yield* here.report(probe, "failure", 11_000, { code: "TIMED_OUT" })
      assert.match(yield* refused(here), /^a probe failed: TIMED_OUT/)
      assert.strictEqual(reported.length, 1)
      assert.isTrue(Exit.hasDies(yield* Effect.exit(here.forceClosed("k"))))
      assert.strictEqual(yield* tagOf(here), "Open")
      yield* sql`ALTER TABLE away RENAME TO interlock_circuits`
      yield* TestClock.adjust("2 seconds")
      assert.match(yield* refused(there), /^a probe failed: TIMED_OUT/)
      assert.strictEqual((yield* there.state("k")).openings, 2)
      // It fails again, and that is told again.
      yield* sql`ALTER TABLE interlock_circuits RENAME TO away`
      yield* TestClock.adjust("8 seconds")
      yield* admitted(here)
      assert.strictEqual(reported.length, 2)
    }).pipe(Effect.provide(collecting(reported)))
  })

  it.effect("counts what others wrote before what it counted while the database did not answer", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const [here, there] = [yield* process(filename), yield* process(filename, { poll: "1 hour" })]
      const holder = yield* client(filename)
      yield* holder.withTransaction(
        Effect.gen(function* () {
          yield* fail(here, 3)
          yield* TestClock.adjust("3 seconds")
          yield* call(here, "success", "other")
        })
      )
      yield* fail(there, 4)
      yield* there.reset("unrelated")
      yield* Effect.scoped(Effect.flatMap(process(filename), (third) => fail(third, 1)))
      yield* TestClock.adjust("2 seconds")
      const state = yield* here.state("k")
      assert.strictEqual(state.tag, "Closed")
      assert.strictEqual(state.consecutiveFailures, 4)
    }).pipe(Effect.provide(collecting([])))
  )

  it.effect("does not wait for a database that hangs, nor longer than once", () => {
    const reported: Array<string> = []
    return Effect.gen(function* () {
      const filename = yield* file
      const hung = yield* Deferred.make<void>()
      let hangs = false
      const breaker = yield* processOn(filename, (transaction) =>
        hangs ? Effect.andThen(Deferred.await(hung), transaction) : transaction
      )
      yield* fail(breaker, 4)
      hangs = true
      const opening = yield* Effect.forkChild(fail(breaker, 1), { startImmediately: true })
      // Whoever else asks meanwhile is refused already.
      yield* refused(breaker)
      yield* TestClock.adjust(999)
      assert.isUndefined(opening.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(opening)
      yield* TestClock.adjust("10 seconds")
      // From now on nobody waits.
      const probe = yield* admitted(breaker)
      assert.isTrue(probe.probe)
      assert.deepStrictEqual(reported, ["the store of the circuits did not answer in time"])
      // What was asked long ago is written at last, and so is what has come of it since.
      yield* Deferred.succeed(hung, undefined)
      yield* TestClock.adjust("2 seconds")
      yield* breaker.report(probe, "success", 13_000)
      assert.strictEqual(yield* tagOf(yield* process(filename)), "Closed")
    }).pipe(Effect.provide(collecting(reported)))
  })

  it.effect("goes on counting while it writes", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const written = yield* Deferred.make<void>()
      let slow = false
      const breaker = yield* processOn(filename, (transaction) =>
        slow ? Effect.tap(transaction, () => Deferred.await(written)) : transaction
      )
      slow = true
      yield* fail(breaker, 2)
      yield* poll
      yield* fail(breaker, 2)
      slow = false
      yield* Deferred.succeed(written, undefined)
      yield* poll
      assert.strictEqual((yield* breaker.state("k")).consecutiveFailures, 4)
      assert.strictEqual((yield* (yield* process(filename)).state("k")).consecutiveFailures, 4)
    })
  )

  it.effect("takes a row that nobody can read for a circuit that is known anew", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const here = yield* process(filename)
      yield* fail(here, 5)
      const sql = yield* client(filename)
      yield* sql`UPDATE interlock_circuits SET state = 'no JSON', revision = revision + 1`
      yield* sql`UPDATE interlock_circuit_revision SET revision = revision + 1`
      yield* poll
      yield* fail(here, 5)
      assert.match(yield* refused(yield* process(filename)), /^5 consecutive failures/)
    })
  )

  it.effect("reads everything anew after the database was put back", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const [here, there] = [yield* process(filename), yield* process(filename)]
      yield* fail(here, 5)
      for (let i = 0; i < 5; i++) yield* here.reset("other")
      yield* poll
      const sql = yield* client(filename)
      yield* sql`DELETE FROM interlock_circuits`
      yield* sql`UPDATE interlock_circuit_revision SET revision = 1`
      yield* here.forceOpen("k", "maintenance")
      yield* poll
      assert.strictEqual(yield* refused(there), "maintenance")
    })
  )

  it.effect("forgets circuits that were left alone for 30 days, and never what an operator said", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const here = yield* process(filename, { poll: "1 day" })
      yield* fail(here, 5)
      yield* here.forceOpen("forced", "for good")
      yield* TestClock.adjust("31 days")
      yield* here.forceClosed("new")
      const fresh = yield* process(filename)
      assert.deepStrictEqual([...(yield* fresh.states).keys()].sort(), ["forced", "new"])
      // Whoever knew it goes on with a circuit that is known anew.
      assert.isFalse((yield* admitted(here)).probe)
      yield* fail(here, 4)
      assert.strictEqual(yield* tagOf(here), "Closed")
      yield* fail(here, 1)
      assert.strictEqual(yield* tagOf(here), "Open")
    })
  )

  it.effect("keeps a bounded number of circuits of which nothing is written", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const breaker = yield* process(filename, { maxKeys: 100 })
      yield* fail(breaker, 5)
      for (let i = 0; i < 5000; i++) yield* call(breaker, "success", `tool ${i}`)
      const states = yield* breaker.states
      assert.isAtMost(states.size, 100)
      assert.strictEqual(states.get("k")?.tag, "Open")
    })
  )

  it.effect("fails to start where the database cannot be read", () =>
    Effect.gen(function* () {
      const filename = yield* file
      Fs.writeFileSync(filename, "no database at all ".repeat(100))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(Effect.scoped(process(filename)))))
    })
  )

  it("refuses options that make no sense, and names them", () => {
    const cases: ReadonlyArray<[string, SqlCircuitBreaker.Options]> = [
      ["poll", { poll: 9 }],
      ["probeFor", { probeFor: 0 }],
      ["writeTimeout", { writeTimeout: Duration.infinity }],
      ["maxKeys", { maxKeys: 0 }],
      ["probes", { probes: 0 }]
    ]
    for (const [field, options] of cases) {
      assert.throws(() => SqlCircuitBreaker.layer(options), new RegExp(field))
    }
    assert.throws(() => SqlCircuitBreaker.layer({}, { "mail_*": { probes: 0 } }), /probes/)
  })

  it("is one breaker in several processes: where each polls between two steps, they do what one in memory does", () =>
    fc.assert(
      fc.asyncProperty(
        fc.constantFrom(
          CircuitBreaker.consecutive(3),
          CircuitBreaker.rate({ threshold: 0.5, minimum: 3, size: 6 }),
          CircuitBreaker.rateWithin({ threshold: 0.5, minimum: 3, window: "20 seconds" })
        ),
        fc.array(
          fc.record({
            where: fc.nat(2),
            what: fc.oneof(
              { weight: 6, arbitrary: fc.constant({ do: "admit" } as const) },
              {
                weight: 6,
                arbitrary: fc.record({
                  do: fc.constant("report" as const),
                  which: fc.nat(3),
                  outcome: fc.constantFrom("success", "failure", "failure", "ignored")
                })
              },
              {
                weight: 1,
                arbitrary: fc.constantFrom({ do: "open" }, { do: "close" }, { do: "reset" } as const)
              },
              {
                weight: 3,
                arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.nat(12_000) })
              }
            )
          }),
          { maxLength: 30 }
        ),
        (trip, steps) =>
          Effect.gen(function* () {
            const filename = yield* file
            const options = {
              trip,
              openFor: "10 seconds",
              probes: 2,
              successThreshold: 2,
              growth: 2
            } as const
            const model = yield* CircuitBreaker.make(options)
            const processes = yield* Effect.forEach([0, 1, 2], () =>
              process(filename, { ...options, probeFor: "1 hour" })
            )
            const open: Array<readonly [CircuitBreaker.Admission, CircuitBreaker.Admission, Breaker]> = []
            for (const { what, where } of steps) {
              const there = processes[where] as Breaker
              const now = yield* Clock.currentTimeMillis
              if (what.do === "admit") {
                const [expected, actual] = [yield* model.admit("k", now), yield* there.admit("k", now)]
                if ("_tag" in expected) assert.deepStrictEqual(actual, expected)
                else if ("_tag" in actual) assert.fail("refused")
                else {
                  assert.strictEqual(actual.probe, expected.probe)
                  open.push([expected, actual, there])
                }
              } else if (what.do === "report") {
                const [pair] = open.splice(what.which, 1)
                if (pair === undefined) continue
                const outcome = what.outcome as CircuitBreaker.Outcome
                yield* model.report(pair[0], outcome, now)
                yield* pair[2].report(pair[1], outcome, now)
              } else if (what.do === "open") {
                yield* Effect.all([model.forceOpen("k", "why"), there.forceOpen("k", "why")])
              } else if (what.do === "close") {
                yield* Effect.all([model.forceClosed("k"), there.forceClosed("k")])
              } else if (what.do === "reset") yield* Effect.all([model.reset("k"), there.reset("k")])
              else yield* TestClock.adjust(what.ms)
              // The first poll writes, by the second everybody has read.
              yield* TestClock.adjust("2 seconds")
              const expected = yield* model.state("k")
              for (const each of processes) {
                const { since, ...actual } = yield* each.state("k")
                const { since: _, ...rest } = expected
                if (rest.tag !== "Closed") assert.strictEqual(since, expected.since)
                assert.deepStrictEqual(actual.tag === "Closed" && since === undefined ? rest : actual, rest)
              }
            }
          }).pipe(Effect.scoped, Effect.provide(TestClock.layer()), Effect.runPromise)
      ),
      { numRuns: 60 }
    ))
})

// --- Real processes --------------------------------------------------------

const worker = fileURLToPath(new URL("support/circuitWorker.ts", import.meta.url))

const run = (...args: ReadonlyArray<string>) =>
  Effect.promise(async () => {
    const { stdout } = await promisify(execFile)(globalThis.process.execPath, [worker, ...args])
    return JSON.parse(stdout) as Readonly<Record<string, unknown>>
  })

describe("SqlCircuitBreaker, in processes of their own", () => {
  it.live("opens for the sixth process after five in which a call failed, and probes once among many", () =>
    Effect.gen(function* () {
      const filename = yield* file
      for (let i = 0; i < 5; i++) assert.deepStrictEqual(yield* run("call", filename), { ran: "as a call" })
      // By now the 50 milliseconds may be over, so that the sixth is refused, or is the probe; and not the others.
      const many = yield* Effect.forEach([1, 2, 3, 4], () => run("probe", filename), { concurrency: 4 })
      const probes = many.reduce((sum, { probes }) => sum + Number(probes), 0)
      assert.strictEqual(probes, 1)
    })
  )

  it.live("acts on a running process from another one, and outlives one that is killed with a probe", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const running = spawn(globalThis.process.execPath, [worker, "watch", filename], {
        stdio: ["pipe", "pipe", "inherit"]
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => running.kill()))
      const lines = Readline.createInterface({ input: running.stdout })[Symbol.asyncIterator]()
      const next = Effect.promise(async () => JSON.parse((await lines.next()).value ?? "null"))
      assert.strictEqual(yield* next, "Closed")
      const operator = yield* process(filename)
      yield* operator.forceOpen("k", "the vendor migrates")
      const opened = yield* next
      assert.deepStrictEqual(
        [opened.from, opened.to, opened.why],
        ["Closed", "ForcedOpen", "the vendor migrates"]
      )
      yield* operator.reset("k")
      assert.strictEqual((yield* next).to, "Closed")
      yield* fail(operator, 5)
      assert.strictEqual((yield* next).to, "Open")
      const sql = yield* client(filename)
      yield* sql`UPDATE interlock_circuits SET state = json_set(state, '$.state.until', 0), revision = revision + 1`
      yield* sql`UPDATE interlock_circuit_revision SET revision = revision + 1`
      yield* Effect.promise(() =>
        promisify(execFile)(globalThis.process.execPath, [worker, "die", filename]).catch(() => undefined)
      )
      assert.strictEqual((yield* next).to, "HalfOpen")
      assert.match(yield* refused(yield* process(filename)), /it is being tried again$/)
      const later = yield* process(filename, { probeFor: 1 })
      assert.isTrue((yield* admitted(later)).probe)
      running.stdin.end("\n")
    })
  )
})
