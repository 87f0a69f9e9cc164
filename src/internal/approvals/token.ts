/**
 * The token of a grant: `v1.<key id>.<claims>.<mac>`, the claims as base64url of
 * their JSON. It says what was granted to whom, so that nobody without the key
 * can make one, move one to another call, or make one last longer.
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Invalid } from "../../Approvals.ts"
import type { Keyring } from "../../Keyring.ts"
import { fromBase64Url, mac, sameMac, toBase64Url } from "../sealing.ts"
import { Bound, type Document } from "./document.ts"

const Claims = Schema.Struct({
  /** The request. */
  id: Schema.String,
  deployment: Schema.String,
  ...Bound,
  decidedBy: Schema.String,
  decidedAt: Schema.Finite
})
type Claims = typeof Claims.Type

const version = "v1"

/** Who let a request run, and when. */
interface Grant {
  readonly decidedBy: string
  readonly decidedAt: number
}

export const make = (keyring: Keyring["Service"], document: Document, grant: Grant): string => {
  const json = JSON.stringify(claimsOf(keyring, document, grant))
  const signed = `${version}.${keyring.active}.${toBase64Url(new TextEncoder().encode(json))}`
  return `${signed}.${mac(keyring.key("approvals"), `token/${signed}`)}`
}

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Claims))

/** Whether a genuine token is the one of this grant of this request. */
export const proves = (
  keyring: Keyring["Service"],
  claims: Claims,
  document: Document,
  grant: Grant
): boolean => {
  const expected = claimsOf(keyring, document, grant)
  return (Object.keys(expected) as Array<keyof Claims>).every((field) => claims[field] === expected[field])
}

const claimsOf = ({ deployment }: Keyring["Service"], document: Document, grant: Grant): Claims => ({
  id: document.id,
  deployment,
  callId: document.callId,
  tool: document.tool,
  principal: document.principal,
  tenant: document.tenant,
  by: document.by,
  argumentsHash: document.argumentsHash,
  hashKey: document.hashKey,
  toolDigest: document.toolDigest,
  policyDigest: document.policyDigest,
  expiresAt: document.expiresAt,
  decidedBy: grant.decidedBy,
  decidedAt: grant.decidedAt
})

/** What a token claims, or why it proves nothing. */
export const read = (
  keyring: Keyring["Service"],
  token: string
): { readonly claims: Claims } | { readonly why: Invalid["why"] } => {
  const [v, keyId, payload, signature, ...more] = token.split(".")
  if (
    v !== version ||
    keyId === undefined ||
    payload === undefined ||
    signature === undefined ||
    more.length > 0
  ) {
    return { why: "malformed" }
  }
  const bytes = fromBase64Url(payload)
  const claims = bytes && Option.getOrUndefined(decode(new TextDecoder().decode(bytes)))
  if (claims === undefined) return { why: "malformed" }
  // Not proven yet, but it is refused either way, and whoever configured two deployments is told which mistake it is.
  if (claims.deployment !== keyring.deployment) return { why: "another_deployment" }
  const key = keyring.key("approvals", keyId)
  const genuine = key !== undefined && sameMac(mac(key, `token/${v}.${keyId}.${payload}`), signature)
  return genuine ? { claims } : { why: "forged" }
}
