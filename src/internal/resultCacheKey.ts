import type { Key } from "../ResultCache.ts"

/** The parts of a key as one text that no other key has: lengths keep hostile parts from running into each other. */
export const keyText = ({ argumentsHash, principal, tenant, tool, toolDigest }: Key): string =>
  `${lengthOf(tenant)}:${lengthOf(principal)}:${tool.length}:${toolDigest.length}:${tenant ?? ""}${principal ?? ""}${tool}${toolDigest}${argumentsHash}`

const lengthOf = (part: string | undefined): number | "-" => (part === undefined ? "-" : part.length)
