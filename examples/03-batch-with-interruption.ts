/** A batch in which one critical call fails: what runs is interrupted, what had not begun is skipped. */
import { Console, Effect, Fiber, Layer, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { ToolAnnotations as Annotate, Batch, Interlock, ToolExecutor } from "effect-interlock"

class OutOfStock extends Schema.TaggedError<OutOfStock>()("OutOfStock", {}) {}

const tools = Toolkit.make(
  Tool.make("reserve", {
    parameters: Schema.Struct({ article: Schema.String }),
    success: Schema.Struct({ reserved: Schema.String }),
    failure: OutOfStock
  }),
  // Nobody stops an order because a mail was not sent.
  Tool.make("send_mail", { parameters: Schema.Struct({ to: Schema.String }) }).annotate(
    Annotate.Importance,
    "optional"
  )
)

let released = 0
const handlers = tools.toLayer({
  reserve: Effect.fnUntraced(
    function* ({ article }) {
      if (article === "sold out") {
        yield* Effect.sleep("60 millis")
        return yield* new OutOfStock()
      }
      yield* Effect.sleep(article === "quick" ? "10 millis" : "10 seconds")
      return { reserved: article }
    },
    Effect.onInterrupt(() => Effect.sync(() => released++))
  ),
  send_mail: () => Effect.die("no mail server")
})

const reserve = (article: string) => ({ id: article, tool: "reserve", params: { article } })

const program = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(tools)

  const batch = yield* Batch.parallel(
    executor,
    [
      reserve("quick"),
      { id: "mail", tool: "send_mail", params: { to: "ada@example.com" } },
      reserve("slow 1"),
      reserve("slow 2"),
      reserve("sold out"),
      reserve("never begun")
    ],
    { concurrency: 3, failFast: true }
  )
  for (const { callId, error, latency, status } of batch.results) {
    const why = error === undefined ? "" : `  ${error.code}`
    yield* Console.log(`${callId.padEnd(12)} ${status.padEnd(10)} ${String(latency).padStart(4)} ms${why}`)
  }
  yield* Console.log(`stopped by "${batch.stoppedBy}" after ${batch.time} ms; ${released} finalizers ran`)

  // Interrupting a batch interrupts everything in it, and waits until the last finalizer has run.
  const fiber = yield* Effect.forkChild(Batch.parallel(executor, [reserve("slow 3"), reserve("slow 4")]))
  yield* Effect.sleep("20 millis")
  yield* Fiber.interrupt(fiber)
  yield* Console.log(`interrupted a batch of 2; ${released} finalizers ran`)
})

await program.pipe(Effect.provide(Layer.merge(Interlock.layer(), handlers)), Effect.runPromise)
