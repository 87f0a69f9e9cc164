/**
 * Runs for calls that come over a protocol without any: calls of one principal
 * and session belong together until none came for a while.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { CurrentPrincipal, type Principal } from "../Principal.ts"
import * as Run from "../Run.ts"
import type { InRun } from "./governedToolkit.ts"

/** How long a run waits for another call. */
const endsAfter = 15 * 60_000
/** Runs that are remembered. */
const maxRuns = 10_000

/**
 * Whoever calls so is driven by a model, so that loops and taint are looked for. A run that is there already comes
 * first. Of more than 10,000 runs the longest unused is forgotten, with its taint. The prefix tells the ids of these runs
 * from those of others.
 */
export const runPerPrincipal = (idPrefix: string): InRun => {
  const runs = new Map<string, { readonly run: Run.Run; readonly usedAt: number }>()
  let lastId = 0
  const current = ({ id, session, tenant }: Principal, now: number): Run.Run => {
    const key = JSON.stringify([tenant, id, session])
    const known = runs.get(key)
    runs.delete(key)
    const run =
      known !== undefined && now - known.usedAt < endsAfter
        ? known.run
        : Run.make({ id: `${idPrefix}${++lastId}`, session, driver: "model" })
    for (const [other, { usedAt }] of runs) {
      // The longest unused stand first.
      if (now - usedAt < endsAfter && runs.size < maxRuns) break
      runs.delete(other)
    }
    runs.set(key, { run, usedAt: now })
    return run
  }
  return (call) =>
    Effect.withFiber((fiber) => {
      if (fiber.getRef(Run.CurrentRun) !== undefined) return call
      const now = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
      return Run.provide(call, current(fiber.getRef(CurrentPrincipal), now))
    })
}
