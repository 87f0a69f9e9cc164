/** Stores that never answer: no call hangs for longer than its deadline, and what comes too late is given back. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import {
  ToolAnnotations as Annotate,
  Approvals,
  AuditLog,
  Budget,
  CallRecord,
  Idempotency,
  type Interlock,
  type Keyring,
  ResultCache,
  ToolExecutor,
  type ToolResult
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import { settled } from "./support/world.ts"

const Kit = Toolkit.make(
  Tool.make("act", { parameters: Schema.Struct({ a: Schema.Int }), success: Schema.String })
    .annotate(Annotate.Cost, 10)
    .annotate(Annotate.Cache, {})
)

/** A service one of whose methods answers only when it is let to. */
const slow = <I, S extends object>(
  key: Context.Key<I, S>,
  method: keyof S,
  until: Effect.Effect<void>,
  layer: Layer.Layer<I, never, Keyring.Keyring>
): Layer.Layer<I, never, Keyring.Keyring> =>
  Layer.effect(
    key,
    Effect.map(Effect.service(key), (service) => ({
      ...service,
      [method]: (...args: ReadonlyArray<unknown>) =>
        Effect.andThen(
          until,
          Effect.suspend(() =>
            (service[method] as (...args: ReadonlyArray<unknown>) => Effect.Effect<unknown>)(...args)
          )
        )
    }))
  ).pipe(Layer.provide(layer)) as Layer.Layer<I, never, Keyring.Keyring>

const limits = [{ name: "all", max: 1000 }]

const waits: ReadonlyArray<readonly [string, (until: Effect.Effect<void>) => Interlock.Options]> = [
  ["cache", (until) => ({ cache: slow(ResultCache.ResultCache, "get", until, ResultCache.layerMemory()) })],
  [
    "keys",
    (until) => ({ idempotency: slow(Idempotency.Idempotency, "claim", until, Idempotency.layerMemory()) })
  ],
  ["budget", (until) => ({ budget: slow(Budget.Budget, "reserve", until, Budget.layerMemory(limits)) })],
  [
    "approvals",
    (until) => ({
      policy: { requireConfirmation: ["act"] },
      approvals: slow(Approvals.Approvals, "peek", until, Approvals.layerMemory())
    })
  ]
]

const open = (options: Interlock.Options) =>
  Effect.gen(function* () {
    const tools = Testing.scripted(Kit, { act: Testing.succeed("done") })
    const services = (yield* Layer.build(
      Layer.merge(tools.layer, Testing.layer({ budget: limits, ...options }))
    )) as Context.Context<Interlock.Services | Tool.HandlersFor<typeof Kit.tools>>
    const executor = yield* Effect.provide(ToolExecutor.make(Kit), services)
    const records: Array<CallRecord.CallRecord> = []
    yield* Context.get(services, CallRecord.CallRecorder).add({ onEnd: (record) => records.push(record) })
    const execute = (deadline?: number) =>
      executor.execute({
        tool: "act",
        params: { a: 1 },
        idempotencyKey: "k",
        ...(deadline === undefined ? {} : { deadline })
      }) as Effect.Effect<ToolResult>
    const free = Effect.gen(function* () {
      const standing = yield* Context.get(services, Budget.Budget).standing
      assert.deepStrictEqual(
        standing.map(({ reserved }) => reserved).filter((reserved) => reserved > 0),
        []
      )
    })
    return { tools, records, execute, free }
  })

describe("a store that does not answer", () => {
  for (const [name, options] of waits) {
    it.effect(`holds no call beyond its deadline, nor against an interruption: ${name}`, () =>
      Effect.gen(function* () {
        const answers = yield* Deferred.make<void>()
        const { execute, free, records, tools } = yield* open(options(Deferred.await(answers)))
        const late = yield* Effect.forkChild(execute(1000))
        yield* settled
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Fiber.join(late)).status, "timeout")

        const interrupted = yield* Effect.forkChild(execute())
        yield* settled
        yield* Fiber.interrupt(interrupted)
        assert.deepStrictEqual(
          records.map(({ status }) => status),
          ["timeout", "cancelled"]
        )

        // What was asked for comes after all, and is given back: the next call finds everything free.
        yield* Deferred.succeed(answers, undefined)
        yield* settled
        yield* free
        tools.assertRan("act", 0)
        const again = yield* execute()
        assert.strictEqual(again.status, name === "approvals" ? "pending_confirmation" : "success")
      })
    )
  }

  it.effect("is given back what it took too late at the time it is then", () =>
    Effect.gen(function* () {
      const answers = yield* Deferred.make<void>()
      const refunds: Array<number> = []
      const budget = Layer.effect(
        Budget.Budget,
        Effect.map(Effect.service(Budget.Budget), (budget) => ({
          ...budget,
          refund: (reservation: Budget.Reservation, now: number) => {
            refunds.push(now)
            return budget.refund(reservation, now)
          }
        }))
      ).pipe(
        Layer.provide(slow(Budget.Budget, "reserve", Deferred.await(answers), Budget.layerMemory(limits)))
      ) as Layer.Layer<Budget.Budget, never, Keyring.Keyring>
      const { execute } = yield* open({ budget })
      const late = yield* Effect.forkChild(execute(1000))
      yield* settled
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(late)).status, "timeout")
      yield* Deferred.succeed(answers, undefined)
      yield* settled
      assert.deepStrictEqual(refunds, [5000])
    })
  )

  it.effect("at the end of a call is left to end by itself after 10 seconds", () =>
    Effect.gen(function* () {
      const never = Layer.effect(
        AuditLog.AuditLog,
        Effect.map(AuditLog.AuditLog, (log) => ({ ...log, outcome: () => Effect.never }))
      ).pipe(Layer.provide(AuditLog.layerMemory()))
      const { execute, records } = yield* open({ audit: never })
      const fiber = yield* Effect.forkChild(execute())
      yield* settled
      yield* TestClock.adjust("9 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(fiber)).status, "success")
      assert.lengthOf(records, 1)
    })
  )
})
