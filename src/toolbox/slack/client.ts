/**
 * One call of Slack's Web API by its official client, without what the client
 * does of itself: retries, waiting for rate limits, and printing.
 *
 * Each call has a client of its own, so that interrupting it ends its request
 * and no other one's, and a token is held no longer than it takes.
 */
import type { WebClient } from "@slack/web-api"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as OptionalPackage from "../../internal/optionalPackage.ts"
import * as SlackError from "./SlackError.ts"

export const load = OptionalPackage.load("@slack/web-api", "Slack", () => import("@slack/web-api"))
export type Sdk = Effect.Success<typeof load>

export interface Connection {
  readonly apiUrl: string
  /** Milliseconds. */
  readonly timeout: number
}

/** Calls a method. What `use` makes of the client must be one request. */
export const request = <A>(
  sdk: Sdk,
  { apiUrl, timeout }: Connection,
  token: Redacted.Redacted<string>,
  use: (client: WebClient) => Promise<A>
): Effect.Effect<A, SlackError.SlackError> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    let seen: SlackError.Seen = { status: undefined, retryAfter: null }
    return Effect.tryPromise({
      try: (signal) =>
        use(
          new sdk.WebClient(Redacted.value(token), {
            slackApiUrl: apiUrl,
            retryConfig: { retries: 0 },
            rejectRateLimitedCalls: true,
            logger: silent(sdk),
            fetch: async (url, init) => {
              const signals = AbortSignal.any([signal, AbortSignal.timeout(timeout)])
              const response = await fetch(url, { ...init, signal: signals } as RequestInit)
              seen = { status: response.status, retryAfter: response.headers.get("retry-after") }
              return response
            }
          })
        ),
      catch: (thrown) => SlackError.fromClient(thrown, seen, now)
    })
  })

const silent = ({ LogLevel }: Sdk) => ({
  debug() {},
  info() {},
  warn() {},
  error() {},
  setLevel() {},
  setName() {},
  getLevel: () => LogLevel.ERROR
})
