/**
 * Finds secrets in a text. What a rule needs at the least (an `@`, seven
 * digits, sixteen characters of one run) is counted first, so that ordinary
 * strings meet few rules.
 */
import { assignments, type MaskAt } from "./assignments.ts"
import { fromBase64, fromPercent } from "./checks.ts"
import type { KeyRules } from "./keys.ts"
import { type Rule, urlCredentials } from "./rules.ts"
import { type Finder, isRun, type Span, tokens } from "./tokens.ts"

/** The parts of a text that are secret, in order and apart from one another. */
export type Spans = (text: string) => ReadonlyArray<Span>

const none: ReadonlyArray<Span> = []

export const compile = (
  rules: ReadonlyArray<Rule>,
  keys: KeyRules,
  maskAt: MaskAt,
  withUrls: boolean
): Spans => {
  const issued = tokens(rules)
  const issuedRun = Math.min(
    ...rules.flatMap(({ needs, starts }) => (starts === undefined ? [] : [needs?.run ?? 0]))
  )
  const assigned = assignments(keys, maskAt)
  const patterns = rules.flatMap((rule) =>
    rule.value === undefined || rule.starts !== undefined ? [] : [new Pattern(rule)]
  )

  const spans = (text: string, nested: boolean): ReadonlyArray<Span> => {
    const facts = factsOf(text)
    let found: Array<Span> | undefined
    const add = (span: Span): void => {
      found ??= []
      found.push(span)
    }
    const finder = (find: Finder) => find(text, add)
    if (facts.run >= issuedRun) finder(issued)
    if (withUrls && facts.at && text.includes("://")) finder(urls)
    for (const pattern of patterns) if (pattern.mayMatch(facts)) finder(pattern.find)
    if (facts.names) finder(assigned)
    if (!nested && (facts.percent || facts.run >= 16)) {
      const plainly = found ?? none
      const inner = (text: string) => spans(text, true)
      if (facts.percent) encoded(text, pieces, percentDecoded, inner, plainly, add)
      if (facts.run >= 16) encoded(text, runs, fromBase64, inner, plainly, add)
    }
    return found === undefined ? none : joined(found)
  }
  return (text) => (text.length < 4 ? none : spans(text, false))
}

// --- What a text is made of ------------------------------------------------

interface Facts {
  readonly digits: number
  /** The longest run of letters, digits, `_` and `-`. */
  readonly run: number
  readonly at: boolean
  readonly percent: boolean
  /** It has something by which a value may be put under a name. */
  readonly names: boolean
}

const factsOf = (text: string): Facts => {
  let digits = 0
  let run = 0
  let current = 0
  let at = false
  let percent = false
  let names = false
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (isRun(code)) {
      current++
      if (code <= 57 && code >= 48) digits++
      continue
    }
    if (current > run) run = current
    current = 0
    if (code === 64) at = true
    else if (code === 37) percent = true
    else if (code === 61 || code === 58 || code === 62) names = true
  }
  if (current > run) run = current
  return { digits, run, at, percent, names: names || spoken.test(text) }
}

const spoken = / (?:is|was|to|as) | -(?:u|-[a-z])/i

// --- Patterns --------------------------------------------------------------

class Pattern {
  readonly #rule: Rule
  readonly #pattern: RegExp

  constructor(rule: Rule) {
    this.#rule = rule
    this.#pattern = new RegExp(rule.value!.source, `${rule.value!.flags.replace(/[gy]/g, "")}g`)
  }

  mayMatch({ at, digits, run }: Facts): boolean {
    const { needs } = this.#rule
    return (
      needs === undefined ||
      (digits >= (needs.digits ?? 0) && run >= (needs.run ?? 0) && (at || needs.at !== true))
    )
  }

  readonly find: Finder = (text, found) => {
    const pattern = this.#pattern
    pattern.lastIndex = 0
    for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
      const [secret] = match
      const verdict = this.#rule.check?.(secret) ?? true
      if (verdict === false || verdict === 0) {
        // What failed as a whole may begin a little later.
        pattern.lastIndex = match.index + 1
        continue
      }
      const end = match.index + (verdict === true ? secret.length : Math.min(verdict, secret.length))
      found({ start: match.index, end, rule: this.#rule.name })
      pattern.lastIndex = Math.max(end, match.index + 1)
    }
  }
}

// --- URLs ------------------------------------------------------------------

/** `name:password@`, or a long name, between `://` and the host. */
const urls: Finder = (text, found) => {
  for (let at = text.indexOf("://"); at >= 0; at = text.indexOf("://", at + 3)) {
    const start = at + 3
    userInfo.lastIndex = start
    const info = userInfo.exec(text)?.[0]
    if (info === undefined) continue
    const user = info.slice(0, -1)
    if (user.includes(":") || user.length >= 16) {
      found({ start, end: start + user.length, rule: urlCredentials })
    }
  }
}

// A password with `/` or `#` in it should be encoded and often is not; a port before a path is no password.
const userInfo = /(?:[^\s/?#"'<>@]{1,2048}@)+|[^\s/?#"'<>@:]{0,256}:(?!\d{1,5}[/?#])[^\s"'<>@]{1,1024}@/y

// --- Encoded forms ---------------------------------------------------------

const pieces = /[^\s&?=;,"'<>]+/g
const runs = /(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16,}={0,2}/g
const percent = /%[0-9A-Fa-f]{2}/

const percentDecoded = (piece: string): string | undefined =>
  percent.test(piece) ? fromPercent(piece) : undefined

/** A part that says more secrets when decoded than it shows is masked whole: what is left of it could not be read. */
const encoded = (
  text: string,
  parts: RegExp,
  decode: (part: string) => string | undefined,
  inner: (text: string) => ReadonlyArray<Span>,
  plainly: ReadonlyArray<Span>,
  found: (span: Span) => void
): void => {
  for (const match of text.matchAll(parts)) {
    const [part] = match
    const plain = decode(part)
    const hidden = plain === undefined || plain === part ? none : inner(plain)
    if (hidden.length === 0) continue
    const start = match.index
    const end = start + part.length
    const shown = plainly.filter((span) => span.start < end && span.end > start)
    if (hidden.length > shown.length) found({ start, end, rule: hidden[0]!.rule })
  }
}

// --- One after the other ---------------------------------------------------

/** Where spans overlap, all that they cover is masked, under the name of the longest. */
const joined = (spans: Array<Span>): ReadonlyArray<Span> => {
  if (spans.length === 1) return spans
  spans.sort((a, b) => a.start - b.start || b.end - a.end)
  const apart: Array<Span> = []
  for (const span of spans) {
    const last = apart.at(-1)
    if (last === undefined || span.start >= last.end) {
      apart.push(span)
      continue
    }
    // `password@host` in a URL reads as an address, and its host may be shown.
    if (span.rule === "email" && last.rule === urlCredentials) continue
    const rule = span.end - span.start > last.end - last.start ? span.rule : last.rule
    apart[apart.length - 1] = { start: last.start, end: Math.max(last.end, span.end), rule }
  }
  return apart
}
