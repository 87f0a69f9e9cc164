/** Slack's tools, against a process that speaks its Web API. */
import { type AddressInfo, createServer } from "node:net"
import { assert, describe, layer, it as plain } from "@effect/vitest"
import { Context, Duration, Effect, Fiber, Layer, Redacted, Schedule, Schema } from "effect"
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
import { Credentials, Slack } from "effect-interlock/toolbox"
import * as fc from "fast-check"
import { escape } from "../src/toolbox/slack/text.ts"
import { EverySink } from "./support/everySink.ts"
import { type ServerProcess, start } from "./support/serverProcess.ts"
import { type Message, type Reply, type Seen, type Step, token } from "./support/slackServer.ts"

class Server extends Context.Service<Server, ServerProcess<Message, Reply>>()("test/SlackServer") {
  static readonly layer = Layer.effect(Server, start<Message, Reply>("./slackServer.ts"))
}

/** Where nobody listens. */
const closedPort = Effect.promise(
  () =>
    new Promise<number>((resolve) => {
      const server = createServer().listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo
        server.close(() => resolve(port))
      })
    })
)

const general = "C0000000001"

const world = (
  options: Slack.Options,
  governance: Interlock.Options = {},
  credentials: Layer.Layer<Credentials.Credentials> = Credentials.layerNone
) =>
  Effect.gen(function* () {
    const retry = Retry.make({ retries: 1, schedule: Schedule.exponential("1 millis") })
    const services = yield* Layer.build(Testing.layer({ defaults: { retry }, ...governance }))
    const handlers = yield* Layer.build(Layer.provide(Slack.layer(options), credentials))
    const executor = yield* Effect.provide(
      ToolExecutor.make(Slack.toolkit),
      Context.merge(services, handlers)
    )
    const execute = (call: ToolCall) =>
      Principal.provide(
        executor.execute(call) as Effect.Effect<ToolResult>,
        Principal.make({ id: "ada", capabilities: ["*"] })
      )
    return {
      services,
      execute,
      post: (params: object = {}, call: object = {}) =>
        execute({
          tool: "slack_post_message",
          params: { channel: general, text: "Hello", ...params },
          ...call
        })
    }
  })

const scene = (
  script: Readonly<Record<string, ReadonlyArray<Step>>> = {},
  options: Partial<Slack.Options> = {},
  governance: Interlock.Options = {},
  credentials?: Layer.Layer<Credentials.Credentials>
) =>
  Effect.gen(function* () {
    const server = yield* Server
    yield* server.tell({ script })
    const own = options.credential === undefined ? { token: Redacted.make(token) } : {}
    const apiUrl = `http://127.0.0.1:${server.port}/api/`
    return {
      ...(yield* world({ ...own, allowedChannels: ["*"], apiUrl, ...options }, governance, credentials)),
      server,
      seen: Effect.map(server.tell("seen"), (seen) => seen as ReadonlyArray<Seen>)
    }
  })

const failureOf = ({ error }: ToolResult) =>
  error?.reason._tag === "ToolFailed" ? (error.reason.failure as typeof Slack.SlackError.Encoded) : undefined

layer(Server.layer, { excludeTestServices: true })("Slack", (it) => {
  describe("a message", () => {
    it.effect("is posted, answered in its thread, and read again", () =>
      Effect.gen(function* () {
        const { execute, post, seen } = yield* scene()
        const first = yield* post({ text: "Hello *all*" })
        assert.deepStrictEqual(
          [first.status, first.value],
          ["success", { channel: general, ts: "1700000001.000100" }]
        )
        const { ts } = first.value as { ts: string }
        assert.strictEqual((yield* post({ text: "one", thread_ts: ts })).status, "success")
        assert.strictEqual((yield* post({ text: "two", thread_ts: ts })).status, "success")
        assert.strictEqual((yield* post({ text: "Later" })).status, "success")
        const read = (tool: string, params: object) =>
          Effect.map(execute({ tool, params: { channel: general, ...params } }), ({ value }) => {
            const { messages, next_cursor } = value as {
              messages: ReadonlyArray<{ text: string }>
              next_cursor?: string
            }
            return [messages.map(({ text }) => text), next_cursor]
          })
        assert.deepStrictEqual(yield* read("slack_read_channel", {}), [["Later", "Hello *all*"], undefined])
        assert.deepStrictEqual(yield* read("slack_read_thread", { thread_ts: ts }), [
          ["Hello *all*", "one", "two"],
          undefined
        ])
        const [texts, cursor] = yield* read("slack_read_thread", { thread_ts: ts, limit: 2 })
        assert.deepStrictEqual(texts, ["Hello *all*", "one"])
        assert.deepStrictEqual(yield* read("slack_read_thread", { thread_ts: ts, limit: 2, cursor }), [
          ["two"],
          undefined
        ])
        assert.isTrue((yield* seen).every(({ authorized }) => authorized))
      })
    )

    it.effect("mentions nobody, hides no link, and lets Slack fetch none", () =>
      Effect.gen(function* () {
        const { post, seen } = yield* scene()
        const text =
          "<!here> <!channel|x> @everyone <@U0000000001> <#C1> <https://evil.example|https://good.example> & https://a.example/?q=1"
        assert.strictEqual((yield* post({ text })).status, "success")
        const [{ form }] = (yield* seen) as readonly [Seen]
        assert.strictEqual(
          form["text"],
          "&lt;!here&gt; &lt;!channel|x&gt; @everyone &lt;@U0000000001&gt; &lt;#C1&gt; &lt;https://evil.example|https://good.example&gt; &amp; https://a.example/?q=1"
        )
        const { link_names, parse, unfurl_links, unfurl_media } = form
        assert.deepStrictEqual(
          { link_names, parse, unfurl_links, unfurl_media },
          {
            link_names: "false",
            parse: "none",
            unfurl_links: "false",
            unfurl_media: "false"
          }
        )
      })
    )

    it.effect("is not posted where Slack would cut it: escaped, it is longer than it was", () =>
      Effect.gen(function* () {
        const { post, seen } = yield* scene()
        const result = yield* post({ text: "<".repeat(10_001) })
        const error = failureOf(result)
        assert.deepStrictEqual(
          [error?.reason, result.error?.class, result.attempts],
          ["too_long", "Caller", 1]
        )
        assert.strictEqual((yield* seen).length, 0)
        assert.strictEqual((yield* post({ text: "<".repeat(10_000) })).status, "success")
      })
    )

    it.effect("mentions and shows what the operator allows", () =>
      Effect.gen(function* () {
        const text = "<!here> <@U0000000001> <!subteam^S0000000001> <!date^1^x|y> <https://a.example|b>"
        const sent = (options: Partial<Slack.Options>) =>
          Effect.gen(function* () {
            const { post, seen } = yield* scene({}, options)
            yield* post({ text })
            return (yield* seen)[0]?.form ?? {}
          })
        const rest = "&lt;!date^1^x|y&gt; &lt;https://a.example|b&gt;"
        const users = yield* sent({ mentions: "users", unfurl: true })
        assert.strictEqual(users["text"], `&lt;!here&gt; <@U0000000001> &lt;!subteam^S0000000001&gt; ${rest}`)
        assert.deepStrictEqual([users["unfurl_links"], users["unfurl_media"]], ["true", "true"])
        assert.strictEqual(
          (yield* sent({ mentions: "all" }))["text"],
          `<!here> <@U0000000001> <!subteam^S0000000001> ${rest}`
        )
      })
    )

    it.effect("goes to no channel but those allowed, and asks no server about others", () =>
      Effect.gen(function* () {
        const listed = yield* scene({}, { allowedChannels: [general, "U0000000009"] })
        for (const [tool, params] of [
          ["slack_post_message", { text: "x" }],
          ["slack_read_channel", {}],
          ["slack_read_thread", { thread_ts: "1.1" }]
        ] as const) {
          const result = yield* listed.execute({ tool, params: { channel: "C0000000003", ...params } })
          assert.deepStrictEqual(
            [failureOf(result)?.reason, result.error?.class],
            ["channel_not_allowed", "Policy"],
            tool
          )
        }
        assert.strictEqual((yield* listed.seen).length, 0)
        assert.strictEqual((yield* listed.post()).status, "success")
        // Named one by one, people may be written to.
        assert.strictEqual(
          failureOf(yield* listed.post({ channel: "U0000000009" }))?.error,
          "channel_not_found"
        )
        const all = yield* scene()
        for (const channel of ["U0000000009", "W0000000009", "D0000000009"]) {
          assert.strictEqual(failureOf(yield* all.post({ channel }))?.reason, "channel_not_allowed")
        }
        assert.strictEqual((yield* all.seen).length, 0)
      })
    )

    it.effect("whose arguments are of another kind is refused before anyone is asked", () =>
      Effect.gen(function* () {
        const { execute, post, seen } = yield* scene({}, {}, { policy: { requireConfirmation: ["*"] } })
        const refused = [
          { channel: "general" },
          { channel: "#general" },
          { channel: "c0000000001" },
          { channel: `${general}\n` },
          { channel: `${general},C0000000002` },
          { channel: "https://evil.example/C0000000001" },
          { text: "" },
          { text: "x".repeat(40_001) },
          { thread_ts: "yesterday" },
          { thread_ts: "1700000001.000100\n" },
          { unfurl_links: true },
          { link_names: true },
          { blocks: [] },
          { attachments: [{ image_url: "https://evil.example/?q=secret" }] },
          { username: "The CEO" },
          { icon_url: "https://evil.example" },
          { token: "xoxb-other" }
        ]
        for (const params of refused) {
          assert.strictEqual(
            (yield* post(params)).status,
            "invalid_params",
            JSON.stringify(params).slice(0, 60)
          )
        }
        const { error } = yield* post({ channel: "general" })
        assert.strictEqual(
          error?.message,
          'slack_post_message: "channel" is not valid: it must be the id of a channel, such as "C0123456789".'
        )
        for (const limit of [0, 201, 1.5]) {
          const result = yield* execute({ tool: "slack_list_channels", params: { limit } })
          assert.strictEqual(result.status, "invalid_params")
        }
        assert.strictEqual((yield* seen).length, 0)
      })
    )

    it.effect("waits for the human whom the policy asks; reading need not", () =>
      Effect.gen(function* () {
        const { execute, post, seen } = yield* scene(
          {},
          {},
          { policy: { requireConfirmation: ["slack_post_*"] } }
        )
        assert.strictEqual((yield* post()).status, "pending_confirmation")
        assert.strictEqual((yield* seen).length, 0)
        assert.strictEqual((yield* execute({ tool: "slack_list_channels", params: {} })).status, "success")
        const { slack_post_message, ...reads } = Slack.toolkit.tools
        const posting = ToolAnnotations.read(slack_post_message)
        assert.deepStrictEqual(
          [posting.destructive, posting.sendsData, posting.idempotent, posting.risk, posting.capabilities],
          [true, true, false, "high", ["network_access", "external_api"]]
        )
        for (const tool of Object.values(reads)) {
          const { readonly, risk, sendsData, trust } = ToolAnnotations.read(tool)
          assert.deepStrictEqual([readonly, risk, sendsData, trust], [true, "low", false, "untrusted"])
        }
      })
    )
  })

  it.effect("lists the channels that may be used, page by page, private ones only where that is wanted", () =>
    Effect.gen(function* () {
      const list = (options: Partial<Slack.Options>, params: object = {}) =>
        Effect.gen(function* () {
          const { execute } = yield* scene({}, options)
          const { value } = yield* execute({ tool: "slack_list_channels", params })
          return value as { channels: ReadonlyArray<Record<string, unknown>>; next_cursor?: string }
        })
      assert.deepStrictEqual(yield* list({}), {
        channels: [
          { id: general, name: "general", is_member: true, is_private: false, topic: "Everything" },
          { id: "C0000000002", name: "random", is_member: false, is_private: false }
        ]
      })
      const ids = ({ channels }: { channels: ReadonlyArray<Record<string, unknown>> }) =>
        channels.map(({ id }) => id)
      assert.deepStrictEqual(ids(yield* list({ privateChannels: true })), [
        general,
        "C0000000002",
        "C0000000003"
      ])
      assert.deepStrictEqual(ids(yield* list({ allowedChannels: ["C0000000002"] })), ["C0000000002"])
      const page = yield* list({ allowedChannels: ["C0000000002"] }, { limit: 1 })
      assert.deepStrictEqual(page, { channels: [], next_cursor: "from:1" })
    })
  )

  describe("a failure", () => {
    type Case = readonly [step: Step, reason: Slack.SlackError["reason"], errorClass: string, attempts: 1 | 2]
    const says = (error: string): Step => ({ body: { ok: false, error } })
    const cases: ReadonlyArray<Case> = [
      [says("channel_not_found"), "refused", "Caller", 1],
      [says("not_in_channel"), "refused", "Caller", 1],
      [says("is_archived"), "refused", "Caller", 1],
      [says("msg_too_long"), "refused", "Caller", 1],
      [says("restricted_action"), "refused", "Caller", 1],
      [says("brand_new_error"), "refused", "Caller", 1],
      [says("invalid_auth"), "auth", "Defect", 1],
      [says("token_revoked"), "auth", "Defect", 1],
      [says("missing_scope"), "auth", "Defect", 1],
      [says("ratelimited"), "rate_limited", "Overload", 2],
      [says("message_limit_exceeded"), "rate_limited", "Overload", 2],
      [{ status: 429, headers: { "retry-after": "0" } }, "rate_limited", "Overload", 2],
      [{ status: 429 }, "rate_limited", "Overload", 2],
      [{ status: 429, headers: { "retry-after": "soon" } }, "rate_limited", "Overload", 2],
      [says("service_unavailable"), "unavailable", "Retryable", 2],
      [{ status: 503, text: "<html>" }, "unavailable", "Retryable", 2],
      [{ status: 401, body: { ok: false, error: "invalid_auth" } }, "auth", "Defect", 1],
      [says("internal_error"), "outcome_unknown", "Retryable", 1],
      [says("fatal_error"), "outcome_unknown", "Retryable", 1],
      [{ status: 500, text: "<html>" }, "outcome_unknown", "Retryable", 1],
      [{ status: 502, text: "<html>" }, "outcome_unknown", "Retryable", 1],
      ["reset", "outcome_unknown", "Retryable", 1],
      ["lost", "outcome_unknown", "Retryable", 1],
      ["cut", "outcome_unknown", "Retryable", 1],
      [{ text: "<html>welcome to the hotel's network</html>" }, "invalid_response", "Defect", 1],
      [{ body: { ok: false, error: "Not A Word <script>" } }, "invalid_response", "Defect", 1],
      [{ body: {} }, "invalid_response", "Defect", 1],
      [{ status: 404, text: "" }, "invalid_response", "Defect", 1]
    ]

    it.effect("is classified, and a post is tried again only where nothing was done", () =>
      Effect.gen(function* () {
        for (const [step, reason, errorClass, attempts] of cases) {
          const { post, seen } = yield* scene({ "chat.postMessage": [step] })
          const result = yield* post()
          const what = JSON.stringify(step)
          assert.strictEqual(failureOf(result)?.reason, reason, what)
          assert.strictEqual(result.error?.class, errorClass, what)
          assert.strictEqual(result.attempts, attempts, what)
          // One request an attempt: the client does not try again by itself.
          assert.strictEqual((yield* seen).length, attempts, what)
          assert.notMatch(JSON.stringify(failureOf(result)), /html|script/, what)
        }
      })
    )

    it.effect("of reading is tried again also where the outcome is unknown", () =>
      Effect.gen(function* () {
        for (const step of ["reset", says("internal_error"), { status: 500 }] as const) {
          const { execute } = yield* scene({ "conversations.history": [step, "ok"] })
          const result = yield* execute({ tool: "slack_read_channel", params: { channel: general } })
          assert.deepStrictEqual([result.status, result.attempts], ["success", 2])
        }
      })
    )

    it.effect("tells when to come back, and the pipeline does", () =>
      Effect.gen(function* () {
        const { post, seen } = yield* scene({
          "chat.postMessage": [{ status: 429, headers: { "retry-after": "30" } }]
        })
        const { attempts, error } = yield* post({}, { deadline: Date.now() + 5000 })
        assert.strictEqual(error?.retryAfter && Duration.toSeconds(error.retryAfter), 30)
        // There is no time for another attempt, so there is none.
        assert.strictEqual(attempts, 1)
        assert.strictEqual((yield* seen).length, 1)
        const soon = yield* scene({
          "chat.postMessage": [{ status: 429, headers: { "retry-after": "1" } }, "ok"]
        })
        const result = yield* soon.post()
        assert.deepStrictEqual([result.status, result.attempts], ["success", 2])
        assert.isAtLeast(result.latency, 1000)
      })
    )

    it.effect("of unknown outcome is not repeated, not even with an idempotency key or after a timeout", () =>
      Effect.gen(function* () {
        const read = (execute: (call: ToolCall) => Effect.Effect<ToolResult>) =>
          Effect.map(
            execute({ tool: "slack_read_channel", params: { channel: general } }),
            ({ value }) => (value as { messages: ReadonlyArray<unknown> }).messages.length
          )
        const lost = yield* scene({ "chat.postMessage": ["lost", "ok"] })
        const result = yield* lost.post({}, { idempotencyKey: "k1" })
        assert.strictEqual(failureOf(result)?.reason, "outcome_unknown")
        assert.strictEqual(yield* read(lost.execute), 1)
        const late = yield* scene({ "chat.postMessage": ["hang", "ok"] })
        const timedOut = yield* late.post({}, { idempotencyKey: "k2", timeout: 200 })
        assert.notStrictEqual(timedOut.status, "success")
        assert.strictEqual((yield* late.seen).length, 1)
        // Another call is another message.
        assert.strictEqual((yield* late.post()).status, "success")
      })
    )

    it.effect("opens the circuit where the app is at fault, and not where the caller is", () =>
      Effect.gen(function* () {
        const breaker = { trip: CircuitBreaker.consecutive(2) }
        const revoked = yield* scene({ "chat.postMessage": [says("token_revoked")] }, {}, { breaker })
        const statuses = [
          (yield* revoked.post()).status,
          (yield* revoked.post()).status,
          (yield* revoked.post()).status
        ]
        assert.deepStrictEqual(statuses, ["failure", "failure", "circuit_open"])
        const { post } = yield* scene({}, {}, { breaker })
        for (let i = 0; i < 3; i++)
          assert.strictEqual((yield* post({ channel: "C0000000002" })).status, "failure")
      })
    )

    it.effect("to connect is tried again, and so is nothing that is interrupted", () =>
      Effect.gen(function* () {
        const nowhere = yield* world({
          token: Redacted.make(token),
          allowedChannels: ["*"],
          apiUrl: `http://127.0.0.1:${yield* closedPort}/api`
        })
        const result = yield* nowhere.post()
        assert.deepStrictEqual([failureOf(result)?.reason, result.attempts], ["unreachable", 2])
        const { post, seen, server } = yield* scene({ "chat.postMessage": ["hang"] })
        const fiber = yield* Effect.forkChild(post())
        yield* server.tell("held")
        yield* Fiber.interrupt(fiber)
        // The server sees it go; without an abort this would wait for ever.
        yield* server.tell("gone")
        assert.strictEqual((yield* seen).length, 1)
      })
    )

    it.effect("is what becomes of a request that takes too long", () =>
      Effect.gen(function* () {
        const { post } = yield* scene({ "chat.postMessage": ["hang"] }, { timeout: 150 })
        assert.strictEqual(failureOf(yield* post())?.reason, "outcome_unknown")
      })
    )
  })

  describe("a token", () => {
    const credential = (fields: object = {}) =>
      Credentials.layer({
        slack: {
          type: "bearer",
          hosts: ["127.0.0.1"],
          token: Redacted.make(token),
          ...fields
        } as Credentials.Credential
      })

    it.effect("is used by its name, and only for its host and its kind", () =>
      Effect.gen(function* () {
        const reasonWith = (
          credentials: Layer.Layer<Credentials.Credentials>,
          options: Partial<Slack.Options> = {}
        ) =>
          Effect.gen(function* () {
            const { post } = yield* scene({}, { credential: "slack", ...options }, {}, credentials)
            const result = yield* post()
            return failureOf(result)?.reason ?? result.status
          })
        assert.strictEqual(yield* reasonWith(credential()), "success")
        assert.strictEqual(yield* reasonWith(credential({ hosts: ["slack.com"] })), "credential")
        assert.strictEqual(
          yield* reasonWith(credential({ type: "header", name: "x", value: Redacted.make("x") })),
          "credential"
        )
        assert.strictEqual(yield* reasonWith(Credentials.layerNone), "credential")
        assert.strictEqual(yield* reasonWith(credential({ token: Redacted.make("xoxb-wrong") })), "auth")
        const clear = { apiUrl: "http://slack.internal.example/api/" }
        assert.strictEqual(
          yield* reasonWith(credential({ hosts: ["slack.internal.example"] }), clear),
          "credential"
        )
      })
    )

    it.effect("comes out nowhere", () =>
      Effect.gen(function* () {
        const sink = new EverySink()
        yield* Effect.gen(function* () {
          const steps: ReadonlyArray<Step> = [
            "ok",
            says("token_revoked"),
            "reset",
            { status: 429 },
            { text: `echo ${token}` }
          ]
          const { post, services } = yield* scene(
            { "chat.postMessage": steps },
            {},
            { telemetry: Telemetry.layer }
          )
          yield* sink.listen(services)
          for (const _ of steps) sink.note("ToolResult.ts", yield* post({}, { retries: 0 }))
          yield* sink.look(services)
        }).pipe(sink.around)
        assert.includeMembers([...sink.spoken], ["ToolResult.ts", "History.ts", "audit", "span"])
        for (const channel of sink.spoken) {
          for (const text of sink.texts(channel)) assert.notInclude(text, token, channel)
        }
      })
    )

    const says = (error: string): Step => ({ body: { ok: false, error } })
  })

  describe("options", () => {
    it.effect("that make no sense are refused where they are given", () =>
      Effect.sync(() => {
        const base = { token: Redacted.make(token), allowedChannels: ["*"] }
        const refused: ReadonlyArray<readonly [object, RegExp]> = [
          [{ token: undefined }, /one of credential and token/],
          [{ credential: "slack" }, /only one/],
          [{ allowedChannels: ["general"] }, /allowedChannels must be ids/],
          [{ allowedChannels: ["C*"] }, /allowedChannels must be ids/],
          [{ apiUrl: "slack.com" }, /apiUrl/],
          [{ apiUrl: "ftp://slack.com" }, /apiUrl/],
          [{ apiUrl: "https://user@slack.com/api/" }, /apiUrl/],
          [{ apiUrl: "http://slack.com/api/" }, /clear text/],
          [{ timeout: "0 seconds" }, /Slack: timeout/]
        ]
        for (const [options, message] of refused) {
          assert.throws(() => Slack.layer({ ...base, ...options } as Slack.Options), message)
        }
        Slack.layer({ ...base, apiUrl: "http://[::1]:80/api/" })
      })
    )

    it.effect("are data, and data holds no token", () =>
      Effect.gen(function* () {
        const data = {
          credential: "slack",
          allowedChannels: [general],
          mentions: "users",
          timeout: "10 seconds"
        }
        assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(Slack.Options)(data), data as never)
        const error = yield* Effect.flip(Schema.decodeUnknownEffect(Slack.Options)({ ...data, token }))
        assert.notInclude(error.message, token)
      })
    )
  })
})

describe("a text", () => {
  plain("has after escaping only what is allowed of what Slack would take for more than text", () => {
    const piece = fc.constantFrom(
      "<",
      ">",
      "&",
      "!",
      "@",
      "#",
      "|",
      "here",
      "channel",
      "U0000000001",
      "subteam^S0000000001",
      "<@U0000000001>",
      "<!here>",
      "https://a.example",
      "&lt;",
      " ",
      "x"
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const text = pieces.join("")
        const unescaped = (escaped: string) =>
          escaped.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&")
        const none = escape(text, "none")
        assert.notMatch(none, /[<>]/)
        assert.strictEqual(unescaped(none), text)
        const users = escape(text, "users")
        assert.notMatch(users.replaceAll(/<@[UW][A-Z0-9]+>/g, ""), /[<>]/)
        const all = escape(text, "all")
        assert.notMatch(
          all.replaceAll(/<@[UW][A-Z0-9]+>|<!(?:here|channel|everyone|subteam\^S[A-Z0-9]+)>/g, ""),
          /[<>]/
        )
        for (const escaped of [none, users, all])
          assert.notMatch(escaped.replaceAll(/&(?:lt|gt|amp);/g, ""), /&/)
      }),
      { numRuns: 5000 }
    )
  })
})
