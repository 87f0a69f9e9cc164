/** Governed tools as the official SDK's client sees them, over stdio and HTTP. */
import { assert, describe, it } from "@effect/vitest"
import type { Client } from "@modelcontextprotocol/client"
import { Effect } from "effect"
import { cancelOnce } from "./support/mcpCancellation.ts"
import {
  connect,
  type Era,
  eras,
  fixtureOverHttp,
  fixtureOverStdio,
  overHttp,
  prepared
} from "./support/mcpHarness.ts"

const transports = ["stdio", "http"] as const

const world = Effect.fnUntraced(function* (era: Era, transport: (typeof transports)[number]) {
  const { over, said } =
    transport === "stdio"
      ? ((stdio) => ({ said: stdio.said, over: stdio.transport }))(fixtureOverStdio())
      : yield* Effect.map(fixtureOverHttp, ({ said, url }) => ({ said, over: overHttp(url) }))
  const asked: Array<string> = []
  const logged: Array<unknown> = []
  const prepare = (client: Client) => {
    client.setRequestHandler("elicitation/create", async ({ params }) => {
      asked.push(params.message)
      return { action: "accept", content: { confirm: true } }
    })
    client.setNotificationHandler("notifications/message", async ({ params }) => {
      logged.push(params.data)
    })
  }
  const client = yield* connect(era, over, prepared({ capabilities: { elicitation: { form: {} } } }, prepare))
  const call = (name: string, args: Readonly<Record<string, unknown>> = {}, more: object = {}) =>
    Effect.promise(() => client.callTool({ name, arguments: args, ...more }))
  return { asked, call, client, logged, said }
})

const textOf = ({ content }: { readonly content: ReadonlyArray<{ readonly type: string }> }): string =>
  content.map((part) => ("text" in part ? String(part.text) : part.type)).join(" ")

for (const era of eras) {
  for (const transport of transports) {
    describe(`the official client of ${era}, over ${transport}`, () => {
      it.live("lists tools and calls them, and finds what it was promised", () =>
        Effect.gen(function* () {
          const { call, client } = yield* world(era, transport)
          assert.strictEqual(client.getNegotiatedProtocolVersion(), era)
          const { tools } = yield* Effect.promise(() => client.listTools())
          const simple = tools.find(({ name }) => name === "test_simple_text")
          assert.deepInclude(simple, { title: "Simple text", description: "Answers with a text" })
          // The client checks structured content against the listed schema.
          assert.deepStrictEqual((yield* call("test_structured_content", { a: 1, b: 2 })).structuredContent, {
            sum: 3
          })
          assert.strictEqual(
            textOf(yield* call("test_multiple_content_types"))
              .split(" ")
              .at(-1),
            "resource"
          )
          assert.isTrue((yield* call("test_failing_content")).isError)
          const wrong = yield* call("test_structured_content", { a: "1" })
          assert.isTrue(wrong.isError)
          assert.match(textOf(wrong), /^INVALID_PARAMS: "a" must be an integer.*"b"/)
          assert.match(textOf(yield* call("test_error_handling")), /^HANDLER_FAILED: The tool failed\./)
        }).pipe(Effect.scoped)
      )

      it.live("is told how far a call is, and what it logs", () =>
        Effect.gen(function* () {
          const { call, client, logged } = yield* world(era, transport)
          const told: Array<number> = []
          const onprogress = ({ progress }: { readonly progress: number }) => told.push(progress)
          yield* Effect.promise(() =>
            client.callTool({ name: "test_tool_with_progress", arguments: {} }, { onprogress })
          )
          assert.deepStrictEqual(told, [0, 50, 100])
          const level = { _meta: { "io.modelcontextprotocol/logLevel": "info" } }
          if (era === "2025-11-25") yield* Effect.promise(() => client.setLoggingLevel("info"))
          yield* call("test_tool_with_logging", {}, era === "2025-11-25" ? {} : level)
          assert.lengthOf(logged, 3)
        }).pipe(Effect.scoped)
      )

      it.live("asks its human to confirm, and never to approve", () =>
        Effect.gen(function* () {
          const { asked, call } = yield* world(era, transport)
          assert.strictEqual(textOf(yield* call("test_confirmed", { to: "eve" })), "done for eve")
          assert.lengthOf(asked, 1)
          const approval = yield* call("test_approved", { to: "eve" })
          assert.match(textOf(approval), /^PENDING_CONFIRMATION: Another person must approve/)
          assert.lengthOf(asked, 1)
        }).pipe(Effect.scoped)
      )

      it.live("interrupts the handler when it cancels, and goes on", () =>
        Effect.gen(function* () {
          const { call, client, said } = yield* world(era, transport)
          for (let i = 0; i < 3; i++) {
            assert.strictEqual((yield* cancelOnce({ client, said })).ended, "cancelled")
          }
          assert.deepStrictEqual((yield* call("test_structured_content", { a: 1, b: 2 })).structuredContent, {
            sum: 3
          })
        }).pipe(Effect.scoped)
      )

      it.live("interrupts the handler when it goes away", () =>
        Effect.gen(function* () {
          const { client, said } = yield* world(era, transport)
          void client.callTool({ name: "test_wait", arguments: {} }).catch(() => {})
          yield* said.line("began ")
          yield* Effect.promise(() => client.close())
          yield* said.line("interrupted ")
        }).pipe(Effect.scoped)
      )
    })
  }
}
