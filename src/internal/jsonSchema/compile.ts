/**
 * Raw JSON Schemas, as dynamic tools carry them, compiled to a validator.
 *
 * Effect's own import is tried first; where it refuses, `@cfworker/json-schema`
 * validates. Both speak the same way and accept the same things, but for one:
 * an integer beyond 2^53 is refused by the first. The arguments are handed on
 * as they came, not copied.
 *
 * - `$schema` says the draft: 4, 6, 7, 2019-09 or 2020-12, which is the default.
 * - The schema's own word on unknown parameters wins. A schema that names
 *   parameters at its root and says nothing about others refuses them there;
 *   one that names none takes any. Below the root JSON Schema's rule holds.
 * - `format` is a comment, as JSON Schema 2020-12 has it by default.
 * - A foreign `pattern` can take exponential time. None is run while a string
 *   that it might meet is longer than `maxPatternInput`; such a call is refused.
 *   That bounds polynomial patterns only: a hostile one hangs on forty
 *   characters, so schemas must come from servers that are trusted that far.
 */
import { dereference, type Schema as RawSchema, type SchemaDraft, validate } from "@cfworker/json-schema"
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as JsonSchema from "effect/JsonSchema"
import type * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaRepresentation from "effect/SchemaRepresentation"
import type { Issue } from "../../ToolError.ts"
import { Issues, kindOf, type Path, type Subject } from "../issues.ts"
import { addSchemaIssue } from "../schemaIssues.ts"
import { parserOf } from "../schemaParser.ts"
import { draftOf, type Facts, isRecord, type Json, rootNames, survey } from "./facts.ts"
import { addUnits } from "./issues.ts"

/** No pattern is run while a string that it might meet has more UTF-16 code units than this. */
export const maxPatternInput = 4096

const maxDepth = 200

export interface Compiled {
  /** Which way validates. */
  readonly by: "effect" | "cfworker"
  /** Every property name that the schema uses, at any depth. */
  readonly names: ReadonlySet<string>
  readonly decode: (params: unknown) => Exit.Exit<unknown, ReadonlyArray<Issue>>
}

export interface Options {
  /** Drop parameters that the schema says nothing about, instead of refusing them. */
  readonly dropUnknown?: boolean
  /** Do without Effect's import. */
  readonly by?: "cfworker"
}

/** Compiles a raw JSON Schema; throws an `Error` that says why when it cannot be used. */
export const compile = (raw: unknown, options: Options = {}): Compiled => {
  if (!isRecord(raw)) throw new Error(`a JSON Schema must be an object, found ${kindOf(raw)}`)
  // A copy, because validating marks the schema, and `format` is taken out of it; as JSON, so that no part is shared.
  const schema = JSON.parse(JSON.stringify(raw)) as Json
  const draft = draftOf(schema)
  const facts = survey(schema)
  const imported = options.by === "cfworker" ? undefined : importSchema(schema, draft, facts)
  const subject: Subject = { root: "The arguments", noun: "parameter", names: facts.names }
  const check = imported ?? fallback(schema, draft, facts)
  const known = rootNames(schema)
  const objectsOnly = schema["type"] === undefined || [schema["type"]].flat().includes("object")

  const inspects = imported === undefined || facts.patterns

  const decode = (given: unknown): Exit.Exit<unknown, ReadonlyArray<Issue>> => {
    let params = given
    if (objectsOnly && !isRecord(params)) {
      return Exit.fail(new Issues(subject).type([], "an object", kindOf(params)).toArray())
    }
    // Nearly every call fits, and then there is nothing to collect.
    let issues = inspects ? inspect(new Issues(subject), facts, params) : undefined
    if (issues === undefined || issues.size === 0) {
      try {
        const tell = check(params)
        if (tell !== undefined) {
          issues ??= new Issues(subject)
          tell(issues)
        }
      } catch {
        // Hostile keys and depths can make a validator throw; what was not checked is not let in.
        issues ??= new Issues(subject)
        const says = "cannot be checked against the tool's schema"
        issues.say([], "arguments that can be checked", "value", says)
      }
    }
    if (known !== undefined && isRecord(params)) {
      const unknown = unknownKeys(params, known)
      if (unknown.length > 0 && options.dropUnknown) {
        params = Object.fromEntries(Object.entries(params).filter(([key]) => known.has(key)))
      } else if (unknown.length > 0) {
        issues ??= new Issues(subject)
        for (const key of unknown) issues.unknown([], key, kindOf((params as Json)[key]), known)
      }
    }
    return issues === undefined || issues.size === 0 ? Exit.succeed(params) : Exit.fail(issues.toArray())
  }

  return { by: imported === undefined ? "cfworker" : "effect", names: facts.names, decode }
}

/** Says what is wrong with arguments; `undefined` where they fit. */
type Check = (params: unknown) => ((issues: Issues) => unknown) | undefined

const noKeys: ReadonlyArray<string> = []

const unknownKeys = (params: Json, known: ReadonlySet<string>): ReadonlyArray<string> => {
  for (const key in params) {
    if (!known.has(key)) return Object.keys(params).filter((key) => !known.has(key))
  }
  return noKeys
}

// --- The two ways ----------------------------------------------------------

/** Effect's import; `undefined` where it refuses, or where it would leave a keyword of another draft unheard. */
const importSchema = (schema: Json, draft: SchemaDraft, facts: Facts): Check | undefined => {
  if (draft === "4" || draft === "2019-09" || (draft === "2020-12" && facts.legacy)) return undefined
  let imported: ReturnType<typeof SchemaRepresentation.fromJsonSchemaDocument>
  try {
    imported = SchemaRepresentation.fromJsonSchemaDocument(
      draft === "7" ? JsonSchema.fromSchemaDraft07(schema) : JsonSchema.fromSchemaDraft2020_12(schema),
      { patterns: "apply" }
    )
  } catch {
    return undefined
  }
  const parse = parserOf(() => imported, "refused")
  return (params) => {
    // No part of an imported schema waits for anything.
    const exit = parse(params) as Exit.Exit<unknown, SchemaIssue.Issue>
    if (Exit.isSuccess(exit)) return undefined
    const failure = exit.cause.reasons.find(Cause.isFailReason)
    if (failure === undefined) throw Cause.squash(exit.cause)
    return (issues) => addSchemaIssue(issues, failure.error)
  }
}

const fallback = (schema: Json, draft: SchemaDraft, facts: Facts): Check => {
  const lookup = dereference(schema as RawSchema)
  for (const node of facts.refs) {
    const target = (node as RawSchema).__absolute_ref__ ?? (node["$ref"] as string)
    if (lookup[target] === undefined) throw new Error(`$ref ${JSON.stringify(node["$ref"])} leads nowhere`)
  }
  const run = (params: unknown) => validate(params, schema as RawSchema, draft, lookup, false)
  // A schema that refers to itself without end, or holds a broken pattern, says so here and not in a call.
  run({})
  return (params) => {
    const { valid, errors } = run(params)
    return valid ? undefined : (issues) => addUnits(issues, errors, schema, lookup, params)
  }
}

/** Depth, numbers that JSON does not have, and strings too long for the schema's patterns. */
const inspect = (issues: Issues, facts: Facts, params: unknown): Issues => {
  const walk = (value: unknown, path: Path, name: string): void => {
    switch (typeof value) {
      case "string":
        if (value.length > maxPatternInput && facts.meetsPattern(name)) {
          issues.must(
            path,
            `be at most ${maxPatternInput} characters long, because a pattern is run on it`,
            "string"
          )
        }
        return
      case "boolean":
        return
      case "number":
        if (!Number.isFinite(value)) issues.must(path, "be a finite number", kindOf(value), true)
        return
      case "object":
        break
      default:
        issues.type(path, "a JSON value", kindOf(value))
        return
    }
    if (value === null) return
    if (path.length > maxDepth) {
      issues.say([], `at most ${maxDepth} levels`, "more", "are nested too deeply")
      return
    }
    if (Array.isArray(value)) {
      value.forEach((item, index) => {
        walk(item, [...path, index], name)
      })
      return
    }
    for (const [key, item] of Object.entries(value)) {
      if (key.length > maxPatternInput && facts.patterns) {
        issues.must(path, `have no property name longer than ${maxPatternInput} characters`, "object")
      }
      walk(item, [...path, facts.names.has(key) ? key : "*"], key)
    }
  }
  walk(params, [], "")
  return issues
}
