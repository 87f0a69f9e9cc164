/**
 * What a raw JSON Schema says that its validators do not tell: the names it
 * uses, where its patterns may be run, and whether its root is closed.
 */
import type { SchemaDraft } from "@cfworker/json-schema"

export type Json = Readonly<Record<string, unknown>>

/** The draft that `$schema` says; 2020-12 where it says none. Draft 6 is read as 7. */
export const draftOf = (schema: Json): SchemaDraft => {
  const said = typeof schema["$schema"] === "string" ? schema["$schema"] : ""
  if (/draft-0?4/.test(said)) return "4"
  if (/draft-0?[67]/.test(said)) return "7"
  return said.includes("2019-09") ? "2019-09" : "2020-12"
}

export interface Facts {
  readonly names: ReadonlySet<string>
  /** Whether there is any pattern. */
  readonly patterns: boolean
  /** Whether a string under this property name might meet one. */
  readonly meetsPattern: (name: string) => boolean
  /** Keywords that 2020-12 no longer has, and whoever writes them still means. */
  readonly legacy: boolean
  /** The schemas that refer to another. */
  readonly refs: ReadonlyArray<Json>
}

const one = ["not", "if", "then", "else", "contains", "items", "additionalItems", "unevaluatedItems"]
const oneAnyName = ["additionalProperties", "unevaluatedProperties"]
const lists = ["allOf", "anyOf", "oneOf", "prefixItems", "items"]
const maps = ["$defs", "definitions", "dependentSchemas", "dependencies"]
const types = new Set(["array", "boolean", "integer", "null", "number", "object", "string"])

/** The nearest property around a schema; none, or `null` where only names are looked at. */
type Under = string | null | undefined

/** Reads a schema once, takes `format` out of it, and refuses what no validator here would honour. */
export const survey = (root: Json): Facts => {
  const names = new Set<string>()
  const refs: Array<Json> = []
  const targets = new Set<string>()
  // Patterns by the nearest property that holds them; `anywhere` where there is none.
  const patterned = new Set<string>()
  let patterns = false
  let anywhere = false
  let legacy = false

  const pattern = (source: unknown, property: Under): void => {
    new RegExp(String(source), "u")
    patterns = true
    if (property === undefined) anywhere = true
    else if (property !== null) patterned.add(property)
  }

  const visit = (node: unknown, property: Under): void => {
    if (!isRecord(node)) return
    delete (node as Record<string, unknown>)["format"]
    if (node["$dynamicRef"] !== undefined) throw new Error("$dynamicRef is not supported")
    for (const type of [node["type"] ?? []].flat()) {
      if (!types.has(type as string)) throw new Error(`${JSON.stringify(type)} is not a type of JSON Schema`)
    }
    if (node["$ref"] !== undefined) {
      refs.push(node)
      refuseCircle(root, node)
      // A reference into the middle of a schema puts what is there under another name.
      const target = String(node["$ref"])
      if (!/^#(\/(\$defs|definitions)\/[^/]+)?$/.test(target) && !targets.has(target)) {
        targets.add(target)
        anywhere = true
        visit(pointerOf(root, target), undefined)
      }
    }
    if (node["$recursiveRef"] !== undefined) legacy = true
    if (
      node["dependencies"] !== undefined ||
      node["additionalItems"] !== undefined ||
      Array.isArray(node["items"])
    ) {
      legacy = true
    }
    if (node["pattern"] !== undefined) pattern(node["pattern"], property)
    for (const key of stringsOf(node["required"])) names.add(key)
    for (const dependents of valuesOf(node["dependentRequired"]))
      for (const key of stringsOf(dependents)) names.add(key)
    for (const key of one) visit(node[key], property)
    for (const key of oneAnyName) visit(node[key], undefined)
    visit(node["propertyNames"], null)
    for (const key of lists) if (Array.isArray(node[key])) for (const item of node[key]) visit(item, property)
    for (const key of maps) {
      // What a definition holds is met under the names of those who refer to it.
      const under = key === "dependentSchemas" || key === "dependencies" ? property : undefined
      for (const item of valuesOf(node[key])) visit(item, under)
    }
    for (const [key, item] of entriesOf(node["properties"])) {
      names.add(key)
      visit(item, key)
    }
    for (const [source, item] of entriesOf(node["patternProperties"])) {
      pattern(source, null)
      visit(item, undefined)
    }
  }
  visit(root, undefined)
  return {
    names,
    patterns,
    legacy,
    refs,
    meetsPattern: (name) => patterns && (anywhere || patterned.has(name))
  }
}

/** A chain of references that never comes to a schema would be followed without end. */
const refuseCircle = (root: Json, start: Json): void => {
  const seen = new Set<unknown>()
  for (let node: unknown = start; isRecord(node) && typeof node["$ref"] === "string"; ) {
    if (seen.has(node)) throw new Error(`$ref ${JSON.stringify(start["$ref"])} leads in a circle`)
    seen.add(node)
    node = pointerOf(root, node["$ref"])
  }
}

/** The parameters that the root names; `undefined` where the schema itself rules on others, or names none. */
export const rootNames = (root: Json): ReadonlySet<string> | undefined => {
  const names = new Set<string>()
  const seen = new Set<unknown>()
  let named = false
  let ruled = false
  const visit = (node: unknown): void => {
    if (!isRecord(node) || seen.has(node)) return
    seen.add(node)
    if (
      ["additionalProperties", "patternProperties", "unevaluatedProperties"].some(
        (key) => node[key] !== undefined
      )
    ) {
      ruled = true
    }
    if (isRecord(node["properties"])) {
      named = true
      for (const key of Object.keys(node["properties"])) names.add(key)
    }
    for (const key of stringsOf(node["required"])) names.add(key)
    for (const [key, dependents] of [
      ...entriesOf(node["dependentRequired"]),
      ...entriesOf(node["dependencies"])
    ]) {
      names.add(key)
      for (const dependent of stringsOf(dependents)) names.add(dependent)
    }
    for (const key of ["allOf", "anyOf", "oneOf"]) if (Array.isArray(node[key])) node[key].forEach(visit)
    for (const key of ["if", "then", "else"]) visit(node[key])
    for (const key of ["dependentSchemas", "dependencies"]) valuesOf(node[key]).forEach(visit)
    if (typeof node["$ref"] === "string") {
      const target = pointerOf(root, node["$ref"])
      // What is not found here may name anything.
      if (target === undefined) ruled = true
      else visit(target)
    }
  }
  visit(root)
  return named && !ruled ? names : undefined
}

const pointerOf = (root: Json, ref: string): unknown => {
  if (!ref.startsWith("#")) return undefined
  let node: unknown = root
  for (const token of ref.slice(1).split("/").slice(1)) {
    const key = decodeURIComponent(token).replaceAll("~1", "/").replaceAll("~0", "~")
    if (node === null || typeof node !== "object" || !Object.hasOwn(node, key)) return undefined
    node = (node as Json)[key]
  }
  return ref === "#" || ref.startsWith("#/") ? node : undefined
}

// --- Helpers ---------------------------------------------------------------

export const isRecord = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const entriesOf = (value: unknown): ReadonlyArray<[string, unknown]> =>
  isRecord(value) ? Object.entries(value) : []
const valuesOf = (value: unknown): ReadonlyArray<unknown> => (isRecord(value) ? Object.values(value) : [])
const stringsOf = (value: unknown): ReadonlyArray<string> =>
  Array.isArray(value) ? value.filter((item) => typeof item === "string") : []
