/**
 * A process that speaks Lambda's Invoke API: POST
 * /2015-03-31/functions/{name}/invocations, signed with AWS Signature Version 4,
 * which it checks as AWS does.
 */
import { createHash, createHmac } from "node:crypto"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { serve } from "./serverChild.ts"

/** What the next request of a function is answered with; the last one stays. */
export type Step =
  | {
      readonly payload?: unknown
      /** As it is, where it is no JSON. */
      readonly text?: string
      readonly functionError?: string
    }
  | {
      readonly status: number
      readonly type?: string
      readonly headers?: Readonly<Record<string, string>>
      readonly text?: string
    }
  /** Answers nothing until the other side goes. */
  | "hang"
  /** Resets the connection once the request is there. */
  | "reset"
  /** Ends the connection in the middle of the answer. */
  | "cut"

export interface Seen {
  readonly function: string
  readonly qualifier: string | null
  readonly event: unknown
  readonly context: unknown
  readonly invocationType: string | undefined
  readonly signed: boolean
  readonly sessionToken: string | undefined
  /** The other side went before it had an answer. */
  gone: boolean
}

export type Message =
  | { readonly script: Readonly<Record<string, ReadonlyArray<Step>>> }
  | { readonly ask: "seen" }
  /** Waits until a request of the function is being held. */
  | { readonly held: string }
  /** Waits until the other side of a held request has gone. */
  | { readonly gone: string }
export type Reply = ReadonlyArray<Seen> | null

export const keys = {
  accessKeyId: "AKIDLOOPBACK",
  secretAccessKey: "wJalrXUt/secret+of+the+loopback",
  region: "eu-test-1"
}

const steps = new Map<string, Array<Step>>()
const seen: Array<Seen> = []
const waiting: Array<{ readonly holds: () => boolean; readonly resolve: () => void }> = []
const until = (holds: () => boolean) =>
  new Promise<void>((resolve) => {
    waiting.push({ holds, resolve })
    look()
  })
const look = () => {
  for (const one of waiting.splice(0)) one.holds() ? one.resolve() : waiting.push(one)
}

const held = new Set<string>()

const handle = async (request: IncomingMessage, response: ServerResponse) => {
  const chunks: Array<Buffer> = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const body = Buffer.concat(chunks)
  const url = new URL(request.url ?? "/", "http://loopback")
  const name = /^\/2015-03-31\/functions\/([^/]+)\/invocations$/.exec(url.pathname)?.[1]
  if (request.method !== "POST" || name === undefined) return void response.writeHead(404).end()
  const header = (key: string) => request.headers[key] as string | undefined
  const context = header("x-amz-client-context")
  const entry: Seen = {
    function: decodeURIComponent(name),
    qualifier: url.searchParams.get("Qualifier"),
    event: JSON.parse(body.toString() || "null"),
    context: context === undefined ? undefined : JSON.parse(Buffer.from(context, "base64").toString()),
    invocationType: header("x-amz-invocation-type"),
    signed: isSigned(request, url, body),
    sessionToken: header("x-amz-security-token"),
    gone: false
  }
  seen.push(entry)
  response.on("close", () => {
    entry.gone = !response.writableEnded
    look()
  })
  if (!entry.signed) {
    return fail(
      response,
      403,
      "InvalidSignatureException",
      {},
      "The request signature we calculated does not match"
    )
  }
  const script = steps.get(entry.function)
  const step = script === undefined ? undefined : script.length > 1 ? script.shift() : script[0]
  if (step === undefined)
    return fail(response, 404, "ResourceNotFoundException", {}, `arn of ${entry.function}`)
  if (step === "hang") {
    held.add(entry.function)
    look()
    return
  }
  if (step === "reset") return void request.socket.resetAndDestroy()
  if (step === "cut") {
    response.writeHead(200, { "content-length": "1000" })
    response.write("{", () => request.socket.destroy())
    return
  }
  if ("status" in step) return fail(response, step.status, step.type, step.headers ?? {}, step.text)
  response.writeHead(200, {
    "content-type": "application/json",
    "x-amzn-requestid": "req-1",
    "x-amz-executed-version": "$LATEST",
    // Asked for or not: nothing of a function's log may come further than this.
    "x-amz-log-result": Buffer.from("START log-of-the-function END").toString("base64"),
    ...(step.functionError === undefined ? {} : { "x-amz-function-error": step.functionError })
  })
  response.end(step.text ?? JSON.stringify(step.payload))
}

const fail = (
  response: ServerResponse,
  status: number,
  type: string | undefined,
  headers: Readonly<Record<string, string>>,
  text: string | undefined
) => {
  response.writeHead(status, {
    "content-type": "application/json",
    "x-amzn-requestid": "req-1",
    ...(type === undefined ? {} : { "x-amzn-errortype": type }),
    ...headers
  })
  response.end(
    text !== undefined && type === undefined ? text : JSON.stringify({ Type: "User", Message: text ?? "no" })
  )
}

// --- AWS Signature Version 4 -----------------------------------------------

const sha256 = (data: string | Buffer) => createHash("sha256").update(data).digest("hex")
const hmac = (key: string | Buffer, data: string) => createHmac("sha256", key).update(data).digest()
const escape = (text: string) =>
  encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`
  )

const isSigned = (request: IncomingMessage, url: URL, body: Buffer): boolean => {
  const match =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/lambda\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
      request.headers.authorization ?? ""
    )
  if (match === null) return false
  const [, id, day = "", region = "", names = "", signature] = match
  const at = String(request.headers["x-amz-date"])
  const headers = names.split(";")
  if (!["host", "x-amz-date"].every((name) => headers.includes(name))) return false
  const canonical = [
    "POST",
    url.pathname.split("/").map(escape).join("/"),
    [...url.searchParams]
      .map(([key, value]) => `${escape(key)}=${escape(value)}`)
      .sort()
      .join("&"),
    ...headers.map((name) => `${name}:${String(request.headers[name]).trim().replace(/\s+/g, " ")}`),
    "",
    names,
    sha256(body)
  ].join("\n")
  const toSign = ["AWS4-HMAC-SHA256", at, `${day}/${region}/lambda/aws4_request`, sha256(canonical)].join(
    "\n"
  )
  const key = ["lambda", "aws4_request"].reduce<Buffer>(
    hmac,
    hmac(hmac(`AWS4${keys.secretAccessKey}`, day), region)
  )
  return (
    id === keys.accessKeyId &&
    region === keys.region &&
    at.startsWith(day) &&
    hmac(key, toSign).toString("hex") === signature
  )
}

// --- The process -----------------------------------------------------------

if (process.argv[1] === import.meta.filename) {
  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy())
  })
  server.listen(0, "127.0.0.1", () => {
    serve<Message, Reply>((server.address() as AddressInfo).port, async (message) => {
      if ("ask" in message) return seen
      if ("held" in message) await until(() => held.has(message.held))
      else if ("gone" in message)
        await until(() => seen.some((one) => one.function === message.gone && one.gone))
      else {
        seen.length = 0
        held.clear()
        steps.clear()
        for (const [name, script] of Object.entries(message.script)) steps.set(name, [...script])
      }
      return null
    })
  })
}
