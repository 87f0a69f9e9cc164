/** A process that speaks Slack's Web API for a workspace of three channels, as far as the tools use it. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { serve } from "./serverChild.ts"

/** What the next request of a method is answered with, in place of what the workspace would say; the last one stays. */
export type Step =
  | {
      readonly status?: number
      readonly headers?: Readonly<Record<string, string>>
      readonly body?: object
      readonly text?: string
    }
  /** What the workspace says. */
  | "ok"
  /** What it says, after it was done and lost. */
  | "lost"
  | "hang"
  | "reset"
  | "cut"

export interface Seen {
  readonly method: string
  readonly form: Readonly<Record<string, string>>
  readonly authorized: boolean
}

export type Message =
  | { readonly script: Readonly<Record<string, ReadonlyArray<Step>>> }
  | "seen"
  | "held"
  | "gone"
export type Reply = ReadonlyArray<Seen> | null

export const token = "xoxb-1234567890-loopback"

export const channels = [
  { id: "C0000000001", name: "general", is_member: true, is_private: false, topic: { value: "Everything" } },
  { id: "C0000000002", name: "random", is_member: false, is_private: false, topic: { value: "" } },
  { id: "C0000000003", name: "secret", is_member: true, is_private: true }
] as const

interface Posted {
  readonly channel: string
  readonly ts: string
  readonly text: string
  readonly thread_ts?: string
  readonly bot_id: string
}

let posted: Array<Posted> = []
let last = 0
let script = new Map<string, Array<Step>>()
let seen: Array<Seen> = []
const waiting = { held: false, gone: false, told: [] as Array<() => void> }
const announce = (what: "held" | "gone") => {
  waiting[what] = true
  for (const tell of waiting.told.splice(0)) tell()
}
const until = async (what: "held" | "gone") => {
  while (!waiting[what]) await new Promise<void>((resolve) => waiting.told.push(resolve))
}

/** A page of a list, by a cursor that says where it begins. */
const page = <A>(
  all: ReadonlyArray<A>,
  { cursor = "from:0", limit = "100" }: Readonly<Record<string, string>>
) => {
  const from = Number(cursor.slice("from:".length))
  const to = from + Number(limit)
  return {
    items: all.slice(from, to),
    response_metadata: { next_cursor: to < all.length ? `from:${to}` : "" }
  }
}

const methods: Readonly<Record<string, (form: Readonly<Record<string, string>>) => object>> = {
  "chat.postMessage": (form) => {
    const channel = channels.find(({ id }) => id === form["channel"])
    if (channel === undefined) return { ok: false, error: "channel_not_found" }
    if (!channel.is_member) return { ok: false, error: "not_in_channel" }
    const thread_ts = form["thread_ts"]
    if (thread_ts !== undefined && !posted.some(({ ts }) => ts === thread_ts)) {
      return { ok: false, error: "thread_not_found" }
    }
    const message = {
      channel: channel.id,
      ts: `17000000${String(++last).padStart(2, "0")}.000100`,
      text: form["text"] ?? "",
      bot_id: "B0000000001",
      ...(thread_ts === undefined ? {} : { thread_ts })
    }
    posted.push(message)
    return { ok: true, channel: channel.id, ts: message.ts, message, warning: "missing_charset" }
  },
  "conversations.list": (form) => {
    const types = (form["types"] ?? "public_channel").split(",")
    const wanted = channels.filter((one) =>
      types.includes(one.is_private ? "private_channel" : "public_channel")
    )
    const { items, response_metadata } = page(wanted, form)
    return { ok: true, channels: items, response_metadata }
  },
  "conversations.history": (form) => {
    const all = posted.filter(
      ({ channel, thread_ts }) => channel === form["channel"] && thread_ts === undefined
    )
    const { items, response_metadata } = page(all.toReversed(), form)
    return { ok: true, messages: items, response_metadata }
  },
  "conversations.replies": (form) => {
    const thread = posted.filter(
      ({ channel, thread_ts, ts }) =>
        channel === form["channel"] && (ts === form["ts"] || thread_ts === form["ts"])
    )
    if (thread.length === 0) return { ok: false, error: "thread_not_found" }
    const { items, response_metadata } = page(thread, form)
    return { ok: true, messages: items, response_metadata }
  }
}

const handle = async (request: IncomingMessage, response: ServerResponse) => {
  const chunks: Array<Buffer> = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const method = (request.url ?? "").replace(/^\/api\//, "")
  const form = Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString()))
  const authorized = request.headers.authorization === `Bearer ${token}`
  seen.push({ method, form, authorized })
  const steps = script.get(method)
  const step = steps === undefined ? "ok" : ((steps.length > 1 ? steps.shift() : steps[0]) ?? "ok")
  if (step === "hang") {
    response.on("close", () => announce("gone"))
    return announce("held")
  }
  if (step === "reset") return void request.socket.resetAndDestroy()
  if (step === "cut") {
    response.writeHead(200, { "content-type": "application/json", "content-length": "1000" })
    return void response.write('{"ok":', () => request.socket.destroy())
  }
  if (typeof step === "object") {
    response.writeHead(step.status ?? 200, { "content-type": "application/json", ...step.headers })
    return void response.end(step.text ?? JSON.stringify(step.body ?? {}))
  }
  const answer = authorized
    ? (methods[method]?.(form) ?? { ok: false, error: "unknown_method" })
    : { ok: false, error: "invalid_auth" }
  if (step === "lost") return void request.socket.resetAndDestroy()
  response.writeHead(200, { "content-type": "application/json; charset=utf-8" })
  response.end(JSON.stringify(answer))
}

if (process.argv[1] === import.meta.filename) {
  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy())
  })
  server.listen(0, "127.0.0.1", () => {
    serve<Message, Reply>((server.address() as AddressInfo).port, async (message) => {
      if (message === "seen") return seen
      if (message === "held" || message === "gone") {
        await until(message)
        return null
      }
      posted = []
      seen = []
      last = 0
      waiting.held = waiting.gone = false
      script = new Map(Object.entries(message.script).map(([method, steps]) => [method, [...steps]]))
      return null
    })
  })
}
