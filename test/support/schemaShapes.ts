/**
 * Random schemas, values that nearly fit them, and what parsing them comes to: by the codec of a tool, and by
 * Effect's interpreter as it is, which is the specification.
 *
 * Run as a program, prints what a fixed corpus comes to.
 */
import { inspect } from "node:util"
import * as Tool from "effect/ai/Tool"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import type * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import * as SchemaTransformation from "effect/SchemaTransformation"
import { ToolAnnotations, Validation } from "effect-interlock"
import * as fc from "fast-check"
import { Issues, kindOf, type Subject } from "../../src/internal/issues.ts"
import { beyondCodec, namesIn } from "../../src/internal/schemaFacts.ts"
import { fromSchemaIssue } from "../../src/internal/schemaIssues.ts"

// --- Shapes ----------------------------------------------------------------

/** A schema, and values that mostly fit it. `make` makes a new schema each time, that shares nothing with others. */
export interface Shape {
  readonly says: string
  readonly make: () => Schema.Top
  readonly values: fc.Arbitrary<unknown>
}

/** What fits seldom. */
export const junk: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    undefined,
    null,
    0,
    -0,
    1.5,
    Number.NaN,
    1e300,
    "",
    "a",
    "x1",
    true,
    1n,
    Symbol.iterator
  ),
  fc
    .constantFrom<() => unknown>(
      () => [],
      () => ({}),
      () => [undefined],
      () => ({ a: undefined }),
      () => ({ a: 1, [Symbol.iterator]: 2 }),
      () => Object.defineProperty({ a: 1 }, "hidden", { value: 1 }),
      () => Object.create({ a: 1, b: "x" }),
      () => Object.assign(Object.create(null), { a: "x" }),
      () => JSON.parse('{"__proto__": 1, "constructor": 2}'),
      () => ({
        get a(): unknown {
          throw new Error("a getter")
        }
      }),
      () => new Date(0),
      () => new Map(),
      () => () => 1
    )
    .map((make) => make())
)

const leaf = (says: string, make: () => Schema.Constraint, ...values: ReadonlyArray<unknown>): Shape => ({
  says,
  make: () => make() as Schema.Top,
  values: fc.constantFrom(...values)
})

const leaves: ReadonlyArray<Shape> = [
  leaf("String", () => Schema.String, "a", "", "long text"),
  leaf("Number", () => Schema.Number, 1, Number.NaN, -0),
  leaf("Finite", () => Schema.Finite, 1, -0, 0.5),
  leaf("Int", () => Schema.Int, 1, 2 ** 53 - 1),
  leaf("Boolean", () => Schema.Boolean, true, false),
  leaf("Null", () => Schema.Null, null),
  leaf("Undefined", () => Schema.Undefined, undefined),
  leaf("Void", () => Schema.Void, undefined, 1),
  leaf("Never", () => Schema.Never, 1),
  leaf("Unknown", () => Schema.Unknown, { a: [1, { b: 2 }] }, "a"),
  leaf("Any", () => Schema.Any, { a: 1 }, 1),
  leaf("ObjectKeyword", () => Schema.ObjectKeyword, { a: 1 }, [1]),
  leaf("BigInt", () => Schema.BigInt, 1n),
  leaf("Literal", () => Schema.Literal("on"), "on"),
  leaf("Literals", () => Schema.Literals(["a", 1, true]), "a", 1, true),
  leaf("Enum", () => Schema.Enum({ A: "a", B: 2 }), "a", 2),
  leaf("pattern", () => Schema.String.check(Schema.isPattern(/^[a-z]+$/)), "abc"),
  leaf(
    "bounds",
    () => Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThan(10), Schema.isMultipleOf(2)),
    4,
    8
  ),
  leaf("length", () => Schema.String.check(Schema.isBetweenLength(1, 3)), "ab"),
  leaf("TemplateLiteral", () => Schema.TemplateLiteral(["x", Schema.Finite]), "x1"),
  leaf("empty", () => Schema.Struct({}), {}, { a: 1 }),
  leaf("Date", () => Schema.Date, new Date(0)),
  leaf("DateFromString", () => Schema.DateFromString, "2020-01-01", "never"),
  leaf("FiniteFromString", () => Schema.FiniteFromString, "1.5", "x"),
  leaf("Trim", () => Schema.Trim, " a "),
  leaf("BigIntFromString", () => Schema.BigIntFromString, "12", "x"),
  leaf(
    "json text",
    () => Schema.fromJsonString(Schema.Struct({ a: Schema.Finite })),
    '{"a":1}',
    '{"a":1,"b":2}',
    "{"
  ),
  leaf(
    "a transformation to more than its schema names",
    () =>
      Schema.String.pipe(
        Schema.decodeTo(
          Schema.Struct({ a: Schema.String }),
          SchemaTransformation.transform({
            decode: (text: string) => (text === "more" ? { a: text, b: text } : { a: text }),
            encode: ({ a }) => a
          })
        )
      ),
    "a",
    "more"
  ),
  leaf("Redacted", () => Schema.RedactedFromValue(Schema.String), "secret"),
  leaf(
    "a check that throws",
    () =>
      Schema.String.check(
        Schema.makeFilter((text) => {
          if (text === "boom") throw new Error("a check")
          return true
        })
      ),
    "a",
    "boom"
  ),
  leaf(
    "a transformation that throws",
    () =>
      Schema.String.pipe(
        Schema.decodeTo(
          Schema.Finite,
          SchemaTransformation.transform({
            decode: (text: string) => {
              if (text === "boom") throw new Error("a transformation")
              return text.length
            },
            encode: String
          })
        )
      ),
    "a",
    "boom"
  )
]

const names = ["a", "b", "type"] as const

type Presence = "required" | "optionalKey" | "optional" | "default"

const presentAs = (presence: Presence, schema: Schema.Top): Schema.Top => {
  switch (presence) {
    case "required":
      return schema
    case "optionalKey":
      return Schema.optionalKey(schema) as Schema.Top
    case "optional":
      return Schema.optional(schema) as Schema.Top
    case "default":
      return Schema.String.pipe(
        Schema.withDecodingDefaultKey(Effect.succeed("default"))
      ) as unknown as Schema.Top
  }
}

const record = (entries: ReadonlyArray<readonly [string, unknown]>): object => Object.fromEntries(entries)

const fields = (shape: fc.Arbitrary<Shape>): fc.Arbitrary<Shape> =>
  fc
    .uniqueArray(
      fc.record({
        name: fc.constantFrom(...names),
        presence: fc.oneof(
          { weight: 4, arbitrary: fc.constant("required" as const) },
          fc.constantFrom<Presence>("optionalKey", "optional", "default")
        ),
        shape
      }),
      { minLength: 1, maxLength: 3, selector: ({ name }) => name }
    )
    .map((each) => ({
      says: `{ ${each.map(({ name, presence, shape }) => `${name} ${presence} ${shape.says}`).join(", ")} }`,
      make: () =>
        Schema.Struct(
          record(each.map(({ name, presence, shape }) => [name, presentAs(presence, shape.make())])) as never
        ) as unknown as Schema.Top,
      values: fc
        .tuple(
          ...each.map(({ name, presence, shape }) =>
            fc.option(
              presence === "default"
                ? fc.constant([name, "x"] as const)
                : shape.values.map((value) => [name, value] as const),
              { freq: presence === "required" ? 30 : 3, nil: undefined }
            )
          )
        )
        .map((entries) => record(entries.filter((entry) => entry !== undefined)))
    }))

class Point extends Schema.Class<Point>("Point")({
  x: Schema.Finite,
  label: Schema.optionalKey(Schema.String)
}) {}
class Gone extends Schema.TaggedError<Gone>("Gone")("Gone", { at: Schema.DateFromString }) {}

interface Tree {
  readonly value: string
  readonly children: ReadonlyArray<Tree>
}

const tree = (): Schema.Top => {
  const schema: Schema.Codec<Tree> = Schema.Struct({
    value: Schema.String,
    children: Schema.Array(Schema.suspend(() => schema))
  })
  return schema as unknown as Schema.Top
}

const trees: Shape = {
  says: "tree",
  make: tree,
  values: fc.constantFrom(
    { value: "a", children: [{ value: "b", children: [] }] },
    { value: "a", children: [{ value: "b", children: [], more: 1 }] },
    { value: "a", children: [{ value: 1, children: [null] }] }
  )
}

const made = (
  says: string,
  shape: Shape,
  wrap: (schema: Schema.Top) => unknown,
  values: fc.Arbitrary<unknown>
): Shape => ({
  says: `${says}<${shape.says}>`,
  make: () => wrap(shape.make()) as Schema.Top,
  values
})

/** Any schema. */
export const shapes: fc.Arbitrary<Shape> = fc
  .letrec<{ shape: Shape; struct: Shape }>((tie) => ({
    struct: fields(tie("shape")),
    shape: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      { weight: 8, arbitrary: fc.constantFrom(...leaves) },
      { weight: 6, arbitrary: tie("struct") },
      fc.constantFrom<Shape>(
        trees,
        leaf("Point", () => Point, { x: 1 }, { x: 1, label: "a", more: 1 }, { x: "1" }, new Point({ x: 1 })),
        leaf(
          "Gone",
          () => Gone,
          { _tag: "Gone", at: "2020-01-01" },
          { _tag: "Gone", at: "2020-01-01", b: 1 },
          {}
        ),
        leaf(
          "tagged",
          () =>
            Schema.Union([
              Schema.Struct({ type: Schema.Literal("a"), a: Schema.Finite }),
              Schema.Struct({ type: Schema.Literal("b"), b: Schema.Struct({ a: Schema.String }) })
            ]),
          { type: "a", a: 1 },
          { type: "b", b: { a: "x" } },
          { type: "b", b: { a: "x", b: 1 } },
          { type: "a", b: 1 },
          { type: "c" }
        )
      ),
      tie("shape").map((shape) =>
        made("Array", shape, Schema.Array, fc.array(shape.values, { maxLength: 3 }))
      ),
      tie("shape").map((shape) =>
        made("NonEmptyArray", shape, Schema.NonEmptyArray, fc.array(shape.values, { maxLength: 2 }))
      ),
      fc.tuple(tie("shape"), tie("shape")).map(([first, rest]) => ({
        says: `[${first.says}, ...${rest.says}, boolean]`,
        make: () =>
          Schema.TupleWithRest(Schema.Tuple([first.make()]), [
            rest.make(),
            Schema.Boolean
          ]) as unknown as Schema.Top,
        values: fc.tuple(first.values, rest.values, fc.boolean())
      })),
      fc.tuple(tie("shape"), tie("shape")).map(([first, second]) => ({
        says: `[${first.says}, ${second.says}?]`,
        make: () =>
          Schema.Tuple([first.make(), Schema.optionalKey(second.make())] as never) as unknown as Schema.Top,
        values: fc.tuple(first.values, second.values)
      })),
      tie("shape").map((shape) =>
        made(
          "Record",
          shape,
          (schema) => Schema.Record(Schema.String, schema),
          fc.dictionary(fc.constantFrom("a", "z"), shape.values)
        )
      ),
      tie("shape").map((shape) =>
        made(
          "Record of some names",
          shape,
          (schema) => Schema.Record(Schema.String.check(Schema.isPattern(/^x/)), schema),
          fc.dictionary(fc.constantFrom("x1", "z"), shape.values)
        )
      ),
      fc.tuple(tie("struct"), tie("shape")).map(([struct, rest]) => ({
        says: `${struct.says} and ${rest.says}`,
        make: () =>
          Schema.StructWithRest(struct.make() as never, [
            Schema.Record(Schema.String, rest.make()) as never
          ]) as unknown as Schema.Top,
        values: struct.values
      })),
      fc.tuple(tie("shape"), tie("shape"), fc.boolean()).map(([a, b, one]) => ({
        says: `${a.says} ${one ? "xor" : "or"} ${b.says}`,
        make: () =>
          Schema.Union([a.make(), b.make()], one ? { mode: "oneOf" } : undefined) as unknown as Schema.Top,
        values: fc.oneof(a.values, b.values)
      })),
      tie("shape").map((shape) => made("NullOr", shape, Schema.NullOr, fc.option(shape.values))),
      tie("shape").map((shape) =>
        made("OptionFromNullOr", shape, Schema.OptionFromNullOr, fc.option(shape.values))
      ),
      tie("struct").map((shape) =>
        made(
          "checked",
          shape,
          (schema) =>
            schema.check(
              Schema.makeFilter((value) => Object.keys(value as object).length !== 1 || "one key") as never
            ),
          shape.values
        )
      ),
      tie("struct").map((shape) =>
        made(
          "few properties",
          shape,
          (schema) => schema.check(Schema.isMaxProperties(1) as never),
          shape.values
        )
      )
    )
  }))
  .shape.map((shape) => ({ ...shape, [fc.toStringMethod]: () => shape.says }))

const isPlain = (value: unknown): value is object =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype

/** A value with another put in, taken out or added somewhere. */
const spoilt = (value: unknown): fc.Arbitrary<unknown> =>
  fc
    .tuple(fc.constantFrom(...names, "z", "x9", Symbol.iterator), junk, fc.nat(5))
    .map(([key, other, how]) => {
      if (typeof value !== "object" || value === null) return other
      if (Array.isArray(value))
        return how < 2 ? [...value, other] : how < 4 ? value.slice(1) : [other, ...value.slice(1)]
      const entries = Object.entries(value)
      switch (how) {
        case 0:
        case 1:
          return Object.assign(Object.fromEntries(entries), { [key]: other })
        case 2:
          return record(entries.slice(1))
        case 3:
          return record(entries.map(([key, item], index) => [key, index === 0 ? other : item]))
        case 4:
          return Object.assign(Object.create(value), { [key]: other })
        default:
          return record(
            entries.map(([name, item]) => [name, isPlain(item) ? { ...item, [key]: other } : item])
          )
      }
    })

/** A schema; a value that fits it, nearly fits it, or does not; and whether there is a parameter too many. */
export const cases: fc.Arbitrary<readonly [Shape, unknown, boolean]> = shapes.chain((shape) =>
  fc.tuple(
    fc.constant(shape),
    fc.oneof(
      { weight: 4, arbitrary: shape.values },
      { weight: 4, arbitrary: shape.values.chain(spoilt) },
      { weight: 1, arbitrary: junk }
    ),
    fc.integer({ min: 0, max: 9 }).map((n) => n === 0)
  )
)

// --- What parsing comes to -------------------------------------------------

/** As text, with the order of keys, minus zero and classes. */
const textOf = (value: unknown): string =>
  inspect(value, { depth: 30, maxArrayLength: null, maxStringLength: null, breakLength: Infinity })

const endOf = (run: () => Effect.Effect<unknown, unknown> | boolean): string => {
  const exit = Effect.runSyncExit(
    Effect.suspend(() => {
      const outcome = run()
      return typeof outcome === "boolean" ? Effect.succeed(outcome) : outcome
    })
  )
  return Exit.isSuccess(exit)
    ? `gives ${textOf(exit.value)}`
    : exit.cause.reasons
        .map((reason) => {
          if (reason._tag === "Fail") return `fails with ${textOf(reason.error)}`
          return reason._tag === "Die" ? `dies of ${(reason.defect as Error).message}` : reason._tag
        })
        .join()
}

/** What each part of a tool's codec makes of a value. */
type Outcomes = { readonly [part: string]: string }

const paramsOf = (shape: Shape): Schema.Top => Schema.Struct({ x: shape.make() }) as unknown as Schema.Top
const argumentsOf = (value: unknown, more: boolean): unknown => (more ? { x: value, z: 1 } : { x: value })

export const byCodec = (shape: Shape, value: unknown, more: boolean): Outcomes => {
  const schema = shape.make()
  const tool = Tool.make("t", { parameters: paramsOf(shape), success: schema, failure: schema })
  const codec = Validation.compile(tool)
  const dropping = Validation.compile(
    Tool.make("t", { parameters: paramsOf(shape) }).annotate(ToolAnnotations.UnknownParams, "allow")
  )
  const typed = typeOf(shape, value)
  return {
    decode: endOf(() => codec.decode(argumentsOf(value, more))),
    drop: endOf(() => dropping.decode(argumentsOf(value, more))),
    encode: endOf(() => codec.encodeSuccess(typed)),
    encodeSpoilt: endOf(() => codec.encodeFailure(value)),
    isDeclared: endOf(() => codec.isDeclaredFailure(typed)),
    isSpoiltDeclared: endOf(() => codec.isDeclaredFailure(value)),
    read: endOf(() => codec.decodeSuccess(value)),
    encodeParams: endOf(() => Effect.mapError(codec.encodeParams({ x: typed }), () => "something"))
  }
}

type Parser = (input: unknown) => Effect.Effect<unknown, SchemaIssue.Issue>

const all = { errors: "all", reportInput: true } as const

/** Effect's interpreter, for a schema that nothing has compiled. */
const parser = (schema: Schema.Top, options: AST.ParseOptions = all): Parser =>
  SchemaParser.decodeUnknownEffect(schema, options) as Parser

/** The value that was meant, where there is one. */
const typeOf = (shape: Shape, value: unknown): unknown => {
  const exit = Effect.runSyncExit(Effect.suspend(() => parser(shape.make())(value)))
  return Exit.isSuccess(exit) ? exit.value : value
}

/** The same, by Effect's interpreter: what a codec is to give, one of. */
export const bySpecification = (
  shape: Shape,
  value: unknown,
  more: boolean
): { readonly [part: string]: ReadonlyArray<string> } => {
  const names = namesIn(paramsOf(shape).ast)
  const params: Subject = { root: "The arguments", noun: "parameter", names }
  const result: Subject = { root: "The result", noun: "field", names: namesIn(shape.make().ast) }
  const told = (schema: Schema.Top, options: AST.ParseOptions, subject: Subject, input: unknown) => {
    const end = endOf(() =>
      Effect.mapError(parser(schema, { ...all, ...options })(input), (issue) =>
        fromSchemaIssue(issue, subject)
      )
    )
    // A member of a union that does not fit anyway need not be read to where its own code throws.
    return end.startsWith("dies") ? [end, endOf(() => parser(schema, options)(input))] : [end]
  }
  const typed = typeOf(shape, value)
  const { ast } = shape.make()
  const isLoose = AST.isVoid(ast) || AST.isUndefined(ast) || beyondCodec(ast)
  const codecOf = (): Schema.Top => (isLoose ? shape.make() : Schema.toCodecJson(shape.make()))
  const encode = (input: unknown): ReadonlyArray<string> => {
    const strict = endOf(() => parser(Schema.flip(codecOf()), {})(input))
    if (!isLoose && strict.startsWith("gives")) return [strict]
    const loose = (options: AST.ParseOptions) =>
      endOf(() =>
        Effect.flatMap(
          Effect.mapError(parser(Schema.flip(shape.make()), options)(input), (issue) =>
            fromSchemaIssue(issue, result)
          ),
          (encoded) => (encoded === undefined ? Effect.void : asJson(encoded, result))
        )
      )
    const end = loose(all)
    return end.startsWith("dies") ? [end, loose({})] : [end]
  }
  const strict = { onExcessProperty: "error" } as const
  return {
    decode: told(paramsOf(shape), strict, params, argumentsOf(value, more)),
    drop: told(paramsOf(shape), {}, params, argumentsOf(value, more)),
    encode: encode(typed),
    encodeSpoilt: encode(value),
    isDeclared: isOf(shape, typed),
    isSpoiltDeclared: isOf(shape, value),
    read: told(codecOf(), {}, result, value),
    encodeParams: [
      endOf(() => Effect.mapError(parser(Schema.flip(paramsOf(shape)), {})({ x: typed }), () => "something"))
    ]
  }
}

const isOf = (shape: Shape, value: unknown): ReadonlyArray<string> => {
  const end = endOf(() => Schema.is(shape.make())(value))
  // The same holds of any value that does not fit anyway.
  return end.startsWith("dies") ? [end, "gives false"] : [end]
}

const asJson = (value: unknown, subject: Subject): Effect.Effect<unknown, unknown> =>
  Effect.try({
    try: () => {
      const text = JSON.stringify(value, (_, item) => (typeof item === "bigint" ? item.toString() : item))
      return JSON.parse(text ?? "nothing")
    },
    catch: () =>
      new Issues(subject).say([], "a JSON value", kindOf(value), "cannot be written as JSON").toArray()
  })

/** Objects of the arguments that a codec hands on though it says that it copies them. */
export const sharedObjects = (shape: Shape, value: unknown): ReadonlyArray<object> => {
  const codec = Validation.compile(Tool.make("t", { parameters: paramsOf(shape) }))
  const given = { x: value }
  const exit = Effect.runSyncExit(Effect.suspend(() => codec.decode(given)))
  if (codec.sharesInput || Exit.isFailure(exit)) return []
  const mine = objectsIn(given)
  return [...objectsIn(exit.value)].filter((object) => mine.has(object))
}

const objectsIn = (value: unknown, seen = new Set<object>()): ReadonlySet<object> => {
  if (typeof value !== "object" || value === null || seen.has(value)) return seen
  seen.add(value)
  for (const key of Reflect.ownKeys(value)) {
    const item = Object.getOwnPropertyDescriptor(value, key)
    if (item !== undefined && "value" in item) objectsIn(item.value, seen)
  }
  return seen
}

// --- A corpus --------------------------------------------------------------

/** What a thousand cases come to, the same ones each time. */
export const corpus = (): ReadonlyArray<string> =>
  fc
    .sample(cases, { seed: 4, numRuns: 1000 })
    .map(([shape, value, more]) => JSON.stringify({ shape: shape.says, ...byCodec(shape, value, more) }))

if (import.meta.main) console.log(JSON.stringify(corpus()))
