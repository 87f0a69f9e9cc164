/**
 * Runs calls in the order their dependencies allow, some at a time. Linear in
 * nodes and edges: every node waits for a count, and is looked at once when it
 * falls to zero.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { Pipeline } from "../Pipeline.ts"
import type { ToolCall } from "../ToolCall.ts"
import { isUsable, type ToolResult } from "../ToolResult.ts"
import { reportBeside } from "./callText.ts"
import * as Raw from "./raw.ts"
import type { BatchRequest } from "./request.ts"
import { start, startsPerTurn, withoutRun } from "./startCall.ts"

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
export interface Node extends BatchRequest {
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

const stopped = "the batch was stopped"
const none: ReadonlyArray<never> = []

export const runNodes = (
  pipeline: Pipeline,
  nodes: ReadonlyArray<Node>,
  options: ScheduleOptions
): Effect.Effect<Scheduled> =>
  Effect.withFiber((parent) => {
    const { context } = parent
    const fork = Effect.runForkWith(context)
    const clock = parent.getRef(Clock.Clock)
    const results: Array<ToolResult | undefined> = new Array(nodes.length)
    const waitsFor = nodes.map((node) => node.dependsOn.length)
    const dependents = new Map<number, Array<number>>()
    nodes.forEach((node, index) => {
      for (const dependency of node.dependsOn) {
        const known = dependents.get(dependency)
        if (known === undefined) dependents.set(dependency, [index])
        else known.push(index)
      }
    })
    const ready: Array<number> = []
    waitsFor.forEach((count, index) => {
      if (count === 0) ready.push(index)
    })
    const fibers: Array<Fiber.Fiber<unknown> | undefined> = new Array(nodes.length)
    let next = 0
    let running = 0
    let parked = 0
    let ended = 0
    let halted = false
    let interrupted = false
    let stoppedBy: string | undefined

    return Effect.callback<Scheduled>((resume) => {
      let pumping = false
      let onIdle: (() => void) | undefined
      const halt = (): void => {
        halted = true
        for (const fiber of fibers) fiber?.interruptUnsafe()
        for (const take of returning.splice(0)) take()
      }
      const settle = (index: number, result: ToolResult): void => {
        results[index] = result
        ended++
        const node = nodes[index] as Node
        for (const dependent of dependents.get(index) ?? none) {
          waitsFor[dependent] = (waitsFor[dependent] as number) - 1
          if (waitsFor[dependent] === 0) ready.push(dependent)
        }
        try {
          options.onProgress?.({ total: nodes.length, ended, running, last: result })
        } catch (defect) {
          // Who looks on must not change what happens.
          const { error, value } = result
          const said = error?.reason._tag === "ToolFailed" ? error.reason.failure : value
          fork(reportBeside(pipeline.kernel, node.request, said, Cause.die(defect)))
        }
        if (!halted && options.stops(node, result)) {
          stoppedBy = result.callId
          halt()
        }
      }
      const whyNot = (node: Node): string | undefined => {
        if (halted) return stopped
        if (options.deadline !== undefined && clock.currentTimeMillisUnsafe() >= options.deadline) {
          return "the deadline of the batch has passed"
        }
        for (const dependency of node.dependsOn) {
          if (!isUsable(results[dependency] as ToolResult))
            return `${name(nodes[dependency])} did not succeed`
        }
        return undefined
      }
      const begin = (index: number): void => {
        const node = nodes[index] as Node
        const why = whyNot(node)
        const resolved = why === undefined ? node.resolve?.(results) : { missing: why }
        if (resolved !== undefined && "missing" in resolved) {
          const reason = { _tag: "Skipped", why: resolved.missing } as const
          settle(index, withoutRun(pipeline, context, node.request, reason))
          return
        }
        const { request } = node
        const deadline =
          request.deadline === undefined
            ? options.deadline
            : Math.min(request.deadline, options.deadline ?? request.deadline)
        const params = resolved === undefined ? request.params : Raw.of(resolved.params)
        running++
        const fiber = start(pipeline, context, { ...request, params, deadline, park }, (result) => {
          running--
          settle(index, result)
        })
        fibers[index] = fiber
        // What a handler does before it first suspends can have stopped the batch it belongs to.
        if (halted) fiber.interruptUnsafe()
        fiber.addObserver(() => {
          fibers[index] = undefined
          pump()
        })
      }
      // Calls that have waited for a human and want their place back, before any that has not begun.
      const returning: Array<() => void> = []
      const park = <A, E>(wait: Effect.Effect<A, E>): Effect.Effect<A, E> =>
        Effect.suspend(() => {
          running--
          parked++
          pump()
          return Effect.ensuring(wait, placeAgain)
        })
      const placeAgain = Effect.callback<void>((resume) => {
        const take = (): void => {
          parked--
          running++
          resume(Exit.void)
        }
        if (halted || running < options.concurrency) take()
        else returning.push(take)
      })
      const pump = (): void => {
        if (pumping) return
        pumping = true
        while (returning.length > 0 && running < options.concurrency) {
          returning.shift()?.()
        }
        let starts = 0
        while (!interrupted && next < ready.length && running < options.concurrency) {
          if (++starts > startsPerTurn) {
            fork(Effect.flatMap(Effect.yieldNow, () => Effect.sync(pump)))
            break
          }
          begin(ready[next++] as number)
        }
        pumping = false
        if (running > 0 || parked > 0) return
        if (interrupted) onIdle?.()
        else if (ended === nodes.length) {
          resume(Exit.succeed({ results: results as Array<ToolResult>, stoppedBy }))
        }
      }
      pump()
      return Effect.suspend(() => {
        interrupted = true
        halt()
        return Effect.callback<void>((done) => {
          onIdle = () => done(Exit.void)
          if (running === 0 && parked === 0) onIdle()
        })
      })
    })
  })

const name = (node: Node | undefined): string => JSON.stringify(node?.request.id ?? node?.request.tool ?? "")
