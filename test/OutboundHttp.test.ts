/** What goes out, what comes back, and what does neither: against real servers on loopback. */
import { spawnSync } from "node:child_process"
import * as Net from "node:net"
import Tls from "node:tls"
import { brotliCompressSync, constants, gzipSync } from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Redacted, Scheduler } from "effect"
import { Dns } from "effect/net"
import { TestClock } from "effect/testing"
import { SecurityPolicy } from "effect-interlock"
import { Credentials, OutboundHttp } from "effect-interlock/toolbox"
import { CurrentDialer } from "../src/toolbox/outbound/dial.ts"
import {
  type Answer,
  client,
  names,
  recording,
  send,
  serve,
  serveRaw,
  serveSecure,
  text
} from "./support/outbound.ts"
import { authority, identity } from "./support/x509.ts"

const local = ["127.0.0.1"]
const zone = names({ "a.test": local, "b.test": local, "c.test": local })

/** A client that reaches these servers, and nothing else. */
const reaching = (
  servers: ReadonlyArray<{ readonly port: number }>,
  options: Partial<OutboundHttp.Options> = {},
  rest: Parameters<typeof client>[1] = {}
) =>
  client(
    { allowedAddresses: local, allowedPorts: servers.map(({ port }) => port), ...options },
    { zone, ...rest }
  )

const reasonOf = <A, R>(effect: Effect.Effect<A, OutboundHttp.OutboundError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)

const echo: Answer = ({ body, headers, method, url }, response) =>
  response.end(JSON.stringify({ method, url, headers, body }))

describe("a request", () => {
  it.live("goes out as it was given, with what belongs to the connection", () =>
    Effect.gen(function* () {
      const server = yield* serve(echo)
      const response = yield* send({
        method: "POST",
        url: `http://a.test:${server.port}/x?y=1#z`,
        headers: { "Content-Type": "text/plain", Accept: "application/json", "X-A": "b" },
        body: "grüße"
      }).pipe(Effect.provide(reaching([server])))
      assert.strictEqual(response.status, 200)
      assert.strictEqual(response.url, `http://a.test:${server.port}/x?y=1`)
      assert.strictEqual(response.redirects, 0)
      assert.deepStrictEqual(server.requests, [
        {
          method: "POST",
          url: "/x?y=1",
          body: "grüße",
          headers: {
            host: `a.test:${server.port}`,
            "user-agent": "effect-interlock",
            accept: "application/json",
            "content-type": "text/plain",
            "x-a": "b",
            "content-length": "7",
            "accept-encoding": "gzip, br",
            connection: "close"
          },
          rawHeaders: server.requests[0]!.rawHeaders
        }
      ])
    })
  )

  it.live("of each method has a body where it may have one", () =>
    Effect.gen(function* () {
      const server = yield* serve(echo)
      const url = `http://a.test:${server.port}/`
      yield* Effect.gen(function* () {
        for (const method of OutboundHttp.methods) yield* send({ method, url })
        for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const) {
          yield* send({ method, url, body: new Uint8Array([1, 2]) })
        }
        for (const method of ["GET", "HEAD"] as const) {
          assert.strictEqual(yield* reasonOf(send({ method, url, body: "x" })), "invalid_request")
        }
        for (const method of ["TRACE", "CONNECT", "get", "GET /x HTTP/1.1\r\n\r\n", ""]) {
          const request = { method: method as OutboundHttp.Method, url }
          assert.strictEqual(yield* reasonOf(send(request)), "invalid_request")
        }
      }).pipe(Effect.provide(reaching([server])))
      assert.deepStrictEqual(
        server.requests.map(({ headers, method }) => [method, headers["content-length"]]),
        [
          ["GET", undefined],
          ["HEAD", undefined],
          ["POST", "0"],
          ["PUT", "0"],
          ["PATCH", "0"],
          ["DELETE", undefined],
          ["OPTIONS", undefined],
          ["POST", "2"],
          ["PUT", "2"],
          ["PATCH", "2"],
          ["DELETE", "2"],
          ["OPTIONS", "2"]
        ]
      )
    })
  )

  it.live("has a connection of its own, which is closed when it ends", () =>
    Effect.gen(function* () {
      const server = yield* serve((_, response) => response.end("ok"))
      const http = reaching([server])
      const url = `http://a.test:${server.port}/`
      yield* Effect.all([send({ url }), send({ url }), send({ url })], { concurrency: 3 }).pipe(
        Effect.provide(http)
      )
      yield* server.closed
      assert.strictEqual(server.accepted(), 3)
    })
  )

  it.live("goes to allowed hosts only, and not to denied ones", () =>
    Effect.gen(function* () {
      const server = yield* serve(echo)
      const http = reaching(
        [server],
        {
          allowedDomains: ["a.test", "*.sub.test"],
          deniedDomains: ["bad.sub.test"]
        },
        {
          zone: names({
            "a.test": local,
            "x.sub.test": local,
            "bad.sub.test": local,
            "sub.test": local,
            "b.test": local
          })
        }
      )
      const outcome = (host: string) =>
        Effect.match(send({ url: `http://${host}:${server.port}/` }), {
          onSuccess: ({ status }) => String(status),
          onFailure: ({ message }) => message
        })
      assert.deepStrictEqual(
        yield* Effect.forEach(
          ["a.test", "x.sub.test", "bad.sub.test", "sub.test", "b.test", "127.0.0.1"],
          outcome
        ).pipe(Effect.provide(http)),
        [
          "200",
          "200",
          "bad.sub.test: The host is denied.",
          "sub.test: The host is not among the allowed domains.",
          "b.test: The host is not among the allowed domains.",
          "127.0.0.1: The host is not among the allowed domains."
        ]
      )
      assert.strictEqual(server.accepted(), 2)
    })
  )

  it.live("obeys the security policy in force as well, at each hop", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ headers }, response) =>
        headers.host!.startsWith("a.")
          ? response.writeHead(302, { location: `http://b.test:${server.port}/` }).end()
          : response.end("b")
      )
      const url = `http://a.test:${server.port}/`
      const policy = SecurityPolicy.layer({ deniedDomains: ["b.test"] })
      const http = OutboundHttp.layerGoverned({
        allowedDomains: ["*"],
        allowedAddresses: local,
        allowedPorts: [server.port]
      }).pipe(Layer.provide([Credentials.layerNone, zone.layer]))
      yield* Effect.gen(function* () {
        const error = yield* Effect.flip(send({ url }))
        assert.strictEqual(error.message, "b.test: The host is denied.")
        const { set } = yield* SecurityPolicy.SecurityPolicy
        yield* set({ allowedDomains: ["b.test"] })
        assert.strictEqual(
          (yield* Effect.flip(send({ url }))).message,
          "a.test: The host is not among the allowed domains."
        )
        yield* set({})
        assert.strictEqual(text(yield* send({ url })), "b")
      }).pipe(Effect.provide(Layer.provideMerge(http, policy)))
    })
  )
})

describe("a redirect", () => {
  type Case = readonly [status: number, method: OutboundHttp.Method, next: OutboundHttp.Method, body: string]
  const cases: ReadonlyArray<Case> = [
    [301, "GET", "GET", ""],
    [301, "HEAD", "HEAD", ""],
    [301, "POST", "GET", ""],
    [301, "PUT", "PUT", "x"],
    [301, "DELETE", "DELETE", "x"],
    [302, "POST", "GET", ""],
    [302, "PATCH", "PATCH", "x"],
    [303, "GET", "GET", ""],
    [303, "HEAD", "HEAD", ""],
    [303, "POST", "GET", ""],
    [303, "PUT", "GET", ""],
    [303, "DELETE", "GET", ""],
    [307, "POST", "POST", "x"],
    [307, "GET", "GET", ""],
    [308, "POST", "POST", "x"],
    [308, "PUT", "PUT", "x"],
    [308, "DELETE", "DELETE", "x"]
  ]
  for (const [status, method, next, body] of cases) {
    it.live(`${status} makes ${next} of ${method}, ${body === "" ? "without a body" : "with its body"}`, () =>
      Effect.gen(function* () {
        const server = yield* serve(({ url }, response) =>
          url === "/" ? response.writeHead(status, { location: "/next" }).end("moved") : response.end("there")
        )
        const hasBody = method !== "GET" && method !== "HEAD"
        const response = yield* send({
          method,
          url: `http://a.test:${server.port}/`,
          ...(hasBody ? { body: "x", headers: { "content-type": "text/x" } } : {})
        }).pipe(Effect.provide(reaching([server])))
        assert.strictEqual(response.redirects, 1)
        assert.strictEqual(response.url, `http://a.test:${server.port}/next`)
        const second = server.requests[1]!
        assert.deepStrictEqual([second.method, second.body], [next, body])
        assert.strictEqual(second.headers["content-type"], body === "" ? undefined : "text/x")
      })
    )
  }

  it.live("is relative to where it comes from", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ url }, response) => {
        const location = new URLSearchParams(url.split("?")[1]).get("to")
        if (location === null) response.end(url)
        else response.writeHead(302, { location }).end()
      })
      const to = (location: string) =>
        Effect.map(send({ url: `http://a.test:${server.port}/x/y?to=${encodeURIComponent(location)}` }), text)
      const answers = yield* Effect.forEach(
        [
          "z",
          "/z",
          "../z",
          "./z?q=1",
          "?q=2",
          `//b.test:${server.port}/z`,
          `http://b.test:${server.port}/z#f`,
          "/a b",
          "/ü",
          "/:80/@x"
        ],
        to
      ).pipe(Effect.provide(reaching([server])))
      assert.deepStrictEqual(answers, [
        "/x/z",
        "/z",
        "/z",
        "/x/z?q=1",
        "/x/y?q=2",
        "/z",
        "/z",
        "/a%20b",
        "/%FC",
        "/:80/@x"
      ])
    })
  )

  it.live("is followed five times, and not once more", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ url }, response) =>
        url === "/0"
          ? response.end("end")
          : response.writeHead(302, { location: `/${Number(url.slice(1)) - 1}` }).end()
      )
      const url = (hops: number) => `http://a.test:${server.port}/${hops}`
      yield* Effect.gen(function* () {
        assert.strictEqual((yield* send({ url: url(5) })).redirects, 5)
        assert.strictEqual(yield* reasonOf(send({ url: url(6) })), "too_many_redirects")
      }).pipe(Effect.provide(reaching([server])))
      assert.strictEqual(server.requests.length, 12)
      const none = reaching([server], { maxRedirects: 0 })
      assert.strictEqual(yield* Effect.provide(reasonOf(send({ url: url(1) })), none), "too_many_redirects")
      assert.strictEqual((yield* Effect.provide(send({ url: url(0) }), none)).status, 200)
    })
  )

  it.live("is a response where it is not to be followed, or leads nowhere", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ url }, response) => {
        if (url === "/nowhere") response.writeHead(302).end("nowhere")
        else if (url === "/same") response.writeHead(304, { location: "/x" }).end()
        else if (url === "/choices") response.writeHead(300, { location: "/x" }).end("choices")
        else response.writeHead(302, { location: "http://169.254.169.254/" }).end("moved")
      })
      const base = `http://a.test:${server.port}`
      yield* Effect.gen(function* () {
        const moved = yield* send({ url: `${base}/`, followRedirects: false })
        assert.deepStrictEqual(
          [moved.status, moved.headers["location"], text(moved), moved.redirects],
          [302, "http://169.254.169.254/", "moved", 0]
        )
        assert.strictEqual((yield* send({ url: `${base}/nowhere` })).status, 302)
        assert.strictEqual((yield* send({ url: `${base}/same` })).status, 304)
        assert.strictEqual((yield* send({ url: `${base}/choices` })).status, 300)
      }).pipe(Effect.provide(reaching([server])))
    })
  )

  it.live("is followed at its origin only where that is wanted", () =>
    Effect.gen(function* () {
      const other = yield* serve((_, response) => response.end("other"))
      const server = yield* serve(({ url }, response) => {
        const location = decodeURIComponent(url.split("?to=")[1] ?? "")
        if (location === "") response.end("there")
        else response.writeHead(303, { location }).end("moved")
      })
      const origin = `http://a.test:${server.port}`
      const to = (location: string) =>
        send({
          method: "POST",
          url: `${origin}/?to=${encodeURIComponent(location)}`,
          followRedirects: "same-origin"
        })
      yield* Effect.gen(function* () {
        for (const location of ["x", "/x", "?x", `//a.test:${server.port}/x`, `${origin}/x`]) {
          const response = yield* to(location)
          const is = [text(response), response.redirects, response.seeOther]
          assert.deepStrictEqual(is, ["there", 1, true], location)
        }
        const elsewhere = [
          `http://b.test:${server.port}/`,
          `http://a.test:${other.port}/`,
          `https://a.test:${server.port}/`,
          `//b.test:${server.port}/`,
          `/\\b.test:${server.port}/`,
          `http://ada@a.test:${server.port}/`,
          "file:///etc/passwd"
        ]
        for (const location of elsewhere) {
          const response = yield* to(location)
          const is = [response.status, response.headers["location"], text(response), response.redirects]
          assert.deepStrictEqual(is, [303, location, "moved", 0])
        }
        const later = yield* to(`/?to=${encodeURIComponent(elsewhere[1]!)}`)
        assert.deepStrictEqual([later.status, later.redirects, later.seeOther], [303, 1, true])
      }).pipe(Effect.provide(reaching([server, other])))
      assert.strictEqual(other.accepted(), 0)
    })
  )

  it.live("takes only harmless headers to another origin, and none back", () =>
    Effect.gen(function* () {
      const other = yield* serve((_, response) =>
        response.writeHead(307, { location: `http://a.test:${server.port}/back` }).end()
      )
      const server = yield* serve(({ url }, response) => {
        if (url === "/same") response.writeHead(307, { location: "/other" }).end()
        else if (url === "/other") response.writeHead(307, { location: `http://a.test:${other.port}/` }).end()
        else response.end("back")
      })
      const headers = {
        authorization: "Bearer x",
        cookie: "a=b",
        "x-api-key": "k",
        referer: "http://a.test/secret",
        accept: "text/plain",
        "accept-language": "de",
        "content-type": "text/x"
      }
      const response = yield* send({
        method: "POST",
        url: `http://a.test:${server.port}/same`,
        headers,
        body: "b"
      }).pipe(Effect.provide(reaching([server, other])))
      assert.strictEqual(text(response), "back")
      const names = (headers: object) => Object.keys(headers).filter((name) => !framing.has(name))
      const framing = new Set(["host", "user-agent", "content-length", "accept-encoding", "connection"])
      assert.deepStrictEqual(
        [...server.requests.slice(0, 2), ...other.requests, ...server.requests.slice(2)].map((seen) => [
          seen.url,
          names(seen.headers).sort(),
          seen.body
        ]),
        [
          ["/same", Object.keys(headers).sort(), "b"],
          ["/other", Object.keys(headers).sort(), "b"],
          ["/", ["accept", "accept-language", "content-type"], "b"],
          ["/back", ["accept", "accept-language", "content-type"], "b"]
        ]
      )
    })
  )

  it.live("is not waited for with its body", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ url }, response) => {
        if (url !== "/") return response.end("there")
        response.writeHead(302, { location: "/next", "content-length": "1000000" })
        response.write("a body that never ends")
      })
      const response = yield* Effect.provide(
        send({ url: `http://a.test:${server.port}/` }),
        reaching([server])
      )
      assert.strictEqual(text(response), "there")
      yield* server.closed
    })
  )
})

describe("a credential", () => {
  const secret = Redacted.make("s3cr3t-värde+/=") as Redacted.Redacted<string>
  const ascii = Redacted.make("t0ken-0123456789")
  const credentials = {
    bearer: { type: "bearer", token: ascii, hosts: ["a.test"] },
    basic: { type: "basic", username: "me", password: secret, hosts: ["*.test"] },
    header: { type: "header", name: "X-Api-Key", value: ascii, hosts: ["a.test", "b.test"] },
    query: { type: "query", name: "key", value: secret, hosts: ["a.test"] }
  } as const

  it.live("is sent as its type says", () =>
    Effect.gen(function* () {
      const server = yield* serve((_, response) => response.end())
      const base = `http://a.test:${server.port}/p`
      yield* Effect.gen(function* () {
        yield* send({ url: base, credential: "bearer" })
        yield* send({ url: base, credential: "basic" })
        yield* send({ url: base, credential: "header" })
        yield* send({ url: base, credential: "query" })
        const last = yield* send({ url: `${base}?a=b`, credential: "query" })
        assert.strictEqual(last.url, `${base}?a=b`)
      }).pipe(Effect.provide(reaching([server], {}, { credentials })))
      const pair = Buffer.from("me:s3cr3t-värde+/=").toString("base64")
      assert.deepStrictEqual(
        server.requests.map(({ headers, url }) => [url, headers.authorization, headers["x-api-key"]]),
        [
          ["/p", "Bearer t0ken-0123456789", undefined],
          ["/p", `Basic ${pair}`, undefined],
          ["/p", undefined, "t0ken-0123456789"],
          ["/p?key=s3cr3t-v%C3%A4rde%2B%2F%3D", undefined, undefined],
          ["/p?a=b&key=s3cr3t-v%C3%A4rde%2B%2F%3D", undefined, undefined]
        ]
      )
    })
  )

  it.live("goes to its hosts only, and nothing is sent without it", () =>
    Effect.gen(function* () {
      const server = yield* serve((_, response) => response.end())
      const problems = yield* Effect.gen(function* () {
        const problem = (request: Parameters<typeof send>[0]) =>
          Effect.map(Effect.flip(send(request)), ({ message, reason }) => {
            assert.strictEqual(reason, "credential")
            return message
          })
        const url = `http://a.test:${server.port}/`
        return [
          yield* problem({ url: `http://b.test:${server.port}/`, credential: "bearer" }),
          yield* problem({ url: `http://127.0.0.1:${server.port}/`, credential: "basic" }),
          yield* problem({ url, credential: "unknown" }),
          yield* problem({ url, credential: "__proto__" }),
          yield* problem({ url, credential: "bearer", headers: { Authorization: "mine" } }),
          yield* problem({ url, credential: "header", headers: { "x-api-key": "mine" } }),
          yield* problem({ url: `${url}?key=mine`, credential: "query" })
        ]
      }).pipe(Effect.provide(reaching([server], {}, { credentials })))
      const known = "There is no credential of this name; there are: bearer, basic, header, query."
      assert.deepStrictEqual(problems, [
        "b.test: The credential may not be sent to this host.",
        "127.0.0.1: The credential may not be sent to this host.",
        known,
        known,
        "a.test: The credential is sent as authorization: leave that header out.",
        "a.test: The credential is sent as x-api-key: leave that header out.",
        "a.test: The credential is sent in the query: leave that parameter out."
      ])
      assert.strictEqual(server.accepted(), 0)
    })
  )

  it.live("stays at its origin: it follows no redirect to another one, and does not come back", () =>
    Effect.gen(function* () {
      const other = yield* serve((_, response) =>
        response.writeHead(302, { location: `http://a.test:${server.port}/back` }).end()
      )
      const server = yield* serve(({ url }, response) => {
        if (url.startsWith("/start"))
          response.writeHead(302, { location: url.replace("start", "same") }).end()
        else if (url.startsWith("/same"))
          response.writeHead(302, { location: `http://b.test:${other.port}/` }).end()
        else response.end()
      })
      for (const credential of ["basic", "header", "query", "bearer"]) {
        const response = yield* send({ url: `http://a.test:${server.port}/start`, credential }).pipe(
          Effect.provide(reaching([server, other], {}, { credentials }))
        )
        assert.strictEqual(response.url, `http://a.test:${server.port}/back`)
        const carries = ({ headers, url }: (typeof server.requests)[number]) =>
          headers.authorization !== undefined || headers["x-api-key"] !== undefined || url.includes("key=")
        assert.deepStrictEqual(server.requests.slice(-3).map(carries), [true, true, false])
        assert.deepStrictEqual(
          other.requests.map(carries),
          other.requests.map(() => false)
        )
        // A server that writes the query back does not double it.
        if (credential === "query") assert.strictEqual(server.requests.at(-2)!.url.split("key=").length, 2)
      }
    })
  )

  it.live("is not taken along by a server that puts it into a redirect", () =>
    Effect.gen(function* () {
      const other = yield* serve((_, response) => response.end())
      const key = { ...credentials.bearer, token: Redacted.make("T0ken-AbC") }
      const server = yield* serve(({ headers, url }, response) => {
        const told = headers.authorization!.replace("Bearer ", "")
        const location = url === "/host" ? `http://${told}.b.test/` : `http://b.test/?stolen=${told}`
        response.writeHead(302, { location: location.replace("/?", `:${other.port}/?`) }).end()
      })
      for (const path of ["/query", "/host"]) {
        const error = yield* Effect.flip(
          send({ url: `http://a.test:${server.port}${path}`, credential: "key" })
        ).pipe(Effect.provide(reaching([server, other], {}, { credentials: { key } })))
        assert.strictEqual(error.problem, "The redirect would take the credential to another origin.")
        assert.notInclude(error.message.toLowerCase(), "t0ken")
      }
      assert.strictEqual(other.accepted(), 0)
    })
  )

  it.live("is in nothing that comes back, though the server writes it everywhere", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ headers, url }, response) => {
        const told =
          headers.authorization ?? headers["x-api-key"] ?? decodeURIComponent(url.split("key=")[1]!)
        const plain = String(told).startsWith("Basic ")
          ? Buffer.from(String(told).slice(6), "base64").toString("utf8").split(":")[1]!
          : String(told).replace("Bearer ", "")
        // As bytes: Node's server takes them one by one.
        const bytes = Buffer.from(`${told} ${plain}`, "utf8").toString("latin1")
        response.setHeader("x-echo", [encodeURIComponent(plain), bytes])
        response.end(
          Buffer.concat([
            Buffer.from([0xff, 0xfe]),
            Buffer.from([told, plain, JSON.stringify(plain), encodeURIComponent(plain), url].join("\n")),
            Buffer.from([0xff])
          ])
        )
      })
      for (const credential of Object.keys(credentials)) {
        const response = yield* send({ url: `http://a.test:${server.port}/?q=1`, credential }).pipe(
          Effect.provide(reaching([server], {}, { credentials }))
        )
        const all =
          JSON.stringify([response.headers, response.url]) + Buffer.from(response.body).toString("latin1")
        const pair = Buffer.from("me:s3cr3t-värde+/=").toString("base64")
        for (const form of ["t0ken", "s3cr3t", pair]) assert.notInclude(all, form, credential)
        // What is beside it stays, byte by byte.
        assert.deepStrictEqual([...response.body.subarray(0, 2), response.body.at(-1)], [0xff, 0xfe, 0xff])
        assert.include(all, "<redacted>")
      }
    })
  )

  it.live("is in nothing that comes back, however its characters are escaped and encoded", () =>
    Effect.gen(function* () {
      const value = 'aB/9<&>"z_é+K'
      const utf16 = Buffer.from(value, "utf16le")
      const go: Readonly<Record<string, string>> = { "<": "\\u003c", ">": "\\u003E", "&": "\\u0026" }
      const json = JSON.stringify(value)
      const bodies: Readonly<Record<string, string | Buffer>> = {
        "/php": json.replaceAll("/", "\\/"),
        "/go": json.replace(/[<>&]/g, (each) => go[each]!),
        "/ascii": json.replace("é", "\\u00E9"),
        "/lower": encodeURIComponent(value).replace(/%../g, (each) => each.toLowerCase()),
        "/form": new URLSearchParams([["", value]]).toString(),
        "/html": "aB/9&lt;&amp;&gt;&quot;z_&#233;+K",
        "/hex": "aB&#x2F;9&#x3c;&#038;&#X3e;&#34;z_é+K",
        "/utf16": utf16,
        "/swapped": Buffer.from(utf16).swap16()
      }
      const server = yield* serve(({ url }, response) => {
        const body = bodies[url.split("?")[0]!]!
        response.end(Buffer.concat([Buffer.from("<<"), Buffer.from(body as string), Buffer.from(">>")]))
      })
      const key = { type: "query", name: "key", value: Redacted.make(value), hosts: ["a.test"] } as const
      const http = reaching([server], {}, { credentials: { key } })
      for (const path of Object.keys(bodies)) {
        const url = `http://a.test:${server.port}${path}`
        const response = yield* Effect.provide(send({ url, credential: "key" }), http)
        assert.match(text(response), /^<<[="]*<redacted>"?>>$/, path)
      }
    })
  )

  it.live("is sent without TLS to this machine, and elsewhere only where it says so", () =>
    Effect.gen(function* () {
      // The route to another machine is a socket that says it leads there.
      const server = yield* serve((_, response) => response.end("sent"))
      const dialer = Layer.succeed(CurrentDialer, (address: string) =>
        Object.defineProperty(Net.connect({ host: "127.0.0.1", port: server.port }), "remoteAddress", {
          value: address
        })
      )
      const through = (overHttp: boolean) =>
        client(
          {},
          {
            dialer: { dialled: [], layer: dialer },
            zone: names({ "a.test": ["93.184.216.34"] }),
            credentials: { bearer: { ...credentials.bearer, ...(overHttp ? { overHttp } : {}) } }
          }
        )
      const request = send({ url: "http://a.test/", credential: "bearer" })
      const error = yield* Effect.provide(Effect.flip(request), through(false))
      assert.strictEqual(error.message, "a.test: The credential is sent over https only.")
      assert.strictEqual(server.requests.length, 0)
      assert.strictEqual(text(yield* Effect.provide(request, through(true))), "sent")
    })
  )
})

describe("a response", () => {
  it.live("is read up to the limit, and not a byte further", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ url }, response) => {
        if (url === "/endless") {
          const more = () => {
            while (!response.destroyed && response.write(Buffer.alloc(65_536)));
            response.once("drain", more)
          }
          more()
        } else if (url === "/said") {
          response.writeHead(200, { "content-length": "5000000" })
          response.end(Buffer.alloc(5_000_000))
        } else response.end(Buffer.alloc(Number(url.slice(1))))
      })
      const get = (path: string) => send({ url: `http://a.test:${server.port}/${path}` })
      yield* Effect.gen(function* () {
        assert.strictEqual((yield* get("1000")).body.length, 1000)
        assert.strictEqual(yield* reasonOf(get("1001")), "too_large")
        assert.strictEqual(yield* reasonOf(get("said")), "too_large")
        assert.strictEqual(yield* reasonOf(get("endless")), "too_large")
        yield* server.closed
      }).pipe(Effect.provide(reaching([server], { maxResponseBytes: 1000 })))
      assert.strictEqual(
        (yield* Effect.provide(get("1048576"), reaching([server]))).body.length,
        1_048_576,
        "1 MiB by default"
      )
      assert.strictEqual(yield* Effect.provide(reasonOf(get("1048577")), reaching([server])), "too_large")
    })
  )

  it.live("is decompressed, and counted again", () =>
    Effect.gen(function* () {
      const big = Buffer.alloc(50_000_000)
      const bodies: Readonly<Record<string, readonly [encoding: string, body: Buffer]>> = {
        "/gzip": ["gzip", gzipSync("hello")],
        "/GZIP": ["GZIP", gzipSync("hello")],
        "/br": ["br", brotliCompressSync("hello")],
        "/identity": ["identity", Buffer.from("hello")],
        "/empty": ["gzip", Buffer.alloc(0)],
        "/bomb": ["gzip", gzipSync(big)],
        "/brbomb": ["br", brotliCompressSync(big, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } })],
        // A member that says nothing, many times over.
        "/nothing": ["gzip", Buffer.concat(Array<Buffer>(60_000).fill(gzipSync("")))],
        "/broken": ["gzip", gzipSync("hello").subarray(0, 15)],
        "/lie": ["gzip", Buffer.from("hello")],
        "/twice": ["gzip, gzip", gzipSync(gzipSync("hello"))],
        "/zstd": ["zstd", Buffer.from("28b52ffd", "hex")],
        "/deflate": ["deflate", Buffer.from("hello")]
      }
      const server = yield* serve(({ method, url }, response) => {
        const [encoding, body] = bodies[url]!
        response.writeHead(200, { "content-encoding": encoding })
        response.end(method === "HEAD" ? undefined : body)
      })
      const outcome = (path: string) =>
        Effect.match(send({ url: `http://a.test:${server.port}${path}` }), {
          onSuccess: (response) => text(response),
          onFailure: ({ reason }) => reason
        })
      const outcomes = yield* Effect.forEach(Object.keys(bodies), (path) =>
        Effect.map(outcome(path), (found) => [path, found])
      ).pipe(Effect.provide(reaching([server])))
      assert.deepStrictEqual(outcomes, [
        ["/gzip", "hello"],
        ["/GZIP", "hello"],
        ["/br", "hello"],
        ["/identity", "hello"],
        ["/empty", ""],
        ["/bomb", "too_large"],
        ["/brbomb", "too_large"],
        ["/nothing", "too_large"],
        ["/broken", "protocol"],
        ["/lie", "protocol"],
        ["/twice", "protocol"],
        ["/zstd", "protocol"],
        ["/deflate", "protocol"]
      ])
      const head = yield* send({ method: "HEAD", url: `http://a.test:${server.port}/bomb` }).pipe(
        Effect.provide(reaching([server]))
      )
      assert.strictEqual(head.body.length, 0)
    })
  )

  it.live("has its headers in lower case, without cookies and what is no longer true of it", () =>
    Effect.gen(function* () {
      const server = yield* serve((_, response) => {
        response.setHeader("X-Many", ["a", "b"])
        response.setHeader("Set-Cookie", ["session=1", "b=2"])
        response.setHeader("Content-Encoding", "gzip")
        response.setHeader("Proxy-Authenticate", "Basic")
        response.setHeader("__proto__", "x")
        response.sendDate = false
        response.end(gzipSync("x"))
      })
      const response = yield* Effect.provide(
        send({ url: `http://a.test:${server.port}/` }),
        reaching([server])
      )
      assert.deepStrictEqual(Object.entries(response.headers), [
        ["x-many", "a, b"],
        ["__proto__", "x"]
      ])
    })
  )

  const broken: Readonly<Record<string, string>> = {
    nothing: "",
    "no response": "SSH-2.0-OpenSSH_9.6\r\n",
    "HTTP/0.9": "<html></html>",
    "half a head": "HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
    "half a chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhello",
    "two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhello",
    "a length and chunks":
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "a bare line feed": "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "a null in a header": "HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 0\r\n\r\n",
    "another protocol":
      "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "a head without end": `HTTP/1.1 200 OK\r\n${"X-A: b\r\n".repeat(10_000)}`,
    "a status of four digits": "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"
  }
  for (const [what, answer] of Object.entries(broken)) {
    it.live(`that is none is an error: ${what}`, () =>
      Effect.gen(function* () {
        const server = yield* serveRaw((socket) => {
          socket.once("data", () => socket.end(answer))
        })
        const error = yield* Effect.flip(send({ url: `http://a.test:${server.port}/` })).pipe(
          Effect.provide(reaching([server]))
        )
        assert.deepStrictEqual([error.reason, error.code], ["protocol", "ECONNRESET"])
        yield* server.closed
      })
    )
  }

  it.live("may come before the request has been read, and with as many interim ones as there are", () =>
    Effect.gen(function* () {
      const server = yield* serveRaw((socket) => {
        socket.write("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(50))
        socket.end("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
      })
      const response = yield* send({
        method: "PUT",
        url: `http://a.test:${server.port}/`,
        body: "x".repeat(10)
      }).pipe(Effect.provide(reaching([server])))
      assert.deepStrictEqual([response.status, text(response)], [413, "no"])
    })
  )
})

describe("time", () => {
  const neverResolving = Layer.succeed(Dns.Dns, Dns.make({ lookup: () => Effect.never }))

  it.effect("for a connection ends after 5 seconds, and nothing was sent", () =>
    Effect.gen(function* () {
      const sockets: Array<Net.Socket> = []
      // A host that answers nothing: a socket that has not been told to connect.
      const dialer = Layer.succeed(CurrentDialer, () => {
        const socket = new Net.Socket()
        sockets.push(socket)
        return socket
      })
      const fiber = yield* Effect.forkChild(
        Effect.flip(send({ method: "POST", url: "http://93.184.216.34/" })).pipe(
          Effect.provide(client({}, { dialer: { dialled: [], layer: dialer } }))
        )
      )
      yield* TestClock.adjust(4_999)
      assert.isUndefined(fiber.pollUnsafe())
      assert.deepStrictEqual(
        sockets.map(({ destroyed }) => destroyed),
        [false]
      )
      yield* TestClock.adjust(1)
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        [error.reason, error.message],
        ["timeout", "93.184.216.34: No connection was made in time."]
      )
      assert.deepStrictEqual(
        sockets.map(({ destroyed }) => destroyed),
        [true]
      )
      assert.strictEqual(error.code, "ECONNREFUSED")
    })
  )

  it.effect("for a connection counts the lookup, too", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Effect.flip(send({ url: "https://a.test/" })).pipe(
          Effect.provide(
            client({ connectTimeout: "2 seconds" }, { zone: { asked: [], layer: neverResolving } })
          )
        )
      )
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).reason, "timeout")
    })
  )

  it.effect("for TLS counts to the connection", () =>
    Effect.gen(function* () {
      const server = yield* serveRaw((socket) => socket.resume())
      const fiber = yield* Effect.forkChild(
        Effect.flip(send({ url: `https://a.test:${server.port}/` })).pipe(Effect.provide(reaching([server])))
      )
      yield* Effect.promise(async () => {
        while (server.accepted() === 0) await new Promise(setImmediate)
      })
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).message, "a.test: No connection was made in time.")
      yield* server.closed
    })
  )

  it.effect("for a response ends after 30 seconds, and the connection with it", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => {})
      const fiber = yield* Effect.forkChild(
        Effect.flip(send({ url: `http://a.test:${server.port}/` })).pipe(Effect.provide(reaching([server])))
      )
      yield* server.arrived(1)
      yield* TestClock.adjust(29_999)
      assert.strictEqual(server.open(), 1)
      yield* TestClock.adjust(1)
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        [error.reason, error.message, error.code],
        ["timeout", "a.test: No complete response came in time.", "ECONNRESET"]
      )
      yield* server.closed
    })
  )

  it.effect("for a response is not made longer by drops of it, nor by the request", () =>
    Effect.gen(function* () {
      const drops: Array<() => void> = []
      const server = yield* serve((_, response) => {
        response.writeHead(200, { "content-length": "1000" })
        drops.push(() => response.write("."))
        response.write(".")
      })
      const fiber = yield* Effect.forkChild(
        Effect.flip(send({ url: `http://a.test:${server.port}/`, readTimeout: "1 hour" })).pipe(
          Effect.provide(reaching([server], { readTimeout: "10 seconds" }))
        )
      )
      yield* server.arrived(1)
      for (let second = 0; second < 10; second++) {
        for (const drop of drops) drop()
        yield* TestClock.adjust("1 second")
      }
      assert.strictEqual((yield* Fiber.join(fiber)).reason, "timeout")
    })
  )

  it.effect("for a response is made shorter by the request", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => {})
      const url = `http://a.test:${server.port}/`
      const http = reaching([server])
      const fiber = yield* Effect.forkChild(
        Effect.provide(reasonOf(send({ url, readTimeout: "2 seconds" })), http)
      )
      yield* server.arrived(1)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), "timeout")
      assert.strictEqual(
        yield* Effect.provide(reasonOf(send({ url, readTimeout: 0 })), http),
        "invalid_request"
      )
      assert.strictEqual(
        yield* Effect.provide(reasonOf(send({ url, readTimeout: -1 })), http),
        "invalid_request"
      )
    })
  )

  it.live("ends with the caller: the connection is closed at once", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ url }, response) => {
        if (url === "/body") response.write("begun")
      })
      for (const [index, path] of ["/head", "/body"].entries()) {
        const fiber = yield* Effect.forkChild(
          Effect.provide(send({ url: `http://a.test:${server.port}${path}` }), reaching([server]))
        )
        yield* server.arrived(index + 1)
        assert.strictEqual(server.open(), 1)
        yield* Fiber.interrupt(fiber)
        assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
        yield* server.closed
      }
    })
  )
})

describe("several addresses", () => {
  it.live("are tried one after the other where one does not answer", () =>
    Effect.gen(function* () {
      const server = yield* serve((_, response) => response.end("second"))
      const dialer = recording()
      const http = client(
        { allowedAddresses: ["127.0.0.0/8"], allowedPorts: [server.port] },
        { dialer, zone: names({ "a.test": ["127.0.0.9", "127.0.0.8", "127.0.0.1"] }) }
      )
      // Nobody listens there, which is known at once.
      assert.strictEqual(
        text(yield* Effect.provide(send({ url: `http://a.test:${server.port}/` }), http)),
        "second"
      )
      assert.deepStrictEqual(
        dialer.dialled,
        ["127.0.0.9", "127.0.0.8", "127.0.0.1"].map((address) => `${address}:${server.port}`)
      )
    })
  )

  it.effect("are tried beside one that is silent, and it is given up when another one answers", () =>
    Effect.gen(function* () {
      const server = yield* serve((_, response) => response.end("second"))
      const silent: Array<Net.Socket> = []
      const dialer = Layer.succeed(CurrentDialer, (address: string, port: number) => {
        if (address === "127.0.0.1") return Net.connect({ host: address, port })
        silent.push(new Net.Socket())
        return silent.at(-1)!
      })
      const http = client(
        { allowedAddresses: ["127.0.0.0/8"], allowedPorts: [server.port] },
        { dialer: { dialled: [], layer: dialer }, zone: names({ "a.test": ["127.0.0.9", "127.0.0.1"] }) }
      )
      const fiber = yield* Effect.forkChild(
        Effect.provide(send({ url: `http://a.test:${server.port}/` }), http)
      )
      yield* TestClock.adjust(249)
      assert.deepStrictEqual([silent.length, server.accepted()], [1, 0])
      yield* TestClock.adjust(1)
      assert.strictEqual(text(yield* Fiber.join(fiber)), "second")
      assert.isTrue(silent[0]!.destroyed)
    })
  )

  it.live("that all refuse are one error, and nothing was sent", () =>
    Effect.gen(function* () {
      const dialer = recording()
      const http = client(
        { allowedAddresses: ["127.0.0.0/8"], allowedPorts: [1] },
        {
          dialer,
          zone: names({ "a.test": Array.from({ length: 20 }, (_, index) => `127.0.0.${index + 1}`) })
        }
      )
      const error = yield* Effect.provide(Effect.flip(send({ url: "http://a.test:1/" })), http)
      assert.deepStrictEqual(
        [error.reason, error.message, error.code],
        ["connect", "a.test: No connection could be made (ECONNREFUSED).", "ECONNREFUSED"]
      )
      // No name's owner makes this machine knock at every door.
      assert.strictEqual(dialer.dialled.length, 8)
    })
  )

  it.live("are none: the name does not exist", () =>
    Effect.gen(function* () {
      const error = yield* Effect.provide(Effect.flip(send({ url: "http://nowhere.test/" })), client())
      assert.deepStrictEqual(
        [error.reason, error.message, error.code],
        ["dns", "nowhere.test: There is no such host.", "ENOTFOUND"]
      )
    })
  )

  it.live("come from the system where nobody else gives any", () =>
    Effect.gen(function* () {
      const server = yield* serve((_, response) => response.end("local"))
      const http = OutboundHttp.layer({
        allowedDomains: ["localhost", "*.invalid"],
        allowedAddresses: ["127.0.0.1", "::1"],
        allowedPorts: [server.port]
      }).pipe(Layer.provide(Credentials.layerNone))
      assert.strictEqual(
        text(yield* Effect.provide(send({ url: `http://localhost:${server.port}/` }), http)),
        "local"
      )
      assert.strictEqual(
        yield* Effect.provide(reasonOf(send({ url: "http://nowhere.invalid/" })), http),
        "dns"
      )
    })
  )
})

describe("TLS", () => {
  const ca = authority("trusted")
  const stranger = authority("stranger")
  const weak = "DEFAULT@SECLEVEL=0"

  const outcome = (
    served: ReturnType<typeof identity>,
    host = "a.test",
    certificates: ReadonlyArray<string> = [ca.cert]
  ) =>
    Effect.gen(function* () {
      const server = yield* serve((_, response) => response.end("secret"), { identity: served })
      const found = yield* Effect.match(send({ url: `https://${host}:${server.port}/` }), {
        onSuccess: text,
        onFailure: ({ message, reason }) => `${reason}: ${message}`
      }).pipe(Effect.provide(reaching([server], { certificates })))
      if (found !== "secret") assert.strictEqual(server.requests.length, 0, "nothing is said to a stranger")
      return found
    })

  it.live("is verified: authority, host and time", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* outcome(identity(ca, ["a.test"])), "secret")
      assert.strictEqual(yield* outcome(identity(ca, ["127.0.0.1"]), "127.0.0.1"), "secret")
      const refused = [
        yield* outcome(identity(ca, ["a.test"]), "a.test", []),
        yield* outcome(identity(stranger, ["a.test"])),
        yield* outcome(identity(ca, ["b.test"])),
        yield* outcome(identity(ca, ["*.a.test"])),
        yield* outcome(identity(ca, ["a.test"]), "127.0.0.1"),
        yield* outcome(identity(ca, ["a.test"], { expired: true }))
      ]
      assert.deepStrictEqual(refused, [
        "tls: a.test: No secure connection could be made (UNABLE_TO_VERIFY_LEAF_SIGNATURE).",
        "tls: a.test: No secure connection could be made (UNABLE_TO_VERIFY_LEAF_SIGNATURE).",
        "tls: a.test: No secure connection could be made (ERR_TLS_CERT_ALTNAME_INVALID).",
        "tls: a.test: No secure connection could be made (ERR_TLS_CERT_ALTNAME_INVALID).",
        "tls: 127.0.0.1: No secure connection could be made (ERR_TLS_CERT_ALTNAME_INVALID).",
        "tls: a.test: No secure connection could be made (CERT_HAS_EXPIRED)."
      ])
    })
  )

  it.live("is verified whatever the environment says", () =>
    Effect.gen(function* () {
      const { NODE_TLS_REJECT_UNAUTHORIZED: before } = process.env
      process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0"
      const found = yield* Effect.ensuring(
        outcome(identity(stranger, ["a.test"])),
        Effect.sync(() => {
          if (before === undefined) delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"]
          else process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = before
        })
      )
      assert.match(found, /^tls:/)
    })
  )

  it.live("is of version 1.2 at the least, whatever the environment says", () =>
    Effect.gen(function* () {
      const { DEFAULT_CIPHERS, DEFAULT_MIN_VERSION } = Tls
      yield* Effect.acquireRelease(
        Effect.sync(() => Object.assign(Tls, { DEFAULT_CIPHERS: weak, DEFAULT_MIN_VERSION: "TLSv1" })),
        () => Effect.sync(() => Object.assign(Tls, { DEFAULT_CIPHERS, DEFAULT_MIN_VERSION }))
      )
      const old = { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: weak } as const
      assert.match(yield* outcome({ ...identity(ca, ["a.test"]), ...old }), /^tls:/)
    })
  )

  it.live("is not left by a redirect, and may be entered by one", () =>
    Effect.gen(function* () {
      const plain = yield* serve((_, response) =>
        response.writeHead(302, { location: `https://a.test:${secure.port}/end` }).end()
      )
      const secure = yield* serve(
        ({ url }, response) =>
          url === "/end"
            ? response.end("end")
            : response.writeHead(302, { location: `http://a.test:${plain.port}/` }).end(),
        { identity: identity(ca, ["a.test"]) }
      )
      const http = reaching([plain, secure], { certificates: [ca.cert] })
      assert.strictEqual(
        text(yield* Effect.provide(send({ url: `http://a.test:${plain.port}/` }), http)),
        "end"
      )
      const error = yield* Effect.provide(Effect.flip(send({ url: `https://a.test:${secure.port}/` })), http)
      assert.strictEqual(error.message, "a.test: A redirect from https to http is not followed.")
      assert.strictEqual(plain.requests.length, 1)
    })
  )

  it.live("that breaks off is a lost connection, and nothing was sent", () =>
    Effect.gen(function* () {
      const server = yield* serveRaw((socket) => {
        socket.once("data", () => socket.destroy())
      })
      const error = yield* Effect.flip(send({ url: `https://a.test:${server.port}/` })).pipe(
        Effect.provide(reaching([server]))
      )
      assert.deepStrictEqual([error.reason, error.code], ["connect", "ECONNREFUSED"])
    })
  )
})

describe("a fiber that rests at every turn", () => {
  it.live("misses nothing that happens to its connection meanwhile", () =>
    Effect.gen(function* () {
      const ca = authority("An authority")
      const answers: ReadonlyArray<readonly [string, (socket: Net.Socket) => void]> = [
        ["ok", (socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")],
        ["connect", (socket) => socket.end()],
        ["connect", (socket) => socket.destroy()]
      ]
      for (const [expected, answer] of answers) {
        const plain = yield* serveRaw(answer)
        const secure = yield* serveSecure(identity(ca, ["a.test"]), answer)
        const http = reaching([plain, secure], { certificates: [ca.cert] })
        for (const url of [`http://a.test:${plain.port}/`, `https://a.test:${secure.port}/`]) {
          const found = yield* Effect.match(send({ url }), {
            onFailure: ({ reason }) => reason,
            onSuccess: text
          }).pipe(Effect.provide(http), Effect.provideService(Scheduler.MaxOpsBeforeYield, 3))
          assert.strictEqual(found, expected, url)
        }
      }
    })
  )
})

describe("the environment", () => {
  it.live("names proxies that are not used", () =>
    Effect.gen(function* () {
      const proxy = yield* serve((_, response) => response.end("proxied"))
      const proxyUrl = `http://127.0.0.1:${proxy.port}`
      const { status, stderr, stdout } = spawnSync(
        process.execPath,
        [new URL("support/outboundChild.ts", import.meta.url).pathname],
        {
          encoding: "utf8",
          env: {
            ...process.env,
            NODE_USE_ENV_PROXY: "1",
            HTTP_PROXY: proxyUrl,
            HTTPS_PROXY: proxyUrl,
            ALL_PROXY: proxyUrl,
            http_proxy: proxyUrl,
            NO_PROXY: ""
          }
        }
      )
      assert.strictEqual(status, 0, stderr)
      assert.strictEqual(stdout.trim(), "direct")
      assert.strictEqual(proxy.accepted(), 0)
    })
  )
})

describe("options", () => {
  const build = (options: object) =>
    Effect.exit(
      Layer.build(
        OutboundHttp.layer(options as OutboundHttp.Options).pipe(Layer.provide(Credentials.layerNone))
      )
    ).pipe(Effect.scoped)

  it.effect("that make no sense are refused where the layer is built, by name", () =>
    Effect.gen(function* () {
      const wrong: ReadonlyArray<readonly [object, string]> = [
        [{}, "allowedDomains"],
        [{ allowedDomains: ["http://a.test/"] }, "host without scheme"],
        [{ allowedDomains: ["a.*.test"] }, "wildcard"],
        [{ allowedDomains: ["*"], deniedDomains: [""] }, "must be a host"],
        [{ allowedDomains: ["*"], allowedAddresses: ["10.0.0.1/8"] }, "bits set beyond its prefix"],
        [{ allowedDomains: ["*"], deniedAddresses: ["localhost"] }, "must be an address"],
        [{ allowedDomains: ["*"], maxRedirects: -1 }, "OutboundHttp: maxRedirects"],
        [{ allowedDomains: ["*"], maxResponseBytes: 0 }, "OutboundHttp: maxResponseBytes"],
        [{ allowedDomains: ["*"], connectTimeout: "0 seconds" }, "longer than 0"],
        [{ allowedDomains: ["*"], readTimeout: "soon" }, "readTimeout"],
        [{ allowedDomains: ["*"], readTimeout: "Infinity" }, "OutboundHttp: readTimeout"],
        [{ allowedDomains: ["*"], allowedPorts: [70_000] }, "OutboundHttp: allowedPorts"],
        [{ allowedDomains: ["*"], rejectUnauthorized: false }, "rejectUnauthorized"]
      ]
      for (const [options, expected] of wrong) {
        const exit = yield* build(options)
        assert.isTrue(Exit.isFailure(exit), expected)
        assert.include(String(Exit.isFailure(exit) ? exit.cause : ""), expected)
      }
      assert.isTrue(Exit.isSuccess(yield* build({ allowedDomains: [] })))
    })
  )
})

describe("errors", () => {
  it("say whether trying again may help", () => {
    const classOf = (
      reason: OutboundHttp.OutboundError["reason"],
      code?: OutboundHttp.OutboundError["code"]
    ) =>
      OutboundHttp.classify(
        new OutboundHttp.OutboundError({ reason, problem: "x", ...(code === undefined ? {} : { code }) })
      )?.class
    for (const reason of [
      "invalid_url",
      "invalid_request",
      "credential",
      "tls",
      "too_large",
      "too_many_redirects"
    ] as const) {
      assert.strictEqual(classOf(reason), "Caller")
    }
    assert.strictEqual(classOf("blocked"), "Policy")
    assert.strictEqual(classOf("dns", "ENOTFOUND"), "Caller")
    assert.strictEqual(classOf("dns", "EAI_AGAIN"), "Retryable")
    assert.strictEqual(classOf("connect"), "Retryable")
    assert.strictEqual(classOf("timeout"), "Retryable")
    assert.strictEqual(classOf("protocol"), "Retryable")
    assert.isUndefined(OutboundHttp.classify(new Error("x")))
  })

  it("are made of a response where its status says so", () => {
    const response = (status: number, headers = {}) => ({
      status,
      headers,
      url: "http://a.test/",
      redirects: 0,
      seeOther: false,
      body: Buffer.from("x".repeat(5000))
    })
    assert.isUndefined(OutboundHttp.statusFailure(response(399)))
    const failure = OutboundHttp.statusFailure(response(503, { "retry-after": "7" }))!
    assert.deepStrictEqual([failure.status, failure.retryAfter, failure.text.length], [503, "7", 2000])
    assert.isUndefined(OutboundHttp.statusFailure(response(404))!.retryAfter)
    assert.strictEqual(OutboundHttp.statusFailure(response(500, { "content-type": "image/png" }))!.text, "")
    // What a redirect led to says nothing of the request.
    assert.isUndefined(OutboundHttp.classify(failure))
    const page = OutboundHttp.statusFailure({ ...response(503), seeOther: true })
    assert.deepStrictEqual(OutboundHttp.classify(page), { class: "Caller" })
  })
})
