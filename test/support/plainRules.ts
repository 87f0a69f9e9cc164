/** Who may call what with which arguments, in the plainest way: pure rules, and the refusals they come to. */
import * as Effect from "effect/Effect"
import {
  type Permissions,
  type Principal,
  type SecurityPolicy,
  type ToolAnnotations,
  Verdict
} from "effect-interlock"
import { globMatches, type Refused, refuse } from "./plainNouns.ts"

/** A principal needs every capability of the tool, its own or its roles', or a grant of this tool. */
export const permitted = (
  { roles: own, undeclared }: Permissions.Options,
  principal: Principal.Principal,
  { capabilities, names }: ToolAnnotations.ToolFacts
): Effect.Effect<void, Refused> => {
  const roles: Readonly<Record<string, ReadonlyArray<string>>> = {
    read: ["read_data"],
    write: ["read_data", "write_data", "network_access", "external_api"],
    admin: ["*"],
    ...own
  }
  const held = [...principal.capabilities, ...principal.roles.flatMap((role) => roles[role] ?? [])]
  if (held.includes("*")) return Effect.void
  const missing = (capabilities ?? []).filter((one) => !held.includes(one))
  if (missing.length === 0 && (capabilities !== undefined || undeclared !== "deny")) return Effect.void
  const grants = held.filter((one) => one.startsWith("tool:")).map((one) => one.slice("tool:".length))
  return grants.some((glob) => globMatches(glob, names))
    ? Effect.void
    : refuse("permissions", { _tag: "PermissionDenied", missing, message: "" })
}

/** What the policy and the tool itself say of every call of it. */
export const byName = (
  policy: SecurityPolicy.Policy,
  { capabilities, confirmation, names }: ToolAnnotations.ToolFacts
): Verdict.Verdict => {
  const find = (globs: ReadonlyArray<string> = []) => globs.find((glob) => globMatches(glob, names))
  const denied = find(policy.deny)
  const confirm = find(policy.requireConfirmation)
  const approve = find(policy.requireApproval)
  if (denied !== undefined) return Verdict.deny(`deny "${denied}"`, "")
  if (policy.default === "deny" && (confirm ?? approve ?? find(policy.allow)) === undefined) {
    return Verdict.deny(`default "deny"`, "")
  }
  const isGrave = capabilities?.some((one) => one === "financial" || one === "delete_data") === true
  return Verdict.combineAll([
    confirm === undefined ? Verdict.allow : Verdict[isGrave ? "approve" : "confirm"]("", ""),
    approve === undefined ? Verdict.allow : Verdict.approve("", ""),
    confirmation === undefined ? Verdict.allow : Verdict[confirmation]("", "")
  ])
}

/** What the application's own rules say of arguments; one that throws denies. */
export const byArguments = (
  rules: ReadonlyArray<SecurityPolicy.Rule>,
  call: Parameters<SecurityPolicy.Rule["decide"]>[0]
): Verdict.Verdict =>
  Verdict.combineAll(
    rules.map((rule) => {
      try {
        return rule.decide(call)
      } catch {
        return Verdict.deny(rule.name, "")
      }
    })
  )

export const unlessDenied = (stage: string, verdict: Verdict.Verdict): Effect.Effect<void, Refused> => {
  if (verdict._tag !== "Deny") return Effect.void
  const rule = verdict.reasons.map(({ rule }) => rule).join(", ")
  return refuse(stage, { _tag: "PolicyDenied", rule, message: "" })
}

/** Refuses arguments that exceed a limit on their size. */
export const smallEnough = (
  params: unknown,
  limits: SecurityPolicy.Policy["argumentLimits"]
): Effect.Effect<void, Refused> => {
  const { bytes = 1_048_576, depth = 32, items = 10_000, stringLength = 262_144 } = limits ?? {}
  const measured = measure(params)
  const text = () => new TextEncoder().encode(JSON.stringify(params))
  const limit =
    measured.depth > depth
      ? "depth"
      : measured.items > items
        ? "items"
        : measured.longest > stringLength
          ? "stringLength"
          : text().length > bytes
            ? "bytes"
            : undefined
  return limit === undefined ? Effect.void : refuse("size", { _tag: "ArgumentsRefused", limit, message: "" })
}

/** How deep a value is nested, how many elements and properties it has, and how long its longest text is. */
const measure = (
  value: unknown
): { readonly depth: number; readonly items: number; readonly longest: number } => {
  if (typeof value === "string") return { depth: 0, items: 0, longest: value.length }
  if (value === null || typeof value !== "object") return { depth: 0, items: 0, longest: 0 }
  const names = Array.isArray(value) ? [] : Object.keys(value)
  const parts = Object.values(value).map(measure)
  return {
    depth: 1 + Math.max(0, ...parts.map(({ depth }) => depth)),
    items: parts.length + parts.reduce((sum, { items }) => sum + items, 0),
    longest: Math.max(0, ...names.map(({ length }) => length), ...parts.map(({ longest }) => longest))
  }
}
