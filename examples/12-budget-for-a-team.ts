/** Money for a team: limits per call, person, team and month, reserved before it is spent and settled after. */
import { Console, Effect, Layer, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import {
  ToolAnnotations as Annotate,
  Budget,
  CurrentCall,
  Handlers,
  Interlock,
  Principal,
  ToolExecutor
} from "effect-interlock"

const usd = Budget.usd // "0.02" is 20,000 millionths, exactly

const tools = Toolkit.make(
  Tool.make("ask_model", { parameters: Schema.Struct({ words: Schema.Int }), success: Schema.String })
    // The most that a call can cost: so much is put aside before it runs.
    .annotate(Annotate.Cost, (params) => usd("0.002") * (params as { words: number }).words)
)

const handlers = Handlers.toLayer(tools, {
  ask_model: ({ words }) =>
    Effect.gen(function* () {
      const call = yield* CurrentCall
      call?.spend(usd("0.001") * words) // what the provider says it cost: the difference is given back
      return `${words} words`
    })
})

const governance = Interlock.layer({
  budget: [
    { name: "one call", max: usd("0.50"), per: ["call"] },
    { name: "a person's day", max: usd("0.30"), per: ["principal"], window: "day", timeZone: "Europe/Paris" },
    { name: "leads", max: usd("5"), per: ["principal"], window: "day", roles: ["lead"], mode: "soft" },
    { name: "the team's month", max: usd("0.80"), per: ["tenant"], window: "month" }
  ]
})

const person = (id: string) => Principal.make({ id, tenant: "research" })

const program = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(tools)
  const budget = yield* Effect.service(Budget.Budget)
  const ask = (who: string, words: number) =>
    Effect.gen(function* () {
      const { cost, error, status } = yield* executor.execute({ tool: "ask_model", params: { words } })
      yield* Console.log(`${who}, ${words} words: ${status} ${cost?.["usd"] ?? 0} ${error?.message ?? ""}`)
    }).pipe(Principal.provide(person(who)))

  yield* ask("ada", 300) // above what one call may cost
  yield* ask("ada", 100)
  yield* ask("ada", 100)
  yield* ask("ada", 100) // 0.20 are settled: another 0.20 do not fit into 0.30
  yield* ask("grace", 100)

  for (const { amount, key } of yield* budget.spent({ tenant: "research", by: ["principal", "tool"] })) {
    yield* Console.log(`${key["principal"]} spent ${amount} on ${key["tool"]}`)
  }
  // The provider gives something back.
  yield* budget.credit({ principal: person("ada") }, { usd: usd("0.05") }, "a failed answer was not billed")
  for (const { key, limit, max, reserved, settled } of yield* budget.standing) {
    yield* Console.log(`${limit} ${key}: ${settled} settled, ${reserved} reserved, of ${max}`)
  }
})

await Effect.runPromise(Effect.provide(program, Layer.merge(handlers, governance)))
