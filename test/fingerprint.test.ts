import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { canonicalJson } from "../src/internal/argumentsView.ts"
import * as Fingerprint from "../src/internal/fingerprint.ts"

const print = Fingerprint.make()

/** The same value with the keys of every object in another order. */
const reordered = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(reordered)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, part]) => [key, reordered(part)])
  )
}

describe("fingerprints", () => {
  it("are equal for what is the same JSON, and differ for what is not", () => {
    const json = fc.jsonValue({ maxDepth: 3 })
    fc.assert(
      fc.property(json, json, (a, b) => {
        assert.strictEqual(print(a), print(reordered(a)))
        assert.strictEqual(print(a), print(JSON.parse(JSON.stringify(a))))
        assert.strictEqual(print(a) === print(b), canonicalJson(a) === canonicalJson(b))
        assert.isTrue(Number.isSafeInteger(print(a)))
      }),
      { numRuns: 2000 }
    )
  })

  it("tell apart what only looks alike", () => {
    const values: Array<unknown> = [
      ...[
        1,
        "1",
        1n,
        1.5,
        "1.5",
        true,
        "true",
        null,
        "",
        [],
        {},
        [[]],
        [null],
        ["a"],
        "a",
        -1,
        2 ** 31,
        2 ** 32
      ],
      ...[
        ["ab", "c"],
        ["a", "bc"],
        ["abc"],
        [1, 2],
        [12],
        { a: 1 },
        { a: [1] },
        { a: { b: 1 } },
        { a: {}, b: 1 }
      ],
      ...[{ a: "b", c: "d" }, { a: "bcd" }, { ab: 1 }, [{ a: 1 }, { b: 1 }], [{ a: 1, b: 1 }]],
      ...[new Date(0), new Date(1), new Map([["a", 1]]), new Map([["a", 2]]), new Set([1])]
    ]
    values.push(["a\u0001", "b"], ["a", "\u0001b"], [["a"], "b"], [["a", "b"]])
    assert.strictEqual(new Set(values.map(print)).size, values.length)
  })

  it("are the same for what JSON does not tell apart", () => {
    assert.strictEqual(print({ a: undefined, b: 1 }), print({ b: 1 }))
    assert.strictEqual(print([undefined, Number.NaN, () => 1, -0]), print([null, null, null, 0]))
  })

  it("do not meet among a million values, and say nothing to another maker", () => {
    const seen = new Set<number>()
    for (let i = 0; i < 1_000_000; i++) seen.add(print(["search", { page: i }]))
    assert.strictEqual(seen.size, 1_000_000)
    assert.notStrictEqual(print("a"), Fingerprint.make()("a"))
  })

  it("use all their bits", () => {
    const bits = Array.from({ length: 53 }, () => 0)
    for (let i = 0; i < 4000; i++) {
      const value = BigInt(print(i))
      for (let bit = 0; bit < 53; bit++) bits[bit]! += Number((value >> BigInt(bit)) & 1n)
    }
    for (const ones of bits) assert.isTrue(ones > 1500 && ones < 2500)
  })
})
