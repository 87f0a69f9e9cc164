/**
 * What governing one call costs: CPU time and allocation, beside the bare
 * handler, Effect's own ungoverned `Toolkit.handle`, and the same governance
 * composed of Effect's combinators.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Batch, CircuitBreaker, Health, Interlock, ToolExecutor } from "effect-interlock"
import * as Naive from "./naive.ts"
import { costs, inOneFiber, type Subject, table, verify } from "./support.ts"
import { convert, executor, handlers, kit, params, services, usual } from "./tools.ts"

const count = 20_000
const rounds = 9

const subjects = Effect.gen(function* () {
  const context = yield* Layer.build(services(usual))
  const plain = yield* Layer.build(Layer.merge(handlers, Interlock.layer()))
  const tools = yield* Effect.provide(executor, context)
  const ungoverned = yield* Effect.provide(kit, context)
  const withDefaults = yield* Effect.provide(ToolExecutor.make(kit), plain)
  yield* Context.get(context, CircuitBreaker.CircuitBreaker).forceOpen("broken", "benchmark")
  const naive = yield* Naive.make((given) => Effect.succeed(convert(given)))
  const naiveLater = yield* Naive.make((given) => Effect.promise(async () => convert(given)))
  const naiveOpen = yield* Naive.make((given) => Effect.succeed(convert(given)))
  yield* naiveOpen.open

  const one = (name: string, effect: Effect.Effect<unknown, unknown>): Subject => ({
    name,
    times: inOneFiber(effect)
  })
  const refused = (name: string, status: string, call: { tool: string; params: unknown }): Subject => ({
    name,
    times: inOneFiber(
      Effect.map(tools.execute(call), (result) =>
        verify(result.status === status, `${name}: ${result.status}`)
      )
    )
  })
  const call = { tool: "convert", params }
  const later = { tool: "convert_later", params }
  const batch = (name: string, each: { tool: string; params: unknown }): Subject => ({
    name,
    times: async (times) => {
      const calls = Array.from({ length: times }, () => each)
      const { counts } = await Effect.runPromise(Batch.parallel(tools, calls, { concurrency: 64 }))
      verify(counts.success === times, name)
    }
  })
  const stream = (name: string, each: { tool: string; params: unknown }): Subject => ({
    name,
    times: async (times) => {
      let seen = 0
      const calls = Stream.fromIterable(
        Array.from({ length: times }, () => each),
        { chunkSize: 64 }
      )
      await Effect.runPromise(
        Stream.runForEach(Batch.stream(tools, calls, { concurrency: 64 }), ({ status }) =>
          Effect.sync(() => {
            if (status === "success") seen++
          })
        )
      )
      verify(seen === times, name)
    }
  })
  const list: ReadonlyArray<Subject> = [
    {
      name: "bare handler, sync",
      times: async (times) => {
        let sum = 0
        for (let n = 0; n < times; n++) sum += convert(params).amount
        verify(sum > 0, "the handler")
      }
    },
    {
      name: "bare handler, async",
      times: async (times) => {
        for (let n = 0; n < times; n++) await (async () => convert(params))()
      }
    },
    one(
      "Toolkit.handle, ungoverned",
      Effect.flatMap(ungoverned.handle("convert_effect", params), Stream.runCollect)
    ),
    one("combinators, sync", naive.call("convert", params)),
    one("combinators, async", naiveLater.call("convert", params)),
    one("run, Effect", tools.run("convert_effect", params)),
    one("run, sync function", tools.run("convert", params)),
    one("run, async function", tools.run("convert_later", params)),
    one("run, sync function, default governance", withDefaults.run("convert", params)),
    one("execute, sync function", tools.execute(call)),
    one("execute, async function", tools.execute(later)),
    {
      name: "execute, one fiber per call",
      times: async (times) => {
        for (let n = 0; n < times; n++) await Effect.runPromise(tools.execute(call))
      }
    },
    batch("batch at 64, per call, sync", call),
    batch("batch at 64, per call, async", later),
    stream("stream at 64, per call, sync", call),
    stream("stream at 64, per call, async", later),
    refused("denied by policy", "policy_denied", { tool: "delete_rates", params }),
    refused("invalid arguments", "invalid_params", { tool: "convert", params: { ...params, to: "dollars" } }),
    refused("open circuit", "circuit_open", { tool: "broken", params }),
    one("combinators, invalid arguments", Effect.exit(naive.call("convert", { ...params, to: "dollars" }))),
    one("combinators, open circuit", Effect.exit(naiveOpen.call("convert", params)))
  ]
  return { context, list, naive }
})

export const run = (): Promise<void> =>
  Effect.gen(function* () {
    const { context, list, naive } = yield* subjects
    const pattern = new RegExp(process.env["ONLY"] ?? "")
    const chosen = list.filter(({ name }) => pattern.test(name))
    const measured = yield* Effect.promise(() => costs(chosen, { count, rounds }))
    const { failed } = yield* naive.stats
    const health = yield* Context.get(context, Health.Health).get("convert")
    verify(health.counts.success === health.total - health.counts.invalid_params, "calls succeed")
    verify(chosen.length < list.length || failed > 0, "combinators refuse")
    console.log(
      table([
        [`one call, ${rounds} rounds of ${count}`, "CPU µs", "bytes"],
        ...measured.map(({ bytes, micros, name }) => [
          name,
          micros.toFixed(2),
          Math.round(bytes).toLocaleString("en-US")
        ])
      ])
    )
  }).pipe(Effect.scoped, Effect.runPromise)
