/**
 * The last calls, live, and statistics over all of them.
 *
 * The history keeps the records themselves, so a call is seen here as
 * `pending`, `running`, `retrying` and as it ended. Statistics cover every call
 * since the start or the last `clear`, not only those that are kept, and at any
 * moment what has started is in flight or has ended. `clear` forgets what has
 * ended; what is in flight then stays, and is counted when it ends.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { type CallRecord, CallRecorder, isEnded, type LiveStatus, latency } from "./CallRecord.ts"
import * as Sliding from "./internal/sliding.ts"
import { Status } from "./ToolError.ts"

/** What happened to a number of calls. */
export interface Tally {
  /** Always `inFlight + ended`. */
  readonly started: number
  readonly inFlight: number
  readonly ended: number
  readonly counts: { readonly [S in Status]: number }
  /** Of the calls that ended, the share with status `success`; 1 when none has. */
  readonly successRate: number
  /** Of the calls that ended, from arrival to end in milliseconds; 0 when none has. */
  readonly meanTime: number
  /** Of the calls that ended, how often the handler was started; 0 when none has. */
  readonly meanAttempts: number
}

/** Over all calls, and for each tool that was called. */
export interface Statistics {
  readonly all: Tally
  readonly tools: ReadonlyMap<string, Tally>
}

/** Which calls to look at; all that is given must hold. */
export interface Query {
  /** At most so many; all that are kept by default. */
  readonly limit?: number
  readonly tool?: string
  readonly status?: Status | LiveStatus
  /** The principal's id. */
  readonly principal?: string
}

/** Counts of one tool, changed in place. */
class Counts {
  inFlight = 0
  ended = 0
  time = 0
  attempts = 0
  readonly statuses = new Map<Status, number>()

  end(record: CallRecord): void {
    this.inFlight -= 1
    this.ended += 1
    this.time += Math.max(0, latency(record) ?? 0)
    this.attempts += record.attempts
    const status = record.status as Status
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1)
  }

  add(that: Counts): void {
    this.inFlight += that.inFlight
    this.ended += that.ended
    this.time += that.time
    this.attempts += that.attempts
    for (const [status, count] of that.statuses) {
      this.statuses.set(status, (this.statuses.get(status) ?? 0) + count)
    }
  }

  forgetEnded(): void {
    this.ended = 0
    this.time = 0
    this.attempts = 0
    this.statuses.clear()
  }

  tally(): Tally {
    const counts = {} as { [S in Status]: number }
    for (const status of Status.literals) counts[status] = this.statuses.get(status) ?? 0
    const mean = (sum: number, none: number) => (this.ended === 0 ? none : sum / this.ended)
    return {
      started: this.inFlight + this.ended,
      inFlight: this.inFlight,
      ended: this.ended,
      counts,
      successRate: mean(counts.success, 1),
      meanTime: mean(this.time, 0),
      meanAttempts: mean(this.attempts, 0)
    }
  }
}

/** The last calls and what became of all of them. */
export class History extends Context.Service<
  History,
  {
    /** The calls that are kept, newest first. The records of those in flight go on changing. */
    readonly recent: (query?: Query) => Effect.Effect<ReadonlyArray<CallRecord>>
    /** The newest kept call with this id. */
    readonly get: (callId: string) => Effect.Effect<CallRecord | undefined>
    readonly statistics: Effect.Effect<Statistics>
    /**
     * A call's record whenever its status changed, the first and the last included. Records are
     * live, so a reader that lags sees the present status; it loses the oldest of 4,096 changes.
     */
    readonly changes: Stream.Stream<CallRecord>
    /** Forgets the calls that have ended, in `recent` and in the statistics. */
    readonly clear: Effect.Effect<void>
  }
>()("interlock/History") {}

export interface Options {
  /** How many calls are kept; 1,000. */
  readonly keep?: number
}

export const make: (
  options?: Options
) => Effect.Effect<History["Service"], never, CallRecorder | Scope.Scope> = Effect.fnUntraced(
  function* (options) {
    const keep = Math.max(0, Math.trunc(options?.keep ?? 1000))
    const recorder = yield* CallRecorder
    const changed = yield* Sliding.make<CallRecord>(4096)
    const tools = new Map<string, Counts>()
    let ring: Array<CallRecord> = []
    let next = 0

    const remember = (record: CallRecord) => {
      if (ring.length < keep) ring.push(record)
      else if (keep > 0) ring[next] = record
      next = next + 1 < keep ? next + 1 : 0
    }
    const newestFirst = function* () {
      for (let back = 1; back <= ring.length; back++) {
        yield ring[(next - back + ring.length) % ring.length]!
      }
    }

    yield* recorder.add({
      // The history may begin in the middle of calls, and only what was seen to start may end here.
      whole: true,
      onStart: (record) => {
        let counts = tools.get(record.tool)
        if (counts === undefined) {
          counts = new Counts()
          tools.set(record.tool, counts)
        }
        counts.inFlight += 1
        remember(record)
        Sliding.publish(changed, record)
      },
      onChange: (record) => Sliding.publish(changed, record),
      onEnd: (record) => {
        tools.get(record.tool)!.end(record)
        Sliding.publish(changed, record)
      }
    })

    return {
      recent: (query = {}) =>
        Effect.sync(() => {
          const found: Array<CallRecord> = []
          const limit = query.limit ?? keep
          for (const record of newestFirst()) {
            if (found.length >= limit) break
            if (matches(record, query)) found.push(record)
          }
          return found
        }),
      get: (callId) =>
        Effect.sync(() => {
          for (const record of newestFirst()) if (record.callId === callId) return record
          return undefined
        }),
      statistics: Effect.sync(() => {
        const all = new Counts()
        for (const counts of tools.values()) all.add(counts)
        return {
          all: all.tally(),
          tools: new Map(Array.from(tools, ([tool, counts]) => [tool, counts.tally()]))
        }
      }),
      changes: Sliding.stream(changed),
      clear: Effect.sync(() => {
        for (const [tool, counts] of tools) {
          if (counts.inFlight === 0) tools.delete(tool)
          else counts.forgetEnded()
        }
        ring = Array.from(newestFirst())
          .reverse()
          .filter((record) => !isEnded(record))
        next = ring.length < keep ? ring.length : 0
      })
    }
  }
)

/** A history of the calls that `CallRecorder` sees while the layer lives. */
export const layer = (options?: Options): Layer.Layer<History, never, CallRecorder> =>
  Layer.effect(History, make(options))

const matches = (record: CallRecord, query: Query): boolean =>
  (query.tool === undefined || record.tool === query.tool) &&
  (query.status === undefined || record.status === query.status) &&
  (query.principal === undefined || record.principal === query.principal)
