/**
 * The pipeline does what the plain composition does: random tools, policies,
 * failures and interruptions, each run through both under a `TestClock`, come
 * to the same in everything that there is to see.
 */
import { assert, it } from "@effect/vitest"
import * as fc from "fast-check"
import { bothOf } from "./support/plainRuns.ts"
import { series } from "./support/scenarios.ts"

const scenarios = Number(process.env.INTERLOCK_SCENARIOS ?? 5_000)

it("gives the same outcome as the plain composition", async () => {
  await fc.assert(
    fc.asyncProperty(series, async (series) => {
      const { pipeline, plain } = await bothOf(series)
      assert.deepStrictEqual(pipeline, plain)
    }),
    { numRuns: scenarios / 8 }
  )
}, 3_600_000)
