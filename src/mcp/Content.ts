/**
 * Results that are MCP's own: texts beside images, sounds, resources and links,
 * as they go over the wire.
 *
 * A tool whose result is one says so with `PassesContent`, and has `CallResult`
 * as its success schema; where it fails with one, as its failure schema, too.
 * The server then hands content and structured content on as they are. The tools
 * of other servers are made so, and tools of your own that answer with more than
 * JSON:
 *
 *     Tool.make("plot", { parameters, success: Content.CallResult })
 *       .annotate(Content.PassesContent, {})
 *
 *     plot: ({ series }) => ({ content: [Content.image(draw(series), "image/png")] })
 */
import * as Context from "effect/Context"
import * as Base64 from "effect/encoding/Base64"
import type * as JsonSchema from "effect/JsonSchema"
import * as Schema from "effect/Schema"

// --- Results ---------------------------------------------------------------

const JsonObject = Schema.Record(Schema.String, Schema.Json)

/** A part of a result as MCP writes it; `type` says which, binary data is base64. */
export const Part = JsonObject
export type Part = typeof Part.Type

/** A result as MCP writes it. */
export const CallResult = Schema.Struct({
  content: Schema.Array(Part),
  structuredContent: Schema.optionalKey(Schema.Json),
  _meta: Schema.optionalKey(JsonObject),
  /**
   * What the tool must first ask of the client, by names of its own (protocol 2026-07-28): the client answers by making
   * the call again. Clients of earlier protocols are told that theirs cannot.
   */
  inputRequests: Schema.optionalKey(JsonObject),
  /** What comes back with the answers as it was: it is sealed for the call, and no client can read or change it. */
  requestState: Schema.optionalKey(Schema.String)
})
export type CallResult = typeof CallResult.Type

// --- Annotations -----------------------------------------------------------

/** Says that the tool's encoded result is an MCP result, and what its structured content looks like. */
export class PassesContent extends Context.Service<
  PassesContent,
  { readonly outputSchema?: JsonSchema.JsonSchema | undefined }
>()("interlock/mcp/PassesContent") {}

/** A picture that clients may show for a tool. */
export interface Icon {
  /** An `https` or a `data` URI. */
  readonly src: string
  readonly mimeType?: string | undefined
  /** Such as `48x48` or `any`. */
  readonly sizes?: ReadonlyArray<string> | undefined
  readonly theme?: "light" | "dark" | undefined
}

/** The tool's icons. */
export class Icons extends Context.Service<Icons, ReadonlyArray<Icon>>()("interlock/mcp/Icons") {}

// --- Parts -----------------------------------------------------------------

/** Bytes, or base64 as MCP has it. */
export type Data = Uint8Array | string

const base64 = (data: Data): string => (typeof data === "string" ? data : Base64.encode(data))

export const text = (text: string): Part => ({ type: "text", text })

export const image = (data: Data, mimeType: string): Part => ({ type: "image", data: base64(data), mimeType })

export const audio = (data: Data, mimeType: string): Part => ({ type: "audio", data: base64(data), mimeType })

/** A resource with its contents: a text, or bytes. */
export const resource = (options: {
  readonly uri: string
  readonly mimeType?: string
  readonly contents: string | Uint8Array
}): Part => {
  const { contents, ...about } = options
  const held = typeof contents === "string" ? { text: contents } : { blob: base64(contents) }
  return { type: "resource", resource: { ...about, ...held } }
}

/** A resource that the client may read by itself. */
export const link = (options: {
  readonly uri: string
  readonly name: string
  readonly description?: string
  readonly mimeType?: string
}): Part => ({ type: "resource_link", ...options })
