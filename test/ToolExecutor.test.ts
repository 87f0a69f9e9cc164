import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import * as TestClock from "effect/testing/TestClock"
import {
  ToolAnnotations as Annotate,
  CurrentCall,
  Handlers,
  Health,
  History,
  type Interlock,
  Principal,
  SecurityPolicy,
  type ToolCall,
  ToolError,
  ToolExecutor
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"

// --- The tools -------------------------------------------------------------

class Broke extends Schema.TaggedError<Broke>()("Broke", { why: Schema.String }) {}

const OrderId = Schema.Struct({ id: Schema.String })

const Tools = Toolkit.make(
  Tool.make("find_order", {
    description: "Finds an order by its number",
    parameters: OrderId,
    success: Schema.Struct({ id: Schema.String, at: Schema.Date }),
    failure: Broke
  })
    .annotate(Annotate.Capabilities, ["read_data"])
    .annotate(Annotate.Tags, ["orders"]),
  Tool.make("delete_order", { description: "Removes an order", parameters: OrderId })
    .annotate(Annotate.Capabilities, ["delete_data"])
    .annotate(Annotate.Tags, ["orders", "danger"]),
  Tool.make("count", { description: "Counts up to a number", success: Schema.FiniteFromString }),
  Tool.make("sign_in", {
    parameters: Schema.Struct({
      token: Schema.RedactedFromValue(Schema.NonEmptyString),
      pin: Schema.RedactedFromValue(Schema.Int)
    }),
    success: Schema.String
  }),
  Tool.dynamic("forecast", {
    description: "The weather of a city",
    parameters: {
      type: "object",
      properties: {
        city: { type: "string" },
        days: { type: "integer", minimum: 1, maximum: 7 },
        unit: { enum: ["C", "F"] }
      },
      required: ["city", "days"],
      additionalProperties: false
    }
  })
)

const order = { id: "7", at: new Date(0) }

const handlers: Handlers.Handlers<Toolkit.Tools<typeof Tools>> = {
  find_order: ({ id }) =>
    id === "7" ? Effect.succeed(order) : Effect.fail(new Broke({ why: `no order ${id}` })),
  delete_order: () => undefined,
  count: (_, { preliminary }) =>
    Effect.as(
      Effect.forEach([1, 2], (n) => preliminary(n)),
      3
    ),
  sign_in: ({ pin, token }) => `${Redacted.value(token).length} ${Redacted.value(pin) + 1}`,
  forecast: (given) => given
}

const ada = Principal.make({ id: "ada", capabilities: ["read_data"] })

type Body<A, E> = (
  executor: ToolExecutor.ToolExecutor<Toolkit.Tools<typeof Tools>>
) => Effect.Effect<A, E, Interlock.Services>

const withExecutor = <A, E>(body: Body<A, E>, options: Interlock.Options = {}, as = ada) =>
  Effect.flatMap(ToolExecutor.make(Tools), body).pipe(
    Effect.provide(Handlers.toLayer(Tools, handlers).pipe(Layer.provideMerge(Testing.layer(options)))),
    Principal.provide(as)
  )

const names = (tools: ReadonlyArray<{ readonly name: string }>) => tools.map(({ name }) => name)

/** A caller that TypeScript has not checked. */
const untyped = (call: unknown) => call as ToolCall

// --- run -------------------------------------------------------------------

describe("run", () => {
  it.effect("gives the handler's own value, the very same object", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        const found = yield* executor.run("find_order", { id: "7" })
        assert.strictEqual(found, order)
        // Typed all the way.
        found.at.getTime()
      })
    )
  )

  it.effect("fails with the tool's own failure, typed", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        const why = yield* Effect.catchTag(executor.run("find_order", { id: "8" }), "Broke", (broke) =>
          Effect.succeed(broke.why)
        )
        assert.strictEqual(why, "no order 8")
      })
    )
  )

  it.effect("fails with ToolError for everything else", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        const denied = yield* Effect.flip(executor.run("delete_order", { id: "7" }))
        assert.instanceOf(denied, ToolError.ToolError)
        assert.deepStrictEqual([denied.code, denied.tool], ["PERMISSION_DENIED", "delete_order"])
        // @ts-expect-error no tool has this name
        const unknown = yield* Effect.flip(executor.run("drop_order", {}))
        assert.strictEqual((unknown as ToolError.ToolError).code, "TOOL_NOT_FOUND")
        // @ts-expect-error the parameters are the tool's
        const invalid = yield* Effect.flip(executor.run("find_order", { id: 7 }))
        assert.strictEqual((invalid as ToolError.ToolError).code, "INVALID_PARAMS")
      })
    )
  )

  it.effect("tells the handler of its call what the caller said", () => {
    const kit = Toolkit.make(Tool.make("look", { success: Schema.Unknown }))
    const look = Effect.map(CurrentCall, (call) => {
      const { callId, deadline, idempotencyKey, metadata } = call!
      return { callId, deadline, idempotencyKey, metadata }
    })
    return Effect.gen(function* () {
      const executor = yield* ToolExecutor.make(kit)
      const said = { id: "c-1", idempotencyKey: "k-1", metadata: { team: "a" } }
      yield* TestClock.setTime(1000)
      assert.deepStrictEqual(yield* executor.run("look", {}, { ...said, deadline: "5 seconds" }), {
        callId: "c-1",
        idempotencyKey: "k-1",
        metadata: { team: "a" },
        deadline: 6000
      })
    }).pipe(
      Effect.provide(Handlers.toLayer(kit, { look: () => look }).pipe(Layer.provideMerge(Testing.layer())))
    )
  })
})

// --- execute ---------------------------------------------------------------

describe("execute", () => {
  it.effect("encodes the value by the tool's schema, and says when and how often", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        yield* TestClock.setTime(5000)
        const result = yield* executor.execute({ id: "c-1", tool: "find_order", params: { id: "7" } })
        assert.deepStrictEqual(result, {
          callId: "c-1",
          tool: "find_order",
          status: "success",
          value: { id: "7", at: "1970-01-01T00:00:00.000Z" },
          attempts: 1,
          queuedAt: 5000,
          startedAt: 5000,
          completedAt: 5000,
          latency: 0
        })
      })
    )
  )

  it.effect("gives a declared failure back as its schema encodes it", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        const result = yield* executor.execute({ tool: "find_order", params: { id: "8" } })
        assert.strictEqual(result.status, "failure")
        assert.deepStrictEqual(result.error?.reason, {
          _tag: "ToolFailed",
          class: "Caller",
          failure: { _tag: "Broke", why: "no order 8" }
        })
        assert.notInclude(result.error?.message, "8")
      })
    )
  )

  it.effect("gives a declared failure that is nothing back as one", () => {
    const kit = Toolkit.make(Tool.make("refuse", { failure: Schema.Void }))
    return Effect.gen(function* () {
      const executor = yield* ToolExecutor.make(kit)
      const { error } = yield* executor.execute({ tool: "refuse" })
      assert.deepStrictEqual(error?.reason, { _tag: "ToolFailed", class: "Caller" })
      assert.doesNotThrow(() => Schema.encodeSync(Schema.toCodecJson(ToolError.ToolError))(error!))
    }).pipe(
      Effect.provide(
        Handlers.toLayer(kit, { refuse: () => Effect.fail(undefined) }).pipe(
          Layer.provideMerge(Testing.layer())
        )
      )
    )
  })

  it.effect("answers what is no call at all in plain words, and records it", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        const trap = () => {
          throw new Error("s3cret")
        }
        const revoked = Proxy.revocable({}, {})
        revoked.revoke()
        const answers: ReadonlyArray<readonly [unknown, string]> = [
          [null, "The call must be an object, found null."],
          ["find_order", "The call must be an object, found a string."],
          [{}, 'Missing required field "tool".'],
          [{ tool: 5, retries: 1.5, timeout: -1 }, '"tool" must be a string'],
          [{ tool: "count", id: "" }, '"id" must be at least 1 character long.'],
          [{ tool: "x".repeat(257) }, '"tool" must be at most 256 characters long.'],
          [{ tool: "count", id: "x".repeat(257) }, '"id" must be at most 256 characters long.'],
          [{ tool: "count", metadata: { a: "x".repeat(1025) } }, "must be at most 1024 characters long."],
          [new Proxy({}, { get: trap, has: trap, ownKeys: trap }), "The call cannot be read."],
          [Object.defineProperty({}, "tool", { get: trap, enumerable: true }), "The call cannot be read."],
          [revoked.proxy, "The call cannot be read."]
        ]
        for (const [call, message] of answers) {
          const result = yield* executor.execute(untyped(call))
          assert.deepStrictEqual([result.status, result.tool], ["invalid_params", "(unknown)"])
          assert.include(result.error?.message, message)
          assert.notInclude(result.error?.message, "s3cret")
        }
        const statistics = yield* Effect.flatMap(History.History, (history) => history.statistics)
        assert.strictEqual(statistics.all.counts.invalid_params, answers.length)
      })
    )
  )

  it.effect("takes no word from outside that only a door may say", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        for (const word of [
          "decoded",
          "redeems",
          "refused",
          "parent",
          "door",
          "within",
          "onProgress",
          "__proto__"
        ]) {
          const call = JSON.parse(`{"tool":"find_order","params":{"id":7},"${word}":true}`)
          const result = yield* executor.execute(untyped(call))
          assert.strictEqual(result.status, "invalid_params", word)
          assert.strictEqual(result.attempts, 0)
        }
      })
    )
  )

  it.effect("cannot loosen what the tool and the policy say", () => {
    const kit = Toolkit.make(
      Tool.make("slow", { success: Schema.String })
        .annotate(Annotate.Timeout, "1 second")
        .annotate(Annotate.Retries, 1)
        .annotate(Tool.Readonly, true)
    )
    const tools = Testing.scripted(kit, { slow: Testing.hang })
    return Effect.gen(function* () {
      const executor = yield* ToolExecutor.make(kit)
      const fiber = yield* Effect.forkChild(
        executor.execute({ tool: "slow", timeout: 60_000, retries: 9, requireConfirmation: false })
      )
      yield* TestClock.adjust("10 seconds")
      const result = yield* Fiber.join(fiber)
      assert.deepStrictEqual([result.status, result.attempts], ["timeout", 2])
      assert.strictEqual(result.latency, 2100)
      tools.assertRan("slow", 2)
      tools.assertAllEnded()
    }).pipe(Effect.provide(tools.layer.pipe(Layer.provideMerge(Testing.layer()))))
  })

  it.effect("tells of preliminary results as they come, encoded", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        const seen: Array<unknown> = []
        const result = yield* executor.execute(
          { tool: "count" },
          { onProgress: (value) => Effect.sync(() => seen.push(value)) }
        )
        assert.deepStrictEqual([seen, result.value], [["1", "2"], "3"])
      })
    )
  )
})

// --- toolkit ---------------------------------------------------------------

describe("toolkit", () => {
  it.effect("streams preliminary results before the last one", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        const toolkit = yield* executor.toolkit
        const results = yield* Stream.runCollect(Stream.unwrap(toolkit.handle("count", {} as never)))
        assert.deepStrictEqual(
          results.map(({ encodedResult, preliminary, result }) => [result, encodedResult, preliminary]),
          [
            [1, "1", true],
            [2, "2", true],
            [3, "3", false]
          ]
        )
      })
    )
  )

  it.effect("shows each caller its own tools", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        const seen = yield* executor.toolkit
        assert.notInclude(Object.keys(seen.tools), "delete_order")
        const admin = Principal.make({ id: "root", roles: ["admin"] })
        const all = yield* Principal.provide(executor.toolkit, admin)
        assert.include(Object.keys(all.tools), "delete_order")
      })
    )
  )
})

// --- Looking around --------------------------------------------------------

describe("get, list and search", () => {
  it.effect("get gives the tool itself, typed by its name", () =>
    withExecutor((executor) =>
      Effect.sync(() => {
        const tool: Toolkit.Tools<typeof Tools>["find_order"] = executor.get("find_order")
        assert.strictEqual(tool, Tools.tools.find_order)
      })
    )
  )

  it.effect("list is by principal, tag and capability, all of which must hold", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        assert.deepStrictEqual(names(yield* executor.list()), ["find_order", "count", "sign_in", "forecast"])
        assert.deepStrictEqual(names(yield* executor.list({ tag: "orders" })), ["find_order"])
        assert.deepStrictEqual(names(yield* executor.list({ capability: "delete_data" })), [])
        const admin = Principal.make({ id: "root", roles: ["admin"] })
        const asAdmin = (selection: ToolExecutor.Selection) =>
          Effect.map(Principal.provide(executor.list(selection), admin), names)
        assert.deepStrictEqual(yield* asAdmin({ tag: "orders" }), ["find_order", "delete_order"])
        assert.deepStrictEqual(yield* asAdmin({ tag: "orders", capability: "delete_data" }), ["delete_order"])
        assert.deepStrictEqual(yield* asAdmin({ tag: "danger", capability: "read_data" }), [])
      })
    )
  )

  it.effect("list is by health: a tool that fails is unhealthy, one never called is healthy", () => {
    const kit = Toolkit.make(Tool.make("good"), Tool.make("bad"), Tool.make("idle"))
    const tools = Testing.scripted(kit, {
      good: Testing.succeed(undefined),
      bad: Testing.die(new Error("bug")),
      idle: Testing.hang
    })
    return Effect.gen(function* () {
      const executor = yield* ToolExecutor.make(kit)
      yield* executor.execute({ tool: "good" })
      yield* executor.execute({ tool: "bad" })
      assert.deepStrictEqual(names(yield* executor.list({ healthy: true })), ["good", "idle"])
      assert.deepStrictEqual(names(yield* executor.list({ healthy: false })), ["bad"])
    }).pipe(Effect.provide(tools.layer.pipe(Layer.provideMerge(Testing.layer()))))
  })

  it.effect("search finds, best first, only what the principal may use", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        const search = (query: string, options?: { readonly limit?: number }) =>
          Effect.map(executor.search(query, options), (found) => found.map(({ tool }) => tool.name))
        assert.deepStrictEqual(yield* search("remove order"), ["find_order"])
        const admin = Principal.make({ id: "root", roles: ["admin"] })
        assert.deepStrictEqual(yield* Principal.provide(search("remove order"), admin), [
          "delete_order",
          "find_order"
        ])
        assert.deepStrictEqual(yield* Principal.provide(search("finds order", { limit: 1 }), admin), [
          "find_order"
        ])
        assert.deepStrictEqual(yield* search("wether"), ["forecast"])
        assert.deepStrictEqual(yield* search("zzzz"), [])
      })
    )
  )

  it.effect("search is seen as a span that says how much was found, and not what was asked", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        const spans: Array<Tracer.Span> = []
        const tracer = Tracer.make({
          span: (options) => {
            const span = new Tracer.NativeSpan(options)
            spans.push(span)
            return span
          }
        })
        yield* Effect.withTracer(executor.search("order s3cret"), tracer)
        const [span] = spans
        assert.deepStrictEqual(
          [spans.length, span?.name, [...(span?.attributes ?? [])], span?.status._tag],
          [1, "interlock.search", [["interlock.found", 1]], "Ended"]
        )
      })
    )
  )
})

// --- State -----------------------------------------------------------------

describe("executors of one program", () => {
  it.effect("share health, history, limits and circuits through the services", () =>
    withExecutor(
      (one) =>
        Effect.gen(function* () {
          const kit = Toolkit.make(Tool.make("count", { success: Schema.FiniteFromString }))
          const other = yield* Effect.provide(
            ToolExecutor.make(kit),
            Handlers.toLayer(kit, { count: () => Effect.succeed(1) })
          )
          yield* one.execute({ tool: "count" })
          yield* other.execute({ tool: "count" })
          const third = yield* one.execute({ tool: "count" })
          assert.strictEqual(third.status, "rate_limited")
          const health = yield* Effect.flatMap(Health.Health, (health) => health.get("count"))
          assert.deepStrictEqual([health.total, health.counts.rate_limited], [3, 1])
          const kept = yield* Effect.flatMap(History.History, (history) => history.recent())
          assert.strictEqual(new Set(kept.map(({ callId }) => callId)).size, 3)
        }),
      { rateLimits: [{ name: "calls", by: "tool", limit: 2, window: "1 minute" }] }
    )
  )

  it.effect("obey a policy that changes while they run, from the next call on", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        const policy = yield* SecurityPolicy.SecurityPolicy
        const toolkit = yield* executor.toolkit
        const status = Effect.map(executor.execute({ tool: "count" }), (result) => result.status)
        const handled = Effect.map(
          Stream.runCollect(Stream.unwrap(toolkit.handle("count", {} as never))),
          (results) => results.at(-1)?.isFailure
        )
        assert.deepStrictEqual([yield* status, yield* handled], ["success", false])
        yield* policy.set({ deny: ["count"] })
        assert.deepStrictEqual([yield* status, yield* handled], ["policy_denied", true])
        yield* policy.set({ requireConfirmation: ["count"] })
        assert.strictEqual(yield* status, "pending_confirmation")
        yield* policy.set({ argumentLimits: { bytes: 1 } })
        assert.strictEqual(
          (yield* executor.execute({ tool: "count", params: {} })).error?.code,
          "ARGUMENTS_REFUSED"
        )
        yield* policy.set({})
        assert.deepStrictEqual([yield* status, yield* handled], ["success", false])
      })
    )
  )

  it.effect("take handlers and principals from where they are called, not from where they were made", () =>
    Effect.gen(function* () {
      const kit = Toolkit.make(Tool.make("who", { success: Schema.String }))
      const services = yield* Layer.build(
        Handlers.toLayer(kit, { who: () => Effect.map(Principal.CurrentPrincipal, ({ id }) => id) }).pipe(
          Layer.provideMerge(Testing.layer())
        )
      )
      const executor = yield* ToolExecutor.make(kit).pipe(
        Effect.provide(services),
        Principal.provide(Principal.make({ id: "builder" }))
      )
      assert.strictEqual(yield* executor.run("who", {}), "anonymous")
      assert.strictEqual(yield* Principal.provide(executor.run("who", {}), ada), "ada")
      const record = yield* Context.get(services, History.History).recent({ limit: 1 })
      assert.strictEqual(record[0]?.principal, "ada")
    }).pipe(Effect.scoped)
  )
})

// --- Kinds of parameters ---------------------------------------------------

describe("a dynamic tool with a raw JSON Schema", () => {
  it.effect("is validated against it, every problem at once and in plain words", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        const fine = yield* executor.execute({ tool: "forecast", params: { city: "Oslo", days: 3 } })
        assert.deepStrictEqual([fine.status, fine.value], ["success", { city: "Oslo", days: 3 }])
        const bad = yield* executor.execute({
          tool: "forecast",
          params: { days: 9, unit: "s3cret", month: "May" }
        })
        assert.strictEqual(bad.status, "invalid_params")
        const { reason } = bad.error!
        assert.deepStrictEqual(
          new Set(reason._tag === "InvalidParams" ? reason.issues.map(({ message }) => message) : []),
          new Set([
            'Missing required parameter "city"',
            '"days" must be at most 7',
            '"unit" must be one of "C", "F"',
            'Unknown parameter "month"'
          ])
        )
        assert.strictEqual(bad.attempts, 0)
      })
    )
  )
})

describe("Redacted parameters", () => {
  it.effect("reach the handler decoded", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        const params = { token: "s3cret-token", pin: 41 }
        assert.strictEqual(yield* executor.run("sign_in", params), "12 42")
        assert.strictEqual((yield* executor.execute({ tool: "sign_in", params })).value, "12 42")
      })
    )
  )

  it.effect("never show in an error or in a record", () =>
    withExecutor((executor) =>
      Effect.gen(function* () {
        const result = yield* executor.execute({
          tool: "sign_in",
          params: { token: ["s3cret-a"], pin: "s3cret-b" }
        })
        assert.strictEqual(result.status, "invalid_params")
        const kept = yield* Effect.flatMap(History.History, (history) => history.recent())
        const shown = JSON.stringify([result, kept])
        assert.include(shown, "token")
        assert.notInclude(shown, "s3cret")
      })
    )
  )
})
