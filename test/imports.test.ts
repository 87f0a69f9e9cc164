/** What importing the core loads: every module costs each program that starts, whether it uses it or not. */
import { spawnSync } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"

/** Prints the URL of every module that importing these loads, in a process of its own. */
const program = `
import { registerHooks } from "node:module"
const urls = []
registerHooks({ load: (url, context, next) => { urls.push(url); return next(url, context) } })
for (const module of process.argv.slice(1)) await import(module)
console.log(JSON.stringify(urls))`

/** The paths in the sources, and the names in `node_modules`. */
const loadedBy = (...modules: ReadonlyArray<string>): ReadonlySet<string> => {
  const { status, stderr, stdout } = spawnSync(
    process.execPath,
    ["--input-type=module", "-e", program, "--", ...modules],
    { cwd: import.meta.dirname, encoding: "utf8" }
  )
  assert.strictEqual(status, 0, stderr)
  const urls = JSON.parse(stdout) as ReadonlyArray<string>
  return new Set(urls.map((url) => url.replace(/^.*\/node_modules\/|^.*(?=\/src\/)/, "")))
}

/** What a program loads that makes tools with Effect and calls them from a model. */
const effect = [
  ...["Effect", "Layer", "Context", "Schema", "Schedule", "Stream"],
  ...["ai/Tool", "ai/Toolkit", "ai/LanguageModel"]
].map((module) => `effect/${module}`)

describe("importing the core", () => {
  const before = loadedBy(...effect)
  const core = loadedBy("../src/index.ts")
  const added = [...core].filter((module) => !before.has(module))

  it("adds these public modules of Effect to what tools and models need, and no others", () => {
    const names = added
      .filter((module) => module.startsWith("effect/") && !module.includes("/internal/"))
      .map((module) => module.replace(/^effect\/dist\/|\.js$/g, ""))
    assert.deepStrictEqual(names.sort(), [
      // It brings `ConfigProvider`, `FileSystem`, `Path` and `PlatformError`.
      "Config",
      "ConfigProvider",
      "Console",
      "ErrorReporter",
      "FiberHandle",
      "FileSystem",
      "LogLevel",
      "Path",
      "PlatformError",
      "Ref",
      "SchemaRepresentation",
      "schema/SchemaCompiler",
      "schema/SchemaCompiler/runtime",
      "schema/SchemaJITCompiler"
    ])
  })

  it("loads no package but the three it depends on, and nothing of Node's", () => {
    const packages = added
      .filter((module) => !module.startsWith("/src/") && !module.startsWith("effect/"))
      .map((module) => module.replace(/^((?:@[^/]+\/)?[^/]+)\/.*$/, "$1"))
    assert.deepStrictEqual([...new Set(packages)].sort(), [
      "@cfworker/json-schema",
      "@noble/hashes",
      "minisearch"
    ])
  })

  it("loads no edge, and not what waits until it is asked for", () => {
    const late = /^\/src\/(?:mcp|sql|testing|internal\/auditFiles)\/|^\/src\/internal\/approvals\/terminal\./
    assert.deepStrictEqual(
      [...core].filter((module) => late.test(module)),
      []
    )
  })

  it("loads nothing that runs calls when only tools are described", () => {
    const nouns = [
      "Capability",
      "Principal",
      "Run",
      "ToolAnnotations",
      "ToolCall",
      "ToolError",
      "ToolResult",
      "Verdict"
    ]
    const ours = [...loadedBy(...nouns.map((noun) => `../src/${noun}.ts`))].filter((module) =>
      module.startsWith("/src/")
    )
    assert.deepStrictEqual(
      ours.sort(),
      [...nouns.map((noun) => `/src/${noun}.ts`), "/src/internal/glob.ts"].sort()
    )
  })
})
