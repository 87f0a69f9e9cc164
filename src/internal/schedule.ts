/**
 * Runs calls in the order their dependencies allow, some at a time. Linear in
 * nodes and edges: every node waits for a count, and is looked at once when it
 * falls to zero.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { Pipeline } from "../Pipeline.ts"
import type { ToolCall } from "../ToolCall.ts"
import { ToolError } from "../ToolError.ts"
import { isUsable, type ToolResult } from "../ToolResult.ts"
import { toResult } from "./result.ts"

/** A call of a batch. */
export interface Call extends ToolCall {
  /** Whether the batch can do without its result; the tool's `Importance` by default, else critical. */
  readonly critical?: boolean
}

/** How far a batch is. */
export interface Progress {
  readonly total: number
  readonly ended: number
  readonly running: number
  readonly last: ToolResult
}

/** A call, the nodes it waits for, and how it takes values from their results. */
export interface Node {
  readonly call: Call
  /** Positions of nodes; free of cycles. */
  readonly dependsOn: ReadonlyArray<number>
  /** The arguments once everything it depends on has succeeded, or what is missing. */
  readonly resolve:
    | ((
        results: ReadonlyArray<ToolResult | undefined>
      ) => { readonly params: unknown } | { readonly missing: string })
    | undefined
}

export interface ScheduleOptions {
  readonly concurrency: number
  readonly deadline: number | undefined
  readonly stops: (node: Node, result: ToolResult) => boolean
  readonly onProgress: ((progress: Progress) => void) | undefined
}

export interface Scheduled {
  readonly results: ReadonlyArray<ToolResult>
  readonly stoppedBy: string | undefined
}

// Handlers that never suspend must not keep everyone else from running.
const startsPerTurn = 256

export const runNodes = (
  pipeline: Pipeline,
  nodes: ReadonlyArray<Node>,
  options: ScheduleOptions
): Effect.Effect<Scheduled> =>
  Effect.withFiber((parent) => {
    const fork = Effect.runForkWith(parent.context)
    const clock = parent.getRef(Clock.Clock)
    const results: Array<ToolResult | undefined> = new Array(nodes.length)
    const waitsFor = nodes.map((node) => node.dependsOn.length)
    const dependents: Array<Array<number>> = nodes.map(() => [])
    nodes.forEach((node, index) => {
      for (const dependency of node.dependsOn) dependents[dependency]?.push(index)
    })
    const ready: Array<number> = []
    waitsFor.forEach((count, index) => {
      if (count === 0) ready.push(index)
    })
    const running = new Set<Fiber.Fiber<unknown, unknown>>()
    let next = 0
    let ended = 0
    let stoppedBy: string | undefined
    let interrupted = false

    return Effect.callback<Scheduled>((resume) => {
      let pumping = false
      const settle = (index: number, result: ToolResult): void => {
        results[index] = result
        ended++
        const node = nodes[index] as Node
        for (const dependent of dependents[index] as Array<number>) {
          waitsFor[dependent] = (waitsFor[dependent] as number) - 1
          if (waitsFor[dependent] === 0) ready.push(dependent)
        }
        if (stoppedBy === undefined && !interrupted && options.stops(node, result)) {
          stoppedBy = result.callId
          for (const fiber of running) fiber.interruptUnsafe()
        }
        options.onProgress?.({ total: nodes.length, ended, running: running.size, last: result })
      }
      const whyNot = (node: Node): string | undefined => {
        if (stoppedBy !== undefined || interrupted) return "the batch was stopped"
        if (options.deadline !== undefined && clock.currentTimeMillisUnsafe() >= options.deadline) {
          return "the deadline of the batch has passed"
        }
        const failed = node.dependsOn.find((dependency) => !isUsable(results[dependency] as ToolResult))
        return failed === undefined ? undefined : `${name(nodes[failed])} did not succeed`
      }
      const begin = (index: number): void => {
        const node = nodes[index] as Node
        const why = whyNot(node)
        const resolved = why === undefined ? node.resolve?.(results) : { missing: why }
        if (resolved !== undefined && "missing" in resolved) {
          const now = clock.currentTimeMillisUnsafe()
          settle(index, skipped(pipeline, node, resolved.missing, now))
          return
        }
        const { critical: _, ...call } = node.call
        const params = resolved === undefined ? call.params : resolved.params
        const deadline =
          call.deadline === undefined
            ? options.deadline
            : Math.min(call.deadline, options.deadline ?? call.deadline)
        const fiber = fork(
          pipeline.run({ ...call, params, deadline, door: "batch" }, (end) =>
            // Seen here and not in the fiber's result, because an interrupted call has a result too.
            settle(index, toResult(end, pipeline.defaults.resultBytes))
          )
        )
        if (fiber.pollUnsafe() !== undefined) return
        running.add(fiber)
        fiber.addObserver(() => {
          running.delete(fiber)
          pump()
        })
      }
      const pump = (): void => {
        if (pumping) return
        pumping = true
        let starts = 0
        while (next < ready.length && running.size < options.concurrency) {
          if (++starts > startsPerTurn) {
            fork(Effect.flatMap(Effect.yieldNow, () => Effect.sync(pump)))
            break
          }
          begin(ready[next++] as number)
        }
        pumping = false
        if (ended === nodes.length && running.size === 0) {
          resume(Effect.succeed({ results: results as Array<ToolResult>, stoppedBy }))
        }
      }
      pump()
      return Effect.suspend(() => {
        interrupted = true
        for (const fiber of running) fiber.interruptUnsafe()
        return Effect.callback<void>((done) => {
          if (running.size === 0) done(Effect.void)
          for (const fiber of running) {
            fiber.addObserver(() => {
              if (running.size === 0) done(Effect.void)
            })
          }
        })
      })
    })
  })

const name = (node: Node | undefined): string => JSON.stringify(node?.call.id ?? node?.call.tool ?? "")

const skipped = (pipeline: Pipeline, { call }: Node, why: string, now: number): ToolResult => {
  const callId = call.id ?? pipeline.nextId()
  return {
    callId,
    tool: call.tool,
    status: "skipped",
    error: new ToolError({ callId, tool: call.tool, reason: { _tag: "Skipped", why } }),
    attempts: 0,
    queuedAt: now,
    completedAt: now,
    latency: 0
  }
}
