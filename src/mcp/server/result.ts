/**
 * How a call ended, as an MCP client reads it.
 *
 * A success is structured content and its text, which is cut where `execute`
 * would cut it. A refusal is a result with `isError`: the code, one sentence that
 * tells no value, and what to do; and for programs the same in `_meta`. Nothing
 * here knows a cause.
 */
import * as McpSchema from "effect/ai/McpSchema"
import type * as Prompt from "effect/ai/Prompt"
import * as Duration from "effect/Duration"
import * as Base64 from "effect/encoding/Base64"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { CallRecord } from "../../CallRecord.ts"
import type { Outcome } from "../../internal/call.ts"
import type { CompiledTool } from "../../internal/kernel.ts"
import { capped } from "../../internal/result.ts"
import { anonymous } from "../../Principal.ts"
import { messageOf, type Reason, retryAfterOf, table } from "../../ToolError.ts"
import { CallResult, type Part, PassesContent } from "../Content.ts"
import { annotationOf, listingOf } from "./listing.ts"

type Content = McpSchema.CallToolResult["content"]

/** What a result is written for. */
export interface Reader {
  readonly protocolVersion: string
  readonly maxBytes: number
}

// --- What the tool has said ------------------------------------------------

/** The tool's success as a result; or what it must ask the client first. */
export const successOf = (
  tool: CompiledTool,
  { encoded, value }: Outcome,
  reader: Reader
): McpSchema.CallToolResult | McpSchema.InputRequired => {
  if (passesContent(tool)) return passedOn(encoded, reader, false)
  const { toModelOutput } = tool.facts.tool
  return new McpSchema.CallToolResult({
    content:
      toModelOutput === undefined
        ? textsOf(encoded, reader)
        : toModelOutput(value).flatMap((part) => shown(partOf(part), reader)),
    structuredContent: structuredOf(tool, encoded)
  })
}

/** The tool's own failure: it is the tool's to say, and a model's to read. */
export const failureOf = (
  tool: CompiledTool | undefined,
  failure: unknown,
  reader: Reader,
  about: Readonly<Record<string, unknown>>
): McpSchema.CallToolResult => {
  const passed =
    tool !== undefined && passesContent(tool) && isCallResult(failure) && !isTooDeep(failure)
      ? passedOn(failure, reader, true)
      : undefined
  return passed instanceof McpSchema.CallToolResult
    ? new McpSchema.CallToolResult({ ...passed, _meta: { ...passed._meta, ...about } })
    : new McpSchema.CallToolResult({ isError: true, content: textsOf(failure, reader), _meta: about })
}

const passesContent = (tool: CompiledTool): boolean =>
  annotationOf(tool.facts.tool, PassesContent) !== undefined

const isCallResult = Schema.is(CallResult)

const passedOn = (
  result: unknown,
  reader: Reader,
  isError: boolean
): McpSchema.CallToolResult | McpSchema.InputRequired => {
  const { content, inputRequests, requestState, ...rest } = result as CallResult
  if (inputRequests !== undefined || requestState !== undefined) {
    const asks = { inputRequests, requestState } as ConstructorParameters<typeof McpSchema.InputRequired>[0]
    return reader.protocolVersion >= asksByResult ? new McpSchema.InputRequired(asks) : cannotAsk
  }
  if (isTooDeep(rest)) throw tooDeep
  return new McpSchema.CallToolResult({
    ...rest,
    content: content.flatMap((part) => shown(part, reader)),
    ...(isError ? { isError } : {})
  })
}

/** The first version in which a result may ask for input. */
export const asksByResult = "2026-07-28"

const cannotAsk = new McpSchema.CallToolResult({
  isError: true,
  content: [
    McpSchema.TextContent.make({
      text: `The tool must ask its client for input, which it cannot over this version of the protocol: connect with ${asksByResult}.`
    })
  ]
})

/** What a client was promised, and objects, which every version can carry. */
const structuredOf = (tool: CompiledTool, encoded: unknown): unknown => {
  const isPromised = listed(tool).outputSchema !== undefined
  if (typeof encoded !== "object" && !isPromised) return undefined
  if (!isTooDeep(encoded)) return encoded
  if (isPromised) throw tooDeep
  return undefined
}

/** Who writes what is nested far deeper runs out of stack, and then the client hears nothing at all. */
const isTooDeep = (value: unknown, levels = 500): boolean =>
  typeof value === "object" &&
  value !== null &&
  (levels === 0 || Object.values(value).some((part) => isTooDeep(part, levels - 1)))

const tooDeep = new RangeError("The result is nested too deeply to be sent")

const listed = (tool: CompiledTool): McpSchema.Tool => {
  const known = listings.get(tool)
  if (known !== undefined) return known
  const listing = listingOf(tool.facts)
  listings.set(tool, listing)
  return listing
}
const listings = new WeakMap<CompiledTool, McpSchema.Tool>()

// --- Content ---------------------------------------------------------------

const textOf = (text: string) => McpSchema.TextContent.make({ text })

/** A string as it is, anything else as JSON; nothing for nothing. */
const textsOf = (encoded: unknown, { maxBytes }: Reader): Content => {
  if (encoded === undefined) return []
  const { truncated, value } = capped(encoded, maxBytes)
  const text = typeof value === "string" ? value : JSON.stringify(value)
  return [textOf(truncated === true ? `${text} [truncated]` : text)]
}

const decodePart = Schema.decodeUnknownOption(McpSchema.ContentBlock)

/** Versions that know a kind of content since then. */
const since: Readonly<Record<string, string>> = { audio: "2025-03-26", resource_link: "2025-06-18" }

/** A part as Effect has it; in words where the client's version has no such part, or it is none. */
const shown = (part: Part, { protocolVersion }: Reader): Content => {
  const type = String(part.type)
  if (protocolVersion < (since[type] ?? "")) return [textOf(inWords(part))]
  return [Option.getOrElse(decodePart(part), () => textOf(inWords(part)))]
}

const inWords = ({ mimeType, name, type, uri }: Part): string =>
  type === "resource_link"
    ? `${String(name)}: ${String(uri)}`
    : `[${[type, mimeType].filter((word) => typeof word === "string").join(" ")} that cannot be shown here]`

/** A result before the last one, as a line for people. */
export const summaryOf = (encoded: unknown): string | undefined => {
  if (encoded === undefined) return undefined
  const value = isCallResult(encoded) ? encoded.content.map(({ text }) => text ?? "").join(" ") : encoded
  const text = typeof value === "string" ? value : JSON.stringify(value)
  return text.length > longestSummary ? `${text.slice(0, longestSummary)}…` : text
}
const longestSummary = 500

/** What a tool shows to models, as parts of MCP. */
const partOf = (part: Prompt.ToolModelOutputPart): Part => {
  if (part.type === "text") return { type: "text", text: part.text }
  const { data, fileName = "file", mediaType } = part
  if (data instanceof URL)
    return { type: "resource_link", uri: data.href, name: fileName, mimeType: mediaType }
  const base64 = typeof data === "string" ? data : Base64.encode(data)
  const kind = mediaType.split("/")[0]
  return kind === "image" || kind === "audio"
    ? { type: kind, data: base64, mimeType: mediaType }
    : {
        type: "resource",
        resource: { uri: `attachment:${encodeURIComponent(fileName)}`, mimeType: mediaType, blob: base64 }
      }
}

// --- Refusals --------------------------------------------------------------

/** What programs may want to know of a call that did not succeed. */
export const aboutOf = (reason: Reason, { callId }: CallRecord): Readonly<Record<string, unknown>> => {
  const { code, status } = table[reason._tag]
  const retryAfter = retryAfterOf(reason)
  return {
    "interlock/callId": callId,
    "interlock/status": status,
    "interlock/code": code,
    ...(retryAfter === undefined ? {} : { "interlock/retryAfterMs": Duration.toMillis(retryAfter) }),
    ...(reason._tag === "PendingConfirmation"
      ? { "interlock/request": reason.request, "interlock/expiresAt": reason.expiresAt }
      : {})
  }
}

/** A refusal or a breakdown, for whoever must go on from here. */
export const refusalOf = (reason: Reason, outcome: Outcome, record: CallRecord): McpSchema.CallToolResult =>
  new McpSchema.CallToolResult({
    isError: true,
    content: [textOf(wordsOf(reason, outcome, record))],
    _meta: aboutOf(reason, record)
  })

/** The code, the sentence, and what to do. */
export const wordsOf = (reason: Reason, outcome: Outcome, record: Pick<CallRecord, "principal">): string =>
  [`${table[reason._tag].code}: ${messageOf(reason)}`, ...whatToDo(reason, outcome, record)].join(" ")

const whatToDo = (
  reason: Reason,
  { outcomeUnknown = false }: Outcome,
  { principal }: Pick<CallRecord, "principal">
): ReadonlyArray<string> => {
  switch (reason._tag) {
    case "PermissionDenied":
    case "PolicyDenied":
    case "ArgumentsScreened":
    case "ApprovalRejected":
      return ["Making the same call again will not help."]
    case "InvalidParams":
    case "ArgumentsRefused":
      return ["Correct the arguments and call again."]
    case "PendingConfirmation":
      return howToApprove(reason, principal)
    default:
      return outcomeUnknown ? ["Whether it took effect is unknown: look before you call again."] : []
  }
}

const howToApprove = (
  { by, expiresAt, request }: Extract<Reason, { readonly _tag: "PendingConfirmation" }>,
  principal: string
): ReadonlyArray<string> => {
  if (by === "confirm" && principal === anonymous.id) {
    return ["Nobody can confirm what an anonymous caller does: connect as somebody."]
  }
  return [
    `The request is ${request}; it stands until ${new Date(expiresAt).toISOString()}.`,
    `It is decided by that person with "interlock approvals approve ${request}", or wherever approvals are given here.`,
    "Make the same call with the same arguments after that: it then runs, once."
  ]
}
