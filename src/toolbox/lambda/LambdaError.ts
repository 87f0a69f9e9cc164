/**
 * Why a function gave no result, read from what Lambda, the SDK and the function
 * itself say.
 *
 * Two things matter to whoever decides what comes next: whose fault it is, and
 * whether the function has run. The names are those of the Invoke API's error
 * list and of the runtimes' `errorType`s (AWS Lambda Developer Guide, "Lambda
 * function errors" and "Troubleshoot invocation issues").
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import type { Classification } from "../../ToolAnnotations.ts"
import type { ErrorClass } from "../../ToolError.ts"

// --- Models ----------------------------------------------------------------

interface Row {
  readonly class: ErrorClass
  readonly ran: "no" | "yes" | "unknown"
  readonly message: string
}

const row = (errorClass: ErrorClass, ran: Row["ran"], message: string): Row => ({
  class: errorClass,
  ran,
  message
})

/** What each reason means; whatever is wrong with the deployment is a bug of the tool, and trying again is of no use. */
export const reasons = {
  rejected: row("Caller", "yes", "The function refused the call."),
  function_error: row("Retryable", "yes", "The function ended with an error that it did not handle."),
  function_broken: row("Defect", "no", "The function cannot start."),
  timed_out: row("Retryable", "unknown", "The function ran out of its time; what it did is unknown."),
  crashed: row(
    "Retryable",
    "unknown",
    "The function's process ended before it answered; what it did is unknown."
  ),
  throttled: row("Overload", "no", "Too many functions are running; the function did not run."),
  not_ready: row("Retryable", "no", "The function is not ready yet; it did not run."),
  unreachable: row("Retryable", "no", "Lambda cannot be reached; the function did not run."),
  connection_lost: row(
    "Retryable",
    "unknown",
    "The connection to Lambda was lost; whether the function ran is unknown."
  ),
  service_failed: row("Retryable", "unknown", "Lambda failed; whether the function ran is unknown."),
  misconfigured: row("Defect", "no", "The function, or how it is called, is not configured rightly."),
  denied: row("Defect", "no", "Lambda refused the credentials, or what they may do."),
  too_large: row("Caller", "no", "The arguments are larger than what Lambda takes at once, which is 6 MB."),
  result_too_large: row(
    "Caller",
    "yes",
    "The result is larger than what Lambda gives at once, which is 6 MB."
  ),
  invalid_response: row("Defect", "yes", "The function's answer is not what was agreed.")
} as const satisfies Record<string, Row>

export type Reason = keyof typeof reasons

/** Why a function gave no result. */
export class LambdaError extends Schema.TaggedError<LambdaError>("interlock/toolbox/Lambda/LambdaError")(
  "LambdaError",
  {
    reason: Schema.Literals(Object.keys(reasons) as ReadonlyArray<Reason>),
    message: Schema.String,
    /** What Lambda or the runtime calls it, such as `ResourceNotFoundException`. */
    errorType: Schema.optionalKey(Schema.String),
    /** By which operators find the call in the function's log. */
    requestId: Schema.optionalKey(Schema.String),
    /** When to come back, in milliseconds, where Lambda says so. */
    retryAfterMs: Schema.optionalKey(Schema.Finite)
  }
) {
  /** Tells `Classification` that nobody knows whether the function ran, in the words of lost connections. */
  get code(): string | undefined {
    return reasons[this.reason].ran === "unknown" ? "ECONNRESET" : undefined
  }
}

/** What is known of a failure beside its reason. */
export interface Details {
  readonly errorType?: string | undefined
  readonly requestId?: string | undefined
  readonly retryAfterMs?: number | undefined
  /** What the function says, where it may be shown. */
  readonly says?: string | undefined
}

export const make = (reason: Reason, details: Details = {}): LambdaError => {
  const { errorType, requestId, retryAfterMs, says } = details
  const { message } = reasons[reason]
  return new LambdaError({
    reason,
    message: says === undefined || says === "" ? message : `${message.slice(0, -1)}: ${cut(says, 1000)}`,
    ...(errorType === undefined ? {} : { errorType: cut(errorType, 100) }),
    ...(requestId === undefined ? {} : { requestId: cut(requestId, 100) }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs })
  })
}

const cut = (text: string, most: number): string => (text.length > most ? `${text.slice(0, most)}…` : text)

/** What a `LambdaError` asks of retries and breaker. */
export const classify = (error: unknown): Classification | undefined => {
  if (!(error instanceof LambdaError)) return undefined
  const { retryAfterMs } = error
  return {
    class: reasons[error.reason].class,
    ...(retryAfterMs === undefined ? {} : { retryAfter: Duration.millis(retryAfterMs) })
  }
}

// --- What Lambda and the SDK say -------------------------------------------

const byName = new Map<string, Reason>(
  Object.entries({
    throttled: [
      "TooManyRequestsException",
      "EC2ThrottledException",
      "ThrottlingException",
      "Throttling",
      "RequestLimitExceeded"
    ],
    not_ready: [
      "ResourceNotReadyException",
      "ResourceConflictException",
      "SnapStartNotReadyException",
      "SnapStartTimeoutException",
      "ENINotReadyException",
      "CodeArtifactUserPendingException",
      "EFSMountConnectivityException",
      "EFSMountTimeoutException",
      "S3FilesMountConnectivityException",
      "S3FilesMountTimeoutException",
      "EC2UnexpectedException",
      "ENILimitReachedException",
      "SubnetIPAddressLimitReachedException"
    ],
    misconfigured: [
      "ResourceNotFoundException",
      "NoPublishedVersionException",
      "InvalidParameterValueException",
      "InvalidRequestContentException",
      "UnsupportedMediaTypeException",
      "ModeNotSupportedException",
      "RecursiveInvocationException",
      "InvalidRuntimeException",
      "InvalidSecurityGroupIDException",
      "InvalidSubnetIDException",
      "InvalidZipFileException",
      "KMSDisabledException",
      "KMSInvalidStateException",
      "KMSNotFoundException",
      "EFSMountFailureException",
      "S3FilesMountFailureException",
      "SnapStartException",
      "SnapStartRegenerationFailureException",
      "CodeArtifactUserDeletedException",
      "CodeArtifactUserFailedException"
    ],
    denied: [
      "AccessDeniedException",
      "EC2AccessDeniedException",
      "KMSAccessDeniedException",
      "UnrecognizedClientException",
      "InvalidSignatureException",
      "SignatureDoesNotMatch",
      "IncompleteSignature",
      "MissingAuthenticationTokenException",
      "InvalidClientTokenId",
      "ExpiredTokenException",
      "RequestExpired",
      "OptInRequired",
      "CredentialsProviderError"
    ],
    too_large: ["RequestTooLargeException", "SerializedRequestEntityTooLargeException"],
    service_failed: ["ServiceException", "EFSIOException", "InternalFailure"]
  } satisfies Partial<Record<Reason, ReadonlyArray<string>>>).flatMap(([reason, names]) =>
    names.map((name) => [name, reason as Reason] as const)
  )
)

/** Nothing was sent: the name was not found, or the connection never opened. */
const neverSent = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN"])

/** Reads what the SDK threw. */
export const fromSdk = (error: unknown): LambdaError => {
  const { $metadata, code, name, retryAfterSeconds, syscall } = Object(error) as SdkError
  const status = $metadata?.httpStatusCode
  const seconds = Number(retryAfterSeconds)
  const details: Details = {
    errorType: typeof name === "string" ? name : undefined,
    requestId: $metadata?.requestId,
    retryAfterMs: retryAfterSeconds !== undefined && seconds >= 0 ? seconds * 1000 : undefined
  }
  const named = typeof name === "string" ? byName.get(name) : undefined
  if (named !== undefined) return make(named, details)
  if (status !== undefined && status >= 300) return make(ofStatus(status), details)
  const unsent =
    neverSent.has(code as string) ||
    syscall === "connect" ||
    syscall === "getaddrinfo" ||
    // The SDK's timeout of connecting is its only one that is switched on here, and it has no code.
    (name === "TimeoutError" && code === undefined)
  return make(unsent ? "unreachable" : "connection_lost", {
    ...details,
    errorType: typeof code === "string" ? code : undefined
  })
}

interface SdkError {
  readonly name?: unknown
  readonly code?: unknown
  readonly syscall?: unknown
  readonly retryAfterSeconds?: unknown
  readonly $metadata?: { readonly httpStatusCode?: number; readonly requestId?: string }
}

const ofStatus = (status: number): Reason => {
  switch (status) {
    case 401:
    case 403:
      return "denied"
    case 408:
    case 425:
      return "connection_lost"
    case 413:
      return "too_large"
    case 429:
      return "throttled"
    default:
      return status >= 500 ? "service_failed" : "misconfigured"
  }
}

// --- What the runtime says -------------------------------------------------

/** The runtime could not even load the function. */
const broken = new Set([
  "Runtime.ImportModuleError",
  "Runtime.HandlerNotFound",
  "Runtime.MalformedHandlerName",
  "Runtime.UserCodeSyntaxError",
  "Runtime.InvalidEntrypoint",
  "Runtime.InvalidWorkingDir",
  "Runtime.InvalidTaskConfig",
  "Extension.LaunchError",
  "Extension.InitError"
])

/**
 * Reads the payload of an answer with `X-Amz-Function-Error`. What an exception says is for the function's log: it is
 * shown only where the operator wants so.
 */
export const fromFunction = (payload: unknown, requestId: string | undefined, show: boolean): LambdaError => {
  const { errorMessage, errorType } = Object(payload) as Record<string, unknown>
  const type = typeof errorType === "string" && errorType !== "" ? errorType : undefined
  const text = typeof errorMessage === "string" ? errorMessage : ""
  const details = { errorType: type, requestId }
  if (type === "Sandbox.Timedout" || /\bTask timed out after [\d.]+ seconds\s*$/.test(text)) {
    return make("timed_out", details)
  }
  if (type === "Function.ResponseSizeTooLarge") return make("result_too_large", details)
  if (type !== undefined && broken.has(type)) return make("function_broken", details)
  const ended =
    type !== undefined
      ? /^(?:Runtime\.(?:ExitError|OutOfMemory|Unknown)|Sandbox\.|Extension\.)/.test(type)
      : /\bRuntime exited\b|\bProcess exited\b/.test(text)
  return ended
    ? make("crashed", details)
    : make("function_error", { ...details, says: show ? text : undefined })
}
