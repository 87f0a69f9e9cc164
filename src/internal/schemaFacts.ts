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

/** Whether a schema has a part that Effect's JSON codec must not write: `Any` it leaves as it is, `Redacted` it lays open. */
export const beyondCodec = (root: AST.AST): boolean => {
  let found = false
  walk(root, (ast) => {
    const representation = ast.annotations?.["representation"] as { readonly id?: unknown } | undefined
    found ||= AST.isAny(ast) || representation?.id === "effect/schema/Redacted"
  })
  return found
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
        for (const { type } of ast.indexSignatures) visit(type)
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
