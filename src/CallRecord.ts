/**
 * One record per call, and the one recorder that hands it on.
 *
 * Health, history, telemetry and whatever else is observed are folds over what
 * the recorder sees. A sink is synchronous and must be quick; one that throws
 * is reported and never breaks a call. The record of a call that runs is live:
 * the same object is seen with `pending`, `running`, `retrying` and its last
 * status, and does not change any more once it has ended.
 *
 * A record holds no argument value and no error message of a tool: either may
 * carry a secret. What it says of the arguments is their keyed hash and their
 * shape, worked out when someone reads them.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { ArgumentsView } from "./internal/argumentsView.ts"
import * as Sliding from "./internal/sliding.ts"
import type { Actor } from "./Principal.ts"
import type { Amounts } from "./ToolAnnotations.ts"
import type { ErrorClass, ReasonTag, Status } from "./ToolError.ts"
import type * as Verdict from "./Verdict.ts"

/** How a call came in. */
export type Door = "run" | "execute" | "toolkit" | "guard" | "mcp" | "batch"

/** What a call does while it lives. */
export type LiveStatus = "pending" | "running" | "retrying"

/** An attempt that failed and was followed by another. */
export interface Retried {
  readonly attempt: number
  readonly code: string
  /** Milliseconds until the next attempt. */
  readonly delay: number
}

/** The stages of a call, in their order. */
export const stages = [
  "find",
  "kill_switch",
  "permissions",
  "policy",
  "rate_limit",
  "size",
  "policy_raw",
  "decode",
  "policy_decoded",
  "screening",
  "idempotency",
  "cache",
  "loops",
  "taint",
  "confirmation",
  "bulkhead",
  "audit",
  "circuit",
  "budget",
  "handler",
  "encode"
] as const
export type Stage = (typeof stages)[number]

/** What a stage said of a call, where that was not simply yes. */
export interface StageVerdict {
  readonly stage: Stage
  readonly verdict: "allow" | "confirm" | "approve" | "deny" | "flag"
  readonly reasons: ReadonlyArray<Verdict.Reason>
  /** A policy in shadow said so: recorded, not enforced. */
  readonly shadow?: true
}

export interface CallRecord {
  readonly callId: string
  /** The call whose fallback this is. */
  readonly parentId: string | undefined
  /** The run it is part of, the run's session, and the caller's number for it in the run. */
  readonly run: string | undefined
  readonly session: string | undefined
  readonly step: string | undefined
  /** `unknownTool` for a name that no tool has. */
  readonly tool: string
  /** The key of the circuit the tool's attempts run in. */
  readonly circuit: string | undefined
  readonly door: Door
  readonly principal: string
  readonly tenant: string | undefined
  readonly actor: Actor | undefined
  readonly status: Status | LiveStatus
  /** Why it did not succeed, or why it is degraded. */
  readonly reason: ReasonTag | undefined
  readonly code: string | undefined
  readonly class: ErrorClass | undefined
  /** The stage that ended it; `undefined` where all of them let it through, and while it lives. */
  readonly stage: Stage | undefined
  /** What stages said other than yes; those before `stage` that are not here let it through. */
  readonly verdicts: ReadonlyArray<StageVerdict>
  /** Digests of the tool's definition, and of the rules that match it; `undefined` for a name that no tool has. */
  readonly toolDigest: string | undefined
  readonly policyDigest: string | undefined
  /** The approval that let it through. */
  readonly approval: string | undefined
  /** Where its value came from, when not from a run of its own. */
  readonly answeredFrom: "cache" | "idempotency" | undefined
  /** How often the handler was started; 0 says that it was never reached. */
  readonly attempts: number
  readonly retried: ReadonlyArray<Retried>
  /** Milliseconds since the epoch. */
  readonly queuedAt: number
  readonly startedAt: number | undefined
  readonly completedAt: number | undefined
  /** The handler went on after its interruption. */
  readonly abandoned: boolean
  /** What it cost, by unit, settled or else the bound; `usd` in millionths. */
  readonly cost: Amounts | undefined
  /** The state of the tool's circuit as its last attempt met it. */
  readonly breaker: "closed" | "half_open" | "open" | undefined
  readonly arguments: ArgumentsView
  readonly traceId: string | undefined
  readonly spanId: string | undefined
  readonly metadata: Readonly<Record<string, string>> | undefined
}

/** The one name under which calls to tools that do not exist are recorded: names from outside are hostile. */
export const unknownTool = "(unknown)"

/** Whether the call has ended. */
export const isEnded = (record: CallRecord): boolean => record.completedAt !== undefined

/** Milliseconds from the call's arrival to its end; `undefined` while it lives. */
export const latency = (record: CallRecord): number | undefined =>
  record.completedAt === undefined ? undefined : record.completedAt - record.queuedAt

/** The record as plain data, safe to print and to send. */
export const toJson = (record: CallRecord): Record<string, unknown> => ({
  callId: record.callId,
  parentId: record.parentId,
  run: record.run,
  session: record.session,
  step: record.step,
  tool: record.tool,
  circuit: record.circuit,
  door: record.door,
  principal: record.principal,
  tenant: record.tenant,
  actor: record.actor,
  status: record.status,
  reason: record.reason,
  code: record.code,
  class: record.class,
  stage: record.stage,
  verdicts: record.verdicts,
  toolDigest: record.toolDigest,
  policyDigest: record.policyDigest,
  approval: record.approval,
  answeredFrom: record.answeredFrom,
  attempts: record.attempts,
  retried: record.retried,
  queuedAt: record.queuedAt,
  startedAt: record.startedAt,
  completedAt: record.completedAt,
  abandoned: record.abandoned,
  cost: record.cost,
  breaker: record.breaker,
  arguments: record.arguments.toJSON(),
  traceId: record.traceId,
  spanId: record.spanId,
  metadata: record.metadata
})

/** What follows calls. Every method is called from the call's own fiber and must not wait. */
export interface Sink {
  /** A call came in. */
  readonly onStart?: (record: CallRecord) => void
  /** Its status changed to `running` or `retrying`. */
  readonly onChange?: (record: CallRecord) => void
  /** It ended: called once per call. */
  readonly onEnd?: (record: CallRecord) => void
  /** It hears nothing of a call that came in before the sink was added. */
  readonly whole?: true
}

/** The recorder's own side of sinks. */
type Told = Required<Omit<Sink, "whole">>

/** Hands every call's record to every sink. */
export class CallRecorder extends Context.Service<
  CallRecorder,
  {
    /** The recorder's own side, called by the pipeline. */
    readonly sink: Told
    /** Adds a sink for as long as the scope is open. */
    readonly add: (sink: Sink) => Effect.Effect<void, never, Scope.Scope>
    /** Every record when its call ends. A slow reader loses the oldest of 4,096, never holds up a call. */
    readonly records: Stream.Stream<CallRecord>
  }
>()("interlock/CallRecord/CallRecorder") {}

// --- Handing on ------------------------------------------------------------

type Listeners = ReadonlyArray<(record: CallRecord) => void>

/** The functions that sinks have of a name: looked for when a sink comes or goes, and not for each record. */
const listeners = (sinks: ReadonlyArray<Sink>, name: keyof Told): Listeners =>
  sinks.flatMap((sink) => sink[name]?.bind(sink) ?? [])

/** A sink as it hears only of calls that it saw begin, while calls are in flight that it did not. */
const whole = (sink: Sink, inFlight: number): Sink => {
  let strangers = inFlight
  const seen = new WeakSet<CallRecord>()
  return {
    onStart: (record) => {
      if (strangers > 0) seen.add(record)
      sink.onStart?.(record)
    },
    onChange: (record) => {
      if (strangers === 0 || seen.has(record)) sink.onChange?.(record)
    },
    onEnd: (record) => {
      if (strangers === 0 || seen.delete(record)) sink.onEnd?.(record)
      else strangers -= 1
    }
  }
}

export const make: Effect.Effect<CallRecorder["Service"], never, Scope.Scope> = Effect.gen(function* () {
  const context = yield* Effect.context<never>()
  const ended = yield* Sliding.make<CallRecord>(4096)
  let inFlight = 0
  let sinks: ReadonlyArray<Sink> = []
  let onStart: Listeners = []
  let onChange: Listeners = []
  let onEnd: Listeners = []
  const follow = (all: ReadonlyArray<Sink>) => {
    sinks = all
    onStart = listeners(all, "onStart")
    onChange = listeners(all, "onChange")
    onEnd = listeners(all, "onEnd")
  }
  const tell = (all: Listeners, record: CallRecord): void => {
    let next = 0
    // One `try` for all of them: what throws ends the inner loop, and the outer one goes on behind it.
    while (next < all.length) {
      try {
        while (next < all.length) all[next++]!(record)
      } catch (defect) {
        // A sink is an observer: its bug must not become the call's.
        Effect.runForkWith(context)(ErrorReporter.report(Cause.die(defect)))
      }
    }
  }
  return {
    sink: {
      onStart: (record) => {
        inFlight += 1
        tell(onStart, record)
      },
      onChange: (record) => tell(onChange, record),
      onEnd: (record) => {
        inFlight -= 1
        tell(onEnd, record)
        Sliding.publish(ended, record)
      }
    },
    add: (added) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const sink = added.whole === true && inFlight > 0 ? whole(added, inFlight) : added
          follow([...sinks, sink])
          return sink
        }),
        (sink) => Effect.sync(() => follow(sinks.filter((other) => other !== sink)))
      ),
    records: Sliding.stream(ended)
  }
})

export const layer: Layer.Layer<CallRecorder> = Layer.effect(CallRecorder, make)
