/** What needs a package that is not installed says so where it is built, and nothing else needs it. */
import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { assert, it } from "@effect/vitest"

it("names the package to install, for each toolset that needs one", async () => {
  const script = new URL("./support/withoutPackages.ts", import.meta.url).pathname
  const { stdout } = await promisify(execFile)(process.execPath, [script])
  const expected = (neededBy: string, name: string) =>
    `${neededBy} needs the package "${name}", which is not installed: npm install ${name}`
  assert.deepStrictEqual(JSON.parse(stdout), {
    Email: expected("Email", "nodemailer"),
    Slack: expected("Slack", "@slack/web-api"),
    Lambda: expected("Lambda", "@aws-sdk/client-lambda")
  })
})
