/**
 * What anyone may see of a call. Declared secrets are never seen; of detected
 * ones the corpus says how many are found, and what is hidden for nothing.
 */
import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as fc from "fast-check"
import * as Raw from "../src/internal/raw.ts"
import * as Redaction from "../src/Redaction.ts"
import * as ToolAnnotations from "../src/ToolAnnotations.ts"
import { generateSecrets, kinds, ordinary, place, spellings } from "./support/secretsCorpus.ts"

const redaction = Redaction.make()
const secret = Schema.String.annotate(ToolAnnotations.sensitive)
const mask = "[redacted declared]"

const paramsOf = (parameters: Schema.Constraint) =>
  redaction.forTool(ToolAnnotations.read(Tool.make("t", { parameters: parameters as never }))).params

const rawParamsOf = (jsonSchema: object) =>
  redaction.forTool(ToolAnnotations.read(Tool.dynamic("t", { parameters: jsonSchema as never }))).params

const shown = (view: Redaction.View) => view.value

describe("what is declared", () => {
  it("is masked whole, whatever it holds, and named by its path", () => {
    const params = paramsOf(Schema.Struct({ a: Schema.String, deep: Schema.Struct({ s: secret }) }))
    for (const held of ["x", "", 7, null, ["x"], { s: "x" }, true]) {
      assert.deepStrictEqual(params({ a: "x", deep: { s: held } }), {
        value: { a: "x", deep: { s: mask } },
        masked: [{ path: "deep.s", rule: "declared" }]
      })
    }
    assert.deepStrictEqual(shown(params({ a: "x" })), { a: "x" })
    assert.deepStrictEqual(shown(params(undefined)), undefined)
  })

  it("is found wherever a schema can say it", () => {
    interface Tree {
      readonly secret?: string | undefined
      readonly open?: string | undefined
      readonly next?: Tree | undefined
    }
    const Tree = Schema.Struct({
      secret: Schema.optional(secret),
      open: Schema.optional(Schema.String),
      next: Schema.optional(Schema.suspend((): Schema.Codec<Tree> => Tree))
    })
    class Account extends Schema.Class<Account>("Account")({ id: Schema.Number, code: secret }) {}
    const cases: ReadonlyArray<readonly [string, Schema.Constraint, unknown, unknown]> = [
      ["Redacted", Schema.RedactedFromValue(Schema.String), "s", mask],
      ["Redacted of a struct", Schema.RedactedFromValue(Schema.Struct({ x: Schema.Number })), { x: 1 }, mask],
      ["Redacted as it is", Schema.Redacted(Schema.String), "s", mask],
      ["null or it", Schema.NullOr(secret), "s", mask],
      [
        "a key's annotation",
        Schema.Struct({ k: Schema.String.pipe(Schema.annotateKey(ToolAnnotations.sensitive)) }),
        { k: "s" },
        { k: mask }
      ],
      ["before a check", Schema.Struct({ k: secret.check(Schema.isMinLength(1)) }), { k: "s" }, { k: mask }],
      [
        "after a check",
        Schema.Struct({ k: Schema.String.check(Schema.isMinLength(1)).annotate(ToolAnnotations.sensitive) }),
        { k: "s" },
        { k: mask }
      ],
      ["a brand", Schema.Struct({ k: secret.pipe(Schema.brand("K")) }), { k: "s" }, { k: mask }],
      ["a list", Schema.Array(secret), ["s", "t"], [mask, mask]],
      ["a place in a tuple", Schema.Tuple([Schema.String, secret]), ["o", "s"], ["o", mask]],
      ["a record", Schema.Record(Schema.String, secret), { a: "s" }, { a: mask }],
      [
        "one branch of several",
        Schema.Union([Schema.Struct({ a: Schema.String }), Schema.Struct({ a: secret })]),
        { a: "s" },
        { a: mask }
      ],
      [
        "any depth",
        Tree,
        { open: "o", next: { next: { secret: "s", open: "o" } } },
        { open: "o", next: { next: { secret: mask, open: "o" } } }
      ],
      ["a class", Account, { id: 1, code: "s" }, { id: 1, code: mask }],
      ["a list of classes", Schema.Array(Account), [{ id: 1, code: "s" }], [{ id: 1, code: mask }]],
      [
        "a default",
        Schema.Struct({ k: secret.pipe(Schema.withDecodingDefaultKey(Effect.succeed("d"))) }),
        { k: "s" },
        { k: mask }
      ],
      [
        "a field that is renamed",
        Schema.Struct({ a: Schema.RedactedFromValue(Schema.String), b: Schema.String }).pipe(
          Schema.encodeKeys({ a: "x" })
        ),
        { x: "s", b: "o" },
        { x: mask, b: "o" }
      ],
      ["JSON in a text", Schema.fromJsonString(Schema.Struct({ k: secret })), '{"k":"s"}', mask],
      [
        "another shape",
        Schema.String.pipe(
          Schema.decodeTo(Schema.Struct({ k: secret }), {
            decode: SchemaGetter.transform((k: string) => ({ k })),
            encode: SchemaGetter.transform(({ k }: { readonly k: string }) => k)
          })
        ),
        "s",
        mask
      ],
      ["a map", Schema.ReadonlyMap(Schema.String, secret), [["k", "s"]], mask]
    ]
    for (const [name, schema, raw, expected] of cases) {
      assert.deepStrictEqual(
        shown(paramsOf(Schema.Struct({ field: schema }))({ field: raw })),
        { field: expected },
        name
      )
    }
  })

  it("is masked in results: a success, a failure, and either where they differ", () => {
    class Refused extends Schema.TaggedError<Refused>()("Refused", { why: secret }) {}
    const tool = Tool.make("t", {
      success: Schema.Struct({ card: secret, ok: Schema.Boolean }),
      failure: Refused
    })
    const { result } = redaction.forTool(ToolAnnotations.read(tool))
    assert.deepStrictEqual(shown(result({ card: "s", ok: true })), { card: mask, ok: true })
    assert.deepStrictEqual(shown(result({ _tag: "Refused", why: "s" })), { _tag: "Refused", why: mask })
  })

  it("is masked where a raw JSON Schema says so", () => {
    const string = { type: "string" }
    for (const said of [
      { format: "password" },
      { writeOnly: true },
      { "interlock/sensitive": true },
      { "x-sensitive": true }
    ]) {
      const it = { type: "string", ...said }
      const cases: ReadonlyArray<readonly [object, unknown, unknown]> = [
        [{ properties: { k: it, o: string } }, { k: "s", o: "o" }, { k: mask, o: "o" }],
        [{ properties: { k: { anyOf: [{ type: "null" }, it] } } }, { k: "s" }, { k: mask }],
        [{ properties: { k: { items: it } } }, { k: ["s"] }, { k: [mask] }],
        [{ properties: { k: { prefixItems: [string, it] } } }, { k: ["o", "s"] }, { k: ["o", mask] }],
        [{ additionalProperties: it }, { any: "s" }, { any: mask }],
        [{ patternProperties: { "^x": it } }, { x1: "s" }, { x1: mask }],
        [{ properties: { k: { $ref: "#/$defs/s" } }, $defs: { s: it } }, { k: "s" }, { k: mask }],
        [
          { properties: { k: { $ref: "#anchor" } }, $defs: { s: { $anchor: "anchor", ...it } } },
          { k: "s" },
          { k: mask }
        ],
        [{ properties: { k: { $ref: "https://elsewhere.example/s" }, s: it } }, { k: "s" }, { k: mask }],
        // biome-ignore lint/suspicious/noThenProperty: JSON Schema has this word.
        [{ if: { properties: { a: string } }, then: { properties: { k: it } } }, { k: "s" }, { k: mask }],
        [
          { properties: { next: { $ref: "#" }, k: it } },
          { next: { next: { k: "s", n: 1 } } },
          { next: { next: { k: mask, n: 1 } } }
        ]
      ]
      for (const [schema, raw, expected] of cases) {
        assert.deepStrictEqual(
          shown(rawParamsOf({ type: "object", ...schema })(raw)),
          expected,
          JSON.stringify(schema)
        )
      }
    }
  })

  it("never shows, in any schema and at any place", () => {
    // Schemas with values that fit them. What is declared holds `hidden`, what is not holds `open`.
    interface Made {
      readonly schema: Schema.Constraint
      readonly value: unknown
      readonly exact: boolean
    }
    const { made } = fc.letrec<{ made: Made }>((tie) => ({
      made: fc.oneof(
        { maxDepth: 4, withCrossShrink: true },
        fc.constant({ schema: Schema.String, value: "open", exact: true }),
        fc.constant({ schema: secret, value: "hidden", exact: true }),
        fc.constant({ schema: Schema.RedactedFromValue(Schema.String), value: "hidden", exact: true }),
        fc.array(tie("made"), { maxLength: 3 }).map((all) => ({
          schema: Schema.Struct(Object.fromEntries(all.map(({ schema }, n) => [`f${n}`, schema as never]))),
          value: Object.fromEntries(all.map(({ value }, n) => [`f${n}`, value])),
          exact: all.every(({ exact }) => exact)
        })),
        tie("made").map(({ exact, schema, value }) => ({
          schema: Schema.Array(schema as never),
          value: [value, value],
          exact
        })),
        tie("made").map(({ exact, schema, value }) => ({
          schema: Schema.Record(Schema.String, schema as never),
          value: { any: value },
          exact
        })),
        fc.tuple(tie("made"), tie("made")).map(([one, other]) => ({
          schema: Schema.Union([one.schema as never, other.schema as never]),
          value: one.value,
          exact: false
        })),
        tie("made").map(({ schema, value }) => ({
          schema: Schema.Struct({ a: schema as never, b: Schema.String }).pipe(
            Schema.encodeKeys({ a: "renamed" } as never)
          ),
          value: { renamed: value, b: "open" },
          exact: false
        })),
        tie("made").map(({ schema, value }) => ({
          schema: Schema.fromJsonString(schema as never),
          value: JSON.stringify(value),
          exact: false
        }))
      )
    }))
    fc.assert(
      fc.property(made, ({ exact, schema, value }) => {
        const text = JSON.stringify(shown(paramsOf(Schema.Struct({ p: schema as never }))({ p: value })))
        assert.notInclude(text, "hidden")
        const count = (in_: string) => in_.split("open").length
        if (exact) assert.strictEqual(count(text), count(JSON.stringify(value)))
      }),
      { numRuns: 300 }
    )
  })

  it("of a thousand secrets shows none, in arguments, results, messages and causes", () => {
    const Holder = Schema.Struct({
      id: Schema.Number,
      held: Schema.Unknown.annotate(ToolAnnotations.sensitive)
    })
    const tool = redaction.forTool(
      ToolAnnotations.read(Tool.make("t", { parameters: Holder, success: Holder, failure: Holder }))
    )
    for (const one of generateSecrets(2, 1000)) {
      const raw = { id: 1, held: one.value }
      const about = Redaction.aboutCall(redaction, tool, raw)
      const error = new Error(`refused ${one.value}`, { cause: { request: raw } })
      const cause = Redaction.cause(Cause.combine(Cause.die(error), Cause.fail({ said: one.value })), about)
      const seen = [
        JSON.stringify(tool.params({ id: 1, held: place(one) })),
        JSON.stringify(tool.result(raw)),
        about(
          `no ${one.value} at https://x.example/?q=${encodeURIComponent(one.value)}: ${JSON.stringify(raw)}`
        ),
        Cause.pretty(cause),
        inspect(cause, { depth: 10, showHidden: true })
      ]
      for (const text of seen) for (const spelling of spellings(one)) assert.notInclude(text, spelling)
    }
  })
})

describe("a text about a call", () => {
  const tool = redaction.forTool(
    ToolAnnotations.read(Tool.make("t", { parameters: Schema.Struct({ held: secret, open: Schema.String }) }))
  )
  const held = 'a "b"\nçd'
  const about = Redaction.aboutCall(redaction, tool, { held, open: "o", pwd: "swordfish" })

  it("shows what it quotes of the arguments as they are shown", () => {
    assert.strictEqual(about(`no ${held}!`), `no ${mask}!`)
    assert.strictEqual(about(`no ${JSON.stringify(held)}!`), `no "${mask}"!`)
    assert.strictEqual(about(`no ?x=${encodeURIComponent(held)}`), `no ?x=${mask}`)
    assert.strictEqual(about("swordfish is wrong, o is fine"), "[redacted password] is wrong, o is fine")
    const short = Redaction.aboutCall(redaction, tool, { held: "abc" })
    assert.strictEqual(short("abc is too short to be looked for"), "abc is too short to be looked for")
  })

  it("may be a cause: names, order and interruptions stay", () => {
    class Refused extends Schema.TaggedError<Refused>()("Refused", {
      why: Schema.String,
      password: Schema.String
    }) {}
    const inner = new AggregateError([new RangeError(`in ${held}`)], "several")
    const cause = Cause.fromReasons<unknown>([
      Cause.makeFailReason(new Refused({ why: held, password: "x" })),
      Cause.makeDieReason(new TypeError(`bad ${held}`, { cause: inner })),
      Cause.makeDieReason(held),
      Cause.makeDieReason({ token: "abc123def" }),
      Cause.makeInterruptReason(7)
    ])
    const seen = Redaction.cause(cause, about)
    assert.notInclude(inspect(seen, { depth: 20, showHidden: true }), "çd")
    assert.deepStrictEqual(
      seen.reasons.map(({ _tag }) => _tag),
      ["Fail", "Die", "Die", "Die", "Interrupt"]
    )
    const [failed, died, text, data, interrupted] = seen.reasons as ReadonlyArray<never> as ReadonlyArray<{
      readonly error: Refused
      readonly defect: TypeError
      readonly fiberId: number
    }>
    assert.deepInclude({ ...failed!.error }, { _tag: "Refused", why: mask, password: "[redacted password]" })
    assert.strictEqual(died!.defect.name, "TypeError")
    assert.strictEqual(died!.defect.message, `bad ${mask}`)
    assert.match(died!.defect.stack!, /at .*Redaction\.test\.ts/)
    assert.strictEqual((died!.defect.cause as AggregateError).errors[0].message, `in ${mask}`)
    assert.strictEqual(text!.defect as unknown, mask)
    assert.deepStrictEqual(data!.defect as unknown, { token: "[redacted token]" })
    assert.strictEqual(interrupted!.fiberId, 7)
  })

  it("never throws", () => {
    const hostile = [
      null,
      undefined,
      Symbol("s"),
      new Proxy(new Error("x"), {
        get: () => {
          throw new Error("no")
        }
      }),
      Object.assign(new Error("x"), { self: new Map() })
    ]
    for (const defect of hostile) Cause.pretty(Redaction.cause(Cause.die(defect), about))
    assert.strictEqual(about("\ud800"), "\ud800")
    assert.strictEqual(Redaction.aboutCall(redaction, tool, { held: "\ud800\ud800\ud800\ud800" })("x"), "x")
  })
})

describe("what a name says", () => {
  const hides = (name: string, value: unknown = "Xk29vQ71mZp04Lwe") =>
    JSON.stringify(shown(redaction.value({ [name]: value }))) !== JSON.stringify({ [name]: value })

  it("is told by its last words, however they are written", () => {
    const telling =
      "password Password PASSWORD passwd pwd db_password newPassword user-password passwordConfirmation password2 " +
      "DB_PASS apiKey api_key API-KEY x-api-key apikey openaiApiKey secret clientSecret client_secret webhook.secret " +
      "token access_token accessToken refreshToken X-Auth-Token csrfToken jwt authorization Proxy-Authorization Cookie " +
      "Set-Cookie privateKey private_key sshKey signing_key secretAccessKey AccountKey encryptionKey passphrase " +
      "contraseña Passwort 密码 key auth signature sessionid"
    for (const name of telling.split(" ")) assert.isTrue(hides(name), name)
    for (const [name, value] of [
      ["pin", 1234],
      ["cardPin", "0042"],
      ["cvv", "123"],
      ["card_cvc2", 123],
      ["otp", "123456"],
      ["ssn", "078051120"],
      ["cardNumber", "4000 0000 0000 0000"],
      ["iban", "DE00 1234 5678 9012 3456 00"],
      ["phone", "020 7946 0958"],
      ["password", 12345678]
    ] as const) {
      assert.isTrue(hides(name, value), name)
    }
  })

  it("leaves alone what only looks like one", () => {
    const innocent =
      "tokens_used max_tokens tokenizer tokenCount author authority secretary secretName pin_color pinned spinner " +
      "passwordPolicy password_reset_url keyboard keyId publicKey public_key monkey compass passenger bypass " +
      "page_token nextPageToken stop_token cookieConsent authorId authMethod cardType phoneModel keyword turkey hotkey"
    for (const name of innocent.split(" ")) assert.isFalse(hides(name), name)
    for (const [name, value] of [
      ["hasPassword", true],
      ["password", ""],
      ["password", null],
      ["token", 12],
      ["key", "user:123:profile"],
      ["key", "images/9f86d081884c7d65.png"],
      ["key", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"],
      ["pin", "blue"],
      ["tokens", ["the", "cat"]],
      ["auth", "oauth2"],
      ["phone", "iPhone 15"]
    ] as const) {
      assert.isFalse(hides(name, value), `${name}: ${value}`)
    }
  })

  it("holds for what is below it, beside it and after it", () => {
    const cases: ReadonlyArray<readonly [unknown, unknown]> = [
      [{ secrets: { db: "swordfish", n: [true] } }, { secrets: { db: "[redacted secret]", n: [true] } }],
      [
        { env: [{ name: "DB_PASSWORD", value: "x" }] },
        { env: [{ name: "DB_PASSWORD", value: "[redacted password]" }] }
      ],
      [{ headers: [["X-Api-Key", "abcd"]] }, { headers: [["X-Api-Key", "[redacted secret]"]] }],
      [{ args: ["--password", "x", "-v"] }, { args: ["--password", "[redacted password]", "-v"] }],
      [new Map([["password", "x"]]), [["password", "[redacted password]"]]]
    ]
    for (const [value, expected] of cases) assert.deepStrictEqual(shown(redaction.value(value)), expected)
  })

  it("holds in texts", () => {
    const cases: ReadonlyArray<readonly [string, string]> = [
      ["password=hunter2&user=bob", "password=[redacted password]&user=bob"],
      ["https://x.example/?a=1&api_key=abcd1234#top", "https://x.example/?a=1&api_key=[redacted secret]"],
      [
        "Server=db;User=sa;Password=p@ss;w0rd;Encrypt=yes",
        "Server=db;User=sa;Password=[redacted password];Encrypt=yes"
      ],
      ['{"password": "x y", "n": 1}', '{"password":"[redacted password]","n":1}'],
      ['sent {"password": "x y", "n": 1} twice', 'sent {"password": "[redacted password]", "n": 1} twice'],
      ['sent {\\"password\\": \\"x\\"}', 'sent {\\"password\\": \\"[redacted password]\\"}'],
      ["X-Api-Key: abcd1234\nAccept: */*", "X-Api-Key: [redacted secret]\nAccept: */*"],
      [
        '-H \'Authorization: Digest username="a", response="b"\'',
        '-H \'Authorization: [redacted authorization]"a", response="b"\''
      ],
      ["Cookie: a=1; sid=2\nHost: x", "Cookie: [redacted cookie]\nHost: x"],
      ["my password is hunter2, ok?", "my password is [redacted password], ok?"],
      ["mysql --password hunter2 -u root", "mysql --password [redacted password] -u root"],
      ["curl -u bob:hunter2 https://x.example", "curl -u bob:[redacted password] https://x.example"],
      ["<password>a b</password>", "<password>[redacted password]</password>"],
      ["api key: 5f4dcc3b5aa765d6", "api key: [redacted secret]"]
    ]
    for (const [text, expected] of cases) assert.strictEqual(redaction.text(text), expected)
    for (const text of [
      "Password: must be at least 8 characters",
      "the token is expired",
      "const token = await getToken()",
      "token = response.data.token;",
      "if (password == null) return",
      "interface Login { password: string; token?: string }",
      "export API_KEY=$MY_KEY",
      "password: <your password>",
      "Authorization: Bearer $TOKEN",
      "max_tokens=100&page_token=abc123",
      "see https://x.example/docs/password"
    ]) {
      assert.strictEqual(redaction.text(text), text)
    }
  })
})

describe("what a shape says", () => {
  const repeat = (text: string, length: number) =>
    text.repeat(Math.ceil(length / text.length)).slice(0, length)
  const a1 = (length: number) => repeat("aB3dE6gH9jK2mN5pQ8", length)

  it("is masked, and the rest of the text stays", () => {
    const cases: ReadonlyArray<readonly [string, string]> = [
      ["AKIAIOSFODNN7EXAMPLE", "aws-key"],
      [`ghp_${a1(36)}`, "github-token"],
      [`github_pat_${a1(22)}_${a1(59)}`, "github-token"],
      [`glpat-${a1(20)}`, "gitlab-token"],
      ["xoxb-123456789012-123456789012-aB3dE6gH9jK2mN5pQ8", "slack-token"],
      [`hooks.slack.com/services/T00000000/B00000000/${a1(24)}`, "webhook"],
      [`sk_live_${a1(24)}`, "stripe-key"],
      [`sk-proj-${a1(48)}`, "openai-key"],
      [`sk-ant-api03-${a1(93)}`, "anthropic-key"],
      [`AIza${a1(35)}`, "google-key"],
      [`GOCSPX-${a1(28)}`, "google-oauth"],
      [`npm_${a1(36)}`, "npm-token"],
      [`SG.${a1(22)}.${a1(43)}`, "sendgrid-key"],
      [`SK${repeat("0123456789abcdef", 32)}`, "twilio-key"],
      [`hf_${a1(34)}`, "huggingface-token"],
      [`123456789:${a1(35)}`, "telegram-token"],
      ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r", "jwt"],
      ["-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----", "private-key"],
      ["4111 1111 1111 1111", "card"],
      ["378282246310005", "card"],
      ["GB82 WEST 1234 5698 7654 32", "iban"],
      ["DE89370400440532013000", "iban"],
      ["123-45-6789", "national-id"],
      ["bob.o'hara+x@mail.example.co.uk", "email"],
      ["+49 30 901820", "phone"],
      ["+1 (212) 555-0187", "phone"],
      ["(212) 555-0187", "phone"],
      ["0044 20 7946 0958", "phone"]
    ]
    for (const [value, rule] of cases) {
      assert.strictEqual(redaction.text(value), `[redacted ${rule}]`)
      assert.strictEqual(redaction.text(`it is ${value} then`), `it is [redacted ${rule}] then`)
      assert.strictEqual(redaction.text(`("${value}")`), `("[redacted ${rule}]")`)
      const encoded = redaction.text(`q=${encodeURIComponent(`x ${value} y`)}&n=1`)
      assert.notInclude(encoded, encodeURIComponent(value))
      assert.isTrue(encoded.endsWith("&n=1"))
      assert.match(redaction.text(btoa(`it is ${value}`)), /^\[redacted [\w-]+\]$/)
    }
    assert.strictEqual(
      redaction.text("postgres://bob:s3cret@db.example.com:5432/app"),
      "postgres://[redacted url-credentials]@db.example.com:5432/app"
    )
    assert.deepStrictEqual(shown(redaction.value({ n: 4111111111111111 })), { n: "[redacted card]" })
  })

  it("is masked in the names of fields too", () => {
    const token = `ghp_${a1(36)}`
    const view = redaction.value({ [token]: { x: 1, y: "bob@mail.example" }, [`x ${token}`]: 2 })
    assert.notInclude(JSON.stringify(view), token.slice(4))
    assert.isTrue(view.masked.some(({ path }) => path.endsWith(".y")))
    const alike = shown(redaction.value({ [token]: 1, [`ghp_${a1(35)}z`]: 2, "[redacted github-token]": 3 }))
    assert.deepStrictEqual(Object.values(alike as object), [1, 2, 3])
  })

  it("leaves alone what fails its check or is only alike", () => {
    for (const text of [
      "4111 1111 1111 1112",
      "1111111111111111",
      "GB82 WEST 1234 5698 7654 33",
      "git@github.com:acme/widgets.git",
      "icon@2x.png",
      "react@18.2.0-beta.rc",
      "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
      "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
      "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
      "2026-07-01T12:30:00.000Z",
      "+05:30",
      "+40.7128-074.0060/",
      "1.800.555",
      "sk-folding-cube-animation-delay",
      "the bearer responsibilities of basic understanding",
      "192.168.100.200:8080",
      "http://host:8080/path@x",
      "978-3-16-148410-0",
      "task-1234567890123456789012"
    ]) {
      assert.strictEqual(redaction.text(text), text)
    }
  })

  it("is looked for up to a length, beyond which nothing is shown", () => {
    const token = `ghp_${a1(36)}`
    for (const before of [65_536 - 60, 65_536 - 20, 65_536 - 1, 65_536, 70_000]) {
      const text = redaction.text(`${repeat("word ", before)} ${token} ${repeat("end ", 9000)}`)
      assert.notInclude(text, token.slice(0, 12))
      assert.match(text, /… \[\d+ more characters not shown\]$/)
      assert.isBelow(text.length, 65_700)
    }
    const short = Redaction.make({ maxLength: 1024 })
    assert.strictEqual(short.text("x".repeat(1024)), "x".repeat(1024))
    assert.strictEqual(short.text("x".repeat(1025)), "… [1025 more characters not shown]")
  })
})

describe("redaction", () => {
  it("never throws, and gives JSON", () => {
    const hostile: Array<unknown> = [
      Symbol("s"),
      () => 1,
      10n,
      Number.NaN,
      new Date(Number.NaN),
      Redacted.make("hidden"),
      Raw.of("hidden"),
      new Uint8Array([104, 105]),
      new Error("password=hunter2"),
      JSON.parse('{"__proto__":{"password":"hunter2"},"constructor":"x"}'),
      {
        get password() {
          throw new Error("no")
        }
      },
      new Proxy(
        {},
        {
          ownKeys: () => {
            throw new Error("no")
          }
        }
      ),
      "\ud800",
      "%E0%A4%A",
      "%",
      "{".repeat(50_000),
      "[".repeat(50_000)
    ]
    const circular: Record<string, unknown> = { password: "hunter2" }
    circular["self"] = [circular, circular]
    hostile.push(circular)
    let deep: unknown = "hunter2"
    for (let i = 0; i < 5000; i++) deep = { a: deep }
    hostile.push(deep)
    hostile.push(Array.from({ length: 300_000 }, () => 1))
    for (const value of hostile) {
      const text = JSON.stringify(redaction.value(value))
      assert.notInclude(text, "hunter2")
      assert.notInclude(text, "hidden")
    }
    fc.assert(
      fc.property(
        fc.anything({
          withBigInt: true,
          withDate: true,
          withMap: true,
          withSet: true,
          withNullPrototype: true
        }),
        (value) => {
          JSON.stringify(redaction.value(value))
        }
      ),
      { numRuns: 300 }
    )
  })

  it("says where a value contains itself, and looks twice at what is only shared", () => {
    const shared = { password: "x" }
    const circular: Record<string, unknown> = { one: shared, two: shared }
    circular["self"] = circular
    const hidden = { password: "[redacted password]" }
    assert.deepStrictEqual(shown(redaction.value(circular)), { one: hidden, two: hidden, self: "[circular]" })
  })

  it("copies, and changes nothing of what has no secret", () => {
    fc.assert(
      fc.property(
        fc.dictionary(
          fc.string({ unit: fc.constantFrom(..."abcxyz"), maxLength: 5 }),
          fc.oneof(
            fc.integer(),
            fc.boolean(),
            fc.constant(null),
            fc.string({ unit: fc.constantFrom(..."ab c,.") })
          )
        ),
        (value) => {
          const view = redaction.value(value)
          assert.deepStrictEqual({ ...(view.value as object) }, { ...value })
          assert.notStrictEqual(view.value, value)
        }
      ),
      { numRuns: 200 }
    )
  })

  it("shown again says the same", () => {
    const parts = fc.oneof(
      fc.constantFrom(
        "password",
        "token: ",
        "api_key=",
        '"',
        "{",
        "}",
        ":",
        " ",
        "&",
        "is ",
        "[redacted token]",
        "Bearer ",
        "https://a:b@c.de/",
        "%3D"
      ),
      fc.constantFrom(...generateSecrets(3, 60).map(({ value }) => value)),
      fc.string()
    )
    fc.assert(
      fc.property(fc.array(parts, { maxLength: 8 }), (all) => {
        const once = redaction.text(all.join(""))
        assert.strictEqual(redaction.text(once), once)
      }),
      { numRuns: 500 }
    )
  })

  it("takes time linear in the text", () => {
    const size = 262_144
    const long = Redaction.make({ maxLength: size })
    const starts = Redaction.rules.flatMap(({ starts = [] }) => starts)
    const units = [
      ...starts,
      "a",
      "A1",
      "0",
      "1-",
      "4 ",
      "(2",
      "+1",
      "+1 ",
      "@",
      "a@",
      "a@a.",
      "a.",
      "-",
      "_",
      "=",
      ":",
      "%",
      "%41",
      "/",
      "://",
      "://a:",
      "://a:b",
      "&",
      "\\",
      '"',
      "'",
      "<",
      ">",
      "[",
      "{",
      "password=",
      "password: ",
      'password="',
      "password='",
      'password=\\"',
      "password=(",
      "password is ",
      "--password ",
      "token=token",
      "token:",
      "token: a ",
      "Cookie: ",
      "cookie:a=",
      "Authorization: ",
      "bearer ",
      "basic/",
      "eyJ",
      "eyJ-",
      "eyJa.",
      "eyJaaaaaaaaaaaaa.",
      "sk-a-",
      "DE8",
      "DE89 ",
      "GB82 WEST ",
      "-----BEGIN ",
      "-----BEGIN A PRIVATE KEY-----",
      "-----END",
      "---- ",
      "<password>",
      "-u a",
      "-u a:b ",
      "ab cd ",
      "é",
      "\n",
      "a\\nghp_",
      "123-45-",
      "user pass ",
      "QUJD",
      "aaaa="
    ]
    const slow: Array<string> = []
    for (const unit of units) {
      for (const text of [repeat(unit, size), `${repeat(unit, size)}!`, `${repeat(`${unit} `, size)}`]) {
        const before = process.cpuUsage()
        long.text(text)
        const { system, user } = process.cpuUsage(before)
        // Quadratic time would be minutes.
        if (user + system > 1_500_000) slow.push(`${JSON.stringify(unit)}: ${(user + system) / 1000} ms`)
      }
    }
    assert.deepStrictEqual(slow, [])
  })

  const repeat = (text: string, length: number) =>
    text.repeat(Math.ceil(length / text.length)).slice(0, length)

  it("is as it is configured", () => {
    const email = "mail bob@mail.example or +49 30 901820"
    assert.strictEqual(Redaction.make({ pii: false }).text(email), email)
    assert.notInclude(Redaction.make({ pii: false }).text("card 4111111111111111"), "4111")
    assert.include(Redaction.make({ without: ["card"] }).text("card 4111111111111111"), "4111")
    const url = "ftp://bob:s3cret@host.example/"
    assert.strictEqual(Redaction.make({ without: ["url-credentials", "email"] }).text(url), url)
    assert.strictEqual(Redaction.make({ mask: () => "***" }).text("password=hunter2"), "password=***")

    const own = Redaction.make({
      rules: [
        { name: "acme", starts: ["acme_"], value: /[a-z]{4}/ },
        { name: "badge", value: /B-\d{4}/g, check: (found) => found !== "B-0000" },
        { name: "employee", keys: /employee id$/, holds: (value) => value.startsWith("E") }
      ],
      keys: ["shoeSize"]
    })
    assert.deepStrictEqual(
      shown(
        own.value({
          t: "acme_abcd B-1234 B-0000",
          theEmployeeId: "E1",
          employee_id: "x",
          "my-shoe-size": "44"
        })
      ),
      {
        t: "[redacted acme] [redacted badge] B-0000",
        theEmployeeId: "[redacted employee]",
        employee_id: "x",
        "my-shoe-size": "[redacted field]"
      }
    )
  })

  it("refuses options that make no sense, by name", () => {
    const nonsense: ReadonlyArray<readonly [Redaction.Options, RegExp]> = [
      [{ maxLength: 10 }, /maxLength/],
      [{ maxLength: Number.NaN }, /maxLength/],
      [{ without: ["nothing"] }, /"nothing"/],
      [{ keys: ["--"] }, /keys\[0\]/],
      [{ mask: () => "" }, /mask/],
      [{ rules: [{ name: "declared", keys: /x/ }] }, /rules\[0\]\.name/],
      [{ rules: [{ name: "a]b", keys: /x/ }] }, /rules\[0\]\.name/],
      [{ rules: [{ name: "a" }] }, /rules\[0\]/],
      [{ rules: [{ name: "a", value: /x*/ }] }, /rules\[0\]\.value/],
      [{ rules: [{ name: "a", starts: ["x"] }] }, /rules\[0\]\.starts/]
    ]
    for (const [options, message] of nonsense) assert.throws(() => Redaction.make(options), message)
  })

  it("finds of a thousand secrets what it found when this was written", () => {
    const found = new Map<string, number>()
    for (const one of generateSecrets(1, 1000)) {
      const view = JSON.stringify(redaction.value(place(one)).value)
      const seen = spellings(one).some((spelling) => view.includes(JSON.stringify(spelling).slice(1, -1)))
      const at = `${one.named ? "named" : "innocent"} ${one.kind}`
      found.set(at, (found.get(at) ?? 0) + (seen ? 0 : 1))
    }
    // Of 25 each. A password, or hexadecimal digits, under a name that says nothing are like anything else.
    const shapeless = new Map([
      ["password", [22, 0]],
      ["hex-token", [22, 0]],
      ["aws-secret-key", [22, 18]],
      ["phone", [22, 20]]
    ])
    for (const kind of kinds) {
      const [named, innocent] = shapeless.get(kind) ?? [25, 25]
      assert.isAtLeast(found.get(`named ${kind}`)!, named!, `${kind} under a name that tells`)
      assert.isAtLeast(found.get(`innocent ${kind}`)!, innocent!, `${kind} under a name that does not`)
    }
  })

  it("hides next to nothing of ten thousand ordinary arguments", () => {
    const hidden = ordinary(1, 10_000).filter((value) => redaction.value(value).masked.length > 0)
    // Numbers of sixteen digits with a right checksum, and groups of digits that could be a phone's.
    assert.isAtMost(hidden.length, 20)
  })
})

describe("what is raw", () => {
  const raw = Raw.of({ password: "hunter2" })

  it("prints as nothing, by itself and within other things", () => {
    const lines: Array<string> = []
    const logger = Logger.make((entry) =>
      lines.push(inspect(entry.message), Formatter.formatJson(entry.message))
    )
    Effect.runSync(Effect.log("raw", raw, { raw }).pipe(Effect.provide(Logger.layer([logger]))))
    const printed = [
      String(raw),
      // @ts-expect-error a template is refused
      `${raw}`,
      // @ts-expect-error so is concatenation
      [""].reduce((text) => text + raw),
      // @ts-expect-error and spreading
      JSON.stringify({ ...raw }),
      JSON.stringify(raw),
      JSON.stringify({ raw, all: [raw] }),
      inspect(raw, { showHidden: true, depth: 10 }),
      inspect({ raw }, { showHidden: true, depth: 10 }),
      inspect(raw, { customInspect: false, showHidden: true, depth: 10 }),
      Formatter.format(raw),
      Formatter.formatJson({ raw }),
      JSON.stringify(structuredClone(raw as unknown)),
      JSON.stringify(Object.entries(raw as unknown as object)),
      JSON.stringify(redaction.value({ raw })),
      ...lines
    ]
    for (const text of printed) assert.notInclude(text, "hunter2")
    assert.strictEqual(JSON.stringify({ raw }), '{"raw":"<raw>"}')
    assert.strictEqual(inspect([raw]), "[ <raw> ]")
    assert.strictEqual(lines.length, 2)
  })

  it("is no text to the compiler", () => {
    // @ts-expect-error no text
    const text: string = raw
    // @ts-expect-error nothing can be read of it
    const field = raw["password"]
    assert.isUndefined(field)
    assert.strictEqual(text as unknown, raw)
  })

  it("is read by whoever asks for it", () => {
    assert.deepStrictEqual(Raw.read(raw), { password: "hunter2" })
    assert.isTrue(Raw.isRaw(raw))
    assert.isFalse(Raw.isRaw({}))
    assert.throws(() => Raw.read({} as never))
  })
})
