/** What a response is to whoever called the tool. */
import * as Schema from "effect/Schema"
import type { OutboundResponse } from "../OutboundHttp.ts"
import * as Content from "../outbound/content.ts"

/**
 * A response with a status from 200 to 299. `body` is JSON, a text, or base64, as `format` says; there is
 * none where it is `none`.
 */
export const Response = Schema.Struct({
  status: Schema.Int,
  /** `location`, `link`, `etag`, `last-modified`, `content-location`, and those that the document describes. */
  headers: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
  contentType: Schema.optionalKey(Schema.String),
  format: Schema.Literals(["json", "text", "base64", "none"]),
  body: Schema.optionalKey(Schema.Json),
  /**
   * How large the whole body was, where it is larger than results may be: `body` is the beginning of its text
   * then.
   */
  truncatedBytes: Schema.optionalKey(Schema.Int)
})
export type Response = typeof Response.Type

/** Reads a response; `maxBytes` is how large a body may be in a result. */
export const read = (
  { body, headers, status }: OutboundResponse,
  tells: ReadonlySet<string>,
  maxBytes: number
): Response => {
  const told = Object.entries(headers).filter(([name]) => tells.has(name))
  const contentType = headers["content-type"]
  return {
    status,
    ...(told.length === 0 ? {} : { headers: Object.fromEntries(told) }),
    ...(contentType === undefined ? {} : { contentType }),
    ...(contentOf(body, contentType, maxBytes) as Pick<Response, "format" | "body" | "truncatedBytes">)
  }
}

const contentOf = (body: Uint8Array, contentType: string | undefined, maxBytes: number) => {
  if (body.length <= maxBytes) return Content.read(body, contentType)
  let end = maxBytes
  // Not within a character of UTF-8.
  while (end > 0 && (body[end]! & 0xc0) === 0x80) end--
  const content = Content.read(body.subarray(0, end), contentType)
  const truncatedBytes = body.length
  // A part of anything but a text says nothing.
  return content.format === "text" ? { ...content, truncatedBytes } : { format: "none", truncatedBytes }
}
