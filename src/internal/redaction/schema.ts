/** What an Effect schema declares to be secret: `Schema.Redacted`, and fields annotated with `ToolAnnotations.sensitive`. */
import * as Schema from "effect/Schema"
import type * as AST from "effect/SchemaAST"
import { sensitive } from "../../ToolAnnotations.ts"
import { either, everything, Graph, type Place, type Shape } from "./declared.ts"

const annotation = Object.keys(sensitive)[0] as keyof typeof sensitive

/** Stands for what a transformation may have put under a key. */
const hidden: AST.AST = Schema.String.annotate(sensitive).ast

/** The declared places of a value before it is decoded, of one that was encoded, and of what that codec writes as JSON. */
export const declaredBy = (schema: Schema.Constraint): Place | undefined => {
  try {
    const plain = declaredIn(schema.ast)
    return plain === undefined ? undefined : either(plain, declaredIn(jsonOf(schema)))
  } catch {
    return everything
  }
}

const jsonOf = (schema: Schema.Constraint): AST.AST => {
  try {
    return Schema.toCodecJson(schema as Schema.Top).ast
  } catch {
    return schema.ast
  }
}

const declaredIn = (root: AST.AST): Place | undefined => {
  const lost = new Lost()
  for (;;) {
    const graph = new Graph([root], (ast) => look(ast, lost))
    const before = lost.size
    for (const ast of graph.shapes.keys()) {
      if (graph.hot.has(ast)) for (const link of ast.encoding ?? []) lost.compare(graph, ast, link.to)
    }
    if (lost.size === before) return graph.place([root])
  }
}

const look = (ast: AST.AST, lost: Lost): Shape<AST.AST> => {
  const same: Array<AST.AST> = (ast.encoding ?? []).map(({ to }) => to)
  const below: Array<readonly [string | undefined, AST.AST]> = [...lost.below(ast)]
  let within: ReadonlyArray<AST.AST> = []
  switch (ast._tag) {
    case "Objects":
      for (const { name, type } of ast.propertySignatures) below.push([String(name), type])
      for (const { type } of ast.indexSignatures) below.push([undefined, type])
      break
    case "Arrays":
      for (const [index, element] of ast.elements.entries()) below.push([String(index), element])
      for (const element of ast.rest) below.push([undefined, element])
      break
    case "Union":
      same.push(...ast.types)
      break
    case "Suspend":
      same.push(ast.thunk())
      break
    case "Declaration":
      same.push(...ast.typeParameters)
      // How it holds them only its codec says.
      if (ast.encoding === undefined) within = ast.typeParameters
      break
  }
  return { declared: isDeclared(ast) || lost.has(ast), same, below, within }
}

const isDeclared = (ast: AST.AST): boolean =>
  ast.annotations?.[annotation] === true ||
  ast.context?.annotations?.[annotation] === true ||
  ast.checks?.some((check) => check.annotations?.[annotation] === true) === true ||
  (ast.annotations?.["representation"] as { readonly id?: unknown } | undefined)?.id ===
    "effect/schema/Redacted"

/**
 * What transformations take out of sight. `{ secret: Redacted }` decoded from `{ s: String }` says nothing of `s`:
 * the encoded side's fields that the decoded side does not have are hidden then, or all of it where there are none.
 */
class Lost {
  readonly #whole = new Set<AST.AST>()
  readonly #keys = new Map<AST.AST, Set<string | undefined>>()
  size = 0

  has(ast: AST.AST): boolean {
    return this.#whole.has(ast)
  }

  below(ast: AST.AST): ReadonlyArray<readonly [string | undefined, AST.AST]> {
    return [...(this.#keys.get(ast) ?? [])].map((key) => [key, hidden])
  }

  compare(graph: Graph<AST.AST>, type: AST.AST, encoded: AST.AST): void {
    if (!this.#covers(graph, type, [encoded], new Set())) this.#add(this.#whole, type)
  }

  /** Whether every declared place of the decoded side has one on the encoded side, or what may be it is hidden. */
  #covers(
    graph: Graph<AST.AST>,
    type: AST.AST,
    encoded: ReadonlyArray<AST.AST>,
    seen: Set<AST.AST>
  ): boolean {
    if (!graph.hot.has(type) || isDeclared(type) || this.has(type) || seen.has(type)) return true
    seen.add(type)
    const there = graph.same(encoded)
    switch (type._tag) {
      case "Union":
        return type.types.every((member) => this.#covers(graph, member, encoded, seen))
      case "Suspend":
        return this.#covers(graph, type.thunk(), encoded, seen)
      case "Declaration":
        // A class is described by the struct of its fields; other declarations only by their codecs.
        return (
          there.some((ast) => graph.hot.has(ast)) ||
          type.typeParameters.every((parameter) => this.#covers(graph, parameter, encoded, seen))
        )
      case "Objects":
      case "Arrays":
        break
      default:
        return true
    }
    const own = graph.shapes.get(type)!.below
    const names = new Set(own.map(([key]) => key))
    return own.every(([key, child]) => {
      if (!graph.hot.has(child)) return true
      const others = there.filter((ast) => ast._tag === type._tag)
      const matching = others.flatMap((ast) =>
        graph.shapes
          .get(ast)!
          .below.flatMap(([other, node]) => (other === key || other === undefined ? [node] : []))
      )
      if (matching.length > 0) return this.#covers(graph, child, matching, seen)
      const unexplained = others.flatMap((ast) =>
        graph.shapes.get(ast)!.below.flatMap(([other]) => (names.has(other) ? [] : [[ast, other] as const]))
      )
      for (const [ast, other] of unexplained) {
        const keys = this.#keys.get(ast) ?? new Set()
        this.#keys.set(ast, keys)
        this.#add(keys, other)
      }
      return unexplained.length > 0
    })
  }

  #add<A>(set: Set<A>, item: A): void {
    if (set.has(item)) return
    set.add(item)
    this.size++
  }
}
