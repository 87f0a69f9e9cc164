/** Schemas of functions: Effect's in code, JSON Schema in data. */
import * as Effect from "effect/Effect"
import type * as JsonSchema from "effect/JsonSchema"
import * as Schema from "effect/Schema"
import * as RawSchema from "../../internal/jsonSchema/compile.ts"

/** An Effect schema, or a JSON Schema. */
export type AnySchema = Schema.Top | JsonSchema.JsonSchema

/** The Effect schema that stands for it: of JSON Schemas nothing is known when the program is compiled. */
export type EffectSchema<S extends AnySchema> = S extends Schema.Top ? S : typeof Schema.Unknown

/** A success schema. Throws an `Error` that says why a JSON Schema cannot be used. */
export const success = <S extends AnySchema>(schema: S): EffectSchema<S> =>
  (Schema.isSchema(schema) ? schema : fromJson(schema as JsonSchema.JsonSchema)) as EffectSchema<S>

/** Values that a JSON Schema describes; what it says nothing about may be there. */
const fromJson = (json: JsonSchema.JsonSchema): Schema.Top => {
  const { $defs, $schema, definitions, ...rest } = json
  // Raw schemas are compiled for arguments, which are objects: a result may be anything, so it is a property of one.
  const { decode } = RawSchema.compile(
    {
      ...($schema === undefined ? {} : { $schema }),
      ...($defs === undefined ? {} : { $defs }),
      ...(definitions === undefined ? {} : { definitions }),
      type: "object",
      properties: { result: rest }
    },
    { dropUnknown: true }
  )
  return Schema.Json.check(
    Schema.makeFilter(
      (result) => {
        const decoded = decode({ result })
        if (decoded._tag === "Success") return undefined
        const issues = decoded.cause.reasons.flatMap((reason) => (reason._tag === "Fail" ? reason.error : []))
        return issues.map(({ message, path }) => ({ path: path.slice(1), issue: message }))
      },
      { toJsonSchema: () => json }
    )
  )
}

/** Parameters as JSON, as a function's event holds them. */
export const encodeJson = (
  schema: AnySchema
): ((params: unknown) => Effect.Effect<unknown, Schema.SchemaError>) =>
  Schema.isSchema(schema) ? (Schema.encodeUnknownEffect(Schema.toCodecJson(schema)) as never) : Effect.succeed

/** Parameters as a caller gives them. */
export const encodeSync = (schema: AnySchema): ((params: unknown) => unknown) =>
  Schema.isSchema(schema)
    ? Schema.encodeUnknownSync(schema as unknown as Schema.ConstraintEncoder<unknown>)
    : (params) => params

/** A result out of JSON. */
export const decodeJson = (
  schema: Schema.Top
): ((result: unknown) => Effect.Effect<unknown, Schema.SchemaError>) =>
  Schema.decodeUnknownEffect(Schema.toCodecJson(schema)) as never
