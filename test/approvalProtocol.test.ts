/** Effect's approval protocol, made safe: whoever owns the conversation owns the answers in it. */
import { assert, describe, it } from "@effect/vitest"
import type * as Prompt from "effect/ai/Prompt"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import {
  ToolAnnotations as Annotate,
  CallRecord,
  Interlock,
  Principal,
  SecurityPolicy,
  ToolExecutor
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import {
  answered,
  type Call,
  forged,
  historyOf,
  type Part,
  questionsOf,
  type Result,
  resultOf,
  resultsOf,
  ways
} from "./support/conversation.ts"
import { doors } from "./support/doors.ts"

// --- The world -------------------------------------------------------------

const ada = Principal.make({ id: "ada", roles: ["admin"] })
const bob = Principal.make({ id: "bob", roles: ["admin"] })

const target = Schema.Struct({ target: Schema.String })
const tool = <const Name extends string>(name: Name, needsApproval?: Tool.NeedsApproval<typeof target>) =>
  Tool.make(name, {
    parameters: target,
    success: Schema.String,
    ...(needsApproval === undefined ? {} : { needsApproval })
  })

const toolkit = Toolkit.make(
  tool("delete_record").annotate(Annotate.Capabilities, ["write_data"]),
  tool("delete_file"),
  tool("pay").annotate(Annotate.Capabilities, ["financial"]),
  tool("harmless"),
  tool("always", true),
  tool("sometimes", ({ target }) => target === "secret"),
  tool("throws", () => {
    throw new Error("bug")
  }),
  tool("dies", () => Effect.die("bug")),
  Tool.make("login", {
    parameters: Schema.Struct({
      password: Schema.RedactedFromValue(Schema.String),
      at: Schema.optionalKey(Schema.DateFromString)
    }),
    success: Schema.String,
    needsApproval: true
  }),
  Tool.dynamic("raw", {
    parameters: {
      type: "object",
      properties: { target: { type: "string" } },
      required: ["target"],
      additionalProperties: false
    },
    success: Schema.String,
    needsApproval: true
  })
)

type Names = keyof typeof toolkit.tools

interface World {
  readonly tools: Testing.Scripted<typeof toolkit.tools>
  readonly services: Context.Context<Interlock.Services>
  readonly records: ReadonlyArray<CallRecord.CallRecord>
  /** One turn: a history with answers in it, then what the model calls. */
  readonly turn: (
    history: Prompt.Prompt,
    calls?: ReadonlyArray<Call>,
    guard?: Parameters<(typeof ways)[string]>[3]
  ) => Effect.Effect<ReadonlyArray<Part>, unknown>
  /** The model calls once; everything that a client then has. */
  readonly asked: (
    call: Call
  ) => Effect.Effect<{ readonly history: Prompt.Prompt; readonly question: string }, unknown>
}

const world = (
  way: string,
  options: Interlock.Options,
  body: (world: World) => Effect.Effect<void, unknown, Scope.Scope>
): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    const tools = Testing.scripted(
      toolkit,
      Object.fromEntries(Object.keys(toolkit.tools).map((name) => [name, Testing.succeed("ran")])) as Record<
        Names,
        Testing.Script
      >
    )
    const services = yield* Layer.build(Testing.layer(options))
    const records: Array<CallRecord.CallRecord> = []
    yield* Context.get(services, CallRecord.CallRecorder).add({ onEnd: (record) => records.push(record) })
    const executor = yield* Effect.provide(
      ToolExecutor.make(toolkit),
      Context.merge(services, yield* Layer.build(tools.layer))
    )
    const turn: World["turn"] = (history, calls = [], guard) =>
      (ways[way] as (typeof ways)[string])(executor as never, history, calls, guard)
    yield* body({
      tools,
      services,
      records,
      turn,
      asked: (call) =>
        Effect.map(turn(say, [call]), (parts) => {
          const question = questionsOf(parts).get(call.id)
          if (question === undefined) throw new Error(`nobody was asked: ${JSON.stringify(parts)}`)
          return { history: historyOf(parts), question }
        })
    })
  }).pipe(Effect.scoped, Principal.provide(ada))

const say = historyOf([])

const reasonOf = (result: Result): string => (result.encodedResult as { readonly reason: string }).reason

const refused = (parts: ReadonlyArray<Part>, id: string, code: string) => {
  const result = resultOf(parts, id)
  assert.isTrue(result.isFailure)
  assert.deepInclude(result.encodedResult, { type: "execution-denied" })
  assert.match(reasonOf(result), new RegExp(`^${code}: `))
}

const confirmDeletes: Interlock.Options = { policy: { requireConfirmation: ["delete_*"] } }
const call: Call = { id: "c1", name: "delete_record", params: { target: "x" } }

// --- The protocol ----------------------------------------------------------

for (const way of Object.keys(ways)) {
  describe(`in a conversation over ${way}`, () => {
    it.effect("a call that the policy wants confirmed is asked about, and nothing has run", () =>
      world(way, confirmDeletes, ({ records, tools, turn }) =>
        Effect.gen(function* () {
          const parts = yield* turn(say, [call, { id: "c2", name: "harmless", params: { target: "y" } }])
          assert.deepStrictEqual([...questionsOf(parts).keys()], ["c1"])
          assert.strictEqual(resultOf(parts, "c2").result, "ran")
          tools.assertRan("delete_record", 0)
          assert.deepStrictEqual(
            records.map((record) => record.tool),
            ["harmless"]
          )
        })
      )
    )

    it.effect("a confirmed call runs once, with the arguments that were asked about", () =>
      world(way, confirmDeletes, ({ asked, records, tools, turn }) =>
        Effect.gen(function* () {
          const { history, question } = yield* asked(call)
          const parts = yield* turn(answered(history, [[question, true]]))
          assert.strictEqual(resultOf(parts, "c1").result, "ran")
          assert.isFalse(resultOf(parts, "c1").isFailure)
          assert.deepStrictEqual(tools.runs("delete_record"), [
            { params: { target: "x" }, outcome: "succeeded" }
          ])
          assert.deepStrictEqual(
            records.map((record) => record.status),
            ["success"]
          )
        })
      )
    )

    it.effect("a denied call does not run", () =>
      world(way, confirmDeletes, ({ asked, tools, turn }) =>
        Effect.gen(function* () {
          const { history, question } = yield* asked(call)
          const parts = yield* turn(answered(history, [[question, false]]))
          assert.isTrue(resultOf(parts, "c1").isFailure)
          tools.assertRan("delete_record", 0)
        })
      )
    )

    it.effect("two approvals of one question run the call once", () =>
      world(way, confirmDeletes, ({ asked, tools, turn }) =>
        Effect.gen(function* () {
          const { history, question } = yield* asked(call)
          const twice = answered(history, [
            [question, true],
            [question, true]
          ])
          const results = resultsOf(yield* turn(twice))
          assert.strictEqual(results.filter((result) => !result.isFailure).length, 1)
          tools.assertRan("delete_record", 1)
          refused(yield* turn(answered(history, [[question, true]])), "c1", "PENDING_CONFIRMATION")
          tools.assertRan("delete_record", 1)
        })
      )
    )

    it.effect("a forged approval of a call that nobody was asked about does not run it, however often", () =>
      world(way, confirmDeletes, ({ tools, turn }) =>
        Effect.gen(function* () {
          for (let i = 0; i < 3; i++) {
            refused(yield* turn(answered(forged(call), [["forged", true]])), "c1", "PENDING_CONFIRMATION")
          }
          tools.assertRan("delete_record", 0)
        })
      )
    )

    it.effect("an approval does not carry over to other arguments, another tool or another call", () =>
      world(way, confirmDeletes, ({ asked, tools, turn }) =>
        Effect.gen(function* () {
          const { history, question } = yield* asked(call)
          const swapped: ReadonlyArray<Call> = [
            { ...call, params: { target: "y" } },
            { ...call, name: "delete_file" },
            { ...call, id: "c2" }
          ]
          for (const other of swapped) {
            const parts = yield* turn(answered(forged(other, question), [[question, true]]))
            refused(parts, other.id, "PENDING_CONFIRMATION")
          }
          tools.assertRan("delete_record", 0)
          tools.assertRan("delete_file", 0)
          // None of them has used the answer up.
          assert.isFalse(resultOf(yield* turn(answered(history, [[question, true]])), "c1").isFailure)
        })
      )
    )

    it.effect("an approval does not carry over to another principal, or tenant", () =>
      world(way, confirmDeletes, ({ asked, tools, turn }) =>
        Effect.gen(function* () {
          const { history, question } = yield* asked(call)
          const others = [bob, Principal.make({ ...ada, tenant: "acme" })]
          for (const other of others) {
            const parts = yield* Principal.provide(turn(answered(history, [[question, true]])), other)
            refused(parts, "c1", "PENDING_CONFIRMATION")
          }
          tools.assertRan("delete_record", 0)
        })
      )
    )

    it.effect("secrets that look alike are told apart", () =>
      world(way, {}, ({ asked, tools, turn }) =>
        Effect.gen(function* () {
          const login = (password: string): Call => ({
            id: "c1",
            name: "login",
            params: { password, at: "2026-01-01T00:00:00.000Z" }
          })
          const { history, question } = yield* asked(login("one"))
          const swapped = answered(forged(login("two"), question), [[question, true]])
          refused(yield* turn(swapped), "c1", "PENDING_CONFIRMATION")
          tools.assertRan("login", 0)
          yield* turn(answered(history, [[question, true]]))
          tools.assertRan("login", 1)
        })
      )
    )

    it.effect("an answer to a question that has expired does not run the call", () =>
      world(way, confirmDeletes, ({ asked, tools, turn }) =>
        Effect.gen(function* () {
          const { history, question } = yield* asked(call)
          yield* TestClock.adjust("15 minutes")
          refused(yield* turn(answered(history, [[question, true]])), "c1", "PENDING_CONFIRMATION")
          tools.assertRan("delete_record", 0)
        })
      )
    )

    it.effect("a permission revoked between question and answer wins", () =>
      world(way, confirmDeletes, ({ asked, records, tools, turn }) =>
        Effect.gen(function* () {
          const { history, question } = yield* asked(call)
          const demoted = Principal.make({ id: "ada", roles: ["read"] })
          const parts = yield* Principal.provide(turn(answered(history, [[question, true]])), demoted)
          refused(parts, "c1", "PERMISSION_DENIED")
          tools.assertRan("delete_record", 0)
          assert.strictEqual(records[0]?.status, "permission_denied")
        })
      )
    )

    it.effect("a policy tightened between question and answer wins", () =>
      world(way, confirmDeletes, ({ asked, services, tools, turn }) =>
        Effect.gen(function* () {
          const policy = Context.get(services, SecurityPolicy.SecurityPolicy)
          const first = yield* asked(call)
          yield* policy.set({ requireApproval: ["delete_*"] })
          refused(
            yield* turn(answered(first.history, [[first.question, true]])),
            "c1",
            "PENDING_CONFIRMATION"
          )
          yield* policy.set({ deny: ["delete_*"] })
          refused(yield* turn(answered(first.history, [[first.question, true]])), "c1", "POLICY_DENIED")
          tools.assertRan("delete_record", 0)
        })
      )
    )

    it.effect("what another person must approve is never approved in a conversation", () =>
      world(
        way,
        { policy: { requireConfirmation: ["pay"], requireApproval: ["delete_*"] } },
        ({ services, tools, turn }) =>
          Effect.gen(function* () {
            for (const name of ["pay", "delete_record"] as const) {
              const parts = yield* turn(say, [{ ...call, name }])
              assert.strictEqual(questionsOf(parts).size, 0)
              refused(parts, "c1", "PENDING_CONFIRMATION")
              assert.match(reasonOf(resultOf(parts, "c1")), /Another person must approve/)
              const claimed = answered(forged({ ...call, name }), [["forged", true]])
              refused(yield* turn(claimed), "c1", "PENDING_CONFIRMATION")
              tools.assertRan(name, 0)
            }
            // Nor by what was noted then, when a confirmation has become enough.
            yield* Context.get(services, SecurityPolicy.SecurityPolicy).set({
              requireConfirmation: ["delete_*"]
            })
            refused(yield* turn(answered(forged(call), [["forged", true]])), "c1", "PENDING_CONFIRMATION")
            tools.assertRan("delete_record", 0)
          })
      )
    )

    it.effect("nobody is asked about a call that is denied, invalid or over quota anyway", () =>
      world(
        way,
        {
          policy: {
            requireConfirmation: ["*"],
            deny: ["delete_file"],
            allowedDomains: ["example.com"],
            argumentLimits: { stringLength: 50 }
          },
          rateLimits: [{ limit: 1, window: "1 hour", tools: ["delete_record"] }]
        },
        ({ asked, turn }) =>
          Effect.gen(function* () {
            const cases: ReadonlyArray<readonly [Call, string]> = [
              [{ id: "a", name: "delete_file", params: { target: "x" } }, "POLICY_DENIED"],
              [{ id: "b", name: "harmless", params: { target: "https://evil.test/x" } }, "POLICY_DENIED"]
            ]
            for (const [denied, code] of cases) {
              const parts = yield* turn(say, [denied])
              assert.strictEqual(questionsOf(parts).size, 0, denied.name)
              refused(parts, denied.id, code)
            }
            const invalid = [{ target: 5 }, {}, { target: "x", other: 1 }, { target: "x".repeat(51) }]
            for (const params of invalid) {
              const parts = yield* turn(say, [{ id: "d", name: "raw", params }])
              assert.strictEqual(questionsOf(parts).size, 0, JSON.stringify(params))
              assert.include(
                JSON.stringify(resultOf(parts, "d").encodedResult),
                "ToolParameterValidationError"
              )
            }
            const first = yield* asked(call)
            yield* turn(answered(first.history, [[first.question, true]]))
            const parts = yield* turn(say, [{ ...call, id: "c2" }])
            assert.strictEqual(questionsOf(parts).size, 0)
            refused(parts, "c2", "RATE_LIMITED")
          })
      )
    )

    it.effect("a call is charged once in all: not when asked about, but when it runs", () =>
      world(
        way,
        { ...confirmDeletes, rateLimits: [{ limit: 2, window: "1 hour" }] },
        ({ asked, tools, turn }) =>
          Effect.gen(function* () {
            const { history, question } = yield* asked(call)
            yield* turn(answered(history, [[question, true]]))
            const other: Call = { id: "c2", name: "harmless", params: { target: "x" } }
            assert.isFalse(resultOf(yield* turn(say, [other]), "c2").isFailure)
            refused(yield* turn(say, [{ ...other, id: "c3" }]), "c3", "RATE_LIMITED")
            tools.assertRan("delete_record", 1)
            tools.assertRan("harmless", 1)
          })
      )
    )

    it.effect("with 20 questions undecided a call is refused, not asked about and not run", () =>
      world(way, confirmDeletes, ({ asked, tools, turn }) =>
        Effect.gen(function* () {
          const first = yield* asked({ ...call, id: "q0" })
          for (let i = 1; i < 20; i++) yield* asked({ ...call, id: `q${i}` })
          const parts = yield* turn(say, [{ ...call, id: "q20" }])
          assert.strictEqual(questionsOf(parts).size, 0)
          refused(parts, "q20", "RATE_LIMITED")
          assert.match(reasonOf(resultOf(parts, "q20")), /"undecided questions".*900 s/)
          refused(
            yield* turn(answered(forged({ ...call, id: "q20" }), [["forged", true]])),
            "q20",
            "RATE_LIMITED"
          )
          tools.assertRan("delete_record", 0)
          // An answer makes room; so does another principal's own count.
          yield* turn(answered(first.history, [[first.question, true]]))
          tools.assertRan("delete_record", 1)
          yield* asked({ ...call, id: "q21" })
          yield* Principal.provide(asked({ ...call, id: "q22" }), bob)
        })
      )
    )

    it.effect("the tool's own needsApproval is honoured, and what can't be told is asked", () =>
      world(way, {}, ({ asked, tools, turn }) =>
        Effect.gen(function* () {
          const secret = { target: "secret" }
          for (const name of ["always", "sometimes", "throws", "dies", "raw"] as const) {
            const { history, question } = yield* asked({ id: name, name, params: secret })
            tools.assertRan(name, 0)
            const parts = yield* turn(answered(history, [[question, true]]))
            assert.isFalse(resultOf(parts, name).isFailure, name)
            tools.assertRan(name, 1)
          }
          const parts = yield* turn(say, [{ id: "x", name: "sometimes", params: { target: "public" } }])
          assert.strictEqual(questionsOf(parts).size, 0)
          tools.assertRan("sometimes", 2)
        })
      )
    )

    it.effect("a denial of a call outweighs an approval of it, where the model is guarded", () =>
      world(way, confirmDeletes, ({ asked, tools, turn }) =>
        Effect.gen(function* () {
          const { history, question } = yield* asked(call)
          const other = yield* asked({ ...call, id: "c2" })
          const both = answered(history, [
            [question, true],
            [question, false]
          ])
          const parts = yield* turn(both, [], Interlock.guardModel)
          assert.isTrue(resultOf(parts, "c1").isFailure)
          tools.assertRan("delete_record", 0)
          // What is not contradicted is left as it is.
          yield* turn(answered(other.history, [[other.question, true]]), [], Interlock.guardModel)
          tools.assertRan("delete_record", 1)
        })
      )
    )
  })
}

describe("a tool's own needsApproval", () => {
  for (const door of doors) {
    it.effect(`is honoured at ${door.name}`, () =>
      Effect.gen(function* () {
        const tools = Testing.scripted(
          toolkit,
          Object.fromEntries(
            Object.keys(toolkit.tools).map((name) => [name, Testing.succeed("ran")])
          ) as Record<Names, Testing.Script>
        )
        const services = Context.merge(yield* Layer.build(Testing.layer()), yield* Layer.build(tools.layer))
        const call = yield* Effect.provide(door.open(toolkit as never), services)
        for (const name of ["always", "sometimes", "throws", "dies"] as const) {
          const seen = yield* call(name, { target: "secret" })
          assert.strictEqual(seen.code, "PENDING_CONFIRMATION", name)
          tools.assertRan(name, 0)
        }
        assert.isTrue((yield* call("sometimes", { target: "public" })).succeeded)
      }).pipe(Effect.scoped, Principal.provide(ada))
    )
  }
})
