/**
 * What humans are asked about single calls, and the grants they give.
 *
 * A request shows a human the call (tool, redacted arguments, on whose behalf,
 * who asks, why, at what risk, until when); its raw arguments are kept sealed
 * beside it, and wiped as soon as it is neither pending nor granted.
 *
 * - A grant lets one call run once: this call id, tool, arguments (by keyed
 *   hash), principal and tenant, as long as the tool's definition and the policy
 *   rules that match it are what they were. It is proven by a signed token, which
 *   is checked at every use, also where only the store holds it.
 * - Decisions are made by request id, never by call id, and on behalf of the
 *   calling fiber's `CurrentPrincipal`, which must be a person's.
 * - `confirm`: only the very principal of the request. `approve`: only another
 *   principal of the same tenant. Never the actor that asked, never whoever
 *   edited the arguments that are to be approved, never somebody anonymous.
 *   Within a run its actor is who decides, and a model where one drives it: a
 *   person's answer is given outside of it.
 * - No: whoever may grant, and the principal of the request itself.
 *
 * Precedence, said once: where several requests fit a call, a rejection counts,
 * then a grant, then a pending question. A token that does not fit is invalid,
 * whatever else the store holds.
 *
 * Time decides what has expired (15 minutes after it was asked, by default), not
 * a timer. Changes of the tool, of the policy or of the arguments make a new
 * question. To rotate the key, make another one active and keep the old one in
 * the keyring until what it signed has expired.
 *
 * Whoever may write to the store and has no key can take requests away, and can
 * bring back a used grant of which they kept a copy; nothing else passes.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import { WebCrypto } from "effect/crypto/WebCrypto"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Terminal } from "effect/Terminal"
import { ApprovalError, decisions } from "./internal/approvals/decisions.ts"
import { checked, Desk } from "./internal/approvals/desk.ts"
import { requestOf } from "./internal/approvals/document.ts"
import { MemoryStore } from "./internal/approvals/memory.ts"
import type { ApprovalStore, Held } from "./internal/approvals/store.ts"
import { Watch } from "./internal/approvals/watch.ts"
import { CurrentWaiting } from "./internal/currentWaiting.ts"
import { whole } from "./internal/options.ts"
import * as Sliding from "./internal/sliding.ts"
import { Keyring } from "./Keyring.ts"
import type { Actor, Principal } from "./Principal.ts"
import type { View } from "./Redaction.ts"
import type { Finding } from "./Screening.ts"
import type { Copied } from "./Taint.ts"
import type { RiskLevel } from "./ToolAnnotations.ts"
import type { Reason, Unavailable } from "./ToolError.ts"
import type * as Verdict from "./Verdict.ts"

export type { About, ApprovalStore, Change, Held, Put } from "./internal/approvals/store.ts"
export type { Unavailable } from "./ToolError.ts"

// --- Models ----------------------------------------------------------------

export type Invalid = Extract<Reason, { readonly _tag: "ApprovalInvalid" }>

/** The call as it stands now: what a grant must fit. */
export interface Subject {
  readonly callId: string
  readonly tool: string
  readonly principal: string
  readonly tenant: string | undefined
  /** Keyed hash of the canonical raw arguments, by the keyring's key of this id. */
  readonly argumentsHash: (keyId: string) => string | undefined
  readonly toolDigest: string
  /** Digest of the policy rules that match the tool. */
  readonly policyDigest: string
  /** Who must be asked now, where that is known: a confirmation is no approval, an approval also confirms. */
  readonly by?: "confirm" | "approve"
}

/** A question to a human about exactly one call. */
export interface Question extends Subject {
  /** `confirm`: the human on whose behalf the call is made; `approve`: another principal. */
  readonly by: "confirm" | "approve"
  readonly actor: Actor | undefined
  readonly run: string | undefined
  readonly session: string | undefined
  readonly why: ReadonlyArray<Verdict.Reason>
  readonly risk: RiskLevel
  /** The arguments as a human may see them. */
  readonly view: View
  /** Arguments that were copied from the output of an untrusted tool. */
  readonly copied: ReadonlyArray<Copied>
  /** What screening flagged. */
  readonly findings: ReadonlyArray<Finding>
  /** JSON of the raw arguments, and of what else makes the call the same when it is resumed: kept sealed, wiped when the request is decided against, used or expired. */
  readonly callJson: string
  /** The request whose arguments a human has edited into these, and who did. */
  readonly replaces?: { readonly request: string; readonly editor: string } | undefined
}

export type State = "pending" | "granted" | "rejected" | "used" | "expired" | "revoked" | "replaced"

/** A request as anyone who may decide sees it. Times in milliseconds since the epoch. */
export interface Request extends Omit<Question, "argumentsHash" | "callJson"> {
  /** From the secure random; never used again. */
  readonly id: string
  readonly state: State
  readonly createdAt: number
  readonly expiresAt: number
  readonly decidedBy: string | undefined
  readonly decidedAt: number | undefined
  /** What whoever rejected or revoked it said. */
  readonly reason: string | undefined
}

export type Asked =
  | { readonly _tag: "Pending"; readonly request: Request }
  /**
   * Decided at once, by a terminal or in a test, or since it was asked: `redeem` uses the grant, asking does not.
   * `answered`: by whoever was asked just now.
   */
  | { readonly _tag: "Granted"; readonly request: Request; readonly answered?: true }
  | { readonly _tag: "Rejected"; readonly request: Request; readonly answered?: true }
  /** Too many undecided requests of the principal; milliseconds until there is room. */
  | { readonly _tag: "Full"; readonly retryAfter: number }

export type Redeemed =
  | { readonly _tag: "Granted"; readonly request: Request }
  /** Nothing was ever asked about this call. */
  | { readonly _tag: "Nothing" }
  | { readonly _tag: "Pending"; readonly request: Request }
  | { readonly _tag: "Rejected"; readonly request: Request }
  | { readonly _tag: "Invalid"; readonly reason: Invalid }

/** Which requests to look at; all that is given must hold. */
export interface Selection {
  /** At most so many, the newest; 1,000. */
  readonly limit?: number
  readonly state?: State
  readonly principal?: string
  readonly tenant?: string
  readonly tool?: string
  readonly run?: string
  readonly callId?: string
}

// --- Errors ----------------------------------------------------------------

export { ApprovalError } from "./internal/approvals/decisions.ts"

// --- Service ---------------------------------------------------------------

export class Approvals extends Context.Service<
  Approvals,
  {
    // What the pipeline asks.
    /** Puts a question, or finds it already put. */
    readonly ask: (question: Question, now: number) => Effect.Effect<Asked, Unavailable>
    /** What redeeming would come to. Changes nothing. */
    readonly peek: (
      subject: Subject,
      token: string | undefined,
      now: number
    ) => Effect.Effect<Redeemed, Unavailable>
    /** Uses the grant that fits the call, once: the token's where there is one, else the one held for this very call. */
    readonly redeem: (
      subject: Subject,
      token: string | undefined,
      now: number
    ) => Effect.Effect<Redeemed, Unavailable>
    /** Waits until a request is no longer pending. */
    readonly decided: (id: string) => Effect.Effect<void, Unavailable>
    /** What was sealed of a request that is pending or granted. */
    readonly open: (
      id: string
    ) => Effect.Effect<{ readonly request: Request; readonly callJson: string }, ApprovalError | Unavailable>

    // What humans do: always on behalf of the calling fiber's principal.
    /** Grants a request and gives the signed token that lets the call run once. */
    readonly grant: (
      id: string
    ) => Effect.Effect<{ readonly request: Request; readonly token: string }, ApprovalError | Unavailable>
    readonly reject: (id: string, reason?: string) => Effect.Effect<Request, ApprovalError | Unavailable>
    /** Takes back a grant that was not used, or a request that nobody has decided. */
    readonly revoke: (id: string, reason?: string) => Effect.Effect<Request, ApprovalError | Unavailable>
    /** Marks a pending request as replaced by one with edited arguments. */
    readonly replace: (id: string) => Effect.Effect<Request, ApprovalError | Unavailable>
    readonly get: (id: string) => Effect.Effect<Request | undefined, Unavailable>
    readonly list: (selection?: Selection) => Effect.Effect<ReadonlyArray<Request>, Unavailable>
    /** Marks all that is overdue as expired and wipes its arguments; how many there were. Asking does it once a minute. */
    readonly expire: Effect.Effect<number, Unavailable>
    /** Requests as they are made and change. A slow reader loses the oldest of 1,024, and never holds up a call. */
    readonly changes: Stream.Stream<Request>
  }
>()("interlock/Approvals") {}

export interface Options {
  /** Undecided requests of one principal; 20. Beyond it, asking is refused. */
  readonly maxUndecided?: number
  /** How long a request may be decided and its grant used; 15 minutes, finite. */
  readonly expiresAfter?: Duration.Input
  /** A further condition on whoever is to grant, or to reject what is not their own. It can forbid, never allow. */
  readonly mayDecide?: (decider: Principal, request: Request) => boolean
}

// --- make ------------------------------------------------------------------

/** Approvals that are kept in a store. Throws a `RangeError` for an option that makes no sense. */
export const make = (
  store: ApprovalStore,
  options: Options = {}
): Effect.Effect<Approvals["Service"], never, Keyring | Scope.Scope> => {
  const { expiresAfter, maxUndecided, mayDecide } = checked(options)
  return Effect.gen(function* () {
    const keyring = yield* Keyring
    const crypto = yield* WebCrypto
    const pubsub = yield* Sliding.make<Held>(1024)
    const random = (size: number) => crypto.getRandomValues(new Uint8Array(size))
    const watch = new Watch(store, pubsub)
    const changed = (held: Held) => watch.changed(held)
    const desk = new Desk({ store, keyring, maxUndecided, expiresAfter, random, changed })
    return {
      ask: (question, now) => desk.ask(question, now),
      peek: (subject, token, now) => desk.peek(subject, token, now),
      redeem: (subject, token, now) => desk.redeem(subject, token, now),
      decided: (id) => watch.decided(id, desk),
      ...decisions({ store, keyring, desk, changed, mayDecide }),
      get: Effect.fnUntraced(function* (id) {
        const held = yield* store.find(id)
        return held && requestOf(held, yield* Clock.currentTimeMillis)
      }),
      list: Effect.fnUntraced(function* (selection = {}) {
        const now = yield* Clock.currentTimeMillis
        const found = yield* store.list({ limit: 1000, ...selection }, now)
        return found.map((held) => requestOf(held, now))
      }),
      expire: Effect.gen(function* () {
        const expired = yield* store.expire(yield* Clock.currentTimeMillis)
        for (const held of expired) changed(held)
        return expired.length
      }),
      changes: watch.changes
    }
  })
}

// --- Waiting ---------------------------------------------------------------

/**
 * Makes the calls inside wait for their human, where they would end as pending.
 *
 * A call that waits holds no slot, no money and no quota, and `Batch` lets
 * others run in its place meanwhile (`Batch.stream` keeps its window, which is
 * what bounds its memory). When its human has decided, everything about the call
 * is decided again. A question that expires or is taken back ends its call.
 *
 * A default deadline stands still while a call waits; a point in time that the
 * caller gave does not, and neither does a kill switch nor an interruption.
 */
export const wait = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(self, CurrentWaiting, true)

// --- Layers ----------------------------------------------------------------

export interface MemoryOptions extends Options {
  /**
   * Requests kept, of all principals and in every state; 10,000. Beyond it those that have ended go first, then the
   * oldest undecided expires.
   */
  readonly maxRequests?: number
}

/** Approvals in this process. Throws a `RangeError` for an option that makes no sense. */
export const layerMemory = (options: MemoryOptions = {}): Layer.Layer<Approvals, never, Keyring> =>
  Layer.effect(Approvals, makeMemory(options))

const makeMemory = (
  options: MemoryOptions
): Effect.Effect<Approvals["Service"], never, Keyring | Scope.Scope> => {
  const maxRequests = whole("Approvals: maxRequests", options.maxRequests ?? 10_000)
  checked(options)
  return Effect.suspend(() => make(new MemoryStore(maxRequests), options))
}

/**
 * Approvals in this process that ask the person at the terminal, one question
 * at a time: the call waits for the answer. The person is taken to be the one on
 * whose behalf the calls are made, so it can only confirm, and not for anonymous
 * callers; whatever else is asked stays pending. No answer but `y` or `yes`
 * lets a call run; a terminal that is closed leaves the question pending.
 */
export const layerTerminal = (
  options: MemoryOptions = {}
): Layer.Layer<Approvals, never, Keyring | Terminal> => {
  const memory = makeMemory(options)
  return Layer.effect(
    Approvals,
    Effect.gen(function* () {
      // Loaded here: few programs have a person at a terminal.
      const atTerminal = yield* Effect.promise(() => import("./internal/approvals/terminal.ts"))
      return yield* atTerminal.make(yield* memory)
    })
  )
}

/** Grants whatever is asked and remembers nothing. For tests. */
export const layerAllowAll: Layer.Layer<Approvals> = Layer.sync(Approvals, () => fixed("granted"))

/** Rejects whatever is asked and remembers nothing. For tests. */
export const layerDenyAll: Layer.Layer<Approvals> = Layer.sync(Approvals, () => fixed("rejected"))

const fixed = (state: "granted" | "rejected"): Approvals["Service"] => {
  const tag = state === "granted" ? "Granted" : "Rejected"
  const answer = (subject: Subject, now: number) =>
    Exit.succeed({ _tag: tag, request: requestAbout(subject, state, now) } as const)
  const unknown = () =>
    Exit.fail(new ApprovalError({ reason: "not_found", message: "There is no such request." }))
  return {
    ask: answer,
    peek: (subject, _token, now) => answer(subject, now),
    redeem: (subject, _token, now) => answer(subject, now),
    decided: () => Exit.void,
    open: unknown,
    grant: unknown,
    reject: unknown,
    revoke: unknown,
    replace: unknown,
    get: () => Exit.succeed(undefined),
    list: () => Exit.succeed([]),
    expire: Exit.succeed(0),
    changes: Stream.empty
  }
}

const requestAbout = (subject: Subject & Partial<Question>, state: State, now: number): Request => {
  const { argumentsHash: _hash, callJson: _json, ...about } = subject
  return {
    by: "approve",
    actor: undefined,
    run: undefined,
    session: undefined,
    why: [],
    risk: "low",
    view: { value: undefined, masked: [] },
    copied: [],
    findings: [],
    ...about,
    id: `always ${state}`,
    state,
    createdAt: now,
    expiresAt: now,
    decidedBy: undefined,
    decidedAt: now,
    reason: undefined
  }
}
