/** Where a schema says that a string is a host: fields annotated with `ToolAnnotations.host`. */
import type * as SchemaAST from "effect/SchemaAST"
import { host } from "../ToolAnnotations.ts"
import type { HostPath } from "./domains.ts"

const annotation = Object.keys(host)[0] as keyof typeof host

/**
 * The paths of the annotated fields, before and after decoding. A schema that
 * contains itself gives paths with `**`, so every level of it is covered.
 */
export const hostPaths = (schema: SchemaAST.AST): ReadonlyArray<HostPath> => {
  // Every path is walked below, and types that contain one another have very many.
  if (!mentionsHost(schema)) return []
  const found: Array<HostPath> = []
  const repeats: Array<{ readonly at: HostPath; readonly from: HostPath }> = []
  const open = new Map<SchemaAST.AST, HostPath>()

  const visit = (ast: SchemaAST.AST, path: HostPath): void => {
    const first = open.get(ast)
    if (first !== undefined) {
      // Met again deeper is a repetition; met again at the same place says nothing new.
      if (first.length < path.length) repeats.push({ at: path, from: first })
      return
    }
    if (isAnnotated(ast)) found.push(path)
    open.set(ast, path)
    for (const [key, child] of children(ast)) visit(child, key === undefined ? path : [...path, key])
    open.delete(ast)
  }
  visit(schema, [])

  const repeated = repeats.flatMap(({ at, from }) =>
    found
      .filter((path) => from.every((key, i) => key === path[i]))
      .map((path) => [...at, "**", ...tail(path)])
  )
  return [...found, ...repeated]
}

/** What a schema is made of, and under which key; without a key it is about the same place. */
const children = (ast: SchemaAST.AST): ReadonlyArray<readonly [string | undefined, SchemaAST.AST]> => {
  const below: Array<readonly [string | undefined, SchemaAST.AST]> = []
  switch (ast._tag) {
    case "Objects":
      for (const property of ast.propertySignatures) below.push([String(property.name), property.type])
      for (const signature of ast.indexSignatures) below.push(["*", signature.type])
      break
    case "Arrays":
      for (const [index, element] of ast.elements.entries()) below.push([String(index), element])
      for (const element of ast.rest) below.push(["*", element])
      break
    case "Union":
      for (const member of ast.types) below.push([undefined, member])
      break
    case "Suspend":
      below.push([undefined, ast.thunk()])
      break
  }
  for (const link of ast.encoding ?? []) below.push([undefined, link.to])
  return below
}

const mentionsHost = (schema: SchemaAST.AST): boolean => {
  const seen = new Set([schema])
  for (const ast of seen) {
    if (isAnnotated(ast)) return true
    for (const [, child] of children(ast)) seen.add(child)
  }
  return false
}

/** The field's own name, with the array or record positions below it. */
const tail = (path: HostPath): HostPath => {
  let start = path.length - 1
  while (start > 0 && path[start] === "*") start--
  return path.slice(Math.max(start, 0))
}

const isAnnotated = (ast: SchemaAST.AST): boolean =>
  ast.annotations?.[annotation] === true ||
  ast.context?.annotations?.[annotation] === true ||
  ast.checks?.some((check) => check.annotations?.[annotation] === true) === true
