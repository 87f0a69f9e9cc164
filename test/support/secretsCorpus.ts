/**
 * Secrets and ordinary arguments, made up from a seed: 20 kinds of secrets in
 * the shapes their issuers give them, and arguments of everyday tools that have
 * none. The same seed gives the same corpus.
 */

export const kinds = [
  "password",
  "aws-access-key",
  "aws-secret-key",
  "github",
  "gitlab",
  "slack",
  "stripe",
  "model-provider",
  "google",
  "npm",
  "sendgrid",
  "hex-token",
  "azure",
  "database-url",
  "jwt",
  "private-key",
  "card",
  "iban",
  "email",
  "phone"
] as const
export type Kind = (typeof kinds)[number]

/** Where a secret is put. */
export const forms = [
  "field",
  "nested",
  "list",
  "text",
  "query",
  "path",
  "json",
  "base64",
  "percent"
] as const
export type Form = (typeof forms)[number]

export interface Secret {
  readonly kind: Kind
  /** As it is passed around. */
  readonly value: string
  /** What nobody may read anywhere: the value, or the part of it that is secret. */
  readonly needle: string
  /** Under a name that says so, or under one that does not. */
  readonly named: boolean
  readonly name: string
  readonly form: Form
}

// --- Randomness ------------------------------------------------------------

/** Mulberry32. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  /** From `least` to `most`, both included. */
  int(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1))
  }

  pick<A>(list: ReadonlyArray<A>): A {
    return list[this.int(0, list.length - 1)]!
  }

  chars(alphabet: string, length: number): string {
    let text = ""
    for (let i = 0; i < length; i++) text += alphabet[this.int(0, alphabet.length - 1)]
    return text
  }
}

const lower = "abcdefghijklmnopqrstuvwxyz"
const upper = lower.toUpperCase()
const digit = "0123456789"
const alnum = lower + upper + digit
const hex = `${digit}abcdef`
const base64 = `${alnum}+/`
const url64 = `${alnum}-_`

// --- Secrets ---------------------------------------------------------------

/** `n` secrets of all kinds in turn; the first half of each kind under names that tell. */
export const generateSecrets = (seed: number, n: number): ReadonlyArray<Secret> => {
  const random = new Random(seed)
  const seen = new Set<string>()
  const secrets: Array<Secret> = []
  while (secrets.length < n) {
    const kind = kinds[secrets.length % kinds.length]!
    const named = Math.floor(secrets.length / kinds.length) % 2 === 0
    const [value, needle = value] = makers[kind](random)
    if (seen.has(needle)) continue
    seen.add(needle)
    const form = forms[Math.floor(secrets.length / kinds.length / 2) % forms.length]!
    const name = random.pick(named ? tellingNames[kind] : innocentNames)
    secrets.push({ kind, value, needle, named, name, form })
  }
  return secrets
}

const makers: Readonly<Record<Kind, (random: Random) => readonly [value: string, needle?: string]>> = {
  password: (r) => [
    `${r.pick(["Winter", "hunter", "Tr0ub4dor", "correct", "dragon", "S0lar"])}${r.chars(alnum, 5)}${r.pick(["!", "#", "_", "$", ""])}${r.int(10, 99)}`
  ],
  "aws-access-key": (r) => [`${r.pick(["AKIA", "ASIA"])}${r.chars(`${upper}234567`, 16)}`],
  "aws-secret-key": (r) => [r.chars(base64, 40)],
  github: (r) => [
    r.next() < 0.3
      ? `github_pat_${r.chars(alnum, 22)}_${r.chars(alnum, 59)}`
      : `${r.pick(["ghp", "gho", "ghu", "ghs", "ghr"])}_${r.chars(alnum, 36)}`
  ],
  gitlab: (r) => [`${r.pick(["glpat", "gldt", "glrt", "glptt"])}-${r.chars(url64, 20)}`],
  slack: (r) => {
    if (r.next() < 0.3) {
      const token = r.chars(alnum, 24)
      return [
        `https://hooks.slack.com/services/T${r.chars(upper + digit, 10)}/B${r.chars(upper + digit, 10)}/${token}`,
        token
      ]
    }
    return [
      `${r.pick(["xoxb", "xoxp", "xapp-1"])}-${r.int(1e11, 9e11)}-${r.int(1e11, 9e11)}-${r.chars(alnum, 24)}`
    ]
  },
  stripe: (r) => [`${r.pick(["sk_live", "rk_live", "sk_test"])}_${r.chars(alnum, r.pick([24, 99]))}`],
  "model-provider": (r) => [
    r.next() < 0.5
      ? `sk-ant-api03-${r.chars(url64, 93)}AA`
      : `sk-${r.pick(["", "proj-"])}${r.chars(alnum, 20)}T3BlbkFJ${r.chars(alnum, 20)}`
  ],
  google: (r) => [
    r.pick([
      () => `AIza${r.chars(url64, 35)}`,
      () => `GOCSPX-${r.chars(url64, 28)}`,
      () => `ya29.${r.chars(url64, 120)}`
    ])()
  ],
  npm: (r) => [`npm_${r.chars(alnum, 36)}`],
  sendgrid: (r) => [`SG.${r.chars(url64, 22)}.${r.chars(url64, 43)}`],
  // Twilio's auth tokens, and many more.
  "hex-token": (r) => [r.chars(hex, r.pick([32, 40, 64]))],
  azure: (r) => {
    if (r.next() < 0.5) {
      const key = `${r.chars(base64, 86)}==`
      return [
        `DefaultEndpointsProtocol=https;AccountName=${r.chars(lower, 8)};AccountKey=${key};EndpointSuffix=core.windows.net`,
        key
      ]
    }
    const signature = encodeURIComponent(`${r.chars(base64, 43)}=`)
    return [
      `https://${r.chars(lower, 8)}.blob.core.windows.net/data?sv=2024-11-04&sp=r&sig=${signature}`,
      signature
    ]
  },
  "database-url": (r) => {
    const password = `${r.chars(alnum, 12)}${r.pick(["", "%21", "-x"])}`
    const scheme = r.pick(["postgres", "mysql", "mongodb+srv", "redis", "amqp"])
    return [
      `${scheme}://${r.pick(["app", "admin", "svc"])}:${password}@db${r.int(1, 9)}.internal.example:${r.int(1024, 9999)}/main`,
      password
    ]
  },
  jwt: (r) => {
    const part = (value: unknown) =>
      btoa(JSON.stringify(value)).replace(/=+$/, "").replaceAll("+", "-").replaceAll("/", "_")
    return [
      `${part({ alg: "RS256", typ: "JWT" })}.${part({ sub: r.chars(digit, 10), iat: r.int(1.6e9, 1.8e9) })}.${r.chars(url64, 86)}`
    ]
  },
  "private-key": (r) => {
    const label = r.pick([
      "RSA PRIVATE KEY",
      "EC PRIVATE KEY",
      "OPENSSH PRIVATE KEY",
      "PRIVATE KEY",
      "ENCRYPTED PRIVATE KEY"
    ])
    const lines = Array.from({ length: 6 }, () => r.chars(base64, 64))
    return [`-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----`, lines[3]!]
  },
  card: (r) => {
    const prefix = r.pick(["4", "51", "53", "37", "6011", "2221"])
    const length = prefix === "37" ? 15 : 16
    const body = prefix + r.chars(digit, length - prefix.length - 1)
    const card = body + luhnDigit(body)
    const groups = length === 15 ? /(\d{4})(\d{6})(\d{5})/ : /(\d{4})(\d{4})(\d{4})(\d{4})/
    const separator = r.pick(["", "", " ", "-"])
    return [separator === "" ? card : groups.exec(card)!.slice(1).join(separator)]
  },
  iban: (r) => {
    const [country, bban] = r.pick([
      () => ["DE", r.chars(digit, 18)],
      () => ["GB", r.chars(upper, 4) + r.chars(digit, 14)],
      () => ["FR", r.chars(digit, 10) + r.chars(upper + digit, 11) + r.chars(digit, 2)],
      () => ["NL", r.chars(upper, 4) + r.chars(digit, 10)],
      () => ["ES", r.chars(digit, 20)]
    ])() as [string, string]
    const iban = `${country}${ibanDigits(country, bban)}${bban}`
    return [r.next() < 0.4 ? iban.replace(/(.{4})(?=.)/g, "$1 ") : iban]
  },
  email: (r) => [
    `${r.chars(lower, r.int(4, 9))}${r.pick([".", "_", "+", ""])}${r.chars(lower + digit, 4)}@${r.chars(lower, 7)}.${r.pick(["com", "org", "co.uk", "io"])}`
  ],
  phone: (r) =>
    [
      r.pick([
        () => `+49 ${r.int(151, 179)} ${r.chars(digit, 4)}${r.int(1000, 9999)}`,
        () => `+1${r.int(2, 9)}${r.int(10, 99)}${r.int(2, 9)}${r.int(10, 99)}${r.chars(digit, 4)}`,
        () => `+1 (${r.int(201, 989)}) ${r.int(200, 999)}-${r.chars(digit, 4)}`,
        () => `+44 20 ${r.int(1000, 9999)} ${r.int(1000, 9999)}`,
        () => `(${r.int(201, 989)}) ${r.int(200, 999)}-${r.chars(digit, 4)}`,
        () => `${r.int(201, 989)}-${r.int(200, 999)}-${r.chars(digit, 4)}`,
        () => `0${r.int(20, 99)} ${r.int(1000, 9999)} ${r.int(1000, 9999)}`
      ])()
    ] as const
}

const luhnDigit = (body: string): number => {
  let sum = 0
  for (let i = 0; i < body.length; i++) {
    const value = Number(body[body.length - 1 - i]) * (i % 2 === 0 ? 2 : 1)
    sum += value > 9 ? value - 9 : value
  }
  return (10 - (sum % 10)) % 10
}

const ibanDigits = (country: string, bban: string): string => {
  const number = [...`${bban}${country}00`].map((char) => Number.parseInt(char, 36)).join("")
  return String(98n - (BigInt(number) % 97n)).padStart(2, "0")
}

// --- Where they are put ----------------------------------------------------

const tellingNames: Readonly<Record<Kind, ReadonlyArray<string>>> = {
  password: ["password", "db_password", "newPassword", "PASSWD", "user-pwd", "passphrase"],
  "aws-access-key": ["accessKey", "aws_access_key", "AWS_ACCESS_KEY"],
  "aws-secret-key": ["secretAccessKey", "aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"],
  github: ["token", "GITHUB_TOKEN", "accessToken", "x-auth-token"],
  gitlab: ["token", "private-token", "GITLAB_TOKEN"],
  slack: ["token", "slackToken", "webhook_secret"],
  stripe: ["apiKey", "secret_key", "STRIPE_SECRET_KEY"],
  "model-provider": ["apiKey", "api_key", "OPENAI_API_KEY", "x-api-key"],
  google: ["apiKey", "client_secret", "accessToken"],
  npm: ["NPM_TOKEN", "authToken", "_authToken"],
  sendgrid: ["apiKey", "SENDGRID_API_KEY"],
  "hex-token": ["authToken", "auth_token", "api_secret", "sessionToken"],
  azure: ["secret", "storageSecret", "AZURE_SECRET"],
  "database-url": ["password", "dbSecret", "DB_SECRET"],
  jwt: ["token", "id_token", "jwt", "Authorization"],
  "private-key": ["privateKey", "private_key", "SSH_PRIVATE_KEY"],
  card: ["cardNumber", "card_number", "creditCard"],
  iban: ["iban", "IBAN", "bank_account"],
  email: ["email", "emailAddress", "contact_email"],
  phone: ["phone", "phoneNumber", "mobile", "telephone"]
}

const innocentNames = ["note", "value", "data", "input", "content", "comment", "param", "q", "item", "body"]

const around: ReadonlyArray<readonly [string, string]> = [
  ["please use ", " for this"],
  ["", " is what they sent me"],
  ["see below:\n", "\nthanks"],
  ["It was (", "), I think."],
  ['they wrote "', '" yesterday']
]

/** Arguments that hold the secret, in the form and under the name it says; stable per secret. */
export const place = (secret: Secret): Record<string, unknown> => {
  const { form, name, named, value } = secret
  const random = new Random(hashOf(secret.needle))
  const id = random.int(1, 9999)
  switch (form) {
    case "field":
      return { id, [name]: value }
    case "nested":
      return { id, config: { items: [{ label: "main", options: { [name]: value } }] } }
    case "list":
      return named ? { id, env: [{ name, value }] } : { id, values: ["first", value, "last"] }
    case "text": {
      const [before, after] = random.pick(around)
      return { id, text: named ? `${before}${name}="${value}"${after}` : `${before}${value}${after}` }
    }
    case "query":
      return {
        id,
        url: `https://api.example.com/v1/items?id=${id}&${name}=${encodeURIComponent(value)}&page=2`
      }
    case "path":
      return { id, url: `https://api.example.com/${name}/${encodeURIComponent(value)}/items` }
    case "json":
      return { id, payload: JSON.stringify({ id, inner: { [name]: value } }) }
    case "base64":
      return { id, blob: btoa(JSON.stringify({ [name]: value })) }
    case "percent":
      return { id, form: `id=${id}&state=${encodeURIComponent(`${name}=${value}`)}` }
  }
}

/** How the secret can stand in what is shown: as it is, and as its form encodes it. */
export const spellings = ({ form, name, needle, value }: Secret): ReadonlyArray<string> => {
  const all = new Set([needle, encodeURIComponent(needle), JSON.stringify(needle).slice(1, -1)])
  if (form === "base64") all.add(btoa(JSON.stringify({ [name]: value })))
  if (form === "percent") all.add(encodeURIComponent(encodeURIComponent(needle)))
  return [...all]
}

const hashOf = (text: string): number => {
  let hash = 2166136261
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619)
  return hash >>> 0
}

// --- Ordinary arguments ----------------------------------------------------

const nouns =
  "invoice report flight customer order ticket server branch release photo meeting weather budget recipe".split(
    " "
  )
const verbs = "check update send list book cancel review archive merge rename compare schedule".split(" ")
const places = ["Berlin", "Paris", "São Paulo", "Tōkyō", "New York", "Nairobi"]

const sentences: ReadonlyArray<(r: Random) => string> = [
  (r) =>
    `Please ${r.pick(verbs)} the ${r.pick(nouns)} for ${r.pick(places)} at ${r.int(1, 12)}:${r.int(10, 59)} today.`,
  (r) => `The ${r.pick(nouns)} is overdue: ${r.int(2, 90)} days, ${r.int(100, 9999)}.${r.int(10, 99)} EUR.`,
  () => "Your password must be at least 12 characters long and is required to change every 90 days.",
  () => "The token is expired; reset the password to continue. Note: secret sauce recipe attached.",
  (r) =>
    `Ratio ${r.int(1, 9)}:${r.int(1, 9)}, range ${r.int(1, 50)}-${r.int(51, 99)}, v${r.int(1, 9)}.${r.int(0, 20)}.${r.int(0, 9)}`,
  (r) =>
    `Key takeaways: ${r.pick(nouns)} growth = ${r.int(1, 40)}%, ${r.pick(nouns)} flat. Author: ${r.pick(["Ann", "Bob"])}.`
]

const code: ReadonlyArray<(r: Random) => string> = [
  () => "const token = await getToken()\nif (token === undefined) throw new Error('no token')",
  (r) => `for (let i = 0; i < ${r.int(2, 99)}; i++) {\n  sum += values[i] ?? 0\n}`,
  () => "interface Login { user: string; password: string; token?: string }",
  (r) => `SELECT id, password_changed_at FROM users WHERE id = ${r.int(1, 9999)} ORDER BY created_at DESC`,
  () => "def login(user, password):\n    return session.post(url, data={'user': user, 'password': password})",
  () => 'export API_KEY=$MY_API_KEY\ncurl -H "Authorization: Bearer $TOKEN" https://api.example.com',
  (r) => `git checkout -b feature/${r.pick(nouns)}-${r.int(1, 999)} && git push -u origin HEAD`
]

const uuid = (r: Random): string => [8, 4, 4, 4, 12].map((length) => r.chars(hex, length)).join("-")
const sha = (r: Random): string => r.chars(hex, 40)
const date = (r: Random): string =>
  `20${r.int(20, 29)}-${String(r.int(1, 12)).padStart(2, "0")}-${String(r.int(1, 28)).padStart(2, "0")}`
const stamp = (r: Random): string =>
  `${date(r)}T${r.int(10, 23)}:${r.int(10, 59)}:${r.int(10, 59)}.${r.int(100, 999)}Z`
const file = (r: Random): string =>
  `/${r.pick(["home/ann", "var/log", "usr/local/lib/node_modules", "srv/data"])}/${r.pick(nouns)}_${r.int(1, 999)}.${r.pick(["txt", "tar.gz", "ts", "pdf"])}`

const arguments_: ReadonlyArray<(r: Random) => Record<string, unknown>> = [
  (r) => ({ id: uuid(r), createdAt: stamp(r), count: r.int(0, 1e6), active: r.next() < 0.5 }),
  (r) => ({
    query: r.pick(sentences)(r),
    limit: r.int(1, 100),
    page_token: `p${r.int(1, 99)}`,
    lang: "en-GB"
  }),
  (r) => ({
    repo: "acme/widgets",
    sha: sha(r),
    base: `v${r.int(1, 9)}.${r.int(0, 9)}.${r.int(0, 9)}`,
    author: "Ann Lee"
  }),
  (r) => ({
    model: "gpt-4o-mini",
    max_tokens: r.int(1, 4096),
    temperature: r.next(),
    tokens_used: r.int(1, 9999),
    stop: ["\n"]
  }),
  (r) => ({
    url: `https://www.example.com/${r.pick(nouns)}/${r.int(1, 1e6)}?page=${r.int(1, 50)}&sort=asc&key=name`,
    timeout: 30_000
  }),
  (r) => ({ path: file(r), mode: "0644", encoding: "utf-8", lines: [r.int(1, 50), r.int(51, 500)] }),
  (r) => ({
    orderId: `ORD-${r.int(2020, 2029)}-${r.chars(digit, 8)}`,
    invoice: `INV${r.chars(digit, 10)}`,
    amount: r.int(1, 1e6) / 100
  }),
  (r) => ({ source: r.pick(code)(r), language: "typescript", keywords: ["token", "secretary", "pin_color"] }),
  (r) => ({
    image: `data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA${r.chars(base64, 200)}==`,
    width: r.int(1, 4000)
  }),
  (r) => ({
    lat: r.next() * 180 - 90,
    lon: r.next() * 360 - 180,
    city: r.pick(places),
    position: `+${r.int(10, 80)}.${r.chars(digit, 4)}-0${r.int(10, 99)}.${r.chars(digit, 4)}/`
  }),
  (r) => ({
    ts: r.int(1.6e12, 1.9e12),
    trace: r.chars(hex, 32),
    span: r.chars(hex, 16),
    ns: `${r.int(1.6e9, 1.9e9)}${r.chars(digit, 9)}`
  }),
  (r) => ({
    tracking: `1Z${r.chars(upper + digit, 16)}`,
    isbn: `978-${r.int(0, 9)}-${r.chars(digit, 2)}-${r.chars(digit, 6)}-${r.int(0, 9)}`,
    ean: r.chars(digit, 13),
    sku: `${r.chars(upper, 3)}-${r.chars(digit, 4)}-${r.chars(upper, 2)}`
  }),
  (r) => ({
    ip: `${r.int(1, 254)}.${r.int(0, 254)}.${r.int(0, 254)}.${r.int(1, 254)}:${r.int(1024, 65535)}`,
    mac: Array.from({ length: 6 }, () => r.chars(hex, 2)).join(":"),
    host: `db-${r.int(1, 9)}.internal.example`
  }),
  (r) => ({
    subject: r.pick(sentences)(r),
    body: `${r.pick(sentences)(r)} ${r.pick(sentences)(r)}\n\n${r.pick(sentences)(r)}`,
    priority: r.pick(["low", "high"])
  }),
  (r) => ({
    rows: Array.from({ length: 5 }, () => ({
      id: r.int(1, 1e9),
      name: r.pick(nouns),
      day: date(r),
      value: r.next() * 1e6
    }))
  }),
  (r) => ({
    key: `cache:${r.pick(nouns)}:${r.int(1, 9999)}`,
    etag: `"${r.chars(hex, 32)}"`,
    integrity: `sha512-${r.chars(base64, 86)}==`,
    ttl: 3600
  }),
  (r) => ({
    bucket: "uploads",
    key: `images/${r.chars(hex, 16)}.png`,
    contentType: "image/png",
    cursor: r.chars(alnum, 24)
  }),
  (r) => ({
    package: `@scope/${r.pick(nouns)}@${r.int(1, 20)}.${r.int(0, 9)}.${r.int(0, 9)}`,
    lockfile: "package-lock.json",
    registry: "https://packages.example.org/"
  }),
  (r) => ({
    remote: `git@github.com:acme/${r.pick(nouns)}.git`,
    ref: `refs/heads/${r.pick(verbs)}-${r.int(1, 99)}`,
    depth: 1
  }),
  (r) => ({
    accountId: r.chars(digit, 12),
    transactionId: r.chars(digit, 16),
    reference: `${r.chars(digit, 4)}-${r.chars(digit, 4)}-${r.chars(digit, 4)}`
  }),
  (r) => ({
    settings: {
      passwordPolicy: "strong",
      secretName: "db-main",
      tokenLimit: r.int(1, 99),
      cookieConsent: true,
      hasPassword: true,
      authMethod: "oauth2",
      keyId: `k-${r.int(1, 99)}`
    }
  }),
  (r) => ({
    ulid: `01${r.chars("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 24)}`,
    nanoid: r.chars(url64, 21),
    objectId: r.chars(hex, 24),
    slug: `${r.pick(verbs)}-the-${r.pick(nouns)}-${r.int(1, 99)}`
  })
]

/** Arguments without a secret: ids, hashes, times, prose, code, numbers, paths, URLs. */
export const ordinary = (seed: number, n: number): ReadonlyArray<Record<string, unknown>> => {
  const random = new Random(seed)
  return Array.from({ length: n }, (_, index) => arguments_[index % arguments_.length]!(random))
}
