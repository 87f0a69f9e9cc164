/** `interlock health`: how each tool did lately, whichever process called it. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { end } from "../ExitCode.ts"
import { explained } from "../failures.ts"
import * as Flags from "../flags.ts"
import * as Health from "../health.ts"
import { millis } from "../numbers.ts"
import * as Output from "../Output.ts"

const table = (tools: ReadonlyArray<Health.ToolHealth>, paint: Output.Paint): string =>
  tools.length === 0
    ? "No tool was called in this time."
    : Output.table(
        ["TOOL", "HEALTH", "CALLS", "SUCCESS", "P50 MS", "P95 MS", "P99 MS", "CIRCUIT"],
        tools.map(({ calls, circuit, healthy, latency, successRate, tool }) => [
          Output.cell(tool, 40),
          healthy ? paint.green("ok") : paint.red("unhealthy"),
          String(calls),
          `${(successRate * 100).toFixed(1)} %`,
          millis(latency?.p50),
          millis(latency?.p95),
          millis(latency?.p99),
          circuit === "Closed" ? "closed" : paint.yellow(circuit)
        ]),
        paint
      )

export const health = Command.make(
  "health",
  {
    since: Flags.Period("since").pipe(
      Flag.withDescription("How far to look back; 1d by default"),
      Flag.withDefault(Duration.days(1))
    )
  },
  Effect.fnUntraced(function* ({ since }) {
    const tools = yield* Health.read(since)
    yield* Output.print(tools, table)
    yield* end(tools.every(({ healthy }) => healthy) ? "ok" : "unsound")
  }, explained)
).pipe(
  Command.withDescription(
    "How each tool did; ends with 8 where one succeeds in less than 90 % of its calls, or its circuit is open"
  )
)
