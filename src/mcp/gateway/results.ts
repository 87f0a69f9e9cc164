/** What came back from a tool of another server, checked before anyone relies on it. */
import * as Result from "effect/Result"
import * as ArgumentLimits from "../../internal/argumentLimits.ts"
import type { CallResult } from "../Content.ts"
import { type Definition, fits } from "./definitions.ts"

/** A result that is one. */
export interface Read {
  readonly result: CallResult
  /** The tool says that it has failed. */
  readonly isError: boolean
}

/** How deep a result may be; what walks it later is recursive. */
const limits: ArgumentLimits.ArgumentLimits = {
  bytes: Number.POSITIVE_INFINITY,
  depth: 200,
  stringLength: Number.POSITIVE_INFINITY,
  items: Number.POSITIVE_INFINITY
}

/** Reads results of a tool; or says what is wrong with one. */
export const reader = ({ outputSchema }: Definition): ((raw: unknown) => Result.Result<Read, string>) => {
  const fitsItsSchema = outputSchema === undefined ? undefined : fits(outputSchema)
  return (raw) => {
    if (!ArgumentLimits.fits(raw, limits)) return Result.fail("it is nested too deeply, or is no JSON")
    if (!isRecord(raw)) return Result.fail("it is no result of a tool")
    const { _meta, content = [], inputRequests, isError, requestState, resultType, structuredContent } = raw
    const meta = metaOf(_meta)
    if (resultType === "input_required") {
      return Result.succeed({
        isError: false,
        result: {
          content: [],
          ...meta,
          ...(isRecord(inputRequests) ? { inputRequests } : {}),
          ...(typeof requestState === "string" ? { requestState } : {})
        } as CallResult
      })
    }
    if (!Array.isArray(content) || !content.every(isPart)) return Result.fail("its content is none")
    if (isError !== true && fitsItsSchema !== undefined) {
      if (structuredContent === undefined)
        return Result.fail("it lacks the structured content that it promised")
      if (!fitsItsSchema(structuredContent))
        return Result.fail("its structured content does not fit its own schema")
    }
    return Result.succeed({
      isError: isError === true,
      result: {
        content,
        ...meta,
        ...(structuredContent === undefined ? {} : { structuredContent })
      } as CallResult
    })
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === "object" && !Array.isArray(value)

const isPart = (part: unknown): boolean => isRecord(part) && typeof part["type"] === "string"

/** Not what this gateway says of its calls itself, nor what the protocol says of the server that answers: that is this one. */
const reserved = /^(?:interlock|(?:[a-z0-9.-]+\.)?(?:modelcontextprotocol|mcp)(?:\.[a-z0-9.-]+)?)\//

const metaOf = (meta: unknown): { readonly _meta?: Record<string, unknown> } => {
  if (!isRecord(meta)) return {}
  const own = Object.entries(meta).filter(([key]) => !reserved.test(key))
  return own.length === 0 ? {} : { _meta: Object.fromEntries(own) }
}
