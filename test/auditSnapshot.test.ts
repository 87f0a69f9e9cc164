import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { keep, snapshot, snapshotOf } from "../src/internal/audit/snapshot.ts"

const redact = (value: unknown) => ({ value, masked: [] })

/** Whatever a tool may give, JSON or not: texts of all lengths, holes, classes, what JSON leaves out. */
const value = fc.oneof(
  fc.jsonValue(),
  fc.anything({
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withObjectString: true,
    withSparseArray: true,
    withTypedArray: true
  }),
  fc.dictionary(fc.string(), fc.oneof(fc.string({ maxLength: 20 }), fc.double(), fc.constant(undefined))),
  fc.string({ maxLength: 8000, size: "max" }),
  fc.constantFrom(Symbol("s"), () => 1, { toJSON: () => "told" }, { f: () => 1 }, { s: Symbol("s"), n: 1 })
)

/** Changes whatever can be changed in it. */
const spoil = (value: unknown): void => {
  if (typeof value !== "object" || value === null) return
  for (const key of Object.keys(value)) {
    spoil((value as Record<string, unknown>)[key])
    Reflect.set(value, key, 7)
  }
  Reflect.set(value, "added", 7)
}

describe("what is kept of a result", () => {
  it("is the snapshot of it as it was, whatever becomes of it", () => {
    fc.assert(
      fc.property(value, (value) => {
        const before = snapshot(value, redact)
        const kept = keep(value, redact)
        spoil(value)
        assert.deepStrictEqual({ ...snapshotOf(kept, redact) }, { ...before })
      }),
      { numRuns: 2000 }
    )
  })

  it("is no slice of a text: it would keep the whole of it", () => {
    const text = "a text of fourteen megabytes at least".repeat(400_000)
    for (const kept of [keep(text.slice(0, 500)), keep({ text: text.slice(0, 13) })]) {
      assert.strictEqual(typeof (kept as { readonly json: unknown }).json, "string")
    }
  })

  it("is small however many fields there are", () => {
    const many = Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`field ${n}`, n]))
    assert.isBelow(JSON.stringify(keep(many)).length, 6000)
  })
})
