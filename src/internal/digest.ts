/** What a tool is, as one short text: pinned, and bound into approvals. */
import { sha256 } from "@noble/hashes/sha2.js"
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js"
import * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import type { ToolFacts } from "../ToolAnnotations.ts"
import { canonicalJson } from "./argumentsView.ts"

/** SHA-256 of a value's canonical JSON, in hexadecimal. */
export const digest = (value: unknown): string => bytesToHex(sha256(utf8ToBytes(canonicalJson(value))))

/**
 * Digest of a tool's definition: its name, what it tells a model, its schemas,
 * and what it declares of itself. The same definition has the same one
 * everywhere.
 */
export const toolDigest = (facts: ToolFacts): string => {
  const { tool } = facts
  return digest({
    name: facts.name,
    names: facts.names,
    description: facts.description,
    parameters: schemaOf(() => Tool.getJsonSchema(tool)),
    success: schemaOf(() => Tool.getJsonSchemaFromSchema(tool.successSchema as never)),
    failure: schemaOf(() => Tool.getJsonSchemaFromSchema(tool.failureSchema as never)),
    title: Context.getOrUndefined(tool.annotations as Context.Context<never>, Tool.Title),
    capabilities: facts.capabilities,
    confirmation: facts.confirmation,
    readonly: facts.readonly,
    destructive: facts.destructive,
    idempotent: facts.idempotent,
    openWorld: facts.openWorld,
    trust: facts.trust,
    spends: facts.spends,
    sendsData: facts.sendsData,
    risk: facts.risk,
    tags: facts.tags
  })
}

// A schema that JSON Schema has no words for.
const schemaOf = (read: () => unknown): unknown => {
  try {
    return read()
  } catch {
    return "none"
  }
}
