/** `send_email`, against mail servers in a process of their own. */
import { assert, describe, layer, it as plain } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Redacted, Result, Schedule, Schema } from "effect"
import {
  CircuitBreaker,
  type Interlock,
  Principal,
  Retry,
  Telemetry,
  ToolAnnotations,
  type ToolCall,
  ToolExecutor,
  type ToolResult
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import { Credentials, Email } from "effect-interlock/toolbox"
import * as fc from "fast-check"
import addressparser from "nodemailer/lib/addressparser"
import * as Address from "../src/toolbox/email/address.ts"
import { type Certificates, certificates } from "./support/certificates.ts"
import { EverySink } from "./support/everySink.ts"
import { type ServerProcess, start } from "./support/serverProcess.ts"
import { account, type Mail, type Message, type Ports, type Reply } from "./support/smtpServer.ts"

class Server extends Context.Service<
  Server,
  {
    readonly process: ServerProcess<Message, Reply>
    readonly ports: Ports
    readonly certificates: Certificates
  }
>()("test/SmtpServer") {
  static readonly layer = Layer.effect(
    Server,
    Effect.gen(function* () {
      const made = certificates()
      const process = yield* start<Message, Reply>("./smtpServer.ts", made.key, made.cert)
      return { process, ports: (yield* process.tell("ports")) as Ports, certificates: made }
    })
  )
}

const secret = Redacted.make(account.password)
const login = { username: account.username, password: secret }

const world = (
  options: Email.Options,
  governance: Interlock.Options = {},
  credentials = Credentials.layerNone
) =>
  Effect.gen(function* () {
    const retry = Retry.make({ retries: 1, schedule: Schedule.exponential("1 millis") })
    const services = yield* Layer.build(Testing.layer({ defaults: { retry }, ...governance }))
    const handlers = yield* Layer.build(Layer.provide(Email.layer(options), credentials))
    const executor = yield* Effect.provide(
      ToolExecutor.make(Email.toolkit),
      Context.merge(services, handlers)
    )
    const execute = (call: Omit<ToolCall, "tool">) =>
      Principal.provide(
        executor.execute({ tool: "send_email", ...call }) as Effect.Effect<ToolResult>,
        Principal.make({ id: "ada", capabilities: ["*"] })
      )
    return {
      services,
      execute,
      send: (params: object, call: object = {}) => execute({ params: { ...mail, ...params }, ...call })
    }
  })

const mail = { to: ["ada@example.com"], subject: "Hello", text: "Hello." }

const base = { host: "127.0.0.1", from: "Assistant <assistant@company.com>", allowedDomains: ["*"] } as const

/** A server that has forgotten everything, and a tool that sends to one of its ports. */
const scene = (
  port: keyof Ports,
  options: Partial<Email.Options> = {},
  governance: Interlock.Options = {},
  credentials = Credentials.layerNone
) =>
  Effect.gen(function* () {
    const { certificates, ports, process } = yield* Server
    yield* process.tell("reset")
    const encrypted = { ca: certificates.ca, login }
    const own = {
      plain: {},
      raw: {},
      starttls: { ...encrypted, security: "starttls" },
      tls: { ...encrypted, security: "tls" }
    } as const
    return {
      ...(yield* world({ ...base, port: ports[port], ...own[port], ...options }, governance, credentials)),
      tell: process.tell,
      mails: Effect.map(process.tell("mails"), (mails) => mails as ReadonlyArray<Mail>),
      sessions: Effect.map(process.tell("sessions"), Number)
    }
  })

const failureOf = ({ error }: ToolResult) =>
  error?.reason._tag === "ToolFailed" ? (error.reason.failure as typeof Email.EmailError.Encoded) : undefined

/** A mail as lines that are not folded. */
const unfolded = (raw: string) => raw.replace(/\r\n[ \t]+/g, " ").split("\r\n")

layer(Server.layer, { excludeTestServices: true })("Email", (it) => {
  describe("a mail", () => {
    it.effect("is handed over with TLS, with STARTTLS, and on the loopback in clear text", () =>
      Effect.gen(function* () {
        for (const port of ["tls", "starttls", "plain"] as const) {
          const { mails, send } = yield* scene(port)
          const result = yield* send({})
          assert.strictEqual(result.status, "success", port)
          const { accepted, message_id, rejected } = result.value as Record<string, unknown>
          assert.deepStrictEqual([accepted, rejected], [["ada@example.com"], []])
          const [sent, ...more] = yield* mails
          assert.strictEqual(more.length, 0)
          assert.deepStrictEqual(
            [sent?.from, sent?.to, sent?.encrypted, sent?.user],
            [
              "assistant@company.com",
              ["ada@example.com"],
              port !== "plain",
              port === "plain" ? undefined : account.username
            ]
          )
          const lines = unfolded(sent?.raw ?? "")
          assert.include(lines, "From: Assistant <assistant@company.com>")
          assert.include(lines, `Message-ID: ${message_id}`)
          assert.include(lines, "Subject: Hello")
        }
      })
    )

    it.effect("goes to everyone once, and no header names who is hidden", () =>
      Effect.gen(function* () {
        const { mails, send } = yield* scene("plain")
        const result = yield* send({
          to: ["Ada Lovelace <ada@example.com>", '"Hopper, Grace" <grace@example.com>'],
          cc: ["Zoë <zoe@example.com>", "ada@example.com"],
          bcc: ["hidden@example.com"],
          reply_to: "desk@example.com"
        })
        assert.strictEqual(result.status, "success")
        const [sent] = yield* mails
        assert.deepStrictEqual(sent?.to, [
          "ada@example.com",
          "grace@example.com",
          "zoe@example.com",
          "hidden@example.com"
        ])
        const lines = unfolded(sent?.raw ?? "")
        assert.include(lines, 'To: Ada Lovelace <ada@example.com>, "Hopper, Grace" <grace@example.com>')
        assert.include(lines, "Cc: =?UTF-8?Q?Zo=C3=AB?= <zoe@example.com>, ada@example.com")
        assert.include(lines, "Reply-To: desk@example.com")
        assert.notInclude(sent?.raw.toLowerCase(), "hidden")
        assert.notInclude(sent?.raw.toLowerCase(), "bcc")
      })
    )

    it.effect("holds what was given: dots, long lines, every script, HTML, files", () =>
      Effect.gen(function* () {
        const { mails, send } = yield* scene("plain")
        const text = `.\r\n..two\n\n.QUIT\n${"x".repeat(3000)}\nGrüße, 你好 👩‍👩‍👧\n`
        const bytes = Uint8Array.from({ length: 256 }, (_, index) => index)
        const result = yield* send({
          subject: "Überraschung: 你好 👩‍👩‍👧",
          text,
          html: "<p>Hello</p>",
          attachments: [
            { filename: "täglich.csv", content: "a;b\r\n", content_type: "text/csv" },
            { filename: "all.bin", content: Buffer.from(bytes).toString("base64"), encoding: "base64" }
          ]
        })
        assert.strictEqual(result.status, "success")
        const raw = (yield* mails)[0]?.raw ?? ""
        assert.notMatch(raw, /[^\r]\n/)
        assert.isTrue(raw.split("\r\n").every((line) => line.length <= 998))
        const subject = /^Subject: (.*)$/m.exec(unfolded(raw).join("\n"))?.[1] ?? ""
        const words = [...subject.matchAll(/=\?UTF-8\?([QB])\?([^?]*)\?=/g)].map(([, how, word = ""]) =>
          how === "B" ? Buffer.from(word, "base64").toString("latin1") : fromQuoted(word.replaceAll("_", " "))
        )
        assert.strictEqual(Buffer.from(words.join(""), "latin1").toString(), "Überraschung: 你好 👩‍👩‍👧")
        const parts = raw.split(/\r\n--[^\r\n]+\r\n/)
        const plainPart = parts.find((part) => /^Content-Type: text\/plain/.test(part)) ?? ""
        const [head = "", body = ""] = plainPart.split("\r\n\r\n", 2)
        const encoded = plainPart.slice(head.length + 4)
        assert.isNotEmpty(body)
        const decoded = /base64/.test(head)
          ? Buffer.from(encoded, "base64").toString()
          : Buffer.from(fromQuoted(encoded), "latin1").toString()
        assert.strictEqual(
          decoded.replaceAll("\r\n", "\n").trimEnd(),
          text.replaceAll("\r\n", "\n").trimEnd()
        )
        assert.include(raw, Buffer.from(bytes).toString("base64").slice(0, 70))
      })
    )

    it.effect("that some of its recipients do not get says who, and why", () =>
      Effect.gen(function* () {
        const { mails, send } = yield* scene("plain")
        const result = yield* send({
          to: ["ada@example.com", "unknown@example.com"],
          bcc: ["busy@example.com"]
        })
        assert.strictEqual(result.status, "success")
        const { accepted, rejected } = result.value as { accepted: unknown; rejected: unknown }
        assert.deepStrictEqual(accepted, ["ada@example.com"])
        assert.deepStrictEqual(rejected, [
          {
            address: "unknown@example.com",
            status: 550,
            temporary: false,
            reason: "550 5.1.1 No such user here"
          },
          { address: "busy@example.com", status: 451, temporary: true, reason: "451 4.3.0 Try again later" }
        ])
        assert.strictEqual((yield* mails).length, 1)
      })
    )
  })

  describe("what a model may not do", () => {
    const smuggled = [
      "ada@example.com, eve@evil.example",
      "ada@example.com;eve@evil.example",
      "ada@example.com eve@evil.example",
      "ada@example.com\r\nBcc: eve@evil.example",
      "ada@example.com\nBcc: eve@evil.example",
      "ada@example.com\rBcc: eve@evil.example",
      "ada@example.com\u2028Bcc: eve@evil.example",
      "ada@example.com\0",
      "ada@example.com\t",
      "<ada@example.com>, <eve@evil.example>",
      "Ada <ada@example.com>, Eve <eve@evil.example>",
      "Ada <ada@example.com> <eve@evil.example>",
      "ada@example.com <eve@evil.example>",
      '"ada@example.com" <eve@evil.example>',
      "ada＠example.com <eve@evil.example>",
      '"ada@example.com, eve"@evil.example',
      '"ada@example.com> <eve"@evil.example',
      "friends: ada@example.com, eve@evil.example;",
      "friends:;",
      "@evil.example:ada@example.com",
      "ada@evil.example@example.com",
      "ada%evil.example@example.com@",
      "ada@example.com (eve@evil.example)",
      "(eve@evil.example) ada@example.com",
      "ada@example.com>",
      "<ada@example.com",
      "ada@[127.0.0.1]",
      "ada@127.0.0.1",
      "ada@localhost",
      "ada@example..com",
      "ada@-example.com",
      "ada@example.com.",
      ".ada@example.com",
      "ada.@example.com",
      "a..da@example.com",
      " ada@example.com",
      "ada@example.com ",
      "@example.com",
      "ada@",
      "ada",
      "",
      "аda@example.com",
      "ada@exаmple.com",
      "ada@ｅxample.com",
      "ada@bücher.example",
      "ada\u200b@example.com",
      "\u202emoc.elpmaxe@ada <eve@evil.example>",
      "Ada\u202e <ada@example.com>",
      "Ada\u2066 <ada@example.com>",
      "A\u00adda <ada@example.com>",
      "Ada\r\nBcc: eve@evil.example <ada@example.com>",
      '"Ada\r\n" <ada@example.com>',
      '"Ada\\" <eve@evil.example>, \\"" <ada@example.com>',
      "Ada, Eve <ada@example.com>",
      "Ada; Eve <ada@example.com>",
      "\ud800 <ada@example.com>",
      `${"a".repeat(65)}@example.com`,
      `ada@${"a".repeat(64)}.com`,
      `ada@${"a.".repeat(130)}com`,
      "ada@example.com".padEnd(500, " ")
    ]

    it.effect("is another recipient in an address: refused before anyone is asked, whatever the field", () =>
      Effect.gen(function* () {
        const { send, sessions } = yield* scene(
          "plain",
          {},
          {
            policy: { requireConfirmation: ["*"] },
            // Not even where the deployment screens nothing.
            screening: {
              rules: { control: "off", bidi: "off", invisible: "off", homoglyph: "off", path: "off" }
            }
          }
        )
        for (const text of smuggled) {
          for (const params of [{ to: [text] }, { cc: [text] }, { bcc: [text] }, { reply_to: text }]) {
            const result = yield* send(params)
            assert.strictEqual(result.status, "invalid_params", JSON.stringify(params))
            const message = result.error?.message ?? ""
            assert.match(message, /must /)
            assert.notMatch(message, /evil|Bcc/)
          }
        }
        const said = (to: string) => Effect.map(send({ to: [to] }), ({ error }) => error?.message)
        const why: ReadonlyArray<readonly [text: string, why: RegExp]> = [
          ["ada@example.com\r\nBcc: eve@evil.example", /"to\[0\]" is not valid: it must be one line\.$/],
          ["Ada\u202e <ada@example.com>", /it must not have characters that reorder what is shown\.$/],
          ["ada\u200b@example.com", /it must not have characters that are not seen\.$/],
          [
            "ada@example.com, eve@evil.example",
            /ASCII letters, digits and signs.*without quotes, spaces and commas\.$/
          ],
          ["ada@bücher.example", /a domain in ASCII/],
          ["ada@example.com <eve@evil.example>", /the name before an address must not have "@"/],
          ["Ada, Eve <ada@example.com>", /must be in double quotes/],
          ["ada", /it must be one address, such as/]
        ]
        for (const [text, message] of why) assert.match((yield* said(text)) ?? "", message)
        assert.strictEqual(yield* sessions, 0)
      })
    )

    it.effect("is another header in a subject or a file's name, or a text that is not what it seems", () =>
      Effect.gen(function* () {
        const { send, sessions } = yield* scene(
          "plain",
          {},
          {
            screening: {
              rules: { control: "off", bidi: "off", invisible: "off", homoglyph: "off", path: "off" }
            }
          }
        )
        const file = (fields: object) => ({ attachments: [{ filename: "a.txt", content: "x", ...fields }] })
        const refused = [
          { subject: "Hello\r\nBcc: eve@evil.example" },
          { subject: "Hello\nX: y" },
          { subject: "Hello\rX: y" },
          { subject: "Hello\u0085X: y" },
          { subject: "Hello\u2029X: y" },
          { subject: "Hello\0" },
          { subject: "Hello\tthere" },
          { subject: "\u202eolleH" },
          { subject: "Hel\u200blo" },
          { subject: "\udc00" },
          { subject: "" },
          { subject: "x".repeat(501) },
          { text: "a\0b" },
          { html: "<p>\u0007</p>" },
          { text: "\ud800" },
          file({ filename: "a\r\nX-Y: z.txt" }),
          file({ filename: "../../etc/passwd" }),
          file({ filename: "a\\b.txt" }),
          file({ filename: "annexe\u202etxt.exe" }),
          file({ filename: "" }),
          file({ content_type: "text/plain\r\nX-Y: z" }),
          file({ content_type: "multipart/mixed" }),
          file({ content_type: "message/rfc822" }),
          file({ content_type: "text/html; charset=x" }),
          file({ content: "not base64!", encoding: "base64" }),
          file({ content: "QUJD\r\nQUJD", encoding: "base64" }),
          file({ path: "/etc/passwd" }),
          file({ href: "http://127.0.0.1/" }),
          { text: { path: "/etc/passwd" } },
          { html: { href: "http://127.0.0.1/" } },
          { from: "ceo@company.com" },
          { headers: { Bcc: "eve@evil.example" } },
          { envelope: { to: "eve@evil.example" } },
          { to: [] },
          { to: "ada@example.com" },
          { to: [{ address: "ada@example.com", name: "x\r\nBcc: y" }] }
        ]
        for (const params of refused) {
          assert.strictEqual((yield* send(params)).status, "invalid_params", JSON.stringify(params))
        }
        assert.strictEqual(yield* sessions, 0)
      })
    )

    it.effect("is to write elsewhere than the operator says, or to have answers sent there", () =>
      Effect.gen(function* () {
        const { execute, mails, send, sessions } = yield* scene("plain", {
          allowedDomains: ["example.com", "*.partner.example"],
          maxRecipients: 3
        })
        const elsewhere = [
          { to: ["eve@evil.example"] },
          { cc: ["eve@sub.example.com"] },
          { bcc: ["eve@partner.example"] },
          { reply_to: "eve@evil.example" },
          { to: ["eve@example.com.evil.example"] }
        ]
        for (const params of elsewhere) {
          const result = yield* send(params)
          assert.deepStrictEqual(
            [failureOf(result)?.reason, result.error?.class],
            ["recipient_not_allowed", "Policy"]
          )
          assert.strictEqual(result.attempts, 1)
        }
        const crowd = {
          to: ["a@example.com", "b@example.com"],
          cc: ["c@example.com"],
          bcc: ["d@example.com"]
        }
        assert.include(failureOf(yield* send(crowd))?.message, "4 recipients, and may have 3")
        assert.strictEqual(yield* sessions, 0)
        assert.strictEqual(
          (yield* send({ cc: ["B@EU.Partner.Example"], bcc: ["c@example.com"] })).status,
          "success"
        )
        assert.strictEqual((yield* mails).length, 1)
        assert.strictEqual(
          (yield* execute({ params: mail, requireConfirmation: true })).status,
          "pending_confirmation"
        )
      })
    )

    it.effect("is to send without the human whom the policy asks", () =>
      Effect.gen(function* () {
        for (const policy of [{ requireConfirmation: ["send_*"] }, { requireConfirmation: ["*"] }]) {
          const { send, sessions } = yield* scene("plain", {}, { policy })
          assert.strictEqual((yield* send({})).status, "pending_confirmation")
          assert.strictEqual(yield* sessions, 0)
        }
        const facts = ToolAnnotations.read(Email.toolkit.tools.send_email)
        assert.deepStrictEqual(
          [
            facts.destructive,
            facts.sendsData,
            facts.idempotent,
            facts.readonly,
            facts.risk,
            facts.capabilities
          ],
          [true, true, false, undefined, "high", ["network_access", "external_api"]]
        )
      })
    )
  })

  describe("a failure", () => {
    type Expected = readonly [
      reason: Email.EmailError["reason"],
      errorClass: string,
      attempts: number,
      status?: number
    ]
    const at = (name: string) => ({ to: [`${name}@example.com`] })
    const cases: ReadonlyArray<readonly [params: object, ...Expected]> = [
      [at("unknown"), "rejected", "Caller", 1, 550],
      [at("busy"), "deferred", "Retryable", 2, 451],
      [{ to: ["unknown@example.com", "busy@example.com"] }, "deferred", "Retryable", 2, 451],
      [at("spam"), "rejected", "Caller", 1, 554],
      [at("full"), "deferred", "Retryable", 2, 452],
      [at("huge"), "too_large", "Caller", 1, 552],
      // The server says beforehand how much it takes.
      [{ text: "x".repeat(250_000) }, "too_large", "Caller", 1],
      [at("cutmiddle"), "outcome_unknown", "Retryable", 1],
      [at("cutafter"), "outcome_unknown", "Retryable", 1]
    ]

    it.effect(
      "is classified by what the server says, and tried again only where nothing can have been sent",
      () =>
        Effect.gen(function* () {
          for (const [params, reason, errorClass, attempts, status] of cases) {
            const { send, sessions } = yield* scene("plain")
            const result = yield* send(params)
            const what = JSON.stringify(params).slice(0, 80)
            assert.strictEqual(failureOf(result)?.reason, reason, what)
            assert.strictEqual(result.error?.class, errorClass, what)
            assert.strictEqual(result.attempts, attempts, what)
            assert.strictEqual(failureOf(result)?.status, status, what)
            assert.strictEqual(yield* sessions, attempts, what)
          }
        })
    )

    it.effect("of the sender, or of a server that takes no mail, is the operator's to mend", () =>
      Effect.gen(function* () {
        const stranger = yield* scene("plain", { from: "stranger@company.com" })
        const refused = yield* stranger.send({})
        assert.deepStrictEqual(
          [failureOf(refused)?.reason, refused.error?.class],
          ["misconfigured", "Defect"]
        )
        const greetings: ReadonlyArray<readonly [ReadonlyArray<string | null>, ...Expected]> = [
          [["554 5.3.2 go away"], "misconfigured", "Defect", 1, 554],
          [["421 4.3.2 shutting down"], "deferred", "Retryable", 2, 421],
          [["hello?"], "protocol", "Defect", 1],
          [[null], "unreachable", "Retryable", 2],
          [["220 hi", "250 hi", null], "connection_lost", "Retryable", 2],
          [["220 hi", "250 hi", "250 ok", null], "connection_lost", "Retryable", 2],
          [["220 hi", "250 hi", "250 ok", "250 ok", "354 go", null], "outcome_unknown", "Retryable", 1],
          [["220 hi", "250 hi", "250 ok", "250 ok", "354 go", "250 ok"], "unreachable", "", 0]
        ]
        for (const [lines, reason, errorClass, attempts, status] of greetings) {
          const { send, sessions, tell } = yield* scene("raw")
          yield* tell({ lines })
          const result = yield* send({})
          if (attempts === 0) {
            // The control: the same conversation with a good end.
            assert.strictEqual(result.status, "success")
            continue
          }
          const what = lines.join(" / ")
          assert.deepStrictEqual(
            [failureOf(result)?.reason, failureOf(result)?.status],
            [reason, status],
            what
          )
          assert.deepStrictEqual([result.error?.class, result.attempts], [errorClass, attempts], what)
          assert.strictEqual(yield* sessions, attempts, what)
        }
      })
    )

    it.effect("before the message was handed over is followed by an attempt that may succeed", () =>
      Effect.gen(function* () {
        for (const name of ["busyonce", "cutonce"]) {
          const { mails, send } = yield* scene("plain")
          const result = yield* send(at(name))
          assert.deepStrictEqual([result.status, result.attempts], ["success", 2], name)
          assert.strictEqual((yield* mails).length, 1)
        }
      })
    )

    it.effect("of unknown outcome is tried again with an idempotency key, under the same Message-ID", () =>
      Effect.gen(function* () {
        const { mails, send } = yield* scene("plain")
        const result = yield* send(at("cutafter"), { idempotencyKey: "order 17" })
        assert.deepStrictEqual([result.status, result.attempts], ["success", 2])
        const ids = (yield* mails).map(({ raw }) => /^Message-ID: (.*)$/m.exec(raw)?.[1]?.trim())
        assert.strictEqual(ids.length, 2)
        assert.strictEqual(ids[0], ids[1])
        assert.strictEqual(ids[0], (result.value as { message_id: string }).message_id)
        assert.match(ids[0] ?? "", /^<[0-9a-f]{40}@company\.com>$/)
        const other = yield* send({}, { idempotencyKey: "order 18" })
        assert.notStrictEqual((other.value as { message_id: string }).message_id, ids[0])
        const [none, again] = [yield* send({}), yield* send({ subject: "Again" })]
        assert.notDeepEqual(none.value, again.value)
      })
    )

    it.effect("opens the circuit where the server is at fault, and not where the caller is", () =>
      Effect.gen(function* () {
        const breaker = { trip: CircuitBreaker.consecutive(2) }
        const wrong = { username: "assistant", password: Redacted.make("wrong") }
        const locked = yield* scene("tls", { login: wrong }, { breaker })
        const statuses = [
          (yield* locked.send({})).status,
          (yield* locked.send({})).status,
          (yield* locked.send({})).status
        ]
        // An account is not tried again and again until it is locked.
        assert.deepStrictEqual(statuses, ["failure", "failure", "circuit_open"])
        assert.strictEqual(yield* locked.sessions, 2)
        const { send } = yield* scene("plain", {}, { breaker })
        for (let i = 0; i < 3; i++) assert.strictEqual((yield* send(at("unknown"))).status, "failure")
      })
    )
  })

  describe("a connection", () => {
    it.effect("is not made where it would not be encrypted, or not with this server", () =>
      Effect.gen(function* () {
        const other = certificates()
        const elsewhere = certificates("DNS:mail.elsewhere.example")
        const cases: ReadonlyArray<readonly [keyof Ports, Partial<Email.Options>]> = [
          // It is not offered.
          ["plain", { security: "starttls" }],
          // Another authority.
          ["tls", { ca: other.ca }],
          ["starttls", { ca: other.ca }],
          // The system's authorities.
          ["tls", { security: "tls", ca: elsewhere.ca }]
        ]
        for (const [port, options] of cases) {
          const { mails, send } = yield* scene(port, options)
          const result = yield* send({})
          const what = `${port} ${options.security}`
          assert.deepStrictEqual([failureOf(result)?.reason, result.error?.class], ["tls", "Defect"], what)
          assert.strictEqual(result.attempts, 1)
          assert.strictEqual((yield* mails).length, 0)
        }
      })
    )

    it.effect("is verified whatever the environment says", () =>
      Effect.gen(function* () {
        const { NODE_TLS_REJECT_UNAUTHORIZED: before } = process.env
        yield* Effect.acquireRelease(
          Effect.sync(() => {
            process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0"
          }),
          () =>
            Effect.sync(() => {
              if (before === undefined) delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"]
              else process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = before
            })
        )
        const other = certificates()
        for (const port of ["tls", "starttls"] as const) {
          const { mails, send } = yield* scene(port, { ca: other.ca })
          assert.strictEqual(failureOf(yield* send({}))?.reason, "tls", port)
          assert.strictEqual((yield* mails).length, 0)
        }
      })
    )

    it.effect("whose host is not in the certificate is given up", () =>
      Effect.gen(function* () {
        const made = certificates("DNS:mail.elsewhere.example")
        const process = yield* start<Message, Reply>("./smtpServer.ts", made.key, made.cert)
        const ports = (yield* process.tell("ports")) as Ports
        for (const [security, port] of [
          ["tls", ports.tls],
          ["starttls", ports.starttls]
        ] as const) {
          const { send } = yield* world({ ...base, port, security, ca: made.ca, login })
          assert.strictEqual(failureOf(yield* send({}))?.reason, "tls")
        }
        assert.strictEqual(((yield* process.tell("mails")) as ReadonlyArray<Mail>).length, 0)
      })
    )

    it.effect("is not waited for without an end", () =>
      Effect.gen(function* () {
        const { send, tell } = yield* scene("raw", { connectTimeout: 150, readTimeout: 150 })
        yield* tell({ lines: [] })
        const silent = yield* send({}, { retries: 0 })
        assert.strictEqual(failureOf(silent)?.reason, "unreachable")
        yield* tell({ lines: ["220 hi", "250 hi"] })
        assert.strictEqual(failureOf(yield* send({}, { retries: 0 }))?.reason, "connection_lost")
        yield* tell({ lines: ["220 hi", "250 hi", "250 ok", "250 ok", "354 go"] })
        assert.strictEqual(failureOf(yield* send({}, { retries: 0 }))?.reason, "outcome_unknown")
      })
    )

    it.effect("is cut where the call is interrupted or out of time, and the mail is not repeated", () =>
      Effect.gen(function* () {
        const { send, sessions, tell } = yield* scene("plain")
        const fiber = yield* Effect.forkChild(send(at("hang")))
        yield* tell("held")
        yield* Fiber.interrupt(fiber)
        // The server sees it go; without a cut this would wait for ever.
        yield* tell("gone")
        const late = yield* send(at("hang"), { timeout: 200 })
        assert.deepStrictEqual([late.status, late.attempts], ["timeout", 1])
        assert.strictEqual(yield* sessions, 2)
      })
    )

    it.effect("to a server that is not there is tried again", () =>
      Effect.gen(function* () {
        const { send } = yield* world({ ...base, port: 1 })
        const result = yield* send({})
        assert.deepStrictEqual([failureOf(result)?.reason, result.attempts], ["unreachable", 2])
      })
    )

    const at = (name: string) => ({ to: [`${name}@example.com`] })
  })

  describe("a credential", () => {
    const credential = (fields: Partial<Credentials.Credential> = {}) =>
      Credentials.layer({
        smtp: {
          type: "basic",
          hosts: ["127.0.0.1"],
          username: account.username,
          password: secret,
          ...fields
        } as Credentials.Credential
      })
    const named = { credential: "smtp" }

    it.effect("is used by its name, and only for its host and its kind", () =>
      Effect.gen(function* () {
        const { certificates, ports } = yield* Server
        const options = { ...base, ...named, security: "tls", port: ports.tls, ca: certificates.ca } as const
        const reasonWith = (layer: Layer.Layer<Credentials.Credentials>, more: Partial<Email.Options> = {}) =>
          Effect.gen(function* () {
            const { send } = yield* world({ ...options, ...more }, {}, layer)
            const result = yield* send({})
            return failureOf(result)?.reason ?? result.status
          })
        assert.strictEqual(yield* reasonWith(credential()), "success")
        assert.strictEqual(yield* reasonWith(credential({ hosts: ["smtp.company.com"] })), "credential")
        assert.strictEqual(yield* reasonWith(Credentials.layerNone), "credential")
        const token = { type: "bearer", hosts: ["127.0.0.1"], token: secret } as const
        assert.strictEqual(yield* reasonWith(Credentials.layer({ smtp: token })), "credential")
        const clear = { host: "smtp.company.com", security: "none", port: 25 } as const
        assert.strictEqual(
          yield* reasonWith(credential({ hosts: ["smtp.company.com"] }), clear),
          "credential"
        )
      })
    )

    it.effect(
      "that is wrong is a bug of the tool, one that cannot be looked at now is not, and none goes where none is asked for",
      () =>
        Effect.gen(function* () {
          const cases = [
            ["tls", { username: account.username, password: Redacted.make("wrong") }, "auth", "Defect", 1],
            ["tls", { username: "busy", password: secret }, "deferred", "Retryable", 2]
          ] as const
          for (const [port, login, reason, errorClass, attempts] of cases) {
            const { send } = yield* scene(port, { login })
            const result = yield* send({})
            assert.deepStrictEqual(
              [failureOf(result)?.reason, result.error?.class, result.attempts],
              [reason, errorClass, attempts]
            )
          }
          const { send, tell } = yield* scene("raw", { login })
          yield* tell({ lines: ["220 hi", "250 hi", "250 ok", "250 ok", "354 go", "250 ok"] })
          assert.strictEqual(failureOf(yield* send({}))?.reason, "auth")
        })
    )

    it.effect("comes out nowhere, nor does a mail's text", () =>
      Effect.gen(function* () {
        const sink = new EverySink()
        const own = "text-of-the-mail"
        yield* Effect.gen(function* () {
          const governance = { telemetry: Telemetry.layer }
          const good = yield* scene("tls", { login: undefined, ...named } as never, governance, credential())
          yield* sink.listen(good.services)
          for (const name of ["ada", "unknown", "cutafter"]) {
            sink.note("ToolResult.ts", yield* good.send({ to: [`${name}@example.com`], text: own }))
          }
          yield* sink.look(good.services)
          const wrong = yield* scene("tls", { login: { ...login, username: "nobody" } }, governance)
          yield* sink.listen(wrong.services)
          sink.note("ToolResult.ts", yield* wrong.send({ text: own }))
          yield* sink.look(wrong.services)
        }).pipe(sink.around)
        assert.includeMembers([...sink.spoken], ["ToolResult.ts", "History.ts", "audit", "span"])
        const encoded = [account.password, `\0${account.username}\0${account.password}`].map((text) =>
          Buffer.from(text).toString("base64")
        )
        for (const channel of sink.spoken) {
          for (const text of sink.texts(channel)) {
            for (const secret of [account.password, ...encoded]) assert.notInclude(text, secret, channel)
            // What the caller has said, records may show in part; results do not.
            if (channel === "ToolResult.ts" || channel === "report") assert.notInclude(text, own, channel)
          }
        }
      })
    )
  })

  describe("options", () => {
    it.effect("that make no sense are refused where they are given", () =>
      Effect.sync(() => {
        const refused: ReadonlyArray<readonly [object, RegExp]> = [
          [{ from: "Assistant" }, /Email: from: it must be one address/],
          [{ from: "a@company.com, b@company.com" }, /Email: from/],
          [{ allowedDomains: ["https://company.com"] }, /Email: allowedDomains/],
          [{ allowedDomains: ["a*.com"] }, /Email: allowedDomains/],
          [{ maxRecipients: 0 }, /Email: maxRecipients/],
          [{ maxBytes: 1.5 }, /Email: maxBytes/],
          [{ connectTimeout: "0 seconds" }, /Email: connectTimeout/],
          [{ readTimeout: "never" }, /Email: readTimeout/],
          [{ login, credential: "smtp" }, /only one/],
          [{ host: "smtp.company.com", security: "none", login }, /clear text/]
        ]
        for (const [options, message] of refused) {
          assert.throws(() => Email.layer({ ...base, ...options } as Email.Options), message)
        }
      })
    )

    it.effect("are data, and data holds no password", () =>
      Effect.gen(function* () {
        const data = { ...base, credential: "smtp", connectTimeout: "5 seconds", readTimeout: 1000 }
        assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(Email.Options)(data), data as never)
        const error = yield* Effect.flip(
          Schema.decodeUnknownEffect(Email.Options)({
            ...data,
            login: { username: "a", password: "open secret" }
          })
        )
        assert.notInclude(error.message, "open secret")
      })
    )
  })
})

const fromQuoted = (text: string) =>
  text
    .replace(/=\r\n/g, "")
    .replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))

// --- Addresses -------------------------------------------------------------

describe("an address", () => {
  const ordinary = [
    ["ada@example.com", "ada@example.com", ""],
    ["Ada.L+news@sub.example.co.uk", "Ada.L+news@sub.example.co.uk", ""],
    ["o'neil_42=x@xn--bcher-kva.example", "o'neil_42=x@xn--bcher-kva.example", ""],
    ["Ada <ada@example.com>", "ada@example.com", "Ada"],
    ["<ada@example.com>", "ada@example.com", ""],
    ["Dr. Ada King-Noel <ada@example.com>", "ada@example.com", "Dr. Ada King-Noel"],
    ["Zoë 你好 <zoe@example.com>", "zoe@example.com", "Zoë 你好"],
    ['"Lovelace, Ada (Dr.)" <ada@example.com>', "ada@example.com", "Lovelace, Ada (Dr.)"],
    ["שלום <a@example.com>", "a@example.com", "שלום"]
  ] as const

  plain("is what people write", () => {
    for (const [text, address, name] of ordinary) {
      const { domain: _, ...read } = Result.getOrThrow(Address.read(text))
      assert.deepStrictEqual(read, { address, name }, text)
    }
  })

  plain("that is taken is one address to a reader who takes more", () => {
    const piece = fc.constantFrom(
      "ada",
      "@",
      "example.com",
      "<",
      ">",
      ",",
      ";",
      ":",
      '"',
      "\\",
      "(",
      ")",
      " ",
      ".",
      "\r\n",
      "\n",
      "\t",
      "\0",
      "é",
      "Ada",
      "eve@evil.example",
      "<eve@evil.example>",
      "ada@example.com",
      "<ada@example.com>",
      "\u202e",
      "\u200b",
      "=?",
      "?="
    )
    const text = fc.oneof(
      fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join("")),
      fc.string({ unit: "binary", maxLength: 30 }),
      fc
        .tuple(fc.string({ maxLength: 10 }), fc.emailAddress())
        .map(([name, address]) => `${name} <${address}>`)
    )
    let taken = 0
    fc.assert(
      fc.property(text, (text) => {
        const read = Address.read(text)
        if (Result.isFailure(read)) return
        taken++
        const { address, domain, name } = read.success
        assert.deepStrictEqual(
          addressparser(text, { flatten: true }).map((each) => each.address),
          [address]
        )
        assert.match(address, /^[!-~]+@[a-zA-Z0-9.-]+$/)
        assert.strictEqual(address.split("@").length, 2)
        assert.strictEqual(address.split("@")[1]?.toLowerCase(), domain)
        assert.notMatch(name, /[\r\n@<>\0]/)
      }),
      { numRuns: 5000 }
    )
    assert.isAbove(taken, 50)
  })
})
