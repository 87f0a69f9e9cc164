/**
 * A tool as an MCP client finds it in a list. Hints say only what the tool says
 * of itself, and its schema what governance will hold a call to.
 */
import * as McpSchema from "effect/ai/McpSchema"
import * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import type * as JsonSchema from "effect/JsonSchema"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import { beyondCodec } from "../../internal/schemaFacts.ts"
import { type ToolFacts, UnknownParams } from "../../ToolAnnotations.ts"
import { Icons, PassesContent } from "../Content.ts"

/** Throws an `Error` that names the tool where its parameters are no object. */
export const listingOf = (facts: ToolFacts): McpSchema.Tool => {
  const { tool } = facts
  const title = annotationOf(tool, Tool.Title)
  const icons = annotationOf(tool, Icons)
  return new McpSchema.Tool({
    name: facts.name,
    title,
    description: facts.description,
    inputSchema: inputOf(tool),
    outputSchema: outputOf(tool),
    annotations: hintsOf(facts, title),
    icons: icons?.map((icon) => new McpSchema.Icon(icon)),
    _meta: annotationOf(tool, Tool.Meta)
  })
}

export const annotationOf = <I, S>(tool: Tool.Any, key: Context.Key<I, S>): S | undefined =>
  Context.getOrUndefined(tool.annotations as Context.Context<never>, key)

/** Nothing where the tool says nothing: any hint at all is sent together with MCP's defaults for the others. */
const hintsOf = (facts: ToolFacts, title: string | undefined): McpSchema.Tool["annotations"] => {
  const hints = defined({
    readOnlyHint: facts.readonly,
    // What only reads destroys nothing; without a word of ours Effect would say that it does.
    destructiveHint: facts.readonly === true ? false : facts.destructive,
    idempotentHint: facts.idempotent,
    openWorldHint: facts.openWorld
  })
  return Object.keys(hints).length === 0
    ? undefined
    : McpSchema.ToolAnnotations.make({ ...hints, ...defined({ title }) })
}

type Defined<A> = { readonly [K in keyof A]?: Exclude<A[K], undefined> }

const defined = <A extends object>(values: A): Defined<A> =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Defined<A>

// --- Schemas ---------------------------------------------------------------

const inputOf = (tool: Tool.Any): McpSchema.ToolJson => {
  const raw = Tool.isDynamic(tool) ? tool.jsonSchema : undefined
  // Parameters that the schema does not name are refused: a client may as well know.
  const unknown = annotationOf(tool, UnknownParams) === "allow" ? "ignore" : "error"
  const schema = withObjectRoot(raw ?? jsonSchemaOf(tool.parametersSchema, unknown))
  if (schema === undefined) {
    throw new Error(`The tool "${tool.name}" cannot be listed over MCP: its parameters are no object`)
  }
  return schema
}

/** What a client may rely on: nothing where the encoded result is not all that its schema says. */
const outputOf = (tool: Tool.Any): JsonSchema.JsonSchema | undefined => {
  const passes = annotationOf(tool, PassesContent)
  if (passes !== undefined) return passes.outputSchema
  const { ast } = tool.successSchema
  if (AST.isVoid(ast) || AST.isUndefined(ast) || beyondCodec(ast)) return undefined
  try {
    const schema = jsonSchemaOf(tool.successSchema, "ignore")
    return Object.keys(schema).length === 0 ? undefined : schema
  } catch {
    // JSON Schema has no words for it.
    return undefined
  }
}

const jsonSchemaOf = (schema: Schema.Constraint, onExcessProperty: "error" | "ignore") => {
  const { definitions, schema: root } = Schema.toJsonSchemaDocument(schema, { onExcessProperty })
  const named = typeof root.$ref === "string" ? definitions[root.$ref.replace("#/$defs/", "")] : undefined
  const whole = named ?? root
  return Object.keys(definitions).length === 0 ? whole : { ...whole, $defs: definitions }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** MCP wants an object at the root: what is nothing else, or one of several, says so. */
const withObjectRoot = (schema: JsonSchema.JsonSchema): McpSchema.ToolJson | undefined => {
  if (schema.type === "object") return schema as McpSchema.ToolJson
  if (schema.type !== undefined) return undefined
  // A struct without fields is to JSON Schema whatever is not null.
  if (isObject(schema.not) && schema.not.type === "null") {
    return { type: "object", additionalProperties: false }
  }
  const { allOf, anyOf, oneOf } = schema
  const branches = [anyOf, oneOf, allOf].find(Array.isArray)
  return branches?.every((branch) => isObject(branch) && (branch.type === "object" || "$ref" in branch))
    ? { ...schema, type: "object" }
    : undefined
}
