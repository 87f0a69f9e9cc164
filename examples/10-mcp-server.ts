/** Governed tools on an MCP server: who asks, what a client sees, and a call that a person approves in between. */
import { Console, Effect, Layer, Schema } from "effect"
import { McpProtocol, McpTest, Tool, Toolkit } from "effect/ai"
import { ToolAnnotations as Annotate, Approvals, Handlers, Interlock, Principal } from "effect-interlock"
import * as Mcp from "effect-interlock/mcp"

const name = Schema.Struct({ name: Schema.String })
const note = (tool: string) => Tool.make(tool, { parameters: name, success: Schema.String })
const tools = Toolkit.make(
  note("read_note").annotate(Tool.Readonly, true).annotate(Annotate.Capabilities, ["read_data"]),
  note("write_note").annotate(Annotate.Capabilities, ["write_data"]),
  note("share_note").annotate(Annotate.Capabilities, ["read_data"])
)

const handlers = Handlers.toLayer(tools, {
  read_note: ({ name }) => `the note ${name}`,
  write_note: ({ name }) => `wrote ${name}`,
  share_note: ({ name }) => `shared ${name}`
})

const ada = Principal.make({ id: "ada", roles: ["read"] })

const program = Effect.gen(function* () {
  const governance = yield* Layer.build(Interlock.layer({ policy: { requireConfirmation: ["share_*"] } }))
  const Notes = Mcp.layer(tools).pipe(
    // Over stdio whoever started the process is behind every call; over HTTP, `Mcp.principals` tells them by token.
    Layer.provide(Mcp.visibility(tools).combine(Mcp.principal(ada)).layer),
    Layer.provide([handlers, Layer.succeedContext(governance)])
  )
  // A client in this process; McpServer.layerStdio and layerHttp serve `Notes` to others.
  const client = yield* McpTest.makeClient(Notes, { protocols: [McpProtocol.v2025_11_25] })

  const listed = yield* client.listTools()
  yield* Console.log(`listed: ${listed.tools.map((tool) => tool.name).join(", ")}`)

  const call = Effect.fnUntraced(function* (tool: string, args: Record<string, unknown>) {
    const { _meta, content, isError } = yield* client.callTool({ name: tool, arguments: args })
    const [part] = content
    const text = part?.type === "text" ? (part.text.split(". ")[0] ?? "") : ""
    yield* Console.log(`${tool} → ${isError === true ? "error: " : ""}${text}`)
    return String(_meta?.["interlock/request"])
  })
  yield* call("read_note", { name: "a" })
  yield* call("read_note", { title: "a" })
  // Hiding is not denying: the call comes in all the same, is denied, and leaves its record.
  yield* call("write_note", { name: "a" })
  // Where the client can ask its human, it would have been asked here.
  const request = yield* call("share_note", { name: "a" })
  yield* Principal.provide(
    Effect.flatMap(Approvals.Approvals, (approvals) => approvals.grant(request)),
    ada
  ).pipe(Effect.provide(governance))
  // The same call made again is what was confirmed; and once is once.
  yield* call("share_note", { name: "a" })
  yield* call("share_note", { name: "a" })
}).pipe(Effect.scoped)

await Effect.runPromise(program)
