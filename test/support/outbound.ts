/** Servers on loopback, names that lead to them, and a dialer that tells where it was sent. */
import * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { Effect, Layer, type Scope } from "effect"
import { Dns, NetAddress } from "effect/net"
import { Credentials, OutboundHttp } from "effect-interlock/toolbox"
import { CurrentDialer } from "../../src/toolbox/outbound/dial.ts"
import type { Identity } from "./x509.ts"

// --- Servers -----------------------------------------------------------------

export interface Listening {
  readonly port: number
  /** Connections that were accepted. */
  readonly accepted: () => number
  /** Connections that are open. */
  readonly open: () => number
  /** Requests that came, in order. */
  readonly requests: ReadonlyArray<Seen>
  /** Waits until that many requests have come. */
  readonly arrived: (count: number) => Effect.Effect<void>
  /** Waits until no connection is open. */
  readonly closed: Effect.Effect<void>
}

export interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: Http.IncomingHttpHeaders
  readonly rawHeaders: ReadonlyArray<string>
  readonly body: string
}

export type Answer = (request: Seen, response: Http.ServerResponse) => void

/** A server that listens until the scope ends; over TLS where it has an identity. */
export const serve = (
  answer: Answer,
  options: { readonly host?: string; readonly identity?: Identity } = {}
): Effect.Effect<Listening, never, Scope.Scope> =>
  Effect.suspend(() => {
    const requests: Array<Seen> = []
    const listener: Http.RequestListener = (request, response) => {
      const chunks: Array<Buffer> = []
      request.on("error", () => {})
      response.on("error", () => {})
      request.on("data", (chunk: Buffer) => chunks.push(chunk))
      request.on("end", () => {
        const { headers, method = "", rawHeaders, url = "" } = request
        const seen = { method, url, headers, rawHeaders, body: Buffer.concat(chunks).toString("utf8") }
        requests.push(seen)
        tell()
        answer(seen, response)
      })
    }
    const { identity } = options
    const server =
      identity === undefined ? Http.createServer(listener) : Https.createServer(identity, listener)
    const waiting = new Set<() => void>()
    const tell = () => {
      for (const look of waiting) look()
    }
    return Effect.map(listen(server, options.host, tell), (listening) => ({
      ...listening,
      requests,
      arrived: (count) => until(waiting, () => requests.length >= count),
      closed: until(waiting, () => listening.open() === 0)
    }))
  })

/** A server that says what it likes: the test writes to the socket. */
export const serveRaw = (
  answer: (socket: Net.Socket) => void,
  host?: string
): Effect.Effect<Pick<Listening, "port" | "accepted" | "open" | "closed">, never, Scope.Scope> => {
  const waiting = new Set<() => void>()
  const tell = () => {
    for (const look of waiting) look()
  }
  const server = Net.createServer((socket) => {
    socket.on("error", () => {})
    answer(socket)
  })
  return Effect.map(listen(server, host, tell), (listening) => ({
    ...listening,
    closed: until(waiting, () => listening.open() === 0)
  }))
}

/** The same over TLS. */
export const serveSecure = (
  identity: Identity,
  answer: (socket: Net.Socket) => void
): Effect.Effect<Pick<Listening, "port">, never, Scope.Scope> =>
  listen(
    Tls.createServer(identity, (socket) => {
      socket.on("error", () => {})
      answer(socket)
    }),
    undefined,
    () => {}
  )

const until = (waiting: Set<() => void>, isSo: () => boolean): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const look = () => {
      if (!isSo()) return
      waiting.delete(look)
      resume(Effect.void)
    }
    waiting.add(look)
    look()
    return Effect.sync(() => waiting.delete(look))
  })

const listen = (server: Net.Server, host = "127.0.0.1", tell: () => void) =>
  Effect.acquireRelease(
    Effect.callback<Pick<Listening, "port" | "accepted" | "open"> & { readonly close: () => void }>(
      (resume) => {
        let accepted = 0
        const sockets = new Set<Net.Socket>()
        server.on("connection", (socket) => {
          accepted++
          sockets.add(socket)
          socket.on("error", () => {})
          socket.on("close", () => {
            sockets.delete(socket)
            tell()
          })
          tell()
        })
        server.listen(0, host, () => {
          const { port } = server.address() as Net.AddressInfo
          const close = () => {
            for (const socket of sockets) socket.destroy()
            server.close()
          }
          resume(Effect.succeed({ port, accepted: () => accepted, open: () => sockets.size, close }))
        })
      }
    ),
    ({ close }) => Effect.sync(close)
  )

// --- Names -------------------------------------------------------------------

/** What a name leads to: always the same, or what is next each time it is asked for. */
export type Zone = Readonly<Record<string, ReadonlyArray<string> | (() => ReadonlyArray<string>)>>

/** Names that lead where the test says, and no others. `asked` has every name that was looked up. */
export const names = (zone: Zone) => {
  const asked: Array<string> = []
  const layer = Layer.succeed(
    Dns.Dns,
    Dns.make({
      lookup: (host) =>
        Effect.suspend(() => {
          asked.push(host)
          const found = Object.hasOwn(zone, host) ? zone[host]! : []
          const addresses = typeof found === "function" ? found() : found
          return addresses.length === 0
            ? Effect.fail(new Dns.DnsError({ reason: "NotFound", method: "lookup", hostname: host }))
            : Effect.succeed(addresses.map(NetAddress.ipFromStringUnsafe))
        })
    })
  )
  return { asked, layer }
}

// --- Dialling ------------------------------------------------------------------

/**
 * Keeps where it was sent. What is not on loopback leads to `trap` instead: nothing of a test leaves the machine, and
 * what should not have been dialled arrives somewhere.
 */
export const recording = (trap?: number) => {
  const dialled: Array<string> = []
  const layer = Layer.succeed(CurrentDialer, (address: string, port: number) => {
    dialled.push(Net.isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`)
    const isLocal = address.startsWith("127.") || address === "::1"
    return Net.connect(isLocal ? { host: address, port } : { host: "127.0.0.1", port: trap ?? 1 })
  })
  return { dialled, layer }
}

// --- The client ------------------------------------------------------------------

/** Everything that `OutboundHttp` needs of a test, with no credentials where none are given. */
export const client = (
  options: Partial<OutboundHttp.Options> = {},
  {
    credentials = {},
    dialer = recording(),
    zone = names({})
  }: {
    readonly credentials?: Readonly<Record<string, Credentials.Credential>>
    readonly dialer?: ReturnType<typeof recording>
    readonly zone?: ReturnType<typeof names>
  } = {}
): Layer.Layer<OutboundHttp.OutboundHttp> =>
  OutboundHttp.layer({ allowedDomains: ["*"], ...options }).pipe(
    Layer.provide(Layer.mergeAll(Credentials.layer(credentials), zone.layer, dialer.layer))
  )

/** Sends a request. */
export const send = (
  request: Partial<OutboundHttp.OutboundRequest> & Pick<OutboundHttp.OutboundRequest, "url">
) => Effect.flatMap(OutboundHttp.OutboundHttp, (http) => http.request({ method: "GET", ...request }))

export const text = ({ body }: OutboundHttp.OutboundResponse): string => Buffer.from(body).toString("utf8")
