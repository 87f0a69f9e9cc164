/**
 * What a gateway adds to a call: the reference server called by the official client, directly and through a gateway in
 * a process of its own, over stdio and over HTTP, in one run; and from the same program. And how long it takes from a
 * client's cancellation until the handler of the server behind the gateway is interrupted.
 *
 *     node bench/gateway.ts [--json | --markdown]
 */
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { createServer as createSocket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { NodeHttpServer, NodeRuntime, NodeStdio } from "@effect/platform-node"
import { Client, StreamableHTTPClientTransport, type Transport } from "@modelcontextprotocol/client"
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio"
import { McpServer } from "effect/ai"
import * as Effect from "effect/Effect"
import { HttpRouter, HttpServer } from "effect/http"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { Interlock, Principal, Run, ToolRegistry } from "../src/index.ts"
import * as Mcp from "../src/mcp/index.ts"
import { type Measured, measure } from "./measure.ts"
import { asMarkdown, asText, type Cell, type Outcome, outcome } from "./report.ts"
import { machine, quantile, type Subject } from "./support.ts"

const everything = join(
  import.meta.dirname,
  "../node_modules/@modelcontextprotocol/server-everything/dist/index.js"
)
const fixture = join(import.meta.dirname, "../test/support/gatewayFixture.ts")

type Server = Mcp.Gateway.Servers[string]
const overStdio: Server = { command: process.execPath, args: [everything, "stdio"], prefix: "" }

// --- A gateway -------------------------------------------------------------

const ada = Principal.make({ id: "ada", roles: ["admin"] })

/** One run for all of the calls, that nobody looks for loops and taint in. */
const driven = McpServer.middleware((request) => Run.provide(request, Run.make({ id: "bench" })))

const gateway = (server: Server) =>
  Mcp.Gateway.layer({ servers: { one: server } }).pipe(
    Layer.provide(Mcp.Pins.layerMemory),
    Layer.provideMerge(ToolRegistry.layer),
    Layer.provideMerge(Interlock.layer())
  )

/** Serves a gateway; over HTTP it says on standard error where. */
const serve = (how: string | undefined, server: Server): void => {
  const registrations = Layer.merge(Mcp.layerRegistry, Mcp.Gateway.layerMcp).pipe(
    Layer.provide(driven.combine(Mcp.principal(ada)).layer),
    Layer.provide(gateway(server))
  )
  const about = { name: "gateway", version: "1.0.0", protocols: Mcp.protocols, registrations } as const
  const stdio = McpServer.layerStdio(about).pipe(Layer.provide(NodeStdio.layer))
  const listening = Layer.effectDiscard(
    Effect.map(HttpServer.HttpServer, ({ address }) => {
      process.stderr.write(`listening ${(address as unknown as AddressInfo).port}\n`)
    })
  )
  const served = HttpRouter.serve(McpServer.layerHttp({ ...about, path: "/mcp" }), {
    disableLogger: true,
    disableListenLog: true
  })
  // It listens before it serves, and who comes between is never answered.
  const http = listening.pipe(
    Layer.provideMerge(served),
    Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" }))
  )
  const logger = Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])
  NodeRuntime.runMain(
    (how === "stdio" ? Layer.launch(stdio) : Layer.launch(http)).pipe(Effect.provide(logger))
  )
}

// --- Processes and clients -------------------------------------------------

const children: Array<ChildProcess> = []
const clients: Array<Client> = []

/** A process, when it has said on standard error what it says when it is there. */
const started = (
  args: ReadonlyArray<string>,
  sign: RegExp,
  env: NodeJS.ProcessEnv = process.env
): Promise<Started> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"], env })
    children.push(child)
    const lines: Array<string> = []
    child.once("exit", (code) => reject(new Error(`${args[0]} has ended with ${code}: ${lines.join(" ")}`)))
    createInterface({ input: child.stderr }).on("line", (line) => {
      lines.push(line)
      const match = sign.exec(line)
      if (match !== null) resolve({ match, lines })
    })
  })

interface Started {
  readonly match: RegExpExecArray
  /** What it has said since, too. */
  readonly lines: ReadonlyArray<string>
}

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createSocket().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })

const connected = async (transport: Transport): Promise<Client> => {
  const client = new Client({ name: "bench", version: "1.0.0" })
  await client.connect(transport)
  clients.push(client)
  return client
}

const toProcess = (...args: ReadonlyArray<string>) =>
  connected(new StdioClientTransport({ command: process.execPath, args: [...args], stderr: "ignore" }))
const toUrl = (url: string) => connected(new StreamableHTTPClientTransport(new URL(url)))

const urlOfGateway = async (server: Server): Promise<string> => {
  const { match } = await started(
    [import.meta.filename, "--serve", "http", JSON.stringify(server)],
    /^listening (\d+)/
  )
  return `http://127.0.0.1:${match[1]}/mcp`
}

// --- Calls -----------------------------------------------------------------

const checked = (content: unknown): void => {
  const [part] = content as ReadonlyArray<{ readonly text?: string }>
  if (part?.text !== "Echo: hello") throw new Error(`not an echo: ${JSON.stringify(content)}`)
}

const calling = (name: string, client: Client): Subject => ({
  name,
  times: async (count, each) => {
    for (let n = 0; n < count; n++) {
      const { content } = await client.callTool({ name: "echo", arguments: { message: "hello" } })
      checked(content)
      each?.()
    }
  }
})

/** The same from the program that has the gateway: no client, and no second hop. */
const inProgram = async (
  name: string,
  server: Server,
  closing: Array<() => Promise<void>>
): Promise<Subject> => {
  const { promise, resolve } = Promise.withResolvers<() => Promise<void>>()
  const ended = Promise.withResolvers<void>()
  void Effect.runPromise(
    Effect.gen(function* () {
      const { executor } = yield* ToolRegistry.ToolRegistry
      const { execute } = yield* executor
      const context = yield* Effect.context<never>()
      const run = Effect.runPromiseWith(context)
      const call = { tool: "echo", params: { message: "hello" } }
      resolve(() =>
        run(
          Effect.map(execute(call) as Effect.Effect<{ readonly value?: unknown }>, ({ value }) =>
            checked((value as { readonly content?: unknown })?.content)
          )
        )
      )
      yield* Effect.promise(() => ended.promise)
    }).pipe(Principal.provide(ada), Effect.provide(gateway(server)))
  )
  const once = await promise
  closing.push(async () => ended.resolve())
  return {
    name,
    times: async (count, each) => {
      for (let n = 0; n < count; n++) {
        await once()
        each?.()
      }
    }
  }
}

// --- Cancellation ----------------------------------------------------------

const cancellations = 40

/** Milliseconds from the client's cancellation to the interruption of the handler, by the clock of this machine. */
const cancelled = async (
  client: Client,
  lines: () => ReadonlyArray<string>
): Promise<ReadonlyArray<number>> => {
  const took: Array<number> = []
  const said = async (start: string, seen: number): Promise<string> => {
    for (;;) {
      const found = lines().filter((line) => line.startsWith(start))[seen]
      if (found !== undefined) return found
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }
  for (let n = 0; n < cancellations; n++) {
    const controller = new AbortController()
    const call = client
      .callTool({ name: "test_wait", arguments: {} }, { signal: controller.signal })
      .catch(() => undefined)
    await said("began ", n)
    const at = performance.timeOrigin + performance.now()
    controller.abort()
    await call
    took.push(Number((await said("interrupted ", n)).slice("interrupted ".length)) - at)
  }
  return took
}

// --- The case --------------------------------------------------------------

const row = (one: Measured | undefined, direct: Measured | undefined, name: string): ReadonlyArray<Cell> => [
  name,
  one?.perSecond,
  one?.p50,
  one?.p99,
  one === direct ? undefined : minus(one?.p50, direct?.p50),
  one === direct ? undefined : minus(one?.p99, direct?.p99)
]

const minus = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? undefined : a - b

export const run = async (): Promise<Outcome> => {
  const folder = mkdtempSync(join(tmpdir(), "interlock-bench-gateway-"))
  const closing: Array<() => Promise<void>> = []
  try {
    const port = await freePort()
    await started([everything, "streamableHttp"], /listening on port/, { ...process.env, PORT: String(port) })
    const url = `http://127.0.0.1:${port}/mcp`
    const { results, wrong } = await measure(
      {
        stdio: calling("client → server", await toProcess(everything, "stdio")),
        stdioGateway: calling(
          "client → gateway → server",
          await toProcess(import.meta.filename, "--serve", "stdio", JSON.stringify(overStdio))
        ),
        stdioProgram: await inProgram("program with gateway → server", overStdio, closing),
        http: calling("client → server", await toUrl(url)),
        httpGateway: calling(
          "client → gateway → server",
          await toUrl(await urlOfGateway({ url, prefix: "" }))
        ),
        httpProgram: await inProgram("program with gateway → server", { url, prefix: "" }, closing)
      },
      { roundMillis: 200, warmUpMillis: 1000 }
    )

    const errors = join(folder, "errors")
    // What the server says of its handler goes past the gateway.
    const redirected = `exec "${process.execPath}" "${fixture}" 2025-11-25 --stdio 2>"${errors}"`
    const byStdio = await cancelled(
      await toProcess(
        import.meta.filename,
        "--serve",
        "stdio",
        JSON.stringify({ command: "/bin/sh", args: ["-c", redirected], prefix: "" } satisfies Server)
      ),
      () => (existsSync(errors) ? readFileSync(errors, "utf8").split("\n").slice(0, -1) : [])
    )
    const behind = await started([fixture, "2025-11-25", "--http"], /^listening (\S+)/)
    const byHttp = await cancelled(
      await toUrl(await urlOfGateway({ url: behind.match[1] ?? "", prefix: "" })),
      () => behind.lines
    )

    const columns = ["", "calls/s", "p50 µs", "p99 µs", "more at p50", "more at p99"].map((title) => ({
      title
    }))
    const rows = (how: "stdio" | "http") =>
      ([how, `${how}Gateway`, `${how}Program`] as const).map((key) => {
        const one = results.get(key)
        return row(one, results.get(how), one?.name ?? key)
      })
    const cancelRow = (name: string, took: ReadonlyArray<number>): ReadonlyArray<Cell> => [
      name,
      quantile([...took], 0.5),
      quantile([...took], 0.99),
      Math.max(...took)
    ]
    const slowest = Math.max(...byStdio, ...byHttp)
    return outcome({
      tables: [
        { title: "A call of the reference server over stdio", columns, rows: rows("stdio") },
        { title: "The same over HTTP", columns, rows: rows("http") },
        {
          title: `From a client's cancellation to the interrupted handler behind the gateway, ms, ${cancellations} calls`,
          columns: [{ title: "" }, { title: "p50" }, { title: "p99" }, { title: "longest" }],
          rows: [cancelRow("stdio on both sides", byStdio), cancelRow("HTTP on both sides", byHttp)]
        }
      ],
      ratios: [
        {
          work: "longest time from a cancellation to the interrupted handler, ms",
          comparedWith: "100 ms",
          measured: Math.ceil(slowest),
          target: 100,
          plain: true
        }
      ],
      wrong
    })
  } finally {
    for (const close of closing) await close()
    for (const client of clients) await client.close().catch(() => undefined)
    for (const child of children) child.kill("SIGKILL")
    rmSync(folder, { recursive: true, force: true })
  }
}

if (import.meta.main) {
  const [flag, how, server] = process.argv.slice(2)
  if (flag === "--serve") serve(how, JSON.parse(server ?? "{}") as Server)
  else {
    const { ratios, tables, wrong } = await run()
    const where = machine()
    if (flag === "--json") console.log(JSON.stringify({ machine: where, tables, ratios, wrong }, null, 2))
    else if (flag === "--markdown") console.log([where, ...tables.map(asMarkdown)].join("\n\n"))
    else console.log([where, ...tables.map(asText), ...wrong.map((what) => `Wrong: ${what}`)].join("\n\n"))
    process.exit(wrong.length === 0 ? 0 : 1)
  }
}
