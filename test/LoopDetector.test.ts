import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Effect from "effect/Effect"
import * as fc from "fast-check"
import * as Machine from "../src/internal/loopMachine.ts"
import * as LoopDetector from "../src/LoopDetector.ts"
import * as Run from "../src/Run.ts"
import * as ToolAnnotations from "../src/ToolAnnotations.ts"

const factsOf = (name: string, annotate: (tool: Tool.Any) => Tool.Any = (tool) => tool) =>
  ToolAnnotations.read(annotate(Tool.make(name)))

/** A run, and its calls as the pipeline makes them. */
const running = (options?: LoopDetector.Options, driver: Run.Driver = "model") => {
  const detector = LoopDetector.make(options)
  const run = Run.make({ id: "r", driver })
  return {
    detector,
    run,
    /** `ran`, or the kind of circle it was refused for. */
    call: (
      tool: string,
      params: unknown,
      outcome: { readonly code?: string; readonly encoded?: unknown } = { encoded: "same" },
      facts?: ToolAnnotations.ToolFacts
    ): string => {
      const call = { tool, params, facts }
      const found = detector.check(run, call)
      if (found === undefined) {
        detector.ended(run, call, outcome)
        return "ran"
      }
      detector.refused(run, call)
      return found.stopped ? "stopped" : found.kind
    },
    message: (tool: string, params: unknown) => detector.check(run, { tool, params })?.message ?? ""
  }
}

describe("repeats", () => {
  it("refuses a call that ended twice in the same way, and stops the run that insists", () => {
    const { call } = running()
    const search = () => call("search", { q: "a" })
    assert.deepStrictEqual([search(), search(), search(), search()], ["ran", "ran", "repeat", "stopped"])
    assert.strictEqual(call("other", {}), "stopped")
  })

  it("knows arguments by what they say, not by the order of their keys", () => {
    const { call } = running()
    call("search", { a: 1, b: { c: [1], d: 2 } })
    call("search", { b: { d: 2, c: [1] }, a: 1 })
    assert.strictEqual(call("search", { a: 1, b: { c: [1], d: 2 } }), "repeat")
    assert.strictEqual(call("search", { a: 1, b: { c: [1, 1], d: 2 } }), "ran")
    assert.strictEqual(call("search2", { a: 1, b: { c: [1], d: 2 } }), "ran")
  })

  it("takes failures with one code for the same outcome", () => {
    const { call } = running()
    const fail = (code: string) => call("fetch", {}, { code })
    assert.deepStrictEqual(
      [fail("TIMED_OUT"), fail("OVERLOADED"), fail("OVERLOADED"), fail("OVERLOADED")],
      ["ran", "ran", "ran", "repeat"]
    )
  })

  it("lets polling go on that sees another outcome", () => {
    const { call } = running()
    for (let progress = 0; progress < 200; progress++) {
      assert.strictEqual(call("status", { job: 1 }, { encoded: { progress } }), "ran")
    }
  })

  it("counts across other calls", () => {
    const { call } = running()
    const seen = [1, 2, 3].map((n) => [call("search", { q: "a" }), call("note", { n })])
    assert.deepStrictEqual(seen.flat(), ["ran", "ran", "ran", "ran", "repeat", "ran"])
    assert.strictEqual(call("search", { q: "a" }), "stopped")
  })

  it("counts anew after something was changed that was not changed so before", () => {
    const { call } = running()
    const write = factsOf("write", (tool) => tool.annotate(Tool.Readonly, false))
    const edit = (text: string) => call("write", { text }, undefined, write)
    for (const text of ["a", "b", "c", "d"]) {
      assert.strictEqual(call("test", {}, { code: "TOOL_FAILED" }), "ran")
      assert.strictEqual(edit(text), "ran")
    }
    // The same change again changes nothing.
    call("test", {})
    edit("a")
    call("test", {})
    assert.strictEqual(call("test", {}), "repeat")
    edit("e")
    assert.strictEqual(call("test", {}), "ran")
  })

  it("does not count tools that may repeat, by any of their names", () => {
    const { call } = running({ mayRepeat: ["wait*"] })
    const facts = factsOf("mcp__wait_for_job")
    for (let i = 0; i < 20; i++) {
      assert.strictEqual(call("wait", {}), "ran")
      assert.strictEqual(call("mcp__wait_for_job", {}, undefined, facts), "ran")
    }
    for (let i = 0; i < 5; i++) assert.strictEqual(call("wait", {}, { code: "TIMED_OUT" }), "ran")
    assert.strictEqual(call("wait", {}), "error_storm")
  })

  it("forgets what lies before the window", () => {
    const { call } = running({ window: 4 })
    call("search", {})
    for (let n = 0; n < 3; n++) call("note", { n })
    call("search", {})
    assert.strictEqual(call("search", {}), "ran")
    assert.strictEqual(call("search", {}), "repeat")
  })
})

describe("ping-pong", () => {
  it("refuses two calls that alternate with the same outcomes", () => {
    const { call } = running({ repeats: 10 })
    const on = () => call("set", { light: true })
    const off = () => call("set", { light: false })
    assert.deepStrictEqual([on(), off(), on(), off()], ["ran", "ran", "ran", "ran"])
    assert.strictEqual(on(), "ping_pong")
    assert.strictEqual(on(), "stopped")
  })

  it("stops the run that goes on with the other call of the pair, where that repeats too", () => {
    const { call } = running()
    for (const tool of ["a", "b", "a", "b"]) call(tool, {})
    assert.strictEqual(call("a", {}), "ping_pong")
    assert.strictEqual(call("b", {}), "stopped")
  })

  it("warns of a pair of which it has told only one call before", () => {
    const state = ["a", "b", "a", "b"].reduce<Machine.State>(
      (state, call) => Machine.ended(state, step(call, "1"), { ...rules, repeats: 9 }),
      { ...Machine.initial, told: [{ calls: ["a"], at: 0 }] }
    )
    const circle = Machine.check(state, "a", { ...rules, repeats: 9 })
    assert.strictEqual(circle?.kind, "ping_pong")
    assert.isFalse(circle?.stopped)
  })

  it("lets a pair alternate whose outcomes differ", () => {
    const { call } = running({ repeats: 25 })
    for (let n = 0; n < 20; n++) {
      assert.strictEqual(call("read", {}, { encoded: n }), "ran")
      assert.strictEqual(call("next", {}), "ran")
    }
  })
})

describe("error storms", () => {
  const fail = (calls: ReturnType<typeof running>, n: number) => calls.call("t", { n }, { code: `E${n % 3}` })

  it("refuses after five failures in a row, lets one more through, and stops when that fails", () => {
    const calls = running()
    for (let n = 0; n < 5; n++) assert.strictEqual(fail(calls, n), "ran")
    assert.strictEqual(fail(calls, 5), "error_storm")
    assert.strictEqual(fail(calls, 5), "ran")
    assert.strictEqual(fail(calls, 6), "stopped")
    assert.strictEqual(calls.call("t", {}), "stopped")
  })

  it("is over with a success", () => {
    const calls = running()
    for (let n = 0; n < 5; n++) fail(calls, n)
    assert.strictEqual(fail(calls, 5), "error_storm")
    assert.strictEqual(calls.call("u", {}), "ran")
    for (let n = 10; n < 15; n++) assert.strictEqual(fail(calls, n), "ran")
    assert.strictEqual(fail(calls, 15), "error_storm")
  })
})

describe("what the model is told", () => {
  it("names the tool, what happened and what to do; never an argument or a result", () => {
    const { call, message, run } = running()
    const secret = "hunter2-hunter2"
    for (let i = 0; i < 2; i++) call("login", { password: secret }, { encoded: { token: secret } })
    assert.strictEqual(
      message("login", { password: secret }),
      '"login" was called with exactly these arguments before and gave the same result twice, so it was not called again. Use that result, change the arguments, try another tool, or say what is missing. If this call is repeated, the run is stopped.'
    )
    call("login", { password: secret })
    call("login", { password: secret })
    assert.strictEqual(
      message("anything", {}),
      "The run is stopped, because it repeated a call after it was told. No further call is made. Answer with what is known so far, and say what is missing."
    )
    assert.notInclude(
      inspect(
        run.remember("loops", () => undefined),
        { depth: 20 }
      ),
      secret
    )
  })

  it("cannot be told apart by outcomes that cannot be written down", () => {
    const { call } = running()
    const cyclic: Record<string, unknown> = {}
    cyclic["self"] = cyclic
    for (let i = 0; i < 5; i++) assert.strictEqual(call("t", {}, { encoded: cyclic }), "ran")
  })
})

it("judges nothing in runs that a program drives, and keeps runs apart", () => {
  const program = running({}, "program")
  for (let i = 0; i < 20; i++) assert.strictEqual(program.call("t", {}, { code: "E" }), "ran")
  const { call, detector } = running()
  call("t", {})
  call("t", {})
  assert.isUndefined(detector.check(Run.make({ id: "r", driver: "model" }), { tool: "t", params: {} }))
  assert.strictEqual(call("t", {}), "repeat")
})

it("changes nothing by checking", () => {
  const { call, detector, run } = running()
  call("t", {})
  call("t", {})
  const first = detector.check(run, { tool: "t", params: {} })
  assert.deepStrictEqual(detector.check(run, { tool: "t", params: {} }), first)
  assert.isFalse(first?.stopped)
})

it.each([
  { repeats: 0 },
  { repeats: 1.5 },
  { pingPong: 1 },
  { errors: 0 },
  { errors: Number.NaN },
  { window: 3 },
  { repeats: 60 },
  { window: Number.POSITIVE_INFINITY }
])("refuses the option %j", (options) => {
  assert.throws(
    () => LoopDetector.make(options),
    RangeError,
    /^LoopDetector: (repeats|pingPong|errors|window) /
  )
})

it.effect("refuses nothing without a detector", () =>
  Effect.gen(function* () {
    const detector = yield* LoopDetector.LoopDetector
    const run = Run.make({ id: "r", driver: "model" })
    const call = { tool: "t", params: {} }
    for (let i = 0; i < 20; i++) detector.ended(run, call, { code: "E" })
    detector.refused(run, call)
    assert.isUndefined(detector.check(run, call))
  }).pipe(Effect.provide(LoopDetector.layerNoop))
)

// --- Laws ------------------------------------------------------------------

const rules: Machine.Rules = { repeats: 2, pingPong: 2, errors: 4, window: 12 }

/** What the module doc says, read off the whole history and as plainly as possible. */
const specification = (history: ReadonlyArray<Machine.Step>, call: string): string | undefined => {
  const recent = history.slice(-rules.window)
  const pairs = recent.slice(-2 * rules.pingPong)
  const [a, b] = pairs
  if (
    pairs.length === 2 * rules.pingPong &&
    a!.call === call &&
    b!.call !== call &&
    pairs.every((step, i) => step.call === pairs[i % 2]!.call && step.outcome === pairs[i % 2]!.outcome)
  ) {
    return "ping_pong"
  }
  const own = recent.filter((step) => step.call === call).slice(-rules.repeats)
  if (own.length === rules.repeats && own.every(({ outcome }) => outcome === own[0]!.outcome)) return "repeat"
  const failures = history.length - 1 - history.findLastIndex(({ failed }) => !failed)
  return failures >= rules.errors ? "error_storm" : undefined
}

const step = (call: string, outcome: string): Machine.Step => ({
  tool: "t",
  call,
  outcome,
  failed: outcome.startsWith("E"),
  changes: false,
  exempt: false
})

const moves = fc.array(
  fc.tuple(fc.constantFrom("a", "b", "c", "d"), fc.constantFrom("1", "1", "1", "2", "E1", "E2")),
  { maxLength: 60 }
)

describe("laws", () => {
  it("finds what the specification finds, at every moment of any run", () => {
    fc.assert(
      fc.property(moves, (moves) => {
        let state = Machine.initial
        const history: Array<Machine.Step> = []
        for (const [call, outcome] of moves) {
          assert.strictEqual(Machine.check(state, call, rules)?.kind, specification(history, call))
          // Whatever is found, the call runs: refusals have laws of their own.
          state = Machine.ended(state, step(call, outcome), rules)
          history.push(step(call, outcome))
        }
      }),
      { numRuns: 1000 }
    )
  })

  it("warns of a circle once, and then stops for good", () => {
    fc.assert(
      fc.property(moves, (moves) => {
        let state = Machine.initial
        let stopped = false
        const told = new Set<string>()
        for (const [call, outcome] of moves) {
          const circle = Machine.check(state, call, rules)
          if (stopped) assert.isTrue(circle?.stopped)
          if (circle === undefined) {
            state = Machine.ended(state, step(call, outcome), rules)
            continue
          }
          if (!circle.stopped && circle.kind !== "error_storm") {
            // Nothing is told twice while it is remembered; what is told twice is no longer.
            const key = `${circle.calls} ${state.count}`
            assert.isFalse(told.has(key))
            told.add(key)
          }
          stopped ||= circle.stopped
          state = Machine.refused(state, call, rules)
          const again = Machine.check(state, call, rules)
          if (circle.kind !== "error_storm") assert.isTrue(again?.stopped)
        }
      }),
      { numRuns: 1000 }
    )
  })

  it("never refuses a run that does not repeat itself and does not keep failing", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(fc.constantFrom("read", "search", "note"), fc.json()), {
          maxLength: 60,
          selector: ([tool, params]) => `${tool} ${JSON.stringify(JSON.parse(params))}`
        }),
        fc.infiniteStream(fc.constantFrom("same", "other")),
        (calls, outcomes) => {
          const { call } = running()
          for (const [tool, params] of calls) {
            const encoded = outcomes.next().value
            assert.strictEqual(call(tool, JSON.parse(params), { encoded }), "ran")
          }
        }
      ),
      { numRuns: 200 }
    )
  })

  it("keeps no more than the window", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(200), { maxLength: 400 }), (calls) => {
        let state = Machine.initial
        for (const n of calls) {
          state = Machine.refused(state, String(n), rules)
          state = Machine.ended(state, step(String(n), String(n % 2)), rules)
          assert.isAtMost(state.steps.length, rules.window)
          assert.isAtMost(state.told.length, rules.window)
        }
      }),
      { numRuns: 50 }
    )
  })
})
