/**
 * Asking the human of the client that calls.
 *
 * A client that knows elicitation shows its human what is asked, and hands on
 * what that one says. So it can answer what the principal itself may answer, a
 * `confirm`, and never an `approve`; not for somebody without a name, and not
 * for a principal whose actor is a service, which has nobody at its side. The
 * model does not see the question, and what it writes is no answer: only the
 * client can send one, with the credentials of the principal.
 */
import * as McpSchema from "effect/ai/McpSchema"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ApprovalError, Approvals, Request, Unavailable } from "../../Approvals.ts"
import { describe } from "../../internal/approvals/describe.ts"
import { plain } from "../../internal/plainText.ts"
import * as Principal from "../../Principal.ts"
import { CurrentRun } from "../../Run.ts"
import type { Reason } from "../../ToolError.ts"

export type Pending = Extract<Reason, { readonly _tag: "PendingConfirmation" }>

/** What the human said; `undefined` where nothing was said. */
export type Answer = "yes" | "no" | undefined

/** Whether the client's human can be asked at all. */
export const canAsk = (
  { elicitation }: McpSchema.ClientCapabilities,
  { actor, id }: Principal.Principal
): boolean =>
  elicitation !== undefined &&
  (elicitation.form !== undefined || elicitation.url === undefined) &&
  id !== Principal.anonymous.id &&
  actor?.kind !== "service"

/** The question as a form of one box: what a client fills in by itself is no answer, for the box has no default. */
const formOf = (request: Request) => ({
  message: `${describe(request)}\nLet ${plain(request.tool)} run?`,
  requestedSchema: {
    type: "object" as const,
    properties: { [box]: { type: "boolean" as const, title: "Let it run" } },
    required: [box]
  }
})
const box = "confirm"

export const inputRequestOf = (request: Request): McpSchema.McpInputRequest => ({
  method: "elicitation/create",
  params: { mode: "form", ...formOf(request) }
})

// Effect's classes of fields are made by decoding only.
const decodeForm = Schema.decodeUnknownSync(McpSchema.ElicitRequestFormParams)

/** What an elicitation came to: yes is only what was accepted and ticked, and a form without the box is no answer. */
export const answerOf = (result: Readonly<Record<string, unknown>>): Answer => {
  if (result.action === "decline") return "no"
  if (result.action !== "accept") return undefined
  const content = result.content as Readonly<Record<string, unknown>> | undefined
  const ticked = content?.[box]
  return typeof ticked === "boolean" ? (ticked ? "yes" : "no") : undefined
}

/**
 * Asks over the session, for as long as nobody has decided elsewhere; `elsewhere` where somebody has. A client that
 * fails to ask has not answered.
 */
export const elicit = (
  { getClient }: McpSchema.McpServerClient["Service"],
  approvals: Approvals["Service"],
  request: Request
): Effect.Effect<Answer | "elsewhere", Unavailable> => {
  const form = decodeForm({ mode: "form", ...formOf(request) })
  const asked = Effect.flatMap(getClient, (client) => client.elicit(form)).pipe(
    Effect.map((result) => answerOf({ ...result })),
    Effect.scoped,
    Effect.catchCause((cause) =>
      Cause.hasInterrupts(cause)
        ? Effect.failCause(cause as Cause.Cause<never>)
        : Effect.as(Effect.logDebug("The client did not ask its human", cause), undefined)
    )
  )
  return Effect.raceFirst(asked, Effect.as(approvals.decided(request.id), "elsewhere" as const))
}

/** Decides as the person on whose behalf the call is made, and as nobody who asks. */
export const decide = (
  approvals: Approvals["Service"],
  id: string,
  answer: "yes" | "no",
  principal: Principal.Principal
): Effect.Effect<void, ApprovalError | Unavailable> => {
  const decided: Effect.Effect<unknown, ApprovalError | Unavailable> =
    answer === "yes" ? approvals.grant(id) : approvals.reject(id, "The person whom the client asked said no.")
  return Effect.asVoid(decided).pipe(
    // The call is part of a model's run, and whoever answers is not.
    Effect.provideService(CurrentRun, undefined),
    Principal.provide({ ...principal, actor: { kind: "person", id: "mcp-elicitation" } })
  )
}
