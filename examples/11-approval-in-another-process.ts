/** A call that needs another person's approval: asked for here, granted by a second process, run by a third. */
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Console, Effect, Layer, Redacted, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { Approvals, Handlers, Interlock, Principal, ToolAnnotations, ToolExecutor } from "effect-interlock"
import { SqlApprovals, SqlAuditLog, Sqlite } from "effect-interlock/sql"

const tools = Toolkit.make(
  Tool.make("pay", {
    parameters: Schema.Struct({ to: Schema.String, amount: Schema.Int }),
    success: Schema.String
  }).annotate(ToolAnnotations.Capabilities, ["financial"])
)
const handlers = Handlers.toLayer(tools, { pay: ({ amount, to }) => `paid ${amount} to ${to}` })

const [step = "all", directory = mkdtempSync(join(tmpdir(), "interlock-")), argument = ""] =
  process.argv.slice(2)

// What the processes share: the keys, and the file that requests and records are kept in.
const governance = Interlock.layer({
  keyring: { active: "2026", keys: { "2026": Redacted.make("a key from your secret store, 32 or more") } },
  policy: { requireConfirmation: ["pay"] }, // money: so another person must approve
  approvals: SqlApprovals.layer(),
  audit: SqlAuditLog.layer()
}).pipe(Layer.provide(Sqlite.layer({ filename: join(directory, "interlock.db") })))

const grace = Principal.make({ id: "grace", capabilities: ["financial"] })
const ada = Principal.make({ id: "ada" })

const ask = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(tools)
  const result = yield* executor.execute({ tool: "pay", params: { to: "Curie", amount: 120 } })
  yield* Console.error(`grace asks to pay: ${result.status}`)
}).pipe(Principal.provide(grace))

const approve = Effect.gen(function* () {
  const approvals = yield* Approvals.Approvals
  for (const { id, principal, risk, tool, view } of yield* approvals.list({ state: "pending" })) {
    yield* Console.error(`ada sees ${principal}'s ${tool} ${JSON.stringify(view.value)}, risk ${risk}`)
    const { token } = yield* approvals.grant(id)
    yield* Console.log(token)
  }
}).pipe(Principal.provide(ada))

const run = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(tools)
  for (const attempt of ["with the token", "with the token again"]) {
    const { error, status, value } = yield* executor.resume(argument)
    yield* Console.error(`${attempt}: ${status}, ${value ?? error?.message}`)
  }
}).pipe(Principal.provide(grace))

const programs = { ask, approve, run }
if (step === "all") {
  const next = (name: string, token = ""): string => {
    const args = [import.meta.filename, name, directory, token]
    const { status, stdout } = spawnSync(process.execPath, args, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"]
    })
    if (status !== 0) throw new Error(`${name} failed`)
    return stdout.trim()
  }
  next("ask")
  next("run", next("approve"))
  rmSync(directory, { recursive: true })
} else {
  await Effect.runPromise(
    Effect.provide(
      programs[step as keyof typeof programs],
      Layer.merge(handlers, governance)
    ) as Effect.Effect<void>
  )
}
