/** A realistic document, in both versions and both syntaxes, against a server that implements it. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Redacted } from "effect"
import { Tool } from "effect/ai"
import { ToolAnnotations } from "effect-interlock"
import type { Credentials, OpenApi } from "effect-interlock/toolbox"
import { key, library, member, png } from "./support/library.ts"
import { serve, toolsOf } from "./support/openapi.ts"

const file = (name: string) => new URL(`fixtures/openapi/${name}`, import.meta.url).pathname
const yaml = file("library.yaml")
const json = file("library.json")

const credentials: Readonly<Record<string, Credentials.Credential>> = {
  shelf: { type: "header", name: "X-Library-Key", value: Redacted.make(key), hosts: ["127.0.0.1"] }
}

/** A library, and its tools. */
const opened = (options: Partial<OpenApi.Options> = {}) =>
  Effect.gen(function* () {
    const { answer, books, heard } = library()
    const { arrived, port, url } = yield* serve(answer)
    const tools = yield* toolsOf(
      port,
      { document: yaml, baseUrl: url, credentials: { libraryKey: "shelf" }, ...options },
      credentials
    )
    return { ...tools, arrived, books, heard, url }
  })

const schemaOf = (api: OpenApi.OpenApi, name: string) =>
  (
    api.toolkit.tools[name] as unknown as Tool.AnyDynamic & {
      readonly jsonSchema: Readonly<Record<string, unknown>>
    }
  ).jsonSchema

const bodyOf = (result: { readonly value?: unknown }) => (result.value as OpenApi.Response).body

describe("a document of some thirty operations", () => {
  it.live("becomes a tool for each that is current and can be called, and tells of the others", () =>
    Effect.gen(function* () {
      const { api } = yield* opened()
      assert.strictEqual(api.operations.size, 31)
      assert.deepStrictEqual(api.skipped, [
        {
          operation: "GET /legacy/books",
          pointer: "#/paths/~1legacy~1books/get/deprecated",
          reason: "is deprecated"
        },
        {
          operation: "POST /admin/reindex",
          pointer: "#/paths/~1admin~1reindex/post/security",
          reason: 'needs a credential for "libraryKey" with "adminToken"'
        }
      ])
      assert.deepStrictEqual(api.operations.get("getBook"), {
        method: "GET",
        path: "/books/{isbn}",
        operationId: "getBook",
        url: `${api.operations.get("getBook")!.url.slice(0, api.operations.get("getBook")!.url.indexOf("/books"))}/books/{isbn}`,
        credential: "shelf"
      })
      assert.isUndefined(api.operations.get("getStatus")!.credential)
    }).pipe(Effect.scoped)
  )

  it.live("comes to the same tools in 3.1 as YAML and in 3.0 as JSON", () =>
    Effect.gen(function* () {
      const { api: newer } = yield* opened()
      const { api: older } = yield* opened({ document: json })
      assert.deepStrictEqual([...older.operations.keys()], [...newer.operations.keys()])
      for (const name of newer.operations.keys()) {
        assert.deepStrictEqual(schemaOf(older, name), schemaOf(newer, name), name)
      }
    }).pipe(Effect.scoped)
  )

  it.live("describes each tool by one schema, without what a request has not", () =>
    Effect.gen(function* () {
      const { api } = yield* opened()
      assert.deepStrictEqual(schemaOf(api, "replaceBook"), {
        type: "object",
        properties: {
          isbn: {
            type: "string",
            maxLength: 64,
            description: "The ISBN, or any other number that the library gives."
          },
          "If-Match": { type: "string" },
          body: { $ref: "#/$defs/Book", description: "The book as it should be." }
        },
        required: ["isbn", "If-Match", "body"],
        additionalProperties: false,
        $defs: {
          Book: {
            allOf: [
              { type: "object", properties: {} },
              {
                type: "object",
                required: ["isbn", "title"],
                properties: {
                  isbn: { type: "string" },
                  title: { type: "string", minLength: 1, examples: ["The Snow Goose"] },
                  subtitle: { type: ["string", "null"] },
                  year: { type: ["integer", "null"], exclusiveMinimum: 1400 },
                  authors: {
                    type: "array",
                    items: {
                      type: "object",
                      required: ["name"],
                      properties: { name: { type: "string" }, born: { type: ["integer", "null"] } }
                    }
                  },
                  related: { type: "array", items: { $ref: "#/$defs/Book" } },
                  condition: {
                    type: "string",
                    description: "How worn something is.",
                    enum: ["new", "used", "worn"]
                  }
                }
              }
            ]
          }
        }
      })
    }).pipe(Effect.scoped)
  )

  it.live("says what each tool does, from its method", () =>
    Effect.gen(function* () {
      const { api } = yield* opened({ prefix: "library" })
      const facts = (name: string) => ToolAnnotations.read(api.toolkit.tools[`library__${name}`]!)
      const said = (name: string) => {
        const { capabilities, destructive, idempotent, readonly } = facts(name)
        return [readonly, destructive, idempotent, capabilities?.[0]]
      }
      assert.deepStrictEqual(said("getBook"), [true, false, true, "read_data"])
      assert.deepStrictEqual(said("hasBook"), [true, false, true, "read_data"])
      assert.deepStrictEqual(said("createBook"), [undefined, undefined, undefined, "write_data"])
      assert.deepStrictEqual(said("updateBook"), [false, undefined, undefined, "write_data"])
      assert.deepStrictEqual(said("replaceBook"), [false, undefined, true, "write_data"])
      assert.deepStrictEqual(said("deleteBook"), [false, true, true, "delete_data"])
      const titles = ["listBooks", "getStatus"].map((name) =>
        Context.getOrUndefined(
          api.toolkit.tools[`library__${name}`]!.annotations as Context.Context<never>,
          Tool.Title
        )
      )
      assert.deepStrictEqual(titles, ["Lists books", "Whether the library is open"])
      const { capabilities, description, names, openWorld, sendsData, tags, trust } = facts("listBooks")
      assert.deepStrictEqual(names, ["library__listBooks", "listBooks"])
      assert.deepStrictEqual(capabilities, ["read_data", "network_access", "external_api"])
      assert.deepStrictEqual([openWorld, sendsData, trust, tags], [true, true, "untrusted", ["books"]])
      assert.strictEqual(
        description,
        "Lists books, the newest first. Filters are combined: a book is listed when it matches all of them."
      )
    }).pipe(Effect.scoped)
  )

  it.live("lets whoever knows better say so, of all and of one", () =>
    Effect.gen(function* () {
      const { api } = yield* opened({
        annotations: { trust: "trusted", timeout: "10 seconds" },
        operations: {
          searchBooks: {
            readonly: true,
            destructive: false,
            capabilities: ["read_data"],
            name: "find",
            description: "Finds."
          },
          "GET /books/export": { trust: "untrusted", timeout: Duration.minutes(2) }
        }
      })
      const find = ToolAnnotations.read(api.toolkit.tools["find"]!)
      assert.deepStrictEqual(
        [find.readonly, find.destructive, find.capabilities, find.trust, find.description, find.names],
        [true, false, ["read_data"], "trusted", "Finds.", ["find", "searchBooks"]]
      )
      assert.strictEqual(ToolAnnotations.read(api.toolkit.tools["exportBooks"]!).trust, "untrusted")
      const timeoutOf = (name: string) =>
        Context.getOrUndefined(
          api.toolkit.tools[name]!.annotations as Context.Context<never>,
          ToolAnnotations.Timeout
        )
      assert.deepStrictEqual(
        [timeoutOf("exportBooks"), timeoutOf("getBook")],
        [Duration.minutes(2), "10 seconds"]
      )
      assert.isUndefined(api.toolkit.tools["searchBooks"])
    }).pipe(Effect.scoped)
  )
})

describe("the tools of a library", () => {
  it.live("list, with filters of every kind", () =>
    Effect.gen(function* () {
      const { call, heard } = yield* opened()
      const result = yield* call("listBooks", {
        q: "the & only",
        author: ["Adams, D.", "Gallico"],
        year: { gte: 1979 },
        sort: ["-year", "title"],
        near: { town: "St. Gallen" },
        page_cursor: "a=b",
        limit: 5,
        "X-Request-Tag": ["one", "two"],
        locale: "de-CH"
      })
      assert.strictEqual(result.status, "success")
      assert.deepStrictEqual(result.value, {
        status: 200,
        headers: { "x-total-count": "1" },
        contentType: "application/json",
        format: "json",
        body: [{ id: 1, isbn: "0-330-25864-8", title: "The Restaurant", year: 1980 }]
      })
      assert.deepStrictEqual(heard, [
        {
          query: [
            ["q", "the & only"],
            ["author", "Adams, D."],
            ["author", "Gallico"],
            ["year[gte]", "1979"],
            ["sort", "-year|title"],
            ["near", '{"town":"St. Gallen"}'],
            ["limit", "5"],
            ["page[cursor]", "a=b"]
          ],
          tag: ["one,two"],
          cookie: ["locale=de-CH"]
        }
      ])
    }).pipe(Effect.scoped)
  )

  it.live("add, read, replace, change and remove", () =>
    Effect.gen(function* () {
      const { arrived, books, call, heard } = yield* opened()
      const isbn = "978/3 ../x?#%2F"
      const book = { isbn: "978-3", title: "Schnee", year: null, authors: [{ name: "Gallico" }] }
      assert.deepStrictEqual(bodyOf(yield* call("createBook", { body: { ...book, isbn } })), {
        id: 2,
        ...book,
        isbn
      })
      assert.strictEqual(arrived.at(-1)!.headers.get("content-type")!.join(), "application/json")
      // A number that looks like a path is one segment, and one that leads elsewhere is refused.
      assert.deepStrictEqual(bodyOf(yield* call("getBook", { isbn })), { id: 2, ...book, isbn })
      assert.strictEqual((yield* call("getBook", { isbn: "978/../3" })).status, "failure")
      assert.deepStrictEqual(bodyOf(yield* call("createBook", { body: book })), { id: 3, ...book })
      const read = yield* call("getBook", { isbn: "978-3" })
      assert.deepStrictEqual((read.value as OpenApi.Response).headers, { etag: '"1"' })
      const replaced = yield* call("replaceBook", {
        isbn: "978-3",
        "If-Match": '"1"',
        body: { ...book, title: "Eis" }
      })
      assert.strictEqual((bodyOf(replaced) as { title: string }).title, "Eis")
      yield* call("updateBook", { isbn: "978-3", body: { title: "Tau" } })
      assert.deepStrictEqual(heard, ["application/merge-patch+json"])
      assert.strictEqual(books.get("978-3")!.title, "Tau")
      assert.deepStrictEqual((yield* call("deleteBook", { isbn: "978-3" })).value, {
        status: 204,
        format: "none"
      })
      assert.isFalse(books.has("978-3"))
      assert.strictEqual((yield* call("hasBook", { isbn: "978-3" })).status, "failure")
    }).pipe(Effect.scoped)
  )

  it.live("refuse what does not fit before anything is sent, and say where", () =>
    Effect.gen(function* () {
      const { arrived, call } = yield* opened()
      const refusals: ReadonlyArray<readonly [tool: string, params: unknown, path: string]> = [
        ["getBook", {}, "isbn"],
        ["getBook", { isbn: 7 }, "isbn"],
        ["listBooks", { limit: 0 }, "limit"],
        ["listBooks", { year: { from: 1 } }, "year"],
        ["listBooks", { "X-Library-Key": "mine" }, "X-Library-Key"],
        ["listBooks", { Authorization: "Bearer mine" }, "Authorization"],
        ["createBook", { body: { isbn: "1" } }, "body.title"],
        ["createBook", { body: { isbn: "1", title: "x", year: 1400 } }, "body.year"],
        ["updateBook", { isbn: "1", body: { id: 3 } }, "body"],
        ["getReport", { year: 2026, month: "13", format: "json" }, "month"],
        ["announce", { body: "x".repeat(501) }, "body"]
      ]
      for (const [tool, params, path] of refusals) {
        const { error, status } = yield* call(tool, params)
        assert.strictEqual(status, "invalid_params", tool)
        const { issues } = error!.reason as unknown as {
          readonly issues: ReadonlyArray<{ readonly path: ReadonlyArray<string> }>
        }
        assert.isTrue(
          issues.some((issue) => issue.path.join(".").includes(path)),
          `${tool}: ${JSON.stringify(issues)}`
        )
      }
      assert.strictEqual(arrived.length, 0)
    }).pipe(Effect.scoped)
  )

  it.live("take schemas that contain themselves", () =>
    Effect.gen(function* () {
      const { call } = yield* opened()
      const is = (field: string, value: unknown) => ({ field, is: value })
      const filter = { all: [is("year", 1980), { not: { all: [is("title", "Eis")] } }] }
      assert.strictEqual(
        (bodyOf(yield* call("searchBooks", { body: filter })) as ReadonlyArray<unknown>).length,
        1
      )
      const wrong = yield* call("searchBooks", {
        body: { all: [{ not: { all: [{ field: "isbn", is: 1 }] } }] }
      })
      assert.strictEqual(wrong.status, "invalid_params")
    }).pipe(Effect.scoped)
  )

  it.live("send forms, files, texts and bytes, and read them", () =>
    Effect.gen(function* () {
      const { call, heard } = yield* opened()
      yield* call("createMember", {
        body: { name: "Ada & Co", interests: ["a,b", "c"], languages: ["de", "fr"], address: { town: "Ur" } }
      })
      yield* call("addAttachments", {
        isbn: "1",
        body: {
          title: 'x"\r\ny',
          pages: [1, 2],
          place: { town: "Ur" },
          files: [
            { base64: png.toString("base64"), filename: 'a"\r\nb.png', contentType: "image/png" },
            { base64: Buffer.from("%PDF").toString("base64") }
          ]
        }
      })
      yield* call("putCover", { isbn: "1", body: png.toString("base64") })
      yield* call("announce", { body: "Wir schließen früher." })
      const cover = yield* call("getCover", { isbn: "0-330-25864-8" })
      const table = yield* call("exportBooks")
      assert.deepStrictEqual(heard, [
        [
          ["name", "Ada & Co"],
          ["interests", "a,b"],
          ["interests", "c"],
          ["languages", "de,fr"],
          ["address", '{"town":"Ur"}']
        ],
        [
          { name: "title", filename: undefined, type: undefined, content: Buffer.from('x"\r\ny') },
          { name: "pages", filename: undefined, type: undefined, content: Buffer.from("1") },
          { name: "pages", filename: undefined, type: undefined, content: Buffer.from("2") },
          {
            name: "place",
            filename: undefined,
            type: "application/json",
            content: Buffer.from('{"town":"Ur"}')
          },
          { name: "files", filename: "a%22%0D%0Ab.png", type: "image/png", content: png },
          { name: "files", filename: "files", type: "image/png", content: Buffer.from("%PDF") }
        ],
        ["image/png", png],
        ["text/plain; charset=utf-8", "Wir schließen früher."]
      ])
      assert.deepInclude(cover.value, {
        format: "base64",
        body: png.toString("base64"),
        contentType: "image/png"
      })
      assert.deepInclude(table.value, { format: "text", body: "title\nZürich\n" })
    }).pipe(Effect.scoped)
  )

  it.live("write what stands in paths: matrices, lists, and several in one segment", () =>
    Effect.gen(function* () {
      const { arrived, call } = yield* opened()
      yield* call("getCopy", { copyId: 12 })
      yield* call("getReservations", { ids: [3, 1, 2] })
      yield* call("getReport", { year: 2026, month: "09", format: "json" })
      yield* call("listLoans", { memberId: member })
      assert.deepStrictEqual(
        arrived.map(({ target }) => target),
        ["/copies/;copyId=12", "/reservations/3,1,2", "/reports/2026-09.json", `/members/${member}/loans`]
      )
    }).pipe(Effect.scoped)
  )

  it.live("tell where what was made is found, and what a failure says", () =>
    Effect.gen(function* () {
      const { arrived, call, url } = yield* opened()
      const made = yield* call("createLoan", { body: { copyId: 1, memberId: member } })
      assert.deepStrictEqual(made.value, {
        status: 201,
        headers: { location: "/v2/loans/12" },
        format: "none"
      })
      const missing = yield* call("getBook", { isbn: "404" })
      assert.strictEqual(missing.status, "failure")
      const { class: kind, failure } = missing.error!.reason as unknown as {
        class: string
        failure: Record<string, unknown>
      }
      assert.strictEqual(kind, "Caller")
      assert.deepInclude(failure, { _tag: "StatusFailure", status: 404, url: `${url}/books/404` })
      assert.include(failure["text"], "No such book.")
      assert.strictEqual(arrived.length, 2)
    }).pipe(Effect.scoped)
  )

  it.live("are told when to come back", () =>
    Effect.gen(function* () {
      const { call } = yield* opened({ operations: { renewLoan: { retries: 0 } } })
      const limited = yield* call("renewLoan", { loanId: 1 })
      assert.strictEqual((limited.error!.reason as unknown as { class: string }).class, "Overload")
      assert.deepInclude((limited.error!.reason as unknown as { failure: object }).failure, {
        status: 429,
        retryAfter: "7"
      })
      assert.strictEqual((yield* call("renewLoan", { loanId: 1 })).status, "success")
    }).pipe(Effect.scoped)
  )

  it.live("show no secret: neither the credential nor what the document calls a password", () =>
    Effect.gen(function* () {
      const { api, arrived, call, executor } = yield* opened()
      const secret = "correct horse battery"
      const result = yield* call("setPassword", { memberId: member, body: { password: secret } })
      assert.strictEqual(result.status, "success")
      assert.deepStrictEqual(JSON.parse(arrived[0]!.body.toString()), { password: secret })
      assert.deepStrictEqual(arrived[0]!.headers.get("x-library-key"), [key])
      assert.notInclude(
        JSON.stringify([result, [...api.operations], api.skipped, schemaOf(api, "setPassword")]),
        key
      )
      assert.isDefined(executor)
    }).pipe(Effect.scoped)
  )
})
