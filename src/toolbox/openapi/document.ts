/**
 * An OpenAPI document as it is read: a JSON value that is small and shallow enough to walk, and places in it,
 * each of which knows its JSON pointer. References are followed inside the document only.
 */
import * as JsonPointer from "effect/JsonPointer"
import * as Yaml from "yaml"
import { percentDecoded } from "../../internal/decoding.ts"
import { kindOf, withArticle } from "../../internal/issues.ts"
import { isRecord, type Json } from "../../internal/jsonSchema/facts.ts"

/** More levels are not walked, nor are more values: what aliases of YAML repeat counts every time. */
const maxDepth = 200
const maxValues = 2_000_000

/** So many references in a row lead nowhere. */
export const maxHops = 100

// --- Errors ----------------------------------------------------------------

/**
 * Why a part of the document cannot be used. Thrown while a part is read, and caught by whoever can do
 * without it.
 */
export class Unusable extends Error {
  readonly pointer: string
  readonly why: string

  constructor(pointer: string, why: string) {
    super(`${pointer}: ${why}`)
    this.pointer = pointer
    this.why = why
  }
}

/** The value, or why there is none. What is not `Unusable` is a bug, and goes on. */
export const attempt = <A>(read: () => A): A | Unusable => {
  try {
    return read()
  } catch (error) {
    if (error instanceof Unusable) return error
    throw error
  }
}

// --- Places ----------------------------------------------------------------

/**
 * A value of the document, and where it stands: `#/paths/~1pets~1{id}/get`, as people write it and without
 * percent-encoding.
 */
export interface Place {
  readonly value: unknown
  readonly pointer: string
}

export const child = (place: Place, key: string | number): Place => ({
  value: own(place.value, String(key)),
  pointer: `${place.pointer}/${JsonPointer.escapeToken(String(key))}`
})

const own = (value: unknown, key: string): unknown =>
  typeof value === "object" && value !== null && Object.hasOwn(value, key) ? (value as Json)[key] : undefined

/** The entries of an object, or the elements of an array, each at its place; none of anything else. */
export const children = (place: Place): ReadonlyArray<readonly [string, Place]> =>
  typeof place.value === "object" && place.value !== null
    ? Object.keys(place.value).map((key) => [key, child(place, key)] as const)
    : []

const article = (value: unknown): string => (value === undefined ? "nothing" : withArticle(kindOf(value)))

const expected = (place: Place, what: string): never => {
  throw new Unusable(place.pointer, `expected ${what}, found ${article(place.value)}`)
}

export const record = (place: Place, what = "an object"): Json =>
  isRecord(place.value) ? place.value : expected(place, what)

export const text = (place: Place, what = "a string"): string =>
  typeof place.value === "string" ? place.value : expected(place, what)

export const optionalText = (place: Place): string | undefined =>
  place.value === undefined ? undefined : text(place)

export const flag = (place: Place): boolean | undefined =>
  place.value === undefined || typeof place.value === "boolean" ? place.value : expected(place, "a boolean")

export const list = (place: Place): ReadonlyArray<Place> =>
  place.value === undefined
    ? []
    : Array.isArray(place.value)
      ? place.value.map((_, index) => child(place, index))
      : expected(place, "an array")

// --- The document ----------------------------------------------------------

/** `null` and wrong types are said by those who read them; here is only what all of them need. */
export interface Document {
  readonly root: Place
  readonly version: "3.0" | "3.1"
}

/** The document that a value is; throws `Unusable`. */
export const make = (value: unknown): Document => {
  const root: Place = { value, pointer: "#" }
  record(root, "an OpenAPI document")
  measure(value)
  const version = child(root, "openapi")
  if (version.value === undefined && own(value, "swagger") !== undefined) {
    throw new Unusable("#/swagger", "expected OpenAPI 3.0 or 3.1, found Swagger 2.0: convert it first")
  }
  // An unquoted version of two parts is a number in YAML.
  const said = /^3\.([01])(?:$|\.)/.exec(
    typeof version.value === "number" ? version.value.toFixed(1) : text(version, "a version, such as 3.1.0")
  )
  if (said === null) {
    throw new Unusable(version.pointer, `expected 3.0 or 3.1, found ${JSON.stringify(version.value)}`)
  }
  return { root, version: said[1] === "0" ? "3.0" : "3.1" }
}

/** Without recursion, since the point is to refuse what recursion could not walk. */
const measure = (root: unknown): void => {
  let level: ReadonlyArray<Place> = [{ value: root, pointer: "#" }]
  let values = 0
  for (let depth = 0; level.length > 0; depth++) {
    const below: Array<Place> = []
    for (const { pointer, value } of level) {
      for (const key of Object.keys(value as object)) {
        const item = (value as Json)[key]
        if (++values > maxValues) throw new Unusable("#", `holds more than ${maxValues} values`)
        if (typeof item !== "object" || item === null) continue
        // The two outermost keys say where, and are enough to find it.
        below.push({
          value: item,
          pointer: depth < 2 ? `${pointer}/${JsonPointer.escapeToken(key)}` : pointer
        })
      }
    }
    if (depth >= maxDepth && below.length > 0) {
      throw new Unusable(below[0]!.pointer, `is nested more than ${maxDepth} levels deep`)
    }
    level = below
  }
}

/** The value of a text: JSON, or YAML 1.2. Throws `Unusable`, with line and column. */
export const parse = (source: string): unknown => {
  const content = source.replace(/^\uFEFF/, "")
  if (/^\s*\{/.test(content)) {
    try {
      return JSON.parse(content)
    } catch {
      // YAML takes more than JSON does, and says where it does not.
    }
  }
  try {
    const parsed = Yaml.parseDocument(content, { prettyErrors: true, merge: true, stringKeys: true })
    const [error] = parsed.errors
    if (error === undefined) return parsed.toJS()
    const at = error.linePos?.[0]
    throw new Unusable(
      "#",
      `is neither JSON nor YAML${at === undefined ? "" : ` at line ${at.line}, column ${at.col}`}`
    )
  } catch (error) {
    if (error instanceof Unusable) throw error
    // Too many aliases, or too many levels for the parser.
    throw new Unusable("#", "is neither JSON nor YAML that can be read")
  }
}

// --- References ------------------------------------------------------------

/** Where a reference leads, for a place that holds one; throws `Unusable`. */
export const target = (document: Document, from: Place, reference: string): Place => {
  const at = `${from.pointer}/$ref`
  if (!reference.startsWith("#")) {
    throw new Unusable(at, "refers to another document: bundle the documents into one")
  }
  const path = percentDecoded(reference.slice(1))
  if (path !== "" && !path.startsWith("/")) {
    throw new Unusable(at, "expected a JSON pointer, such as #/components/schemas/Pet")
  }
  let found = document.root
  for (const token of path.split("/").slice(1)) found = child(found, JsonPointer.unescapeToken(token))
  if (found.value === undefined) throw new Unusable(at, "leads nowhere")
  return found
}

/** The place itself, or the one that a chain of Reference Objects leads to; throws `Unusable`. */
export const follow = (document: Document, from: Place): Place => {
  let here = from
  for (let hops = 0; hops <= maxHops; hops++) {
    const reference = own(here.value, "$ref")
    if (reference === undefined) return here
    here = target(document, here, text(child(here, "$ref"), "a reference"))
  }
  throw new Unusable(`${from.pointer}/$ref`, "leads in a circle, or too far")
}
