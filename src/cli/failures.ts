/** What a store or a decision refuses, as a command says it. */
import * as Effect from "effect/Effect"
import type { ApprovalError } from "../Approvals.ts"
import type { Unavailable } from "../ToolError.ts"
import { type Complaint, complain, type ExitCodeName } from "./ExitCode.ts"

const codes: { readonly [R in ApprovalError["reason"]]: ExitCodeName } = {
  not_found: "invalid",
  not_pending: "refused",
  expired: "refused",
  not_allowed: "refused"
}

/** A complaint in the place of an error of a port. */
export const explained = <A, E, R>(
  self: Effect.Effect<A, E | ApprovalError | Unavailable, R>
): Effect.Effect<A, Exclude<E, ApprovalError | Unavailable> | Complaint, R> =>
  Effect.catch(self, (error): Effect.Effect<never, Exclude<E, ApprovalError | Unavailable> | Complaint> => {
    if (isTagged(error)) {
      if (error._tag === "ApprovalError") return complain(codes[error.reason], error.message)
      if (error._tag === "Unavailable") {
        return complain(
          "unavailable",
          `The state does not answer: ${error.concern} could not be read or written. Look with: interlock doctor`
        )
      }
    }
    return Effect.fail(error as Exclude<E, ApprovalError | Unavailable>)
  })

const isTagged = (error: unknown): error is ApprovalError | Unavailable =>
  typeof error === "object" && error !== null && "_tag" in error

/** What anything that went wrong says of itself. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
