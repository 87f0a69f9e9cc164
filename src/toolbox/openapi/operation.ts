/** One operation of a document, read into what its tool needs. */
import * as Domains from "../../internal/domains.ts"
import * as RawSchema from "../../internal/jsonSchema/compile.ts"
import type { Json } from "../../internal/jsonSchema/facts.ts"
import type { Credential } from "../Credentials.ts"
import * as Bodies from "./bodies.ts"
import type { Schema } from "./definitions.ts"
import { child, type Document, follow, optionalText, type Place, Unusable } from "./document.ts"
import { type Expected, responsesOf } from "./expected.ts"
import type { Found } from "./find.ts"
import { shorten } from "./names.ts"
import * as Parameters from "./parameters.ts"
import * as Paths from "./paths.ts"
import * as Schemas from "./schemas.ts"
import { type Chosen, credentialOf, reservedBy, type Sent, sentBy } from "./security.ts"
import { type Base, baseOf, type Choice } from "./servers.ts"

/** An operation that a tool can call. */
export interface Operation extends Pick<Found, "method" | "path" | "operationId" | "tags">, Expected {
  readonly title: string | undefined
  readonly description: string
  readonly schema: Json
  readonly base: Base
  readonly template: Paths.Template
  readonly parameters: ReadonlyArray<Parameters.Parameter>
  readonly body: (Bodies.Body & { readonly argument: string }) | undefined
  readonly credential: string | undefined
  readonly reserved: Parameters.Reserved
}

export interface Reading {
  readonly document: Document
  readonly maxDescription: number
  readonly servers: Choice
  readonly chosen: Chosen
  readonly credentials: ReadonlyMap<string, Credential>
  /** Where any of the document's security schemes is sent. */
  readonly schemes: ReadonlyArray<Sent>
  /** Headers that are sent with every request, in lower case. */
  readonly fixed: ReadonlySet<string>
  readonly skip: (found: Found, problem: Unusable) => void
}

// --- Reading -----------------------------------------------------------------------

/** Throws `Unusable` where there can be no tool. */
export const read = (reading: Reading, found: Found): Operation => {
  const { document, maxDescription } = reading
  const { item, method, path, place } = found
  const template = Paths.parse(path, item.pointer)
  const inQuery = new URLSearchParams(template.query)
  const base = baseOf(document, item, place, reading.servers)
  const credential = credentialOf(document, place, reading.chosen)
  const own = credential === undefined ? undefined : sentTo(reading.credentials, credential, base, place)
  const secrets = reservedBy(own === undefined ? reading.schemes : [...reading.schemes, own])
  // A credential that is a cookie is the whole header.
  const hasCookie = own?.location === "header" && own.name.toLowerCase() === "cookie"
  const reserved: Parameters.Reserved = {
    has: (location, name) =>
      secrets.has(location, name) ||
      (location === "query" && inQuery.has(name)) ||
      (location === "cookie" && hasCookie) ||
      (location === "header" && reading.fixed.has(name.toLowerCase()))
  }
  const schemas = Schemas.make(document, maxDescription)
  const skip = (problem: Unusable) => reading.skip(found, problem)
  const body = readBody(document, schemas, found, skip)
  const argument = "body"
  const taken = new Set(body === undefined ? [] : [argument])
  const parameters = Parameters.read(
    { document, schemas, maxDescription, reserved, skip },
    item,
    place,
    taken
  )
  checkPath(template.segments, parameters, item)
  const said = bodyDescription(document, place, maxDescription)
  const properties: Array<readonly [string, Schema]> = parameters.map((each) => [each.argument, each.schema])
  if (body !== undefined) {
    properties.push([
      argument,
      schemas.annotate(body.schema, said === undefined ? {} : { description: said })
    ])
  }
  const required = parameters.filter((each) => each.required).map((each) => each.argument)
  if (body?.required) required.push(argument)
  const schema = schemas.finish({
    type: "object",
    properties: Object.fromEntries(properties),
    ...(required.length === 0 ? {} : { required }),
    additionalProperties: false
  })
  check(schema, place)
  return {
    method,
    path,
    operationId: found.operationId,
    tags: found.tags,
    title: titleOf(place),
    description: describe(found, maxDescription),
    schema,
    base,
    template,
    parameters,
    body: body === undefined ? undefined : { ...body, argument },
    credential,
    reserved,
    ...responsesOf(document, place)
  }
}

/** How a credential is sent to where the operation is; throws `Unusable` where it may not be. */
const sentTo = (
  credentials: ReadonlyMap<string, Credential>,
  name: string,
  base: Base,
  place: Place
): Sent | undefined => {
  const credential = credentials.get(name)
  if (credential === undefined) return undefined
  const host = new URL(base.origin).hostname
  if (Domains.compile({ allowed: credential.hosts })(host, [[]]) === undefined) return sentBy(credential)
  throw new Unusable(place.pointer, `the credential ${JSON.stringify(name)} may not be sent to ${host}`)
}

/** A request without a body in HTTP's own sense has none, whatever the document says. */
const readBody = (
  document: Document,
  schemas: Schemas.Schemas,
  { method, place }: Found,
  skip: (problem: Unusable) => void
): Bodies.Body | undefined => {
  const body = Bodies.read(document, schemas, place, skip)
  if (body === undefined || (method !== "GET" && method !== "HEAD")) return body
  if (body.required) throw new Unusable(child(place, "requestBody").pointer, `${method} has no body`)
  return undefined
}

const bodyDescription = (document: Document, place: Place, maxDescription: number): string | undefined => {
  const given = child(place, "requestBody")
  if (given.value === undefined) return undefined
  const said = optionalText(child(follow(document, given), "description"))
  return said === undefined || said.trim() === "" ? undefined : shorten(said, maxDescription)
}

const checkPath = (
  segments: ReadonlyArray<Paths.Segment>,
  parameters: ReadonlyArray<Parameters.Parameter>,
  item: Place
): void => {
  const declared = new Set(parameters.filter(({ location }) => location === "path").map(({ name }) => name))
  const used = Paths.parametersOf(segments)
  for (const name of used) {
    if (!declared.has(name))
      throw new Unusable(item.pointer, `the path's parameter ${JSON.stringify(name)} is not described`)
  }
  for (const name of declared) {
    if (!used.has(name))
      throw new Unusable(item.pointer, `the parameter ${JSON.stringify(name)} has no place in the path`)
  }
}

/** One schema that cannot be used would take the whole toolkit with it. */
const check = (schema: Json, place: Place): void => {
  try {
    RawSchema.compile(schema)
  } catch (cause) {
    const why = cause instanceof RangeError ? "it refers to itself without end" : (cause as Error).message
    throw new Unusable(place.pointer, `the schema of its request cannot be used: ${why}`)
  }
}

/** A summary, where it is as short as a title. */
const titleOf = (place: Place): string | undefined => {
  const { value } = child(place, "summary")
  return typeof value === "string" && value.trim() !== "" && value.length <= 80 ? value.trim() : undefined
}

const describe = ({ method, path, place }: Found, maxDescription: number): string => {
  const [summary, description] = ["summary", "description"].map((key) => {
    const { value } = child(place, key)
    return typeof value === "string" ? value.trim() : ""
  }) as [string, string]
  const all = description.startsWith(summary)
    ? description
    : description === ""
      ? summary
      : `${summary}\n\n${description}`
  return shorten(all === "" ? `${method} ${path}` : all, maxDescription)
}
