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
import type { Request } from "./call.ts"
import { errorOf, toResult } from "./result.ts"

// Handlers that never suspend must not keep everyone else from running.
export const startsPerTurn = 256

/** Starts a call in a fiber of its own. Its result is told once, and also when it is interrupted. */
export const start = (
  pipeline: Pipeline,
  context: Context.Context<never>,
  request: Request,
  onResult: (result: ToolResult) => void
): Fiber.Fiber<unknown> => {
  let told = false
  const fork = Effect.runForkWith(context)
  const fiber = fork(
    pipeline.run(request, (outcome, record) => {
      const result = toResult(outcome, record, pipeline.defaults.resultBytes)
      told = true
      onResult(result)
      return Exit.void
    })
  )
  fiber.addObserver((exit) => {
    if (told || Exit.isSuccess(exit)) return
    // A bug of a port, while the call was being recorded.
    fork(ErrorReporter.report(exit.cause))
    onResult(withoutRun(pipeline, context, request, { _tag: "HandlerDefect" }))
  })
  return fiber
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
