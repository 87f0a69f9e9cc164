/**
 * The one way by which tools reach the network with addresses that a model, a
 * document or a server may choose.
 *
 * A request goes out when its URL is written as URLs are (`outbound/url.ts`), its host is
 * among the allowed domains, and the address that is dialled is public or named
 * by `allowedAddresses` (`outbound/addresses.ts`). Names are resolved once per
 * connection, by the `Dns` in the context where there is one and else by the system,
 * and what was looked at is what is dialled: a name that changes its
 * address in between changes nothing. Every redirect is such a request of its
 * own. Each has a connection of its own, which nothing else ever uses.
 *
 * Proxies that the environment names are not used. Certificates are always
 * verified. Cookies are neither kept nor shown.
 */
import * as Tls from "node:tls"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Dns from "effect/net/Dns"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Domains from "../internal/domains.ts"
import { millis, whole } from "../internal/options.ts"
import * as SecurityPolicy from "../SecurityPolicy.ts"
import type { Classification } from "../ToolAnnotations.ts"
import { Credentials } from "./Credentials.ts"
import * as Addresses from "./outbound/addresses.ts"
import * as Dial from "./outbound/dial.ts"
import { DurationInput } from "./outbound/durationInput.ts"
import { OutboundError, problem } from "./outbound/error.ts"
import * as Exchange from "./outbound/exchange.ts"
import * as Headers from "./outbound/headers.ts"
import * as Hops from "./outbound/hops.ts"
import { isMetadataName } from "./outbound/names.ts"
import * as Secrets from "./outbound/secrets.ts"
import { systemDns } from "./outbound/systemDns.ts"
import * as Url from "./outbound/url.ts"

export { OutboundError }

// --- Models ----------------------------------------------------------------

/** The methods that there are; `CONNECT` and `TRACE` are for proxies and for debugging them. */
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
  /** From the connection to the last byte, for each hop; no longer than the layer's. */
  readonly readTimeout?: Duration.Input | undefined
  /** Whether redirects are followed; they are by default. */
  readonly followRedirects?: boolean | undefined
}

/** Any status is a response. */
export interface OutboundResponse {
  readonly status: number
  /** In lower case. Values that show the credential are masked, here and in the body. */
  readonly headers: Readonly<Record<string, string>>
  /** Of the last hop, without the credential. */
  readonly url: string
  /** How many were followed. */
  readonly redirects: number
  /** Decompressed. */
  readonly body: Uint8Array
}

const Patterns = Schema.Array(
  Schema.String.check(Schema.makeFilter((pattern: string) => Domains.problem(pattern)))
)

const Ranges = Schema.Array(
  Schema.String.check(
    Schema.makeFilter((text: string) =>
      Result.match(Addresses.rangeFromString(text), {
        onFailure: (problem) => problem,
        onSuccess: () => undefined
      })
    )
  )
)

export const Options = Schema.Struct({
  /** Hosts that requests may go to, redirects included: `example.com`, `*.example.com` (not the apex), `*`, addresses, ranges. */
  allowedDomains: Patterns,
  /** Wins over `allowedDomains`. */
  deniedDomains: Schema.optionalKey(Patterns),
  /** Addresses and ranges that may be dialled although they are not public. */
  allowedAddresses: Schema.optionalKey(Ranges),
  /** Addresses and ranges that may not be dialled although they are public; wins over `allowedAddresses`. */
  deniedAddresses: Schema.optionalKey(Ranges),
  /** Ports beside 80 and 443. */
  allowedPorts: Schema.optionalKey(Schema.Array(Schema.Int)),
  /** Looking the name up, connecting and securing the connection, for each hop; 5 seconds. */
  connectTimeout: Schema.optionalKey(DurationInput),
  /** From the connection to the last byte, for each hop; 30 seconds. */
  readTimeout: Schema.optionalKey(DurationInput),
  /** 5. */
  maxRedirects: Schema.optionalKey(Schema.Int),
  /** Of a body, as it comes and decompressed; 1 MiB. */
  maxResponseBytes: Schema.optionalKey(Schema.Int),
  /** Certificates (PEM) of authorities that are trusted beside the system's. */
  certificates: Schema.optionalKey(Schema.Array(Schema.String))
})
export type Options = typeof Options.Type

// --- Errors ----------------------------------------------------------------

/** A response whose status says that something went wrong, for tools to which that is a failure. */
export class StatusFailure extends Schema.TaggedError<StatusFailure>("interlock/toolbox/StatusFailure")(
  "StatusFailure",
  {
    status: Schema.Int,
    url: Schema.String,
    /** The header `Retry-After`, as it came: seconds, or an HTTP date. */
    retryAfter: Schema.optionalKey(Schema.String),
    /** The beginning of the response. */
    text: Schema.String
  }
) {
  override get message(): string {
    return `The server answered with status ${this.status}.`
  }
}

/** The failure that a response of status 400 and above is. */
export const statusFailure = (response: OutboundResponse): StatusFailure | undefined => {
  if (response.status < 400) return undefined
  const retryAfter = response.headers["retry-after"]
  return new StatusFailure({
    status: response.status,
    url: response.url,
    ...(retryAfter === undefined ? {} : { retryAfter }),
    text: new TextDecoder().decode(response.body.subarray(0, 2000))
  })
}

/**
 * What the errors of this module are to whoever retries. A `StatusFailure` is left to the defaults, which read its status and
 * when to come back: 408, 425, 429 and 5xx may be tried again.
 */
export const classify = (error: unknown): Classification | undefined => {
  if (!(error instanceof OutboundError)) return undefined
  switch (error.reason) {
    case "blocked":
      return { class: "Policy" }
    case "invalid_url":
    case "invalid_request":
    case "credential":
    case "tls":
    case "too_large":
    case "too_many_redirects":
      return { class: "Caller" }
    case "dns":
      return { class: error.code === "ENOTFOUND" ? "Caller" : "Retryable" }
    case "connect":
    case "timeout":
    case "protocol":
      return { class: "Retryable" }
  }
}

// --- Service ---------------------------------------------------------------

/** Sends requests to where the options allow. */
export class OutboundHttp extends Context.Service<
  OutboundHttp,
  { readonly request: (request: OutboundRequest) => Effect.Effect<OutboundResponse, OutboundError> }
>()("interlock/toolbox/OutboundHttp") {}

/** Domain lists that change while the program runs. */
type Lists = Pick<SecurityPolicy.Policy, "allowedDomains" | "deniedDomains">

const make = Effect.fnUntraced(function* (
  input: Options,
  lists: Effect.Effect<Lists>
): Effect.fn.Return<OutboundHttp["Service"], never, Credentials> {
  const options = yield* Effect.orDie(
    Schema.decodeUnknownEffect(Options, { onExcessProperty: "error" })(input)
  )
  const credentials = yield* Credentials
  const maxRedirects = whole("OutboundHttp: maxRedirects", options.maxRedirects ?? 5, 0, 20)
  const maxBytes = whole("OutboundHttp: maxResponseBytes", options.maxResponseBytes ?? 1_048_576)
  const connectTimeout = millis("OutboundHttp: connectTimeout", options.connectTimeout ?? "5 seconds")
  const readTimeout = millis("OutboundHttp: readTimeout", options.readTimeout ?? "30 seconds")
  const ports = new Set([80, 443, ...(options.allowedPorts ?? [])])
  const dialing: Dial.Options = {
    dns: Option.getOrElse(yield* Effect.serviceOption(Dns.Dns), () => systemDns),
    dialer: yield* Dial.CurrentDialer,
    rules: { allowed: rangesOf(options.allowedAddresses), denied: rangesOf(options.deniedAddresses) },
    secureContext:
      options.certificates === undefined
        ? undefined
        : Tls.createSecureContext({ ca: [...Tls.getCACertificates("default"), ...options.certificates] })
  }
  const own = Domains.compile({ allowed: options.allowedDomains, denied: options.deniedDomains })

  /** Why the target is refused by what is known before its name is resolved. */
  const check = Effect.fnUntraced(function* ({
    address,
    host,
    port
  }: Url.Target): Effect.fn.Return<void, OutboundError> {
    const literal = address !== undefined && host.includes(":") ? `[${host}]` : host
    const { allowedDomains, deniedDomains } = yield* lists
    const policy = Domains.compile({ allowed: allowedDomains, denied: deniedDomains })
    const violation = own(literal, [[]]) ?? policy(literal, [[]])
    if (violation !== undefined) {
      const what = violation.rule === "deniedDomains" ? "denied" : "not among the allowed domains"
      return yield* problem("blocked", `The host is ${what}.`, host)
    }
    if (isMetadataName(host) && !options.allowedDomains.some((pattern) => pattern.toLowerCase() === host)) {
      return yield* problem("blocked", "The host is where machines get their keys from.", host)
    }
    if (!ports.has(port))
      return yield* problem("blocked", `The port ${port} is not among the allowed ones.`, host)
  })

  const send = Effect.fnUntraced(function* (
    hop: Hops.Hop,
    timeout: number,
    wantsBody: (status: number, headers: ReadonlyMap<string, string>) => boolean
  ) {
    const { target } = hop
    yield* check(target)
    const connection = yield* Effect.timeoutOrElse(Dial.connect(dialing, target), {
      duration: connectTimeout,
      orElse: () =>
        Effect.fail(
          problem("timeout", "No connection was made in time.", target.host, "UND_ERR_CONNECT_TIMEOUT")
        )
    })
    const { credential } = hop
    const exposed = !target.secure && !Addresses.isLoopback(connection.address)
    if (credential !== undefined && exposed && credential.overHttp !== true) {
      return yield* problem("credential", "The credential is sent over https only.", target.host)
    }
    return yield* Effect.timeoutOrElse(
      Exchange.exchange(connection.socket, sentOf(hop), maxBytes, wantsBody),
      {
        duration: timeout,
        orElse: () =>
          Effect.fail(problem("timeout", "No complete response came in time.", target.host, "ETIMEDOUT"))
      }
    )
  }, Effect.scoped)

  const request = Effect.fnUntraced(function* (
    request: OutboundRequest
  ): Effect.fn.Return<OutboundResponse, OutboundError> {
    let hop = yield* begin(request)
    const forms = hop.credential === undefined ? [] : Secrets.formsOf(hop.credential)
    const timeout = Math.min(readTimeout, yield* timeoutOf(request))
    const follows = request.followRedirects ?? true
    for (let redirects = 0; ; redirects++) {
      const { body, headers, status } = yield* send(
        hop,
        timeout,
        (status, headers) => !(follows && Hops.isRedirect(status, headers))
      )
      if (!follows || !Hops.isRedirect(status, headers)) {
        return {
          status,
          headers: Object.fromEntries(
            [...headers].map(([name, value]) => [name, Secrets.hidden(forms, value)])
          ),
          url: Secrets.hidden(forms, hop.target.url.href),
          redirects,
          body: Secrets.hiddenBytes(forms, body)
        }
      }
      if (redirects === maxRedirects) {
        return yield* problem(
          "too_many_redirects",
          `There were more than ${maxRedirects} redirects.`,
          hop.target.host
        )
      }
      hop = yield* Effect.fromResult(Hops.next(hop, status, headers.get("location")!))
    }
  })

  const begin = Effect.fnUntraced(function* (
    request: OutboundRequest
  ): Effect.fn.Return<Hops.Hop, OutboundError> {
    const target = yield* Effect.fromResult(Url.read(request.url))
    const { host } = target
    const headers = yield* Effect.fromResult(Headers.read(request.headers ?? {}))
    const method = methods.find((each) => each === request.method)
    if (method === undefined) {
      return yield* problem("invalid_request", `The method must be one of ${methods.join(", ")}.`, host)
    }
    if (request.body !== undefined && (method === "GET" || method === "HEAD")) {
      return yield* problem("invalid_request", `A ${method} request has no body.`, host)
    }
    const body = typeof request.body === "string" ? new TextEncoder().encode(request.body) : request.body
    const hop = { target, method, headers, body, credential: undefined }
    if (request.credential === undefined) return hop
    const credential = yield* Effect.mapError(credentials.get(request.credential), ({ message }) =>
      problem("credential", message)
    )
    if (!Secrets.isFor(credential, host)) {
      return yield* problem("credential", "The credential may not be sent to this host.", host)
    }
    const sent = Secrets.sentBy(credential)
    if ("header" in sent && headers.has(sent.header[0])) {
      return yield* problem(
        "credential",
        `The credential is sent as ${sent.header[0]}: leave that header out.`,
        host
      )
    }
    if (credential.type === "query" && target.url.searchParams.has(credential.name)) {
      return yield* problem(
        "credential",
        "The credential is sent in the query: leave that parameter out.",
        host
      )
    }
    return { ...hop, credential }
  })

  return OutboundHttp.of({ request })
})

const rangesOf = (texts: ReadonlyArray<string> = []) =>
  texts.map((text) => Result.getOrThrow(Addresses.rangeFromString(text)))

const timeoutOf = ({ readTimeout }: OutboundRequest): Effect.Effect<number, OutboundError> => {
  if (readTimeout === undefined) return Effect.succeed(Number.POSITIVE_INFINITY)
  const duration = Duration.fromInput(readTimeout)
  return Option.isSome(duration) && Duration.isPositive(duration.value)
    ? Effect.succeed(Duration.toMillis(duration.value))
    : Effect.fail(problem("invalid_request", "The timeout must be a duration longer than 0."))
}

/** The request as it goes out. */
const sentOf = ({ body, credential, headers, method, target }: Hops.Hop): Exchange.Sent => {
  const { url } = target
  const added = credential === undefined ? undefined : Secrets.sentBy(credential)
  const query = added !== undefined && "query" in added ? added.query : undefined
  const withBody = body !== undefined || method === "POST" || method === "PUT" || method === "PATCH"
  return {
    method,
    host: target.host,
    path: `${url.pathname}${url.search}${query === undefined ? "" : `${url.search === "" ? "?" : "&"}${query}`}`,
    headers: new Map([
      ["host", url.host],
      ["user-agent", "effect-interlock"],
      ["accept", "*/*"],
      ...headers,
      ...(added !== undefined && "header" in added ? [added.header] : []),
      ...(withBody ? ([["content-length", String(body?.length ?? 0)]] as const) : []),
      ["accept-encoding", Exchange.acceptEncoding],
      ["connection", "close"]
    ]),
    body
  }
}

// --- Layers ----------------------------------------------------------------

/** Dies with an error that names the option where one makes no sense. */
export const layer = (options: Options): Layer.Layer<OutboundHttp, never, Credentials> =>
  Layer.effect(OutboundHttp, make(options, Effect.succeed({})))

/** The same, where the domains of the security policy in force are asked as well, for every hop of every request. */
export const layerGoverned = (
  options: Options
): Layer.Layer<OutboundHttp, never, Credentials | SecurityPolicy.SecurityPolicy> =>
  Layer.effect(
    OutboundHttp,
    Effect.flatMap(SecurityPolicy.SecurityPolicy, ({ policy }) => make(options, policy))
  )
