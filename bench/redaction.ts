/**
 * What redaction finds, what it hides for nothing, and what it costs: a case of
 * `npm run bench`, or `node bench/redaction.ts` by itself.
 */
import * as Redaction from "../src/Redaction.ts"
import {
  generateSecrets,
  kinds,
  ordinary,
  place,
  type Secret,
  spellings
} from "../test/support/secretsCorpus.ts"
import { asText, type Outcome, outcome, type Table } from "./report.ts"
import { median, verify } from "./support.ts"

const seed = 1
const percent = (part: number, whole: number): string =>
  whole === 0 ? "-" : `${((100 * part) / whole).toFixed(1)} %`

const isHidden = (redaction: Redaction.Redaction["Service"], secret: Secret): boolean => {
  const shown = JSON.stringify(redaction.value(place(secret)).value)
  return !spellings(secret).some((spelling) => shown.includes(JSON.stringify(spelling).slice(1, -1)))
}

const recall = (redaction: Redaction.Redaction["Service"]): Table => {
  const secrets = generateSecrets(seed, 1000)
  const missed: Array<Secret> = secrets.filter((secret) => !isHidden(redaction, secret))
  const count = (list: ReadonlyArray<Secret>, test: (secret: Secret) => boolean) => list.filter(test).length
  const row = (name: string, test: (secret: Secret) => boolean) => {
    const share = (named: boolean) => {
      const all = count(secrets, (secret) => test(secret) && secret.named === named)
      return percent(all - count(missed, (secret) => test(secret) && secret.named === named), all)
    }
    return [name, share(true), share(false)]
  }
  return {
    title: "Recall of 1,000 secrets",
    columns: [{ title: "" }, { title: "telling name" }, { title: "innocent name" }],
    rows: [...kinds.map((kind) => row(kind, (secret) => secret.kind === kind)), row("all", () => true)]
  }
}

const falsePositives = (redaction: Redaction.Redaction["Service"]): Table => {
  const all = ordinary(seed, 10_000)
  const hits = all.map((args) => redaction.value(args).masked).filter((masked) => masked.length > 0)
  const rules = new Map<string, number>()
  for (const { path, rule } of hits.flat()) {
    const at = `${rule} at ${path}`
    rules.set(at, (rules.get(at) ?? 0) + 1)
  }
  return {
    title: `${hits.length} of 10,000 ordinary arguments have something masked`,
    columns: [{ title: "rule, and what it masked" }, { title: "times" }],
    rows: [...rules].sort((a, b) => b[1] - a[1])
  }
}

/** Median over rounds of the CPU time of one. */
const micros = (work: () => void, times: number): number => {
  const rounds = Array.from({ length: 7 }, () => {
    const before = process.cpuUsage()
    work()
    const { system, user } = process.cpuUsage(before)
    return (system + user) / times
  })
  return median(rounds)
}

const cost = (redaction: Redaction.Redaction["Service"]): Table => {
  const args = ordinary(seed, 2000)
  const secrets = generateSecrets(seed, 1000).map(place)
  const large = "An ordinary sentence about nothing, with a number 12345 and a name: value. ".repeat(870)
  let seen = 0
  const each = (list: ReadonlyArray<unknown>) => () => {
    for (const item of list) seen += redaction.value(item).masked.length
  }
  const rows = [
    ["ordinary arguments", micros(each(args), args.length)],
    ["arguments with a secret", micros(each(secrets), secrets.length)],
    ["64 KB of prose", micros(each([large, large, large, large]), 4)]
  ] as const
  verify(seen > 0, "something is found")
  return { title: "Making one view", columns: [{ title: "" }, { title: "CPU µs" }], rows }
}

export const run = async (): Promise<Outcome> => {
  const redaction = Redaction.make()
  return outcome({ tables: [recall(redaction), falsePositives(redaction), cost(redaction)] })
}

if (import.meta.main) console.log((await run()).tables.map(asText).join("\n\n"))
