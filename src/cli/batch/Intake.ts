/** Decides what becomes of each line, by what the journal has recorded of it. */
import type * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { CompiledTool } from "../../internal/kernel.ts"
import type { BatchRequest } from "../../internal/request.ts"
import type { Status } from "../../ToolError.ts"
import { Cursor, type LineChanged } from "./Cursor.ts"
import type { Journal, Row } from "./Journal.ts"
import type { Line } from "./Line.ts"
import { requestOf } from "./request.ts"
import { type AfterCrash, afterCrash, standing } from "./standing.ts"

export interface ToRun {
  readonly _tag: "ToRun"
  readonly digest: string
  readonly call: BatchRequest
  /** It must be written down as begun before it runs. */
  readonly begins: boolean
}

/** Its outcome is recorded. */
export interface Recorded {
  readonly _tag: "Recorded"
  readonly row: Row
}

export class Intake {
  readonly cursor: Cursor
  readonly #tools: ReadonlyMap<string, CompiledTool>
  readonly #journal: Journal
  readonly #retry: ReadonlySet<Status>
  readonly #afterCrash = new Map<string, AfterCrash>()

  constructor(tools: ReadonlyMap<string, CompiledTool>, journal: Journal, retry: ReadonlySet<Status>) {
    this.cursor = new Cursor(journal)
    this.#tools = tools
    this.#journal = journal
    this.#retry = retry
  }

  /** To be done before the next line, where there is something. */
  get load(): Effect.Effect<void, SqlError> | undefined {
    return this.cursor.isDry ? this.cursor.load : undefined
  }

  decide(line: Line): ToRun | Recorded | LineChanged {
    const row = this.cursor.at(line.number)
    if (row !== undefined && "_tag" in row) return row
    const digest = this.#journal.digest(line.text)
    const known = standing(row, digest, this.#retry)
    if (known === "Changed") return this.cursor.changed(line.number, "changed")
    if (known === "Done" && row !== undefined) return { _tag: "Recorded", row }
    const { critical, request } = requestOf(line)
    const crashed = this.#ifItCrashed(request)
    const id = request.id ?? `${this.#journal.id}:${line.number}`
    const asItIs = { ...request, id }
    const call = { critical, request: known === undefined ? again[crashed](asItIs, id) : asItIs }
    // An outcome is taken away before its line is run again; what another process began is written down already. What is
    // no tool has no effect.
    const begins =
      row === undefined ? crashed !== "Run" && this.#tools.has(request.tool) : row.status !== undefined
    return { _tag: "ToRun", digest, call, begins }
  }

  /** What is recorded and was not in the input, after its last line. */
  get beyond(): LineChanged | undefined {
    const row = this.cursor.at(Number.POSITIVE_INFINITY)
    return row !== undefined && "_tag" in row ? row : undefined
  }

  #ifItCrashed({ idempotencyKey, refused, tool }: BatchRequest["request"]): AfterCrash {
    if (refused !== undefined || idempotencyKey !== undefined) return "Run"
    const known = this.#afterCrash.get(tool)
    if (known !== undefined) return known
    const answer = afterCrash(this.#tools, tool)
    // Names come from outside: those of no tool are not kept.
    if (this.#tools.has(tool)) this.#afterCrash.set(tool, answer)
    return answer
  }
}

/** What becomes of a call that a process has begun that died. */
const again: {
  readonly [Answer in AfterCrash]: (request: BatchRequest["request"], id: string) => BatchRequest["request"]
} = {
  Run: (request) => request,
  Ask: (request) => ({ ...request, requireConfirmation: true }),
  Unknown: (request, callId) => ({ ...request, refused: { _tag: "OutcomeUnknown", callId } })
}
