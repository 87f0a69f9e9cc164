/** What every benchmark uses: the machine in a line, medians, measured rounds, text tables. */
import { cpus, totalmem } from "node:os"
import * as Effect from "effect/Effect"

export const machine = (): string => {
  const [cpu] = cpus()
  const memory = Math.round(totalmem() / 2 ** 30)
  return `${cpus().length} × ${cpu?.model.trim() ?? "unknown CPU"}, ${memory} GiB, ${process.platform}, Node ${process.versions.node}`
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

/** Throws unless a benchmark's own result is what it should be. */
export const verify = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(`The benchmark is wrong: ${what}`)
}

/** Collects everything that can be; only with `--expose-gc`. */
export const collect = (): void => {
  if (globalThis.gc === undefined) throw new Error("Run with: node --expose-gc bench/main.ts")
  globalThis.gc()
}

/** A text table: the first row is the header, the first column is text, the rest are numbers. */
export const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const line = (row: ReadonlyArray<string>) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)
      )
      .join("   ")
  const rule = widths.map((width) => "─".repeat(width)).join("   ")
  return rows.map((row, index) => (index === 0 ? `${line(row)}\n${rule}` : line(row))).join("\n")
}

export const thousands = (value: number): string => Math.round(value).toLocaleString("en-US")

/** Something that is done over and over. */
export interface Subject {
  readonly name: string
  /** Does it so many times, and checks what came of it. */
  readonly times: (count: number) => Promise<void>
}

export interface Cost {
  readonly name: string
  /** Of CPU, all threads, per time. */
  readonly micros: number
  /** Allocated on the heap, per time. */
  readonly bytes: number
}

/**
 * Medians over interleaved rounds, so that whatever else the machine does meets
 * all subjects alike. Allocation is measured in rounds too small for a
 * collection, after those of time: forced collections make what follows slower.
 */
export const costs = async (
  subjects: ReadonlyArray<Subject>,
  { count, rounds }: { readonly count: number; readonly rounds: number }
): Promise<ReadonlyArray<Cost>> => {
  const interleaved = async (measure: (subject: Subject) => Promise<number>) => {
    const measured = new Map(subjects.map((subject) => [subject, [] as Array<number>]))
    for (let round = 0; round < rounds; round++) {
      const first = round % subjects.length
      for (const subject of [...subjects.slice(first), ...subjects.slice(0, first)]) {
        measured.get(subject)?.push(await measure(subject))
      }
    }
    return (subject: Subject) => median(measured.get(subject) ?? [])
  }
  for (const subject of subjects) await subject.times(count)
  const micros = await interleaved(async (subject) => {
    const before = process.cpuUsage()
    await subject.times(count)
    const { system, user } = process.cpuUsage(before)
    return (user + system) / count
  })
  const few = 200
  const bytes = await interleaved(async (subject) => {
    collect()
    const before = process.memoryUsage().heapUsed
    await subject.times(few)
    return (process.memoryUsage().heapUsed - before) / few
  })
  return subjects.map((subject) => ({ name: subject.name, micros: micros(subject), bytes: bytes(subject) }))
}

/** Does an effect so many times, one after the other, in one fiber. */
export const inOneFiber =
  (effect: Effect.Effect<unknown, unknown>) =>
  (count: number): Promise<void> => {
    let left = count
    return Effect.runPromise(
      Effect.whileLoop({ while: () => left-- > 0, body: () => effect, step: () => {} })
    )
  }
