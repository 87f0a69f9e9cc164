/** From a client's cancellation until the handler of a governed tool is interrupted: over stdio and HTTP, in both eras of the protocol. */
import { measureCancellation } from "../test/support/mcpCancellation.ts"
import { eras } from "../test/support/mcpHarness.ts"
import { type Outcome, outcome } from "./report.ts"
import { quantile } from "./support.ts"

const calls = 200
const atMost = 100

export const run = async (): Promise<Outcome> => {
  const rows: Array<ReadonlyArray<string | number>> = []
  const ratios: Array<Outcome["ratios"][number]> = []
  for (const era of eras) {
    for (const transport of ["stdio", "http"] as const) {
      const took = await measureCancellation(era, transport, calls)
      const slowest = Math.max(...took)
      rows.push([`${era}, ${transport}`, quantile(took, 0.5), quantile(took, 0.99), slowest])
      ratios.push({
        work: `cancelled over MCP, ${era}, ${transport}: slowest of ${calls}, ms`,
        comparedWith: "",
        measured: Math.round(slowest * 10) / 10,
        target: atMost,
        plain: true
      })
    }
  }
  const columns = [
    { title: "protocol" },
    { title: "p50, ms" },
    { title: "p99, ms" },
    { title: "slowest, ms" }
  ]
  return outcome({ tables: [{ title: "", columns, rows }], ratios })
}
