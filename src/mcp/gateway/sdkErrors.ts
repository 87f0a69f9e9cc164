/** What the SDK's errors, and those of sockets and processes below it, say of a server. */
import type * as Sdk from "@modelcontextprotocol/client"
import * as Duration from "effect/Duration"
import { shown, UpstreamError } from "./errors.ts"
import { endedEarly, tooLarge } from "./http.ts"

/** Whose error it is. */
export interface About {
  readonly server: string
  /** Why its connection has ended, where that is known. */
  readonly ending: string | undefined
  /** Takes secrets out of a text. */
  readonly hide: (text: string) => string
}

/** The HTTP status that an error is about. */
export const statusOf = (error: unknown): number | undefined => {
  const data = (error as { readonly data?: { readonly status?: unknown } } | null)?.data
  return typeof data?.status === "number" ? data.status : undefined
}

/** The code of Node's own errors, also of one that is wrapped. */
const codeOf = (error: unknown): string | undefined => {
  for (let each = error, depth = 0; each instanceof Error && depth < 4; each = each.cause, depth++) {
    if (
      "code" in each &&
      typeof each.code === "string" &&
      /^(?:E[A-Z]{3,}|(?:UND_)?ERR_\w+)$/.test(each.code)
    )
      return each.code
  }
  return undefined
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** Why a server could not be started. */
export const connecting = (
  { ending, hide, server }: About,
  error: unknown,
  timeout: Duration.Duration
): UpstreamError => {
  const status = statusOf(error)
  if (status === 401 || status === 403 || (error instanceof Error && error.name === "UnauthorizedError")) {
    return unauthorized(server, status ?? 401)
  }
  const code = codeOf(error)
  const timedOut = (error as { readonly code?: unknown } | null)?.code === "REQUEST_TIMEOUT"
  return new UpstreamError({
    reason: "start",
    server,
    detail:
      ending ??
      (timedOut
        ? `it did not answer within ${Duration.format(timeout)}`
        : status !== undefined
          ? `it answered with the status ${status}`
          : code !== undefined
            ? `it cannot be reached (${code})`
            : shown(messageOf(error), hide))
  })
}

const unauthorized = (server: string, status: number): UpstreamError =>
  new UpstreamError({
    reason: "unauthorized",
    server,
    detail: `it answered with the status ${status}; give it a credential or headers`
  })

/** Why a request was not answered. */
export const calling = (sdk: typeof Sdk, { ending, hide, server }: About, error: unknown): UpstreamError => {
  const lost = (detail: string, sent: boolean) =>
    new UpstreamError({ reason: "lost", server, detail, code: sent ? "ECONNRESET" : "ECONNREFUSED" })
  if (error instanceof sdk.ProtocolError) {
    if (error.code === endedEarly) {
      const code = "ERR_STREAM_PREMATURE_CLOSE"
      return new UpstreamError({ reason: "lost", server, detail: "its answer ended early", code })
    }
    return new UpstreamError({
      reason: "answer",
      server,
      detail: shown(error.message, hide),
      code: error.code
    })
  }
  const status = statusOf(error)
  if (status === 401 || status === 403) return unauthorized(server, status)
  // A session that the server has forgotten: nothing of the call was looked at.
  if (status === 404) return lost("it has ended the session", false)
  if (status !== undefined) {
    return new UpstreamError({
      reason: "answer",
      server,
      detail: `it answered with the status ${status}`,
      status
    })
  }
  if (error instanceof sdk.SdkError) {
    switch (error.code) {
      case sdk.SdkErrorCode.NotConnected:
        return lost(ending ?? "it is not connected", false)
      case sdk.SdkErrorCode.ConnectionClosed:
        return lost(ending ?? "the connection was closed", true)
      default:
        return new UpstreamError({ reason: "result", server, detail: shown(error.message, hide) })
    }
  }
  const code = codeOf(error)
  if (code === tooLarge)
    return new UpstreamError({ reason: "result", server, detail: shown(messageOf(error)) })
  const notSent = code !== undefined && ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EPIPE"].includes(code)
  return lost(
    ending ?? (code === undefined ? "the connection failed" : `the connection failed (${code})`),
    !notSent
  )
}
