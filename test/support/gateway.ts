/** A gateway as tests use it: real servers in processes of their own, governance, and what is asked of it again and again. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, Layer, type Scope } from "effect"
import { Interlock, Principal, ToolRegistry } from "effect-interlock"
import { Gateway, Pins } from "effect-interlock/mcp"
import type { Plan } from "./gatewayServer.ts"

const script = join(import.meta.dirname, "gatewayServer.ts")
const modules = join(import.meta.dirname, "../../node_modules/@modelcontextprotocol")

type ServerConfig = Gateway.Servers[string]

/** A scripted server. */
export const scripted = (plan: Plan = {}, more: ServerConfig = {}): ServerConfig => ({
  command: process.execPath,
  args: [script, JSON.stringify(plan)],
  ...more
})

/** A reference server over its standard input and output. */
export const reference = (
  name: "server-everything" | "server-filesystem",
  ...args: ReadonlyArray<string>
): ServerConfig => ({
  command: process.execPath,
  args: [join(modules, name, "dist/index.js"), ...args]
})

export const ada = Principal.make({ id: "ada", roles: ["admin"] })

export type Services = Gateway.Gateway | Interlock.Services | ToolRegistry.ToolRegistry | Pins.Pins

/** A gateway with its own pins, in memory unless others are given. */
export const gateway = (
  options: Gateway.Options,
  pins: Layer.Layer<Pins.Pins> = Pins.layerMemory,
  governance: Interlock.Options = {}
): Layer.Layer<Services, unknown> =>
  Gateway.layer({ environment: { PATH: process.env["PATH"], HOME: "/nowhere" }, ...options }).pipe(
    Layer.provideMerge(pins),
    Layer.provideMerge(ToolRegistry.layer),
    Layer.provideMerge(Interlock.layer(governance))
  )

/** Calls a tool through the registry as it is now. */
export const call = (tool: string, params: unknown = {}) =>
  Effect.gen(function* () {
    const { executor } = yield* ToolRegistry.ToolRegistry
    return yield* (yield* executor).execute({ tool, params })
  }).pipe(Principal.provide(ada))

/** The first text of a result, or of a failure that is one. */
export const textOf = (result: unknown): string | undefined =>
  (result as { readonly content?: ReadonlyArray<{ readonly text?: string }> } | undefined)?.content?.[0]?.text

/** What a call came to: its status, and the text of its result or its failure. */
export const said = (tool: string, params: unknown = {}) =>
  Effect.map(call(tool, params), ({ error, status, value }) => {
    const reason = error?.reason
    const failure = reason?._tag === "ToolFailed" ? reason.failure : undefined
    return { status, text: textOf(value) ?? textOf(failure) ?? error?.message, reason }
  })

/** The names of all the tools there are. */
export const names = Effect.gen(function* () {
  const { sources } = yield* ToolRegistry.ToolRegistry
  return [...(yield* sources).values()].flat().sort()
})

/** One server's status. */
export const statusOf = (server: string) =>
  Effect.gen(function* () {
    const { status } = yield* Gateway.Gateway
    const found = (yield* status).find(({ name }) => name === server)
    if (found === undefined) throw new Error(`no server ${server}`)
    return found
  })

/** Waits until something holds, at the most for ten seconds: it is asked again whenever anything has changed. */
export const until = <A, E, R>(
  look: Effect.Effect<A, E, R>,
  holds: (value: A) => boolean
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const again = (left: number): Effect.Effect<A, E, R> =>
      Effect.flatMap(look, (value) => {
        if (holds(value)) return Effect.succeed(value)
        if (left === 0) throw new Error(`never came to be: ${JSON.stringify(value)}`)
        return Effect.andThen(
          Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 20))),
          again(left - 1)
        )
      })
    return again(500)
  })

/** A folder of the test's own, gone after it. */
export const folder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "interlock-gateway-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** What a scripted server has noted. */
export const notes = (log: string): ReadonlyArray<string> => {
  try {
    return readFileSync(log, "utf8").trim().split("\n")
  } catch {
    return []
  }
}

export const write = (path: string, value: unknown): void => writeFileSync(path, JSON.stringify(value))

/** Whether a process is there. */
export const lives = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
