/**
 * A process of its own that shares circuits with others: `call <outcome>` makes one call, `probe` asks 200 times at once
 * and keeps what it is given, `die` takes a probe and is killed, `watch` says what it sees until it is told to end.
 * Prints JSON.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { CircuitBreaker, type Outcome } from "../../src/CircuitBreaker.ts"
import * as SqlCircuitBreaker from "../../src/sql/SqlCircuitBreaker.ts"
import * as Sqlite from "../../src/sql/Sqlite.ts"

const [mode = "", filename = "", outcome = "failure"] = process.argv.slice(2)

const ask = Effect.gen(function* () {
  const breaker = yield* CircuitBreaker
  return yield* breaker.admit("k", yield* Clock.currentTimeMillis)
})

const call = Effect.gen(function* () {
  const breaker = yield* CircuitBreaker
  const answer = yield* ask
  if ("_tag" in answer) return { refused: answer.why }
  yield* breaker.report(answer, outcome as Outcome, yield* Clock.currentTimeMillis, { code: "TIMED_OUT" })
  return { ran: answer.probe ? "as a probe" : "as a call" }
})

const probe = Effect.map(
  Effect.forEach(
    Array.from({ length: 200 }, () => 0),
    () => ask,
    { concurrency: "unbounded" }
  ),
  (answers) => ({ probes: answers.filter((answer) => !("_tag" in answer)).length })
)

const die = Effect.andThen(
  ask,
  Effect.sync(() => process.kill(process.pid, "SIGKILL"))
)

const watch = Effect.gen(function* () {
  const breaker = yield* CircuitBreaker
  yield* breaker.transitions.pipe(
    Stream.runForEach((transition) => Effect.sync(() => console.log(JSON.stringify(transition)))),
    Effect.forkScoped({ startImmediately: true })
  )
  console.log(JSON.stringify((yield* breaker.state("k")).tag))
  yield* Effect.callback<void>((resume) => {
    process.stdin.once("data", () => resume(Effect.void))
  })
})

const modes: Readonly<Record<string, Effect.Effect<unknown, unknown, CircuitBreaker>>> = {
  call,
  probe,
  die,
  watch: Effect.scoped(watch)
}

const answer = await Effect.runPromise(
  Effect.provide(
    modes[mode] ?? Effect.die(mode),
    SqlCircuitBreaker.layer({ openFor: "50 millis", poll: "20 millis", writeTimeout: "30 seconds" }).pipe(
      Layer.provide(Sqlite.layer({ filename, synchronous: "NORMAL", busyTimeout: "30 seconds" }))
    )
  )
)
if (answer !== undefined) console.log(JSON.stringify(answer))
process.stdin.destroy()
