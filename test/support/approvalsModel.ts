/** Approvals as a list of requests that is searched from the beginning each time: what every store must agree with. */
import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as fc from "fast-check"
import type { ApprovalError, Invalid, Request, State, Unavailable } from "../../src/Approvals.ts"
import * as Principal from "../../src/Principal.ts"
import { ada, adasModel, bob, eve, question, type Service, subject, wordOf } from "./approvals.ts"

export const modelOptions = { maxUndecided: 3, expiresAfter: 30 }

/** A call, as small numbers: few enough that steps meet. */
export interface CallStep {
  readonly principal: "ada" | "bob"
  readonly callId: "1" | "2"
  readonly callJson: "{}" | "[]"
  readonly toolDigest: "t" | "t2"
  readonly by: "confirm" | "approve"
}

export type Decider = "ada" | "bob" | "model" | "eve"

export type Step =
  | { readonly _: "ask"; readonly call: CallStep }
  | { readonly _: "redeem" | "peek"; readonly call: CallStep; readonly token: number | undefined }
  | {
      readonly _: "grant" | "reject" | "revoke" | "replace"
      readonly by: Decider
      readonly request: number
    }
  | { readonly _: "open"; readonly request: number }
  | { readonly _: "expire" }
  | { readonly _: "wait"; readonly ms: number }

const arbitraryCall: fc.Arbitrary<CallStep> = fc.record({
  principal: fc.constantFrom("ada", "ada", "bob"),
  callId: fc.constantFrom("1", "1", "2"),
  callJson: fc.constantFrom("{}", "{}", "{}", "[]"),
  toolDigest: fc.constantFrom("t", "t", "t", "t2"),
  by: fc.constantFrom("confirm", "confirm", "approve")
})

const recent = fc.nat(5)

export const arbitraryStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ _: fc.constant("ask" as const), call: arbitraryCall }) },
  {
    weight: 4,
    arbitrary: fc.record({
      _: fc.constantFrom("redeem" as const, "redeem" as const, "peek" as const),
      call: arbitraryCall,
      token: fc.option(recent, { nil: undefined })
    })
  },
  {
    weight: 5,
    arbitrary: fc.record({
      _: fc.constantFrom("grant", "grant", "grant", "reject", "revoke", "replace"),
      by: fc.constantFrom("ada", "ada", "bob", "bob", "model", "eve"),
      request: recent
    })
  },
  { weight: 1, arbitrary: fc.record({ _: fc.constant("open" as const), request: recent }) },
  { weight: 1, arbitrary: fc.constant({ _: "expire" as const }) },
  { weight: 2, arbitrary: fc.record({ _: fc.constant("wait" as const), ms: fc.nat(20) }) }
)

const arbitrarySteps = fc.array(arbitraryStep, { minLength: 5, maxLength: 12 })

/** What several do at once: each its own, or all the same, so that they are after the same grants. */
export const arbitraryPrograms: fc.Arbitrary<ReadonlyArray<ReadonlyArray<Step>>> = fc.oneof(
  fc.array(arbitrarySteps, { minLength: 2, maxLength: 5 }),
  fc
    .tuple(arbitrarySteps, fc.integer({ min: 2, max: 5 }))
    .map(([steps, times]) => Array.from({ length: times }, () => steps))
)

interface Modelled {
  readonly call: CallStep
  readonly expiresAt: number
  state: State
}

/** What came of a step: a word, and the request it is about by its number. */
export interface Came {
  readonly to: string
  readonly request?: number
}

export class Model {
  readonly requests: Array<Modelled> = []
  /** The numbers of the requests that were ever granted. */
  readonly granted = new Set<number>()
  now = 0

  states(): ReadonlyArray<State> {
    return this.requests.map(({ expiresAt, state }) =>
      (state === "pending" || state === "granted") && expiresAt <= this.now ? "expired" : state
    )
  }

  step(step: Step): Came {
    for (const request of this.requests) {
      const alive = request.state === "pending" || request.state === "granted"
      if (alive && request.expiresAt <= this.now) request.state = "expired"
    }
    switch (step._) {
      case "wait":
        this.now += step.ms
        return { to: "waited" }
      case "expire":
        return { to: "expired" }
      case "ask":
        return this.#ask(step.call)
      case "peek":
      case "redeem": {
        const came = step.token === undefined ? this.#held(step.call) : this.#byToken(step.call, step.token)
        if (came.to === "Granted" && step._ === "redeem") this.requests[came.request!]!.state = "used"
        return came
      }
      case "open": {
        const request = this.requests[step.request]
        if (request === undefined) return { to: "not_found" }
        if (request.state === "expired") return { to: "expired" }
        const opens = request.state === "pending" || request.state === "granted"
        return { to: opens ? request.call.callJson : "not_pending" }
      }
      case "grant":
        return this.#decide(step.request, mayGrant(step.by), ["pending"], "granted")
      case "reject":
        return this.#decide(step.request, mayRefuse(step.by), ["pending"], "rejected")
      case "revoke":
        return this.#decide(step.request, mayRefuse(step.by), ["pending", "granted"], "revoked")
      case "replace":
        return this.#decide(step.request, mayRefuse(step.by), ["pending"], "replaced")
    }
  }

  #ask(call: CallStep): Came {
    const standing = this.#standing(call)
    if (standing !== undefined) return this.#say(standing)
    const undecided = this.requests.filter(
      (request) => request.state === "pending" && request.call.principal === call.principal
    )
    if (undecided.length >= modelOptions.maxUndecided) {
      return { to: `Full ${Math.min(...undecided.map(({ expiresAt }) => expiresAt)) - this.now}` }
    }
    const request: Modelled = { call, expiresAt: this.now + modelOptions.expiresAfter, state: "pending" }
    this.requests.push(request)
    return this.#say(request)
  }

  #held(call: CallStep): Came {
    const standing = this.#standing(call)
    return standing === undefined ? { to: "Nothing" } : this.#say(standing)
  }

  #byToken(call: CallStep, number: number): Came {
    const request = this.requests[number]
    // Nobody has a token for what was never granted: the step brings nonsense instead.
    if (request === undefined || !this.granted.has(number)) return { to: "malformed" }
    const why = ((): Invalid["why"] | undefined => {
      if (request.call.principal !== call.principal) return "another_principal"
      if (request.call.callId !== call.callId) return "another_call"
      if (request.call.callJson !== call.callJson) return "other_arguments"
      if (request.call.toolDigest !== call.toolDigest) return "tool_changed"
      if (request.call.by === "confirm" && call.by === "approve") return "policy_changed"
      return request.state === "granted" ? undefined : (request.state as "used" | "revoked" | "expired")
    })()
    return why === undefined ? this.#say(request) : { to: why }
  }

  #decide(number: number, may: (call: CallStep) => boolean, from: ReadonlyArray<State>, to: State): Came {
    const request = this.requests[number]
    if (request === undefined) return { to: "not_found" }
    if (!may(request.call)) return { to: "not_allowed" }
    if (request.state === "expired") return { to: "expired" }
    if (!from.includes(request.state)) return { to: "not_pending" }
    request.state = to
    if (to === "granted") this.granted.add(number)
    return { to, request: number }
  }

  #standing(call: CallStep): Modelled | undefined {
    const fitting = this.requests.filter(
      (request) =>
        request.expiresAt > this.now &&
        request.call.principal === call.principal &&
        request.call.callId === call.callId &&
        request.call.callJson === call.callJson &&
        request.call.toolDigest === call.toolDigest
    )
    const newest = fitting.toReversed()
    return (
      newest.find(({ state }) => state === "rejected") ??
      newest.find((it) => it.state === "granted" && (it.call.by === "approve" || call.by === "confirm")) ??
      newest.find((it) => it.state === "pending" && it.call.by === call.by)
    )
  }

  #say(request: Modelled): Came {
    const to = { pending: "Pending", granted: "Granted", rejected: "Rejected" }[request.state as "pending"]
    return { to, request: this.requests.indexOf(request) }
  }
}

const mayGrant =
  (decider: Decider) =>
  ({ by, principal }: CallStep): boolean =>
    (decider === "ada" || decider === "bob") && (by === "confirm") === (decider === principal)

const mayRefuse =
  (decider: Decider) =>
  (call: CallStep): boolean =>
    mayGrant(decider)(call) || (decider === "model" ? "ada" : decider) === call.principal

// --- For real --------------------------------------------------------------

const deciders: { readonly [D in Decider]: Principal.Principal } = { ada, bob, eve, model: adasModel }

/** The requests by number, and what is known of them from outside. */
export class Book {
  readonly ids: Array<string> = []
  readonly tokens = new Map<string, string>()
  readonly uses = new Map<string, number>()

  /** A request and what came of it. New ones get the next number. */
  note(to: string, { id }: Request): Came {
    if (!this.ids.includes(id)) this.ids.push(id)
    return { to, request: this.ids.indexOf(id) }
  }

  used(id: string): void {
    this.uses.set(id, (this.uses.get(id) ?? 0) + 1)
    assert.strictEqual(this.uses.get(id), 1, "a grant was used twice")
  }

  check(requests: ReadonlyArray<Request>): void {
    const states = new Map(requests.map((request) => [request.id, request]))
    for (const id of this.uses.keys()) {
      assert.strictEqual(states.get(id)?.state, "used")
      assert.isDefined(states.get(id)?.decidedBy)
    }
    const questions = requests.filter(({ state }) => state === "pending").map(questionKey)
    assert.strictEqual(new Set(questions).size, questions.length, "a question was put twice")
    checkCap(requests)
  }
}

const questionKey = ({ by, callId, principal, toolDigest, view }: Request): string =>
  JSON.stringify([by, callId, principal, toolDigest, view.value])

const checkCap = (requests: ReadonlyArray<Request>): void => {
  for (const principal of ["ada", "bob"]) {
    const undecided = requests.filter(
      (request) => request.principal === principal && request.state === "pending"
    )
    assert.isAtMost(undecided.length, modelOptions.maxUndecided)
  }
}

/** Does a step, and says what came of it in the model's words. */
export const perform = (approvals: Service, book: Book, step: Step): Effect.Effect<Came, Unavailable> => {
  const done: Effect.Effect<Came, ApprovalError | Unavailable> = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    switch (step._) {
      case "wait":
        yield* TestClock.adjust(step.ms)
        return { to: "waited" }
      case "expire":
        yield* approvals.expire
        return { to: "expired" }
      case "ask": {
        const view = { value: step.call.callJson, masked: [] }
        const asked = yield* approvals.ask(question({ ...step.call, view }), now)
        return asked._tag === "Full"
          ? { to: `Full ${asked.retryAfter}` }
          : book.note(asked._tag, asked.request)
      }
      case "peek":
      case "redeem": {
        const id = step.token === undefined ? undefined : (book.ids[step.token] ?? "nothing")
        const token = id === undefined ? undefined : (book.tokens.get(id) ?? "nonsense")
        const redeemed = yield* approvals[step._](subject(step.call), token, now)
        if (!("request" in redeemed)) return { to: wordOf(redeemed) }
        if (redeemed._tag === "Granted" && step._ === "redeem") book.used(redeemed.request.id)
        return book.note(redeemed._tag, redeemed.request)
      }
      case "open":
        return { to: (yield* approvals.open(book.ids[step.request] ?? "nothing")).callJson }
      case "grant": {
        const { request, token } = yield* approvals.grant(book.ids[step.request] ?? "nothing")
        book.tokens.set(request.id, token)
        return book.note(request.state, request)
      }
      case "reject":
      case "revoke":
      case "replace": {
        const request = yield* approvals[step._](book.ids[step.request] ?? "nothing")
        return book.note(request.state, request)
      }
    }
  })
  const decider = "by" in step ? deciders[step.by] : Principal.anonymous
  return Principal.provide(
    Effect.catchTag(done, "ApprovalError", ({ reason }) => Effect.succeed<Came>({ to: reason })),
    decider
  )
}

/** Does steps among others who do theirs: what came of each depends on them, what must never be does not. */
export const runSteps = Effect.fnUntraced(function* (
  approvals: Service,
  book: Book,
  steps: ReadonlyArray<Step>
) {
  for (const step of steps) {
    yield* perform(approvals, book, step)
    yield* Effect.yieldNow
    checkCap(yield* approvals.list())
  }
})
