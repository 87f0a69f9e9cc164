/** Documents and arguments that mean harm: none takes a program down, leaves its segment, or says what another parameter says. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Redacted } from "effect"
import { type Credentials, OpenApi } from "effect-interlock/toolbox"
import fc from "fast-check"
import { documentOf, documentWith, echo, outbound, toolsOf } from "./support/openapi.ts"

type Json = Readonly<Record<string, unknown>>

const baseUrl = "https://api.example/v1"

interface Opened {
  readonly tools: ReadonlyArray<string>
  readonly skipped: ReadonlyArray<string>
  readonly refused?: string
}

/** What a document comes to, or why it is refused: its reason, place and problem. */
const opened = (document: string | Json, options: Partial<OpenApi.Options> = {}): Effect.Effect<Opened> =>
  OpenApi.make({ document, baseUrl, ...options }).pipe(
    Effect.map(
      (api): Opened => ({
        tools: [...api.operations.keys()],
        skipped: api.skipped.map(({ operation, reason }) => `${operation}: ${reason}`)
      })
    ),
    Effect.catchTag("OpenApiError", ({ message, reason }) =>
      Effect.succeed<Opened>({ tools: [], skipped: [], refused: `${reason} ${message}` })
    ),
    Effect.provide(outbound(80))
  )

/** The same, from a file. */
const fromText = Effect.fnUntraced(
  function* (text: string) {
    const fs = yield* FileSystem.FileSystem
    const path = yield* fs.makeTempFileScoped({ suffix: ".yaml" })
    yield* fs.writeFileString(path, text)
    return yield* opened(path)
  },
  Effect.scoped,
  Effect.provide(outbound(80))
)

const operation = (id: string, rest: Json = {}) => ({ get: { operationId: id, ...rest } })

describe("documents that are none", () => {
  const texts: ReadonlyArray<readonly [what: string, text: string, refused: string]> = [
    ["nothing", "", "document #: expected an OpenAPI document, found null"],
    ["a list", "[]", "document #: expected an OpenAPI document, found an array"],
    [
      "a web page",
      "<!doctype html>\n<p>Hello: <b>x</b></p>",
      "document #: is neither JSON nor YAML at line 1, column 1"
    ],
    [
      "broken JSON",
      '{"openapi": "3.1.0",\n "paths": [}',
      "document #: is neither JSON nor YAML at line 2, column 12"
    ],
    [
      "Swagger 2",
      'swagger: "2.0"',
      "document #/swagger: expected OpenAPI 3.0 or 3.1, found Swagger 2.0: convert it first"
    ],
    ["no version", "paths: {}", "document #/openapi: expected a version, such as 3.1.0, found nothing"],
    ["a version to come", "openapi: 4.0.0", 'document #/openapi: expected 3.0 or 3.1, found "4.0.0"'],
    [
      "a version that only begins like one",
      'openapi: "3.10.0"',
      'document #/openapi: expected 3.0 or 3.1, found "3.10.0"'
    ],
    [
      "paths that are none",
      "openapi: 3.1.0\npaths: []",
      "document #/paths: expected an object, found an array"
    ],
    ["no operation", "openapi: 3.1.0", "document #/paths: there is no operation"],
    ["brackets without end", "[".repeat(200_000), "document #: is neither JSON nor YAML"],
    [
      "objects without end, as JSON",
      `{"openapi":"3.1.0","paths":{"/x":${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}}}`,
      "document #/paths/~1x: is nested more than 200 levels deep"
    ],
    [
      "lists a little too deep",
      `openapi: 3.1.0\ninfo: ${"[".repeat(201)}${"]".repeat(201)}`,
      "document #/info/0: is nested more than 200 levels deep"
    ],
    [
      "an alias that holds itself",
      "openapi: 3.1.0\npaths: &a\n  /x: *a",
      "document #/paths/~1x: is nested more than 200 levels deep"
    ],
    [
      "a key twice",
      "openapi: 3.1.0\nopenapi: 3.0.0",
      "document #: is neither JSON nor YAML at line 2, column 1"
    ]
  ]
  for (const [what, text, refused] of texts) {
    it.live(`are refused with their place: ${what}`, () =>
      Effect.gen(function* () {
        assert.include((yield* fromText(text)).refused, refused)
      })
    )
  }

  it.live("do not multiply by aliases", () =>
    Effect.gen(function* () {
      const levels = Array.from(
        { length: 12 },
        (_, n) => `a${n + 1}: &a${n + 1} [${Array(10).fill(`*a${n}`).join(", ")}]`
      )
      const text = `openapi: 3.1.0\na0: &a0 x\n${levels.join("\n")}`
      assert.include((yield* fromText(text)).refused, "document #: is neither JSON nor YAML")
    })
  )

  it.live("are refused where there is no file, and where there is too little in one", () =>
    Effect.gen(function* () {
      assert.deepInclude(yield* opened("/no/such/file.yaml"), {
        refused: "read /no/such/file.yaml: there is no such file"
      })
      assert.deepInclude(yield* opened("/"), { refused: "read /: the file cannot be read" })
    })
  )
})

describe("documents that go on without end", () => {
  it.live("leave out what leads in circles, and keep the rest", () =>
    Effect.gen(function* () {
      const document = documentOf(
        {
          "/a": { $ref: "#/paths/~1b" },
          "/b": { $ref: "#/paths/~1a" },
          "/c": { get: { operationId: "c", parameters: [{ $ref: "#/components/parameters/P" }] } },
          "/d": { get: { operationId: "d", responses: { 200: { $ref: "#/components/responses/R" } } } },
          "/e": { post: { operationId: "e", requestBody: { $ref: "#/components/requestBodies/B" } } },
          "/f": { $ref: "#/components/pathItems/F" },
          "/g": { get: { $ref: "operations/g.yaml" } },
          "/h": { get: "h" },
          "/i": "i"
        },
        {
          components: {
            parameters: { P: { $ref: "#/components/parameters/P" } },
            responses: { R: { $ref: "#/components/responses/R" } },
            requestBodies: { B: { $ref: "#/components/requestBodies/B" } },
            pathItems: { F: operation("f") }
          }
        }
      )
      const { skipped, tools } = yield* opened(document)
      assert.deepStrictEqual(tools, ["d", "f"])
      assert.deepStrictEqual(skipped, [
        "* /a: leads in a circle, or too far",
        "* /b: leads in a circle, or too far",
        "GET /g: refers to another document: bundle the documents into one",
        "GET /h: expected an operation, found a string",
        "* /i: expected a path item, found a string",
        "GET /c: leads in a circle, or too far",
        "POST /e: leads in a circle, or too far"
      ])
    })
  )

  it.live(
    "leave out requests of very many parts, in little time",
    () =>
      Effect.gen(function* () {
        const many = 50_000
        const ref = (n: number) => ({ $ref: `#/components/schemas/S${n}` })
        const chain = Object.fromEntries(
          Array.from({ length: many }, (_, n) => [
            `S${n}`,
            { type: "object", properties: { next: ref((n + 1) % many) } }
          ])
        )
        const doubling = Object.fromEntries(
          Array.from({ length: 60 }, (_, n) => [
            `D${n}`,
            {
              type: "object",
              properties: {
                l: { $ref: `#/components/schemas/D${n + 1}` },
                r: { $ref: `#/components/schemas/D${n + 1}` }
              }
            }
          ])
        )
        const pure = Object.fromEntries(
          Array.from({ length: many }, (_, n) => [`P${n}`, { $ref: `#/components/schemas/P${n + 1}` }])
        )
        const body = (schema: unknown) => ({ requestBody: { content: { "application/json": { schema } } } })
        const document = documentOf(
          {
            "/chain": { post: { operationId: "chain", ...body(ref(0)) } },
            "/wide": {
              post: {
                operationId: "wide",
                ...body({ anyOf: Array.from({ length: many }, (_, n) => ref(n)) })
              }
            },
            "/pure": { post: { operationId: "pure", ...body({ $ref: "#/components/schemas/P0" }) } },
            "/doubling": { post: { operationId: "doubling", ...body({ $ref: "#/components/schemas/D0" }) } },
            "/repeated": {
              get: {
                operationId: "repeated",
                parameters: Array.from({ length: many }, () => ({ $ref: "#/components/parameters/Q" }))
              }
            }
          },
          {
            components: {
              schemas: { ...chain, ...pure, ...doubling, D60: { type: "string" } },
              parameters: { Q: { name: "q", in: "query", schema: { type: "string" } } }
            }
          }
        )
        const { skipped, tools } = yield* opened(document)
        assert.deepStrictEqual(tools, ["doubling", "repeated"])
        assert.deepStrictEqual(skipped, [
          "POST /chain: the request's schemas have more than 5000 parts",
          "POST /wide: the request's schemas have more than 5000 parts",
          "POST /pure: leads in a circle, or too far"
        ])
      }),
    60_000
  )

  it.live("hold a chain of as many parts as there may be, and validate against it", () =>
    Effect.gen(function* () {
      const { port, url } = yield* echo
      const length = 1_200
      const schemas = Object.fromEntries(
        Array.from({ length }, (_, n) => [
          `S${n}`,
          {
            type: "object",
            properties: {
              next: n + 1 < length ? { $ref: `#/components/schemas/S${n + 1}` } : { type: "string" }
            }
          }
        ])
      )
      const schema = { $ref: "#/components/schemas/S0" }
      const document = documentOf(
        {
          "/": { post: { operationId: "send", requestBody: { content: { "application/json": { schema } } } } }
        },
        { components: { schemas } }
      )
      const { call } = yield* toolsOf(port, { document, baseUrl: url })
      assert.strictEqual((yield* call("send", { body: { next: { next: { next: {} } } } })).status, "success")
      assert.strictEqual(
        (yield* call("send", { body: { next: { next: { next: 1 } } } })).status,
        "invalid_params"
      )
    }).pipe(Effect.scoped)
  )

  it.live("come to no more tools than are wanted", () =>
    Effect.gen(function* () {
      const document = documentOf(
        Object.fromEntries(Array.from({ length: 101 }, (_, n) => [`/p${n}`, operation(`o${n}`)]))
      )
      assert.deepInclude(yield* opened(document), {
        refused:
          "options maxOperations: the document comes to 101 tools, and at most 100 are wanted: select some with include"
      })
      assert.strictEqual((yield* opened(document, { maxOperations: 101 })).tools.length, 101)
    })
  )
})

describe("names from outside", () => {
  const inherited = ["__proto__", "constructor", "toString", "hasOwnProperty", "valueOf"]

  it.live("that every object has are names like any other", () =>
    Effect.gen(function* () {
      const { arrived, port, url } = yield* echo
      // What every object's prototype is called, no arguments may be.
      const inBody = inherited.slice(1)
      const own = (value: (name: string) => unknown): Json =>
        JSON.parse(
          `{${inBody.map((name) => `${JSON.stringify(name)}:${JSON.stringify(value(name))}`).join()}}`
        )
      const document = JSON.parse(
        JSON.stringify({
          openapi: "3.1.0",
          paths: {
            ...Object.fromEntries(inherited.map((name) => [`/${name}`, operation(name)])),
            "/send": {
              post: {
                operationId: "send",
                parameters: inherited.map((name) => ({ name, in: "query", schema: { type: "string" } })),
                requestBody: {
                  content: { "application/json": { schema: { $ref: "#/components/schemas/__proto__" } } }
                }
              }
            }
          }
        })
      )
      document.components = JSON.parse(
        `{"schemas":{"__proto__":{"type":"object"}},"securitySchemes":{"__proto__":{"type":"http","scheme":"bearer"}}}`
      )
      Object.defineProperty(document.components.schemas, "__proto__", {
        value: {
          type: "object",
          properties: own(() => ({ type: "string" })),
          required: inBody,
          additionalProperties: false
        },
        enumerable: true
      })
      const { api, call } = yield* toolsOf(port, { document, baseUrl: url })
      assert.deepStrictEqual(api.skipped, [])
      assert.strictEqual(api.operations.size, inherited.length + 1)
      assert.strictEqual(Object.keys(api.toolkit.tools).length, inherited.length + 1)
      for (const name of api.operations.keys()) {
        if (name !== "send") assert.strictEqual((yield* call(name)).status, "success", name)
      }
      const body = own((name) => name)
      const params = { ...Object.fromEntries(inherited.map((name) => [`${name}_query`, name])), body }
      assert.strictEqual((yield* call("send", params)).status, "success")
      const sent = arrived.at(-1)!
      assert.strictEqual(sent.target, `/send?${inherited.map((name) => `${name}=${name}`).join("&")}`)
      assert.strictEqual(sent.body.toString(), JSON.stringify(body))
      assert.strictEqual((yield* call("send", { body: {} })).status, "invalid_params")
    }).pipe(Effect.scoped)
  )

  it.live("that become equal are told apart by what they stand for, whatever else is there", () =>
    Effect.gen(function* () {
      const long = "x".repeat(70)
      const paths = {
        "/1": operation("get.user"),
        "/2": operation("get user"),
        "/3": operation("GET_USER"),
        "/4": operation(`${long}1`),
        "/5": operation(`${long}2`),
        "/6": operation("größe"),
        "/7": operation("日本"),
        "/8/{id}": { get: {}, parameters: [{ name: "id", in: "path", schema: {} }] },
        "/9": operation("get.user")
      }
      const { tools } = yield* opened(documentOf(paths))
      assert.strictEqual(new Set(tools.map((name) => name.toLowerCase())).size, 9)
      for (const name of tools) assert.match(name, /^[a-zA-Z0-9_-]{1,64}$/)
      assert.deepStrictEqual(tools.slice(5, 8), ["gro_e", "get_7", "get_8_id"])
      // A name means the same where it is selected, and where it stands elsewhere in the document.
      const reversed = yield* opened(documentOf(Object.fromEntries(Object.entries(paths).toReversed())))
      assert.deepStrictEqual(reversed.tools.toReversed(), tools)
      const some = yield* opened(documentOf(paths), { include: [{ paths: ["/2", "/5"] }] })
      assert.deepStrictEqual(some.tools, [tools[1]!, tools[4]!])
      const prefixed = yield* opened(documentOf(paths), { prefix: "p".repeat(24) })
      for (const name of prefixed.tools) assert.match(name, /^p{24}__[a-zA-Z0-9_-]{1,38}$/)
      assert.strictEqual(new Set(prefixed.tools.map((name) => name.toLowerCase())).size, 9)
    })
  )

  it.live("of arguments fit what models take, and are told apart", () =>
    Effect.gen(function* () {
      const { arrived, port, url } = yield* echo
      const schema = { type: "string" }
      const names = ["filter[name]", "$select", "filter name", "a".repeat(80), "id", "日本", "body"]
      const document = documentOf({
        "/{id}": {
          post: {
            operationId: "send",
            parameters: [
              ...names.map((name) => ({ name, in: "query", schema })),
              { name: "id", in: "path", required: true, schema },
              { name: "ID", in: "header", schema }
            ],
            requestBody: { content: { "text/plain": {} } }
          }
        }
      })
      const { api, call } = yield* toolsOf(port, { document, baseUrl: url })
      const { jsonSchema } = api.toolkit.tools["send"] as unknown as { jsonSchema: { properties: Json } }
      const properties = Object.keys(jsonSchema.properties)
      assert.deepStrictEqual(properties, [
        "filter_name",
        "select",
        "filter_name_query",
        "a".repeat(52),
        "id",
        "value",
        "body_query",
        "id_path",
        "ID",
        "body"
      ])
      yield* call("send", Object.fromEntries(properties.map((name, index) => [name, String(index)])))
      const sent = new URL(arrived[0]!.target, url)
      assert.strictEqual(sent.pathname, "/7")
      assert.deepStrictEqual(
        [...sent.searchParams],
        names.map((name, index) => [name, String(index)])
      )
      assert.deepStrictEqual([arrived[0]!.headers.get("id"), arrived[0]!.body.toString()], [["8"], "9"])
    }).pipe(Effect.scoped)
  )
})

describe("paths of documents", () => {
  const templates: ReadonlyArray<readonly [template: string, reason: string]> = [
    ["/a/../b", "the path has a segment of dots"],
    ["/a/%2E%2e/b", "the path has a segment of dots"],
    ["/..;x=1/b", "the path has a segment of dots"],
    ["/.", "the path has a segment of dots"],
    ["/a?action={b}", "the path has a parameter in its query"],
    ["a", 'expected a path that begins with "/"'],
    ["/a/{id", "the path has a brace that is not part of a parameter"],
    ["/a/{{id}}", "the path has a brace that is not part of a parameter"],
    ["/a/{id}", `the path's parameter "id" is not described`]
  ]
  for (const [template, reason] of templates) {
    it.live(`are left out where they mean something else: ${template}`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(
          yield* opened(documentOf({ [template]: operation("a"), "/ok": operation("ok") })),
          {
            tools: ["ok"],
            skipped: [`GET ${template}: ${reason}`]
          }
        )
      })
    )
  }

  it.live("are left out where they are longer than any", () =>
    Effect.gen(function* () {
      const path = "/".repeat(500_000)
      assert.deepStrictEqual(yield* opened(documentOf({ [path]: operation("a"), "/ok": operation("ok") })), {
        tools: ["ok"],
        skipped: [`GET ${path}: the path is longer than 2000 characters`]
      })
    })
  )

  it.live("may bring a query of their own, which no argument changes", () =>
    Effect.gen(function* () {
      const { arrived, port, url } = yield* echo
      const parameters = [
        { name: "q", in: "query", schema: {} },
        { name: "beta", in: "query", schema: {} }
      ]
      const document = documentOf({ "/a?beta=it's#x": operation("send", { parameters }) })
      const { call } = yield* toolsOf(port, { document, baseUrl: url })
      assert.strictEqual((yield* call("send", { q: "1" })).status, "success")
      assert.strictEqual((yield* call("send", { q: { beta: "2" } })).status, "failure")
      assert.strictEqual((yield* call("send", { beta: "2" })).status, "invalid_params")
      assert.deepStrictEqual(
        arrived.map(({ target }) => target),
        ["/a?beta=it%27s&q=1"]
      )
    }).pipe(Effect.scoped)
  )

  it.live("are left out where a parameter has no place in them", () =>
    Effect.gen(function* () {
      const parameters = [{ name: "id", in: "path", required: true, schema: {} }]
      assert.deepStrictEqual(
        yield* opened(documentOf({ "/a": operation("a", { parameters }), "/ok": operation("ok") })),
        {
          tools: ["ok"],
          skipped: ['GET /a: the parameter "id" has no place in the path']
        }
      )
    })
  )

  it.live("are sent as they are written, with what no URL can hold encoded", () =>
    Effect.gen(function* () {
      const { arrived, port, url } = yield* echo
      const document = documentOf({ "/a b/\\c/ü/%2F/d//e/[x]/#y": operation("send") })
      const { call } = yield* toolsOf(port, { document, baseUrl: `${url}/base/` })
      yield* call("send")
      assert.strictEqual(arrived[0]!.target, "/base/a%20b/%5Cc/%C3%BC/%2F/d//e/%5Bx%5D/")
    }).pipe(Effect.scoped)
  )
})

describe("values in paths", () => {
  const evil = [
    "..",
    ".",
    "../..",
    "../admin",
    "a/../../b",
    "..\\b",
    "a/./b",
    "%2e%2e",
    "%2e%2e%2fadmin",
    "..%2Fadmin",
    "%252e%252e%252fadmin",
    "..;/admin",
    "..;x",
    "%2e%2e%3b",
    ".%2e",
    "a\u0000",
    "a\r\nX: 1",
    "a%00",
    "a%0d%0a",
    "\u007f",
    "\ud800"
  ]
  const fine = [
    "a/b",
    "/etc/passwd",
    "?x=1",
    "#f",
    "a?b#c",
    "http://evil.example/",
    "//evil.example",
    "@evil.example",
    "a;b=c",
    "a:b",
    "...",
    "..a",
    "a..",
    "ü/日本",
    "%",
    "%zz",
    "a b",
    "{id}",
    "C:\\x",
    "*",
    "~"
  ]
  const styles = ["simple", "label", "matrix"].flatMap((style) =>
    [false, true].map((explode) => ({ style, explode }))
  )

  for (const { explode, style } of styles) {
    it.live(`never leave their segment: ${style}${explode ? ", exploded" : ""}`, () =>
      Effect.gen(function* () {
        const { arrived, port, url } = yield* echo
        const parameters = [
          { name: "id", in: "path", required: true, style, explode, schema: {} },
          { name: "last", in: "path", required: true, schema: { type: "string" } }
        ]
        const { call } = yield* toolsOf(port, { document: documentWith(parameters), baseUrl: `${url}/base` })
        const segmentsOf = (target: string): ReadonlyArray<string> => target.split("?")[0]!.split("/")
        const shapes: ReadonlyArray<(value: string) => unknown> = [
          (value) => value,
          (value) => [value],
          (value) => ({ [value]: "x" }),
          (value) => ({ k: value })
        ]
        for (const value of [...evil, ...fine]) {
          for (const shape of shapes) {
            arrived.length = 0
            const result = yield* call("send", { id: shape(value), last: "end" })
            if (result.status === "success") {
              const target = arrived[0]!.target
              const segments = segmentsOf(target)
              assert.deepStrictEqual(
                [segments.length, segments[1], segments[2], segments[4]],
                [5, "base", "at", "end"],
                `${value}: ${target}`
              )
              // Nothing that decodes once or twice more finds another segment to go to.
              for (let text = segments[3]!, round = 0; round < 3; round++) {
                assert.isFalse(
                  text.split(/[/\\]/).some((part) => /^\.\.?(;.*)?$/.test(part)),
                  `${value}: ${text}`
                )
                try {
                  text = decodeURIComponent(text)
                } catch {
                  break
                }
              }
            } else assert.strictEqual(arrived.length, 0)
          }
        }
        for (const value of fine) {
          // After the dot of a label, what begins with a slash is no longer what it was.
          if (style === "label" && /^\/|\./.test(value)) continue
          assert.strictEqual((yield* call("send", { id: value, last: "end" })).status, "success", value)
        }
        if (style === "simple") {
          for (const value of evil)
            assert.notStrictEqual((yield* call("send", { id: value, last: "end" })).status, "success", value)
        }
      }).pipe(Effect.scoped)
    )
  }

  it.live("never leave it together, where several share one", () =>
    Effect.gen(function* () {
      const { arrived, port, url } = yield* echo
      const parameter = (name: string) => ({ name, in: "path", required: true, schema: { type: "string" } })
      const document = documentOf({
        "/at/{a}{b}/end": { get: { operationId: "send", parameters: [parameter("a"), parameter("b")] } }
      })
      const { call } = yield* toolsOf(port, { document, baseUrl: url })
      assert.strictEqual((yield* call("send", { a: ".", b: "." })).status, "failure")
      assert.strictEqual((yield* call("send", { a: "%2", b: "e" })).status, "failure")
      assert.strictEqual((yield* call("send", { a: ".", b: "x" })).status, "success")
      assert.deepStrictEqual(
        arrived.map(({ target }) => target),
        ["/at/.x/end"]
      )
    }).pipe(Effect.scoped)
  )

  it.live("are what the server reads, whatever they are", () =>
    Effect.gen(function* () {
      const { arrived, port, url } = yield* echo
      const parameters = [
        { name: "id", in: "path", required: true, schema: { type: "string" } },
        { name: "q", in: "query", schema: { type: "string" } }
      ]
      const { call } = yield* toolsOf(port, { document: documentWith(parameters), baseUrl: url })
      const unit = fc.constantFrom(
        "/",
        "\\",
        ".",
        "%",
        "2",
        "e",
        "f",
        "5",
        ";",
        "?",
        "#",
        "@",
        ":",
        "a",
        "ü",
        " ",
        "\t"
      )
      for (const id of fc.sample(fc.string({ unit, minLength: 1, maxLength: 10 }), {
        numRuns: 400,
        seed: 7
      })) {
        arrived.length = 0
        yield* call("send", { id, q: id })
        if (arrived.length === 0) continue
        const [path, query] = arrived[0]!.target.split("?") as [string, string]
        const segments = path.split("/")
        assert.strictEqual(segments.length, 3)
        assert.strictEqual(decodeURIComponent(segments[2]!), id)
        assert.strictEqual(new URLSearchParams(query).get("q"), id)
      }
    }).pipe(Effect.scoped)
  )
})

describe("what one parameter says", () => {
  const credentials: Readonly<Record<string, Credentials.Credential>> = {
    key: { type: "query", name: "api_key", value: Redacted.make("secret-of-the-query"), hosts: ["127.0.0.1"] }
  }
  const securitySchemes = {
    key: { type: "apiKey", in: "query", name: "api_key" },
    other: { type: "apiKey", in: "cookie", name: "sid" }
  }

  it.live("is not what another says, nor a credential", () =>
    Effect.gen(function* () {
      const { arrived, port, url } = yield* echo
      const free = { type: "object" }
      const document = {
        ...documentWith([
          { name: "any", in: "query", schema: free },
          { name: "limit", in: "query", schema: { type: "integer", maximum: 10 } },
          { name: "jar", in: "cookie", schema: free },
          { name: "lang", in: "cookie", schema: { type: "string" } },
          { name: "API_KEY", in: "query", schema: { type: "string" } },
          { name: "sid", in: "cookie", schema: { type: "string" } },
          { name: "Cookie", in: "header", schema: { type: "string" } },
          { name: "Authorization", in: "header", schema: { type: "string" } }
        ]),
        components: { securitySchemes },
        security: [{ key: [] }]
      }
      const { api, call } = yield* toolsOf(
        port,
        { document, baseUrl: url, credentials: { key: "key" } },
        credentials
      )
      const { jsonSchema } = api.toolkit.tools["send"] as unknown as { jsonSchema: { properties: Json } }
      assert.deepStrictEqual(Object.keys(jsonSchema.properties), ["any", "limit", "jar", "lang"])
      for (const params of [
        { any: { api_key: "mine" } },
        { any: { Api_Key: "mine" } },
        { any: { "api_key[]": "mine" } },
        { any: { limit: 1000 } },
        { jar: { sid: "mine" } },
        { jar: { lang: "de" } }
      ]) {
        const { error } = yield* call("send", params)
        assert.deepInclude((error!.reason as unknown as { failure: object }).failure, {
          reason: "argument",
          at: Object.keys(params)[0],
          problem: "must not have a property that is a parameter of its own, or a credential"
        })
      }
      assert.strictEqual(arrived.length, 0)
      const result = yield* call("send", { any: { x: 1, any: 2 }, jar: { y: 3 } })
      assert.strictEqual(result.status, "success")
      assert.strictEqual(arrived[0]!.target, "/at?x=1&any=2&api_key=secret-of-the-query")
      assert.deepStrictEqual(arrived[0]!.headers.get("cookie"), ["y=3"])
      assert.notInclude(JSON.stringify(result), "secret-of-the-query")
    }).pipe(Effect.scoped)
  )

  it.live("is not what another field of a form says", () =>
    Effect.gen(function* () {
      const { arrived, port, url } = yield* echo
      const properties = { any: { type: "object" }, role: { enum: ["guest"] } }
      const form = { schema: { type: "object", properties }, encoding: { any: { explode: true } } }
      const requestBody = { content: { "application/x-www-form-urlencoded": form } }
      const document = documentOf({ "/at": { post: { operationId: "send", requestBody } } })
      const { call } = yield* toolsOf(port, { document, baseUrl: url })
      for (const body of [{ any: { role: "admin" } }, { any: { x: 1 }, x: 2 }]) {
        const { error } = yield* call("send", { body })
        assert.deepInclude((error!.reason as unknown as { failure: object }).failure, {
          reason: "argument",
          at: "body",
          problem: "must not have a property within another that is a field of its own"
        })
      }
      assert.strictEqual(arrived.length, 0)
      yield* call("send", { body: { any: { x: 1, any: 2 }, role: "guest" } })
      assert.strictEqual(arrived[0]!.body.toString(), "x=1&any=2&role=guest")
    }).pipe(Effect.scoped)
  )

  it.live("is no header of the connection, and no header that a document makes up", () =>
    Effect.gen(function* () {
      const header = (name: string, required = false) => ({
        name,
        in: "header",
        required,
        schema: { type: "string" }
      })
      const evil = [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "X-HTTP-Method-Override",
        "X-Forwarded-For",
        "Proxy-Authorization",
        "X\r\nEvil: 1",
        "a b",
        ""
      ]
      const { skipped, tools } = yield* opened(
        documentOf({
          "/a": operation("a", { parameters: evil.map((name) => header(name)) }),
          "/b": operation("b", { parameters: [header("Host", true)] }),
          "/c": operation("c", { parameters: [{ name: "x;y", in: "cookie", schema: {} }] }),
          "/d": operation("d", { parameters: [{ name: "x", in: "body", schema: {} }] }),
          "/e": operation("e", { parameters: [{ name: "x", in: "query" }] }),
          "/f": operation("f", { parameters: [{ name: "x", in: "query", style: "simple", schema: {} }] }),
          "/g": operation("g", { parameters: [{ name: "x", in: "query", content: { "image/png": {} } }] }),
          "/h": operation("h", { parameters: {} })
        })
      )
      assert.deepStrictEqual(tools, ["a", "c", "e", "f", "g"])
      assert.strictEqual(skipped.length, evil.length + 7)
      assert.isTrue(skipped.includes('GET /b: a request cannot set the header "Host"'))
      assert.isTrue(skipped.includes("GET /c: expected a name that a cookie can have"))
      assert.isTrue(skipped.includes('GET /d: expected one of path, query, header, cookie, found "body"'))
      assert.isTrue(skipped.includes("GET /e: expected a schema or a content, found neither"))
      assert.isTrue(
        skipped.includes(
          'GET /f: expected a style for the query (form, spaceDelimited, pipeDelimited, deepObject), found "simple"'
        )
      )
      assert.isTrue(skipped.includes("GET /g: a parameter's content can be JSON or text"))
      assert.isTrue(skipped.includes("GET /h: expected an array, found an object"))
    })
  )

  it.live("is no media type that says more than one", () =>
    Effect.gen(function* () {
      const evil = [
        "text/plain\r\nX-Evil: 1",
        "text",
        "multipart/form-data; boundary=x\r\n",
        "a/b; c=d\u0000"
      ]
      const { skipped, tools } = yield* opened(
        documentOf({
          "/ok": operation("ok"),
          ...Object.fromEntries(
            evil.map((type, n) => [`/${n}`, { post: { requestBody: { content: { [type]: {} } } } }])
          )
        })
      )
      assert.deepStrictEqual(tools, ["ok"])
      for (const reason of skipped) assert.include(reason, "expected a media type")
    })
  )
})
