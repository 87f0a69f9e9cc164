/**
 * Whether a value has keys that its schema does not name, as far as that can be seen ahead of parsing.
 *
 * Effect's parsers look for such keys at each object with two sets and a list, which costs a call more than
 * all the rest of its decoding. Here one walk over the value says that there are none, which is what most
 * calls have; wherever it cannot tell, it says so, and the parser looks.
 */
import * as AST from "effect/SchemaAST"
import { representationOf } from "./schemaFacts.ts"

/** Whether there surely is no unknown key in a value. Throws only what the value's own getters throw. */
export type Keys = (input: unknown) => boolean

/** No object is looked at in this part of a schema. */
const none: Keys = () => true
/** What is parsed here is not what came, or it depends on what else is there. */
const undecided: Keys = () => false

export const keysOf = (ast: AST.AST): Keys => {
  if (ast.encoding === undefined) return ownKeysOf(ast)
  // What came is read by the last link; what the links make of it is parsed again.
  const [first, ...made] = [ast, ...ast.encoding.map(({ to }) => to)].reverse()
  return ownKeysOf(ast) === none && made.slice(0, -1).every((to) => keysOf(to) === none)
    ? keysOf(first!)
    : undecided
}

const ownKeysOf = (ast: AST.AST): Keys => {
  switch (ast._tag) {
    case "Objects":
      return keysOfObject(ast)
    case "Arrays":
      return keysOfArray(ast)
    case "Union":
      return all(ast.types.map(keysOf))
    case "Declaration":
      return isLeaf(ast) ? none : undecided
    case "Suspend":
      return undecided
    default:
      return none
  }
}

/** Effect's own declarations without parameters look at a value and parse none of its parts. */
const isLeaf = (ast: AST.Declaration): boolean =>
  ast.typeParameters.length === 0 && representationOf(ast)?.startsWith("effect/schema/") === true

/** Whichever member of a union is tried: none of them may find a key too many. */
const all = (each: ReadonlyArray<Keys>): Keys => {
  const some = each.filter((keys) => keys !== none)
  if (some.length <= 1) return some[0] ?? none
  return some.includes(undecided) ? undecided : (input) => some.every((keys) => keys(input))
}

const keysOfObject = (ast: AST.Objects): Keys => {
  const { indexSignatures, propertySignatures } = ast
  // A struct without fields takes anything.
  if (propertySignatures.length === 0 && indexSignatures.length === 0) return none
  const names = new Set<PropertyKey>()
  const parts: Array<readonly [name: string, keys: Keys]> = []
  for (const { name, type } of propertySignatures) {
    if (typeof name === "symbol") return undecided
    names.add(String(name))
    const keys = keysOf(type)
    if (keys === undecided) return undecided
    if (keys !== none) parts.push([String(name), keys])
  }
  if (!indexSignatures.every(({ parameter }) => takesAnyName(parameter))) return undecided
  const others = all(indexSignatures.map(({ type }) => keysOf(type)))
  if (others === undecided) return undecided
  const open = indexSignatures.length > 0
  return (input) => {
    if (typeof input !== "object" || input === null || Array.isArray(input)) return true
    for (const key in input) {
      if (!open) {
        if (!names.has(key)) return false
      } else if (others !== none && !others((input as Record<string, unknown>)[key])) return false
    }
    for (let i = 0; i < parts.length; i++) {
      const [name, keys] = parts[i]!
      if (!keys((input as Record<string, unknown>)[name])) return false
    }
    return Object.getOwnPropertySymbols(input).length === 0
  }
}

const takesAnyName = (ast: AST.AST): boolean =>
  AST.isString(ast) && ast.checks === undefined && ast.encoding === undefined

const keysOfArray = (ast: AST.Arrays): Keys => {
  const elements = ast.elements.map(keysOf)
  const rest = ast.rest.map(keysOf)
  const parts = [...elements, ...rest]
  if (parts.every((keys) => keys === none)) return none
  // What follows what repeats is counted from the end.
  if (parts.includes(undecided) || rest.length > 1) return undecided
  return (input) => {
    if (!Array.isArray(input)) return true
    for (let i = 0; i < input.length; i++) {
      const keys = elements[i] ?? rest[0]
      if (keys !== undefined && !keys(input[i])) return false
    }
    return true
  }
}
