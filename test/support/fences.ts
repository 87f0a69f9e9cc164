/**
 * The TypeScript fences of the README and the docs as programs: found, type-checked together, and run one by one.
 * A fence marked `ts` is run, one marked `ts no-run` is only type-checked, and there is no third kind.
 */
import { spawn } from "node:child_process"
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

export const root = join(import.meta.dirname, "../..")

/** The pages a user reads, as paths from the root. */
export const pages: ReadonlyArray<string> = ["README.md", ...globSync("docs/**/*.md", { cwd: root }).sort()]

export interface Fence {
  readonly page: string
  /** The line of the page on which the code begins, counted from 1. */
  readonly line: number
  /** What follows the backticks: the language and its mark. */
  readonly info: string
  readonly code: string
}

/** Every fence of a page, whatever its language. An indented fence loses its indentation. */
export const fencesOf = (page: string, text: string): ReadonlyArray<Fence> => {
  const fences: Array<Fence> = []
  let open:
    | { readonly indent: string; readonly ticks: string; readonly info: string; readonly line: number }
    | undefined
  let code: Array<string> = []
  for (const [index, line] of text.split("\n").entries()) {
    const [, indent = "", ticks, rest = ""] = /^(\s*)(`{3,})(.*)$/.exec(line) ?? []
    if (open === undefined) {
      if (ticks === undefined) continue
      open = { indent, ticks, info: rest.trim(), line: index + 2 }
      code = []
    } else if (ticks === undefined || ticks.length < open.ticks.length || rest.trim() !== "") {
      code.push(line.startsWith(open.indent) ? line.slice(open.indent.length) : line.trimStart())
    } else {
      fences.push({ page, line: open.line, info: open.info, code: code.join("\n") })
      open = undefined
    }
  }
  if (open !== undefined) throw new Error(`${page}:${open.line - 1}: the fence is never closed`)
  return fences
}

const isScript = (fence: Fence) => /^(ts|tsx|typescript|js|jsx|javascript)\b/.test(fence.info)

export const isRun = (fence: Fence): boolean => fence.info === "ts"

export const isKnownKind = (fence: Fence): boolean => isRun(fence) || fence.info === "ts no-run"

export const nameOf = (fence: Fence): string => `${fence.page}:${fence.line}`

/** The fences in JavaScript or TypeScript of all pages, allowed kinds or not. */
export const scriptFences: ReadonlyArray<Fence> = pages.flatMap((page) =>
  fencesOf(page, readFileSync(join(root, page), "utf8")).filter(isScript)
)

const fileOf = (fence: Fence) => `${fence.page.replaceAll(/[^\w.]/g, "-")}-${fence.line}.ts`

export interface Outcome {
  readonly code: number | null
  readonly output: string
}

const runNode = (args: ReadonlyArray<string>, timeout: number): Promise<Outcome> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
      timeout,
      killSignal: "SIGKILL"
    })
    let output = ""
    child.stdout.on("data", (chunk) => (output += chunk))
    child.stderr.on("data", (chunk) => (output += chunk))
    child.on("error", reject)
    child.on("close", (code, signal) =>
      resolve({
        code,
        output: signal === null ? output : `${output}\nended by ${signal} after ${timeout} ms`
      })
    )
  })

export interface Workspace {
  readonly typeCheck: () => Promise<Outcome>
  /** Runs a fence from the root of the repository. The code is null when it was ended by the time limit in milliseconds. */
  readonly run: (fence: Fence, timeout?: number) => Promise<Outcome>
  readonly remove: () => void
}

/**
 * Writes the fences as files inside the repository, where the package can be imported by its own name. Not below
 * `node_modules`: there Node runs no TypeScript. Each file begins with as many empty lines as stand before the fence, so that
 * an error names the line of the page.
 */
export const makeWorkspace = (fences: ReadonlyArray<Fence>): Workspace => {
  mkdirSync(join(root, "dist"), { recursive: true })
  const folder = mkdtempSync(join(root, "dist/fences-"))
  for (const fence of fences)
    writeFileSync(join(folder, fileOf(fence)), "\n".repeat(fence.line - 1) + fence.code)
  const config = {
    extends: join(root, "tsconfig.json"),
    // An example may end with a value that only its reader uses.
    compilerOptions: { noUnusedLocals: false },
    include: [],
    files: fences.map(fileOf)
  }
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config))
  return {
    typeCheck: () => runNode([join(root, "node_modules/typescript/bin/tsc"), "-p", folder], 50_000),
    run: (fence, timeout = 30_000) => runNode([join(folder, fileOf(fence))], timeout),
    remove: () => rmSync(folder, { recursive: true, force: true })
  }
}
