/**
 * Terminal sessions in the documentation are real: every `console` fence of a page is run, all of a page in one empty
 * folder, and what it prints is what stands there. `node scripts/sessions.ts <page…>` writes it anew; a test compares.
 *
 * A fence has lines of `$ command` and what they print, both streams together. Ids, tokens, times and paths differ from
 * run to run: where a command names one that was printed before, the one of this run is put in its place.
 */
import { spawnSync } from "node:child_process"
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"

const root = join(import.meta.dirname, "..")

/** What differs from run to run. */
const varying =
  /[A-Za-z0-9_.-]{20,}|\bcall_\w+|\brun-[0-9a-f]{12}|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+Z)?|\b\d+(?:\.\d+)? ?m?s\b|(?<=port )\d+|\b\d{13}\b/g

/** Pairs what stands for the same in two texts; `undefined` where they are not alike. */
const align = (documented: string, printed: string): ReadonlyArray<readonly [string, string]> | undefined => {
  const fixed = (text: string) => text.replace(varying, "\0").replace(/ +/g, " ")
  if (fixed(documented) !== fixed(printed)) return undefined
  const found = printed.match(varying) ?? []
  return (documented.match(varying) ?? []).map((name, index) => [name, found[index] ?? name] as const)
}

export interface Step {
  readonly command: string
  readonly documented: string
  readonly printed: string
  readonly alike: boolean
}

/** Runs a page's sessions; gives every step, and the page with what was printed this time. */
export const runSessions = (page: string): { readonly steps: ReadonlyArray<Step>; readonly page: string } => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "interlock-session-")))
  const home = join(folder, "project")
  const bin = join(folder, "bin")
  for (const each of [home, bin, join(folder, "node_modules")]) mkdirSync(each)
  // As `npm install effect effect-interlock @effect/platform-node` leaves it.
  for (const name of ["effect", "@effect", "@modelcontextprotocol", ".bin"]) {
    symlinkSync(join(root, "node_modules", name), join(folder, "node_modules", name))
  }
  symlinkSync(root, join(folder, "node_modules/effect-interlock"))
  const script = `#!/bin/sh\nexec "${process.execPath}" "${join(root, "src/cli/bin.ts")}" "$@"\n`
  writeFileSync(join(bin, "interlock"), script, { mode: 0o755 })
  const path = [bin, join(folder, "node_modules/.bin"), process.env["PATH"]].join(delimiter)
  const env = { ...process.env, PATH: path, NO_COLOR: "1", HOME: folder, npm_config_offline: "true" }
  const steps: Array<Step> = []
  const names = new Map<string, string>()
  const runStep = (command: string, documented: string): string => {
    const now = [...names].reduce((text, [name, value]) => text.replaceAll(name, value), command)
    const { stdout } = spawnSync("bash", ["-c", `{ ${now}\n} 2>&1`], {
      cwd: home,
      env,
      encoding: "utf8",
      timeout: 60_000
    })
    const printed = stdout.replaceAll(home, "/home/me/project").trimEnd()
    const pairs = align(documented, printed)
    for (const [name, value] of pairs ?? []) if (name !== value) names.set(name, value)
    steps.push({ command, documented, printed, alike: pairs !== undefined })
    return pairs === undefined ? printed : documented
  }
  try {
    const written = page.replace(/(?<=^```console\n)[\s\S]*?(?=^```$)/gm, (fence) =>
      fence
        .split(/^\$ /m)
        .slice(1)
        .map((step) => {
          // A command goes on where its line ends with a backslash.
          const [, command = "", documented = ""] = /^((?:.*\\\n)*.*)\n?([\s\S]*)$/.exec(step) ?? []
          const printed = runStep(command, documented.trimEnd())
          return `$ ${command}\n${printed === "" ? "" : `${printed}\n`}`
        })
        .join("")
    )
    return { steps, page: written }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

if (import.meta.main) {
  for (const file of process.argv.slice(2)) {
    writeFileSync(file, runSessions(readFileSync(file, "utf8")).page)
  }
}
