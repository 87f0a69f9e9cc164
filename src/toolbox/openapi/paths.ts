/**
 * Path templates, and what may stand in them. A value never leaves its segment: whatever it holds is
 * percent-encoded, and one that some server between here and there could take for another segment, or for
 * none, is refused.
 */
import { percentDecoded } from "../../internal/decoding.ts"
import { Unusable } from "./document.ts"
import { Unsendable } from "./styles.ts"

/** A segment's parts: texts as they are written in the URL, and names of parameters. */
export type Segment = ReadonlyArray<string | { readonly parameter: string }>

/** A path, and what some documents write behind it. */
export interface Template {
  readonly segments: ReadonlyArray<Segment>
  /** Sent as it is written. */
  readonly query: string
}

/** Longer ones no server has. */
const maxTemplate = 2_000

/**
 * Reads a template such as `/pets/{id}/photo`; throws `Unusable`. Some documents tell operations of one path
 * apart by a query or a fragment, though the specification has neither: the query is sent, the fragment is
 * not.
 */
export const parse = (template: string, pointer: string): Template => {
  const no = (why: string): never => {
    throw new Unusable(pointer, why)
  }
  if (!template.startsWith("/")) no('expected a path that begins with "/"')
  if (template.length > maxTemplate) no(`the path is longer than ${maxTemplate} characters`)
  if (!template.isWellFormed()) no("the path is not Unicode text")
  const [path = "", query = ""] = template
    .slice(1)
    .split("#", 1)[0]!
    .split(/\?(.*)/s)
  if (/[{}]/.test(query)) no("the path has a parameter in its query")
  const segments = path.split(/\/(?![^{]*\})/).map((text) => {
    const parts = text
      .split(/(\{[^{}]*\})/)
      .filter((part) => part !== "")
      .map((part) => {
        if (/^\{.*\}$/s.test(part)) return { parameter: part.slice(1, -1) }
        if (/[{}]/.test(part)) no("the path has a brace that is not part of a parameter")
        return literal(part)
      })
    if (parts.every((part) => typeof part === "string") && isDots(parts.join(""))) {
      no("the path has a segment of dots")
    }
    return parts
  })
  return { segments, query: literal(query).replaceAll("'", "%27") }
}

/** What is encoded stays so; what a path cannot hold becomes so. */
const literal = (text: string): string =>
  text
    .split(/(%[0-9a-f]{2})/i)
    .map((part, index) => (index % 2 === 1 ? part : encodeURI(part).replace(/[[\]]/g, encodeURIComponent)))
    .join("")

export const parametersOf = (segments: ReadonlyArray<Segment>): ReadonlySet<string> =>
  new Set(segments.flat().flatMap((part) => (typeof part === "string" ? [] : [part.parameter])))

/** The path with what its parameters are written as; throws `Unsendable`. */
export const write = (segments: ReadonlyArray<Segment>, valueOf: (parameter: string) => string): string =>
  segments.map((segment) => `/${writeSegment(segment, valueOf)}`).join("")

const writeSegment = (segment: Segment, valueOf: (parameter: string) => string): string => {
  if (segment.every((part) => typeof part === "string")) return segment.join("")
  const written = segment.map((part) => (typeof part === "string" ? part : valueOf(part.parameter))).join("")
  if (written === "") throw new Unsendable("must not be empty, because it is a segment of the path")
  // Proxies and frameworks decode once or twice, and then look for segments again.
  for (let text = written, round = 0; round < 4; round++, text = percentDecoded(text)) {
    if (text.split(/[/\\]/).some(isDots))
      throw new Unsendable('must not hold "." or ".." as a part of the path')
    if (control.test(text))
      throw new Unsendable("must not hold control characters, because it is part of the path")
  }
  return written
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const control = /[\0-\x1f\x7f]/

/** Also with what Java's servers take for a parameter of the segment, and leave out. */
const isDots = (segment: string): boolean => {
  const name = percentDecoded(segment).split(";", 1)[0]!
  return name === "." || name === ".."
}
