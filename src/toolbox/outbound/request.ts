/** What is asked for, and whether it can be sent as it is. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Credential, Credentials } from "../Credentials.ts"
import { type OutboundError, problem } from "./error.ts"
import * as Headers from "./headers.ts"
import type { Follows, Hop } from "./hops.ts"
import * as Secrets from "./secrets.ts"
import * as Url from "./url.ts"

/** The methods that there are; `CONNECT` and `TRACE` are for proxies and for looking at them. */
export const methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const
export type Method = (typeof methods)[number]

export interface OutboundRequest {
  readonly method: Method
  readonly url: string | URL
  readonly headers?: Readonly<Record<string, string>>
  /** Not with `GET` and `HEAD`. */
  readonly body?: string | Uint8Array
  /** A name in `Credentials`. */
  readonly credential?: string | undefined
  /** From the connection to the last byte, for each hop; never longer than the layer's. */
  readonly readTimeout?: Duration.Input | undefined
  /** Whether redirects are followed, or only those that stay at their origin; all are by default. */
  readonly followRedirects?: Follows | undefined
}

/** The request as the first hop, with the credential that it names. */
export const begin = Effect.fnUntraced(function* (
  request: OutboundRequest,
  credentials: Credentials["Service"]
): Effect.fn.Return<Hop, OutboundError> {
  const target = yield* Effect.fromResult(Url.read(request.url))
  const headers = yield* Effect.fromResult(Headers.read(request.headers ?? {}))
  const method = methods.find((each) => each === request.method)
  if (method === undefined) {
    return yield* problem("invalid_request", `The method must be one of ${methods.join(", ")}.`)
  }
  if (request.body !== undefined && (method === "GET" || method === "HEAD")) {
    return yield* problem("invalid_request", `A ${method} request has no body.`)
  }
  const body = typeof request.body === "string" ? new TextEncoder().encode(request.body) : request.body
  const hop = { target, method, headers, body, credential: undefined }
  if (request.credential === undefined) return hop
  const credential = yield* Effect.mapError(credentials.get(request.credential), ({ message }) =>
    problem("credential", message)
  )
  const refusal = credentialRefusal(hop, credential)
  return refusal === undefined ? { ...hop, credential } : yield* problem("credential", refusal, target.host)
})

/** Why the credential cannot go with the request. */
const credentialRefusal = ({ headers, target }: Hop, credential: Credential): string | undefined => {
  if (!Secrets.isFor(credential, target.host)) return "The credential may not be sent to this host."
  if (credential.type === "query") {
    return target.url.searchParams.has(credential.name)
      ? "The credential is sent in the query: leave that parameter out."
      : undefined
  }
  const { name } = Secrets.headerOf(credential)
  return headers.has(name) ? `The credential is sent as ${name}: leave that header out.` : undefined
}

/** How long a hop of the request may take, in milliseconds. */
export const timeoutOf = (
  { readTimeout }: OutboundRequest,
  longest: number
): Effect.Effect<number, OutboundError> => {
  if (readTimeout === undefined) return Effect.succeed(longest)
  const duration = Duration.fromInput(readTimeout)
  return Option.isSome(duration) && Duration.isPositive(duration.value)
    ? Effect.succeed(Math.min(longest, Duration.toMillis(duration.value)))
    : Effect.fail(problem("invalid_request", "The timeout must be a duration longer than 0."))
}
