import { runInNewContext } from "node:vm"
import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import {
  type ArgumentLimits,
  defaults,
  inspect,
  type Measured,
  type Refusal
} from "../src/internal/argumentLimits.ts"

const refusal = (params: unknown, limits: Partial<ArgumentLimits> = {}): Refusal => {
  const result = inspect(params, { ...defaults, ...limits })
  assert(result._tag === "ArgumentsRefused", "the arguments are refused")
  return result
}

const accepts = (params: unknown, limits: Partial<ArgumentLimits> = {}): number => {
  const result = inspect(params, { ...defaults, ...limits })
  assert.strictEqual(result._tag, "Ok", result._tag === "Ok" ? "" : result.message)
  return (result as { bytes: number }).bytes
}

const nested = (depth: number): unknown => {
  let value: unknown = 1
  for (let i = 0; i < depth; i++) value = i % 2 === 0 ? { a: value } : [value]
  return value
}

describe("argument limits", () => {
  it("gives a copy that says the same as JSON, and of which nobody else has a part", () => {
    const parts = (value: unknown): ReadonlyArray<unknown> =>
      value !== null && typeof value === "object" ? [value, ...Object.values(value).flatMap(parts)] : []
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        fc.pre(!JSON.stringify(value).includes("__proto__"))
        const { copy } = inspect(value, { ...defaults, depth: 1000 }) as Measured
        assert.strictEqual(JSON.stringify(copy), JSON.stringify(value))
        const given = new Set(parts(value))
        assert.isFalse(parts(copy).some((part) => given.has(part)))
      })
    )
    const { copy } = inspect({ a: undefined, b: -0 }, defaults) as Measured
    assert.deepStrictEqual(copy, { b: 0 })
  })

  it("counts exactly the bytes of the JSON text", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const size = Buffer.byteLength(JSON.stringify(value))
        fc.pre(!JSON.stringify(value).includes("__proto__"))
        assert.strictEqual(accepts(value, { depth: 1000, bytes: size }), size)
        assert.strictEqual(refusal(value, { depth: 1000, bytes: size - 1 }).limit, "bytes")
      }),
      { numRuns: 500 }
    )
  })

  it("counts every string as JSON writes it, lone surrogates and controls included", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "binary" }),
        fc.array(fc.integer({ min: 0, max: 0xffff })),
        (a, units) => {
          const value = { [`k${a}`]: String.fromCharCode(...units), absent: undefined }
          assert.strictEqual(accepts(value), Buffer.byteLength(JSON.stringify(value)))
        }
      ),
      { numRuns: 500 }
    )
  })

  it("accepts an ASCII text of exactly the limit and refuses one byte less", () => {
    const value = { text: "x".repeat(1000), n: [1.5, -20, 0, true, false, null], o: {} }
    const size = JSON.stringify(value).length
    assert.strictEqual(accepts(value, { bytes: size }), size)
    assert.deepStrictEqual(refusal(value, { bytes: size - 1 }), {
      _tag: "ArgumentsRefused",
      limit: "bytes",
      message: `The arguments are larger than ${size - 1} bytes of JSON`
    })
  })

  it("holds each limit at its value and refuses one beyond, in plain words", () => {
    accepts(nested(32))
    assert.strictEqual(refusal(nested(33)).message, "The arguments are nested deeper than 32 levels")
    accepts({ a: "x".repeat(10) }, { stringLength: 10 })
    assert.strictEqual(
      refusal({ a: ["x".repeat(11)] }, { stringLength: 10 }).message,
      `"a[0]" is longer than 10 characters`
    )
    assert.strictEqual(refusal({ ["x".repeat(11)]: 1 }, { stringLength: 10 }).limit, "stringLength")
    accepts({ a: [1, 2], b: {} }, { items: 4 })
    assert.strictEqual(
      refusal({ a: [1, 2], b: { c: 1 } }, { items: 4 }).message,
      "The arguments hold more than 4 elements and properties"
    )
  })

  it("treats absent arguments and absent properties as absent", () => {
    assert.strictEqual(accepts(undefined), 0)
    assert.strictEqual(accepts({ a: undefined }), 2)
    assert.strictEqual(accepts({ a: undefined, b: 1, c: undefined, d: 2 }), `{"b":1,"d":2}`.length)
    assert.strictEqual(accepts(null), 4)
  })

  it("survives a million levels, a million elements and an array of giant length", () => {
    assert.strictEqual(refusal(nested(1_000_000)).limit, "depth")
    assert.strictEqual(
      refusal(nested(1_000_000), { depth: 2_000_000, items: 2_000_000, bytes: 1e9 }).message,
      "The arguments are nested deeper than 1000 levels"
    )
    assert.strictEqual(refusal(new Array(1_000_000).fill(1)).limit, "items")
    assert.strictEqual(refusal({ a: new Array(4_294_967_295) }).limit, "items")
  })

  it.each<[string, unknown, string]>([
    ["a function", { tags: () => 1 }, `"tags" is not JSON: a function`],
    ["a toJSON method", { toJSON: () => 1 }, `"toJSON" is not JSON: a function`],
    ["a symbol", { a: Symbol("s") }, `"a" is not JSON: a symbol`],
    ["a bigint", { a: [1n] }, `"a[0]" is not JSON: a bigint`],
    ["NaN", { a: Number.NaN }, `"a" must be a finite number`],
    ["Infinity", { a: { b: Number.POSITIVE_INFINITY } }, `"a.b" must be a finite number`],
    ["-Infinity", [Number.NEGATIVE_INFINITY], `"[0]" must be a finite number`],
    ["undefined in an array", { a: [1, undefined] }, `"a[1]" is not JSON: undefined`],
    // biome-ignore lint/suspicious/noSparseArray: the hole is what is tested
    ["a hole in an array", { a: [1, , 2] }, `"a[1]" is not JSON: undefined`],
    ["a date", { a: new Date(0) }, `"a" is not JSON: a date`],
    ["a map", { a: new Map() }, `"a" is not JSON: an instance of a class`],
    ["a set", new Set(), "The arguments are not JSON: an instance of a class"],
    ["a typed array", { a: new Uint8Array(8) }, `"a" is not JSON: an instance of a class`],
    ["a class instance", { a: new (class A {})() }, `"a" is not JSON: an instance of a class`],
    [
      "an array's subclass",
      { a: new (class A extends Array {})() },
      `"a" is not JSON: an instance of a class`
    ],
    [
      "an object with a prototype of its own",
      Object.create({ admin: true }),
      "The arguments are not JSON: an instance of a class"
    ],
    ["a boxed string", { a: Object("x") }, `"a" is not JSON: an instance of a class`],
    [
      "an own __proto__",
      JSON.parse(`{"a":{"__proto__":{"admin":true}}}`),
      `"a.__proto__" is not allowed as a name`
    ]
  ])("refuses %s and names the place", (_, value, message) => {
    assert.deepStrictEqual(refusal(value), {
      _tag: "ArgumentsRefused",
      limit: "json",
      message
    })
  })

  it("refuses computed properties without running them", () => {
    let ran = 0
    const hostile = Object.defineProperty({}, "a", { enumerable: true, get: () => ++ran })
    const array = Object.defineProperty([1], 0, { enumerable: true, get: () => ++ran })
    assert.strictEqual(refusal(hostile).message, `"a" is not JSON: a computed property`)
    assert.strictEqual(refusal({ x: array }).message, `"x[0]" is not JSON: a computed property`)
    assert.strictEqual(ran, 0)
  })

  it("refuses cyclic values and accepts shared ones", () => {
    const cyclic: Record<string, unknown> = { a: { b: [] } }
    ;(cyclic["a"] as { b: Array<unknown> }).b.push(cyclic)
    assert.deepStrictEqual(refusal(cyclic), {
      _tag: "ArgumentsRefused",
      limit: "json",
      message: `"a.b[0]" is not JSON: it contains itself`
    })
    const wide: Record<string, unknown> = { list: new Array(6000).fill(1) }
    wide["self"] = wide
    assert.strictEqual(refusal(wide).limit, "json")
    const self: Array<unknown> = []
    self.push(self)
    assert.strictEqual(refusal(self, { depth: 1 }).limit, "json")

    const shared = { x: 1 }
    accepts({ a: shared, b: [shared, shared] })
    // Shared values are counted as often as they are written.
    let doubling: unknown = 1
    for (let i = 0; i < 30; i++) doubling = [doubling, doubling]
    assert.strictEqual(refusal(doubling).limit, "items")
  })

  it("accepts plain objects without a prototype and from another realm", () => {
    accepts(Object.assign(Object.create(null), { a: 1, [Symbol("s")]: 1 }))
    accepts(runInNewContext(`({ a: [1, { b: "c" }] })`))
  })

  it("never throws, whatever a proxy does", () => {
    const fail = () => {
      throw new Error("secret")
    }
    const lies = new Proxy([1], {
      get: (target, key) => (key === "length" ? "many" : Reflect.get(target, key))
    })
    const revoked = Proxy.revocable({}, {})
    revoked.revoke()
    const endless = (): object =>
      new Proxy(
        { a: 1 },
        {
          getOwnPropertyDescriptor: () => ({
            value: endless(),
            enumerable: true,
            configurable: true,
            writable: true
          })
        }
      )
    for (const value of [
      new Proxy({}, { ownKeys: fail }),
      new Proxy({}, { getPrototypeOf: fail }),
      new Proxy({ a: 1 }, { getOwnPropertyDescriptor: fail }),
      new Proxy([1], { get: fail }),
      lies,
      revoked.proxy,
      endless()
    ]) {
      assert.notInclude(refusal({ a: value }).message, "secret")
    }
  })

  it("answers to anything at all", () => {
    fc.assert(
      fc.property(
        fc.anything({
          withBigInt: true,
          withDate: true,
          withMap: true,
          withSet: true,
          withTypedArray: true,
          withNullPrototype: true,
          withSparseArray: true,
          withObjectString: true
        }),
        (value) => {
          const result = inspect(value, { ...defaults, items: 100, bytes: 2000 })
          if (result._tag === "Ok" && value !== undefined) {
            assert.strictEqual(result.bytes, Buffer.byteLength(JSON.stringify(value)))
          }
        }
      ),
      { numRuns: 1000 }
    )
  })

  it("cuts long keys in messages and shows no value", () => {
    const message = refusal({ [`k${"x".repeat(500)}`]: { n: Number.NaN, s: "secret" } }).message
    assert.isBelow(message.length, 120)
    assert.match(message, /^"kx+….n" must be a finite number$/)
    assert.notInclude(refusal({ a: "secret-value" }, { stringLength: 3 }).message, "secret")
  })
})
