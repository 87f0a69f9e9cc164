/**
 * Who a call of another server's tool is made for, and what of that server's
 * doings may reach them: how far it is, what it logs, and what it asks.
 */
import type { McpInputRequest } from "effect/ai/McpSchema"
import * as McpSchema from "effect/ai/McpSchema"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { plain } from "../../internal/plainText.ts"
import { CurrentClient, type Level } from "../server/client.ts"
import type { Progress, Question } from "./session.ts"

type Json = Readonly<Record<string, unknown>>

/** The client of a call. */
export interface Caller {
  /** What of it may be asked, as it says itself. */
  readonly capabilities: Json
  /** It is asked by the result of its call, and answers by calling again (since 2026-07-28). */
  readonly asksByResult: boolean
  /** What it answers with now to what a call of before has asked. */
  readonly inputResponses: Json | undefined
  readonly requestState: string | undefined
  /** Asks it over its session; `undefined` where it cannot be asked that. */
  readonly ask: (question: Question) => Effect.Effect<unknown> | undefined
  readonly progress: (progress: Progress) => void
  readonly log: (level: Level, data: unknown, logger: string) => void
  /** When all of that is on its way: a result must not be faster than what came before it. */
  readonly told: Effect.Effect<void>
}

/** What a client has not been told yet; what comes beyond that is left out. */
const maxUntold = 256

/** Who calls; `undefined` where that is no client of this protocol. */
export const caller: Effect.Effect<Caller | undefined> = Effect.gen(function* () {
  const context = yield* Effect.context<never>()
  const client = yield* CurrentClient
  const request = Option.getOrUndefined(yield* Effect.serviceOption(McpSchema.McpRequestContext))
  if (client === undefined || request === undefined) return undefined
  const session = Option.getOrUndefined(yield* Effect.serviceOption(McpSchema.McpServerClient))
  const { clientCapabilities, inputResponses, protocolVersion, requestState } = request
  const run = Effect.runForkWith(context)
  let untold = 0
  let last: Fiber.Fiber<void> | undefined
  /** One after the other, as they came. */
  const tell = (telling: Effect.Effect<void>): void => {
    if (untold >= maxUntold) return
    untold++
    const before = last === undefined ? Effect.void : Fiber.await(last)
    last = run(
      Effect.ensuring(
        Effect.andThen(before, telling),
        Effect.sync(() => untold--)
      )
    )
  }
  return {
    capabilities: askable(clientCapabilities as Json),
    asksByResult: session === undefined && protocolVersion >= "2026-07-28",
    inputResponses,
    requestState,
    ask: (question) =>
      session === undefined || !canBeAsked(clientCapabilities as Json, question)
        ? undefined
        : Effect.scoped(Effect.flatMap(session.getClient, (client) => put(client, question))),
    progress: (progress) => tell(client.progress(progress)),
    log: (level, data, logger) => tell(client.log(level, data, logger)),
    told: Effect.suspend(() => (last === undefined ? Effect.void : Effect.asVoid(Fiber.await(last))))
  }
})

/** What a server may be told that its client can do: to show forms and links, to sample, to name its roots. */
const askable = ({ elicitation, roots, sampling }: Json): Json => ({
  ...(elicitation === undefined ? {} : { elicitation }),
  ...(roots === undefined ? {} : { roots }),
  ...(sampling === undefined ? {} : { sampling })
})

const canBeAsked = ({ elicitation, sampling }: Json, { method, params }: Question): boolean => {
  if (method === "sampling/createMessage") return sampling !== undefined
  const modes = elicitation as { readonly form?: unknown; readonly url?: unknown } | undefined
  const isForm = (params as { readonly mode?: unknown } | undefined)?.mode !== "url"
  return modes !== undefined && isForm && (modes.form !== undefined || modes.url === undefined)
}

// --- Questions -------------------------------------------------------------

const decodeForm = Schema.decodeUnknownEffect(McpSchema.ElicitRequestFormParams)
const encodeElicited = Schema.encodeUnknownEffect(McpSchema.ElicitResult)
const decodeSampling = Schema.decodeUnknownEffect(McpSchema.CreateMessage.payloadSchema)
const encodeSampled = Schema.encodeUnknownEffect(McpSchema.CreateMessageResult)

/** Puts a question to a client; whatever goes wrong is no answer, `undefined`. */
const put = (client: McpSchema.McpReverseClient, { method, params }: Question): Effect.Effect<unknown> => {
  const form = Effect.flatMap(decodeForm(params), (form) =>
    Effect.flatMap(client.elicit(form), (said) => encodeElicited(said))
  )
  const sample = Effect.flatMap(decodeSampling(params), (request) =>
    Effect.flatMap(client.createMessage(request), (said) => encodeSampled(said))
  )
  return Effect.orElseSucceed<unknown, unknown, never, undefined>(
    method === "elicitation/create" ? form : sample,
    () => undefined
  )
}

/**
 * A question as it is handed on: whoever reads it is told who asks, because it looks like one of the gateway's own
 * otherwise, and nothing in it is hidden.
 */
export const labelled = (server: string, { method, params }: Question): Question => {
  if (method !== "elicitation/create" || params === null || typeof params !== "object")
    return { method, params }
  const { message } = params as { readonly message?: unknown }
  const asked = typeof message === "string" ? message.split("\n").map(plain).join("\n") : ""
  return { method, params: { ...params, message: `The server "${server}" asks: ${asked}` } }
}

/** What a server that asks by its result asks, as it is handed on. */
export const labelledAll = (
  server: string,
  requests: Readonly<Record<string, unknown>>
): Readonly<Record<string, McpInputRequest>> =>
  Object.fromEntries(
    Object.entries(requests).map(([name, request]) => [
      name,
      { ...(request as object), ...labelled(server, request as Question) } as McpInputRequest
    ])
  )
