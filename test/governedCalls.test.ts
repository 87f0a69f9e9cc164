/** Calls as kill switches, keys, caches, pins, shadows and a log that is down make of them. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import {
  ToolAnnotations as Annotate,
  Approvals,
  AuditLog,
  CallRecord,
  type Interlock,
  KillSwitch,
  Principal,
  ResultCache,
  Run,
  SecurityPolicy,
  type ToolCall,
  ToolExecutor,
  type ToolResult
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import { inTime, settled } from "./support/world.ts"

const target = Schema.Struct({ target: Schema.String })
const define = <const Name extends string>(name: Name) =>
  Tool.make(name, { parameters: target, success: Schema.Struct({ value: Schema.String }) })

const Kit = Toolkit.make(
  define("act").annotate(Annotate.Retries, 0).annotate(Annotate.Tags, ["acting"]),
  define("ask_again").annotate(Annotate.Retries, 0).annotate(Annotate.AfterCrash, "ask"),
  define("again").annotate(Annotate.Retries, 0).annotate(Annotate.AfterCrash, "retry"),
  define("lookup").annotate(Annotate.Cache, { ttl: "1 hour" }).annotate(Annotate.Tags, ["facts"]),
  define("shared").annotate(Annotate.Cache, { within: "tenant" }),
  define("report").annotate(Annotate.Retries, 0).annotate(Annotate.Fallback, { lastGood: "1 day" }),
  define("wipe").annotate(Tool.Destructive, true)
)

type Scripts = { readonly [Name in keyof typeof Kit.tools]?: Testing.Script }

const value = (text: string) => Testing.succeed({ value: text })
const counted = (count: number) => value(`run ${count}`)

const open = (options: Interlock.Options = {}, scripts: Scripts = {}) =>
  Effect.gen(function* () {
    const tools = Testing.scripted(Kit, {
      act: counted,
      ask_again: counted,
      again: counted,
      lookup: counted,
      shared: counted,
      report: counted,
      wipe: counted,
      ...scripts
    })
    const services = yield* Layer.build(Layer.merge(tools.layer, Testing.layer(options)))
    const executor = yield* Effect.provide(ToolExecutor.make(Kit), services)
    const records: Array<CallRecord.CallRecord> = []
    yield* Context.get(services, CallRecord.CallRecorder).add({ onEnd: (record) => records.push(record) })
    return {
      tools,
      services,
      executor,
      records,
      killSwitch: Context.get(services, KillSwitch.KillSwitch),
      execute: (tool: keyof typeof Kit.tools, call: Partial<ToolCall> = {}) =>
        executor.execute({ tool, params: { target: "x" }, ...call }) as Effect.Effect<ToolResult>
    }
  })

const because = { by: "operator", why: "incident 7" }

describe("a kill switch", () => {
  it.effect("stops new calls with its reason, and lets them through when it is lifted or over", () =>
    Effect.gen(function* () {
      const { execute, killSwitch, tools } = yield* open()
      const stop = yield* killSwitch.stop({ scope: "tag", tag: "acting" }, because)
      const killed = yield* execute("act")
      assert.strictEqual(killed.status, "killed")
      assert.match(killed.error?.message ?? "", /incident 7/)
      assert.strictEqual((yield* execute("lookup")).status, "success")
      yield* killSwitch.lift(stop.id, because)
      assert.strictEqual((yield* execute("act")).status, "success")
      yield* killSwitch.stop({ scope: "all" }, { ...because, until: 60_000 })
      assert.strictEqual((yield* execute("act")).status, "killed")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* execute("act")).status, "success")
      tools.assertRan("act", 2)
    })
  )

  it.effect("interrupts what runs, wherever it waits, or lets it end", () =>
    Effect.gen(function* () {
      const waits: ReadonlyArray<readonly [Interlock.Options, Scripts, number]> = [
        [{}, { act: Testing.hang }, 1],
        [{ bulkhead: { maxConcurrent: 1, maxQueue: 5 } }, { act: Testing.hang, wipe: Testing.hang }, 0],
        [{ rateLimits: [{ limit: 1, window: "1 hour", onExceeded: "wait" }] }, {}, 0]
      ]
      for (const [options, scripts, attempts] of waits) {
        const { execute, killSwitch, records, tools } = yield* open(options, scripts)
        // Takes the slot, or the turn, that the second call waits for.
        if (attempts === 0) yield* Effect.forkChild(execute("wipe"))
        yield* settled
        const fiber = yield* Effect.forkChild(execute("act"))
        yield* settled
        yield* killSwitch.stop({ scope: "tool", tool: "act" }, because)
        const result = yield* Fiber.join(fiber)
        assert.strictEqual(result.status, "killed")
        assert.strictEqual(result.attempts, attempts)
        assert.strictEqual(records.filter(({ tool }) => tool === "act").length, 1)
        if (attempts === 1) tools.assertAllEnded()
      }
      const { execute, killSwitch } = yield* open(
        {},
        { act: Testing.succeed({ value: "ended" }, "1 second") }
      )
      const fiber = yield* Effect.forkChild(execute("act"))
      yield* settled
      yield* killSwitch.stop({ scope: "all" }, { ...because, inFlight: "drain" })
      assert.strictEqual((yield* execute("act")).status, "killed")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(fiber)).status, "success")
    })
  )

  it.effect("ends a call that waits for its human, and one between two attempts", () =>
    Effect.gen(function* () {
      const { execute, killSwitch } = yield* open({ policy: { requireConfirmation: ["act"] } })
      const waiting = yield* Effect.forkChild(Approvals.wait(execute("act")))
      yield* settled
      yield* killSwitch.stop({ scope: "all" }, because)
      assert.strictEqual((yield* Fiber.join(waiting)).status, "killed")

      const retrying = yield* open({}, { lookup: Testing.fail(new Error("503")) })
      const fiber = yield* Effect.forkChild(retrying.execute("lookup"))
      yield* settled
      yield* retrying.killSwitch.stop({ scope: "all" }, because)
      assert.strictEqual((yield* Fiber.join(fiber)).status, "killed")
      retrying.tools.assertRan("lookup", 1)
    })
  )
})

describe("an idempotency key", () => {
  const key = { idempotencyKey: "order-7" }

  it.effect("gives the first outcome to every repetition, whatever its id, and runs once at a time", () =>
    Effect.gen(function* () {
      const { execute, tools } = yield* open({}, { act: Testing.succeed({ value: "done" }, "1 second") })
      const both = yield* inTime(
        Effect.all([execute("act", key), execute("act", { ...key, id: "second" })], { concurrency: 2 })
      )
      assert.deepStrictEqual(
        both.map(({ value }) => value),
        [{ value: "done" }, { value: "done" }]
      )
      assert.strictEqual((yield* execute("act", key)).answeredFrom, "idempotency")
      tools.assertRan("act", 1)
      const other = yield* execute("act", { ...key, params: { target: "y" } })
      assert.strictEqual(other.error?.code, "IDEMPOTENCY_CONFLICT")
    })
  )

  it.effect("is one per step of a run, and of a principal and a tool", () =>
    Effect.gen(function* () {
      const { execute, tools } = yield* open()
      const run = Run.make({ id: "r" })
      const step = (name: string) => Run.provide(execute("act", { step: name }), run)
      assert.deepStrictEqual((yield* step("1")).value, { value: "run 1" })
      assert.deepStrictEqual((yield* step("1")).value, { value: "run 1" })
      assert.deepStrictEqual((yield* step("2")).value, { value: "run 2" })
      yield* execute("act", key)
      yield* Principal.provide(execute("act", key), Principal.make({ id: "bob" }))
      yield* execute("again", key)
      tools.assertRan("act", 4)
      tools.assertRan("again", 1)
    })
  )

  it.effect("gives the typed value and the tool's own failure to `run` as well", () =>
    Effect.gen(function* () {
      const { executor } = yield* open()
      const run = () => executor.run("act", { target: "x" }, key)
      assert.deepStrictEqual(yield* run(), { value: "run 1" })
      assert.deepStrictEqual(yield* run(), { value: "run 1" })
    })
  )

  it.effect("of an unknown outcome ends as unknown, asks a human, or runs again, as the tool says", () =>
    Effect.gen(function* () {
      const { execute, services, tools } = yield* open(
        {},
        {
          act: Testing.hang,
          ask_again: [Testing.hang, Testing.hang, value("second")],
          again: [Testing.hang, value("second")]
        }
      )
      for (const tool of ["act", "ask_again", "again"] as const) {
        const first = yield* inTime(execute(tool, { ...key, id: `${tool} 1` }))
        assert.strictEqual(first.status, "timeout")
      }
      const unknown = yield* execute("act", key)
      assert.strictEqual(unknown.status, "unknown")
      tools.assertRan("act", 1)

      assert.deepStrictEqual((yield* execute("again", key)).value, { value: "second" })
      tools.assertRan("again", 2)

      const me = Principal.make({ id: "ada" })
      const asked = yield* Principal.provide(inTime(execute("ask_again", { ...key, id: "a" })), me)
      // Another principal's key is another: only whoever ran it before is asked.
      assert.strictEqual(asked.status, "timeout")
      const pending = yield* Principal.provide(execute("ask_again", { ...key, id: "b" }), me)
      assert.strictEqual(pending.status, "pending_confirmation")
      const reason = pending.error?.reason
      assert(reason?._tag === "PendingConfirmation")
      const approvals = Context.get(services, Approvals.Approvals)
      const { token } = yield* Principal.provide(approvals.grant(reason.request), me)
      const resumed = yield* Principal.provide(execute("ask_again", { ...key, id: "b", approval: token }), me)
      assert.deepStrictEqual(resumed.value, { value: "second" })
      const repeated = yield* Principal.provide(execute("ask_again", { ...key, id: "c" }), me)
      assert.strictEqual(repeated.answeredFrom, "idempotency")
    })
  )

  it.effect(
    "stays unknown when a later attempt failed for certain: an earlier one may have taken effect",
    () =>
      Effect.gen(function* () {
        const busy = { status: 503 }
        const { execute, tools } = yield* open({}, { wipe: [Testing.hang, Testing.fail(busy), counted(3)] })
        const first = yield* inTime(execute("wipe", { ...key, retries: 1 }))
        assert.deepStrictEqual([first.status, first.attempts], ["failure", 2])
        assert.strictEqual((yield* execute("wipe", key)).status, "unknown")
        tools.assertRan("wipe", 2)
        // Where every attempt failed for certain the key is free.
        const other = { idempotencyKey: "order-8", retries: 0 }
        const known = yield* open({}, { wipe: [Testing.fail(busy), counted(2)] })
        assert.strictEqual((yield* known.execute("wipe", other)).status, "failure")
        assert.strictEqual((yield* known.execute("wipe", other)).status, "success")
      })
  )

  it.effect("is free again where nothing ran, and where what ran failed without an effect", () =>
    Effect.gen(function* () {
      const { execute, tools } = yield* open(
        { rateLimits: [{ limit: 3, window: "1 hour" }] },
        { act: [Testing.fail(new Error("connection refused")), value("done")] }
      )
      assert.strictEqual((yield* execute("act", { ...key, params: { target: 5 } })).status, "invalid_params")
      assert.strictEqual((yield* execute("act", key)).status, "failure")
      const second = yield* execute("act", key)
      assert.include(["success", "unknown"], second.status)
      if (second.status === "success") tools.assertRan("act", 2)
    })
  )
})

describe("a cached result", () => {
  it.effect("is given within its time to whom it belongs, and to nobody whose right was revoked", () =>
    Effect.gen(function* () {
      const { execute, services, tools } = yield* open({ policy: {} })
      const as = (id: string, tenant: string, tool: "lookup" | "shared") =>
        Effect.map(
          Principal.provide(execute(tool), Principal.make({ id, tenant })),
          ({ answeredFrom, value }) => [value, answeredFrom]
        )
      assert.deepStrictEqual(yield* as("ada", "t", "lookup"), [{ value: "run 1" }, undefined])
      assert.deepStrictEqual(yield* as("ada", "t", "lookup"), [{ value: "run 1" }, "cache"])
      assert.deepStrictEqual(yield* as("bob", "t", "lookup"), [{ value: "run 2" }, undefined])
      assert.deepStrictEqual(yield* as("ada", "t", "shared"), [{ value: "run 1" }, undefined])
      assert.deepStrictEqual(yield* as("bob", "t", "shared"), [{ value: "run 1" }, "cache"])
      assert.deepStrictEqual(yield* as("bob", "u", "shared"), [{ value: "run 2" }, undefined])
      yield* Context.get(services, ResultCache.ResultCache).invalidate({ tag: "facts", principal: "ada" })
      assert.deepStrictEqual(yield* as("ada", "t", "lookup"), [{ value: "run 3" }, undefined])
      assert.deepStrictEqual(yield* as("bob", "t", "lookup"), [{ value: "run 2" }, "cache"])
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(yield* as("bob", "t", "lookup"), [{ value: "run 4" }, undefined])
      yield* Context.get(services, SecurityPolicy.SecurityPolicy).set({ deny: ["lookup"] })
      assert.deepStrictEqual(yield* as("bob", "t", "lookup"), [undefined, undefined])
      tools.assertRan("lookup", 4)
    })
  )

  it.effect("is not made of a failure, nor given where a human must be asked", () =>
    Effect.gen(function* () {
      const { execute, services } = yield* open({}, { lookup: [Testing.die("bug"), counted(2)] })
      assert.strictEqual((yield* execute("lookup")).status, "failure")
      assert.isUndefined((yield* execute("lookup")).answeredFrom)
      assert.strictEqual((yield* execute("lookup")).answeredFrom, "cache")
      yield* Context.get(services, SecurityPolicy.SecurityPolicy).set({ requireConfirmation: ["lookup"] })
      assert.strictEqual((yield* execute("lookup")).status, "pending_confirmation")
    })
  )

  it.effect("that is the last good one stands in for a tool that fails, for as long as it may", () =>
    Effect.gen(function* () {
      const { execute } = yield* open({}, { report: [value("good"), Testing.die("down")] })
      assert.strictEqual((yield* execute("report")).status, "success")
      const degraded = yield* execute("report")
      assert.strictEqual(degraded.status, "degraded")
      assert.deepStrictEqual(degraded.value, { value: "good" })
      assert.strictEqual((yield* execute("report", { params: { target: "y" } })).status, "failure")
      const other = Principal.provide(execute("report"), Principal.make({ id: "bob" }))
      assert.strictEqual((yield* other).status, "failure")
      yield* TestClock.adjust("1 day")
      assert.strictEqual((yield* execute("report")).status, "failure")
    })
  )
})

describe("a policy", () => {
  it.effect("refuses or flags a tool whose definition is not the pinned one", () =>
    Effect.gen(function* () {
      const { execute, executor, records, services } = yield* open()
      const policy = Context.get(services, SecurityPolicy.SecurityPolicy)
      const { act } = executor.digests
      assert.match(act ?? "", /^[0-9a-f]{64}$/)
      yield* policy.set({ pins: executor.digests })
      assert.strictEqual((yield* execute("act")).status, "success")
      const pins = { act: "another", lookup: executor.digests["lookup"]! }
      for (const [changedTools, status] of [
        ["deny", "policy_denied"],
        ["approve", "pending_confirmation"],
        ["confirm", "pending_confirmation"],
        ["flag", "success"]
      ] as const) {
        yield* policy.set({ pins, changedTools })
        assert.strictEqual((yield* execute("act")).status, status)
        assert.strictEqual((yield* execute("wipe")).status, "success")
      }
      const [flag] = records.filter(({ tool }) => tool === "act").at(-1)?.verdicts ?? []
      assert.deepStrictEqual([flag?.stage, flag?.verdict, flag?.reasons[0]?.rule], ["policy", "flag", "pins"])
    })
  )

  it.effect("in shadow is recorded and not enforced", () =>
    Effect.gen(function* () {
      const { execute, executor, records, services } = yield* open({
        policy: { requireConfirmation: ["wipe"] },
        shadow: { policy: { deny: ["act"], allowedDomains: ["*.company.com"] } }
      })
      assert.strictEqual((yield* execute("act")).status, "success")
      assert.strictEqual((yield* execute("wipe")).status, "pending_confirmation")
      const outside = { params: { target: "https://elsewhere.org/" } }
      assert.strictEqual((yield* execute("lookup", outside)).status, "success")
      assert.strictEqual((yield* execute("lookup")).status, "success")
      const said = records.map(({ verdicts }) =>
        verdicts.filter(({ shadow }) => shadow).map(({ stage, verdict }) => `${stage} ${verdict}`)
      )
      assert.deepStrictEqual(said, [
        ["policy deny"],
        ["policy allow"],
        ["policy_raw deny", "policy_decoded deny"],
        []
      ])
      const evaluation = yield* executor.evaluate({ tool: "act", params: { target: "x" } })
      assert.isUndefined(evaluation.stopsAt)
      assert.strictEqual(evaluation.shadow[0]?.verdict, "deny")
      yield* Context.get(services, SecurityPolicy.SecurityPolicy).setShadow(undefined)
      yield* execute("act")
      assert.deepStrictEqual(records.at(-1)?.verdicts, [])
    })
  )
})

describe("an audit log that is down", () => {
  const down = Layer.effect(
    AuditLog.AuditLog,
    Effect.map(AuditLog.AuditLog, (log) => {
      const unavailable = Exit.fail({ _tag: "Unavailable", concern: "audit" } as const)
      return {
        ...log,
        ready: unavailable,
        intent: () => unavailable,
        outcome: () => unavailable,
        whenUnavailable: (destructive: boolean | undefined) =>
          destructive === true ? ("refuse" as const) : ("run" as const)
      }
    })
  ).pipe(Layer.provide(AuditLog.layerMemory()))

  it.effect("refuses what is destructive and lets the rest run", () =>
    Effect.gen(function* () {
      const { execute, executor, records, tools } = yield* open({ audit: down })
      const refused = yield* execute("wipe")
      assert.strictEqual(refused.status, "unavailable")
      assert.strictEqual(refused.error?.code, "UNAVAILABLE")
      tools.assertRan("wipe", 0)
      assert.strictEqual(
        (yield* executor.evaluate({ tool: "wipe", params: { target: "x" } })).stopsAt,
        "audit"
      )
      assert.strictEqual((yield* execute("act")).status, "success")
      assert.lengthOf(records, 2)
    })
  )
})
