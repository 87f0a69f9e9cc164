/** Limits: two tiers in two lines, a fair share per tool, and one that waits instead of refusing. */
import { Console, Effect, Layer, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { ToolAnnotations as Annotate, Handlers, Interlock, Principal, ToolExecutor } from "effect-interlock"

const query = Schema.Struct({ query: Schema.String })
const tools = Toolkit.make(
  Tool.make("search", { parameters: query, success: Schema.String }),
  Tool.make("deep_search", { parameters: query, success: Schema.String }).annotate(Annotate.Tags, ["slow"])
)

const handlers = Handlers.toLayer(tools, {
  search: ({ query }) => `found ${query}`,
  deep_search: ({ query }) => `dug up ${query}`
})

// A call takes one from each limit that applies to it, or from none of them.
const governance = Interlock.layer({
  rateLimits: [
    { name: "free tier", limit: 3, window: "1 hour", by: "principal", roles: ["free"] },
    { name: "paid tier", limit: 1000, window: "1 hour", by: "principal", roles: ["paid"] },
    { name: "one tenant", limit: 5000, window: "1 day", by: "tenant" },
    {
      name: "slow tools",
      limit: 2,
      window: "200 millis",
      tags: ["slow"],
      algorithm: "token-bucket",
      onExceeded: "wait"
    }
  ]
})

const program = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(tools)

  const calls = (tool: string, times: number) =>
    Effect.gen(function* () {
      const { id } = yield* Principal.CurrentPrincipal
      const call = executor.execute({ tool, params: { query: "interlocks" } })
      const results = yield* Effect.all(
        Array.from({ length: times }, () => call),
        { concurrency: "unbounded" }
      )
      const refused = results.find(({ status }) => status === "rate_limited")
      const waited = Math.max(...results.map(({ latency }) => latency))
      yield* Console.log(
        `${id}: ${results.filter(({ status }) => status === "success").length} of ${times} calls of ${tool} ` +
          `succeeded, the longest took ${waited < 50 ? "no time" : `about ${Math.round(waited / 100) * 100} ms`}`
      )
      if (refused?.error !== undefined)
        yield* Console.log(`  ${refused.error.code}: ${refused.error.message}`)
    })

  yield* calls("search", 5).pipe(Principal.provide(free))
  yield* calls("search", 5).pipe(Principal.provide(paid))
  // Two at once, then one every 100 ms: the other calls wait in a line.
  yield* calls("deep_search", 5).pipe(Principal.provide(paid))
})

const free = Principal.make({ id: "fred", tenant: "acme", roles: ["free"] })
const paid = Principal.make({ id: "paula", tenant: "acme", roles: ["paid"] })

await program.pipe(Effect.provide(Layer.merge(governance, handlers)), Effect.runPromise)
