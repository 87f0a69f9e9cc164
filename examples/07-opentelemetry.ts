/** Spans with OpenTelemetry's GenAI names, sent to a collector: here a small one on loopback that prints them. */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { Console, Effect, Layer, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { FetchHttpClient } from "effect/http"
import { Otlp } from "effect/observability"
import { ToolAnnotations as Annotate, Interlock, ToolExecutor } from "effect-interlock"

interface Span {
  readonly name: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly attributes: ReadonlyArray<{ readonly key: string; readonly value: Record<string, unknown> }>
  readonly events: ReadonlyArray<{ readonly name: string }>
}

/** What any collector does with `/v1/traces`: take the spans. */
const spans: Array<Span> = []
const collector = createServer(async (request, response) => {
  const { resourceSpans = [] } = JSON.parse(Buffer.concat(await request.toArray()).toString())
  for (const { scopeSpans } of resourceSpans) for (const scope of scopeSpans) spans.push(...scope.spans)
  response.writeHead(200, { "content-type": "application/json" }).end("{}")
})
await new Promise<void>((listening) => collector.listen(0, "127.0.0.1", listening))
const baseUrl = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`

class Busy extends Schema.TaggedError<Busy>()("Busy", {}) {}

const tools = Toolkit.make(
  Tool.make("charge", {
    description: "Charges a card",
    parameters: Schema.Struct({ card: Schema.String, cents: Schema.Int }),
    success: Schema.String,
    failure: Busy
  }).annotate(Annotate.Classify, () => ({ class: "Overload", retryAfter: "20 millis" }))
)

let busy = true
const charge = Effect.suspend(() => {
  if (!busy) return Effect.succeed("receipt 1")
  busy = false
  return Effect.fail(new Busy())
})
const handlers = tools.toLayer({ charge: () => charge.pipe(Effect.withSpan("POST /charges")) })

const program = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(tools)
  yield* executor.run("charge", { card: "4242 4242 4242 4242", cents: 1999 })
  yield* executor.execute({ tool: "charge", params: { card: "4242 4242 4242 4242", cents: 0.5 } })
}).pipe(Effect.withSpan("checkout"))

// Governance finds whichever tracer the caller has; the exporter sends what is left when its layer closes.
await program.pipe(
  Effect.provide(Layer.merge(Interlock.layer(), handlers)),
  Effect.provide(
    Otlp.layerJson({ baseUrl, resource: { serviceName: "shop" } }).pipe(Layer.provide(FetchHttpClient.layer))
  ),
  Effect.runPromise
)
collector.close().closeAllConnections()

const tree = (parent: string | undefined, indent: string): Effect.Effect<void> =>
  Effect.forEach(
    spans.filter((span) => span.parentSpanId === parent),
    ({ attributes, events, name, spanId }) => {
      const said = attributes.map(({ key, value }) => `${key}=${Object.values(value)}`)
      const told = [...said, ...events.map((event) => `(${event.name})`)].join(" ")
      return Effect.andThen(Console.log(`${indent}${name}  ${told}`), tree(spanId, `${indent}  `))
    },
    { discard: true }
  )
await Effect.runPromise(tree(undefined, ""))
