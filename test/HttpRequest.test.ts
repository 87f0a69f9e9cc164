/** The tool as a model calls it: through the whole pipeline, to real servers on loopback. */
import { gzipSync } from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Redacted, Schema, type Scope } from "effect"
import { Tool } from "effect/ai"
import { TestClock } from "effect/testing"
import {
  AuditLog,
  History,
  type Interlock,
  Principal,
  SecurityPolicy,
  ToolAnnotations,
  type ToolCall,
  ToolExecutor,
  type ToolResult
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import { Credentials, HttpRequest, OutboundHttp } from "effect-interlock/toolbox"
import * as fc from "fast-check"
import * as Content from "../src/toolbox/outbound/content.ts"
import { type Answer, type Listening, names, serve } from "./support/outbound.ts"
import * as Attempts from "./support/ssrfAttempts.ts"

type Params = Tool.Parameters<HttpRequest.HttpRequest<string>>
type Options = HttpRequest.Options & {
  readonly outbound?: Partial<OutboundHttp.Options>
  readonly credentials?: ReadonlyArray<string>
  readonly secrets?: Readonly<Record<string, Credentials.Credential>>
}

const someone = Principal.make({ id: "someone", capabilities: ["network_access"] })
const zone = names({ "a.test": ["127.0.0.1"], "b.test": ["127.0.0.1"] })

/** A server, and the tool that reaches it under the names `a.test` and `b.test`. */
const withTool = Effect.fnUntraced(function* (
  answer: Answer,
  { outbound, secrets = {}, ...options }: Options = {}
): Effect.fn.Return<
  {
    readonly server: Listening
    readonly url: string
    readonly call: (params: Params, overrides?: Partial<ToolCall>) => Effect.Effect<ToolResult>
  },
  never,
  Scope.Scope | Interlock.Services
> {
  const server = yield* serve(answer)
  const http = OutboundHttp.layer({
    allowedDomains: ["*.test"],
    allowedAddresses: ["127.0.0.1"],
    allowedPorts: [server.port],
    ...outbound
  }).pipe(Layer.provide([Credentials.layer(secrets), zone.layer]))
  const { layer, toolkit } = HttpRequest.make(options)
  const handlers = yield* Layer.build(Layer.provide(layer, http))
  const executor = yield* Effect.provide(ToolExecutor.make(toolkit), handlers)
  return {
    server,
    url: `http://a.test:${server.port}`,
    call: (params, overrides = {}) =>
      executor
        .execute({ tool: options.name ?? "http_request", params, ...overrides })
        .pipe(Principal.provide(someone)) as Effect.Effect<ToolResult>
  }
})

const governed = <A, E>(effect: Effect.Effect<A, E, Scope.Scope | Interlock.Services>) =>
  Effect.provide(effect, Testing.layer())

const valueOf = (result: ToolResult): HttpRequest.Response => {
  assert.strictEqual(result.status, "success", JSON.stringify(result.error))
  return result.value as HttpRequest.Response
}

const failureOf = (result: ToolResult) => {
  const reason = result.error?.reason
  assert.strictEqual(reason?._tag, "ToolFailed", JSON.stringify(result))
  return reason as Extract<typeof reason, { readonly _tag: "ToolFailed" }>
}

describe("http_request", () => {
  it.live("sends what it is given", () =>
    governed(
      Effect.gen(function* () {
        const { call, server, url } = yield* withTool((_, response) => response.end())
        const sent: ReadonlyArray<readonly [Params, string, string, string | undefined, string]> = [
          [{ url }, "GET", "/", undefined, ""],
          [
            { url: `${url}/a?b=c`, query: { d: "e f", n: 1, yes: true } },
            "GET",
            "/a?b=c&d=e+f&n=1&yes=true",
            undefined,
            ""
          ],
          [{ url: `${url}/#top`, query: { ids: [1, "2"], none: [] } }, "GET", "/?ids=1&ids=2", undefined, ""],
          [{ url: `${url}/?`, query: { a: "&=ü" } }, "GET", "/?a=%26%3D%C3%BC", undefined, ""],
          [{ url: `${url}/?x&`, query: { a: "b" } }, "GET", "/?x&a=b", undefined, ""],
          [
            { url, method: "POST", json: { a: [1, null, "ü"] } },
            "POST",
            "/",
            "application/json",
            '{"a":[1,null,"ü"]}'
          ],
          [{ url, method: "POST", json: null }, "POST", "/", "application/json", "null"],
          [{ url, method: "PUT", body: "grüße" }, "PUT", "/", "text/plain; charset=utf-8", "grüße"],
          [{ url, method: "PATCH", body: "" }, "PATCH", "/", "text/plain; charset=utf-8", ""],
          [
            { url, method: "POST", json: {}, headers: { "Content-Type": "application/x+json" } },
            "POST",
            "/",
            "application/x+json",
            "{}"
          ],
          [{ url, method: "DELETE" }, "DELETE", "/", undefined, ""],
          [{ url, method: "OPTIONS", headers: { Origin: "http://x" } }, "OPTIONS", "/", undefined, ""]
        ]
        for (const [params, method, path, type, body] of sent) {
          assert.strictEqual(valueOf(yield* call(params)).status, 200)
          const seen = server.requests.at(-1)!
          assert.deepStrictEqual(
            [seen.method, seen.url, seen.headers["content-type"], seen.body],
            [method, path, type, body]
          )
        }
      })
    )
  )

  it.live("reads what comes back by its type and its charset", () =>
    governed(
      Effect.gen(function* () {
        const latin = Buffer.from("gr\xfc\xdfe", "latin1")
        const utf16 = Buffer.from("\ufeffgrüße", "utf16le")
        const image = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 0xff])
        const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`
        const bodies: ReadonlyArray<
          readonly [type: string | undefined, body: string | Buffer, format: string, read: unknown]
        > = [
          ["application/json", '{"a":1}', "json", { a: 1 }],
          ["application/json; charset=utf-8", "null", "json", null],
          ["Application/Problem+JSON", '["ü"]', "json", ["ü"]],
          ["application/json", "{not json", "text", "{not json"],
          ["application/json", "", "none", undefined],
          ["application/json", deep, "text", deep],
          ["application/json", '{"__proto__":{"a":1}}', "json", JSON.parse('{"__proto__":{"a":1}}')],
          ["text/html; charset=ISO-8859-1", latin, "text", "grüße"],
          ['text/plain; charset="windows-1252"', latin, "text", "grüße"],
          ["text/plain; charset=utf-16le", utf16, "text", "grüße"],
          ["text/plain", utf16, "text", "grüße"],
          ["text/plain", "\ufeffgrüße", "text", "grüße"],
          ["text/plain; charset=klingon", "grüße", "text", "grüße"],
          ["text/plain", latin, "text", "gr\ufffd\ufffde"],
          ["application/xml", "<a/>", "text", "<a/>"],
          ["image/svg+xml", "<svg/>", "text", "<svg/>"],
          ["application/x-ndjson", "1\n2", "text", "1\n2"],
          [undefined, "plain", "text", "plain"],
          [undefined, latin, "base64", latin.toString("base64")],
          [undefined, "a\0b", "base64", Buffer.from("a\0b").toString("base64")],
          ["nonsense", "plain", "text", "plain"],
          ["application/octet-stream", "plain", "text", "plain"],
          ["application/octet-stream", image, "base64", image.toString("base64")],
          ["image/png", image, "base64", image.toString("base64")],
          ["application/pdf", "%PDF-1.7", "base64", Buffer.from("%PDF-1.7").toString("base64")]
        ]
        const { call, url } = yield* withTool((request, response) => {
          const [type, body] = bodies[Number(request.url.slice(1))]!
          if (type !== undefined) response.setHeader("content-type", type)
          response.setHeader("content-encoding", "gzip")
          response.end(gzipSync(body))
        })
        for (const [index, [type, , format, read]] of bodies.entries()) {
          const value = valueOf(yield* call({ url: `${url}/${index}` }))
          assert.deepStrictEqual(
            [value.contentType, value.format, value.body],
            [type, format, read],
            `${index}`
          )
        }
      })
    )
  )

  it.live("answers with any status that says how it is, and with where it came from", () =>
    governed(
      Effect.gen(function* () {
        const { call, url } = yield* withTool((request, response) => {
          const status = Number(request.url.slice(1))
          if (status === 302) response.setHeader("location", "/200")
          response.writeHead(status, { "content-type": "application/json" })
          response.end(status === 204 || status === 304 ? undefined : '{"detail":"x"}')
        })
        for (const status of [200, 201, 204, 300, 304, 400, 401, 403, 404, 405, 409, 410, 418, 422, 451]) {
          const value = valueOf(yield* call({ url: `${url}/${status}` }))
          assert.strictEqual(value.status, status)
          if (status !== 204 && status !== 304) assert.deepStrictEqual(value.body, { detail: "x" })
        }
        const moved = valueOf(yield* call({ url: `${url}/302` }))
        assert.deepStrictEqual([moved.url, moved.redirects, moved.status], [`${url}/200`, 1, 200])
        const still = valueOf(yield* call({ url: `${url}/302`, followRedirects: false }))
        assert.deepStrictEqual(
          [still.url, still.redirects, still.status, still.headers["location"]],
          [`${url}/302`, 0, 302, "/200"]
        )
      })
    )
  )

  it.live("fails where the same request may do better later, and says what the server said", () =>
    governed(
      Effect.gen(function* () {
        const { call, url } = yield* withTool((request, response) =>
          response.writeHead(Number(request.url.slice(1))).end("try later")
        )
        const classes = yield* Effect.forEach([408, 425, 429, 500, 502, 503, 504], (status) =>
          Effect.map(call({ url: `${url}/${status}` }, { retries: 0 }), (result) => {
            const { class: each, failure } = failureOf(result)
            assert.deepInclude(failure, { _tag: "StatusFailure", status, text: "try later" })
            return [status, each]
          })
        )
        assert.deepStrictEqual(classes, [
          [408, "Retryable"],
          [425, "Retryable"],
          [429, "Overload"],
          [500, "Retryable"],
          [502, "Retryable"],
          [503, "Retryable"],
          [504, "Retryable"]
        ])
      })
    )
  )

  it.effect("carries Retry-After into the retries: seconds, and a date", () =>
    governed(
      Effect.gen(function* () {
        yield* TestClock.setTime(Date.UTC(2026, 0, 1))
        const date = new Date(Date.UTC(2026, 0, 1, 0, 1, 30)).toUTCString()
        const { call, server, url } = yield* withTool(({ url }, response) => {
          const isFirst = server.requests.filter((request) => request.url === url).length === 1
          if (!isFirst) response.end("done")
          else if (url === "/seconds") response.writeHead(429, { "retry-after": "90" }).end()
          else response.writeHead(503, { "retry-after": date }).end()
        })
        // The hint in the result, where nothing is repeated.
        for (const [path, each] of [
          ["/seconds", 90_000],
          ["/date", 90_000]
        ] as const) {
          const { class: overload, retryAfter } = failureOf(
            yield* call({ url: `${url}${path}`, method: "POST" }, { retries: 0 })
          )
          assert.strictEqual(overload, "Overload")
          assert.strictEqual(retryAfter === undefined ? undefined : Duration.toMillis(retryAfter), each)
        }
      })
    )
  )

  it.effect("waits as long as it is told, and sends a refused POST again", () =>
    governed(
      Effect.gen(function* () {
        const { call, server, url } = yield* withTool((_, response) =>
          server.requests.length === 1
            ? response.writeHead(503, { "retry-after": "90" }).end("busy")
            : response.end("done")
        )
        const fiber = yield* Effect.forkChild(call({ url, method: "POST", json: 1 }))
        yield* server.arrived(1)
        const { recent } = yield* History.History
        while ((yield* recent())[0]?.status !== "retrying") {
          yield* Effect.promise(() => new Promise(setImmediate))
        }
        yield* TestClock.adjust(89_999)
        assert.strictEqual(server.requests.length, 1)
        yield* TestClock.adjust(1)
        yield* server.arrived(2)
        const result = yield* Fiber.join(fiber)
        assert.deepStrictEqual([valueOf(result).body, result.attempts], ["done", 2])
        assert.deepStrictEqual(
          server.requests.map(({ body }) => body),
          ["1", "1"]
        )
      })
    )
  )

  it.live("repeats what may be repeated after a lost connection, by what the tool says of itself", () =>
    Effect.gen(function* () {
      // Each in a world of its own, because a circuit opens after a few of them.
      const attempts = Effect.fnUntraced(function* (
        methods: HttpRequest.Options["methods"],
        method: OutboundHttp.Method,
        key?: string
      ) {
        const { call, server, url } = yield* withTool(
          (_, response) => response.destroy(),
          methods === undefined ? {} : { methods }
        )
        const result = yield* call(
          { url, method },
          { retries: 1, ...(key === undefined ? {} : { idempotencyKey: key }) }
        )
        assert.strictEqual(failureOf(result).class, "Retryable")
        return server.requests
      }, governed)
      const count = (...of: Parameters<typeof attempts>) =>
        Effect.map(attempts(...of), ({ length }) => length)
      assert.strictEqual(yield* count(undefined, "GET"), 1)
      assert.strictEqual(yield* count(undefined, "POST"), 1)
      assert.strictEqual(yield* count(["GET", "HEAD"], "GET"), 2)
      assert.strictEqual(yield* count(["GET", "PUT", "DELETE"], "PUT"), 2)
      assert.strictEqual(yield* count(["GET", "POST"], "GET"), 1)
      const keyed = yield* attempts(undefined, "POST", "order-7")
      assert.deepStrictEqual(
        keyed.map(({ headers }) => headers["idempotency-key"]),
        ["order-7", "order-7"]
      )
      const read = yield* attempts(undefined, "GET", "order-8")
      assert.deepStrictEqual(
        read.map(({ headers }) => headers["idempotency-key"]),
        [undefined, undefined]
      )
    })
  )

  it.live("carries nothing out twice that a redirect has answered, whatever becomes of where it leads", () =>
    Effect.gen(function* () {
      const posts = Effect.fnUntraced(function* (leadsTo: string, calls: Partial<ToolCall> = {}) {
        const { call, server, url } = yield* withTool(({ url }, response) => {
          if (url === "/order") return response.writeHead(303, { location: leadsTo }).end()
          if (url === "/lost") return response.destroy()
          return response.writeHead(url === "/busy" ? 429 : 503, { "retry-after": "0" }).end()
        })
        const order = { url: `${url}/order`, method: "POST" } as const
        for (const _ of [1, 2]) failureOf(yield* call(order, { retries: 1, ...calls }))
        // Two calls; each is one order.
        return server.requests.filter(({ method }) => method === "POST").length
      }, governed)
      // Port 80 of the test's own address: nobody listens there.
      const places = ["/page", "/busy", "/lost", "http://a.test/", "http://nowhere.test/", "http://10.0.0.1/"]
      for (const place of places) assert.strictEqual(yield* posts(place), 2, place)
    })
  )

  it.live("does not take a key for unused where its request was sent and redirected to nowhere", () =>
    governed(
      Effect.gen(function* () {
        const { call, server, url } = yield* withTool((_, response) =>
          response.writeHead(303, { location: "http://elsewhere.example/" }).end()
        )
        const once = () => call({ url, method: "POST" }, { retries: 0, idempotencyKey: "order-9" })
        assert.strictEqual(failureOf(yield* once()).class, "Policy")
        assert.notStrictEqual((yield* once()).status, "success")
        assert.strictEqual(server.requests.length, 1)
      })
    )
  )

  it.live("repeats what was never sent, and not what cannot be", () =>
    governed(
      Effect.gen(function* () {
        const { call, server } = yield* withTool((_, response) => response.end())
        const outcome = (params: Params) =>
          Effect.map(call(params, { retries: 1 }), (result) => [
            (failureOf(result).failure as { readonly reason: string }).reason,
            failureOf(result).class,
            result.attempts
          ])
        const closed = yield* Effect.scoped(
          Effect.map(
            serve(() => {}),
            ({ port }) => port
          )
        )
        assert.deepStrictEqual(yield* outcome({ url: `http://a.test:${closed}/`, method: "POST" }), [
          "blocked",
          "Policy",
          1
        ])
        assert.deepStrictEqual(yield* outcome({ url: "http://nowhere.test/", method: "POST" }), [
          "dns",
          "Caller",
          1
        ])
        assert.deepStrictEqual(yield* outcome({ url: "ftp://a.test/" }), ["invalid_url", "Caller", 1])
        assert.deepStrictEqual(yield* outcome({ url: "http://a.test/", json: 1, body: "x" }), [
          "invalid_request",
          "Caller",
          1
        ])
        assert.deepStrictEqual(yield* outcome({ url: "http://a.test/", credential: "x" }), [
          "credential",
          "Caller",
          1
        ])
        // Port 80 of the test's own address: nobody listens there.
        assert.deepStrictEqual(yield* outcome({ url: "http://a.test/", method: "POST" }), [
          "connect",
          "Retryable",
          2
        ])
        assert.strictEqual(server.accepted(), 0)
      })
    )
  )

  it.live("reaches nothing that may not be reached, with parameters added to the URL neither", () =>
    governed(
      Effect.gen(function* () {
        const trap = yield* serve((_, response) => response.end("reached"), { host: "::" })
        const { call } = yield* withTool((_, response) => response.end("reached"), {
          outbound: { allowedDomains: ["*"], allowedAddresses: [], allowedPorts: [trap.port] }
        })
        const urls = [
          ...[...Attempts.plainIpv4, ...Attempts.oddIpv4, ...Attempts.ipv6, ...Attempts.embedded],
          ...[...Attempts.confusing, ...Attempts.controls, ...Attempts.unicode, ...Attempts.escapes],
          ...[...Attempts.schemes, ...Attempts.ports]
        ]
        const reached: Array<string> = []
        for (const url of urls) {
          const params = {
            url: url.replaceAll("PORT", String(trap.port)),
            query: { a: "@127.0.0.1/", b: "#" }
          }
          const { status } = yield* call(params, { retries: 0 })
          // Screening refuses some of them before the tool is asked.
          if (status !== "failure" && status !== "policy_denied") reached.push(`${url}: ${status}`)
        }
        assert.deepStrictEqual(reached, [])
        assert.strictEqual(trap.accepted(), 0)
      })
    )
  )

  it.live("has no circuit, since hosts have nothing to do with one another, but where it is given one", () =>
    governed(
      Effect.gen(function* () {
        const answer: Answer = (_, response) => response.writeHead(500).end()
        const statuses = Effect.fnUntraced(function* (options: Options) {
          const { call, url } = yield* withTool(answer, options)
          const results = yield* Effect.forEach(Array.from({ length: 8 }), () =>
            call({ url }, { retries: 0 })
          )
          return new Set(results.map(({ status }) => status))
        })
        assert.deepStrictEqual(yield* statuses({}), new Set(["failure"]))
        assert.deepStrictEqual(yield* statuses({ circuit: "one-api" }), new Set(["failure", "circuit_open"]))
      })
    )
  )

  it.effect("takes less time where the model says so", () =>
    governed(
      Effect.gen(function* () {
        const { call, server, url } = yield* withTool(() => {})
        const fiber = yield* Effect.forkChild(call({ url, timeoutSeconds: 2.5 }, { retries: 0 }))
        yield* server.arrived(1)
        yield* TestClock.adjust(2_500)
        const { failure } = failureOf(yield* Fiber.join(fiber))
        assert.deepInclude(failure, { reason: "timeout", problem: "No complete response came in time." })
        yield* server.closed
      })
    )
  )

  it.live("stops with the call: the connection is closed", () =>
    governed(
      Effect.gen(function* () {
        const { call, server, url } = yield* withTool(() => {})
        const fiber = yield* Effect.forkChild(call({ url }))
        yield* server.arrived(1)
        yield* Fiber.interrupt(fiber)
        yield* server.closed
      })
    )
  )

  it.live("sends a credential that the model only names, and shows it nowhere", () =>
    Effect.gen(function* () {
      const secret = "t0p-s3cr3t-v4lue"
      const { call, server, url } = yield* withTool(
        ({ headers }, response) => response.end(`you sent ${headers.authorization}`),
        { secrets: { github: { type: "bearer", token: Redacted.make(secret), hosts: ["a.test"] } } }
      )
      const results = [
        yield* call({ url, credential: "github" }),
        yield* call({ url, credential: "gitlab" }),
        yield* call({ url: url.replace("a.test", "b.test"), credential: "github" })
      ]
      assert.strictEqual(server.requests[0]!.headers.authorization, `Bearer ${secret}`)
      assert.strictEqual(valueOf(results[0]!).body, "you sent Bearer <redacted>")
      assert.deepInclude(failureOf(results[1]!).failure, {
        reason: "credential",
        problem: "There is no credential of this name; there are: github."
      })
      assert.deepInclude(failureOf(results[2]!).failure, { reason: "credential", host: "b.test" })
      assert.strictEqual(server.requests.length, 1)
      const history = yield* History.History
      const audit = yield* AuditLog.AuditLog
      const seen = JSON.stringify([results, yield* history.recent(), yield* audit.query({})])
      assert.notInclude(seen, secret)
    }).pipe(governed)
  )
})

describe("what the tool says of itself", () => {
  const facts = (options: HttpRequest.Options) => {
    const { toolkit } = HttpRequest.make(options)
    const { destructive, idempotent, readonly, risk } = ToolAnnotations.read(Object.values(toolkit.tools)[0]!)
    return { readonly, destructive, idempotent, risk }
  }

  it("follows from its methods", () => {
    assert.deepStrictEqual(facts({}), { readonly: false, destructive: true, idempotent: false, risk: "high" })
    assert.deepStrictEqual(facts({ methods: ["GET"] }), {
      readonly: true,
      destructive: false,
      idempotent: true,
      risk: "medium"
    })
    assert.deepStrictEqual(facts({ methods: ["HEAD", "OPTIONS", "GET"] }), {
      readonly: true,
      destructive: false,
      idempotent: true,
      risk: "medium"
    })
    assert.deepStrictEqual(facts({ methods: ["GET", "PUT"] }), {
      readonly: false,
      destructive: true,
      idempotent: true,
      risk: "high"
    })
    assert.deepStrictEqual(facts({ methods: ["GET", "POST"] }), {
      readonly: false,
      destructive: true,
      idempotent: false,
      risk: "high"
    })
  })

  it("is that it reaches the world, sends data, and returns what nobody vouches for", () => {
    const tool = ToolAnnotations.read(HttpRequest.toolkit.tools.http_request)
    assert.deepInclude(tool, { openWorld: true, sendsData: true, trust: "untrusted", name: "http_request" })
    assert.deepStrictEqual(tool.capabilities, ["network_access"])
  })

  it("is what a model is shown: methods and credentials that there are", () => {
    const { toolkit } = HttpRequest.make({
      name: "http_get",
      methods: ["GET", "HEAD"],
      credentials: ["github", "jira"]
    })
    const { properties } = Tool.getJsonSchema(toolkit.tools.http_get) as {
      readonly properties: Readonly<Record<string, { readonly enum?: ReadonlyArray<string> }>>
    }
    assert.deepStrictEqual(properties["method"]?.enum, ["GET", "HEAD"])
    assert.deepStrictEqual(properties["credential"]?.enum, ["github", "jira"])
  })

  it.live("is kept to: other methods and credentials are no arguments of it", () =>
    governed(
      Effect.gen(function* () {
        const { call, server, url } = yield* withTool((_, response) => response.end(), {
          name: "http_get",
          methods: ["HEAD", "GET"],
          credentials: []
        })
        assert.strictEqual((yield* call({ url, method: "POST" })).status, "invalid_params")
        assert.strictEqual((yield* call({ url, credential: "github" })).status, "invalid_params")
        assert.strictEqual((yield* call({ url, timeoutSeconds: 0 })).status, "invalid_params")
        valueOf(yield* call({ url }))
        assert.deepStrictEqual(
          server.requests.map(({ method }) => method),
          ["HEAD"]
        )
      })
    )
  )

  it.live("lets policies decide before anything is sent", () =>
    Effect.gen(function* () {
      const { call, server, url } = yield* withTool((_, response) => response.end())
      const { set } = yield* SecurityPolicy.SecurityPolicy
      yield* set({ deniedDomains: ["a.test"] })
      assert.strictEqual((yield* call({ url })).status, "policy_denied")
      yield* set({ deny: ["http_*"] })
      assert.strictEqual((yield* call({ url })).status, "policy_denied")
      assert.strictEqual(server.accepted(), 0)
    }).pipe(governed)
  )

  it("is decoded from data as it is written", () => {
    const decode = Schema.decodeUnknownSync(HttpRequest.Options, { onExcessProperty: "error" })
    assert.deepStrictEqual(decode({ name: "get", methods: ["GET"], timeout: "10 seconds" }), {
      name: "get",
      methods: ["GET"],
      timeout: "10 seconds"
    })
    for (const wrong of [
      { methods: [] },
      { methods: ["TRACE"] },
      { name: "" },
      { timeout: "soon" },
      { method: "GET" }
    ]) {
      assert.throws(() => decode(wrong))
    }
  })
})

describe("a body", () => {
  it("of any bytes and any type is read, and nothing of it is lost where it is base64", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 64 }),
        fc.option(
          fc.oneof(
            fc.string(),
            fc.constantFrom("application/json", "text/plain; charset=utf-16be", "image/png")
          )
        ),
        (bytes, type) => {
          const content = Content.read(bytes, type ?? undefined)
          if (content.format === "none") assert.strictEqual(bytes.length, 0)
          if (content.format === "base64")
            assert.deepStrictEqual(new Uint8Array(Buffer.from(content.body, "base64")), bytes)
        }
      )
    )
  })
})
