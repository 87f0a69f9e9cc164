/** A named credential for one server, which the operator has named and no model chooses. */
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Domains from "../internal/domains.ts"
import type { Credential, Credentials } from "./Credentials.ts"

/** A server that a credential is for. */
export interface Server {
  readonly host: string
  readonly encrypted: boolean
}

/** The credential of a name and a kind, where it may be sent to the server; fails with why not, which holds no secret. */
export const credentialFor = Effect.fnUntraced(function* <Type extends Credential["type"]>(
  credentials: Credentials["Service"],
  name: string,
  type: Type,
  server: Server
): Effect.fn.Return<Extract<Credential, { readonly type: Type }>, string> {
  const credential = yield* Effect.mapError(credentials.get(name), () => "there is none of its name")
  if (!isOf(credential, type)) return yield* Effect.fail(`it is not of the type "${type}"`)
  if (!matches(credential.hosts)(server.host)) return yield* Effect.fail("it may not be sent to this host")
  if (credential.overHttp !== true && !mayBeSent(server)) {
    return yield* Effect.fail("it may not be sent in clear text")
  }
  return credential
})

const isOf = <Type extends Credential["type"]>(
  credential: Credential,
  type: Type
): credential is Extract<Credential, { readonly type: Type }> => credential.type === type

/** Whether a secret may be sent there at all: not in clear text over a network. */
export const mayBeSent = ({ encrypted, host }: Server): boolean => encrypted || isLoopback(host)

/** Whether a host or a domain is among those that patterns name. They must be valid: see `Domains.problem`. */
export const matches = (patterns: ReadonlyArray<string>): ((host: string) => boolean) => {
  const violation = Domains.compile({ allowed: patterns })
  return (host) => violation({ host }, [["host"]]) === undefined
}

/** Whether a host is this machine. */
export const isLoopback = (host: string): boolean => {
  if (host.toLowerCase() === "localhost") return true
  const address = NetAddress.ipFromString(host)
  return Result.isSuccess(address) && NetAddress.isLoopback(address.success)
}
