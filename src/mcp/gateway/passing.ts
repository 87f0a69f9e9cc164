/**
 * Prompts and resources of other servers on Effect's `McpServer`, governed as
 * tools are: reading one is a call of `<prefix>resources/read`, getting a prompt
 * one of `<prefix>prompts/get`, and so is completing an argument. So what a
 * server's tools need its prompts and resources need, policies deny them by
 * those names, and the audit log has them.
 *
 * Effect's server forgets nothing that was registered: what is gone is switched
 * off, and then in no list and not found.
 */
import * as McpSchema from "effect/ai/McpSchema"
import type * as McpServer from "effect/ai/McpServer"
import * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type { Health } from "../../Health.ts"
import * as Raw from "../../internal/raw.ts"
import * as ToolAnnotations from "../../ToolAnnotations.ts"
import { messageOf, type Reason } from "../../ToolError.ts"
import * as ToolExecutor from "../../ToolExecutor.ts"
import * as Toolset from "../../Toolset.ts"
import { CallResult } from "../Content.ts"
import { type ServerConfig, sendsData } from "./config.ts"
import { classify, failureOf, type UpstreamError } from "./errors.ts"
import { type Offers, routeOf } from "./offers.ts"

type Server = McpServer.McpServer["Service"]
type Json = Readonly<Record<string, unknown>>

/** One server, as far as its prompts and resources go. */
export interface Source {
  readonly name: string
  readonly prefix: string
  readonly config: ServerConfig
  readonly offers: Effect.Effect<Offers>
  /** Any request; the result as it came. */
  readonly request: (method: string, params: Json) => Effect.Effect<unknown, UpstreamError>
}

// --- Governed requests -----------------------------------------------------

/** What is asked of a server for a client. */
const methods = ["resources/read", "prompts/get", "completion/complete"] as const
type Method = (typeof methods)[number]

const toolOf = ({ config, prefix, request }: Source, method: Method): Toolset.Implemented => {
  const described = Tool.dynamic(`${prefix}${method}`, {
    parameters: { type: "object" },
    success: Schema.Unknown,
    failure: CallResult,
    failureMode: "return"
  })
    .annotate(ToolAnnotations.UpstreamName, method)
    .annotate(ToolAnnotations.Trust, config.trustResults === true ? "trusted" : "untrusted")
    .annotate(ToolAnnotations.Classify, classify)
  const { capabilities, timeout } = config
  const sends = sendsData(config)
  const needing =
    capabilities === undefined ? described : described.annotate(ToolAnnotations.Capabilities, capabilities)
  const timed = timeout === undefined ? needing : needing.annotate(ToolAnnotations.Timeout, timeout)
  return {
    tool: sends === undefined ? timed : timed.annotate(ToolAnnotations.SendsData, sends),
    handler: (params: Json) => Effect.mapError(request(method, params), failureOf)
  }
}

type Ask = (source: Source, method: Method, params: Json) => Effect.Effect<unknown, McpSchema.InternalError>

/** Asks servers through a pipeline of their own. */
export const governed = (
  sources: ReadonlyArray<Source>
): Effect.Effect<Ask, never, ToolExecutor.Governance | Health> =>
  Effect.gen(function* () {
    const { layer, toolkit } = Toolset.dynamic(
      sources.flatMap((source) => methods.map((method) => toolOf(source, method)))
    )
    const { pipeline } = yield* Effect.provide(ToolExecutor.make(toolkit), layer)
    return (source, method, params) =>
      pipeline.run({ door: "mcp", tool: `${source.prefix}${method}`, params: Raw.of(params) }, (outcome) =>
        outcome.reason === undefined
          ? Exit.succeed(outcome.value)
          : Exit.fail(new McpSchema.InternalError({ message: wordsOf(outcome.reason) }))
      )
  })

const isCallResult = Schema.is(CallResult)

const wordsOf = (reason: Reason): string =>
  reason._tag === "ToolFailed" && isCallResult(reason.failure)
    ? reason.failure.content.map(({ text }) => (typeof text === "string" ? text : "")).join(" ")
    : messageOf(reason)

// --- Registration ----------------------------------------------------------

const decodeRead = Schema.decodeUnknownEffect(McpSchema.ReadResourceResult)
const decodePrompt = Schema.decodeUnknownEffect(McpSchema.GetPromptResult)
const decodeCompletion = Schema.decodeUnknownEffect(McpSchema.CompleteResult)

const unusable = () => new McpSchema.InternalError({ message: "The server's answer cannot be used" })

/** Keeps what is registered in step with what the servers offer: of two with one name or URI the first has it. */
export const follow = (server: Server, sources: ReadonlyArray<Source>, ask: Ask) => {
  /** What is on offer now, and whose it is: by kind and key. */
  let offered = new Map<string, Source>()
  const registered = new Map<string, string>()
  const switched = (key: string): Context.Context<never> =>
    Context.make(McpSchema.EnabledWhen, () => offered.has(key)) as unknown as Context.Context<never>
  const ownerOf = (key: string): Effect.Effect<Source, McpSchema.InternalError> =>
    Effect.suspend(() => {
      const source = offered.get(key)
      return source === undefined ? Effect.fail(unusable()) : Effect.succeed(source)
    })
  const read = (key: string, uri: string) =>
    Effect.flatMap(ownerOf(key), (source) => ask(source, "resources/read", { uri })).pipe(
      Effect.flatMap((raw) => Effect.mapError(decodeRead(raw), unusable))
    )
  const completing =
    (key: string, ref: Json, name: string) =>
    (
      value: string,
      context: Json | undefined
    ): Effect.Effect<McpSchema.CompleteResult, McpSchema.InternalError> =>
      Effect.flatMap(ownerOf(key), (source) =>
        ask(source, "completion/complete", {
          ref,
          argument: { name, value },
          ...(context === undefined ? {} : { context })
        })
      ).pipe(Effect.flatMap((raw) => Effect.mapError(decodeCompletion(raw), unusable)))

  /** Registers what is new or another than before. */
  const put = (
    key: string,
    what: unknown,
    source: Source,
    register: Effect.Effect<void>
  ): Effect.Effect<void> =>
    Effect.suspend(() => {
      const text = JSON.stringify([source.name, what])
      if (registered.get(key) === text) return Effect.void
      registered.set(key, text)
      return Effect.catchCause(register, (cause) =>
        Cause.hasInterrupts(cause)
          ? Effect.failCause(cause)
          : Effect.logWarning(`${key} of "${source.name}" is not served over MCP`, cause)
      )
    })

  const step = Effect.gen(function* () {
    const next = new Map<string, Source>()
    const registrations: Array<Effect.Effect<void>> = []
    for (const source of sources) {
      const { completes, prompts, resources, templates } = yield* source.offers
      const take = (key: string): boolean => !next.has(key) && next.set(key, source) !== undefined
      for (const prompt of prompts.values()) {
        const name = source.prefix + prompt.name
        const key = `prompt ${name}`
        if (!take(key)) continue
        const ref = { type: "ref/prompt", name: prompt.name }
        registrations.push(
          put(
            key,
            prompt,
            source,
            server.addPrompt({
              prompt: new McpSchema.Prompt({ ...prompt, name }),
              annotations: switched(key),
              completions: completes
                ? Object.fromEntries(
                    (prompt.arguments ?? []).map((argument) => [
                      argument.name,
                      completing(key, ref, argument.name)
                    ])
                  )
                : {},
              handle: (args) => getting(key, prompt.name, args)
            })
          )
        )
      }
      for (const resource of resources.values()) {
        const key = `resource ${resource.uri}`
        if (!take(key)) continue
        registrations.push(
          put(
            key,
            resource,
            source,
            server.addResource({
              resource: new McpSchema.Resource(resource),
              annotations: switched(key),
              handle: read(key, resource.uri)
            })
          )
        )
      }
      for (const template of templates.values()) {
        const { uriTemplate } = template
        const key = `resource template ${uriTemplate}`
        const route = routeOf(uriTemplate)
        if (route === undefined || !take(key)) continue
        const ref = { type: "ref/resource", uri: uriTemplate }
        registrations.push(
          put(
            key,
            template,
            source,
            server.addResourceTemplate({
              template: new McpSchema.ResourceTemplate(template),
              annotations: switched(key),
              routerPath: route.path,
              completions: completes
                ? Object.fromEntries(route.variables.map((name) => [name, completing(key, ref, name)]))
                : {},
              handle: (uri) => read(key, uri)
            })
          )
        )
      }
    }
    const gone = [...offered.keys()].filter((key) => !next.has(key))
    offered = next
    for (const registration of registrations) yield* registration
    if (gone.some((key) => key.startsWith("prompt ")))
      yield* server.notifications["notifications/prompts/list_changed"]({})
    if (gone.some((key) => key.startsWith("resource "))) {
      yield* server.notifications["notifications/resources/list_changed"]({})
    }
  })

  /** A prompt; a server that asks first is handed on to a client that can be asked so. */
  const getting = (key: string, name: string, args: Json) =>
    Effect.gen(function* () {
      const { inputResponses, protocolVersion, requestState } = yield* McpSchema.McpRequestContext
      const source = yield* ownerOf(key)
      const raw = yield* ask(source, "prompts/get", {
        name,
        arguments: args,
        ...(inputResponses === undefined ? {} : { inputResponses }),
        ...(requestState === undefined ? {} : { requestState })
      })
      const asks = raw as { readonly resultType?: unknown } & ConstructorParameters<
        typeof McpSchema.InputRequired
      >[0]
      if (asks.resultType === "input_required" && protocolVersion >= "2026-07-28") {
        return new McpSchema.InputRequired(asks)
      }
      return yield* Effect.mapError(decodePrompt(raw), unusable)
    })

  // A server that has no prompt or resource when a client connects says that it never will have any.
  const announce = Effect.andThen(
    server.addPrompt({
      prompt: new McpSchema.Prompt({ name: "interlock" }),
      annotations: switched("nothing"),
      completions: {},
      handle: () => Effect.fail(unusable())
    }),
    server.addResource({
      resource: new McpSchema.Resource({ uri: "interlock:nothing", name: "interlock" }),
      annotations: switched("nothing"),
      handle: Effect.fail(unusable())
    })
  )

  return { announce, step }
}
