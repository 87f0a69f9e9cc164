/** The governed toolkit, as `LanguageModel` and `Chat` use it. */
import { assert, describe, it } from "@effect/vitest"
import * as AiError from "effect/ai/AiError"
import * as Chat from "effect/ai/Chat"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Prompt from "effect/ai/Prompt"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import {
  ToolAnnotations as Annotate,
  CallRecord,
  CircuitBreaker,
  type Interlock,
  Principal,
  ToolExecutor
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import { type Call, type Part, resultOf, resultsOf, ways } from "./support/conversation.ts"
import { modelThatCalls } from "./support/doors.ts"

// --- The world -------------------------------------------------------------

class NotFound extends Schema.TaggedError<NotFound>()("NotFound", { id: Schema.String }) {}

const ada = Principal.make({ id: "ada", roles: ["read"] })
const writer = Principal.make({ id: "wil", roles: ["write"] })
const modes = ["error", "return"] as const
type Mode = (typeof modes)[number]

const picture = [Prompt.makePart("text", { text: "a picture" })]

const toolkitOf = (failureMode: Mode) => {
  const options = { parameters: Schema.Struct({ id: Schema.String }), success: Schema.String, failureMode }
  return Toolkit.make(
    Tool.make("read", options),
    Tool.make("write", options).annotate(Annotate.Capabilities, ["write_data"]),
    Tool.make("find", { ...options, failure: NotFound }),
    Tool.make("slow", options).annotate(Annotate.Timeout, "10 seconds").annotate(Annotate.Retries, 0),
    Tool.make("single", options).annotate(Annotate.Bulkhead, { maxConcurrent: 1 }),
    Tool.make("broken", options).annotate(Annotate.Retries, 0),
    Tool.make("seen", { ...options, toModelOutput: () => picture }),
    Tool.make("unseen", {
      ...options,
      toModelOutput: () => {
        throw new Error("bug")
      }
    })
  )
}
type Tools = ReturnType<typeof toolkitOf>["tools"]

const scripts: { readonly [Name in keyof Tools]: Testing.Script } = {
  read: Testing.succeed("read"),
  write: Testing.succeed("written"),
  find: Testing.fail(new NotFound({ id: "x" })),
  slow: Testing.succeed("late", "1 minute"),
  single: Testing.succeed("alone", "1 second"),
  broken: Testing.die(new Error("secret")),
  seen: Testing.succeed("seen"),
  unseen: Testing.succeed("unseen")
}

interface World {
  readonly executor: ToolExecutor.ToolExecutor<Tools>
  readonly tools: Testing.Scripted<Tools>
  readonly records: ReadonlyArray<CallRecord.CallRecord>
  /** One turn in which the model makes these calls. */
  readonly turn: (...calls: ReadonlyArray<Call>) => Effect.Effect<ReadonlyArray<Part>, unknown>
}

const world = <A>(
  setting: {
    readonly way?: string
    readonly mode?: Mode
    readonly options?: Interlock.Options
    readonly scripts?: Partial<typeof scripts>
  },
  body: (world: World) => Effect.Effect<A, unknown, Scope.Scope>
): Effect.Effect<A, unknown> =>
  Effect.gen(function* () {
    const toolkit = toolkitOf(setting.mode ?? "error")
    const tools = Testing.scripted(toolkit, { ...scripts, ...setting.scripts })
    const services = yield* Layer.build(Testing.layer(setting.options))
    const records: Array<CallRecord.CallRecord> = []
    yield* Context.get(services, CallRecord.CallRecorder).add({ onEnd: (record) => records.push(record) })
    const executor = yield* Effect.provide(
      ToolExecutor.make(toolkit),
      Context.merge(services, yield* Layer.build(tools.layer))
    )
    return yield* body({
      executor,
      tools,
      records,
      turn: (...calls) => turnOf(setting.way ?? "generateText", executor, calls)
    })
  }).pipe(Effect.scoped, Principal.provide(ada))

/** A turn with whatever toolkit, ours or Effect's own. */
const turnOf = (way: string, from: { readonly toolkit: unknown }, calls: ReadonlyArray<Call>) =>
  (ways[way] as (typeof ways)[string])(from as never, Prompt.make("go"), calls)

const call = (name: string, params: unknown = { id: "x" }, id = name): Call => ({ id, name, params })

/** Lets a turn go on while virtual time passes. */
const inTime = <A, E>(effect: Effect.Effect<A, E>, seconds: number): Effect.Effect<A, E> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect)
    for (let i = 0; i < seconds; i++) {
      for (let j = 0; j < 50; j++) yield* Effect.yieldNow
      yield* TestClock.adjust("1 second")
    }
    return yield* Fiber.join(fiber)
  })

const failureOf = (parts: ReadonlyArray<Part>, id: string): { type: string; reason: string } => {
  const { encodedResult, isFailure } = resultOf(parts, id)
  assert.isTrue(isFailure, id)
  return encodedResult as { type: string; reason: string }
}

// --- Results ---------------------------------------------------------------

for (const way of Object.keys(ways)) {
  for (const mode of modes) {
    describe(`over ${way}, failure mode "${mode}"`, () => {
      it.effect("a refusal is a result with code and reason, and its siblings keep theirs", () =>
        world(
          {
            way,
            mode,
            options: {
              policy: { deny: ["read"] },
              rateLimits: [{ limit: 1, window: "1 minute", tools: ["seen"] }]
            }
          },
          ({ tools, turn }) =>
            Effect.gen(function* () {
              const parts = yield* inTime(
                turn(
                  call("read"),
                  call("single", { id: "x" }, "first"),
                  call("single", { id: "x" }, "second"),
                  call("seen", { id: "x" }, "third"),
                  call("seen", { id: "x" }, "fourth")
                ),
                3
              )
              assert.strictEqual(resultsOf(parts).length, 5)
              assert.deepStrictEqual(failureOf(parts, "read"), {
                type: "execution-denied",
                reason: "POLICY_DENIED: The security policy denies this tool."
              })
              assert.deepStrictEqual(failureOf(parts, "second"), {
                type: "execution-denied",
                reason: "OVERLOADED: Too many calls are running or waiting; try again later."
              })
              assert.deepStrictEqual(failureOf(parts, "fourth"), {
                type: "execution-denied",
                reason: 'RATE_LIMITED: The limit "1 per 1m" is used up; try again in 60 s.'
              })
              assert.strictEqual(resultOf(parts, "first").result, "alone")
              assert.strictEqual(resultOf(parts, "third").result, "seen")
              tools.assertRan("read", 0)
              tools.assertRan("single", 1)
            })
        )
      )

      it.effect("an open circuit is a result that says when to come back", () =>
        world(
          { way, mode, options: { breaker: { trip: CircuitBreaker.consecutive(1), openFor: "30 seconds" } } },
          ({ turn }) =>
            Effect.gen(function* () {
              const first = failureOf(yield* turn(call("broken")), "broken")
              assert.deepStrictEqual(first, {
                type: "execution-interrupted",
                reason: "HANDLER_DEFECT: The tool failed because of a bug."
              })
              const second = failureOf(yield* turn(call("broken")), "broken")
              assert.strictEqual(second.type, "execution-denied")
              assert.match(second.reason, /^CIRCUIT_OPEN: .*failure.*again in 30 s/)
            })
        )
      )

      it.effect("a timeout is a result of its own kind, and interrupts the handler", () =>
        world({ way, mode }, ({ tools, turn }) =>
          Effect.gen(function* () {
            const parts = yield* inTime(turn(call("slow"), call("read")), 12)
            assert.deepStrictEqual(failureOf(parts, "slow"), {
              type: "execution-interrupted",
              reason: "TIMED_OUT: The tool did not answer within 10 s."
            })
            assert.strictEqual(resultOf(parts, "read").result, "read")
            assert.strictEqual(tools.runs("slow")[0]?.outcome, "interrupted")
          })
        )
      )

      it.effect("what a tool throws is a result without its message", () =>
        world({ way, mode, scripts: { broken: Testing.fail(new Error("secret")) } }, ({ turn }) =>
          Effect.map(turn(call("broken"), call("read")), (parts) => {
            assert.deepStrictEqual(failureOf(parts, "broken"), {
              type: "execution-interrupted",
              reason: "HANDLER_FAILED: The tool failed."
            })
            assert.strictEqual(resultOf(parts, "read").result, "read")
            assert.notInclude(JSON.stringify(parts), "secret")
          })
        )
      )

      it.effect("arguments that do not fit are a result that says what is wrong", () =>
        world({ way, mode }, ({ records, tools, turn }) =>
          Effect.map(turn(call("read", { id: 5, other: 1 }), call("seen")), (parts) => {
            const { encodedResult, isFailure, result } = resultOf(parts, "read")
            assert.isTrue(isFailure)
            assert.isTrue(AiError.isAiError(result))
            const text = JSON.stringify(encodedResult)
            assert.include(text, "ToolParameterValidationError")
            assert.include(text, '\\"id\\" must be a string')
            assert.include(text, 'Unknown parameter \\"other\\"')
            assert.strictEqual(resultOf(parts, "seen").result, "seen")
            tools.assertRan("read", 0)
            assert.deepStrictEqual(records.map((record) => record.status).sort(), [
              "invalid_params",
              "success"
            ])
          })
        )
      )

      it.effect("the tool's own failure is what Effect's own toolkit makes of it", () =>
        world({ way, mode }, ({ executor, turn }) =>
          Effect.gen(function* () {
            const own = toolkitOf(mode)
            const handlers = Testing.scripted(own, scripts).layer
            const calls = [call("find"), call("read")]
            const expected = yield* Effect.exit(
              turnOf(way, { toolkit: Effect.provide(own, handlers) }, calls)
            )
            const actual = yield* Effect.exit(turn(...calls))
            assert.strictEqual(actual._tag, mode === "error" ? "Failure" : "Success")
            if (Exit.isFailure(actual)) {
              assert.deepStrictEqual(
                Cause.findErrorOption(actual.cause),
                Cause.findErrorOption((expected as typeof actual).cause)
              )
              const reason = actual.cause.reasons.find(Cause.isFailReason) as Cause.Fail<unknown>
              assert.strictEqual(
                Context.get(Cause.reasonAnnotations(reason), Toolkit.FailureOrigin),
                "handler"
              )
            } else {
              const results = (exit: typeof expected) =>
                resultsOf((exit as Exit.Success<ReadonlyArray<Part>>).value).toSorted((a, b) =>
                  a.id < b.id ? -1 : 1
                )
              assert.deepStrictEqual(results(actual), results(expected))
              assert.strictEqual(results(actual).length, 2)
            }
            assert.isTrue(executor.pipeline.tools.has("find"))
          })
        )
      )

      it.effect(
        "what the model is shown of a result is the tool's own word; one that fails ends nothing",
        () =>
          world({ way, mode }, ({ turn }) =>
            Effect.map(turn(call("seen"), call("unseen"), call("read")), (parts) => {
              assert.deepStrictEqual(resultOf(parts, "seen").modelOutput, picture)
              assert.match(failureOf(parts, "unseen").reason, /^HANDLER_DEFECT/)
              assert.isUndefined(resultOf(parts, "read").modelOutput)
            })
          )
      )

      it.effect("an interruption is one, and interrupts the handlers", () =>
        world({ way, mode }, ({ records, tools, turn }) =>
          Effect.gen(function* () {
            const fiber = yield* Effect.forkChild(turn(call("slow"), call("single")))
            for (let i = 0; i < 50; i++) yield* Effect.yieldNow
            tools.assertRan("slow", 1)
            yield* Fiber.interrupt(fiber)
            const exit = yield* Fiber.await(fiber)
            assert.isTrue(Exit.hasInterrupts(exit))
            tools.assertAllEnded()
            assert.deepStrictEqual(
              records.map((record) => record.status),
              ["cancelled", "cancelled"]
            )
          })
        )
      )
    })
  }

  it.effect(`the principal of every request decides what it sees and may run, over ${way}`, () =>
    world({ way }, ({ executor, records, turn }) =>
      Effect.gen(function* () {
        const names = Effect.map(executor.toolkit, ({ tools }) => Object.keys(tools))
        assert.notInclude(yield* names, "write")
        assert.include(yield* Principal.provide(names, writer), "write")
        const parts = yield* Principal.provide(turn(call("write")), writer)
        assert.strictEqual(resultOf(parts, "write").result, "written")
        // To `LanguageModel` a name that it was not shown is no valid answer of the model.
        assert.isTrue(Exit.isFailure(yield* Effect.exit(turn(call("write")))))
        assert.deepStrictEqual(
          records.map((record) => [record.principal, record.status]),
          [["wil", "success"]]
        )
      })
    )
  )
}

// --- The value -------------------------------------------------------------

describe("a governed toolkit", () => {
  const handle = (executor: World["executor"], name: string, params: unknown, id?: string) =>
    Effect.flatMap(executor.toolkit, (governed) =>
      Stream.runCollect(Stream.unwrap(governed.handle(name as "read", params as never, id)))
    )

  it.effect("answers names that no tool has with those that the principal may use", () =>
    world({}, ({ executor, records }) =>
      Effect.gen(function* () {
        for (const name of ["no_such_tool", "__proto__", "toString"]) {
          const [output] = yield* handle(executor, name, {})
          assert.isTrue(output?.isFailure)
          const text = JSON.stringify(output?.encodedResult)
          assert.include(text, "ToolNotFoundError")
          assert.include(text, '"read"')
          assert.notInclude(text, '"write"')
        }
        assert.deepStrictEqual(
          records.map((record) => record.tool),
          [CallRecord.unknownTool, CallRecord.unknownTool, CallRecord.unknownTool]
        )
      })
    )
  )

  it.effect("denies what it hides, whoever calls it by name", () =>
    world({}, ({ executor, tools }) =>
      Effect.gen(function* () {
        const [output] = yield* handle(executor, "write", { id: "x" })
        assert.match(JSON.stringify(output?.encodedResult), /PERMISSION_DENIED/)
        tools.assertRan("write", 0)
      })
    )
  )

  it.effect("has the same tools at every request, so that schemas are compiled once", () =>
    world({}, ({ executor }) =>
      Effect.gen(function* () {
        const first = yield* executor.toolkit
        const second = yield* Principal.provide(executor.toolkit, writer)
        assert.strictEqual(first.tools.read, second.tools.read)
        assert.strictEqual(first.tools.read.parametersSchema, executor.get("read").parametersSchema)
        assert.isNull(Object.getPrototypeOf(first.tools))
      })
    )
  )

  it.effect("leaves out a tool without a handler: nothing can govern what a provider executes", () =>
    Effect.gen(function* () {
      const search = Tool.providerDefined({
        id: "acme.search",
        customName: "Search",
        providerName: "search"
      })()
      const read = Tool.make("read", { success: Schema.String })
      const toolkit = Toolkit.make(read, search)
      const executor = yield* ToolExecutor.make(toolkit)
      assert.deepStrictEqual(Object.keys((yield* executor.toolkit).tools), ["read"])
      assert.deepStrictEqual(
        (yield* executor.list()).map((tool) => tool.name),
        ["read"]
      )
    }).pipe(
      Effect.provide(
        Toolkit.make(Tool.make("read", { success: Schema.String })).toLayer({
          read: () => Effect.succeed("x")
        })
      ),
      Effect.provide(Testing.layer()),
      Effect.scoped
    )
  )
})

// --- Preliminary results ---------------------------------------------------

const counter = (failureMode: Mode) =>
  Toolkit.make(Tool.make("count", { success: Schema.Int, failure: NotFound, failureMode }))

/** A counting tool over a handler of Effect's own kind. */
const counting = <A>(
  mode: Mode,
  handler: (
    context: Toolkit.HandlerContext<ReturnType<typeof counter>["tools"]["count"]>
  ) => Effect.Effect<number, NotFound>,
  body: (
    toolkit: ToolExecutor.ToolExecutor<ReturnType<typeof counter>["tools"]>
  ) => Effect.Effect<A, unknown, Scope.Scope>
) => {
  const toolkit = counter(mode)
  return Effect.flatMap(ToolExecutor.make(toolkit), body).pipe(
    Effect.provide(toolkit.toLayer({ count: (_, context) => handler(context) })),
    Effect.provide(Testing.layer()),
    Effect.scoped
  )
}

describe("preliminary results", () => {
  const countTo =
    (n: number) =>
    (context: { readonly preliminary: (value: number) => Effect.Effect<void> }): Effect.Effect<number> =>
      Effect.gen(function* () {
        for (let i = 1; i < n; i++) {
          yield* context.preliminary(i)
          yield* Effect.sleep("1 second")
        }
        return n
      })

  const handled = (executor: ToolExecutor.ToolExecutor<ReturnType<typeof counter>["tools"]>) =>
    Effect.flatMap(executor.toolkit, (governed) => governed.handle("count", {}, "c1"))

  it.effect("come as they are given, before the final one, in order", () =>
    counting("error", countTo(4), (executor) =>
      Effect.gen(function* () {
        const seen: Array<readonly [number, boolean]> = []
        const stream = yield* handled(executor)
        const fiber = yield* Effect.forkChild(
          Stream.runForEach(stream, ({ preliminary, result }) =>
            Effect.sync(() => seen.push([result as number, preliminary]))
          )
        )
        for (let i = 1; i <= 3; i++) {
          for (let j = 0; j < 20; j++) yield* Effect.yieldNow
          assert.deepStrictEqual(seen.at(-1), [i, true])
          yield* TestClock.adjust("1 second")
        }
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(seen, [
          [1, true],
          [2, true],
          [3, true],
          [4, false]
        ])
      })
    )
  )

  it.effect("reach the stream of a model, and only the final one its answer", () =>
    counting("error", countTo(3), (executor) =>
      Effect.gen(function* () {
        const streamed = yield* inTime(turnOf("streamText", executor, [call("count", {})]), 3)
        assert.deepStrictEqual(
          resultsOf(streamed).map((part) => [part.result, part.preliminary]),
          [
            [1, true],
            [2, true],
            [3, false]
          ]
        )
        const generated = yield* inTime(turnOf("generateText", executor, [call("count", {})]), 3)
        assert.deepStrictEqual(
          resultsOf(generated).map((part) => part.result),
          [3]
        )
      })
    )
  )

  for (const mode of modes) {
    it.effect(`a failure after one is as without, in failure mode "${mode}"`, () =>
      counting(
        mode,
        (context) => Effect.andThen(context.preliminary(1), Effect.fail(new NotFound({ id: "x" }))),
        (executor) =>
          Effect.gen(function* () {
            const exit = yield* Effect.exit(Stream.runCollect(yield* handled(executor)))
            if (Exit.isFailure(exit)) {
              assert.strictEqual(mode, "error")
              assert.deepStrictEqual<unknown>(Cause.squash(exit.cause), new NotFound({ id: "x" }))
            } else {
              assert.strictEqual(mode, "return")
              assert.deepStrictEqual(
                exit.value.map(({ isFailure }) => isFailure),
                [false, true]
              )
            }
          })
      )
    )
  }

  it.effect("whoever stops reading interrupts the handler", () =>
    Effect.gen(function* () {
      const interrupted = yield* Deferred.make<void>()
      yield* counting(
        "error",
        (context) =>
          Effect.onInterrupt(Effect.andThen(context.preliminary(1), Effect.never), () =>
            Deferred.succeed(interrupted, undefined)
          ),
        (executor) =>
          Effect.gen(function* () {
            const first = yield* Stream.runCollect(Stream.take(yield* handled(executor), 1))
            assert.strictEqual(first.length, 1)
            assert.isTrue(yield* Deferred.isDone(interrupted))
          })
      )
    })
  )

  it.effect("are held up where Effect's own buffer is bounded, and none is lost", () =>
    Effect.gen(function* () {
      let given = 0
      yield* counting(
        "error",
        (context) =>
          Effect.gen(function* () {
            for (let i = 1; i <= 20; i++) {
              yield* context.preliminary(i)
              given = i
            }
            return 21
          }),
        (executor) =>
          Effect.gen(function* () {
            const stream = yield* handled(executor)
            for (let j = 0; j < 50; j++) yield* Effect.yieldNow
            assert.strictEqual(given, 2)
            const all = yield* Stream.runCollect(stream)
            assert.deepStrictEqual(
              all.map(({ result }) => result as number),
              Array.from({ length: 21 }, (_, i) => i + 1)
            )
          })
      ).pipe(Effect.provideService(Toolkit.PreliminaryBuffer, 2))
    })
  )
})

// --- A conversation's history ----------------------------------------------

describe("a chat's history", () => {
  it.effect("survives export and import with refusals in it", () =>
    world(
      { mode: "error", options: { policy: { deny: ["read"], requireConfirmation: ["seen"] } } },
      ({ executor }) =>
        Effect.gen(function* () {
          const chat = yield* Chat.empty
          const model = (calls: ReadonlyArray<Call>) =>
            Effect.provideServiceEffect(LanguageModel.LanguageModel, modelThatCalls(calls))
          yield* chat
            .generateText({ prompt: "go", toolkit: executor.toolkit })
            .pipe(model([call("read"), call("find", { id: 5 }), call("single"), call("seen")]), (turn) =>
              inTime(turn, 2)
            )
          const copy = yield* Chat.fromJson(yield* chat.exportJson)
          assert.deepStrictEqual(yield* Ref.get(copy.history), yield* Ref.get(chat.history))
          const text = JSON.stringify(yield* Ref.get(copy.history))
          assert.include(text, "POLICY_DENIED")
          assert.include(text, "ToolParameterValidationError")
          assert.include(text, "alone")
          assert.include(text, "tool-approval-request")
          // And goes on from there.
          yield* copy
            .generateText({ prompt: "and now", toolkit: executor.toolkit })
            .pipe(model([call("seen", { id: "y" }, "again")]))
        })
    )
  )
})
