/** The terminal sessions of the documentation print what stands there. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { runSessions } from "../scripts/sessions.ts"

const pages = ["getting-started.md"]

describe("the sessions of", () => {
  for (const name of pages) {
    it(name, { timeout: 180_000 }, () => {
      const page = readFileSync(join(import.meta.dirname, "../docs", name), "utf8")
      const { steps } = runSessions(page)
      assert.isAbove(steps.length, 5)
      for (const { alike, command, documented, printed } of steps) {
        if (!alike)
          assert.strictEqual(
            printed,
            documented,
            `$ ${command}\n(node scripts/sessions.ts docs/${name} writes it anew)`
          )
      }
    })
  }

  it("a page that says something else is found", { timeout: 60_000 }, () => {
    const page = (output: string) => `\`\`\`console\n$ echo "call_$RANDOM took 12 ms"\n${output}\n\`\`\`\n`
    assert.isTrue(runSessions(page("call_1 took 3 ms")).steps[0]?.alike)
    assert.isFalse(runSessions(page("call_1 takes 3 ms")).steps[0]?.alike)
    assert.include(runSessions(page("nothing")).page, "took 12 ms")
  })
})
