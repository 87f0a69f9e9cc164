/**
 * What people do to governance, told to the audit log: each of these layers
 * requires a service and provides it so that whatever changes something leaves
 * an event. What the log cannot write it keeps and reports itself, so that a
 * kill switch works also when nothing can be written.
 */
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Layer from "effect/Layer"
import { Approvals, type Request } from "../Approvals.ts"
import { AuditLog, type Event } from "../AuditLog.ts"
import { Budget } from "../Budget.ts"
import { KillSwitch } from "../KillSwitch.ts"
import { CurrentPrincipal } from "../Principal.ts"
import { SecurityPolicy } from "../SecurityPolicy.ts"

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
    const decision = (action: string) => (request: Request) =>
      tell({
        kind: "approval",
        action,
        callId: request.callId,
        run: request.run,
        tool: request.tool,
        detail: {
          request: request.id,
          by: request.by,
          onBehalfOf: request.principal,
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
        Effect.onExit(service.stop(target, options), () =>
          // Also where the stop holds in this process only: the store did not answer.
          tell({ kind: "admin", action: "stopped", detail: { target, ...options } })
        ),
      lift: (id, options) =>
        Effect.tap(service.lift(id, options), (lifted) =>
          lifted ? tell({ kind: "admin", action: "lifted", detail: { stop: id, ...options } }) : Effect.void
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
