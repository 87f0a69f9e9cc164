/**
 * How OpenAPI writes values into paths, queries, headers and cookies: `style`, `explode` and `allowReserved`
 * of the Parameter Object (OpenAPI 3.1.1, section 4.8.12, and its appendices C to E), which are RFC 6570's
 * expansions and three of its own.
 *
 * What a server reads must be what was passed. So a value is refused where its style has no way to write it:
 * an item that contains an unescapable separator, values within values, text that is no Unicode. Where the
 * specification leaves open what is meant:
 *
 * - `null` is not written, and inside of an array it is refused. An array or object that is empty is not
 *   written.
 * - `spaceDelimited` and `pipeDelimited` arrays that are exploded repeat their name, as `form` does.
 * - `deepObject` is always exploded; deeper objects and arrays add brackets: `a[b][0]=1`.
 * - With `allowReserved`, `&`, `;` (which some servers read as `&`), `=`, `+`, `#`, `[`, `]` and the separator of
 *   items are encoded all the same; what is percent-encoded already passes as it is.
 * - Headers are not percent-encoded; in cookies every property of an exploded object is a cookie.
 */
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import { isRecord } from "../../internal/jsonSchema/facts.ts"

export type Style = "matrix" | "label" | "simple" | "form" | "spaceDelimited" | "pipeDelimited" | "deepObject"

export interface Format {
  readonly name: string
  readonly style: Style
  readonly explode: boolean
  readonly allowReserved: boolean
}

/** A name and a value of a query, form or cookie, written; and the name as it is. */
export interface Pair {
  readonly name: string
  readonly written: string
}

// --- Errors ----------------------------------------------------------------

/** A value that fits its schema and cannot be written. Thrown while a request is written; tells no value. */
export class Unsendable extends Error {
  constructor(why: string) {
    super(why)
  }
}

const refuse = (why: string): never => {
  throw new Unsendable(why)
}

// --- Characters --------------------------------------------------------------

/** Everything but what RFC 3986 calls unreserved, in UTF-8. */
export const encode = (text: string): string =>
  encodeURIComponent(wellFormed(text)).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`
  )

/** What `allowReserved` leaves: reserved characters that mean nothing in a query, and what is encoded already. */
const encodeUnreserved = (text: string, separator: string): string =>
  wellFormed(text)
    .split(/(%[0-9a-f]{2})/i)
    .map((part, index) =>
      index % 2 === 1
        ? part
        : encodeURI(part).replace(/[&;=+#[\],]/g, (character) =>
            character === "," && separator !== "," ? "," : encodeURIComponent(character)
          )
    )
    .join("")

const wellFormed = (text: string): string =>
  text.isWellFormed() ? text : refuse("must be Unicode text, without half of a pair of surrogates")

const headerText = /^[\t\x20-\x7e]*$/

/** A header's value as it is: nothing can be escaped in it. */
export const inHeader = (text: string): string => {
  if (!headerText.test(text))
    refuse("must hold only printable ASCII characters, because it is sent in a header")
  if (text.trim() !== text) refuse("must not begin or end with a space, because it is sent in a header")
  return text
}

/** The bytes that a text stands for. */
export const fromBase64 = (text: string): Uint8Array => {
  const bytes = Base64.decode(text)
  return Result.isSuccess(bytes) ? bytes.success : refuse("must be base64")
}

// --- Values --------------------------------------------------------------------

const primitive = (value: unknown): string => {
  switch (typeof value) {
    case "string":
      return value
    case "boolean":
      return String(value)
    case "number":
      return Number.isFinite(value) ? String(value) : refuse("must be a finite number")
  }
  return refuse("must not hold null, arrays or objects, because its style has no way to write them")
}

/** Properties that are `null` are not there. */
const entries = (value: object): ReadonlyArray<readonly [string, unknown]> =>
  Object.entries(value).filter(([, item]) => item !== null)

/** Whether there is anything to write. */
export const isWritten = (value: unknown): boolean => {
  if (value === null || value === undefined) return false
  if (Array.isArray(value)) return value.length > 0
  return !isRecord(value) || entries(value).length > 0
}

const without = (text: string, separator: string, called: string): string =>
  text.includes(separator) ? refuse(`must not contain ${called}, because that separates its items`) : text

// --- In the path -----------------------------------------------------------------

/** RFC 6570, section 3.2.1: what each operator begins with, and puts between exploded values. */
const operators = {
  simple: { first: "", between: ",", named: false },
  label: { first: ".", between: ".", named: false },
  matrix: { first: ";", between: ";", named: true }
} as const

/** What stands for `{name}` in a path. */
export const inPath = ({ explode, name, style }: Format, value: unknown): string => {
  const { between, first, named } = operators[style as keyof typeof operators]
  // A dot needs no encoding, so none in a value can be told from the separator.
  const write = (item: unknown): string => {
    const text = primitive(item)
    return encode(explode && style === "label" && isCompound(value) ? without(text, ".", "a dot") : text)
  }
  const pair = (key: string, item: string): string => (item === "" && named ? key : `${key}=${item}`)
  const written = (): string => {
    if (Array.isArray(value)) {
      const items = value.map(write)
      if (explode) return items.map((item) => (named ? pair(encode(name), item) : item)).join(between)
      return named ? pair(encode(name), items.join(",")) : items.join(",")
    }
    if (isRecord(value)) {
      const properties = entries(value).map(([key, item]) => [write(key), write(item)] as const)
      if (explode) return properties.map(([key, item]) => pair(key, item)).join(between)
      return named ? pair(encode(name), properties.flat().join(",")) : properties.flat().join(",")
    }
    return named ? pair(encode(name), write(value)) : write(value)
  }
  return first + written()
}

const isCompound = (value: unknown): boolean => typeof value === "object" && value !== null

// --- In the query ------------------------------------------------------------------

const separators = {
  form: { raw: ",", written: ",", called: "a comma" },
  spaceDelimited: { raw: " ", written: "%20", called: "a space" },
  pipeDelimited: { raw: "|", written: "%7C", called: "a vertical bar" }
} as const

/** The pairs of a query string, or of a body that is written like one. */
export const inQuery = (format: Format, value: unknown): ReadonlyArray<Pair> => {
  const { allowReserved, explode, name, style } = format
  if (style === "deepObject") return deep(format, value)
  const { called, raw, written } = separators[style as keyof typeof separators]
  const write = (item: unknown): string =>
    allowReserved ? encodeUnreserved(primitive(item), "") : encode(primitive(item))
  const pair = (key: string, item: string): Pair => ({ name: key, written: `${encode(key)}=${item}` })
  if (!isCompound(value)) {
    if (style !== "form") refuse("must be an array or an object, because its style writes nothing else")
    return [pair(name, write(value))]
  }
  if (explode) {
    if (Array.isArray(value)) return value.map((item) => pair(name, write(item)))
    if (style !== "form") refuse("must be an array, because its style explodes nothing else")
    return entries(value as object).map(([key, item]) => pair(key, write(item)))
  }
  const one = (item: unknown): string => {
    const text = primitive(item)
    // Encoded they would look like the separators, which are encoded too.
    if (style !== "form") without(text, raw, called)
    return allowReserved ? encodeUnreserved(text, raw) : encode(text)
  }
  const items = Array.isArray(value)
    ? value.map(one)
    : entries(value as object)
        .flat()
        .map(one)
  return [pair(name, items.join(written))]
}

const deep = ({ allowReserved, name }: Format, value: unknown): ReadonlyArray<Pair> => {
  if (!isRecord(value)) return refuse("must be an object, because its style writes nothing else")
  const pairs: Array<Pair> = []
  const visit = (under: string, item: unknown): void => {
    if (!isCompound(item)) {
      const text = primitive(item)
      const written = allowReserved ? encodeUnreserved(text, "") : encode(text)
      pairs.push({ name: under, written: `${encode(under)}=${written}` })
      return
    }
    for (const [key, below] of Array.isArray(item) ? Object.entries(item) : entries(item as object)) {
      if (/[[\]]/.test(key)) refuse("must not have a bracket in the name of a property")
      visit(`${under}[${key}]`, below)
    }
  }
  visit(name, value)
  return pairs
}

// --- In headers and cookies ----------------------------------------------------------

/** The value of a header: style `simple`, with nothing encoded. */
export const asHeader = ({ explode }: Format, value: unknown): string => {
  if (!isCompound(value)) return inHeader(primitive(value))
  const one = (item: unknown): string => inHeader(without(primitive(item), ",", "a comma"))
  if (Array.isArray(value)) return inHeader(value.map(one).join(","))
  const properties = entries(value as object).map(([key, item]) =>
    explode ? [`${without(one(key), "=", "an equals sign")}=${one(item)}`] : [one(key), one(item)]
  )
  return inHeader(properties.flat().join(","))
}

/** Cookies: style `form`. */
export const asCookies = ({ explode, name }: Format, value: unknown): ReadonlyArray<Pair> => {
  const pair = (key: string, item: string): Pair => ({ name: key, written: `${key}=${item}` })
  const write = (item: unknown): string => encode(primitive(item))
  if (!isCompound(value)) return [pair(name, write(value))]
  if (Array.isArray(value)) {
    // A request has one cookie of a name.
    if (explode && value.length > 1) refuse("must have one item, because it is sent as one cookie")
    return [pair(name, value.map(write).join(","))]
  }
  const properties = entries(value as object)
  if (!explode) return [pair(name, properties.flat().map(write).join(","))]
  return properties.map(([key, item]) => {
    if (!isToken(key)) refuse("must have property names that can name a cookie")
    return pair(key, write(item))
  })
}

/** RFC 9110, section 5.6.2: what a header or a cookie can be called. */
export const isToken = (name: string): boolean => /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)

// --- What a document may ask for --------------------------------------------------------

export type Location = "path" | "query" | "header" | "cookie"

export const stylesOf: { readonly [L in Location]: ReadonlyArray<Style> } = {
  path: ["simple", "label", "matrix"],
  query: ["form", "spaceDelimited", "pipeDelimited", "deepObject"],
  header: ["simple"],
  cookie: ["form"]
}

/**
 * Why values of these types cannot be written at all; `types` is what the schema names, nothing where it
 * names none.
 */
export const impossible = (
  location: Location,
  { explode, style }: Format,
  types: ReadonlyArray<string>
): string | undefined => {
  const only = (...wanted: ReadonlyArray<string>): boolean =>
    types.length > 0 && types.every((type) => wanted.includes(type))
  const primitives = ["string", "number", "integer", "boolean", "null"]
  if (style === "deepObject" && only(...primitives, "array")) {
    return "style deepObject writes objects, and the schema describes none"
  }
  if (style === "spaceDelimited" || style === "pipeDelimited") {
    if (only(...primitives))
      return `style ${style} writes arrays and objects, and the schema describes neither`
    if (explode && only("object")) return `style ${style} has no way to explode an object`
  }
  if (location === "cookie" && explode && only("array")) {
    return "a cookie has no way to hold an exploded array"
  }
  return undefined
}
