/**
 * On whose behalf a call is made, and who asks for it.
 *
 * The principal is ambient: `CurrentPrincipal` is read from the fiber that
 * makes the call, never from the one that built a layer. Without one a call is
 * anonymous and has no capability.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Schema from "effect/Schema"
import { Capability } from "./Capability.ts"

/** Who asks: the person, the model or the service that named the tool and its arguments. */
export const Actor = Schema.Struct({
  kind: Schema.Literals(["person", "model", "service"]),
  id: Schema.String
})
export type Actor = typeof Actor.Type

/** On whose behalf a call is made. */
export const Principal = Schema.Struct({
  id: Schema.NonEmptyString,
  tenant: Schema.optionalKey(Schema.NonEmptyString),
  roles: Schema.Array(Schema.String),
  capabilities: Schema.Array(Capability),
  session: Schema.optionalKey(Schema.String),
  actor: Schema.optionalKey(Actor)
})
export type Principal = typeof Principal.Type

/** A principal; roles and capabilities are empty unless given. */
export const make = (options: {
  readonly id: string
  readonly tenant?: string
  readonly roles?: ReadonlyArray<string>
  readonly capabilities?: ReadonlyArray<Capability>
  readonly session?: string
  readonly actor?: Actor
}): Principal => ({ roles: [], capabilities: [], ...options })

/** Nobody in particular, with no role and no capability. */
export const anonymous: Principal = make({ id: "anonymous" })

/** The principal of the calling fiber; `anonymous` by default. */
export const CurrentPrincipal: Context.Reference<Principal> = Context.Reference<Principal>(
  "interlock/Principal/CurrentPrincipal",
  { defaultValue: () => anonymous }
)

/** Runs an effect on behalf of `principal`. */
export const provide: {
  (principal: Principal): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, principal: Principal): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, principal: Principal): Effect.Effect<A, E, R> =>
    Effect.provideService(self, CurrentPrincipal, principal)
)
