/**
 * The walk over arguments and results. Most hold nothing but plain strings, and are not walked: only what is
 * not plain is, with its place.
 */
import type { Finding, Rule, Setting } from "../../Screening.ts"
import type { Screen } from "../../ToolAnnotations.ts"
import * as ArgumentPath from "../argumentPath.ts"
import { pattern } from "../lazily.ts"
import * as Characters from "./characters.ts"
import type { Field, Fields } from "./fields.ts"
import * as SpoofedHosts from "./hosts.ts"
import * as Instructions from "./instructions.ts"
import * as Patterns from "./patterns.ts"
import { isPlain, isPlainPath, isPlainText, isPlainWord, maskOf, maxDepth, mayHold } from "./plain.ts"

type Severities = { readonly [R in Rule]: Setting }

/** What every scan gives that finds nothing. */
const none: ReadonlyArray<Finding> = Object.freeze([])

const maxFindings = 20

// --- Scans -----------------------------------------------------------------

/** Every finding in arguments. */
export const scanParams = (
  raw: unknown,
  settings: Severities,
  fields: Fields | undefined
): ReadonlyArray<Finding> => {
  // A field that is said to be a path takes less than others do.
  if (isPlain(raw, fields?.paths === true ? isPlainPath : isPlainText, 0)) return none
  const found = new Findings("The arguments")
  walk(raw, fields?.root, found, (text, isKey, field) => screenParam(text, field, settings, found, isKey))
  return found.all()
}

/** Every finding in a result. */
export const scanResult = (encoded: unknown, settings: Severities): ReadonlyArray<Finding> => {
  if (isPlain(encoded, isPlainWord, 0)) return none
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
  const mayBeSql = sql !== undefined && mayHold.sql(mask, text)
  const mayBeScript = script !== undefined && mayHold.script(mask, text)
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

const unseen = pattern(String.raw`[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]`, "gu")

/** Names come from outside too: what is not seen is written out. */
const visible = (path: string): string =>
  path.replace(unseen(), (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`)

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
