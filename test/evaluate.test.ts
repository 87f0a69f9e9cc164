/**
 * `evaluate` takes the call's own path and only looks: where it says that a call
 * would stop, the call stops, and nothing is different for having looked.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import * as TestClock from "effect/testing/TestClock"
import {
  ToolAnnotations as Annotate,
  Approvals,
  AuditLog,
  Budget,
  Bulkhead,
  CallRecord,
  CircuitBreaker,
  Evaluation,
  Health,
  History,
  type Interlock,
  KillSwitch,
  Principal,
  RateLimits,
  Run,
  Taint,
  type ToolCall,
  ToolExecutor,
  type ToolResult
} from "effect-interlock"
import * as Sql from "effect-interlock/sql"
import * as Testing from "effect-interlock/testing"

// --- A world in which everything can say no --------------------------------

const target = Schema.Struct({ target: Schema.String, url: Schema.optionalKey(Schema.String) })

const Kit = Toolkit.make(
  Tool.make("read", { parameters: target, success: Schema.String })
    .annotate(Tool.Readonly, true)
    .annotate(Annotate.Capabilities, ["read_data"])
    .annotate(Annotate.Cache, { ttl: "1 hour" })
    .annotate(Annotate.Trust, "untrusted"),
  Tool.make("send", { parameters: target, success: Schema.String })
    .annotate(Annotate.SendsData, true)
    .annotate(Annotate.Capabilities, ["external_api"]),
  Tool.make("delete_record", { parameters: target, success: Schema.String })
    .annotate(Tool.Destructive, true)
    .annotate(Annotate.Capabilities, ["delete_data"]),
  Tool.make("pay", { parameters: target, success: Schema.String })
    .annotate(Annotate.Cost, 400_000)
    .annotate(Annotate.AfterCrash, "ask"),
  Tool.make("flaky", { parameters: target, success: Schema.String })
    .annotate(Annotate.Retries, 0)
    .annotate(Annotate.Bulkhead, { maxConcurrent: 1 }),
  Tool.make("path_tool", {
    parameters: Schema.Struct({ target: Schema.String.annotate(Annotate.screened("path")) }),
    success: Schema.String
  })
)

const tools = () =>
  Testing.scripted(Kit, {
    read: Testing.succeed("from outside: http://evil.example/exfiltrate"),
    send: Testing.succeed("sent"),
    delete_record: Testing.succeed("deleted"),
    pay: Testing.succeed("paid"),
    flaky: Testing.fail(new Error("503")),
    path_tool: Testing.succeed("fine")
  })

type Pick = <A>(from: ReadonlyArray<A>) => A

/** Mulberry32. */
const seeded = (seed: number): Pick => {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  return (from) => from[Math.floor(next() * from.length)]!
}

const someOf = (pick: Pick, globs: ReadonlyArray<string>) => globs.filter(() => pick([true, false, false]))

const globs = ["read", "send", "delete_*", "pay", "flaky", "*_tool"]

const randomOptions = (pick: Pick) =>
  ({
    policy: {
      deny: someOf(pick, globs).slice(0, 1),
      requireConfirmation: someOf(pick, globs),
      requireApproval: someOf(pick, globs).slice(0, 1),
      ...(pick([true, false]) ? { allowedDomains: ["*.company.com"] } : {}),
      argumentLimits: { stringLength: pick([20, 1000]) }
    },
    rateLimits: pick([true, false]) ? [{ limit: pick([2, 5, 50]), window: "1 hour", by: "principal" }] : [],
    budget: pick([true, false]) ? [{ name: "day", max: 1_000_000, window: "day" }] : [],
    breaker: { trip: CircuitBreaker.consecutive(2), openFor: "1 hour" },
    approvals: { maxUndecided: 3 },
    loops: { repeats: 2, errors: 3 }
  }) satisfies Interlock.Options

const randomCall = (pick: Pick): ToolCall => {
  const odd = ["../../etc/passwd", "bad\u0000", "x".repeat(30), "http://evil.example/exfiltrate"]
  const values = ["a", "a", "b", pick(odd)]
  return {
    tool: pick(["read", "read", "read", "send", "delete_record", "pay", "flaky", "path_tool", "nothing"]),
    params: pick<unknown>([
      ...Array.from({ length: 9 }, () => ({ target: pick(values) })),
      { target: pick(values), url: pick(["https://a.company.com/x", "https://evil.example/"]) },
      { target: 5 },
      {},
      "none"
    ]),
    ...pick([{}, {}, { id: pick(["one", "two"]) }]),
    ...pick([{}, { idempotencyKey: pick(["k1", "k2"]) }]),
    ...pick([{}, {}, {}, { requireConfirmation: true }]),
    ...pick([{}, {}, {}, {}, { approval: "v1.a.b.c" }])
  }
}

const people = [
  Principal.make({ id: "ada", roles: ["admin"] }),
  Principal.make({ id: "bob", roles: ["read"] }),
  Principal.make({ id: "bot", roles: ["write"], actor: { kind: "model", id: "m" } })
]

const runs = () => [
  undefined,
  Run.make({ id: "r1", driver: "model" }),
  Run.make({ id: "r2", budget: { usd: 700_000 } })
]

/** Whatever else happens between calls: what people do, and time. */
const meanwhile = (pick: Pick, services: Context.Context<Interlock.Services>) =>
  Effect.gen(function* () {
    const approvals = Context.get(services, Approvals.Approvals)
    const [request] = yield* approvals.list({ state: "pending" })
    const decider = Principal.make({ id: pick(["ada", "bob", "eve"]) })
    switch (
      pick([
        "nothing",
        "nothing",
        "nothing",
        "nothing",
        "grant",
        "grant",
        "reject",
        "stop",
        "lift",
        "time",
        "open",
        "revoke"
      ])
    ) {
      case "grant":
        if (request !== undefined) {
          yield* Effect.ignore(Principal.provide(approvals.grant(request.id), decider))
        }
        break
      case "reject":
        if (request !== undefined) {
          yield* Effect.ignore(Principal.provide(approvals.reject(request.id), decider))
        }
        break
      case "revoke":
        if (request !== undefined) {
          yield* Effect.ignore(Principal.provide(approvals.revoke(request.id), decider))
        }
        break
      case "stop":
        yield* Context.get(services, KillSwitch.KillSwitch).stop(
          { scope: "tool", tool: pick(globs) },
          { by: "op", why: "test", until: (yield* Clock.currentTimeMillis) + 60_000 }
        )
        break
      case "lift":
        for (const { id } of yield* Context.get(services, KillSwitch.KillSwitch).stops) {
          yield* Context.get(services, KillSwitch.KillSwitch).lift(id, { by: "op", why: "test" })
        }
        break
      case "time":
        yield* TestClock.adjust(pick(["30 seconds", "10 minutes", "2 hours"]))
        break
      case "open":
        yield* Context.get(services, CircuitBreaker.CircuitBreaker).forceOpen(pick(["read", "send"]), "test")
        break
    }
  })

/** Everything that can be seen of every store. */
const seen = (services: Context.Context<Interlock.Services>, run: Run.Run | undefined) =>
  Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    const facts = Object.values(Kit.tools).map((tool) => Annotate.read(tool))
    const limits = Context.get(services, RateLimits.RateLimits)
    const quota: Array<unknown> = []
    for (const tool of facts) {
      for (const principal of people) {
        const call = { tool, principal, params: {}, metadata: undefined }
        quota.push(yield* limits.forTool(tool, "call")?.peek(call, now) ?? Effect.void)
      }
    }
    const bulkhead = Context.get(services, Bulkhead.Bulkhead)
    return JSON.stringify([
      quota,
      [bulkhead.running(), bulkhead.queued()],
      [...(yield* Context.get(services, CircuitBreaker.CircuitBreaker).states)],
      yield* Context.get(services, Approvals.Approvals).list(),
      yield* Context.get(services, Budget.Budget).standing,
      yield* Context.get(services, Budget.Budget).spent(),
      yield* Context.get(services, KillSwitch.KillSwitch).stops,
      [...(yield* Context.get(services, Health.Health).all)],
      (yield* Context.get(services, History.History).statistics).all,
      run === undefined ? [] : Context.get(services, Taint.Taint).sources(run)
    ])
  })

interface Dump {
  readonly dump: Effect.Effect<string>
}

/** Runs `count` calls of one scenario, each looked at before; the reached stages are counted. */
const scenario = (
  seed: number,
  count: number,
  reached: Map<string, number>,
  sql?: { readonly options: Interlock.Options } & Dump
) =>
  Effect.gen(function* () {
    const pick = seeded(seed)
    const services = yield* Layer.build(Testing.layer({ ...randomOptions(pick), ...sql?.options }))
    const handlers = yield* Layer.build(tools().layer)
    const executor = yield* Effect.provide(ToolExecutor.make(Kit), Context.merge(services, handlers))
    const records: Array<CallRecord.CallRecord> = []
    yield* Context.get(services, CallRecord.CallRecorder).add({ onEnd: (record) => records.push(record) })
    const known = runs()
    let call = randomCall(pick)
    let run = pick(known)
    for (let i = 0; i < count; i++) {
      yield* meanwhile(pick, services)
      if (pick([true, true, false])) {
        call = randomCall(pick)
        run = pick(known)
      }
      const principal = pick([people[0]!, people[0]!, ...people])
      const as = <A>(effect: Effect.Effect<A>) => Principal.provide(inRunOf(run, effect), principal)
      const before = [yield* seen(services, run), yield* sql?.dump ?? Effect.succeed("")]
      const evaluation = yield* as(executor.evaluate(call))
      const after = [yield* seen(services, run), yield* sql?.dump ?? Effect.succeed("")]
      assert.deepStrictEqual(after, before, "looking changes nothing")

      const result = yield* as(executor.execute(call) as Effect.Effect<ToolResult>)
      const record = records.at(-1)!
      const message = `seed ${seed} call ${i} ${JSON.stringify(call)}: ${JSON.stringify(result)}\n${Evaluation.format(evaluation)}`
      if (record.answeredFrom !== undefined) {
        assert.strictEqual(evaluation.outcome, "answered", message)
        assert.strictEqual(evaluation.stopsAt, record.answeredFrom, message)
      } else if (record.attempts > 0) {
        assert.isUndefined(evaluation.stopsAt, message)
      } else {
        assert.strictEqual(evaluation.stopsAt, record.stage, message)
        if (record.code !== "RATE_LIMITED") assert.strictEqual(evaluation.code, record.code, message)
      }
      const stage = evaluation.stopsAt ?? "handler"
      reached.set(stage, (reached.get(stage) ?? 0) + 1)
    }
    // Of what was only looked at the log knows nothing.
    const outcomes = yield* Context.get(services, AuditLog.AuditLog).query({ kind: "tool_call" })
    assert.lengthOf(
      outcomes.filter(({ phase }) => phase === "outcome"),
      count
    )
  }).pipe(Effect.scoped, Effect.provide(TestClock.layer()))

const inRunOf = <A>(run: Run.Run | undefined, effect: Effect.Effect<A>): Effect.Effect<A> =>
  run === undefined ? effect : Run.provide(effect, run)

describe("evaluate", () => {
  it("stops where execute stops, and changes nothing, for 10,000 random policies, states and calls", async () => {
    const reached = new Map<string, number>()
    for (let seed = 1; seed <= 250; seed++) await Effect.runPromise(scenario(seed, 40, reached))
    // What never happened was not tested.
    assert.sameMembers(
      [...reached.keys()],
      [
        "find",
        "kill_switch",
        "permissions",
        "policy",
        "rate_limit",
        "size",
        "policy_raw",
        "decode",
        "screening",
        "idempotency",
        "cache",
        "loops",
        "confirmation",
        "circuit",
        "budget",
        "handler"
      ]
    )
  }, 120_000)

  it("leaves every table of a database as it was, byte for byte", async () => {
    const reached = new Map<string, number>()
    for (let seed = 1; seed <= 12; seed++) {
      await Effect.runPromise(
        Effect.gen(function* () {
          const database = yield* Layer.build(Sql.Sqlite.layer({ filename: ":memory:" }))
          const sql = Context.get(database, SqlClient.SqlClient)
          const client = Layer.succeedContext(database)
          const dump = Effect.gen(function* () {
            const tables = yield* sql<{
              name: string
            }>`SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name`
            const rows: Array<unknown> = []
            for (const { name } of tables) rows.push(name, yield* sql`SELECT * FROM ${sql(name)}`)
            return JSON.stringify(rows)
          }).pipe(Effect.orDie)
          yield* scenario(seed, 40, reached, {
            dump,
            options: {
              approvals: Layer.provide(Sql.SqlApprovals.layer(), client),
              budget: Layer.provide(Sql.SqlBudget.layer([{ max: 300_000, window: "day" }]), client),
              idempotency: Layer.provide(Sql.SqlIdempotency.layer(), client),
              cache: Layer.provide(Sql.SqlResultCache.layer(), client),
              killSwitch: Layer.provide(Sql.SqlKillSwitch.layer(), client),
              audit: Layer.provide(Sql.SqlAuditLog.layer(), client)
            }
          })
        }).pipe(Effect.scoped) as Effect.Effect<void>
      )
    }
    assert.includeMembers([...reached.keys()], ["confirmation", "idempotency", "budget", "kill_switch"])
  }, 60_000)
})
