/**
 * The plain composition and the pipeline as two systems that are asked the same
 * and say in the same words what came of it.
 */
import * as Toolkit from "effect/ai/Toolkit"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import {
  Budget,
  Bulkhead,
  CallRecord,
  CircuitBreaker,
  Handlers,
  Health,
  Interlock,
  Telemetry,
  ToolError,
  ToolExecutor,
  type ToolResult
} from "effect-interlock"
import * as Plain from "./plain.ts"
import type { healthOf } from "./plainShared.ts"
import { type Call, handlerOf, rules, type Setting, toolOf, type World } from "./scenarios.ts"

// --- Two systems in the same words -------------------------------------------

/** What a system has made of one call; it never fails, but may be interrupted. */
export interface System {
  readonly call: (call: Call, id: string) => Effect.Effect<unknown>
  /** How everything that calls share stands now. */
  readonly look: Effect.Effect<unknown>
  /** What is left behind of each call that has ended, by its id. */
  readonly records: Effect.Effect<ReadonlyMap<string, unknown>>
}

export type Open = (setting: Setting, world: World) => Effect.Effect<System, never, Scope.Scope>

const optionsOf = ({ options, ruled }: Setting): Plain.Options => (ruled ? { ...options, rules } : options)

const queries = (tools: Setting["tools"]) =>
  tools.flatMap(({ circuit, name }) => (circuit === false ? [] : [circuit ?? name]))

/** Without what is words for people, and without what differs by nature: ids of requests. */
const wordsOf = (reason: ToolError.Reason | undefined): unknown => {
  if (reason === undefined) return undefined
  const { issues, key, message, request, why, ...rest } = reason as unknown as Record<string, unknown>
  return Object.fromEntries(
    Object.entries(rest).map(([field, value]) => [
      field,
      Duration.isDuration(value) ? Duration.toMillis(value) : value
    ])
  )
}

const recordOf = (
  record: Omit<{ readonly [K in keyof Plain.Record]: unknown }, "callId" | "tool">
): unknown => ({
  status: record.status,
  reason: record.reason,
  // Where an interruption found a call is no stage that ended it.
  stage: record.reason === "Cancelled" ? undefined : record.stage,
  attempts: record.attempts,
  retried: record.retried,
  times: [record.queuedAt, record.startedAt, record.completedAt],
  abandoned: record.abandoned,
  cost: record.cost,
  breaker: record.breaker
})

const lookOf = (
  circuits: ReadonlyArray<
    | CircuitBreaker.Snapshot
    | Effect.Success<ReturnType<Effect.Success<ReturnType<typeof Plain.make>>["circuit"]>>
  >,
  healths: ReadonlyArray<ReturnType<typeof healthOf> | Health.ToolHealth>,
  money: ReadonlyArray<{ account: string; settled: number; reserved: number; overrun: number }>,
  slots: { readonly running: number; readonly queued: number }
): object => ({
  circuits: circuits.map(({ consecutiveFailures, nextProbeAt, openings, probesInFlight, since, tag }) => ({
    tag,
    since,
    nextProbeAt,
    consecutiveFailures,
    openings,
    probesInFlight
  })),
  healths: healths.map((health) => ({
    total: health.total,
    counts: Object.entries(health.counts)
      .filter(([, count]) => count > 0)
      .sort(),
    reached: health.reached,
    successRate: health.successRate,
    recentSuccessRate: health.recentSuccessRate,
    mean: Math.round(health.mean),
    consecutiveFailures: health.consecutiveFailures,
    lastSuccess: health.lastSuccess,
    lastFailure: health.lastFailure
  })),
  money: money
    // What one call may spend is forgotten when it is over, sooner or later.
    .filter(
      ({ account, overrun, reserved, settled }) => !account.includes("/") && settled + reserved + overrun > 0
    )
    .map(({ account, overrun, reserved, settled }) => [account, settled, reserved, overrun])
    .sort(),
  slots
})

export const openPlain: Open = Effect.fnUntraced(function* (setting, world) {
  const handler = handlerOf(world)
  const tools = setting.tools.map((spec) => ({ tool: toolOf(spec), handler }))
  const plain = yield* Plain.make(tools, optionsOf(setting))
  return {
    call: (call, id) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const overrides = {
          id,
          timeout: call.timeout,
          retries: call.retries,
          deadline: call.within === undefined ? undefined : now + call.within,
          requireConfirmation: call.requireConfirmation
        }
        const name = setting.tools[call.tool]?.name as string
        return call.door === "run"
          ? Effect.map(Effect.result(plain.run(name, call.params, overrides)), resultOf)
          : Effect.map(plain.call(name, call.params, overrides), ({ reason, record, value }) => ({
              status: record.status,
              value: value?.encoded,
              reason: wordsOf(reason),
              attempts: record.attempts,
              times: [record.queuedAt, record.startedAt, record.completedAt]
            }))
      }),
    look: Effect.gen(function* () {
      const circuits = []
      for (const key of queries(setting.tools)) circuits.push(yield* plain.circuit(key))
      const healths = []
      for (const { name } of setting.tools) healths.push(yield* plain.health(name))
      const money = [...(yield* plain.standing)].map(([account, standing]) => ({ account, ...standing }))
      return lookOf(circuits, healths, money, yield* plain.slots)
    }),
    records: Effect.map(
      plain.records,
      (records) => new Map(records.map((record) => [record.callId, recordOf(record)]))
    )
  } satisfies System
})

export const openPipeline: Open = Effect.fnUntraced(function* (setting, world) {
  const tools = setting.tools.map(toolOf)
  const toolkit = Toolkit.make(...tools)
  const { breaker, ...options } = optionsOf(setting)
  const services = yield* Layer.build(
    Interlock.layer({
      ...options,
      breaker,
      telemetry: Telemetry.layerNoop
    } as Interlock.Options) as Layer.Layer<Interlock.Services>
  )
  const handler = handlerOf(world)
  const handlers = yield* Layer.build(
    Handlers.toLayer(
      toolkit,
      Object.fromEntries(tools.map(({ name }) => [name, handler])) as never
    ) as Layer.Layer<never>
  )
  const executor = yield* Effect.provide(
    ToolExecutor.make(toolkit) as unknown as Effect.Effect<ToolExecutor.ToolExecutor<ToolExecutor.Tools>>,
    Context.merge(services, handlers)
  )
  const records = new Map<string, unknown>()
  yield* Context.get(services, CallRecord.CallRecorder).add({
    onEnd: (record) => {
      records.set(
        record.callId,
        recordOf({
          ...(CallRecord.toJson(record) as unknown as CallRecord.CallRecord),
          cost: record.cost?.usd
        })
      )
    }
  })
  const breakers = Context.get(services, CircuitBreaker.CircuitBreaker)
  const bulkhead = Context.get(services, Bulkhead.Bulkhead)
  return {
    call: (call, id) =>
      Effect.flatMap(Clock.currentTimeMillis, (now): Effect.Effect<unknown> => {
        const { requireConfirmation, retries, timeout, within } = call
        const own = present({ id, timeout, retries, requireConfirmation })
        const name = setting.tools[call.tool]?.name as string
        return call.door === "run"
          ? Effect.map(
              Effect.result(
                executor.run(
                  name,
                  call.params as never,
                  present({ ...own, deadline: within })
                ) as Effect.Effect<unknown, unknown>
              ),
              resultOf
            )
          : Effect.map(
              executor.execute(
                present({
                  ...own,
                  tool: name,
                  params: call.params,
                  deadline: within === undefined ? undefined : now + within
                })
              ) as Effect.Effect<ToolResult>,
              (result) => ({
                status: result.status,
                value: result.value,
                reason: wordsOf(result.error?.reason),
                attempts: result.attempts,
                times: [result.queuedAt, result.startedAt, result.completedAt]
              })
            )
      }),
    look: Effect.gen(function* () {
      const circuits = []
      for (const key of queries(setting.tools)) circuits.push(yield* breakers.state(key))
      const healths = []
      for (const { name } of setting.tools)
        healths.push(yield* Context.get(services, Health.Health).get(name))
      const standing = yield* Effect.orDie(Context.get(services, Budget.Budget).standing)
      const money = standing.map(({ key, limit, ...rest }) => ({ account: `${limit} ${key}`, ...rest }))
      return lookOf(circuits, healths, money, { running: bulkhead.running(), queued: bulkhead.queued() })
    }),
    records: Effect.sync(() => records)
  } satisfies System
})

type Present<A> = { [K in keyof A]: Exclude<A[K], undefined> }

const present = <A extends object>(given: A): Present<A> =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Present<A>

/** What typed code is given: a value, a tool's own failure, or why there is none. */
const resultOf = (
  result:
    | { readonly _tag: "Success"; readonly success: unknown }
    | { readonly _tag: "Failure"; readonly failure: unknown }
): unknown => {
  if (result._tag === "Success") return { value: result.success }
  const { failure } = result
  return {
    failure:
      failure instanceof ToolError.ToolError
        ? wordsOf(failure.reason)
        : isReason(failure)
          ? wordsOf(failure)
          : failure
  }
}

const isReason = (failure: unknown): failure is ToolError.Reason =>
  !(failure instanceof Error) && typeof (failure as { _tag?: unknown })?._tag === "string"
