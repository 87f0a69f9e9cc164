/**
 * One call that runs: what its door asked, its record, and what it holds.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Tracer from "effect/Tracer"
import type { Ticket } from "../Bulkhead.ts"
import { type CallRecord, type Door, type Retried, unknownTool } from "../CallRecord.ts"
import type { Admission } from "../CircuitBreaker.ts"
import { CurrentPrincipal, type Principal } from "../Principal.ts"
import type { Reason } from "../ToolError.ts"
import { ArgumentsView } from "./argumentsView.ts"
import type { CompiledTool, Kernel } from "./kernel.ts"

/** A call as a door hands it in. Times are milliseconds, points in time since the epoch. */
export interface Request {
  readonly door: Door
  readonly tool: string
  readonly params: unknown
  readonly id?: string | undefined
  readonly timeout?: number | undefined
  readonly retries?: number | undefined
  readonly deadline?: number | undefined
  /** A deadline as milliseconds from the call's arrival. */
  readonly within?: number | undefined
  readonly requireConfirmation?: boolean | undefined
  readonly idempotencyKey?: string | undefined
  readonly metadata?: Readonly<Record<string, string>> | undefined
  /** The arguments were decoded before the pipeline saw them (`guard`). */
  readonly decoded?: boolean | undefined
  /** The door could not even read the call: nothing is looked at, and it is recorded as this. */
  readonly refused?: Reason | undefined
  /** A question noted for this very call may be redeemed (`toolkit`). */
  readonly redeems?: boolean | undefined
  /** Told of preliminary results as the handler gives them, encoded and as they are. */
  readonly onProgress?: ((encoded: unknown, value: unknown) => Effect.Effect<void>) | undefined
  /** The call this one stands in for, and every tool tried so far. */
  readonly parent?: { readonly callId: string; readonly tools: ReadonlySet<string> } | undefined
}

/** How a call ended, for its door. */
export interface Ended {
  readonly record: CallRecord
  /** Why it did not succeed, or why it is degraded. */
  readonly reason: Reason | undefined
  /** The success, as the handler gave it and as its schema encodes it; absent unless `success` or `degraded`. */
  readonly value?: unknown
  readonly encoded?: unknown
  /** The failure as the handler gave it. */
  readonly failure?: unknown
}

/**
 * A call that runs: its record, and what it holds. What is not the record's is
 * behind accessors, so that nobody who prints or keeps a record sees arguments,
 * and is let go of when the call has ended.
 */
export class Call implements CallRecord {
  readonly callId: string
  readonly parentId: string | undefined
  readonly tool: string
  readonly circuit: string | undefined
  readonly door: Door
  readonly principal: string
  readonly tenant: string | undefined
  readonly actor: Principal["actor"]
  readonly queuedAt: number
  readonly metadata: Readonly<Record<string, string>> | undefined
  readonly traceId: string | undefined
  readonly spanId: string | undefined
  status: CallRecord["status"] = "pending"
  reason: CallRecord["reason"] = undefined
  code: string | undefined = undefined
  class: CallRecord["class"] = undefined
  attempts = 0
  retried: ReadonlyArray<Retried> = []
  startedAt: number | undefined = undefined
  completedAt: number | undefined = undefined
  abandoned = false
  cost: number | undefined = undefined
  arguments: ArgumentsView = ArgumentsView.unseen
  #running: Running | undefined

  constructor(
    kernel: Kernel,
    request: Request,
    tool: CompiledTool | undefined,
    fiber: Fiber.Fiber<unknown, unknown>
  ) {
    const clock = fiber.getRef(Clock.Clock)
    const caller = fiber.getRef(CurrentPrincipal)
    this.callId = request.id ?? kernel.nextId()
    this.parentId = request.parent?.callId
    this.tool = tool === undefined ? unknownTool : tool.facts.name
    this.circuit = tool?.circuit
    this.door = request.door
    this.principal = caller.id
    this.tenant = caller.tenant
    this.actor = caller.actor
    this.metadata = request.metadata
    this.queuedAt = clock.currentTimeMillisUnsafe()
    const within = earlier(request.within, kernel.deadline)
    const span = kernel.telemetry.open(fiber, {
      callId: this.callId,
      tool: this.tool,
      description: tool?.facts.description,
      door: this.door
    })
    this.traceId = span?.traceId
    this.spanId = span?.spanId
    this.#running = {
      request,
      clock,
      caller,
      span,
      deadline: earlier(request.deadline, within === undefined ? undefined : this.queuedAt + within),
      ticket: undefined,
      admission: undefined,
      abandoned: []
    }
  }

  /** What the call holds while it runs. */
  get running(): Running {
    if (this.#running === undefined) throw new Error("A call that has ended holds nothing")
    return this.#running
  }

  /** The record stays; everything else goes. */
  release(): void {
    this.#running = undefined
  }

  now(): number {
    return this.running.clock.currentTimeMillisUnsafe()
  }

  /** Milliseconds left until the deadline; infinite without one. */
  left(): number {
    const { deadline } = this.running
    return deadline === undefined ? Number.POSITIVE_INFINITY : deadline - this.now()
  }

  /** The deadline as milliseconds after the call's arrival. */
  deadlineAfter(): Duration.Duration {
    return Duration.millis(Math.max(0, (this.running.deadline ?? this.queuedAt) - this.queuedAt))
  }

  pastDeadline(): Extract<Reason, { _tag: "TimedOut" }> {
    return { _tag: "TimedOut", scope: "deadline", after: this.deadlineAfter() }
  }
}

/** What a call holds while it runs. */
interface Running {
  readonly request: Request
  readonly clock: Clock.Clock
  readonly caller: Principal
  readonly span: Tracer.Span | undefined
  /** Milliseconds since the epoch. */
  readonly deadline: number | undefined
  ticket: Ticket | undefined
  admission: Admission | undefined
  /** What handlers left running, of any attempt; each settles. */
  readonly abandoned: Array<PromiseLike<unknown>>
}

const earlier = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined ? b : b === undefined ? a : Math.min(a, b)

/** How the stages of a call came out, before it is recorded. */
export interface Outcome {
  readonly reason: Reason | undefined
  readonly value?: unknown
  readonly encoded?: unknown
  readonly failure?: unknown
}

/** An outcome without a value: plain data, because an error object would cost more than the call. */
export interface Refused extends Outcome {
  readonly reason: Reason
}

/** What a stage comes to: what it hands on, or the end of the call. */
export type Stage<A> = Effect.Effect<A, Refused>

export const refuse = (reason: Reason): Exit.Exit<never, Refused> => Exit.fail({ reason })

/** A port's answer, where `undefined` lets the call go on. */
export const admitted = (answer: Stage<Reason | undefined>): Stage<void> =>
  Effect.flatMap(answer, (reason) => (reason === undefined ? Effect.void : refuse(reason)))

/** Makes an effect interruptible again, where a call may wait. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** Waits no longer than the deadline allows. */
export const withinDeadline = <A, E>(
  call: Call,
  restore: Restore,
  wait: Effect.Effect<A, E>
): Effect.Effect<A, E | Refused> => {
  if (Exit.isExit(wait)) return wait as Exit.Exit<A, E>
  return call.running.deadline === undefined
    ? restore(wait)
    : restore(
        Effect.timeoutOrElse(wait, {
          duration: Duration.millis(Math.max(0, call.left())),
          orElse: () => refuse(call.pastDeadline())
        })
      )
}
