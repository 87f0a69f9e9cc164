/**
 * Tools that do what their arguments say, and a log of what they did: for tests
 * of what runs when, how much of it at once, and what is interrupted.
 */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { ToolAnnotations as Annotate, type Interlock, type Telemetry, ToolExecutor } from "effect-interlock"
import * as Testing from "effect-interlock/testing"

const order = {
  parameters: Schema.Struct({
    n: Schema.Int,
    /** How long it takes, in milliseconds. */
    ms: Schema.optionalKey(Schema.Int),
    fails: Schema.optionalKey(Schema.Boolean),
    /** How long its finalizer takes. */
    cleanup: Schema.optionalKey(Schema.Int)
  }),
  success: Schema.Int,
  failure: Schema.String
}

/** `work` succeeds with `n`; `extra` is the same, and a batch can do without it. */
export const kit = Toolkit.make(
  Tool.make("work", order).annotate(Annotate.Retries, 0).annotate(Annotate.Circuit, false),
  Tool.make("extra", order)
    .annotate(Annotate.Retries, 0)
    .annotate(Annotate.Circuit, false)
    .annotate(Annotate.Importance, "optional")
)

type Order = Tool.Parameters<(typeof kit.tools)["work"]>

export interface Log {
  /** `n` of every handler that began, in order. */
  readonly began: Array<number>
  /** `n` of every handler that ended, finalizer included, and how. */
  readonly ended: Map<number, "succeeded" | "failed" | "interrupted">
  running: number
  mostAtOnce: number
}

export interface Workers {
  readonly executor: ToolExecutor.ToolExecutor<typeof kit.tools>
  readonly log: Log
}

const handler =
  (log: Log) =>
  ({ cleanup = 0, fails = false, ms = 0, n }: Order): Effect.Effect<number, string> =>
    Effect.suspend(() => {
      log.began.push(n)
      log.running++
      log.mostAtOnce = Math.max(log.mostAtOnce, log.running)
      const answer = fails ? Effect.fail(`${n} failed`) : Effect.succeed(n)
      const ended = (exit: Exit.Exit<number, string>) =>
        Effect.sync(() => {
          log.running--
          log.ended.set(
            n,
            Exit.isSuccess(exit) ? "succeeded" : Exit.hasInterrupts(exit) ? "interrupted" : "failed"
          )
        })
      return Effect.onExit(ms > 0 ? Effect.delay(answer, ms) : answer, (exit) =>
        cleanup > 0 ? Effect.andThen(Effect.sleep(cleanup), ended(exit)) : ended(exit)
      )
    })

export const workers = (
  options: Interlock.Options = {},
  instead: Layer.Layer<never> | Layer.Layer<Telemetry.Telemetry> = Layer.empty
): Effect.Effect<Workers, never, Scope.Scope> =>
  Effect.gen(function* () {
    const log: Log = { began: [], ended: new Map(), running: 0, mostAtOnce: 0 }
    const handlers = kit.toLayer({ work: handler(log), extra: handler(log) })
    const services = yield* Layer.build(Layer.mergeAll(handlers, Testing.layer(options), instead))
    return { executor: yield* Effect.provide(ToolExecutor.make(kit), services), log }
  })

/** Lets everything that can go on go on. */
export const settled = Effect.forEach(Array.from({ length: 50 }), () => Effect.yieldNow, { discard: true })

/** Runs an effect while virtual time passes, step by step, until it ends. */
export const whileTimePasses = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  step = 1,
  steps = 10_000
): Effect.Effect<A, E, R> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect)
    yield* Effect.yieldNow
    for (let i = 0; i < steps && fiber.pollUnsafe() === undefined; i++) {
      yield* TestClock.adjust(step)
      yield* Effect.yieldNow
    }
    return yield* Fiber.join(fiber)
  })
