/**
 * One call that runs: what its door asked, its record, and what it holds.
 */
import type * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Tracer from "effect/Tracer"
import type { Request as ApprovalRequest } from "../Approvals.ts"
import type { Reservation } from "../Budget.ts"
import type { Ticket } from "../Bulkhead.ts"
import {
  type CallRecord,
  type Door,
  type Retried,
  type Stage,
  type StageVerdict,
  unknownTool
} from "../CallRecord.ts"
import type { Admission } from "../CircuitBreaker.ts"
import type { Lease } from "../Idempotency.ts"
import type { Entered, Killable } from "../KillSwitch.ts"
import { CurrentPrincipal, type Principal } from "../Principal.ts"
import type { LimitedCall } from "../RateLimits.ts"
import type { NextDelay } from "../Retry.ts"
import { CurrentRun, type Run } from "../Run.ts"
import type { Finding } from "../Screening.ts"
import type { ToolRules } from "../SecurityPolicy.ts"
import type { Copied } from "../Taint.ts"
import type { Amounts } from "../ToolAnnotations.ts"
import type { Reason } from "../ToolError.ts"
import * as Verdict from "../Verdict.ts"
import { ArgumentsView } from "./argumentsView.ts"
import type { Attempt } from "./attempt.ts"
import { reportCause } from "./callText.ts"
import type { CompiledTool, Kernel } from "./kernel.ts"
import * as Raw from "./raw.ts"

/** A call as a door hands it in. Times are milliseconds, points in time since the epoch. */
export interface Request {
  readonly door: Door
  readonly tool: string
  readonly params: Raw.Raw
  readonly id?: string | undefined
  readonly timeout?: number | undefined
  readonly retries?: number | undefined
  readonly deadline?: number | undefined
  /** A deadline as milliseconds from the call's arrival. */
  readonly within?: number | undefined
  readonly requireConfirmation?: boolean | undefined
  readonly idempotencyKey?: string | undefined
  /** The token of an approval. */
  readonly approval?: string | undefined
  /** The caller's number of the call within its run. */
  readonly step?: string | undefined
  readonly metadata?: Readonly<Record<string, string>> | undefined
  /** The arguments were decoded before the pipeline saw them (`guard`). */
  readonly decoded?: boolean | undefined
  /** The door could not even read the call: nothing is looked at, and it is recorded as this. */
  readonly refused?: Reason | undefined
  /** The conversation so far, where a model's call is only looked at. */
  readonly messages?: Tool.NeedsApprovalContext["messages"] | undefined
  /** The request for an approval whose arguments a human has edited into these. */
  readonly replaces?: { readonly request: string; readonly editor: string } | undefined
  /** How a batch lets others run while this call waits for its human. */
  readonly park?: (<A, E>(wait: Effect.Effect<A, E>) => Effect.Effect<A, E>) | undefined
  /** What a batch stops together with others, before it ends the first of their calls. */
  readonly member?: Member | undefined
  /** Told of preliminary results as the handler gives them, encoded and as they are. */
  readonly onProgress?: ((encoded: unknown, value: unknown) => Effect.Effect<void>) | undefined
  /** The call this one stands in for, and every tool tried so far. */
  readonly parent?: { readonly callId: string; readonly tools: ReadonlySet<string> } | undefined
}

/** A call of a batch. */
export interface Member {
  /** The handler that the call waits for, or the last that it has waited for. */
  handler: { readonly cancel: () => void } | undefined
}

/** How the stages of a call came out. */
export interface Outcome {
  /** Why it did not succeed, or why it is degraded. */
  readonly reason: Reason | undefined
  /** The success, as the handler gave it and as its schema encodes it; absent unless `success` or `degraded`. */
  readonly value?: unknown
  readonly encoded?: unknown
  /** The failure as the handler gave it. */
  readonly failure?: unknown
  /** Nobody knows whether the tool did what it was asked. */
  readonly outcomeUnknown?: boolean
}

/** An outcome without a value: plain data, because an error object would cost more than the call. */
export interface Refused extends Outcome {
  readonly reason: Reason
}

/** An attempt that failed. */
export interface Failed extends Refused {
  /** Nobody knows whether the tool did what it was asked. */
  readonly outcomeUnknown: boolean
}

/** What a door makes of how a call ended. It does not wait for long: nobody can interrupt it. */
export type Conclude<A, E> = (outcome: Outcome, record: CallRecord) => Effect.Effect<A, E>

/**
 * A call that runs: its record, and what it holds. What is not the record's is
 * behind accessors, so that nobody who prints or keeps a record sees arguments,
 * and is let go of when the call has ended.
 */
export class Call implements CallRecord, Killable {
  readonly callId: string
  readonly parentId: string | undefined
  readonly run: string | undefined
  readonly session: string | undefined
  readonly step: string | undefined
  readonly tool: string
  readonly circuit: string | undefined
  readonly door: Door
  readonly principal: string
  readonly tenant: string | undefined
  readonly actor: Principal["actor"]
  readonly queuedAt: number
  readonly metadata: Readonly<Record<string, string>> | undefined
  readonly toolDigest: string | undefined
  traceId: string | undefined = undefined
  spanId: string | undefined = undefined
  status: CallRecord["status"] = "pending"
  reason: CallRecord["reason"] = undefined
  code: string | undefined = undefined
  class: CallRecord["class"] = undefined
  stage: Stage | undefined = undefined
  verdicts: ReadonlyArray<StageVerdict> = none
  policyDigest: string | undefined = undefined
  approval: string | undefined = undefined
  answeredFrom: CallRecord["answeredFrom"] = undefined
  attempts = 0
  retried: ReadonlyArray<Retried> = none
  startedAt: number | undefined = undefined
  completedAt: number | undefined = undefined
  abandoned = false
  cost: Amounts | undefined = undefined
  breaker: CallRecord["breaker"] = undefined
  arguments: ArgumentsView = ArgumentsView.unseen
  #running: Running | undefined

  constructor(
    kernel: Kernel,
    request: Request,
    tool: CompiledTool | undefined,
    fiber: Fiber.Fiber<unknown, unknown>,
    restore: Restore
  ) {
    const clock = fiber.getRef(Clock.Clock)
    const caller = fiber.getRef(CurrentPrincipal)
    const run = fiber.getRef(CurrentRun)
    this.callId = request.id ?? kernel.nextId()
    this.parentId = request.parent?.callId
    this.run = run?.id
    this.session = run?.session ?? caller.session
    this.step = request.step
    this.tool = tool === undefined ? unknownTool : tool.facts.name
    this.circuit = tool?.circuit
    this.toolDigest = tool?.digest
    this.door = request.door
    this.principal = caller.id
    this.tenant = caller.tenant
    this.actor = run?.actor ?? caller.actor
    this.metadata = request.metadata
    this.queuedAt = clock.currentTimeMillisUnsafe()
    this.#running = {
      instant: this.queuedAt,
      kernel,
      request,
      tool,
      fiber,
      restore,
      clock,
      caller,
      run,
      span: undefined,
      callersDeadline: earlier(
        earlier(request.deadline, run?.deadline),
        request.within === undefined ? undefined : this.queuedAt + request.within
      ),
      defaultDeadline: kernel.deadline === undefined ? undefined : this.queuedAt + kernel.deadline,
      rules: undefined,
      limited: undefined,
      raw: request.params,
      params: Raw.nothing,
      asked: undefined,
      allowedRaw: false,
      verdict: Verdict.allow,
      findings: none,
      copied: none,
      quota: "none",
      key: undefined,
      lease: undefined,
      mayHaveRun: false,
      mayTakeOver: false,
      grant: undefined,
      ticket: undefined,
      admission: undefined,
      bound: undefined,
      reservation: undefined,
      attempt: undefined,
      failed: undefined,
      nextDelay: undefined,
      abandoned: undefined,
      entered: undefined,
      killed: undefined,
      conclude: undefined,
      stoppable: undefined
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

  /** The time, read once for as long as the call does not wait. */
  now(): number {
    const { running } = this
    return running.instant ?? running.clock.currentTimeMillisUnsafe()
  }

  /** From here on the call waits, so that time goes on. */
  waits(): void {
    this.running.instant = undefined
  }

  /** What took its time is over. */
  goesOn(): void {
    const { running } = this
    running.instant = running.clock.currentTimeMillisUnsafe()
  }

  get toolCallId(): string {
    return this.callId
  }

  get description(): string | undefined {
    return this.running.tool?.facts.description
  }

  /** Tells of a result before the last one. */
  preliminary(value: unknown): Effect.Effect<void> {
    // What a handler left running may still speak when its call has ended.
    if (this.completedAt !== undefined) return Effect.void
    const { request, tool } = this.running
    const { onProgress } = request
    if (onProgress === undefined || tool === undefined) return Effect.void
    // What does not fit the schema is not shown; the final result will tell.
    return Effect.matchEffect(tool.codec.encodeSuccess(value), {
      onFailure: () => Effect.void,
      onSuccess: (encoded) => onProgress(encoded, value)
    }).pipe(
      // Who looks on must not change what happens.
      Effect.catchCause((cause) =>
        Cause.hasInterrupts(cause)
          ? Effect.failCause(cause as Cause.Cause<never>)
          : reportCause(this, tool, cause, value)
      )
    )
  }

  /** Ends the call wherever it waits; what it does meanwhile is not begun. */
  kill(reason: Extract<Reason, { _tag: "Killed" }>): void {
    const { running } = this
    running.killed ??= reason
    running.stoppable?.stop(running.killed)
  }

  /** Notes what a stage said other than yes. */
  note(verdict: StageVerdict): void {
    this.verdicts = [...this.verdicts, verdict]
  }

  /** Milliseconds since the epoch by which the call must have ended; `undefined` without a deadline. */
  get deadline(): number | undefined {
    return earlier(this.running.callersDeadline, this.running.defaultDeadline)
  }

  /** Milliseconds left until the deadline; infinite without one. */
  left(): number {
    const { deadline } = this
    return deadline === undefined ? Number.POSITIVE_INFINITY : deadline - this.now()
  }

  /** The deadline as milliseconds after the call's arrival. */
  deadlineAfter(): Duration.Duration {
    return Duration.millis(Math.max(0, (this.deadline ?? this.queuedAt) - this.queuedAt))
  }

  pastDeadline(): Extract<Reason, { _tag: "TimedOut" }> {
    return { _tag: "TimedOut", scope: "deadline", after: this.deadlineAfter() }
  }
}

// One empty list for every call that has nothing to say.
const none: ReadonlyArray<never> = []

/** What a call knows and holds while it runs. */
export interface Running {
  readonly kernel: Kernel
  readonly request: Request
  readonly tool: CompiledTool | undefined
  /** The fiber that called. */
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly restore: Restore
  readonly clock: Clock.Clock
  /** The time as it was last read, until the call waits. */
  instant: number | undefined
  readonly caller: Principal
  readonly run: Run | undefined
  span: Tracer.Span | undefined
  /** Points in time, milliseconds since the epoch; the default one moves while a human decides. */
  readonly callersDeadline: number | undefined
  defaultDeadline: number | undefined

  // What stages have found out, for those that follow.
  rules: ToolRules | undefined
  limited: LimitedCall | undefined
  /** The arguments as they came or, where only decoded ones did, as their schema encodes them. */
  raw: Raw.Raw
  /** Decoded. */
  params: Raw.Raw
  /** The arguments as a conversation has asked about them, where that is not how they came. */
  asked: Raw.Raw | undefined
  /** The policy's rules about arguments have nothing against them as they came. */
  allowedRaw: boolean
  /** What the policy, the tool, the caller and the run's taint say together: never a denial. */
  verdict: Verdict.Verdict
  findings: ReadonlyArray<Finding>
  copied: ReadonlyArray<Copied>
  /** `looked`: the quota has room and is charged later. */
  quota: "none" | "looked" | "taken"

  // What the call holds, given back when it ends.
  /** The idempotency key, given or derived. */
  key: string | undefined
  lease: Lease | undefined
  /** An attempt ended and nobody knows whether it took effect: whatever came after it does not change that. */
  mayHaveRun: boolean
  /** A human was asked whether to run again what may have run before. */
  mayTakeOver: boolean
  grant: ApprovalRequest | undefined
  ticket: Ticket | undefined
  admission: Admission | undefined
  /** The most that the attempt may cost, and what was put aside for it. */
  bound: Amounts | undefined
  reservation: Reservation | undefined
  /** The attempt that runs, until it is settled. */
  attempt: Attempt | undefined
  /** The last attempt that has failed, and what says how long to wait before the next. */
  failed: Failed | undefined
  nextDelay: NextDelay | undefined
  /** What handlers left running, of any attempt; each settles. */
  abandoned: ReadonlyArray<PromiseLike<unknown>> | undefined
  /** The call on the kill switch's list. */
  entered: Entered | undefined
  killed: Extract<Reason, { _tag: "Killed" }> | undefined
  /** What the door makes of the call's end, where that is done without its fiber. */
  conclude: Conclude<unknown, unknown> | undefined
  /** The wait that the call is in, as far as it can be ended from outside. */
  stoppable: Stoppable | undefined
}

export interface Stoppable {
  readonly stop: (reason: Reason) => void
}

const earlier = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined ? b : b === undefined ? a : Math.min(a, b)

/** Makes an effect interruptible again, where a call may wait. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** The call as limits see it. */
export const limitedOf = ({ running }: Call, tool: CompiledTool): LimitedCall => ({
  tool: tool.facts,
  principal: running.caller,
  params: Raw.read(running.request.params),
  metadata: running.request.metadata
})
