/** Text for a terminal: columns, numbers, colours. `styleText` knows of terminals and of NO_COLOR. */
import { styleText } from "node:util"

export const bold = (text: string): string => styleText("bold", text)
export const dim = (text: string): string => styleText("dim", text)

/** Rows under a title; the first row is the head. `columns` has `l` or `r` for each. */
export const table = (title: string, columns: string, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = Array.from(columns, (_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const line = (row: ReadonlyArray<string>) =>
    row
      .map((cell, column) =>
        columns[column] === "r" ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)
      )
      .join("  ")
      .trimEnd()
  const [head, ...body] = rows.map((row) => `  ${line(row)}`)
  return [bold(title), dim(head!), ...body].join("\n")
}

/** A text after a head, broken at spaces; the lines after the first are indented as far as the head is wide. */
export const hang = (head: string, text: string): string => {
  const room = 100 - head.length
  const lines: Array<string> = []
  let line = ""
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > room) {
      lines.push(line)
      line = word
    } else line = line === "" ? word : `${line} ${word}`
  }
  return head + [...lines, line].join(`\n${" ".repeat(head.length)}`)
}

export const percent = (share: number): string => `${(share * 100).toFixed(1)} %`

/** A duration given in milliseconds. */
export const time = (millis: number): string =>
  millis < 1 ? "<1 ms" : millis < 1000 ? `${Math.round(millis)} ms` : `${(millis / 1000).toFixed(1)} s`

/** `1 call`, `2 calls`. */
export const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? "" : "s"}`
