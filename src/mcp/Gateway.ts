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
import type * as Sdk from "@modelcontextprotocol/client"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as PubSub from "effect/PubSub"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type * as Stream from "effect/Stream"
import type { CircuitBreaker } from "../CircuitBreaker.ts"
import * as OptionalPackage from "../internal/optionalPackage.ts"
import { millis, whole } from "../internal/options.ts"
import * as Sliding from "../internal/sliding.ts"
import { version } from "../internal/version.ts"
import { type DuplicateTool, ToolRegistry } from "../ToolRegistry.ts"
import type { Implemented } from "../Toolset.ts"
import * as Toolset from "../Toolset.ts"
import { caller } from "./gateway/caller.ts"
import { Calls } from "./gateway/calls.ts"
import { ChildProcessTransport } from "./gateway/childProcess.ts"
import {
  describe,
  type FindCredential,
  isWanted,
  prefixOf,
  resolve,
  type ServerConfig,
  type Servers,
  startTimeoutOf
} from "./gateway/config.ts"
import { type Listing, read as readListing, type Skipped } from "./gateway/definitions.ts"
import * as Drift from "./gateway/drift.ts"
import { failureOf, shown } from "./gateway/errors.ts"
import { HttpTransport } from "./gateway/http.ts"
import { reader } from "./gateway/results.ts"
import * as Session from "./gateway/session.ts"
import { offered, withdrawn } from "./gateway/tools.ts"
import type { Environment } from "./gateway/variables.ts"
import { type Pin, Pins, type PinsError, type ServerPins } from "./Pins.ts"
import * as Upstream from "./Upstream.ts"
import { UpstreamError } from "./Upstream.ts"

export { type Credential, type FindCredential, ServerConfig, Servers } from "./gateway/config.ts"
export type { Skipped } from "./gateway/definitions.ts"
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
  readonly drifted: ReadonlyArray<Drift.Changed>
  /** Tools that nobody has accepted. */
  readonly unaccepted: ReadonlyArray<Drift.Unaccepted>
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
  }
>()("interlock/mcp/Gateway") {}

// --- A server's entry ------------------------------------------------------

/** What is known of one server. */
interface Entry {
  readonly name: string
  readonly config: ServerConfig
  readonly prefix: string
  readonly upstream: Upstream.Upstream
  readonly calls: Calls
  /** What it said last. */
  listing: Listing | undefined
  standing: Drift.Standing
  pins: ServerPins | undefined
  /** What is in the registry: a text that tells one state from another. */
  put: string
  tools: ReadonlyArray<string>
  /** Its tools whose names another server has. */
  shadowed: ReadonlyArray<Skipped>
}

const nothing: Drift.Standing = { usable: new Map(), changed: [], unaccepted: [], missing: [] }

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
    const entries = new Map<string, Entry>()

    /** Puts into the registry what may be offered now, in the order of the configuration. */
    const apply: Effect.Effect<void> = Effect.gen(function* () {
      const taken = new Set<string>()
      const own = new Set([...entries.values()].map(sourceOf))
      for (const [source, names] of yield* registry.sources) {
        if (!own.has(source)) for (const name of names) taken.add(name)
      }
      const wanted = [...entries.values()].map((entry) => ({ entry, ...toolsOf(entry, taken) }))
      const changed = wanted.filter(({ entry, put }) => entry.put !== put)
      // A name that goes from one server to another must be free before.
      const gained = new Set(
        changed.flatMap(({ entry, tools }) => tools.map(nameOf).filter((name) => !entry.tools.includes(name)))
      )
      for (const { entry } of changed) {
        if (!entry.tools.some((name) => gained.has(name))) continue
        yield* registry.remove(sourceOf(entry))
        entry.put = ""
      }
      for (const { entry, put, shadowed, tools } of changed) {
        entry.shadowed = shadowed
        entry.tools = tools.map(nameOf)
        entry.put = put
        // Names were looked at above; what was put meanwhile by somebody else keeps its own.
        const putting = registry.put(sourceOf(entry), Toolset.dynamic(tools)) as Effect.Effect<
          void,
          DuplicateTool
        >
        yield* Effect.catch(putting, (error) =>
          Effect.gen(function* () {
            yield* registry.remove(sourceOf(entry))
            entry.put = ""
            entry.tools = []
            entry.shadowed = [{ tool: error.tool, why: error.message }]
          })
        )
      }
      if (changed.length > 0) tell()
    }).pipe(Effect.uninterruptible, oneAtATime.withPermit)

    const failPins = (entry: Pick<Entry, "name">) => (error: PinsError) =>
      new UpstreamError({ reason: "configuration", server: entry.name, detail: error.message })

    /** Compares what a server says of its tools with what was accepted. */
    const look = Effect.fnUntraced(function* (entry: Entry, session: Session.Session) {
      const { items, whole } = yield* session.list("tools")
      const listing = readListing(items)
      entry.listing = whole
        ? listing
        : { ...listing, skipped: [...listing.skipped, { tool: "others", why: "its list has no end" }] }
      const offers = [
        ...(session.offers.prompts ? (["prompts"] as const) : []),
        ...(session.offers.resources ? (["resources"] as const) : [])
      ]
      const before = yield* Effect.mapError(pins.get(entry.name), failPins(entry))
      const accepted =
        before?.tools ?? (options.pins === "required" ? new Map<string, Pin>() : Drift.firstUse(listing))
      const isKnown = before !== undefined && before.offers.join() === offers.join()
      const after = { tools: accepted, offers }
      // Where nothing may be accepted unasked, that nothing is must not look like somebody's word.
      if (!isKnown && (before !== undefined || options.pins !== "required")) {
        yield* Effect.mapError(pins.put(entry.name, after), failPins(entry))
      }
      entry.pins = after
      entry.standing = Drift.compare(accepted, entry.listing)
      yield* apply
    })

    const handlerOf = (entry: Entry, pin: Pin) => {
      const read = reader(pin.definition)
      return (params: unknown) =>
        Effect.gen(function* () {
          const who = yield* caller
          const { isError, result } = yield* entry.upstream
            .use((session) =>
              // It may have turned out only now, when the server was started for this call.
              entry.standing.usable.get(pin.definition.name)?.digest === pin.digest
                ? entry.calls.call(session, pin.definition, read, params, who)
                : Effect.fail(refusalOf(entry, pin.definition.name))
            )
            .pipe(Effect.mapError(failureOf))
          return isError ? yield* Effect.fail(result) : result
        })
    }

    /** What of a server's tools can be offered, beside what others have. */
    const toolsOf = (entry: Entry, taken: Set<string>) => {
      const tools: Array<Implemented> = []
      const shadowed: Array<Skipped> = []
      const put: Array<string> = []
      const add = (tool: string, make: (exposed: string) => Implemented, state: string): void => {
        const exposed = entry.prefix + tool
        if (!isWanted(entry.config, [exposed, tool])) return
        if (taken.has(exposed)) {
          shadowed.push({ tool, why: `another one is named ${exposed}: give one of the servers a prefix` })
          return
        }
        taken.add(exposed)
        tools.push(make(exposed))
        put.push(`${exposed} ${state}`)
      }
      for (const [tool, pin] of entry.standing.usable) {
        const made = (exposed: string) =>
          offered(exposed, pin.definition, entry.config, handlerOf(entry, pin))
        add(tool, made, pin.digest)
      }
      for (const { fields, tool } of entry.standing.changed) {
        const failure = failureOf(refusalOf(entry, tool))
        const made = (exposed: string) => withdrawn(exposed, tool, failure, () => Effect.fail(failure))
        add(tool, made, fields.join())
      }
      return { tools, shadowed, put: put.join("\n") }
    }

    // --- Servers ---

    const environment = options.environment ?? process.env
    const clock = yield* Clock.Clock
    const log = Effect.runForkWith(yield* Effect.context<never>())
    const find: FindCredential = options.credential ?? noCredentials

    const openOf = (name: string, config: ServerConfig, calls: Calls) => {
      const memory: Session.Memory = { older: false, sse: config.type === "sse" }
      return (hooks: Parameters<Upstream.Options["open"]>[0]) =>
        Effect.gen(function* () {
          const { secrets, target } = yield* resolve(name, config, environment, find)
          const hide = hiding(secrets)
          const debug = (text: string) => {
            log(Effect.logDebug(`${name}: ${text}`))
          }
          const now = () => clock.currentTimeMillisUnsafe()
          return yield* Session.open({
            sdk: sdk as typeof Sdk,
            name,
            version,
            timeout: startTimeoutOf(config),
            memory,
            maybeSse: target._tag === "Url" && target.kind === undefined,
            hide,
            transport: ({ sse }) =>
              target._tag === "Process"
                ? new ChildProcessTransport({
                    ...target,
                    maxMessageBytes,
                    now,
                    onStderr: (line) => debug(shown(line, hide))
                  })
                : new HttpTransport(sdk as typeof Sdk, {
                    ...target,
                    kind: target.kind ?? (sse ? "sse" : "streamable"),
                    maxMessageBytes,
                    now
                  }),
            hooks: {
              ...hooks,
              onLog: (params) => calls.onLog(params),
              onQuestion: (question, signal) => calls.onQuestion(question, signal),
              onNoise: debug
            }
          })
        })
    }

    for (const [name, config] of Object.entries(options.servers)) {
      if (config.disabled === true) continue
      const calls = new Calls(name)
      let entry: Entry | undefined
      const upstream = yield* Upstream.make({
        name,
        open: openOf(name, config, calls),
        refresh: (session, lists) =>
          entry === undefined || !lists.has("tools") ? Effect.void : look(entry, session),
        startTimeout: startTimeoutOf(config),
        stopWhenIdle:
          config.stopWhenIdle === undefined ? undefined : Duration.fromInputUnsafe(config.stopWhenIdle),
        onState: tell
      })
      entry = {
        name,
        config,
        prefix: prefixOf(name, config),
        upstream,
        calls,
        listing: undefined,
        standing: nothing,
        pins: undefined,
        put: "",
        tools: [],
        shadowed: []
      }
      entries.set(name, entry)
    }

    const entryOf = (server: string): Effect.Effect<Entry, GatewayError> => {
      const entry = entries.get(server)
      if (entry !== undefined) return Effect.succeed(entry)
      const disabled = Object.hasOwn(options.servers, server)
      return Effect.fail(
        new GatewayError({
          reason: disabled ? "disabled" : "unknown_server",
          server,
          known: disabled ? [] : Object.keys(options.servers)
        })
      )
    }

    const statusOf = (entry: Entry): Effect.Effect<Status> =>
      Effect.map(entry.upstream.health, (health) => ({
        ...health,
        name: entry.name,
        target: describe(entry.config),
        tools: entry.tools.filter((name) => !isWithdrawn(entry, name)),
        skipped: [...(entry.listing?.skipped ?? []), ...entry.shadowed],
        drifted: entry.standing.changed,
        unaccepted: entry.standing.unaccepted,
        missing: entry.standing.missing
      }))

    // --- Beginning ---

    const unpinned: Array<Entry> = []
    for (const entry of entries.values()) {
      const pinned = yield* Effect.orElseSucceed(pins.get(entry.name), () => undefined)
      if (pinned === undefined) {
        // Where nothing may be accepted unasked, there is nothing to be had from it either.
        if (options.pins !== "required") unpinned.push(entry)
        continue
      }
      entry.pins = pinned
      entry.standing = { ...nothing, usable: pinned.tools }
    }
    yield* apply
    const begun = yield* Deferred.make<void>()
    yield* Effect.forEach(unpinned, ({ upstream }) => Effect.ignore(upstream.start), {
      concurrency: "unbounded",
      discard: true
    }).pipe(Effect.ensuring(Deferred.succeed(begun, undefined)), Effect.forkScoped)
    if (waitForStart > 0) {
      yield* Effect.timeoutOption(Deferred.await(begun), Duration.millis(waitForStart))
    }

    return {
      status: Effect.forEach(Object.entries(options.servers), ([name, config]) => {
        const entry = entries.get(name)
        return entry === undefined ? Effect.succeed(disabled(name, config)) : statusOf(entry)
      }),
      start: (server) => Effect.flatMap(entryOf(server), ({ upstream }) => upstream.start),
      stop: (server) => Effect.flatMap(entryOf(server), ({ upstream }) => upstream.stop),
      restart: (server) =>
        Effect.flatMap(entryOf(server), ({ upstream }) => Effect.andThen(upstream.stop, upstream.start)),
      accept: Effect.fnUntraced(function* (server: string, tools?: ReadonlyArray<string>) {
        const entry = yield* entryOf(server)
        yield* entry.upstream.start
        // What is accepted is what it says now, and not what it has said before.
        yield* entry.upstream.use((session) => look(entry, session))
        const listing = entry.listing ?? { tools: new Map(), skipped: [] }
        const unknown = tools?.find((tool) => !listing.tools.has(tool))
        if (unknown !== undefined) {
          const known = [...listing.tools.keys()]
          return yield* new GatewayError({ reason: "unknown_tool", server, tool: unknown, known })
        }
        const { offers = [], tools: before } = entry.pins ?? {}
        const accepted = { tools: Drift.accept(before, listing, tools), offers }
        yield* pins.put(server, accepted)
        entry.pins = accepted
        entry.standing = Drift.compare(accepted.tools, listing)
        yield* apply
        tell()
      }),
      changes: Sliding.stream(changes as PubSub.PubSub<void>)
    }
  })
}

const sourceOf = ({ name }: Pick<Entry, "name">): string => `gateway/${name}`

const nameOf = ({ tool }: Implemented): string => tool.name

const isWithdrawn = ({ prefix, standing }: Entry, exposed: string): boolean =>
  standing.changed.some(({ tool }) => prefix + tool === exposed)

/** Why a tool is not run that was accepted once, and what to do. */
const refusalOf = ({ name, standing }: Entry, tool: string): UpstreamError => {
  const changed = standing.changed.find((each) => each.tool === tool)
  return new UpstreamError({
    reason: "refused",
    server: name,
    detail:
      changed === undefined
        ? `the server has no tool "${tool}" any more`
        : `the definition of "${tool}" has changed since it was accepted (${changed.fields.join(", ")}); somebody must look at it and accept it: interlock gateway accept ${name} ${tool}`
  })
}

const noCredentials: FindCredential = (name) =>
  Effect.fail({ message: `there is no credential "${shown(name)}"` })

/** Takes these values out of a text; the shortest of them could be anything. */
const hiding =
  (secrets: ReadonlyArray<string>) =>
  (text: string): string =>
    secrets.reduce((hidden, secret) => (secret.length < 6 ? hidden : hidden.replaceAll(secret, "***")), text)

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
