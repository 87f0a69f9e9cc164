/**
 * A thousand calls in flight, each a handler that sleeps a second and has a
 * finalizer; one fails after 10 ms. How long until the batch has returned, with
 * every finalizer run and nothing left running?
 */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { ToolAnnotations as Annotate, Batch, Interlock, ToolExecutor } from "effect-interlock"
import { median, table, verify } from "./support.ts"

const size = 1000
const target = 50

const Work = Tool.make("work", {
  parameters: Schema.Struct({ fails: Schema.Boolean }),
  success: Schema.Void,
  failure: Schema.String
})
  .annotate(Annotate.Capabilities, [])
  .annotate(Annotate.Retries, 0)
const kit = Toolkit.make(Work)

const once = Effect.gen(function* () {
  let running = 0
  let mostAtOnce = 0
  let finalizers = 0
  let failedAt = 0
  const handlers = kit.toLayer({
    work: ({ fails }) =>
      Effect.suspend(() => {
        mostAtOnce = Math.max(mostAtOnce, ++running)
        const work = fails
          ? Effect.andThen(
              Effect.sleep(10),
              Effect.suspend(() => {
                failedAt = performance.now()
                return Effect.fail("failed")
              })
            )
          : Effect.sleep(1000)
        return Effect.ensuring(
          work,
          Effect.sync(() => {
            running--
            finalizers++
          })
        )
      })
  })
  const context = yield* Layer.build(Layer.merge(handlers, Interlock.layer()))
  const executor = yield* Effect.provide(ToolExecutor.make(kit), context)
  const calls = Array.from({ length: size }, (_, n) => ({ tool: "work", params: { fails: n === size - 1 } }))
  const batch = yield* Batch.parallel(executor, calls, { concurrency: size, failFast: true })
  const returnedAt = performance.now()
  verify(mostAtOnce === size, "all were in flight")
  verify(batch.counts.cancelled === size - 1 && batch.counts.failure === 1, "all others were cancelled")
  return { after: returnedAt - failedAt, finalizers, running }
}).pipe(Effect.scoped)

export const run = async (): Promise<void> => {
  for (let warmUp = 0; warmUp < 5; warmUp++) await Effect.runPromise(once)
  const rounds: Array<Effect.Success<typeof once>> = []
  for (let round = 0; round < 11; round++) rounds.push(await Effect.runPromise(once))
  const times = rounds.map(({ after }) => after)
  const finalizers = Math.min(...rounds.map((round) => round.finalizers))
  const running = Math.max(...rounds.map((round) => round.running))
  verify(finalizers === size, "every finalizer has run before the batch returned")
  verify(running === 0, "nothing still runs when the batch returns")
  console.log(
    table([
      [`fail-fast: ${size} in flight, one fails at 10 ms`, "median", "worst", "target"],
      [
        "ms from the failure to the batch's return",
        median(times).toFixed(1),
        Math.max(...times).toFixed(1),
        `≤ ${target}`
      ],
      ["finalizers run", String(finalizers), "", String(size)],
      ["still running", String(running), "", "0"]
    ])
  )
  if (median(times) > target) process.exitCode = 1
}
