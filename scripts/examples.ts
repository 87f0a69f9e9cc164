/** Runs every numbered program of `examples/`, and the demo without a terminal, each within a minute. */
import { spawnSync } from "node:child_process"
import { existsSync, globSync, readFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "..")
const timeLimit = 60_000
const lineLimit = 80

const numbered = globSync("examples/[0-9]*.ts", { cwd: root }).sort()
const demo = "examples/demo/main.ts"

const lineCount = (file: string) => readFileSync(join(root, file), "utf8").trimEnd().split("\n").length

/** What is wrong with the program, or nothing. */
const complaint = (file: string): string | undefined => {
  const lines = lineCount(file)
  if (file !== demo && lines > lineLimit) return `${lines} lines, where ${lineLimit} is the most\n`
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [file], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: timeLimit,
    killSignal: "SIGKILL",
    maxBuffer: 64 * 1024 * 1024
  })
  if (status === 0) return undefined
  const ending = status === null ? `ended by ${signal}, limit ${timeLimit / 1000} s` : `exit code ${status}`
  return `${stdout}${stderr}${ending}\n`
}

let failed = 0
for (const file of existsSync(join(root, demo)) ? [...numbered, demo] : numbered) {
  const started = performance.now()
  const found = complaint(file)
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`${found === undefined ? "pass" : "FAIL"} ${file} ${seconds} s`)
  if (found !== undefined) {
    failed += 1
    console.log(found)
  }
}
process.exitCode = failed === 0 ? 0 : 1
