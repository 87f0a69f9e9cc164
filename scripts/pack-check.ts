/**
 * Proves that what would be published can be used: packs it, lets `publint` and `attw` judge the tarball, installs that
 * tarball in an empty folder, and there imports and type-checks every public subpath and none of the internal ones.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { build, packageDir, root, run, runTool } from "./build.ts"

/** The npm that runs this script, under its own Node: an older npm may not start under the Node of `node_modules`. */
const npm = (args: ReadonlyArray<string>, cwd: string): void => {
  const { npm_execpath: cli, npm_node_execpath: node } = process.env
  if (cli !== undefined && node !== undefined) run(node, [cli, ...args], cwd)
  else run("npm", args, cwd)
}

const readJson = (path: string) => JSON.parse(readFileSync(path, "utf8"))

const modulesIn = (folder: string, recursive = false): ReadonlyArray<string> =>
  readdirSync(folder, { recursive, encoding: "utf8" })
    .filter((file) => file.endsWith(".js"))
    .map((file) => file.slice(0, -".js".length))

/** The versions the tests ran with, so that a release elsewhere cannot change what this check finds. */
const installedVersions = (names: ReadonlyArray<string>): ReadonlyArray<string> =>
  names.map((name) => `${name}@${readJson(join(root, "node_modules", name, "package.json")).version}`)

const program = (name: string, open: ReadonlyArray<string>, closed: ReadonlyArray<string>): string => `
const core = await import(${JSON.stringify(name)})
for (const subpath of ${JSON.stringify(open)}) {
  const module = await import(subpath)
  const inCore = core[subpath.slice(${name.length + 1})] ?? {}
  // One copy of everything, by whichever name it is imported.
  for (const key in inCore) if (key in module && inCore[key] !== module[key]) throw new Error(subpath + " has another " + key)
}
for (const subpath of ${JSON.stringify(closed)}) {
  const code = await import(subpath).then(() => "none", (error) => error.code)
  if (code !== "ERR_PACKAGE_PATH_NOT_EXPORTED") throw new Error(subpath + " is not refused: " + code)
}
console.log("imported ${open.length} public subpaths; ${closed.length} internal ones are refused")
`

const typed = (open: ReadonlyArray<string>): string =>
  open.map((subpath, i) => `export * as m${i} from "${subpath}"\n`).join("")

const compilerOptions = { target: "ES2024", module: "NodeNext", strict: true, noEmit: true }

/** What runs on Node, and needs its types, as the packages that it stands on do. */
const isOfNode = (subpath: string): boolean => /\/(?:cli|mcp|toolbox)$/.test(subpath)

const checkAsUser = (folder: string, tarball: string, open: ReadonlyArray<string>): void => {
  const { name, dependencies, peerDependencies } = readJson(join(packageDir, "package.json"))
  const closed = modulesIn(join(packageDir, "dist/internal"), true).map(
    (module) => `${name}/internal/${module}`
  )
  writeFileSync(join(folder, "package.json"), '{ "private": true, "type": "module" }')
  const needed = installedVersions(["@types/node", ...Object.keys({ ...dependencies, ...peerDependencies })])
  npm(["install", "--no-save", "--loglevel=error", "--prefer-offline", tarball, ...needed], folder)
  writeFileSync(join(folder, "program.js"), program(name, open, closed))
  run(process.execPath, ["program.js"], folder)
  const check = (name: string, subpaths: ReadonlyArray<string>, types: ReadonlyArray<string>) => {
    writeFileSync(join(folder, `${name}.ts`), typed(subpaths))
    const config = { compilerOptions: { ...compilerOptions, types }, files: [`${name}.ts`] }
    writeFileSync(join(folder, `${name}.json`), JSON.stringify(config))
    runTool("tsc", ["-p", join(folder, `${name}.json`)])
  }
  check(
    "anywhere",
    open.filter((subpath) => !isOfNode(subpath)),
    []
  )
  check("node", open.filter(isOfNode), ["node"])
  const interlock = join(folder, "node_modules/.bin/interlock")
  for (const args of [
    ["init"],
    ["tools"],
    ["call", "calculator_evaluate", '{"expression":"2*21"}'],
    ["doctor"]
  ]) {
    run(process.execPath, [interlock, ...args], folder)
  }
}

const folder = mkdtempSync(join(tmpdir(), "pack-check-"))
try {
  await build()
  npm(["pack", "--loglevel=error", "--pack-destination", folder], packageDir)
  const { name, version, exports } = readJson(join(packageDir, "package.json"))
  const tarball = join(folder, `${name}-${version}.tgz`)
  const flat = modulesIn(join(packageDir, "dist")).filter((module) => module !== "index")
  const named = Object.keys(exports).filter((key) => !key.includes("*"))
  runTool("publint", ["run", tarball, "--strict"])
  runTool("attw", [
    tarball,
    "--profile",
    "esm-only",
    "-f",
    "table-flipped",
    "--no-emoji",
    "--include-entrypoints",
    ...flat
  ])
  checkAsUser(folder, tarball, [
    ...named.map((key) => name + key.slice(1)),
    ...flat.map((module) => `${name}/${module}`)
  ])
} finally {
  rmSync(folder, { recursive: true, force: true })
}
