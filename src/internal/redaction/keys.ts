/** Which rules know a field by its name. */
import { pattern } from "../lazily.ts"
import type { Rule } from "./rules.ts"

/** A rule that knows fields by their names. */
export interface KeyRule {
  readonly name: string
  readonly keys: RegExp
  readonly holds: (value: string) => boolean
}

/** Names come from outside: longer ones are read from their end, and so many verdicts are remembered. */
const longest = 128
const remembered = 4096

/** The words of a name, in lower case with one space between them. */
export const words = (name: string): string =>
  name
    .slice(-longest)
    .replace(/(\p{Ll}|\d)(\p{Lu})/gu, "$1 $2")
    .replace(/(\p{Lu})(\p{Lu}\p{Ll})/gu, "$1 $2")
    .replace(/(\p{L})(\d)/gu, "$1 $2")
    .replace(/(\d)(\p{L})/gu, "$1 $2")
    .replace(others(), " ")
    .trim()
    .toLowerCase()

const others = pattern(String.raw`[^\p{L}\p{M}\d]+`, "gu")

const none: ReadonlyArray<KeyRule> = []

export class KeyRules {
  readonly #rules: ReadonlyArray<KeyRule>
  readonly #known = new Map<string, ReadonlyArray<KeyRule>>()

  constructor(rules: ReadonlyArray<Rule>) {
    this.#rules = rules.flatMap(({ holds = () => true, keys, name }) =>
      keys === undefined
        ? []
        : [{ name, keys: new RegExp(keys.source, keys.flags.replace(/[gy]/g, "")), holds }]
    )
  }

  /** The rules that a field of this name falls under, in their order. */
  of(name: string): ReadonlyArray<KeyRule> {
    if (name.length < 2) return none
    const known = this.#known.get(name)
    if (known !== undefined) return known
    const text = words(name)
    const found = text === "" ? none : this.#rules.filter(({ keys }) => keys.test(text))
    if (name.length <= longest) {
      if (this.#known.size >= remembered) this.#known.clear()
      this.#known.set(name, found.length === 0 ? none : found)
    }
    return found
  }
}

/** The first of the rules that says that the value is secret. */
export const ruleFor = (rules: ReadonlyArray<KeyRule>, value: string): KeyRule | undefined =>
  value === "" ? undefined : rules.find(({ holds }) => holds(value))
