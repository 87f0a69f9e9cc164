/** One limit as it is worked with: to whom it applies, under which key, in which windows. */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Dimension, Limit } from "../../Budget.ts"
import type { Principal } from "../../Principal.ts"
import type { Run } from "../../Run.ts"
import type { ToolFacts } from "../../ToolAnnotations.ts"
import * as Glob from "../glob.ts"
import * as Windows from "./windows.ts"

/** Who spends, or is given back; what is missing has no key. */
export interface Spender {
  readonly principal: Principal
  readonly run: Run | undefined
  readonly tool: ToolFacts | undefined
  readonly callId: string | undefined
  /** After it nothing more is reserved for the call. */
  readonly expiresAt: number
}

export interface CompiledLimit {
  readonly name: string
  /** Its place among all limits. */
  readonly index: number
  /** Absent for the budgets that runs bring themselves, which are one limit with a unit and a most per run. */
  readonly bound: { readonly unit: string; readonly max: number } | undefined
  readonly hard: boolean
  readonly windows: Windows.Windows
  /** Whether its keys are calls or runs, which callers make as they like. */
  readonly minted: boolean
  /** Whether it counts everything together. */
  readonly overAll: boolean
  /** `undefined` where it does not apply. */
  readonly keyOf: (spender: Spender) => string | undefined
  /** When a key is used for the last time, as far as that can be known. */
  readonly lastUse: (spender: Spender) => number
  readonly selects: (tool: ToolFacts | undefined) => boolean
}

// --- Keys ------------------------------------------------------------------

const escape = (id: string): string =>
  /[%/]/.test(id) ? id.replaceAll("%", "%25").replaceAll("/", "%2F") : id

/**
 * Ids are unique within a tenant, and calls within a principal. One limit always names the same things, so the number
 * of parts says whether there is a tenant: no id meets another's key, whatever is in it.
 */
const keyFor = (per: ReadonlySet<Dimension>): CompiledLimit["keyOf"] => {
  if (per.size === 0) return () => ""
  const byCall = per.has("call")
  const byPrincipal = byCall || per.has("principal")
  const byRun = per.has("run")
  const byTenant = per.has("tenant")
  const made: CompiledLimit["keyOf"] = ({ callId, principal, run }) => {
    const { tenant } = principal
    if (byTenant && tenant === undefined) return undefined
    let key = tenant === undefined ? "" : `${escape(tenant)}/`
    if (byPrincipal) key += `${escape(principal.id)}/`
    if (byRun) {
      if (run === undefined) return undefined
      key += `${escape(run.id)}/`
    }
    if (byCall) {
      if (callId === undefined) return undefined
      key += `${escape(callId)}/`
    }
    return key.slice(0, -1)
  }
  return byCall || (byPrincipal && byRun)
    ? made
    : remembered(made, ({ principal, run }) => (byRun ? run?.id : byPrincipal ? principal.id : ""))
}

/** Making a key's text is dearer than all else that a limit does, so those that were made last are found by their parts. */
const remembered = (
  made: CompiledLimit["keyOf"],
  nameOf: (spender: Spender) => string | undefined
): CompiledLimit["keyOf"] => {
  const byTenant = new Map<string | undefined, Map<string, string>>()
  let size = 0
  return (spender) => {
    const { tenant } = spender.principal
    const name = nameOf(spender)
    if (name === undefined) return undefined
    const known = byTenant.get(tenant)?.get(name)
    if (known !== undefined) return known
    const key = made(spender)
    if (key === undefined) return undefined
    if (size >= 10_000) {
      byTenant.clear()
      size = 0
    }
    const ofTenant = byTenant.get(tenant)
    if (ofTenant === undefined) byTenant.set(tenant, new Map([[name, key]]))
    else ofTenant.set(name, key)
    size++
    return key
  }
}

// --- Compiling -------------------------------------------------------------

const dimensions: ReadonlySet<Dimension> = new Set(["call", "run", "principal", "tenant"])

const lastUseFor = (per: ReadonlySet<Dimension>): CompiledLimit["lastUse"] => {
  if (per.has("call")) return ({ expiresAt }) => expiresAt
  return per.has("run") ? ({ run }) => run?.deadline ?? Windows.never : () => Windows.never
}

/** The budgets that runs bring themselves. */
export const ofRuns = (index: number): CompiledLimit => ({
  name: "run budget",
  index,
  bound: undefined,
  hard: true,
  windows: Windows.forEver,
  minted: true,
  overAll: false,
  keyOf: keyFor(new Set(["run"])),
  lastUse: lastUseFor(new Set(["run"])),
  selects: () => true
})

/** Throws a `RangeError` that names what makes no sense of the limit. */
export const compile = (limit: Limit, index: number): CompiledLimit => {
  const { max, mode = "hard", roles, tools, unit = "usd", window } = limit
  const invalid = (field: string, expected: string): never => {
    const name = limit.name === undefined ? "" : ` (${limit.name})`
    throw new RangeError(`Budget: limits[${index}]${name}: ${field} must be ${expected}`)
  }
  if (limit.name === "") invalid("name", "a name")
  if (unit === "") invalid("unit", "a name")
  if (!(Number.isSafeInteger(max) && max >= 0))
    invalid("max", "a whole number of at least 0, below 2^53 (usd in millionths)")
  if (roles?.length === 0) invalid("roles", "absent or one or more")
  if (tools?.length === 0) invalid("tools", "absent or one or more")
  if (mode !== "hard" && mode !== "soft") invalid("mode", `"hard" or "soft"`)
  const calendar = window === "day" || window === "month"
  if (limit.timeZone !== undefined && !calendar) invalid("timeZone", "absent without a day or a month")
  const per = new Set<Dimension>(typeof limit.per === "string" ? [limit.per] : limit.per)

  for (const one of per) if (!dimensions.has(one)) invalid("per", [...dimensions].join(", "))

  const windowsOf = (): Windows.Windows => {
    if (window === undefined) return Windows.forEver
    if (calendar) {
      const zone = Option.getOrUndefined(DateTime.zoneFromString(limit.timeZone ?? "UTC"))
      return Windows.calendar(window, zone ?? invalid("timeZone", "a time zone such as Europe/Berlin"))
    }
    const duration = Option.getOrElse(Duration.fromInput(window), () => Duration.zero)
    const millis = Math.ceil(Duration.toMillis(duration))
    if (!(millis > 0 && millis <= 8.64e15)) {
      invalid("window", "day, month, or a finite duration longer than 0")
    }
    return Windows.fixed(millis)
  }
  const windows = windowsOf()
  const keyOf = keyFor(per)
  return {
    name: limit.name ?? describe(limit, unit, per),
    index,
    bound: { unit, max },
    hard: mode === "hard",
    windows,
    minted: per.has("call") || per.has("run"),
    overAll: per.size === 0,
    keyOf:
      roles === undefined
        ? keyOf
        : (spender) =>
            spender.principal.roles.some((role) => roles.includes(role)) ? keyOf(spender) : undefined,
    lastUse: window === undefined ? lastUseFor(per) : () => Windows.never,
    selects: (tool) =>
      tools === undefined || (tool !== undefined && Glob.find(tools, tool.names) !== undefined)
  }
}

/** `usd per day by principal for gold on search_*`: without how much, which is the operator's business. */
const describe = ({ roles, tools, window }: Limit, unit: string, per: ReadonlySet<Dimension>): string => {
  const parts = [unit]
  if (window !== undefined) {
    parts.push(
      "per",
      window === "day" || window === "month" ? window : Duration.format(Duration.fromInputUnsafe(window))
    )
  }
  if (per.size > 0) parts.push("by", [...per].join(" and "))
  if (roles !== undefined) parts.push("for", roles.join(", "))
  if (tools !== undefined) parts.push("on", tools.join(", "))
  return parts.join(" ")
}
