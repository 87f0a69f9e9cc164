/** Where approvals are kept: what `Approvals.make` asks of a store, and no decision of its own. */
import type * as Effect from "effect/Effect"
import type { Selection, State, Unavailable } from "../../Approvals.ts"
import type { Document } from "./document.ts"

/** Whose call of which tool. */
export interface About {
  readonly callId: string
  readonly tool: string
  readonly principal: string
  readonly tenant?: string | undefined
}

/** A request as a store holds it. Never changed in place. */
export interface Held {
  /** What `text` says. */
  readonly document: Document
  /** What never changes, as it was signed. */
  readonly text: string
  readonly signature: string
  readonly state: State
  readonly decidedBy: string | undefined
  readonly decidedAt: number | undefined
  readonly reason: string | undefined
  /** Only while it is granted. */
  readonly token: string | undefined
  /** The sealed arguments: only while it is pending or granted. */
  readonly sealed: string | undefined
  /** Grows with every change of the store. */
  readonly revision: number
}

/** What a request becomes. What is not given stays; token and sealed arguments go with the states that need them. */
export interface Change {
  readonly to: State
  readonly by?: string
  readonly at?: number
  readonly reason?: string | undefined
  readonly token?: string
}

export type Put =
  | { readonly _tag: "Inserted" | "Found"; readonly held: Held }
  /** The principal has too many undecided requests; when the first of them expires, where there is any. */
  | { readonly _tag: "Full"; readonly until: number | undefined }

/**
 * A store of requests. Every method is one atomic step among all that use the
 * same store, in whatever process. One that keeps them in this process answers
 * with an `Exit`.
 */
export interface ApprovalStore {
  /**
   * Puts a new request, unless `find` finds one among those about the same call that are pending, granted or
   * rejected (newest first), or the principal has `maxUndecided` that are pending and not overdue. Expires those of
   * the principal that are overdue, and says which.
   */
  readonly put: (
    about: About,
    options: {
      readonly now: number
      readonly maxUndecided: number
      readonly find: (live: ReadonlyArray<Held>) => Held | undefined
      readonly make: () => Held
    }
  ) => Effect.Effect<{ readonly put: Put; readonly expired: ReadonlyArray<Held> }, Unavailable>
  readonly find: (id: string) => Effect.Effect<Held | undefined, Unavailable>
  /** Those about a call that are pending, granted or rejected, newest first; overdue ones may be among them. */
  readonly live: (about: About) => Effect.Effect<ReadonlyArray<Held>, Unavailable>
  /** Changes a request that is still in the state `from`; `undefined` where it is not. */
  readonly transition: (
    id: string,
    from: State,
    change: Change
  ) => Effect.Effect<Held | undefined, Unavailable>
  /** Newest first. Pending and granted ones that are overdue count as expired. */
  readonly list: (selection: Selection, now: number) => Effect.Effect<ReadonlyArray<Held>, Unavailable>
  /** Expires all that are overdue, and says which. May forget what ended long ago. */
  readonly expire: (now: number) => Effect.Effect<ReadonlyArray<Held>, Unavailable>
  /** Where others change the same store: how their changes are seen. */
  readonly others?: {
    /** Milliseconds between two looks. */
    readonly interval: number
    readonly revision: Effect.Effect<number, Unavailable>
    /** What was changed after a revision, in order. */
    readonly since: (revision: number) => Effect.Effect<ReadonlyArray<Held>, Unavailable>
  }
}

/** What a change makes of a request. */
export const changed = (held: Held, { to, by, at, reason, token }: Change, revision: number): Held => ({
  ...held,
  state: to,
  decidedBy: by ?? held.decidedBy,
  decidedAt: at ?? held.decidedAt,
  reason: reason ?? held.reason,
  token: to === "granted" ? token : undefined,
  sealed: to === "pending" || to === "granted" ? held.sealed : undefined,
  revision
})
