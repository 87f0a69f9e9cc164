/**
 * Decoding and encoding of a tool's parameters and results, with every problem
 * at once and in plain words.
 *
 * - Parameters are decoded as `effect/ai`'s own `Toolkit` does; those of a
 *   dynamic tool that carries a raw JSON Schema are validated against it.
 * - Parameters that the schema does not name are problems, at any depth, unless
 *   the tool says `ToolAnnotations.UnknownParams`: then they are dropped.
 *   `Tool.Strict` is a wish to the model and changes nothing here. Of a raw JSON
 *   Schema the own word on unknown parameters wins; see `internal/jsonSchema/compile.ts`.
 * - No parameters at all (`undefined`) are `{}`, for every tool.
 * - No problem tells a value: see `internal/issues.ts`.
 *
 * Nothing is caught that is not a problem of the value: a schema whose own code
 * throws is a defect of the tool.
 */
import * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import type * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import { isExit } from "./internal/exits.ts"
import { Issues, kindOf, type Subject } from "./internal/issues.ts"
import * as RawSchema from "./internal/jsonSchema/compile.ts"
import { lazily } from "./internal/lazily.ts"
import { beyondCodec, decodesAsIs, namesIn, sharesInput } from "./internal/schemaFacts.ts"
import { fromSchemaIssue, parseOptions } from "./internal/schemaIssues.ts"
import { accelerate, parserOf, quickParser } from "./internal/schemaParser.ts"
import * as ToolAnnotations from "./ToolAnnotations.ts"
import type { Issue, Reason } from "./ToolError.ts"

/**
 * The outcome of a codec: an `Exit` where the schema does not wait. The services a schema may ask for are those of the
 * tool's handler; at `Tool.Any` their types are not known, so whoever runs an outcome that is no `Exit` provides them.
 */
export type Outcome<A> = Effect.Effect<A, ReadonlyArray<Issue>>

/** A tool's schemas, compiled once. */
export interface Codec {
  readonly decode: (params: unknown) => Outcome<unknown>
  /** Whether decoded parameters may hold objects of those they were decoded from, instead of copies. */
  readonly sharesInput: boolean
  /** Decoded parameters as their schema encodes them; problems are of no interest to anyone. */
  readonly encodeParams: (params: unknown) => Effect.Effect<unknown, unknown>
  /** The handler's success as the schema encodes it, fit for JSON; `undefined` stays, what is `Redacted` says no more than that. */
  readonly encodeSuccess: (value: unknown) => Outcome<unknown>
  /** An encoded success as the handler gave it, where its schema can be read back. */
  readonly decodeSuccess: (encoded: unknown) => Outcome<unknown>
  /** Whether an error is one that the tool's failure schema knows. */
  readonly isDeclaredFailure: (error: unknown) => boolean
  /** A declared failure as the schema encodes it, fit for JSON. */
  readonly encodeFailure: (error: unknown) => Outcome<unknown>
  /** An encoded failure as the handler gave it, where its schema can be read back. */
  readonly decodeFailure: (encoded: unknown) => Outcome<unknown>
  /** Every property name that the parameters' schema itself uses, at any depth. */
  readonly names: ReadonlySet<string>
  /** Decoded parameters say just what they said before. */
  readonly decodesAsIs: boolean
}

/** Compiles a tool's schemas; throws an `Error` that names the tool where its raw JSON Schema cannot be used. */
export const compile = (tool: Tool.Any): Codec => ({
  ...decoder(tool),
  encodeParams: quickParser(() => Schema.flip(tool.parametersSchema as Schema.Top)),
  encodeSuccess: encoder(tool.successSchema),
  decodeSuccess: reader(tool.successSchema),
  isDeclaredFailure: guard(tool.failureSchema),
  encodeFailure: encoder(tool.failureSchema),
  decodeFailure: reader(tool.failureSchema)
})

/** What is wrong with a call that is not one, by its schema: nothing where it fits. */
export const ofSchema = (
  schema: Schema.ConstraintDecoder<unknown>
): ((input: unknown) => ReadonlyArray<Issue>) => {
  const subject: Subject = { root: "The call", noun: "field", names: namesIn(schema.ast) }
  const run = SchemaParser.decodeUnknownExit(schema, { ...parseOptions, onExcessProperty: "ignore" })
  return (input) => {
    try {
      const exit = run(input)
      if (Exit.isSuccess(exit)) return []
      const failure = exit.cause.reasons.find(Cause.isFailReason)
      if (failure !== undefined) return fromSchemaIssue(failure.error, subject)
    } catch {
      // A value whose getters throw.
    }
    return new Issues(subject).say([], "a call", kindOf(input), "cannot be read").toArray()
  }
}

/** The refusal of a call whose parameters have these problems. */
export const invalidParams = (
  issues: ReadonlyArray<Issue>
): Extract<Reason, { readonly _tag: "InvalidParams" }> => ({
  _tag: "InvalidParams",
  issues
})

/** The refusal of a result that does not fit its schema. */
export const invalidResult = (
  issues: ReadonlyArray<Issue>
): Extract<Reason, { readonly _tag: "InvalidResult" }> => ({
  _tag: "InvalidResult",
  issues
})

// --- Parameters ------------------------------------------------------------

type Decoder = Pick<Codec, "decode" | "names" | "sharesInput" | "decodesAsIs">

const decoder = (tool: Tool.Any): Decoder => {
  const allow = Context.getOrUndefined(
    tool.annotations as Context.Context<never>,
    ToolAnnotations.UnknownParams
  )
  const dropUnknown = allow === "allow"
  const raw = Tool.isDynamic(tool) ? tool.jsonSchema : undefined
  if (raw !== undefined) return rawDecoder(tool.name, raw, dropUnknown)
  const schema = tool.parametersSchema
  return isEmpty(schema.ast) ? emptyDecoder(dropUnknown) : schemaDecoder(schema, dropUnknown)
}

const rawDecoder = (name: string, raw: unknown, dropUnknown: boolean): Decoder => {
  try {
    const { decode, names } = RawSchema.compile(raw, { dropUnknown })
    const prepare = ownKeys(names)
    return {
      names,
      sharesInput: true,
      decodesAsIs: false,
      decode: (params) => decode(params === undefined ? {} : prepare(params))
    }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new Error(`The parameters' JSON Schema of the tool "${name}" cannot be used: ${why}`, { cause })
  }
}

/** A tool without parameters; `null`, which some models send for nothing, is nothing too. */
const emptyDecoder = (dropUnknown: boolean): Decoder => {
  const names: ReadonlySet<string> = new Set()
  return {
    names,
    sharesInput: false,
    decodesAsIs: !dropUnknown,
    decode: (params) => {
      if (params === undefined || params === null) return Exit.succeed({})
      const issues = new Issues({ root: "The arguments", noun: "parameter", names })
      if (typeof params !== "object" || Array.isArray(params)) {
        return Exit.fail(issues.type([], "an object", kindOf(params)).toArray())
      }
      if (dropUnknown) return Exit.succeed({})
      for (const [key, value] of Object.entries(params)) issues.unknown([], key, kindOf(value))
      return issues.size === 0 ? Exit.succeed({}) : Exit.fail(issues.toArray())
    }
  }
}

const schemaDecoder = (schema: Schema.Constraint, dropUnknown: boolean): Decoder => {
  const names = namesIn(schema.ast)
  const subject: Subject = { root: "The arguments", noun: "parameter", names }
  const run = parserOf(() => schema, dropUnknown ? "dropped" : "refused")
  const prepare = ownKeys(names)
  return {
    names,
    sharesInput: sharesInput(schema.ast),
    decodesAsIs: !dropUnknown && decodesAsIs(schema.ast),
    decode: (params) => outcome(run(params === undefined ? {} : prepare(params)), subject)
  }
}

/** `Tool.EmptyParams`, or a struct without fields, which by itself takes anything but null. */
const isEmpty = (ast: AST.AST): boolean =>
  AST.isObjects(ast) &&
  ast.encoding === undefined &&
  ast.checks === undefined &&
  ast.propertySignatures.length === 0 &&
  ast.indexSignatures.every((index) => AST.isNever(index.type))

/**
 * Effect reads a property with `in`, so a parameter named `constructor` would be found in every object. Where a schema
 * has such a name, its objects are copied to ones that inherit nothing.
 */
const ownKeys = (names: ReadonlySet<string>): ((params: unknown) => unknown) =>
  inherited.some((name) => names.has(name)) ? disinherit : identity

const inherited = Object.getOwnPropertyNames(Object.prototype)

const disinherit = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(disinherit)
  if (!Predicate.isObject(value) || Object.getPrototypeOf(value) !== Object.prototype) return value
  const copy: Record<string, unknown> = Object.create(null)
  for (const [key, item] of Object.entries(value)) copy[key] = disinherit(item)
  return copy
}

// --- Results ---------------------------------------------------------------

// Effect's JSON codec writes dates, bigints, classes and maps; two kinds of schemas are written as `JSON.stringify` would
// write what they encode to: those that take anything, as a dynamic tool's, of what the codec refuses for not being
// quite JSON, such as a field that is undefined; and those with a `Redacted`, which the codec would lay open.
const encoder = (schema: Schema.Constraint): ((value: unknown) => Outcome<unknown>) => {
  // What a tool without a success schema gives is not looked at.
  if (schema.ast === AST.void) return () => Exit.void
  const subject: Subject = { root: "The result", noun: "field", names: namesIn(schema.ast) }
  const plain = parserOf(() => Schema.flip(schema as Schema.Top), "dropped")
  const loose = (value: unknown): Outcome<unknown> => {
    const encoded = outcome(plain(value), subject)
    if (!isExit(encoded)) return Effect.flatMap(encoded, (encoded) => toJson(encoded, subject))
    return Exit.isSuccess(encoded) ? toJson(encoded.value, subject) : encoded
  }
  // `null`, which is what the codec has for nothing, would read as a value.
  if (AST.isVoid(schema.ast) || AST.isUndefined(schema.ast) || beyondCodec(schema.ast)) return loose
  const codec = Schema.toCodecJson(schema as Schema.Top)
  const strict = quickParser(() => Schema.flip(codec))
  return (value) => {
    const encoded = strict(value)
    if (!isExit(encoded)) return Effect.catch(encoded, () => loose(value))
    return Exit.isSuccess(encoded) ? (encoded as Exit.Exit<unknown>) : loose(value)
  }
}

/** What `encoder` wrote, read back: a result that is kept is given again as it was. */
const reader = (schema: Schema.Constraint): ((encoded: unknown) => Outcome<unknown>) => {
  const subject: Subject = { root: "The result", noun: "field", names: namesIn(schema.ast) }
  const asWritten =
    AST.isVoid(schema.ast) || AST.isUndefined(schema.ast) || beyondCodec(schema.ast)
      ? schema
      : Schema.toCodecJson(schema as Schema.Top)
  const read = parserOf(() => asWritten, "dropped")
  return (encoded) => outcome(read(encoded), subject)
}

/** Whether a value is of a schema. */
const guard = (schema: Schema.Constraint): ((value: unknown) => boolean) => {
  if (AST.isNever(schema.ast)) return () => false
  const is = lazily(() => Schema.is(accelerate(Schema.toType(schema as Schema.Top))))
  return (value) => is()(value)
}

const toJson = (value: unknown, subject: Subject): Exit.Exit<unknown, ReadonlyArray<Issue>> => {
  if (value === undefined) return Exit.void
  try {
    const text = JSON.stringify(value, (_, item) => (typeof item === "bigint" ? item.toString() : item))
    if (text !== undefined) return Exit.succeed(JSON.parse(text))
  } catch {
    // It has a cycle, or its own way to write itself fails.
  }
  return Exit.fail(
    new Issues(subject).say([], "a JSON value", kindOf(value), "cannot be written as JSON").toArray()
  )
}

// --- Outcomes --------------------------------------------------------------

const outcome = (parsed: Effect.Effect<unknown, SchemaIssue.Issue>, subject: Subject): Outcome<unknown> => {
  if (!isExit(parsed)) return Effect.catchCause(parsed, (cause) => refusal(cause, subject))
  return Exit.isSuccess(parsed) ? (parsed as Exit.Exit<unknown>) : refusal(parsed.cause, subject)
}

const refusal = (
  cause: Cause.Cause<SchemaIssue.Issue>,
  subject: Subject
): Exit.Exit<never, ReadonlyArray<Issue>> => {
  const failure = cause.reasons.find(Cause.isFailReason)
  if (failure !== undefined) return Exit.fail(fromSchemaIssue(failure.error, subject))
  // Depth alone can exhaust the stack, in any schema that refers to itself.
  const defect = cause.reasons.find(Cause.isDieReason)?.defect
  return defect instanceof RangeError && defect.message.includes("call stack")
    ? Exit.fail(
        new Issues(subject).say([], "fewer levels", "more", "cannot be read: too many levels").toArray()
      )
    : (Exit.failCause(cause) as Exit.Exit<never>)
}
