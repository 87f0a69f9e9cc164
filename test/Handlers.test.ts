import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import {
  ToolAnnotations as Annotate,
  CurrentCall,
  Handlers,
  type Interlock,
  ToolExecutor
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import {
  deferred,
  held,
  inTime,
  nothingHeld,
  open,
  pass,
  settled,
  started,
  turns,
  valueOf
} from "./support/world.ts"

// --- No promise of a handler is ever left unhandled ------------------------

const unhandled: Array<unknown> = []
const guard = (reason: unknown) => {
  unhandled.push(reason)
}
beforeAll(() => {
  process.on("unhandledRejection", guard)
})
afterAll(async () => {
  await Effect.runPromise(turns(20))
  process.off("unhandledRejection", guard)
  assert.deepStrictEqual(unhandled, [])
})

// --- One tool --------------------------------------------------------------

class Busy extends Schema.TaggedError<Busy>()("Busy", { seats: Schema.Int }) {}

const act = Tool.make("act", {
  parameters: Schema.Struct({ target: Schema.String }),
  success: Schema.String,
  failure: Busy
})
type Act = typeof act

const x = { target: "x" }

const scene = (handler: Handlers.Handler<Act>, options: Interlock.Options = {}, tool: Act = act) =>
  Effect.gen(function* () {
    const kit = Toolkit.make(tool)
    const world = yield* open(kit, Handlers.toLayer(kit, { act: handler }), options)
    return {
      ...world,
      call: (overrides: object = {}) => world.execute({ tool: "act", params: x, retries: 0, ...overrides })
    }
  })

/** What one call comes to, told in one line. */
const outcome = (handler: Handlers.Handler<Act>) =>
  Effect.gen(function* () {
    const { call, services } = yield* scene(handler)
    const result = yield* call()
    assert.deepStrictEqual(yield* held(services), nothingHeld)
    return result.error === undefined
      ? `${result.value}`
      : `${result.error.code}${result.error.reason._tag === "ToolFailed" ? " declared" : ""}`
  })

const throws = (error: unknown) => () => {
  throw error
}

describe("what a handler returns", () => {
  it.effect("is its answer as it is, promised, or as an Effect", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* outcome(({ target }) => `${target}!`), "x!")
      assert.strictEqual(yield* outcome(async ({ target }) => `${target}!`), "x!")
      assert.strictEqual(yield* outcome(({ target }) => Effect.succeed(`${target}!`)), "x!")
      assert.strictEqual(yield* outcome(() => Effect.promise(async () => "later")), "later")
    })
  )

  it.effect("is its own failure where it throws, rejects or fails with what the schema declares", () =>
    Effect.gen(function* () {
      const busy = new Busy({ seats: 1 })
      assert.strictEqual(yield* outcome(throws(busy)), "TOOL_FAILED declared")
      assert.strictEqual(yield* outcome(() => Promise.reject(busy)), "TOOL_FAILED declared")
      assert.strictEqual(yield* outcome(() => Effect.fail(busy)), "TOOL_FAILED declared")
    })
  )

  it.effect("is a failure of the handler where it throws or rejects with anything else", () =>
    Effect.gen(function* () {
      for (const error of [new Error("no"), "no", undefined, null, 0, { seats: 1 }]) {
        assert.strictEqual(yield* outcome(throws(error)), "HANDLER_FAILED")
        assert.strictEqual(yield* outcome(() => Promise.reject(error)), "HANDLER_FAILED")
      }
    })
  )

  it.effect("is a defect where an Effect dies", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* outcome(() => Effect.die(new Error("bug"))), "HANDLER_DEFECT")
    })
  )

  it.effect("may be nothing, where the tool has no success", () =>
    Effect.gen(function* () {
      const kit = Toolkit.make(Tool.make("sync"), Tool.make("later"))
      const { executor } = yield* open(
        kit,
        Handlers.toLayer(kit, { sync: () => undefined, later: async () => {} })
      )
      assert.isUndefined(yield* executor.run("sync", {}))
      assert.isUndefined(yield* executor.run("later", {}))
    })
  )

  it.effect("may be a foreign thenable, however it behaves", () =>
    Effect.gen(function* () {
      type Then = PromiseLike<string>["then"]
      const thenable = (
        then: (resolve: (value: string) => void, reject: (error: unknown) => void) => void
      ) => ({
        // biome-ignore lint/suspicious/noThenProperty: the thing under test
        then: then as unknown as Then
      })
      assert.strictEqual(yield* outcome(() => thenable((resolve) => resolve("once"))), "once")
      assert.strictEqual(
        yield* outcome(() =>
          thenable((resolve, reject) => {
            resolve("once")
            resolve("twice")
            reject(new Error("late"))
          })
        ),
        "once"
      )
      assert.strictEqual(yield* outcome(() => thenable(throws(new Error("no")))), "HANDLER_FAILED")
    })
  )

  it.effect("is retried by the same rules, thrown or rejected", () =>
    Effect.gen(function* () {
      let runs = 0
      const flaky = () => {
        if (++runs < 3) throw new Error("503")
        return runs === 3 ? "sync" : Promise.resolve("async")
      }
      const { call, records } = yield* scene(flaky)
      const result = yield* inTime(call({ retries: 3 }))
      assert.strictEqual(result.value, "sync")
      assert.strictEqual(records[0]?.attempts, 3)
    })
  )
})

describe("the signal", () => {
  /** A promise that never resolves, and rejects when it is told to stop. */
  const stoppable = (signal: AbortSignal) =>
    new Promise<string>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason))
    })

  it.effect("aborts when the call is interrupted, and a promise that honours it is not abandoned", () =>
    Effect.gen(function* () {
      let aborted = false
      const { call, records, services } = yield* scene(
        async (_, { signal }) => {
          try {
            return await stoppable(signal)
          } finally {
            aborted = signal.aborted
          }
        },
        { bulkhead: { maxConcurrent: 1 } }
      )
      const fiber = yield* started(call())
      yield* Fiber.interrupt(fiber)
      assert.isTrue(aborted)
      assert.strictEqual(records[0]?.status, "cancelled")
      assert.isFalse(records[0]?.abandoned)
      assert.deepStrictEqual(yield* held(services), nothingHeld)
    })
  )

  it.effect("aborts when an attempt is timed out or the deadline is over", () =>
    Effect.gen(function* () {
      let aborts = 0
      const { call, records } = yield* scene((_, { signal }) => {
        signal.addEventListener("abort", () => aborts++)
        return stoppable(signal)
      })
      const timedOut = yield* inTime(call({ timeout: 1_000 }))
      assert.strictEqual(timedOut.latency, 1_000)
      assert.strictEqual(aborts, 1)
      yield* inTime(call({ deadline: timedOut.completedAt + 500 }))
      assert.strictEqual(aborts, 2)
      assert.deepStrictEqual(
        records.map(({ abandoned, status }) => [status, abandoned]),
        [
          ["timeout", false],
          ["timeout", false]
        ]
      )
    })
  )

  it.effect("reaches a promise deep inside, whose end takes many steps", () =>
    Effect.gen(function* () {
      const deep = async (signal: AbortSignal, depth: number): Promise<string> => {
        try {
          return await (depth === 0 ? stoppable(signal) : deep(signal, depth - 1))
        } catch (error) {
          await Promise.resolve()
          throw error
        }
      }
      const { call, records } = yield* scene((_, { signal }) => deep(signal, 50))
      yield* inTime(call({ timeout: 100 }))
      assert.isFalse(records[0]?.abandoned)
    })
  )

  it.effect("is aborted already for who first asks for it too late", () =>
    Effect.gen(function* () {
      const step = deferred<void>()
      let late: AbortSignal | undefined
      const { call, records } = yield* scene(async (_, context) => {
        await step.promise
        late = context.signal
        return "went on"
      })
      yield* inTime(call({ timeout: 100 }))
      assert.isTrue(records[0]?.abandoned)
      step.resolve()
      yield* turns()
      assert.isTrue(late?.aborted)
    })
  )

  it.effect("does not abort when the handler has answered", () =>
    Effect.gen(function* () {
      let signal: AbortSignal | undefined
      const { call } = yield* scene(async (_, context) => {
        signal = context.signal
        return "fine"
      })
      yield* call()
      yield* turns()
      assert.isFalse(signal?.aborted)
    })
  )

  it.effect("is each attempt's own", () =>
    Effect.gen(function* () {
      const signals: Array<AbortSignal> = []
      const { call } = yield* scene(
        (_, { signal }) => {
          signals.push(signal)
          return signals.length < 3 ? stoppable(signal) : "fine"
        },
        {},
        act.annotate(Tool.Idempotent, true) as Act
      )
      const result = yield* inTime(call({ timeout: 100, retries: 3 }))
      assert.strictEqual(result.status, "success")
      assert.deepStrictEqual(
        signals.map(({ aborted }) => aborted),
        [true, true, false]
      )
      assert.strictEqual(new Set(signals).size, 3)
    })
  )

  it.effect("stops a real fetch, which is not abandoned", () =>
    Effect.gen(function* () {
      const asked = deferred<void>()
      const gone = deferred<void>()
      const server = createServer((_, response) => {
        asked.resolve()
        response.on("close", () => gone.resolve())
      })
      yield* Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)))
      yield* Effect.addFinalizer(() => Effect.sync(() => server.close()))
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
      const { call, records, services } = yield* scene(async (_, { signal }) =>
        (await fetch(url, { signal })).text()
      )
      const fiber = yield* started(call())
      yield* Effect.promise(() => asked.promise)
      yield* Fiber.interrupt(fiber)
      yield* Effect.promise(() => gone.promise)
      assert.strictEqual(records[0]?.status, "cancelled")
      assert.isFalse(records[0]?.abandoned)
      assert.deepStrictEqual(yield* held(services), nothingHeld)
    })
  )

  it.effect("works for a handler that runs without governance too", () =>
    Effect.gen(function* () {
      let signal: AbortSignal | undefined
      const kit = Toolkit.make(act)
      const handlers = Handlers.toLayer(kit, {
        act: (_, context) => {
          signal = context.signal
          return stoppable(context.signal)
        }
      })
      const raw = yield* Effect.provide(kit, handlers)
      const fiber = yield* started(Stream.runCollect(Stream.unwrap(raw.handle("act", x))))
      yield* Fiber.interrupt(fiber)
      assert.isTrue(signal?.aborted)
    })
  )
})

describe("a promise that ignores its signal", () => {
  const one = act.annotate(Annotate.Bulkhead, { maxConcurrent: 1, maxQueue: 1 }) as Act

  /** A handler whose promises the test settles. */
  const stubborn = () => {
    const runs: Array<ReturnType<typeof deferred<string>>> = []
    const handler = () => {
      const run = deferred<string>()
      runs.push(run)
      return run.promise
    }
    return { handler, runs }
  }

  it.effect("holds up nobody: the call ends at once and is marked as abandoned", () =>
    Effect.gen(function* () {
      const { handler, runs } = stubborn()
      const { call, records } = yield* scene(handler)
      const timedOut = yield* inTime(call({ timeout: 1_000 }))
      assert.strictEqual(timedOut.status, "timeout")
      assert.strictEqual(timedOut.latency, 1_000)
      assert.isTrue(timedOut.abandoned)
      const fiber = yield* started(call())
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(
        records.map(({ abandoned, status }) => [status, abandoned]),
        [
          ["timeout", true],
          ["cancelled", true]
        ]
      )
      // What becomes of the promises changes nothing any more.
      const before = JSON.stringify(records)
      runs[0]?.resolve("late")
      runs[1]?.reject(new Error("late"))
      yield* turns()
      assert.strictEqual(JSON.stringify(records), before)
    })
  )

  for (const end of ["resolves", "rejects"] as const) {
    it.effect(`keeps its slot until it ${end}, and then whoever waits has its turn`, () =>
      Effect.gen(function* () {
        const { handler, runs } = stubborn()
        const { call, services } = yield* scene(handler, {}, one)
        const timedOut = yield* inTime(call({ timeout: 1_000 }))
        assert.isTrue(timedOut.abandoned)
        assert.deepStrictEqual(yield* held(services), { ...nothingHeld, slots: 1 })
        const next = yield* started(call())
        assert.strictEqual((yield* call()).status, "overloaded")
        yield* pass("20 seconds")
        assert.lengthOf(runs, 1)
        if (end === "resolves") runs[0]?.resolve("late")
        else runs[0]?.reject(new Error("late"))
        yield* turns()
        assert.lengthOf(runs, 2)
        runs[1]?.resolve("in time")
        yield* turns()
        assert.strictEqual((yield* Fiber.join(next)).value, "in time")
        assert.deepStrictEqual(yield* held(services), nothingHeld)
      })
    )
  }

  it.effect("keeps the slot of its call where a later attempt has ended, whatever that one came to", () =>
    Effect.gen(function* () {
      const runs: Array<ReturnType<typeof deferred<string>>> = []
      const handler = () => {
        const run = deferred<string>()
        runs.push(run)
        return runs.length < 3 ? run.promise : Promise.resolve("third time lucky")
      }
      const { call, records, services } = yield* scene(handler, {}, one.annotate(Tool.Readonly, true) as Act)
      const result = yield* inTime(call({ timeout: 1_000, retries: 3 }))
      assert.strictEqual(result.value, "third time lucky")
      assert.isTrue(result.abandoned)
      assert.isTrue(records[0]?.abandoned)
      runs[0]?.resolve("late")
      yield* turns()
      assert.deepStrictEqual(yield* held(services), { ...nothingHeld, slots: 1 })
      runs[1]?.reject(new Error("late"))
      yield* turns()
      assert.deepStrictEqual(yield* held(services), nothingHeld)
    })
  )

  it.effect("gives its probe back at once: the circuit does not wait for it", () =>
    Effect.gen(function* () {
      const { handler } = stubborn()
      const { call, services } = yield* scene(handler)
      const fiber = yield* started(call())
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* held(services)).probes, 0)
    })
  )

  it.effect("may go on giving preliminary results, which nobody is told", () =>
    Effect.gen(function* () {
      const step = deferred<void>()
      const shown: Array<unknown> = []
      let after: Exit.Exit<void> | undefined
      const { executor } = yield* scene(async (_, { preliminary }) => {
        await Effect.runPromise(preliminary("half"))
        await step.promise
        after = await Effect.runPromise(Effect.exit(Effect.suspend(() => preliminary("too late"))))
        return "whole"
      })
      const result = yield* inTime(
        executor.execute(
          { tool: "act", params: x, timeout: 100 },
          { onProgress: (value) => Effect.sync(() => shown.push(value)) }
        )
      )
      assert.isTrue(result.abandoned)
      step.resolve()
      yield* turns()
      assert.isTrue(after !== undefined && Exit.isSuccess(after))
      assert.deepStrictEqual(shown, ["half"])
    })
  )
})

describe("CurrentCall", () => {
  it.effect("tells the handler which call it runs for, at each attempt", () =>
    Effect.gen(function* () {
      const seen: Array<CurrentCall | undefined> = []
      const { call } = yield* scene(() =>
        Effect.gen(function* () {
          seen.push(yield* CurrentCall)
          // Not declared: it counts as thrown, and is retried.
          return seen.length === 1 ? yield* Effect.fail(new Error("503") as never) : "fine"
        })
      )
      yield* pass(5_000)
      const result = yield* inTime(
        call({
          id: "mine",
          retries: 1,
          deadline: 60_000,
          idempotencyKey: "once",
          metadata: { trip: "7" }
        })
      )
      assert.strictEqual(result.status, "success")
      const shared = {
        callId: "mine",
        tool: "act",
        deadline: 60_000,
        idempotencyKey: "once",
        metadata: { trip: "7" }
      }
      for (const [index, current] of seen.entries()) {
        assert.deepInclude(current, { ...shared, attempt: index + 1 })
        assert.instanceOf(current?.signal, AbortSignal)
      }
      assert.lengthOf(seen, 2)
    })
  )

  it.effect("has the signal that the handler's context has, and it aborts before finalizers run", () =>
    Effect.gen(function* () {
      let same = false
      let abortedBefore = false
      const { call } = yield* scene((_, { signal }) =>
        Effect.flatMap(CurrentCall, (current) => {
          same = current?.signal === signal
          return Effect.onInterrupt(Effect.never, () =>
            Effect.sync(() => {
              abortedBefore = current?.signal.aborted === true
            })
          )
        })
      )
      const fiber = yield* started(call())
      yield* Fiber.interrupt(fiber)
      assert.isTrue(same)
      assert.isTrue(abortedBefore)
    })
  )

  it.effect("leaves out what nobody gave, and is nothing outside of a call", () =>
    Effect.gen(function* () {
      let current: CurrentCall | undefined
      const { call } = yield* scene(() =>
        Effect.map(CurrentCall, (it) => {
          current = it
          return "fine"
        })
      )
      const result = yield* call()
      assert.deepInclude(current, {
        callId: result.callId,
        attempt: 1,
        deadline: undefined,
        idempotencyKey: undefined,
        metadata: undefined
      })
      assert.isUndefined(yield* CurrentCall)
    })
  )

  it.effect("is the fallback's own in the fallback, without the key of the call it stands in for", () =>
    Effect.gen(function* () {
      const keys: Array<string | undefined> = []
      const kit = Toolkit.make(
        act.annotate(Annotate.Fallback, { tool: "other" }),
        Tool.make("other", { parameters: act.parametersSchema, success: Schema.String })
      )
      const handlers = Handlers.toLayer(kit, {
        act: () => Effect.fail(new Busy({ seats: 0 })),
        other: () =>
          Effect.map(CurrentCall, (current) => {
            keys.push(current?.tool, current?.idempotencyKey)
            return "instead"
          })
      })
      const { execute } = yield* open(kit, handlers)
      yield* execute({ tool: "act", params: x, idempotencyKey: "once" })
      assert.deepStrictEqual(keys, ["other", undefined])
    })
  )
})

describe("the handler's parameters and context", () => {
  it.effect("are decoded, and name the call", () =>
    Effect.gen(function* () {
      const kit = Toolkit.make(
        Tool.make("when", {
          parameters: Schema.Struct({ at: Schema.DateFromString }),
          success: Schema.String
        })
      )
      const { executor } = yield* open(
        kit,
        Handlers.toLayer(kit, { when: ({ at }, { toolCallId }) => `${at.getUTCFullYear()} ${toolCallId}` })
      )
      assert.strictEqual(yield* executor.run("when", { at: "2031-02-03" }, { id: "mine" }), "2031 mine")
    })
  )

  it.effect("give preliminary results to whoever follows the call", () =>
    Effect.gen(function* () {
      const shown: Array<unknown> = []
      const { executor } = yield* scene((_, { preliminary }) =>
        Effect.as(Effect.andThen(preliminary("half"), preliminary(5 as never)), "whole")
      )
      const result = yield* executor.execute(
        { tool: "act", params: x },
        { onProgress: (value) => Effect.sync(() => shown.push(value)) }
      )
      // What does not fit the schema is not shown.
      assert.deepStrictEqual(shown, ["half"])
      assert.strictEqual(result.value, "whole")
    })
  )
})

describe("types", () => {
  class Clerk extends Context.Service<Clerk, { readonly name: string }>()("test/Clerk") {}
  const helped = Tool.make("helped", { success: Schema.String, dependencies: [Clerk] })

  it("hold each handler to its tool", () => {
    const kit = Toolkit.make(act)
    const toLayer = (handlers: Handlers.Handlers<typeof kit.tools>) => Handlers.toLayer(kit, handlers)
    toLayer({ act: ({ target }) => target })
    toLayer({ act: async ({ target }) => target })
    toLayer({ act: ({ target }) => Effect.succeed(target) })
    // @ts-expect-error There is no such parameter.
    toLayer({ act: ({ targets }) => targets })
    // @ts-expect-error A parameter is of another type.
    toLayer({ act: ({ target }: { target: number }) => `${target}` })
    // @ts-expect-error The value is of another type.
    toLayer({ act: () => 5 })
    // @ts-expect-error The promised value is of another type.
    toLayer({ act: async () => 5 })
    // @ts-expect-error The Effect's value is of another type.
    toLayer({ act: () => Effect.succeed(5) })
    // @ts-expect-error The Effect fails with what the tool does not declare.
    toLayer({ act: () => Effect.fail(new Error("no")) })
    // @ts-expect-error The Effect needs what nobody provides.
    toLayer({ act: () => Effect.map(Clerk, ({ name }) => name) })
    // @ts-expect-error A handler is missing.
    toLayer({})
    // @ts-expect-error There is no such tool.
    toLayer({ act: () => "fine", other: () => "fine" })
  })

  it.effect("ask the caller for what a tool says it depends on", () =>
    Effect.gen(function* () {
      const kit = Toolkit.make(helped)
      const handlers = Handlers.toLayer(kit, { helped: () => Effect.map(Clerk, ({ name }) => name) })
      const { executor } = yield* open(kit, handlers)
      const run = executor.run("helped", {})
      // @ts-expect-error The tool's dependency is missing.
      const missing: Effect.Effect<string, unknown> = run
      assert.isDefined(missing)
      assert.strictEqual(yield* Effect.provideService(run, Clerk, { name: "Ada" }), "Ada")
    })
  )

  it.effect("carry the tool's success and failure to the caller", () =>
    Effect.gen(function* () {
      const { executor } = yield* scene(() => "fine")
      const exit = yield* Effect.exit(executor.run("act", x))
      const value: string = valueOf(exit)
      assert.strictEqual(value, "fine")
      // @ts-expect-error There is no such tool.
      const ghost = () => executor.run("ghost", x)
      // @ts-expect-error The parameters are of another type.
      const wrong = () => executor.run("act", { target: 5 })
      assert.lengthOf([ghost, wrong], 2)
      yield* settled
    })
  )

  it.effect("are built from services where an Effect gives them", () => {
    class Greeting extends Context.Service<Greeting, { readonly word: string }>()("test/Greeting") {}
    const kit = Toolkit.make(act)
    const built = Handlers.toLayer(
      kit,
      Effect.map(Greeting, ({ word }) => ({
        act: ({ target }: { readonly target: string }) => `${word} ${target}`
      }))
    )
    return Effect.gen(function* () {
      const executor = yield* ToolExecutor.make(kit)
      assert.strictEqual(yield* executor.run("act", x), "hello x")
    }).pipe(
      Effect.provide(
        Layer.merge(Layer.provide(built, Layer.succeed(Greeting, { word: "hello" })), Testing.layer())
      )
    )
  })

  it.effect("are not blamed for who looks on at their progress", () =>
    Effect.gen(function* () {
      const { executor } = yield* scene((_, { preliminary }) => Effect.as(preliminary("half"), "whole"))
      const result = yield* executor.execute(
        { tool: "act", params: x },
        { onProgress: () => Effect.die("a bug of the watcher") }
      )
      assert.strictEqual(result.value, "whole")
    })
  )
})
