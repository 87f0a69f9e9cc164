/** `interlock budget | health | stats | breaker | kill`: looking at governance, and acting on it, across processes. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fc from "fast-check"
import { duration, moment } from "../src/cli/flags.ts"
import { acts, type Folder, patience, project } from "./support/cli.ts"

const call = (folder: Folder, tool: string, text: string) =>
  folder.run(["call", tool, JSON.stringify({ text })])

describe("times on the command line", () => {
  it("are durations as people write them, or dates", () => {
    const millis = (text: string) => {
      const found = moment(text)
      return found === undefined
        ? undefined
        : "at" in found
          ? new Date(found.at).toISOString()
          : found.distance
    }
    assert.deepStrictEqual(
      ["7d", "24h", "30m", "2 days", "1 week", "90s", "1.5 h", "250ms", "10 min"].map(millis),
      [604_800_000, 86_400_000, 1_800_000, 172_800_000, 604_800_000, 90_000, 5_400_000, 250, 600_000]
    )
    assert.deepStrictEqual(["2026-11-20", "2026-11-20T10:30:00Z", "2026-11-20T10:30:00+02:00"].map(millis), [
      "2026-11-20T00:00:00.000Z",
      "2026-11-20T10:30:00.000Z",
      "2026-11-20T08:30:00.000Z"
    ])
    for (const text of [
      "",
      "d",
      "7",
      "7 parsecs",
      "-1d",
      "Infinity",
      "1e3 s",
      "tomorrow",
      "2026-13-45",
      "__proto__ s"
    ])
      assert.isUndefined(moment(text), text)
  })

  it("are durations or none, whatever is typed", () => {
    fc.assert(
      fc.property(fc.string(), (text) => duration(text) === undefined || /\d/.test(text)),
      { numRuns: 1_000 }
    )
  })
})

describe("interlock budget", patience, () => {
  it.live("shows what is used and by whom, and gives back", () =>
    Effect.gen(function* () {
      const folder = yield* project()
      for (let n = 1; n <= 4; n++) assert.strictEqual((yield* call(folder, "paid", `${n}`)).code, 0)
      const fifth = yield* call(folder, "paid", "5")
      assert.strictEqual(fifth.code, 3)
      const [table, spent, typo] = yield* Effect.all(
        [
          folder.run(["budget"]),
          folder.json<ReadonlyArray<object>>(["budget", "spent", "--by", "principal, tool", "--since", "1d"]),
          folder.run(["budget", "spent", "--by", "princpal"])
        ],
        { concurrency: 2 }
      )
      assert.match(table.stdout, /daily +me +\[#{20}\] 100 % +\$1\.00 +\$0\.00 +\$1\.00 /)
      assert.deepStrictEqual(spent, [
        { key: { principal: "me", tool: "paid" }, unit: "usd", amount: 1_000_000, attempts: 4 }
      ])
      assert.strictEqual(typo.code, 2)

      const [nobody, nothing] = yield* Effect.all(
        [
          folder.run(["budget", "credit", "nobody", "1", "--why", "x"]),
          folder.run(["budget", "credit", "me", "0.0000001", "--why", "x"])
        ],
        { concurrency: 2 }
      )
      assert.deepStrictEqual([nobody.code, nothing.code], [2, 2])
      const given = yield* folder.run(["budget", "credit", "me", "0.25", "--why", "a\u001b[31m refund"])
      assert.strictEqual(given.stdout, "Given back: $0.25 to me.\n")
      assert.strictEqual((yield* call(folder, "paid", "6")).code, 0)
      const credits = yield* folder.run(["budget", "credits"])
      assert.match(credits.stdout, /me +\$0\.25 +a\\u\{1b\}\[31m refund/)
      assert.notMatch(credits.stdout, acts)
    })
  )
})

describe("interlock health, stats and breaker", patience, () => {
  it.live("tell of calls that other processes made, and an operator's word holds in all of them", () =>
    Effect.gen(function* () {
      const folder = yield* project()
      yield* call(folder, "echo", "1")
      yield* call(folder, "broken", "1")
      yield* folder.run(["--as", "other", "call", "send_note", `{"text":"1"}`])
      const [health, stats, table] = yield* Effect.all(
        [
          folder.run(["--json", "health", "--since", "2h"]),
          folder.json<{ readonly calls: number; readonly tools: ReadonlyArray<object> }>(["stats"]),
          folder.run(["stats", "--since", "1d"])
        ],
        { concurrency: 2 }
      )
      assert.strictEqual(health.code, 8)
      const tools: ReadonlyArray<{ readonly tool: string; readonly healthy: boolean }> = JSON.parse(
        health.stdout
      )
      assert.deepStrictEqual(
        tools.filter(({ healthy }) => !healthy).map(({ tool }) => tool),
        ["broken"]
      )
      assert.strictEqual(stats.calls, 3)
      assert.deepInclude(
        stats.tools.find((row) => "tool" in row && row.tool === "broken"),
        { calls: 1, succeeded: 0, refused: 0, pending: 0, failed: 1 }
      )
      assert.deepInclude(
        stats.tools.find((row) => "tool" in row && row.tool === "send_note"),
        { refused: 1, failed: 0, cost: {} }
      )
      assert.match(
        table.stdout,
        /^3 calls since .*: 1 success, 1 failure, 1 permission_denied\nrefused by 1 permissions\n/
      )

      const [unexplained, opened] = yield* Effect.all([
        folder.run(["breaker", "open", "echo"]),
        folder.run(["breaker", "open", "echo", "--why", "under\u001b[2J repair"])
      ])
      assert.strictEqual(unexplained.code, 2)
      assert.match(opened.stdout, /echo +forced open +0 /)
      assert.notMatch(opened.stdout, acts)
      assert.strictEqual((yield* call(folder, "echo", "2")).code, 6)
      yield* folder.run(["breaker", "reset", "echo"])
      assert.strictEqual((yield* call(folder, "echo", "3")).code, 0)
      const records = yield* folder.json<ReadonlyArray<{ readonly action?: string }>>([
        "audit",
        "query",
        "--kind",
        "admin"
      ])
      assert.deepStrictEqual(
        records.map(({ action }) => action),
        ["circuit reset", "circuit forced open"]
      )
    })
  )
})

describe("interlock kill", patience, () => {
  it.live("stops what other processes call, interrupts what runs there, and is lifted", () =>
    Effect.gen(function* () {
      const folder = yield* project()
      const tail = yield* folder.start(["--json", "audit", "tail", "-f"])
      const hanging = yield* folder.start(["call", "hang", `{"text":"x"}`])
      yield* tail.printed(/"phase":"intent".*\n/)
      const stop = yield* folder.json<{ readonly id: string; readonly by: string }>([
        "kill",
        "tool",
        "h*",
        "--why",
        "it \u001b]0;hangs",
        "--until",
        "2h"
      ])
      assert.strictEqual(stop.by, "me")
      assert.strictEqual((yield* hanging.ended).code, 3)
      const [refused, list, past, unnamed] = yield* Effect.all(
        [
          call(folder, "hang", "y"),
          folder.run(["kill"]),
          folder.run(["kill", "all", "--why", "x", "--until", "2020-01-01"]),
          folder.run(["kill", "tag", " ", "--why", "x"])
        ],
        { concurrency: 2 }
      )
      assert.strictEqual(refused.code, 3)
      assert.match(list.stdout, new RegExp(`${stop.id} +tool h\\* +me .* it \\\\u\\{1b\\}\\]0;hangs`))
      assert.notMatch(list.stdout, acts)
      assert.deepStrictEqual([past.code, unnamed.code], [2, 2])
      assert.include(past.stderr, "until must be in the future")
      const [lifted, absent] = yield* Effect.all([
        folder.run(["kill", "lift", stop.id, "--why", "it is mended"]),
        folder.run(["kill", "lift", stop.id, "--why", "again"])
      ])
      assert.deepStrictEqual([lifted.code, absent.code], [0, 5])
      assert.deepStrictEqual(yield* folder.json(["kill", "list"]), [])
    }).pipe(Effect.scoped)
  )
})
