/**
 * A governed toolkit on Effect's `McpServer`. Its `handle` sees the raw
 * arguments, so that the whole pipeline holds.
 */
import * as McpServer from "effect/ai/McpServer"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import type * as Layer from "effect/Layer"
import { governedToolkit } from "../internal/governedToolkit.ts"
import type { ToolExecutor, Tools } from "../ToolExecutor.ts"

/**
 * Registers an executor's tools with the MCP server. The principal is the one
 * of the fiber that serves the request: provide it with `McpServer`'s
 * middleware. Every tool is listed unless MCP's own visibility hides it; who
 * may run it is decided at every call.
 */
export const layer = <T extends Tools>(
  executor: ToolExecutor<T>
): Layer.Layer<never, never, McpServer.McpServer> => {
  const names = new Set(executor.pipeline.tools.keys())
  const governed = governedToolkit(executor.pipeline, "mcp", Effect.succeed(names))
  const tools = Array.from(executor.pipeline.tools.values(), ({ facts }) => facts.tool)
  // `McpServer` evaluates the toolkit to get its handlers: this one evaluates to governed ones.
  const toolkit = Object.assign(
    Toolkit.make(...tools),
    Effectable.Prototype({ label: "interlock/mcp", evaluate: () => governed as never })
  )
  return McpServer.toolkit(toolkit as unknown as typeof Toolkit.empty)
}
