/**
 * A world that runs one scheduled task at a time, so that a test can interrupt
 * between any two of them: a scheduler whose queue the test drains, and a clock
 * that stands still until nothing else can go on.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Scheduler from "effect/Scheduler"

interface Sleeper {
  readonly until: number
  readonly wake: () => void
}

export class Stepper {
  /** Where effects of this world run. */
  readonly context: Context.Context<never>
  readonly #tasks: Array<() => void> = []
  readonly #sleepers: Array<Sleeper> = []
  #now = 0
  #fibers = 0
  #quiet = false

  /** Fibers yield after `maxOps` steps: 3 is as fine as it gets, with fewer they never come to an end. */
  constructor(maxOps: number) {
    const dispatcher: Scheduler.SchedulerDispatcher = {
      scheduleTask: (task) => this.#tasks.push(task),
      flush: () => {
        while (this.#tasks.length > 0) this.#tasks.shift()?.()
      }
    }
    const scheduler: Scheduler.Scheduler = {
      executionMode: "async",
      shouldYield: (fiber) => fiber.currentOpCount >= fiber.cache.maxOpsBeforeYield,
      makeDispatcher: () => dispatcher
    }
    const now = () => this.#now
    const nanos = () => BigInt(Math.round(this.#now * 1_000_000))
    const clock: Clock.Clock = {
      currentTimeMillisUnsafe: now,
      currentTimeMillis: Effect.sync(now),
      currentTimeNanosUnsafe: nanos,
      currentTimeNanos: Effect.sync(nanos),
      monotonicTimeNanosUnsafe: nanos,
      monotonicTimeNanos: Effect.sync(nanos),
      sleep: (duration) =>
        Effect.callback((resume) => this.#sleep(Duration.toMillis(duration), () => resume(Effect.void)))
    }
    this.context = Context.make(Scheduler.Scheduler, scheduler).pipe(
      Context.add(Scheduler.MaxOpsBeforeYield, maxOps),
      Context.add(Metric.FiberRuntimeMetrics, {
        recordFiberStart: () => {
          this.#fibers++
        },
        recordFiberEnd: () => {
          this.#fibers--
        }
      }),
      Context.add(Clock.Clock, clock)
    ) as Context.Context<never>
  }

  get now(): number {
    return this.#now
  }

  /** Fibers that have not ended. */
  get fibers(): number {
    return this.#fibers
  }

  /** Fibers and promises that wait for time to pass. */
  get sleeping(): number {
    return this.#sleepers.length
  }

  /** A promise that resolves when so much time has passed, whatever its signal says. */
  wait(millis: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const wakeUp = this.#add(millis, resolve)
      signal?.addEventListener("abort", () => {
        wakeUp()
        reject(signal.reason)
      })
    })
  }

  /** Interrupts a fiber between two steps. */
  interrupt(fiber: Fiber.Fiber<unknown, unknown>): void {
    this.#quiet = false
    fiber.interruptUnsafe()
  }

  /** Starts an effect; it runs until it first yields. */
  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    this.#quiet = false
    return Effect.runForkWith(this.context)(effect)
  }

  /** Runs one task, or what promises have come to, or else wakes whoever sleeps least. False when there is nothing. */
  async step(): Promise<boolean> {
    return (await this.#stepWithoutTime()) || this.#wake()
  }

  /** Runs everything that can go on without time. */
  async settle(): Promise<void> {
    while (await this.#stepWithoutTime());
  }

  /** Runs everything until a point in time. */
  async advanceTo(time: number): Promise<void> {
    await this.settle()
    while ((this.#sleepers[0]?.until ?? Number.POSITIVE_INFINITY) <= time) {
      this.#wake()
      await this.settle()
    }
    this.#now = time
  }

  /** Runs everything there is to run. */
  async drain(): Promise<void> {
    for (let steps = 0; await this.step(); steps++) {
      if (steps > 100_000) throw new Error("The world never comes to rest")
    }
  }

  async #stepWithoutTime(): Promise<boolean> {
    const task = this.#tasks.shift()
    if (task !== undefined) {
      task()
      this.#quiet = false
      return true
    }
    if (this.#quiet) return false
    await new Promise((resolve) => setImmediate(resolve))
    this.#quiet = this.#tasks.length === 0
    return true
  }

  #wake(): boolean {
    const next = this.#sleepers.shift()
    if (next === undefined) return false
    this.#now = next.until
    this.#quiet = false
    next.wake()
    return true
  }

  #sleep(millis: number, wake: () => void): Effect.Effect<void> {
    const stop = this.#add(millis, wake)
    return Effect.sync(stop)
  }

  #add(millis: number, wake: () => void): () => void {
    const sleeper = { until: this.#now + millis, wake }
    const later = this.#sleepers.findIndex(({ until }) => until > sleeper.until)
    this.#sleepers.splice(later === -1 ? this.#sleepers.length : later, 0, sleeper)
    return () => {
      const index = this.#sleepers.indexOf(sleeper)
      if (index !== -1) this.#sleepers.splice(index, 1)
    }
  }
}
