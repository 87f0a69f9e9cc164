/** Where a document comes from, what is taken of it, where requests go and with which credential, and what answers are. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { type Credentials, OpenApi } from "effect-interlock/toolbox"
import { type Answer, documentOf, json, outbound, serve, toolsOf } from "./support/openapi.ts"
import { serve as outboundServe } from "./support/outbound.ts"

type Json = Readonly<Record<string, unknown>>
type Named = Readonly<Record<string, Credentials.Credential>>

const get = (id: string, rest: Json = {}) => ({ get: { operationId: id, ...rest } })

const hosts = ["127.0.0.1", "api.example"]
const named: Named = {
  bearer: { type: "bearer", token: Redacted.make("token-of-the-bearer"), hosts },
  basic: { type: "basic", username: "ada", password: Redacted.make("password-of-ada"), hosts },
  header: { type: "header", name: "X-Key", value: Redacted.make("value-of-the-header"), hosts },
  query: { type: "query", name: "key", value: Redacted.make("value-of-the-query"), hosts },
  cookie: { type: "header", name: "Cookie", value: Redacted.make("sid=value-of-the-cookie"), hosts },
  elsewhere: { type: "bearer", token: Redacted.make("token-for-elsewhere"), hosts: ["other.example"] }
}

const opened = (options: OpenApi.Options) => OpenApi.make(options).pipe(Effect.provide(outbound(80, named)))

const refusal = (options: OpenApi.Options) =>
  Effect.map(Effect.flip(opened(options)), ({ message, reason }) => `${reason} ${message}`)

const securitySchemes = {
  bearer: { type: "http", scheme: "Bearer" },
  basic: { type: "http", scheme: "basic" },
  oauth: { type: "oauth2", flows: {} },
  oidc: { type: "openIdConnect", openIdConnectUrl: "https://x" },
  header: { type: "apiKey", in: "header", name: "x-key" },
  query: { type: "apiKey", in: "query", name: "key" },
  cookie: { type: "apiKey", in: "cookie", name: "sid" },
  tls: { type: "mutualTLS" },
  broken: { type: "apiKey" }
}

describe("credentials", () => {
  const sent: ReadonlyArray<readonly [scheme: string, credential: string, header: string, value: string]> = [
    ["bearer", "bearer", "authorization", "Bearer token-of-the-bearer"],
    ["oauth", "bearer", "authorization", "Bearer token-of-the-bearer"],
    ["oidc", "bearer", "authorization", "Bearer token-of-the-bearer"],
    ["basic", "basic", "authorization", `Basic ${btoa("ada:password-of-ada")}`],
    ["header", "header", "x-key", "value-of-the-header"],
    ["cookie", "cookie", "cookie", "sid=value-of-the-cookie"]
  ]
  for (const [scheme, credential, header, value] of sent) {
    it.live(`are sent as the scheme says: ${scheme}`, () =>
      Effect.gen(function* () {
        const { arrived, port, url } = yield* serve(() => json("arrived"))
        const document = documentOf(
          { "/": get("send", { security: [{ [scheme]: [] }] }) },
          { components: { securitySchemes } }
        )
        const { call } = yield* toolsOf(
          port,
          { document, baseUrl: url, credentials: { [scheme]: credential } },
          named
        )
        assert.strictEqual((yield* call("send")).status, "success")
        assert.deepStrictEqual(arrived[0]!.headers.get(header), [value])
      }).pipe(Effect.scoped)
    )
  }

  it.live("are sent in the query, and are not doubled by a redirect", () =>
    Effect.gen(function* () {
      const { arrived, port, url } = yield* serve(({ target }) =>
        target.startsWith("/old")
          ? { status: 301, headers: { location: target.replace("/old", "/new") } }
          : json("arrived")
      )
      const document = documentOf(
        { "/old": get("send", { parameters: [{ name: "q", in: "query", schema: {} }] }) },
        { components: { securitySchemes }, security: [{ query: [] }] }
      )
      const { call } = yield* toolsOf(
        port,
        { document, baseUrl: url, credentials: { query: "query" } },
        named
      )
      assert.strictEqual((yield* call("send", { q: "a b" })).status, "success")
      assert.deepStrictEqual(
        arrived.map(({ target }) => target),
        ["/old?q=a%20b&key=value-of-the-query", "/new?q=a+b&key=value-of-the-query"]
      )
    }).pipe(Effect.scoped)
  )

  it.live("are chosen by the first alternative that is covered; what is not covered is left out", () =>
    Effect.gen(function* () {
      const secured = (id: string, ...security: ReadonlyArray<Json>) => get(id, { security })
      const document = documentOf(
        {
          "/root": get("root"),
          "/open": get("open", { security: [] }),
          "/either": secured("either", { basic: [] }, { header: [] }),
          "/optional": secured("optional", {}, { header: [] }),
          "/anonymous": secured("anonymous", {}, { basic: [] }),
          "/both": secured("both", { bearer: [], header: [] }),
          "/same": secured("same", { bearer: ["a"], oauth: ["b"] }),
          "/basic": secured("basic", { basic: [] }),
          "/unknown": secured("unknown", { nobody: [] }),
          "/broken": get("broken", { security: "bearer" })
        },
        { components: { securitySchemes }, security: [{ bearer: [] }] }
      )
      const credentials = { bearer: "bearer", oauth: "bearer", header: "header" }
      const { operations, skipped } = yield* opened({ document, baseUrl: "https://api.example", credentials })
      assert.deepStrictEqual(
        Array.from(operations, ([name, { credential }]) => [name, credential]),
        [
          ["root", "bearer"],
          ["open", undefined],
          ["either", "header"],
          ["optional", "header"],
          ["anonymous", undefined],
          ["same", "bearer"]
        ]
      )
      assert.deepStrictEqual(
        skipped.map(({ operation, reason }) => `${operation} ${reason}`),
        [
          "GET /both needs several credentials at once, and a request is sent with one",
          'GET /basic needs a credential for "basic"',
          'GET /unknown needs a credential for "nobody"',
          "GET /broken expected an array, found a string"
        ]
      )
      const all = yield* opened({
        document,
        baseUrl: "https://api.example",
        credentials,
        credential: "basic"
      })
      assert.strictEqual(all.operations.get("basic")!.credential, "basic")
      assert.strictEqual(all.operations.get("anonymous")!.credential, "basic")
      assert.isUndefined(all.operations.get("open")!.credential)
      assert.strictEqual(all.operations.get("both")!.credential, "basic")
    })
  )

  const wrong: ReadonlyArray<readonly [credentials: Readonly<Record<string, string>>, refused: string]> = [
    [
      { nobody: "bearer" },
      "options credentials.nobody: the document has no such security scheme; it has: bearer, basic, oauth, oidc, header, query, cookie"
    ],
    [
      { tls: "bearer" },
      "options credentials.tls: the document has no such security scheme; it has: bearer, basic, oauth, oidc, header, query, cookie"
    ],
    [
      { bearer: "none" },
      "options credentials.bearer: There is no credential of this name; there are: bearer, basic, header, query, cookie, elsewhere."
    ],
    [{ bearer: "basic" }, 'options credentials.bearer: the scheme needs a credential of the type "bearer"'],
    [{ basic: "bearer" }, 'options credentials.basic: the scheme needs a credential of the type "basic"'],
    [{ oauth: "header" }, 'options credentials.oauth: the scheme needs a credential of the type "bearer"'],
    [
      { header: "query" },
      'options credentials.header: the scheme needs a credential of the type "header" with the name "x-key"'
    ],
    [
      { query: "header" },
      'options credentials.query: the scheme needs a credential of the type "query" with the name "key"'
    ],
    [
      { cookie: "header" },
      'options credentials.cookie: the scheme needs a credential of the type "header" with the name "Cookie" and the value "sid=…"'
    ]
  ]
  it.live("that cannot be what the scheme needs are refused, and say what it needs", () =>
    Effect.gen(function* () {
      const document = documentOf({ "/": get("send") }, { components: { securitySchemes } })
      for (const [credentials, refused] of wrong) {
        assert.strictEqual(yield* refusal({ document, baseUrl: "https://api.example", credentials }), refused)
      }
    })
  )

  it.live("that may not go where an operation is leave it out, before anything is sent", () =>
    Effect.gen(function* () {
      const document = documentOf(
        { "/": get("send", { security: [{ bearer: [] }] }), "/open": get("open") },
        { components: { securitySchemes } }
      )
      const { operations, skipped } = yield* opened({
        document,
        baseUrl: "https://api.example",
        credentials: { bearer: "elsewhere" }
      })
      assert.deepStrictEqual([...operations.keys()], ["open"])
      assert.deepStrictEqual(skipped, [
        {
          operation: "GET /",
          pointer: "#/paths/~1/get",
          reason: 'the credential "elsewhere" may not be sent to api.example'
        }
      ])
    })
  )

  it.live("that are a cookie leave no other cookies to be said", () =>
    Effect.gen(function* () {
      const parameters = [
        { name: "lang", in: "cookie", schema: {} },
        { name: "q", in: "query", schema: {} }
      ]
      const document = documentOf(
        { "/": get("send", { parameters, security: [{ cookie: [] }] }) },
        { components: { securitySchemes } }
      )
      const { toolkit } = yield* opened({
        document,
        baseUrl: "https://api.example",
        credentials: { cookie: "cookie" }
      })
      const { jsonSchema } = toolkit.tools["send"] as unknown as { jsonSchema: { properties: Json } }
      assert.deepStrictEqual(Object.keys(jsonSchema.properties), ["q"])
    })
  )
})

describe("servers", () => {
  const urlOf = Effect.fnUntraced(function* (servers: unknown, options: Partial<OpenApi.Options> = {}) {
    const document = documentOf({ "/x": get("x") }, { servers })
    const result = yield* Effect.result(opened({ document, ...options }))
    return result._tag === "Success" ? result.success.operations.get("x")!.url : result.failure.message
  })
  const refused = (why: string) => `#/paths: no operation can be used: GET /x (#/servers${why})`

  const cases: ReadonlyArray<readonly [servers: unknown, options: Partial<OpenApi.Options>, url: string]> = [
    [[{ url: "https://api.example/v1/" }, { url: "https://other.example" }], {}, "https://api.example/v1/x"],
    [[{ url: "https://api.example" }], { baseUrl: "http://127.0.0.1:8080/b/" }, "http://127.0.0.1:8080/b/x"],
    [
      [
        {
          url: "https://{r}.example/{v}",
          variables: { r: { default: "eu", enum: ["eu", "us"] }, v: { default: "v2" } }
        }
      ],
      { serverVariables: { r: "us" } },
      "https://us.example/v2/x"
    ],
    [
      [{ url: "https://{r}.example", variables: { r: { default: "eu", enum: ["eu"] } } }],
      { serverVariables: { r: "evil" } },
      refused('/0/variables/r: expected one of eu, found "evil"')
    ],
    [[{ url: "https://{r}.example" }], {}, refused('/0/url: names a variable "r" that has no default')],
    [[{ url: "/v1" }], {}, refused("/0/url: is relative, and the document has no URL: say the baseUrl")],
    [undefined, {}, refused(": is relative, and the document has no URL: say the baseUrl")],
    [[{ url: "file:///etc" }], {}, refused("/0/url: expected an http or https URL")],
    [
      [{ url: "https://ada:pw@api.example" }],
      {},
      refused("/0/url: expected a URL without user, query and fragment")
    ],
    [
      [{ url: "https://api.example?x=1" }],
      {},
      refused("/0/url: expected a URL without user, query and fragment")
    ],
    [[{}], {}, refused("/0/url: expected a string, found nothing")],
    [{}, {}, refused(": expected an array, found an object")]
  ]
  it.live("say where requests go, with variables and their defaults", () =>
    Effect.gen(function* () {
      for (const [servers, options, url] of cases) assert.strictEqual(yield* urlOf(servers, options), url)
    })
  )

  it.live("of an operation come before those of its path, and these before the document's", () =>
    Effect.gen(function* () {
      const at = (host: string) => ({ servers: [{ url: `https://${host}.example` }] })
      const document = documentOf(
        {
          "/a": { ...get("a", at("own")), ...at("path") },
          "/b": { ...get("b"), ...at("path") },
          "/c": get("c")
        },
        at("root")
      )
      const { operations } = yield* opened({ document })
      assert.deepStrictEqual(
        Array.from(operations.values(), ({ url }) => url),
        ["https://own.example/a", "https://path.example/b", "https://root.example/c"]
      )
    })
  )
})

describe("documents at URLs", () => {
  it.live("are read with a credential, and say where relative servers are", () =>
    Effect.gen(function* () {
      const document = documentOf({ "/x": get("x") }, { servers: [{ url: "../v1" }] })
      const { arrived, port, url } = yield* serve(({ target }) =>
        target === "/api/docs/openapi.json" ? json(document) : json("arrived")
      )
      const { api, call } = yield* toolsOf(
        port,
        { document: `${url}/api/docs/openapi.json`, documentCredential: "bearer" },
        named
      )
      assert.strictEqual(api.operations.get("x")!.url, `${url}/api/v1/x`)
      assert.strictEqual((yield* call("x")).status, "success")
      assert.deepStrictEqual(
        arrived.map(({ headers }) => headers.get("authorization")?.[0]),
        ["Bearer token-of-the-bearer", undefined]
      )
    }).pipe(Effect.scoped)
  )

  it.live("that are not there, or not allowed, say so", () =>
    Effect.gen(function* () {
      const { port, url } = yield* serve(() => ({ status: 404 }))
      const at = (document: string) =>
        Effect.map(
          Effect.flip(Effect.provide(OpenApi.make({ document }), outbound(port, named))),
          ({ message, reason }) => `${reason} ${message}`
        )
      assert.strictEqual(yield* at(`${url}/x`), `read ${url}/x: the server answered with status 404`)
      assert.match(
        yield* at("http://169.254.169.254/x"),
        /^read http:\/\/169\.254\.169\.254\/x: 169\.254\.169\.254: /
      )
    }).pipe(Effect.scoped)
  )
})

describe("selection", () => {
  const document = documentOf({
    "/pets": {
      get: { operationId: "listPets", tags: ["pets"] },
      post: { operationId: "addPet", tags: ["pets", "write"] }
    },
    "/pets/{id}": {
      parameters: [{ name: "id", in: "path", required: true, schema: {} }],
      get: { operationId: "getPet", tags: ["pets"] },
      delete: { tags: ["admin"] }
    },
    "/shops": { get: { operationId: "listShops", tags: ["shops"] } },
    "/old": { get: { operationId: "oldPets", deprecated: true } },
    "/trace": { trace: {} },
    "x-internal": { get: { operationId: "none" } }
  })
  const base = { document, baseUrl: "https://api.example" }
  const names = (options: Partial<OpenApi.Options>) =>
    Effect.map(opened({ ...base, ...options }), ({ operations }) => [...operations.keys()])

  it.live("knows an operation by its method and path, whatever ids others give themselves", () =>
    Effect.gen(function* () {
      const document = documentOf({
        "/pets": { ...get("list"), delete: { operationId: "GET /pets" } },
        "/admin": { ...get("GET /pets"), post: { operationId: "get all" } },
        "/keys": { ...get("* /pets"), put: { operationId: "Get keys" } },
        "/owners": get("Get owners")
      })
      const base = { document, baseUrl: "https://api.example" }
      const chosen = (...operations: readonly [string, ...Array<string>]) =>
        Effect.map(opened({ ...base, include: [{ operations }] }), ({ operations }) =>
          Array.from(operations.values(), ({ method, path }) => `${method} ${path}`)
        )
      assert.deepStrictEqual(yield* chosen("GET /pets"), ["GET /pets"])
      assert.deepStrictEqual(yield* chosen("* /pets"), ["GET /pets", "DELETE /pets"])
      assert.deepStrictEqual(yield* chosen("get *"), ["GET /pets", "GET /admin", "GET /keys", "GET /owners"])
      assert.deepStrictEqual(yield* chosen("Get owners"), ["GET /owners"])
      const { operations } = yield* opened({ ...base, operations: { "GET /pets": { name: "pets" } } })
      assert.strictEqual(operations.get("pets")?.path, "/pets")
      assert.strictEqual(operations.size, 7)
    })
  )

  it.live("takes what matches all lists of any selector, and leaves out what exclude matches", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* names({}), [
        "listPets",
        "addPet",
        "getPet",
        "delete_pets_id",
        "listShops"
      ])
      assert.deepStrictEqual(yield* names({ deprecated: true, include: [{ operations: ["old*"] }] }), [
        "oldPets"
      ])
      assert.deepStrictEqual(yield* names({ include: [{ tags: ["PETS"], methods: ["GET"] }] }), [
        "listPets",
        "getPet"
      ])
      assert.deepStrictEqual(
        yield* names({ include: [{ tags: ["shops"] }, { operations: ["DELETE /pets/{id}"] }] }),
        ["delete_pets_id", "listShops"]
      )
      assert.deepStrictEqual(
        yield* names({ include: [{ paths: ["/pets*"] }], exclude: [{ tags: ["admin", "write"] }] }),
        ["listPets", "getPet"]
      )
      assert.deepStrictEqual(yield* names({ exclude: [{ methods: ["POST", "DELETE", "PATCH"] }] }), [
        "listPets",
        "getPet",
        "listShops"
      ])
    })
  )

  it.live("refuses what matches nothing, since it was meant to match", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* refusal({ ...base, include: [{ tags: ["pets"] }, { operations: ["getPetz"] }] }),
        'options include[1].operations: no operation matches "getPetz"'
      )
      assert.strictEqual(
        yield* refusal({ ...base, exclude: [{ paths: ["/admin/*"] }] }),
        'options exclude[0].paths: no operation matches "/admin/*"'
      )
      assert.strictEqual(
        yield* refusal({ ...base, operations: { getPetz: {} } }),
        "options operations.getPetz: the document has no such operation"
      )
      assert.strictEqual(
        yield* refusal({ ...base, include: [{ tags: ["pets"], paths: ["/shops"] }] }),
        "options include: no operation is selected"
      )
      assert.match(
        yield* refusal({ ...base, headers: { Host: "x" } }),
        /^options headers: .*header host cannot be set/
      )
      assert.strictEqual(
        yield* refusal({ ...base, operations: { getPet: { name: "x" }, addPet: { name: "x" } } }),
        'options operations: two tools would be called "x"'
      )
    })
  )

  it.live("tells of what is left out for what it is", () =>
    Effect.gen(function* () {
      const { skipped } = yield* opened(base)
      assert.deepStrictEqual(
        skipped.map(({ operation, reason }) => `${operation} ${reason}`),
        ["TRACE /trace TRACE would send its credentials back", "GET /old is deprecated"]
      )
    })
  )

  it.live("dies of options that make no sense by themselves", () =>
    Effect.gen(function* () {
      for (const options of [
        { maxOperations: 0 },
        { prefix: "a b" },
        { baseUrl: "ftp://x" },
        { nonsense: 1 }
      ]) {
        const exit = yield* Effect.exit(opened({ ...base, ...options }))
        assert.strictEqual(exit._tag, "Failure")
      }
    })
  )
})

describe("headers that are sent with every request", () => {
  it.live("are no arguments, and are what the options say", () =>
    Effect.gen(function* () {
      const { arrived, port, url } = yield* serve(() => json("arrived"))
      const parameters = [{ name: "x-version", in: "header", required: true, schema: {} }]
      const document = documentOf({
        "/": get("send", {
          parameters,
          responses: { 200: { content: { "text/csv": {}, "application/vnd.x+json": {} } } }
        })
      })
      const said = Effect.fnUntraced(function* (headers: Readonly<Record<string, string>>) {
        const { call } = yield* toolsOf(port, { document, baseUrl: url, headers })
        assert.strictEqual((yield* call("send")).status, "success")
        const sent = arrived.at(-1)!.headers
        return [sent.get("x-version"), sent.get("accept")]
      })
      assert.deepStrictEqual(yield* said({ "X-Version": "2026-09-01" }), [
        ["2026-09-01"],
        ["application/json, application/vnd.x+json, */*;q=0.1"]
      ])
      assert.deepStrictEqual(yield* said({ "X-Version": "2", ACCEPT: "application/vnd.x.v2+json" }), [
        ["2"],
        ["application/vnd.x.v2+json"]
      ])
    }).pipe(Effect.scoped)
  )
})

describe("answers", () => {
  const answering = Effect.fnUntraced(function* (answer: Answer, options: Partial<OpenApi.Options> = {}) {
    const { port, url } = yield* serve(() => answer)
    const { call } = yield* toolsOf(port, {
      document: documentOf({ "/": get("send") }),
      baseUrl: url,
      ...options
    })
    return yield* call("send")
  }, Effect.scoped)

  const type = (type: string) => ({ headers: { "content-type": type } })
  const answers: ReadonlyArray<readonly [what: string, answer: Answer, value: Json]> = [
    [
      "JSON",
      { ...type("application/vnd.x+json"), body: '{"__proto__":1}' },
      { format: "json", body: JSON.parse('{"__proto__":1}') }
    ],
    ["JSON that is none", { ...type("application/json"), body: "{" }, { format: "text", body: "{" }],
    [
      "JSON without end",
      { ...type("application/json"), body: "[".repeat(5_000) + "]".repeat(5_000) },
      { format: "text", body: "[".repeat(5_000) + "]".repeat(5_000) }
    ],
    ["nothing", { status: 204 }, { status: 204, format: "none" }],
    [
      "another character set",
      { ...type("text/plain; charset=iso-8859-1"), body: Buffer.from([0xfc]) },
      { format: "text", body: "ü" }
    ],
    ["bytes", { ...type("image/png"), body: Buffer.from([0, 1]) }, { format: "base64", body: "AAE=" }],
    ["what does not say what it is", { body: "text" }, { format: "text", body: "text" }]
  ]
  for (const [what, answer, value] of answers) {
    it.live(`are read as what they are: ${what}`, () =>
      Effect.gen(function* () {
        const result = yield* answering(answer)
        assert.deepStrictEqual(result.value, {
          status: 200,
          ...(answer.headers?.["content-type"] === undefined
            ? {}
            : { contentType: answer.headers["content-type"] }),
          ...value
        })
      })
    )
  }

  it.live("are cut where they are large, and say how large they are", () =>
    Effect.gen(function* () {
      const large = yield* answering(
        { ...type("application/json"), body: JSON.stringify("ü".repeat(40)) },
        { maxResultBytes: 10 }
      )
      assert.deepStrictEqual(large.value, {
        status: 200,
        contentType: "application/json",
        format: "text",
        body: '"üüüü',
        truncatedBytes: 82
      })
      const bytes = yield* answering({ ...type("image/png"), body: Buffer.alloc(11) }, { maxResultBytes: 10 })
      assert.deepStrictEqual(bytes.value, {
        status: 200,
        contentType: "image/png",
        format: "none",
        truncatedBytes: 11
      })
    })
  )

  it.live("that are no success are failures, for whoever retries to read", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<
        readonly [status: number, headers: Readonly<Record<string, string>>, kind: string]
      > = [
        [400, {}, "Caller"],
        [304, {}, "Caller"],
        [408, {}, "Retryable"],
        [425, {}, "Retryable"],
        [429, { "retry-after": "3" }, "Overload"],
        [500, {}, "Retryable"],
        [503, { "retry-after": "3" }, "Overload"]
      ]
      for (const [status, headers, kind] of cases) {
        const { error } = yield* answering(
          { status, headers, body: status === 304 ? "" : "why" },
          { annotations: { retries: 0 } }
        )
        const reason = error!.reason as unknown as { readonly class: string; readonly failure: Json }
        assert.deepStrictEqual([reason.class, reason.failure["status"]], [kind, status])
        assert.strictEqual(reason.failure["text"], status === 304 ? "" : "why")
      }
    })
  )

  it.live("follow redirects at their origin, and nowhere else", () =>
    Effect.gen(function* () {
      const away = yield* serve(() => json("away"))
      const { arrived, port, url } = yield* serve(({ target }) => {
        switch (target) {
          case "/base/away":
            return {
              status: 302,
              headers: { location: `${away.url.replace("//", "//ada:pass@")}/x?sign=key#f` }
            }
          case "/base/loop":
            return { status: 302, headers: { location: "/base/loop" } }
          case "/base/see":
            return { status: 303, headers: { location: "../seen" } }
          case "/base/keep":
            return { status: 307, headers: { location: "/kept" } }
          default:
            return json("arrived")
        }
      })
      const post = (id: string) => ({
        post: { operationId: id, requestBody: { content: { "application/json": {} } } }
      })
      const document = documentOf({
        "/away": get("away"),
        "/loop": get("loop"),
        "/see": post("see"),
        "/keep": post("keep")
      })
      const { call } = yield* toolsOf(port, { document, baseUrl: `${url}/base` })
      const failed = yield* call("away")
      assert.deepInclude((failed.error!.reason as unknown as { failure: Json }).failure, {
        status: 302,
        text: `It leads to ${away.url}/x, and is not followed.`
      })
      assert.strictEqual(away.arrived.length, 0)
      arrived.length = 0
      assert.strictEqual((yield* call("loop")).status, "failure")
      assert.strictEqual(arrived.length, 6)
      arrived.length = 0
      assert.strictEqual((yield* call("see", { body: 1 })).status, "success")
      assert.strictEqual((yield* call("keep", { body: 2 })).status, "success")
      assert.deepStrictEqual(
        arrived.map(({ body, headers, method, target }) => [
          method,
          target,
          body.toString(),
          headers.get("content-type")?.[0]
        ]),
        [
          ["POST", "/base/see", "1", "application/json"],
          ["GET", "/seen", "", undefined],
          ["POST", "/base/keep", "2", "application/json"],
          ["POST", "/kept", "2", "application/json"]
        ]
      )
    }).pipe(Effect.scoped)
  )

  it.live("of a page that a redirect leads to have nothing carried out twice", () =>
    Effect.gen(function* () {
      const ordered = Effect.fnUntraced(function* (location: string) {
        const server = yield* outboundServe(({ url }, response) => {
          if (url === "/order") {
            response.writeHead(303, { location }).end()
            // Nobody listens any more.
            if (location === "/gone") response.req.socket.server?.close()
          } else if (url === "/lost") response.destroy()
          else if (url === "/leaves") response.writeHead(302, { location: "http://other.example/" }).end()
          else response.writeHead(url === "/busy" ? 429 : 503, { "retry-after": "0" }).end()
        })
        const document = documentOf({ "/order": { post: { operationId: "order" } } })
        const baseUrl = `http://127.0.0.1:${server.port}`
        const options = { document, baseUrl, annotations: { retries: 1 } }
        const { call } = yield* toolsOf(server.port, options)
        const { attempts, status } = yield* call("order")
        const posts = server.requests.filter(({ method }) => method === "POST")
        return [status, attempts, posts.length]
      }, Effect.scoped)
      for (const place of ["/page", "/busy", "/lost", "/gone", "/leaves", "http://127.0.0.1:1/"]) {
        assert.deepStrictEqual(yield* ordered(place), ["failure", 1, 1], place)
      }
    })
  )
})
