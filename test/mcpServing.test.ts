/** What a client sees of governed tools: how they are listed, and what their results look like. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Queue, Redacted, Schema } from "effect"
import { McpProtocol, type McpSchema, McpServer, McpTest, Prompt, Tool, Toolkit } from "effect/ai"
import { ToolAnnotations as Annotate, Handlers, type Interlock } from "effect-interlock"
import * as Mcp from "effect-interlock/mcp"
import * as Testing from "effect-interlock/testing"
import { pixel, silence } from "./support/mcpFixtureTools.ts"

const { audio, CallResult, Icons, image, link, PassesContent, resource, text } = Mcp.Content

type Protocol = (typeof Mcp.protocols)[number]

/** A toolkit's tools over MCP. */
const serve = <T extends Record<string, Tool.Any>>(
  toolkit: Toolkit.Toolkit<T>,
  handlers: Handlers.Handlers<T>,
  protocol: Protocol = McpProtocol.v2025_11_25,
  options: Interlock.Options = {}
) =>
  McpTest.makeClient(
    Mcp.layer(toolkit).pipe(
      Layer.provide([Handlers.toLayer(toolkit, handlers), Testing.layer(options)])
    ) as Layer.Layer<never, never, McpServer.McpServer>,
    { protocols: [protocol] }
  )

/** One tool, as it goes over the wire in a list. */
const listed = (tool: Tool.Any) =>
  Effect.gen(function* () {
    const toolkit = Toolkit.make(tool) as unknown as Toolkit.Toolkit<Record<string, Tool.Any>>
    const server = yield* McpServer.McpServer.make
    const handlers = Handlers.toLayer(toolkit, { [tool.name]: () => undefined } as never)
    yield* Layer.build(
      Mcp.layer(toolkit).pipe(
        Layer.provide([handlers, Testing.layer(), Layer.succeed(McpServer.McpServer, server)])
      )
    )
    const [known] = server.tools
    assert.isDefined(known)
    return known.tool
  }).pipe(Effect.scoped)

// --- In a list -------------------------------------------------------------

const params = Schema.Struct({ to: Schema.String })

class Point extends Schema.Class<Point>("Point")({ x: Schema.Int, y: Schema.Int }) {}
interface Tree {
  readonly name: string
  readonly children: ReadonlyArray<Tree>
}
const Tree: Schema.Codec<Tree> = Schema.Struct({
  name: Schema.String,
  children: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
}).annotate({ identifier: "Tree" })

const integer = { type: "integer", minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER }

describe("a tool in a list", () => {
  it.effect("says nothing that it was not told to", () =>
    Effect.gen(function* () {
      const tool = yield* listed(Tool.make("plain", { parameters: params }))
      for (const unsaid of ["title", "annotations", "outputSchema", "icons", "_meta"] as const) {
        assert.isUndefined(tool[unsaid])
      }
      assert.deepStrictEqual(tool.inputSchema, {
        type: "object",
        properties: { to: { type: "string" } },
        required: ["to"],
        additionalProperties: false
      })
    })
  )

  it.effect("shows its title, hints, icons and what else it brings", () =>
    Effect.gen(function* () {
      const icon = { src: "https://example.com/a.png", mimeType: "image/png", sizes: ["48x48"] }
      const tool = yield* listed(
        Tool.make("full", { description: "All of it" })
          .annotate(Tool.Title, "Full")
          .annotate(Tool.Idempotent, true)
          .annotate(Tool.OpenWorld, false)
          .annotate(Annotate.Capabilities, ["delete_data"])
          .annotate(Tool.Meta, { "example.com/key": 1 })
          .annotate(Icons, [icon])
      )
      assert.strictEqual(tool.title, "Full")
      assert.strictEqual(tool.description, "All of it")
      assert.deepInclude(tool.annotations, {
        title: "Full",
        idempotentHint: true,
        openWorldHint: false,
        // Whoever deletes data destroys.
        destructiveHint: true
      })
      assert.deepStrictEqual(tool._meta, { "example.com/key": 1 })
      assert.deepInclude(tool.icons?.[0], icon)
    })
  )

  it.effect("that only reads is not said to destroy", () =>
    Effect.gen(function* () {
      const tool = yield* listed(Tool.make("look").annotate(Tool.Readonly, true))
      assert.deepInclude(tool.annotations, { readOnlyHint: true, destructiveHint: false })
    })
  )

  it.effect("has an object at the root of its parameters, however they are made", () =>
    Effect.gen(function* () {
      const inputOf = (parameters: Schema.Top) =>
        Effect.map(
          listed(Tool.make("any", { parameters: parameters as never })),
          ({ inputSchema }) => inputSchema
        )
      assert.deepInclude(yield* inputOf(Point), {
        type: "object",
        properties: { x: integer, y: integer },
        additionalProperties: false
      })
      assert.deepInclude(yield* inputOf(Tree), { type: "object", required: ["name", "children"] })
      assert.property((yield* inputOf(Tree)).$defs, "Tree")
      assert.deepStrictEqual(yield* inputOf(Schema.Struct({})), {
        type: "object",
        additionalProperties: false
      })
      assert.deepInclude(yield* inputOf(Schema.Union([params, Schema.Struct({ all: Schema.Boolean })])), {
        type: "object"
      })
    })
  )

  it.effect("that lets unknown parameters through says so, and a raw schema is shown as it is", () =>
    Effect.gen(function* () {
      const open = Tool.make("open", { parameters: params }).annotate(Annotate.UnknownParams, "allow")
      assert.strictEqual((yield* listed(open)).inputSchema.additionalProperties, true)
      const raw = { type: "object", properties: { a: true }, if: { required: ["a"] } } as const
      const dynamic = Tool.dynamic("raw", { parameters: raw as never })
      assert.deepStrictEqual((yield* listed(dynamic)).inputSchema, raw as never)
    })
  )

  it.effect("promises a result only where its schema is all that comes", () =>
    Effect.gen(function* () {
      const outputOf = (success: Schema.Top) =>
        Effect.map(
          listed(Tool.make("any", { success: success as never })),
          ({ outputSchema }) => outputSchema
        )
      assert.deepInclude(yield* outputOf(Schema.Struct({ sum: Schema.Int })), {
        type: "object",
        required: ["sum"]
      })
      assert.deepInclude(yield* outputOf(Point), { type: "object" })
      assert.deepStrictEqual(yield* outputOf(Schema.String), { type: "string" })
      for (const nothing of [
        Schema.Void,
        Schema.Undefined,
        Schema.Unknown,
        Schema.Any,
        Schema.Struct({ token: Schema.Redacted(Schema.String) })
      ]) {
        assert.isUndefined(yield* outputOf(nothing))
      }
      const outputSchema = { type: "object", properties: { a: { type: "number" } } }
      const passing = Tool.make("passing", { success: CallResult }).annotate(PassesContent, { outputSchema })
      assert.deepStrictEqual((yield* listed(passing)).outputSchema, outputSchema)
    })
  )
})

// --- As a result -----------------------------------------------------------

const everything = [
  text("a text"),
  image(pixel, "image/png"),
  audio(silence, "audio/wav"),
  resource({ uri: "test://a", mimeType: "text/plain", contents: "held" }),
  resource({ uri: "test://b", contents: new Uint8Array([1, 2, 3]) }),
  link({ uri: "https://example.com/", name: "a page" })
]

const contents = Toolkit.make(
  Tool.make("give", { success: CallResult }).annotate(PassesContent, {}),
  Tool.make("fail", { success: CallResult, failure: CallResult })
    .annotate(PassesContent, {})
    .annotate(Annotate.Retries, 0),
  Tool.make("odd", { success: CallResult }).annotate(PassesContent, {}),
  Tool.make("broken", { success: CallResult }).annotate(PassesContent, {})
)
const contentHandlers: Handlers.Handlers<typeof contents.tools> = {
  give: () => ({ content: everything, structuredContent: { a: 1 }, _meta: { "example.com/b": 2 } }),
  fail: () =>
    Effect.fail({ content: [text("no"), image(pixel, "image/png")], structuredContent: { code: 7 } }),
  odd: () => ({
    content: [
      { type: "hologram", mimeType: "model/x" },
      { type: "image", data: "no base64!", mimeType: "image/png" }
    ]
  }),
  broken: () => ({ content: "a text" }) as never
}

const typesOf = (content: McpSchema.CallToolResult["content"]) => content.map(({ type }) => type).join()
const textsOf = (content: McpSchema.CallToolResult["content"]) =>
  content.flatMap((part) => (part.type === "text" ? [part.text] : []))

describe("a result that is MCP's own", () => {
  it.effect("is handed on as it is, binary data and all", () =>
    Effect.gen(function* () {
      const client = yield* serve(contents, contentHandlers)
      const { _meta, content, isError, structuredContent } = yield* client.callTool({
        name: "give",
        arguments: {}
      })
      assert.strictEqual(typesOf(content), "text,image,audio,resource,resource,resource_link")
      assert.isTrue(content[1]?.type === "image" && content[1].data.length > 60)
      assert.deepStrictEqual(structuredContent, { a: 1 })
      assert.deepStrictEqual(_meta, { "example.com/b": 2 })
      assert.isUndefined(isError)
    }).pipe(Effect.scoped)
  )

  it.effect("is a failure with its own content, where the tool fails with one", () =>
    Effect.gen(function* () {
      const client = yield* serve(contents, contentHandlers)
      const { _meta, content, isError, structuredContent } = yield* client.callTool({
        name: "fail",
        arguments: {}
      })
      assert.isTrue(isError)
      assert.strictEqual(typesOf(content), "text,image")
      assert.deepStrictEqual(structuredContent, { code: 7 })
      assert.strictEqual(_meta?.["interlock/code"], "TOOL_FAILED")
    }).pipe(Effect.scoped)
  )

  it.effect("says in words what a client's version cannot show, and what is no content at all", () =>
    Effect.gen(function* () {
      const old = yield* serve(contents, contentHandlers, McpProtocol.v2024_11_05)
      const { content } = yield* old.callTool({ name: "give", arguments: {} })
      assert.strictEqual(typesOf(content), "text,image,text,resource,resource,text")
      assert.deepStrictEqual(textsOf(content), [
        "a text",
        "[audio audio/wav that cannot be shown here]",
        "a page: https://example.com/"
      ])
      const client = yield* serve(contents, contentHandlers)
      const odd = yield* client.callTool({ name: "odd", arguments: {} })
      assert.deepStrictEqual(textsOf(odd.content), [
        "[hologram model/x that cannot be shown here]",
        "[image image/png that cannot be shown here]"
      ])
    }).pipe(Effect.scoped)
  )

  it.effect("that does not fit its schema is a failure of the tool", () =>
    Effect.gen(function* () {
      const client = yield* serve(contents, contentHandlers)
      const { content, isError } = yield* client.callTool({ name: "broken", arguments: {} })
      assert.isTrue(isError)
      assert.match(textsOf(content).join(), /^INVALID_RESULT/)
    }).pipe(Effect.scoped)
  )
})

describe("a result of JSON", () => {
  const kit = Toolkit.make(
    Tool.make("record", { success: Schema.Struct({ sum: Schema.Int }) }),
    Tool.make("list", { success: Schema.Array(Schema.Int) }),
    Tool.make("words", { success: Schema.String }),
    Tool.make("nothing", { success: Schema.Void }),
    Tool.make("secret", { success: Schema.Struct({ token: Schema.Redacted(Schema.String) }) }),
    Tool.make("shown", {
      success: Schema.Struct({ page: Schema.String }),
      toModelOutput: ({ page }) => [
        Prompt.makePart("text", { text: `A page: ${page}` }),
        Prompt.makePart("file", { mediaType: "image/png", data: pixel }),
        Prompt.makePart("file", { mediaType: "application/pdf", fileName: "a b.pdf", data: pixel }),
        Prompt.makePart("file", { mediaType: "text/html", data: new URL("https://example.com/") })
      ]
    })
  )
  const handlers: Handlers.Handlers<typeof kit.tools> = {
    record: () => ({ sum: 3 }),
    list: () => [1, 2],
    words: () => 'says "hello"',
    nothing: () => undefined,
    secret: () => ({ token: Redacted.make("s3cret") }),
    shown: () => ({ page: "one" })
  }

  it.effect("is text and structured content, a string as it is", () =>
    Effect.gen(function* () {
      for (const protocol of [McpProtocol.v2025_11_25, McpProtocol.v2026_07_28]) {
        const client = yield* serve(kit, handlers, protocol)
        const call = (name: string) =>
          Effect.map(client.callTool({ name, arguments: {} }), ({ content, structuredContent }) => [
            textsOf(content),
            structuredContent
          ])
        // Objects are all that earlier versions can carry.
        const since2026 = (value: unknown) => (protocol.protocolVersion === "2026-07-28" ? value : undefined)
        assert.deepStrictEqual(yield* call("record"), [['{"sum":3}'], { sum: 3 }])
        assert.deepStrictEqual(yield* call("list"), [["[1,2]"], since2026([1, 2])])
        assert.deepStrictEqual(yield* call("words"), [['says "hello"'], since2026('says "hello"')])
        assert.deepStrictEqual(yield* call("nothing"), [[], undefined])
        assert.notInclude(JSON.stringify(yield* call("secret")), "s3cret")
      }
    }).pipe(Effect.scoped)
  )

  it.effect("is shown as the tool shows it to models", () =>
    Effect.gen(function* () {
      const client = yield* serve(kit, handlers)
      const { content, structuredContent } = yield* client.callTool({ name: "shown", arguments: {} })
      assert.strictEqual(typesOf(content), "text,image,resource,resource_link")
      assert.deepInclude(content[2], { type: "resource" })
      assert.deepStrictEqual(structuredContent, { page: "one" })
    }).pipe(Effect.scoped)
  )

  it.effect("that cannot be shown is the tool's failure, and not the server's", () =>
    Effect.gen(function* () {
      const bad = Toolkit.make(
        Tool.make("bad", {
          success: Schema.String,
          toModelOutput: () => {
            throw new Error("s3cret")
          }
        })
      )
      const client = yield* serve(bad, { bad: () => "x" })
      const { content, isError } = yield* client.callTool({ name: "bad", arguments: {} })
      assert.isTrue(isError)
      assert.match(textsOf(content).join(), /^HANDLER_DEFECT/)
      assert.notInclude(textsOf(content).join(), "s3cret")
    }).pipe(Effect.scoped)
  )

  it.effect("is cut where it is longer than `execute` would give", () =>
    Effect.gen(function* () {
      const long = Toolkit.make(Tool.make("long", { success: Schema.Array(Schema.String) }))
      const client = yield* serve(long, { long: () => ["x".repeat(5000)] }, McpProtocol.v2026_07_28, {
        defaults: { resultBytes: 100 }
      })
      const { content, structuredContent } = yield* client.callTool({ name: "long", arguments: {} })
      const [shown = ""] = textsOf(content)
      assert.isBelow(shown.length, 200)
      assert.match(shown, / \[truncated\]$/)
      // What was promised is kept.
      assert.deepStrictEqual(structuredContent, ["x".repeat(5000)])
    }).pipe(Effect.scoped)
  )
})

// --- While it runs ---------------------------------------------------------

describe("a call that runs", () => {
  const kit = Toolkit.make(
    Tool.make("steps", { success: Schema.String }),
    Tool.make("passing", { success: CallResult }).annotate(PassesContent, {}),
    Tool.make("talks", { success: Schema.String })
  )
  const handlers: Handlers.Handlers<typeof kit.tools> = {
    steps: (_, { preliminary }) =>
      Effect.gen(function* () {
        yield* Mcp.progress({ progress: 10, total: 20, message: "half" })
        yield* Mcp.progress({ progress: 5 })
        yield* preliminary("x".repeat(2000))
        yield* Mcp.progress({ progress: 20, total: 20 })
        return "done"
      }),
    passing: (_, { preliminary }) =>
      Effect.as(preliminary({ content: [text("a"), image(pixel, "image/png"), text("b")] }), { content: [] }),
    talks: () =>
      Effect.gen(function* () {
        yield* Mcp.log("debug", "small")
        yield* Mcp.log("warning", { n: 1 }, "talker")
        return "done"
      })
  }
  const all = Effect.fnUntraced(function* (client: McpTest.Client) {
    const size = yield* Queue.size(client.notifications)
    return yield* Effect.forEach(Array.from({ length: size }), () =>
      Effect.map(Queue.take(client.notifications), ({ payload }) => payload as Record<string, unknown>)
    )
  })

  for (const protocol of [McpProtocol.v2025_11_25, McpProtocol.v2026_07_28]) {
    it.effect(`tells how far it is, in numbers that grow, to who asked (${protocol.protocolVersion})`, () =>
      Effect.gen(function* () {
        const client = yield* serve(kit, handlers, protocol)
        yield* client.callTool({ name: "steps", arguments: {} })
        assert.strictEqual(yield* Queue.size(client.notifications), 0)
        yield* client.callTool({ name: "steps", arguments: {}, _meta: { progressToken: "t" } })
        const told = yield* all(client)
        assert.deepStrictEqual(
          told.map(({ progress }) => progress),
          [10, 11, 20]
        )
        assert.deepInclude(told[0], { progressToken: "t", total: 20, message: "half" })
        assert.strictEqual(String(told[1]?.message).length, 501)
        yield* client.callTool({ name: "passing", arguments: {}, _meta: { progressToken: 7 } })
        assert.deepInclude((yield* all(client))[0], { progressToken: 7, progress: 1, message: "a  b" })
      }).pipe(Effect.scoped)
    )
  }

  it.effect("logs to the client at the level it wants", () =>
    Effect.gen(function* () {
      const client = yield* serve(kit, handlers)
      yield* client.setLevel({ level: "info" })
      yield* client.callTool({ name: "talks", arguments: {} })
      assert.deepStrictEqual(yield* all(client), [{ level: "warning", data: { n: 1 }, logger: "talker" }])
      yield* client.setLevel({ level: "debug" })
      yield* client.callTool({ name: "talks", arguments: {} })
      assert.lengthOf(yield* all(client), 2)
    }).pipe(Effect.scoped)
  )

  it.effect("tells nobody where nobody listens", () =>
    Effect.gen(function* () {
      yield* Mcp.progress({ progress: 1 })
      yield* Mcp.log("info", "nobody")
    })
  )
})
