/** The property that the pipeline does what the plain composition does, over as many scenarios as one likes. */
import { isDeepStrictEqual } from "node:util"
import * as fc from "fast-check"
import { bothOf } from "./plainRuns.ts"
import { series } from "./scenarios.ts"

/** Series per seed: what fails is found again by its seed alone. */
const perSeed = 200

/**
 * Runs at least so many scenarios, with the seeds `seed`, `seed + step` and so on. Throws where the two differ: with
 * the seed, the smallest series that still differs, and where it does.
 */
export const sameOutcomes = async (scenarios: number, seed: number, step: number): Promise<void> => {
  let done = 0
  for (let next = seed; done < scenarios; next += step) {
    const property = fc.asyncProperty(series, async (series) => {
      const { pipeline, plain } = await bothOf(series)
      done += plain.length
      if (!isDeepStrictEqual(pipeline, plain)) throw new Error(differences(pipeline, plain, "").join("\n"))
    })
    await fc.assert(property, { numRuns: perSeed, seed: next })
  }
}

/** Where two traces differ, and how. */
const differences = (pipeline: unknown, plain: unknown, path: string): ReadonlyArray<string> => {
  if (isDeepStrictEqual(pipeline, plain)) return []
  if (!isObject(pipeline) || !isObject(plain)) {
    return [
      `${path}: ${JSON.stringify(pipeline)} from the pipeline, ${JSON.stringify(plain)} from the plain one`
    ]
  }
  const keys = [...new Set([...Object.keys(pipeline), ...Object.keys(plain)])]
  return keys.flatMap((key) => differences(pipeline[key], plain[key], `${path}/${key}`))
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null
