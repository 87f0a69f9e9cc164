/**
 * Which operations become tools. A selector matches what matches all of its lists, each by any of its
 * patterns; a list of selectors matches what any of them does. `exclude` wins. A pattern that matches nothing
 * is a mistake, and is told.
 */
import * as Schema from "effect/Schema"
import * as Glob from "../../internal/glob.ts"
import { methods } from "../OutboundHttp.ts"
import { Unusable } from "./document.ts"
import type { Found } from "./find.ts"

const Globs = Schema.NonEmptyArray(Schema.NonEmptyString)

/** In patterns `*` is any run of characters, slashes included, and case is ignored. */
export const Selector = Schema.Struct({
  tags: Schema.optionalKey(Globs),
  /** As the document writes paths: `/pets/*`. */
  paths: Schema.optionalKey(Globs),
  /** Operation ids, or methods and paths: `listPets`, `GET /pets`. */
  operations: Schema.optionalKey(Globs),
  methods: Schema.optionalKey(Schema.NonEmptyArray(Schema.Literals(methods)))
})
export type Selector = typeof Selector.Type

type Key = keyof Selector
const keys: ReadonlyArray<Key> = ["tags", "paths", "operations", "methods"]

/** What an operation goes by in options: its id too, but for one that reads as if it were another operation's method or path. */
export const namesOf = ({
  method,
  operationId,
  path
}: Pick<Found, "method" | "operationId" | "path">): ReadonlyArray<string> =>
  operationId === undefined || isMisleading(operationId, method)
    ? [`${method} ${path}`]
    : [operationId, `${method} ${path}`]

const isMisleading = (id: string, method: string): boolean => {
  const word = /^\s*(\w+)\s/.exec(id)?.[1]?.toUpperCase()
  return /\s\//.test(id) || (word !== method && methods.some((each) => each === word))
}

const textsOf = (key: Key, found: Found): ReadonlyArray<string> => {
  switch (key) {
    case "tags":
      return found.tags
    case "paths":
      return [found.path]
    case "operations":
      return namesOf(found)
    case "methods":
      return [found.method]
  }
}

const isSelected = (selector: Selector, found: Found): boolean =>
  keys.every(
    (key) => selector[key] === undefined || Glob.find(selector[key], textsOf(key, found)) !== undefined
  )

/** The selected ones; throws `Unusable`, with the option as its place, where a pattern matches nothing. */
export const select = (
  all: ReadonlyArray<Found>,
  include: ReadonlyArray<Selector> | undefined,
  exclude: ReadonlyArray<Selector> | undefined
): ReadonlyArray<Found> => {
  checkPatterns("include", all, include)
  checkPatterns("exclude", all, exclude)
  return all.filter(
    (found) =>
      (include === undefined || include.some((selector) => isSelected(selector, found))) &&
      !exclude?.some((selector) => isSelected(selector, found))
  )
}

const checkPatterns = (
  option: string,
  all: ReadonlyArray<Found>,
  selectors: ReadonlyArray<Selector> = []
): void => {
  for (const [index, selector] of selectors.entries()) {
    for (const key of keys) {
      for (const pattern of key === "methods" ? [] : (selector[key] ?? [])) {
        if (all.some((found) => Glob.matchesAny(pattern, textsOf(key, found)))) continue
        throw new Unusable(`${option}[${index}].${key}`, `no operation matches ${JSON.stringify(pattern)}`)
      }
    }
  }
}

/**
 * What is said of operations by their names, for each that was found; throws `Unusable` where there is none
 * of a name.
 */
export const overridesOf = <A extends object>(
  all: ReadonlyArray<Found>,
  said: Readonly<Record<string, A>>
): ReadonlyMap<Found, A> => {
  const overrides = new Map<Found, A>()
  for (const [name, override] of Object.entries(said)) {
    const found = all.filter((each) => namesOf(each).includes(name))
    if (found.length === 0) throw new Unusable(`operations.${name}`, "the document has no such operation")
    for (const each of found) overrides.set(each, { ...overrides.get(each), ...override })
  }
  return overrides
}
