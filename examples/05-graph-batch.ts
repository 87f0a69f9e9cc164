/** A fixed workflow as a graph: calls take values from the results of others, and run as soon as those are there. */
import { Console, Effect, Layer, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { Graph, Handlers, Interlock, ToolExecutor } from "effect-interlock"

const tools = Toolkit.make(
  Tool.make("extract", {
    parameters: Schema.Struct({ file: Schema.String }),
    success: Schema.Struct({ title: Schema.String, words: Schema.Int })
  }),
  Tool.make("search", {
    parameters: Schema.Struct({ query: Schema.String }),
    success: Schema.Struct({ items: Schema.Array(Schema.String) })
  }),
  Tool.make("format", {
    parameters: Schema.Struct({ heading: Schema.String, items: Schema.Array(Schema.String) }),
    success: Schema.String
  })
)

const handlers = Handlers.toLayer(tools, {
  extract: ({ file }) => {
    if (file.endsWith(".exe")) throw Object.assign(new Error("not a document"), { status: 415 })
    return { title: `The title of ${file}`, words: 1200 }
  },
  search: async ({ query }) => ({ items: [`more about "${query}"`, `less about "${query}"`] }),
  format: ({ heading, items }) => [heading, ...items.map((item) => `- ${item}`)].join("\n")
})

const program = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(tools)

  const report = (file: string) =>
    Graph.run(executor, (g) => {
      const page = g.call("extract", { file })
      const hits = g.call("search", { query: page.at("title") })
      return g.call("format", { heading: page.at("title"), items: hits.at("items") })
    })

  const { output } = yield* report("notes.md")
  yield* Console.log(output)

  // What depends on a call that failed is skipped; everything has a result, in the order of the calls.
  const failed = yield* report("setup.exe")
  for (const { attempts, error, status, tool } of failed.results) {
    yield* Console.log(`${tool}: ${status} after ${attempts} attempts. ${error?.message}`)
  }

  // A reference is typed: `words` is a number, and a query is a string.
  const wrong = Graph.run(executor, (g) => {
    const page = g.call("extract", { file: "notes.md" })
    // @ts-expect-error a reference to a number is no query
    return g.call("search", { query: page.at("words") })
  })
  yield* Console.log((yield* wrong).results.map(({ error, status }) => error?.message ?? status).join("; "))
})

await program.pipe(Effect.provide(Layer.merge(Interlock.layer(), handlers)), Effect.runPromise)
