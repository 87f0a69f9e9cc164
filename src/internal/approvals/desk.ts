/** What the pipeline asks of approvals: to put a question, and to use the grant that fits a call. */
import { bytesToHex } from "@noble/hashes/utils.js"
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type {
  Asked,
  Invalid,
  Options,
  Question,
  Redeemed,
  Request,
  Subject,
  Unavailable
} from "../../Approvals.ts"
import type { Keyring } from "../../Keyring.ts"
import { after } from "../exits.ts"
import { millis, whole } from "../options.ts"
import { sameMac, seal } from "../sealing.ts"
import * as Document from "./document.ts"
import { mismatch, suffices } from "./rules.ts"
import type { ApprovalStore, Held } from "./store.ts"
import * as Token from "./token.ts"

export interface DeskOptions {
  readonly store: ApprovalStore
  readonly keyring: Keyring["Service"]
  readonly maxUndecided: number
  /** Milliseconds. */
  readonly expiresAfter: number
  /** Cryptographically secure. */
  readonly random: (size: number) => Uint8Array
  /** Told of every request that was made or has changed. */
  readonly changed: (held: Held) => void
}

/** Options with their defaults; throws a `RangeError` for one that makes no sense. */
export const checked = ({
  expiresAfter = "15 minutes",
  maxUndecided = 20,
  mayDecide = () => true
}: Options) => ({
  maxUndecided: whole("Approvals: maxUndecided", maxUndecided, 0),
  expiresAfter: millis("Approvals: expiresAfter", expiresAfter),
  mayDecide
})

const nothing: Effect.Effect<Redeemed> = Exit.succeed({ _tag: "Nothing" })
const invalid = (why: Invalid["why"]): Effect.Effect<Redeemed> =>
  Exit.succeed({ _tag: "Invalid", reason: { _tag: "ApprovalInvalid", why } })

export class Desk {
  readonly #options: DeskOptions
  readonly #store: ApprovalStore
  readonly #keyring: Keyring["Service"]
  #sweepAt = 0

  constructor(options: DeskOptions) {
    this.#options = options
    this.#store = options.store
    this.#keyring = options.keyring
  }

  ask(question: Question, now: number): Effect.Effect<Asked, Unavailable> {
    try {
      const put = () => this.#put(question, now)
      return after(after(this.#sweep(now), put), ({ put, expired }) => {
        for (const held of expired) this.#options.changed(held)
        if (put._tag === "Full") {
          const retryAfter = put.until === undefined ? this.#options.expiresAfter : put.until - now
          return Exit.succeed<Asked>({ _tag: "Full", retryAfter })
        }
        if (put._tag === "Inserted") this.#options.changed(put.held)
        const request = Document.requestOf(put.held, now)
        return Exit.succeed<Asked>({ _tag: tagOf(request), request })
      })
    } catch (defect) {
      return Exit.die(defect)
    }
  }

  peek(subject: Subject, token: string | undefined, now: number): Effect.Effect<Redeemed, Unavailable> {
    return after(this.#judge(subject, token, now), (judged) => {
      if (judged === undefined) return nothing
      if (typeof judged === "string") return invalid(judged)
      const request = Document.requestOf(judged, now)
      return Exit.succeed<Redeemed>({ _tag: tagOf(request), request })
    })
  }

  redeem(subject: Subject, token: string | undefined, now: number): Effect.Effect<Redeemed, Unavailable> {
    return after(this.#judge(subject, token, now), (judged) => {
      if (judged === undefined) return nothing
      if (judged === "expired") return after(this.#notice(token, now), () => invalid(judged))
      if (typeof judged === "string") return invalid(judged)
      const request = Document.requestOf(judged, now)
      if (request.state !== "granted") {
        return Exit.succeed<Redeemed>({ _tag: tagOf(request), request })
      }
      return after(this.#store.transition(request.id, "granted", { to: "used" }), (used) => {
        // Somebody else was faster: what there is now counts.
        if (used === undefined) return this.redeem(subject, token, now)
        this.#options.changed(used)
        return Exit.succeed<Redeemed>({ _tag: "Granted", request: Document.requestOf(used, now) })
      })
    })
  }

  /** Marks a request that is overdue as expired, and gives what there is then. */
  settle(held: Held, now: number): Effect.Effect<Held | undefined, Unavailable> {
    if (!Document.isOverdue(held, now)) return Exit.succeed(held)
    const { id } = held.document
    return after(this.#store.transition(id, held.state, { to: "expired" }), (expired) => {
      if (expired === undefined) return this.#store.find(id)
      this.#options.changed(expired)
      return Exit.succeed(expired)
    })
  }

  isAuthentic(held: Held): boolean {
    return Document.isAuthentic(this.#keyring, held)
  }

  /** The request that decides about the call, `undefined` where none was made, or why the approval is none. */
  #judge(
    subject: Subject,
    token: string | undefined,
    now: number
  ): Effect.Effect<Held | Invalid["why"] | undefined, Unavailable> {
    if (token !== undefined) return this.#judgeToken(subject, token, now)
    return after(this.#store.live(subject), (live) => {
      const held = live.length === 0 ? undefined : standing(live, subject, now)
      const forged = held?.state === "granted" && !this.#isGrant(held)
      return Exit.succeed(forged ? "forged" : held)
    })
  }

  #judgeToken(
    subject: Subject,
    token: string,
    now: number
  ): Effect.Effect<Held | Invalid["why"], Unavailable> {
    const read = Token.read(this.#keyring, token)
    if ("why" in read) return Exit.succeed(read.why)
    const { claims } = read
    const why = mismatch(claims, subject)
    if (why !== undefined) return Exit.succeed(why)
    // More is needed now than when it was granted.
    if (!suffices(claims.by, subject.by)) return Exit.succeed("policy_changed" as const)
    return after(this.#store.find(claims.id), (held): Effect.Effect<Held | Invalid["why"]> => {
      if (held === undefined) return Exit.succeed(claims.expiresAt <= now ? "expired" : "not_granted")
      const state =
        claims.expiresAt <= now && held.state === "granted" ? "expired" : Document.stateOf(held, now)
      if (state === "granted") {
        const same = held.token !== undefined && sameMac(held.token, token)
        return Exit.succeed(same && this.#isGrant(held) ? held : "forged")
      }
      return Exit.succeed(
        state === "used" || state === "expired" || state === "revoked" ? state : "not_granted"
      )
    })
  }

  /** Whether the token that is held proves the grant as it is held. */
  #isGrant(held: Held): boolean {
    const { decidedAt, decidedBy, document, token } = held
    if (token === undefined || decidedAt === undefined || decidedBy === undefined) return false
    const read = Token.read(this.#keyring, token)
    if ("why" in read || !this.isAuthentic(held)) return false
    return Token.proves(this.#keyring, read.claims, document, { decidedBy, decidedAt })
  }

  #put(question: Question, now: number): ReturnType<ApprovalStore["put"]> {
    // What somebody tampered with answers no question: it is put again.
    const find = (live: ReadonlyArray<Held>) =>
      standing(
        live.filter((held) => this.isAuthentic(held)),
        question,
        now
      )
    const make = () => this.#make(question, now)
    return this.#store.put(question, { now, maxUndecided: this.#options.maxUndecided, find, make })
  }

  #make(question: Question, now: number): Held {
    const keyring = this.#keyring
    const argumentsHash = question.argumentsHash(keyring.active)
    if (argumentsHash === undefined)
      throw new Error("Approvals: the arguments' hash by the active key is missing")
    // Typed at terminals, where what begins with a hyphen is an option.
    const id = bytesToHex(this.#options.random(16))
    const expiresAt = now + this.#options.expiresAfter
    const text = Document.write(question, {
      id,
      createdAt: now,
      expiresAt,
      argumentsHash,
      hashKey: keyring.active
    })
    const document = Document.read(text)
    if (document === undefined) throw new Error("Approvals: the question is not JSON")
    return {
      document,
      text,
      signature: Document.sign(keyring, text),
      state: "pending",
      decidedBy: undefined,
      decidedAt: undefined,
      reason: undefined,
      token: undefined,
      sealed: seal(keyring, "sealing", question.callJson, sealedAs(id)),
      revision: 0
    }
  }

  // Overdue grants of calls that nobody makes again are noticed here.
  #sweep(now: number): Effect.Effect<void, Unavailable> {
    if (now < this.#sweepAt) return Exit.void
    this.#sweepAt = now + sweepInterval
    return after(this.#store.expire(now), (expired) => {
      for (const held of expired) this.#options.changed(held)
      return Exit.void
    })
  }

  #notice(token: string | undefined, now: number): Effect.Effect<void, Unavailable> {
    const read = token === undefined ? undefined : Token.read(this.#keyring, token)
    if (read === undefined || "why" in read) return Exit.void
    return after(this.#store.find(read.claims.id), (held) =>
      after(held === undefined ? Exit.succeed(held) : this.settle(held, now), () => Exit.void)
    )
  }
}

/** What the arguments of a request are sealed for. */
export const sealedAs = (id: string): string => `approval/${id}`

const sweepInterval = 60_000

const tagOf = ({ state }: Request): "Granted" | "Pending" | "Rejected" =>
  state === "granted" || state === "used" ? "Granted" : state === "rejected" ? "Rejected" : "Pending"

/** The one among those about a call that decides about it now. A rejection outweighs what else there may be. */
const standing = (live: ReadonlyArray<Held>, subject: Subject, now: number): Held | undefined => {
  const fitting = live.filter(
    ({ document }) => document.expiresAt > now && mismatch(document, subject) === undefined
  )
  return (
    fitting.find(({ state }) => state === "rejected") ??
    fitting.find(({ document, state }) => state === "granted" && suffices(document.by, subject.by)) ??
    fitting.find(
      ({ document, state }) => state === "pending" && (subject.by === undefined || document.by === subject.by)
    )
  )
}
