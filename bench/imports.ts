/**
 * What importing costs, in fresh processes: time, and resident memory. The core is the package as users get
 * it; the sources, whose types Node strips on every start, are what this repository runs.
 */
import { spawnSync } from "node:child_process"
import { cpSync, readFileSync, rmSync, symlinkSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { root, run as runProgram } from "../scripts/build.ts"
import { type Outcome, outcome } from "./report.ts"
import { median } from "./support.ts"

const rounds = 7
const copy = join(root, "dist/bench")

/** Makes the package from the sources as they are now, in a copy of the project: what `dist/package` holds may be older. */
const build = (): string => {
  rmSync(copy, { recursive: true, force: true })
  const parts = [
    "package.json",
    "tsconfig.json",
    "tsconfig.build.json",
    "README.md",
    "LICENSE",
    "docs",
    "scripts",
    "src"
  ]
  for (const part of parts) cpSync(join(root, part), join(copy, part), { recursive: true })
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"), "dir")
  runProgram(process.execPath, [join(copy, "scripts/build.ts")], copy)
  const made = join(copy, "dist/package")
  const { exports } = JSON.parse(readFileSync(join(made, "package.json"), "utf8"))
  return join(made, exports["."].default)
}

const url = (path: string) => pathToFileURL(path).href

interface Imported {
  readonly name: string
  readonly modules: ReadonlyArray<string>
  readonly millis: Array<number>
  readonly resident: Array<number>
}

const imported = (name: string, modules: ReadonlyArray<string>): Imported => ({
  name,
  modules,
  millis: [],
  resident: []
})

/** What a program imports that makes tools with Effect and calls them from a model. */
const effect = [
  ...["Effect", "Layer", "Context", "Schema", "Schedule", "Stream"],
  ...["ai/Tool", "ai/Toolkit", "ai/LanguageModel"]
].map((path) => `effect/${path}`)

const program = `
const resident = process.memoryUsage.rss()
const from = performance.now()
for (const module of process.argv.slice(1)) await import(module)
const millis = performance.now() - from
console.log(JSON.stringify([millis, (process.memoryUsage.rss() - resident) / 2 ** 20]))`

/** Bare names are found from here: Effect as the library has it, and the peers as they are installed. */
const once = ({ millis, modules, resident }: Imported): string | undefined => {
  const { status, stderr, stdout } = spawnSync(
    process.execPath,
    ["--input-type=module", "-e", program, "--", ...modules],
    { cwd: import.meta.dirname, encoding: "utf8", timeout: 20_000 }
  )
  if (status !== 0) return stderr.match(/^\w*Error.*$/m)?.[0] ?? `ended with ${status}`
  const [took, grown] = JSON.parse(stdout) as [number, number]
  millis.push(took)
  resident.push(grown)
  return undefined
}

export const run = async (): Promise<Outcome> => {
  const reference = imported("effect subpaths and effect/ai", effect)
  const core = imported("Interlock, compiled", [url(build())])
  const all = [
    imported("nothing", []),
    reference,
    core,
    imported("Interlock, its sources", [url(join(root, "src/index.ts"))]),
    imported("cockatiel, zod and rate-limiter-flexible", ["cockatiel", "zod", "rate-limiter-flexible"]),
    imported("AI SDK (ai)", ["ai"]),
    imported("LangGraph (prebuilt, @langchain/core/tools)", [
      "@langchain/langgraph/prebuilt",
      "@langchain/core/tools"
    ])
  ]
  const wrong: Array<string> = []
  for (let round = 0; round < rounds; round++) {
    const first = round % all.length
    for (const one of [...all.slice(first), ...all.slice(0, first)]) {
      const problem = once(one)
      // The peers may not be there; what is ours must be.
      if (problem !== undefined && round === 0 && (one === core || one === reference)) {
        wrong.push(`${one.name}: ${problem}`)
      }
    }
  }
  const ratio = (what: "millis" | "resident", of: string) => ({
    work: `import of the core, ${of}`,
    comparedWith: reference.name,
    measured: median(core[what]) / median(reference[what]),
    target: 1.3
  })
  return outcome({
    tables: [
      {
        title: `Imports in a fresh process, median of ${rounds}`,
        columns: [{ title: "" }, { title: "ms" }, { title: "resident MiB more" }, { title: "× effect, ms" }],
        rows: all.map(({ millis, name, resident }) => [
          name,
          median(millis),
          median(resident),
          median(millis) / median(reference.millis)
        ])
      }
    ],
    ratios: [ratio("millis", "time"), ratio("resident", "memory")],
    wrong
  })
}
