import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as WebCrypto from "effect/crypto/WebCrypto"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as Terminal from "effect/Terminal"
import * as TestClock from "effect/testing/TestClock"
import * as Approvals from "../src/Approvals.ts"
import { MemoryStore } from "../src/internal/approvals/memory.ts"
import * as Keyring from "../src/Keyring.ts"
import * as Principal from "../src/Principal.ts"
import { suite } from "./ApprovalsSuite.ts"
import {
  ada,
  ask,
  type Backend,
  granted,
  keys,
  outcome,
  pending,
  question,
  redeem,
  subject
} from "./support/approvals.ts"

const memory = (wrap: (store: Approvals.ApprovalStore) => Approvals.ApprovalStore): Backend =>
  Effect.sync(() => {
    const store = new MemoryStore(10_000)
    return {
      open: (options, keyring = keys) =>
        Effect.provideService(Approvals.make(wrap(store), options), Keyring.Keyring, keyring),
      kept: Effect.orDie(store.list({}, 0))
    }
  })

/** A store whose answers let others go first, before and after it acts. */
const hesitant = (store: Approvals.ApprovalStore): Approvals.ApprovalStore => {
  const slowly = <A, E>(act: () => Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.yieldNow.pipe(Effect.andThen(Effect.suspend(act)), Effect.tap(Effect.yieldNow))
  return {
    put: (about, options) => slowly(() => store.put(about, options)),
    find: (id) => slowly(() => store.find(id)),
    live: (about) => slowly(() => store.live(about)),
    transition: (id, from, change) => slowly(() => store.transition(id, from, change)),
    list: (selection, now) => slowly(() => store.list(selection, now)),
    expire: (now) => slowly(() => store.expire(now))
  }
}

suite(
  "in memory",
  memory((store) => store),
  300
)
suite("in memory, answering later", memory(hesitant), 100)

const keyring = Layer.succeed(Keyring.Keyring, keys)
const inMemory = (options?: Approvals.MemoryOptions) =>
  Effect.map(
    Layer.build(Approvals.layerMemory(options).pipe(Layer.provide(keyring))),
    Context.get(Approvals.Approvals)
  )

describe("Approvals.layerMemory", () => {
  it.effect("answers the pipeline at once, and acts when called", () =>
    Effect.gen(function* () {
      const approvals = yield* inMemory()
      const at = <A, E>(effect: Effect.Effect<A, E>): A => {
        assert.isTrue(Exit.isExit(effect))
        return Effect.runSync(effect)
      }
      assert.strictEqual(at(approvals.peek(subject(), undefined, 0))._tag, "Nothing")
      assert.strictEqual(at(approvals.redeem(subject(), undefined, 0))._tag, "Nothing")
      const asked = at(approvals.ask(question(), 0))
      assert.strictEqual(asked._tag, "Pending")
      approvals.ask(question({ callId: "call-2" }), 0)
      assert.strictEqual((yield* approvals.list()).length, 2)
      if (asked._tag !== "Pending") return
      const { token } = Effect.runSync(
        Principal.provide(approvals.grant(asked.request.id), ada).pipe(
          Effect.provideService(Clock.Clock, yield* Clock.Clock)
        )
      )
      assert.strictEqual(at(approvals.peek(subject(), token, 0))._tag, "Granted")
      approvals.redeem(subject(), token, 0)
      assert.strictEqual(at(approvals.redeem(subject(), token, 0))._tag, "Invalid")
      assert.strictEqual(at(approvals.redeem(subject(), "nonsense", 0))._tag, "Invalid")
    })
  )

  it.effect("shares nothing between two that are built", () =>
    Effect.gen(function* () {
      const [one, two] = [yield* inMemory(), yield* inMemory()]
      yield* pending(one)
      assert.deepStrictEqual(yield* two.list(), [])
    })
  )

  it("refuses options that make no sense", () => {
    for (const maxUndecided of [-1, 1.5, Number.NaN, Infinity]) {
      assert.throws(() => Approvals.layerMemory({ maxUndecided }), /^Approvals: maxUndecided must/)
    }
    for (const expiresAfter of [0, -1, Infinity, Number.NaN]) {
      assert.throws(() => Approvals.layerMemory({ expiresAfter }), /^Approvals: expiresAfter must/)
    }
    for (const maxRequests of [0, 1.5, Number.NaN]) {
      assert.throws(() => Approvals.layerMemory({ maxRequests }), /^Approvals: maxRequests must/)
      assert.throws(() => Approvals.layerTerminal({ maxRequests }), RangeError)
    }
  })

  it.effect("asks nobody with a bound of 0", () =>
    Effect.gen(function* () {
      const approvals = yield* inMemory({ maxUndecided: 0, expiresAfter: "1 minute" })
      assert.deepStrictEqual(yield* ask(approvals), { _tag: "Full", retryAfter: 60_000 })
    })
  )

  it.effect("dies rather than ask about arguments without a hash", () =>
    Effect.gen(function* () {
      const approvals = yield* inMemory()
      const asked = approvals.ask({ ...question(), argumentsHash: () => undefined }, 0)
      assert.isTrue(Exit.isExit(asked) && Exit.hasDies(asked))
    })
  )

  it.effect("makes ids of 16 bytes of the secure random", () =>
    Effect.gen(function* () {
      let next = 0
      const crypto = {
        getRandomValues: <A extends Uint8Array>(bytes: A) => bytes.fill(++next)
      } as unknown as Crypto
      const approvals = yield* Effect.provideService(
        Approvals.make(new MemoryStore(10)),
        WebCrypto.WebCrypto,
        crypto
      )
      const [one, two] = [yield* pending(approvals), yield* pending(approvals, { callId: "call-2" })]
      assert.deepStrictEqual([one.id, two.id], ["01".repeat(16), "02".repeat(16)])
    }).pipe(Effect.provide(keyring))
  )

  it.effect("keeps a bounded number: what has ended goes first, then the oldest undecided expires", () =>
    Effect.gen(function* () {
      const approvals = yield* inMemory({ maxRequests: 4 })
      const seen: Array<string> = []
      yield* Effect.forkChild(
        Stream.runForEach(approvals.changes, ({ callId, state }) =>
          Effect.sync(() => seen.push(`${callId} ${state}`))
        ),
        { startImmediately: true }
      )
      const calls = Effect.map(approvals.list(), (requests) =>
        requests.map(({ callId, state }) => `${callId} ${state}`).sort()
      )
      const put = (callId: string) => pending(approvals, { callId, principal: `of ${callId}` })
      const one = yield* put("1")
      yield* granted(approvals, { callId: "2" })
      const three = yield* put("3")
      yield* granted(approvals, { callId: "4" })
      assert.strictEqual(yield* outcome(approvals, { callId: "4" }), "Granted")
      yield* put("5")
      assert.deepStrictEqual(yield* calls, ["1 pending", "2 granted", "3 pending", "5 pending"])
      const waiting = yield* Effect.forkChild(approvals.decided(one.id), { startImmediately: true })
      yield* put("6")
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(yield* calls, ["2 granted", "3 pending", "5 pending", "6 pending"])
      yield* put("7")
      yield* put("8")
      yield* put("9")
      assert.deepStrictEqual(yield* calls, ["2 granted", "7 pending", "8 pending", "9 pending"])
      assert.isUndefined(yield* approvals.get(three.id))
      for (let turns = 0; turns < 100; turns++) yield* Effect.yieldNow
      assert.deepStrictEqual(
        seen.filter((change) => change.endsWith("expired")),
        ["1 expired", "3 expired", "5 expired", "6 expired"]
      )
      // The token of what was forgotten lets nothing run.
      const { token } = yield* granted(approvals, { callId: "10" })
      for (const callId of ["a", "b", "c", "d", "e"]) yield* granted(approvals, { callId })
      assert.strictEqual(yield* outcome(approvals, { callId: "10" }, token), "not_granted")
    })
  )

  it.effect("forgets overdue requests of calls that nobody makes again, while others ask", () =>
    Effect.gen(function* () {
      const store = new MemoryStore(100)
      const approvals = yield* Approvals.make(store)
      yield* granted(approvals, { callId: "call-1" })
      yield* pending(approvals, { callId: "call-2" })
      yield* TestClock.adjust("15 minutes")
      yield* pending(approvals, { principal: "bob" })
      const kept = yield* store.list({ principal: "ada" }, 0)
      assert.deepStrictEqual(
        kept.map(({ sealed, state, token }) => [state, sealed, token]),
        [
          ["expired", undefined, undefined],
          ["expired", undefined, undefined]
        ]
      )
    }).pipe(Effect.provide(keyring))
  )
})

describe("Approvals.layerAllowAll and Approvals.layerDenyAll", () => {
  for (const [layer, tag] of [
    [Approvals.layerAllowAll, "Granted"],
    [Approvals.layerDenyAll, "Rejected"]
  ] as const) {
    it.effect(`answer ${tag} at once`, () =>
      Effect.gen(function* () {
        const approvals = yield* Approvals.Approvals
        const asked = approvals.ask(question(), 0)
        assert.isTrue(Exit.isExit(asked))
        assert.strictEqual((yield* asked)._tag, tag)
        assert.notInclude(JSON.stringify(yield* asked), "4111")
        assert.strictEqual(yield* outcome(approvals), tag)
        yield* approvals.decided("any")
        assert.strictEqual((yield* Effect.flip(approvals.grant("any")))._tag, "ApprovalError")
        assert.deepStrictEqual(yield* approvals.list(), [])
      }).pipe(Effect.provide(layer))
    )
  }
})

// --- At a terminal ---------------------------------------------------------

const terminal = Effect.gen(function* () {
  const lines = yield* Queue.unbounded<string>()
  const shown: Array<string> = []
  const nothing = Effect.die("not used")
  const service = Terminal.make({
    columns: nothing,
    rows: nothing,
    size: nothing,
    readInput: nothing,
    readLine: Effect.flatMap(Queue.take(lines), (line) =>
      line === "^C" ? Effect.fail(new Terminal.QuitError({})) : Effect.succeed(line)
    ),
    display: (text) => Effect.sync(() => void shown.push(text))
  })
  const approvals = yield* Approvals.layerTerminal().pipe(
    Layer.provide(keyring),
    Layer.provide(Layer.succeed(Terminal.Terminal, service)),
    Layer.build,
    Effect.map(Context.get(Approvals.Approvals))
  )
  return { approvals, shown, type: (line: string) => Queue.offer(lines, line) }
})

const turns = Effect.repeat(Effect.yieldNow, { times: 50 })

describe("Approvals.layerTerminal", () => {
  it.effect("shows the call to the person who is there, and lets it run once for a yes", () =>
    Effect.gen(function* () {
      const { approvals, shown, type } = yield* terminal
      yield* type(" Yes ")
      const asked = yield* ask(approvals)
      assert.strictEqual(asked._tag, "Granted")
      assert.strictEqual(asked._tag === "Granted" && asked.request.decidedBy, "ada")
      assert.strictEqual(
        shown.join(""),
        `
pay needs your confirmation (risk: high)
  for     ada
  asked by model opus
  why     Paying needs a confirmation. [pay*]
  warning Looks like SQL.
  warning to was copied from what fetch returned, which is not trusted
  arguments
    {
      "to": "shop",
      "card": "<card>"
    }
  hidden  card [card]
Let pay run? [y/N] `
      )
      assert.strictEqual(yield* outcome(approvals), "Granted")
      assert.strictEqual(yield* outcome(approvals), "Nothing")
    })
  )

  it.effect("takes everything but a yes for a no", () =>
    Effect.gen(function* () {
      const { approvals, type } = yield* terminal
      for (const [index, line] of ["", "n", "yep", "ye", "ok", "y y"].entries()) {
        yield* type(line)
        const asked = yield* ask(approvals, { callId: `call-${index}` })
        assert.strictEqual(asked._tag, "Rejected", line)
        assert.strictEqual(yield* outcome(approvals, { callId: `call-${index}` }), "Rejected")
      }
    })
  )

  it.effect("asks one question at a time, and asks none twice", () =>
    Effect.gen(function* () {
      const { approvals, shown, type } = yield* terminal
      const calls = yield* Effect.forEach(["one", "one", "two"], (callId) =>
        Effect.forkChild(ask(approvals, { callId }), { startImmediately: true })
      )
      yield* turns
      assert.strictEqual(shown.length, 1)
      yield* type("y")
      yield* turns
      assert.strictEqual(shown.length, 2)
      yield* type("n")
      const tags = yield* Effect.forEach(calls, Fiber.join)
      assert.deepStrictEqual(
        tags.map(({ _tag }) => _tag),
        ["Granted", "Granted", "Rejected"]
      )
      assert.strictEqual(yield* outcome(approvals, { callId: "one" }), "Granted")
      assert.strictEqual(yield* outcome(approvals, { callId: "one" }), "Nothing")
    })
  )

  it.effect("leaves pending what the person cannot decide, and what the terminal is closed on", () =>
    Effect.gen(function* () {
      const { approvals, shown, type } = yield* terminal
      assert.strictEqual((yield* ask(approvals, { by: "approve" }))._tag, "Pending")
      assert.strictEqual((yield* ask(approvals, { principal: "anonymous" }))._tag, "Pending")
      assert.deepStrictEqual(shown, [])
      yield* type("^C")
      assert.strictEqual((yield* ask(approvals))._tag, "Pending")
      assert.strictEqual(shown.length, 1)
    })
  )

  it.effect("stops asking when somebody else has decided, time is up, or the call is interrupted", () =>
    Effect.gen(function* () {
      const { approvals, type } = yield* terminal
      const first = yield* Effect.forkChild(ask(approvals), { startImmediately: true })
      yield* turns
      const [request] = yield* approvals.list()
      yield* Principal.provide(approvals.grant(request!.id), ada)
      assert.strictEqual((yield* Fiber.join(first))._tag, "Granted")

      const second = yield* Effect.forkChild(ask(approvals, { callId: "call-2" }), { startImmediately: true })
      yield* TestClock.adjust("15 minutes")
      assert.strictEqual((yield* Fiber.join(second))._tag, "Pending")
      assert.strictEqual((yield* redeem(approvals, { callId: "call-2" }))._tag, "Nothing")

      const third = yield* Effect.forkChild(ask(approvals, { callId: "call-3" }), { startImmediately: true })
      yield* turns
      yield* Fiber.interrupt(third)
      yield* type("y")
      assert.strictEqual((yield* ask(approvals, { callId: "call-4" }))._tag, "Granted")
      assert.strictEqual(yield* outcome(approvals, { callId: "call-3" }), "Pending")
    })
  )

  it.effect("lets nothing that it shows draw, move or hide anything", () =>
    Effect.gen(function* () {
      const { approvals, shown, type } = yield* terminal
      yield* type("n")
      const evil = "a\u001b[2J\u009b1A\r\n\u202e\u2028\u200b\ufeff"
      yield* ask(approvals, {
        tool: evil,
        tenant: evil,
        actor: { kind: "model", id: evil },
        why: [{ rule: evil, message: evil }],
        findings: [{ rule: evil, path: evil, message: evil, severity: "flag" }],
        copied: [{ path: evil, tool: evil, callId: evil }],
        view: { value: { [evil]: evil }, masked: [{ path: evil, rule: evil }] }
      })
      assert.notMatch(shown.join("").replaceAll("\n", ""), /[\p{C}\p{Zl}\p{Zp}]/u)
      assert.strictEqual(shown.join("").split("\n").length, 13)
      assert.include(shown.join(""), "a\\u{1b}[2J")
    })
  )
})
