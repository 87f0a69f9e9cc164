/** What calls are given as and come to, in every command that makes one. */
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import { Stdio } from "effect/Stdio"
import * as Stream from "effect/Stream"
import { plainJson } from "../internal/plainText.ts"
import { isUsable, type ToolResult } from "../ToolResult.ts"
import { complain, end, ofStatus } from "./ExitCode.ts"
import * as Output from "./Output.ts"

/** Arguments as they were typed, or as stdin has them where they are `-`. */
export const paramsOf = Effect.fnUntraced(function* (typed: string) {
  const text = typed === "-" ? yield* Stream.mkString(Stream.decodeText((yield* Stdio).stdin)) : typed
  return yield* Effect.try({ try: () => JSON.parse(text) as unknown, catch: (cause) => cause }).pipe(
    Effect.catch((cause) =>
      complain("usage", `The arguments are not JSON: ${cause instanceof Error ? cause.message : cause}`)
    )
  )
})

// --- Shown -----------------------------------------------------------------

/** Texts as they are, what MCP servers answer as its parts, and everything else as JSON. */
const text = (value: unknown): string =>
  typeof value === "string" ? value : (partsOf(value)?.map(part).join("\n") ?? plainJson(value, 2) ?? "")

interface Part {
  readonly type: string
  readonly text?: unknown
  readonly mimeType?: unknown
}

const partsOf = (value: unknown): ReadonlyArray<Part> | undefined => {
  const content = (value as { readonly content?: unknown } | null)?.content
  const isPart = (part: unknown) => typeof (part as Partial<Part> | null)?.type === "string"
  return Array.isArray(content) && content.length > 0 && content.every(isPart) ? content : undefined
}

const part = ({ mimeType, text, type }: Part): string =>
  typeof text === "string" ? text : `[${type}${typeof mimeType === "string" ? ` ${mimeType}` : ""}]`

/** What governance says of the call, and what a tool says of its own failure. */
const failureOf = ({ error }: ToolResult): string => {
  if (error === undefined) return "It has not run."
  const failure = error.reason._tag === "ToolFailed" ? error.reason.failure : undefined
  const message = (failure as { readonly message?: unknown } | undefined)?.message
  const said = typeof message === "string" ? message : failure === undefined ? "" : text(failure)
  return [error.message, ...(said === "" ? [] : said.split("\n"))]
    .map((line) => Output.cell(line, 2_000))
    .join("\n  ")
}

/** Prints the value, or why there is none, and ends as the status says. */
export const showResult = Effect.fnUntraced(function* (result: ToolResult) {
  // A pipe gets a text as it is; on a terminal it must not act.
  const show = (yield* (yield* Stdio).stdoutIsTerminal) ? Output.lines : identity<string>
  yield* Output.print(result, ({ status, value }, paint) =>
    isUsable(result) ? show(text(value ?? null)) : `${paint.red(status)}  ${failureOf(result)}`
  )
  yield* end(ofStatus[result.status])
})
