/** One call of a tool: the request, what follows it at the same origin, and what the response is. */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { Json } from "../../internal/jsonSchema/facts.ts"
import * as OutboundHttp from "../OutboundHttp.ts"
import { OpenApiError } from "./error.ts"
import type { Operation } from "./operation.ts"
import * as Request from "./request.ts"
import * as Response from "./response.ts"

const maxRedirects = 5

export interface Options {
  readonly http: OutboundHttp.OutboundHttp["Service"]
  /** Sent with every request; names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly maxBytes: number
}

/** Runs an operation with arguments that fit its schema. */
export const run = Effect.fnUntraced(function* (
  operation: Operation,
  params: Json,
  { headers, http, maxBytes }: Options
): Effect.fn.Return<
  Response.Response,
  OpenApiError | OutboundHttp.OutboundError | OutboundHttp.StatusFailure
> {
  const outgoing = Request.write(operation, params, headers, yield* Random.nextInt)
  if ("why" in outgoing) {
    return yield* new OpenApiError({ reason: "argument", at: outgoing.argument, problem: outgoing.why })
  }
  const { body } = outgoing
  let request: OutboundHttp.OutboundRequest = {
    method: operation.method,
    url: outgoing.url,
    headers: outgoing.headers,
    ...(body === undefined ? {} : { body }),
    credential: operation.credential,
    followRedirects: false
  }
  for (let redirects = 0; ; redirects++) {
    const response = yield* http.request(request)
    const next =
      redirects < maxRedirects ? redirected(request, response, operation.secretParameter) : undefined
    if (next !== undefined) {
      request = next
      continue
    }
    if (response.status >= 200 && response.status < 300)
      return Response.read(response, operation.tells, maxBytes)
    return yield* OutboundHttp.statusFailure(response) ?? notFollowed(response)
  }
})

/**
 * What a redirect asks for, where it stays at its origin: as browsers do it, a `POST` becomes a `GET` but for
 * 307 and 308.
 */
const redirected = (
  request: OutboundHttp.OutboundRequest,
  { headers, status }: OutboundHttp.OutboundResponse,
  secretParameter: string | undefined
): OutboundHttp.OutboundRequest | undefined => {
  const location = headers["location"]
  if (location === undefined || ![301, 302, 303, 307, 308].includes(status)) return undefined
  const url = URL.parse(location, request.url)
  if (url === null || url.origin !== new URL(request.url).origin) return undefined
  // Some servers write the query back; the credential is added anew.
  if (secretParameter !== undefined && url.searchParams.has(secretParameter))
    url.searchParams.delete(secretParameter)
  const { body, method, ...rest } = request
  const becomesGet = method === "POST" ? status < 307 : status === 303 && method !== "HEAD"
  if (!becomesGet) return { ...request, url: url.href }
  const kept = Object.entries(request.headers ?? {}).filter(([name]) => name.toLowerCase() !== "content-type")
  return { ...rest, url: url.href, method: "GET", headers: Object.fromEntries(kept) }
}

const notFollowed = ({ headers, status, url }: OutboundHttp.OutboundResponse): OutboundHttp.StatusFailure =>
  new OutboundHttp.StatusFailure({
    status,
    url,
    text:
      headers["location"] === undefined
        ? ""
        : `It leads to ${headers["location"].slice(0, 500)}, and is not followed.`
  })
