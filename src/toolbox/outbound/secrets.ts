/** How a credential is sent, and how it is kept out of what comes back. */
import * as Redacted from "effect/Redacted"
import type { Credential } from "../Credentials.ts"
import { violated } from "./targets.ts"

/** Whether the credential may be sent to this host. */
export const isFor = (credential: Credential, host: string): boolean =>
  violated({ allowedDomains: credential.hosts }, host) === undefined

type InQuery = Extract<Credential, { readonly type: "query" }>

/** The header that carries the credential; its name is in lower case. */
export const headerOf = (
  credential: Exclude<Credential, InQuery>
): { readonly name: string; readonly value: string } => {
  switch (credential.type) {
    case "bearer":
      return { name: "authorization", value: `Bearer ${Redacted.value(credential.token)}` }
    case "basic":
      return { name: "authorization", value: `Basic ${pairOf(credential)}` }
    case "header":
      return { name: credential.name.toLowerCase(), value: Redacted.value(credential.value) }
  }
}

/** The parameter that carries the credential, as it stands in a query. */
export const parameterOf = ({ name, value }: InQuery): string =>
  `${encodeURIComponent(name)}=${encodeURIComponent(Redacted.value(value))}`

const pairOf = ({ password, username }: Extract<Credential, { readonly type: "basic" }>): string =>
  Buffer.from(`${username}:${Redacted.value(password)}`, "utf8").toString("base64")

// --- Echoes ------------------------------------------------------------------

/** Shorter than this, a secret is also a word, and hiding it would tear texts apart. */
const shortest = 6

/** What a server may write where it writes the secret back, in bytes that are read as Latin 1; nothing where it is too short. */
export const echoOf = (credential: Credential): RegExp | undefined => {
  const secret = Redacted.value(
    credential.type === "bearer"
      ? credential.token
      : credential.type === "basic"
        ? credential.password
        : credential.value
  )
  const written = credential.type === "basic" ? [pairOf(credential), secret] : [secret]
  const patterns = written.filter(({ length }) => length >= shortest).map(patternOf)
  return patterns.length === 0 ? undefined : new RegExp(patterns.join("|"), "g")
}

/** A text in UTF-8 or UTF-16, any of its characters escaped as in URLs, JSON and HTML: regular expressions of bytes. */
const patternOf = (text: string): string =>
  Array.from(text, (character) => {
    const utf8 = Buffer.from(character, "utf8")
    const utf16 = Buffer.from(character, "utf16le")
    const swapped = Buffer.from(utf16).swap16()
    const point = character.codePointAt(0) ?? 0
    const ways = [
      ...[utf16, swapped, utf8].map((bytes) => bytes.toString("hex").replace(/../g, "\\x$&")),
      escapedBy("%", 2, utf8),
      escapedBy("\\\\u", 4, swapped),
      `&#0*${point};`,
      `&#[xX]0*${anyCase(point.toString(16))};`,
      ...(escapes.get(character) ?? [])
    ]
    return `(?:${ways.join("|")})`
  }).join("")

const escapedBy = (prefix: string, digits: 2 | 4, bytes: Buffer): string =>
  bytes.toString("hex").replace(digits === 2 ? /../g : /..../g, (each) => prefix + anyCase(each))

const anyCase = (hex: string): string => hex.replace(/[a-f]/g, (digit) => `[${digit}${digit.toUpperCase()}]`)

/** Escapes of single characters: those of JSON, of HTML and of forms. */
const escapes = new Map([
  [" ", ["\\+"]],
  ['"', ['\\\\"', "&quot;"]],
  ["'", ["&apos;"]],
  ["&", ["&amp;"]],
  ["/", ["\\\\/"]],
  ["<", ["&lt;"]],
  [">", ["&gt;"]],
  ["\\", ["\\\\\\\\"]]
])

const mask = "<redacted>"

/** A text without the secret; of bytes that were read as Latin 1. */
export const hidden = (echo: RegExp | undefined, text: string): string =>
  echo === undefined ? text : text.replaceAll(echo, mask)

/** Bytes without the secret. */
export const hiddenBytes = (echo: RegExp | undefined, bytes: Uint8Array): Uint8Array => {
  if (echo === undefined) return bytes
  // Latin 1 keeps every byte as it is.
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1")
  const shown = hidden(echo, text)
  return shown === text ? bytes : new Uint8Array(Buffer.from(shown, "latin1"))
}
