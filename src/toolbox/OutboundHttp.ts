/**
 * The one way by which tools reach the network with addresses that a model, a
 * document or a server may choose.
 *
 * A request goes out when its URL is written as URLs are (`outbound/url.ts`),
 * its host is among the allowed domains, and the address that is dialled is
 * public or named by `allowedAddresses` (`outbound/addresses.ts`). Names are
 * resolved once per connection, by the `Dns` in the context where there is one
 * and else by the system, and what was looked at is what is dialled: a name
 * that changes its address in between changes nothing. Every redirect is such a
 * request of its own. Each has a connection of its own, which nothing else ever
 * uses.
 *
 * Proxies that the environment names are not used. Certificates are always
 * verified. Cookies are neither kept nor shown.
 */
import * as Tls from "node:tls"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Dns from "effect/net/Dns"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Domains from "../internal/domains.ts"
import { millis, whole } from "../internal/options.ts"
import { Period } from "../internal/period.ts"
import * as SecurityPolicy from "../SecurityPolicy.ts"
import type { Classification } from "../ToolAnnotations.ts"
import { Credentials } from "./Credentials.ts"
import * as Addresses from "./outbound/addresses.ts"
import * as Content from "./outbound/content.ts"
import * as Dial from "./outbound/dial.ts"
import { codes, OutboundError, problem } from "./outbound/error.ts"
import * as Exchange from "./outbound/exchange.ts"
import * as Hops from "./outbound/hops.ts"
import { begin, type Method, methods, type OutboundRequest, timeoutOf } from "./outbound/request.ts"
import * as Secrets from "./outbound/secrets.ts"
import { systemDns } from "./outbound/systemDns.ts"
import * as Targets from "./outbound/targets.ts"

export { type Method, methods, OutboundError, type OutboundRequest }

// --- Models ----------------------------------------------------------------

/** Any status is a response. */
export interface OutboundResponse {
  readonly status: number
  /** In lower case. Where a server writes the whole credential back, it is masked, here and in the body. */
  readonly headers: Readonly<Record<string, string>>
  /** Of the last hop, without the credential. */
  readonly url: string
  /** How many were followed. */
  readonly redirects: number
  /** Whether one of them made a `GET` of the request: its own answer was that redirect, and this is where it led. */
  readonly seeOther: boolean
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
  connectTimeout: Schema.optionalKey(Period),
  /** From the connection to the last byte, for each hop; 30 seconds. */
  readTimeout: Schema.optionalKey(Period),
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
    /** Whether it is what a redirect led to, where the request itself may have been carried out. */
    seeOther: Schema.optionalKey(Schema.Boolean),
    /** The beginning of what the response says; 2,000 characters, and none where it is no text. */
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
    ...(response.seeOther ? { seeOther: true } : {}),
    text: (Content.textOf(response.body, response.headers["content-type"]) ?? "").slice(0, 2000)
  })
}

/**
 * What the errors of this module are to whoever retries. A `StatusFailure` is left to the defaults, which read its status and
 * when to come back: 408, 425, 429 and 5xx may be tried again. Not so where it is of a page that a redirect led to: whoever
 * repeated the request would have it carried out twice.
 */
export const classify = (error: unknown): Classification | undefined => {
  if (error instanceof StatusFailure && error.seeOther === true) return { class: "Caller" }
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
      return { class: error.code === codes.noName ? "Caller" : "Retryable" }
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

const make = Effect.fnUntraced(function* (
  input: Options,
  lists: Effect.Effect<Targets.Lists>
): Effect.fn.Return<OutboundHttp["Service"], never, Credentials> {
  const options = yield* Effect.orDie(
    Schema.decodeUnknownEffect(Options, { errors: "all", onExcessProperty: "error" })(input)
  )
  const maxRedirects = whole("OutboundHttp: maxRedirects", options.maxRedirects ?? 5, 0, 20)
  const maxBytes = whole("OutboundHttp: maxResponseBytes", options.maxResponseBytes ?? 1_048_576)
  const connectTimeout = millis("OutboundHttp: connectTimeout", options.connectTimeout ?? "5 seconds")
  const readTimeout = millis("OutboundHttp: readTimeout", options.readTimeout ?? "30 seconds")
  const ports = (options.allowedPorts ?? []).map((port) =>
    whole("OutboundHttp: allowedPorts", port, 1, 65_535)
  )
  const credentials = yield* Credentials
  const targets: Targets.Rules = { ...options, ports: new Set([80, 443, ...ports]) }
  const dialing: Dial.Options = {
    dns: Option.getOrElse(yield* Effect.serviceOption(Dns.Dns), () => systemDns),
    dialer: yield* Dial.CurrentDialer,
    ownAddresses: yield* Dial.CurrentOwnAddresses,
    rules: { allowed: rangesOf(options.allowedAddresses), denied: rangesOf(options.deniedAddresses) },
    secureContext: secureContext(options.certificates)
  }

  const connect = ({ target }: Hops.Hop) =>
    Effect.timeoutOrElse(Dial.connect(dialing, target), {
      duration: connectTimeout,
      orElse: () =>
        Effect.fail(problem("timeout", "No connection was made in time.", target.host, "nothingSent"))
    })

  /** One request on a connection of its own. The body of a redirect that is followed is not read. */
  const send = Effect.fnUntraced(function* (hop: Hops.Hop, timeout: number, follows: Hops.Follows) {
    const { credential, target } = hop
    const refusal = Targets.refusal(targets, yield* lists, target)
    if (refusal !== undefined) return yield* refusal
    const { address, socket } = yield* connect(hop)
    const isPrivate = target.secure || Addresses.isLoopback(address)
    if (credential !== undefined && !isPrivate && credential.overHttp !== true) {
      return yield* problem("credential", "The credential is sent over https only.", target.host)
    }
    const wantsBody = (status: number, headers: ReadonlyMap<string, string>) =>
      !Hops.isFollowed(follows, hop, status, headers)
    return yield* Effect.timeoutOrElse(Exchange.exchange(socket, hop, maxBytes, wantsBody), {
      duration: timeout,
      orElse: () =>
        Effect.fail(problem("timeout", "No complete response came in time.", target.host, "maybeSent"))
    })
  }, Effect.scoped)

  const request = Effect.fnUntraced(function* (
    request: OutboundRequest
  ): Effect.fn.Return<OutboundResponse, OutboundError> {
    const timeout = yield* timeoutOf(request, readTimeout)
    const follows = request.followRedirects ?? true
    let hop = yield* begin(request, credentials)
    // Also of hops that no longer carry it: a server may pass on what it was told.
    const echo = hop.credential === undefined ? undefined : Secrets.echoOf(hop.credential)
    let received = yield* send(hop, timeout, follows)
    let redirects = 0
    let seeOther = false
    while (Hops.isFollowed(follows, hop, received.status, received.headers)) {
      if (redirects === maxRedirects) {
        return yield* problem(
          "too_many_redirects",
          `There were more than ${maxRedirects} redirects.`,
          hop.target.host,
          "maybeSent"
        )
      }
      const { headers, status } = received
      const next = Effect.fromResult(Hops.next(hop, status, headers.get("location")!))
      const method = hop.method
      hop = yield* Effect.mapError(next, afterSending)
      seeOther ||= hop.method !== method
      received = yield* Effect.mapError(send(hop, timeout, follows), afterSending)
      redirects++
    }
    return shown(hop, received, { redirects, seeOther }, echo)
  })

  return OutboundHttp.of({ request })
})

/** A hop that was not sent says nothing of the request, whose first hop was. */
const afterSending = ({ host, problem: what, reason }: OutboundError): OutboundError =>
  problem(reason, what, host, "maybeSent")

/** The response without the secret, whatever the server has written back. */
const shown = (
  { target }: Hops.Hop,
  { body, headers, status }: Exchange.Received,
  way: Pick<OutboundResponse, "redirects" | "seeOther">,
  echo: RegExp | undefined
): OutboundResponse => ({
  status,
  headers: Object.fromEntries([...headers].map(([name, value]) => [name, Secrets.hidden(echo, value)])),
  url: Secrets.hidden(echo, target.url.href),
  ...way,
  body: Secrets.hiddenBytes(echo, body)
})

const rangesOf = (texts: ReadonlyArray<string> = []) =>
  texts.map((text) => Result.getOrThrow(Addresses.rangeFromString(text)))

const secureContext = (certificates: ReadonlyArray<string> | undefined) =>
  Tls.createSecureContext({
    ...(certificates === undefined ? {} : { ca: [...Tls.getCACertificates("default"), ...certificates] }),
    // The environment can change the default.
    minVersion: "TLSv1.2"
  })

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
