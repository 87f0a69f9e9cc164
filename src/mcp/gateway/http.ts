/**
 * A server behind a URL: the transports of the official SDK, with what they do
 * not do by themselves.
 *
 * - An answer that is too large ends the request, whether it comes at once or as
 *   a stream of events, one of which is then too large.
 * - A stream that ends without the answer it was opened for fails that request;
 *   the SDK leaves it to its timeout.
 * - More than anybody asked for closes the connection.
 * - Headers go to the origin of the URL and nowhere else.
 */
import type * as Sdk from "@modelcontextprotocol/client"
import { Bucket } from "./bucket.ts"

type Transport = Sdk.Transport
type Message = Sdk.JSONRPCMessage

export interface Options {
  readonly url: URL
  /** Sent with every request. */
  readonly headers: Readonly<Record<string, string>>
  readonly kind: "streamable" | "sse"
  readonly maxMessageBytes: number
  /** Milliseconds. */
  readonly now: () => number
}

/** Messages that a server sends unasked: at once, and a second. */
const unasked = { burst: 10_000, perSecond: 2000 }

export class HttpTransport implements Transport {
  onclose?: (() => void) | undefined
  onerror?: ((error: Error) => void) | undefined
  onmessage?: Transport["onmessage"]
  /** Why the connection was closed; for people. */
  ending: string | undefined
  readonly #inner: Transport & { readonly terminateSession?: () => Promise<void> }
  readonly #unasked: Bucket
  readonly #streams: boolean
  /** Requests whose answer has not come. */
  readonly #open = new Set<string | number>()

  constructor(sdk: typeof Sdk, options: Options) {
    const { kind, now, url } = options
    this.#unasked = new Bucket(unasked.burst, unasked.perSecond, now)
    this.#streams = kind === "streamable"
    const fetch = fetching(options)
    this.#inner =
      kind === "streamable"
        ? new sdk.StreamableHTTPClientTransport(url, { fetch })
        : new sdk.SSEClientTransport(url, { fetch })
  }

  get hasPerRequestStream(): boolean {
    return this.#streams
  }

  get sessionId(): string | undefined {
    return this.#inner.sessionId
  }

  setProtocolVersion(version: string): void {
    this.#inner.setProtocolVersion?.(version)
  }

  start(): Promise<void> {
    this.#inner.onclose = () => {
      this.#open.clear()
      this.onclose?.()
    }
    this.#inner.onerror = (error) => this.onerror?.(error)
    this.#inner.onmessage = (message: Message) => this.#receive(message)
    return this.#inner.start()
  }

  send(message: Message, options?: Sdk.TransportSendOptions): Promise<void> {
    if (!("method" in message && "id" in message) || options?.onRequestStreamEnd !== undefined) {
      return this.#inner.send(message, options)
    }
    const { id } = message
    this.#open.add(id)
    const onRequestStreamEnd = () => {
      if (!this.#open.delete(id)) return
      this.onmessage?.({
        jsonrpc: "2.0",
        id,
        error: { code: endedEarly, message: "The answer's stream ended" }
      })
    }
    return this.#inner.send(message, { ...options, onRequestStreamEnd }).catch((error) => {
      this.#open.delete(id)
      throw error
    })
  }

  async close(): Promise<void> {
    // A courtesy that must not take long.
    const goodbye = this.#inner.terminateSession?.().catch(() => undefined)
    if (goodbye !== undefined && this.sessionId !== undefined) await Promise.race([goodbye, soon()])
    await this.#inner.close()
  }

  #receive(message: Message): void {
    if ("method" in message) {
      if (!this.#unasked.take()) {
        this.ending ??= "it sent more messages than anybody asked for"
        this.close().catch(() => undefined)
        return
      }
    } else if (message.id !== undefined) this.#open.delete(message.id)
    this.onmessage?.(message)
  }
}

/** The code of the error that a request is given whose stream ended early; of those that servers may use as they like. */
export const endedEarly = -32_050

/** The code of the error of a message that is too large. */
export const tooLarge = "ERR_TOO_LARGE"

const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1000).unref())

// --- Requests --------------------------------------------------------------

const fetching =
  ({ headers, maxMessageBytes, url }: Options): Sdk.FetchLike =>
  async (input, init) => {
    const sent = new Headers(init?.headers)
    if (new URL(input).origin === url.origin) {
      for (const [name, value] of Object.entries(headers)) sent.set(name, value)
    }
    const response = await fetch(input, { ...init, headers: sent })
    return response.body === null ? response : capped(response, response.body, maxMessageBytes)
  }

/** The response, whose body fails where a message is larger than that. */
const capped = (response: Response, body: ReadableStream<Uint8Array>, maxBytes: number): Response => {
  const streams = response.headers.get("content-type")?.startsWith("text/event-stream") === true
  let bytes = 0
  const counted = body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, controller) => {
        const end = streams ? endOfEvent(chunk) : -1
        bytes = end === -1 ? bytes + chunk.length : chunk.length - end
        if (bytes <= maxBytes) controller.enqueue(chunk)
        else {
          const error = new Error(`its answer is larger than ${maxBytes} bytes`)
          controller.error(Object.assign(error, { code: tooLarge }))
        }
      }
    })
  )
  const { headers, status, statusText } = response
  return new Response(counted, { headers, status, statusText })
}

/** Where the last event in a chunk ends, at about a line; -1 where none does. */
const endOfEvent = (chunk: Uint8Array): number => {
  const text = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  return Math.max(text.lastIndexOf("\n\n"), text.lastIndexOf("\r\n\r\n"), text.lastIndexOf("\r\r"))
}
