/** What is known of an Effect schema by walking it once. */
import * as AST from "effect/SchemaAST"

/** Every property name that a schema itself uses, decoded or encoded, at any depth. */
export const namesIn = (root: AST.AST): ReadonlySet<string> => {
  const names = new Set<string>()
  walk(root, (ast) => {
    if (!AST.isObjects(ast)) return
    for (const { name } of ast.propertySignatures) if (typeof name === "string") names.add(name)
  })
  return names
}

/** What a declaration says that it is; Effect's own begin with `effect/schema/`. */
export const representationOf = (ast: AST.AST): string | undefined => {
  const representation = ast.annotations?.["representation"] as { readonly id?: unknown } | undefined
  return typeof representation?.id === "string" ? representation.id : undefined
}

/** Whether a schema has a part that Effect's JSON codec must not write: `Any` it leaves as it is, `Redacted` it lays open. */
export const beyondCodec = (root: AST.AST): boolean => {
  let found = false
  walk(root, (ast) => {
    found ||= AST.isAny(ast) || representationOf(ast) === "effect/schema/Redacted"
  })
  return found
}

/** Whether a schema only checks values and copies what holds them. */
export const onlyChecks = (root: AST.AST): boolean => {
  let only = true
  walk(root, (ast) => {
    only &&= ast.encoding === undefined && !AST.isDeclaration(ast) && !AST.isSuspend(ast)
  })
  return only
}

/** Whether what is decoded says just what it said before: `Void` takes anything and says nothing. */
export const decodesAsIs = (root: AST.AST): boolean => {
  if (!AST.isObjects(root) || !onlyChecks(root)) return false
  let asIs = true
  walk(root, (ast) => {
    asIs &&= !AST.isVoid(ast)
  })
  return asIs
}

/** Whether it is nobody's loss to decode a value twice: no transformation of a schema is an effect. */
export const isReplayable = (root: AST.AST): boolean => {
  let replayable = true
  walk(root, (ast) => {
    for (const { transformation } of ast.encoding ?? []) {
      replayable &&=
        transformation._tag === "Transformation" && !transformation.decode._tag.endsWith("Effect")
    }
  })
  return replayable
}

/**
 * Whether what is decoded may hold an object of what it was decoded from. Objects and arrays are copied as they are
 * parsed; what takes anything, or is declared, is handed on.
 */
export const sharesInput = (root: AST.AST): boolean => {
  const seen = new Set<AST.AST>()
  const shares = (ast: AST.AST): boolean => {
    if (seen.has(ast)) return false
    seen.add(ast)
    // Transformations see the copy that their encoded side makes.
    const link = ast.encoding?.at(-1)
    if (link !== undefined) return shares(link.to)
    switch (ast._tag) {
      case "Any":
      case "Unknown":
      case "ObjectKeyword":
      case "Declaration":
        return true
      case "Objects":
        // A struct without fields takes anything, too.
        return (
          ast.propertySignatures.length + ast.indexSignatures.length === 0 ||
          [...ast.propertySignatures, ...ast.indexSignatures].some(({ type }) => shares(type))
        )
      case "Arrays":
        return [...ast.elements, ...ast.rest].some(shares)
      case "Union":
        return ast.types.some(shares)
      case "Suspend":
        return shares(ast.thunk())
      default:
        return false
    }
  }
  return shares(root)
}

const walk = (root: AST.AST, see: (ast: AST.AST) => void): void => {
  const seen = new Set<AST.AST>()
  const visit = (ast: AST.AST): void => {
    if (seen.has(ast)) return
    seen.add(ast)
    see(ast)
    for (const link of ast.encoding ?? []) visit(link.to)
    switch (ast._tag) {
      case "Objects":
        for (const { type } of ast.propertySignatures) visit(type)
        for (const { parameter, type } of ast.indexSignatures) {
          // A key may be renamed as it is decoded.
          visit(parameter)
          visit(type)
        }
        return
      case "Arrays":
        ast.elements.forEach(visit)
        ast.rest.forEach(visit)
        return
      case "Union":
        ast.types.forEach(visit)
        return
      case "Suspend":
        visit(ast.thunk())
        return
      case "Declaration":
        ast.typeParameters.forEach(visit)
        return
    }
  }
  visit(root)
}
