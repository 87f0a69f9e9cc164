/** Numbers as a person reads them in a table. */
import * as Output from "./Output.ts"

/** Of a unit; dollars are counted in millionths. */
export const amount = (value: number, unit: string): string =>
  unit === "usd" ? Output.usd(value) : `${value} ${Output.cell(unit, 20)}`

/** Milliseconds, without their unit. */
export const millis = (value: number | undefined): string =>
  value === undefined ? "" : value < 10 ? value.toFixed(2) : value.toFixed(0)
