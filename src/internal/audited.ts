/**
 * What people do to governance, told to the audit log: each of these layers
 * requires a service and provides it so that whatever changes something leaves
 * an event. What the log cannot write it keeps and reports itself, so that a
 * kill switch works also when nothing can be written.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { Approvals, type Request } from "../Approvals.ts"
import { AuditLog, type Event } from "../AuditLog.ts"
import { Budget } from "../Budget.ts"
import { KillSwitch } from "../KillSwitch.ts"
import { CurrentPrincipal } from "../Principal.ts"
import { SecurityPolicy } from "../SecurityPolicy.ts"
import { after } from "./exits.ts"

/** Tells of an event on behalf of whoever acts; never fails. */
const teller = Effect.map(
  AuditLog,
  (audit) =>
    (event: Event): Effect.Effect<void> =>
      Effect.flatMap(CurrentPrincipal, ({ id, session, tenant }) =>
        Effect.catchCause(audit.append({ principal: id, tenant, session, ...event }), ErrorReporter.report)
      )
)

const approvals: Layer.Layer<Approvals, never, Approvals | AuditLog> = Layer.effect(
  Approvals,
  Effect.gen(function* () {
    const service = yield* Approvals
    const tell = yield* teller
    const decision = (action: string, principal?: string) => (request: Request) =>
      tell({
        kind: "approval",
        action,
        ...(principal === undefined ? {} : { principal }),
        callId: request.callId,
        run: request.run,
        tool: request.tool,
        detail: {
          request: request.id,
          // On whose behalf, the call's own records say: this one is sealed for whoever decided, and must not name others.
          by: request.by,
          reason: request.reason,
          toolDigest: request.toolDigest,
          policyDigest: request.policyDigest
        }
      })
    const refused =
      (action: string, id: string) =>
      (error: { readonly _tag: string; readonly message?: string }): Effect.Effect<void> =>
        tell({
          kind: "approval",
          action: `${action} refused`,
          detail: { request: id, why: error.message ?? error._tag }
        })
    return {
      ...service,
      ask: (question, now) =>
        after(service.ask(question, now), (asked) => {
          if (asked._tag === "Pending" || asked._tag === "Full" || asked.answered !== true) {
            return Exit.succeed(asked)
          }
          // The person at a terminal decides while the call asks, and whoever calls is somebody else.
          const { request } = asked
          const told = decision(asked._tag === "Granted" ? "granted" : "rejected", request.decidedBy)(request)
          return Effect.as(told, asked)
        }),
      grant: (id) =>
        service.grant(id).pipe(
          Effect.tap(({ request }) => decision("granted")(request)),
          Effect.tapError(refused("grant", id))
        ),
      reject: (id, reason) =>
        service
          .reject(id, reason)
          .pipe(Effect.tap(decision("rejected")), Effect.tapError(refused("reject", id))),
      revoke: (id, reason) =>
        service
          .revoke(id, reason)
          .pipe(Effect.tap(decision("revoked")), Effect.tapError(refused("revoke", id))),
      replace: (id) =>
        service.replace(id).pipe(Effect.tap(decision("replaced")), Effect.tapError(refused("replace", id)))
    }
  })
)

const killSwitch: Layer.Layer<KillSwitch, never, KillSwitch | AuditLog> = Layer.effect(
  KillSwitch,
  Effect.gen(function* () {
    const service = yield* KillSwitch
    const tell = yield* teller
    return {
      ...service,
      stop: (target, options) =>
        Effect.onExit(service.stop(target, options), (exit) =>
          tell({
            kind: "admin",
            // Stopped also where the stop holds in this process only: the store did not answer. Nonsense stops nothing.
            action: Exit.isFailure(exit) && Cause.hasDies(exit.cause) ? "stop refused" : "stopped",
            detail: { ...options, target }
          })
        ),
      lift: (id, options) =>
        Effect.tap(service.lift(id, options), (lifted) =>
          lifted ? tell({ kind: "admin", action: "lifted", detail: { ...options, stop: id } }) : Effect.void
        )
    }
  })
)

const securityPolicy: Layer.Layer<SecurityPolicy, never, SecurityPolicy | AuditLog> = Layer.effect(
  SecurityPolicy,
  Effect.gen(function* () {
    const service = yield* SecurityPolicy
    const tell = yield* teller
    return {
      ...service,
      set: (policy) =>
        Effect.tap(service.set(policy), () =>
          tell({ kind: "policy", action: "policy set", detail: { policy } })
        ),
      setShadow: (shadow) =>
        Effect.tap(service.setShadow(shadow), () =>
          tell({ kind: "policy", action: "shadow set", detail: { policy: shadow?.policy } })
        )
    }
  })
)

const budget: Layer.Layer<Budget, never, Budget | AuditLog> = Layer.effect(
  Budget,
  Effect.gen(function* () {
    const service = yield* Budget
    const tell = yield* teller
    return {
      ...service,
      credit: (spender, amounts, why) =>
        Effect.tap(service.credit(spender, amounts, why), () =>
          tell({
            kind: "admin",
            action: "credited",
            run: spender.run?.id,
            detail: { to: spender.principal.id, amounts, why }
          })
        )
    }
  })
)

/** The services that people act on. */
export type Audited = Approvals | KillSwitch | SecurityPolicy | Budget

export const layer: Layer.Layer<Audited, never, Audited | AuditLog> = Layer.mergeAll(
  approvals,
  killSwitch,
  securityPolicy,
  budget
)
