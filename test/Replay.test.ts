import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import {
  ToolAnnotations as Annotate,
  AuditLog,
  type Interlock,
  Principal,
  Replay,
  Run,
  type ToolCall,
  ToolExecutor,
  Verdict
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"

const Kit = Toolkit.make(
  Tool.make("send", {
    parameters: Schema.Struct({ to: Schema.String, body: Schema.String.annotate(Annotate.sensitive) }),
    success: Schema.String
  }).annotate(Annotate.Capabilities, ["external_api"]),
  Tool.make("delete_record", { parameters: Schema.Struct({ id: Schema.Int }), success: Schema.String }),
  Tool.make("pay", { parameters: Schema.Struct({ amount: Schema.Int }), success: Schema.String }).annotate(
    Annotate.Cost,
    (params) => (params as { amount: number }).amount
  )
)
const tools = Object.values(Kit.tools)

const ada = Principal.make({ id: "ada", capabilities: ["external_api"] })

/** What the audit log has of these calls, one minute after the other. */
const past = (calls: ReadonlyArray<ToolCall>, options: Interlock.Options = {}, run?: Run.Run) =>
  Effect.gen(function* () {
    const { layer } = Testing.scripted(Kit, {
      send: Testing.succeed("sent"),
      delete_record: Testing.succeed("deleted"),
      pay: Testing.succeed("paid")
    })
    const services = yield* Layer.build(Layer.merge(Testing.layer(options), layer))
    const executor = yield* Effect.provide(ToolExecutor.make(Kit), services)
    for (const call of calls) {
      yield* TestClock.adjust("1 minute")
      const executed = Principal.provide(executor.execute(call), ada)
      yield* run === undefined ? executed : Run.provide(executed, run)
    }
    const audit = Context.get(services, AuditLog.AuditLog)
    return { audit, records: yield* audit.query({}) }
  })

const replayed = (
  calls: ReadonlyArray<ToolCall>,
  candidate: Replay.Candidate,
  options: Interlock.Options = {},
  known: Partial<Replay.Options> = {}
) =>
  Effect.flatMap(past(calls, options), ({ records }) => Replay.run(records, candidate, { tools, ...known }))

const send = (to: string, body = "hello"): ToolCall => ({ tool: "send", params: { to, body } })
const remove = (id: number): ToolCall => ({ tool: "delete_record", params: { id } })
const pay = (amount: number): ToolCall => ({ tool: "pay", params: { amount } })

const results = ({ calls }: Replay.Replayed) => calls.map(({ result }) => result)
const decisions = ({ calls }: Replay.Replayed) => calls.map(({ after, before }) => [before, after])

describe("replay", () => {
  it.effect("says the same of the policy that was in force", () =>
    Effect.gen(function* () {
      const policy = { deny: ["delete_*"], requireConfirmation: ["pay"] }
      const replay = yield* replayed([send("a"), remove(1), pay(5), send("b")], { policy }, { policy })
      assert.deepStrictEqual(decisions(replay), [
        ["allow", "allow"],
        ["deny", "deny"],
        ["confirm", "confirm"],
        ["allow", "allow"]
      ])
      assert.strictEqual(replay.same, 4)
    })
  )

  it.effect("says what a stricter and a looser policy would have changed, and why", () =>
    Effect.gen(function* () {
      const calls = [send("a"), remove(1), pay(5)]
      const stricter = yield* replayed(calls, { policy: { deny: ["delete_*"], requireApproval: ["pay"] } })
      assert.deepStrictEqual(results(stricter), ["same", "changed", "changed"])
      assert.match(stricter.calls[1]?.why[0] ?? "", /deny "delete_\*"/)
      const looser = yield* replayed(calls, {}, { policy: { deny: ["*"] } })
      assert.deepStrictEqual(
        decisions(looser),
        calls.map(() => ["deny", "allow"])
      )
      const table = Replay.format(stricter)
      assert.match(table, /delete_record +ada +allow → deny/)
      assert.match(table, /1 same, 2 changed, 0 undecidable$/)
    })
  )

  it.effect("names the field that a rule would have had to see and the log has masked", () =>
    Effect.gen(function* () {
      const onBody = {
        name: "no greetings",
        decide: ({ params }: { readonly params: unknown }) =>
          (params as { body?: string }).body === "hello" ? Verdict.deny("no greetings", "no") : Verdict.allow
      }
      const onTo = {
        name: "not to b",
        decide: ({ params }: { readonly params: unknown }) =>
          (params as { to?: string }).to === "b" ? Verdict.deny("not to b", "no") : Verdict.allow
      }
      const calls = [send("a"), send("b")]
      const body = yield* replayed(calls, { rules: [onBody] })
      assert.deepStrictEqual(results(body), ["undecidable", "undecidable"])
      assert.deepStrictEqual(body.calls[0]?.why, ["body"])
      assert.isUndefined(body.calls[0]?.after)
      assert.deepStrictEqual(results(yield* replayed(calls, { rules: [onTo] })), ["same", "changed"])
      // What the name decides needs no look at the arguments.
      const denied = yield* replayed(calls, { policy: { deny: ["send"] }, rules: [onBody] })
      assert.deepStrictEqual(results(denied), ["changed", "changed"])
    })
  )

  it.effect("asks for roles and capabilities, which the log does not keep", () =>
    Effect.gen(function* () {
      const permissions = { undeclared: "deny" } as const
      const calls = [send("a"), remove(1)]
      const unknown = yield* replayed(calls, { permissions })
      assert.deepStrictEqual(results(unknown), ["undecidable", "undecidable"])
      const known = yield* replayed(calls, { permissions }, {}, { principal: () => ada })
      assert.deepStrictEqual(decisions(known), [
        ["allow", "allow"],
        ["allow", "deny"]
      ])
    })
  )

  it.effect("counts limits and budgets on recorded time", () =>
    Effect.gen(function* () {
      const calls = [pay(4), pay(4), pay(4), pay(4)]
      const limited = yield* replayed(calls, { rateLimits: [{ limit: 1, window: "2 minutes" }] })
      assert.deepStrictEqual(
        limited.calls.map(({ after }) => after),
        ["allow", "deny", "allow", "deny"]
      )
      const budget = yield* replayed(calls, { budget: [{ name: "small", max: 9, window: "day" }] })
      assert.deepStrictEqual(
        budget.calls.map(({ after }) => after),
        ["allow", "allow", "deny", "deny"]
      )
      assert.match(budget.calls[2]?.why[0] ?? "", /budget: "small"/)
    })
  )

  it.effect("sees loops of a run that a model drove", () =>
    Effect.gen(function* () {
      const run = Run.make({ id: "r", driver: "model", actor: { kind: "model", id: "m" } })
      const calls = [remove(1), remove(1), remove(1), remove(2)]
      const { records } = yield* past(calls, { loops: { repeats: 9, pingPong: 9 } }, run)
      const replay = yield* Replay.run(records, { loops: { repeats: 2 } }, { tools })
      assert.deepStrictEqual(results(replay), ["same", "same", "changed", "same"])
    })
  )

  it.effect("cannot tell of who was forgotten, nor of a tool that is gone", () =>
    Effect.gen(function* () {
      const { audit } = yield* past([send("a"), remove(1)])
      yield* audit.forget({ principal: "ada", tenant: undefined }, { by: "op", why: "asked for it" })
      const records = yield* audit.query({})
      const rule = { name: "any", decide: () => Verdict.allow }
      const replay = yield* Replay.run(records, { policy: { deny: ["delete_*"] }, rules: [rule] }, { tools })
      assert.deepStrictEqual(results(replay), ["undecidable", "changed"])
      assert.isUndefined(replay.calls[0]?.principal)
      const gone = yield* Replay.run(records, {}, { tools: [] })
      assert.strictEqual(gone.undecidable, 2)
    })
  )
})
