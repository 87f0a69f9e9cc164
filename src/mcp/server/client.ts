/**
 * What a handler may tell the client that called while it runs: how far it is,
 * and what happens. Wherever it runs for nobody that listens (another door, a
 * client that did not ask) it tells nobody.
 */
import type { LoggingLevel, McpRequestContext } from "effect/ai/McpSchema"
import type { McpServer } from "effect/ai/McpServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

export interface Progress {
  /** Grows with every report; one that does not is left out. */
  readonly progress: number
  readonly total?: number | undefined
  readonly message?: string | undefined
}

export type Level = typeof LoggingLevel.Type

/** The client on whose request a handler runs. */
export interface Client {
  readonly progress: (progress: Progress) => Effect.Effect<void>
  /** The same, one step further than before. */
  readonly step: (message: string | undefined) => Effect.Effect<void>
  readonly log: (level: Level, data: unknown, logger?: string) => Effect.Effect<void>
}

export const CurrentClient: Context.Reference<Client | undefined> = Context.Reference<Client | undefined>(
  "interlock/mcp/CurrentClient",
  { defaultValue: () => undefined }
)

/** Tells the client how far the call is, if it has asked to be told. */
export const progress = (progress: Progress): Effect.Effect<void> =>
  Effect.flatMap(CurrentClient, (client) => (client === undefined ? Effect.void : client.progress(progress)))

/** Sends the client a log message, if it listens to that level. Whatever is in `data` leaves. */
export const log = (level: Level, data: unknown, logger?: string): Effect.Effect<void> =>
  Effect.flatMap(CurrentClient, (client) =>
    client === undefined ? Effect.void : client.log(level, data, logger)
  )

/** A client for as long as its request is being answered: whatever a handler has left running tells it nothing later. */
export interface RequestClient extends Client {
  readonly end: Effect.Effect<void>
}

/** The client of one request. Effect keeps what a client does not listen to. */
export const clientOf = (
  notifications: McpServer["Service"]["notifications"],
  { requestMetadata }: McpRequestContext["Service"]
): RequestClient => {
  const token = requestMetadata?.["progressToken" as keyof typeof requestMetadata] as unknown
  let last = Number.NEGATIVE_INFINITY
  let ended = false
  const tell = (progress: Progress): Effect.Effect<void> => {
    if (typeof token !== "string" && typeof token !== "number") return Effect.void
    if (ended || !(progress.progress > last)) return Effect.void
    last = progress.progress
    return Effect.ignore(notifications["notifications/progress"]({ ...progress, progressToken: token }))
  }
  return {
    progress: (progress) => Effect.suspend(() => tell(progress)),
    step: (message) => Effect.suspend(() => tell({ progress: Math.max(last, 0) + 1, message })),
    log: (level, data, logger) =>
      Effect.suspend(() =>
        ended ? Effect.void : Effect.ignore(notifications["notifications/message"]({ level, data, logger }))
      ),
    end: Effect.sync(() => {
      ended = true
    })
  }
}
