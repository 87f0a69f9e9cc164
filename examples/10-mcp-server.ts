/** A governed toolkit on an MCP server: who asks is known per request, and everybody sees only their own tools. */
import { Console, Effect, Layer, Schema } from "effect"
import { McpProtocol, McpServer, McpTest, Tool, Toolkit } from "effect/ai"
import { ToolAnnotations as Annotate, Handlers, Interlock, Principal } from "effect-interlock"
import * as Mcp from "effect-interlock/mcp"

const name = Schema.Struct({ name: Schema.String })
const tools = Toolkit.make(
  Tool.make("read_note", { description: "Reads a note", parameters: name, success: Schema.String })
    .annotate(Tool.Readonly, true)
    .annotate(Annotate.Capabilities, ["read_data"]),
  Tool.make("write_note", {
    description: "Writes a note",
    parameters: name,
    success: Schema.String
  }).annotate(Annotate.Capabilities, ["write_data"])
)

const handlers = Handlers.toLayer(tools, {
  read_note: ({ name }) => `the note ${name}`,
  write_note: ({ name }) => `wrote ${name}`
})

const guest = Principal.make({ id: "guest", roles: ["read"] })
const users = new Map([["Bearer ada's token", Principal.make({ id: "ada", roles: ["write"] })]])

const authenticate = McpServer.middleware((request, { headers }) =>
  Principal.provide(request, users.get(headers["authorization"] ?? "") ?? guest)
)

const Notes = Mcp.layer(tools).pipe(
  Layer.provide(Mcp.visibility(tools).combine(authenticate).layer),
  Layer.provide([handlers, Interlock.layer()])
)

// A client in this process sends no headers: it is the guest. McpServer.layerStdio and layerHttp serve `Notes` to others.
const program = Effect.gen(function* () {
  const client = yield* McpTest.makeClient(Notes, { protocols: [McpProtocol.v2025_11_25] })

  const listed = yield* client.listTools()
  yield* Console.log(`listed: ${listed.tools.map((tool) => tool.name).join(", ")}`)

  const call = Effect.fnUntraced(function* (tool: string, args: Record<string, unknown>) {
    const { content, isError } = yield* client.callTool({ name: tool, arguments: args })
    const text = content.map((part) => (part.type === "text" ? part.text : part.type)).join(" ")
    yield* Console.log(`${tool} → ${isError === true ? "error: " : ""}${text}`)
  })
  yield* call("read_note", { name: "a" })
  yield* call("read_note", { title: "a" })
  // Hiding is not denying: the call comes in all the same, is denied, and leaves its record.
  yield* call("write_note", { name: "a" })
}).pipe(Effect.scoped)

await Effect.runPromise(program)
