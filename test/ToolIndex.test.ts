import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import * as ToolAnnotations from "../src/ToolAnnotations.ts"
import * as ToolIndex from "../src/ToolIndex.ts"

const tools = [
  Tool.make("get_weather", {
    description: "The forecast for a place",
    parameters: Schema.Struct({
      city: Schema.String.annotate({ description: "A municipality" }),
      when: Schema.Struct({ daysAhead: Schema.Int })
    })
  }).annotate(ToolAnnotations.Tags, ["meteorology"]),
  Tool.make("getUserById", {
    description: "Looks up an account",
    parameters: Schema.Struct({ id: Schema.String })
  }),
  Tool.make("delete-user", { description: "Removes an account" }),
  Tool.make("send_mail", { description: "Sends a message to a user" }),
  Tool.make("github__create_issue", { description: "Opens a ticket" }),
  Tool.dynamic("convert", {
    description: "Exchange",
    parameters: {
      type: "object",
      properties: { currency: { type: "string", description: "Three letters, such as of the euro" } }
    }
  })
].map((tool) => ToolAnnotations.read(tool as Tool.Any))

const index = ToolIndex.make(tools)

const names = (query: string, options?: ToolIndex.SearchOptions): ReadonlyArray<string> =>
  index.search(query, options).map(({ tool }) => tool.name)

const all = tools.map((tool) => tool.name)

describe("ToolIndex", () => {
  it("finds a tool by the words of its name, however they are joined", () => {
    for (const query of ["get user by id", "getUserById", "GET_USER_BY_ID", "getuser", "user-by-id"]) {
      assert.strictEqual(names(query)[0], "getUserById", query)
    }
    assert.strictEqual(names("create issue")[0], "github__create_issue")
    assert.strictEqual(names("delete user")[0], "delete-user")
  })

  it("finds a tool by its description, tags, parameters and their descriptions, nested ones too", () => {
    for (const query of ["forecast", "meteorology", "city", "municipality", "days ahead"]) {
      assert.deepStrictEqual(names(query), ["get_weather"], query)
    }
    assert.deepStrictEqual(names("currency"), ["convert"])
    assert.deepStrictEqual(names("euro"), ["convert"])
  })

  it("finds a tool by the beginning of a word and in spite of a small mistake", () => {
    assert.strictEqual(names("weath")[0], "get_weather")
    assert.strictEqual(names("wether")[0], "get_weather")
    assert.strictEqual(names("forecsat")[0], "get_weather")
  })

  it("puts a name before a description, and orders by score", () => {
    const found = index.search("user")
    assert.strictEqual(found.at(-1)?.tool.name, "send_mail")
    const scores = found.map(({ score }) => score)
    assert.deepStrictEqual(
      scores,
      scores.toSorted((a, b) => b - a)
    )
  })

  it("puts the tool with exactly the name first", () => {
    for (const tool of all) assert.strictEqual(names(tool)[0], tool)
  })

  it("gives every tool in order for a blank query, and none for one without a word in it", () => {
    for (const query of ["", "  ", "\n\t"]) assert.deepStrictEqual(names(query), all)
    for (const query of ["?!", "\u0000", "(.*)+$"]) assert.deepStrictEqual(names(query), [])
  })

  it("gives no more than the limit", () => {
    assert.deepStrictEqual(names("", { limit: 2 }), all.slice(0, 2))
    assert.strictEqual(names("user", { limit: 1 }).length, 1)
    for (const limit of [0, -1, Number.NaN]) assert.deepStrictEqual(names("user", { limit }), [])
  })

  it("gives only what is visible, and fills the limit with it", () => {
    const visible = (tool: ToolAnnotations.ToolFacts) => tool.name !== "delete-user"
    assert.notInclude(names("user", { visible }), "delete-user")
    assert.deepStrictEqual(names("", { visible, limit: 3 }), ["get_weather", "getUserById", "send_mail"])
  })

  it("gives tools that match equally well in the order of the index", () => {
    const twins = ["b", "a", "c"].map((name) =>
      ToolAnnotations.read(Tool.make(name, { description: "same" }) as Tool.Any)
    )
    const found = ToolIndex.make(twins).search("same")
    assert.deepStrictEqual(
      found.map(({ tool }) => tool.name),
      ["b", "a", "c"]
    )
  })

  it("bears a schema that has no JSON form, refers to itself or is none", () => {
    const cyclic: Record<string, unknown> = { type: "object", description: "loop" }
    cyclic["properties"] = { itself: cyclic, nothing: null, number: 3 }
    // Each level holds the next twice: a walk without bounds would take 2^40 steps.
    let deep: Record<string, unknown> = { type: "string" }
    for (let level = 0; level < 40; level++) deep = { properties: { one: deep, other: deep } }
    const odd = [
      Tool.dynamic("deep", { parameters: deep as never }) as Tool.Any,
      Tool.make("opaque", { parameters: Schema.Struct({ file: Schema.Symbol }) }) as Tool.Any,
      Tool.dynamic("cyclic", { parameters: cyclic as never }) as Tool.Any,
      Tool.dynamic("broken", { parameters: { properties: null } as never }) as Tool.Any
    ].map(ToolAnnotations.read)
    const found = ToolIndex.make(odd).search("opaque itself broken deep")
    assert.strictEqual(found.length, 4)
  })

  it("bears any query: it never throws, finds each tool once and only tools it has", () => {
    const text = fc.oneof(
      fc.string({ maxLength: 300 }),
      fc.string({ unit: "binary", maxLength: 300 }),
      fc
        .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 60 })
        .map((units) => String.fromCharCode(...units)),
      fc.constantFrom("__proto__", "constructor", "\ud800", "\udc00user", "[a-z]{1000}", "user ".repeat(2000))
    )
    fc.assert(
      fc.property(text, (query) => {
        const found = names(query)
        assert.strictEqual(new Set(found).size, found.length)
        for (const name of found) assert.include(all, name)
      }),
      { numRuns: 1000 }
    )
  })

  it("looks at no more than the beginning of a long query", () => {
    assert.deepStrictEqual(names(`${"x".repeat(256)} weather`), [])
    const padding = Array.from({ length: 16 }, (_, n) => `zz${n}`).join(" ")
    assert.notInclude(names(`${padding} mail`), "send_mail")
    assert.include(names(`zz zz ${"zz ".repeat(20)} mail`), "send_mail")
  })
})
