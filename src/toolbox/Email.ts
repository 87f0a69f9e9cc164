/**
 * `send_email`: mail through one SMTP server, by nodemailer (an optional peer).
 *
 *     Email.layer({ host: "smtp.company.com", from: "Assistant <assistant@company.com>",
 *                   credential: "smtp", allowedDomains: ["company.com"] })
 *
 * The operator says from whom mail comes and to which domains it may go; answers
 * (`reply_to`) may go to no others. A model writes the rest. An address is one
 * address, and a header one line (`email/address.ts`, `email/text.ts`): what could
 * smuggle in another recipient or another header is refused before a human is
 * asked. Hidden recipients stand in no header.
 *
 * Connections are encrypted: with TLS from the beginning on port 465, elsewhere
 * with STARTTLS, which the server must then offer. Only on this machine's loopback
 * is it `none` by default.
 *
 * A mail is sent at most once: a lost connection is followed by another attempt
 * only where the message had not been handed over, or where the call has an
 * idempotency key. All its attempts then have one Message-ID.
 */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Handlers from "../Handlers.ts"
import * as Domains from "../internal/domains.ts"
import type { PackageMissing } from "../internal/optionalPackage.ts"
import { millis, whole } from "../internal/options.ts"
import { Period } from "../internal/period.ts"
import * as ToolAnnotations from "../ToolAnnotations.ts"
import { Credentials } from "./Credentials.ts"
import { credentialFor, isLoopback, matches, mayBeSent } from "./credentialFor.ts"
import * as Address from "./email/address.ts"
import * as EmailError from "./email/EmailError.ts"
import * as Message from "./email/message.ts"
import * as Smtp from "./email/smtp.ts"

export { PackageMissing } from "../internal/optionalPackage.ts"
export { EmailError } from "./email/EmailError.ts"

// --- Models ----------------------------------------------------------------

const optional = Schema.optionalKey
const Count = Schema.Int.check(Schema.isGreaterThan(0))

export const Options = Schema.Struct({
  host: Schema.NonEmptyString,
  /** 465 with `security: "tls"`, else 587. */
  port: optional(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 65535 }))),
  /** `tls` on port 465, `none` on loopback, else `starttls`. */
  security: optional(Schema.Literals(["tls", "starttls", "none"])),
  /** Certificates in PEM that are trusted in place of the system's. */
  ca: optional(Schema.NonEmptyString),
  /** The name of a `basic` credential that may be sent to the host. */
  credential: optional(Schema.NonEmptyString),
  /** The same without a name, for code: data that holds a password is refused. */
  login: optional(
    Schema.Struct({ username: Schema.NonEmptyString, password: Schema.Redacted(Schema.NonEmptyString) })
  ),
  /** From whom all mail comes: `assistant@company.com`, or with a name `Assistant <assistant@company.com>`. */
  from: Schema.NonEmptyString,
  /** Domains that mail may go to: `company.com`, `*.company.com` (not the apex), `*` for all. */
  allowedDomains: Schema.Array(Schema.NonEmptyString),
  /** Recipients of one mail, hidden ones included; 10. */
  maxRecipients: optional(Count),
  /** Bytes of the whole mail as it is sent, attachments in base64 included; 10 MiB. */
  maxBytes: optional(Count),
  /** Time to connect, be greeted and agree on encryption; 10 seconds. */
  connectTimeout: optional(Period),
  /** How long the server may be silent; 30 seconds. */
  readTimeout: optional(Period)
})
export type Options = typeof Options.Type

/** What became of a mail that was taken for some recipients at least. */
const Sent = Schema.Struct({
  message_id: Schema.String,
  accepted: Schema.Array(Schema.String),
  /** Recipients that the server refused; a `temporary` one may be taken later. */
  rejected: Schema.Array(
    Schema.Struct({
      address: Schema.String,
      status: optional(Schema.Int),
      temporary: Schema.Boolean,
      reason: Schema.String
    })
  )
})

const send_email = Tool.make("send_email", {
  description:
    "Sends an e-mail. The sender is fixed. The result lists who was accepted and who was refused by the mail server; mail that was accepted cannot be called back.",
  parameters: Message.Parameters,
  success: Sent,
  failure: EmailError.EmailError,
  failureMode: "return"
})
  .annotate(Tool.Destructive, true)
  .annotate(Tool.Idempotent, false)
  .annotate(Tool.OpenWorld, true)
  .annotate(ToolAnnotations.Capabilities, ["network_access", "external_api"])
  .annotate(ToolAnnotations.SendsData, true)
  .annotate(ToolAnnotations.Timeout, "60 seconds")
  .annotate(ToolAnnotations.Classify, EmailError.classify)

export const toolkit = Toolkit.make(send_email)

// --- make ------------------------------------------------------------------

interface Settings {
  readonly server: Smtp.Server
  readonly rules: Message.Rules
  readonly maxBytes: number
}

/** Throws a `RangeError` that names the option which makes no sense. */
const settingsOf = (options: Options): Settings => {
  const security =
    options.security ?? (options.port === 465 ? "tls" : isLoopback(options.host) ? "none" : "starttls")
  if (options.login !== undefined && !mayBeSent({ host: options.host, encrypted: security !== "none" })) {
    throw new RangeError('Email: security "none" would send the password of login in clear text')
  }
  if (options.credential !== undefined && options.login !== undefined) {
    throw new RangeError(
      "Email: credential and login are two ways to say the same, and only one may be given"
    )
  }
  for (const pattern of options.allowedDomains) {
    const problem = Domains.problem(pattern)
    if (problem !== undefined) throw new RangeError(`Email: allowedDomains: "${pattern}" ${problem}`)
  }
  const from = Address.read(options.from)
  if (Result.isFailure(from)) throw new RangeError(`Email: from: ${from.failure}`)
  return {
    server: {
      host: options.host,
      port: options.port ?? (security === "tls" ? 465 : 587),
      security,
      ca: options.ca,
      connectTimeout: millis("Email: connectTimeout", options.connectTimeout ?? "10 seconds"),
      readTimeout: millis("Email: readTimeout", options.readTimeout ?? "30 seconds")
    },
    rules: {
      from: from.success,
      allows: matches(options.allowedDomains),
      maxRecipients: whole("Email: maxRecipients", options.maxRecipients ?? 10)
    },
    maxBytes: whole("Email: maxBytes", options.maxBytes ?? 10 * 1024 * 1024)
  }
}

/** `send_email`. Building it fails where nodemailer is not installed; throws where an option makes no sense. */
export const layer = (
  options: Options
): Layer.Layer<Tool.HandlersFor<typeof toolkit.tools>, PackageMissing, Credentials> => {
  const { maxBytes, rules, server } = settingsOf(options)
  return Handlers.toLayer(
    toolkit,
    Effect.gen(function* () {
      const nodemailer = yield* Smtp.load
      const credentials = yield* Credentials
      return {
        send_email: Effect.fnUntraced(function* (params, { idempotencyKey }) {
          const now = yield* Clock.currentTimeMillis
          const mail = yield* Effect.fromResult(Message.compose(params, rules, { now, key: idempotencyKey }))
          const { bytes, id } = yield* Smtp.write(nodemailer, mail)
          if (bytes.length > maxBytes) {
            return yield* EmailError.make("too_large", {
              says: `it has ${bytes.length} bytes, and may have ${maxBytes}`
            })
          }
          const login = yield* loginOf(options, credentials, server)
          const envelope = { from: rules.from.address, to: mail.recipients }
          const taken = yield* Smtp.deliver(nodemailer, server, login, envelope, bytes)
          return { message_id: id, ...taken }
        })
      }
    })
  )
}

/** Who logs in: looked up for each mail, so that a secret may change. */
const loginOf = (
  options: Options,
  credentials: Credentials["Service"],
  { host, security }: Smtp.Server
): Effect.Effect<Smtp.Login | undefined, EmailError.EmailError> =>
  options.credential === undefined
    ? Effect.succeed(options.login)
    : Effect.mapError(
        credentialFor(credentials, options.credential, "basic", { host, encrypted: security !== "none" }),
        (says) => EmailError.make("credential", { says })
      )
