/** What a body says, as far as a model can read it. */

export type Content =
  | { readonly format: "json"; readonly body: unknown }
  /** As it is written. */
  | { readonly format: "text"; readonly body: string }
  | { readonly format: "base64"; readonly body: string }
  | { readonly format: "none" }

/** Deeper JSON is left as text: whoever walks it next may do so by recursion. */
const maxDepth = 200

/** Reads a body by its content type. JSON that is none, or too deep, is text. */
export const read = (body: Uint8Array, contentType: string | undefined): Content => {
  if (body.length === 0) return { format: "none" }
  const text = textOf(body, contentType)
  if (text === undefined) return { format: "base64", body: Buffer.from(body).toString("base64") }
  if (isJson(typeOf(contentType))) {
    try {
      const value: unknown = JSON.parse(text)
      if (isShallow(value)) return { format: "json", body: value }
    } catch {
      // It is not what it says it is.
    }
  }
  return { format: "text", body: text }
}

/** A body as text, where its type says that it is one; where nothing is said, where it is UTF-8. */
export const textOf = (body: Uint8Array, contentType: string | undefined): string | undefined => {
  const type = typeOf(contentType)
  if (isText(type)) return decode(body, charsetOf(contentType ?? ""))
  return type === "" || type === "application/octet-stream" ? utf8(body) : undefined
}

const typeOf = (contentType: string | undefined): string =>
  /^\s*([\w.+-]+\/[\w.+-]+)/.exec(contentType ?? "")?.[1]?.toLowerCase() ?? ""

const isJson = (type: string): boolean =>
  type === "application/json" || type === "text/json" || type.endsWith("+json")

const textual = new Set(
  "ecmascript graphql javascript json jsonl ndjson sql toml x-javascript x-ndjson x-sh x-www-form-urlencoded x-yaml xml yaml"
    .split(" ")
    .map((name) => `application/${name}`)
)

const isText = (type: string): boolean =>
  type.startsWith("text/") || textual.has(type) || /\+(?:json|xml|yaml)$/.test(type)

const charsetOf = (contentType: string): string | undefined =>
  /;\s*charset\s*=\s*"?([^\s";]+)/i.exec(contentType)?.[1]

/** A byte order mark says more than the header (the Encoding standard); what no decoder knows is read as UTF-8. */
const decode = (body: Uint8Array, charset: string | undefined): string => {
  const mark = Buffer.from(body.subarray(0, 3)).toString("hex")
  const label =
    mark === "efbbbf"
      ? "utf-8"
      : mark.startsWith("fffe")
        ? "utf-16le"
        : mark.startsWith("feff")
          ? "utf-16be"
          : charset
  try {
    return new TextDecoder(label).decode(body)
  } catch {
    return new TextDecoder().decode(body)
  }
}

const utf8 = (body: Uint8Array): string | undefined => {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(body)
    return text.includes("\0") ? undefined : text
  } catch {
    return undefined
  }
}

const isShallow = (root: unknown): boolean => {
  let level: ReadonlyArray<unknown> = [root]
  for (let depth = 0; depth <= maxDepth; depth++) {
    level = level.flatMap((value) =>
      typeof value === "object" && value !== null ? Object.values(value) : []
    )
    if (level.length === 0) return true
  }
  return false
}
