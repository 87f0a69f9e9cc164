/**
 * Two laws of `Idempotency`, over generated data: that it does step by step what
 * a small model says, and that a key is never run twice, whoever asks at once.
 */
import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import type * as Idempotency from "../../src/Idempotency.ts"

type Service = Idempotency.Idempotency["Service"]

// --- Step by step ----------------------------------------------------------

const keepFor = 100

/** What a key came to, in the words of the module's doc. */
type Belief =
  | { readonly is: "running"; readonly owner: number; readonly begun: boolean; readonly until: number }
  | { readonly is: "abandoned"; readonly since: number }
  | { readonly is: "done"; readonly owner: number; readonly n: number; readonly at: number }

interface Model {
  now: number
  calls: number
  /** By key: what is believed, the arguments, the calls whose outcome nobody knows, and who spoke last. */
  readonly keys: Map<string, { belief: Belief; hash: string; unknown: number | undefined; last: number }>
  /** The key of every lease, by its owner. */
  readonly leases: Array<{ readonly owner: number; readonly key: string }>
}

interface Real {
  readonly service: Service
  readonly principal: string
  readonly leases: Array<Idempotency.Lease>
}

/** What is believed now: leases end, and what is over is forgotten. */
const look = (model: Model, key: string) => {
  const known = model.keys.get(key)
  if (known === undefined) return undefined
  const { belief } = known
  if (belief.is === "running" && belief.until <= model.now) {
    // Its owner may still come with a late outcome: this is how others see it.
    if (!belief.begun && known.unknown === undefined) return undefined
    if (belief.until + keepFor <= model.now) return undefined
    return { ...known, seen: "Abandoned" as const }
  }
  if (belief.is === "abandoned") {
    return belief.since + keepFor <= model.now ? undefined : { ...known, seen: "Abandoned" as const }
  }
  if (belief.is === "done") {
    return belief.at + keepFor <= model.now ? undefined : { ...known, seen: "Done" as const }
  }
  return { ...known, seen: "InFlight" as const }
}

const held = (model: Model, lease: number) => {
  const { key, owner } = model.leases[lease % model.leases.length]!
  const known = model.keys.get(key)
  return known?.belief.is === "running" && known.belief.owner === owner
    ? { known, belief: known.belief, key }
    : undefined
}

type Command = fc.AsyncCommand<Model, Real>

const command = (
  name: string,
  check: (model: Readonly<Model>) => boolean,
  run: (model: Model, real: Real) => Effect.Effect<void, unknown>
): Command => ({ check, run: (model, real) => Effect.runPromise(run(model, real)), toString: () => name })

const anyLease = (model: Readonly<Model>): boolean => model.leases.length > 0

const claim = (key: string, hash: string, lasts: number, takeOver: boolean): Command =>
  command(
    `claim(${key}, ${hash}, ${lasts}${takeOver ? ", takeOver" : ""})`,
    () => true,
    Effect.fnUntraced(function* (model, { leases, principal, service }) {
      const seen = look(model, key)
      const whose = { tenant: undefined, principal, tool: "t", key }
      const stands = seen === undefined ? "Run" : seen.hash !== hash ? "Conflict" : seen.seen
      assert.strictEqual(yield* service.peek(whose, hash, model.now), stands)
      const owner = model.calls++
      const asked = { callId: `call ${owner}`, argumentsHash: hash, expiresAt: model.now + lasts, takeOver }
      const answer = yield* service.claim(whose, asked, model.now)
      const expected = stands === "Abandoned" && takeOver ? "Run" : stands
      assert.strictEqual(answer._tag, expected)
      switch (answer._tag) {
        case "Run":
          for (const { token } of leases) assert.notStrictEqual(answer.lease.token, token)
          leases.push(answer.lease)
          model.leases.push({ owner, key })
          model.keys.set(key, {
            belief: { is: "running", owner, begun: false, until: model.now + lasts },
            hash,
            unknown: seen === undefined ? undefined : (seen.unknown ?? seen.last),
            last: owner
          })
          return
        case "Done":
          assert.isTrue(seen?.belief.is === "done" && answer.callId === `call ${seen.belief.owner}`)
          assert.deepStrictEqual(answer.outcome, {
            _tag: "Value",
            encoded: seen?.belief.is === "done" ? seen.belief.n : undefined
          })
          return
        case "InFlight":
          assert.strictEqual(answer.callId, `call ${seen?.last}`)
          return
        case "Abandoned":
          assert.strictEqual(answer.callId, `call ${seen?.unknown ?? seen?.last}`)
          return
        case "Conflict":
          return
      }
    })
  )

const begin = (lease: number): Command =>
  command(
    `begin(${lease})`,
    anyLease,
    Effect.fnUntraced(function* (model, { leases, service }) {
      const holding = held(model, lease)
      const exit = yield* Effect.exit(service.begin(leases[lease % leases.length]!, model.now))
      assert.strictEqual(Exit.isSuccess(exit), holding !== undefined)
      if (holding !== undefined) holding.known.belief = { ...holding.belief, begun: true }
    })
  )

const complete = (lease: number, n: number): Command =>
  command(
    `complete(${lease}, ${n})`,
    anyLease,
    Effect.fnUntraced(function* (model, { leases, service }) {
      const holding = held(model, lease)
      yield* service.complete(leases[lease % leases.length]!, { _tag: "Value", encoded: n }, model.now)
      if (holding === undefined) return
      holding.known.belief = { is: "done", owner: holding.belief.owner, n, at: model.now }
    })
  )

const release = (lease: number): Command =>
  command(
    `release(${lease})`,
    anyLease,
    Effect.fnUntraced(function* (model, { leases, service }) {
      const holding = held(model, lease)
      yield* service.release(leases[lease % leases.length]!, model.now)
      if (holding === undefined) return
      if (holding.known.unknown === undefined) model.keys.delete(holding.key)
      else holding.known.belief = { is: "abandoned", since: model.now }
    })
  )

const abandon = (lease: number): Command =>
  command(
    `abandon(${lease})`,
    anyLease,
    Effect.fnUntraced(function* (model, { leases, service }) {
      const holding = held(model, lease)
      yield* service.abandon(leases[lease % leases.length]!, model.now)
      if (holding !== undefined) holding.known.belief = { is: "abandoned", since: model.now }
    })
  )

const pass = (millis: number): Command =>
  command(
    `pass(${millis})`,
    () => true,
    (model) =>
      Effect.sync(() => {
        model.now += millis
      })
  )

let principals = 0

export const machine = {
  keepFor,
  commands: fc.commands(
    [
      fc
        .tuple(fc.constantFrom("a", "b"), fc.constantFrom("x", "x", "x", "y"), fc.nat(40), fc.boolean())
        .map((args) => claim(...args)),
      fc.nat(9).map(begin),
      fc.tuple(fc.nat(9), fc.nat(9)).map((args) => complete(...args)),
      fc.nat(9).map(release),
      fc.nat(9).map(abandon),
      fc.constantFrom(1, 5, 30, 70).map(pass)
    ],
    { maxCommands: 60, size: "max" }
  ),
  run: (service: Service, commands: Iterable<Command>): Promise<void> =>
    fc.asyncModelRun(
      () => ({
        model: { now: 0, calls: 0, keys: new Map(), leases: [] } as Model,
        real: { service, principal: `principal ${principals++}`, leases: [] } as Real
      }),
      commands
    )
}

// --- At once ---------------------------------------------------------------

/** What one fiber does, in milliseconds. */
interface Plan {
  readonly comesAfter: number
  /** Between claiming and beginning, and between beginning and the end. */
  readonly queues: number
  readonly works: number
  readonly lease: number
  readonly ends: "completes" | "releases" | "abandons" | "dies queueing" | "dies working"
  readonly takesOver: boolean
  readonly interruptedAfter: number | undefined
}

/** How a key was run by one fiber. */
interface Handler {
  readonly by: number
  readonly tookOver: boolean
  /** Known to have had no effect. */
  released: boolean
}

const millis = fc.nat(30)
const plan: fc.Arbitrary<Plan> = fc.record({
  comesAfter: millis,
  queues: millis,
  works: millis,
  lease: fc.integer({ min: 1, max: 60 }),
  ends: fc.constantFrom(
    "completes",
    "completes",
    "completes",
    "releases",
    "abandons",
    "dies queueing",
    "dies working"
  ),
  takesOver: fc.oneof({ arbitrary: fc.constant(false), weight: 4 }, fc.constant(true)),
  interruptedAfter: fc.option(fc.nat(60), { nil: undefined, freq: 3 })
})

let keys = 0

/**
 * Fibers on one key, each on one of the services. A fiber that comes to hold the key queues, begins, works and ends as
 * planned; interrupted it releases before it began, and abandons after. One that dies does neither.
 */
const check = Effect.fnUntraced(function* (services: ReadonlyArray<Service>, plans: ReadonlyArray<Plan>) {
  const key = { tenant: "t", principal: "p", tool: "once", key: `at once ${keys++}` }
  const handlers: Array<Handler> = []
  const given: Array<Idempotency.Outcome> = []
  let completed: Idempotency.Outcome | undefined

  const fiberOf = Effect.fnUntraced(function* (plan: Plan, by: number) {
    const service = services[by % services.length]!
    yield* Effect.sleep(plan.comesAfter)
    while (true) {
      const now = yield* Clock.currentTimeMillis
      const ended = yield* Effect.uninterruptibleMask(
        Effect.fnUntraced(function* (restore) {
          const answer = yield* service.claim(
            key,
            {
              callId: `call ${by}`,
              argumentsHash: "h",
              expiresAt: now + plan.lease,
              takeOver: plan.takesOver
            },
            now
          )
          if (answer._tag === "InFlight") {
            yield* restore(answer.wait)
            return false
          }
          if (answer._tag === "Done") given.push(answer.outcome)
          if (answer._tag !== "Run") return true
          yield* hold(service, answer.lease, plan, by, restore)
          return true
        })
      )
      if (ended) return
    }
  })

  const hold = Effect.fnUntraced(function* (
    service: Service,
    lease: Idempotency.Lease,
    plan: Plan,
    by: number,
    restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  ) {
    const queued = yield* Effect.exit(restore(Effect.sleep(plan.queues)))
    const mayBegin = yield* Clock.currentTimeMillis
    if (Exit.isFailure(queued)) return yield* service.release(lease, mayBegin)
    if (plan.ends === "dies queueing") return
    if (Exit.isFailure(yield* Effect.exit(service.begin(lease, mayBegin)))) return
    const handler: Handler = { by, tookOver: plan.takesOver, released: false }
    handlers.push(handler)
    const worked = yield* Effect.exit(restore(Effect.sleep(plan.works)))
    const now = yield* Clock.currentTimeMillis
    if (plan.ends === "dies working") return
    if (Exit.isFailure(worked) || plan.ends === "abandons") return yield* service.abandon(lease, now)
    if (plan.ends === "releases") {
      handler.released = true
      return yield* service.release(lease, now)
    }
    const before = yield* service.peek(key, "h", now)
    const outcome = { _tag: "Value", encoded: { by } } as const
    yield* service.complete(lease, outcome, now)
    // It counts unless another has taken over, and then nothing is overwritten.
    const after = yield* service.claim(key, { callId: "look", argumentsHash: "other", expiresAt: 0 }, now)
    assert.strictEqual(after._tag, "Conflict")
    if (before !== "Done" && (yield* service.peek(key, "h", now)) === "Done") {
      assert.isUndefined(completed, "a key is completed once")
      completed = outcome
    }
  })

  const fibers = yield* Effect.forEach(plans, (plan, by) =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(fiberOf(plan, by))
      if (plan.interruptedAfter !== undefined) {
        yield* Effect.forkChild(Effect.delay(Fiber.interrupt(fiber), plan.interruptedAfter))
      }
      return fiber
    })
  )
  // Every waiter wakes: in the end all leases are over.
  for (let step = 0; step < 400 && fibers.some((fiber) => fiber.pollUnsafe() === undefined); step++) {
    yield* TestClock.adjust(2)
  }
  for (const [by, fiber] of fibers.entries()) {
    const exit = fiber.pollUnsafe()
    assert.isDefined(exit, `fiber ${by} has ended`)
    if (exit !== undefined && !(Exit.isFailure(exit) && Exit.hasInterrupts(exit))) yield* exit
  }

  // Whoever begins knows that all before had no effect, or was told to run again what nobody knows of.
  for (const [n, handler] of handlers.entries()) {
    if (n === 0 || handler.tookOver) continue
    assert.isTrue(
      handlers.slice(0, n).every(({ released }) => released),
      `fiber ${handler.by} ran what had been run`
    )
  }
  for (const outcome of given) assert.deepStrictEqual(outcome, completed)
  const end = yield* Clock.currentTimeMillis
  for (const service of services) {
    const left = yield* service.peek(key, "h", end)
    if (completed !== undefined) assert.strictEqual(left, "Done")
    // Only the dead leave a lease, and none outlives its time.
    if (!plans.some(({ ends }) => ends.startsWith("dies"))) assert.notStrictEqual(left, "InFlight")
    assert.notStrictEqual(yield* service.peek(key, "h", end + 60), "InFlight")
  }
})

export const exclusion = {
  plans: fc.array(plan, { minLength: 2, maxLength: 7, size: "max" }),
  check
}
