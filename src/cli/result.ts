/** What calls are given as and come to, in every command that makes one. */
import * as Effect from "effect/Effect"
import { Stdio } from "effect/Stdio"
import * as Stream from "effect/Stream"
import { isUsable, type ToolResult } from "../ToolResult.ts"
import { complain, end, ofStatus } from "./ExitCode.ts"
import * as Output from "./Output.ts"

/** Arguments as they were typed, or as stdin has them where they are `-`. */
export const paramsOf = Effect.fnUntraced(function* (typed: string) {
  const text = typed === "-" ? yield* Stream.mkString(Stream.decodeText((yield* Stdio).stdin)) : typed
  return yield* Effect.try({ try: () => JSON.parse(text) as unknown, catch: (cause) => cause }).pipe(
    Effect.catch((cause) =>
      complain("usage", `The arguments are not JSON: ${cause instanceof Error ? cause.message : cause}`)
    )
  )
})

const text = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value, null, 2))

/** Prints the value, or why there is none, and ends as the status says. */
export const showResult = (result: ToolResult) =>
  Effect.gen(function* () {
    yield* Output.print(result, ({ error, status, value }, paint) =>
      isUsable(result)
        ? text(value ?? null)
        : `${paint.red(status)}  ${Output.cell(error?.message ?? "", 2_000)}`
    )
    yield* end(ofStatus[result.status])
  })
