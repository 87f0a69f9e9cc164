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
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import {
  Approvals,
  Budget,
  Bulkhead,
  CallRecord,
  CircuitBreaker,
  Handlers,
  Health,
  Interlock,
  Principal,
  Telemetry,
  ToolError,
  ToolExecutor,
  type ToolResult
} from "effect-interlock"
import * as Plain from "./plain.ts"
import { shown } from "./plainCircuit.ts"
import { handlerOf, type World } from "./plainHandlers.ts"
import type { Standing } from "./plainMoney.ts"
import { type Call, otherPerson, rules, type Setting, toolOf } from "./scenarios.ts"

/** A system of governed tools. Calls are made for the calling fiber's principal. */
export interface System {
  /** What its caller is given; never fails, but may be interrupted. */
  readonly call: (call: Call, id: string) => Effect.Effect<unknown>
  /** Makes the call once more, by its grant where a human has given one. */
  readonly resume: (call: Call, id: string) => Effect.Effect<unknown>
  /** What a human says of a call that is pending. */
  readonly decide: (id: string, says: "granted" | "rejected") => Effect.Effect<void>
  /** How everything that calls share stands now. */
  readonly look: Effect.Effect<object>
}

export type Open = (setting: Setting, world: World) => Effect.Effect<System, never, Scope.Scope>

// --- The plain composition -----------------------------------------------------

export const openPlain: Open = Effect.fnUntraced(function* (setting, world) {
  const handler = handlerOf(world)
  const tools = setting.tools.map((spec) => ({ tool: toolOf(spec), handler }))
  const plain = yield* Plain.make(tools, optionsOf(setting), (record) => {
    world.record(record.callId, recordOf(record))
  })
  const granted = new Set<string>()
  const execute = (name: string, params: unknown, overrides: Plain.Overrides) =>
    Effect.map(plain.call(name, params, overrides), ({ reason, record, value }) => ({
      status: record.status,
      value: value?.encoded,
      reason: wordsOf(reason),
      ...visible(record)
    }))
  const system: System = {
    call: ({ door, params, tool, within, ...call }, id) =>
      Effect.flatMap(Clock.currentTimeMillis, (now): Effect.Effect<unknown> => {
        const { idempotencyKey, requireConfirmation, retries, timeout } = call
        const deadline = within === undefined ? undefined : now + within
        const overrides = { id, timeout, retries, deadline, requireConfirmation, idempotencyKey }
        const name = nameOf(setting, tool)
        return door === "execute"
          ? execute(name, params, overrides)
          : Effect.map(Effect.result(plain.run(name, params, overrides)), resultOf)
      }),
    resume: (call, id) => {
      const { idempotencyKey, params, retries, timeout, tool } = call
      // What is kept of a call is what makes it the same, and not how long its caller would wait.
      const kept = { id, timeout, retries, idempotencyKey, isGranted: true }
      return granted.has(id) ? execute(nameOf(setting, tool), params, kept) : system.call(call, id)
    },
    decide: (id, says) =>
      Effect.map(plain.decide(id, says), (isDecided) => {
        if (isDecided && says === "granted") granted.add(id)
      }),
    look: Effect.gen(function* () {
      const circuits = yield* Effect.forEach(circuitsOf(setting), (key) => {
        const circuit = plain.circuits.get(key)
        return circuit === undefined ? Effect.succeed(undefined) : circuit.snapshot
      })
      const healths = yield* Effect.forEach(setting.tools, ({ name }) => plain.health(name))
      return {
        circuits,
        health: healths.map(({ failures, recent, successes, time, ...health }) => ({
          ...health,
          mean: health.reached === 0 ? 0 : time / health.reached,
          successRate: successes + failures === 0 ? 1 : successes / (successes + failures),
          recentSuccessRate:
            recent.length === 0 ? 1 : recent.filter((succeeded) => succeeded).length / recent.length
        })),
        money: moneyOf(yield* plain.standing),
        slots: yield* plain.slots
      }
    })
  }
  return system
})

// --- The pipeline ----------------------------------------------------------------

export const openPipeline: Open = Effect.fnUntraced(function* (setting, world) {
  const tools = setting.tools.map(toolOf)
  const toolkit = Toolkit.make(...tools)
  const options: Interlock.Options = { ...optionsOf(setting), telemetry: Telemetry.layerNoop }
  const services = yield* Layer.build(Interlock.layer(options) as Layer.Layer<Interlock.Services>)
  yield* Context.get(services, CallRecord.CallRecorder).add({
    onEnd: (record) => world.record(record.callId, recordOf({ ...record, cost: record.cost?.usd }))
  })
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
  const approvals = Context.get(services, Approvals.Approvals)
  const breaker = Context.get(services, CircuitBreaker.CircuitBreaker)
  const budget = Context.get(services, Budget.Budget)
  const bulkhead = Context.get(services, Bulkhead.Bulkhead)
  const health = Context.get(services, Health.Health)
  const tokens = new Map<string, string>()
  const system: System = {
    call: ({ door, params, tool, within, ...call }, id) =>
      Effect.flatMap(Clock.currentTimeMillis, (now): Effect.Effect<unknown> => {
        const { idempotencyKey, requireConfirmation, retries, timeout } = call
        const own = { id, timeout, retries, requireConfirmation, idempotencyKey }
        const name = nameOf(setting, tool)
        if (door === "execute") {
          const deadline = within === undefined ? undefined : now + within
          const executed = executor.execute(present({ ...own, tool: name, params, deadline }))
          return Effect.map(executed as Effect.Effect<ToolResult>, executedOf)
        }
        const run = executor.run(name, params as never, present({ ...own, deadline: within }))
        return Effect.map(Effect.result(run as Effect.Effect<unknown, unknown>), resultOf)
      }),
    resume: (call, id) => {
      const token = tokens.get(id)
      return token === undefined
        ? system.call(call, id)
        : Effect.map(executor.resume(token) as Effect.Effect<ToolResult>, executedOf)
    },
    decide: (id, says) =>
      Effect.gen(function* () {
        const [request] = yield* approvals.list({ callId: id, state: "pending" })
        if (request === undefined) return
        const decision =
          says === "rejected"
            ? approvals.reject(request.id)
            : Effect.map(approvals.grant(request.id), ({ token }) => void tokens.set(id, token))
        const caller = yield* Principal.CurrentPrincipal
        yield* request.by === "confirm" ? decision : Principal.provide(decision, otherPerson(caller))
      }).pipe(Effect.ignore),
    look: Effect.gen(function* () {
      const circuits = yield* Effect.forEach(circuitsOf(setting), (key) => breaker.state(key))
      const healths = yield* Effect.forEach(setting.tools, ({ name }) => health.get(name))
      return {
        circuits: circuits.map((circuit) =>
          Object.fromEntries(shown.map((field) => [field, circuit[field]]))
        ),
        health: healths.map(({ breaker: _, counts, isHealthy, p50, p95, p99, tool, ...health }) => ({
          ...health,
          counts: Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0))
        })),
        money: moneyOf(yield* Effect.orDie(budget.standing)),
        slots: { running: bulkhead.running(), queued: bulkhead.queued() }
      }
    })
  }
  return system
})

const executedOf = (result: ToolResult): unknown => ({
  status: result.status,
  value: result.value,
  reason: wordsOf(result.error?.reason),
  ...visible({ ...result, cost: result.cost?.usd, abandoned: result.abandoned === true })
})

// --- The same words --------------------------------------------------------------

const optionsOf = ({ options, ruled }: Setting): Plain.Options => (ruled ? { ...options, rules } : options)

const nameOf = ({ tools }: Setting, index: number): string => tools[index]?.name ?? "no such tool"

const circuitsOf = ({ tools }: Setting): ReadonlyArray<string> =>
  tools.flatMap(({ circuit, name }) => (circuit === false ? [] : [circuit ?? name]))

/** What an untyped caller is told beside the value or the reason. */
const visible = ({
  abandoned,
  answeredFrom,
  attempts,
  completedAt,
  cost,
  queuedAt,
  startedAt
}: {
  readonly [K in keyof Plain.Record]?: unknown
}) => ({ abandoned, answeredFrom, attempts, completedAt, cost, queuedAt, startedAt })

const recordOf = (record: { readonly [K in Exclude<keyof Plain.Record, "callId" | "tool">]?: unknown }) => ({
  status: record.status,
  reason: record.reason,
  // Where an interruption found a call is no stage that ended it, and a bug of governance has none.
  stage: record.reason === "Cancelled" ? undefined : record.stage,
  attempts: record.attempts,
  retried: record.retried,
  queuedAt: record.queuedAt as number,
  startedAt: record.startedAt,
  completedAt: record.completedAt as number,
  abandoned: record.abandoned,
  cost: record.cost,
  breaker: record.breaker,
  answeredFrom: record.answeredFrom
})

/** What is not nothing, by limit and key; what one call may spend is forgotten some time after it. */
const moneyOf = (standing: ReadonlyArray<Standing>): ReadonlyArray<unknown> =>
  standing
    .filter(
      ({ key, overrun, reserved, settled }) => !key.includes("/call") && settled + reserved + overrun > 0
    )
    .map(({ key, limit, overrun, reserved, settled }) => [limit, key, settled, reserved, overrun])
    .sort()

/** A reason without what is words for people, and without the ids of requests, which nobody can foresee. */
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

/** What typed code is given: a value, a tool's own failure, or why there is neither. */
const resultOf = (result: Result.Result<unknown, unknown>): unknown => {
  if (Result.isSuccess(result)) return { value: result.success }
  const { failure } = result
  if (failure instanceof ToolError.ToolError) return { reason: wordsOf(failure.reason) }
  return isReason(failure) ? { reason: wordsOf(failure) } : { failure }
}

const isReason = (failure: unknown): failure is ToolError.Reason =>
  !(failure instanceof Error) && typeof (failure as { readonly _tag?: unknown } | null)?._tag === "string"

type Present<A> = { [K in keyof A]: Exclude<A[K], undefined> }

const present = <A extends object>(given: A): Present<A> =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Present<A>
