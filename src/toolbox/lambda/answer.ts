/** What a function answered: the structured response, or a bare result where the operator lets it pass. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { type Details, fromFunction, type LambdaError, make } from "./LambdaError.ts"

/** The structured response. What a function adds to it is ignored. */
export const Response = Schema.Struct({
  success: Schema.Boolean,
  result: Schema.optionalKey(Schema.Unknown),
  /** What went wrong: a sentence, or an object that has one. */
  error: Schema.optionalKey(
    Schema.NullOr(
      Schema.Union([
        Schema.String,
        Schema.Struct({
          message: Schema.optionalKey(Schema.NullOr(Schema.String)),
          type: Schema.optionalKey(Schema.NullOr(Schema.String))
        })
      ])
    )
  ),
  tool_name: Schema.optionalKey(Schema.NullOr(Schema.String)),
  execution_time_ms: Schema.optionalKey(Schema.NullOr(Schema.Finite))
})

/** What the Invoke API gave. */
export interface Invoked {
  readonly payload: string
  /** `X-Amz-Function-Error`. */
  readonly functionError: string | undefined
  readonly requestId: string | undefined
}

export interface Expected {
  /** What is no structured response is the result itself. */
  readonly bare: boolean
  /** The tool that was asked for by name; another one's answer is none. */
  readonly tool: string | undefined
  /** Whether the message of an exception may be shown. */
  readonly showErrors: boolean
}

export interface Answer {
  readonly result: unknown
  /** What the function says it took. */
  readonly executionTimeMs: number | undefined
}

/** Reads an answer. */
export const read = (invoked: Invoked, expected: Expected): Result.Result<Answer, LambdaError> => {
  const { functionError, requestId } = invoked
  const parsed = parse(invoked.payload)
  if (functionError !== undefined) {
    return Result.fail(
      fromFunction(
        Result.getOrElse(parsed, () => undefined),
        requestId,
        expected.showErrors
      )
    )
  }
  if (Result.isFailure(parsed)) return refuse("it is not JSON", { requestId })
  const payload = parsed.success
  if (!isStructured(payload)) {
    return expected.bare
      ? Result.succeed({ result: payload, executionTimeMs: undefined })
      : refuse('it has no field "success"', { requestId })
  }
  const decoded = decode(payload)
  if (Result.isFailure(decoded)) {
    return refuse("its fields are not of the structured response's types", { requestId })
  }
  const { error, execution_time_ms, success, tool_name } = decoded.success
  if (expected.tool !== undefined && typeof tool_name === "string" && tool_name !== expected.tool) {
    return refuse("it is of another tool", { requestId })
  }
  if (!success) {
    const { message, type } = typeof error === "string" ? { message: error, type: undefined } : (error ?? {})
    return Result.fail(
      make("rejected", { requestId, says: message ?? undefined, errorType: type ?? undefined })
    )
  }
  return Result.succeed({
    result: decoded.success.result ?? null,
    executionTimeMs: execution_time_ms ?? undefined
  })
}

const decode = Schema.decodeUnknownResult(Response)

const refuse = (says: string, details: Details): Result.Result<never, LambdaError> =>
  Result.fail(make("invalid_response", { ...details, says }))

// A function without a result answers with nothing at all.
const parse = (payload: string): Result.Result<unknown, unknown> =>
  payload === "" ? Result.succeed(null) : Result.try(() => JSON.parse(payload) as unknown)

const isStructured = (payload: unknown): boolean =>
  typeof payload === "object" && payload !== null && Object.hasOwn(payload, "success")
