/**
 * Everything at once: random calls with keys, tokens and deadlines, humans who
 * grant, reject, revoke and replace, an operator who stops and lifts, time that
 * passes, and interruptions between any two steps. Whatever happens: never two
 * runs for one key, never two uses of one grant, and nothing held at the end.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import {
  ToolAnnotations as Annotate,
  Approvals,
  AuditLog,
  Budget,
  type CallRecord,
  CurrentCall,
  Idempotency,
  KillSwitch,
  Principal,
  type ToolCall,
  type ToolResult
} from "effect-interlock"
import * as fc from "fast-check"
import { Stepper } from "./support/stepper.ts"
import { held, nothingHeld, open, valueOf } from "./support/world.ts"

// --- Tools -----------------------------------------------------------------

class No extends Schema.TaggedError<No>()("No", {}) {}

const tool = <const Name extends string>(name: Name) =>
  Tool.make(name, { parameters: Schema.Struct({ n: Schema.Int }), success: Schema.Int, failure: No })
    .annotate(Annotate.Cost, 1)
    .annotate(Annotate.Timeout, 100)
    .annotate(Annotate.Retries, 1)

/** By what becomes of a repetition where nobody knows how the first call ended. */
const kit = Toolkit.make(
  tool("retries").annotate(Tool.Idempotent, true),
  tool("asks").annotate(Annotate.AfterCrash, "ask"),
  tool("refuses"),
  tool("confirmed"),
  tool("approved")
)
type Name = keyof typeof kit.tools
const names = Object.keys(kit.tools) as ReadonlyArray<Name>

const policy = { requireConfirmation: ["confirmed"], requireApproval: ["approved"] }

const ada = Principal.make({ id: "ada" })
const bob = Principal.make({ id: "bob" })
const people = [ada, bob]

/** What a handler does: the last four leave nobody knowing what came of it. */
type Act = "succeed" | "declared" | "refused" | "late" | "hang" | "die" | "interruptSelf"

// --- What is done ----------------------------------------------------------

type Step =
  | {
      readonly _tag: "Call"
      readonly by: number
      readonly tool: Name
      readonly id: number
      readonly n: number
      readonly key: number | undefined
      readonly within: number | undefined
      readonly token: number | undefined
      readonly waits: boolean
    }
  /** A call that was made before, made again, with the token of its grant or without. */
  | {
      readonly _tag: "Again"
      readonly call: number
      readonly token: boolean
      readonly waits: boolean
    }
  | { readonly _tag: "Resume"; readonly by: number; readonly token: number }
  | {
      readonly _tag: "Decide"
      /** Who may, or who may not. */
      readonly by: "right" | "wrong"
      readonly what: "grant" | "reject" | "revoke" | "replace"
      readonly request: number
    }
  | { readonly _tag: "Interrupt"; readonly fiber: number }
  | { readonly _tag: "Stop"; readonly tool: Name | undefined }
  | { readonly _tag: "Lift" }
  | { readonly _tag: "Steps"; readonly steps: number }
  | { readonly _tag: "Pass"; readonly millis: number }

const optional = <A>(value: fc.Arbitrary<A>, freq = 2) => fc.option(value, { nil: undefined, freq })
const some = fc.nat(9)
const of = <A>(weight: number, arbitrary: fc.Arbitrary<A>) => ({ weight, arbitrary })
const mostly = <A>(usual: A, ...others: ReadonlyArray<A>) =>
  fc.oneof(of(4, fc.constant(usual)), of(1, fc.constantFrom(...others)))

const call: fc.Arbitrary<Step> = fc.record({
  _tag: fc.constant("Call"),
  by: mostly<number>(0, 1),
  tool: fc.constantFrom(...names),
  id: fc.nat(2),
  n: mostly(1, 2),
  key: optional(mostly(0, 1), 4),
  within: fc.option(fc.constantFrom(50, 1000, 1_200_000), { nil: undefined, freq: 1 }),
  token: fc.option(some, { nil: undefined, freq: 1 }),
  waits: fc.boolean()
})
const step: fc.Arbitrary<Step> = fc.oneof(
  of(6, call),
  of(
    6,
    fc.record({ _tag: fc.constant("Again"), call: some, token: fc.boolean(), waits: fc.boolean() } as const)
  ),
  of(2, fc.record({ _tag: fc.constant("Resume"), by: mostly<number>(0, 1), token: some } as const)),
  of(
    8,
    fc.record({
      _tag: fc.constant("Decide"),
      by: mostly<"right" | "wrong">("right", "wrong"),
      what: mostly<"grant" | "reject" | "revoke" | "replace">("grant", "reject", "revoke", "replace"),
      request: fc.nat(3)
    } as const)
  ),
  of(1, fc.record({ _tag: fc.constant("Interrupt"), fiber: some } as const)),
  of(1, fc.record({ _tag: fc.constant("Stop"), tool: optional(fc.constantFrom(...names)) } as const)),
  of(3, fc.constant({ _tag: "Lift" } as const)),
  of(6, fc.record({ _tag: fc.constant("Steps"), steps: fc.integer({ min: 1, max: 60 }) } as const)),
  of(4, fc.record({ _tag: fc.constant("Pass"), millis: mostly(60, 10, 300, 60_000, 700_000) } as const))
)

const plan = fc.record({
  maxOps: fc.integer({ min: 3, max: 12 }),
  acts: fc.dictionary(
    fc.constantFrom(...names),
    fc.array(
      fc.constantFrom<Act>(
        "succeed",
        "succeed",
        "declared",
        "refused",
        "late",
        "hang",
        "die",
        "interruptSelf"
      ),
      { minLength: 1, maxLength: 3 }
    )
  ),
  steps: fc.array(step, { minLength: 1, maxLength: 30, size: "max" }),
  max: fc.integer({ min: 2, max: 40 }),
  concurrent: fc.integer({ min: 1, max: 3 }),
  limit: optional(
    fc.record({ limit: fc.integer({ min: 1, max: 4 }), onExceeded: fc.constantFrom("fail", "wait") })
  )
})
type Plan = typeof plan extends fc.Arbitrary<infer A> ? A : never

// --- The world -------------------------------------------------------------

/** One run of a handler, as the handler saw it. */
interface Ran {
  readonly order: number
  readonly callId: string
  readonly principal: string
  readonly tool: Name
  readonly key: string | undefined
  readonly attempt: number
  readonly n: number
  end: "running" | "success" | "declared" | "refused" | "unknown"
}

interface Made {
  readonly by: Principal.Principal
  readonly call: Partial<ToolCall>
  readonly fiber: Fiber.Fiber<ToolResult>
}

class World {
  readonly stepper: Stepper
  readonly scope = Scope.makeUnsafe()
  readonly ran: Array<Ran> = []
  readonly made: Array<Made> = []
  readonly tokens: Array<{ readonly token: string; readonly request: Approvals.Request }> = []
  readonly problems: Array<string> = []
  readonly max: number
  readonly opened: Effect.Success<ReturnType<World["open"]>>

  constructor(plan: Plan) {
    this.stepper = new Stepper(plan.maxOps)
    this.max = plan.max
    this.opened = Effect.runSync(Effect.provideService(this.open(plan), Scope.Scope, this.scope))
  }

  open({ acts, concurrent, limit, max }: Plan) {
    const handlers = kit.toLayer(
      Object.fromEntries(
        names.map((name) => [
          name,
          ({ n }: { readonly n: number }) => this.handler(name, n, acts[name] ?? ["succeed"])
        ])
      ) as never
    )
    return open(kit, handlers as never, {
      policy,
      budget: [{ name: "all", max }],
      bulkhead: { maxConcurrent: concurrent, maxQueue: 5 },
      rateLimits:
        limit === undefined ? [] : [{ ...limit, onExceeded: limit.onExceeded as "fail", window: "1 minute" }],
      approvals: { maxUndecided: 5 }
    })
  }

  handler(name: Name, n: number, acts: ReadonlyArray<Act>): Effect.Effect<number, No> {
    // From its first note on a run ends with a note, whenever it is interrupted.
    const noted = (restore: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>) =>
      Effect.withFiber<number, No>((fiber) => {
        const { attempt, callId, idempotencyKey: key } = fiber.getRef(CurrentCall)!
        const { id: principal } = fiber.getRef(Principal.CurrentPrincipal)
        const act = acts[this.ran.filter(({ tool }) => tool === name).length % acts.length]!
        const run: Ran = {
          order: this.ran.length,
          callId,
          principal,
          tool: name,
          key,
          attempt,
          n,
          end: "running"
        }
        if (key !== undefined && this.ran.some((other) => sameKey(run, other) && other.end === "running")) {
          this.problems.push(`two runs at once for ${key} of ${name}`)
        }
        this.ran.push(run)
        const within = Effect.map(Context.get(this.opened.services, Budget.Budget).standing, (limits) => {
          for (const { reserved, settled } of limits) {
            if (reserved + settled > this.max) this.problems.push(`${reserved} and ${settled} of ${this.max}`)
          }
        })
        const playing = restore(Effect.andThen(Effect.orDie(within), play(act, run.order)))
        return Effect.onExit(playing, (exit) =>
          Effect.sync(() => {
            run.end = Exit.isSuccess(exit)
              ? "success"
              : !Exit.hasInterrupts(exit) && (act === "declared" || act === "refused")
                ? act
                : "unknown"
          })
        )
      })
    return Effect.uninterruptibleMask(noted)
  }

  make(by: Principal.Principal, call: Made["call"], run: Effect.Effect<ToolResult>): void {
    this.made.push({ by, call, fiber: this.stepper.fork(Principal.provide(run, by)) })
  }

  async do(step: Step): Promise<void> {
    const { executor, services } = this.opened
    const approvals = Context.get(services, Approvals.Approvals)
    const killSwitch = Context.get(services, KillSwitch.KillSwitch)
    const quietly = (effect: Effect.Effect<unknown, unknown>) => this.stepper.fork(Effect.exit(effect))
    switch (step._tag) {
      case "Call": {
        const { by, id, key, n, token, tool, waits, within } = step
        const approval = token === undefined ? undefined : this.tokens[token % this.tokens.length]?.token
        const call: ToolCall = {
          id: `c${id}`,
          tool,
          params: { n },
          ...(key === undefined ? {} : { idempotencyKey: `k${key}` }),
          ...(within === undefined ? {} : { deadline: this.stepper.now + within }),
          ...(approval === undefined ? {} : { approval })
        }
        const run = executor.execute(call) as Effect.Effect<ToolResult>
        this.make(people[by]!, call, waits ? Approvals.wait(run) : run)
        return
      }
      case "Resume": {
        const token = this.tokens[step.token % this.tokens.length]?.token
        if (token === undefined) return
        this.make(people[step.by]!, {}, executor.resume(token) as Effect.Effect<ToolResult>)
        return
      }
      case "Again": {
        const before = this.made[step.call % this.made.length]
        if (before?.call.tool === undefined) return
        const { approval: _, ...call } = before.call as ToolCall
        const own = this.tokens.findLast(({ request }) => request.callId === call.id)
        const again = step.token && own !== undefined ? { ...call, approval: own.token } : call
        const run = executor.execute(again) as Effect.Effect<ToolResult>
        this.make(before.by, again, step.waits ? Approvals.wait(run) : run)
        return
      }
      case "Decide": {
        quietly(
          Effect.gen({ self: this }, function* () {
            const requests = yield* approvals.list()
            const request = requests[step.request % requests.length]
            if (request === undefined) return
            const own = (request.by === "confirm") === (step.by === "right")
            const decider = people.find(({ id }) => (id === request.principal) === own)!
            if (step.what === "grant") {
              this.tokens.push(yield* Principal.provide(approvals.grant(request.id), decider))
            } else yield* Principal.provide(approvals[step.what](request.id), decider)
          })
        )
        return
      }
      case "Interrupt": {
        const made = this.made[step.fiber % this.made.length]
        if (made !== undefined) this.stepper.interrupt(made.fiber)
        return
      }
      case "Stop":
        quietly(
          killSwitch.stop(step.tool === undefined ? { scope: "all" } : { scope: "tool", tool: step.tool }, {
            by: "eve",
            why: "a drill"
          })
        )
        return
      case "Lift":
        quietly(
          Effect.flatMap(killSwitch.stops, (stops) =>
            Effect.forEach(stops, ({ id }) => killSwitch.lift(id, { by: "eve", why: "over" }))
          )
        )
        return
      case "Steps":
        for (let i = 0; i < step.steps; i++) await this.stepper.step()
        return
      case "Pass":
        await this.stepper.advanceTo(this.stepper.now + step.millis)
        return
    }
  }

  async run<A, E>(effect: Effect.Effect<A, E>): Promise<A> {
    const fiber = this.stepper.fork(effect)
    await this.stepper.settle()
    const exit = fiber.pollUnsafe()
    if (exit === undefined) throw new Error("It waits for something")
    return valueOf(exit)
  }
}

const play = (act: Act, order: number): Effect.Effect<number, No> => {
  switch (act) {
    case "succeed":
      return Effect.delay(Effect.succeed(order), 20)
    case "late":
      // In time for one attempt in two, with what comes before it.
      return Effect.delay(Effect.succeed(order), 99)
    case "declared":
      return Effect.delay(Effect.fail(new No()), 20)
    case "refused":
      // Not declared, and an answer of the tool that it has done nothing.
      return Effect.fail(Object.assign(new Error("no"), { status: 400 }) as unknown as No)
    case "hang":
      return Effect.never
    case "die":
      return Effect.die("bug")
    case "interruptSelf":
      return Effect.interrupt
  }
}

// --- What must hold --------------------------------------------------------

const sameKey = (a: Ran, b: Ran): boolean =>
  a.principal === b.principal && a.tool === b.tool && a.key === b.key

/** Whether a run may follow another one of the same key, by how that ended and who made it. */
const mayFollow = (before: Ran, after: Ran, approved: boolean): boolean => {
  // Attempts of one call, which know of one another.
  if (after.attempt > 1) return before.callId === after.callId && before.end !== "success"
  switch (before.end) {
    case "running":
    case "success":
    case "declared":
      return false
    case "refused":
      return true
    case "unknown":
      return after.tool === "retries" || (after.tool === "asks" && approved)
  }
}

const assertKeys = (world: World, records: ReadonlyArray<CallRecord.CallRecord>): void => {
  const approvedOf = (run: Ran) =>
    records.some(
      ({ approval, attempts, callId, principal, tool }) =>
        approval !== undefined &&
        attempts > 0 &&
        callId === run.callId &&
        principal === run.principal &&
        tool === run.tool
    )
  const keyed = world.ran.filter(({ key }) => key !== undefined)
  for (const [index, run] of keyed.entries()) {
    const before = keyed.slice(0, index).findLast((other) => sameKey(other, run))
    if (before === undefined) continue
    // A failure that is known says nothing of an earlier attempt of the same call that nobody knows the end of.
    const inDoubt = keyed.some((other) => other.callId === before.callId && other.end === "unknown")
    const left: Ran = before.end === "declared" && inDoubt ? { ...before, end: "unknown" } : before
    assert.isTrue(mayFollow(left, run, approvedOf(run)), JSON.stringify({ before, run }))
  }
  // Who is answered for one key is answered alike.
  const values = new Map<string, unknown>()
  for (const { by, call, fiber } of world.made) {
    const exit = fiber.pollUnsafe()
    if (call.idempotencyKey === undefined || exit === undefined || !Exit.isSuccess(exit)) continue
    if (exit.value.status !== "success") continue
    const key = JSON.stringify([by.id, call.tool, call.idempotencyKey])
    if (!values.has(key)) values.set(key, exit.value.value)
    assert.strictEqual(exit.value.value, values.get(key), key)
  }
}

const assertGrants = (
  requests: ReadonlyArray<Approvals.Request>,
  records: ReadonlyArray<CallRecord.CallRecord>
): void => {
  const byId = new Map(requests.map((request) => [request.id, request]))
  const used = records.flatMap(({ approval }) => (approval === undefined ? [] : [approval]))
  assert.strictEqual(new Set(used).size, used.length, "a grant was used twice")
  for (const id of used) assert.strictEqual(byId.get(id)?.state, "used")
  for (const record of records) {
    if (record.attempts === 0) continue
    const needs = { confirmed: "confirm", approved: "approve" }[record.tool as string]
    if (needs === undefined && record.approval === undefined) continue
    const request = byId.get(record.approval ?? "")
    for (const field of ["callId", "tool", "principal", "toolDigest", "policyDigest"] as const) {
      assert.strictEqual(request?.[field], record[field], field)
    }
    if (needs === "confirm") assert.strictEqual(request?.decidedBy, record.principal)
    if (needs === "approve") assert.notStrictEqual(request?.decidedBy, record.principal)
  }
}

const assertAtRest = async (world: World): Promise<void> => {
  const { stepper } = world
  const { records, services } = world.opened
  // Whoever still waits for a human waits until the question has expired.
  for (let i = 0; i < 4; i++) await stepper.advanceTo(stepper.now + 16 * 60_000)
  await stepper.drain()
  assert.deepStrictEqual(world.problems, [])
  assert.deepStrictEqual(await world.run(held(services)), nothingHeld)
  assert.strictEqual(stepper.sleeping, 0, "sleepers")
  assert.strictEqual(stepper.fibers, 0, "fibers")
  assert.strictEqual(world.ran.filter(({ end }) => end === "running").length, 0, "handlers")
  const ended = world.made.filter(({ fiber }) => fiber.pollUnsafe() !== undefined)
  assert.strictEqual(ended.length, world.made.length, "calls that never end")
  assert.isAtMost(records.length, world.made.length)

  const attempts = records.reduce((sum, record) => sum + record.attempts, 0)
  assert.strictEqual(attempts, world.ran.length)
  const [standing] = await world.run(Context.get(services, Budget.Budget).standing)
  assert.strictEqual(standing?.settled ?? 0, attempts, "each attempt costs one")
  assert.isAtMost(attempts, world.max)

  const idempotency = Context.get(services, Idempotency.Idempotency)
  for (const {
    arguments: { hash = "" },
    principal,
    tool
  } of records) {
    for (const key of ["k0", "k1"]) {
      const of = { tenant: undefined, principal, tool, key }
      assert.notStrictEqual(await world.run(idempotency.peek(of, hash, stepper.now)), "InFlight")
    }
  }
  assertKeys(world, records)
  assertGrants(await world.run(Context.get(services, Approvals.Approvals).list({ limit: 100 })), records)

  const audit = Context.get(services, AuditLog.AuditLog)
  const outcomes = await world.run(audit.query({ kind: "tool_call", phase: "outcome" }))
  assert.strictEqual(outcomes.length, records.length, "one outcome per call")
  assert.lengthOf(await world.run(audit.unfinished({ olderThan: 0 })), 0)
  assert.deepInclude(await world.run(audit.verify()), { ok: true })
  await Effect.runPromise(Scope.close(world.scope, Exit.void))
}

describe("governance as a whole", () => {
  it("runs no key twice, uses no grant twice and holds nothing in the end", { timeout: 120_000 }, () =>
    fc.assert(
      fc.asyncProperty(plan, async (plan) => {
        const world = new World(plan)
        for (const step of plan.steps) await world.do(step)
        await assertAtRest(world)
      }),
      { numRuns: 400 }
    )
  )
})
