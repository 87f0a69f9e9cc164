/**
 * What Effect's own `McpServer` does not do, shown without anything of ours: `docs/mcp.md` lists each. A test that fails
 * here says that Effect has learnt it, and that its line can go.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Queue } from "effect"
import { McpProtocol, McpSchema, McpServer, McpTest } from "effect/ai"
import { serveHttp } from "./support/mcpHarness.ts"

// --- A bare server ---------------------------------------------------------

type Handle = () => Effect.Effect<McpSchema.CallToolResult | McpSchema.InputRequired>

const answer = (...content: McpSchema.CallToolResult["content"]) =>
  Effect.succeed(new McpSchema.CallToolResult({ content }))

const addTool = (name: string, handle: Handle, annotations?: object) =>
  Effect.flatMap(McpServer.McpServer, (server) =>
    server.addTool({
      tool: new McpSchema.Tool({ name, inputSchema: { type: "object" }, annotations: annotations as never }),
      annotations: Context.empty(),
      handle
    })
  )

const tool = (name: string, handle: Handle = () => answer(), annotations?: object) =>
  Layer.effectDiscard(addTool(name, handle, annotations))

const resource = McpServer.resource({ uri: "test://a", name: "a", content: Effect.succeed("a") })

/** Over HTTP, as it goes over the wire. */
const open = Effect.fnUntraced(function* <A, E, R>(registrations: Layer.Layer<A, E, R>) {
  const url = yield* serveHttp(registrations)
  const send = (method: string, init: RequestInit, headers: Readonly<Record<string, string>>) =>
    Effect.promise(async () => {
      const response = await fetch(url, { method, ...init, headers })
      return { status: response.status, headers: response.headers, text: await response.text() }
    })
  const post = (body: object, headers: Readonly<Record<string, string>> = {}) =>
    send(
      "POST",
      { body: JSON.stringify({ jsonrpc: "2.0", id: 1, ...body }) },
      {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        ...headers
      }
    )
  const initialized = yield* post({
    method: "initialize",
    params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "test", version: "1" } }
  })
  const session = {
    "mcp-session-id": String(initialized.headers.get("mcp-session-id")),
    "mcp-protocol-version": "2025-11-25"
  }
  return {
    initialized: JSON.parse(initialized.text).result as Record<string, unknown>,
    inSession: (body: object) => post(body, session),
    listen: send("GET", {}, { ...session, accept: "text/event-stream" }),
    post
  }
})

const modern = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientCapabilities": {},
  "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" }
}

// --- What it does not do ---------------------------------------------------

describe("Effect's own MCP server", () => {
  it.live("has no subscriptions to resources in a session over HTTP", () =>
    Effect.gen(function* () {
      const { inSession, initialized } = yield* open(resource)
      assert.deepInclude(initialized.capabilities, { resources: { listChanged: true, subscribe: false } })
      for (const method of ["resources/subscribe", "resources/unsubscribe"]) {
        const { text } = yield* inSession({ method, params: { uri: "test://a" } })
        assert.deepInclude(JSON.parse(text).error, {
          code: -32601,
          message: "Resource subscriptions are not supported"
        })
      }
    }).pipe(Effect.scoped)
  )

  it.live("has no stream on which a session over HTTP could hear of changes", () =>
    Effect.gen(function* () {
      const { initialized, listen } = yield* open(tool("a"))
      assert.deepInclude(initialized.capabilities, { tools: { listChanged: true } })
      assert.strictEqual((yield* listen).status, 405)
    }).pipe(Effect.scoped)
  )

  it.live(
    "gives the events of a response no ids, so that a client that was cut off cannot take it up again",
    () =>
      Effect.gen(function* () {
        const told = Effect.flatMap(McpServer.McpServer, ({ notifications }) =>
          Effect.succeed(
            tool("a", () =>
              Effect.andThen(
                notifications["notifications/progress"]({ progressToken: 1, progress: 1 }),
                answer()
              )
            )
          )
        )
        const { inSession } = yield* open(Layer.unwrap(told))
        const { headers, text } = yield* inSession({
          method: "tools/call",
          params: { name: "a", _meta: { progressToken: 1 } }
        })
        assert.strictEqual(headers.get("content-type"), "text/event-stream")
        assert.include(text, "notifications/progress")
        assert.notMatch(text, /^id:/m)
      }).pipe(Effect.scoped)
  )

  it.live("does not know the extension of tasks", () =>
    Effect.gen(function* () {
      const { post } = yield* open(tool("a"))
      const ask = (method: string, params: object = {}) =>
        post(
          { method, params: { ...params, _meta: modern } },
          { "mcp-protocol-version": "2026-07-28", "mcp-method": method }
        )
      assert.notInclude((yield* ask("server/discover")).text, "tasks")
      const { status, text } = yield* ask("tasks/get", { taskId: "a" })
      assert.strictEqual(status, 404)
      assert.strictEqual(JSON.parse(text).error.code, -32601)
    }).pipe(Effect.scoped)
  )

  it.live("lists a tool that gives one hint with all four", () =>
    Effect.gen(function* () {
      const { inSession } = yield* open(tool("a", undefined, { idempotentHint: true }))
      const { text } = yield* inSession({ method: "tools/list" })
      assert.deepStrictEqual(JSON.parse(text).result.tools[0].annotations, {
        idempotentHint: true,
        readOnlyHint: false,
        destructiveHint: true,
        openWorldHint: true
      })
    }).pipe(Effect.scoped)
  )

  it.effect("refuses a name that is not registered before anyone could write it down", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const looking = McpServer.middleware((request, { target }) =>
        Effect.andThen(
          Effect.sync(() => seen.push(target)),
          request
        )
      )
      const client = yield* McpTest.makeClient(Layer.provide(tool("a"), looking.layer), {
        protocols: [McpProtocol.v2025_11_25]
      })
      const error = yield* Effect.flip(client.callTool({ name: "no_such_tool", arguments: {} }))
      assert.strictEqual(error.code, -32602)
      assert.deepStrictEqual(seen, [])
    }).pipe(Effect.scoped)
  )
})

// --- What is done about it -------------------------------------------------

describe("Effect's own MCP server, where ours does something about it,", () => {
  it.live("says that it has no tools for good when it has none as a client connects", () =>
    Effect.gen(function* () {
      const { initialized } = yield* open(resource)
      assert.notProperty(initialized.capabilities, "tools")
    }).pipe(Effect.scoped)
  )

  it.effect("forgets no tool", () =>
    Effect.gen(function* () {
      const client = yield* McpTest.makeClient(tool("a"), { protocols: [McpProtocol.v2025_11_25] })
      assert.deepStrictEqual(
        Object.keys(client.server).filter((method) => /remove|delete|unregister/i.test(method)),
        []
      )
    }).pipe(Effect.scoped)
  )

  it.effect("fails a call that has succeeded, where the client's version has no such content", () =>
    Effect.gen(function* () {
      let ran = 0
      const sound = McpSchema.AudioContent.make({ data: new Uint8Array([1]), mimeType: "audio/wav" })
      const speaks = tool("a", () => {
        ran++
        return answer(sound)
      })
      const client = yield* McpTest.makeClient(speaks, { protocols: [McpProtocol.v2024_11_05] })
      const error = yield* Effect.flip(client.callTool({ name: "a", arguments: {} }))
      assert.strictEqual(error.code, -32602)
      assert.strictEqual(ran, 1)
      assert.strictEqual(yield* Queue.size(client.notifications), 0)
    }).pipe(Effect.scoped)
  )

  it.effect("fails a call that asks for input, where the client's version has sessions", () =>
    Effect.gen(function* () {
      const asks = tool("a", () => Effect.succeed(new McpSchema.InputRequired({ requestState: "x" })))
      const client = yield* McpTest.makeClient(asks, { protocols: [McpProtocol.v2025_11_25] })
      const error = yield* Effect.flip(client.callTool({ name: "a", arguments: {} }))
      assert.include(error.message, "not supported")
    }).pipe(Effect.scoped)
  )
})
