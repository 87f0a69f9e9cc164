/** What is sent for a tool's arguments. */
import type { Json } from "../../internal/jsonSchema/facts.ts"
import * as Bodies from "./bodies.ts"
import type { Operation } from "./operation.ts"
import type { Parameter, Written } from "./parameters.ts"
import * as Paths from "./paths.ts"
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

/** Writes arguments that fit the operation's schema. */
export const write = (operation: Operation, given: Json, fixed: Json, seed: number): Outgoing | Refusal => {
  let argument = ""
  const of = (parameter: { readonly argument: string }): unknown => {
    argument = parameter.argument
    return Object.hasOwn(given, argument) ? given[argument] : undefined
  }
  const at = (location: Parameter["location"]): ReadonlyArray<readonly [Parameter, unknown]> =>
    operation.parameters
      .filter((parameter) => parameter.location === location)
      .map((parameter) => [parameter, given[parameter.argument]] as const)
      .filter(([{ argument }, value]) => Object.hasOwn(given, argument) && isWritten(value))

  try {
    const byName = new Map(
      operation.parameters.filter(({ location }) => location === "path").map((each) => [each.name, each])
    )
    const path = Paths.write(operation.template.segments, (name) => {
      const parameter = byName.get(name)!
      return pathValue(parameter.written, of(parameter))
    })
    const pairs = at("query").flatMap(([parameter, value]) => {
      argument = parameter.argument
      return checked(operation, parameter, queryOf(parameter, value))
    })
    const cookies = at("cookie").flatMap(([parameter, value]) => {
      argument = parameter.argument
      return checked(operation, parameter, cookiesOf(parameter, value))
    })
    const headers = at("header").map(([parameter, value]) => {
      argument = parameter.argument
      return [parameter.name, headerOf(parameter.written, value)] as const
    })
    const { body } = operation
    argument = body?.argument ?? ""
    const value = body === undefined ? undefined : of(body)
    const written = body === undefined || value === undefined ? undefined : Bodies.write(body, value, seed)
    const query = [operation.template.query, joined(pairs, "&")].filter((part) => part !== "").join("&")
    const url = `${operation.base.origin}${operation.base.path}${path}${query === "" ? "" : `?${query}`}`
    argument = ""
    return {
      url: unchanged(url, `${operation.base.path}${path}`),
      headers: Object.fromEntries([
        ["accept", operation.accept],
        ...Object.entries(fixed),
        ...headers,
        ...(cookies.length === 0 ? [] : [["cookie", joined(cookies, "; ")] as const]),
        ...(written === undefined ? [] : [["content-type", written.type] as const])
      ]) as Record<string, string>,
      body: written?.bytes
    }
  } catch (error) {
    if (error instanceof Unsendable) return { argument, why: error.message }
    throw error
  }
}

const joined = (pairs: ReadonlyArray<Pair>, by: string): string =>
  pairs.map(({ written }) => written).join(by)

/** Whatever the parser of URLs would make of it, it must be what was written. */
const unchanged = (url: string, path: string): string => {
  if (URL.parse(url)?.pathname !== (path === "" ? "/" : path))
    throw new Unsendable("come to no URL that keeps its path")
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

const pathValue = (written: Written, value: unknown): string => {
  if (!isWritten(value)) throw new Unsendable("must not be empty, because it is part of the path")
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
