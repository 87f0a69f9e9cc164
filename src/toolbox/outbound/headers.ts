/** Which headers a request may bring. */
import * as Result from "effect/Result"
import { type OutboundError, problem } from "./error.ts"

/** What belongs to the connection, to its framing or to a proxy, or would make another request of this one. */
const reserved = new Set([
  "accept-encoding",
  "connection",
  "content-length",
  "expect",
  "forwarded",
  "host",
  "http2-settings",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "via",
  "x-http-method",
  "x-http-method-override",
  "x-method-override"
])

const isReserved = (name: string): boolean =>
  reserved.has(name) || name.startsWith("proxy-") || name.startsWith("x-forwarded-")

const maxHeaders = 100
const maxBytes = 16_384

/** Header names in lower case (RFC 9110, 5.1 and 5.5), or what is wrong with them. */
export const read = (
  headers: Readonly<Record<string, string>>
): Result.Result<ReadonlyMap<string, string>, OutboundError> => {
  const invalid = (what: string) => Result.fail(problem("invalid_request", what))
  const found = new Map<string, string>()
  let bytes = 0
  for (const [name, value] of Object.entries(headers)) {
    if (!/^[!#$%&'*+.^_`|~A-Za-z0-9-]{1,256}$/.test(name)) {
      return invalid("A header's name must be made of letters, digits and dashes.")
    }
    const key = name.toLowerCase()
    if (isReserved(key)) return invalid(`The header ${key} cannot be set.`)
    if (typeof value !== "string" || !/^(?:[!-~](?:[\t -~]*[!-~])?)?$/.test(value)) {
      return invalid(`The value of the header ${key} must be visible ASCII, without line breaks.`)
    }
    if (found.has(key)) return invalid(`The header ${key} is there twice.`)
    found.set(key, value)
    bytes += key.length + value.length
  }
  if (found.size > maxHeaders || bytes > maxBytes) return invalid("The headers are too many, or too long.")
  return Result.succeed(found)
}
