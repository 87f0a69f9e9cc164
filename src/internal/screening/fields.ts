/**
 * What a schema says about its fields, followed along a value: which screens
 * are annotated (`ToolAnnotations.screened`), and whether it is a host.
 *
 * The schema is followed before and after decoding, into every member of a union; a
 * field counts as annotated where any of them is. What is annotated above a field holds below it. A field
 * is worked out when a value first leads there, and there are no more than the schema has parts.
 */
import type * as SchemaAST from "effect/SchemaAST"
import { host, type Screen, screened } from "../../ToolAnnotations.ts"

const screensKey = Object.keys(screened())[0] as keyof ReturnType<typeof screened>
const hostKey = Object.keys(host)[0] as keyof typeof host

export interface Field {
  readonly screens: ReadonlySet<Screen>
  readonly host: boolean
  /** What is known of a property or an element. */
  readonly at: (key: string | number) => Field | undefined
}

export interface Fields {
  readonly root: Field
  /** Whether any of them is said to be a path. */
  readonly paths: boolean
}

/** `undefined` where nothing is annotated anywhere. */
export const fieldsOf = (schema: SchemaAST.AST): Fields | undefined => {
  const said = saidIn(schema)
  if (said.length === 0) return undefined
  return {
    root: new Places().of([schema], noScreens, false),
    paths: said.some(({ screens }) => screens.includes("path"))
  }
}

const noScreens: ReadonlySet<Screen> = new Set()

class Places {
  readonly #ids = new Map<SchemaAST.AST, number>()
  readonly #known = new Map<string, Field>()

  of(asts: ReadonlyArray<SchemaAST.AST>, inherited: ReadonlySet<Screen>, isHost: boolean): Field {
    const here = sameplace(asts)
    const screens = new Set(inherited)
    let host = isHost
    for (const ast of here) {
      const said = read(ast)
      for (const screen of said.screens) screens.add(screen)
      host ||= said.host
    }
    const ids = [...here].map((ast) => this.#idOf(ast)).sort((a, b) => a - b)
    const name = `${ids}|${[...screens].sort()}|${host}`
    const known = this.#known.get(name)
    if (known !== undefined) return known
    const children = new Map<string, Field | undefined>()
    const field: Field = {
      screens,
      host,
      at: (key) => {
        const part = this.#part(here, key)
        // Names that the schema does not use are all alike.
        if (!children.has(part)) children.set(part, this.#child(here, key, screens, host))
        return children.get(part)
      }
    }
    this.#known.set(name, field)
    return field
  }

  #idOf(ast: SchemaAST.AST): number {
    const id = this.#ids.get(ast) ?? this.#ids.size
    this.#ids.set(ast, id)
    return id
  }

  #part(here: ReadonlySet<SchemaAST.AST>, key: string | number): string {
    for (const ast of here) {
      if (ast._tag === "Objects" && ast.propertySignatures.some(({ name }) => name === key)) return `.${key}`
      if (ast._tag === "Arrays" && typeof key === "number" && key < ast.elements.length) return `[${key}`
    }
    return typeof key === "number" ? "[" : "."
  }

  #child(
    here: ReadonlySet<SchemaAST.AST>,
    key: string | number,
    screens: ReadonlySet<Screen>,
    host: boolean
  ): Field | undefined {
    const below: Array<SchemaAST.AST> = []
    for (const ast of here) {
      if (ast._tag === "Objects") {
        const own = ast.propertySignatures.filter(({ name }) => name === key)
        for (const property of own) below.push(property.type)
        if (own.length === 0) for (const signature of ast.indexSignatures) below.push(signature.type)
      }
      if (ast._tag === "Arrays" && typeof key === "number") {
        const element = ast.elements[key]
        if (element !== undefined) below.push(element)
        else below.push(...ast.rest)
      }
    }
    return below.length === 0 && screens.size === 0 && !host ? undefined : this.of(below, screens, host)
  }
}

/** All schemas of one place: members of unions, what is suspended, and what is encoded to. */
const sameplace = (asts: ReadonlyArray<SchemaAST.AST>): ReadonlySet<SchemaAST.AST> => {
  const here = new Set(asts)
  for (const ast of here) {
    if (ast._tag === "Union") for (const member of ast.types) here.add(member)
    if (ast._tag === "Suspend") here.add(ast.thunk())
    for (const link of ast.encoding ?? []) here.add(link.to)
  }
  return here
}

/** Every annotation of a schema. */
const saidIn = (schema: SchemaAST.AST): ReadonlyArray<Said> => {
  const found: Array<Said> = []
  const seen = new Set([schema])
  for (const ast of seen) {
    const said = read(ast)
    if (said.host || said.screens.length > 0) found.push(said)
    for (const same of sameplace([ast])) seen.add(same)
    if (ast._tag === "Objects") {
      for (const { type } of ast.propertySignatures) seen.add(type)
      for (const { type } of ast.indexSignatures) seen.add(type)
    }
    if (ast._tag === "Arrays") for (const part of [...ast.elements, ...ast.rest]) seen.add(part)
  }
  return found
}

interface Said {
  readonly screens: ReadonlyArray<Screen>
  readonly host: boolean
}

const read = (ast: SchemaAST.AST): Said => {
  const all = [
    ast.annotations,
    ast.context?.annotations,
    ...(ast.checks ?? []).map((check) => check.annotations)
  ]
  const screens = all.flatMap((annotations) => {
    const said = annotations?.[screensKey]
    return Array.isArray(said) ? (said as ReadonlyArray<Screen>) : []
  })
  return { screens, host: all.some((annotations) => annotations?.[hostKey] === true) }
}
