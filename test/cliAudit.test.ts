/** `interlock audit`: what was done, whether that can be trusted, and what is let go of. */
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { acts, type Folder, hasTerminals, patience, project } from "./support/cli.ts"

interface Record {
  readonly sequence: number
  readonly phase: string
  readonly tool?: string
  readonly status?: string
  readonly personal: "forgotten" | { readonly principal?: string; readonly arguments?: unknown }
}

const call = (folder: Folder, tool: string, text: string) =>
  folder.run(["call", tool, JSON.stringify({ text })])

/** The state of a log with two calls that ran, one that was denied and an event. */
const state = mkdtempSync(join(tmpdir(), "interlock-state-"))
beforeAll(
  () =>
    Effect.gen(function* () {
      const folder = yield* project()
      yield* call(folder, "echo", "one")
      yield* call(folder, "paid", "two")
      yield* folder.run(["--as", "other", "call", "send_note", `{"text":"three"}`])
      yield* folder.run(["kill", "tool", "x*", "--why", "for\u001b[2J now", "--until", "1h"])
      cpSync(join(folder.path, ".interlock"), state, { recursive: true })
    }).pipe(Effect.scoped, Effect.runPromise),
  patience.timeout
)
afterAll(() => rmSync(state, { recursive: true }))

/** A folder of its own with that state. */
const recorded = Effect.tap(project(), ({ path }) =>
  Effect.sync(() => cpSync(state, join(path, ".interlock"), { recursive: true }))
)

const lines = <A>(text: string): ReadonlyArray<A> =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line))

const change = (folder: Folder, sql: string) => {
  const database = new DatabaseSync(join(folder.path, ".interlock/state.db"))
  database.exec(sql)
  database.close()
}

describe("interlock audit", patience, () => {
  it.live("finds records, follows them, and gives them as lines to whoever stops reading", () =>
    Effect.gen(function* () {
      const folder = yield* recorded
      const [table, denied, ran, report, exported, piped] = yield* Effect.all(
        [
          folder.run(["audit", "query"]),
          folder.json<ReadonlyArray<Record>>(["audit", "query", "--status", "permission_denied"]),
          folder.json<ReadonlyArray<Record>>([
            "audit",
            "query",
            "--tool",
            "P*",
            "--principal",
            "me",
            "--phase",
            "outcome",
            "--since",
            "1h"
          ]),
          folder.run(["audit", "report", "--since", "2 days"]),
          folder.run(["audit", "export", "--kind", "tool_call"]),
          folder.shell("$interlock audit export | head -1; echo ended $PIPESTATUS")
        ],
        { concurrency: 2 }
      )
      assert.match(table.stdout, /\d {2}permission_denied +send_note +elsewhere\/other /)
      assert.include(table.stdout, "for\\u001b[2J now")
      assert.notMatch(table.stdout + report.stdout, acts)
      assert.deepStrictEqual(
        denied.map(({ tool }) => tool),
        ["send_note"]
      )
      assert.deepStrictEqual(
        ran.map(({ status, tool }) => [tool, status]),
        [["paid", "success"]]
      )
      assert.include(report.stdout, "3 calls")
      const records = lines<Record>(exported.stdout)
      assert.deepStrictEqual(
        records.map(({ phase }) => phase),
        ["intent", "outcome", "intent", "outcome", "outcome"]
      )
      assert.deepInclude(records[0]?.personal, { principal: "me", arguments: { text: "one" } })
      assert.strictEqual(lines(piped.stdout.split("ended")[0] ?? "").length, 1)
      assert.match(piped.stdout, /ended 0\n$/)
      assert.strictEqual(piped.stderr, "")

      const tail = yield* folder.start(["--json", "audit", "tail", "--follow", "-n", "1"])
      assert.strictEqual(JSON.parse(yield* tail.printed(/.*\n/)).phase, "event")
      yield* call(folder, "echo", "four")
      assert.deepInclude(JSON.parse(yield* tail.printed(/.*\n/)), { phase: "intent", tool: "echo" })
      assert.deepInclude(JSON.parse(yield* tail.printed(/.*\n/)), { phase: "outcome", tool: "echo" })
    }).pipe(Effect.scoped)
  )

  it.live("writes an export to a new file of its owner's, and over no other", () =>
    Effect.gen(function* () {
      const folder = yield* recorded
      const file = join(folder.path, "out.jsonl")
      const written = yield* folder.run(["audit", "export", "-o", "out.jsonl", "--text", "one"])
      assert.deepStrictEqual([written.code, written.stdout], [0, ""])
      assert.strictEqual(lines(readFileSync(file, "utf8")).length, 2)
      assert.strictEqual(statSync(file).mode & 0o777, 0o600)
      const again = yield* folder.run(["audit", "export", "-o", "out.jsonl"])
      assert.strictEqual(again.code, 2)
      assert.include(again.stderr, "AlreadyExists")
      assert.strictEqual(lines(readFileSync(file, "utf8")).length, 2)
    })
  )

  it.live("verifies the chain, and says at which record it is broken", () =>
    Effect.gen(function* () {
      const folder = yield* recorded
      const sound = yield* folder.run(["audit", "verify"])
      assert.strictEqual(sound.code, 0)
      assert.match(sound.stdout, /^sound: 6 records, 1 to 6; /)
      const head = yield* folder.run(["audit", "checkpoint"])
      writeFileSync(join(folder.path, "head.json"), head.stdout)
      const expected = yield* folder.run(["audit", "verify", "--head", "head.json"])
      assert.strictEqual(expected.code, 0)

      change(
        folder,
        "UPDATE interlock_audit_lines SET line = replace(line, 'success', 'failure') WHERE sequence = 4"
      )
      const broken = yield* folder.run(["audit", "verify"])
      assert.strictEqual(broken.code, 8)
      assert.match(broken.stdout, /^unsound at record 4: /)
      const found = yield* folder.json<{ readonly ok: boolean; readonly sequence: number }>([
        "audit",
        "verify"
      ])
      assert.deepInclude(found, { ok: false, sequence: 4 })

      // Cut off together with the head: looking at it signs no new one, which would vouch for what is left.
      change(
        folder,
        "DELETE FROM interlock_audit_lines WHERE sequence >= 4; DELETE FROM interlock_audit_head"
      )
      const cut = yield* Effect.replicateEffect(folder.run(["audit", "verify"]), 2)
      assert.deepStrictEqual(
        cut.map(({ code }) => code),
        [8, 8],
        cut.map(({ stdout }) => stdout).join()
      )

      // Records and head taken away together: only what was kept elsewhere tells.
      change(folder, "DELETE FROM interlock_audit_lines; DELETE FROM interlock_audit_head")
      const emptied = yield* folder.run(["audit", "verify", "--head", "head.json"])
      assert.strictEqual(emptied.code, 8)
      assert.include(emptied.stdout, "truncated")
      const nonsense = yield* folder.run(["audit", "verify", "--head", "interlock.config.ts"])
      assert.strictEqual(nonsense.code, 2)
    })
  )

  it.live("forgets a principal when told so, but for what is held, and says who asked for it", () =>
    Effect.gen(function* () {
      const folder = yield* recorded
      const unasked = yield* folder.run(["audit", "forget", "me", "--why", "asked to"])
      assert.strictEqual(unasked.code, 2)
      assert.include(unasked.stderr, "give --yes")
      const held = yield* folder.json<{ readonly id: string }>([
        "audit",
        "hold",
        "--principal",
        "other",
        "--tenant",
        "elsewhere",
        "--why",
        "a dispute"
      ])
      const kept = yield* folder.json<object>([
        "audit",
        "forget",
        "other",
        "--tenant",
        "elsewhere",
        "--why",
        "asked to",
        "--yes"
      ])
      assert.deepInclude(kept, { principal: "other", tenant: "elsewhere", keys: 0, held: 1 })
      const [holds] = yield* folder.json<ReadonlyArray<object>>(["audit", "holds"])
      assert.deepInclude(holds, { id: held.id, by: "me", why: "a dispute" })
      yield* folder.run(["audit", "forget", "me", "--why", "asked to", "-y"])
      const records = yield* folder.json<ReadonlyArray<Record>>(["audit", "query", "--kind", "tool_call"])
      assert.deepStrictEqual(
        records.map(({ personal }) => (personal === "forgotten" ? personal : personal.principal)),
        ["other", "forgotten", "forgotten", "forgotten", "forgotten"]
      )
      const [released, absent] = yield* Effect.all([
        folder.run(["audit", "release", held.id, "--why", "it is over"]),
        folder.run(["audit", "release", "none", "--why", "x"])
      ])
      assert.deepStrictEqual([released.code, absent.code], [0, 5])
      const retained = yield* folder.json<{ readonly keys: number }>(["audit", "retain"])
      assert.strictEqual(retained.keys, 1)
      const sound = yield* folder.run(["audit", "verify"])
      assert.strictEqual(sound.code, 0, sound.stdout)
    })
  )

  it.live.skipIf(!hasTerminals)("asks at a terminal before it forgets, and takes no for an answer", () =>
    Effect.gen(function* () {
      const folder = yield* recorded
      const asking = yield* folder.terminal("audit forget me --why 'asked to'")
      yield* asking.printed(/Destroy the keys of all records of me/)
      yield* asking.type("n")
      assert.strictEqual((yield* asking.ended).code, 3)
      const forgotten = yield* folder.json<ReadonlyArray<Record>>(["audit", "query"])
      assert.isEmpty(forgotten.filter(({ personal }) => personal === "forgotten"))
    }).pipe(Effect.scoped)
  )

  it.live("knows a call whose process was killed", () =>
    Effect.gen(function* () {
      const folder = yield* project()
      const tail = yield* folder.start(["--json", "audit", "tail", "-f"])
      const hanging = yield* folder.start(["call", "hang", `{"text":"x"}`])
      yield* tail.printed(/"phase":"intent".*\n/)
      yield* hanging.signal("SIGKILL")
      yield* hanging.ended
      const [unfinished, old] = yield* Effect.all([
        folder.json<ReadonlyArray<Record>>(["audit", "unfinished", "--older-than", "0s"]),
        folder.run(["audit", "unfinished"])
      ])
      assert.deepStrictEqual(
        unfinished.map(({ phase, tool }) => [phase, tool]),
        [["intent", "hang"]]
      )
      assert.include(old.stdout, "Every call that began has ended.")
    }).pipe(Effect.scoped)
  )

  it.live("decides past calls again by another policy, and ends with another code where one changes", () =>
    Effect.gen(function* () {
      const folder = yield* recorded
      const write = (text: string) => writeFileSync(join(folder.path, "candidate.json"), text)
      write(`{ // as it is
        "requireConfirmation": ["send_*"], "requireApproval": ["delete_*"], }`)
      const same = yield* folder.run(["audit", "replay", "--policy", "candidate.json"])
      assert.deepStrictEqual([same.code, same.stdout], [0, "3 same, 0 changed, 0 undecidable\n"])
      write(`{ "deny": ["paid"] }`)
      const changed = yield* folder.run(["audit", "replay", "--policy", "candidate.json", "--tool", "paid"])
      assert.strictEqual(changed.code, 7)
      assert.match(changed.stdout, /4 +paid +me +allow → deny +deny "paid"/)
      write(`{ "deny": [""], "dany": [] }`)
      const invalid = yield* folder.run(["audit", "replay", "--policy", "candidate.json"])
      assert.strictEqual(invalid.code, 2)
      assert.include(invalid.stderr, `"deny[0]" must not be empty`)
      write(`{\n "deny": \n}`)
      const broken = yield* folder.run(["audit", "replay", "--policy", "candidate.json"])
      assert.match(broken.stderr, /is not JSON: .* in line 3/)
    })
  )
})
