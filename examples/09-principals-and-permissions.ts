/** Who may use what: capabilities, roles, grants of single tools, and what each principal gets to see. */
import { Console, Effect, Layer, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import {
  ToolAnnotations as Annotate,
  Capability,
  Handlers,
  Interlock,
  Permissions,
  Principal,
  ToolExecutor
} from "effect-interlock"

const name = Schema.Struct({ name: Schema.String })
const tools = Toolkit.make(
  Tool.make("read_record", { parameters: name, success: Schema.String }).annotate(Annotate.Capabilities, [
    "read_data"
  ]),
  Tool.make("read_salary", { parameters: name, success: Schema.Number }).annotate(Annotate.Capabilities, [
    "read_data",
    "pii_access"
  ]),
  Tool.make("delete_record", { parameters: name, success: Schema.String }).annotate(Annotate.Capabilities, [
    "delete_data"
  ]),
  // Needs nothing, and says so. A tool that says nothing at all is "unknown", refused below.
  Tool.make("help", { success: Schema.String }).annotate(Annotate.Capabilities, []),
  Tool.make("legacy", { success: Schema.String })
)

const handlers = Handlers.toLayer(tools, {
  read_record: ({ name }) => `the record of ${name}`,
  read_salary: () => 5000,
  delete_record: ({ name }) => `${name} is gone`,
  help: () => "ask away",
  legacy: () => "who knows what this does"
})

const governance = Interlock.layer({
  permissions: { roles: { payroll: ["read_data", "pii_access"] }, undeclared: "deny" }
})

const principals = [
  Principal.anonymous,
  Principal.make({ id: "reader", roles: ["read"] }),
  Principal.make({ id: "payroll", roles: ["payroll"] }),
  Principal.make({ id: "cleaner", capabilities: [Capability.tool("delete_*")] }),
  Principal.make({ id: "admin", roles: ["admin"] })
]

const program = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(tools)
  const permissions = yield* Permissions.Permissions

  for (const principal of principals) {
    const seen = yield* Principal.provide(executor.list(), principal)
    yield* Console.log(`${principal.id} sees: ${seen.map((tool) => tool.name).join(", ")}`)
  }

  const reader = principals[1]!
  const access = yield* Principal.provide(permissions.canUse(tools.tools.read_salary), reader)
  yield* Console.log(access._tag === "Refused" ? `${access.message} (${access.missing})` : access._tag)

  // Hiding a tool is not denying it: every call is checked again, before its arguments are looked at.
  const { error } = yield* executor
    .execute({ tool: "read_salary", params: { wrong: true } })
    .pipe(Principal.provide(reader))
  yield* Console.log(`${error?.code}: ${error?.message}`)
})

await program.pipe(Effect.provide(Layer.merge(governance, handlers)), Effect.runPromise)
