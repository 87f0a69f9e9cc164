/**
 * What another server says of its tools, read as data that anyone may have
 * written: each tool is taken or left by itself, and one that is left never
 * takes the others with it.
 *
 * Left out are: names that are none in MCP or that every object has, a name said
 * twice, definitions that are too large or too deep, schemas that cannot be
 * checked here, text with hidden or reordering characters, and tools that run
 * only as tasks. Text that speaks to a model is taken, and said to be so: see
 * `drift.ts` for what that comes to.
 *
 * What is kept of a definition is what a model or a human gets to see, and
 * nothing else: metadata, icons and whatever else a server adds may change
 * without anybody being asked.
 */
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as ArgumentLimits from "../../internal/argumentLimits.ts"
import { digest } from "../../internal/digest.ts"
import * as RawSchema from "../../internal/jsonSchema/compile.ts"
import { plain } from "../../internal/plainText.ts"
import * as Characters from "../../internal/screening/characters.ts"
import { mayHang } from "./patterns.ts"
import * as Poison from "./poison.ts"

// --- Models ----------------------------------------------------------------

const JsonObject = Schema.Record(Schema.String, Schema.Json)

/** What a server claims of a tool (MCP, `ToolAnnotations`). */
export const Claims = Schema.Struct({
  title: Schema.optionalKey(Schema.String),
  readOnlyHint: Schema.optionalKey(Schema.Boolean),
  destructiveHint: Schema.optionalKey(Schema.Boolean),
  idempotentHint: Schema.optionalKey(Schema.Boolean),
  openWorldHint: Schema.optionalKey(Schema.Boolean)
})
export type Claims = typeof Claims.Type

/** A tool as its server defines it. */
export const Definition = Schema.Struct({
  name: Schema.String,
  title: Schema.optionalKey(Schema.String),
  description: Schema.optionalKey(Schema.String),
  inputSchema: JsonObject,
  outputSchema: Schema.optionalKey(JsonObject),
  annotations: Schema.optionalKey(Claims)
})
export type Definition = typeof Definition.Type

/** A definition that can be used. */
export interface Tool {
  readonly definition: Definition
  readonly digest: string
  /** What of its text speaks to a model. */
  readonly findings: ReadonlyArray<string>
}

/** A tool that is left out, and why. */
export interface Skipped {
  readonly tool: string
  readonly why: string
}

export interface Listing {
  readonly tools: ReadonlyMap<string, Tool>
  readonly skipped: ReadonlyArray<Skipped>
  /** What each text that was read has come to: reading the same again costs nothing. */
  readonly known: ReadonlyMap<string, Tool | Skipped>
}

export const empty: Listing = { tools: new Map(), skipped: [], known: new Map() }

// --- Limits ----------------------------------------------------------------

/** Of one server. */
export const maxTools = 1000

const limits: ArgumentLimits.ArgumentLimits = {
  bytes: 131_072,
  depth: 64,
  stringLength: 65_536,
  items: 10_000
}

const exceeds: { readonly [Limit in ArgumentLimits.Refusal["limit"]]: string } = {
  bytes: `is larger than ${limits.bytes} bytes`,
  depth: `is nested deeper than ${limits.depth} levels`,
  stringLength: `has a text longer than ${limits.stringLength} characters`,
  items: `has more than ${limits.items} parts`,
  json: "is not plain JSON"
}

/** Names as MCP has them (2025-11-25, Tools, "Tool Names"). */
const name = /^[A-Za-z0-9_.\-/]{1,128}$/

// --- Reading ---------------------------------------------------------------

/** Reads a list of tools; what stood in the one before as it does now is not read again. */
export const read = (raw: ReadonlyArray<unknown>, before: Listing = empty): Listing => {
  const known = new Map<string, Tool | Skipped>()
  const tools = new Map<string, Tool>()
  const skipped: Array<Skipped> = []
  const twice = new Set<string>()
  const own = new Set(raw.map(nameOf))
  for (const each of raw.slice(0, maxTools)) {
    const text = JSON.stringify(each)
    const found = before.known.get(text) ?? readOne(each, own)
    known.set(text, found)
    if ("why" in found) skipped.push(found)
    else if (tools.has(found.definition.name)) twice.add(found.definition.name)
    else tools.set(found.definition.name, found)
  }
  for (const tool of twice) {
    // Nobody can tell which of them a call would reach.
    tools.delete(tool)
    skipped.push({ tool, why: "it is listed more than once" })
  }
  if (raw.length > maxTools) {
    skipped.push({ tool: `${raw.length - maxTools} more`, why: `a server may have ${maxTools} tools` })
  }
  return { tools, skipped, known }
}

/** Reads one tool, which may name its server's `own` tools. Never throws. */
export const readOne = (raw: unknown, own: ReadonlySet<string> = new Set()): Tool | Skipped => {
  const tool = nameOf(raw)
  const why = (why: string): Skipped => ({ tool, why })
  const measured = ArgumentLimits.inspect(raw, limits)
  if (measured._tag !== "Ok") return why(`its definition ${exceeds[measured.limit]}`)
  const decoded = decode(measured.copy)
  if (decoded._tag === "None") return why("its definition is not one of a tool")
  const definition = decoded.value
  if (!name.test(definition.name)) return why("its name is none that MCP allows")
  if (definition.name in Object.prototype) return why("every object has something of its name")
  if (requiresTask(raw)) return why("it runs only as a task, which is not supported")
  const hidden = hiddenIn(definition)
  if (hidden !== undefined) return why(`its definition holds ${hidden}`)
  const { inputSchema, outputSchema } = definition
  if (inputSchema["type"] !== undefined && inputSchema["type"] !== "object") {
    return why("the schema of its parameters is not of an object")
  }
  const problem =
    problemOf("parameters", () => RawSchema.compile(parametersOf(definition))) ??
    (outputSchema === undefined ? undefined : problemOf("result", () => fits(outputSchema)))
  if (problem !== undefined) return why(problem)
  return { definition, digest: digest(definition), findings: poisonIn(definition, own) }
}

const decodeDefinition = Schema.decodeUnknownOption(Definition)

const decode = (raw: unknown) => decodeDefinition(withoutNulls(raw))

/** A null is said by some for what is not there. */
export const withoutNulls = (raw: unknown): unknown =>
  raw !== null && typeof raw === "object" && !Array.isArray(raw)
    ? Object.fromEntries(Object.entries(raw).filter(([, value]) => value !== null))
    : raw

const nameOf = (raw: unknown): string => {
  const said = raw !== null && typeof raw === "object" && "name" in raw ? raw.name : undefined
  // Whatever is shown of it is shown to people.
  return typeof said === "string" && said !== ""
    ? said.slice(0, 128).replace(/[^\x20-\x7e]/g, "?")
    : "unnamed"
}

const requiresTask = (raw: unknown): boolean => {
  const { execution } = raw as { readonly execution?: { readonly taskSupport?: unknown } | null }
  return typeof execution === "object" && execution?.taskSupport === "required"
}

/** Why a schema cannot be checked; the sentence may hold words of the server's, and is cut. */
const problemOf = (of: "parameters" | "result", compile: () => unknown): string | undefined => {
  try {
    compile()
    return undefined
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return `the schema of its ${of} cannot be used: ${plain(why).slice(0, 200)}`
  }
}

// --- Text ------------------------------------------------------------------

const kinds = {
  control: "a control character",
  bidi: "a character that reorders text",
  invisible: "an invisible character"
} as const

/** What of all the text in a value, names of fields included, is hidden or shown otherwise than it is. */
export const hiddenIn = (value: unknown): string | undefined => {
  for (const text of textsOf(value)) {
    const hits = Characters.find(text)
    for (const rule of ["control", "bidi", "invisible"] as const) {
      const code = hits[rule]
      if (code !== undefined) return `${kinds[rule]} (${Characters.name(code)})`
    }
  }
  return undefined
}

/** What of all its text speaks to a model. */
const poisonIn = (value: unknown, own: ReadonlySet<string>): ReadonlyArray<string> => {
  const signs = new Set<string>()
  for (const text of textsOf(value)) for (const sign of Poison.find(text, own)) signs.add(sign)
  return [...signs]
}

function* textsOf(value: unknown): Generator<string> {
  if (typeof value === "string") yield value
  else if (Array.isArray(value)) for (const item of value) yield* textsOf(item)
  else if (value !== null && typeof value === "object") {
    for (const [key, item] of Object.entries(value)) {
      yield key
      yield* textsOf(item)
    }
  }
}

// --- Schemas ---------------------------------------------------------------

type JsonSchema = Definition["inputSchema"]

/**
 * The parameters' schema as it is shown and checked here: of an object, and without patterns that could take for ever.
 * The server checks those itself; a model still sees them, as `x-pattern`.
 */
export const parametersOf = ({ inputSchema }: Definition): JsonSchema => ({
  type: "object",
  ...(without(mayHang, inputSchema) as JsonSchema)
})

/**
 * Whether structured content fits the schema that its tool has promised. Patterns are left out: what they would be run
 * on is foreign, too, and may be long. Throws where the schema cannot be used.
 */
export const fits = (outputSchema: JsonSchema): ((structured: unknown) => boolean) => {
  const schema = without(() => true, outputSchema) as JsonSchema
  if (schema["type"] === "object") {
    const { decode } = RawSchema.compile(schema, { dropUnknown: true })
    return (structured) => Exit.isSuccess(decode(structured))
  }
  // What checks schemas checks objects. Definitions stay where references find them.
  const { $defs, $schema, definitions, ...inner } = schema
  const { decode } = RawSchema.compile({
    ...($schema === undefined ? {} : { $schema }),
    ...($defs === undefined ? {} : { $defs }),
    ...(definitions === undefined ? {} : { definitions }),
    type: "object",
    properties: { value: inner },
    required: ["value"]
  })
  return (structured) => Exit.isSuccess(decode({ value: structured }))
}

const without = (isLeftOut: (pattern: string) => boolean, value: unknown): unknown => {
  if (Array.isArray(value)) return value.map((item) => without(isLeftOut, item))
  if (value === null || typeof value !== "object") return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) =>
      isPattern(key, item, isLeftOut) ? [`x-${key}`, item] : [key, without(isLeftOut, item)]
    )
  )
}

const isPattern = (key: string, item: unknown, isLeftOut: (pattern: string) => boolean): boolean => {
  if (key === "pattern") return typeof item === "string" && isLeftOut(item)
  return (
    key === "patternProperties" &&
    item !== null &&
    typeof item === "object" &&
    Object.keys(item).some(isLeftOut)
  )
}
