/**
 * What never changes of a request, as the text that is signed when it is made.
 * Whoever can write to the store but has no key can neither show a human
 * something else than what will run, nor make up a request.
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Question, Request } from "../../Approvals.ts"
import type { Keyring } from "../../Keyring.ts"
import { Actor } from "../../Principal.ts"
import { mac, sameMac } from "../sealing.ts"
import type { Held } from "./store.ts"

const By = Schema.Literals(["confirm", "approve"])

/** What a grant is bound to. */
export const Bound = {
  callId: Schema.String,
  tool: Schema.String,
  principal: Schema.String,
  tenant: Schema.optional(Schema.String),
  by: By,
  argumentsHash: Schema.String,
  /** The id of the key that the arguments were hashed with. */
  hashKey: Schema.String,
  toolDigest: Schema.String,
  policyDigest: Schema.String,
  /** Milliseconds since the epoch. */
  expiresAt: Schema.Finite
}
export type Bound = Schema.Struct.Type<typeof Bound>

const Document = Schema.Struct({
  id: Schema.String,
  createdAt: Schema.Finite,
  ...Bound,
  actor: Schema.optional(Actor),
  run: Schema.optional(Schema.String),
  session: Schema.optional(Schema.String),
  why: Schema.Array(Schema.Struct({ rule: Schema.String, message: Schema.String })),
  risk: Schema.Literals(["low", "medium", "high", "critical"]),
  view: Schema.Struct({
    value: Schema.optional(Schema.Unknown),
    masked: Schema.Array(Schema.Struct({ path: Schema.String, rule: Schema.String }))
  }),
  copied: Schema.Array(
    Schema.Struct({
      path: Schema.String,
      tool: Schema.String,
      callId: Schema.String,
      possibly: Schema.optionalKey(Schema.Literal(true))
    })
  ),
  findings: Schema.Array(
    Schema.Struct({
      rule: Schema.String,
      path: Schema.String,
      message: Schema.String,
      severity: Schema.Literals(["refuse", "flag"])
    })
  ),
  replaces: Schema.optional(Schema.Struct({ request: Schema.String, editor: Schema.String }))
})
export type Document = typeof Document.Type

/** The text of a new document. It is what is kept: whoever asked may change what it handed over. */
export const write = (
  question: Question,
  made: Pick<Document, "id" | "createdAt" | "expiresAt" | "argumentsHash" | "hashKey">
): string => {
  const { callId, tool, principal, tenant, by, toolDigest, policyDigest } = question
  const { actor, run, session, why, risk, view, copied, findings, replaces } = question
  const bound = { callId, tool, principal, tenant, by, toolDigest, policyDigest }
  return JSON.stringify({
    ...made,
    ...bound,
    ...{ actor, run, session, why, risk, view, copied, findings, replaces }
  })
}

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Document))

/** `undefined` where the text is no document. */
export const read = (text: string): Document | undefined => Option.getOrUndefined(decode(text))

export const sign = (keyring: Keyring["Service"], text: string): string =>
  `${keyring.active}.${mac(keyring.key("approvals"), `document/${text}`)}`

/** Whether what is held is what was signed when it was asked. */
export const isAuthentic = (keyring: Keyring["Service"], { signature, text }: Held): boolean => {
  const dot = signature.indexOf(".")
  const key = dot < 0 ? undefined : keyring.key("approvals", signature.slice(0, dot))
  return key !== undefined && sameMac(mac(key, `document/${text}`), signature.slice(dot + 1))
}

/** A request as anyone who may decide sees it now. */
export const requestOf = (held: Held, now: number): Request => {
  const { document, decidedBy, decidedAt, reason } = held
  const { argumentsHash: _hash, hashKey: _key, ...shown } = document
  return {
    ...shown,
    tenant: document.tenant,
    actor: document.actor,
    run: document.run,
    session: document.session,
    view: { value: document.view.value, masked: document.view.masked },
    state: stateOf(held, now),
    decidedBy,
    decidedAt,
    reason
  }
}

/** Time decides what has expired, whether anybody has noticed yet or not. */
export const stateOf = (held: Held, now: number): Request["state"] =>
  isOverdue(held, now) ? "expired" : held.state

export const isOverdue = ({ document, state }: Held, now: number): boolean =>
  (state === "pending" || state === "granted") && document.expiresAt <= now
