/** Media types, as far as it matters how their values are written. */

export type Kind = "json" | "form" | "multipart" | "text" | "binary"

/** The type without parameters, in lower case. */
export const essence = (type: string): string => type.split(";", 1)[0]!.trim().toLowerCase()

const texts = new Set([
  "application/xml",
  "application/yaml",
  "application/x-yaml",
  "application/javascript",
  "application/graphql",
  "application/sql",
  "application/x-ndjson",
  "application/ndjson",
  "application/jsonl",
  "application/toml",
  "image/svg+xml"
])

/** How a value of this type is written. A range (`*` + `/*`) may be JSON, which is what most who write one mean. */
export const kindOf = (type: string): Kind => {
  const name = essence(type)
  if (name === "application/json" || name.endsWith("+json") || name === "*/*" || name === "application/*") {
    return "json"
  }
  if (name === "application/x-www-form-urlencoded") return "form"
  if (name === "multipart/form-data") return "multipart"
  return name.startsWith("text/") || name.endsWith("+xml") || name.endsWith("+yaml") || texts.has(name)
    ? "text"
    : "binary"
}

/** The type as it is sent: as the document writes it, where it is one. Texts are sent in UTF-8, and say so. */
export const sent = (type: string): string => {
  if (type.includes("*")) return "application/json"
  if (!/^ *text\//i.test(type)) return type.trim()
  return `${type.replace(/; *charset=[^;]*/gi, "").trim()}; charset=utf-8`
}

/** Whether it is one type, with parameters that a header can hold. */
export const isType = (type: string): boolean =>
  type.length <= 200 &&
  /^[!#$&^_.+\w-]+\/[!#$&^_.+\w-]+ *(?:; *[\w-]+=(?:[!#$%&'*+.^_`|~\w-]+|"[ !#-[\]-~]*") *)*$/.test(type)
