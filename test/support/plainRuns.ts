/**
 * Runs scenarios through the plain composition and through the pipeline, each
 * in a `TestClock` of its own and step by step, so that both see every moment
 * come to rest before the next one.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { CurrentCall, Principal } from "effect-interlock"
import type { Left, Logged, World } from "./plainHandlers.ts"
import { type Open, openPipeline, openPlain } from "./plainSystems.ts"
import { type Call, principals, type Scenario, type Series } from "./scenarios.ts"

/** Everything that there is to see of one scenario. */
export interface Trace {
  /** What each caller was given, and when: when it called, and when it called again. */
  readonly ends: ReadonlyArray<object>
  /** What was left behind, by the call's id, in the order in which calls ended. */
  readonly records: ReadonlyArray<readonly [string, Left]>
  /** What handlers did, and when. */
  readonly log: ReadonlyArray<Logged>
  /** Circuits, health, money and slots before each call begins and at the end. */
  readonly looks: ReadonlyArray<unknown>
}

/** Between two scenarios of a series: longer than any call lasts. */
const aWhile = 3_600_000

// --- Time --------------------------------------------------------------------

/** Runs tasks when it is told to, until nothing more can happen without time. */
class Turns {
  readonly #tasks: Array<() => void> = []
  readonly scheduler: Scheduler.Scheduler = new Scheduler.MixedScheduler("async", (task) => {
    this.#tasks.push(task)
    return () => {}
  })

  /** Promises of handlers that have not settled. */
  promises = 0

  async settle(): Promise<void> {
    for (;;) {
      // As in an event loop, what promises set off comes before the next tasks; theirs are short chains.
      for (let turn = 0; turn < 10; turn++) await undefined
      // Who lets go of a promise may do so by the event loop itself.
      if (this.promises > 0) await new Promise(setImmediate)
      if (this.#tasks.length === 0) return
      for (const task of this.#tasks.splice(0)) task()
    }
  }
}

/** A test clock that says until when someone sleeps, and where two things happened in one millisecond. */
class Watch {
  readonly #sleeps = new Set<{ readonly end: number }>()
  readonly #happened = new Map<number, number>()
  readonly clock: TestClock.TestClock

  constructor(clock: TestClock.TestClock) {
    this.clock = {
      ...clock,
      sleep: (duration) =>
        Effect.suspend(() => {
          const sleep = { end: clock.currentTimeMillisUnsafe() + Duration.toMillis(duration) }
          if (sleep.end <= clock.currentTimeMillisUnsafe()) return Effect.void
          this.#sleeps.add(sleep)
          return Effect.onExit(clock.sleep(duration), () =>
            Effect.sync(() => {
              this.#sleeps.delete(sleep)
              if (clock.currentTimeMillisUnsafe() >= sleep.end) this.happens(sleep.end)
            })
          )
        })
    }
  }

  get next(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...Array.from(this.#sleeps, ({ end }) => end))
  }

  happens(at: number): void {
    this.#happened.set(at, (this.#happened.get(at) ?? 0) + 1)
  }

  /** The first moment in which more than one thing happened, so that their order is nobody's promise. */
  get firstTie(): number {
    return Math.min(
      Number.POSITIVE_INFINITY,
      ...Array.from(this.#happened, ([at, times]) => (times > 1 ? at : Number.POSITIVE_INFINITY))
    )
  }
}

// --- Running -----------------------------------------------------------------

interface Event {
  readonly at: number
  readonly happens: "starts" | "interrupted" | "decided" | "again" | "once more" | "ends"
  readonly index: number
}

/** What happens from outside in a scenario that begins at a time; the last event is its end. */
const eventsOf = (calls: Scenario, from: number): ReadonlyArray<Event> => {
  const events: Array<Event> = []
  let at = from
  calls.forEach(({ again, gap, interruptedAfter }, index) => {
    at += gap
    events.push({ at, happens: "starts", index })
    if (interruptedAfter !== undefined) {
      events.push({ at: at + interruptedAfter, happens: "interrupted", index })
    }
    if (again !== undefined) {
      events.push({ at: at + again.decided, happens: "decided", index })
      events.push({ at: at + again.made, happens: "again", index })
      if (again.once !== undefined) events.push({ at: at + again.once, happens: "once more", index })
    }
  })
  events.sort((a, b) => a.at - b.at || a.index - b.index)
  return [...events, { at: at + aWhile, happens: "ends", index: 0 }]
}

interface Ran {
  readonly traces: ReadonlyArray<Trace>
  /** How many of them nothing happened in whose order is nobody's promise. */
  readonly untied: number
}

const run = async (open: Open, { scenarios, setting }: Series, upTo: "first tie" | "end"): Promise<Ran> => {
  // Thrown errors are part of the game, and their stacks cost more than the calls.
  Error.stackTraceLimit = 0
  const turns = new Turns()
  const scope = Scope.makeUnsafe()
  const outer = Context.make(Scheduler.Scheduler, turns.scheduler)
  const now = async <A>(context: Context.Context<never>, effect: Effect.Effect<A>): Promise<A> => {
    const fiber = Effect.runForkWith(context)(effect)
    await turns.settle()
    const exit = fiber.pollUnsafe()
    if (exit === undefined) throw new Error("The test waits for itself")
    if (Exit.isFailure(exit)) throw Cause.squash(exit.cause)
    return exit.value
  }

  const testClock = await now(outer, Effect.provideService(TestClock.make(), Scope.Scope, scope))
  const watch = new Watch(testClock)
  const { clock } = watch
  const context = outer.pipe(
    Context.add(Scope.Scope, scope),
    Context.add(Clock.Clock, clock as Clock.Clock),
    Context.add(Random.Random, { nextDoubleUnsafe: () => setting.chance, nextIntUnsafe: () => 1 })
  ) as Context.Context<never>
  const advanceTo = async (at: number): Promise<void> => {
    for (;;) {
      const next = Math.min(at, watch.next)
      await now(outer, testClock.setTime(next))
      if (next === at) return
    }
  }

  const calls = scenarios.flat()
  let log: Array<Logged> = []
  let records: Array<readonly [string, Left]> = []
  const world: World = {
    now: () => clock.currentTimeMillisUnsafe(),
    log: (entry) => log.push(entry),
    record: (id, record) => void records.push([id, record]),
    spend: (amount) => Effect.flatMap(CurrentCall, (call) => Effect.sync(() => call?.spend(amount))),
    stepOf: (id, attempt) => {
      const { steps } = calls[Number(id.slice(5))] as Call
      return steps[Math.min(attempt, steps.length) - 1] as (typeof steps)[number]
    },
    sleep: (millis, signal) => {
      turns.promises++
      return new Promise<void>((resolve, reject) => {
        const fiber = Effect.runForkWith(context)(Effect.sleep(millis))
        fiber.addObserver((exit) => (Exit.isSuccess(exit) ? resolve() : reject(new Error("aborted"))))
        if (signal?.aborted) fiber.interruptUnsafe()
        else signal?.addEventListener("abort", () => fiber.interruptUnsafe())
      }).finally(() => {
        turns.promises--
      })
    }
  }
  const system = await now(context, open(setting, world) as Effect.Effect<Effect.Success<ReturnType<Open>>>)

  const traces: Array<Trace> = []
  const until: Array<number> = []
  let id = 0
  for (const scenario of scenarios) {
    if (upTo === "first tie" && watch.firstTie < Number.POSITIVE_INFINITY) break
    log = []
    records = []
    const first = id
    const looks: Array<unknown> = []
    const ends: Array<Partial<Record<Event["happens"], unknown>>> = scenario.map(() => ({}))
    const fibers: Array<Fiber.Fiber<unknown>> = []
    for (const { at, happens, index } of eventsOf(scenario, clock.currentTimeMillisUnsafe())) {
      if (at > clock.currentTimeMillisUnsafe()) watch.happens(at)
      await advanceTo(at)
      if (happens === "starts" || happens === "ends") looks.push({ at, ...(await now(context, system.look)) })
      if (happens === "ends") break
      const call = scenario[index] as Call
      const callId = `call-${first + index}`
      const principal = principals[call.principal] as Principal.Principal
      const fork = Effect.runForkWith(Context.add(context, Principal.CurrentPrincipal, principal))
      if (happens === "interrupted") {
        fibers[index]?.interruptUnsafe()
      } else if (happens === "decided") {
        const { says } = call.again as NonNullable<Call["again"]>
        if (says !== "nothing") fork(system.decide(callId, says))
      } else {
        const fiber = fork(happens === "again" ? system.resume(call, callId) : system.call(call, callId))
        fiber.addObserver((exit) => {
          const at = clock.currentTimeMillisUnsafe()
          const end = ends[index] as (typeof ends)[number]
          end[happens] = Exit.isSuccess(exit)
            ? { at, ...(exit.value as object) }
            : { at, cause: Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : Cause.pretty(exit.cause) }
        })
        if (happens === "starts") fibers[index] = fiber
      }
      await turns.settle()
    }
    id += scenario.length
    // Of what happens in one moment nobody promises the order.
    records.sort(
      ([id, a], [otherId, b]) =>
        a.completedAt - b.completedAt || id.localeCompare(otherId) || a.queuedAt - b.queuedAt
    )
    log.sort((a, b) => a.at - b.at || a.call.localeCompare(b.call))
    traces.push({ ends, records, log, looks })
    until.push(clock.currentTimeMillisUnsafe())
  }
  await now(outer, Scope.close(scope, Exit.void))
  const { firstTie } = watch
  return { traces, untied: until.filter((end) => end < firstTie).length }
}

/**
 * What both systems make of the scenarios: of those before the first in which two things happen in one millisecond
 * whose order nobody promises, such as that a handler ends and that its time is over.
 */
export const bothOf = async (
  series: Series
): Promise<{ readonly plain: ReadonlyArray<Trace>; readonly pipeline: ReadonlyArray<Trace> }> => {
  const plain = await run(openPlain, series, "first tie")
  const pipeline = await run(
    openPipeline,
    { ...series, scenarios: series.scenarios.slice(0, plain.untied) },
    "end"
  )
  return { plain: plain.traces.slice(0, plain.untied), pipeline: pipeline.traces }
}
