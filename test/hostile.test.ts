/**
 * Whatever comes from outside gets an answer. The calls are made by a seeded
 * generator, so that a run that fails can be run again.
 */
import { isDeepStrictEqual } from "node:util"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import {
  ToolAnnotations as Annotate,
  CallRecord,
  Handlers,
  Health,
  History,
  Interlock,
  type ToolCall,
  ToolError,
  ToolExecutor,
  ToolResult
} from "effect-interlock"

// --- A seeded generator ----------------------------------------------------

type Random = () => number

/** Mulberry32: small, quick and the same everywhere. */
const seeded = (seed: number): Random => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

const pick = <A>(random: Random, from: ReadonlyArray<A>): A => from[Math.floor(random() * from.length)]!

const noise = (random: Random): string =>
  String.fromCharCode(...Array.from({ length: Math.floor(random() * 12) }, () => random() * 0x10000))

// --- What is hostile -------------------------------------------------------

const huge = "x".repeat(1_048_576)

const deep = (levels: number, array: boolean): unknown => {
  let value: unknown = 1
  for (let i = 0; i < levels; i++) value = array ? [value] : { a: value }
  return value
}
const deepArray = deep(100_000, true)
const deepObject = deep(100_000, false)

const cyclic: Record<string, unknown> = { a: 1 }
cyclic["self"] = [cyclic]

const throws = () => {
  throw new Error("never to be seen")
}
const throwingProxy = new Proxy(
  {},
  {
    get: throws,
    has: throws,
    ownKeys: throws,
    getPrototypeOf: throws,
    getOwnPropertyDescriptor: throws
  }
)
/** Lies about its keys: what it lists isn't there, and its length is no length. */
const lyingProxy = new Proxy([], {
  get: (target, key) => (key === "length" ? "many" : Reflect.get(target, key)),
  getOwnPropertyDescriptor: () => undefined
})
const endlessProxy: object = new Proxy({}, { get: () => endlessProxy, ownKeys: () => ["a"], has: () => true })
const revoked = Proxy.revocable({}, {})
revoked.revoke()

class Foreign {
  readonly text = "x"
  toJSON() {
    return throws()
  }
}

const sparse: Array<unknown> = []
sparse[1_000_000] = 1

const withGetter = (key: string) => Object.defineProperty({ n: 1 }, key, { get: throws, enumerable: true })
const withToString = { toString: throws, valueOf: throws, [Symbol.toPrimitive]: throws }

const oddities: ReadonlyArray<(random: Random) => unknown> = [
  () => undefined,
  () => null,
  () => Number.NaN,
  () => Number.POSITIVE_INFINITY,
  () => -0,
  () => 2 ** 60,
  () => 10n ** 30n,
  () => Symbol("odd"),
  () => throws,
  () => new Date(Number.NaN),
  () => new Map([["a", 1]]),
  () => new Foreign(),
  () => Object.create({ n: 1, text: "inherited" }),
  () => runInNewContext("({ n: 1, text: 'from another realm' })"),
  () => sparse,
  () => cyclic,
  () => deepArray,
  () => deepObject,
  () => throwingProxy,
  () => lyingProxy,
  () => endlessProxy,
  () => revoked.proxy,
  () => withGetter("text"),
  () => withToString,
  () => huge,
  () => JSON.parse('{"__proto__":{"admin":true},"n":1}'),
  () => JSON.parse('{"constructor":{"prototype":{"admin":true}}}'),
  () => "\u0000\u001b[31m\u202e",
  () => "\ud800",
  () => Array.from({ length: 20_000 }, () => 0),
  (random) => noise(random),
  // Each of them a text of its own, so that keeping it would show.
  (random) => huge.slice(0, 100_000) + random(),
  (random) => ({ [noise(random)]: noise(random) }),
  (random) => random() * 1e6
]

const odd = (random: Random): unknown => pick(random, oddities)(random)

/** A name that no tool has: very many different ones come. */
const oddNames: ReadonlyArray<(random: Random) => unknown> = [
  () => "__proto__",
  () => "constructor",
  () => "toString",
  () => "(unknown)",
  () => "",
  () => huge,
  () => `echo\u0000`,
  () => "ECHO",
  () => "e\u0441ho",
  () => "\udfff\ud800",
  (random) => `tool-${random()}`,
  (random) => noise(random),
  odd
]

const tools = ["echo", "add", "raw", "throws", "breaks", "lies", "returns"]

const params = (random: Random): unknown => {
  const shape = random()
  if (shape < 0.25) return { text: noise(random), n: Math.floor(random() * 100) }
  if (shape < 0.4) return { text: odd(random), n: odd(random) }
  if (shape < 0.5) return { text: "a", n: 1, [noise(random)]: odd(random) }
  if (shape < 0.6) return [odd(random)]
  return odd(random)
}

/** Calls, nearly calls, and what is no call at all. */
const call = (random: Random): unknown => {
  const kind = random()
  if (kind < 0.1) return odd(random)
  const name = random() < 0.6 ? pick(random, tools) : pick(random, oddNames)(random)
  const made: Record<string, unknown> = { tool: name, params: params(random) }
  if (kind < 0.7) return made
  const field = pick(random, [
    "id",
    "timeout",
    "retries",
    "deadline",
    "requireConfirmation",
    "idempotencyKey",
    "metadata",
    // None of these may be said from outside.
    "decoded",
    "redeems",
    "refused",
    "parent",
    "door",
    "onProgress"
  ])
  made[field] = random() < 0.3 ? pick(random, plausible) : odd(random)
  if (kind < 0.73) delete made["tool"]
  if (kind > 0.97) return withGetterIn(made, field)
  return made
}

const plausible = [true, 0, 1, 0.5, -1, "call-1", { label: "x" }, 1e308, Number.MIN_VALUE]

const withGetterIn = (target: object, key: string) =>
  Object.defineProperty(target, key, { get: throws, enumerable: true, configurable: true })

// --- The tools -------------------------------------------------------------

const parameters = Schema.Struct({ text: Schema.String, n: Schema.Int })
const rawSchema = {
  type: "object",
  properties: { text: { type: "string" }, n: { type: "integer" } },
  required: ["text", "n"],
  not: { required: ["never"] }
} as const

// A tool that always fails is to be reached always.
const failing = <T extends Tool.Any>(tool: T) =>
  tool.annotate(Annotate.Retries, 0).annotate(Annotate.Circuit, false) as T

const HostileTools = Toolkit.make(
  Tool.make("echo", {
    parameters: Schema.Struct({ text: Schema.Unknown, n: Schema.Unknown }),
    success: Schema.Unknown
  }),
  Tool.make("add", { parameters, success: Schema.Number }),
  Tool.dynamic("raw", { parameters: rawSchema }),
  failing(Tool.make("throws", { parameters, success: Schema.String })),
  failing(Tool.make("breaks", { parameters, success: Schema.String })),
  failing(Tool.make("lies", { parameters, success: Schema.String })),
  failing(Tool.make("returns", { parameters, success: Schema.Unknown }))
)

const HostileHandlers = Handlers.toLayer(HostileTools, {
  echo: (given) => given,
  add: ({ n }) => n,
  raw: (given) => given,
  throws: () => throws(),
  breaks: () => Effect.die(withToString),
  lies: () => 5 as never,
  // A tool can be as hostile as its caller.
  returns: ({ n }) => oddities[n % oddities.length]!(() => 0.5)
})

const Services = Interlock.layer({ history: { keep: 100 } })

// --- The test --------------------------------------------------------------

const total = 100_000
const codec = Schema.toCodecJson(ToolResult)
const encode = Schema.encodeUnknownExit(codec)
const decode = Schema.decodeUnknownExit(codec)

/** Why a result is not one that any caller could be sent; nothing where it is. */
const flaw = (result: ToolResult): string | undefined => {
  const encoded = encode(result)
  if (!Exit.isSuccess(encoded)) return "does not encode"
  const text = JSON.stringify(encoded.value)
  if (text.length > 4_000_000) return `is ${text.length} long`
  if (text.includes("never to be seen")) return "says what was thrown"
  if (/\n\s+at /.test(text)) return "has a stack"
  const back = decode(JSON.parse(text))
  if (!Exit.isSuccess(back)) return "does not decode"
  if (JSON.stringify(encode(back.value)) !== JSON.stringify(encoded)) return "is another after JSON"
  if (result.error !== undefined && !isDeepStrictEqual(result.error.reason, back.value.error?.reason)) {
    return "has another reason after JSON"
  }
  return undefined
}

setFlagsFromString("--expose-gc")
const collectGarbage: () => void = runInNewContext("gc")
const heap = () => {
  collectGarbage()
  return process.memoryUsage().heapUsed
}

describe("hostile calls", () => {
  it.live(
    "a hundred thousand get an answer each, and leave exact counts and no memory behind",
    () =>
      Effect.gen(function* () {
        const astray: Array<unknown> = []
        const note = (error: unknown) => void astray.push(error)
        process.on("unhandledRejection", note)
        process.on("uncaughtException", note)
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => {
            process.off("unhandledRejection", note)
            process.off("uncaughtException", note)
          })
        )
        const executor = yield* ToolExecutor.make(HostileTools)
        const random = seeded(20_26)
        const counts = new Map<string, number>()
        const flaws: Array<unknown> = []
        const judge = (n: number, exit: Exit.Exit<ToolResult>): void => {
          if (!Exit.isSuccess(exit)) return void flaws.push({ n, exit })
          const { status } = exit.value
          counts.set(status, (counts.get(status) ?? 0) + 1)
          const why = flaw(exit.value)
          if (why !== undefined) flaws.push({ n, why })
        }
        const run = (calls: number) =>
          Effect.forEach(
            Array.from({ length: calls }, (_, n) => n),
            (n) =>
              Effect.suspend(() => executor.execute(call(random) as ToolCall)).pipe(
                Effect.exit,
                Effect.flatMap((exit) => Effect.sync(() => judge(n, exit)))
              ),
            { concurrency: 64, discard: true }
          )

        yield* run(total / 10)
        const before = heap()
        yield* run(total - total / 10)
        const growth = heap() - before

        assert.deepStrictEqual(flaws.slice(0, 3), [])
        assert.deepStrictEqual(astray, [])
        assert.isBelow(growth, 16 * 1024 * 1024)
        assert.isFalse("admin" in {})

        // What callers were told, health and history agree, call by call.
        const history = yield* History.History
        const { all, tools: tallies } = yield* history.statistics
        assert.strictEqual(all.ended, total)
        assert.strictEqual(all.inFlight, 0)
        const health = yield* (yield* Health.Health).all
        for (const status of ToolError.Status.literals) {
          const told = counts.get(status) ?? 0
          let counted = 0
          for (const tool of health.values()) counted += tool.counts[status]
          assert.deepStrictEqual([counted, all.counts[status]], [told, told], status)
        }
        assert.strictEqual(
          [...health.values()].reduce((sum, tool) => sum + tool.total, 0),
          total
        )
        // Names from outside share one entry.
        const known = [...tools, CallRecord.unknownTool].sort()
        assert.deepStrictEqual([...health.keys()].sort(), known)
        assert.deepStrictEqual([...tallies.keys()].sort(), known)
        assert.isAtMost((yield* history.recent()).length, 100)

        // The calls were as hostile as they should be.
        for (const status of ["success", "failure", "invalid_params", "not_found", "timeout"]) {
          assert.isAbove(counts.get(status) ?? 0, 100, status)
        }
        assert.isAbove(counts.get("invalid_params") ?? 0, total / 4)
      }).pipe(Effect.scoped, Effect.provide(HostileHandlers.pipe(Layer.provideMerge(Services)))),
    60_000
  )
})
