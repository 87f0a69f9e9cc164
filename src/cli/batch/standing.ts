/**
 * What a line of a batch comes to, by what the journal knows of it. The first that
 * holds:
 *
 * 1. `Changed`: it is another line than the one that is recorded.
 * 2. `Done`: its outcome is recorded, and not to be tried again.
 * 3. `Run`: nothing is recorded; or its outcome is to be tried again; or it was begun
 *    by a process that died, and running it twice does no harm.
 * 4. `Ask`, `Unknown`: it was begun by a process that died, and nobody knows whether it
 *    took effect; the tool says which.
 *
 * A call that names its own idempotency key always runs: what is known of its key
 * decides. No other is given one, because a key also says that an attempt may be
 * repeated of which nobody knows what it did, and that only its maker can promise.
 */
import type { CompiledTool } from "../../internal/kernel.ts"
import type { Status } from "../../ToolError.ts"

/** What is recorded of a line. */
export interface Recorded {
  readonly digest: string
  /** `undefined` while it is begun and has no outcome. */
  readonly status: Status | undefined
}

/** `undefined` where it depends on the tool. */
export const standing = (
  recorded: Recorded | undefined,
  digest: string,
  retry: ReadonlySet<Status>
): "Changed" | "Done" | "Run" | undefined => {
  if (recorded === undefined) return "Run"
  if (recorded.digest !== digest) return "Changed"
  const { status } = recorded
  if (status !== undefined) return retry.has(status) ? "Run" : "Done"
  return retry.has("unknown") ? "Run" : undefined
}

/** What becomes of a call that was begun by a process that died. */
export type AfterCrash = "Run" | "Ask" | "Unknown"

/** Of a tool that is no longer there nobody knows what it was. */
export const afterCrash = (tools: ReadonlyMap<string, CompiledTool>, name: string): AfterCrash => {
  const tool = tools.get(name)
  if (tool === undefined) return "Unknown"
  if (tool.afterCrash === "ask") return "Ask"
  return isRepeatable(tools, tool) ? "Run" : "Unknown"
}

/** Whether it may run twice, whichever tool comes to answer for it. */
const isRepeatable = (tools: ReadonlyMap<string, CompiledTool>, tool: CompiledTool): boolean => {
  const seen = new Set<CompiledTool>()
  let next: CompiledTool | undefined = tool
  while (next !== undefined && !seen.has(next)) {
    if (next.afterCrash !== "retry") return false
    seen.add(next)
    next = next.fallback !== undefined && "tool" in next.fallback ? tools.get(next.fallback.tool) : undefined
  }
  return true
}
