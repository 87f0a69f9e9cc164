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
const grantedAtOnce: Effect.Effect<Access> = Exit.succeed(granted)

/** What somebody holds. A set is one. */
export interface Held extends Iterable<Capability.Capability> {
  readonly has: (capability: Capability.Capability) => boolean
}

/** The rule, as a pure function. */
export const check = (held: Held, tool: ToolFacts, undeclared: "allow" | "deny"): Access => {
  const { capabilities, names } = tool
  if (capabilities === undefined ? undeclared === "allow" : hasEach(held, capabilities)) return granted
  if (held.has(Capability.all) || Capability.grantsTool(held, names)) return granted
  if (capabilities === undefined) {
    return {
      _tag: "Refused",
      missing: [],
      message: "The tool does not say what it needs, and only tools that do may be used."
    }
  }
  const missing = capabilities.filter((capability) => !held.has(capability))
  return {
    _tag: "Refused",
    missing,
    message: `This needs ${missing.join(", ")}, which the caller does not have.`
  }
}

// A loop, because every call asks this, and a list of what is missing is only needed where something is.
const hasEach = (held: Held, needed: ReadonlyArray<Capability.Capability>): boolean => {
  for (const capability of needed) if (!held.has(capability)) return false
  return true
}

/**
 * What a principal holds by itself and by its roles. Looked up where they are: many principals come with one request and
 * go with it, and making a set of what they hold would cost more than asking.
 */
class Holdings implements Held {
  readonly #principal: Principal
  readonly #roles: ReadonlyMap<string, ReadonlySet<Capability.Capability>>

  constructor(principal: Principal, roles: ReadonlyMap<string, ReadonlySet<Capability.Capability>>) {
    this.#principal = principal
    this.#roles = roles
  }

  has(capability: Capability.Capability): boolean {
    const { capabilities, roles } = this.#principal
    for (const role of roles) if (this.#roles.get(role)?.has(capability) === true) return true
    return capabilities.includes(capability)
  }

  *[Symbol.iterator](): Generator<Capability.Capability> {
    yield* this.#principal.capabilities
    for (const role of this.#principal.roles) yield* this.#roles.get(role) ?? []
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
  const roles = new Map(
    Object.entries({ ...defaultRoles, ...options.roles }).map(([role, held]) => [role, new Set(held)])
  )
  const undeclared = options.undeclared ?? "allow"
  const access = (principal: Principal, tool: ToolFacts) =>
    check(new Holdings(principal, roles), tool, undeclared)
  return {
    check: (principal, tool) => {
      const answer = access(principal, tool)
      return answer === granted ? grantedAtOnce : Exit.succeed(answer)
    },
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
