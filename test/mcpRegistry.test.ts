/** Tools that come and go while they are served over MCP. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Logger, Queue, Schema } from "effect"
import { McpProtocol, McpSchema, McpServer, McpTest, Tool, Toolkit } from "effect/ai"
import {
  ToolAnnotations as Annotate,
  Approvals,
  CallRecord,
  Handlers,
  Principal,
  ToolRegistry,
  Toolset
} from "effect-interlock"
import * as Mcp from "effect-interlock/mcp"
import * as Testing from "effect-interlock/testing"
import { connect, overHttp, serveHttp } from "./support/mcpHarness.ts"

// --- The world -------------------------------------------------------------

const text = { parameters: Schema.Struct({ text: Schema.String }), success: Schema.String }

/** A toolset of one tool, which says who answers. */
const one = (name: string, says: string, description = "A tool") => {
  const toolkit = Toolkit.make(Tool.make(name, { ...text, description }))
  return Toolset.make(
    toolkit,
    Handlers.toLayer(toolkit, { [name]: ({ text }: { readonly text: string }) => `${says} ${text}` } as never)
  )
}

const ada = Principal.make({ id: "ada" })

const world = Effect.gen(function* () {
  const services = yield* Layer.build(Testing.layer({ policy: { requireConfirmation: ["pay"] } }))
  const governance = Layer.succeedContext(services)
  const built = yield* Layer.build(ToolRegistry.layer.pipe(Layer.provide(governance)))
  const registry = Context.get(built, ToolRegistry.ToolRegistry)
  const records: Array<CallRecord.CallRecord> = []
  yield* Context.get(services, CallRecord.CallRecorder).add({ onEnd: (record) => records.push(record) })
  const served = Mcp.layerRegistry.pipe(
    Layer.provide(Mcp.visibilityRegistry.combine(Mcp.principal(ada)).layer),
    Layer.provide([governance, Layer.succeed(ToolRegistry.ToolRegistry, registry)])
  )
  return { approvals: Context.get(services, Approvals.Approvals), records, registry, served }
})

const client = Effect.gen(function* () {
  const { served, ...rest } = yield* world
  const client = yield* McpTest.makeClient(served, { protocols: [McpProtocol.v2025_11_25] })
  const names = Effect.map(client.listTools(), ({ tools }) => tools.map(({ name }) => name))
  const call = (name: string, text = "x") =>
    Effect.map(client.callTool({ name, arguments: { text } }), ({ content, isError = false }) => {
      const [part] = content
      return { isError, text: part?.type === "text" ? part.text : "" }
    })
  /** The next change that the client is told of. */
  const changed = Effect.map(Queue.take(client.notifications), ({ method }) => method)
  /** How many changes it was told of and has not looked at. */
  const unread = Queue.size(client.notifications)
  return { ...rest, call, changed, client, names, unread }
})

const listChanged = "notifications/tools/list_changed"

// --- Live ------------------------------------------------------------------

describe("a registry over MCP", () => {
  it.live("serves what is put in, and tells of it", () =>
    Effect.gen(function* () {
      const { call, changed, names, records, registry } = yield* client
      assert.deepStrictEqual(yield* names, [])
      yield* registry.put("a", one("first", "a"))
      assert.strictEqual(yield* changed, listChanged)
      assert.deepStrictEqual(yield* names, ["first"])
      yield* registry.put("b", one("second", "b"))
      assert.strictEqual(yield* changed, listChanged)
      assert.deepStrictEqual(yield* names, ["first", "second"])
      assert.strictEqual((yield* call("second")).text, "b x")
      assert.deepInclude(records[0], { door: "mcp", tool: "second", principal: "ada" })
    }).pipe(Effect.scoped)
  )

  it.live("serves what was there before it", () =>
    Effect.gen(function* () {
      const { registry, served } = yield* world
      yield* registry.put("a", one("first", "a"))
      const client = yield* McpTest.makeClient(served, { protocols: [McpProtocol.v2025_11_25] })
      assert.lengthOf((yield* client.listTools()).tools, 1)
    }).pipe(Effect.scoped)
  )

  it.live("does not find what was taken out, and tells of it", () =>
    Effect.gen(function* () {
      const { call, changed, names, registry } = yield* client
      yield* registry.put("a", one("first", "a"))
      yield* changed
      yield* registry.remove("a")
      assert.strictEqual(yield* changed, listChanged)
      assert.deepStrictEqual(yield* names, [])
      const error = yield* Effect.flip(call("first"))
      assert.deepInclude(error, { code: -32602, message: "Tool 'first' not found" })
      yield* registry.put("a", one("first", "again"))
      assert.strictEqual(yield* changed, listChanged)
      assert.strictEqual((yield* call("first")).text, "again x")
    }).pipe(Effect.scoped)
  )

  it.live("runs the new handler of a tool that was replaced, and tells only of what a client sees", () =>
    Effect.gen(function* () {
      const { call, changed, client: mcp, registry, unread } = yield* client
      yield* registry.put("a", one("first", "old"))
      yield* changed
      yield* registry.put("a", one("first", "new"))
      assert.strictEqual((yield* call("first")).text, "new x")
      yield* mcp.listTools()
      assert.strictEqual(yield* unread, 0)
      yield* registry.put("a", one("first", "new", "Another description"))
      assert.strictEqual(yield* changed, listChanged)
      assert.strictEqual((yield* mcp.listTools()).tools[0]?.description, "Another description")
    }).pipe(Effect.scoped)
  )

  it.live("leaves out a tool that cannot be listed, says so once, and serves the others", () =>
    Effect.gen(function* () {
      const said: Array<unknown> = []
      const logger = Logger.make(({ message }) => said.push(message))
      yield* Effect.gen(function* () {
        const { changed, names, registry } = yield* client
        const odd = Toolkit.make(Tool.make("odd", { parameters: Schema.Array(Schema.String) as never }))
        yield* registry.put("odd", Toolset.make(odd, Handlers.toLayer(odd, { odd: () => undefined })))
        yield* registry.put("a", one("first", "a"))
        yield* changed
        assert.deepStrictEqual(yield* names, ["first"])
        assert.strictEqual(said.filter((line) => String(line).includes('"odd" is not served')).length, 1)
      }).pipe(Effect.provide(Logger.layer([logger])))
    }).pipe(Effect.scoped)
  )

  it.live("shows a principal only what it may use", () =>
    Effect.gen(function* () {
      const { changed, names, registry } = yield* client
      const hidden = Toolkit.make(Tool.make("hidden", text).annotate(Annotate.Capabilities, ["financial"]))
      yield* registry.put(
        "both",
        Toolset.merge(
          one("first", "a"),
          Toolset.make(hidden, Handlers.toLayer(hidden, { hidden: () => "seen" }))
        )
      )
      yield* changed
      assert.deepStrictEqual(yield* names, ["first"])
    }).pipe(Effect.scoped)
  )

  it.live("gives every call an id of its own, whatever has changed in between", () =>
    Effect.gen(function* () {
      const { call, changed, records, registry } = yield* client
      yield* registry.put("a", one("first", "a"))
      yield* changed
      yield* call("first")
      yield* registry.put("b", one("second", "b"))
      yield* call("first")
      assert.strictEqual(new Set(records.map(({ callId }) => callId)).size, 2)
    }).pipe(Effect.scoped)
  )

  it.live("keeps a tool's own condition on its clients", () =>
    Effect.gen(function* () {
      const { changed, names, registry } = yield* client
      const never = Toolkit.make(Tool.make("never", text).annotate(McpSchema.EnabledWhen, () => false))
      yield* registry.put("never", Toolset.make(never, Handlers.toLayer(never, { never: () => "no" })))
      yield* registry.put("a", one("first", "a"))
      yield* changed
      assert.deepStrictEqual(yield* names, ["first"])
    }).pipe(Effect.scoped)
  )

  it.live("runs what was approved when the same call is made again, once", () =>
    Effect.gen(function* () {
      const { approvals, call, changed, registry } = yield* client
      yield* registry.put("a", one("pay", "paid"))
      yield* changed
      assert.match((yield* call("pay")).text, /^PENDING_CONFIRMATION/)
      const [request] = yield* approvals.list()
      yield* Principal.provide(approvals.grant(String(request?.id)), ada)
      // Also when others come and go meanwhile.
      yield* registry.put("b", one("second", "b"))
      assert.strictEqual((yield* call("pay")).text, "paid x")
      assert.match((yield* call("pay")).text, /^PENDING_CONFIRMATION/)
    }).pipe(Effect.scoped)
  )

  it.live("runs on what was begun when its tool is taken out", () =>
    Effect.gen(function* () {
      const { call, changed, registry } = yield* client
      const slow = Toolkit.make(Tool.make("slow", text))
      const begun = yield* Deferred.make<void>()
      const gate = yield* Deferred.make<string>()
      const handler = () => Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(gate))
      yield* registry.put("slow", Toolset.make(slow, Handlers.toLayer(slow, { slow: handler })))
      yield* changed
      const fiber = yield* Effect.forkChild(call("slow"))
      yield* Deferred.await(begun)
      yield* registry.remove("slow")
      yield* Deferred.succeed(gate, "done")
      assert.strictEqual((yield* Fiber.join(fiber)).text, "done")
    }).pipe(Effect.scoped)
  )
})

// --- What a client is told when it connects --------------------------------

describe("an empty registry over MCP", () => {
  for (const era of ["2025-11-25", "2026-07-28"] as const) {
    it.live(`says over ${era} that there may be tools, and tells when there are`, () =>
      Effect.gen(function* () {
        const { registry, served } = yield* world
        const url = yield* serveHttp(served)
        const seen: Array<ReadonlyArray<string>> = []
        const client = yield* connect(era, overHttp(url), {
          listChanged: {
            tools: {
              autoRefresh: true,
              debounceMs: 0,
              onChanged: (_, tools) => seen.push((tools ?? []).map(({ name }) => name))
            }
          }
        })
        assert.isTrue(client.getServerCapabilities()?.tools?.listChanged)
        yield* registry.put("a", one("first", "a"))
        const { tools } = yield* Effect.promise(() => client.listTools())
        assert.deepStrictEqual(
          tools.map(({ name }) => name),
          ["first"]
        )
        // Over HTTP Effect's server has no stream on which a session could hear of changes: see `mcpBare.test.ts`.
        if (era === "2026-07-28") {
          yield* Effect.promise(async () => {
            while (seen.length === 0) await new Promise((resolve) => setImmediate(resolve))
          })
          assert.deepStrictEqual(seen.at(-1), ["first"])
        }
      }).pipe(Effect.scoped)
    )
  }
})

describe("a tool that nobody can list", () => {
  it.effect("is a defect that names it, where a toolkit has it", () =>
    Effect.gen(function* () {
      const odd = Toolkit.make(Tool.make("odd", { parameters: Schema.Array(Schema.String) as never }))
      const layer = Mcp.layer(odd).pipe(
        Layer.provide([Handlers.toLayer(odd, { odd: () => undefined }), Testing.layer()]),
        Layer.provide(McpServer.McpServer.layer)
      )
      const exit = yield* Effect.exit(Effect.scoped(Layer.build(layer)))
      assert.include(String(exit), 'The tool "odd" cannot be listed over MCP')
    })
  )
})
