/** How parameters are written: the specification's own table, and what a server reads is what was passed. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import fc from "fast-check"
import { documentOf, documentWith, echo, toolsOf } from "./support/openapi.ts"
import { type Parsed, parse } from "./support/openapiStyles.ts"

type Parameter = Readonly<Record<string, unknown>>

/** Writes arguments by a document's operation `send`: what arrived, or why nothing was sent. */
const sending = (...parameters: ReadonlyArray<Parameter>) =>
  Effect.gen(function* () {
    const { arrived, port, url } = yield* echo
    const { api, call } = yield* toolsOf(port, {
      document: documentWith(parameters),
      baseUrl: url
    })
    assert.deepStrictEqual(api.skipped, [])
    return Effect.fnUntraced(function* (params: Readonly<Record<string, unknown>>) {
      const before = arrived.length
      const result = yield* call("send", params)
      const failure = result.error?.reason as { readonly failure?: { readonly problem?: string } } | undefined
      const one = arrived[before]
      return {
        target: one?.target ?? "",
        headers: one?.headers ?? new Map<string, ReadonlyArray<string>>(),
        refused: failure?.failure?.problem,
        status: result.status
      }
    })
  })

const types = {
  string: { type: "string" },
  array: { type: "array", items: { type: "string" } },
  object: { type: "object", additionalProperties: { type: "integer" } }
} as const

const values = { string: "blue", array: ["blue", "black", "brown"], object: { R: 100, G: 200, B: 150 } }

// OpenAPI 3.1.1, section 4.8.12.4; 3.0.4 has the same.
const table: ReadonlyArray<
  readonly [style: string, explode: boolean, empty: string | null, ...written: ReadonlyArray<string | null>]
> = [
  ["matrix", false, ";color", ";color=blue", ";color=blue,black,brown", ";color=R,100,G,200,B,150"],
  ["matrix", true, ";color", ";color=blue", ";color=blue;color=black;color=brown", ";R=100;G=200;B=150"],
  ["label", false, null, ".blue", ".blue,black,brown", ".R,100,G,200,B,150"],
  ["label", true, null, ".blue", ".blue.black.brown", ".R=100.G=200.B=150"],
  ["simple", false, null, "blue", "blue,black,brown", "R,100,G,200,B,150"],
  ["simple", true, null, "blue", "blue,black,brown", "R=100,G=200,B=150"],
  ["form", false, "?color=", "?color=blue", "?color=blue,black,brown", "?color=R,100,G,200,B,150"],
  ["form", true, "?color=", "?color=blue", "?color=blue&color=black&color=brown", "?R=100&G=200&B=150"],
  ["spaceDelimited", false, null, null, "?color=blue%20black%20brown", "?color=R%20100%20G%20200%20B%20150"],
  ["pipeDelimited", false, null, null, "?color=blue%7Cblack%7Cbrown", "?color=R%7C100%7CG%7C200%7CB%7C150"],
  ["deepObject", true, null, null, null, "?color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150"]
]

describe("the table of styles in the specification", () => {
  for (const [style, explode, empty, ...written] of table) {
    const location = ["matrix", "label", "simple"].includes(style) ? "path" : "query"
    const at = location === "path" ? "/at/" : "/at"

    it.live(`is what is sent: ${style}, ${explode ? "exploded" : "not exploded"}`, () =>
      Effect.gen(function* () {
        for (const [index, type] of (["string", "array", "object"] as const).entries()) {
          const parameter = {
            name: "color",
            in: location,
            required: true,
            style,
            explode,
            schema: types[type]
          }
          const expected = written[index]
          if (expected === null || expected === undefined) continue
          const send = yield* sending(parameter)
          assert.strictEqual((yield* send({ color: values[type] })).target, `${at}${expected}`)
        }
        if (empty !== null) {
          const send = yield* sending({
            name: "color",
            in: location,
            required: true,
            style,
            explode,
            schema: types.string
          })
          assert.strictEqual((yield* send({ color: "" })).target, `${at}${empty}`)
        }
      }).pipe(Effect.scoped)
    )

    it.live(
      `leaves out what it has no way to write: ${style}, ${explode ? "exploded" : "not exploded"}`,
      () =>
        Effect.gen(function* () {
          const { port, url } = yield* echo
          for (const [index, type] of (["string", "array", "object"] as const).entries()) {
            if (written[index] !== null) continue
            const parameter = { name: "color", in: location, style, explode, schema: types[type] }
            const { api } = yield* toolsOf(port, { document: documentWith([parameter]), baseUrl: url })
            assert.deepStrictEqual(
              api.skipped.map(({ operation, pointer }) => [operation, pointer]),
              [["GET /at", "#/paths/~1at/get/parameters/0"]]
            )
            assert.include(api.skipped[0]!.reason, `style ${style}`)
            assert.deepStrictEqual([...api.operations.keys()], ["send"])
          }
        }).pipe(Effect.scoped)
    )
  }

  it.live("has defaults: simple in paths and headers, form, exploded, in queries and cookies", () =>
    Effect.gen(function* () {
      const send = yield* sending(
        { name: "p", in: "path", required: true, schema: types.object },
        { name: "q", in: "query", schema: types.array },
        { name: "X-H", in: "header", schema: types.object },
        { name: "c", in: "cookie", schema: types.object }
      )
      const { headers, target } = yield* send({
        p: { a: 1, b: 2 },
        q: ["x", "y"],
        "X-H": { a: 1, b: 2 },
        c: { d: 3, e: 4 }
      })
      assert.strictEqual(target, "/at/a,1,b,2?q=x&q=y")
      assert.deepStrictEqual(headers.get("x-h"), ["a,1,b,2"])
      assert.deepStrictEqual(headers.get("cookie"), ["d=3; e=4"])
    }).pipe(Effect.scoped)
  )

  it.live("defaults explode by the style: only form is exploded", () =>
    Effect.gen(function* () {
      const send = yield* sending({ name: "ids", in: "query", style: "pipeDelimited", schema: types.array })
      assert.strictEqual((yield* send({ ids: ["1", "2"] })).target, "/at?ids=1%7C2")
      const exploded = yield* sending({
        name: "ids",
        in: "query",
        style: "pipeDelimited",
        explode: true,
        schema: types.array
      })
      assert.strictEqual((yield* exploded({ ids: ["1", "2"] })).target, "/at?ids=1&ids=2")
      const deep = yield* sending({ name: "filter", in: "query", style: "deepObject", schema: types.object })
      assert.strictEqual((yield* deep({ filter: { eq: 1 } })).target, "/at?filter%5Beq%5D=1")
    }).pipe(Effect.scoped)
  )
})

describe("the examples of RFC 6570 and of the specification's appendices", () => {
  it.live("encode everything but what is unreserved", () =>
    Effect.gen(function* () {
      const send = yield* sending({ name: "q", in: "query", schema: { type: "object" } })
      const { target } = yield* send({ q: { a: "x+y", b: "x/y", c: "x^y", "❤️": "love!" } })
      assert.strictEqual(target, "/at?a=x%2By&b=x%2Fy&c=x%5Ey&%E2%9D%A4%EF%B8%8F=love%21")
      const path = yield* sending({ name: "p", in: "path", required: true, schema: {} })
      const ascii = String.fromCharCode(...Array.from({ length: 95 }, (_, n) => n + 32)).replace(
        /[./\\]/g,
        ""
      )
      const escaped = ascii.replace(
        /[^A-Za-z0-9_~-]/g,
        (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`
      )
      assert.strictEqual((yield* path({ p: ascii })).target, `/at/${escaped}`)
    }).pipe(Effect.scoped)
  )

  it.live("leave reserved characters where allowReserved says so, but for those that separate", () =>
    Effect.gen(function* () {
      const send = yield* sending({ name: "q", in: "query", allowReserved: true, schema: types.string })
      const { target } = yield* send({ q: "a/b?c:d@e!f$g'h(i)*,;&=+#[] %2B%" })
      // WHATWG's parser encodes the apostrophe of a query.
      assert.strictEqual(target, "/at?q=a/b?c:d@e!f$g%27h(i)*,%3B%26%3D%2B%23%5B%5D%20%2B%25")
      const items = yield* sending({
        name: "q",
        in: "query",
        allowReserved: true,
        explode: false,
        schema: types.array
      })
      assert.strictEqual((yield* items({ q: ["a,b", "c/d"] })).target, "/at?q=a%2Cb,c/d")
    }).pipe(Effect.scoped)
  )

  it.live("write JSON where the content says so, wherever it stands", () =>
    Effect.gen(function* () {
      const content = { "application/json": { schema: { type: "object" } } }
      const send = yield* sending(
        { name: "p", in: "path", required: true, content },
        { name: "q", in: "query", content },
        { name: "X-H", in: "header", content },
        { name: "c", in: "cookie", content }
      )
      const value = { lat: 1.5, name: "Zürich ❤", list: [1, null] }
      const { headers, target } = yield* send({ p: value, q: value, "X-H": value, c: value })
      const [path, query] = target.split("?") as [string, string]
      for (const text of [
        decodeURIComponent(path.slice(4)),
        decodeURIComponent(query.slice(2)),
        headers.get("x-h")![0]!,
        decodeURIComponent(headers.get("cookie")![0]!.slice(2))
      ]) {
        assert.deepStrictEqual(JSON.parse(text), value)
      }
    }).pipe(Effect.scoped)
  )

  it.live("write JSON that is empty, which is a value, and a text as it is", () =>
    Effect.gen(function* () {
      const send = yield* sending(
        { name: "p", in: "path", required: true, content: { "application/json": {} } },
        { name: "q", in: "query", content: { "application/json": {} } },
        { name: "X-H", in: "header", content: { "text/plain": {} } },
        { name: "c", in: "cookie", content: { "text/plain": {} } }
      )
      const { headers, target } = yield* send({ p: {}, q: null, "X-H": "a, b=c", c: "d; e" })
      assert.strictEqual(target, "/at/%7B%7D?q=null")
      assert.deepStrictEqual([headers.get("x-h"), headers.get("cookie")], [["a, b=c"], ["c=d%3B%20e"]])
      assert.strictEqual((yield* send({})).status, "invalid_params")
    }).pipe(Effect.scoped)
  )

  it.live("write deeper objects with further brackets", () =>
    Effect.gen(function* () {
      const send = yield* sending({ name: "f", in: "query", style: "deepObject", schema: { type: "object" } })
      const { target } = yield* send({ f: { a: { b: 1 }, c: ["x", "y"], d: null } })
      assert.strictEqual(decodeURIComponent(target), "/at?f[a][b]=1&f[c][0]=x&f[c][1]=y")
    }).pipe(Effect.scoped)
  )
})

describe("parameters of an operation", () => {
  it.live("win over those of its path, whose headers have no case", () =>
    Effect.gen(function* () {
      const { arrived, port, url } = yield* echo
      const header = (name: string, maxLength: number) => ({
        name,
        in: "header",
        schema: { type: "string", maxLength }
      })
      const document = documentOf({
        "/": {
          parameters: [header("X-Tag", 1), header("X-Other", 1), { name: "X-Tag", in: "query", schema: {} }],
          get: { operationId: "send", parameters: [header("x-tag", 5)] }
        }
      })
      const { call } = yield* toolsOf(port, { document, baseUrl: url })
      assert.strictEqual(
        (yield* call("send", { "x-tag": "abc", "X-Other": "d", "X-Tag": "e" })).status,
        "success"
      )
      assert.strictEqual((yield* call("send", { "x-tag": "abcdef" })).status, "invalid_params")
      assert.strictEqual(arrived[0]!.target, "/?X-Tag=e")
      assert.deepStrictEqual(arrived[0]!.headers.get("x-tag"), ["abc"])
    }).pipe(Effect.scoped)
  )
})

describe("what is not sent", () => {
  it.live("is nothing: null, empty arrays and empty objects, where they may be left out", () =>
    Effect.gen(function* () {
      const send = yield* sending(
        { name: "a", in: "query", schema: { type: ["string", "null"] } },
        { name: "b", in: "query", schema: types.array },
        { name: "c", in: "query", schema: types.object },
        { name: "X-D", in: "header", schema: types.array },
        { name: "e", in: "cookie", schema: types.object }
      )
      const { headers, target } = yield* send({ a: null, b: [], c: {}, "X-D": [], e: {} })
      assert.strictEqual(target, "/at")
      assert.isFalse(headers.has("x-d"))
      assert.isFalse(headers.has("cookie"))
    }).pipe(Effect.scoped)
  )

  const refusals: ReadonlyArray<readonly [what: string, parameter: Parameter, value: unknown, why: string]> =
    [
      [
        "a space between spaces",
        { in: "query", style: "spaceDelimited" },
        ["a b", "c"],
        "must not contain a space"
      ],
      [
        "a bar between bars",
        { in: "query", style: "pipeDelimited" },
        ["a|b", "c"],
        "must not contain a vertical bar"
      ],
      [
        "a dot between dots",
        { in: "path", required: true, style: "label", explode: true },
        ["1.5", "c"],
        "must not contain a dot"
      ],
      ["a comma in a header's item", { in: "header" }, ["a,b", "c"], "must not contain a comma"],
      ["a line in a header", { in: "header" }, "a\r\nX-Evil: 1", "printable ASCII"],
      ["what is no ASCII in a header", { in: "header" }, "Zürich", "printable ASCII"],
      ["a space at the end of a header", { in: "header" }, "a ", "must not begin or end with a space"],
      ["null in an array", { in: "query" }, ["a", null], "must not hold null"],
      ["an array in an array", { in: "query" }, ["a", ["b"]], "must not hold null, arrays or objects"],
      ["an object in an object", { in: "query" }, { a: { b: 1 } }, "must not hold null, arrays or objects"],
      [
        "a bracket in deepObject",
        { in: "query", style: "deepObject" },
        { "a]": 1 },
        "must not have a bracket"
      ],
      ["a text in deepObject", { in: "query", style: "deepObject" }, "a", "must be an object"],
      ["a text between bars", { in: "query", style: "pipeDelimited" }, "a", "must be an array or an object"],
      [
        "an exploded object between bars",
        { in: "query", style: "pipeDelimited", explode: true },
        { a: 1 },
        "must be an array"
      ],
      ["half a pair of surrogates", { in: "query" }, "a\ud800", "must be Unicode text"],
      ["an exploded array in a cookie", { in: "cookie" }, ["a", "b"], "sent as one cookie"],
      ["a property that is no name of a cookie", { in: "cookie" }, { "a;b": 1 }, "name a cookie"],
      ["nothing in a path", { in: "path", required: true }, "", "must not be empty"],
      ["an empty array in a path", { in: "path", required: true }, [], "must not be empty"]
    ]
  for (const [what, parameter, value, why] of refusals) {
    it.live(`is refused, and says why: ${what}`, () =>
      Effect.gen(function* () {
        const send = yield* sending({ name: "v", ...parameter, schema: {} })
        const { refused, status, target } = yield* send({ v: value })
        assert.strictEqual(status, "failure")
        assert.strictEqual(target, "")
        assert.include(refused, why)
      }).pipe(Effect.scoped)
    )
  }
})

// --- The law -----------------------------------------------------------------------

const text = fc
  .oneof(
    fc.string({ unit: "grapheme", maxLength: 12 }),
    fc.string({
      maxLength: 12,
      unit: fc.constantFrom(
        "/",
        "..",
        ".",
        "?",
        "#",
        "&",
        "=",
        ",",
        ";",
        "%",
        "%2e",
        "+",
        " ",
        "|",
        "[",
        "]",
        "a"
      )
    })
  )
  .filter((value) => value.isWellFormed())
const primitive = fc.oneof(
  text,
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.boolean()
)
const items = fc.array(primitive, { minLength: 1, maxLength: 5 })
const object = fc.dictionary(text, primitive, { minKeys: 1, maxKeys: 5 })

const combinations = [
  ...["simple", "label", "matrix"].map((style) => ["path", style] as const),
  ...["form", "spaceDelimited", "pipeDelimited", "deepObject"].map((style) => ["query", style] as const),
  ["header", "simple"] as const,
  ["cookie", "form"] as const
].flatMap(([location, style]) => [false, true].map((explode) => ({ location, style, explode })))

const asTexts = (value: unknown): Parsed =>
  Array.isArray(value)
    ? value.map(String)
    : typeof value === "object" && value !== null
      ? Object.fromEntries(Object.entries(value).map(([key, item]) => [key, String(item)]))
      : String(value)

describe("what a server reads is what was passed, or nothing is sent", () => {
  for (const { explode, location, style } of combinations) {
    it.live(
      `${style} in the ${location}, ${explode ? "exploded" : "not exploded"}`,
      () =>
        Effect.gen(function* () {
          const parameter = { name: "v", in: location, required: true, style, explode, schema: {} }
          const send = yield* sending(parameter)
          const counts = { sent: 0, refused: 0 }
          const samples = fc.sample(fc.oneof(primitive, items, object), { numRuns: 150, seed: 20260901 })
          for (const value of samples) {
            const { headers, refused, status, target } = yield* send({ v: value })
            if (status !== "success") {
              counts.refused++
              assert.isString(refused, JSON.stringify(value))
              continue
            }
            counts.sent++
            const kind = Array.isArray(value) ? "array" : typeof value === "object" ? "object" : "primitive"
            const read = parse({ location, style, explode, name: "v", kind }, target, headers)
            assert.deepStrictEqual(read, asTexts(value), `${JSON.stringify(value)} as ${target}`)
          }
          assert.isAbove(counts.sent, 20)
        }).pipe(Effect.scoped),
      60_000
    )
  }
})
