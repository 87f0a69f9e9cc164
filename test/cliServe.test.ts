/** `interlock mcp`, `gateway` and `run`: the configuration's tools for clients and batches. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client"
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio"
import { Effect, type Scope } from "effect"
import { type Folder, folder, patience, project } from "./support/cli.ts"

const bin = join(import.meta.dirname, "../src/cli/bin.ts")
const filesystem = join(
  import.meta.dirname,
  "../node_modules/@modelcontextprotocol/server-filesystem/dist/index.js"
)

const everything = join(
  import.meta.dirname,
  "../node_modules/@modelcontextprotocol/server-everything/dist/index.js"
)

const connected = (
  transport: StdioClientTransport | StreamableHTTPClientTransport
): Effect.Effect<Client, Error, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.tryPromise({
      try: async () => {
        const client = new Client({ name: "test", version: "1" })
        await client.connect(transport)
        return client
      },
      catch: (error) => error as Error
    }),
    (client) => Effect.promise(() => client.close())
  )

const stdio = (at: Folder, command: string) =>
  connected(
    new StdioClientTransport({
      command: process.execPath,
      args: [bin, command],
      cwd: at.path,
      stderr: "ignore"
    })
  )

const http = (url: string, token?: string) =>
  connected(
    new StreamableHTTPClientTransport(
      new URL(url),
      token === undefined ? {} : { requestInit: { headers: { authorization: `Bearer ${token}` } } }
    )
  )

const names = (client: Client) =>
  Effect.map(
    Effect.promise(() => client.listTools()),
    ({ tools }) => tools.map(({ name }) => name)
  )

const call = (client: Client, name: string, args: Record<string, unknown>) =>
  Effect.map(
    Effect.promise(() => client.callTool({ name, arguments: args })),
    ({ content, isError }) => {
      const [first] = content as ReadonlyArray<{ readonly text?: string }>
      return `${isError === true ? "error: " : ""}${first?.text}`
    }
  )

/** Serves on a port that is free, and says where; the address is told on stderr. */
const serving = (at: Folder, args: string) =>
  Effect.gen(function* () {
    const shell = yield* at.terminal(`${args} 2>&1`)
    const line = yield* shell.printed(/http:\S+\/mcp/)
    return /http:\S+\/mcp/.exec(line)?.[0] ?? ""
  })

describe("interlock mcp", patience, () => {
  it.live("serves what the principal may use, and leaves what it may not", () =>
    Effect.gen(function* () {
      const at = yield* project()
      const client = yield* stdio(at, "mcp")
      assert.include(yield* names(client), "echo")
      assert.strictEqual(yield* call(client, "echo", { text: "hello" }), "hello")
      const pending = yield* call(client, "delete_note", { text: "n1" })
      assert.include(pending, "error: PENDING_CONFIRMATION")
      assert.match(pending, /interlock approvals approve [0-9a-f]{32}/)
    })
  )

  it.live(
    "over HTTP knows principals by their tokens, and listens to nobody else's network without any",
    () =>
      Effect.gen(function* () {
        const token = "a token of sixteen or more".replaceAll(" ", "-")
        const at = yield* project({
          principals: { me: { roles: ["write"], token: { file: "token" } }, other: { capabilities: [] } },
          principal: "me"
        })
        writeFileSync(join(at.path, "token"), token)
        const url = yield* serving(at, "mcp --http 0")
        const client = yield* http(url, token)
        assert.strictEqual(yield* call(client, "echo", { text: "hello" }), "hello")
        const refused = yield* Effect.flip(http(url))
        assert.match(refused.message, /401|unauthorized|bearer/i)

        const open = yield* project()
        const { code, stderr } = yield* open.run(["mcp", "--http", "0", "--host", "0.0.0.0"])
        assert.strictEqual(code, 2)
        assert.include(stderr, "Anybody who reaches 0.0.0.0")
      })
  )
})

describe("interlock gateway", patience, () => {
  it.live("puts a reference server behind the policy, pins it, and refuses what was not accepted", () =>
    Effect.gen(function* () {
      const at = yield* folder({
        "interlock.config.json": JSON.stringify({
          principals: { me: { roles: ["admin"] } },
          policy: { deny: ["write_file"] },
          mcpServers: { files: { command: process.execPath, args: [filesystem, "shared"] } }
        })
      })
      mkdirSync(join(at.path, "shared"))
      writeFileSync(join(at.path, "shared/plan.txt"), "Measure twice.")
      const client = yield* stdio(at, "gateway")
      assert.include(yield* names(client), "files__read_text_file")
      assert.strictEqual(yield* call(client, "files__read_text_file", { path: "plan.txt" }), "Measure twice.")
      assert.include(
        yield* call(client, "files__write_file", { path: "plan.txt", content: "" }),
        "POLICY_DENIED"
      )
      assert.strictEqual(readFileSync(join(at.path, "shared/plan.txt"), "utf8"), "Measure twice.")

      // As if the server had brought a tool that nobody has accepted.
      const lock = join(at.path, "interlock.lock.json")
      const pins = JSON.parse(readFileSync(lock, "utf8"))
      delete pins.servers.files.tools.read_text_file
      writeFileSync(lock, JSON.stringify(pins))
      const changed = yield* at.run(["gateway", "status", "--start"])
      assert.include(changed.stdout, "read_text_file is new", changed.stderr)
      const refused = yield* at.run(["call", "files__read_text_file", '{"path":"plan.txt"}'])
      assert.notStrictEqual(refused.code, 0)
      const accepted = yield* at.run(["gateway", "accept", "files"])
      assert.strictEqual(accepted.code, 0, accepted.stderr)
      const again = yield* at.run(["call", "files__read_text_file", '{"path":"plan.txt"}'])
      assert.deepStrictEqual([again.code, again.stdout], [0, "Measure twice.\n"])
    })
  )

  it.live("passes on what servers have beside tools", () =>
    Effect.gen(function* () {
      const at = yield* folder({
        "interlock.config.json": JSON.stringify({
          principals: { me: { roles: ["admin"] } },
          mcpServers: { all: { command: process.execPath, args: [everything] } }
        })
      })
      const client = yield* stdio(at, "gateway")
      const { prompts } = yield* Effect.promise(() => client.listPrompts())
      assert.include(
        prompts.map(({ name }) => name),
        "all__simple-prompt"
      )
      const { resources } = yield* Effect.promise(() => client.listResources())
      const uri = resources[0]?.uri ?? ""
      const { contents } = yield* Effect.promise(() => client.readResource({ uri }))
      assert.strictEqual(contents[0]?.uri, uri)
    })
  )

  it.live("one dead server takes no other down, and without servers says where they belong", () =>
    Effect.gen(function* () {
      const at = yield* folder({
        "interlock.config.json": JSON.stringify({
          principals: { me: { roles: ["admin"] } },
          mcpServers: {
            dead: { command: "there-is-no-such-program" },
            files: { command: process.execPath, args: [filesystem, "."] }
          }
        })
      })
      const listed = yield* at.json<ReadonlyArray<{ readonly tool: string }>>(["tools"])
      assert.isTrue(listed.some(({ tool }) => tool === "files__list_directory"))
      const none = yield* (yield* folder({ "interlock.config.json": "{}" })).run(["gateway", "status"])
      assert.strictEqual(none.code, 2)
      assert.include(none.stderr, "mcpServers")
    })
  )
})

describe("interlock run", patience, () => {
  const lines = (tools: ReadonlyArray<string>) =>
    `${tools.map((tool, index) => JSON.stringify({ tool, params: { text: `${index}` } })).join("\n")}\n`

  it.live("answers every line of a pipe with a line, in order where that is asked for", () =>
    Effect.gen(function* () {
      const at = yield* project()
      const { code, stderr, stdout } = yield* at.run(["run", "-", "--ordered"], {
        stdin: `${lines(["echo", "nothing", "echo"])}no json\n`
      })
      assert.strictEqual(code, 7)
      const results = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line))
      assert.deepStrictEqual(
        results.map(({ line, status }) => [line, status]),
        [
          [1, "success"],
          [2, "not_found"],
          [3, "success"],
          [4, "invalid_params"]
        ]
      )
      assert.match(stderr, /Batch run-[0-9a-f]{12}: 4 lines/)
    })
  )

  it.live("is killed, and goes on with no line run twice", () =>
    Effect.gen(function* () {
      const at = yield* project()
      writeFileSync(
        join(at.path, "calls.jsonl"),
        lines([...Array(300).fill("echo"), "hang", ...Array(20).fill("echo")])
      )
      const first = yield* at.start([
        "run",
        "calls.jsonl",
        "--name",
        "nightly",
        "--concurrency",
        "1",
        "--ordered"
      ])
      yield* first.printed(/"line":300,/)
      yield* first.signal("SIGKILL")
      yield* first.ended
      writeFileSync(join(at.path, "other.jsonl"), lines(Array(400).fill("paid")))
      const other = yield* at.run(["run", "other.jsonl", "--resume", "nightly"])
      assert.strictEqual(other.code, 2)
      assert.include(other.stderr, "Line 1 is not the one")
      const second = yield* at.run(["run", "calls.jsonl", "--resume", "nightly", "--deadline", "20s"])
      const printed = second.stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).line as number)
      assert.isAtMost(printed.length, 21 + 1)
      assert.isTrue(
        printed.every((line) => line > 300),
        printed.join()
      )
      const all = yield* at.run(["run", "calls.jsonl", "--resume", "nightly", "--replay"])
      const outcomes = all.stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).line as number)
      assert.deepStrictEqual(
        outcomes.toSorted((a, b) => a - b),
        Array.from({ length: 321 }, (_, index) => index + 1)
      )
    })
  )
})
