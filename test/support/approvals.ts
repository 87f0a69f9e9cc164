/** What tests of approvals ask, and how. */
import * as assert from "node:assert"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Approvals from "../../src/Approvals.ts"
import { mac } from "../../src/internal/sealing.ts"
import * as Keyring from "../../src/Keyring.ts"
import * as Principal from "../../src/Principal.ts"

export type Service = Approvals.Approvals["Service"]

/** One store. */
export interface Place {
  /** Opens approvals on it: those of two openings see the same requests. */
  readonly open: (
    options?: Approvals.Options,
    keyring?: Keyring.Keyring["Service"]
  ) => Effect.Effect<Service, never, Scope.Scope>
  /** What is in it, as somebody sees it who can read the store. */
  readonly kept: Effect.Effect<ReadonlyArray<Kept>>
}

export type Kept = Pick<Approvals.Held, "state" | "sealed" | "token">

/** A new, empty store. */
export type Backend = Effect.Effect<Place, never, Scope.Scope>

const secret = (letter: string) => Redacted.make(letter.repeat(40))
export const keysOf = (ids: ReadonlyArray<string>, deployment = "shop"): Keyring.Keyring["Service"] =>
  Keyring.make({
    deployment,
    active: ids[0]!,
    keys: Object.fromEntries(ids.map((id) => [id, secret(id)]))
  })
export const keys = keysOf(["a"])

// --- Who and what ----------------------------------------------------------

export const model = { kind: "model", id: "opus" } as const
export const service = { kind: "service", id: "cron" } as const
export const ada = Principal.make({ id: "ada" })
export const bob = Principal.make({ id: "bob" })
export const adasModel = Principal.make({ id: "ada", actor: model })
export const bobsService = Principal.make({ id: "bob", actor: service })
export const eve = Principal.make({ id: "eve", tenant: "evil" })

export interface Details extends Partial<Omit<Approvals.Question, "argumentsHash">> {
  readonly keyring?: Keyring.Keyring["Service"]
}

/** A question of ada's model to pay somebody. */
export const question = ({ keyring = keys, ...details }: Details = {}): Approvals.Question => {
  const callJson = details.callJson ?? `{"to":"shop","card":"4111"}`
  return {
    callId: "call-1",
    tool: "pay",
    principal: "ada",
    tenant: undefined,
    toolDigest: "tool-1",
    policyDigest: "policy-1",
    by: "confirm",
    actor: model,
    run: "run-1",
    session: undefined,
    why: [{ rule: "pay*", message: "Paying needs a confirmation." }],
    risk: "high",
    view: { value: { to: "shop", card: "<card>" }, masked: [{ path: "card", rule: "card" }] },
    copied: [{ path: "to", tool: "fetch", callId: "call-0" }],
    findings: [{ rule: "sql", path: "to", message: "Looks like SQL.", severity: "flag" }],
    ...details,
    callJson,
    argumentsHash: (id) => {
      const key = keyring.key("arguments", id)
      return key === undefined ? undefined : mac(key, callJson)
    }
  }
}

/** The call that a question is about, as it stands when it is made again. */
export const subject = (details: Details = {}): Approvals.Subject => {
  const { argumentsHash, callId, policyDigest, principal, tenant, tool, toolDigest } = question(details)
  const by = details.by === undefined ? {} : { by: details.by }
  return { argumentsHash, callId, policyDigest, principal, tenant, tool, toolDigest, ...by }
}

// --- Doing -----------------------------------------------------------------

export const ask = Effect.fnUntraced(function* (approvals: Service, details: Details = {}) {
  return yield* approvals.ask(question(details), yield* Clock.currentTimeMillis)
})

/** Asks, and gives the request that is pending then. */
export const pending = Effect.fnUntraced(function* (approvals: Service, details: Details = {}) {
  const asked = yield* ask(approvals, details)
  if (asked._tag !== "Pending") return assert.fail(`not pending: ${asked._tag}`)
  return asked.request
})

export const redeem = Effect.fnUntraced(function* (
  approvals: Service,
  details: Details = {},
  token?: string
) {
  return yield* approvals.redeem(subject(details), token, yield* Clock.currentTimeMillis)
})

/** How a redemption ended: its tag, or why the approval is none. Looking first says the same and changes nothing. */
export const outcome = Effect.fnUntraced(function* (
  approvals: Service,
  details: Details = {},
  token?: string
) {
  const now = yield* Clock.currentTimeMillis
  const before = yield* approvals.list()
  const peeked = wordOf(yield* approvals.peek(subject(details), token, now))
  assert.deepStrictEqual(yield* approvals.list(), before)
  const word = wordOf(yield* approvals.redeem(subject(details), token, now))
  assert.strictEqual(peeked, word)
  return word
})

export const wordOf = (redeemed: Approvals.Redeemed): string =>
  redeemed._tag === "Invalid" ? redeemed.reason.why : redeemed._tag

/** Asks and grants: the request, and the token that proves the grant. */
export const granted = Effect.fnUntraced(function* (approvals: Service, details: Details = {}) {
  const request = yield* pending(approvals, details)
  const decider = details.by === "approve" ? bob : ada
  return yield* Principal.provide(approvals.grant(request.id), decider)
})
