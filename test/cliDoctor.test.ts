/** `interlock doctor`: a finding for everything that is wrong, none for what is right, and nothing made worse. */
import { chmodSync, existsSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { ofConfig } from "../src/cli/doctor/config.ts"
import type { Finding } from "../src/cli/doctor/Finding.ts"
import { type Known, ofTools } from "../src/cli/doctor/tools.ts"
import { ofStatus } from "../src/cli/doctor/upstreams.ts"
import type { Status } from "../src/mcp/Gateway.ts"
import type { ToolFacts } from "../src/ToolAnnotations.ts"
import * as Verdict from "../src/Verdict.ts"
import { acts, type Folder, folder, patience, project } from "./support/cli.ts"

const short = (findings: ReadonlyArray<Finding>): ReadonlyArray<string> =>
  findings.filter(({ level }) => level !== "ok").map(({ about, level, what }) => `${level} ${about}: ${what}`)

// --- Rules -----------------------------------------------------------------

describe("what a configuration says by itself", () => {
  const of = (config: Parameters<typeof ofConfig>[0]["config"], code = {}) =>
    short(ofConfig({ file: "x", directory: "/", config, code }))

  const sound = {
    principals: { me: { roles: ["read"] }, boss: { roles: ["write"] } },
    principal: "me",
    policy: { requireApproval: ["x*"] },
    rateLimits: [{ limit: 1, window: 1000 as never }],
    budgets: [
      { max: 1, window: "day" as const },
      { max: 1, per: "run" as const }
    ]
  }

  it("is nothing where there is nothing to say", () => {
    assert.deepStrictEqual(of(sound), [])
  })

  it("is which roles do not exist, who may do everything, and whom nobody can approve", () => {
    assert.deepStrictEqual(
      of({
        ...sound,
        roles: { clerk: ["*"] },
        principals: {
          me: { roles: ["clerk"] },
          typo: { roles: ["raed", "constructor"] },
          all: { capabilities: ["*"] },
          alone: { tenant: "t" }
        }
      }),
      [
        "note principals.me: may use every tool",
        "warning principals.typo: has roles that do not exist: raed, constructor",
        "note principals.all: may use every tool",
        "warning policy.requireApproval: nobody can approve calls of alone"
      ]
    )
  })

  it("is that nobody is named, that nobody is meant, and that nothing is said", () => {
    assert.deepStrictEqual(of({}), [
      "note principals: nobody is named: calls are made for whoever is logged in, who may read",
      "warning policy: says nothing: what permissions allow runs, and nobody is asked",
      "note rateLimits: there are none"
    ])
    const { principal: _, ...unmeant } = sound
    assert.deepStrictEqual(of(unmeant), ["note principal: the command line does not know for whom it acts"])
    const inCode = { governance: { rules: [], rateLimits: [] } }
    assert.deepStrictEqual(of({ principals: sound.principals, principal: "me" }, inCode), [])
  })

  it("is what is spent for ever, what is allowed by default, and what servers name and are believed", () => {
    assert.deepStrictEqual(
      of({
        ...sound,
        audit: { whenUnavailable: "run" },
        budgets: [{ name: "all", max: 1 }],
        credentials: { there: { type: "bearer", hosts: ["x.test"], token: { env: "X" } } },
        mcpServers: {
          a: { command: "a", env: { X: { credential: "there" }, Y: { credential: "gone" } } },
          b: { url: "https://b.test", credential: "__proto__", trustAnnotations: true }
        }
      }),
      [
        "warning policy.default: allows what no glob names, and there are upstream servers",
        "note audit.whenUnavailable: calls run also when they cannot be written down",
        "note budgets[0] all: has no window",
        "problem mcpServers.a: names credentials that do not exist: gone",
        "problem mcpServers.b: names credentials that do not exist: __proto__",
        "note mcpServers.b: is believed what it says of its tools"
      ]
    )
  })
})

describe("what tools say of themselves", () => {
  const tool = (name: string, facts: Partial<ToolFacts>, more: Partial<Known> = {}): Known => ({
    facts: { name, names: [name], capabilities: [], ...facts } as ToolFacts,
    digest: "d",
    rules: { byName: Verdict.allow },
    hasBudget: false,
    ...more
  })
  const asked = { rules: { byName: Verdict.confirm("r", "m") } }

  it("is what they do not declare, what they destroy unasked, and what they spend without end", () => {
    assert.deepStrictEqual(
      short(
        ofTools(
          [
            tool("good", { destructive: true }, asked),
            tool("mute", { capabilities: undefined as never }),
            tool("wild", { destructive: true }),
            tool("rich", { spends: true }),
            tool("kept", { spends: true }, { hasBudget: true })
          ],
          {},
          true
        )
      ),
      [
        "warning tools: do not say what they need: mute",
        "warning tools: destroy, and nobody is asked: wild",
        "warning tools: spend money, and no budget applies: rich"
      ]
    )
  })

  it("is which globs and pins are of no tool, unless there are tools that are not known", () => {
    const config = {
      policy: {
        deny: ["good", "god*"],
        requireApproval: ["UPSTREAM_?ood"],
        allow: ["nothing"],
        pins: { good: "another", gone: "d" }
      },
      rateLimits: [{ limit: 1, window: 1000 as never, tools: ["x*", "*"] }]
    }
    const tools = [tool("good", { names: ["good", "upstream_good"] })]
    const pins = "warning policy.pins: are not of these tools as they are now: good"
    assert.deepStrictEqual(short(ofTools(tools, config, true)), [
      pins,
      "warning policy.deny: names no tool that there is: god*",
      "note policy.allow: names no tool that there is: nothing",
      "note rateLimits[0].tools: names no tool that there is: x*"
    ])
    assert.deepStrictEqual(short(ofTools(tools, config, false)), [pins])
    assert.deepStrictEqual(short(ofTools([], config, true)), ["note tools: there are none"])
  })
})

describe("what an upstream server comes to", () => {
  const status = (more: Partial<Status>): Status =>
    ({
      name: "s",
      state: "ready",
      target: "x",
      tools: ["a"],
      skipped: [],
      drifted: [],
      unaccepted: [],
      missing: [],
      lastError: undefined,
      ...more
    }) as Status

  it("is that its tools are new where nothing of it was accepted, and first use does not", () => {
    const fresh = status({ tools: [], unaccepted: [{ tool: "b" }] as never })
    assert.deepStrictEqual(short(ofStatus(fresh, true)), [])
    assert.deepStrictEqual(short(ofStatus(fresh, false)), [
      "note mcpServers.s: has tools that nobody has accepted: b"
    ])
  })

  it("is nothing where it is what was accepted, and a problem where it cannot be reached", () => {
    assert.deepStrictEqual(short(ofStatus(status({}), true)), [])
    assert.deepStrictEqual(short(ofStatus(status({ state: "failed", lastError: "ENOENT" }), true)), [
      "problem mcpServers.s: cannot be reached: ENOENT"
    ])
    assert.deepStrictEqual(
      short(
        ofStatus(
          status({
            drifted: [{ tool: "a" }] as never,
            unaccepted: [{ tool: "b" }] as never,
            missing: ["c"],
            skipped: [{ tool: "d", why: "taken" }]
          }),
          true
        )
      ),
      [
        "warning mcpServers.s: says something else of its tools than what was accepted: a",
        "note mcpServers.s: has tools that nobody has accepted: b",
        "note mcpServers.s: has these tools no more: c",
        "note mcpServers.s: tools that cannot be offered: d (taken)"
      ]
    )
  })
})

/** A server that others wrote. */
const filesystem = join(
  import.meta.dirname,
  "../node_modules/@modelcontextprotocol/server-filesystem/dist/index.js"
)

// --- The program -----------------------------------------------------------

const examine = (folder: Folder, ...args: ReadonlyArray<string>) =>
  Effect.map(folder.run(["--json", "doctor", ...args]), ({ code, stderr, stdout }) => {
    assert.strictEqual(stderr, "")
    const findings: ReadonlyArray<Finding> = JSON.parse(stdout)
    return { code, found: short(findings), ok: findings.filter(({ level }) => level === "ok") }
  })

describe("interlock doctor", patience, () => {
  it.live("finds nothing wrong with what is sound, and makes nothing", () =>
    Effect.gen(function* () {
      const folder = yield* project({
        policy: { requireConfirmation: ["send_*"], requireApproval: ["delete_*", "evil*"] },
        principals: { me: { roles: ["write"] }, boss: { roles: ["write"] } },
        rateLimits: [{ limit: 60, window: "1 minute" }]
      })
      const { code, found, ok } = yield* examine(folder)
      assert.deepStrictEqual([code, found], [0, []])
      assert.include(
        ok.map(({ about, what }) => `${about}: ${what}`),
        "tools: 7 tools"
      )
      assert.notInclude(readdirSync(folder.path), ".interlock")
      const text = yield* folder.run(["doctor"])
      assert.include(text.stdout, "0 problems, 0 warnings, 0 notes")
    })
  )

  it.live("finds files that are open, records that were changed, what waits, and what is stopped", () =>
    Effect.gen(function* () {
      const folder = yield* project({ rateLimits: [{ limit: 60, window: "1 minute" }] })
      yield* folder.run(["call", "delete_note", `{"text":"x"}`])
      yield* folder.run(["kill", "all", "--why", "a break"])
      const state = join(folder.path, ".interlock")
      chmodSync(join(state, "state.db"), 0o644)
      chmodSync(join(state, "key"), 0o640)
      const database = new DatabaseSync(join(state, "state.db"))
      database.exec(
        "UPDATE interlock_audit_lines SET line = replace(line, 'pending', 'granted') WHERE sequence = 1"
      )
      database.close()
      const { code, found } = yield* examine(folder)
      assert.strictEqual(code, 8)
      assert.includeMembers(
        [...found],
        [
          `problem state: ${state}/state.db is open to others (644)`,
          `problem key: ${state}/key is open to others (640)`,
          "problem audit: the chain is broken at record 1: the record is not the one that was signed",
          "note approvals: 1 requests wait",
          "warning kill: everything is stopped"
        ]
      )
    })
  )

  it.live("does not make another key where the key is gone, nor open what is damaged", () =>
    Effect.gen(function* () {
      const folder = yield* project()
      yield* folder.run(["call", "echo", `{"text":"x"}`])
      const state = join(folder.path, ".interlock")
      rmSync(join(state, "key"))
      const gone = yield* examine(folder)
      assert.strictEqual(gone.code, 8)
      assert.include(gone.found, `problem key: ${state}/key is missing, and the state is there`)
      assert.isFalse(existsSync(join(state, "key")))

      writeFileSync(join(state, "key"), `1:${"k".repeat(40)}`, { mode: 0o600 })
      const { size } = statSync(join(state, "state.db"))
      writeFileSync(join(state, "state.db"), "x".repeat(size))
      const damaged = yield* examine(folder)
      assert.strictEqual(damaged.code, 8)
      assert.match(damaged.found.join("\n"), /problem state: \S+ is damaged or cannot be opened: /)
    })
  )

  it.live("says which secrets are not set, and shows none", () =>
    Effect.gen(function* () {
      const secret = "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t"
      const folder = yield* project({
        key: { env: "MY_KEY" },
        credentials: {
          here: { type: "bearer", hosts: ["x.test"], token: { env: "HERE" } },
          gone: { type: "basic", hosts: ["x.test"], username: "u", password: { env: "GONE" } },
          open: { type: "header", name: "x", hosts: ["x.test"], value: { file: "secret" } }
        }
      })
      const file = join(folder.path, "secret")
      writeFileSync(file, secret)
      chmodSync(file, 0o644)
      const env = { HERE: secret, MY_KEY: `1:${secret}` }
      const with_ = yield* folder.run(["doctor"], { env })
      assert.strictEqual(with_.code, 8)
      assert.include(with_.stdout, "credentials.here: the environment variable HERE is set")
      assert.include(with_.stdout, "credentials.gone: the environment variable GONE is not set, or empty")
      assert.include(with_.stdout, `credentials.open: ${file} is open to others (644)`)
      assert.notInclude(with_.stdout + with_.stderr, secret)

      const short = yield* folder.run(["doctor"], { env: { MY_KEY: "1:tooshort" } })
      assert.strictEqual(short.code, 8)
      assert.include(short.stdout, "must have at least 32 characters")
      assert.notInclude(short.stdout, "tooshort")
      const none = yield* folder.run(["doctor"])
      assert.include(none.stdout, "key: the environment variable MY_KEY is not set, or empty")
    })
  )

  it.live("says where a configuration is wrong, and what upstream servers and sources do not do", () =>
    Effect.gen(function* () {
      const wrong = yield* folder({ "interlock.config.json": `{\n  "policy": { "deny": [""] }\n}` })
      const broken = yield* examine(wrong)
      assert.strictEqual(broken.code, 8)
      assert.match(
        broken.found.join("\n"),
        /problem configuration: \S+\.json:2:24 policy\.deny\[0\]: must not be empty/
      )

      const upstream = yield* project({
        mcpServers: {
          absent: { command: "./no-such\u001b[2J-program" },
          files: { command: process.execPath, args: [filesystem, "."] }
        },
        openapi: { petty: { document: "no-such.yaml" } },
        principal: undefined
      })
      const { code, stdout } = yield* upstream.run(["doctor"])
      assert.strictEqual(code, 8)
      assert.match(stdout, /problem +mcpServers\.absent: cannot be reached: /)
      assert.match(stdout, /ok +mcpServers\.files: is there, with \d+ tools that its first use accepts/)
      assert.match(stdout, /problem +petty: gives no tools: /)
      assert.notMatch(stdout, acts)
      assert.notInclude(readdirSync(upstream.path), "interlock.lock.json")
      const left = yield* examine(upstream, "--no-start")
      assert.notInclude(left.found.join("\n"), "cannot be reached")
    })
  )
})
