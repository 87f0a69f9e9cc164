/**
 * Texts about a call as anyone may read them: reasons, problems and causes may
 * name or quote what its arguments, or its result, hide.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import * as Redaction from "../Redaction.ts"
import type { Issue } from "../ToolError.ts"
import type * as Verdict from "../Verdict.ts"
import type { Call, Request } from "./call.ts"
import type { CompiledTool, Kernel } from "./kernel.ts"
import * as Raw from "./raw.ts"

type Shows = (text: string) => string

const about = (kernel: Kernel, tool: CompiledTool, raw: Raw.Raw, result?: unknown): Shows =>
  Redaction.aboutCall(kernel.redaction, tool.redaction, Raw.read(raw), { names: tool.codec.names, result })

const aboutCall = ({ running }: Call, tool: CompiledTool, result?: unknown): Shows =>
  about(running.kernel, tool, running.raw, result)

/** A verdict on the arguments: its reasons say where something stands. */
export const shownVerdict = (call: Call, tool: CompiledTool, verdict: Verdict.Verdict): Verdict.Verdict => {
  if (verdict._tag === "Allow") return verdict
  const show = aboutCall(call, tool)
  return {
    ...verdict,
    reasons: verdict.reasons.map(({ message, rule }) => ({ rule, message: show(message) }))
  }
}

/** Findings, copies and whatever else says where something stands in the arguments or in the result. */
export const shownPlaces = <A extends { readonly path: string; readonly message?: string }>(
  call: Call,
  tool: CompiledTool,
  places: ReadonlyArray<A>,
  result?: unknown
): ReadonlyArray<A> => {
  if (places.length === 0) return places
  const show = aboutCall(call, tool, result)
  return places.map((place) => ({
    ...place,
    path: show(place.path),
    ...(place.message === undefined ? {} : { message: show(place.message) })
  }))
}

/** Problems: names that the schema does not know may be secrets. */
export const shownIssues = (
  call: Call,
  tool: CompiledTool,
  issues: ReadonlyArray<Issue>,
  result?: unknown
): ReadonlyArray<Issue> => {
  const foreign = (key: string | number) => typeof key === "string" && !tool.codec.names.has(key)
  if (!issues.some(({ path }) => path.some(foreign))) return issues
  const show = aboutCall(call, tool, result)
  return issues.map((issue) => ({
    ...issue,
    path: issue.path.map((key) => (typeof key === "string" ? show(key) : key)),
    message: show(issue.message)
  }))
}

/** Tells operators what died in a handler, or in what somebody has said about the tool. */
export const reportCause = (
  call: Call,
  tool: CompiledTool | undefined,
  cause: Cause.Cause<unknown>,
  result?: unknown
): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    // In an outage every call has one, and what it may say is dear to find out.
    if (fiber.getRef(ErrorReporter.CurrentErrorReporters).size === 0) return Exit.void
    const show = tool === undefined ? call.running.kernel.redaction.text : aboutCall(call, tool, result)
    return ErrorReporter.report(Redaction.cause(cause, show))
  })

/** Tells operators what died beside a call: who looks on at a batch, or what shows a result to a model. */
export const reportBeside = (
  kernel: Kernel,
  { params, tool: name }: Pick<Request, "params" | "tool">,
  result: unknown,
  cause: Cause.Cause<unknown>
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const tool = kernel.tools.get(name)
    const show = tool === undefined ? kernel.redaction.text : about(kernel, tool, params, result)
    return ErrorReporter.report(Redaction.cause(cause, show))
  })
