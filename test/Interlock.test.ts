import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Tracer from "effect/Tracer"
import {
  Approvals,
  AuditLog,
  Budget,
  CircuitBreaker,
  Defaults,
  Health,
  History,
  Idempotency,
  Interlock,
  Keyring,
  KillSwitch,
  Principal,
  Retry,
  Run,
  SecurityPolicy,
  Taint,
  Telemetry,
  ToolExecutor
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"

const Kit = Toolkit.make(Tool.make("ping", { success: Schema.String }))
const dead = Testing.scripted(Kit, { ping: Testing.die("bug") })
const ping = Effect.flatMap(ToolExecutor.make(Kit), (executor) =>
  executor.execute({ tool: "ping", params: {} })
)

describe("the complete set", () => {
  const given: Array<string> = []

  it.effect("is read by health where the breaker is given as a layer", () =>
    Effect.gen(function* () {
      yield* ping
      const health = yield* Health.Health
      assert.strictEqual((yield* health.get("ping")).breaker.tag, "Open")
    }).pipe(
      Effect.provide(
        Layer.merge(
          dead.layer,
          Interlock.layer({ breaker: CircuitBreaker.layerMemory({ trip: CircuitBreaker.consecutive(1) }) })
        )
      )
    )
  )

  it.effect("traces and measures nothing where telemetry is none", () =>
    Effect.gen(function* () {
      yield* ping
      const metrics = yield* Metric.snapshot
      assert.deepStrictEqual(
        metrics.filter(({ id }) => id.startsWith("interlock.") || id.startsWith("gen_ai.")),
        []
      )
    }).pipe(
      Effect.provide(Layer.merge(dead.layer, Interlock.layer({ telemetry: Telemetry.layerNoop }))),
      Effect.provideService(Metric.MetricRegistry, new Map())
    )
  )

  it.effect("leaves a call its record where telemetry breaks", () =>
    Effect.gen(function* () {
      const result = yield* ping
      assert.strictEqual(result.status, "failure")
      const { all } = yield* Effect.flatMap(History.History, (history) => history.statistics)
      assert.deepStrictEqual([all.ended, all.inFlight], [1, 0])
    }).pipe(
      Effect.provide(
        Layer.merge(
          dead.layer,
          Interlock.layer({
            telemetry: Layer.succeed(Telemetry.Telemetry, {
              open: (fiber) =>
                fiber.getRef(Tracer.Tracer).span({
                  name: "call",
                  parent: Option.none(),
                  annotations: Context.empty(),
                  links: [],
                  startTime: 0n,
                  kind: "internal",
                  root: true,
                  sampled: true
                }),
              close: () => {
                throw new Error("a bug of telemetry")
              }
            })
          })
        )
      )
    )
  )

  it.effect("builds delays and retries apart: what configuration counts, code may space", () =>
    Effect.gen(function* () {
      const { retry } = yield* Defaults.CurrentDefaults
      assert.strictEqual(retry.retries, 7)
      const next = yield* Retry.driver(retry)
      assert.strictEqual(yield* next(0, { _tag: "HandlerDefect" }), 5000)
    }).pipe(
      Effect.provide(
        Interlock.layer({
          backoff: { base: "5 seconds", jitter: "none" },
          defaults: { retry: { retries: 7 } }
        })
      )
    )
  )

  it.effect("leaves an event of what people do to governance, on behalf of whoever does it", () =>
    Effect.gen(function* () {
      const audit = yield* AuditLog.AuditLog
      const approvals = yield* Approvals.Approvals
      const executor = yield* ToolExecutor.make(Kit)
      const ada = Principal.make({ id: "ada", tenant: "acme" })
      const eve = Principal.make({ id: "eve" })
      const asked = Effect.fnUntraced(function* (id: string) {
        yield* Principal.provide(executor.execute({ id, tool: "ping", params: {} }), ada)
        const [request] = yield* approvals.list({ callId: id })
        return request?.id ?? assert.fail("nobody was asked")
      })
      const request = yield* asked("a")
      const policy = yield* SecurityPolicy.SecurityPolicy
      const killSwitch = yield* KillSwitch.KillSwitch
      const because = { by: "eve", why: "a drill" }
      const budget = yield* Budget.Budget
      const taint = yield* Taint.Taint
      const steps: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown>, Principal.Principal?]> = [
        ["grant refused", Effect.flip(approvals.grant(request)), eve],
        ["granted", approvals.grant(request), ada],
        ["revoked", approvals.revoke(request, "changed my mind"), ada],
        ["rejected", Effect.flatMap(asked("b"), (id) => approvals.reject(id)), ada],
        ["replaced", Effect.flatMap(asked("c"), (id) => approvals.replace(id)), ada],
        ["reject refused", Effect.flip(approvals.reject("ghost")), ada],
        ["policy set", policy.set({ deny: ["x"] }), eve],
        ["shadow set", policy.setShadow({ policy: { deny: ["*"] } }), eve],
        ["stopped", killSwitch.stop({ scope: "all" }, because), eve],
        [
          "lifted",
          Effect.flatMap(killSwitch.stops, ([stop]) => killSwitch.lift(stop?.id ?? "", because)),
          eve
        ],
        ["credited", budget.credit({ principal: ada }, { usd: 1 }, "a refund"), eve],
        ["declassified", taint.declassify(Run.make({ id: "run" }), because), eve]
      ]
      for (const [action, step, by = eve] of steps) {
        const before = (yield* audit.query({ phase: "event" })).length
        yield* Principal.provide(step, by)
        const [event, ...others] = yield* audit.query({ phase: "event" })
        assert.lengthOf(others, before, action)
        assert.strictEqual(event?.action, action)
        assert.deepInclude(event?.personal, { principal: by.id }, action)
      }
      assert.isTrue((yield* audit.verify()).ok)
    }).pipe(
      Effect.provide(
        Layer.merge(
          dead.layer,
          Interlock.layer({ policy: { requireConfirmation: ["*"] }, budget: [{ max: 1 }] })
        )
      )
    )
  )

  it.effect("takes another layer of a concern, and gives it the keyring that it has itself", () =>
    Effect.gen(function* () {
      const keyring = yield* Keyring.Keyring
      assert.strictEqual(keyring.deployment, "shop")
      assert.deepStrictEqual(given, ["shop"])
    }).pipe(
      Effect.provide(
        Layer.merge(
          dead.layer,
          Interlock.layer({
            keyring: Keyring.layer({
              deployment: "shop",
              active: "a",
              keys: { a: Redacted.make("a".repeat(40)) }
            }),
            idempotency: Layer.unwrap(
              Effect.map(Keyring.Keyring, ({ deployment }) => {
                given.push(deployment)
                return Idempotency.layerMemory()
              })
            )
          })
        )
      )
    )
  )

  it.effect("lets a layer that is merged after it replace a concern", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* ping).status, "policy_denied")
    }).pipe(
      Effect.provide(Layer.mergeAll(dead.layer, Interlock.layer(), SecurityPolicy.layer({ deny: ["ping"] })))
    )
  )
})
