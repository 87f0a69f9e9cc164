/**
 * Slack, by its official client (`@slack/web-api`, an optional peer): post a
 * message, and read channels and threads.
 *
 *     Slack.layer({ credential: "slack", allowedChannels: ["C0123456789"] })
 *
 * The operator says which channels may be used. What is posted is text: mentions
 * notify nobody and links are shown as they are written, unless `mentions` says
 * otherwise; and Slack fetches no address that stands in it, unless `unfurl` does,
 * because fetching tells whoever owns the address what it holds.
 *
 * The client does not retry: the pipeline does, and comes back when Slack says so.
 * Slack cannot tell a message that is posted twice, so a post whose outcome is
 * unknown is not repeated, not even with an idempotency key.
 */
import type {
  ConversationsHistoryResponse,
  ConversationsListResponse,
  ConversationsRepliesResponse,
  WebClient
} from "@slack/web-api"
import type * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Handlers from "../Handlers.ts"
import type { PackageMissing } from "../internal/optionalPackage.ts"
import { millis } from "../internal/options.ts"
import { Period } from "../internal/period.ts"
import { Credentials } from "./Credentials.ts"
import { credentialFor, mayBeSent, type Server } from "./credentialFor.ts"
import * as Client from "./slack/client.ts"
import * as SlackError from "./slack/SlackError.ts"
import * as Text from "./slack/text.ts"
import * as Tools from "./slack/tools.ts"

export { PackageMissing } from "../internal/optionalPackage.ts"
export { SlackError } from "./slack/SlackError.ts"

// --- Options ---------------------------------------------------------------

const optional = Schema.optionalKey

export const Options = Schema.Struct({
  /** The name of a `bearer` credential that may be sent to Slack. */
  credential: optional(Schema.NonEmptyString),
  /** The same without a name, for code: data that holds a token is refused. */
  token: optional(Schema.Redacted(Schema.NonEmptyString)),
  /** Ids of what may be used; `*` is every channel, and neither people nor direct messages, which must be named. */
  allowedChannels: Schema.Array(Schema.NonEmptyString),
  /** Whose mentions notify them: nobody's (`none`, the default), those of people (`users`), or also of groups and everyone (`all`). */
  mentions: optional(Schema.Literals(["none", "users", "all"])),
  /** Lets Slack fetch what messages link to, and show it; default false. */
  unfurl: optional(Schema.Boolean),
  /** Lists private channels too, for which the app needs `groups:read`; default false. */
  privateChannels: optional(Schema.Boolean),
  /** `https://slack.com/api/` */
  apiUrl: optional(Schema.NonEmptyString),
  /** How long one request may take; 20 seconds. */
  timeout: optional(Period)
})
export type Options = typeof Options.Type

/** `slack_post_message`, `slack_list_channels`, `slack_read_channel`, `slack_read_thread`. */
export const toolkit = Tools.toolkit

// --- make ------------------------------------------------------------------

/** The four tools. Building it fails where the client is not installed; throws where an option makes no sense. */
export const layer = (
  options: Options
): Layer.Layer<Tool.HandlersFor<typeof toolkit.tools>, PackageMissing, Credentials> => {
  const { mentions = "none", privateChannels = false, unfurl = false } = options
  const { connection, server } = connectionOf(options)
  const allows = channelsOf(options.allowedChannels)
  return Handlers.toLayer(
    toolkit,
    Effect.gen(function* () {
      const sdk = yield* Client.load
      const credentials = yield* Credentials

      const request = Effect.fnUntraced(function* <A>(use: (client: WebClient) => Promise<A>) {
        const token = yield* tokenOf(options, credentials, server)
        return yield* Client.request(sdk, connection, token, use)
      })
      const allowed = (channel: string): Effect.Effect<void, SlackError.SlackError> =>
        allows(channel) ? Effect.void : Effect.fail(SlackError.make("channel_not_allowed"))

      // Attempts of one call are given the same parameters.
      const unknown = new WeakSet<object>()
      const once = <A>(params: object, post: Effect.Effect<A, SlackError.SlackError>) =>
        Effect.suspend(() =>
          unknown.has(params)
            ? Effect.fail(SlackError.make("outcome_unknown"))
            : Effect.onExit(post, (exit) =>
                Effect.sync(() => {
                  if (Exit.isFailure(exit) && isUnknown(exit.cause)) unknown.add(params)
                })
              )
        )

      return {
        slack_post_message: (params) => {
          const { channel, thread_ts } = params
          const text = Text.escape(params.text, mentions)
          const post = request((client) =>
            client.chat.postMessage({
              channel,
              text,
              parse: "none",
              link_names: false,
              unfurl_links: unfurl,
              unfurl_media: unfurl,
              ...(thread_ts === undefined ? {} : { thread_ts })
            })
          )
          return Effect.andThen(
            text.length > Text.maxLength ? Effect.fail(SlackError.make("too_long")) : allowed(channel),
            once(
              params,
              Effect.map(post, (answer) => ({ channel: answer.channel ?? channel, ts: answer.ts ?? "" }))
            )
          )
        },
        slack_list_channels: (params) =>
          request((client) =>
            client.conversations.list({
              exclude_archived: true,
              types: privateChannels ? "public_channel,private_channel" : "public_channel",
              ...pageOf(params)
            })
          ).pipe(Effect.map((answer) => channelsIn(answer, allows))),
        slack_read_channel: (params) =>
          allowed(params.channel).pipe(
            Effect.andThen(
              request((client) =>
                client.conversations.history({ channel: params.channel, ...pageOf(params) })
              )
            ),
            Effect.map(messagesIn)
          ),
        slack_read_thread: (params) =>
          allowed(params.channel).pipe(
            Effect.andThen(
              request((client) =>
                client.conversations.replies({
                  channel: params.channel,
                  ts: params.thread_ts,
                  ...pageOf(params)
                })
              )
            ),
            Effect.map(messagesIn)
          )
      }
    })
  )
}

/** Whether nobody knows what an attempt did: it was interrupted, or its answer was lost. */
const isUnknown = (cause: Cause.Cause<SlackError.SlackError>): boolean =>
  Cause.hasInterrupts(cause) ||
  cause.reasons.some((reason) => reason._tag === "Fail" && reason.error.reason === "outcome_unknown")

// --- Options, read ---------------------------------------------------------

const connectionOf = (options: Options) => {
  const { apiUrl = "https://slack.com/api/", credential, timeout = "20 seconds", token } = options
  const url = URL.parse(apiUrl)
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "" || url.search !== "") {
    throw new RangeError("Slack: apiUrl must be an https URL without user, password and query")
  }
  const server = { host: url.hostname.replace(/^\[|\]$/g, ""), encrypted: url.protocol === "https:" }
  if ((token === undefined) === (credential === undefined)) {
    throw new RangeError("Slack: one of credential and token must be given, and only one")
  }
  if (token !== undefined && !mayBeSent(server)) {
    throw new RangeError("Slack: apiUrl must begin with https, or the token would be sent in clear text")
  }
  return { connection: { apiUrl: url.href, timeout: millis("Slack: timeout", timeout) }, server }
}

const channelsOf = (patterns: ReadonlyArray<string>): ((channel: string) => boolean) => {
  for (const pattern of patterns) {
    if (pattern !== "*" && !Tools.isId.test(pattern)) {
      throw new RangeError('Slack: allowedChannels must be ids such as "C0123456789", or "*"')
    }
  }
  const named = new Set(patterns)
  return (channel) => named.has(channel) || (named.has("*") && /^[CG]/.test(channel))
}

/** The token: looked up for each request, so that it may change. */
const tokenOf = (
  { credential, token }: Options,
  credentials: Credentials["Service"],
  server: Server
): Effect.Effect<Redacted.Redacted<string>, SlackError.SlackError> =>
  token !== undefined
    ? Effect.succeed(token)
    : Effect.mapBoth(credentialFor(credentials, credential ?? "", "bearer", server), {
        onFailure: (says) => SlackError.make("credential", { says }),
        onSuccess: (found) => found.token
      })

// --- Pages -----------------------------------------------------------------

const pageOf = ({ cursor, limit = 50 }: { readonly cursor?: string; readonly limit?: number }) => ({
  limit,
  ...(cursor === undefined ? {} : { cursor })
})

const nextOf = ({ response_metadata }: ConversationsListResponse | ConversationsHistoryResponse) =>
  response_metadata?.next_cursor ? { next_cursor: response_metadata.next_cursor } : {}

const channelsIn = (answer: ConversationsListResponse, allows: (channel: string) => boolean) => ({
  channels: (answer.channels ?? []).flatMap(({ id, is_member, is_private, name, topic }) =>
    id === undefined || !allows(id)
      ? []
      : [
          {
            id,
            name: name ?? "",
            is_member: is_member === true,
            is_private: is_private === true,
            ...(topic?.value ? { topic: topic.value } : {})
          }
        ]
  ),
  ...nextOf(answer)
})

const messagesIn = (answer: ConversationsHistoryResponse | ConversationsRepliesResponse) => ({
  messages: (answer.messages ?? []).map(({ bot_id, reply_count, text = "", thread_ts, ts = "", user }) => ({
    ts,
    text,
    ...(user === undefined ? {} : { user }),
    ...(bot_id === undefined ? {} : { bot_id }),
    ...(thread_ts === undefined ? {} : { thread_ts }),
    ...(reply_count === undefined ? {} : { reply_count })
  })),
  ...nextOf(answer)
})
