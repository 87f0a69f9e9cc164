/** What a case comes to, and how it is printed: as text, as Markdown, and as JSON. */

/** What a case comes to. Plain data: it is sent from the case's process. */
export interface Outcome {
  readonly tables: ReadonlyArray<Table>
  readonly ratios: ReadonlyArray<Ratio>
  /** Bytes per call, by subject. */
  readonly bytes: Readonly<Record<string, number>>
  /** What did not do what it should; any makes the run fail. */
  readonly wrong: ReadonlyArray<string>
}

export interface Table {
  /** Empty for one that needs none. */
  readonly title: string
  readonly columns: ReadonlyArray<Column>
  readonly rows: ReadonlyArray<ReadonlyArray<Cell>>
}

/** A text, or a number; `undefined` is one that could not be measured. */
export type Cell = string | number | undefined

export interface Column {
  readonly title: string
  /** Significant digits of its numbers; 3. */
  readonly digits?: number
}

/** One work compared with another: how many times as much it costs. */
export interface Ratio {
  readonly work: string
  readonly comparedWith: string
  /** `undefined` where what it is compared with was not there. */
  readonly measured: number | undefined
  /** At most so much; without one, the ratio is only watched. */
  readonly target?: number
  /** A count rather than a ratio. */
  readonly plain?: true
}

export const outcome = (parts: Partial<Outcome>): Outcome => ({
  tables: [],
  ratios: [],
  bytes: {},
  wrong: [],
  ...parts
})

export const merge = (outcomes: ReadonlyArray<Outcome>): Outcome => ({
  tables: outcomes.flatMap(({ tables }) => tables),
  ratios: outcomes.flatMap(({ ratios }) => ratios),
  bytes: Object.assign({}, ...outcomes.map(({ bytes }) => bytes)),
  wrong: outcomes.flatMap(({ wrong }) => wrong)
})

/** The ratios that have a target, a line each. */
export const targets = (ratios: ReadonlyArray<Ratio>): Table => ({
  title: "",
  columns: [
    { title: "work" },
    { title: "compared with" },
    { title: "measured" },
    { title: "at most" },
    { title: "" }
  ],
  rows: ratios.flatMap((ratio) =>
    ratio.target === undefined
      ? []
      : [
          [
            ratio.work,
            ratio.comparedWith,
            shown(ratio, ratio.measured),
            shown(ratio, ratio.target),
            verdict(ratio.measured, ratio.target)
          ]
        ]
  )
})

const shown = ({ plain }: Ratio, value: number | undefined): string => {
  if (value === undefined) return "not measured"
  return plain ? String(value) : `${value.toFixed(2)}×`
}

// By what is shown: no more digits mean anything.
const verdict = (measured: number | undefined, target: number): string => {
  if (measured === undefined) return "—"
  return Number(measured.toFixed(2)) <= target ? "met" : "missed"
}

// --- Cells -----------------------------------------------------------------

const format = (cell: Cell, { digits = 3 }: Column): string => {
  if (typeof cell === "string") return cell
  if (cell === undefined || Number.isNaN(cell)) return "–"
  // Whole numbers are shown whole; of others, as many digits as mean something.
  if (Number.isInteger(cell) || Math.abs(cell) >= 10 ** (digits - 1)) {
    return Math.round(cell).toLocaleString("en-US")
  }
  return cell.toFixed(Math.max(0, digits - 1 - Math.max(-1, Math.floor(Math.log10(Math.abs(cell))))))
}

const cellsOf = ({ columns, rows }: Table): ReadonlyArray<ReadonlyArray<string>> => [
  columns.map(({ title }) => title),
  ...rows.map((row) => columns.map((column, index) => format(row[index], column)))
]

/** Whether a column has numbers, which stand to the right. */
const isNumeric = ({ rows }: Table, column: number): boolean =>
  rows.some((row) => typeof row[column] === "number") && !rows.some((row) => typeof row[column] === "string")

// --- Text and Markdown -----------------------------------------------------

const titleOf = (title: string): ReadonlyArray<string> => (title === "" ? [] : [title])

export const asText = (table: Table): string => {
  const cells = cellsOf(table)
  const widths = table.columns.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? "").length)))
  const line = (row: ReadonlyArray<string>) =>
    row
      .map((cell, column) =>
        isNumeric(table, column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0)
      )
      .join("   ")
      .trimEnd()
  const [head = [], ...rows] = cells
  const rule = widths.map((width) => "─".repeat(width)).join("   ")
  return [...titleOf(table.title), line(head), rule, ...rows.map(line)].join("\n")
}

export const asMarkdown = (table: Table): string => {
  const line = (row: ReadonlyArray<string>) =>
    `| ${row.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`
  const [head = [], ...rows] = cellsOf(table)
  const rule = table.columns.map((_, column) => (isNumeric(table, column) ? "--:" : "---"))
  return [
    ...titleOf(table.title).flatMap((title) => [`### ${title}`, ""]),
    line(head),
    line(rule),
    ...rows.map(line)
  ].join("\n")
}
