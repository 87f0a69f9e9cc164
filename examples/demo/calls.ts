/**
 * The calls: a file with one JSON object per line, read as a stream. A line
 * that cannot be read is a call as well, so that it gets a result and no line
 * is lost; a file that cannot be read is an error.
 */
import { Effect, FileSystem, type PlatformError, Schema, Stream } from "effect"
import { type Principal, ToolCall } from "effect-interlock"
import { principalOf } from "./governance.ts"

/** A line of the file. */
export interface Line {
  /** From 1. */
  readonly number: number
  readonly principal: Principal.Principal
  /** The call, or whatever the line holds instead. */
  readonly call: ToolCall
  /** Why the line is no call. */
  readonly problem: string | undefined
}

/** The line is JSON; its result says what is wrong with it. */
export const notACall = "not a call"

/** The file of calls cannot be used. */
export class CallFileError extends Schema.TaggedError<CallFileError>()("CallFileError", {
  file: Schema.String,
  why: Schema.String
}) {
  override get message(): string {
    return `Cannot read the calls in "${this.file}": ${this.why}`
  }
}

/** The lines of a file; empty ones are passed over. */
export const readCalls = (file: string) =>
  Stream.unwrap(Effect.map(FileSystem.FileSystem, (fs) => fs.stream(file))).pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.zipWithIndex,
    Stream.filter(([text]) => text.trim() !== ""),
    Stream.map(([text, index]) => toLine(text, index + 1)),
    Stream.mapError((error) => new CallFileError({ file, why: explain(error) }))
  )

/** How many calls the file holds; none at all is an error. */
export const countCalls = (file: string) =>
  Effect.flatMap(Stream.runCount(readCalls(file)), (calls) =>
    calls === 0 ? Effect.fail(new CallFileError({ file, why: "it holds none." })) : Effect.succeed(calls)
  )

const toLine = (text: string, number: number): Line => {
  const { problem, value } = parse(text)
  if (!isRecord(value)) return { number, principal: principalOf(undefined), call: value as ToolCall, problem }
  const { as, ...call } = value
  return {
    number,
    principal: principalOf(typeof as === "string" ? as : undefined),
    // `execute` answers whatever comes, so what is no call goes to it as well.
    call: call as ToolCall,
    problem: isCall(call) ? undefined : notACall
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === "object" && !Array.isArray(value)

const isCall = Schema.is(ToolCall)

const parse = (text: string): { readonly value: unknown; readonly problem: string } => {
  try {
    return { value: JSON.parse(text), problem: notACall }
  } catch (error) {
    return { value: text, problem: `not JSON: ${(error as SyntaxError).message}` }
  }
}

const explain = ({ reason }: PlatformError.PlatformError): string => {
  switch (reason._tag) {
    case "NotFound":
      return "there is no such file."
    case "BadResource":
      return "it is not a file."
    case "PermissionDenied":
      return "it may not be read."
    default:
      return reason.message
  }
}
