/** The other half of `plainComposition.test.ts`, for another core. */
import { it } from "@effect/vitest"
import { sameOutcomes } from "./support/plainProperty.ts"

const scenarios = Number(process.env.INTERLOCK_SCENARIOS ?? 100_000)
const seed = Number(process.env.INTERLOCK_SEED ?? 1)

it("gives the outcome of the plain composition", () => sameOutcomes(scenarios / 2, seed + 1, 2), 3_600_000)
