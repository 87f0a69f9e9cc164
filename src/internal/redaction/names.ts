/** The rules that know fields by their names. */
import { between, isPhoneLike, isTokenLike, looksRandom } from "./checks.ts"
import type { Rule } from "./rules.ts"

/** The last words of a name, but for those that say which one of several it is, or how it is written. */
const named = (...alternatives: ReadonlyArray<string>): RegExp =>
  new RegExp(`(?:^| )(?:${alternatives.join("|")})${variant}$`, "u")

const variant =
  "(?: (?:value|text|plain|plaintext|raw|hash|hashed|encrypted|string|header|old|new|current|confirm|confirmation|again|repeat|b 64|base 64|field|input|prod|production|dev|staging|test|live|primary|secondary|default|\\d+)){0,4}"

/** Pages, texts and programs have tokens too. */
const notCounted = (...alternatives: ReadonlyArray<string>): RegExp => unless(counted, named(...alternatives))

const unless = (before: string, name: RegExp): RegExp =>
  new RegExp(`(?<!(?:^| )(?:${before}))${name.source}`, "u")

const counted =
  "page|next|previous|prev|continuation|continue|cursor|sync|pagination|start|stop|end|eos|bos|pad|unk|special|mask|sep|cls|max|min|num|input|output|prompt|completion|total|cached|reasoning|first|last|cancel|cancellation|idempotency|design|syntax|lexer|parser"

const digits = (least: number, most: number) => (value: string) =>
  /^[\d\s./-]+$/.test(value) && between(value, least, most)

export const names: ReadonlyArray<Rule> = [
  {
    name: "password",
    keys: new RegExp(
      [
        named(
          "pass ?words?|pass ?phrases?|pass ?codes?|passwds?|pwd|psw|\\p{L}*passwords?|\\p{L}*passwd",
          "passwort|kennwort|mot de passe|contraseña|contrasena|senha|wachtwoord|пароль|密码|密碼|パスワード|비밀번호"
        ).source,
        "^pass$",
        "(?:^| )(?:user|db|database|smtp|imap|ftp|ssh|redis|mysql|pg|postgres|admin|root|login|auth|proxy|mail|wifi|basic) pass$"
      ].join("|"),
      "u"
    )
  },
  {
    name: "private-key",
    keys: named(
      "(?:private|signing|encryption|decryption|master|ssh|hmac) ?keys?",
      "(?:seed|recovery|mnemonic) phrases?|mnemonic|wallet seed"
    ),
    holds: (value) => value.length >= 8
  },
  {
    name: "secret",
    keys: named(
      "secrets?|\\p{L}*secret|(?:client|app|api|consumer|webhook|shared) ?secrets?",
      "(?:api|secret|app|access|account|shared|shared access|secret access|storage|subscription|auth|service|function|license|deploy) ?keys?"
    ),
    holds: (value) => value.length >= 4
  },
  {
    name: "token",
    keys: notCounted(
      "(?:access|auth|refresh|id|api|session|csrf|xsrf|user|bot|device|reset|verification|security|oauth|personal|sas|jwt|bearer)tokens?",
      "(?:access|auth|refresh|api|session|bearer|oauth|sas) tokens|token|jwt|bearer"
    ),
    holds: isTokenLike
  },
  {
    name: "authorization",
    source: "RFC 9110, section 11.6.2",
    keys: named("(?:proxy )?authorization|auth(?:entication)? header"),
    holds: (value) => /^[\w-]{3,20}\s+\S/.test(value) || isTokenLike(value)
  },
  {
    name: "cookie",
    source: "RFC 6265",
    keys: named("(?:set )?cookies?|session ?cookie|sessionid|phpsessid|jsessionid|connect sid"),
    holds: (value) => /^[^\s=]+=\S/.test(value) || isTokenLike(value)
  },
  {
    name: "pin",
    keys: new RegExp(
      `^pin$|${named("(?:card|user|atm|sim|security|device|bank|account|door|new|old|current|login) pin|pin ?(?:code|number|no)").source}`,
      "u"
    ),
    holds: digits(3, 12)
  },
  {
    name: "cvv",
    keys: named("cvv|cvc|csc|cvn|cav|(?:card )?(?:security|verification) (?:code|value|number)"),
    holds: digits(3, 4)
  },
  {
    name: "one-time-code",
    keys: named(
      "otp|totp|one time (?:code|password|passcode)",
      "(?:mfa|2 fa|two factor|sms|auth|authorization|verification|login|security|backup|recovery) codes?"
    ),
    holds: (value) => value.length >= 4 && value.length <= 512 && /\d/.test(value) && !/\s\S+\s/.test(value)
  },
  {
    name: "national-id",
    keys: named(
      "ssn|social security(?: number| no)?|(?:tax|taxpayer) id(?:entification)?(?: number)?|itin",
      "national (?:id|insurance)(?: number)?|nino|passport(?: number| no)?|driver s? ?licen[cs]e(?: number)?",
      "aadhaar|cpf|bsn|personnummer|nhs number"
    ),
    holds: (value) => value.length <= 40 && between(value, 4, 20)
  },
  {
    name: "card",
    keys: named(
      "(?:(?:credit|debit|bank|payment) )?card ?(?:number|num|no)|(?:credit|debit) ?card|cc ?(?:number|num)|pan"
    ),
    holds: digits(12, 19)
  },
  {
    name: "iban",
    keys: named("iban|bank account(?: number| no)?"),
    holds: (value) => value.length <= 50 && between(value, 6, 34)
  },
  {
    name: "phone",
    pii: true,
    keys: named(
      "(?:tele)?phone(?: number| no)?|phonenumber|tel|(?:mobile|cell)(?: number| no)?|cellphone|fax(?: number)?|whats ?app|msisdn|contact number"
    ),
    holds: isPhoneLike
  },
  // Names that are as often harmless: only what looks random under them.
  { name: "token", keys: notCounted("tokens"), holds: looksRandom },
  {
    name: "key",
    keys: unless(
      "public|primary|foreign|partition|sort|row|cache|object|idempotency|dedupe|routing|map|query|host",
      named(
        "key|auth|sig|signature|credentials?|creds|session|sid|salt|assertion|csrf|xsrf|pass|code verifier"
      )
    ),
    holds: looksRandom
  }
]
