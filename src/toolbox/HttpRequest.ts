/**
 * `http_request`: a request to a URL that a model chooses, within what
 * `OutboundHttp` allows.
 *
 * **What is a failure.** A response is a result, whatever its status: a model
 * wants to read what a 404 says. Only where the same request may do better
 * later (408, 425, 429 and 5xx) it is a `StatusFailure`, which retries see,
 * with the server's `Retry-After`. No response is an `OutboundError`.
 *
 * **What is repeated.** The tool as a whole is neither read-only nor
 * idempotent: after a lost connection or a timeout nothing is sent again, a
 * `GET` neither. A tool of fewer methods says more of itself: with `methods:
 * ["GET", "HEAD"]` it is read-only, with `PUT` and `DELETE` beside them
 * idempotent, and is then repeated. After 429 or 503 every request is, because
 * it was refused; but not where a redirect had answered it, and led there. The
 * idempotency key of a call goes along with `POST` and `PATCH`, as
 * `Idempotency-Key`.
 *
 * What comes back is whatever somebody has put there, so it is untrusted; and a
 * URL alone can carry data away, so every call sends data.
 */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { CurrentCall } from "../CurrentCall.ts"
import * as Handlers from "../Handlers.ts"
import { Period } from "../internal/period.ts"
import * as ToolAnnotations from "../ToolAnnotations.ts"
import * as Toolset from "../Toolset.ts"
import * as OutboundHttp from "./OutboundHttp.ts"
import * as Content from "./outbound/content.ts"
import { problem } from "./outbound/error.ts"
import { isValue } from "./outbound/headers.ts"

// --- Models ----------------------------------------------------------------

/** What the tool is made of; everything has a default. */
export const Options = Schema.Struct({
  /** The tool's name; `http_request`. */
  name: Schema.optionalKey(Schema.NonEmptyString),
  /** All by default. The tool's annotations follow from them. */
  methods: Schema.optionalKey(Schema.NonEmptyArray(Schema.Literals(OutboundHttp.methods))),
  /** Names of the credentials that the model may ask for; whatever it asks for by default, and none with `[]`. */
  credentials: Schema.optionalKey(Schema.Array(Schema.NonEmptyString)),
  /**
   * The circuit that the tool shares with others. It has none by default: what one host does says nothing about the
   * next one.
   */
  circuit: Schema.optionalKey(Schema.NonEmptyString),
  /** For an attempt, redirects included; 1 minute. */
  timeout: Schema.optionalKey(Period)
})
export type Options = typeof Options.Type

const Scalar = Schema.Union([Schema.String, Schema.Finite, Schema.Boolean])

const Url = Schema.String.annotate({
  ...ToolAnnotations.host,
  description: "An absolute http or https URL, without a user name or a password."
})

const parametersOf = ({ credentials, methods = OutboundHttp.methods }: Options) =>
  Schema.Struct({
    url: Url,
    method: Schema.optionalKey(
      Schema.Literals(methods).annotate({ description: `${methods[0]} by default.` })
    ),
    query: Schema.optionalKey(
      Schema.Record(Schema.String, Schema.Union([Scalar, Schema.Array(Scalar)])).annotate({
        description: "Parameters to add to the URL; a list repeats the name."
      })
    ),
    headers: Schema.optionalKey(
      Schema.Record(Schema.String, Schema.String).annotate({
        description: "Headers beside those that belong to the connection."
      })
    ),
    json: Schema.optionalKey(Schema.Json.annotate({ description: "A body to be sent as JSON." })),
    body: Schema.optionalKey(
      Schema.String.annotate({ description: "A body to be sent as it is; not together with json." })
    ),
    credential: Schema.optionalKey(
      (credentials === undefined
        ? Schema.String
        : (Schema.Literals(credentials) as unknown as typeof Schema.String)
      ).annotate({ description: "The name of the credential to send the request with." })
    ),
    timeoutSeconds: Schema.optionalKey(
      Schema.Finite.check(Schema.isGreaterThan(0)).annotate({
        description: "How long the response may take, where it should be less than the default."
      })
    ),
    followRedirects: Schema.optionalKey(
      Schema.Boolean.annotate({ description: "Whether redirects are followed; they are by default." })
    )
  })

/** A response. `body` is JSON, a text, or base64, as `format` says; there is none where it is `none`. */
export const Response = Schema.Struct({
  status: Schema.Int,
  url: Schema.String.annotate({ description: "Where the response came from, after redirects." }),
  redirects: Schema.Int,
  headers: Schema.Record(Schema.String, Schema.String),
  contentType: Schema.optionalKey(Schema.String),
  format: Schema.Literals(["json", "text", "base64", "none"]),
  body: Schema.optionalKey(Schema.Json)
})
export type Response = typeof Response.Type

const Failure = Schema.Union([OutboundHttp.OutboundError, OutboundHttp.StatusFailure])

// --- Tool ------------------------------------------------------------------

const reading: ReadonlySet<OutboundHttp.Method> = new Set(["GET", "HEAD", "OPTIONS"])
const repeatable: ReadonlySet<OutboundHttp.Method> = new Set([...reading, "PUT", "DELETE"])

const toolOf = <const Name extends string>(name: Name, options: Options) => {
  const methods = options.methods ?? OutboundHttp.methods
  const isReadonly = methods.every((method) => reading.has(method))
  return Tool.make(name, {
    description: `Sends an HTTP request (${methods.join(", ")}) and answers with the status, the headers and the body.`,
    parameters: parametersOf(options),
    success: Response,
    failure: Failure
  })
    .annotate(Tool.Title, "HTTP request")
    .annotate(Tool.Readonly, isReadonly)
    .annotate(Tool.Destructive, !isReadonly)
    .annotate(
      Tool.Idempotent,
      methods.every((method) => repeatable.has(method))
    )
    .annotate(Tool.OpenWorld, true)
    .annotate(ToolAnnotations.Capabilities, ["network_access"])
    .annotate(ToolAnnotations.Trust, "untrusted")
    .annotate(ToolAnnotations.SendsData, true)
    .annotate(ToolAnnotations.Circuit, options.circuit ?? false)
    .annotate(ToolAnnotations.Timeout, options.timeout ?? "1 minute")
    .annotate(ToolAnnotations.Classify, OutboundHttp.classify)
}

/** The tool under a name. */
export type HttpRequest<Name extends string> = ReturnType<typeof toolOf<Name>>

// --- Handler ---------------------------------------------------------------

type Params = Tool.Parameters<HttpRequest<string>>
type Failure = OutboundHttp.OutboundError | OutboundHttp.StatusFailure

/** Whether the same request may be answered differently later. */
const isPassing = (status: number): boolean =>
  status === 408 || status === 425 || status === 429 || status >= 500

const handle = (http: OutboundHttp.OutboundHttp["Service"], methods: ReadonlyArray<OutboundHttp.Method>) =>
  Effect.fnUntraced(function* (
    params: Params,
    { idempotencyKey }: Pick<CurrentCall, "idempotencyKey">
  ): Effect.fn.Return<Response, Failure> {
    const method = params.method ?? methods[0] ?? "GET"
    const response = yield* http.request(yield* requestOf(params, method, idempotencyKey))
    const failure = isPassing(response.status) ? OutboundHttp.statusFailure(response) : undefined
    if (failure !== undefined) return yield* failure
    const { headers, redirects, status, url } = response
    const contentType = headers["content-type"]
    return {
      status,
      url,
      redirects,
      headers,
      ...(contentType === undefined ? {} : { contentType }),
      ...(Content.read(response.body, contentType) as Pick<Response, "format" | "body">)
    }
  })

const requestOf = (
  { body, credential, followRedirects, headers = {}, json, query = {}, timeoutSeconds, url }: Params,
  method: OutboundHttp.Method,
  idempotencyKey: string | undefined
): Effect.Effect<OutboundHttp.OutboundRequest, OutboundHttp.OutboundError> => {
  if (body !== undefined && json !== undefined) {
    return Effect.fail(problem("invalid_request", "Give either a body or json."))
  }
  const content = json === undefined ? body : JSON.stringify(json)
  const added: Record<string, string> = {}
  if (content !== undefined) {
    added["content-type"] = json === undefined ? "text/plain; charset=utf-8" : "application/json"
  }
  // A call that has a key is repeated also where nobody knows what became of it: only the server can tell.
  if (idempotencyKey !== undefined && isValue(idempotencyKey) && !repeatable.has(method)) {
    added["idempotency-key"] = idempotencyKey
  }
  for (const name of Object.keys(headers)) delete added[name.toLowerCase()]
  return Effect.succeed({
    method,
    url: withQuery(url, query),
    headers: { ...added, ...headers },
    ...(content === undefined ? {} : { body: content }),
    credential,
    followRedirects,
    readTimeout: timeoutSeconds === undefined ? undefined : timeoutSeconds * 1000
  })
}

/** The URL is only added to: it is read, as it was written, where it is sent. */
const withQuery = (url: string, query: NonNullable<Params["query"]>): string => {
  const pairs = Object.entries(query).flatMap(([name, values]) =>
    [values].flat().map((value): [string, string] => [name, String(value)])
  )
  if (pairs.length === 0) return url
  const [address = "", ...fragment] = url.split("#")
  const separator = !address.includes("?") ? "?" : /[?&]$/.test(address) ? "" : "&"
  return [`${address}${separator}${new URLSearchParams(pairs)}`, ...fragment].join("#")
}

// --- Toolsets --------------------------------------------------------------

/** The tool as the options say, under the name that they give. */
export const make = <const Name extends string = "http_request">(
  options: Options & { readonly name?: Name } = {}
): Toolset.Toolset<{ readonly [N in Name]: HttpRequest<N> }, never, OutboundHttp.OutboundHttp> => {
  const name = (options.name ?? "http_request") as Name
  const toolkit = Toolkit.make(toolOf(name, options)) as unknown as Toolkit.Toolkit<{
    readonly [N in Name]: HttpRequest<N>
  }>
  const handlers = Effect.map(OutboundHttp.OutboundHttp, (http) => ({
    [name]: handle(http, options.methods ?? OutboundHttp.methods)
  }))
  return Toolset.make(toolkit, Handlers.toLayer(toolkit, handlers as never))
}

const all = make()

/** `http_request`, with all methods. */
export const toolkit: Toolkit.Toolkit<{ readonly http_request: HttpRequest<"http_request"> }> = all.toolkit

/** Its handler. */
export const layer: Layer.Layer<
  Tool.HandlersFor<{ readonly http_request: HttpRequest<"http_request"> }>,
  never,
  OutboundHttp.OutboundHttp
> = all.layer
