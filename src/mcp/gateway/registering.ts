/** Putting servers' tools into the registry: of two with one name the server that stands first has it. */
import * as Effect from "effect/Effect"
import type { DuplicateTool, ToolRegistry } from "../../ToolRegistry.ts"
import type { Implemented } from "../../Toolset.ts"
import * as Toolset from "../../Toolset.ts"
import { type Entry, type Offered, toolsOf } from "./entry.ts"

/** Puts in what may be offered now; whether anything was changed. Not to be run twice at once. */
export const register = Effect.fnUntraced(function* (
  registry: ToolRegistry["Service"],
  entries: ReadonlyArray<Entry>
): Effect.fn.Return<boolean> {
  const own = new Set(entries.map(sourceOf))
  const taken = new Set<string>()
  for (const [source, names] of yield* registry.sources) {
    if (!own.has(source)) for (const name of names) taken.add(name)
  }
  const all = entries.map((entry) => ({ entry, offered: toolsOf(entry, taken) }))
  for (const { entry, offered } of all) entry.shadowed = offered.shadowed
  const changed = all.filter(({ entry, offered }) => entry.state !== offered.state)
  // A name that goes from one server to another must be free before.
  const gained = new Set(
    changed.flatMap(({ entry, offered }) =>
      offered.tools.map(nameOf).filter((name) => !entry.tools.includes(name))
    )
  )
  for (const { entry } of changed) {
    if (entry.tools.some((name) => gained.has(name))) yield* registry.remove(sourceOf(entry))
  }
  for (const { entry, offered } of changed) yield* put(registry, entry, offered)
  return changed.length > 0
})

const put = (
  registry: ToolRegistry["Service"],
  entry: Entry,
  { state, tools }: Offered
): Effect.Effect<void> => {
  const putting = registry.put(sourceOf(entry), Toolset.dynamic(tools)) as Effect.Effect<void, DuplicateTool>
  return Effect.matchEffect(putting, {
    onSuccess: () =>
      Effect.sync(() => {
        entry.tools = tools.map(nameOf)
        entry.state = state
      }),
    // Somebody else has put in a tool of that name meanwhile.
    onFailure: (error) =>
      Effect.map(registry.remove(sourceOf(entry)), () => {
        entry.tools = []
        entry.state = ""
        entry.shadowed = [{ tool: error.tool, why: error.message }]
      })
  })
}

const sourceOf = ({ name }: Entry): string => `gateway/${name}`

const nameOf = ({ tool }: Implemented): string => tool.name
