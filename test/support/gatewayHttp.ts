/** Servers of MCP over HTTP that do as a test says, on the loopback; and the reference server over HTTP. */
import { type ChildProcess, spawn } from "node:child_process"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { Effect, type Scope } from "effect"

type Json = Record<string, unknown>

/** One request that came. */
export interface Received {
  readonly method: string
  readonly headers: IncomingMessage["headers"]
  readonly message: Json
}

/** Answers a message in its own way; `false` leaves it to the server. */
export type Answer = (message: Json, response: ServerResponse, request: IncomingMessage) => boolean

export const json = (
  response: ServerResponse,
  body: unknown,
  status = 200,
  headers: Record<string, string> = {}
): true => {
  response.writeHead(status, { "content-type": "application/json", ...headers })
  response.end(JSON.stringify(body))
  return true
}

export const result = (
  response: ServerResponse,
  message: Json,
  result: Json,
  headers: Record<string, string> = {}
): true => json(response, { jsonrpc: "2.0", id: message["id"], result }, 200, headers)

const listening = (server: ReturnType<typeof createServer>): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<string>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        resume(Effect.succeed(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
      })
    }),
    () =>
      Effect.callback<void>((resume) => {
        server.closeAllConnections()
        server.close(() => resume(Effect.void))
      })
  )

/** A server with one tool, `echo`, but for what the test answers by itself. */
export const httpServer = (answer: Answer = () => false) =>
  Effect.gen(function* () {
    const received: Array<Received> = []
    const server = createServer((request, response) => {
      const chunks: Array<Buffer> = []
      request.on("data", (chunk: Buffer) => chunks.push(chunk))
      request.on("end", () => {
        const text = Buffer.concat(chunks).toString()
        const message = (text === "" ? {} : JSON.parse(text)) as Json
        received.push({ method: request.method ?? "", headers: request.headers, message })
        if (answer(message, response, request)) return
        if (request.method !== "POST") {
          response.writeHead(405).end()
          return
        }
        const params = (message["params"] ?? {}) as Json
        switch (message["method"]) {
          case "initialize":
            result(
              response,
              message,
              {
                protocolVersion: params["protocolVersion"],
                capabilities: { tools: {} },
                serverInfo: { name: "http", version: "1" }
              },
              { "mcp-session-id": `session-${received.length}` }
            )
            return
          case "tools/list":
            result(response, message, { tools: [{ name: "echo", inputSchema: { type: "object" } }] })
            return
          case "tools/call":
            result(response, message, {
              content: [{ type: "text", text: JSON.stringify(params["arguments"]) }]
            })
            return
          default:
            if (message["id"] === undefined) response.writeHead(202).end()
            else
              json(response, {
                jsonrpc: "2.0",
                id: message["id"],
                error: { code: -32601, message: "Method not found" }
              })
        }
      })
    })
    const url = `${yield* listening(server)}/mcp`
    return { url, received }
  })

const everything = join(
  import.meta.dirname,
  "../../node_modules/@modelcontextprotocol/server-everything/dist/index.js"
)

/** A port that nobody listens on. */
export const freePort: Effect.Effect<number> = Effect.scoped(
  Effect.map(listening(createServer()), (url) => Number(new URL(url).port))
)

/** The reference server over HTTP, in a process of its own; its URL. */
export const everythingOverHttp = (transport: "streamableHttp" | "sse", port?: number) =>
  Effect.gen(function* () {
    const chosen = port ?? (yield* freePort)
    const child = yield* Effect.acquireRelease(
      Effect.sync(
        (): ChildProcess =>
          spawn(process.execPath, [everything, transport], {
            stdio: ["ignore", "ignore", "pipe"],
            env: { ...process.env, PORT: String(chosen) }
          })
      ),
      (child) =>
        Effect.callback<void>((resume) => {
          if (child.exitCode !== null || child.signalCode !== null) resume(Effect.void)
          child.once("exit", () => resume(Effect.void))
          child.kill("SIGKILL")
        })
    )
    const lines = createInterface({ input: child.stderr as NodeJS.ReadableStream })
    yield* Effect.callback<void>((resume) => {
      lines.on("line", (line) => {
        if (/listening on port|running on port/i.test(line)) resume(Effect.void)
      })
    })
    return { url: `http://127.0.0.1:${chosen}/${transport === "sse" ? "sse" : "mcp"}`, child, port: chosen }
  })
