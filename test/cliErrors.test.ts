/** What the command line says and leaves where something is not as it should be: odd folders, keys, names and outputs. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { acts, configuration, folder, hasTerminals, patience, project } from "./support/cli.ts"

const read = (path: string, name: string) => readFileSync(join(path, name), "utf8")

describe("interlock init", patience, () => {
  it.live("keeps the state out of the repository that the folder is in, and what is ignored already", () =>
    Effect.gen(function* () {
      const at = yield* folder({ ".gitignore": "node_modules" })
      mkdirSync(join(at.path, ".git"))
      assert.strictEqual((yield* at.run(["init"])).code, 0)
      assert.strictEqual(read(at.path, ".gitignore"), "node_modules\n.interlock/\n")
      assert.strictEqual((yield* at.run(["init", "--force"])).code, 0)
      assert.strictEqual(read(at.path, ".gitignore"), "node_modules\n.interlock/\n")
      mkdirSync(join(at.path, "deep/er"), { recursive: true })
      const inner = yield* at.shell("cd deep/er && $interlock init --json")
      assert.deepStrictEqual(JSON.parse(inner.stdout), {
        file: join(at.path, "deep/er/interlock.config.json")
      })
      assert.strictEqual(read(at.path, "deep/er/.gitignore"), ".interlock/\n")
    }).pipe(Effect.scoped)
  )

  it.live("writes through no link that leads nowhere, and says what it cannot write", () =>
    Effect.gen(function* () {
      const at = yield* folder({})
      symlinkSync(join(at.path, "elsewhere"), join(at.path, "interlock.config.json"))
      const linked = yield* at.run(["init"])
      assert.deepInclude(linked, {
        code: 2,
        stdout: "",
        stderr: "\nERROR\n  interlock.config.json cannot be written: AlreadyExists\n"
      })
      assert.isFalse(existsSync(join(at.path, "elsewhere")))
      mkdirSync(join(at.path, "interlock.config.ts"))
      const folderThere = yield* at.run(["init", "--ts", "--force"])
      assert.strictEqual(folderThere.code, 2)
      assert.match(folderThere.stderr, /interlock\.config\.ts cannot be written: \w+\n$/)
    }).pipe(Effect.scoped)
  )
})

describe("the key", patience, () => {
  it.live("is one for all that begin at once, and its owner's only", () =>
    Effect.gen(function* () {
      const at = yield* project()
      const ran = yield* Effect.all(
        Array.from({ length: 6 }, (_, n) => at.run(["call", "echo", `{"text":"${n}"}`])),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(
        ran.map(({ code }) => code),
        [0, 0, 0, 0, 0, 0]
      )
      const state = join(at.path, ".interlock")
      assert.deepStrictEqual(
        readdirSync(state).filter((name) => name.startsWith("key")),
        ["key"]
      )
      assert.strictEqual(statSync(join(state, "key")).mode & 0o777, 0o600)
      assert.strictEqual(statSync(state).mode & 0o777, 0o700)
      assert.include((yield* at.run(["audit", "verify"])).stdout, "sound: 12 records")
    }).pipe(Effect.scoped)
  )

  it.live("that is empty is said to be, and is not made anew", () =>
    Effect.gen(function* () {
      const at = yield* project()
      mkdirSync(join(at.path, ".interlock"))
      writeFileSync(join(at.path, ".interlock/key"), "")
      const { code, stderr } = yield* at.run(["tools"])
      assert.strictEqual(code, 2)
      assert.include(stderr, `There is no key in the file ${join(at.path, ".interlock/key")}`)
      assert.strictEqual(read(at.path, ".interlock/key"), "")
    }).pipe(Effect.scoped)
  )
})

describe("interlock mcp", patience, () => {
  it.live("ends well when its client closes stdin, and as interrupted by a signal", () =>
    Effect.gen(function* () {
      const at = yield* project()
      assert.deepInclude(yield* at.run(["mcp"]), { code: 0, stdout: "", stderr: "" })
      const served = yield* at.start(["mcp"])
      const hello = {
        jsonrpc: "2.0",
        id: 1,
        method: "initialize",
        params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "t", version: "1" } }
      }
      yield* served.type(`${JSON.stringify(hello)}\n`)
      yield* served.printed(/"id":1/)
      yield* served.signal("SIGINT")
      assert.strictEqual((yield* served.ended).code, 130)
    }).pipe(Effect.scoped)
  )
})

// What is beyond ASCII acts on terminals as well.
const hostile = "a\u009b2Jb\u202ec\u2028d\u200be"

describe("what goes wrong", patience, () => {
  it.live("is told so that no name in it acts on a terminal", () =>
    Effect.gen(function* () {
      const at = yield* project()
      const told = yield* Effect.forEach(
        [
          ["--as", hostile, "tools"],
          ["--config", hostile, "tools"],
          [hostile],
          ["tools", `--${hostile}`],
          ["approvals", "list", "--state", hostile],
          ["call", "echo", hostile],
          ["call", "evil tool", "{}"],
          ["run", hostile],
          ["audit", "verify", "--head", hostile]
        ],
        (args) => at.run(args),
        { concurrency: 2 }
      )
      for (const { code, stderr, stdout } of told) {
        assert.include([2, 5], code)
        assert.notStrictEqual(stderr, "")
        assert.notMatch(stdout + stderr, acts)
      }
    }).pipe(Effect.scoped)
  )

  it.live.skipIf(!hasTerminals)(
    "an export shows a terminal nothing that acts, and a pipe what was said",
    () =>
      Effect.gen(function* () {
        const at = yield* project()
        yield* at.run(["call", "echo", JSON.stringify({ text: hostile })])
        const piped = yield* at.run(["audit", "export"])
        assert.include(piped.stdout, hostile)
        const shown = yield* (yield* at.terminal("audit export")).ended
        assert.notMatch(shown.stdout.replaceAll("\r\n", "\n"), acts)
        const [first] = shown.stdout.split("\r\n")
        assert.deepStrictEqual(JSON.parse(first ?? ""), JSON.parse(piped.stdout.split("\n")[0] ?? ""))
      }).pipe(Effect.scoped)
  )

  it.live("says that a configuration is nested too deeply", () =>
    Effect.gen(function* () {
      const at = yield* folder({ "interlock.config.json": "[".repeat(200_000) })
      const { code, stderr } = yield* at.run(["tools"])
      assert.strictEqual(code, 2)
      assert.match(stderr, /interlock\.config\.json cannot be used:\n {2}-: it is nested too deeply\n$/)
    }).pipe(Effect.scoped)
  )

  it.live.skipIf(process.getuid?.() !== 0)("works for an account that has no name", () =>
    Effect.gen(function* () {
      const at = yield* folder({})
      yield* at.shell("chmod 777 .")
      const { code, stderr, stdout } = yield* at.shell(
        "setpriv --reuid 54321 --regid 54321 --clear-groups $interlock tools"
      )
      assert.deepStrictEqual([code, stdout, stderr], [0, "No tools.\n", ""])
    }).pipe(Effect.scoped)
  )

  it.live.skipIf(!existsSync("/dev/full"))(
    "says that nothing more can be written where the disk is full",
    () =>
      Effect.gen(function* () {
        const at = yield* project()
        const full = yield* at.shell("$interlock tools > /dev/full")
        assert.deepInclude(full, { code: 1, stderr: "interlock: the output cannot be written: ENOSPC\n" })
      }).pipe(Effect.scoped)
  )

  it.live("with --json nothing but JSON is on stdout", () =>
    Effect.gen(function* () {
      const at = yield* folder({
        "interlock.config.ts": configuration(),
        "calls.jsonl": '{"tool":"echo","params":{"text":"a"}}\n'
      })
      assert.strictEqual((yield* at.run(["run", "calls.jsonl", "--name", "b1", "--json"])).code, 0)
      assert.deepStrictEqual(yield* at.json(["batches", "forget", "b1"]), { batch: "b1", forgotten: true })
    }).pipe(Effect.scoped)
  )
})
