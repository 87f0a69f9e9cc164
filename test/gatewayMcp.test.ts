/** A gateway as clients meet it: the official client on one side, other people's servers on the other. */
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import type { Client, ClientOptions } from "@modelcontextprotocol/client"
import { Context, Deferred, Effect, Fiber, Layer } from "effect"
import { Gateway, Pins } from "effect-interlock/mcp"
import { folder, notes, reference, scripted, textOf, until, write } from "./support/gateway.ts"
import { fixtureServer, front } from "./support/gatewayFront.ts"
import { ownTools } from "./support/gatewayServer.ts"
import { connect, eras, overHttp, prepared } from "./support/mcpHarness.ts"

const everything = reference("server-everything", "stdio")

const listed = (client: Client) =>
  Effect.promise(async () => (await client.listTools()).tools.map(({ name }) => name).sort())

const called = (client: Client, name: string, args: Record<string, unknown> = {}, options = {}) =>
  Effect.promise(() => client.callTool({ name, arguments: args }, options))

/** A client that answers what it is asked, and what it was asked. */
const answering = (answer: Record<string, unknown>) => {
  const asked: Array<{ readonly method: string; readonly params: unknown }> = []
  const options: ClientOptions = prepared(
    { capabilities: { elicitation: { form: {} }, sampling: {} } },
    (client) => {
      client.setRequestHandler("elicitation/create", ({ method, params }) => {
        asked.push({ method, params })
        return answer as never
      })
      client.setRequestHandler("sampling/createMessage", ({ method, params }) => {
        asked.push({ method, params })
        return { model: "m", role: "assistant", content: { type: "text", text: "sampled" } } as never
      })
    }
  )
  return { asked, options }
}

for (const era of eras) {
  describe(`through a gateway, a client of ${era}`, () => {
    it.live("lists and calls tools of every server, with their content as it is", () =>
      Effect.gen(function* () {
        const { url } = yield* front({ servers: { everything, one: scripted() } })
        const client = yield* connect(era, overHttp(url))
        assert.includeMembers(yield* listed(client), ["everything__echo", "one__echo"])
        const image = yield* called(client, "everything__get-tiny-image")
        assert.deepEqual(
          image.content.map(({ type }) => type),
          ["text", "image", "text"]
        )
        const structured = yield* called(client, "everything__get-structured-content", {
          location: "New York"
        })
        assert.deepEqual(structured.structuredContent, {
          temperature: 33,
          conditions: "Cloudy",
          humidity: 82
        })
        const failed = yield* called(client, "one__fail")
        assert.deepInclude(failed, { isError: true })
        assert.strictEqual(textOf(failed), "It did not work.")
        const { tools } = yield* Effect.promise(() => client.listTools())
        const echo = tools.find(({ name }) => name === "one__echo")
        assert.deepEqual(echo?.inputSchema, {
          type: "object",
          properties: { text: { type: "string" } },
          required: ["text"]
        })
        // It says that it only reads, and nobody trusts it.
        assert.isUndefined(echo?.annotations?.readOnlyHint)
      }).pipe(Effect.scoped)
    )

    it.live("hears how far a call is", () =>
      Effect.gen(function* () {
        const { url } = yield* front({ servers: { one: scripted() } })
        const client = yield* connect(era, overHttp(url))
        const heard: Array<unknown> = []
        const result = yield* called(
          client,
          "one__steps",
          {},
          { onprogress: (step: unknown) => heard.push(step) }
        )
        assert.strictEqual(textOf(result), "done")
        assert.deepEqual(heard, [
          { progress: 1, total: 3, message: "step 1" },
          { progress: 2, total: 3, message: "step 2" },
          { progress: 3, total: 3, message: "step 3" }
        ])
      }).pipe(Effect.scoped)
    )

    it.live("cancels a call all the way to the server", () =>
      Effect.gen(function* () {
        const log = join(yield* folder, "log")
        const { behind, url } = yield* front({ servers: { one: scripted({ log }) } })
        const client = yield* connect(era, overHttp(url))
        const controller = new AbortController()
        const ended = client
          .callTool({ name: "one__wait", arguments: {} }, { signal: controller.signal })
          .then(
            () => "answered",
            () => "cancelled"
          )
        const waiting = yield* until(
          Effect.sync(() => notes(log).find((line) => line.startsWith("waiting "))),
          (line) => line !== undefined
        )
        controller.abort()
        assert.strictEqual(yield* Effect.promise(() => ended), "cancelled")
        yield* until(
          Effect.sync(() => notes(log)),
          (lines) => lines.includes(waiting!.replace("waiting", "cancelled"))
        )
        const [status] = yield* until(
          Context.get(behind, Gateway.Gateway).status,
          ([status]) => status?.inFlight === 0
        )
        assert.strictEqual(status?.state, "ready")
      }).pipe(Effect.scoped)
    )

    it.live("is told when tools come, and does not see what was withdrawn", () =>
      Effect.gen(function* () {
        const tools = join(yield* folder, "tools.json")
        write(tools, ownTools)
        const { behind, url } = yield* front({ servers: { one: scripted({ tools }) } })
        const gateway = Context.get(behind, Gateway.Gateway)
        const told = yield* Deferred.make<void>()
        const client = yield* connect(era, overHttp(url), {
          listChanged: {
            tools: { autoRefresh: false, onChanged: () => Deferred.doneUnsafe(told, Effect.void) }
          }
        })
        assert.include(yield* listed(client), "one__echo")
        write(
          tools,
          ownTools.map((tool) => (tool["name"] === "echo" ? { ...tool, description: "Another." } : tool))
        )
        yield* gateway.restart("one")
        if (era === "2026-07-28") yield* Deferred.await(told)
        const without = yield* listed(client)
        assert.notInclude(without, "one__echo")
        assert.include(without, "one__pid")
        // Who remembers it is told why it is not there.
        const refused = yield* called(client, "one__echo", { text: "x" })
        assert.isTrue(refused.isError)
        assert.include(textOf(refused), "interlock gateway accept one echo")
        yield* gateway.accept("one")
        assert.include(yield* listed(client), "one__echo")
        assert.strictEqual(textOf(yield* called(client, "one__echo", { text: "x" })), "x")
      }).pipe(Effect.scoped)
    )

    it.live("has the prompts, resources, templates and completions of every server", () =>
      Effect.gen(function* () {
        const { url } = yield* front({ servers: { everything, fixture: fixtureServer(era) } })
        const client = yield* connect(era, overHttp(url))
        const { prompts } = yield* Effect.promise(() => client.listPrompts())
        const named = new Map(prompts.map((prompt) => [prompt.name, prompt]))
        assert.includeMembers([...named.keys()], ["everything__args-prompt", "fixture__test_simple_prompt"])
        assert.notInclude([...named.keys()], "interlock")
        assert.deepEqual(
          named.get("everything__args-prompt")?.arguments?.map(({ name, required }) => [name, required]),
          [
            ["city", true],
            ["state", false]
          ]
        )
        const got = yield* Effect.promise(() =>
          client.getPrompt({ name: "everything__args-prompt", arguments: { city: "Rome" } })
        )
        assert.deepInclude(got.messages[0]?.content, { text: "What's weather in Rome?" })

        const { resources } = yield* Effect.promise(() => client.listResources())
        const uris = resources.map(({ uri }) => uri)
        assert.includeMembers(uris, ["demo://resource/static/document/features.md", "test://static-binary"])
        assert.notInclude(uris, "interlock:nothing")
        const binary = yield* Effect.promise(() => client.readResource({ uri: "test://static-binary" }))
        assert.strictEqual((binary.contents[0] as { readonly blob?: string }).blob?.slice(0, 8), "iVBORw0K")
        const templated = yield* Effect.promise(() =>
          client.readResource({ uri: "demo://resource/dynamic/text/7" })
        )
        assert.include((templated.contents[0] as { readonly text?: string }).text, "Resource 7")

        const completed = yield* Effect.promise(() =>
          client.complete({
            ref: { type: "ref/prompt", name: "everything__completable-prompt" },
            argument: { name: "name", value: "" },
            context: { arguments: { department: "Sales" } }
          })
        )
        assert.deepEqual(completed.completion.values, ["David", "Eve", "Frank"])
      }).pipe(Effect.scoped)
    )

    it.live("is refused prompts and resources as tools are", () =>
      Effect.gen(function* () {
        const { url } = yield* front({ servers: { everything } }, undefined, {
          policy: { deny: ["everything__resources/read", "prompts/*"] }
        })
        const client = yield* connect(era, overHttp(url))
        const read = yield* Effect.promise(() =>
          client.readResource({ uri: "demo://resource/dynamic/text/1" }).then(
            () => "read",
            (error: Error) => error.message
          )
        )
        assert.include(read, "The security policy denies this tool.")
        const got = yield* Effect.promise(() =>
          client.getPrompt({ name: "everything__simple-prompt" }).then(
            () => "got",
            (error: Error) => error.message
          )
        )
        assert.include(got, "The security policy denies this tool.")
      }).pipe(Effect.scoped)
    )
  })
}

describe("prompts of a server", () => {
  const listedPrompts = (client: Client) =>
    Effect.promise(async () => (await client.listPrompts()).prompts.map(({ name }) => name).sort())

  it.live("come and go with it, and those that hide something never come", () =>
    Effect.gen(function* () {
      const prompts = join(yield* folder, "prompts.json")
      const hidden = { name: "hidden", description: "\u200bA prompt." }
      write(prompts, [{ name: "a" }, { name: "b", description: null }, hidden, { description: "nameless" }])
      const { behind, url } = yield* front({ servers: { one: scripted({ prompts }) } })
      const gateway = Context.get(behind, Gateway.Gateway)
      const client = yield* connect("2025-11-25", overHttp(url))
      assert.deepEqual(yield* listedPrompts(client), ["one__a", "one__b"])
      const [status] = yield* gateway.status
      assert.deepEqual(
        status?.skipped.map(({ tool }) => tool),
        ["prompt hidden", "prompt"]
      )
      write(prompts, [{ name: "b" }, { name: "c" }])
      yield* gateway.restart("one")
      assert.deepEqual(yield* until(listedPrompts(client), (names) => names.includes("one__c")), [
        "one__b",
        "one__c"
      ])
      const get = (name: string) =>
        Effect.promise(() =>
          client.getPrompt({ name }).then(
            ({ messages }) => textOf({ content: messages.map(({ content }) => content) }),
            (error: Error) => error.message
          )
        )
      assert.strictEqual(yield* get("one__c"), "the prompt c")
      assert.include(yield* get("one__a"), "not found")
    }).pipe(Effect.scoped)
  )

  it.live("are there again without a call, where it was known to have some", () =>
    Effect.gen(function* () {
      const prompts = join(yield* folder, "prompts.json")
      write(prompts, [{ name: "a" }])
      const pins = Layer.succeedContext(yield* Layer.build(Pins.layerMemory))
      const servers = { one: scripted({ prompts }), two: scripted() }
      yield* Effect.scoped(front({ servers }, pins))
      const { behind, url } = yield* front({ servers }, pins)
      const client = yield* connect("2025-11-25", overHttp(url))
      yield* until(listedPrompts(client), (names) => names.includes("one__a"))
      const states = (yield* Context.get(behind, Gateway.Gateway).status).map(({ state }) => state)
      assert.deepEqual(states, ["ready", "idle"])
    }).pipe(Effect.scoped)
  )
})

describe("what a server asks", () => {
  it.live("reaches the client of the call, and says who asks", () =>
    Effect.gen(function* () {
      const { asked, options } = answering({ action: "accept", content: { name: "Ada" } })
      const { url } = yield* front({ servers: { one: scripted(), everything } })
      const client = yield* connect("2025-11-25", overHttp(url), options)
      const result = yield* called(client, "one__ask")
      assert.deepEqual(JSON.parse(textOf(result) ?? ""), { action: "accept", content: { name: "Ada" } })
      assert.deepInclude(asked[0]?.params, { message: 'The server "one" asks: Your name?' })

      const sampled = yield* called(client, "everything__trigger-sampling-request", {
        prompt: "Hello",
        maxTokens: 5
      })
      assert.include(textOf(sampled), "sampled")
      assert.strictEqual(asked[1]?.method, "sampling/createMessage")
    }).pipe(Effect.scoped)
  )

  it.live("is declined where nobody can be asked, or nobody knows who", () =>
    Effect.gen(function* () {
      const { asked, options } = answering({ action: "accept", content: { name: "Ada" } })
      const log = join(yield* folder, "log")
      const { url } = yield* front({ servers: { one: scripted({ log }) } })
      const silent = yield* connect("2025-11-25", overHttp(url))
      assert.deepEqual(JSON.parse(textOf(yield* called(silent, "one__ask")) ?? ""), { action: "decline" })

      const client = yield* connect("2025-11-25", overHttp(url), options)
      const waiting = yield* Effect.forkChild(
        Effect.promise((signal) =>
          client.callTool({ name: "one__wait", arguments: {} }, { signal }).catch(() => undefined)
        ),
        { startImmediately: true }
      )
      yield* until(
        Effect.sync(() => notes(log)),
        (lines) => lines.some((line) => line.startsWith("waiting"))
      )
      assert.deepEqual(JSON.parse(textOf(yield* called(client, "one__ask")) ?? ""), { action: "decline" })
      assert.deepEqual(asked, [])
      yield* Fiber.interrupt(waiting)
    }).pipe(Effect.scoped)
  )

  it.live("by its result is handed on to a client that is asked so, and says who asks", () =>
    Effect.gen(function* () {
      const { asked, options } = answering({ action: "accept", content: { name: "Ada" } })
      const { url } = yield* front({ servers: { fixture: fixtureServer("2026-07-28") } })
      const client = yield* connect("2026-07-28", overHttp(url), options)
      const result = yield* called(client, "fixture__test_input_required_result_elicitation")
      assert.strictEqual(textOf(result), "Hello, Ada!")
      assert.deepInclude(asked[0]?.params, { message: 'The server "fixture" asks: What is your name?' })
      const rounds = yield* called(client, "fixture__test_input_required_result_multi_round")
      assert.strictEqual(textOf(rounds), "Ada likes nobody")
    }).pipe(Effect.scoped)
  )

  it.live("by its result is asked over the session of an older client", () =>
    Effect.gen(function* () {
      const { asked, options } = answering({ action: "accept", content: { name: "Ada" } })
      const { url } = yield* front({ servers: { fixture: fixtureServer("2026-07-28") } })
      const client = yield* connect("2025-11-25", overHttp(url), options)
      assert.strictEqual(
        textOf(yield* called(client, "fixture__test_input_required_result_elicitation")),
        "Hello, Ada!"
      )
      assert.lengthOf(asked, 1)
      const sampled = yield* called(client, "fixture__test_input_required_result_sampling")
      assert.strictEqual(textOf(sampled), "sampled")
    }).pipe(Effect.scoped)
  )
})
