/** Reads what comes from outside as the request of a call. */
import * as Tool from "effect/ai/Tool"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { Door } from "../CallRecord.ts"
import { maxName, ToolCall } from "../ToolCall.ts"
import type { Issue } from "../ToolError.ts"
import * as Validation from "../Validation.ts"
import type { Request } from "./call.ts"
import { lazily } from "./lazily.ts"
import * as Raw from "./raw.ts"

// A call from outside is checked as arguments are: what the schema does not know could otherwise loosen a rule.
const callCodec = lazily(() => Validation.compile(Tool.make("execute", { parameters: ToolCall })))
const problemsOf = lazily(() => Validation.ofSchema(ToolCall))

/**
 * A call from outside, read by the schema of calls. What is no call is a request too, refused as such, so that it
 * leaves its record.
 */
export const requestOf = (door: Door, call: unknown, onProgress?: Request["onProgress"]): Request => {
  try {
    const plain = plainRequest(door, call, onProgress)
    if (plain !== undefined) return plain
    // The schema of a call waits for nothing, so its outcome is known at once.
    const decoded = callCodec().decode(call) as Exit.Exit<unknown, ReadonlyArray<Issue>>
    if (Exit.isSuccess(decoded)) {
      const known = decoded.value as ToolCall
      return { ...known, params: Raw.of(known.params), door, onProgress }
    }
    const problems = problemsOf()(call)
    return notACall(
      door,
      problems.length > 0 ? problems : Option.getOrElse(Exit.findErrorOption(decoded), () => [])
    )
  } catch {
    return notACall(door, [])
  }
}

/** A call of a name, arguments and an id, as most are: the schema of calls has nothing more to say of it. */
const plainRequest = (door: Door, call: unknown, onProgress?: Request["onProgress"]): Request | undefined => {
  if (typeof call !== "object" || call === null || Object.getPrototypeOf(call) !== Object.prototype) return
  let tool: string | undefined
  let id: string | undefined
  let params: unknown
  for (const key in call) {
    const property = Object.getOwnPropertyDescriptor(call, key)
    // What is computed is read once, by the schema.
    if (property === undefined || !("value" in property)) return
    const value: unknown = property.value
    if (key === "params") params = value
    else if (typeof value !== "string" || value.length > maxName) return
    else if (key === "tool") tool = value
    else if (key === "id" && value !== "") id = value
    else return
  }
  return tool === undefined ? undefined : { door, tool, params: Raw.of(params), id, onProgress }
}

const notACall = (door: Door, issues: ReadonlyArray<Issue>): Request => ({
  door,
  tool: "",
  params: Raw.nothing,
  refused: Validation.invalidParams(issues.length > 0 ? issues : [unreadable])
})

// What throws while it is looked at is no more of a call than what is refused.
const unreadable: Issue = {
  path: [],
  expected: "a call",
  found: "object",
  message: "The call cannot be read"
}

/** A call of a batch: its request, and whether the batch can do without it. */
export interface BatchRequest {
  readonly request: Request
  readonly critical: boolean | undefined
}

export const batchRequestOf = (call: unknown): BatchRequest => {
  try {
    const plain = plainRequest("batch", call)
    if (plain !== undefined) return { request: plain, critical: undefined }
    const { critical, ...rest } = call as { readonly critical?: unknown }
    // A list has no name and no arguments; spread, it would look like an object that has none.
    const request = requestOf("batch", Array.isArray(call) ? call : rest)
    return { request, critical: typeof critical === "boolean" ? critical : undefined }
  } catch {
    return { request: requestOf("batch", call), critical: undefined }
  }
}
