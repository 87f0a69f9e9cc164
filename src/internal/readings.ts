/**
 * What a text can be read as, and what in it can be recognised: so that a
 * value is found again after it was decoded, wrapped, or written differently.
 *
 * A reading undoes one way of hiding text: percent-encoding (up to three times), numeric HTML entities,
 * Unicode tag characters, base64 and hexadecimal. What is put together from several places, translated,
 * summarised, reversed or enciphered is not recognised.
 */
import { characterOf, percentDecoded } from "./decoding.ts"
import * as Hosts from "./hosts.ts"
import { pattern } from "./lazily.ts"

const nonAscii = /[^\0-\x7f]/

/** Characters that are not seen: they neither tell texts apart nor hide them. */
const unseen = /[\p{Default_Ignorable_Code_Point}\p{Cf}]/gu

/** A text as it is compared: without case, compatibility forms, unseen characters and runs of white space. */
export const fold = (text: string): string =>
  (nonAscii.test(text) ? text.normalize("NFKC").replace(unseen, "") : text)
    .toLowerCase()
    .replace(/\s\s+|[^\S ]/g, " ")
    .trim()

// --- Readings --------------------------------------------------------------

/** The text itself, first, and whatever it says when it is decoded. */
export const readings = (text: string): ReadonlyArray<string> => {
  const found = [text]
  const add = (reading: string): void => {
    if (reading !== "" && !found.includes(reading)) found.push(reading)
  }
  add(unescape(text))
  add(text.replace(/&#(x[0-9a-f]{1,6}|\d{1,7});/gi, (entity, code: string) => characterOf(code) ?? entity))
  if (/\udb40[\udc20-\udc7e]/.test(text)) {
    add(text.replace(/[\u{e0020}-\u{e007e}]/gu, (tag) => String.fromCharCode(tag.codePointAt(0)! - 0xe0000)))
  }
  for (const reading of [...found]) add(encoded(reading))
  return found
}

/** An address in an address is encoded twice. */
const unescape = (text: string): string => {
  let current = text
  for (let round = 0; round < 3 && /%[0-9a-f]{2}/i.test(current); round++) current = percentDecoded(current)
  return current
}

const utf8 = new TextDecoder("utf-8", { fatal: true })

/** Everything in base64 or hexadecimal that comes to text, line by line. */
const encoded = (text: string): string => {
  const decoded: Array<string> = []
  const add = (bytes: Uint8Array<ArrayBuffer> | undefined): void => {
    if (bytes === undefined) return
    try {
      const plain = utf8.decode(bytes)
      // Nearly every long word is base64 of something; that something is seldom text.
      if (!/(?![\t\n\r])\p{Cc}/u.test(plain)) decoded.push(plain)
    } catch {
      // Not text.
    }
  }
  for (const [word] of text.matchAll(/[a-z0-9+/_-]{12,}/gi)) add(fromBase64(word))
  for (const [lines] of text.matchAll(/(?<![a-z0-9+/_-])(?:[a-z0-9+/_-]{40,}\r?\n)+[a-z0-9+/_-]+/gi)) {
    add(fromBase64(lines.replace(/\s+/g, "")))
  }
  for (const [word] of text.matchAll(/[0-9a-f]{16,}|(?:[0-9a-f]{2}[ :]){7,}[0-9a-f]{2}/gi)) {
    add(fromHex(word.replace(/[ :]/g, "")))
  }
  return decoded.join("\n")
}

const fromBase64 = (word: string): Uint8Array<ArrayBuffer> | undefined => {
  if (word.length % 4 === 1) return undefined
  try {
    const binary = atob(word.replaceAll("-", "+").replaceAll("_", "/"))
    return Uint8Array.from(binary, (byte) => byte.charCodeAt(0))
  } catch {
    return undefined
  }
}

const fromHex = (word: string): Uint8Array<ArrayBuffer> | undefined => {
  if (word.length % 2 === 1) return undefined
  const bytes = new Uint8Array(word.length / 2)
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(word.slice(2 * i, 2 * i + 2), 16)
  return bytes
}

// --- Marks -----------------------------------------------------------------

/** A longer word is looked at no further than this. */
const maxWord = 2048

/**
 * What is recognised wherever it stands, however short: hosts, e-mail addresses, long numbers, and
 * identifiers.
 */
export const marks = (text: string): Set<string> => {
  const found = new Set<string>()
  for (const [run] of text.matchAll(/\d(?:\d|[ .,'\u2019\-/](?=\d)){4,}\d/g)) {
    for (const part of [run, ...run.split(/\D+/)]) {
      const digits = part.replace(/\D+/g, "")
      if (digits.length >= 6 && digits.length <= 64) found.add(digits)
    }
  }
  const host = (name: string): void => {
    if (name !== Hosts.unreadable) found.add(name.toLowerCase())
  }
  for (const whole of text.split(/[\s<>()[\]{}"'`,;|]+/)) {
    const word = whole.length > maxWord ? whole.slice(0, maxWord) : whole
    if (word.length < 3) continue
    if (/[:%]|[/\\]{2}/.test(word)) {
      Hosts.firstRefused(word, (name) => {
        host(name)
        return false
      })
    }
    if (word.includes("@")) addresses(word, found)
    const name = dotted().exec(word)?.[1]
    if (name !== undefined && isName(name)) host(name)
    for (const [id] of word.matchAll(/[\p{L}\p{N}_-]{8,}/gu)) {
      if (/\d/.test(id) && /\p{L}/u.test(id)) found.add(id.toLowerCase())
    }
  }
  return found
}

const dotted = pattern(String.raw`^[*_.:!?&=]*([\p{L}\p{N}][\p{L}\p{N}_-]*(?:\.[\p{L}\p{N}_-]+)+)`, "u")

/**
 * Whether a dotted word could be a host or an address: not a version, and not a sentence that lost its space.
 */
const isName = (name: string): boolean => {
  const last = name.slice(name.lastIndexOf(".") + 1)
  return /^(?:\d{1,3}\.){3}\d{1,3}$/.test(name) || (last.length > 1 && !/^\d+$/.test(last))
}

const domains = pattern(String.raw`^[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+`, "u")

const addresses = (word: string, found: Set<string>): void => {
  const parts = word.split("@")
  for (let i = 1; i < parts.length; i++) {
    const local = /[^/:?&=]+$/.exec(parts[i - 1]!.slice(-64))?.[0]
    const domain = domains().exec(parts[i]!.slice(0, 255))?.[0]
    if (local === undefined || domain === undefined) continue
    found.add(`${local}@${domain}`.toLowerCase())
    found.add(domain.toLowerCase())
  }
}
