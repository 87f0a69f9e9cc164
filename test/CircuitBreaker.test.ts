import { assert, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import { suite } from "./CircuitBreakerSuite.ts"

suite("in memory", CircuitBreaker.layerMemory)

const open = (breaker: CircuitBreaker.CircuitBreaker["Service"], key: string) => {
  const answer = Effect.runSync(breaker.admit(key, 0))
  if ("_tag" in answer) return assert.fail("refused")
  Effect.runSync(breaker.report(answer, "failure", 0))
  return answer
}

it.effect("answers without suspending, and acts when called", () =>
  Effect.gen(function* () {
    const breaker = yield* CircuitBreaker.CircuitBreaker
    const answer = breaker.admit("k", 0)
    assert.isTrue(Exit.isExit(answer))
    const admission = yield* answer
    assert.isFalse("_tag" in admission)
    assert.isTrue(Exit.isExit(breaker.report(admission as CircuitBreaker.Admission, "failure", 0)))
    assert.isTrue(Exit.isExit(breaker.admit("k", 0)))
    assert.strictEqual((yield* breaker.state("k")).tag, "Open")
  }).pipe(Effect.provide(CircuitBreaker.layerMemory({ trip: CircuitBreaker.consecutive(1) })))
)

it.effect("keeps a bounded number of circuits: closed and idle ones go first, forced ones stay", () =>
  Effect.gen(function* () {
    const breaker = yield* CircuitBreaker.CircuitBreaker
    yield* breaker.forceOpen("forced", "maintenance")
    open(breaker, "open")
    for (let index = 0; index < 5000; index++) yield* breaker.admit(`idle ${index}`, 10 + index)
    const states = yield* breaker.states
    assert.isAtMost(states.size, 100)
    assert.strictEqual(states.get("forced")?.tag, "ForcedOpen")
    assert.strictEqual(states.get("open")?.tag, "Open")
    assert.isTrue(states.has("idle 4999"))
    // What is in use stays, however old it is.
    for (let index = 0; index < 5000; index++) {
      yield* breaker.admit("idle 4999", 10_000 + index)
      yield* breaker.admit(`new ${index}`, 10_000 + index)
    }
    const used = yield* breaker.states
    assert.strictEqual(used.get("idle 4999")?.since, 5009)
    // Where nothing is closed, the longest unused of what can be tried again goes.
    for (let index = 0; index < 500; index++) open(breaker, `failing ${index}`)
    const later = yield* breaker.states
    assert.isAtMost(later.size, 100)
    assert.isTrue(later.has("forced"))
  }).pipe(Effect.provide(CircuitBreaker.layerMemory({ maxKeys: 100, trip: CircuitBreaker.consecutive(1) })))
)

it.effect("does not count a call that was admitted before its circuit was forgotten", () =>
  Effect.gen(function* () {
    const breaker = yield* CircuitBreaker.CircuitBreaker
    const early = yield* breaker.admit("k", 0)
    yield* breaker.admit("other", 1)
    yield* breaker.report(early as CircuitBreaker.Admission, "failure", 2)
    yield* breaker.admit("k", 3)
    yield* breaker.report(early as CircuitBreaker.Admission, "failure", 4)
    assert.strictEqual((yield* breaker.state("k")).tag, "Closed")
  }).pipe(Effect.provide(CircuitBreaker.layerMemory({ maxKeys: 1, trip: CircuitBreaker.consecutive(1) })))
)

it.effect("loses the oldest transitions of a slow reader, not the latest", () =>
  Effect.gen(function* () {
    const breaker = yield* CircuitBreaker.CircuitBreaker
    const reader = yield* breaker.transitions.pipe(
      Stream.takeUntil(({ key }) => key === "k2999"),
      Stream.runCollect,
      Effect.forkChild({ startImmediately: true })
    )
    for (let index = 0; index < 3000; index++) open(breaker, `k${index}`)
    // The one that woke the reader, then what was kept.
    assert.strictEqual((yield* Fiber.join(reader)).length, 1025)
  }).pipe(Effect.provide(CircuitBreaker.layerMemory({ trip: CircuitBreaker.consecutive(1) })))
)

it.effect("does not run a reader of transitions inside the call that changed the state", () =>
  Effect.gen(function* () {
    const breaker = yield* CircuitBreaker.CircuitBreaker
    let seen = 0
    yield* breaker.transitions.pipe(
      Stream.runForEach(() => Effect.sync(() => seen++)),
      Effect.forkChild({ startImmediately: true })
    )
    open(breaker, "k")
    assert.strictEqual(seen, 0)
    yield* Effect.repeat(Effect.yieldNow, { times: 5 })
    assert.strictEqual(seen, 1)
  }).pipe(Effect.provide(CircuitBreaker.layerMemory({ trip: CircuitBreaker.consecutive(1) })))
)

it.effect("ends the stream of transitions with its layer, and still answers afterwards", () =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(
      CircuitBreaker.layerMemory({ trip: CircuitBreaker.consecutive(1) }),
      scope
    )
    const breaker = yield* CircuitBreaker.CircuitBreaker.pipe(Effect.provide(context))
    const reader = yield* breaker.transitions.pipe(
      Stream.runDrain,
      Effect.forkChild({ startImmediately: true })
    )
    yield* Scope.close(scope, Exit.void)
    yield* Fiber.await(reader)
    open(breaker, "k")
    assert.strictEqual((yield* breaker.state("k")).tag, "Open")
  })
)

it.effect("layerNoop always admits", () =>
  Effect.gen(function* () {
    const breaker = yield* CircuitBreaker.CircuitBreaker
    for (let index = 0; index < 20; index++) open(breaker, "k")
    yield* breaker.forceOpen("k", "maintenance")
    open(breaker, "k")
    assert.strictEqual((yield* breaker.state("k")).tag, "Closed")
  }).pipe(Effect.provide(CircuitBreaker.layerNoop))
)

it("refuses options that make no sense, and names them", () => {
  const cases: ReadonlyArray<[string, CircuitBreaker.Options]> = [
    ["openFor", { openFor: 0 }],
    ["openFor", { openFor: Duration.infinity }],
    ["growth", { growth: 0.5 }],
    ["maxOpenFor", { maxOpenFor: 0 }],
    ["probes", { probes: 0 }],
    ["probes", { probes: 1.5 }],
    ["successThreshold", { successThreshold: Number.NaN }],
    ["maxKeys", { maxKeys: 0 }]
  ]
  for (const [field, options] of cases) {
    assert.throws(() => CircuitBreaker.layerMemory(options), new RegExp(field))
  }
  assert.throws(() => CircuitBreaker.layerMemory({}, { "mail_*": { probes: 0 } }), /probes/)
})
