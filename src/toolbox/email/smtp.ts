/**
 * One mail over one connection, by nodemailer's SMTP client.
 *
 * How far a session has come is kept, because it says what a lost connection
 * means: until the message is handed over nothing can have been sent, and from
 * then until the server's reply nobody knows.
 */
import { Readable } from "node:stream"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { SMTPConnectionOptions } from "nodemailer/lib/smtp-connection"
import * as OptionalPackage from "../../internal/optionalPackage.ts"
import * as EmailError from "./EmailError.ts"
import type { Mail } from "./message.ts"

/** Where mail is handed over, and how. */
export interface Server {
  readonly host: string
  readonly port: number
  readonly security: "tls" | "starttls" | "none"
  readonly ca: string | undefined
  /** Milliseconds. */
  readonly connectTimeout: number
  readonly readTimeout: number
}

export interface Login {
  readonly username: string
  readonly password: Redacted.Redacted<string>
}

export interface Envelope {
  readonly from: string
  readonly to: ReadonlyArray<string>
}

/** What became of a mail that was taken, for some recipients at least. */
export interface Taken {
  readonly accepted: ReadonlyArray<string>
  readonly rejected: ReadonlyArray<Rejected>
}

/** A recipient that the server refused, while it took others. */
export interface Rejected {
  readonly address: string
  readonly status?: number
  readonly temporary: boolean
  readonly reason: string
}

/** nodemailer's parts. */
export const load = Effect.gen(function* () {
  const { default: SmtpConnection } = yield* OptionalPackage.load(
    "nodemailer",
    "Email",
    () => import("nodemailer/lib/smtp-connection")
  )
  const { default: MailComposer } = yield* OptionalPackage.load(
    "nodemailer",
    "Email",
    () => import("nodemailer/lib/mail-composer")
  )
  return { MailComposer, SmtpConnection }
})
export type Nodemailer = Effect.Success<typeof load>

/** The mail as it goes over the line, and the id that it has. */
export const write = (
  { MailComposer }: Nodemailer,
  { content }: Mail
): Effect.Effect<{ readonly id: string; readonly bytes: Buffer }, EmailError.EmailError> =>
  Effect.suspend(() => {
    const node = new MailComposer(content).compile()
    const id = node.messageId()
    return Effect.map(
      Effect.tryPromise({ try: () => node.build(), catch: () => EmailError.make("invalid_message") }),
      (bytes) => ({ id, bytes })
    )
  })

/** Hands a message over. Interrupting it cuts the connection: what was not sent by then is not sent. */
export const deliver = (
  { SmtpConnection }: Nodemailer,
  server: Server,
  login: Login | undefined,
  envelope: Envelope,
  message: Buffer
): Effect.Effect<Taken, EmailError.EmailError> =>
  Effect.callback((resume) => {
    let phase: EmailError.Phase = "connecting"
    const connection = new SmtpConnection(optionsOf(server))
    const fail = (error: unknown) => {
      resume(Effect.fail(EmailError.fromSmtp(error, phase)))
      connection.close()
    }
    // Listens for as long as the connection lives: an error that nobody hears would end the process.
    connection.on("error", fail)
    connection.connect((error) => {
      if (error) return fail(error)
      if (login === undefined) return send()
      phase = "login"
      // Without this the client would send its password to a server that has not asked for one.
      if (!connection.allowsAuth) return fail({ code: "EAUTH" })
      const credentials = { user: login.username, pass: Redacted.value(login.password) }
      connection.login({ credentials }, (error) => (error ? fail(error) : send()))
    })
    const send = () => {
      phase = "envelope"
      const stream = new Readable({
        // It is read when the server has said that it takes the message, and not before.
        read() {
          phase = "message"
          this.push(message)
          this.push(null)
        }
      })
      const to = [...envelope.to]
      connection.send({ from: envelope.from, to, size: message.length }, stream, (error, info) => {
        if (error) return fail(error)
        resume(Effect.succeed(taken(info)))
        connection.quit()
        setTimeout(() => connection.close(), farewell).unref()
      })
    }
    return Effect.sync(() => connection.close())
  })

/** How long a server may take for its goodbye, which nobody waits for. */
const farewell = 1000

const optionsOf = ({
  ca,
  connectTimeout,
  host,
  port,
  readTimeout,
  security
}: Server): SMTPConnectionOptions => ({
  host,
  port,
  secure: security === "tls",
  requireTLS: security === "starttls",
  ignoreTLS: security === "none",
  // The environment can change whether certificates are verified.
  tls: { minVersion: "TLSv1.2", rejectUnauthorized: true, ...(ca === undefined ? {} : { ca }) },
  dnsTimeout: connectTimeout,
  connectionTimeout: connectTimeout,
  greetingTimeout: connectTimeout,
  socketTimeout: readTimeout,
  // A connection that is given up is cut: what waits to be written must not be sent after all.
  socketCloseTimeout: 0,
  logger: false
})

interface Info {
  readonly accepted: ReadonlyArray<unknown>
  readonly rejectedErrors?: ReadonlyArray<unknown> | undefined
}

const taken = ({ accepted, rejectedErrors = [] }: Info): Taken => ({
  accepted: accepted.map(String),
  rejected: rejectedErrors.map((error) => {
    const { recipient, response, responseCode } = Object(error) as Record<string, unknown>
    const status = typeof responseCode === "number" ? responseCode : undefined
    return {
      address: String(recipient),
      ...(status === undefined ? {} : { status }),
      temporary: status !== undefined && status < 500,
      reason: EmailError.shown(response) ?? ""
    }
  })
})
