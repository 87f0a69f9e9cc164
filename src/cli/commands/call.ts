/** `interlock call <tool> '<json>'`: one call, or with `--explain` what every stage would say of it. */

import * as Console from "effect/Console"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Approvals from "../../Approvals.ts"
import * as Evaluation from "../../Evaluation.ts"
import { describe } from "../../internal/approvals/describe.ts"
import { plain } from "../../internal/plainText.ts"
import type { ToolCall } from "../../ToolCall.ts"
import type { ToolExecutor } from "../../ToolExecutor.ts"
import { type Registered, ToolRegistry } from "../../ToolRegistry.ts"
import type { ToolResult } from "../../ToolResult.ts"
import { asked } from "../agreed.ts"
import { complain } from "../ExitCode.ts"
import * as Output from "../Output.ts"
import { asPrincipal } from "../Project.ts"
import { paramsOf, showResult } from "../result.ts"

const optional = <K extends string, A>(key: K, value: Option.Option<A>): { readonly [P in K]?: A } =>
  Option.match(value, {
    onNone: () => ({}),
    onSome: (some) => ({ [key]: some }) as { readonly [P in K]?: A }
  })

// --- A human -----------------------------------------------------------

const howToGoOn = (result: ToolResult, executor: ToolExecutor<Registered>) =>
  Effect.gen(function* () {
    const approvals = yield* Approvals.Approvals
    const [request] = yield* approvals.list({ callId: result.callId, state: "pending", limit: 1 })
    if (request === undefined) return result
    const { canPrompt } = yield* TerminalCapabilities
    if (request.by === "confirm" && canPrompt && !(yield* Output.Json)) {
      yield* Console.error(describe(request))
      if (!(yield* asked(`Let ${plain(request.tool)} run?`))) {
        yield* approvals.reject(request.id)
        const { error: _, ...unsaid } = result
        return { ...unsaid, status: "rejected" as const }
      }
      const { token } = yield* approvals.grant(request.id)
      return yield* executor.resume(token)
    }
    yield* Console.error(
      [
        `${result.tool} waits until ${request.by === "approve" ? "somebody else approves" : "you confirm"} it, by ${Output.time(request.expiresAt)} UTC:`,
        `  interlock approvals approve ${request.id}`,
        `then run it with the token that this prints:`,
        `  interlock call --resume <token>`
      ].join("\n")
    )
    return result
  })

/** Names that are like one that no tool has. */
const suggest = Effect.fnUntraced(function* (executor: ToolExecutor<Registered>, name: string) {
  const near = yield* executor.search(name.replaceAll("_", " "), { limit: 3 })
  const names = near.map(({ tool }) => Output.cell(tool.name))
  if (names.length > 0) yield* Console.error(`Did you mean ${names.join(", ")}?`)
})

// --- Commands --------------------------------------------------------------

export const call = Command.make(
  "call",
  {
    tool: Argument.String("tool").pipe(Argument.optional),
    params: Argument.String("json").pipe(
      Argument.withDescription("The arguments; - reads them from stdin; {} by default"),
      Argument.optional
    ),
    explain: Flag.Boolean("explain").pipe(
      Flag.withDescription("Say what each stage would decide, and run nothing"),
      Flag.withDefault(false)
    ),
    wait: Flag.Boolean("wait").pipe(
      Flag.withDescription("Wait for the human who has to decide"),
      Flag.withDefault(false)
    ),
    resume: Flag.String("resume").pipe(
      Flag.withDescription("Run the call that was granted with this token"),
      Flag.optional
    ),
    id: Flag.String("id").pipe(Flag.withDescription("The call's id"), Flag.optional),
    key: Flag.String("idempotency-key").pipe(
      Flag.withDescription("A repetition with the same key gets the first outcome and does not run"),
      Flag.optional
    )
  },
  ({ explain, id, key, params, resume, tool, wait }) =>
    asPrincipal(
      Effect.gen(function* () {
        const executor = yield* (yield* ToolRegistry).executor
        if (Option.isSome(resume)) return yield* showResult(yield* executor.resume(resume.value))
        if (Option.isNone(tool))
          return yield* complain("usage", "Say which tool: interlock call <tool> '<json>'")
        const request: ToolCall = {
          tool: tool.value,
          params: yield* paramsOf(Option.getOrElse(params, () => "{}")),
          ...optional("id", id),
          ...optional("idempotencyKey", key)
        }
        if (explain) return yield* Output.print(yield* executor.evaluate(request), Evaluation.format)
        const called = executor.execute(request)
        const result = yield* wait ? Approvals.wait(called) : called
        if (result.status === "not_found") yield* suggest(executor, tool.value)
        return yield* showResult(
          result.status === "pending_confirmation" ? yield* howToGoOn(result, executor) : result
        )
      })
    )
).pipe(Command.withDescription("Make one call"))
