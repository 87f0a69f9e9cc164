/** Which stops there are, found by what they name: a call meets few of them, however many there are. */
import type { Stop, Target } from "../../KillSwitch.ts"
import type { Principal } from "../../Principal.ts"
import type { ToolFacts } from "../../ToolAnnotations.ts"
import * as Glob from "../glob.ts"

type Scope = Target["scope"]

/** Widest first. */
const scopes: ReadonlyArray<Scope> = ["all", "tenant", "tag", "tool", "principal"]

/** Whether a target is about a call. */
export const meets = (target: Target, tool: ToolFacts, principal: Principal): boolean => {
  switch (target.scope) {
    case "all":
      return true
    case "tenant":
      return principal.tenant === target.tenant
    case "tag":
      return tool.tags.includes(target.tag)
    case "tool":
      return Glob.matchesAny(target.tool, tool.names)
    case "principal":
      return (
        principal.id === target.principal &&
        (target.tenant === undefined || principal.tenant === target.tenant)
      )
  }
}

/** The widest scope first, then the oldest. */
const byPrecedence = (a: Stop, b: Stop): number =>
  scopes.indexOf(a.target.scope) - scopes.indexOf(b.target.scope) || byAge(a, b)

export const isInForce = (stop: Stop, now: number): boolean => stop.until === undefined || stop.until > now

export class Stops {
  /** No stop ends by itself before. */
  nextExpiry = Number.POSITIVE_INFINITY
  readonly #byId = new Map<string, Stop>()
  /** By what they name, the oldest first. */
  readonly #byKey = new Map<Scope, Map<string, ReadonlyArray<Stop>>>(
    scopes.map((scope) => [scope, new Map()])
  )
  /** Those of a tool and of its tags, in order of precedence: there may be many globs, and a call tries none of them. */
  #ofTools = new WeakMap<ToolFacts, ReadonlyArray<Stop>>()

  get size(): number {
    return this.#byId.size
  }

  get(id: string): Stop | undefined {
    return this.#byId.get(id)
  }

  /** In order of precedence. */
  all(): ReadonlyArray<Stop> {
    return [...this.#byId.values()].sort(byPrecedence)
  }

  /** `false` where it is known already. */
  add(stop: Stop): boolean {
    if (this.#byId.has(stop.id)) return false
    this.#byId.set(stop.id, stop)
    const keys = this.#keys(stop.target.scope)
    const key = keyOf(stop.target)
    keys.set(key, [...(keys.get(key) ?? []), stop].sort(byAge))
    this.#ofTools = new WeakMap()
    this.nextExpiry = Math.min(this.nextExpiry, stop.until ?? Number.POSITIVE_INFINITY)
    return true
  }

  remove(id: string): Stop | undefined {
    const stop = this.#byId.get(id)
    if (stop === undefined) return undefined
    this.#byId.delete(id)
    this.#ofTools = new WeakMap()
    const keys = this.#keys(stop.target.scope)
    const key = keyOf(stop.target)
    const others = (keys.get(key) ?? []).filter((other) => other !== stop)
    if (others.length === 0) keys.delete(key)
    else keys.set(key, others)
    return stop
  }

  /** Removes what is no longer in force. */
  expire(now: number): ReadonlyArray<Stop> {
    if (now < this.nextExpiry) return []
    const expired: Array<Stop> = []
    this.nextExpiry = Number.POSITIVE_INFINITY
    for (const stop of this.#byId.values()) {
      if (!isInForce(stop, now)) expired.push(stop)
      else this.nextExpiry = Math.min(this.nextExpiry, stop.until ?? Number.POSITIVE_INFINITY)
    }
    for (const stop of expired) this.remove(stop.id)
    return expired
  }

  /** The first in order of precedence that is in force and meets the call. */
  find(tool: ToolFacts, principal: Principal, now: number): Stop | undefined {
    const { id, tenant } = principal
    return (
      firstInForce(this.#keys("all").get(everything), now) ??
      (tenant === undefined ? undefined : firstInForce(this.#keys("tenant").get(tenant), now)) ??
      firstInForce(this.#ofTool(tool), now) ??
      firstInForce(this.#keys("principal").get(id), now, tenant)
    )
  }

  #ofTool(tool: ToolFacts): ReadonlyArray<Stop> {
    let found = this.#ofTools.get(tool)
    if (found === undefined) {
      const tags = tool.tags.map((tag) => this.#keys("tag").get(tag) ?? [])
      const names = [globs, ...tool.names.map((name) => name.toLowerCase())]
      const named = names.map((name) => this.#keys("tool").get(name) ?? [])
      found = [...new Set([...tags, ...named].flat())]
        .filter(({ target }) => target.scope !== "tool" || Glob.matchesAny(target.tool, tool.names))
        .sort(byPrecedence)
      this.#ofTools.set(tool, found)
    }
    return found
  }

  #keys(scope: Scope): Map<string, ReadonlyArray<Stop>> {
    // Every scope has its map from the beginning.
    return this.#byKey.get(scope) as Map<string, ReadonlyArray<Stop>>
  }
}

/** A stop of a principal may be of one tenant only. */
const firstInForce = (
  stops: ReadonlyArray<Stop> | undefined,
  now: number,
  tenant?: string
): Stop | undefined => {
  if (stops === undefined) return undefined
  for (const stop of stops) {
    const { target } = stop
    if (!isInForce(stop, now)) continue
    if (target.scope === "principal" && target.tenant !== undefined && target.tenant !== tenant) continue
    return stop
  }
  return undefined
}

const byAge = (a: Stop, b: Stop): number => a.at - b.at || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)

/** Where stops of everything are kept. */
const everything = ""
/** Where globs are kept: a tool whose name is `*` is found there too. */
const globs = "*"

const keyOf = (target: Target): string => {
  switch (target.scope) {
    case "all":
      return everything
    case "tenant":
      return target.tenant
    case "tag":
      return target.tag
    case "tool":
      return /[*?]/.test(target.tool) ? globs : target.tool.toLowerCase()
    case "principal":
      return target.principal
  }
}
