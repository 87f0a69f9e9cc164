/** The stops that this process obeys, and what they do to its calls. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as FiberHandle from "effect/FiberHandle"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Because, Change, Killed, Stop } from "../../KillSwitch.ts"
import * as Sliding from "../sliding.ts"
import { Calls } from "./calls.ts"
import { isInForce, Stops } from "./stops.ts"

export interface Local {
  readonly stops: Stops
  readonly calls: Calls
  readonly changes: Stream.Stream<Change>
  /** Puts a stop in force and interrupts what it meets when it is called; what is left to do is returned. */
  readonly begin: (stop: Stop, now: number) => Effect.Effect<void>
  /** `false` where there is none of this id. */
  readonly lift: (id: string, lifted: Because) => boolean
  /** Removes what is no longer in force. */
  readonly expire: (now: number) => void
}

export const killed = ({ target, until, why }: Stop): Killed => ({
  _tag: "Killed",
  scope: target.scope,
  why,
  ...(until === undefined ? undefined : { until })
})

export const make: Effect.Effect<Local, never, Scope.Scope> = Effect.gen(function* () {
  const changes = yield* Sliding.make<Change>(1024)
  const timer = yield* FiberHandle.make()
  const stops = new Stops()
  const calls = new Calls()

  const publish = (_tag: Change["_tag"], stop: Stop, { by, why }: Because = stop) =>
    Sliding.publish(changes, { _tag, stop, by, why })

  const expire = (now: number): void => {
    for (const stop of stops.expire(now)) publish("Expired", stop)
  }

  /** Notices what expires while nobody asks. */
  const watch = Effect.whileLoop({
    while: () => stops.nextExpiry < Number.POSITIVE_INFINITY,
    body: () =>
      Effect.clockWith((clock) =>
        Effect.andThen(
          Effect.sleep(Math.max(0, stops.nextExpiry - clock.currentTimeMillisUnsafe())),
          Effect.sync(() => expire(clock.currentTimeMillisUnsafe()))
        )
      ),
    step: () => {}
  })

  return {
    stops,
    calls,
    expire,
    changes: Sliding.stream(changes),
    begin: (stop, now) => {
      const nextExpiry = stops.nextExpiry
      if (!isInForce(stop, now) || !stops.add(stop)) return Effect.void
      publish("Stopped", stop)
      const thrown = stop.inFlight === "interrupt" ? calls.interrupt(stop.target, killed(stop)) : []
      const report = Effect.forEach(thrown, (error) => ErrorReporter.report(Cause.die(error)), {
        discard: true
      })
      const rest = thrown.length === 0 ? Effect.void : Effect.ignoreCause(report)
      return stops.nextExpiry < nextExpiry ? Effect.andThen(FiberHandle.run(timer, watch), rest) : rest
    },
    lift: (id, lifted) => {
      const stop = stops.remove(id)
      if (stop === undefined) return false
      publish("Lifted", stop, lifted)
      return true
    }
  }
})
