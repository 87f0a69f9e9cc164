/** The official conformance suite, run against a server that listens. */
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"

const suite = join(import.meta.dirname, "../../node_modules/@modelcontextprotocol/conformance/dist/index.js")

/** What a scenario came to. */
export interface Scenario {
  readonly name: string
  readonly passed: number
  readonly failed: number
  /** Whether the revision requires it; others are run and reported by the suite all the same. */
  readonly required: boolean
}

/** Runs exactly what a revision requires, on that revision's wire. */
export const conformance = (
  url: string,
  requirements: "2025-11-25" | "2026-07-28"
): Effect.Effect<ReadonlyArray<Scenario>> =>
  Effect.callback((resume) => {
    // Whatever the suite writes, it writes there.
    const cwd = mkdtempSync(join(tmpdir(), "interlock-conformance-"))
    const child = spawn(process.execPath, [suite, "server", "--url", url, "--requirements", requirements], {
      cwd,
      stdio: ["ignore", "pipe", "pipe"]
    })
    let output = ""
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk))
    child.once("close", () => {
      rmSync(cwd, { recursive: true, force: true })
      const scenarios = read(output)
      resume(
        scenarios.length > 0
          ? Effect.succeed(scenarios)
          : Effect.die(new Error(`The suite has run nothing:\n${output}`))
      )
    })
    return Effect.sync(() => child.kill("SIGKILL"))
  })

const read = (output: string): ReadonlyArray<Scenario> => {
  const [summary = "", notScored = ""] = (output.split("=== SUMMARY ===")[1] ?? "").split("Not scored for")
  const optional = new Set(Array.from(notScored.matchAll(/^\s+[✓✗] (\S+) \(/gm), ([, name]) => name))
  return Array.from(
    summary.matchAll(/^[✓✗] (\S+): (\d+) passed, (\d+) failed/gm),
    ([, name = "", passed, failed]) => ({
      name,
      passed: Number(passed),
      failed: Number(failed),
      required: !optional.has(name)
    })
  )
}
