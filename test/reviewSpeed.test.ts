/** What the fast way of a call must not lose: time, ends of calls, interruption, and what leaves with them. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scheduler from "effect/Scheduler"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as Stream from "effect/Stream"
import {
  ToolAnnotations as Annotate,
  CallRecord,
  Handlers,
  Idempotency,
  Permissions,
  type SecurityPolicy,
  ToolExecutor,
  Verdict
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import * as fc from "fast-check"
import { Deadlines } from "../src/internal/deadlines.ts"
import * as Raw from "../src/internal/raw.ts"
import { requestOf } from "../src/internal/request.ts"
import { deferred, held, nothingHeld, open, pass, settled, started, turns } from "./support/world.ts"

/** The clock of the test, as a program may have it: counted, and set back. */
const watched = Effect.map(Clock.Clock, (clock) => {
  const watch = { sleeping: 0, setBack: 0 }
  const own: Clock.Clock = Object.assign(Object.create(clock), {
    currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() - watch.setBack,
    sleep: (duration: Duration.Duration) =>
      Effect.suspend(() => {
        watch.sleeping++
        return Effect.ensuring(
          clock.sleep(duration),
          Effect.sync(() => {
            watch.sleeping--
          })
        )
      })
  })
  return { watch, on: Effect.provideService(Clock.Clock, own) }
})

const hanging = (timeout: Duration.Input) => {
  const Kit = Toolkit.make(
    Tool.make("hang")
      .annotate(Annotate.Timeout, timeout)
      .annotate(Annotate.Retries, 0)
      .annotate(Annotate.Circuit, false)
  )
  return open(Kit, Kit.toLayer({ hang: () => Effect.never }))
}

describe("deadlines", () => {
  it.effect("one sleeper is enough for callers who call again as soon as their time is over", () =>
    Effect.gen(function* () {
      const { on, watch } = yield* watched
      const { execute, records } = yield* hanging("1 second")
      const again: Effect.Effect<never> = Effect.flatMap(execute({ tool: "hang", params: {} }), () => again)
      const callers = [yield* started(on(again)), yield* started(on(again))]
      yield* pass("500 millis")
      callers.push(yield* started(on(again)))
      for (let passed = 0; passed < 20; passed++) {
        yield* pass("500 millis")
        assert.strictEqual(watch.sleeping, 1)
      }
      const took = records.map(({ completedAt = 0, queuedAt }) => completedAt - queuedAt)
      assert.deepStrictEqual(new Set(took), new Set([1000]))
      assert.strictEqual(records.length, 30)
      yield* Fiber.interruptAll(callers)
      yield* settled
      assert.strictEqual(watch.sleeping, 0)
    })
  )

  it.effect("a clock that is set back takes time from nobody", () =>
    Effect.gen(function* () {
      const { on, watch } = yield* watched
      const { execute } = yield* hanging("30 seconds")
      const call = on(execute({ tool: "hang", params: {} }))
      const ended = (fiber: Fiber.Fiber<unknown>) => fiber.pollUnsafe() !== undefined
      const first = yield* started(call)
      yield* pass("10 seconds")
      const second = yield* started(call)
      yield* pass("19 seconds")
      watch.setBack = 3_600_000
      const third = yield* started(call)
      yield* pass("1 second")
      assert.deepStrictEqual([first, second, third].map(ended), [true, false, false])
      yield* pass("10 seconds")
      assert.deepStrictEqual([first, second, third].map(ended), [true, true, false])
      yield* pass("18 seconds")
      assert.isFalse(ended(third))
      yield* pass("1 second")
      assert.isTrue(ended(third))
      assert.strictEqual(watch.sleeping, 0)
    })
  )
})

describe("a line of deadlines", () => {
  /** A clock whose time passes when it is told to. */
  class ByHand {
    now = 0
    readonly sleepers: Array<{ readonly until: number; readonly wake: () => void }> = []
    readonly clock = {
      currentTimeMillisUnsafe: () => this.now,
      sleep: (duration: Duration.Duration) =>
        Effect.callback<void>((resume) => {
          const sleeper = {
            until: this.now + Duration.toMillis(duration),
            wake: () => resume(Effect.void)
          }
          this.sleepers.push(sleeper)
          return Effect.sync(() => {
            const index = this.sleepers.indexOf(sleeper)
            if (index !== -1) this.sleepers.splice(index, 1)
          })
        })
    } as Clock.Clock

    pass(millis: number): void {
      this.now += millis
      for (;;) {
        const index = this.sleepers.findIndex(({ until }) => until <= this.now)
        if (index === -1) return
        this.sleepers.splice(index, 1)[0]?.wake()
      }
    }
  }

  const acts = fc.array(
    fc.oneof(
      fc.record({ _tag: fc.constant("join" as const), millis: fc.constantFrom(0, 3, 7), again: fc.nat(2) }),
      fc.record({ _tag: fc.constant("leave" as const), who: fc.nat(20) }),
      fc.record({ _tag: fc.constant("pass" as const), millis: fc.nat(4) })
    ),
    { maxLength: 40 }
  )

  it("tells everyone who has not left once, at the first look after its time, and sleeps once per duration", () => {
    fc.assert(
      fc.property(acts, (acts) => {
        const byHand = new ByHand()
        const deadlines = new Deadlines()
        const members: Array<{ at: number; told: Array<number>; left: boolean; leave: () => void }> = []
        const join = (millis: number, again: number): void => {
          const { now } = byHand
          const line = deadlines.line(byHand.clock, millis)
          const member = { at: now + millis, told: [] as Array<number>, left: false, leave: () => {} }
          members.push(member)
          const expire = () => {
            member.told.push(byHand.now)
            // Whoever is told may end another at once, and begin anew.
            const other = members.find(({ left, told }) => !left && told.length === 0)
            if (again === 2) other?.leave()
            if (again > 0) join(Math.max(millis, 1), again - 1)
          }
          const place = line.join({ at: member.at, expire }, Context.empty(), now)
          member.leave = () => {
            if (member.told.length > 0) return
            member.left = true
            line.leave(place, Context.empty())
          }
        }
        for (const act of acts) {
          if (act._tag === "join") join(act.millis, act.again)
          else if (act._tag === "leave") members[act.who % Math.max(1, members.length)]?.leave()
          else byHand.pass(act.millis)
          byHand.pass(0)
          assert.isAtMost(byHand.sleepers.length, 3)
          for (const { at, left, told } of members) {
            const due = at <= byHand.now
            assert.isTrue(left ? told.length === 0 : told.length === (due ? 1 : 0))
            assert.isTrue(told.every((when) => when >= at))
          }
        }
      }),
      { numRuns: 2000 }
    )
  })
})

describe("interruption", () => {
  it.effect("of a port itself stays interruption through every door", () =>
    Effect.gen(function* () {
      const Kit = Toolkit.make(Tool.make("look"))
      const services = yield* Layer.build(Testing.layer())
      const { Permissions: key } = Permissions
      const broken = Context.add(services, key, {
        ...Context.get(services, key),
        check: () => Effect.andThen(Effect.yieldNow, Effect.interrupt)
      })
      const handlers = yield* Layer.build(Kit.toLayer({ look: () => Effect.void }))
      const executor = yield* Effect.provide(ToolExecutor.make(Kit), Context.merge(broken, handlers))
      for (const door of [executor.run("look", {}), executor.execute({ tool: "look", params: {} })]) {
        const exit = yield* Effect.exit(door as Effect.Effect<unknown, unknown>)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause), String(exit))
      }
    })
  )
})

/** A call with a key, whose store takes its time, of a handler that is told when to end. */
const keyed = (onComplete: () => void, context: Context.Context<never> = Context.empty()) =>
  Effect.gen(function* () {
    const Kit = Toolkit.make(Tool.make("pay", { success: Schema.String }))
    const services = yield* Layer.build(Testing.layer())
    const store = Context.get(services, Idempotency.Idempotency)
    const slow = Context.add(services, Idempotency.Idempotency, {
      ...store,
      complete: (...args) => {
        onComplete()
        return Effect.delay(store.complete(...args), 10)
      }
    })
    const records: Array<CallRecord.CallRecord> = []
    yield* Context.get(services, CallRecord.CallRecorder).add({
      onEnd: (record) => {
        records.push(record)
      }
    })
    const { promise, resolve } = deferred<string>()
    const handlers = yield* Layer.build(Handlers.toLayer(Kit, { pay: () => promise }))
    const executor = yield* Effect.provide(ToolExecutor.make(Kit), Context.merge(slow, handlers))
    const call = { tool: "pay", params: {}, idempotencyKey: "k" }
    const caller = yield* started(Effect.provideContext(executor.execute(call), context))
    return { caller, executor, call, records, services, promise, resolve }
  })

describe("a caller that is interrupted", () => {
  const endsOnce = Effect.fnUntraced(function* ({
    call,
    caller,
    executor,
    records,
    services
  }: Effect.Success<ReturnType<typeof keyed>>) {
    yield* pass("1 second")
    const exit = caller.pollUnsafe()
    assert.isTrue(exit !== undefined && Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
    assert.deepStrictEqual(
      records.map(({ status }) => status),
      ["success"]
    )
    assert.deepStrictEqual(yield* held(services), nothingHeld)
    assert.strictEqual((yield* executor.execute(call)).answeredFrom, "idempotency")
  })

  it.effect("by what follows its handler: the call is written down as it ended", () =>
    Effect.gen(function* () {
      let interrupt = () => {}
      const opened = yield* keyed(() => interrupt())
      interrupt = () => opened.caller.interruptUnsafe()
      opened.resolve("paid")
      yield* turns()
      yield* endsOnce(opened)
    })
  )

  it.effect("as its handler ends, before its fiber has its turn: the call is written down as it ended", () =>
    Effect.gen(function* () {
      let full = false
      const mixed = new Scheduler.MixedScheduler()
      // Gives turns by what else there is to do.
      const scheduler: Scheduler.Scheduler = {
        executionMode: "async",
        shouldYield: (fiber) => {
          const yields = full || mixed.shouldYield(fiber)
          full = false
          return yields
        },
        makeDispatcher: () => mixed.makeDispatcher()
      }
      const filling = () => {
        full = true
      }
      const opened = yield* keyed(
        filling,
        Context.make(Scheduler.Scheduler, scheduler) as Context.Context<never>
      )
      opened.resolve("paid")
      yield* Effect.promise(() => opened.promise)
      yield* Effect.promise(async () => {
        for (let ticks = 0; ticks < 5; ticks++) await undefined
      })
      opened.caller.interruptUnsafe()
      yield* turns()
      yield* endsOnce(opened)
    })
  )
})

describe("a toolkit", () => {
  it.effect("leaves nothing with its caller of calls that have streamed", () =>
    Effect.gen(function* () {
      const Kit = Toolkit.make(Tool.make("count", { success: Schema.Finite }))
      const handlers = Kit.toLayer({
        count: (_, { preliminary }) => Effect.as(Effect.andThen(preliminary(1), Effect.yieldNow), 2)
      })
      const { executor } = yield* open(Kit, handlers)
      const kit = yield* executor.toolkit
      const caller = yield* started(
        Effect.gen(function* () {
          for (let calls = 0; calls < 3; calls++) {
            const parts = yield* Stream.runCollect(yield* kit.handle("count", {}))
            assert.deepStrictEqual(
              parts.map(({ result }) => result),
              [1, 2]
            )
          }
          return yield* Effect.never
        })
      )
      // Fibers tell nobody how many wait for their end.
      const { _observers = [] } = caller as { readonly _observers?: ReadonlyArray<unknown> }
      assert.strictEqual(caller.pollUnsafe(), undefined)
      assert.strictEqual(_observers.length, 0)
      yield* Fiber.interrupt(caller)
    })
  )
})

describe("a plain handler", () => {
  it.effect("whose thenable throws where it is looked at has failed, and its fallback answers", () =>
    Effect.gen(function* () {
      const Kit = Toolkit.make(
        Tool.make("ask", { success: Schema.String })
          .annotate(Annotate.Retries, 0)
          .annotate(Annotate.Fallback, { value: "instead" })
      )
      const thenables = [
        {
          // biome-ignore lint/suspicious/noThenProperty: this is what is tested
          get then() {
            throw new Error("no")
          }
        },
        // biome-ignore lint/suspicious/noThenProperty: this is what is tested
        Object.assign(Promise.resolve(""), { then: () => assert.fail("no") })
      ] as unknown as ReadonlyArray<Promise<string>>
      for (const thenable of thenables) {
        const { execute } = yield* open(Kit, Handlers.toLayer(Kit, { ask: () => thenable }))
        assert.deepInclude(yield* execute({ tool: "ask", params: {} }), {
          status: "degraded",
          value: "instead"
        })
      }
    })
  )
})

describe("a rule about arguments", () => {
  const noEvilHost: SecurityPolicy.Rule = {
    name: "no evil host",
    decide: ({ params }) =>
      JSON.stringify(params).includes("evilHost") ? Verdict.deny("no evil host", "No.") : Verdict.allow
  }

  // Where a schema renames keys, decoding changes what is said: `onlyChecks` looks at what records hold, not at their keys.
  it.effect("is asked again about keys that decoding has renamed", () =>
    Effect.gen(function* () {
      const keys = Schema.String.pipe(Schema.decode(SchemaTransformation.snakeToCamel()))
      const parameters = Schema.Struct({ headers: Schema.Record(keys, Schema.String) })
      const Kit = Toolkit.make(Tool.make("send", { parameters }))
      let ran = 0
      const handlers = Handlers.toLayer(Kit, {
        send: () => {
          ran++
        }
      })
      const { execute } = yield* open(Kit, handlers, { rules: [noEvilHost] })
      const { status } = yield* execute({ tool: "send", params: { headers: { evil_host: "x" } } })
      assert.deepStrictEqual({ status, ran }, { status: "policy_denied", ran: 0 })
    })
  )
})

describe("a call from outside", () => {
  const text = fc.oneof(
    fc.constantFrom("", "a", "x".repeat(256), "x".repeat(257), "__proto__"),
    fc.string({ maxLength: 3 })
  )
  const value = fc.oneof(text, fc.jsonValue({ maxDepth: 1 }), fc.constant(undefined))
  const name = fc.constantFrom("tool", "params", "id", "timeout", "step", "approval", "junk", "__proto__")
  const calls = fc
    .tuple(fc.option(text, { nil: undefined }), fc.array(fc.tuple(name, value), { maxLength: 4 }))
    .map(([tool, entries]) => {
      const call = {}
      for (const [key, value] of tool === undefined ? entries : [["tool", tool] as const, ...entries]) {
        Object.defineProperty(call, key, { value, enumerable: true, configurable: true, writable: true })
      }
      return call
    })
  const read = (call: unknown) => {
    const { params, ...rest } = requestOf("execute", call)
    return JSON.parse(JSON.stringify({ ...rest, params: Raw.read(params) }))
  }

  it("is the same request, or the same refusal, whether its schema was asked or not", () => {
    fc.assert(
      fc.property(calls, (call) => {
        // What inherits from nothing is read by the schema.
        const asked = Object.create(null, Object.getOwnPropertyDescriptors(call))
        assert.deepStrictEqual(read(call), read(asked))
      }),
      { numRuns: 2000 }
    )
  })
})
