/** A policy understood before it is enforced: evaluated, tried in shadow, replayed on past calls. */
import { Console, Effect, Layer, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import {
  AuditLog,
  Evaluation,
  Handlers,
  Interlock,
  Principal,
  Replay,
  SecurityPolicy,
  ToolExecutor
} from "effect-interlock"

const tools = Toolkit.make(
  Tool.make("fetch_page", { parameters: Schema.Struct({ url: Schema.String }), success: Schema.String }),
  Tool.make("delete_page", { parameters: Schema.Struct({ url: Schema.String }), success: Schema.Void })
)
const handlers = Handlers.toLayer(tools, { fetch_page: ({ url }) => `<${url}>`, delete_page: () => {} })

// What is enforced today, and what it should become.
const today: SecurityPolicy.Policy = { requireConfirmation: ["delete_*"] }
const candidate: SecurityPolicy.Policy = { deny: ["delete_*"], allowedDomains: ["*.company.com"] }

const program = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(tools)
  const audit = yield* AuditLog.AuditLog
  const policy = yield* SecurityPolicy.SecurityPolicy

  // Yesterday's calls, with the candidate in shadow: what it says is recorded, not enforced.
  for (const url of ["https://www.company.com/a", "https://elsewhere.org/b"]) {
    yield* executor.execute({ tool: "fetch_page", params: { url } })
  }
  yield* executor.execute({ tool: "delete_page", params: { url: "https://www.company.com/a" } })
  const records = yield* audit.query({ kind: "tool_call", phase: "outcome", order: "oldest" })
  for (const { sequence, status, tool, verdicts = [] } of records) {
    const shadow = verdicts.find((verdict) => verdict.shadow)?.verdict ?? "the same"
    yield* Console.log(`${sequence} ${tool}: ${status}; in shadow: ${shadow}`)
  }

  // The same calls again, decided by another candidate with a limit.
  const replayed = yield* Replay.run(
    records,
    { policy: candidate, rateLimits: [{ name: "one a minute", limit: 1, window: "1 minute" }] },
    { tools: Object.values(tools.tools) }
  )
  yield* Console.log(Replay.format(replayed))

  // One call, stage by stage, without running it.
  yield* policy.set(candidate)
  const params = { url: "https://elsewhere.org/b" }
  yield* Console.log(Evaluation.format(yield* executor.evaluate({ tool: "fetch_page", params })))
})

program.pipe(
  Principal.provide(Principal.make({ id: "ada" })),
  Effect.provide(Layer.merge(handlers, Interlock.layer({ policy: today, shadow: { policy: candidate } }))),
  Effect.runPromise
)
