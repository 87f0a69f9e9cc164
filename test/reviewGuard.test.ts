/** Arguments that were decoded before the guard saw them, and that no schema encodes again. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { ToolAnnotations as Annotate, Approvals, Interlock, Principal } from "effect-interlock"
import * as Testing from "effect-interlock/testing"

const parameters = Schema.Struct({ token: Schema.Any })
const toolkit = Toolkit.make(
  Tool.make("cached", { parameters, success: Schema.String }).annotate(Annotate.Cache, { ttl: "1 hour" }),
  Tool.make("asked", { parameters, success: Schema.String })
)

const ada = Principal.make({ id: "ada" })

const pairs: Readonly<Record<string, readonly [unknown, unknown]>> = {
  secrets: [Redacted.make("one"), Redacted.make("two")],
  maps: [new Map([["a", 1]]), new Map([["a", 2]])],
  sets: [new Set([1]), new Set([2])]
}

const world = Effect.gen(function* () {
  let runs = 0
  const handler = () => Effect.sync(() => `run ${++runs}`)
  const guarded = Interlock.guard(toolkit).pipe(
    Layer.provide(toolkit.toLayer({ cached: handler, asked: handler })),
    Layer.provideMerge(Testing.layer({ policy: { requireConfirmation: ["asked"] } }))
  )
  const services = yield* Layer.build(guarded)
  const handlers = yield* Effect.provide(toolkit, services)
  return {
    approvals: Context.get(services, Approvals.Approvals),
    call: (name: "cached" | "asked", token: unknown) =>
      Stream.unwrap(handlers.handle(name, { token }, "call")).pipe(
        Stream.runLast,
        Effect.map((last) => (last._tag === "Some" ? last.value.result : undefined)),
        Effect.catch(() => Effect.succeed("refused")),
        Principal.provide(ada)
      )
  }
})

describe("guarded arguments that cannot be encoded", () => {
  for (const [name, [one, two]] of Object.entries(pairs)) {
    it.effect(`get no cached answer of others: ${name}`, () =>
      Effect.gen(function* () {
        const { call } = yield* world
        assert.strictEqual(yield* call("cached", one), "run 1")
        assert.strictEqual(yield* call("cached", two), "run 2")
      })
    )

    it.effect(`do not run on a grant of others: ${name}`, () =>
      Effect.gen(function* () {
        const { approvals, call } = yield* world
        assert.strictEqual(yield* call("asked", one), "refused")
        const [request] = yield* approvals.list()
        yield* Principal.provide(approvals.grant(request?.id ?? ""), ada)
        assert.strictEqual(yield* call("asked", two), "refused")
        assert.strictEqual(yield* call("asked", one), "run 1")
      })
    )
  }
})
