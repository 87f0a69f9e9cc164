/** Somebody else's MCP server behind one policy: pinned, permitted, confirmed, recorded. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { NodeServices } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import { AuditLog, Interlock, Principal, ToolRegistry } from "effect-interlock"
import { Gateway, Pins } from "effect-interlock/mcp"

const folder = mkdtempSync(join(tmpdir(), "interlock-example-"))
writeFileSync(join(folder, "plan.txt"), "Measure twice, cut once.")

// The reference filesystem server, as any client's configuration names it.
const server = join(
  import.meta.dirname,
  "../node_modules/@modelcontextprotocol/server-filesystem/dist/index.js"
)
const upstreams = Gateway.layer({
  servers: {
    files: {
      command: process.execPath,
      args: [server, folder],
      capabilities: ["file_system"],
      tools: { deny: ["read_file"] } // deprecated: the others do its work
    }
  }
}).pipe(Layer.provide(Pins.layerFile(join(folder, "interlock.lock.json"))))

// Globs match the upstream's names, too: `write_*` is `files__write_file`.
const governance = Interlock.layer({
  policy: { requireConfirmation: ["write_*", "move_*"], deny: ["edit_*"] }
})

const program = Effect.gen(function* () {
  const { executor } = yield* ToolRegistry.ToolRegistry
  const call = Effect.fnUntraced(function* (tool: string, params: unknown) {
    const { error, status, value } = yield* (yield* executor).execute({ tool, params })
    const text = (value as { readonly content: ReadonlyArray<{ readonly text?: string }> } | undefined)
      ?.content[0]?.text
    yield* Console.log(
      `${tool}: ${status}${text === undefined ? "" : `, ${text.split("\n")[0]}`}${error === undefined ? "" : `, ${error.code}`}`
    )
  })
  yield* call("files__read_text_file", { path: join(folder, "plan.txt") })
  yield* call("files__read_text_file", { file: "plan.txt" }) // the schema is checked here, and nothing is sent
  yield* call("files__write_file", { path: join(folder, "plan.txt"), content: "" })
  yield* call("files__edit_file", { path: join(folder, "plan.txt"), edits: [] })
  yield* call("files__read_file", { path: join(folder, "plan.txt") })

  const [files] = yield* (yield* Gateway.Gateway).status
  yield* Console.log(
    `${files?.name} is ${files?.state}, with ${files?.tools.length} tools that were accepted when they were first seen`
  )
  const { calls, statuses } = yield* (yield* AuditLog.AuditLog).report()
  yield* Console.log(
    `on record: ${calls} calls, ${statuses.map(({ calls, status }) => `${calls} ${status}`).join(", ")}`
  )
})

await program.pipe(
  Principal.provide(Principal.make({ id: "ada", capabilities: ["file_system"] })),
  Effect.provide(
    upstreams.pipe(
      Layer.provideMerge(ToolRegistry.layer),
      Layer.provideMerge(governance),
      Layer.provideMerge(NodeServices.layer)
    )
  ),
  Effect.ensuring(Effect.sync(() => rmSync(folder, { recursive: true }))),
  Effect.runPromise
)
