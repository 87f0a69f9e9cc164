/** The audit log's service, put together from its parts: what is the same over every store and in memory. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { AuditLog, Because, Event, Unavailable } from "../../AuditLog.ts"
import type { Keyring } from "../../Keyring.ts"
import { type Appender, report } from "./appender.ts"
import { type Reader, unfinished } from "./query.ts"
import { type Draft, eventDraft } from "./record.ts"
import { Reporting } from "./report.ts"
import type { Retention } from "./retention.ts"
import type { AuditStore, AuditStoreError } from "./store.ts"
import { readHead, Walker } from "./verification.ts"
import { unavailable } from "./writer.ts"

type Service = AuditLog["Service"]

export interface Parts {
  readonly store: AuditStore
  readonly keyring: Keyring["Service"]
  readonly reader: Reader
  readonly appender: Appender
  readonly retention: Retention
}

/** The way of records into the store. */
export interface Sink extends Pick<Service, "ready" | "intent" | "outcome" | "whenUnavailable"> {
  readonly offer: (draft: Draft) => Effect.Effect<void, Unavailable>
  /** Whatever was accepted is in the store when this returns. */
  readonly settled: Effect.Effect<void, AuditStoreError>
}

export const assemble = (parts: Parts, sink: Sink): Service => {
  const { store, keyring, reader, appender, retention } = parts
  // Holds, forgetting and passes of retention look at each other's work.
  const admin = Semaphore.makeUnsafe(1)

  const append = (event: Event) =>
    Effect.clockWith((clock) => sink.offer(eventDraft(event, clock.currentTimeMillisUnsafe())))
  const record = (action: string, { by, why }: Because, detail: object) =>
    append({ kind: "admin", action, principal: by, detail: { why, ...detail } })

  const read = <A>(effect: Effect.Effect<A, AuditStoreError>): Effect.Effect<A, Unavailable> =>
    asUnavailable(Effect.andThen(sink.settled, effect))
  const readStream = <A>(stream: Stream.Stream<A, AuditStoreError>): Stream.Stream<A, Unavailable> =>
    Stream.catch(Stream.unwrap(Effect.as(sink.settled, stream)), (error) =>
      Stream.fromEffect(Effect.andThen(report(error), Effect.fail(unavailable)))
    )

  const records: Service["records"] = (selection = {}) => readStream(reader.oldestFirst(selection))

  const walk = (expected: Parameters<Service["verify"]>[0]) =>
    Effect.gen(function* () {
      // What is known goes before the lines: they go at least as far by the time they are read.
      const { known } = appender
      const head = readHead(keyring, yield* store.head)
      const elsewhere = [known, expected?.expectedHead].filter((position) => position !== undefined)
      const walker = new Walker(keyring, [...head.heads, ...elsewhere])
      yield* Stream.runForEachWhile(store.read({}), (line) => Effect.sync(() => walker.step(line)))
      return head.judge(walker.end())
    })

  return {
    ready: sink.ready,
    intent: sink.intent,
    outcome: sink.outcome,
    append,
    whenUnavailable: sink.whenUnavailable,

    query: ({ order = "newest", limit = 1000, ...selection } = {}) =>
      read(
        (order === "newest" ? reader.newestFirst(selection) : reader.oldestFirst(selection)).pipe(
          Stream.take(limit),
          Stream.runCollect
        )
      ),
    records,
    export: (selection) => Stream.map(records(selection), (found) => JSON.stringify(found)),
    lines: (range = {}) => readStream(store.read(range)),
    report: ({ since, until } = {}) =>
      read(
        reader.oldestFirst({ since, until }).pipe(
          Stream.runFold(
            () => new Reporting(),
            (reporting, found) => {
              reporting.add(found)
              return reporting
            }
          ),
          Effect.map((reporting) => reporting.report(since, until))
        )
      ),
    unfinished: ({ olderThan = "5 minutes" } = {}) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        read(unfinished(reader, now - Duration.toMillis(olderThan)))
      ),

    // Retention, in another process, may put a gap where lines are being read: what is wrong is looked at twice.
    verify: (options) =>
      read(Effect.flatMap(walk(options), (found) => (found.ok ? Effect.succeed(found) : walk(options)))),
    checkpoint: read(appender.checkpoint),

    forget: Effect.fnUntraced(function* (who, because) {
      // Before, so that keys are never gone without a word; and after, which makes other processes look at the keys.
      yield* record("forget", because, {})
      const forgotten = yield* read(
        appender.lock.withPermit(retention.forget({ principal: who.principal, tenant: who.tenant }))
      )
      yield* record("forgotten", because, forgotten)
      return forgotten
    }, admin.withPermit),
    hold: Effect.fnUntraced(function* (selection, because) {
      const at = yield* Clock.currentTimeMillis
      const hold = yield* read(retention.hold({ selection, at, by: because.by, why: because.why }))
      yield* record("hold", because, { id: hold.id, selection })
      return hold
    }, admin.withPermit),
    release: Effect.fnUntraced(function* (id, because) {
      yield* record("release", because, { id })
      return yield* read(retention.release(id))
    }, admin.withPermit),
    holds: read(retention.holds),
    retain: Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      const keys = yield* read(appender.lock.withPermit(retention.anonymise(now)))
      yield* read(appender.checkpoint)
      const dropped = yield* read(retention.drop(now))
      if (keys + dropped.archived + dropped.deleted > 0) {
        yield* append({ kind: "admin", action: "retained", detail: { keys, ...dropped } })
      }
      return { keys, ...dropped }
    }).pipe(admin.withPermit)
  }
}

const asUnavailable = <A>(effect: Effect.Effect<A, AuditStoreError>): Effect.Effect<A, Unavailable> =>
  Effect.catch(effect, (error) => Effect.andThen(report(error), Effect.fail(unavailable)))
