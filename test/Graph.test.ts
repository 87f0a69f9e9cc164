import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { ToolAnnotations as Annotate, Batch, Graph, ToolExecutor } from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import * as fc from "fast-check"
import * as Raw from "../src/internal/raw.ts"
import { type Node, runNodes } from "../src/internal/schedule.ts"
import { whileTimePasses, workers } from "./support/workers.ts"

const range = (length: number) => Array.from({ length }, (_, n) => n)

// --- Tools that take from one another --------------------------------------

const Hit = Schema.Struct({ title: Schema.String, score: Schema.FiniteFromString })
const kit = Toolkit.make(
  Tool.make("extract", {
    parameters: Schema.Struct({ url: Schema.String }),
    success: Schema.Struct({ title: Schema.String, words: Schema.Array(Schema.String) }),
    failure: Schema.String
  }).annotate(Annotate.Retries, 0),
  Tool.make("search", {
    parameters: Schema.Struct({ query: Schema.String, limit: Schema.optionalKey(Schema.Int) }),
    success: Schema.Struct({ hits: Schema.Array(Hit) })
  }),
  Tool.make("format", {
    parameters: Schema.Struct({ hits: Schema.Array(Hit), footer: Schema.optionalKey(Schema.String) }),
    success: Schema.String
  }),
  Tool.make("join", {
    parameters: Schema.Struct({
      parts: Schema.Array(Schema.String),
      style: Schema.Struct({ separator: Schema.String })
    }),
    success: Schema.String
  }),
  Tool.make("source", { success: Schema.Unknown }),
  Tool.make("anything", { parameters: Schema.Struct({ value: Schema.Unknown }), success: Schema.Unknown })
)

let source: unknown
const handlers = kit.toLayer({
  source: () => Effect.sync(() => source),
  extract: ({ url }) =>
    url === "broken" ? Effect.fail("404") : Effect.succeed({ title: `<${url}>`, words: ["a", "b"] }),
  search: ({ limit, query }) =>
    Effect.succeed({ hits: range(limit ?? 2).map((n) => ({ title: `${query}${n}`, score: n })) }),
  format: ({ footer = "", hits }) =>
    Effect.succeed(hits.map(({ score, title }) => `${title}=${score}`).join() + footer),
  join: ({ parts, style }) => Effect.succeed(parts.join(style.separator)),
  anything: ({ value }) => Effect.succeed(value)
})

const makeExecutor = Effect.gen(function* () {
  const services = yield* Layer.build(Layer.merge(handlers, Testing.layer()))
  return yield* Effect.provide(ToolExecutor.make(kit), services)
})

describe("Graph.run", () => {
  it.effect("passes values from call to call: extract, search, format in three lines", () =>
    Effect.gen(function* () {
      const executor = yield* makeExecutor
      const graph = yield* Graph.run(executor, (g) => {
        const page = g.call("extract", { url: "x" })
        const found = g.call("search", { query: page.at("title") })
        return g.call("format", { hits: found.at("hits") })
      })
      assert.strictEqual(graph.output, "<x>0=0,<x>1=1")
      assert.deepStrictEqual(graph.counts, { success: 3 })
      assert.deepStrictEqual(
        graph.results.map(({ tool }) => tool),
        ["extract", "search", "format"]
      )
    })
  )

  it.effect(
    "takes references anywhere in the arguments: whole, in arrays, in objects, into arrays, twice",
    () =>
      Effect.gen(function* () {
        const executor = yield* makeExecutor
        const graph = yield* Graph.run(executor, (g) => {
          const one = g.call("extract", { url: "1" })
          const two = g.call("extract", { url: "2" })
          const separator = g.call("join", { parts: ["-", "-"], style: { separator: "" } })
          const firstWord = one.at("words").at(0)
          return g.call("join", {
            parts: [one.at("title"), "and", two.at("title"), firstWord, firstWord],
            style: { separator }
          })
        })
        assert.strictEqual(graph.output, "<1>--and--<2>--a--a")
        const whole = yield* Graph.run(executor, (g) =>
          g.call("format", g.call("search", { query: "q", limit: 1 }))
        )
        assert.strictEqual(whole.output, "q0=0")
      })
  )

  it.effect("finds results and values by reference, also in a part of the last result", () =>
    Effect.gen(function* () {
      const executor = yield* makeExecutor
      const refs: Array<Graph.Ref<unknown>> = []
      const graph = yield* Graph.run(executor, (g) => {
        const page = g.call("extract", { url: "x" }, { id: "mine" })
        refs.push(page, g.call("search", { query: "q" }), Graph.ref("elsewhere"))
        return page.at("words").at(1)
      })
      assert.strictEqual(graph.output, "b")
      assert.strictEqual(graph.resultOf(refs[0]!)?.callId, "mine")
      assert.strictEqual(graph.resultOf(refs[1]!)?.tool, "search")
      assert.strictEqual(graph.resultOf(refs[2]!), undefined)
    })
  )

  it.effect("runs calls that need nothing of each other at once, and others after what they name", () =>
    Effect.gen(function* () {
      const { executor, log } = yield* workers()
      const graph = yield* whileTimePasses(
        Graph.run(executor, (g) => {
          const slow = g.call("work", { n: 1, ms: 100 })
          const quick = g.call("work", { n: 2, ms: 10 })
          g.call("work", { n: 3, ms: 50 })
          g.call("work", { n: 4, ms: 10 }, { after: [quick] })
          return g.call("work", { n: 5 }, { after: [slow, quick] })
        }),
        5
      )
      assert.strictEqual(graph.output, 5)
      assert.strictEqual(graph.time, 100)
      assert.deepStrictEqual([...log.ended.keys()], [2, 4, 3, 1, 5])
    })
  )

  it.effect("has no output where the call that should give it did not succeed", () =>
    Effect.gen(function* () {
      const executor = yield* makeExecutor
      const graph = yield* Graph.run(executor, (g) => {
        const page = g.call("extract", { url: "broken" })
        return g.call("search", { query: page.at("title") }).at("hits")
      })
      assert.strictEqual(graph.output, undefined)
      assert.deepStrictEqual(graph.counts, { failure: 1, skipped: 1 })
    })
  )

  it.effect("takes the options of a batch and of each call", () =>
    Effect.gen(function* () {
      const { executor } = yield* workers()
      const progress: Array<number> = []
      const graph = yield* whileTimePasses(
        Graph.run(
          executor,
          (g) => {
            const spare = g.call("work", { n: 1, fails: true }, { critical: false })
            const slow = g.call("work", { n: 2, ms: 500 }, { timeout: 20, after: [] })
            g.call("work", { n: 3 }, { after: [slow] })
            return spare
          },
          { failFast: true, concurrency: 1, onProgress: ({ ended }) => progress.push(ended) }
        ),
        5
      )
      assert.deepStrictEqual(
        graph.results.map(({ status }) => status),
        ["failure", "timeout", "skipped"]
      )
      assert.strictEqual(graph.stoppedBy, "work#2")
      assert.deepStrictEqual(progress, [1, 2, 3])
    })
  )

  it.effect("dies where the same id is given twice", () =>
    Effect.gen(function* () {
      const executor = yield* makeExecutor
      const exit = yield* Effect.exit(
        Graph.run(executor, (g) => {
          g.call("extract", { url: "1" }, { id: "same" })
          return g.call("extract", { url: "2" }, { id: "same" })
        })
      )
      assert.strictEqual(exit._tag, "Failure")
    })
  )

  it("does not compile what does not fit", () => {
    // Never called: the compiler is the test.
    const _ = (executor: ToolExecutor.ToolExecutor<typeof kit.tools>) =>
      Graph.run(executor, (g) => {
        const page = g.call("extract", { url: "x" })
        const found = g.call("search", { query: "q" })
        // @ts-expect-error an unknown tool
        g.call("delete", { url: "x" })
        // @ts-expect-error a wrong key of the arguments
        g.call("search", { text: "q" })
        // @ts-expect-error missing arguments
        g.call("search", {})
        // @ts-expect-error a wrong type of an argument
        g.call("search", { query: 5 })
        // @ts-expect-error a wrong key of a result
        page.at("name")
        // @ts-expect-error a method is no part of a value
        page.at("title").at("length")
        // @ts-expect-error nor of an array
        page.at("words").at("map")
        // @ts-expect-error a reference to a number where a string belongs
        g.call("search", { query: found.at("hits").at(0).at("score"), limit: page.at("title") })
        // @ts-expect-error a reference to an array of strings where hits belong
        g.call("format", { hits: page.at("words") })
        // @ts-expect-error a reference of a wrong type within an array
        g.call("join", { parts: [page], style: { separator: "" } })
        // @ts-expect-error a whole result that is not the arguments
        g.call("format", page)
        // @ts-expect-error what comes after is a reference, not an id
        g.call("extract", { url: "x" }, { after: ["search#1"] })
        // Encoded, as JSON has it: a score is a string before it is decoded.
        const score: Graph.Ref<string> = found.at("hits").at(0).at("score")
        const output: Effect.Effect<Graph.GraphResult<string>> = Graph.run(executor, () => score)
        // @ts-expect-error the output is what the reference is
        const wrong: Effect.Effect<Graph.GraphResult<number>> = Graph.run(executor, () => score)
        return [output, wrong].length > 0 ? score : page.at("title")
      })
    assert.isFunction(_)
  })
})

describe("Graph.fromNodes", () => {
  const node = (id: string, dependsOn: ReadonlyArray<string> = [], params: object = {}): Graph.GraphNode => ({
    id,
    tool: "work",
    params: { n: 0, ...params },
    dependsOn
  })

  const refused = (nodes: ReadonlyArray<Graph.GraphNode>) =>
    Effect.gen(function* () {
      const { executor, log } = yield* workers()
      const error = yield* Effect.flip(Graph.fromNodes(executor, nodes))
      assert.deepStrictEqual(log.began, [], "nothing has run")
      assert.instanceOf(error, Graph.GraphError)
      return [error.problem, ...error.ids]
    })

  it.effect("refuses a cycle and names it in its order, wherever it is", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* refused([node("a", ["a"])]), ["cycle", "a", "a"])
      assert.deepStrictEqual(yield* refused([node("a", ["b"]), node("b", ["a"])]), ["cycle", "a", "b", "a"])
      const nodes = [
        node("free"),
        node("leads in", ["x", "free"]),
        node("x", ["free", "y"]),
        node("y", ["z"]),
        node("z", ["x"]),
        node("after", ["leads in"])
      ]
      const [problem, first, ...rest] = yield* refused(nodes)
      assert.strictEqual(problem, "cycle")
      const dependsOn = new Map(nodes.map(({ dependsOn: on = [], id }) => [id, on]))
      let at = first as string
      for (const id of rest) {
        assert.isTrue(dependsOn.get(at)?.includes(id))
        at = id
      }
      assert.strictEqual(at, first, "it comes back")
      assert.sameMembers(rest, ["x", "y", "z"])
    })
  )

  it.effect("refuses a cycle that goes through references", () =>
    Effect.gen(function* () {
      const nodes = [node("a", [], { n: Graph.ref("b") }), node("b", [], { ms: [Graph.ref("a", "deep", 1)] })]
      assert.deepStrictEqual(yield* refused(nodes), ["cycle", "a", "b", "a"])
    })
  )

  it.effect("refuses unknown ids, of dependencies and of references, with the node that has them", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* refused([node("a"), node("b", ["c"])]), ["unknown id", "b", "c"])
      const referring = node("b", [], { n: Graph.ref("__proto__") })
      assert.deepStrictEqual(yield* refused([node("a"), referring]), ["unknown id", "b", "__proto__"])
    })
  )

  it.effect("refuses repeated ids", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* refused([node("a"), node("b"), node("a")]), ["repeated id", "a"])
    })
  )

  it.effect("refuses what is no node, or cannot be read as one", () =>
    Effect.gen(function* () {
      const throwing = {
        ...node("b"),
        params: Object.defineProperty({}, "x", {
          enumerable: true,
          get: () => {
            throw new Error("no")
          }
        })
      }
      for (const bad of [null, throwing]) {
        assert.deepStrictEqual(yield* refused([node("a"), bad as never]), ["unreadable node"])
      }
    })
  )

  it.effect("takes ids, tools and keys that are names of Object's own", () =>
    Effect.gen(function* () {
      const { executor } = yield* workers()
      const batch = yield* Graph.fromNodes(executor, [
        node("__proto__"),
        node("constructor", ["__proto__"], { n: Graph.ref("__proto__") }),
        { id: "toString", tool: "__proto__", params: {} }
      ])
      assert.deepStrictEqual(
        batch.results.map(({ status }) => status),
        ["success", "success", "not_found"]
      )
    })
  )

  it.effect("skips what a failed call leaves without, as far as it reaches, and says why", () =>
    Effect.gen(function* () {
      const { executor, log } = yield* workers()
      const batch = yield* Graph.fromNodes(executor, [
        node("root", [], { n: 1 }),
        node("bad", ["root"], { n: 2, fails: true }),
        node("child", ["bad"], { n: 3 }),
        node("grandchild", ["child", "root"], { n: 4 }),
        node("other", ["root"], { n: 5 })
      ])
      assert.deepStrictEqual(
        batch.results.map(({ status }) => status),
        ["success", "failure", "skipped", "skipped", "success"]
      )
      assert.deepStrictEqual(log.began, [1, 2, 5])
      const why = (index: number) => batch.results[index]?.error?.message
      assert.include(why(2), '"bad" did not succeed')
      assert.include(why(3), '"child" did not succeed')
    })
  )

  it.effect("skips a call whose reference leads nowhere, and says where", () =>
    Effect.gen(function* () {
      const executor = yield* makeExecutor
      source = JSON.parse('{ "list": [1], "text": "abc", "none": null, "__proto__": { "own": 7 } }')
      const paths: ReadonlyArray<readonly [ReadonlyArray<string | number>, unknown]> = [
        [["list", 0], 1],
        [["none"], null],
        // What the value itself has under such a key is a part like any other.
        [["__proto__", "own"], 7],
        [["list", 1], undefined],
        [["text", 0], undefined],
        [["text", "length"], undefined],
        [["none", "x"], undefined],
        [["constructor"], undefined],
        [["list", "__proto__"], undefined],
        [["list", "constructor", "name"], undefined],
        [["hasOwnProperty"], undefined]
      ]
      const batch = yield* Graph.fromNodes(executor, [
        { id: "source", tool: "source", params: {} },
        ...paths.map(([path], index) => ({
          id: `n${index}`,
          tool: "anything",
          params: { value: Graph.ref("source", ...path) }
        }))
      ])
      for (const [index, [path, expected]] of paths.entries()) {
        const result = batch.results[index + 1]
        if (expected !== undefined) assert.deepStrictEqual(result?.value, expected, path.join())
        else {
          assert.strictEqual(result?.status, "skipped", path.join())
          assert.include(result?.error?.message, `the result of "source" has no "${path.join(".")}"`)
        }
      }
      assert.strictEqual(({} as { own?: unknown }).own, undefined)
    })
  )

  it.effect("puts values in without touching what it was given", () =>
    Effect.gen(function* () {
      const executor = yield* makeExecutor
      const shared = { ref: Graph.ref("source") }
      source = { a: [1] }
      const value = { list: [shared, shared, { left: null }], text: "x", empty: {} }
      const batch = yield* Graph.fromNodes(executor, [
        { id: "source", tool: "source", params: {} },
        { id: "taker", tool: "anything", params: { value } }
      ])
      const taken = { ref: { a: [1] } }
      assert.deepStrictEqual(batch.results[1]?.value, {
        list: [taken, taken, { left: null }],
        text: "x",
        empty: {}
      })
      assert.instanceOf(shared.ref, Graph.Ref)
    })
  )

  it.effect("keeps hostile keys beside a reference for the pipeline to refuse", () =>
    Effect.gen(function* () {
      const executor = yield* makeExecutor
      const hostile = JSON.parse('{ "__proto__": { "polluted": true } }')
      hostile["ref"] = Graph.ref("source")
      const batch = yield* Graph.fromNodes(executor, [
        { id: "source", tool: "source", params: {} },
        { id: "hostile", tool: "anything", params: { value: hostile } }
      ])
      assert.deepStrictEqual(batch.counts, { success: 1, invalid_params: 1 })
      assert.strictEqual(({} as { polluted?: unknown }).polluted, undefined)
    })
  )

  it.effect("leaves arguments that are cyclic or too deep to the pipeline, which refuses that one call", () =>
    Effect.gen(function* () {
      const executor = yield* makeExecutor
      const cyclic: Record<string, unknown> = { ref: Graph.ref("source") }
      cyclic["self"] = cyclic
      let deep: unknown = Graph.ref("source")
      for (let depth = 0; depth < 50_000; depth++) deep = [deep]
      const batch = yield* Graph.fromNodes(executor, [
        { id: "source", tool: "anything", params: { value: "v" } },
        { id: "cyclic", tool: "anything", params: { value: cyclic } },
        { id: "deep", tool: "anything", params: { value: deep } }
      ])
      assert.deepStrictEqual(
        batch.results.map(({ status }) => status),
        ["success", "invalid_params", "invalid_params"]
      )
    })
  )
})

// --- Large graphs ----------------------------------------------------------

const chain = (size: number) => range(size).map((n) => (n === 0 ? [] : [n - 1]))
const fan = (size: number) => range(size).map((n) => (n === 0 ? [] : n === size - 1 ? range(size - 1) : [0]))
const diamonds = (size: number) =>
  range(size).map((n) =>
    n === 0 ? [] : n % 3 === 0 ? [n - 2, n - 1] : [n - (n % 3), ...(n % 3 === 2 ? [n - 2] : [])]
  )
const dense = (size: number) => range(size).map((n) => range(Math.min(n, 50)).map((back) => n - 1 - back))
const shapes = { chain, fan, "row of diamonds": diamonds, "dense graph": dense }

describe("a graph of thousands of nodes", () => {
  for (const [name, shape] of Object.entries(shapes)) {
    it.effect(`runs to its end as a ${name}, each node once and after what it needs`, () =>
      Effect.gen(function* () {
        const { executor, log } = yield* workers()
        const size = name === "dense graph" ? 2000 : 10_000
        const edges = shape(size)
        const batch = yield* Graph.fromNodes(
          executor,
          edges.map((on, n) => ({
            id: `n${n}`,
            tool: "work",
            params: { n },
            dependsOn: on.map((other) => `n${other}`)
          }))
        )
        assert.deepStrictEqual(batch.counts, { success: size })
        const position = new Map(log.began.map((n, at) => [n, at]))
        assert.strictEqual(position.size, size)
        for (const [n, on] of edges.entries()) {
          for (const other of on) assert.isBelow(position.get(other)!, position.get(n)!)
        }
      })
    )

    it.effect(`looks at every edge of a ${name} a fixed number of times, however large it is`, () =>
      Effect.gen(function* () {
        const { executor } = yield* workers()
        const looksPerEdge = (size: number) =>
          Effect.gen(function* () {
            let looks = 0
            const counted = (on: ReadonlyArray<number>) =>
              new Proxy(on, {
                get: (target, key) => {
                  if (typeof key === "string" && /^\d+$/.test(key)) looks++
                  return Reflect.get(target, key)
                }
              })
            const edges = shape(size)
            const nodes = edges.map(
              (on, n): Node => ({
                request: { door: "batch", tool: "work", params: Raw.of({ n }) },
                critical: undefined,
                dependsOn: counted(on),
                resolve: undefined
              })
            )
            yield* runNodes(executor.pipeline, nodes, {
              concurrency: 10,
              deadline: undefined,
              stops: () => false,
              onProgress: undefined
            })
            return looks / edges.reduce((sum, on) => sum + on.length, 0)
          })
        assert.strictEqual(yield* looksPerEdge(200), yield* looksPerEdge(1000))
      })
    )
  }

  it.effect("skips ten thousand nodes that wait in a row for one that failed", () =>
    Effect.gen(function* () {
      const { executor } = yield* workers()
      const batch = yield* Graph.fromNodes(
        executor,
        chain(10_000).map((on, n) => ({
          id: `n${n}`,
          tool: "work",
          params: { n, fails: n === 0 },
          dependsOn: on.map((other) => `n${other}`)
        }))
      )
      assert.deepStrictEqual(batch.counts, { failure: 1, skipped: 9999 })
    })
  )

  it.effect("finds the one cycle in a chain of ten thousand", () =>
    Effect.gen(function* () {
      const { executor } = yield* workers()
      const nodes = range(10_000).map((n) => ({
        id: `n${n}`,
        tool: "work",
        params: { n },
        dependsOn: [`n${(n + 1) % 10_000}`]
      }))
      const error = yield* Effect.flip(Graph.fromNodes(executor, nodes))
      assert.strictEqual(error.ids.length, 10_001)
    })
  )
})

// --- Laws ------------------------------------------------------------------

const anyGraph = fc.record({
  nodes: fc.array(
    fc.record({
      ms: fc.integer({ min: 0, max: 15 }),
      fails: fc.boolean(),
      on: fc.array(fc.nat(), { maxLength: 4 }),
      refers: fc.boolean()
    }),
    { maxLength: 25 }
  ),
  order: fc.infiniteStream(fc.nat()),
  concurrency: fc.integer({ min: 1, max: 6 }),
  failures: fc.boolean()
})

describe("whatever the graph", () => {
  it("every node runs after what it needs and takes its value, never more at once than allowed", () =>
    fc.assert(
      fc.asyncProperty(anyGraph, ({ concurrency, failures, nodes, order }) =>
        Effect.gen(function* () {
          const { executor, log } = yield* workers()
          const needs = nodes.map(({ on }, n) => (n === 0 ? [] : [...new Set(on.map((other) => other % n))]))
          const data = nodes.map(({ fails, ms, refers }, n): Graph.GraphNode => {
            const [first] = needs[n]!
            return {
              id: `n${n}`,
              tool: "work",
              // A node that refers takes as its own time what the other's result says: its number.
              params: {
                n,
                ms: refers && first !== undefined ? Graph.ref(`n${first}`) : ms,
                fails: failures && fails
              },
              dependsOn: needs[n]!.slice(refers ? 1 : 0).map((other) => `n${other}`)
            }
          })
          // Their order as data must not matter.
          const keys = new Map(data.map((node) => [node, order.next().value]))
          const shuffled = data.toSorted((a, b) => keys.get(a)! - keys.get(b)!)
          const batch = yield* whileTimePasses(Graph.fromNodes(executor, shuffled, { concurrency }))
          assert.deepStrictEqual(
            batch.results.map(({ tool }) => tool),
            shuffled.map(({ tool }) => tool)
          )
          const status = new Map(shuffled.map(({ id }, at) => [id, batch.results[at]!.status]))
          const began = new Map(log.began.map((n, at) => [n, at]))
          const ended = [...log.ended.keys()]
          for (const [n, on] of needs.entries()) {
            const possible = on.every((other) => status.get(`n${other}`) === "success")
            const own = failures && nodes[n]!.fails ? "failure" : "success"
            assert.strictEqual(status.get(`n${n}`), possible ? own : "skipped")
            assert.strictEqual(began.has(n), possible)
            for (const other of on) {
              if (possible) assert.isTrue(ended.indexOf(other) < ended.indexOf(n))
            }
          }
          assert.isAtMost(log.mostAtOnce, concurrency)
          assert.strictEqual(log.running, 0)
        }).pipe(Effect.scoped, Effect.provide(TestClock.layer()), Effect.runPromise)
      ),
      { numRuns: 200 }
    ))

  it("a cycle that is named is one, and one is named exactly where there is any", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.nat({ max: 11 }), { maxLength: 2 }), { minLength: 1, maxLength: 12 }),
        (edges) =>
          Effect.gen(function* () {
            const { executor, log } = yield* workers()
            const needs = edges.map((on) => on.map((other) => other % edges.length))
            const exit = yield* Effect.result(
              Graph.fromNodes(
                executor,
                needs.map((on, n) => ({
                  id: `${n}`,
                  tool: "work",
                  params: { n },
                  dependsOn: on.map(String)
                }))
              )
            )
            const reaches = (from: number, to: number, seenNodes = new Set<number>()): boolean =>
              needs[from]!.some((next) => {
                if (next === to) return true
                if (seenNodes.has(next)) return false
                seenNodes.add(next)
                return reaches(next, to, seenNodes)
              })
            const cyclic = needs.some((_, n) => reaches(n, n))
            assert.strictEqual(exit._tag === "Failure", cyclic)
            if (exit._tag === "Failure") {
              assert.deepStrictEqual(log.began, [])
              const ids = exit.failure.ids.map(Number)
              assert.strictEqual(ids[0], ids.at(-1))
              assert.strictEqual(new Set(ids).size, ids.length - 1)
              for (const [at, id] of ids.slice(1).entries()) assert.isTrue(needs[ids[at]!]!.includes(id))
            }
          }).pipe(Effect.scoped, Effect.provide(TestClock.layer()), Effect.runPromise)
      ),
      { numRuns: 300 }
    ))
})

describe("a graph as a batch", () => {
  it.effect("is what Batch runs, with nothing that depends on anything", () =>
    Effect.gen(function* () {
      const { executor } = yield* workers()
      const calls = range(5).map((n) => ({ id: `n${n}`, tool: "work", params: { n } }))
      const graph = yield* Graph.fromNodes(executor, calls)
      const batch = yield* Batch.parallel(executor, calls)
      assert.deepStrictEqual(graph, batch)
    })
  )
})
