/**
 * Makes the package that is published, in `dist/package`: the sources, their compiled form beside them, the README, and a
 * `package.json` whose exports name the compiled files. In the repository itself the exports name the sources.
 */
import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { type ChunkingContext, rolldown } from "rolldown"

export const root = join(import.meta.dirname, "..")
export const packageDir = join(root, "dist/package")

type Exports = Readonly<Record<string, string | null>>

/** Runs a program of `node_modules/.bin` with this Node, whichever Node the shell would find. */
export const runTool = (name: string, args: ReadonlyArray<string>): void =>
  run(process.execPath, [join(root, "node_modules/.bin", name), ...args], root)

/** Runs a program, shows its output, and throws when it fails. */
export const run = (command: string, args: ReadonlyArray<string>, cwd: string): void => {
  const { status, error } = spawnSync(command, args, { cwd, stdio: ["ignore", "inherit", "inherit"] })
  if (status !== 0) throw error ?? new Error(`${command} ${args.join(" ")} ended with ${status}`)
}

const compiled = (target: string | null) => {
  if (target === null) return null
  const file = target.replace(/^\.\/src\//, "./dist/").replace(/\.ts$/, "")
  return { types: `${file}.d.ts`, default: `${file}.js` }
}

/** What a published manifest has no use for. */
const forDevelopment = new Set(["scripts", "allowScripts", "devDependencies"])

const publishedManifest = (manifest: {
  readonly exports: Exports
  readonly bin: Readonly<Record<string, string>>
}) => ({
  ...Object.fromEntries(Object.entries(manifest).filter(([field]) => !forDevelopment.has(field))),
  exports: Object.fromEntries(Object.entries(manifest.exports).map(([key, to]) => [key, compiled(to)])),
  bin: Object.fromEntries(Object.entries(manifest.bin).map(([name, to]) => [name, compiled(to)?.default]))
})

/** What tools, calls and outcomes are described with, which a program may share with one that runs none: a browser's. */
const nouns = [
  ...["Capability", "Principal", "Run", "ToolAnnotations"],
  ...["ToolCall", "ToolError", "ToolResult", "Verdict"]
]

/**
 * Compiles the sources in a folder to few files: what the nouns load is in `internal/nouns.js`, what else the index loads
 * in `internal/core.js`, an edge holds what is its own, and the other public modules only hand on what those have. Node
 * takes about 0.1 ms for every import between two files, of which there are a thousand: file by file, importing the core
 * would take a third longer.
 */
export const bundle = async (sources: string, to: string): Promise<void> => {
  const path = (name: string) => join(sources, `${name}.ts`)
  const build = await rolldown({
    input: Object.fromEntries(entries(sources).map((name) => [name, path(name)])),
    platform: "neutral",
    // The package's dependencies stay what they are.
    external: /^[^./]/,
    transform: { target: "es2024" },
    plugins: [
      {
        name: "ascii",
        generateBundle: (_, files) => {
          for (const file of Object.values(files)) if (file.type === "chunk") file.code = ascii(file.code)
        }
      }
    ]
  })
  const reached = new Map<string, Set<string>>()
  const reach = (modules: Set<string>, module: string, graph: ChunkingContext): void => {
    if (!module.startsWith(sources) || modules.has(module)) return
    modules.add(module)
    for (const imported of graph.getModuleInfo(module)?.importedIds ?? []) reach(modules, imported, graph)
  }
  /** Whatever these modules load that no earlier group has. */
  const group = (name: string, modules: ReadonlyArray<string>, priority: number) => ({
    debugName: name,
    priority,
    name: (module: string, graph: ChunkingContext): string | null => {
      if (!reached.has(name)) {
        const all = new Set<string>()
        for (const each of modules) reach(all, path(each), graph)
        reached.set(name, all)
      }
      return reached.get(name)!.has(module) ? name : null
    }
  })
  await build.write({
    dir: to,
    chunkFileNames: "internal/[name].js",
    minifyInternalExports: false,
    codeSplitting: { groups: [group("nouns", nouns, 2), group("core", ["index"], 1)] },
    // Documentation is in the declarations, and the sources are in the package.
    comments: { annotation: true, jsdoc: false, legal: false },
    sourcemap: true,
    sourcemapExcludeSources: true
  })
  await build.close()
}

/**
 * V8 keeps two bytes for every character of a file in which a single one is not Latin: 2 MB more for the core. Only texts
 * and patterns hold such characters, where the escape means the same (also in `String.raw`, which makes patterns).
 */
const ascii = (code: string): string =>
  code.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)

/** The modules that are public: those at the top, the index of each folder but `internal`, and the program. */
const entries = (sources: string): ReadonlyArray<string> => [
  ...readdirSync(sources, { withFileTypes: true })
    .filter(({ name }) => name !== "internal")
    .map((entry) => (entry.isFile() ? entry.name.replace(/\.ts$/, "") : `${entry.name}/index`)),
  "cli/bin"
]

/** Compiles from the copy of the sources that is published, so that the source maps point at files a user has. */
export const build = async (): Promise<void> => {
  rmSync(packageDir, { recursive: true, force: true })
  mkdirSync(packageDir, { recursive: true })
  cpSync(join(root, "src"), join(packageDir, "src"), { recursive: true })
  for (const page of ["README.md", "LICENSE", "docs"]) {
    cpSync(join(root, page), join(packageDir, page), { recursive: true })
  }
  const manifest = publishedManifest(JSON.parse(readFileSync(join(root, "package.json"), "utf8")))
  writeFileSync(join(packageDir, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`)
  runTool("tsc", ["-p", "tsconfig.build.json"])
  await bundle(join(packageDir, "src"), join(packageDir, "dist"))
}

if (import.meta.main) await build()
