import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as Verdict from "../src/Verdict.ts"

const reasons = fc.array(fc.record({ rule: fc.string(), message: fc.string() }), {
  minLength: 1,
  maxLength: 3
})
const verdict: fc.Arbitrary<Verdict.Verdict> = fc.oneof(
  fc.constant(Verdict.allow),
  ...(["Confirm", "Approve", "Deny"] as const).map((_tag) => fc.record({ _tag: fc.constant(_tag), reasons }))
)
const order = ["Allow", "Confirm", "Approve", "Deny"]
const rank = (self: Verdict.Verdict) => order.indexOf(self._tag)

describe("verdicts", () => {
  it("combine associatively", () => {
    fc.assert(
      fc.property(verdict, verdict, verdict, (a, b, c) => {
        assert.deepStrictEqual(
          Verdict.combine(Verdict.combine(a, b), c),
          Verdict.combine(a, Verdict.combine(b, c))
        )
      }),
      { numRuns: 1000 }
    )
  })

  it("have allow as their identity", () => {
    fc.assert(
      fc.property(verdict, (a) => {
        assert.deepStrictEqual(Verdict.combine(a, Verdict.allow), a)
        assert.deepStrictEqual(Verdict.combine(Verdict.allow, a), a)
      })
    )
  })

  it("are absorbed by a denial, which keeps the reasons of every denial in order and of nothing else", () => {
    fc.assert(
      fc.property(fc.array(verdict), reasons, fc.array(verdict), (before, why, after) => {
        const all = [...before, { _tag: "Deny", reasons: why } as const, ...after]
        const denials = all.filter((each) => each._tag === "Deny")
        assert.deepStrictEqual(Verdict.combineAll(all), {
          _tag: "Deny",
          reasons: denials.flatMap((each) => each.reasons)
        })
      }),
      { numRuns: 500 }
    )
  })

  it("combine to the strongest of them, in any order", () => {
    fc.assert(
      fc.property(fc.array(verdict), (all) => {
        const strongest = Math.max(0, ...all.map(rank))
        assert.strictEqual(rank(Verdict.combineAll(all)), strongest)
        assert.strictEqual(rank(Verdict.combineAll([...all].reverse())), strongest)
      })
    )
  })

  it("fold as they combine, and none at all is allow", () => {
    assert.deepStrictEqual(Verdict.combineAll([]), Verdict.allow)
    fc.assert(
      fc.property(fc.array(verdict), fc.array(verdict), (a, b) => {
        assert.deepStrictEqual(
          Verdict.combineAll([...a, ...b]),
          Verdict.combine(Verdict.combineAll(a), Verdict.combineAll(b))
        )
      })
    )
  })

  it("change none of their arguments", () => {
    fc.assert(
      fc.property(verdict, verdict, (a, b) => {
        const before = structuredClone([a, b])
        Verdict.combine(a, b)
        assert.deepStrictEqual([a, b], before)
      })
    )
  })
})
