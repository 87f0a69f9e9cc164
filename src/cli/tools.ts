/** The tools of a configuration, in one registry: the toolbox, documents, functions elsewhere, upstream servers, a module's own. */
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Services } from "../Interlock.ts"
import * as ToolRegistry from "../ToolRegistry.ts"
import type * as Toolset from "../Toolset.ts"
import type { Platform } from "./Config.ts"
import { Project } from "./Project.ts"

/** A part of the configuration that gives tools. */
interface Source {
  readonly name: string
  readonly toolset: Effect.Effect<Toolset.Any<unknown, Platform>, unknown, Platform>
}

const sourcesOf = ({ loaded }: Project["Service"]): ReadonlyArray<Source> =>
  (loaded.code.tools ?? []).map((toolset, index) => ({
    name: `tools[${index}]`,
    toolset: Effect.succeed(toolset)
  }))

/** Puts in what can be put in: a source that fails is said on stderr, and the others are there all the same. */
const fill = Effect.gen(function* () {
  const project = yield* Project
  const registry = yield* ToolRegistry.ToolRegistry
  yield* Effect.forEach(sourcesOf(project), ({ name, toolset }) =>
    Effect.flatMap(toolset, (made) => registry.put(name, made)).pipe(
      Effect.catchCause((cause) =>
        Cause.hasInterrupts(cause)
          ? Effect.failCause(cause)
          : Console.error(`interlock: ${name} gives no tools: ${messageOf(Cause.squash(cause))}`)
      )
    )
  )
})

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** A registry with everything that is configured. */
export const registry: Layer.Layer<ToolRegistry.ToolRegistry, never, Project | Services | Platform> =
  Layer.effectDiscard(fill).pipe(Layer.provideMerge(ToolRegistry.layer)) as never
