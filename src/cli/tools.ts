/** The tools of a configuration, in one registry: the toolbox, documents, functions elsewhere, upstream servers, a module's own. */
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Services } from "../Interlock.ts"
import * as ToolRegistry from "../ToolRegistry.ts"
import * as Toolset from "../Toolset.ts"
import * as Calculator from "../toolbox/Calculator.ts"
import type { Credentials } from "../toolbox/Credentials.ts"
import * as HttpRequest from "../toolbox/HttpRequest.ts"
import * as Lambda from "../toolbox/Lambda.ts"
import * as OutboundHttp from "../toolbox/OutboundHttp.ts"
import type { Platform } from "./Config.ts"
import * as ConfiguredCredentials from "./credentials.ts"
import { Project } from "./Project.ts"

/** What tools of a configuration may need. */
type Needs = Platform | OutboundHttp.OutboundHttp | Credentials

/** A part of the configuration that gives tools. */
type Source = readonly [name: string, toolset: Effect.Effect<Toolset.Any<unknown, Needs>, unknown, Needs>]

const sourcesOf = ({ loaded }: Project["Service"]): ReadonlyArray<Source> => {
  const { code, config } = loaded
  const sources: Array<Source> = []
  const add = <Options>(
    name: string,
    options: Options | undefined,
    toolset: (options: Options) => Toolset.Any<unknown, Needs>
  ) => {
    if (options !== undefined) sources.push([name, Effect.sync(() => toolset(options))])
  }
  const { calculator, http_request } = config.toolbox ?? {}
  add("calculator", calculator, (options) => Toolset.make(Calculator.toolkit, Calculator.layer(options)))
  add("http_request", http_request, HttpRequest.make)
  add("lambda", config.lambda, Lambda.fromOptions)
  for (const [index, toolset] of (code.tools ?? []).entries())
    add(`tools[${index}]`, toolset, (given) => given)
  return sources
}

/** Puts in what can be put in: a source that fails is said on stderr, and the others are there all the same. */
const fill = Effect.gen(function* () {
  const registry = yield* ToolRegistry.ToolRegistry
  yield* Effect.forEach(sourcesOf(yield* Project), ([name, toolset]) =>
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

/** How tools reach the network: nowhere, unless the configuration says where. */
const network = Layer.unwrap(
  Effect.map(Project, ({ loaded }) =>
    OutboundHttp.layerGoverned(loaded.config.network ?? { allowedDomains: [] })
  )
).pipe(Layer.provideMerge(ConfiguredCredentials.layer))

/** A registry with everything that is configured. */
export const registry: Layer.Layer<ToolRegistry.ToolRegistry, never, Project | Services | Platform> =
  Layer.effectDiscard(fill).pipe(Layer.provide(network), Layer.provideMerge(ToolRegistry.layer)) as never
