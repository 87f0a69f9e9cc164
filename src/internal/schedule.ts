/**
 * Runs calls in the order their dependencies allow, some at a time. Linear in
 * nodes and edges: every node waits for a count, and is looked at once when it
 * falls to zero.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { Pipeline } from "../Pipeline.ts"
import type { ToolCall } from "../ToolCall.ts"
import { isUsable, type ToolResult } from "../ToolResult.ts"
import { reportBeside } from "./callText.ts"
import * as Raw from "./raw.ts"
import type { BatchRequest } from "./request.ts"
import { interruptAll, Started, type Starter, startsPerTurn, withoutRun } from "./startCall.ts"

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
    const schedule = new Schedule(pipeline, nodes, options, parent)
    return Effect.callback<Scheduled>((resume) => {
      schedule.run((scheduled) => resume(Exit.succeed(scheduled)))
      return Effect.suspend(() => schedule.interrupt())
    })
  })

class Schedule implements Starter<number> {
  readonly #pipeline: Pipeline
  readonly #nodes: ReadonlyArray<Node>
  readonly #options: ScheduleOptions
  readonly #context: Context.Context<never>
  readonly #clock: Clock.Clock
  readonly #results: Array<ToolResult | undefined>
  readonly #waitsFor: Array<number>
  readonly #dependents = new Map<number, Array<number>>()
  readonly #ready: Array<number> = []
  readonly #calls: Array<Started<number> | undefined>
  /** Calls that have waited for a human and want their place back, before any that has not begun. */
  readonly #returning: Array<() => void> = []
  #next = 0
  /** Calls that have begun since it last rested. */
  #starts = 0
  #resting = false
  #running = 0
  #parked = 0
  #ended = 0
  #halted = false
  #interrupted = false
  #stoppedBy: string | undefined
  #pumping = false
  #onEnd: ((scheduled: Scheduled) => void) | undefined
  #onIdle: (() => void) | undefined

  constructor(
    pipeline: Pipeline,
    nodes: ReadonlyArray<Node>,
    options: ScheduleOptions,
    parent: Fiber.Fiber<unknown, unknown>
  ) {
    this.#pipeline = pipeline
    this.#nodes = nodes
    this.#options = options
    this.#context = parent.context as Context.Context<never>
    this.#clock = parent.getRef(Clock.Clock)
    this.#results = new Array(nodes.length)
    this.#calls = new Array(nodes.length)
    this.#waitsFor = nodes.map((node) => node.dependsOn.length)
    nodes.forEach((node, index) => {
      if (node.dependsOn.length === 0) this.#ready.push(index)
      for (const dependency of node.dependsOn) {
        const known = this.#dependents.get(dependency)
        if (known === undefined) this.#dependents.set(dependency, [index])
        else known.push(index)
      }
    })
  }

  run(onEnd: (scheduled: Scheduled) => void): void {
    this.#onEnd = onEnd
    this.#pump()
  }

  /** Nothing runs any more when this has ended. */
  interrupt(): Effect.Effect<void> {
    this.#interrupted = true
    this.#halt()
    return Effect.callback<void>((done) => {
      this.#onIdle = () => done(Exit.void)
      if (this.#running === 0 && this.#parked === 0) this.#onIdle()
    })
  }

  told({ of }: Started<number>, result: ToolResult): void {
    this.#running--
    this.#settle(of, result)
  }

  over({ of }: Started<number>): void {
    this.#calls[of] = undefined
    this.#pump()
  }

  /** Lets others run while a call waits for its human. */
  readonly park = <A, E>(wait: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      this.#running--
      this.#parked++
      this.#pump()
      return Effect.ensuring(wait, this.#placeAgain)
    })

  readonly #placeAgain = Effect.callback<void>((resume) => {
    const take = (): void => {
      this.#parked--
      this.#running++
      resume(Exit.void)
    }
    if (this.#halted || this.#running < this.#options.concurrency) take()
    else this.#returning.push(take)
  })

  #halt(): void {
    this.#halted = true
    interruptAll(this.#calls)
    for (const take of this.#returning.splice(0)) take()
  }

  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    const { concurrency } = this.#options
    while (this.#returning.length > 0 && this.#running < concurrency) this.#returning.shift()?.()
    while (!this.#interrupted && this.#next < this.#ready.length && this.#running < concurrency) {
      if (this.#starts === startsPerTurn) {
        this.#rest()
        break
      }
      this.#starts++
      this.#begin(this.#ready[this.#next++] as number)
    }
    this.#pumping = false
    if (this.#running > 0 || this.#parked > 0) return
    if (this.#interrupted) this.#onIdle?.()
    else if (this.#ended === this.#nodes.length) {
      this.#onEnd?.({ results: this.#results as Array<ToolResult>, stoppedBy: this.#stoppedBy })
    }
  }

  /** Until the next turn; calls that end in this one begin no others. */
  #rest(): void {
    if (this.#resting) return
    this.#resting = true
    this.#fork(
      Effect.map(Effect.yieldNow, () => {
        this.#resting = false
        this.#starts = 0
        this.#pump()
      })
    )
  }

  #begin(index: number): void {
    const node = this.#nodes[index] as Node
    const { request } = node
    const why = this.#whyNot(node)
    const resolved = why === undefined ? node.resolve?.(this.#results) : { missing: why }
    if (resolved !== undefined && "missing" in resolved) {
      const reason = { _tag: "Skipped", why: resolved.missing } as const
      this.#settle(index, withoutRun(this.#pipeline, this.#context, request, reason))
      return
    }
    const { deadline = request.deadline } = this.#options
    const call = new Started<number>(this, index)
    this.#calls[index] = call
    this.#running++
    call.start(this.#pipeline, this.#context, {
      ...request,
      params: resolved === undefined ? request.params : Raw.of(resolved.params),
      deadline: deadline === undefined ? undefined : Math.min(deadline, request.deadline ?? deadline),
      park: this.park,
      member: call
    })
    // What a handler does before it first suspends can have stopped the batch it belongs to.
    if (this.#halted) call.fiber?.interruptUnsafe()
  }

  #whyNot(node: Node): string | undefined {
    if (this.#halted) return stopped
    const { deadline } = this.#options
    if (deadline !== undefined && this.#clock.currentTimeMillisUnsafe() >= deadline) {
      return "the deadline of the batch has passed"
    }
    for (const dependency of node.dependsOn) {
      if (!isUsable(this.#results[dependency] as ToolResult))
        return `${name(this.#nodes[dependency])} did not succeed`
    }
    return undefined
  }

  #settle(index: number, result: ToolResult): void {
    this.#results[index] = result
    this.#ended++
    const node = this.#nodes[index] as Node
    for (const dependent of this.#dependents.get(index) ?? none) {
      const left = (this.#waitsFor[dependent] as number) - 1
      this.#waitsFor[dependent] = left
      if (left === 0) this.#ready.push(dependent)
    }
    this.#tell(node, result)
    if (!this.#halted && this.#options.stops(node, result)) {
      this.#stoppedBy = result.callId
      this.#halt()
    }
  }

  #tell(node: Node, last: ToolResult): void {
    const { onProgress } = this.#options
    if (onProgress === undefined) return
    try {
      onProgress({ total: this.#nodes.length, ended: this.#ended, running: this.#running, last })
    } catch (defect) {
      // Who looks on must not change what happens.
      const { error, value } = last
      const said = error?.reason._tag === "ToolFailed" ? error.reason.failure : value
      this.#fork(reportBeside(this.#pipeline.kernel, node.request, said, Cause.die(defect)))
    }
  }

  #fork(effect: Effect.Effect<void>): void {
    Effect.runForkWith(this.#context)(effect)
  }
}

const name = (node: Node | undefined): string => JSON.stringify(node?.request.id ?? node?.request.tool ?? "")
