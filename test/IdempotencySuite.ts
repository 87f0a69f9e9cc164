/** What every backend of `Idempotency` does. Time comes from `TestClock` or is passed in. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import * as Idempotency from "../src/Idempotency.ts"
import type { Reason } from "../src/ToolError.ts"
import { exclusion, machine } from "./support/idempotencyLaws.ts"

type Service = Idempotency.Idempotency["Service"]
export type Build = (options?: Idempotency.Retention) => Effect.Effect<Service, unknown, Scope.Scope>

/** A service of a layer, built anew. */
export const built = <E>(
  layer: Layer.Layer<Idempotency.Idempotency, E>
): Effect.Effect<Service, E, Scope.Scope> =>
  Effect.map(Layer.build(Layer.fresh(layer)), Context.get(Idempotency.Idempotency))

export const keyOf = (key: string, more: Partial<Idempotency.Key> = {}): Idempotency.Key => ({
  tenant: "acme",
  principal: "ann",
  tool: "pay",
  key,
  ...more
})

const claiming = (callId: string, more: Partial<Parameters<Service["claim"]>[1]> = {}) => ({
  callId,
  argumentsHash: "h",
  expiresAt: 1_000,
  ...more
})

export const claimRun = Effect.fnUntraced(function* (
  service: Service,
  key: Idempotency.Key,
  now: number,
  more: Partial<Parameters<Service["claim"]>[1]> = {}
) {
  const claim = yield* service.claim(key, claiming("first", more), now)
  if (claim._tag !== "Run") return assert.fail(`${claim._tag}, not Run`)
  return claim.lease
})

const value = (encoded: unknown): Idempotency.Outcome => ({ _tag: "Value", encoded })
export const done = (callId: string, encoded: unknown): Idempotency.Claim => ({
  _tag: "Done",
  callId,
  outcome: value(encoded)
})
const unknown = (callId: string): Idempotency.Claim => ({
  _tag: "Done",
  callId,
  outcome: { _tag: "Reason", reason: { _tag: "OutcomeUnknown", callId } }
})
const lost = { _tag: "Unavailable", concern: "idempotency" }

/** Lets everything that can go on go on, a short wait for another client's lock included. */
const settle = Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow, { discard: true })

export const suite = (
  name: string,
  build: Build,
  runs: { readonly machine: number; readonly exclusion: number }
) =>
  describe(`Idempotency (${name})`, () => {
    it.effect("runs a key once, and gives every repetition what came of it", () =>
      Effect.gen(function* () {
        const service = yield* build()
        const key = keyOf("k")
        assert.strictEqual(yield* service.peek(key, "h", 0), "Run")
        const lease = yield* claimRun(service, key, 0)
        assert.strictEqual(yield* service.peek(key, "h", 0), "InFlight")
        yield* service.begin(lease, 1)
        yield* service.begin(lease, 1)
        yield* service.complete(lease, value({ id: "p1", lines: [1, "é🙂", null] }), 2)
        for (const now of [3, 2_000]) {
          assert.strictEqual(yield* service.peek(key, "h", now), "Done")
          assert.deepStrictEqual(
            yield* service.claim(key, claiming("again"), now),
            done("first", { id: "p1", lines: [1, "é🙂", null] })
          )
        }
      })
    )

    it.effect("refuses a key that is known with other arguments, however it stands", () =>
      Effect.gen(function* () {
        const service = yield* build()
        const other = claiming("other", { argumentsHash: "h2", takeOver: true })
        const conflicts = Effect.fnUntraced(function* (key: Idempotency.Key, now: number) {
          assert.strictEqual(yield* service.peek(key, "h2", now), "Conflict")
          assert.deepStrictEqual(yield* service.claim(key, other, now), { _tag: "Conflict" })
        })
        const lease = yield* claimRun(service, keyOf("k"), 0)
        yield* conflicts(keyOf("k"), 1)
        yield* service.begin(lease, 1)
        yield* conflicts(keyOf("k"), 2)
        yield* conflicts(keyOf("k"), 1_001)
        yield* service.complete(lease, value(1), 1_002)
        yield* conflicts(keyOf("k"), 1_003)
        const released = yield* claimRun(service, keyOf("r"), 0)
        yield* service.release(released, 0)
        assert.strictEqual((yield* service.claim(keyOf("r"), other, 0))._tag, "Run")
      })
    )

    it.effect("keeps keys apart by tenant, principal and tool, whatever they are made of", () =>
      Effect.gen(function* () {
        const service = yield* build()
        const keys = [
          keyOf("k"),
          keyOf("k", { tenant: undefined }),
          keyOf("k", { tenant: "" }),
          keyOf("k", { tenant: "-" }),
          keyOf("k", { principal: "annp", tool: "ay" }),
          keyOf("k", { principal: "an", tool: "npay" }),
          keyOf("k", { tenant: "acmea", principal: "nn" }),
          keyOf("yk", { tool: "pa" }),
          keyOf(""),
          keyOf("__proto__"),
          keyOf("K"),
          keyOf("k\u0000"),
          keyOf("' OR 1=1 --"),
          keyOf("%")
        ]
        for (const [n, key] of keys.entries()) {
          const lease = yield* claimRun(service, key, 0, { callId: `call ${n}` })
          yield* service.complete(lease, value(n), 0)
        }
        for (const [n, key] of keys.entries()) {
          assert.deepStrictEqual(yield* service.claim(key, claiming("again"), 1), done(`call ${n}`, n))
        }
      })
    )

    it.effect("keeps what it was given, not what became of it", () =>
      Effect.gen(function* () {
        const service = yield* build()
        const outcome = { list: [1] }
        const lease = yield* claimRun(service, keyOf("k"), 0)
        yield* service.complete(lease, value(outcome), 0)
        outcome.list.push(2)
        const first = yield* service.claim(keyOf("k"), claiming("again"), 1)
        assert.deepStrictEqual(first, done("first", { list: [1] }))
        if (first._tag === "Done" && first.outcome._tag === "Value") {
          ;(first.outcome.encoded as typeof outcome).list.push(3)
        }
        assert.deepStrictEqual(
          yield* service.claim(keyOf("k"), claiming("again"), 1),
          done("first", { list: [1] })
        )
      })
    )

    it.effect("gives again any value and any reason", () =>
      Effect.gen(function* () {
        const service = yield* build()
        const reasons: ReadonlyArray<Reason> = [
          { _tag: "ToolFailed", class: "Caller", failure: { code: 7, why: ["no money"] } },
          { _tag: "ToolFailed", class: "Overload", retryAfter: Duration.millis(1_500) },
          { _tag: "RateLimited", limit: "1 per day", retryAfter: Duration.infinity },
          { _tag: "TimedOut", scope: "attempt", after: Duration.seconds(30) },
          { _tag: "HandlerDefect" }
        ]
        const outcomes: ReadonlyArray<Idempotency.Outcome> = [
          ...[undefined, null, 0, "", [], {}, JSON.parse(`{"__proto__":{"a":1}}`)].map(value),
          ...reasons.map((reason) => ({ _tag: "Reason", reason }) as const)
        ]
        for (const [n, outcome] of outcomes.entries()) {
          const lease = yield* claimRun(service, keyOf(String(n)), 0)
          yield* service.complete(lease, outcome, 0)
          const again = yield* service.claim(keyOf(String(n)), claiming("again"), 1)
          assert.deepStrictEqual(again, { _tag: "Done", callId: "first", outcome })
        }
      })
    )

    it.effect("never runs again what it could not keep", () =>
      Effect.gen(function* () {
        const service = yield* build({ maxBytes: 60 })
        const circular: Record<string, unknown> = {}
        circular["self"] = circular
        const outcomes = new Map<string, Idempotency.Outcome>([
          ["large", value("x".repeat(60))],
          ["large in bytes", value("é".repeat(20))],
          ["circular", value(circular)],
          ["bigint", value(1n)],
          ["a failure", { _tag: "Reason", reason: { _tag: "ToolFailed", class: "Caller", failure: 1n } }]
        ])
        for (const [key, outcome] of outcomes) {
          const lease = yield* claimRun(service, keyOf(key), 0)
          yield* service.complete(lease, outcome, 0)
          assert.strictEqual(yield* service.peek(keyOf(key), "h", 1), "Done")
          assert.deepStrictEqual(
            yield* service.claim(keyOf(key), claiming("again"), 1),
            unknown("first"),
            key
          )
        }
        const lease = yield* claimRun(service, keyOf("fits"), 0)
        yield* service.complete(lease, value("x".repeat(20)), 0)
        assert.deepStrictEqual(
          yield* service.claim(keyOf("fits"), claiming("again"), 1),
          done("first", "x".repeat(20))
        )
      })
    )

    it.effect("frees a key whose owner died before its handler began", () =>
      Effect.gen(function* () {
        const service = yield* build()
        const dead = yield* claimRun(service, keyOf("k"), 0)
        assert.strictEqual((yield* service.claim(keyOf("k"), claiming("again"), 999))._tag, "InFlight")
        assert.strictEqual(yield* service.peek(keyOf("k"), "another", 1_000), "Run")
        const lease = yield* claimRun(service, keyOf("k"), 1_000, {
          callId: "second",
          argumentsHash: "another",
          expiresAt: 2_000
        })
        assert.notStrictEqual(lease.token, dead.token)
      })
    )

    it.effect("says that nobody knows what a dead owner's handler did, until someone may take over", () =>
      Effect.gen(function* () {
        const service = yield* build()
        const dead = yield* claimRun(service, keyOf("k"), 0)
        yield* service.begin(dead, 10)
        assert.strictEqual(yield* service.peek(keyOf("k"), "h", 999), "InFlight")
        for (const now of [1_000, 50_000]) {
          assert.strictEqual(yield* service.peek(keyOf("k"), "h", now), "Abandoned")
          assert.deepStrictEqual(yield* service.claim(keyOf("k"), claiming("again"), now), {
            _tag: "Abandoned",
            callId: "first"
          })
        }
        const taken = yield* claimRun(service, keyOf("k"), 50_000, {
          callId: "second",
          expiresAt: 60_000,
          takeOver: true
        })
        const third = yield* service.claim(keyOf("k"), claiming("third", { takeOver: true }), 50_001)
        assert.strictEqual(third._tag, "InFlight")
        yield* service.complete(taken, value(2), 50_002)
        assert.deepStrictEqual(yield* service.claim(keyOf("k"), claiming("third"), 50_003), done("second", 2))
      })
    )

    it.effect("lets whoever lost a lease change nothing, and not begin", () =>
      Effect.gen(function* () {
        const service = yield* build()
        const dead = yield* claimRun(service, keyOf("k"), 0)
        const lease = yield* claimRun(service, keyOf("k"), 1_000, { callId: "second", expiresAt: 2_000 })
        assert.deepStrictEqual(yield* Effect.flip(service.begin(dead, 1_001)), lost)
        yield* service.complete(dead, value("dead"), 1_001)
        yield* service.release(dead, 1_001)
        yield* service.abandon(dead, 1_001)
        assert.strictEqual((yield* service.claim(keyOf("k"), claiming("third"), 1_002))._tag, "InFlight")
        yield* service.begin(lease, 1_003)
        yield* service.complete(lease, value("alive"), 1_004)
        for (const late of [dead, lease]) {
          assert.deepStrictEqual(yield* Effect.flip(service.begin(late, 1_005)), lost)
          yield* service.complete(late, value("late"), 1_005)
          yield* service.release(late, 1_005)
          yield* service.abandon(late, 1_005)
        }
        assert.deepStrictEqual(
          yield* service.claim(keyOf("k"), claiming("third"), 1_006),
          done("second", "alive")
        )
      })
    )

    it.effect("takes a late outcome where nobody else has the key", () =>
      Effect.gen(function* () {
        const service = yield* build()
        const lease = yield* claimRun(service, keyOf("k"), 0)
        yield* service.begin(lease, 0)
        assert.strictEqual(yield* service.peek(keyOf("k"), "h", 5_000), "Abandoned")
        yield* service.complete(lease, value("late"), 5_000)
        assert.deepStrictEqual(
          yield* service.claim(keyOf("k"), claiming("again"), 5_001),
          done("first", "late")
        )
      })
    )

    it.effect("frees a released key at once, and releases once", () =>
      Effect.gen(function* () {
        const service = yield* build()
        for (const begins of [false, true]) {
          const lease = yield* claimRun(service, keyOf("k"), 0)
          if (begins) yield* service.begin(lease, 0)
          yield* service.release(lease, 1)
          yield* service.release(lease, 1)
          assert.strictEqual(yield* service.peek(keyOf("k"), "h", 1), "Run")
        }
      })
    )

    it.effect("leaves an abandoned key abandoned until it is completed", () =>
      Effect.gen(function* () {
        const service = yield* build()
        const abandoned: Idempotency.Claim = { _tag: "Abandoned", callId: "first" }
        const lease = yield* claimRun(service, keyOf("k"), 0)
        yield* service.begin(lease, 0)
        yield* service.abandon(lease, 5)
        yield* service.abandon(lease, 6)
        // Even to those whose clock is behind.
        for (const now of [0, 5, 6]) {
          assert.deepStrictEqual(yield* service.claim(keyOf("k"), claiming("again"), now), abandoned)
        }
        for (const [n, ends] of [service.release, service.abandon, () => Effect.void].entries()) {
          const now = 10 + n
          const taken = yield* claimRun(service, keyOf("k"), now, {
            callId: "second",
            expiresAt: now + 1,
            takeOver: true
          })
          yield* ends(taken, now)
          assert.strictEqual(yield* service.peek(keyOf("k"), "h", now + 1), "Abandoned")
          assert.deepStrictEqual(yield* service.claim(keyOf("k"), claiming("again"), now + 1), abandoned)
        }
      })
    )

    it.effect("keeps outcomes, and what is abandoned, for as long as it is told", () =>
      Effect.gen(function* () {
        const service = yield* build({ keepFor: "1 minute" })
        const completed = yield* claimRun(service, keyOf("done"), 0)
        yield* service.complete(completed, value(1), 500)
        const dead = yield* claimRun(service, keyOf("dead"), 0)
        yield* service.begin(dead, 0)
        assert.strictEqual(yield* service.peek(keyOf("done"), "h", 60_499), "Done")
        assert.strictEqual(yield* service.peek(keyOf("dead"), "h", 60_999), "Abandoned")
        assert.strictEqual(yield* service.peek(keyOf("done"), "h", 60_500), "Run")
        assert.strictEqual(yield* service.peek(keyOf("dead"), "h", 61_000), "Run")
        const again = yield* claimRun(service, keyOf("dead"), 61_000, { expiresAt: 62_000 })
        yield* service.release(again, 61_000)
        assert.strictEqual(yield* service.peek(keyOf("dead"), "h", 61_000), "Run")
        assert.strictEqual(
          (yield* service.claim(keyOf("done"), claiming("again", { expiresAt: 70_000 }), 61_000))._tag,
          "Run"
        )
      })
    )

    it.effect("leaves a lease without an end to its owner", () =>
      Effect.gen(function* () {
        const service = yield* build()
        yield* claimRun(service, keyOf("k"), 0, { expiresAt: Number.POSITIVE_INFINITY })
        assert.strictEqual(yield* service.peek(keyOf("k"), "h", 1e15), "InFlight")
      })
    )

    const ends: ReadonlyArray<
      readonly [string, (service: Service, lease: Idempotency.Lease) => Effect.Effect<unknown, unknown>]
    > = [
      ["is completed", (service, lease) => service.complete(lease, value(1), 10)],
      ["is released", (service, lease) => service.release(lease, 10)],
      ["is abandoned", (service, lease) => service.abandon(lease, 10)],
      ["expires", () => TestClock.adjust(1_000)]
    ]
    for (const [how, end] of ends) {
      it.effect(`wakes everyone who waits for a call that ${how}`, () =>
        Effect.gen(function* () {
          const service = yield* build()
          const lease = yield* claimRun(service, keyOf("k"), 0)
          yield* service.begin(lease, 0)
          const waiters = yield* Effect.forEach([1, 2, 3], () =>
            Effect.gen(function* () {
              const claim = yield* service.claim(keyOf("k"), claiming("again"), 0)
              if (claim._tag !== "InFlight") return assert.fail(claim._tag)
              assert.strictEqual(claim.callId, "first")
              return yield* Effect.forkChild(claim.wait, { startImmediately: true })
            })
          )
          const late = yield* service.claim(keyOf("k"), claiming("again"), 0)
          yield* Fiber.interrupt(waiters[1]!)
          yield* settle
          assert.isUndefined(waiters[0]!.pollUnsafe())
          yield* end(service, lease)
          yield* settle
          for (const n of [0, 2]) assert.deepStrictEqual(waiters[n]!.pollUnsafe(), Exit.void)
          // Whoever waits for what is over does not wait.
          if (late._tag === "InFlight") yield* late.wait
          assert.notStrictEqual(yield* service.peek(keyOf("k"), "h", 1_000), "InFlight")
        })
      )
    }

    it.effect("does what a model of it says, for any order of steps", () =>
      Effect.gen(function* () {
        const service = yield* build({ keepFor: machine.keepFor })
        yield* Effect.promise(() =>
          fc.assert(
            fc.asyncProperty(machine.commands, (commands) => machine.run(service, commands)),
            { numRuns: runs.machine }
          )
        )
      })
    )

    it.effect("never runs a key twice, whoever is interrupted, dies, waits or gives up", () =>
      Effect.gen(function* () {
        const service = yield* build()
        const context = yield* Effect.context<never>()
        yield* Effect.promise(() =>
          fc.assert(
            fc.asyncProperty(exclusion.plans, (plans) =>
              Effect.runPromiseWith(context)(exclusion.check([service], plans))
            ),
            { numRuns: runs.exclusion }
          )
        )
      })
    )
  })
