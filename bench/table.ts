/** The table that most cases have: a subject a row, what it costs, and how many times what others cost. */
import type { Measured } from "./measure.ts"
import type { Cell, Column } from "./report.ts"
import { median } from "./support.ts"

export const costColumns: ReadonlyArray<Column> = [
  { title: "" },
  { title: "calls/s" },
  { title: "CPU µs" },
  { title: "± %", digits: 2 },
  { title: "p50 µs" },
  { title: "p99 µs" },
  { title: "bytes" },
  { title: "× hand-written" },
  { title: "× cockatiel + zod" }
]

type Results = ReadonlyMap<string, Measured>

/** `among` has the hand-written and the cockatiel's. */
export const costRow = (one: Measured, among: Results): ReadonlyArray<Cell> => [
  one.name,
  one.perSecond,
  one.micros,
  100 * one.spread,
  one.p50,
  one.p99,
  one.bytes,
  ratioOf(one, among.get("handWritten")),
  ratioOf(one, among.get("cockatiel"))
]

/**
 * How many times what the other costs: the median over the rounds of what it was in each, since a busy machine makes
 * both slower. `undefined` where either was not measured.
 */
export const ratioOf = (one: Measured | undefined, other: Measured | undefined): number | undefined =>
  compare(one, other, (a, b) => a / b)

/** How many microseconds more it costs, likewise. */
export const differenceOf = (one: Measured | undefined, other: Measured | undefined): number | undefined =>
  compare(one, other, (a, b) => a - b)

const compare = (
  one: Measured | undefined,
  other: Measured | undefined,
  how: (a: number, b: number) => number
): number | undefined =>
  one === undefined || other === undefined
    ? undefined
    : median(one.rounds.map((micros, round) => how(micros, other.rounds[round] ?? Number.NaN)))
