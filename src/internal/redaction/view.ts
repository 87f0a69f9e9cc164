/** Shows values: what is declared of them, what their names say, what is found in their texts. */
import * as Redacted from "effect/Redacted"
import * as ArgumentPath from "../argumentPath.ts"
import * as Raw from "../raw.ts"
import { isCard } from "./checks.ts"
import type { Place } from "./declared.ts"
import { type KeyRule, type KeyRules, ruleFor } from "./keys.ts"
import { declared } from "./rules.ts"
import type { Spans } from "./text.ts"

/** A value as anyone may see it. */
export interface View {
  /** JSON, with what is secret replaced by a mask that says which rule hid it. */
  readonly value: unknown
  /** Where something was masked, as `ArgumentPath.format` writes paths, and by which rule; the first 1,000 places. */
  readonly masked: ReadonlyArray<{ readonly path: string; readonly rule: string }>
}

export interface Config {
  readonly keys: KeyRules
  readonly spans: Spans
  readonly mask: (rule: string) => string
  readonly isMask: (text: string) => boolean
  readonly maxLength: number
  /** The rule for cards, where there is one: numbers may be some. */
  readonly cards: boolean
}

const maxDepth = 200
const maxValues = 100_000
const maxMasked = 1000
const maxRounds = 4
/** Read beyond what is shown, so that what is cut in the middle is still known. */
const overlap = 4096

const noRules: ReadonlyArray<KeyRule> = []

/** Shows a value. */
export const view = (config: Config, value: unknown, place: Place | undefined): View => {
  const walk = new Walk(config)
  try {
    return { value: walk.show(value, place, noRules, 0), masked: walk.masked }
  } catch {
    // A value whose own code throws is shown to nobody.
    return { value: "[cannot be read]", masked: walk.masked }
  }
}

/** Shows a text. */
export const text = (config: Config, text: string): string => new Walk(config).text(text)

class Walk {
  readonly masked: Array<{ readonly path: string; readonly rule: string }> = []
  readonly #config: Config
  readonly #path: Array<string | number> = []
  readonly #open = new Set<object>()
  #left = maxValues
  /** Within a text that is itself JSON, which is entered once. */
  #inText = false

  constructor(config: Config) {
    this.#config = config
  }

  show(value: unknown, place: Place | undefined, rules: ReadonlyArray<KeyRule>, depth: number): unknown {
    if (this.#left-- <= 0) return "[not shown: too many values]"
    if (place?.whole) return this.#hide(value, declared)
    switch (typeof value) {
      case "string": {
        if (this.#config.isMask(value)) return value
        const rule = ruleFor(rules, value)
        return rule === undefined ? this.text(value, place) : this.#hide(value, rule.name)
      }
      case "number":
      case "bigint": {
        const digits = String(value)
        const rule = rules.length === 0 ? undefined : ruleFor(rules, digits)
        if (rule !== undefined) return this.#hide(digits, rule.name)
        if (this.#config.cards && digits.length >= 14 && /^\d+$/.test(digits) && isCard(digits)) {
          return this.#hide(digits, "card")
        }
        return typeof value === "bigint" ? digits : value
      }
      case "boolean":
      case "undefined":
        return value
      case "object":
        break
      default:
        return `[${typeof value}]`
    }
    if (value === null) return null
    if (depth > maxDepth) return `[not shown: more than ${maxDepth} levels]`
    if (this.#open.has(value)) return "[circular]"
    this.#open.add(value)
    const shown = Array.isArray(value)
      ? this.#array(value, place, rules, depth)
      : this.#object(value, place, rules, depth)
    this.#open.delete(value)
    return shown
  }

  /** A text with what is found in it masked; what is too long is cut. */
  text(whole: string, place?: Place): string {
    const { maxLength } = this.#config
    const json = this.#json(whole, place)
    if (json !== undefined) return json
    const cut = whole.length <= maxLength ? whole.length : wordStart(whole, maxLength)
    let shown = this.#masked(whole, cut)
    // A mask ends the word it stands in, and what was hidden in its middle may begin one now.
    for (let round = 0; round < maxRounds && shown !== undefined; round++) {
      const again = this.#masked(shown, shown.length)
      if (again === undefined) break
      shown = again
    }
    shown ??= whole.slice(0, cut)
    return cut === whole.length ? shown : `${shown}… [${whole.length - cut} more characters not shown]`
  }

  /** The text up to the cut with what is found in it masked; `undefined` where nothing is. */
  #masked(text: string, cut: number): string | undefined {
    const { spans } = this.#config
    let shown: string | undefined
    let at = 0
    for (const { end, rule, start } of spans(text.slice(0, cut + overlap))) {
      if (start >= cut) break
      shown = (shown ?? "") + text.slice(at, start) + this.#note(rule)
      at = Math.min(end, cut)
    }
    return shown === undefined ? undefined : shown + text.slice(at, cut)
  }

  /**
   * A text that is an object or a list as JSON is shown as one, by what is declared of it: models write so what they
   * should give as it is. `undefined` where it is none, or hides nothing.
   */
  #json(text: string, place: Place | undefined): string | undefined {
    if (this.#inText || text.length > this.#config.maxLength || !/^\s{0,100}[{[]/.test(text)) return undefined
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      return undefined
    }
    this.#inText = true
    const before = this.masked.length
    const shown = this.show(value, place, noRules, 1)
    this.#inText = false
    return this.masked.length === before ? undefined : JSON.stringify(shown)
  }

  #array(
    value: ReadonlyArray<unknown>,
    place: Place | undefined,
    rules: ReadonlyArray<KeyRule>,
    depth: number
  ): Array<unknown> {
    const shown: Array<unknown> = []
    const pair = value.length === 2
    for (let index = 0; index < value.length && this.#left > 0; index++) {
      this.#path.push(index)
      const named = index === 0 ? noRules : this.#namedBy(value[index - 1], pair && index === 1)
      shown.push(this.show(value[index], place?.at(String(index)), both(named, rules), depth + 1))
      this.#path.pop()
    }
    if (shown.length < value.length) shown.push(`[${value.length - shown.length} more values not shown]`)
    return shown
  }

  /** `["Authorization", "…"]` and `["--password", "…"]`: what an element says of the next. */
  #namedBy(before: unknown, pair: boolean): ReadonlyArray<KeyRule> {
    if (typeof before !== "string" || before.length > 64 || !(pair || /^--\w/.test(before))) return noRules
    return /^[\w.-]+$/.test(before) ? this.#config.keys.of(before) : noRules
  }

  #object(value: object, place: Place | undefined, rules: ReadonlyArray<KeyRule>, depth: number): unknown {
    if (Redacted.isRedacted(value)) return this.#note(declared)
    if (Raw.isRaw(value)) return String(value)
    if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
    if (value instanceof URL) return this.text(value.href)
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`
    if (value instanceof Map || value instanceof Set) return this.#array([...value], place, rules, depth)
    const shown: Record<string, unknown> = {}
    if (value instanceof Error) {
      shown["name"] = this.text(value.name)
      shown["message"] = this.text(value.message)
    }
    const label = labelOf(value)
    let masked = value instanceof Error
    for (const key of Object.keys(value)) {
      if (this.#left <= 0) break
      const name = key.length < 8 ? key : this.text(key)
      this.#path.push(name)
      const named = label !== undefined && valueNames.has(key) ? label : key
      // A getter is somebody's code, and is not run.
      const item: unknown = Object.getOwnPropertyDescriptor(value, key)?.value
      const view = this.show(item, place?.at(key), both(this.#config.keys.of(named), rules), depth + 1)
      masked ||= name !== key
      // The plain way is much the faster one, and nearly always right.
      if (masked || key === "__proto__") define(shown, name, view)
      else shown[key] = view
      this.#path.pop()
    }
    return shown
  }

  #hide(value: unknown, rule: string): unknown {
    if (value === undefined) return undefined
    return this.#note(rule)
  }

  #note(rule: string): string {
    if (this.masked.length < maxMasked) {
      const path = ArgumentPath.format(this.#path)
      const last = this.masked.at(-1)
      if (last?.path !== path || last.rule !== rule) this.masked.push({ path, rule })
    }
    return this.#config.mask(rule)
  }
}

/** `{ name: "DB_PASSWORD", value: "…" }`: headers, variables and forms as lists. */
const labelNames = ["name", "key", "header", "field", "variable", "parameter", "id"]
const valueNames: ReadonlySet<string> = new Set(["value", "values", "val", "default"])

const labelOf = (value: object): string | undefined => {
  for (const name of labelNames) {
    const label: unknown = Object.getOwnPropertyDescriptor(value, name)?.value
    if (typeof label === "string" && label.length <= 128) return label
  }
  return undefined
}

const both = (own: ReadonlyArray<KeyRule>, above: ReadonlyArray<KeyRule>): ReadonlyArray<KeyRule> =>
  above.length === 0 ? own : own.length === 0 ? above : [...own, ...above]

/** Where the word begins that the cut would divide. */
const wordStart = (text: string, cut: number): number => {
  let start = cut
  while (start > 0 && !/[\s"'`<>]/.test(text[start - 1]!)) start--
  return start
}

/** Under a name of its own, whatever that is: masks may be alike, and `__proto__` is a name like any other. */
const define = (record: Record<string, unknown>, key: string, value: unknown): void => {
  let free = key
  for (let n = 2; Object.hasOwn(record, free); n++) free = `${key} (${n})`
  Object.defineProperty(record, free, { value, writable: true, enumerable: true, configurable: true })
}
