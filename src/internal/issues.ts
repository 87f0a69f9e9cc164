/**
 * What is wrong with a call's arguments, or with a tool's result, in plain
 * words: one voice for Effect's schemas and for raw JSON Schemas.
 *
 * Nothing here ever says a value. `found` is the kind of thing that was found;
 * what was expected comes from the schema. A name that the caller made up is
 * said only where it is unknown, cut and escaped; anywhere else it is `*`.
 */
import type { Issue } from "../ToolError.ts"

export type Path = ReadonlyArray<string | number>

/** At most so many issues are told one by one. */
const maxIssues = 50

const maxMessage = 400
const maxListed = 20

/** Whose issues these are, and which names may be said. */
export interface Subject {
  readonly root: "The arguments" | "The result" | "The call"
  readonly noun: "parameter" | "field"
  /** The names that the schema uses itself. */
  readonly names: ReadonlySet<string>
}

// --- Words -----------------------------------------------------------------

/** The kind of thing a value is; never the value. */
export const kindOf = (value: unknown): string => {
  if (value === null) return "null"
  if (Array.isArray(value)) return "array"
  if (typeof value !== "number") return typeof value
  if (Number.isNaN(value)) return "NaN"
  return Number.isFinite(value) ? "number" : "infinity"
}

/** `a string`, `an array`; words that already have an article, or are names, stay as they are. */
export const withArticle = (noun: string): string =>
  /^(an? |the |one of |nothing|null$|undefined$|NaN$|infinity$|true$|false$|["\d-])/.test(noun)
    ? noun
    : `${/^[aeio]/i.test(noun) ? "an" : "a"} ${noun}`

/** Kinds of things are few, and said with every problem. */
const kinds = new Map<string, string>()

const kindWithArticle = (kind: string): string => {
  const said = kinds.get(kind) ?? withArticle(kind)
  kinds.set(kind, said)
  return said
}

/** `2 items`, `1 item`. */
export const count = (n: number, noun: string): string => `${n} ${n === 1 ? noun : `${noun}s`}`

/** `2 properties`, `1 property`. */
export const properties = (n: number): string => (n === 1 ? "1 property" : `${n} properties`)

/** `one of "C", "F"`, cut where the list is long. */
export const oneOf = (literals: ReadonlyArray<unknown>): string => {
  const shown = literals.slice(0, maxListed).map((literal) => cut(sayLiteral(literal), 40))
  const more = literals.length - shown.length
  if (literals.length === 1) return shown[0]!
  return `one of ${shown.join(", ")}${more > 0 ? ` or ${more} more` : ""}`
}

const sayLiteral = (literal: unknown): string =>
  typeof literal === "bigint" || typeof literal === "symbol" ? String(literal) : JSON.stringify(literal)

/** `a string or a number`, cut where there are many. */
export const anyOf = (phrases: ReadonlyArray<string>): string => {
  const distinct = [...new Set(phrases)]
  const shown = distinct.slice(0, 5)
  return distinct.length > 5
    ? `${shown.join(", ")} or one of ${distinct.length - 5} other kinds`
    : shown.join(" or ")
}

export const cut = (text: string, length: number): string =>
  text.length <= length ? text : `${text.slice(0, length).toWellFormed()}…`

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not reach a log or a terminal
const unprintable = /["\\\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g

/** A name that the caller made up, fit to be said: cut, and with what is not printable escaped. */
const sayName = (name: string): string =>
  cut(name.toWellFormed(), 64).replace(
    unprintable,
    (c) => `\\${c === '"' || c === "\\" ? c : `u${c.charCodeAt(0).toString(16).padStart(4, "0")}`}`
  )

/** `user.address.zip`, `tags[2]`; the middle of a very long path is left out. */
const place = (path: Path): string => {
  if (path.length === 1 && typeof path[0] === "string") return path[0]
  const say = (parts: Path, text: string): string =>
    parts.reduce<string>(
      (text, part) =>
        typeof part === "number" ? `${text}[${part}]` : text === "" ? part : `${text}.${part}`,
      text
    )
  return path.length <= 12 ? say(path, "") : say(path.slice(-5), `${say(path.slice(0, 6), "")}.…`)
}

/** The known name that a made-up one was probably meant to be: at most two slips, and less than half the name. */
export const closest = (name: string, known: Iterable<string>): string | undefined => {
  if (name.length > 64) return undefined
  let best: string | undefined
  let least = Math.min(2, Math.floor((name.length - 1) / 2)) + 1
  let tried = 0
  for (const candidate of known) {
    if (++tried > 200) break
    if (candidate === name || Math.abs(candidate.length - name.length) >= least) continue
    const distance = slips(name.toLowerCase(), candidate.toLowerCase())
    if (distance < least) {
      least = distance
      best = candidate
    }
  }
  return best
}

/** How many letters to insert, remove, replace or swap with their neighbour. */
const slips = (a: string, b: string): number => {
  let before: Array<number> = []
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let least = Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, before[j - 2]! + 1)
      }
      row.push(least)
    }
    before = previous
    previous = row
  }
  return previous[b.length]!
}

// --- Collecting ------------------------------------------------------------

/** Collects issues: those of the schema in its order, unknown names last, and beyond the bound only their number. */
export class Issues {
  readonly subject: Subject
  #known: Array<Issue> = []
  #unknown: Array<Issue> = []
  #more = 0

  constructor(subject: Subject) {
    this.subject = subject
  }

  get size(): number {
    return this.#known.length + this.#unknown.length + this.#more
  }

  /** Whether a further issue would only be counted. */
  get full(): boolean {
    return this.#known.length >= maxIssues
  }

  /** `must` goes on after `"a" must `; the kind that was found is said where it is what is wrong. */
  must(path: Path, must: string, found: string, sayFound = false): this {
    const expected = must.startsWith("be ") ? must.slice(3) : must.startsWith("have ") ? must.slice(5) : must
    const tail = sayFound ? `, found ${kindWithArticle(found)}` : ""
    return this.add(path, expected, found, `${this.#say(path)} must ${must}${tail}`)
  }

  /** The wrong kind of thing. */
  type(path: Path, expected: string, found: string): this {
    const kind = kindWithArticle(found)
    return this.must(
      path,
      `be ${expected}`,
      found,
      expected !== kind && !expected.split(" or ").includes(kind)
    )
  }

  missing(path: Path, expected: string, neededBy?: string): this {
    const what = typeof path.at(-1) === "number" ? "item" : this.subject.noun
    const why = neededBy === undefined ? "" : `, which "${neededBy}" needs`
    return this.add(path, expected, "missing", `Missing required ${what} "${place(path)}"${why}`)
  }

  /** A name, or an item of an array, that the schema has no place for. */
  unknown(path: Path, key: string | number, found: string, known: Iterable<string> = []): this {
    const say = typeof key === "number" ? key : sayName(key)
    const meant = typeof key === "number" ? undefined : closest(key, known)
    const hint = meant === undefined ? "" : `; did you mean "${place([...path, meant])}"?`
    const what = typeof key === "number" ? "Unexpected item" : `Unknown ${this.subject.noun}`
    const at = [...path, say]
    return this.#push(this.#unknown, at, "nothing", found, `${what} "${place(at)}"${hint}`)
  }

  /** Something else is wrong at `path`; `what` goes on after `"a" `. */
  say(path: Path, expected: string, found: string, what: string): this {
    return this.add(path, expected, found, `${this.#say(path)} ${what}`)
  }

  add(path: Path, expected: string, found: string, message: string): this {
    return this.#push(this.#known, path, expected, found, message)
  }

  toArray(): ReadonlyArray<Issue> {
    if (this.#unknown.length === 0 && this.#more === 0) return this.#known
    const all = [...this.#known, ...this.#unknown]
    const more = this.#more + Math.max(0, all.length - maxIssues)
    if (more === 0) return all
    const message = `and ${count(more, "more problem")}`
    return [...all.slice(0, maxIssues), { path: [], expected: "fewer problems", found: "more", message }]
  }

  #say(path: Path): string {
    return path.length === 0 ? this.subject.root : `"${place(path)}"`
  }

  #push(to: Array<Issue>, path: Path, expected: string, found: string, text: string): this {
    const message = cut(text, maxMessage)
    // Two parts of a schema may ask for the same thing, and made-up names all read `*`.
    if (to.some((issue) => issue.message === message)) return this
    if (to.length >= maxIssues) this.#more++
    else
      to.push({
        path: path.length > 64 ? path.slice(0, 64) : path,
        expected: cut(expected, maxMessage),
        found,
        message
      })
    return this
  }
}
