/** Hand-written JavaScript that makes the same checks. */
import { Crowd, type FailFast } from "../support.ts"
import { governed } from "./governed.ts"
import { Governor } from "./governor.ts"

/** It has no package: the version is that of what runs it. */
export const version = process.versions.node
const name = "hand-written JavaScript"

export const { batch, call, refused } = governed(name, Governor)

/** Abort controllers wired by hand around the bare handlers. */
export const failFast = async (size: number): Promise<FailFast> => {
  const crowd = new Crowd(size)
  const controller = new AbortController()
  const works = Array.from({ length: size }, (_, index) => crowd.work(index, controller.signal))
  await Promise.all(works).catch((error) => controller.abort(error))
  return crowd.told()
}
