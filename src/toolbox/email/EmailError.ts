/** Why a mail was not sent, read from what the SMTP server and the connection say. */
import * as Schema from "effect/Schema"
import type { Classification } from "../../ToolAnnotations.ts"
import type { ErrorClass } from "../../ToolError.ts"

// --- Models ----------------------------------------------------------------

const row = (errorClass: ErrorClass, message: string) => ({ class: errorClass, message })

/** What each reason means. What is wrong with the server, or with how it is reached, is a bug of the tool. */
const reasons = {
  invalid_message: row("Caller", "The mail cannot be sent as it is."),
  too_large: row("Caller", "The mail is too large."),
  recipient_not_allowed: row("Policy", "Mail may not be sent to these domains."),
  rejected: row("Caller", "The mail server refuses the mail."),
  deferred: row("Retryable", "The mail server does not take the mail now."),
  unreachable: row("Retryable", "The mail server cannot be reached; nothing was sent."),
  connection_lost: row("Retryable", "The connection to the mail server was lost; nothing was sent."),
  outcome_unknown: row(
    "Retryable",
    "The connection was lost when the mail had been handed over; whether it was sent is unknown."
  ),
  tls: row("Defect", "No encrypted connection to the mail server could be made; nothing was sent."),
  auth: row("Defect", "The mail server does not accept the credential; nothing was sent."),
  credential: row("Defect", "The credential for the mail server cannot be used; nothing was sent."),
  misconfigured: row("Defect", "The mail server does not take mail from this sender; nothing was sent."),
  protocol: row("Defect", "The mail server does not speak SMTP as it should.")
} as const satisfies Record<string, ReturnType<typeof row>>

export type Reason = keyof typeof reasons

/** Why a mail was not sent, to anyone. */
export class EmailError extends Schema.TaggedError<EmailError>("interlock/toolbox/Email/EmailError")(
  "EmailError",
  {
    reason: Schema.Literals(Object.keys(reasons) as ReadonlyArray<Reason>),
    message: Schema.String,
    /** The server's reply code, where it replied. */
    status: Schema.optionalKey(Schema.Int)
  }
) {
  /** Tells `Classification` that nobody knows whether the mail was sent, in the words of lost connections. */
  get code(): string | undefined {
    return this.reason === "outcome_unknown" ? "ECONNRESET" : undefined
  }
}

export const make = (
  reason: Reason,
  details: { says?: string | undefined; status?: number | undefined } = {}
) => {
  const { says, status } = details
  const { message } = reasons[reason]
  return new EmailError({
    reason,
    message: says === undefined || says === "" ? message : `${message.slice(0, -1)}: ${says}`,
    ...(status === undefined ? {} : { status })
  })
}

/** What an `EmailError` asks of retries and breaker. */
export const classify = (error: unknown): Classification | undefined =>
  error instanceof EmailError ? { class: reasons[error.reason].class } : undefined

// --- What the server says --------------------------------------------------

/** How far a session had come. */
export type Phase = "connecting" | "login" | "envelope" | "message"

/** Part of nodemailer's errors, as far as it is looked at. */
interface SmtpFailure {
  readonly code?: unknown
  readonly originalCode?: unknown
  readonly responseCode?: unknown
  readonly response?: unknown
  readonly command?: unknown
  readonly message?: unknown
}

/** Reads what nodemailer says of a session that failed. */
export const fromSmtp = (error: unknown, phase: Phase): EmailError => {
  const failure = Object(error) as SmtpFailure
  const { code, command, responseCode } = failure
  if (typeof responseCode === "number") return fromReply(responseCode, failure, phase)
  if (code === "EAUTH") return make("auth")
  if (code === "EMESSAGE" && command === "MAIL FROM")
    return make("too_large", { says: "the server says how much it takes" })
  if (isTls(failure)) return make("tls", { says: safeCode(failure.originalCode) })
  if (code === "EPROTOCOL") return make(phase === "message" ? "outcome_unknown" : "protocol")
  if (code === "EENVELOPE" || code === "ESTREAM") return make("invalid_message")
  if (phase === "message") return make("outcome_unknown")
  return make(phase === "connecting" ? "unreachable" : "connection_lost", {
    says: safeCode(failure.originalCode)
  })
}

/** A reply says that the mail was not taken, whatever came before it (RFC 5321, 4.2.1). */
const fromReply = (status: number, { code, command, response }: SmtpFailure, phase: Phase): EmailError => {
  const temporary = status < 500
  if (code === "EAUTH") return make(temporary ? "deferred" : "auth", { status })
  if (code === "ETLS" || command === "STARTTLS") return make(temporary ? "deferred" : "tls", { status })
  const says = shown(response)
  if (temporary) return make("deferred", { status, says })
  if (status === 552 && phase !== "connecting") return make("too_large", { status, says })
  const ofSender = phase === "connecting" || phase === "login" || command === "MAIL FROM"
  return make(ofSender ? "misconfigured" : "rejected", { status, says })
}

// Certificates are told apart from lost connections by what Node calls them.
const isTls = ({ code, originalCode }: SmtpFailure): boolean =>
  code === "ETLS" ||
  (typeof originalCode === "string" && /^ERR_(?:TLS|SSL|OSSL)|CERT|SELF_SIGNED|UNABLE_TO/.test(originalCode))

const safeCode = (code: unknown): string | undefined =>
  typeof code === "string" && /^[A-Z][A-Z0-9_]{1,63}$/.test(code) ? code : undefined

/** A reply as it may be shown: one line of visible ASCII, and no more than tells why. */
export const shown = (response: unknown): string | undefined =>
  typeof response === "string"
    ? response
        .replace(/[^ -~]+/g, " ")
        .trim()
        .slice(0, 200)
    : undefined
