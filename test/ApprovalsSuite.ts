/** What approvals do, whatever they are kept in. Time comes from `TestClock`. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as fc from "fast-check"
import type * as Approvals from "../src/Approvals.ts"
import * as Principal from "../src/Principal.ts"
import {
  ada,
  adasModel,
  ask,
  type Backend,
  bob,
  bobsService,
  type Details,
  eve,
  granted,
  type Kept,
  keysOf,
  model,
  outcome,
  pending,
  question,
  redeem,
  type Service,
  service
} from "./support/approvals.ts"
import {
  arbitraryPrograms,
  arbitraryStep,
  Book,
  Model,
  modelOptions,
  perform,
  runSteps
} from "./support/approvalsModel.ts"

/** Why a decision was refused. */
const refusal = <A>(decision: Effect.Effect<A, unknown>, decider: Principal.Principal) =>
  Effect.map(Effect.flip(Principal.provide(decision, decider)), (error) => {
    assert.strictEqual((error as Approvals.ApprovalError)._tag, "ApprovalError")
    return (error as Approvals.ApprovalError).reason
  })

const stateOf = (approvals: Service, id: string) => Effect.map(approvals.get(id), (request) => request?.state)

const minutes = (n: number) => n * 60_000

// --- The suite -------------------------------------------------------------

export const suite = (name: string, backend: Backend, runs: number): void => {
  const opened = (options?: Approvals.Options) => Effect.flatMap(backend, (place) => place.open(options))

  describe(`Approvals (${name})`, () => {
    describe("a request", () => {
      it.effect("shows a human the call, and keeps its arguments apart", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          yield* TestClock.adjust(1000)
          const request = yield* pending(approvals)
          assert.deepStrictEqual(request, {
            id: request.id,
            state: "pending",
            callId: "call-1",
            tool: "pay",
            principal: "ada",
            tenant: undefined,
            by: "confirm",
            actor: model,
            run: "run-1",
            session: undefined,
            why: [{ rule: "pay*", message: "Paying needs a confirmation." }],
            risk: "high",
            view: { value: { to: "shop", card: "<card>" }, masked: [{ path: "card", rule: "card" }] },
            copied: [{ path: "to", tool: "fetch", callId: "call-0" }],
            findings: [{ rule: "sql", path: "to", message: "Looks like SQL.", severity: "flag" }],
            toolDigest: "tool-1",
            policyDigest: "policy-1",
            createdAt: 1000,
            expiresAt: 1000 + minutes(15),
            decidedBy: undefined,
            decidedAt: undefined,
            reason: undefined
          })
          assert.match(request.id, /^[0-9a-f]{32}$/)
          assert.deepStrictEqual(yield* approvals.get(request.id), request)
          assert.deepStrictEqual(yield* approvals.list(), [request])
          assert.deepStrictEqual(yield* approvals.open(request.id), {
            request,
            callJson: `{"to":"shop","card":"4111"}`
          })
        })
      )

      it.effect("is the same one for as long as the question is", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          const first = yield* pending(approvals)
          assert.deepStrictEqual(yield* pending(approvals), first)
          const others: ReadonlyArray<Details> = [
            { callId: "call-2" },
            { tool: "refund" },
            { principal: "bob" },
            { tenant: "t" },
            { callJson: "{}" },
            { toolDigest: "tool-2" },
            { policyDigest: "policy-2" },
            { by: "approve" }
          ]
          const ids = new Set([first.id])
          for (const other of others) ids.add((yield* pending(approvals, other)).id)
          assert.strictEqual(ids.size, 1 + others.length)
          for (const [index, other] of others.entries()) {
            assert.strictEqual((yield* pending(approvals, other)).id, [...ids][index + 1])
          }
        })
      )

      it.effect("is not changed by what becomes of the values it was asked with", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          const value = { to: "shop" }
          const request = yield* pending(approvals, { view: { value, masked: [] } })
          value.to = "thief"
          assert.deepStrictEqual((yield* approvals.get(request.id))?.view.value, { to: "shop" })
        })
      )

      it.effect("is refused beyond 20 undecided ones of a principal, until one expires or is decided", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          for (let i = 0; i < 20; i++) {
            yield* pending(approvals, { callId: `call-${i}` })
            yield* TestClock.adjust(1000)
          }
          assert.deepStrictEqual(yield* ask(approvals, { callId: "one more" }), {
            _tag: "Full",
            retryAfter: minutes(15) - 20_000
          })
          // Questions that were put are found, and other principals have room.
          const old = yield* pending(approvals, { callId: "call-7" })
          yield* pending(approvals, { principal: "bob" })
          yield* pending(approvals, { tenant: "t" })
          yield* Principal.provide(approvals.reject(old.id), ada)
          yield* pending(approvals, { callId: "one more" })
          assert.strictEqual((yield* ask(approvals, { callId: "another" }))._tag, "Full")
          yield* TestClock.adjust(minutes(15) - 20_000)
          yield* pending(approvals, { callId: "another" })
          assert.strictEqual((yield* ask(approvals, { callId: "yet another" }))._tag, "Full")
        })
      )

      it.effect("keeps hostile ids of principals, tenants, calls and tools apart", () =>
        Effect.gen(function* () {
          const approvals = yield* opened({ maxUndecided: 1 })
          const hostile: ReadonlyArray<Details> = [
            { tenant: "a", principal: `b","c` },
            { tenant: `a","b`, principal: "c" },
            { tenant: undefined, principal: "c" },
            { tenant: "undefined", principal: "c" },
            { tenant: "null", principal: "c" },
            { principal: "__proto__" },
            { principal: "constructor" }
          ]
          for (const details of hostile) yield* pending(approvals, details)
          for (const details of hostile) {
            assert.strictEqual((yield* ask(approvals, { ...details, callId: "__proto__" }))._tag, "Full")
          }
        })
      )
    })

    describe("a decision", () => {
      it.effect("confirms: only the person on whose behalf the call is made", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          const { id } = yield* pending(approvals)
          const refused = [
            bob,
            adasModel,
            eve,
            Principal.anonymous,
            Principal.make({ id: "ada", tenant: "t" }),
            Principal.make({ id: "ada", actor: service }),
            Principal.make({ id: "ada", actor: { kind: "person", id: "opus" } })
          ]
          for (const decider of refused) {
            assert.strictEqual(yield* refusal(approvals.grant(id), decider), "not_allowed")
          }
          assert.strictEqual(yield* stateOf(approvals, id), "pending")
          yield* TestClock.adjust(5)
          const person = Principal.make({ id: "ada", actor: { kind: "person", id: "ada" } })
          const { request } = yield* Principal.provide(approvals.grant(id), person)
          assert.deepStrictEqual([request.state, request.decidedBy, request.decidedAt], ["granted", "ada", 5])
        })
      )

      it.effect("approves: only another person of the tenant, neither who asked nor who edited", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          const { id } = yield* pending(approvals, {
            by: "approve",
            tenant: "t",
            actor: { kind: "person", id: "carl" },
            replaces: { request: "before", editor: "dora" }
          })
          const of = (principal: string, actor?: Principal.Actor, tenant = "t") =>
            Principal.make({ id: principal, tenant, ...(actor && { actor }) })
          const person = (id: string): Principal.Actor => ({ kind: "person", id })
          const refused = [
            of("ada"),
            of("bob", person("ada")),
            of("carl"),
            of("bob", person("carl")),
            of("dora"),
            of("bob", person("dora")),
            of("bob", model),
            of("bob", service),
            of("bob", undefined, "evil"),
            bob,
            Principal.make({ id: "anonymous", tenant: "t" })
          ]
          for (const decider of refused) {
            assert.strictEqual(yield* refusal(approvals.grant(id), decider), "not_allowed")
          }
          const { request } = yield* Principal.provide(approvals.grant(id), of("bob", person("bob")))
          assert.strictEqual(request.decidedBy, "bob")
        })
      )

      it.effect("is not a model's or a service's, also where it asked itself", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          const { id } = yield* pending(approvals, {
            principal: "robot",
            actor: { kind: "service", id: "robot" }
          })
          assert.strictEqual(
            yield* refusal(approvals.grant(id), Principal.make({ id: "robot" })),
            "not_allowed"
          )
        })
      )

      it.effect("against is anybody's who may grant, and the principal's own", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          const ids: Array<string> = []
          for (let i = 0; i < 6; i++) {
            ids.push((yield* pending(approvals, { by: "approve", callId: `call-${i}` })).id)
          }
          const decisions = [approvals.reject, approvals.revoke, (id: string) => approvals.replace(id)]
          for (const decide of decisions) {
            for (const decider of [eve, bobsService, Principal.anonymous]) {
              assert.strictEqual(yield* refusal(decide(ids[0]!), decider), "not_allowed")
            }
          }
          for (const [index, decide] of [...decisions, ...decisions].entries()) {
            const decider = index < 3 ? ada : bob
            const request = yield* Principal.provide(decide(ids[index]!, "because"), decider)
            assert.strictEqual(request.state, ["rejected", "revoked", "replaced"][index % 3])
            assert.strictEqual(request.decidedBy, decider.id)
            assert.strictEqual(request.reason, index % 3 === 2 ? undefined : "because")
          }
        })
      )

      it.effect("can be forbidden further by the deployment, never allowed", () =>
        Effect.gen(function* () {
          const approvals = yield* opened({ mayDecide: (decider) => decider.roles.includes("boss") })
          const { id } = yield* pending(approvals, { by: "approve" })
          const boss = (name: string) => Principal.make({ id: name, roles: ["boss"] })
          assert.strictEqual(yield* refusal(approvals.grant(id), bob), "not_allowed")
          assert.strictEqual(yield* refusal(approvals.reject(id), bob), "not_allowed")
          assert.strictEqual(yield* refusal(approvals.grant(id), boss("ada")), "not_allowed")
          yield* Principal.provide(approvals.grant(id), boss("bob"))
          // Whose call it is may always say no.
          yield* Principal.provide(approvals.revoke(id), ada)
        })
      )

      it.effect("is taken once, of a request that is there and pending", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          assert.strictEqual(yield* refusal(approvals.grant("nothing"), ada), "not_found")
          const { id } = yield* pending(approvals)
          yield* Principal.provide(approvals.reject(id, "too dear"), ada)
          for (const decide of [approvals.grant, approvals.reject, approvals.revoke, approvals.replace]) {
            assert.strictEqual(yield* refusal<unknown>(decide(id), ada), "not_pending")
          }
          const other = yield* granted(approvals, { callId: "call-2" })
          for (const decide of [approvals.grant, approvals.reject, approvals.replace]) {
            assert.strictEqual(yield* refusal<unknown>(decide(other.request.id), ada), "not_pending")
          }
        })
      )

      it.effect("wipes the arguments where it is against, and leaves siblings as they are", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          const sibling = yield* pending(approvals, { callId: "sibling" })
          for (const [index, decide] of [approvals.reject, approvals.revoke, approvals.replace].entries()) {
            const { id } = yield* pending(approvals, { callId: `call-${index}` })
            yield* Principal.provide<unknown, unknown, never>(decide(id), ada)
            assert.strictEqual(yield* refusal(approvals.open(id), ada), "not_pending")
          }
          assert.deepStrictEqual(yield* approvals.get(sibling.id), sibling)
          assert.strictEqual((yield* approvals.open(sibling.id)).callJson, question().callJson)
          yield* Principal.provide(approvals.grant(sibling.id), ada)
          assert.strictEqual(yield* outcome(approvals, { callId: "sibling" }), "Granted")
        })
      )

      it.effect(
        "counts until the request expires: a rejected question is not put again, a revoked one is",
        () =>
          Effect.gen(function* () {
            const approvals = yield* opened()
            const first = yield* pending(approvals)
            yield* Principal.provide(approvals.reject(first.id, "no"), ada)
            const again = yield* ask(approvals)
            assert.strictEqual(again._tag, "Rejected")
            assert.strictEqual(again._tag === "Rejected" && again.request.reason, "no")
            assert.strictEqual(yield* outcome(approvals), "Rejected")
            // Asking somebody else does not help either.
            assert.strictEqual((yield* ask(approvals, { by: "approve" }))._tag, "Rejected")
            yield* TestClock.adjust(minutes(15))
            assert.strictEqual(yield* outcome(approvals), "Nothing")
            const second = yield* pending(approvals)
            assert.notStrictEqual(second.id, first.id)
            yield* Principal.provide(approvals.revoke(second.id), ada)
            assert.notStrictEqual((yield* pending(approvals)).id, second.id)
          })
      )
    })

    describe("a grant", () => {
      it.effect("lets the call run once, by its token or by being held", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          assert.strictEqual(yield* outcome(approvals), "Nothing")
          const byToken = yield* granted(approvals)
          assert.match(byToken.token, /^v1\.a\.[\w-]+\.[\w-]{43}$/)
          assert.strictEqual(yield* outcome(approvals, {}, byToken.token), "Granted")
          assert.strictEqual(yield* outcome(approvals, {}, byToken.token), "used")
          assert.strictEqual(yield* outcome(approvals), "Nothing")
          const held = yield* granted(approvals)
          assert.notStrictEqual(held.request.id, byToken.request.id)
          assert.strictEqual(yield* outcome(approvals), "Granted")
          assert.strictEqual(yield* outcome(approvals), "Nothing")
          assert.strictEqual(yield* stateOf(approvals, held.request.id), "used")
          assert.strictEqual(yield* refusal(approvals.open(held.request.id), ada), "not_pending")
        })
      )

      it.effect("is found by asking, which does not use it", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          yield* granted(approvals)
          assert.strictEqual((yield* ask(approvals))._tag, "Granted")
          assert.strictEqual((yield* ask(approvals))._tag, "Granted")
          assert.strictEqual(yield* outcome(approvals), "Granted")
          assert.strictEqual((yield* ask(approvals))._tag, "Pending")
        })
      )

      it.effect("is one of several: each call resumes with its own", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          const one = yield* granted(approvals, { callId: "one" })
          const two = yield* granted(approvals, { callId: "two" })
          yield* pending(approvals, { callId: "three" })
          assert.strictEqual(yield* outcome(approvals, { callId: "two" }, one.token), "another_call")
          assert.strictEqual(yield* outcome(approvals, { callId: "two" }, two.token), "Granted")
          assert.strictEqual(yield* outcome(approvals, { callId: "one" }), "Granted")
          assert.strictEqual(yield* outcome(approvals, { callId: "three" }), "Pending")
        })
      )

      it.effect(
        "by a confirmation is not enough where an approval is needed, the other way round it is",
        () =>
          Effect.gen(function* () {
            const approvals = yield* opened()
            const confirmed = yield* granted(approvals, { by: "confirm" })
            assert.strictEqual(
              yield* outcome(approvals, { by: "approve" }, confirmed.token),
              "policy_changed"
            )
            assert.strictEqual(yield* outcome(approvals, { by: "approve" }), "Nothing")
            yield* granted(approvals, { by: "approve" })
            assert.strictEqual(yield* outcome(approvals, { by: "confirm" }), "Granted")
          })
      )

      it.effect("is taken back with revoke", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          const { request, token } = yield* granted(approvals)
          yield* Principal.provide(approvals.revoke(request.id, "wrong shop"), ada)
          assert.strictEqual(yield* outcome(approvals, {}, token), "revoked")
          assert.strictEqual(yield* outcome(approvals), "Nothing")
        })
      )
    })

    // Each row: what somebody tries with the grant of one call, and why it is refused.
    describe("the forgery table", () => {
      const rows: ReadonlyArray<readonly [name: string, Details, why: string]> = [
        ["swapped arguments", { callJson: `{"to":"thief"}` }, "other_arguments"],
        ["swapped tool", { tool: "pay_all" }, "another_tool"],
        ["swapped principal", { principal: "bob" }, "another_principal"],
        ["swapped tenant", { tenant: "t" }, "another_principal"],
        ["swapped call", { callId: "call-2" }, "another_call"],
        ["changed schema", { toolDigest: "tool-2" }, "tool_changed"],
        ["changed rule", { policyDigest: "policy-2" }, "policy_changed"]
      ]
      for (const [what, details, why] of rows) {
        it.effect(what, () =>
          Effect.gen(function* () {
            const approvals = yield* opened()
            const { token } = yield* granted(approvals)
            assert.strictEqual(yield* outcome(approvals, details, token), why)
            // Without the token there is nothing for it, so that a new question is asked.
            assert.strictEqual(yield* outcome(approvals, details), "Nothing")
            assert.strictEqual((yield* ask(approvals, details))._tag, "Pending")
            assert.strictEqual(yield* outcome(approvals, {}, token), "Granted")
          })
        )
      }

      it.effect("forged", () =>
        Effect.gen(function* () {
          const place = yield* backend
          const approvals = yield* place.open()
          const { request, token } = yield* granted(approvals)
          const [v, key, payload, mac] = token.split(".") as [string, string, string, string]
          const claims = JSON.parse(Buffer.from(payload, "base64url").toString())
          const spelled = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url")
          const others = yield* Effect.flatMap(backend, (place) => place.open({}, keysOf(["b"])))
          const other = yield* granted(others, { keyring: keysOf(["b"]) })
          const forged = [
            `${v}.${key}.${spelled({ ...claims, expiresAt: claims.expiresAt + 1 })}.${mac}`,
            `${v}.${key}.${spelled({ ...claims, id: "another" })}.${mac}`,
            `${v}.${key}.${payload}.${"A".repeat(43)}`,
            `${v}.${key}.${payload}.`,
            `${v}.${key}.${payload}.${mac.toUpperCase()}`,
            `${v}.b.${payload}.${mac}`,
            `${v}.__proto__.${payload}.${mac}`
          ]
          for (const attempt of forged) {
            assert.strictEqual(yield* outcome(approvals, {}, attempt), "forged", attempt)
          }
          // Signed with a key that this deployment does not have.
          assert.strictEqual(yield* outcome(approvals, {}, other.token), "forged")
          const malformed = [
            "",
            "yes",
            request.id,
            `v2.${key}.${payload}.${mac}`,
            `${token}.`,
            `${token}=`.replace(payload, `${payload}=`),
            `${v}.${key}.${spelled({ ...claims, expiresAt: "never" })}.${mac}`,
            `${v}.${key}.${spelled([])}.${mac}`,
            `${v}.${key}.!!!.${mac}`
          ]
          for (const attempt of malformed) {
            assert.strictEqual(yield* outcome(approvals, {}, attempt), "malformed", attempt)
          }
          assert.strictEqual(yield* outcome(approvals, {}, token), "Granted")
        })
      )

      it.effect("replayed", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          const { token } = yield* granted(approvals)
          assert.strictEqual(yield* outcome(approvals, {}, token), "Granted")
          assert.strictEqual(yield* outcome(approvals, {}, token), "used")
          // Neither after another question about the same call.
          yield* granted(approvals)
          assert.strictEqual(yield* outcome(approvals, {}, token), "used")
        })
      )

      it.effect("expired", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          const { request, token } = yield* granted(approvals)
          yield* TestClock.adjust(minutes(15))
          assert.strictEqual(yield* outcome(approvals, {}, token), "expired")
          assert.strictEqual(yield* outcome(approvals), "Nothing")
          assert.strictEqual(yield* stateOf(approvals, request.id), "expired")
          const late = yield* pending(approvals)
          yield* TestClock.adjust(minutes(15))
          assert.strictEqual(yield* refusal(approvals.grant(late.id), ada), "expired")
          assert.strictEqual(yield* refusal(approvals.open(late.id), ada), "expired")
        })
      )

      it.effect("self-approval", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          const confirm = yield* pending(approvals)
          const approve = yield* pending(approvals, { by: "approve" })
          assert.strictEqual(yield* refusal(approvals.grant(confirm.id), adasModel), "not_allowed")
          assert.strictEqual(yield* refusal(approvals.grant(approve.id), adasModel), "not_allowed")
          assert.strictEqual(yield* refusal(approvals.grant(approve.id), ada), "not_allowed")
        })
      )

      it.effect("approval of a rejected call, and duplicate responses", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          const rejected = yield* pending(approvals)
          yield* Principal.provide(approvals.reject(rejected.id), ada)
          assert.strictEqual(yield* refusal(approvals.grant(rejected.id), ada), "not_pending")
          assert.strictEqual(yield* outcome(approvals), "Rejected")

          const other = yield* pending(approvals, { callId: "call-2" })
          const answers = yield* Effect.all(
            Array.from({ length: 8 }, () => Effect.exit(Principal.provide(approvals.grant(other.id), ada))),
            { concurrency: "unbounded" }
          )
          assert.strictEqual(answers.filter(Exit.isSuccess).length, 1)
          const uses = yield* Effect.all(
            Array.from({ length: 8 }, () => redeem(approvals, { callId: "call-2" })),
            { concurrency: "unbounded" }
          )
          assert.strictEqual(uses.filter(({ _tag }) => _tag === "Granted").length, 1)
        })
      )

      it.effect("a stale id that points at a newer call", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          const stale = yield* granted(approvals, { callJson: `{"to":"shop"}` })
          const newer = yield* pending(approvals, { callJson: `{"to":"thief"}` })
          assert.notStrictEqual(newer.id, stale.request.id)
          assert.strictEqual(yield* outcome(approvals, { callJson: `{"to":"thief"}` }), "Pending")
          assert.strictEqual(
            yield* outcome(approvals, { callJson: `{"to":"thief"}` }, stale.token),
            "other_arguments"
          )
        })
      )

      it.effect("a token of another deployment", () =>
        Effect.gen(function* () {
          const place = yield* backend
          const here = yield* place.open({}, keysOf(["a"], "here"))
          const there = yield* place.open({}, keysOf(["a"], "there"))
          const { token } = yield* granted(there, { keyring: keysOf(["a"], "there") })
          const details = { keyring: keysOf(["a"], "here") }
          assert.strictEqual(yield* outcome(here, details, token), "another_deployment")
          // What another deployment granted in the same store is none either.
          assert.strictEqual(yield* outcome(here, details), "Nothing")
        })
      )
    })

    describe("keys", () => {
      it.effect(
        "are rotated: what an older key signed, sealed and hashed still holds, until it is taken out",
        () =>
          Effect.gen(function* () {
            const place = yield* backend
            const before = yield* place.open({}, keysOf(["a"]))
            const waiting = yield* pending(before, { callId: "waiting" })
            const first = yield* granted(before, { callId: "first" })
            const second = yield* granted(before, { callId: "second" })
            const third = yield* granted(before, { callId: "third" })

            const both = keysOf(["b", "a"])
            const during = yield* place.open({}, both)
            const now = { keyring: both }
            assert.strictEqual(yield* outcome(during, { ...now, callId: "first" }, first.token), "Granted")
            assert.strictEqual(yield* outcome(during, { ...now, callId: "second" }), "Granted")
            assert.strictEqual((yield* pending(during, { ...now, callId: "waiting" })).id, waiting.id)
            assert.strictEqual((yield* during.open(waiting.id)).callJson, question().callJson)
            const { token } = yield* Principal.provide(during.grant(waiting.id), ada)
            assert.match(token, /^v1\.b\./)
            assert.strictEqual(yield* outcome(during, { ...now, callId: "waiting" }, token), "Granted")

            const after = yield* place.open({}, keysOf(["b"]))
            const later = { keyring: keysOf(["b"]), callId: "third" }
            assert.strictEqual(yield* outcome(after, later, third.token), "forged")
            assert.strictEqual(yield* outcome(after, later), "Nothing")
            assert.strictEqual(second.request.state, "granted")
          })
      )
    })

    describe("watching", () => {
      it.effect("waits until a request is decided, used or expired", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          yield* approvals.decided("nothing")
          const decisions = [approvals.grant, approvals.reject, approvals.revoke, approvals.replace]
          for (const [index, decide] of decisions.entries()) {
            const { id } = yield* pending(approvals, { callId: `call-${index}` })
            const fiber = yield* Effect.forkChild(approvals.decided(id), { startImmediately: true })
            yield* TestClock.adjust(minutes(5))
            assert.isUndefined(fiber.pollUnsafe())
            yield* Principal.provide<unknown, unknown, never>(decide(id), ada)
            yield* Fiber.join(fiber)
            yield* approvals.decided(id)
          }
          const { id } = yield* pending(approvals, { callId: "nobody cares" })
          const fiber = yield* Effect.forkChild(approvals.decided(id), { startImmediately: true })
          yield* TestClock.adjust(minutes(15) - 1)
          assert.isUndefined(fiber.pollUnsafe())
          yield* TestClock.adjust(1)
          yield* Fiber.join(fiber)
          assert.strictEqual(yield* stateOf(approvals, id), "expired")
        })
      )

      it.effect("tells every change as it happens", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          const seen: Array<string> = []
          const fiber = yield* Effect.forkChild(
            Stream.runForEach(approvals.changes, ({ callId, state }) =>
              Effect.sync(() => seen.push(`${callId} ${state}`))
            ),
            { startImmediately: true }
          )
          yield* TestClock.adjust(1)
          yield* granted(approvals, { callId: "one" })
          yield* redeem(approvals, { callId: "one" })
          const two = yield* pending(approvals, { callId: "two" })
          yield* Principal.provide(approvals.reject(two.id), ada)
          yield* pending(approvals, { callId: "three" })
          yield* pending(approvals, { callId: "three" })
          yield* TestClock.adjust(minutes(15))
          yield* approvals.expire
          yield* TestClock.adjust(1000)
          for (let turns = 0; turns < 100; turns++) yield* Effect.yieldNow
          assert.deepStrictEqual(seen, [
            "one pending",
            "one granted",
            "one used",
            "two pending",
            "two rejected",
            "three pending",
            "three expired"
          ])
          yield* Fiber.interrupt(fiber)
        })
      )

      it.effect("lists what is asked for, the newest first", () =>
        Effect.gen(function* () {
          const approvals = yield* opened()
          for (const [callId, tool, run] of [
            ["one", "pay", "r1"],
            ["two", "mail", "r1"],
            ["three", "pay", "r2"]
          ] as const) {
            yield* pending(approvals, { callId, tool, run, tenant: "t" })
            yield* TestClock.adjust(1000)
          }
          yield* pending(approvals, { callId: "four", principal: "bob", run: undefined })
          const [three] = yield* approvals.list({ callId: "three" })
          yield* Principal.provide(approvals.reject(three!.id), Principal.make({ id: "ada", tenant: "t" }))
          const calls = (selection?: Approvals.Selection) =>
            Effect.map(approvals.list(selection), (requests) =>
              requests.map(({ callId }) => callId).join(" ")
            )
          assert.strictEqual(yield* calls(), "four three two one")
          assert.strictEqual(yield* calls({ limit: 2 }), "four three")
          assert.strictEqual(yield* calls({ tenant: "t", tool: "pay" }), "three one")
          assert.strictEqual(yield* calls({ run: "r1" }), "two one")
          assert.strictEqual(yield* calls({ principal: "bob" }), "four")
          assert.strictEqual(yield* calls({ state: "pending" }), "four two one")
          assert.strictEqual(yield* calls({ state: "rejected" }), "three")
          yield* TestClock.adjust(minutes(15) - 1000)
          // Expired by time, noticed or not.
          assert.strictEqual(yield* calls({ state: "pending" }), "four")
          assert.strictEqual(yield* calls({ state: "expired" }), "two one")
          assert.strictEqual(yield* approvals.expire, 2)
          assert.strictEqual(yield* approvals.expire, 0)
          assert.strictEqual(yield* calls({ state: "expired" }), "two one")
        })
      )
    })

    it("does what a model says that keeps every request in a list", () =>
      fc.assert(
        fc.asyncProperty(fc.array(arbitraryStep, { maxLength: 40 }), (steps) =>
          Effect.gen(function* () {
            const place = yield* backend
            const approvals = yield* place.open(modelOptions)
            const model = new Model()
            const book = new Book()
            for (const step of steps) {
              const expected = model.step(step)
              assert.deepStrictEqual(yield* perform(approvals, book, step), expected, JSON.stringify(step))
            }
            const states = yield* Effect.forEach(book.ids, (id) => stateOf(approvals, id))
            assert.deepStrictEqual(states, [...model.states()])
            for (const kept of yield* place.kept) assertWiped(kept)
          }).pipe(Effect.scoped, Effect.provide(TestClock.layer()), Effect.runPromise)
        ),
        { numRuns: runs }
      ))

    it("lets one of all who want a grant have it, or whoever takes it back", () =>
      fc.assert(
        fc.asyncProperty(
          fc.array(fc.constantFrom("held", "token", "revoke", "grant"), { minLength: 2, maxLength: 8 }),
          fc.array(fc.tuple(fc.nat(7), fc.nat(6)), { maxLength: 3 }),
          fc.integer({ min: 4, max: 60 }),
          (wishes, interruptions, turn) =>
            Effect.gen(function* () {
              const place = yield* backend
              const services = [yield* place.open(), yield* place.open()]
              const { request, token } = yield* granted(services[0]!)
              const wish = (what: string, approvals: Service): Effect.Effect<boolean, unknown> =>
                what === "revoke" || what === "grant"
                  ? Effect.isSuccess(
                      Principal.provide(approvals[what](request.id) as Effect.Effect<unknown, unknown>, ada)
                    )
                  : Effect.map(
                      redeem(approvals, {}, what === "token" ? token : undefined),
                      ({ _tag }) => _tag === "Granted"
                    )
              const fibers: Array<Fiber.Fiber<boolean, unknown>> = []
              for (const [index, what] of wishes.entries()) {
                fibers.push(yield* Effect.forkChild(wish(what, services[index % 2]!)))
              }
              for (const [index, turns] of interruptions) {
                for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
                const fiber = fibers[index]
                if (fiber !== undefined) yield* Fiber.interrupt(fiber)
              }
              const exits = yield* Effect.forEach(fibers, Fiber.await)
              const got = wishes.filter((_, index) => {
                const exit = exits[index]!
                if (Exit.isSuccess(exit)) return exit.value
                assert.isTrue(Cause.hasInterruptsOnly(exit.cause))
                return false
              })
              const state = yield* stateOf(services[0]!, request.id)
              const wanted = wishes.some((what) => what !== "grant")
              if (exits.every(Exit.isSuccess)) assert.strictEqual(got.length, wanted ? 1 : 0)
              else assert.isAtMost(got.length, 1)
              if (got.length === 1) assert.strictEqual(state, got[0] === "revoke" ? "revoked" : "used")
              else assert.include(["granted", "revoked", "used"], state)
            }).pipe(
              Effect.provideService(Scheduler.MaxOpsBeforeYield, turn),
              Effect.scoped,
              Effect.provide(TestClock.layer()),
              Effect.runPromise
            )
        ),
        { numRuns: runs }
      ))

    it("never uses a grant twice, exceeds a cap or keeps what it must not, whoever comes at once or is interrupted", () =>
      fc.assert(
        fc.asyncProperty(
          arbitraryPrograms,
          fc.array(fc.tuple(fc.nat(4), fc.nat(12)), { maxLength: 4 }),
          // After how many steps of a fiber the next one has its turn.
          fc.integer({ min: 4, max: 60 }),
          (programs, interruptions, turn) =>
            Effect.gen(function* () {
              const place = yield* backend
              const services = [yield* place.open(modelOptions), yield* place.open(modelOptions)]
              const book = new Book()
              const fibers: Array<Fiber.Fiber<void, Approvals.Unavailable>> = []
              for (const [index, steps] of programs.entries()) {
                fibers.push(yield* Effect.forkChild(runSteps(services[index % 2]!, book, steps)))
              }
              for (const [index, turns] of interruptions) {
                for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
                const fiber = fibers[index]
                if (fiber !== undefined) yield* Fiber.interrupt(fiber)
              }
              for (const fiber of fibers) {
                const exit = yield* Fiber.await(fiber)
                if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) yield* exit
              }
              book.check(yield* services[0]!.list())
              for (const kept of yield* place.kept) assertWiped(kept)
              // Nothing is stuck: when all that waits has expired, everybody has room again.
              yield* TestClock.adjust(modelOptions.expiresAfter)
              for (let room = 0; room < modelOptions.maxUndecided; room++) {
                yield* pending(services[1]!, { callId: `room-${room}` })
              }
              assert.strictEqual((yield* ask(services[0]!, { callId: "no room" }))._tag, "Full")
            }).pipe(
              Effect.provideService(Scheduler.MaxOpsBeforeYield, turn),
              Effect.scoped,
              Effect.provide(TestClock.layer()),
              Effect.runPromise
            )
        ),
        { numRuns: runs }
      ))
  })
}

/** Secrets and proofs are kept only as long as they are of use. */
const assertWiped = ({ sealed, state, token }: Kept): void => {
  assert.strictEqual(sealed !== undefined, state === "pending" || state === "granted", state)
  assert.strictEqual(token !== undefined, state === "granted", state)
}
