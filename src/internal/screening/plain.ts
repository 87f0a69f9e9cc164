/**
 * What is plain: strings in which no rule can find anything. One pass over the character codes says so of
 * nearly all of them, and makes nothing; the rules themselves run on the rest.
 */
import * as Patterns from "./patterns.ts"

/** What is nested deeper is not looked into. */
export const maxDepth = 500

/** A bit for each letter, whatever its case, and for what patterns cannot do without. */
const weird = 1 << 26
const less = 1 << 27
const marked = 1 << 28
const escaped = 1 << 29
const dot = 1 << 30
const slash = 1 << 31

const bits = new Int32Array(128)
for (let code = 0; code < 128; code++) {
  const character = String.fromCharCode(code)
  if (/[a-z]/i.test(character)) bits[code] = 1 << (character.toLowerCase().charCodeAt(0) - 97)
  else if ((code < 32 && !"\t\n\r".includes(character)) || code === 127) bits[code] = weird
  else if (character === "<") bits[code] = less
  else if ("'\"`;()*=#|@&".includes(character)) bits[code] = marked
  else if ("%\\".includes(character)) bits[code] = escaped
  else if (character === ".") bits[code] = dot
  else if ("/~:".includes(character)) bits[code] = slash
}

const lettersOf = (...texts: ReadonlyArray<string>): Int32Array =>
  Int32Array.from(texts, (text) => [...text].reduce((mask, sign) => mask | bits[sign.charCodeAt(0)]!, 0))

/** What patterns of SQL and of scripts need that do without any of the marked signs. */
const statements = lettersOf(
  "union select",
  "drop",
  "truncate",
  "alter table",
  "delete from",
  "insert into valu",
  "select from",
  "xpcmdshell",
  "informationschema",
  "utlhttp.",
  "dbmspipe."
)
const code = lettersOf("document.", "stringfromcharcode.", "script:", "data:")

const hasOneOf = (mask: number, sets: Int32Array): boolean => {
  for (let i = 0; i < sets.length; i++) if ((mask & sets[i]!) === sets[i]) return true
  return false
}

/** What a string consists of; `weird` for whatever is not ASCII. */
export const maskOf = (text: string): number => {
  let mask = 0
  const { length } = text
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i)
    mask |= code > 127 ? weird : bits[code]!
  }
  return mask
}

/**
 * What may be found in a string, judged by what it consists of. Never says no where a rule would find
 * something.
 */
export const mayHold = {
  characters: (mask: number): boolean => (mask & weird) !== 0,
  host: (mask: number, text: string): boolean =>
    (mask & (weird | escaped)) !== 0 || ((mask & xn) === xn && /xn--/i.test(text)),
  path: (mask: number, text: string, annotated: boolean): boolean =>
    (mask & (weird | escaped)) !== 0 ||
    ((mask & dot) !== 0 && /\.[.\s]*\./.test(text)) ||
    ((mask & slash) !== 0 && (annotated || /^\s*(?:[/~]|[a-z]\s*:\s*\/)/i.test(text))),
  sql: (mask: number, text: string): boolean =>
    (mask & (weird | escaped)) !== 0 ||
    (((mask & marked) !== 0 || hasOneOf(mask, statements)) && Patterns.mayBeSql(text)),
  script: (mask: number, text: string): boolean =>
    (mask & (weird | escaped | less)) !== 0 ||
    (((mask & marked) !== 0 || hasOneOf(mask, code)) && Patterns.mayBeScript(text)),
  html: (mask: number): boolean => (mask & (weird | escaped | less)) !== 0
} as const

const xn = bits["x".charCodeAt(0)]! | bits["n".charCodeAt(0)]!

/** Letters and digits make no statement that is shorter than this. */
const shortestStatement = "xp_cmdshell".length
const signs = weird | less | marked | escaped | dot | slash

const isPlainString = (text: string, paths: boolean): boolean => {
  const mask = maskOf(text)
  // Names, codes, numbers: most of what there is.
  if ((mask & signs) === 0 && text.length < shortestStatement && (mask & xn) !== xn) return true
  return !(
    (mask & (weird | less | escaped)) !== 0 ||
    mayHold.path(mask, text, paths) ||
    mayHold.sql(mask, text) ||
    mayHold.script(mask, text) ||
    mayHold.host(mask, text)
  )
}

export const isPlainText = (text: string): boolean => isPlainString(text, false)
export const isPlainPath = (text: string): boolean => isPlainString(text, true)

/** Nothing that speaks to a model is as short as this and one word, nor is anything that encodes it. */
const shortWord = /^\w{0,10}$/
export const isPlainWord = (text: string): boolean => shortWord.test(text)

/** Whether every string in a value is plain, names of properties included. */
export const isPlain = (value: unknown, isPlainOne: (text: string) => boolean, depth: number): boolean => {
  if (typeof value === "string") return isPlainOne(value)
  if (typeof value !== "object" || value === null) return true
  if (depth >= maxDepth) return false
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (!isPlain(value[i], isPlainOne, depth + 1)) return false
    return true
  }
  for (const key in value) {
    const item = (value as Record<string, unknown>)[key]
    if (!isPlainOne(key) || !isPlain(item, isPlainOne, depth + 1)) return false
  }
  return true
}
