/** What the doctor finds: how bad it is, what it is, why it matters and what to do. */
import { plain } from "../../internal/plainText.ts"
import type { Paint } from "../Output.ts"

export type Level = "problem" | "warning" | "note" | "ok"

export interface Finding {
  readonly level: Level
  /** The part of the configuration or of the state that it is about. */
  readonly about: string
  readonly what: string
  readonly why?: string
  readonly todo?: string
}

/** As it should be. */
export const ok = (about: string, what: string): Finding => ({ level: "ok", about, what })

type Make = (about: string, what: string, why: string, todo: string) => Finding

const at =
  (level: Level): Make =>
  (about, what, why, todo) => ({ level, about, what, why, todo })

/** Broken, or open to whoever is there. */
export const problem: Make = at("problem")
/** Probably not what was meant. */
export const warning: Make = at("warning")
/** Worth knowing. */
export const note: Make = at("note")

/** The first few names, and how many more there are. */
export const some = (names: ReadonlyArray<string>, most = 8): string =>
  names.length <= most
    ? names.join(", ")
    : `${names.slice(0, most).join(", ")} and ${names.length - most} more`

// --- As text ---------------------------------------------------------------

const order: { readonly [L in Level]: number } = { problem: 0, warning: 1, note: 2, ok: 3 }
const colours = { problem: "red", warning: "yellow", note: "cyan", ok: "green" } as const

export const sorted = (findings: ReadonlyArray<Finding>): ReadonlyArray<Finding> =>
  [...findings].sort((a, b) => order[a.level] - order[b.level])

export const format = (findings: ReadonlyArray<Finding>, paint: Paint): string => {
  const indent = " ".repeat(10)
  const lines = findings.flatMap(({ about, level, todo, what, why }) => [
    `${paint[colours[level]](level.padEnd(9))} ${paint.bold(plain(about))}: ${plain(what)}`,
    ...(why === undefined ? [] : [`${indent}${plain(why)}`]),
    ...(todo === undefined ? [] : [`${indent}→ ${plain(todo)}`])
  ])
  const count = (level: Level, one: string, many: string) => {
    const found = findings.filter((finding) => finding.level === level).length
    return `${found} ${found === 1 ? one : many}`
  }
  const total = [
    count("problem", "problem", "problems"),
    count("warning", "warning", "warnings"),
    count("note", "note", "notes")
  ]
  return [...lines, "", total.join(", ")].join("\n")
}
