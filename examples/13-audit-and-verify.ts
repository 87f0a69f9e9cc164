/** A record that can be trusted: written before the effect, chained, queried, verified, tampered with, forgotten. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { NodeFileSystem, NodePath } from "@effect/platform-node"
import { Console, Effect, Layer, Redacted, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import {
  ToolAnnotations as Annotate,
  AuditLog,
  FileAuditLog,
  Handlers,
  Interlock,
  Principal,
  ToolExecutor
} from "effect-interlock"

const tools = Toolkit.make(
  Tool.make("sign_in", {
    parameters: Schema.Struct({ user: Schema.String, pin: Schema.String.annotate(Annotate.sensitive) }),
    success: Schema.String
  }),
  Tool.make("delete_user", { parameters: Schema.Struct({ user: Schema.String }), success: Schema.Void })
)
const handlers = Handlers.toLayer(tools, { sign_in: ({ user }) => `hello ${user}`, delete_user: () => {} })

const directory = mkdtempSync(join(tmpdir(), "interlock-"))
const governance = Interlock.layer({
  keyring: { active: "2026", keys: { "2026": Redacted.make("a key from your secret store, 32 or more") } },
  policy: { deny: ["delete_*"] },
  audit: FileAuditLog.layer({ directory, fsync: "every" })
}).pipe(Layer.provide(Layer.merge(NodeFileSystem.layer, NodePath.layer)))

const ada = Principal.make({ id: "ada" })

const calls = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(tools)
  yield* executor.execute({ tool: "sign_in", params: { user: "ada", pin: "4711" } })
  yield* executor.execute({ tool: "delete_user", params: { user: "bob" } })
}).pipe(Principal.provide(ada))

const look = Effect.gen(function* () {
  const audit = yield* AuditLog.AuditLog
  for (const { personal, phase, sequence, status, tool } of yield* audit.query({ order: "oldest" })) {
    const who =
      personal === "forgotten" ? personal : `${personal.principal} ${JSON.stringify(personal.arguments)}`
    yield* Console.log(`${sequence} ${phase} ${tool} ${status} ${who}`)
  }
  yield* Console.log(yield* audit.verify())
})

const forget = Effect.gen(function* () {
  const audit = yield* AuditLog.AuditLog
  yield* audit.forget({ principal: "ada" }, { by: "privacy desk", why: "asked for it" })
})

const withLog = <A, E>(
  program: Effect.Effect<A, E, Interlock.Services | Tool.HandlersFor<typeof tools.tools>>
) => Effect.runPromise(Effect.provide(program, Layer.merge(handlers, governance)) as Effect.Effect<A>)

await withLog(Effect.andThen(calls, look))
await withLog(Effect.andThen(forget, look)) // who it was is gone, and the chain holds

const [file = ""] = readdirSync(directory).filter((name) => name.endsWith(".jsonl"))
const text = readFileSync(join(directory, file), "utf8")
writeFileSync(join(directory, file), text.replace("policy_denied", "success"))
await withLog(look) // the record that was changed is named
rmSync(directory, { recursive: true })
