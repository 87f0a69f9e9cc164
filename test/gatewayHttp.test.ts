/** Servers behind URLs: the reference server over both transports, and servers that answer as they should not. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, Redacted } from "effect"
import type { Gateway } from "effect-interlock/mcp"
import { gateway, names, said, scripted, statusOf, until } from "./support/gateway.ts"
import {
  type Answer,
  everythingOverHttp,
  httpServer,
  json,
  type Received,
  result
} from "./support/gatewayHttp.ts"

type Servers = Gateway.Servers

/** Runs a test against one server that answers in its own way. */
const against = <A, E>(
  answer: Answer,
  test: (received: ReadonlyArray<Received>) => Effect.Effect<A, E, Layer.Success<ReturnType<typeof gateway>>>,
  more: Servers[string] = {},
  options: Partial<Gateway.Options> = {}
) =>
  Effect.gen(function* () {
    const { received, url } = yield* httpServer(answer)
    return yield* Effect.provide(test(received), gateway({ servers: { one: { url, ...more } }, ...options }))
  }).pipe(Effect.scoped)

const calls = (received: ReadonlyArray<Received>) =>
  received.filter(({ message }) => message["method"] === "tools/call")

const isCall = (message: Record<string, unknown>): boolean => message["method"] === "tools/call"

describe("the reference server", () => {
  it.live("is reached over streamable HTTP, also where nobody says that it is that", () =>
    Effect.gen(function* () {
      const { url } = yield* everythingOverHttp("streamableHttp")
      yield* Effect.gen(function* () {
        assert.strictEqual((yield* said("one__echo", { message: "hi" })).text, "Echo: hi")
        assert.strictEqual((yield* said("two__get-sum", { a: 1, b: 2 })).text, "The sum of 1 and 2 is 3.")
        assert.strictEqual((yield* statusOf("one")).protocol, "2025-11-25")
      }).pipe(Effect.provide(gateway({ servers: { one: { url }, two: { type: "http", url } } })))
    }).pipe(Effect.scoped)
  )

  it.live("is reached over events, where it speaks only those", () =>
    Effect.gen(function* () {
      const { url } = yield* everythingOverHttp("sse")
      yield* Effect.gen(function* () {
        assert.strictEqual((yield* said("one__echo", { message: "hi" })).text, "Echo: hi")
        assert.strictEqual((yield* said("two__echo", { message: "ho" })).text, "Echo: ho")
      }).pipe(Effect.provide(gateway({ servers: { one: { url }, two: { type: "sse", url } } })))
    }).pipe(Effect.scoped)
  )

  it.live("that was killed and is there again is asked again, without anybody's help", () =>
    Effect.gen(function* () {
      const { child, port, url } = yield* everythingOverHttp("streamableHttp")
      yield* Effect.gen(function* () {
        assert.strictEqual((yield* said("one__echo", { message: "1" })).status, "success")
        yield* Effect.callback<void>((resume) => {
          child.once("exit", () => resume(Effect.void))
          child.kill("SIGKILL")
        })
        const gone = yield* said("one__echo", { message: "2" })
        assert.strictEqual(gone.status, "failure")
        assert.include(gone.text, "ECONNREFUSED")
        assert.strictEqual((yield* said("two__echo", { text: "untouched" })).status, "success")
        yield* everythingOverHttp("streamableHttp", port)
        // Whatever is left of its backoff is short after so few failures.
        const back = yield* until(said("one__echo", { message: "3" }), ({ status }) => status === "success")
        assert.strictEqual(back.text, "Echo: 3")
      }).pipe(Effect.provide(gateway({ servers: { one: { url }, two: scripted() } })))
    }).pipe(Effect.scoped)
  )
})

describe("a server behind a URL", () => {
  it.live("is sent its headers and its secret, and nobody else is", () =>
    Effect.gen(function* () {
      const elsewhere = yield* httpServer()
      yield* against(
        (message, response) => {
          if (!isCall(message)) return false
          response.writeHead(307, { location: elsewhere.url }).end()
          return true
        },
        (received) =>
          Effect.gen(function* () {
            const redirected = yield* said("one__echo")
            assert.strictEqual(redirected.status, "failure")
            assert.isAbove(received.length, 2)
            for (const { headers } of received) {
              assert.strictEqual(headers.authorization, "Bearer s3cret-token")
              assert.strictEqual(headers["x-own"], "mine")
            }
            assert.deepEqual(elsewhere.received, [])
            const { lastError, target } = yield* statusOf("one")
            assert.notInclude(`${lastError} ${target} ${redirected.text}`, "s3cret")
          }),
        { headers: { "x-own": "mine" }, credential: "theirs" },
        {
          credential: () =>
            Effect.succeed({ type: "bearer", hosts: ["127.0.0.1"], token: Redacted.make("s3cret-token") })
        }
      )
    }).pipe(Effect.scoped)
  )

  it.live("whose session has ended is given a new one, and the call goes through", () => {
    let forgotten = false
    return against(
      (message, response, request) => {
        if (!isCall(message) || forgotten) return false
        forgotten = true
        assert.match(String(request.headers["mcp-session-id"]), /^session-/)
        return json(response, { error: "no such session" }, 404)
      },
      (received) =>
        Effect.gen(function* () {
          assert.strictEqual((yield* said("one__echo", { a: 1 })).text, '{"a":1}')
          assert.lengthOf(calls(received), 2)
          const [first, second] = calls(received)
          assert.notStrictEqual(first?.headers["mcp-session-id"], second?.headers["mcp-session-id"])
          assert.strictEqual((yield* statusOf("one")).state, "ready")
        })
    )
  })

  it.live("that does not let the gateway in says so, and what it needs", () =>
    against(
      (_, response) => json(response, { error: "who are you?" }, 401),
      () =>
        Effect.gen(function* () {
          const { lastError, state } = yield* statusOf("one")
          assert.strictEqual(state, "failed")
          assert.include(
            lastError,
            "does not let the gateway in: it answered with the status 401; give it a credential"
          )
        })
    )
  )

  it.live(
    "that has too much to do is asked again later, and one that fails is not believed to have done nothing",
    () =>
      Effect.gen(function* () {
        const statusFor = (status: number) =>
          against(
            (message, response) => isCall(message) && json(response, { error: "no" }, status),
            (received) =>
              Effect.map(said("one__echo"), (ended) => ({ ...ended, calls: calls(received).length }))
          )
        const limited = yield* statusFor(429)
        assert.deepInclude(limited.reason, { class: "Overload" })
        assert.strictEqual(limited.calls, 4)
        const broken = yield* statusFor(500)
        assert.deepInclude(broken.reason, { class: "Retryable" })
        // Nobody knows what a gateway on the way has done.
        assert.strictEqual((yield* statusFor(502)).calls, 1)
        assert.deepInclude((yield* statusFor(400)).reason, { class: "Caller" })
      })
  )

  it.live("whose answer is too large is cut off, at once or in events", () =>
    Effect.gen(function* () {
      const large = "x".repeat(300_000)
      const atOnce = yield* against(
        (message, response) =>
          isCall(message) && result(response, message, { content: [{ type: "text", text: large }] }),
        () => said("one__echo"),
        {},
        { maxMessageBytes: 100_000 }
      )
      assert.include(atOnce.text, "its answer is larger than 100000 bytes")
      assert.deepInclude(atOnce.reason, { class: "Defect" })
      const events =
        (parts: number): Answer =>
        (message, response) => {
          if (!isCall(message)) return false
          response.writeHead(200, { "content-type": "text/event-stream" })
          const note = {
            jsonrpc: "2.0",
            method: "notifications/message",
            params: { level: "info", data: "x".repeat(50_000) }
          }
          for (let part = 0; part < parts; part++) response.write(`data: ${JSON.stringify(note)}\n\n`)
          const answer = {
            jsonrpc: "2.0",
            id: message["id"],
            result: { content: [{ type: "text", text: "small" }] }
          }
          response.write(`data: ${JSON.stringify(answer)}\n\n`)
          response.end()
          return true
        }
      // Many events are not one large one.
      const many = yield* against(events(20), () => said("one__echo"), {}, { maxMessageBytes: 100_000 })
      assert.strictEqual(many.text, "small")
      const one = yield* against(
        (message, response) => {
          if (!isCall(message)) return false
          response.writeHead(200, { "content-type": "text/event-stream" })
          response.write(`data: ${large}\n\n`)
          return true
        },
        () => said("one__echo"),
        {},
        { maxMessageBytes: 100_000 }
      )
      assert.strictEqual(one.status, "failure")
    })
  )

  it.live("whose stream ends without the answer fails that call at once, and no other", () => {
    let first = true
    return against(
      (message, response) => {
        if (!isCall(message) || !first) return false
        first = false
        response.writeHead(200, { "content-type": "text/event-stream" })
        response.write(": nothing\n\n")
        setTimeout(() => response.end(), 20)
        return true
      },
      (received) =>
        Effect.gen(function* () {
          const ended = yield* said("one__echo")
          assert.include(ended.text, "its answer ended early")
          assert.deepInclude(ended.reason, { class: "Retryable" })
          assert.strictEqual((yield* said("one__echo")).status, "success")
          assert.lengthOf(
            received.filter(({ message }) => message["method"] === "initialize"),
            1
          )
        })
    )
  })

  it.live(
    "of the newest protocol whose stream of changes ends is listened to again, and asked what was missed",
    () => {
      let listens = 0
      let tools = ["first"]
      return against(
        (message, response) => {
          const { id, method } = message
          const complete = (body: Record<string, unknown>) =>
            result(response, message, { resultType: "complete", ttlMs: 0, cacheScope: "private", ...body })
          if (method === "server/discover") {
            return complete({
              supportedVersions: ["2026-07-28"],
              capabilities: { tools: { listChanged: true } }
            })
          }
          if (method === "tools/list") {
            const names = tools
            tools = ["second"]
            return complete({ tools: names.map((name) => ({ name, inputSchema: { type: "object" } })) })
          }
          if (method !== "subscriptions/listen") return false
          listens++
          response.writeHead(200, { "content-type": "text/event-stream" })
          const acknowledged = {
            jsonrpc: "2.0",
            method: "notifications/subscriptions/acknowledged",
            params: {
              notifications: { toolsListChanged: true },
              _meta: { "io.modelcontextprotocol/subscriptionId": id }
            }
          }
          response.write(`data: ${JSON.stringify(acknowledged)}\n\n`)
          // The first stream is lost, with what it would have told after the first look.
          if (listens === 1) response.end()
          return true
        },
        () =>
          Effect.gen(function* () {
            assert.strictEqual((yield* statusOf("one")).protocol, "2026-07-28")
            const { missing, unaccepted } = yield* until(statusOf("one"), ({ missing }) => missing.length > 0)
            assert.deepEqual([missing, unaccepted.map(({ tool }) => tool)], [["first"], ["second"]])
            assert.strictEqual(listens, 2)
          })
      )
    }
  )

  it.live("that answers with what is no message fails that call, and says so", () =>
    against(
      (message, response) => isCall(message) && json(response, { nothing: "of the kind" }),
      () =>
        Effect.gen(function* () {
          const ended = yield* said("one__echo")
          assert.strictEqual(ended.status, "failure")
        })
    )
  )

  it.live("that is no server of MCP at all is said to be none", () =>
    against(
      (_, response) => {
        response.writeHead(200, { "content-type": "text/html" }).end("<h1>It works!</h1>")
        return true
      },
      () =>
        Effect.gen(function* () {
          assert.strictEqual((yield* statusOf("one")).state, "failed")
          assert.deepEqual(yield* names, [])
        })
    )
  )
})
