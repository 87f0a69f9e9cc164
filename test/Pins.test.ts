/** What is kept of other servers' tools, in memory and in a file that people read. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Pins } from "effect-interlock/mcp"
import * as fc from "fast-check"
import { readOne } from "../src/mcp/gateway/definitions.ts"
import { folder } from "./support/gateway.ts"

const pin = (name: string, description: string): Pins.Pin => {
  const tool = readOne({ name, description, inputSchema: { type: "object", properties: { b: {}, a: {} } } })
  if ("why" in tool) throw new Error(tool.why)
  return { definition: tool.definition, digest: tool.digest }
}

const server = (...pins: ReadonlyArray<Pins.Pin>): Pins.ServerPins => ({
  tools: new Map(pins.map((pin) => [pin.definition.name, pin])),
  offers: ["resources", "prompts"]
})

const suite = (name: string, layer: Layer.Layer<Pins.Pins>) => {
  describe(name, () => {
    it.effect("knows nothing of a server of which nothing was accepted", () =>
      Effect.gen(function* () {
        const { get } = yield* Pins.Pins
        assert.isUndefined(yield* get("one"))
      }).pipe(Effect.provide(layer))
    )

    it.effect("gives what was put, and each server its own", () =>
      Effect.gen(function* () {
        const { get, put } = yield* Pins.Pins
        yield* put("one", server(pin("b", "second"), pin("a", "first")))
        yield* put("two", server(pin("a", "another")))
        yield* put("none", { tools: new Map(), offers: [] })
        const one = yield* get("one")
        assert.deepEqual([...(one?.tools.keys() ?? [])].sort(), ["a", "b"])
        assert.deepEqual(one?.tools.get("a"), pin("a", "first"))
        assert.deepEqual([...(one?.offers ?? [])].sort(), ["prompts", "resources"])
        assert.deepEqual((yield* get("two"))?.tools.get("a"), pin("a", "another"))
        assert.strictEqual((yield* get("none"))?.tools.size, 0)
      }).pipe(Effect.provide(layer))
    )

    it.effect("puts what is accepted now in the place of what was before", () =>
      Effect.gen(function* () {
        const { get, put } = yield* Pins.Pins
        yield* put("one", server(pin("a", "first"), pin("b", "second")))
        yield* put("one", server(pin("a", "changed")))
        assert.deepEqual([...((yield* get("one"))?.tools ?? [])], [["a", pin("a", "changed")]])
      }).pipe(Effect.provide(layer))
    )

    it.effect("takes any name", () =>
      Effect.gen(function* () {
        const { get, put } = yield* Pins.Pins
        for (const name of ["__proto__", "constructor", "a.b/c", "toString", "ключ"]) {
          yield* put(name, server(pin("a", name)))
        }
        for (const name of ["__proto__", "constructor", "a.b/c", "toString", "ключ"]) {
          assert.deepEqual((yield* get(name))?.tools.get("a"), pin("a", name))
        }
        assert.isUndefined(yield* get("hasOwnProperty"))
      }).pipe(Effect.provide(layer))
    )
  })
}

const file = (path: string) => Layer.provide(Pins.layerFile(path), NodeServices.layer)

suite("memory", Layer.fresh(Pins.layerMemory))
suite(
  "a file",
  Layer.unwrap(
    Effect.map(folder, (path) => file(join(path, "below", "interlock.lock.json")))
  ) as Layer.Layer<Pins.Pins>
)

describe("the file", () => {
  const at = <A>(test: (path: string) => Effect.Effect<A, unknown>) =>
    Effect.scoped(Effect.flatMap(folder, (path) => test(join(path, "lock.json"))))
  const put = (path: string, name: string, pins: Pins.ServerPins) =>
    Effect.flatMap(Pins.Pins, (port) => port.put(name, pins)).pipe(Effect.provide(file(path)))
  const get = (path: string, name: string) =>
    Effect.flatMap(Pins.Pins, (port) => port.get(name)).pipe(Effect.provide(file(path)))

  it.effect("is the same whatever came first, sorted, a field a line", () =>
    at((path) =>
      Effect.gen(function* () {
        yield* put(path, "two", server(pin("a", "x")))
        yield* put(path, "one", server(pin("b", "y"), pin("a", "x")))
        const text = readFileSync(path, "utf8")
        yield* put(`${path}2`, "one", server(pin("a", "x"), pin("b", "y")))
        yield* put(`${path}2`, "two", server(pin("a", "x")))
        assert.strictEqual(readFileSync(`${path}2`, "utf8"), text)
        assert.isBelow(text.indexOf('"one"'), text.indexOf('"two"'))
        assert.isBelow(text.indexOf('"a": {'), text.indexOf('"b": {'))
        assert.include(text, '            "description": "x",\n')
        assert.isTrue(text.endsWith("}\n"))
        // Nothing of the writing is left behind.
        assert.deepEqual(readdirSync(join(path, "..")).sort(), ["lock.json", "lock.json2"])
      })
    )
  )

  it.effect("keeps what another process has put in meanwhile", () =>
    at((path) =>
      Effect.gen(function* () {
        const mine = yield* Layer.build(file(path))
        yield* Effect.provide(
          Effect.flatMap(Pins.Pins, (port) => port.put("one", server(pin("a", "x")))),
          mine
        )
        yield* put(path, "two", server(pin("a", "y")))
        yield* Effect.provide(
          Effect.flatMap(Pins.Pins, (port) => port.put("three", server(pin("a", "z")))),
          mine
        )
        assert.deepEqual([...(yield* get(path, "two"))!.tools.keys()], ["a"])
      }).pipe(Effect.scoped)
    )
  )

  it.effect("is refused with its place where it was changed by half, or is none", () =>
    at((path) =>
      Effect.gen(function* () {
        const why = (text: string) => {
          writeFileSync(path, text)
          return Effect.map(Effect.flip(get(path, "one")), (error) => error.message)
        }
        yield* put(path, "one", server(pin("a", "what it does")))
        const text = readFileSync(path, "utf8")
        assert.include(
          yield* why(text.replace("what it does", "what else it does")),
          'are not valid: the digest of "a" of "one" is not that of its definition'
        )
        assert.include(yield* why(text.replace('"name": "a"', '"name": "b"')), '"a" of "one" must have')
        assert.include(yield* why(text.slice(0, 100)), "it is no JSON")
        assert.include(yield* why(text.replace('"version": 1', '"version": 2')), '"version": 1')
        assert.include(yield* why('{"version":1,"servers":{"one":7}}'), '"one" must have "tools"')
        assert.include(yield* why('{"version":1,"servers":{"one":{"tools":{},"offers":"all"}}}'), '"offers"')
        assert.include(yield* why("[]"), "must be an object")
      })
    )
  )

  it.effect("says so where it cannot be read or written, and stays as it was", () =>
    at((path) =>
      Effect.gen(function* () {
        mkdirSync(path)
        const unreadable = yield* Effect.flip(get(path, "one"))
        assert.strictEqual(unreadable.reason, "unreadable")
        const below = join(path, "none", "lock.json")
        writeFileSync(join(path, "none"), "a file where a folder should be")
        const unwritable = yield* Effect.flip(put(below, "one", server(pin("a", "x"))))
        assert.include(["unreadable", "unwritable"], unwritable.reason)
      })
    )
  )

  it("holds what it was given, whatever that is", () => {
    const words = fc.string({ unit: "grapheme", maxLength: 20 })
    const schema = fc.dictionary(
      words.filter((key) => key !== "__proto__"),
      fc.jsonValue()
    )
    fc.assert(
      fc.property(
        fc.dictionary(words, fc.array(fc.tuple(words, words, schema), { maxLength: 4 })),
        (servers) => {
          const all = new Map(
            Object.entries(servers).map(([name, tools]) => [
              name,
              server(
                ...tools.flatMap(([tool, description, inputSchema]) => {
                  const read = readOne({ name: tool, description, inputSchema })
                  return "why" in read ? [] : [{ definition: read.definition, digest: read.digest }]
                })
              )
            ])
          )
          const read = Pins.parse(Pins.print(all))
          if (typeof read === "string") throw new Error(read)
          assert.deepEqual(
            [...read]
              .map(([name, { tools }]) => [name, [...tools].sort(([a], [b]) => (a < b ? -1 : 1))])
              .sort(),
            [...all]
              .map(([name, { tools }]) => [name, [...tools].sort(([a], [b]) => (a < b ? -1 : 1))])
              .sort()
          )
        }
      ),
      { numRuns: 300 }
    )
  })
})
