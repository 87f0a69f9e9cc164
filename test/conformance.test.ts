/** The official conformance suite against governed tools, and what of it fails because of Effect's own server. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { conformance, type Scenario } from "./support/mcpConformance.ts"
import { type Era, eras, fixtureOverHttp } from "./support/mcpHarness.ts"

/** What a revision requires and fails. Each is shown on a bare server in `mcpBare.test.ts`. */
const expectedFailures: Readonly<Record<Era, ReadonlyArray<string>>> = {
  // Effect's server has no subscriptions to resources over HTTP.
  "2025-11-25": ["resources-subscribe", "resources-unsubscribe"],
  "2026-07-28": []
}

/** What it runs beside that: Effect's server does not know the extension of tasks, and it is no requirement. */
const expectedToFailBeside: Readonly<Record<Era, ReadonlyArray<string>>> = {
  "2025-11-25": [],
  "2026-07-28": [
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
    "tasks-required-task-error",
    "tasks-mrtr-composition"
  ]
}

const required: Readonly<Record<Era, number>> = { "2025-11-25": 30, "2026-07-28": 37 }

const failing = (scenarios: ReadonlyArray<Scenario>) =>
  scenarios.filter(({ failed }) => failed > 0).map(({ name }) => name)

/** The row of the page's table. */
const row = (era: Era, scenarios: ReadonlyArray<Scenario>): string => {
  const passed = scenarios.filter(({ failed }) => failed === 0).length
  const checks = scenarios.reduce((sum, { passed }) => sum + passed, 0)
  const failed = failing(scenarios).map((name) => `\`${name}\``)
  return `| ${era} | ${passed} of ${scenarios.length} | ${checks} | ${failed.join(", ") || "none"} |`
}

describe("the official conformance suite, against governed tools", () => {
  for (const era of eras) {
    it.live(`of ${era}: what is required passes, but for what is listed`, () =>
      Effect.gen(function* () {
        const { url } = yield* fixtureOverHttp
        const scenarios = yield* conformance(url, era)
        const scored = scenarios.filter(({ required }) => required)
        const beside = scenarios.filter(({ required }) => !required)
        assert.lengthOf(scored, required[era])
        assert.deepStrictEqual(failing(scored), expectedFailures[era])
        assert.deepStrictEqual(failing(beside), expectedToFailBeside[era])
        const page = readFileSync(join(import.meta.dirname, "../docs/mcp.md"), "utf8")
        assert.include(page, row(era, scored), "docs/mcp.md says what the suite says")
      }).pipe(Effect.scoped)
    )
  }
})
