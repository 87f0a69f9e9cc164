/**
 * The rules that ship: by the names of fields, and by the shapes of values.
 * Each says where its shape is written down. Patterns take linear time: every
 * repetition is bounded, or cannot begin inside of what it repeats.
 */
import {
  between,
  entropy,
  ibanAt,
  isCard,
  isInternationalPhone,
  isPhoneLike,
  isTokenLike,
  isUnlikeWord,
  looksRandom
} from "./redactionChecks.ts"

/** What one kind of secret looks like; by names, by values, or by both. */
export interface Rule {
  /** Stands in the mask. */
  readonly name: string
  /** Where the shape is written down. */
  readonly source?: string
  /** Personal data rather than a secret: left readable by `pii: false`. */
  readonly pii?: boolean
  /**
   * Names of fields: tested on the name's words, in lower case with one space between them, so that `apiKey`,
   * `API_KEY` and `x-api-key` end in `api key`.
   */
  readonly keys?: RegExp
  /** Whether what such a field holds is secret; any text but the empty one by default. Numbers are tested as text. */
  readonly holds?: (value: string) => boolean
  /** The value begins with one of these, not in the middle of a word; `value` is then what follows. */
  readonly starts?: ReadonlyArray<string>
  /** Found anywhere in a text. Must take linear time on hostile text. */
  readonly value?: RegExp
  /** What a text must have for `value` to be tried, which saves time: digits, a run of letters, digits, `_` and `-`, an `@`. */
  readonly needs?: { readonly digits?: number; readonly run?: number; readonly at?: boolean }
  /** Whether what was found is secret; a number says that only its first so many characters are, 0 that none is. */
  readonly check?: (found: string) => boolean | number
}

// --- By the names of fields ------------------------------------------------

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

const names: ReadonlyArray<Rule> = [
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

// --- By the shapes of values -----------------------------------------------

const alnum = (least: number, most: number | "" = ""): RegExp => new RegExp(`[A-Za-z0-9]{${least},${most}}`)
const word = (least: number): RegExp => new RegExp(`[A-Za-z0-9_-]{${least},}`)
const hex = (least: number, most: number | "" = ""): RegExp => new RegExp(`[0-9A-Fa-f]{${least},${most}}`)

const hasDigit = (found: string): boolean => /\d/.test(found)

/** Tokens that their issuers gave a beginning of their own. */
const issued: ReadonlyArray<Rule> = [
  {
    name: "aws-key",
    source: "docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids",
    starts: ["AKIA", "ASIA", "ABIA", "ACCA"],
    value: /[A-Z0-9]{16}(?![A-Za-z0-9])/
  },
  {
    name: "aws-secret-key",
    source: "docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html",
    needs: { run: 3 },
    // Forty characters that say nothing else. A hash in hexadecimal has no capitals, and a path repeats itself.
    value: /(?<![A-Za-z0-9+/=_.-])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=_.-])/,
    check: (found) => /[a-z]/.test(found) && /[A-Z]/.test(found) && /\d/.test(found) && entropy(found) >= 4.3
  },
  {
    name: "github-token",
    source:
      "docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github",
    starts: ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
    value: /[A-Za-z0-9_.-]{30,}/
  },
  {
    name: "github-token",
    source:
      "docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github",
    starts: ["github_pat_"],
    value: word(22)
  },
  {
    name: "gitlab-token",
    source: "docs.gitlab.com/security/tokens/#token-prefixes",
    starts: [
      ..."glpat- gloas- gldt- glrt- glrtr- glcbt- glptt- glft- glimt- glagent- glwt- glsoat- glffct-".split(
        " "
      ),
      "GR1348941"
    ],
    value: /[A-Za-z0-9_.-]{20,}/
  },
  {
    name: "slack-token",
    source: "api.slack.com/concepts/token-types",
    starts: [
      "xoxb-",
      "xoxp-",
      "xoxa-",
      "xoxr-",
      "xoxs-",
      "xoxc-",
      "xoxd-",
      "xoxe-",
      "xoxe.xoxp-",
      "xoxe.xoxb-",
      "xapp-",
      "xwfp-"
    ],
    value: /[A-Za-z0-9%-]{10,}/
  },
  {
    name: "webhook",
    source: "api.slack.com/messaging/webhooks",
    starts: ["hooks.slack.com/services/", "hooks.slack.com/workflows/", "hooks.slack.com/triggers/"],
    value: /[A-Za-z0-9/_-]{20,}/
  },
  {
    name: "webhook",
    source: "discord.com/developers/docs/resources/webhook",
    starts: ["discord.com/api/webhooks/", "discordapp.com/api/webhooks/"],
    value: /\d{15,22}\/[A-Za-z0-9_-]{20,}/
  },
  {
    name: "stripe-key",
    source: "docs.stripe.com/keys",
    starts: ["sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"],
    value: /[A-Za-z0-9+/]{10,}={0,2}/
  },
  {
    name: "openai-key",
    source: "platform.openai.com/docs/api-reference/authentication",
    starts: ["sk-", "sk-proj-", "sk-svcacct-", "sk-admin-", "sess-"],
    value: word(20),
    check: hasDigit
  },
  {
    name: "anthropic-key",
    source: "docs.anthropic.com/en/api/overview",
    starts: ["sk-ant-"],
    value: word(20)
  },
  {
    name: "google-key",
    source: "cloud.google.com/docs/authentication/api-keys",
    starts: ["AIza"],
    value: /[\w-]{35}/
  },
  {
    name: "google-oauth",
    source: "developers.google.com/identity/protocols/oauth2",
    starts: ["ya29.", "GOCSPX-", "1//0"],
    value: /[\w.-]{20,}/
  },
  { name: "npm-token", source: "docs.npmjs.com/about-access-tokens", starts: ["npm_"], value: alnum(36) },
  { name: "pypi-token", source: "pypi.org/help/#apitoken", starts: ["pypi-"], value: word(50) },
  {
    name: "rubygems-key",
    source: "guides.rubygems.org/api-key-scopes",
    starts: ["rubygems_"],
    value: hex(48)
  },
  {
    name: "sendgrid-key",
    source: "docs.sendgrid.com/ui/account-and-settings/api-keys",
    starts: ["SG."],
    value: /[\w-]{16,32}\.[\w-]{16,64}/
  },
  {
    name: "twilio-key",
    source: "twilio.com/docs/glossary/what-is-a-sid",
    starts: ["SK", "AC"],
    value: /[0-9a-f]{32}(?![A-Za-z0-9])/
  },
  {
    name: "mailgun-key",
    source: "documentation.mailgun.com/docs/mailgun/api-reference",
    starts: ["key-"],
    value: hex(32)
  },
  {
    name: "huggingface-token",
    source: "huggingface.co/docs/hub/security-tokens",
    starts: ["hf_", "api_org_"],
    value: alnum(30)
  },
  { name: "groq-key", source: "console.groq.com/docs/quickstart", starts: ["gsk_"], value: alnum(40) },
  { name: "xai-key", source: "docs.x.ai/docs/overview", starts: ["xai-"], value: alnum(40) },
  { name: "perplexity-key", source: "docs.perplexity.ai", starts: ["pplx-"], value: alnum(40) },
  {
    name: "replicate-token",
    source: "replicate.com/docs/topics/security/api-tokens",
    starts: ["r8_"],
    value: alnum(36)
  },
  {
    name: "digitalocean-token",
    source: "docs.digitalocean.com/reference/api/create-personal-access-token",
    starts: ["dop_v1_", "doo_v1_", "dor_v1_"],
    value: hex(60)
  },
  {
    name: "shopify-token",
    source: "shopify.dev/docs/apps/build/authentication-authorization/access-tokens",
    starts: ["shpat_", "shpca_", "shppa_", "shpss_"],
    value: hex(32)
  },
  {
    name: "databricks-token",
    source: "docs.databricks.com/dev-tools/auth/pat.html",
    starts: ["dapi"],
    value: hex(32)
  },
  {
    name: "vault-token",
    source: "developer.hashicorp.com/vault/docs/concepts/tokens",
    starts: ["hvs.", "hvb.", "hvr."],
    value: word(24)
  },
  {
    name: "docker-token",
    source: "docs.docker.com/security/access-tokens",
    starts: ["dckr_pat_", "dckr_oat_"],
    value: word(20)
  },
  {
    name: "grafana-token",
    source: "grafana.com/docs/grafana/latest/administration/service-accounts",
    starts: ["glsa_", "glc_"],
    value: /[\w+/]{30,}={0,2}/
  },
  {
    name: "sentry-token",
    source: "docs.sentry.io/account/auth-tokens",
    starts: ["sntrys_", "sntryu_"],
    value: /[\w+/]{40,}={0,2}/
  },
  {
    name: "linear-key",
    source: "linear.app/developers",
    starts: ["lin_api_", "lin_oauth_"],
    value: alnum(40)
  },
  {
    name: "notion-token",
    source: "developers.notion.com/docs/authorization",
    starts: ["ntn_", "secret_"],
    value: alnum(40)
  },
  {
    name: "postman-key",
    source: "learning.postman.com/docs/developer/postman-api/authentication",
    starts: ["PMAK-"],
    value: /[0-9a-f]{24}-[0-9a-f]{34}/
  },
  {
    name: "doppler-token",
    source: "docs.doppler.com/docs/service-tokens",
    starts: ["dp.pt.", "dp.st.", "dp.ct.", "dp.sa."],
    value: /[\w.-]{30,}/
  },
  {
    name: "pulumi-token",
    source: "pulumi.com/docs/administration/access-identity/access-tokens",
    starts: ["pul-"],
    value: hex(40)
  },
  {
    name: "atlassian-token",
    source: "id.atlassian.com/manage-profile/security/api-tokens",
    starts: ["ATATT3", "ATCTT3"],
    value: /[\w=-]{50,}/
  },
  {
    name: "figma-token",
    source: "developers.figma.com/docs/rest-api/authentication",
    starts: ["figd_", "figu_"],
    value: word(30)
  },
  {
    name: "supabase-key",
    source: "supabase.com/docs/guides/api/api-keys",
    starts: ["sbp_", "sb_secret_"],
    value: word(20)
  },
  {
    name: "planetscale-token",
    source: "planetscale.com/docs/concepts/service-tokens",
    starts: ["pscale_tkn_", "pscale_pw_", "pscale_oauth_"],
    value: /[\w.=-]{30,}/
  },
  {
    name: "age-key",
    source: "github.com/C2SP/C2SP/blob/main/age.md",
    starts: ["AGE-SECRET-KEY-1"],
    value: /[0-9A-Z]{58}/
  },
  {
    name: "azure-secret",
    needs: { run: 8 },
    source: "learn.microsoft.com/en-us/purview/sit-defn-azure-ad-client-secret",
    value: /(?<![\w~.-])[\w~.-]{3}\dQ~[\w~.-]{31,34}(?![\w~.-])/
  },
  {
    name: "telegram-token",
    needs: { digits: 8, run: 35 },
    source: "core.telegram.org/bots/api#authorizing-your-bot",
    value: /(?<![A-Za-z0-9])\d{8,10}:[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])/
  }
]

/** Shapes that standards gave. */
const standard: ReadonlyArray<Rule> = [
  {
    name: "jwt",
    source: "RFC 7519; RFC 7516 for the five parts of an encrypted one",
    needs: { run: 13 },
    starts: ["eyJ"],
    value: /[\w-]{10,}(?:\.[\w-]*){2,4}/
  },
  {
    name: "private-key",
    source: "RFC 7468; openssh PROTOCOL.key; RFC 9580, section 6",
    needs: { run: 8 },
    // What is cut off before its end is as secret.
    value:
      /-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-{4,5}(?:(?!---- ?END)[\s\S])*(?:-{4,5} ?END [A-Z0-9 ]{0,40}KEY(?: BLOCK)?-{4,5})?/
  },
  {
    name: "authorization",
    needs: { run: 5 },
    source: "RFC 6750 and RFC 7617",
    value: /(?<![A-Za-z0-9_])(?:bearer|basic)[ \t]{1,8}[A-Za-z0-9._~+/-]{8,}={0,2}/i,
    check: (found) => isTokenLike(found.slice(6).trim()) && isUnlikeWord(found.slice(6).trim())
  },
  {
    name: "card",
    needs: { digits: 14 },
    source: "ISO/IEC 7812-1",
    value:
      /(?<![0-9A-Za-z]|\d[.,])(?:\d{14,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5})(?![0-9A-Za-z]|[.,]\d)/,
    check: isCard
  },
  {
    name: "iban",
    needs: { digits: 7 },
    source: "ISO 13616",
    value: /(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,40}/,
    check: ibanAt
  },
  {
    name: "national-id",
    needs: { digits: 9 },
    source: "20 CFR 422.103: the social security number of the USA",
    value: /(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])/
  },
  {
    name: "email",
    needs: { at: true },
    pii: true,
    source: "RFC 5321",
    value:
      /(?<![\w.+%-])[\p{L}\p{N}_.+%'-]{1,64}@(?:[\p{L}\p{N}-]{1,63}\.){1,8}\p{L}[\p{L}\p{N}-]{1,62}(?![\p{L}\p{N}_-]|:[^\d\s])/u,
    // `icon@2x.png` and `react@18.2.0-beta` are not addresses.
    check: (found) => !/@\d+(?:x\.|\.\d)/.test(found)
  },
  {
    name: "phone",
    needs: { digits: 8 },
    pii: true,
    source: "ITU-T E.164 and E.123",
    value: /(?<![\w+.,-])(?:\+|00(?=[1-9]\d{0,2}[ -]))[1-9](?:[ .()/-]{0,2}\d){6,14}(?![\w]|[.,:]\d)/,
    check: isInternationalPhone
  },
  {
    name: "phone",
    needs: { digits: 8 },
    pii: true,
    source: "the North American Numbering Plan",
    value: /(?<![\w.,/-])(?:\([2-9]\d{2}\) ?|[2-9]\d{2}([-.]))[2-9]\d{2}(?:\1|[-.])\d{4}(?![\w-]|[.,]\d)/
  }
]

/** A URL that carries a name and a password, or a token in the place of the name (RFC 3986, section 3.2.1). */
export const urlCredentials = "url-credentials"

/** Whatever the tool's own schemas declare. */
export const declared = "declared"

/** In the order in which they are tried. */
export const rules: ReadonlyArray<Rule> = [
  ...names,
  // The shortest is `xoxb-` and ten more.
  ...issued.map((rule) => ({ needs: { run: 15 }, ...rule })),
  ...standard
]
