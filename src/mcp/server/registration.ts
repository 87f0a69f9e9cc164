/** Putting tools onto Effect's `McpServer`, and keeping what it serves in step with a registry. */
import { EnabledWhen, Tool as McpTool } from "effect/ai/McpSchema"
import type * as McpServer from "effect/ai/McpServer"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Pipeline } from "../../Pipeline.ts"
import type { ToolFacts } from "../../ToolAnnotations.ts"
import { answer, type Serving } from "./calls.ts"
import { listingOf } from "./listing.ts"

type Server = McpServer.McpServer["Service"]

/** Puts a tool onto the server, in the place of one of the same name. */
export const register = (
  server: Server,
  serving: Serving,
  facts: ToolFacts,
  /** What is ambient where the tool is registered: middleware is. */
  services: Context.Context<never>,
  annotations: Context.Context<never> = facts.tool.annotations as Context.Context<never>
): Effect.Effect<void> =>
  Effect.suspend(() =>
    server.addTool({
      tool: listingOf(facts),
      annotations,
      services,
      handle: (args) => answer(serving, facts.name, args)
    })
  )

/**
 * Serves what a registry has, and no more. Effect's server forgets no tool, so one that is gone is switched off: it is
 * in no list and is not found.
 */
export const follow = (server: Server, serving: Serving, services: Context.Context<never>) => {
  /** What is served, by name: as it was listed. */
  const served = new Map<string, string>()
  const enable = (facts: ToolFacts): Context.Context<never> => {
    const annotations = facts.tool.annotations as Context.Context<never>
    const own = Context.getOrUndefined(annotations, EnabledWhen)
    return Context.add(
      annotations,
      EnabledWhen,
      (client) => served.has(facts.name) && own?.(client) !== false
    ) as Context.Context<never>
  }

  const put = Effect.fnUntraced(function* (facts: ToolFacts) {
    const listing = yield* Effect.sync(() => JSON.stringify(listingOf(facts)))
    if (served.get(facts.name) === listing) return
    served.set(facts.name, listing)
    yield* register(server, serving, facts, services, enable(facts))
  })

  /** One tool that cannot be listed takes none of the others with it. */
  const leftOut = new WeakSet<ToolFacts["tool"]>()
  const putOrLeaveOut = (facts: ToolFacts): Effect.Effect<void> =>
    Effect.catchCause(put(facts), (cause) => {
      if (Cause.hasInterrupts(cause)) return Effect.failCause(cause)
      served.delete(facts.name)
      if (leftOut.has(facts.tool)) return Effect.void
      leftOut.add(facts.tool)
      return Effect.logWarning(`The tool "${facts.name}" is not served over MCP`, cause)
    })

  const step = Effect.fnUntraced(function* ({ tools }: Pick<Pipeline, "tools">) {
    let removed = false
    for (const name of [...served.keys()]) {
      if (!tools.has(name)) removed = served.delete(name) || removed
    }
    for (const { facts } of tools.values()) yield* putOrLeaveOut(facts)
    if (removed) yield* server.notifications["notifications/tools/list_changed"]({})
  })

  // A server that has no tool when a client connects says that it never will have any.
  const announce = server.addTool({
    tool: new McpTool({ name: "interlock.announcement", inputSchema: { type: "object" } }),
    annotations: Context.make(EnabledWhen, () => false) as unknown as Context.Context<never>,
    handle: () => Effect.die(new Error("Nobody can call what is in no list"))
  })
  return { announce, step }
}
