/** What people do to governance is told as it was, and names nobody who can't be forgotten. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Terminal from "effect/Terminal"
import { Approvals, AuditLog, type Interlock, KillSwitch, Principal, Run } from "effect-interlock"
import { open } from "./support/world.ts"

const Kit = Toolkit.make(Tool.make("pay"))
const handlers = Kit.toLayer({ pay: () => Effect.void })
const ada = Principal.make({ id: "ada", actor: { kind: "model", id: "m" } })
const bob = Principal.make({ id: "bob" })

const world = (options: Interlock.Options) =>
  Effect.map(open(Kit, handlers, options), ({ execute, services }) => {
    const audit = Context.get(services, AuditLog.AuditLog)
    return {
      services,
      audit,
      pay: Principal.provide(execute({ id: "call", tool: "pay", params: {} }), ada),
      events: Effect.map(audit.query({ phase: "event" }), (found) => found.map(({ action }) => action))
    }
  })

describe("an event", () => {
  for (const [line, action] of [
    ["y", "granted"],
    ["n", "rejected"]
  ] as const) {
    it.effect(`tells what the person at the terminal decided: ${action}`, () =>
      Effect.gen(function* () {
        const terminal = Layer.succeed(
          Terminal.Terminal,
          Terminal.make({
            columns: Effect.succeed(80),
            rows: Effect.succeed(24),
            size: Effect.die("nobody resizes"),
            readInput: Effect.die("nobody reads keys"),
            readLine: Effect.succeed(line),
            display: () => Effect.void
          })
        )
        const { audit, events, pay } = yield* world({
          policy: { requireConfirmation: ["pay"] },
          approvals: Approvals.layerTerminal().pipe(Layer.provide(terminal))
        })
        yield* Run.provide(pay, Run.make({ id: "run", actor: { kind: "model", id: "m" } }))
        assert.deepStrictEqual(yield* events, [action])
        const [event] = yield* audit.query({ phase: "event" })
        assert.deepInclude(event?.personal, { principal: "ada" })
        assert.strictEqual(event?.callId, "call")
      })
    )
  }

  it.effect("does not tell of a stop that there never was", () =>
    Effect.gen(function* () {
      const { events, services } = yield* world({})
      const killSwitch = Context.get(services, KillSwitch.KillSwitch)
      assert.isTrue(
        Exit.isFailure(yield* Effect.exit(killSwitch.stop({ scope: "all" }, { by: "x", why: "" })))
      )
      assert.deepStrictEqual(yield* killSwitch.stops, [])
      assert.deepStrictEqual(yield* events, ["stop refused"])
    })
  )

  it.effect("of somebody who approves does not keep the name of whoever is forgotten", () =>
    Effect.gen(function* () {
      const { audit, events, pay, services } = yield* world({ policy: { requireApproval: ["pay"] } })
      yield* pay
      const approvals = Context.get(services, Approvals.Approvals)
      const [request] = yield* approvals.list()
      yield* Principal.provide(approvals.grant(request?.id ?? ""), bob)
      assert.deepStrictEqual(yield* events, ["granted"])
      yield* audit.forget({ principal: "ada" }, { by: "bob", why: "asked for it" })
      assert.notInclude(JSON.stringify(yield* audit.query()), '"ada"')
    })
  )
})
