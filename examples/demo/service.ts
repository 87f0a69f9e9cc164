/**
 * The other side of the demo: one small HTTP service on a free loopback port
 * that plays several, and misbehaves as real ones do; and a port where nobody
 * listens. How it misbehaves follows counters and its clock, not chance.
 */
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { Context, Effect, Layer } from "effect"

/** What the service saw, to be held against what the callers were told. */
export interface Seen {
  readonly requests: number
  /** Requests whose caller hung up before the answer. */
  readonly hungUp: number
  readonly payments: number
  readonly deletions: number
}

/** Where the service is, and what it has seen. */
export class DemoService extends Context.Service<
  DemoService,
  {
    readonly url: string
    /** Nobody listens here. */
    readonly deadUrl: string
    readonly seen: Effect.Effect<Seen>
  }
>()("demo/DemoService") {
  static readonly layer: Layer.Layer<DemoService> = Layer.effect(
    DemoService,
    Effect.gen(function* () {
      const seen = { requests: 0, hungUp: 0, payments: 0, deletions: 0 }
      const url = yield* listen(respond(seen))
      // A port that was free a moment ago and is closed again.
      const deadUrl = yield* Effect.scoped(listen(() => {}))
      return { url, deadUrl, seen: Effect.sync(() => ({ ...seen })) }
    })
  )
}

const listen = (listener: Http.RequestListener) =>
  Effect.acquireRelease(
    Effect.callback<Http.Server>((resume) => {
      const server = Http.createServer(listener)
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  ).pipe(Effect.map((server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`))

// --- Routes ----------------------------------------------------------------

interface Asked {
  readonly url: URL
  /** The path after the first segment. */
  readonly rest: string
  /** How many came to this route before, and how long ago the first did, in milliseconds. */
  readonly nth: number
  readonly age: number
}

interface Reply {
  readonly status?: number
  /** Milliseconds until it is sent. */
  readonly after: number
  readonly headers?: Record<string, string>
  readonly body: unknown
}

type Route = (asked: Asked) => Reply | "reset"

const cities: Record<string, number> = { Oslo: 4, Lisbon: 21, Nairobi: 24, Kyoto: 17, Quito: 15 }
const rates: Record<string, number> = { USD: 1, EUR: 0.92, GBP: 0.79, JPY: 151, NOK: 10.7 }
const notFound: Reply = { status: 404, after: 15, body: { error: "not found" } }
const down: Reply = { status: 503, after: 10, body: { error: "down for maintenance" } }

const weather: Route = ({ nth, rest }) =>
  cities[rest] === undefined
    ? notFound
    : { after: 40 + (nth % 7) * 20, body: { city: rest, celsius: cities[rest] } }

/** Cannot answer two requests out of five. */
const exchange: Route = ({ nth, url }) => {
  const [from, to] = [url.searchParams.get("from") ?? "", url.searchParams.get("to") ?? ""]
  if (nth % 5 < 2) return { status: 500, after: 30, body: { error: "no rates" } }
  return rates[from] === undefined || rates[to] === undefined
    ? notFound
    : { after: 60, body: { rate: rates[to] / rates[from] } }
}

/** Answers six requests a second; the others are asked to come back. */
const tickets = (): Route => {
  const answered: Array<number> = []
  return ({ age, url }) => {
    if (answered.filter((at) => at > age - 1000).length >= 6) {
      return { status: 429, after: 5, headers: { "Retry-After": "1" }, body: { error: "too many" } }
    }
    answered.push(age)
    const words = url.searchParams.get("query") ?? ""
    return { after: 80, body: { tickets: [{ id: "T-1041", title: `About ${words}` }] } }
  }
}

/** Fails now and then and cuts connections, then is down for a while; after that it is well. */
const stock: Route = ({ age, nth, rest }) => {
  if (!rest.startsWith("SKU-")) return notFound
  if (age < 1200 && nth % 5 === 3) return { status: 500, after: 30, body: { error: "deadlock" } }
  if (age < 1200 && nth % 7 === 5) return "reset"
  if (age > 1200 && age < 1900) return down
  return { after: 50 + (nth % 5) * 20, body: { sku: rest, available: (nth * 7) % 40 } }
}

/** Eight milliseconds a page: a large report stalls. */
const reports: Route = ({ rest }) => ({
  after: 8 * Number(rest),
  body: { pages: Number(rest), title: "Quarterly report" }
})

const archive: Route = ({ rest }) => ({
  after: Number(rest) < 2000 ? 1500 : 120,
  body: { year: Number(rest), files: 12 }
})

const pages: Route = ({ rest }) => ({ after: 45, body: { title: `Welcome to ${rest}`, bytes: 5120 } })

/** What the service says on each route, for one life of it. */
const makeRoutes = (seen: { payments: number; deletions: number }): ReadonlyMap<string, Route> =>
  new Map<string, Route>([
    ["weather", weather],
    ["exchange", exchange],
    ["tickets", tickets()],
    ["stock", stock],
    ["reports", reports],
    ["archive", archive],
    ["pages", pages],
    ["payments", () => ({ after: 50, body: { receipt: `R-${++seen.payments}` } })],
    ["records", ({ rest }) => ({ after: 50, body: { id: rest, deleted: ++seen.deletions > 0 } })]
  ])

// --- Answering -------------------------------------------------------------

const respond = (seen: { -readonly [Key in keyof Seen]: Seen[Key] }): Http.RequestListener => {
  const routes = makeRoutes(seen)
  const history = new Map<string, { count: number; readonly since: number }>()
  return (request, response) => {
    const url = new URL(request.url ?? "/", "http://service")
    const [name = "", ...rest] = url.pathname.slice(1).split("/").map(decodeURIComponent)
    const past = history.get(name) ?? { count: 0, since: performance.now() }
    history.set(name, past)
    seen.requests++
    const asked = { url, rest: rest.join("/"), nth: past.count++, age: performance.now() - past.since }
    const reply = routes.get(name)?.(asked) ?? notFound
    if (reply === "reset") return request.socket.resetAndDestroy()
    const { after, body, headers, status = 200 } = reply
    const timer = setTimeout(() => {
      response.writeHead(status, { "Content-Type": "application/json", ...headers })
      response.end(JSON.stringify(body))
    }, after)
    response.on("close", () => {
      clearTimeout(timer)
      if (!response.writableFinished) seen.hungUp++
    })
  }
}
