/** What every backend of `CircuitBreaker` must do. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"

const ask = Effect.fnUntraced(function* (key = "k") {
  const breaker = yield* CircuitBreaker.CircuitBreaker
  return yield* breaker.admit(key, yield* Clock.currentTimeMillis)
})

const admitted = Effect.fnUntraced(function* (key = "k") {
  const answer = yield* ask(key)
  if ("_tag" in answer) return assert.fail(`refused: ${answer.why}`)
  return answer
})

const refused = Effect.fnUntraced(function* (key = "k") {
  const answer = yield* ask(key)
  if (!("_tag" in answer)) return assert.fail("admitted")
  return { ...answer, retryAfter: Duration.toMillis(answer.retryAfter) }
})

const report = Effect.fnUntraced(function* (
  admission: CircuitBreaker.Admission,
  outcome: CircuitBreaker.Outcome,
  detail?: CircuitBreaker.Detail
) {
  const breaker = yield* CircuitBreaker.CircuitBreaker
  yield* breaker.report(admission, outcome, yield* Clock.currentTimeMillis, detail)
})

const call = Effect.fnUntraced(function* (
  outcome: CircuitBreaker.Outcome,
  key = "k",
  detail?: CircuitBreaker.Detail
) {
  yield* report(yield* admitted(key), outcome, detail)
})

const fail = (times: number, key = "k", detail?: CircuitBreaker.Detail) =>
  Effect.repeat(call("failure", key, detail), { times: times - 1 })

const stateOf = Effect.fnUntraced(function* (key = "k") {
  const breaker = yield* CircuitBreaker.CircuitBreaker
  return yield* breaker.state(key)
})

/** `layerOf` must give circuits of their own each time it is called. */
export const suite = (
  name: string,
  layerOf: (
    options?: CircuitBreaker.Options,
    overrides?: CircuitBreaker.Overrides
  ) => Layer.Layer<CircuitBreaker.CircuitBreaker, unknown>
) =>
  describe(`CircuitBreaker, ${name}`, () => {
    it.effect("opens after five consecutive failures, and says why and until when", () =>
      Effect.gen(function* () {
        yield* fail(4, "k", { code: "HANDLER_FAILED" })
        yield* call("failure", "k", { code: "TIMED_OUT" })
        yield* TestClock.adjust("20 seconds")
        assert.deepStrictEqual(yield* refused(), {
          _tag: "CircuitOpen",
          key: "k",
          why: "5 consecutive failures, the last TIMED_OUT",
          retryAfter: 40_000
        })
        assert.deepStrictEqual(yield* stateOf(), {
          tag: "Open",
          why: "5 consecutive failures, the last TIMED_OUT",
          since: 0,
          nextProbeAt: 60_000,
          consecutiveFailures: 5,
          failureRate: undefined,
          openings: 1,
          probesInFlight: 0
        })
      }).pipe(Effect.provide(layerOf()))
    )

    it.effect("starts counting anew after a success, and does not count what is ignored", () =>
      Effect.gen(function* () {
        yield* fail(4)
        yield* call("ignored")
        assert.strictEqual((yield* stateOf()).consecutiveFailures, 4)
        yield* call("success")
        yield* fail(4)
        assert.strictEqual((yield* stateOf()).tag, "Closed")
        yield* fail(1)
        assert.strictEqual((yield* stateOf()).tag, "Open")
      }).pipe(Effect.provide(layerOf()))
    )

    it.effect("probes when the open time is over, and closes when the probe succeeds", () =>
      Effect.gen(function* () {
        yield* fail(5)
        yield* TestClock.adjust(59_999)
        assert.strictEqual((yield* refused()).retryAfter, 1)
        yield* TestClock.adjust(1)
        const probe = yield* admitted()
        assert.isTrue(probe.probe)
        const state = yield* stateOf()
        assert.strictEqual(state.tag, "HalfOpen")
        assert.strictEqual(state.probesInFlight, 1)
        yield* report(probe, "success")
        assert.deepStrictEqual(yield* stateOf(), {
          tag: "Closed",
          why: undefined,
          since: 60_000,
          nextProbeAt: undefined,
          consecutiveFailures: 0,
          failureRate: undefined,
          openings: 0,
          probesInFlight: 0
        })
        assert.isFalse((yield* admitted()).probe)
      }).pipe(Effect.provide(layerOf()))
    )

    for (const probes of [1, 2, 3, 4, 5]) {
      it.effect(`half open, admits exactly ${probes} of 1,000 fibers that ask at once`, () =>
        Effect.gen(function* () {
          yield* fail(5)
          yield* TestClock.adjust("60 seconds")
          const wave = Effect.map(
            Effect.forEach(
              Array.from({ length: 1000 }, (_, index) => index),
              (index) => Effect.andThen(Effect.repeat(Effect.yieldNow, { times: index % 4 }), ask()),
              { concurrency: "unbounded" }
            ),
            (answers) => answers.filter((answer): answer is CircuitBreaker.Admission => !("_tag" in answer))
          )
          const first = yield* wave
          assert.strictEqual(first.length, probes)
          assert.isTrue(first.every(({ probe }) => probe))
          // Places given back are given out again, and no more than those.
          yield* Effect.forEach(first.slice(1), (probe) => report(probe, "ignored"))
          assert.strictEqual((yield* wave).length, probes - 1)
          assert.strictEqual((yield* stateOf()).probesInFlight, probes)
        }).pipe(Effect.provide(layerOf({ probes })))
      )
    }

    it.effect("half open with every place taken, refuses with why it opened and a delay above 0", () =>
      Effect.gen(function* () {
        yield* fail(5)
        yield* TestClock.adjust("60 seconds")
        yield* admitted()
        const refusal = yield* refused()
        assert.match(refusal.why, /^5 consecutive failures/)
        assert.isAbove(refusal.retryAfter, 0)
      }).pipe(Effect.provide(layerOf()))
    )

    it.effect("stays half open when a probe is ignored, and gives its place to the next", () =>
      Effect.gen(function* () {
        yield* fail(5)
        yield* TestClock.adjust("60 seconds")
        yield* call("ignored")
        const state = yield* stateOf()
        assert.strictEqual(state.tag, "HalfOpen")
        assert.strictEqual(state.probesInFlight, 0)
        yield* call("success")
        assert.strictEqual((yield* stateOf()).tag, "Closed")
      }).pipe(Effect.provide(layerOf()))
    )

    it.effect("closes only after as many successes in a row as asked for", () =>
      Effect.gen(function* () {
        yield* fail(5)
        yield* TestClock.adjust("60 seconds")
        yield* call("success")
        yield* call("success")
        yield* call("failure")
        assert.strictEqual((yield* stateOf()).tag, "Open")
        yield* TestClock.adjust("60 seconds")
        yield* call("success")
        yield* call("success")
        assert.strictEqual((yield* stateOf()).tag, "HalfOpen")
        yield* call("success")
        assert.strictEqual((yield* stateOf()).tag, "Closed")
      }).pipe(Effect.provide(layerOf({ successThreshold: 3 })))
    )

    it.effect("stays open longer with each opening up to the cap, and starts over once it closed", () =>
      Effect.gen(function* () {
        yield* fail(5)
        for (const seconds of [10, 20, 40, 60, 60]) {
          assert.strictEqual((yield* refused()).retryAfter, seconds * 1000)
          yield* TestClock.adjust(Duration.seconds(seconds))
          yield* call("failure", "k", { code: "TIMED_OUT" })
        }
        const state = yield* stateOf()
        assert.strictEqual(state.openings, 6)
        assert.strictEqual(state.why, "a probe failed: TIMED_OUT")
        yield* TestClock.adjust("60 seconds")
        yield* call("success")
        yield* fail(5)
        assert.strictEqual((yield* refused()).retryAfter, 10_000)
      }).pipe(Effect.provide(layerOf({ openFor: "10 seconds", growth: 2, maxOpenFor: "60 seconds" })))
    )

    it.effect("stays open for as long as the last failure asks, up to the cap, and never shorter", () =>
      Effect.gen(function* () {
        const hint = (key: string, retryAfter: Duration.Duration) =>
          Effect.andThen(fail(5, key, { retryAfter }), refused(key))
        assert.strictEqual((yield* hint("longer", Duration.minutes(5))).retryAfter, 300_000)
        assert.strictEqual((yield* hint("shorter", Duration.seconds(1))).retryAfter, 60_000)
        assert.strictEqual((yield* hint("too long", Duration.hours(9))).retryAfter, 3_600_000)
      }).pipe(Effect.provide(layerOf()))
    )

    it.effect("does not count what was admitted before a change of state", () =>
      Effect.gen(function* () {
        const early = yield* Effect.forEach([1, 2, 3], () => admitted())
        yield* fail(5)
        yield* report(early[0]!, "success")
        assert.strictEqual((yield* stateOf()).tag, "Open")
        yield* TestClock.adjust("60 seconds")
        const probe = yield* admitted()
        yield* report(early[1]!, "success")
        yield* report(early[2]!, "failure")
        const state = yield* stateOf()
        assert.strictEqual(state.tag, "HalfOpen")
        assert.strictEqual(state.probesInFlight, 1)
        yield* report(probe, "success")
        yield* report(early[2]!, "failure")
        assert.strictEqual((yield* stateOf()).consecutiveFailures, 0)
      }).pipe(Effect.provide(layerOf()))
    )

    it.effect("forced open, refuses until reset with the operator's reason, whatever time passes", () =>
      Effect.gen(function* () {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        const before = yield* admitted()
        yield* breaker.forceOpen("k", "the vendor migrates")
        yield* report(before, "success")
        yield* TestClock.adjust("2 hours")
        const refusal = yield* refused()
        assert.strictEqual(refusal.why, "the vendor migrates")
        assert.isAbove(refusal.retryAfter, 0)
        const state = yield* stateOf()
        assert.strictEqual(state.tag, "ForcedOpen")
        assert.strictEqual(state.why, "the vendor migrates")
        assert.strictEqual(state.nextProbeAt, undefined)
        yield* breaker.reset("k")
        yield* call("success")
        assert.strictEqual((yield* stateOf()).tag, "Closed")
      }).pipe(Effect.provide(layerOf()))
    )

    it.effect("forced closed, admits everything and never trips; reset counts from zero", () =>
      Effect.gen(function* () {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        yield* fail(5)
        yield* breaker.forceClosed("k")
        yield* fail(50)
        const late = yield* admitted()
        assert.strictEqual((yield* stateOf()).tag, "ForcedClosed")
        yield* breaker.reset("k")
        yield* report(late, "failure")
        assert.strictEqual((yield* stateOf()).consecutiveFailures, 0)
        yield* fail(4)
        assert.strictEqual((yield* stateOf()).tag, "Closed")
      }).pipe(Effect.provide(layerOf()))
    )

    it.effect("opens by the share of failures among the last outcomes, once there are enough", () =>
      Effect.gen(function* () {
        yield* fail(3)
        yield* Effect.repeat(call("success"), { times: 3 })
        assert.strictEqual((yield* stateOf()).failureRate, 3 / 7)
        yield* call("failure")
        const state = yield* stateOf()
        assert.strictEqual(state.tag, "Open")
        assert.strictEqual(state.why, "4 of the last 8 attempts failed")
      }).pipe(
        Effect.provide(layerOf({ trip: CircuitBreaker.rate({ threshold: 0.5, minimum: 8, size: 10 }) }))
      )
    )

    it.effect("opens by the share of failures within a time, and forgets what is older", () =>
      Effect.gen(function* () {
        yield* fail(3)
        yield* TestClock.adjust("61 seconds")
        yield* fail(3)
        assert.strictEqual((yield* stateOf()).tag, "Closed")
        yield* TestClock.adjust("30 seconds")
        yield* fail(1, "k", { code: "TIMED_OUT" })
        const state = yield* stateOf()
        assert.strictEqual(state.tag, "Open")
        assert.strictEqual(state.why, "4 of 4 attempts within 1m failed, the last TIMED_OUT")
      }).pipe(
        Effect.provide(
          layerOf({ trip: CircuitBreaker.rateWithin({ threshold: 0.5, minimum: 4, window: "1 minute" }) })
        )
      )
    )

    it.effect("probes again after the open time even where the clock was set back", () =>
      Effect.gen(function* () {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        yield* TestClock.setTime(10_000_000)
        yield* fail(5)
        assert.strictEqual((yield* refused()).retryAfter, 60_000)
        const back = yield* breaker.admit("k", 1_000_000)
        assert.isTrue("_tag" in back && Duration.toMillis(back.retryAfter) === 60_000)
        const probe = yield* breaker.admit("k", 1_060_000)
        assert.isTrue("probe" in probe && probe.probe)
      }).pipe(Effect.provide(layerOf()))
    )

    it.effect("keeps circuits apart, whatever their keys are", () =>
      Effect.gen(function* () {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        const keys = ["__proto__", "constructor", "toString", "", "a:b", "a*", "\u0000", "é", "🙂"]
        yield* Effect.forEach(keys, (key) => call("success", key))
        for (const key of keys) yield* fail(5, key)
        for (const key of keys) assert.strictEqual((yield* refused(key)).key, key)
        yield* call("success", "hasOwnProperty")
        const states = yield* breaker.states
        assert.deepStrictEqual([...states.keys()].sort(), [...keys, "hasOwnProperty"].sort())
        assert.strictEqual(states.get("__proto__")?.tag, "Open")
        assert.strictEqual(states.get("hasOwnProperty")?.tag, "Closed")
        assert.strictEqual((yield* stateOf("never used")).since, undefined)
      }).pipe(Effect.provide(layerOf()))
    )

    it.effect("takes other options for keys that a glob matches, the first of them", () =>
      Effect.gen(function* () {
        yield* fail(2, "mail_send")
        assert.strictEqual((yield* refused("mail_send")).retryAfter, 5_000)
        yield* fail(4, "search")
        yield* fail(4, "mail_list")
        assert.strictEqual((yield* stateOf("search")).tag, "Closed")
        yield* fail(1, "search")
        yield* fail(1, "mail_list")
        assert.strictEqual((yield* refused("search")).retryAfter, 5_000)
        assert.strictEqual((yield* refused("mail_list")).retryAfter, 1_000)
      }).pipe(
        Effect.provide(
          layerOf(
            { openFor: "5 seconds" },
            { "mail_s*": { trip: CircuitBreaker.consecutive(2) }, "mail_*": { openFor: "1 second" } }
          )
        )
      )
    )

    it.effect("tells of every change of state, and of nothing else", () =>
      Effect.gen(function* () {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        const seen = yield* breaker.transitions.pipe(
          Stream.take(6),
          Stream.runCollect,
          Effect.forkChild({ startImmediately: true })
        )
        yield* fail(5)
        yield* TestClock.adjust("60 seconds")
        yield* call("ignored")
        yield* call("success")
        yield* breaker.forceOpen("k", "maintenance")
        yield* breaker.forceOpen("k", "still maintenance")
        yield* breaker.forceClosed("k")
        yield* breaker.reset("k")
        const why = "5 consecutive failures"
        assert.deepStrictEqual(yield* Fiber.join(seen), [
          { key: "k", from: "Closed", to: "Open", why, at: 0 },
          { key: "k", from: "Open", to: "HalfOpen", why, at: 60_000 },
          { key: "k", from: "HalfOpen", to: "Closed", why: undefined, at: 60_000 },
          { key: "k", from: "Closed", to: "ForcedOpen", why: "maintenance", at: 60_000 },
          { key: "k", from: "ForcedOpen", to: "ForcedClosed", why: undefined, at: 60_000 },
          { key: "k", from: "ForcedClosed", to: "Closed", why: undefined, at: 60_000 }
        ])
      }).pipe(Effect.provide(layerOf()))
    )
  })
