/** Starts calls of a batch, and answers for those that never came to the pipeline. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { Pipeline } from "../Pipeline.ts"
import { type ToolError, table } from "../ToolError.ts"
import type { ToolResult } from "../ToolResult.ts"
import type { Member, Request } from "./call.ts"
import { errorOf, toResult } from "./result.ts"

// Handlers that never suspend must not keep everyone else from running.
export const startsPerTurn = 256

/** Whoever starts calls, and follows them. */
export interface Starter<Of> {
  /** A call has its result; something of it may still run. Also told when it is interrupted. */
  readonly told: (call: Started<Of>, result: ToolResult) => void
  /** Nothing of the call runs any more. */
  readonly over: (call: Started<Of>) => void
}

/** A call in a fiber of its own. */
export class Started<Of> implements Member {
  /** What of its starter it is. */
  readonly of: Of
  handler: Member["handler"] = undefined
  /** While it runs. */
  fiber: Fiber.Fiber<unknown> | undefined = undefined
  result: ToolResult | undefined = undefined
  over = false
  readonly #starter: Starter<Of>

  constructor(starter: Starter<Of>, of: Of) {
    this.#starter = starter
    this.of = of
  }

  /** Its request must name it as the member. */
  start(pipeline: Pipeline, context: Context.Context<never>, request: Request): void {
    const fiber = Effect.runForkWith(context)(
      pipeline.run(request, (outcome, record) => {
        this.#tell(toResult(outcome, record, pipeline.defaults.resultBytes))
        return Exit.void
      })
    )
    this.fiber = fiber
    fiber.addObserver((exit) => {
      if (this.result === undefined && Exit.isFailure(exit)) {
        // A bug of a port, while the call was being recorded.
        Effect.runForkWith(context)(ErrorReporter.report(exit.cause))
        this.#tell(withoutRun(pipeline, context, request, { _tag: "HandlerDefect" }))
      }
      this.fiber = undefined
      this.over = true
      this.#starter.over(this)
    })
  }

  #tell(result: ToolResult): void {
    this.result = result
    this.#starter.told(this, result)
  }
}

/** Every handler is told before the end of the first call is written down. */
export const interruptAll = <Of>(calls: ReadonlyArray<Started<Of> | undefined>): void => {
  for (const call of calls) call?.handler?.cancel()
  for (const call of calls) call?.fiber?.interruptUnsafe()
}
/** The result of a call that the pipeline has none of. */
export const withoutRun = (
  pipeline: Pipeline,
  context: Context.Context<never>,
  { id, tool }: Request,
  reason: ToolError["reason"]
): ToolResult => {
  const callId = id ?? pipeline.nextId()
  const now = Context.get(context, Clock.Clock).currentTimeMillisUnsafe()
  return {
    callId,
    tool,
    status: table[reason._tag].status,
    error: errorOf({ callId, tool, reason }),
    attempts: 0,
    queuedAt: now,
    completedAt: now,
    latency: 0
  }
}
