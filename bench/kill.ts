/**
 * `node bench/kill.ts [--store file|sqlite] [--kills 200] [--seed 1] [--within 1000]`:
 * kills a process with SIGKILL at random moments of a load of 64 callers, opens
 * its audit log again, and counts what there is of each call. Half of the moments
 * are anywhere in the first `within` milliseconds of the load; the others in a
 * random step of a random append, or shortly after, where few would fall by chance.
 *
 * An effect is a line that another process, the ledger, has written and synced; an
 * answer is a line that the killed process wrote when `execute` returned. What
 * must hold after every kill: no effect without an intent, none twice, no answer
 * without an outcome, no success without an effect, and the log verifies. An
 * unknown is an intent without an outcome: the call that a crash interrupted. Every
 * ten kills begin with a log of their own, so that the others go on with one that
 * was killed before. Exits with 1 where something does not hold.
 */
import { type ChildProcess, fork, spawn } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { AuditLog, Keyring, Redaction } from "../src/index.ts"
import { keyring, layer, type Store, steps as stepsOf, stores } from "./kill/log.ts"
import type { Order } from "./kill/worker.ts"
import { machine } from "./support.ts"

const { values: options } = parseArgs({
  options: {
    store: { type: "string", default: "file" },
    kills: { type: "string", default: "200" },
    seed: { type: "string", default: "1" },
    within: { type: "string", default: "1000" }
  }
})
const store = stores.find((one) => one === options.store)
const kills = Number(options.kills)
const seed = Number(options.seed)
const within = Number(options.within)
if (store === undefined || !(kills >= 1 && within >= 0) || !Number.isInteger(seed)) {
  console.error("node bench/kill.ts [--store file|sqlite] [--kills 200] [--seed 1] [--within 1000]")
  process.exit(2)
}
const killsPerLog = 10

// --- The processes ---------------------------------------------------------

const program = (name: string): string => fileURLToPath(new URL(`kill/${name}.ts`, import.meta.url))

const exited = (child: ChildProcess): Promise<string> =>
  new Promise((resolve) => child.once("exit", (code, signal) => resolve(signal ?? String(code))))

interface Ledger {
  readonly process: ChildProcess
  readonly port: string
  /** Every effect so far, once everything that was sent is dealt with. */
  readonly effects: () => Promise<ReadonlyArray<string>>
}

const startLedger = async (file: string): Promise<Ledger> => {
  const child = spawn(process.execPath, [program("ledger"), file], { stdio: ["ignore", "pipe", "inherit"] })
  const port = await new Promise<string>((resolve) =>
    child.stdout.once("data", (text) => resolve(`${text}`.trim()))
  )
  const connected = async () => Number(await (await fetch(`http://127.0.0.1:${port}/`)).text())
  return {
    process: child,
    port,
    effects: async () => {
      while ((await connected()) > 0) await new Promise((resolve) => setTimeout(resolve, 1))
      return linesOf(file)
    }
  }
}

const linesOf = (file: string): ReadonlyArray<string> =>
  existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : []

/** Runs a worker until it is killed, at the latest `moment` milliseconds after its callers began; says when it was. */
const runAndKill = async (order: Order, moment: number): Promise<number> => {
  const worker = fork(program("worker"), [JSON.stringify(order)], {
    stdio: ["ignore", "ignore", "inherit", "ipc"]
  })
  const end = exited(worker)
  const began = new Promise<"began">((resolve) => worker.once("message", () => resolve("began")))
  if ((await Promise.race([began, end])) !== "began") throw new Error("the worker ended before it began")
  const from = performance.now()
  const timer = setTimeout(() => worker.kill("SIGKILL"), moment)
  const signal = await end
  clearTimeout(timer)
  if (signal !== "SIGKILL") throw new Error(`the worker ended by itself: ${signal}`)
  return performance.now() - from
}

// --- What is there of each call --------------------------------------------

interface Found {
  readonly intents: ReadonlySet<string>
  readonly outcomes: ReadonlySet<string>
  readonly problem: string | undefined
}

/** Opens the log, as the next process would. */
const readLog = (store: Store, directory: string, prefix: string): Promise<Found> =>
  Effect.gen(function* () {
    const log = yield* AuditLog.AuditLog
    const verified = yield* log.verify()
    const intents = new Set<string>()
    const outcomes = new Set<string>()
    yield* Stream.runForEach(log.lines(), ({ line }) =>
      Effect.sync(() => {
        const { callId, phase }: { callId?: string; phase?: string } = JSON.parse(line)
        if (callId?.startsWith(`${prefix}-`) !== true) return
        const seen = phase === "intent" ? intents : outcomes
        seen.add(callId)
      })
    )
    const problem = verified.ok ? undefined : `record ${verified.sequence}: ${verified.message}`
    return { intents, outcomes, problem }
  }).pipe(
    Effect.provide(
      layer(store, directory).pipe(Layer.provide(Layer.merge(Keyring.layer(keyring), Redaction.layer())))
    ),
    Effect.runPromise
  )

/** The innermost step that had begun and not ended. */
const stepOf = (file: string): string => {
  const open: Array<string> = []
  for (const line of linesOf(file)) {
    const step = line.slice(1)
    if (line.startsWith("+")) open.push(step)
    else open.splice(open.lastIndexOf(step), 1)
  }
  return open.findLast((step) => step !== "append") ?? open.at(-1) ?? "between appends"
}

const tornIn = (directory: string): number =>
  existsSync(directory) ? readdirSync(directory).filter((name) => name.endsWith(".torn")).length : 0

// --- The run ---------------------------------------------------------------

/** Mulberry32. */
const random = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}

const columns = [
  "kill",
  "after ms",
  "effects",
  "intents",
  "outcomes",
  "answers",
  "unknowns",
  "torn",
  "verify"
]
const row = (cells: ReadonlyArray<unknown>, during: string): string =>
  `${cells.map((cell, index) => String(cell).padStart(columns[index]!.length)).join("  ")}  ${during}`

const total = { effects: 0, intents: 0, outcomes: 0, answers: 0, unknowns: 0, torn: 0 }
const steps = new Map<string, number>()
const violations: Array<string> = []

const folder = mkdtempSync(join(tmpdir(), "interlock-kill-"))
const ledger = await startLedger(join(folder, "ledger"))
process.on("exit", () => {
  ledger.process.kill()
  rmSync(folder, { recursive: true })
})
const next = random(seed)
let counted = 0

console.log(`${machine()}\n${kills} kills, ${store}, 64 callers, seed ${seed}\n`)
console.log(row(columns, "during"))

for (let kill = 1; kill <= kills; kill++) {
  const directory = join(folder, String(Math.floor((kill - 1) / killsPerLog)))
  mkdirSync(directory, { recursive: true })
  const prefix = `k${kill}`
  const files = { answers: join(folder, `answers-${kill}`), steps: join(folder, `steps-${kill}`) }
  const step = stepsOf[store][Math.floor(next() * stepsOf[store].length)]!
  const aim = { step, time: 1 + Math.floor(next() * (step === "rotation" ? 4 : 40)), delay: next() * 1000 }
  const after = await runAndKill(
    { store, directory, port: ledger.port, prefix, ...files, aim: kill % 2 === 0 ? aim : undefined },
    kill % 2 === 0 ? 4 * within : next() * within
  )

  const all = await ledger.effects()
  const effects = all.slice(counted)
  counted = all.length
  const tornBefore = tornIn(join(directory, "log"))
  const { intents, outcomes, problem } = await readLog(store, directory, prefix)
  const torn = tornIn(join(directory, "log")) - tornBefore
  const answers = linesOf(files.answers).map((line) => line.split(" ") as [string, string])

  const entered = new Set(effects)
  const violate = (what: string, calls: ReadonlyArray<string>) => {
    if (calls.length === 0) return
    const more = calls.length > 5 ? ` and ${calls.length - 5} more` : ""
    violations.push(`kill ${kill}: ${what}: ${calls.slice(0, 5).join(", ")}${more}`)
  }
  violate(
    "effect without intent",
    effects.filter((id) => !intents.has(id))
  )
  violate(
    "effect twice",
    effects.filter((id, index) => effects.indexOf(id) !== index)
  )
  violate(
    "answer without outcome",
    answers.flatMap(([id]) => (outcomes.has(id) ? [] : [id]))
  )
  violate(
    "answer other than success",
    answers.flatMap(([id, status]) => (status === "success" ? [] : [`${id} ${status}`]))
  )
  violate(
    "answer without effect",
    answers.flatMap(([id]) => (entered.has(id) ? [] : [id]))
  )
  violate("verify", problem === undefined ? [] : [problem])

  const unknowns = [...intents].filter((id) => !outcomes.has(id)).length
  const during = stepOf(files.steps)
  steps.set(during, (steps.get(during) ?? 0) + 1)
  total.effects += effects.length
  total.intents += intents.size
  total.outcomes += outcomes.size
  total.answers += answers.length
  total.unknowns += unknowns
  total.torn += torn
  const verdict = problem === undefined ? "ok" : "BROKEN"
  console.log(
    row(
      [
        kill,
        after.toFixed(0),
        effects.length,
        intents.size,
        outcomes.size,
        answers.length,
        unknowns,
        torn,
        verdict
      ],
      during
    )
  )
}

console.log(
  row(
    ["all", "", total.effects, total.intents, total.outcomes, total.answers, total.unknowns, total.torn, ""],
    [...steps].map(([step, count]) => `${step} ${count}`).join(", ")
  )
)
console.log(violations.length === 0 ? "\nNothing was lost." : `\n${violations.join("\n")}`)

process.exit(violations.length === 0 ? 0 : 1)
