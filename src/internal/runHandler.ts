/**
 * One run of a handler: starting it, and waiting for it for as long as it may
 * take.
 *
 * One that does not end at once goes on by itself, in a fiber of its own or as
 * a promise, so that a timeout stops the handler and nothing else. What follows
 * it is done where it ends, and the caller's fiber wakes once, with the result
 * of the call.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Tracer from "effect/Tracer"
import { CurrentCall } from "../CurrentCall.ts"
import type { Reason } from "../ToolError.ts"
import { Attempt } from "./attempt.ts"
import type { Call, Stoppable } from "./call.ts"
import { reportCause } from "./callText.ts"
import type { DeadlineLine, Due } from "./deadlines.ts"
import { isExit } from "./exits.ts"
import { type Going, type Observer, startEffect, startPlain } from "./handling.ts"
import type { CompiledTool } from "./kernel.ts"
import type { Place } from "./line.ts"
import * as Raw from "./raw.ts"
import { isLater, type Next, onward, Pending, type Soon } from "./step.ts"

/** How a handler ended. */
export type HandlerEnd =
  | { readonly _tag: "Value"; readonly value: unknown }
  | { readonly _tag: "Cause"; readonly cause: Cause.Cause<unknown> }
  | { readonly _tag: "Stopped"; readonly reason: Reason; readonly cause: Cause.Cause<unknown> }

/** Runs the handler once. */
export const runHandler = (call: Call, tool: CompiledTool): Soon<HandlerEnd> => {
  const { running } = call
  call.attempts++
  call.startedAt ??= call.now()
  call.status = "running"
  running.kernel.recorder.sink.onChange(call)
  const current = new Attempt(
    {
      callId: call.callId,
      tool: tool.facts.name,
      attempt: call.attempts,
      idempotencyKey: running.key,
      deadline: call.deadline,
      metadata: call.metadata
    },
    call
  )
  running.attempt = current
  const started = start(call, tool, current)
  if (!Effect.isEffect(started)) {
    call.waits()
    return new HandlerWait(call, tool, current, started).begin()
  }
  call.goesOn()
  return endOf(started)
}

const start = (call: Call, tool: CompiledTool, current: Attempt): Exit.Exit<unknown, unknown> | Going => {
  const params = Raw.read(call.running.params)
  let effect: Effect.Effect<unknown, unknown>
  if (tool.plain === undefined) {
    try {
      effect = tool.handler(params, current)
    } catch (defect) {
      // A handler that throws before it returns its Effect is a defect like any other.
      return Exit.die(defect)
    }
  } else {
    const started = startPlain(tool.plain, params, current)
    if (!Effect.isEffect(started)) return started
    effect = started
  }
  return startEffect(effect, () => handlerContext(call, tool, current))
}

/**
 * A handler that goes on, and whoever waits for it. One object and no closures
 * that it holds: V8 puts those into its old space at once, and with each of
 * them, until the next full collection, whatever its call has held.
 */
class HandlerWait extends Pending<HandlerEnd> implements Stoppable, Due, Observer {
  /** When its time is over. */
  readonly at: number
  readonly #call: Call
  readonly #tool: CompiledTool
  readonly #attempt: Attempt
  readonly #going: Going
  readonly #timeout: number
  readonly #left: number
  #line: DeadlineLine | undefined
  #place: Place<Due> | undefined
  #timer: Fiber.Fiber<void> | undefined
  #stopped: Reason | undefined
  #exit: Exit.Exit<unknown, unknown> | undefined
  /** What follows, in its order. */
  readonly #next: Array<Next<never, unknown>> = new Array(3)
  #length = 0
  #watched = false
  #interrupted = false
  /** What comes of it: an exit once nothing is left to begin. */
  #result: Effect.Effect<unknown> | undefined
  #resume: ((result: Effect.Effect<unknown>) => void) | undefined

  constructor(call: Call, tool: CompiledTool, attempt: Attempt, going: Going) {
    super()
    this.#call = call
    this.#tool = tool
    this.#attempt = attempt
    this.#going = going
    this.#timeout = Math.min(tool.timeout, call.running.request.timeout ?? tool.timeout)
    this.#left = call.left()
    this.at = call.now() + Math.max(0, Math.min(this.#timeout, this.#left))
  }

  begin(): this {
    const { running } = this.#call
    const { clock, fiber, kernel } = running
    const { member } = running.request
    const now = this.#call.now()
    const allowed = this.at - now
    running.stoppable = this
    if (member !== undefined) member.handler = this
    // What many calls are given shares one timer; a duration of a call's own has its own.
    if (allowed === this.#tool.timeout || allowed === kernel.deadline) {
      this.#line = kernel.deadlines.line(clock, allowed)
      this.#place = this.#line.join(this, fiber.context, now)
    } else {
      this.#timer = Effect.runForkWith(fiber.context)(
        Effect.map(clock.sleep(Duration.millis(allowed)), () => this.expire())
      )
    }
    if (running.killed !== undefined) this.stop(running.killed)
    return this
  }

  override next<B>(next: Next<HandlerEnd, B>): Pending<B> {
    this.#next[this.#length++] = next
    // From here on it comes to what `next` does.
    return this as unknown as Pending<B>
  }

  expire(): void {
    this.stop(
      this.#left <= this.#timeout
        ? this.#call.pastDeadline()
        : { _tag: "TimedOut", scope: "attempt", after: Duration.millis(this.#timeout) }
    )
  }

  /** The first reason counts. */
  stop(reason: Reason | undefined): void {
    this.#stopped ??= reason
    this.#attempt.abort()
    this.#going.stop()
  }

  /** Stops the handler of a call that is interrupted next: from here on, nothing but that wakes its fiber. */
  cancel(): void {
    if (this.#exit !== undefined || this.#interrupted) return
    this.#interrupted = true
    this.#resume = undefined
    this.stop(undefined)
  }

  asEffect(): Effect.Effect<HandlerEnd> {
    const ended = Effect.callback<HandlerEnd>((resume) => {
      if (!this.#interrupted) this.#resume = resume as (result: Effect.Effect<unknown>) => void
      this.#watch()
    })
    // The handler has begun: an interruption is seen from here on, whenever it came.
    return Effect.onExitPrimitive(this.#call.running.restore(ended), () => {
      if (this.#interrupted || this.#exit === undefined) return this.#interrupt()
      return this.#result !== undefined && isExit(this.#result) ? undefined : this.#rest()
    })
  }

  ended(exit: Exit.Exit<unknown, unknown>): void {
    if (this.#exit !== undefined) return
    const { running } = this.#call
    const { abandoned } = this.#attempt
    this.#exit = exit
    this.#call.goesOn()
    running.stoppable = undefined
    if (this.#place !== undefined) this.#line?.leave(this.#place, running.fiber.context)
    this.#timer?.interruptUnsafe()
    if (abandoned !== undefined) {
      this.#call.abandoned = true
      running.abandoned = [...(running.abandoned ?? []), abandoned]
    }
    // Of a call that was interrupted nothing follows its handler but its end.
    this.#result = this.#interrupted ? Exit.void : this.#follows(exit)
    this.#resume?.(this.#result)
  }

  #follows(exit: Exit.Exit<unknown, unknown>): Effect.Effect<unknown> {
    const call = this.#call
    const tool = this.#tool
    let soon: Soon<unknown> =
      this.#stopped !== undefined && Exit.isFailure(exit)
        ? { _tag: "Stopped", reason: this.#stopped, cause: exit.cause }
        : endOf(exit)
    try {
      for (let index = 0; index < this.#length; index++) {
        const next = this.#next[index] as Next<unknown, unknown>
        soon = onward(call, tool, soon, next)
      }
    } catch (defect) {
      return Exit.die(defect)
    }
    if (!isLater(soon)) return Exit.succeed(soon)
    return isExit(soon) ? soon : this.#later(soon)
  }

  /** The caller waits where it can be interrupted; what is left to do cannot be. */
  #later(soon: Effect.Effect<unknown>): Effect.Effect<unknown> {
    return Effect.uninterruptible(
      Effect.suspend(() => {
        this.#result = Exit.void
        return soon
      })
    )
  }

  /** The caller was interrupted by what follows the handler, or before its fiber came to that: it is done all the same. */
  #rest(): Effect.Effect<void> {
    return Effect.ignore(
      this.#result ??
        Effect.callback((resume) => {
          this.#resume = resume
        })
    )
  }

  #interrupt(): Effect.Effect<void> {
    this.cancel()
    // Its finalizers have run when it has ended.
    const ended = Effect.callback<void>((resume) => {
      this.#resume = () => resume(Exit.void)
      if (this.#exit === undefined) this.#watch()
      else resume(Exit.void)
    })
    return Effect.flatMap(ended, () =>
      this.#exit !== undefined && Exit.isFailure(this.#exit)
        ? reportDefects(this.#call, this.#tool, this.#exit.cause)
        : Exit.void
    )
  }

  #watch(): void {
    if (this.#watched) return
    this.#watched = true
    this.#going.whenEnded(this)
  }
}

const endOf = (exit: Exit.Exit<unknown, unknown>): HandlerEnd =>
  Exit.isSuccess(exit) ? { _tag: "Value", value: exit.value } : { _tag: "Cause", cause: exit.cause }

/** A handler that was stopped has no outcome, but what died while it ended is for operators to know. */
export const reportDefects = (
  call: Call,
  tool: CompiledTool,
  cause: Cause.Cause<unknown>
): Effect.Effect<void> => (Cause.hasDies(cause) ? reportCause(call, tool, cause) : Exit.void)

/** Where the handler runs: where it was built, then where it is called, then what this call says. */
const handlerContext = (call: Call, tool: CompiledTool, current: Attempt): Context.Context<never> => {
  const { fiber, span } = call.running
  // A caller's context is the same for many calls, and putting two together costs as much as the rest of an attempt.
  let services = tool.contexts.get(fiber.context)
  if (services === undefined) {
    services = Context.merge(tool.context, fiber.context as Context.Context<never>)
    tool.contexts.set(fiber.context, services)
  }
  const own: Context.Context<never> = Context.add(services, CurrentCall, current)
  return span === undefined ? own : (Context.add(own, Tracer.ParentSpan, span) as Context.Context<never>)
}
