/**
 * Who asks. Over HTTP a client shows a bearer token with every request, and is
 * refused before anything is looked at when it shows none that is known; over
 * stdio whoever started the process is the principal of all that comes.
 */
import * as McpServer from "effect/ai/McpServer"
import { randomBytesUnsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Redacted from "effect/Redacted"
import { digest } from "../../internal/digest.ts"
import { mac, sameMac } from "../../internal/sealing.ts"
import * as Principal from "../../Principal.ts"

/** Makes one principal the one of every request: for stdio, and wherever there is but one. */
export const principal = (
  principal: Principal.Principal
): McpServer.Middleware<{
  provides: never
  error: never
  requires: never
  layerError: never
  layerRequires: never
}> => {
  const everyone: McpServer.middleware.Fn<never, never, never> = (request) =>
    Principal.provide(request as Effect.Effect<McpServer.MiddlewareSuccess>, principal)
  return McpServer.middleware(everyone)
}

// --- Over HTTP -------------------------------------------------------------

/** A token, and whose it is. */
export interface TokenHolder {
  /** At least 16 visible ASCII characters. */
  readonly token: Redacted.Redacted<string>
  readonly principal: Principal.Principal
}

export interface PrincipalsOptions {
  readonly tokens: ReadonlyArray<TokenHolder>
  /** Who a request without any token is; refused without this. One with a token that nobody knows always is. */
  readonly withoutToken?: Principal.Principal
}

/**
 * Middleware for the routes of an MCP server, provided to `McpServer.layerHttp`: the principal by bearer token, or 401.
 * It covers every request, lists and resources included. A session belongs to whoever used it first: to others it is
 * not found. Throws a `RangeError` for a token that is too short, or given twice.
 */
export const principals = ({
  tokens,
  withoutToken
}: PrincipalsOptions): HttpRouter.Middleware<{
  provides: never
  handles: never
  error: never
  requires: never
  layerError: never
  layerRequires: never
}> => {
  // Macs by a key of this process: how long comparing takes says nothing of what is compared.
  const key = randomBytesUnsafe(32)
  const holders = tokens.map(({ principal, token }) => ({ principal, mac: mac(key, checked(token)) }))
  if (new Set(holders.map(({ mac }) => mac)).size < holders.length) {
    throw new RangeError("Mcp.principals: the same token is given twice")
  }
  const holderOf = (token: string): Principal.Principal | undefined => {
    const shown = mac(key, token)
    let found: Principal.Principal | undefined
    for (const { mac, principal } of holders) if (sameMac(mac, shown)) found = principal
    return found
  }
  const owners = new Owners()
  const byToken = HttpRouter.middleware((respond) =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) => {
      const token = bearer(headers.authorization)
      const principal = token === undefined ? withoutToken : holderOf(token)
      if (principal === undefined) return Effect.succeed(unknown)
      const session = headers["mcp-session-id"]
      if (session === undefined) return Principal.provide(respond, principal)
      if (owners.isAnothers(session, principal)) return Effect.succeed(noSession)
      return Effect.tap(Principal.provide(respond, inSession(principal, session)), ({ status }) =>
        // What the server knows nothing of is nobody's.
        Effect.sync(() => (status === noSession.status ? undefined : owners.claim(session, principal)))
      )
    })
  )
  return byToken
}

const checked = (token: Redacted.Redacted<string>): string => {
  const text = Redacted.value(token)
  if (/^[\x21-\x7e]{16,}$/.test(text)) return text
  throw new RangeError("Mcp.principals: a token must have at least 16 visible ASCII characters")
}

const bearer = (header: string | undefined): string | undefined => {
  if (header === undefined) return undefined
  // What is no bearer token is one that nobody knows.
  return /^bearer +(\S+)$/i.exec(header.trim())?.[1] ?? ""
}

const unknown = HttpServerResponse.jsonUnsafe(
  { jsonrpc: "2.0", id: null, error: { code: -32001, message: "A known bearer token is needed." } },
  { status: 401, headers: { "www-authenticate": "Bearer" } }
)

const noSession = HttpServerResponse.empty({ status: 404 })

/** What is read in one session taints no other. Its id is nobody else's business. */
const inSession = (principal: Principal.Principal, session: string): Principal.Principal =>
  principal.session === undefined
    ? { ...principal, session: `mcp_${digest(session).slice(0, 16)}` }
    : principal

/** Whose a session is, by its first use; of 10,000 the oldest is forgotten. */
class Owners {
  readonly #owners = new Map<string, string>()

  isAnothers(session: string, principal: Principal.Principal): boolean {
    const owner = this.#owners.get(session)
    return owner !== undefined && owner !== nameOf(principal)
  }

  claim(session: string, principal: Principal.Principal): void {
    if (this.#owners.has(session)) return
    for (const oldest of this.#owners.keys()) {
      if (this.#owners.size < maxSessions) break
      this.#owners.delete(oldest)
    }
    this.#owners.set(session, nameOf(principal))
  }
}

const maxSessions = 10_000

// JSON keeps hostile ids apart.
const nameOf = ({ id, tenant }: Principal.Principal): string => JSON.stringify([tenant ?? null, id])
