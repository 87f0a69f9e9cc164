/**
 * What commands print: one value, as a person reads it or, with `--json`, as a
 * program does. Colours and boxes only where stdout is a terminal and `NO_COLOR`
 * is not set. Whatever came from elsewhere is shown without control characters.
 */

import * as Console from "effect/Console"
import { displayWidth } from "effect/cli/CliOutput"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import * as Effect from "effect/Effect"
import { plain, plainJson } from "../internal/plainText.ts"

export const Json = GlobalFlag.Setting("json")({
  flag: Flag.Boolean("json").pipe(
    Flag.withDescription("Print JSON: one value, or one line per value where there are many"),
    Flag.withDefault(false)
  )
})

/** Colours, where stdout takes them. */
export const paint = Effect.map(TerminalCapabilities, ({ canColor }) => (canColor ? colours : noColours))

/** Prints a value as JSON where that is asked for, else as text. */
export const print = <A>(value: A, text: (value: A, paint: Paint) => string) =>
  Effect.gen(function* () {
    if (yield* Json) return yield* Console.log(plainJson(value, 2))
    const shown = text(value, yield* paint)
    if (shown !== "") yield* Console.log(shown)
  })

/** One value of many, on a line of its own with `--json`. */
export const printLine = <A>(value: A, text: (value: A, paint: Paint) => string) =>
  Effect.gen(function* () {
    if (yield* Json) return yield* Console.log(plainJson(value))
    yield* Console.log(text(value, yield* paint))
  })

// --- Colours ---------------------------------------------------------------

const names = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const
export type Paint = { readonly [Name in keyof typeof names]: (text: string) => string }

const painter = (coloured: boolean): Paint => {
  const paint = (code: number) => (text: string) => (coloured ? `\x1b[${code}m${text}\x1b[0m` : text)
  return Object.fromEntries(Object.entries(names).map(([name, code]) => [name, paint(code)])) as Paint
}
export const colours = painter(true)
export const noColours = painter(false)

// --- Texts of elsewhere ----------------------------------------------------

/** Line by line; tabs move a cursor, and nothing else. */
export const lines = (text: string): string =>
  text
    .split("\n")
    .map((line) => line.split("\t").map(plain).join("\t"))
    .join("\n")

// --- Tables ----------------------------------------------------------------

/** Text of elsewhere on one line, cut to a width. */
export const cell = (text: string, width = 80): string => {
  const shown = plain(text)
  return shown.length <= width ? shown : `${shown.slice(0, width - 1)}…`
}

/** Columns as wide as their widest cell; cells may be coloured, and are to be made by `cell`. */
export const table = (
  head: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<string>>,
  paint: Paint
): string => {
  const widths = head.map((title, column) =>
    Math.max(displayWidth(title), ...rows.map((row) => displayWidth(row[column] ?? "")))
  )
  const line = (cells: ReadonlyArray<string>) =>
    cells
      .map((text, column) => text + " ".repeat(Math.max(0, (widths[column] ?? 0) - displayWidth(text))))
      .join("  ")
      .trimEnd()
  return [paint.bold(line(head)), ...rows.map(line)].join("\n")
}

/** Milliseconds since the epoch as a person reads them, in UTC. */
export const time = (millis: number): string => new Date(millis).toISOString().replace("T", " ").slice(0, 19)

/** Millionths of a dollar. */
export const usd = (micros: number): string => `$${(micros / 1e6).toFixed(micros % 10_000 === 0 ? 2 : 6)}`
