/** One request and its response over one connection, read up to a limit. */
import * as Http from "node:http"
import type * as Net from "node:net"
import { type Duplex, pipeline } from "node:stream"
import * as Zlib from "node:zlib"
import * as Effect from "effect/Effect"
import { OutboundError, problem } from "./error.ts"
import type { Hop } from "./hops.ts"
import * as Secrets from "./secrets.ts"

/** What came back; header names are in lower case, values of equal names joined by commas. */
export interface Received {
  readonly status: number
  readonly headers: ReadonlyMap<string, string>
  readonly body: Uint8Array
}

/** Sends the request. What stops it is that the connection is closed, by the scope that has opened it. */
export const exchange = (
  socket: Net.Socket,
  hop: Hop,
  maxBytes: number,
  /** Whether the body is worth reading. */
  wantsBody: (status: number, headers: ReadonlyMap<string, string>) => boolean
): Effect.Effect<Received, OutboundError> =>
  Effect.callback((resume) => {
    const { body, method, target } = hop
    const { host } = target
    // Node would wait for what has happened already.
    if (socket.destroyed) {
      return resume(Effect.fail(problem("connect", "The connection was lost at once.", host, "nothingSent")))
    }
    const fail = (error: unknown) => resume(Effect.fail(brokenBy(error, host)))
    const request = Http.request({
      method,
      path: pathOf(hop),
      // The connection is there, and no agent and no proxy has a say in it.
      createConnection: () => socket,
      setHost: false,
      setDefaultHeaders: false,
      headers: [...headersOf(hop)].flat(),
      insecureHTTPParser: false,
      maxHeaderSize: 32_768
    })
    request.on("error", fail)
    request.on("response", (response) => {
      const status = response.statusCode ?? 0
      const headers = fieldsOf(response)
      if (!wantsBody(status, headers)) {
        return resume(Effect.succeed({ status, headers, body: new Uint8Array() }))
      }
      read(response, maxBytes, host).then((body) => resume(Effect.succeed({ status, headers, body })), fail)
    })
    request.on("upgrade", (_, upgraded) => {
      upgraded.destroy()
      fail(problem("protocol", "The server wants to speak another protocol.", host, "maybeSent"))
    })
    request.end(body)
  })

const brokenBy = (error: unknown, host: string): OutboundError =>
  error instanceof OutboundError
    ? error
    : // Whatever it was, the request may have been carried out.
      problem(
        "protocol",
        "The connection was lost, or what came over it is no HTTP response.",
        host,
        "maybeSent"
      )

// --- What goes out -----------------------------------------------------------

/** Path and query, as they are written. */
const pathOf = ({ credential, target: { url } }: Hop): string => {
  const path = url.href.slice(url.origin.length)
  if (credential?.type !== "query") return path
  return `${path}${url.search === "" ? (path.endsWith("?") ? "" : "?") : "&"}${Secrets.parameterOf(credential)}`
}

const headersOf = ({ body, credential, headers, method, target }: Hop): ReadonlyMap<string, string> => {
  const secret =
    credential === undefined || credential.type === "query" ? undefined : Secrets.headerOf(credential)
  const hasBody = body !== undefined || method === "POST" || method === "PUT" || method === "PATCH"
  return new Map([
    ["host", target.url.host],
    ["user-agent", "effect-interlock"],
    ["accept", "*/*"],
    ...headers,
    ...(secret === undefined ? [] : ([[secret.name, secret.value]] as const)),
    ...(hasBody ? ([["content-length", String(body?.length ?? 0)]] as const) : []),
    ["accept-encoding", [...decoders.keys()].join(", ")],
    ["connection", "close"]
  ])
}

// --- What comes back ---------------------------------------------------------

/** Cookies are sessions, and nobody here keeps one; the others are about the connection, or no longer true of the body. */
const dropped = new Set([
  "connection",
  "content-encoding",
  "content-length",
  "keep-alive",
  "set-cookie",
  "trailer",
  "transfer-encoding",
  "upgrade"
])

const fieldsOf = (response: Http.IncomingMessage): ReadonlyMap<string, string> =>
  new Map(
    Object.entries(response.headersDistinct).flatMap(([name, values]) =>
      values === undefined || dropped.has(name) || name.startsWith("proxy-")
        ? []
        : [[name, values.join(", ")]]
    )
  )

/** What a response may be compressed with. */
const decoders = new Map<string, () => Duplex>([
  ["gzip", () => Zlib.createGunzip()],
  ["br", () => Zlib.createBrotliDecompress()]
])

const read = async (response: Http.IncomingMessage, maxBytes: number, host: string): Promise<Uint8Array> => {
  // Counted as they come and again decompressed: a few bytes may become many, and many may become none.
  const chunks = limit(response, maxBytes, host)
  const encoding = (response.headers["content-encoding"] ?? "identity").trim().toLowerCase()
  const first = await chunks.next()
  // Nothing is nothing, whatever the headers say of it: so it is after HEAD, and with statuses that have no body.
  if (first.done === true) return new Uint8Array()
  const all = joined(first.value, chunks)
  if (encoding === "identity" || encoding === "") return collect(all)
  const decoder = decoders.get(encoding)
  if (decoder === undefined) {
    throw problem(
      "protocol",
      "The response is compressed in a way that was not asked for.",
      host,
      "maybeSent"
    )
  }
  return collect(
    limit(
      pipeline(all, decoder(), () => {}),
      maxBytes,
      host
    )
  )
}

async function* joined(
  first: Uint8Array,
  rest: AsyncIterable<Uint8Array>
): AsyncGenerator<Uint8Array, undefined> {
  yield first
  yield* rest
}

async function* limit(
  source: AsyncIterable<Uint8Array>,
  maxBytes: number,
  host: string
): AsyncGenerator<Uint8Array, undefined> {
  let total = 0
  for await (const chunk of source) {
    total += chunk.length
    if (total > maxBytes) {
      throw problem("too_large", `The response is larger than ${maxBytes} bytes.`, host, "maybeSent")
    }
    yield chunk
  }
}

const collect = async (source: AsyncIterable<Uint8Array>): Promise<Uint8Array> => {
  const chunks: Array<Uint8Array> = []
  for await (const chunk of source) chunks.push(chunk)
  return new Uint8Array(Buffer.concat(chunks))
}
