/** A governed toolkit on Effect's `McpServer`, over every version of the protocol. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import * as McpProtocol from "effect/ai/McpProtocol"
import * as McpServer from "effect/ai/McpServer"
import * as McpTest from "effect/ai/McpTest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import {
  ToolAnnotations as Annotate,
  Approvals,
  CallRecord,
  type Health,
  Interlock,
  Principal,
  type ToolExecutor
} from "effect-interlock"
import * as Mcp from "effect-interlock/mcp"
import * as Testing from "effect-interlock/testing"
import { started } from "./support/world.ts"

// --- The world -------------------------------------------------------------

class NotFound extends Schema.TaggedError<NotFound>()("NotFound", { id: Schema.String }) {}

const item = { parameters: Schema.Struct({ id: Schema.String }), success: Schema.String }
const toolkitOf = (failureMode: "error" | "return") =>
  Toolkit.make(
    Tool.make("add", {
      description: "Adds",
      parameters: Schema.Struct({ a: Schema.Int, b: Schema.Int }),
      success: Schema.Struct({ sum: Schema.Int }),
      failureMode
    }).annotate(Tool.Readonly, true),
    Tool.make("read", { ...item, failureMode }).annotate(Annotate.Capabilities, ["read_data"]),
    Tool.make("remove", { ...item, failureMode }),
    Tool.make("pay", { ...item, failureMode }),
    Tool.make("approve", { ...item, failureMode }).annotate(Annotate.Confirmation, "approve"),
    Tool.make("find", { ...item, failure: NotFound, failureMode }),
    Tool.make("broken", { ...item, failureMode }).annotate(Annotate.Retries, 0),
    Tool.make("slow", { ...item, failureMode }).annotate(Annotate.Retries, 0)
  )
type Tools = ReturnType<typeof toolkitOf>["tools"]

const scripts: { readonly [Name in keyof Tools]: Testing.Script } = {
  add: (_, params) => {
    const { a, b } = params as { readonly a: number; readonly b: number }
    return Testing.succeed({ sum: a + b })
  },
  read: Testing.succeed("content"),
  remove: Testing.succeed("removed"),
  pay: Testing.succeed("paid"),
  approve: Testing.succeed("approved"),
  find: Testing.fail(new NotFound({ id: "x" })),
  broken: Testing.fail(new Error("secret")),
  slow: Testing.succeed("late", "10 minutes")
}

const ada = Principal.make({ id: "ada", roles: ["read"] })
const policy = { deny: ["remove"], requireConfirmation: ["pay"] }

/** Who asks is in the request: a token in its metadata here, a header over HTTP. */
const Auth = McpServer.middleware((request, { payload, requestContext }) => {
  const meta = (payload as { readonly _meta?: Record<string, unknown> } | undefined)?._meta
  const token = meta?.["token"] ?? requestContext.requestMetadata?.["token" as never]
  return token === "ada" ? Principal.provide(request, ada) : request
})

const Waits = McpServer.middleware((request) => Approvals.wait(request))

interface ProtocolError {
  readonly code: number
  readonly message: string
}

interface World {
  readonly client: McpTest.Client
  readonly tools: Testing.Scripted<Tools>
  readonly services: Context.Context<Interlock.Services>
  readonly records: ReadonlyArray<CallRecord.CallRecord>
  readonly call: (
    name: string,
    arguments_: Record<string, unknown>,
    token?: string
  ) => Effect.Effect<
    {
      readonly isError: boolean
      readonly text: string
      readonly structured: unknown
      readonly meta: Readonly<Record<string, unknown>>
    },
    unknown
  >
}

const protocols = [
  McpProtocol.v2024_11_05,
  McpProtocol.v2025_03_26,
  McpProtocol.v2025_06_18,
  McpProtocol.v2025_11_25,
  McpProtocol.v2026_07_28
] as const

const world = <A>(
  setting: {
    readonly protocol?: (typeof protocols)[number]
    readonly mode?: "error" | "return"
    readonly hides?: boolean
    readonly registeredBy?: Principal.Principal
    /** Requests wait for their humans. */
    readonly waits?: boolean
  },
  body: (world: World) => Effect.Effect<A, unknown>
): Effect.Effect<A, unknown> => {
  const toolkit = toolkitOf(setting.mode ?? "error")
  const tools = Testing.scripted(toolkit, scripts)
  return Effect.gen(function* () {
    const services = yield* Layer.build(Testing.layer({ policy }))
    const records: Array<CallRecord.CallRecord> = []
    yield* Context.get(services, CallRecord.CallRecorder).add({ onEnd: (record) => records.push(record) })
    const middleware =
      setting.hides === true
        ? Mcp.visibility(toolkit).combine(Auth)
        : setting.waits === true
          ? Waits.combine(Auth)
          : Auth
    const client = yield* McpTest.makeClient(
      Mcp.layer(toolkit).pipe(
        Layer.provide(middleware.layer),
        Layer.provide([tools.layer, Layer.succeedContext(services)]),
        Layer.provide(
          setting.registeredBy === undefined
            ? Layer.empty
            : Layer.succeed(Principal.CurrentPrincipal, setting.registeredBy)
        )
      ),
      { protocols: [setting.protocol ?? McpProtocol.v2025_11_25] }
    )
    const call: World["call"] = (name, arguments_, token) =>
      Effect.map(
        client.callTool({
          name,
          arguments: arguments_,
          ...(token === undefined ? {} : { _meta: { token } })
        }),
        ({ _meta = {}, content, isError, structuredContent }) => ({
          isError: isError === true,
          text: content.map((part) => (part.type === "text" ? part.text : part.type)).join(),
          structured: structuredContent,
          meta: _meta
        })
      )
    return yield* body({ client, tools, services, records, call })
  }).pipe(Effect.scoped)
}

// --- Every version ---------------------------------------------------------

for (const protocol of protocols) {
  for (const mode of ["error", "return"] as const) {
    describe(`MCP ${protocol.protocolVersion}, failure mode "${mode}"`, () => {
      it.effect("lists the tools with what they say of themselves", () =>
        world({ protocol, mode }, ({ client }) =>
          Effect.gen(function* () {
            assert.strictEqual(client.protocolVersion, protocol.protocolVersion)
            const { tools } = yield* client.listTools()
            assert.deepStrictEqual(tools.map(({ name }) => name).sort(), [
              "add",
              "approve",
              "broken",
              "find",
              "pay",
              "read",
              "remove",
              "slow"
            ])
            const add = tools.find(({ name }) => name === "add")
            assert.strictEqual(add?.description, "Adds")
            assert.deepInclude(add?.inputSchema, { type: "object", required: ["a", "b"] })
          })
        )
      )

      it.effect("answers a call, and records it", () =>
        world({ protocol, mode }, ({ call, records }) =>
          Effect.gen(function* () {
            const { isError, text } = yield* call("add", { a: 1, b: 2 }, "ada")
            assert.isFalse(isError)
            assert.strictEqual(text, '{"sum":3}')
            assert.deepStrictEqual(
              records.map(({ door, principal, status, tool }) => ({ door, principal, status, tool })),
              [{ door: "mcp", principal: "ada", status: "success", tool: "add" }]
            )
          })
        )
      )

      it.effect("a refusal is a result with `isError`, its code and its reason", () =>
        world({ protocol, mode }, ({ call, tools }) =>
          Effect.gen(function* () {
            const denied = yield* call("remove", { id: "x" })
            assert.isTrue(denied.isError)
            assert.strictEqual(
              denied.text,
              "POLICY_DENIED: The security policy denies this tool. Making the same call again will not help."
            )
            assert.deepInclude(denied.meta, {
              "interlock/status": "policy_denied",
              "interlock/code": "POLICY_DENIED"
            })
            const pending = yield* call("pay", { id: "x" }, "ada")
            assert.isTrue(pending.isError)
            assert.match(pending.text, /^PENDING_CONFIRMATION: .*must confirm it first/)
            tools.assertRan("remove", 0)
            tools.assertRan("pay", 0)
          })
        )
      )

      it.effect("arguments that do not fit are what the protocol has for them, and say what is wrong", () =>
        world({ protocol, mode }, ({ call, records, tools }) =>
          Effect.gen(function* () {
            const answer = yield* Effect.result(call("add", { a: "x", c: 1 }))
            const inResult = protocol.protocolVersion >= "2025-11-25"
            assert.strictEqual(answer._tag, inResult ? "Success" : "Failure")
            const error = answer._tag === "Failure" ? (answer.failure as ProtocolError) : undefined
            const message = answer._tag === "Success" ? answer.success.text : String(error?.message)
            assert.isTrue(answer._tag === "Success" ? answer.success.isError : error?.code === -32602)
            assert.include(message, '"a" must be an integer')
            assert.include(message, 'Missing required parameter "b"')
            assert.include(message, 'Unknown parameter "c"')
            tools.assertRan("add", 0)
            assert.strictEqual(records[0]?.status, "invalid_params")
          })
        )
      )

      it.effect("the tool's own failure is shown, and a thrown one is not", () =>
        world({ protocol, mode }, ({ call }) =>
          Effect.gen(function* () {
            const own = yield* call("find", { id: "x" })
            assert.isTrue(own.isError)
            assert.deepStrictEqual(JSON.parse(own.text), { _tag: "NotFound", id: "x" })
            const thrown = yield* call("broken", { id: "x" })
            assert.isTrue(thrown.isError)
            assert.match(thrown.text, /HANDLER_FAILED/)
            assert.notInclude(thrown.text, "secret")
          })
        )
      )

      it.effect("a timeout is a result, and interrupts the handler", () =>
        world({ protocol, mode }, ({ call, tools }) =>
          Effect.gen(function* () {
            const fiber = yield* Effect.forkChild(call("slow", { id: "x" }))
            for (let i = 0; i < 100; i++) yield* Effect.yieldNow
            yield* TestClock.adjust("31 seconds")
            const { isError, text } = yield* Fiber.join(fiber)
            assert.isTrue(isError)
            assert.match(text, /^TIMED_OUT: .*Whether it took effect is unknown/)
            assert.strictEqual(tools.runs("slow")[0]?.outcome, "interrupted")
          })
        )
      )

      it.effect("the principal is each request's own", () =>
        world({ protocol, mode }, ({ call, records, tools }) =>
          Effect.gen(function* () {
            const [named, unnamed] = yield* Effect.all(
              [call("read", { id: "x" }, "ada"), call("read", { id: "x" })],
              { concurrency: 2 }
            )
            assert.include(named.text, "content")
            assert.match(unnamed.text, /PERMISSION_DENIED/)
            tools.assertRan("read", 1)
            assert.deepStrictEqual(records.map(({ principal }) => principal).sort(), ["ada", "anonymous"])
          })
        )
      )

      it.effect(
        "`visibility` hides from a list what the principal may not use, and denies it all the same",
        () =>
          world({ protocol, mode, hides: true }, ({ call, client, records }) =>
            Effect.gen(function* () {
              const names = Effect.map(client.listTools(), ({ tools }) => tools.map(({ name }) => name))
              assert.notInclude(yield* names, "read")
              assert.include(yield* names, "add")
              assert.match((yield* call("read", { id: "x" })).text, /PERMISSION_DENIED/)
              assert.strictEqual(records[0]?.status, "permission_denied")
              assert.isFalse((yield* call("read", { id: "x" }, "ada")).isError)
            })
          )
      )
    })
  }
}

// --- Whatever the version --------------------------------------------------

describe("the MCP layer", () => {
  it.effect("does not lend a request the principal of whoever registered the tools", () =>
    world({ registeredBy: ada }, ({ call, records }) =>
      Effect.gen(function* () {
        assert.match((yield* call("read", { id: "x" })).text, /PERMISSION_DENIED/)
        assert.strictEqual(records[0]?.principal, "anonymous")
      })
    )
  )

  it.effect("lists what a principal may use by the principal of the request", () => {
    const toolkit = toolkitOf("error")
    const everyone = McpServer.middleware((request) => Principal.provide(request, ada))
    return Effect.gen(function* () {
      const client = yield* McpTest.makeClient(
        Mcp.layer(toolkit).pipe(
          Layer.provide(Mcp.visibility(toolkit).combine(everyone).layer),
          Layer.provide([Testing.scripted(toolkit, scripts).layer, Testing.layer()])
        ),
        { protocols: [McpProtocol.v2025_11_25] }
      )
      const { tools } = yield* client.listTools()
      assert.include(
        tools.map(({ name }) => name),
        "read"
      )
    }).pipe(Effect.scoped)
  })

  it.effect("lets a request wait for its human, and answers it when that one has decided", () =>
    world({ waits: true }, ({ call, records, services, tools }) =>
      Effect.gen(function* () {
        const approvals = Context.get(services, Approvals.Approvals)
        const granted = yield* started(call("pay", { id: "x" }, "ada"))
        const rejected = yield* started(call("pay", { id: "y" }, "ada"))
        const requests = yield* approvals.list({ state: "pending" })
        assert.lengthOf(requests, 2)
        tools.assertRan("pay", 0)
        for (const { id, view } of requests) {
          const decision: Effect.Effect<unknown, unknown> =
            (view.value as { readonly id: string }).id === "x"
              ? approvals.grant(id)
              : approvals.reject(id, "too much")
          yield* Principal.provide(decision, ada)
        }
        assert.deepInclude(yield* Fiber.join(granted), { isError: false, text: "paid" })
        assert.match((yield* Fiber.join(rejected)).text, /APPROVAL_REJECTED.*too much/)
        assert.deepStrictEqual(records.map(({ status }) => status).sort(), ["rejected", "success"])
        tools.assertRan("pay", 1)
      })
    )
  )

  it.effect("sees that a principal's model goes round in circles, for as long as it goes on", () =>
    world({}, ({ call, records, tools }) =>
      Effect.gen(function* () {
        const again = (token?: string) => call("add", { a: 1, b: 2 }, token)
        for (let i = 0; i < 2; i++) assert.isFalse((yield* again("ada")).isError)
        assert.match((yield* again("ada")).text, /LOOP_DETECTED/)
        // Others go their own ways, and who begins anew after a while does too.
        assert.isFalse((yield* again()).isError)
        yield* TestClock.adjust("15 minutes")
        assert.isFalse((yield* again("ada")).isError)
        tools.assertRan("add", 4)
        const runs = records.map(({ principal, run }) => `${principal} ${run}`)
        assert.strictEqual(new Set(runs).size, 3)
        assert.strictEqual(new Set(runs.slice(0, 3)).size, 1)
      })
    )
  )

  it.effect("asks humans no more than 20 undecided questions for a principal", () =>
    world({}, ({ call, tools }) =>
      Effect.gen(function* () {
        for (let i = 0; i < 20; i++) {
          assert.match((yield* call("pay", { id: String(i) })).text, /PENDING_CONFIRMATION/)
        }
        // What was asked already is the same question, and asks nobody anew.
        assert.match((yield* call("pay", { id: "0" })).text, /PENDING_CONFIRMATION/)
        const { meta, text } = yield* call("pay", { id: "x" })
        assert.match(text, /RATE_LIMITED.*try again in 900 s/)
        assert.strictEqual(meta["interlock/retryAfterMs"], 900_000)
        tools.assertRan("pay", 0)
      })
    )
  )

  it.effect("answers in the words that the page shows", () =>
    world({}, ({ call }) =>
      Effect.gen(function* () {
        const page = readFileSync(join(import.meta.dirname, "../docs/mcp.md"), "utf8").replace(/\s+/g, " ")
        const answers: Array<string> = []
        const say = (name: string, args: Record<string, unknown>) =>
          Effect.map(call(name, args, "ada"), ({ text }) => answers.push(text))
        yield* say("remove", { id: "x" })
        yield* say("add", { a: "x" })
        yield* say("broken", { id: "x" })
        const fiber = yield* started(say("slow", { id: "x" }))
        yield* TestClock.adjust("31 seconds")
        yield* Fiber.join(fiber)
        for (let i = 0; i < 20; i++) yield* call("pay", { id: String(i) }, "ada")
        yield* say("pay", { id: "x" })
        assert.lengthOf(answers, 5)
        for (const answer of answers) assert.include(page, answer)
        // Ids and times differ.
        const pending = (yield* call("approve", { id: "x" }, "bob")).text
        const shown = pending
          .replaceAll(/The request is (\S+);/g, "The request is …;")
          .replaceAll(/approvals approve \S+"/g, 'approvals approve …"')
          .replaceAll(/until \S+Z\./g, "until ….")
        const like = shown.split("…").map((part) => part.trim())
        for (const part of like) assert.include(page, part)
      })
    )
  )

  it.effect("knows no tool that was not registered", () =>
    world({}, ({ call }) =>
      Effect.gen(function* () {
        for (const name of ["no_such_tool", "__proto__", "constructor"]) {
          const error = (yield* Effect.flip(call(name, {}))) as ProtocolError
          assert.strictEqual(error.code, -32602)
        }
      })
    )
  )

  it("requires the handlers and the services of governance", () => {
    const toolkit = toolkitOf("error")
    expectTypeOf(Mcp.layer(toolkit)).toEqualTypeOf<
      Layer.Layer<
        never,
        never,
        ToolExecutor.Governance | Health.Health | McpServer.McpServer | Tool.HandlersFor<typeof toolkit.tools>
      >
    >()
    expectTypeOf(
      Mcp.layer(toolkit).pipe(Layer.provide([Testing.scripted(toolkit, scripts).layer, Interlock.layer()]))
    ).toEqualTypeOf<Layer.Layer<never, never, McpServer.McpServer>>()
  })
})
