/** What a raw JSON Schema declares to be secret: `format: "password"`, `writeOnly`, `interlock/sensitive`, `x-sensitive`. */
import { isRecord, type Json } from "../jsonSchema/facts.ts"
import { everything, Graph, type Place, type Shape } from "./declared.ts"

const sameOne = ["if", "then", "else", "not"]
const sameList = ["allOf", "anyOf", "oneOf"]
const sameMap = ["dependentSchemas", "dependencies"]
// A foreign pattern is not run: what it describes may stand under any name.
const anyMap = ["patternProperties"]
const any = [
  "additionalProperties",
  "unevaluatedProperties",
  "contains",
  "additionalItems",
  "unevaluatedItems",
  "items"
]

export const declaredBy = (root: unknown): Place | undefined => {
  if (!isRecord(root)) return undefined
  try {
    const ids = idsOf(root)
    return new Graph<Json>([root], (node) => look(root, ids, node)).place([root])
  } catch {
    return everything
  }
}

const look = (root: Json, ids: Ids, node: Json): Shape<Json> => {
  const same: Array<Json> = []
  const below: Array<readonly [string | undefined, Json]> = []
  const within: Array<Json> = []
  const add = (into: Array<Json>, value: unknown): void => {
    if (isRecord(value)) into.push(value)
  }
  for (const key of sameOne) add(same, node[key])
  for (const key of sameList) for (const item of listOf(node[key])) add(same, item)
  for (const key of sameMap) for (const [, item] of entriesOf(node[key])) add(same, item)
  for (const [key, item] of entriesOf(node["properties"])) if (isRecord(item)) below.push([key, item])
  for (const key of anyMap)
    for (const [, item] of entriesOf(node[key])) if (isRecord(item)) below.push([undefined, item])
  for (const key of any) {
    for (const item of [node[key], ...listOf(node[key])]) if (isRecord(item)) below.push([undefined, item])
  }
  for (const [index, item] of listOf(node["prefixItems"]).entries()) {
    if (isRecord(item)) below.push([String(index), item])
  }
  add(within, node["contentSchema"])
  for (const keyword of ["$ref", "$dynamicRef", "$recursiveRef"]) {
    const ref = node[keyword]
    if (typeof ref !== "string") continue
    const target = ids.of(root, ref)
    if (target !== undefined) same.push(target)
    // Whatever it means is somewhere in here.
    if (target === undefined || ids.nested) within.push(root)
  }
  return { declared: isDeclared(node), same, below, within }
}

const isDeclared = (node: Json): boolean =>
  node["format"] === "password" ||
  node["writeOnly"] === true ||
  node["interlock/sensitive"] === true ||
  node["x-sensitive"] === true

// --- References ------------------------------------------------------------

interface Ids {
  readonly of: (root: Json, ref: string) => Json | undefined
  /** A schema within has an address of its own, so references in it are not relative to the root. */
  readonly nested: boolean
}

const idsOf = (root: Json): Ids => {
  const known = new Map<string, Json>()
  let nested = false
  const seen = new Set<object>()
  const stack: Array<unknown> = [root]
  while (stack.length > 0) {
    const node = stack.pop()
    if (typeof node !== "object" || node === null || seen.has(node)) continue
    seen.add(node)
    stack.push(...Object.values(node))
    if (!isRecord(node)) continue
    for (const keyword of ["$id", "id"]) {
      const id = node[keyword]
      if (typeof id !== "string") continue
      known.set(id, node)
      if (node !== root) nested = true
    }
    for (const keyword of ["$anchor", "$dynamicAnchor"]) {
      if (typeof node[keyword] === "string") known.set(`#${node[keyword]}`, node)
    }
    if (node["$recursiveAnchor"] === true && node !== root) nested = true
  }
  return { nested, of: (root, ref) => known.get(ref) ?? pointer(root, ref) }
}

const pointer = (root: Json, ref: string): Json | undefined => {
  if (ref !== "#" && !ref.startsWith("#/")) return undefined
  let node: unknown = root
  for (const token of ref.slice(1).split("/").slice(1)) {
    const key = decodeURIComponent(token).replaceAll("~1", "/").replaceAll("~0", "~")
    if (typeof node !== "object" || node === null || !Object.hasOwn(node, key)) return undefined
    node = (node as Json)[key]
  }
  return isRecord(node) ? node : undefined
}

const listOf = (value: unknown): ReadonlyArray<unknown> => (Array.isArray(value) ? value : [])
const entriesOf = (value: unknown): ReadonlyArray<[string, unknown]> =>
  isRecord(value) ? Object.entries(value) : []
