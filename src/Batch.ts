/**
 * Many calls at once: in parallel, in sequence, or as a graph in which calls
 * take values from the results of others.
 *
 * Structured: a batch ends when each of its calls has ended, and interrupting
 * it interrupts them all, finalizers included. Fail-fast stops the others when
 * a critical call ends other than `success`, `degraded` or
 * `pending_confirmation`: what runs is interrupted (`cancelled`), what never
 * began is `skipped`. Results come in the order of the calls, always one each.
 */
import type * as Tool from "effect/ai/Tool"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import { runStream } from "./internal/callStream.ts"
import { type BatchRequest, batchRequestOf } from "./internal/request.ts"
import { type Call, type Node, type Progress, runNodes } from "./internal/schedule.ts"
import { type Status, table } from "./ToolError.ts"
import type { ToolExecutor, Tools } from "./ToolExecutor.ts"
import type { ToolResult } from "./ToolResult.ts"

export type { Call, Progress } from "./internal/schedule.ts"

export interface Options {
  /** Calls at once, at least 1; 10. */
  readonly concurrency?: number
  /** Stop everything when a critical call fails; `false`. */
  readonly failFast?: boolean
  /** From now; what has not begun by then is skipped, what runs is timed out. */
  readonly deadline?: Duration.Input
  /** Told after every call; must be quick. What it throws is reported, and changes nothing. */
  readonly onProgress?: (progress: Progress) => void
}

export interface BatchResult {
  /** One per call, in the order of the calls. */
  readonly results: ReadonlyArray<ToolResult>
  readonly counts: Counts
  /** Milliseconds. */
  readonly time: number
  /** The call that stopped a fail-fast batch. */
  readonly stoppedBy: string | undefined
}

/** How many calls ended how; statuses that did not occur are absent. */
export type Counts = { readonly [S in Status]?: number }

/** Runs all calls, `concurrency` at a time. */
export const parallel = <T extends Tools>(
  executor: ToolExecutor<T>,
  calls: ReadonlyArray<Call>,
  options: Options = {}
): Effect.Effect<BatchResult, never, Tool.HandlerServices<T[keyof T]>> =>
  run(executor, calls.map(toNode), options)

/** Runs one call after the other. */
export const sequential = <T extends Tools>(
  executor: ToolExecutor<T>,
  calls: ReadonlyArray<Call>,
  options: Omit<Options, "concurrency"> = {}
): Effect.Effect<BatchResult, never, Tool.HandlerServices<T[keyof T]>> =>
  run(executor, calls.map(toNode), { ...options, concurrency: 1 })

/**
 * Runs a stream of calls in constant memory; the results come in the order of
 * the calls. With `failFast` the stream ends with the result that stopped it:
 * what else ran is interrupted at once, and where it came before, `cancelled`.
 */
export const stream = <T extends Tools, E, R>(
  executor: ToolExecutor<T>,
  calls: Stream.Stream<Call, E, R>,
  options: Pick<Options, "concurrency" | "failFast"> = {}
): Stream.Stream<ToolResult, E, R | Tool.HandlerServices<T[keyof T]>> =>
  runStream(executor.pipeline, calls, {
    concurrency: concurrencyOf(executor, options),
    stops: (call, result) => options.failFast === true && isCritical(executor, call) && stops(result)
  })

/** Runs nodes and counts. What `Graph` shares with the batches above. */
export const run = <T extends Tools>(
  executor: ToolExecutor<T>,
  nodes: ReadonlyArray<Node>,
  options: Options
): Effect.Effect<BatchResult, never, Tool.HandlerServices<T[keyof T]>> =>
  Effect.gen(function* () {
    const startedAt = yield* Clock.currentTimeMillis
    const deadline =
      options.deadline === undefined ? undefined : startedAt + Duration.toMillis(options.deadline)
    const { results, stoppedBy } = yield* runNodes(executor.pipeline, nodes, {
      concurrency: concurrencyOf(executor, options),
      deadline,
      stops: (node, result) => options.failFast === true && isCritical(executor, node) && stops(result),
      onProgress: options.onProgress
    })
    const completedAt = yield* Clock.currentTimeMillis
    return { results, counts: count(results), time: completedAt - startedAt, stoppedBy }
  }) as Effect.Effect<BatchResult, never, Tool.HandlerServices<T[keyof T]>>

const toNode = (call: Call): Node => {
  const { critical, request } = batchRequestOf(call)
  return { request, critical, dependsOn: none, resolve: undefined }
}

const none: ReadonlyArray<never> = []

// One at a time is the least that ever ends.
const concurrencyOf = <T extends Tools>(executor: ToolExecutor<T>, options: Options): number => {
  const wanted = Math.floor(options.concurrency ?? executor.pipeline.defaults.concurrency)
  return wanted >= 1 ? wanted : 1
}

const isCritical = <T extends Tools>(
  executor: ToolExecutor<T>,
  { critical, request }: BatchRequest
): boolean => critical ?? executor.pipeline.tools.get(request.tool)?.facts.importance !== "optional"

const stops = (result: ToolResult): boolean =>
  result.status !== "degraded" && result.error !== undefined && table[result.error.reason._tag].failFast

const count = (results: ReadonlyArray<ToolResult>): Counts => {
  const counts: { [S in Status]?: number } = {}
  for (const { status } of results) counts[status] = (counts[status] ?? 0) + 1
  return counts
}
