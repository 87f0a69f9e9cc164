/** Whoever drives a run decides nothing in it. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { Approvals, Principal, Run } from "effect-interlock"
import { open } from "./support/world.ts"

const Kit = Toolkit.make(Tool.make("pay"))
const handlers = Kit.toLayer({ pay: () => Effect.void })
const ada = Principal.make({ id: "ada" })

describe("in a run", () => {
  const actors: ReadonlyArray<Principal.Actor | undefined> = [undefined, { kind: "model", id: "m" }]
  it.effect.each(actors)("its actor cannot let its own call run; the person outside of it can: %j", (actor) =>
    Effect.gen(function* () {
      const { execute, services } = yield* open(Kit, handlers, { policy: { requireConfirmation: ["pay"] } })
      const approvals = Context.get(services, Approvals.Approvals)
      const run = Run.make({ id: "run", driver: "model", actor })
      const inRun = Run.provide(run)
      const call = Principal.provide(execute({ id: "call", tool: "pay", params: {} }), ada)
      assert.strictEqual((yield* inRun(call)).status, "pending_confirmation")
      const [request] = yield* approvals.list()
      const grant = Principal.provide(approvals.grant(request?.id ?? ""), ada)
      assert.deepInclude(yield* Effect.flip(inRun(grant)), { reason: "not_allowed" })
      assert.strictEqual((yield* inRun(call)).status, "pending_confirmation")
      yield* grant
      assert.strictEqual((yield* inRun(call)).status, "success")
    })
  )
})
