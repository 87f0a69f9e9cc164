/**
 * Tools together with what runs them: a toolkit and the layer of its handlers.
 *
 * It is what somebody hands over who makes both at once: from a function, a
 * document or another server. A program that knows its toolkit uses its two
 * halves; one that learns at run time which tools there are puts toolsets into a
 * `ToolRegistry`.
 */
import type * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Layer from "effect/Layer"
import * as Handlers from "./Handlers.ts"
import type { Tools } from "./ToolExecutor.ts"

/** A toolkit and its handlers; `E` is what can go wrong when they are built, `R` what they need. */
export interface Toolset<in out T extends Tools, out E = never, out R = never> {
  readonly toolkit: Toolkit.Toolkit<T>
  readonly layer: Layer.Layer<Tool.HandlersFor<T>, E, R>
}

/** A toolset of any tools. */
// biome-ignore lint/suspicious/noExplicitAny: a toolkit's tools are invariant, and here nothing is known of them.
export type Any<E = never, R = never> = Toolset<any, E, R>

/** Pairs a toolkit with its handlers. */
export const make = <T extends Tools, E = never, R = never>(
  toolkit: Toolkit.Toolkit<T>,
  layer: Layer.Layer<Tool.HandlersFor<T>, E, R>
): Toolset<T, E, R> => ({ toolkit, layer })

/** No tools. */
export const empty = make(Toolkit.empty as unknown as Toolkit.Toolkit<Tools>, Layer.empty as never)

/** A tool that is known at run time only, and what runs it: its parameters are whatever its schema says. */
export interface Implemented {
  readonly tool: Tool.Any
  readonly handler: (params: never, context: Handlers.HandlerContext<Tool.Any>) => unknown
}

/** Tools whose names are known at run time only. */
export const dynamic = (tools: ReadonlyArray<Implemented>): Toolset<Tools> => {
  const toolkit = Toolkit.make(...tools.map(({ tool }) => tool)) as unknown as Toolkit.Toolkit<Tools>
  const handlers = Object.fromEntries(tools.map(({ handler, tool }) => [tool.name, handler]))
  return make(toolkit, Handlers.toLayer(toolkit, handlers as Handlers.Handlers<Tools>))
}

/** All their tools in one toolset. Of several tools with one name the last one counts, for the toolkit and its handler alike. */
export const merge = <E = never, R = never>(...toolsets: ReadonlyArray<Any<E, R>>): Toolset<Tools, E, R> =>
  toolsets.reduce<Toolset<Tools, E, R>>(
    (left, right) =>
      make(
        Toolkit.merge(left.toolkit, right.toolkit) as unknown as Toolkit.Toolkit<Tools>,
        Layer.merge(left.layer, right.layer)
      ),
    empty
  )
