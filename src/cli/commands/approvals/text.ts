/** Requests as text: a row of each, and one as a person must see it who decides. */
import type { Request } from "../../../Approvals.ts"
import { describe } from "../../../internal/approvals/describe.ts"
import { mayNotGrant } from "../../../internal/approvals/rules.ts"
import { plain } from "../../../internal/plainText.ts"
import type { Principal } from "../../../Principal.ts"
import * as Output from "../../Output.ts"

/** Whose answer it waits for. */
const waitsFor = (request: Request, principal: Principal): string => {
  if (request.state !== "pending") return ""
  if (mayNotGrant(principal, request) === undefined) return "you"
  return request.by === "confirm" ? request.principal : "somebody else"
}

const stateColour = { pending: "yellow", granted: "green", rejected: "red" } as const

export const state = ({ state }: Request, paint: Output.Paint): string =>
  Object.hasOwn(stateColour, state) ? paint[stateColour[state as keyof typeof stateColour]](state) : state

export const list =
  (principal: Principal) =>
  (requests: ReadonlyArray<Request>, paint: Output.Paint): string =>
    requests.length === 0
      ? "Nothing is asked."
      : Output.table(
          ["ID", "STATE", "TOOL", "FOR", "WAITS FOR", "RISK", "UNTIL (UTC)"],
          requests.map((request) => [
            Output.cell(request.id),
            state(request, paint),
            Output.cell(request.tool, 40),
            Output.cell(request.principal, 30),
            Output.cell(waitsFor(request, principal), 30),
            request.risk,
            Output.time(request.expiresAt)
          ]),
          paint
        )

/** The whole question, without asking it. */
export const card = (request: Request, paint: Output.Paint): string => {
  const { createdAt, decidedAt, decidedBy, expiresAt, id, reason, risk, tool } = request
  // It begins with a title of its own.
  const asked = describe(request).split("\n").slice(1)
  const decided =
    decidedAt === undefined
      ? []
      : [`  decided ${Output.time(decidedAt)} UTC${decidedBy === undefined ? "" : ` by ${plain(decidedBy)}`}`]
  return [
    `${paint.bold(plain(tool))}  ${state(request, paint)}  risk: ${risk}`,
    `  id      ${plain(id)}`,
    ...asked,
    `  asked   ${Output.time(createdAt)} UTC`,
    `  until   ${Output.time(expiresAt)} UTC`,
    ...decided,
    ...(reason === undefined ? [] : [`  reason  ${plain(reason)}`])
  ].join("\n")
}

/** A change, on one line. */
export const line = (request: Request, paint: Output.Paint): string =>
  [
    Output.time(request.decidedAt ?? request.createdAt),
    state(request, paint),
    Output.cell(request.tool, 40),
    `for ${Output.cell(request.principal, 30)}`,
    paint.dim(Output.cell(request.id))
  ].join("  ")

/** What runs a granted call. */
export const howToRun = ({ principal: { id }, request, token }: Granted): string => {
  const own = request.principal === id ? "" : ` --as ${quoted(request.principal)}`
  return [
    "Whoever waits for it goes on by itself. Else run it, once, with:",
    `  interlock call${own} --resume ${token}`
  ].join("\n")
}

interface Granted {
  readonly request: Request
  readonly token: string
  /** Who granted it. */
  readonly principal: Principal
}

/** As a shell takes it for one word. */
const quoted = (word: string): string =>
  /^[\w.@:+/-]+$/.test(word) ? word : `'${plain(word).replaceAll("'", `'\\''`)}'`
