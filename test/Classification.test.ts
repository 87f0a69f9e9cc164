import { createServer } from "node:http"
import { assert, it } from "@effect/vitest"
import * as AiError from "effect/ai/AiError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as fc from "fast-check"
import { type Classified, classify } from "../src/Classification.ts"

const now = Date.UTC(2026, 0, 1, 12, 0, 0)
const day = 24 * 60 * 60 * 1000

const thrown = (error: unknown) => classify(error, "thrown", now)
const declared = (error: unknown) => classify(error, "declared", now)
const hint = (error: unknown) => {
  const { retryAfter } = thrown(error)
  return retryAfter === undefined ? undefined : Duration.toMillis(retryAfter)
}
const error = (fields: object): Error => Object.assign(new Error("failed"), fields)

it("takes a declared failure for the caller's and anything thrown for worth another try", () => {
  for (const value of [new Error("x"), "x", undefined, null, 42, Symbol("x"), { status: "sent" }, () => 1]) {
    assert.deepStrictEqual(declared(value), {
      class: "Caller",
      retryAfter: undefined,
      outcomeUnknown: false
    } satisfies Classified)
    assert.strictEqual(thrown(value).class, "Retryable")
    assert.isFalse(thrown(value).outcomeUnknown)
  }
})

it("classifies every HTTP status, wherever it is, declared or thrown", () => {
  const places: ReadonlyArray<(status: number) => unknown> = [
    (status) => error({ status }),
    (status) => error({ statusCode: status }),
    (status) => error({ response: { status } }),
    (status) => error({ response: { statusCode: status } }),
    (status) => error({ reason: { response: { status } } }),
    (status) => new Error("x", { cause: error({ status }) }),
    (status) => new Response(null, { status })
  ]
  for (let status = 400; status <= 599; status++) {
    const expected =
      status === 429 ? "Overload" : status >= 500 || status === 408 || status === 425 ? "Retryable" : "Caller"
    for (const place of places) {
      assert.strictEqual(thrown(place(status)).class, expected, `${status}`)
      assert.strictEqual(declared(place(status)).class, expected, `${status}`)
      // A gateway's timeout is a timeout, its lost connection a lost connection.
      assert.strictEqual(thrown(place(status)).outcomeUnknown, status === 502 || status === 504)
    }
  }
  for (const status of [0, 200, 304, 399, 600, 404.5, Number.NaN, "404", null]) {
    assert.strictEqual(declared({ status }).class, "Caller")
    assert.strictEqual(thrown({ status }).class, "Retryable")
  }
})

it("takes 503 with a hint for overload, and keeps the hint of other statuses", () => {
  assert.strictEqual(thrown({ status: 503 }).class, "Retryable")
  assert.strictEqual(thrown({ status: 503, headers: { "Retry-After": "7" } }).class, "Overload")
  assert.strictEqual(thrown({ status: 500, headers: { "Retry-After": "7" } }).class, "Retryable")
  assert.strictEqual(hint({ status: 500, headers: { "Retry-After": "7" } }), 7000)
})

it("takes a lost connection for worth another try, and says whether anything can have been sent", () => {
  const unknown = [
    error({ code: "ECONNRESET" }),
    error({ code: "EPIPE" }),
    error({ code: "ETIMEDOUT" }),
    error({ code: "UND_ERR_SOCKET" }),
    error({ code: "UND_ERR_HEADERS_TIMEOUT" }),
    new TypeError("fetch failed"),
    new TypeError("fetch failed", { cause: error({ code: "ECONNRESET" }) }),
    new DOMException("timed out", "TimeoutError"),
    new DOMException("aborted", "AbortError"),
    { _tag: "TransportError" },
    // Of several attempts one may have come through.
    new AggregateError([error({ code: "ECONNREFUSED" }), error({ code: "ECONNRESET" })]),
    new AggregateError([error({ code: "ECONNRESET" }), error({ code: "ECONNREFUSED" })])
  ]
  const nothingSent = [
    error({ code: "ECONNREFUSED", syscall: "connect" }),
    error({ code: "ENOTFOUND", syscall: "getaddrinfo" }),
    error({ code: "EAI_AGAIN" }),
    error({ code: "ETIMEDOUT", syscall: "connect" }),
    error({ code: "EHOSTUNREACH", syscall: "connect" }),
    error({ code: "UND_ERR_CONNECT_TIMEOUT" }),
    new TypeError("fetch failed", { cause: error({ code: "ECONNREFUSED" }) }),
    { _tag: "TransportError", cause: new TypeError("fetch failed", { cause: { code: "ENOTFOUND" } }) }
  ]
  for (const lost of unknown) {
    assert.deepInclude(thrown(lost), { class: "Retryable", outcomeUnknown: true })
    assert.deepInclude(declared(lost), { class: "Retryable", outcomeUnknown: true })
  }
  for (const lost of nothingSent) {
    assert.deepInclude(declared(lost), { class: "Retryable", outcomeUnknown: false })
  }
  assert.deepInclude(declared(error({ code: "ENOENT" })), { class: "Caller", outcomeUnknown: false })
  // An answer came: the connection that was lost is another one.
  assert.deepInclude(thrown(error({ status: 500, cause: { code: "ECONNRESET" } })), { outcomeUnknown: false })
})

it("believes isRetryable before anything else", () => {
  assert.strictEqual(thrown({ isRetryable: false, status: 500 }).class, "Caller")
  assert.strictEqual(declared({ isRetryable: true }).class, "Retryable")
  assert.strictEqual(declared({ isRetryable: true, status: 400 }).class, "Retryable")
  assert.strictEqual(declared({ isRetryable: true, status: 429 }).class, "Overload")
  assert.strictEqual(declared({ isRetryable: true, retryAfter: 1 }).class, "Overload")
  assert.strictEqual(thrown({ isRetryable: "no" }).class, "Retryable")
  assert.strictEqual(thrown({ isRetryable: true, cause: { isRetryable: false } }).class, "Retryable")
})

it("takes an error that only says when to come back for overload", () => {
  assert.strictEqual(declared({ retryAfter: Duration.seconds(3) }).class, "Overload")
  assert.strictEqual(thrown({ retryAfter: Duration.seconds(3) }).class, "Overload")
})

it("reads hints wherever they are, from 0 to 24 hours", () => {
  const date = new Date(now + 90_000).toUTCString()
  assert.strictEqual(hint({ retryAfter: Duration.millis(1500) }), 1500)
  assert.strictEqual(hint({ retryAfter: 2 }), 2000)
  assert.strictEqual(hint({ retryAfter: "2.5" }), 2500)
  assert.strictEqual(hint({ retryAfterMs: 250 }), 250)
  assert.strictEqual(hint({ retryAfterMs: 250, retryAfter: 9 }), 250)
  assert.strictEqual(hint({ response: { headers: { "retry-after": "3" } } }), 3000)
  assert.strictEqual(hint({ response: { headers: { "RETRY-AFTER": ["3", "9"] } } }), 3000)
  assert.strictEqual(hint({ headers: new Headers({ "Retry-After": "3" }) }), 3000)
  assert.strictEqual(hint({ headers: new Map([["Retry-After", "3"]]) }), 3000)
  assert.strictEqual(hint({ responseHeaders: { "retry-after-ms": "40", "retry-after": "1" } }), 40)
  assert.strictEqual(hint({ cause: { response: { headers: { "retry-after": 4 } } } }), 4000)
  assert.strictEqual(hint({ headers: { "retry-after": date } }), 90_000)
  // The two older forms of a date.
  assert.strictEqual(hint({ retryAfter: "Thursday, 01-Jan-26 12:01:30 GMT" }), 90_000)
  assert.strictEqual(hint({ retryAfter: "Thu Jan  1 12:01:30 2026" }), 90_000)
  const zone = process.env["TZ"]
  process.env["TZ"] = "America/New_York"
  assert.strictEqual(hint({ retryAfter: "Thu Jan  1 12:01:30 2026" }), 90_000)
  if (zone === undefined) delete process.env["TZ"]
  else process.env["TZ"] = zone
  assert.strictEqual(hint({ retryAfter: new Date(now - 5000).toUTCString() }), 0)
  assert.strictEqual(hint({ retryAfter: -5 }), 0)
  assert.strictEqual(hint({ retryAfter: Duration.seconds(-1) }), 0)
  assert.strictEqual(hint({ retryAfter: Duration.infinity }), day)
  assert.strictEqual(hint({ retryAfter: 1e300 }), day)
  assert.strictEqual(hint({ retryAfter: "999999999" }), day)
  for (const text of ["", "soon", "-5", "1e3", "12 monkeys", "Mon", "2026-01-01", "1".repeat(100_000)]) {
    assert.isUndefined(hint({ retryAfter: text }), text.slice(0, 20))
  }
  assert.isUndefined(hint({ retryAfter: Number.NaN, headers: "retry-after: 3" }))
})

it.effect("classifies what Effect's own HTTP client fails with, over a real socket", () =>
  Effect.gen(function* () {
    const server = createServer((request, response) => {
      const status = Number(request.url?.slice(1))
      if (status === 0) return void request.socket.destroy()
      response.writeHead(status, { "retry-after": "2" }).end()
      return undefined
    })
    yield* Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)))
    const { port } = server.address() as { port: number }
    const client = yield* HttpClient.HttpClient
    const get = (status: number) =>
      client
        .get(`http://127.0.0.1:${port}/${status}`)
        .pipe(Effect.flatMap(HttpClientResponse.filterStatusOk), Effect.flip, Effect.map(thrown))
    assert.deepStrictEqual(yield* get(429), {
      class: "Overload",
      retryAfter: Duration.seconds(2),
      outcomeUnknown: false
    })
    assert.strictEqual((yield* get(404)).class, "Caller")
    assert.strictEqual((yield* get(500)).class, "Retryable")
    assert.deepInclude(yield* get(0), { class: "Retryable", outcomeUnknown: true })
    yield* Effect.promise(() => new Promise((resolve) => server.close(resolve)))
    assert.deepInclude(yield* get(200), { class: "Retryable", outcomeUnknown: false })
  }).pipe(Effect.provide(FetchHttpClient.layer))
)

it("classifies Effect's own errors", () => {
  const request = HttpClientRequest.get("http://localhost")
  const transport = new HttpClientError.HttpClientError({
    reason: new HttpClientError.TransportError({ request, cause: new Error("boom") })
  })
  assert.deepInclude(declared(transport), { class: "Retryable", outcomeUnknown: true })
  const ai = (reason: AiError.AiErrorReason) => AiError.make({ module: "Test", method: "test", reason })
  assert.deepStrictEqual(thrown(ai(new AiError.RateLimitError({ retryAfter: Duration.seconds(30) }))), {
    class: "Overload",
    retryAfter: Duration.seconds(30),
    outcomeUnknown: false
  })
  assert.strictEqual(thrown(ai(new AiError.AuthenticationError({ kind: "InvalidKey" }))).class, "Caller")
  assert.deepInclude(
    thrown(
      ai(new AiError.NetworkError({ reason: "TransportError", method: "POST", url: "http://localhost" }))
    ),
    { class: "Retryable", outcomeUnknown: true }
  )
})

it("never throws, whatever the error is", () => {
  const hostile = new Proxy(
    {},
    {
      get: () => {
        throw new Error("get")
      },
      getPrototypeOf: () => {
        throw new Error("getPrototypeOf")
      },
      has: () => {
        throw new Error("has")
      },
      ownKeys: () => {
        throw new Error("ownKeys")
      }
    }
  )
  const { proxy: revoked, revoke } = Proxy.revocable({}, {})
  revoke()
  const endless: object = new Proxy({}, { get: () => endless })
  const growing = (): object => new Proxy({}, { get: () => growing() })
  const cyclic: { cause?: unknown } = {}
  cyclic.cause = cyclic
  const throwing = Object.defineProperty({ status: 404 }, "cause", {
    get: () => {
      throw new Error("cause")
    }
  })
  const values = [
    hostile,
    revoked,
    endless,
    growing(),
    cyclic,
    throwing,
    Object.create(null),
    null,
    undefined
  ]
  for (const value of values) {
    for (const key of ["cause", "reason", "response", "errors", "headers", "retryAfter", "status", "code"]) {
      const wrapped = { [key]: value }
      assert.isFalse(thrown(wrapped).outcomeUnknown)
      assert.isUndefined(thrown(wrapped).retryAfter)
    }
    thrown(value)
    thrown({ headers: { get: value } })
    thrown({ errors: [value] })
  }
  assert.strictEqual(declared(throwing).class, "Caller")
  const round: Record<string, unknown> = { cause: { cause: { cause: { status: 503 } } } }
  Object.assign(round, { reason: round, response: round, http: round, errors: [round, round] })
  assert.strictEqual(declared(round).class, "Retryable")
  fc.assert(
    fc.property(fc.anything({ withNullPrototype: true, withMap: true, withDate: true }), (value) => {
      for (const each of [value, { cause: value, reason: value, response: value, headers: value }]) {
        const { retryAfter } = thrown(each)
        const millis = retryAfter === undefined ? 0 : Duration.toMillis(retryAfter)
        assert.isTrue(millis >= 0 && millis <= day)
      }
    }),
    { numRuns: 500 }
  )
})

it("looks no further than sixteen objects deep", () => {
  let deep: object = { status: 404 }
  for (let index = 0; index < 100_000; index++) deep = { cause: deep }
  assert.strictEqual(thrown(deep).class, "Retryable")
})
