/**
 * Which credential an operation is sent with.
 *
 * The document says which schemes satisfy an operation, and the options which credential stands for which
 * scheme. The first alternative that is wholly covered by one credential is taken. Whatever any scheme or
 * credential sends (a header, a parameter of the query, a cookie) is nothing that a caller may pass.
 */
import type { Credential } from "../Credentials.ts"
import {
  attempt,
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
import type { Location } from "./styles.ts"

/** Where a secret is sent. */
export interface Sent {
  readonly location: Exclude<Location, "path">
  readonly name: string
}

export interface Scheme {
  readonly kind: "apiKey" | "basic" | "bearer" | "http"
  readonly sent: Sent
}

/**
 * The document's security schemes by name. Those that send nothing in a request (`mutualTLS`), or are broken,
 * are not there.
 */
export const schemesOf = (document: Document): ReadonlyMap<string, Scheme> => {
  const schemes = new Map<string, Scheme>()
  for (const [name, place] of children(child(child(document.root, "components"), "securitySchemes"))) {
    const scheme = attempt(() => schemeOf(follow(document, place)))
    if (scheme !== undefined && !(scheme instanceof Unusable)) schemes.set(name, scheme)
  }
  return schemes
}

const authorization: Sent = { location: "header", name: "authorization" }

const schemeOf = (place: Place): Scheme | undefined => {
  switch (text(child(place, "type"))) {
    case "apiKey": {
      const location = text(child(place, "in"))
      if (location !== "header" && location !== "query" && location !== "cookie") return undefined
      return { kind: "apiKey", sent: { location, name: text(child(place, "name")) } }
    }
    case "http": {
      const scheme = text(child(place, "scheme")).toLowerCase()
      return { kind: scheme === "basic" || scheme === "bearer" ? scheme : "http", sent: authorization }
    }
    case "oauth2":
    case "openIdConnect":
      return { kind: "bearer", sent: authorization }
    default:
      return undefined
  }
}

/** Where a credential is sent. */
export const sentBy = (credential: Credential): Sent =>
  credential.type === "header" || credential.type === "query"
    ? { location: credential.type, name: credential.name }
    : authorization

/** Why a credential cannot stand for a scheme. */
export const mismatch = ({ kind, sent }: Scheme, credential: Credential): string | undefined => {
  const is = sentBy(credential)
  if (sent.location === "cookie") {
    return sameSent(is, { location: "header", name: "cookie" })
      ? undefined
      : `a credential of the type "header" with the name "Cookie" and the value "${sent.name}=…"`
  }
  if (!sameSent(is, sent)) {
    return sent === authorization
      ? `a credential of the type "${kind === "basic" ? "basic" : "bearer"}"`
      : `a credential of the type "${sent.location}" with the name ${JSON.stringify(sent.name)}`
  }
  const other = kind === "basic" ? "bearer" : kind === "bearer" ? "basic" : undefined
  return credential.type === other ? `a credential of the type "${kind}"` : undefined
}

const sameSent = (left: Sent, right: Sent): boolean =>
  left.location === right.location &&
  (left.location === "header"
    ? left.name.toLowerCase() === right.name.toLowerCase()
    : left.name === right.name)

/** What the options say: credentials by scheme, and one for operations that no scheme covers. */
export interface Chosen {
  readonly credentials: Readonly<Record<string, string>>
  readonly credential: string | undefined
}

/** The name of the credential that an operation is sent with, `undefined` where it needs none; throws `Unusable`. */
export const credentialOf = (document: Document, operation: Place, chosen: Chosen): string | undefined => {
  const own = child(operation, "security")
  const place = own.value === undefined ? child(document.root, "security") : own
  // Whoever says that an operation needs none means it.
  if (Array.isArray(own.value) && own.value.length === 0) return undefined
  const alternatives = list(place).map((each) => Object.keys(record(each, "a security requirement")))
  const covered = alternatives
    .filter((schemes) => schemes.length > 0)
    .map((schemes) =>
      schemes.map((scheme) =>
        Object.hasOwn(chosen.credentials, scheme) ? chosen.credentials[scheme] : undefined
      )
    )
  const whole = covered.filter((names) => names.every((name) => name !== undefined))
  const single = whole.find((names) => new Set(names).size === 1)
  if (single !== undefined) return single[0]
  if (chosen.credential !== undefined) return chosen.credential
  if (alternatives.length === 0 || alternatives.some((schemes) => schemes.length === 0)) return undefined
  if (whole.length > 0)
    throw new Unusable(place.pointer, "needs several credentials at once, and a request is sent with one")
  const wanted = alternatives.map((schemes) => schemes.map((scheme) => JSON.stringify(scheme)).join(" with "))
  throw new Unusable(place.pointer, `needs a credential for ${wanted.join(" or ")}`)
}

/** Whether a name is one that the schemes or the credential use. PHP and Rails read `a[b]` as a part of `a`. */
export const reservedBy = (sent: ReadonlyArray<Sent>) => ({
  has: (location: Location, name: string): boolean => {
    const folded = name.toLowerCase().replace(/\[.*$/s, "")
    if (location === "header" && (folded === "cookie" || folded === "authorization")) return true
    return sent.some((each) => each.location === location && each.name.toLowerCase() === folded)
  }
})
