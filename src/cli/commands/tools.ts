/** `interlock tools [query]`: what the principal may use, why not the rest, and how each of them is. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Evaluation, StageResult } from "../../Evaluation.ts"
import { SecurityPolicy } from "../../SecurityPolicy.ts"
import type { ToolFacts } from "../../ToolAnnotations.ts"
import { ToolRegistry } from "../../ToolRegistry.ts"
import type * as Verdict from "../../Verdict.ts"
import * as Health from "../health.ts"
import * as Output from "../Output.ts"
import { asPrincipal } from "../Project.ts"

interface Row {
  readonly tool: string
  readonly source: string
  readonly description: string | undefined
  readonly risk: string
  /** `ask`: a human is asked about every call. */
  readonly access: "yes" | "ask" | "no"
  /** Why not, or why a human is asked. */
  readonly why: ReadonlyArray<string>
  /** As the last day tells. */
  readonly healthy: boolean
}

/** What may refuse a call by its tool's name alone, whatever its arguments. */
const byName: ReadonlyArray<StageResult["stage"]> = ["kill_switch", "permissions", "policy", "circuit"]

const accessOf = ({ stages }: Evaluation, verdict: Verdict.Verdict): Pick<Row, "access" | "why"> => {
  const denied = stages.filter((said) => said.verdict === "deny" && byName.includes(said.stage))
  if (denied.length > 0) {
    return { access: "no", why: denied.flatMap(({ reasons }) => reasons.map(({ message }) => message)) }
  }
  return verdict._tag === "Allow"
    ? { access: "yes", why: [] }
    : { access: "ask", why: verdict.reasons.map(({ message }) => message) }
}

const rows = Effect.fnUntraced(function* (query: Option.Option<string>) {
  const registry = yield* ToolRegistry
  const executor = yield* registry.executor
  const policy = yield* SecurityPolicy
  const health = new Map((yield* Health.read("1 day")).map((tool) => [tool.tool, tool]))
  const sources = new Map(
    [...(yield* registry.sources)].flatMap(([source, names]) => names.map((name) => [name, source] as const))
  )
  const words = Option.getOrUndefined(query)?.toLowerCase().split(/\s+/)
  const matches = ({ description = "", names, tags }: ToolFacts) =>
    words === undefined ||
    words.every((word) => [...names, description, ...tags].some((text) => text.toLowerCase().includes(word)))
  const facts = Array.from(executor.pipeline.tools.values(), (tool) => tool.facts).filter(matches)
  return yield* Effect.forEach(facts, (tool) =>
    Effect.map(executor.evaluate({ tool: tool.name, params: {} }), (evaluation): Row => {
      const known = health.get(tool.name)
      return {
        tool: tool.name,
        source: sources.get(tool.name) ?? "",
        description: tool.description,
        risk: tool.risk,
        ...accessOf(evaluation, policy.compile(tool, evaluation.toolDigest ?? "").byName),
        healthy: known?.healthy ?? true
      }
    })
  )
})

const format = (tools: ReadonlyArray<Row>, paint: Output.Paint): string => {
  if (tools.length === 0) return "No tools."
  const access = { yes: paint.green("yes"), ask: paint.yellow("ask"), no: paint.red("no") }
  return Output.table(
    ["TOOL", "USE", "RISK", "HEALTH", ""],
    tools.map(({ access: use, description, healthy, risk, tool, why }) => [
      Output.cell(tool),
      access[use],
      risk,
      healthy ? "ok" : paint.red("unhealthy"),
      Output.cell((use === "yes" ? description : why.join(" ")) ?? "")
    ]),
    paint
  )
}

export const tools = Command.make(
  "tools",
  { query: Argument.String("query").pipe(Argument.withDescription("Words to look for"), Argument.optional) },
  ({ query }) => Effect.flatMap(asPrincipal(rows(query)), (found) => Output.print(found, format))
).pipe(Command.withDescription("What you may use, why not the rest, and how each tool is"))
