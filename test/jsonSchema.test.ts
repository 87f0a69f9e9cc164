import { type Schema as RawSchema, Validator } from "@cfworker/json-schema"
import { assert, describe, it } from "@effect/vitest"
import * as Exit from "effect/Exit"
import * as fc from "fast-check"
import { type Compiled, compile, maxPatternInput } from "../src/internal/jsonSchema/compile.ts"
import type { Issue } from "../src/ToolError.ts"

const object = (properties: object, more: object = {}) => ({ type: "object", properties, ...more })

const issuesOf = (exit: Exit.Exit<unknown, ReadonlyArray<Issue>>): ReadonlyArray<Issue> =>
  Exit.match(exit, {
    onSuccess: () => [],
    onFailure: (cause) => cause.reasons.flatMap((reason) => (reason._tag === "Fail" ? reason.error : []))
  })

const messages = (compiled: Compiled, params: unknown) =>
  issuesOf(compiled.decode(params)).map((issue) => issue.message)

interface Case {
  readonly name: string
  readonly schema: object
  readonly by: "effect" | "cfworker"
  readonly valid: ReadonlyArray<unknown>
  /** Each with what is said of it. */
  readonly invalid: ReadonlyArray<readonly [unknown, ...ReadonlyArray<string>]>
}

const cases: ReadonlyArray<Case> = [
  {
    name: "types and required",
    schema: object({ a: { type: "string" }, b: { type: "integer" } }, { required: ["a", "b"] }),
    by: "effect",
    valid: [{ a: "x", b: 1 }],
    invalid: [
      [{}, 'Missing required parameter "a"', 'Missing required parameter "b"'],
      [{ a: 1, b: 1.5 }, '"a" must be a string, found a number', '"b" must be an integer'],
      [{ a: "x", b: "1" }, '"b" must be an integer, found a string'],
      [{ a: null, b: 1 }, '"a" must be a string, found null'],
      [[], "The arguments must be an object, found an array"],
      [null, "The arguments must be an object, found null"]
    ]
  },
  {
    name: "several types",
    schema: object({ a: { type: ["string", "null"] } }),
    by: "effect",
    valid: [{ a: null }, { a: "x" }, {}],
    invalid: [[{ a: 1 }, '"a" must be a string or null, found a number']]
  },
  {
    name: "not",
    schema: object({ a: { not: { type: "string" } } }),
    by: "cfworker",
    valid: [{ a: 1 }, {}],
    invalid: [[{ a: "x" }, '"a" must not have the form it has']]
  },
  {
    name: "if and then and else",
    schema: object(
      { kind: {}, b: { type: "string" }, c: {} },
      {
        if: { properties: { kind: { const: "x" } }, required: ["kind"] },
        // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
        then: { required: ["b"] },
        else: { required: ["c"] }
      }
    ),
    by: "cfworker",
    valid: [
      { kind: "x", b: "y" },
      { kind: "y", c: 1 }
    ],
    invalid: [
      [{ kind: "x" }, 'Missing required parameter "b"'],
      [{ kind: "y" }, 'Missing required parameter "c"']
    ]
  },
  {
    name: "dependentRequired",
    schema: object({ a: {}, b: {} }, { dependentRequired: { a: ["b"] } }),
    by: "cfworker",
    valid: [{ b: 1 }, { a: 1, b: 1 }],
    invalid: [[{ a: 1 }, 'Missing required parameter "b", which "a" needs']]
  },
  {
    name: "dependentSchemas",
    schema: object(
      { a: {} },
      { dependentSchemas: { a: { required: ["b"], properties: { b: { type: "string" } } } } }
    ),
    by: "cfworker",
    valid: [{}, { a: 1, b: "x" }],
    invalid: [[{ a: 1, b: 2 }, '"b" must be a string, found a number']]
  },
  {
    name: "contains",
    schema: object({ a: { type: "array", contains: { type: "integer" }, minContains: 2 } }),
    by: "cfworker",
    valid: [{ a: ["x", 1, 2] }],
    invalid: [[{ a: ["x", 1] }, '"a" must have at least 2 items of a given form']]
  },
  {
    name: "patternProperties, closed",
    schema: { type: "object", patternProperties: { "^x-": { type: "string" } }, additionalProperties: false },
    by: "effect",
    valid: [{ "x-a": "b" }, {}],
    invalid: [
      [{ "x-a": 1 }, '"*" must be a string, found a number'],
      [{ y: 1 }, 'Unknown parameter "y"']
    ]
  },
  {
    name: "patternProperties, open",
    schema: object({ a: { type: "string" } }, { patternProperties: { "^x-": { type: "string" } } }),
    by: "cfworker",
    valid: [{ y: 1, "x-a": "b" }],
    invalid: [
      [{ a: 1, "x-a": 1 }, '"a" must be a string, found a number', '"*" must be a string, found a number']
    ]
  },
  {
    name: "enum of objects",
    schema: object({ a: { enum: [{ k: 1 }, "z"] } }),
    by: "cfworker",
    valid: [{ a: { k: 1 } }, { a: "z" }],
    invalid: [[{ a: { k: 2 } }, '"a" must be one of {"k":1}, "z"']]
  },
  {
    name: "a reference to the root",
    schema: object(
      { n: { type: "integer" }, kids: { type: "array", items: { $ref: "#" } } },
      { additionalProperties: false }
    ),
    by: "cfworker",
    valid: [{ kids: [{ kids: [{ n: 1 }] }] }],
    invalid: [
      [
        { kids: [{ n: "x", z: 1 }] },
        '"kids[0].n" must be an integer, found a string',
        'Unknown parameter "kids[0].z"'
      ]
    ]
  },
  {
    name: "definitions",
    schema: object({ a: { $ref: "#/$defs/S" } }, { $defs: { S: { type: "string", maxLength: 2 } } }),
    by: "effect",
    valid: [{ a: "xy" }],
    invalid: [[{ a: "xyz" }, '"a" must be at most 2 characters long']]
  },
  {
    name: "anyOf",
    schema: object({ a: { anyOf: [{ type: "string" }, { type: "integer" }] } }),
    by: "effect",
    valid: [{ a: 1 }, { a: "x" }],
    invalid: [
      [{ a: true }, '"a" must be a string or an integer, found a boolean'],
      [{ a: 1.5 }, '"a" must be an integer']
    ]
  },
  {
    name: "oneOf",
    schema: object({ a: { oneOf: [{ type: "number" }, { type: "integer" }] } }),
    by: "effect",
    valid: [{ a: 1.5 }],
    invalid: [
      [{ a: 1 }, '"a" must fit exactly one of its 2 forms, but fits several'],
      [{ a: "x" }, '"a" must be a number or an integer, found a string']
    ]
  },
  {
    name: "allOf",
    schema: {
      allOf: [object({ a: { type: "string" } }, { required: ["a"] }), object({ b: { type: "string" } })]
    },
    by: "effect",
    valid: [{ a: "x", b: "y" }],
    invalid: [
      [{ b: 1 }, 'Missing required parameter "a"', '"b" must be a string, found a number'],
      [{ a: "x", c: 1 }, 'Unknown parameter "c"']
    ]
  },
  {
    name: "const and enum",
    schema: object({ a: { const: 5 }, b: { enum: ["C", "F"] } }),
    by: "effect",
    valid: [{ a: 5, b: "C" }],
    invalid: [[{ a: 6, b: "K" }, '"a" must be 5', '"b" must be one of "C", "F"']]
  },
  {
    name: "format is a comment",
    schema: object({ a: { type: "string", format: "email" }, b: { not: { type: "null" }, format: "uri" } }),
    by: "cfworker",
    valid: [{ a: "not an address", b: "not a URI" }],
    invalid: [[{ a: 1 }, '"a" must be a string, found a number']]
  },
  {
    name: "nested arrays",
    schema: object({ a: { type: "array", items: { type: "array", items: { type: "integer" } } } }),
    by: "effect",
    valid: [{ a: [[1], []] }],
    invalid: [
      [
        { a: [[1], ["x"], 2] },
        '"a[1][0]" must be an integer, found a string',
        '"a[2]" must be an array, found a number'
      ]
    ]
  },
  {
    name: "tuples",
    schema: object({
      a: { type: "array", prefixItems: [{ type: "string" }, { type: "integer" }], items: false }
    }),
    by: "effect",
    valid: [{ a: ["x", 1] }, { a: ["x"] }],
    invalid: [
      [
        { a: [1, "x", 3] },
        '"a[0]" must be a string, found a number',
        '"a[1]" must be an integer, found a string',
        'Unexpected item "a[2]"'
      ]
    ]
  },
  {
    name: "bounds",
    schema: object({
      n: { type: "number", minimum: 1, maximum: 5, multipleOf: 0.5 },
      x: { type: "number", exclusiveMinimum: 1, exclusiveMaximum: 5 },
      s: { type: "string", minLength: 2, maxLength: 3, pattern: "^[a-z]+$" },
      l: { type: "array", minItems: 1, maxItems: 2, uniqueItems: true },
      o: { type: "object", minProperties: 1, maxProperties: 2 }
    }),
    by: "effect",
    valid: [{ n: 1.5, x: 2, s: "ab", l: [1, 2], o: { z: 1 } }],
    invalid: [
      [
        { n: 0, x: 1, s: "A", l: [], o: {} },
        '"n" must be at least 1',
        '"x" must be greater than 1',
        '"s" must be at least 2 characters long',
        '"s" must match the pattern ^[a-z]+$',
        '"l" must have at least 1 item',
        '"o" must have at least 1 property'
      ],
      [
        { n: 6.3, x: 5, s: "abcd", l: [1, 1, 2], o: { a: 1, b: 2, c: 3 } },
        '"n" must be at most 5',
        '"n" must be a multiple of 0.5',
        '"x" must be less than 5',
        '"s" must be at most 3 characters long',
        '"l" must have at most 2 items',
        '"l" must have no item twice',
        '"o" must have at most 2 properties'
      ]
    ]
  },
  {
    name: "property names",
    schema: object({ h: { type: "object", propertyNames: { maxLength: 2 } } }),
    by: "effect",
    valid: [{ h: { ab: 1 } }],
    invalid: [[{ h: { abc: 1 } }, '"h" must have no property name that is not allowed']]
  },
  {
    name: "a map",
    schema: object({ h: { type: "object", additionalProperties: { type: "string" } } }),
    by: "effect",
    valid: [{ h: { anything: "x" } }],
    invalid: [[{ h: { anything: 1 } }, '"h.*" must be a string, found a number']]
  },
  {
    name: "a closed nested object",
    schema: object({
      u: object({ zip: { type: "string" } }, { required: ["zip"], additionalProperties: false })
    }),
    by: "effect",
    valid: [{ u: { zip: "1" } }],
    invalid: [
      [
        { u: { zipp: "1" } },
        'Missing required parameter "u.zip"',
        'Unknown parameter "u.zipp"; did you mean "u.zip"?'
      ]
    ]
  },
  {
    name: "unevaluatedProperties",
    schema: { allOf: [object({ a: {} })], unevaluatedProperties: false },
    by: "cfworker",
    valid: [{ a: 1 }],
    invalid: [[{ b: 1 }, 'Unknown parameter "b"']]
  },
  {
    name: "draft 7: definitions, tuples, dependencies",
    schema: {
      $schema: "http://json-schema.org/draft-07/schema#",
      definitions: { S: { type: "string" } },
      ...object(
        {
          a: { $ref: "#/definitions/S" },
          t: { type: "array", items: [{ type: "string" }], additionalItems: false }
        },
        { dependencies: { a: ["t"] } }
      )
    },
    by: "cfworker",
    valid: [{ t: [] }, { a: "x", t: ["y"] }],
    invalid: [
      [{ a: "x" }, 'Missing required parameter "t", which "a" needs'],
      [{ t: [1, 2] }, '"t[0]" must be a string, found a number', 'Unexpected item "t[1]"']
    ]
  },
  {
    name: "draft 7 through Effect",
    schema: {
      $schema: "http://json-schema.org/draft-07/schema#",
      definitions: { S: { type: "string" } },
      ...object({ a: { $ref: "#/definitions/S" } })
    },
    by: "effect",
    valid: [{ a: "x" }],
    invalid: [[{ a: 1 }, '"a" must be a string, found a number']]
  },
  {
    name: "old keywords where no draft is said",
    schema: object({ t: { type: "array", items: [{ type: "string" }] } }),
    by: "cfworker",
    valid: [{ t: ["x", 1] }],
    invalid: [[{ t: [1] }, '"t[0]" must be a string, found a number']]
  },
  {
    name: "$recursiveRef where no draft is said",
    schema: object({ n: { type: "integer" }, kid: { $recursiveRef: "#" } }),
    by: "cfworker",
    valid: [{ kid: { n: 1 } }],
    invalid: [[{ kid: { n: "x" } }, '"kid.n" must be an integer, found a string']]
  },
  {
    name: "draft 4: exclusive bounds as flags",
    schema: {
      $schema: "http://json-schema.org/draft-04/schema#",
      ...object({ n: { type: "number", minimum: 1, exclusiveMinimum: true } })
    },
    by: "cfworker",
    valid: [{ n: 2 }],
    invalid: [[{ n: 1 }, '"n" must be greater than 1']]
  }
]

describe("raw JSON Schema", () => {
  for (const { by, invalid, name, schema, valid } of cases) {
    it(`${name}: is validated by ${by}, and says what is wrong`, () => {
      const compiled = compile(schema)
      assert.strictEqual(compiled.by, by)
      for (const params of valid)
        assert.deepStrictEqual(messages(compiled, params), [], JSON.stringify(params))
      for (const [params, ...said] of invalid) {
        assert.deepStrictEqual(
          [...messages(compiled, params)].sort(),
          [...said].sort(),
          JSON.stringify(params)
        )
      }
    })
  }

  it("accepts the same by either way", () => {
    for (const { invalid, schema, valid } of cases) {
      const compiled = compile(schema, { by: "cfworker" })
      for (const params of valid) assert.deepStrictEqual(messages(compiled, params), [])
      for (const [params] of invalid) assert.isNotEmpty(messages(compiled, params), JSON.stringify(params))
    }
  })

  it("hands the arguments on as they came", () => {
    for (const by of [{}, { by: "cfworker" as const }]) {
      const params = { a: { b: [1] } }
      const exit = compile(object({ a: {} }), by).decode(params)
      assert.isTrue(Exit.isSuccess(exit) && exit.value === params)
    }
  })

  it("does not touch the schema it is given", () => {
    const schema = Object.freeze(
      object(Object.freeze({ a: Object.freeze({ type: "string", format: "uri", not: {} }) }))
    )
    const before = JSON.stringify(schema)
    compile(schema)
    assert.strictEqual(JSON.stringify(schema), before)
  })
})

describe("unknown parameters of a raw JSON Schema", () => {
  const unknown = (schema: object, options = {}) => messages(compile(schema, options), { a: 1, zz: 2 })
  const refused = ['Unknown parameter "zz"']

  it("are refused where the root names parameters and says nothing of others", () => {
    assert.deepStrictEqual(unknown(object({ a: {} })), refused)
    assert.deepStrictEqual(unknown({ allOf: [object({ a: {} })] }), refused)
    assert.deepStrictEqual(unknown({ anyOf: [object({ a: {} }), object({ b: {} })] }), refused)
    assert.deepStrictEqual(unknown({ $ref: "#/$defs/A", $defs: { A: object({ a: {} }) } }), refused)
    assert.deepStrictEqual(unknown(object({}, { required: ["a"] })), refused)
    assert.deepStrictEqual(unknown(object({ b: {} }, { dependentRequired: { a: ["b"] } })).length, 2)
  })

  it("are left to the schema where it says something, or names no parameter", () => {
    assert.deepStrictEqual(unknown({ type: "object" }), [])
    assert.deepStrictEqual(unknown(object({ a: {} }, { additionalProperties: true })), [])
    assert.deepStrictEqual(unknown(object({ a: {} }, { additionalProperties: { type: "integer" } })), [])
    assert.deepStrictEqual(unknown(object({ a: {} }, { patternProperties: { "^q": {} } })), [])
    assert.deepStrictEqual(unknown(object({ a: {} }, { additionalProperties: false })), refused)
  })

  it("are dropped where the tool allows them, but not against the schema's word", () => {
    const drop = { dropUnknown: true }
    assert.deepStrictEqual(compile(object({ a: {} }), drop).decode({ a: 1, zz: 2 }), Exit.succeed({ a: 1 }))
    assert.deepStrictEqual(unknown(object({ a: {} }, { additionalProperties: false }), drop), refused)
    assert.deepStrictEqual(
      compile(object({ a: {} }, { additionalProperties: true }), drop).decode({ a: 1, zz: 2 }),
      Exit.succeed({ a: 1, zz: 2 })
    )
  })
})

describe("a raw JSON Schema that cannot be used", () => {
  const refused: ReadonlyArray<readonly [string, unknown, RegExp]> = [
    ["no object", [], /must be an object/],
    ["a reference that leads nowhere", object({ a: { $ref: "#/$defs/nope" } }), /leads nowhere/],
    ["a reference to the outside", object({ a: { $ref: "https://example.com/s" } }), /leads nowhere/],
    [
      "a circle of references",
      object({ a: { $ref: "#/$defs/a" } }, { $defs: { a: { $ref: "#/$defs/b" }, b: { $ref: "#/$defs/a" } } }),
      /circle/
    ],
    ["a reference to itself", { $ref: "#" }, /circle/],
    ["a broken pattern", object({ a: { type: "string", pattern: "(" } }), /regular expression/],
    ["a broken pattern of names", object({}, { patternProperties: { "(": {} } }), /regular expression/],
    ["a type that is none", object({ a: { type: "strng" } }), /not a type/],
    ["a keyword that would not be heard", { $dynamicRef: "#x" }, /not supported/]
  ]
  for (const [name, schema, why] of refused) {
    it(`is refused when it is compiled: ${name}`, () => {
      assert.throws(() => compile(schema), why)
    })
  }
})

describe("patterns", () => {
  const long = "a".repeat(maxPatternInput + 1)

  it("are not run while a string that they may meet is too long", () => {
    // Either way would hang here: twenty more letters take a million times as long.
    const catastrophic = { type: "string", pattern: "^(a+)+$" }
    const hostile = `${long}!`
    for (const by of [{}, { by: "cfworker" as const }]) {
      for (const schema of [
        object({ id: catastrophic }),
        object({ id: { not: catastrophic } }),
        object({ id: { anyOf: [{ type: "array", items: catastrophic }, catastrophic] } }),
        object({ id: { $ref: "#/$defs/I" } }, { $defs: { I: catastrophic } }),
        object({ id: { $ref: "#/properties/other" }, other: catastrophic }),
        object({ id: {} }, { additionalProperties: catastrophic }),
        { type: "object", patternProperties: { "^i": catastrophic } }
      ]) {
        assert.deepStrictEqual(messages(compile(schema, by), { id: hostile }), [
          `"${JSON.stringify(schema).includes('"id":') ? "id" : "*"}" must be at most 4096 characters long, because a pattern is run on it`
        ])
      }
    }
  })

  it("leave long strings alone that they cannot meet", () => {
    const schema = object({
      id: { type: "string", pattern: "^a" },
      text: { type: "string" },
      map: { type: "object", propertyNames: { pattern: "^m" } }
    })
    assert.deepStrictEqual(messages(compile(schema), { id: "a", text: long, map: { m: long } }), [])
    assert.isNotEmpty(messages(compile(schema), { map: { [`m${long}`]: 1 } }))
  })
})

describe("hostile arguments", () => {
  it("are refused and never throw", () => {
    const loop: Record<string, unknown> = {}
    loop["a"] = loop
    let deep: unknown = 1
    for (let i = 0; i < 20_000; i++) deep = { a: deep }
    const schemas = [
      object({ a: { type: "object" } }, { additionalProperties: { type: "string" } }),
      object({ a: { not: { type: "string" } } }, { additionalProperties: true }),
      object({ a: { $ref: "#" } }, { not: { const: 1 } })
    ]
    for (const schema of schemas) {
      const compiled = compile(schema)
      for (const params of [
        loop,
        deep,
        { a: Number.NaN },
        { a: 1n },
        { a: () => 1 },
        { "\ud800": 1, a: "x" }
      ]) {
        if (schema === schemas[0] && (params === loop || params === deep)) continue
        assert.isNotEmpty(messages(compiled, params))
      }
    }
  })

  it("keys of Object's prototype are names like any other", () => {
    const params = JSON.parse('{"__proto__":{"x":1},"constructor":1,"toString":2}')
    for (const by of [{}, { by: "cfworker" as const }]) {
      const compiled = compile(object({ a: {} }), by)
      assert.deepStrictEqual(messages(compiled, params), [
        'Unknown parameter "__proto__"',
        'Unknown parameter "constructor"',
        'Unknown parameter "toString"'
      ])
      assert.isNotEmpty(
        messages(compile(object({ a: {} }, { required: ["constructor"] }), { by: "cfworker" }), {})
      )
    }
    assert.isUndefined(({} as { x?: number }).x)
  })
})

// --- The reference ---------------------------------------------------------

const key = fc.constantFrom("a", "b", "c")
const text = fc.constantFrom("", "a", "ab", "abc", "é", "x-1", "5")
const number = fc.constantFrom(-1, 0, 1, 1.5, 2, 3, 4, 5, 10)

const schemaArbitrary = fc.letrec<{ schema: object; object: object }>((tie) => ({
  schema: fc.oneof(
    { depthSize: "small", maxDepth: 3 },
    fc.constantFrom(
      {},
      { type: "null" },
      { type: "boolean" },
      { type: "string" },
      { type: ["string", "integer"] }
    ),
    fc.record(
      {
        type: fc.constantFrom("integer", "number"),
        minimum: number,
        maximum: number,
        multipleOf: fc.constantFrom(2, 0.5)
      },
      { requiredKeys: ["type"] }
    ),
    fc.record(
      {
        type: fc.constant("string"),
        minLength: fc.nat(3),
        maxLength: fc.nat(3),
        pattern: fc.constantFrom("^a", "b$", "^x-")
      },
      { requiredKeys: ["type"] }
    ),
    fc.record({
      enum: fc.uniqueArray(fc.oneof(text, number, fc.constantFrom(null, true)), {
        minLength: 1,
        maxLength: 3
      })
    }),
    fc.record({ const: fc.oneof(text, number, fc.constantFrom(null, true)) }),
    fc.record(
      {
        type: fc.constant("array"),
        items: fc.oneof(tie("schema"), fc.constant(false)),
        prefixItems: fc.array(tie("schema"), { minLength: 1, maxLength: 2 }),
        minItems: fc.nat(2),
        maxItems: fc.nat(3),
        uniqueItems: fc.boolean()
      },
      { requiredKeys: ["type"] }
    ),
    tie("object"),
    fc.record({ anyOf: fc.array(tie("schema"), { minLength: 1, maxLength: 3 }) }),
    fc.record({ oneOf: fc.array(tie("schema"), { minLength: 1, maxLength: 3 }) }),
    fc.record({ allOf: fc.array(tie("schema"), { minLength: 1, maxLength: 2 }) }),
    fc.record({ not: tie("schema") })
  ),
  object: fc.record(
    {
      type: fc.constant("object"),
      properties: fc.dictionary(key, tie("schema"), { maxKeys: 3, noNullPrototype: true }),
      required: fc.uniqueArray(key, { maxLength: 2 }),
      additionalProperties: fc.oneof(fc.boolean(), tie("schema")),
      minProperties: fc.nat(2),
      propertyNames: fc.constantFrom({ maxLength: 1 }, { enum: ["a", "b"] })
    },
    { requiredKeys: ["type", "additionalProperties"] }
  )
}))

const instance = fc.letrec<{ value: unknown; object: object }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", maxDepth: 3, withCrossShrink: true },
    fc.oneof(text, number, fc.constantFrom(null, true, false)),
    fc.array(tie("value"), { maxLength: 3 }),
    tie("object")
  ),
  object: fc.dictionary(fc.constantFrom("a", "b", "c", "dd"), tie("value"), {
    maxKeys: 3,
    noNullPrototype: true
  })
}))

describe("against the reference validator", () => {
  it("either way accepts exactly what the reference accepts", () => {
    let imported = 0
    let accepted = 0
    fc.assert(
      fc.property(
        schemaArbitrary.object,
        fc.array(instance.object, { minLength: 10, maxLength: 30 }),
        (schema, instances) => {
          const reference = new Validator(structuredClone(schema) as RawSchema, "2020-12")
          const compiled = compile(schema)
          if (compiled.by === "effect") imported++
          for (const params of instances) {
            const { valid } = reference.validate(params)
            if (valid) accepted++
            const issues = messages(compiled, params)
            assert.strictEqual(
              issues.length === 0,
              valid,
              JSON.stringify({ by: compiled.by, params, issues })
            )
          }
        }
      ),
      { numRuns: 600 }
    )
    // Neither way, and neither outcome, may be missing from what was compared.
    assert.isAbove(imported, 100)
    assert.isBelow(imported, 600)
    assert.isAbove(accepted, 300)
  })
})
