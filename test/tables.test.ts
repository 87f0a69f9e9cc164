import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { renew } from "../scripts/tables.ts"

const script = join(import.meta.dirname, "../scripts/tables.ts")

describe("the tables of the pages", () => {
  it("say what the code says", () => {
    const { status, stderr, stdout } = spawnSync(process.execPath, [script, "--check"], { encoding: "utf8" })
    assert.strictEqual(status, 0, `${stdout}${stderr}`)
  })

  it("are written between their markers, and nothing else is", () => {
    const page = renew("before\n<!-- begin errors -->\nstale\n<!-- end errors -->\nafter")
    assert.match(page, /^before\n<!-- begin errors -->\n\n\| reason .*\|\n\n<!-- end errors -->\nafter$/s)
    assert.notInclude(page, "stale")
    assert.strictEqual(renew(page), page)
  })

  it("are refused where there is none of that name, or no end", () => {
    assert.throws(() => renew("<!-- begin erors -->\n<!-- end erors -->"), /no table "erors"/)
    assert.throws(() => renew("<!-- begin errors -->"), /"errors" has no end/)
  })
})
