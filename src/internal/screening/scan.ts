/**
 * The walk over arguments and results. Most strings are plain: one pass over
 * their character codes says so, and nothing is made. Only what is not plain is walked
 * again, with its place.
 */
import type { Finding, Rule, Setting } from "../../Screening.ts"
import type { Screen } from "../../ToolAnnotations.ts"
import * as ArgumentPath from "../argumentPath.ts"
import * as Characters from "./characters.ts"
import type { Field, Fields } from "./fields.ts"
import * as SpoofedHosts from "./hosts.ts"
import * as Instructions from "./instructions.ts"
import * as Patterns from "./patterns.ts"

type Severities = { readonly [R in Rule]: Setting }

/** What every scan gives that finds nothing. */
const none: ReadonlyArray<Finding> = Object.freeze([])

const maxFindings = 20
const maxDepth = 500

// --- Plain strings ---------------------------------------------------------

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
  else if (/(?![\t\n\r])\p{Cc}/u.test(character)) bits[code] = weird
  else if (character === "<") bits[code] = less
  else if ("'\"`;()*=#|@".includes(character)) bits[code] = marked
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
  "informationschema"
)
const code = lettersOf("document.", "stringfromcharcode.", "script:", "data:")

const hasOneOf = (mask: number, sets: Int32Array): boolean => {
  for (let i = 0; i < sets.length; i++) if ((mask & sets[i]!) === sets[i]) return true
  return false
}

/** What a string consists of; `weird` for whatever is not ASCII. */
const maskOf = (text: string): number => {
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
const mayHold = {
  characters: (mask: number): boolean => (mask & weird) !== 0,
  host: (mask: number, text: string): boolean =>
    (mask & (weird | escaped)) !== 0 || ((mask & xn) === xn && /xn--/i.test(text)),
  path: (mask: number, text: string, annotated: boolean): boolean =>
    (mask & (weird | escaped)) !== 0 ||
    ((mask & dot) !== 0 && /\.[. ]*\./.test(text)) ||
    ((mask & slash) !== 0 && (annotated || /^ *(?:[/~]|[a-z]:\/)/i.test(text))),
  sql: (mask: number): boolean => (mask & (weird | escaped | marked)) !== 0 || hasOneOf(mask, statements),
  script: (mask: number): boolean => (mask & (weird | escaped | marked | less)) !== 0 || hasOneOf(mask, code),
  html: (mask: number): boolean => (mask & (weird | escaped | less)) !== 0
} as const

const xn = bits["x".charCodeAt(0)]! | bits["n".charCodeAt(0)]!

const isPlainString = (text: string, paths: boolean): boolean => {
  const mask = maskOf(text)
  return !(
    (mask & (weird | less | marked | escaped)) !== 0 ||
    mayHold.path(mask, text, paths) ||
    mayHold.sql(mask) ||
    mayHold.script(mask) ||
    mayHold.host(mask, text)
  )
}

/** Whether there is nothing in a value that any rule could find; `paths`: some field is said to be a path. */
const isPlain = (value: unknown, paths: boolean, depth: number): boolean => {
  if (typeof value === "string") return isPlainString(value, paths)
  if (typeof value !== "object" || value === null) return true
  if (depth >= maxDepth) return false
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (!isPlain(value[i], paths, depth + 1)) return false
    return true
  }
  for (const key in value) {
    if (!isPlainString(key, false) || !isPlain((value as Record<string, unknown>)[key], paths, depth + 1))
      return false
  }
  return true
}

// --- Scans -----------------------------------------------------------------

/** Every finding in arguments. */
export const scanParams = (
  raw: unknown,
  settings: Severities,
  fields: Fields | undefined
): ReadonlyArray<Finding> => {
  if (isPlain(raw, fields?.paths === true, 0)) return none
  const found = new Findings("The arguments")
  walk(raw, fields?.root, found, (text, isKey, field) => screenParam(text, field, settings, found, isKey))
  return found.all()
}

/** Every finding in a result. */
export const scanResult = (encoded: unknown, settings: Severities): ReadonlyArray<Finding> => {
  const found = new Findings("The result")
  walk(encoded, undefined, found, (text, isKey) => {
    const hits = Characters.find(text)
    for (const rule of ["bidi", "invisible"] as const) {
      const code = hits[rule]
      if (code !== undefined && settings[rule] !== "off") {
        found.add(rule, "flag", isKey, `holds ${kinds[rule]} (${Characters.name(code)})`)
      }
    }
    const sign = settings.instructions === "off" ? undefined : Instructions.find(text)
    if (sign !== undefined) found.add("instructions", "flag", isKey, sign)
  })
  return found.all()
}

const kinds = {
  control: "a control character",
  bidi: "a character that reorders text",
  invisible: "an invisible character"
} as const

const below = "name a place below the directory that the tool works in"
const problems = {
  traversal: `leads out of its directory; ${below}`,
  nul: `holds the end of a string; ${below}`,
  absolute: `is not a relative path; ${below}`,
  stray: "looks like a path that leads out of its directory"
} as const

const screenParam = (
  text: string,
  field: Field | undefined,
  settings: Severities,
  found: Findings,
  isKey: boolean
): void => {
  const refused = (screen: Screen): boolean => field?.screens.has(screen) === true
  /** What a rule comes to here; `undefined` where it is off. */
  const severity = (rule: Rule, screen?: Screen): Finding["severity"] | undefined => {
    if (screen !== undefined && refused(screen)) return "refuse"
    const setting = settings[rule]
    return setting === "off" ? undefined : setting
  }
  const mask = maskOf(text)
  if (mayHold.characters(mask)) {
    const hits = Characters.find(text)
    for (const rule of ["control", "bidi", "invisible"] as const) {
      const code = hits[rule]
      const level = severity(rule)
      if (code !== undefined && level !== undefined) {
        found.add(rule, level, isKey, `holds ${kinds[rule]} (${Characters.name(code)}); leave it out`)
      }
    }
  }
  const spoofed = severity("homoglyph")
  if (spoofed !== undefined && mayHold.host(mask, text) && SpoofedHosts.names(text, field?.host === true)) {
    const says = "names a host whose letters pass for those of another; spell it in one alphabet"
    found.add("homoglyph", spoofed, isKey, says)
  }
  const paths = severity("path", "path")
  if (paths !== undefined && mayHold.path(mask, text, refused("path"))) {
    const problem = refused("path") ? Patterns.path(text) : Patterns.strayPath(text) ? "stray" : undefined
    if (problem !== undefined) found.add("path", paths, isKey, problems[problem])
  }
  const sql = severity("sql", "sql")
  const script = severity("script", "script")
  const html = severity("html", "html")
  const mayBeSql = sql !== undefined && mayHold.sql(mask)
  const mayBeScript = script !== undefined && mayHold.script(mask)
  const mayBeHtml = html !== undefined && mayHold.html(mask)
  if (!mayBeSql && !mayBeScript && !mayBeHtml) return
  const views = Patterns.viewsOf(text)
  if (mayBeSql && Patterns.sql(views)) found.add("sql", sql, isKey, "looks like SQL")
  if (mayBeScript && Patterns.script(views)) found.add("script", script, isKey, "looks like a script")
  if (mayBeHtml && (refused("html") ? Patterns.anyTag(views) : Patterns.html(views))) {
    found.add("html", html, isKey, "looks like HTML")
  }
}

// --- Findings --------------------------------------------------------------

class Findings {
  readonly path: Array<string | number> = []
  readonly #root: string
  readonly #refused: Array<Finding> = []
  readonly #flagged: Array<Finding> = []
  readonly #seen = new Set<string>()

  constructor(root: "The arguments" | "The result") {
    this.#root = root
  }

  /** Nobody knows what is further down: in arguments it must not run, a result is said to be so. */
  tooDeep(): void {
    const severity = this.#root === "The result" ? "flag" : "refuse"
    this.add("depth", severity, false, `is nested deeper than ${maxDepth} levels`)
  }

  /** More would not be reported, and none of them is worse. */
  get full(): boolean {
    return this.#refused.length >= maxFindings
  }

  add(rule: Rule | "depth", severity: Finding["severity"], isKey: boolean, says: string): void {
    const list = severity === "refuse" ? this.#refused : this.#flagged
    if (list.length >= maxFindings) return
    const path = visible(ArgumentPath.format(isKey ? this.path.slice(0, -1) : this.path))
    const key = `${rule} ${path}`
    if (this.#seen.has(key)) return
    this.#seen.add(key)
    const place = path === "" ? this.#root : `"${path}"`
    const subject = isKey ? `A name in ${path === "" ? this.#root.toLowerCase() : place}` : place
    // A result speaks for itself; arguments are one or many.
    const verb = path === "" && !isKey && this.#root.endsWith("s") ? plural(says) : says
    list.push({ rule, path, message: `${subject} ${verb}.`, severity })
  }

  all(): ReadonlyArray<Finding> {
    const all = [...this.#refused, ...this.#flagged].slice(0, maxFindings)
    return all.length === 0 ? none : all
  }
}

const plural = (says: string): string =>
  says.replace(/^(?:holds|names|leads|is|looks)/, (verb) => (verb === "is" ? "are" : verb.slice(0, -1)))

/** Names come from outside too: what is not seen is written out. */
const visible = (path: string): string =>
  path.replace(
    /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`
  )

const walk = (
  value: unknown,
  field: Field | undefined,
  found: Findings,
  visit: (text: string, isKey: boolean, field: Field | undefined) => void
): void => {
  if (typeof value === "string") visit(value, false, field)
  if (typeof value !== "object" || value === null) return
  const { path } = found
  if (path.length >= maxDepth) {
    found.tooDeep()
    return
  }
  path.push("")
  const keys: ReadonlyArray<string | number> = Array.isArray(value) ? [...value.keys()] : Object.keys(value)
  for (const key of keys) {
    if (found.full) break
    path[path.length - 1] = key
    if (typeof key === "string") visit(key, true, field)
    walk((value as Record<string | number, unknown>)[key], field?.at(key), found, visit)
  }
  path.pop()
}
