/** The Parameter Objects of an operation, as arguments of its tool. */
import * as Result from "effect/Result"
import * as Headers from "../outbound/headers.ts"
import type { Schema } from "./definitions.ts"
import {
  attempt,
  child,
  children,
  type Document,
  flag,
  follow,
  list,
  optionalText,
  type Place,
  record,
  text,
  Unusable
} from "./document.ts"
import { example } from "./keywords.ts"
import * as Media from "./media.ts"
import { ofArgument, shorten } from "./names.ts"
import type { Schemas } from "./schemas.ts"
import { type Format, impossible, isToken, type Location, type Style, stylesOf } from "./styles.ts"

/** How a value is written: in a style, or as a text of a media type. */
export type Written = Format | { readonly as: "json" | "text" }

export interface Parameter {
  /** What the argument is called. */
  readonly argument: string
  readonly location: Location
  readonly name: string
  readonly required: boolean
  readonly written: Written
  readonly schema: Schema
}

/** What the caller may not say, because it is said otherwise or by someone else. */
export interface Reserved {
  readonly has: (location: Location, name: string) => boolean
}

export interface Reading {
  readonly document: Document
  readonly schemas: Schemas
  readonly maxDescription: number
  readonly reserved: Reserved
  /** Told of what is left out, and why. */
  readonly skip: (problem: Unusable) => void
}

/** Those of the path and of the operation, which win; throws `Unusable` where one is needed and cannot be used. */
export const read = (
  reading: Reading,
  item: Place,
  operation: Place,
  taken: Set<string>
): ReadonlyArray<Parameter> => {
  const places = new Map<string, Place>()
  for (const from of [item, operation]) {
    for (const each of list(child(from, "parameters"))) {
      const place = follow(reading.document, each)
      const name = text(child(place, "name"))
      const location = locationOf(child(place, "in"))
      // The names of headers have no case.
      places.set(`${location} ${location === "header" ? name.toLowerCase() : name}`, place)
    }
  }
  const found: Array<Parameter> = []
  for (const place of places.values()) {
    const parameter = attempt(() => readOne(reading, place, taken))
    if (parameter instanceof Unusable) {
      if (child(place, "required").value === true) throw parameter
      reading.skip(parameter)
    } else if (parameter !== undefined) {
      taken.add(parameter.argument)
      found.push(parameter)
    }
  }
  return found
}

const locations: ReadonlyArray<Location> = ["path", "query", "header", "cookie"]

const locationOf = (place: Place): Location => {
  const found = locations.find((location) => location === place.value)
  if (found !== undefined) return found
  throw new Unusable(
    place.pointer,
    `expected one of ${locations.join(", ")}, found ${JSON.stringify(place.value)}`
  )
}

/**
 * OpenAPI ignores these, and says so (3.1.1, section 4.8.12): they are said by the body, the responses and
 * the security schemes.
 */
const ignored = new Set(["accept", "content-type", "authorization"])

const readOne = (reading: Reading, place: Place, taken: ReadonlySet<string>): Parameter | undefined => {
  const { maxDescription, reserved, schemas } = reading
  const name = text(child(place, "name"))
  const location = locationOf(child(place, "in"))
  const required = location === "path" || flag(child(place, "required")) === true
  if (location === "header" && ignored.has(name.toLowerCase())) return undefined
  if (reserved.has(location, name)) return undefined
  if (name === "") throw new Unusable(`${place.pointer}/name`, "expected a name, found an empty one")
  if (location === "header" && Result.isFailure(Headers.read({ [name]: "" }))) {
    throw new Unusable(`${place.pointer}/name`, `a request cannot set the header ${JSON.stringify(name)}`)
  }
  if (location === "cookie" && !isToken(name)) {
    throw new Unusable(`${place.pointer}/name`, "expected a name that a cookie can have")
  }
  const [content] = contentOf(child(place, "content"))
  const from = content === undefined ? child(place, "schema") : child(content[1], "schema")
  const written = content === undefined ? formatOf(place, location, name, schemas) : mediaOf(...content)
  const schema = schemas.convert(from)
  const said = optionalText(child(place, "description"))
  const description = said === undefined ? "" : shorten(said, maxDescription)
  const examples = example(record(place))
  return {
    argument: ofArgument(name, location, taken),
    location,
    name,
    required,
    written,
    schema: schemas.annotate(schema, {
      ...(description === "" ? {} : { description }),
      ...(examples === undefined ? {} : { examples }),
      ...(child(place, "deprecated").value === true ? { deprecated: true } : {})
    })
  }
}

const contentOf = (place: Place): ReadonlyArray<readonly [string, Place]> => {
  if (place.value === undefined) return []
  record(place)
  const found = children(place)
  if (found.length === 1) return found
  throw new Unusable(place.pointer, `expected one media type, found ${found.length}`)
}

const mediaOf = (type: string, place: Place): Written => {
  const kind = Media.kindOf(type)
  if (kind === "json" || kind === "text") return { as: kind }
  throw new Unusable(place.pointer, "a parameter's content can be JSON or text")
}

const formatOf = (place: Place, location: Location, name: string, schemas: Schemas): Format => {
  if (child(place, "schema").value === undefined) {
    throw new Unusable(place.pointer, "expected a schema or a content, found neither")
  }
  const said = optionalText(child(place, "style"))
  const style = said ?? (location === "query" || location === "cookie" ? "form" : "simple")
  if (!stylesOf[location].includes(style as Style)) {
    const known = stylesOf[location].join(", ")
    throw new Unusable(
      `${place.pointer}/style`,
      `expected a style for the ${location} (${known}), found ${JSON.stringify(style)}`
    )
  }
  const format: Format = {
    name,
    style: style as Style,
    explode: flag(child(place, "explode")) ?? style === "form",
    allowReserved: location === "query" && flag(child(place, "allowReserved")) === true
  }
  const problem = impossible(location, format, schemas.typesOf(child(place, "schema")))
  if (problem !== undefined) throw new Unusable(place.pointer, problem)
  return format
}
