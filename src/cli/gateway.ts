/** The configuration's upstream servers, whose tools are in the registry beside its own. */
import * as Effect from "effect/Effect"
import type { FileSystem } from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type { Path } from "effect/Path"
import type { Services } from "../Interlock.ts"
import type { PackageMissing } from "../internal/optionalPackage.ts"
import * as Gateway from "../mcp/Gateway.ts"
import * as Pins from "../mcp/Pins.ts"
import type { ToolRegistry } from "../ToolRegistry.ts"
import { Credentials } from "../toolbox/Credentials.ts"
import * as ConfiguredCredentials from "./credentials.ts"
import { Project } from "./Project.ts"

/** What was accepted of servers; it belongs into the repository, beside the configuration. */
export const lockFile = "interlock.lock.json"

/** Commands run in the configuration's folder where they do not say in which. */
const inFolder = (server: Gateway.ServerConfig, resolve: (path: string) => string): Gateway.ServerConfig =>
  server.command === undefined ? server : { ...server, cwd: resolve(server.cwd ?? ".") }

const configured = Layer.unwrap(
  Effect.gen(function* () {
    const { loaded, resolve } = yield* Project
    const { get } = yield* Credentials
    const { gateway, mcpServers = {} } = loaded.config
    const servers = Object.entries(mcpServers).map(
      ([name, server]) => [name, inFolder(server, resolve)] as const
    )
    return Gateway.layer({
      servers: Object.fromEntries(servers),
      pins: gateway?.pins ?? "first-use",
      credential: get
    }).pipe(Layer.provide(Pins.layerFile(resolve(lockFile))))
  })
).pipe(Layer.provide(ConfiguredCredentials.layer))

/** The gateway; without servers there is none, and its package is not needed. */
export const layer: Layer.Layer<
  never,
  PackageMissing,
  ToolRegistry | Services | Project | FileSystem | Path
> = Layer.unwrap(
  Effect.map(Project, ({ loaded }) =>
    Object.keys(loaded.config.mcpServers ?? {}).length === 0 ? Layer.empty : configured
  )
)
