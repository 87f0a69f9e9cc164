/** Who decides at the command line. */
import * as Effect from "effect/Effect"
import * as Principal from "../../../Principal.ts"
import { Project } from "../../Project.ts"

/** Decides on behalf of whom the command line acts for, as a person at a terminal: no model and no service. */
export const asPerson = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Project> =>
  Effect.flatMap(Project, ({ principal }) =>
    Principal.provide(self, { ...principal, actor: { kind: "person", id: "terminal" } })
  )
