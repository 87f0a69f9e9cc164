/**
 * What a governed call means, composed in the plainest way from Effect's own
 * combinators: the executable specification of the pipeline, and the naive case
 * of the benchmark. It is written to be read, and shares no code with the
 * pipeline: only the nouns, and the table of what each reason means.
 *
 *     find → permissions → policy by name → rate limit → size → rules on raw
 *     arguments → decode → rules on decoded arguments → idempotency key
 *     → confirmation → slot → grant
 *     → attempts( limit → circuit → money → timeout → handler → encode )
 *     → fallback → one record
 */
import type * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import {
  type Approvals,
  type Budget,
  type CircuitBreaker,
  type Interlock,
  Principal,
  ToolError,
  Verdict
} from "effect-interlock"
import * as Answers from "./plainAnswers.ts"
import { attempts } from "./plainAttempts.ts"
import {
  type Call,
  type Governed,
  left,
  nothingSeen,
  type Overrides,
  pastDeadline,
  type Seen
} from "./plainCall.ts"
import * as Circuit from "./plainCircuit.ts"
import * as Health from "./plainHealth.ts"
import * as Keys from "./plainKeys.ts"
import * as Money from "./plainMoney.ts"
import { millis, type Reason, type Refused, refuse } from "./plainNouns.ts"
import * as Quota from "./plainQuota.ts"
import * as Rules from "./plainRules.ts"
import * as Slots from "./plainSlots.ts"
import * as PlainTool from "./plainTool.ts"

export type { Overrides } from "./plainCall.ts"
export type { Handler } from "./plainTool.ts"

// --- What is asked, and what comes of it -----------------------------------

/** The options of `Interlock.layer` that the plain composition knows. */
export type Options = Pick<
  Interlock.Options,
  "permissions" | "policy" | "rules" | "rateLimits" | "bulkhead" | "backoff"
> & {
  readonly breaker?: CircuitBreaker.Options
  readonly budget?: ReadonlyArray<Budget.Limit>
  readonly approvals?: Approvals.Options
  readonly defaults?: {
    readonly timeout?: Duration.Input
    readonly deadline?: Duration.Input
    readonly retry?: { readonly retries?: number }
  }
}

/** What is left behind of a call. */
export interface Record extends Omit<Seen, "abandoned" | "mayHaveRun" | "charged" | "lease"> {
  readonly callId: string
  readonly tool: string
  readonly status: ToolError.Status
  readonly reason: ToolError.ReasonTag | undefined
  /** The stage that ended it. */
  readonly stage: string | undefined
  readonly queuedAt: number
  readonly completedAt: number
  readonly abandoned: boolean
}

/** How a call ended: with a value, or with why there is none; with both where its fallback answered. */
interface Outcome {
  readonly value: PlainTool.Value | undefined
  readonly refused: Refused | undefined
}

export interface Ended {
  readonly reason: Reason | undefined
  readonly value: PlainTool.Value | undefined
  /** The tool's own failure, as its handler gave it. */
  readonly failure: unknown
  readonly record: Record
}

// --- The system ------------------------------------------------------------

/** A system of tools. `onEnd` sees the record of every call. */
export const make = Effect.fnUntraced(function* (
  tools: ReadonlyArray<{ readonly tool: Tool.Any; readonly handler: PlainTool.Handler }>,
  options: Options = {},
  onEnd: (record: Record) => void = () => {}
) {
  const { backoff = {}, defaults = {}, permissions = {}, policy = {}, rateLimits = [], rules = [] } = options
  const quota = yield* Quota.make(rateLimits.filter(({ per }) => per !== "attempt"))
  const quotaPerAttempt = yield* Quota.make(rateLimits.filter(({ per }) => per === "attempt"))
  const slotsOverAll = yield* Slots.make("executor", options.bulkhead ?? {})
  const money = yield* Money.make(options.budget ?? [])
  const answers = yield* Answers.make(options.approvals ?? {})
  const keys = yield* Keys.make
  const healths = yield* Ref.make<ReadonlyMap<string, Health.Health>>(new Map())

  const circuits = new Map<string, Circuit.Circuit>()
  const governed = new Map<string, Governed>()
  for (const { handler, tool } of tools) {
    const { circuit: key, ...plain } = PlainTool.make(tool, handler, defaults)
    const { bulkhead = {}, names } = plain.facts
    if (key !== undefined && !circuits.has(key)) {
      circuits.set(key, yield* Circuit.make(key, options.breaker ?? {}))
    }
    governed.set(tool.name, {
      ...plain,
      named: Rules.byName(policy, plain.facts),
      quota: quota(names),
      quotaPerAttempt: quotaPerAttempt(names),
      slots: yield* Slots.make("tool", bulkhead),
      circuit: key === undefined ? undefined : circuits.get(key),
      money: money.forTool(names)
    })
  }

  // --- Before the handler ---

  /** Refuses whom the call is forbidden to, and what is too much. */
  const admitted = Effect.fnUntraced(function* (call: Call): Effect.fn.Return<void, Refused> {
    const { asker, tool } = call
    if ((yield* left(call)) <= 0) return yield* refuse("find", pastDeadline(call))
    yield* Rules.permitted(permissions, asker.principal, tool.facts)
    yield* Rules.unlessDenied("policy", tool.named)
    // The quota is looked at before anyone looks at the arguments, and taken at once where nobody can be asked.
    const { charged } = yield* Ref.get(call.seen)
    if (!charged) yield* mayAsk(call) ? tool.quota.look(asker) : charge(call)
  })

  const mayAsk = ({ overrides, tool }: Call): boolean =>
    overrides.requireConfirmation === true ||
    overrides.isGranted === true ||
    tool.named._tag !== "Allow" ||
    rules.length > 0

  const charge = ({ asker, seen, tool }: Call): Effect.Effect<void, Refused> =>
    Effect.andThen(
      tool.quota.take(asker),
      Ref.update(seen, (seen) => ({ ...seen, charged: true }))
    )

  /** The arguments, decoded, and what is said of the call by now: never a denial. */
  const examined = Effect.fnUntraced(function* ({ asker, overrides, params, tool }: Call) {
    yield* Rules.smallEnough(params, policy.argumentLimits)
    const say = (params: unknown) =>
      Rules.byArguments(rules, { tool: tool.facts, principal: asker.principal, params })
    const raw = say(params)
    yield* Rules.unlessDenied("policy_raw", raw)
    const decoded = yield* tool.decode(params)
    const again = say(decoded)
    yield* Rules.unlessDenied("policy_decoded", again)
    const wish = overrides.requireConfirmation === true ? Verdict.confirm("", "") : Verdict.allow
    return { decoded, verdict: Verdict.combineAll([tool.named, raw, again, wish]) }
  })

  /** Waits no longer than the call may take. */
  const inTime = <A>(call: Call, stage: string, wait: Effect.Effect<A>): Effect.Effect<A, Refused> =>
    Effect.flatMap(left(call), (duration) =>
      Effect.timeoutOrElse(wait, { duration, orElse: () => refuse(stage, pastDeadline(call)) })
    )

  // --- What runs once ---

  /** Takes the call's key: the outcome it has, or `again` when another call under it has ended meanwhile. */
  const claimed = Effect.fnUntraced(function* (
    call: Call
  ): Effect.fn.Return<Outcome | "again" | undefined, Refused> {
    const { asker, deadline, overrides, params, seen, tool } = call
    const { idempotencyKey: key } = overrides
    if (key === undefined) return undefined
    const now = yield* Clock.currentTimeMillis
    const { id, tenant } = asker.principal
    const claim = yield* keys.claim(JSON.stringify([tenant, id, asker.tool, key]), {
      callId: asker.callId,
      about: JSON.stringify(params),
      expiresAt: Number.isFinite(deadline) ? deadline : now + tool.timeout * (tool.retries + 1) + 600_000,
      takeOver: tool.repeatable
    })
    switch (claim._tag) {
      case "Run":
        yield* Ref.update(seen, (seen) => ({ ...seen, lease: claim.lease }))
        return undefined
      case "InFlight":
        yield* inTime(call, "idempotency", claim.wait)
        return "again"
      case "Conflict":
        return yield* refuse("idempotency", { _tag: "IdempotencyConflict", key })
      case "Abandoned":
        return yield* refuse("idempotency", { _tag: "OutcomeUnknown", callId: claim.callId })
      case "Done": {
        yield* Ref.update(seen, (seen) => ({ ...seen, answeredFrom: "idempotency" as const }))
        const { outcome } = claim
        if ("encoded" in outcome) {
          const { encoded } = outcome
          return {
            value: { given: yield* Effect.orDie(tool.decodeSuccess(encoded)), encoded },
            refused: undefined
          }
        }
        const { reason } = outcome
        const failure =
          reason._tag === "ToolFailed" ? yield* Effect.orDie(tool.decodeFailure(reason.failure)) : undefined
        return yield* Effect.fail<Refused>({ stage: "idempotency", reason, failure })
      }
    }
  })

  /** What becomes of the key: an outcome that is final is every repetition's answer. */
  const settleKey = Effect.fnUntraced(function* (
    { attempts, lease, mayHaveRun }: Seen,
    { refused, value }: Outcome
  ) {
    if (lease === undefined) return
    if (attempts === 0) return yield* lease.release
    if (refused === undefined) return yield* lease.complete({ encoded: value?.encoded })
    if (refused.attempted === "unknown" || mayHaveRun) return yield* lease.abandon
    const { reason } = refused
    return yield* reason._tag === "ToolFailed" && ToolError.classOf(reason) === "Caller"
      ? lease.complete({ reason })
      : lease.release
  })

  // --- The whole call ---

  const answered: (call: Call) => Effect.Effect<Outcome, Refused> = Effect.fnUntraced(function* (call) {
    yield* admitted(call)
    // Who is refused from here on has been looked at, and is charged for it.
    const looked = Effect.gen(function* () {
      const { decoded, verdict } = yield* examined(call)
      return { decoded, verdict, known: yield* claimed(call) }
    })
    const { charged } = yield* Ref.get(call.seen)
    const { decoded, known, verdict } = yield* charged
      ? looked
      : Effect.tapError(looked, () => call.tool.quota.charge(call.asker))
    // Rights may have gone while another call ran.
    if (known === "again") return yield* answered(call)
    if (known !== undefined) return known
    return yield* decided(call, decoded, verdict)
  })

  const decided = Effect.fnUntraced(function* (
    call: Call,
    decoded: unknown,
    verdict: Verdict.Verdict
  ): Effect.fn.Return<Outcome, Refused> {
    const { asker, overrides, params, tool } = call
    const question: Answers.Subject | undefined =
      verdict._tag === "Allow" && overrides.isGranted !== true
        ? undefined
        : { asker, params, by: verdict._tag === "Approve" ? "approve" : "confirm" }
    if (question !== undefined) yield* answers.ask(question)
    if (!(yield* Ref.get(call.seen)).charged) yield* charge(call)
    const run = Effect.gen(function* () {
      if (question !== undefined) {
        // What would be refused anyway must not cost a human another answer.
        yield* tool.quotaPerAttempt.look(asker)
        if (tool.circuit !== undefined) yield* tool.circuit.look
        if (tool.bound !== undefined && tool.money !== undefined) yield* tool.money.look(asker, tool.bound)
        yield* answers.use(question)
      }
      return yield* attempts(call, decoded, backoff)
    })
    return yield* Effect.matchEffect(inSlots(call, run), {
      onSuccess: (value) => Effect.succeed({ value, refused: undefined }),
      onFailure: (refused) => orFallback(call, refused)
    })
  })

  /** A slot of the tool first, then one over all. */
  const inSlots = <A>(call: Call, run: Effect.Effect<A, Refused>): Effect.Effect<A, Refused> => {
    const waiting = {
      inTime: (wait: Effect.Effect<unknown>) => inTime(call, "bulkhead", wait),
      lingering: Effect.map(Ref.get(call.seen), ({ abandoned }) => abandoned)
    }
    return call.tool.slots.enter((waited) => slotsOverAll.enter(() => run, { ...waiting, waited }), {
      ...waiting,
      waited: false
    })
  }

  /** The tool's fallback where its own answer is missing; none where that does not fit the tool's schema. */
  const orFallback = ({ tool }: Call, refused: Refused): Effect.Effect<Outcome, Refused> =>
    tool.fallback === undefined || !ToolError.table[refused.reason._tag].fallback
      ? Effect.fail(refused)
      : Effect.matchEffect(tool.encode(tool.fallback.value), {
          onFailure: () => Effect.fail(refused),
          onSuccess: (value) => Effect.succeed({ value, refused })
        })

  const recorded = Effect.fnUntraced(function* (
    { callId, queuedAt, seen, tool }: { callId: string; queuedAt: number; seen: Ref.Ref<Seen>; tool: string },
    outcome: Outcome
  ) {
    const { refused, value } = outcome
    const all = yield* Ref.get(seen)
    const { abandoned, charged: _, lease: __, mayHaveRun: ___, retried, ...noted } = all
    const record: Record = {
      ...noted,
      callId,
      tool,
      status:
        refused === undefined
          ? "success"
          : value === undefined
            ? ToolError.table[refused.reason._tag].status
            : "degraded",
      reason: refused?.reason._tag,
      stage: refused?.stage,
      // A retry that was announced and never began was none.
      retried: retried.filter(({ attempt }) => attempt < noted.attempts),
      queuedAt,
      completedAt: yield* Clock.currentTimeMillis,
      abandoned: abandoned.length > 0
    }
    yield* Ref.update(healths, (all) =>
      new Map(all).set(tool, Health.fold(all.get(tool) ?? Health.untouched, record))
    )
    onEnd(record)
    yield* settleKey(all, outcome)
    return { reason: refused?.reason, value, failure: refused?.failure, record }
  })

  /** Runs one call for the calling fiber's principal, and leaves one record. */
  const call = (name: string, params: unknown, overrides: Overrides = {}): Effect.Effect<Ended> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const queuedAt = yield* Clock.currentTimeMillis
        const principal = yield* Principal.CurrentPrincipal
        const seen = yield* Ref.make(nothingSeen)
        const tool = governed.get(name)
        const callId = overrides.id ?? `call at ${queuedAt}`
        const call = { callId, queuedAt, seen, tool: tool === undefined ? "(unknown)" : name }
        if (tool === undefined) {
          const refused: Refused = { stage: "find", reason: { _tag: "ToolNotFound", tool: name } }
          return yield* recorded(call, { value: undefined, refused })
        }
        const byDefault =
          defaults.deadline === undefined ? Number.POSITIVE_INFINITY : queuedAt + millis(defaults.deadline)
        const outcome = answered({
          tool,
          // No arguments at all are none.
          params: params === undefined ? {} : params,
          overrides,
          asker: { callId, tool: name, principal },
          queuedAt,
          deadline: Math.min(overrides.deadline ?? Number.POSITIVE_INFINITY, byDefault),
          seen
        })
        const exit = yield* Effect.exit(restore(outcome))
        if (Exit.isSuccess(exit)) return yield* recorded(call, exit.value)
        const refused = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
        if (refused !== undefined) return yield* recorded(call, { value: undefined, refused })
        // Interruption stays interruption; a bug of governance is a result.
        const isInterrupted = Cause.hasInterrupts(exit.cause)
        const reason: Reason = { _tag: isInterrupted ? "Cancelled" : "HandlerDefect" }
        const ended = yield* recorded(call, {
          value: undefined,
          refused: { stage: "", reason, attempted: "unknown" }
        })
        return isInterrupted ? yield* Effect.interrupt : ended
      })
    )

  return {
    call,
    /** The same for typed code: the success as it is, or why there is none. */
    run: (name: string, params: unknown, overrides?: Overrides): Effect.Effect<unknown, unknown> =>
      Effect.flatMap(call(name, params, overrides), ({ failure, reason, value }) =>
        value !== undefined
          ? Effect.succeed(value.given)
          : Effect.fail(reason?._tag === "ToolFailed" ? failure : reason)
      ),
    /** What a human says of what was asked about a call. */
    decide: answers.decide,
    health: (tool: string) => Effect.map(Ref.get(healths), (all) => all.get(tool) ?? Health.untouched),
    circuits: circuits as ReadonlyMap<string, Circuit.Circuit>,
    standing: money.standing,
    /** Calls that hold all the slots they need, and calls that wait for one, of those that need any. */
    slots: Effect.gen(function* () {
      const limited = [...governed.values()].filter(({ facts }) => facts.bulkhead !== undefined)
      const perTool = yield* Effect.forEach(limited, ({ slots }) => slots.counts)
      const overAll = yield* slotsOverAll.counts
      const sum = (numbers: ReadonlyArray<number>) => numbers.reduce((total, n) => total + n, 0)
      return {
        running:
          options.bulkhead === undefined ? sum(perTool.map(({ running }) => running)) : overAll.running,
        queued: sum(perTool.map(({ queued }) => queued)) + overAll.queued
      }
    })
  }
})
