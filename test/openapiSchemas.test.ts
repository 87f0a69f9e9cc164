/** The schemas of a document as JSON Schema 2020-12: what 3.0 says otherwise, references, and what requests do not have. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { OpenApi } from "effect-interlock/toolbox"
import * as Multipart from "../src/toolbox/openapi/multipart.ts"
import { documentOf, json, outbound, serve, toolsOf } from "./support/openapi.ts"

type Json = Readonly<Record<string, unknown>>

/** The toolset of a document with one operation `send` that takes this body. */
const made = (
  version: "3.0.3" | "3.1.0",
  schema: unknown,
  schemas: Json = {},
  options: Partial<OpenApi.Options> = {}
) =>
  OpenApi.make({
    document: {
      ...documentOf(
        {
          "/": {
            post: {
              operationId: "send",
              requestBody: { required: true, content: { "application/json": { schema } } }
            },
            // Something is left when the first cannot be used.
            get: { operationId: "other" }
          }
        },
        { components: { schemas } }
      ),
      openapi: version
    },
    baseUrl: "https://api.example",
    ...options
  }).pipe(Effect.provide(outbound(80)))

/** What a body's schema becomes, with the definitions that are left. */
const converted = Effect.fnUntraced(function* (
  version: "3.0.3" | "3.1.0",
  schema: unknown,
  schemas: Json = {}
): Effect.fn.Return<
  { readonly body?: unknown; readonly $defs?: Json; readonly skipped?: ReadonlyArray<string> },
  OpenApi.OpenApiError
> {
  const api = yield* made(version, schema, schemas)
  const tool = api.toolkit.tools["send"] as unknown as { readonly jsonSchema: Json } | undefined
  if (tool === undefined)
    return { skipped: api.skipped.map(({ pointer, reason }) => `${pointer}: ${reason}`) }
  const { $defs, properties } = tool.jsonSchema as { readonly $defs?: Json; readonly properties: Json }
  return { body: properties["body"], ...($defs === undefined ? {} : { $defs }) }
})

const body = "#/paths/~1/post/requestBody/content/application~1json/schema"

describe("OpenAPI 3.0", () => {
  const cases: ReadonlyArray<readonly [what: string, from: Json, to: Json]> = [
    ["nullable", { type: "string", nullable: true }, { type: ["string", "null"] }],
    [
      "nullable, of an enumeration",
      { type: "string", enum: ["a"], nullable: true },
      { type: ["string", "null"], enum: ["a", null] }
    ],
    [
      "nullable, where null is listed",
      { type: "string", enum: ["a", null], nullable: true },
      { type: ["string", "null"], enum: ["a", null] }
    ],
    ["not nullable", { type: "string", nullable: false }, { type: "string" }],
    [
      "nullable, without a type",
      { allOf: [{ type: "string" }], nullable: true },
      { anyOf: [{ allOf: [{ type: "string" }] }, { type: "null" }] }
    ],
    ["nullable, of anything", { nullable: true, description: "x" }, { description: "x" }],
    [
      "exclusive bounds as flags",
      { type: "number", minimum: 1, exclusiveMinimum: true, maximum: 5, exclusiveMaximum: false },
      { type: "number", exclusiveMinimum: 1, maximum: 5 }
    ],
    [
      "exclusive bounds as numbers, all the same",
      { type: "number", exclusiveMaximum: 5 },
      { type: "number", exclusiveMaximum: 5 }
    ],
    ["an example", { type: "string", example: "x" }, { type: "string", examples: ["x"] }],
    [
      "what only OpenAPI has",
      {
        type: "object",
        xml: { name: "x" },
        externalDocs: { url: "x" },
        discriminator: { propertyName: "k" },
        "x-order": 1
      },
      { type: "object" }
    ],
    [
      "formats and secrets",
      { type: "string", format: "password", writeOnly: true, "x-sensitive": true },
      { type: "string", format: "password", writeOnly: true, "x-sensitive": true }
    ],
    [
      "tuples of an older draft",
      { type: "array", items: [{ type: "string" }] },
      { type: "array", prefixItems: [{ type: "string" }] }
    ],
    [
      "keywords that hold what they cannot",
      { type: "string", minLength: "5", required: true, maximum: null },
      { type: "string" }
    ]
  ]
  for (const [what, from, to] of cases) {
    it.effect(`becomes JSON Schema: ${what}`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* converted("3.0.3", from), { body: to })
      })
    )
  }

  it.effect("says nothing beside a reference but what it is", () =>
    Effect.gen(function* () {
      const schema = {
        type: "object",
        properties: {
          a: { $ref: "#/components/schemas/A", nullable: true, minLength: 3, description: "An a." }
        }
      }
      assert.deepStrictEqual(yield* converted("3.0.3", schema, { A: { type: "string" } }), {
        body: { type: "object", properties: { a: { type: "string", description: "An a." } } }
      })
    })
  )
})

describe("OpenAPI 3.1", () => {
  it.effect("keeps what is JSON Schema, and all of it at any depth", () =>
    Effect.gen(function* () {
      const schema = {
        type: ["object", "null"],
        properties: { a: { const: null }, b: { not: { type: "string" } } },
        patternProperties: { "^x-": { type: "integer", multipleOf: 2 } },
        propertyNames: { maxLength: 5 },
        dependentRequired: { a: ["b"] },
        dependentSchemas: { b: { required: ["a"] } },
        if: { required: ["a"] },
        // biome-ignore lint/suspicious/noThenProperty: it is a keyword.
        then: { minProperties: 2 },
        else: false,
        unevaluatedProperties: false
      }
      assert.deepStrictEqual(yield* converted("3.1.0", schema), { body: schema })
    })
  )

  it.effect("keeps what stands beside a reference", () =>
    Effect.gen(function* () {
      const schema = { $ref: "#/components/schemas/A", minLength: 3, description: "Longer." }
      assert.deepStrictEqual(
        yield* converted("3.1.0", schema, { A: { type: "string", description: "An a." } }),
        {
          body: { $ref: "#/$defs/A", minLength: 3, description: "Longer." },
          $defs: { A: { type: "string", description: "An a." } }
        }
      )
    })
  )

  it.effect("takes a schema that is true, and leaves ids aside", () =>
    Effect.gen(function* () {
      const schema = {
        type: "object",
        $id: "https://x.example/s",
        properties: { a: true },
        additionalProperties: { $ref: "#/components/schemas/A" }
      }
      assert.deepStrictEqual(yield* converted("3.1.0", schema, { A: { $anchor: "a", type: "integer" } }), {
        body: { type: "object", properties: { a: true }, additionalProperties: { type: "integer" } }
      })
    })
  )
})

describe("references", () => {
  it.effect("are resolved where they happen once, or lead to something short", () =>
    Effect.gen(function* () {
      const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` })
      const schema = {
        type: "object",
        properties: { a: ref("Short"), b: ref("Short"), c: ref("Once"), d: ref("Twice"), e: ref("Twice") }
      }
      const result = yield* converted("3.1.0", schema, {
        Short: { enum: [1, 2] },
        Once: { type: "object", properties: { x: ref("Short") } },
        Twice: { type: "object", properties: { y: ref("Short") } }
      })
      assert.deepStrictEqual(result, {
        body: {
          type: "object",
          properties: {
            a: { enum: [1, 2] },
            b: { enum: [1, 2] },
            c: { type: "object", properties: { x: { enum: [1, 2] } } },
            d: { $ref: "#/$defs/Twice" },
            e: { $ref: "#/$defs/Twice" }
          }
        },
        $defs: { Twice: { type: "object", properties: { y: { enum: [1, 2] } } } }
      })
    })
  )

  it.effect("lead anywhere in the document, however they are escaped, and keep names apart", () =>
    Effect.gen(function* () {
      const node = (self: string) => ({ type: "object", properties: { next: { $ref: self } } })
      const inner = "#/components/schemas/Outer/properties/a~1b%20{c}"
      const schemas = {
        Outer: {
          type: "object",
          properties: { "a/b {c}": node(inner), Outer: node("#/components/schemas/Outer/properties/Outer") }
        }
      }
      const schema = {
        anyOf: [
          { $ref: inner },
          { $ref: "#/components/schemas/Outer/properties/Outer" },
          { $ref: "#/components/schemas/Outer" }
        ]
      }
      const { $defs = {}, body } = yield* converted("3.1.0", schema, schemas)
      assert.deepStrictEqual(Object.keys($defs).sort(), ["Outer", "a_1b_c_"].sort())
      assert.deepStrictEqual((body as { anyOf: ReadonlyArray<Json> }).anyOf[0], { $ref: "#/$defs/a_1b_c_" })
    })
  )

  const broken: ReadonlyArray<readonly [what: string, schema: unknown, schemas: Json, reason: string]> = [
    [
      "to another document",
      { $ref: "other.yaml#/A" },
      {},
      `${body}/$ref: refers to another document: bundle the documents into one`
    ],
    [
      "to another host",
      { $ref: "https://evil.example/x" },
      {},
      `${body}/$ref: refers to another document: bundle the documents into one`
    ],
    ["to nothing", { $ref: "#/components/schemas/None" }, {}, `${body}/$ref: leads nowhere`],
    [
      "to what every object has",
      { $ref: "#/components/schemas/constructor" },
      {},
      `${body}/$ref: leads nowhere`
    ],
    [
      "to an anchor",
      { $ref: "#a" },
      {},
      `${body}/$ref: expected a JSON pointer, such as #/components/schemas/Pet`
    ],
    [
      "in a circle",
      { $ref: "#/components/schemas/A" },
      { A: { $ref: "#/components/schemas/B" }, B: { $ref: "#/components/schemas/A" } },
      `${body}/$ref: leads in a circle, or too far`
    ],
    ["of a kind that is not known", { $dynamicRef: "#a" }, {}, `${body}/$dynamicRef: is not supported`],
    ["that is no text", { $ref: 7 }, {}, `${body}/$ref: expected a reference, found a number`],
    [
      "to itself without end",
      { $ref: "#/components/schemas/A" },
      { A: { allOf: [{ $ref: "#/components/schemas/A" }] } },
      "#/components/schemas/A: refers to itself without end"
    ],
    ["to what is no schema", { $ref: "#/info/title" }, {}, "#/info/title: expected a schema, found a string"],
    [
      "to a type that is none",
      { type: "file" },
      {},
      `${body}/type: expected a type of JSON Schema (array, boolean, integer, null, number, object, string), found "file"`
    ]
  ]
  for (const [what, schema, schemas, reason] of broken) {
    it.effect(`leave an operation out, and only it, with a reason: ${what}`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* converted("3.1.0", schema, schemas), {
          skipped: [reason]
        })
      })
    )
  }
})

describe("what cannot be used", () => {
  it.effect("leaves nothing behind for what comes after it", () =>
    Effect.gen(function* () {
      const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` })
      const broken = { type: "object", properties: { a: ref("Good"), b: ref("Broken") } }
      const parameter = (name: string, schema: unknown) => ({ name, in: "query", schema })
      const document = documentOf(
        {
          "/": {
            post: {
              operationId: "send",
              parameters: [
                parameter("first", broken),
                parameter("second", ref("Good")),
                {
                  ...parameter("third", ref("Good")),
                  description: "A third.",
                  example: [1],
                  deprecated: true
                }
              ],
              requestBody: {
                content: {
                  "application/json": { schema: broken },
                  "text/plain": { schema: { type: "string" } }
                }
              }
            }
          }
        },
        {
          components: {
            schemas: { Good: { type: "array", items: ref("Good") }, Broken: { allOf: [ref("None")] } }
          }
        }
      )
      const api = yield* OpenApi.make({ document, baseUrl: "https://api.example" }).pipe(
        Effect.provide(outbound(80))
      )
      const { jsonSchema } = api.toolkit.tools["send"] as unknown as { readonly jsonSchema: Json }
      assert.deepStrictEqual(jsonSchema, {
        type: "object",
        properties: {
          second: { $ref: "#/$defs/Good" },
          third: { $ref: "#/$defs/Good", description: "A third.", examples: [[1]], deprecated: true },
          body: { type: "string" }
        },
        additionalProperties: false,
        $defs: { Good: { type: "array", items: { $ref: "#/$defs/Good" } } }
      })
      const skipped = {
        operation: "POST /",
        pointer: "#/components/schemas/Broken/allOf/0/$ref",
        reason: "leads nowhere"
      }
      assert.deepStrictEqual(api.skipped, [skipped, skipped])
    })
  )

  it.effect("is no reason to go on without end: files of files of files", () =>
    Effect.gen(function* () {
      const schema = { type: "object", properties: { f: { $ref: "#/components/schemas/F" } } }
      const document = documentOf(
        {
          "/": {
            post: { operationId: "send", requestBody: { content: { "multipart/form-data": { schema } } } }
          }
        },
        { components: { schemas: { F: { type: "array", items: { $ref: "#/components/schemas/F" } } } } }
      )
      const api = yield* OpenApi.make({ document, baseUrl: "https://api.example" }).pipe(
        Effect.provide(outbound(80))
      )
      assert.deepStrictEqual([...api.operations.keys()], ["send"])
    })
  )
})

describe("what requests do not have", () => {
  it.effect("is left out of properties and of what is required, through references and allOf", () =>
    Effect.gen(function* () {
      const schemas = {
        Base: {
          type: "object",
          required: ["id", "at"],
          properties: {
            id: { $ref: "#/components/schemas/Id" },
            at: { allOf: [{ type: "string" }], readOnly: true }
          }
        },
        Id: { type: "integer", readOnly: true },
        Thing: {
          allOf: [
            { $ref: "#/components/schemas/Base" },
            { type: "object", required: ["id", "name"], properties: { name: { type: "string" } } }
          ],
          required: ["at", "name"]
        }
      }
      const result = yield* converted("3.1.0", { $ref: "#/components/schemas/Thing" }, schemas)
      assert.deepStrictEqual(result, {
        body: {
          required: ["name"],
          allOf: [
            { type: "object", properties: {} },
            { type: "object", required: ["name"], properties: { name: { type: "string" } } }
          ]
        }
      })
    })
  )

  it.effect("is no more than what is said to be: a property called readOnly stays", () =>
    Effect.gen(function* () {
      const schema = {
        type: "object",
        required: ["readOnly"],
        properties: { readOnly: { type: "boolean" }, properties: { type: "string" } }
      }
      assert.deepStrictEqual(yield* converted("3.1.0", schema), { body: schema })
    })
  )
})

describe("patterns and texts", () => {
  it.effect("that JavaScript cannot read are told, and left to the server", () =>
    Effect.gen(function* () {
      const schema = {
        type: "object",
        properties: {
          a: { type: "string", pattern: "^[\\w-\\.]+$", description: "A name." },
          b: { type: "string", pattern: "^[a-z]+$" }
        }
      }
      assert.deepStrictEqual(yield* converted("3.1.0", schema), {
        body: {
          type: "object",
          properties: {
            a: { type: "string", description: "A name. It must match ^[\\w-\\.]+$." },
            b: { type: "string", pattern: "^[a-z]+$" }
          }
        }
      })
    })
  )

  it.effect("that are long are cut, between characters, and long examples left out", () =>
    Effect.gen(function* () {
      const schema = { type: "string", description: `${"x".repeat(18)}🎉🎉`, example: "y".repeat(300) }
      const api = yield* made("3.1.0", schema, {}, { maxDescription: 20 })
      const { jsonSchema } = api.toolkit.tools["send"] as unknown as {
        readonly jsonSchema: { readonly properties: Json }
      }
      assert.deepStrictEqual(jsonSchema.properties["body"], {
        type: "string",
        description: `${"x".repeat(18)}…`
      })
    })
  )
})

describe("bodies", () => {
  const bodies: ReadonlyArray<
    readonly [what: string, content: Json, type: string, given: unknown, sent: string]
  > = [
    [
      "JSON before anything else",
      { "text/plain": {}, "application/vnd.x+json": {}, "application/json": { schema: { type: "array" } } },
      "application/json",
      [1],
      "[1]"
    ],
    [
      "a kind of JSON",
      { "application/vnd.x+json; v=2": {} },
      "application/vnd.x+json; v=2",
      { a: 1 },
      '{"a":1}'
    ],
    [
      "whatever there is, as JSON",
      { "*/*": { schema: { type: "object" } } },
      "application/json",
      { a: 1 },
      '{"a":1}'
    ],
    [
      "XML as a text",
      { "application/xml": { schema: { type: "object" } } },
      "application/xml",
      "<a/>",
      "<a/>"
    ],
    ["bytes", { "application/octet-stream": {} }, "application/octet-stream", "AQID", "\u0001\u0002\u0003"],
    [
      "a form with a style of its own",
      {
        "application/x-www-form-urlencoded": {
          schema: { type: "object" },
          encoding: { f: { style: "deepObject" }, j: { contentType: "application/json" } }
        }
      },
      "application/x-www-form-urlencoded",
      { f: { a: 1 }, j: ["x"], n: null, t: "a b+c&d", e: {}, l: [] },
      "f%5Ba%5D=1&j=%5B%22x%22%5D&t=a%20b%2Bc%26d&e=%7B%7D"
    ]
  ]
  for (const [what, content, type, given, sent] of bodies) {
    it.live(`are sent as what the document says: ${what}`, () =>
      Effect.gen(function* () {
        const { arrived, port, url } = yield* serve(() => json("arrived"))
        const document = documentOf({
          "/": { post: { operationId: "send", requestBody: { required: true, content } } }
        })
        const { api, call } = yield* toolsOf(port, { document, baseUrl: url })
        assert.deepStrictEqual(api.skipped, [])
        const result = yield* call("send", { body: given })
        assert.strictEqual(result.status, "success", JSON.stringify(result.error))
        assert.deepStrictEqual(arrived[0]!.headers.get("content-type"), [type])
        assert.strictEqual(arrived[0]!.body.toString(), sent)
      }).pipe(Effect.scoped)
    )
  }

  it.live("that are no base64 are refused", () =>
    Effect.gen(function* () {
      const { arrived, port, url } = yield* serve(() => json("arrived"))
      const document = documentOf({
        "/": { post: { operationId: "send", requestBody: { content: { "image/png": {} } } } }
      })
      const { call } = yield* toolsOf(port, { document, baseUrl: url })
      const { error } = yield* call("send", { body: "!" })
      assert.deepInclude((error!.reason as unknown as { failure: object }).failure, {
        reason: "argument",
        at: "body",
        problem: "must be base64"
      })
      assert.strictEqual((yield* call("send")).status, "success")
      assert.isFalse(arrived[0]!.headers.has("content-type"))
    }).pipe(Effect.scoped)
  )

  it.live("of files take the properties that are for requests, and no null", () =>
    Effect.gen(function* () {
      const { partsOf } = yield* Effect.promise(() => import("./support/library.ts"))
      const { arrived, port, url } = yield* serve(() => json("arrived"))
      const schema = {
        allOf: [
          { type: "object", required: ["id", "f"], properties: { id: { type: "string", readOnly: true } } },
          {
            properties: {
              f: { type: "string", format: "binary", description: "A scan." },
              note: { type: ["string", "null"] }
            }
          }
        ]
      }
      const content = { "multipart/form-data": { schema, encoding: { f: { contentType: "image/png" } } } }
      const document = documentOf({ "/": { post: { operationId: "send", requestBody: { content } } } })
      const { api, call } = yield* toolsOf(port, { document, baseUrl: url })
      const { jsonSchema } = api.toolkit.tools["send"] as unknown as {
        readonly jsonSchema: { readonly properties: Json }
      }
      assert.deepStrictEqual(jsonSchema.properties["body"], {
        type: "object",
        properties: {
          f: {
            type: "object",
            description: "A scan.",
            properties: {
              base64: {
                type: "string",
                contentEncoding: "base64",
                description: "The file's content in base64."
              },
              filename: { type: "string" }
            },
            required: ["base64"],
            additionalProperties: false
          },
          note: { type: ["string", "null"] }
        },
        required: ["f"]
      })
      assert.strictEqual(
        (yield* call("send", { body: { f: { base64: "AQ==" }, note: null } })).status,
        "success"
      )
      assert.deepStrictEqual(partsOf(arrived[0]!), [
        { name: "f", filename: "f", type: "image/png", content: Buffer.from([1]) }
      ])
    }).pipe(Effect.scoped)
  )

  it.effect("of several parts have a boundary that is in none of them", () =>
    Effect.sync(() => {
      const parts = ["interlock-5", "x interlock-6", "interlock-70"].map((bytes) => ({ name: "a", bytes }))
      assert.strictEqual(Multipart.write(parts, 5).type, "multipart/form-data; boundary=interlock-8")
      assert.strictEqual(Multipart.write(parts, -9.7).type, "multipart/form-data; boundary=interlock-9")
    })
  )

  it.live("of several files end where they end, whatever is in them", () =>
    Effect.gen(function* () {
      const { partsOf } = yield* Effect.promise(() => import("./support/library.ts"))
      const { arrived, port, url } = yield* serve(() => json("arrived"))
      const schema = {
        type: "object",
        properties: { f: { type: "array", items: { type: "string", format: "binary" } } }
      }
      const document = documentOf({
        "/": {
          post: { operationId: "send", requestBody: { content: { "multipart/form-data": { schema } } } }
        }
      })
      const { call } = yield* toolsOf(port, { document, baseUrl: url })
      const files = ["--interlock-0--\r\n", "\r\n--interlock\r\n", "", "\u0000\r\n"]
      yield* call("send", {
        body: { f: files.map((file) => ({ base64: Buffer.from(file).toString("base64") })) }
      })
      assert.deepStrictEqual(
        partsOf(arrived[0]!).map(({ content }) => content.toString()),
        files
      )
    }).pipe(Effect.scoped)
  )

  it.live("with GET are left out where they may be, and the operation where not", () =>
    Effect.gen(function* () {
      const { port, url } = yield* serve(() => json("arrived"))
      const content = { "application/json": {} }
      const document = documentOf({
        "/a": { get: { operationId: "a", requestBody: { content } } },
        "/b": { get: { operationId: "b", requestBody: { required: true, content } } }
      })
      const { api, call } = yield* toolsOf(port, { document, baseUrl: url })
      assert.deepStrictEqual(api.skipped, [
        { operation: "GET /b", pointer: "#/paths/~1b/get/requestBody", reason: "GET has no body" }
      ])
      assert.strictEqual((yield* call("a", { body: 1 })).status, "invalid_params")
    }).pipe(Effect.scoped)
  )
})
