/**
 * Schemas that refer to others, put together: what is referred to once, or is short, is put in its place, and
 * the rest stays in `$defs`.
 */
import { isRecord, type Json } from "../../internal/jsonSchema/facts.ts"
import { Unusable } from "./document.ts"
import * as Keywords from "./keywords.ts"

/** What is put in its place nests at most so deep; below, references stay. */
const maxInlined = 30

/** A schema as it is written into another one. */
export type Schema = Json | boolean

/** Stands for a schema elsewhere until it is known how often it is referred to. */
export class Reference {
  readonly name: string
  /** Where the schema stands in the document. */
  readonly pointer: string
  readonly beside: Json

  constructor(name: string, pointer: string, beside: Json) {
    this.name = name
    this.pointer = pointer
    this.beside = beside
  }
}

/** A schema with other annotations. */
export const annotate = (schema: Schema, annotations: Json): Schema => {
  if (schema === false || Object.keys(annotations).length === 0) return schema
  if (schema === true) return annotations
  return schema instanceof Reference
    ? (new Reference(schema.name, schema.pointer, { ...schema.beside, ...annotations }) as unknown as Schema)
    : { ...schema, ...annotations }
}

/** Keywords that say nothing of values. */
export const annotations: ReadonlySet<string> = new Set([
  "title",
  "description",
  "default",
  "examples",
  "deprecated"
])

/** A schema with everything that it refers to; throws `Unusable`. */
export const finish = (schema: Json, definitions: ReadonlyMap<string, Schema | Reference>): Json => {
  refuseEndless(definitions)
  const counts = countOf(schema, definitions)
  const kept = new Map<string, unknown>()
  const waiting: Array<string> = []

  const render = (value: unknown, depth: number): unknown => {
    if (value instanceof Reference) return place(value, depth)
    if (Array.isArray(value)) return value.map((item) => render(item, depth))
    if (typeof value !== "object" || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, render(item, depth)]))
  }

  const place = ({ beside, name }: Reference, depth: number): unknown => {
    const definition = definitions.get(name)
    const once = counts.get(name) === 1 || isLeaf(definition)
    if (
      once &&
      depth < maxInlined &&
      isRecord(definition) &&
      Object.keys(beside).every((key) => annotations.has(key))
    ) {
      return { ...(render(definition, depth + 1) as Json), ...beside }
    }
    if (!kept.has(name)) {
      kept.set(name, undefined)
      waiting.push(name)
    }
    return { $ref: `#/$defs/${name}`, ...(render(beside, depth) as Json) }
  }

  const root = render(schema, 0) as Json
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    kept.set(name, render(definitions.get(name), 0))
  }
  return kept.size === 0 ? root : { ...root, $defs: Object.fromEntries(kept) }
}

/**
 * How often each definition is referred to. Without recursion: a chain of references can be as long as there
 * are parts.
 */
const countOf = (
  schema: Json,
  definitions: ReadonlyMap<string, Schema | Reference>
): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>()
  const stack: Array<unknown> = [schema]
  while (stack.length > 0) {
    const value = stack.pop()
    if (value instanceof Reference) {
      const before = counts.get(value.name) ?? 0
      counts.set(value.name, before + 1)
      if (before === 0) stack.push(definitions.get(value.name))
      stack.push(value.beside)
    } else if (typeof value === "object" && value !== null) stack.push(...Object.values(value))
  }
  return counts
}

/** A schema that describes a value by itself describes nothing, and a validator would not come to an end. */
const refuseEndless = (definitions: ReadonlyMap<string, Schema | Reference>): void => {
  const above = new Map<string, number>()
  const below = new Map(
    Array.from(definitions, ([name, definition]) => [name, ofSameValue(definition)] as const)
  )
  for (const references of below.values()) {
    for (const { name } of references) above.set(name, (above.get(name) ?? 0) + 1)
  }
  const free = [...below.keys()].filter((name) => !above.has(name))
  for (let name = free.pop(); name !== undefined; name = free.pop()) {
    for (const reference of below.get(name) ?? []) {
      const left = above.get(reference.name)! - 1
      if (left === 0) above.delete(reference.name)
      else above.set(reference.name, left)
      if (left === 0) free.push(reference.name)
    }
  }
  const endless = [...below.values()].flat().find(({ name }) => above.has(name))
  if (endless !== undefined) throw new Unusable(endless.pointer, "refers to itself without end")
}

const sameValue = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"]

/** The references in a schema that are about its own value, and not about a part of it. */
const ofSameValue = (schema: unknown): ReadonlyArray<Reference> => {
  if (schema instanceof Reference) return [schema, ...ofSameValue(schema.beside)]
  if (Array.isArray(schema)) return schema.flatMap(ofSameValue)
  if (!isRecord(schema)) return []
  const dependent = isRecord(schema["dependentSchemas"]) ? Object.values(schema["dependentSchemas"]) : []
  return [...sameValue.map((keyword) => schema[keyword]), ...dependent].flatMap(ofSameValue)
}

/** It holds no other schema, so it may be repeated. */
const isLeaf = (schema: unknown): boolean =>
  isRecord(schema) && !Object.keys(schema).some((key) => Keywords.schemaKeywords.has(key))
