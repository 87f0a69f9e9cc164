/**
 * How each tool is doing, as a fold over the records of calls that ended.
 *
 * Every status is counted. Rates and latencies are of calls that reached the
 * handler: a refusal says nothing of the tool. Of those, a call with status
 * `success` is a success and one whose reason counts for health in
 * `ToolError.table` a failure, a degraded one included: its fallback answered,
 * the tool did not. What is neither, such as a cancelled call, leaves the rates
 * as they were.
 *
 * `isHealthy` looks at the last 100 outcomes only, so that a tool recovers
 * however long it has failed. It is a statement about the past: a tool that
 * nobody calls keeps its verdict.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type CallRecord, CallRecorder, latency } from "./CallRecord.ts"
import { CircuitBreaker, type Snapshot } from "./CircuitBreaker.ts"
import { Quantiles } from "./internal/quantiles.ts"
import * as Sliding from "./internal/sliding.ts"
import { Status, table } from "./ToolError.ts"

/** One tool. Times are milliseconds, points in time milliseconds since the epoch. */
export interface ToolHealth {
  readonly tool: string
  /** Every call that ended, however it did. */
  readonly total: number
  readonly counts: { readonly [S in Status]: number }
  /** Calls that reached the handler; all below is of these. */
  readonly reached: number
  /** Successes among successes and failures, ever; 1 when there was neither. */
  readonly successRate: number
  /** The same of the last 100. */
  readonly recentSuccessRate: number
  /** From arrival to end; 0 when none has ended. */
  readonly mean: number
  /** Quantiles of the same, within 2 %. */
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly consecutiveFailures: number
  readonly lastSuccess: number | undefined
  readonly lastFailure: number | undefined
  /** The circuit of the tool's name, as it was when asked. */
  readonly breaker: Snapshot
  /** The recent success rate is at or above the threshold, and the circuit is not open. */
  readonly isHealthy: boolean
}

// --- Pure core -------------------------------------------------------------

const recentSize = 100

/** What is known of one tool: counted in place, because a copy of it would cost more than the rest of the record. */
class State {
  total = 0
  successes = 0
  failures = 0
  consecutiveFailures = 0
  lastSuccess: number | undefined = undefined
  lastFailure: number | undefined = undefined
  recentFailures = 0
  /** A ring of the last outcomes, 1 for a failure. */
  readonly recent = new Uint8Array(recentSize)
  readonly statuses = new Map<Status, number>()
  readonly latencies = new Quantiles()
}

/** What is known of a tool that was never called. Only ever read. */
const untouched = new State()

const outcomeOf = (record: CallRecord): "success" | "failure" | undefined => {
  if (record.attempts === 0) return undefined
  if (record.status === "success") return "success"
  return record.reason !== undefined && table[record.reason].health === "yes" ? "failure" : undefined
}

/** Adds a call that has ended. */
const fold = (state: State, record: CallRecord): void => {
  const status = record.status as Status
  state.total += 1
  state.statuses.set(status, (state.statuses.get(status) ?? 0) + 1)
  if (record.attempts > 0) state.latencies.record(latency(record) ?? 0)
  const outcome = outcomeOf(record)
  if (outcome === undefined) return
  const slot = (state.successes + state.failures) % recentSize
  const failed = outcome === "failure" ? 1 : 0
  state.recentFailures += failed - state.recent[slot]!
  state.recent[slot] = failed
  if (outcome === "success") {
    state.successes += 1
    state.consecutiveFailures = 0
    state.lastSuccess = record.completedAt
  } else {
    state.failures += 1
    state.consecutiveFailures += 1
    state.lastFailure = record.completedAt
  }
}

const view = (tool: string, state: State, breaker: Snapshot, threshold: number): ToolHealth => {
  const counts = {} as { [S in Status]: number }
  for (const status of Status.literals) counts[status] = state.statuses.get(status) ?? 0
  const outcomes = state.successes + state.failures
  const recent = Math.min(outcomes, recentSize)
  const recentSuccessRate = recent === 0 ? 1 : (recent - state.recentFailures) / recent
  const { latencies } = state
  return {
    tool,
    total: state.total,
    counts,
    reached: latencies.count,
    successRate: outcomes === 0 ? 1 : state.successes / outcomes,
    recentSuccessRate,
    mean: latencies.mean,
    p50: latencies.quantile(0.5),
    p95: latencies.quantile(0.95),
    p99: latencies.quantile(0.99),
    consecutiveFailures: state.consecutiveFailures,
    lastSuccess: state.lastSuccess,
    lastFailure: state.lastFailure,
    breaker,
    isHealthy: recentSuccessRate >= threshold && breaker.tag !== "Open" && breaker.tag !== "ForcedOpen"
  }
}

// --- Service ---------------------------------------------------------------

/** How each tool is doing. */
export class Health extends Context.Service<
  Health,
  {
    /** One tool's health; a tool that was never called is healthy. */
    readonly get: (tool: string) => Effect.Effect<ToolHealth>
    /** Every tool that a call has ended of. Calls to tools that do not exist are under `CallRecord.unknownTool`. */
    readonly all: Effect.Effect<ReadonlyMap<string, ToolHealth>>
    /**
     * A tool's health after each of its calls and each change of its circuit. A slow reader sees the
     * present, loses the oldest of 1,024 changes and never holds up a call.
     */
    readonly changes: Stream.Stream<ToolHealth>
  }
>()("interlock/Health") {}

export interface Options {
  /** The recent success rate from which on a tool is healthy; 0.9. */
  readonly threshold?: number
}

export const make: (
  options?: Options
) => Effect.Effect<Health["Service"], never, CallRecorder | CircuitBreaker | Scope.Scope> = Effect.fnUntraced(
  function* (options) {
    const threshold = options?.threshold ?? 0.9
    const recorder = yield* CallRecorder
    const breaker = yield* CircuitBreaker
    const ended = yield* Sliding.make<string>(1024)
    const tools = new Map<string, Ref.Ref<State>>()
    // Which circuit each tool that was called runs in: several may share one.
    const circuits = new Map<string, string>()

    yield* recorder.add({
      onEnd: (record) => {
        let state = tools.get(record.tool)
        if (state === undefined) {
          state = Ref.makeUnsafe(new State())
          tools.set(record.tool, state)
          if (record.circuit !== undefined) circuits.set(record.tool, record.circuit)
        }
        fold(Ref.getUnsafe(state), record)
        Sliding.publish(ended, record.tool)
      }
    })

    const get = (tool: string): Effect.Effect<ToolHealth> =>
      Effect.map(breaker.state(circuits.get(tool) ?? tool), (snapshot) => {
        const state = tools.get(tool)
        return view(tool, state === undefined ? untouched : Ref.getUnsafe(state), snapshot, threshold)
      })

    return {
      get,
      all: Effect.suspend(() => Effect.forEach(Array.from(tools.keys()), get)).pipe(
        Effect.map((healths) => new Map(healths.map((health) => [health.tool, health])))
      ),
      changes: Stream.merge(
        Stream.fromPubSub(ended),
        breaker.transitions.pipe(
          Stream.flatMap(({ key }) =>
            Stream.fromIterable([...circuits].flatMap(([tool, circuit]) => (circuit === key ? [tool] : [])))
          )
        )
      ).pipe(
        // Publishing wakes a waiting reader at once: its work must not happen inside the call.
        Stream.tap(() => Effect.yieldNow),
        Stream.mapEffect(get)
      )
    }
  }
)

/** Health of the tools that `CallRecorder` sees called while the layer lives. */
export const layer = (options?: Options): Layer.Layer<Health, never, CallRecorder | CircuitBreaker> =>
  Layer.effect(Health, make(options))
