/** What goes wrong with another server, and how a call of its tools tells it. */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { plain } from "../../internal/plainText.ts"
import type { Classification } from "../../ToolAnnotations.ts"
import { type CallResult, text } from "../Content.ts"

/**
 * Why a server did not do what it was asked.
 *
 * - `configuration`: what its configuration names is not there.
 * - `start`: it could not be started, or did not answer as a server of MCP does.
 * - `unavailable`: it failed before and is left alone for a while, or starts for too long.
 * - `stopped`: somebody has stopped it.
 * - `lost`: the connection ended before its answer came.
 * - `unauthorized`: it does not know who asks.
 * - `answer`: it answered with an error of the protocol.
 * - `result`: its answer is not what the protocol or its own schema says.
 * - `asks`: it needs an answer first that the caller cannot give.
 * - `refused`: the tool is not the one that was accepted.
 */
export const Reason = Schema.Literals([
  "configuration",
  "start",
  "unavailable",
  "stopped",
  "lost",
  "unauthorized",
  "answer",
  "result",
  "asks",
  "refused"
])

/** A server did not do what it was asked. Its text is safe to show, also to a model. */
export class UpstreamError extends Schema.TaggedError<UpstreamError>("interlock/mcp/UpstreamError")(
  "UpstreamError",
  {
    reason: Reason,
    server: Schema.String,
    /** What was wrong; may be in the server's own words, cut and without control characters. */
    detail: Schema.String,
    /** When to ask again. */
    retryAfter: Schema.optionalKey(Schema.DurationFromMillis),
    /** The HTTP status of its answer. */
    status: Schema.optionalKey(Schema.Finite),
    /**
     * For what was lost: `ECONNREFUSED` where nothing was sent, `ECONNRESET` where something was, and
     * `ERR_STREAM_PREMATURE_CLOSE` where only this answer was. For an answer: the code of the protocol.
     */
    code: Schema.optionalKey(Schema.Union([Schema.String, Schema.Finite]))
  }
) {
  override get message(): string {
    const again = this.retryAfter === undefined ? "" : ` Try again in ${seconds(this.retryAfter)}.`
    return `${opening[this.reason](this.server)}: ${this.detail}.${again}`
  }
}

const opening: { readonly [R in UpstreamError["reason"]]: (server: string) => string } = {
  configuration: (server) => `The server "${server}" is not configured right`,
  start: (server) => `The server "${server}" could not be started`,
  unavailable: (server) => `The server "${server}" is not available`,
  stopped: (server) => `The server "${server}" is stopped`,
  lost: (server) => `The connection to the server "${server}" was lost before it answered`,
  unauthorized: (server) => `The server "${server}" does not let the gateway in`,
  answer: (server) => `The server "${server}" answered with an error`,
  result: (server) => `The server "${server}" gave an answer that cannot be used`,
  asks: (server) => `The server "${server}" asks for input that cannot be had here`,
  refused: (server) => `This tool of the server "${server}" is not run`
}

const seconds = (duration: Duration.Duration): string =>
  `${Math.max(0.1, Math.ceil(Duration.toMillis(duration) / 100) / 10)} s`

const longest = 500

/** Foreign words in one line, cut, and without what `hide` takes out. */
export const shown = (words: string, hide: (text: string) => string = (text) => text): string => {
  const line = plain(hide(words).replace(/\s+/g, " ").trim()).replace(/\.$/, "")
  return line.length > longest ? `${line.slice(0, longest)}…` : line
}

// --- As a tool tells it ----------------------------------------------------

/** The failure of a call, as the tool's own: a model reads the sentence, and retries and records read the error. */
export const failureOf = (error: UpstreamError): CallResult =>
  Object.defineProperty({ content: [text(error.message)] }, "cause", { value: error, enumerable: false })

/**
 * What such a failure is. That a server is down is no news of its tools: it has a breaker of its own, so it neither
 * counts for theirs nor is a call of theirs tried again at once.
 */
export const classify = (failure: unknown): Classification | undefined => {
  const error = (failure as { readonly cause?: unknown } | null)?.cause
  if (!(error instanceof UpstreamError)) return undefined
  const { retryAfter } = error
  switch (error.reason) {
    case "configuration":
    case "start":
    case "unavailable":
    case "stopped":
    case "unauthorized":
    case "asks":
    case "refused":
      return { class: "Policy", retryAfter }
    case "lost":
      return { class: "Retryable", retryAfter }
    case "result":
      return { class: "Defect" }
    case "answer":
      // An HTTP status says it itself; of the protocol's errors only this one is the server's fault.
      return error.status === undefined ? { class: error.code === -32_603 ? "Defect" : "Caller" } : undefined
  }
}
