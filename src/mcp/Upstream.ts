/**
 * One server behind the gateway: started when it is first needed, left alone
 * for a while when it fails, and never in the way of another.
 *
 * - `idle`: nobody has needed it yet, or nobody has for a while.
 * - `starting`: it connects, and says what it has. Whoever needs it waits; one
 *   that gives up waiting does not stop it.
 * - `ready`: it answers.
 * - `failed`: it could not be started, or its connection was lost. Until its
 *   backoff is over, and while its circuit is open, whoever needs it is told so
 *   at once, and when to come again; the next one after that starts it again.
 * - `stopped`: somebody has stopped it; nothing but `start` starts it.
 *
 * Nothing restarts a server that nobody asks for. The delays grow until a call
 * was answered: a server that starts well and dies with every call is no better
 * than one that does not start. Its circuit is `gateway/<name>` in the
 * deployment's `CircuitBreaker`, where people can see and force it.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { CircuitBreaker } from "../CircuitBreaker.ts"
import * as Retry from "../Retry.ts"
import { UpstreamError } from "./gateway/errors.ts"
import type { Session } from "./gateway/session.ts"

export { UpstreamError } from "./gateway/errors.ts"

// --- Models ----------------------------------------------------------------

/** What a server has lists of that may change. */
export type Lists = "tools" | "prompts" | "resources"

/** How a server is. */
export interface Health {
  readonly state: "idle" | "starting" | "ready" | "failed" | "stopped"
  /** The protocol's version; only while it is ready. */
  readonly protocol: string | undefined
  /** How often it was started again. */
  readonly restarts: number
  readonly inFlight: number
  /** Why it failed last; `undefined` since a call was answered. */
  readonly lastError: string | undefined
  /** Milliseconds since the epoch before which it is not started again. */
  readonly retryAt: number | undefined
}

export interface Options {
  readonly name: string
  /** Connects; the connection is closed with the scope. */
  readonly open: (hooks: {
    readonly onChanged: (list: Lists) => void
    readonly onEnded: () => void
  }) => Effect.Effect<Session, UpstreamError, Scope.Scope>
  /** Looks at what the server has. Part of every start, and done again for a list that has changed. */
  readonly refresh: (session: Session, lists: ReadonlySet<Lists>) => Effect.Effect<void, UpstreamError>
  /** How long a start may take. */
  readonly startTimeout: Duration.Duration
  /** Ends the connection when it was not used for so long. */
  readonly stopWhenIdle: Duration.Duration | undefined
  /** Called after every change of state: must not throw. */
  readonly onState: () => void
}

/** One server. */
export interface Upstream {
  readonly health: Effect.Effect<Health>
  /** Starts it, whatever has happened before, and waits until it is ready. */
  readonly start: Effect.Effect<void, UpstreamError>
  /** Ends its connection, and keeps others from starting it. */
  readonly stop: Effect.Effect<void>
  /** Uses its connection, which is started where there is none. */
  readonly use: <A>(
    use: (session: Session) => Effect.Effect<A, UpstreamError>
  ) => Effect.Effect<A, UpstreamError>
}

/** A connection, for as long as anybody uses it. */
interface Live {
  readonly session: Session
  readonly scope: Scope.Closeable
  inFlight: number
  usedAt: number
  /** New calls go to another one; closed when the last of its own has ended. */
  detached: boolean
}

type State =
  | { readonly _tag: "Idle" }
  | {
      readonly _tag: "Starting"
      readonly ready: Deferred.Deferred<Live, UpstreamError>
      /** What starts it. */
      fiber: Fiber.Fiber<void> | undefined
    }
  | { readonly _tag: "Ready"; readonly live: Live }
  | { readonly _tag: "Stopped" }

const lists: ReadonlySet<Lists> = new Set(["tools", "prompts", "resources"])

/** Before a start after the first failure, the second, …; half of it is chance, so that not all come back together. */
const backoff = Retry.exponential({
  base: "250 millis",
  factor: 2,
  max: "30 seconds",
  jitter: { proportional: 0.5 }
})

/** Between two looks at lists that change all the time, longer and longer; milliseconds. */
const betweenLooks = { first: 250, longest: 30_000 }

// --- make ------------------------------------------------------------------

/** A server that is not started yet. Its connection ends with the scope. */
export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Upstream, never, Scope.Scope | CircuitBreaker> {
  const { name, onState, refresh, startTimeout, stopWhenIdle } = options
  const breaker = yield* CircuitBreaker
  const clock = yield* Clock.Clock
  const scope = yield* Effect.scope
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const circuit = `gateway/${name}`
  const newDelays = Schedule.toStep(backoff)
  let delays = yield* newDelays
  let state: State = { _tag: "Idle" }
  let started = 0
  let answered = true
  let failure: { readonly error: UpstreamError; readonly retryAt: number } | undefined

  const now = () => clock.currentTimeMillisUnsafe()
  const become = (next: State): void => {
    state = next
    onState()
  }
  const close = (live: Live): Effect.Effect<void> => Scope.close(live.scope, Exit.void)

  // --- Failing ---

  const failed = Effect.fnUntraced(function* (error: UpstreamError) {
    // One that was well is started again at once.
    const [, delay] = answered ? [undefined, Duration.zero] : yield* Effect.orDie(delays(now(), undefined))
    failure = { error, retryAt: now() + Duration.toMillis(delay) }
    answered = false
    const admission = yield* breaker.admit(circuit, now())
    if ("_tag" in admission) return
    yield* breaker.report(admission, "failure", now(), { code: error.reason.toUpperCase() })
  })

  /** Nothing new goes to this connection; what is under way may still be answered. */
  const detach = (live: Live): Effect.Effect<void> =>
    Effect.suspend(() => {
      live.detached = true
      return live.inFlight === 0 ? close(live) : Effect.void
    })

  const lost = (live: Live, error: UpstreamError): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (state._tag !== "Ready" || state.live !== live) return Effect.void
      state = { _tag: "Idle" }
      return Effect.andThen(failed(error), Effect.andThen(Effect.sync(onState), detach(live)))
    })

  // --- Starting ---

  /** Why it is not started now. */
  const refusal = (): UpstreamError | undefined => {
    if (failure === undefined || failure.retryAt <= now()) return undefined
    return unavailable(failure.error.detail, failure.retryAt - now())
  }
  const unavailable = (detail: string, retryAfter: number): UpstreamError =>
    new UpstreamError({
      reason: "unavailable",
      server: name,
      detail,
      retryAfter: Duration.millis(Math.max(1, Math.ceil(retryAfter)))
    })

  const connect = Effect.fnUntraced(function* (own: Scope.Closeable) {
    const dirty = new Set<Lists>()
    let ended = false
    let live: Live | undefined
    let refreshing = false
    const endedByItself = () =>
      new UpstreamError({
        reason: "lost",
        server: name,
        detail: live?.session.ending() ?? "the connection was closed",
        code: "ECONNRESET"
      })
    /** Looks again at what has changed, one look at a time, however often it changes. */
    const keepUp = (current: Live): Effect.Effect<void> =>
      Effect.gen(function* () {
        for (let gap = betweenLooks.first; dirty.size > 0; gap = Math.min(gap * 2, betweenLooks.longest)) {
          const changed = new Set(dirty)
          dirty.clear()
          yield* refresh(current.session, changed)
          yield* Effect.sleep(Duration.millis(gap))
        }
      }).pipe(
        Effect.catch((error) => Effect.logDebug(error.message)),
        Effect.ensuring(
          Effect.sync(() => {
            refreshing = false
          })
        )
      )
    const look = () => {
      if (refreshing || live === undefined || dirty.size === 0) return
      refreshing = true
      run(Effect.forkIn(keepUp(live), own))
    }
    const session = yield* options.open({
      onChanged: (list) => {
        dirty.add(list)
        look()
      },
      onEnded: () => {
        ended = true
        if (live !== undefined) run(lost(live, endedByItself()))
      }
    })
    yield* refresh(session, lists)
    if (ended) return yield* endedByItself()
    live = { session, scope: own, inFlight: 0, usedAt: now(), detached: false }
    look()
    return live
  })

  const startNow = (ready: Deferred.Deferred<Live, UpstreamError>): Effect.Effect<void> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const own = yield* Scope.fork(scope)
        const connecting = connect(own).pipe(
          Scope.provide(own),
          Effect.timeoutOrElse({ duration: startTimeout, orElse: () => Effect.fail(tooSlow) })
        )
        const exit = yield* Effect.exit(restore(connecting))
        const isWanted = state._tag === "Starting" && state.ready === ready
        if (Exit.isSuccess(exit) && isWanted) {
          started++
          become({ _tag: "Ready", live: exit.value })
          if (stopWhenIdle !== undefined) yield* Effect.forkIn(watchIdle(exit.value, stopWhenIdle), own)
          yield* Deferred.succeed(ready, exit.value)
          return
        }
        const error = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isFailReason)?.error : undefined
        if (error !== undefined) yield* failed(error)
        if (isWanted) become({ _tag: "Idle" })
        const isStopped = Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)
        yield* Deferred.done(ready, isStopped ? Exit.fail(stopped) : exit)
        // Nobody waits for a process to end.
        yield* Scope.close(own, exit)
      })
    )

  /** Begins to start, which nobody who waits for it can interrupt. */
  const begin: Effect.Effect<Live, UpstreamError> = Effect.suspend(() => {
    const ready = Deferred.makeUnsafe<Live, UpstreamError>()
    const starting: State = { _tag: "Starting", ready, fiber: undefined }
    become(starting)
    // At once, so that whoever ends it before it has begun leaves nobody waiting.
    return Effect.flatMap(Effect.forkIn(startNow(ready), scope, { startImmediately: true }), (fiber) => {
      starting.fiber = fiber
      return Deferred.await(ready)
    })
  })

  const tooSlow = new UpstreamError({
    reason: "start",
    server: name,
    detail: `it was not ready within ${Duration.format(startTimeout)}`
  })
  const stopped = new UpstreamError({ reason: "stopped", server: name, detail: "somebody has stopped it" })

  const live: Effect.Effect<Live, UpstreamError> = Effect.suspend(() => {
    switch (state._tag) {
      case "Ready":
        return Exit.succeed(state.live)
      case "Starting":
        return Deferred.await(state.ready)
      case "Stopped":
        return Exit.fail(stopped)
      case "Idle": {
        const refused = refusal()
        if (refused !== undefined) return Exit.fail(refused)
        return Effect.flatMap(breaker.peek(circuit, now()), (open) =>
          open === undefined
            ? Effect.suspend(() => (state._tag === "Idle" ? begin : live))
            : Effect.fail(unavailable(failure?.error.detail ?? open.why, Duration.toMillis(open.retryAfter)))
        )
      }
    }
  })

  /** Ends a connection that nobody has used for a while. */
  const watchIdle = (live: Live, patience: Duration.Duration): Effect.Effect<void> =>
    Effect.suspend(() => {
      const left = live.usedAt + Duration.toMillis(patience) - now()
      if (live.inFlight > 0 || left > 0) {
        return Effect.andThen(
          Effect.sleep(live.inFlight > 0 ? patience : Duration.millis(left)),
          watchIdle(live, patience)
        )
      }
      if (state._tag === "Ready" && state.live === live) become({ _tag: "Idle" })
      return Effect.forkIn(close(live), scope)
    })

  // --- Using ---

  const using = <A>(
    live: Live,
    use: (session: Session) => Effect.Effect<A, UpstreamError>
  ): Effect.Effect<A, UpstreamError> =>
    Effect.onExit(
      Effect.suspend(() => {
        live.inFlight++
        return use(live.session)
      }),
      (exit) =>
        Effect.suspend(() => {
          live.inFlight--
          live.usedAt = now()
          const error = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isFailReason)?.error : undefined
          const closeIfLast = Effect.suspend(() =>
            live.detached && live.inFlight === 0 ? close(live) : Effect.void
          )
          if (error?.reason === "lost" && endings.has(error.code)) {
            return Effect.andThen(lost(live, error), closeIfLast)
          }
          return answered || (Exit.isFailure(exit) && error?.reason !== "answer")
            ? closeIfLast
            : Effect.andThen(recovered, closeIfLast)
        })
    )

  const recovered = Effect.gen(function* () {
    answered = true
    failure = undefined
    delays = yield* newDelays
    const admission = yield* breaker.admit(circuit, now())
    if (!("_tag" in admission)) yield* breaker.report(admission, "success", now())
  })

  const end = (next: State): Effect.Effect<void> =>
    Effect.suspend(() => {
      const before = state
      become(next)
      if (before._tag === "Ready") return close(before.live)
      return before._tag === "Starting" && before.fiber !== undefined
        ? Fiber.interrupt(before.fiber)
        : Effect.void
    })

  return {
    health: Effect.sync(() => ({
      state: state._tag === "Idle" ? (failure === undefined ? "idle" : "failed") : names[state._tag],
      protocol: state._tag === "Ready" ? state.live.session.protocol : undefined,
      restarts: Math.max(0, started - 1),
      inFlight: state._tag === "Ready" ? state.live.inFlight : 0,
      lastError: failure?.error.message,
      retryAt: state._tag === "Idle" ? failure?.retryAt : undefined
    })),
    start: Effect.suspend(() => {
      if (state._tag === "Ready" || state._tag === "Starting") return Effect.asVoid(live)
      failure = undefined
      return Effect.andThen(breaker.reset(circuit), Effect.asVoid(begin))
    }),
    stop: end({ _tag: "Stopped" }),
    use: (use) =>
      Effect.flatMap(live, (first) =>
        Effect.catch(using(first, use), (error) =>
          // Nothing of it was looked at, so it is asked once more over a new connection.
          error.reason === "lost" && error.code === "ECONNREFUSED"
            ? Effect.flatMap(live, (second) => (second === first ? Effect.fail(error) : using(second, use)))
            : Effect.fail(error)
        )
      )
  }
})

/** What an error is called after which the connection is of no use to anybody else. */
const endings: ReadonlySet<unknown> = new Set(["ECONNRESET", "ECONNREFUSED"])

const names = { Starting: "starting", Ready: "ready", Stopped: "stopped" } as const
