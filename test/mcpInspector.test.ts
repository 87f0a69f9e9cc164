/** Governed tools as the inspector's command line sees them, over stdio and HTTP. */
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { fixture, fixtureOverHttp } from "./support/mcpHarness.ts"

const inspector = join(
  import.meta.dirname,
  "../node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
)

interface Inspected {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs the inspector's command line, whose files are in a directory of its own. */
const inspect = (args: ReadonlyArray<string>, target: ReadonlyArray<string>): Effect.Effect<Inspected> =>
  Effect.callback((resume) => {
    const home = mkdtempSync(join(tmpdir(), "interlock-inspector-"))
    const child = spawn(process.execPath, [inspector, "--cli", "-q", ...args, "--", ...target], {
      env: { ...process.env, HOME: home, MCP_CATALOG_PATH: join(home, "catalog.json") },
      stdio: ["ignore", "pipe", "pipe"]
    })
    const output = { stdout: "", stderr: "" }
    child.stdout.on("data", (chunk) => (output.stdout += chunk))
    child.stderr.on("data", (chunk) => (output.stderr += chunk))
    child.once("close", (code) => {
      rmSync(home, { recursive: true, force: true })
      resume(Effect.succeed({ code, ...output }))
    })
    return Effect.sync(() => child.kill("SIGKILL"))
  })

describe("the inspector's command line", () => {
  const targets = {
    stdio: Effect.succeed([process.execPath, fixture, "--stdio"]),
    http: Effect.map(fixtureOverHttp, ({ url }) => [url])
  }
  const runs = [
    ["stdio", "legacy"],
    ["http", "legacy"],
    ["http", "modern"]
  ] as const
  for (const [transport, era] of runs) {
    it.live(`has nothing to say against the tools, and calls them (${transport}, ${era})`, () =>
      Effect.gen(function* () {
        const target = yield* targets[transport]
        const list = yield* inspect(["--protocol-era", era, "--method", "tools/list", "--strict"], target)
        // It ends with 6 where a schema would be an error to some client.
        assert.strictEqual(list.code, 0, list.stderr)
        assert.isAbove(
          (JSON.parse(list.stdout) as { readonly tools: ReadonlyArray<unknown> }).tools.length,
          30
        )
        const method = ["--protocol-era", era, "--method", "tools/call", "--tool-name"]
        const sum = yield* inspect(
          [...method, "test_structured_content", "--tool-args-json", '{"a":1,"b":2}'],
          target
        )
        assert.deepInclude(JSON.parse(sum.stdout), { structuredContent: { sum: 3 } })
        const pending = yield* inspect(
          [...method, "test_approved", "--tool-args-json", '{"to":"eve"}'],
          target
        )
        // 5 is a result with `isError`.
        assert.strictEqual(pending.code, 5)
        assert.include(pending.stdout, "interlock approvals approve")
      }).pipe(Effect.scoped)
    )
  }
})
