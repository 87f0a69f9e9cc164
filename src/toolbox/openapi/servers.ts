/** The address below which an operation's path stands. */
import {
  child,
  children,
  type Document,
  follow,
  list,
  type Place,
  record,
  text,
  Unusable
} from "./document.ts"

/** An http or https URL without user, query and fragment, as it is put before a path. */
export interface Base {
  readonly origin: string
  /** Without a slash at its end; empty at the root. */
  readonly path: string
}

export interface Choice {
  /** Says it all, where there is one. */
  readonly baseUrl: string | undefined
  /** What relative addresses are relative to. */
  readonly documentUrl: string | undefined
  /** Values for the variables of servers, instead of their defaults. */
  readonly variables: Readonly<Record<string, string>>
}

/** The base of an operation: its own first server, its path's or the document's; throws `Unusable`. */
export const baseOf = (document: Document, item: Place, operation: Place, choice: Choice): Base => {
  if (choice.baseUrl !== undefined) return read(choice.baseUrl, undefined, "#/servers")
  for (const place of [operation, item, document.root]) {
    const [server] = list(child(place, "servers"))
    if (server === undefined) continue
    return read(
      expand(follow(document, server), choice.variables),
      choice.documentUrl,
      `${server.pointer}/url`
    )
  }
  return read("/", choice.documentUrl, "#/servers")
}

const expand = (server: Place, given: Readonly<Record<string, string>>): string => {
  record(server, "a server")
  const variables = new Map(children(child(server, "variables")))
  return text(child(server, "url")).replace(/\{([^{}]*)\}/g, (_, name: string) => {
    const variable = variables.get(name)
    const own = Object.hasOwn(given, name) ? given[name]! : undefined
    if (variable === undefined) {
      if (own !== undefined) return own
      throw new Unusable(
        `${server.pointer}/url`,
        `names a variable ${JSON.stringify(name)} that has no default`
      )
    }
    const value = own ?? text(child(variable, "default"))
    const allowed = list(child(variable, "enum")).map((each) => each.value)
    if (allowed.length > 0 && !allowed.includes(value)) {
      throw new Unusable(
        variable.pointer,
        `expected one of ${allowed.join(", ")}, found ${JSON.stringify(value)}`
      )
    }
    return value
  })
}

const read = (address: string, relativeTo: string | undefined, pointer: string): Base => {
  const isRelative = !/^[a-z][a-z0-9+.-]*:/i.test(address)
  if (isRelative && relativeTo === undefined) {
    throw new Unusable(pointer, "is relative, and the document has no URL: say the baseUrl")
  }
  const url = URL.parse(address, relativeTo)
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new Unusable(pointer, "expected an http or https URL")
  }
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    throw new Unusable(pointer, "expected a URL without user, query and fragment")
  }
  return { origin: url.origin, path: url.pathname.replace(/\/+$/, "") }
}
