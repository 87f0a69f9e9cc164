/** The Request Body Object of an operation: which media type is sent, and how its value is written. */
import type { Json } from "../../internal/jsonSchema/facts.ts"
import type { Schema } from "./definitions.ts"
import {
  attempt,
  child,
  children,
  type Document,
  flag,
  follow,
  type Place,
  record,
  Unusable
} from "./document.ts"
import * as Forms from "./forms.ts"
import * as Media from "./media.ts"
import * as Multipart from "./multipart.ts"
import type { Schemas } from "./schemas.ts"
import { fromBase64 } from "./styles.ts"

/** What an operation takes beside its parameters. */
export interface Body {
  readonly type: string
  readonly kind: Media.Kind
  readonly required: boolean
  readonly schema: Schema
  /** Of a form. */
  readonly fields: Forms.Fields
}

// --- Reading ---------------------------------------------------------------------

/** What is tried first; of equals, what the document has first. */
const preference: ReadonlyArray<Media.Kind> = ["json", "form", "multipart", "text", "binary"]

/**
 * The body, of the first media type that can be used; throws `Unusable`. `skip` hears of those that cannot
 * and would have come first.
 */
export const read = (
  document: Document,
  schemas: Schemas,
  operation: Place,
  skip: (problem: Unusable) => void
): Body | undefined => {
  const given = child(operation, "requestBody")
  if (given.value === undefined) return undefined
  const place = follow(document, given)
  record(place)
  const required = flag(child(place, "required")) === true
  const content = child(place, "content")
  record(content)
  const rank = (type: string): number =>
    Media.essence(type) === "application/json" ? -1 : preference.indexOf(Media.kindOf(type))
  const types = [...children(content)].sort(([left], [right]) => rank(left) - rank(right))
  const problems: Array<Unusable> = []
  for (const [type, media] of types) {
    const body = attempt(() => readOne(schemas, type, media, required))
    if (!(body instanceof Unusable)) {
      problems.forEach(skip)
      return body
    }
    problems.push(body)
  }
  throw problems[0] ?? new Unusable(content.pointer, "expected a media type, found none")
}

const readOne = (schemas: Schemas, type: string, media: Place, required: boolean): Body => {
  record(media)
  const kind = Media.kindOf(type)
  if (!type.includes("*") && !Media.isType(type)) throw new Unusable(media.pointer, "expected a media type")
  const from = child(media, "schema")
  const common = { type: Media.sent(type), kind, required }
  switch (kind) {
    case "json":
      return { ...common, schema: schemas.convert(from), fields: new Map() }
    case "text":
      return { ...common, schema: textOf(schemas, from, common.type), fields: new Map() }
    case "binary": {
      const schema = { type: "string", contentEncoding: "base64", description: `${common.type}, in base64.` }
      return { ...common, schema, fields: new Map() }
    }
    case "form":
    case "multipart": {
      return { ...common, ...Forms.read(schemas, media, kind) }
    }
  }
}

const textOf = (schemas: Schemas, from: Place, type: string): Schema => {
  const types = schemas.typesOf(from)
  return types.length > 0 && types.every((each) => each === "string")
    ? schemas.convert(from)
    : { type: "string", description: `A text of the media type ${type}.` }
}

// --- Writing -------------------------------------------------------------------------

/** A body as it is sent. */
export interface Written {
  readonly type: string
  readonly bytes: string | Uint8Array
}

/**
 * Writes a value that fits the body's schema; throws `Unsendable`. The seed is for what separates the parts
 * of a form.
 */
export const write = (body: Body, value: unknown, seed: number): Written => {
  const { kind, type } = body
  switch (kind) {
    case "json":
      return { type, bytes: JSON.stringify(value) }
    case "text":
      return { type, bytes: value as string }
    case "binary":
      return { type, bytes: fromBase64(value as string) }
    case "form":
      return { type, bytes: Forms.writeForm(body.fields, value as Json) }
    case "multipart":
      return Multipart.write(Forms.partsOf(body.fields, value as Json), seed)
  }
}
