/** What the gateway knows of one server, and what follows from it: which of its tools are offered, and how they run. */
import * as Effect from "effect/Effect"
import type { Implemented } from "../../Toolset.ts"
import type { Offer, Pin, Pins, PinsError, ServerPins } from "../Pins.ts"
import type { Lists, Upstream } from "../Upstream.ts"
import { caller } from "./caller.ts"
import type { Calls } from "./calls.ts"
import { isWanted, prefixOf, type ServerConfig } from "./config.ts"
import { empty, type Listing, read as readListing, type Skipped } from "./definitions.ts"
import * as Drift from "./drift.ts"
import { failureOf, UpstreamError } from "./errors.ts"
import * as Offers from "./offers.ts"
import { reader } from "./results.ts"
import type { Session } from "./session.ts"
import { offered, withdrawn } from "./tools.ts"

/** One server. */
export interface Entry {
  readonly name: string
  readonly config: ServerConfig
  readonly prefix: string
  readonly calls: Calls
  readonly upstream: Upstream
  /** What it said last. */
  listing: Listing
  offers: Offers.Offers
  /** What is accepted of it; `undefined` where nothing ever was. */
  pins: ServerPins | undefined
  standing: Drift.Standing
  /** What of it is in the registry: the tools' names, and a text that tells one state from another. */
  tools: ReadonlyArray<string>
  state: string
  /** Its tools whose names another server has. */
  shadowed: ReadonlyArray<Skipped>
}

const nothing: Drift.Standing = { usable: new Map(), changed: [], unaccepted: [], missing: [] }

/** A server of which nothing is known but its pins: they are offered until it says otherwise. */
export const make = (
  name: string,
  config: ServerConfig,
  calls: Calls,
  upstream: Upstream,
  pins: ServerPins | undefined
): Entry => ({
  name,
  config,
  prefix: prefixOf(name, config),
  calls,
  upstream,
  listing: empty,
  offers: Offers.none,
  pins,
  standing: pins === undefined ? nothing : { ...nothing, usable: pins.tools },
  tools: [],
  state: "",
  shadowed: []
})

// --- Looking ---------------------------------------------------------------

/** Looks at a server's tools, and compares what it says of them with what was accepted. */
export const look = Effect.fnUntraced(function* (
  entry: Entry,
  session: Session,
  pins: Pins["Service"],
  /** Whether what is seen for the first time is accepted. */
  trusting: boolean
): Effect.fn.Return<void, UpstreamError> {
  const { items, whole } = session.offers.tools ? yield* session.list("tools") : { items: [], whole: true }
  const read = readListing(items, entry.listing)
  entry.listing = whole
    ? read
    : { ...read, skipped: [...read.skipped, { tool: "others", why: "its list has no end" }] }
  const before = yield* Effect.mapError(pins.get(entry.name), unreadable(entry))
  const offers: ReadonlyArray<Offer> = (["prompts", "resources"] as const).filter(
    (what) => session.offers[what]
  )
  const tools = before?.tools ?? (trusting ? Drift.firstUse(entry.listing) : new Map<string, Pin>())
  const isNew = before === undefined ? trusting : before.offers.join() !== offers.join()
  if (isNew) yield* Effect.mapError(pins.put(entry.name, { tools, offers }), unreadable(entry))
  entry.pins = before === undefined && !trusting ? undefined : { tools, offers }
  entry.standing = Drift.compare(tools, entry.listing)
})

/** What an operator should know since it was another: tools that are refused, and tools that wait. */
export const newsOf = ({ name, standing }: Entry, before: Drift.Standing): string | undefined => {
  const known = new Set([...before.changed, ...before.unaccepted].map(({ tool }) => tool))
  const fresh = (tools: ReadonlyArray<{ readonly tool: string }>): string =>
    tools
      .filter(({ tool }) => !known.has(tool))
      .map(({ tool }) => tool)
      .join(", ")
  const changed = fresh(standing.changed)
  const unaccepted = fresh(standing.unaccepted)
  const news = [
    ...(changed === "" ? [] : [`refused, because their definitions have changed: ${changed}`]),
    ...(unaccepted === "" ? [] : [`not offered, because nobody has accepted them: ${unaccepted}`])
  ]
  return news.length === 0
    ? undefined
    : `Tools of "${name}" ${news.join("; ")}. See: interlock gateway accept ${name}`
}

const unreadable =
  ({ name }: Entry) =>
  (error: PinsError) =>
    new UpstreamError({ reason: "configuration", server: name, detail: error.message })

/** Looks at what a server has beside tools. That it cannot say so is no reason not to call its tools. */
export const lookAtOffers = Effect.fnUntraced(function* (
  entry: Entry,
  session: Session,
  lists: ReadonlySet<Lists>
): Effect.fn.Return<void> {
  const items = (of: "prompts" | "resources", list: "prompts" | "resources" | "resourceTemplates") =>
    session.offers[of]
      ? Effect.match(session.list(list), { onFailure: () => [], onSuccess: ({ items }) => items })
      : Effect.succeed([])
  if (lists.has("prompts")) {
    const { entries, skipped } = Offers.readPrompts(yield* items("prompts", "prompts"))
    entry.offers = { ...entry.offers, prompts: entries, skipped: [...without("prompt", entry), ...skipped] }
  }
  if (lists.has("resources")) {
    const resources = Offers.readResources(yield* items("resources", "resources"))
    const templates = Offers.readTemplates(yield* items("resources", "resourceTemplates"))
    entry.offers = {
      ...entry.offers,
      resources: resources.entries,
      templates: templates.entries,
      skipped: [...without("resource", entry), ...resources.skipped, ...templates.skipped]
    }
  }
  entry.offers = { ...entry.offers, completes: session.offers.completions }
})

const without = (kind: string, { offers }: Entry): ReadonlyArray<Skipped> =>
  offers.skipped.filter(({ tool }) => !tool.startsWith(kind))

/** Accepts what the server said last of these tools, or of all. */
export const accept = Effect.fnUntraced(function* (
  entry: Entry,
  pins: Pins["Service"],
  tools: ReadonlyArray<string> | undefined
): Effect.fn.Return<void, PinsError> {
  const accepted = {
    tools: Drift.accept(entry.pins?.tools, entry.listing, tools),
    offers: entry.pins?.offers ?? []
  }
  yield* pins.put(entry.name, accepted)
  entry.pins = accepted
  entry.standing = Drift.compare(accepted.tools, entry.listing)
})

// --- Offering --------------------------------------------------------------

/** Of a name in MCP. */
const longest = 128

export interface Offered {
  readonly tools: ReadonlyArray<Implemented>
  readonly shadowed: ReadonlyArray<Skipped>
  readonly state: string
}

/** What of a server's tools can be offered beside those names that others have; adds its own to them. */
export const toolsOf = (entry: Entry, taken: Set<string>): Offered => {
  const tools: Array<Implemented> = []
  const shadowed: Array<Skipped> = []
  const state: Array<string> = []
  const add = (tool: string, how: string, make: (exposed: string) => Implemented): void => {
    const exposed = entry.prefix + tool
    if (!isWanted(entry.config, [exposed, tool])) return
    if (taken.has(exposed)) {
      shadowed.push({ tool, why: `another one is named ${exposed}: give one of the servers a prefix` })
      return
    }
    if (exposed.length > longest) {
      shadowed.push({
        tool,
        why: `${exposed} is longer than ${longest} characters: give the server a shorter prefix`
      })
      return
    }
    taken.add(exposed)
    tools.push(make(exposed))
    state.push(`${exposed} ${how}`)
  }
  for (const [tool, pin] of entry.standing.usable) {
    add(tool, pin.digest, (exposed) => offered(exposed, pin.definition, entry.config, handlerOf(entry, pin)))
  }
  for (const { fields, tool } of entry.standing.changed) {
    const failure = failureOf(refusalOf(entry, tool))
    add(tool, fields.join(), (exposed) => withdrawn(exposed, tool, failure, () => Effect.fail(failure)))
  }
  return { tools, shadowed, state: state.join("\n") }
}

const handlerOf = (entry: Entry, pin: Pin) => {
  const { name } = pin.definition
  const read = reader(pin.definition)
  return (params: unknown) =>
    Effect.gen(function* () {
      const who = yield* caller
      const { isError, result } = yield* entry.upstream
        .use((session) =>
          // It may have turned out only now, when the server was started for this call.
          entry.standing.usable.get(name)?.digest === pin.digest
            ? entry.calls.call(session, pin.definition, read, params, who)
            : Effect.fail(refusalOf(entry, name))
        )
        .pipe(Effect.mapError(failureOf))
      return isError ? yield* Effect.fail(result) : result
    })
}

/** Why a tool is not run that was accepted once, and what to do. */
const refusalOf = ({ name, standing }: Entry, tool: string): UpstreamError => {
  const changed = standing.changed.find((each) => each.tool === tool)
  const detail =
    changed === undefined
      ? `the server has no tool "${tool}" any more`
      : `the definition of "${tool}" has changed since it was accepted (${changed.fields.join(", ")}); somebody must look at it and accept it: interlock gateway accept ${name} ${tool}`
  return new UpstreamError({ reason: "refused", server: name, detail })
}

/** Whether a tool of the registry only stands there to say that it is refused. */
export const isWithdrawn = ({ prefix, standing }: Entry, exposed: string): boolean =>
  standing.changed.some(({ tool }) => prefix + tool === exposed)
