/**
 * Makes the package that is published, in `dist/package`: the sources, their compiled form beside them, the README, and a
 * `package.json` whose exports name the compiled files. In the repository itself the exports name the sources.
 */
import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

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

const publishedManifest = (manifest: { readonly exports: Exports }) => ({
  ...Object.fromEntries(Object.entries(manifest).filter(([field]) => !forDevelopment.has(field))),
  exports: Object.fromEntries(Object.entries(manifest.exports).map(([key, to]) => [key, compiled(to)]))
})

/** Compiles from the copy of the sources that is published, so that the source maps point at files a user has. */
export const build = (): void => {
  rmSync(packageDir, { recursive: true, force: true })
  mkdirSync(packageDir, { recursive: true })
  cpSync(join(root, "src"), join(packageDir, "src"), { recursive: true })
  for (const page of ["README.md", "LICENSE", "docs"]) {
    cpSync(join(root, page), join(packageDir, page), { recursive: true })
  }
  const manifest = publishedManifest(JSON.parse(readFileSync(join(root, "package.json"), "utf8")))
  writeFileSync(join(packageDir, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`)
  runTool("tsc", ["-p", "tsconfig.build.json"])
}

if (import.meta.main) build()
