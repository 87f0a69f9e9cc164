/**
 * What a principal may use.
 *
 * A principal holds its own capabilities and those of its roles. It may use a
 * tool when it holds everything the tool needs, or a `tool:<glob>` grant that
 * names the tool. Anonymous holds nothing. A tool that does not declare what it
 * needs is "unknown": allowed unless `undeclared: "deny"`.
 *
 * `filter` hides tools; hiding is not denying, so every call is checked again.
 */
import type * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Capability from "./Capability.ts"
import { CurrentPrincipal, type Principal } from "./Principal.ts"
import { read, type ToolFacts } from "./ToolAnnotations.ts"

/** Whether a principal may use a tool, and if not what it lacks. */
export type Access =
  | { readonly _tag: "Granted" }
  | {
      readonly _tag: "Refused"
      readonly message: string
      readonly missing: ReadonlyArray<Capability.Capability>
    }

/** Named sets of capabilities. */
export type Roles = Readonly<Record<string, ReadonlyArray<Capability.Capability>>>

/** The roles every deployment has unless it names them otherwise. */
export const defaultRoles: Roles = {
  read: ["read_data"],
  write: ["read_data", "write_data", "network_access", "external_api"],
  admin: [Capability.all]
}

export interface Options {
  /** Added to `defaultRoles`; a name given here replaces the default one. */
  readonly roles?: Roles | undefined
  /** What to do with tools that do not say what they need; `"allow"` by default. */
  readonly undeclared?: "allow" | "deny" | undefined
}

const granted: Access = { _tag: "Granted" }

/** The rule, as a pure function. */
export const check = (
  held: ReadonlySet<Capability.Capability>,
  tool: ToolFacts,
  undeclared: "allow" | "deny"
): Access => {
  const missing = Capability.missing(tool.capabilities ?? [], held)
  if (missing.length === 0 && (tool.capabilities !== undefined || undeclared === "allow")) return granted
  if (held.has(Capability.all) || Capability.grantsTool(held, tool.names)) return granted
  return {
    _tag: "Refused",
    missing,
    message:
      tool.capabilities === undefined
        ? "The tool does not say what it needs, and only tools that do may be used."
        : `This needs ${missing.join(", ")}, which the caller does not have.`
  }
}

/** Answers who may use what. */
export class Permissions extends Context.Service<
  Permissions,
  {
    /** What the pipeline asks, with what it already knows. */
    readonly check: (principal: Principal, tool: ToolFacts) => Effect.Effect<Access>
    /** Whether the calling fiber's principal may use the tool, with the reason and what is missing. */
    readonly canUse: (tool: Tool.Any) => Effect.Effect<Access>
    /** The tools of a toolkit that the calling fiber's principal may see. */
    readonly filter: <Tools extends Record<string, Tool.Any>>(
      toolkit: Toolkit.Toolkit<Tools>
    ) => Effect.Effect<Toolkit.Toolkit<Record<string, Tools[keyof Tools]>>>
  }
>()("interlock/Permissions") {}

export const make = (options: Options = {}): Permissions["Service"] => {
  const roles = new Map(Object.entries({ ...defaultRoles, ...options.roles }))
  const undeclared = options.undeclared ?? "allow"
  // Principals are values that live as long as a session: what one holds is worked out once.
  const holdings = new WeakMap<Principal, ReadonlySet<Capability.Capability>>()
  const heldBy = (principal: Principal): ReadonlySet<Capability.Capability> => {
    let held = holdings.get(principal)
    if (held === undefined) {
      held = new Set([...principal.capabilities, ...principal.roles.flatMap((role) => roles.get(role) ?? [])])
      holdings.set(principal, held)
    }
    return held
  }
  const access = (principal: Principal, tool: ToolFacts) => check(heldBy(principal), tool, undeclared)
  return {
    check: (principal, tool) => Exit.succeed(access(principal, tool)),
    canUse: (tool) =>
      Effect.withFiber((fiber) => Exit.succeed(access(fiber.getRef(CurrentPrincipal), read(tool)))),
    filter: <Tools extends Record<string, Tool.Any>>(toolkit: Toolkit.Toolkit<Tools>) =>
      Effect.withFiber((fiber) => {
        const principal = fiber.getRef(CurrentPrincipal)
        const visible = Object.values(toolkit.tools).filter(
          (tool) => access(principal, read(tool))._tag === "Granted"
        ) as Array<Tools[keyof Tools]>
        return Exit.succeed(
          Toolkit.make(...visible) as unknown as Toolkit.Toolkit<Record<string, Tools[keyof Tools]>>
        )
      })
  }
}

export const layer = (options?: Options): Layer.Layer<Permissions> =>
  Layer.succeed(Permissions, make(options))
