/** The tools of a configuration, in one registry: the toolbox, documents, functions elsewhere, upstream servers, a module's own. */
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Services } from "../Interlock.ts"
import type { SecurityPolicy } from "../SecurityPolicy.ts"
import * as ToolRegistry from "../ToolRegistry.ts"
import * as Toolset from "../Toolset.ts"
import * as Calculator from "../toolbox/Calculator.ts"
import type { Credentials } from "../toolbox/Credentials.ts"
import * as Email from "../toolbox/Email.ts"
import * as Files from "../toolbox/Files.ts"
import * as HttpRequest from "../toolbox/HttpRequest.ts"
import * as Lambda from "../toolbox/Lambda.ts"
import * as Notes from "../toolbox/Notes.ts"
import * as OpenApi from "../toolbox/OpenApi.ts"
import * as OutboundHttp from "../toolbox/OutboundHttp.ts"
import * as Slack from "../toolbox/Slack.ts"
import type { Platform } from "./Config.ts"
import * as ConfiguredCredentials from "./credentials.ts"
import { messageOf } from "./failures.ts"
import * as Output from "./Output.ts"
import { Project } from "./Project.ts"

/** What tools of a configuration may need. */
type Needs = Platform | OutboundHttp.OutboundHttp | Credentials | SecurityPolicy

/** A part of the configuration that gives tools. */
interface Source {
  readonly name: string
  readonly toolset: Effect.Effect<Made, unknown, Needs>
}

interface Made extends Toolset.Any<unknown, Needs> {
  /** What it could not make tools of. */
  readonly skipped?: ReadonlyArray<{ readonly operation: string; readonly reason: string }>
}

// --- Service ---------------------------------------------------------------

/** How the configuration's sources of tools came out. */
export class Sources extends Context.Service<
  Sources,
  ReadonlyArray<{
    readonly name: string
    /** Why it gives no tools. */
    readonly failure: string | undefined
    readonly skipped: NonNullable<Made["skipped"]>
  }>
>()("interlock/cli/Sources") {}

// --- The sources -----------------------------------------------------------

const sourcesOf = ({ loaded, resolve }: Project["Service"]): ReadonlyArray<Source> => {
  const { code, config } = loaded
  const sources: Array<Source> = []
  const add = <Options>(
    name: string,
    options: Options | undefined,
    toolset: (options: Options) => Made | Effect.Effect<Made, unknown, Needs>
  ) => {
    if (options === undefined) return
    const made = Effect.suspend(() => {
      const given = toolset(options)
      return Effect.isEffect(given) ? given : Effect.succeed(given)
    })
    sources.push({ name, toolset: made })
  }
  const { calculator, email, files, http_request, notes, slack } = config.toolbox ?? {}
  add("calculator", calculator, (options) => Toolset.make(Calculator.toolkit, Calculator.layer(options)))
  add("files", files, ({ roots, ...options }) =>
    Toolset.make(Files.toolkit, Files.layer({ ...options, roots: resolved(roots, resolve) }))
  )
  add("notes", notes, ({ directory, ...options }) =>
    Toolset.make(Notes.toolkit, Notes.layer({ ...options, directory: resolve(directory) }))
  )
  add("http_request", http_request, HttpRequest.make)
  add("email", email, (options) => Toolset.make(Email.toolkit, Email.layer(options)))
  add("slack", slack, (options) => Toolset.make(Slack.toolkit, Slack.layer(options)))
  add("lambda", config.lambda, Lambda.fromOptions)
  for (const [name, options] of Object.entries(config.openapi ?? {})) {
    add(name, options, (given) => openApi(name, given, config.network, resolve))
  }
  for (const [index, toolset] of (code.tools ?? []).entries())
    add(`tools[${index}]`, toolset, (given) => given)
  return sources
}

/** Folders as the configuration means them. */
const resolved = (
  roots: Files.Options["roots"],
  resolve: (path: string) => string
): Files.Options["roots"] => {
  const at = (root: Files.Root): Files.Root =>
    typeof root === "string" ? resolve(root) : { ...root, path: resolve(root.path) }
  return Files.isRoot(roots)
    ? at(roots)
    : Object.fromEntries(Object.entries(roots).map(([name, root]) => [name, at(root)]))
}

/** The hosts that the configuration names for a document may be reached for it, beside those that all tools may reach. */
const openApi = (
  name: string,
  options: OpenApi.Options,
  network: OutboundHttp.Options | undefined,
  resolve: (path: string) => string
): Effect.Effect<Made, unknown, Needs> => {
  const { baseUrl, document } = options
  const hosts = [document, baseUrl].flatMap((at) => (isUrl(at) ? [new URL(at).hostname] : []))
  const allowedDomains = [...hosts, ...(network?.allowedDomains ?? [])]
  const path = typeof document === "string" && !isUrl(document) ? resolve(document) : document
  return OpenApi.make({ prefix: name, ...options, document: path }).pipe(
    Effect.provide(OutboundHttp.layerGoverned({ ...network, allowedDomains }))
  )
}

const isUrl = (text: unknown): text is string =>
  typeof text === "string" && URL.canParse(text) && /^https?:/i.test(text)

/** Puts in what can be put in: a source that fails is said on stderr, and the others are there all the same. */
const fill = Effect.gen(function* () {
  const registry = yield* ToolRegistry.ToolRegistry
  return yield* Effect.forEach(sourcesOf(yield* Project), ({ name, toolset }) =>
    Effect.flatMap(toolset, (made) => Effect.as(registry.put(name, made), made.skipped ?? [])).pipe(
      Effect.map((skipped) => ({ name, failure: undefined, skipped })),
      Effect.catchCause((cause) => {
        if (Cause.hasInterrupts(cause)) return Effect.failCause(cause)
        const failure = messageOf(Cause.squash(cause))
        const said = Console.error(Output.lines(`interlock: ${name} gives no tools: ${failure}`))
        return Effect.as(said, { name, failure, skipped: [] })
      })
    )
  )
})

// --- Layers ----------------------------------------------------------------

/** How tools reach the network: nowhere, unless the configuration says where. */
const network = Layer.unwrap(
  Effect.map(Project, ({ loaded }) =>
    OutboundHttp.layerGoverned(loaded.config.network ?? { allowedDomains: [] })
  )
).pipe(Layer.provideMerge(ConfiguredCredentials.layer))

/** A registry with everything that is configured. */
export const registry: Layer.Layer<
  ToolRegistry.ToolRegistry | Sources,
  never,
  Project | Services | Platform
> = Layer.effect(Sources, fill).pipe(Layer.provide(network), Layer.provideMerge(ToolRegistry.layer)) as never
