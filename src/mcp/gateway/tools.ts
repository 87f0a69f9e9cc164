/** Tools of another server, as tools of this one. */
import * as Tool from "effect/ai/Tool"
import * as ToolAnnotations from "../../ToolAnnotations.ts"
import type { Implemented } from "../../Toolset.ts"
import { type CallResult, CallResult as CallResultSchema, PassesContent } from "../Content.ts"
import { type ServerConfig, sendsData } from "./config.ts"
import { type Claims, type Definition, parametersOf } from "./definitions.ts"
import { classify } from "./errors.ts"

/** What runs a tool: an Effect of its result, or of a failure that is one. */
export type Handler = Implemented["handler"]

/** The tool under the name that it has here, with what its server and its operator say of it. */
export const offered = (
  exposed: string,
  definition: Definition,
  config: ServerConfig,
  handler: Handler
): Implemented => {
  const { annotations, description, name, outputSchema, title } = definition
  const described = Tool.dynamic(exposed, {
    ...(description === undefined ? {} : { description }),
    parameters: parametersOf(definition),
    success: CallResultSchema,
    failure: CallResultSchema,
    // A failure of the server's is an answer to a model, and no end of its turn.
    failureMode: "return"
  })
    .annotate(ToolAnnotations.UpstreamName, name)
    .annotate(ToolAnnotations.Trust, config.trustResults === true ? "trusted" : "untrusted")
    .annotate(ToolAnnotations.Classify, classify)
    .annotate(PassesContent, { outputSchema })
  const { capabilities, timeout } = config
  const sends = sendsData(config)
  const hints = believed(annotations ?? {}, config.trustAnnotations === true)
  let tool: Tool.Any = described
  const say = <I, S>(key: Parameters<typeof described.annotate<I, S>>[0], value: S | undefined): void => {
    if (value !== undefined) tool = (tool as typeof described).annotate(key, value) as Tool.Any
  }
  say(Tool.Title, title ?? annotations?.title)
  say(Tool.Readonly, hints.readOnlyHint)
  say(Tool.Destructive, hints.destructiveHint)
  say(Tool.Idempotent, hints.idempotentHint)
  say(Tool.OpenWorld, hints.openWorldHint)
  say(ToolAnnotations.Capabilities, capabilities)
  say(ToolAnnotations.Timeout, timeout)
  say(ToolAnnotations.SendsData, sends)
  return { tool, handler }
}

/** What of a server's claims counts: of one that is not believed, only what makes its tools more dangerous. */
export const believed = (claims: Claims, isTrusted: boolean): Claims =>
  isTrusted
    ? claims
    : {
        ...(claims.readOnlyHint === false ? { readOnlyHint: false } : {}),
        ...(claims.destructiveHint === true ? { destructiveHint: true } : {}),
        ...(claims.idempotentHint === false ? { idempotentHint: false } : {}),
        ...(claims.openWorldHint === true ? { openWorldHint: true } : {})
      }

/** What stands in the place of a tool that is not the accepted one any more: it says so, and nothing else. */
export const withdrawn = (
  exposed: string,
  name: string,
  failure: CallResult,
  fail: Handler
): Implemented => ({
  tool: Tool.dynamic(exposed, {
    description: "Not available: its definition has changed, and nobody has accepted the new one yet.",
    parameters: { type: "object" },
    success: CallResultSchema,
    failure: CallResultSchema,
    failureMode: "return"
  })
    .annotate(ToolAnnotations.UpstreamName, name)
    .annotate(ToolAnnotations.Classify, () => classify(failure))
    .annotate(PassesContent, {}),
  handler: fail
})
