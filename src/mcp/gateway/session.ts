/**
 * One connection to a server, by the official SDK's client.
 *
 * Effect's own `McpClient` is not used: it speaks one version of the protocol
 * that is chosen beforehand, of two (2025-11-25 and 2026-07-28), where a gateway
 * meets servers of all of them; it hears neither progress nor changed lists; it
 * cannot be asked anything; and one tool that is not as it should be fails the
 * whole list (`effect/ai/McpClient`, 4.1.0).
 *
 * Of the SDK, what checks results is not used: one bad entry would fail a list,
 * and its check of structured content generates code. Lists are read as data
 * here, and results are checked in `results.ts`.
 */
import type * as Sdk from "@modelcontextprotocol/client"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type { ChildProcessTransport } from "./childProcess.ts"
import type { Definition } from "./definitions.ts"
import { shown, UpstreamError } from "./errors.ts"
import type { HttpTransport } from "./http.ts"
import { calling, connecting, messageOf, statusOf } from "./sdkErrors.ts"

// --- Models ----------------------------------------------------------------

type Json = Readonly<Record<string, unknown>>

/** What a server asks of its client during a call: the method's name and its parameters. */
export interface Question {
  readonly method: "elicitation/create" | "sampling/createMessage"
  readonly params: unknown
}

export interface Progress {
  readonly progress: number
  readonly total?: number | undefined
  readonly message?: string | undefined
}

/** What a server does unasked. Called from the connection's callbacks: must not throw. */
export interface Hooks {
  readonly onChanged: (what: "tools" | "prompts" | "resources") => void
  readonly onLog: (params: Json) => void
  readonly onQuestion: (question: Question, signal: AbortSignal) => Promise<unknown>
  /** What was ignored, for operators. */
  readonly onNoise: (message: string) => void
  /** The connection has ended by itself. */
  readonly onEnded: () => void
}

export interface Call {
  readonly name: string
  readonly arguments: unknown
  readonly inputResponses?: Json | undefined
  readonly requestState?: string | undefined
  /** What the client of this call can be asked; only servers of protocol 2026-07-28 look at it for each call. */
  readonly clientCapabilities?: Json | undefined
}

export interface Session {
  readonly protocol: string
  /** Since 2026-07-28 a server asks by its results, and is asked again. */
  readonly asksByResult: boolean
  readonly server: { readonly name: string; readonly version: string } | undefined
  readonly offers: {
    readonly tools: boolean
    readonly prompts: boolean
    readonly resources: boolean
    readonly completions: boolean
  }
  /** What a list holds, page after page; `false` where it has no end. */
  readonly list: (
    what: "tools" | "prompts" | "resources" | "resourceTemplates"
  ) => Effect.Effect<{ readonly items: ReadonlyArray<unknown>; readonly whole: boolean }, UpstreamError>
  /** Calls a tool; the result as it came. Interruption is sent on. */
  readonly call: (
    call: Call,
    definition: Definition,
    onProgress: ((progress: Progress) => void) | undefined
  ) => Effect.Effect<unknown, UpstreamError>
  /** Any other request. */
  readonly request: (method: string, params: Json) => Effect.Effect<unknown, UpstreamError>
  /** Why the connection ended, where that is known; for people. */
  readonly ending: () => string | undefined
}

/** What of a connection is remembered for the next one. */
export interface Memory {
  /** The server does not know the newest protocol, and need not be asked. */
  older: boolean
  /** The server speaks over events, as it was before 2025-03-26. */
  sse: boolean
}

type Transport = ChildProcessTransport | HttpTransport

export interface Options {
  readonly sdk: typeof Sdk
  readonly name: string
  readonly version: string
  readonly timeout: Duration.Duration
  /** Makes a transport that was not used before. */
  readonly transport: (memory: Memory) => Transport
  /**
   * What is tried where a server does not know what it is asked first: a process anew, as one of an older protocol; a
   * URL over events, as it was before 2025-03-26.
   */
  readonly otherwise: "older" | "sse" | undefined
  readonly memory: Memory
  readonly hooks: Hooks
  /** Takes secrets out of a text. */
  readonly hide: (text: string) => string
}

// --- Limits ----------------------------------------------------------------

const maxPages = 100
const maxItems = 2000

/** As long as a timer takes: calls have their time from the pipeline, which interrupts them. */
const forever = 2_147_483_647

// --- Opening ---------------------------------------------------------------

/** Connects; the connection is closed with the scope. */
export const open = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Session, UpstreamError, Scope.Scope> {
  const { memory, otherwise } = options
  const first = yield* Effect.result(attempt(options))
  if (Result.isSuccess(first)) return first.success
  if (!isOtherEra(first.failure, options)) return yield* reasonOf(options, first.failure)
  // Another way is tried where the server's answer says that there may be one.
  memory.older = true
  memory.sse ||= otherwise === "sse"
  return yield* Effect.mapError(attempt(options), (second) => {
    memory.older = false
    memory.sse &&= otherwise !== "sse"
    return reasonOf(options, otherwise === "sse" ? first.failure : second)
  })
})

/** Connects once; what did not come to a connection holds nothing. */
const attempt = (options: Options): Effect.Effect<Session, Failed, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const own = yield* Scope.fork(yield* Effect.scope)
      return yield* Effect.onError(restore(Scope.provide(connect(options), own)), (cause) =>
        Scope.close(own, Exit.failCause(cause))
      )
    })
  )

/** What could not be opened, with the transport's own word on it. */
interface Failed {
  readonly error: unknown
  readonly ending: string | undefined
}

const reasonOf = ({ hide, name, timeout }: Options, { ending, error }: Failed): UpstreamError =>
  connecting({ server: name, ending, hide }, error, timeout)

const isOtherEra = ({ error }: Failed, { memory, otherwise, sdk }: Options): boolean => {
  if (memory.older || memory.sse || otherwise === undefined) return false
  return otherwise === "sse"
    ? [400, 404, 405, 406, 415].includes(statusOf(error) ?? 0)
    : error instanceof sdk.SdkError && error.code === sdk.SdkErrorCode.EraNegotiationFailed
}

const connect = (options: Options): Effect.Effect<Session, Failed, Scope.Scope> =>
  Effect.gen(function* () {
    const { hooks, memory, sdk, timeout, version } = options
    const millis = Duration.toMillis(timeout)
    const transport = options.transport(memory)
    const client = new sdk.Client(
      { name: "interlock", version },
      {
        capabilities: { elicitation: { form: {} }, sampling: {} },
        versionNegotiation: { mode: "auto", probe: { timeoutMs: Math.min(10_000, millis / 2) } },
        inputRequired: { autoFulfill: false },
        jsonSchemaValidator: unchecked,
        listChanged: Object.fromEntries(
          (["tools", "prompts", "resources"] as const).map((what) => [
            what,
            { autoRefresh: false, debounceMs: 0, onChanged: () => hooks.onChanged(what) }
          ])
        )
      }
    )
    client.setNotificationHandler("notifications/message", ({ params }) => hooks.onLog(params))
    for (const method of ["elicitation/create", "sampling/createMessage"] as const) {
      client.setRequestHandler(
        method,
        ({ params }, { mcpReq }) => hooks.onQuestion({ method, params }, mcpReq.signal) as Promise<never>
      )
    }
    client.onerror = (error) => hooks.onNoise(shown(error.message, options.hide))
    const state = { connected: false, closing: false }
    client.onclose = () => {
      if (state.connected && !state.closing) hooks.onEnded()
    }
    yield* Effect.addFinalizer(() =>
      Effect.promise(async () => {
        state.closing = true
        await client.close().catch(() => undefined)
        // A client that never came to use its transport does not close it.
        await transport.close().catch(() => undefined)
      })
    )
    yield* Effect.tryPromise({
      try: (signal) =>
        client.connect(transport, {
          signal,
          timeout: millis,
          ...(memory.older ? { prior: { kind: "legacy" } as const } : {})
        }),
      catch: (error): Failed => ({ error, ending: transport.ending })
    })
    state.connected = true
    const asksByResult = client.getProtocolEra() === "modern"
    memory.older = !asksByResult
    if (asksByResult) yield* Effect.forkScoped(keepListening(client, hooks))
    return makeSession(options, client, transport, asksByResult)
  })

/** Before a stream that has ended is opened again, longer and longer; milliseconds. */
const betweenStreams = { first: 1000, longest: 60_000 }

/** Since 2026-07-28 changes are told on a stream, which may end before the connection does: what was missed is asked for. */
const keepListening = Effect.fnUntraced(function* (client: Sdk.Client, { onChanged, onNoise }: Hooks) {
  const { prompts, resources, tools } = client.getServerCapabilities() ?? {}
  const filter = {
    ...(tools?.listChanged === true ? { toolsListChanged: true } : {}),
    ...(prompts?.listChanged === true ? { promptsListChanged: true } : {}),
    ...(resources?.listChanged === true ? { resourcesListChanged: true } : {})
  }
  if (Object.keys(filter).length === 0) return
  const listen = Effect.tryPromise({
    try: (signal) => client.listen(filter, { signal }),
    catch: (error) => onNoise(shown(messageOf(error)))
  })
  let subscription = client.autoOpenedSubscription
  for (let gap = betweenStreams.first; ; gap = Math.min(gap * 2, betweenStreams.longest)) {
    if (subscription !== undefined) {
      const { closed } = subscription
      const [lasted, how] = yield* Effect.timed(Effect.promise(() => closed))
      if (how === "local") return
      if (Duration.toMillis(lasted) > gap) gap = betweenStreams.first
    }
    yield* Effect.sleep(Duration.millis(gap))
    subscription = yield* Effect.orElseSucceed(listen, () => undefined)
    if (subscription === undefined) continue
    for (const what of ["tools", "prompts", "resources"] as const) onChanged(what)
  }
})

// --- Using -----------------------------------------------------------------

const makeSession = (
  { hide, name, sdk, timeout }: Options,
  client: Sdk.Client,
  transport: Transport,
  asksByResult: boolean
): Session => {
  const fail = (error: unknown) => calling(sdk, { server: name, ending: transport.ending, hide }, error)
  /** A promise of the client's, whose signal is aborted by interruption. */
  const asking = <A>(ask: (signal: AbortSignal) => Promise<A>): Effect.Effect<A, UpstreamError> =>
    Effect.callback<A, UpstreamError>((resume, signal) => {
      ask(signal).then(
        (value) => resume(Exit.succeed(value)),
        (error: unknown) => resume(Exit.fail(fail(error)))
      )
    })
  const soon = <A>(ask: (signal: AbortSignal) => Promise<A>): Effect.Effect<A, UpstreamError> =>
    Effect.timeoutOrElse(asking(ask), {
      duration: timeout,
      orElse: () =>
        Effect.fail(
          new UpstreamError({
            reason: "unavailable",
            server: name,
            detail: `it did not answer within ${Duration.format(timeout)}`
          })
        )
    })
  const request = (method: string, params: Json) =>
    soon((signal) =>
      client.request({ method, params } as Sdk.Request, anything, {
        signal,
        timeout: forever,
        allowInputRequired: true
      })
    ) as Effect.Effect<unknown, UpstreamError>
  const capabilities = client.getServerCapabilities() ?? {}
  const version = client.getServerVersion()
  return {
    protocol: client.getNegotiatedProtocolVersion() ?? "unknown",
    asksByResult,
    server:
      version === undefined ? undefined : { name: shown(version.name), version: shown(version.version) },
    offers: {
      tools: capabilities.tools !== undefined,
      prompts: capabilities.prompts !== undefined,
      resources: capabilities.resources !== undefined,
      completions: capabilities.completions !== undefined
    },
    list: Effect.fnUntraced(function* (what) {
      const items: Array<unknown> = []
      const cursors = new Set<string>()
      let cursor: string | undefined
      for (let page = 0; page < maxPages && items.length < maxItems; page++) {
        const result = yield* request(methods[what], cursor === undefined ? {} : { cursor })
        const { [what]: found, nextCursor } = result as Json
        if (!Array.isArray(found)) {
          return yield* new UpstreamError({
            reason: "result",
            server: name,
            detail: `its list of ${words[what]} is none`
          })
        }
        for (const item of found) items.push(item)
        if (typeof nextCursor !== "string") return { items, whole: true }
        if (cursors.has(nextCursor)) break
        cursors.add(nextCursor)
        cursor = nextCursor
      }
      return { items, whole: false }
    }),
    call: ({ clientCapabilities, ...params }, definition, onProgress) =>
      asking((signal) =>
        client.callTool(
          {
            ...(params as Sdk.CallToolRequest["params"]),
            ...(asksByResult && clientCapabilities !== undefined
              ? { _meta: { [sdk.CLIENT_CAPABILITIES_META_KEY]: clientCapabilities } }
              : {})
          },
          {
            signal,
            timeout: forever,
            allowInputRequired: true,
            // For the headers that it may ask for; without a schema for the result, which is checked here.
            toolDefinition: { name: definition.name, inputSchema: definition.inputSchema as never },
            ...(onProgress === undefined ? {} : { onprogress: onProgress })
          }
        )
      ),
    request,
    ending: () => transport.ending
  }
}

const methods = {
  tools: "tools/list",
  prompts: "prompts/list",
  resources: "resources/list",
  resourceTemplates: "resources/templates/list"
} as const

const words = {
  tools: "tools",
  prompts: "prompts",
  resources: "resources",
  resourceTemplates: "resource templates"
} as const

/** A result is looked at where it is used. */
const anything: Sdk.StandardSchemaV1<unknown, unknown> = {
  "~standard": { version: 1, vendor: "interlock", validate: (value) => ({ value }) }
}

const unchecked: Sdk.jsonSchemaValidator = {
  getValidator: () => (input) => ({ valid: true, data: input as never, errorMessage: undefined })
}
