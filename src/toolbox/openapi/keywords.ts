/**
 * The keywords of a Schema Object that mean something to whoever calls, and what each must hold. Everything
 * else is left out: OpenAPI's own (`xml`, `discriminator`, `externalDocs`), extensions, and what a keyword of
 * JSON Schema cannot hold, which no server would miss.
 */
import { isRecord, type Json } from "../../internal/jsonSchema/facts.ts"

/** Schemas below a schema: one, several, or several by name. */
export const schemaKeywords: ReadonlyMap<string, "one" | "list" | "named"> = new Map([
  ...(
    [
      ...["items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems", "contains"],
      ...["propertyNames", "not", "if", "then", "else"]
    ] as const
  ).map((key) => [key, "one"] as const),
  ...(["allOf", "anyOf", "oneOf", "prefixItems"] as const).map((key) => [key, "list"] as const),
  ...(["properties", "patternProperties", "dependentSchemas"] as const).map((key) => [key, "named"] as const)
])

const isText = (value: unknown): boolean => typeof value === "string"
const isNumber = (value: unknown): boolean => typeof value === "number" && Number.isFinite(value)
const isCount = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0
const isTrue = (value: unknown): boolean => value === true
const isTexts = (value: unknown): boolean => Array.isArray(value) && value.every(isText)
const isList = (value: unknown): boolean => Array.isArray(value) && value.length > 0
const isAnything = (value: unknown): boolean => value !== undefined
/** An example that is long helps less than it costs. */
const isShort = (value: unknown): boolean => value !== undefined && JSON.stringify(value).length <= 200

/** Keywords that hold no schemas, by what they may hold. */
const valueKeywords: ReadonlyArray<readonly [keyword: string, holds: (value: unknown) => boolean]> = [
  ["title", isText],
  ["format", isText],
  ["contentEncoding", isText],
  ["contentMediaType", isText],
  ["pattern", isText],
  ["enum", isList],
  ["const", isAnything],
  ["default", isShort],
  ["required", isTexts],
  ["dependentRequired", (value) => isRecord(value) && Object.values(value).every(isTexts)],
  ["multipleOf", (value) => isNumber(value) && (value as number) > 0],
  ["minimum", isNumber],
  ["maximum", isNumber],
  ["exclusiveMinimum", isNumber],
  ["exclusiveMaximum", isNumber],
  ["minLength", isCount],
  ["maxLength", isCount],
  ["minItems", isCount],
  ["maxItems", isCount],
  ["minContains", isCount],
  ["maxContains", isCount],
  ["minProperties", isCount],
  ["maxProperties", isCount],
  ["uniqueItems", isTrue],
  ["deprecated", isTrue],
  ["writeOnly", isTrue],
  // What says that a value is a secret, or a host.
  ["x-sensitive", isTrue],
  ["interlock/sensitive", isTrue],
  ["interlock/host", isTrue]
]

/** The entries of a Schema Object that are kept as they are. */
export const values = (node: Json): Array<[string, unknown]> =>
  valueKeywords
    .filter(([keyword, holds]) => Object.hasOwn(node, keyword) && holds(node[keyword]))
    .map(([keyword]) => [exclusiveBound(node, keyword), node[keyword]])

/** Its `example` or `examples`, as JSON Schema has them: one that is short. */
export const example = (node: Json): ReadonlyArray<unknown> | undefined => {
  const first = Array.isArray(node["examples"]) ? node["examples"][0] : undefined
  const found = [node["example"], first].find((value) => value !== undefined)
  return isShort(found) ? [found] : undefined
}

const exclusive: Readonly<Record<string, string>> = {
  minimum: "exclusiveMinimum",
  maximum: "exclusiveMaximum"
}

/**
 * A bound that OpenAPI 3.0 makes exclusive by a flag beside it. Some of its documents have a number there all
 * the same.
 */
const exclusiveBound = (node: Json, keyword: string): string => {
  const flag = Object.hasOwn(exclusive, keyword) ? exclusive[keyword]! : keyword
  return flag !== keyword && node[flag] === true ? flag : keyword
}
