/**
 * What is kept of other servers' tools: each one's definition as it was accepted.
 * A tool whose definition is another one now is not offered until somebody
 * accepts it: see `gateway/drift.ts`.
 *
 * In a file the pins are made to be read and compared by people, and kept under
 * version control: sorted, one field a line. It is written as a whole or not at
 * all. Of two processes that write at once the later one wins, server by server.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { FileSystem } from "effect/FileSystem"
import * as Layer from "effect/Layer"
import { Path } from "effect/Path"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import { digest } from "../internal/digest.ts"
import { Definition } from "./gateway/definitions.ts"

// --- Models ----------------------------------------------------------------

/** A tool's definition as it was accepted. */
export interface Pin {
  readonly definition: Definition
  /** Of the definition: SHA-256 of its canonical JSON, in hexadecimal. */
  readonly digest: string
}

/** What is kept of a server. */
export interface ServerPins {
  /** By the names that the server gives its tools. */
  readonly tools: ReadonlyMap<string, Pin>
  /** What else it had when it was last looked at: a reason to start it for somebody who asks for that. */
  readonly offers: ReadonlyArray<Offer>
}

export const Offer = Schema.Literals(["prompts", "resources"])
export type Offer = typeof Offer.Type

// --- Errors ----------------------------------------------------------------

/** The pins cannot be read or written; nothing is then taken for accepted. */
export class PinsError extends Schema.TaggedError<PinsError>("interlock/mcp/PinsError")("PinsError", {
  reason: Schema.Literals(["unreadable", "invalid", "unwritable"]),
  file: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `The pins in ${this.file} ${words[this.reason]}: ${this.detail}`
  }
}

const words = {
  unreadable: "cannot be read",
  invalid: "are not valid",
  unwritable: "cannot be written"
} as const

// --- Service ---------------------------------------------------------------

/** Keeps the accepted definitions, by server. */
export class Pins extends Context.Service<
  Pins,
  {
    /** `undefined` for a server of which nothing was ever accepted. */
    readonly get: (server: string) => Effect.Effect<ServerPins | undefined, PinsError>
    /** Puts a server's pins in the place of those it had. */
    readonly put: (server: string, pins: ServerPins) => Effect.Effect<void, PinsError>
  }
>()("interlock/mcp/Pins") {}

// --- Memory ----------------------------------------------------------------

/** Pins that are gone with the process, so every start is a first use. */
export const layerMemory: Layer.Layer<Pins> = Layer.sync(Pins, () => {
  const servers = new Map<string, ServerPins>()
  return {
    get: (server) => Effect.sync(() => servers.get(server)),
    put: (server, pins) => Effect.sync(() => void servers.set(server, pins))
  }
})

// --- File ------------------------------------------------------------------

/**
 * Pins in a file, such as `interlock.lock.json`; one that is not there has none. What it holds is checked when it is
 * read: an entry whose digest is not that of its definition is an error, so that no half of it is changed unnoticed.
 */
export const layerFile = (file: string): Layer.Layer<Pins, never, FileSystem | Path> =>
  Layer.effect(
    Pins,
    Effect.gen(function* () {
      const fs = yield* FileSystem
      const path = yield* Path
      const oneAtATime = yield* Semaphore.make(1)
      const fail = (reason: PinsError["reason"], detail: string) =>
        Effect.fail(new PinsError({ reason, file, detail }))
      const load = Effect.gen(function* () {
        const text = yield* fs
          .readFileString(file)
          .pipe(
            Effect.catch((error) =>
              error.reason._tag === "NotFound"
                ? Effect.succeed(undefined)
                : fail("unreadable", error.reason._tag)
            )
          )
        if (text === undefined) return new Map<string, ServerPins>()
        const parsed = parse(text)
        return typeof parsed === "string" ? yield* fail("invalid", parsed) : parsed
      })
      return {
        get: (server) => Effect.map(load, (servers) => servers.get(server)),
        put: (server, pins) =>
          Effect.gen(function* () {
            // Others write it too: what they have put in meanwhile stays.
            const servers = yield* load
            const temporary = `${file}.tmp`
            yield* fs.makeDirectory(path.dirname(file), { recursive: true }).pipe(
              Effect.andThen(fs.writeFileString(temporary, print(new Map(servers).set(server, pins)))),
              Effect.andThen(fs.rename(temporary, file)),
              Effect.catch((error) => fail("unwritable", error.reason._tag))
            )
          }).pipe(oneAtATime.withPermits(1))
      }
    })
  )

const version = 1

/** The file's text. */
export const print = (servers: ReadonlyMap<string, ServerPins>): string => {
  const sorted = <A>(map: ReadonlyMap<string, A>, show: (value: A) => unknown): unknown =>
    // Server and tool names are foreign: an object that inherits nothing takes any of them.
    Object.assign(
      Object.create(null),
      Object.fromEntries(
        [...map].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => [key, show(value)])
      )
    )
  const shown = {
    version,
    servers: sorted(servers, ({ offers, tools }) => ({
      ...(offers.length === 0 ? {} : { offers: [...offers].sort() }),
      tools: sorted(tools, inOrder)
    }))
  }
  return `${JSON.stringify(shown, null, 2)}\n`
}

/** The digest first, then the definition with its fields in one order. */
const inOrder = ({ definition, digest }: Pin) => ({ digest, definition: sortedJson(definition) })

const sortedJson = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sortedJson)
  if (value === null || typeof value !== "object") return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, sortedJson(item)])
  )
}

const decodePin = Schema.decodeUnknownOption(Schema.Struct({ digest: Schema.String, definition: Definition }))

const decodeOffers = Schema.decodeUnknownOption(Schema.Array(Offer))

/** What the text holds, or what is wrong with it. */
export const parse = (text: string): ReadonlyMap<string, ServerPins> | string => {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return "it is no JSON"
  }
  if (!isRecord(json) || json["version"] !== version || !isRecord(json["servers"])) {
    return `it must be an object with "version": ${version} and "servers"`
  }
  const servers = new Map<string, ServerPins>()
  for (const [server, entry] of Object.entries(json["servers"])) {
    if (!isRecord(entry) || !isRecord(entry["tools"])) return `"${server}" must have "tools"`
    const offers = decodeOffers(entry["offers"] ?? [])
    if (offers._tag === "None") return `"offers" of "${server}" must be a list of what it may have`
    const tools = new Map<string, Pin>()
    for (const [tool, pinned] of Object.entries(entry["tools"])) {
      const pin = decodePin(pinned)
      if (pin._tag === "None" || pin.value.definition.name !== tool) {
        return `"${tool}" of "${server}" must have a digest and its definition`
      }
      if (digest(pin.value.definition) !== pin.value.digest) {
        return `the digest of "${tool}" of "${server}" is not that of its definition`
      }
      tools.set(tool, pin.value)
    }
    servers.set(server, { tools, offers: offers.value })
  }
  return servers
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === "object" && !Array.isArray(value)
