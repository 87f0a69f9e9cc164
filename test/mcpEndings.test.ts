/** What comes after a call's answer, and answers that could not be written. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Queue, Schema, Stream } from "effect"
import { McpProtocol, type McpServer, McpTest, Tool, Toolkit } from "effect/ai"
import { Approvals, Handlers, Principal } from "effect-interlock"
import * as Mcp from "effect-interlock/mcp"
import * as Testing from "effect-interlock/testing"
import { connect, type Era, eras, overHttp, prepared, serveHttp } from "./support/mcpHarness.ts"

const { CallResult, PassesContent } = Mcp.Content

const nested = (levels: number): { readonly in: unknown } => {
  let value: { readonly in: unknown } = { in: 1 }
  for (let level = 1; level < levels; level++) value = { in: value }
  return value
}

const Levels = Schema.Struct({ levels: Schema.Int })
const Promised = Schema.Struct({ in: Schema.Unknown })

const deep = Toolkit.make(
  Tool.make("any", { parameters: Levels, success: Schema.Unknown }),
  Tool.make("promised", { parameters: Levels, success: Promised }),
  Tool.make("passed", { parameters: Levels, success: CallResult }).annotate(PassesContent, {}),
  Tool.make("fails", { parameters: Levels, success: CallResult, failure: CallResult }).annotate(
    PassesContent,
    {}
  )
)
const passed = (levels: number) => ({ content: [], structuredContent: nested(levels) as never })
const handlers = Handlers.toLayer(deep, {
  any: ({ levels }) => nested(levels),
  promised: ({ levels }) => nested(levels),
  passed: ({ levels }) => passed(levels),
  fails: ({ levels }) => Effect.fail(passed(levels))
})

describe("a result", () => {
  const answersOf = Effect.fnUntraced(function* (era: Era, name: string) {
    const url = yield* serveHttp(Mcp.layer(deep).pipe(Layer.provide([handlers, Testing.layer()])))
    const client = yield* connect(era, overHttp(url))
    return yield* Effect.forEach([400, 600, 3_000, 5_000, 100_000], (levels) =>
      Effect.promise(() => client.callTool({ name, arguments: { levels } }, { timeout: 20_000 }))
    )
  })

  for (const era of eras) {
    for (const { name } of Object.values(deep.tools)) {
      it.live(`nested however deep is answered (${name}, ${era})`, () =>
        Effect.gen(function* () {
          const [shallow, ...others] = yield* answersOf(era, name)
          assert.isDefined(shallow?.structuredContent)
          for (const { isError, structuredContent } of others) {
            assert.isUndefined(structuredContent)
            assert.strictEqual(isError === true, name !== "any")
          }
        }).pipe(Effect.scoped)
      )
    }
  }
})

describe("an answered call", () => {
  it.live("tells its client nothing more, whatever its handler has left running", () =>
    Effect.gen(function* () {
      const answered = yield* Deferred.make<void>()
      const said = yield* Deferred.make<void>()
      const afterwards = Effect.gen(function* () {
        yield* Deferred.await(answered)
        yield* Mcp.progress({ progress: 2, message: "late" })
        yield* Mcp.log("error", "late")
        yield* Deferred.succeed(said, undefined)
      })
      const late = Toolkit.make(Tool.make("late", { success: Schema.String }))
      const talks = Handlers.toLayer(late, {
        late: () =>
          Mcp.progress({ progress: 1, message: "in time" }).pipe(
            Effect.andThen(Effect.forkDetach(afterwards, { startImmediately: true })),
            Effect.as("done")
          )
      })
      const client = yield* McpTest.makeClient(
        Mcp.layer(late).pipe(Layer.provide([talks, Testing.layer()])) as Layer.Layer<
          never,
          never,
          McpServer.McpServer
        >,
        { protocols: [McpProtocol.v2025_11_25] }
      )
      yield* client.setLevel({ level: "debug" })
      yield* client.callTool({ name: "late", arguments: {}, _meta: { progressToken: "t" } })
      yield* Deferred.succeed(answered, undefined)
      yield* Deferred.await(said)
      // Comes after all that was said before it.
      yield* client.callTool({ name: "late", arguments: {}, _meta: { progressToken: "u" } })
      const told = yield* Queue.clear(client.notifications)
      assert.deepStrictEqual(
        told.map(({ payload }) => (payload as { readonly progressToken?: string }).progressToken),
        ["t", "u"]
      )
    }).pipe(Effect.scoped)
  )
})

describe("a call that its human has confirmed", () => {
  const tools = Toolkit.make(
    Tool.make("hold", { success: Schema.String }),
    Tool.make("pay", { success: Schema.String })
  )

  for (const era of eras) {
    it.live(`leaves no grant for another when it is cancelled before it runs (${era})`, () =>
      Effect.gen(function* () {
        const [held, free] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        let paid = 0
        const handlers = Handlers.toLayer(tools, {
          hold: () =>
            Effect.as(Effect.andThen(Deferred.succeed(held, undefined), Deferred.await(free)), "held"),
          pay: () => Effect.sync(() => `paid ${++paid}`)
        })
        const services = yield* Layer.build(
          Testing.layer({
            policy: { requireConfirmation: ["pay"] },
            bulkhead: { maxConcurrent: 1, maxQueue: 9 }
          })
        )
        const approvals = Context.get(services, Approvals.Approvals)
        const becomes = (state: Approvals.State) =>
          Effect.forkChild(Stream.runHead(Stream.filter(approvals.changes, (now) => now.state === state)), {
            startImmediately: true
          })
        const url = yield* serveHttp(
          Mcp.layer(tools).pipe(
            Layer.provide(Mcp.principal(Principal.make({ id: "ada" })).layer),
            Layer.provide([handlers, Layer.succeedContext(services)])
          )
        )
        const says = ["accept", "decline"]
        const options = prepared({ capabilities: { elicitation: { form: {} } } }, (client) =>
          client.setRequestHandler(
            "elicitation/create",
            async () => ({ action: says.shift(), content: { confirm: true } }) as never
          )
        )
        const client = yield* connect(era, overHttp(url), options)
        const call = (name: string, signal?: AbortSignal) =>
          client.callTool({ name, arguments: {} }, signal === undefined ? {} : { signal })
        const holding = call("hold")
        yield* Deferred.await(held)
        const [granted, revoked] = [yield* becomes("granted"), yield* becomes("revoked")]
        const cancel = new AbortController()
        const paying = call("pay", cancel.signal).catch(() => "cancelled")
        yield* Fiber.join(granted)
        cancel.abort()
        assert.strictEqual(yield* Effect.promise(() => paying), "cancelled")
        yield* Fiber.join(revoked)
        yield* Deferred.succeed(free, undefined)
        yield* Effect.promise(() => holding)
        assert.isTrue((yield* Effect.promise(() => call("pay"))).isError)
        assert.deepStrictEqual([paid, says], [0, []])
      }).pipe(Effect.scoped)
    )
  }
})
