/** The configuration file: what is wrong with it, and where. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import * as fc from "fast-check"
import { Config } from "../src/cli/Config.ts"
import { templates } from "../src/cli/commands/init.ts"
import { type ConfigError, load, parseJson } from "../src/cli/load.ts"
import { version } from "../src/internal/version.ts"

const problems = (text: string): ReadonlyArray<string> => {
  const parsed = parseJson(text, "f.json")
  if (Result.isSuccess(parsed)) return []
  return parsed.failure.problems.map(({ at, field, message }) => `${at} ${field} ${message}`)
}

const folder = <A>(
  files: Readonly<Record<string, string>>,
  use: (directory: string) => Effect.Effect<A, unknown>
) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const directory = mkdtempSync(join(tmpdir(), "interlock-config-"))
      for (const [name, text] of Object.entries(files)) {
        mkdirSync(join(directory, name, ".."), { recursive: true })
        writeFileSync(join(directory, name), text)
      }
      return directory
    }),
    use,
    (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
  )

const loaded = (file: string) => Effect.provide(load(file), NodeServices.layer)
const refused = (file: string): Effect.Effect<string, unknown> =>
  Effect.map(Effect.flip(loaded(file)), (error) => (error as ConfigError).message)

describe("a configuration of JSON", () => {
  it("has comments and trailing commas", () => {
    assert.deepStrictEqual(problems('{ // who\n "principals": { "me": {}, }, /* what */ }'), [])
  })

  it("is wrong at a line and a column, with the field and what was expected, all at once", () => {
    const text = `{
  "polisy": {},
  "policy": { "deny": [""], "default": "maybe" },
  "rateLimits": [
    { "limit": 0, "window": "soon" }
  ]
}`
    const found = problems(text)
    assert.include(found[0], "2:3 polisy is not known here")
    assert.include(found.join("\n"), "3:24 policy.deny[0] must not be empty")
    assert.include(found.join("\n"), '3:29 policy.default must be "allow" or "deny"')
    assert.include(found.join("\n"), "5:7 rateLimits[0].limit")
    assert.isAtLeast(found.length, 5)
  })

  it("says where what is missing would be", () => {
    assert.match(
      problems('{\n  "rateLimits": [\n    { "limit": 1 }\n  ]\n}')[0] ?? "",
      /^3:5 rateLimits\[0\]\.window/
    )
  })

  it("that cannot be parsed is wrong where it breaks", () => {
    assert.deepStrictEqual(problems('{\n  "policy": }\n'), ["2:13  value expected"])
    assert.deepStrictEqual(problems(""), ["1:1  value expected"])
  })

  it("never shows a secret that was written where its place belongs", () => {
    const secret = "sk-very-secret"
    const texts = [
      { key: secret },
      { key: { env: secret, file: secret } },
      { credentials: { a: { type: "bearer", hosts: ["x.test"], token: secret } } },
      { principals: { a: { token: secret } } }
    ]
    for (const text of texts) {
      const found = problems(JSON.stringify(text))
      assert.isNotEmpty(found)
      assert.notInclude(found.join(), secret)
    }
  })

  it("is answered, whatever it is", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.object().map((value) => JSON.stringify(value))
        ),
        (text) => {
          for (const problem of problems(text)) assert.match(problem, /^\d+:\d+ /)
        }
      ),
      { numRuns: 300 }
    )
  })
})

describe("a configuration that is a module", () => {
  it.effect("gives data that is checked, and code that is not", () =>
    folder(
      { "interlock.config.ts": `export default { policy: { deny: ["a"] }, tools: [], governance: {} }` },
      (at) =>
        Effect.gen(function* () {
          const { code, config, directory } = yield* loaded(join(at, "interlock.config.ts"))
          assert.deepStrictEqual(config, { policy: { deny: ["a"] } })
          assert.deepStrictEqual(code, { tools: [], governance: {} })
          assert.strictEqual(directory, at)
        })
    )
  )

  it.effect("is refused when it throws, has no default export, or is wrong", () =>
    folder(
      {
        "throws.ts": `throw new Error("out of order")`,
        "none.ts": "export const config = {}",
        "wrong.ts": `export default { policy: { deny: [""] } }`
      },
      (at) =>
        Effect.gen(function* () {
          assert.include(yield* refused(join(at, "throws.ts")), "it throws when it is loaded: out of order")
          assert.include(yield* refused(join(at, "none.ts")), "it has no default export")
          assert.include(yield* refused(join(at, "wrong.ts")), "policy.deny[0]: must not be empty")
          assert.include(yield* refused(join(at, "absent.ts")), "there is no such file")
        })
    )
  )
})

it("an empty configuration is one", () => {
  assert.deepStrictEqual(problems("{}"), [])
  assert.isDefined(Config.fields.policy)
})

it("a new configuration can be used as it is, in both kinds", () => {
  assert.deepStrictEqual(problems(templates.json.text), [])
  const module = templates.ts.text.replace(/^import .*$/m, "const defineConfig = (config) => config")
  return Effect.runPromise(
    folder({ "interlock.config.mts": module }, (at) =>
      Effect.gen(function* () {
        const { config } = yield* loaded(join(at, "interlock.config.mts"))
        assert.deepStrictEqual(config, Result.getOrThrow(parseJson(templates.json.text, "f.json")))
      })
    )
  )
})

it("the version is the package's", () => {
  assert.strictEqual(
    version,
    JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")).version
  )
})
