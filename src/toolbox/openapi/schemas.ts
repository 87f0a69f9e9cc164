/**
 * The Schema Objects of one operation's request, as one JSON Schema 2020-12.
 *
 * - OpenAPI 3.0's `nullable`, flags as exclusive bounds and `example` become what JSON Schema has for them.
 * - What a schema refers to is put in its place where that is short or happens once; else, and where schemas
 *   refer to themselves, it stays a reference, into `$defs`.
 * - Properties that are `readOnly` are not for requests: they are left out, of `required` too. Where they
 *   forbid other properties, giving them is a mistake.
 * - A `pattern` that is no regular expression of ECMA-262 is told in the description, and left to the server.
 * - `$id` and `$anchor` give no addresses here: references are JSON pointers into the document.
 */
import { isRecord, type Json } from "../../internal/jsonSchema/facts.ts"
import { annotate, finish, annotations as isAnnotation, Reference, type Schema } from "./definitions.ts"
import {
  attempt,
  child,
  children,
  type Document,
  list,
  maxHops,
  type Place,
  record,
  target,
  text,
  Unusable
} from "./document.ts"
import * as Keywords from "./keywords.ts"
import { shorten } from "./names.ts"

/** The schemas of an operation have at most so many parts. */
const maxParts = 5_000

const types = new Set(["array", "boolean", "integer", "null", "number", "object", "string"])

export interface Schemas {
  /** The schema of a place, or of anything where there is none. Throws `Unusable`. */
  readonly convert: (place: Place) => Schema
  /** A schema made of converted ones, with all that they refer to. */
  readonly finish: (schema: Json) => Json
  /** A converted schema with other annotations. */
  readonly annotate: (schema: Schema, annotations: Json) => Schema
  /** Where a schema's reference leads, or the place itself. */
  readonly resolve: (place: Place) => Place
  /** Which types a place's values can have by its `type`; none where it does not say. */
  readonly typesOf: (place: Place) => ReadonlyArray<string>
  /** The properties of an object, those of everything that describes it included, without what no request has. */
  readonly propertiesOf: (place: Place) => ReadonlyMap<string, Place>
  /** Which of them are required. */
  readonly requiredOf: (place: Place) => ReadonlyArray<string>
}

export const make = (document: Document, maxDescription: number): Schemas => {
  const names = new Map<string, string>()
  const taken = new Set<string>()
  const alike = new Map<string, number>()
  const definitions = new Map<string, Schema>()
  const waiting: Array<readonly [name: string, place: Place]> = []
  let parts = 0

  // --- Following -------------------------------------------------------------

  /** Where a reference leads in the end; in 3.0, whatever stands beside one says nothing. */
  const resolve = (place: Place): Place => {
    let here = place
    for (let hops = 0; hops <= maxHops; hops++) {
      const node = here.value
      if (!isRecord(node) || node["$ref"] === undefined) return here
      if (here !== place && document.version === "3.1" && Object.keys(node).length > 1) return here
      here = target(document, here, text(child(here, "$ref"), "a reference"))
    }
    throw new Unusable(`${place.pointer}/$ref`, "leads in a circle, or too far")
  }

  const nameOf = (place: Place): string => {
    const known = names.get(place.pointer)
    if (known !== undefined) return known
    const base = place.pointer.slice(place.pointer.lastIndexOf("/") + 1).replace(/[^\w.-]+/g, "_") || "schema"
    let name = base
    for (let n = (alike.get(base) ?? 0) + 1; taken.has(name) || name in Object.prototype; n++) {
      name = `${base}_${n}`
      alike.set(base, n)
    }
    taken.add(name)
    names.set(place.pointer, name)
    waiting.push([name, place])
    return name
  }

  // --- Read only ---------------------------------------------------------------

  const isReadOnly = (place: Place): boolean => {
    if (isRecord(place.value) && place.value["readOnly"] === true) return true
    const found = attempt(() => resolve(place))
    return !(found instanceof Unusable) && isRecord(found.value) && found.value["readOnly"] === true
  }

  const hiddenIn = new Map<string, ReadonlySet<string>>()

  /** The schemas that describe the same object: itself, what it refers to, and all of `allOf`. */
  const sameObject = (place: Place): ReadonlyArray<Place> => {
    const found = new Map<string, Place>()
    const stack = [place]
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      if (found.has(next.pointer)) continue
      found.set(next.pointer, next)
      if (Array.isArray(child(next, "allOf").value)) stack.push(...list(child(next, "allOf")).toReversed())
      if (isRecord(next.value) && next.value["$ref"] !== undefined) stack.push(resolve(next))
    }
    return [...found.values()]
  }

  /** The properties that no request has. */
  const hidden = (place: Place): ReadonlySet<string> => {
    const known = hiddenIn.get(place.pointer)
    if (known !== undefined) return known
    const found = new Set<string>()
    for (const schema of sameObject(place)) {
      for (const [name, property] of children(child(schema, "properties"))) {
        if (isReadOnly(property)) found.add(name)
      }
    }
    hiddenIn.set(place.pointer, found)
    return found
  }

  const propertiesOf = (place: Place): ReadonlyMap<string, Place> => {
    const hides = hidden(place)
    const all = sameObject(place).flatMap((schema) => children(child(schema, "properties")))
    return new Map(all.filter(([name]) => !hides.has(name)))
  }

  const requiredOf = (place: Place): ReadonlyArray<string> => {
    const hides = hidden(place)
    const all = sameObject(place).flatMap((schema) => child(schema, "required").value)
    return [...new Set(all)].filter((name): name is string => typeof name === "string" && !hides.has(name))
  }

  // --- Converting ----------------------------------------------------------------

  const schemaOf = (place: Place, hides: ReadonlySet<string>): Schema | Reference => {
    if (++parts > maxParts)
      throw new Unusable(place.pointer, `the request's schemas have more than ${maxParts} parts`)
    if (typeof place.value === "boolean") return place.value
    const node = record(place, "a schema")
    if (node["$dynamicRef"] !== undefined)
      throw new Unusable(`${place.pointer}/$dynamicRef`, "is not supported")
    const isReference = node["$ref"] !== undefined
    const entries =
      isReference && document.version === "3.0" ? annotations(node) : keywords(place, node, hides)
    if (!isReference) return nullable(node, entries)
    const to = resolve(place)
    return new Reference(nameOf(to), to.pointer, Object.fromEntries(entries))
  }

  const annotations = (node: Json): Array<[string, unknown]> =>
    typeof node["description"] === "string"
      ? [["description", shorten(node["description"], maxDescription)]]
      : []

  const keywords = (place: Place, node: Json, above: ReadonlySet<string>): Array<[string, unknown]> => {
    const hides = above.size === 0 ? hidden(place) : new Set([...above, ...hidden(place)])
    const entries = Keywords.values(node).flatMap(([keyword, value]): Array<[string, unknown]> => {
      if (keyword !== "required") return [[keyword, value]]
      const required = (value as ReadonlyArray<string>).filter((name) => !hides.has(name))
      return required.length === 0 ? [] : [[keyword, required]]
    })
    const examples = Keywords.example(node)
    if (examples !== undefined) entries.push(["examples", examples])
    const type = typeOf(place, node)
    if (type !== undefined) entries.unshift(["type", type])
    for (const [keyword, holds] of Keywords.schemaKeywords) {
      if (node[keyword] === undefined) continue
      const at = child(place, keyword)
      // Draft 4 writes tuples so.
      if (keyword === "items" && Array.isArray(at.value)) {
        entries.push(["prefixItems", list(at).map((item) => schemaOf(item, none))])
      } else if (holds === "one") entries.push([keyword, schemaOf(at, none)])
      else if (holds === "list") {
        const inPlace = keyword === "prefixItems" ? none : hides
        const schemas = list(at).map((item) => schemaOf(item, inPlace))
        if (schemas.length > 0) entries.push([keyword, schemas])
      } else {
        record(at)
        const kept = children(at).filter(([, item]) => keyword !== "properties" || !isReadOnly(item))
        entries.push([keyword, Object.fromEntries(kept.map(([name, item]) => [name, schemaOf(item, none)]))])
      }
    }
    return told(node, entries)
  }

  const told = (node: Json, entries: Array<[string, unknown]>): Array<[string, unknown]> => {
    const broken = entries.find(([keyword, value]) => keyword === "pattern" && !isPattern(value as string))
    const kept = entries.filter((entry) => entry !== broken)
    const said = typeof node["description"] === "string" ? node["description"] : ""
    const all = broken === undefined ? said : `${said}${said === "" ? "" : " "}It must match ${broken[1]}.`
    return all === "" ? kept : [["description", shorten(all, maxDescription)], ...kept]
  }

  /** 3.0 says of null beside the type what 3.1 says in it. */
  const nullable = (node: Json, entries: Array<[string, unknown]>): Json => {
    const schema = Object.fromEntries(entries)
    if (document.version !== "3.0" || node["nullable"] !== true) return schema
    if (Object.keys(schema).every((key) => isAnnotation.has(key))) return schema
    if (typeof schema["type"] !== "string") return { anyOf: [schema, { type: "null" }] }
    const values = schema["enum"] as ReadonlyArray<unknown> | undefined
    return {
      ...schema,
      type: [schema["type"], "null"],
      ...(values === undefined || values.includes(null) ? {} : { enum: [...values, null] })
    }
  }

  const convert = (place: Place): Schema => {
    if (place.value === undefined) return {}
    const before = { names: names.size, parts }
    try {
      const schema = schemaOf(place, none)
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        definitions.set(next[0], schemaOf(next[1], none) as Schema)
      }
      return schema as Schema
    } catch (error) {
      // Whoever does without this schema does without what it refers to.
      for (const [pointer, name] of [...names].slice(before.names)) {
        names.delete(pointer)
        taken.delete(name)
        definitions.delete(name)
      }
      waiting.length = 0
      parts = before.parts
      throw error
    }
  }

  const typesOf = (place: Place): ReadonlyArray<string> => {
    const found = resolve(place)
    if (!isRecord(found.value)) return []
    return [found.value["type"] ?? []].flat().filter((type) => typeof type === "string")
  }

  return {
    convert,
    annotate,
    resolve,
    typesOf,
    propertiesOf,
    requiredOf,
    finish: (schema) => finish(schema, definitions)
  }
}

const none: ReadonlySet<string> = new Set()

const typeOf = (place: Place, node: Json): unknown => {
  const type = node["type"]
  if (type === undefined) return undefined
  const all = [type].flat()
  if (all.length > 0 && all.every((one) => types.has(one as string))) return type
  throw new Unusable(
    `${place.pointer}/type`,
    `expected a type of JSON Schema (${[...types].join(", ")}), found ${JSON.stringify(type)}`
  )
}

const isPattern = (source: string): boolean => {
  try {
    new RegExp(source, "u")
    return true
  } catch {
    return false
  }
}
