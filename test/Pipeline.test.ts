/** How one call runs: order and precedence, quota, time, retries, fallbacks, and what handlers do wrong. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import {
  ToolAnnotations as Annotate,
  Approvals,
  AuditLog,
  CallRecord,
  CircuitBreaker,
  Health,
  Idempotency,
  type Interlock,
  KillSwitch,
  LoopDetector,
  Principal,
  Retry,
  Run,
  type ToolCall,
  ToolError
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import * as fc from "fast-check"
import { held, inTime, nothingHeld, open, pass, settled, started } from "./support/world.ts"

// --- Tools -----------------------------------------------------------------

class Busy extends Schema.TaggedError<Busy>()("Busy", { seats: Schema.Int }) {}

const parameters = Schema.Struct({ target: Schema.String })

/** A tool that takes a target and answers with a text. */
const tool = <const Name extends string>(name: Name) =>
  Tool.make(name, { parameters, success: Schema.String, failure: Busy })

const x = { target: "x" }
const ada = Principal.make({ id: "ada" })
const many = { breaker: { trip: CircuitBreaker.consecutive(1000) } }
const text = Testing.succeed("fine")

/** One tool that follows a script, executed in a world of its own. */
const scene = <const Name extends string>(
  act: Tool.Tool<
    Name,
    {
      readonly parameters: typeof parameters
      readonly success: typeof Schema.String
      readonly failure: typeof Busy
      readonly failureMode: "error"
    }
  >,
  script: Testing.Script,
  options: Interlock.Options = {}
) =>
  Effect.gen(function* () {
    const kit = Toolkit.make(act)
    const tools = Testing.scripted(kit as never, { [act.name]: script })
    const world = yield* open(kit, tools.layer as never, options)
    const call = (overrides: Partial<ToolCall> = {}) =>
      world.execute({ tool: act.name, params: x, ...overrides })
    return { ...world, call, ran: () => tools.runs(act.name as never), tools }
  })

const seconds = (n: number) => n * 1000

const delays = (record: CallRecord.CallRecord | undefined) => record?.retried.map(({ delay }) => delay)

// --- Order -----------------------------------------------------------------

describe("order", () => {
  // Its arguments may change when they are decoded, so that rules look at them twice.
  const act = Tool.make("act", {
    parameters: Schema.Struct({ target: Schema.Trim }),
    success: Schema.String,
    failure: Busy
  })
    .annotate(Annotate.Capabilities, ["read_data"])
    .annotate(Annotate.Cost, 5)
  const kit = Toolkit.make(act, tool("hold"), tool("filler"))

  // Everything that can be wrong with a call before its handler runs, in the order in which it is told.
  const faults = [
    ["past deadline", "TIMED_OUT"],
    ["killed", "KILLED"],
    ["permission", "PERMISSION_DENIED"],
    ["denied by name", "POLICY_DENIED deny"],
    ["quota", "RATE_LIMITED"],
    ["size", "ARGUMENTS_REFUSED"],
    ["denied by raw arguments", "POLICY_DENIED raw"],
    ["invalid", "INVALID_PARAMS"],
    ["denied by decoded arguments", "POLICY_DENIED decoded"],
    ["screened", "ARGUMENTS_SCREENED"],
    ["another's key", "IDEMPOTENCY_CONFLICT"],
    ["a loop", "LOOP_DETECTED"],
    ["needs a human", "PENDING_CONFIRMATION"],
    ["bulkhead", "OVERLOADED"],
    ["no audit", "UNAVAILABLE"],
    ["circuit", "CIRCUIT_OPEN"],
    ["budget", "BUDGET_EXCEEDED"]
  ] as const
  type Fault = (typeof faults)[number][0]

  /** A log that takes no intents of `act`, and says that no call may run without one. */
  const unwritable = Layer.effect(
    AuditLog.AuditLog,
    Effect.map(AuditLog.AuditLog, (log): AuditLog.AuditLog["Service"] => ({
      ...log,
      intent: (record, now) =>
        record.tool === "act"
          ? Exit.fail({ _tag: "Unavailable", concern: "audit" } as const)
          : log.intent(record, now),
      whenUnavailable: () => "refuse" as const
    }))
  ).pipe(Layer.provide(AuditLog.layerMemory()))

  const outcomeOf = (has: (fault: Fault) => boolean) =>
    Effect.gen(function* () {
      const tools = Testing.scripted(kit, { act: text, hold: Testing.hang, filler: text })
      // Raw and decoded: the second look is told by counting.
      let looks = 0
      const { services, execute } = yield* open(kit, tools.layer, {
        policy: { deny: has("denied by name") ? ["act"] : [], argumentLimits: { stringLength: 100 } },
        rules: [
          {
            name: "raw",
            decide: ({ tool }) =>
              tool.name === "act" && ++looks === 1 && has("denied by raw arguments")
                ? { _tag: "Deny", reasons: [{ rule: "raw", message: "no" }] }
                : { _tag: "Allow" }
          },
          {
            name: "decoded",
            decide: ({ tool }) =>
              tool.name === "act" && looks === 2 && has("denied by decoded arguments")
                ? { _tag: "Deny", reasons: [{ rule: "decoded", message: "no" }] }
                : { _tag: "Allow" }
          }
        ],
        rateLimits: [{ limit: 1, window: "1 hour", tools: ["act", "filler"] }],
        bulkhead: { maxConcurrent: 1 },
        budget: has("budget") ? [{ max: 1, name: "small" }] : [],
        ...(has("no audit") ? { audit: unwritable } : {})
      })
      const target = `${has("screened") ? "\u0007" : ""}${"x".repeat(has("size") ? 101 : 1)}`
      const params = has("invalid") ? { target, other: 1 } : { target }
      const principal = has("permission")
        ? Principal.anonymous
        : Principal.make({ id: "ada", roles: ["read"] })
      const run = has("a loop") ? Run.make({ id: "run", driver: "model" }) : undefined
      if (run !== undefined) {
        const { ended } = Context.get(services, LoopDetector.LoopDetector)
        for (let i = 0; i < 2; i++) ended(run, { tool: "act", params }, { encoded: "fine" })
      }
      if (has("killed")) {
        const { stop } = Context.get(services, KillSwitch.KillSwitch)
        yield* stop({ scope: "tool", tool: "act" }, { by: "eve", why: "a drill" })
      }
      if (has("another's key")) {
        const key = { tenant: undefined, principal: principal.id, tool: "act", key: "k" }
        const other = { callId: "other", argumentsHash: "other", expiresAt: 1000 }
        yield* Context.get(services, Idempotency.Idempotency).claim(key, other, 0)
      }
      if (has("quota")) yield* execute({ tool: "filler", params: x })
      if (has("bulkhead")) yield* started(execute({ tool: "hold", params: x }))
      if (has("circuit")) {
        yield* Context.get(services, CircuitBreaker.CircuitBreaker).forceOpen("act", "by hand")
      }
      const { error, status } = yield* execute({
        tool: "act",
        params,
        ...(has("past deadline") ? { deadline: -1 } : {}),
        ...(has("another's key") ? { idempotencyKey: "k" } : {}),
        ...(has("needs a human") ? { requireConfirmation: true } : {})
      }).pipe(Principal.provide(principal), Effect.provideService(Run.CurrentRun, run))
      const started_ = tools.runs("act").length
      assert.strictEqual(started_, status === "success" ? 1 : 0)
      const rule = error?.reason._tag === "PolicyDenied" ? ` ${error.reason.rule.split(" ")[0]}` : ""
      return error === undefined ? status : `${error.code}${rule}`
    }).pipe(Effect.scoped, Effect.provide(TestClock.layer()))

  it("tells the first fault in the pipeline's order, whatever else is wrong too", () =>
    fc.assert(
      fc.asyncProperty(fc.subarray([...faults]), async (present) => {
        const names = new Set<string>(present.map(([name]) => name))
        const outcome = await Effect.runPromise(outcomeOf((fault) => names.has(fault)))
        assert.strictEqual(outcome, present[0]?.[1] ?? "success")
      }),
      { numRuns: 300 }
    ))

  it.effect("asks nothing of governance about a tool that does not exist", () =>
    Effect.gen(function* () {
      const { records, execute } = yield* open(
        kit,
        Testing.scripted(kit, { act: text, hold: text, filler: text }).layer,
        {
          policy: { deny: ["*"] },
          rateLimits: [{ limit: 1, window: "1 hour" }]
        }
      )
      for (let i = 0; i < 3; i++) {
        const result = yield* execute({ tool: "ghost", params: x, deadline: -1 })
        assert.strictEqual(result.status, "not_found")
      }
      assert.deepStrictEqual(
        records.map((record) => record.tool),
        Array.from({ length: 3 }, () => CallRecord.unknownTool)
      )
    })
  )
})

// --- Quota -----------------------------------------------------------------

describe("quota", () => {
  const one = { limit: 1, window: "1 hour", name: "hourly" } as const

  /** Asks and answers in Effect's approval protocol, as `LanguageModel` does; a human grants in between. */
  const approval = (overrides: Interlock.Options = {}) =>
    Effect.gen(function* () {
      const pay = tool("pay")
      const world = yield* scene(pay, text, { policy: { requireConfirmation: ["pay"] }, ...overrides })
      const governed = yield* world.executor.toolkit
      const asked = (id: string) =>
        Effect.suspend(() => {
          const { needsApproval } = governed.tools.pay
          if (typeof needsApproval !== "function") throw new Error("It never asks")
          const answer = needsApproval(x, { toolCallId: id, messages: [] })
          return Effect.isEffect(answer) ? answer : Effect.succeed(answer)
        }).pipe(Principal.provide(ada))
      const approvals = Context.get(world.services, Approvals.Approvals)
      const granted = Effect.fnUntraced(function* (id: string) {
        assert.isTrue(yield* asked(id))
        const [request] = yield* approvals.list({ callId: id, state: "pending" })
        yield* Principal.provide(approvals.grant(request?.id ?? ""), ada)
      })
      const replay = (id: string) =>
        Effect.map(Stream.runLast(Stream.unwrap(governed.handle("pay", x, id))), (output) =>
          JSON.stringify(Option.getOrThrow(output).encodedResult)
        ).pipe(Principal.provide(ada))
      return { ...world, asked, granted, replay }
    })

  it.effect("charges an approved call once, when it runs", () =>
    Effect.gen(function* () {
      const { asked, granted, replay, ran, records } = yield* approval({
        rateLimits: [{ ...one, limit: 2 }]
      })
      yield* granted("a")
      yield* granted("b")
      assert.strictEqual(yield* replay("a"), `"fine"`)
      // Two questions and one run have cost one: there is room for exactly one more.
      assert.strictEqual(yield* replay("b"), `"fine"`)
      assert.isFalse(yield* asked("c"))
      assert.include(yield* replay("c"), "RATE_LIMITED")
      assert.lengthOf(ran(), 2)
      assert.deepStrictEqual(
        records.map(({ status }) => status),
        ["success", "success", "rate_limited"]
      )
    })
  )

  it.effect("does not use up an approval where the quota is gone before it is looked at", () =>
    Effect.gen(function* () {
      const { granted, replay, ran } = yield* approval({ rateLimits: [{ ...one, window: "1 minute" }] })
      yield* granted("a")
      yield* granted("b")
      assert.strictEqual(yield* replay("a"), `"fine"`)
      assert.include(yield* replay("b"), "RATE_LIMITED")
      yield* pass("1 minute")
      assert.strictEqual(yield* replay("b"), `"fine"`)
      assert.lengthOf(ran(), 2)
    })
  )

  it.effect("refuses a call whose quota went between the look and the charge", () =>
    Effect.gen(function* () {
      // The tool's own question takes a second; in that time another call takes the last of the quota.
      const slow = tool("slow")
      const kit = Toolkit.make(
        Tool.make("asks", {
          parameters,
          success: Schema.String,
          needsApproval: () => Effect.delay(Effect.succeed(false), "1 second")
        }),
        slow
      )
      const tools = Testing.scripted(kit, { asks: text, slow: text })
      const { execute } = yield* open(kit, tools.layer, { rateLimits: [one] })
      const asks = yield* started(execute({ tool: "asks", params: x }))
      assert.strictEqual((yield* execute({ tool: "slow", params: x })).status, "success")
      yield* pass("1 second")
      const result = yield* Fiber.join(asks)
      assert.strictEqual(result.status, "rate_limited")
      tools.assertRan("asks", 0)
    })
  )

  it.effect("of undecided approvals is 20 for each principal, and says when there is room again", () =>
    Effect.gen(function* () {
      const { call } = yield* scene(tool("pay"), text, { policy: { requireConfirmation: ["pay"] } })
      for (let i = 0; i < 20; i++) {
        assert.strictEqual((yield* call()).status, "pending_confirmation")
        yield* pass("1 second")
      }
      assert.deepStrictEqual((yield* call()).error?.reason, {
        _tag: "RateLimited",
        limit: "undecided approvals",
        retryAfter: Duration.seconds(15 * 60 - 20)
      })
      const other = Effect.provideService(call(), Principal.CurrentPrincipal, Principal.make({ id: "bob" }))
      assert.strictEqual((yield* other).status, "pending_confirmation")
      yield* pass("880 seconds")
      assert.strictEqual((yield* call()).status, "pending_confirmation")
    })
  )

  it.effect("charges a call that may ask, and is wrong, as any other", () =>
    Effect.gen(function* () {
      const { call } = yield* scene(tool("pay"), text, {
        policy: { requireConfirmation: ["pay"] },
        rateLimits: [one]
      })
      assert.strictEqual((yield* call({ params: {} })).status, "invalid_params")
      assert.strictEqual((yield* call()).status, "rate_limited")
    })
  )

  it.effect(
    "counts each attempt of a call where a limit is by attempt, and its first where it is by call",
    () =>
      Effect.gen(function* () {
        const fails = Testing.fail(new Error("503"))
        for (const [per, expected] of [
          ["attempt", "rate_limited"],
          ["call", "success"]
        ] as const) {
          const { call, ran } = yield* scene(tool("act"), [fails, fails, text], {
            rateLimits: [{ limit: 3, window: "1 hour", per }]
          })
          const first = yield* inTime(call())
          assert.strictEqual(first.status, "success")
          assert.strictEqual(first.attempts, 3)
          assert.strictEqual((yield* inTime(call())).status, expected)
          assert.lengthOf(ran(), per === "attempt" ? 3 : 4)
        }
      })
  )

  it.effect(
    "ends a call as its last attempt did where the limit by attempt is used up, and records no retry",
    () =>
      Effect.gen(function* () {
        const { call, records } = yield* scene(tool("act"), Testing.fail(new Error("503")), {
          rateLimits: [{ limit: 2, window: "1 hour", per: "attempt" }]
        })
        const result = yield* inTime(call())
        assert.strictEqual(result.error?.code, "HANDLER_FAILED")
        assert.strictEqual(result.attempts, 2)
        assert.deepStrictEqual(records[0]?.retried, [{ attempt: 1, code: "HANDLER_FAILED", delay: 100 }])
      })
  )

  it.effect("waits for its turn no longer than the deadline, and takes nothing then", () =>
    Effect.gen(function* () {
      const { call, ran, records } = yield* scene(tool("act"), text, {
        rateLimits: [{ limit: 1, window: "10 seconds", onExceeded: "wait" }]
      })
      yield* call()
      const impatient = yield* started(call({ deadline: seconds(5) }))
      const patient = yield* started(call({ deadline: seconds(11) }))
      yield* pass("5 seconds")
      const refused = yield* Fiber.join(impatient)
      assert.deepStrictEqual(refused.error?.reason, {
        _tag: "TimedOut",
        scope: "deadline",
        after: Duration.seconds(5)
      })
      assert.lengthOf(ran(), 1)
      yield* pass("5 seconds")
      assert.strictEqual((yield* Fiber.join(patient)).status, "success")
      assert.strictEqual(records[1]?.attempts, 0)
    })
  )

  it.effect("waits by attempt within the deadline too, and ends as the last attempt did", () =>
    Effect.gen(function* () {
      const { call, ran } = yield* scene(tool("act"), Testing.fail(new Error("503")), {
        rateLimits: [{ limit: 1, window: "10 seconds", per: "attempt", onExceeded: "wait" }]
      })
      const fiber = yield* started(call({ deadline: seconds(15) }))
      yield* pass("15 seconds")
      const result = yield* Fiber.join(fiber)
      assert.strictEqual(result.error?.code, "HANDLER_FAILED")
      assert.strictEqual(result.latency, seconds(15))
      assert.lengthOf(ran(), 2)
    })
  )
})

// --- What a call may say for itself ----------------------------------------

describe("overrides", () => {
  it.effect("shorten the timeout of an attempt, and never lengthen it", () =>
    Effect.gen(function* () {
      const act = tool("act").annotate(Annotate.Timeout, "2 seconds")
      const { call } = yield* scene(act, Testing.hang)
      for (const [timeout, expected] of [
        [500, 500],
        [seconds(60), seconds(2)],
        [undefined, seconds(2)]
      ] as const) {
        const result = yield* inTime(call(timeout === undefined ? {} : { timeout }))
        assert.strictEqual(result.latency, expected)
        assert.deepStrictEqual(result.error?.reason, {
          _tag: "TimedOut",
          scope: "attempt",
          after: Duration.millis(expected)
        })
      }
    })
  )

  it.effect("lower the retries, and never raise them", () =>
    Effect.gen(function* () {
      const act = tool("act").annotate(Annotate.Retries, 2)
      const { call } = yield* scene(act, Testing.fail(new Error("503")), {
        breaker: { trip: CircuitBreaker.consecutive(1000) }
      })
      for (const [retries, attempts] of [
        [0, 1],
        [1, 2],
        [50, 3],
        [undefined, 3]
      ] as const) {
        const result = yield* inTime(call(retries === undefined ? {} : { retries }))
        assert.strictEqual(result.attempts, attempts)
      }
    })
  )

  it.effect("that are no numbers raise nothing either", () =>
    Effect.gen(function* () {
      const { executor, ran } = yield* scene(tool("act"), Testing.fail(new Error("503")), {
        breaker: { trip: CircuitBreaker.consecutive(1000) }
      })
      for (const retries of [Number.NaN, -1]) {
        const before = ran().length
        yield* Effect.exit(inTime(executor.run("act", x, { retries })))
        assert.strictEqual(ran().length - before, 1)
      }
    })
  )

  it.effect("ask for a human, and never spare one", () =>
    Effect.gen(function* () {
      const free = yield* scene(tool("act"), text)
      const guarded = yield* scene(tool("act"), text, { policy: { requireConfirmation: ["act"] } })
      const asking = yield* scene(tool("act").annotate(Annotate.Confirmation, "approve"), text)
      const status = (world: typeof free, requireConfirmation: boolean) =>
        Effect.map(world.call({ requireConfirmation }), (result) => result.status)
      assert.strictEqual(yield* status(free, true), "pending_confirmation")
      assert.strictEqual(yield* status(free, false), "success")
      assert.strictEqual(yield* status(guarded, false), "pending_confirmation")
      assert.strictEqual(yield* status(asking, false), "pending_confirmation")
      const pending = yield* asking.call({ requireConfirmation: true })
      // Another principal's approval is more than the caller's own confirmation.
      assert.strictEqual(
        pending.error?.reason._tag === "PendingConfirmation" && pending.error.reason.by,
        "approve"
      )
    })
  )

  it.effect("bring the deadline forward, and never put it off", () =>
    Effect.gen(function* () {
      const { call } = yield* scene(tool("act"), Testing.hang, { defaults: { deadline: "10 seconds" } })
      const sooner = yield* inTime(call({ deadline: seconds(3) }))
      assert.strictEqual(sooner.latency, seconds(3))
      const later = yield* inTime(call({ deadline: seconds(1000) }))
      assert.strictEqual(later.latency, seconds(10))
    })
  )
})

// --- Time ------------------------------------------------------------------

describe("timeout and deadline", () => {
  it.effect("interrupt the handler, whose finalizers have run before the caller is told", () =>
    Effect.gen(function* () {
      const kit = Toolkit.make(tool("act").annotate(Annotate.Retries, 0))
      const seen: Array<string> = []
      const handlers = kit.toLayer({
        act: () =>
          Effect.never.pipe(
            Effect.onInterrupt(() => Effect.sync(() => seen.push("interrupted"))),
            Effect.ensuring(
              Effect.andThen(
                Effect.sleep("1 second"),
                Effect.sync(() => seen.push("cleaned up"))
              )
            )
          )
      })
      const { execute } = yield* open(kit, handlers)
      for (const [overrides, scope] of [
        [{ timeout: 500 }, "attempt"],
        [{ deadline: 2_000 }, "deadline"]
      ] as const) {
        const result = yield* inTime(execute({ tool: "act", params: x, ...overrides }))
        seen.push(scope)
        assert.strictEqual(result.error?.reason._tag === "TimedOut" && result.error.reason.scope, scope)
      }
      assert.deepStrictEqual(seen, [
        "interrupted",
        "cleaned up",
        "attempt",
        "interrupted",
        "cleaned up",
        "deadline"
      ])
    })
  )

  it.effect("name the deadline where both are over at once, and how long each was", () =>
    Effect.gen(function* () {
      const { call } = yield* scene(tool("act").annotate(Annotate.Timeout, "5 seconds"), Testing.hang)
      yield* pass("1 second")
      const both = yield* inTime(call({ deadline: seconds(6) }))
      assert.deepStrictEqual(both.error?.reason, {
        _tag: "TimedOut",
        scope: "deadline",
        after: Duration.seconds(5)
      })
    })
  )

  it.effect("each attempt has the timeout for itself, and the call the deadline for all of them", () =>
    Effect.gen(function* () {
      const act = tool("act").annotate(Annotate.Timeout, "1 second").annotate(Tool.Readonly, true)
      const { call, records } = yield* scene(act, Testing.hang, many)
      const all = yield* inTime(call())
      // Four attempts of a second, and 100, 200 and 400 ms between them.
      assert.strictEqual(all.latency, 4_700)
      assert.deepStrictEqual(delays(records[0]), [100, 200, 400])
      const now = all.completedAt
      const some = yield* inTime(call({ deadline: now + 1_500 }))
      assert.strictEqual(some.latency, 1_500)
      assert.strictEqual(some.attempts, 2)
      assert.strictEqual(some.error?.reason._tag === "TimedOut" && some.error.reason.scope, "deadline")
    })
  )

  it.effect("a deadline that is past starts nothing", () =>
    Effect.gen(function* () {
      const { call, ran, executor } = yield* scene(tool("act"), text, {
        rateLimits: [{ limit: 1, window: "1 hour" }]
      })
      yield* pass("10 seconds")
      for (const deadline of [seconds(10), seconds(9), 0, -5]) {
        const result = yield* call({ deadline })
        assert.strictEqual(result.status, "timeout")
        assert.strictEqual(result.attempts, 0)
      }
      const exit = yield* Effect.exit(executor.run("act", x, { deadline: 0 }))
      assert.isTrue(Exit.isFailure(exit))
      assert.lengthOf(ran(), 0)
      // Nothing of the quota was taken.
      assert.strictEqual((yield* call()).status, "success")
    })
  )

  it.effect("a deadline that ends in the queue starts nothing", () =>
    Effect.gen(function* () {
      const act = tool("act").annotate(Annotate.Bulkhead, { maxConcurrent: 1, maxQueue: 5 })
      const { call, ran, services } = yield* scene(act, Testing.succeed("late", "10 seconds"))
      const first = yield* started(call())
      const waiting = yield* started(call({ deadline: seconds(3) }))
      const behind = yield* started(call())
      yield* pass("3 seconds")
      const result = yield* Fiber.join(waiting)
      assert.strictEqual(result.error?.reason._tag === "TimedOut" && result.error.reason.scope, "deadline")
      assert.strictEqual(result.latency, seconds(3))
      assert.strictEqual(result.attempts, 0)
      yield* pass("17 seconds")
      assert.strictEqual((yield* Fiber.join(first)).status, "success")
      assert.strictEqual((yield* Fiber.join(behind)).status, "success")
      assert.lengthOf(ran(), 2)
      assert.deepStrictEqual(yield* held(services), nothingHeld)
    })
  )

  it.effect("a slot that comes free at the very deadline runs nothing", () =>
    Effect.gen(function* () {
      const act = tool("act").annotate(Annotate.Bulkhead, { maxConcurrent: 1, maxQueue: 5 })
      const { call, ran, services } = yield* scene(act, Testing.succeed("late", "3 seconds"))
      const first = yield* started(call())
      const waiting = yield* started(call({ deadline: seconds(3) }))
      yield* pass("3 seconds")
      assert.strictEqual((yield* Fiber.join(first)).status, "success")
      assert.strictEqual((yield* Fiber.join(waiting)).status, "timeout")
      assert.lengthOf(ran(), 1)
      assert.deepStrictEqual(yield* held(services), nothingHeld)
    })
  )

  it.effect("a backoff that the deadline leaves no time for is not begun", () =>
    Effect.gen(function* () {
      const { call, records } = yield* scene(tool("act"), Testing.fail(new Error("503"), 150))
      const result = yield* inTime(call({ deadline: 350 }))
      // Attempts end at 150 and, after 100 ms, at 400; the deadline is between.
      assert.strictEqual(result.latency, 350)
      assert.strictEqual(result.status, "timeout")
      const tight = yield* inTime(call({ deadline: result.completedAt + 250 }))
      assert.strictEqual(tight.latency, 150)
      assert.strictEqual(tight.error?.code, "HANDLER_FAILED")
      assert.deepStrictEqual(records.map(delays), [[100], []])
    })
  )

  it.effect("hold for a caller that cannot be interrupted itself", () =>
    Effect.gen(function* () {
      const act = tool("act").annotate(Annotate.Bulkhead, { maxConcurrent: 1, maxQueue: 5 })
      const { call } = yield* scene(act, Testing.hang)
      const running = yield* started(Effect.uninterruptible(call({ timeout: seconds(5) })))
      const queued = yield* started(Effect.uninterruptible(call({ deadline: seconds(2) })))
      yield* pass("2 seconds")
      assert.strictEqual((yield* Fiber.join(queued)).status, "timeout")
      yield* pass("3 seconds")
      assert.strictEqual((yield* Fiber.join(running)).status, "timeout")
    })
  )

  it.effect("wait for what a handler may not be interrupted in, and are told then", () =>
    Effect.gen(function* () {
      const kit = Toolkit.make(tool("act"))
      let committed = false
      const commit = Effect.andThen(
        Effect.sleep("2 seconds"),
        Effect.sync(() => {
          committed = true
        })
      )
      const handlers = kit.toLayer({ act: () => Effect.as(Effect.uninterruptible(commit), "done") })
      const { execute } = yield* open(kit, handlers)
      const result = yield* inTime(execute({ tool: "act", params: x, timeout: 1_000 }))
      assert.strictEqual(result.status, "timeout")
      assert.strictEqual(result.latency, 2_000)
      assert.isTrue(committed)
    })
  )

  const slowSchema = (millis: number) =>
    Schema.String.pipe(
      Schema.decodeTo(Schema.String, {
        decode: SchemaGetter.transformEffect((s: string) => Effect.delay(Effect.succeed(s), millis)),
        encode: SchemaGetter.transformEffect((s: string) => Effect.delay(Effect.succeed(s), millis))
      })
    )

  it.effect("cover schemas that wait", () =>
    Effect.gen(function* () {
      const kit = Toolkit.make(
        Tool.make("decodes", {
          parameters: Schema.Struct({ target: slowSchema(5_000) }),
          success: Schema.String
        }),
        Tool.make("encodes", { parameters, success: slowSchema(5_000) }),
        Tool.make("fails", { parameters, success: Schema.String, failure: slowSchema(5_000) }),
        Tool.make("asks", {
          parameters,
          success: Schema.String,
          needsApproval: () => Effect.delay(Effect.succeed(false), 5_000)
        })
      )
      const tools = Testing.scripted(kit, {
        decodes: text,
        encodes: text,
        fails: Testing.fail("no"),
        asks: text
      })
      const { execute, services } = yield* open(kit, tools.layer)
      let now = 0
      for (const name of ["decodes", "encodes", "fails", "asks"]) {
        const result = yield* inTime(execute({ tool: name, params: x, deadline: now + 1_000 }))
        assert.strictEqual(result.status, "timeout", name)
        assert.strictEqual(result.latency, 1_000, name)
        now = result.completedAt
        const patient = yield* inTime(execute({ tool: name, params: x, deadline: now + 6_000 }))
        assert.strictEqual(patient.status, name === "fails" ? "failure" : "success", name)
        now = patient.completedAt
      }
      assert.deepStrictEqual(yield* held(services), nothingHeld)
    })
  )
})

// --- Retries ---------------------------------------------------------------

describe("retries", () => {
  const http = (status: number, fields: object = {}) =>
    Object.assign(new Error(`HTTP ${status}`), { status, ...fields })
  const lost = Object.assign(new Error("socket hang up"), { code: "ECONNRESET" })
  const refused = Object.assign(new Error("refused"), { code: "ECONNREFUSED" })

  it.effect("follow what an error says of itself", () =>
    Effect.gen(function* () {
      for (const [error, attempts, errorClass] of [
        [new Error("boom"), 4, "Retryable"],
        [http(500), 4, "Retryable"],
        [http(408), 4, "Retryable"],
        [http(425), 4, "Retryable"],
        [http(429), 4, "Overload"],
        [http(400), 1, "Caller"],
        [http(404), 1, "Caller"],
        [http(500, { isRetryable: false }), 1, "Caller"],
        [http(400, { isRetryable: true }), 4, "Retryable"],
        [refused, 4, "Retryable"],
        [{ error: { cause: http(422) }, cause: http(422) }, 1, "Caller"],
        [new Busy({ seats: 0 }), 1, "Caller"],
        ["a text", 4, "Retryable"]
      ] as const) {
        const { call, ran, records } = yield* scene(tool("act"), Testing.fail(error), many)
        const result = yield* inTime(call())
        assert.strictEqual(ran().length, attempts, String(error))
        assert.strictEqual(result.status, "failure")
        assert.strictEqual(records[0]?.class, errorClass, String(error))
        const code = error instanceof Busy ? "TOOL_FAILED" : "HANDLER_FAILED"
        assert.strictEqual(result.error?.code, code)
      }
    })
  )

  it.effect("follow the tool's own classification before that, for what it speaks of", () =>
    Effect.gen(function* () {
      const act = tool("act").annotate(Annotate.Classify, (error) =>
        error instanceof Busy
          ? { class: "Overload", retryAfter: "7 seconds" }
          : error instanceof TypeError
            ? { class: "Policy" }
            : undefined
      )
      const { call, records } = yield* scene(
        act,
        [Testing.fail(new Busy({ seats: 0 })), Testing.fail(http(503)), Testing.fail(new TypeError("no"))],
        many
      )
      const result = yield* inTime(call())
      assert.strictEqual(result.attempts, 3)
      assert.deepStrictEqual(records[0]?.retried, [
        { attempt: 1, code: "TOOL_FAILED", delay: 7_000 },
        { attempt: 2, code: "HANDLER_FAILED", delay: 200 }
      ])
      assert.strictEqual(records[0]?.class, "Policy")
    })
  )

  it.effect("follow an attempt of unknown outcome only where repeating is safe", () =>
    Effect.gen(function* () {
      const plain = tool("act")
      const variants = [
        [plain, {}, 1],
        [plain.annotate(Tool.Readonly, false), {}, 1],
        [plain.annotate(Tool.Idempotent, false), {}, 1],
        [plain.annotate(Tool.Readonly, true), {}, 4],
        [plain.annotate(Tool.Idempotent, true), {}, 4],
        [plain, { idempotencyKey: "k" }, 4]
      ] as const
      for (const [act, overrides, attempts] of variants) {
        for (const script of [Testing.hang, Testing.fail(lost), Testing.fail(http(504))]) {
          const { call, ran } = yield* scene(act, script, many)
          yield* inTime(call({ timeout: 1_000, ...overrides }))
          assert.strictEqual(ran().length, attempts, JSON.stringify([overrides, script]))
        }
        // Nothing was sent, so the outcome is known.
        const { call, ran } = yield* scene(act, Testing.fail(refused), many)
        yield* inTime(call(overrides))
        assert.strictEqual(ran().length, 4)
      }
    })
  )

  it.effect("are none where the tool or its call says 0", () =>
    Effect.gen(function* () {
      const never = tool("act").annotate(Annotate.Retries, 0)
      const byTool = yield* scene(never, Testing.fail(http(503)))
      assert.strictEqual((yield* inTime(byTool.call())).attempts, 1)
      const byCall = yield* scene(tool("act"), Testing.fail(http(503)))
      assert.strictEqual((yield* inTime(byCall.call({ retries: 0 }))).attempts, 1)
      const byDefault = yield* scene(tool("act"), Testing.fail(http(503)), {
        defaults: { retry: Retry.none }
      })
      assert.strictEqual((yield* inTime(byDefault.call())).attempts, 1)
      assert.deepStrictEqual(
        [byTool, byCall, byDefault].map(({ records }) => records[0]?.retried),
        [[], [], []]
      )
    })
  )

  it.effect("end where the schedule ends, whatever their number", () =>
    Effect.gen(function* () {
      const schedule = Schedule.max([Schedule.spaced("1 second"), Schedule.recurs(2)])
      const { call, records } = yield* scene(tool("act"), Testing.fail(http(503)), {
        ...many,
        defaults: { retry: Retry.make({ retries: 10, schedule }) }
      })
      const result = yield* inTime(call())
      assert.strictEqual(result.attempts, 3)
      assert.deepStrictEqual(delays(records[0]), [1_000, 1_000])
    })
  )

  it.effect("wait for the longer of the schedule and what the error asks for", () =>
    Effect.gen(function* () {
      const { call, records, ran } = yield* scene(tool("act"), [
        Testing.fail(http(429, { retryAfter: 3 })),
        Testing.fail(http(503, { headers: { "Retry-After": "0" } })),
        text
      ])
      const fiber = yield* started(call())
      yield* pass(2_999)
      assert.lengthOf(ran(), 1)
      yield* pass(1)
      assert.lengthOf(ran(), 2)
      yield* pass(200)
      assert.strictEqual((yield* Fiber.join(fiber)).status, "success")
      assert.deepStrictEqual(records[0]?.retried, [
        { attempt: 1, code: "HANDLER_FAILED", delay: 3_000 },
        { attempt: 2, code: "HANDLER_FAILED", delay: 200 }
      ])
    })
  )

  it.effect("that meet an open circuit do not begin: the call ends as its last attempt did", () =>
    Effect.gen(function* () {
      const { call, records, ran, services } = yield* scene(tool("act"), Testing.fail(http(503)), {
        breaker: { trip: CircuitBreaker.consecutive(2) }
      })
      const result = yield* inTime(call())
      assert.strictEqual(result.error?.code, "HANDLER_FAILED")
      assert.lengthOf(ran(), 2)
      assert.deepStrictEqual(records[0]?.retried, [{ attempt: 1, code: "HANDLER_FAILED", delay: 100 }])
      const health = yield* Context.get(services, Health.Health).get("act")
      assert.strictEqual(health.consecutiveFailures, 1)
      assert.strictEqual((yield* call()).status, "circuit_open")
    })
  )

  it.effect("that the interruption of their backoff prevents are not recorded", () =>
    Effect.gen(function* () {
      const { call, records, services } = yield* scene(tool("act"), Testing.fail(http(503)))
      const fiber = yield* started(call())
      yield* pass(250)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(records[0]?.status, "cancelled")
      assert.strictEqual(records[0]?.attempts, 2)
      assert.deepStrictEqual(delays(records[0]), [100])
      assert.deepStrictEqual(yield* held(services), nothingHeld)
    })
  )

  it.effect("show the call as retrying while it waits, and as running while it runs", () =>
    Effect.gen(function* () {
      const { executor, services } = yield* scene(tool("act"), [Testing.fail(http(503), 50), text])
      const seen: Array<string> = []
      yield* Context.get(services, CallRecord.CallRecorder).add({
        onStart: ({ status }) => {
          seen.push(status)
        },
        onChange: ({ status, attempts }) => {
          seen.push(`${status} ${attempts}`)
        },
        onEnd: ({ status }) => {
          seen.push(status)
        }
      })
      yield* inTime(executor.run("act", x))
      assert.deepStrictEqual(seen, ["pending", "running 1", "retrying 1", "running 2", "success"])
    })
  )

  it("record one entry for each attempt but the last, with the delay that was waited", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 5_000 }), { maxLength: 6 }),
        fc.integer({ min: 0, max: 5 }),
        (hints, retries) =>
          Effect.gen(function* () {
            const script = [...hints.map((ms) => Testing.fail(http(429, { retryAfterMs: ms }))), text]
            const { call, records, ran } = yield* scene(
              tool("act").annotate(Annotate.Retries, 5),
              script,
              many
            )
            const result = yield* inTime(call({ retries }), { step: 500, limit: 100_000 })
            const attempts = Math.min(hints.length, retries) + 1
            const expected = hints.slice(0, attempts - 1).map((hint, i) => ({
              attempt: i + 1,
              code: "HANDLER_FAILED",
              delay: Math.max(hint, 100 * 2 ** i)
            }))
            assert.lengthOf(ran(), attempts)
            assert.strictEqual(result.attempts, attempts)
            assert.deepStrictEqual(records[0]?.retried, expected)
            const waited = expected.reduce((sum, { delay }) => sum + delay, 0)
            assert.strictEqual(result.latency, waited)
            assert.strictEqual(result.status, hints.length <= retries ? "success" : "failure")
          }).pipe(Effect.scoped, Effect.provide(TestClock.layer()), Effect.runPromise)
      ),
      { numRuns: 200 }
    ))
})

// --- Fallback --------------------------------------------------------------

describe("fallback", () => {
  const fails = Testing.fail(Object.assign(new Error("400"), { status: 400 }))

  /** Tools a, b and c, each with a script and what stands in for it. */
  const chain = (
    fallbacks: Partial<Record<"a" | "b" | "c", Annotate.FallbackSource>>,
    scripts: Partial<Record<"a" | "b" | "c", Testing.Script>>,
    options: Interlock.Options = {}
  ) =>
    Effect.gen(function* () {
      const named = <const Name extends "a" | "b" | "c">(name: Name) => {
        const made = tool(name)
        const source = fallbacks[name]
        return source === undefined ? made : made.annotate(Annotate.Fallback, source)
      }
      const kit = Toolkit.make(named("a"), named("b"), named("c"))
      const tools = Testing.scripted(kit, { a: text, b: text, c: text, ...scripts })
      const world = yield* open(kit, tools.layer, options)
      return {
        ...world,
        tools,
        call: (overrides: Partial<ToolCall> = {}) => world.execute({ tool: "a", params: x, ...overrides })
      }
    })

  it.effect("answers with a static value, and says why", () =>
    Effect.gen(function* () {
      const { call, records, executor } = yield* chain({ a: { value: "from the cache" } }, { a: fails })
      const result = yield* call()
      assert.strictEqual(result.status, "degraded")
      assert.strictEqual(result.value, "from the cache")
      assert.strictEqual(result.error?.code, "HANDLER_FAILED")
      assert.strictEqual(records[0]?.reason, "HandlerFailed")
      assert.strictEqual(yield* executor.run("a", x), "from the cache")
    })
  )

  it.effect("answers for each way in which a tool can be unavailable or fail", () =>
    Effect.gen(function* () {
      const fallback = { a: { value: "instead" } }
      const status = (
        script: Testing.Script,
        overrides: Partial<ToolCall> = {},
        options: Interlock.Options = {}
      ) =>
        Effect.gen(function* () {
          const { call, services } = yield* chain(fallback, { a: script }, options)
          const result = yield* inTime(call(overrides))
          assert.deepStrictEqual(yield* held(services), nothingHeld)
          return `${result.status} ${result.error?.code}`
        })
      assert.strictEqual(yield* status(Testing.fail(new Busy({ seats: 0 }))), "degraded TOOL_FAILED")
      assert.strictEqual(yield* status(fails), "degraded HANDLER_FAILED")
      assert.strictEqual(yield* status(Testing.die("bug")), "degraded HANDLER_DEFECT")
      assert.strictEqual(yield* status(Testing.succeed(5)), "degraded INVALID_RESULT")
      assert.strictEqual(yield* status(Testing.hang, { timeout: 100 }), "degraded TIMED_OUT")
      assert.strictEqual(yield* status(Testing.hang, { deadline: 5_000 }), "degraded TIMED_OUT")

      const open_ = yield* chain(fallback, {})
      yield* Context.get(open_.services, CircuitBreaker.CircuitBreaker).forceOpen("a", "by hand")
      assert.strictEqual((yield* open_.call()).error?.code, "CIRCUIT_OPEN")

      const full = yield* chain(fallback, { a: Testing.hang }, { bulkhead: { maxConcurrent: 1 } })
      yield* started(full.call())
      const overloaded = yield* full.call()
      assert.strictEqual(`${overloaded.status} ${overloaded.error?.code}`, "degraded OVERLOADED")
    })
  )

  it.effect("does not answer where the caller or the policy is the reason", () =>
    Effect.gen(function* () {
      const fallback = { a: { value: "instead" } }
      const status = (overrides: Partial<ToolCall>, options: Interlock.Options = {}) =>
        Effect.gen(function* () {
          const { call } = yield* chain(fallback, {}, options)
          const result = yield* call(overrides)
          assert.notProperty(result, "value")
          return result.status
        })
      assert.strictEqual(yield* status({ params: {} }), "invalid_params")
      assert.strictEqual(yield* status({}, { policy: { deny: ["a"] } }), "policy_denied")
      assert.strictEqual(yield* status({}, { permissions: { undeclared: "deny" } }), "permission_denied")
      assert.strictEqual(yield* status({ requireConfirmation: true }), "pending_confirmation")
      assert.strictEqual(yield* status({ deadline: 0 }), "timeout")
      assert.strictEqual(
        yield* status({ params: { target: "xx" } }, { policy: { argumentLimits: { stringLength: 1 } } }),
        "invalid_params"
      )
      const limits: Interlock.Options = { rateLimits: [{ limit: 1, window: "1 hour" }] }
      const { call } = yield* chain(fallback, {}, limits)
      yield* call()
      assert.strictEqual((yield* call()).status, "rate_limited")
    })
  )

  it.effect("is another tool's call, governed and recorded for itself", () =>
    Effect.gen(function* () {
      const { call, records, tools } = yield* chain(
        { a: { tool: "b" } },
        { a: fails },
        {
          rateLimits: [{ limit: 1, window: "1 hour", tools: ["b"] }]
        }
      )
      const result = yield* call({ metadata: { trip: "7" } })
      assert.strictEqual(result.status, "degraded")
      assert.strictEqual(result.value, "fine")
      const [instead, own] = records
      assert.strictEqual(instead?.tool, "b")
      assert.strictEqual(instead?.status, "success")
      assert.strictEqual(instead?.parentId, own?.callId)
      assert.notStrictEqual(instead?.callId, own?.callId)
      assert.deepStrictEqual(instead?.metadata, { trip: "7" })
      assert.strictEqual(own?.tool, "a")
      assert.strictEqual(own?.status, "degraded")
      assert.strictEqual(own?.parentId, undefined)
      assert.deepStrictEqual(tools.runs("b")[0]?.params, x)
      // Its quota is used up now, so the second time the failure stays.
      const second = yield* call()
      assert.strictEqual(second.error?.code, "HANDLER_FAILED")
      assert.strictEqual(second.status, "failure")
      assert.deepStrictEqual(
        records.slice(2).map(({ status }) => status),
        ["rate_limited", "failure"]
      )
    })
  )

  it.effect("makes the other tool's parameters of its own, which are decoded then", () =>
    Effect.gen(function* () {
      const { call, tools } = yield* chain(
        { a: { tool: "b", params: (params) => ({ target: `${(params as typeof x).target}!` }) } },
        { a: fails }
      )
      assert.strictEqual((yield* call()).status, "degraded")
      assert.deepStrictEqual(tools.runs("b")[0]?.params, { target: "x!" })
      const wrong = yield* chain({ a: { tool: "b", params: () => ({ target: 5 }) } }, { a: fails })
      assert.strictEqual((yield* wrong.call()).status, "failure")
      wrong.tools.assertRan("b", 0)
    })
  )

  it.effect("leaves the failure as it was where the other tool is denied, pending, missing or fails", () =>
    Effect.gen(function* () {
      const failure = (
        source: Annotate.FallbackSource,
        options: Interlock.Options = {},
        b: Testing.Script = text
      ) =>
        Effect.gen(function* () {
          const { call, records } = yield* chain(
            { a: source },
            { a: Testing.fail(new Busy({ seats: 3 })), b },
            options
          )
          const result = yield* inTime(call())
          assert.strictEqual(result.status, "failure")
          assert.deepStrictEqual(result.error?.reason, {
            _tag: "ToolFailed",
            class: "Caller",
            failure: { _tag: "Busy", seats: 3 }
          })
          assert.notProperty(result, "value")
          return records.map(({ status }) => status)
        })
      const b = { tool: "b" }
      assert.deepStrictEqual(yield* failure(b, { policy: { deny: ["b"] } }), ["policy_denied", "failure"])
      assert.deepStrictEqual(yield* failure(b, { policy: { requireConfirmation: ["b"] } }), [
        "pending_confirmation",
        "failure"
      ])
      assert.deepStrictEqual(yield* failure({ tool: "ghost" }), ["not_found", "failure"])
      assert.deepStrictEqual(yield* failure(b, {}, Testing.fail(new Busy({ seats: 9 }))), [
        "failure",
        "failure"
      ])
      assert.deepStrictEqual(yield* failure(b, {}, Testing.die("bug")), ["failure", "failure"])
      assert.deepStrictEqual(
        yield* failure({
          tool: "b",
          params: () => {
            throw new Error("a bug in the mapping")
          }
        }),
        ["failure"]
      )
    })
  )

  it.effect("leaves the failure as it was where the tool's own schema refuses the value", () =>
    Effect.gen(function* () {
      const { call } = yield* chain({ a: { value: 5 } }, { a: fails })
      const result = yield* call()
      assert.strictEqual(result.status, "failure")
      assert.strictEqual(result.error?.code, "HANDLER_FAILED")
    })
  )

  it.effect("goes on from tool to tool, and ends where it would come round", () =>
    Effect.gen(function* () {
      const line = yield* chain({ a: { tool: "b" }, b: { tool: "c" } }, { a: fails, b: fails })
      assert.strictEqual((yield* line.call()).status, "degraded")
      assert.deepStrictEqual(
        line.records.map(({ tool, status }) => `${tool} ${status}`),
        ["c success", "b degraded", "a degraded"]
      )
      assert.strictEqual(line.records[0]?.parentId, line.records[1]?.callId)

      const all = { a: fails, b: fails, c: fails }
      for (const [fallbacks, ran] of [
        [{ a: { tool: "a" } }, "a"],
        [{ a: { tool: "b" }, b: { tool: "a" } }, "b a"],
        [{ a: { tool: "b" }, b: { tool: "c" }, c: { tool: "b" } }, "c b a"],
        [{ a: { tool: "b" }, b: { tool: "c" }, c: { tool: "a" } }, "c b a"]
      ] as const) {
        const { call, records } = yield* chain(fallbacks, all)
        const result = yield* call()
        assert.strictEqual(result.error?.code, "HANDLER_FAILED")
        assert.strictEqual(records.map(({ tool }) => tool).join(" "), ran)
      }
    })
  )

  it.effect("shares the deadline, and is not begun after it", () =>
    Effect.gen(function* () {
      const late = yield* chain({ a: { tool: "b" } }, { a: Testing.hang })
      const result = yield* inTime(late.call({ deadline: 1_000 }))
      assert.strictEqual(result.status, "timeout")
      late.tools.assertRan("b", 0)

      const shared = yield* chain(
        { a: { tool: "b" } },
        { a: Testing.fail(new Busy({ seats: 0 }), 300), b: Testing.hang }
      )
      const now = result.completedAt
      const second = yield* inTime(shared.call({ deadline: now + 1_000 }))
      assert.strictEqual(second.latency, 1_000)
      assert.strictEqual(second.error?.code, "TOOL_FAILED")
      assert.deepStrictEqual(
        shared.records.map(({ status }) => status),
        ["timeout", "failure"]
      )
    })
  )

  it.effect("has the slot that its call gave back before", () =>
    Effect.gen(function* () {
      const { call, services } = yield* chain(
        { a: { tool: "b" } },
        { a: fails },
        { bulkhead: { maxConcurrent: 1 } }
      )
      const result = yield* call()
      assert.strictEqual(result.status, "degraded")
      assert.deepStrictEqual(yield* held(services), nothingHeld)
    })
  )

  it.effect("is interrupted with the call it stands in for, and each is recorded as cancelled", () =>
    Effect.gen(function* () {
      const { call, records, tools, services } = yield* chain(
        { a: { tool: "b" } },
        { a: fails, b: Testing.hang }
      )
      const fiber = yield* started(call())
      yield* Fiber.interrupt(fiber)
      tools.assertAllEnded()
      assert.deepStrictEqual(
        records.map(({ tool, status }) => `${tool} ${status}`),
        ["b cancelled", "a cancelled"]
      )
      assert.deepStrictEqual(yield* held(services), nothingHeld)
    })
  )

  it.effect("is cancelled too while its value is being encoded", () =>
    Effect.gen(function* () {
      const waits = Schema.String.pipe(
        Schema.decodeTo(Schema.String, {
          decode: SchemaGetter.passthrough(),
          encode: SchemaGetter.transformEffect((s: string) => Effect.delay(Effect.succeed(s), "1 second"))
        })
      )
      const act = Tool.make("act", { parameters, success: waits }).annotate(Annotate.Fallback, {
        value: "instead"
      })
      const kit = Toolkit.make(act)
      const { execute, records } = yield* open(kit, Testing.scripted(kit, { act: fails }).layer)
      const fiber = yield* started(execute({ tool: "act", params: x }))
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(
        records.map(({ status }) => status),
        ["cancelled"]
      )
    })
  )
})

// --- What handlers do wrong ------------------------------------------------

describe("a handler", () => {
  /** What operators are told. */
  const reported = <A, E, R>(effect: Effect.Effect<A, E, R>) => {
    const causes: Array<string> = []
    const reporter = ErrorReporter.make(({ cause }) => {
      causes.push(Cause.pretty(cause))
    })
    return Effect.map(
      Effect.provideService(effect, ErrorReporter.CurrentErrorReporters, new Set([reporter])),
      (value) => [value, causes] as const
    )
  }

  const once = (handler: () => Effect.Effect<string, Busy>, options: Interlock.Options = {}) =>
    Effect.gen(function* () {
      const kit = Toolkit.make(tool("act"))
      const world = yield* open(kit, kit.toLayer({ act: handler }), options)
      const [result, causes] = yield* reported(inTime(world.execute({ tool: "act", params: x })))
      assert.lengthOf(world.records, 1)
      assert.deepStrictEqual(yield* held(world.services), nothingHeld)
      const circuit = yield* Context.get(world.services, CircuitBreaker.CircuitBreaker).state("act")
      return { result, causes, record: world.records[0]!, failures: circuit.consecutiveFailures, ...world }
    })

  it.effect("that returns what its schema refuses has a defect, named by path, and is not retried", () =>
    Effect.gen(function* () {
      const { result, record, failures } = yield* once(() => Effect.succeed(5 as never))
      assert.strictEqual(result.error?.code, "INVALID_RESULT")
      assert.strictEqual(result.error?.class, "Defect")
      assert.strictEqual(record.attempts, 1)
      assert.strictEqual(failures, 1)
    })
  )

  it.effect("that dies has a defect, which operators see and the caller does not", () =>
    Effect.gen(function* () {
      const { result, causes, failures } = yield* once(() => Effect.die(new Error("hunter2")))
      assert.strictEqual(result.error?.code, "HANDLER_DEFECT")
      assert.notInclude(JSON.stringify(result), "hunter2")
      assert.include(causes.join(), "hunter2")
      assert.strictEqual(failures, 1)
      assert.strictEqual(result.attempts, 1)
    })
  )

  it.effect(
    "that throws before it returns its Effect has a defect like any other, and its fallback too",
    () =>
      Effect.gen(function* () {
        const bug = () => {
          throw new Error("hunter2")
        }
        const { result, causes } = yield* once(bug)
        assert.strictEqual(result.error?.code, "HANDLER_DEFECT")
        assert.include(causes.join(), "hunter2")
        const kit = Toolkit.make(tool("act").annotate(Annotate.Fallback, { value: "instead" }))
        const { execute } = yield* open(kit, kit.toLayer({ act: bug }))
        const degraded = yield* execute({ tool: "act", params: x })
        assert.strictEqual(degraded.value, "instead")
      })
  )

  it.effect("that returns no Effect at all has a defect too", () =>
    Effect.gen(function* () {
      const { result } = yield* once(() => "a text" as never)
      assert.strictEqual(result.error?.code, "HANDLER_DEFECT")
    })
  )

  it.effect("that fails and dies at once has a defect", () =>
    Effect.gen(function* () {
      const both = Cause.combine(Cause.fail(new Busy({ seats: 1 })), Cause.die("bug"))
      const { result } = yield* once(() => Effect.failCause(both))
      assert.strictEqual(result.error?.code, "HANDLER_DEFECT")
    })
  )

  it.effect("that interrupts itself ends the call as cancelled, and not its caller", () =>
    Effect.gen(function* () {
      for (const self of [Effect.interrupt, Effect.andThen(Effect.sleep(10), Effect.interrupt)]) {
        const { result, record, failures, executor } = yield* once(() => self)
        assert.strictEqual(result.status, "cancelled")
        assert.strictEqual(record.attempts, 1)
        assert.strictEqual(failures, 0)
        const exit = yield* Effect.exit(inTime(executor.run("act", x)))
        const error = Exit.isFailure(exit)
          ? Option.getOrUndefined(Cause.findErrorOption(exit.cause))
          : undefined
        assert.strictEqual(error instanceof ToolError.ToolError && error.code, "CANCELLED")
      }
    })
  )

  it.effect("whose finalizer dies when it is timed out has timed out, and operators see the defect", () =>
    Effect.gen(function* () {
      const kit = Toolkit.make(tool("act"))
      const handlers = kit.toLayer({
        act: () => Effect.onInterrupt(Effect.never, () => Effect.die("in the finalizer"))
      })
      const { execute, records } = yield* open(kit, handlers)
      const [timedOut, causes] = yield* reported(inTime(execute({ tool: "act", params: x, timeout: 100 })))
      assert.strictEqual(timedOut.status, "timeout")
      assert.include(causes.join(), "in the finalizer")
      const [, more] = yield* reported(
        Effect.gen(function* () {
          const fiber = yield* started(execute({ tool: "act", params: x }))
          yield* Fiber.interrupt(fiber)
        })
      )
      assert.include(more.join(), "in the finalizer")
      assert.strictEqual(records[1]?.status, "cancelled")
    })
  )

  it.effect("fails with what its schema declares, as it is in typed code and encoded elsewhere", () =>
    Effect.gen(function* () {
      const { result, executor } = yield* once(() => Effect.fail(new Busy({ seats: 2 })))
      assert.deepStrictEqual(result.error?.reason, {
        _tag: "ToolFailed",
        class: "Caller",
        failure: { _tag: "Busy", seats: 2 }
      })
      const failure = yield* Effect.flip(executor.run("act", x))
      assert.instanceOf(failure, Busy)
    })
  )

  class Greeting extends Context.Service<Greeting, { readonly word: string }>()("test/Greeting") {}

  it.effect("uses the services its layer was given, and those it and its schemas ask the caller for", () =>
    Effect.gen(function* () {
      class Punctuation extends Context.Service<Punctuation, string>()("test/Punctuation") {}
      class Volume extends Context.Service<Volume, number>()("test/Volume") {}
      const Greeted = Schema.String.pipe(
        Schema.decodeTo(Schema.String, {
          decode: SchemaGetter.transformEffect((s: string) =>
            Effect.map(Effect.delay(Greeting, "1 second"), ({ word }) => `${word} ${s}`)
          ),
          encode: SchemaGetter.transformEffect((s: string) =>
            Effect.map(Greeting, ({ word }) => `${s} ${word}`)
          )
        })
      )
      const act = Tool.make("act", {
        parameters: Schema.Struct({ name: Greeted }),
        success: Greeted,
        dependencies: [Volume]
      })
      const kit = Toolkit.make(act)
      const handlers = kit.toLayer(
        Effect.map(Punctuation, (mark) => ({
          act: ({ name }) => Effect.map(Volume, (volume) => name + mark.repeat(volume))
        }))
      )
      const { executor } = yield* open(kit, Layer.provide(handlers, Layer.succeed(Punctuation, "!")))
      const caller = Context.make(Greeting, { word: "hello" }).pipe(Context.add(Volume, 3))
      const result = yield* inTime(
        Effect.provideContext(executor.execute({ tool: "act", params: { name: "Ada" } }), caller)
      )
      assert.strictEqual(result.value, "hello Ada!!! hello")
      assert.strictEqual(result.latency, 1_000)
      // @ts-expect-error What the schema and the handler ask the caller for is missing.
      const missing: Effect.Effect<unknown, unknown> = executor.run("act", { name: "Ada" })
      assert.isDefined(missing)
    })
  )

  it.effect("is cut short when the call is interrupted while its result is encoded", () =>
    Effect.gen(function* () {
      const waits = Schema.String.pipe(
        Schema.decodeTo(Schema.String, {
          decode: SchemaGetter.passthrough(),
          encode: SchemaGetter.transformEffect((s: string) => Effect.delay(Effect.succeed(s), "1 second"))
        })
      )
      const kit = Toolkit.make(Tool.make("act", { parameters, success: waits }))
      const { execute, records, services } = yield* open(kit, Testing.scripted(kit, { act: text }).layer)
      const fiber = yield* started(execute({ tool: "act", params: x }))
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(
        records.map(({ status }) => status),
        ["cancelled"]
      )
      assert.deepStrictEqual(yield* held(services), nothingHeld)
    })
  )
})

describe("what a tool says of itself", () => {
  it.effect("ends the call as a defect where its own functions throw, and nothing is held", () =>
    Effect.gen(function* () {
      const bug = () => {
        throw new Error("bug")
      }
      const plain = tool("act")
      for (const [act, attempts] of [
        [plain.annotate(Annotate.Classify, bug), 1],
        [plain.annotate(Annotate.Cost, bug), 0]
      ] as const) {
        const { call, services, records } = yield* scene(act, Testing.fail(new Error("503")))
        const result = yield* inTime(call())
        assert.strictEqual(result.error?.code, "HANDLER_DEFECT")
        assert.strictEqual(result.attempts, attempts)
        assert.lengthOf(records, 1)
        assert.deepStrictEqual(yield* held(services), nothingHeld)
        const circuit = yield* Context.get(services, CircuitBreaker.CircuitBreaker).state("act")
        // What never came to its handler says nothing of it.
        assert.strictEqual(circuit.consecutiveFailures, attempts)
      }
    })
  )

  it.effect("adds up what its attempts cost at most", () =>
    Effect.gen(function* () {
      const act = tool("act").annotate(Annotate.Cost, (params) => (params as typeof x).target.length * 10)
      const { call, records } = yield* scene(act, [Testing.fail(new Error("503")), text])
      yield* inTime(call({ params: { target: "four" } }))
      assert.deepStrictEqual(records[0]?.cost, { usd: 80 })
    })
  )
})

describe("a caller that is interrupted", () => {
  it.effect("sees its interruption, and the record says cancelled, wherever the call waited", () =>
    Effect.gen(function* () {
      const act = tool("act")
        .annotate(Annotate.Bulkhead, { maxConcurrent: 1, maxQueue: 1 })
        .annotate(Tool.Readonly, true)
      const { call, records, services, tools } = yield* scene(act, Testing.hang)
      const first = yield* started(call())
      const queued = yield* started(call())
      for (const fiber of [queued, first]) {
        yield* Fiber.interrupt(fiber)
        const exit = yield* Fiber.await(fiber)
        assert.isTrue(Exit.hasInterrupts(exit))
      }
      yield* settled
      tools.assertAllEnded()
      assert.deepStrictEqual(
        records.map(({ status, attempts }) => `${status} ${attempts}`),
        ["cancelled 0", "cancelled 1"]
      )
      assert.deepStrictEqual(yield* held(services), nothingHeld)
    })
  )
})
