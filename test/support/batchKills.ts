/** Runs a batch in processes that are killed at random moments, resumes it, and counts what there is of each line. */
import { type ChildProcess, fork } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { fileURLToPath } from "node:url"
import type { Order, Told } from "./batchWorker.ts"

const program = fileURLToPath(new URL("batchWorker.ts", import.meta.url))

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export const random = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}

/** Writes so many lines: calls of both tools by turns, a bad line now and then. Gives the file's name. */
export const writeInput = (
  folder: string,
  lines: number,
  tools: ReadonlyArray<string>,
  bad = true
): string => {
  const file = Path.join(folder, "calls.jsonl")
  const descriptor = Fs.openSync(file, "w")
  let text = ""
  for (let n = 1; n <= lines; n++) {
    text +=
      bad && n % 997 === 0
        ? "{ no json\n"
        : `${JSON.stringify({ tool: tools[n % tools.length], params: { n } })}\n`
    if (text.length > 65_536 || n === lines) {
      Fs.writeSync(descriptor, text)
      text = ""
    }
  }
  Fs.closeSync(descriptor)
  return file
}

export interface Ran {
  /** By SIGKILL. */
  readonly killed: boolean
  readonly told: ReadonlyArray<Told>
  /** Milliseconds, the start of the process included. */
  readonly time: number
}

/**
 * Runs a worker to its end; or kills it, so many milliseconds after its batch began, where it has not ended before.
 */
export const runWorker = async (order: Order, killAfter?: number): Promise<Ran> => {
  const from = performance.now()
  const child: ChildProcess = fork(program, [JSON.stringify(order)], {
    stdio: ["ignore", "ignore", "inherit", "ipc"]
  })
  const told: Array<Told> = []
  let timer: NodeJS.Timeout | undefined
  child.on("message", (message: Told) => {
    told.push(message)
    if (killAfter !== undefined) timer ??= setTimeout(() => child.kill("SIGKILL"), killAfter)
  })
  const signal = await new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => resolve(signal ?? String(code)))
  })
  clearTimeout(timer)
  if (signal !== "SIGKILL" && signal !== "0") throw new Error(`the worker ended with ${signal}`)
  return { killed: signal === "SIGKILL", told, time: performance.now() - from }
}

const readLines = (file: string): ReadonlyArray<string> =>
  Fs.existsSync(file) ? Fs.readFileSync(file, "utf8").split("\n").slice(0, -1) : []

/** What is wrong with a batch that has come to its end; and how many lines ended how. */
export const check = (
  order: Order,
  lines: number
): { readonly wrong: ReadonlyArray<string>; readonly counts: Readonly<Record<string, number>> } => {
  const wrong: Array<string> = []
  const database = new DatabaseSync(order.database, { readOnly: true })
  const counts: Record<string, number> = {}
  const statuses = new Map<number, string>()
  for (const row of database.prepare("SELECT line, status FROM interlock_batch_lines").iterate()) {
    const status = String(row["status"])
    statuses.set(Number(row["line"]), status)
    counts[status] = (counts[status] ?? 0) + 1
  }
  database.close()
  if (statuses.size !== lines) wrong.push(`${statuses.size} lines of ${lines} have an outcome`)
  if (statuses.has(0) || statuses.has(lines + 1)) wrong.push("a line is recorded that there is not")
  const runs = new Map<string, number>()
  for (const effect of readLines(order.effects ?? "")) runs.set(effect, (runs.get(effect) ?? 0) + 1)
  for (const [effect, times] of runs) {
    if (effect.startsWith("write ") && times > 1) wrong.push(`${effect} ran ${times} times`)
  }
  const source = readLines(order.input)
  source.forEach((text, i) => {
    const line = i + 1
    const status = statuses.get(line)
    const tool = /"tool":"(\w+)"/.exec(text)?.[1]
    const times = runs.get(`${tool} ${line}`) ?? 0
    if (tool === undefined) {
      if (status !== "invalid_params") wrong.push(`line ${line} is no call, and ended as ${status}`)
    } else if (status === "success") {
      if (times === 0) wrong.push(`line ${line} succeeded and never ran`)
    } else if (!(status === "unknown" && tool === "write")) wrong.push(`line ${line} ended as ${status}`)
  })
  return { wrong, counts }
}

/** The lines that were let out, and how often at the most. Whoever is killed may leave the beginning of one. */
export const letOut = (file: string): { readonly lines: number; readonly most: number } => {
  const seen = new Map<number, number>()
  let most = 0
  for (const text of readLines(file)) {
    const line = Number(/^\{"line":(\d+),.*\}$/.exec(text)?.[1])
    if (Number.isNaN(line)) continue
    const times = (seen.get(line) ?? 0) + 1
    seen.set(line, times)
    most = Math.max(most, times)
  }
  return { lines: seen.size, most }
}
