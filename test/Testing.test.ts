import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Tracer from "effect/Tracer"
import * as TestClock from "effect/testing/TestClock"
import {
  ToolAnnotations as Annotate,
  Interlock,
  type Permissions,
  Principal,
  type SecurityPolicy,
  ToolExecutor
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"

// --- The world -------------------------------------------------------------

class Busy extends Schema.TaggedError<Busy>()("Busy", {}) {}

const success = Schema.String
const toolkit = Toolkit.make(
  Tool.make("open", { success }),
  Tool.make("guarded", { success }).annotate(Annotate.Capabilities, ["write_data"]),
  Tool.make("asking", { success }).annotate(Annotate.Confirmation, "confirm"),
  Tool.make("pay", { success }).annotate(Annotate.Capabilities, ["financial"]),
  Tool.make("remote__thing", { success }),
  Tool.make("scripted", {
    parameters: Schema.Struct({ n: Schema.optionalKey(Schema.Int) }),
    success,
    failure: Busy
  }).annotate(Annotate.Retries, 0)
)
type Names = keyof typeof toolkit.tools
const names = Object.keys(toolkit.tools) as ReadonlyArray<Names>

const scriptsWith = (script: Testing.Script) =>
  Testing.scripted(
    toolkit,
    Object.fromEntries(names.map((name) => [name, script])) as Record<Names, Testing.Script>
  )

/** The status of a call of every tool, by nobody in particular. */
const statuses = (services: Layer.Layer<Interlock.Services>) => {
  const tools = scriptsWith(Testing.succeed("done"))
  return Effect.gen(function* () {
    const executor = yield* ToolExecutor.make(toolkit)
    const seen = yield* Effect.forEach(names, (tool) => executor.execute({ tool, params: {} }))
    return {
      statuses: seen.map(({ status }) => status),
      ran: names.filter((name) => tools.runs(name).length)
    }
  }).pipe(Effect.provide([services, tools.layer]))
}

/** Calls a tool that follows a script, one call after the other. */
const calls = <A>(
  script: Testing.Script,
  body: (
    call: (params?: { readonly n?: number }) => Effect.Effect<string>,
    tools: ReturnType<typeof scriptsWith>
  ) => Effect.Effect<A, unknown>
) => {
  const tools = scriptsWith(script)
  return Effect.gen(function* () {
    const executor = yield* ToolExecutor.make(toolkit)
    return yield* body(
      (params = {}) =>
        Effect.map(executor.execute({ tool: "scripted", params }), ({ error, status, value }) =>
          status === "success" ? String(value) : String(error?.code)
        ),
      tools
    )
  }).pipe(Effect.provide([Testing.layer(), tools.layer]))
}

// --- Layers ----------------------------------------------------------------

describe("a layer that decides everything one way", () => {
  type Deciding = Layer.Layer<SecurityPolicy.SecurityPolicy | Permissions.Permissions>
  const ways: Readonly<Record<string, (deciding: Deciding) => Layer.Layer<Interlock.Services>>> = {
    "merged after the complete set": (deciding) => Layer.mergeAll(Interlock.layer(), deciding),
    "built on the complete set": (deciding) => deciding.pipe(Layer.provideMerge(Interlock.layer()))
  }
  const all = (status: string) => names.map(() => status)

  for (const [way, over] of Object.entries(ways)) {
    it.effect(`allows everything to everyone, ${way}`, () =>
      Effect.gen(function* () {
        const { ran, statuses: seen } = yield* statuses(over(Testing.layerAllowAll))
        assert.deepStrictEqual(seen, all("success"))
        assert.deepStrictEqual(ran, names)
      })
    )

    it.effect(`denies everything, even to one who may do all, ${way}`, () =>
      Effect.gen(function* () {
        const admin = Principal.make({ id: "root", roles: ["admin"] })
        const { ran, statuses: seen } = yield* statuses(over(Testing.layerDenyAll as Deciding)).pipe(
          Principal.provide(admin)
        )
        assert.deepStrictEqual(seen, all("policy_denied"))
        assert.deepStrictEqual(ran, [])
      })
    )

    it.effect(`asks a human about everything, ${way}`, () =>
      Effect.gen(function* () {
        const admin = Principal.make({ id: "root", roles: ["admin"] })
        const { ran, statuses: seen } = yield* statuses(over(Testing.layerConfirmAll as Deciding)).pipe(
          Principal.provide(admin)
        )
        assert.deepStrictEqual(seen, all("pending_confirmation"))
        assert.deepStrictEqual(ran, [])
      })
    )
  }

  it.effect("changes nothing where the complete set comes after it", () =>
    Effect.gen(function* () {
      for (const services of [
        Layer.mergeAll(Testing.layerDenyAll, Interlock.layer()),
        Interlock.layer().pipe(Layer.provideMerge(Testing.layerDenyAll))
      ]) {
        const { statuses: seen } = yield* statuses(services)
        assert.strictEqual(seen[0], "success")
      }
    })
  )
})

describe("the deterministic set", () => {
  it.effect("retries after 100, 200 and 400 ms, without chance", () => {
    const tools = Testing.scripted(Toolkit.make(flaky), { flaky: Testing.fail(new Error("down")) })
    return Effect.gen(function* () {
      const executor = yield* ToolExecutor.make(Toolkit.make(flaky))
      const fiber = yield* Effect.forkChild(executor.execute({ tool: "flaky", params: {} }))
      for (const [after, ran] of [
        [0, 1],
        [99, 1],
        [1, 2],
        [199, 2],
        [1, 3],
        [399, 3],
        [1, 4]
      ] as const) {
        for (let i = 0; i < 20; i++) yield* Effect.yieldNow
        yield* TestClock.adjust(after)
        tools.assertRan("flaky", ran)
      }
      assert.strictEqual((yield* Fiber.join(fiber)).attempts, 4)
    }).pipe(Effect.provide([Testing.layer(), tools.layer]))
  })

  it.effect("opens no span, and takes options as the complete set does", () => {
    const spans: Array<string> = []
    const tracer = Tracer.make({
      span: (options) => {
        spans.push(options.name)
        return new Tracer.NativeSpan(options)
      }
    })
    return Effect.gen(function* () {
      yield* statuses(Testing.layer())
      assert.deepStrictEqual(spans, [])
      const { statuses: seen } = yield* statuses(Testing.layer({ policy: { deny: ["open"] } }))
      assert.strictEqual(seen[0], "policy_denied")
      yield* statuses(Interlock.layer())
      assert.isNotEmpty(spans)
    }).pipe(Effect.provideService(Tracer.Tracer, tracer))
  })
})

const flaky = Tool.make("flaky", { success }).annotate(Tool.Idempotent, true)

// --- Scripts ---------------------------------------------------------------

describe("a scripted tool", () => {
  it.effect("does the same at every call", () =>
    calls(Testing.succeed("done"), (call, tools) =>
      Effect.gen(function* () {
        assert.deepStrictEqual([yield* call(), yield* call({ n: 2 })], ["done", "done"])
        assert.deepStrictEqual(tools.runs("scripted"), [
          { params: {}, outcome: "succeeded" },
          { params: { n: 2 }, outcome: "succeeded" }
        ])
        assert.deepStrictEqual(tools.runs("open"), [])
      })
    )
  )

  it.effect("fails with its own failure where it declares it, as a thrown error where not, and dies", () =>
    Effect.gen(function* () {
      const one = (script: Testing.Script) =>
        calls(script, (call, tools) =>
          Effect.map(call(), (code) => [code, tools.runs("scripted")[0]?.outcome])
        )
      assert.deepStrictEqual(yield* one(Testing.fail(new Busy())), ["TOOL_FAILED", "failed"])
      assert.deepStrictEqual(yield* one(Testing.fail(new Error("x"))), ["HANDLER_FAILED", "failed"])
      assert.deepStrictEqual(yield* one(Testing.die("bug")), ["HANDLER_DEFECT", "failed"])
    })
  )

  it.effect("takes its time, or all of it", () =>
    Effect.gen(function* () {
      for (const [script, expected, outcome] of [
        [Testing.succeed("late", "5 seconds"), "late", "succeeded"],
        [Testing.fail(new Busy(), "5 seconds"), "TOOL_FAILED", "failed"],
        [Testing.hang, "TIMED_OUT", "interrupted"]
      ] as const) {
        yield* calls(script, (call, tools) =>
          Effect.gen(function* () {
            const fiber = yield* Effect.forkChild(call())
            for (let i = 0; i < 20; i++) yield* Effect.yieldNow
            assert.strictEqual(tools.runs("scripted")[0]?.outcome, "running")
            yield* TestClock.adjust("31 seconds")
            assert.strictEqual(yield* Fiber.join(fiber), expected)
            assert.strictEqual(tools.runs("scripted")[0]?.outcome, outcome)
          })
        )
      }
    })
  )

  const down = Testing.fail(new Busy())
  const up = Testing.succeed("up")

  it.effect("follows a list of steps, and stays at the last one", () =>
    calls([down, up, Testing.succeed("steady")], (call) =>
      Effect.map(Effect.all([call(), call(), call(), call()]), (seen) =>
        assert.deepStrictEqual(seen, ["TOOL_FAILED", "up", "steady", "steady"])
      )
    )
  )

  it.effect("does what the number of the call, and its parameters, say", () =>
    calls(
      (nth, params) => ((params as { readonly n?: number }).n === 7 ? down : Testing.succeed(`call ${nth}`)),
      (call) =>
        Effect.map(Effect.all([call(), call({ n: 7 }), call({ n: 1 })]), (seen) =>
          assert.deepStrictEqual(seen, ["call 1", "TOOL_FAILED", "call 3"])
        )
    )
  )

  it.effect("goes down and comes up again", () =>
    calls(Testing.flap(2, 1, down, up), (call) =>
      Effect.map(Effect.all(Array.from({ length: 7 }, () => call())), (seen) =>
        assert.deepStrictEqual(
          seen.map((code) => code === "up"),
          [false, false, true, false, false, true, false]
        )
      )
    )
  )
})

describe("an assertion", () => {
  it.effect("on what ran says what should have, and what did", () =>
    calls(Testing.succeed("done"), (call, tools) =>
      Effect.gen(function* () {
        tools.assertRan("scripted", 0)
        assert.throws(
          () => tools.assertRan("scripted", 1),
          '"scripted" should have run once, and ran 0 times'
        )
        yield* call()
        tools.assertRan("scripted", 1)
        assert.throws(
          () => tools.assertRan("scripted", 2),
          '"scripted" should have run 2 times, and ran once'
        )
      })
    )
  )

  it.effect("that everything has ended names what still runs", () =>
    calls(Testing.hang, (call, tools) =>
      Effect.gen(function* () {
        tools.assertAllEnded()
        const fiber = yield* Effect.forkChild(call())
        for (let i = 0; i < 20; i++) yield* Effect.yieldNow
        assert.throws(() => tools.assertAllEnded(), 'of "scripted", 1 of 1 runs have not ended')
        yield* Fiber.interrupt(fiber)
        tools.assertAllEnded()
      })
    )
  )
})
