/**
 * Spans and metrics of calls, named as OpenTelemetry's conventions for
 * generative AI name them (`execute_tool`). Those conventions are still marked
 * as in development; what they do not name is under `interlock.`.
 *
 * A span says which tool, which call, how it ended and how often it was tried;
 * never an argument, a result or an error's message: a failed span carries the
 * code of `ToolError` and nothing else. Labels of metrics are names of
 * registered tools, statuses and codes, so there are only so many series.
 *
 * | metric | kind | labels |
 * |---|---|---|
 * | `gen_ai.execute_tool.duration` | histogram, seconds, of calls that reached the handler | `gen_ai.tool.name`, `error.type` |
 * | `interlock.tool.calls` | counter of calls that ended | `tool`, `status` |
 * | `interlock.tool.attempts` | counter of handlers started | `tool` |
 * | `interlock.tool.in_flight` | gauge | `tool` |
 */
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import { type CallRecord, CallRecorder, type Door, latency, type Sink } from "./CallRecord.ts"

/** What a call's span says from its beginning. */
export interface Opening {
  readonly callId: string
  /** As in the record: `CallRecord.unknownTool` for a name that no tool has. */
  readonly tool: string
  readonly description: string | undefined
  readonly door: Door
}

/** The span of a call; its metrics are a fold over `CallRecorder`. */
export class Telemetry extends Context.Service<
  Telemetry,
  {
    /**
     * Opens the call's span as a child of the fiber's current one; `undefined` when nobody traces.
     * The handler's spans become its children where the pipeline makes it their parent.
     */
    readonly open: (fiber: Fiber.Fiber<unknown, unknown>, opening: Opening) => Tracer.Span | undefined
    /** Ends a span that `open` gave, by the record of the call when it has ended. */
    readonly close: (span: Tracer.Span, record: CallRecord) => void
  }
>()("interlock/Telemetry") {}

// --- Spans -----------------------------------------------------------------

/** Whether the call is an error to who watches: a degraded call gave a value, and one that waits for a human is none. */
const errorType = (record: CallRecord): string | undefined =>
  record.status === "success" || record.status === "degraded" || record.status === "pending_confirmation"
    ? undefined
    : record.code

/** The exit a span ends with: exporters print an error's name and message, so both are the code. */
const exitOf = (record: CallRecord): Exit.Exit<unknown, unknown> => {
  if (record.status === "cancelled") return Exit.interrupt()
  const code = errorType(record)
  return code === undefined ? Exit.void : Exit.fail({ name: code, message: code })
}

/** A span that is open, the clock of its fiber, and how many retries it has told of. */
interface Open {
  readonly span: Tracer.Span
  readonly now: () => bigint
  told: number
}

const noTime = () => 0n

const openSpan = (fiber: Fiber.Fiber<unknown, unknown>, opening: Opening): Open | undefined => {
  const { span: current, tracer, tracerEnabled } = fiber.cache
  return !tracerEnabled || (tracer === undefined && current === undefined)
    ? undefined
    : startSpan(fiber, opening, tracer ?? Tracer.nativeTracer, current)
}

const startSpan = (
  fiber: Fiber.Fiber<unknown, unknown>,
  opening: Opening,
  tracer: Tracer.Tracer,
  current: Tracer.AnySpan | undefined
): Open => {
  const clock = fiber.getRef(Clock.Clock)
  const now = fiber.getRef(References.TracerTimingEnabled) ? () => clock.currentTimeNanosUnsafe() : noTime
  const parent = visible(current)
  // What `Effect.makeSpan` does, without an effect: the pipeline is one primitive and cannot run another.
  const span = tracer.span({
    name: `execute_tool ${opening.tool}`,
    parent,
    annotations: Context.empty(),
    links: fiber.getRef(References.TracerSpanLinks).slice(),
    startTime: now(),
    kind: "internal",
    root: false,
    sampled: isSampled(fiber, parent)
  })
  const annotations = fiber.getRef(References.TracerSpanAnnotations)
  for (const key of Object.keys(annotations)) span.attribute(key, annotations[key])
  span.attribute("gen_ai.operation.name", "execute_tool")
  span.attribute("gen_ai.tool.name", opening.tool)
  span.attribute("gen_ai.tool.call.id", opening.callId)
  span.attribute("gen_ai.tool.type", "function")
  if (opening.description !== undefined) span.attribute("gen_ai.tool.description", opening.description)
  span.attribute("interlock.door", opening.door)
  return { span, now, told: 0 }
}

// A span that is not propagated stands for its parent.
const visible = (span: Tracer.AnySpan | undefined): Option.Option<Tracer.AnySpan> => {
  let current = span
  while (current !== undefined && Context.get(current.annotations, Tracer.DisablePropagation)) {
    current = current._tag === "Span" ? Option.getOrUndefined(current.parent) : undefined
  }
  return Option.fromUndefinedOr(current)
}

const isSampled = (fiber: Fiber.Fiber<unknown, unknown>, parent: Option.Option<Tracer.AnySpan>): boolean =>
  (Option.isNone(parent) || parent.value.sampled) &&
  !LogLevel.isGreaterThan(fiber.getRef(Tracer.MinimumTraceLevel), fiber.getRef(Tracer.CurrentTraceLevel))

const tellRetries = (open: Open, record: CallRecord): void => {
  while (open.told < record.retried.length) {
    const { attempt, code, delay } = record.retried[open.told++]!
    open.span.event("interlock.retry", open.now(), {
      "interlock.attempt": attempt,
      "error.type": code,
      "interlock.delay": delay
    })
  }
}

// --- Metrics ---------------------------------------------------------------

/** The boundaries that the conventions advise for durations of operations, in seconds. */
const boundaries = Array.from({ length: 14 }, (_, power) => 0.01 * 2 ** power)

/** A number that is counted in place. */
class Count {
  value = 0
}

/** Durations in seconds, counted in place by the bucket they fall into. */
class Durations {
  count = 0
  sum = 0
  min = Number.MAX_VALUE
  max = 0
  readonly buckets = new Float64Array(boundaries.length + 1)

  record(seconds: number): void {
    let bucket = 0
    // Most calls are short: to look from the shortest on is quicker than halving.
    while (bucket < boundaries.length && seconds > boundaries[bucket]!) bucket++
    this.buckets[bucket]! += 1
    this.count += 1
    this.sum += seconds
    if (seconds < this.min) this.min = seconds
    if (seconds > this.max) this.max = seconds
  }

  state(): Metric.HistogramState {
    const { count, max, min, sum } = this
    let below = 0
    const buckets = boundaries.map((boundary, bucket): [number, number] => {
      below += this.buckets[bucket]!
      return [boundary, below]
    })
    return { buckets, count, min, max, sum }
  }
}

/**
 * The series of one tool: plain numbers that the registry asks for when somebody reads it, because an update through the
 * registry costs more than the rest of the record. A series is registered when there is something to say in it.
 */
class Series {
  #inFlight: Count | undefined = undefined
  #attempts: Count | undefined = undefined
  readonly #calls = new Map<string, Count>()
  readonly #durations = new Map<string | undefined, Durations>()
  readonly #tool: string
  readonly #context: Context.Context<never>

  constructor(tool: string, context: Context.Context<never>) {
    this.#tool = tool
    this.#context = context
  }

  entered(): void {
    this.#inFlight ??= this.#gauge()
    this.#inFlight.value += 1
  }

  left(calls: number): void {
    if (this.#inFlight !== undefined) this.#inFlight.value -= calls
  }

  ended(record: CallRecord): void {
    const calls = this.#calls.get(record.status) ?? this.#callsOf(record.status)
    calls.value += 1
    if (record.attempts === 0) return
    this.#attempts ??= this.#counter("interlock.tool.attempts", "Handlers started, retries included")
    this.#attempts.value += record.attempts
    const error = errorType(record)
    const durations = this.#durations.get(error) ?? this.#durationsOf(error)
    durations.record(milliseconds(record) / 1000)
  }

  #gauge(): Count {
    const count = new Count()
    const gauge = Metric.gauge("interlock.tool.in_flight", {
      description: "Calls that have come in and not ended",
      attributes: { tool: this.#tool }
    })
    this.#register(gauge, () => ({ value: count.value }))
    return count
  }

  #counter(id: string, description: string, labels?: { readonly status: string }): Count {
    const count = new Count()
    const attributes = { tool: this.#tool, ...labels }
    const counter = Metric.counter(id, { description, attributes, incremental: true })
    this.#register(counter, () => ({ count: count.value, incremental: true }))
    return count
  }

  #callsOf(status: string): Count {
    const calls = this.#counter("interlock.tool.calls", "Calls that ended", { status })
    this.#calls.set(status, calls)
    return calls
  }

  #durationsOf(error: string | undefined): Durations {
    const durations = new Durations()
    const histogram = Metric.histogram("gen_ai.execute_tool.duration", {
      description: "From a call's arrival to its end",
      attributes: {
        "gen_ai.tool.name": this.#tool,
        // Exporters read the unit from here.
        unit: "s",
        ...(error === undefined ? {} : { "error.type": error })
      },
      boundaries
    })
    this.#register(histogram, () => durations.state())
    this.#durations.set(error, durations)
    return durations
  }

  #register<State>(metric: Metric.Metric<number, State>, get: () => State): void {
    Metric.registerUnsafe(metric, this.#context, { get, update: () => {}, modify: () => {} })
  }
}

/** By registry and labels of the context: who shares those counts in one series, one after the other or at once. */
const known = new WeakMap<Metric.MetricRegistry, Map<string, Map<string, Series>>>()

const seriesIn = (context: Context.Context<never>): Map<string, Series> => {
  const labels = Object.entries(Context.get(context, Metric.CurrentMetricAttributes)).sort()
  const inRegistry = getOrMake(known, Context.get(context, Metric.MetricRegistry), () => new Map())
  return getOrMake(inRegistry, JSON.stringify(labels), () => new Map())
}

/** A tool's series, and how many of the calls in flight this layer has counted. */
interface Counted {
  readonly series: Series
  inFlight: number
}

const makeMetrics = (
  context: Context.Context<never>
): { readonly sink: Sink; readonly release: () => void } => {
  const series = seriesIn(context)
  const tools = new Map<string, Counted>()
  const add = (tool: string): Counted => {
    const counted = { series: getOrMake(series, tool, () => new Series(tool, context)), inFlight: 0 }
    tools.set(tool, counted)
    return counted
  }
  return {
    sink: {
      onStart: ({ tool }) => {
        const counted = tools.get(tool) ?? add(tool)
        counted.inFlight += 1
        counted.series.entered()
      },
      onEnd: (record) => {
        const counted = tools.get(record.tool) ?? add(record.tool)
        // A call may have come in before the layer did.
        if (counted.inFlight > 0) {
          counted.inFlight -= 1
          counted.series.left(1)
        }
        counted.series.ended(record)
      }
    },
    release: () => {
      for (const { inFlight, series } of tools.values()) series.left(inFlight)
    }
  }
}

// --- Layers ----------------------------------------------------------------

/** Spans and metrics. `print` is given one line for each call that ended. */
export const make: (
  print?: (line: string) => void
) => Effect.Effect<Telemetry["Service"], never, CallRecorder | Scope.Scope> = Effect.fnUntraced(
  function* (print) {
    const recorder = yield* CallRecorder
    const metrics = makeMetrics(yield* Effect.context<never>())
    // By span to end it; by id because a record knows no more. Ids need not be unique: a tracer may give all zeros.
    const spans = new Map<Tracer.Span, Open>()
    const byId = new Map<string, Open>()
    yield* Effect.addFinalizer(() => Effect.sync(metrics.release))
    yield* recorder.add({
      ...metrics.sink,
      onChange: (record) => {
        if (record.retried.length === 0 || record.spanId === undefined) return
        const open = byId.get(record.spanId)
        if (open !== undefined) tellRetries(open, record)
      }
    })
    if (print !== undefined) yield* recorder.add({ onEnd: (record) => print(line(record)) })
    return {
      open: (fiber, opening) => {
        const open = openSpan(fiber, opening)
        if (open === undefined) return undefined
        spans.set(open.span, open)
        byId.set(open.span.spanId, open)
        return open.span
      },
      close: (span, record) => {
        const open = spans.get(span)
        if (open === undefined) return
        spans.delete(span)
        byId.delete(span.spanId)
        tellRetries(open, record)
        const error = errorType(record)
        if (error !== undefined) span.attribute("error.type", error)
        span.attribute("interlock.status", record.status)
        span.attribute("interlock.attempts", record.attempts)
        span.end(open.now(), exitOf(record))
      }
    }
  }
)

/** Spans for whichever tracer the caller's fiber has, and metrics in the registry of the layer. */
export const layer: Layer.Layer<Telemetry, never, CallRecorder> = Layer.effect(Telemetry, make())

/** The same, and one line per ended call to Effect's `Console`, such as `✓ add 12 ms (1 attempt)`. */
export const layerConsole: Layer.Layer<Telemetry, never, CallRecorder> = Layer.effect(
  Telemetry,
  Effect.flatMap(Console.Console, (console) => make((line) => console.log(line)))
)

/** No span, no metric. */
export const layerNoop: Layer.Layer<Telemetry> = Layer.succeed(Telemetry, {
  open: () => undefined,
  close: () => {}
})

// --- Helpers ---------------------------------------------------------------

/** A call that ended, for a person: no value and no message, so that nothing leaks into a terminal. */
const line = (record: CallRecord): string => {
  const mark =
    record.status === "success"
      ? "✓"
      : record.status === "degraded"
        ? "~"
        : record.status === "pending_confirmation"
          ? "?"
          : "✗"
  const why = record.status === "success" || record.code === undefined ? "" : ` ${record.code}`
  const attempts = `${record.attempts} ${record.attempts === 1 ? "attempt" : "attempts"}`
  return `${mark} ${record.tool}${why} ${Math.round(milliseconds(record))} ms (${attempts})`
}

// A clock may be set back while a call runs.
const milliseconds = (record: CallRecord): number => Math.max(0, latency(record) ?? 0)

const getOrMake = <K extends WeakKey | string, V>(
  map: { readonly get: (key: K) => V | undefined; readonly set: (key: K, value: V) => unknown },
  key: K,
  make: () => V
): V => {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}
