/** Where a document comes from: a file, a URL, or the program itself. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { Json } from "../../internal/jsonSchema/facts.ts"
import { OutboundHttp } from "../OutboundHttp.ts"
import * as Content from "../outbound/content.ts"
import * as Document from "./document.ts"
import { OpenApiError } from "./error.ts"

export interface Source {
  readonly document: Document.Document
  readonly url: string | undefined
}

/** Files larger than this are not read; what comes over HTTP is limited by `OutboundHttp`. */
const maxFileBytes = 64 * 1024 * 1024

const unread = (at: string, problem: string) => new OpenApiError({ reason: "read", at, problem })

/** The document that the option means. */
export const load = Effect.fnUntraced(function* (
  given: string | Json,
  credential: string | undefined
): Effect.fn.Return<Source, OpenApiError, OutboundHttp | FileSystem.FileSystem> {
  const isUrl = typeof given === "string" && /^https?:\/\//i.test(given)
  const text =
    typeof given !== "string" ? undefined : yield* isUrl ? download(given, credential) : readFile(given)
  const document = Document.attempt(() => Document.make(text === undefined ? given : Document.parse(text)))
  if (document instanceof Document.Unusable) {
    return yield* new OpenApiError({ reason: "document", at: document.pointer, problem: document.why })
  }
  return { document, url: isUrl ? given : undefined }
})

const readFile = Effect.fnUntraced(function* (path: string) {
  const fs = yield* FileSystem.FileSystem
  return yield* Effect.gen(function* () {
    const { size } = yield* fs.stat(path)
    if (size > maxFileBytes) return yield* unread(path, `the file is larger than ${maxFileBytes} bytes`)
    return yield* fs.readFileString(path)
  }).pipe(
    Effect.catchTag("PlatformError", ({ reason }) =>
      Effect.fail(
        unread(path, reason._tag === "NotFound" ? "there is no such file" : "the file cannot be read")
      )
    )
  )
})

const download = Effect.fnUntraced(function* (url: string, credential: string | undefined) {
  const http = yield* OutboundHttp
  const headers = {
    accept:
      "application/openapi+json, application/openapi+yaml, application/json, application/yaml, */*;q=0.1"
  }
  const response = yield* Effect.mapError(
    http.request({ method: "GET", url, headers, credential }),
    ({ message }) => unread(url, message)
  )
  if (response.status !== 200) return yield* unread(url, `the server answered with status ${response.status}`)
  // As text, whatever it says it is.
  const content = Content.read(response.body, "text/plain")
  return content.format === "text" ? content.body : ""
})
