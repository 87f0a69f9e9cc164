/** A request, and the one that a redirect makes of it (RFC 9110, 15.4; the Fetch standard where that leaves a choice). */
import * as Result from "effect/Result"
import type { Credential } from "../Credentials.ts"
import { type OutboundError, problem } from "./error.ts"
import * as Secrets from "./secrets.ts"
import { read, type Target } from "./url.ts"

/** One request on the way to a response. */
export interface Hop {
  readonly target: Target
  readonly method: string
  /** As the caller gave them, in lower case. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: Uint8Array | undefined
  /** Kept apart from headers and URL, so that it is in none of what is shown. */
  readonly credential: Credential | undefined
}

/** Which redirects are followed: all, none, or those that stay at their origin. */
export type Follows = boolean | "same-origin"

/** Whether the response leads somewhere else, and is followed there. */
export const isFollowed = (
  follows: Follows,
  { target: { url } }: Hop,
  status: number,
  headers: ReadonlyMap<string, string>
): boolean => {
  const location = headers.get("location")
  if (follows === false || location === undefined || !redirects.has(status)) return false
  if (follows === true) return true
  const target = resolve(url, location)
  return Result.isSuccess(target) && target.success.url.origin === url.origin
}

const redirects = new Set([301, 302, 303, 307, 308])

/** What another origin may see of the caller's headers; a key may be in any of the others. */
const harmless = new Set([
  "accept",
  "accept-language",
  "cache-control",
  "content-language",
  "content-type",
  "range",
  "user-agent"
])

/** The request that follows a redirect. The caller checks its target as it has checked the first one. */
export const next = (hop: Hop, status: number, location: string): Result.Result<Hop, OutboundError> =>
  Result.flatMap(resolve(hop.target.url, location), (target) => {
    const { host } = target
    const sameOrigin = target.url.origin === hop.target.url.origin
    if (hop.target.secure && !target.secure) {
      return Result.fail(problem("blocked", "A redirect from https to http is not followed.", host))
    }
    const { credential } = hop
    // As it was written: a host is read in lower case.
    if (credential !== undefined && !sameOrigin && Secrets.echoOf(credential)?.test(location) === true) {
      // Which host that is may be the credential.
      return Result.fail(problem("blocked", "The redirect would take the credential to another origin."))
    }
    // Some servers write the query back; it is added anew.
    if (credential?.type === "query" && target.url.searchParams.has(credential.name)) {
      target.url.searchParams.delete(credential.name)
    }
    const becomesGet =
      (status === 303 && hop.method !== "HEAD") ||
      ((status === 301 || status === 302) && hop.method === "POST")
    const headers = [...hop.headers].filter(
      ([name]) => (sameOrigin || harmless.has(name)) && !(becomesGet && name.startsWith("content-"))
    )
    return Result.succeed({
      target,
      method: becomesGet ? "GET" : hop.method,
      headers: new Map(headers),
      body: becomesGet ? undefined : hop.body,
      credential: sameOrigin ? credential : undefined
    })
  })

/** The target of a `Location`, read as strictly as any other URL. */
const resolve = (base: URL, location: string): Result.Result<Target, OutboundError> => {
  // Node reads headers as Latin 1; servers write UTF-8, and spaces, that they should have escaped.
  const text = location.replace(/[ \x80-\xff]/g, (byte) => encodeByte(byte.charCodeAt(0)))
  if (/^[a-z][a-z0-9+.-]*:/i.test(text)) return readNext(text)
  if (text.startsWith("//")) return readNext(`${base.protocol}${text}`)
  // A path cannot change the host: what could is refused with the backslashes and control characters.
  return Result.flatMap(readNext(`${base.origin}/${text}`), () => readNext(new URL(text, base).href))
}

const encodeByte = (byte: number): string => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`

const readNext = (text: string): Result.Result<Target, OutboundError> =>
  Result.mapError(read(text), ({ problem: what }) =>
    problem("blocked", `A redirect is not followed: ${what}`)
  )
