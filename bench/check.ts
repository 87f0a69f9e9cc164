/**
 * `npm run bench:check [-- --update]`: the laws hold, and no ratio of the benchmark, and no number of bytes per call, is
 * worse by more than a third than it was when `bench/ratios.json` was written. A case that looks worse is measured once
 * more, and the better of the two counts: a busy machine makes things slower, never faster. `--update` writes the file.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { runTool } from "../scripts/build.ts"
import { type CaseName, runCase } from "./cases.ts"
import { install } from "./peers.ts"
import { asText, type Outcome } from "./report.ts"
import { machine } from "./support.ts"

const compared: ReadonlyArray<CaseName> = ["call", "batch", "refused", "failFast", "imports", "scale"]
const tolerated = 4 / 3
const lawTests = ["test/laws.test.ts"]
const file = join(import.meta.dirname, "ratios.json")

/** Ratios and bytes by what they are of; the smaller, the better. */
type Values = Readonly<Record<string, number>>

/** What `ratios.json` holds. */
interface Kept {
  /** For whoever wonders at the numbers. */
  readonly machine: string
  readonly cases: { readonly [Name in CaseName]?: Values }
}

const valuesOf = ({ bytes, ratios }: Outcome): Values => ({
  ...Object.fromEntries(
    ratios.flatMap(({ comparedWith, measured, work }) =>
      measured === undefined ? [] : [[comparedWith === "" ? work : `${work} / ${comparedWith}`, measured]]
    )
  ),
  ...Object.fromEntries(Object.entries(bytes).map(([name, count]) => [`${name}, bytes`, Math.round(count)]))
})

/** Whether it got worse, or can no longer be said. */
const isWorse = (now: number | undefined, before: number): boolean =>
  now === undefined || !(now <= before * tolerated)

const anyWorse = (now: Values, before: Values): boolean =>
  Object.entries(before).some(([name, value]) => isWorse(now[name], value))

const better = (one: Values, other: Values): Values => ({
  ...other,
  ...Object.fromEntries(
    Object.entries(one).map(([name, value]) => [name, Math.min(value, other[name] ?? value)])
  )
})

const measureCase = async (name: CaseName): Promise<Values> => {
  console.error(`${name}…`)
  const outcome = await runCase(name)
  for (const what of outcome.wrong) {
    console.log(`Wrong: ${what}`)
    process.exitCode = 1
  }
  return valuesOf(outcome)
}

const update = async (): Promise<void> => {
  const cases: { [Name in CaseName]?: Values } = {}
  for (const name of compared) cases[name] = await measureCase(name)
  if (process.exitCode !== undefined) return
  writeFileSync(file, `${JSON.stringify({ machine: machine(), cases } satisfies Kept, rounded, 2)}\n`)
}

const rounded = (_: string, value: unknown): unknown =>
  typeof value === "number" ? Number(value.toPrecision(4)) : value

const check = async (): Promise<void> => {
  const kept: Kept = JSON.parse(readFileSync(file, "utf8"))
  const rows: Array<ReadonlyArray<string | number | undefined>> = []
  for (const name of compared) {
    const before = kept.cases[name] ?? {}
    const first = await measureCase(name)
    const now = anyWorse(first, before) ? better(first, await measureCase(name)) : first
    for (const what of Object.keys({ ...before, ...now })) {
      const [was, is] = [before[what], now[what]]
      const failed = was !== undefined && isWorse(is, was)
      if (failed) process.exitCode = 1
      rows.push([what, was, is, was === undefined ? "new" : failed ? "worse" : "kept"])
    }
  }
  const columns = [
    { title: "" },
    { title: "before" },
    { title: "now" },
    { title: `within ×${tolerated.toFixed(2)}` }
  ]
  console.log(asText({ title: kept.machine, columns, rows }))
}

const { values: options } = parseArgs({ options: { update: { type: "boolean", default: false } } })
const problem = install()
if (problem !== undefined) {
  console.error(
    `The peers could not be installed, and without them the ratios cannot be checked: ${problem}.`
  )
  process.exitCode = 1
} else {
  await (options.update ? update() : check())
}
runTool("vitest", ["run", ...lawTests])
