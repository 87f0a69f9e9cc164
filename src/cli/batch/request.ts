/** Reads a line as the request of a call. */
import * as Raw from "../../internal/raw.ts"
import { type BatchRequest, batchRequestOf } from "../../internal/request.ts"
import * as Validation from "../../Validation.ts"
import type { Line } from "./Line.ts"

/** What is no JSON is a request too, refused as such, so that it has its outcome and leaves its record. */
export const requestOf = ({ number, problem, text }: Line): BatchRequest => {
  if (problem !== undefined) return refused(number, problem)
  let call: unknown
  try {
    call = JSON.parse(text)
  } catch (cause) {
    return refused(number, whyNotJson(cause))
  }
  return batchRequestOf(call)
}

const refused = (line: number, why: string): BatchRequest => ({
  critical: undefined,
  request: {
    door: "batch",
    tool: "",
    params: Raw.nothing,
    refused: Validation.invalidParams([
      { path: [], expected: "a call as JSON", found: "text", message: `Line ${line} cannot be read: ${why}` }
    ])
  }
})

/** The engine's own words quote the text, which may hold a secret: only the place is taken from them. */
const whyNotJson = (cause: unknown): string => {
  const at = cause instanceof Error ? /at position (\d+)/.exec(cause.message)?.[1] : undefined
  return at === undefined ? "it is not JSON" : `it is not JSON, at character ${Number(at) + 1}`
}
