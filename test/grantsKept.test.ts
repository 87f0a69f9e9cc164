/** What a human's answer outlives: refusals for want of room, resuming elsewhere, and slips of whoever edits. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import {
  ToolAnnotations as Annotate,
  Approvals,
  CircuitBreaker,
  CurrentCall,
  Handlers,
  type Interlock,
  Keyring,
  Principal,
  type ToolCall,
  ToolExecutor,
  type ToolResult
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"

const Kit = Toolkit.make(
  Tool.make("pay", { parameters: Schema.Struct({ amount: Schema.Int }), success: Schema.String }).annotate(
    Annotate.Cost,
    100
  )
)
const ada = Principal.make({ id: "ada" })

const open = (options: Interlock.Options = {}) =>
  Effect.gen(function* () {
    const seen: Array<string | undefined> = []
    const handlers = Handlers.toLayer(Kit, {
      pay: ({ amount }) =>
        Effect.map(CurrentCall, (call) => {
          seen.push(call?.idempotencyKey, call?.metadata?.["order"])
          return `paid ${amount}`
        })
    })
    const services = yield* Layer.build(
      Layer.merge(handlers, Testing.layer({ policy: { requireConfirmation: ["pay"] }, ...options }))
    )
    const executor = yield* Effect.provide(ToolExecutor.make(Kit), services)
    const approvals = Context.get(services, Approvals.Approvals)
    const execute = (call: Partial<ToolCall> = {}) =>
      executor.execute({ id: "c1", tool: "pay", params: { amount: 7 }, ...call }) as Effect.Effect<ToolResult>
    const granted = Effect.gen(function* () {
      const [request] = yield* approvals.list({ state: "pending" })
      return yield* approvals.grant(request!.id)
    })
    const resume = (token: string) => executor.resume(token) as Effect.Effect<ToolResult>
    return { services, executor, approvals, execute, granted, resume, seen }
  })

const asAda = <A, E, R>(effect: Effect.Effect<A, E, R>) => Principal.provide(effect, ada)

describe("a grant", () => {
  it.effect("is still there when the circuit was open or the budget spent, and used when the call runs", () =>
    Effect.gen(function* () {
      const { approvals, execute, granted, resume, services } = yield* open({
        budget: [{ name: "day", max: 150, window: "day" }]
      })
      const breaker = Context.get(services, CircuitBreaker.CircuitBreaker)
      yield* execute()
      const { request, token } = yield* granted
      yield* breaker.forceOpen("pay", "maintenance")
      assert.strictEqual((yield* resume(token)).status, "circuit_open")
      assert.strictEqual((yield* approvals.get(request.id))?.state, "granted")
      yield* breaker.reset("pay")
      assert.strictEqual((yield* resume(token)).status, "success")
      assert.strictEqual((yield* resume(token)).error?.code, "APPROVAL_INVALID")

      yield* execute({ id: "c2" })
      const second = yield* granted
      assert.strictEqual((yield* resume(second.token)).status, "budget_exceeded")
      assert.strictEqual((yield* approvals.get(second.request.id))?.state, "granted")
    }).pipe(asAda)
  )

  it.effect("resumes the call as it was: its key and its labels, too", () =>
    Effect.gen(function* () {
      const { execute, granted, resume, seen } = yield* open()
      yield* execute({ idempotencyKey: "order-7", metadata: { order: "7" } })
      const { token } = yield* granted
      assert.strictEqual((yield* resume(token)).status, "success")
      assert.deepStrictEqual(seen, ["order-7", "7"])
      const repeated = yield* execute({ id: "c2", idempotencyKey: "order-7" })
      assert.strictEqual(repeated.answeredFrom, "idempotency")
      assert.lengthOf(seen, 2)
    }).pipe(asAda)
  )
})

describe("a request", () => {
  it.effect("stays when what it is edited into could not run anyway", () =>
    Effect.gen(function* () {
      const { approvals, execute, executor } = yield* open()
      yield* execute()
      const [request] = yield* approvals.list({ state: "pending" })
      const edit = (params: unknown) => executor.edit({ request: request!.id, params, principal: ada })
      assert.strictEqual((yield* edit({ amount: "seven" })).status, "invalid_params")
      assert.strictEqual((yield* approvals.get(request!.id))?.state, "pending")
      assert.strictEqual((yield* edit({ amount: 8 })).status, "pending_confirmation")
      assert.strictEqual((yield* approvals.get(request!.id))?.state, "replaced")
    }).pipe(asAda)
  )
})

describe("keys from a configuration", () => {
  const parse = (value: string) =>
    Keyring.config("INTERLOCK_KEYS").parse(ConfigProvider.fromUnknown({ INTERLOCK_KEYS: value }))
  const secret = "0123456789abcdef0123456789abcdef"

  it.effect("are named once each, and none of them blank", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* parse(`a:${secret}, b:${secret}`)).active, "a")
      for (const bad of [`a:${" ".repeat(40)}`, `a:${secret},a:${secret}`, "a:short", secret]) {
        const error = yield* Effect.flip(parse(bad))
        assert.include(String(error), "INTERLOCK_KEYS")
        assert.notInclude(String(error), secret)
      }
    })
  )
})
