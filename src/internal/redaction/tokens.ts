/** Finds what begins as an issuer's tokens do: one pass for all of their beginnings. */
import type { Rule } from "./rules.ts"

/** A part of a text, and the rule that found it. */
export interface Span {
  readonly start: number
  readonly end: number
  readonly rule: string
}

interface Token {
  readonly rule: Rule
  readonly body: RegExp
  /** Nothing before this position is looked at again for this rule. */
  seen: number
}

export type Finder = (text: string, found: (span: Span) => void) => void

/** What may stand before a token: no letter or digit, unless it is the end of an escape. */
const boundary = String.raw`(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2}|\\[bfnrt]|\\u00[0-9A-Fa-f]{2}))`

/** A finder for the rules that say how their values begin. */
export const tokens = (rules: ReadonlyArray<Rule>): Finder => {
  const byStart = new Map<string, Array<Token>>()
  for (const rule of rules) {
    if (rule.starts === undefined || rule.value === undefined) continue
    const token = { rule, body: sticky(rule.value), seen: 0 }
    for (const start of rule.starts) byStart.set(start, [...(byStart.get(start) ?? []), token])
  }
  if (byStart.size === 0) return () => {}
  const all = [...byStart.values()].flat()
  // The longest beginning first: `sk-ant-` is not `sk-`.
  const starts = [...byStart.keys()].sort((a, b) => b.length - a.length).map(escape)
  const beginning = new RegExp(`${boundary}(?:${starts.join("|")})`, "g")

  return (text, found) => {
    for (const token of all) token.seen = 0
    beginning.lastIndex = 0
    for (let match = beginning.exec(text); match !== null; match = beginning.exec(text)) {
      const [start] = match
      const after = match.index + start.length
      for (const token of byStart.get(start)!) {
        if (after < token.seen) continue
        token.body.lastIndex = after
        const body = token.body.exec(text)?.[0]
        if (body === undefined) {
          // The same run of characters, entered later, is no longer: reading it once keeps the time linear.
          token.seen = endOfRun(text, after)
          continue
        }
        const end = after + body.length
        token.seen = end
        const verdict = token.rule.check?.(start + body) ?? true
        if (verdict === false || verdict === 0) continue
        found({
          start: match.index,
          end: verdict === true ? end : Math.min(end, match.index + verdict),
          rule: token.rule.name
        })
        beginning.lastIndex = end
        break
      }
    }
  }
}

/** A pattern that matches exactly this text. */
export const escape = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&")

const sticky = (pattern: RegExp): RegExp =>
  new RegExp(pattern.source, `${pattern.flags.replace(/[gy]/g, "")}y`)

const endOfRun = (text: string, from: number): number => {
  let end = from
  while (end < text.length && isRun(text.charCodeAt(end))) end++
  return end
}

/** `A-Za-z0-9_-` */
export const isRun = (code: number): boolean =>
  (code >= 97 && code <= 122) ||
  (code >= 48 && code <= 57) ||
  (code >= 65 && code <= 90) ||
  code === 95 ||
  code === 45
