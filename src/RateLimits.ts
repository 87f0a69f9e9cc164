/**
 * How many calls may pass in a time: any number of limits at once, each with
 * its own selection of calls and its own keys.
 *
 * A call takes one from every limit that applies to it, or from none. Where one
 * is used up the call is refused, with the time at which all of them have room
 * again; where every limit that is used up says `onExceeded: "wait"`, the call
 * waits in a line per key, first come, first served, and a newcomer joins
 * behind. A call that waits holds nothing. It goes on when all its limits have
 * room at once; a refusing limit that is used up by then refuses it after all.
 * Where several waiting limits are each kept full by other calls, one that needs
 * them all may wait longer than those that need one: deadlines are for that.
 *
 * A limit without a key for a call (by tenant, and the principal has none) does
 * not apply to it.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { type CountedLimit, Counter, Counters, type Waiting } from "./internal/counters.ts"
import * as Glob from "./internal/glob.ts"
import { Line, type Place } from "./internal/line.ts"
import * as Quota from "./internal/quota.ts"
import type { Principal } from "./Principal.ts"
import type { ToolFacts } from "./ToolAnnotations.ts"
import type { Reason } from "./ToolError.ts"

/** What a limit may look at. */
export interface LimitedCall {
  readonly tool: ToolFacts
  readonly principal: Principal
  readonly params: unknown
  readonly metadata: Readonly<Record<string, string>> | undefined
}

export interface Limit {
  /** Shown to whoever is refused; default a description such as `100 per 1h by principal`. */
  readonly name?: string
  /** Calls per window, 1 or more; whole for windows. */
  readonly limit: number
  /** Finite, and at least a millisecond; parts of one are rounded up. */
  readonly window: Duration.Input
  /**
   * `window` (default): at most `limit` per window; a key's window begins with its first take. `token-bucket`: a
   * bucket of `limit` tokens that refills by `limit` per window, continuously.
   */
  readonly algorithm?: "window" | "token-bucket"
  /**
   * What is counted apart; default `all`: nothing. `tag`: one key per tag of the tool, of those in `tags` where
   * given. `principal`: its id within its tenant. A function must be pure; `undefined` is no key.
   */
  readonly by?: "all" | "tool" | "tag" | "principal" | "tenant" | ((call: LimitedCall) => string | undefined)
  /** Which calls it applies to, all of them by default; what is given must hold together. */
  readonly tools?: ReadonlyArray<Glob.Glob>
  /** The tool has one of them. */
  readonly tags?: ReadonlyArray<string>
  /** The principal has one of them; tiers are two lines. */
  readonly roles?: ReadonlyArray<string>
  /** `attempt` counts retries too; default `call`. */
  readonly per?: "call" | "attempt"
  /** Default `fail`. */
  readonly onExceeded?: "fail" | "wait"
}

export type Refusal = Extract<Reason, { readonly _tag: "RateLimited" }>

/** The limits that can ever apply to one tool. `now` is the caller's clock, in milliseconds since the epoch. */
export interface ToolLimits {
  /** Whether a call would be refused now. Takes nothing; limits that wait never refuse here. */
  readonly peek: (call: LimitedCall, now: number) => Effect.Effect<Refusal | undefined>
  /** Takes one from every limit that applies, or from none; waits where only waiting limits are used up. */
  readonly take: (call: LimitedCall, now: number) => Effect.Effect<Refusal | undefined>
  /** Charges every limit that applies, past its end if need be. Never refuses, never waits. */
  readonly charge: (call: LimitedCall, now: number) => Effect.Effect<void>
}

export class RateLimits extends Context.Service<
  RateLimits,
  {
    /** `undefined`: no limit can apply, so a call pays nothing. */
    readonly forTool: (tool: ToolFacts, per: "call" | "attempt") => ToolLimits | undefined
  }
>()("interlock/RateLimits") {}

// --- In process ------------------------------------------------------------

export interface MemoryOptions {
  /** Counters over all limits, default 100,000. */
  readonly maxKeys?: number
}

/**
 * Limits that count in this process; without any, none applies. What need not wait is done when called, and answers
 * with an `Exit`.
 *
 * Memory is bounded: beyond `maxKeys` the counter used longest ago is forgotten, expired ones first. A
 * forgotten key starts anew, so under that pressure calls are let through rather than refused. An invalid limit dies
 * when the layer is built.
 */
export const layerMemory = (
  limits: ReadonlyArray<Limit> = [],
  options: MemoryOptions = {}
): Layer.Layer<RateLimits> => Layer.sync(RateLimits, () => make(limits, options))

export const make = (
  limits: ReadonlyArray<Limit>,
  { maxKeys = 100_000 }: MemoryOptions = {}
): RateLimits["Service"] => {
  if (!(maxKeys >= 1)) throw new RangeError(`maxKeys must be at least 1, not ${maxKeys}`)
  const compiled = limits.map(compile)
  const counters = new Counters(compiled, maxKeys)
  return {
    forTool: (tool, per) => {
      const rules = compiled.flatMap((limit) => (limit.per === per ? limit.rulesFor(tool) : []))
      return rules.length === 0 ? undefined : new MemoryToolLimits(rules, counters)
    }
  }
}

// --- Taking ----------------------------------------------------------------

/** A limit as one tool sees it: the key of a call, or `undefined` where it does not apply. */
interface Rule {
  readonly limit: CountedLimit
  readonly keyOf: (call: LimitedCall) => string | undefined
  /** Whether keys are told apart within the principal's tenant. */
  readonly withinTenant: boolean
}

/** What all counters of a call say together. */
class Standing {
  /** The used-up counter that is ready last, and when. */
  last: Counter | undefined = undefined
  readyAt: number
  /** Whether one that is used up refuses. */
  refused = false
  /** A counter with room at which someone waits who came earlier. */
  behind: Counter | undefined = undefined

  constructor(now: number) {
    this.readyAt = now
  }
}

/** The counters that a call takes from, by the place of their rule; a rule that does not apply has none. */
type Claims = Array<Counter | undefined>

const none: Effect.Effect<undefined> = Exit.succeed(undefined)

class MemoryToolLimits implements ToolLimits {
  readonly #rules: ReadonlyArray<Rule>
  readonly counters: Counters

  constructor(rules: ReadonlyArray<Rule>, counters: Counters) {
    this.#rules = rules
    this.counters = counters
  }

  peek(call: LimitedCall, now: number): Effect.Effect<Refusal | undefined> {
    try {
      const standing = this.consult(call, now, Number.POSITIVE_INFINITY)
      return standing.refused ? Exit.succeed(refusalOf(standing, now)) : none
    } catch (defect) {
      return Exit.die(defect)
    }
  }

  take(call: LimitedCall, now: number): Effect.Effect<Refusal | undefined> {
    try {
      const claims = this.claims()
      const standing = this.consult(call, now, Number.POSITIVE_INFINITY, claims)
      if (standing.refused) return Exit.succeed(refusalOf(standing, now))
      if (standing.last !== undefined || standing.behind !== undefined) return this.#wait(call)
      this.counters.takeEach(claims, now)
      return none
    } catch (defect) {
      return Exit.die(defect)
    }
  }

  charge(call: LimitedCall, now: number): Effect.Effect<void> {
    try {
      const claims = this.claims()
      this.consult(call, now, Number.POSITIVE_INFINITY, claims)
      this.counters.takeEach(claims, now)
      return none
    } catch (defect) {
      return Exit.die(defect)
    }
  }

  /** As long as it will be, because one that grows makes room for many. */
  claims(): Claims {
    return new Array(this.#rules.length)
  }

  /**
   * Looks at every counter of a call, on behalf of one who came at `turn`, and fills in `claims`. A key that is not
   * counted yet has room, and has a counter only where it is claimed. Changes nothing.
   */
  consult(call: LimitedCall, now: number, turn: number, claims?: Claims): Standing {
    const standing = new Standing(now)
    for (let i = 0; i < this.#rules.length; i++) {
      const { keyOf, limit, withinTenant } = this.#rules[i]!
      const key = keyOf(call)
      if (key === undefined) continue
      const tenant = withinTenant ? call.principal.tenant : undefined
      const counter = this.counters.find(limit, tenant, key)
      if (claims !== undefined) claims[i] = counter ?? new Counter(limit, tenant, key, now)
      if (counter === undefined) continue
      const readyAt = limit.algorithm.readyAt(counter, now)
      if (readyAt > now) {
        if (!limit.waits) standing.refused = true
        if (readyAt > standing.readyAt) {
          standing.readyAt = readyAt
          standing.last = counter
        }
      } else if (counter.waiting.first !== undefined && counter.waiting.first.value.turn < turn) {
        standing.behind = counter
      }
    }
    return standing
  }

  // Joining a line and suspending are one step, so an interruption always finds the waiter's cleanup in place.
  #wait(call: LimitedCall): Effect.Effect<Refusal | undefined> {
    return Effect.withFiber((fiber) =>
      Effect.callback<Refusal | undefined>((resume) => {
        const waiter = new Waiter(this, call, fiber, resume)
        const heldUpBy = waiter.advance(waiter.clock.currentTimeMillisUnsafe())
        if (heldUpBy !== undefined) this.counters.join(waiter, heldUpBy)
        return Effect.sync(() => waiter.abandon())
      })
    )
  }
}

const refusalOf = ({ last, readyAt }: Standing, now: number): Refusal => ({
  _tag: "RateLimited",
  limit: last!.limit.name,
  retryAfter: Duration.millis(readyAt - now)
})

/** A take that waits: in one line at a time, that of the counter which is ready last. */
class Waiter implements Waiting {
  readonly turn: number
  readonly clock: Clock.Clock
  readonly context: Context.Context<never>
  place: Place<Waiting> | undefined = undefined
  counter: Counter | undefined = undefined
  readonly #limits: MemoryToolLimits
  readonly #call: LimitedCall
  readonly #fiber: Fiber.Fiber<unknown, unknown>
  readonly #resume: (effect: Effect.Effect<Refusal | undefined>) => void
  #taken: Claims = []
  #takenAt = 0

  constructor(
    limits: MemoryToolLimits,
    call: LimitedCall,
    fiber: Fiber.Fiber<unknown, unknown>,
    resume: (effect: Effect.Effect<Refusal | undefined>) => void
  ) {
    this.turn = limits.counters.nextTurn()
    this.clock = fiber.getRef(Clock.Clock)
    this.context = fiber.context
    this.#limits = limits
    this.#call = call
    this.#fiber = fiber
    this.#resume = resume
  }

  advance(now: number): Counter | undefined {
    try {
      const claims = this.#limits.claims()
      const standing = this.#limits.consult(this.#call, now, this.turn, claims)
      if (standing.refused) {
        this.#settle(Exit.succeed(refusalOf(standing, now)))
        return undefined
      }
      const heldUpBy = standing.last ?? standing.behind
      if (heldUpBy !== undefined) return heldUpBy
      this.#limits.counters.takeEach(claims, now)
      this.#taken = claims
      this.#takenAt = now
      this.#settle(none)
    } catch (defect) {
      this.#settle(Exit.die(defect))
    }
    return undefined
  }

  /** The fiber was interrupted: out of the line, or what it was given goes back, for it has not seen it. */
  abandon(): void {
    this.#limits.counters.leave(this)
    for (const counter of this.#taken) {
      if (counter !== undefined) this.#limits.counters.giveBack(counter, this.#takenAt)
    }
  }

  // Scheduled, so that the fiber's own code does not run while a line is served.
  #settle(outcome: Effect.Effect<Refusal | undefined>): void {
    this.#fiber.currentDispatcher.scheduleTask(() => this.#resume(outcome), 0)
  }
}

// --- Compiling -------------------------------------------------------------

interface CompiledLimit extends CountedLimit {
  readonly per: "call" | "attempt"
  /** None where the limit cannot apply to the tool. */
  readonly rulesFor: (tool: ToolFacts) => ReadonlyArray<Rule>
}

const compile = (limit: Limit, index: number): CompiledLimit => {
  const { by = "all", roles } = limit
  const invalid = (field: string, expected: string): never => {
    const name = limit.name === undefined ? "" : ` (${limit.name})`
    throw new RangeError(`limits[${index}]${name}: ${field} must be ${expected}`)
  }
  const bucket = limit.algorithm === "token-bucket"
  if (!Number.isFinite(limit.limit) || limit.limit < 1) invalid("limit", "a number of at least 1")
  if (!bucket && !Number.isInteger(limit.limit)) invalid("limit", "a whole number for windows")
  const duration = Option.getOrElse(Duration.fromInput(limit.window), () => Duration.zero)
  const window = Math.ceil(Duration.toMillis(duration))
  if (!(window > 0 && window < Number.POSITIVE_INFINITY)) {
    invalid("window", "a finite duration longer than 0")
  }

  const apart = by === "all" ? "" : ` by ${typeof by === "function" ? "key" : by}`
  const compiled: CompiledLimit = {
    name: limit.name ?? `${limit.limit} per ${Duration.format(Duration.millis(window))}${apart}`,
    per: limit.per ?? "call",
    waits: limit.onExceeded === "wait",
    algorithm: bucket ? Quota.tokenBucket(limit.limit, window) : Quota.fixedWindow(limit.limit, window),
    counters: new Map(),
    byUse: new Line(),
    rulesFor: (tool) => (selects(limit, tool) ? rulesOf(tool) : [])
  }
  const ruleOf = (keyOf: Rule["keyOf"]): Rule => ({
    limit: compiled,
    keyOf: onlyFor(roles, keyOf),
    // Ids are unique within a tenant.
    withinTenant: by === "principal"
  })
  const rulesOf = rulesFor(by, limit.tags, ruleOf)
  return compiled
}

const selects = ({ tools, tags }: Limit, tool: ToolFacts): boolean =>
  (tools === undefined || Glob.find(tools, tool.names) !== undefined) &&
  (tags === undefined || tags.some((tag) => tool.tags.includes(tag)))

const onlyFor = (roles: ReadonlyArray<string> | undefined, keyOf: Rule["keyOf"]): Rule["keyOf"] =>
  roles === undefined
    ? keyOf
    : (call) => (call.principal.roles.some((role) => roles.includes(role)) ? keyOf(call) : undefined)

/** One rule, the same for all tools, or one for each key that a tool is. */
const rulesFor = (
  by: NonNullable<Limit["by"]>,
  tags: ReadonlyArray<string> | undefined,
  ruleOf: (keyOf: Rule["keyOf"]) => Rule
): ((tool: ToolFacts) => ReadonlyArray<Rule>) => {
  const one = (keyOf: Rule["keyOf"]) => {
    const rules = [ruleOf(keyOf)]
    return () => rules
  }
  switch (by) {
    case "all":
      return one(() => "")
    case "tool":
      return ({ name }) => [ruleOf(() => name)]
    case "tag":
      return (tool) =>
        [...new Set(tool.tags)]
          .filter((tag) => tags === undefined || tags.includes(tag))
          .map((tag) => ruleOf(() => tag))
    case "principal":
      return one(({ principal }) => principal.id)
    case "tenant":
      return one(({ principal }) => principal.tenant)
    default:
      return one(by)
  }
}
