/**
 * Finds what a text puts under a name that looks secret: `password=…`,
 * `"apiKey": "…"`, `Authorization: Bearer …`, `<pwd>…</pwd>`, `--token …`,
 * `-u name:…`, and "the password is …". Prose has such names too, so without
 * quotes or an `=` only what is unlike a word is taken.
 */
import { isPlaceholder, isTokenLike, isUnlikeWord } from "./checks.ts"
import { type KeyRule, type KeyRules, ruleFor } from "./keys.ts"
import type { Finder, Span } from "./tokens.ts"

/** Where a mask begins at this position, its length; else 0. */
export type MaskAt = (text: string, at: number) => number

export const assignments = (keys: KeyRules, maskAt: MaskAt): Finder => {
  const separated: Finder = (text, found) => {
    separators.lastIndex = 0
    for (let match = separators.exec(text); match !== null; match = separators.exec(text)) {
      const name = nameBefore(text, match.index)
      if (name === undefined || (match[0] === ">" && text[name.start - 1] !== "<")) continue
      const rules = rulesOf(keys, text, name)
      if (rules.length === 0) continue
      const span = valueAfter(text, match.index, match[0], rules, maskAt)
      if (span === undefined) continue
      if (span.rule !== "") found(span)
      separators.lastIndex = Math.max(span.end, separators.lastIndex)
    }
  }

  const spoken: Finder = (text, found) => {
    each(sentence, text, (match) => {
      const [whole, name, said] = match as unknown as [string, string, string]
      const value = said.replace(/^["'`“(]+|["'`”).,;:!?]+$/g, "")
      if (value.length < 4 || /:\/\/|\S@\S/.test(value) || !isUnlikeWord(value) || isPlaceholder(value))
        return
      const start = match.index + whole.length - said.length + said.indexOf(value)
      const rule = ruleFor(keys.of(name), value)
      if (rule !== undefined && maskAt(text, start) === 0) {
        found({ start, end: start + value.length, rule: rule.name })
      }
    })
  }

  const flagged: Finder = (text, found) => {
    each(flag, text, (match) => {
      const [whole, name, value] = match as unknown as [string, string, string]
      const plain = value.replace(/^["']|["']$/g, "")
      const start = match.index + whole.length - value.length
      if (maskAt(text, start) > 0 || isPlaceholder(plain) || !(isUnlikeWord(plain) || plain.length >= 20))
        return
      const rule = ruleFor(keys.of(name), plain)
      if (rule !== undefined) found({ start, end: start + value.length, rule: rule.name })
    })
    const password = keys.of("password")[0]
    if (password === undefined) return
    each(userFlag, text, (match) => {
      const end = match.index + match[0].length
      const start = end - match[1]!.length
      if (maskAt(text, start) === 0) found({ start, end, rule: password.name })
    })
  }

  return (text, found) => {
    separated(text, found)
    spoken(text, found)
    flagged(text, found)
  }
}

const separators = /=>|:=|[=:>]/g

const sentence =
  /(?<![\p{L}\p{N}])(pass(?:word|phrase|code)|pin(?: code| number)?|(?:api|access|secret) key|secret|token|otp|cvv|cvc|security code|ssn|social security number) (?:is|was|to|as)[: ]{1,2}(\S{4,256})/giu

const flag = /(?<![\w-])--([A-Za-z][\w-]{1,63})[ \t]{1,4}(?!-)("[^"\n]{1,512}"|'[^'\n]{1,512}'|\S{1,512})/g

const userFlag = /(?<![\w-])(?:-u|--user)[ =]{1,2}["']?[^\s:"']{1,64}:([^\s"']{1,256})/g

const each = (pattern: RegExp, text: string, see: (match: RegExpExecArray) => void): void => {
  pattern.lastIndex = 0
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) see(match)
}

// --- The name --------------------------------------------------------------

const maxName = 64
const nameChar = /[\p{L}\p{N}_.$-]/u
const isQuote = (char: string | undefined): boolean => char === '"' || char === "'" || char === "`"

interface Name {
  readonly start: number
  readonly end: number
  readonly quoted: boolean
}

const nameBefore = (text: string, separator: number): Name | undefined => {
  let end = separator
  while (end > 0 && separator - end < 3 && (text[end - 1] === " " || text[end - 1] === "\t")) end--
  if (text[end - 1] === "]") end--
  const quoted = isQuote(text[end - 1])
  if (quoted) end--
  if (text[end - 1] === "\\") end--
  let start = end
  while (start > 0 && end - start < maxName && nameChar.test(text[start - 1]!)) start--
  return end - start < 2 ? undefined : { start, end, quoted }
}

/** The last words of names that are often written as several. */
const several = /(?:key|number|num|no|code|phrase|token|secret|pass|header|id|address)$/i

const rulesOf = (keys: KeyRules, text: string, { end, quoted, start }: Name): ReadonlyArray<KeyRule> => {
  const name = text.slice(start, end)
  const own = keys.of(name)
  if (quoted || (own.length === 0 && !several.test(name))) return own
  const before = /(?:[A-Za-z]{1,20} ){1,2}$/.exec(text.slice(Math.max(0, start - 42), start))?.[0]
  return before === undefined ? own : keys.of(before + name)
}

// --- The value -------------------------------------------------------------

/** Up to white space, a quote, a bracket that closes, or what separates it from the next name. */
const bare =
  /(?:[^\s"'`<>&;,)\]}\\]|[&;,](?![\s&;,]|$|[\w.%[\]-]{1,64} ?[=:])|[)\]}](?![\s,;.)}\]]|$)|\\(?!["'`nrt\\]))+/y

const line = /[^\r\n"'`\\]{1,8192}/y

/** Code, not a value: a call or an element, and a field of something. */
const call = /^[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*[([]/
const member = /^[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)+$/

/** The value's span; the rule is empty where it is no secret and need not be read again. */
const valueAfter = (
  text: string,
  separator: number,
  sign: string,
  rules: ReadonlyArray<KeyRule>,
  maskAt: MaskAt
): Span | undefined => {
  let start = separator + sign.length
  // `==`, `::` and `://` are no assignments.
  if (sign !== ">" && (text[start] === sign || text.startsWith("//", start))) return undefined
  const limit = start + 4
  while (start < limit && (text[start] === " " || text[start] === "\t")) start++
  const spaced = start > separator + sign.length || text[separator - 1] === " "
  const mask = maskAt(text, start)
  if (mask > 0) return { start, end: start + mask, rule: "" }

  const escaped = text[start] === "\\" && isQuote(text[start + 1])
  if (escaped || isQuote(text[start])) {
    const from = start + (escaped ? 2 : 1)
    const end = closing(text, from, text[from - 1]!, escaped)
    const value = text.slice(from, end)
    if (maskAt(value, 0) === value.length) return { start, end, rule: "" }
    const rule = isPlaceholder(value) ? undefined : ruleFor(rules, value)
    return rule === undefined ? undefined : { start: from, end, rule: rule.name }
  }

  if (sign === ">") {
    const end = text.indexOf("<", start)
    const value = end < 0 ? "" : text.slice(start, Math.min(end, start + 4096))
    const rule = isPlaceholder(value.trim()) ? undefined : ruleFor(rules, value.trim())
    return rule === undefined ? undefined : { start, end, rule: rule.name }
  }

  const header = rules.find(({ name }) => name === "authorization" || name === "cookie")
  if (header !== undefined) {
    const value = headerValue(text, start, header.name === "authorization")
    return value === "" ? undefined : { start, end: start + value.length, rule: header.name }
  }

  bare.lastIndex = start
  const value = bare.exec(text)?.[0] ?? ""
  const end = start + value.length
  const rule = isPlaceholder(value) ? undefined : ruleFor(rules, value)
  const head = value.slice(0, 128)
  const prose = sign === ":" || spaced
  const secret =
    rule !== undefined &&
    !call.test(head) &&
    (!prose || ((isUnlikeWord(value) || value.length >= 20) && !member.test(head)))
  if (secret) return { start, end, rule: rule.name }
  // A long one is not read again from every separator in it.
  return value.length > 256 ? { start, end, rule: "" } : undefined
}

/** Where a quoted value ends: at its quote, or with the text. */
const closing = (text: string, from: number, quote: string, escaped: boolean): number => {
  for (let end = text.indexOf(quote, from); end >= 0; end = text.indexOf(quote, end + 1)) {
    const backslash = end > from && text[end - 1] === "\\"
    if (escaped) return backslash ? end - 1 : end
    if (!backslash || text[end - 2] === "\\") return end
  }
  return text.length
}

/** What of a header's line is its value: all of it where it has parts; its one or two words, where they may be one. */
const headerValue = (text: string, start: number, oneWord: boolean): string => {
  const head = text.slice(start, start + 256)
  if (parts.test(head)) {
    line.lastIndex = start
    return (line.exec(text)?.[0] ?? "").trimEnd()
  }
  if (!oneWord) return ""
  words.lastIndex = start
  const [whole = "", first = "", second = ""] = words.exec(text) ?? []
  if (isSecret(second)) return whole
  return isSecret(first) && !isPlaceholder(first) && !isPlaceholder(second) ? first : ""
}

const parts = /^(?:[\w-]{1,20} )?[^\s="'`]{1,64}=\S/

const words = /([^\s"'`\\]{1,4096})(?:[ \t]{1,4}([^\s"'`\\]{1,4096}))?/y

const isSecret = (word: string): boolean => isTokenLike(word) && isUnlikeWord(word) && !isPlaceholder(word)
