import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { Bulkhead, layer, type Refusal, type Ticket, type ToolBulkhead } from "../src/Bulkhead.ts"
import * as ToolAnnotations from "../src/ToolAnnotations.ts"

const factsOf = (name: string, options?: ToolAnnotations.BulkheadOptions): ToolAnnotations.ToolFacts =>
  ToolAnnotations.read(
    options === undefined ? Tool.make(name) : Tool.make(name).annotate(ToolAnnotations.Bulkhead, options)
  )

const bulkheadFor = (name: string, options?: ToolAnnotations.BulkheadOptions) =>
  Effect.map(Bulkhead, (service) => service.forTool(factsOf(name, options))!)

const ticketOf = (entered: Ticket | Refusal): Ticket => {
  if ("_tag" in entered) throw new Error(`overloaded: ${entered.scope}`)
  return entered
}

/** Enters as the pipeline does: whatever happens after `enter`, the ticket is released. */
const within = <A>(bulkhead: ToolBulkhead, body: Effect.Effect<A>): Effect.Effect<A | Refusal> =>
  Effect.uninterruptibleMask((restore): Effect.Effect<A | Refusal> => {
    const entered = bulkhead.enter()
    if ("_tag" in entered) return Effect.succeed(entered)
    return (
      entered.wait === undefined ? restore(body) : Effect.andThen(restore(entered.wait), restore(body))
    ).pipe(Effect.ensuring(Effect.sync(entered.release)))
  })

const macrotask = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

const idle = Effect.gen(function* () {
  const service = yield* Bulkhead
  assert.strictEqual(service.running(), 0)
  assert.strictEqual(service.queued(), 0)
})

describe("Bulkhead", () => {
  it.effect("costs nothing where neither limit applies", () =>
    Effect.gen(function* () {
      assert.isUndefined(yield* bulkheadFor("free"))
    }).pipe(Effect.provide(layer()))
  )

  it.effect("lets so many run, so many wait, and refuses the rest", () =>
    Effect.gen(function* () {
      const service = yield* Bulkhead
      const tool = yield* bulkheadFor("tool", { maxConcurrent: 2, maxQueue: 1 })
      const running = [tool.enter(), tool.enter()].map(ticketOf)
      assert.deepStrictEqual(
        running.map(({ wait }) => wait),
        [undefined, undefined]
      )
      const waiting = ticketOf(tool.enter())
      assert.isDefined(waiting.wait)
      assert.deepStrictEqual(tool.enter(), { _tag: "Overloaded", scope: "tool" })
      assert.deepStrictEqual([service.running(), service.queued()], [2, 1])
      running[0]!.release()
      assert.deepStrictEqual([service.running(), service.queued()], [2, 0])
      yield* waiting.wait!
      waiting.release()
      running[1]!.release()
      yield* idle
    }).pipe(Effect.provide(layer()))
  )

  it.effect("lets none wait unless told", () =>
    Effect.gen(function* () {
      const tool = yield* bulkheadFor("tool", { maxConcurrent: 1 })
      tool.enter()
      assert.deepStrictEqual(tool.enter(), { _tag: "Overloaded", scope: "tool" })
      const other = yield* bulkheadFor("other", { maxConcurrent: 5 })
      assert.deepStrictEqual(other.enter(), { _tag: "Overloaded", scope: "executor" })
    }).pipe(Effect.provide(layer({ maxConcurrent: 1 })))
  )

  it.effect("holds no slot over all for a call that waits for its tool's", () =>
    Effect.gen(function* () {
      const service = yield* Bulkhead
      const slow = yield* bulkheadFor("slow", { maxConcurrent: 1, maxQueue: 100 })
      const quick = yield* bulkheadFor("quick")
      ticketOf(slow.enter())
      for (let i = 0; i < 50; i++) assert.isDefined(ticketOf(slow.enter()).wait)
      assert.deepStrictEqual([service.running(), service.queued()], [1, 50])
      for (let i = 0; i < 20; i++) {
        const ticket = ticketOf(quick.enter())
        assert.isUndefined(ticket.wait)
        ticket.release()
      }
    }).pipe(Effect.provide(layer({ maxConcurrent: 2 })))
  )

  it.effect("never refuses a call that has waited for its tool's slot", () =>
    Effect.gen(function* () {
      const service = yield* Bulkhead
      const tool = yield* bulkheadFor("tool", { maxConcurrent: 1, maxQueue: 1 })
      const free = yield* bulkheadFor("free")
      const first = ticketOf(tool.enter())
      const other = ticketOf(free.enter())
      const second = ticketOf(tool.enter())
      const queued = ticketOf(free.enter())
      // The slot over all goes to the one that waits for it already; "second" comes behind, into a full queue.
      first.release()
      assert.deepStrictEqual([service.running(), service.queued()], [2, 1])
      assert.deepStrictEqual(free.enter(), { _tag: "Overloaded", scope: "executor" })
      yield* queued.wait!
      other.release()
      yield* second.wait!
      for (const ticket of [second, queued]) ticket.release()
      yield* idle
    }).pipe(Effect.provide(layer({ maxConcurrent: 2, maxQueue: 1 })))
  )

  it.effect("gives a slot back once, however often a ticket is released", () =>
    Effect.gen(function* () {
      const service = yield* Bulkhead
      const tool = yield* bulkheadFor("tool", { maxConcurrent: 1, maxQueue: 3 })
      const { release } = ticketOf(tool.enter())
      const [a, b, c] = [tool.enter(), tool.enter(), tool.enter()].map(ticketOf)
      release()
      release()
      assert.deepStrictEqual([service.running(), service.queued()], [1, 2])
      b!.release()
      b!.release()
      assert.deepStrictEqual([service.running(), service.queued()], [1, 1])
      a!.release()
      c!.release()
      a!.release()
      yield* idle
    }).pipe(Effect.provide(layer()))
  )

  it.effect("passes a slot on that was given to a call interrupted in the same tick", () =>
    Effect.gen(function* () {
      const tool = yield* bulkheadFor("tool", { maxConcurrent: 1, maxQueue: 9 })
      const ran: Array<string> = []
      const first = ticketOf(tool.enter())
      const start = (name: string) =>
        Effect.forkChild(
          within(
            tool,
            Effect.sync(() => ran.push(name))
          ),
          { startImmediately: true }
        )
      const a = yield* start("a")
      yield* start("b")
      first.release()
      a.interruptUnsafe()
      yield* macrotask
      yield* macrotask
      assert.deepStrictEqual(ran, ["b"])
      yield* idle
    }).pipe(Effect.provide(layer()))
  )

  it.effect("shares slots among tools of one name; the latest numbers hold", () =>
    Effect.gen(function* () {
      const service = yield* Bulkhead
      const old = yield* bulkheadFor("__proto__", { maxConcurrent: 1, maxQueue: 5 })
      ticketOf(old.enter())
      const waiting = [old.enter(), old.enter()].map(ticketOf)
      const renewed = yield* bulkheadFor("__proto__", { maxConcurrent: 2, maxQueue: 0 })
      assert.deepStrictEqual([service.running(), service.queued()], [2, 1])
      yield* waiting[0]!.wait!
      assert.deepStrictEqual(renewed.enter(), { _tag: "Overloaded", scope: "tool" })
      assert.deepStrictEqual(old.enter(), { _tag: "Overloaded", scope: "tool" })
      assert.isUndefined(ticketOf((yield* bulkheadFor("constructor", { maxConcurrent: 1 })).enter()).wait)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("lets ten thousand queued calls through one after the other", () =>
    Effect.gen(function* () {
      const tool = yield* bulkheadFor("tool", { maxConcurrent: 1, maxQueue: 10_000 })
      const order: Array<number> = []
      const first = ticketOf(tool.enter())
      const fibers = yield* Effect.forEach(
        Array.from({ length: 10_000 }, (_, index) => index),
        (index) =>
          Effect.forkChild(
            within(
              tool,
              Effect.sync(() => order.push(index))
            ),
            { startImmediately: true }
          )
      )
      first.release()
      yield* Fiber.awaitAll(fibers)
      assert.deepStrictEqual(
        order,
        order.map((_, index) => index)
      )
      assert.strictEqual(order.length, 10_000)
      yield* idle
    }).pipe(Effect.provide(layer()))
  )

  it("keeps its limits with a thousand fibers that are interrupted at random, and ends empty", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            tool: fc.nat({ max: 2 }),
            arrives: fc.nat({ max: 200 }),
            runs: fc.nat({ max: 30 }),
            interrupted: fc.option(fc.nat({ max: 250 }))
          }),
          { minLength: 1000, maxLength: 1000 }
        ),
        (calls) =>
          Effect.gen(function* () {
            const maxima = [3, 5, Number.POSITIVE_INFINITY]
            const bulkheads = [
              yield* bulkheadFor("a", { maxConcurrent: 3, maxQueue: 400 }),
              yield* bulkheadFor("b", { maxConcurrent: 5, maxQueue: 20 }),
              yield* bulkheadFor("c")
            ]
            const running = [0, 0, 0]
            const counts = { ran: 0, refused: 0, interrupted: 0 }
            const fibers = yield* Effect.forEach(calls, (call) => {
              const body = Effect.suspend(() => {
                running[call.tool]!++
                assert.isAtMost(running[call.tool]!, maxima[call.tool]!)
                assert.isAtMost(running[0]! + running[1]! + running[2]!, 6)
                return Effect.sleep(call.runs)
              }).pipe(Effect.ensuring(Effect.sync(() => running[call.tool]!--)))
              return Effect.sleep(call.arrives).pipe(
                Effect.andThen(within(bulkheads[call.tool]!, body)),
                Effect.forkChild({ startImmediately: true }),
                Effect.tap((fiber) =>
                  call.interrupted === null
                    ? Effect.void
                    : Effect.sleep(call.interrupted).pipe(
                        Effect.andThen(Fiber.interrupt(fiber)),
                        Effect.forkChild({ startImmediately: true })
                      )
                )
              )
            })
            yield* TestClock.adjust("1 minute")
            for (const fiber of fibers) {
              const exit = fiber.pollUnsafe()
              assert.isDefined(exit)
              if (Exit.isSuccess(exit!)) counts[exit.value === undefined ? "ran" : "refused"]++
              else if (Cause.hasInterruptsOnly(exit!.cause)) counts.interrupted++
              else assert.fail(Cause.pretty(exit!.cause))
            }
            assert.isAbove(counts.ran, 50)
            assert.isAbove(counts.interrupted, 50)
            assert.deepStrictEqual(running, [0, 0, 0])
            yield* idle
          }).pipe(
            Effect.provide([layer({ maxConcurrent: 6, maxQueue: 300 }), TestClock.layer()]),
            Effect.runPromise
          )
      ),
      { numRuns: 10 }
    ))

  it("grants, queues and refuses as a model that looks at everyone each time", () =>
    fc.assert(
      fc.property(
        fc.record({
          maxima: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
          queues: fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 3 })),
          over: fc.integer({ min: 1, max: 4 }),
          overQueue: fc.nat({ max: 3 })
        }),
        fc.array(fc.oneof(fc.nat({ max: 2 }), fc.record({ release: fc.nat({ max: 40 }) })), {
          maxLength: 80
        }),
        ({ maxima, queues, over, overQueue }, steps) =>
          Effect.gen(function* () {
            const service = yield* Bulkhead
            const bulkheads = [
              yield* bulkheadFor("a", { maxConcurrent: maxima[0], maxQueue: queues[0] }),
              yield* bulkheadFor("b", { maxConcurrent: maxima[1], maxQueue: queues[1] }),
              yield* bulkheadFor("c")
            ]
            // Everyone who has entered, in the order in which they came to where they are.
            interface Entrant {
              readonly tool: number
              readonly ticket: Ticket
              at: "tool" | "executor" | "running"
            }
            let everyone: Array<Entrant> = []
            const at = (place: Entrant["at"], tool?: number) =>
              everyone.filter((each) => each.at === place && (tool === undefined || each.tool === tool))
            const hasToolSlot = (tool: number) =>
              tool === 2 || at("executor", tool).length + at("running", tool).length < maxima[tool]!
            const move = (entrant: Entrant, place: Entrant["at"]) => {
              everyone = [...everyone.filter((each) => each !== entrant), entrant]
              entrant.at = place
            }
            const settle = () => {
              for (;;) {
                const next = at("executor")[0]
                if (next !== undefined && at("running").length < over) {
                  move(next, "running")
                  continue
                }
                const waiting = at("tool").find(
                  (each) => hasToolSlot(each.tool) && at("tool", each.tool)[0] === each
                )
                if (waiting === undefined) return
                move(waiting, "executor")
              }
            }
            for (const step of steps) {
              if (typeof step === "number") {
                const expected = !hasToolSlot(step)
                  ? at("tool", step).length >= queues[step]!
                    ? "tool"
                    : undefined
                  : at("running").length >= over && at("executor").length >= overQueue
                    ? "executor"
                    : undefined
                const entered = bulkheads[step]!.enter()
                assert.strictEqual("_tag" in entered ? entered.scope : undefined, expected)
                if ("_tag" in entered) continue
                everyone.push({ tool: step, ticket: entered, at: "tool" })
                settle()
                assert.strictEqual(
                  entered.wait === undefined,
                  everyone.some((each) => each.ticket === entered && each.at === "running")
                )
              } else if (everyone.length > 0) {
                const leaver = everyone[step.release % everyone.length]!
                leaver.ticket.release()
                everyone = everyone.filter((each) => each !== leaver)
                settle()
              }
              assert.strictEqual(service.running(), at("running").length)
              assert.strictEqual(service.queued(), at("tool").length + at("executor").length)
            }
            // Who holds a slot is told so at once; who does not, waits on.
            const fibers = yield* Effect.forEach(everyone, (each) =>
              Effect.forkChild(each.ticket.wait ?? Effect.void, { startImmediately: true })
            )
            assert.deepStrictEqual(
              fibers.map((fiber) => fiber.pollUnsafe() !== undefined),
              everyone.map((each) => each.at === "running")
            )
            for (const each of everyone) each.ticket.release()
            yield* idle
          }).pipe(Effect.provide(layer({ maxConcurrent: over, maxQueue: overQueue })), Effect.runSync)
      ),
      { numRuns: 500 }
    ))

  it("dies of invalid numbers, and names the bulkhead and the field", () => {
    const message = (options: object) => {
      const exit = Effect.runSyncExit(Effect.scoped(Layer.build(layer(options))))
      return Exit.isFailure(exit) ? `${Cause.squash(exit.cause)}` : "built"
    }
    for (const maxConcurrent of [0, -1, 1.5, Number.NaN]) {
      assert.match(message({ maxConcurrent }), /over all tools: maxConcurrent must be/)
    }
    for (const maxQueue of [-1, 0.5, Number.NaN]) {
      assert.match(message({ maxConcurrent: 1, maxQueue }), /over all tools: maxQueue must be/)
    }
    const service = Effect.runSync(Effect.provide(Bulkhead, layer()))
    assert.throws(
      () => service.forTool(factsOf("mine", { maxConcurrent: 0 })),
      /"mine": maxConcurrent must be/
    )
  })
})
