import { assert, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as fc from "fast-check"
import * as Circuit from "../src/Circuit.ts"
import * as TripRule from "../src/TripRule.ts"

/** The same circuit told with lists and sets: slow, and with nothing in common but the rules. */
class Model {
  tag: Circuit.State["_tag"] = "Closed"
  why: string | undefined
  until = 0
  openings = 0
  outcomes: Array<{ failed: boolean; at: number }> = []
  failedProbes = 0
  successes = 0
  admissions = new Map<number, "call" | "probe">()
  readonly rules: Circuit.Rules

  constructor(rules: Circuit.Rules) {
    this.rules = rules
  }

  enter(tag: Circuit.State["_tag"], why: string | undefined) {
    this.tag = tag
    this.why = why
    this.successes = 0
    this.admissions.clear()
  }

  clear() {
    this.outcomes = []
    this.failedProbes = 0
    this.openings = 0
  }

  ask(id: number, now: number): "run" | "probe" | number {
    if (this.tag === "ForcedOpen") return this.rules.openFor
    if (this.tag === "Open") {
      if (now < this.until) return this.until - now
      this.enter("HalfOpen", this.why)
    }
    const probe = this.tag === "HalfOpen"
    if (probe && this.admissions.size === this.rules.probes) return Math.min(1000, this.rules.openFor)
    this.admissions.set(id, probe ? "probe" : "call")
    return probe ? "probe" : "run"
  }

  finish(id: number, outcome: "success" | "failure" | "ignored", now: number, hint: number) {
    const kind = this.admissions.get(id)
    if (kind === undefined) return
    this.admissions.delete(id)
    if (this.tag === "ForcedClosed" || outcome === "ignored") return
    if (kind === "probe") {
      if (outcome === "failure") {
        this.failedProbes++
        this.open("a probe failed: CODE", now, hint)
      } else if (++this.successes === this.rules.successThreshold) {
        this.clear()
        this.enter("Closed", undefined)
      }
      return
    }
    this.outcomes.push({ failed: outcome === "failure", at: now })
    const why = outcome === "failure" ? this.tripped() : undefined
    if (why !== undefined) this.open(`${why}, the last CODE`, now, hint)
  }

  open(why: string, now: number, hint: number) {
    this.openings++
    let openFor = this.rules.openFor
    for (let n = 1; n < this.openings; n++) openFor *= this.rules.growth
    this.until = now + Math.min(this.rules.maxOpenFor, Math.max(openFor, hint))
    this.enter("Open", why)
  }

  window() {
    const { trip } = this.rules
    if (trip._tag === "Consecutive") return []
    if (trip._tag === "Rate") return this.outcomes.slice(-trip.size)
    const slot = (at: number) => Math.floor((at * 60) / trip.window)
    const now = this.outcomes.at(-1)?.at ?? 0
    return this.outcomes.filter(({ at }) => slot(at) > slot(now) - 60)
  }

  consecutive() {
    return this.outcomes.length - 1 - this.outcomes.findLastIndex(({ failed }) => !failed)
  }

  tripped(): string | undefined {
    const { trip } = this.rules
    const inRow = this.consecutive()
    if (trip._tag === "Consecutive") {
      if (inRow < trip.failures) return undefined
      return inRow === 1 ? "1 failure" : `${inRow} consecutive failures`
    }
    const window = this.window()
    const failures = window.filter(({ failed }) => failed).length
    if (window.length < trip.minimum || failures < trip.threshold * window.length) return undefined
    return trip._tag === "Rate"
      ? `${failures} of the last ${window.length} attempts failed`
      : `${failures} of ${window.length} attempts within 6s failed`
  }

  view() {
    const window = this.window()
    return {
      tag: this.tag,
      why: this.why,
      nextProbeAt: this.tag === "Open" ? this.until : undefined,
      consecutiveFailures: this.consecutive() + this.failedProbes,
      failureRate:
        window.length === 0 ? undefined : window.filter(({ failed }) => failed).length / window.length,
      openings: this.openings,
      probesInFlight: this.tag === "HalfOpen" ? this.admissions.size : 0
    }
  }
}

const rules = fc.record({
  trip: fc.oneof(
    fc.integer({ min: 1, max: 4 }).map(TripRule.consecutive),
    fc.constantFrom(0.25, 0.5, 1).map((threshold) => TripRule.rate({ threshold, minimum: 3, size: 6 })),
    fc
      .constantFrom(0.25, 0.5, 1)
      .map((threshold) => TripRule.rateWithin({ threshold, minimum: 3, window: 6000 }))
  ),
  openFor: fc.integer({ min: 1, max: 3000 }),
  growth: fc.constantFrom(1, 2, 3),
  maxOpenFor: fc.integer({ min: 1, max: 10_000 }),
  probes: fc.integer({ min: 1, max: 4 }),
  successThreshold: fc.integer({ min: 1, max: 4 })
})

type Command =
  | { readonly _tag: "Ask" | "Reset" | "ForceOpen" | "ForceClosed" }
  | { readonly _tag: "Wait"; readonly millis: number }
  | {
      readonly _tag: "Finish"
      readonly pick: number
      readonly outcome: Circuit.Outcome
      readonly hint: number
    }

const commands = (wait: fc.Arbitrary<number>): fc.Arbitrary<Array<Command>> =>
  fc.array(
    fc.oneof(
      { weight: 8, arbitrary: fc.constant({ _tag: "Ask" } as const) },
      {
        weight: 8,
        arbitrary: fc.record({
          _tag: fc.constant("Finish" as const),
          pick: fc.nat(50),
          outcome: fc.constantFrom("success", "failure", "failure", "ignored"),
          hint: fc.oneof(fc.constant(0), fc.nat(20_000))
        })
      },
      { weight: 4, arbitrary: wait.map((millis) => ({ _tag: "Wait" as const, millis })) },
      { weight: 1, arbitrary: fc.constantFrom("Reset", "ForceOpen", "ForceClosed").map((_tag) => ({ _tag })) }
    ),
    { maxLength: 120, size: "max" }
  )

it("does what a naive model does, whatever is asked and reported in whatever order", () => {
  fc.assert(
    fc.property(rules, commands(fc.nat(4000)), (options, script) => {
      const compiled = Circuit.rules(options)
      const model = new Model(compiled)
      let state = Circuit.closed(0, 0)
      let now = 0
      const asked: Array<number | undefined> = []
      for (const command of script) {
        const before = state
        switch (command._tag) {
          case "Wait":
            now += command.millis
            break
          case "Ask": {
            const [next, answer] = Circuit.admit(state, now, compiled)
            assert.strictEqual(Circuit.letsRun(state), answer === "run")
            state = next
            const expected = model.ask(asked.length, now)
            assert.strictEqual(typeof answer === "string" ? answer : answer.retryAfter, expected)
            if (typeof answer !== "string") assert.isTrue(answer.why.startsWith(model.why ?? "?"))
            asked.push(typeof answer === "string" ? state.generation : undefined)
            break
          }
          case "Finish": {
            const id = asked.length === 0 ? 0 : command.pick % asked.length
            const generation = asked[id]
            if (generation === undefined) break
            asked[id] = undefined
            model.finish(id, command.outcome, now, command.hint)
            state = Circuit.report(state, { generation }, command.outcome, now, compiled, {
              code: "CODE",
              retryAfter: Duration.millis(command.hint)
            })
            break
          }
          case "Reset":
            model.clear()
            model.enter("Closed", undefined)
            state = Circuit.closed(state.generation + 1, now)
            break
          case "ForceOpen":
            model.clear()
            model.enter("ForcedOpen", "maintenance")
            state = Circuit.forcedOpen(state.generation + 1, now, "maintenance")
            break
          case "ForceClosed":
            model.clear()
            model.enter("ForcedClosed", undefined)
            state = Circuit.forcedClosed(state.generation + 1, now)
            break
        }
        const { since, ...seen } = Circuit.snapshot(state)
        assert.deepStrictEqual(seen, model.view())
        assert.isTrue(since !== undefined && since <= now)
        assert.isAtLeast(state.generation, before.generation)
        if (state._tag !== before._tag) assert.isAbove(state.generation, before.generation)
      }
    }),
    { numRuns: 1000 }
  )
})

it("holds its bounds with a clock that jumps back and forth, and always probes again", () => {
  fc.assert(
    fc.property(rules, commands(fc.integer({ min: -50_000, max: 50_000 })), (options, script) => {
      const compiled = Circuit.rules(options)
      let state = Circuit.closed(0, 0)
      let now = 1_000_000
      const asked: Array<number> = []
      const inFlight = new Map<number, number>()
      for (const command of script) {
        if (command._tag === "Wait") now += command.millis
        if (command._tag === "Ask") {
          const [next, answer] = Circuit.admit(state, now, compiled)
          state = next
          if (typeof answer === "string") {
            asked.push(state.generation)
            const running = (inFlight.get(state.generation) ?? 0) + 1
            inFlight.set(state.generation, running)
            if (answer === "probe") assert.isAtMost(running, compiled.probes)
          } else {
            assert.isAbove(answer.retryAfter, 0)
            assert.isAtMost(answer.retryAfter, compiled.maxOpenFor)
          }
        }
        if (command._tag === "Finish") {
          const generation = asked.splice(command.pick % Math.max(1, asked.length), 1)[0]
          if (generation === undefined) continue
          inFlight.set(generation, inFlight.get(generation)! - 1)
          state = Circuit.report(state, { generation }, command.outcome, now, compiled)
        }
      }
      if (state._tag !== "Open") return
      const [refused, first] = Circuit.admit(state, now, compiled)
      const [, second] = Circuit.admit(refused, now + compiled.maxOpenFor, compiled)
      assert.isTrue(first === "probe" || second === "probe")
    }),
    { numRuns: 1000 }
  )
})

it("growth that overflows stays at the cap", () => {
  const compiled = Circuit.rules({ growth: 10, trip: TripRule.consecutive(1), openFor: 1, maxOpenFor: 5000 })
  let state = Circuit.report(Circuit.closed(0, 0), { generation: 0 }, "failure", 0, compiled)
  let now = 0
  for (let openings = 2; openings < 500; openings++) {
    now += 5000
    state = Circuit.admit(state, now, compiled)[0]
    state = Circuit.report(state, state, "failure", now, compiled)
    assert.isTrue(state._tag === "Open" && state.openings === openings)
  }
  assert.isTrue(state._tag === "Open" && state.until === now + 5000)
})

it("an open time longer than the cap is its own cap", () => {
  assert.strictEqual(Circuit.rules({ openFor: "2 hours" }).maxOpenFor, 7_200_000)
})

it("a success of a closed circuit leaves the very same state", () => {
  const state = Circuit.closed(3, 0)
  assert.strictEqual(Circuit.report(state, state, "success", 5, Circuit.rules()), state)
  assert.strictEqual(Circuit.admit(state, 5, Circuit.rules())[0], state)
})
