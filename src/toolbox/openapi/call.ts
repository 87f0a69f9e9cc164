/** One call of a tool: the request, and what its response is. */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { Json } from "../../internal/jsonSchema/facts.ts"
import * as OutboundHttp from "../OutboundHttp.ts"
import { OpenApiError } from "./error.ts"
import type { Operation } from "./operation.ts"
import * as Request from "./request.ts"
import * as Response from "./response.ts"

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
  const { body, ...rest } = outgoing
  const response = yield* http.request({
    ...rest,
    ...(body === undefined ? {} : { body }),
    method: operation.method,
    credential: operation.credential,
    followRedirects: "same-origin"
  })
  if (response.status >= 200 && response.status < 300)
    return Response.read(response, operation.tells, maxBytes)
  return yield* OutboundHttp.statusFailure(response) ?? notFollowed(response)
})

/** Says where a redirect leads, without its user and query: those may be keys to what is there. */
const notFollowed = ({
  headers,
  seeOther,
  status,
  url
}: OutboundHttp.OutboundResponse): OutboundHttp.StatusFailure => {
  const place = headers["location"]
    ?.replace(/[?#].*$/s, "")
    .replace(/^([a-z][a-z0-9+.-]*:)?([/\\]*)[^/\\]*@/i, "$1$2")
  const text = place === undefined ? "" : `It leads to ${place.slice(0, 500)}, and is not followed.`
  return new OutboundHttp.StatusFailure({ status, url, text, ...(seeOther ? { seeOther } : {}) })
}
