/**
 * Reads parameters as a server does that knows how they are declared: it splits first, and decodes what is
 * between the separators.
 */
export type Parsed = string | ReadonlyArray<string> | Readonly<Record<string, string>>

export interface Declared {
  readonly location: string
  readonly style: string
  readonly explode: boolean
  readonly name: string
  readonly kind: "primitive" | "array" | "object"
}

/** The value of the one parameter of a request to `/at`, or to `/at/{…}`. */
export const parse = (
  declared: Declared,
  target: string,
  headers: ReadonlyMap<string, ReadonlyArray<string>>
): Parsed => {
  const mark = target.indexOf("?")
  switch (declared.location) {
    case "path": {
      const segments = target.split("?")[0]!.split("/")
      // A value stays in its segment.
      if (segments.length !== 3 || segments[1] !== "at") throw new Error(`the path is ${target}`)
      return path(declared, segments[2]!)
    }
    case "query":
      return query(declared, mark === -1 ? "" : target.slice(mark + 1))
    case "header":
      return separated(declared, headers.get(declared.name)?.[0] ?? "", ",", (text) => text)
    default:
      return cookies(declared, headers.get("cookie")?.[0] ?? "")
  }
}

const decode = decodeURIComponent

const record = (entries: ReadonlyArray<readonly [string, string]>): Readonly<Record<string, string>> =>
  Object.fromEntries(entries)

/** `key=value` of an exploded object; what has no value has an empty one. */
const pair = (text: string, read: (text: string) => string): readonly [string, string] => {
  const at = text.indexOf("=")
  return at === -1 ? [read(text), ""] : [read(text.slice(0, at)), read(text.slice(at + 1))]
}

const separated = (
  { explode, kind }: Declared,
  text: string,
  separator: string,
  read: (text: string) => string
): Parsed => {
  if (kind === "primitive") return read(text)
  const parts = text.split(separator)
  if (kind === "array") return parts.map(read)
  if (explode) return record(parts.map((part) => pair(part, read)))
  const flat = parts.map(read)
  return record(
    flat.flatMap((key, index) => (index % 2 === 0 ? [[key, flat[index + 1] ?? ""] as const] : []))
  )
}

const path = (declared: Declared, segment: string): Parsed => {
  const { explode, kind, name, style } = declared
  if (style === "simple") return separated(declared, segment, ",", decode)
  if (style === "label") return separated(declared, segment.slice(1), explode ? "." : ",", decode)
  const pairs = segment
    .slice(1)
    .split(";")
    .map((part) => pair(part, (text) => text))
  if (!explode || kind === "primitive")
    return separated({ ...declared, explode: false }, pairs[0]![1], ",", decode)
  if (kind === "array") return pairs.map(([key, value]) => (key === name ? decode(value) : "another name"))
  return record(pairs.map(([key, value]) => [decode(key), decode(value)]))
}

const query = (declared: Declared, text: string): Parsed => {
  const { explode, kind, name, style } = declared
  const pairs = text.split("&").map((part) => pair(part, (one) => one))
  const own = pairs.filter(([key]) => decode(key) === name).map(([, value]) => value)
  if (style === "deepObject") {
    const inside = new RegExp(`^${name}\\[([^\\]]*)\\]$`, "su")
    return record(
      pairs.map(([key, value]) => [inside.exec(decode(key))?.[1] ?? "another name", decode(value)])
    )
  }
  if (kind === "primitive") return decode(own[0]!)
  if (explode)
    return kind === "array"
      ? own.map(decode)
      : record(pairs.map(([key, value]) => [decode(key), decode(value)]))
  const separator = { form: ",", spaceDelimited: "%20", pipeDelimited: "%7C" }[style]!
  return separated(declared, own[0]!, separator, decode)
}

const cookies = (declared: Declared, header: string): Parsed => {
  const { explode, kind, name } = declared
  const pairs = header.split("; ").map((part) => pair(part, (one) => one))
  if (explode && kind === "object") return record(pairs.map(([key, value]) => [key, decode(value)]))
  const own = pairs.find(([key]) => key === name)?.[1] ?? ""
  return separated({ ...declared, explode: false }, own, ",", decode)
}
