/** The parts of a store's key as one text that no other key has: lengths keep hostile parts from running into each other. */
import type { Key as ClaimKey } from "../Idempotency.ts"
import type { Key as ResultKey } from "../ResultCache.ts"

export const ofResult = ({ argumentsHash, principal, tenant, tool, toolDigest }: ResultKey): string =>
  `${lengthOf(tenant)}:${lengthOf(principal)}:${tool.length}:${toolDigest.length}:${tenant ?? ""}${principal ?? ""}${tool}${toolDigest}${argumentsHash}`

export const ofClaim = ({ key, principal, tenant, tool }: ClaimKey): string =>
  `${lengthOf(tenant)}:${principal.length}:${tool.length}:${tenant ?? ""}${principal}${tool}${key}`

const lengthOf = (part: string | undefined): number | "-" => (part === undefined ? "-" : part.length)
