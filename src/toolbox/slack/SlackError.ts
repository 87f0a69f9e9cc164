/** Why Slack did not do what it was asked, read from its answer or from the lack of one. */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { classify as classifyDefault } from "../../Classification.ts"
import type { Classification } from "../../ToolAnnotations.ts"
import type { ErrorClass } from "../../ToolError.ts"

// --- Models ----------------------------------------------------------------

const row = (errorClass: ErrorClass, message: string) => ({ class: errorClass, message })

/** What each reason means. What is wrong with the app in Slack is a bug of the tool. */
const reasons = {
  channel_not_allowed: row("Policy", "This channel is not among those that may be used."),
  too_long: row("Caller", "The message is longer than Slack takes; it would have been cut."),
  refused: row("Caller", "Slack refuses the call."),
  rate_limited: row("Overload", "Slack takes no more calls for now; nothing was done."),
  unavailable: row("Retryable", "Slack cannot do it now; nothing was done."),
  unreachable: row("Retryable", "Slack cannot be reached; nothing was done."),
  outcome_unknown: row("Retryable", "The answer of Slack was lost; whether it was done is unknown."),
  auth: row("Defect", "Slack does not accept the token, or the app may not do this."),
  credential: row("Defect", "The credential for Slack cannot be used."),
  tls: row("Defect", "No trusted connection to Slack could be made; nothing was done."),
  invalid_response: row("Defect", "What came is no answer of Slack's.")
} as const satisfies Record<string, ReturnType<typeof row>>

export type Reason = keyof typeof reasons

/** Why Slack did not do what it was asked. */
export class SlackError extends Schema.TaggedError<SlackError>("interlock/toolbox/Slack/SlackError")(
  "SlackError",
  {
    reason: Schema.Literals(Object.keys(reasons) as ReadonlyArray<Reason>),
    message: Schema.String,
    /** Slack's own word for it, such as `not_in_channel`. */
    error: Schema.optionalKey(Schema.String),
    /** When to come back, in seconds, where Slack says so. */
    retryAfterSeconds: Schema.optionalKey(Schema.Finite)
  }
) {
  /** Tells `Classification` that nobody knows whether it was done, in the words of lost connections. */
  get code(): string | undefined {
    return this.reason === "outcome_unknown" ? "ECONNRESET" : undefined
  }
}

export const make = (
  reason: Reason,
  details: {
    says?: string | undefined
    error?: string | undefined
    retryAfterSeconds?: number | undefined
  } = {}
): SlackError => {
  const { error, retryAfterSeconds, says = error } = details
  const { message } = reasons[reason]
  return new SlackError({
    reason,
    message: says === undefined ? message : `${message.slice(0, -1)}: ${says}`,
    ...(error === undefined ? {} : { error }),
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds })
  })
}

/** What a `SlackError` asks of retries and breaker. */
export const classify = (error: unknown): Classification | undefined => {
  if (!(error instanceof SlackError)) return undefined
  const { reason, retryAfterSeconds } = error
  return {
    class: reasons[reason].class,
    ...(retryAfterSeconds === undefined ? {} : { retryAfter: Duration.seconds(retryAfterSeconds) })
  }
}

// --- What Slack says -------------------------------------------------------

const rateLimited = new Set(["ratelimited", "rate_limited", "message_limit_exceeded"])

/** Nothing was done: the request did not come through, or Slack was not there for it. */
const unavailable = new Set(["request_timeout", "service_unavailable", "team_added_to_org"])

/** "Some aspect of the operation" may have succeeded, as Slack's list of errors has it. */
const unknown = new Set(["fatal_error", "internal_error"])

const auth = new Set([
  "access_denied",
  "account_inactive",
  "deprecated_endpoint",
  "ekm_access_denied",
  "enterprise_is_restricted",
  "invalid_auth",
  "method_deprecated",
  "missing_scope",
  "no_permission",
  "not_allowed_token_type",
  "not_authed",
  "org_login_required",
  "team_access_not_granted",
  "token_expired",
  "token_revoked",
  "two_factor_setup_required"
])

/** What was seen of the answer, beside what the client makes of it. */
export interface Seen {
  readonly status: number | undefined
  readonly retryAfter: string | null
}

/** Reads what the client threw. */
export const fromClient = (thrown: unknown, { retryAfter, status }: Seen, now: number): SlackError => {
  const retryAfterSeconds = secondsOf(retryAfter)
  if (status === 429) return make("rate_limited", { error: "ratelimited", retryAfterSeconds })
  if (status === 503) return make("unavailable", { says: `HTTP ${status}` })
  if (status === 401 || status === 403) return make("auth", { says: `HTTP ${status}` })
  if (status !== undefined && status >= 500) return make("outcome_unknown", { says: `HTTP ${status}` })
  if (status !== undefined && status !== 200) return make("invalid_response", { says: `HTTP ${status}` })
  const error = platformError(thrown)
  if (error !== undefined) return fromWord(error, retryAfterSeconds)
  if (status !== undefined) return make(isLost(thrown) ? "outcome_unknown" : "invalid_response")
  if (isUntrusted(thrown)) return make("tls")
  return make(classifyDefault(thrown, "thrown", now).outcomeUnknown ? "outcome_unknown" : "unreachable")
}

const fromWord = (error: string, retryAfterSeconds: number | undefined): SlackError => {
  if (!/^[a-z0-9_]{1,64}$/.test(error)) return make("invalid_response")
  if (rateLimited.has(error)) return make("rate_limited", { error, retryAfterSeconds })
  if (unavailable.has(error)) return make("unavailable", { error })
  if (unknown.has(error)) return make("outcome_unknown", { error })
  return make(auth.has(error) ? "auth" : "refused", { error })
}

const secondsOf = (header: string | null): number | undefined =>
  header !== null && /^\d{1,6}$/.test(header.trim()) ? Number(header) : undefined

/** Slack's word of an answer that is not `ok`. */
const platformError = (thrown: unknown): string | undefined => {
  const { code, data } = Object(thrown) as {
    readonly code?: unknown
    readonly data?: { readonly error?: unknown }
  }
  if (code !== "slack_webapi_platform_error") return undefined
  return typeof data?.error === "string" ? data.error : ""
}

/** The answer began, and did not come to its end. */
const isLost = (thrown: unknown): boolean => !(thrown instanceof SyntaxError)

const isUntrusted = (thrown: unknown): boolean => {
  for (let error = thrown, depth = 0; typeof error === "object" && error !== null && depth < 8; depth++) {
    const { cause, code } = error as { readonly cause?: unknown; readonly code?: unknown }
    if (typeof code === "string" && /^ERR_(?:TLS|SSL|OSSL)|CERT|SELF_SIGNED|UNABLE_TO/.test(code)) return true
    error = cause
  }
  return false
}
