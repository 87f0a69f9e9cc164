import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Schema from "effect/Schema"
import { Validation } from "effect-interlock"
import * as fc from "fast-check"
import { byCodec, bySpecification, cases, corpus, sharedObjects } from "./support/schemaShapes.ts"

/** How many functions are made of text meanwhile. */
const generated = (run: () => unknown): number => {
  const original = globalThis.Function
  let made = 0
  globalThis.Function = new Proxy(original, {
    apply: (target, self, args) => {
      made++
      return Reflect.apply(target, self, args)
    }
  })
  try {
    run()
  } finally {
    globalThis.Function = original
  }
  return made
}

/** Whether a value runs code of its own when it is read. */
const computed = (value: unknown): boolean =>
  typeof value === "object" &&
  value !== null &&
  Object.values(Object.getOwnPropertyDescriptors(value)).some(
    (property) => property.get !== undefined || computed(property.value)
  )

describe("a tool's codec", () => {
  it("gives what Effect's interpreter gives, of any schema and any value", () => {
    fc.assert(
      fc.property(cases, ([shape, value, more]) => {
        const given = byCodec(shape, value, more)
        for (const [part, expected] of Object.entries(bySpecification(shape, value, more))) {
          // A getter that throws is met by one parser where the other has decided before.
          if (computed(value) && given[part]?.startsWith("dies of")) continue
          if (!expected.includes(given[part]!)) assert.strictEqual(given[part], expected[0], part)
        }
      }),
      { numRuns: 400 }
    )
  })

  it("hands nothing of the arguments on where it says so", () => {
    fc.assert(
      fc.property(cases, ([shape, value]) => {
        assert.deepStrictEqual(sharedObjects(shape, value), [], shape.says)
      }),
      { numRuns: 400 }
    )
  })

  it("gives the same where no code may be generated", async () => {
    const program = new URL("./support/schemaShapes.ts", import.meta.url).pathname
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["--disallow-code-generation-from-strings", "--no-warnings", program],
      { maxBuffer: 2 ** 26 }
    )
    assert.deepStrictEqual(JSON.parse(stdout), corpus())
  })

  it("is generated where that is allowed, for each schema once, when it is first used, and for no other", () => {
    const parameters = Schema.Struct({ a: Schema.Struct({ b: Schema.Finite }) })
    const codec = Validation.compile(Tool.make("t", { parameters, success: parameters }))
    const other = Validation.compile(Tool.make("u", { parameters }))
    const value = { a: { b: 1 } }
    // The first is Effect's question whether it is allowed.
    assert.strictEqual(
      generated(() => codec.decode(value)),
      2
    )
    assert.strictEqual(
      generated(() => codec.decode(value)),
      0
    )
    assert.strictEqual(
      generated(() => other.decode(value)),
      0
    )
    assert.strictEqual(
      generated(() => Schema.decodeUnknownSync(Schema.Struct({ a: parameters }))({ a: value })),
      0
    )
  })
})
