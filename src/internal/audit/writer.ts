/**
 * Group commit: whoever has a record to write offers it and waits; one fiber
 * takes everything that waits, writes it with one append, and wakes them.
 *
 * Where the store fails, everybody who waits is told at once and the store is
 * left alone for a while; what could not be written stays here, as late, up to a
 * bound, and is written when the store answers again, after a record that says so.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type { Unavailable } from "../../AuditLog.ts"
import { type Appender, report } from "./appender.ts"
import { type Draft, eventDraft } from "./record.ts"
import { type AuditStoreError, storeError } from "./store.ts"

export const unavailable: Unavailable = { _tag: "Unavailable", concern: "audit" }
const refused: Effect.Effect<never, Unavailable> = Exit.fail(unavailable)

/** The most records of one append. */
const maxBatch = 512

interface Item {
  readonly draft: Draft
  /** Wakes whoever waits; nobody does after an interruption or a failure. */
  wake: ((outcome: Effect.Effect<void, Unavailable>) => void) | undefined
}

interface WriterOptions {
  readonly maxWaiting: number
  readonly retryAfter: number
  readonly writeTimeout: number
}

interface Writer {
  readonly ready: Effect.Effect<void, Unavailable>
  /** Durable when it returns; the record is written even if whoever waits is interrupted. */
  readonly offer: (draft: Draft) => Effect.Effect<void, Unavailable>
}

export const makeWriter = Effect.fnUntraced(function* (
  appender: Appender,
  options: WriterOptions
): Effect.fn.Return<Writer, never, Scope.Scope> {
  let queue: Array<Item> = []
  const work = Latch.makeUnsafe(false)
  let failing = false
  /** What the log has to tell of itself before the next record. */
  let trouble: { readonly since: number; lost: number } | undefined
  let closed = false

  const offer = (draft: Draft): Effect.Effect<void, Unavailable> =>
    Effect.callback((resume) => {
      if (closed || queue.length >= options.maxWaiting) {
        resume(lose(draft))
        return
      }
      const item: Item = { draft, wake: undefined }
      queue.push(item)
      work.openUnsafe()
      if (failing) {
        draft.late = true
        resume(refused)
        return
      }
      item.wake = resume
      return Effect.sync(() => {
        item.wake = undefined
      })
    })

  // Nothing is dropped in silence: the first is told of at once, their number in the log itself, or when it closes.
  const lose = (draft: Draft): Effect.Effect<never, Unavailable> => {
    trouble ??= { since: draft.time, lost: 0 }
    trouble.lost += 1
    if (trouble.lost > 1 && !closed) return refused
    const why = closed ? "the log is closed" : "too many wait to be written"
    return Effect.andThen(report(`audit records are lost: ${why}`), refused)
  }

  const wake = (items: ReadonlyArray<Item>, outcome: Effect.Effect<void, Unavailable>) =>
    Effect.withFiber((fiber) => {
      for (const item of items) {
        const resume = item.wake
        item.wake = undefined
        // Scheduled, so that those who waited do not run inside the writer.
        if (resume !== undefined) fiber.currentDispatcher.scheduleTask(() => resume(outcome), 0)
      }
      return Effect.void
    })

  /** One append of what waits; whether the store took it. */
  const writeSome = Effect.gen(function* () {
    const items = queue.slice(0, maxBatch)
    const drafts = items.map(({ draft }) => draft)
    const lost = trouble?.lost ?? 0
    if (trouble !== undefined) drafts.unshift(recovery(trouble, queue, yield* Clock.currentTimeMillis))
    const exit = yield* Effect.exit(inTime(appender.append(drafts), options.writeTimeout))
    if (Exit.isSuccess(exit)) {
      failing = false
      if (trouble !== undefined) {
        trouble = trouble.lost > lost ? { since: trouble.since, lost: trouble.lost - lost } : undefined
      }
      queue = queue.slice(items.length)
      yield* wake(items, Exit.void)
      return true
    }
    failing = true
    trouble ??= { since: yield* Clock.currentTimeMillis, lost: 0 }
    for (const { draft } of queue) draft.late = true
    yield* report(failureOf(exit))
    yield* wake(queue, refused)
    return false
  })

  const loop = Effect.gen(function* () {
    while (true) {
      if (queue.length === 0 && trouble === undefined) {
        work.closeUnsafe()
        yield* work.await
      }
      // What was begun is finished: nobody who has left the queue may be forgotten without being woken.
      const written = yield* Effect.uninterruptible(writeSome)
      if (!written) yield* Effect.sleep(options.retryAfter)
    }
  })

  const writer = yield* Effect.forkDetach(loop)
  yield* Effect.addFinalizer(() =>
    Effect.gen(function* () {
      yield* Fiber.interrupt(writer)
      while ((queue.length > 0 || trouble !== undefined) && (yield* writeSome)) {}
      closed = true
      const lost = queue.length + (trouble?.lost ?? 0)
      if (lost > 0) {
        yield* report(`${lost} audit records are lost: the log was closed while its store did not answer`)
      }
      // Whoever wrote nothing and signed what is there would vouch for a log that was cut off before.
      if (!failing && appender.hasWritten) {
        yield* Effect.catch(inTime(appender.checkpoint, options.writeTimeout), report)
      }
    })
  )

  return { ready: Effect.suspend(() => (failing ? refused : Exit.void)), offer }
})

/** The record that stands before those that are late. */
const recovery = (
  { since, lost }: { readonly since: number; readonly lost: number },
  queue: ReadonlyArray<Item>,
  now: number
): Draft => {
  const detail = { since, late: queue.filter(({ draft }) => draft.late).length, lost }
  return eventDraft({ kind: "admin", action: "store_recovered", detail }, now)
}

const failureOf = (exit: Exit.Failure<void, AuditStoreError>): AuditStoreError | string => {
  const failure = exit.cause.reasons.find((reason) => reason._tag === "Fail")
  if (failure !== undefined) return failure.error
  return storeError("the audit log's store broke", exit.cause)
}

/**
 * Fails when the time is up, without waiting for what hangs. A store that cannot be interrupted may still do what it
 * was asked: the appender finds out before it writes again.
 */
const inTime = Effect.fnUntraced(function* <A>(
  effect: Effect.Effect<A, AuditStoreError>,
  millis: number
): Effect.fn.Return<A, AuditStoreError> {
  const fiber = yield* Effect.forkDetach(effect)
  const exit = yield* Effect.raceFirst(Fiber.await(fiber), Effect.as(Effect.sleep(millis), undefined))
  if (exit !== undefined) return yield* exit
  fiber.interruptUnsafe()
  return yield* Effect.fail(storeError("the audit log's store did not answer in time", undefined))
})
