/** Why a request got no response. The messages are for models too: they name hosts of the request, and never an address that a name led to. */
import * as Schema from "effect/Schema"

export class OutboundError extends Schema.TaggedError<OutboundError>("interlock/toolbox/OutboundError")(
  "OutboundError",
  {
    /**
     * - `invalid_url`, `invalid_request`: what was asked for cannot be sent as it is.
     * - `blocked`: a rule refuses the scheme, the host, the port or the address.
     * - `credential`: there is none of that name, or it may not be sent there.
     * - `dns`, `connect`, `tls`: no connection; nothing was sent.
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
    /** What Node calls it. `Classification` reads from it whether anything may have been sent. */
    code: Schema.optionalKey(Schema.String)
  }
) {
  override get message(): string {
    return this.host === undefined ? this.problem : `${this.host}: ${this.problem}`
  }
}
export type Reason = OutboundError["reason"]

/** An error about a host. */
export const problem = (reason: Reason, problem: string, host?: string, code?: string): OutboundError =>
  new OutboundError({
    reason,
    problem,
    ...(host === undefined ? {} : { host }),
    ...(code === undefined ? {} : { code })
  })

/** The code of an error of Node's, where it looks like one. */
export const codeOf = (error: unknown): string | undefined => {
  const code = typeof error === "object" && error !== null && "code" in error ? error.code : undefined
  return typeof code === "string" && /^[A-Z][A-Z0-9_]{1,63}$/.test(code) ? code : undefined
}
