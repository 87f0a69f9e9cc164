/** What the tools say of themselves, and what the policy and the limits make of it: a total function of them. */
import * as Glob from "../../internal/glob.ts"
import type { ToolRules } from "../../SecurityPolicy.ts"
import type { ToolFacts } from "../../ToolAnnotations.ts"
import type { Config } from "../Config.ts"
import { type Finding, note, ok, some, warning } from "./Finding.ts"

export interface Known {
  readonly facts: ToolFacts
  readonly digest: string
  readonly rules: Pick<ToolRules, "byName">
  /** Whether any budget can ever apply to it. */
  readonly hasBudget: boolean
}

/** `complete`: there are no tools that are not known now, those of servers that are down. */
export const ofTools = (
  tools: ReadonlyArray<Known>,
  config: Config,
  complete: boolean
): ReadonlyArray<Finding> => {
  if (tools.length === 0) {
    return [
      note(
        "tools",
        "there are none",
        "Nothing can be called.",
        'Name some under "toolbox", "openapi", "lambda" or "mcpServers"; a module also under "tools".'
      )
    ]
  }
  return [
    ok("tools", `${tools.length} tools`),
    ...ofDeclarations(tools),
    ...ofPins(tools, config),
    ...(complete ? ofGlobs(tools, config) : [])
  ]
}

const namesOf = (tools: ReadonlyArray<Known>): ReadonlyArray<string> => tools.map(({ facts }) => facts.name)

const ofDeclarations = (tools: ReadonlyArray<Known>): ReadonlyArray<Finding> => {
  const findings: Array<Finding> = []
  const add = (which: (tool: Known) => boolean, make: (names: string) => Finding) => {
    const found = namesOf(tools.filter(which))
    if (found.length > 0) findings.push(make(some(found)))
  }
  add(
    ({ facts }) => facts.capabilities === undefined,
    (names) =>
      warning(
        "tools",
        `do not say what they need: ${names}`,
        "Permissions cannot tell who may use them, so everybody may.",
        'Annotate them with capabilities; for a server set "capabilities" in mcpServers.'
      )
  )
  add(
    ({ facts, rules }) => facts.destructive === true && rules.byName._tag === "Allow",
    (names) =>
      warning(
        "tools",
        `destroy, and nobody is asked: ${names}`,
        "What they do cannot be undone, and a model can be talked into it.",
        "Name them under policy.requireConfirmation or policy.requireApproval."
      )
  )
  add(
    ({ facts, hasBudget, rules }) => facts.spends === true && !hasBudget && rules.byName._tag !== "Deny",
    (names) =>
      warning(
        "tools",
        `spend money, and no budget applies: ${names}`,
        "Nothing ends what a loop can spend.",
        'Set a limit under "budgets".'
      )
  )
  return findings
}

const ofPins = (tools: ReadonlyArray<Known>, { policy }: Config): ReadonlyArray<Finding> => {
  const digests = new Map(tools.map(({ digest, facts }) => [facts.name, digest]))
  const changed = Object.entries(policy?.pins ?? {}).filter(
    ([name, pin]) => digests.has(name) && digests.get(name) !== pin
  )
  return changed.length === 0
    ? []
    : [
        warning(
          "policy.pins",
          `are not of these tools as they are now: ${some(changed.map(([name]) => name))}`,
          "Their definition has changed since somebody looked at it.",
          "Look at it again, and pin what it is now."
        )
      ]
}

// --- Globs -----------------------------------------------------------------

/** Lists that hold something back: one that catches nothing holds nothing back. */
const protecting = ["deny", "requireConfirmation", "requireApproval"] as const

const ofGlobs = (tools: ReadonlyArray<Known>, config: Config): ReadonlyArray<Finding> => {
  const names = tools.flatMap(({ facts }) => facts.names)
  const idle = (globs: ReadonlyArray<string> = []): ReadonlyArray<string> =>
    globs.filter((glob) => !names.some((name) => Glob.matches(glob, name)))
  const { budgets = [], policy = {}, rateLimits = [] } = config
  const findings: Array<Finding> = []
  for (const list of protecting) {
    const found = idle(policy[list])
    if (found.length > 0) {
      findings.push(
        warning(
          `policy.${list}`,
          `names no tool that there is: ${some(found)}`,
          "A glob with a mistake in it protects nothing, and nothing else says so.",
          "Compare it with: interlock tools"
        )
      )
    }
  }
  const others = [
    ["policy.allow", idle(policy.allow)] as const,
    ...budgets.map(({ tools }, index) => [`budgets[${index}].tools`, idle(tools)] as const),
    ...rateLimits.map(({ tools }, index) => [`rateLimits[${index}].tools`, idle(tools)] as const)
  ]
  for (const [about, found] of others) {
    if (found.length > 0) {
      findings.push(
        note(
          about,
          `names no tool that there is: ${some(found)}`,
          "It changes nothing.",
          "Compare it with: interlock tools"
        )
      )
    }
  }
  return findings
}
