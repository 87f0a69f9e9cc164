/** A tool that breaks down and recovers: why its circuit opened, when it is tried again, and what health says. */
import { setTimeout } from "node:timers/promises"
import { Console, Effect, Fiber, Layer, Schema, Stream } from "effect"
import { Tool, Toolkit } from "effect/ai"
import {
  ToolAnnotations as Annotate,
  CircuitBreaker,
  Handlers,
  Health,
  Interlock,
  ToolExecutor
} from "effect-interlock"

const tools = Toolkit.make(
  Tool.make("rates", { success: Schema.Record(Schema.String, Schema.Number) })
    .annotate(Tool.Readonly, true)
    .annotate(Annotate.Retries, 1)
)

let isDown = false
const handlers = Handlers.toLayer(tools, {
  rates: async () => {
    await setTimeout(5)
    // Neither the caller nor a model is shown this text.
    if (isDown) throw new Error("rates.internal:8443 is unreachable")
    return { EUR: 1.08 }
  }
})

const governance = Interlock.layer({
  breaker: { trip: CircuitBreaker.consecutive(4), openFor: "300 millis", growth: 2 }
})

const program = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(tools)
  const breaker = yield* CircuitBreaker.CircuitBreaker
  const health = yield* Health.Health

  const watcher = yield* breaker.transitions.pipe(
    Stream.takeUntil(({ to }) => to === "Closed"),
    Stream.runForEach(({ from, to, why }) =>
      Console.log(`  ${from} → ${to}${why === undefined ? "" : `: ${why}`}`)
    ),
    Effect.forkChild({ startImmediately: true })
  )

  const call = Effect.gen(function* () {
    const { attempts, error, status } = yield* executor.execute({ tool: "rates", params: {} })
    yield* Console.log(`${status}, attempts: ${attempts}${error === undefined ? "" : `. ${error.message}`}`)
  })

  yield* call
  isDown = true
  // Each attempt counts: two calls with two attempts open it, and the third is refused at once.
  yield* Effect.repeat(call, { times: 2 })

  const { nextProbeAt, since } = yield* breaker.state("rates")
  yield* Console.log(`the next probe may run ${nextProbeAt! - since!} ms after it opened`)

  yield* Effect.sleep("350 millis")
  yield* call // The probe fails: open again, for twice as long.
  isDown = false
  yield* Effect.sleep("650 millis")
  yield* call // The probe succeeds: closed.
  yield* Fiber.join(watcher)

  const { consecutiveFailures, counts, isHealthy, p95, reached, successRate, total } =
    yield* health.get("rates")
  yield* Console.log(
    `${total} calls, ${reached} reached the tool, ${counts.circuit_open} refused; ` +
      `${Math.round(successRate * 100)} % succeeded, p95 ${Math.round(p95)} ms, ` +
      `${consecutiveFailures} failures in a row, ${isHealthy ? "healthy" : "not healthy"}`
  )
})

await program.pipe(Effect.provide(Layer.merge(governance, handlers)), Effect.runPromise)
