/** What a mail is made of, as the caller gives it, and as it is sent. */
import { sha256 } from "@noble/hashes/sha2.js"
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type MailComposer from "nodemailer/lib/mail-composer"
import * as Address from "./address.ts"
import { type EmailError, make } from "./EmailError.ts"
import * as Text from "./text.ts"

// --- Parameters ------------------------------------------------------------

const noFolders = "it must be a name without folders"

const Recipients = Schema.Array(Address.AddressText)

const FileName = Text.line("The file's name, without folders.").check(
  Schema.isMaxLength(200),
  ...Text.checks((name) => (/[/\\]/.test(name) ? noFolders : undefined), [noFolders])
)

/** RFC 6838, 4.2. What holds other parts, or whole messages, is not one attachment. */
const ContentType = Schema.String.annotate({
  description: "Such as text/csv; by the file's name where it is absent."
}).check(
  Schema.makeFilter(
    (type: string) =>
      /^(?!multipart\/|message\/)[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$/i.test(
        type
      ),
    { message: 'it must be a content type such as "text/csv", of no message and not of several parts' }
  )
)

const Attachment = Schema.Struct({
  filename: FileName,
  content: Schema.String.annotate({ description: "Text, or bytes in base64." }),
  encoding: Schema.optionalKey(
    Schema.Literals(["text", "base64"]).annotate({ description: "What content is; text by default." })
  ),
  content_type: Schema.optionalKey(ContentType)
}).check(
  Schema.makeFilter(
    ({ content, encoding }) =>
      encoding !== "base64" ||
      /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(content),
    { message: "its content must be base64 with padding, without line breaks" }
  )
)

/** The parameters of `send_email`. */
export const Parameters = Schema.Struct({
  to: Recipients.check(Schema.isMinLength(1)),
  cc: Schema.optionalKey(Recipients),
  /** They stand in no header. */
  bcc: Schema.optionalKey(Recipients),
  subject: Text.line("The subject.").check(Schema.isMaxLength(500)),
  text: Text.body("The mail as plain text."),
  html: Schema.optionalKey(Text.body("The same as HTML, for readers that show it.")),
  /** Where answers go, if not to the sender. */
  reply_to: Schema.optionalKey(Address.AddressText),
  attachments: Schema.optionalKey(Schema.Array(Attachment).check(Schema.isMaxLength(20)))
})
export type Parameters = typeof Parameters.Type

// --- The mail --------------------------------------------------------------

export interface Rules {
  readonly from: Address.Address
  /** Whether mail may go to a domain. */
  readonly allows: (domain: string) => boolean
  readonly maxRecipients: number
}

export interface Mail {
  /** Every recipient once. */
  readonly recipients: ReadonlyArray<string>
  readonly content: NonNullable<ConstructorParameters<typeof MailComposer>[0]>
}

/** The mail that parameters ask for, where the rules allow it. */
export const compose = (
  params: Parameters,
  rules: Rules,
  at: { readonly now: number; readonly key: string | undefined }
): Result.Result<Mail, EmailError> => {
  const to = params.to.map(readUnsafe)
  const cc = (params.cc ?? []).map(readUnsafe)
  const bcc = (params.bcc ?? []).map(readUnsafe)
  const replyTo = params.reply_to === undefined ? undefined : readUnsafe(params.reply_to)
  // An answer is mail too: whoever may not be written to may not be answered to.
  const all = [...to, ...cc, ...bcc]
  const refused = [...all, ...(replyTo === undefined ? [] : [replyTo])].find(
    ({ domain }) => !rules.allows(domain)
  )
  if (refused !== undefined) return Result.fail(make("recipient_not_allowed", { says: refused.domain }))
  const recipients = [...new Set(all.map(({ address }) => address))]
  if (recipients.length > rules.maxRecipients) {
    return Result.fail(
      make("invalid_message", {
        says: `it has ${recipients.length} recipients, and may have ${rules.maxRecipients}`
      })
    )
  }
  const { attachments = [], html, subject, text } = params
  return Result.succeed({
    recipients,
    content: {
      from: header(rules.from),
      to: to.map(header),
      ...(cc.length === 0 ? {} : { cc: cc.map(header) }),
      // Hidden recipients stand in the envelope only: what no header holds, no server can forget to take out.
      ...(replyTo === undefined ? {} : { replyTo: header(replyTo) }),
      subject,
      text,
      ...(html === undefined ? {} : { html }),
      attachments: attachments.map(({ content, content_type, encoding, filename }) => ({
        filename,
        content: Buffer.from(content, encoding === "base64" ? "base64" : "utf8"),
        ...(content_type === undefined ? {} : { contentType: content_type })
      })),
      date: new Date(at.now),
      ...(at.key === undefined ? {} : { messageId: messageIdOf(at.key, rules.from) }),
      disableFileAccess: true,
      disableUrlAccess: true
    }
  })
}

/** The same for every attempt of what the caller means as one mail, so that whoever gets it twice can tell. */
const messageIdOf = (key: string, from: Address.Address): string =>
  `<${bytesToHex(sha256(utf8ToBytes(`interlock/email\n${from.address}\n${key}`))).slice(0, 40)}@${from.domain}>`

const header = ({ address, name }: Address.Address) => ({ name, address })

// The schema has read them before.
const readUnsafe = (text: string): Address.Address => Result.getOrThrow(Address.read(text))
