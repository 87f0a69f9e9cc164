/** Who may decide what, and what a grant fits: total functions from data to a reason. */
import type { Invalid, Request, Subject } from "../../Approvals.ts"
import { anonymous, type Principal } from "../../Principal.ts"
import type { Bound } from "./document.ts"

// --- Who may decide --------------------------------------------------------

type Decidable = Pick<Request, "principal" | "tenant" | "by" | "actor" | "replaces">

/** Why the principal may not grant the request. */
export const mayNotGrant = (decider: Principal, request: Decidable): string | undefined => {
  const { actor } = decider
  if (decider.id === anonymous.id) return "Somebody without a name cannot decide."
  if (decider.tenant !== request.tenant) return "The request belongs to another tenant."
  if (actor !== undefined && actor.kind !== "person")
    return `A ${actor.kind} cannot decide, only a person can.`
  if (request.actor !== undefined && actor?.id === request.actor.id) return selfApproval
  const isSubject = decider.id === request.principal
  if (request.by === "confirm") {
    if (!isSubject) return "Only the person on whose behalf the call is made can confirm it."
    // A person who asked for herself may confirm as the principal, or at a terminal; a model or service may not.
    return request.actor !== undefined && request.actor.kind !== "person" && request.actor.id === decider.id
      ? selfApproval
      : undefined
  }
  if (isSubject || actor?.id === request.principal)
    return "Another person must approve this; nobody approves their own calls."
  if (request.actor?.id === decider.id) return selfApproval
  const editor = request.replaces?.editor
  return editor !== undefined && (editor === decider.id || editor === actor?.id)
    ? "Whoever edited the arguments cannot approve them."
    : undefined
}

const selfApproval = "Whoever asked for the call cannot let it run."

/** Whether the principal is the one on whose behalf the call is made: it may always say no. */
export const isOwn = (decider: Principal, request: Decidable): boolean =>
  decider.id !== anonymous.id && decider.id === request.principal && decider.tenant === request.tenant

// --- What a grant fits -----------------------------------------------------

/** Where the call is another than the one that was asked about. Whose it is comes first: nobody learns of others. */
export const mismatch = (bound: Omit<Bound, "expiresAt">, subject: Subject): Invalid["why"] | undefined => {
  if (bound.principal !== subject.principal || bound.tenant !== subject.tenant) return "another_principal"
  if (bound.callId !== subject.callId) return "another_call"
  if (bound.tool !== subject.tool) return "another_tool"
  if (bound.argumentsHash !== subject.argumentsHash(bound.hashKey)) return "other_arguments"
  if (bound.toolDigest !== subject.toolDigest) return "tool_changed"
  if (bound.policyDigest !== subject.policyDigest) return "policy_changed"
  return undefined
}

/** Whether who was asked is enough for who must be asked now: an approval also confirms. */
export const suffices = (asked: "confirm" | "approve", needed: "confirm" | "approve" | undefined): boolean =>
  asked === "approve" || needed !== "approve"
