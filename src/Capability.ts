/**
 * What a tool needs and a principal has.
 *
 * The known capabilities cover what tools usually do; the set is open, so a
 * deployment may name its own. Two spellings are special in a principal's or a
 * role's list: `*` is every capability, and `tool:<glob>` grants the tools
 * whose name matches, whatever they need.
 */
import * as Schema from "effect/Schema"
import * as Glob from "./internal/glob.ts"

/** The capabilities that have a meaning of their own in defaults and documentation. */
export const known = [
  "read_data",
  "write_data",
  "delete_data",
  "execute_code",
  "network_access",
  "file_system",
  "financial",
  "pii_access",
  "external_api"
] as const

/** A known capability, or any other non-empty name. */
export type Capability = (typeof known)[number] | (string & {})

/** Decodes a capability: any non-empty string. */
export const Capability: Schema.Codec<Capability, string> = Schema.NonEmptyString

/** Every capability. */
export const all = "*"

/** The grant of every tool whose name matches the glob, such as `tool:search_*`. */
export const tool = (glob: string): Capability => `tool:${glob}`

/** Which of `needed` the holder of `held` lacks. */
export const missing = (
  needed: ReadonlyArray<Capability>,
  held: ReadonlySet<Capability>
): ReadonlyArray<Capability> => (held.has(all) ? [] : needed.filter((capability) => !held.has(capability)))

/** Whether a `tool:<glob>` grant among `held` names this tool. */
export const grantsTool = (held: Iterable<Capability>, names: ReadonlyArray<string>): boolean => {
  for (const capability of held) {
    if (capability.startsWith("tool:") && Glob.matchesAny(capability.slice(5), names)) return true
  }
  return false
}
