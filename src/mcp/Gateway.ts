/**
 * Other people's MCP servers behind one governed endpoint: their tools appear
 * in the `ToolRegistry`, each under its server's prefix, and every call of them
 * goes through the same pipeline as those of this program.
 *
 *     Gateway.layer({ servers: { files: { command: "npx", args: ["-y", "some-server", "/srv"] } } })
 *
 * - Tools are offered as they were accepted (`Pins`): one whose definition has
 *   changed is refused, one that is new waits, until `accept`.
 * - A server is started when it is first called, or asked what it has; see
 *   `Upstream` for how it fails, is left alone and comes back. Every start, and
 *   every word of the server that its list has changed, is compared with what
 *   was accepted before anything is called.
 * - What a server says of itself is a hint, and makes things only stricter unless
 *   its operator trusts it. What its tools return taints the run that reads it.
 * - Of two tools with one name the server that stands first in the configuration
 *   has it.
 *
 * Not passed on: a server's instructions, icons and metadata, which reach models
 * and people unasked. One connection to a server is shared by all who call it:
 * give a server that keeps state per client an entry for each.
 *
 * Needs the package `@modelcontextprotocol/client`.
 */
import * as McpServer from "effect/ai/McpServer"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { CircuitBreaker } from "../CircuitBreaker.ts"
import type { Health as GovernedHealth } from "../Health.ts"
import * as OptionalPackage from "../internal/optionalPackage.ts"
import { millis, whole } from "../internal/options.ts"
import * as Sliding from "../internal/sliding.ts"
import type * as ToolExecutor from "../ToolExecutor.ts"
import { ToolRegistry } from "../ToolRegistry.ts"
import { Calls } from "./gateway/calls.ts"
import {
  describe,
  type FindCredential,
  type ServerConfig,
  type Servers,
  startTimeoutOf
} from "./gateway/config.ts"
import { connector } from "./gateway/connecting.ts"
import type { Skipped } from "./gateway/definitions.ts"
import type { Changed, Unaccepted } from "./gateway/drift.ts"
import * as Entry from "./gateway/entry.ts"
import { shown } from "./gateway/errors.ts"
import * as Passing from "./gateway/passing.ts"
import { register } from "./gateway/registering.ts"
import type { Session } from "./gateway/session.ts"
import type { Environment } from "./gateway/variables.ts"
import { Pins, type PinsError } from "./Pins.ts"
import type { UpstreamError } from "./Upstream.ts"
import * as Upstream from "./Upstream.ts"

export { type Credential, type FindCredential, ServerConfig, Servers } from "./gateway/config.ts"
export type { Definition, Skipped } from "./gateway/definitions.ts"
export type { Changed, Unaccepted } from "./gateway/drift.ts"
export { UpstreamError } from "./Upstream.ts"

// --- Options ---------------------------------------------------------------

export interface Options {
  /** Decode it with `Servers` where it comes from a file. */
  readonly servers: Servers
  /**
   * Whether the tools of a server of which nothing is pinned are accepted when it is first seen, but for those whose
   * text speaks to a model; or nothing without `accept`. Default `"first-use"`.
   */
  readonly pins?: "first-use" | "required"
  /** How long the layer waits for servers of which nothing is pinned, all together; they go on after it. 10 seconds, 0 is not at all. */
  readonly waitForStart?: Duration.Input
  /** Where `${NAME}` is looked up, and what child processes get their few variables from; the process's own. */
  readonly environment?: Environment
  /** Finds the secrets that servers name, such as `Credentials.get` of the toolbox. */
  readonly credential?: FindCredential
  /** The largest message that a server may send; 16 MiB. */
  readonly maxMessageBytes?: number
}

// --- Models ----------------------------------------------------------------

/** A server, for people and dashboards. */
export interface Status extends Omit<Upstream.Health, "state"> {
  readonly name: string
  readonly state: Upstream.Health["state"] | "disabled"
  /** Where it is, without arguments and secrets. */
  readonly target: string
  /** The tools that are offered, by the names that they have here. */
  readonly tools: ReadonlyArray<string>
  /** Tools that cannot be offered, and why. */
  readonly skipped: ReadonlyArray<Skipped>
  /** Tools whose definition is not the accepted one. */
  readonly drifted: ReadonlyArray<Changed>
  /** Tools that nobody has accepted. */
  readonly unaccepted: ReadonlyArray<Unaccepted>
  /** Accepted tools that the server has no more. */
  readonly missing: ReadonlyArray<string>
}

/** There is no such server, or no such tool of it. */
export class GatewayError extends Schema.TaggedError<GatewayError>("interlock/mcp/GatewayError")(
  "GatewayError",
  {
    reason: Schema.Literals(["unknown_server", "disabled", "unknown_tool"]),
    server: Schema.String,
    /** What there is. */
    known: Schema.Array(Schema.String),
    tool: Schema.optionalKey(Schema.String)
  }
) {
  override get message(): string {
    const known = this.known.length === 0 ? "" : `; there are: ${this.known.join(", ")}`
    const words = {
      unknown_server: `There is no server "${this.server}"`,
      disabled: `The server "${this.server}" is disabled in the configuration`,
      unknown_tool: `The server "${this.server}" has no tool "${this.tool}" that can be accepted`
    }
    return words[this.reason] + known
  }
}

// --- Service ---------------------------------------------------------------

export class Gateway extends Context.Service<
  Gateway,
  {
    /** Every server, in the order of the configuration. */
    readonly status: Effect.Effect<ReadonlyArray<Status>>
    /** Starts a server and waits until it is ready, whatever backoff or an open circuit say. */
    readonly start: (server: string) => Effect.Effect<void, GatewayError | UpstreamError>
    /** Ends a server, which stays so until `start`. */
    readonly stop: (server: string) => Effect.Effect<void, GatewayError>
    readonly restart: (server: string) => Effect.Effect<void, GatewayError | UpstreamError>
    /**
     * Accepts what the server says now of these tools, by the names it gives them, or of all of its tools: then also
     * what it has no more is forgotten. Starts the server, because nothing that is not seen is accepted.
     */
    readonly accept: (
      server: string,
      tools?: ReadonlyArray<string>
    ) => Effect.Effect<void, GatewayError | UpstreamError | PinsError>
    /** One element after a change of any server; a slow reader sees several as one. */
    readonly changes: Stream.Stream<void>
    /** For the MCP server: the prompts and resources of each server, in the order of the configuration. */
    readonly sources: ReadonlyArray<Passing.Source>
    /** Whether a tool of the registry only stands there to say that it is refused. */
    readonly isWithdrawn: (tool: string) => boolean
    /** Starts in the background what is known to have prompts or resources: they are not listed before. */
    readonly prepare: Effect.Effect<void, never, Scope.Scope>
  }
>()("interlock/mcp/Gateway") {}

// --- make ------------------------------------------------------------------

/** A gateway in front of these servers. What it has started ends with the scope. */
export const make = (
  options: Options
): Effect.Effect<
  Gateway["Service"],
  OptionalPackage.PackageMissing,
  ToolRegistry | Pins | CircuitBreaker | Scope.Scope
> => {
  const waitForStart = millis("Gateway: waitForStart", options.waitForStart ?? "10 seconds", 0)
  const maxMessageBytes = whole("Gateway: maxMessageBytes", options.maxMessageBytes ?? 16 * 1024 * 1024, 1024)
  // Where nothing may be accepted unasked, nothing is to be had from a server before it was.
  const trusting = options.pins !== "required"
  return Effect.gen(function* () {
    const sdk = yield* OptionalPackage.load(
      "@modelcontextprotocol/client",
      "The MCP gateway",
      () => import("@modelcontextprotocol/client")
    )
    const registry = yield* ToolRegistry
    const pins = yield* Pins
    const changes = yield* Sliding.make<void>(1)
    const tell = () => Sliding.publish(changes, undefined)
    const oneAtATime = yield* Semaphore.make(1)
    const entries = new Map<string, Entry.Entry>()
    const apply = Effect.suspend(() => register(registry, [...entries.values()])).pipe(
      Effect.uninterruptible,
      oneAtATime.withPermit,
      Effect.map((changed) => (changed ? tell() : undefined))
    )
    const look = Effect.fnUntraced(function* (entry: Entry.Entry, session: Session) {
      const before = entry.standing
      yield* Entry.look(entry, session, pins, trusting)
      yield* apply
      const news = Entry.newsOf(entry, before)
      if (news !== undefined) yield* Effect.logWarning(news)
    })
    const lookAt = (entry: Entry.Entry, session: Session, lists: ReadonlySet<Upstream.Lists>) =>
      Effect.all(
        [
          lists.has("tools") ? look(entry, session) : Effect.void,
          Effect.tap(Entry.lookAtOffers(entry, session, lists), () => Effect.sync(tell))
        ],
        { concurrency: "unbounded", discard: true }
      )

    const environment = options.environment ?? process.env
    const connecting = { sdk, environment, find: options.credential ?? noCredentials, maxMessageBytes }
    for (const [name, config] of Object.entries(options.servers)) {
      if (config.disabled === true) continue
      const calls = new Calls(name)
      const { stopWhenIdle } = config
      const upstream = yield* Upstream.make({
        name,
        open: yield* connector(connecting, name, config, calls),
        refresh: (session, lists) => lookAt(entry, session, lists),
        startTimeout: startTimeoutOf(config),
        stopWhenIdle: stopWhenIdle === undefined ? undefined : Duration.fromInputUnsafe(stopWhenIdle),
        onState: tell
      })
      // Pins that cannot be read accept nothing; every start tries to read them again, and says so.
      const pinned = yield* Effect.orElseSucceed(pins.get(name), () => undefined)
      const entry = Entry.make(name, config, calls, upstream, pinned)
      entries.set(name, entry)
    }
    yield* apply
    const begun = yield* Deferred.make<void>()
    const unpinned = [...entries.values()].filter(({ pins }) => pins === undefined && trusting)
    yield* Effect.forEach(unpinned, ({ upstream }) => Effect.ignore(upstream.start), {
      concurrency: "unbounded",
      discard: true
    }).pipe(Effect.ensuring(Deferred.succeed(begun, undefined)), Effect.forkScoped)
    if (waitForStart > 0) yield* Effect.timeoutOption(Deferred.await(begun), Duration.millis(waitForStart))

    const find = (server: string): Effect.Effect<Entry.Entry, GatewayError> => {
      const entry = entries.get(server)
      if (entry !== undefined) return Effect.succeed(entry)
      const all = Object.keys(options.servers)
      return Effect.fail(
        all.includes(server)
          ? new GatewayError({ reason: "disabled", server, known: [] })
          : new GatewayError({ reason: "unknown_server", server, known: all })
      )
    }

    return {
      status: Effect.forEach(Object.entries(options.servers), ([name, config]) => {
        const entry = entries.get(name)
        return entry === undefined ? Effect.succeed(disabled(name, config)) : statusOf(entry)
      }),
      start: (server) => Effect.flatMap(find(server), ({ upstream }) => upstream.start),
      stop: (server) => Effect.flatMap(find(server), ({ upstream }) => upstream.stop),
      restart: (server) =>
        Effect.flatMap(find(server), ({ upstream }) => Effect.andThen(upstream.stop, upstream.start)),
      accept: Effect.fnUntraced(function* (server: string, tools?: ReadonlyArray<string>) {
        const entry = yield* find(server)
        yield* entry.upstream.start
        // What is accepted is what it says now, and not what it said before.
        yield* entry.upstream.use((session) => Entry.look(entry, session, pins, trusting))
        const known = [...entry.listing.tools.keys()]
        const unknown = tools?.find((tool) => !known.includes(tool))
        if (unknown !== undefined) {
          return yield* new GatewayError({ reason: "unknown_tool", server, tool: unknown, known })
        }
        yield* Entry.accept(entry, pins, tools)
        yield* apply
        tell()
      }),
      changes: Sliding.stream(changes),
      sources: Array.from(entries.values(), (entry) => ({
        name: entry.name,
        prefix: entry.prefix,
        config: entry.config,
        offers: Effect.sync(() => entry.offers),
        request: (method, params) => entry.upstream.use((session) => session.request(method, params))
      })),
      isWithdrawn: (tool) => [...entries.values()].some((entry) => Entry.isWithdrawn(entry, tool)),
      prepare: Effect.forEach(
        [...entries.values()].filter(({ pins }) => pins !== undefined && pins.offers.length > 0),
        ({ upstream }) => Effect.forkScoped(Effect.ignore(upstream.use(() => Effect.void))),
        { discard: true }
      )
    }
  })
}

const noCredentials: FindCredential = (name) =>
  Effect.fail({ message: `there is no credential "${shown(name)}"` })

const statusOf = (entry: Entry.Entry): Effect.Effect<Status> =>
  Effect.map(entry.upstream.health, (health) => ({
    ...health,
    name: entry.name,
    target: describe(entry.config),
    tools: entry.tools.filter((name) => !Entry.isWithdrawn(entry, name)),
    skipped: [...entry.listing.skipped, ...entry.shadowed, ...entry.offers.skipped],
    drifted: entry.standing.changed,
    unaccepted: entry.standing.unaccepted,
    missing: entry.standing.missing
  }))

const disabled = (name: string, config: ServerConfig): Status => ({
  name,
  state: "disabled",
  target: describe(config),
  protocol: undefined,
  restarts: 0,
  inFlight: 0,
  lastError: undefined,
  retryAt: undefined,
  tools: [],
  skipped: [],
  drifted: [],
  unaccepted: [],
  missing: []
})

// --- Layers ----------------------------------------------------------------

/** A gateway in front of these servers. Throws a `RangeError` for an option that makes no sense. */
export const layer = (
  options: Options
): Layer.Layer<Gateway, OptionalPackage.PackageMissing, ToolRegistry | Pins | CircuitBreaker> =>
  Layer.effect(Gateway, make(options))

/**
 * What a gateway's servers have beside tools, on an MCP server: prompts under their prefix, resources and templates by
 * their own URIs, completions of both; kept in step as they come and go, and governed as calls are. It also keeps out of
 * lists what only says that it is refused. The tools themselves are served by `Mcp.layerRegistry`.
 */
export const layerMcp: Layer.Layer<
  never,
  never,
  Gateway | McpServer.McpServer | ToolExecutor.Governance | GovernedHealth
> = Layer.mergeAll(
  Layer.effectDiscard(
    Effect.gen(function* () {
      const { changes, prepare, sources } = yield* Gateway
      const server = yield* McpServer.McpServer
      const { announce, step } = Passing.follow(server, sources, yield* Passing.governed(sources))
      yield* announce
      yield* Effect.forkScoped(
        Stream.runForEach(changes, () => step),
        { startImmediately: true }
      )
      yield* step
      yield* prepare
    })
  ),
  McpServer.visibility(
    Effect.map(
      Gateway,
      ({ isWithdrawn }) =>
        ({ method, target }) =>
          Effect.succeed(method !== "tools/list" || !isWithdrawn(target))
    ),
    { global: true }
  )
)
