/** `Interlock.guard`: one layer between an application and its handlers. */
import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import * as AiError from "effect/ai/AiError"
import * as McpProtocol from "effect/ai/McpProtocol"
import * as McpServer from "effect/ai/McpServer"
import * as McpTest from "effect/ai/McpTest"
import * as Prompt from "effect/ai/Prompt"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { ToolAnnotations as Annotate, CallRecord, Interlock, Principal, ToolExecutor } from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import { resultOf, ways } from "./support/conversation.ts"

// --- The world -------------------------------------------------------------

class NotFound extends Schema.TaggedError<NotFound>()("NotFound", { id: Schema.String }) {}

const modes = ["error", "return"] as const
type Mode = (typeof modes)[number]

const toolkitOf = (failureMode: Mode) => {
  const options = { parameters: Schema.Struct({ id: Schema.String }), success: Schema.String, failureMode }
  return Toolkit.make(
    Tool.make("read", options).annotate(Annotate.Capabilities, ["read_data"]),
    Tool.make("remove", options),
    Tool.make("find", { ...options, failure: NotFound }),
    Tool.make("always", { ...options, needsApproval: true })
  )
}
type Tools = ReturnType<typeof toolkitOf>["tools"]

const scripts: { readonly [Name in keyof Tools]: Testing.Script } = {
  read: Testing.succeed("content"),
  remove: Testing.succeed("removed"),
  find: Testing.fail(new NotFound({ id: "x" })),
  always: Testing.succeed("ran")
}

const ada = Principal.make({ id: "ada", roles: ["read"] })
const policy = { deny: ["remove"] }

/** One call of a toolkit, as whoever holds its handlers makes it. */
const call = <T extends Tools>(toolkit: Toolkit.Toolkit<T>, name: keyof Tools, id = "x") =>
  Effect.flatMap(toolkit, (handlers) =>
    Stream.runLast(Stream.unwrap(handlers.handle(name, { id } as never, `${name}_${id}`)))
  ).pipe(Effect.map((last) => (last._tag === "Some" ? last.value : undefined)))

/** Every record from now on. */
const recorded = Effect.gen(function* () {
  const records: Array<CallRecord.CallRecord> = []
  yield* (yield* CallRecord.CallRecorder).add({ onEnd: (record) => records.push(record) })
  return records
})

// --- Types -----------------------------------------------------------------

describe("the type of a guard", () => {
  it("requires the raw handlers and the services of governance, and provides handlers", () => {
    const toolkit = toolkitOf("error")
    type Handlers = Tool.HandlersFor<typeof toolkit.tools>
    expectTypeOf(Interlock.guard(toolkit)).toEqualTypeOf<
      Layer.Layer<Handlers, never, Handlers | ToolExecutor.Governance>
    >()
    const raw = Testing.scripted(toolkit, scripts).layer
    expectTypeOf(Interlock.guard(toolkit).pipe(Layer.provide([raw, Interlock.layer()]))).toEqualTypeOf<
      Layer.Layer<Handlers>
    >()
    // @ts-expect-error the policy, and whatever else governs, is missing
    Layer.build(Interlock.guard(toolkit).pipe(Layer.provide(raw))) satisfies Effect.Effect<
      unknown,
      never,
      never
    >
  })
})

// --- What it holds ---------------------------------------------------------

for (const mode of modes) {
  describe(`a guarded toolkit in failure mode "${mode}"`, () => {
    const toolkit = toolkitOf(mode)
    const guarded = (tools: Testing.Scripted<Tools>) =>
      Interlock.guard(toolkit).pipe(
        Layer.provide(tools.layer),
        Layer.provideMerge(Testing.layer({ policy }))
      ) as Layer.Layer<Tool.HandlersFor<Tools> | Interlock.Services>

    it.effect("runs what may run, with its record", () => {
      const tools = Testing.scripted(toolkit, scripts)
      return Effect.gen(function* () {
        const records = yield* recorded
        const output = yield* call(toolkit, "read")
        assert.strictEqual(output?.result, "content")
        tools.assertRan("read", 1)
        assert.deepStrictEqual(
          records.map(({ callId, door, principal, status }) => ({ callId, door, principal, status })),
          [{ callId: "read_x", door: "guard", principal: "ada", status: "success" }]
        )
      }).pipe(Principal.provide(ada), Effect.provide(guarded(tools)), Effect.scoped)
    })

    it.effect("refuses by an error that is not worth a retry and carries the code", () => {
      const tools = Testing.scripted(toolkit, scripts)
      return Effect.gen(function* () {
        const exit = yield* Effect.exit(call(toolkit, "remove"))
        tools.assertRan("remove", 0)
        if (mode === "return") assert.isTrue(Exit.isSuccess(exit))
        const error = Exit.isSuccess(exit) ? exit.value?.result : Cause.squash(exit.cause)
        assert.isTrue(AiError.isAiError(error))
        const refusal = error as AiError.AiError
        assert.isFalse(refusal.isRetryable)
        assert.match(
          refusal.message,
          /execution-denied: POLICY_DENIED: The security policy denies this tool\./
        )
        if (Exit.isSuccess(exit)) assert.isTrue(exit.value?.isFailure)
      }).pipe(Principal.provide(ada), Effect.provide(guarded(tools)))
    })

    it.effect("leaves the tool's own failure as it is", () => {
      const tools = Testing.scripted(toolkit, scripts)
      return Effect.gen(function* () {
        const exit = yield* Effect.exit(call(toolkit, "find"))
        const failure = Exit.isSuccess(exit) ? exit.value?.result : Cause.squash(exit.cause)
        assert.deepStrictEqual(failure, new NotFound({ id: "x" }))
      }).pipe(Principal.provide(ada), Effect.provide(guarded(tools)))
    })

    it.effect("keeps pending what needs a human, even one that Effect's own protocol has asked", () => {
      const tools = Testing.scripted(toolkit, scripts)
      return Effect.gen(function* () {
        const exit = yield* Effect.exit(call(toolkit, "always"))
        const error = Exit.isSuccess(exit) ? exit.value?.result : Cause.squash(exit.cause)
        assert.match((error as AiError.AiError).message, /PENDING_CONFIRMATION/)
        tools.assertRan("always", 0)
      }).pipe(Principal.provide(ada), Effect.provide(guarded(tools)))
    })
  })

  for (const way of Object.keys(ways)) {
    it.effect(`one guard governs ${way}, failure mode "${mode}"`, () => {
      const toolkit = toolkitOf(mode)
      const tools = Testing.scripted(toolkit, scripts)
      return Effect.gen(function* () {
        const turn = ways[way] as (typeof ways)[string]
        const from = { toolkit: Effect.provide(toolkit, yield* Effect.context<Tool.HandlersFor<Tools>>()) }
        const calls = (name: string) => [{ id: name, name, params: { id: "x" } }]
        const read = yield* turn(from as never, Prompt.make("go"), calls("read"))
        assert.strictEqual(resultOf(read, "read").result, "content")
        const denied = yield* Effect.exit(turn(from as never, Prompt.make("go"), calls("remove")))
        assert.strictEqual(denied._tag, mode === "error" ? "Failure" : "Success")
        const shown = Exit.isSuccess(denied)
          ? JSON.stringify(resultOf(denied.value, "remove").encodedResult)
          : String(Cause.squash(denied.cause))
        assert.include(shown, "POLICY_DENIED")
        tools.assertRan("remove", 0)
      }).pipe(
        Principal.provide(ada),
        Effect.provide(Interlock.guard(toolkit).pipe(Layer.provide([tools.layer, Testing.layer({ policy })])))
      )
    })
  }
}

describe("one guard", () => {
  const toolkit = toolkitOf("return")
  const governance = Testing.layer({ policy, rateLimits: [{ limit: 3, window: "1 hour" }] })

  it.effect("governs an MCP server, for the principal of each request", () => {
    const tools = Testing.scripted(toolkit, scripts)
    const auth = McpServer.middleware((request, { payload }) => {
      const { arguments: given } = payload as { readonly arguments: { readonly id: string } }
      return given.id === "ada" ? Principal.provide(request, ada) : request
    })
    return Effect.gen(function* () {
      const client = yield* McpTest.makeClient(
        McpServer.toolkit(toolkit).pipe(
          Layer.provide(auth.layer),
          Layer.provide(Interlock.guard(toolkit)),
          Layer.provide([tools.layer, governance])
        ),
        { protocols: [McpProtocol.v2025_11_25] }
      )
      const text = (name: string, id: string) =>
        Effect.map(client.callTool({ name, arguments: { id } }), ({ content, isError }) => [
          isError === true,
          JSON.stringify(content)
        ])
      assert.deepStrictEqual((yield* text("read", "ada"))[0], false)
      const [denied, shown] = yield* text("read", "nobody")
      assert.isTrue(denied)
      assert.include(String(shown), "PERMISSION_DENIED")
      tools.assertRan("read", 1)
    }).pipe(Effect.scoped)
  })

  it.effect("passes preliminary results on", () => {
    const counter = Toolkit.make(Tool.make("count", { success: Schema.Int }))
    const raw = counter.toLayer({
      count: (_, context) => Effect.as(Effect.andThen(context.preliminary(1), context.preliminary(2)), 3)
    })
    return Effect.gen(function* () {
      const handlers = yield* counter
      const results = yield* Stream.runCollect(Stream.unwrap(handlers.handle("count", {})))
      assert.deepStrictEqual(
        results.map(({ preliminary, result }) => [result, preliminary]),
        [
          [1, true],
          [2, true],
          [3, false]
        ]
      )
    }).pipe(Effect.provide(Interlock.guard(counter).pipe(Layer.provide([raw, Testing.layer()]))))
  })

  it.effect("around another governs once, and so does an executor over it", () => {
    const tools = Testing.scripted(toolkit, scripts)
    const once = Interlock.guard(toolkit).pipe(Layer.provide(tools.layer))
    const twice = Interlock.guard(toolkit).pipe(Layer.provide(once))
    return Effect.gen(function* () {
      const records = yield* recorded
      yield* call(toolkit, "read", "1")
      assert.strictEqual(records.length, 1)
      const executor = yield* ToolExecutor.make(toolkit)
      assert.strictEqual(yield* executor.run("read", { id: "2" }), "content")
      assert.deepStrictEqual(
        records.map(({ door }) => door),
        ["guard", "run"]
      )
      // Charged once each: of three, one is left.
      yield* call(toolkit, "read", "3")
      assert.include(JSON.stringify((yield* call(toolkit, "read", "4"))?.encodedResult), "RATE_LIMITED")
      tools.assertRan("read", 3)
    }).pipe(Principal.provide(ada), Effect.provide(twice.pipe(Layer.provideMerge(governance))), Effect.scoped)
  })

  it.effect("sees the principal of the caller, not the one who was there when it was built", () => {
    const tools = Testing.scripted(toolkit, scripts)
    const built = Interlock.guard(toolkit).pipe(
      Layer.provide([tools.layer, governance]),
      Layer.provide(Layer.succeed(Principal.CurrentPrincipal, ada))
    )
    return Effect.gen(function* () {
      const handlers = yield* Principal.provide(Layer.build(built), ada)
      const asNobody = yield* Effect.provide(call(toolkit, "read"), handlers)
      assert.include(JSON.stringify(asNobody?.encodedResult), "PERMISSION_DENIED")
      const asAda = yield* Principal.provide(Effect.provide(call(toolkit, "read"), handlers), ada)
      assert.strictEqual(asAda?.result, "content")
    }).pipe(Effect.scoped)
  })

  describe("beside the raw handlers", () => {
    const tools = Testing.scripted(toolkit, scripts)
    const raw = tools.layer
    const guarded = Interlock.guard(toolkit).pipe(Layer.provide([raw, governance]))
    const denies = (handlers: Layer.Layer<Tool.HandlersFor<Tools>>) =>
      Effect.map(Effect.provide(call(toolkit, "remove"), handlers), (output) => output?.isFailure)
    const requires = (handlers: Layer.Layer<Tool.HandlersFor<Tools>>) =>
      Effect.exit(Effect.scoped(Layer.build(Interlock.requireGuarded(toolkit).pipe(Layer.provide(handlers)))))

    it.effect("governs when it is merged last, as when it is alone", () =>
      Effect.gen(function* () {
        for (const handlers of [guarded, Layer.mergeAll(raw, guarded)]) {
          assert.isTrue(yield* denies(handlers))
          assert.isTrue(Exit.isSuccess(yield* requires(handlers)))
        }
      })
    )

    it.effect("is overridden when they are merged last, which `requireGuarded` refuses to build", () =>
      Effect.gen(function* () {
        for (const handlers of [raw, Layer.mergeAll(guarded, raw)]) {
          assert.isFalse(yield* denies(handlers))
          const exit = yield* requires(handlers)
          assert.strictEqual(
            Exit.isFailure(exit) && String(Cause.squash(exit.cause)),
            "Error: These tools are not guarded: read, remove, find, always"
          )
        }
      })
    )
  })

  it.effect("runs a handler with the services that it was built with", () => {
    class Store extends Context.Service<Store, string>()("test/Store") {}
    const kept = Toolkit.make(Tool.make("stored", { success: Schema.String }))
    const raw = kept
      .toLayer(Effect.map(Store, (store) => ({ stored: () => Effect.succeed(store) })))
      .pipe(Layer.provide(Layer.succeed(Store, "kept")))
    return Effect.gen(function* () {
      const handlers = yield* kept
      const [output] = yield* Stream.runCollect(Stream.unwrap(handlers.handle("stored", {})))
      assert.strictEqual(output?.result, "kept")
    }).pipe(Effect.provide(Interlock.guard(kept).pipe(Layer.provide([raw, Testing.layer()]))))
  })
})
