/**
 * The pipeline does what the plain composition in `support/plain.ts` does:
 * random tools, policies, failures and interruptions, run through both under a
 * `TestClock`, come to the same for callers, handlers, records, circuits,
 * health, money and slots.
 *
 * `npm test` runs 100,000 scenarios, half of them here and half of them in
 * `plainCompositionMore.test.ts`, so that two cores share the work. The same
 * ones come every time; `INTERLOCK_SCENARIOS` runs more or fewer, and
 * `INTERLOCK_SEED` others. What differs is told with its seed, and shrunk.
 */
import { it } from "@effect/vitest"
import { sameOutcomes } from "./support/plainProperty.ts"

const scenarios = Number(process.env.INTERLOCK_SCENARIOS ?? 100_000)
const seed = Number(process.env.INTERLOCK_SEED ?? 1)

it("gives the outcome of the plain composition", () => sameOutcomes(scenarios / 2, seed, 2), 3_600_000)
