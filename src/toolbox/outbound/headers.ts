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

/** Why a header of this name cannot be set; `undefined` where it can. */
export const nameProblem = (name: string): string | undefined => {
  if (!/^[!#$%&'*+.^_`|~A-Za-z0-9-]{1,256}$/.test(name)) {
    return "a header's name must be made of letters, digits and dashes"
  }
  return isReserved(name.toLowerCase()) ? `the header ${name.toLowerCase()} cannot be set` : undefined
}

/** Whether a header can have this value: visible ASCII, with spaces and tabs only inside. */
export const isValue = (value: string): boolean => /^(?:[!-~](?:[\t -~]*[!-~])?)?$/.test(value)

const maxHeaders = 100
const maxBytes = 16_384

/** Header names in lower case (RFC 9110, 5.1 and 5.5), or what is wrong with them. */
export const read = (
  headers: Readonly<Record<string, string>>
): Result.Result<ReadonlyMap<string, string>, OutboundError> => {
  const invalid = (what: string) =>
    Result.fail(problem("invalid_request", `The headers are not valid: ${what}.`))
  const found = new Map<string, string>()
  let bytes = 0
  for (const [name, value] of Object.entries(headers)) {
    const wrong = nameProblem(name)
    if (wrong !== undefined) return invalid(wrong)
    const key = name.toLowerCase()
    if (!isValue(value)) return invalid(`the value of ${key} must be visible ASCII without line breaks`)
    if (found.has(key)) return invalid(`${key} is there twice`)
    found.set(key, value)
    bytes += key.length + value.length
  }
  return found.size > maxHeaders || bytes > maxBytes
    ? invalid(`there are more than ${maxHeaders}, or more than ${maxBytes} bytes of them`)
    : Result.succeed(found)
}
