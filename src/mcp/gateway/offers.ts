/**
 * What another server offers beside tools: prompts, resources and templates of
 * resources, read as data that anyone may have written. One that is not as it
 * should be, or that hides something, is left out by itself.
 */
import * as Schema from "effect/Schema"
import * as ArgumentLimits from "../../internal/argumentLimits.ts"
import { hiddenIn, type Skipped, withoutNulls } from "./definitions.ts"

// --- Models ----------------------------------------------------------------

const optional = Schema.optionalKey

const Described = {
  name: Schema.NonEmptyString,
  title: optional(Schema.String),
  description: optional(Schema.String)
}

export const Prompt = Schema.Struct({
  ...Described,
  arguments: optional(Schema.Array(Schema.Struct({ ...Described, required: optional(Schema.Boolean) })))
})
export type Prompt = typeof Prompt.Type

export const Resource = Schema.Struct({
  ...Described,
  uri: Schema.NonEmptyString,
  mimeType: optional(Schema.String),
  size: optional(Schema.Finite)
})
export type Resource = typeof Resource.Type

export const Template = Schema.Struct({
  ...Described,
  uriTemplate: Schema.NonEmptyString,
  mimeType: optional(Schema.String)
})
export type Template = typeof Template.Type

/** What one server offers, by what it is asked for by. */
export interface Offers {
  readonly prompts: ReadonlyMap<string, Prompt>
  readonly resources: ReadonlyMap<string, Resource>
  readonly templates: ReadonlyMap<string, Template>
  /** Whether it completes arguments. */
  readonly completes: boolean
  readonly skipped: ReadonlyArray<Skipped>
}

export const none: Offers = {
  prompts: new Map(),
  resources: new Map(),
  templates: new Map(),
  completes: false,
  skipped: []
}

// --- Reading ---------------------------------------------------------------

const limits: ArgumentLimits.ArgumentLimits = { bytes: 16_384, depth: 8, stringLength: 8192, items: 200 }

/** Reads a list of one kind. Of several entries with one key the first counts. */
const readAll =
  <A extends { readonly name: string }>(
    kind: string,
    schema: Schema.Codec<A, unknown>,
    keyOf: (entry: A) => string
  ) =>
  (
    raw: ReadonlyArray<unknown>
  ): { readonly entries: ReadonlyMap<string, A>; readonly skipped: ReadonlyArray<Skipped> } => {
    const decode = Schema.decodeUnknownOption(schema)
    const entries = new Map<string, A>()
    const skipped: Array<Skipped> = []
    for (const each of raw) {
      const measured = ArgumentLimits.inspect(each, limits)
      const decoded = measured._tag === "Ok" ? decode(withoutNulls(measured.copy)) : undefined
      if (decoded?._tag !== "Some") {
        skipped.push({ tool: kind, why: "it is none, or too large" })
        continue
      }
      const entry = decoded.value
      const hidden = hiddenIn(entry)
      const key = keyOf(entry)
      if (hidden !== undefined) skipped.push({ tool: `${kind} ${shownName(key)}`, why: `it holds ${hidden}` })
      else if (!entries.has(key)) entries.set(key, entry)
    }
    return { entries, skipped }
  }

const shownName = (name: string): string => name.slice(0, 128).replace(/[^\x20-\x7e]/g, "?")

export const readPrompts = readAll("prompt", Prompt as Schema.Codec<Prompt, unknown>, ({ name }) => name)
export const readResources = readAll(
  "resource",
  Resource as Schema.Codec<Resource, unknown>,
  ({ uri }) => uri
)
export const readTemplates = readAll(
  "resource template",
  Template as Schema.Codec<Template, unknown>,
  ({ uriTemplate }) => uriTemplate
)

// --- Templates -------------------------------------------------------------

/** A template of URIs (RFC 6570) as Effect's server routes them; `undefined` for one that it cannot. */
export const routeOf = (
  template: string
): { readonly path: string; readonly variables: ReadonlyArray<string> } | undefined => {
  const variables: Array<string> = []
  let path = ""
  let rest = template
  while (rest !== "") {
    const start = rest.indexOf("{")
    const literal = start === -1 ? rest : rest.slice(0, start)
    if (/[}*]/.test(literal)) return undefined
    path += literal.replaceAll(":", "::")
    if (start === -1) break
    const [whole, operator, name] = /^\{([+]?)([A-Za-z0-9_.%]+)\}/.exec(rest.slice(start)) ?? []
    if (whole === undefined || name === undefined) return undefined
    rest = rest.slice(start + whole.length)
    // What may hold slashes can only be the rest of the URI; two in a row have no end between them.
    if (operator === "+" ? rest !== "" : rest.startsWith("{")) return undefined
    path += operator === "+" ? "*" : `:${variables.length}`
    variables.push(name)
  }
  return { path, variables }
}
