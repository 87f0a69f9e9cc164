/**
 * What governance looks at in arguments, written by hand and shared by the peers that need it: limits on their size, a
 * private copy, the hosts they name, what screening looks for, a strict decoder. All of it is one pass over the
 * characters, and only texts that may hold something are looked at again.
 */
import type { Params, Success } from "../convert.ts"

const maxBytes = 1_048_576
const maxDepth = 32
const maxItems = 10_000
const maxText = 262_144

// --- Plain texts -----------------------------------------------------------

/** A bit for each letter, and one for each kind of sign that a pattern or a host cannot do without. */
const telling = 1 << 26
const written = 1 << 27
const bits = new Int32Array(128)
for (let code = 0; code < 128; code++) {
  const character = String.fromCharCode(code)
  if (/[a-z]/i.test(character)) bits[code] = 1 << (character.toLowerCase().charCodeAt(0) - 97)
  else if (code < 0x20 || '"\\'.includes(character)) bits[code] = written
  if (/(?![\t\n\r])\p{Cc}|[<'"`;()*=#|@%\\./~:]/u.test(character)) bits[code]! |= telling
}

/** The letters of words that tell without any such sign. */
const words = Int32Array.from(
  ["unionselect", "drop", "truncate", "altertable", "deletefrom", "insertinto", "selectfrom", "localhost"],
  (word) => [...word].reduce((mask, letter) => mask | bits[letter.charCodeAt(0)]!, 0)
)

const mayTell = (mask: number): boolean => {
  if ((mask & telling) !== 0) return true
  for (let i = 0; i < words.length; i++) if ((mask & words[i]!) === words[i]) return true
  return false
}

/** Reads arguments from outside, one at a time. */
export class Reader {
  /** Why the last arguments are refused. */
  problem: string | undefined = undefined
  /** Texts of the last arguments, names included, that need a second look. */
  suspects: Array<string> | undefined = undefined
  #bytes = 0
  #items = 0

  /** A copy that nobody else holds; meaningless where there is a `problem`. */
  read(raw: unknown): unknown {
    this.problem = undefined
    this.suspects = undefined
    this.#bytes = 0
    this.#items = 0
    return this.#copy(raw, 0)
  }

  #copy(value: unknown, depth: number): unknown {
    switch (typeof value) {
      case "string":
        this.#text(value)
        return value
      case "number":
        if (!Number.isFinite(value)) return this.#refuse("the arguments hold a number that is not finite")
        this.#count(String(value).length)
        return value === 0 ? 0 : value
      case "boolean":
        this.#count(5)
        return value
      case "object":
        return value === null ? this.#count(4) : this.#children(value, depth)
      default:
        return this.#refuse(`the arguments hold a ${typeof value}`)
    }
  }

  #children(value: object, depth: number): unknown {
    if (depth === maxDepth) return this.#refuse(`the arguments are nested deeper than ${maxDepth} levels`)
    this.#count(2)
    if (Array.isArray(value)) {
      const items: Array<unknown> = []
      for (let i = 0; i < value.length && this.problem === undefined; i++) {
        this.#item()
        items.push(this.#copy(value[i], depth + 1))
      }
      return items
    }
    const prototype = Object.getPrototypeOf(value)
    if (prototype !== Object.prototype && prototype !== null)
      return this.#refuse("the arguments are not JSON")
    const copy: Record<string, unknown> = {}
    for (const key in value) {
      if (!Object.hasOwn(value, key)) continue
      if (key === "__proto__") return this.#refuse("the arguments hold a name that is not allowed")
      const part = (value as Record<string, unknown>)[key]
      if (part === undefined) continue
      this.#item()
      this.#text(key)
      copy[key] = this.#copy(part, depth + 1)
      if (this.problem !== undefined) return undefined
    }
    return copy
  }

  #text(text: string): void {
    const { length } = text
    if (length > maxText) this.#refuse(`a text is longer than ${maxText} characters`)
    let mask = 0
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i)
      mask |= code > 127 ? telling | written : bits[code]!
    }
    this.#count((mask & written) === 0 ? length + 2 : Buffer.byteLength(JSON.stringify(text)))
    if (mayTell(mask)) {
      if (this.suspects === undefined) this.suspects = [text]
      else this.suspects.push(text)
    }
  }

  #item(): void {
    // The comma or the colon beside it.
    this.#count(1)
    if (++this.#items > maxItems)
      this.#refuse(`the arguments hold more than ${maxItems} elements and properties`)
  }

  #count(bytes: number): null {
    this.#bytes += bytes
    if (this.#bytes > maxBytes) this.#refuse(`the arguments are larger than ${maxBytes} bytes`)
    return null
  }

  #refuse(problem: string): undefined {
    this.problem ??= problem
  }
}

// --- Hosts -----------------------------------------------------------------

const urls =
  /(?:[a-z][a-z0-9+.-]{0,63}:)?[/\\]{2,}([^/\\?#\s"'`<>]+)|\b(?:https?|wss?|ftp):([^/\\?#\s"'`<>]+)/gi
const bare = /^(?:localhost|\[[0-9a-f:.]+\]|(?:[\p{L}\p{N}_-]+\.)+[\p{L}\p{N}-]{2,})\.?(?::\d+)?$/iu

const hostsOf = (text: string): ReadonlyArray<string> => {
  const plain = text.includes("%") ? unescape(text) : text
  const found = Array.from(plain.matchAll(urls), (match) => match[1] ?? match[2] ?? "")
  if (bare.test(plain.trim())) found.push(plain.trim())
  return found.map((host) => URL.parse(`http://${host}/`)?.hostname ?? "(unreadable)")
}

const unescape = (text: string): string =>
  text.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number(`0x${hex}`)))

/** The first host that the texts name and no pattern allows; a pattern is a host, or `*.` and what it ends with. */
export const refusedHost = (
  texts: ReadonlyArray<string>,
  allowed: ReadonlyArray<string>
): string | undefined => {
  for (const text of texts) {
    const host = hostsOf(text).find(
      (host) =>
        !allowed.some((pattern) =>
          pattern.startsWith("*.") ? host.endsWith(pattern.slice(1)) : host === pattern
        )
    )
    if (host !== undefined) return host
  }
  return undefined
}

// --- Screening -------------------------------------------------------------

const unseen = /(?![\t\n\r])\p{Cc}|\p{Default_Ignorable_Code_Point}|[\ufff9-\ufffb]/u
/** Emoji are made with characters that are not seen. */
const emoji = /\p{RGI_Emoji}/gv
const latin = /\p{sc=Latin}/u
const alike = /[\p{sc=Cyrillic}\p{sc=Greek}\p{sc=Armenian}\p{sc=Cherokee}]/u
const flags: ReadonlyArray<readonly [string, RegExp]> = [
  ["path", /(?:^|[/\\])\.\.(?:[/\\]|$)|^\s*(?:\/(?:etc|proc|sys|dev|root)\b|~\w*\/\.|[a-z]:\\)/i],
  [
    "sql",
    /\b(?:union\s+select|drop\s+table|truncate\s+table|alter\s+table|delete\s+from|insert\s+into)\b|'\s*(?:or|and)\b|--\s*$/i
  ],
  ["script", /<\s*script|\bjavascript\s*:|\bdata\s*:\s*text\/html|\bdocument\s*\./i],
  ["html", /<\s*\/?\s*[a-z!]|\bon\w+\s*=/i]
]

/** What the texts are refused for, or else what is to be recorded of them. */
export const screen = (
  texts: ReadonlyArray<string>
): { readonly refused: string } | { readonly flags: ReadonlyArray<string> } => {
  const found = new Set<string>()
  for (const text of texts) {
    if (unseen.test(text) && unseen.test(text.replace(emoji, ""))) {
      return { refused: "the arguments hold a character that is not seen" }
    }
    if (latin.test(text) && alike.test(text) && hostsOf(text).some((host) => host.includes("xn--"))) {
      return { refused: "the arguments name a host that passes for another" }
    }
    for (const [name, pattern] of flags) if (pattern.test(text)) found.add(name)
  }
  return { flags: [...found] }
}

// --- Decoding and encoding -------------------------------------------------

const isCurrency = (value: unknown): value is string =>
  typeof value === "string" &&
  value.length === 3 &&
  isCapital(value, 0) &&
  isCapital(value, 1) &&
  isCapital(value, 2)
const isCapital = (text: string, at: number): boolean => {
  const code = text.charCodeAt(at)
  return code >= 65 && code <= 90
}
const isText = (value: unknown): value is string => typeof value === "string"

/** Of a private copy; strict: a name that is not the tool's is refused. */
export const decode = (copy: unknown): Params | undefined => {
  if (typeof copy !== "object" || copy === null) return undefined
  const { amount, from, tags, to } = copy as Record<string, unknown>
  if (typeof amount !== "number" || !isCurrency(from) || !isCurrency(to)) return undefined
  for (const name in copy)
    if (name !== "amount" && name !== "from" && name !== "to" && name !== "tags") return undefined
  if (tags === undefined) return { amount, from, to }
  return Array.isArray(tags) && tags.every(isText) ? { amount, from, to, tags: tags.slice() } : undefined
}

/** Every reason why a copy could not be decoded. */
export const issuesOf = (copy: unknown): ReadonlyArray<string> => {
  if (typeof copy !== "object" || copy === null) return ["must be an object"]
  const { amount, from, tags, to, ...others } = copy as Record<string, unknown>
  const issues: Array<string> = []
  if (typeof amount !== "number") issues.push("amount: must be a finite number")
  if (!isCurrency(from)) issues.push("from: must be three capital letters")
  if (!isCurrency(to)) issues.push("to: must be three capital letters")
  if (tags !== undefined && !(Array.isArray(tags) && tags.every(isText))) issues.push("tags: must be texts")
  for (const name of Object.keys(others)) issues.push(`${name}: is not a parameter`)
  return issues
}

/** A copy of what the tool answered, `undefined` where it is not what it declares. */
export const encode = (value: unknown): Success | undefined => {
  if (typeof value !== "object" || value === null) return undefined
  const { amount, currency } = value as Record<string, unknown>
  return Number.isFinite(amount) && typeof currency === "string"
    ? { amount: amount as number, currency }
    : undefined
}
