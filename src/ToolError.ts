/**
 * The one error of the package, and the one table that says what each of its
 * reasons means.
 *
 * A refusal inside the pipeline is a plain `Reason`, because making an error
 * object costs more than the whole call; it becomes a `ToolError` only where a
 * caller's error channel needs one. Messages are written for whoever made the
 * call, models included: they name what was wrong and what was expected, and
 * never carry an argument's value, a cause or a stack.
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"

// --- Error classes ---------------------------------------------------------

/**
 * What an error asks of whoever sees it. One classification drives retry,
 * breaker and record.
 *
 * - `Retryable`: trying again may help.
 * - `Caller`: the call itself is wrong; trying again will not help.
 * - `Policy`: the call was understood and refused.
 * - `Overload`: too much at once; try again after the delay.
 * - `Defect`: a bug of the tool.
 */
export const ErrorClass = Schema.Literals(["Retryable", "Caller", "Policy", "Overload", "Defect"])
export type ErrorClass = typeof ErrorClass.Type

// --- Reasons ---------------------------------------------------------------

const RetryAfter = Schema.DurationFromMillis

/** One thing wrong with the arguments. Paths start at the arguments' root. */
export const Issue = Schema.Struct({
  path: Schema.Array(Schema.Union([Schema.String, Schema.Number])),
  expected: Schema.String,
  found: Schema.String,
  message: Schema.String
})
export type Issue = typeof Issue.Type

/** No tool has this name, or the principal may not know of it. */
export const ToolNotFound = Schema.TaggedStruct("ToolNotFound", { tool: Schema.String })

/** The principal lacks what the tool needs. */
export const PermissionDenied = Schema.TaggedStruct("PermissionDenied", {
  missing: Schema.Array(Schema.String),
  message: Schema.String
})

/** A rule of the security policy refuses the call. */
export const PolicyDenied = Schema.TaggedStruct("PolicyDenied", {
  rule: Schema.String,
  message: Schema.String
})

/** A rate limit is used up, or too many calls of the principal wait for a human. */
export const RateLimited = Schema.TaggedStruct("RateLimited", {
  limit: Schema.String,
  retryAfter: RetryAfter
})

/** The arguments exceed a limit of the policy, or are not JSON; nothing has walked them further. */
export const ArgumentsRefused = Schema.TaggedStruct("ArgumentsRefused", {
  limit: Schema.Literals(["bytes", "depth", "stringLength", "items", "json"]),
  message: Schema.String
})

/** The arguments do not fit the tool's schema; every problem is listed. */
export const InvalidParams = Schema.TaggedStruct("InvalidParams", { issues: Schema.Array(Issue) })

/** Screening found in the arguments what must not reach a tool. */
export const ArgumentsScreened = Schema.TaggedStruct("ArgumentsScreened", {
  findings: Schema.Array(Schema.Struct({ rule: Schema.String, path: Schema.String, message: Schema.String }))
})

/** Somebody has stopped the tool, its tag, its tenant, its principal, or everything. */
export const Killed = Schema.TaggedStruct("Killed", {
  scope: Schema.Literals(["all", "tool", "tag", "tenant", "principal"]),
  why: Schema.String,
  /** Milliseconds since the epoch; absent where it stands until it is lifted. */
  until: Schema.optionalKey(Schema.Finite)
})

/** A run driven by a model goes in circles: first it is told so, then it is stopped. */
export const LoopDetected = Schema.TaggedStruct("LoopDetected", {
  kind: Schema.Literals(["repeat", "ping_pong", "error_storm"]),
  /** The run is over: none of its calls is let through any more. */
  stopped: Schema.Boolean,
  message: Schema.String
})

/** An idempotency key was used before for other arguments. */
export const IdempotencyConflict = Schema.TaggedStruct("IdempotencyConflict", { key: Schema.String })

/** Whoever ran this call before died before its outcome was recorded: nobody knows whether it happened. */
export const OutcomeUnknown = Schema.TaggedStruct("OutcomeUnknown", { callId: Schema.String })

/** A human must decide first. Nothing has run and nothing was charged. */
export const PendingConfirmation = Schema.TaggedStruct("PendingConfirmation", {
  callId: Schema.String,
  /** The request that a human decides; what `Approvals` knows it by. */
  request: Schema.String,
  /** Milliseconds since the epoch. */
  expiresAt: Schema.Finite,
  /** `confirm`: the person on whose behalf the call is made; `approve`: another principal. */
  by: Schema.Literals(["confirm", "approve"]),
  tool: Schema.String,
  why: Schema.Array(Schema.String)
})

/** A human has said no. */
export const ApprovalRejected = Schema.TaggedStruct("ApprovalRejected", {
  request: Schema.String,
  message: Schema.String
})

/** What the call brought as an approval is none for this call, or none any more. */
export const ApprovalInvalid = Schema.TaggedStruct("ApprovalInvalid", {
  why: Schema.Literals([
    "malformed",
    "forged",
    "another_deployment",
    "expired",
    "used",
    "revoked",
    "not_granted",
    "another_call",
    "another_tool",
    "another_principal",
    "other_arguments",
    "tool_changed",
    "policy_changed"
  ])
})

/** A budget is spent, or what is left does not cover the most that an attempt may cost. */
export const BudgetExceeded = Schema.TaggedStruct("BudgetExceeded", {
  /** The limit, as it is named. */
  limit: Schema.String,
  /** `usd` is counted in millionths. */
  unit: Schema.String,
  /** Until the limit's window ends; absent for limits without one. */
  retryAfter: Schema.optionalKey(RetryAfter)
})

/** A store that the call may not do without does not answer. */
export const Unavailable = Schema.TaggedStruct("Unavailable", {
  concern: Schema.Literals(["approvals", "audit", "budget", "cache", "idempotency", "kill_switch"])
})

/** The bulkhead and its queue are full. */
export const Overloaded = Schema.TaggedStruct("Overloaded", { scope: Schema.Literals(["tool", "executor"]) })

/** The circuit is open: why it opened, and when it will probe. */
export const CircuitOpen = Schema.TaggedStruct("CircuitOpen", {
  key: Schema.String,
  why: Schema.String,
  retryAfter: RetryAfter
})

/** An attempt took longer than its timeout, or the call longer than its deadline. */
export const TimedOut = Schema.TaggedStruct("TimedOut", {
  scope: Schema.Literals(["attempt", "deadline"]),
  after: Schema.DurationFromMillis
})

/** The call was interrupted. */
export const Cancelled = Schema.TaggedStruct("Cancelled", {})

/** A call of a batch that never began. */
export const Skipped = Schema.TaggedStruct("Skipped", { why: Schema.String })

/** The tool failed with its own, declared failure. */
export const ToolFailed = Schema.TaggedStruct("ToolFailed", {
  class: ErrorClass,
  retryAfter: Schema.optionalKey(RetryAfter),
  /** The failure as its schema encodes it; absent where that is nothing. */
  failure: Schema.optionalKey(Schema.Unknown)
})

/** The handler threw, its promise rejected, or it failed with something it did not declare. */
export const HandlerFailed = Schema.TaggedStruct("HandlerFailed", {
  class: ErrorClass,
  retryAfter: Schema.optionalKey(RetryAfter)
})

/** The handler returned what the tool's success schema refuses. */
export const InvalidResult = Schema.TaggedStruct("InvalidResult", { issues: Schema.Array(Issue) })

/** The handler died: a bug. */
export const HandlerDefect = Schema.TaggedStruct("HandlerDefect", {})

export const Reason = Schema.Union([
  ToolNotFound,
  PermissionDenied,
  PolicyDenied,
  RateLimited,
  ArgumentsRefused,
  InvalidParams,
  ArgumentsScreened,
  Killed,
  LoopDetected,
  IdempotencyConflict,
  OutcomeUnknown,
  PendingConfirmation,
  ApprovalRejected,
  ApprovalInvalid,
  BudgetExceeded,
  Unavailable,
  Overloaded,
  CircuitOpen,
  TimedOut,
  Cancelled,
  Skipped,
  ToolFailed,
  HandlerFailed,
  InvalidResult,
  HandlerDefect
])
export type Reason = typeof Reason.Type
export type ReasonTag = Reason["_tag"]
/** What every port fails with whose store does not answer. */
export type Unavailable = Extract<Reason, { readonly _tag: "Unavailable" }>

// --- The table -------------------------------------------------------------

/** How a call ended. */
export const Status = Schema.Literals([
  "success",
  "degraded",
  "failure",
  "timeout",
  "circuit_open",
  "pending_confirmation",
  "rejected",
  "permission_denied",
  "policy_denied",
  "rate_limited",
  "budget_exceeded",
  "overloaded",
  "invalid_params",
  "not_found",
  "cancelled",
  "skipped",
  "killed",
  "unavailable",
  "unknown"
])
export type Status = typeof Status.Type

/** What one reason means everywhere. */
export interface Row {
  readonly status: Status
  /** Stable, for programs. */
  readonly code: string
  readonly http: number
  /** `"from the error"`: the failure's own classification decides. */
  readonly class: ErrorClass | "from the error"
  /** Whether an attempt that ended so may be retried, is a failure to the breaker, and to health. */
  readonly retry: "yes" | "no" | "by class"
  readonly breaker: "yes" | "no" | "by class"
  readonly health: "yes" | "no"
  /** Whether a critical call that ended so stops a fail-fast batch. */
  readonly failFast: boolean
  /** Whether the tool's fallback answers instead. */
  readonly fallback: boolean
}

/**
 * The one table: reason → status → code → HTTP → class → what it counts for.
 * The README's table is generated from it.
 */
export const table: { readonly [Tag in ReasonTag]: Row } = {
  ToolNotFound: row("not_found", "TOOL_NOT_FOUND", 404, "Caller"),
  PermissionDenied: row("permission_denied", "PERMISSION_DENIED", 403, "Policy"),
  PolicyDenied: row("policy_denied", "POLICY_DENIED", 403, "Policy"),
  RateLimited: row("rate_limited", "RATE_LIMITED", 429, "Overload"),
  ArgumentsRefused: row("invalid_params", "ARGUMENTS_REFUSED", 413, "Caller"),
  InvalidParams: row("invalid_params", "INVALID_PARAMS", 422, "Caller"),
  ArgumentsScreened: row("policy_denied", "ARGUMENTS_SCREENED", 422, "Policy"),
  Killed: row("killed", "KILLED", 423, "Policy"),
  LoopDetected: row("policy_denied", "LOOP_DETECTED", 429, "Policy"),
  IdempotencyConflict: row("invalid_params", "IDEMPOTENCY_CONFLICT", 409, "Caller"),
  OutcomeUnknown: row("unknown", "OUTCOME_UNKNOWN", 409, "Caller"),
  PendingConfirmation: row("pending_confirmation", "PENDING_CONFIRMATION", 202, "Policy", {
    failFast: false
  }),
  ApprovalRejected: row("rejected", "APPROVAL_REJECTED", 403, "Policy"),
  ApprovalInvalid: row("rejected", "APPROVAL_INVALID", 403, "Policy"),
  BudgetExceeded: row("budget_exceeded", "BUDGET_EXCEEDED", 402, "Policy"),
  Unavailable: row("unavailable", "UNAVAILABLE", 503, "Overload"),
  Overloaded: row("overloaded", "OVERLOADED", 503, "Overload", { fallback: true }),
  CircuitOpen: row("circuit_open", "CIRCUIT_OPEN", 503, "Overload", { fallback: true }),
  TimedOut: row("timeout", "TIMED_OUT", 504, "Retryable", {
    retry: "by class",
    breaker: "yes",
    health: "yes",
    fallback: true
  }),
  Cancelled: row("cancelled", "CANCELLED", 499, "Caller"),
  Skipped: row("skipped", "SKIPPED", 424, "Caller"),
  ToolFailed: row("failure", "TOOL_FAILED", 422, "from the error", {
    retry: "by class",
    breaker: "by class",
    health: "yes",
    fallback: true
  }),
  HandlerFailed: row("failure", "HANDLER_FAILED", 502, "from the error", {
    retry: "by class",
    breaker: "by class",
    health: "yes",
    fallback: true
  }),
  InvalidResult: row("failure", "INVALID_RESULT", 502, "Defect", {
    breaker: "yes",
    health: "yes",
    fallback: true
  }),
  HandlerDefect: row("failure", "HANDLER_DEFECT", 500, "Defect", {
    breaker: "yes",
    health: "yes",
    fallback: true
  })
}

// A function, so that the table above can stand before it.
function row(
  status: Status,
  code: string,
  http: number,
  errorClass: Row["class"],
  counts: Partial<Pick<Row, "retry" | "breaker" | "health" | "failFast" | "fallback">> = {}
): Row {
  return {
    status,
    code,
    http,
    class: errorClass,
    retry: "no",
    breaker: "no",
    health: "no",
    failFast: true,
    fallback: false,
    ...counts
  }
}

// --- Reading a reason ------------------------------------------------------

/** The class of a reason: the table's, or the failure's own. */
export const classOf = (reason: Reason): ErrorClass =>
  reason._tag === "ToolFailed" || reason._tag === "HandlerFailed"
    ? reason.class
    : (table[reason._tag].class as ErrorClass)

/** When to try again, where the reason knows. */
export const retryAfterOf = (reason: Reason): Duration.Duration | undefined =>
  "retryAfter" in reason ? reason.retryAfter : undefined

/** Whether an attempt that ended so is a failure to the circuit breaker: a refusal by the caller's fault is not. */
export const countsForBreaker = (reason: Reason): boolean => {
  const { breaker } = table[reason._tag]
  if (breaker !== "by class") return breaker === "yes"
  const errorClass = classOf(reason)
  return errorClass === "Retryable" || errorClass === "Overload" || errorClass === "Defect"
}

/** One sentence for whoever made the call. Never an argument's value. */
export const messageOf = (reason: Reason): string => {
  switch (reason._tag) {
    case "ToolNotFound":
      return "There is no such tool."
    case "PermissionDenied":
    case "PolicyDenied":
    case "ArgumentsRefused":
      return reason.message
    case "RateLimited":
      return `The limit "${reason.limit}" is used up; try again in ${seconds(reason.retryAfter)}.`
    case "InvalidParams":
      return `${reason.issues.map((issue) => issue.message).join("; ")}.`
    case "PendingConfirmation":
      return reason.by === "confirm"
        ? "The person on whose behalf this call is made must confirm it first; it has not run."
        : "Another person must approve this call first; it has not run."
    case "ArgumentsScreened":
      return reason.findings.map((finding) => finding.message).join(" ")
    case "Killed":
      return `An operator has stopped this: ${reason.why}.`
    case "LoopDetected":
      return reason.message
    case "IdempotencyConflict":
      return "This idempotency key was used before with other arguments; use a new key for a new effect."
    case "OutcomeUnknown":
      return "The call was begun before and its outcome was never recorded; whether it took effect is unknown."
    case "ApprovalRejected":
      return reason.message === ""
        ? "A person has rejected this call."
        : `A person has rejected this call: ${reason.message}.`
    case "ApprovalInvalid":
      return `The approval does not let this call run: ${whyInvalid[reason.why]}.`
    case "BudgetExceeded":
      return reason.retryAfter === undefined
        ? `The budget "${reason.limit}" does not cover this call.`
        : `The budget "${reason.limit}" does not cover this call; it starts anew in ${seconds(reason.retryAfter)}.`
    case "Unavailable":
      return "A store that governs this call does not answer, so the call was not run; try again later."
    case "Overloaded":
      return "Too many calls are running or waiting; try again later."
    case "CircuitOpen":
      return `The tool is unavailable: ${reason.why}; it will be tried again in ${seconds(reason.retryAfter)}.`
    case "TimedOut":
      return reason.scope === "attempt"
        ? `The tool did not answer within ${seconds(reason.after)}.`
        : `The call did not end within its deadline of ${seconds(reason.after)}.`
    case "Cancelled":
      return "The call was cancelled."
    case "Skipped":
      return `The call did not begin: ${reason.why}.`
    case "ToolFailed":
      return "The tool reported a failure."
    case "HandlerFailed":
      return "The tool failed."
    case "InvalidResult":
      return "The tool returned a result that does not fit its own schema."
    case "HandlerDefect":
      return "The tool failed because of a bug."
  }
}

const whyInvalid: { readonly [Why in (typeof ApprovalInvalid.Type)["why"]]: string } = {
  malformed: "it is no approval",
  forged: "its signature is not right",
  another_deployment: "it was given elsewhere",
  expired: "it has expired",
  used: "it was used before",
  revoked: "it was taken back",
  not_granted: "nobody has granted it",
  another_call: "it was given to another call",
  another_tool: "it was given to another tool",
  another_principal: "it was given to somebody else",
  other_arguments: "it was given to other arguments",
  tool_changed: "the tool has changed since",
  policy_changed: "the policy has changed since"
}

const seconds = (duration: Duration.Duration): string => {
  const value = Duration.toMillis(duration)
  return value < 1000 ? `${Math.ceil(value)} ms` : `${Math.ceil(value / 100) / 10} s`
}

// --- The error -------------------------------------------------------------

/** Why a governed call did not end with the tool's success value. */
export class ToolError extends Schema.TaggedError<ToolError>("interlock/ToolError")("ToolError", {
  callId: Schema.String,
  tool: Schema.String,
  reason: Reason
}) {
  override get message(): string {
    return `${this.tool}: ${messageOf(this.reason)}`
  }
  get status(): Status {
    return table[this.reason._tag].status
  }
  /** Stable, for programs. */
  get code(): string {
    return table[this.reason._tag].code
  }
  get class(): ErrorClass {
    return classOf(this.reason)
  }
  get retryAfter(): Duration.Duration | undefined {
    return retryAfterOf(this.reason)
  }
}
