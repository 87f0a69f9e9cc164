/** A toolkit, its handlers, one layer: every call is decided, run and recorded. */
import { setTimeout } from "node:timers/promises"
import { Console, Effect, Layer, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import {
  ToolAnnotations as Annotate,
  Handlers,
  Interlock,
  Principal,
  type ToolCall,
  ToolExecutor
} from "effect-interlock"

const weather = Tool.make("weather", {
  description: "The weather of a city",
  parameters: Schema.Struct({ city: Schema.String }),
  success: Schema.Struct({ celsius: Schema.Number })
})
  .annotate(Tool.Readonly, true)
  .annotate(Annotate.Capabilities, ["network_access"])

const fahrenheit = Tool.make("fahrenheit", {
  parameters: Schema.Struct({ celsius: Schema.Number }),
  success: Schema.Number
}).annotate(Annotate.Capabilities, [])

const deleteAccount = Tool.make("delete_account", {
  parameters: Schema.Struct({ id: Schema.String })
}).annotate(Annotate.Capabilities, ["write_data"])

const tools = Toolkit.make(weather, fahrenheit, deleteAccount)

// A handler is a plain function, a promise or an Effect. The signal aborts on a timeout or an interruption.
const handlers = Handlers.toLayer(tools, {
  fahrenheit: ({ celsius }) => celsius * 1.8 + 32,
  weather: async ({ city }, { signal }) => {
    await setTimeout(50, undefined, { signal })
    return { celsius: city.length }
  },
  delete_account: ({ id }) => Effect.log(`deleted ${id}`)
})

const governance = Interlock.layer({
  policy: { requireConfirmation: ["delete_*"], allowedDomains: ["*.example.com"] },
  rateLimits: [{ limit: 100, window: "1 minute", by: "principal" }]
})

const program = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(tools)

  // `run` is for code that knows the types: values in and out, errors in the error channel.
  const { celsius } = yield* executor.run("weather", { city: "Oslo" })
  const converted = yield* executor.run("fahrenheit", { celsius })
  yield* Console.log(`${celsius} °C is ${converted} °F`)

  // `execute` is for callers that do not: JSON in, a result out, never a failure.
  const show = (call: ToolCall) =>
    Effect.flatMap(executor.execute(call), ({ error, status, tool, value }) =>
      Console.log(`${tool} → ${status}: ${error?.message ?? JSON.stringify(value)}`)
    )
  yield* show({ tool: "weather", params: { city: "Rome" } })
  yield* show({ tool: "weather", params: { town: "Rome" } })
  yield* show({ tool: "weather", params: { city: "https://evil.test/" } })
  yield* show({ tool: "delete_account", params: { id: "42" } })

  // The principal is the calling fiber's.
  yield* show({ tool: "weather", params: { city: "Oslo" } }).pipe(Principal.provide(Principal.anonymous))
})

const ada = Principal.make({ id: "ada", roles: ["write"] })

await program.pipe(
  Principal.provide(ada),
  Effect.provide(Layer.merge(governance, handlers)),
  Effect.runPromise
)
