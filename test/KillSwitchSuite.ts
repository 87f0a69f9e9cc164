/** What every backend of `KillSwitch` does. Time comes from `TestClock` or is passed in. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { type Change, type Killed, KillSwitch, type Stop, type Target } from "../src/KillSwitch.ts"
import * as Principal from "../src/Principal.ts"
import * as ToolAnnotations from "../src/ToolAnnotations.ts"

export const toolOf = (
  name: string,
  more: { readonly tags?: ReadonlyArray<string>; readonly upstream?: string } = {}
): ToolAnnotations.ToolFacts => {
  const tool = Tool.make(name).annotate(ToolAnnotations.Tags, more.tags ?? [])
  return ToolAnnotations.read(
    more.upstream === undefined ? tool : tool.annotate(ToolAnnotations.UpstreamName, more.upstream)
  )
}

export const search = toolOf("search", { tags: ["web", "read"] })
export const deleteRepo = toolOf("github__delete_repo", { tags: ["git"], upstream: "delete_repo" })
const tools = [search, deleteRepo, toolOf("Delete_user", { tags: ["read"] }), toolOf("pay")]

export const ada = Principal.make({ id: "ada", tenant: "acme" })
const principals = [
  ada,
  Principal.make({ id: "ada", tenant: "globex" }),
  Principal.make({ id: "bob", tenant: "acme" }),
  Principal.anonymous
]

/** Every call there is in these tests. */
const everyCall = tools.flatMap((tool) => principals.map((principal) => ({ tool, principal })))

export const everything: Target = { scope: "all" }
export const operator = { by: "grace", why: "an incident" }

export const check = (tool: ToolAnnotations.ToolFacts, principal: Principal.Principal = ada) =>
  Effect.gen(function* () {
    return (yield* KillSwitch).check(tool, principal, yield* Clock.currentTimeMillis)
  })

/** A call in flight, and what it was interrupted with. */
export const enter = Effect.fnUntraced(function* (
  tool: ToolAnnotations.ToolFacts,
  principal: Principal.Principal = ada
) {
  const interruptions: Array<Killed> = []
  const entered = (yield* KillSwitch).enter(tool, principal, {
    kill: (killed) => interruptions.push(killed)
  })
  return { leave: () => entered.leave(), interruptions }
})

/** What has changed since the last time it was asked. */
export const watching = Effect.gen(function* () {
  const seen: Array<Change> = []
  const { changes } = yield* KillSwitch
  yield* changes.pipe(
    Stream.runForEach((change) => Effect.sync(() => seen.push(change))),
    Effect.forkScoped({ startImmediately: true })
  )
  return Effect.gen(function* () {
    // A reader gets on with its work a turn after what it reads of.
    for (let turn = 0; turn < 10; turn++) yield* Effect.yieldNow
    return seen.splice(0)
  })
})

// --- The definition, from scratch each time ----------------------------------

const widths = ["all", "tenant", "tag", "tool", "principal"]

const isAbout = (
  target: Target,
  tool: ToolAnnotations.ToolFacts,
  principal: Principal.Principal
): boolean => {
  switch (target.scope) {
    case "all":
      return true
    case "tenant":
      return principal.tenant === target.tenant
    case "tag":
      return tool.tags.some((tag) => tag === target.tag)
    case "tool": {
      const parts = target.tool.split("").map((c) => (c === "*" ? ".*" : c === "?" ? "." : c))
      return tool.names.some((name) => new RegExp(`^${parts.join("")}$`, "iu").test(name))
    }
    case "principal":
      return principal.id === target.principal && (target.tenant ?? principal.tenant) === principal.tenant
  }
}

const isInForce = ({ until }: Stop, now: number): boolean => until === undefined || now < until

const inOrder = (stops: ReadonlyArray<Stop>): ReadonlyArray<Stop> =>
  [...stops].sort(
    (a, b) =>
      widths.indexOf(a.target.scope) - widths.indexOf(b.target.scope) || a.at - b.at || (a.id < b.id ? -1 : 1)
  )

const killedBy = ({ target, until, why }: Stop): Killed =>
  until === undefined
    ? { _tag: "Killed", scope: target.scope, why }
    : { _tag: "Killed", scope: target.scope, why, until }

/** What `check` must say of a call where `stops` are known. */
export const expected = (
  stops: ReadonlyArray<Stop>,
  tool: ToolAnnotations.ToolFacts,
  principal: Principal.Principal,
  now: number
): Killed | undefined => {
  const stop = inOrder(stops).find((stop) => isInForce(stop, now) && isAbout(stop.target, tool, principal))
  return stop && killedBy(stop)
}

// --- What is generated -------------------------------------------------------

export const targets: fc.Arbitrary<Target> = fc.oneof(
  fc.constant<Target>({ scope: "all" }),
  fc
    .constantFrom("search", "SEARCH", "delete_*", "*", "git?ub__*", "pay", "absent", "d*_*e*")
    .map((tool) => ({
      scope: "tool" as const,
      tool
    })),
  fc.constantFrom("web", "read", "git", "WEB").map((tag) => ({ scope: "tag" as const, tag })),
  fc.constantFrom("acme", "globex").map((tenant) => ({ scope: "tenant" as const, tenant })),
  fc.constantFrom("ada", "bob", "anonymous").map((principal) => ({ scope: "principal" as const, principal })),
  fc
    .tuple(fc.constantFrom("ada", "bob"), fc.constantFrom("acme", "globex"))
    .map(([principal, tenant]) => ({ scope: "principal" as const, principal, tenant }))
)

const inFlight = fc.constantFrom("interrupt" as const, "drain" as const)
const calls = fc.constantFrom(...everyCall)

type Command =
  | {
      readonly do: "stop"
      readonly target: Target
      readonly inFlight: Stop["inFlight"]
      readonly lasts: number | null
    }
  | { readonly do: "lift"; readonly which: number }
  | { readonly do: "enter"; readonly call: (typeof everyCall)[number] }
  | { readonly do: "leave"; readonly which: number }
  | { readonly do: "wait"; readonly ms: number }

const commands: fc.Arbitrary<ReadonlyArray<Command>> = fc.array(
  fc.oneof(
    fc.record({
      do: fc.constant("stop" as const),
      target: targets,
      inFlight,
      lasts: fc.option(fc.integer({ min: 1, max: 20 }))
    }),
    fc.record({ do: fc.constant("lift" as const), which: fc.nat(8) }),
    fc.record({ do: fc.constant("enter" as const), call: calls }),
    fc.record({ do: fc.constant("leave" as const), which: fc.nat(8) }),
    fc.record({ do: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 15 }) })
  ),
  { maxLength: 40 }
)

/** `layerOf` must give a switch of its own each time it is called. */
export const suite = (
  name: string,
  layerOf: () => Layer.Layer<KillSwitch, unknown>,
  runs: { readonly model: number; readonly concurrent: number }
) =>
  describe(`KillSwitch, ${name}`, () => {
    const scenario = <A, E>(body: Effect.Effect<A, E, KillSwitch | Scope.Scope>) =>
      body.pipe(Effect.scoped, Effect.provide(layerOf()), Effect.provide(TestClock.layer()))
    const test = <A, E>(does: string, body: Effect.Effect<A, E, KillSwitch | Scope.Scope>) =>
      it(does, () => Effect.runPromise(scenario(body)))

    test(
      "refuses new calls from the moment of a stop until it is lifted, and says why",
      Effect.gen(function* () {
        const killSwitch = yield* KillSwitch
        assert.isUndefined(yield* check(search))
        const stop = yield* killSwitch.stop(everything, operator)
        assert.deepStrictEqual(yield* check(search), { _tag: "Killed", scope: "all", why: "an incident" })
        assert.deepStrictEqual(yield* killSwitch.stops, [stop])
        assert.deepInclude(stop, {
          by: "grace",
          why: "an incident",
          at: 0,
          until: undefined,
          inFlight: "interrupt"
        })
        assert.isTrue(yield* killSwitch.lift(stop.id, { by: "alan", why: "it is over" }))
        assert.isUndefined(yield* check(search))
        assert.deepStrictEqual(yield* killSwitch.stops, [])
        assert.isFalse(yield* killSwitch.lift(stop.id, { by: "alan", why: "again" }))
        assert.isFalse(yield* killSwitch.lift("none", { by: "alan", why: "it never was" }))
      })
    )

    test(
      "is about what its target names, globs on either name of a tool and in any case",
      Effect.gen(function* () {
        const killSwitch = yield* KillSwitch
        const metBy = Effect.map(Clock.currentTimeMillis, (now) =>
          everyCall.filter(({ principal, tool }) => killSwitch.check(tool, principal, now) !== undefined)
        )
        // Meets nobody, and is in force all the time.
        yield* killSwitch.stop({ scope: "tool", tool: "unused_*" }, operator)
        const stopped = Effect.fnUntraced(function* (target: Target) {
          const stop = yield* killSwitch.stop(target, operator)
          const met = yield* metBy
          yield* killSwitch.lift(stop.id, operator)
          assert.deepStrictEqual(yield* metBy, [])
          return {
            tools: [...new Set(met.map(({ tool }) => tool.name))],
            principals: [...new Set(met.map(({ principal }) => `${principal.id}@${principal.tenant}`))]
          }
        })
        const every = yield* stopped(everything)
        assert.deepStrictEqual([every.tools.length, every.principals.length], [4, 4])
        assert.deepStrictEqual((yield* stopped({ scope: "tool", tool: "delete_*" })).tools, [
          "github__delete_repo",
          "Delete_user"
        ])
        assert.deepStrictEqual((yield* stopped({ scope: "tool", tool: "DELETE_REPO" })).tools, [
          "github__delete_repo"
        ])
        assert.deepStrictEqual((yield* stopped({ scope: "tag", tag: "read" })).tools, [
          "search",
          "Delete_user"
        ])
        assert.deepStrictEqual((yield* stopped({ scope: "tenant", tenant: "acme" })).principals, [
          "ada@acme",
          "bob@acme"
        ])
        assert.deepStrictEqual((yield* stopped({ scope: "principal", principal: "ada" })).principals, [
          "ada@acme",
          "ada@globex"
        ])
        assert.deepStrictEqual(
          (yield* stopped({ scope: "principal", principal: "ada", tenant: "globex" })).principals,
          ["ada@globex"]
        )
      })
    )

    test(
      "gives the reason of the widest scope, then of the oldest",
      Effect.gen(function* () {
        const killSwitch = yield* KillSwitch
        const narrowFirst: ReadonlyArray<Target> = [
          { scope: "principal", principal: "ada" },
          { scope: "tool", tool: "search" },
          { scope: "tag", tag: "web" },
          { scope: "tenant", tenant: "acme" },
          { scope: "all" }
        ]
        for (const target of narrowFirst) {
          yield* killSwitch.stop(target, { by: "grace", why: `older ${target.scope}` })
          yield* TestClock.adjust(1)
          yield* killSwitch.stop(target, { by: "grace", why: `newer ${target.scope}` })
          assert.strictEqual((yield* check(search))?.why, `older ${target.scope}`)
        }
        assert.deepStrictEqual(
          (yield* killSwitch.stops).map((stop) => stop.why),
          ["all", "tenant", "tag", "tool", "principal"].flatMap((scope) => [
            `older ${scope}`,
            `newer ${scope}`
          ])
        )
      })
    )

    test(
      "interrupts what runs and meets the stop, each once and before it returns, or drains it",
      Effect.gen(function* () {
        const killSwitch = yield* KillSwitch
        const met = yield* enter(search)
        const other = yield* enter(deleteRepo)
        const left = yield* enter(search)
        left.leave()
        left.leave()
        yield* killSwitch.stop({ scope: "tag", tag: "web" }, { ...operator, inFlight: "drain" })
        assert.deepStrictEqual(met.interruptions, [])
        assert.strictEqual(yield* killSwitch.running({ scope: "tag", tag: "web" }), 1)
        yield* killSwitch.stop({ scope: "tool", tool: "search" }, operator)
        const killed: Killed = { _tag: "Killed", scope: "tool", why: "an incident" }
        assert.deepEqual(met.interruptions, [killed])
        yield* killSwitch.stop(everything, operator)
        assert.deepEqual(met.interruptions, [killed])
        assert.deepEqual(other.interruptions, [{ ...killed, scope: "all" }])
        assert.deepEqual(left.interruptions, [])
        assert.strictEqual(yield* killSwitch.running(everything), 2)
        met.leave()
        other.leave()
        assert.strictEqual(yield* killSwitch.running(everything), 0)
      })
    )

    test(
      "ends a stop by its time, with or without anybody who asks",
      Effect.gen(function* () {
        const killSwitch = yield* KillSwitch
        const changes = yield* watching
        const long = yield* killSwitch.stop(everything, { ...operator, until: 1_000 })
        const short = yield* killSwitch.stop({ scope: "tool", tool: "search" }, { ...operator, until: 500 })
        yield* changes
        assert.deepStrictEqual(yield* check(search), {
          _tag: "Killed",
          scope: "all",
          why: "an incident",
          until: 1_000
        })
        assert.strictEqual(killSwitch.check(search, ada, 999)?.scope, "all")
        assert.isUndefined(killSwitch.check(search, ada, 1_000))
        yield* TestClock.adjust(499)
        assert.deepStrictEqual(yield* changes, [])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* changes, [
          { _tag: "Expired", stop: short, by: "grace", why: "an incident" }
        ])
        assert.deepStrictEqual(yield* killSwitch.stops, [long])
        yield* TestClock.adjust(500)
        assert.deepStrictEqual(
          (yield* changes).map((change) => [change._tag, change.stop.id]),
          [["Expired", long.id]]
        )
        assert.isUndefined(yield* check(search))
        assert.isFalse(yield* killSwitch.lift(long.id, operator))
      })
    )

    test(
      "tells of stops as they begin and end, and who did it",
      Effect.gen(function* () {
        const killSwitch = yield* KillSwitch
        const changes = yield* watching
        const stop = yield* killSwitch.stop({ scope: "tool", tool: "*" }, operator)
        yield* killSwitch.lift(stop.id, { by: "alan", why: "it is over" })
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(yield* changes, [
          { _tag: "Stopped", stop, by: "grace", why: "an incident" },
          { _tag: "Lifted", stop, by: "alan", why: "it is over" }
        ])
      })
    )

    test(
      "takes no stop that nobody made, that has no reason, names nothing or is over before it begins",
      Effect.gen(function* () {
        const killSwitch = yield* KillSwitch
        yield* TestClock.adjust(1_000)
        const nonsense: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          killSwitch.stop(everything, { by: "", why: "why" }),
          killSwitch.stop(everything, { by: "grace", why: " " }),
          killSwitch.stop(everything, { by: "grace", why: "x".repeat(2001) }),
          killSwitch.stop({ scope: "tool", tool: "" }, operator),
          killSwitch.stop({ scope: "principal", principal: "ada", tenant: "" }, operator),
          killSwitch.stop(everything, { ...operator, until: 1_000 }),
          killSwitch.stop(everything, { ...operator, until: 1_000.5 }),
          killSwitch.stop(everything, { ...operator, until: Number.NaN }),
          killSwitch.stop(everything, { ...operator, until: Number.POSITIVE_INFINITY }),
          killSwitch.lift("any", { by: "", why: "why" })
        ]
        for (const effect of nonsense) {
          const defect = yield* Effect.flip(Effect.catchDefect(effect, (defect) => Effect.fail(defect)))
          assert.instanceOf(defect, RangeError)
        }
        assert.deepStrictEqual(yield* killSwitch.stops, [])
      })
    )

    it("does what its definition says, whatever is stopped, lifted, entered and left", () =>
      fc.assert(
        fc.asyncProperty(commands, (commands) =>
          Effect.gen(function* () {
            const killSwitch = yield* KillSwitch
            const known: Array<Stop> = []
            const running: Array<{
              readonly call: (typeof everyCall)[number]
              readonly leave: () => void
              readonly interruptions: ReadonlyArray<Killed>
              expected: Killed | undefined
              left: boolean
            }> = []
            for (const command of commands) {
              const now = yield* Clock.currentTimeMillis
              switch (command.do) {
                case "stop": {
                  const { inFlight, lasts, target } = command
                  const stop = yield* killSwitch.stop(target, {
                    by: "grace",
                    why: `stop ${known.length}`,
                    inFlight,
                    ...(lasts === null ? undefined : { until: now + lasts })
                  })
                  known.push(stop)
                  for (const entry of running) {
                    const { principal, tool } = entry.call
                    const isMet = inFlight === "interrupt" && !entry.left && isAbout(target, tool, principal)
                    if (isMet) entry.expected ??= killedBy(stop)
                  }
                  break
                }
                case "lift": {
                  const stop = known[command.which]
                  const lifted = yield* killSwitch.lift(stop?.id ?? "none", operator)
                  assert.strictEqual(lifted, stop !== undefined && isInForce(stop, now))
                  // Once lifted it stays known to the model, as one that is over.
                  if (lifted && stop !== undefined) known[command.which] = { ...stop, until: now }
                  break
                }
                case "enter": {
                  const { principal, tool } = command.call
                  const entered = yield* enter(tool, principal)
                  running.push({ call: command.call, ...entered, expected: undefined, left: false })
                  break
                }
                case "leave": {
                  const entry = running[command.which]
                  if (entry === undefined) break
                  entry.leave()
                  entry.left = true
                  break
                }
                case "wait":
                  yield* TestClock.adjust(command.ms)
              }
              const later = yield* Clock.currentTimeMillis
              assert.deepStrictEqual(
                yield* killSwitch.stops,
                inOrder(known.filter((stop) => isInForce(stop, later)))
              )
              for (const { principal, tool } of everyCall) {
                assert.deepEqual(
                  killSwitch.check(tool, principal, later),
                  expected(known, tool, principal, later)
                )
              }
              for (const { expected, interruptions } of running) {
                assert.deepEqual(interruptions, expected === undefined ? [] : [expected])
              }
              assert.strictEqual(
                yield* killSwitch.running(everything),
                running.filter(({ left }) => !left).length
              )
            }
          }).pipe(scenario, Effect.runPromise)
        ),
        { numRuns: runs.model }
      ))

    it("lets nothing through a stop, interrupts once and forgets nobody, however stops, calls and interruptions fall", () =>
      fc.assert(
        fc.asyncProperty(
          fc.array(
            fc.record({
              call: calls,
              begins: fc.nat(30),
              lasts: fc.integer({ min: 1, max: 20 }),
              gone: fc.option(fc.nat(20)),
              cleanup: fc.nat(3)
            }),
            { maxLength: 30 }
          ),
          fc.array(
            fc.record({
              at: fc.nat(30),
              target: targets,
              inFlight,
              lasts: fc.option(fc.integer({ min: 1, max: 20 })),
              liftedAfter: fc.option(fc.nat(10)),
              interrupted: fc.boolean()
            }),
            { maxLength: 10 }
          ),
          (callers, operators) =>
            Effect.gen(function* () {
              const killSwitch = yield* KillSwitch
              interface Call {
                readonly tool: ToolAnnotations.ToolFacts
                readonly principal: Principal.Principal
                interruptions: number
                left: boolean
              }
              const live = new Set<Call>()
              const caller = ({ call, cleanup, lasts }: (typeof callers)[number]) =>
                Effect.clockWith((clock) => {
                  const now = clock.currentTimeMillisUnsafe()
                  const { principal, tool } = call
                  const refusal = killSwitch.check(tool, principal, now)
                  assert.deepEqual(refusal, expected(Effect.runSync(knownNow), tool, principal, now))
                  if (refusal !== undefined) return Effect.fail(refusal)
                  const self: Call = { tool, principal, interruptions: 0, left: false }
                  const ended = Deferred.makeUnsafe<never, Killed>()
                  live.add(self)
                  const entered = killSwitch.enter(tool, principal, {
                    kill: (killed) => {
                      assert.isFalse(self.left, "interrupted after it had left")
                      self.interruptions++
                      Deferred.doneUnsafe(ended, Effect.fail(killed))
                    }
                  })
                  const depart = Effect.sync(() => {
                    live.delete(self)
                    self.left = true
                    entered.leave()
                  })
                  return Deferred.await(ended).pipe(
                    Effect.timeoutOption(lasts),
                    Effect.ensuring(Effect.andThen(Effect.sleep(cleanup), depart))
                  )
                })
              const clock = yield* Clock.Clock
              const knownNow = Effect.provideService(killSwitch.stops, Clock.Clock, clock)

              const make = ({ inFlight, lasts, target }: (typeof operators)[number]) =>
                Effect.gen(function* () {
                  const now = yield* Clock.currentTimeMillis
                  const stop = yield* killSwitch.stop(target, {
                    ...operator,
                    inFlight,
                    ...(lasts === null ? undefined : { until: now + lasts })
                  })
                  return stop
                })
              const begun = new Set<string>()
              const operate = Effect.fnUntraced(function* (options: (typeof operators)[number]) {
                yield* Effect.sleep(options.at)
                const fiber = yield* Effect.forkChild(make(options), { startImmediately: true })
                // It has run as far as it could: whatever becomes of its fiber, the stop is in force.
                for (const stop of yield* knownNow) {
                  if (begun.has(stop.id)) continue
                  begun.add(stop.id)
                  if (stop.inFlight === "drain") continue
                  for (const call of live) {
                    if (isAbout(stop.target, call.tool, call.principal))
                      assert.strictEqual(call.interruptions, 1)
                  }
                }
                if (options.interrupted) yield* Fiber.interrupt(fiber)
                const exit = yield* Fiber.await(fiber)
                if (options.liftedAfter === null || Exit.isFailure(exit)) return
                yield* Effect.sleep(options.liftedAfter)
                yield* killSwitch.lift(exit.value.id, operator)
              })

              const started = yield* Effect.forEach(callers, (options) =>
                Effect.gen(function* () {
                  yield* Effect.sleep(options.begins)
                  const fiber = yield* Effect.forkChild(caller(options), { startImmediately: true })
                  if (options.gone !== null) {
                    yield* Effect.sleep(options.gone)
                    yield* Fiber.interrupt(fiber)
                  }
                  return yield* Fiber.await(fiber)
                }).pipe(Effect.forkChild({ startImmediately: true }))
              )
              const operated = yield* Effect.forEach(operators, (options) =>
                Effect.forkChild(operate(options), { startImmediately: true })
              )
              for (let ms = 0; ms < 100; ms += 5) yield* TestClock.adjust(5)
              yield* Fiber.joinAll(operated)
              for (const exit of yield* Fiber.joinAll(started)) {
                if (Exit.isFailure(exit)) {
                  for (const reason of exit.cause.reasons) {
                    if (reason._tag === "Die") throw reason.defect
                  }
                }
              }
              assert.strictEqual(live.size, 0)
              assert.strictEqual(yield* killSwitch.running(everything), 0)
            }).pipe(scenario, Effect.runPromise)
        ),
        { numRuns: runs.concurrent }
      ))
  })
