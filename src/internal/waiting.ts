/**
 * How a call waits: never past its deadline, never when it is killed, and never
 * so that what it takes or must write is lost.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { Reason } from "../ToolError.ts"
import type { Call } from "./call.ts"
import { isDone, isExit } from "./exits.ts"
import type { Kernel } from "./kernel.ts"

/** Waits: for no longer than the deadline allows, and not when the call is killed meanwhile. */
export const waiting = <A, E>(call: Call, wait: Effect.Effect<A, E>): Effect.Effect<A, E | Reason> =>
  isExit(wait) ? wait : waitingUntil(call, wait, call.deadline)

/** The same with another deadline than the call's own, or none. */
export const waitingUntil = <A, E>(
  call: Call,
  wait: Effect.Effect<A, E>,
  deadline: number | undefined
): Effect.Effect<A, E | Reason> => {
  call.waits()
  const { restore } = call.running
  const inTime =
    deadline === undefined
      ? wait
      : Effect.timeoutOrElse(wait, {
          duration: Duration.millis(Math.max(0, deadline - call.now())),
          orElse: () => Exit.fail(call.pastDeadline())
        })
  return restore(Effect.raceFirst(inTime, killed(call)))
}

/**
 * Takes something from a store, for no longer than the call may wait. What is taken too late, or while the call is
 * interrupted, is given back: the store is asked by a fiber that nobody interrupts.
 */
export const taking = <A>(
  call: Call,
  take: Effect.Effect<A, Reason>,
  giveBack: GiveBack<A>
): Effect.Effect<A, Reason> => (isExit(take) ? take : takingLater(call, take, giveBack))

type GiveBack<A> = (taken: A, now: number, kernel: Kernel) => Effect.Effect<void, Reason>

const takingLater = <A>(
  call: Call,
  take: Effect.Effect<A, Reason>,
  giveBack: GiveBack<A>
): Effect.Effect<A, Reason> =>
  Effect.suspend(() => {
    call.waits()
    // By then the call has ended, and holds nothing any more.
    const { clock, fiber: caller, kernel } = call.running
    const fork = Effect.runForkWith(caller.context)
    const fiber = fork(take)
    const tooLate = () =>
      fiber.addObserver((exit) => {
        if (Exit.isFailure(exit)) return
        const given = giveBack(exit.value, clock.currentTimeMillisUnsafe(), kernel)
        fork(Effect.catchCause(given, ErrorReporter.report))
      })
    return Effect.onError(waiting(call, Fiber.join(fiber)), () => Effect.sync(tooLate))
  })

/**
 * Writes what must be written at the end of a call, whatever happens. A store that does not answer within 10 seconds is
 * left to end by itself: operators hear of it, and the call has ended all the same.
 */
export const closing = (call: Call, write: Effect.Effect<void, Reason>): Effect.Effect<void> =>
  isDone(write) ? Exit.void : closingLater(call, write)

const closingLater = (call: Call, write: Effect.Effect<void, Reason>): Effect.Effect<void> => {
  call.waits()
  const { clock, fiber } = call.running
  const fork = Effect.runForkWith(fiber.context)
  return Effect.callback((resume) => {
    const writing = fork(Effect.catchCause(write, ErrorReporter.report))
    const timer = fork(
      Effect.map(clock.sleep(Duration.millis(longestClosing)), () =>
        resume(ErrorReporter.report(Cause.die(new Error("A store did not answer at the end of a call"))))
      )
    )
    writing.addObserver(() => {
      timer.interruptUnsafe()
      resume(Exit.void)
    })
  })
}

const longestClosing = 10_000

const killed = (call: Call): Effect.Effect<never, Reason> =>
  Effect.callback((resume) => {
    const { running } = call
    running.stoppable = { stop: (reason) => resume(Exit.fail(reason)) }
    if (running.killed !== undefined) resume(Exit.fail(running.killed))
    return Effect.sync(() => {
      running.stoppable = undefined
    })
  })
