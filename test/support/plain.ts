/**
 * What a governed call means, composed in the plainest way from Effect's own
 * combinators: the executable specification of the pipeline, and the naive case
 * of the benchmark. It is written to be read, and shares no code with the
 * pipeline: only the nouns, and the table of what each reason means.
 *
 *     find → permissions → policy by name → rate limit → size → policy by raw
 *     arguments → decode → policy by decoded arguments → confirmation → slot
 *     → grant → attempts( limit → circuit → money → timeout → handler → encode )
 *     → fallback → one record
 */
import type * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import {
  ToolAnnotations as Annotate,
  Classification,
  CurrentCall,
  type Interlock,
  Principal,
  type SecurityPolicy,
  ToolError,
  Verdict
} from "effect-interlock"
import * as Shared from "./plainShared.ts"
import { refuse } from "./plainShared.ts"

type Reason = ToolError.Reason
type Refused = Shared.Refused

// --- What is asked, and what comes of it -----------------------------------

/** A handler as an application writes it. */
export type Handler = (
  params: never,
  context: { readonly toolCallId: string; readonly signal: AbortSignal }
) => unknown

export type Options = Pick<
  Interlock.Options,
  "permissions" | "policy" | "rules" | "rateLimits" | "bulkhead" | "backoff" | "health"
> & {
  readonly breaker?: import("effect-interlock").CircuitBreaker.Options
  readonly budget?: ReadonlyArray<import("effect-interlock").Budget.Limit>
  readonly approvals?: import("effect-interlock").Approvals.Options
  readonly defaults?: {
    readonly timeout?: Duration.Input
    readonly deadline?: Duration.Input | undefined
    readonly retry?: { readonly retries?: number }
  }
}

/** What one call asks for itself. Times in milliseconds; the deadline is a point in time. */
export interface Overrides {
  readonly id?: string | undefined
  readonly timeout?: number | undefined
  readonly retries?: number | undefined
  readonly deadline?: number | undefined
  readonly requireConfirmation?: boolean | undefined
}

/** What is left behind of a call. */
export interface Record {
  readonly callId: string
  readonly tool: string
  readonly status: ToolError.Status
  readonly reason: Reason["_tag"] | undefined
  readonly stage: string | undefined
  readonly attempts: number
  readonly retried: ReadonlyArray<{ readonly attempt: number; readonly code: string; readonly delay: number }>
  readonly queuedAt: number
  readonly startedAt: number | undefined
  readonly completedAt: number
  readonly abandoned: boolean
  readonly cost: number | undefined
  readonly breaker: "closed" | "half_open" | "open" | undefined
}

/** How a call ended: with a value, its own or its fallback's; or with a reason. */
export interface Ended {
  readonly reason: Reason | undefined
  readonly value: Value | undefined
  /** The tool's own failure, as its handler gave it. */
  readonly failure: unknown
  readonly record: Record
}

interface Value {
  readonly given: unknown
  readonly encoded: unknown
}

interface Outcome extends Omit<Ended, "record"> {
  readonly stage: string | undefined
}

/** A call under way. */
interface Call {
  readonly tool: Compiled
  readonly params: unknown
  readonly overrides: Overrides
  readonly asker: Shared.Asker
  readonly queuedAt: number
  /** When the call must have ended; infinite where nothing says so. */
  readonly deadline: number
  readonly seen: Ref.Ref<Seen>
}

/** What is noted of a call while it runs. */
interface Seen {
  readonly attempts: number
  readonly retried: Record["retried"]
  readonly startedAt: number | undefined
  readonly abandoned: ReadonlyArray<Promise<unknown>>
  readonly cost: number | undefined
  readonly breaker: Record["breaker"]
}

// --- Tools -----------------------------------------------------------------

interface Compiled {
  readonly tool: Tool.Any
  readonly facts: Annotate.ToolFacts
  readonly handler: Handler
  readonly circuit: string | undefined
  readonly timeout: number
  readonly retries: number
  readonly bound: number | undefined
  readonly fallback: { readonly value: unknown } | undefined
  /** Safe to run again when nobody knows whether it ran. */
  readonly repeatable: boolean
  readonly classify: Annotate.Classify["Service"] | undefined
  readonly slots: Shared.Slots
}

const compile = Effect.fnUntraced(function* (
  tool: Tool.Any,
  handler: Handler,
  { defaults = {} }: Options
): Effect.fn.Return<Compiled> {
  const facts = Annotate.read(tool)
  const get = <I, S>(key: Context.Key<I, S>): S | undefined =>
    Context.getOrUndefined(tool.annotations as Context.Context<never>, key)
  const circuit = get(Annotate.Circuit)
  return {
    tool,
    facts,
    handler,
    circuit: circuit === false ? undefined : (circuit ?? tool.name),
    timeout: Shared.millis(get(Annotate.Timeout) ?? defaults.timeout ?? "30 seconds"),
    retries: get(Annotate.Retries) ?? defaults.retry?.retries ?? 3,
    bound: get(Annotate.Cost) as number | undefined,
    fallback: get(Annotate.Fallback) as { readonly value: unknown } | undefined,
    repeatable: facts.readonly === true || facts.idempotent === true,
    classify: get(Annotate.Classify),
    slots: yield* Shared.makeSlots("tool", facts.bulkhead ?? {})
  }
})

// --- The system ------------------------------------------------------------

export const make = Effect.fnUntraced(function* (
  tools: ReadonlyArray<{ readonly tool: Tool.Any; readonly handler: Handler }>,
  options: Options = {}
) {
  const { policy = {}, rules = [] } = options
  const compiled = new Map<string, Compiled>()
  for (const { handler, tool } of tools) compiled.set(tool.name, yield* compile(tool, handler, options))
  const limits = options.rateLimits ?? []
  const callQuota = yield* Shared.makeQuota(limits.filter(({ per }) => per !== "attempt"))
  const attemptQuota = yield* Shared.makeQuota(limits.filter(({ per }) => per === "attempt"))
  const executorSlots = yield* Shared.makeSlots("executor", options.bulkhead ?? {})
  const circuits = yield* Shared.makeCircuits(options.breaker ?? {})
  const money = yield* Shared.makeMoney(options.budget ?? [])
  const answers = yield* Shared.makeAnswers(options.approvals ?? {})
  const records = yield* Ref.make<ReadonlyArray<Record>>([])

  // --- Before the handler ---

  const permitted = Effect.fnUntraced(function* ({ asker, tool }: Call): Effect.fn.Return<void, Refused> {
    const { principal } = asker
    const roles: Readonly<globalThis.Record<string, ReadonlyArray<string>>> = {
      read: ["read_data"],
      write: ["read_data", "write_data", "network_access", "external_api"],
      admin: ["*"],
      ...options.permissions?.roles
    }
    const held = [...principal.capabilities, ...principal.roles.flatMap((role) => roles[role] ?? [])]
    const needed = tool.facts.capabilities
    const missing = held.includes("*") ? [] : (needed ?? []).filter((one) => !held.includes(one))
    const undeclared = needed === undefined && options.permissions?.undeclared === "deny"
    if (missing.length === 0 && (!undeclared || held.includes("*"))) return
    if (held.some((one) => one.startsWith("tool:") && Shared.globMatches(one.slice(5), asker.names))) return
    return yield* refuse("permissions", { _tag: "PermissionDenied", missing, message: "" })
  })

  /** What the policy says of a tool whatever its arguments are. */
  const byName = ({ facts }: Compiled): Verdict.Verdict => {
    const find = (globs: ReadonlyArray<string> = []) =>
      globs.find((glob) => Shared.globMatches(glob, facts.names))
    const confirm = find(policy.requireConfirmation)
    const approve = find(policy.requireApproval)
    if (find(policy.deny) !== undefined) return Verdict.deny(`deny "${find(policy.deny)}"`, "")
    if (policy.default === "deny" && (confirm ?? approve ?? find(policy.allow)) === undefined) {
      return Verdict.deny(`default "deny"`, "")
    }
    const grave = facts.capabilities?.some((one) => one === "financial" || one === "delete_data") === true
    return Verdict.combineAll([
      confirm === undefined ? Verdict.allow : (grave ? Verdict.approve : Verdict.confirm)("", ""),
      approve === undefined ? Verdict.allow : Verdict.approve("", ""),
      facts.confirmation === undefined ? Verdict.allow : Verdict[facts.confirmation]("", "")
    ])
  }

  /** What the application's own rules say of the arguments; a rule that throws denies. */
  const byArguments = ({ asker, tool }: Call, params: unknown): Verdict.Verdict =>
    Verdict.combineAll(
      rules.map((rule: SecurityPolicy.Rule) => {
        try {
          return rule.decide({ tool: tool.facts, principal: asker.principal, params })
        } catch {
          return Verdict.deny(rule.name, "")
        }
      })
    )

  const unlessDenied = (stage: string, verdict: Verdict.Verdict): Effect.Effect<void, Refused> =>
    verdict._tag !== "Deny"
      ? Effect.void
      : refuse(stage, {
          _tag: "PolicyDenied",
          rule: verdict.reasons.map(({ rule }) => rule).join(", "),
          message: ""
        })

  const smallEnough = ({ params }: Call): Effect.Effect<void, Refused> => {
    const given = {
      bytes: 1_048_576,
      depth: 32,
      stringLength: 262_144,
      items: 10_000,
      ...policy.argumentLimits
    }
    const limit = exceeded(params, given)
    return limit === undefined
      ? Effect.void
      : refuse("size", { _tag: "ArgumentsRefused", limit, message: "" })
  }

  const decode = ({ params, tool }: Call): Effect.Effect<unknown, Refused> =>
    Schema.decodeUnknownEffect(
      tool.tool.parametersSchema as Schema.Codec<unknown>,
      strict
    )(params).pipe(Effect.catch(() => refuse("decode", { _tag: "InvalidParams", issues: [] })))

  /** Charges a call that was only looked at when it is refused on the way. */
  const charging = <A>(call: Call, mayAsk: boolean, self: Effect.Effect<A, Refused>) =>
    mayAsk ? Effect.tapError(self, () => callQuota.charge(call.asker)) : self

  const looked = Effect.fnUntraced(function* (call: Call, named: Verdict.Verdict) {
    yield* smallEnough(call)
    const raw = byArguments(call, call.params)
    yield* unlessDenied("policy_raw", raw)
    const params = yield* decode(call)
    const decoded = byArguments(call, params)
    yield* unlessDenied("policy_decoded", decoded)
    const wish = call.overrides.requireConfirmation === true ? Verdict.confirm("", "") : Verdict.allow
    return { params, verdict: Verdict.combineAll([named, raw, decoded, wish]) }
  })

  const governed = Effect.fnUntraced(function* (call: Call): Effect.fn.Return<Value, Refused> {
    const { asker, overrides, tool } = call
    if ((yield* left(call)) <= 0) return yield* refuse("find", pastDeadline(call))
    yield* permitted(call)
    const named = byName(tool)
    yield* unlessDenied("policy", named)

    // The quota is looked at before anyone looks at the arguments, and taken at once where nobody can be asked.
    const mayAsk = overrides.requireConfirmation === true || named._tag !== "Allow" || rules.length > 0
    yield* mayAsk ? callQuota.look(asker) : callQuota.take(asker)
    const { params, verdict } = yield* charging(call, mayAsk, looked(call, named))

    const about = questionAbout(asker, call.params)
    const by = verdict._tag === "Approve" ? "approve" : "confirm"
    if (verdict._tag !== "Allow") yield* answers.ask(about, by, pending(asker, by))
    if (mayAsk) yield* callQuota.take(asker)

    return yield* inSlots(
      call,
      Effect.gen(function* () {
        if (verdict._tag !== "Allow") {
          // What would be refused anyway must not cost a human another answer.
          yield* attemptQuota.look(asker)
          if (tool.circuit !== undefined) yield* circuits.look(tool.circuit)
          if (tool.bound !== undefined) yield* money.look(asker, tool.bound)
          yield* answers.use(about, by)
        }
        return yield* attempts(call, params)
      })
    )
  })

  /** A slot of the tool first, then one over all; who has waited for the first is not refused at the second. */
  const inSlots = <A>(call: Call, body: Effect.Effect<A, Refused>): Effect.Effect<A, Refused> => {
    const inTime = (wait: Effect.Effect<unknown>) =>
      Effect.flatMap(left(call), (duration) =>
        Effect.timeoutOrElse(wait, { duration, orElse: () => refuse("bulkhead", pastDeadline(call)) })
      )
    const lingering = Effect.map(Ref.get(call.seen), ({ abandoned }) => abandoned)
    return call.tool.slots.enter((waited) => executorSlots.enter(() => body, { waited, inTime, lingering }), {
      waited: false,
      inTime,
      lingering
    })
  }

  // --- Attempts ---

  /** Runs the handler until it succeeds or trying again is of no use. */
  const attempts = Effect.fnUntraced(function* (
    call: Call,
    params: unknown
  ): Effect.fn.Return<Value, Refused> {
    const retries = Math.min(call.tool.retries, call.overrides.retries ?? call.tool.retries)
    let last: Refused | undefined
    for (let retry = 1; ; retry++) {
      const ended = yield* Effect.result(attempt(call, params))
      if (Result.isSuccess(ended)) return ended.success
      const { attempted, reason, stage } = ended.failure
      // Where another attempt may not begin, the call ends as the last one did.
      if (attempted === undefined)
        return yield* Effect.fail(last === undefined ? ended.failure : { ...last, stage })
      last = ended.failure
      if (retry > retries || !mayRepeat(call.tool, reason, attempted.outcomeUnknown)) {
        return yield* Effect.fail(last)
      }
      const delay = yield* delayBefore(retry, reason)
      if (delay >= (yield* left(call))) return yield* Effect.fail(last)
      yield* Ref.update(call.seen, (seen) => ({
        ...seen,
        retried: [...seen.retried, { attempt: retry, code: ToolError.table[reason._tag].code, delay }]
      }))
      yield* Effect.sleep(delay)
    }
  })

  /** Exponential backoff with full jitter, and never sooner than the error asks for. */
  const delayBefore = (retry: number, reason: Reason): Effect.Effect<number> =>
    Effect.map(Random.next, (chance) => {
      const { base = 100, factor = 2, jitter = "full", max = "30 seconds" } = options.backoff ?? {}
      const grown = Math.min(Shared.millis(max), Shared.millis(base) * factor ** (retry - 1))
      const asked = ToolError.retryAfterOf(reason)
      return Math.ceil(
        Math.max(
          jitter === "full" ? grown * chance : grown,
          asked === undefined ? 0 : Duration.toMillis(asked)
        )
      )
    })

  /** One attempt: what may refuse it, then the handler. */
  const attempt = Effect.fnUntraced(function* (
    call: Call,
    params: unknown
  ): Effect.fn.Return<Value, Refused> {
    const { asker, tool } = call
    yield* attemptQuota.take(asker)
    const time = yield* left(call)
    if (time <= 0) return yield* refuse("handler", pastDeadline(call))
    let spent: number | undefined
    const run = runHandler(call, params, time, (amount) => {
      spent = (spent ?? 0) + amount
    })
    const cost = (exit: Exit.Exit<Value, Refused>): number | undefined =>
      spent === undefined ? tool.bound : isKnown(exit) ? spent : Math.max(spent, tool.bound ?? 0)
    const noted = Effect.onExit(run, (exit) =>
      Ref.update(call.seen, (seen) => {
        const actual = cost(exit)
        return actual === undefined ? seen : { ...seen, cost: (seen.cost ?? 0) + actual }
      })
    )
    const { bound } = tool
    const expiresAt = Number.isFinite(call.deadline)
      ? call.deadline
      : (yield* Clock.currentTimeMillis) + tool.timeout + 60_000
    const paid =
      bound === undefined
        ? noted
        : money.spend(asker, { bound, expiresAt }, noted, (exit) => cost(exit) ?? bound)
    if (tool.circuit === undefined) return yield* paid
    const met = (breaker: Record["breaker"]) => Ref.update(call.seen, (seen) => ({ ...seen, breaker }))
    return yield* Effect.tapError(
      circuits.enter(tool.circuit, (how) => Effect.andThen(met(how), paid), verdictOf),
      ({ reason }) => (reason._tag === "CircuitOpen" ? met("open") : Effect.void)
    )
  })

  /** Runs the handler once, in a fiber of its own: a timeout interrupts that one and nothing else. */
  const runHandler = Effect.fnUntraced(function* (
    call: Call,
    params: unknown,
    time: number,
    spend: (amount: number) => void
  ): Effect.fn.Return<Value, Refused> {
    const { asker, overrides, tool } = call
    const now = yield* Clock.currentTimeMillis
    const { attempts } = yield* Ref.updateAndGet(call.seen, (seen) => ({
      ...seen,
      attempts: seen.attempts + 1,
      startedAt: seen.startedAt ?? now
    }))
    const controller = new AbortController()
    const { signal } = controller
    const current: CurrentCall = {
      callId: asker.callId,
      tool: asker.tool,
      attempt: attempts,
      idempotencyKey: undefined,
      deadline: Number.isFinite(call.deadline) ? call.deadline : undefined,
      metadata: undefined,
      spend: (amount) => spend(amount as number),
      signal
    }
    const answer = answerOf(tool.handler, params, { toolCallId: asker.callId, signal }, (promise) =>
      Ref.update(call.seen, (seen) => ({ ...seen, abandoned: [...seen.abandoned, promise] }))
    )
    const running = yield* answer.pipe(
      Effect.provideService(CurrentCall, current),
      Effect.forkChild({ startImmediately: true })
    )
    const timeout = Math.min(tool.timeout, overrides.timeout ?? tool.timeout)
    const stop = Effect.andThen(
      Effect.sync(() => controller.abort()),
      Fiber.interrupt(running)
    )
    const inTime = yield* Fiber.await(running).pipe(
      Effect.timeoutOption(Math.min(timeout, time)),
      Effect.onInterrupt(() => stop)
    )
    if (Option.isSome(inTime)) return yield* understand(call, inTime.value)
    yield* stop
    const exit = yield* Fiber.await(running)
    // What could not be interrupted and succeeded all the same has succeeded.
    if (Exit.isSuccess(exit)) return yield* understand(call, exit)
    const reason: Reason =
      time <= timeout
        ? pastDeadline(call)
        : { _tag: "TimedOut", scope: "attempt", after: Duration.millis(timeout) }
    return yield* attemptFailed("handler", reason, true)
  })

  // --- The whole call ---

  /** The tool's fallback where its own answer is missing; the failure as it was where that does not fit the schema. */
  const orFallback = ({ tool }: Call, { attempted, reason, stage }: Refused): Effect.Effect<Outcome> => {
    const failed: Outcome = { reason, stage, value: undefined, failure: attempted?.failure }
    if (tool.fallback === undefined || stage === "find" || !ToolError.table[reason._tag].fallback) {
      return Effect.succeed(failed)
    }
    const given = tool.fallback.value
    return Effect.match(encode(tool.tool.successSchema, given), {
      onFailure: () => failed,
      onSuccess: (encoded) => ({ ...failed, value: { given, encoded } })
    })
  }

  /** Runs one call of the tool, for the calling fiber's principal, and leaves one record. */
  const call = (name: string, params: unknown, overrides: Overrides = {}): Effect.Effect<Ended> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const queuedAt = yield* Clock.currentTimeMillis
        const principal = yield* Principal.CurrentPrincipal
        const seen = yield* Ref.make(nothingSeen)
        const tool = compiled.get(name)
        const callId = overrides.id ?? `call_${queuedAt}`
        const record = Effect.fnUntraced(function* ({ reason, stage, value }: Outcome) {
          const completedAt = yield* Clock.currentTimeMillis
          const { abandoned, retried, ...noted } = yield* Ref.get(seen)
          const record: Record = {
            ...noted,
            callId,
            tool: tool?.tool.name ?? "(unknown)",
            status:
              reason === undefined
                ? "success"
                : value === undefined
                  ? ToolError.table[reason._tag].status
                  : "degraded",
            reason: reason?._tag,
            stage,
            // A retry that was announced and never began was none.
            retried: retried.filter(({ attempt }) => attempt < noted.attempts),
            queuedAt,
            completedAt,
            abandoned: abandoned.length > 0
          }
          yield* Ref.update(records, (all) => [...all, record])
          return record
        })
        if (tool === undefined) {
          const reason: Reason = { _tag: "ToolNotFound", tool: name }
          const outcome: Outcome = { reason, stage: "find", value: undefined, failure: undefined }
          return { ...outcome, record: yield* record(outcome) }
        }
        const byDefault = options.defaults?.deadline
        const started: Call = {
          tool,
          // No arguments at all are none.
          params: params === undefined ? {} : params,
          overrides,
          asker: { callId, tool: name, names: tool.facts.names, principal },
          queuedAt,
          deadline: Math.min(
            overrides.deadline ?? Number.POSITIVE_INFINITY,
            byDefault === undefined ? Number.POSITIVE_INFINITY : queuedAt + Shared.millis(byDefault)
          ),
          seen
        }
        const outcome = governed(started).pipe(
          Effect.map(
            (value): Outcome => ({ reason: undefined, stage: undefined, value, failure: undefined })
          ),
          Effect.catch((refused) => orFallback(started, refused))
        )
        const exit = yield* Effect.exit(restore(outcome))
        if (Exit.isSuccess(exit)) return { ...exit.value, record: yield* record(exit.value) }
        const reason: Reason = { _tag: Cause.hasInterrupts(exit.cause) ? "Cancelled" : "HandlerDefect" }
        const ended: Outcome = { reason, stage: undefined, value: undefined, failure: undefined }
        const left = yield* record(ended)
        // Interruption stays interruption; a bug of governance is a result.
        return reason._tag === "Cancelled" ? yield* Effect.failCause(exit.cause) : { ...ended, record: left }
      })
    )

  /** The same for typed code: the success as it is, or why there is none. */
  const run = (name: string, params: unknown, overrides?: Overrides): Effect.Effect<unknown, unknown> =>
    Effect.flatMap(call(name, params, overrides), ({ failure, reason, value }) =>
      value !== undefined
        ? Effect.succeed(value.given)
        : Effect.fail(reason?._tag === "ToolFailed" ? failure : reason)
    )

  return {
    call,
    run,
    /** What a human says of what was asked about a call. */
    decide: (asker: Shared.Asker, params: unknown, state: "granted" | "rejected") =>
      answers.decide(questionAbout(asker, params), state),
    records: Ref.get(records),
    health: (tool: string) => Effect.map(Ref.get(records), (all) => Shared.healthOf(tool, all)),
    circuit: circuits.snapshot,
    standing: money.standing,
    /** Calls that hold all the slots they need, and calls that wait for one, of those that need any. */
    slots: Effect.gen(function* () {
      const limited = [...compiled.values()].filter(({ facts }) => facts.bulkhead !== undefined)
      const perTool = yield* Effect.forEach(limited, ({ slots }) => slots.counts)
      const overAll = yield* executorSlots.counts
      const sum = (numbers: ReadonlyArray<number>) => numbers.reduce((total, n) => total + n, 0)
      return {
        running:
          options.bulkhead === undefined ? sum(perTool.map(({ running }) => running)) : overAll.running,
        queued: sum(perTool.map(({ queued }) => queued)) + overAll.queued
      }
    })
  }
})

// --- What an attempt has come to --------------------------------------------

/** A value that fits the tool's schema, or why not. */
const understand = Effect.fnUntraced(function* (
  { tool: { classify, tool } }: Call,
  exit: Exit.Exit<unknown, unknown>
): Effect.fn.Return<Value, Refused> {
  if (Exit.isSuccess(exit)) {
    const given = exit.value
    return yield* encode(tool.successSchema, given).pipe(
      Effect.map((encoded) => ({ given, encoded })),
      Effect.catch(() => attemptFailed("encode", { _tag: "InvalidResult", issues: [] }, true))
    )
  }
  const { cause } = exit
  // The handler has interrupted itself.
  if (Cause.hasInterruptsOnly(cause)) return yield* attemptFailed("handler", { _tag: "Cancelled" }, true)
  const error = Cause.findErrorOption(cause)
  if (Option.isNone(error) || Cause.hasDies(cause)) {
    return yield* attemptFailed("handler", { _tag: "HandlerDefect" }, true)
  }
  const failure = error.value
  const declared = Schema.is(tool.failureSchema)(failure)
  const now = yield* Clock.currentTimeMillis
  const byDefault = Classification.classify(failure, declared ? "declared" : "thrown", now)
  const own = classify?.(failure)
  const after =
    own?.retryAfter === undefined ? byDefault.retryAfter : Duration.fromInputUnsafe(own.retryAfter)
  const known = {
    class: own?.class ?? byDefault.class,
    ...(after === undefined ? {} : { retryAfter: after })
  }
  const reason: Reason = declared
    ? { _tag: "ToolFailed", ...known, failure: yield* Effect.orDie(encode(tool.failureSchema, failure)) }
    : { _tag: "HandlerFailed", ...known }
  return yield* attemptFailed("handler", reason, byDefault.outcomeUnknown, failure)
})

const attemptFailed = (
  stage: string,
  reason: Reason,
  outcomeUnknown: boolean,
  failure?: unknown
): Effect.Effect<never, Refused> => Effect.fail({ stage, reason, attempted: { failure, outcomeUnknown } })

/** Whether it is known what the attempt did. */
const isKnown = (exit: Exit.Exit<unknown, Refused>): boolean => {
  if (Exit.isSuccess(exit)) return true
  const refused = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  return refused?.attempted?.outcomeUnknown === false
}

/** What the attempt says to its circuit; one that never began, or was interrupted, says nothing. */
const verdictOf = (exit: Exit.Exit<unknown, Refused>): Shared.Verdict => {
  if (Exit.isSuccess(exit)) return { outcome: "success" }
  const refused = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  if (refused?.attempted === undefined || refused.reason._tag === "Cancelled") return { outcome: "ignored" }
  // The tool has answered, if only that the caller is wrong.
  if (!ToolError.countsForBreaker(refused.reason)) return { outcome: "success" }
  return { outcome: "failure", retryAfter: ToolError.retryAfterOf(refused.reason) }
}

/** Whether trying again may help, and does no harm. */
const mayRepeat = (tool: Compiled, reason: Reason, outcomeUnknown: boolean): boolean => {
  if (outcomeUnknown && !tool.repeatable) return false
  const { retry } = ToolError.table[reason._tag]
  const errorClass = ToolError.classOf(reason)
  return (
    retry === "yes" || (retry === "by class" && (errorClass === "Retryable" || errorClass === "Overload"))
  )
}

// --- Helpers -----------------------------------------------------------------

const nothingSeen: Seen = {
  attempts: 0,
  retried: [],
  startedAt: undefined,
  abandoned: [],
  cost: undefined,
  breaker: undefined
}

const strict = { errors: "all", onExcessProperty: "error" } as const

const encode = (schema: Schema.Constraint, value: unknown): Effect.Effect<unknown, Schema.SchemaError> =>
  Schema.encodeUnknownEffect(Schema.toCodecJson(schema as Schema.Codec<unknown>))(value)

const left = (call: Call): Effect.Effect<number> =>
  Effect.map(Clock.currentTimeMillis, (now) => call.deadline - now)

const pastDeadline = ({ deadline, queuedAt }: Call): Reason => ({
  _tag: "TimedOut",
  scope: "deadline",
  after: Duration.millis(Math.max(0, deadline - queuedAt))
})

const questionAbout = ({ callId, principal, tool }: Shared.Asker, params: unknown): string =>
  JSON.stringify([callId, tool, principal.tenant, principal.id, params])

const pending =
  ({ callId, tool }: Shared.Asker, by: "confirm" | "approve") =>
  (expiresAt: number): Reason => ({
    _tag: "PendingConfirmation",
    callId,
    request: "",
    expiresAt,
    by,
    tool,
    why: []
  })

/** What a plain function, a promise or an Effect answers; what is thrown is its failure. */
const answerOf = (
  handler: Handler,
  params: unknown,
  context: Parameters<Handler>[1],
  abandon: (promise: Promise<unknown>) => Effect.Effect<void>
): Effect.Effect<unknown, unknown> =>
  Effect.flatMap(
    Effect.try({ try: () => handler(params as never, context), catch: (error) => error }),
    (answer): Effect.Effect<unknown, unknown> => {
      if (Effect.isEffect(answer)) return answer as Effect.Effect<unknown, unknown>
      if (!(answer instanceof Promise)) return Effect.succeed(answer)
      let settled = false
      const done = answer.then(
        () => (settled = true),
        () => (settled = true)
      )
      return Effect.tryPromise({ try: () => answer, catch: (error) => error }).pipe(
        // Nothing can stop a promise that ignores its signal: the call ends without it.
        Effect.onInterrupt(() =>
          Effect.andThen(
            Effect.yieldNow,
            Effect.suspend(() => (settled ? Effect.void : abandon(done)))
          )
        )
      )
    }
  )

/** Which limit the arguments exceed, by the plain reading of each. */
const exceeded = (
  params: unknown,
  limits: {
    readonly bytes: number
    readonly depth: number
    readonly stringLength: number
    readonly items: number
  }
): "bytes" | "depth" | "stringLength" | "items" | undefined => {
  let items = 0
  let longest = 0
  const depthOf = (value: unknown): number => {
    if (typeof value === "string") longest = Math.max(longest, value.length)
    if (value === null || typeof value !== "object") return 0
    const entries = Object.entries(value)
    items += entries.length
    if (!Array.isArray(value)) for (const [key] of entries) longest = Math.max(longest, key.length)
    return 1 + Math.max(0, ...entries.map(([, item]) => depthOf(item)))
  }
  if (depthOf(params) > limits.depth) return "depth"
  if (items > limits.items) return "items"
  if (longest > limits.stringLength) return "stringLength"
  return new TextEncoder().encode(JSON.stringify(params)).length > limits.bytes ? "bytes" : undefined
}
