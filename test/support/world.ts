/** An executor with everything around it in view, for tests of how calls run. */
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import {
  Budget,
  Bulkhead,
  CallRecord,
  CircuitBreaker,
  History,
  type Interlock,
  KillSwitch,
  type ToolCall,
  ToolExecutor,
  type ToolResult
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"

type Tools = Record<string, Tool.Any>

/** An executor, every record so far in the order the calls ended, and the services. */
export const open = <T extends Tools>(
  toolkit: Toolkit.Toolkit<T>,
  handlers: Layer.Layer<Tool.HandlersFor<T>>,
  options: Interlock.Options = {}
) =>
  Effect.gen(function* () {
    const services = yield* Layer.build(Testing.layer(options))
    const records: Array<CallRecord.CallRecord> = []
    yield* Context.get(services, CallRecord.CallRecorder).add({
      onEnd: (record) => {
        records.push(record)
      }
    })
    const built = yield* Layer.build(handlers)
    const executor = yield* Effect.provide(ToolExecutor.make(toolkit), Context.merge(services, built))
    return {
      executor,
      records,
      services,
      /** Executes a call of a tool whose schemas need no services. */
      execute: (call: ToolCall) => executor.execute(call) as Effect.Effect<ToolResult>
    }
  })

/** Lets everything that can go on without time go on. */
export const settled = Effect.forEach(Array.from({ length: 50 }), () => Effect.yieldNow, { discard: true })

/** Starts an effect and lets it come to where it waits. */
export const started = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<Fiber.Fiber<A, E>> =>
  Effect.tap(Effect.forkChild(effect, { startImmediately: true }), () => settled)

/** What an effect comes to while virtual time passes in small steps, for as long as it takes up to `limit`. */
export const inTime = <A, E>(
  effect: Effect.Effect<A, E>,
  options: { readonly limit?: number; readonly step?: number } = {}
): Effect.Effect<A, E> =>
  Effect.gen(function* () {
    const { limit = 60_000, step = 50 } = options
    const fiber = yield* started(effect)
    for (let passed = 0; passed < limit && fiber.pollUnsafe() === undefined; passed += step) {
      yield* pass(step)
    }
    if (fiber.pollUnsafe() === undefined) throw new Error(`Nothing came of it within ${limit} ms`)
    return yield* Fiber.join(fiber)
  })

/** Lets virtual time pass, and everything that then can go on. */
export const pass = (duration: Duration.Input): Effect.Effect<void> =>
  Effect.andThen(TestClock.adjust(duration), settled)

/** Lets the event loop turn, for promises that no virtual clock drives. */
export const turns = (times = 5): Effect.Effect<void> =>
  Effect.forEach(
    Array.from({ length: times }),
    () => Effect.promise(() => new Promise((resolve) => setImmediate(resolve))),
    { discard: true }
  )

/** What calls may hold, counted: nothing, when none runs. Of a budget, by the calling fiber's clock. */
export const held = (services: Context.Context<Interlock.Services>) =>
  Effect.gen(function* () {
    const bulkhead = Context.get(services, Bulkhead.Bulkhead)
    const standing = yield* Effect.orDie(Context.get(services, Budget.Budget).standing)
    const circuits = yield* Context.get(services, CircuitBreaker.CircuitBreaker).states
    const history = yield* Context.get(services, History.History).statistics
    return {
      slots: bulkhead.running(),
      queued: bulkhead.queued(),
      probes: [...circuits.values()].reduce((sum, { probesInFlight }) => sum + probesInFlight, 0),
      reserved: standing.reduce((sum, { reserved }) => sum + reserved, 0),
      killable: yield* Context.get(services, KillSwitch.KillSwitch).running({ scope: "all" }),
      calls: history.all.inFlight
    }
  })

export const nothingHeld = { slots: 0, queued: 0, probes: 0, reserved: 0, killable: 0, calls: 0 }

/** A promise and its ends. */
export const deferred = <A>() => {
  let settle!: { resolve: (value: A) => void; reject: (error: unknown) => void }
  const promise = new Promise<A>((resolve, reject) => {
    settle = { resolve, reject }
  })
  return { promise, ...settle }
}

/** The value of an exit that must be a success. */
export const valueOf = <A, E>(exit: Exit.Exit<A, E>): A => {
  if (Exit.isSuccess(exit)) return exit.value
  throw new Error(`Not a success: ${exit.cause}`)
}
