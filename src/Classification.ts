/**
 * What a tool's error is, where the tool does not say so itself.
 *
 * Precedence, said once:
 *
 * 1. `isRetryable`, where the error or what it wraps has that boolean.
 * 2. An HTTP status: 4xx `Caller`, except 408 and 425 `Retryable`, 429 `Overload`; 5xx `Retryable`, 503 with
 *    a hint when to come back `Overload`.
 * 3. A lost connection or a timeout: `Retryable`.
 * 4. A hint when to come back, alone: `Overload`.
 * 5. A declared failure is `Caller`, anything else `Retryable`.
 *
 * The outermost answer counts. What an error wraps is looked at through `reason`, `response`, `cause`, `http`
 * and `errors`, sixteen objects at most. Errors come from outside: reading one never throws.
 */
import * as Duration from "effect/Duration"
import type { ErrorClass } from "./ToolError.ts"

export interface Classified {
  readonly class: ErrorClass
  /** When to come back, from 0 to 24 hours, where the error says so. */
  readonly retryAfter: Duration.Duration | undefined
  /** The attempt may have taken effect: a timeout or a lost connection. Not so when nothing was sent. */
  readonly outcomeUnknown: boolean
}

/**
 * Classifies an error. `now` is in milliseconds since the epoch.
 *
 * The hint is the first of: `retryAfterMs` and the header `retry-after-ms`, in milliseconds; `retryAfter`, a
 * `Duration` or what the header holds; the header `Retry-After`: seconds, as number or text, or an HTTP date.
 */
export const classify = (error: unknown, origin: "declared" | "thrown", now: number): Classified => {
  const seen = unwrap(error)
  const retryAfter = first(seen, (object) => hintOf(object, now))
  const status = first(seen, statusOf)
  const lost = lostIn(seen)
  return {
    class:
      classOfRetryable(first(seen, isRetryableOf), status, retryAfter) ??
      classOfStatus(status, retryAfter) ??
      (lost !== undefined ? "Retryable" : retryAfter !== undefined ? "Overload" : undefined) ??
      (origin === "declared" ? "Caller" : "Retryable"),
    retryAfter,
    // A gateway that lost its connection or its patience knows no more than we would.
    outcomeUnknown: status === undefined ? lost === "unknown" : status === 502 || status === 504
  }
}

// --- Classes ---------------------------------------------------------------

const classOfRetryable = (
  isRetryable: boolean | undefined,
  status: number | undefined,
  retryAfter: Duration.Duration | undefined
): ErrorClass | undefined => {
  if (isRetryable === undefined) return undefined
  if (!isRetryable) return "Caller"
  return status === 429 || retryAfter !== undefined ? "Overload" : "Retryable"
}

const classOfStatus = (
  status: number | undefined,
  retryAfter: Duration.Duration | undefined
): ErrorClass | undefined => {
  if (status === undefined) return undefined
  if (status === 429) return "Overload"
  if (status === 503 && retryAfter !== undefined) return "Overload"
  return status >= 500 || status === 408 || status === 425 ? "Retryable" : "Caller"
}

const isRetryableOf = (object: object): boolean | undefined => {
  const value = read(object, "isRetryable")
  return typeof value === "boolean" ? value : undefined
}

const statusOf = (object: object): number | undefined => {
  for (const key of ["status", "statusCode"]) {
    const value = read(object, key)
    if (Number.isInteger(value) && (value as number) >= 400 && (value as number) <= 599)
      return value as number
  }
  return undefined
}

// --- Lost connections ------------------------------------------------------

/** Nothing was sent: the name was not found, or the connection never opened. */
const notSent = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"])

/** The connection was lost when something may have been sent. */
const cutOff = new Set([
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENETDOWN",
  "ENOTCONN",
  "ERR_NETWORK",
  "ERR_STREAM_PREMATURE_CLOSE",
  "UND_ERR_ABORTED",
  "UND_ERR_BODY_TIMEOUT",
  "UND_ERR_CLOSED",
  "UND_ERR_DESTROYED",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_SOCKET"
])

/** What a timeout, an abort or a lost connection is called where it has no code. */
const names = new Set(["TimeoutError", "AbortError", "TransportError"])

/** Whether a connection was lost: an exact code says more than a name, and doubt more than certainty. */
const lostIn = (seen: ReadonlyArray<object>): "unknown" | "not sent" | undefined => {
  let coded: "unknown" | "not sent" | undefined
  let named = false
  for (const object of seen) {
    const code = read(object, "code")
    if (typeof code === "string" && (notSent.has(code) || cutOff.has(code))) {
      const syscall = read(object, "syscall")
      const sentNothing = notSent.has(code) || syscall === "connect" || syscall === "getaddrinfo"
      if (coded !== "unknown") coded = sentNothing ? "not sent" : "unknown"
    }
    named ||=
      ["name", "_tag", "reason"].some((key) => names.has(read(object, key) as string)) ||
      read(object, "message") === "fetch failed"
  }
  return coded ?? (named ? "unknown" : undefined)
}

// --- When to come back -----------------------------------------------------

const longest = 24 * 60 * 60 * 1000

const hintOf = (object: object, now: number): Duration.Duration | undefined => {
  const headers = read(object, "headers") ?? read(object, "responseHeaders")
  const millis =
    millisOf(read(object, "retryAfterMs"), 1, now) ??
    millisOf(header(headers, "retry-after-ms"), 1, now) ??
    millisOf(read(object, "retryAfter"), 1000, now) ??
    millisOf(header(headers, "retry-after"), 1000, now)
  return millis === undefined ? undefined : Duration.millis(Math.min(longest, Math.max(0, millis)))
}

/** Milliseconds of a duration, a number of units, or an HTTP date. */
const millisOf = (value: unknown, unit: number, now: number): number | undefined => {
  if (typeof value === "number") return Number.isNaN(value) ? undefined : value * unit
  if (typeof value === "string") {
    const text = value.trim()
    if (/^\d{1,15}(\.\d{1,15})?$/.test(text)) return Number(text) * unit
    // One of the three forms of RFC 9110 leaves its time zone unsaid.
    if (!/^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(text)) return undefined
    const date = Date.parse(text.endsWith("GMT") ? text : `${text} GMT`)
    return Number.isNaN(date) ? undefined : date - now
  }
  return attempt(() => (Duration.isDuration(value) ? Duration.toMillis(value) : undefined))
}

/** A header of a `Headers`, a `Map` or a plain object; names are compared without regard to case. */
const header = (headers: unknown, name: string): unknown => {
  if (headers === null || typeof headers !== "object") return undefined
  const value = attempt(() => {
    const get = read(headers, "get")
    const entries = headers instanceof Map ? headers : Object.entries(headers)
    if (typeof get === "function" && !(headers instanceof Map)) return get.call(headers, name) as unknown
    for (const [key, value] of entries) {
      if (typeof key === "string" && key.toLowerCase() === name) return value as unknown
    }
    return undefined
  })
  return attempt(() => (Array.isArray(value) ? (value[0] as unknown) : value))
}

// --- Reading what comes from outside ---------------------------------------

/** The error and what it wraps, outermost first. The bound also ends cycles. */
const unwrap = (error: unknown): ReadonlyArray<object> => {
  const seen: Array<object> = []
  const add = (value: unknown): void => {
    if (value !== null && typeof value === "object" && seen.length < 16 && !seen.includes(value)) {
      seen.push(value)
    }
  }
  add(error)
  for (let index = 0; index < seen.length; index++) {
    const object = seen[index]!
    for (const key of ["reason", "response", "cause", "http"]) add(read(object, key))
    const errors = read(object, "errors")
    attempt(() => {
      if (Array.isArray(errors)) for (const each of errors.slice(0, 16)) add(each)
    })
  }
  return seen
}

const first = <A>(seen: ReadonlyArray<object>, look: (object: object) => A | undefined): A | undefined => {
  for (const object of seen) {
    const found = look(object)
    if (found !== undefined) return found
  }
  return undefined
}

const read = (object: object, key: string): unknown => attempt(() => (object as Record<string, unknown>)[key])

const attempt = <A>(look: () => A): A | undefined => {
  try {
    return look()
  } catch {
    return undefined
  }
}
