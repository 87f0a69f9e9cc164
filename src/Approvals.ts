/** (the module doc is written with the module) */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type { Actor } from "./Principal.ts"
import type { View } from "./Redaction.ts"
import type { Finding } from "./Screening.ts"
import type { Copied } from "./Taint.ts"
import type { RiskLevel } from "./ToolAnnotations.ts"
import type { Reason } from "./ToolError.ts"
import type * as Verdict from "./Verdict.ts"

export type Unavailable = Extract<Reason, { readonly _tag: "Unavailable" }>
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
  /** JSON of the raw arguments: kept sealed, wiped when the request is decided against, used or expired. */
  readonly argumentsJson: string
  /** The request whose arguments a human has edited into these, and who did. */
  readonly replaces?: { readonly request: string; readonly editor: string } | undefined
}

export type State = "pending" | "granted" | "rejected" | "used" | "expired" | "revoked" | "replaced"

/** A request as anyone who may decide sees it. Times in milliseconds since the epoch. */
export interface Request extends Omit<Question, "argumentsHash" | "argumentsJson"> {
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
  /** Decided at once: by a terminal, or in a test. */
  | { readonly _tag: "Granted"; readonly request: Request }
  | { readonly _tag: "Rejected"; readonly request: Request }
  /** Too many undecided requests of the principal; milliseconds until there is room. */
  | { readonly _tag: "Full"; readonly retryAfter: number }

export type Redeemed =
  | { readonly _tag: "Granted"; readonly request: Request }
  /** Nothing was ever asked about this call. */
  | { readonly _tag: "Nothing" }
  | { readonly _tag: "Pending"; readonly request: Request }
  | { readonly _tag: "Rejected"; readonly request: Request }
  | { readonly _tag: "Invalid"; readonly reason: Invalid }

/** Why a decision was not taken. */
export class ApprovalError extends Schema.TaggedError<ApprovalError>("interlock/ApprovalError")(
  "ApprovalError",
  {
    reason: Schema.Literals(["not_found", "not_pending", "expired", "not_allowed"]),
    message: Schema.String
  }
) {}

export interface Selection {
  readonly state?: State
  readonly principal?: string
  readonly tenant?: string
  readonly tool?: string
  readonly run?: string
  readonly callId?: string
}

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
    /** The raw arguments of a request that is pending or granted. */
    readonly open: (
      id: string
    ) => Effect.Effect<
      { readonly request: Request; readonly argumentsJson: string },
      ApprovalError | Unavailable
    >

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
    /** Requests as they are made and change. */
    readonly changes: Stream.Stream<Request>
  }
>()("interlock/Approvals") {}
