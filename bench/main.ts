/**
 * `npm run bench -- [case…] [--markdown | --json]`: installs the peers where they are missing, runs the cases, each in a
 * process of its own, and prints what they come to as one document (`npm run -s`, so that npm adds nothing to it). Exits
 * with 1 when a result was wrong; a target that is missed is told, and fails nothing.
 */
import { parseArgs } from "node:util"
import { cases, isCase, runCase } from "./cases.ts"
import { install, versions } from "./peers.ts"
import { asMarkdown, asText, merge, type Outcome, type Table, targets } from "./report.ts"
import { machine } from "./support.ts"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { markdown: { type: "boolean", default: false }, json: { type: "boolean", default: false } }
})
const unknown = positionals.filter((name) => !isCase(name))
if (unknown.length > 0) {
  console.error(`There is no case ${unknown.join(", ")}; there are ${Object.keys(cases).join(", ")}.`)
  process.exit(2)
}
const chosen = positionals.length === 0 ? Object.keys(cases) : positionals

const problem = install()
if (problem !== undefined) {
  console.error(`The peers could not be installed, so that nothing is compared with them: ${problem}.`)
}
const where = [machine(), ...versions()].join(", ")

/** A part of the document, printed as soon as it is known; JSON is one value, at the end. */
const print = (title: string, tables: ReadonlyArray<Table>, wrong: ReadonlyArray<string> = []): void => {
  const notes = wrong.map((what) => `Wrong: ${what}`)
  if (values.markdown) console.log([`\n## ${title}`, ...tables.map(asMarkdown), ...notes].join("\n\n"))
  else if (!values.json) console.log([`\n${title}`, ...tables.map(asText), ...notes].join("\n\n"))
}

if (values.markdown) console.log(`# Benchmark\n\n${where}`)
else if (!values.json) console.log(where)

const outcomes: Record<string, Outcome> = {}
for (const name of chosen.filter(isCase)) {
  if (!process.stdout.isTTY) console.error(`${name}…`)
  const outcome = await runCase(name)
  outcomes[name] = outcome
  print(`npm run bench -- ${name}`, outcome.tables, outcome.wrong)
}
const { ratios, wrong } = merge(Object.values(outcomes))
if (ratios.some(({ target }) => target !== undefined)) print("Targets", [targets(ratios)])
if (values.json) console.log(JSON.stringify({ machine: where, cases: outcomes }, null, 2))
if (wrong.length > 0) process.exitCode = 1
