/** Calls that wait for their human: what they hold meanwhile, what ends their wait, and what is decided after it. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import {
  ToolAnnotations as Annotate,
  Approvals,
  AuditLog,
  Batch,
  Budget,
  CallRecord,
  Health,
  Idempotency,
  type Interlock,
  KillSwitch,
  Permissions,
  Principal,
  Run,
  SecurityPolicy,
  type ToolCall,
  ToolExecutor,
  type ToolResult
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import * as fc from "fast-check"
import * as SqlApprovals from "../src/sql/SqlApprovals.ts"
import * as Sqlite from "../src/sql/Sqlite.ts"
import { held, nothingHeld, pass, settled, started } from "./support/world.ts"

// --- The world -------------------------------------------------------------

const ada = Principal.make({ id: "ada", roles: ["admin"] })
const bob = Principal.make({ id: "bob", roles: ["admin"] })
const carol = Principal.make({ id: "carol", roles: ["admin"] })

const parameters = Schema.Struct({ n: Schema.Int })
const tool = <const Name extends string>(name: Name) =>
  Tool.make(name, { parameters, success: Schema.Int }).annotate(Annotate.Retries, 0)

const toolkit = Toolkit.make(
  tool("pay").annotate(Annotate.Capabilities, ["write_data"]).annotate(Annotate.Cost, 5),
  tool("transfer").annotate(Annotate.Capabilities, ["financial"]),
  tool("look"),
  tool("forbidden"),
  tool("again").annotate(Annotate.AfterCrash, "ask"),
  // Takes 10 seconds.
  tool("slow"),
  Tool.make("thinks", {
    parameters,
    success: Schema.Int,
    needsApproval: () => Effect.delay(Effect.succeed(true), "4 seconds")
  })
)
type Name = keyof typeof toolkit.tools
const names = Object.keys(toolkit.tools) as ReadonlyArray<Name>

const policy: SecurityPolicy.Policy = {
  requireConfirmation: ["pay", "transfer", "slow"],
  deny: ["forbidden"]
}

const opened = (options: Interlock.Options = {}) =>
  Effect.flatMap(Layer.build(Testing.layer({ policy, ...options })), over)

/** An executor over services, with handlers of its own. */
const over = Effect.fnUntraced(function* (services: Context.Context<Interlock.Services>) {
  const script: Testing.Script = (_, params) => Testing.succeed((params as { readonly n: number }).n)
  const late: Testing.Script = (_, params) =>
    Testing.succeed((params as { readonly n: number }).n, "10 seconds")
  const tools = Testing.scripted(
    toolkit,
    Object.fromEntries(names.map((name) => [name, name === "slow" ? late : script])) as Record<
      Name,
      Testing.Script
    >
  )
  const records: Array<CallRecord.CallRecord> = []
  yield* Context.get(services, CallRecord.CallRecorder).add({ onEnd: (record) => records.push(record) })
  const handlers = yield* Layer.build(tools.layer)
  const executor = yield* Effect.provide(ToolExecutor.make(toolkit), Context.merge(services, handlers))
  const approvals = Context.get(services, Approvals.Approvals)
  const execute = (call: Partial<ToolCall>) =>
    Principal.provide(
      executor.execute({ id: "c1", tool: "pay", params: { n: 1 }, ...call }) as Effect.Effect<ToolResult>,
      ada
    )
  const waiting = (call: Partial<ToolCall> = {}) => started(Approvals.wait(execute(call)))
  const requestOf = Effect.fnUntraced(function* (callId = "c1") {
    const [request] = yield* approvals.list({ callId, state: "pending" })
    return request?.id ?? assert.fail(`nobody was asked about ${callId}`)
  })
  return {
    approvals,
    execute,
    executor,
    records,
    services,
    tools,
    /** A call that waits for its human, by now. */
    waiting,
    requestOf,
    grant: Effect.fnUntraced(function* (callId = "c1", by = ada) {
      const { token } = yield* Principal.provide(approvals.grant(yield* requestOf(callId)), by)
      yield* settled
      return token
    }),
    batch: (calls: ReadonlyArray<Partial<ToolCall>>, options?: Batch.Options) =>
      started(
        Principal.provide(
          Approvals.wait(
            Batch.parallel(
              executor,
              calls.map((call, n) => ({ id: `c${n}`, tool: "pay", params: { n }, ...call })),
              options
            ) as Effect.Effect<Batch.BatchResult>
          ),
          ada
        )
      )
  }
})

const statuses = ({ results }: Batch.BatchResult) => results.map(({ status }) => status)

const ended = (fiber: Fiber.Fiber<unknown, unknown>): boolean => fiber.pollUnsafe() !== undefined

// --- Waiting ---------------------------------------------------------------

describe("a call that waits", () => {
  it.effect("goes on when it is granted, and not before", () =>
    Effect.gen(function* () {
      const { approvals, grant, records, tools, waiting } = yield* opened()
      const fiber = yield* waiting()
      yield* pass("5 minutes")
      assert.isFalse(ended(fiber))
      tools.assertRan("pay", 0)
      yield* grant()
      const result = yield* Fiber.join(fiber)
      assert.deepInclude(result, { status: "success", value: 1, attempts: 1, latency: 300_000 })
      const [request] = yield* approvals.list()
      assert.strictEqual(request?.state, "used")
      assert.deepStrictEqual(
        records.map(({ approval, status }) => ({ approval, status })),
        [{ approval: request?.id, status: "success" }]
      )
    })
  )

  it.effect("ends when it is rejected, with what its human said", () =>
    Effect.gen(function* () {
      const { approvals, requestOf, tools, waiting } = yield* opened()
      const fiber = yield* waiting()
      yield* Principal.provide(approvals.reject(yield* requestOf(), "too much"), ada)
      const { error, status } = yield* Fiber.join(fiber)
      assert.strictEqual(status, "rejected")
      assert.deepInclude(error?.reason, { _tag: "ApprovalRejected", message: "too much" })
      tools.assertRan("pay", 0)
    })
  )

  it.effect("waits at every door where Effect code calls", () =>
    Effect.gen(function* () {
      const { executor, grant, tools } = yield* opened()
      const run = yield* started(
        Principal.provide(
          Approvals.wait(executor.run("pay", { n: 7 }, { id: "c1" }) as Effect.Effect<number, unknown>),
          ada
        )
      )
      yield* grant()
      assert.strictEqual(yield* Fiber.join(run), 7)
      const handled = yield* started(
        Principal.provide(
          Approvals.wait(
            Effect.flatMap(executor.toolkit, ({ handle }) =>
              Stream.runCollect(Stream.unwrap(handle("pay", { n: 8 }, "c2")))
            ) as Effect.Effect<ReadonlyArray<Tool.HandlerResult<Tool.Any>>, unknown>
          ),
          ada
        )
      )
      yield* grant("c2")
      assert.deepStrictEqual(
        (yield* Fiber.join(handled)).map(({ encodedResult }) => encodedResult),
        [8]
      )
      tools.assertRan("pay", 2)
    })
  )

  it.effect("does not wait where nobody need be asked, or may be asked any more", () =>
    Effect.gen(function* () {
      const { execute, requestOf, waiting } = yield* opened({ approvals: { maxUndecided: 1 } })
      assert.strictEqual((yield* Approvals.wait(execute({ tool: "look" }))).status, "success")
      assert.strictEqual((yield* Approvals.wait(execute({ tool: "forbidden" }))).status, "policy_denied")
      const fiber = yield* waiting()
      assert.strictEqual((yield* Approvals.wait(execute({ id: "c2" }))).status, "rate_limited")
      yield* requestOf()
      yield* Fiber.interrupt(fiber)
    })
  )
})

describe("a call that waits holds", () => {
  it.effect("no slot", () =>
    Effect.gen(function* () {
      const { execute, grant, services, waiting } = yield* opened({ bulkhead: { maxConcurrent: 1 } })
      const fiber = yield* waiting()
      assert.strictEqual((yield* held(services)).slots, 0)
      assert.strictEqual((yield* execute({ id: "c2", tool: "look" })).status, "success")
      yield* grant()
      assert.strictEqual((yield* Fiber.join(fiber)).status, "success")
      assert.deepStrictEqual(yield* held(services), nothingHeld)
    })
  )

  it.effect("no quota: it is charged once, when it goes on", () =>
    Effect.gen(function* () {
      const { execute, grant, waiting } = yield* opened({ rateLimits: [{ limit: 2, window: "1 hour" }] })
      const fiber = yield* waiting()
      assert.strictEqual((yield* execute({ id: "c2", tool: "look" })).status, "success")
      yield* grant()
      assert.strictEqual((yield* Fiber.join(fiber)).status, "success")
      assert.strictEqual((yield* execute({ id: "c3", tool: "look" })).status, "rate_limited")
    })
  )

  it.effect("no money: it is reserved when it goes on", () =>
    Effect.gen(function* () {
      const { grant, services, waiting } = yield* opened({ budget: [{ name: "all", max: 5 }] })
      const standing = Context.get(services, Budget.Budget).standing
      const fiber = yield* waiting()
      const other = yield* waiting({ id: "c2" })
      const used = Effect.map(standing, (limits) =>
        limits.map(({ reserved, settled }) => ({ reserved, settled }))
      )
      assert.deepStrictEqual(yield* used, [{ reserved: 0, settled: 0 }])
      yield* grant("c2")
      assert.strictEqual((yield* Fiber.join(other)).status, "success")
      yield* grant()
      assert.strictEqual((yield* Fiber.join(fiber)).status, "budget_exceeded")
      assert.deepStrictEqual(yield* used, [{ reserved: 0, settled: 5 }])
    })
  )

  it.effect("no idempotency key: a repetition may be decided first, and then answers for both", () =>
    Effect.gen(function* () {
      const { grant, tools, waiting } = yield* opened()
      const first = yield* waiting({ idempotencyKey: "k" })
      const second = yield* waiting({ id: "c2", idempotencyKey: "k" })
      // Longer than any lease of a call without a deadline.
      yield* pass("14 minutes")
      yield* grant("c2")
      assert.deepInclude(yield* Fiber.join(second), { status: "success", value: 1, attempts: 1 })
      yield* grant()
      assert.deepInclude(yield* Fiber.join(first), { status: "success", value: 1, attempts: 0 })
      tools.assertRan("pay", 1)
    })
  )

  it.effect("no place in its batch: with one call at a time the next one runs", () =>
    Effect.gen(function* () {
      const { batch, grant, tools } = yield* opened()
      const fiber = yield* batch([{}, { tool: "look" }, {}, { tool: "look" }], { concurrency: 1 })
      tools.assertRan("look", 2)
      yield* grant("c2")
      tools.assertRan("pay", 1)
      yield* grant("c0")
      assert.deepStrictEqual(
        (yield* Fiber.join(fiber)).results.map(({ value }) => value),
        [0, 1, 2, 3]
      )
    })
  )

  it.effect("its place in a stream of calls, which bounds what is in flight", () =>
    Effect.gen(function* () {
      const { executor, grant, tools } = yield* opened()
      const calls = ["pay", "look", "look", "look"].map((tool, n) => ({ id: `c${n}`, tool, params: { n } }))
      const results = Batch.stream(executor, Stream.fromIterable(calls), { concurrency: 2 })
      const fiber = yield* started(
        Principal.provide(
          Approvals.wait(Stream.runCollect(results) as Effect.Effect<ReadonlyArray<ToolResult>>),
          ada
        )
      )
      tools.assertRan("look", 1)
      yield* grant("c0")
      assert.deepStrictEqual(
        (yield* Fiber.join(fiber)).map(({ value }) => value),
        [0, 1, 2, 3]
      )
    })
  )
})

// --- Many at once ----------------------------------------------------------

describe("several calls that wait in one batch", () => {
  it.effect("each go on with their own arguments on their own grant, in whatever order", () =>
    Effect.gen(function* () {
      const { approvals, batch, grant, records, tools } = yield* opened()
      const fiber = yield* batch([{}, {}, {}, { tool: "look" }])
      for (const id of ["c2", "c0", "c1"]) {
        const before = tools.runs("pay").length
        yield* grant(id)
        tools.assertRan("pay", before + 1)
      }
      const { results } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        results.map(({ callId, value }) => [callId, value]),
        [
          ["c0", 0],
          ["c1", 1],
          ["c2", 2],
          ["c3", 3]
        ]
      )
      for (const request of yield* approvals.list()) {
        const record = records.find(({ callId }) => callId === request.callId)
        assert.strictEqual(record?.approval, request.id)
      }
    })
  )

  it.effect("are not touched by what is rejected, expires or is taken back beside them", () =>
    Effect.gen(function* () {
      const { approvals, batch, grant, requestOf, tools } = yield* opened()
      const fiber = yield* batch([{}, {}, {}, {}])
      yield* Principal.provide(approvals.reject(yield* requestOf("c1")), ada)
      yield* Principal.provide(approvals.revoke(yield* requestOf("c2")), ada)
      yield* settled
      assert.isFalse(ended(fiber))
      yield* grant("c0")
      yield* pass("15 minutes")
      assert.deepStrictEqual(statuses(yield* Fiber.join(fiber)), [
        "success",
        "rejected",
        "rejected",
        "rejected"
      ])
      tools.assertRan("pay", 1)
    })
  )

  it.effect("never run more at once than their batch allows, whoever is decided when", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(fc.constantFrom<Name>("slow", "look", "pay"), { minLength: 1, maxLength: 8 }),
          fc.integer({ min: 1, max: 3 }),
          fc.array(fc.tuple(fc.nat(7), fc.constantFrom("grant", "reject"), fc.constantFrom(0, 4000, 10_000))),
          (calls, concurrency, decisions) =>
            Effect.gen(function* () {
              const { approvals, batch, records, services, tools } = yield* opened()
              const fiber = yield* batch(
                calls.map((tool) => ({ tool })),
                { concurrency }
              )
              const running = () =>
                names.flatMap((name) => tools.runs(name)).filter(({ outcome }) => outcome === "running")
                  .length
              const decide = Effect.fnUntraced(function* (n: number, decision: string) {
                const [request] = yield* approvals.list({ callId: `c${n}`, state: "pending" })
                if (request === undefined) return
                const decided: Effect.Effect<unknown, unknown> =
                  decision === "grant" ? approvals.grant(request.id) : approvals.reject(request.id)
                yield* Principal.provide(decided, ada)
              })
              for (const [n, decision, then] of decisions) {
                yield* decide(n, decision)
                yield* settled
                assert.isAtMost(running(), concurrency)
                yield* pass(then)
                assert.isAtMost(running(), concurrency)
              }
              // Whoever is left is granted, until all have ended.
              for (let i = 0; i < 20 && !ended(fiber); i++) {
                for (let n = 0; n < calls.length; n++) yield* decide(n, "grant")
                yield* settled
                assert.isAtMost(running(), concurrency)
                yield* pass("10 seconds")
              }
              const { results } = yield* Fiber.join(fiber)
              for (const [n, { status, value }] of results.entries()) {
                assert.include(["success", "rejected"], status)
                if (status === "success") assert.strictEqual(value, n)
              }
              assert.lengthOf(records, calls.length)
              assert.deepStrictEqual(yield* held(services), nothingHeld)
            }).pipe(Effect.scoped, Effect.provide(TestClock.layer()), Effect.runPromise)
        ),
        { numRuns: 60 }
      )
    )
  )
})

// --- What ends a wait ------------------------------------------------------

describe("a wait is ended", () => {
  it.effect("by a kill switch, with its reason", () =>
    Effect.gen(function* () {
      const targets: ReadonlyArray<KillSwitch.Target> = [
        { scope: "all" },
        { scope: "tool", tool: "p*" },
        { scope: "principal", principal: "ada" }
      ]
      for (const target of targets) {
        const { services, tools, waiting } = yield* opened()
        const killSwitch = Context.get(services, KillSwitch.KillSwitch)
        const fiber = yield* waiting()
        assert.strictEqual((yield* held(services)).killable, 1)
        yield* killSwitch.stop(target, { by: "eve", why: "a drill" })
        const { error, status } = yield* Fiber.join(fiber)
        assert.strictEqual(status, "killed")
        assert.deepInclude(error?.reason, { _tag: "Killed", why: "a drill" })
        tools.assertRan("pay", 0)
        assert.deepStrictEqual(yield* held(services), nothingHeld)
      }
    })
  )

  it.effect("by no stop that drains; but then its grant lets nothing new begin", () =>
    Effect.gen(function* () {
      const { grant, services, tools, waiting } = yield* opened()
      const fiber = yield* waiting()
      yield* Context.get(services, KillSwitch.KillSwitch).stop(
        { scope: "all" },
        { by: "eve", why: "a drill", inFlight: "drain" }
      )
      yield* settled
      assert.isFalse(ended(fiber))
      yield* grant()
      assert.strictEqual((yield* Fiber.join(fiber)).status, "killed")
      tools.assertRan("pay", 0)
    })
  )

  it.effect("by an interruption, which leaves the question as it is", () =>
    Effect.gen(function* () {
      const { execute, grant, records, services, tools, waiting } = yield* opened()
      const fiber = yield* waiting()
      yield* Fiber.interrupt(fiber)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
      assert.deepStrictEqual(
        records.map(({ status }) => status),
        ["cancelled"]
      )
      assert.deepStrictEqual(yield* held(services), nothingHeld)
      yield* grant()
      assert.strictEqual((yield* execute({})).status, "success")
      tools.assertRan("pay", 1)
    })
  )

  it.effect("by the interruption of its batch, which ends after all of them", () =>
    Effect.gen(function* () {
      // A log that takes its time: no call has ended before it is written down.
      const slowly = Layer.effect(
        AuditLog.AuditLog,
        Effect.map(AuditLog.AuditLog, (log): AuditLog.AuditLog["Service"] => ({
          ...log,
          outcome: (record, encoded, now) => Effect.delay(log.outcome(record, encoded, now), "1 second")
        }))
      ).pipe(Layer.provide(AuditLog.layerMemory()))
      // And a store that has to finish what it does.
      const busily = Layer.effect(
        Approvals.Approvals,
        Effect.map(Approvals.Approvals, (approvals): Approvals.Approvals["Service"] => ({
          ...approvals,
          decided: (id) => Effect.ensuring(approvals.decided(id), Effect.sleep("1 second"))
        }))
      ).pipe(Layer.provide(Approvals.layerMemory()))
      for (const concurrency of [1, 2, 5]) {
        const { batch, records, services, tools } = yield* opened({ approvals: busily, audit: slowly })
        const fiber = yield* batch([{}, { tool: "slow" }, {}, {}], { concurrency })
        const interrupting = yield* started(Fiber.interrupt(fiber))
        assert.isFalse(ended(interrupting))
        yield* pass("1 second")
        assert.isFalse(ended(interrupting))
        assert.lengthOf(records, 0)
        yield* pass("1 second")
        yield* Fiber.join(interrupting)
        assert.deepStrictEqual(yield* held(services), nothingHeld)
        assert.deepStrictEqual(
          records.map(({ status }) => status),
          Array.from({ length: 4 }, () => "cancelled")
        )
        tools.assertRan("slow", 0)
      }
    })
  )

  it.effect("by the stop of a batch that fails fast", () =>
    Effect.gen(function* () {
      const { approvals, batch, requestOf, services } = yield* opened()
      const fiber = yield* batch([{}, {}, {}], { failFast: true })
      yield* Principal.provide(approvals.reject(yield* requestOf("c1")), ada)
      const result = yield* Fiber.join(fiber)
      assert.deepStrictEqual(statuses(result), ["cancelled", "rejected", "cancelled"])
      assert.strictEqual(result.stoppedBy, "c1")
      assert.deepStrictEqual(yield* held(services), nothingHeld)
    })
  )

  it.effect("by a point in time that its caller, its run or its batch gave", () =>
    Effect.gen(function* () {
      const { batch, execute, executor, tools, waiting } = yield* opened()
      const now = yield* Clock.currentTimeMillis
      const run = Run.make({ id: "run", deadline: now + 60_000 })
      const fibers = [
        yield* waiting({ deadline: now + 60_000 }),
        yield* started(Approvals.wait(Run.provide(execute({ id: "c2" }), run)))
      ]
      const many = yield* batch([{ id: "c3" }, { id: "c4" }], { deadline: "1 minute" })
      const typed = yield* started(
        Effect.flip(
          Principal.provide(
            Approvals.wait(
              executor.run("pay", { n: 1 }, { id: "c5", deadline: "1 minute" }) as Effect.Effect<
                number,
                { readonly code: string }
              >
            ),
            ada
          )
        )
      )
      yield* pass("59 seconds")
      assert.isFalse([...fibers, many, typed].some(ended))
      yield* pass("1 second")
      for (const fiber of fibers) assert.strictEqual((yield* Fiber.join(fiber)).status, "timeout")
      assert.deepStrictEqual(statuses(yield* Fiber.join(many)), ["timeout", "timeout"])
      assert.strictEqual((yield* Fiber.join(typed)).code, "TIMED_OUT")
      tools.assertRan("pay", 0)
    })
  )

  it.effect("by no default deadline, which stands still meanwhile and goes on after it", () =>
    Effect.gen(function* () {
      // The tool thinks for 4 seconds, and again when all is decided again.
      for (const [deadline, expected] of [
        ["8 seconds", "timeout"],
        ["9 seconds", "success"]
      ] as const) {
        const { grant, waiting } = yield* opened({ defaults: { deadline } })
        const fiber = yield* waiting({ tool: "thinks" })
        yield* pass("4 seconds")
        yield* pass("10 minutes")
        assert.isFalse(ended(fiber))
        yield* grant()
        yield* pass("4 seconds")
        assert.strictEqual((yield* Fiber.join(fiber)).status, expected)
      }
    })
  )

  it.effect("when its question expires", () =>
    Effect.gen(function* () {
      const { services, tools, waiting } = yield* opened()
      const fiber = yield* waiting()
      yield* pass(15 * 60_000 - 1)
      assert.isFalse(ended(fiber))
      yield* pass(1)
      const { error, status } = yield* Fiber.join(fiber)
      assert.strictEqual(status, "rejected")
      assert.deepStrictEqual(error?.reason, { _tag: "ApprovalInvalid", why: "expired" })
      tools.assertRan("pay", 0)
      assert.deepStrictEqual(yield* held(services), nothingHeld)
    })
  )

  it.effect("when its question is taken back, or replaced by another", () =>
    Effect.gen(function* () {
      for (const how of ["revoke", "replace"] as const) {
        const { approvals, requestOf, tools, waiting } = yield* opened()
        const fiber = yield* waiting()
        const request = yield* requestOf()
        const end: Effect.Effect<unknown, unknown> =
          how === "revoke" ? approvals.revoke(request) : approvals.replace(request)
        yield* Principal.provide(end, ada)
        const { error } = yield* Fiber.join(fiber)
        assert.deepStrictEqual(error?.reason, { _tag: "ApprovalInvalid", why: "revoked" })
        tools.assertRan("pay", 0)
      }
    })
  )
})

// --- What is decided after it ----------------------------------------------

describe("after the grant everything is decided again", () => {
  it.effect("a policy that denies by now wins", () =>
    Effect.gen(function* () {
      const { execute, grant, services, tools, waiting } = yield* opened({
        rateLimits: [{ limit: 1, window: "1 hour" }]
      })
      const fiber = yield* waiting()
      yield* Context.get(services, SecurityPolicy.SecurityPolicy).set({ deny: ["pay"] })
      yield* grant()
      assert.strictEqual((yield* Fiber.join(fiber)).status, "policy_denied")
      tools.assertRan("pay", 0)
      // As any other call that is denied, it is not charged.
      assert.strictEqual((yield* execute({ id: "c2", tool: "look" })).status, "success")
    })
  )

  it.effect("a policy that wants another person to approve by now asks that one, and waits on", () =>
    Effect.gen(function* () {
      const { approvals, grant, requestOf, services, tools, waiting } = yield* opened()
      const fiber = yield* waiting()
      const first = yield* requestOf()
      yield* Context.get(services, SecurityPolicy.SecurityPolicy).set({ requireApproval: ["pay"] })
      yield* grant()
      assert.isFalse(ended(fiber))
      tools.assertRan("pay", 0)
      const second = yield* requestOf()
      assert.strictEqual((yield* approvals.get(second))?.by, "approve")
      yield* grant("c1", bob)
      assert.strictEqual((yield* Fiber.join(fiber)).status, "success")
      tools.assertRan("pay", 1)
      // The first grant is of a call as it was decided then.
      assert.strictEqual((yield* approvals.get(first))?.state, "granted")
    })
  )

  it.effect("a policy that asks nobody any more lets it run, and uses no grant", () =>
    Effect.gen(function* () {
      const { approvals, grant, requestOf, services, tools, waiting } = yield* opened()
      const fiber = yield* waiting()
      const request = yield* requestOf()
      yield* Context.get(services, SecurityPolicy.SecurityPolicy).set({})
      yield* grant()
      assert.strictEqual((yield* Fiber.join(fiber)).status, "success")
      tools.assertRan("pay", 1)
      assert.strictEqual((yield* approvals.get(request))?.state, "granted")
    })
  )

  it.effect("a permission that was revoked wins", () =>
    Effect.gen(function* () {
      let revoked = false
      const usual = Permissions.make()
      const services = yield* Layer.build(Testing.layer({ policy }))
      const { grant, tools, waiting } = yield* over(
        Context.add(services, Permissions.Permissions, {
          ...usual,
          check: (principal, tool) =>
            usual.check(revoked ? Principal.make({ id: principal.id }) : principal, tool)
        })
      )
      const fiber = yield* waiting()
      revoked = true
      yield* grant()
      assert.strictEqual((yield* Fiber.join(fiber)).status, "permission_denied")
      tools.assertRan("pay", 0)
    })
  )

  it.effect("a grant that is gone when the call has come to its slot is none", () =>
    Effect.gen(function* () {
      for (const withToken of [true, false]) {
        for (const how of ["revoked", "used"] as const) {
          const { approvals, execute, grant, records, tools } = yield* opened({
            policy: { requireConfirmation: ["pay"] },
            bulkhead: { maxConcurrent: 2, maxQueue: 1 }
          })
          yield* execute({})
          const token = yield* grant()
          const slow = yield* started(execute({ id: "c2", tool: "slow" }))
          const other = yield* started(execute({ id: "c3", tool: "slow" }))
          const fiber = yield* started(execute(withToken ? { approval: token } : {}))
          assert.isFalse(ended(fiber))
          const [request] = yield* approvals.list({ state: "granted" })
          if (request === undefined) return assert.fail("nothing is granted")
          if (how === "revoked") yield* Principal.provide(approvals.revoke(request.id), ada)
          else {
            // Another process was faster.
            const argumentsHash = () => records[0]?.arguments.hash
            yield* approvals.redeem({ ...request, argumentsHash }, token, yield* Clock.currentTimeMillis)
          }
          assert.strictEqual((yield* approvals.get(request.id))?.state, how)
          yield* pass("10 seconds")
          yield* Fiber.join(slow)
          yield* Fiber.join(other)
          const { error, status } = yield* Fiber.join(fiber)
          assert.strictEqual(status, "rejected")
          // Without a token all that is known is that it is gone.
          assert.deepStrictEqual(error?.reason, { _tag: "ApprovalInvalid", why: withToken ? how : "used" })
          tools.assertRan("pay", 0)
        }
      }
    })
  )

  it.effect("a quota that is gone by now wins, and leaves the grant to be used later", () =>
    Effect.gen(function* () {
      const { approvals, execute, grant, requestOf, tools, waiting } = yield* opened({
        rateLimits: [{ limit: 1, window: "1 minute" }]
      })
      const fiber = yield* waiting()
      const request = yield* requestOf()
      yield* execute({ id: "c2", tool: "look" })
      yield* grant()
      assert.strictEqual((yield* Fiber.join(fiber)).status, "rate_limited")
      assert.strictEqual((yield* approvals.get(request))?.state, "granted")
      yield* pass("1 minute")
      assert.strictEqual((yield* execute({})).status, "success")
      tools.assertRan("pay", 1)
    })
  )

  it.effect("what may have run before is run again once its human agrees, and once only", () =>
    Effect.gen(function* () {
      for (const keepFor of ["24 hours", "1 minute"] as const) {
        const { execute, grant, services, tools, waiting } = yield* opened({
          policy: { requireConfirmation: ["again"] },
          idempotency: { keepFor }
        })
        const idempotency = Context.get(services, Idempotency.Idempotency)
        const key = { tenant: undefined, principal: "ada", tool: "again", key: "k" }
        // Another process began the call, and died.
        const argumentsHash = yield* hashOf(services, { n: 1 })
        const now = yield* Clock.currentTimeMillis
        const lease = { callId: "c0", argumentsHash, expiresAt: now + 1000 }
        const claim = yield* idempotency.claim(key, lease, now)
        if (claim._tag !== "Run") return assert.fail(claim._tag)
        yield* idempotency.begin(claim.lease, now)
        yield* idempotency.abandon(claim.lease, now)
        const call = { tool: "again", idempotencyKey: "k" }
        const fiber = yield* waiting(call)
        // With the shorter one, nothing is known of the key any more when the call goes on.
        yield* pass("2 minutes")
        yield* grant()
        assert.isTrue(ended(fiber))
        assert.deepInclude(yield* Fiber.join(fiber), { status: "success", attempts: 1 })
        assert.deepInclude(yield* execute({ ...call, id: "c2" }), { status: "success", attempts: 0 })
        tools.assertRan("again", 1)
      }
    })
  )
})

/** The hash by which the keyring of these services knows arguments. */
const hashOf = Effect.fnUntraced(function* (
  services: Context.Context<Interlock.Services>,
  params: unknown
): Effect.fn.Return<string, never, Scope.Scope> {
  const { execute, records } = yield* over(services)
  yield* execute({ id: "probe", tool: "look", params })
  return records.find(({ callId }) => callId === "probe")?.arguments.hash ?? ""
})

// --- Editing ---------------------------------------------------------------

describe("an edit", () => {
  const edited = (
    { executor, requestOf }: Effect.Success<ReturnType<typeof over>>,
    edit: Partial<ToolExecutor.Edit>,
    by: Principal.Principal
  ) =>
    Effect.flatMap(requestOf(), (request) =>
      Principal.provide(executor.edit({ request, params: { n: 2 }, principal: ada, ...edit }), by)
    )

  it.effect("ends the call that waits, and asks about the new arguments", () =>
    Effect.gen(function* () {
      const world = yield* opened()
      const { approvals, execute, executor, requestOf, tools, waiting } = world
      const fiber = yield* waiting()
      const old = yield* requestOf()
      const result = yield* edited(world, {}, ada)
      assert.strictEqual(result.status, "pending_confirmation")
      assert.strictEqual((yield* Fiber.join(fiber)).status, "rejected")
      assert.strictEqual((yield* approvals.get(old))?.state, "replaced")
      const [request] = yield* approvals.list({ state: "pending" })
      assert.deepInclude(request, { callId: result.callId, principal: "ada", tool: "pay", by: "confirm" })
      assert.deepStrictEqual(request?.replaces, { request: old, editor: "ada" })
      assert.deepStrictEqual(request?.view.value, { n: 2 })
      const { token } = yield* Principal.provide(approvals.grant(request?.id ?? ""), ada)
      // Neither the call as it was, nor what was edited under the id of what was.
      assert.strictEqual((yield* execute({})).status, "pending_confirmation")
      assert.strictEqual((yield* execute({ approval: token })).status, "rejected")
      tools.assertRan("pay", 0)
      const resumed = yield* Principal.provide(executor.resume(token) as Effect.Effect<ToolResult>, ada)
      assert.deepInclude(resumed, { status: "success", value: 2 })
      assert.deepStrictEqual(
        tools.runs("pay").map(({ params }) => params),
        [{ n: 2 }]
      )
    })
  )

  it.effect("asks also where the tool's own policy asks nobody", () =>
    Effect.gen(function* () {
      const world = yield* opened()
      yield* world.waiting()
      const result = yield* edited(world, { tool: "look" }, ada)
      assert.strictEqual(result.status, "pending_confirmation")
      world.tools.assertRan("look", 0)
    })
  )

  it.effect("is under the policy of the tool it names, never a way around it", () =>
    Effect.gen(function* () {
      for (const [edit, status] of [
        [{ tool: "forbidden" }, "policy_denied"],
        [{ tool: "ghost" }, "not_found"],
        [{ params: { n: "two" } }, "invalid_params"]
      ] as const) {
        const world = yield* opened()
        yield* world.waiting()
        assert.strictEqual((yield* edited(world, edit, ada)).status, status)
        for (const name of names) world.tools.assertRan(name, 0)
      }
      const world = yield* opened()
      yield* world.waiting()
      const poor = Principal.make({ id: "ada" })
      assert.strictEqual((yield* edited(world, { principal: poor }, ada)).status, "permission_denied")
    })
  )

  it.effect("cannot be approved by who made it, nor by whose call it is", () =>
    Effect.gen(function* () {
      const world = yield* opened({ policy: { requireApproval: ["pay"] } })
      const { approvals, executor, tools, waiting } = world
      yield* waiting()
      const { error } = yield* edited(world, {}, bob)
      if (error?.reason._tag !== "PendingConfirmation") return assert.fail(JSON.stringify(error))
      const { request } = error.reason
      for (const by of [bob, ada, Principal.make({ id: "dave", actor: { kind: "person", id: "bob" } })]) {
        const refusal = yield* Effect.flip(Principal.provide(approvals.grant(request), by))
        assert.deepInclude(refusal, { _tag: "ApprovalError", reason: "not_allowed" })
      }
      const { token } = yield* Principal.provide(approvals.grant(request), carol)
      const resumed = yield* Principal.provide(executor.resume(token) as Effect.Effect<ToolResult>, ada)
      assert.deepInclude(resumed, { status: "success", value: 2 })
      tools.assertRan("pay", 1)
    })
  )

  it.effect("is made by nobody who may not decide, of nothing that is decided, for nobody else", () =>
    Effect.gen(function* () {
      const world = yield* opened()
      const { approvals, executor, grant, requestOf, waiting } = world
      const fiber = yield* waiting()
      const request = yield* requestOf()
      const refusals: ReadonlyArray<
        readonly [Partial<ToolExecutor.Edit>, Principal.Principal, Approvals.ApprovalError["reason"]]
      > = [
        [{}, bob, "not_allowed"],
        [{}, Principal.anonymous, "not_allowed"],
        [{ principal: bob }, ada, "not_allowed"],
        [{ principal: Principal.make({ ...ada, tenant: "t" }) }, ada, "not_allowed"],
        [{ request: "ghost" }, ada, "not_found"]
      ]
      for (const [edit, by, reason] of refusals) {
        const error = yield* Effect.flip(edited(world, edit, by))
        assert.deepInclude(error, { _tag: "ApprovalError", reason })
      }
      assert.strictEqual((yield* approvals.get(request))?.state, "pending")
      yield* grant()
      assert.strictEqual((yield* Fiber.join(fiber)).status, "success")
      const late = executor.edit({ request, params: { n: 2 }, principal: ada })
      const error = yield* Effect.flip(Principal.provide(late, ada))
      assert.deepInclude(error, { _tag: "ApprovalError", reason: "not_pending" })
    })
  )
})

// --- Elsewhere -------------------------------------------------------------

describe("a token is resumed", () => {
  const asked = ({ execute, grant }: Effect.Success<ReturnType<typeof over>>) =>
    Effect.flatMap(execute({ params: { n: 5 } }), ({ status }) => {
      assert.strictEqual(status, "pending_confirmation")
      return grant()
    })
  const resume = ({ executor }: Effect.Success<ReturnType<typeof over>>, token: string, by = ada) =>
    Principal.provide(executor.resume(token) as Effect.Effect<ToolResult>, by)

  it.effect("by another executor over the same services, once", () =>
    Effect.gen(function* () {
      const one = yield* opened()
      const other = yield* over(one.services)
      const token = yield* asked(one)
      assert.deepInclude(yield* resume(other, token, bob), { status: "rejected", callId: "c1" })
      assert.deepInclude(yield* resume(other, token), { status: "success", value: 5, callId: "c1" })
      for (const world of [one, other]) {
        const { error } = yield* resume(world, token)
        assert.deepStrictEqual(error?.reason, { _tag: "ApprovalInvalid", why: "used" })
      }
      one.tools.assertRan("pay", 0)
      other.tools.assertRan("pay", 1)
    })
  )

  const keyring = (letter: string) => ({
    deployment: "shop",
    active: "a",
    keys: { a: Redacted.make(letter.repeat(40)) }
  })
  const folder = Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "interlock-wait-"))),
    (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
  )
  /** A program of its own on the file, as another process has it. */
  const program = (filename: string, letter = "k", options: Interlock.Options = {}) =>
    opened({
      keyring: keyring(letter),
      approvals: Layer.fresh(
        SqlApprovals.layer().pipe(Layer.provide(Sqlite.layer({ filename, synchronous: "NORMAL" })))
      ),
      ...options
    })

  it.effect("by another program on the same file, once", () =>
    Effect.gen(function* () {
      const filename = Path.join(yield* folder, "approvals.db")
      const token = yield* Effect.scoped(Effect.flatMap(program(filename), asked))
      const [one, other, stranger] = yield* Effect.all([
        program(filename),
        program(filename),
        program(filename, "x")
      ])
      assert.deepInclude((yield* resume(stranger, token)).error?.reason, { why: "forged" })
      const results = yield* Effect.all([resume(one, token), resume(other, token)], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(results.map(({ status }) => status).sort(), ["rejected", "success"])
      const ran = [one, other, stranger].flatMap(({ tools }) => tools.runs("pay"))
      assert.deepStrictEqual(
        ran.map(({ params }) => params),
        [{ n: 5 }]
      )
    })
  )

  it.effect("nowhere where the policy says another thing", () =>
    Effect.gen(function* () {
      const filename = Path.join(yield* folder, "approvals.db")
      const token = yield* Effect.scoped(Effect.flatMap(program(filename), asked))
      const other = yield* program(filename, "k", { policy: { requireConfirmation: ["p*"] } })
      const { error } = yield* resume(other, token)
      assert.deepStrictEqual(error?.reason, { _tag: "ApprovalInvalid", why: "policy_changed" })
      other.tools.assertRan("pay", 0)
    })
  )

  it.effect("in the place of a call that waits in another program, which hears of it", () =>
    Effect.gen(function* () {
      const filename = Path.join(yield* folder, "approvals.db")
      const one = yield* program(filename)
      const other = yield* program(filename)
      const fiber = yield* one.waiting()
      const token = yield* other.grant()
      assert.strictEqual((yield* resume(other, token)).status, "success")
      // The grant is gone when the one that waits has a look: it asks anew.
      yield* pass("500 millis")
      assert.isFalse(ended(fiber))
      yield* other.grant()
      yield* pass("500 millis")
      assert.strictEqual((yield* Fiber.join(fiber)).status, "success")
      one.tools.assertRan("pay", 1)
      other.tools.assertRan("pay", 1)
    })
  )
})

describe("what a caller learns", () => {
  it.effect("of a call that ends pending is what a human is to be asked, and how long", () =>
    Effect.gen(function* () {
      const { approvals, execute, services } = yield* opened()
      const { error, status } = yield* execute({})
      const [request] = yield* approvals.list()
      if (request === undefined) return assert.fail("nobody was asked")
      assert.strictEqual(status, "pending_confirmation")
      assert.deepInclude(error?.reason, {
        _tag: "PendingConfirmation",
        request: request.id,
        expiresAt: request.expiresAt,
        by: "confirm"
      })
      // Asking again asks nothing new, and a pending call is no failure of its tool.
      yield* execute({})
      assert.lengthOf(yield* approvals.list(), 1)
      assert.isTrue((yield* Context.get(services, Health.Health).get("pay")).isHealthy)
      const outcomes = yield* Context.get(services, AuditLog.AuditLog).query({ callId: "c1" })
      assert.deepStrictEqual(
        outcomes.map(({ phase, status }) => [phase, status]),
        [
          ["outcome", "pending_confirmation"],
          ["outcome", "pending_confirmation"]
        ]
      )
    })
  )
})
