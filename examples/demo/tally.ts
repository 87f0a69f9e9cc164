/** What became of the calls, counted as they end. Its size does not grow with the file. */
import type { ToolError, ToolResult } from "effect-interlock"
import type { Line } from "./calls.ts"

export interface Answer {
  readonly line: Line
  readonly result: ToolResult
}

/** Unreadable lines that are shown; all of them are counted. */
const shown = 10

export class Tally {
  readonly total: number
  ended = 0
  attempts = 0
  /** Millionths of a dollar. */
  cost = 0
  unreadable = 0
  readonly counts = new Map<ToolError.Status, number>()
  /** The first answer with each code. */
  readonly examples = new Map<string, Answer>()
  readonly unreadableLines: Array<Answer> = []

  constructor(total: number) {
    this.total = total
  }

  add(answer: Answer): void {
    const { line, result } = answer
    this.ended++
    this.attempts += result.attempts
    this.cost += result.cost?.["usd"] ?? 0
    this.counts.set(result.status, this.count(result.status) + 1)
    if (line.problem !== undefined) {
      this.unreadable++
      if (this.unreadableLines.length < shown) this.unreadableLines.push(answer)
    } else if (result.error !== undefined) {
      const key = `${result.status} ${result.error.code}`
      if (!this.examples.has(key)) this.examples.set(key, answer)
    }
  }

  count(status: ToolError.Status): number {
    return this.counts.get(status) ?? 0
  }
}
