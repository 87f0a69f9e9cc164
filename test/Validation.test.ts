import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as SchemaIssue from "effect/SchemaIssue"
import * as fc from "fast-check"
import * as ToolAnnotations from "../src/ToolAnnotations.ts"
import { type Issue, messageOf } from "../src/ToolError.ts"
import * as Validation from "../src/Validation.ts"

const toolOf = (parameters: Schema.Constraint): Tool.Any =>
  Tool.make("t", { parameters: parameters as Schema.Top })
const struct = (fields: Schema.Struct.Fields): Validation.Codec =>
  Validation.compile(toolOf(Schema.Struct(fields)))

const exitOf = (outcome: Validation.Outcome<unknown>) => Effect.runSyncExit(outcome)

const issuesOf = (outcome: Validation.Outcome<unknown>): ReadonlyArray<Issue> =>
  Exit.match(exitOf(outcome), {
    onSuccess: () => [],
    onFailure: (cause) => cause.reasons.flatMap((reason) => (reason._tag === "Fail" ? reason.error : []))
  })

const messages = (codec: Validation.Codec, params: unknown) =>
  issuesOf(codec.decode(params)).map((issue) => issue.message)

/** What is said when a field `x` of this schema gets this value. */
const said = (schema: Schema.Constraint, value: unknown) =>
  messages(struct({ x: schema }), value === missing ? {} : { x: value })
const missing = Symbol("missing")

class Point extends Schema.Class<Point>("Point")({ x: Schema.Finite, label: Schema.String }) {}

class NotFound extends Schema.TaggedError<NotFound>("NotFound")("NotFound", { at: Schema.Date }) {}

const Shape = Schema.Union([
  Schema.Struct({ type: Schema.Literal("circle"), radius: Schema.Finite }),
  Schema.Struct({ type: Schema.Literal("square"), side: Schema.Finite })
])

describe("what is wrong with the arguments", () => {
  const codec = struct({ a: Schema.Int, b: Schema.String })

  it("is told all at once, in the schema's order, with unknown parameters last", () => {
    assert.deepStrictEqual(messages(codec, { c: 1, a: 1.5 }), [
      '"a" must be an integer',
      'Missing required parameter "b"',
      'Unknown parameter "c"'
    ])
  })

  it("has a path, what was expected and what kind of thing was found", () => {
    assert.deepStrictEqual(issuesOf(codec.decode({ c: 1, a: "x" })), [
      {
        path: ["a"],
        expected: "an integer",
        found: "string",
        message: '"a" must be an integer, found a string'
      },
      { path: ["b"], expected: "a string", found: "missing", message: 'Missing required parameter "b"' },
      { path: ["c"], expected: "nothing", found: "number", message: 'Unknown parameter "c"' }
    ])
  })

  it("is one sentence as a reason", () => {
    const reason = Validation.invalidParams(issuesOf(codec.decode({ b: "x" })))
    assert.strictEqual(reason._tag, "InvalidParams")
    assert.strictEqual(messageOf(reason), 'Missing required parameter "a".')
  })

  it("says where it is, however deep", () => {
    const codec = struct({
      user: Schema.Struct({ address: Schema.Struct({ zip: Schema.String }) }),
      tags: Schema.Array(Schema.String),
      pair: Schema.Tuple([Schema.String, Schema.Finite])
    })
    assert.deepStrictEqual(
      messages(codec, { user: { address: { zip: 1, zipp: 2 } }, tags: ["a", "b", 3], pair: ["a"] }),
      [
        '"user.address.zip" must be a string, found a number',
        '"tags[2]" must be a string, found a number',
        'Missing required item "pair[1]"',
        'Unknown parameter "user.address.zipp"; did you mean "user.address.zip"?'
      ]
    )
    assert.deepStrictEqual(messages(codec, { user: {}, tags: {}, pair: ["a", 1, 2] }), [
      'Missing required parameter "user.address"',
      '"tags" must be an array, found an object',
      'Unexpected item "pair[2]"'
    ])
  })

  it("is that they are no object", () => {
    assert.deepStrictEqual(messages(codec, []), ["The arguments must be an object, found an array"])
    assert.deepStrictEqual(messages(codec, "x"), ["The arguments must be an object, found a string"])
    assert.deepStrictEqual(messages(codec, null), ["The arguments must be an object, found null"])
  })

  const phrases: ReadonlyArray<readonly [string, Schema.Constraint, unknown, ReadonlyArray<string>]> = [
    ["a string", Schema.String, 1, ['"x" must be a string, found a number']],
    ["a boolean", Schema.Boolean, "true", ['"x" must be a boolean, found a string']],
    ["a number", Schema.Number, null, ['"x" must be a number, found null']],
    ["NaN", Schema.Finite, Number.NaN, ['"x" must be a finite number, found NaN']],
    ["infinity", Schema.Finite, Number.POSITIVE_INFINITY, ['"x" must be a finite number, found infinity']],
    ["no integer", Schema.Int, 1.5, ['"x" must be an integer']],
    ["NaN for an integer", Schema.Int, Number.NaN, ['"x" must be an integer, found NaN']],
    [
      "a huge integer",
      Schema.Int,
      1e300,
      ['"x" must be an integer between -9007199254740991 and 9007199254740991']
    ],
    ["a literal", Schema.Literal("on"), "off", ['"x" must be "on"']],
    ["literals", Schema.Literals(["C", "F"]), "K", ['"x" must be one of "C", "F"']],
    [
      "literals of another kind",
      Schema.NullOr(Schema.Literals(["C", 1])),
      true,
      ['"x" must be one of "C", 1, null']
    ],
    ["an enum", Schema.Enum({ A: "a", B: "b" }), "c", ['"x" must be one of "a", "b"']],
    ["an optional", Schema.optional(Schema.String), 1, ['"x" must be a string, found a number']],
    ["null or", Schema.NullOr(Schema.String), 1, ['"x" must be a string or null, found a number']],
    ["a lower bound", Schema.Finite.check(Schema.isGreaterThanOrEqualTo(1)), 0, ['"x" must be at least 1']],
    ["an upper bound", Schema.Finite.check(Schema.isLessThanOrEqualTo(1)), 2, ['"x" must be at most 1']],
    [
      "open bounds",
      Schema.Finite.check(Schema.isGreaterThan(1), Schema.isLessThan(0)),
      1,
      ['"x" must be greater than 1', '"x" must be less than 0']
    ],
    [
      "a range",
      Schema.Finite.check(Schema.isBetween({ minimum: 1, maximum: 3 })),
      4,
      ['"x" must be between 1 and 3']
    ],
    [
      "a half-open range",
      Schema.Finite.check(Schema.isBetween({ minimum: 1, maximum: 3, exclusiveMaximum: true })),
      3,
      ['"x" must be at least 1 and less than 3']
    ],
    ["a multiple", Schema.Finite.check(Schema.isMultipleOf(2)), 3, ['"x" must be a multiple of 2']],
    ["an empty string", Schema.NonEmptyString, "", ['"x" must be at least 1 character long']],
    [
      "a long string",
      Schema.String.check(Schema.isMaxLength(2)),
      "abc",
      ['"x" must be at most 2 characters long']
    ],
    [
      "an exact length",
      Schema.String.check(Schema.isBetweenLength(2, 2)),
      "abc",
      ['"x" must be exactly 2 characters long']
    ],
    [
      "few items",
      Schema.Array(Schema.String).check(Schema.isMinLength(2)),
      ["a"],
      ['"x" must have at least 2 items']
    ],
    [
      "an item twice",
      Schema.Array(Schema.String).check(Schema.isUnique()),
      ["a", "a"],
      ['"x" must have no item twice']
    ],
    [
      "few properties",
      Schema.Record(Schema.String, Schema.String).check(Schema.isMinProperties(1)),
      {},
      ['"x" must have at least 1 property']
    ],
    [
      "a pattern",
      Schema.String.check(Schema.isPattern(/^[a-z]+$/)),
      "A",
      ['"x" must match the pattern ^[a-z]+$']
    ],
    ["a check with words", Schema.String.check(Schema.isUUID()), "A", ['"x" must be a UUID']],
    ["a brand", Schema.String.pipe(Schema.brand("Id")), 1, ['"x" must be a string, found a number']],
    [
      "a template",
      Schema.TemplateLiteral(["a", Schema.Number]),
      "b",
      ['"x" must be a string of a given form']
    ],
    ["a number in a string", Schema.FiniteFromString, "abc", ['"x" must be a finite number, found NaN']],
    ["a URL in a string", Schema.URLFromString, "abc", ['"x" cannot be read as a URL']],
    [
      "JSON in a string",
      Schema.fromJsonString(Schema.Struct({ a: Schema.Int })),
      "{",
      ['"x" cannot be read as an object']
    ],
    [
      "JSON in a string that does not fit",
      Schema.fromJsonString(Schema.Struct({ a: Schema.Int })),
      '{"a":1.5}',
      ['"x.a" must be an integer']
    ],
    [
      "a class",
      Point,
      { x: "1" },
      ['"x.x" must be a number, found a string', 'Missing required parameter "x.label"']
    ],
    [
      "a record",
      Schema.Record(Schema.String, Schema.Finite),
      { "made up": "v" },
      ['"x.*" must be a number, found a string']
    ],
    [
      "a union",
      Schema.Union([Schema.String, Schema.Finite]),
      true,
      ['"x" must be a string or a number, found a boolean']
    ],
    ["no variant", Shape, { type: "star" }, ['"x.type" must be one of "circle", "square"']],
    ["a missing tag", Shape, {}, ['"x.type" must be one of "circle", "square"']],
    ["a variant", Shape, { type: "circle" }, ['Missing required parameter "x.radius"']],
    [
      "a union of objects",
      Schema.Union([
        Schema.Struct({ a: Schema.Finite, b: Schema.Finite }),
        Schema.Struct({ c: Schema.Finite })
      ]),
      {},
      ['"x" fits none of its 2 forms; the closest: Missing required parameter "x.c"']
    ],
    [
      "several of a union that takes one",
      Schema.Union([Schema.String, Schema.NonEmptyString], { mode: "oneOf" }),
      "a",
      ['"x" must fit exactly one of its 2 forms, but fits several']
    ],
    [
      "a missing one with its own words",
      Schema.String.annotateKey({ messageMissingKey: "Say x" }),
      missing,
      ["Say x"]
    ]
  ]
  for (const [name, schema, value, expected] of phrases) {
    it(`is said in plain words: ${name}`, () => {
      assert.deepStrictEqual(said(schema, value), expected)
    })
  }

  it("is said in the schema's own words where those are fixed, and never in words made while it runs", () => {
    const tell = (issue: (input: string) => Schema.FilterOutput, annotations?: Schema.Annotations.Filter) =>
      said(Schema.String.check(Schema.makeFilter<string>(issue, annotations)), "s3cret")
    assert.deepStrictEqual(
      tell(() => false, { message: "only even ones" }),
      ['"x" is not valid: only even ones']
    )
    assert.deepStrictEqual(
      tell(() => false, { expected: "an even one" }),
      ['"x" must be an even one']
    )
    assert.deepStrictEqual(
      tell((input) => `${input} is odd`),
      ['"x" is not valid']
    )
    assert.deepStrictEqual(
      tell((input) => ({ path: [], issue: `${input} is odd` })),
      ['"x" is not valid']
    )
    assert.deepStrictEqual(said(Schema.String.annotate({ message: "give me text" }), 1), [
      '"x" is not valid: give me text'
    ])
  })

  it("is not said in words that a transformation or a declaration makes while it runs", () => {
    const refuse = (input: unknown) =>
      Effect.fail(new SchemaIssue.InvalidValue({ message: `${input} is odd` }))
    const Read = Schema.String.pipe(
      Schema.decodeTo(Schema.String, {
        decode: SchemaGetter.transformEffect((text: string) => refuse(text)),
        encode: SchemaGetter.passthrough()
      })
    )
    const Declared = Schema.declareConstructor<string>()([], () => (input) => refuse(input))
    assert.deepStrictEqual(said(Read, "s3cret"), ['"x" cannot be read as a string'])
    assert.deepStrictEqual(said(Declared, "s3cret"), ['"x" is not valid'])
  })

  it("is said where a check over several fields puts it", () => {
    const codec = Validation.compile(
      toolOf(
        Schema.Struct({ from: Schema.Int, to: Schema.Int }).check(
          Schema.makeFilter(
            (range) => (range.from > range.to ? { path: ["to"], issue: `${range.to}` } : undefined),
            {
              expected: "a later one"
            }
          )
        )
      )
    )
    assert.deepStrictEqual(issuesOf(codec.decode({ from: 2, to: 1 })), [
      { path: ["to"], expected: "a later one", found: "value", message: '"to" must be a later one' }
    ])
  })
})

describe("bounds", () => {
  it("at most 50 problems are told, and how many more there are", () => {
    const issues = issuesOf(
      struct({ x: Schema.Array(Schema.Finite) }).decode({ x: Array.from({ length: 80 }, () => "a") })
    )
    assert.strictEqual(issues.length, 51)
    assert.strictEqual(issues[49]?.message, '"x[49]" must be a number, found a string')
    assert.strictEqual(issues[50]?.message, "and 30 more problems")
    const unknown = issuesOf(
      struct({ x: Schema.Int }).decode(Object.fromEntries(Array.from({ length: 80 }, (_, i) => [`k${i}`, i])))
    )
    assert.strictEqual(unknown.length, 51)
    assert.strictEqual(unknown[0]?.message, 'Missing required parameter "x"')
    assert.strictEqual(unknown[50]?.message, "and 31 more problems")
  })

  it("no problem is long, however large the schema", () => {
    const many = Array.from({ length: 300 }, (_, i) => `literal number ${i} ${"z".repeat(100)}`)
    const [literals] = said(Schema.Literals(many), "x")
    assert.isBelow(literals!.length, 500)
    const forms = Array.from({ length: 100 }, (_, i) =>
      Schema.Struct({ [`field${i}`]: Schema.Finite, ["z".repeat(500)]: Shape })
    )
    const [union] = said(Schema.Union(forms), {})
    assert.isBelow(union!.length, 500)
    const kinds = Array.from({ length: 100 }, (_, i) =>
      Schema.Tuple(Array.from({ length: i }, () => Schema.String))
    )
    assert.isBelow(said(Schema.Union(kinds), {})[0]!.length, 500)
  })

  it("too many levels are a problem, not a crash", () => {
    interface Tree {
      readonly kids: ReadonlyArray<Tree>
    }
    const Tree: Schema.Codec<Tree> = Schema.Struct({
      kids: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
    })
    let deep: Tree = { kids: [] }
    for (let i = 0; i < 20_000; i++) deep = { kids: [deep] }
    assert.deepStrictEqual(messages(Validation.compile(toolOf(Tree)), deep), [
      "The arguments cannot be read: too many levels"
    ])
    assert.deepStrictEqual(messages(Validation.compile(toolOf(Tree)), { kids: [{ kids: [{ kids: 1 }] }] }), [
      '"kids[0].kids[0].kids" must be an array, found a number'
    ])
  })
})

describe("unknown parameters", () => {
  const fields = {
    query: Schema.String,
    limit: Schema.optionalKey(Schema.Int),
    page: Schema.optionalKey(Schema.Int)
  }
  const unknown = (name: string) => messages(struct(fields), { query: "q", [name]: 1 })[0]

  it("are answered with the name that was probably meant", () => {
    assert.strictEqual(unknown("querry"), 'Unknown parameter "querry"; did you mean "query"?')
    assert.strictEqual(unknown("Limit"), 'Unknown parameter "Limit"; did you mean "limit"?')
    assert.strictEqual(unknown("pgae"), 'Unknown parameter "pgae"; did you mean "page"?')
    assert.strictEqual(unknown("offset"), 'Unknown parameter "offset"')
    assert.strictEqual(unknown("x"), 'Unknown parameter "x"')
  })

  it("are cut, and escaped", () => {
    assert.strictEqual(unknown("k".repeat(100)), `Unknown parameter "${"k".repeat(64)}…"`)
    assert.strictEqual(unknown('a"\n\u001b[31m\u202e'), 'Unknown parameter "a\\"\\u000a\\u001b[31m\\u202e"')
    assert.isTrue(unknown("\ud800 alone")!.isWellFormed())
  })

  it("are dropped, at any depth, where the tool allows them", () => {
    const tool = Tool.make("t", {
      parameters: Schema.Struct({ a: Schema.Struct({ b: Schema.Int }) })
    }).annotate(ToolAnnotations.UnknownParams, "allow")
    const codec = Validation.compile(tool)
    assert.deepStrictEqual(exitOf(codec.decode({ a: { b: 1, c: 2 }, d: 3 })), Exit.succeed({ a: { b: 1 } }))
    assert.deepStrictEqual(messages(codec, { a: { b: "x" }, d: 3 }), [
      '"a.b" must be an integer, found a string'
    ])
  })

  it("are refused whatever Tool.Strict says", () => {
    const tool = Tool.make("t", { parameters: Schema.Struct({ a: Schema.Int }) }).annotate(Tool.Strict, false)
    assert.deepStrictEqual(messages(Validation.compile(tool), { a: 1, b: 2 }), ['Unknown parameter "b"'])
  })
})

describe("a tool without parameters", () => {
  for (const [name, tool] of [
    ["by default", Tool.make("t")],
    ["as a struct of nothing", Tool.make("t", { parameters: Schema.Struct({}) })]
  ] as const) {
    it(`takes nothing, null and an empty object: ${name}`, () => {
      const codec = Validation.compile(tool)
      for (const params of [undefined, null, {}]) {
        assert.deepStrictEqual(exitOf(codec.decode(params)), Exit.succeed({}))
      }
      const [one, other] = [exitOf(codec.decode({})), exitOf(codec.decode({}))]
      assert.isTrue(Exit.isSuccess(one) && Exit.isSuccess(other) && one.value !== other.value)
      assert.deepStrictEqual(messages(codec, { a: 1 }), ['Unknown parameter "a"'])
      assert.deepStrictEqual(messages(codec, []), ["The arguments must be an object, found an array"])
      assert.deepStrictEqual(messages(codec, "x"), ["The arguments must be an object, found a string"])
    })
  }

  it("drops parameters where it allows them", () => {
    const codec = Validation.compile(Tool.make("t").annotate(ToolAnnotations.UnknownParams, "allow"))
    assert.deepStrictEqual(exitOf(codec.decode({ a: 1 })), Exit.succeed({}))
  })
})

describe("decoding", () => {
  it("reads no parameters as an empty object, for any tool", () => {
    assert.deepStrictEqual(
      exitOf(struct({ a: Schema.optionalKey(Schema.Int) }).decode(undefined)),
      Exit.succeed({})
    )
    assert.deepStrictEqual(messages(struct({ a: Schema.Int }), undefined), ['Missing required parameter "a"'])
    const dynamic = Tool.dynamic("t", {
      parameters: { type: "object", properties: { a: {} }, required: ["a"] }
    })
    assert.deepStrictEqual(messages(Validation.compile(dynamic), undefined), [
      'Missing required parameter "a"'
    ])
  })

  it("is an Exit, for success and failure, where nothing waits", () => {
    const codec = struct({ a: Schema.Int, when: Schema.optionalKey(Schema.DateFromMillis) })
    assert.isTrue(Exit.isExit(codec.decode({ a: 1, when: 0 })))
    assert.isTrue(Exit.isExit(codec.decode({ a: "x" })))
    assert.isTrue(Exit.isExit(codec.encodeSuccess("x")))
  })

  it.effect("waits where the schema does", () =>
    Effect.gen(function* () {
      const Slow = Schema.String.pipe(
        Schema.decodeTo(Schema.String, {
          decode: SchemaGetter.transformEffect((text: string) => Effect.as(Effect.yieldNow, `${text}!`)),
          encode: SchemaGetter.passthrough()
        })
      )
      const codec = struct({ a: Slow, b: Schema.Int })
      assert.deepStrictEqual(yield* codec.decode({ a: "x", b: 1 }), { a: "x!", b: 1 })
      const issues = yield* Effect.flip(codec.decode({ a: "x", b: "1" }))
      assert.deepStrictEqual(
        issues.map((issue) => issue.message),
        ['"b" must be an integer, found a string']
      )
    })
  )

  it.effect("finds the services a schema asks for in the fiber", () =>
    Effect.gen(function* () {
      class Suffix extends Context.Service<Suffix, string>()("test/Suffix") {}
      const WithSuffix = Schema.String.pipe(
        Schema.decodeTo(Schema.String, {
          decode: SchemaGetter.transformEffect((text: string) =>
            Effect.map(Suffix, (suffix) => text + suffix)
          ),
          encode: SchemaGetter.passthrough()
        })
      )
      const decoded = struct({ a: WithSuffix }).decode({ a: "x" })
      assert.deepStrictEqual(yield* Effect.provideService(decoded, Suffix, "?"), { a: "x?" })
    })
  )

  it("leaves a schema's own bug a defect", () => {
    const Broken = Schema.String.check(
      Schema.makeFilter<string>(() => {
        throw new TypeError("bug")
      })
    )
    const exit = exitOf(struct({ a: Broken }).decode({ a: "x" }))
    assert.isTrue(Exit.hasDies(exit))
  })

  it("reads keys of Object's prototype as names like any other", () => {
    const params = JSON.parse('{"a":1,"__proto__":{"polluted":1},"constructor":1,"toString":2}')
    assert.deepStrictEqual(messages(struct({ a: Schema.Int }), params), [
      'Unknown parameter "__proto__"',
      'Unknown parameter "constructor"',
      'Unknown parameter "toString"'
    ])
    const named = struct({ constructor: Schema.String, toString: Schema.optionalKey(Schema.Unknown) })
    assert.deepStrictEqual(messages(named, {}), ['Missing required parameter "constructor"'])
    const exit = exitOf(named.decode({ constructor: "x" }))
    assert.deepStrictEqual(exit, Exit.succeed({ constructor: "x" }))
    const record = struct({ r: Schema.Record(Schema.String, Schema.Unknown) })
    const decoded = exitOf(record.decode({ r: JSON.parse('{"__proto__":{"polluted":1}}') }))
    assert.isTrue(Exit.isSuccess(decoded))
    assert.isUndefined(({} as { polluted?: number }).polluted)
  })

  it("knows the names that the schema uses, decoded or encoded", () => {
    interface Tree {
      readonly kids: ReadonlyArray<Tree>
    }
    const Tree: Schema.Codec<Tree> = Schema.Struct({
      kids: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
    })
    const codec = struct({
      user: Schema.Struct({ zipCode: Schema.String }).pipe(Schema.encodeKeys({ zipCode: "zip_code" })),
      shape: Shape,
      point: Schema.optionalKey(Point),
      headers: Schema.Record(Schema.String, Schema.Struct({ value: Schema.String })),
      tree: Tree
    })
    assert.deepStrictEqual(
      [...codec.names].sort(),
      [
        "user",
        "zipCode",
        "zip_code",
        "shape",
        "type",
        "radius",
        "side",
        "point",
        "x",
        "label",
        "headers",
        "value",
        "tree",
        "kids"
      ].sort()
    )
    const dynamic = Tool.dynamic("t", {
      parameters: { type: "object", properties: { a: { type: "array", items: { properties: { b: {} } } } } }
    })
    assert.deepStrictEqual([...Validation.compile(dynamic).names], ["a", "b"])
  })
})

describe("whether decoding changes anything", () => {
  const dropping = toolOf(Schema.Struct({ x: Schema.String })).annotate(
    ToolAnnotations.UnknownParams,
    "allow"
  )
  it.each<[string, boolean, Tool.Any]>([
    ["checks", true, toolOf(Schema.Struct({ x: Schema.Finite.check(Schema.isGreaterThan(0)) }))],
    ["optional fields", true, toolOf(Schema.Struct({ x: Schema.optionalKey(Schema.Array(Shape)) }))],
    ["no parameters", true, Tool.make("t")],
    ["a transformation", false, toolOf(Schema.Struct({ x: Schema.optionalKey(Schema.Trim) }))],
    ["a class", false, toolOf(Schema.Struct({ x: Schema.Array(Point) }))],
    ["nothing", false, toolOf(Schema.Void)],
    ["a field that takes anything for nothing", false, toolOf(Schema.Struct({ x: Schema.Void }))],
    ["a record", true, toolOf(Schema.Struct({ x: Schema.Record(Schema.String, Schema.Finite) }))],
    ["what is dropped", false, dropping]
  ])("is known of %s: it does not, %s", (_, asIs, tool) => {
    assert.strictEqual(Validation.compile(tool).decodesAsIs, asIs)
  })
})

describe("a tool with a raw JSON Schema", () => {
  it("is validated in the same voice", () => {
    const codec = Validation.compile(
      Tool.dynamic("t", {
        parameters: {
          type: "object",
          properties: { a: { type: "integer" }, b: { type: "string" } },
          required: ["b"]
        }
      })
    )
    assert.deepStrictEqual(messages(codec, { c: 1, a: 1.5 }), [
      '"a" must be an integer',
      'Missing required parameter "b"',
      'Unknown parameter "c"'
    ])
    assert.deepStrictEqual(exitOf(codec.decode({ a: 1, b: "x" })), Exit.succeed({ a: 1, b: "x" }))
  })

  it("cannot be compiled where the schema cannot, and the error names the tool and the reason", () => {
    const tool = Tool.dynamic("forecast", {
      parameters: { type: "object", properties: { a: { $ref: "#/$defs/nope" } } }
    })
    assert.throws(() => Validation.compile(tool), /"forecast".*#\/\$defs\/nope.*leads nowhere/)
  })

  it("with an Effect schema is a tool like any other", () => {
    const codec = Validation.compile(
      Tool.dynamic("t", { parameters: Schema.Struct({ a: Schema.FiniteFromString }) })
    )
    assert.deepStrictEqual(exitOf(codec.decode({ a: "1" })), Exit.succeed({ a: 1 }))
  })
})

describe("results", () => {
  const encoded = (success: Schema.Constraint, value: unknown) =>
    exitOf(Validation.compile(Tool.make("t", { success: success as Schema.Top })).encodeSuccess(value))
  const refused = (success: Schema.Constraint, value: unknown) =>
    issuesOf(Validation.compile(Tool.make("t", { success: success as Schema.Top })).encodeSuccess(value)).map(
      ({ message }) => message
    )

  it("are encoded by the success schema, fit for JSON", () => {
    const at = new Date(0)
    assert.deepStrictEqual(encoded(Schema.Struct({ a: Schema.Int }), { a: 1 }), Exit.succeed({ a: 1 }))
    assert.deepStrictEqual(
      encoded(Schema.Struct({ at: Schema.Date }), { at }),
      Exit.succeed({ at: at.toISOString() })
    )
    assert.deepStrictEqual(encoded(Schema.BigInt, 5n), Exit.succeed("5"))
    assert.deepStrictEqual(
      encoded(Point, new Point({ x: 1, label: "l" })),
      Exit.succeed({ x: 1, label: "l" })
    )
    assert.deepStrictEqual(
      encoded(Schema.ReadonlyMap(Schema.String, Schema.Int), new Map([["a", 1]])),
      Exit.succeed([["a", 1]])
    )
    assert.deepStrictEqual(encoded(Schema.Void, undefined), Exit.succeed(undefined))
  })

  it("of a schema that takes anything are written as JSON would be", () => {
    assert.deepStrictEqual(
      encoded(Schema.Unknown, { a: undefined, at: new Date(0), n: 5n }),
      Exit.succeed({ at: "1970-01-01T00:00:00.000Z", n: "5" })
    )
    assert.deepStrictEqual(encoded(Schema.Struct({ n: Schema.Any }), { n: 5n }), Exit.succeed({ n: "5" }))
    assert.deepStrictEqual(encoded(Schema.Unknown, undefined), Exit.succeed(undefined))
    const loop: Record<string, unknown> = {}
    loop["loop"] = loop
    assert.deepStrictEqual(refused(Schema.Unknown, loop), ["The result cannot be written as JSON"])
    assert.deepStrictEqual(
      refused(Schema.Unknown, () => 1),
      ["The result cannot be written as JSON"]
    )
  })

  it("keep what is redacted to themselves, in failures too", () => {
    class Denied extends Schema.TaggedError<Denied>("Denied")("Denied", {
      key: Schema.Redacted(Schema.String)
    }) {}
    const key = Redacted.make("s3cret")
    const at = new Date(0)
    const hidden = Exit.succeed({ at: at.toISOString(), key: "<redacted>" })
    assert.deepStrictEqual(
      encoded(Schema.Struct({ at: Schema.Date, key: Schema.Redacted(Schema.String) }), { at, key }),
      hidden
    )
    assert.deepStrictEqual(encoded(Schema.Unknown, { at, key }), hidden)
    assert.deepStrictEqual(
      exitOf(Validation.compile(Tool.make("t", { failure: Denied })).encodeFailure(new Denied({ key }))),
      Exit.succeed({ _tag: "Denied", key: "<redacted>" })
    )
  })

  it("that the schema refuses are told in the same words", () => {
    assert.deepStrictEqual(refused(Schema.Struct({ a: Schema.Int, b: Schema.String }), { a: "s3cret" }), [
      '"a" must be an integer, found a string',
      'Missing required field "b"'
    ])
    assert.deepStrictEqual(refused(Schema.String, 1), ["The result must be a string, found a number"])
    assert.deepStrictEqual(
      refused(Schema.Struct({ at: Schema.Date, n: Schema.Unknown }), { at: 1, n: () => 1 }),
      ['"at" must be a valid Date, found a number']
    )
  })

  it("a declared failure is known, and encoded fit for JSON; any other is not", () => {
    const codec = Validation.compile(Tool.make("t", { failure: NotFound }))
    const failure = new NotFound({ at: new Date(0) })
    assert.isTrue(codec.isDeclaredFailure(failure))
    assert.isFalse(codec.isDeclaredFailure(new Error("x")))
    assert.isFalse(codec.isDeclaredFailure(undefined))
    assert.deepStrictEqual(
      exitOf(codec.encodeFailure(failure)),
      Exit.succeed({ _tag: "NotFound", at: "1970-01-01T00:00:00.000Z" })
    )
    assert.isFalse(Validation.compile(Tool.make("t")).isDeclaredFailure(failure))
  })
})

describe("a value of another schema", () => {
  it("has its problems told as those of a call", () => {
    const problems = Validation.ofSchema(
      Schema.Struct({ tool: Schema.String, retries: Schema.optionalKey(Schema.Int) })
    )
    assert.deepStrictEqual(problems({ tool: "x", other: 1 }), [])
    assert.deepStrictEqual(
      problems({ retries: 1.5 }).map((issue) => issue.message),
      ['Missing required field "tool"', '"retries" must be an integer']
    )
    assert.deepStrictEqual(
      problems(5).map((issue) => issue.message),
      ["The call must be an object, found a number"]
    )
    const hostile = Object.defineProperty({}, "tool", {
      get: () => {
        throw new Error("s3cret")
      },
      enumerable: true
    })
    assert.deepStrictEqual(
      problems(hostile).map((issue) => issue.message),
      ["The call cannot be read"]
    )
  })
})

describe("no problem tells a value", () => {
  const fields = {
    text: Schema.String.check(Schema.isMinLength(50), Schema.isPattern(/^[A-Z]$/)),
    count: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 3 })),
    unit: Schema.Literals(["C", "F"]),
    url: Schema.URLFromString,
    size: Schema.FiniteFromString,
    inner: Schema.fromJsonString(Schema.Struct({ a: Schema.Int })),
    when: Schema.DateTimeUtcFromString,
    shape: Shape,
    either: Schema.Union([
      Schema.Struct({ a: Schema.Int }),
      Schema.Struct({ b: Schema.Struct({ c: Schema.Int }) }),
      Schema.Boolean
    ]),
    list: Schema.Array(Schema.Struct({ text: Schema.Boolean })),
    map: Schema.Record(Schema.String.check(Schema.isMaxLength(3)), Schema.Boolean),
    names: Schema.Record(Schema.String, Schema.Unknown).check(
      Schema.isPropertyNames(Schema.String.check(Schema.isMaxLength(3)))
    ),
    template: Schema.TemplateLiteral(["id-", Schema.Number]),
    key: Schema.Redacted(Schema.String),
    own: Schema.Unknown.check(Schema.makeFilter((value) => `no ${String(value)}`))
  }
  const raw = {
    type: "object",
    properties: {
      text: { type: "string", minLength: 50, pattern: "^[A-Z]$" },
      count: { type: "integer", minimum: 1, maximum: 3 },
      unit: { enum: ["C", "F"] },
      shape: { oneOf: [{ const: 1 }, { type: "object", required: ["type"] }] },
      either: {
        anyOf: [
          { type: "object", properties: { a: { type: "integer" } }, required: ["a"] },
          { type: "boolean" }
        ]
      },
      list: { type: "array", items: { type: "boolean" }, uniqueItems: true, maxItems: 1 },
      map: { type: "object", additionalProperties: { type: "boolean" } },
      names: { type: "object", propertyNames: { maxLength: 3 } }
    }
  }
  const codecs = [
    struct(fields),
    Validation.compile(Tool.dynamic("t", { parameters: raw })),
    Validation.compile(
      Tool.dynamic("t", {
        parameters: { ...raw, dependentRequired: { text: ["count"] }, not: { required: ["nothing"] } }
      })
    )
  ]

  const secret = fc.oneof(
    fc.string({ minLength: 8, maxLength: 8, unit: fc.constantFrom(..."QWXZ79") }).map((tail) => `S${tail}`),
    fc.integer({ min: 71_000_000, max: 79_999_999 }),
    fc.integer({ min: 71_000_000, max: 79_999_999 }).map((n) => n + 0.25)
  )
  // Another kind than the values: a name may be said where it is unknown.
  const madeUp = fc
    .string({ minLength: 8, maxLength: 8, unit: fc.constantFrom(..."QWXZ79") })
    .map((tail) => `K${tail}`)
  // A value in which every leaf, and every name that the caller makes up, is secret.
  const value = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 3, depthSize: "small" },
      { weight: 3, arbitrary: secret },
      { weight: 1, arbitrary: fc.array(tie("value"), { maxLength: 4 }) },
      {
        weight: 1,
        arbitrary: fc.dictionary(fc.oneof(fc.constantFrom("a", "b", "type", "text"), madeUp), tie("value"), {
          maxKeys: 4
        })
      }
    )
  })).value
  const params = fc.record(Object.fromEntries(Object.keys(fields).map((name) => [name, value])))

  const leaves = (value: unknown, keys: boolean): ReadonlyArray<string> =>
    typeof value !== "object" || value === null
      ? [String(value)]
      : Object.entries(value).flatMap(([key, item]) => [
          ...(keys && /^K/.test(key) ? [key] : []),
          ...leaves(item, keys)
        ])

  it("not in a message, a path or anything else; made-up names only as unknown ones", () => {
    let refused = 0
    let secrets = 0
    fc.assert(
      fc.property(params, (params) => {
        for (const codec of codecs) {
          const issues = issuesOf(codec.decode(params))
          if (issues.length > 0) refused++
          const text = JSON.stringify(issues)
          const values = leaves(params, false)
          secrets = Math.max(secrets, values.length)
          for (const value of values) assert.isFalse(text.includes(value), `${value} in ${text}`)
          // What a union says of its closest form may hold an unknown parameter as well.
          const rest = JSON.stringify(issues.filter((issue) => !issue.message.includes("Unknown parameter")))
          for (const value of leaves(params, true))
            assert.isFalse(rest.includes(value), `${value} in ${rest}`)
        }
      }),
      { numRuns: 400 }
    )
    assert.isAbove(refused, 1100)
    assert.isAbove(secrets, 20)
  })

  it("not in what is wrong with a result either", () => {
    fc.assert(
      fc.property(params, (result) => {
        const codec = Validation.compile(Tool.make("t", { success: Schema.Struct(fields) }))
        const text = JSON.stringify(issuesOf(codec.encodeSuccess(result)))
        for (const value of leaves(result, true)) assert.isFalse(text.includes(value), `${value} in ${text}`)
      }),
      { numRuns: 200 }
    )
  })
})

describe("hostile arguments", () => {
  it("are refused or taken, and never a crash", () => {
    const codecs = [
      struct({
        a: Schema.Int,
        b: Schema.optionalKey(Schema.Array(Shape)),
        c: Schema.optionalKey(Schema.Record(Schema.String, Schema.Int))
      }),
      Validation.compile(Tool.make("t"))
    ]
    fc.assert(
      fc.property(
        fc.anything({
          withBigInt: true,
          withDate: true,
          withMap: true,
          withNullPrototype: true,
          withSparseArray: true,
          withTypedArray: true,
          key: fc.oneof(fc.string(), fc.constantFrom("a", "b", "c", "__proto__", "constructor", "\ud800"))
        }),
        (params) => {
          for (const codec of codecs) {
            const exit = exitOf(codec.decode(params))
            assert.isFalse(Exit.hasDies(exit))
          }
        }
      ),
      { numRuns: 1000 }
    )
  })
})

describe("a transformation that is an effect", () => {
  it("runs once, also for what does not fit, and is told whether unknown keys are problems", () => {
    const seen: Array<unknown> = []
    const Looked = Schema.String.pipe(
      Schema.decodeTo(Schema.String, {
        decode: SchemaGetter.transformEffect((text: string, options) => {
          seen.push(options.onExcessProperty)
          return text === "a" ? Effect.succeed(text) : Effect.fail(new SchemaIssue.InvalidValue())
        }),
        encode: SchemaGetter.passthrough<string>()
      })
    )
    const codec = struct({ x: Looked })
    assert.deepStrictEqual(exitOf(codec.decode({ x: "a" })), Exit.succeed({ x: "a" }))
    assert.deepStrictEqual(messages(codec, { x: "b" }), ['"x" cannot be read as a string'])
    assert.deepStrictEqual(seen, ["error", "error"])
  })
})

describe("decoded parameters", () => {
  const shares = (parameters: Schema.Constraint) => Validation.compile(toolOf(parameters)).sharesInput

  it("are copies where every level of the schema is known", () => {
    assert.isFalse(shares(Schema.Struct({ a: Schema.Array(Schema.Struct({ b: Schema.String })) })))
    assert.isFalse(shares(Schema.Struct({ at: Schema.DateFromString, point: Point })))
    assert.isFalse(shares(Schema.Record(Schema.String, Schema.NullOr(Schema.Finite))))
    assert.isFalse(Validation.compile(Tool.make("t")).sharesInput)
  })

  it("may be parts of the arguments where anything is taken", () => {
    for (const part of [Schema.Unknown, Schema.Any, Schema.ObjectKeyword, Schema.Struct({}), Schema.Date]) {
      assert.isTrue(shares(Schema.Struct({ a: Schema.Array(part) })))
    }
    const parameters = { type: "object" } as const
    assert.isTrue(Validation.compile(Tool.dynamic("t", { parameters })).sharesInput)
  })
})
