/**
 * Interruption at any point leaves one record per call and nothing held. The
 * worlds of these tests run one scheduled task at a time, so that there is a
 * finite number of points, and each of them is tried.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  ToolAnnotations as Annotate,
  Approvals,
  Budget,
  CallRecord,
  CircuitBreaker,
  Handlers,
  type Interlock,
  Principal,
  type ToolCall,
  type ToolResult
} from "effect-interlock"
import * as fc from "fast-check"
import { Stepper } from "./support/stepper.ts"
import { held, nothingHeld, open, valueOf } from "./support/world.ts"

// --- A world with one executor ---------------------------------------------

class Busy extends Schema.TaggedError<Busy>()("Busy", {}) {}

const parameters = Schema.Struct({ target: Schema.String })
const tool = <const Name extends string>(name: Name) =>
  Tool.make(name, { parameters, success: Schema.String, failure: Busy })

const slowly = Schema.String.pipe(
  Schema.decodeTo(Schema.String, {
    decode: SchemaGetter.transformEffect((s: string) => Effect.delay(Effect.succeed(s), 10)),
    encode: SchemaGetter.transformEffect((s: string) => Effect.delay(Effect.succeed(s), 10))
  })
)

const kit = Toolkit.make(
  tool("effect").annotate(Annotate.Fallback, { value: "instead" }),
  tool("promise"),
  tool("stubborn"),
  tool("narrow").annotate(Annotate.Bulkhead, { maxConcurrent: 1, maxQueue: 10 }),
  tool("repeatable").annotate(Tool.Idempotent, true).annotate(Annotate.Cost, 3),
  tool("covered").annotate(Annotate.Fallback, { tool: "promise" }).annotate(Annotate.Cost, 3),
  Tool.make("slow_schema", {
    parameters: Schema.Struct({ target: slowly }),
    success: slowly,
    needsApproval: () => Effect.delay(Effect.succeed(false), 10)
  }),
  tool("payment")
)
type Name = keyof typeof kit.tools

const ada = Principal.make({ id: "ada" })

/** What a handler does on one run. */
type Act =
  | { readonly _tag: "succeed" | "fail" | "declared" | "refused"; readonly after: number }
  | { readonly _tag: "throw" | "die" | "interruptSelf" | "wrong" | "hang" }

const act = (_tag: Act["_tag"], after = 10): Act => ({ _tag, after }) as Act

const errorOf = ({ _tag }: Act): unknown =>
  _tag === "declared"
    ? new Busy()
    : _tag === "refused"
      ? Object.assign(new Error("no"), { status: 400 })
      : new Error("503")

class World {
  readonly stepper: Stepper
  readonly scope = Scope.makeUnsafe()
  readonly started: Array<CallRecord.CallRecord> = []
  /** Handlers that were started, by tool. */
  readonly runs = new Map<string, number>()
  /** Effects of handlers that have not ended, and promises that have not settled. */
  active = 0
  unsettled = 0
  /** From now on every handler succeeds. */
  calm = false
  /** Called by every handler before anything else. */
  onRun: (() => void) | undefined
  readonly opened: Effect.Success<ReturnType<typeof World.open>>

  constructor(
    maxOps: number,
    scripts: Partial<Record<Name, ReadonlyArray<Act>>>,
    options: Interlock.Options
  ) {
    this.stepper = new Stepper(maxOps)
    this.opened = Effect.runSync(
      Effect.provideService(World.open(this, scripts, options), Scope.Scope, this.scope)
    )
    const { services } = this.opened
    const recorder = Context.get(services, CallRecord.CallRecorder)
    Effect.runSync(
      Effect.provideService(
        recorder.add({
          onStart: (record) => {
            this.started.push(record)
          }
        }),
        Scope.Scope,
        this.scope
      )
    )
  }

  static open(world: World, scripts: Partial<Record<Name, ReadonlyArray<Act>>>, options: Interlock.Options) {
    const next = (name: Name): Act => {
      const run = (world.runs.get(name) ?? 0) + 1
      world.runs.set(name, run)
      world.onRun?.()
      const script = (world.calm ? undefined : scripts[name]) ?? [act("succeed")]
      return script[Math.min(run, script.length) - 1] ?? act("succeed")
    }
    const asEffect = (name: Name) => (): Effect.Effect<string, Busy> =>
      Effect.suspend(() => {
        const step = next(name)
        world.active++
        return Effect.ensuring(
          Effect.suspend(() => playEffect(step)),
          // Finalizers that take time must have run too.
          Effect.andThen(
            Effect.sleep(1),
            Effect.sync(() => {
              world.active--
            })
          )
        )
      })
    const asPromise =
      (name: Name, honours: boolean) =>
      (_: unknown, { signal }: { readonly signal: AbortSignal }): Promise<string> | string => {
        const step = next(name)
        if (step._tag === "throw") throw errorOf(step)
        world.unsettled++
        return playPromise(world.stepper, step, honours ? signal : undefined).finally(() => {
          world.unsettled--
        })
      }
    const handlers = Handlers.toLayer(kit, {
      effect: asEffect("effect"),
      promise: asPromise("promise", true),
      stubborn: asPromise("stubborn", false),
      narrow: asPromise("narrow", false),
      repeatable: asPromise("repeatable", false),
      covered: asEffect("covered"),
      slow_schema: asPromise("slow_schema", true),
      payment: asEffect("payment")
    })
    return open(kit, handlers, { budget: [{ name: "all", max: 1_000_000 }], ...options })
  }

  /** Runs an effect in this world until it ends. */
  async run<A, E>(effect: Effect.Effect<A, E>): Promise<Exit.Exit<A, E>> {
    return this.end(this.stepper.fork(effect))
  }

  async end<A, E>(fiber: Fiber.Fiber<A, E>): Promise<Exit.Exit<A, E>> {
    for (;;) {
      const exit = fiber.pollUnsafe()
      if (exit !== undefined) return exit
      if (!(await this.stepper.step())) throw new Error("A fiber waits for what never comes")
    }
  }

  execute(call: ToolCall): Effect.Effect<ToolResult> {
    return this.opened.execute(call)
  }

  /** What must hold when nothing runs any more, whatever happened before. */
  async assertAtRest(): Promise<void> {
    await this.stepper.drain()
    const { records, services } = this.opened
    assert.deepStrictEqual(valueOf(await this.run(held(services))), nothingHeld)
    assert.strictEqual(
      await this.settledMoney(),
      records.reduce((sum, { cost }) => sum + (cost?.usd ?? 0), 0)
    )
    assert.strictEqual(this.stepper.sleeping, 0, "sleepers")
    assert.strictEqual(this.stepper.fibers, 0, "fibers")
    assert.strictEqual(this.active, 0, "handlers")
    assert.strictEqual(this.unsettled, 0, "promises")
    assert.sameMembers([...records], this.started, "one record per started call")
    assert.strictEqual(new Set(records).size, records.length, "one end per call")
    for (const record of records) assertConsistent(record)
    for (const [name, runs] of this.runs) {
      const attempts = records.reduce((sum, record) => sum + (record.tool === name ? record.attempts : 0), 0)
      assert.strictEqual(attempts, runs, `attempts of ${name}`)
    }
    await Effect.runPromise(Scope.close(this.scope, Exit.void))
  }

  async settledMoney(): Promise<number> {
    const { standing } = Context.get(this.opened.services, Budget.Budget)
    return valueOf(await this.run(standing)).reduce((sum, { settled }) => sum + settled, 0)
  }
}

const playEffect = (step: Act): Effect.Effect<string, Busy> => {
  switch (step._tag) {
    case "succeed":
      return Effect.delay(Effect.succeed("fine"), step.after)
    case "fail":
    case "declared":
    case "refused":
      // What is not declared counts as thrown.
      return Effect.delay(Effect.fail(errorOf(step) as Busy), step.after)
    case "throw":
      throw errorOf(step)
    case "die":
      return Effect.die("bug")
    case "interruptSelf":
      return Effect.interrupt
    case "wrong":
      return Effect.succeed(5 as never)
    case "hang":
      return Effect.never
  }
}

const playPromise = async (stepper: Stepper, step: Act, signal: AbortSignal | undefined): Promise<string> => {
  // A promise that hangs settles at last, so that the world comes to rest.
  await stepper.wait("after" in step && step.after !== undefined ? step.after : 100_000, signal)
  if (step._tag === "succeed") return "fine"
  if (step._tag === "wrong") return 5 as never
  throw errorOf(step)
}

const neverReached = [
  "invalid_params",
  "permission_denied",
  "policy_denied",
  "rate_limited",
  "pending_confirmation",
  "overloaded",
  "circuit_open",
  "not_found",
  "rejected",
  "budget_exceeded",
  "unavailable",
  "unknown"
]

const priced: ReadonlySet<string> = new Set(["repeatable", "covered"])

const assertConsistent = (record: CallRecord.CallRecord): void => {
  const { answeredFrom, attempts, completedAt, queuedAt, retried, startedAt, status } = record
  const { reason, tool } = record
  const told = JSON.stringify({ tool, status, attempts, retried, reason, answeredFrom })
  assert.isDefined(completedAt, told)
  assert.strictEqual(retried.length, Math.max(0, attempts - 1), told)
  assert.strictEqual(startedAt !== undefined, attempts > 0, told)
  assert.isAtMost(queuedAt, startedAt ?? queuedAt)
  assert.isAtMost(startedAt ?? queuedAt, completedAt ?? Number.NaN)
  assert.notInclude(["pending", "running", "retrying", "skipped"], status, told)
  if (answeredFrom !== undefined) assert.strictEqual(attempts, 0, told)
  else if (status === "success" || (status === "failure" && reason !== "HandlerDefect")) {
    assert.isAtLeast(attempts, 1, told)
  }
  if (neverReached.includes(status)) assert.strictEqual(attempts, 0, told)
  assert.strictEqual(record.cost?.usd ?? 0, priced.has(tool) ? 3 * attempts : 0, told)
  if (record.abandoned) assert.isAtLeast(attempts, 1, told)
}

// --- Every yield point -----------------------------------------------------

interface Scenario {
  readonly options?: Interlock.Options
  readonly scripts?: Partial<Record<Name, ReadonlyArray<Act>>>
  /** What has happened before. */
  readonly before?: (world: World) => Promise<void>
  readonly subject: (world: World) => Effect.Effect<unknown>
  /** How the subject ends when nobody interrupts it. */
  readonly status: string
  /** What must hold when it has ended or was interrupted, before time passes. */
  readonly after?: (world: World, record: CallRecord.CallRecord | undefined) => Promise<void>
  /** Timers of other calls that may begin in the subject's place. */
  readonly others?: number
  /** A call that must succeed afterwards; by default the subject's tool. */
  readonly again?: ToolCall
}

const x = { target: "x" }
const calls =
  (name: Name, overrides: Partial<ToolCall> = {}) =>
  (world: World) =>
    world.execute({ id: "subject", tool: name, params: x, ...overrides })

/** Whether the limit of one call an hour is used up. */
const charged = async (world: World, name: Name): Promise<boolean> => {
  const result = await world.run(world.execute({ tool: name, params: x, deadline: world.stepper.now + 1 }))
  return Exit.isSuccess(result) && result.value.status === "rate_limited"
}

const hourly = { limit: 1, window: "1 hour" } as const

const scenarios: Readonly<Record<string, Scenario>> = {
  "an effect": { subject: calls("effect"), status: "success" },
  "a promise that honours its signal": { subject: calls("promise"), status: "success" },
  "a promise that ignores its signal": { subject: calls("stubborn"), status: "success" },
  "a promise that is timed out": {
    subject: calls("promise", { timeout: 5 }),
    scripts: { promise: [act("hang"), act("succeed")] },
    status: "timeout"
  },
  "a promise that ignores its timeout": {
    subject: calls("stubborn", { timeout: 5 }),
    scripts: { stubborn: [act("succeed", 50), act("succeed")] },
    status: "timeout"
  },
  "a call that waits for a slot behind one that was abandoned": {
    before: async (world) => {
      world.stepper.fork(world.execute({ tool: "narrow", params: x, timeout: 5 }))
      await world.stepper.advanceTo(6)
    },
    scripts: { narrow: [act("succeed", 50), act("succeed")] },
    subject: calls("narrow", { deadline: 1_000 }),
    status: "success"
  },
  "a call whose deadline ends while it waits for a slot": {
    before: async (world) => {
      world.stepper.fork(world.execute({ tool: "narrow", params: x }))
      await world.stepper.settle()
    },
    scripts: { narrow: [act("succeed", 50), act("succeed")] },
    subject: calls("narrow", { deadline: 20 }),
    status: "timeout"
  },
  "a call that waits for its turn under a limit": {
    options: { rateLimits: [{ limit: 1, window: "1 second", onExceeded: "wait" }] },
    before: async (world) => {
      await world.run(world.execute({ tool: "promise", params: x }))
    },
    subject: calls("promise", { deadline: 60_000 }),
    status: "success"
  },
  "a retry that waits for its turn under a limit": {
    options: { rateLimits: [{ limit: 1, window: "1 second", onExceeded: "wait", per: "attempt" }] },
    scripts: { promise: [act("fail"), act("succeed")] },
    subject: calls("promise"),
    status: "success"
  },
  "retries that sleep": {
    scripts: { repeatable: [act("fail"), act("succeed", 50), act("fail"), act("succeed")] },
    subject: calls("repeatable", { timeout: 20 }),
    status: "success"
  },
  "a fallback that is another tool": {
    scripts: { covered: [act("declared")] },
    subject: calls("covered"),
    status: "degraded"
  },
  "a fallback that fails": {
    scripts: { covered: [act("declared"), act("succeed")], promise: [act("refused")] },
    subject: calls("covered"),
    status: "failure"
  },
  "a static fallback": {
    scripts: { effect: [act("die"), act("succeed")] },
    subject: calls("effect"),
    status: "degraded"
  },
  "schemas and questions that wait": {
    subject: calls("slow_schema", { deadline: 10_000 }),
    status: "success"
  },
  "a probe of a half-open circuit": {
    options: { breaker: { trip: CircuitBreaker.consecutive(1), openFor: 1_000 } },
    scripts: { stubborn: [act("fail"), act("succeed")] },
    before: async (world) => {
      await world.run(world.execute({ tool: "stubborn", params: x, retries: 0 }))
      await world.stepper.advanceTo(2_000)
    },
    subject: calls("stubborn"),
    status: "success"
  },
  "a call that is charged once": {
    options: { rateLimits: [{ ...hourly, tools: ["promise"] }] },
    subject: calls("promise"),
    status: "success",
    after: async (world, record) => {
      const used = await charged(world, "promise")
      // Whoever reached the handler has paid, and who was never there has not.
      if ((record?.attempts ?? 0) > 0) assert.isTrue(used)
      if (record === undefined) assert.isFalse(used)
    },
    again: { tool: "effect", params: x }
  },
  "a question to a human": {
    options: { policy: { requireConfirmation: ["payment"] } },
    subject: calls("payment"),
    status: "pending_confirmation",
    after: async (world, record) => {
      const pending = record?.status === "pending_confirmation" ? ["pending"] : []
      assert.deepStrictEqual(await requestsOf(world), pending)
    },
    again: { tool: "effect", params: x }
  },
  "a granted call through the toolkit": {
    options: {
      policy: { requireConfirmation: ["payment"] },
      rateLimits: [{ ...hourly, tools: ["payment"] }]
    },
    before: async (world) => {
      const { tools } = valueOf(await world.run(world.opened.executor.toolkit))
      const { needsApproval } = tools.payment
      if (typeof needsApproval !== "function") throw new Error("It never asks")
      const answer = needsApproval(x, { toolCallId: "subject", messages: [] })
      if (Effect.isEffect(answer)) {
        await world.run(Principal.provide(answer as Effect.Effect<boolean>, ada))
      }
      valueOf(await world.run(grantAll(world)))
    },
    subject: ({ opened }) =>
      Effect.flatMap(opened.executor.toolkit, ({ handle }) =>
        Effect.orDie(Stream.runLast(Stream.unwrap(handle("payment", x, "subject"))))
      ).pipe(Principal.provide(ada)),
    status: "success",
    after: async (world, record) => {
      // Whoever reached the handler has used the grant up, and who was never there has not.
      const [state] = await requestsOf(world)
      if ((record?.attempts ?? 0) > 0) assert.strictEqual(state, "used")
      if (record === undefined) assert.strictEqual(state, "granted")
    },
    again: { tool: "effect", params: x }
  },
  "a call that waits for its human": {
    options: {
      policy: { requireConfirmation: ["payment"] },
      bulkhead: { maxConcurrent: 1 },
      defaults: { deadline: 60 }
    },
    before: async (world) => {
      world.stepper.fork(Effect.delay(grantAll(world), 100))
    },
    subject: (world) => Approvals.wait(Principal.provide(calls("payment")(world), ada)),
    status: "success",
    after: async (world, record) => {
      const [state] = await requestsOf(world)
      if ((record?.attempts ?? 0) > 0) assert.strictEqual(state, "used")
    },
    again: { tool: "effect", params: x }
  },
  "a repetition that waits for the call in flight": {
    before: async (world) => {
      world.stepper.fork(world.execute({ tool: "promise", params: x, idempotencyKey: "k" }))
    },
    subject: calls("promise", { idempotencyKey: "k" }),
    status: "success",
    after: async (_, record) => {
      assert.strictEqual(record?.attempts ?? 0, 0)
    }
  },
  "a call that others wait for": {
    before: async (world) => {
      world.stepper.fork(
        Effect.delay(world.execute({ tool: "repeatable", params: x, idempotencyKey: "k" }), 5)
      )
    },
    subject: calls("repeatable", { idempotencyKey: "k" }),
    status: "success",
    // The other call takes over where the subject was interrupted.
    others: 2
  }
}

/** Grants what is pending, on behalf of whom it is asked. */
const grantAll = (world: World): Effect.Effect<void> =>
  Effect.gen(function* () {
    const approvals = Context.get(world.opened.services, Approvals.Approvals)
    for (const { id } of yield* approvals.list({ state: "pending" })) yield* approvals.grant(id)
  }).pipe(Principal.provide(ada), Effect.orDie)

/** The states of all requests. */
const requestsOf = async (world: World): Promise<ReadonlyArray<string>> => {
  const approvals = Context.get(world.opened.services, Approvals.Approvals)
  return valueOf(await world.run(approvals.list())).map(({ state }) => state)
}

/** Runs a scenario and interrupts its subject after so many steps; the number of steps when it ended before. */
const attemptAt = async (scenario: Scenario, maxOps: number, interruptAt: number): Promise<number> => {
  const world = new World(maxOps, scenario.scripts ?? {}, scenario.options ?? {})
  const { stepper } = world
  await scenario.before?.(world)
  await stepper.settle()
  const sleeping = stepper.sleeping
  const fiber = stepper.fork(scenario.subject(world))
  let steps = 0
  while (fiber.pollUnsafe() === undefined && steps < interruptAt) {
    if (!(await stepper.step())) throw new Error("The subject waits for what never comes")
    steps++
  }
  const ended = fiber.pollUnsafe() !== undefined
  if (!ended) stepper.interrupt(fiber)
  const exit = await world.end(fiber)
  await stepper.settle()

  const own = (record: CallRecord.CallRecord) => record.callId === "subject"
  const records = world.opened.records.filter(own)
  const begun = world.started.filter(own)
  assert.strictEqual(records.length, begun.length)
  assert.isAtMost(records.length, 1)
  const [record] = records
  // Only what nothing can stop may go on when the caller knows that the call has ended.
  const allowed = sleeping + (record?.abandoned === true ? 1 : 0) + (scenario.others ?? 0)
  assert.isAtMost(stepper.sleeping, allowed, "timers left behind")
  assert.strictEqual(world.active, 0, "handlers left behind")
  if (ended) {
    assert.strictEqual(record?.status, scenario.status)
  } else {
    assert.isTrue(Exit.hasInterrupts(exit), "interruption stays interruption")
  }
  await scenario.after?.(world, record)

  // Nothing is in the way of whoever comes next.
  await stepper.drain()
  await stepper.advanceTo(stepper.now + 10_000)
  world.calm = true
  const again = scenario.again ?? { tool: begun[0]?.tool ?? "promise", params: x }
  const next = valueOf(await world.run(world.execute(again)))
  assert.strictEqual(next.status, "success")
  await world.assertAtRest()
  return ended ? steps : Number.POSITIVE_INFINITY
}

describe("an interruption at every yield point leaves one record and nothing held", () => {
  for (const [name, scenario] of Object.entries(scenarios)) {
    it(name, { timeout: 60_000 }, async () => {
      for (let maxOps = 3; maxOps <= 8; maxOps++) {
        const needed = await attemptAt(scenario, maxOps, Number.POSITIVE_INFINITY)
        for (let at = 0; at < needed; at++) {
          try {
            await attemptAt(scenario, maxOps, at)
          } catch (error) {
            throw new Error(`Interrupted after ${at} of ${needed} steps of ${maxOps} operations`, {
              cause: error
            })
          }
        }
      }
    })
  }
})

// --- Interruption from within ----------------------------------------------

describe("a handler that interrupts its own caller", () => {
  for (const name of ["effect", "promise", "stubborn"] as const) {
    it(`of kind ${name}, as it starts`, async () => {
      for (let maxOps = 3; maxOps <= 8; maxOps++) {
        for (const script of [act("succeed", 0), act("succeed"), act("throw"), act("die"), act("hang")]) {
          const world = new World(maxOps, { [name]: [script] }, { bulkhead: { maxConcurrent: 1 } })
          const caller: { fiber?: Fiber.Fiber<unknown, unknown> } = {}
          world.onRun = () => caller.fiber?.interruptUnsafe()
          // The caller is known before the handler starts: the fiber yields first.
          const fiber = world.stepper.fork(
            Effect.andThen(Effect.yieldNow, world.execute({ id: "subject", tool: name, params: x }))
          )
          caller.fiber = fiber
          const exit = await world.end(fiber)
          assert.isTrue(Exit.hasInterrupts(exit))
          await world.assertAtRest()
          assert.deepStrictEqual(
            world.opened.records.map(({ status, attempts }) => [status, attempts]),
            [["cancelled", 1]]
          )
        }
      }
    })
  }
})

// --- Random calls, random interruptions ------------------------------------

describe("one outcome per call", () => {
  const step: fc.Arbitrary<Act> = fc.oneof(
    fc.record({
      _tag: fc.constantFrom("succeed", "fail", "declared", "refused"),
      after: fc.integer({ min: 0, max: 40 })
    }) as fc.Arbitrary<Act>,
    fc.record({
      _tag: fc.constantFrom("throw", "die", "interruptSelf", "wrong", "hang")
    }) as fc.Arbitrary<Act>
  )
  const names = Object.keys(kit.tools) as Array<Name>
  const optional = <A>(value: fc.Arbitrary<A>) => fc.option(value, { nil: undefined, freq: 2 })
  const request = fc.record({
    tool: fc.oneof(
      { weight: 20, arbitrary: fc.constantFrom(...names) },
      { weight: 1, arbitrary: fc.constant("ghost") }
    ),
    params: fc.oneof(
      { weight: 10, arbitrary: fc.constant<unknown>(x) },
      { weight: 1, arbitrary: fc.constant({}) }
    ),
    timeout: optional(fc.integer({ min: 1, max: 60 })),
    retries: optional(fc.integer({ min: 0, max: 3 })),
    within: optional(fc.integer({ min: 0, max: 300 })),
    requireConfirmation: fc.oneof({ weight: 8, arbitrary: fc.constant(false) }, fc.constant(true)),
    idempotencyKey: optional(fc.constant("k")),
    startAfter: fc.integer({ min: 0, max: 60 }),
    interruptAfter: optional(fc.integer({ min: 0, max: 120 }))
  })
  const limit = fc.record({
    limit: fc.integer({ min: 1, max: 4 }),
    window: fc.constantFrom(50, 100, 1000),
    onExceeded: fc.constantFrom("fail", "wait"),
    per: fc.constantFrom("call", "attempt")
  })
  const plan = fc.record({
    maxOps: fc.integer({ min: 3, max: 8 }),
    scripts: fc.dictionary(fc.constantFrom(...names), fc.array(step, { minLength: 1, maxLength: 4 })),
    calls: fc.array(request, { minLength: 1, maxLength: 8 }),
    limits: fc.array(limit, { maxLength: 2 }),
    bulkhead: optional(
      fc.record({ maxConcurrent: fc.integer({ min: 1, max: 3 }), maxQueue: fc.integer({ min: 0, max: 3 }) })
    ),
    trip: fc.integer({ min: 1, max: 4 }),
    probes: fc.integer({ min: 1, max: 2 }),
    confirm: fc.boolean()
  })

  it(
    "whatever is called, whatever handlers do, and whenever callers are interrupted",
    { timeout: 120_000 },
    () =>
      fc.assert(
        fc.asyncProperty(
          plan,
          async ({ bulkhead, calls, confirm, limits, maxOps, probes, scripts, trip }) => {
            const world = new World(maxOps, scripts, {
              rateLimits: limits,
              breaker: { trip: CircuitBreaker.consecutive(trip), openFor: 30, probes },
              defaults: { timeout: 200 },
              ...(bulkhead === undefined ? {} : { bulkhead }),
              ...(confirm ? { policy: { requireConfirmation: ["payment"] } } : {})
            })
            const { stepper } = world
            const fibers = calls.map(({ startAfter, interruptAfter, within, ...rest }, index) => {
              const given = Object.fromEntries(
                Object.entries(rest).filter(([, value]) => value !== undefined)
              )
              const id = `call_${index}`
              const call = {
                ...given,
                id,
                ...(within === undefined ? {} : { deadline: startAfter + within })
              } as unknown as ToolCall
              const run = Effect.andThen(Effect.sleep(startAfter), world.execute(call))
              const fiber = stepper.fork(run)
              if (interruptAfter !== undefined) {
                stepper.fork(
                  Effect.andThen(
                    Effect.sleep(interruptAfter),
                    Effect.sync(() => fiber.interruptUnsafe())
                  )
                )
              }
              return [id, fiber] as const
            })
            await stepper.drain()
            for (const [id, fiber] of fibers) {
              const exit = fiber.pollUnsafe()
              assert.isDefined(exit, "every call ends")
              const own = world.opened.records.filter(({ callId }) => callId === id)
              if (exit !== undefined && Exit.isSuccess(exit)) {
                assert.lengthOf(own, 1)
                const { abandoned = false, attempts, completedAt, status } = exit.value
                const { retried, ...record } = own[0]!
                assert.deepInclude(record, { abandoned, attempts, completedAt, status })
              } else {
                assert.isAtMost(own.length, 1)
              }
            }
            await world.assertAtRest()
          }
        ),
        { numRuns: 400 }
      )
  )
})

// --- Probes ----------------------------------------------------------------

describe("a half-open circuit", () => {
  it("lets no more probes through than configured, with 1,000 fibers asking through the executor", () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 3, max: 40 }),
        fc.boolean(),
        async (probes, rounds, maxOps, interrupted) => {
          const world = new World(
            maxOps,
            { stubborn: [act("fail")] },
            {
              breaker: { trip: CircuitBreaker.consecutive(1), openFor: 1_000, probes }
            }
          )
          const { stepper } = world
          const call = { tool: "stubborn", params: x, retries: 0 }
          await world.run(world.execute(call))
          let before = world.runs.get("stubborn") ?? 0
          for (let round = 1; round <= rounds; round++) {
            await stepper.advanceTo(round * 10_000)
            let most = 0
            world.onRun = () => {
              most = Math.max(most, world.unsettled + 1)
            }
            const fibers = Array.from({ length: 1_000 }, () => stepper.fork(world.execute(call)))
            await stepper.settle()
            assert.strictEqual(world.runs.get("stubborn"), before + probes)
            // A probe that is interrupted gives its place back, while its promise goes on.
            if (interrupted) for (const fiber of fibers) stepper.interrupt(fiber)
            await stepper.drain()
            assert.isAtMost(most, probes)
            before = world.runs.get("stubborn") ?? 0
          }
          await stepper.advanceTo(100_000)
          world.calm = true
          const last = valueOf(await world.run(world.execute(call)))
          assert.strictEqual(last.status, "success")
          await world.assertAtRest()
        }
      ),
      { numRuns: 12 }
    ))
})
