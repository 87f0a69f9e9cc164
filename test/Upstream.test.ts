/** When a server is started, left alone and ended: on the test's clock, with connections that only the test makes and breaks. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker } from "effect-interlock"
import { UpstreamError } from "../src/mcp/gateway/errors.ts"
import type { Session } from "../src/mcp/gateway/session.ts"
import * as Upstream from "../src/mcp/Upstream.ts"

/** A server of which the test says what it does. */
const make = (options: Partial<Pick<Upstream.Options, "startTimeout" | "stopWhenIdle" | "refresh">> = {}) =>
  Effect.gen(function* () {
    const server = {
      /** How the next starts end; well by default. */
      starts: [] as Array<Effect.Effect<void, UpstreamError>>,
      opened: 0,
      closed: 0,
      refreshed: [] as Array<ReadonlyArray<string>>,
      states: 0,
      hooks: undefined as Parameters<Upstream.Options["open"]>[0] | undefined
    }
    const session = { protocol: "2025-11-25", ending: () => "it has ended" } as Session
    const upstream = yield* Upstream.make({
      name: "one",
      open: (hooks) =>
        Effect.gen(function* () {
          server.opened++
          yield* Effect.addFinalizer(() => Effect.sync(() => server.closed++))
          yield* server.starts.shift() ?? Effect.void
          server.hooks = hooks
          return session
        }),
      refresh: (_, lists) => Effect.sync(() => void server.refreshed.push([...lists])),
      startTimeout: Duration.seconds(60),
      stopWhenIdle: undefined,
      onState: () => {
        server.states++
      },
      ...options
    })
    return { server, upstream, use: upstream.use(() => Effect.succeed("answer")) }
  })

const broken = new UpstreamError({ reason: "start", server: "one", detail: "it exited with code 1" })
const lost = (code: string) => new UpstreamError({ reason: "lost", server: "one", detail: "gone", code })

const test =
  <A, E>(body: Effect.Effect<A, E, CircuitBreaker.CircuitBreaker | Scope.Scope>) =>
  () =>
    Effect.scoped(Effect.provide(body, CircuitBreaker.layerMemory())) as Effect.Effect<A, E>

describe("a server", () => {
  it.effect(
    "is started by who first needs it, once for all who do",
    test(
      Effect.gen(function* () {
        const { server, upstream, use } = yield* make()
        assert.strictEqual((yield* upstream.health).state, "idle")
        assert.strictEqual(server.opened, 0)
        const gate = yield* Deferred.make<void>()
        server.starts.push(Deferred.await(gate))
        const users = yield* Effect.forEach([1, 2, 3], () =>
          Effect.forkChild(use, { startImmediately: true })
        )
        assert.strictEqual((yield* upstream.health).state, "starting")
        yield* Deferred.succeed(gate, undefined)
        for (const user of users) assert.strictEqual(yield* Fiber.join(user), "answer")
        assert.strictEqual(server.opened, 1)
        assert.deepEqual(server.refreshed, [["tools", "prompts", "resources"]])
        assert.deepInclude(yield* upstream.health, { state: "ready", restarts: 0, protocol: "2025-11-25" })
      })
    )
  )

  it.effect(
    "goes on starting when who waits for it gives up",
    test(
      Effect.gen(function* () {
        const { server, upstream, use } = yield* make()
        const gate = yield* Deferred.make<void>()
        server.starts.push(Deferred.await(gate))
        const user = yield* Effect.forkChild(use, { startImmediately: true })
        yield* Fiber.interrupt(user)
        assert.strictEqual((yield* upstream.health).state, "starting")
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual(yield* use, "answer")
        assert.strictEqual(server.opened, 1)
      })
    )
  )

  it.effect(
    "that takes too long to start has failed, and holds nothing",
    test(
      Effect.gen(function* () {
        const { server, upstream, use } = yield* make({ startTimeout: Duration.seconds(5) })
        server.starts.push(Effect.never)
        const user = yield* Effect.forkChild(Effect.flip(use), { startImmediately: true })
        yield* TestClock.adjust("5 seconds")
        const error = yield* Fiber.join(user)
        assert.deepInclude(error, { reason: "start", detail: "it was not ready within 5s" })
        yield* TestClock.adjust(0)
        assert.strictEqual(server.closed, 1)
        assert.strictEqual((yield* upstream.health).state, "failed")
      })
    )
  )

  it.effect(
    "that fails is tried again at once, then after delays that grow, and who comes between is told when",
    test(
      Effect.gen(function* () {
        const { server, use } = yield* make()
        const delays: Array<number> = []
        server.starts.push(...Array.from({ length: 4 }, () => Effect.fail(broken)))
        assert.strictEqual((yield* Effect.flip(use)).reason, "start")
        for (let round = 0; round < 3; round++) {
          assert.strictEqual((yield* Effect.flip(use)).reason, "start", `round ${round}`)
          const opened = server.opened
          const refused = yield* Effect.flip(use)
          assert.deepInclude(refused, { reason: "unavailable", detail: "it exited with code 1" })
          assert.strictEqual(server.opened, opened)
          const retryAfter = Duration.toMillis(refused.retryAfter ?? Duration.zero)
          delays.push(retryAfter)
          yield* TestClock.adjust(Duration.millis(retryAfter - 1))
          assert.strictEqual((yield* Effect.flip(use)).reason, "unavailable")
          yield* TestClock.adjust(Duration.millis(1))
        }
        // Half of each is chance: 250, 500 and 1000 ms.
        for (const [index, delay] of delays.entries()) {
          assert.isAtLeast(delay, 125 * 2 ** index)
          assert.isAtMost(delay, 375 * 2 ** index)
        }
        assert.strictEqual(yield* use, "answer")
      })
    )
  )

  it.effect(
    "that fails five times has an open circuit, which an operator can close, and a start does",
    test(
      Effect.gen(function* () {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        const { server, upstream, use } = yield* make()
        server.starts.push(...Array.from({ length: 6 }, () => Effect.fail(broken)))
        for (let failure = 0; failure < 5; failure++) {
          yield* Effect.flip(use)
          yield* TestClock.adjust("30 seconds")
        }
        assert.strictEqual((yield* breaker.state("gateway/one")).tag, "Open")
        const opened = server.opened
        const refused = yield* Effect.flip(use)
        assert.strictEqual(refused.reason, "unavailable")
        assert.strictEqual(server.opened, opened)
        yield* breaker.reset("gateway/one")
        assert.strictEqual((yield* Effect.flip(use)).reason, "start")
        assert.strictEqual(server.opened, opened + 1)
        yield* upstream.start
        assert.strictEqual((yield* breaker.state("gateway/one")).tag, "Closed")
        assert.strictEqual(yield* use, "answer")
      })
    )
  )

  it.effect(
    "that an operator has forced off is not started",
    test(
      Effect.gen(function* () {
        const breaker = yield* CircuitBreaker.CircuitBreaker
        const { server, use } = yield* make()
        yield* breaker.forceOpen("gateway/one", "maintenance")
        assert.include((yield* Effect.flip(use)).detail, "maintenance")
        assert.strictEqual(server.opened, 0)
      })
    )
  )

  it.effect(
    "whose connection is lost starts again for the next call, at once when it was well",
    test(
      Effect.gen(function* () {
        const { server, upstream, use } = yield* make()
        yield* use
        server.hooks?.onEnded()
        yield* TestClock.adjust(0)
        assert.deepInclude(yield* upstream.health, { state: "failed" })
        assert.strictEqual(server.closed, 1)
        assert.strictEqual(yield* use, "answer")
        assert.deepInclude(yield* upstream.health, { state: "ready", restarts: 1, lastError: undefined })
      })
    )
  )

  it.effect(
    "that starts well and dies with every call is left alone for longer and longer",
    test(
      Effect.gen(function* () {
        const { server, upstream } = yield* make()
        const die = Effect.flip(upstream.use(() => Effect.fail(lost("ECONNRESET"))))
        assert.strictEqual((yield* die).reason, "lost")
        assert.strictEqual((yield* die).reason, "lost")
        const first = yield* die
        assert.strictEqual(first.reason, "unavailable")
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* die).reason, "lost")
        const second = yield* die
        assert.strictEqual(second.reason, "unavailable")
        assert.strictEqual(server.opened, 3)
      })
    )
  )

  it.effect(
    "is asked once more over a new connection for what it has not looked at",
    test(
      Effect.gen(function* () {
        const { server, upstream } = yield* make()
        let calls = 0
        const call = upstream.use(() =>
          Effect.suspend(() => (calls++ === 0 ? Effect.fail(lost("ECONNREFUSED")) : Effect.succeed("second")))
        )
        assert.strictEqual(yield* call, "second")
        assert.strictEqual(server.opened, 2)
        calls = -1000
        const always = upstream.use(() => Effect.fail(lost("ECONNREFUSED")))
        assert.strictEqual((yield* Effect.flip(always)).reason, "lost")
      })
    )
  )

  it.effect(
    "keeps its connection when only an answer was lost, and closes one that is of no use when its last call has ended",
    test(
      Effect.gen(function* () {
        const { server, upstream, use } = yield* make()
        yield* Effect.flip(upstream.use(() => Effect.fail(lost("ERR_STREAM_PREMATURE_CLOSE"))))
        yield* use
        assert.strictEqual(server.opened, 1)

        const gate = yield* Deferred.make<void>()
        const long = yield* Effect.forkChild(
          upstream.use(() => Effect.as(Deferred.await(gate), "long")),
          { startImmediately: true }
        )
        yield* Effect.flip(upstream.use(() => Effect.fail(lost("ECONNRESET"))))
        assert.strictEqual(server.closed, 0)
        assert.strictEqual(yield* use, "answer")
        assert.strictEqual(server.opened, 2)
        // Another one of its calls that is lost leaves nothing behind either.
        const second = yield* Deferred.make<void>()
        const alsoLost = yield* Effect.forkChild(
          Effect.flip(
            upstream.use(() => Effect.andThen(Deferred.await(second), Effect.fail(lost("ECONNRESET"))))
          ),
          { startImmediately: true }
        )
        yield* Effect.flip(upstream.use(() => Effect.fail(lost("ECONNRESET"))))
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual(yield* Fiber.join(long), "long")
        assert.strictEqual(server.closed, 1)
        yield* Deferred.succeed(second, undefined)
        yield* Fiber.join(alsoLost)
        assert.strictEqual(server.closed, 2)
      })
    )
  )

  it.effect(
    "that nobody has used for long enough is ended, and not while somebody does",
    test(
      Effect.gen(function* () {
        const { server, upstream, use } = yield* make({ stopWhenIdle: Duration.minutes(1) })
        yield* use
        yield* TestClock.adjust("50 seconds")
        yield* use
        yield* TestClock.adjust("50 seconds")
        assert.strictEqual(server.closed, 0)
        const gate = yield* Deferred.make<void>()
        const long = yield* Effect.forkChild(
          upstream.use(() => Deferred.await(gate)),
          { startImmediately: true }
        )
        yield* TestClock.adjust("10 minutes")
        assert.strictEqual(server.closed, 0)
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(long)
        yield* TestClock.adjust("2 minutes")
        assert.strictEqual(server.closed, 1)
        assert.deepInclude(yield* upstream.health, { state: "idle", lastError: undefined })
        assert.strictEqual(yield* use, "answer")
        assert.strictEqual(server.opened, 2)
      })
    )
  )

  it.effect(
    "that somebody has stopped stays so until it is started, also where it was starting",
    test(
      Effect.gen(function* () {
        const { server, upstream, use } = yield* make()
        server.starts.push(Effect.never)
        const user = yield* Effect.forkChild(Effect.flip(use), { startImmediately: true })
        yield* upstream.stop
        assert.strictEqual((yield* Fiber.join(user)).reason, "stopped")
        assert.strictEqual(server.closed, 1)
        assert.strictEqual((yield* Effect.flip(use)).reason, "stopped")
        assert.strictEqual((yield* upstream.health).state, "stopped")
        yield* upstream.start
        assert.strictEqual(yield* use, "answer")
        yield* upstream.stop
        assert.strictEqual(server.closed, 2)
      })
    )
  )

  it.effect(
    "is looked at again when its lists change, once for many changes",
    test(
      Effect.gen(function* () {
        const { server, use } = yield* make()
        yield* use
        server.refreshed.length = 0
        for (let change = 0; change < 100; change++) server.hooks?.onChanged("tools")
        server.hooks?.onChanged("prompts")
        yield* TestClock.adjust(0)
        assert.deepEqual(server.refreshed, [["tools", "prompts"]])
        for (let change = 0; change < 100; change++) server.hooks?.onChanged("tools")
        yield* TestClock.adjust("100 millis")
        assert.lengthOf(server.refreshed, 1)
        yield* TestClock.adjust("150 millis")
        assert.deepEqual(server.refreshed, [["tools", "prompts"], ["tools"]])
        // One that changes all the time is looked at less and less.
        for (let second = 0; second < 120; second++) {
          server.hooks?.onChanged("tools")
          yield* TestClock.adjust("1 second")
        }
        assert.isAtMost(server.refreshed.length, 12)
      })
    )
  )

  it.effect(
    "ends with its scope, whatever it does",
    test(
      Effect.gen(function* () {
        const ended = Effect.fnUntraced(function* (
          body: (
            made: Effect.Success<ReturnType<typeof make>>
          ) => Effect.Effect<unknown, unknown, Scope.Scope>
        ) {
          const scope = yield* Scope.make()
          const made = yield* Effect.provideService(make(), Scope.Scope, scope)
          yield* Effect.exit(body(made))
          yield* Scope.close(scope, Exit.void)
          assert.strictEqual(made.server.closed, made.server.opened)
          assert.isAbove(made.server.opened, 0)
        })
        yield* ended(({ use }) => use)
        yield* ended(({ server, use }) => {
          server.starts.push(Effect.never)
          return Effect.forkScoped(Effect.exit(use), { startImmediately: true })
        })
        yield* ended(({ server, use }) => {
          server.starts.push(Effect.fail(broken))
          return use
        })
      })
    )
  )
})
