/**
 * Says what `@cfworker/json-schema` found wrong, in the voice of `issues.ts`.
 *
 * Its own texts hold values, so only where a keyword stands and what it is
 * about are taken, and the schema is read there. It lists the errors of every
 * branch it tried; those inside a branch of `anyOf`, `not` and their like are
 * left out, as the branch's own error says it.
 */
import type { OutputUnit, Schema as RawSchema } from "@cfworker/json-schema"
import {
  anyOf,
  count,
  cut,
  type Issues,
  kindOf,
  oneOf,
  type Path,
  properties,
  withArticle
} from "../issues.ts"
import type { Json } from "./facts.ts"

type Lookup = Readonly<Record<string, RawSchema | boolean>>

const branches = new Set(["anyOf", "oneOf", "not", "contains", "minContains", "maxContains", "propertyNames"])
const nested = new Set([
  "properties",
  "patternProperties",
  "dependentSchemas",
  "dependencies",
  "allOf",
  "anyOf",
  "oneOf"
])

/** Adds the errors of one validation. */
export const addUnits = (
  issues: Issues,
  units: ReadonlyArray<OutputUnit>,
  schema: Json,
  lookup: Lookup,
  params: unknown
): void => {
  const before = issues.size
  let holder: Json = {}
  let keyword = ""
  let inside = false
  for (const unit of units) {
    const at = locate(params, unit.instanceLocation, issues.subject.names)
    if (unit.keyword !== "false") {
      const place = resolve(schema, lookup, unit.keywordLocation)
      holder = place.node
      keyword = unit.keyword
      inside = place.inside || branches.has(keyword)
      if (!place.inside) say(issues, keyword, holder, at.path, at.value)
      // `false` does not say where it stands: it belongs to the error before it.
    } else if (!inside) sayFalse(issues, keyword, holder, at)
  }
  if (issues.size === before) issues.say([], "arguments that fit", "value", "do not fit the tool's schema")
}

const say = (issues: Issues, keyword: string, node: Json, path: Path, value: unknown): void => {
  const found = kindOf(value)
  const asked = node[keyword]
  const n = asked as number
  switch (keyword) {
    case "type": {
      const expected = typePhrase(node)
      // A number that is no integer is no other kind of thing.
      if (found === "number" && expected.includes("an integer")) issues.must(path, `be ${expected}`, found)
      else issues.type(path, expected, found)
      return
    }
    case "const":
      issues.must(path, `be ${oneOf([asked])}`, found)
      return
    case "enum":
      issues.must(path, `be ${oneOf(asked as ReadonlyArray<unknown>)}`, found)
      return
    case "required":
      for (const key of asked as ReadonlyArray<string>) {
        if (!has(value, key)) issues.missing([...path, key], expectedOf(node, key))
      }
      return
    case "dependentRequired":
    case "dependencies":
      for (const [key, needs] of Object.entries(asked as Json)) {
        if (!Array.isArray(needs) || !has(value, key)) continue
        for (const need of needs) {
          if (!has(value, need)) issues.missing([...path, need], expectedOf(node, need), key)
        }
      }
      return
    case "not":
      issues.must(path, "not have the form it has", found)
      return
    case "anyOf":
    case "oneOf":
      sayUnion(issues, keyword, asked as ReadonlyArray<unknown>, path, found)
      return
    case "contains":
      issues.must(path, "have an item of a given form", found)
      return
    case "minContains":
      issues.must(path, `have at least ${count(n, "item")} of a given form`, found)
      return
    case "maxContains":
      issues.must(path, `have at most ${count(n, "item")} of a given form`, found)
      return
    case "propertyNames":
      issues.must(path, "have no property name that is not allowed", found)
      return
    case "minProperties":
      issues.must(path, `have at least ${properties(n)}`, found)
      return
    case "maxProperties":
      issues.must(path, `have at most ${properties(n)}`, found)
      return
    case "minItems":
      issues.must(path, `have at least ${count(n, "item")}`, found)
      return
    case "maxItems":
      issues.must(path, `have at most ${count(n, "item")}`, found)
      return
    case "uniqueItems":
      issues.must(path, "have no item twice", found)
      return
    // Draft 4 has the exclusive bounds as flags.
    case "minimum":
      issues.must(path, `be ${node["exclusiveMinimum"] === true ? "greater than" : "at least"} ${n}`, found)
      return
    case "maximum":
      issues.must(path, `be ${node["exclusiveMaximum"] === true ? "less than" : "at most"} ${n}`, found)
      return
    case "exclusiveMinimum":
      issues.must(path, `be greater than ${n}`, found)
      return
    case "exclusiveMaximum":
      issues.must(path, `be less than ${n}`, found)
      return
    case "multipleOf":
      issues.must(path, `be a multiple of ${n}`, found)
      return
    case "minLength":
      issues.must(path, `be at least ${count(n, "character")} long`, found)
      return
    case "maxLength":
      issues.must(path, `be at most ${count(n, "character")} long`, found)
      return
    case "pattern":
      issues.must(path, `match the pattern ${cut(String(asked), 200)}`, found)
      return
  }
  // Whatever else there is only says that something below it is wrong.
}

const sayUnion = (
  issues: Issues,
  keyword: string,
  members: ReadonlyArray<unknown>,
  path: Path,
  found: string
): void => {
  const phrases = members.map((member) => typePhrase(member as Json))
  const apt = phrases.some(
    (phrase) =>
      phrase === "" ||
      phrase.includes(withArticle(found)) ||
      (found === "number" && phrase.includes("an integer"))
  )
  if (!apt) issues.type(path, anyOf(phrases), found)
  else if (keyword === "anyOf") issues.must(path, `fit one of its ${members.length} forms`, found)
  else issues.must(path, `fit exactly one of its ${members.length} forms`, found)
}

const sayFalse = (issues: Issues, keyword: string, holder: Json, at: Located): void => {
  const parent = at.path.slice(0, -1)
  if (/properties$/i.test(keyword)) {
    issues.unknown(parent, at.key, kindOf(at.value), Object.keys((holder["properties"] ?? {}) as Json))
  } else if (/items$/i.test(keyword)) issues.unknown(parent, Number(at.key), kindOf(at.value))
  else issues.say(at.path, "nothing", kindOf(at.value), "cannot be given here")
}

/** The types that a schema names, as a phrase; empty where it names none. */
const typePhrase = (node: unknown): string => {
  const type = typeof node === "object" && node !== null ? (node as Json)["type"] : undefined
  return anyOf([type ?? []].flat().map((one) => withArticle(String(one))))
}

const expectedOf = (node: Json, key: string): string => {
  const known = node["properties"] as Json | undefined
  return (known !== undefined && Object.hasOwn(known, key) ? typePhrase(known[key]) : "") || "a value"
}

const has = (value: unknown, key: string): boolean =>
  typeof value === "object" && value !== null && Object.hasOwn(value, key)

// --- Following the validator's pointers ------------------------------------

const tokensOf = (pointer: string): Array<string> =>
  pointer
    .split("/")
    .slice(1)
    .map((token) => decodeURIComponent(token).replaceAll("~1", "/").replaceAll("~0", "~"))

/** The schema that holds the keyword, and whether it stands in a branch that was only tried. */
const resolve = (
  schema: Json,
  lookup: Lookup,
  pointer: string
): { readonly node: Json; readonly inside: boolean } => {
  const tokens = tokensOf(pointer)
  let node = schema
  let inside = false
  for (let i = 0; i < tokens.length - 1; i++) {
    const keyword = tokens[i]!
    if (branches.has(keyword) || keyword === "if") inside = true
    let next: unknown = node[keyword]
    if (keyword === "$ref") next = lookup[(node as RawSchema).__absolute_ref__ ?? String(next)]
    else if (keyword === "$recursiveRef") next = schema
    else if (nested.has(keyword) || Array.isArray(next)) next = (next as Json)[tokens[++i]!]
    node = (next ?? {}) as Json
  }
  return { node, inside }
}

interface Located {
  readonly path: Path
  readonly value: unknown
  /** The last step as it came. */
  readonly key: string
}

const locate = (params: unknown, pointer: string, names: ReadonlySet<string>): Located => {
  const path: Array<string | number> = []
  let value = params
  let key = ""
  for (key of tokensOf(pointer)) {
    path.push(Array.isArray(value) ? Number(key) : names.has(key) ? key : "*")
    value = has(value, key) ? (value as Json)[key] : undefined
  }
  return { path, value, key }
}
