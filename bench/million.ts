/** A million calls from a stream through a batch: the memory it takes at most, and how fast it goes. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Batch, Health } from "effect-interlock"
import { table, thousands, verify } from "./support.ts"
import { executor, services, usual } from "./tools.ts"

const size = 1_000_000
const target = 250

function* callsUpTo(count: number) {
  for (let n = 1; n <= count; n++) {
    yield {
      tool: n % 2 === 0 ? "convert" : "convert_later",
      params: { amount: n, from: "EUR", to: "USD" }
    }
  }
}

export const run = (): Promise<void> =>
  Effect.gen(function* () {
    const context = yield* Layer.build(services(usual))
    const tools = yield* Effect.provide(executor, context)
    // As a file is read: a few calls at a time.
    const calls = Stream.fromIterable(callsUpTo(size), { chunkSize: 64 })
    const start = process.memoryUsage.rss()
    const startedAt = performance.now()
    const cpu = process.cpuUsage()
    let peak = start
    let seen = 0
    let sum = 0
    yield* Stream.runForEach(Batch.stream(tools, calls, { concurrency: 64 }), (result) =>
      Effect.sync(() => {
        sum += (result.value as { readonly amount: number }).amount
        if (++seen % 500 === 0) peak = Math.max(peak, process.memoryUsage.rss())
      })
    )
    const used = process.cpuUsage(cpu)
    const seconds = (performance.now() - startedAt) / 1000
    verify(seen === size, "every call has a result")
    verify(Math.abs(sum / 1.1 - (size * (size + 1)) / 2) < size, "every result is its call's")
    const health = Context.get(context, Health.Health)
    const counted = (yield* health.get("convert")).total + (yield* health.get("convert_later")).total
    verify(counted === size, "health has counted every call")
    const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(0)
    console.log(
      table([
        [`${thousands(size)} calls from a stream, 64 at once`, "measured", "target"],
        ["resident memory at most, MiB", mib(peak), `< ${target}`],
        ["  of that before the first call", mib(start), ""],
        ["calls per second", thousands(size / seconds), ""],
        ["CPU per call, µs", ((used.user + used.system) / size).toFixed(1), ""]
      ])
    )
    if (peak / 2 ** 20 >= target) process.exitCode = 1
  }).pipe(Effect.scoped, Effect.runPromise)
