import * as Duration from "effect/Duration"
import type { Options } from "../Approvals.ts"

/** Options with their defaults; throws a `RangeError` for one that makes no sense. */
export const checked = (
  options: Options
): Required<Omit<Options, "expiresAfter">> & { readonly expiresAfter: number } => {
  const { maxUndecided = 20, mayDecide = () => true } = options
  if (!(Number.isInteger(maxUndecided) && maxUndecided >= 0)) {
    throw new RangeError(`Approvals: maxUndecided must be an integer of at least 0, got ${maxUndecided}`)
  }
  const expiresAfter = Duration.toMillis(Duration.fromInputUnsafe(options.expiresAfter ?? "15 minutes"))
  if (!(expiresAfter >= 1 && expiresAfter < Infinity)) {
    throw new RangeError("Approvals: expiresAfter must be finite and at least a millisecond")
  }
  return { maxUndecided, expiresAfter, mayDecide }
}
