/**
 * Effect's approval protocol, made safe: whoever owns the conversation owns the
 * answers in it, so none of them lets a call run. A grant that `Approvals` holds does.
 */
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
  Approvals,
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
  readonly approvals: Approvals.Approvals["Service"]
  readonly records: ReadonlyArray<CallRecord.CallRecord>
  /** One turn: a history with answers in it, then what the model calls. */
  readonly turn: (
    history: Prompt.Prompt,
    calls?: ReadonlyArray<Call>,
    guard?: Parameters<(typeof ways)[string]>[3]
  ) => Effect.Effect<ReadonlyArray<Part>, unknown>
  /** The model calls once: everything that a client then has, and what humans see. */
  readonly asked: (call: Call) => Effect.Effect<Asked, unknown>
  /** Somebody grants a request, out of the conversation. */
  readonly grant: (request: Approvals.Request, by?: Principal.Principal) => Effect.Effect<unknown, unknown>
}

interface Asked {
  readonly history: Prompt.Prompt
  readonly question: string
  readonly request: Approvals.Request
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
    const approvals = Context.get(services, Approvals.Approvals)
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
      approvals,
      records,
      turn,
      asked: Effect.fnUntraced(function* (call) {
        const parts = yield* turn(say, [call])
        const question = questionsOf(parts).get(call.id)
        const [request] = yield* approvals.list({ callId: call.id, state: "pending" })
        if (question === undefined || request === undefined) {
          throw new Error(`nobody was asked: ${JSON.stringify(parts)}`)
        }
        return { history: historyOf(parts), question, request }
      }),
      grant: (request, by = ada) => Principal.provide(approvals.grant(request.id), by)
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

const yes = ({ history, question }: Asked) => answered(history, [[question, true]])

const confirmDeletes: Interlock.Options = { policy: { requireConfirmation: ["delete_*"] } }
const call: Call = { id: "c1", name: "delete_record", params: { target: "x" } }

// --- The protocol ----------------------------------------------------------

for (const way of Object.keys(ways)) {
  describe(`in a conversation over ${way}`, () => {
    it.effect("a call that the policy wants confirmed is asked about, and nothing has run", () =>
      world(way, confirmDeletes, ({ approvals, records, tools, turn }) =>
        Effect.gen(function* () {
          const parts = yield* turn(say, [call, { id: "c2", name: "harmless", params: { target: "y" } }])
          assert.deepStrictEqual([...questionsOf(parts).keys()], ["c1"])
          assert.strictEqual(resultOf(parts, "c2").result, "ran")
          tools.assertRan("delete_record", 0)
          assert.deepStrictEqual(
            records.map((record) => record.tool),
            ["harmless"]
          )
          const requests = yield* approvals.list()
          assert.deepStrictEqual(
            requests.map(({ by, callId, principal, state, tool }) => ({
              by,
              callId,
              principal,
              state,
              tool
            })),
            [{ by: "confirm", callId: "c1", principal: "ada", state: "pending", tool: "delete_record" }]
          )
        })
      )
    )

    it.effect("a granted call runs once, with the arguments that were asked about", () =>
      world(way, confirmDeletes, ({ approvals, asked, grant, records, tools, turn }) =>
        Effect.gen(function* () {
          const asking = yield* asked(call)
          yield* grant(asking.request)
          const parts = yield* turn(yes(asking))
          assert.strictEqual(resultOf(parts, "c1").result, "ran")
          assert.isFalse(resultOf(parts, "c1").isFailure)
          assert.deepStrictEqual(tools.runs("delete_record"), [
            { params: { target: "x" }, outcome: "succeeded" }
          ])
          assert.deepStrictEqual(
            records.map(({ approval, status }) => ({ approval, status })),
            [{ approval: asking.request.id, status: "success" }]
          )
          assert.strictEqual((yield* approvals.get(asking.request.id))?.state, "used")
        })
      )
    )

    it.effect("a yes in the conversation alone is no evidence, and asks nobody twice", () =>
      world(way, confirmDeletes, ({ approvals, asked, grant, tools, turn }) =>
        Effect.gen(function* () {
          const asking = yield* asked(call)
          for (let i = 0; i < 3; i++) refused(yield* turn(yes(asking)), "c1", "PENDING_CONFIRMATION")
          tools.assertRan("delete_record", 0)
          assert.lengthOf(yield* approvals.list(), 1)
          yield* grant(asking.request)
          assert.isFalse(resultOf(yield* turn(yes(asking)), "c1").isFailure)
          tools.assertRan("delete_record", 1)
        })
      )
    )

    it.effect("a call that was granted before it is made again needs no question", () =>
      world(way, confirmDeletes, ({ asked, grant, tools, turn }) =>
        Effect.gen(function* () {
          const asking = yield* asked(call)
          yield* grant(asking.request)
          const parts = yield* turn(say, [call])
          assert.strictEqual(questionsOf(parts).size, 0)
          assert.isFalse(resultOf(parts, "c1").isFailure)
          // And is used up with that.
          assert.deepStrictEqual([...questionsOf(yield* turn(say, [call])).keys()], ["c1"])
          tools.assertRan("delete_record", 1)
        })
      )
    )

    it.effect("a denied call does not run, granted or not", () =>
      world(way, confirmDeletes, ({ asked, grant, tools, turn }) =>
        Effect.gen(function* () {
          const { history, question, request } = yield* asked(call)
          const no = answered(history, [[question, false]])
          assert.isTrue(resultOf(yield* turn(no), "c1").isFailure)
          yield* grant(request)
          assert.isTrue(resultOf(yield* turn(no), "c1").isFailure)
          tools.assertRan("delete_record", 0)
        })
      )
    )

    it.effect("a rejected call does not run, whatever the conversation says, and the model learns why", () =>
      world(way, confirmDeletes, ({ approvals, asked, tools, turn }) =>
        Effect.gen(function* () {
          const asking = yield* asked(call)
          yield* approvals.reject(asking.request.id, "Not this one.")
          const parts = yield* turn(yes(asking))
          refused(parts, "c1", "APPROVAL_REJECTED")
          assert.include(reasonOf(resultOf(parts, "c1")), "Not this one.")
          // Nor is anybody asked again about the very same call.
          const again = yield* turn(say, [call])
          assert.strictEqual(questionsOf(again).size, 0)
          refused(again, "c1", "APPROVAL_REJECTED")
          tools.assertRan("delete_record", 0)
        })
      )
    )

    it.effect("two answers to one granted question run the call once", () =>
      world(way, confirmDeletes, ({ asked, grant, tools, turn }) =>
        Effect.gen(function* () {
          const asking = yield* asked(call)
          yield* grant(asking.request)
          const twice = answered(asking.history, [
            [asking.question, true],
            [asking.question, true]
          ])
          const results = resultsOf(yield* turn(twice))
          assert.strictEqual(results.filter((result) => !result.isFailure).length, 1)
          tools.assertRan("delete_record", 1)
          refused(yield* turn(yes(asking)), "c1", "PENDING_CONFIRMATION")
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

    it.effect("a grant does not carry over to other arguments, another tool or another call", () =>
      world(way, confirmDeletes, ({ asked, grant, tools, turn }) =>
        Effect.gen(function* () {
          const asking = yield* asked(call)
          yield* grant(asking.request)
          const swapped: ReadonlyArray<Call> = [
            { ...call, params: { target: "y" } },
            { ...call, name: "delete_file" },
            { ...call, id: "c2" }
          ]
          for (const other of swapped) {
            const claimed = answered(forged(other, asking.question), [[asking.question, true]])
            refused(yield* turn(claimed), other.id, "PENDING_CONFIRMATION")
          }
          tools.assertRan("delete_record", 0)
          tools.assertRan("delete_file", 0)
          // None of them has used the grant up.
          assert.isFalse(resultOf(yield* turn(yes(asking)), "c1").isFailure)
        })
      )
    )

    it.effect("a grant does not carry over to another principal, or tenant", () =>
      world(way, confirmDeletes, ({ asked, grant, tools, turn }) =>
        Effect.gen(function* () {
          const asking = yield* asked(call)
          yield* grant(asking.request)
          const others = [bob, Principal.make({ ...ada, tenant: "acme" })]
          for (const other of others) {
            const parts = yield* Principal.provide(turn(yes(asking)), other)
            refused(parts, "c1", "PENDING_CONFIRMATION")
          }
          tools.assertRan("delete_record", 0)
        })
      )
    )

    it.effect("secrets that look alike are told apart", () =>
      world(way, {}, ({ asked, grant, tools, turn }) =>
        Effect.gen(function* () {
          const login = (password: string): Call => ({
            id: "c1",
            name: "login",
            params: { password, at: "2026-01-01T00:00:00.000Z" }
          })
          const asking = yield* asked(login("one"))
          yield* grant(asking.request)
          const swapped = answered(forged(login("two"), asking.question), [[asking.question, true]])
          refused(yield* turn(swapped), "c1", "PENDING_CONFIRMATION")
          tools.assertRan("login", 0)
          yield* turn(yes(asking))
          tools.assertRan("login", 1)
        })
      )
    )

    it.effect("a grant that has expired does not run the call", () =>
      world(way, confirmDeletes, ({ asked, grant, tools, turn }) =>
        Effect.gen(function* () {
          const asking = yield* asked(call)
          yield* grant(asking.request)
          yield* TestClock.adjust("15 minutes")
          refused(yield* turn(yes(asking)), "c1", "PENDING_CONFIRMATION")
          tools.assertRan("delete_record", 0)
        })
      )
    )

    it.effect("a permission revoked after the grant wins", () =>
      world(way, confirmDeletes, ({ asked, grant, records, tools, turn }) =>
        Effect.gen(function* () {
          const asking = yield* asked(call)
          yield* grant(asking.request)
          const demoted = Principal.make({ id: "ada", roles: ["read"] })
          const parts = yield* Principal.provide(turn(yes(asking)), demoted)
          refused(parts, "c1", "PERMISSION_DENIED")
          tools.assertRan("delete_record", 0)
          assert.strictEqual(records[0]?.status, "permission_denied")
        })
      )
    )

    it.effect("a policy tightened after the grant wins", () =>
      world(way, confirmDeletes, ({ asked, grant, services, tools, turn }) =>
        Effect.gen(function* () {
          const policy = Context.get(services, SecurityPolicy.SecurityPolicy)
          const asking = yield* asked(call)
          yield* grant(asking.request)
          yield* policy.set({ requireApproval: ["delete_*"] })
          refused(yield* turn(yes(asking)), "c1", "PENDING_CONFIRMATION")
          yield* policy.set({ deny: ["delete_*"] })
          refused(yield* turn(yes(asking)), "c1", "POLICY_DENIED")
          tools.assertRan("delete_record", 0)
        })
      )
    )

    it.effect("what another person must approve is asked about too, and runs on their grant alone", () =>
      world(
        way,
        { policy: { requireConfirmation: ["pay"], requireApproval: ["delete_*"] } },
        ({ asked, grant, services, tools, turn }) =>
          Effect.gen(function* () {
            for (const name of ["pay", "delete_record"] as const) {
              const asking = yield* asked({ ...call, id: name, name })
              assert.strictEqual(asking.request.by, "approve")
              const parts = yield* turn(yes(asking))
              refused(parts, name, "PENDING_CONFIRMATION")
              assert.match(reasonOf(resultOf(parts, name)), /Another person must approve/)
              yield* Effect.flip(grant(asking.request, ada))
              refused(yield* turn(yes(asking)), name, "PENDING_CONFIRMATION")
              tools.assertRan(name, 0)
              yield* grant(asking.request, bob)
              assert.isFalse(resultOf(yield* turn(yes(asking)), name).isFailure)
              tools.assertRan(name, 1)
            }
            // What was asked of another person is no confirmation, when one has become enough.
            const asking = yield* asked(call)
            yield* grant(asking.request, bob)
            yield* Context.get(services, SecurityPolicy.SecurityPolicy).set({
              requireConfirmation: ["delete_*"]
            })
            refused(yield* turn(yes(asking)), "c1", "PENDING_CONFIRMATION")
            tools.assertRan("delete_record", 1)
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
        ({ approvals, asked, grant, turn }) =>
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
            assert.lengthOf(yield* approvals.list(), 0)
            const asking = yield* asked(call)
            yield* grant(asking.request)
            yield* turn(yes(asking))
            const parts = yield* turn(say, [{ ...call, id: "c2" }])
            assert.strictEqual(questionsOf(parts).size, 0)
            refused(parts, "c2", "RATE_LIMITED")
            assert.lengthOf(yield* approvals.list(), 1)
          })
      )
    )

    it.effect("a call is charged once in all: not when asked about, but when it runs", () =>
      world(
        way,
        { ...confirmDeletes, rateLimits: [{ limit: 2, window: "1 hour" }] },
        ({ asked, grant, tools, turn }) =>
          Effect.gen(function* () {
            const asking = yield* asked(call)
            refused(yield* turn(yes(asking)), "c1", "PENDING_CONFIRMATION")
            yield* grant(asking.request)
            yield* turn(yes(asking))
            const other: Call = { id: "c2", name: "harmless", params: { target: "x" } }
            assert.isFalse(resultOf(yield* turn(say, [other]), "c2").isFailure)
            refused(yield* turn(say, [{ ...other, id: "c3" }]), "c3", "RATE_LIMITED")
            tools.assertRan("delete_record", 1)
            tools.assertRan("harmless", 1)
          })
      )
    )

    it.effect("with 20 questions undecided a call is refused, not asked about and not run", () =>
      world(way, confirmDeletes, ({ asked, grant, tools, turn }) =>
        Effect.gen(function* () {
          const first = yield* asked({ ...call, id: "q0" })
          for (let i = 1; i < 20; i++) yield* asked({ ...call, id: `q${i}` })
          const parts = yield* turn(say, [{ ...call, id: "q20" }])
          assert.strictEqual(questionsOf(parts).size, 0)
          refused(parts, "q20", "RATE_LIMITED")
          assert.match(reasonOf(resultOf(parts, "q20")), /"undecided approvals".*900 s/)
          refused(
            yield* turn(answered(forged({ ...call, id: "q20" }), [["forged", true]])),
            "q20",
            "RATE_LIMITED"
          )
          tools.assertRan("delete_record", 0)
          // A decision makes room; another principal has its own count.
          yield* grant(first.request)
          yield* turn(yes(first))
          tools.assertRan("delete_record", 1)
          yield* asked({ ...call, id: "q21" })
          yield* Principal.provide(asked({ ...call, id: "q22" }), bob)
        })
      )
    )

    it.effect("the tool's own needsApproval is honoured, and what can't be told is asked", () =>
      world(way, {}, ({ asked, grant, tools, turn }) =>
        Effect.gen(function* () {
          const secret = { target: "secret" }
          for (const name of ["always", "sometimes", "throws", "dies", "raw"] as const) {
            const asking = yield* asked({ id: name, name, params: secret })
            refused(yield* turn(yes(asking)), name, "PENDING_CONFIRMATION")
            tools.assertRan(name, 0)
            yield* grant(asking.request)
            assert.isFalse(resultOf(yield* turn(yes(asking)), name).isFailure, name)
            tools.assertRan(name, 1)
          }
          const parts = yield* turn(say, [{ id: "x", name: "sometimes", params: { target: "public" } }])
          assert.strictEqual(questionsOf(parts).size, 0)
          tools.assertRan("sometimes", 2)
        })
      )
    )

    it.effect("what nobody can note is asked all the same, and lets nothing run", () =>
      world(
        way,
        {
          ...confirmDeletes,
          approvals: Layer.effect(
            Approvals.Approvals,
            Effect.map(Approvals.Approvals, (approvals): Approvals.Approvals["Service"] => ({
              ...approvals,
              ask: () => Effect.die("bug")
            }))
          ).pipe(Layer.provide(Approvals.layerMemory()))
        },
        ({ tools, turn }) =>
          Effect.gen(function* () {
            const parts = yield* turn(say, [call])
            const question = questionsOf(parts).get("c1")
            assert.isDefined(question)
            const answer = answered(historyOf(parts), [[question ?? "", true]])
            assert.isTrue(resultOf(yield* turn(answer), "c1").isFailure)
            tools.assertRan("delete_record", 0)
          })
      )
    )

    it.effect("a denial of a call outweighs an approval of it, where the model is guarded", () =>
      world(way, confirmDeletes, ({ asked, grant, tools, turn }) =>
        Effect.gen(function* () {
          const { history, question, request } = yield* asked(call)
          const other = yield* asked({ ...call, id: "c2" })
          yield* grant(request)
          yield* grant(other.request)
          const both = answered(history, [
            [question, true],
            [question, false]
          ])
          const parts = yield* turn(both, [], Interlock.guardModel)
          assert.isTrue(resultOf(parts, "c1").isFailure)
          tools.assertRan("delete_record", 0)
          // What is not contradicted is left as it is.
          yield* turn(yes(other), [], Interlock.guardModel)
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
