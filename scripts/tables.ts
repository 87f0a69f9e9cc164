/**
 * Writes the tables of the pages from the code that they describe, between `<!-- begin NAME -->` and `<!-- end NAME -->`.
 * `--check` writes nothing and fails when a page is stale. A page may leave tables out.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Tool } from "effect/ai"
import * as Completions from "effect/cli/Completions"
import { Defaults, Settings, ToolAnnotations, ToolError } from "effect-interlock"
import { exitCodes } from "effect-interlock/cli"
import * as Toolbox from "effect-interlock/toolbox"
import { root } from "../src/cli/main.ts"
import { doors } from "../test/support/doors.ts"
import { laws } from "../test/support/laws.ts"

const folder = join(import.meta.dirname, "..")

const tableOf = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map(() => "---"), ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`)
    .join("\n")

const code = (text: string) => `\`${text}\``

const errors = () =>
  tableOf(
    ["reason", "status", "code", "HTTP", "class", "retried", "breaker", "fail-fast"],
    Object.entries(ToolError.table).map(([reason, row]) => [
      code(reason),
      code(row.status),
      code(row.code),
      String(row.http),
      row.class,
      row.retry,
      row.breaker,
      row.failFast ? "yes" : "no"
    ])
  )

const lawsByDoor = () => {
  const reasons = [...new Set(laws.flatMap(({ except }) => Object.values(except)))]
  const mark = (reason: string | undefined) =>
    reason === undefined ? "✓" : `—[^${reasons.indexOf(reason) + 1}]`
  const table = tableOf(
    ["", "law", ...doors.map(({ name }) => code(name))],
    laws.map(({ except, id, title }) => [id, title, ...doors.map(({ name }) => mark(except[name]))])
  )
  const notes = reasons.map((reason, index) => `[^${index + 1}]: ${sentence(reason)}`)
  return [table, ...notes].join("\n\n")
}

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`

const settings = () =>
  tableOf(
    ["name", "default", "meaning"],
    Settings.settings.map((setting) => [code(setting.name), setting.default, setting.meaning])
  )

const exits = () =>
  tableOf(
    ["code", "meaning"],
    Object.values(exitCodes).map(({ code: number, meaning }) => [code(String(number)), meaning])
  )

const commands = () => {
  const listed = (
    command: Completions.CommandDescriptor,
    path: string
  ): ReadonlyArray<ReadonlyArray<string>> => {
    const name = `${path}${command.name}`
    const args = command.arguments.map(({ name, required }) => ` ${required ? `<${name}>` : `[${name}]`}`)
    const own =
      command.subcommands.length === 0 ? [[code(`${name}${args.join("")}`), command.description ?? ""]] : []
    return [...own, ...command.subcommands.flatMap((sub) => listed(sub, `${name} `))]
  }
  return tableOf(["command", ""], listed(Completions.fromCommand(root), ""))
}

const toolbox = () => {
  const said = (facts: ToolAnnotations.ToolFacts) => [
    ...(facts.readonly === true ? ["read-only"] : []),
    ...(facts.destructive === true ? ["destructive"] : []),
    ...(facts.idempotent === true ? ["idempotent"] : []),
    ...(facts.sendsData === true ? ["sends data"] : []),
    ...(facts.trust === "untrusted" ? ["untrusted output"] : [])
  ]
  const { Calculator, Email, Files, HttpRequest, Notes, Slack } = Toolbox
  const rows = [Calculator, HttpRequest, Files, Notes, Email, Slack].flatMap(({ toolkit }) =>
    Object.values<Tool.Any>(toolkit.tools).map((tool) => {
      const facts = ToolAnnotations.read(tool)
      const needs = (facts.capabilities ?? []).map(code).join(" ")
      return [code(facts.name), needs === "" ? "nothing" : needs, said(facts).join(", "), facts.risk]
    })
  )
  return tableOf(["tool", "needs", "says of itself", "risk"], rows)
}

const defaults = () =>
  tableOf(
    ["default", "value"],
    Object.entries(Defaults.defaults).map(([name, value]) => [code(name), show(value)])
  )

const show = (value: Defaults.Defaults[keyof Defaults.Defaults]): string => {
  if (value === undefined) return "none"
  return typeof value === "object" && "retries" in value ? `${value.retries} retries` : String(value)
}

const tables: ReadonlyMap<string, () => string> = new Map([
  ["errors", errors],
  ["laws", lawsByDoor],
  ["settings", settings],
  ["defaults", defaults],
  ["exits", exits],
  ["commands", commands],
  ["toolbox", toolbox]
])

/** The page with each of its tables as the code has it now. Throws for a table that does not exist or has no end. */
export const renew = (page: string): string => {
  for (const [begin, name = ""] of page.matchAll(/<!-- begin (\S+) -->/g)) {
    const end = `<!-- end ${name} -->`
    const table = tables.get(name)
    if (table === undefined) throw new Error(`There is no table "${name}"`)
    const [before = "", rest = ""] = splitOnce(page, begin)
    if (!rest.includes(end)) throw new Error(`The table "${name}" has no end`)
    page = `${before}${begin}\n\n${table()}\n\n${end}${splitOnce(rest, end)[1]}`
  }
  return page
}

const splitOnce = (text: string, separator: string): [string, string] => {
  const at = text.indexOf(separator)
  return [text.slice(0, at), text.slice(at + separator.length)]
}

if (import.meta.main) {
  const check = process.argv.includes("--check")
  for (const page of [
    "README.md",
    "docs/laws.md",
    "docs/configuration.md",
    "docs/cli.md",
    "docs/toolbox.md"
  ]) {
    const path = join(folder, page)
    if (!existsSync(path)) continue
    const text = readFileSync(path, "utf8")
    const renewed = renew(text)
    if (renewed === text) continue
    if (check) process.exitCode = 1
    else writeFileSync(path, renewed)
    console.log(check ? `${page} is stale: run "npm run tables"` : `${page} is written`)
  }
}
