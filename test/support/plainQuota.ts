/** How many calls may pass in a time, in the plainest way: limits that refuse, each counting by window. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import type { RateLimits } from "effect-interlock"
import { type Asker, millis, type Reason, type Refused, refuse, selects } from "./plainNouns.ts"

/** The limits that apply to one tool. */
export interface Quota {
  /** Whether the call would be refused now. */
  readonly look: (asker: Asker) => Effect.Effect<void, Refused>
  /** Takes one from every limit, or from none. */
  readonly take: (asker: Asker) => Effect.Effect<void, Refused>
  /** Takes one from every limit, past its end if need be. */
  readonly charge: (asker: Asker) => Effect.Effect<void>
}

/** A window begins with its first take. */
interface Window {
  readonly since: number
  readonly used: number
}

interface Counted {
  readonly limit: RateLimits.Limit
  readonly millis: number
  readonly windows: Ref.Ref<ReadonlyMap<string, Window>>
}

export const make = Effect.fnUntraced(function* (
  limits: ReadonlyArray<RateLimits.Limit>
): Effect.fn.Return<(names: ReadonlyArray<string>) => Quota> {
  const counted = yield* Effect.forEach(limits, (limit) =>
    Effect.map(
      Ref.make<Counted["windows"]["ref"]["current"]>(new Map()),
      (windows): Counted => ({ limit, millis: millis(limit.window), windows })
    )
  )
  return (names) => forTool(counted.filter(({ limit }) => selects(limit, names)))
})

const forTool = (counted: ReadonlyArray<Counted>): Quota => {
  const look = Effect.fnUntraced(function* (asker: Asker): Effect.fn.Return<void, Refused> {
    const now = yield* Clock.currentTimeMillis
    let refusal: Reason | undefined
    let latest = now
    for (const { limit, millis, windows } of counted) {
      const window = (yield* Ref.get(windows)).get(keyOf(limit, asker))
      if (window === undefined || window.used < limit.limit) continue
      // Of the limits that are used up, the one is named that stays so longest.
      const endsAt = window.since + millis
      if (endsAt <= latest) continue
      latest = endsAt
      refusal = { _tag: "RateLimited", limit: limit.name ?? "", retryAfter: Duration.millis(endsAt - now) }
    }
    if (refusal !== undefined) return yield* refuse("rate_limit", refusal)
  })
  const charge = Effect.fnUntraced(function* (asker: Asker) {
    const now = yield* Clock.currentTimeMillis
    for (const { limit, millis, windows } of counted) {
      const key = keyOf(limit, asker)
      yield* Ref.update(windows, (all) => {
        const { since, used } = all.get(key) ?? { since: now, used: 0 }
        const isOver = now >= since + millis
        return new Map(all).set(key, isOver ? { since: now, used: 1 } : { since, used: used + 1 })
      })
    }
  })
  return { look, charge, take: (asker) => Effect.andThen(look(asker), charge(asker)) }
}

const keyOf = ({ by = "all" }: RateLimits.Limit, { principal, tool }: Asker): string => {
  if (by === "tool") return tool
  return by === "principal" ? JSON.stringify([principal.tenant, principal.id]) : ""
}
