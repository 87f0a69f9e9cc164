/**
 * The same governance as an application would compose it from Effect's own
 * combinators: what a governed call is compared with.
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import { Params, Success } from "./tools.ts"

class Refused extends Data.TaggedError("Refused")<{ readonly why: string }> {}
class HandlerFailed extends Data.TaggedError("HandlerFailed")<{ readonly cause: unknown }> {}

interface Stats {
  readonly ok: number
  readonly failed: number
  readonly time: number
  readonly recent: ReadonlyArray<number>
}

const window = Duration.toMillis("1 hour")
const limit = 1_000_000_000
const tripAfter = 5
const openFor = 60_000
const timeout = Duration.seconds(30)
const backoff = Schedule.jittered(Schedule.exponential("100 millis"))

/** Decode, permission, policy, rate limit, bulkhead, breaker, timeout, retry, encode, statistics. */
export const make = Effect.fnUntraced(function* (
  handler: (params: typeof Params.Type) => Effect.Effect<typeof Success.Type, HandlerFailed>
) {
  const granted = yield* Ref.make(new Set(["read_data"]))
  const denied = [/^delete_.*$/]
  const quota = yield* Ref.make({ startedAt: 0, used: 0 })
  const bulkhead = yield* Semaphore.make(1_000)
  const breaker = yield* Ref.make({ failures: 0, openedAt: Number.NEGATIVE_INFINITY })
  const stats = yield* Ref.make<Stats>({ ok: 0, failed: 0, time: 0, recent: [] })
  const decode = Schema.decodeUnknownEffect(Params, { errors: "all" })
  const encode = Schema.encodeEffect(Success)

  const permitted = (needs: ReadonlyArray<string>) =>
    Effect.flatMap(Ref.get(granted), (has) =>
      needs.every((capability) => has.has(capability)) ? Effect.void : new Refused({ why: "permission" })
    )
  const takeQuota = Effect.flatMap(Clock.currentTimeMillis, (now) =>
    Effect.flatMap(
      Ref.modify(quota, ({ startedAt, used }) =>
        now - startedAt >= window
          ? [true, { startedAt: now, used: 1 }]
          : used < limit
            ? [true, { startedAt, used: used + 1 }]
            : [false, { startedAt, used }]
      ),
      (taken) => (taken ? Effect.void : new Refused({ why: "rate limit" }))
    )
  )
  const admitted = Effect.flatMap(Clock.currentTimeMillis, (now) =>
    Effect.flatMap(Ref.get(breaker), ({ failures, openedAt }) =>
      failures >= tripAfter && now - openedAt < openFor
        ? Effect.fail(new Refused({ why: "circuit" }))
        : Effect.void
    )
  )
  const report = (exit: Exit.Exit<unknown, unknown>) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Ref.update(breaker, ({ failures, openedAt }) =>
        Exit.isSuccess(exit)
          ? { failures: 0, openedAt }
          : { failures: failures + 1, openedAt: failures + 1 === tripAfter ? now : openedAt }
      )
    )
  const note = (startedAt: number) => (exit: Exit.Exit<unknown, unknown>) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Ref.update(stats, ({ failed, ok, recent, time }) => ({
        ok: ok + (Exit.isSuccess(exit) ? 1 : 0),
        failed: failed + (Exit.isSuccess(exit) ? 0 : 1),
        time: time + now - startedAt,
        recent: [now, ...recent.slice(0, 99)]
      }))
    )

  const call = Effect.fnUntraced(function* (name: string, raw: unknown) {
    yield* permitted([])
    if (denied.some((glob) => glob.test(name))) return yield* new Refused({ why: "policy" })
    yield* takeQuota
    const params = yield* decode(raw)
    const timed = Effect.timeout(
      Effect.suspend(() => handler(params)),
      timeout
    )
    const attempt = Effect.onExit(timed, report)
    const retried = Effect.retry(Effect.andThen(admitted, attempt), {
      schedule: backoff,
      times: 3,
      while: (error) => error._tag === "HandlerFailed"
    })
    const value = yield* bulkhead.withPermit(retried)
    return yield* encode(value)
  })
  return {
    stats: Ref.get(stats),
    open: Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Ref.set(breaker, { failures: tripAfter, openedAt: now })
    ),
    call: (name: string, raw: unknown) =>
      Effect.flatMap(Clock.currentTimeMillis, (startedAt) => Effect.onExit(call(name, raw), note(startedAt)))
  }
})
