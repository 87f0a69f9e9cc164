/**
 * Bodies that are forms: `application/x-www-form-urlencoded`, and `multipart/form-data` with its files. How a property is written is
 * said by its Encoding Object, and by its schema where there is none.
 */
import { isRecord, type Json } from "../../internal/jsonSchema/facts.ts"
import type { Schema } from "./definitions.ts"
import { child, children, flag, optionalText, type Place, Unusable } from "./document.ts"
import * as Media from "./media.ts"
import type * as Multipart from "./multipart.ts"
import type { Schemas } from "./schemas.ts"
import {
  encode,
  type Format,
  fromBase64,
  inQuery,
  isWritten,
  type Style,
  stylesOf,
  Unsendable
} from "./styles.ts"

/** How one property of a form is written. */
export interface Field {
  /** Said by `style`, `explode` or `allowReserved`. */
  readonly format?: Format
  /** Said by `contentType`: one type, or several that the caller chooses from. */
  readonly types: ReadonlyArray<string>
  readonly isFile: boolean
}

/** How the properties of a form that the document names are written. */
export type Fields = ReadonlyMap<string, Field>

// --- Reading ---------------------------------------------------------------------

/** How a form of this media type is written, and what it may hold; throws `Unusable`. */
export const read = (
  schemas: Schemas,
  media: Place,
  kind: "form" | "multipart"
): { readonly fields: Fields; readonly schema: Schema } => {
  const from = child(media, "schema")
  const fields = fieldsOf(schemas, media, kind)
  const hasFiles = [...fields.values()].some(({ isFile }) => isFile)
  return { fields, schema: hasFiles ? withFiles(schemas, from, fields) : withoutFiles(schemas, from) }
}

const withoutFiles = (schemas: Schemas, from: Place): Schema => {
  const types = schemas.typesOf(from)
  if (types.length > 0 && !types.includes("object")) throw new Unusable(from.pointer, "a form is an object")
  const schema = schemas.convert(from)
  return types.includes("object") ? schema : { type: "object", allOf: [schema] }
}

const fieldsOf = (schemas: Schemas, media: Place, kind: "form" | "multipart"): Fields => {
  const fields = new Map<string, Field>()
  const encoding = new Map(children(child(media, "encoding")))
  const properties = schemas.propertiesOf(child(media, "schema"))
  for (const name of new Set([...properties.keys(), ...encoding.keys()])) {
    const at = encoding.get(name)
    const property = properties.get(name)
    const isFile = kind === "multipart" && property !== undefined && isFileOrFiles(schemas, property)
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
    fields.set(name, { types, isFile, ...(format === undefined || kind === "multipart" ? {} : { format }) })
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

const isFileOrFiles = (schemas: Schemas, property: Place): boolean =>
  isBinary(schemas, isList(schemas, property) ? child(schemas.resolve(property), "items") : property)

const isList = (schemas: Schemas, property: Place): boolean => schemas.typesOf(property).includes("array")

/** What 3.0 says by a format, and 3.1 by having no type, or an encoding. */
const isBinary = (schemas: Schemas, property: Place): boolean => {
  const { value } = schemas.resolve(property)
  if (!isRecord(value)) return false
  const types = schemas.typesOf(property)
  return (
    value["format"] === "binary" ||
    (value["format"] === "byte" && types.includes("string")) ||
    value["contentEncoding"] !== undefined ||
    (types.length === 0 && value["contentMediaType"] !== undefined)
  )
}

// --- Files -------------------------------------------------------------------------

const withFiles = (schemas: Schemas, from: Place, fields: Fields): Json => {
  const properties = [...schemas.propertiesOf(from)].map(([name, property]) => {
    const field = fields.get(name)
    if (field?.isFile !== true) return [name, schemas.convert(property)] as const
    const said = isRecord(schemas.resolve(property).value)
      ? optionalText(child(schemas.resolve(property), "description"))
      : undefined
    const file = fileSchema(field.types, said)
    return [name, isList(schemas, property) ? { type: "array", items: file } : file] as const
  })
  const required = schemas.requiredOf(from)
  return {
    type: "object",
    properties: Object.fromEntries(properties),
    ...(required.length === 0 ? {} : { required }),
    ...(child(schemas.resolve(from), "additionalProperties").value === false
      ? { additionalProperties: false }
      : {})
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

const isJson = (field: Field | undefined): boolean =>
  field !== undefined && field.types.length > 0 && Media.kindOf(field.types[0]!) === "json"

/** Without a style, objects are JSON, and arrays repeat their name (3.1.1, section 4.8.15). Throws `Unsendable`. */
export const writeForm = (fields: Fields, value: Json): string =>
  Object.entries(value)
    .filter(([, item]) => item !== null)
    .flatMap(([name, item]) => {
      const field = fields.get(name)
      if (field?.format !== undefined) {
        if (!isWritten(item)) return []
        const pairs = inQuery(field.format, item)
        // An exploded object names its own pairs.
        if (
          pairs.some(
            (pair) => pair.name !== name && (fields.has(pair.name) || Object.hasOwn(value, pair.name))
          )
        )
          throw new Unsendable("must not have a property within another that is a field of its own")
        return pairs.map(({ written }) => written)
      }
      const items = Array.isArray(item) && !isJson(field) ? item : [item]
      return items.map((each) => `${encode(name)}=${encode(asText(each, isJson(field)))}`)
    })
    .join("&")

const asText = (value: unknown, json: boolean): string =>
  json || typeof value === "object" ? JSON.stringify(value) : String(value)

/** The parts of a form with files. */
export const partsOf = (fields: Fields, value: Json): ReadonlyArray<Multipart.Part> =>
  Object.entries(value).flatMap(([name, item]) => partsOfOne(name, fields.get(name), item))

const partsOfOne = (
  name: string,
  field: Field | undefined,
  value: unknown
): ReadonlyArray<Multipart.Part> => {
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
