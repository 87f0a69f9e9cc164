/** What humans do with requests: always on behalf of the calling fiber's principal. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type { Approvals, Options, Request, State, Unavailable } from "../../Approvals.ts"
import type { Keyring } from "../../Keyring.ts"
import { CurrentPrincipal, type Principal } from "../../Principal.ts"
import { CurrentRun, type Run } from "../../Run.ts"
import { after } from "../exits.ts"
import { open } from "../sealing.ts"
import { type Desk, sealedAs } from "./desk.ts"
import { requestOf } from "./document.ts"
import { isOwn, mayNotGrant } from "./rules.ts"
import type { ApprovalStore, Change, Held } from "./store.ts"
import * as Token from "./token.ts"

/** Why a decision was not taken. */
export class ApprovalError extends Schema.TaggedError<ApprovalError>("interlock/ApprovalError")(
  "ApprovalError",
  {
    reason: Schema.Literals(["not_found", "not_pending", "expired", "not_allowed"]),
    message: Schema.String
  }
) {}

/** A way to decide: from which states, why somebody may not, and what becomes of the request. */
interface Decision {
  readonly from: ReadonlyArray<State>
  readonly mayNot: (decider: Principal, request: Request) => string | undefined
  readonly change: (held: Held, decider: Principal, now: number) => Change
}

export const decisions = ({
  changed,
  desk,
  keyring,
  mayDecide,
  store
}: {
  readonly store: ApprovalStore
  readonly keyring: Keyring["Service"]
  readonly desk: Desk
  readonly changed: (held: Held) => void
  readonly mayDecide: NonNullable<Options["mayDecide"]>
}): Pick<Approvals["Service"], "open" | "grant" | "reject" | "revoke" | "replace"> => {
  /** What is held as it was asked, with its expiry noticed. */
  const held = (id: string, now: number): Effect.Effect<Held, ApprovalError | Unavailable> => {
    const noticed = after(store.find(id), (found) =>
      found === undefined ? Exit.succeed(found) : desk.settle(found, now)
    )
    return after(noticed, (held): Effect.Effect<Held, ApprovalError> => {
      if (held === undefined) return failWith("not_found", "There is no such request.")
      return held.document.id === id && desk.isAuthentic(held)
        ? Exit.succeed(held)
        : failWith("not_allowed", "The request is not what was asked: it was changed in its store.")
    })
  }

  const decide = (id: string, decision: Decision): Effect.Effect<Decided, ApprovalError | Unavailable> =>
    Effect.withFiber((fiber) => {
      const decider = deciderOf(fiber.getRef(CurrentPrincipal), fiber.getRef(CurrentRun))
      const now = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
      return after(held(id, now), (held): Effect.Effect<Decided, ApprovalError | Unavailable> => {
        const refusal = decision.mayNot(decider, requestOf(held, now))
        if (refusal !== undefined) return failWith("not_allowed", refusal)
        if (held.state === "expired") return failWith("expired", "The request has expired.")
        if (!decision.from.includes(held.state)) {
          return failWith("not_pending", `The request is ${held.state}; it cannot be decided any more.`)
        }
        const transition = store.transition(id, held.state, decision.change(held, decider, now))
        return after(transition, (next): Effect.Effect<Decided, ApprovalError | Unavailable> => {
          // Somebody else was faster: what there is now counts.
          if (next === undefined) return decide(id, decision)
          changed(next)
          return Exit.succeed({ request: requestOf(next, now), token: next.token })
        })
      })
    })

  const mayNot = (decider: Principal, request: Request): string | undefined =>
    mayNotGrant(decider, request) ??
    (mayDecide(decider, request) ? undefined : "The rules of this deployment do not let you decide this.")

  const refuse = (
    id: string,
    to: "rejected" | "revoked" | "replaced",
    from: ReadonlyArray<State>,
    reason?: string
  ): Effect.Effect<Request, ApprovalError | Unavailable> => {
    const decision: Decision = {
      from,
      mayNot: (decider, request) => (isOwn(decider, request) ? undefined : mayNot(decider, request)),
      change: (_, decider, now) => ({ to, by: decider.id, at: now, reason })
    }
    return Effect.map(decide(id, decision), ({ request }) => request)
  }

  const grant: Decision = {
    from: ["pending"],
    mayNot,
    change: ({ document }, { id }, now) => {
      const token = Token.make(keyring, document, { decidedBy: id, decidedAt: now })
      return { to: "granted", by: id, at: now, token }
    }
  }

  return {
    // A granted request has its token.
    grant: (id) => Effect.map(decide(id, grant), ({ request, token }) => ({ request, token: token! })),
    reject: (id, reason) => refuse(id, "rejected", ["pending"], reason),
    revoke: (id, reason) => refuse(id, "revoked", ["pending", "granted"], reason),
    replace: (id) => refuse(id, "replaced", ["pending"]),
    open: Effect.fnUntraced(function* (id) {
      const now = yield* Clock.currentTimeMillis
      const found = yield* held(id, now)
      if (found.state === "expired") return yield* failWith("expired", "The request has expired.")
      const callJson =
        found.sealed === undefined ? undefined : open(keyring, "sealing", found.sealed, sealedAs(id))
      if (callJson === undefined) {
        return yield* failWith("not_pending", `The request is ${found.state}; its arguments are gone.`)
      }
      return { request: requestOf(found, now), callJson }
    })
  }
}

/** Who drives a run is the actor of all that is done in it, calls and decisions alike. */
const deciderOf = (principal: Principal, run: Run | undefined): Principal => {
  const actor =
    run?.actor ?? principal.actor ?? (run?.driver === "model" ? { kind: "model", id: run.id } : undefined)
  return actor === undefined ? principal : { ...principal, actor }
}

interface Decided {
  readonly request: Request
  readonly token: string | undefined
}

const failWith = (reason: ApprovalError["reason"], message: string): Exit.Exit<never, ApprovalError> =>
  Exit.fail(new ApprovalError({ reason, message }))
