/** Opening roots for as long as a scope is open. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { FileError } from "./FileError.ts"
import { type Settings, Tree } from "./tree.ts"

/** Opens the roots, and says so where races can only be checked for. */
export const openTree = (settings: Settings): Effect.Effect<Tree, FileError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.tryPromise({ try: () => Tree.open(settings), catch: (error) => error as FileError }),
    (tree) => Effect.promise(() => tree.close())
  ).pipe(Effect.tap((tree) => (tree.holding === "path" ? warning : Effect.void)))

const warning = Effect.logWarning(
  "Files: this system has no /proc/self/fd, so races are checked for and not closed: nobody else should be able to change the roots"
)
