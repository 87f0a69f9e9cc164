/** The operations that a document has. */
import type { Method } from "../OutboundHttp.ts"
import { attempt, child, children, type Document, follow, type Place, record, Unusable } from "./document.ts"

/** Where an operation stands in the document, and what it is selected by. */
export interface Found {
  readonly method: Method
  readonly path: string
  readonly operationId: string | undefined
  readonly tags: ReadonlyArray<string>
  readonly deprecated: boolean
  readonly item: Place
  readonly place: Place
}

const methods: ReadonlyMap<string, Method> = new Map([
  ["get", "GET"],
  ["head", "HEAD"],
  ["post", "POST"],
  ["put", "PUT"],
  ["patch", "PATCH"],
  ["delete", "DELETE"],
  ["options", "OPTIONS"]
])

/**
 * Every operation of the document, in its order; `skip` hears of what is none that a tool could be. Throws
 * `Unusable`.
 */
export const find = (
  document: Document,
  skip: (at: { readonly method: string; readonly path: string }, problem: Unusable) => void
): ReadonlyArray<Found> => {
  const found: Array<Found> = []
  const paths = child(document.root, "paths")
  // There need be none in 3.1, and the caller says so.
  if (paths.value !== undefined) record(paths)
  for (const [path, at] of children(paths)) {
    if (path.startsWith("x-")) continue
    const item = attempt(() => ofRecord(follow(document, at), "a path item"))
    if (item instanceof Unusable) {
      skip({ method: "*", path }, item)
      continue
    }
    for (const [key, given] of children(item)) {
      const method = methods.get(key)
      if (key === "trace") {
        skip({ method: "TRACE", path }, new Unusable(given.pointer, "TRACE would send its credentials back"))
      }
      if (method === undefined) continue
      // Some write a reference here too, though the specification has none.
      const place = attempt(() => ofRecord(follow(document, given), "an operation"))
      if (place instanceof Unusable) {
        skip({ method, path }, place)
        continue
      }
      const id = child(place, "operationId").value
      found.push({
        method,
        path,
        operationId: typeof id === "string" && id !== "" ? id : undefined,
        tags: textsOf(child(place, "tags")),
        deprecated: child(place, "deprecated").value === true,
        item,
        place
      })
    }
  }
  return found
}

const ofRecord = (place: Place, what: string): Place => {
  record(place, what)
  return place
}

const textsOf = ({ value }: Place): ReadonlyArray<string> =>
  Array.isArray(value) ? value.filter((each) => typeof each === "string") : []
