/** Which calls over MCP belong together: by principal and session, until none came for a while. */
import { assert, describe, it } from "@effect/vitest"
import * as McpProtocol from "effect/ai/McpProtocol"
import * as McpServer from "effect/ai/McpServer"
import * as McpTest from "effect/ai/McpTest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { ToolAnnotations as Annotate, CallRecord, Principal, Run } from "effect-interlock"
import * as Mcp from "effect-interlock/mcp"
import * as Testing from "effect-interlock/testing"
import { runPerPrincipal } from "../src/internal/runPerPrincipal.ts"

// --- The world -------------------------------------------------------------

const text = { parameters: Schema.Struct({ text: Schema.String }), success: Schema.String }

const Reading = Toolkit.make(
  Tool.make("read", text).annotate(Annotate.Trust, "untrusted"),
  Tool.make("look", text).annotate(Annotate.Trust, "trusted")
)
const Sending = Toolkit.make(Tool.make("send", text).annotate(Annotate.SendsData, true))

interface Caller {
  readonly principal: string
  readonly session?: string
  readonly tenant?: string
  /** A run that middleware provides. */
  readonly run?: string
}

interface World {
  readonly records: ReadonlyArray<CallRecord.CallRecord>
  readonly call: (
    caller: Caller,
    name: "read" | "look" | "send",
    text?: string
  ) => Effect.Effect<{ readonly isError: boolean; readonly text: string }, unknown>
}

const world = <A>(
  body: (world: World) => Effect.Effect<A, unknown, Scope.Scope>
): Effect.Effect<A, unknown> =>
  Effect.gen(function* () {
    const services = yield* Layer.build(Testing.layer())
    const records: Array<CallRecord.CallRecord> = []
    yield* Context.get(services, CallRecord.CallRecorder).add({ onEnd: (record) => records.push(record) })
    const runs = new Map<string, Run.Run>()
    // Who asks is in the request: in its metadata here, in a header over HTTP.
    const auth = McpServer.middleware((request, { payload }) => {
      const { _meta } = payload as { readonly _meta: { readonly caller?: Caller } }
      if (_meta?.caller === undefined) return request
      const { principal, run, ...more } = _meta.caller
      const known = run === undefined ? undefined : (runs.get(run) ?? Run.make({ id: run }))
      if (known !== undefined) runs.set(known.id, known)
      const asked = Principal.provide(request, Principal.make({ id: principal, ...more }))
      return known === undefined ? asked : Run.provide(asked, known)
    })
    const client = yield* McpTest.makeClient(
      Layer.mergeAll(Mcp.layer(Reading), Mcp.layer(Sending)).pipe(
        Layer.provide(auth.layer),
        Layer.provide([
          Testing.scripted(Reading, { read: Testing.succeed("read"), look: Testing.succeed("seen") }).layer,
          Testing.scripted(Sending, { send: Testing.succeed("sent") }).layer,
          Layer.succeedContext(services)
        ])
      ),
      { protocols: [McpProtocol.v2025_11_25] }
    )
    return yield* body({
      records,
      call: (caller, name, text = "x") =>
        Effect.map(
          client.callTool({ name, arguments: { text }, _meta: { caller } }),
          ({ content, isError }) => ({
            isError: isError === true,
            text: content.map((part) => (part.type === "text" ? part.text : part.type)).join()
          })
        )
    })
  }).pipe(Effect.scoped)

const ada = { principal: "ada", session: "s1" }

const asksAHuman = (answer: { readonly text: string }) => assert.match(answer.text, /PENDING_CONFIRMATION/)
const sent = (answer: { readonly text: string }) => assert.strictEqual(answer.text, "sent")

// --- Who shares a run ------------------------------------------------------

describe("calls over MCP", () => {
  it.effect("of one principal and session share taint, through whichever toolkit of the server", () =>
    world(({ call, records }) =>
      Effect.gen(function* () {
        sent(yield* call(ada, "send"))
        yield* call(ada, "read")
        asksAHuman(yield* call(ada, "send"))
        assert.strictEqual(new Set(records.map(({ run }) => run)).size, 1)
        assert.deepStrictEqual(
          records.map(({ session }) => session),
          ["s1", "s1", "s1"]
        )
      })
    )
  )

  it.effect("of one principal and session share what looks like a loop", () =>
    world(({ call }) =>
      Effect.gen(function* () {
        yield* call(ada, "look", "same")
        yield* call(ada, "look", "same")
        assert.match((yield* call(ada, "look", "same")).text, /LOOP_DETECTED/)
        assert.strictEqual((yield* call(ada, "look", "other")).text, "seen")
        assert.strictEqual((yield* call({ ...ada, principal: "bob" }, "look", "same")).text, "seen")
      })
    )
  )

  it.effect("of another principal, tenant or session are another run", () =>
    world(({ call, records }) =>
      Effect.gen(function* () {
        yield* call(ada, "read")
        const others: ReadonlyArray<Caller> = [
          { ...ada, principal: "bob" },
          { ...ada, session: "s2" },
          { principal: "ada" },
          { ...ada, tenant: "acme" },
          // Names that would run together if they were only put in a row.
          { principal: "ada,s1" }
        ]
        for (const other of others) sent(yield* call(other, "send"))
        asksAHuman(yield* call(ada, "send"))
        assert.strictEqual(new Set(records.map(({ run }) => run)).size, 1 + others.length)
      })
    )
  )

  it.effect("that nobody put a name to share one run", () =>
    world(({ call }) =>
      Effect.gen(function* () {
        const nobody = { principal: "anonymous" }
        yield* call(nobody, "read")
        asksAHuman(yield* call(nobody, "send"))
      })
    )
  )

  // --- How long --------------------------------------------------------------

  it.effect("are one run for as long as one comes within 15 minutes of the last", () =>
    world(({ call }) =>
      Effect.gen(function* () {
        yield* call(ada, "read")
        for (let i = 0; i < 8; i++) {
          yield* TestClock.adjust("14 minutes")
          asksAHuman(yield* call(ada, "send", String(i)))
        }
      })
    )
  )

  it.effect("after 15 minutes without any begin a new run", () =>
    world(({ call, records }) =>
      Effect.gen(function* () {
        yield* call(ada, "read")
        yield* TestClock.adjust(15 * 60_000 - 1)
        asksAHuman(yield* call(ada, "send"))
        yield* TestClock.adjust("15 minutes")
        sent(yield* call(ada, "send"))
        assert.strictEqual(new Set(records.map(({ run }) => run)).size, 2)
      })
    )
  )

  // --- Runs from elsewhere ---------------------------------------------------

  it.effect("are part of the run that middleware provides, and of no other", () =>
    world(({ call, records }) =>
      Effect.gen(function* () {
        yield* call({ ...ada, run: "mine" }, "read")
        sent(yield* call(ada, "send"))
        sent(yield* call({ ...ada, run: "another" }, "send"))
        asksAHuman(yield* call({ ...ada, run: "mine" }, "send"))
        // Also where somebody else goes on with it.
        asksAHuman(yield* call({ principal: "bob", run: "mine" }, "send"))
        assert.deepStrictEqual(
          records.map(({ run }) => run).filter((run) => run === "mine" || run === "another"),
          ["mine", "another", "mine", "mine"]
        )
      })
    )
  )

  it.effect("of two servers are never one run", () =>
    Effect.gen(function* () {
      const runOf = world(({ call, records }) => Effect.map(call(ada, "look"), () => records[0]?.run))
      assert.notStrictEqual(yield* runOf, yield* runOf)
    })
  )
})

// --- How many --------------------------------------------------------------

describe("runs of principals", () => {
  const current = Effect.flatMap(Effect.service(Run.CurrentRun), (run) => Effect.succeed(run as Run.Run))
  const principal = (id: string) => Principal.make({ id })

  it.effect("are remembered for ten thousand, and of more the longest unused is forgotten", () =>
    Effect.gen(function* () {
      const inRun = runPerPrincipal("r_")
      const runOf = (id: string) => Principal.provide(inRun(current), principal(id))
      const first = yield* runOf("0")
      const second = yield* runOf("1")
      for (let i = 2; i < 10_000; i++) yield* runOf(String(i))
      assert.strictEqual(yield* runOf("0"), first)
      // The first was used just now, so that it is the second's turn.
      yield* runOf("one more")
      assert.strictEqual(yield* runOf("0"), first)
      assert.notStrictEqual(yield* runOf("1"), second)
    })
  )

  it.effect("never forget the one that is in use, however many there are", () =>
    Effect.gen(function* () {
      const inRun = runPerPrincipal("r_")
      const runOf = (id: string) => Principal.provide(inRun(current), principal(id))
      const first = yield* runOf("0")
      for (let i = 1; i < 10_000; i++) yield* runOf(String(i))
      assert.strictEqual(yield* runOf("0"), first)
    })
  )

  it.effect("are driven by a model", () =>
    Effect.gen(function* () {
      const run = yield* runPerPrincipal("r_")(current)
      assert.strictEqual(run.driver, "model")
    })
  )
})
