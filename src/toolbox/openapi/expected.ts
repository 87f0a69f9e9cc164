/** What the document says of an operation's responses, as far as it matters for asking and telling. */
import { attempt, child, children, type Document, follow, type Place, Unusable } from "./document.ts"
import * as Media from "./media.ts"

export interface Expected {
  /** The header `Accept`. */
  readonly accept: string
  /** Headers of responses that say something, in lower case. */
  readonly tells: ReadonlySet<string>
}

const always = ["location", "link", "etag", "last-modified", "content-location"]
const never = new Set(["set-cookie", "authorization", "www-authenticate", "content-type"])

/**
 * What is asked for, and what is told of the answer's headers. What is wrong with a response's description
 * harms nobody.
 */
export const responsesOf = (document: Document, place: Place): Expected => {
  const types: Array<string> = []
  const headers = new Set(always)
  for (const [status, at] of children(child(place, "responses"))) {
    if (!/^2/.test(status)) continue
    const response = attempt(() => follow(document, at))
    if (response instanceof Unusable) continue
    types.push(...children(child(response, "content")).map(([type]) => type))
    for (const [name] of children(child(response, "headers"))) {
      if (!never.has(name.toLowerCase())) headers.add(name.toLowerCase())
    }
  }
  const wanted = [
    ...new Set(types.filter((type) => !type.includes("*") && Media.isType(type)).map(Media.essence))
  ]
  const json = wanted.filter((type) => Media.kindOf(type) === "json")
  const first = json.length > 0 || wanted.length === 0 ? ["application/json", ...json] : wanted
  return { tells: headers, accept: [...new Set([...first, "*/*;q=0.1"])].slice(0, 8).join(", ") }
}
