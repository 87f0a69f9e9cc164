/** What tells a secret from an ordinary value of the same shape. All of it takes time linear in the length. */
import { pattern } from "../lazily.ts"

const digitsOf = (text: string): string => text.replace(/\D/g, "")

/** ISO/IEC 7812-1, annex B. */
const luhn = (digits: string): boolean => {
  let sum = 0
  for (let i = 0; i < digits.length; i++) {
    let digit = digits.charCodeAt(digits.length - 1 - i) - 48
    if (i % 2 === 1) {
      digit *= 2
      if (digit > 9) digit -= 9
    }
    sum += digit
  }
  return sum % 10 === 0
}

/** Issuer prefixes and the lengths of their numbers. */
const issuers: ReadonlyArray<readonly [RegExp, ReadonlyArray<number>]> = [
  [/^4/, [16, 19]],
  [/^(?:5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720))/, [16]],
  [/^3[47]/, [15]],
  [/^(?:6011|64[4-9]|65|62|3(?:52[89]|5[3-8]))/, [16, 17, 18, 19]],
  [/^3(?:0[0-59]|[689])/, [14, 16]],
  [/^220[0-4]/, [16, 17, 18, 19]],
  [/^(?:5018|5020|5038|5893|6304|6759|676[1-3]|60|81|82|508)/, [16]]
]

export const isCard = (text: string): boolean => {
  const digits = digitsOf(text)
  return (
    issuers.some(([prefix, lengths]) => prefix.test(digits) && lengths.includes(digits.length)) &&
    // The same digit over and over passes the sum, and is nobody's card.
    !/^(\d)\1*$/.test(digits) &&
    luhn(digits)
  )
}

/** Lengths by country: the registry of ISO 13616. */
const ibanLengths = new Map(
  (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 " +
    "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 " +
    "LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 " +
    "PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
  )
    .split(" ")
    .map((entry) => [entry.slice(0, 2), Number(entry.slice(2))] as const)
)

/** How many characters of the text are an IBAN, separators included; 0 where it does not begin with one. */
export const ibanAt = (text: string): number => {
  const length = ibanLengths.get(text.slice(0, 2).toUpperCase())
  if (length === undefined) return 0
  let compact = ""
  let end = 0
  while (compact.length < length && end < text.length) {
    const char = text[end++]!
    if (char !== " " && char !== "-") compact += char
  }
  if (compact.length < length || /^[A-Za-z0-9]/.test(text.slice(end))) return 0
  let remainder = 0
  for (const char of (compact.slice(4) + compact.slice(0, 4)).toUpperCase()) {
    const value = Number.parseInt(char, 36)
    remainder = (remainder * (value > 9 ? 100 : 10) + value) % 97
  }
  return remainder === 1 ? end : 0
}

/** The country codes of ITU-T E.164. */
const callingCode =
  /^(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|21[1-3689]|2[2-6]\d|29[0-9]|35\d|37\d|38[0-35-79]|42[013]|50\d|59\d|67[02-9]|68\d|69[0-2]|80[08]|85[02356]|87[0-8]|88[0-38]|96[0-8]|97\d|99[2-8])/

/** A number written with its country code, `+` or `00` before it. */
export const isInternationalPhone = (text: string): boolean => {
  // A position on Earth (ISO 6709), which looks just like one.
  if (/^\+\d+\.\d+[+-]/.test(text)) return false
  const digits = digitsOf(text).replace(/^00/, "")
  return digits.length >= 8 && digits.length <= 15 && callingCode.test(digits) && !/0{6}/.test(digits)
}

/** What a field must hold to be a phone number once its name says so. */
export const isPhoneLike = (text: string): boolean =>
  text.length <= 40 && /^[+(]?\d[\d\s().+/-]*(?:(?:x|ext\.?)\s?\d+)?$/i.test(text) && between(text, 7, 17)

/** Whether so many of its characters are digits. */
export const between = (text: string, least: number, most: number): boolean => {
  const count = digitsOf(text.slice(0, 100)).length
  return count >= least && count <= most
}

/** Not a word of prose: something that people type where a secret is wanted. */
export const isUnlikeWord = (text: string): boolean => {
  const word = text.slice(0, 256)
  return /\d/.test(word) || unlikeProse().test(word)
}

/** A character that prose does not have in a word, or capitals that come twice after small letters. */
const unlikeProse = pattern(String.raw`[^\p{L}\p{M}'’.,;:!?()[\]\s-]|\p{Ll}\p{Lu}.*\p{Ll}\p{Lu}`, "u")

/** What only one word can be, and no word of prose: a token, a key, an id. */
export const isTokenLike = (text: string): boolean =>
  text.length >= 6 && !/\s/.test(text) && (text.length >= 20 || isUnlikeWord(text))

/**
 * Long, of one piece, and random: what stands under a name such as `key` or `auth`, which may be harmless. Not UUIDs,
 * dates, paths, file names or words joined by separators.
 */
export const looksRandom = (text: string): boolean => {
  if (text.length < 16 || text.length > 4096 || !/^[\w+/=.~:%-]+$/.test(text)) return false
  if (uuid.test(text) || /^\d{4}-\d\d-\d\d/.test(text) || /\.[a-z]{2,5}$/.test(text)) return false
  if (text.includes("/") && !/^[A-Za-z0-9+/]{22,}={0,2}$/.test(text)) return false
  const longest = text.split(/[-_./:=+~%]/).reduce((a, b) => (b.length > a.length ? b : a), "")
  return longest.length >= 10 && /\d/.test(text) && /[A-Za-z]/.test(text) && entropy(text) >= 3
}

const uuid = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i

/** Bits per character, of the first 256. */
export const entropy = (text: string): number => {
  const counts = new Map<string, number>()
  const sample = text.slice(0, 256)
  for (const char of sample) counts.set(char, (counts.get(char) ?? 0) + 1)
  let bits = 0
  for (const count of counts.values()) bits -= (count / sample.length) * Math.log2(count / sample.length)
  return bits
}

/** What stands where a secret would, and is none. */
export const isPlaceholder = (text: string): boolean => text.length <= 80 && placeholder.test(text)

const placeholder =
  /^(?:null|nil|none|undefined|true|false|yes|no|string|number|boolean|any|unknown|required|optional|n\/a|\*+|[xX]{3,}|\.{3,}|…\W*|-+|<[^>]*>|\$\{[^}]*\}?|\$[A-Z_][A-Z0-9_]*|\{\{[^}]*\}\}|%[A-Z_]+%|(?:process\.env|os\.environ|import\.meta\.env|secrets|vars|config|self|this)\b[\w.[\]"'()]*)$/i

const base64 = /^[A-Za-z0-9+/_-]{16,}={0,2}$/

/** The text that base64 says; `undefined` where it says something else, or is none. */
export const fromBase64 = (text: string): string | undefined => {
  if (!base64.test(text)) return undefined
  const plain = text.replaceAll("-", "+").replaceAll("_", "/").replace(/=+$/, "")
  // Images and hashes are told by their first bytes, however long they are.
  const head = decode(plain.slice(0, 48 - (48 % 4)))
  if (head === undefined || !printable.test(head)) return undefined
  const whole = decode(plain)
  return whole !== undefined && printable.test(whole) ? whole : undefined
}

const printable = /^[\t\n\r\x20-\x7e]{8,}$/

const decode = (text: string): string | undefined => {
  try {
    return atob(text.length % 4 === 1 ? text.slice(0, -1) : text)
  } catch {
    return undefined
  }
}

/** The text that percent-encoding says, once; what is encoded badly stays as it is. */
export const fromPercent = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text.replace(/%[0-7][0-9A-Fa-f]/g, (code) =>
      String.fromCharCode(Number.parseInt(code.slice(1), 16))
    )
  }
}
