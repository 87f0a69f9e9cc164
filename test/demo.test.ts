import { execFile } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"

const root = join(import.meta.dirname, "..")
const folder = mkdtempSync(join(tmpdir(), "interlock-demo-"))
afterAll(() => rmSync(folder, { recursive: true }))

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** The demo in a process of its own, without a terminal. */
const demo = (...args: ReadonlyArray<string>): Promise<Ended> =>
  new Promise((resolve) => {
    const options = {
      cwd: root,
      timeout: 30_000,
      killSignal: "SIGKILL",
      env: { ...process.env, TZ: "UTC" }
    } as const
    execFile(process.execPath, ["examples/demo/main.ts", ...args], options, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : typeof error.code === "number" ? error.code : -1, stdout, stderr })
    )
  })

const fileOf = (name: string, lines: ReadonlyArray<string | object>): string => {
  const file = join(folder, name)
  writeFileSync(
    file,
    lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n")
  )
  return file
}

/** The number of calls with a status in the report's table. */
const counted = (stdout: string, status: string): number =>
  Number(new RegExp(`^ {2}${status} +(\\d+) `, "m").exec(stdout)?.[1] ?? 0)

const order = (id: number) => ({ id: `order-${id}`, as: "bob", tool: "look_up_order", params: { order: id } })
const stock = (id: number) => ({
  id: `stock-${id}`,
  as: "bob",
  tool: "check_stock",
  params: { sku: "SKU-1" }
})

describe("the demo", () => {
  describe("with one line of each kind", () => {
    let ended: Ended
    beforeAll(async () => {
      const file = fileOf("kinds.jsonl", [
        { as: "bob", tool: "add", params: { a: 1, b: 2 } },
        { as: "bob", tool: "add", params: { a: 1 } },
        `{"as": "bob", "tool": "add"`,
        "",
        { as: "bob", params: {} },
        { as: "bob", tool: "no_such_tool", params: {} },
        { as: "eve", tool: "send_payment", params: { to: "Acme", amount: 10 } },
        { as: "ada", tool: "send_payment", params: { to: "Acme", amount: 10 } },
        { as: "ada", tool: "run_command", params: { command: "ls" } },
        { as: "bob", tool: "fetch_page", params: { url: "https://example.com@attacker.net/" } },
        { as: "bob", tool: "convert_currency", params: { amount: 1, from: "EUR", to: "USD" }, retries: 0 },
        { as: "bob", tool: "build_report", params: { pages: 400 } },
        { as: "bob", tool: "export_archive", params: { year: 1998 } },
        ...Array.from({ length: 6 }, (_, index) => stock(index)),
        ...Array.from({ length: 22 }, (_, index) => order(index)),
        // The page that the policy refused has used up one of the twenty.
        ...Array.from({ length: 20 }, () => ({
          as: "bob",
          tool: "fetch_page",
          params: { url: "https://example.com/" }
        }))
      ])
      ended = await demo(file)
    }, 60_000)

    it("does its job and says so", () => {
      assert.strictEqual(ended.code, 0, ended.stdout + ended.stderr)
      assert.strictEqual(ended.stderr, "")
    })

    it("gives every line a status", () => {
      const statuses: ReadonlyArray<readonly [string, number]> = [
        ["success", 1 + 6 + 19],
        ["degraded", 1],
        ["timeout", 2],
        ["pending_confirmation", 1],
        ["permission_denied", 1],
        ["policy_denied", 2],
        ["rate_limited", 1],
        ["invalid_params", 3],
        ["not_found", 1]
      ]
      for (const [status, calls] of statuses) assert.strictEqual(counted(ended.stdout, status), calls, status)
      assert.strictEqual(counted(ended.stdout, "failure") + counted(ended.stdout, "circuit_open"), 22)
      assert.isAtLeast(counted(ended.stdout, "circuit_open"), 1)
    })

    it("names the number of a line that cannot be read", () => {
      assert.include(ended.stdout, "2 lines could not be read")
      assert.match(ended.stdout, /line 3 +not JSON: /)
      assert.match(ended.stdout, /line 5 +Missing required field "tool"/)
    })

    it("tells which circuit opened and why", () => {
      assert.match(ended.stdout, /look_up_order +opened +5 consecutive failures/)
      assert.match(ended.stdout, /erp:\s+ECONNREFUSED/)
    })

    it("tells what was retried, and what was interrupted or abandoned", () => {
      assert.match(ended.stdout, /Retried\n.*\n(.*\n)* {2}check_stock +[1-9]/)
      assert.match(ended.stdout, /build_report +1 +0 +0 /)
      assert.match(ended.stdout, /export_archive +1 +0 +1 /)
    })

    it("never pays before a human has agreed", () => {
      assert.include(ended.stdout, "The service itself saw 0 payments, 0 deletions")
    })

    it("cancels what runs and skips what has not begun when a critical call fails", () => {
      assert.match(ended.stdout, /19 running calls cancelled, 4 that had not begun skipped/)
      assert.match(ended.stdout, /the service saw 1\d callers hang up/)
    })

    it("writes plain lines of at most 100 columns where there is no terminal", () => {
      assert.notInclude(ended.stdout, "\x1b")
      for (const line of ended.stdout.split("\n")) assert.isAtMost(line.length, 100, line)
    })
  })

  it("answers every line of a piece of the committed file", async () => {
    const lines = readFileSync(join(root, "examples/demo/calls.jsonl"), "utf8").split("\n").slice(0, 60)
    const ended = await demo(fileOf("first.jsonl", lines))
    assert.strictEqual(ended.code, 0, ended.stdout + ended.stderr)
    assert.match(ended.stdout, /^60 calls in /m)
  }, 60_000)

  it.each([
    ["a file that does not exist", "missing.jsonl", "there is no such file"],
    ["a folder", ".", "it is not a file"],
    ["an empty file", "empty.jsonl", "it holds none"]
  ])(
    "says what is wrong with %s",
    async (_, name, why) => {
      fileOf("empty.jsonl", [""])
      const { code, stderr } = await demo(join(folder, name))
      assert.strictEqual(code, 1)
      assert.include(stderr, `Cannot read the calls in "${join(folder, name)}"`)
      assert.include(stderr, why)
      assert.notInclude(stderr, " at ")
    },
    60_000
  )

  it("lists the tools", async () => {
    const { code, stdout } = await demo("--help")
    assert.strictEqual(code, 0)
    for (const tool of ["add", "check_stock", "send_payment"])
      assert.match(stdout, new RegExp(`^ {2}${tool} `, "m"))
  }, 60_000)
})
