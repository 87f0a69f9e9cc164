/** Who a client of an MCP server over HTTP has to be. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { ToolAnnotations as Annotate, CallRecord, Handlers, Principal } from "effect-interlock"
import * as Mcp from "effect-interlock/mcp"
import * as Testing from "effect-interlock/testing"
import { serveHttp } from "./support/mcpHarness.ts"

const who = Toolkit.make(
  Tool.make("who", { success: Schema.String }),
  Tool.make("data", { success: Schema.String }).annotate(Annotate.Capabilities, ["read_data"])
)
const whoHandlers = Handlers.toLayer(who, { who: () => "", data: () => "" })

const ada = Principal.make({ id: "ada", roles: ["read"] })
const bob = Principal.make({ id: "bob" })
const tokens = [
  { token: Redacted.make("the-token-of-ada"), principal: ada },
  { token: Redacted.make("the-token-of-bob"), principal: bob }
]

const open = Effect.fnUntraced(function* (withoutToken?: Principal.Principal) {
  const services = yield* Layer.build(Testing.layer())
  const records: Array<CallRecord.CallRecord> = []
  yield* Context.get(services, CallRecord.CallRecorder).add({ onEnd: (record) => records.push(record) })
  const url = yield* serveHttp(
    Mcp.layer(who).pipe(
      Layer.provide(Mcp.visibility(who).layer),
      Layer.provide([whoHandlers, Layer.succeedContext(services)])
    ),
    Mcp.principals({ tokens, ...(withoutToken === undefined ? {} : { withoutToken }) }).layer
  )
  const post = (body: object, headers: Readonly<Record<string, string>> = {}) =>
    Effect.promise(async () => {
      const response = await fetch(url, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
          ...headers
        },
        body: JSON.stringify({ jsonrpc: "2.0", id: 1, ...body })
      })
      const text = await response.text()
      return { status: response.status, headers: response.headers, text }
    })
  const begin = (headers: Readonly<Record<string, string>>) =>
    post(
      {
        method: "initialize",
        params: {
          protocolVersion: "2025-11-25",
          capabilities: {},
          clientInfo: { name: "test", version: "1" }
        }
      },
      headers
    )
  return { begin, post, records, url }
})

const as = (name: string) => ({ authorization: `Bearer the-token-of-${name}` })

describe("a token over HTTP", () => {
  it.live("is needed for everything, and must be a known one", () =>
    Effect.gen(function* () {
      const { begin, post, records, url } = yield* open()
      const bad: ReadonlyArray<Record<string, string>> = [
        {},
        { authorization: "Bearer the-token-of-eve" },
        { authorization: "Bearer the-token-of-ad" },
        { authorization: "Bearer " },
        { authorization: "Basic dGhlLXRva2VuLW9mLWFkYQ==" },
        { authorization: "the-token-of-ada" }
      ]
      for (const headers of bad) {
        const answer = yield* begin(headers)
        assert.strictEqual(answer.status, 401, JSON.stringify(headers))
        assert.strictEqual(answer.headers.get("www-authenticate"), "Bearer")
        assert.isNull(answer.headers.get("mcp-session-id"))
        assert.strictEqual((yield* post({ method: "tools/list" }, headers)).status, 401)
      }
      const deleted = yield* Effect.promise(() => fetch(url, { method: "DELETE" }))
      assert.strictEqual(deleted.status, 401)
      assert.lengthOf(records, 0)
      assert.strictEqual((yield* begin({ authorization: "bearer  the-token-of-ada" })).status, 200)
    }).pipe(Effect.scoped)
  )

  it.live("says who calls, who sees what, and in which session", () =>
    Effect.gen(function* () {
      const { begin, post, records } = yield* open()
      const sessionOf = (name: string) =>
        Effect.map(begin(as(name)), ({ headers }) => ({
          ...as(name),
          "mcp-session-id": String(headers.get("mcp-session-id"))
        }))
      const adas = yield* sessionOf("ada")
      const bobs = yield* sessionOf("bob")
      assert.include((yield* post({ method: "tools/list" }, adas)).text, '"data"')
      assert.notInclude((yield* post({ method: "tools/list" }, bobs)).text, '"data"')
      const call = { method: "tools/call", params: { name: "who", arguments: {} } }
      yield* post(call, adas)
      yield* post(call, yield* sessionOf("ada"))
      yield* post(call, bobs)
      assert.deepStrictEqual(
        records.map(({ principal }) => principal),
        ["ada", "ada", "bob"]
      )
      assert.strictEqual(new Set(records.map(({ session }) => session)).size, 3)
      assert.strictEqual(new Set(records.map(({ run }) => run)).size, 3)
      for (const { session } of records) assert.notInclude(adas["mcp-session-id"], String(session))
      // A session is its principal's.
      assert.strictEqual((yield* post(call, { ...adas, ...as("bob") })).status, 404)
      assert.strictEqual((yield* post(call, { ...as("bob"), "mcp-session-id": "made-up" })).status, 404)
      assert.strictEqual((yield* post(call, adas)).status, 200)
    }).pipe(Effect.scoped)
  )

  it.live("may be left out where there is somebody for that, and still not be wrong", () =>
    Effect.gen(function* () {
      const { begin } = yield* open(Principal.anonymous)
      assert.strictEqual((yield* begin({})).status, 200)
      assert.strictEqual((yield* begin({ authorization: "Bearer the-token-of-eve" })).status, 401)
    }).pipe(Effect.scoped)
  )

  it("is refused where it is configured if it is short, odd, or given twice", () => {
    const of = (...tokens: ReadonlyArray<string>) =>
      Mcp.principals({ tokens: tokens.map((token) => ({ token: Redacted.make(token), principal: ada })) })
    assert.throws(() => of("short"), /at least 16 visible ASCII characters/)
    assert.throws(() => of("with a space in it"), RangeError)
    assert.throws(() => of("the-token-of-ada", "the-token-of-ada"), /given twice/)
    try {
      of("s3cret")
    } catch (error) {
      assert.notInclude(String(error), "s3cret")
    }
  })
})
