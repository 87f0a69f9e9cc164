/** Asking the human of the client that calls: what it can answer, what it cannot, and what runs after an approval. */
import { assert, describe, it } from "@effect/vitest"
import type { Client, ClientOptions } from "@modelcontextprotocol/client"
import { Context, Deferred, Effect, Fiber, Layer, Option, Redacted, Schema } from "effect"
import { McpSchema, McpServer, Tool, Toolkit } from "effect/ai"
import {
  ToolAnnotations as Annotate,
  Approvals,
  CallRecord,
  Handlers,
  type Interlock,
  Principal,
  Run
} from "effect-interlock"
import * as Mcp from "effect-interlock/mcp"
import * as Testing from "effect-interlock/testing"
import { connect, type Era, eras, overHttp, prepared, serveHttp } from "./support/mcpHarness.ts"

// --- The world -------------------------------------------------------------

const { CallResult, PassesContent, text } = Mcp.Content

const tools = Toolkit.make(
  Tool.make("pay", {
    parameters: Schema.Struct({
      to: Schema.String,
      pin: Schema.optionalKey(Schema.String.annotate(Annotate.sensitive))
    }),
    success: Schema.String
  }),
  Tool.make("erase", {
    parameters: Schema.Struct({ what: Schema.String }),
    success: Schema.String
  }).annotate(Annotate.Confirmation, "approve"),
  Tool.make("greet", { success: CallResult }).annotate(PassesContent, {})
)

const handlers = Handlers.toLayer(tools, {
  pay: ({ to }) => `paid ${to}`,
  erase: ({ what }) => `erased ${what}`,
  greet: () =>
    Effect.map(Effect.serviceOption(McpSchema.McpRequestContext), (context) => {
      const { inputResponses, requestState } = Option.getOrThrow(context)
      const name = (inputResponses?.name?.content as { readonly name?: string } | undefined)?.name
      return name === undefined
        ? {
            content: [],
            requestState: "hello",
            inputRequests: {
              name: {
                method: "elicitation/create",
                params: {
                  message: "What is your name?",
                  requestedSchema: {
                    type: "object",
                    properties: { name: { type: "string" } },
                    required: ["name"]
                  }
                }
              }
            }
          }
        : { content: [text(`${requestState} ${name}`)] }
    })
})

const ada = Principal.make({ id: "ada" })
const bob = Principal.make({ id: "bob" })

type Answer = "yes" | "no" | "cancel" | "untick" | "nothing" | "fail" | "never"

const answers: Readonly<Record<Exclude<Answer, "fail" | "never">, object>> = {
  yes: { action: "accept", content: { confirm: true } },
  no: { action: "decline" },
  cancel: { action: "cancel" },
  untick: { action: "accept", content: { confirm: false } },
  nothing: { action: "accept", content: {} }
}

interface Setting {
  readonly principal?: Principal.Principal
  /** What the client's human says, one after the other; without any, the client cannot ask one. */
  readonly says?: ReadonlyArray<Answer>
  readonly waits?: boolean
  /** What its calls are part of. */
  readonly run?: Run.Run
  readonly options?: Interlock.Options
  readonly services?: Context.Context<Interlock.Services>
}

const policy = { requireConfirmation: ["pay", "greet"] }

const servicesOf = (options: Interlock.Options = {}) => Layer.build(Testing.layer({ policy, ...options }))

/** A server, and one client of it. */
const world = Effect.fnUntraced(function* (era: Era, setting: Setting = {}) {
  const services = setting.services ?? (yield* servicesOf(setting.options))
  const approvals = Context.get(services, Approvals.Approvals)
  const records: Array<CallRecord.CallRecord> = []
  yield* Context.get(services, CallRecord.CallRecorder).add({ onEnd: (record) => records.push(record) })
  const waiting = McpServer.middleware((request) => Approvals.wait(request))
  const { run } = setting
  const inRun = McpServer.middleware((request) => (run === undefined ? request : Run.provide(request, run)))
  const auth = inRun.combine(Mcp.principal(setting.principal ?? ada))
  const middleware = setting.waits === true ? waiting.combine(auth) : auth
  const url = yield* serveHttp(
    Mcp.layer(tools).pipe(
      Layer.provide(middleware.layer),
      Layer.provide([handlers, Layer.succeedContext(services)])
    )
  )
  const asked: Array<string> = []
  const isAsked = yield* Deferred.make<void>()
  const { says } = setting
  const options: ClientOptions = says === undefined ? {} : { capabilities: { elicitation: { form: {} } } }
  const answering = (client: Client) =>
    client.setRequestHandler("elicitation/create", async ({ params }) => {
      if (params.message.startsWith("What is")) return { action: "accept", content: { name: "Ada" } }
      asked.push(params.message)
      Deferred.doneUnsafe(isAsked, Effect.void)
      const answer = says?.[asked.length - 1] ?? "fail"
      if (answer === "never") await new Promise(() => {})
      if (answer === "fail" || answer === "never") throw new Error("There is nobody")
      return answers[answer] as never
    })
  const client = yield* connect(
    era,
    overHttp(url),
    says === undefined ? options : prepared(options, answering)
  )
  const call = (name: string, args: Readonly<Record<string, unknown>> = {}) =>
    Effect.promise(async () => {
      const { _meta = {}, content, isError = false } = await client.callTool({ name, arguments: args })
      const [part] = content as ReadonlyArray<{ readonly text: string }>
      return { isError, text: part?.text ?? "", meta: _meta }
    })
  const statuses = () => records.map(({ status }) => status).join()
  return {
    approvals,
    asked,
    call,
    client,
    isAsked: Deferred.await(isAsked),
    records,
    services,
    statuses,
    url
  }
})

const pending = /^PENDING_CONFIRMATION: /

for (const era of eras) {
  describe(`a call that needs a confirmation, over MCP ${era}`, () => {
    it.live("runs when the client's human says yes, and leaves a record of both", () =>
      Effect.gen(function* () {
        const { asked, call, records, statuses } = yield* world(era, { says: ["yes"] })
        assert.deepInclude(yield* call("pay", { to: "eve", pin: "s3cret" }), {
          isError: false,
          text: "paid eve"
        })
        assert.lengthOf(asked, 1)
        assert.match(asked[0] ?? "", /^pay needs your confirmation/)
        assert.include(asked[0], '"to": "eve"')
        assert.notInclude(asked[0], "s3cret")
        assert.strictEqual(statuses(), "pending_confirmation,success")
        assert.isDefined(records[1]?.approval)
        assert.notStrictEqual(records[0]?.callId, records[1]?.callId)
      }).pipe(Effect.scoped)
    )

    it.live("runs once for one yes", () =>
      Effect.gen(function* () {
        const { asked, call } = yield* world(era, { says: ["yes", "no"] })
        assert.strictEqual((yield* call("pay", { to: "eve" })).text, "paid eve")
        assert.match((yield* call("pay", { to: "eve" })).text, /^APPROVAL_REJECTED/)
        assert.lengthOf(asked, 2)
      }).pipe(Effect.scoped)
    )

    for (const no of ["no", "untick"] as const) {
      it.live(`is rejected when the human says ${no}, and the same call then asks nobody`, () =>
        Effect.gen(function* () {
          const { asked, call, statuses } = yield* world(era, { says: [no, "yes"] })
          assert.match((yield* call("pay", { to: "eve" })).text, /^APPROVAL_REJECTED/)
          assert.match((yield* call("pay", { to: "eve" })).text, /^APPROVAL_REJECTED/)
          assert.lengthOf(asked, 1)
          assert.strictEqual(statuses(), "pending_confirmation,rejected,rejected")
        }).pipe(Effect.scoped)
      )
    }

    for (const silence of ["cancel", "nothing"] as const) {
      it.live(`stays pending when the human answers with ${silence}, and is asked about again`, () =>
        Effect.gen(function* () {
          const { asked, call } = yield* world(era, { says: [silence, "yes"] })
          const first = yield* call("pay", { to: "eve" })
          assert.match(first.text, pending)
          assert.strictEqual((yield* call("pay", { to: "eve" })).text, "paid eve")
          assert.lengthOf(asked, 2)
        }).pipe(Effect.scoped)
      )
    }

    it.live("is asked about on behalf of a model, whose person answers", () =>
      Effect.gen(function* () {
        const principal = { ...ada, actor: { kind: "model", id: "opus" } } as const
        const { call, services } = yield* world(era, { principal, says: ["yes"] })
        assert.strictEqual((yield* call("pay", { to: "eve" })).text, "paid eve")
        const [request] = yield* Context.get(services, Approvals.Approvals).list()
        assert.deepInclude(request, { decidedBy: "ada", actor: principal.actor })
      }).pipe(Effect.scoped)
    )

    it.live("is answered by its person also within a run that a model drives", () =>
      Effect.gen(function* () {
        const run = Run.make({ id: "agent", driver: "model", actor: { kind: "model", id: "opus" } })
        const { call } = yield* world(era, { run, says: ["yes"] })
        assert.strictEqual((yield* call("pay", { to: "eve" })).text, "paid eve")
      }).pipe(Effect.scoped)
    )

    it.live("asks nobody where another person must approve, and runs when one has", () =>
      Effect.gen(function* () {
        const { approvals, asked, call } = yield* world(era, { says: ["yes"] })
        const first = yield* call("erase", { what: "all" })
        const id = String(first.meta["interlock/request"])
        assert.match(first.text, pending)
        assert.include(first.text, `interlock approvals approve ${id}`)
        assert.strictEqual(first.meta["interlock/expiresAt"], (yield* approvals.get(id))?.expiresAt)
        assert.match(
          String(yield* Effect.flip(Principal.provide(approvals.grant(id), ada))),
          /Another person/
        )
        yield* Principal.provide(approvals.grant(id), bob)
        // Whatever else she calls meanwhile is not what was approved.
        assert.match((yield* call("erase", { what: "some" })).text, pending)
        assert.strictEqual((yield* call("erase", { what: "all" })).text, "erased all")
        assert.match((yield* call("erase", { what: "all" })).text, pending)
        assert.lengthOf(asked, 0)
      }).pipe(Effect.scoped)
    )

    const nobody: Readonly<Record<string, Setting>> = {
      "a client that cannot ask": {},
      "a principal without a name": { principal: Principal.anonymous, says: ["yes"] },
      "a service, which has nobody at its side": {
        principal: { ...ada, actor: { kind: "service", id: "cron" } },
        says: ["yes"]
      }
    }
    for (const [who, setting] of Object.entries(nobody)) {
      it.live(`asks nobody for ${who}`, () =>
        Effect.gen(function* () {
          const { asked, call } = yield* world(era, setting)
          const { text } = yield* call("pay", { to: "eve" })
          assert.match(text, pending)
          assert.lengthOf(asked, 0)
          const anonymous = setting.principal === Principal.anonymous
          assert.match(text, anonymous ? /connect as somebody/ : /interlock approvals approve/)
        }).pipe(Effect.scoped)
      )
    }

    it.live("stays pending where the deployment's rules do not let the principal decide", () =>
      Effect.gen(function* () {
        const options = { approvals: { mayDecide: () => false } }
        const { call } = yield* world(era, { options, says: ["yes"] })
        assert.match((yield* call("pay", { to: "eve" })).text, pending)
      }).pipe(Effect.scoped)
    )

    it.live("waits for whoever else may decide when the human has not, if its caller said so", () =>
      Effect.gen(function* () {
        const { approvals, call, isAsked } = yield* world(era, { waits: true, says: ["cancel"] })
        const fiber = yield* Effect.forkChild(call("pay", { to: "eve" }))
        yield* isAsked
        const [request] = yield* approvals.list({ state: "pending" })
        yield* Principal.provide(approvals.grant(String(request?.id)), ada)
        assert.strictEqual((yield* Fiber.join(fiber)).text, "paid eve")
      }).pipe(Effect.scoped)
    )

    it.live("runs at another server with the same keys and store, once it was granted", () =>
      Effect.gen(function* () {
        const services = yield* servicesOf()
        const before = yield* world(era, { services })
        const first = yield* before.call("pay", { to: "eve" })
        yield* Principal.provide(before.approvals.grant(String(first.meta["interlock/request"])), ada)
        const after = yield* world(era, { services })
        assert.strictEqual((yield* after.call("pay", { to: "eve" })).text, "paid eve")
        assert.match((yield* before.call("pay", { to: "eve" })).text, pending)
      }).pipe(Effect.scoped)
    )

    it.live("is another principal's question when another principal makes it", () =>
      Effect.gen(function* () {
        const services = yield* servicesOf()
        const adas = yield* world(era, { services })
        const bobs = yield* world(era, { services, principal: bob })
        const first = yield* adas.call("pay", { to: "eve" })
        yield* Principal.provide(adas.approvals.grant(String(first.meta["interlock/request"])), ada)
        assert.match((yield* bobs.call("pay", { to: "eve" })).text, pending)
        assert.strictEqual((yield* adas.call("pay", { to: "eve" })).text, "paid eve")
      }).pipe(Effect.scoped)
    )
  })
}

// --- Over a session --------------------------------------------------------

describe("a question over a session", () => {
  it.live("is withdrawn when somebody decides elsewhere, and the call goes on", () =>
    Effect.gen(function* () {
      const { approvals, call, isAsked } = yield* world("2025-11-25", { says: ["never"] })
      const fiber = yield* Effect.forkChild(call("pay", { to: "eve" }))
      yield* isAsked
      const [request] = yield* approvals.list({ state: "pending" })
      yield* Principal.provide(approvals.grant(String(request?.id)), ada)
      assert.strictEqual((yield* Fiber.join(fiber)).text, "paid eve")
    }).pipe(Effect.scoped)
  )

  it.live("tells whoever wants to know that the call waits for a person", () =>
    Effect.gen(function* () {
      const { client } = yield* world("2025-11-25", { says: ["yes"] })
      const told: Array<string | undefined> = []
      const onprogress = ({ message }: { readonly message?: string | undefined }) => told.push(message)
      yield* Effect.promise(() => client.callTool({ name: "pay", arguments: { to: "eve" } }, { onprogress }))
      assert.deepStrictEqual(told, ["Waiting for a person to confirm the call"])
    }).pipe(Effect.scoped)
  )

  it.live("that the client fails to ask stays pending", () =>
    Effect.gen(function* () {
      const { call } = yield* world("2025-11-25", { says: ["fail"] })
      assert.match((yield* call("pay", { to: "eve" })).text, pending)
    }).pipe(Effect.scoped)
  )
})

// --- By a result -----------------------------------------------------------

interface Asked {
  readonly result?: {
    readonly resultType: string
    readonly requestState?: string
    readonly inputRequests?: Readonly<Record<string, unknown>>
    readonly content?: ReadonlyArray<{ readonly text: string }>
  }
  readonly error?: { readonly code: number; readonly message: string }
}

/** A call as it goes over the wire, made by a client that does as it likes. */
const wire = (url: string, name: string, args: object, more: object = {}, token?: string) =>
  Effect.promise(async (): Promise<Asked> => {
    const response = await fetch(url, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": name,
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` })
      },
      body: JSON.stringify({
        jsonrpc: "2.0",
        id: 1,
        method: "tools/call",
        params: {
          name,
          arguments: args,
          ...more,
          _meta: {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": { elicitation: {} },
            "io.modelcontextprotocol/clientInfo": { name: "wire", version: "1" }
          }
        }
      })
    })
    return (await response.json()) as Asked
  })

const yes = { inputResponses: { confirmation: answers.yes } }

describe("a question by a result", () => {
  const served = Effect.fnUntraced(function* () {
    const services = yield* servicesOf()
    const tokens = [
      { token: Redacted.make("the-token-of-ada"), principal: ada },
      { token: Redacted.make("the-token-of-bob"), principal: bob }
    ]
    const url = yield* serveHttp(
      Mcp.layer(tools).pipe(Layer.provide([handlers, Layer.succeedContext(services)])),
      Mcp.principals({ tokens }).layer
    )
    const call = (name: string, args: object, more: object = {}, who: "ada" | "bob" = "ada") =>
      wire(url, name, args, more, `the-token-of-${who}`)
    const stateOf = ({ result }: Asked) => String(result?.requestState)
    const text = ({ error, result }: Asked) => error?.message ?? String(result?.content?.[0]?.text)
    return { approvals: Context.get(services, Approvals.Approvals), call, stateOf, text }
  })

  it.live("is bound to its call: no other arguments, tool, principal or state passes", () =>
    Effect.gen(function* () {
      const { approvals, call, stateOf, text } = yield* served()
      const asked = yield* call("pay", { to: "eve" })
      assert.strictEqual(asked.result?.resultType, "input_required")
      const requestState = stateOf(asked)
      const [request] = yield* approvals.list()
      assert.notInclude(requestState, String(request?.id))
      const refused = [
        yield* call("pay", { to: "mallory" }, { ...yes, requestState }),
        yield* call("greet", { to: "eve" }, { ...yes, requestState }),
        yield* call("pay", { to: "eve" }, { ...yes, requestState }, "bob"),
        yield* call("pay", { to: "eve" }, { ...yes, requestState: `${requestState}A` }),
        yield* call("pay", { to: "eve" }, { ...yes, requestState: String(request?.id) })
      ]
      for (const answer of refused) {
        assert.strictEqual(answer.error?.code, -32602)
        assert.include(text(answer), "not of this call")
      }
      assert.strictEqual((yield* approvals.get(String(request?.id)))?.state, "pending")
      assert.strictEqual(text(yield* call("pay", { to: "eve" }, { ...yes, requestState })), "paid eve")
    }).pipe(Effect.scoped)
  )

  it.live("lets its call run once: its state brought back again asks anew", () =>
    Effect.gen(function* () {
      const { call, stateOf, text } = yield* served()
      const requestState = stateOf(yield* call("pay", { to: "eve" }))
      assert.strictEqual(text(yield* call("pay", { to: "eve" }, { ...yes, requestState })), "paid eve")
      const again = yield* call("pay", { to: "eve" }, { ...yes, requestState })
      assert.match(text(again), pending)
    }).pipe(Effect.scoped)
  )

  it.live("is asked again where no answer came, and is no answer where none was asked", () =>
    Effect.gen(function* () {
      const { call, stateOf } = yield* served()
      assert.strictEqual((yield* call("pay", { to: "eve" }, yes)).result?.resultType, "input_required")
      const asked = yield* call("pay", { to: "eve" })
      const again = yield* call("pay", { to: "eve" }, { requestState: stateOf(asked) })
      assert.deepStrictEqual(Object.keys(again.result?.inputRequests ?? {}), ["confirmation"])
    }).pipe(Effect.scoped)
  )

  it.live("takes nothing from a tool that asks for something itself", () =>
    Effect.gen(function* () {
      const { asked, call, statuses } = yield* world("2026-07-28", { says: ["yes", "yes"] })
      // Confirmed, asked for a name, and confirmed again: each run of the handler is a call of its own.
      assert.strictEqual((yield* call("greet")).text, "hello Ada")
      assert.lengthOf(asked, 2)
      assert.strictEqual(statuses(), "pending_confirmation,success,pending_confirmation,success")
    }).pipe(Effect.scoped)
  )

  it.live("of a tool is told to be impossible over a version that has sessions", () =>
    Effect.gen(function* () {
      const { call } = yield* world("2025-11-25", { says: ["yes"] })
      const { isError, text } = yield* call("greet")
      assert.isTrue(isError)
      assert.match(text, /connect with 2026-07-28/)
    }).pipe(Effect.scoped)
  )
})
