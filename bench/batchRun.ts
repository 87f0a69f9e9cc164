/**
 * `node bench/batchRun.ts [--json | --markdown] [--lines 100000] [--kills 6] [--memory 1000000] [--seed 1]`: what
 * `interlock run` does with as many calls.
 *
 * 1. Processes that are killed with SIGKILL at random moments, and resumed until the batch is done, with the audit log:
 *    every line must have one outcome, and what must not run twice has not.
 * 2. What the journal costs a call: calls a second and processor time, beside `Batch.stream` without one.
 * 3. Memory while more lines run than could be held.
 *
 * Exits with 1 where something is wrong. The disk decides what `FULL` costs: it waits for it with every write.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { check, letOut, random, runWorker, writeInput } from "../test/support/batchKills.ts"
import type { Order, Told } from "../test/support/batchWorker.ts"
import { asMarkdown, asText, type Table } from "./report.ts"
import { machine } from "./support.ts"

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    markdown: { type: "boolean", default: false },
    lines: { type: "string", default: "100000" },
    kills: { type: "string", default: "6" },
    memory: { type: "string", default: "1000000" },
    seed: { type: "string", default: "1" }
  }
})
const [lines, kills, many, seed] = [values.lines, values.kills, values.memory, values.seed].map(Number) as [
  number,
  number,
  number,
  number
]
if (![lines, kills, many, seed].every((value) => Number.isInteger(value) && value >= 0) || lines === 0) {
  console.error(
    "node bench/batchRun.ts [--json | --markdown] [--lines 100000] [--kills 6] [--memory 1000000] [--seed 1]"
  )
  process.exit(2)
}

/** Does something in a folder that is gone afterwards. */
const inFolder = async <A>(work: (folder: string) => Promise<A>): Promise<A> => {
  const folder = mkdtempSync(join(tmpdir(), "interlock-batch-"))
  try {
    return await work(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const orderIn = (folder: string, input: string): Order => ({
  input,
  database: join(folder, "state.db"),
  effects: undefined,
  output: undefined,
  audit: false,
  plain: false,
  concurrency: 10,
  ordered: false,
  replay: false,
  synchronous: "NORMAL",
  lease: 5000
})

const progress = (text: string): void => {
  if (!process.stdout.isTTY) console.error(text)
}

const most = (told: ReadonlyArray<Told>, of: "rss" | "live"): number =>
  Math.max(...told.map((one) => one[of]))

// --- Killed and resumed ----------------------------------------------------

const killing = () =>
  inFolder(async (folder) => {
    const input = writeInput(folder, lines, ["read", "write"])
    const order: Order = {
      ...orderIn(folder, input),
      effects: join(folder, "effects"),
      output: join(folder, "results"),
      audit: true,
      lease: 1000
    }
    const chance = random(seed)
    const rows: Array<ReadonlyArray<string | number>> = []
    let killed = 0
    for (let run = 1; run <= kills + 1; run++) {
      progress(`run ${run}…`)
      // So that each gets somewhere, and the last one has something left.
      const moment = run > kills ? undefined : 200 + (3 * lines * chance()) / (10 * kills)
      const ran = await runWorker(order, moment)
      const { ended = 0 } = ran.told.at(-1) ?? {}
      rows.push([
        run,
        ran.killed ? `killed after ${Math.round(moment ?? 0)} ms` : "ended",
        ended,
        most(ran.told, "rss"),
        most(ran.told.slice(1), "live")
      ])
      if (ran.killed) killed++
    }
    const { counts, wrong } = check(order, lines)
    const out = letOut(order.output ?? "")
    const problems = [...wrong]
    if (out.most > 1) problems.push(`a result was let out ${out.most} times`)
    if ((counts["unknown"] ?? 0) > killed * order.concurrency)
      problems.push("more is unknown than ran at once")
    const runs: Table = {
      title: `${lines} calls of two tools by turns, 10 at once, with the audit log, killed and resumed`,
      columns: [
        { title: "run" },
        { title: "how it ended" },
        { title: "calls, as it last said", digits: 9 },
        { title: "most memory, MiB" },
        { title: "most live heap, MiB" }
      ],
      rows
    }
    const found: Table = {
      title: "what there is of each line afterwards",
      columns: [{ title: "" }, { title: "lines", digits: 9 }],
      rows: [
        ...Object.entries(counts).map(([status, count]) => [status, count] as const),
        ["of which let out before a kill or after", out.lines],
        ["what is wrong", wrong.length]
      ]
    }
    return { tables: [runs, found], wrong: problems }
  })

// --- What it costs ---------------------------------------------------------

const costs = () =>
  inFolder(async (folder) => {
    const cases: ReadonlyArray<readonly [string, "read" | "write", Partial<Order>]> = [
      ["`Batch.stream`, no journal", "read", { plain: true }],
      ["may run again", "read", {}],
      ["must not run twice", "write", {}],
      ["must not run twice, 100 at once", "write", { concurrency: 100 }],
      ["may run again, `FULL`", "read", { synchronous: "FULL" }],
      ["must not run twice, `FULL`", "write", { synchronous: "FULL" }],
      ["must not run twice, `FULL`, 100 at once", "write", { synchronous: "FULL", concurrency: 100 }],
      ["may run again, audit log", "read", { audit: true }],
      ["must not run twice, audit log", "write", { audit: true }]
    ]
    const rows: Array<ReadonlyArray<string | number>> = []
    const wrong: Array<string> = []
    for (const [name, tool, more] of cases) {
      progress(`${name}…`)
      const count = more.synchronous === "FULL" || more.audit === true ? Math.ceil(lines / 5) : lines
      const input = writeInput(folder, count, [tool], false)
      const order = { ...orderIn(folder, input), ...more, database: join(folder, `${rows.length}.db`) }
      const { told } = await runWorker(order)
      const { cpu = 0, ended = 0, time = 0 } = told.at(-1) ?? {}
      if (ended !== count) wrong.push(`${name}: ${ended} of ${count} calls ended`)
      rows.push([name, (1000 * count) / time, cpu / count, most(told, "rss")])
    }
    const table: Table = {
      title: `a tool that does nothing, 10 at once unless said otherwise, \`NORMAL\` likewise; ${lines} calls, a fifth with \`FULL\` or the audit log`,
      columns: [
        { title: "" },
        { title: "calls/s" },
        { title: "CPU µs a call" },
        { title: "most memory, MiB" }
      ],
      rows
    }
    return { tables: [table], wrong }
  })

// --- What it holds ---------------------------------------------------------

const memory = () =>
  inFolder(async (folder) => {
    const input = writeInput(folder, many, ["read"], false)
    progress(`${many} lines…`)
    const { told } = await runWorker(orderIn(folder, input))
    const { ended = 0 } = told.at(-1) ?? {}
    const parts = [0.1, 0.25, 0.5, 0.75, 1].map((part) => {
      const upTo = told.filter((one) => one.ended <= part * many)
      return [Math.round(part * many), upTo.at(-1)?.live ?? Number.NaN, most(upTo, "rss")] as const
    })
    // What is live after a tenth of the lines is all there ever is, but for what the collector and SQLite keep warm.
    const [early, , , , late] = parts
    const wrong = ended === many ? [] : [`${ended} of ${many} calls ended`]
    if ((late?.[1] ?? 0) > (early?.[1] ?? 0) + 20) wrong.push("memory grows with the lines")
    const table: Table = {
      title: `memory while ${many} lines run`,
      columns: [
        { title: "calls", digits: 9 },
        { title: "live heap, MiB" },
        { title: "most memory so far, MiB" }
      ],
      rows: parts
    }
    return { tables: [table], wrong }
  })

const outcomes = [await killing(), await costs(), ...(many === 0 ? [] : [await memory()])]
const tables = outcomes.flatMap((one) => one.tables)
const wrong = outcomes.flatMap((one) => one.wrong)
if (values.json) console.log(JSON.stringify({ machine: machine(), tables, wrong }, null, 2))
else {
  const shown = tables.map(values.markdown ? asMarkdown : asText)
  console.log([machine(), ...shown, ...wrong.slice(0, 20).map((what) => `Wrong: ${what}`)].join("\n\n"))
}
if (wrong.length > 0) process.exitCode = 1
