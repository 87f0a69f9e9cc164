/** What the tools for Slack take and give, and what they say of themselves. */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Schema from "effect/Schema"
import * as ToolAnnotations from "../../ToolAnnotations.ts"
import * as SlackError from "./SlackError.ts"
import * as Text from "./text.ts"

const optional = Schema.optionalKey

/** The id of a channel (C…), a private one (G…), a direct message (D…) or a person to write to (U…, W…). */
export const isId = /^[CGDUW][A-Z0-9]{2,20}$/

const text = (description: string) => Schema.String.annotate({ description })

const Channel = text("The channel's id, such as C0123456789.").check(
  Schema.isPattern(isId, { message: 'it must be the id of a channel, such as "C0123456789"' })
)

const thread = (description: string) =>
  text(description).check(
    Schema.isPattern(/^\d{1,12}\.\d{1,6}$/, {
      message: 'it must be the ts of a message, such as "1700000000.123456"'
    })
  )

const page = {
  cursor: optional(text("The next_cursor of the page before.").check(Schema.isBetweenLength(1, 1000))),
  limit: optional(
    Schema.Int.annotate({ description: "How many at the most; 50 by default." }).check(
      Schema.isBetween({ minimum: 1, maximum: 200 })
    )
  )
}

const Message = Schema.Struct({
  ts: Schema.String,
  /** As Slack writes it: mentions as `<@U…>`, links as `<…>`. */
  text: Schema.String,
  user: optional(Schema.String),
  bot_id: optional(Schema.String),
  thread_ts: optional(Schema.String),
  reply_count: optional(Schema.Finite)
})

const Messages = Schema.Struct({
  messages: Schema.Array(Message),
  next_cursor: optional(Schema.String)
})

const failing = { failure: SlackError.SlackError, failureMode: "return" } as const

const slack_post_message = Tool.make("slack_post_message", {
  description:
    "Posts a message to a Slack channel, or as a reply to a thread. *bold*, _italic_ and `code` are shown as such.",
  parameters: Schema.Struct({
    channel: Channel,
    text: text("The message.").check(Schema.isBetweenLength(1, Text.maxLength)),
    thread_ts: optional(thread("The ts of the message that is answered."))
  }),
  success: Schema.Struct({ channel: Schema.String, ts: Schema.String }),
  ...failing
})
  .annotate(Tool.Destructive, true)
  .annotate(Tool.Idempotent, false)
  .annotate(Tool.OpenWorld, true)
  .annotate(ToolAnnotations.Capabilities, ["network_access", "external_api"])
  .annotate(ToolAnnotations.SendsData, true)
  .annotate(ToolAnnotations.Classify, SlackError.classify)

/** What is read was written by others; nothing is sent but ids. */
const reading = <T extends Tool.Any>(tool: T): T =>
  tool
    .annotate(Tool.Readonly, true)
    .annotate(Tool.OpenWorld, true)
    .annotate(ToolAnnotations.Capabilities, ["network_access", "external_api", "read_data"])
    .annotate(ToolAnnotations.SendsData, false)
    .annotate(ToolAnnotations.Trust, "untrusted")
    .annotate(ToolAnnotations.Classify, SlackError.classify) as T

const slack_list_channels = reading(
  Tool.make("slack_list_channels", {
    description:
      "Lists Slack channels that may be used, with their ids. A page may be empty and have a next one.",
    parameters: Schema.Struct(page),
    success: Schema.Struct({
      channels: Schema.Array(
        Schema.Struct({
          id: Schema.String,
          name: Schema.String,
          is_member: Schema.Boolean,
          is_private: Schema.Boolean,
          topic: optional(Schema.String)
        })
      ),
      next_cursor: optional(Schema.String)
    }),
    ...failing
  })
)

const slack_read_channel = reading(
  Tool.make("slack_read_channel", {
    description:
      "Reads the latest messages of a Slack channel, the newest first; threads only by their first message.",
    parameters: Schema.Struct({ channel: Channel, ...page }),
    success: Messages,
    ...failing
  })
)

const slack_read_thread = reading(
  Tool.make("slack_read_thread", {
    description: "Reads a thread of a Slack channel: its first message, then its replies, the oldest first.",
    parameters: Schema.Struct({
      channel: Channel,
      thread_ts: thread("The ts of its first message."),
      ...page
    }),
    success: Messages,
    ...failing
  })
)

export const toolkit = Toolkit.make(
  slack_post_message,
  slack_list_channels,
  slack_read_channel,
  slack_read_thread
)
