/**
 * Requests to where none may go. A server listens on every address of this
 * machine and counts connections, a dialer keeps where it is sent: neither sees
 * anything of the attempts in `support/ssrfAttempts.ts`.
 */
import * as Net from "node:net"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, type Scope } from "effect"
import type { OutboundHttp } from "effect-interlock/toolbox"
import * as fc from "fast-check"
import { CurrentDialer, CurrentOwnAddresses } from "../src/toolbox/outbound/dial.ts"
import { legitimate } from "./support/legitimateUrls.ts"
import {
  type Answer,
  client,
  type Listening,
  names,
  recording,
  send,
  serve,
  serveRaw,
  text
} from "./support/outbound.ts"
import * as Attempts from "./support/ssrfAttempts.ts"
import { authority, identity } from "./support/x509.ts"

type Reason = OutboundHttp.OutboundError["reason"]

/** Where a bypass would arrive. */
const trap: Effect.Effect<Listening, never, Scope.Scope> = serve((_, response) => response.end("reached"), {
  host: "::"
})

/** Another address of this machine, for servers that may be reached. */
const friend = "127.0.0.2"

const attempt = (url: string) =>
  Effect.match(send({ url }), { onSuccess: () => "reached" as const, onFailure: ({ reason }) => reason })

describe("a request to where none may go", () => {
  const groups: ReadonlyArray<readonly [string, ReadonlyArray<string>, ReadonlyArray<Reason>]> = [
    ["an address that is not public", Attempts.plainIpv4, ["blocked"]],
    ["an address in an odd spelling", Attempts.oddIpv4, ["invalid_url", "dns"]],
    ["an IPv6 address that is not public", Attempts.ipv6, ["blocked", "invalid_url"]],
    ["an IPv4 address inside an IPv6 one", Attempts.embedded, ["blocked"]],
    ["a URL that two readers read differently", Attempts.confusing, ["blocked", "invalid_url"]],
    ["a URL with controls and white space", Attempts.controls, ["invalid_url"]],
    ["a host in letters that become others", Attempts.unicode, ["invalid_url", "dns"]],
    ["a host with escapes", Attempts.escapes, ["invalid_url"]],
    ["another scheme", Attempts.schemes, ["invalid_url"]],
    ["another port", Attempts.ports, ["blocked", "invalid_url"]],
    [
      "a name that leads to an address that is not public",
      Attempts.resolving,
      ["blocked", "invalid_url", "dns"]
    ],
    ["a metadata service by name", Attempts.metadataNames, ["blocked", "invalid_url"]]
  ]

  for (const [what, urls, reasons] of groups) {
    it.live(`is refused before anything is dialled: ${what} (${urls.length})`, () =>
      Effect.gen(function* () {
        const { accepted, port } = yield* trap
        const dialer = recording(port)
        const http = client({ allowedPorts: [port] }, { dialer, zone: names(Attempts.zone) })
        const wrong = yield* Effect.gen(function* () {
          const found: Array<string> = []
          for (const url of urls) {
            const reason = yield* attempt(url.replaceAll("PORT", String(port)))
            if (!reasons.includes(reason as Reason)) found.push(`${url}: ${reason}`)
          }
          return found
        }).pipe(Effect.provide(http))
        assert.deepStrictEqual(wrong, [])
        assert.deepStrictEqual(dialer.dialled, [])
        assert.strictEqual(accepted(), 0)
      })
    )
  }

  it("is spelled out in more than 300 ways, each of them another one", () => {
    const urls = groups.flatMap(([, each]) => each)
    assert.isAtLeast(urls.length, 500)
    assert.strictEqual(new Set(urls).size, urls.length)
  })

  it.live("would arrive: the same server is reached where its address is allowed", () =>
    Effect.gen(function* () {
      const { accepted, port } = yield* trap
      const dialer = recording(port)
      const http = client(
        { allowedPorts: [port], allowedAddresses: ["127.0.0.1", "::1/128"] },
        { dialer, zone: names(Attempts.zone) }
      )
      for (const url of ["http://127.0.0.1:PORT/", "http://loop.test:PORT/", "http://[::1]:PORT/"]) {
        const response = yield* Effect.provide(send({ url: url.replace("PORT", String(port)) }), http)
        assert.strictEqual(text(response), "reached")
      }
      assert.deepStrictEqual(dialer.dialled, [`127.0.0.1:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`])
      assert.strictEqual(accepted(), 3)
    })
  )
})

describe("a redirect to where none may go", () => {
  for (const status of Attempts.redirectStatuses) {
    it.live(`is not followed: ${status} (${Attempts.locations.length})`, () =>
      Effect.gen(function* () {
        const { accepted, port } = yield* trap
        const start = yield* serve(
          ({ url }, response) => {
            const location = Attempts.locations[Number(url.slice(1))]!.replaceAll("PORT", String(port))
            // As the bytes that a server would send.
            response.writeHead(status, { location: Buffer.from(location, "utf8").toString("latin1") })
            response.end("go there")
          },
          { host: friend }
        )
        const dialer = recording(port)
        const http = client(
          { allowedPorts: [port, start.port], allowedAddresses: [friend] },
          { dialer, zone: names({ ...Attempts.zone, "start.test": [friend] }) }
        )
        // A `Location` with control characters cannot be sent by Node's server: it is written below.
        const sendable = [...Attempts.locations.keys()].filter(
          (index) => !/\p{Cc}/u.test(Attempts.locations[index]!)
        )
        const wrong = yield* Effect.gen(function* () {
          const found: Array<string> = []
          for (const index of sendable) {
            const reason = yield* attempt(`http://start.test:${start.port}/${index}`)
            if (reason !== "blocked" && reason !== "dns")
              found.push(`${Attempts.locations[index]}: ${reason}`)
          }
          return found
        }).pipe(Effect.provide(http))
        assert.deepStrictEqual(wrong, [])
        assert.deepStrictEqual(
          dialer.dialled,
          sendable.map(() => `${friend}:${start.port}`)
        )
        assert.strictEqual(accepted(), 0)
      })
    )
  }
})

describe("a redirect that is written by hand", () => {
  const written: ReadonlyArray<readonly [string, string]> = [
    ["a tab", "Location: /\t/127.0.0.1:PORT/"],
    ["a tab in the scheme", "Location: ht\ttp://127.0.0.1:PORT/"],
    ["a tab before the host", "Location: http://\t127.0.0.1:PORT/"],
    ["a control character", "Location: /\x01/127.0.0.1:PORT/"],
    ["a null", "Location: //127.0.0.1\0:PORT/"],
    ["a line break", "Location: /\n/127.0.0.1:PORT/"],
    ["a folded line", "Location: /\r\n /127.0.0.1:PORT/"],
    ["two of them", "Location: ftp://start.test/\r\nLocation: http://127.0.0.1:PORT/"],
    ["two of them, the other way round", "Location: http://127.0.0.1:PORT/\r\nLocation: /good"],
    ["a header beside it", "Location: ftp://x/\r\nRefresh: 0; url=http://127.0.0.1:PORT/"],
    ["no name", ": http://127.0.0.1:PORT/"]
  ]
  for (const [what, head] of written) {
    it.live(`is not followed: ${what}`, () =>
      Effect.gen(function* () {
        const { accepted, port } = yield* trap
        const start = yield* serveRaw((socket) => {
          socket.once("data", () =>
            socket.end(
              `HTTP/1.1 302 Found\r\n${head.replaceAll("PORT", String(port))}\r\nContent-Length: 0\r\n\r\n`
            )
          )
        }, friend)
        const dialer = recording(port)
        const http = client(
          { allowedPorts: [port, start.port], allowedAddresses: [friend] },
          { dialer, zone: names({ "start.test": [friend] }) }
        )
        const reason = yield* Effect.provide(attempt(`http://start.test:${start.port}/`), http)
        // A response without a `Location` is one that leads nowhere.
        assert.include(what === "no name" ? ["protocol", "reached"] : ["blocked", "protocol"], reason)
        assert.deepStrictEqual(dialer.dialled, [`${friend}:${start.port}`])
        assert.strictEqual(accepted(), 0)
      })
    )
  }
})

describe("a name that changes its address", () => {
  it.live("is looked up once for a connection, and what was looked at is dialled", () =>
    Effect.gen(function* () {
      const { accepted, port } = yield* trap
      const good = yield* serve((_, response) => response.end("good"), { host: friend })
      let asked = 0
      const zone = names({ "rebind.test": () => (asked++ % 2 === 0 ? [friend] : ["127.0.0.1"]) })
      const dialer = recording(port)
      const http = client({ allowedPorts: [good.port, port], allowedAddresses: [friend] }, { dialer, zone })
      const url = `http://rebind.test:${good.port}/`
      const reasons = yield* Effect.forEach([url, url, url, url], attempt).pipe(Effect.provide(http))
      assert.deepStrictEqual(reasons, ["reached", "blocked", "reached", "blocked"])
      assert.strictEqual(zone.asked.length, 4)
      assert.deepStrictEqual(dialer.dialled, [`${friend}:${good.port}`, `${friend}:${good.port}`])
      assert.strictEqual(accepted(), 0)
    })
  )

  it.live("is looked at again at each redirect, to itself too", () =>
    Effect.gen(function* () {
      const { accepted, port } = yield* trap
      const good = yield* serve((_, response) => response.writeHead(302, { location: "/again" }).end(), {
        host: friend
      })
      const answers = [[friend], [friend], ["127.0.0.1"]]
      const zone = names({ "rebind.test": () => answers.shift() ?? [] })
      const http = client({ allowedPorts: [good.port], allowedAddresses: [friend] }, { zone })
      const reason = yield* Effect.provide(attempt(`http://rebind.test:${good.port}/`), http)
      assert.strictEqual(reason, "blocked")
      assert.deepStrictEqual(
        good.requests.map(({ url }) => url),
        ["/", "/again"]
      )
      assert.strictEqual(accepted(), 0)
      assert.notStrictEqual(port, good.port)
    })
  )

  it.live("with several addresses is dialled at those that may be", () =>
    Effect.gen(function* () {
      const good = yield* serve((_, response) => response.end("good"), { host: friend })
      const { accepted, port } = yield* trap
      const dialer = recording(port)
      const zone = names({
        "several.test": ["127.0.0.1", "169.254.169.254", "::1", friend, "10.0.0.1", "::ffff:127.0.0.2"]
      })
      const http = client({ allowedPorts: [good.port], allowedAddresses: [friend] }, { dialer, zone })
      const response = yield* Effect.provide(send({ url: `http://several.test:${good.port}/` }), http)
      assert.strictEqual(text(response), "good")
      assert.deepStrictEqual(dialer.dialled, [`${friend}:${good.port}`])
      assert.strictEqual(accepted(), 0)
    })
  )

  it.live("however it answers, leads to no address that may not be dialled", () =>
    Effect.gen(function* () {
      const { port } = yield* trap
      const good = yield* serve((_, response) => response.end("good"), { host: friend })
      const refused = Object.entries(Attempts.zone)
        .filter(([name]) => !/metadata|public|example|instance/.test(name))
        .flatMap(([, addresses]) => addresses)
      const answer = fc.array(fc.constantFrom(friend, ...refused), { maxLength: 6 })
      yield* Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(fc.array(answer, { minLength: 1, maxLength: 4 }), async (answers) => {
            const dialer = recording(port)
            const rest = [...answers]
            const zone = names({ "rebind.test": () => rest.shift() ?? [] })
            const url = `http://rebind.test:${good.port}/`
            const reasons = await Effect.runPromise(
              Effect.forEach(answers, () => attempt(url)).pipe(
                Effect.provide(
                  client({ allowedPorts: [good.port], allowedAddresses: [friend] }, { dialer, zone })
                )
              )
            )
            assert.isTrue(dialer.dialled.every((address) => address === `${friend}:${good.port}`))
            assert.deepStrictEqual(
              reasons,
              answers.map((each) =>
                each.includes(friend) ? "reached" : each.length === 0 ? "dns" : "blocked"
              )
            )
          }),
          { numRuns: 100 }
        )
      )
    })
  )
})

describe("a connection that led elsewhere", () => {
  it.live("is not used, though both addresses may be dialled", () =>
    Effect.gen(function* () {
      const { port, requests } = yield* trap
      // What is dialled outside of loopback arrives at the trap: as in a network that sends packets elsewhere.
      const dialer = recording(port)
      const zone = names({ "public.test": ["93.184.216.34"] })
      for (const allowedAddresses of [[], ["127.0.0.1"]]) {
        const error = yield* Effect.flip(send({ url: "http://public.test/" })).pipe(
          Effect.provide(client({ allowedAddresses }, { dialer, zone }))
        )
        assert.strictEqual(
          error.message,
          "public.test: The connection led to another address than the one dialled."
        )
      }
      assert.deepStrictEqual(dialer.dialled, ["93.184.216.34:80", "93.184.216.34:80"])
      assert.deepStrictEqual(requests, [])
    })
  )
})

describe("this machine's own public address", () => {
  it.live("is not dialled, though it is public", () =>
    Effect.gen(function* () {
      const { accepted, port } = yield* trap
      const dialer = recording(port)
      const own = Layer.succeed(CurrentOwnAddresses, () => ["93.184.216.34", "2606:2800:220:1::1"])
      const zone = names({
        "own.test": ["93.184.216.34", "2606:2800:220:1::1"],
        "nat64.test": ["64:ff9b::5db8:d822"]
      })
      const http = client(
        { allowedAddresses: ["64:ff9b::/96"] },
        { dialer: { ...dialer, layer: Layer.merge(dialer.layer, own) }, zone }
      )
      for (const host of ["own.test", "93.184.216.34", "[2606:2800:220:1::1]", "nat64.test"]) {
        assert.strictEqual(yield* Effect.provide(attempt(`http://${host}/`), http), "blocked")
      }
      assert.deepStrictEqual(dialer.dialled, [])
      assert.strictEqual(accepted(), 0)
    })
  )

  it.effect("is known from the interfaces", () =>
    Effect.gen(function* () {
      const ownAddresses = yield* CurrentOwnAddresses
      assert.include(ownAddresses(), "127.0.0.1")
    })
  )
})

describe("a header that would make another request of it", () => {
  it.live(`is refused before anything is dialled (${Attempts.headers.length})`, () =>
    Effect.gen(function* () {
      const { accepted, port } = yield* trap
      const dialer = recording(port)
      const http = client(
        { allowedPorts: [port], allowedAddresses: ["127.0.0.1"] },
        { dialer, zone: names(Attempts.zone) }
      )
      const reasons = yield* Effect.forEach(Attempts.headers, (headers) =>
        Effect.match(send({ url: `http://loop.test:${port}/`, headers }), {
          onSuccess: () => `sent: ${JSON.stringify(headers)}`,
          onFailure: ({ reason }) => reason
        })
      ).pipe(Effect.provide(http))
      assert.deepStrictEqual(
        reasons,
        Attempts.headers.map(() => "invalid_request")
      )
      assert.deepStrictEqual(dialer.dialled, [])
      assert.strictEqual(accepted(), 0)
    })
  )
})

describe("a request to where one may go", () => {
  const hosts = [...new Set(legitimate.map(([, host]) => host.replace(/:\d+$/, "")))]
  const ca = authority("test")

  /** As if the servers had the ports that the URLs name. */
  const servers = Effect.gen(function* () {
    const answer: Answer = ({ headers, url }, response) => response.end(`${headers.host} ${url}`)
    const plain = yield* serve(answer, { host: friend })
    const secure = yield* serve(answer, { host: friend, identity: identity(ca, hosts) })
    const dialled: Array<string> = []
    const dialer = Layer.succeed(CurrentDialer, (address: string, port: number) => {
      dialled.push(address)
      return Net.connect({ host: address, port: port === 443 || port === 8443 ? secure.port : plain.port })
    })
    return { dialer: { dialled, layer: dialer } }
  })
  const zone = names(Object.fromEntries(hosts.map((host) => [host, [friend]])))
  const options = { allowedAddresses: [friend], allowedPorts: [8080, 8443], certificates: [ca.cert] }

  it("is spelled out in more than 50 ways", () => {
    assert.isAtLeast(legitimate.length, 50)
  })

  for (const [url, host, path] of legitimate) {
    it.live(`arrives as it was meant: ${url}`, () =>
      Effect.gen(function* () {
        const { dialer } = yield* servers
        const response = yield* Effect.provide(send({ url }), client(options, { dialer, zone }))
        assert.strictEqual(text(response), `${host} ${path}`)
        assert.deepStrictEqual(dialer.dialled, [friend])
      })
    )
  }
})
