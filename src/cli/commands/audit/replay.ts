/** `interlock audit replay`: what a change of policy would have done to past calls, before it is made. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import { FileSystem } from "effect/FileSystem"
import * as Jsonc from "jsonc-parser"
import { AuditLog } from "../../../AuditLog.ts"
import * as Replay from "../../../Replay.ts"
import { decode } from "../../../SecurityPolicy.ts"
import { ToolRegistry } from "../../../ToolRegistry.ts"
import { allTools } from "../../allTools.ts"
import { complain, end } from "../../ExitCode.ts"
import { explained } from "../../failures.ts"
import * as Output from "../../Output.ts"
import { Project } from "../../Project.ts"
import { flags, selectionOf } from "./selection.ts"

/** A policy as the configuration has it under `policy`, with comments. */
const readPolicy = Effect.fnUntraced(function* (file: string) {
  const text = yield* (yield* FileSystem)
    .readFileString(file)
    .pipe(Effect.catch(() => complain("usage", `${file} cannot be read.`)))
  const errors: Array<Jsonc.ParseError> = []
  const json: unknown = Jsonc.parse(text, errors, { allowTrailingComma: true })
  const [wrong] = errors
  if (wrong !== undefined) {
    const line = text.slice(0, wrong.offset).split("\n").length
    return yield* complain(
      "usage",
      `${file} is not JSON: ${Jsonc.printParseErrorCode(wrong.error)} in line ${line}.`
    )
  }
  return yield* decode(json).pipe(
    Effect.catch(({ problems }) =>
      complain(
        "usage",
        [`${file} is no policy:`, ...problems.map(({ message }) => `  ${message}`)].join("\n")
      )
    )
  )
})

const format = (replayed: Replay.Replayed, paint: Output.Paint): string => {
  const { calls, changed, same, undecidable } = replayed
  const total = `${same} same, ${changed} changed, ${undecidable} undecidable`
  const others = calls.filter(({ result }) => result !== "same")
  if (others.length === 0) return total
  const rows = others.map(({ after, before, principal, sequence, tool, why }) => [
    String(sequence),
    Output.cell(tool, 40),
    Output.cell(principal ?? "(forgotten)", 30),
    after === undefined ? paint.yellow(`${before} → ?`) : paint.red(`${before} → ${after}`),
    Output.cell(why.join("; "), 100)
  ])
  return `${Output.table(["RECORD", "TOOL", "FOR", "DECISION", "WHY"], rows, paint)}\n${total}`
}

export const replay = Command.make(
  "replay",
  {
    ...flags,
    policy: Flag.File("policy").pipe(
      Flag.withDescription("The candidate, in JSON: what would stand under policy in the configuration")
    )
  },
  Effect.fnUntraced(function* ({ policy, ...given }) {
    const audit = yield* AuditLog
    const { principals } = yield* Project
    const candidate = { policy: yield* readPolicy(policy) }
    const selection = yield* selectionOf(given)
    const records = yield* audit.query({
      ...selection,
      kind: "tool_call",
      phase: "outcome",
      order: "oldest",
      limit: Number.MAX_SAFE_INTEGER
    })
    const tools = Effect.gen(function* () {
      const executor = yield* (yield* ToolRegistry).executor
      return Array.from(executor.pipeline.tools.values(), ({ facts }) => facts.tool)
    })
    const replayed = yield* Replay.run(records, candidate, {
      tools: yield* Effect.provide(tools, allTools),
      principal: (id, tenant) => {
        const known = principals.get(id)
        return known?.tenant === tenant ? known : undefined
      }
    })
    yield* Output.print(replayed, format)
    yield* end(replayed.changed > 0 ? "partial" : "ok")
  }, explained)
).pipe(
  Command.withDescription(
    "Decide past calls again by another policy; ends with 7 where any comes out otherwise"
  )
)
