/**
 * An HTTP server on loopback that keeps what arrives as it came, and the tools of a document that are called
 * through it.
 */
import { createServer, type IncomingMessage } from "node:http"
import type { AddressInfo } from "node:net"
import { NodeServices } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { Principal, ToolExecutor } from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import { Credentials, OpenApi, OutboundHttp } from "effect-interlock/toolbox"

export interface Arrived {
  readonly method: string
  /** Path and query, as they were written. */
  readonly target: string
  /** Names in lower case; of several equal ones all values. */
  readonly headers: ReadonlyMap<string, ReadonlyArray<string>>
  readonly body: Buffer
}

export interface Answer {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string | ReadonlyArray<string>>>
  readonly body?: string | Uint8Array
}

export const json = (value: unknown, status = 200): Answer => ({
  status,
  headers: { "content-type": "application/json" },
  body: JSON.stringify(value)
})

const read = async (request: IncomingMessage): Promise<Arrived> => {
  const chunks: Array<Buffer> = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const headers = Object.entries(request.headersDistinct).map(
    ([name, values]) => [name, values ?? []] as const
  )
  return {
    method: request.method ?? "",
    target: request.url ?? "",
    headers: new Map(headers),
    body: Buffer.concat(chunks)
  }
}

/** A server that lives as long as its scope; `arrived` grows. */
export const serve = (answer: (arrived: Arrived) => Answer) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const arrived: Array<Arrived> = []
      const server = createServer((request, response) => {
        read(request).then((one) => {
          arrived.push(one)
          const { body = "", headers = {}, status = 200 } = answer(one)
          for (const [name, value] of Object.entries(headers)) response.setHeader(name, value as string)
          response.writeHead(status).end(body)
        })
      })
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
      const { port } = server.address() as AddressInfo
      return { server, arrived, port, url: `http://127.0.0.1:${port}` }
    }),
    ({ server }) =>
      Effect.promise(async () => {
        server.closeAllConnections()
        await new Promise((resolve) => server.close(resolve))
      })
  )

/** Answers with nothing but that it has arrived. */
export const echo = serve(() => json("arrived"))

export const outbound = (port: number, credentials: Readonly<Record<string, Credentials.Credential>> = {}) =>
  OutboundHttp.layer({ allowedDomains: ["*"], allowedAddresses: ["127.0.0.0/8"], allowedPorts: [port] }).pipe(
    Layer.provideMerge(Credentials.layer(credentials)),
    Layer.merge(NodeServices.layer)
  )

/** The tools of a document, and a way to call them under the whole of governance. */
export const toolsOf = (
  port: number,
  options: OpenApi.Options,
  credentials?: Readonly<Record<string, Credentials.Credential>>
) =>
  Effect.gen(function* () {
    const api = yield* OpenApi.make(options)
    const executor = yield* Effect.provide(ToolExecutor.make(api.toolkit), api.layer)
    const call = (tool: string, params: unknown = {}) => asAdmin(executor.execute({ tool, params }))
    return { api, call, executor }
  }).pipe(Effect.provide(Layer.merge(outbound(port, credentials), Testing.layer())))

const asAdmin = Principal.provide(Principal.make({ id: "ada", roles: ["admin"] }))

/** A document with these paths. */
export const documentOf = (
  paths: Readonly<Record<string, unknown>>,
  rest: Readonly<Record<string, unknown>> = {}
): Readonly<Record<string, unknown>> => ({
  openapi: "3.1.0",
  info: { title: "A test", version: "1" },
  paths,
  ...rest
})

/** A document of one operation with these parameters, at the path `/{…}` of those that are in it, or at `/`. */
export const documentWith = (
  parameters: ReadonlyArray<Readonly<Record<string, unknown>>>,
  rest: Readonly<Record<string, unknown>> = {}
): Readonly<Record<string, unknown>> => {
  const inPath = parameters.filter((parameter) => parameter["in"] === "path")
  const path = `/at${inPath.map(({ name }) => `/{${name}}`).join("")}`
  return documentOf({ [path]: { get: { operationId: "send", parameters, ...rest } } })
}
