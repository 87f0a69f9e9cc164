/** What the configuration says by itself: a total function of it. */
import * as Capability from "../../Capability.ts"
import { defaultRoles } from "../../Permissions.ts"
import type { Config } from "../Config.ts"
import type { Loaded } from "../load.ts"
import { type Finding, note, problem, some, warning } from "./Finding.ts"

export const ofConfig = (loaded: Loaded): ReadonlyArray<Finding> => [
  ...ofPrincipals(loaded.config),
  ...ofPolicy(loaded),
  ...ofLimits(loaded),
  ...ofServers(loaded.config)
]

// --- Principals ------------------------------------------------------------

const ofPrincipals = ({ policy, principal, principals = {}, roles = {} }: Config): ReadonlyArray<Finding> => {
  const entries = Object.entries(principals)
  if (entries.length === 0) {
    return [
      note(
        "principals",
        "nobody is named: calls are made for whoever is logged in, who may read",
        "Records and approvals then name an account of this machine, and nobody else can approve.",
        'Name them under "principals".'
      )
    ]
  }
  const findings: Array<Finding> = []
  const known = new Map(Object.entries({ ...defaultRoles, ...roles }))
  for (const [id, entry] of entries) {
    const unknown = (entry.roles ?? []).filter((role) => !known.has(role))
    if (unknown.length > 0) {
      findings.push(
        warning(
          `principals.${id}`,
          `has roles that do not exist: ${some(unknown)}`,
          "A role that nobody defines holds nothing, so calls are refused that were meant to be allowed.",
          `Define them under "roles", or take one of ${some([...known.keys()])}.`
        )
      )
    }
    const held = [
      ...(entry.capabilities ?? []),
      ...(entry.roles ?? []).flatMap((role) => known.get(role) ?? [])
    ]
    if (held.includes(Capability.all)) {
      findings.push(
        note(
          `principals.${id}`,
          "may use every tool",
          "Permissions stop none of its calls: only the policy, limits and people do.",
          "Give it the capabilities that it needs."
        )
      )
    }
  }
  if (principal === undefined && entries.length > 1) {
    findings.push(
      note(
        "principal",
        "the command line does not know for whom it acts",
        "Every command needs --as.",
        `Set "principal" to one of ${some(Object.keys(principals))}.`
      )
    )
  }
  const alone = entries.filter(
    ([id, { tenant }]) => !entries.some(([other, entry]) => other !== id && entry.tenant === tenant)
  )
  if ((policy?.requireApproval ?? []).length > 0 && alone.length > 0) {
    findings.push(
      warning(
        "policy.requireApproval",
        `nobody can approve calls of ${some(alone.map(([id]) => id))}`,
        "An approval is another principal's of the same tenant, and there is none.",
        "Name somebody else, or ask for confirmation instead."
      )
    )
  }
  return findings
}

// --- Policy ----------------------------------------------------------------

const ofPolicy = ({ code, config }: Loaded): ReadonlyArray<Finding> => {
  const { mcpServers = {}, policy = {} } = config
  const decidedInCode = code.governance?.policy !== undefined || code.governance?.rules !== undefined
  const findings: Array<Finding> = []
  const lists = [policy.deny, policy.requireConfirmation, policy.requireApproval, policy.deniedDomains]
  const says = lists.some((list) => (list ?? []).length > 0) || policy.allowedDomains !== undefined
  if (!says && policy.default !== "deny" && !decidedInCode) {
    findings.push(
      warning(
        "policy",
        "says nothing: what permissions allow runs, and nobody is asked",
        "A model that is talked into a call makes it.",
        'Say under "policy" what is denied and what a human is asked about.'
      )
    )
  } else if (policy.default !== "deny" && Object.keys(mcpServers).length > 0 && !decidedInCode) {
    findings.push(
      warning(
        "policy.default",
        "allows what no glob names, and there are upstream servers",
        "A tool that a server adds, and somebody accepts, may be called without a rule about it.",
        'Set "default": "deny" and name under "allow" what may run.'
      )
    )
  }
  if (config.audit?.whenUnavailable === "run") {
    findings.push(
      note(
        "audit.whenUnavailable",
        "calls run also when they cannot be written down",
        "Destructive calls may then leave no record of what they were about to do.",
        "Leave it out: then tools that say they are destructive are refused, and others run."
      )
    )
  }
  return findings
}

// --- Limits ----------------------------------------------------------------

const ofLimits = ({ code, config }: Loaded): ReadonlyArray<Finding> => {
  const { budgets = [], rateLimits = [] } = config
  const findings: Array<Finding> = []
  if (rateLimits.length === 0 && code.governance?.rateLimits === undefined) {
    findings.push(
      note(
        "rateLimits",
        "there are none",
        "A model in a loop may call as often as its tools answer.",
        'Set one, such as { "limit": 60, "window": "1 minute", "by": "principal" }.'
      )
    )
  }
  for (const [index, { name, per, window }] of budgets.entries()) {
    const isOver = per === "call" || per === "run"
    if (window === undefined && !isOver) {
      findings.push(
        note(
          `budgets[${index}]${name === undefined ? "" : ` ${name}`}`,
          "has no window",
          "What is spent is never given back: once it is used up, calls are refused for ever.",
          'Set "window" to "day" or "month", unless that is what is meant.'
        )
      )
    }
  }
  return findings
}

// --- Servers ---------------------------------------------------------------

const ofServers = ({ credentials = {}, mcpServers = {} }: Config): ReadonlyArray<Finding> =>
  Object.entries(mcpServers).flatMap(([name, server]) => {
    const findings: Array<Finding> = []
    const named = [
      server.credential,
      ...Object.values(server.env ?? {}).map((value) =>
        typeof value === "string" ? undefined : value.credential
      )
    ]
    const missing = named.filter(
      (credential) => credential !== undefined && !Object.hasOwn(credentials, credential)
    )
    if (missing.length > 0) {
      findings.push(
        problem(
          `mcpServers.${name}`,
          `names credentials that do not exist: ${missing.join(", ")}`,
          "The server cannot be started.",
          'Put them under "credentials".'
        )
      )
    }
    if (server.trustAnnotations === true || server.trustResults === true) {
      findings.push(
        note(
          `mcpServers.${name}`,
          `is believed what it ${server.trustAnnotations === true ? "says of its tools" : "returns"}`,
          "A server that is taken over can then call itself harmless, or speak to a model unmarked.",
          "Leave it to servers that you run yourself."
        )
      )
    }
    return findings
  })
