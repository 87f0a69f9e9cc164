/** Why a request got no response. The messages are for models too: they name hosts of the request, and never an address that a name led to. */
import * as Schema from "effect/Schema"

export class OutboundError extends Schema.TaggedError<OutboundError>("interlock/toolbox/OutboundError")(
  "OutboundError",
  {
    /**
     * - `invalid_url`, `invalid_request`: what was asked for cannot be sent as it is.
     * - `blocked`: a rule refuses the scheme, the host, the port or the address.
     * - `credential`: there is none of that name, or it may not be sent there.
     * - `dns`, `connect`, `tls`: no connection, so that nothing was sent to this host.
     * - `timeout`: no connection in time, or no complete response.
     * - `protocol`: the connection broke, or what came is no response.
     * - `too_large`, `too_many_redirects`: there was a response, and not all of it was read.
     */
    reason: Schema.Literals([
      "invalid_url",
      "invalid_request",
      "blocked",
      "credential",
      "dns",
      "connect",
      "tls",
      "timeout",
      "too_large",
      "too_many_redirects",
      "protocol"
    ]),
    /** The hop's host as it was asked for; absent where none could be read. */
    host: Schema.optionalKey(Schema.String),
    problem: Schema.String,
    /** By this `Classification` knows whether anything may have been sent, by an earlier hop as well. */
    code: Schema.optionalKey(Schema.Literals(["ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET"]))
  }
) {
  override get message(): string {
    return this.host === undefined ? this.problem : `${this.host}: ${this.problem}`
  }
}
export type Reason = OutboundError["reason"]

/** What the code of an error says: there is no such name, or none now; nothing was sent; something may have been. */
export const codes = {
  noName: "ENOTFOUND",
  noNameNow: "EAI_AGAIN",
  nothingSent: "ECONNREFUSED",
  maybeSent: "ECONNRESET"
} as const

/** An error about a host. */
export const problem = (
  reason: Reason,
  problem: string,
  host?: string,
  code?: keyof typeof codes
): OutboundError =>
  new OutboundError({
    reason,
    problem,
    ...(host === undefined ? {} : { host }),
    ...(code === undefined ? {} : { code: codes[code] })
  })

/** What Node calls an error, in brackets, where that looks like a code: it says nothing of addresses. */
export const inBrackets = (error: unknown): string => {
  const code = typeof error === "object" && error !== null && "code" in error ? error.code : undefined
  return typeof code === "string" && /^[A-Z][A-Z0-9_]{1,63}$/.test(code) ? ` (${code})` : ""
}
