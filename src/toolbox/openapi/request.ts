/** What is sent for a tool's arguments. */
import type { Json } from "../../internal/jsonSchema/facts.ts"
import * as Bodies from "./bodies.ts"
import type { Operation } from "./operation.ts"
import type { Parameter, Written } from "./parameters.ts"
import * as Paths from "./paths.ts"
import type { Base } from "./servers.ts"
import {
  asCookies,
  asHeader,
  encode,
  inHeader,
  inPath,
  inQuery,
  isWritten,
  type Pair,
  Unsendable
} from "./styles.ts"

export interface Outgoing {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Uint8Array | undefined
}

/** An argument that cannot be sent, by its name, and why. */
export interface Refusal {
  readonly argument: string
  readonly why: string
}

/** Writes arguments that fit the operation's schema. `fixed` are headers of every request, in lower case. */
export const write = (
  operation: Operation,
  given: Json,
  fixed: Readonly<Record<string, string>>,
  seed: number
): Outgoing | Refusal => {
  const { base, body, parameters, template } = operation
  // Whoever is being written when something cannot be.
  let argument = ""
  const valueOf = (one: { readonly argument: string }): unknown => {
    argument = one.argument
    return Object.hasOwn(given, argument) ? given[argument] : undefined
  }
  const each = <A>(
    location: Parameter["location"],
    write: (parameter: Parameter, value: unknown) => ReadonlyArray<A>
  ): ReadonlyArray<A> =>
    parameters.flatMap((parameter) => {
      if (parameter.location !== location) return []
      const value = valueOf(parameter)
      return isGiven(parameter, value) ? write(parameter, value) : []
    })

  try {
    const path = Paths.write(template.segments, (name) => {
      const parameter = parameters.find((one) => one.location === "path" && one.name === name)!
      return pathValue(parameter, valueOf(parameter))
    })
    const pairs = each("query", (parameter, value) =>
      checked(operation, parameter, queryOf(parameter, value))
    )
    const cookies = each("cookie", (parameter, value) =>
      checked(operation, parameter, cookiesOf(parameter, value))
    )
    const headers = each("header", ({ name, written }, value) => [[name, headerOf(written, value)] as const])
    const content = body === undefined ? undefined : valueOf(body)
    const sent = body === undefined || content === undefined ? undefined : Bodies.write(body, content, seed)
    argument = ""
    const query = [template.query, joined(pairs, "&")].filter((part) => part !== "").join("&")
    return {
      url: urlOf(base, path, query),
      headers: Object.fromEntries([
        ["accept", operation.accept],
        ...Object.entries(fixed),
        ...headers,
        ...(cookies.length === 0 ? [] : [["cookie", joined(cookies, "; ")]]),
        ...(sent === undefined ? [] : [["content-type", sent.type]])
      ]),
      body: sent?.bytes
    }
  } catch (error) {
    if (error instanceof Unsendable) return { argument, why: error.message }
    throw error
  }
}

/** Null says nothing, and neither does what is empty; but for JSON, where they are values. */
const isGiven = ({ written }: Parameter, value: unknown): boolean =>
  "as" in written ? value !== undefined : isWritten(value)

const joined = (pairs: ReadonlyArray<Pair>, by: string): string =>
  pairs.map(({ written }) => written).join(by)

/** Whatever the parser of URLs would make of it, the path must be what was written. */
const urlOf = (base: Base, path: string, query: string): string => {
  const url = `${base.origin}${base.path}${path}${query === "" ? "" : `?${query}`}`
  if (URL.parse(url)?.pathname !== base.path + path) {
    throw new Unsendable("The arguments come to a URL that does not keep its path")
  }
  return url
}

const asText = (as: "json" | "text", value: unknown): string => {
  if (as === "text" && typeof value !== "object") return String(value)
  // Beyond ASCII as JSON escapes it, so that a header can hold it too.
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`
  )
}

const pathValue = (parameter: Parameter, value: unknown): string => {
  const { written } = parameter
  if (!isGiven(parameter, value)) throw new Unsendable("must not be empty, because it is part of the path")
  return "as" in written ? encode(asText(written.as, value)) : inPath(written, value)
}

const headerOf = (written: Written, value: unknown): string =>
  "as" in written ? inHeader(asText(written.as, value)) : asHeader(written, value)

const queryOf = ({ name, written }: Parameter, value: unknown): ReadonlyArray<Pair> =>
  "as" in written
    ? [{ name, written: `${encode(name)}=${encode(asText(written.as, value))}` }]
    : inQuery(written, value)

const cookiesOf = ({ name, written }: Parameter, value: unknown): ReadonlyArray<Pair> =>
  "as" in written
    ? [{ name, written: `${name}=${encode(asText(written.as, value))}` }]
    : asCookies(written, value)

/** An exploded object names its own pairs: none may be another parameter's, or a credential's. */
const checked = (
  operation: Operation,
  parameter: Parameter,
  pairs: ReadonlyArray<Pair>
): ReadonlyArray<Pair> => {
  const { location } = parameter
  for (const pair of pairs) {
    const isTaken =
      operation.reserved.has(location, pair.name) ||
      operation.parameters.some(
        (other) => other !== parameter && other.location === location && other.name === pair.name
      )
    if (isTaken)
      throw new Unsendable("must not have a property that is a parameter of its own, or a credential")
  }
  return pairs
}
