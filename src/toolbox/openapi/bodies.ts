/** The Request Body Object of an operation: which media type is sent, and how its value is written. */
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import { isRecord, type Json } from "../../internal/jsonSchema/facts.ts"
import type { Schema } from "./definitions.ts"
import {
  attempt,
  child,
  children,
  type Document,
  flag,
  follow,
  optionalText,
  type Place,
  record,
  Unusable
} from "./document.ts"
import * as Media from "./media.ts"
import * as Multipart from "./multipart.ts"
import type { Schemas } from "./schemas.ts"
import { encode, type Format, inQuery, isWritten, type Style, stylesOf, Unsendable } from "./styles.ts"

export interface Body {
  readonly type: string
  readonly kind: Media.Kind
  readonly required: boolean
  readonly schema: Schema
  /** How properties of forms are written, where the document says so, or they are files. */
  readonly fields: ReadonlyMap<string, Field>
}

/** How one property of a form is written. */
export interface Field {
  /** Said by `style`, `explode` or `allowReserved`. */
  readonly format?: Format
  /** Said by `contentType`: one type, or several that the caller chooses from. */
  readonly types: ReadonlyArray<string>
  readonly isFile: boolean
}

// --- Reading ---------------------------------------------------------------------

/** What is tried first; of equals, what the document has first. */
const preference: ReadonlyArray<Media.Kind> = ["json", "form", "multipart", "text", "binary"]

/** The body, of the first media type that can be used; throws `Unusable`. */
export const read = (document: Document, schemas: Schemas, operation: Place): Body | undefined => {
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
  let problem = new Unusable(content.pointer, "expected a media type, found none")
  for (const [index, [type, media]] of types.entries()) {
    const body = attempt(() => readOne(schemas, type, media, required))
    if (!(body instanceof Unusable)) return body
    if (index === 0) problem = body
  }
  throw problem
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
      const fields = fieldsOf(schemas, media, kind)
      const files = [...fields.values()].some(({ isFile }) => isFile)
      return { ...common, fields, schema: files ? withFiles(schemas, from, fields) : formOf(schemas, from) }
    }
  }
}

const textOf = (schemas: Schemas, from: Place, type: string): Schema => {
  const types = schemas.typesOf(from)
  return types.length > 0 && types.every((each) => each === "string")
    ? schemas.convert(from)
    : { type: "string", description: `A text of the media type ${type}.` }
}

const formOf = (schemas: Schemas, from: Place): Schema => {
  const types = schemas.typesOf(from)
  if (types.length > 0 && !types.includes("object")) throw new Unusable(from.pointer, "a form is an object")
  const schema = schemas.convert(from)
  return types.includes("object") ? schema : { type: "object", allOf: [schema] }
}

const fieldsOf = (schemas: Schemas, media: Place, kind: Media.Kind): ReadonlyMap<string, Field> => {
  const fields = new Map<string, Field>()
  const encoding = new Map(children(child(media, "encoding")))
  const properties = schemas.propertiesOf(child(media, "schema"))
  for (const name of new Set([...properties.keys(), ...encoding.keys()])) {
    const at = encoding.get(name)
    const property = properties.get(name)
    const isFile = kind === "multipart" && property !== undefined && isBinary(schemas, property)
    const types =
      at === undefined
        ? []
        : (optionalText(child(at, "contentType")) ?? "")
            .split(",")
            .map((type) => type.trim())
            .filter((type) => type !== "")
    const format = at === undefined ? undefined : formatOf(name, at)
    if (kind === "multipart" && format !== undefined && (format.style !== "form" || !format.explode)) {
      throw new Unusable(
        at!.pointer,
        "a style other than form, exploded, is not supported in multipart/form-data"
      )
    }
    if (isFile || types.length > 0 || format !== undefined) {
      fields.set(name, { types, isFile, ...(format === undefined || kind === "multipart" ? {} : { format }) })
    }
  }
  return fields
}

const formatOf = (name: string, place: Place): Format | undefined => {
  const said = optionalText(child(place, "style"))
  const explode = flag(child(place, "explode"))
  const allowReserved = flag(child(place, "allowReserved"))
  if (said === undefined && explode === undefined && allowReserved === undefined) return undefined
  const style = said ?? "form"
  if (!stylesOf.query.includes(style as Style)) {
    throw new Unusable(`${place.pointer}/style`, `expected one of ${stylesOf.query.join(", ")}`)
  }
  return {
    name,
    style: style as Style,
    explode: explode ?? style === "form",
    allowReserved: allowReserved === true
  }
}

/** What 3.0 says by a format, and 3.1 by having no type, or an encoding. */
const isBinary = (schemas: Schemas, property: Place): boolean => {
  const { value } = schemas.resolve(property)
  if (!isRecord(value)) return false
  const types = schemas.typesOf(property)
  if (types.includes("array")) return isBinary(schemas, child(schemas.resolve(property), "items"))
  return (
    value["format"] === "binary" ||
    (value["format"] === "byte" && types.includes("string")) ||
    value["contentEncoding"] !== undefined ||
    (types.length === 0 && value["contentMediaType"] !== undefined)
  )
}

// --- Files -------------------------------------------------------------------------

const withFiles = (schemas: Schemas, from: Place, fields: ReadonlyMap<string, Field>): Json => {
  const properties = [...schemas.propertiesOf(from)].map(([name, property]) => {
    const field = fields.get(name)
    if (field?.isFile !== true) return [name, schemas.convert(property)] as const
    const said = isRecord(schemas.resolve(property).value)
      ? optionalText(child(schemas.resolve(property), "description"))
      : undefined
    const file = fileSchema(field.types, said)
    const isList = schemas.typesOf(property).includes("array")
    return [name, isList ? { type: "array", items: file } : file] as const
  })
  const required = schemas.requiredOf(from)
  return {
    type: "object",
    properties: Object.fromEntries(properties),
    ...(required.length === 0 ? {} : { required })
  }
}

const fileSchema = (types: ReadonlyArray<string>, description: string | undefined): Json => ({
  type: "object",
  ...(description === undefined ? {} : { description }),
  properties: {
    base64: { type: "string", contentEncoding: "base64", description: "The file's content in base64." },
    filename: { type: "string" },
    ...(isFixed(types)
      ? {}
      : {
          contentType: {
            type: "string",
            ...(types.some((type) => type.includes("*")) || types.length === 0 ? {} : { enum: types })
          }
        })
  },
  required: ["base64"],
  additionalProperties: false
})

const isFixed = (types: ReadonlyArray<string>): boolean => types.length === 1 && !types[0]!.includes("*")

// --- Writing -------------------------------------------------------------------------

/** A body as it is sent. */
export interface Written {
  readonly type: string
  readonly bytes: string | Uint8Array
}

/** Writes a value that fits the body's schema; throws `Unsendable`. The seed is for what separates the parts of a form. */
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
      return { type, bytes: writeForm(body, value as Json) }
    case "multipart":
      return Multipart.write(
        Object.entries(value as Json).flatMap(([name, item]) => partsOf(body, name, item)),
        seed
      )
  }
}

const fromBase64 = (text: string): Uint8Array => {
  const bytes = Base64.decode(text)
  if (Result.isFailure(bytes)) throw new Unsendable("must be base64")
  return bytes.success
}

const isJson = (field: Field | undefined): boolean =>
  field !== undefined && field.types.length > 0 && Media.kindOf(field.types[0]!) === "json"

/** Without a style, objects are JSON, and arrays repeat their name (3.1.1, section 4.8.15). */
const writeForm = ({ fields }: Body, value: Json): string =>
  Object.entries(value)
    .filter(([, item]) => isWritten(item))
    .flatMap(([name, item]) => {
      const field = fields.get(name)
      if (field?.format !== undefined) return inQuery(field.format, item).map(({ written }) => written)
      const items = Array.isArray(item) && !isJson(field) ? item : [item]
      return items.map((each) => `${encode(name)}=${encode(asText(each, isJson(field)))}`)
    })
    .join("&")

const asText = (value: unknown, json: boolean): string =>
  json || typeof value === "object" ? JSON.stringify(value) : String(value)

const partsOf = ({ fields }: Body, name: string, value: unknown): ReadonlyArray<Multipart.Part> => {
  const field = fields.get(name)
  const json = isJson(field)
  const items = Array.isArray(value) && !json ? value : [value]
  return items
    .filter((item) => item !== null)
    .map((item): Multipart.Part => {
      if (field?.isFile === true) return fileOf(name, field, item as FileValue)
      if (json || typeof item === "object")
        return { name, type: "application/json", bytes: asText(item, true) }
      const type = field?.types.find((each) => !each.includes("*"))
      return { name, bytes: asText(item, false), ...(type === undefined ? {} : { type }) }
    })
}

interface FileValue {
  readonly base64: string
  readonly filename?: string
  readonly contentType?: string
}

const fileOf = (name: string, { types }: Field, file: FileValue): Multipart.Part => {
  const type = file.contentType ?? types.find((each) => !each.includes("*")) ?? "application/octet-stream"
  if (!Media.isType(type))
    throw new Unsendable("must have a media type, such as image/png, as its contentType")
  return { name, filename: file.filename ?? name, type, bytes: fromBase64(file.base64) }
}
