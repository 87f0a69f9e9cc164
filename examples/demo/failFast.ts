/** A batch in which one critical call fails: what runs beside it is interrupted, what had not begun is skipped. */
import { Effect } from "effect"
import { Batch, Principal, ToolExecutor } from "effect-interlock"
import { governance, principalOf } from "./governance.ts"
import { told } from "./report.ts"
import { DemoService } from "./service.ts"
import { bold, count, time } from "./text.ts"
import { tools } from "./tools.ts"

const pages = 70
const reports = Array.from({ length: 23 }, (_, index) => ({
  id: `report-${index + 1}`,
  tool: "build_report",
  params: { pages }
}))
const critical = { id: "article", tool: "check_stock", params: { sku: "no such article" } }

/** Runs 24 calls, 20 at once, and says what became of them. */
export const failFast = Effect.gen(function* () {
  const service = yield* DemoService
  const executor = yield* ToolExecutor.make(tools)
  const before = yield* service.seen
  const {
    counts,
    results,
    stoppedBy,
    time: took
  } = yield* Batch.parallel(executor, [...reports.slice(0, 10), critical, ...reports.slice(10)], {
    concurrency: 20,
    failFast: true
  })
  // The other ends of the connections hear of it a moment later.
  yield* Effect.sleep("50 millis")
  const hungUp = (yield* service.seen).hungUp - before.hungUp
  const failed = results.find(({ callId }) => callId === stoppedBy)
  const failedAfter = failed?.latency ?? 0
  return [
    bold("Fail-fast: 24 calls, 20 at once, one of them critical and failing"),
    `  Each report takes ${time(8 * pages)}. The critical call failed after ${time(failedAfter)}:`,
    `    ${failed === undefined ? "(it did not fail)" : told(failed)}`,
    `  ${count(counts.cancelled ?? 0, "running call")} cancelled, ${counts.skipped ?? 0} that had not begun skipped.`,
    `  The batch returned ${time(took - failedAfter)} after the failure; the service saw ${count(hungUp, "caller")} hang up.`
  ].join("\n")
}).pipe(Principal.provide(principalOf("bob")), Effect.provide(governance()))
