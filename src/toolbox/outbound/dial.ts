/**
 * From a host to a connection. Names are resolved here and nowhere else, and
 * what is dialled is an address that was looked at: nothing resolves it again.
 * A connection serves one request and is closed with its scope, so that none is
 * ever shared by two calls, policies or credentials.
 */
import * as Net from "node:net"
import * as Os from "node:os"
import * as Tls from "node:tls"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import type * as Dns from "effect/net/Dns"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Addresses from "./addresses.ts"
import { inBrackets, type OutboundError, problem } from "./error.ts"
import type { Target } from "./url.ts"

/** Opens a connection to an address: the one place from which this package dials. */
export const CurrentDialer: Context.Reference<(address: string, port: number) => Net.Socket> =
  Context.Reference("interlock/toolbox/outbound/CurrentDialer", {
    defaultValue: () => (address: string, port: number) =>
      Net.connect({ host: address, port, autoSelectFamily: false })
  })

/** The addresses of this machine's own interfaces: what listens on one of them may mean to be private, whatever the address. */
export const CurrentOwnAddresses = Context.Reference<() => ReadonlyArray<string>>(
  "interlock/toolbox/outbound/CurrentOwnAddresses",
  {
    defaultValue: () => () =>
      Object.values(Os.networkInterfaces()).flatMap((each = []) => each.map(({ address }) => address))
  }
)

/** A connection, and where it leads. */
export interface Connection {
  readonly socket: Net.Socket
  readonly address: NetAddress.IpAddress
}

export interface Options {
  readonly dns: Dns.Dns["Service"]
  readonly dialer: (address: string, port: number) => Net.Socket
  readonly ownAddresses: () => ReadonlyArray<string>
  readonly rules: Omit<Addresses.Rules, "own">
  readonly secureContext: Tls.SecureContext
}

/** Of more addresses than these a name's owner needs none. */
const maxAddresses = 8

/** How long an address is waited for before the next one is tried beside it (RFC 8305). */
const patience = "250 millis"

/** Connects to the target, with TLS where its scheme says so. */
export const connect = Effect.fnUntraced(function* (
  options: Options,
  target: Target
): Effect.fn.Return<Connection, OutboundError, Scope.Scope> {
  const found = target.address === undefined ? yield* resolve(options.dns, target.host) : [target.address]
  const rules = { ...options.rules, own: new Set(options.ownAddresses()) }
  const permitted = found.filter((address) => Addresses.isPermitted(rules, address))
  if (permitted.length === 0) {
    return yield* problem("blocked", "The host's address is none that may be dialled.", target.host)
  }
  const connection = yield* firstOf(options.dialer, target, permitted.slice(0, maxAddresses))
  return target.secure
    ? { ...connection, socket: yield* secure(options, target, connection.socket) }
    : connection
})

const resolve = (
  dns: Dns.Dns["Service"],
  host: string
): Effect.Effect<ReadonlyArray<NetAddress.IpAddress>, OutboundError> =>
  Effect.mapError(dns.lookup(host), ({ reason }) =>
    reason === "NotFound"
      ? problem("dns", "There is no such host.", host, "noName")
      : problem("dns", "The host's address could not be looked up.", host, "noNameNow")
  )

/** The first of the addresses that answers; the others are given up. */
const firstOf = (
  dialer: Options["dialer"],
  target: Target,
  [address, ...rest]: ReadonlyArray<NetAddress.IpAddress>
): Effect.Effect<Connection, OutboundError, Scope.Scope> => {
  const first = dial(dialer, target, address!)
  if (rest.length === 0) return first
  return Effect.gen(function* () {
    const failed = yield* Deferred.make<void>()
    return yield* Effect.raceAll([
      Effect.onError(first, () => Deferred.succeed(failed, undefined)),
      Effect.andThen(Effect.timeoutOption(Deferred.await(failed), patience), firstOf(dialer, target, rest))
    ])
  })
}

const dial = Effect.fnUntraced(function* (
  dialer: Options["dialer"],
  { host, port }: Target,
  address: NetAddress.IpAddress
): Effect.fn.Return<Connection, OutboundError, Scope.Scope> {
  const socket = yield* Effect.mapError(
    opened(() => dialer(NetAddress.formatIp(address), port), "connect"),
    (error) => problem("connect", `No connection could be made${inBrackets(error)}.`, host, "nothingSent")
  )
  if (socket.remoteAddress === undefined) {
    return yield* problem("connect", "The connection was lost at once.", host, "nothingSent")
  }
  // Whatever has happened on the way: what answers must be what was permitted.
  const peer = Result.getOrUndefined(NetAddress.ipFromString(socket.remoteAddress))
  if (peer === undefined || !Equal.equals(peer, address)) {
    return yield* problem("blocked", "The connection led to another address than the one dialled.", host)
  }
  return { socket, address }
})

const secure = Effect.fnUntraced(function* (
  { secureContext }: Options,
  { address, host }: Target,
  socket: Net.Socket
): Effect.fn.Return<Tls.TLSSocket, OutboundError, Scope.Scope> {
  const open = () =>
    Tls.connect({
      socket,
      host,
      ...(address === undefined ? { servername: host } : {}),
      secureContext,
      ALPNProtocols: ["http/1.1"],
      // The environment can change the default.
      rejectUnauthorized: true
    })
  const secured = yield* Effect.mapError(opened(open, "secureConnect"), (error) => {
    const what = inBrackets(error)
    return what === " (ECONNRESET)" || what === " (EPIPE)"
      ? problem("connect", "The connection was lost before it was secure.", host, "nothingSent")
      : problem("tls", `No secure connection could be made${what}.`, host)
  })
  if (!secured.authorized) return yield* problem("tls", "The host's certificate is not valid.", host)
  return secured
})

/**
 * A socket that is ready, and destroyed with the scope, whatever has become of it. What happens to it is heard from the
 * beginning: a fiber may rest before it comes to wait, and an event does not come twice.
 */
const opened = <S extends Net.Socket>(
  open: () => S,
  event: "connect" | "secureConnect"
): Effect.Effect<S, unknown, Scope.Scope> =>
  Effect.flatMap(
    Effect.acquireRelease(
      Effect.sync(() => {
        const socket = open()
        const ready = Deferred.makeUnsafe<void, unknown>()
        socket.once(event, () => Deferred.doneUnsafe(ready, Effect.void))
        // It stays for as long as the socket: an error that nobody listens for would end the process.
        socket.on("error", (error) => Deferred.doneUnsafe(ready, Effect.fail(error)))
        socket.once("close", () => Deferred.doneUnsafe(ready, Effect.fail({ code: "ECONNRESET" })))
        return { socket, ready }
      }),
      ({ socket }) => Effect.sync(() => socket.destroy())
    ),
    ({ ready, socket }) =>
      Effect.as(
        Effect.onInterrupt(Deferred.await(ready), () => Effect.sync(() => socket.destroy())),
        socket
      )
  )
